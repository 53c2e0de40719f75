// SPDX-License-Identifier: GPL-2.0

//! One load of the module, event by event: what the kernel promises, checked again.

use std::collections::{
    BTreeSet,
    HashMap, //
};

use engine::{
    anchor::Standing,
    clock::{
        first_number,
        Chain,
        NodeClock,
        Timing,
        NODE_SLOT,
        NO_HEAD,
        SLOTS, //
    },
    event::{
        Cancelled,
        Event,
        GrantEnded,
        Header,
        Kind,
        Payload,
        SealedBy,
        Tally, //
    },
    governance::ValidatorRecord,
    op::Op,
    policy::{
        Action,
        Policy, //
    },
    quorum::{
        Outcome, //
    },
    refusal::Refusal,
    reputation,
    request::Request,
    vote::{
        self,
        RequestState,
        Situation,
        ValidatorState,
        VoteRecord, //
    },
    watch::Rules, //
};

use super::{
    alerts::Alerts,
    anchors::{
        Anchors,
        Beginning,
        Effect,
        Kept,
        PolicyFact,
        Staged, //
    },
    docket::{
        Docket,
        Due,
        Wanted,
        SLACK_MS, //
    },
    fault::{
        same,
        same_digest,
        wrong,
        Checked,
        Wrong, //
    },
    log::Head,
    quarantine::{
        self,
        Quarantines, //
    },
    roll::Roll,
    said::Said, //
};
use crate::crypto::{
    self,
    Sha256, //
};

/// The policies whose text the auditor has, by digest.
pub(crate) type Texts = HashMap<[u8; 32], Policy>;

/// What was checked, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Loads of the module.
    pub(crate) loads: u64,
    /// Events.
    pub(crate) events: u64,
    /// Requests made.
    pub(crate) requests: u64,
    /// Accepted votes whose signature and rules were verified.
    pub(crate) votes: u64,
    /// Held votes whose signature was verified.
    pub(crate) held: u64,
    /// Requests that were granted.
    pub(crate) granted: u64,
    /// Requests that were denied.
    pub(crate) denied: u64,
    /// Requests that expired.
    pub(crate) expired: u64,
    /// Requests that were withdrawn.
    pub(crate) cancelled: u64,
    /// Uses of grants.
    pub(crate) uses: u64,
    /// Changes of policy, validators, mode or pin in a sealed node, each under a grant.
    pub(crate) governance: u64,
    /// Requests whose terms were compared with the policy's text.
    pub(crate) terms: u64,
    /// Commits to the TPM.
    pub(crate) anchors: u64,
    /// Loads that went on from a state.
    pub(crate) restored: u64,
    /// Recoveries.
    pub(crate) recovered: u64,
    /// Requests under a policy whose text the auditor does not have.
    pub(crate) unread: u64,
    /// Recoveries from a state that the load before did not end with.
    pub(crate) outdated: u64,
    /// Events of loads whose beginning is not in the log.
    pub(crate) partial: u64,
    /// Quarantines, each on evidence that was verified.
    pub(crate) quarantined: u64,
    /// Readmissions.
    pub(crate) readmitted: u64,
    /// Alerts.
    pub(crate) alerts: u64,
    /// WATCH under a policy whose text the auditor does not have.
    pub(crate) unfitted: u64,
}

/// Where a load is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Root decides.
    Setup,
    /// The past has to be given back.
    Locked,
    /// The events that repeat what the state held; then [`Phase::Sealed`], or [`Phase::Recovering`] when it is not current.
    Rebuilding {
        /// Whether the state is not current.
        outdated: bool,
    },
    /// A quorum decides whether a state that is not current is taken.
    Recovering,
    /// A quorum decides.
    Sealed,
}

/// How the load before ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Past {
    /// Its last commit.
    pub(crate) committed: Option<Staged>,
    /// The state that counts when that commit has none, or when it is not known whether the TPM took it: a recovery that nobody
    /// decided on leaves the state of before, and so does a restore that the power cut ended.
    state: Option<Staged>,
    /// What was staged after it and not committed, as far as the log tells.
    pub(crate) staged: Option<Staged>,
    /// Whether every state that a further load can go on from is here: the log has the load that made it.
    is_complete: bool,
}

impl Past {
    /// The state whose chain has that head.
    fn at(&self, head: &[u8; 32]) -> Option<&Staged> {
        [&self.committed, &self.state, &self.staged]
            .into_iter()
            .flatten()
            .find(|staged| staged.head == *head)
    }
}

/// One load.
pub(crate) struct Load {
    /// The node.
    pub(crate) node: [u8; 32],
    /// The epoch.
    pub(crate) epoch: u64,
    /// `chain[0]`, or the chain's value before the first event in the log.
    start: [u8; 32],
    chain: Chain,
    /// Number of the last event.
    pub(crate) number: u64,
    /// When it was recorded.
    boot_ms: u64,
    /// Whether the log has the load from its beginning.
    pub(crate) whole: bool,
    /// Whether a TPM keeps the history.
    pub(crate) tpm: bool,
    phase: Phase,
    /// The node's clock; entry 0 is `number`.
    clock: NodeClock,
    roll: Roll,
    quarantines: Quarantines,
    /// Slots whose quarantine was told after RESTORED.
    told: BTreeSet<u16>,
    alerts: Alerts,
    said: Said,
    /// The policy in force.
    pub(crate) policy: Option<PolicyFact>,
    mode: u16,
    docket: Docket,
    /// Commits.
    pub(crate) anchors: Anchors,
    due: Due,
    /// What the last use of a governance grant allows.
    leave: Option<Wanted>,
    /// How the load before ended.
    past: Option<Past>,
    /// Whether this load may stand apart from that past: it has told so.
    acknowledged: bool,
    /// Whether it began without a past.
    is_first: bool,
    /// The state that this load goes on from, where the log has it.
    origin: Option<Box<Staged>>,
    /// Whether it goes on from a state that nothing in the log stands behind.
    pub(crate) is_unfounded: bool,
    /// How it began, until the TPM was told.
    beginning: Option<Beginning>,
    /// Head and anchor of the ANCHORED that told the TPM how a recovery began: the anchor found is told later.
    begun: Option<([u8; 32], [u8; 32])>,
    /// What the state held that this load goes on from.
    kept: Option<Box<Kept>>,
    /// Whether MODE has come, of those events that repeat what the state held.
    mode_known: bool,
    /// Whether CLOCK of slot 0 has come.
    clock_known: bool,
    /// Whether the recovery that a quorum was asked for has come.
    recovered: bool,
}

/// Makes a fault of a refusal that the kernel should have given.
fn refused(refusal: Refusal) -> Wrong {
    wrong(
        refusal.name(),
        "the kernel does not accept such a vote",
        "a vote by the rules of wire-format.rst",
    )
}

/// A fault about an event that has no place where it stands.
fn misplaced(code: &'static str, found: &str, expected: &str) -> Wrong {
    wrong(code, found, expected)
}

impl Load {
    /// Begins a load at its first event, or in its middle.
    ///
    /// # Errors
    ///
    /// `epoch`, `genesis` and `no_memory`.
    pub(crate) fn new(head: &Head, first: &Header, past: Option<Past>) -> Checked<Self> {
        let beginning = first_number(head.epoch).saturating_add(1);
        let whole = first.number == beginning;
        let fresh = *Chain::new::<Sha256>(&head.node, head.epoch, &NO_HEAD).head() == head.chain;
        let loaded = first.kind == Kind::Loaded;
        let tpm = head.epoch != 0 || (loaded && first.result == SealedBy::Tpm as u16);
        if whole && !loaded && fresh && first.kind != Kind::Staged {
            return Err(wrong(
                "loaded_missing",
                format!("a load begins with {}", first.kind.name()),
                "LOADED",
            ));
        }
        if loaded && (first.result == SealedBy::Tpm as u16) != tpm {
            return Err(wrong(
                "epoch",
                format!("epoch {} without a TPM", head.epoch),
                "epoch 0",
            ));
        }
        if whole && head.epoch == 0 && !fresh {
            return Err(wrong(
                "genesis",
                "a load without an epoch goes on from a state",
                "chain[0] of a load without a past",
            ));
        }
        // In a load of a sealed node that has no epoch yet, the state has to be given back first.
        let locked = !fresh || (tpm && head.epoch == 0);
        let mut clock = NodeClock::new();
        let _ = clock.set(NODE_SLOT, first.number.saturating_sub(1));
        Ok(Self {
            node: head.node,
            epoch: head.epoch,
            start: head.chain,
            chain: Chain::from_head(head.chain),
            number: first.number.saturating_sub(1),
            boot_ms: 0,
            whole,
            tpm,
            phase: if locked { Phase::Locked } else { Phase::Setup },
            clock,
            roll: Roll::default(),
            quarantines: Quarantines::default(),
            told: BTreeSet::new(),
            alerts: Alerts::new()?,
            said: Said::default(),
            policy: None,
            mode: engine::governance::Mode::Enforce as u16,
            docket: Docket::default(),
            anchors: Anchors {
                // A node in setup has never committed anything, unless it says RECOVERED.
                anchor: (!locked).then_some([0; 32]),
                counter: (!locked).then_some(head.epoch),
                ..Anchors::default()
            },
            due: Due::Nothing,
            leave: None,
            acknowledged: past.is_none(),
            past,
            is_first: !locked,
            origin: None,
            is_unfounded: false,
            beginning: None,
            begun: None,
            kept: None,
            mode_known: false,
            clock_known: false,
            recovered: false,
        })
    }

    /// The chain's value after the last event.
    pub(crate) fn head(&self) -> &[u8; 32] {
        self.chain.head()
    }

    /// Whether it has an epoch of its own: a locked node has none before its state is restored.
    pub(crate) fn has_epoch(&self) -> bool {
        !self.tpm || self.epoch != 0
    }

    /// Whether it ended before the TPM was told of anything in it: then nothing could be asked or decided, and the counter may be
    /// what it was.
    pub(crate) fn was_given_up(&self) -> bool {
        let early = matches!(
            self.phase,
            Phase::Locked | Phase::Rebuilding { outdated: true }
        );
        self.anchors.committed.is_none() && (early || self.beginning.is_some())
    }

    /// Number of the event with which the TPM was told how this load began, when that gave it this anchor and the power was cut
    /// before ANCHORED.
    pub(crate) fn began_with(&self, counter: u64, anchor: &[u8; 32]) -> Option<u64> {
        let last = self.past.as_ref().and_then(|past| past.committed.as_ref());
        // The anchor is extended first; then the counter is incremented, once or twice.
        let begun = counter.saturating_add(2) >= self.epoch && counter <= self.epoch;
        self.beginning
            .as_ref()
            .filter(|_| begun)?
            .told(last.map(|last| &last.anchor), anchor)
    }

    /// What is open at the end: requests and grants.
    pub(crate) fn open(&self) -> (usize, usize) {
        self.docket.counts()
    }

    /// The facts that a state holds now.
    fn facts(&self) -> Kept {
        Kept {
            policy: self.policy.clone(),
            mode: self.mode,
            roll: self.roll.clone(),
            clock: self.clock.clone(),
            quarantines: self.quarantines.clone(),
            reputations: self.alerts.reputations(&self.roll),
        }
    }

    /// Ends the load; [`None`] when a further load can go on from what the log does not have.
    pub(crate) fn into_past(self) -> Option<Past> {
        let Anchors {
            committed, staged, ..
        } = self.anchors;
        if committed.is_none() && staged.is_none() {
            // Nothing of it reached the TPM: the next load goes on from where this one began.
            let first = self.is_first.then(|| Past {
                is_complete: true,
                ..Past::default()
            });
            return self.past.or(first);
        }
        let before = self.past.unwrap_or_default();
        let has_state = committed.as_ref().is_some_and(|last| last.is_state);
        let state = match (&committed, self.origin) {
            _ if has_state => None,
            (None, Some(origin)) => Some(*origin),
            (None, None) => before.state,
            (Some(_), _) => before
                .state
                .or_else(|| before.committed.clone().filter(|last| last.is_state)),
        };
        Some(Past {
            state,
            staged,
            is_complete: has_state || self.is_first || before.is_complete,
            committed: committed.or(before.committed),
        })
    }

    /// Takes the next event. `chain` is the value that the log has after it.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        event: &Event<'_>,
        chain: &[u8; 32],
        texts: &Texts,
        counts: &mut Counts,
    ) -> Checked {
        let header = &event.header;
        let expected = self.number.saturating_add(1);
        if header.number < expected {
            return Err(wrong(
                "event_repeated",
                format!("event {} comes again, or late", header.number),
                format!("event {expected}"),
            ));
        }
        if header.number > expected {
            return Err(wrong(
                "event_missing",
                format!("event {} follows event {}", header.number, self.number),
                format!("event {expected}"),
            ));
        }
        self.chain.extend::<Sha256>(bytes, &[]);
        same_digest(
            "chain_broken",
            "the chain's value after it",
            chain,
            self.chain.head(),
        )?;
        let payload = event.decode_payload().map_err(|error| {
            wrong(
                "event_malformed",
                error.to_string(),
                "a payload of its kind",
            )
        })?;
        if header.boot_ms < self.boot_ms {
            return Err(wrong(
                "time_backwards",
                format!("{} ms since boot", header.boot_ms),
                format!("at least {} ms", self.boot_ms),
            ));
        }
        self.boot_ms = header.boot_ms;
        self.number = header.number;
        counts.events += 1;
        if self.whole {
            self.due.check(header)?;
            self.due = std::mem::take(&mut self.due).after();
            if header.kind.awaits_watch() {
                self.alerts.check_due(header)?;
            }
            self.judge(event, &payload, texts, counts)?;
        } else {
            counts.partial += 1;
            self.glance(event, &payload, counts)?;
        }
        if let Some(beginning) = &mut self.beginning {
            beginning.note(self.chain.head());
        }
        let _ = self.clock.set(NODE_SLOT, header.number);
        Ok(())
    }

    /// Checks an event of a load whose beginning is not known: what stands by itself.
    fn glance(&mut self, event: &Event<'_>, payload: &Payload<'_>, counts: &mut Counts) -> Checked {
        match payload {
            Payload::Request(bytes) => {
                self.check_place(&event.header, bytes)?;
                counts.requests += 1;
                same_digest(
                    "request_id",
                    "the id",
                    &event.header.request,
                    &crypto::sha256(bytes),
                )
            }
            Payload::Staged {
                counter, before, ..
            } => {
                // What was staged before may have been discarded before the log begins.
                self.anchors.staged = None;
                self.stage(event, *counter, before, None);
                Ok(())
            }
            Payload::Anchored {
                counter,
                number,
                head,
                anchor,
            } if self.anchors.staged.is_some() => {
                counts.anchors += 1;
                self.anchors.commit(*counter, *number, head, anchor)
            }
            Payload::Evidence(bytes) => {
                counts.quarantined += 1;
                quarantine::check_evidence(&event.header, bytes).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Demands that a request is of this load.
    fn check_place(&self, header: &Header, encoding: &[u8]) -> Checked<()> {
        let request = Request::decode(encoding)
            .map_err(|error| wrong("event_malformed", error.to_string(), "a request"))?;
        same_digest("request_node", "the node", request.head.node, &self.node)?;
        same("request_epoch", "the epoch", request.head.epoch, self.epoch)?;
        same(
            "request_created",
            "`created`",
            request.head.created,
            header.number,
        )
    }

    /// Checks an event of a load that is known from its beginning.
    fn judge(
        &mut self,
        event: &Event<'_>,
        payload: &Payload<'_>,
        texts: &Texts,
        counts: &mut Counts,
    ) -> Checked {
        let header = &event.header;
        let first = first_number(self.epoch).saturating_add(1);
        if (header.kind == Kind::Loaded) && header.number != first {
            return Err(misplaced(
                "loaded_again",
                "LOADED within a load",
                "a segment of its own, with a greater epoch",
            ));
        }
        match (header.kind, payload) {
            (
                Kind::Policy
                | Kind::ValidatorAdded
                | Kind::ValidatorRemoved
                | Kind::Readmitted
                | Kind::Mode
                | Kind::Sealed
                | Kind::Unpinned,
                _,
            ) => self.govern(event, payload, counts),
            (Kind::Clock, Payload::Clock(clock)) => self.rebuild_clock(header, clock.as_bytes()),
            (Kind::Request, Payload::Request(bytes)) => self.request(header, bytes, texts, counts),
            (Kind::Vote, Payload::Vote(bytes)) => self.vote(header, bytes, counts),
            (Kind::Held, Payload::Vote(bytes)) => self.held(header, bytes, counts),
            (Kind::Granted | Kind::Denied | Kind::Expired, Payload::Tally(tally)) => {
                self.decide(header, tally, counts)
            }
            (Kind::Quarantined, Payload::Evidence(bytes)) => self.quarantine(header, bytes, counts),
            (Kind::Watch, Payload::Watch(rules)) => self.watch(rules, texts, counts),
            (Kind::Alert | Kind::Calm, _) => {
                let is_alert = header.kind == Kind::Alert;
                counts.alerts += u64::from(is_alert);
                self.due = Due::Watch;
                self.alerts.turn(header, is_alert)
            }
            (Kind::VoteRefused, _) => {
                if let Some(refusal) = Refusal::from_code(header.result) {
                    self.alerts.watch().refused(refusal, header.boot_ms);
                }
                Ok(())
            }
            (Kind::Reputation, Payload::Reputation(kept)) => self.rebuild_reputation(header, kept),
            (Kind::Cancelled, _) => {
                counts.cancelled += 1;
                self.cancel(header)
            }
            (Kind::Used, _) => {
                counts.uses += 1;
                // An agent may use a grant of its own before the change is made.
                if let Some(wanted) = self.docket.spend(header)? {
                    self.leave = Some(wanted);
                }
                if header.result == 0 {
                    self.due = Due::UsedUp(header.request);
                }
                Ok(())
            }
            (Kind::GrantEnded, _) => {
                self.docket.end(header)?;
                if header.result == GrantEnded::PolicyChanged as u16 {
                    self.due = Due::Policy;
                } else if header.result == GrantEnded::ValidatorsChanged as u16 {
                    self.due = Due::Validators;
                }
                Ok(())
            }
            (
                Kind::Staged,
                Payload::Staged {
                    counter,
                    before,
                    result,
                    change,
                },
            ) => self.staged(event, *counter, before, *result, change),
            (
                Kind::Anchored,
                Payload::Anchored {
                    counter,
                    number,
                    head,
                    anchor,
                },
            ) => {
                counts.anchors += 1;
                let Some(beginning) = self.beginning.take() else {
                    return self.anchors.commit(*counter, *number, head, anchor);
                };
                self.anchors
                    .begin(&beginning, self.epoch, (*counter, *number), head, anchor)?;
                self.begun = Some((**head, **anchor));
                Ok(())
            }
            (Kind::Discarded, _) => self.anchors.discard(),
            (
                Kind::Restored,
                Payload::Restored {
                    counter,
                    head,
                    anchor,
                    ..
                },
            ) => {
                counts.restored += 1;
                let outdated = header.result == Standing::Outdated as u16;
                if outdated {
                    self.begin_recovery(*counter, head, anchor, counts)?;
                } else {
                    self.anchors
                        .make(header.kind, header.result, event.payload)?;
                }
                // The removed and the readmitted are not told again.
                self.quarantines = match &self.kept {
                    Some(kept) => kept.quarantines.clone(),
                    None => Quarantines::unknown(),
                };
                // What an earlier load had, and not only that it had something.
                self.is_unfounded =
                    self.kept.is_none() && (self.origin.is_some() || self.is_past_unknown());
                self.phase = Phase::Rebuilding { outdated };
                Ok(())
            }
            (
                Kind::Recovered,
                Payload::Recovered {
                    counter,
                    anchor,
                    head,
                    ..
                },
            ) => {
                counts.recovered += 1;
                if **head == NO_HEAD {
                    return self.recover_to_setup(event, *counter, anchor);
                }
                self.anchors
                    .make(header.kind, header.result, event.payload)?;
                self.recovered = true;
                Ok(())
            }
            (Kind::Agent, _)
                if matches!(self.phase, Phase::Locked | Phase::Recovering)
                    || self.beginning.is_some() =>
            {
                Err(misplaced(
                    "node_locked",
                    "an agent began in a locked node",
                    "RESTORED or RECOVERED before it",
                ))
            }
            _ => Ok(()),
        }
    }

    /// RESTORED with a state that is not current: a quorum will be asked.
    fn begin_recovery(
        &mut self,
        counter: u64,
        head: &[u8; 32],
        anchor: &[u8; 32],
        counts: &mut Counts,
    ) -> Checked {
        if self.phase != Phase::Locked || self.epoch == 0 {
            return Err(misplaced(
                "restored_misplaced",
                "a state is taken by a node that is not locked",
                "RESTORED at the beginning of a load",
            ));
        }
        self.go_on_from(head)?;
        match self.past.as_ref().and_then(|past| past.at(head)) {
            Some(state) => {
                same(
                    "restored_differs",
                    "the state's counter",
                    counter,
                    state.counter,
                )?;
                same_digest(
                    "restored_differs",
                    "the state's anchor",
                    anchor,
                    &state.anchor,
                )?;
                self.kept = state.kept.clone();
                self.origin = Some(Box::new(state.clone()));
            }
            None if self.is_past_unknown() => {}
            None => counts.outdated += 1,
        }
        Ok(())
    }

    /// Whether the state that this load goes on from may be of a load that the log does not have.
    fn is_past_unknown(&self) -> bool {
        !self.past.as_ref().is_some_and(|past| past.is_complete)
    }

    /// Refuses what cannot be before the TPM was told how this load began.
    fn check_begun(&self) -> Checked {
        match &self.beginning {
            Some(_) => Err(misplaced(
                "not_anchored",
                "the TPM was never told how this load began",
                "ANCHORED before it",
            )),
            None => Ok(()),
        }
    }

    /// RECOVERED without a state: setup begins anew, and the TPM is told of this very event.
    fn recover_to_setup(&mut self, event: &Event<'_>, found: u64, anchor: &[u8; 32]) -> Checked {
        let in_time = self.phase == Phase::Setup && self.policy.is_none() && self.roll.is_empty();
        if !in_time || !self.tpm || self.epoch == 0 {
            return Err(misplaced(
                "recovered_misplaced",
                "setup begins anew in the middle of a load",
                "RECOVERED at the beginning of a load",
            ));
        }
        self.check_found(found)?;
        self.acknowledged = true;
        // The head after this event is noted with those of the events since.
        let first = event.header.number;
        self.beginning = Some(Beginning::new(first, Some(*anchor)));
        Ok(())
    }

    /// Checks the counter that a recovery found.
    fn check_found(&self, found: u64) -> Checked {
        if found < self.epoch {
            return Ok(());
        }
        Err(wrong(
            "counter_skipped",
            format!("the counter was {found}"),
            format!("less than the epoch, {}", self.epoch),
        ))
    }

    /// Refuses a change in a node that forgot its past without saying so.
    fn check_past(&self) -> Checked {
        let committed = self
            .past
            .as_ref()
            .is_some_and(|past| past.committed.is_some());
        if committed && !self.acknowledged {
            return Err(misplaced(
                "past_forgotten",
                "the load before committed a state, and this one begins without any",
                "RESTORED or RECOVERED before it",
            ));
        }
        Ok(())
    }

    /// POLICY, VALIDATOR_*, MODE, SEALED and UNPINNED.
    fn govern(&mut self, event: &Event<'_>, payload: &Payload<'_>, counts: &mut Counts) -> Checked {
        let header = &event.header;
        if self.phase == Phase::Setup {
            self.check_begun()?;
        }
        match self.phase {
            Phase::Rebuilding { .. } => return self.rebuild(header, payload),
            Phase::Recovering if header.kind == Kind::Sealed && self.recovered => {}
            Phase::Locked | Phase::Recovering => {
                return Err(misplaced(
                    "node_locked",
                    "a change in a locked node",
                    "RESTORED or RECOVERED before it",
                ))
            }
            Phase::Setup => {
                self.check_past()?;
                if self.tpm && header.kind == Kind::Sealed {
                    self.anchors
                        .make(header.kind, header.result, event.payload)?;
                }
            }
            Phase::Sealed => {
                counts.governance += 1;
                if self.tpm && header.kind != Kind::Unpinned {
                    // The leave was taken when the change was staged.
                    self.anchors
                        .make(header.kind, header.result, event.payload)?;
                } else {
                    self.take_leave(header.kind, header.result, payload)?;
                }
            }
        }
        match (header.kind, payload) {
            (
                Kind::Policy,
                Payload::Policy {
                    version,
                    digest,
                    name,
                },
            ) => {
                self.start_over()?;
                let running = self.policy.as_ref().map_or(0, |policy| policy.version);
                if *version <= running {
                    return Err(wrong(
                        "policy_version",
                        format!("version {version}"),
                        format!("more than {running}"),
                    ));
                }
                self.policy = Some(PolicyFact {
                    version: *version,
                    digest: **digest,
                    name: (*name).to_owned(),
                });
                self.expect_watch();
                Ok(())
            }
            (Kind::ValidatorAdded, Payload::Validator(record)) => {
                self.start_over()?;
                if self.quarantines.has(&crypto::validator_id(record.key)) {
                    return Err(wrong(
                        Refusal::ValidatorQuarantined.name(),
                        "the key is quarantined",
                        "READMITTED before it",
                    ));
                }
                self.enrol(header, record)
            }
            (Kind::Readmitted, Payload::Validator(record)) => {
                self.start_over()?;
                self.check_slot(header, record)?;
                counts.readmitted += 1;
                self.roll.check(record)?;
                let id = crypto::validator_id(record.key);
                self.quarantines.readmit(&id, &self.node, header.number)?;
                self.alerts.watch().readmitted(record.slot, header.boot_ms);
                self.said.forget(record.slot);
                Ok(())
            }
            (Kind::ValidatorRemoved, Payload::Validator(record)) => {
                self.start_over()?;
                self.check_slot(header, record)?;
                self.roll.remove(record)?;
                self.alerts.watch().removed(record.slot);
                self.said.forget(record.slot);
                if self.phase == Phase::Sealed && self.roll.is_empty() {
                    return Err(misplaced(
                        "no_validators",
                        "the last validator of a sealed node was removed",
                        "at least one validator",
                    ));
                }
                Ok(())
            }
            (Kind::Mode, _) => {
                self.mode = header.result;
                Ok(())
            }
            (Kind::Sealed, Payload::Sealed { policy, total }) => {
                if self.phase == Phase::Sealed {
                    return Err(misplaced(
                        "sealed_again",
                        "the node is sealed already",
                        "one SEALED",
                    ));
                }
                self.check_sealed(policy, *total)?;
                self.phase = Phase::Sealed;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// VALIDATOR_ADDED.
    fn enrol(&mut self, header: &Header, record: &ValidatorRecord<'_>) -> Checked {
        self.check_slot(header, record)?;
        self.roll.add(record)?;
        self.alerts
            .watch()
            .enrolled(record.slot, record.weight, header.boot_ms);
        Ok(())
    }

    /// WATCH has to follow, and is the first one under its policy.
    fn expect_watch(&mut self) {
        self.alerts.forget_rules();
        self.due = Due::Watch;
    }

    /// WATCH.
    fn watch(&mut self, rules: &Rules, texts: &Texts, counts: &mut Counts) -> Checked {
        let text = self
            .policy
            .as_ref()
            .and_then(|policy| texts.get(&policy.digest));
        counts.unfitted += u64::from(text.is_none());
        self.alerts.rules(rules, text)
    }

    /// QUARANTINED.
    fn quarantine(&mut self, header: &Header, bytes: &[u8], counts: &mut Counts) -> Checked {
        if matches!(self.phase, Phase::Rebuilding { .. }) {
            return self.rebuild_quarantine(header, bytes);
        }
        counts.quarantined += 1;
        self.quarantines.quarantine(header, bytes, &self.roll)?;
        let slot = header.slot;
        let weight = self.roll.get(slot).map_or(0, |of| of.weight);
        self.alerts.watch().quarantined(slot, header.boot_ms);
        self.said.quarantine(slot);
        self.due = self.docket.bar(slot, weight);
        Ok(())
    }

    /// Demands that a change has ended every request and grant.
    fn start_over(&self) -> Checked {
        if self.docket.is_empty() {
            return Ok(());
        }
        let (requests, grants) = self.docket.counts();
        Err(wrong(
            "change_keeps_requests",
            format!("{requests} requests and {grants} grants outlive the change"),
            "CANCELLED and GRANT_ENDED before it",
        ))
    }

    /// Demands that header and record name the same slot.
    fn check_slot(&self, header: &Header, record: &ValidatorRecord<'_>) -> Checked {
        same("event_header", "the slot", header.slot, record.slot)
    }

    /// Checks what SEALED says.
    fn check_sealed(&self, policy: &[u8; 32], total: u32) -> Checked {
        let Some(running) = &self.policy else {
            return Err(misplaced(
                "sealed_differs",
                "no policy is in force",
                "POLICY",
            ));
        };
        same_digest(
            "sealed_differs",
            "the policy's digest",
            policy,
            &running.digest,
        )?;
        if self.roll.is_empty() {
            return Err(misplaced(
                "sealed_differs",
                "nobody is enrolled",
                "VALIDATOR_ADDED",
            ));
        }
        same(
            "sealed_differs",
            "the total weight",
            u64::from(total),
            self.roll.total(),
        )
    }

    /// Takes the leave that a quorum gave for a change.
    ///
    /// # Errors
    ///
    /// `not_granted`.
    fn take_leave(&mut self, kind: Kind, result: u16, payload: &Payload<'_>) -> Checked {
        let given = match (kind, payload, &self.leave) {
            (
                Kind::Policy,
                Payload::Policy {
                    version,
                    digest,
                    name,
                },
                Some(Wanted::Policy(of, number, called)),
            ) => *digest == of && version == number && name == called,
            (
                Kind::ValidatorAdded,
                Payload::Validator(record),
                Some(Wanted::Add(weight, name, key)),
            ) => record.weight == *weight && record.name == name && *record.key == **key,
            (Kind::ValidatorRemoved, Payload::Validator(record), Some(Wanted::Remove(name)))
            | (Kind::Readmitted, Payload::Validator(record), Some(Wanted::Readmit(name))) => {
                record.name == name
            }
            (Kind::Mode, _, Some(Wanted::Mode(mode))) => result == *mode as u16,
            (Kind::Unpinned, _, Some(Wanted::Unload)) => true,
            (
                Kind::Recovered,
                Payload::Recovered { counter, state, .. },
                Some(Wanted::Recover(reason, of, found)),
            ) => result == *reason && state == of && counter == found,
            _ => false,
        };
        self.leave = None;
        if given {
            Ok(())
        } else {
            Err(wrong(
                "not_granted",
                "no quorum has approved exactly this change",
                format!("USED of a grant for this {}", kind.name()),
            ))
        }
    }

    /// Notes what was staged; the chain already has the event.
    fn stage(
        &mut self,
        event: &Event<'_>,
        counter: u64,
        before: &[u8; 32],
        effect: Option<Effect>,
    ) {
        let kept = match (self.phase, &effect) {
            (Phase::Setup | Phase::Sealed | Phase::Recovering, _) if self.whole => {
                Some(Box::new(self.facts()))
            }
            // The state that is being restored.
            _ => self.kept.clone(),
        };
        let staged = Staged {
            number: event.header.number,
            head: *self.chain.head(),
            counter,
            anchor: NO_HEAD,
            effect,
            is_state: true,
            kept,
        };
        self.anchors.stage(staged, before);
        if let Some(staged) = &mut self.anchors.staged {
            staged.apply(&self.node);
        }
    }

    /// STAGED.
    fn staged(
        &mut self,
        event: &Event<'_>,
        counter: u64,
        before: &[u8; 32],
        result: u16,
        change: &[u8],
    ) -> Checked {
        let kind = Kind::from_u16(event.header.result);
        if !self.tpm || self.epoch == 0 {
            return Err(misplaced(
                "staged_unsealed",
                "a state was staged in a load without an epoch",
                "no STAGED",
            ));
        }
        let payload = kind
            .map(|kind| Payload::decode(kind, change))
            .transpose()
            .map_err(|error| wrong("event_malformed", error.to_string(), "a staged change"))?;
        let in_setup = self.phase == Phase::Setup;
        match (kind, payload) {
            (
                Some(Kind::Restored),
                Some(Payload::Restored {
                    counter: of,
                    head,
                    anchor,
                    ..
                }),
            ) if self.phase == Phase::Locked => {
                self.go_on_from(head)?;
                let state = self.past.as_ref().and_then(|past| past.at(head));
                if state.is_none() {
                    self.is_unfounded = self.is_past_unknown();
                }
                if state.is_none() && !self.is_unfounded {
                    return Err(wrong(
                        "past_missing",
                        format!("the state has the head {}", hex::encode(head)),
                        "the head of a state that the load before staged: its log ends too early, or is another's",
                    ));
                }
                if let Some(state) = state {
                    same("restored_differs", "the state's counter", of, state.counter)?;
                    same_digest(
                        "restored_differs",
                        "the state's anchor",
                        anchor,
                        &state.anchor,
                    )?;
                    self.kept = state.kept.clone();
                    self.origin = Some(Box::new(state.clone()));
                }
                self.anchors.anchor = Some(*anchor);
                self.anchors.counter = Some(of);
                same("epoch", "the counter to be", counter, self.epoch)?;
            }
            (
                Some(Kind::Recovered),
                Some(
                    payload @ Payload::Recovered {
                        counter: found,
                        anchor,
                        head,
                        ..
                    },
                ),
            ) if self.phase == Phase::Recovering && !self.recovered => {
                self.go_on_from(head)?;
                self.take_leave(Kind::Recovered, result, &payload)?;
                self.check_found(found)?;
                self.check_begun()?;
                if let Some((head, begun)) = &self.begun {
                    // Only now it is known what that was extended.
                    let extended = engine::anchor::extended::<Sha256>(anchor, head);
                    same_digest(
                        "anchor_differs",
                        "the anchor that the load began with",
                        begun,
                        &extended,
                    )?;
                }
            }
            (Some(Kind::Sealed), _) if in_setup => {
                self.check_begun()?;
                self.check_past()?;
            }
            (None, _) if self.phase == Phase::Sealed => {}
            (Some(kind), Some(payload))
                if self.phase == Phase::Sealed
                    && !matches!(kind, Kind::Restored | Kind::Recovered | Kind::Sealed) =>
            {
                self.take_leave(kind, result, &payload)?;
            }
            _ => return Err(misplaced(
                "staged_misplaced",
                "such a state is not staged in this phase",
                "RESTORED and RECOVERED first, SEALED once, changes and checkpoints when sealed",
            )),
        }
        self.anchors.check_stage(counter, before)?;
        let effect = kind.map(|kind| Effect {
            kind,
            result,
            payload: change.to_vec(),
        });
        self.stage(event, counter, before, effect);
        Ok(())
    }

    /// Demands that `chain[0]` was made of this head.
    fn go_on_from(&self, head: &[u8; 32]) -> Checked {
        let start = Chain::new::<Sha256>(&self.node, self.epoch, head);
        same_digest("genesis", "chain[0]", &self.start, start.head())
    }

    /// One of the events that repeat what the state held.
    fn rebuild(&mut self, header: &Header, payload: &Payload<'_>) -> Checked {
        match (header.kind, payload) {
            (
                Kind::Policy,
                Payload::Policy {
                    version,
                    digest,
                    name,
                },
            ) if self.policy.is_none() => {
                let policy = PolicyFact {
                    version: *version,
                    digest: **digest,
                    name: (*name).to_owned(),
                };
                if let Some(kept) = &self.kept {
                    if kept.policy.as_ref() != Some(&policy) {
                        let before = kept.policy.as_ref().map_or_else(
                            || "none".to_owned(),
                            |policy| {
                                format!(
                                    "version {}, {}",
                                    policy.version,
                                    hex::encode(policy.digest)
                                )
                            },
                        );
                        return Err(wrong(
                            "restored_policy",
                            format!("version {version}, {}", hex::encode(digest)),
                            before,
                        ));
                    }
                }
                self.policy = Some(policy);
                self.expect_watch();
                Ok(())
            }
            (Kind::Mode, _) if !self.mode_known => {
                if let Some(kept) = &self.kept {
                    same("restored_mode", "the mode", header.result, kept.mode)?;
                }
                self.mode = header.result;
                self.mode_known = true;
                Ok(())
            }
            (Kind::ValidatorAdded, Payload::Validator(record)) => self.enrol(header, record),
            (Kind::Sealed, Payload::Sealed { policy, total })
                if self.clock_known && self.phase == Phase::Rebuilding { outdated: false } =>
            {
                self.check_sealed(policy, *total)?;
                self.phase = Phase::Sealed;
                let mut facts = self.facts();
                if let Some(kept) = &self.kept {
                    // The numbers of QUARANTINED were still those of the load before.
                    facts.quarantines = kept.quarantines.clone();
                }
                if let Some(committed) = &mut self.anchors.committed {
                    // Now it is known what the state that this load committed holds.
                    committed.kept = Some(Box::new(facts));
                }
                Ok(())
            }
            _ => Err(misplaced(
                "restored_order",
                "this does not belong to what a state holds",
                "POLICY, MODE, VALIDATOR_ADDED and CLOCK, SEALED",
            )),
        }
    }

    /// QUARANTINED after RESTORED.
    fn rebuild_quarantine(&mut self, header: &Header, bytes: &[u8]) -> Checked {
        if self.clock_known || !self.told.insert(header.slot) {
            return Err(misplaced(
                "restored_order",
                "QUARANTINED comes too late, or again",
                "QUARANTINED once, after VALIDATOR_ADDED",
            ));
        }
        self.quarantines
            .restore(header, bytes, &self.roll, self.kept.is_some())?;
        self.alerts.watch().restored_quarantined(header.slot);
        Ok(())
    }

    /// REPUTATION.
    fn rebuild_reputation(&mut self, header: &Header, kept: &reputation::Kept) -> Checked {
        let slot = header.slot;
        let enrolled = self.roll.get(slot).is_some();
        let in_time = matches!(self.phase, Phase::Rebuilding { .. }) && !self.clock_known;
        if !in_time || !enrolled {
            return Err(misplaced(
                "restored_order",
                "REPUTATION without its validator being restored",
                "REPUTATION after VALIDATOR_ADDED",
            ));
        }
        self.check_reputation(slot, kept)?;
        self.alerts.watch().reputations_mut().restore(slot, kept);
        Ok(())
    }

    /// Demands that the reputation of a validator is what the state held.
    fn check_reputation(&self, slot: u16, found: &reputation::Kept) -> Checked {
        let Some(before) = &self.kept else {
            return Ok(());
        };
        let pristine = &reputation::Kept::PRISTINE;
        let expected = before.reputations.get(&slot).unwrap_or(pristine);
        if found == expected {
            return Ok(());
        }
        Err(wrong(
            "restored_reputation",
            format!("slot {slot} has {}", told(found)),
            told(expected),
        ))
    }

    /// Demands that every quarantine and reputation that the state held was told.
    fn check_standing(&self) -> Checked {
        let Some(kept) = &self.kept else {
            return Ok(());
        };
        let barred = kept.quarantines.barred(&self.roll);
        if let Some((slot, _)) = barred
            .into_iter()
            .find(|(slot, _)| !self.told.contains(slot))
        {
            return Err(wrong(
                "restored_quarantine",
                format!("nothing says that slot {slot} is quarantined"),
                "QUARANTINED, as the state held it",
            ));
        }
        let now = self.alerts.reputations(&self.roll);
        let pristine = reputation::Kept::PRISTINE;
        self.roll.iter().try_for_each(|(slot, _)| {
            self.check_reputation(slot, now.get(&slot).unwrap_or(&pristine))
        })
    }

    /// CLOCK.
    fn rebuild_clock(&mut self, header: &Header, clock: &[u8]) -> Checked {
        let Phase::Rebuilding { outdated } = self.phase else {
            return Err(misplaced(
                "restored_order",
                "CLOCK without a state being restored",
                "RESTORED before it",
            ));
        };
        if header.slot != NODE_SLOT {
            return self.roll.hear(header.slot, clock);
        }
        let mut known = NodeClock::new();
        known
            .decode(clock)
            .map_err(|error| wrong("event_malformed", error.to_string(), "a clock"))?;
        let own = known.get(NODE_SLOT);
        if own > header.number {
            return Err(wrong(
                "restored_clock",
                format!("the node's entry is {own}"),
                format!("at most {}", header.number),
            ));
        }
        let complete = self.policy.is_some() && self.mode_known && !self.roll.is_empty();
        if !complete || self.clock_known {
            return Err(misplaced(
                "restored_order",
                "the node's clock comes too early, or again",
                "POLICY, MODE, VALIDATOR_ADDED and CLOCK before it",
            ));
        }
        if let Some(kept) = &self.kept {
            self.roll.same_as(&kept.roll)?;
            self.check_standing()?;
            let slots = kept.clock.iter().chain(known.iter()).map(|(slot, _)| slot);
            for slot in slots.filter(|&slot| slot != NODE_SLOT) {
                same(
                    "restored_clock",
                    &format!("the entry of slot {slot}"),
                    known.get(slot),
                    kept.clock.get(slot),
                )?;
            }
        }
        self.clock = known;
        self.clock_known = true;
        if outdated {
            self.phase = Phase::Recovering;
            self.beginning = Some(Beginning::new(header.number, None));
        }
        Ok(())
    }

    /// REQUEST.
    fn request(
        &mut self,
        header: &Header,
        encoding: &[u8],
        texts: &Texts,
        counts: &mut Counts,
    ) -> Checked {
        self.check_place(header, encoding)?;
        let request = Request::decode(encoding)
            .map_err(|error| wrong("event_malformed", error.to_string(), "a request"))?;
        let binding = &request.binding;
        let recovery = binding.op == Op::Recover;
        let fits = match self.phase {
            Phase::Setup => !binding.op.is_governance(),
            Phase::Locked | Phase::Rebuilding { .. } => false,
            Phase::Recovering => recovery,
            Phase::Sealed => !recovery,
        };
        if !fits {
            return Err(wrong(
                "request_phase",
                format!("a request for {} in this phase", binding.op),
                "governance when sealed, RECOVER when recovering, the rest when a policy is in force",
            ));
        }
        self.check_begun()?;
        let Some(policy) = &self.policy else {
            return Err(misplaced(
                "request_policy",
                "no policy is in force",
                "POLICY before it",
            ));
        };
        same(
            "request_policy",
            "the policy's version",
            binding.policy_version,
            policy.version,
        )?;
        same_digest(
            "request_policy",
            "the policy's digest",
            binding.policy,
            &policy.digest,
        )?;
        self.docket.open(header, encoding, self.roll.total())?;
        let raised = self.alerts.watch().threshold(
            binding.threshold_bp,
            header.number,
            binding.op.is_governance(),
        );
        let barred = self.quarantines.barred(&self.roll);
        self.due = self.docket.prepare(&header.request, raised, barred);
        match texts.get(&policy.digest) {
            Some(text) => {
                check_terms(text, &request)?;
                counts.terms += 1;
            }
            None => counts.unread += 1,
        }
        counts.requests += 1;
        Ok(())
    }

    /// What the kernel knew when a vote arrived, judged by the kernel's own code.
    fn judge_vote(&self, header: &Header, record: &VoteRecord<'_>) -> Checked<Timing> {
        let id = record.vote.request;
        let open = self.docket.get(id);
        let known = self.roll.by_id(record.vote.validator);
        let voted = |slot| open.is_some_and(|open| open.ballot.has_voted(slot));
        let situation = Situation {
            node: &self.node,
            epoch: self.epoch,
            now_ms: header.boot_ms.saturating_sub(SLACK_MS),
            request: open.map(|open| RequestState {
                open: true,
                created: open.created,
                expires_ms: open.expires_ms,
            }),
            validator: known.map(|(slot, validator)| ValidatorState {
                slot,
                quarantined: self.quarantines.has(&validator.id),
                voted: voted(slot),
                last: &validator.last,
            }),
            clock: &self.clock,
        };
        let timing = vote::check::<Sha256, SLOTS>(record, &situation).map_err(refused)?;
        let (slot, validator) = known.ok_or_else(|| refused(Refusal::VoteUnknownValidator))?;
        same("event_header", "the slot", header.slot, slot)?;
        same_digest("event_header", "the request", &header.request, id)?;
        same(
            "event_header",
            "the verdict",
            header.result,
            record.vote.verdict as u16,
        )?;
        if !crypto::verify(&validator.key, record.signed, record.signature) {
            return Err(wrong(
                Refusal::VoteForged.name(),
                "the signature does not verify",
                "a signature by the enrolled key",
            ));
        }
        Ok(timing)
    }

    /// VOTE.
    fn vote(&mut self, header: &Header, bytes: &[u8], counts: &mut Counts) -> Checked {
        let record = VoteRecord::decode(bytes).map_err(refused)?;
        if self.judge_vote(header, &record)? != Timing::Now {
            return Err(refused(Refusal::ClockUnseen));
        }
        let slot = header.slot;
        let weight = self
            .roll
            .get(slot)
            .ok_or_else(|| refused(Refusal::VoteUnknownValidator))?
            .weight;
        self.said.accept(header.boot_ms, &record)?;
        let (base_bp, created, governance) = self
            .docket
            .get(&header.request)
            .map_or((0, 0, false), |open| open.terms());
        let ballot = self.docket.ballot(header)?;
        ballot
            .cast(slot, weight, record.vote.verdict)
            .map_err(refused)?;
        let watch = self.alerts.watch();
        watch.voted(slot, &header.request, header.boot_ms);
        ballot.raise_to(watch.threshold(base_bp, created, governance));
        let outcome = ballot.outcome();
        let clock = record.vote.clock;
        let _ = self.clock.set(slot, clock.get(slot));
        self.roll.hear(slot, clock.as_bytes())?;
        self.due = match outcome {
            Outcome::Open => Due::Nothing,
            Outcome::Granted => Due::Decision(Kind::Granted, header.request),
            Outcome::Denied => Due::Decision(Kind::Denied, header.request),
        };
        counts.votes += 1;
        Ok(())
    }

    /// HELD.
    fn held(&mut self, header: &Header, bytes: &[u8], counts: &mut Counts) -> Checked {
        let record = VoteRecord::decode(bytes).map_err(refused)?;
        if self.judge_vote(header, &record)? != Timing::Early {
            return Err(wrong(
                "held_wrongly",
                "every cause of the vote had arrived",
                "VOTE",
            ));
        }
        counts.held += 1;
        self.said.hold(header.boot_ms, &record, bytes)
    }

    /// GRANTED, DENIED and EXPIRED.
    fn decide(&mut self, header: &Header, tally: &Tally, counts: &mut Counts) -> Checked {
        let open = self.docket.close(header)?;
        let (kind, count) = match header.kind {
            Kind::Granted => (Outcome::Granted, &mut counts.granted),
            Kind::Denied => (Outcome::Denied, &mut counts.denied),
            _ => (Outcome::Open, &mut counts.expired),
        };
        *count += 1;
        if header.kind == Kind::Expired && header.boot_ms < open.expires_ms {
            return Err(wrong(
                "decision_wrong",
                format!("expired at {} ms", header.boot_ms),
                format!("not before {} ms", open.expires_ms),
            ));
        }
        let ballot = &open.ballot;
        let counted = ballot.tally();
        for (what, found, expected) in [
            ("the approving weight", tally.approve, counted.approve),
            ("the denying weight", tally.deny, counted.deny),
            ("the total weight", tally.total, counted.total),
            (
                "the quarantined weight",
                tally.quarantined,
                counted.quarantined,
            ),
        ] {
            same("tally_wrong", what, found, expected)?;
        }
        same(
            "threshold_wrong",
            "the threshold in basis points",
            tally.threshold_bp,
            counted.threshold_bp,
        )?;
        if ballot.outcome() != kind {
            return Err(wrong(
                "threshold_not_met",
                format!(
                    "{} of {} approve, {} deny, at a threshold of {} basis points",
                    ballot.approve(),
                    ballot.total(),
                    ballot.deny(),
                    ballot.threshold_bp()
                ),
                format!("what makes {}", header.kind.name()),
            ));
        }
        self.alerts.ended(ballot, header);
        self.said.close(&header.request);
        if header.kind == Kind::Granted {
            self.docket.grant(header, open)?;
        }
        Ok(())
    }

    /// CANCELLED.
    fn cancel(&mut self, header: &Header) -> Checked {
        self.docket.close(header)?;
        self.said.close(&header.request);
        if header.result == Cancelled::PolicyChanged as u16 {
            self.due = Due::Policy;
        } else if header.result == Cancelled::ValidatorsChanged as u16 {
            self.due = Due::Validators;
        } else if header.result == Cancelled::AgentEnded as u16 {
            if header.agent == 0 {
                return Err(misplaced(
                    "cancelled_wrongly",
                    "no agent has made this request",
                    "another reason",
                ));
            }
            self.due = Due::Agent(header.agent);
        }
        Ok(())
    }
}

/// Says a reputation.
fn told(kept: &reputation::Kept) -> String {
    format!(
        "reputation {}, bias {}, {} agreed, {} disagreed",
        kept.score, kept.bias, kept.agreed, kept.disagreed
    )
}

/// Demands that the rule in the line of a request gives its terms.
fn check_terms(policy: &Policy, request: &Request<'_>) -> Checked {
    let binding = &request.binding;
    let action = if binding.line == 0 {
        Some(policy.fallback(binding.op).action)
    } else {
        policy
            .rules()
            .find(|rule| rule.line == binding.line && rule.ops & binding.op.bit() != 0)
            .map(|rule| rule.action)
    };
    let Some(Action::Quorum(terms)) = action else {
        return Err(wrong(
            "terms_wrong",
            format!(
                "line {} of the policy asks no quorum for {}",
                binding.line, binding.op
            ),
            "a QUORUM rule",
        ));
    };
    let open_ms = request.head.expires_ms - request.head.created_ms;
    for (what, found, expected) in [
        (
            "the threshold in basis points",
            u64::from(binding.threshold_bp),
            u64::from(terms.threshold_bp),
        ),
        (
            "the number of uses",
            u64::from(binding.uses),
            u64::from(terms.uses),
        ),
        (
            "the grant's life in seconds",
            u64::from(binding.ttl_s),
            u64::from(terms.ttl_s),
        ),
        (
            "the time to decide in milliseconds",
            open_ms,
            u64::from(terms.timeout_s) * 1000,
        ),
    ] {
        same("terms_wrong", what, found, expected)?;
    }
    Ok(())
}
