// SPDX-License-Identifier: GPL-2.0

//! One piece of work that can be asked for from any context and can be stopped for good.
//!
//! Unlike [`kernel::workqueue`], whose items own what they work on and so cannot be waited for, a
//! [`Worker`] is stopped synchronously: a module must not be unloaded while its code may still be
//! run by a work queue.
//!
//! C header: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use super::bindings;
use core::{
    marker::PhantomPinned,
    ptr,
    sync::atomic::{
        AtomicPtr,
        Ordering, //
    }, //
};
use kernel::{
    container_of,
    prelude::*,
    sync::Arc,
    time::msecs_to_jiffies,
    types::Opaque, //
};

/// What a [`Worker`] does.
pub(crate) trait Work: Send + Sync + 'static {
    /// Does the work once. Never runs twice at the same time for one worker.
    ///
    /// Context: process context of a kernel thread; may sleep.
    fn work(&self);
}

/// Work that is done soon after somebody asked for it, once for any number of requests in between.
///
/// # Invariants
///
/// - `work` is an initialised `struct delayed_work` whose function is [`Worker::run`].
/// - `data` is null or comes from [`Arc::into_raw`] and is owned by the worker; it becomes null only
///   after the work has been disabled and has finished.
#[pin_data(PinnedDrop)]
pub(crate) struct Worker<T: Work> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    data: AtomicPtr<T>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The C API may be called from any thread, and `T` is `Send + Sync`.
unsafe impl<T: Work> Send for Worker<T> {}
// SAFETY: As above.
unsafe impl<T: Work> Sync for Worker<T> {}

impl<T: Work> Worker<T> {
    /// Creates a worker that ignores requests until it is armed.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // INVARIANT: Initialised here with `run`.
            work <- Opaque::ffi_init(|work| {
                // SAFETY: `work` is uninitialised memory of the right size that stays pinned.
                unsafe { bindings::init_delayed_work(work, Some(Self::run)) }
            }),
            data: AtomicPtr::new(ptr::null_mut()),
            _pin: PhantomPinned,
        })
    }

    /// Says what to work on. May be called once; a second call is ignored.
    ///
    /// A reference that leads back to the worker keeps both alive until [`Worker::stop`].
    pub(crate) fn arm(&self, data: Arc<T>) {
        let new = Arc::into_raw(data).cast_mut();
        // INVARIANT: From `Arc::into_raw`.
        if self
            .data
            .compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            // SAFETY: `new` comes from `Arc::into_raw` above and was not stored.
            drop(unsafe { Arc::from_raw(new.cast_const()) });
        }
    }

    /// Asks for the work to be done as soon as possible.
    ///
    /// Context: any but NMI.
    pub(crate) fn kick(&self) {
        // SAFETY: By the type invariants `work` is initialised; once disabled this does nothing.
        unsafe { bindings::mod_delayed_work(self.work.get(), 0) };
    }

    /// Has the work done in `ms` milliseconds, unless it is going to be done sooner.
    ///
    /// Context: any but NMI.
    pub(crate) fn plan(&self, ms: u32) {
        // SAFETY: As in `kick`.
        unsafe { bindings::queue_delayed_work(self.work.get(), msecs_to_jiffies(ms)) };
    }

    /// Ends the worker for good: waits for a run that is going on, ignores later requests, and
    /// lets go of what it worked on.
    ///
    /// Context: process context; sleeps. Not from [`Work::work`] itself.
    pub(crate) fn stop(&self) {
        // SAFETY: By the type invariants `work` is initialised.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
        // INVARIANT: The work is disabled and has finished.
        let data = self.data.swap(ptr::null_mut(), Ordering::AcqRel);
        if !data.is_null() {
            // SAFETY: By the type invariants the worker owns this reference.
            drop(unsafe { Arc::from_raw(data.cast_const()) });
        }
    }

    /// # Safety
    ///
    /// `work` must be that of a worker's `struct delayed_work`, which `new` initialised.
    unsafe extern "C" fn run(work: *mut bindings::work_struct) {
        // SAFETY: By the safety requirements.
        let delayed = unsafe { container_of!(work, bindings::delayed_work, work) };
        // SAFETY: That one is inside an `Opaque`, which is transparent, inside a `Worker<T>`.
        let this = unsafe { container_of!(Opaque::cast_from(delayed), Self, work) };
        // SAFETY: The worker outlives its work: `stop` and `drop` wait for it.
        let data = unsafe { (*this).data.load(Ordering::Acquire) };
        // SAFETY: By the type invariants, `data` is null or alive while the work runs.
        if let Some(data) = unsafe { data.as_ref() } {
            data.work();
        }
    }
}

#[pinned_drop]
impl<T: Work> PinnedDrop for Worker<T> {
    fn drop(self: Pin<&mut Self>) {
        self.stop();
    }
}
