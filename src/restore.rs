// SPDX-License-Identifier: GPL-2.0

//! Restoring: how a locked node gets its past back, or, with a quorum, goes on from an older one.
//!
//! See "What a load finds" and "Recovery" in `Documentation/sealed-state.rst`.

use crate::{
    abi::{
        module,
        sha256,
        task, //
    },
    books::Books,
    engine::{
        anchor::{
            self,
            Position,
            Standing,
            Start, //
        },
        clock::{
            NodeClock,
            ENTRY_LEN,
            NODE_SLOT,
            NO_HEAD,
            SLOTS, //
        },
        event::{
            Kind,
            Payload,
            SealedBy,
            MAX_STAGED, //
        },
        governance::{
            Detail,
            Mode,
            MAX_DETAIL, //
        },
        op::Op,
        refusal::Refusal,
        state::State, //
    },
    govern::{
        Leave,
        Outcome, //
    },
    keeper::{
        Keeper,
        StateKey, //
    },
    ledger::{
        new_clock,
        Entry,
        KernelDigest, //
    },
    node::{
        Admin,
        Node,
        Phase, //
    },
    policy::{
        ActivePolicy,
        PolicyError, //
    },
    staged::Change,
    step::step,
    validator::ValidatorSet, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Bytes of the longest event that is recorded when a state has been restored: a full clock.
const ROOM: usize = 2 + SLOTS * ENTRY_LEN;
const _: () = assert!(ROOM >= MAX_STAGED);

/// A state that was found authentic, made ready to go on from.
pub(crate) struct Restored {
    pub(crate) policy: KBox<ActivePolicy>,
    pub(crate) validators: Arc<ValidatorSet>,
    pub(crate) mode: Mode,
    /// Result of the RESTORED event.
    pub(crate) standing: u16,
    counter: u64,
    head: [u8; 32],
    anchor: [u8; 32],
    wall_ms: u64,
    /// The node's clock.
    clock: KBox<NodeClock>,
    /// Of each validator, in the order of the set.
    last: KVVec<NodeClock>,
    pub(crate) pin: Option<module::Pin>,
    /// For the payloads of events.
    room: KVec<u8>,
}

impl Restored {
    /// Payload of the RESTORED event.
    pub(crate) fn payload(&self) -> Payload<'_> {
        Payload::Restored {
            counter: self.counter,
            head: &self.head,
            anchor: &self.anchor,
            wall_ms: self.wall_ms,
        }
    }
}

/// What a quorum is asked to go on from. Guarded by [`Node::admin`].
#[derive(Clone, Copy)]
pub(crate) struct Recovery {
    /// Digest of the state.
    digest: [u8; 32],
    /// Why it is not current.
    pub(crate) reason: Refusal,
    /// The counter that was found.
    counter: u64,
    /// The anchor that was found, zeros when there was none.
    anchor: [u8; 32],
    /// The counter of the state, 0 when setup begins.
    state: u64,
    /// Head of the chain in the state.
    head: [u8; 32],
}

impl Recovery {
    /// Payload of the RECOVERED event.
    pub(crate) fn payload(&self) -> Payload<'_> {
        Payload::Recovered {
            counter: self.counter,
            anchor: &self.anchor,
            state: self.state,
            head: &self.head,
        }
    }
}

/// What a recovery has begun with and the TPM has yet to take. Guarded by [`Node::admin`].
#[derive(Clone, Copy)]
pub(crate) struct Beginning {
    /// Where counter and anchor are led; the counter is the epoch.
    position: Position,
    /// Head of the chain that the anchor is extended with.
    head: [u8; 32],
    /// Number of the event that has that head.
    number: u64,
}

/// Whether a quorum may decide to go on from a state with which this is wrong: the TPM is this one
/// and vouches for the state, only not for its being the last.
fn is_recoverable(reason: Refusal) -> bool {
    matches!(
        reason,
        Refusal::StateOlder
            | Refusal::StateStagedOnly
            | Refusal::CounterMissing
            | Refusal::CounterForeign
            | Refusal::CounterBehind
            | Refusal::AnchorMissing
            | Refusal::AnchorForeign
            | Refusal::AnchorDiffers
    )
}

/// Whether a refusal says something about the state, rather than about the moment.
fn is_finding(refusal: Refusal) -> bool {
    (Refusal::StateMissing.code()..=Refusal::AnchorDiffers.code()).contains(&refusal.code())
}

/// Has the TPM release a state's key, and checks with it that the state is authentic.
fn authenticate(keeper: &Keeper, state: &State<'_>) -> Result<StateKey, Refusal> {
    let key = keeper.release(state.head.private, state.head.public, state.head.pcrs)?;
    step("unsealed");
    if !key.authenticates(state.signed, state.mac) {
        return Err(Refusal::StateForged);
    }
    step("authentic");
    Ok(key)
}

impl Node {
    /// Takes back the state that user space has kept; it is committed anew before it takes effect.
    ///
    /// # Errors
    ///
    /// What is wrong with the state, in the order of the table in `Documentation/sealed-state.rst`;
    /// [`Refusal::StateUnsealed`], [`Refusal::StateCurrent`] when the node is not locked,
    /// [`Refusal::StateStaged`], [`Refusal::PolicyView`], and those of the TPM.
    pub(crate) fn restore(&self, bytes: &[u8]) -> Result<Outcome<()>, PolicyError> {
        let mut admin = self.govern();
        let admin = &mut *admin;
        let result = self.try_restore(admin, bytes);
        if let Err(error) = &result {
            let refusal = error.refusal();
            pr_warn!("state refused: {refusal}\n");
            if self.phase() == Phase::Locked && is_finding(refusal) {
                admin.reason = Some(refusal);
            }
        }
        result
    }

    fn try_restore(&self, admin: &mut Admin, bytes: &[u8]) -> Result<Outcome<()>, PolicyError> {
        self.drop_stale(admin)?;
        if admin.staged.is_some() {
            return Err(Refusal::StateStaged.into());
        }
        let keeper = admin.keeper.as_mut().ok_or(Refusal::StateUnsealed)?;
        if self.phase() == Phase::Sealed {
            return Err(Refusal::StateCurrent.into());
        }
        let state = State::decode::<KernelDigest>(bytes)?;
        keeper.look()?;
        let standing = anchor::judge(&keeper.witness, state.head.node, &state.head.position())?;
        // Whoever wonders in setup where the past is has got to know what is wrong with it.
        if self.phase() != Phase::Locked {
            return Err(Refusal::StateCurrent.into());
        }
        step("judged");
        let key = authenticate(keeper, &state)?;
        let mut restored = self.prepare(&state, admin.generation + 1)?;
        restored.standing = standing as u16;
        restored.pin = Some(self.pinned()?);
        if let Standing::Half = standing {
            keeper.increment()?;
        }
        if ![0, keeper.counter().saturating_add(1)].contains(&self.identity.epoch()) {
            // A recovery that failed half-way has used the epoch; the next load has another.
            return Err(Refusal::StateConflict.into());
        }
        keeper.adopt(key);
        match self.enact(admin, Change::Restore(restored))? {
            Some(counter) => Ok(Outcome::Staged(counter)),
            None => Ok(Outcome::Done(())),
        }
    }

    /// Makes what a state holds ready for use.
    fn prepare(&self, state: &State<'_>, generation: u64) -> Result<KBox<Restored>, PolicyError> {
        let no_memory = |_| PolicyError::from(Refusal::NoMemory);
        let policy = ActivePolicy::prepare(state.policy, generation)?;
        let validators = ValidatorSet::restore(state)?;
        let mut clock = new_clock()?;
        clock
            .decode(state.clock.as_bytes())
            .map_err(|_| Refusal::StateMalformed)?;
        let mut last = KVVec::with_capacity(validators.len(), GFP_KERNEL)?;
        for validator in state.validators() {
            last.push(NodeClock::new(), GFP_KERNEL)?;
            if let Some(clock) = last.last_mut() {
                clock
                    .decode(validator.clock.as_bytes())
                    .map_err(|_| Refusal::StateMalformed)?;
            }
        }
        KBox::new(
            Restored {
                policy: KBox::new(policy, GFP_KERNEL)?,
                validators,
                mode: state.head.mode,
                standing: 0,
                counter: state.head.counter,
                head: *state.head.chain,
                anchor: *state.head.anchor,
                wall_ms: state.head.wall_ms,
                clock,
                last,
                pin: None,
                room: KVec::from_elem(0, ROOM, GFP_KERNEL)?,
            },
            GFP_KERNEL,
        )
        .map_err(no_memory)
    }

    /// Begins the history of this load where that of `restored` ends. When a restore of the same
    /// state was discarded in this load, it has begun already and goes on.
    pub(crate) fn begin_from(&self, books: &mut Books, restored: &Restored, epoch: u64) {
        if self.identity.epoch() == epoch {
            return;
        }
        self.identity.begin(epoch);
        books.clear_last_clocks();
        books
            .ledger
            .begin(&self.identity.node, epoch, &restored.head, &restored.clock);
        for (validator, last) in restored.validators.iter().zip(restored.last.iter()) {
            books.set_last_clock(validator.slot, last);
        }
        self.loaded(books);
    }

    /// Records that the module was loaded.
    pub(crate) fn loaded(&self, books: &mut Books) {
        let mut payload = [0; 64];
        let version = Payload::Loaded {
            version: crate::VERSION,
        };
        let len = version.encode(&mut payload).unwrap_or(0);
        let sealed_by = match self.identity.tpm {
            Some(_) => SealedBy::Tpm,
            None => SealedBy::Nothing,
        };
        books.ledger.append(&Entry {
            result: sealed_by as u16,
            payload: payload.get(..len).unwrap_or(&[]),
            ..Entry::new(Kind::Loaded)
        });
    }

    /// Makes the policy, the validators and the mode of `restored` those in force, and records
    /// them, so that the log of this load can be verified by itself.
    pub(crate) fn install(&self, admin: &mut Admin, mut restored: Restored) {
        let mut payload = core::mem::take(&mut restored.room);
        admin.generation = restored.policy.generation;
        self.set_validators(restored.validators.clone());
        self.set_mode(restored.mode);
        let host_ops = restored.policy.rules.host_ops();
        let retired = {
            let mut books = self.books.lock();
            books.ledger.append(&Entry {
                result: restored.standing,
                payload: encoded(&restored.payload(), &mut payload),
                ..Entry::new(Kind::Restored)
            });
            books.ledger.append(&Entry {
                op: Some(Op::Policy),
                payload: encoded(&restored.policy.payload(), &mut payload),
                ..Entry::new(Kind::Policy)
            });
            books.ledger.append(&Entry {
                op: Some(Op::Mode),
                result: restored.mode as u16,
                ..Entry::new(Kind::Mode)
            });
            for validator in restored.validators.iter() {
                let record = validator.record();
                books.ledger.append(&Entry {
                    op: Some(Op::Validator),
                    slot: validator.slot,
                    payload: encoded(&Payload::Validator(record), &mut payload),
                    ..Entry::new(Kind::ValidatorAdded)
                });
                books.record_clock(validator.slot, &mut payload);
            }
            books.record_clock(NODE_SLOT, &mut payload);
            books.generation = restored.policy.generation;
            books.total_weight = restored.validators.total();
            self.policy.publish(restored.policy)
        };
        drop(retired);
        self.set_host_ops(host_ops);
        self.recorded();
    }

    /// Asks the quorum of the validators in an authentic state whether to go on from it although it
    /// is not current, and does so when it has agreed.
    ///
    /// # Errors
    ///
    /// [`Refusal::StateCurrent`] when there is nothing to recover, [`Refusal::StateDigest`] for
    /// another state than the one the quorum is asked about, and those of [`Node::restore`].
    pub(crate) fn recover(&self, bytes: &[u8]) -> Result<Outcome<()>, PolicyError> {
        let mut admin = self.govern();
        let admin = &mut *admin;
        self.drop_stale(admin)?;
        if admin.staged.is_some() {
            return Err(Refusal::StateStaged.into());
        }
        if self.phase() == Phase::Locked {
            self.begin_recovery(admin, bytes)?;
        }
        if self.phase() != Phase::Recovering {
            return Err(Refusal::StateCurrent.into());
        }
        let recovery = admin.recovery.ok_or(Refusal::StateCurrent)?;
        if recovery.digest != sha256::digest(&[bytes]) {
            return Err(Refusal::StateDigest.into());
        }
        self.anchor_beginning(admin)?;
        self.recheck(admin)?;
        let mut detail = [0; MAX_DETAIL];
        let len = Detail::Recover {
            reason: recovery.reason.code(),
            state: recovery.state,
            found: recovery.counter,
        }
        .encode(&mut detail)
        .map_err(|_| Refusal::StateMalformed)?;
        let detail = detail.get(..len).unwrap_or(&[]);
        if let Leave::Pending(id) = self.leave_for(Op::Recover, bytes, detail, None, &[])? {
            return Ok(Outcome::Pending(id));
        }
        let change = Change::Recover(recovery, self.pinned()?);
        match self.enact(admin, change)? {
            Some(counter) => Ok(Outcome::Staged(counter)),
            None => Ok(Outcome::Done(())),
        }
    }

    /// Takes an outdated state as what the quorum is to judge, under an epoch of its own.
    fn begin_recovery(&self, admin: &mut Admin, bytes: &[u8]) -> Result<(), PolicyError> {
        let keeper = admin.keeper.as_mut().ok_or(Refusal::StateUnsealed)?;
        let state = State::decode::<KernelDigest>(bytes)?;
        keeper.look()?;
        let reason = match anchor::judge(&keeper.witness, state.head.node, &state.head.position()) {
            Ok(_) => return Err(Refusal::StateCurrent.into()),
            Err(reason) if is_recoverable(reason) => reason,
            Err(reason) => return Err(reason.into()),
        };
        let key = authenticate(keeper, &state)?;
        let mut restored = self.prepare(&state, admin.generation + 1)?;
        restored.standing = Standing::Outdated as u16;
        let (counter, anchor) = (keeper.counter(), keeper.anchor().unwrap_or([0; 32]));
        let epoch = keeper.next_epoch(self.identity.epoch() != 0)?;
        keeper.adopt(key);
        {
            let mut books = self.books.lock();
            self.begin_from(&mut books, &restored, epoch);
        }
        // First the phase: nobody is labelled by a policy that nobody has agreed to.
        self.set_phase(Phase::Recovering);
        self.install(admin, KBox::into_inner(restored));
        admin.reason = Some(reason);
        admin.recovery = Some(Recovery {
            digest: sha256::digest(&[bytes]),
            reason,
            counter,
            anchor,
            state: state.head.counter,
            head: *state.head.chain,
        });
        pr_warn!("recovering: {reason}; a quorum decides\n");
        self.note_beginning(admin)?;
        Ok(())
    }

    /// Notes what this load has recorded so far, for [`Node::anchor_beginning`].
    fn note_beginning(&self, admin: &mut Admin) -> Result<(), Refusal> {
        let keeper = admin.keeper.as_ref().ok_or(Refusal::StateUnsealed)?;
        let books = self.books.lock();
        let head = *books.ledger.head();
        admin.beginning = Some(Beginning {
            position: keeper.next_position(&head),
            head,
            number: books.ledger.number(),
        });
        Ok(())
    }

    /// Has the TPM remember what a recovery has begun with, and begin its epoch. When that fails
    /// half-way it may be called again.
    ///
    /// # Errors
    ///
    /// Those of [`Keeper::commit`].
    fn anchor_beginning(&self, admin: &mut Admin) -> Result<(), Refusal> {
        let Some(beginning) = admin.beginning else {
            return Ok(());
        };
        let keeper = admin.keeper.as_mut().ok_or(Refusal::StateUnsealed)?;
        keeper.commit(&beginning.position, &beginning.head)?;
        admin.beginning = None;
        self.anchored(&beginning.position, beginning.number, &beginning.head);
        let settled = self.books.lock().ledger.number();
        keeper.settled(beginning.number, settled);
        Ok(())
    }

    /// Forgets policy and validators and begins setup, and has the TPM remember that.
    ///
    /// # Errors
    ///
    /// [`Refusal::StateUnsealed`], [`Refusal::NotInSetup`] when the node is not locked,
    /// [`Refusal::StateStaged`], and those of the TPM: then it is still locked.
    pub(crate) fn recover_to_setup(&self) -> Result<(), Refusal> {
        let mut admin = self.govern();
        let admin = &mut *admin;
        let keeper = admin.keeper.as_mut().ok_or(Refusal::StateUnsealed)?;
        match self.phase() {
            Phase::Locked => {}
            Phase::Setup => return Ok(()),
            _ => return Err(Refusal::NotInSetup),
        }
        if admin.staged.is_some() {
            return Err(Refusal::StateStaged);
        }
        keeper.look()?;
        let recovery = Recovery {
            digest: [0; 32],
            // What the TPM says, not what somebody has tried last.
            reason: match anchor::start(&keeper.witness) {
                Start::Locked(reason) => reason,
                Start::FirstUse { .. } => Refusal::StateMissing,
            },
            counter: keeper.counter(),
            anchor: keeper.anchor().unwrap_or([0; 32]),
            state: 0,
            head: NO_HEAD,
        };
        let epoch = keeper.next_epoch(self.identity.epoch() != 0)?;
        let mut payload = [0; MAX_STAGED];
        let clock = new_clock().map_err(|_| Refusal::NoMemory)?;
        {
            let mut books = self.books.lock();
            self.identity.begin(epoch);
            books.clear_last_clocks();
            books
                .ledger
                .begin(&self.identity.node, epoch, &NO_HEAD, &clock);
            self.loaded(&mut books);
            books.ledger.append(&Entry {
                uid: task::current().euid(),
                op: Some(Op::Recover),
                result: recovery.reason.code(),
                payload: encoded(&recovery.payload(), &mut payload),
                ..Entry::new(Kind::Recovered)
            });
        }
        self.recorded();
        self.note_beginning(admin)?;
        self.anchor_beginning(admin)?;
        admin.reason = None;
        self.set_phase(Phase::Setup);
        pr_warn!("recovered to setup: policy and validators are forgotten\n");
        Ok(())
    }
}

/// Encodes a payload that fits; an empty one when it does not, which no decoder takes.
pub(crate) fn encoded<'a>(payload: &Payload<'_>, out: &'a mut [u8]) -> &'a [u8] {
    let len = payload.encode(out).unwrap_or(0);
    out.get(..len).unwrap_or(&[])
}
