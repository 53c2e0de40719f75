// SPDX-License-Identifier: GPL-2.0

//! The bundle that `tcpctl attest quote` writes, and its verification: see `Documentation/attestation.rst`.
//!
//! Verification needs neither a TPM nor the module. Everything in the file is untrusted until a signature of the
//! attestation key covers it; each thing that may be wrong is a refusal with a code of its own, and nothing but the end of
//! [`verify`] is an acceptance.

use std::collections::BTreeMap;

pub(crate) use engine::anchor::{
    ANCHOR_INDEX as ANCHOR,
    COUNTER_INDEX as COUNTER, //
};
use engine::{
    anchor::{
        ANCHOR_ATTRIBUTES,
        ANCHOR_SIZE,
        COUNTER_ATTRIBUTES,
        COUNTER_SIZE,
        WRITTEN, //
    },
    wire::{
        self,
        Reader, //
    }, //
};
use p256::ecdsa::{
    signature::hazmat::PrehashVerifier,
    Signature,
    VerifyingKey, //
};
use serde::{
    Deserialize,
    Serialize, //
};
use subtle::ConstantTimeEq;

use crate::{
    crypto::{
        sha256,
        Point,
        Sha256, //
    },
    error::{
        Error,
        Result, //
    }, //
};

/// `format` of the file.
pub(crate) const FORMAT: &str = "tcp-lsm-quote";
/// `version` of the file.
pub(crate) const VERSION: u32 = 1;
/// Longest file that is read, in bytes.
pub(crate) const MAX_FILE: usize = 65536;
/// Longest certificate in it, in bytes.
pub(crate) const MAX_CERTIFICATE: usize = 8192;
/// Length of a nonce, in bytes: enough not to be guessed, and no more than every TPM takes.
pub(crate) const NONCE: std::ops::RangeInclusive<usize> = 16..=32;
/// Number of PCRs in a bank.
pub(crate) const PCRS: u8 = 24;

/// Handle of the endorsement hierarchy.
pub(crate) const ENDORSEMENT: u32 = 0x4000_000b;

/// Algorithm: SHA-256.
pub(crate) const ALG_SHA256: u16 = 0x000b;
/// Algorithm: none.
pub(crate) const ALG_NULL: u16 = 0x0010;
/// Algorithm: ECDSA.
const ALG_ECDSA: u16 = 0x0018;
/// Type of object: ECC.
const ALG_ECC: u16 = 0x0023;
/// Curve: NIST P-256.
const CURVE_P256: u16 = 0x0003;
/// First four bytes of what a TPM made up by itself; no restricted key signs anything else that begins with them.
const MAGIC: u32 = 0xff54_4347;
/// Type of attestation: the value of an NV index.
const ATTEST_NV: u16 = 0x8014;
/// Type of attestation: PCR values.
const ATTEST_QUOTE: u16 = 0x8018;

/// Attributes of the attestation key: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign.
const AK_ATTRIBUTES: u32 = 0x0005_0472;
/// What `unique.x` of the template holds.
const AK_LABEL: &[u8] = b"TCP-LSM attestation key";

/// Appends a `TPM2B`: a length and that many bytes. What does not fit into 16 bits is left out, which no caller has.
pub(crate) fn put_2b(out: &mut Vec<u8>, bytes: &[u8]) {
    if let Ok(length) = u16::try_from(bytes.len()) {
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(bytes);
    }
}

/// Takes a `TPM2B`.
pub(crate) fn take_2b<'a>(reader: &mut Reader<'a>) -> wire::Result<&'a [u8]> {
    let length = reader.u16()?;
    reader.bytes(usize::from(length))
}

/// A signing key's `TPMT_PUBLIC` on P-256 with ECDSA and SHA-256, without a policy.
pub(crate) fn signing_public(attributes: u32, x: &[u8], y: &[u8]) -> Vec<u8> {
    let mut public = Vec::with_capacity(96);
    for half in [ALG_ECC, ALG_SHA256] {
        public.extend_from_slice(&half.to_be_bytes());
    }
    public.extend_from_slice(&attributes.to_be_bytes());
    put_2b(&mut public, &[]);
    for half in [ALG_NULL, ALG_ECDSA, ALG_SHA256, CURVE_P256, ALG_NULL] {
        public.extend_from_slice(&half.to_be_bytes());
    }
    put_2b(&mut public, x);
    put_2b(&mut public, y);
    public
}

/// The template of the attestation key: a `TPMT_PUBLIC`.
pub(crate) fn ak_template() -> Vec<u8> {
    signing_public(AK_ATTRIBUTES, AK_LABEL, &[])
}

/// The `TPMT_PUBLIC` of the attestation key with this point.
#[cfg(test)]
fn ak_public(point: &Point) -> Vec<u8> {
    let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
    signing_public(AK_ATTRIBUTES, x, y)
}

/// The Name of an object or NV index with this public area.
pub(crate) fn name_of(public: &[u8]) -> Vec<u8> {
    let mut name = ALG_SHA256.to_be_bytes().to_vec();
    name.extend_from_slice(&sha256(public));
    name
}

/// The node that an attestation key names.
pub(crate) fn node_of(ak: &[u8]) -> [u8; 32] {
    sha256(ak)
}

/// The Name of a written index without a policy.
fn index_name(index: u32, attributes: u32, size: u16) -> Vec<u8> {
    let mut public = index.to_be_bytes().to_vec();
    public.extend_from_slice(&ALG_SHA256.to_be_bytes());
    public.extend_from_slice(&(attributes | WRITTEN).to_be_bytes());
    put_2b(&mut public, &[]);
    public.extend_from_slice(&size.to_be_bytes());
    name_of(&public)
}

/// Something that the TPM said, and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attested {
    /// `TPMS_ATTEST`.
    pub(crate) attest: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub(crate) signature: Vec<u8>,
}

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// `TPMT_PUBLIC` of the attestation key.
    pub(crate) ak: Vec<u8>,
    /// Values of PCRs, SHA-256 bank.
    pub(crate) pcrs: BTreeMap<u8, [u8; 32]>,
    /// `TPM2_Quote` of them.
    pub(crate) quote: Attested,
    /// `TPM2_NV_Certify` of the counter.
    pub(crate) counter: Attested,
    /// `TPM2_NV_Certify` of the anchor; none while nothing was ever committed.
    pub(crate) anchor: Option<Attested>,
    /// The endorsement key's certificate, DER; nothing here checks it.
    pub(crate) ek_certificate: Option<Vec<u8>>,
}

/// [`Attested`] as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct AttestedText {
    attest: String,
    signature: String,
}

/// [`Bundle`] as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct BundleText {
    format: String,
    version: u32,
    ak: String,
    pcrs: BTreeMap<u8, String>,
    quote: AttestedText,
    counter: AttestedText,
    anchor: Option<AttestedText>,
    ek_certificate: Option<String>,
}

/// A file that is not what it must be.
fn malformed(what: impl std::fmt::Display) -> Error {
    Error::invalid(
        "quote_malformed",
        format!("the quote is torn or not well formed: {what}; have `tcpctl attest quote` make a new one"),
    )
}

/// Bytes from lower-case or upper-case hexadecimal.
fn bytes_of(what: &str, text: &str, limit: usize) -> Result<Vec<u8>> {
    let bytes = hex::decode(text).map_err(|error| malformed(format!("{what}: {error}")))?;
    if bytes.len() > limit {
        return Err(malformed(format!("{what} is longer than {limit} bytes")));
    }
    Ok(bytes)
}

impl AttestedText {
    fn decode(&self, what: &str) -> Result<Attested> {
        Ok(Attested {
            attest: bytes_of(what, &self.attest, 1024)?,
            signature: bytes_of(what, &self.signature, 256)?,
        })
    }

    fn encode(attested: &Attested) -> Self {
        Self {
            attest: hex::encode(&attested.attest),
            signature: hex::encode(&attested.signature),
        }
    }
}

impl Bundle {
    /// Reads a file's content. Unknown members are ignored.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] `quote_malformed`, `quote_format`.
    pub(crate) fn decode(file: &[u8]) -> Result<Self> {
        if file.len() > MAX_FILE {
            return Err(malformed(format!("longer than {MAX_FILE} bytes")));
        }
        let text: BundleText = serde_json::from_slice(file).map_err(malformed)?;
        if text.format != FORMAT || text.version != VERSION {
            return Err(Error::invalid(
                "quote_format",
                format!(
                    "the file is not a `{FORMAT}` of version {VERSION}: make it with `tcpctl attest quote` of the same \
                     release"
                ),
            ));
        }
        let mut pcrs = BTreeMap::new();
        for (number, value) in &text.pcrs {
            let value = bytes_of("a PCR", value, 32)?;
            let value =
                <[u8; 32]>::try_from(value).map_err(|_| malformed("a PCR has not 32 bytes"))?;
            if *number >= PCRS {
                return Err(malformed(format!("there is no PCR {number}")));
            }
            pcrs.insert(*number, value);
        }
        Ok(Self {
            ak: bytes_of("the attestation key", &text.ak, 512)?,
            pcrs,
            quote: text.quote.decode("the quote")?,
            counter: text.counter.decode("the counter")?,
            anchor: match &text.anchor {
                Some(anchor) => Some(anchor.decode("the anchor")?),
                None => None,
            },
            ek_certificate: match &text.ek_certificate {
                Some(text) => Some(bytes_of("the certificate", text, MAX_CERTIFICATE)?),
                None => None,
            },
        })
    }

    /// The content of a file.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] `json`, which does not happen.
    pub(crate) fn encode(&self) -> Result<Vec<u8>> {
        let text = BundleText {
            format: FORMAT.to_owned(),
            version: VERSION,
            ak: hex::encode(&self.ak),
            pcrs: self
                .pcrs
                .iter()
                .map(|(number, value)| (*number, hex::encode(value)))
                .collect(),
            quote: AttestedText::encode(&self.quote),
            counter: AttestedText::encode(&self.counter),
            anchor: self.anchor.as_ref().map(AttestedText::encode),
            ek_certificate: self.ek_certificate.as_ref().map(hex::encode),
        };
        let mut json = serde_json::to_vec_pretty(&text)
            .map_err(|error| Error::invalid("json", error.to_string()))?;
        json.push(b'\n');
        Ok(json)
    }
}

/// Whose quote is expected.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signer {
    /// The node with this name.
    Node([u8; 32]),
    /// The node whose attestation key has this point.
    Key(Point),
}

/// What a verifier expects.
#[derive(Debug, Clone)]
pub(crate) struct Expected<'a> {
    /// The nonce that the verifier drew for this quote.
    pub(crate) nonce: &'a [u8],
    /// Whose it is.
    pub(crate) signer: Signer,
    /// Values that PCRs must have.
    pub(crate) pcrs: &'a BTreeMap<u8, [u8; 32]>,
    /// Also accept a node that has never committed anything, and so has no anchor.
    pub(crate) setup: bool,
}

/// What the TPM vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verified {
    /// The node.
    pub(crate) node: [u8; 32],
    /// Point of its attestation key.
    pub(crate) point: Point,
    /// Value of the counter.
    pub(crate) counter: u64,
    /// Value of the anchor; none only where [`Expected::setup`] allows it.
    pub(crate) anchor: Option<[u8; 32]>,
    /// Values of PCRs, SHA-256 bank.
    pub(crate) pcrs: BTreeMap<u8, [u8; 32]>,
    /// Milliseconds that the TPM has been powered in its life, at the last of the statements.
    pub(crate) clock_ms: u64,
    /// Number of resets (boots) of the TPM.
    pub(crate) reset_count: u32,
    /// Number of restarts (resumes from suspension) since the last reset.
    pub(crate) restart_count: u32,
    /// Whether the TPM's clock is known never to have shown a later time.
    pub(crate) safe: bool,
    /// The TPM's firmware version.
    pub(crate) firmware: u64,
}

/// The parts of a `TPMS_ATTEST` that all types have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Statement<'a> {
    kind: u16,
    signer: &'a [u8],
    nonce: &'a [u8],
    clock: u64,
    reset_count: u32,
    restart_count: u32,
    safe: bool,
    firmware: u64,
    /// `TPMU_ATTEST`, to the end.
    body: &'a [u8],
}

/// Refuses what does not begin as the TPM's own statements do, before anything else in it is looked at.
fn statement<'a>(what: &str, attest: &'a [u8]) -> Result<Statement<'a>> {
    let mut reader = Reader::new(attest);
    if reader.u32() != Ok(MAGIC) {
        return Err(Error::invalid(
            "quote_magic",
            format!("{what}: the signed bytes are no statement of a TPM"),
        ));
    }
    let mut rest = || -> wire::Result<Statement<'a>> {
        Ok(Statement {
            kind: reader.u16()?,
            signer: take_2b(&mut reader)?,
            nonce: take_2b(&mut reader)?,
            clock: reader.u64()?,
            reset_count: reader.u32()?,
            restart_count: reader.u32()?,
            safe: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(wire::Error::Field("safe")),
            },
            firmware: reader.u64()?,
            body: reader.rest(),
        })
    };
    rest().map_err(|error| malformed(format!("{what}: {error}")))
}

/// A signature as `TPMT_SIGNATURE`: ECDSA over P-256 with SHA-256.
pub(crate) fn scalars(signature: &[u8]) -> wire::Result<[u8; 64]> {
    let mut reader = Reader::new(signature);
    if reader.u16()? != ALG_ECDSA {
        return Err(wire::Error::Field("scheme"));
    }
    if reader.u16()? != ALG_SHA256 {
        return Err(wire::Error::Field("digest"));
    }
    let mut both = [0; 64];
    for half in both.chunks_exact_mut(32) {
        let number = take_2b(&mut reader)?;
        let start = half
            .len()
            .checked_sub(number.len())
            .ok_or(wire::Error::Field("number"))?;
        for (to, from) in half.iter_mut().skip(start).zip(number) {
            *to = *from;
        }
    }
    reader.end()?;
    Ok(both)
}

/// The point of an attestation key: its `TPMT_PUBLIC` must be what `sealed-state.rst` prescribes, in every byte.
///
/// # Errors
///
/// [`Error::Invalid`] `ak_attributes` for a key that might sign what it is told to, or that might not be in a TPM alone;
/// `ak_template` for everything else.
pub(crate) fn ak_point(ak: &[u8]) -> Result<Point> {
    let wrong = || {
        Error::invalid(
            "ak_template",
            "the key is not an attestation key of TCP-LSM (see sealed-state.rst): do not trust it",
        )
    };
    let mut reader = Reader::new(ak);
    let mut head =
        || -> wire::Result<(u16, u16, u32)> { Ok((reader.u16()?, reader.u16()?, reader.u32()?)) };
    let (kind, digest, attributes) = head().map_err(|_| wrong())?;
    if (kind, digest) != (ALG_ECC, ALG_SHA256) {
        return Err(wrong());
    }
    if attributes != AK_ATTRIBUTES {
        return Err(Error::invalid(
            "ak_attributes",
            format!(
                "the key's attributes are {attributes:08x}, not {AK_ATTRIBUTES:08x} (restricted, fixedTPM, sign): what it \
                 signs may not come from a TPM; do not trust it"
            ),
        ));
    }
    // All that is left to differ is the point.
    let fixed = signing_public(AK_ATTRIBUTES, &[], &[]);
    let fixed = fixed
        .get(..fixed.len().saturating_sub(4))
        .unwrap_or_default();
    let unique = ak.strip_prefix(fixed).ok_or_else(wrong)?;
    let mut reader = Reader::new(unique);
    let mut coordinates = || -> wire::Result<Point> {
        let mut point = [0; 65];
        point[0] = 4;
        let (_, both) = point.split_at_mut(1);
        for half in both.chunks_exact_mut(32) {
            let number = take_2b(&mut reader)?;
            let start = half
                .len()
                .checked_sub(number.len())
                .ok_or(wire::Error::Field("point"))?;
            for (to, from) in half.iter_mut().skip(start).zip(number) {
                *to = *from;
            }
        }
        Ok(point)
    };
    let point = coordinates().map_err(|_| wrong())?;
    reader.end().map_err(|_| wrong())?;
    VerifyingKey::from_sec1_bytes(&point).map_err(|_| wrong())?;
    Ok(point)
}

/// Checks one statement: signature, magic, type, nonce, and that the key stands in the endorsement hierarchy.
fn check<'a>(
    what: &str,
    kind: u16,
    attested: &'a Attested,
    bundle: &Bundle,
    point: &Point,
    nonce: &[u8],
) -> Result<Statement<'a>> {
    let forged = || {
        Error::invalid(
            "quote_signature",
            format!("{what}: the signature is not the attestation key's; do not trust the file"),
        )
    };
    let key = VerifyingKey::from_sec1_bytes(point).map_err(|_| forged())?;
    let numbers = scalars(&attested.signature)
        .map_err(|error| malformed(format!("{what}: signature: {error}")))?;
    let signature = Signature::from_slice(&numbers).map_err(|_| forged())?;
    key.verify_prehash(&sha256(&attested.attest), &signature)
        .map_err(|_| forged())?;

    let statement = statement(what, &attested.attest)?;
    if statement.kind != kind {
        return Err(Error::invalid(
            "quote_type",
            format!(
                "{what}: the TPM's statement is of type {:04x}, not {kind:04x}",
                statement.kind
            ),
        ));
    }
    if !bool::from(statement.nonce.ct_eq(nonce)) {
        return Err(Error::invalid(
            "quote_nonce",
            format!(
                "{what}: made for another nonce, so it may be an old one: draw a new nonce and have the node make a new \
                 quote"
            ),
        ));
    }
    let mut qualified = ENDORSEMENT.to_be_bytes().to_vec();
    qualified.extend_from_slice(&name_of(&bundle.ak));
    if statement.signer != name_of(&qualified) {
        return Err(Error::invalid(
            "quote_hierarchy",
            format!(
                "{what}: the key that signed is not a primary key of the endorsement hierarchy"
            ),
        ));
    }
    Ok(statement)
}

/// The value of an index that a statement certifies; the index must be what `sealed-state.rst` prescribes.
fn nv_value<'a>(
    what: &str,
    statement: &Statement<'a>,
    name: &[u8],
    size: usize,
) -> Result<&'a [u8]> {
    let mut reader = Reader::new(statement.body);
    let mut fields = || -> wire::Result<(&'a [u8], u16, &'a [u8])> {
        Ok((take_2b(&mut reader)?, reader.u16()?, take_2b(&mut reader)?))
    };
    let (found, offset, value) = fields().map_err(|error| malformed(format!("{what}: {error}")))?;
    reader
        .end()
        .map_err(|error| malformed(format!("{what}: {error}")))?;
    if found != name {
        return Err(Error::invalid(
            "quote_index",
            format!(
                "{what}: the TPM certifies another index, or one of another type or other attributes; on the node, \
                 `tpm2_nvreadpublic` shows it"
            ),
        ));
    }
    if offset != 0 || value.len() != size {
        return Err(Error::invalid(
            "quote_contents",
            format!("{what}: only a part of the index's value is certified"),
        ));
    }
    Ok(value)
}

/// The PCRs that a quote covers must be those of the file, and have the values of the file.
fn check_pcrs(statement: &Statement<'_>, pcrs: &BTreeMap<u8, [u8; 32]>) -> Result<()> {
    let mut reader = Reader::new(statement.body);
    let mut fields = || -> wire::Result<(u32, u16, u32, [u8; 32])> {
        let count = reader.u32()?;
        let bank = reader.u16()?;
        let size = reader.u8()?;
        let mut selected = 0u32;
        for at in 0..size {
            let byte = u32::from(reader.u8()?);
            match byte.checked_shl(u32::from(at) * 8) {
                Some(bits) => selected |= bits,
                None if byte == 0 => {}
                None => return Err(wire::Error::Field("selection")),
            }
        }
        let digest = <[u8; 32]>::try_from(take_2b(&mut reader)?)
            .map_err(|_| wire::Error::Field("digest"))?;
        Ok((count, bank, selected, digest))
    };
    let selection = || {
        Error::invalid(
            "quote_pcr_selection",
            "the quote does not cover exactly the PCRs of the file, in the SHA-256 bank",
        )
    };
    let (count, bank, selected, digest) = match fields() {
        Ok(fields) => fields,
        // More than one bank, or another digest's size, looks like this.
        Err(_) => return Err(selection()),
    };
    reader.end().map_err(|_| selection())?;
    let wanted = pcrs.keys().fold(0u32, |all, number| {
        all | 1u32.checked_shl(u32::from(*number)).unwrap_or(0)
    });
    if count != 1 || bank != ALG_SHA256 || selected != wanted {
        return Err(selection());
    }
    let values: Vec<&[u8]> = pcrs.values().map(<[u8; 32]>::as_slice).collect();
    if <Sha256 as wire::Digest>::sha256(&values) != digest {
        return Err(Error::invalid(
            "quote_pcr_digest",
            "the PCR values in the file are not those that the TPM quotes",
        ));
    }
    Ok(())
}

/// Verifies a file's content. Needs neither a TPM nor the module.
///
/// # Errors
///
/// [`Error::Invalid`] with one of the codes of `Documentation/attestation.rst`: the quote must not be trusted then.
pub(crate) fn verify(file: &[u8], expected: &Expected<'_>) -> Result<Verified> {
    verify_bundle(&Bundle::decode(file)?, expected)
}

/// [`verify`] for what has been decoded.
///
/// # Errors
///
/// As [`verify`].
pub(crate) fn verify_bundle(bundle: &Bundle, expected: &Expected<'_>) -> Result<Verified> {
    if !NONCE.contains(&expected.nonce.len()) {
        return Err(Error::Usage(format!(
            "a nonce has {} to {} bytes",
            NONCE.start(),
            NONCE.end()
        )));
    }
    let point = ak_point(&bundle.ak)?;
    let node = node_of(&bundle.ak);
    let ours = match &expected.signer {
        Signer::Node(name) => name.ct_eq(&node),
        Signer::Key(key) => key.ct_eq(&point),
    };
    if !bool::from(ours) {
        return Err(Error::invalid(
            "quote_other_key",
            format!(
                "the quote is of node {}, which is not the one expected: compare --ak or --node with what was enrolled",
                hex::encode(node)
            ),
        ));
    }
    let check = |what, kind, attested| check(what, kind, attested, bundle, &point, expected.nonce);
    let quote = check("PCR quote", ATTEST_QUOTE, &bundle.quote)?;
    check_pcrs(&quote, &bundle.pcrs)?;

    let counted = check("counter", ATTEST_NV, &bundle.counter)?;
    let name = index_name(COUNTER, COUNTER_ATTRIBUTES, COUNTER_SIZE);
    let counter = nv_value("counter", &counted, &name, 8)?;
    let counter = Reader::new(counter).u64().map_err(malformed)?;

    let anchored = match &bundle.anchor {
        Some(attested) => Some(check("anchor", ATTEST_NV, attested)?),
        None if expected.setup => None,
        None => {
            return Err(Error::invalid(
                "quote_no_anchor",
                "the file has no anchor: either the node was never sealed (--setup accepts that), or it is kept back",
            ))
        }
    };
    let anchor = match &anchored {
        Some(statement) => {
            let name = index_name(ANCHOR, ANCHOR_ATTRIBUTES, ANCHOR_SIZE);
            let value = nv_value("anchor", statement, &name, 32)?;
            Some(<[u8; 32]>::try_from(value).map_err(malformed)?)
        }
        None => None,
    };

    let mut last = quote;
    for (what, next) in [("counter", Some(counted)), ("anchor", anchored)] {
        let Some(next) = next else { continue };
        let boot = |of: &Statement<'_>| (of.reset_count, of.restart_count, of.firmware);
        if boot(&next) != boot(&last) {
            return Err(Error::invalid(
                "quote_boot",
                format!(
                    "{what}: from another boot of the node than the rest: have it make a new quote"
                ),
            ));
        }
        if next.clock < last.clock {
            return Err(Error::invalid(
                "quote_clock",
                format!("{what}: older than the rest: have the node make a new quote"),
            ));
        }
        last = next;
    }

    for (number, value) in expected.pcrs {
        let Some(found) = bundle.pcrs.get(number) else {
            return Err(Error::invalid(
                "pcr_missing",
                format!("PCR {number} was not quoted: name it in --pcrs of `tcpctl attest quote`"),
            ));
        };
        if !bool::from(found.ct_eq(value)) {
            return Err(Error::invalid(
                "pcr_differs",
                format!(
                    "PCR {number} is {}, not {}: the node booted something else",
                    hex::encode(found),
                    hex::encode(value)
                ),
            ));
        }
    }
    Ok(Verified {
        node,
        point,
        counter,
        anchor,
        pcrs: bundle.pcrs.clone(),
        clock_ms: last.clock,
        reset_count: last.reset_count,
        restart_count: last.restart_count,
        safe: last.safe,
        firmware: last.firmware,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use p256::ecdsa::{
        signature::hazmat::PrehashSigner,
        SigningKey, //
    };
    use serde_json::Value;

    /// A file of `Documentation/vectors`.
    pub(crate) fn vector(name: &str) -> Value {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../Documentation/vectors")
            .join(name);
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn bytes(value: &Value) -> Vec<u8> {
        hex::decode(value.as_str().unwrap()).unwrap()
    }

    fn digest(value: &Value) -> [u8; 32] {
        bytes(value).try_into().unwrap()
    }

    static NO_PCRS: BTreeMap<u8, [u8; 32]> = BTreeMap::new();

    fn expected(nonce: &[u8], node: [u8; 32]) -> Expected<'_> {
        Expected {
            nonce,
            signer: Signer::Node(node),
            pcrs: &NO_PCRS,
            setup: false,
        }
    }

    fn code(result: Result<Verified>) -> String {
        match result {
            Ok(_) => "accepted".to_owned(),
            Err(error) => {
                assert_ne!(error.exit_code(), 0);
                error.code().to_owned()
            }
        }
    }

    #[test]
    fn a_quote_of_a_real_tpm_is_accepted() {
        let vector = vector("quote.json");
        let nonce = bytes(&vector["nonce"]);
        let node = digest(&vector["node"]);
        let file = serde_json::to_vec(&vector["accepted"]).unwrap();
        let verified = verify(&file, &expected(&nonce, node)).unwrap();
        assert_eq!(verified.node, node);
        assert_eq!(verified.counter, vector["counter"].as_u64().unwrap());
        assert_eq!(verified.anchor, Some(digest(&vector["anchor"])));
        assert_eq!(
            verified.pcrs.keys().copied().collect::<Vec<_>>(),
            [0, 2, 4, 7]
        );
        let key = crate::crypto::parse_public(vector["ak_pem"].as_str().unwrap()).unwrap();
        assert_eq!(verified.point, key);
        let by_key = Expected {
            signer: Signer::Key(key),
            ..expected(&nonce, [0; 32])
        };
        assert_eq!(verify(&file, &by_key).unwrap(), verified);
        let bundle = Bundle::decode(&file).unwrap();
        assert_eq!(bundle.ak, ak_public(&key));
        assert_eq!(Bundle::decode(&bundle.encode().unwrap()).unwrap(), bundle);
    }

    #[test]
    fn what_is_not_that_quote_is_refused_by_name() {
        let vector = vector("quote.json");
        let nonce = bytes(&vector["nonce"]);
        let node = digest(&vector["node"]);
        for case in vector["refused"].as_array().unwrap() {
            let file = serde_json::to_vec(&case["quote"]).unwrap();
            assert_eq!(
                code(verify(&file, &expected(&nonce, node))),
                case["code"].as_str().unwrap(),
                "{}",
                case["comment"]
            );
        }
        let file = serde_json::to_vec(&vector["accepted"]).unwrap();
        let mut other = nonce.clone();
        other[19] ^= 1;
        for (nonce, node, wanted) in [
            (&other[..], node, "quote_nonce"),
            (&nonce[..19], node, "quote_nonce"),
            (&nonce[..15], node, "usage"),
            (&[], node, "usage"),
            (&nonce[..], [0; 32], "quote_other_key"),
        ] {
            assert_eq!(code(verify(&file, &expected(nonce, node))), wanted);
        }
    }

    #[test]
    fn every_flipped_byte_is_refused() {
        let vector = vector("quote.json");
        let nonce = bytes(&vector["nonce"]);
        let node = digest(&vector["node"]);
        let good = Bundle::decode(&serde_json::to_vec(&vector["accepted"]).unwrap()).unwrap();
        let check = |bundle: &Bundle, what: &str, at: usize| {
            assert!(
                verify_bundle(bundle, &expected(&nonce, node)).is_err(),
                "{what} byte {at}"
            );
        };
        type Part = fn(&mut Bundle) -> &mut Vec<u8>;
        let parts: [(&str, Part); 7] = [
            ("ak", |bundle| &mut bundle.ak),
            ("quote", |bundle| &mut bundle.quote.attest),
            ("quote signature", |bundle| &mut bundle.quote.signature),
            ("counter", |bundle| &mut bundle.counter.attest),
            ("counter signature", |bundle| &mut bundle.counter.signature),
            ("anchor", |bundle| {
                &mut bundle.anchor.as_mut().unwrap().attest
            }),
            ("anchor signature", |bundle| {
                &mut bundle.anchor.as_mut().unwrap().signature
            }),
        ];
        for (what, part) in parts {
            let length = part(&mut good.clone()).len();
            for at in 0..length {
                let mut bundle = good.clone();
                part(&mut bundle)[at] ^= 1;
                check(&bundle, what, at);
                let mut bundle = good.clone();
                part(&mut bundle).truncate(at);
                check(&bundle, what, at);
            }
            let mut bundle = good.clone();
            part(&mut bundle).push(0);
            check(&bundle, what, length);
        }
        for number in good.pcrs.keys() {
            let mut bundle = good.clone();
            bundle.pcrs.get_mut(number).unwrap()[31] ^= 1;
            check(&bundle, "PCR", usize::from(*number));
        }
    }

    #[test]
    fn expected_pcrs_are_compared() {
        let vector = vector("quote.json");
        let nonce = bytes(&vector["nonce"]);
        let node = digest(&vector["node"]);
        let file = serde_json::to_vec(&vector["accepted"]).unwrap();
        let seven = digest(&vector["accepted"]["pcrs"]["7"]);
        for (number, value, wanted) in [
            (7, seven, "accepted"),
            (7, [0; 32], "pcr_differs"),
            (0, seven, "pcr_differs"),
            (1, [0; 32], "pcr_missing"),
        ] {
            let pcrs = BTreeMap::from([(number, value)]);
            let expected = Expected {
                pcrs: &pcrs,
                ..expected(&nonce, node)
            };
            assert_eq!(code(verify(&file, &expected)), wanted);
        }
    }

    #[test]
    fn a_file_that_is_no_quote_is_refused() {
        let vector = vector("quote.json");
        let good = &vector["accepted"];
        let with = |name: &str, value: Value| {
            let mut file = good.clone();
            file[name] = value;
            serde_json::to_vec(&file).unwrap()
        };
        for (file, wanted) in [
            (Vec::new(), "quote_malformed"),
            (b"{}".to_vec(), "quote_malformed"),
            (vec![b' '; MAX_FILE + 1], "quote_malformed"),
            (with("format", "x".into()), "quote_format"),
            (with("version", 2.into()), "quote_format"),
            (with("ak", "0".into()), "quote_malformed"),
            (with("ak", "00".repeat(513).into()), "quote_malformed"),
            (with("quote", Value::Null), "quote_malformed"),
            (with("counter", Value::Null), "quote_malformed"),
            (
                with("pcrs", serde_json::json!({"24": "00".repeat(32)})),
                "quote_malformed",
            ),
            (
                with("pcrs", serde_json::json!({"7": "00".repeat(31)})),
                "quote_malformed",
            ),
            (with("ek_certificate", "zz".into()), "quote_malformed"),
        ] {
            assert_eq!(Bundle::decode(&file).unwrap_err().code(), wanted);
        }
        let mut more = good.clone();
        more["later"] = 1.into();
        Bundle::decode(&serde_json::to_vec(&more).unwrap()).unwrap();
    }

    /// A statement that no TPM made: each field can be wrong.
    struct Fake {
        key: SigningKey,
        magic: u32,
        kind: u16,
        signer: Option<Vec<u8>>,
        clock: u64,
        resets: u32,
        restarts: u32,
        safe: u8,
        firmware: u64,
        body: Vec<u8>,
    }

    const FAKE_NONCE: [u8; 20] = [7; 20];

    fn fake_key() -> (SigningKey, Point) {
        let key = SigningKey::from_slice(&[3; 32]).unwrap();
        let mut point = [0; 65];
        point.copy_from_slice(key.verifying_key().to_encoded_point(false).as_bytes());
        (key, point)
    }

    impl Fake {
        fn new(kind: u16, body: Vec<u8>) -> Self {
            Self {
                key: fake_key().0,
                magic: MAGIC,
                kind,
                signer: None,
                clock: 5,
                resets: 1,
                restarts: 2,
                safe: 1,
                firmware: 9,
                body,
            }
        }

        fn attested(&self) -> Attested {
            let signer = self.signer.clone().unwrap_or_else(|| {
                let mut qualified = ENDORSEMENT.to_be_bytes().to_vec();
                qualified.extend_from_slice(&name_of(&ak_public(&fake_key().1)));
                name_of(&qualified)
            });
            let mut attest = self.magic.to_be_bytes().to_vec();
            attest.extend_from_slice(&self.kind.to_be_bytes());
            put_2b(&mut attest, &signer);
            put_2b(&mut attest, &FAKE_NONCE);
            attest.extend_from_slice(&self.clock.to_be_bytes());
            attest.extend_from_slice(&self.resets.to_be_bytes());
            attest.extend_from_slice(&self.restarts.to_be_bytes());
            attest.push(self.safe);
            attest.extend_from_slice(&self.firmware.to_be_bytes());
            attest.extend_from_slice(&self.body);
            let signature: Signature = self.key.sign_prehash(&sha256(&attest)).unwrap();
            let (r, s) = signature.split_bytes();
            let mut signature = vec![0, 0x18, 0, 0x0b];
            put_2b(&mut signature, &r);
            put_2b(&mut signature, &s);
            Attested { attest, signature }
        }
    }

    fn nv_body(index: u32, attributes: u32, value: &[u8]) -> Vec<u8> {
        let size = u16::try_from(value.len()).unwrap();
        let mut body = Vec::new();
        put_2b(&mut body, &index_name(index, attributes, size));
        body.extend_from_slice(&[0, 0]);
        put_2b(&mut body, value);
        body
    }

    fn quote_body(bank: u16, select: &[u8], values: &[[u8; 32]]) -> Vec<u8> {
        let mut body = 1u32.to_be_bytes().to_vec();
        body.extend_from_slice(&bank.to_be_bytes());
        body.push(u8::try_from(select.len()).unwrap());
        body.extend_from_slice(select);
        put_2b(&mut body, &sha256(&values.concat()));
        body
    }

    fn fakes() -> [Fake; 3] {
        [
            Fake::new(
                ATTEST_QUOTE,
                quote_body(ALG_SHA256, &[0x80, 0, 0], &[[1; 32]]),
            ),
            Fake::new(
                ATTEST_NV,
                nv_body(COUNTER, 0x0206_0012, &3u64.to_be_bytes()),
            ),
            Fake::new(ATTEST_NV, nv_body(ANCHOR, 0x0206_0042, &[2; 32])),
        ]
    }

    fn judge(fakes: &[Fake; 3], ak: Option<Vec<u8>>) -> String {
        let ak = ak.unwrap_or_else(|| ak_public(&fake_key().1));
        let node = node_of(&ak);
        let bundle = Bundle {
            ak,
            pcrs: BTreeMap::from([(7, [1; 32])]),
            quote: fakes[0].attested(),
            counter: fakes[1].attested(),
            anchor: Some(fakes[2].attested()),
            ek_certificate: None,
        };
        code(verify_bundle(&bundle, &expected(&FAKE_NONCE, node)))
    }

    /// What even the right key must not be believed, one fact at a time.
    #[test]
    fn statements_that_do_not_say_it_are_refused() {
        assert_eq!(judge(&fakes(), None), "accepted");
        type Change = fn(&mut [Fake; 3]);
        let cases: &[(&str, Change, &str)] = &[
            ("magic", |f| f[0].magic ^= 1, "quote_magic"),
            ("magic of the counter", |f| f[1].magic ^= 1, "quote_magic"),
            ("type", |f| f[0].kind = ATTEST_NV, "quote_type"),
            ("type of the anchor", |f| f[2].kind = 0x801c, "quote_type"),
            (
                "signer",
                |f| f[0].signer = Some(vec![0; 34]),
                "quote_hierarchy",
            ),
            (
                "no signer",
                |f| f[1].signer = Some(vec![]),
                "quote_hierarchy",
            ),
            ("safe", |f| f[0].safe = 2, "quote_malformed"),
            ("resets", |f| f[1].resets += 1, "quote_boot"),
            ("restarts", |f| f[2].restarts += 1, "quote_boot"),
            ("firmware", |f| f[2].firmware += 1, "quote_boot"),
            (
                "counter before the quote",
                |f| f[1].clock -= 1,
                "quote_clock",
            ),
            (
                "anchor before the counter",
                |f| f[1].clock += 1,
                "quote_clock",
            ),
            (
                "SHA-1 bank",
                |f| f[0].body = quote_body(4, &[0x80, 0, 0], &[[1; 32]]),
                "quote_pcr_selection",
            ),
            (
                "other PCR",
                |f| f[0].body = quote_body(ALG_SHA256, &[0, 0x80, 0], &[[1; 32]]),
                "quote_pcr_selection",
            ),
            (
                "a PCR beyond the last",
                |f| f[0].body = quote_body(ALG_SHA256, &[0x80, 0, 0, 0, 1], &[[1; 32]]),
                "quote_pcr_selection",
            ),
            (
                "no PCR",
                |f| f[0].body = quote_body(ALG_SHA256, &[0, 0, 0], &[[1; 32]]),
                "quote_pcr_selection",
            ),
            ("two banks", |f| f[0].body[3] = 2, "quote_pcr_selection"),
            (
                "other value",
                |f| f[0].body = quote_body(ALG_SHA256, &[0x80, 0, 0], &[[9; 32]]),
                "quote_pcr_digest",
            ),
            (
                "plain counter",
                |f| f[1].body = nv_body(COUNTER, 0x0206_0002, &[0; 8]),
                "quote_index",
            ),
            (
                "counter that anybody may write",
                |f| f[1].body = nv_body(COUNTER, 0x0206_0016, &[0; 8]),
                "quote_index",
            ),
            (
                "counter at another index",
                |f| f[1].body = nv_body(COUNTER + 2, 0x0206_0012, &[0; 8]),
                "quote_index",
            ),
            (
                "anchor of an ordinary index",
                |f| f[2].body = nv_body(ANCHOR, 0x0206_0002, &[2; 32]),
                "quote_index",
            ),
            ("offset", |f| f[2].body[37] = 1, "quote_contents"),
            ("something behind", |f| f[2].body.push(0), "quote_malformed"),
            (
                "something behind the quote",
                |f| f[0].body.push(0),
                "quote_pcr_selection",
            ),
            ("nothing", |f| f[1].body.clear(), "quote_malformed"),
            (
                "another key",
                |f| f[2].key = SigningKey::from_slice(&[4; 32]).unwrap(),
                "quote_signature",
            ),
        ];
        for (what, change, wanted) in cases {
            let mut fakes = fakes();
            change(&mut fakes);
            assert_eq!(judge(&fakes, None), *wanted, "{what}");
        }
    }

    #[test]
    fn keys_that_are_no_attestation_keys_are_refused() {
        let (_, point) = fake_key();
        let (x, y) = point[1..].split_at(32);
        let key = |attributes| signing_public(attributes, x, y);
        let mut scheme = key(AK_ATTRIBUTES);
        scheme[13] ^= 1;
        for (ak, wanted) in [
            // Not restricted: it would sign a forged statement.
            (key(0x0004_0472), "ak_attributes"),
            // Not fixedTPM: it might be in two places.
            (key(0x0005_0470), "ak_attributes"),
            (key(0x0001_0472), "ak_attributes"),
            (scheme, "ak_template"),
            (Vec::new(), "ak_template"),
            (signing_public(AK_ATTRIBUTES, &[0; 33], y), "ak_template"),
            (signing_public(AK_ATTRIBUTES, y, x), "ak_template"),
            ([key(AK_ATTRIBUTES), vec![0]].concat(), "ak_template"),
        ] {
            assert_eq!(judge(&fakes(), Some(ak)), wanted);
        }
    }

    #[test]
    fn a_node_without_an_anchor_is_accepted_only_in_setup() {
        let [quote, counter, _] = fakes();
        let bundle = Bundle {
            ak: ak_public(&fake_key().1),
            pcrs: BTreeMap::from([(7, [1; 32])]),
            quote: quote.attested(),
            counter: counter.attested(),
            anchor: None,
            ek_certificate: None,
        };
        let node = node_of(&bundle.ak);
        let mut expected = expected(&FAKE_NONCE, node);
        assert_eq!(code(verify_bundle(&bundle, &expected)), "quote_no_anchor");
        expected.setup = true;
        let verified = verify_bundle(&bundle, &expected).unwrap();
        assert_eq!((verified.counter, verified.anchor), (3, None));
    }

    /// The Names that `tpm2_nvreadpublic` shows for the indices of sealed-state.rst.
    #[test]
    fn names_are_those_of_the_tpm() {
        let vector = vector("quote.json");
        let good = Bundle::decode(&serde_json::to_vec(&vector["accepted"]).unwrap()).unwrap();
        for (attested, name) in [
            (&good.counter, index_name(COUNTER, 0x0206_0012, 8)),
            (
                good.anchor.as_ref().unwrap(),
                index_name(ANCHOR, 0x0206_0042, 32),
            ),
        ] {
            let statement = statement("", &attested.attest).unwrap();
            assert_eq!(take_2b(&mut Reader::new(statement.body)), Ok(&name[..]));
        }
    }
}
