// SPDX-License-Identifier: GPL-2.0

//! Held votes: those that claim votes of others which this node has not seen yet.
//!
//! See "Vote" in `Documentation/wire-format.rst`. Their signatures have been verified. All room is
//! there from the start, since this is used under the lock of [`crate::books::Books`].

use crate::{
    abi::clock,
    books::Books,
    counter::Counter,
    docket::Cast,
    engine::{
        clock::Timing,
        event::Kind,
        limits,
        refusal::Refusal,
        vote::{
            VoteRecord,
            MAX_RECORD, //
        }, //
    },
    ledger::Entry,
    node::Node,
    validator::{
        Validator,
        ValidatorSet, //
    }, //
};
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::Arc, //
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

impl Node {
    /// Holds a vote whose signature has been verified and whose causes have not arrived.
    ///
    /// # Errors
    ///
    /// Those of [`HeldVotes::hold`].
    pub(crate) fn hold(
        &self,
        books: &mut Books,
        record: &VoteRecord<'_>,
        bytes: &[u8],
        set: &ValidatorSet,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let vote = &record.vote;
        self.prune_held(books, set, now_ms, &mut []);
        books.held.hold(vote.slot, vote.request, bytes)?;
        books.ledger.append(&Entry {
            request: *vote.request,
            slot: vote.slot,
            result: vote.verdict as u16,
            payload: bytes,
            ..Entry::new(Kind::Held)
        });
        Ok(())
    }

    /// Lets go of held votes that can no longer be accepted: expired, or overtaken by another vote
    /// of the same validator. Copies one whose causes have arrived to `room`, and returns whose it
    /// is and its length.
    fn prune_held<'a>(
        &self,
        books: &mut Books,
        set: &'a ValidatorSet,
        now_ms: u64,
        room: &mut [u8],
    ) -> Option<(&'a Arc<Validator>, usize)> {
        // At most as many as there are bits.
        const _: () = assert!(limits::HELD <= u64::BITS as usize);
        let mut dead: u64 = 0;
        let mut ready = None;
        for (at, held) in books.held.iter().enumerate() {
            let found = VoteRecord::decode(held.record()).and_then(|record| {
                let validator = set.by_id(record.vote.validator);
                let timing = self.check_vote(books, &record, validator, now_ms)?;
                Ok((timing, validator))
            });
            match found {
                Ok((Timing::Now, Some(validator))) if ready.is_none() => {
                    if let Some(to) = room.get_mut(..held.record().len()) {
                        to.copy_from_slice(held.record());
                        ready = Some((validator, held.record().len()));
                    }
                }
                Ok(_) => {}
                Err(_) => dead |= 1 << at,
            }
        }
        books.held.drop_marked(dead);
        ready
    }

    /// Accepts one held vote whose causes have arrived. Says whether it did: then others may follow.
    pub(crate) fn accept_held(&self) -> bool {
        let set = self.validators();
        let Ok(mut room) = KVec::from_elem(0, MAX_RECORD, GFP_KERNEL) else {
            // They are held until the next vote is accepted.
            return false;
        };
        let mut books = self.books.lock();
        let now_ms = clock::boottime_ms();
        let ready = self.prune_held(&mut books, &set, now_ms, &mut room);
        let Some((validator, len)) = ready else {
            return false;
        };
        let bytes = room.get(..len).unwrap_or(&[]);
        let state = VoteRecord::decode(bytes)
            .and_then(|record| books.cast(&Cast::new(&record, bytes, validator), now_ms));
        if let Ok(state) = state {
            books.held.retain(|held| held.record() != bytes);
            drop(books);
            self.counters.bump(Counter::Votes);
            self.accepted(validator, state);
            return true;
        }
        // There is no room for the grant that it would make: it waits on.
        false
    }
}
