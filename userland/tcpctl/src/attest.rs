// SPDX-License-Identifier: GPL-2.0

//! `tcpctl attest`: proof, for somebody on another machine, of which node this is and how far its history goes.

use std::{
    collections::BTreeMap,
    path::{
        Path,
        PathBuf, //
    },
    time::SystemTime, //
};

use clap::{
    Args,
    Subcommand, //
};
use p256::elliptic_curve::rand_core::{
    OsRng,
    RngCore, //
};
use serde::{
    Deserialize,
    Serialize, //
};
use serde_json::{
    json,
    Value, //
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    crypto::{
        point_pem,
        public_argument, //
    },
    enroll::{
        self,
        EkPublic, //
    },
    error::{
        Error,
        Result, //
    },
    file,
    output::{
        note,
        pairs,
        Output,
        Tone, //
    },
    quote::{
        self,
        Bundle,
        Expected,
        Signer,
        Verified, //
    },
    tpm::{
        Certified,
        Ek,
        Raw,
        Tpm, //
    }, //
};

/// How often a quote is made again when the node goes on meanwhile.
const TRIES: usize = 8;
/// Longest file of an enrolment, in bytes.
const MAX_FILE: usize = 65536;
/// `format` of an enrolment's request.
const REQUEST: &str = "tcp-lsm-enroll-request";
/// `format` of what the verifier keeps until the answer comes.
const SECRET: &str = "tcp-lsm-enroll-secret";
/// `version` of both.
const VERSION: u32 = 1;

/// What to do with attestation.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The attestation key, whose digest names the node
    #[command(
        subcommand,
        after_help = "Example:\n  tcpctl attest key create --out ak.pem"
    )]
    Key(Key),
    /// Have the TPM vouch for the PCRs, the counter and the anchor
    ///
    /// The nonce comes from whoever will verify, who draws a new one each time: `openssl rand -hex 20`.
    #[command(
        after_help = "Example:\n  tcpctl attest quote --nonce $NONCE --out node.quote\n  \
                      tcpctl attest quote --nonce $NONCE --out node.quote --tpm2 node && \\\n    \
                      tpm2_checkquote -u node.pem -m node.msg -s node.sig -f node.pcrs -g sha256 -q $NONCE"
    )]
    Quote {
        /// The verifier's nonce, 16 to 32 bytes in hexadecimal
        #[arg(long, value_name = "HEX", value_parser = parse_nonce)]
        nonce: Nonce,
        /// PCRs of the SHA-256 bank
        #[arg(long, value_name = "N,N..", value_delimiter = ',', default_value = "0,2,4,7",
              value_parser = clap::value_parser!(u8).range(0..=23))]
        pcrs: Vec<u8>,
        /// Where to write the quote; - writes it to standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Also write PREFIX.msg, .sig, .pcrs and .pem, as tpm2-tools read them
        #[arg(long, value_name = "PREFIX")]
        tpm2: Option<PathBuf>,
    },
    /// Verify a quote; needs neither a TPM nor the module
    #[command(
        after_help = "Example:\n  tcpctl attest verify node.quote --nonce $NONCE --ak ak.pem"
    )]
    Verify(Verify),
    /// Prove once that the attestation key is in a genuine TPM
    #[command(
        subcommand,
        after_help = "Example, on the node, at the verifier, on the node, at the verifier:\n  \
            tcpctl attest enroll request --out node.request\n  \
            tcpctl attest enroll challenge --request node.request --out node.challenge \\\n    \
            --secret node.secret --ca maker-root.pem --ca maker-issuer.pem\n  \
            tcpctl attest enroll answer --challenge node.challenge --out node.answer\n  \
            tcpctl attest enroll verify --secret node.secret --answer node.answer --out ak.pem"
    )]
    Enroll(Enroll),
}

/// What to do with the attestation key.
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make the key and print the node's name
    ///
    /// The TPM makes the same key each time, and nothing is stored in it.
    #[command(after_help = "Example:\n  tcpctl attest key create --out ak.pem")]
    Create {
        /// Where to write the public key, in PEM; - writes it to standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Replace a file that exists
        #[arg(long)]
        force: bool,
    },
    /// Show the key and the node's name
    #[command(after_help = "Example:\n  tcpctl attest key show")]
    Show,
}

/// What to verify, and what to expect.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The quote; - reads standard input
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// The nonce that was given to the node
    #[arg(long, value_name = "HEX", value_parser = parse_nonce)]
    nonce: Nonce,
    /// The node's attestation key: a file in PEM, or a point in hexadecimal
    #[arg(
        long,
        value_name = "FILE|HEX",
        conflicts_with = "node",
        required_unless_present = "node"
    )]
    ak: Option<String>,
    /// The node's name
    #[arg(long, value_name = "HEX", value_parser = parse_digest)]
    node: Option<[u8; 32]>,
    /// A value that a PCR must have; may be repeated
    #[arg(long = "expect-pcr", value_name = "N=HEX", value_parser = parse_pcr)]
    expect_pcr: Vec<(u8, [u8; 32])>,
    /// Accept a node that was never sealed, and so has no anchor
    #[arg(long)]
    setup: bool,
}

/// Steps of an enrolment.
#[derive(Debug, Subcommand)]
pub(crate) enum Enroll {
    /// On the node: write the public keys and the endorsement key's certificate
    #[command(after_help = "Example:\n  tcpctl attest enroll request --out node.request")]
    Request {
        /// Where to write the request; - writes it to standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// At the verifier: check the certificate, and encrypt a secret that only this TPM can read
    ///
    /// Needs no TPM. The challenge is a file as `tpm2_makecredential` writes it.
    #[command(
        after_help = "Example:\n  tcpctl attest enroll challenge --request node.request --out node.challenge \\\n    \
                      --secret node.secret --ca maker-root.pem --ca maker-issuer.pem"
    )]
    Challenge {
        /// The node's request
        #[arg(long, value_name = "FILE")]
        request: PathBuf,
        /// Where to write the challenge, for the node; - writes it to standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Where to write what stays with the verifier
        #[arg(long, value_name = "FILE")]
        secret: PathBuf,
        /// Certificates of the TPM's maker, root included, in PEM or DER; may be repeated
        #[arg(long, value_name = "FILE", required_unless_present = "any_ek")]
        ca: Vec<PathBuf>,
        /// Believe any endorsement key, even one that is not in a TPM; only where the request was taken from the node by hand
        #[arg(long, conflicts_with = "ca")]
        any_ek: bool,
    },
    /// On the node: read the secret
    #[command(
        after_help = "Example:\n  tcpctl attest enroll answer --challenge node.challenge --out node.answer"
    )]
    Answer {
        /// The verifier's challenge
        #[arg(long, value_name = "FILE")]
        challenge: PathBuf,
        /// Where to write the answer; - writes it to standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// At the verifier: check the answer, and keep the node's key
    #[command(
        after_help = "Example:\n  tcpctl attest enroll verify --secret node.secret --answer node.answer --out ak.pem"
    )]
    Verify {
        /// What stayed with the verifier
        #[arg(long, value_name = "FILE")]
        secret: PathBuf,
        /// The node's answer
        #[arg(long, value_name = "FILE")]
        answer: PathBuf,
        /// Where to write the node's attestation key, in PEM; - writes it to standard output
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Replace a file that exists
        #[arg(long)]
        force: bool,
    },
}

/// A nonce; a type of its own, because clap takes a `Vec` for a list.
#[derive(Debug, Clone)]
pub(crate) struct Nonce(pub(crate) Vec<u8>);

/// Parses a nonce for clap.
///
/// # Errors
///
/// A sentence for clap.
pub(crate) fn parse_nonce(text: &str) -> Result<Nonce, String> {
    hex::decode(text)
        .ok()
        .filter(|nonce| quote::NONCE.contains(&nonce.len()))
        .map(Nonce)
        .ok_or_else(|| {
            format!(
                "a nonce has {} to {} bytes in hexadecimal: draw one with `openssl rand -hex 20`",
                quote::NONCE.start(),
                quote::NONCE.end()
            )
        })
}

/// Parses 32 bytes for clap.
fn parse_digest(text: &str) -> Result<[u8; 32], String> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest)
        .map(|()| digest)
        .map_err(|_| "64 hexadecimal digits are needed".to_owned())
}

/// Parses `N=HEX` for clap.
fn parse_pcr(text: &str) -> Result<(u8, [u8; 32]), String> {
    let (number, value) = text
        .split_once('=')
        .ok_or("a PCR and its value are needed, such as 7=6534...")?;
    let number = number
        .parse()
        .ok()
        .filter(|number| *number < quote::PCRS)
        .ok_or("PCRs are numbered 0 to 23")?;
    Ok((number, parse_digest(value)?))
}

/// Runs the command.
///
/// # Errors
///
/// The TPM's, those of files, and what a verifier refuses.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    match command {
        Command::Key(Key::Create { out, force }) => {
            if let (Some(path), false) = (out, force) {
                file::must_not_exist(path)?;
            }
            key(out.as_deref(), output)
        }
        Command::Key(Key::Show) => key(None, output),
        Command::Quote {
            nonce,
            pcrs,
            out,
            tpm2,
        } => make(&nonce.0, pcrs, out, tpm2.as_deref(), output),
        Command::Verify(verify) => run_verify(verify, output),
        Command::Enroll(Enroll::Request { out }) => request(out, output),
        Command::Enroll(Enroll::Challenge {
            request,
            out,
            secret,
            ca,
            any_ek,
        }) => challenge(request, out, secret, ca, *any_ek, output),
        Command::Enroll(Enroll::Answer { challenge, out }) => answer(challenge, out, output),
        Command::Enroll(Enroll::Verify {
            secret,
            answer,
            out,
            force,
        }) => {
            if let (Some(path), false) = (out, force) {
                file::must_not_exist(path)?;
            }
            enrolled(secret, answer, out.as_deref(), output)
        }
    }
}

fn key(out: Option<&Path>, output: &Output) -> Result<()> {
    let key = Tpm::open()?.attestation_key()?;
    let point = quote::ak_point(&key.public)?;
    let node = hex::encode(quote::node_of(&key.public));
    if let Some(path) = out {
        file::write_out(path, 0o644, point_pem(&point)?.as_bytes(), output)?;
        if file::is_stdout(path) {
            return Ok(());
        }
    }
    output.either(
        &json!({
            "node": node,
            "point": hex::encode(point),
            "public": hex::encode(&key.public),
            "file": out,
        }),
        || {
            let mut rows = vec![("node", node.clone()), ("public key", hex::encode(point))];
            if let Some(path) = out {
                rows.push(("written to", path.display().to_string()));
            }
            pairs(&rows)
        },
    )
}

/// Certifies the counter and the anchor as they are at one time.
fn certify(raw: &mut Raw, nonce: &[u8]) -> Result<(quote::Attested, Option<quote::Attested>)> {
    let missing = |name: &str, index: u32| {
        Error::invalid(
            "tpm_no_index",
            format!(
                "the TPM has no {name} at {index:08x}, or it was never written: load the module first; \
                 `tcpctl status` says what it found"
            ),
        )
    };
    match raw.certify(quote::COUNTER, 8, nonce)? {
        Certified::Done(counter) => {
            let anchor = match raw.certify(quote::ANCHOR, 32, nonce)? {
                Certified::Done(anchor) => Some(anchor),
                // Nothing was ever committed; a verifier believes that only when told to.
                Certified::Unwritten | Certified::Missing => None,
            };
            Ok((counter, anchor))
        }
        Certified::Unwritten | Certified::Missing => Err(missing("counter", quote::COUNTER)),
    }
}

fn make(
    nonce: &[u8],
    numbers: &[u8],
    out: &Path,
    tpm2: Option<&Path>,
    output: &Output,
) -> Result<()> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    let none = BTreeMap::new();
    let mut tries = 0;
    let (bundle, verified) = loop {
        tries += 1;
        let mut tpm = Tpm::open()?;
        let ek_certificate = match tpm.any_ek_certificate() {
            Ok(found) => found.map(|(_, certificate)| certificate),
            Err(error) => {
                // It only saves the verifier a question.
                note(
                    output,
                    &format!("warning: {error}; the quote goes without it"),
                );
                None
            }
        };
        let key = tpm.attestation_key()?;
        let pcrs = tpm.pcrs(&numbers)?;
        let quoted = tpm.quote(&key, nonce, &numbers)?;
        let mut raw = Raw::open(tpm)?;
        let (counter, anchor) = certify(&mut raw, nonce)?;
        // A commit extends the anchor and then increments the counter: the counter must not have moved in between.
        let (again, _) = certify(&mut raw, nonce)?;
        drop(raw);
        let bundle = Bundle {
            ak: key.public,
            pcrs,
            quote: quoted,
            counter,
            anchor,
            ek_certificate,
        };
        let expected = Expected {
            nonce,
            signer: Signer::Node(quote::node_of(&bundle.ak)),
            pcrs: &none,
            setup: true,
        };
        // What does not verify here would not do so anywhere: a PCR may just have changed.
        let verified = quote::verify_bundle(&bundle, &expected);
        let mut later = bundle.clone();
        later.counter = again;
        later.anchor = None;
        let later = quote::verify_bundle(&later, &expected);
        match (verified, later) {
            (Ok(verified), Ok(later)) if verified.counter == later.counter => {
                break (bundle, verified)
            }
            (Err(error), _) | (_, Err(error)) if tries >= TRIES => return Err(error),
            _ if tries >= TRIES => {
                return Err(Error::invalid(
                    "quote_busy",
                    "the node commits too often to be quoted: try again later",
                ))
            }
            _ => {}
        }
    };
    if let Some(prefix) = tpm2 {
        let public = point_pem(&verified.point)?;
        for (suffix, bytes) in [
            (".msg", bundle.quote.attest.as_slice()),
            (".sig", bundle.quote.signature.as_slice()),
            (".pcrs", &tpm2_pcrs(&bundle.pcrs)),
            (".pem", public.as_bytes()),
        ] {
            file::replace(&file::beside(prefix, suffix), 0o644, bytes)?;
        }
    }
    file::write_out(out, 0o644, &bundle.encode()?, output)?;
    if file::is_stdout(out) {
        return Ok(());
    }
    let mut value = verified_json(&verified);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("file".to_owned(), json!(out));
        fields.insert("tpm2".to_owned(), json!(tpm2));
    }
    output.either(&value, || {
        let mut rows = rows(&verified);
        rows.push(("written to", out.display().to_string()));
        pairs(&rows)
    })
}

/// PCR values as `tpm2_quote --pcr` writes them: `TPML_PCR_SELECTION` and the digests as they lie in memory, but with
/// little-endian numbers.
fn tpm2_pcrs(pcrs: &BTreeMap<u8, [u8; 32]>) -> Vec<u8> {
    /// Selections in a list, and digests in a list.
    const SELECTIONS: usize = 16;
    const DIGESTS: usize = 8;
    let mut selected = [0u8; 3];
    for number in pcrs.keys() {
        if let Some(byte) = selected.get_mut(usize::from(number / 8)) {
            *byte |= 1 << (number % 8);
        }
    }
    let mut file = 1u32.to_le_bytes().to_vec();
    file.extend_from_slice(&quote::ALG_SHA256.to_le_bytes());
    file.push(3);
    file.extend_from_slice(&selected);
    file.resize(4 + SELECTIONS * 8, 0);
    let values: Vec<&[u8; 32]> = pcrs.values().collect();
    let lists = values.chunks(DIGESTS);
    file.extend_from_slice(&u32::try_from(lists.len()).unwrap_or(0).to_le_bytes());
    for list in lists {
        let mut bytes = u32::try_from(list.len())
            .unwrap_or(0)
            .to_le_bytes()
            .to_vec();
        for digest in list {
            bytes.extend_from_slice(&32u16.to_le_bytes());
            bytes.extend_from_slice(*digest);
            bytes.resize(bytes.len() + 32, 0);
        }
        bytes.resize(4 + DIGESTS * 66, 0);
        file.extend_from_slice(&bytes);
    }
    file
}

fn verified_json(verified: &Verified) -> Value {
    let pcrs: BTreeMap<String, String> = verified
        .pcrs
        .iter()
        .map(|(number, value)| (number.to_string(), hex::encode(value)))
        .collect();
    json!({
        "node": hex::encode(verified.node),
        "point": hex::encode(verified.point),
        "counter": verified.counter,
        "anchor": verified.anchor.map(hex::encode),
        "pcrs": pcrs,
        "clock_ms": verified.clock_ms,
        "reset_count": verified.reset_count,
        "restart_count": verified.restart_count,
        "safe": verified.safe,
        "firmware": format!("{:016x}", verified.firmware),
    })
}

fn rows(verified: &Verified) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("node", hex::encode(verified.node)),
        ("counter", verified.counter.to_string()),
        (
            "anchor",
            verified
                .anchor
                // Whoever hands the file over can leave it out: that there is none proves nothing.
                .map_or_else(
                    || "none in the file: never sealed, or kept back".to_owned(),
                    hex::encode,
                ),
        ),
        (
            "boot",
            format!(
                "{} (resumed {} times), TPM powered for {} s",
                verified.reset_count,
                verified.restart_count,
                verified.clock_ms / 1000
            ),
        ),
        ("TPM firmware", format!("{:016x}", verified.firmware)),
    ];
    let names = [
        "PCR 0", "PCR 1", "PCR 2", "PCR 3", "PCR 4", "PCR 5", "PCR 6", "PCR 7", "PCR 8", "PCR 9",
        "PCR 10", "PCR 11", "PCR 12", "PCR 13", "PCR 14", "PCR 15", "PCR 16", "PCR 17", "PCR 18",
        "PCR 19", "PCR 20", "PCR 21", "PCR 22", "PCR 23",
    ];
    for (number, value) in &verified.pcrs {
        if let Some(name) = names.get(usize::from(*number)) {
            rows.push((name, hex::encode(value)));
        }
    }
    rows
}

fn run_verify(verify: &Verify, output: &Output) -> Result<()> {
    let signer = match (&verify.ak, &verify.node) {
        (Some(key), _) => Signer::Key(public_argument(key)?),
        (None, Some(node)) => Signer::Node(*node),
        (None, None) => return Err(Error::Usage("give --ak or --node".to_owned())),
    };
    let mut pcrs = BTreeMap::new();
    for (number, value) in &verify.expect_pcr {
        if pcrs
            .insert(*number, *value)
            .is_some_and(|old| old != *value)
        {
            return Err(Error::Usage(format!(
                "PCR {number} is expected to have two values"
            )));
        }
    }
    let bytes = file::read(&verify.file, quote::MAX_FILE)?;
    let verified = quote::verify(
        &bytes,
        &Expected {
            nonce: &verify.nonce.0,
            signer,
            pcrs: &pcrs,
            setup: verify.setup,
        },
    )?;
    let mut value = verified_json(&verified);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("outcome".to_owned(), json!("verified"));
    }
    output.either(&value, || {
        let mut rows = rows(&verified);
        rows.push(("quote", output.paint(Tone::Good, "verified")));
        pairs(&rows)
    })
}

/// What a node sends.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    format: String,
    version: u32,
    ak: String,
    ek: String,
    ek_certificate: Option<String>,
}

/// What a verifier keeps.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    format: String,
    version: u32,
    node: String,
    ak: String,
    ek: String,
    certified: bool,
    secret: String,
}

/// Reads one of an enrolment's files.
fn read<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T> {
    let bytes = Zeroizing::new(file::read(path, MAX_FILE)?);
    serde_json::from_slice(&bytes).map_err(|error| enroll_malformed(path, &error))
}

fn enroll_malformed(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::invalid(
        "enroll_malformed",
        format!(
            "{} is torn or not a file of this step: {error}",
            path.display()
        ),
    )
}

/// Refuses a file of another kind.
fn check_format(path: &Path, found: (&str, u32), wanted: &str) -> Result<()> {
    if found == (wanted, VERSION) {
        return Ok(());
    }
    Err(enroll_malformed(
        path,
        &format!("its format is not `{wanted}` of version {VERSION}"),
    ))
}

fn write_json(path: &Path, mode: u32, value: &impl Serialize, output: &Output) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(value)
        .map(Zeroizing::new)
        .map_err(|error| Error::invalid("json", error.to_string()))?;
    json.push(b'\n');
    file::write_out(path, mode, &json, output)
}

fn request(out: &Path, output: &Output) -> Result<()> {
    let mut tpm = Tpm::open()?;
    let key = tpm.attestation_key()?;
    let found = tpm.any_ek_certificate()?;
    let kind = found.as_ref().map_or(Ek::Rsa, |(kind, _)| *kind);
    let ek = tpm.ek(kind)?;
    EkPublic::from_public(&ek.public)?;
    let node = hex::encode(quote::node_of(&key.public));
    let certificate = found.map(|(_, certificate)| hex::encode(certificate));
    if certificate.is_none() {
        note(
            output,
            "The TPM has no certificate of its endorsement key (a software TPM often has none): only a verifier with \
             --any-ek will take this.",
        );
    }
    write_json(
        out,
        0o644,
        &Request {
            format: REQUEST.to_owned(),
            version: VERSION,
            ak: hex::encode(&key.public),
            ek: hex::encode(&ek.public),
            ek_certificate: certificate.clone(),
        },
        output,
    )?;
    if file::is_stdout(out) {
        return Ok(());
    }
    output.either(
        &json!({ "node": node, "file": out, "certificate": certificate.is_some() }),
        || {
            pairs(&[
                ("node", node.clone()),
                ("written to", out.display().to_string()),
            ])
        },
    )
}

fn challenge(
    path: &Path,
    out: &Path,
    secret_path: &Path,
    ca: &[PathBuf],
    any_ek: bool,
    output: &Output,
) -> Result<()> {
    let request: Request = read(path)?;
    check_format(path, (&request.format, request.version), REQUEST)?;
    let bytes = |text: &str| hex::decode(text).map_err(|error| enroll_malformed(path, &error));
    let ak = bytes(&request.ak)?;
    quote::ak_point(&ak)?;
    let ek_public = bytes(&request.ek)?;
    let ek = EkPublic::from_public(&ek_public)?;
    if !any_ek {
        let mut issuers = Vec::new();
        for path in ca {
            let file = file::read(path, MAX_FILE)?;
            issuers.extend(enroll::certificates(&file).map_err(|error| {
                Error::invalid("ca_malformed", format!("{}: {error}", path.display()))
            })?);
        }
        let certificate = request.ek_certificate.as_deref().ok_or_else(|| {
            Error::invalid(
                "ek_no_certificate",
                "the request has no certificate of the endorsement key: nothing says that the key is in a TPM. Take the \
                 request from the node by hand and use --any-ek, or do not enrol the node",
            )
        })?;
        enroll::check_ek(&bytes(certificate)?, &ek, &issuers, SystemTime::now())?;
    }
    let mut secret = Zeroizing::new([0; enroll::SECRET]);
    OsRng.fill_bytes(secret.as_mut());
    let credential = enroll::make_credential(&ek, &ak, secret.as_ref())?;
    let node = hex::encode(quote::node_of(&ak));
    write_json(
        secret_path,
        0o600,
        &Kept {
            format: SECRET.to_owned(),
            version: VERSION,
            node: node.clone(),
            ak: request.ak.clone(),
            ek: request.ek.clone(),
            certified: !any_ek,
            secret: hex::encode(secret.as_ref()),
        },
        output,
    )?;
    file::write_out(out, 0o644, &credential, output)?;
    if file::is_stdout(out) {
        return Ok(());
    }
    output.either(
        &json!({ "node": node, "certified": !any_ek, "challenge": out, "secret": secret_path }),
        || {
            pairs(&[
                ("node", node.clone()),
                ("endorsement key", certified(!any_ek).to_owned()),
                ("for the node", out.display().to_string()),
                ("kept here", secret_path.display().to_string()),
            ])
        },
    )
}

/// What is known about an endorsement key, in words.
fn certified(certified: bool) -> &'static str {
    match certified {
        true => "certified by the TPM's maker",
        false => "believed without a certificate",
    }
}

fn answer(challenge: &Path, out: &Path, output: &Output) -> Result<()> {
    let bytes = file::read(challenge, MAX_FILE)?;
    let (blob, secret) = enroll::split_credential(&bytes)?;
    let mut tpm = Tpm::open()?;
    let ak = tpm.attestation_key()?;
    // The kind shows in the length: an RSA ciphertext is as long as its modulus.
    let kind = match secret.len() {
        256 => Ek::Rsa,
        _ => Ek::Ecc,
    };
    let ek = tpm.ek(kind)?;
    let opened = Zeroizing::new(tpm.activate(&ak, &ek, blob, secret)?);
    file::write_out(out, 0o600, &opened, output)?;
    if file::is_stdout(out) {
        return Ok(());
    }
    output.either(&json!({ "file": out }), || {
        pairs(&[("written to", out.display().to_string())])
    })
}

fn enrolled(kept_path: &Path, answer: &Path, out: Option<&Path>, output: &Output) -> Result<()> {
    let kept: Kept = read(kept_path)?;
    check_format(kept_path, (&kept.format, kept.version), SECRET)?;
    let secret = Zeroizing::new(
        hex::decode(&kept.secret).map_err(|error| enroll_malformed(kept_path, &error))?,
    );
    let ak = hex::decode(&kept.ak).map_err(|error| enroll_malformed(kept_path, &error))?;
    let point = quote::ak_point(&ak)?;
    let node = hex::encode(quote::node_of(&ak));
    if secret.len() != enroll::SECRET || node != kept.node {
        return Err(enroll_malformed(
            kept_path,
            &"its members contradict each other",
        ));
    }
    let answered = Zeroizing::new(file::read(answer, MAX_FILE)?);
    if !bool::from(secret.as_slice().ct_eq(answered.as_slice())) {
        return Err(Error::invalid(
            "enroll_answer",
            "the answer is wrong: the attestation key is not in that TPM, or the answer is to another challenge; do not \
             trust the node",
        ));
    }
    if let Some(path) = out {
        file::write_out(path, 0o644, point_pem(&point)?.as_bytes(), output)?;
        if file::is_stdout(path) {
            return Ok(());
        }
    }
    output.either(
        &json!({
            "outcome": "enrolled",
            "node": node,
            "point": hex::encode(point),
            "certified": kept.certified,
            "file": out,
        }),
        || {
            let mut rows = vec![
                ("node", node.clone()),
                ("public key", hex::encode(point)),
                ("endorsement key", certified(kept.certified).to_owned()),
            ];
            if let Some(path) = out {
                rows.push(("written to", path.display().to_string()));
            }
            rows.push(("attestation key", output.paint(Tone::Good, "in that TPM")));
            pairs(&rows)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::tests::vector;

    const PLAIN: Output = Output {
        json: false,
        colour: false,
    };

    #[test]
    fn arguments_are_checked() {
        assert_eq!(parse_nonce(&"0a".repeat(16)).unwrap().0, [10; 16]);
        assert_eq!(parse_nonce(&"0a".repeat(32)).unwrap().0.len(), 32);
        for text in ["", "0", "zz", &"0a".repeat(15), &"0a".repeat(33)] {
            assert!(parse_nonce(text).is_err());
        }
        let value = "01".repeat(32);
        assert_eq!(parse_pcr(&format!("7={value}")), Ok((7, [1; 32])));
        for text in ["", "7", &value, "7=", &format!("24={value}"), "7=01"] {
            assert!(parse_pcr(text).is_err());
        }
    }

    /// The sizes are those of the structures of `tss2_tpm2_types.h`.
    #[test]
    fn pcr_values_lie_as_tpm2_tools_read_them() {
        let pcrs: BTreeMap<u8, [u8; 32]> = (0..9u8).map(|n| (n, [n; 32])).collect();
        let file = tpm2_pcrs(&pcrs);
        assert_eq!(file.len(), 132 + 4 + 2 * 532);
        assert_eq!(file[..10], [1, 0, 0, 0, 0x0b, 0, 3, 0xff, 1, 0]);
        assert!(file[10..132].iter().all(|byte| *byte == 0));
        assert_eq!(file[132..142], [2, 0, 0, 0, 8, 0, 0, 0, 32, 0]);
        assert_eq!(file[140 + 66 + 2], 1);
        let second = 136 + 532;
        assert_eq!(file[second..second + 7], [1, 0, 0, 0, 32, 0, 8]);
    }

    #[test]
    fn a_verified_quote_is_told_in_words_and_json() {
        let verified = Verified {
            node: [1; 32],
            point: [4; 65],
            counter: 5,
            anchor: None,
            pcrs: BTreeMap::from([(7, [2; 32])]),
            clock_ms: 9000,
            reset_count: 3,
            restart_count: 1,
            safe: true,
            firmware: 0x10,
        };
        let text = pairs(&rows(&verified));
        for part in ["PCR 7", "never sealed, or kept back", "9 s", "counter"] {
            assert!(text.contains(part), "{text}");
        }
        let value = verified_json(&verified);
        assert_eq!(value["counter"], 5);
        assert_eq!(value["anchor"], Value::Null);
        assert_eq!(value["pcrs"]["7"], "02".repeat(32));
    }

    fn verify_args(file: &Path, nonce: &str, node: &str) -> Verify {
        Verify {
            file: file.to_owned(),
            nonce: parse_nonce(nonce).unwrap(),
            ak: None,
            node: Some(parse_digest(node).unwrap()),
            expect_pcr: Vec::new(),
            setup: false,
        }
    }

    #[test]
    fn a_refused_quote_fails_the_command() {
        let vector = vector("quote.json");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("quote");
        let nonce = vector["nonce"].as_str().unwrap();
        let node = vector["node"].as_str().unwrap();
        let json = serde_json::to_vec(&vector["accepted"]).unwrap();
        std::fs::write(&path, &json).unwrap();
        run_verify(&verify_args(&path, nonce, node), &PLAIN).unwrap();
        let other = verify_args(&path, &"00".repeat(20), node);
        assert_eq!(run_verify(&other, &PLAIN).unwrap_err().exit_code(), 1);
        let mut two = verify_args(&path, nonce, node);
        two.expect_pcr = vec![(0, [0; 32]), (0, [1; 32])];
        assert_eq!(run_verify(&two, &PLAIN).unwrap_err().exit_code(), 2);
        std::fs::write(&path, &json[1..]).unwrap();
        let error = run_verify(&verify_args(&path, nonce, node), &PLAIN).unwrap_err();
        assert_eq!(error.code(), "quote_malformed");
    }

    #[test]
    fn an_enrolment_ends_with_the_right_answer_only() {
        let quotes = vector("quote.json");
        let keys = vector("enroll.json");
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let issuers: Vec<PathBuf> = keys["swtpm"]["issuers"]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
            .map(|(at, one)| {
                let path = path(&format!("ca{at}"));
                std::fs::write(&path, hex::decode(one.as_str().unwrap()).unwrap()).unwrap();
                path
            })
            .collect();
        let request = |change: &dyn Fn(&mut Value)| {
            let mut request = json!({
                "format": REQUEST,
                "version": VERSION,
                "ak": quotes["accepted"]["ak"],
                "ek": keys["rsa"]["public"],
                "ek_certificate": null,
            });
            change(&mut request);
            std::fs::write(path("request"), request.to_string()).unwrap();
        };
        let send = |any| {
            let ca = if any { &[][..] } else { &issuers };
            challenge(
                &path("request"),
                &path("challenge"),
                &path("secret"),
                ca,
                any,
                &PLAIN,
            )
        };
        request(&|_| {});
        assert_eq!(send(false).unwrap_err().code(), "ek_no_certificate");
        request(&|of| of["ek_certificate"] = keys["swtpm"]["certificate"].clone());
        assert_eq!(send(false).unwrap_err().code(), "ek_other_key");
        request(&|of| of["format"] = SECRET.into());
        assert_eq!(send(true).unwrap_err().code(), "enroll_malformed");
        request(&|of| of["ak"] = keys["rsa"]["public"].clone());
        assert_eq!(send(true).unwrap_err().code(), "ak_template");
        request(&|of| of["ek"] = quotes["accepted"]["ak"].clone());
        assert_eq!(send(true).unwrap_err().code(), "ek_template");
        assert!(!path("secret").exists() && !path("challenge").exists());
        request(&|_| {});
        send(true).unwrap();

        let kept: Kept = read(&path("secret")).unwrap();
        let secret = hex::decode(&kept.secret).unwrap();
        let check = |answer: &[u8]| {
            std::fs::write(path("answer"), answer).unwrap();
            enrolled(
                &path("secret"),
                &path("answer"),
                Some(&path("ak.pem")),
                &PLAIN,
            )
        };
        for wrong in [&[][..], &secret[..31], &[0; 32]] {
            assert_eq!(check(wrong).unwrap_err().code(), "enroll_answer");
            assert!(!path("ak.pem").exists());
        }
        check(&secret).unwrap();
        assert_eq!(
            std::fs::read_to_string(path("ak.pem")).unwrap(),
            quotes["ak_pem"].as_str().unwrap()
        );
        // What is no file is written into, and stays what it is.
        let null = path("null");
        std::os::unix::fs::symlink("/dev/null", &null).unwrap();
        enrolled(&path("secret"), &path("answer"), Some(&null), &PLAIN).unwrap();
        challenge(&path("request"), &null, &path("another"), &[], true, &PLAIN).unwrap();
        assert!(null.symlink_metadata().unwrap().is_symlink());
        // A secret of no bytes would be answered by anybody.
        let mut empty = serde_json::to_value(&kept).unwrap();
        empty["secret"] = "".into();
        std::fs::write(path("secret"), empty.to_string()).unwrap();
        assert_eq!(check(&[]).unwrap_err().code(), "enroll_malformed");
    }
}
