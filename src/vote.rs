// SPDX-License-Identifier: GPL-2.0

//! Votes: how one becomes part of a decision.

use crate::{
    abi::{
        clock,
        trace, //
    },
    books::{
        Books,
        Compare, //
    },
    counter::Counter,
    docket::{
        Cast,
        Request,
        State, //
    },
    engine::{
        clock::Timing,
        event::{
            Kind,
            Tally, //
        },
        refusal::Refusal,
        request,
        vote::{
            self,
            RequestState,
            Situation,
            ValidatorState,
            VoteRecord, //
        }, //
    },
    evidence,
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

/// What a vote claims to be.
#[derive(Default)]
struct Claim {
    /// Slot of its validator, 0 when it is not enrolled.
    slot: u16,
    verdict: u32,
    request: [u8; 32],
    /// Whether it has proven a fault of its validator, which is no claim any more.
    proof: bool,
}

/// What becomes of a vote if its signature verifies.
enum Judged {
    /// It counts.
    Now,
    /// Its causes have not arrived: it is held.
    Early,
    /// It contradicts another one; so many bytes are the evidence.
    Proof(usize),
}

/// What has become of a vote whose signature verifies.
enum Fate {
    Counted(State),
    Held,
    Proof(usize),
}

/// Says with which earlier votes of its validator a vote is compared of which this was found: see
/// "Detection" in `Documentation/byzantine.rst`.
fn looks_back(checked: &Result<Timing, Refusal>) -> Option<Compare> {
    match checked {
        // The rules of clocks leave no other contradiction.
        Ok(_) => Some(Compare::Held),
        Err(
            Refusal::VoteReason
            | Refusal::ClockNotLater
            | Refusal::ClockLeap
            | Refusal::ClockRegresses
            | Refusal::ClockBeforeRequest
            | Refusal::ClockUnseen,
        ) => Some(Compare::Neighbours),
        Err(
            Refusal::VoteUnknownRequest
            | Refusal::VoteClosedRequest
            | Refusal::VoteSlot
            | Refusal::VoteExpired
            | Refusal::VoteDuplicate,
        ) => Some(Compare::Everything),
        Err(_) => None,
    }
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
        let mut claim = Claim::default();
        let result = self.try_vote(bytes, &mut claim);
        trace::vote(
            request::short_id(&claim.request),
            u32::from(claim.slot),
            claim.verdict,
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
                // That there is no room is not the sender's doing, and for a proof nobody pays.
                if !claim.proof
                    && !matches!(
                        refusal,
                        Refusal::GrantLimit | Refusal::HeldLimit | Refusal::NoMemory
                    )
                {
                    let _ = self.books.lock().ledger.voters.take(sender, now);
                }
                if self.may_record(sender) {
                    self.record(&Entry {
                        uid,
                        request: claim.request,
                        slot: claim.slot,
                        result: refusal.code(),
                        ..Entry::new(Kind::VoteRefused)
                    });
                }
            }
        }
        result
    }

    /// Checks and counts one vote. `claim` receives what the vote claims to be.
    fn try_vote(&self, bytes: &[u8], claim: &mut Claim) -> Result<Accepted, Refusal> {
        let record = VoteRecord::decode(bytes)?;
        let set = self.validators();
        let validator = set.by_id(record.vote.validator);
        claim.slot = validator.map_or(0, |validator| validator.slot);
        claim.verdict = record.vote.verdict as u32;
        claim.request = *record.vote.request;
        let mut room = evidence::room()?;
        // Whether it counts, is held or proves a fault: the signature comes first.
        let _ = self
            .with_books(|books, now_ms| self.sift(books, &record, validator, now_ms, &mut room))?;
        let validator = validator.ok_or(Refusal::VoteUnknownValidator)?;
        validator.verify(&record.signed_vote(), Refusal::VoteForged)?;

        // Much may have happened while the signature was verified: everything is checked again,
        // and counted, under one hold of the lock. A change of the validators has cancelled the
        // request, so the weight is the one that the ballot was opened with.
        let (judged, tally) = self.with_books(|books, now_ms| {
            let judged = self.sift(books, &record, Some(validator), now_ms, &mut room);
            let state = judged.and_then(|judged| match judged {
                Judged::Now => {
                    let cast = Cast::new(&record, bytes, validator);
                    Ok(Fate::Counted(books.cast(&cast, now_ms)?))
                }
                Judged::Early => {
                    self.hold(books, &record, bytes, &set, now_ms)?;
                    Ok(Fate::Held)
                }
                Judged::Proof(len) => Ok(Fate::Proof(len)),
            });
            (
                state,
                books.docket.find(record.vote.request).map(Request::tally),
            )
        });
        let state = match judged? {
            Fate::Counted(state) => Some(state),
            Fate::Held => None,
            Fate::Proof(len) => {
                return Err(self.proven(validator, room.get(..len).unwrap_or(&[]), claim))
            }
        };
        if let Some(state) = state {
            self.accepted(validator, state);
        }
        Ok(Accepted {
            held: state.is_none(),
            state: state.unwrap_or(State::Open),
            request: *record.vote.request,
            tally: tally.ok_or(Refusal::VoteUnknownRequest)?,
        })
    }

    /// Quarantines the validator of a vote that proves a fault, and returns why the vote is refused.
    fn proven(&self, validator: &Validator, evidence: &[u8], claim: &mut Claim) -> Refusal {
        match self.convict(validator, evidence) {
            Ok(_) => {
                claim.proof = true;
                Refusal::VoteQuarantined
            }
            Err(Refusal::NoMemory) => Refusal::NoMemory,
            Err(Refusal::EvidenceUnknown) => Refusal::VoteUnknownValidator,
            // Somebody else has handed evidence in meanwhile.
            Err(_) => Refusal::VoteQuarantined,
        }
    }

    /// Counts that a vote was accepted and what it has decided.
    pub(crate) fn accepted(&self, validator: &Validator, state: State) {
        validator.accepted.add(1, Relaxed);
        match state {
            State::Granted => self.counters.bump(Counter::Granted),
            State::Denied => self.counters.bump(Counter::Denied),
            _ => {}
        }
    }

    /// Everything but the signature, and whether the vote, be it refused or not, contradicts another
    /// one of its validator. `room` receives the evidence.
    fn sift(
        &self,
        books: &Books,
        record: &VoteRecord<'_>,
        validator: Option<&Arc<Validator>>,
        now_ms: u64,
        room: &mut [u8],
    ) -> Result<Judged, Refusal> {
        let checked = self.check_vote(books, record, validator, now_ms);
        let proof = looks_back(&checked)
            .zip(validator)
            .and_then(|(compare, validator)| {
                books.evidence(validator, &record.signed_vote(), compare, room)
            });
        if let Some(len) = proof {
            return Ok(Judged::Proof(len));
        }
        Ok(match checked? {
            Timing::Now => Judged::Now,
            Timing::Early => Judged::Early,
        })
    }

    /// Everything but the signature and other votes.
    pub(crate) fn check_vote(
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
                quarantined: books.quarantine.holds(&validator.id),
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
