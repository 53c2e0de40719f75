// SPDX-License-Identifier: GPL-2.0

//! Recovery: how a node goes on whose last state is lost, from an older one by quorum, or anew.
//!
//! See "Recovery" in `Documentation/sealed-state.rst`.

use crate::{
    abi::{
        sha256,
        task, //
    },
    engine::{
        anchor::{
            self,
            Position,
            Standing,
            Start,
            UNWRITTEN, //
        },
        clock::NO_HEAD,
        event::{
            Kind,
            Payload,
            MAX_STAGED, //
        },
        governance::Detail,
        op::Op,
        refusal::Refusal,
        state::State, //
    },
    govern::{
        Leave,
        Outcome, //
    },
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
    policy::PolicyError,
    restore::authenticate,
    staged::Change, //
};
use kernel::prelude::*;

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

impl Node {
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
        // For other PCRs than the state's the key is sealed anew. The TPM may refuse, and the quorum's leave is for once.
        let keeper = admin.keeper.as_mut().ok_or(Refusal::StateUnsealed)?;
        keeper.key()?;
        let detail = Detail::Recover {
            reason: recovery.reason.code(),
            state: recovery.state,
            found: recovery.counter,
        };
        if let Leave::Pending(id) = self.leave_for_detail(&detail, Some(bytes))? {
            return Ok(Outcome::Pending(id));
        }
        let change = Change::Recover(recovery, self.pinned()?);
        Ok(self.outcome(admin, change, ())?)
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
        let restored = self.prepare(&state, Standing::Outdated, None, admin.generation + 1)?;
        let (counter, anchor) = (keeper.counter(), keeper.anchor().unwrap_or(UNWRITTEN));
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
        if admin.keeper.is_none() {
            return Err(Refusal::StateUnsealed);
        }
        match self.phase() {
            Phase::Locked => {}
            Phase::Setup => return Ok(()),
            _ => return Err(Refusal::NotInSetup),
        }
        self.drop_stale(admin)?;
        let keeper = admin.keeper.as_mut().ok_or(Refusal::StateUnsealed)?;
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
            anchor: keeper.anchor().unwrap_or(UNWRITTEN),
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
