// SPDX-License-Identifier: GPL-2.0

//! Test validators: deterministic keys, and signatures good and bad.

use p256::ecdsa::{
    signature::hazmat::{
        PrehashSigner,
        PrehashVerifier, //
    },
    Signature,
    SigningKey,
    VerifyingKey, //
};
use sha2::{
    Digest,
    Sha256, //
};

/// SHA-256 of the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

/// Whether a DER signature of `message` verifies under the public key `point`.
pub fn verifies(point: &[u8], message: &[u8], der: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (
        VerifyingKey::from_sec1_bytes(point),
        Signature::from_der(der),
    ) else {
        return false;
    };
    key.verify_prehash(&sha256(&[message]), &signature).is_ok()
}

/// A validator whose key is a function of its name.
#[derive(Clone)]
pub struct Validator {
    /// Name under which it is enrolled.
    pub name: String,
    key: SigningKey,
}

impl Validator {
    /// The validator called `v` and `number`.
    pub fn test(number: u32) -> Self {
        let name = format!("v{number}");
        let mut seed = sha256(&[b"tcp-lsm test validator ", name.as_bytes()]);
        loop {
            // All but one digest in 2^32 is below the order of the group.
            if let Ok(key) = SigningKey::from_slice(&seed) {
                return Self { name, key };
            }
            seed = sha256(&[&seed]);
        }
    }

    /// The public key: `04 || X || Y`.
    pub fn point(&self) -> [u8; 65] {
        let mut point = [0; 65];
        point.copy_from_slice(self.key.verifying_key().to_encoded_point(false).as_bytes());
        point
    }

    /// Identity: the digest of the public key.
    pub fn id(&self) -> [u8; 32] {
        sha256(&[&self.point()])
    }

    /// Raw signature (RFC 6979, low s) over `message`.
    pub fn signature(&self, message: &[u8]) -> Signature {
        let signature: Signature = self
            .key
            .sign_prehash(&sha256(&[message]))
            .expect("a 32-byte digest can be signed");
        signature.normalize_s().unwrap_or(signature)
    }

    /// DER signature (low s) over `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.signature(message).to_der().as_bytes().to_vec()
    }

    /// The other valid signature of the same message: `(r, n - s)`, DER.
    pub fn sign_high_s(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.signature(message);
        let (r, s) = signature.split_scalars();
        let high = Signature::from_scalars(r, -s).expect("n - s is a scalar when s is one");
        high.to_der().as_bytes().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_signatures_differ_and_verify() {
        let validator = Validator::test(1);
        let low = validator.sign(b"text");
        let high = validator.sign_high_s(b"text");
        assert_ne!(low, high);
        for der in [low, high] {
            assert!(verifies(&validator.point(), b"text", &der));
            assert!(!verifies(&validator.point(), b"tex", &der));
        }
    }
}
