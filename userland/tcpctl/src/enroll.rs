// SPDX-License-Identifier: GPL-2.0

//! Enrolment of a node: proof that its attestation key is in a TPM that a manufacturer vouches for.
//!
//! `TPM2_MakeCredential` in software and the endorsement certificate's chain, so that a verifier needs no TPM: see
//! `Documentation/attestation.rst`. Only public keys are used here, so nothing depends on the RSA crate's timing.

use std::time::SystemTime;

use engine::wire::{
    self,
    Reader, //
};
use hmac::{
    Hmac,
    Mac, //
};
use p256::{
    ecdh::EphemeralSecret,
    elliptic_curve::{
        rand_core::OsRng,
        sec1::ToEncodedPoint, //
    }, //
};
use rsa::{
    traits::PublicKeyParts,
    BigUint,
    Oaep,
    RsaPublicKey, //
};
use sha2::Digest as _;
use x509_cert::{
    der::{
        asn1::ObjectIdentifier,
        Decode,
        DecodePem,
        Encode, //
    },
    ext::pkix::{
        BasicConstraints,
        ExtendedKeyUsage,
        KeyUsage,
        KeyUsages, //
    },
    spki::{
        DecodePublicKey,
        SubjectPublicKeyInfoOwned, //
    },
    Certificate, //
};

use crate::{
    error::{
        Error,
        Result, //
    },
    output::clean,
    quote::{
        name_of,
        put_2b,
        take_2b, //
    }, //
};

/// `PolicyA` of the TCG EK Credential Profile: `TPM2_PolicySecret` with the endorsement hierarchy's.
const POLICY_A: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];
/// First four bytes of a file of `tpm2_makecredential`.
const CREDENTIAL_MAGIC: u32 = 0xbadc_c0de;
/// Version of such a file.
const CREDENTIAL_VERSION: u32 = 1;
/// Length of the secret in a challenge, in bytes.
pub(crate) const SECRET: usize = 32;
/// Most certificates between an endorsement key's and the root.
const MAX_DEPTH: usize = 8;

/// Extended key usage: endorsement key certificate.
const EK_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
const SHA256_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const SHA384_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const SHA512_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");

/// A public key that a credential can be encrypted to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum EkPublic {
    /// RSA 2048 with the exponent 65537.
    Rsa(RsaPublicKey),
    /// NIST P-256.
    Ecc(p256::PublicKey),
}

/// What every endorsement key of the profile has in front of its parameters; `kind` is the type of object.
fn ek_head(kind: u16) -> Vec<u8> {
    let mut head = kind.to_be_bytes().to_vec();
    // SHA-256; fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt.
    head.extend_from_slice(&[0, 0x0b, 0, 3, 0, 0xb2]);
    put_2b(&mut head, &POLICY_A);
    // AES-128 in CFB mode.
    head.extend_from_slice(&[0, 6, 0, 0x80, 0, 0x43]);
    head
}

impl EkPublic {
    /// The key that a `TPMT_PUBLIC` describes; it must be of the profile, in every byte.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] `ek_template`.
    pub(crate) fn from_public(public: &[u8]) -> Result<Self> {
        let wrong = || {
            Error::invalid(
                "ek_template",
                "the key is not an endorsement key of the TCG profile (RSA 2048 or P-256, low range): do not trust it",
            )
        };
        let mut rsa = ek_head(0x0001);
        // No scheme, 2048 bits, the default exponent.
        rsa.extend_from_slice(&[0, 0x10, 8, 0, 0, 0, 0, 0]);
        if let Some(unique) = public.strip_prefix(rsa.as_slice()) {
            let mut reader = Reader::new(unique);
            let modulus = take_2b(&mut reader).map_err(|_| wrong())?;
            reader.end().map_err(|_| wrong())?;
            if modulus.len() != 256 || modulus.first().is_none_or(|byte| *byte < 0x80) {
                return Err(wrong());
            }
            return RsaPublicKey::new(BigUint::from_bytes_be(modulus), BigUint::from(65537u32))
                .map(Self::Rsa)
                .map_err(|_| wrong());
        }
        let mut ecc = ek_head(0x0023);
        // No scheme, P-256, no kdf.
        ecc.extend_from_slice(&[0, 0x10, 0, 3, 0, 0x10]);
        let unique = public.strip_prefix(ecc.as_slice()).ok_or_else(wrong)?;
        let mut reader = Reader::new(unique);
        let mut fields = || -> wire::Result<Vec<u8>> {
            let mut point = vec![4];
            for _ in 0..2 {
                let number = take_2b(&mut reader)?;
                point.resize(point.len() + 32usize.saturating_sub(number.len()), 0);
                point.extend_from_slice(number);
            }
            Ok(point)
        };
        let point = fields().map_err(|_| wrong())?;
        reader.end().map_err(|_| wrong())?;
        p256::PublicKey::from_sec1_bytes(&point)
            .map(Self::Ecc)
            .map_err(|_| wrong())
    }

    /// The key in a certificate, if it is of a kind that is known here.
    fn from_certificate(certificate: &Certificate) -> Option<Self> {
        let spki = certificate
            .tbs_certificate
            .subject_public_key_info
            .to_der()
            .ok()?;
        RsaPublicKey::from_public_key_der(&spki)
            .map(Self::Rsa)
            .or_else(|_| p256::PublicKey::from_public_key_der(&spki).map(Self::Ecc))
            .ok()
    }
}

/// HMAC-SHA-256 of the parts, one after the other.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<[u8; 32]> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key)
        .map_err(|error| Error::invalid("challenge", error.to_string()))?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().into())
}

/// `KDFa` (Part 1, 11.4.10.2) for at most 256 bits: one round.
fn kdf_a(key: &[u8], label: &[u8], context: &[u8], bits: u32) -> Result<[u8; 32]> {
    hmac(
        key,
        &[
            &1u32.to_be_bytes(),
            label,
            &[0],
            context,
            &bits.to_be_bytes(),
        ],
    )
}

/// `KDFe` (Part 1, 11.4.10.3) for 256 bits: one round.
fn kdf_e(z: &[u8], label: &[u8], ours: &[u8], theirs: &[u8]) -> [u8; 32] {
    let mut digest = sha2::Sha256::new();
    for part in [&1u32.to_be_bytes(), z, label, &[0], ours, theirs] {
        digest.update(part);
    }
    digest.finalize().into()
}

/// `TPM2_MakeCredential` in software (Part 1, 24): `secret` can be read only by the TPM that has both the endorsement key
/// and a key with this `TPMT_PUBLIC`. In the format of `tpm2_makecredential`.
///
/// # Errors
///
/// [`Error::Invalid`] `challenge`, when encryption fails.
pub(crate) fn make_credential(ek: &EkPublic, ak: &[u8], secret: &[u8]) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| {
        Error::invalid("challenge", format!("cannot make the challenge: {error}"))
    };
    let (seed, encrypted) = match ek {
        EkPublic::Rsa(key) => {
            let mut seed = [0; 32];
            rsa::rand_core::RngCore::fill_bytes(&mut OsRng, &mut seed);
            // The label's zero byte is part of it.
            let padding = Oaep::new_with_label::<sha2::Sha256, _>("IDENTITY\0");
            let encrypted = key
                .encrypt(&mut OsRng, padding, &seed)
                .map_err(|error| failed(&error))?;
            (seed, encrypted)
        }
        EkPublic::Ecc(key) => {
            let ephemeral = EphemeralSecret::random(&mut OsRng);
            let ours = ephemeral.public_key().to_encoded_point(false);
            let theirs = key.to_encoded_point(false);
            let shared = ephemeral.diffie_hellman(key);
            let (Some(ours_x), Some(ours_y), Some(theirs_x)) = (ours.x(), ours.y(), theirs.x())
            else {
                return Err(failed(&"no point"));
            };
            let seed = kdf_e(shared.raw_secret_bytes(), b"IDENTITY", ours_x, theirs_x);
            let mut point = Vec::new();
            put_2b(&mut point, ours_x);
            put_2b(&mut point, ours_y);
            (seed, point)
        }
    };
    let name = name_of(ak);
    let storage = kdf_a(&seed, b"STORAGE", &name, 128)?;
    let mut identity = Vec::new();
    put_2b(&mut identity, secret);
    {
        use cfb_mode::cipher::{
            AsyncStreamCipher,
            KeyIvInit, //
        };
        let key = storage.get(..16).unwrap_or_default();
        cfb_mode::Encryptor::<aes::Aes128>::new_from_slices(key, &[0; 16])
            .map_err(|error| failed(&error))?
            .encrypt(&mut identity);
    }
    let integrity = kdf_a(&seed, b"INTEGRITY", &[], 256)?;
    let integrity = hmac(&integrity, &[&identity, &name])?;
    let mut blob = Vec::new();
    put_2b(&mut blob, &integrity);
    blob.extend_from_slice(&identity);

    let mut file = CREDENTIAL_MAGIC.to_be_bytes().to_vec();
    file.extend_from_slice(&CREDENTIAL_VERSION.to_be_bytes());
    put_2b(&mut file, &blob);
    put_2b(&mut file, &encrypted);
    Ok(file)
}

/// Splits a file of `tpm2_makecredential` into `TPM2B_ID_OBJECT` and `TPM2B_ENCRYPTED_SECRET`, both without their sizes.
///
/// # Errors
///
/// [`Error::Invalid`] `challenge_malformed`.
pub(crate) fn split_credential(file: &[u8]) -> Result<(&[u8], &[u8])> {
    let mut reader = Reader::new(file);
    let mut fields = || -> wire::Result<Option<(&[u8], &[u8])>> {
        if (reader.u32()?, reader.u32()?) != (CREDENTIAL_MAGIC, CREDENTIAL_VERSION) {
            return Ok(None);
        }
        Ok(Some((take_2b(&mut reader)?, take_2b(&mut reader)?)))
    };
    let parts = fields().ok().flatten();
    parts.filter(|_| reader.end().is_ok()).ok_or_else(|| {
        Error::invalid(
            "challenge_malformed",
            "the challenge is torn, or was not made by `tcpctl attest enroll challenge` or `tpm2_makecredential`",
        )
    })
}

/// Reads certificates in PEM, several in a file, or one in DER.
///
/// # Errors
///
/// [`Error::Invalid`] `ca_malformed`.
pub(crate) fn certificates(file: &[u8]) -> Result<Vec<Certificate>> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let wrong = |error: &dyn std::fmt::Display| {
        Error::invalid("ca_malformed", format!("not a certificate: {error}"))
    };
    if file.first() == Some(&0x30) {
        return Certificate::from_der(file)
            .map(|one| vec![one])
            .map_err(|error| wrong(&error));
    }
    let text = std::str::from_utf8(file).map_err(|error| wrong(&error))?;
    let mut all = Vec::new();
    let mut rest = text;
    // What stands between the blocks is a comment, as in the bundles that makers and distributions give out.
    while let Some((_, begun)) = rest.split_once(BEGIN) {
        let (body, behind) = begun
            .split_once(END)
            .ok_or_else(|| wrong(&"a block has no end"))?;
        let block = format!("{BEGIN}{body}{END}\n");
        all.push(Certificate::from_pem(block).map_err(|error| wrong(&error))?);
        rest = behind;
    }
    if all.is_empty() {
        return Err(wrong(&"there is no block of PEM in the file"));
    }
    Ok(all)
}

/// Whether `issuer`'s key made a certificate's signature.
fn signed_by(certificate: &Certificate, issuer: &Certificate) -> bool {
    use p256::ecdsa::signature::Verifier;
    let algorithm = &certificate.signature_algorithm;
    if *algorithm != certificate.tbs_certificate.signature {
        return false;
    }
    let (Ok(message), Some(signature)) = (
        certificate.tbs_certificate.to_der(),
        certificate.signature.as_bytes(),
    ) else {
        return false;
    };
    let spki: &SubjectPublicKeyInfoOwned = &issuer.tbs_certificate.subject_public_key_info;
    let Ok(spki) = spki.to_der() else {
        return false;
    };
    let rsa = || {
        let key = RsaPublicKey::from_public_key_der(&spki).ok()?;
        (key.size() >= 256).then_some(key)
    };
    let pkcs1 = || rsa::pkcs1v15::Signature::try_from(signature).ok();
    match algorithm.oid {
        SHA256_RSA => rsa().zip(pkcs1()).is_some_and(|(key, signature)| {
            rsa::pkcs1v15::VerifyingKey::<sha2::Sha256>::new(key)
                .verify(&message, &signature)
                .is_ok()
        }),
        SHA384_RSA => rsa().zip(pkcs1()).is_some_and(|(key, signature)| {
            rsa::pkcs1v15::VerifyingKey::<sha2::Sha384>::new(key)
                .verify(&message, &signature)
                .is_ok()
        }),
        SHA512_RSA => rsa().zip(pkcs1()).is_some_and(|(key, signature)| {
            rsa::pkcs1v15::VerifyingKey::<sha2::Sha512>::new(key)
                .verify(&message, &signature)
                .is_ok()
        }),
        ECDSA_SHA256 => p256::ecdsa::VerifyingKey::from_public_key_der(&spki)
            .ok()
            .zip(p256::ecdsa::Signature::from_der(signature).ok())
            .is_some_and(|(key, signature)| key.verify(&message, &signature).is_ok()),
        ECDSA_SHA384 => p384::ecdsa::VerifyingKey::from_public_key_der(&spki)
            .ok()
            .zip(p384::ecdsa::Signature::from_der(signature).ok())
            .is_some_and(|(key, signature)| key.verify(&message, &signature).is_ok()),
        _ => false,
    }
}

/// The value of an extension; `Err` when it stands there twice or is not what it should be.
fn extension<T: for<'a> Decode<'a>>(
    certificate: &Certificate,
    oid: ObjectIdentifier,
) -> Result<Option<T>, ()> {
    let mut found = certificate
        .tbs_certificate
        .extensions
        .iter()
        .flatten()
        .filter(|extension| extension.extn_id == oid);
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => T::from_der(one.extn_value.as_bytes())
            .map(Some)
            .map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Whether a certificate is valid at a time, and has no critical extension that is not understood here.
fn usable(certificate: &Certificate, now: SystemTime) -> Result<()> {
    let tbs = &certificate.tbs_certificate;
    // Its type's own escapes leave what a terminal may act upon.
    let subject = clean(tbs.subject.to_string().as_bytes());
    if now < tbs.validity.not_before.to_system_time()
        || now > tbs.validity.not_after.to_system_time()
    {
        return Err(Error::invalid(
            "ek_expired",
            format!("the certificate of `{subject}` is not valid now: check this machine's clock, or get a new one"),
        ));
    }
    let known = [
        BASIC_CONSTRAINTS,
        KEY_USAGE,
        EXTENDED_KEY_USAGE,
        SUBJECT_ALT_NAME,
        POLICIES,
    ];
    for extension in tbs.extensions.iter().flatten() {
        if extension.critical && !known.contains(&extension.extn_id) {
            return Err(Error::invalid(
                "ek_extension",
                format!(
                    "the certificate of `{subject}` has the critical extension {}, which is not understood here",
                    extension.extn_id
                ),
            ));
        }
    }
    Ok(())
}

/// Whether a certificate may issue others, `below` of which are issuers themselves.
fn may_issue(issuer: &Certificate, below: usize) -> bool {
    let Ok(Some(basic)) = extension::<BasicConstraints>(issuer, BASIC_CONSTRAINTS) else {
        return false;
    };
    let short = basic
        .path_len_constraint
        .is_none_or(|limit| below <= usize::from(limit));
    let usage = match extension::<KeyUsage>(issuer, KEY_USAGE) {
        Ok(usage) => usage,
        Err(()) => return false,
    };
    basic.ca && short && usage.is_none_or(|usage| usage.0.contains(KeyUsages::KeyCertSign))
}

/// Checks an endorsement key's certificate: it is for this key, for this purpose, valid now, and a chain of `issuers` leads
/// from it to one that signed itself. Revocation is not checked.
///
/// # Errors
///
/// [`Error::Invalid`] `ek_certificate`, `ek_other_key`, `ek_expired`, `ek_extension`, `ek_usage`, `ek_issuer`.
pub(crate) fn check_ek(
    certificate: &[u8],
    ek: &EkPublic,
    issuers: &[Certificate],
    now: SystemTime,
) -> Result<()> {
    let certificate = Certificate::from_der(certificate).map_err(|error| {
        Error::invalid(
            "ek_certificate",
            format!("the endorsement key's certificate is torn: {error}"),
        )
    })?;
    if EkPublic::from_certificate(&certificate).as_ref() != Some(ek) {
        return Err(Error::invalid(
            "ek_other_key",
            "the certificate is for another endorsement key: do not trust the request",
        ));
    }
    usable(&certificate, now)?;
    let usage = || {
        Error::invalid(
            "ek_usage",
            "the certificate is not one of an endorsement key (basic constraints or key usage): do not trust it",
        )
    };
    let basic: Option<BasicConstraints> =
        extension(&certificate, BASIC_CONSTRAINTS).map_err(|()| usage())?;
    if basic.is_some_and(|basic| basic.ca) {
        return Err(usage());
    }
    let wanted = match ek {
        EkPublic::Rsa(_) => KeyUsages::KeyEncipherment,
        EkPublic::Ecc(_) => KeyUsages::KeyAgreement,
    };
    let keys: Option<KeyUsage> = extension(&certificate, KEY_USAGE).map_err(|()| usage())?;
    if keys.is_some_and(|keys| !keys.0.contains(wanted)) {
        return Err(usage());
    }
    let extended: Option<ExtendedKeyUsage> =
        extension(&certificate, EXTENDED_KEY_USAGE).map_err(|()| usage())?;
    if extended.is_some_and(|extended| !extended.0.contains(&EK_CERTIFICATE)) {
        return Err(usage());
    }

    let mut chain = vec![&certificate];
    while chain.len() <= MAX_DEPTH {
        let Some(last) = chain.last() else { break };
        let below = chain.len().saturating_sub(1);
        let fits = |issuer: &&Certificate| {
            issuer.tbs_certificate.subject == last.tbs_certificate.issuer
                && may_issue(issuer, below)
                && signed_by(last, issuer)
        };
        // An authority that was renewed has an old certificate, too, which may stand first.
        let mut candidates = issuers.iter().filter(fits);
        let first = candidates.next();
        let issuer = first
            .into_iter()
            .chain(candidates)
            .find(|issuer| usable(issuer, now).is_ok())
            .or(first);
        let Some(issuer) = issuer else { break };
        usable(issuer, now)?;
        if issuer.tbs_certificate.subject == issuer.tbs_certificate.issuer
            && signed_by(issuer, issuer)
        {
            return Ok(());
        }
        chain.push(issuer);
    }
    let missing = chain
        .last()
        .map(|last| clean(last.tbs_certificate.issuer.to_string().as_bytes()))
        .unwrap_or_default();
    Err(Error::invalid(
        "ek_issuer",
        format!(
            "no chain from the endorsement key's certificate to a root: `{missing}` is missing, or its certificate does \
             not fit; get the manufacturer's certificates and name each with --ca"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quote::tests::vector;
    use rsa::pkcs8::DecodePrivateKey;
    use serde_json::Value;
    use std::time::Duration;

    fn bytes(value: &Value) -> Vec<u8> {
        hex::decode(value.as_str().unwrap()).unwrap()
    }

    fn list(value: &Value) -> Vec<Certificate> {
        let all = value.as_array().unwrap();
        all.iter()
            .flat_map(|one| certificates(&bytes(one)).unwrap())
            .collect()
    }

    fn now(vector: &Value) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(vector["now"].as_u64().unwrap())
    }

    #[test]
    fn certificates_of_endorsement_keys_are_accepted() {
        let vector = vector("enroll.json");
        let issuers = list(&vector["issuers"]);
        for (case, issuers) in [
            (&vector["rsa"], issuers.clone()),
            (&vector["ecc"], issuers),
            (&vector["swtpm"], list(&vector["swtpm"]["issuers"])),
        ] {
            let ek = EkPublic::from_public(&bytes(&case["public"])).unwrap();
            check_ek(&bytes(&case["certificate"]), &ek, &issuers, now(&vector)).unwrap();
        }
    }

    #[test]
    fn every_promised_algorithm_is_accepted_and_checked() {
        let vector = vector("enroll.json");
        let ek = EkPublic::from_public(&bytes(&vector["rsa"]["public"])).unwrap();
        let cases = vector["algorithms"].as_array().unwrap();
        assert_eq!(cases.len(), 5);
        for case in cases {
            let (good, issuers) = (bytes(&case["certificate"]), list(&case["issuers"]));
            check_ek(&good, &ek, &issuers, now(&vector)).unwrap();
            // The signature stands at the end.
            let mut bad = good;
            *bad.last_mut().unwrap() ^= 1;
            let error = check_ek(&bad, &ek, &issuers, now(&vector)).unwrap_err();
            assert_eq!(error.code(), "ek_issuer", "{}", case["comment"]);
        }
    }

    #[test]
    fn certificates_that_prove_nothing_are_refused_by_name() {
        let vector = vector("enroll.json");
        let ek = EkPublic::from_public(&bytes(&vector["rsa"]["public"])).unwrap();
        let issuers = list(&vector["issuers"]);
        for case in vector["refused"].as_array().unwrap() {
            let mut all = issuers.clone();
            all.extend(list(&case["issuers"]));
            let error =
                check_ek(&bytes(&case["certificate"]), &ek, &all, now(&vector)).unwrap_err();
            assert_eq!(
                error.code(),
                case["code"].as_str().unwrap(),
                "{}",
                case["comment"]
            );
        }
        let good = bytes(&vector["rsa"]["certificate"]);
        for (issuers, now, wanted) in [
            (&issuers[..1], now(&vector), "ek_issuer"),
            (&issuers[1..], now(&vector), "ek_issuer"),
            (&[], now(&vector), "ek_issuer"),
            (&issuers[..], SystemTime::UNIX_EPOCH, "ek_expired"),
        ] {
            assert_eq!(
                check_ek(&good, &ek, issuers, now).unwrap_err().code(),
                wanted
            );
        }
    }

    #[test]
    fn the_old_certificate_of_a_renewed_authority_does_no_harm() {
        let vector = vector("enroll.json");
        let ek = EkPublic::from_public(&bytes(&vector["rsa"]["public"])).unwrap();
        let good = bytes(&vector["rsa"]["certificate"]);
        let mut issuers = list(&vector["issuers"]);
        let check = |issuers: &[Certificate]| check_ek(&good, &ek, issuers, now(&vector));
        let old: Vec<Certificate> = issuers
            .iter()
            .cloned()
            .map(|mut one| {
                let validity = &mut one.tbs_certificate.validity;
                validity.not_after = validity.not_before;
                one
            })
            .collect();
        assert_eq!(check(&old).unwrap_err().code(), "ek_expired");
        issuers.splice(0..0, old);
        check(&issuers).unwrap();
    }

    #[test]
    fn names_in_certificates_cannot_speak_to_a_terminal() {
        use x509_cert::der::asn1::Utf8StringRef;
        let vector = vector("enroll.json");
        let mut one = list(&vector["issuers"]).swap_remove(0);
        let hostile = Utf8StringRef::new("\u{9b}31m\u{202e}").unwrap();
        let mut name = one.tbs_certificate.subject.clone();
        let first = name.0.first_mut().unwrap();
        let mut value = first.0.get(0).unwrap().clone();
        value.value = hostile.into();
        first.0 = [value].to_vec().try_into().unwrap();
        assert!(name.to_string().contains('\u{9b}'), "{name}");
        one.tbs_certificate.subject = name;
        let error = usable(&one, SystemTime::UNIX_EPOCH).unwrap_err();
        assert!(error.to_string().is_ascii(), "{error}");
    }

    #[test]
    fn every_flipped_byte_of_a_certificate_is_refused() {
        let vector = vector("enroll.json");
        let case = &vector["ecc"];
        let ek = EkPublic::from_public(&bytes(&case["public"])).unwrap();
        let issuers = list(&vector["issuers"]);
        let good = bytes(&case["certificate"]);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(
                check_ek(&bad, &ek, &issuers, now(&vector)).is_err(),
                "byte {at}"
            );
            assert!(check_ek(&good[..at], &ek, &issuers, now(&vector)).is_err());
        }
    }

    #[test]
    fn keys_that_are_no_endorsement_keys_are_refused() {
        let vector = vector("enroll.json");
        for case in ["rsa", "ecc"] {
            let good = bytes(&vector[case]["public"]);
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 0x80;
                // Another modulus is another key of the same template.
                let other = EkPublic::from_public(&bad).ok();
                assert!(other.is_none() || other != EkPublic::from_public(&good).ok());
                assert!(at >= 58 || other.is_none(), "{case} byte {at}");
                assert!(EkPublic::from_public(&good[..at]).is_err());
            }
            assert!(EkPublic::from_public(&[good, vec![0]].concat()).is_err());
        }
    }

    /// `TPM2_ActivateCredential` as the TPM does it, with what the key's owner has decrypted.
    fn activate(seed: &[u8; 32], ak: &[u8], blob: &[u8]) -> Option<Vec<u8>> {
        use cfb_mode::cipher::{
            AsyncStreamCipher,
            KeyIvInit, //
        };
        let mut reader = Reader::new(blob);
        let found = take_2b(&mut reader).ok()?;
        let identity = reader.rest();
        let integrity = kdf_a(seed, b"INTEGRITY", &[], 256).ok()?;
        if hmac(&integrity, &[identity, &name_of(ak)]).ok()? != found {
            return None;
        }
        let key = kdf_a(seed, b"STORAGE", &name_of(ak), 128).ok()?;
        let mut identity = identity.to_vec();
        cfb_mode::Decryptor::<aes::Aes128>::new_from_slices(&key[..16], &[0; 16])
            .ok()?
            .decrypt(&mut identity);
        let mut reader = Reader::new(&identity);
        let secret = take_2b(&mut reader).ok()?.to_vec();
        reader.end().ok()?;
        Some(secret)
    }

    #[test]
    fn a_credential_is_for_one_endorsement_key_and_one_attestation_key() {
        let vector = vector("enroll.json");
        let secret = [5; SECRET];
        let (ak, other) = (b"one key".as_slice(), b"another".as_slice());

        let case = &vector["rsa"];
        let ek = EkPublic::from_public(&bytes(&case["public"])).unwrap();
        let file = make_credential(&ek, ak, &secret).unwrap();
        let (blob, encrypted) = split_credential(&file).unwrap();
        let key = rsa::RsaPrivateKey::from_pkcs8_pem(case["private_pem"].as_str().unwrap());
        let padding = Oaep::new_with_label::<sha2::Sha256, _>("IDENTITY\0");
        let seed = key.unwrap().decrypt(padding, encrypted).unwrap();
        let seed = seed.try_into().unwrap();
        assert_eq!(activate(&seed, ak, blob), Some(secret.to_vec()));
        assert_eq!(activate(&seed, other, blob), None);

        let case = &vector["ecc"];
        let ek = EkPublic::from_public(&bytes(&case["public"])).unwrap();
        let file = make_credential(&ek, ak, &secret).unwrap();
        let (blob, encrypted) = split_credential(&file).unwrap();
        let key = p256::SecretKey::from_pkcs8_pem(case["private_pem"].as_str().unwrap()).unwrap();
        let mut reader = Reader::new(encrypted);
        let x = take_2b(&mut reader).unwrap();
        let y = take_2b(&mut reader).unwrap();
        let ours = p256::PublicKey::from_sec1_bytes(&[&[4], x, y].concat()).unwrap();
        let shared = p256::ecdh::diffie_hellman(key.to_nonzero_scalar(), ours.as_affine());
        let theirs = key.public_key().to_encoded_point(false);
        let seed = kdf_e(
            shared.raw_secret_bytes(),
            b"IDENTITY",
            x,
            theirs.x().unwrap(),
        );
        assert_eq!(activate(&seed, ak, blob), Some(secret.to_vec()));
        assert_eq!(activate(&seed, other, blob), None);
    }

    #[test]
    fn a_torn_challenge_is_refused() {
        let vector = vector("enroll.json");
        let ek = EkPublic::from_public(&bytes(&vector["ecc"]["public"])).unwrap();
        let file = make_credential(&ek, b"", &[0; 32]).unwrap();
        split_credential(&file).unwrap();
        for at in 0..file.len() {
            assert_eq!(
                split_credential(&file[..at]).unwrap_err().code(),
                "challenge_malformed"
            );
        }
        for bad in [[file.clone(), vec![0]].concat(), {
            let mut file = file.clone();
            file[7] = 2;
            file
        }] {
            assert!(split_credential(&bad).is_err());
        }
    }

    #[test]
    fn certificates_are_read_in_pem_and_der() {
        use x509_cert::der::{
            pem::LineEnding,
            EncodePem, //
        };
        let vector = vector("enroll.json");
        let all = list(&vector["issuers"]);
        let pem: String = all
            .iter()
            .map(|one| format!("Subject\n{}\n", one.to_pem(LineEnding::LF).unwrap()))
            .collect();
        assert_eq!(certificates(pem.as_bytes()).unwrap(), all);
        for bad in [&b""[..], b"x", b"0\x82", pem[..100].as_bytes(), b"\xff"] {
            assert_eq!(certificates(bad).unwrap_err().code(), "ca_malformed");
        }
    }
}
