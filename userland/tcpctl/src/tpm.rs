// SPDX-License-Identifier: GPL-2.0

//! The TPM: the attestation key and what it vouches for, credentials, keys of validators.
//!
//! Found as other tools find it: `TPM2TOOLS_TCTI`, then `TCTI`, then `/dev/tpmrm0`. All goes through `tss-esapi`, but
//! `TPM2_NV_Certify`, which it does not have: [`Raw`] sends that command itself, over a device or to `swtpm`.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{
        self,
        Read,
        Write, //
    },
    net::TcpStream,
    path::Path,
    str::FromStr,
    time::Duration, //
};

use engine::wire::{
    self,
    Reader, //
};
use p256::elliptic_curve::rand_core::{
    OsRng,
    RngCore, //
};
use tss_esapi::{
    abstraction::{
        ek,
        pcr,
        AsymmetricAlgorithmSelection, //
    },
    constants::{
        CapabilityType,
        SessionType,
        Tss2ResponseCodeKind, //
    },
    handles::{
        AuthHandle,
        KeyHandle,
        ObjectHandle,
        PersistentTpmHandle,
        SessionHandle,
        TpmHandle, //
    },
    interface_types::{
        algorithm::HashingAlgorithm,
        dynamic_handles::Persistent,
        ecc::EccCurve,
        key_bits::RsaKeyBits,
        resource_handles::{
            Hierarchy,
            Provision, //
        },
        session_handles::{
            AuthSession,
            PolicySession, //
        }, //
    },
    structures::{
        CapabilityData,
        Data,
        Digest,
        EncryptedSecret,
        HashcheckTicket,
        IdObject,
        PcrSelectionListBuilder,
        PcrSlot,
        Public,
        SignatureScheme,
        SymmetricDefinition, //
    },
    tcti_ldr::TctiNameConf,
    traits::{
        Marshall,
        UnMarshall, //
    },
    tss2_esys::TPMT_TK_HASHCHECK,
    Context, //
};

use crate::{
    crypto::{
        sha256,
        Point, //
    },
    error::{
        Error,
        Result, //
    },
    quote::{
        self,
        put_2b,
        take_2b,
        Attested, //
    }, //
};

/// Where the TPM is without `TPM2TOOLS_TCTI` or `TCTI`.
const DEVICE: &str = "device:/dev/tpmrm0";
/// Owner's persistent handles.
pub(crate) const HANDLES: std::ops::RangeInclusive<u32> = 0x8100_0000..=0x817f_ffff;
/// First handle that `key generate --tpm` tries: beyond those that are reserved for storage and endorsement keys.
const FIRST_HANDLE: u32 = 0x8118_5400;
/// Attributes of a validator's key: fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, sign.
const SIGN_ATTRIBUTES: u32 = 0x0004_0472;
/// Longest response that a TPM gives.
const MAX_RESPONSE: usize = 4096;
/// How long a TPM behind a socket may think.
const PATIENCE: Duration = Duration::from_secs(120);

/// What to do about a failure of the TPM.
fn advice(kind: Option<Tss2ResponseCodeKind>) -> (&'static str, &'static str) {
    use Tss2ResponseCodeKind as Kind;
    match kind {
        Some(Kind::AuthFail | Kind::BadAuth | Kind::AuthMissing) => (
            "tpm_auth",
            ": the hierarchy or the key has an authorization value; TCP-LSM needs it empty (`tpm2_changeauth`)",
        ),
        Some(Kind::Lockout) => (
            "tpm_lockout",
            ": the TPM is in dictionary attack lockout; wait, or reset it with `tpm2_dictionarylockout -c`",
        ),
        Some(Kind::Hierarchy) => (
            "tpm_hierarchy",
            ": the hierarchy is disabled; enable it in the firmware's settings",
        ),
        Some(Kind::NvSpace) => (
            "tpm_full",
            ": no room for another key; remove one with `tpm2_evictcontrol`",
        ),
        Some(Kind::NvDefined) => (
            "tpm_handle_used",
            ": the handle is taken; choose another one with --handle",
        ),
        Some(Kind::Handle | Kind::ReferenceH0) => ("tpm_handle", ": the TPM has nothing at that handle"),
        Some(Kind::Failure) => ("tpm_failure", ": the TPM is in failure mode; reset the machine"),
        _ => ("tpm", ""),
    }
}

/// A failure of a TPM's command.
fn failed(what: &str) -> impl Fn(tss_esapi::Error) -> Error + '_ {
    move |error| {
        let kind = match error {
            tss_esapi::Error::Tss2Error(code) => code.kind(),
            tss_esapi::Error::WrapperError(_) => None,
        };
        let (code, advice) = advice(kind);
        Error::invalid(code, format!("{what}: {error}{advice}"))
    }
}

/// A response that makes no sense.
fn senseless(what: &str) -> Error {
    Error::invalid(
        "tpm_response",
        format!("{what}: the TPM's response makes no sense; try another TPM driver or firmware"),
    )
}

/// Where the TPM is, as text and as the library knows it.
fn configured() -> Result<(String, TctiNameConf)> {
    let text = ["TPM2TOOLS_TCTI", "TCTI"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|text| !text.is_empty())
        .unwrap_or_else(|| DEVICE.to_owned());
    let conf = TctiNameConf::from_str(&text).map_err(|_| {
        Error::invalid(
            "tpm_tcti",
            format!(
                "TPM2TOOLS_TCTI or TCTI is `{text}`: it may be device:/dev/tpmrm0, swtpm:host=H,port=P, mssim:... or \
                 tabrmd:..."
            ),
        )
    })?;
    Ok((text, conf))
}

/// Splits the text of a TCTI: its name, and what stands behind the colon.
fn split(text: &str) -> (&str, &str) {
    text.split_once(':').unwrap_or((text, ""))
}

/// The path of a device, where the TPM is one.
fn device_path(text: &str) -> Option<&Path> {
    match split(text) {
        ("device", "") => Some(Path::new("/dev/tpm0")),
        ("device", path) => Some(Path::new(path)),
        _ => None,
    }
}

/// Host and port of an `swtpm`; the defaults are the library's.
fn swtpm_address(text: &str) -> Option<(&str, u16)> {
    let ("swtpm", options) = split(text) else {
        return None;
    };
    let (mut host, mut port) = ("localhost", 2321);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("host", value)) => host = value,
            Some(("port", value)) => port = value.parse().ok()?,
            _ => return None,
        }
    }
    Some((host, port))
}

/// Says what to do when a device cannot be opened.
fn device_error(path: &Path, error: io::Error) -> Error {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no TPM 2.0, or its driver is not loaded; enable it in the firmware's settings, or name another one \
             in TCTI"
        }
        io::ErrorKind::PermissionDenied => "run it as root, or as a member of the group that owns it (`tss`)",
        io::ErrorKind::ResourceBusy => "another program has it; use /dev/tpmrm0, which many can use",
        _ => "",
    };
    Error::Io {
        what: match advice {
            "" => format!("cannot open {}", path.display()),
            _ => format!("cannot open {} ({advice})", path.display()),
        },
        source: error,
    }
}

/// Opens a TPM's device.
fn open_device(path: &Path) -> Result<std::fs::File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| device_error(path, error))
}

/// Endorsement keys that enrolment knows, in the order of preference.
const EKS: [Ek; 2] = [Ek::Rsa, Ek::Ecc];

/// A kind of endorsement key: those of the "low range" of the TCG EK Credential Profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ek {
    /// RSA 2048, certificate in NV index 01c00002.
    Rsa,
    /// NIST P-256, certificate in NV index 01c0000a.
    Ecc,
}

impl Ek {
    fn algorithm(self) -> AsymmetricAlgorithmSelection {
        match self {
            Self::Rsa => AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
            Self::Ecc => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
        }
    }
}

/// A key that is loaded.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    handle: KeyHandle,
    /// Its `TPMT_PUBLIC`.
    pub(crate) public: Vec<u8>,
}

/// A connection to the TPM. What it loads goes when it is dropped.
pub(crate) struct Tpm {
    context: Context,
    /// The TCTI's name and configuration.
    tcti: String,
}

impl Tpm {
    /// Connects.
    ///
    /// # Errors
    ///
    /// Says what to do when there is no TPM, or none that this user may use.
    pub(crate) fn open() -> Result<Self> {
        let (tcti, conf) = configured()?;
        if let Some(path) = device_path(&tcti) {
            // Only this tells why it fails.
            drop(open_device(path)?);
        }
        if std::env::var_os("TSS2_LOG").is_none() {
            // What goes wrong is reported here, once.
            std::env::set_var("TSS2_LOG", "all+none");
        }
        let mut context = Context::new(conf).map_err(|error| {
            Error::invalid(
                "tpm_connect",
                format!("cannot reach the TPM: {error}; check TPM2TOOLS_TCTI or TCTI"),
            )
        })?;
        context.set_sessions((Some(AuthSession::Password), None, None));
        Ok(Self { context, tcti })
    }

    /// Makes a primary key of a template (`TPMT_PUBLIC`).
    fn primary(&mut self, what: &str, hierarchy: Hierarchy, template: &[u8]) -> Result<Loaded> {
        let template = Public::unmarshall(template).map_err(failed(what))?;
        let made = self
            .context
            .create_primary(hierarchy, template, None, None, None, None)
            .map_err(failed(what))?;
        let public = made.out_public.marshall().map_err(failed(what))?;
        Ok(Loaded {
            handle: made.key_handle,
            public,
        })
    }

    /// Makes the attestation key, which is the same each time.
    ///
    /// # Errors
    ///
    /// The TPM's, or that what it made is not what was asked for.
    pub(crate) fn attestation_key(&mut self) -> Result<Loaded> {
        let what = "cannot make the attestation key";
        let key = self.primary(what, Hierarchy::Endorsement, &quote::ak_template())?;
        quote::ak_point(&key.public)?;
        Ok(key)
    }

    /// Values of PCRs in the SHA-256 bank.
    ///
    /// # Errors
    ///
    /// The TPM's, or that it has no such bank.
    pub(crate) fn pcrs(&mut self, numbers: &[u8]) -> Result<BTreeMap<u8, [u8; 32]>> {
        let what = "cannot read the PCRs";
        let slots = slots(numbers)?;
        let selection = PcrSelectionListBuilder::new()
            .with_selection(HashingAlgorithm::Sha256, &slots)
            .build()
            .map_err(failed(what))?;
        let data = self
            .context
            .execute_without_session(|context| pcr::read_all(context, selection))
            .map_err(failed(what))?;
        let bank = data.pcr_bank(HashingAlgorithm::Sha256);
        let mut values = BTreeMap::new();
        for (number, slot) in numbers.iter().zip(&slots) {
            let value = bank
                .and_then(|bank| bank.get_digest(*slot))
                .and_then(|digest| <[u8; 32]>::try_from(digest.value()).ok())
                .ok_or_else(|| {
                    Error::invalid(
                        "tpm_pcr_bank",
                        format!(
                            "the TPM has no PCR {number} with SHA-256: switch the bank on in the firmware's settings"
                        ),
                    )
                })?;
            values.insert(*number, value);
        }
        Ok(values)
    }

    /// `TPM2_Quote`.
    ///
    /// # Errors
    ///
    /// The TPM's.
    pub(crate) fn quote(&mut self, key: &Loaded, nonce: &[u8], numbers: &[u8]) -> Result<Attested> {
        let what = "cannot quote the PCRs";
        let nonce = Data::try_from(nonce.to_vec()).map_err(failed(what))?;
        let selection = PcrSelectionListBuilder::new()
            .with_selection(HashingAlgorithm::Sha256, &slots(numbers)?)
            .build()
            .map_err(failed(what))?;
        let (attest, signature) = self
            .context
            .quote(key.handle, nonce, SignatureScheme::Null, selection)
            .map_err(failed(what))?;
        Ok(Attested {
            attest: attest.marshall().map_err(failed(what))?,
            signature: signature.marshall().map_err(failed(what))?,
        })
    }

    /// The certificate of an endorsement key, if the TPM has one; what stands behind it in the index is cut off.
    ///
    /// # Errors
    ///
    /// The TPM's, other than that the index does not exist.
    pub(crate) fn ek_certificate(&mut self, ek: Ek) -> Result<Option<Vec<u8>>> {
        let what = "cannot read the endorsement key's certificate";
        let found = self
            .context
            .execute_without_session(|context| ek::retrieve_ek_pubcert(context, ek.algorithm()));
        let bytes = match found {
            Err(tss_esapi::Error::Tss2Error(code))
                if code.kind() == Some(Tss2ResponseCodeKind::Handle) =>
            {
                return Ok(None)
            }
            found => found.map_err(failed(what))?,
        };
        // An index may have been made and never filled.
        Ok(der_length(&bytes).and_then(|length| bytes.get(..length).map(<[u8]>::to_vec)))
    }

    /// The first certificate of an endorsement key that the TPM has.
    ///
    /// # Errors
    ///
    /// As [`Tpm::ek_certificate`].
    pub(crate) fn any_ek_certificate(&mut self) -> Result<Option<(Ek, Vec<u8>)>> {
        for ek in EKS {
            if let Some(certificate) = self.ek_certificate(ek)? {
                return Ok(Some((ek, certificate)));
            }
        }
        Ok(None)
    }

    /// Makes an endorsement key, which is the same each time.
    ///
    /// # Errors
    ///
    /// The TPM's.
    pub(crate) fn ek(&mut self, ek: Ek) -> Result<Loaded> {
        let what = "cannot make the endorsement key";
        let handle = self
            .context
            .execute_without_session(|context| {
                ek::create_ek_object_2(context, ek.algorithm(), None)
            })
            .map_err(failed(what))?;
        let (public, _, _) = self
            .context
            .execute_without_session(|context| context.read_public(handle))
            .map_err(failed(what))?;
        Ok(Loaded {
            handle,
            public: public.marshall().map_err(failed(what))?,
        })
    }

    /// `TPM2_ActivateCredential`: what was encrypted to the endorsement key for the attestation key.
    ///
    /// # Errors
    ///
    /// The TPM's; that the credential is for another TPM or another key.
    pub(crate) fn activate(
        &mut self,
        ak: &Loaded,
        ek: &Loaded,
        blob: &[u8],
        secret: &[u8],
    ) -> Result<Vec<u8>> {
        let what = "cannot open the challenge";
        let blob = IdObject::try_from(blob.to_vec()).map_err(failed(what))?;
        let secret = EncryptedSecret::try_from(secret.to_vec()).map_err(failed(what))?;
        let session = self
            .context
            .execute_without_session(|context| {
                context.start_auth_session(
                    None,
                    None,
                    None,
                    SessionType::Policy,
                    SymmetricDefinition::AES_128_CFB,
                    HashingAlgorithm::Sha256,
                )
            })
            .map_err(failed(what))?
            .ok_or_else(|| senseless(what))?;
        let opened = PolicySession::try_from(session)
            .and_then(|policy| {
                self.context.policy_secret(
                    policy,
                    AuthHandle::Endorsement,
                    Default::default(),
                    Default::default(),
                    Default::default(),
                    None,
                )
            })
            .and_then(|_| {
                let sessions = (Some(AuthSession::Password), Some(session), None);
                self.context.execute_with_sessions(sessions, |context| {
                    context.activate_credential(ak.handle, ek.handle, blob, secret)
                })
            });
        // Sessions do not go with the connection. One that was used up is gone already.
        let _ = self.context.execute_without_session(|context| {
            context.flush_context(ObjectHandle::from(SessionHandle::from(session)))
        });
        match opened {
            Ok(digest) => Ok(digest.value().to_vec()),
            Err(error) => {
                use Tss2ResponseCodeKind as Kind;
                let kind = match error {
                    tss_esapi::Error::Tss2Error(code) => code.kind(),
                    tss_esapi::Error::WrapperError(_) => None,
                };
                Err(match kind {
                    Some(Kind::Integrity | Kind::Value | Kind::Size) => Error::invalid(
                        "challenge_other",
                        "the challenge is for another TPM or another attestation key: make a new request on this node",
                    ),
                    _ => failed(what)(error),
                })
            }
        }
    }

    /// Handles in the owner's range that are taken.
    fn taken(&mut self) -> Result<Vec<u32>> {
        let what = "cannot list the persistent keys";
        let (data, _) = self
            .context
            .execute_without_session(|context| {
                context.get_capability(CapabilityType::Handles, *HANDLES.start(), 128)
            })
            .map_err(failed(what))?;
        match data {
            CapabilityData::Handles(handles) => {
                Ok(handles.into_inner().into_iter().map(u32::from).collect())
            }
            _ => Err(senseless(what)),
        }
    }

    /// Makes a validator's key and keeps it in the TPM, at `handle` or the first one that is free.
    ///
    /// # Errors
    ///
    /// The TPM's; [`Error::Invalid`] `tpm_handle_used`.
    pub(crate) fn keep_signing_key(&mut self, handle: Option<u32>) -> Result<SigningKey> {
        let what = "cannot make the key";
        let taken = self.taken()?;
        let handle = match handle {
            Some(handle) if taken.contains(&handle) => {
                return Err(Error::invalid(
                    "tpm_handle_used",
                    format!(
                        "the TPM has something at {handle:08x} already: choose another handle, or remove it with \
                         `tpm2_evictcontrol -c 0x{handle:08x}`"
                    ),
                ))
            }
            Some(handle) => handle,
            None => (FIRST_HANDLE..=*HANDLES.end())
                .find(|handle| !taken.contains(handle))
                .ok_or_else(|| senseless(what))?,
        };
        // The same template would make the same key.
        let mut label = [0; 32];
        OsRng.fill_bytes(&mut label);
        let template = quote::signing_public(SIGN_ATTRIBUTES, &label, &[]);
        let key = self.primary(what, Hierarchy::Owner, &template)?;
        let point = signing_point(&key.public).ok_or_else(|| senseless(what))?;
        let persistent = PersistentTpmHandle::new(handle).map_err(failed(what))?;
        self.context
            .evict_control(
                Provision::Owner,
                key.handle.into(),
                Persistent::Persistent(persistent),
            )
            .map_err(failed("cannot keep the key"))?;
        Ok(SigningKey { handle, point })
    }

    /// The key at a persistent handle.
    fn persistent(&mut self, what: &str, handle: u32) -> Result<Loaded> {
        let persistent = PersistentTpmHandle::new(handle).map_err(failed(what))?;
        let (handle, public) = self
            .context
            .execute_without_session(|context| {
                let handle = context
                    .tr_from_tpm_public(TpmHandle::Persistent(persistent))
                    .map(KeyHandle::from)?;
                Ok((handle, context.read_public(handle)?.0))
            })
            .map_err(failed(what))?;
        Ok(Loaded {
            handle,
            public: public.marshall().map_err(failed(what))?,
        })
    }
}

/// PCRs as the library names them.
fn slots(numbers: &[u8]) -> Result<Vec<PcrSlot>> {
    numbers
        .iter()
        .map(|number| {
            1u32.checked_shl(u32::from(*number))
                .and_then(|bit| PcrSlot::try_from(bit).ok())
                .ok_or_else(|| Error::Usage(format!("there is no PCR {number}")))
        })
        .collect()
}

/// Length of the DER element that some bytes begin with, when they hold it whole.
fn der_length(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    reader.u8().ok()?;
    let (head, length) = match reader.u8().ok()? {
        short @ 0..=0x7f => (2, usize::from(short)),
        0x81 => (3, usize::from(reader.u8().ok()?)),
        0x82 => (4, usize::from(reader.u16().ok()?)),
        _ => return None,
    };
    let length = length.checked_add(head)?;
    (length <= bytes.len()).then_some(length)
}

/// The point of an ECDSA key on P-256 that signs what it is told to, whoever made it.
fn signing_point(public: &[u8]) -> Option<Point> {
    const FIXED_TPM: u32 = 1 << 1;
    const RESTRICTED: u32 = 1 << 16;
    const SIGN: u32 = 1 << 18;
    const ECDSA: u16 = 0x0018;
    let mut reader = Reader::new(public);
    let mut fields = || -> wire::Result<Option<Point>> {
        let kind = reader.u16()?;
        reader.u16()?;
        let attributes = reader.u32()?;
        take_2b(&mut reader)?;
        let symmetric = reader.u16()?;
        let scheme = reader.u16()?;
        let digest = match scheme {
            ECDSA => reader.u16()?,
            _ => quote::ALG_SHA256,
        };
        let curve = reader.u16()?;
        let kdf = reader.u16()?;
        if kind != 0x0023
            || attributes & (FIXED_TPM | RESTRICTED | SIGN) != FIXED_TPM | SIGN
            || symmetric != quote::ALG_NULL
            || ![ECDSA, quote::ALG_NULL].contains(&scheme)
            || digest != quote::ALG_SHA256
            || curve != 0x0003
            || kdf != quote::ALG_NULL
        {
            return Ok(None);
        }
        let mut point = [0; 65];
        point[0] = 4;
        for half in point.split_at_mut(1).1.chunks_exact_mut(32) {
            let number = take_2b(&mut reader)?;
            let Some(start) = half.len().checked_sub(number.len()) else {
                return Ok(None);
            };
            for (to, from) in half.iter_mut().skip(start).zip(number) {
                *to = *from;
            }
        }
        Ok(Some(point))
    };
    fields().ok().flatten()
}

/// Parses a persistent handle of the owner for clap: `0x81185400` or `81185400`.
///
/// # Errors
///
/// A sentence for clap.
pub(crate) fn parse_handle(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    u32::from_str_radix(digits, 16)
        .ok()
        .filter(|handle| HANDLES.contains(handle))
        .ok_or_else(|| {
            format!(
                "a persistent handle of the owner is {:08x} to {:08x}",
                HANDLES.start(),
                HANDLES.end()
            )
        })
}

/// A validator's key that never leaves the TPM.
#[derive(Debug, Clone)]
pub(crate) struct SigningKey {
    /// Its persistent handle.
    pub(crate) handle: u32,
    /// Its public point.
    pub(crate) point: Point,
}

impl SigningKey {
    /// The key at a handle.
    ///
    /// # Errors
    ///
    /// The TPM's, or that the key there cannot sign votes.
    pub(crate) fn at(handle: u32) -> Result<Self> {
        let what = format!("cannot use the key at {handle:08x}");
        let key = Tpm::open()?.persistent(&what, handle)?;
        let point = signing_point(&key.public).ok_or_else(|| {
            Error::invalid(
                "tpm_key",
                format!(
                    "{what}: it is no unrestricted ECDSA key on P-256; make one with `tcpctl key generate --tpm`"
                ),
            )
        })?;
        Ok(Self { handle, point })
    }

    /// Signs: low S, DER, as the kernel wants it. Connects for this only, so that nothing is held while somebody thinks.
    ///
    /// # Errors
    ///
    /// The TPM's.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let what = format!("cannot sign with the key at {:08x}", self.handle);
        let mut tpm = Tpm::open()?;
        let key = tpm.persistent(&what, self.handle)?;
        if signing_point(&key.public) != Some(self.point) {
            return Err(Error::invalid(
                "tpm_key",
                format!("{what}: another key is there now; nothing was signed"),
            ));
        }
        let digest = Digest::try_from(sha256(message).to_vec()).map_err(failed(&what))?;
        // The key is not restricted, so the TPM wants no proof that the digest is its own.
        let ticket = HashcheckTicket::try_from(TPMT_TK_HASHCHECK {
            tag: 0x8024,
            hierarchy: 0x4000_0007,
            digest: Default::default(),
        })
        .map_err(failed(&what))?;
        let scheme = SignatureScheme::EcDsa {
            hash_scheme: tss_esapi::structures::HashScheme::new(HashingAlgorithm::Sha256),
        };
        let signature = tpm
            .context
            .sign(key.handle, digest, scheme, ticket)
            .and_then(|signature| signature.marshall())
            .map_err(failed(&what))?;
        let numbers = quote::scalars(&signature).map_err(|_| senseless(&what))?;
        let mut der = [0; engine::der::MAX_LEN];
        let length = engine::der::normalize(&numbers, &mut der).map_err(|_| senseless(&what))?;
        let der = der.get(..length).unwrap_or_default();
        if !crate::crypto::verify(&self.point, message, der) {
            return Err(senseless(&what));
        }
        Ok(der.to_vec())
    }
}

/// A transport of whole commands and responses.
trait Transport: Read + Write {}
impl<T: Read + Write> Transport for T {}

/// Commands that the library does not have, sent by ourselves. Loads the attestation key on its own, because what another
/// connection has loaded cannot be seen here; unloads it when it is dropped.
pub(crate) struct Raw {
    transport: Box<dyn Transport>,
    key: Option<u32>,
}

/// `TPM2_CreatePrimary`, `TPM2_FlushContext`, `TPM2_NV_Certify`.
mod command {
    pub(super) const CREATE_PRIMARY: u32 = 0x0131;
    pub(super) const FLUSH_CONTEXT: u32 = 0x0165;
    pub(super) const NV_CERTIFY: u32 = 0x0184;
}

/// What became of an NV index that was to be certified.
pub(crate) enum Certified {
    /// It is certified.
    Done(Attested),
    /// It does not exist.
    Missing,
    /// It was never written.
    Unwritten,
}

impl Raw {
    /// Connects, after [`Tpm`], to the same TPM, which must not be open any more: not every TPM has room for two.
    ///
    /// # Errors
    ///
    /// As [`Tpm::open`]; [`Error::Invalid`] `tpm_tcti` for what is neither a device nor `swtpm`.
    pub(crate) fn open(tpm: Tpm) -> Result<Self> {
        let tcti = tpm.tcti.clone();
        drop(tpm);
        let transport: Box<dyn Transport> = if let Some(path) = device_path(&tcti) {
            Box::new(open_device(path)?)
        } else if let Some(address) = swtpm_address(&tcti) {
            let failed = |source| Error::Io {
                what: "cannot reach swtpm".to_owned(),
                source,
            };
            let stream = TcpStream::connect(address).map_err(failed)?;
            stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
            stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
            Box::new(stream)
        } else {
            return Err(Error::invalid(
                "tpm_tcti",
                "a quote needs a TPM that is a device or swtpm: set TCTI=device:/dev/tpmrm0",
            ));
        };
        let mut raw = Self {
            transport,
            key: None,
        };
        raw.load()?;
        Ok(raw)
    }

    /// Sends a command; gives the response code, and what follows it.
    fn transact(
        &mut self,
        what: &str,
        code: u32,
        sessions: bool,
        body: &[u8],
    ) -> Result<(u32, Vec<u8>)> {
        let io = |source| Error::Io {
            what: what.to_owned(),
            source,
        };
        let length = body
            .len()
            .checked_add(10)
            .and_then(|all| u32::try_from(all).ok());
        let length = length.ok_or_else(|| senseless(what))?;
        let tag: u16 = if sessions { 0x8002 } else { 0x8001 };
        let mut message = tag.to_be_bytes().to_vec();
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(&code.to_be_bytes());
        message.extend_from_slice(body);
        self.transport.write_all(&message).map_err(io)?;

        // A device gives the whole response at once, a socket maybe in pieces.
        let mut response = vec![0; MAX_RESPONSE];
        let mut have = 0;
        loop {
            let room = response.get_mut(have..).unwrap_or_default();
            let got = self.transport.read(room).map_err(io)?;
            if got == 0 {
                return Err(senseless(what));
            }
            have = have.saturating_add(got);
            let seen = response.get(..have).unwrap_or_default();
            let mut reader = Reader::new(seen);
            let mut header = || -> wire::Result<(u16, u32, u32)> {
                Ok((reader.u16()?, reader.u32()?, reader.u32()?))
            };
            let Ok((tag, length, code)) = header() else {
                continue;
            };
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if !(10..=MAX_RESPONSE).contains(&length)
                || have > length
                || ![0x8001, 0x8002].contains(&tag)
            {
                return Err(senseless(what));
            }
            if have == length {
                return Ok((code, reader.rest().to_vec()));
            }
        }
    }

    /// Makes the attestation key.
    fn load(&mut self) -> Result<()> {
        let what = "cannot make the attestation key";
        let mut body = quote::ENDORSEMENT.to_be_bytes().to_vec();
        put_sessions(&mut body, 1);
        // No authorization value, no data; nothing about the creation.
        put_2b(&mut body, &[0; 4]);
        put_2b(&mut body, &quote::ak_template());
        body.extend_from_slice(&[0; 6]);
        let (code, response) = self.transact(what, command::CREATE_PRIMARY, true, &body)?;
        if code != 0 {
            return Err(raw_failed(what, code));
        }
        let handle = Reader::new(&response).u32().map_err(|_| senseless(what))?;
        self.key = Some(handle);
        Ok(())
    }

    /// `TPM2_NV_Certify` of the whole of an index, which anybody may read.
    ///
    /// # Errors
    ///
    /// The TPM's.
    pub(crate) fn certify(&mut self, index: u32, size: u16, nonce: &[u8]) -> Result<Certified> {
        const UNINITIALIZED: u32 = 0x014a;
        const HANDLE: u32 = 0x008b;
        let what = format!("cannot certify NV index {index:08x}");
        let key = self.key.ok_or_else(|| senseless(&what))?;
        let mut body = Vec::new();
        for handle in [key, index, index] {
            body.extend_from_slice(&handle.to_be_bytes());
        }
        put_sessions(&mut body, 2);
        put_2b(&mut body, nonce);
        body.extend_from_slice(&quote::ALG_NULL.to_be_bytes());
        body.extend_from_slice(&size.to_be_bytes());
        body.extend_from_slice(&[0; 2]);
        let (code, response) = self.transact(&what, command::NV_CERTIFY, true, &body)?;
        match code {
            0 => {}
            UNINITIALIZED => return Ok(Certified::Unwritten),
            // Whichever of the handles it is that does not exist.
            _ if code & 0xff == HANDLE => return Ok(Certified::Missing),
            _ => return Err(raw_failed(&what, code)),
        }
        let mut reader = Reader::new(&response);
        let mut fields = || -> wire::Result<Attested> {
            let length = usize::try_from(reader.u32()?).unwrap_or(usize::MAX);
            let mut parameters = Reader::new(reader.bytes(length)?);
            Ok(Attested {
                attest: take_2b(&mut parameters)?.to_vec(),
                signature: parameters.rest().to_vec(),
            })
        };
        fields().map(Certified::Done).map_err(|_| senseless(&what))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            // A resource manager unloads it anyway.
            let _ = self.transact("", command::FLUSH_CONTEXT, false, &key.to_be_bytes());
        }
    }
}

/// Appends so many empty passwords.
fn put_sessions(body: &mut Vec<u8>, count: u8) {
    body.extend_from_slice(&(u32::from(count) * 9).to_be_bytes());
    for _ in 0..count {
        body.extend_from_slice(&[0x40, 0, 0, 9, 0, 0, 0, 0, 0]);
    }
}

/// A response code as an error.
fn raw_failed(what: &str, code: u32) -> Error {
    failed(what)(tss_esapi::Error::Tss2Error(code.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        cell::RefCell,
        rc::Rc, //
    };

    #[test]
    fn handles_are_the_owners() {
        assert_eq!(parse_handle("0x81000000"), Ok(0x8100_0000));
        assert_eq!(parse_handle("817fffff"), Ok(0x817f_ffff));
        for text in ["", "0x", "80ffffff", "81800000", "1", "x", "0x181000000"] {
            assert!(parse_handle(text).is_err());
        }
    }

    #[test]
    fn a_tcti_says_where_the_tpm_is() {
        for (text, path) in [
            ("device:/dev/tpmrm0", Some("/dev/tpmrm0")),
            ("device", Some("/dev/tpm0")),
            ("swtpm:port=1", None),
        ] {
            assert_eq!(device_path(text), path.map(Path::new));
        }
        for (text, address) in [
            ("swtpm", Some(("localhost", 2321))),
            ("swtpm:host=h,port=9", Some(("h", 9))),
            ("swtpm:port=65536", None),
            ("swtpm:path=/x", None),
            ("mssim:host=h", None),
        ] {
            assert_eq!(swtpm_address(text), address);
        }
    }

    #[test]
    fn a_device_that_cannot_be_opened_is_explained() {
        let path = Path::new("/nonexistent/tpm");
        let error = open_device(path).unwrap_err();
        assert_eq!(error.errno(), 2);
        assert!(error.to_string().contains("firmware"), "{error}");
        for (errno, part) in [(13, "root"), (16, "tpmrm0")] {
            let error = device_error(path, io::Error::from_raw_os_error(errno));
            assert_eq!(error.errno(), errno);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn failures_say_what_to_do() {
        for (code, name) in [
            (0x9a2, "tpm_auth"),
            (0x98e, "tpm_auth"),
            (0x921, "tpm_lockout"),
            (0x14b, "tpm_full"),
            (0x14c, "tpm_handle_used"),
            (0x18b, "tpm_handle"),
            (0x101, "tpm_failure"),
            (0x100, "tpm"),
        ] {
            let error = raw_failed("it", code);
            assert_eq!(error.code(), name, "{code:x}: {error}");
            assert_eq!(error.exit_code(), 1);
        }
    }

    #[test]
    fn padding_behind_a_certificate_is_cut_off() {
        for (bytes, length) in [
            (&[0x30, 1, 0, 9, 9][..], Some(3)),
            (&[0x30, 0x81, 1, 0, 9], Some(4)),
            (&[0x30, 0x82, 0, 1, 0, 9], Some(5)),
            (&[0x30, 2, 0], None),
            (&[0x30, 0x83, 0, 0, 1, 0], None),
            (&[], None),
        ] {
            assert_eq!(der_length(bytes), length);
        }
    }

    #[test]
    fn only_free_signing_keys_sign_votes() {
        let public = |attributes| quote::signing_public(attributes, &[1; 31], &[2; 32]);
        let point = signing_point(&public(SIGN_ATTRIBUTES)).unwrap();
        assert_eq!(point[..3], [4, 0, 1]);
        assert_eq!(point[64], 2);
        // Restricted; not of this TPM; not for signatures.
        for attributes in [0x0005_0472, 0x0004_0470, 0x0002_0472] {
            assert_eq!(signing_point(&public(attributes)), None);
        }
        let whole = public(SIGN_ATTRIBUTES);
        for at in 0..whole.len() {
            assert_eq!(signing_point(&whole[..at]), None);
        }
        let long = quote::signing_public(SIGN_ATTRIBUTES, &[1; 33], &[2; 32]);
        assert_eq!(signing_point(&long), None);
    }

    /// A TPM that answers with what it is told to, in pieces of a size.
    struct Scripted {
        sent: Rc<RefCell<Vec<u8>>>,
        answer: Vec<u8>,
        piece: usize,
    }

    impl Read for Scripted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.piece.min(self.answer.len()).min(buffer.len());
            for (to, from) in buffer.iter_mut().zip(self.answer.drain(..count)) {
                *to = from;
            }
            Ok(count)
        }
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.sent.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn scripted(answer: &[u8], piece: usize) -> (Raw, Rc<RefCell<Vec<u8>>>) {
        let sent = Rc::new(RefCell::new(Vec::new()));
        let raw = Raw {
            transport: Box::new(Scripted {
                sent: sent.clone(),
                answer: answer.to_vec(),
                piece,
            }),
            key: Some(0x8000_0000),
        };
        (raw, sent)
    }

    fn response(code: u32, body: &[u8]) -> Vec<u8> {
        let mut response = vec![0x80, 2];
        let length = u32::try_from(body.len() + 10).unwrap();
        response.extend_from_slice(&length.to_be_bytes());
        response.extend_from_slice(&code.to_be_bytes());
        response.extend_from_slice(body);
        response
    }

    #[test]
    fn an_index_is_certified() {
        let body = [
            &[0, 0, 0, 7][..],
            &[0, 3, 1, 2, 3],
            &[8, 9],
            &[0, 0, 1, 0, 0],
        ]
        .concat();
        for piece in [1, 3, 100] {
            let (mut raw, sent) = scripted(&response(0, &body), piece);
            let Certified::Done(attested) = raw.certify(quote::COUNTER, 8, &[5; 16]).unwrap()
            else {
                panic!("not certified");
            };
            assert_eq!(attested.attest, [1, 2, 3]);
            assert_eq!(attested.signature, [8, 9]);
            let wanted = concat!(
                "8002000000440000018480000000018543500185435000000012",
                "400000090000000000",
                "400000090000000000",
                "001005050505050505050505050505050505",
                "001000080000"
            );
            let sent = hex::encode(&*sent.borrow());
            assert_eq!(sent, wanted);
        }
    }

    #[test]
    fn an_index_that_cannot_be_certified_is_told_apart() {
        for code in [0x18b, 0x28b, 0x38b] {
            let (mut raw, _) = scripted(&response(code, &[]), 100);
            assert!(matches!(
                raw.certify(quote::ANCHOR, 32, &[]),
                Ok(Certified::Missing)
            ));
        }
        let (mut raw, _) = scripted(&response(0x14a, &[]), 100);
        assert!(matches!(
            raw.certify(quote::ANCHOR, 32, &[]),
            Ok(Certified::Unwritten)
        ));
        let (mut raw, _) = scripted(&response(0x149, &[]), 100);
        assert_eq!(
            raw.certify(quote::ANCHOR, 32, &[]).err().unwrap().code(),
            "tpm"
        );
    }

    #[test]
    fn senseless_responses_are_refused() {
        let good = response(0, &[0, 0, 0, 5, 0, 3, 1, 2, 3]);
        for at in 0..good.len() {
            let (mut raw, _) = scripted(&good[..at], 100);
            let error = raw.certify(quote::COUNTER, 8, &[]).err().unwrap();
            assert_eq!(error.code(), "tpm_response", "cut at {at}");
        }
        for (at, byte) in [(0, 0), (1, 3), (2, 1), (5, 9), (5, 0), (13, 99), (15, 9)] {
            let mut bad = good.clone();
            bad[at] = byte;
            let (mut raw, _) = scripted(&bad, 100);
            let error = raw.certify(quote::COUNTER, 8, &[]).err().unwrap();
            assert_eq!(error.code(), "tpm_response", "byte {at}");
        }
    }
}
