// SPDX-License-Identifier: GPL-2.0

//! Agents: labelled process trees.

use crate::{
    abi::atomic::{
        AtomicU64,
        Ordering, //
    },
    engine::{
        limits,
        policy::ClassId,
        refusal::Refusal, //
    },
    name::Name,
    policy::ActivePolicy, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Full,
            Relaxed, //
        },
        new_mutex,
        Arc,
        Mutex, //
    }, //
};

/// One agent. It lives as long as a task carries its label.
pub(crate) struct Agent {
    /// Number, from 1, never given twice in one load of the module.
    pub(crate) id: u64,
    /// Name that rules may select.
    pub(crate) name: Name,
    /// Class that rules select.
    pub(crate) class: Name,
    /// Agent that started this one; 0 for a task without a label.
    pub(crate) parent: u64,
    /// Agents above this one.
    pub(crate) depth: u32,
    /// Effective user, initial user namespace, when it was labelled.
    pub(crate) uid: u32,
    /// First process, initial pid namespace.
    pub(crate) pid: i32,
    /// Labelled tasks alive.
    tasks: Atomic<u64>,
    /// Operations refused.
    pub(crate) refused: Atomic<u64>,
    /// Where the running policy keeps the class: its generation in the upper 48 bits and the id in
    /// the lower 16, so that one load gives both; 0 before the first look-up.
    class_cache: AtomicU64,
}

impl Agent {
    /// [`Agent::id`] where there is room for half of it only, 0 if it does not fit.
    pub(crate) fn number(&self) -> u32 {
        u32::try_from(self.id).unwrap_or(0)
    }

    /// Counts one more task.
    pub(crate) fn add_task(&self) {
        self.tasks.fetch_add(1, Relaxed);
    }

    /// Counts one task less and says whether it was the last.
    pub(crate) fn drop_task(&self) -> bool {
        self.tasks.fetch_sub(1, Full) == 1
    }

    /// Labelled tasks alive.
    pub(crate) fn tasks(&self) -> u64 {
        self.tasks.load(Relaxed)
    }

    /// The class's id in `policy`; [`ClassId::UNKNOWN`] when that policy declares no such class.
    #[inline]
    pub(crate) fn class_in(&self, policy: &ActivePolicy) -> ClassId {
        let cached = self.class_cache.load(Ordering::Relaxed);
        if cached >> 16 == policy.generation {
            return ClassId::new((cached & 0xffff) as usize);
        }
        let class = policy
            .rules
            .class(self.class.as_bytes())
            .unwrap_or(ClassId::UNKNOWN);
        self.class_cache.store(
            policy.generation << 16 | class.index() as u64,
            Ordering::Relaxed,
        );
        class
    }
}

/// What a new agent is to be.
pub(crate) struct NewAgent {
    /// See [`Agent::name`].
    pub(crate) name: Name,
    /// See [`Agent::class`].
    pub(crate) class: Name,
    /// Who starts it: id and depth of the agent.
    pub(crate) parent: Option<(u64, u32)>,
    /// See [`Agent::uid`].
    pub(crate) uid: u32,
    /// See [`Agent::pid`].
    pub(crate) pid: i32,
}

/// The agents alive.
#[pin_data]
pub(crate) struct Agents {
    #[pin]
    inner: Mutex<AgentsInner>,
}

/// Guarded by [`Agents::inner`], which is taken in process context with no other lock of the module
/// held but the administrator's.
struct AgentsInner {
    list: KVVec<Arc<Agent>>,
    last_id: u64,
}

impl Agents {
    /// No agents.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            inner <- new_mutex!(AgentsInner { list: KVVec::new(), last_id: 0 }, "Agents::inner"),
        })
    }

    /// Adds an agent with one task, the caller's to label.
    ///
    /// # Errors
    ///
    /// [`Refusal::AgentLimit`] beyond [`limits::AGENTS`] or [`limits::AGENT_DEPTH`],
    /// [`Refusal::NoMemory`].
    pub(crate) fn add(&self, new: NewAgent) -> Result<Arc<Agent>, Refusal> {
        let (parent, depth) = match new.parent {
            None => (0, 0),
            Some((id, depth)) => (id, depth + 1),
        };
        let mut inner = self.inner.lock();
        if inner.list.len() >= limits::AGENTS || depth as usize >= limits::AGENT_DEPTH {
            return Err(Refusal::AgentLimit);
        }
        let id = inner.last_id + 1;
        let agent = Arc::new(
            Agent {
                id,
                name: new.name,
                class: new.class,
                parent,
                depth,
                uid: new.uid,
                pid: new.pid,
                tasks: Atomic::new(1),
                refused: Atomic::new(0),
                class_cache: AtomicU64::new(0),
            },
            GFP_KERNEL,
        )
        .map_err(|_| Refusal::NoMemory)?;
        inner
            .list
            .push(agent.clone(), GFP_KERNEL)
            .map_err(|_| Refusal::NoMemory)?;
        inner.last_id = id;
        Ok(agent)
    }

    /// Takes back an agent that was added but whose label nobody got.
    pub(crate) fn discard(&self, agent: &Agent) {
        self.inner.lock().list.retain(|other| other.id != agent.id);
    }

    /// Takes out the agents without tasks, calling `ended` for each.
    pub(crate) fn reap(&self, mut ended: impl FnMut(&Agent)) {
        self.inner.lock().list.retain(|agent| {
            let alive = agent.tasks() > 0;
            if !alive {
                ended(agent);
            }
            alive
        });
    }

    /// Number of agents alive.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().list.len()
    }

    /// The first agent alive whose number is at least `id`.
    pub(crate) fn at_or_after(&self, id: u64) -> Option<Arc<Agent>> {
        let inner = self.inner.lock();
        // Numbers ascend in the list: it is appended to and thinned out, never reordered.
        let index = inner.list.partition_point(|agent| agent.id < id);
        inner.list.get(index).cloned()
    }
}
