// SPDX-License-Identifier: GPL-2.0

//! Restoring: how a locked node gets its past back.
//!
//! See "What a load finds" in `Documentation/sealed-state.rst`.

use crate::{
    abi::{
        clock,
        module, //
    },
    books::Books,
    engine::{
        anchor::{
            self,
            Standing, //
        },
        clock::{
            NodeClock,
            ENTRY_LEN,
            NODE_SLOT,
            SLOTS, //
        },
        event::{
            Kind,
            Payload,
            MAX_STAGED, //
        },
        governance::Mode,
        memory::VoteMemory,
        op::Op,
        refusal::Refusal,
        reputation::Kept as Reputation,
        state::State, //
    },
    govern::Outcome,
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
    policy::{
        ActivePolicy,
        PolicyError, //
    },
    quarantine::Quarantine,
    staged::Change,
    state_key::StateKey,
    step::step,
    validator::{
        Validator,
        ValidatorSet, //
    }, //
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
    /// How current the state is.
    pub(crate) standing: Standing,
    counter: u64,
    head: [u8; 32],
    anchor: [u8; 32],
    wall_ms: u64,
    /// The node's clock.
    clock: KBox<NodeClock>,
    /// Of each validator, in the order of the set.
    last: KVVec<NodeClock>,
    /// Of each validator, in the order of the set.
    pub(crate) reputations: KVVec<Reputation>,
    /// Who is quarantined, or was.
    pub(crate) quarantine: Quarantine,
    /// For the votes of each validator, in the order of the set.
    memories: KVVec<Option<VoteMemory>>,
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

/// Whether a refusal says something about the state, rather than about the moment.
fn is_finding(refusal: Refusal) -> bool {
    (Refusal::StateMissing.code()..=Refusal::AnchorDiffers.code()).contains(&refusal.code())
}

/// Has the TPM release a state's key, and checks with it that the state is authentic.
pub(crate) fn authenticate(keeper: &Keeper, state: &State<'_>) -> Result<StateKey, Refusal> {
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
        let pin = Some(self.pinned()?);
        let restored = self.prepare(&state, standing, pin, admin.generation + 1)?;
        if let Standing::Half = standing {
            keeper.increment()?;
        }
        if ![0, keeper.counter().saturating_add(1)].contains(&self.identity.epoch()) {
            // A recovery that failed half-way has used the epoch; the next load has another.
            return Err(Refusal::StateConflict.into());
        }
        keeper.adopt(key);
        Ok(self.outcome(admin, Change::Restore(restored), ())?)
    }

    /// Makes what a state holds ready for use.
    pub(crate) fn prepare(
        &self,
        state: &State<'_>,
        standing: Standing,
        pin: Option<module::Pin>,
        generation: u64,
    ) -> Result<KBox<Restored>, PolicyError> {
        let no_memory = |_| PolicyError::from(Refusal::NoMemory);
        let policy = ActivePolicy::prepare(state.policy, generation, &self.recall)?;
        let validators = ValidatorSet::restore(state)?;
        let mut clock = new_clock()?;
        clock
            .decode(state.clock.as_bytes())
            .map_err(|_| Refusal::StateMalformed)?;
        let mut last = KVVec::with_capacity(validators.len(), GFP_KERNEL)?;
        let mut memories = KVVec::with_capacity(validators.len(), GFP_KERNEL)?;
        let mut reputations = KVVec::with_capacity(validators.len(), GFP_KERNEL)?;
        for validator in state.validators() {
            let slot = validator.record.slot;
            let reputation = state.reputations().find(|(of, _)| *of == slot);
            let pristine = Reputation::PRISTINE;
            reputations.push(reputation.map_or(pristine, |(_, kept)| kept), GFP_KERNEL)?;
            let memory = VoteMemory::new().map_err(|_| Refusal::NoMemory)?;
            memories.push(Some(memory), GFP_KERNEL)?;
            last.push(NodeClock::new(), GFP_KERNEL)?;
            if let Some(clock) = last.last_mut() {
                clock
                    .decode(validator.clock.as_bytes())
                    .map_err(|_| Refusal::StateMalformed)?;
            }
        }
        let quarantine = Quarantine::restore(state, &validators)?;
        KBox::new(
            Restored {
                policy: KBox::new(policy, GFP_KERNEL)?,
                validators,
                mode: state.head.mode,
                standing,
                counter: state.head.counter,
                head: *state.head.chain,
                anchor: *state.head.anchor,
                wall_ms: state.head.wall_ms,
                clock,
                last,
                reputations,
                quarantine,
                memories,
                pin,
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
        books.ledger.append(&Entry {
            result: self.identity.sealed_by() as u16,
            payload: encoded(&version, &mut payload),
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
        // Before the policy that has them, so that none is missed.
        self.set_host_ops(host_ops | self.host_ops());
        let retired = {
            let mut books = self.books.lock();
            books.ledger.append(&Entry {
                result: restored.standing as u16,
                payload: encoded(&restored.payload(), &mut payload),
                ..Entry::new(Kind::Restored)
            });
            books.ledger.append(&Entry {
                op: Some(Op::Policy),
                payload: encoded(&restored.policy.payload(), &mut payload),
                ..Entry::new(Kind::Policy)
            });
            books.ledger.adapt(restored.policy.rules.adaptive());
            books.ledger.append(&Entry {
                op: Some(Op::Mode),
                result: restored.mode as u16,
                ..Entry::new(Kind::Mode)
            });
            core::mem::swap(&mut books.quarantine, &mut restored.quarantine);
            let kept = restored.reputations.iter().zip(&mut restored.memories);
            for (validator, (reputation, memory)) in restored.validators.iter().zip(kept) {
                books.swap_memory(validator.slot, memory);
                books.record_restored(validator, reputation, &mut payload);
            }
            books.record_clock(NODE_SLOT, &mut payload);
            books.generation = restored.policy.generation;
            books.total_weight = restored.validators.total();
            self.publish(restored.policy)
        };
        drop(retired);
        self.set_host_ops(host_ops);
        self.recorded();
    }
}

impl Books {
    /// Records a validator that a state has, and what is known of it. `room` is for the payloads.
    fn record_restored(&mut self, validator: &Validator, reputation: &Reputation, room: &mut [u8]) {
        let slot = validator.slot;
        let stamp = clock::boottime_ms();
        let added = Entry {
            op: Some(Op::Validator),
            slot,
            payload: encoded(&Payload::Validator(validator.record()), room),
            ..Entry::new(Kind::ValidatorAdded)
        };
        self.ledger.append_at(&added, stamp);
        self.ledger.watch.enrolled(slot, validator.weight, stamp);
        self.record_clock(slot, room);
        if *reputation != Reputation::PRISTINE {
            self.ledger.append(&Entry {
                slot,
                payload: encoded(&Payload::Reputation(*reputation), room),
                ..Entry::new(Kind::Reputation)
            });
            self.ledger
                .watch
                .reputations_mut()
                .restore(slot, reputation);
        }
        self.record_standing(validator);
    }
}
