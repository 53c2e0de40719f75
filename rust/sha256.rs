// SPDX-License-Identifier: GPL-2.0

//! SHA-256 by the kernel's library, without the crypto API's transforms.
//!
//! Nothing here sleeps, allocates or fails.
//!
//! C header: [`include/crypto/sha2.h`](srctree/include/crypto/sha2.h)

use super::bindings;
use core::mem::MaybeUninit;

/// The length of a digest in bytes.
pub(crate) const DIGEST_SIZE: usize = 32;

/// A hash being computed.
///
/// # Examples
///
/// ```ignore
/// let mut hash = Sha256::new();
/// hash.update(b"ab").update(b"c");
/// assert_eq!(hash.finish(), sha256::digest(&[b"abc"]));
/// ```
#[derive(Clone)]
pub(crate) struct Sha256(bindings::sha256_ctx);

impl Sha256 {
    /// Starts a hash of nothing yet.
    pub(crate) fn new() -> Self {
        let mut ctx = MaybeUninit::<bindings::sha256_ctx>::zeroed();
        // SAFETY: `ctx` is valid for writes.
        unsafe { bindings::sha256_init(ctx.as_mut_ptr()) };
        // SAFETY: All of `struct sha256_ctx` is plain integers, zeroed above and set by the call.
        Self(unsafe { ctx.assume_init() })
    }

    /// Appends `data` to what is hashed.
    pub(crate) fn update(&mut self, data: &[u8]) -> &mut Self {
        // SAFETY: The context is initialised, `data` is valid for reads of its length.
        unsafe { bindings::__sha256_update(&mut self.0.ctx, data.as_ptr(), data.len()) };
        self
    }

    /// Returns the digest of everything that was appended.
    pub(crate) fn finish(mut self) -> [u8; DIGEST_SIZE] {
        let mut out = [0; DIGEST_SIZE];
        // SAFETY: The context is initialised, `out` has room for a digest.
        unsafe { bindings::sha256_final(&mut self.0, out.as_mut_ptr()) };
        out
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the digest of the concatenation of `parts`.
///
/// # Examples
///
/// ```ignore
/// let link = sha256::digest(&[&chain, event]);
/// ```
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; DIGEST_SIZE] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}
