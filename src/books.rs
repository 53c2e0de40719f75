// SPDX-License-Identifier: GPL-2.0

//! Everything that one lock guards: the ledger, the docket, and what each validator said last.
//!
//! The lock is a spin lock, since operations are judged in hooks that may not sleep. It is the
//! innermost of the module; under it nothing is allocated, verified or sent.

use crate::{
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
        clock::{
            ClaimedClock,
            NodeClock,
            NODE_SLOT,
            SLOTS, //
        },
        event::{
            Cancelled,
            GrantEnded,
            Kind, //
        },
        refusal::Refusal,
        wire::Writer, //
    },
    held::HeldVotes,
    ledger::{
        Cursor,
        Entry,
        Ledger, //
    }, //
};
use kernel::{
    alloc::AllocError,
    prelude::*, //
};

/// What [`crate::node::Node::books`] guards.
pub(crate) struct Books {
    /// Clock, chain and events.
    pub(crate) ledger: Ledger,
    /// Requests and grants.
    pub(crate) docket: Docket,
    /// Votes whose causes have not arrived.
    pub(crate) held: HeldVotes,
    /// Clock of each validator's last accepted vote, by slot.
    last: KVVec<NodeClock>,
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
    pub(crate) fn new(node: &[u8; 32]) -> Result<Self, AllocError> {
        let mut last = KVVec::with_capacity(SLOTS, GFP_KERNEL)?;
        for _ in 0..SLOTS {
            last.push(NodeClock::new(), GFP_KERNEL)?;
        }
        Ok(Self {
            ledger: Ledger::new(node)?,
            docket: Docket::new()?,
            held: HeldVotes::new()?,
            last,
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

    /// When [`Books::expire`] has something to do next, milliseconds since boot.
    pub(crate) fn next_expiry_ms(&self) -> u64 {
        self.next_expiry_ms
    }

    /// Looks for a grant for what `draft` asks, then for a request that asks the same, and, unless
    /// `only_look`, opens one.
    pub(crate) fn settle(&mut self, draft: &mut Draft, only_look: bool, now_ms: u64) -> Settled {
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
        match docket.open_request(ledger, draft, self.total_weight, now_ms) {
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
    pub(crate) fn cast(
        &mut self,
        vote: &Cast<'_>,
        clock: &ClaimedClock<'_>,
        now_ms: u64,
    ) -> Result<State, Refusal> {
        let state = self.docket.cast(&mut self.ledger, vote, now_ms)?;
        // The clock was decoded when the vote was checked, so it fits.
        if let Some(last) = self.last.get_mut(usize::from(vote.slot)) {
            let _ = last.decode(clock.as_bytes());
        }
        // A grant may expire sooner than anything else.
        if state == State::Granted {
            self.next_expiry_ms = now_ms;
        }
        Ok(state)
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
