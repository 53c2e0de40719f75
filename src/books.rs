// SPDX-License-Identifier: GPL-2.0

//! Everything that one lock guards: the ledger, the docket, the quarantine, and what each validator
//! said last.
//!
//! The lock is a spin lock, since operations are judged in hooks that may not sleep. It is the
//! innermost of the module; under it nothing is allocated, verified or sent.

use crate::{
    abi::{
        clock,
        trace, //
    },
    check::{
        Draft,
        Settled, //
    },
    docket::{
        Cast,
        Closed,
        Docket,
        State, //
    },
    engine::{
        byzantine::contradiction,
        clock::{
            NodeClock,
            NODE_SLOT,
            SLOTS, //
        },
        event::{
            Cancelled,
            GrantEnded,
            Kind, //
        },
        evidence::{
            self,
            Evidence, //
        },
        memory::VoteMemory,
        refusal::Refusal,
        vote::{
            SignedVote,
            VoteRecord, //
        },
        wire::Writer, //
    },
    held::HeldVotes,
    ledger::{
        Cursor,
        Entry,
        KernelDigest,
        Ledger, //
    },
    quarantine::{
        Proof,
        Quarantine, //
    },
    validator::Validator, //
};
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::Arc, //
};

/// Which votes a vote may contradict.
#[derive(Clone, Copy)]
pub(crate) enum Compare {
    /// Those that are held.
    Held,
    /// Also those that were accepted before and after it, by its own entry.
    Neighbours,
    /// Also the one on the same request.
    Everything,
}

/// What [`crate::node::Node::books`] guards.
pub(crate) struct Books {
    /// Clock, chain and events.
    pub(crate) ledger: Ledger,
    /// Requests and grants.
    pub(crate) docket: Docket,
    /// Votes whose causes have not arrived.
    pub(crate) held: HeldVotes,
    /// Validators whose fault is proven.
    pub(crate) quarantine: Quarantine,
    /// Clock of each validator's last accepted vote, by slot.
    last: KVVec<NodeClock>,
    /// The last votes that were accepted of each validator that is enrolled, by slot.
    memories: KVVec<Option<VoteMemory>>,
    /// Generation of the policy that requests and grants belong to.
    pub(crate) generation: u64,
    /// Weight of all validators.
    pub(crate) total_weight: u64,
    /// When something expires next, milliseconds since boot.
    next_expiry_ms: u64,
    /// Up to where events have been sent to listeners.
    pub(crate) sent: Cursor,
}

impl Books {
    /// Empty books.
    // Not part of the stack frame that the module is loaded in.
    #[inline(never)]
    pub(crate) fn new(node: &[u8; 32]) -> Result<Self, AllocError> {
        let mut last = KVVec::with_capacity(SLOTS, GFP_KERNEL)?;
        for _ in 0..SLOTS {
            last.push(NodeClock::new(), GFP_KERNEL)?;
        }
        let mut memories = KVVec::with_capacity(SLOTS, GFP_KERNEL)?;
        for _ in 0..SLOTS {
            memories.push(None, GFP_KERNEL)?;
        }
        Ok(Self {
            ledger: Ledger::new(node)?,
            docket: Docket::new()?,
            held: HeldVotes::new()?,
            quarantine: Quarantine::new()?,
            last,
            memories,
            generation: 0,
            total_weight: 0,
            next_expiry_ms: u64::MAX,
            sent: Cursor::default(),
        })
    }

    /// Closes what has run out of time.
    pub(crate) fn expire(&mut self, now_ms: u64) -> Closed {
        let mut closed = Closed::default();
        if now_ms >= self.next_expiry_ms {
            let next = self.docket.expire(&mut self.ledger, now_ms, &mut closed);
            self.next_expiry_ms = next.unwrap_or(u64::MAX);
        }
        self.forget_held();
        closed
    }

    /// When [`Books::expire`] or the watch has something to do next, milliseconds since boot.
    pub(crate) fn next_ms(&self) -> u64 {
        let watch = self.ledger.watch.next_ms().unwrap_or(u64::MAX);
        self.next_expiry_ms.min(watch)
    }

    /// Looks for a grant for what `draft` asks, then for a request that asks the same, and, unless
    /// `only_look`, opens one.
    pub(crate) fn settle(
        &mut self,
        draft: &mut Draft,
        only_look: bool,
        now_ms: u64,
        closed: &mut Closed,
    ) -> Settled {
        let (ledger, docket) = (&mut self.ledger, &mut self.docket);
        if let Some(id) = docket.use_grant(ledger, &draft.binding, now_ms) {
            return Settled::Granted(id);
        }
        if only_look {
            return Settled::Nothing;
        }
        if let Some(request) = docket.pending(&draft.binding) {
            return Settled::Waiting {
                id: request.id,
                decided: request.decided.clone(),
                new: false,
            };
        }
        let decided = draft
            .request
            .as_ref()
            .and_then(|request| request.decided.clone());
        match docket.open_request(ledger, draft, self.total_weight, &self.quarantine, closed) {
            Ok(id) => {
                let expires = docket
                    .find(&id)
                    .map_or(now_ms, |request| request.expires_ms);
                self.next_expiry_ms = self.next_expiry_ms.min(expires);
                Settled::Waiting {
                    id,
                    decided,
                    new: true,
                }
            }
            Err(refusal) => Settled::Refused(refusal),
        }
    }

    /// Counts a vote that has passed every check.
    ///
    /// # Errors
    ///
    /// See [`Docket::cast`].
    pub(crate) fn cast(&mut self, cast: &Cast<'_>, now_ms: u64) -> Result<State, Refusal> {
        let state = self.docket.cast(&mut self.ledger, cast, now_ms)?;
        // The clock was decoded when the vote was checked, so it fits.
        if let Some(last) = self.last.get_mut(usize::from(cast.slot)) {
            let _ = last.decode(cast.record.vote.clock.as_bytes());
        }
        if let Some(Some(memory)) = self.memories.get_mut(usize::from(cast.slot)) {
            memory.remember(&cast.record.signed_vote());
        }
        // A grant may expire sooner than anything else.
        if state == State::Granted {
            self.next_expiry_ms = now_ms;
        }
        Ok(state)
    }

    /// Looks for a vote of `validator` that contradicts `vote`, among those that are remembered and
    /// those that are held, and writes evidence of both to `out` that would lead to its quarantine.
    /// Returns its length.
    ///
    /// Every vote is compared when it arrives, with all that arrived before it, so none has to be
    /// compared again when it is let go. Whether `vote` is signed is for the caller to verify.
    pub(crate) fn evidence(
        &self,
        validator: &Validator,
        vote: &SignedVote<'_>,
        compare: Compare,
        out: &mut [u8],
    ) -> Option<usize> {
        let memory = self.memories.get(usize::from(validator.slot))?.as_ref()?;
        let held = self
            .held
            .iter()
            .filter(|held| held.slot == validator.slot)
            .filter_map(|held| VoteRecord::decode(held.record()).ok())
            .map(|record| record.signed_vote())
            .filter(|other| contradiction(other, vote).is_some());
        let remembered = match compare {
            Compare::Held => None,
            Compare::Neighbours => memory.contradicting(vote, false),
            Compare::Everything => memory.contradicting(vote, true),
        };
        Iterator::chain(remembered.into_iter(), held).find_map(|other| {
            let len = evidence::encode::<KernelDigest>(&validator.key, vote, &other, out).ok()?;
            let evidence = Evidence::decode::<KernelDigest>(out.get(..len)?).ok()?;
            self.quarantine.check(&evidence).ok()?;
            Some(len)
        })
    }

    /// Quarantines a validator, records that, and whatever follows from it.
    ///
    /// # Errors
    ///
    /// [`Refusal::EvidenceUnknown`] when it is not enrolled any more, [`Refusal::EvidenceKnown`],
    /// [`Refusal::EvidenceExpired`].
    pub(crate) fn convict(
        &mut self,
        validator: &Validator,
        proof: &Arc<Proof>,
    ) -> Result<Closed, Refusal> {
        let slot = validator.slot;
        if !matches!(self.memories.get(usize::from(slot)), Some(Some(_))) {
            return Err(Refusal::EvidenceUnknown);
        }
        self.quarantine.check(&proof.evidence()?)?;
        let stamp = clock::boottime_ms();
        let number = self.record_quarantined(slot, proof, stamp);
        self.quarantine.convict(validator, number, proof);
        self.ledger.watch.quarantined(slot, stamp);
        self.held.retain(|held| held.slot != slot);
        let mut closed = Closed::default();
        self.docket
            .bar(&mut self.ledger, slot, validator.weight, &mut closed);
        self.ledger.catch_up();
        Ok(closed)
    }

    /// Records that the validator in `slot` is quarantined, and returns the event's number.
    fn record_quarantined(&mut self, slot: u16, proof: &Proof, stamp_ms: u64) -> u64 {
        let entry = Entry {
            slot,
            result: proof.fault as u16,
            payload: &proof.bytes,
            ..Entry::new(Kind::Quarantined)
        };
        let number = self.ledger.append_at(&entry, stamp_ms);
        trace::quarantine(u32::from(slot), proof.fault as u32, number);
        number
    }

    /// Records that a validator is quarantined, if it is: a state that was given back says so.
    pub(crate) fn record_standing(&mut self, validator: &Validator) {
        let case = self.quarantine.find(&validator.id);
        let Some(proof) = case.and_then(|case| case.proof.clone()) else {
            return;
        };
        let number = self.record_quarantined(validator.slot, &proof, clock::boottime_ms());
        self.quarantine.note(validator, number, &proof);
        self.ledger.watch.restored_quarantined(validator.slot);
    }

    /// Forgets the votes of the validator in `slot`: what they prove has expired, and would hide what
    /// later ones prove.
    pub(crate) fn forget_votes(&mut self, slot: u16) {
        if let Some(Some(memory)) = self.memories.get_mut(usize::from(slot)) {
            memory.clear();
        }
    }

    /// Exchanges the memory of the votes of the validator in `slot`, which is there while it is
    /// enrolled. What comes out is to be freed outside the lock.
    pub(crate) fn swap_memory(&mut self, slot: u16, memory: &mut Option<VoteMemory>) {
        if let Some(place) = self.memories.get_mut(usize::from(slot)) {
            core::mem::swap(place, memory);
        }
    }

    /// Lets go of held votes on requests that are no longer open.
    fn forget_held(&mut self) {
        if self.held.len() == 0 {
            return;
        }
        let docket = &self.docket;
        self.held.retain(|held| {
            docket
                .find(&held.request)
                .is_some_and(|request| request.state == State::Open)
        });
    }

    /// Withdraws every request and grant: what they were asked and given under has changed.
    pub(crate) fn start_over(&mut self, cancelled: Cancelled, ended: GrantEnded) -> Closed {
        let mut closed = Closed::default();
        self.docket
            .cancel_all(&mut self.ledger, cancelled, &mut closed, |_| true);
        self.docket.revoke_all(&mut self.ledger, ended);
        self.forget_held();
        closed
    }

    /// Forgets the clocks of all last votes: a history begins.
    pub(crate) fn clear_last_clocks(&mut self) {
        self.last.iter_mut().for_each(NodeClock::clear);
    }

    /// Sets the clock of the last accepted vote of the validator in `slot`: a state that was given
    /// back has it.
    pub(crate) fn set_last_clock(&mut self, slot: u16, clock: &NodeClock) {
        if let Some(last) = self.last.get_mut(usize::from(slot)) {
            last.copy_from(clock);
        }
    }

    /// Records the last clock of the validator in `slot`, if it has one, or the node's for slot 0.
    /// `room` is for the payload.
    pub(crate) fn record_clock(&mut self, slot: u16, room: &mut [u8]) {
        let clock = match slot {
            NODE_SLOT => self.ledger.clock(),
            _ => match self.last.get(usize::from(slot)) {
                Some(last) if last.count() > 0 => last,
                _ => return,
            },
        };
        let mut out = Writer::new(room);
        let fits = clock.put(&mut out);
        let len = out.len();
        if fits.is_ok() {
            self.ledger.append(&Entry {
                slot,
                payload: room.get(..len).unwrap_or(&[]),
                ..Entry::new(Kind::Clock)
            });
        }
    }

    /// Clock of the last accepted vote of the validator in `slot`.
    pub(crate) fn last_clock(&self, slot: u16) -> Option<&NodeClock> {
        self.last.get(usize::from(slot))
    }
}
