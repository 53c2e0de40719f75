// SPDX-License-Identifier: GPL-2.0

//! The node: all state of the module.
//!
//! # Locks
//!
//! In the order in which they may be taken (`scripts/lock-order` compares it with what lockdep sees):
//!
//! 1. `securityfs::Open::session`, a mutex: one read or write of an open file at a time.
//! 2. [`Node::admin`], a mutex: serialises changes of policy, validators, phase and mode.
//! 3. `Agents::inner`, a mutex: the list of agents ([`crate::agent::Agents`]).
//! 4. [`Node::validators`], a spin lock: the pointer to the current set, no more.
//! 5. [`Node::books`], a spin lock: ledger, docket, quarantine, and what validators have signed.
//! 6. [`Node::kept`], a spin lock: a copy of what `status` shows, no more.
//!
//! Hooks look labels up under RCU and read the policy under SRCU ([`Node::policy`]); those that may
//! sleep are inside a section of [`Node::sleepers`], which unloading waits for.

use crate::{
    abi::{
        atomic::{
            AtomicU64,
            Ordering, //
        },
        clock,
        filter::Cell,
        module,
        published::{
            Published,
            Retired, //
        },
        recall::Recall,
        rhashtable::Table,
        task,
        worker::{
            Work,
            Worker, //
        }, //
    },
    agent::{
        Agent,
        Agents, //
    },
    books::Books,
    check::Actor,
    counter::{
        Counter,
        Counters, //
    },
    docket::Closed,
    engine::{
        anchor::Position,
        clock::NO_HEAD,
        event::{
            Cancelled,
            Kind,
            Payload, //
        },
        governance::Mode,
        op::Op,
        refusal::Refusal, //
    },
    identity::Identity,
    keeper::{
        Keeper,
        Settings,
        View, //
    },
    label::Label,
    ledger::{
        encoded,
        new_clock,
        Entry, //
    },
    limiter::Sender,
    netlink,
    policy::ActivePolicy,
    recovery::{
        Beginning,
        Recovery, //
    },
    staged::Staged,
    validator::ValidatorSet, //
};

use core::ops::{
    Deref,
    DerefMut, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full,
            Relaxed,
            Release, //
        },
        lock::mutex::MutexGuard,
        new_mutex,
        new_spinlock,
        rcu,
        srcu::new_srcu,
        Arc,
        Mutex,
        SpinLock,
        Srcu, //
    }, //
};

/// Labelled tasks at once: more than the kernel's own limit on tasks, 4,194,304.
const LABELS: usize = 1 << 23;

/// What may be changed.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Phase {
    /// Root enrols validators and loads a policy.
    Setup,
    /// Governance needs a quorum.
    Sealed,
    /// Nothing: the node has a past that has to be given back first.
    Locked,
    /// Nothing, until a quorum has decided whether to go on from an older state.
    Recovering,
}

impl Phase {
    /// Name for display.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Sealed => "sealed",
            Self::Locked => "locked",
            Self::Recovering => "recovering",
        }
    }

    /// Number in the netlink specification.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Setup => 1,
            Self::Sealed => 2,
            Self::Locked => 3,
            Self::Recovering => 4,
        }
    }
}

/// Guarded by [`Node::admin`].
pub(crate) struct Admin {
    /// Keeps the module in memory while sealed.
    pub(crate) pin: Option<module::Pin>,
    /// Policies put in force so far.
    pub(crate) generation: u64,
    /// What the TPM holds for this node; `None` while unsealed.
    pub(crate) keeper: Option<Keeper>,
    /// A change that waits to be saved and committed.
    pub(crate) staged: Option<Staged>,
    /// Digest of the state that was committed last in this load, and where that led.
    pub(crate) last_commit: Option<([u8; 32], Position)>,
    /// Why the node is locked or recovering.
    pub(crate) reason: Option<Refusal>,
    /// What a quorum is asked to go on from.
    pub(crate) recovery: Option<Recovery>,
    /// What a recovery has begun with and the TPM has yet to take.
    pub(crate) beginning: Option<Beginning>,
}

/// Leave to change what [`Node::admin`] guards; when it goes, `status` learns what has changed.
pub(crate) struct Governing<'a> {
    node: &'a Node,
    admin: MutexGuard<'a, Admin>,
}

impl Deref for Governing<'_> {
    type Target = Admin;

    fn deref(&self) -> &Admin {
        &self.admin
    }
}

impl DerefMut for Governing<'_> {
    fn deref_mut(&mut self) -> &mut Admin {
        &mut self.admin
    }
}

impl Drop for Governing<'_> {
    fn drop(&mut self) {
        *self.node.kept.lock() = self.admin.view();
    }
}

impl Admin {
    /// What of it everybody may see.
    fn view(&self) -> Option<View> {
        let staged = self.staged.as_ref().map(|staged| staged.position.counter);
        let keeper = self.keeper.as_ref()?;
        Some(keeper.view(staged, self.reason))
    }
}

/// See the [module's documentation](self).
#[pin_data]
pub(crate) struct Node {
    /// Who this node is.
    pub(crate) identity: Identity,
    /// What happened how often.
    pub(crate) counters: Counters,
    /// Number of a [`Phase`]; once sealed it stays so.
    phase: Atomic<u32>,
    /// Number of a [`Mode`].
    mode: Atomic<u32>,
    /// 1 once the module is being unloaded.
    stopping: Atomic<u32>,
    /// 1 while a quorum lets the module be unloaded.
    unpinned: Atomic<u32>,
    /// Operations of tasks without a label that the policy has a rule for.
    host_ops: AtomicU64,
    /// The task that a quorum has just let load a module, 0 when none: see
    /// [`crate::hooks::lockdown`].
    pub(crate) approved_loader: Atomic<usize>,
    /// What agents were allowed just now.
    pub(crate) recall: Arc<Recall>,
    /// Labels, by task.
    #[pin]
    labels: Table<Label>,
    /// Agents alive.
    #[pin]
    pub(crate) agents: Agents,
    /// The running policy.
    #[pin]
    pub(crate) policy: Published<ActivePolicy>,
    /// Sections in which a hook may sleep.
    #[pin]
    pub(crate) sleepers: Srcu,
    /// Serialises changes.
    #[pin]
    admin: Mutex<Admin>,
    /// What `status` shows of that without waiting for a TPM; `None` while unsealed.
    #[pin]
    kept: SpinLock<Option<View>>,
    /// Who is enrolled.
    #[pin]
    validators: SpinLock<Arc<ValidatorSet>>,
    /// Ledger, docket, quarantine, and what validators have signed.
    #[pin]
    pub(crate) books: SpinLock<Books>,
    /// Sends events, ends agents, closes what has expired.
    #[pin]
    worker: Worker<Node>,
}

impl Node {
    /// A node that enforces, with nobody enrolled and no policy: in setup, or locked when the TPM
    /// says that it has a past.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let found = Keeper::find(Settings::new()?).map_err(|refusal| {
            pr_err!("not loaded: {refusal}\n");
            Error::from_errno(-refusal.errno())
        })?;
        let (mut keeper, reason) = match found {
            Some((keeper, reason)) => (Some(keeper), reason),
            None => (None, None),
        };
        let identity = match &mut keeper {
            Some(keeper) => {
                // An epoch begins when it is known what the load goes on from.
                let epoch = reason.map_or(keeper.counter(), |_| 0);
                Identity::sealed(keeper.node, epoch, keeper.maker.take())
            }
            None => Identity::unsealed(),
        };
        let phase = match reason {
            Some(_) => Phase::Locked,
            None => Phase::Setup,
        };
        let books = Books::new(&identity.node)?;
        let clock = new_clock()?;
        let validators = ValidatorSet::empty()?;
        let node = Arc::pin_init(
            try_pin_init!(Self {
                identity,
                counters: Counters::new(),
                phase: Atomic::new(phase.number()),
                mode: Atomic::new(Mode::Enforce as u32),
                stopping: Atomic::new(0),
                unpinned: Atomic::new(0),
                host_ops: AtomicU64::new(0),
                approved_loader: Atomic::new(0),
                recall: Arc::new(Recall::new()?, GFP_KERNEL)?,
                labels <- Table::new(LABELS),
                agents <- Agents::new(),
                policy <- Published::new(),
                sleepers <- new_srcu!("Node::sleepers"),
                admin <- new_mutex!(Admin {
                    pin: None,
                    generation: 0,
                    keeper,
                    staged: None,
                    last_commit: None,
                    reason,
                    recovery: None,
                    beginning: None,
                }, "Node::admin"),
                kept <- new_spinlock!(None, "Node::kept"),
                validators <- new_spinlock!(validators, "Node::validators"),
                books <- new_spinlock!(books, "Node::books"),
                worker <- Worker::new(),
            }? Error),
            GFP_KERNEL,
        )?;
        node.worker.arm(node.clone());
        // What was found is what `status` shows first.
        drop(node.govern());
        match reason {
            Some(reason) => pr_warn!("locked: {reason}\n"),
            None => {
                let mut books = node.books.lock();
                let epoch = node.identity.epoch();
                books
                    .ledger
                    .begin(&node.identity.node, epoch, &NO_HEAD, &clock);
                node.loaded(&mut books);
            }
        }
        node.recorded();
        Ok(node)
    }

    /// Takes the lock under which policy, validators, phase, mode and state change.
    ///
    /// Context: process context; sleeps, as long as the TPM takes.
    pub(crate) fn govern(&self) -> Governing<'_> {
        Governing {
            node: self,
            admin: self.admin.lock(),
        }
    }

    /// What the TPM keeps for this node, as it was when the last change ended.
    pub(crate) fn kept(&self) -> Option<View> {
        *self.kept.lock()
    }

    /// Calls `f` with what is staged.
    ///
    /// Context: as [`Node::govern`].
    pub(crate) fn with_staged<R>(&self, f: impl FnOnce(Option<&Staged>) -> R) -> R {
        f(self.admin.lock().staged.as_ref())
    }

    /// What may be changed now.
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Acquire) {
            1 => Phase::Setup,
            2 => Phase::Sealed,
            4 => Phase::Recovering,
            _ => Phase::Locked,
        }
    }

    /// Changes the phase. The caller holds [`Node::admin`].
    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase.number(), Release);
    }

    /// Whether refusals are enforced.
    pub(crate) fn mode(&self) -> Mode {
        match self.mode.load(Relaxed) {
            mode if mode == Mode::Permissive as u32 => Mode::Permissive,
            _ => Mode::Enforce,
        }
    }

    /// Changes the mode.
    pub(crate) fn set_mode(&self, mode: Mode) {
        self.mode.store(mode as u32, Relaxed);
    }

    /// Whether a quorum lets the module be unloaded.
    pub(crate) fn is_unpinned(&self) -> bool {
        self.unpinned.load(Acquire) != 0
    }

    /// Lets the module be unloaded.
    pub(crate) fn set_unpinned(&self) {
        self.unpinned.store(1, Release);
    }

    /// Whether the module is being unloaded.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire) != 0
    }

    /// Refuses new commands and wakes whoever waits for a decision. First step of unloading.
    pub(crate) fn stop(&self) {
        self.stopping.store(1, Release);
        self.books.lock().docket.wake_all();
    }

    /// Ends the work in the background. Last step of unloading: nothing asks for more by then.
    pub(crate) fn finish(&self) {
        self.worker.stop();
    }

    /// Who is enrolled.
    pub(crate) fn validators(&self) -> Arc<ValidatorSet> {
        self.validators.lock().clone()
    }

    /// Changes who is enrolled. The caller holds [`Node::admin`].
    pub(crate) fn set_validators(&self, set: Arc<ValidatorSet>) {
        let old = core::mem::replace(&mut *self.validators.lock(), set);
        drop(old);
    }

    /// Says which operations of tasks without a label are governed.
    pub(crate) fn set_host_ops(&self, ops: u64) {
        self.host_ops.store(ops, Ordering::Release);
    }

    /// Which operations of tasks without a label are governed.
    pub(crate) fn host_ops(&self) -> u64 {
        self.host_ops.load(Ordering::Relaxed)
    }

    /// Number of labelled tasks.
    pub(crate) fn tasks(&self) -> usize {
        self.labels.len()
    }

    /// What there is now, by name.
    pub(crate) fn gauges(&self) -> [(&'static str, u64); 4] {
        let (requests, grants) = {
            let books = self.books.lock();
            (books.docket.open_len(), books.docket.grants_len())
        };
        [
            ("agents", self.agents.len() as u64),
            ("tasks", self.tasks() as u64),
            ("requests_open", requests as u64),
            ("grants", grants as u64),
        ]
    }

    /// Whose task the calling one is.
    #[inline]
    pub(crate) fn current_agent(&self) -> Option<Arc<Agent>> {
        self.agent_of(task::current().key())
    }

    /// Whose task that one is.
    #[inline]
    pub(crate) fn agent_of(&self, key: usize) -> Option<Arc<Agent>> {
        if !self.may_be_labelled(key) {
            return None;
        }
        let guard = rcu::read_lock();
        self.label_of(key, &guard).map(|label| label.agent.clone())
    }

    /// The label of that task.
    #[inline]
    pub(crate) fn label_of<'g>(&'g self, key: usize, guard: &'g rcu::Guard) -> Option<&'g Label> {
        self.labels.get(key, guard)
    }

    /// Whether that task may carry a label: `false` is certain for whoever knows that the task lives,
    /// because a task is labelled by itself or before it runs.
    #[inline]
    pub(crate) fn may_be_labelled(&self, key: usize) -> bool {
        self.labels.may_have(key)
    }

    /// Where that task leads among those that may be labelled.
    #[inline]
    pub(crate) fn label_cell(&self, current: task::Current) -> &Cell {
        self.labels.filter().cell(current.key())
    }

    /// Publishes a policy. The caller holds [`Node::admin`].
    pub(crate) fn publish(&self, policy: KBox<ActivePolicy>) -> Retired<'_, ActivePolicy> {
        let retired = self.policy.publish(policy);
        self.recall.forget();
        retired
    }

    /// Whether the calling task carries a label.
    #[inline]
    pub(crate) fn is_labelled(&self) -> bool {
        let key = task::current().key();
        self.may_be_labelled(key) && self.labels.get(key, &rcu::read_lock()).is_some()
    }

    /// Calls `f` with the calling task's label, if it has one.
    pub(crate) fn with_current_label<R>(&self, f: impl FnOnce(&Label) -> R) -> Option<R> {
        let guard = rcu::read_lock();
        self.labels.get(task::current().key(), &guard).map(f)
    }

    /// Who asks for one of `ops`; `None` when that is a task whose operations of that kind nothing
    /// governs.
    #[inline]
    pub(crate) fn actor(&self, ops: u64) -> Option<Actor> {
        match self.current_agent() {
            Some(agent) => Some(Actor::Agent(agent)),
            None if self.host_ops.load(Ordering::Relaxed) & ops != 0
                && task::current().is_user() =>
            {
                Some(Actor::Host)
            }
            None => None,
        }
    }

    /// The same for one operation.
    #[inline]
    pub(crate) fn actor_for(&self, op: Op) -> Option<Actor> {
        self.actor(op.bit())
    }

    /// Puts `agent`'s label on the task `key`.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMemory`], [`Refusal::AgentLimit`]; [`Refusal::Labelled`] when it has one.
    pub(crate) fn label(&self, key: usize, agent: &Arc<Agent>) -> Result<(), Refusal> {
        self.labels
            .insert(key, agent.number(), Label::new(agent.clone()), GFP_KERNEL)
            .map_err(|error| match error {
                EEXIST => Refusal::Labelled,
                ENOSPC => Refusal::AgentLimit,
                _ => Refusal::NoMemory,
            })
    }

    /// Replaces the label of the calling task, which has one, by one of `agent`'s.
    ///
    /// Nobody but the task itself changes its label while it lives, and it is here: between the
    /// two steps nothing of it runs.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMemory`], and then the task has its old label.
    pub(crate) fn relabel(&self, key: usize, agent: &Arc<Agent>) -> Result<(), Refusal> {
        self.labels
            .replace(key, agent.number(), Label::new(agent.clone()), GFP_KERNEL)
            .map_err(|_| Refusal::NoMemory)
    }

    /// Makes a child inherit the calling task's label.
    pub(crate) fn inherit(&self, child: usize) -> Result {
        let Some(agent) = self.current_agent() else {
            return Ok(());
        };
        let _section = self.sleepers.read_lock();
        agent.add_task();
        self.label(child, &agent).map_err(|_| {
            self.counters.bump(Counter::LabelsFailed);
            self.leave(&agent);
            ENOMEM
        })
    }

    /// Frees the label of a task that is gone.
    ///
    /// Context: any, soft interrupts included.
    #[inline]
    pub(crate) fn unlabel(&self, key: usize) {
        if self.approved_loader.load(Relaxed) == key {
            // The next task at this address has been approved nothing.
            let _ = self.approved_loader.cmpxchg(key, 0, Full);
        }
        if !self.may_be_labelled(key) {
            return;
        }
        let guard = rcu::read_lock();
        let Some(label) = self.labels.get(key, &guard) else {
            return;
        };
        if self.labels.remove(key) {
            self.leave(&label.agent);
        }
    }

    /// Counts one task of `agent` less.
    pub(crate) fn leave(&self, agent: &Agent) {
        if agent.drop_task() {
            self.worker.kick();
        }
    }

    /// Records an event.
    pub(crate) fn record(&self, entry: &Entry<'_>) -> u64 {
        let number = self.books.lock().ledger.append(entry);
        self.recorded();
        number
    }

    /// Has events sent that were recorded under the lock.
    pub(crate) fn recorded(&self) {
        self.worker.kick();
    }

    /// Whether one more event of `sender` may be recorded; counts it otherwise.
    pub(crate) fn may_record(&self, sender: Sender) -> bool {
        let may = self
            .books
            .lock()
            .ledger
            .limiter
            .take(sender, clock::boottime_ms());
        if !may {
            self.counters.bump(Counter::EventsSuppressed);
        }
        may
    }

    /// Records that the control interface was refused to the calling task.
    pub(crate) fn control_refused(&self, refusal: Refusal, tried: &str) {
        self.counters.bump(Counter::ControlRefused);
        let uid = task::current().euid();
        let agent = self.current_agent().map_or(0, |agent| agent.id);
        if !self.may_record(Sender::of(agent, uid)) {
            return;
        }
        let mut payload = [0; 256];
        self.record(&Entry {
            uid,
            agent,
            result: refusal.code(),
            payload: encoded(&Payload::Tried(tried), &mut payload),
            ..Entry::new(Kind::ControlRefused)
        });
    }

    /// Counts requests that were closed under the lock, and has their events sent.
    pub(crate) fn closed(&self, closed: &Closed) {
        let counts = [
            (closed.denied, Counter::Denied),
            (closed.expired, Counter::Expired),
            (closed.cancelled, Counter::Cancelled),
        ];
        for (count, counter) in counts {
            for _ in 0..count {
                self.counters.bump(counter);
            }
        }
        if counts.iter().any(|(count, _)| *count > 0) {
            self.recorded();
        }
    }

    /// Has the work done again when something expires.
    pub(crate) fn plan(&self, next_ms: u64) {
        let left = next_ms.saturating_sub(clock::boottime_ms());
        if next_ms != u64::MAX {
            self.worker
                .plan(u32::try_from(left).unwrap_or(u32::MAX).saturating_add(1));
        }
    }

    /// Claims, once, the leave that a quorum gave the calling task to load a module.
    pub(crate) fn take_approved_loader(&self) -> bool {
        self.approved_loader
            .cmpxchg(task::current().key(), 0, Full)
            .is_ok()
    }
}

impl Work for Node {
    /// Ends agents that have no tasks, closes what has expired, records the alerts that are due, and
    /// sends the events.
    fn work(&self) {
        self.agents.reap(|agent| {
            let mut books = self.books.lock();
            let books = &mut *books;
            let mut closed = Closed::default();
            books.docket.cancel_all(
                &mut books.ledger,
                Cancelled::AgentEnded,
                &mut closed,
                |request| request.agent == agent.id,
            );
            books.ledger.append(&Entry {
                agent: agent.id,
                uid: agent.uid,
                ..Entry::new(Kind::AgentEnded)
            });
        });
        let (closed, next) = {
            let mut books = self.books.lock();
            let closed = books.expire(clock::boottime_ms());
            books.ledger.catch_up();
            (closed, books.next_ms())
        };
        self.closed(&closed);
        netlink::send_events(self);
        self.plan(next);
    }
}
