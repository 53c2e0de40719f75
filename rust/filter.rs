// SPDX-License-Identifier: GPL-2.0

//! A filter in front of a set of addresses, for those who ask about one that is hardly ever in it.
//!
//! It counts, so that members can leave again (Fan, Cao, Almeida and Broder, *Summary Cache: A Scalable
//! Wide-Area Web Cache Sharing Protocol*, SIGCOMM 1998), and where only one member of a place is known, it
//! also knows a number of that one, for [`super::recall`].

use super::atomic::{
    AtomicU32,
    AtomicUsize,
    Ordering, //
};
use core::num::NonZeroU32;
use kernel::{
    alloc::flags::__GFP_ZERO,
    prelude::*, //
};

/// Places, as a power of two: with a thousand members, one in 130 is taken. 512 KiB of counts, 2 MiB of
/// [`Cell`]s.
const BITS: u32 = 17;

/// In the place of a key while another task changes the number that belongs to it. No address.
const BUSY: usize = 1;

/// Fibonacci hashing (Knuth, The Art of Computer Programming 6.4).
pub(super) const MULTIPLIER: usize = 0x9e37_79b9_7f4a_7c15;

/// A place.
///
/// # Safety
///
/// All zeros must be a value, of a place that no member leads to.
pub(crate) unsafe trait Place {
    /// Members that lead here.
    fn count(&self) -> &AtomicU32;
}

// SAFETY: 0 is a value.
unsafe impl Place for AtomicU32 {
    #[inline]
    fn count(&self) -> &AtomicU32 {
        self
    }
}

/// A place that may know the number of a member; `struct tcp_filter_cell` in `helpers/recall.c`.
#[repr(C)]
pub(crate) struct Cell {
    /// Members that lead here.
    count: AtomicU32,
    /// Number of the member `key`.
    number: AtomicU32,
    /// One of the members, 0 when none is known.
    key: AtomicUsize,
}

// SAFETY: 0 is a value of each field, and no key.
unsafe impl Place for Cell {
    #[inline]
    fn count(&self) -> &AtomicU32 {
        &self.count
    }
}

impl Cell {
    /// Whether a member may lead here.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// The number of `key`, which leads here, if it is known and not 0. Nobody may change it meanwhile.
    #[inline]
    pub(crate) fn number_of(&self, key: usize) -> Option<NonZeroU32> {
        if self.key.load(Ordering::Relaxed) != key {
            return None;
        }
        NonZeroU32::new(self.number.load(Ordering::Relaxed))
    }
}

/// Counts of keys, which are addresses of objects in memory: neither 0 nor 1.
///
/// Context of all its functions: any.
#[repr(transparent)]
pub(crate) struct Filter<P: Place>(KVBox<[P; 1 << BITS]>);

impl<P: Place> Filter<P> {
    /// Creates an empty filter. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let places = KVBox::<[P; 1 << BITS]>::new_uninit(GFP_KERNEL | __GFP_ZERO)?;
        // SAFETY: All zeros is a value, by the contract of `Place`.
        Ok(Self(unsafe { places.assume_init() }))
    }

    /// Where `key` leads.
    #[inline]
    pub(crate) fn place(&self, key: usize) -> &P {
        // The compiler sees that there is such a place.
        &self.0[key.wrapping_mul(MULTIPLIER) >> (usize::BITS - BITS)]
    }

    /// Whether `key` may be a member: `false` is certain for whoever knows that it was added before, if it was.
    #[inline]
    pub(crate) fn may_have(&self, key: usize) -> bool {
        self.place(key).count().load(Ordering::Relaxed) != 0
    }

    /// Adds a member.
    pub(crate) fn add(&self, key: usize) {
        self.place(key).count().fetch_add(1, Ordering::Relaxed);
    }

    /// Takes out a member that was added once.
    pub(crate) fn remove(&self, key: usize) {
        self.place(key).count().fetch_sub(1, Ordering::Relaxed);
    }
}

impl Filter<Cell> {
    /// Adds a member, and says whether its number is known from now on.
    pub(crate) fn add_numbered(&self, key: usize, number: u32) -> bool {
        let cell = self.place(key);
        self.add(key);
        let free = cell
            .key
            .compare_exchange(0, BUSY, Ordering::Acquire, Ordering::Relaxed);
        if free.is_err() {
            return false;
        }
        cell.number.store(number, Ordering::Relaxed);
        cell.key.store(key, Ordering::Release);
        true
    }

    /// Changes the number of a member, if it is known. Nobody may ask for it meanwhile.
    pub(crate) fn renumber(&self, key: usize, number: u32) {
        let cell = self.place(key);
        if cell.key.load(Ordering::Relaxed) == key {
            cell.number.store(number, Ordering::Relaxed);
        }
    }

    /// Takes out a member that was added once; `known` says whether its number may be known.
    pub(crate) fn remove_numbered(&self, key: usize, known: bool) {
        let cell = self.place(key);
        if known && cell.key.load(Ordering::Relaxed) == key {
            cell.key.store(0, Ordering::Release);
        }
        self.remove(key);
    }
}
