// SPDX-License-Identifier: GPL-2.0

//! HMAC-SHA-256 (RFC 2104) by the kernel's library.
//!
//! Nothing here sleeps, allocates or fails.
//!
//! C header: [`include/crypto/sha2.h`](srctree/include/crypto/sha2.h)

use super::{
    bindings,
    secret::{
        self,
        Secret, //
    },
    sha256::DIGEST_SIZE, //
};

/// Returns the authentication code of `data` under `key`.
///
/// Takes 2,000 instructions per 64 bytes: not a whole state under a spinlock.
///
/// # Examples
///
/// ```ignore
/// let mac = hmac::sha256(&key, &state);
/// ```
pub(crate) fn sha256(key: &Secret, data: &[u8]) -> [u8; DIGEST_SIZE] {
    let mut out = [0; DIGEST_SIZE];
    let key = key.expose();
    // SAFETY: Key and data are valid for reads of their lengths, `out` has room for a digest. The
    // kernel wipes the context, which is derived from the key, itself.
    unsafe {
        bindings::hmac_sha256_usingrawkey(
            key.as_ptr(),
            key.len(),
            data.as_ptr(),
            data.len(),
            out.as_mut_ptr(),
        )
    };
    out
}

/// Whether `mac` is the authentication code of `data` under `key`, compared in constant time.
///
/// # Examples
///
/// ```ignore
/// if !hmac::verify(&key, body, mac) {
///     return Err(EKEYREJECTED);
/// }
/// ```
#[must_use]
pub(crate) fn verify(key: &Secret, data: &[u8], mac: &[u8; DIGEST_SIZE]) -> bool {
    secret::equal(&sha256(key, data), mac)
}
