// SPDX-License-Identifier: GPL-2.0

//! A pointer that many readers follow and one writer replaces, protected by SRCU.
//!
//! Readers pay two per-CPU increments, may sleep while they hold the value, and never wait. A
//! writer publishes the new value, waits for the readers of the old one, and frees it: the pattern
//! of `Documentation/RCU/rcu_dereference.rst` with `srcu_read_lock()`.
//!
//! C header: [`include/linux/srcu.h`](srctree/include/linux/srcu.h)

use super::atomic::{
    AtomicPtr,
    Ordering, //
};
use core::ptr;
use kernel::{
    prelude::*,
    sync::{
        rcu,
        srcu::{
            self,
            new_srcu,
            Srcu, //
        }, //
    }, //
};

/// A value that readers follow under SRCU; empty until the first [`Published::publish`].
///
/// # Invariants
///
/// `value` is null or comes from [`KBox::into_raw`], and a value that it once held is freed only
/// after grace periods of `srcu` and of RCU that began when `value` no longer held it.
#[pin_data(PinnedDrop)]
pub(crate) struct Published<T: Send + Sync> {
    value: AtomicPtr<T>,
    #[pin]
    srcu: Srcu,
}

impl<T: Send + Sync> Published<T> {
    /// Creates an empty cell.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when the per-CPU counters cannot be allocated.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: Null.
            value: AtomicPtr::new(ptr::null_mut()),
            srcu <- new_srcu!("Published::srcu"),
        })
    }

    /// Enters a read-side section. The value found stays alive until the guard is dropped.
    ///
    /// Context: any but NMI. The caller may sleep while it holds the guard.
    #[inline]
    pub(crate) fn read(&self) -> Guard<'_, T> {
        let section = self.srcu.read_lock();
        // The load is inside the section, so a writer that replaces what it returns waits for it.
        let value = self.value.load(Ordering::Acquire);
        Guard {
            value,
            _section: section,
            _cell: self,
        }
    }

    /// The value, for as long as `_guard` is held, which is cheaper than a [`Published::read`] and
    /// must not sleep; `None` while nothing has been published.
    ///
    /// Context: any but NMI.
    #[inline]
    pub(crate) fn peek<'g>(&'g self, _guard: &'g rcu::Guard) -> Option<&'g T> {
        // SAFETY: By the invariants the value is null or alive; `Retired` waits for RCU, too, so that
        // it stays alive until the guard is dropped.
        unsafe { self.value.load(Ordering::Acquire).as_ref() }
    }

    /// Publishes `value` in the place of the one before, which is freed, when its last reader has
    /// left, as what is returned is dropped.
    ///
    /// Does not sleep. The caller serialises its calls.
    pub(crate) fn publish(&self, value: KBox<T>) -> Retired<'_, T> {
        // INVARIANT: From `KBox::into_raw`.
        let old = self.value.swap(KBox::into_raw(value), Ordering::AcqRel);
        // INVARIANT: It came from the cell, which holds it no longer.
        Retired {
            value: old,
            cell: self,
        }
    }

    /// Waits until every reader that was inside has left.
    ///
    /// Context: process context; sleeps.
    pub(crate) fn synchronize(&self) {
        self.srcu.synchronize();
    }
}

#[pinned_drop]
impl<T: Send + Sync> PinnedDrop for Published<T> {
    fn drop(self: Pin<&mut Self>) {
        let old = self.value.swap(ptr::null_mut(), Ordering::AcqRel);
        if !old.is_null() {
            // SAFETY: By the type invariants; guards borrow the cell, so no reader is left.
            drop(unsafe { KBox::from_raw(old) });
        }
    }
}

/// A value that was replaced, and that readers may still have.
///
/// Context: to be dropped in process context; that sleeps for a grace period.
///
/// # Invariants
///
/// `value` is null or was in `cell`, which holds it no longer.
#[must_use = "dropping it waits for readers"]
pub(crate) struct Retired<'a, T: Send + Sync> {
    value: *mut T,
    cell: &'a Published<T>,
}

impl<T: Send + Sync> Drop for Retired<'_, T> {
    fn drop(&mut self) {
        self.cell.srcu.synchronize();
        rcu::synchronize_rcu();
        if !self.value.is_null() {
            // SAFETY: By the invariants of both types, `value` came from `KBox::into_raw`, is no
            // longer reachable, and the grace periods above have ended.
            drop(unsafe { KBox::from_raw(self.value) });
        }
    }
}

/// A read-side section of a [`Published`] and the value that was found on entering it.
///
/// # Invariants
///
/// `value` was loaded from the cell inside the section that `_section` keeps open.
#[must_use = "the section ends when the guard is dropped"]
pub(crate) struct Guard<'a, T: Send + Sync> {
    value: *mut T,
    _section: srcu::Guard<'a>,
    _cell: &'a Published<T>,
}

impl<T: Send + Sync> Guard<'_, T> {
    /// The value, or `None` while nothing has been published.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: By the invariants of `Guard` and `Published`, the value is null or alive until
        // the section ends, and only shared references to it exist.
        unsafe { self.value.as_ref() }
    }
}
