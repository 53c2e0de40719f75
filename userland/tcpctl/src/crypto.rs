// SPDX-License-Identifier: GPL-2.0

//! SHA-256 for the engine, and P-256 keys and signatures.

use std::{
    fs,
    path::Path, //
};

use engine::wire::Digest;
use p256::{
    ecdsa::{
        signature::{
            Signer,
            Verifier, //
        },
        Signature,
        SigningKey,
        VerifyingKey, //
    },
    elliptic_curve::sec1::ToEncodedPoint,
    pkcs8::{
        DecodePrivateKey,
        DecodePublicKey,
        EncodePublicKey,
        LineEnding, //
    },
    PublicKey,
    SecretKey, //
};
use sha2::Digest as _;
use zeroize::Zeroizing;

use crate::error::{
    Error,
    Result, //
};

/// SHA-256, for the engine.
pub(crate) struct Sha256;

impl Digest for Sha256 {
    fn sha256(parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = sha2::Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

/// The digest of one byte string.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::sha256(&[bytes])
}

/// The uncompressed point of a public key.
pub(crate) type Point = [u8; 65];

/// The identity of a validator: the digest of its public key.
pub(crate) fn validator_id(point: &Point) -> [u8; 32] {
    sha256(point)
}

/// The uncompressed point of a key.
fn point(key: &PublicKey) -> Point {
    let encoded = key.to_encoded_point(false);
    let mut point = [0; 65];
    // An uncompressed point of P-256 always has 65 bytes.
    for (to, from) in point.iter_mut().zip(encoded.as_bytes()) {
        *to = *from;
    }
    point
}

/// A validator's private key.
pub(crate) struct PrivateKey {
    secret: SecretKey,
}

impl PrivateKey {
    /// Draws a new key from the kernel's random numbers.
    pub(crate) fn generate() -> Self {
        Self {
            secret: SecretKey::random(&mut p256::elliptic_curve::rand_core::OsRng),
        }
    }

    /// Reads PKCS#8 (`PRIVATE KEY`) or SEC 1 (`EC PRIVATE KEY`) in PEM, as `openssl` writes them.
    ///
    /// # Errors
    ///
    /// Says what else the text seems to be.
    pub(crate) fn from_pem(text: &str) -> Result<Self, String> {
        let secret = if let Some(block) = pem_block(text, "PRIVATE KEY") {
            SecretKey::from_pkcs8_pem(&block).map_err(|error| error.to_string())
        } else if let Some(block) = pem_block(text, "EC PRIVATE KEY") {
            SecretKey::from_sec1_pem(&block).map_err(|error| error.to_string())
        } else if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            return Err(
                "the key is encrypted: decrypt it with `openssl pkcs8 -in FILE -out FILE.plain`"
                    .to_owned(),
            );
        } else if text.contains("-----BEGIN PUBLIC KEY-----") {
            return Err("this is a public key: give the private one".to_owned());
        } else {
            return Err("no private key in PEM: make one with `tcpctl key generate`".to_owned());
        };
        secret
            .map(|secret| Self { secret })
            .map_err(|error| format!("not a private key of NIST P-256: {error}"))
    }

    /// Reads a key from a file.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], or [`Error::Invalid`] for what is no key of P-256.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = Zeroizing::new(
            fs::read_to_string(path).map_err(|source| Error::file("read", path, source))?,
        );
        Self::from_pem(&text)
            .map_err(|reason| Error::invalid("key", format!("{}: {reason}", path.display())))
    }

    /// The key as PKCS#8 in PEM.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it cannot be encoded, which does not happen.
    pub(crate) fn to_pem(&self) -> Result<Zeroizing<String>> {
        use p256::pkcs8::EncodePrivateKey;
        self.secret
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| Error::invalid("key", error.to_string()))
    }

    /// The uncompressed point of its public key.
    pub(crate) fn point(&self) -> Point {
        point(&self.secret.public_key())
    }

    /// Its public key as `PUBLIC KEY` in PEM.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when it cannot be encoded, which does not happen.
    pub(crate) fn public_pem(&self) -> Result<String> {
        self.secret
            .public_key()
            .to_public_key_pem(LineEnding::LF)
            .map_err(|error| Error::invalid("key", error.to_string()))
    }

    /// Signs: deterministic (RFC 6979), low S, DER.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = SigningKey::from(&self.secret).sign(message);
        let signature = signature.normalize_s().unwrap_or(signature);
        signature.to_der().as_bytes().to_vec()
    }
}

/// A public key as `PUBLIC KEY` in PEM.
///
/// # Errors
///
/// [`Error::Invalid`] for what is no point of P-256.
pub(crate) fn point_pem(point: &Point) -> Result<String> {
    PublicKey::from_sec1_bytes(point)
        .map_err(|error| error.to_string())
        .and_then(|key| {
            key.to_public_key_pem(LineEnding::LF)
                .map_err(|error| error.to_string())
        })
        .map_err(|error| Error::invalid("key", error))
}

/// Cuts the PEM block of one label out of a text that may hold others, such as `EC PARAMETERS`.
fn pem_block(text: &str, label: &str) -> Option<Zeroizing<String>> {
    let begin = format!("-----BEGIN {label}-----");
    let end = format!("-----END {label}-----");
    let start = text.find(&begin)?;
    let rest = text.get(start..)?;
    let length = rest.find(&end)?.checked_add(end.len())?;
    Some(Zeroizing::new(rest.get(..length)?.to_owned()))
}

/// Reads a public key: PEM (public, or private to take the public part of), or a SEC 1 point in hexadecimal.
///
/// # Errors
///
/// A sentence that says what is wrong.
pub(crate) fn parse_public(text: &str) -> Result<Point, String> {
    let text = text.trim();
    if let Some(block) = pem_block(text, "PUBLIC KEY") {
        return PublicKey::from_public_key_pem(&block)
            .map(|key| point(&key))
            .map_err(|error| format!("not a public key of NIST P-256: {error}"));
    }
    if text.contains("-----BEGIN ") {
        return PrivateKey::from_pem(text).map(|key| key.point());
    }
    let bytes = hex::decode(text).map_err(|_| {
        "neither a file, nor a key in PEM, nor a point in hexadecimal: give the file that \
         `tcpctl key generate` wrote beside the private key (FILE.pub)"
            .to_owned()
    })?;
    PublicKey::from_sec1_bytes(&bytes)
        .map(|key| point(&key))
        .map_err(|_| {
            "not a point of NIST P-256 (33 bytes compressed, or 65 uncompressed)".to_owned()
        })
}

/// Reads a public key from a file, or from the argument itself.
///
/// # Errors
///
/// [`Error::Io`], or [`Error::Invalid`] for what is no key of P-256.
pub(crate) fn public_argument(argument: &str) -> Result<Point> {
    let path = Path::new(argument);
    let inline = argument.contains("-----BEGIN ")
        || (argument.len() >= 66 && argument.bytes().all(|byte| byte.is_ascii_hexdigit()));
    if inline {
        return parse_public(argument).map_err(|reason| Error::invalid("key", reason));
    }
    let text = Zeroizing::new(
        fs::read_to_string(path).map_err(|source| Error::file("read", path, source))?,
    );
    parse_public(&text).map_err(|reason| Error::invalid("key", format!("{argument}: {reason}")))
}

/// Whether a signature in DER verifies under a public key.
pub(crate) fn verify(point: &Point, message: &[u8], der: &[u8]) -> bool {
    let Ok(key) = VerifyingKey::from_sec1_bytes(point) else {
        return false;
    };
    let Ok(signature) = Signature::from_der(der) else {
        return false;
    };
    key.verify(message, &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_sha_256_of_the_parts_together() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex::encode(sha256(b"abc")), abc);
        assert_eq!(hex::encode(Sha256::sha256(&[b"a", b"", b"bc"])), abc);
    }

    #[test]
    fn keys_survive_their_encodings() {
        let key = PrivateKey::generate();
        let again = PrivateKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(key.point(), again.point());
        assert_eq!(key.point()[0], 4);
        assert_eq!(parse_public(&key.public_pem().unwrap()), Ok(key.point()));
        assert_eq!(parse_public(&hex::encode(key.point())), Ok(key.point()));
        assert_eq!(parse_public(&key.to_pem().unwrap()), Ok(key.point()));
        assert_eq!(
            public_argument(&hex::encode(key.point())).unwrap(),
            key.point()
        );
        assert_eq!(
            public_argument(&key.public_pem().unwrap()).unwrap(),
            key.point()
        );
    }

    #[test]
    fn compressed_points_are_read() {
        let key = PrivateKey::generate();
        let point = key.point();
        let mut compressed = vec![2 + (point[64] & 1)];
        compressed.extend_from_slice(&point[1..33]);
        assert_eq!(parse_public(&hex::encode(compressed)), Ok(point));
    }

    /// Keys as `openssl ecparam -genkey -name prime256v1` and `openssl genpkey` write them.
    #[test]
    fn keys_of_openssl_are_read() {
        const SEC1: &str = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n\
            -----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIGr1GuOq0NBPjHtDPR7S8Bw5A4GTUWmcR3OTplJKuGjioAoGCCqGSM49\n\
            AwEHoUQDQgAElimnsZZSz/5YjWNBEjcj5MTi4xFBCbM5Xb3PlAj/nIi7R57slXCC\n\
            F903QNZEXxLt6Pz3qQebFx7hMowILHStRw==\n-----END EC PRIVATE KEY-----\n";
        const PKCS8: &str = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgavUa46rQ0E+Me0M9\n\
            HtLwHDkDgZNRaZxHc5OmUkq4aOKhRANCAASWKaexllLP/liNY0ESNyPkxOLjEUEJ\n\
            szldvc+UCP+ciLtHnuyVcIIX3TdA1kRfEu3o/PepB5sXHuEyjAgsdK1H\n-----END PRIVATE KEY-----\n";
        const POINT: &str = "049629a7b19652cffe588d6341123723e4c4e2e3114109b3395dbdcf9408ff9c88bb479eec95708217dd3740d6445f12ede8fcf7a9079b171ee1328c082c74ad47";
        for text in [SEC1, PKCS8] {
            let key = PrivateKey::from_pem(text).unwrap();
            assert_eq!(hex::encode(key.point()), POINT);
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let key = PrivateKey::generate();
        for (text, part) in [
            ("", "tcpctl key generate"),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----END ENCRYPTED PRIVATE KEY-----",
                "encrypted",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
                "P-256",
            ),
            (
                "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----",
                "P-256",
            ),
            (&key.public_pem().unwrap(), "public"),
        ] {
            let reason = PrivateKey::from_pem(text).err().unwrap();
            assert!(reason.contains(part), "{reason}");
        }
        let mut off_the_curve = key.point();
        off_the_curve[64] ^= 1;
        assert!(parse_public(&hex::encode(off_the_curve)).is_err());
        assert!(parse_public("zz").is_err());
        assert!(parse_public("-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----").is_err());
        assert!(public_argument("/nonexistent/key.pub").is_err());
    }

    #[test]
    fn signatures_are_deterministic_canonical_and_bound() {
        let key = PrivateKey::generate();
        for n in 0..64u8 {
            let message = [n; 156];
            let der = key.sign(&message);
            assert_eq!(der, key.sign(&message));
            engine::der::decode(&der).unwrap();
            assert!(verify(&key.point(), &message, &der));
            assert!(!verify(&key.point(), &message[1..], &der));
            assert!(!verify(&PrivateKey::generate().point(), &message, &der));
        }
        assert!(!verify(&[0; 65], b"", b""));
        assert!(!verify(&key.point(), b"", b"no DER"));
    }
}
