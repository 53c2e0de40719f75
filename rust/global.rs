// SPDX-License-Identifier: GPL-2.0

//! One shared object in a `static`, for callbacks that C calls without a context pointer.
//!
//! C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)

use core::{
    marker::PhantomData,
    ptr, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        rcu,
        Arc,
        ArcBorrow, //
    },
};

/// A place for one [`Arc`], read under RCU.
///
/// # Invariants
///
/// The pointer is null or came from [`Arc::into_raw`], and then the slot owns that reference. After
/// the pointer has been removed, the reference is given up only when every RCU reader that could
/// have seen it has left.
///
/// # Examples
///
/// ```ignore
/// static STATE: Slot<State> = Slot::new();
/// STATE.set(state)?;
/// if let Some(state) = STATE.get() { /* ... */ }
/// drop(STATE.take());
/// ```
pub(crate) struct Slot<T: Send + Sync + 'static> {
    ptr: Atomic<*mut T>,
    _owns: PhantomData<Arc<T>>,
}

impl<T: Send + Sync + 'static> Slot<T> {
    /// An empty slot.
    pub(crate) const fn new() -> Self {
        // INVARIANT: The pointer is null.
        Self {
            ptr: Atomic::new(ptr::null_mut()),
            _owns: PhantomData,
        }
    }

    /// Puts `value` in. Does not sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` if the slot is not empty.
    pub(crate) fn set(&self, value: Arc<T>) -> Result {
        let raw = Arc::into_raw(value).cast_mut();
        // INVARIANT: On success the slot owns the reference that `into_raw` gave.
        if self.ptr.cmpxchg(ptr::null_mut(), raw, Full).is_err() {
            // SAFETY: `raw` came from `Arc::into_raw` and nobody else has seen it.
            drop(unsafe { Arc::from_raw(raw) });
            return Err(EBUSY);
        }
        Ok(())
    }

    /// Borrows the object for as long as `_guard` is held. Does not sleep.
    pub(crate) fn read<'g>(&'g self, _guard: &'g rcu::Guard) -> Option<ArcBorrow<'g, T>> {
        let raw = self.ptr.load(Acquire);
        if raw.is_null() {
            return None;
        }
        // SAFETY: By the type invariant, the slot's reference outlives the guard.
        Some(unsafe { ArcBorrow::from_raw(raw) })
    }

    /// Takes a reference of its own. Does not sleep.
    pub(crate) fn get(&self) -> Option<Arc<T>> {
        let guard = rcu::read_lock();
        self.read(&guard).map(Arc::from)
    }

    /// Empties the slot and returns what was in it, once no reader borrows it any more.
    ///
    /// References handed out by [`Slot::get`] may still exist. Sleeps.
    pub(crate) fn take(&self) -> Option<Arc<T>> {
        let raw = self.ptr.xchg(ptr::null_mut(), Full);
        if raw.is_null() {
            return None;
        }
        rcu::synchronize_rcu();
        // SAFETY: The slot owned this reference by the type invariant, and has just forgotten it.
        Some(unsafe { Arc::from_raw(raw) })
    }
}

impl<T: Send + Sync + 'static> Drop for Slot<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}
