// SPDX-License-Identifier: GPL-2.0

//! Resizable hash tables whose readers take nothing but RCU.
//!
//! C header: [`include/linux/rhashtable.h`](srctree/include/linux/rhashtable.h)

use super::{
    bindings,
    filter::Filter, //
};
use core::{
    marker::PhantomData,
    mem::offset_of,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    alloc::Flags,
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu, //
    },
    types::Opaque,
};

/// What the table stores. The first two members are known to `rust/helpers/rhashtable.c`.
#[repr(C)]
struct Entry<V> {
    head: bindings::rhash_head,
    key: usize,
    rcu: Opaque<bindings::callback_head>,
    value: V,
}

// The helper casts between an entry and its head.
const _: () = assert!(offset_of!(Entry<u8>, head) == 0);
const _: () = assert!(offset_of!(Entry<u8>, key) == size_of::<bindings::rhash_head>());

/// Places of the filter in front of a table: 2 MiB.
const PLACES: usize = 1 << 17;

/// A hash table of `V` keyed by numbers, typically the addresses of kernel objects.
///
/// Lookups run under an RCU guard and take no lock. Insertion and removal take a lock per bucket,
/// with interrupts off, and work in every context, soft interrupts included.
///
/// A removed value is dropped after a grace period, *in a soft interrupt*: **the `Drop` of `V` must
/// not sleep**, take a lock that is also held with soft interrupts on, or free memory of `vmalloc`.
///
/// Most lookups are of keys that are not there. A filter in front of the table answers nearly all of
/// them with one load, see [`Table::may_have`].
///
/// # Invariants
///
/// - `filter` has the key of each entry.
/// - `inner` is an initialised `struct rhashtable` whose objects are `Entry<V>`, each allocated as
///   a `KBox` that belongs to the table.
/// - An entry that is taken out is freed only after an RCU grace period.
/// - `len` is at least the number of entries, and never above `max` after an insertion.
///
/// # Examples
///
/// ```ignore
/// let table = KBox::pin_init(Table::<u32>::new(4096), GFP_KERNEL)?;
/// table.insert(key, 1, 7, GFP_KERNEL)?;
/// let guard = rcu::read_lock();
/// if let Some(value) = table.get(key, &guard) {
///     pr_info!("{value}\n");
/// }
/// ```
#[pin_data(PinnedDrop)]
pub(crate) struct Table<V: Send + Sync + 'static> {
    #[pin]
    inner: Opaque<bindings::rhashtable>,
    filter: Filter<PLACES>,
    len: Atomic<usize>,
    max: usize,
    _entries: PhantomData<KBox<Entry<V>>>,
}

// SAFETY: The table owns its values, which are `Send`; `struct rhashtable` belongs to no task.
unsafe impl<V: Send + Sync + 'static> Send for Table<V> {}
// SAFETY: `struct rhashtable` synchronises itself, and gives out shared references to values, which
// are `Sync`.
unsafe impl<V: Send + Sync + 'static> Sync for Table<V> {}

impl<V: Send + Sync + 'static> Table<V> {
    /// Creates an initialiser for an empty table that holds up to `max` entries.
    ///
    /// Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(max: usize) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: `rht_init` initialises the table, with the parameters for `Entry`.
            inner <- Opaque::try_ffi_init(|slot| {
                // SAFETY: `slot` is valid for writes.
                to_result(unsafe { bindings::rht_init(slot) })
            }),
            // INVARIANT: No entries.
            filter: Filter::new()?,
            len: Atomic::new(0),
            max,
            _entries: PhantomData,
        })
    }

    /// Whether there may be an entry of `key`: `false` is certain for whoever knows of every earlier
    /// [`Table::insert`] of that key. Does not sleep; usable in any context, without RCU.
    #[inline]
    pub(crate) fn may_have(&self, key: usize) -> bool {
        self.filter.may_have(key)
    }

    /// The filter in front of the table; it knows the numbers of most entries.
    #[inline]
    pub(crate) fn filter(&self) -> &Filter<PLACES> {
        &self.filter
    }

    /// Adds an entry, with a number for [`Self::filter`]. Does not sleep if `flags` do not allow it.
    ///
    /// # Errors
    ///
    /// `EEXIST` if there is one with this key, `ENOSPC` if the table holds `max` entries, `ENOMEM`.
    /// `value` is dropped then, in the caller's context.
    pub(crate) fn insert(&self, key: usize, number: u32, value: V, flags: Flags) -> Result {
        let entry = KBox::new(
            Entry {
                head: bindings::rhash_head {
                    next: ptr::null_mut(),
                },
                key,
                rcu: Opaque::uninit(),
                value,
            },
            flags,
        )?;
        if self.len.fetch_add(1, Relaxed) >= self.max {
            self.len.fetch_sub(1, Relaxed);
            return Err(ENOSPC);
        }
        // INVARIANT: Before it is there.
        let known = self.filter.add(key, number);
        let raw = KBox::into_raw(entry);
        // INVARIANT: The entry is a `KBox` that belongs to the table if this succeeds.
        // SAFETY: The table is initialised; `raw` begins with its head and has an initialised key.
        let ret = to_result(unsafe { bindings::rht_insert(self.inner.get(), raw.cast()) });
        if ret.is_err() {
            self.forget(key, known);
            // SAFETY: It came from `into_raw` above, and the table did not take it.
            drop(unsafe { KBox::from_raw(raw) });
        }
        ret
    }

    /// Finds the value of `key`. Does not sleep; usable in any context.
    #[inline]
    pub(crate) fn get<'g>(&'g self, key: usize, _guard: &'g rcu::Guard) -> Option<&'g V> {
        // SAFETY: The table is initialised and the RCU lock is held.
        let entry = unsafe { bindings::rht_lookup(self.inner.get(), key) };
        let entry = NonNull::new(entry.cast::<Entry<V>>())?;
        // SAFETY: The table's objects are entries; an entry that is found lives until the guard is
        // released, by the type invariants.
        Some(unsafe { &entry.as_ref().value })
    }

    /// Takes the entry of `key` out. Does not sleep; usable in soft interrupts.
    ///
    /// Readers that already hold the value keep it. It is dropped after a grace period: see
    /// [`Table`] for what its `Drop` may do.
    ///
    /// Returns whether there was one and this call took it out.
    pub(crate) fn remove(&self, key: usize) -> bool {
        // SAFETY: The table is initialised.
        let entry = unsafe { bindings::rht_remove(self.inner.get(), key) }.cast::<Entry<V>>();
        if entry.is_null() {
            return false;
        }
        self.forget(key, true);
        // SAFETY: `entry` was just taken out by this call alone, so nobody else uses its `rcu`.
        let head = unsafe { Opaque::cast_into(&raw const (*entry).rcu) };
        // SAFETY: `head` stays valid until the callback, which gets a pointer to the `rcu` member
        // of an entry that came from `KBox::into_raw` and that no new reader can find.
        unsafe { bindings::call_rcu(head, Some(Self::free_rcu)) };
        true
    }

    /// Puts `value`, with its number, in the place of the one of `key`, so that readers find either the old
    /// one or the new one. Nobody may ask for the number meanwhile. Does not sleep if `flags` do not allow it.
    ///
    /// The old value is dropped after a grace period, as by [`Table::remove`].
    ///
    /// # Errors
    ///
    /// `ENOENT` if there is none with this key, `ENOMEM`. `value` is dropped then, in the caller's
    /// context.
    pub(crate) fn replace(&self, key: usize, number: u32, value: V, flags: Flags) -> Result {
        let entry = KBox::new(
            Entry {
                head: bindings::rhash_head {
                    next: ptr::null_mut(),
                },
                key,
                rcu: Opaque::uninit(),
                value,
            },
            flags,
        )?;
        let raw = KBox::into_raw(entry);
        // INVARIANT: The entry is a `KBox` that belongs to the table if this succeeds.
        // SAFETY: The table is initialised; `raw` begins with its head and has an initialised key.
        let old = unsafe { bindings::rht_replace(self.inner.get(), raw.cast()) }.cast::<Entry<V>>();
        if old.is_null() {
            // SAFETY: It came from `into_raw` above, and the table did not take it.
            drop(unsafe { KBox::from_raw(raw) });
            return Err(ENOENT);
        }
        self.filter.renumber(key, number);
        // SAFETY: `old` was just taken out by this call alone, so nobody else uses its `rcu`.
        let head = unsafe { Opaque::cast_into(&raw const (*old).rcu) };
        // SAFETY: As in `remove`.
        unsafe { bindings::call_rcu(head, Some(Self::free_rcu)) };
        Ok(())
    }

    /// Counts one entry less.
    fn forget(&self, key: usize, known: bool) {
        self.len.fetch_sub(1, Relaxed);
        // INVARIANT: It is not there any more.
        self.filter.remove(key, known);
    }

    /// The number of entries, at a moment while this ran.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Relaxed).min(self.max)
    }

    /// # Safety
    ///
    /// `head` is the `rcu` member of an entry that came from `KBox::into_raw` and that nobody else
    /// uses any more.
    unsafe extern "C" fn free_rcu(head: *mut bindings::callback_head) {
        // SAFETY: By the safety requirements, this stays within the entry.
        let entry = unsafe { head.byte_sub(offset_of!(Entry<V>, rcu)) }.cast::<Entry<V>>();
        // SAFETY: By the safety requirements.
        drop(unsafe { KBox::from_raw(entry) });
    }

    /// # Safety
    ///
    /// `entry` is an entry that came from `KBox::into_raw` and that nobody else uses any more.
    unsafe extern "C" fn free_now(entry: *mut c_void, _arg: *mut c_void) {
        // SAFETY: By the safety requirements.
        drop(unsafe { KBox::from_raw(entry.cast::<Entry<V>>()) });
    }
}

/// Drops what is left and waits for everything that [`Table::remove`] has left to RCU. Sleeps.
#[pinned_drop]
impl<V: Send + Sync + 'static> PinnedDrop for Table<V> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: The table is initialised and, since it is being dropped, in use by nobody: values
        // that `get` lends do not outlive their borrow of it. The objects are entries
        // of `KBox::into_raw`, by the type invariant.
        unsafe {
            bindings::rhashtable_free_and_destroy(
                self.inner.get(),
                Some(Self::free_now),
                ptr::null_mut(),
            )
        };
        // The callbacks are this module's code.
        rcu::rcu_barrier();
    }
}
