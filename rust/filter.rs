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

/// In the place of a key while another task changes the number that belongs to it. No address.
const BUSY: usize = 1;

/// Fibonacci hashing (Knuth, The Art of Computer Programming 6.4).
pub(super) const MULTIPLIER: usize = 0x9e37_79b9_7f4a_7c15;

/// A place; `struct tcp_filter_cell` in `helpers/recall.c`. All zeros is an empty one.
#[repr(C)]
pub(crate) struct Cell {
    /// Members that lead here.
    count: AtomicU32,
    /// Number of the member `key`.
    number: AtomicU32,
    /// One of the members, 0 when none is known.
    key: AtomicUsize,
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

/// Counts of keys, which are addresses of objects in memory: neither 0 nor 1. There are `PLACES`, a power of two, of 16
/// bytes each.
///
/// Context of all its functions: any.
#[repr(transparent)]
pub(crate) struct Filter<const PLACES: usize>(KVBox<[Cell; PLACES]>);

impl<const PLACES: usize> Filter<PLACES> {
    /// Creates an empty filter. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        const { assert!(PLACES.is_power_of_two()) };
        let cells = KVBox::<[Cell; PLACES]>::new_uninit(GFP_KERNEL | __GFP_ZERO)?;
        // SAFETY: Each field may be all zeros.
        Ok(Self(unsafe { cells.assume_init() }))
    }

    /// Where `key` leads.
    #[inline]
    pub(crate) fn cell(&self, key: usize) -> &Cell {
        // The compiler sees that there is such a place.
        &self.0[key.wrapping_mul(MULTIPLIER) >> (usize::BITS - PLACES.trailing_zeros())]
    }

    /// Whether `key` may be a member: `false` is certain for whoever knows that it was added before, if it was.
    #[inline]
    pub(crate) fn may_have(&self, key: usize) -> bool {
        self.cell(key).is_taken()
    }

    /// Adds a member, and says whether its number is known from now on.
    pub(crate) fn add(&self, key: usize, number: u32) -> bool {
        let cell = self.cell(key);
        cell.count.fetch_add(1, Ordering::Relaxed);
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
        let cell = self.cell(key);
        if cell.key.load(Ordering::Relaxed) == key {
            cell.number.store(number, Ordering::Relaxed);
        }
    }

    /// Takes out a member that was added once; `known` says whether its number may be known.
    pub(crate) fn remove(&self, key: usize, known: bool) {
        let cell = self.cell(key);
        if known && cell.key.load(Ordering::Relaxed) == key {
            cell.key.store(0, Ordering::Release);
        }
        // Whoever sees that there is one member less sees that this one is not known any more.
        cell.count.fetch_sub(1, Ordering::Release);
    }
}
