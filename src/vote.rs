// SPDX-License-Identifier: GPL-2.0

//! Votes: how one becomes part of a decision.

use crate::{
    abi::{
        clock,
        sha256,
        sig::VerifyError,
        trace, //
    },
    books::Books,
    counter::Counter,
    docket::{
        short_id,
        Cast,
        State, //
    },
    engine::{
        clock::Timing,
        event::{
            Kind,
            Tally, //
        },
        limits,
        refusal::Refusal,
        vote::{
            self,
            RequestState,
            Situation,
            ValidatorState,
            VoteRecord,
            MAX_RECORD, //
        }, //
    },
    ledger::{
        Entry,
        KernelDigest, //
    },
    limiter::Sender,
    node::Node,
    validator::{
        Validator,
        ValidatorSet, //
    }, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
};

/// What a vote that was accepted or held has led to.
pub(crate) struct Accepted {
    /// Whether its causes have yet to arrive: it is held and does not count.
    pub(crate) held: bool,
    /// Id of the request.
    pub(crate) request: [u8; 32],
    /// What has become of it.
    pub(crate) state: State,
    /// The weights now.
    pub(crate) tally: Tally,
}

impl Node {
    /// Takes a vote record that a task of user `uid` has handed in.
    ///
    /// What is cheap is checked first, and the signature last and outside every lock. A vote that is
    /// refused counts against whoever handed it in, never against the validator that it names.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] of the first step that fails, in the order of "Vote" in
    /// `Documentation/wire-format.rst`; [`Refusal::RateLimited`] before any of them.
    pub(crate) fn submit_vote(&self, bytes: &[u8], uid: u32) -> Result<Accepted, Refusal> {
        let sender = Sender::User(uid);
        let now = clock::boottime_ms();
        if !self.books.lock().ledger.voters.may(sender, now) {
            self.counters.bump(Counter::VotesRefused);
            return Err(Refusal::RateLimited);
        }
        let mut named = (0, 0, [0; 32]);
        let result = self.try_vote(bytes, now, &mut named);
        let (slot, verdict, request) = named;
        trace::vote(
            short_id(&request),
            u32::from(slot),
            verdict,
            match &result {
                Ok(accepted) if accepted.held => Err(EAGAIN),
                Ok(_) => Ok(()),
                Err(refusal) => Err(Error::from_errno(-refusal.errno())),
            },
        );
        match &result {
            Ok(accepted) if accepted.held => {
                self.counters.bump(Counter::VotesHeld);
                self.recorded();
            }
            Ok(_) => {
                self.counters.bump(Counter::Votes);
                // What it caused may have arrived before it.
                while self.accept_held() {}
                self.recorded();
            }
            Err(refusal) => {
                self.counters.bump(Counter::VotesRefused);
                // That there is no room is not the voter's doing.
                if !matches!(refusal, Refusal::GrantLimit | Refusal::HeldLimit) {
                    let _ = self.books.lock().ledger.voters.take(sender, now);
                }
                if self.may_record(sender) {
                    self.record(&Entry {
                        uid,
                        request,
                        slot,
                        result: refusal.code(),
                        ..Entry::new(Kind::VoteRefused)
                    });
                }
            }
        }
        result
    }

    /// Checks and counts one vote. `named` receives what the vote claims to be, for the event.
    fn try_vote(
        &self,
        bytes: &[u8],
        now_ms: u64,
        named: &mut (u16, u32, [u8; 32]),
    ) -> Result<Accepted, Refusal> {
        let record = VoteRecord::decode(bytes)?;
        let set = self.validators();
        let validator = set.by_id(record.vote.validator).cloned();
        *named = (
            validator.as_ref().map_or(0, |validator| validator.slot),
            record.vote.verdict as u32,
            *record.vote.request,
        );
        let mut closed = self.books.lock().expire(now_ms);
        self.closed(&closed);
        // Early or not, the signature comes first.
        let _ = self.check_vote(&record, validator.as_ref(), now_ms)?;
        let validator = validator.ok_or(Refusal::VoteUnknownValidator)?;
        let digest = sha256::digest(&[record.signed]);
        validator
            .public
            .verify(&digest, record.signature)
            .map_err(|error| match error {
                VerifyError::Malformed | VerifyError::Mismatch => Refusal::VoteForged,
                VerifyError::Kernel(_) => Refusal::NoMemory,
            })?;

        // Much may have happened while the signature was verified: everything is checked again,
        // and counted, under one hold of the lock. A change of the validators has cancelled the
        // request, so the weight is the one that the ballot was opened with.
        let mut books = self.books.lock();
        let now_ms = clock::boottime_ms();
        closed = books.expire(now_ms);
        let cast = self.cast_or_hold(&mut books, &record, bytes, &validator, now_ms);
        let tally = books.docket.find(record.vote.request).map(|r| r.tally());
        drop(books);
        self.closed(&closed);
        let state = cast?;
        if let Some(state) = state {
            self.accepted(&validator, state);
        }
        Ok(Accepted {
            held: state.is_none(),
            state: state.unwrap_or(State::Open),
            request: *record.vote.request,
            tally: tally.ok_or(Refusal::VoteUnknownRequest)?,
        })
    }

    /// Counts a vote whose signature has been verified, or holds it, and then gives `None`.
    fn cast_or_hold(
        &self,
        books: &mut Books,
        record: &VoteRecord<'_>,
        bytes: &[u8],
        validator: &Arc<Validator>,
        now_ms: u64,
    ) -> Result<Option<State>, Refusal> {
        let vote = &record.vote;
        match self.check_vote_in(books, record, Some(validator), now_ms)? {
            Timing::Now => {
                let cast = Cast {
                    request: vote.request,
                    slot: validator.slot,
                    weight: validator.weight,
                    verdict: vote.verdict,
                    own: vote.clock.get(validator.slot),
                    record: bytes,
                };
                books.cast(&cast, &vote.clock, now_ms).map(Some)
            }
            Timing::Early => {
                self.prune_held(books, &self.validators(), now_ms, &mut []);
                books.held.hold(validator.slot, vote.request, bytes)?;
                books.ledger.append(&Entry {
                    request: *vote.request,
                    slot: validator.slot,
                    result: vote.verdict as u16,
                    payload: bytes,
                    ..Entry::new(Kind::Held)
                });
                Ok(None)
            }
        }
    }

    /// Counts that a vote was accepted and what it has decided.
    fn accepted(&self, validator: &Validator, state: State) {
        validator.accepted.add(1, Relaxed);
        match state {
            State::Granted => self.counters.bump(Counter::Granted),
            State::Denied => self.counters.bump(Counter::Denied),
            _ => {}
        }
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
                let timing = self.check_vote_in(books, &record, validator, now_ms)?;
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
    fn accept_held(&self) -> bool {
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
            .and_then(|record| self.cast_or_hold(&mut books, &record, bytes, validator, now_ms));
        if let Ok(Some(state)) = state {
            books.held.retain(|held| held.record() != bytes);
            drop(books);
            self.counters.bump(Counter::Votes);
            self.accepted(validator, state);
            return true;
        }
        // There is no room for the grant that it would make: it waits on.
        false
    }

    /// Everything but the signature.
    fn check_vote(
        &self,
        record: &VoteRecord<'_>,
        validator: Option<&Arc<Validator>>,
        now_ms: u64,
    ) -> Result<Timing, Refusal> {
        let books = self.books.lock();
        self.check_vote_in(&books, record, validator, now_ms)
    }

    fn check_vote_in(
        &self,
        books: &Books,
        record: &VoteRecord<'_>,
        validator: Option<&Arc<Validator>>,
        now_ms: u64,
    ) -> Result<Timing, Refusal> {
        let request = books.docket.find(record.vote.request);
        let state = validator.and_then(|validator| {
            Some(ValidatorState {
                slot: validator.slot,
                voted: request.is_some_and(|request| request.has_voted(validator.slot)),
                last: books.last_clock(validator.slot)?,
            })
        });
        let situation = Situation {
            node: &self.identity.node,
            epoch: self.identity.epoch(),
            now_ms,
            request: request.map(|request| RequestState {
                open: request.state == State::Open,
                created: request.created,
                expires_ms: request.expires_ms,
            }),
            validator: state,
            clock: books.ledger.clock(),
        };
        vote::check::<KernelDigest, _>(record, &situation)
    }
}
