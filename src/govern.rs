// SPDX-License-Identifier: GPL-2.0

//! Governance: policy, validators, mode, seal and unloading.
//!
//! In setup, whoever has `CAP_MAC_ADMIN` decides. Once sealed, each change is an operation like any
//! other: it is checked for its sense first, then put to the quorum by [`Node::check`]'s mechanism,
//! and done when the same command is given again under the grant.

use crate::{
    abi::{
        clock,
        module,
        task, //
    },
    books::Books,
    check::{
        Actor,
        Ruling, //
    },
    engine::{
        event::{
            Cancelled,
            GrantEnded,
            Kind,
            Payload,
            MAX_STAGED, //
        },
        governance::{
            Detail,
            Mode,
            KEY_LEN,
            MAX_DETAIL,
            MAX_VALIDATOR_RECORD, //
        },
        memory::VoteMemory,
        op::Op,
        refusal::Refusal,
        request::{
            Fact,
            FactWriter, //
        },
        wire, //
    },
    ledger::{
        encoded,
        Entry, //
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
    query::{
        Content,
        Context,
        Query, //
    },
    staged::Change,
    validator::{
        Validator,
        ValidatorSet, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// What has become of a command.
pub(crate) enum Outcome<T> {
    /// It has taken effect.
    Done(T),
    /// A quorum is needed: the id of the request.
    Pending([u8; 32]),
    /// It takes effect when the state with this counter has been saved and committed.
    Staged(u64),
}

/// Leave to change something.
pub(crate) enum Leave {
    Given,
    Pending([u8; 32]),
}

impl Node {
    /// Asks whether a change may be made: always in setup, by quorum once sealed.
    ///
    /// Context: the caller holds [`Node::admin`].
    pub(crate) fn leave_for(
        &self,
        op: Op,
        content: &[u8],
        detail: &[u8],
        version: Option<u64>,
        name: &[u8],
    ) -> Result<Leave, Refusal> {
        if self.phase() == Phase::Setup {
            return Ok(Leave::Given);
        }
        let facts = |facts: &mut FactWriter<'_>| -> wire::Result {
            if name.is_empty() {
                return Ok(());
            }
            facts.fact(&Fact::Name(name))
        };
        let query = Query {
            detail,
            version,
            ..Query::new(op, "", Context::Sleep)
                .content(Content::Bytes(content))
                .facts(&facts)
        };
        match self.rule_on(&Actor::Host, &query) {
            Ruling::Proceed { .. } => Ok(Leave::Given),
            Ruling::Pending(id) => Ok(Leave::Pending(id)),
            Ruling::Refuse { why, .. } => Err(why),
        }
    }

    /// The same for a change that a DETAIL describes; `content` is what the request binds beside it,
    /// the DETAIL itself when there is nothing else.
    pub(crate) fn leave_for_detail(
        &self,
        detail: &Detail<'_>,
        content: Option<&[u8]>,
    ) -> Result<Leave, Refusal> {
        let mut room = [0; MAX_DETAIL];
        let len = detail
            .encode(&mut room)
            .map_err(|_| Refusal::AttributeMissing)?;
        let bytes = room.get(..len).unwrap_or(&[]);
        self.leave_for(detail.op(), content.unwrap_or(bytes), bytes, None, &[])
    }

    /// Puts a policy in force.
    ///
    /// # Errors
    ///
    /// A [`PolicyError`]; the running policy stays.
    pub(crate) fn load_policy(&self, text: &[u8]) -> Result<Outcome<()>, PolicyError> {
        let mut admin = self.govern();
        self.admit_change(&mut admin)?;
        let generation = admin.generation + 1;
        let policy = ActivePolicy::prepare(text, generation, &self.recall)?;
        let running = self
            .policy
            .read()
            .get()
            .map_or(0, |running| running.rules.version());
        if policy.rules.version() <= running {
            return Err(Refusal::PolicyVersion.into());
        }
        // Nothing that may fail comes after the grant has been used.
        let policy = KBox::new(policy, GFP_KERNEL)?;
        let leave = self.leave_for(
            Op::Policy,
            text,
            &[],
            Some(policy.rules.version()),
            policy.rules.name().as_bytes(),
        )?;
        if let Leave::Pending(id) = leave {
            return Ok(Outcome::Pending(id));
        }
        Ok(self.outcome(&mut admin, Change::Policy(policy), ())?)
    }

    /// Enacts a change, and says what has become of the command.
    pub(crate) fn outcome<T>(
        &self,
        admin: &mut Admin,
        change: Change,
        done: T,
    ) -> Result<Outcome<T>, Refusal> {
        Ok(match self.enact(admin, change)? {
            Some(counter) => Outcome::Staged(counter),
            None => Outcome::Done(done),
        })
    }

    /// Makes a change effective. Nothing of this can fail: it may have been committed already.
    pub(crate) fn apply(&self, admin: &mut Admin, change: Change) {
        match change {
            Change::Checkpoint => {}
            Change::Policy(policy) => self.enforce(admin, policy),
            Change::Validators {
                set,
                validator,
                memory,
            } => self.enrol(set, &validator, memory),
            Change::Readmit(validator) => self.readmit(&validator),
            Change::Mode(mode) => {
                self.set_mode(mode);
                self.record(&Entry {
                    uid: task::current().euid(),
                    op: Some(Op::Mode),
                    result: mode as u16,
                    ..Entry::new(Kind::Mode)
                });
            }
            Change::Seal(pin) => self.keep(admin, Some(pin)),
            Change::Restore(restored) => {
                let mut restored = KBox::into_inner(restored);
                let pin = restored.pin.take();
                self.install(admin, restored);
                self.keep(admin, pin);
            }
            Change::Recover(recovery, pin) => {
                let mut payload = [0; MAX_STAGED];
                self.record(&Entry {
                    uid: task::current().euid(),
                    op: Some(Op::Recover),
                    result: recovery.reason.code(),
                    payload: encoded(&recovery.payload(), &mut payload),
                    ..Entry::new(Kind::Recovered)
                });
                admin.recovery = None;
                self.keep(admin, Some(pin));
            }
        }
    }

    /// Puts a policy in force.
    fn enforce(&self, admin: &mut Admin, policy: KBox<ActivePolicy>) {
        let mut payload = [0; 128];
        let about = encoded(&policy.payload(), &mut payload);
        let host_ops = policy.rules.host_ops();
        let adaptive = policy.rules.adaptive();
        let generation = policy.generation;
        admin.generation = generation;
        // Before the policy that has them, and beside those of the old one: none is missed.
        self.set_host_ops(host_ops | self.host_ops());
        let (closed, retired) = {
            let mut books = self.books.lock();
            // Both under the lock: whoever finds the new policy finds its books, too.
            let retired = self.publish(policy);
            let closed = books.start_over(Cancelled::PolicyChanged, GrantEnded::PolicyChanged);
            books.generation = generation;
            books.ledger.append(&Entry {
                uid: task::current().euid(),
                op: Some(Op::Policy),
                payload: about,
                ..Entry::new(Kind::Policy)
            });
            books.ledger.adapt(adaptive);
            (closed, retired)
        };
        // Waits for those who still judge by the old policy.
        drop(retired);
        self.set_host_ops(host_ops);
        self.closed(&closed);
        self.recorded();
    }

    /// Ends setup, or being locked: the module stays in memory from now on.
    fn keep(&self, admin: &mut Admin, pin: Option<module::Pin>) {
        admin.pin = pin;
        admin.reason = None;
        let mut payload = [0; MAX_STAGED];
        let len = self.sealed_payload(&mut payload).unwrap_or(0);
        self.set_phase(Phase::Sealed);
        self.record(&Entry {
            uid: task::current().euid(),
            payload: payload.get(..len).unwrap_or(&[]),
            ..Entry::new(Kind::Sealed)
        });
    }

    /// Writes the payload of SEALED and returns its length.
    pub(crate) fn sealed_payload(&self, out: &mut [u8]) -> wire::Result<usize> {
        let digest = self
            .policy
            .read()
            .get()
            .map_or([0; 32], |policy| policy.digest);
        Payload::Sealed {
            policy: &digest,
            total: u32::try_from(self.validators().total()).unwrap_or(u32::MAX),
        }
        .encode(out)
    }

    /// Enrols a validator.
    ///
    /// # Errors
    ///
    /// Those of [`ValidatorSet::candidate`], [`Refusal::ValidatorQuarantined`], and
    /// [`Refusal::Denied`].
    pub(crate) fn add_validator(
        &self,
        name: &[u8],
        key: &[u8; KEY_LEN],
        weight: u32,
    ) -> Result<Outcome<Arc<Validator>>, Refusal> {
        let mut admin = self.govern();
        self.admit_change(&mut admin)?;
        let set = self.validators();
        let validator = set.candidate(name, key, weight)?;
        if self.books.lock().quarantine.holds(&validator.id) {
            return Err(Refusal::ValidatorQuarantined);
        }
        let changed = set.with(&validator)?;
        let memory = VoteMemory::new().map_err(|_| Refusal::NoMemory)?;
        let detail = Detail::AddValidator {
            weight,
            name: validator.name.as_str(),
            key,
        };
        if let Leave::Pending(id) = self.leave_for_detail(&detail, None)? {
            return Ok(Outcome::Pending(id));
        }
        let change = Change::Validators {
            set: changed,
            validator: validator.clone(),
            memory: Some(memory),
        };
        self.outcome(&mut admin, change, validator)
    }

    /// Removes a validator.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorUnknown`], [`Refusal::NoValidators`] for the last one of a sealed node,
    /// [`Refusal::Denied`].
    pub(crate) fn remove_validator(&self, name: &[u8]) -> Result<Outcome<()>, Refusal> {
        let mut admin = self.govern();
        self.admit_change(&mut admin)?;
        let set = self.validators();
        let validator = set.by_name(name).ok_or(Refusal::ValidatorUnknown)?.clone();
        if set.len() == 1 && self.phase() == Phase::Sealed {
            // Nobody could ever approve anything again.
            return Err(Refusal::NoValidators);
        }
        let changed = set.without(&validator)?;
        let detail = Detail::RemoveValidator {
            name: validator.name.as_str(),
        };
        if let Leave::Pending(id) = self.leave_for_detail(&detail, None)? {
            return Ok(Outcome::Pending(id));
        }
        let change = Change::Validators {
            set: changed,
            validator,
            memory: None,
        };
        self.outcome(&mut admin, change, ())
    }

    /// Ends the quarantine of a validator.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorUnknown`], [`Refusal::ValidatorTrusted`], [`Refusal::ReadmitLimit`],
    /// [`Refusal::Denied`].
    pub(crate) fn readmit_validator(&self, name: &[u8]) -> Result<Outcome<()>, Refusal> {
        let mut admin = self.govern();
        self.admit_change(&mut admin)?;
        let set = self.validators();
        let validator = set.by_name(name).ok_or(Refusal::ValidatorUnknown)?.clone();
        {
            let books = self.books.lock();
            let entry = books.ledger.number();
            books
                .quarantine
                .may_readmit(&validator.id, &self.identity.node, entry)?;
        }
        let detail = Detail::ReadmitValidator {
            name: validator.name.as_str(),
        };
        if let Leave::Pending(id) = self.leave_for_detail(&detail, None)? {
            return Ok(Outcome::Pending(id));
        }
        self.outcome(&mut admin, Change::Readmit(validator), ())
    }

    /// Makes a changed set of validators the one in force: with `validator`, whose votes `memory` is
    /// for, or without it.
    fn enrol(&self, set: Arc<ValidatorSet>, validator: &Validator, mut memory: Option<VoteMemory>) {
        let total = set.total();
        self.set_validators(set);
        let closed = {
            let mut books = self.books.lock();
            let closed =
                books.start_over(Cancelled::ValidatorsChanged, GrantEnded::ValidatorsChanged);
            books.total_weight = total;
            let added = memory.is_some();
            books.swap_memory(validator.slot, &mut memory);
            if added {
                let (_, stamp) = self.record_validator(&mut books, validator, Kind::ValidatorAdded);
                books
                    .ledger
                    .watch
                    .enrolled(validator.slot, validator.weight, stamp);
            } else {
                self.record_validator(&mut books, validator, Kind::ValidatorRemoved);
                books.ledger.watch.removed(validator.slot);
                books.quarantine.removed(&validator.id);
            }
            closed
        };
        drop(memory);
        self.closed(&closed);
        self.recorded();
    }

    /// Lets a quarantined validator vote again.
    fn readmit(&self, validator: &Validator) {
        let (closed, proof) = {
            let mut books = self.books.lock();
            let closed =
                books.start_over(Cancelled::ValidatorsChanged, GrantEnded::ValidatorsChanged);
            let (number, stamp) = self.record_validator(&mut books, validator, Kind::Readmitted);
            let proof = books
                .quarantine
                .readmit(&validator.id, &self.identity.node, number);
            books.ledger.watch.readmitted(validator.slot, stamp);
            books.forget_votes(validator.slot);
            (closed, proof)
        };
        drop(proof);
        self.closed(&closed);
        self.recorded();
    }

    /// Records a change of one validator; returns the event's number and stamp.
    fn record_validator(&self, books: &mut Books, validator: &Validator, kind: Kind) -> (u64, u64) {
        let mut payload = [0; MAX_VALIDATOR_RECORD];
        let stamp = clock::boottime_ms();
        let entry = Entry {
            uid: task::current().euid(),
            op: Some(Op::Validator),
            slot: validator.slot,
            payload: encoded(&Payload::Validator(validator.record()), &mut payload),
            ..Entry::new(kind)
        };
        (books.ledger.append_at(&entry, stamp), stamp)
    }

    /// Ends setup and pins the module in memory.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotInSetup`], [`Refusal::NoPolicy`], [`Refusal::NoValidators`],
    /// [`Refusal::HookMissing`] while the module is being unloaded.
    pub(crate) fn seal(&self) -> Result<Outcome<()>, Refusal> {
        let mut admin = self.govern();
        if self.phase() == Phase::Sealed {
            return Err(Refusal::NotInSetup);
        }
        self.admit_change(&mut admin)?;
        if self.validators().len() == 0 {
            return Err(Refusal::NoValidators);
        }
        if self.policy.read().get().is_none() {
            return Err(Refusal::NoPolicy);
        }
        let pin = self.pinned()?;
        self.outcome(&mut admin, Change::Seal(pin), ())
    }

    /// Keeps the module in memory for as long as the pin is held.
    ///
    /// # Errors
    ///
    /// [`Refusal::HookMissing`] while the module is being unloaded.
    pub(crate) fn pinned(&self) -> Result<module::Pin, Refusal> {
        let module = kernel::module::this_module::<crate::LocalModule>();
        module::Pin::new(module).map_err(|_| Refusal::HookMissing)
    }

    /// Changes between enforcing and recording only.
    ///
    /// # Errors
    ///
    /// [`Refusal::Denied`].
    pub(crate) fn change_mode(&self, mode: Mode) -> Result<Outcome<()>, Refusal> {
        let mut admin = self.govern();
        self.admit_change(&mut admin)?;
        if self.mode() == mode {
            return Ok(Outcome::Done(()));
        }
        if let Leave::Pending(id) = self.leave_for_detail(&Detail::Mode(mode), None)? {
            return Ok(Outcome::Pending(id));
        }
        self.outcome(&mut admin, Change::Mode(mode), ())
    }

    /// Lets the module be removed from a sealed node; in setup it may be anyway.
    ///
    /// # Errors
    ///
    /// [`Refusal::Denied`].
    pub(crate) fn allow_unload(&self) -> Result<Outcome<()>, Refusal> {
        let mut admin = self.govern();
        if self.phase() != Phase::Sealed || self.is_unpinned() {
            return Ok(Outcome::Done(()));
        }
        if let Leave::Pending(id) = self.leave_for_detail(&Detail::Unload, None)? {
            return Ok(Outcome::Pending(id));
        }
        self.set_unpinned();
        let pin = admin.pin.take();
        drop(admin);
        drop(pin);
        self.record(&Entry {
            uid: task::current().euid(),
            op: Some(Op::Unload),
            ..Entry::new(Kind::Unpinned)
        });
        Ok(Outcome::Done(()))
    }
}
