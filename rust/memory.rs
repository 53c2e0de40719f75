// SPDX-License-Identifier: GPL-2.0

//! How much memory the machine has left.
//!
//! C header: [`include/linux/mmzone.h`](srctree/include/linux/mmzone.h)

// The prototype of `src/bench/helpers.c`, which takes nothing and returns a number.
extern "C" {
    /// See `src/bench/helpers.c`: it is no part of the module itself, so neither is a binding.
    fn tcp_bench_free_bytes() -> u64;
}

/// Free memory in bytes, what each processor keeps to itself included.
///
/// # Examples
///
/// ```ignore
/// let before = memory::free();
/// let table = fill()?;
/// pr_info!("{} bytes\n", before.saturating_sub(memory::free()));
/// ```
pub(crate) fn free() -> u64 {
    // SAFETY: There are no requirements.
    unsafe { tcp_bench_free_bytes() }
}
