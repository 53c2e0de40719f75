// SPDX-License-Identifier: GPL-2.0

//! Secrets that leave no copy behind, and comparison that tells nothing by how long it takes.
//!
//! C headers: [`include/linux/string.h`](srctree/include/linux/string.h),
//! [`include/crypto/utils.h`](srctree/include/crypto/utils.h)

use super::{
    bindings,
    random, //
};
use kernel::prelude::*;

/// The length of a [`Secret`] in bytes.
pub(crate) const SIZE: usize = 32;

/// 32 secret bytes, which are overwritten when they are dropped.
///
/// They stay where they were allocated: moving the secret copies only the pointer, so no copy is
/// left on a stack. For the same reason there is no `Clone`, and no `Debug` that could log them.
///
/// # Examples
///
/// ```ignore
/// let key = Secret::random()?;
/// let mac = hmac::sha256(&key, message);
/// ```
pub(crate) struct Secret(KBox<[u8; SIZE]>);

impl Secret {
    /// A secret of 32 zero bytes, to be filled in place.
    fn zeroed() -> Result<Self> {
        Ok(Self(KBox::init(pin_init::init_zeroed(), GFP_KERNEL)?))
    }

    /// Makes a secret of the kernel's random numbers. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn random() -> Result<Self> {
        let mut secret = Self::zeroed()?;
        random::fill(&mut *secret.0);
        Ok(secret)
    }

    /// Copies a secret from where it was received. Sleeps. The caller overwrites the original.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `bytes` are not 32, `ENOMEM`.
    pub(crate) fn copy_from(bytes: &[u8]) -> Result<Self> {
        let bytes: &[u8; SIZE] = bytes.try_into().map_err(|_| EINVAL)?;
        let mut secret = Self::zeroed()?;
        *secret.0 = *bytes;
        Ok(secret)
    }

    /// The bytes. Whoever copies them has to overwrite the copy.
    pub(crate) fn expose(&self) -> &[u8; SIZE] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut *self.0);
    }
}

/// Overwrites `bytes` with zeros, even where the compiler sees that nobody reads them any more.
pub(crate) fn wipe(bytes: &mut [u8]) {
    // SAFETY: `bytes` is valid for writes of its length.
    unsafe { bindings::memzero_explicit(bytes.as_mut_ptr().cast(), bytes.len()) };
}

/// Whether `a` and `b` are equal, in a time that does not depend on where they differ.
///
/// # Examples
///
/// ```ignore
/// if !secret::equal(&hmac::sha256(&key, message), mac) {
///     return Err(EKEYREJECTED);
/// }
/// ```
pub(crate) fn equal<const N: usize>(a: &[u8; N], b: &[u8; N]) -> bool {
    // SAFETY: Both are valid for reads of `N` bytes.
    !unsafe { bindings::crypto_memneq(a.as_ptr().cast(), b.as_ptr().cast(), N) }
}
