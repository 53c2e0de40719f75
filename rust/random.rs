// SPDX-License-Identifier: GPL-2.0

//! The kernel's random number generator.
//!
//! C header: [`include/linux/random.h`](srctree/include/linux/random.h)

use super::bindings;
use kernel::prelude::*;

/// Fills `buf` with random bytes that are good enough for keys and nonces.
///
/// Never fails and never sleeps; usable in any context. Before the generator has been seeded (very
/// early in boot) the kernel would log a warning: a module is never loaded that early.
///
/// # Examples
///
/// ```ignore
/// let mut nonce = [0u8; 16];
/// random::fill(&mut nonce);
/// ```
pub(crate) fn fill(buf: &mut [u8]) {
    // SAFETY: `buf` is valid for writes of `buf.len()` bytes.
    unsafe { bindings::get_random_bytes(buf.as_mut_ptr().cast::<c_void>(), buf.len()) };
}
