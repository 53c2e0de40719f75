// SPDX-License-Identifier: GPL-2.0

//! Held votes: those that claim votes of others which this node has not seen yet.
//!
//! See "Vote" in `Documentation/wire-format.rst`. Their signatures have been verified. All room is
//! there from the start, since this is used under the lock of [`crate::books::Books`].

use crate::engine::{
    limits,
    refusal::Refusal,
    vote::MAX_RECORD, //
};
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// One held vote.
pub(crate) struct Held {
    /// Place of the validator in the clock.
    pub(crate) slot: u16,
    /// Id of the request.
    pub(crate) request: [u8; 32],
    len: usize,
    record: [u8; MAX_RECORD],
}

impl Held {
    /// The vote record.
    pub(crate) fn record(&self) -> &[u8] {
        self.record.get(..self.len).unwrap_or(&[])
    }

    /// Takes the place of what was held here before.
    fn fill(&mut self, slot: u16, request: &[u8; 32], record: &[u8]) -> bool {
        let Some(room) = self.record.get_mut(..record.len()) else {
            return false;
        };
        room.copy_from_slice(record);
        self.slot = slot;
        self.request = *request;
        self.len = record.len();
        true
    }
}

/// All held votes.
pub(crate) struct HeldVotes {
    /// The first `len` are in use.
    places: KVVec<KBox<Held>>,
    len: usize,
}

impl HeldVotes {
    /// Room for [`limits::HELD`] votes.
    pub(crate) fn new() -> Result<Self, AllocError> {
        let mut places = KVVec::with_capacity(limits::HELD, GFP_KERNEL)?;
        for _ in 0..limits::HELD {
            let place = Held {
                slot: 0,
                request: [0; 32],
                len: 0,
                record: [0; MAX_RECORD],
            };
            places.push(KBox::new(place, GFP_KERNEL)?, GFP_KERNEL)?;
        }
        Ok(Self { places, len: 0 })
    }

    /// The votes that are held.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.places.iter().take(self.len).map(|held| &**held)
    }

    /// Number of votes that are held.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Holds a vote.
    ///
    /// # Errors
    ///
    /// [`Refusal::VoteDuplicate`] when one of that validator on that request is held,
    /// [`Refusal::HeldLimit`].
    pub(crate) fn hold(
        &mut self,
        slot: u16,
        request: &[u8; 32],
        record: &[u8],
    ) -> Result<(), Refusal> {
        if self
            .iter()
            .any(|held| held.slot == slot && held.request == *request)
        {
            return Err(Refusal::VoteDuplicate);
        }
        if self.iter().filter(|held| held.slot == slot).count() >= limits::HELD_PER_VALIDATOR {
            return Err(Refusal::HeldLimit);
        }
        let place = self.places.get_mut(self.len).ok_or(Refusal::HeldLimit)?;
        if !place.fill(slot, request, record) {
            return Err(Refusal::VoteMalformed);
        }
        self.len += 1;
        Ok(())
    }

    /// Lets go of those whose bit in `marked` is set, bit 0 being that of the first.
    pub(crate) fn drop_marked(&mut self, marked: u64) {
        // From the end, so that the places of those still to come stay.
        for at in (0..self.len).rev() {
            if marked >> at & 1 != 0 {
                self.len -= 1;
                self.places.swap(at, self.len);
            }
        }
    }

    /// Lets go of those that `stays` does not want, in any order; the order of the others may change.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&Held) -> bool) {
        let mut at = 0;
        while at < self.len {
            match self.places.get(at) {
                Some(held) if !stays(held) => {
                    self.len -= 1;
                    self.places.swap(at, self.len);
                }
                _ => at += 1,
            }
        }
    }
}
