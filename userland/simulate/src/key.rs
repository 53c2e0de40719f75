// SPDX-License-Identifier: GPL-2.0

//! Keys and signatures, as far as the engine sees them.
//!
//! The engine is told whether a signature verifies; it never looks at more of one than its encoding.
//! So a signature here is the digest of a secret and the signed bytes in that encoding. Whoever has
//! no [`Key`] cannot make one, which is all that the simulation takes from ECDSA: it costs a
//! thousandth.

use crate::random::{
    mix,
    Random, //
};
use engine::wire::Digest;
use sha2::Digest as _;

/// SHA-256 by a crate.
pub(crate) struct Sha256;

impl Digest for Sha256 {
    fn sha256(parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = sha2::Sha256::new();
        for part in parts {
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// Bytes of a signature: two numbers of 32 bytes with their tags and lengths.
pub(crate) const SIGNATURE_LEN: usize = 70;

/// A signature.
pub(crate) type Signature = [u8; SIGNATURE_LEN];

/// The public half of a key. What is private in it only ever compares.
#[derive(Clone)]
pub(crate) struct PublicKey {
    /// As it stands in evidence.
    pub(crate) point: [u8; 65],
    /// The validator that it makes: the digest of `point`.
    pub(crate) id: [u8; 32],
    secret: u64,
}

impl PublicKey {
    /// Whether the holder of the key has signed `message`.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let nonce = signature.get(5..13).and_then(|bytes| bytes.try_into().ok());
        nonce
            .is_some_and(|nonce| make(self.secret, u64::from_be_bytes(nonce), message) == signature)
    }
}

/// A key pair.
pub(crate) struct Key {
    /// The public half.
    pub(crate) public: PublicKey,
    nonce: u64,
}

impl Key {
    /// A new key.
    pub(crate) fn new(random: &mut Random) -> Self {
        let mut point = [4; 65];
        for chunk in point[1..].chunks_exact_mut(32) {
            chunk.copy_from_slice(&random.bytes());
        }
        Self {
            public: PublicKey {
                id: Sha256::sha256(&[&point]),
                point,
                secret: random.bits(),
            },
            nonce: random.bits(),
        }
    }

    /// Signs; no two signatures are equal, as with ECDSA.
    pub(crate) fn sign(&mut self, message: &[u8]) -> Signature {
        self.nonce = mix(self.nonce.wrapping_add(1));
        make(self.public.secret, self.nonce, message)
    }
}

fn make(secret: u64, nonce: u64, message: &[u8]) -> Signature {
    let (mut a, mut b) = (mix(secret ^ nonce), mix(secret.rotate_left(32)));
    for chunk in message.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        a = (a ^ u64::from_be_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        b = b.rotate_left(23) ^ a;
    }
    let mut signature = [0; SIGNATURE_LEN];
    // A SEQUENCE of two positive INTEGERs with a first byte of 1: minimal, and below half the order.
    signature[..5].copy_from_slice(&[0x30, 68, 0x02, 32, 1]);
    signature[5..13].copy_from_slice(&nonce.to_be_bytes());
    signature[13..21].copy_from_slice(&mix(a).to_be_bytes());
    signature[36..39].copy_from_slice(&[0x02, 32, 1]);
    signature[39..47].copy_from_slice(&mix(b ^ secret).to_be_bytes());
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_signs_and_only_what_was_signed() {
        let mut random = Random::new(&[1]);
        let (mut key, other) = (Key::new(&mut random), Key::new(&mut random));
        let signature = key.sign(b"a vote of some length");
        assert!(engine::der::decode(&signature).is_ok());
        assert!(key.public.verify(b"a vote of some length", &signature));
        assert!(!key.public.verify(b"a vote of some lengti", &signature));
        assert!(!other.public.verify(b"a vote of some length", &signature));
        for at in 0..SIGNATURE_LEN {
            let mut changed = signature;
            changed[at] ^= 1;
            assert!(
                !key.public.verify(b"a vote of some length", &changed),
                "byte {at}"
            );
        }
        assert_ne!(signature, key.sign(b"a vote of some length"));
        assert!(!key.public.verify(b"", &[]));
    }
}
