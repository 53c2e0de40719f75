// SPDX-License-Identifier: GPL-2.0

//! Votes: how one becomes part of a decision.

use crate::{
    abi::{
        clock,
        sha256,
        sig::VerifyError,
        trace, //
    },
    counter::Counter,
    docket::{
        short_id,
        Cast,
        State, //
    },
    engine::{
        event::{
            Kind,
            Tally, //
        },
        refusal::Refusal,
        vote::{
            self,
            RequestState,
            Situation,
            ValidatorState,
            VoteRecord, //
        }, //
    },
    ledger::{
        Entry,
        KernelDigest, //
    },
    limiter::Sender,
    node::Node,
    validator::Validator, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
};

/// What a vote that was accepted has led to.
pub(crate) struct Accepted {
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
                Ok(_) => Ok(()),
                Err(refusal) => Err(Error::from_errno(-refusal.errno())),
            },
        );
        match &result {
            Ok(_) => {
                self.counters.bump(Counter::Votes);
                self.recorded();
            }
            Err(refusal) => {
                self.counters.bump(Counter::VotesRefused);
                // That there is no room is not the voter's doing.
                if *refusal != Refusal::GrantLimit {
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
        self.check_vote(&record, validator.as_ref(), now_ms)?;
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
        let cast = self
            .check_vote_in(&books, &record, Some(&validator), now_ms)
            .and_then(|()| {
                books.cast(
                    &Cast {
                        request: record.vote.request,
                        slot: validator.slot,
                        weight: validator.weight,
                        verdict: record.vote.verdict,
                        own: record.vote.clock.get(validator.slot),
                        record: bytes,
                    },
                    &record.vote.clock,
                    now_ms,
                )
            });
        let tally = books.docket.find(record.vote.request).map(|r| r.tally());
        drop(books);
        self.closed(&closed);
        let state = cast?;
        validator.accepted.add(1, Relaxed);
        match state {
            State::Granted => self.counters.bump(Counter::Granted),
            State::Denied => self.counters.bump(Counter::Denied),
            _ => {}
        }
        Ok(Accepted {
            request: *record.vote.request,
            state,
            tally: tally.ok_or(Refusal::VoteUnknownRequest)?,
        })
    }

    /// Everything but the signature.
    fn check_vote(
        &self,
        record: &VoteRecord<'_>,
        validator: Option<&Arc<Validator>>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
        let books = self.books.lock();
        self.check_vote_in(&books, record, validator, now_ms)
    }

    fn check_vote_in(
        &self,
        books: &crate::books::Books,
        record: &VoteRecord<'_>,
        validator: Option<&Arc<Validator>>,
        now_ms: u64,
    ) -> Result<(), Refusal> {
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
            epoch: self.identity.epoch,
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
