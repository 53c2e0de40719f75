// SPDX-License-Identifier: GPL-2.0

//! Staged changes: what a sealed node has decided and keeps back until storage and the TPM have it.
//!
//! See "Commit" in `Documentation/sealed-state.rst`.

use crate::{
    abi::{
        clock,
        module,
        sha256,
        task,
        trace, //
    },
    books::Books,
    engine::{
        anchor::{
            Next,
            Position,
            UNWRITTEN, //
        },
        clock::NodeClock,
        event::{
            Kind,
            Payload,
            MAX_STAGED, //
        },
        governance::Mode,
        limits,
        memory::VoteMemory,
        refusal::Refusal,
        reputation::Kept as Reputation,
        state::{
            self,
            Head,
            StateWriter,
            Validator as KeptValidator, //
        },
        wire, //
    },
    keeper::Keeper,
    ledger::{
        encoded,
        new_clock,
        Entry,
        KernelDigest, //
    },
    node::{
        Admin,
        Node,
        Phase, //
    },
    policy::ActivePolicy,
    quarantine::{
        Case,
        Quarantine, //
    },
    recovery::Recovery,
    restore::Restored,
    state_key::StateKey,
    step::step,
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

/// A change that takes effect when it is committed, or at once on a node that keeps no state.
pub(crate) enum Change {
    /// Nothing but what has happened since the last commit.
    Checkpoint,
    /// Setup ends; the pin keeps the module in memory.
    Seal(module::Pin),
    /// A policy comes in force.
    Policy(KBox<ActivePolicy>),
    /// A validator comes or goes.
    Validators {
        /// Who is enrolled then.
        set: Arc<ValidatorSet>,
        /// Who comes or goes.
        validator: Arc<Validator>,
        /// For the votes of one who comes; `None` for one who goes.
        memory: Option<VoteMemory>,
    },
    /// The quarantine of a validator ends.
    Readmit(Arc<Validator>),
    /// Refusals are enforced from then on, or only recorded.
    Mode(Mode),
    /// The node goes on from a state that was given back.
    Restore(KBox<Restored>),
    /// The node goes on from a state that is not current, since a quorum wants that.
    Recover(Recovery, module::Pin),
}

impl Change {
    /// The event that tells of the change, and its result; `None` for a checkpoint.
    fn event(&self) -> Option<(Kind, u16)> {
        Some(match self {
            Self::Checkpoint => return None,
            Self::Seal(_) => (Kind::Sealed, 0),
            Self::Policy(_) => (Kind::Policy, 0),
            Self::Validators {
                memory: Some(_), ..
            } => (Kind::ValidatorAdded, 0),
            Self::Validators { memory: None, .. } => (Kind::ValidatorRemoved, 0),
            Self::Readmit(_) => (Kind::Readmitted, 0),
            Self::Mode(mode) => (Kind::Mode, *mode as u16),
            Self::Restore(restored) => (Kind::Restored, restored.standing as u16),
            Self::Recover(recovery, _) => (Kind::Recovered, recovery.reason.code()),
        })
    }

    /// Writes the payload of that event and returns its length.
    fn payload(&self, node: &Node, out: &mut [u8]) -> wire::Result<usize> {
        match self {
            Self::Checkpoint | Self::Mode(_) => Ok(0),
            Self::Seal(_) => node.sealed_payload(out),
            Self::Policy(policy) => policy.payload().encode(out),
            Self::Validators { validator, .. } | Self::Readmit(validator) => {
                validator.record().encode(out)
            }
            Self::Restore(restored) => restored.payload().encode(out),
            Self::Recover(recovery, _) => recovery.payload().encode(out),
        }
    }
}

/// A change that waits to be saved and committed. Guarded by [`Node::admin`].
pub(crate) struct Staged {
    change: Change,
    /// The state as it will be.
    pub(crate) state: KVVec<u8>,
    /// Digest of it.
    digest: [u8; 32],
    /// Where counter and anchor are led.
    pub(crate) position: Position,
    /// Head of the chain that the anchor is extended with.
    head: [u8; 32],
    /// Number of the event that has that head.
    number: u64,
    /// When it was staged, in milliseconds since boot.
    at_ms: u64,
}

/// What has to be the same moment's: copied under one hold of the lock.
struct Snapshot {
    head: [u8; 32],
    number: u64,
    clock: KBox<NodeClock>,
    /// Of each validator, in the order of the set.
    last: KVVec<NodeClock>,
    /// Of each validator, in the order of the set.
    reputations: KVVec<Reputation>,
    quarantine: Quarantine,
}

impl Snapshot {
    /// Room for a snapshot with that many validators.
    fn room(validators: usize) -> Result<Self, Refusal> {
        let mut last =
            KVVec::with_capacity(validators, GFP_KERNEL).map_err(|_| Refusal::NoMemory)?;
        for _ in 0..validators {
            last.push(NodeClock::new(), GFP_KERNEL)
                .map_err(|_| Refusal::NoMemory)?;
        }
        let reputations = KVVec::from_elem(Reputation::PRISTINE, validators, GFP_KERNEL);
        Ok(Self {
            head: [0; 32],
            number: 0,
            clock: new_clock().map_err(|_| Refusal::NoMemory)?,
            last,
            reputations: reputations.map_err(|_| Refusal::NoMemory)?,
            quarantine: Quarantine::new().map_err(|_| Refusal::NoMemory)?,
        })
    }

    /// Fills it for the state that `change` leads to. Does not allocate.
    fn fill(&mut self, books: &Books, set: &ValidatorSet, change: &Change, node: &[u8; 32]) {
        self.head = *books.ledger.head();
        self.number = books.ledger.number();
        self.clock.copy_from(books.ledger.clock());
        for (to, validator) in self.last.iter_mut().zip(set.iter()) {
            if let Some(last) = books.last_clock(validator.slot) {
                to.copy_from(last);
            }
        }
        if let Change::Restore(restored) = change {
            // The books have them when the change takes effect.
            let reputations = restored.reputations.iter().copied();
            self.reputations
                .iter_mut()
                .zip(reputations)
                .for_each(|(to, kept)| *to = kept);
            self.quarantine.copy_from(&restored.quarantine);
            return;
        }
        let reputations = books.ledger.watch.reputations();
        for (to, validator) in self.reputations.iter_mut().zip(set.iter()) {
            *to = reputations.of(validator.slot).kept;
        }
        self.quarantine.copy_from(&books.quarantine);
        if let Change::Readmit(validator) = change {
            // What READMITTED will be numbered is not known yet.
            let _ = self.quarantine.readmit(&validator.id, node, self.number);
        }
    }
}

impl Node {
    /// Says whether policy, validators or mode may be changed at all now.
    ///
    /// # Errors
    ///
    /// [`Refusal::StateLocked`], [`Refusal::StateStaged`], and those of [`Node::recheck`].
    pub(crate) fn admit_change(&self, admin: &mut Admin) -> Result<(), Refusal> {
        self.drop_stale(admin)?;
        match self.phase() {
            Phase::Locked | Phase::Recovering => Err(Refusal::StateLocked),
            _ if admin.staged.is_some() => Err(Refusal::StateStaged),
            Phase::Setup => Ok(()),
            Phase::Sealed => self.recheck(admin),
        }
    }

    /// Makes sure that a change could be committed, before a grant is spent on it.
    ///
    /// # Errors
    ///
    /// [`Refusal::StateConflict`] when somebody else has moved counter or anchor, and those of the
    /// TPM.
    pub(crate) fn recheck(&self, admin: &mut Admin) -> Result<(), Refusal> {
        match &mut admin.keeper {
            Some(keeper) => keeper.recheck(),
            None => Ok(()),
        }
    }

    /// Drops what was staged too long ago: whoever approved a change did not approve of its coming at
    /// any time. What the TPM has a part of is decided, and is brought to its end.
    ///
    /// # Errors
    ///
    /// Those of the TPM: then it is not known which of both it is.
    pub(crate) fn drop_stale(&self, admin: &mut Admin) -> Result<(), Refusal> {
        let now = clock::boottime_ms();
        let stale = admin.staged.as_ref().is_some_and(|staged| {
            now.saturating_sub(staged.at_ms) > u64::from(limits::STAGED_S) * 1000
        });
        if !stale {
            return Ok(());
        }
        match self.discard_in(admin) {
            Err(Refusal::StateStaged) => self.finish_commit(admin).map(|_| ()),
            result => result,
        }
    }

    /// Makes a change effective, or stages it and gives the counter that it will have: whatever a
    /// sealed node with a TPM changes is committed first.
    ///
    /// # Errors
    ///
    /// Those of the TPM, [`Refusal::NoMemory`].
    pub(crate) fn enact(&self, admin: &mut Admin, change: Change) -> Result<Option<u64>, Refusal> {
        let kept = match &change {
            Change::Policy(_)
            | Change::Validators { .. }
            | Change::Readmit(_)
            | Change::Mode(_) => self.phase() == Phase::Sealed,
            _ => true,
        };
        match &mut admin.keeper {
            Some(keeper) if kept => {
                let staged = self.stage(keeper, change)?;
                let counter = staged.position.counter;
                admin.staged = Some(staged);
                step("staged");
                Ok(Some(counter))
            }
            _ => {
                self.apply(admin, change);
                Ok(None)
            }
        }
    }

    /// Records that `change` is going to be committed, and builds the state as it will be.
    #[inline(never)]
    fn stage(&self, keeper: &mut Keeper, change: Change) -> Result<Staged, Refusal> {
        let guard = self.policy.read();
        let text = match &change {
            Change::Policy(policy) => policy.rules.text(),
            Change::Restore(restored) => restored.policy.rules.text(),
            _ => guard.get().ok_or(Refusal::NoPolicy)?.rules.text(),
        };
        let set = match &change {
            Change::Validators { set, .. } => set.clone(),
            Change::Restore(restored) => restored.validators.clone(),
            _ => self.validators(),
        };
        let mode = match &change {
            Change::Mode(mode) => *mode,
            Change::Restore(restored) => restored.mode,
            _ => self.mode(),
        };
        keeper.key()?;
        let mut snapshot = Snapshot::room(set.len())?;
        let mut state =
            KVVec::from_elem(0, state::MAX_LEN, GFP_KERNEL).map_err(|_| Refusal::NoMemory)?;

        let mut inner = [0; MAX_STAGED];
        let len = change
            .payload(self, &mut inner)
            .map_err(|_| Refusal::NoMemory)?;
        let (kind, result) = match change.event() {
            Some((kind, result)) => (kind as u16, result),
            None => (0, 0),
        };
        let mut payload = [0; MAX_STAGED];
        let len = Payload::Staged {
            counter: keeper.counter().saturating_add(1),
            before: &keeper.anchor().unwrap_or(UNWRITTEN),
            result,
            change: inner.get(..len).unwrap_or(&[]),
        }
        .encode(&mut payload)
        .map_err(|_| Refusal::NoMemory)?;
        {
            let mut books = self.books.lock();
            if let Change::Restore(restored) = &change {
                self.begin_from(&mut books, restored, keeper.counter().saturating_add(1));
            }
            books.ledger.append(&Entry {
                uid: task::current().euid(),
                result: kind,
                payload: payload.get(..len).unwrap_or(&[]),
                ..Entry::new(Kind::Staged)
            });
            snapshot.fill(&books, &set, &change, &self.identity.node);
        }
        self.recorded();

        let position = keeper.next_position(&snapshot.head);
        let written = self.write_state(
            keeper.key()?,
            &position,
            &mut snapshot,
            (text, &*set, mode),
            &mut state,
        );
        let Ok(len) = written else {
            self.discarded();
            return Err(Refusal::NoMemory);
        };
        drop(guard);
        state.truncate(len);
        Ok(Staged {
            change,
            digest: sha256::digest(&[&state]),
            state,
            position,
            head: snapshot.head,
            number: snapshot.number,
            at_ms: clock::boottime_ms(),
        })
    }

    /// Writes a state with that policy, those validators and that mode, and returns its length.
    fn write_state(
        &self,
        key: &StateKey,
        position: &Position,
        snapshot: &mut Snapshot,
        (policy, set, mode): (&[u8], &ValidatorSet, Mode),
        out: &mut [u8],
    ) -> wire::Result<usize> {
        let head = Head {
            node: &self.identity.node,
            counter: position.counter,
            previous: &position.previous,
            anchor: &position.anchor,
            chain: &snapshot.head,
            number: snapshot.number,
            wall_ms: clock::realtime_ms(),
            pcrs: key.pcrs,
            private: key.private(),
            public: key.public(),
            mode,
        };
        let mut writer = StateWriter::begin::<KernelDigest>(out, &head)?;
        writer.policy(policy)?;
        let clocks = set.iter().zip(snapshot.last.iter());
        writer.validators(clocks.map(|(validator, last)| KeptValidator {
            record: validator.record(),
            accepted: validator.accepted.load(Relaxed),
            clock: last,
        }))?;
        writer.slots(set.used_slots())?;
        writer.clock(&snapshot.clock)?;
        writer.quarantine(snapshot.quarantine.sorted().map(Case::kept))?;
        let reputations = snapshot.reputations.iter().copied();
        writer.reputation(set.iter().map(|validator| validator.slot).zip(reputations))?;
        writer.finish::<KernelDigest>(|message| key.mac(message))
    }

    /// Stages a checkpoint, or names what is staged already. `None` when nothing has been recorded
    /// since the last commit.
    ///
    /// # Errors
    ///
    /// [`Refusal::StateUnsealed`], [`Refusal::StateLocked`], [`Refusal::NotSealed`], and those of
    /// [`Node::enact`].
    pub(crate) fn checkpoint(&self) -> Result<Option<u64>, Refusal> {
        let mut admin = self.govern();
        self.drop_stale(&mut admin)?;
        let keeper = admin.keeper.as_ref().ok_or(Refusal::StateUnsealed)?;
        if let Some(staged) = &admin.staged {
            return Ok(Some(staged.position.counter));
        }
        match self.phase() {
            Phase::Sealed => {}
            Phase::Setup => return Err(Refusal::NotSealed),
            Phase::Locked | Phase::Recovering => return Err(Refusal::StateLocked),
        }
        let is_settled = keeper.committed.is_some_and(|last| {
            let books = self.books.lock();
            // A quarantine that came while the last commit was staged is not in it.
            last.settled == books.ledger.number() && books.quarantine.is_older_than(last.number)
        });
        if is_settled {
            return Ok(None);
        }
        self.recheck(&mut admin)?;
        self.enact(&mut admin, Change::Checkpoint)
    }

    /// Commits what is staged, when `digest` shows that storage holds it.
    ///
    /// # Errors
    ///
    /// [`Refusal::StateUnsealed`], [`Refusal::StateNone`], [`Refusal::StateDigest`],
    /// [`Refusal::StateConflict`], and those of the TPM. It stays staged then.
    pub(crate) fn commit(&self, digest: &[u8; 32]) -> Result<(u64, [u8; 32]), Refusal> {
        let mut admin = self.govern();
        let admin = &mut *admin;
        self.drop_stale(admin)?;
        if admin.keeper.is_none() {
            return Err(Refusal::StateUnsealed);
        }
        match (&admin.staged, &admin.last_commit) {
            (Some(staged), _) if staged.digest == *digest => {}
            (Some(_), _) => return Err(Refusal::StateDigest),
            // Whoever asks again has not heard the answer.
            (None, Some((last, position))) if last == digest => {
                return Ok((position.counter, position.anchor))
            }
            (None, _) => return Err(Refusal::StateNone),
        }
        self.finish_commit(admin)
    }

    /// Has the TPM take what is staged, and makes it effective.
    fn finish_commit(&self, admin: &mut Admin) -> Result<(u64, [u8; 32]), Refusal> {
        let keeper = admin.keeper.as_mut().ok_or(Refusal::StateUnsealed)?;
        let staged = admin.staged.as_ref().ok_or(Refusal::StateNone)?;
        keeper.commit(&staged.position, &staged.head)?;
        let staged = admin.staged.take().ok_or(Refusal::StateNone)?;
        let position = staged.position;
        let mac = staged.state.last_chunk().copied().unwrap_or([0; 32]);
        self.books.lock().ledger.sign(&mac);
        self.anchored(&position, staged.number, &staged.head);
        self.apply(admin, staged.change);
        if let Some(keeper) = &mut admin.keeper {
            let settled = self.books.lock().ledger.number();
            keeper.settled(staged.number, settled);
        }
        admin.last_commit = Some((staged.digest, position));
        step("effective");
        Ok((position.counter, position.anchor))
    }

    /// Records that the TPM has taken `head`, the chain's after event `number`.
    pub(crate) fn anchored(&self, position: &Position, number: u64, head: &[u8; 32]) {
        let mut payload = [0; MAX_STAGED];
        let about = Payload::Anchored {
            counter: position.counter,
            number,
            head,
            anchor: &position.anchor,
        };
        let signature = {
            let mut books = self.books.lock();
            books.ledger.append(&Entry {
                payload: encoded(&about, &mut payload),
                ..Entry::new(Kind::Anchored)
            });
            books.ledger.own().signature
        };
        self.recorded();
        trace::anchored(
            &self.identity.node,
            number,
            position.counter,
            head,
            &position.anchor,
            &signature,
        );
    }

    /// Drops what is staged.
    ///
    /// # Errors
    ///
    /// [`Refusal::StateUnsealed`], [`Refusal::StateNone`]; [`Refusal::StateStaged`] when the TPM has
    /// taken a part of it already, so that it can only be committed; those of the TPM.
    pub(crate) fn discard(&self) -> Result<(), Refusal> {
        self.discard_in(&mut self.govern())
    }

    fn discard_in(&self, admin: &mut Admin) -> Result<(), Refusal> {
        let keeper = admin.keeper.as_mut().ok_or(Refusal::StateUnsealed)?;
        let staged = admin.staged.as_ref().ok_or(Refusal::StateNone)?;
        match keeper.left(&staged.position) {
            // Nothing of it can be committed any more when somebody else has moved the indices.
            Ok(Next::Extend) | Err(Refusal::StateConflict) => {}
            Ok(Next::Increment | Next::Done) => return Err(Refusal::StateStaged),
            Err(refusal) => return Err(refusal),
        }
        admin.staged = None;
        self.discarded();
        Ok(())
    }

    /// Records that a staged change was dropped.
    fn discarded(&self) {
        self.record(&Entry {
            uid: task::current().euid(),
            ..Entry::new(Kind::Discarded)
        });
    }
}
