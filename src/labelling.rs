// SPDX-License-Identifier: GPL-2.0

//! How a task gets its label: by its own wish, by executing a program that policy names, or by
//! being a child.

use crate::{
    abi::{
        binprm::Binprm,
        path::{
            FileExt,
            FileKind, //
        },
        socket::Socket,
        task, //
    },
    agent::NewAgent,
    check::{
        Actor,
        Ruling, //
    },
    counter::Counter,
    engine::{
        event::{
            Kind,
            Payload, //
        },
        op::Op,
        refusal::Refusal, //
    },
    hooks::file,
    ledger::{
        encoded,
        Entry, //
    },
    name::Name,
    node::{
        Node,
        Phase, //
    },
    object::Object,
    query::{
        Context,
        Query, //
    }, //
};
use core::ops::ControlFlow;
use kernel::{
    fs::File,
    prelude::*,
    sync::aref::ARef, //
};

/// `VM_SHARED` and `VM_MAYWRITE` (`include/linux/mm.h`).
const VM_SHARED: usize = 8;
/// See [`VM_SHARED`].
const VM_MAYWRITE: usize = 0x20;

impl Node {
    /// Labels the calling task as the first one of a new agent, and returns the agent's number.
    ///
    /// # Errors
    ///
    /// [`Refusal::AgentName`], [`Refusal::NoPolicy`], [`Refusal::ClassUnknown`],
    /// [`Refusal::ClassForbidden`], [`Refusal::NotSingleThreaded`], [`Refusal::InheritedFile`],
    /// [`Refusal::AgentLimit`], [`Refusal::NoMemory`]. The task is as it was then.
    pub(crate) fn label_current(
        &self,
        name: &[u8],
        class: &[u8],
        port: u32,
    ) -> Result<u64, Refusal> {
        if matches!(self.phase(), Phase::Locked | Phase::Recovering) {
            return Err(Refusal::StateLocked);
        }
        let name = Name::new(name).ok_or(Refusal::AgentName)?;
        let class = Name::new(class).ok_or(Refusal::ClassUnknown)?;
        let parent = self.current_agent();
        {
            let guard = self.policy.read();
            let policy = guard.get().ok_or(Refusal::NoPolicy)?;
            let wanted = policy
                .rules
                .class(class.as_bytes())
                .ok_or(Refusal::ClassUnknown)?;
            if let Some(parent) = &parent {
                if !policy.rules.may_start(parent.class_in(policy), wanted) {
                    return Err(Refusal::ClassForbidden);
                }
            }
        }
        let current = task::current();
        if !current.is_single_threaded() || current.is_shared() {
            return Err(Refusal::NotSingleThreaded);
        }
        self.enter(name, class, Some(port))
    }

    /// Labels the calling task when policy has a label for the program that it is about to execute.
    ///
    /// A task that carries a label keeps it: the label says under which rules it runs, and it must
    /// not get freer by executing another program.
    ///
    /// Context: process context, sleeps.
    ///
    /// # Errors
    ///
    /// `EACCES` when the label cannot be put on it: then it must not run at all.
    pub(crate) fn label_exec(&self, bprm: &Binprm) -> Result {
        let (name, class) = {
            let guard = self.policy.read();
            let Some(policy) = guard.get() else {
                return Ok(());
            };
            let Some((class, name)) = policy.exec_label(bprm.file().inode_key()) else {
                return Ok(());
            };
            if self.phase() == Phase::Recovering {
                // Nobody has agreed to this policy yet.
                return Err(EACCES);
            }
            let class = policy.rules.class_name(class);
            let names = Name::new(name.as_bytes()).zip(Name::new(class.as_bytes()));
            let Some(names) = names else {
                return Err(EACCES);
            };
            names
        };
        self.enter(name, class, None).map(drop).map_err(|refusal| {
            self.control_refused(refusal, "exec-label");
            EACCES
        })
    }

    /// Makes the calling task the first one of a new agent. `port` is that of the netlink socket by
    /// which the task asks for it, `None` when it is about to execute a program.
    fn enter(&self, name: Name, class: Name, port: Option<u32>) -> Result<u64, Refusal> {
        let _section = self.sleepers.read_lock();
        let current = task::current();
        let parent = self.current_agent();
        let agent = self.agents.add(NewAgent {
            name,
            class,
            parent: parent.as_ref().map(|parent| (parent.id, parent.depth)),
            uid: current.euid(),
            pid: current.tgid(),
        })?;
        let entered = self
            .check_inherited(&Actor::Agent(agent.clone()), port)
            .and_then(|()| match &parent {
                None => self.label(current.key(), &agent),
                // A sub-agent's label takes the place of its parent's.
                Some(_) => self.relabel(current.key(), &agent),
            });
        if let Err(refusal) = entered {
            self.agents.discard(&agent);
            return Err(refusal);
        }
        if let Some(parent) = &parent {
            self.leave(parent);
        }
        self.counters.bump(Counter::Agents);
        let mut payload = [0; 128];
        let about = Payload::Agent {
            parent: agent.parent,
            pid: agent.pid.unsigned_abs(),
            class: agent.class.as_str(),
            name: agent.name.as_str(),
        };
        self.record(&Entry {
            uid: agent.uid,
            agent: agent.id,
            payload: encoded(&about, &mut payload),
            ..Entry::new(Kind::Agent)
        });
        Ok(agent.id)
    }

    /// Looks whether the agent might open what the calling task has open already: a file that was
    /// opened before the label must not be a way round it.
    ///
    /// Regular files, block devices and directories are looked at. Terminals and other character
    /// devices, pipes and sockets are how whoever starts an agent talks to it.
    ///
    /// A generic netlink socket may listen to the events, so none is let through but the one in
    /// use. Memory that is shared with a file is a file, too; executing a program ends it.
    fn check_inherited(&self, actor: &Actor, port: Option<u32>) -> Result<(), Refusal> {
        let current = task::current();
        // Counted, then collected: the table's lock is held meanwhile, so nothing is allocated.
        // The table is not shared, so it stays as it is in between; if it does not, nothing is let
        // through unseen, since what does not fit is a refusal.
        let mut count = 0;
        let stays = |closes: bool| port.is_some() || !closes;
        let _ = current.for_each_open_file(|_, _| {
            count += 1;
            ControlFlow::<()>::Continue(())
        });
        let mut files: KVVec<ARef<File>> =
            KVVec::with_capacity(count, GFP_KERNEL).map_err(|_| Refusal::NoMemory)?;
        let missed = current.for_each_open_file(|file, closes| {
            // What the program does not get it need not be allowed.
            if !stays(closes) {
                return ControlFlow::Continue(());
            }
            match files.push_within_capacity(ARef::from(file)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        });
        if missed.is_some() {
            return Err(Refusal::NotSingleThreaded);
        }
        for file in &files {
            if Socket::from_file(file).is_some_and(|socket| {
                socket.is_generic_netlink() && (port.is_none() || socket.netlink_port() != port)
            }) {
                return Err(Refusal::InheritedFile);
            }
            let looked_at = matches!(
                file.kind(),
                FileKind::Regular | FileKind::Block | FileKind::Directory
            );
            if file.is_path_only() || !looked_at {
                continue;
            }
            for (open, op) in file::needs(file, false) {
                if open {
                    self.check_open(actor, file, op)?;
                }
            }
        }
        if port.is_none() {
            return Ok(());
        }
        let refused = current.for_each_mapping(|file, flags| {
            if flags & VM_SHARED == 0 || file.kind() != FileKind::Regular {
                return ControlFlow::Continue(());
            }
            let op = if flags & VM_MAYWRITE != 0 {
                Op::FileWrite
            } else {
                Op::FileRead
            };
            match self.check_open(actor, file, op) {
                Ok(()) => ControlFlow::Continue(()),
                Err(refusal) => ControlFlow::Break(refusal),
            }
        });
        refused.map_or(Ok(()), Err)
    }

    /// Whether the agent might open `file` for `op`.
    fn check_open(&self, actor: &Actor, file: &File, op: Op) -> Result<(), Refusal> {
        let query = Query {
            quiet: true,
            ..Query::new(op, "agent_label", Context::Sleep).on(Object::At(file.path()))
        };
        match self.rule_on(actor, &query) {
            Ruling::Proceed { .. } => Ok(()),
            _ => Err(Refusal::InheritedFile),
        }
    }
}
