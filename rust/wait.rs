// SPDX-License-Identifier: GPL-2.0

//! Waiting for an event with a time limit, in a way that `SIGKILL` ends.
//!
//! [`kernel::sync::Completion`] can only wait without a limit and uninterruptibly.
//!
//! C header: [`include/linux/completion.h`](srctree/include/linux/completion.h)

use super::bindings;
use kernel::{
    prelude::*,
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    types::Opaque,
};

/// How a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum WaitResult {
    /// The event has happened.
    Done,
    /// The time is over and the event has not happened.
    TimedOut,
    /// A fatal signal is pending: the task will not return to user space.
    Killed,
}

/// Something that happens once, and that any number of tasks can wait for.
///
/// # Examples
///
/// ```ignore
/// let event = Arc::pin_init(Event::new(), GFP_KERNEL)?;
/// // Elsewhere: event.complete_all();
/// match event.wait_killable_timeout(5_000) {
///     WaitResult::Done => Ok(()),
///     WaitResult::TimedOut => Err(ETIMEDOUT),
///     WaitResult::Killed => Err(EINTR),
/// }
/// ```
#[pin_data]
pub(crate) struct Event {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: A `struct completion` may be used and freed by any task.
unsafe impl Send for Event {}
// SAFETY: A `struct completion` synchronises itself.
unsafe impl Sync for Event {}

impl Event {
    /// Creates an initialiser for an event that has not happened.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `slot` is valid for writes.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    /// Makes the event happen: every waiter, now or later, gets [`WaitResult::Done`].
    ///
    /// Does not sleep; usable in any context. May be called more than once.
    pub(crate) fn complete_all(&self) {
        // SAFETY: The completion is initialised.
        unsafe { bindings::complete_all(self.inner.get()) };
    }

    /// Waits until the event has happened, for at most `timeout_ms` milliseconds.
    ///
    /// Sleeps, even for a timeout of 0: process context, without spin locks or RCU.
    pub(crate) fn wait_killable_timeout(&self, timeout_ms: Msecs) -> WaitResult {
        // SAFETY: The completion is initialised.
        let left = unsafe {
            bindings::wait_for_completion_killable_timeout(
                self.inner.get(),
                msecs_to_jiffies(timeout_ms),
            )
        };
        match left {
            0 => WaitResult::TimedOut,
            ..0 => WaitResult::Killed,
            _ => WaitResult::Done,
        }
    }
}
