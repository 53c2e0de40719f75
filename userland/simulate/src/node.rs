// SPDX-License-Identifier: GPL-2.0

//! A node: what the kernel module does with requests, votes and evidence, without hooks and agents.
//!
//! Every decision is the engine's; this has the tables that they are taken from and the order of the
//! events, as `Documentation/wire-format.rst` and `Documentation/byzantine.rst` have them. Governance
//! is a request like any other; what it changes is for the caller.

use crate::key::{
    PublicKey,
    Sha256, //
};
use crate::random::Random;
use engine::byzantine;
use engine::clock::{
    NodeClock,
    Timing,
    NODE_SLOT, //
};
use engine::evidence::{
    self,
    Evidence, //
};
use engine::limits;
use engine::memory::VoteMemory;
use engine::policy::Adaptive;
use engine::quarantine::Record;
use engine::quorum::{
    Ballot,
    Outcome, //
};
use engine::refusal::Refusal;
use engine::vote::{
    self,
    RequestState,
    SignedVote,
    Situation,
    ValidatorState,
    VoteRecord, //
};
use engine::watch::{
    Reason,
    Rules,
    Turn,
    Watch, //
};
use std::collections::HashMap;

/// What validators are asked to approve without an alert, in basis points.
pub(crate) const THRESHOLD_BP: u16 = 7500;

/// How long a request stays open, in milliseconds.
pub(crate) const TIMEOUT_MS: u64 = 5 * 60_000;

/// How long a grant lives, in milliseconds.
const TTL_MS: u64 = 5 * 60_000;

/// The epoch of every node here.
pub(crate) const EPOCH: u64 = 3;

/// An enrolled validator.
struct Validator {
    public: PublicKey,
    weight: u32,
    /// Whether it was removed.
    removed: bool,
    last: NodeClock,
}

/// What has become of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Open,
    Granted,
    Denied,
    Expired,
    Cancelled,
}

/// A request.
pub(crate) struct Request {
    pub(crate) id: [u8; 32],
    pub(crate) created: u64,
    pub(crate) expires_ms: u64,
    pub(crate) state: State,
    governance: bool,
    ballot: Ballot,
    /// When its grant ends; 0 without one.
    grant_ms: u64,
}

/// Something that a watcher of the node's events sees.
pub(crate) enum Notice {
    /// A request ended, or was granted.
    Ended(usize),
    /// A validator was quarantined on this evidence.
    Quarantined(u16, Vec<u8>),
    /// An alert began or ended.
    Turn(Turn),
}

/// A quarantine on record, and the evidence for the last one.
struct Quarantine {
    record: Record,
    evidence: Vec<u8>,
}

/// The node.
pub(crate) struct Node {
    pub(crate) name: [u8; 32],
    pub(crate) clock: NodeClock,
    pub(crate) watch: Watch,
    pub(crate) requests: Vec<Request>,
    /// What has happened since the caller took them last.
    pub(crate) notices: Vec<Notice>,
    number: u64,
    adaptive: Adaptive,
    random: Random,
    validators: Vec<Validator>,
    by_id: HashMap<[u8; 32], u16>,
    /// Kept from run to run: they are large.
    memories: Vec<VoteMemory>,
    quarantines: Vec<Quarantine>,
    /// The records of held votes.
    held: Vec<Vec<u8>>,
    /// The first request that may be open.
    first_open: usize,
}

/// Index of a slot.
fn index(slot: u16) -> usize {
    usize::from(slot) - 1
}

impl Node {
    /// A node, to be [reset](Node::reset) before anything else.
    pub(crate) fn new() -> Self {
        Self {
            name: [0; 32],
            clock: NodeClock::new(),
            watch: Watch::new().expect("memory"),
            requests: Vec::new(),
            notices: Vec::new(),
            number: 0,
            adaptive: Adaptive::DEFAULT,
            random: Random::new(&[]),
            validators: Vec::new(),
            by_id: HashMap::new(),
            memories: Vec::new(),
            quarantines: Vec::new(),
            held: Vec::new(),
            first_open: 0,
        }
    }

    /// Begins a load, without validators, with the default `adaptive` terms.
    pub(crate) fn reset(&mut self, mut random: Random, stamp: u64) {
        self.name = random.bytes();
        self.number = engine::clock::first_number(EPOCH);
        self.random = random;
        self.clock.clear();
        self.watch.clear();
        self.requests.clear();
        self.notices.clear();
        self.validators.clear();
        self.by_id.clear();
        self.quarantines.clear();
        self.held.clear();
        self.first_open = 0;
        self.draw();
        self.tick();
        self.catch_up(stamp);
    }

    /// Number of the last event.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Records an event.
    fn tick(&mut self) -> u64 {
        self.number += 1;
        assert!(self.clock.set(NODE_SLOT, self.number), "slot 0");
        self.number
    }

    /// Draws the windows anew, and records WATCH.
    fn draw(&mut self) {
        let random = [(); 3].map(|()| self.random.word());
        self.tick();
        self.watch.rules(Rules::draw(&self.adaptive, random));
    }

    /// Records what is due.
    fn catch_up(&mut self, stamp: u64) {
        while let Some(turn) = self.watch.due(stamp) {
            let number = self.tick();
            self.watch.turn(turn, number, stamp);
            self.draw();
            self.notices.push(Notice::Turn(turn));
        }
    }

    /// Enrols a validator and returns its slot.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorQuarantined`], [`Refusal::ValidatorDuplicate`].
    pub(crate) fn enrol(
        &mut self,
        public: PublicKey,
        weight: u32,
        stamp: u64,
    ) -> Result<u16, Refusal> {
        if self.record(&public.id).is_some_and(Record::is_quarantined) {
            return Err(Refusal::ValidatorQuarantined);
        }
        if self.validator(&public.id).is_some() {
            return Err(Refusal::ValidatorDuplicate);
        }
        let slot = u16::try_from(self.validators.len() + 1).expect("at most 128 slots");
        match self.memories.get_mut(index(slot)) {
            Some(memory) => memory.clear(),
            None => self.memories.push(VoteMemory::new().expect("memory")),
        }
        self.by_id.insert(public.id, slot);
        self.validators.push(Validator {
            public,
            weight,
            removed: false,
            last: NodeClock::new(),
        });
        self.tick();
        self.watch.enrolled(slot, weight, stamp);
        self.cancel_all();
        Ok(slot)
    }

    /// Removes a validator.
    pub(crate) fn remove(&mut self, slot: u16) {
        self.validators[index(slot)].removed = true;
        self.tick();
        self.watch.removed(slot);
        self.cancel_all();
    }

    /// Ends a quarantine.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorTrusted`], [`Refusal::ReadmitLimit`].
    pub(crate) fn readmit(&mut self, slot: u16, stamp: u64) -> Result<(), Refusal> {
        let id = self.validators[index(slot)].public.id;
        let number = self.number + 1;
        let name = self.name;
        let quarantine = self
            .quarantines
            .iter_mut()
            .find(|quarantine| *quarantine.record.validator() == id)
            .ok_or(Refusal::ValidatorTrusted)?;
        let evidence = Evidence::decode::<Sha256>(&quarantine.evidence)?;
        quarantine.record.may_readmit(&name, number, &evidence)?;
        quarantine.record.readmit(&name, number, &evidence)?;
        self.tick();
        self.watch.readmitted(slot, stamp);
        self.memories[index(slot)].clear();
        self.cancel_all();
        Ok(())
    }

    /// Weight of all validators.
    pub(crate) fn total(&self) -> u64 {
        let enrolled = self
            .validators
            .iter()
            .filter(|validator| !validator.removed);
        enrolled.map(|validator| u64::from(validator.weight)).sum()
    }

    /// Whether the validator in `slot` is quarantined.
    pub(crate) fn is_quarantined(&self, slot: u16) -> bool {
        let id = &self.validators[index(slot)].public.id;
        self.record(id).is_some_and(Record::is_quarantined)
    }

    fn record(&self, id: &[u8; 32]) -> Option<&Record> {
        let records = self.quarantines.iter().map(|quarantine| &quarantine.record);
        records.into_iter().find(|record| record.validator() == id)
    }

    /// The slot of an enrolled validator.
    fn validator(&self, id: &[u8; 32]) -> Option<u16> {
        let slot = self.by_id.get(id).copied()?;
        Some(slot).filter(|&slot| !self.validators[index(slot)].removed)
    }

    /// Opens a request and returns its index.
    pub(crate) fn open(&mut self, governance: bool, stamp: u64) -> usize {
        self.expire(stamp);
        self.catch_up(stamp);
        let created = self.tick();
        let mut ballot = Ballot::new(THRESHOLD_BP, self.total()).expect("validators");
        ballot.raise_to(self.watch.threshold(THRESHOLD_BP, created, governance));
        for slot in 1..=self.validators.len() {
            let slot = u16::try_from(slot).expect("at most 128 slots");
            if self.is_quarantined(slot) && !self.validators[index(slot)].removed {
                ballot.bar(slot, self.validators[index(slot)].weight);
            }
        }
        let at = self.requests.len();
        // Its place stands at the end of the id, so that it is found without a table.
        let mut id = self.random.bytes();
        id[24..].copy_from_slice(&(at as u64).to_be_bytes());
        self.requests.push(Request {
            id,
            created,
            expires_ms: stamp + TIMEOUT_MS,
            state: State::Open,
            governance,
            ballot,
            grant_ms: 0,
        });
        self.settle(at, stamp);
        at
    }

    /// The request of that id.
    fn find(&self, id: &[u8; 32]) -> Option<usize> {
        let place = id.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))?;
        let at = usize::try_from(place).ok()?;
        self.requests.get(at).filter(|request| request.id == *id)?;
        Some(at)
    }

    /// Ends a request that its votes have decided.
    fn settle(&mut self, at: usize, stamp: u64) {
        let state = match self.requests[at].ballot.outcome() {
            Outcome::Open => return,
            Outcome::Granted => State::Granted,
            Outcome::Denied => State::Denied,
        };
        self.end(at, state, stamp);
    }

    fn end(&mut self, at: usize, state: State, stamp: u64) {
        self.tick();
        let request = &mut self.requests[at];
        request.state = state;
        if state == State::Granted {
            request.grant_ms = stamp + TTL_MS;
        }
        self.watch
            .ended(&request.ballot, state != State::Expired, stamp);
        self.notices.push(Notice::Ended(at));
    }

    /// Ends the requests whose time is over.
    pub(crate) fn expire(&mut self, stamp: u64) {
        for at in self.first_open..self.requests.len() {
            let request = &self.requests[at];
            if request.state == State::Open && request.expires_ms < stamp {
                self.end(at, State::Expired, stamp);
            }
        }
        while self
            .requests
            .get(self.first_open)
            .is_some_and(|request| request.state != State::Open)
        {
            self.first_open += 1;
        }
    }

    /// What a change of the validators does to what is open.
    fn cancel_all(&mut self) {
        for request in &mut self.requests {
            request.grant_ms = 0;
            if request.state == State::Open {
                request.state = State::Cancelled;
                self.number += 1;
            }
        }
        assert!(self.clock.set(NODE_SLOT, self.number), "slot 0");
    }

    /// Takes a vote record, and says whether it is held.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] of the first step that fails.
    pub(crate) fn vote(&mut self, bytes: &[u8], stamp: u64) -> Result<bool, Refusal> {
        self.expire(stamp);
        self.catch_up(stamp);
        let result = self.try_vote(bytes, stamp);
        match result {
            Ok(_) => while self.release(stamp) {},
            Err(refusal) => {
                self.tick();
                self.watch.refused(refusal, stamp);
            }
        }
        self.catch_up(stamp);
        result
    }

    fn try_vote(&mut self, bytes: &[u8], stamp: u64) -> Result<bool, Refusal> {
        let record = VoteRecord::decode(bytes)?;
        let vote = record.signed_vote();
        let slot = self.validator(vote.vote.validator);
        let checked = self.check(&record, stamp);
        if let Err(refusal) = checked {
            if !judged(refusal) {
                return Err(refusal);
            }
        }
        // `VoteUnknownRequest` and `VoteClosedRequest` come before the validator was looked at.
        let Some(slot) = slot.filter(|&slot| slot == vote.vote.slot && !self.is_quarantined(slot))
        else {
            return Err(checked.err().unwrap_or(Refusal::VoteUnknownValidator));
        };
        let verify = || {
            let public = &self.validators[index(slot)].public;
            let verified = public.verify(vote.signed, vote.signature);
            verified.then_some(()).ok_or(Refusal::VoteForged)
        };
        if checked != Ok(Timing::Now) {
            if let Some(evidence) = self.contradicting(slot, &vote) {
                verify()?;
                self.quarantine(slot, &evidence, stamp);
                return Err(Refusal::VoteQuarantined);
            }
        }
        match checked? {
            Timing::Now => {
                verify()?;
                self.cast(slot, &vote, stamp)?;
                Ok(false)
            }
            Timing::Early => {
                verify()?;
                self.hold(&vote, bytes)?;
                Ok(true)
            }
        }
    }

    /// Everything but the signature.
    fn check(&self, record: &VoteRecord<'_>, stamp: u64) -> Result<Timing, Refusal> {
        let request = self.find(record.vote.request).map(|at| &self.requests[at]);
        let situation = Situation {
            node: &self.name,
            epoch: EPOCH,
            now_ms: stamp,
            request: request.map(|request| RequestState {
                open: request.state == State::Open,
                created: request.created,
                expires_ms: request.expires_ms,
            }),
            validator: self
                .validator(record.vote.validator)
                .map(|slot| ValidatorState {
                    slot,
                    quarantined: self.is_quarantined(slot),
                    voted: request.is_some_and(|request| request.ballot.has_voted(slot)),
                    last: &self.validators[index(slot)].last,
                }),
            clock: &self.clock,
        };
        vote::check::<Sha256, { engine::clock::SLOTS }>(record, &situation)
    }

    /// Evidence that this vote and one that is remembered or held make.
    fn contradicting(&self, slot: u16, vote: &SignedVote<'_>) -> Option<Vec<u8>> {
        let held = || {
            let records = self
                .held
                .iter()
                .filter_map(|held| VoteRecord::decode(held).ok());
            records.map(|record| record.signed_vote()).find(|held| {
                held.vote.validator == vote.vote.validator
                    && byzantine::contradiction(held, vote).is_some()
            })
        };
        let other = self.memories[index(slot)]
            .contradicting(vote, true)
            .or_else(held)?;
        let mut bytes = vec![0; evidence::MAX_LEN];
        let key = &self.validators[index(slot)].public.point;
        let len = evidence::encode::<Sha256>(key, &other, vote, &mut bytes).ok()?;
        bytes.truncate(len);
        Some(bytes)
    }

    /// Counts a vote whose signature was verified.
    fn cast(&mut self, slot: u16, vote: &SignedVote<'_>, stamp: u64) -> Result<(), Refusal> {
        let at = self
            .find(vote.vote.request)
            .ok_or(Refusal::VoteUnknownRequest)?;
        let validator = &mut self.validators[index(slot)];
        let request = &mut self.requests[at];
        request
            .ballot
            .cast(slot, validator.weight, vote.vote.verdict)?;
        validator
            .last
            .decode(vote.vote.clock.as_bytes())
            .expect("a clock that was decoded");
        assert!(self.clock.set(slot, vote.vote.own()), "a validator's slot");
        self.memories[index(slot)].remember(vote);
        self.tick();
        self.watch.voted(slot, vote.vote.request, stamp);
        let request = &mut self.requests[at];
        let threshold = self
            .watch
            .threshold(THRESHOLD_BP, request.created, request.governance);
        request.ballot.raise_to(threshold);
        self.settle(at, stamp);
        Ok(())
    }

    /// Holds a vote.
    fn hold(&mut self, vote: &SignedVote<'_>, bytes: &[u8]) -> Result<(), Refusal> {
        let mut own = 0;
        for held in self
            .held
            .iter()
            .filter_map(|held| VoteRecord::decode(held).ok())
        {
            if held.vote.validator == vote.vote.validator {
                if held.vote.request == vote.vote.request {
                    return Err(Refusal::VoteDuplicate);
                }
                own += 1;
            }
        }
        if own >= limits::HELD_PER_VALIDATOR || self.held.len() >= limits::HELD {
            return Err(Refusal::HeldLimit);
        }
        self.held.push(bytes.to_vec());
        self.tick();
        Ok(())
    }

    /// Accepts, or lets go of, one held vote. Says whether there was one: then others may follow.
    fn release(&mut self, stamp: u64) -> bool {
        let found = self.held.iter().enumerate().find_map(|(at, held)| {
            let record = VoteRecord::decode(held).ok()?;
            match self.check(&record, stamp) {
                Ok(Timing::Early) => None,
                other => Some((at, other.is_ok())),
            }
        });
        let Some((at, ready)) = found else {
            return false;
        };
        let bytes = self.held.swap_remove(at);
        let Ok(record) = VoteRecord::decode(&bytes) else {
            return true;
        };
        let vote = record.signed_vote();
        let Some(slot) = self.validator(vote.vote.validator) else {
            return true;
        };
        if ready {
            // It was checked just now.
            let _ = self.cast(slot, &vote, stamp);
        } else if !self.is_quarantined(slot) {
            if let Some(evidence) = self.contradicting(slot, &vote) {
                self.quarantine(slot, &evidence, stamp);
            }
        }
        true
    }

    /// Takes evidence.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] of the first step that fails.
    pub(crate) fn evidence(&mut self, bytes: &[u8], stamp: u64) -> Result<(), Refusal> {
        let evidence = Evidence::decode::<Sha256>(bytes)?;
        let slot = self
            .validator(evidence.validator())
            .ok_or(Refusal::EvidenceUnknown)?;
        if let Some(record) = self.record(evidence.validator()) {
            record.check(&evidence)?;
        }
        let public = &self.validators[index(slot)].public;
        for vote in [&evidence.first, &evidence.second] {
            if !public.verify(vote.signed, vote.signature) {
                return Err(Refusal::EvidenceForged);
            }
        }
        self.quarantine(slot, bytes, stamp);
        self.catch_up(stamp);
        Ok(())
    }

    /// Quarantines a validator: its votes are taken back, and what they had decided with them.
    fn quarantine(&mut self, slot: u16, evidence: &[u8], stamp: u64) {
        let number = self.tick();
        let Validator { public, weight, .. } = &self.validators[index(slot)];
        let (id, weight) = (public.id, *weight);
        match self
            .quarantines
            .iter_mut()
            .find(|known| *known.record.validator() == id)
        {
            Some(known) => {
                known.record.quarantine(slot, number);
                known.evidence = evidence.to_vec();
            }
            None => self.quarantines.push(Quarantine {
                record: Record::new(&id, slot, number),
                evidence: evidence.to_vec(),
            }),
        }
        self.notices
            .push(Notice::Quarantined(slot, evidence.to_vec()));
        self.held.retain(|held| {
            VoteRecord::decode(held).is_ok_and(|record| *record.vote.validator != id)
        });
        self.watch.quarantined(slot, stamp);
        for at in 0..self.requests.len() {
            if self.requests[at].state == State::Open {
                self.requests[at].ballot.bar(slot, weight);
                self.settle(at, stamp);
            }
        }
        for at in 0..self.requests.len() {
            let request = &mut self.requests[at];
            if request.grant_ms > stamp {
                request.ballot.bar(slot, weight);
                if !request.ballot.is_backed() {
                    request.grant_ms = 0;
                    self.tick();
                }
            }
        }
    }

    /// Whether validator `slot` is unheard.
    pub(crate) fn is_unheard(&self, slot: u16, stamp: u64) -> bool {
        let silence = self
            .watch
            .in_force()
            .map_or(u64::MAX, |rules| u64::from(rules.silence_ms));
        let heard = self.watch.heard_ms(slot);
        self.watch.unheard(slot) >= 3
            && heard.is_some_and(|heard| heard.saturating_add(silence) <= stamp)
    }

    /// Whether an alert for that reason holds.
    pub(crate) fn alert(&self, reason: Reason) -> bool {
        self.watch.active() & reason.bit() != 0
    }
}

/// Refusals after which a vote is compared with what is remembered: those of step 3 and 5 to 8.
fn judged(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::VoteUnknownRequest
            | Refusal::VoteClosedRequest
            | Refusal::VoteExpired
            | Refusal::VoteDuplicate
            | Refusal::VoteReason
            | Refusal::ClockNotLater
            | Refusal::ClockRegresses
            | Refusal::ClockLeap
            | Refusal::ClockBeforeRequest
            | Refusal::ClockUnseen
    )
}
