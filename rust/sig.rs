// SPDX-License-Identifier: GPL-2.0

//! Verification of ECDSA signatures over NIST P-256.
//!
//! C header: [`include/crypto/sig.h`](srctree/include/crypto/sig.h)

use super::bindings;
use core::ptr::NonNull;
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
};

/// The length of an uncompressed P-256 point: `04 || X || Y`.
pub(crate) const POINT_SIZE: usize = 65;

/// The most bytes that a DER encoded P-256 signature can have.
pub(crate) const DER_MAX: usize = 72;

/// Why a signature was not accepted.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum VerifyError {
    /// Not an `ECDSA-Sig-Value`, or `r` or `s` outside of `1..n`.
    Malformed,
    /// A signature, but not by this key over this digest.
    Mismatch,
    /// The kernel could not tell, for example for want of memory.
    Kernel(Error),
}

/// A public key, ready to verify with.
///
/// Setting a key costs as much as verifying a signature, so it is done once per key.
///
/// # Invariants
///
/// `tfm` is a live transform of `x962(ecdsa-nist-p256)`, owned by this object, whose key was set
/// successfully and is not changed any more.
///
/// # Examples
///
/// ```ignore
/// let key = PublicKey::new_p256(&point)?;
/// match key.verify(&sha256::digest(&[message]), signature) {
///     Ok(()) => pr_info!("genuine\n"),
///     Err(VerifyError::Mismatch) => pr_info!("forged\n"),
///     Err(_) => pr_info!("no signature at all\n"),
/// }
/// ```
pub(crate) struct PublicKey {
    tfm: NonNull<bindings::crypto_sig>,
}

// SAFETY: A transform may be used and freed by any task.
unsafe impl Send for PublicKey {}
// SAFETY: `crypto_sig_verify` only reads the transform: `ecdsa_x962_verify` and `ecdsa_verify` keep
// the signature, the hash and all intermediate points on the stack. The key, which they read, does
// not change by the type invariant.
unsafe impl Sync for PublicKey {}

impl PublicKey {
    /// Makes a key of an uncompressed point.
    ///
    /// May sleep, and may load the kernel's ECDSA module where that is not built in.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `point` does not begin with 4, has a coordinate that is not below the field's
    /// prime, is not on the curve, or is not in the group; `ENOENT` if the kernel has no ECDSA;
    /// `ENOMEM`.
    pub(crate) fn new_p256(point: &[u8; POINT_SIZE]) -> Result<Self> {
        // SAFETY: The name is NUL-terminated.
        let tfm = from_err_ptr(unsafe {
            bindings::crypto_alloc_sig(c"x962(ecdsa-nist-p256)".as_char_ptr(), 0, 0)
        })?;
        let key = Self {
            tfm: NonNull::new(tfm).ok_or(ENOENT)?,
        };
        // SAFETY: `key.tfm` is live and not shared yet; `point` is valid for reads of 65 bytes.
        to_result(unsafe {
            bindings::crypto_sig_set_pubkey(key.tfm.as_ptr(), point.as_ptr().cast(), 65)
        })?;
        // INVARIANT: The key was set, and no method sets another.
        Ok(key)
    }

    /// Checks that `der` is a signature over `digest` by this key.
    ///
    /// `der` is an `ECDSA-Sig-Value` in the kernel's lenient BER: other encodings of the same
    /// signature, and `(r, n - s)` for `(r, s)`, are accepted as well. A caller to whom a signature
    /// is an identity has to check the encoding itself.
    ///
    /// Does not sleep, but takes milliseconds: not under a lock or with preemption off. May be
    /// called by many tasks at once.
    pub(crate) fn verify(&self, digest: &[u8; 32], der: &[u8]) -> Result<(), VerifyError> {
        if der.is_empty() || der.len() > DER_MAX {
            return Err(VerifyError::Malformed);
        }
        let len = c_uint::try_from(der.len()).map_err(|_| VerifyError::Malformed)?;
        // SAFETY: `tfm` is live and keyed by the type invariant; both buffers are valid for reads of
        // the lengths given.
        let ret = unsafe {
            bindings::crypto_sig_verify(
                self.tfm.as_ptr(),
                der.as_ptr().cast(),
                len,
                digest.as_ptr().cast(),
                32,
            )
        };
        match to_result(ret) {
            Ok(()) => Ok(()),
            Err(e) if e == EKEYREJECTED => Err(VerifyError::Mismatch),
            Err(e) if e == EBADMSG || e == EINVAL || e == EMSGSIZE => Err(VerifyError::Malformed),
            Err(e) => Err(VerifyError::Kernel(e)),
        }
    }
}

impl Drop for PublicKey {
    fn drop(&mut self) {
        // SAFETY: The transform is live and owned by this object, by the type invariant.
        unsafe { bindings::crypto_free_sig(self.tfm.as_ptr()) };
    }
}
