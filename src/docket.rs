// SPDX-License-Identifier: GPL-2.0

//! The docket: requests that wait for votes, those decided lately, and the grants.
//!
//! Everything here happens under the lock of [`crate::books::Books`], without sleeping or
//! allocating: the tables have their room from the start, and what goes into them is allocated
//! before the lock is taken.

use crate::{
    abi::{
        clock,
        trace,
        wait::Event, //
    },
    check::Draft,
    engine::{
        event::{
            Cancelled,
            GrantEnded,
            Kind,
            Payload,
            Tally, //
        },
        limits,
        op::Op,
        policy::Terms,
        quorum::{
            Ballot,
            Outcome, //
        },
        refusal::Refusal,
        request,
        vote::VoteRecord, //
    },
    ledger::{
        encoded,
        Entry,
        KernelDigest,
        Ledger, //
    },
    limiter::Sender,
    quarantine::Quarantine,
    validator::Validator, //
};
use kernel::{
    alloc::AllocError,
    prelude::*,
    sync::Arc, //
};

/// What has become of a request. The numbers are those of `request-state` in the netlink
/// specification.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(u32)]
pub(crate) enum State {
    /// It waits for votes.
    Open = 1,
    /// A quorum approved.
    Granted = 2,
    /// Approval became impossible.
    Denied = 3,
    /// Nobody decided in time.
    Expired = 4,
    /// It was withdrawn.
    Cancelled = 5,
}

impl State {
    /// Name for display.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One request.
pub(crate) struct Request {
    /// Digest of the encoding.
    pub(crate) id: [u8; 32],
    /// Digest of what it binds.
    pub(crate) binding: [u8; 32],
    /// The canonical encoding.
    pub(crate) encoding: KVec<u8>,
    /// The operation.
    pub(crate) op: Op,
    /// Who asks; 0 for a task without a label.
    pub(crate) agent: u64,
    /// Effective user of who asks.
    pub(crate) uid: u32,
    /// Line of the rule, 0 for a DEFAULT.
    pub(crate) line: u32,
    /// What became of it.
    pub(crate) state: State,
    /// The votes so far; none while the request has not been opened.
    pub(crate) ballot: Option<Ballot>,
    /// The node's clock entry when it was made.
    pub(crate) created: u64,
    /// When silence becomes a denial, milliseconds since boot.
    pub(crate) expires_ms: u64,
    /// Life of the grant from the decision, in milliseconds.
    pub(crate) ttl_ms: u64,
    /// Uses of the grant.
    pub(crate) uses: u16,
    /// Threshold of the rule, in basis points; an alert raises that of the ballot.
    threshold_bp: u16,
    /// How long it stays open, in milliseconds.
    timeout_ms: u64,
    /// Wakes those who wait for the decision; only for rules with `hold`.
    pub(crate) decided: Option<Arc<Event>>,
}

impl Request {
    /// A request whose binding has been encoded and that has yet to be opened.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is a different part of the request"
    )]
    pub(crate) fn new(
        binding: [u8; 32],
        encoding: KVec<u8>,
        op: Op,
        agent: u64,
        uid: u32,
        line: u32,
        terms: &Terms,
        decided: Option<Arc<Event>>,
    ) -> Self {
        Self {
            id: [0; 32],
            binding,
            encoding,
            op,
            agent,
            uid,
            line,
            state: State::Open,
            ballot: None,
            created: 0,
            expires_ms: 0,
            ttl_ms: u64::from(terms.ttl_s) * 1000,
            uses: terms.uses,
            threshold_bp: terms.threshold_bp,
            timeout_ms: u64::from(terms.timeout_s) * 1000,
            decided,
        }
    }

    /// The weights so far, and the threshold that decides.
    pub(crate) fn tally(&self) -> Tally {
        let none = Tally {
            approve: 0,
            deny: 0,
            total: 0,
            quarantined: 0,
            threshold_bp: self.threshold_bp,
        };
        self.ballot.as_ref().map_or(none, Ballot::tally)
    }

    /// The threshold that an alert gives this request now, in basis points.
    fn raised(&self, ledger: &Ledger) -> u16 {
        let governance = self.op.is_governance();
        ledger
            .watch
            .threshold(self.threshold_bp, self.created, governance)
    }

    /// Whether the validator in `slot` has voted.
    pub(crate) fn has_voted(&self, slot: u16) -> bool {
        self.ballot
            .as_ref()
            .is_some_and(|ballot| ballot.has_voted(slot))
    }

    /// First 8 bytes of the id, as the tracepoints show it.
    pub(crate) fn short_id(&self) -> u64 {
        request::short_id(&self.id)
    }

    /// The entry of an event about this request.
    fn entry(&self, kind: Kind) -> Entry<'_> {
        Entry {
            op: Some(self.op),
            uid: self.uid,
            agent: self.agent,
            request: self.id,
            line: self.line,
            ..Entry::new(kind)
        }
    }

    /// Records that the request has ended, with the weights it ended with, and wakes the waiting.
    fn close(&mut self, ledger: &mut Ledger, state: State, kind: Kind, stamp_ms: u64) {
        let mut payload = [0; 64];
        let tally = Payload::Tally(self.tally());
        let entry = Entry {
            payload: encoded(&tally, &mut payload),
            ..self.entry(kind)
        };
        ledger.append_at(&entry, stamp_ms);
        if let Some(ballot) = &self.ballot {
            ledger.watch.ended(ballot, kind != Kind::Expired, stamp_ms);
        }
        self.end(state);
    }

    /// Records that the request was withdrawn, and wakes the waiting.
    fn cancel(&mut self, ledger: &mut Ledger, reason: Cancelled) {
        ledger.append(&Entry {
            result: reason as u16,
            ..self.entry(Kind::Cancelled)
        });
        self.end(State::Cancelled);
    }

    /// Closes the request as denied when no votes can approve it any more, and says whether it did.
    fn deny_if_impossible(&mut self, ledger: &mut Ledger, stamp_ms: u64) -> bool {
        let impossible = self
            .ballot
            .as_ref()
            .is_some_and(|ballot| ballot.outcome() == Outcome::Denied);
        if impossible {
            self.close(ledger, State::Denied, Kind::Denied, stamp_ms);
        }
        impossible
    }

    fn end(&mut self, state: State) {
        self.state = state;
        if let Some(decided) = &self.decided {
            decided.complete_all();
        }
        trace::request(self.short_id(), self.op as u32, self.agent, state as u32);
    }
}

/// Leave to do what a request asked for.
pub(crate) struct Grant {
    /// The request.
    pub(crate) id: [u8; 32],
    /// What it lets through.
    pub(crate) binding: [u8; 32],
    /// The operation.
    op: Op,
    /// Who may; 0 for a task without a label.
    agent: u64,
    /// Effective user who may.
    uid: u32,
    /// Line of the rule.
    line: u32,
    /// How often it may still be used.
    pub(crate) uses_left: u16,
    /// When it ends, milliseconds since boot.
    pub(crate) expires_ms: u64,
}

impl Grant {
    fn entry(&self, kind: Kind) -> Entry<'_> {
        Entry {
            op: Some(self.op),
            uid: self.uid,
            agent: self.agent,
            request: self.id,
            line: self.line,
            ..Entry::new(kind)
        }
    }

    fn ended(&self, ledger: &mut Ledger, reason: GrantEnded) {
        ledger.append(&Entry {
            result: reason as u16,
            ..self.entry(Kind::GrantEnded)
        });
    }
}

/// How many of each kind of decision a call has made, for the counters.
#[derive(Default)]
pub(crate) struct Closed {
    /// Requests whose approval has become impossible without a vote.
    pub(crate) denied: u32,
    /// Expired requests.
    pub(crate) expired: u32,
    /// Cancelled requests.
    pub(crate) cancelled: u32,
}

/// Requests and grants.
pub(crate) struct Docket {
    /// In the order of their making. At most [`limits::REQUESTS`] are open and
    /// [`limits::DECIDED_REQUESTS`] are not.
    requests: KVVec<KBox<Request>>,
    grants: KVVec<Grant>,
}

impl Docket {
    /// An empty docket with room for all that it may ever hold.
    pub(crate) fn new() -> Result<Self, AllocError> {
        Ok(Self {
            requests: KVVec::with_capacity(
                limits::REQUESTS + limits::GOVERNANCE_REQUESTS + limits::DECIDED_REQUESTS + 1,
                GFP_KERNEL,
            )?,
            grants: KVVec::with_capacity(limits::GRANTS, GFP_KERNEL)?,
        })
    }

    /// Number of open requests.
    pub(crate) fn open_len(&self) -> usize {
        self.open().count()
    }

    /// Number of open requests of one agent (or of all tasks without a label, for 0).
    pub(crate) fn open_of(&self, agent: u64) -> usize {
        self.open().filter(|request| request.agent == agent).count()
    }

    /// Number of grants.
    pub(crate) fn grants_len(&self) -> usize {
        self.grants.len()
    }

    fn open(&self) -> impl Iterator<Item = &KBox<Request>> {
        self.requests
            .iter()
            .filter(|request| request.state == State::Open)
    }

    /// The request at a place in the order of making; places shift when old ones are forgotten.
    pub(crate) fn at(&self, index: usize) -> Option<&Request> {
        self.requests.get(index).map(|request| &**request)
    }

    /// The grant at a place.
    pub(crate) fn grant_at(&self, index: usize) -> Option<&Grant> {
        self.grants.get(index)
    }

    /// The request of that id.
    pub(crate) fn find(&self, id: &[u8; 32]) -> Option<&Request> {
        self.requests
            .iter()
            .find(|request| request.id == *id)
            .map(|request| &**request)
    }

    /// The open request that asks for that binding.
    pub(crate) fn pending(&self, binding: &[u8; 32]) -> Option<&Request> {
        self.open()
            .find(|request| request.binding == *binding)
            .map(|request| &**request)
    }

    /// Says whether `new` may be opened beside those that are open.
    ///
    /// Governance has room of its own, and what one user's agents ask for leaves room for others':
    /// nobody keeps anybody else from asking.
    ///
    /// # Errors
    ///
    /// [`Refusal::RequestLimit`].
    fn check_room(&self, new: &Request) -> Result<(), Refusal> {
        let governance = new.op.is_governance();
        let (mut all, mut agents, mut users) = (0, 0, 0);
        for request in self.open() {
            if request.op.is_governance() == governance {
                all += 1;
                let user = request.uid == new.uid;
                // Tasks without a label are no agent: each user's are counted together.
                agents += usize::from(request.agent == new.agent && (new.agent != 0 || user));
                users += usize::from(user && (request.agent != 0) == (new.agent != 0));
            }
        }
        let full = if governance {
            all >= limits::GOVERNANCE_REQUESTS
        } else {
            all >= limits::REQUESTS
                || agents >= limits::REQUESTS_PER_AGENT
                || users >= limits::REQUESTS_PER_USER
        };
        if full {
            return Err(Refusal::RequestLimit);
        }
        Ok(())
    }

    /// Opens the ballot of a request that is about to be made: among validators of that total
    /// weight, those in quarantine barred.
    ///
    /// # Errors
    ///
    /// [`Refusal::RequestLimit`], [`Refusal::NoValidators`].
    fn open_ballot(
        &self,
        ledger: &mut Ledger,
        request: &Request,
        total: u64,
        quarantine: &Quarantine,
        now_ms: u64,
    ) -> Result<Ballot, Refusal> {
        self.check_room(request)?;
        let mut ballot = Ballot::new(request.threshold_bp, total)?;
        ballot.raise_to(request.raised(ledger));
        for (slot, weight) in quarantine.barred() {
            ballot.bar(slot, weight);
        }
        // One that is denied at once is never pending, so the limits on those do not hold it back.
        let sender = Sender::of(request.agent, request.uid);
        if ballot.outcome() == Outcome::Denied && !ledger.limiter.take(sender, now_ms) {
            return Err(Refusal::RequestLimit);
        }
        Ok(ballot)
    }

    /// Opens the request in `draft` among validators of that total weight, records it, and returns
    /// its id. What has to be freed outside the lock is left in `draft`. When so many validators are
    /// quarantined that nobody can approve it, it is denied at once.
    ///
    /// # Errors
    ///
    /// [`Refusal::RequestLimit`], [`Refusal::NoValidators`].
    pub(crate) fn open_request(
        &mut self,
        ledger: &mut Ledger,
        draft: &mut Draft,
        total: u64,
        quarantine: &Quarantine,
        closed: &mut Closed,
    ) -> Result<[u8; 32], Refusal> {
        let stamp = ledger.catch_up();
        let mut request = draft.request.take().ok_or(Refusal::NoMemory)?;
        let created = ledger.number().saturating_add(1);
        request.created = created;
        request.ballot = match self.open_ballot(ledger, &request, total, quarantine, stamp) {
            Ok(ballot) => Some(ballot),
            Err(refusal) => {
                draft.request = Some(request);
                return Err(refusal);
            }
        };
        let expires_ms = stamp.saturating_add(request.timeout_ms);
        request::set_times(&mut request.encoding, created, stamp, expires_ms)
            .map_err(|_| Refusal::NoMemory)?;
        request.expires_ms = expires_ms;
        request.id = request::id::<KernelDigest>(&request.encoding);
        let id = request.id;
        if self.requests.len() - self.open_len() >= limits::DECIDED_REQUESTS {
            // Not one whose grant lives: there are fewer grants than decided requests.
            let oldest = self.requests.iter().position(|request| {
                request.state != State::Open
                    && !self.grants.iter().any(|grant| grant.id == request.id)
            });
            draft.forgotten = oldest.and_then(|index| self.requests.remove(index).ok());
        }
        let entry = Entry {
            payload: &request.encoding,
            ..request.entry(Kind::Request)
        };
        ledger.append_at(&entry, stamp);
        trace::request(
            request.short_id(),
            request.op as u32,
            request.agent,
            State::Open as u32,
        );
        closed.denied += u32::from(request.deny_if_impossible(ledger, stamp));
        self.requests
            .push_within_capacity(request)
            .map_err(|_| Refusal::RequestLimit)?;
        Ok(id)
    }

    /// Uses a grant for that binding, once, and records it.
    pub(crate) fn use_grant(
        &mut self,
        ledger: &mut Ledger,
        binding: &[u8; 32],
        now_ms: u64,
    ) -> Option<[u8; 32]> {
        let index = self
            .grants
            .iter()
            .position(|grant| grant.binding == *binding && grant.expires_ms > now_ms)?;
        let grant = self.grants.get_mut(index)?;
        grant.uses_left = grant.uses_left.checked_sub(1)?;
        let id = grant.id;
        ledger.append(&Entry {
            result: grant.uses_left,
            ..grant.entry(Kind::Used)
        });
        if grant.uses_left == 0 {
            grant.ended(ledger, GrantEnded::UsedUp);
            // The encoding is shared; what is freed here is small.
            let _ = self.grants.remove(index);
        }
        Some(id)
    }

    /// Counts a vote that has passed every check, and records it and the decision it may bring.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when the request is gone, decided, or was voted on by that validator already.
    pub(crate) fn cast(
        &mut self,
        ledger: &mut Ledger,
        cast: &Cast<'_>,
        now_ms: u64,
    ) -> Result<State, Refusal> {
        let grants_full = self.grants.len() >= limits::GRANTS;
        let stamp = ledger.catch_up();
        let (id, verdict) = (cast.record.vote.request, cast.record.vote.verdict);
        let request = self
            .requests
            .iter_mut()
            .find(|request| request.id == *id)
            .ok_or(Refusal::VoteUnknownRequest)?;
        if request.state != State::Open {
            return Err(Refusal::VoteClosedRequest);
        }
        let raised = request.raised(ledger);
        let ballot = request.ballot.as_mut().ok_or(Refusal::VoteClosedRequest)?;
        let mut after = ballot.clone();
        after.cast(cast.slot, cast.weight, verdict)?;
        after.raise_to(raised);
        let outcome = after.outcome();
        if grants_full && outcome == Outcome::Granted {
            return Err(Refusal::GrantLimit);
        }
        *ballot = after;
        ledger.hear(cast.slot, cast.record.vote.own());
        let entry = Entry {
            slot: cast.slot,
            result: verdict as u16,
            payload: cast.bytes,
            ..request.entry(Kind::Vote)
        };
        ledger.append_at(&entry, stamp);
        match outcome {
            Outcome::Open => {}
            Outcome::Denied => request.close(ledger, State::Denied, Kind::Denied, stamp),
            Outcome::Granted => {
                request.close(ledger, State::Granted, Kind::Granted, stamp);
                let grant = Grant {
                    id: request.id,
                    binding: request.binding,
                    op: request.op,
                    agent: request.agent,
                    uid: request.uid,
                    line: request.line,
                    uses_left: request.uses,
                    expires_ms: now_ms.saturating_add(request.ttl_ms),
                };
                let _ = self.grants.push_within_capacity(grant);
            }
        }
        Ok(request.state)
    }

    /// Closes what has run out of time and returns when to look again.
    pub(crate) fn expire(
        &mut self,
        ledger: &mut Ledger,
        now_ms: u64,
        closed: &mut Closed,
    ) -> Option<u64> {
        let stamp = clock::boottime_ms();
        for request in &mut self.requests {
            if request.state == State::Open && request.expires_ms <= now_ms {
                request.close(ledger, State::Expired, Kind::Expired, stamp);
                closed.expired += 1;
            }
        }
        self.grants.retain(|grant| {
            let alive = grant.expires_ms > now_ms;
            if !alive {
                grant.ended(ledger, GrantEnded::Expired);
            }
            alive
        });
        let requests = self.open().map(|request| request.expires_ms);
        let grants = self.grants.iter().map(|grant| grant.expires_ms);
        Iterator::chain(requests, grants).min()
    }

    /// Withdraws one open request.
    ///
    /// # Errors
    ///
    /// [`Refusal::RequestUnknown`], [`Refusal::RequestClosed`].
    pub(crate) fn cancel(&mut self, ledger: &mut Ledger, id: &[u8; 32]) -> Result<(), Refusal> {
        let request = self
            .requests
            .iter_mut()
            .find(|request| request.id == *id)
            .ok_or(Refusal::RequestUnknown)?;
        if request.state != State::Open {
            return Err(Refusal::RequestClosed);
        }
        request.cancel(ledger, Cancelled::Command);
        Ok(())
    }

    /// Withdraws every open request that `which` picks.
    pub(crate) fn cancel_all(
        &mut self,
        ledger: &mut Ledger,
        reason: Cancelled,
        closed: &mut Closed,
        which: impl Fn(&Request) -> bool,
    ) {
        for request in &mut self.requests {
            if request.state == State::Open && which(request) {
                request.cancel(ledger, reason);
                closed.cancelled += 1;
            }
        }
    }

    /// Takes back one grant.
    ///
    /// # Errors
    ///
    /// [`Refusal::GrantUnknown`].
    pub(crate) fn revoke(&mut self, ledger: &mut Ledger, id: &[u8; 32]) -> Result<(), Refusal> {
        let index = self
            .grants
            .iter()
            .position(|grant| grant.id == *id)
            .ok_or(Refusal::GrantUnknown)?;
        if let Ok(grant) = self.grants.remove(index) {
            grant.ended(ledger, GrantEnded::Revoked);
        }
        Ok(())
    }

    /// Takes back the vote of the validator in `slot`, now quarantined, wherever something is still
    /// to be decided or done, and keeps it from voting: open requests that nobody can approve any
    /// more are denied, and grants that too little weight still approves end.
    pub(crate) fn bar(&mut self, ledger: &mut Ledger, slot: u16, weight: u32, closed: &mut Closed) {
        let (requests, grants) = (&mut self.requests, &mut self.grants);
        for request in requests.iter_mut() {
            let open = request.state == State::Open;
            if !open && !grants.iter().any(|grant| grant.id == request.id) {
                continue;
            }
            if let Some(ballot) = &mut request.ballot {
                ballot.bar(slot, weight);
            }
            if open {
                let stamp = clock::boottime_ms();
                closed.denied += u32::from(request.deny_if_impossible(ledger, stamp));
            }
        }
        grants.retain(|grant| {
            // The request of a grant that lives is never forgotten.
            let backed = requests
                .iter()
                .find(|request| request.id == grant.id)
                .and_then(|request| request.ballot.as_ref())
                .is_some_and(Ballot::is_backed);
            if !backed {
                grant.ended(ledger, GrantEnded::ValidatorQuarantined);
            }
            backed
        });
    }

    /// Takes back every grant.
    pub(crate) fn revoke_all(&mut self, ledger: &mut Ledger, reason: GrantEnded) {
        self.grants.retain(|grant| {
            grant.ended(ledger, reason);
            false
        });
    }

    /// Wakes everybody who waits for a decision.
    pub(crate) fn wake_all(&self) {
        for request in self.open() {
            if let Some(decided) = &request.decided {
                decided.complete_all();
            }
        }
    }
}

/// A vote that has passed every check.
pub(crate) struct Cast<'a> {
    /// The vote.
    pub(crate) record: &'a VoteRecord<'a>,
    /// The record as it arrived.
    bytes: &'a [u8],
    /// The validator's slot.
    pub(crate) slot: u16,
    /// The validator's weight.
    weight: u32,
}

impl<'a> Cast<'a> {
    /// The vote in `record`, which arrived as `bytes`, of `validator`.
    pub(crate) fn new(record: &'a VoteRecord<'a>, bytes: &'a [u8], validator: &Validator) -> Self {
        Self {
            record,
            bytes,
            slot: validator.slot,
            weight: validator.weight,
        }
    }
}

/// Digest of what an encoded request binds.
pub(crate) fn binding_of(encoding: &[u8]) -> [u8; 32] {
    request::binding_digest::<KernelDigest>(encoding)
}
