// SPDX-License-Identifier: GPL-2.0

//! Clocks, in whole milliseconds.
//!
//! The `kernel` crate's [`kernel::time::Instant`] measures spans; these are absolute readings that go
//! into records and expiry times.
//!
//! C header: [`include/linux/timekeeping.h`](srctree/include/linux/timekeeping.h)

use super::bindings;

const NSEC_PER_MSEC: i64 = 1_000_000;

/// Milliseconds since boot, time in suspend included. Never goes back.
///
/// Usable in any context except NMI.
///
/// # Examples
///
/// ```ignore
/// let deadline = clock::boottime_ms().saturating_add(5_000);
/// ```
pub(crate) fn boottime_ms() -> u64 {
    // SAFETY: `TK_OFFS_BOOT` is a valid offset, and there are no other requirements.
    let ns = unsafe { bindings::ktime_get_with_offset(bindings::tk_offsets_TK_OFFS_BOOT) };
    u64::try_from(ns / NSEC_PER_MSEC).unwrap_or(0)
}

/// Milliseconds since 1970-01-01 00:00:00 UTC by the system's clock, 0 if that is set before it.
///
/// Root can set this clock, backwards too: use it to tell people when something happened, never to
/// decide whether something has expired. Usable in any context except NMI.
///
/// # Examples
///
/// ```ignore
/// pr_info!("decided at {}\n", clock::realtime_ms());
/// ```
pub(crate) fn realtime_ms() -> u64 {
    // SAFETY: `TK_OFFS_REAL` is a valid offset, and there are no other requirements.
    let ns = unsafe { bindings::ktime_get_with_offset(bindings::tk_offsets_TK_OFFS_REAL) };
    u64::try_from(ns / NSEC_PER_MSEC).unwrap_or(0)
}
