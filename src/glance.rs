// SPDX-License-Identifier: GPL-2.0

//! The short way to a decision, which most operations take.
//!
//! It is open to what no rule governs, and to what the rules let an agent do without more ado. It takes
//! no reference and no lock, allocates and records nothing, and never sleeps. What it has allowed it
//! remembers, see [`crate::abi::recall`]. For any other answer the hook asks [`Node::check`], which judges
//! from the start.

use crate::{
    abi::{
        filter::Cell,
        path::Path,
        place::Place,
        recall::{
            Act,
            Leave, //
        },
        task,
        trace, //
    },
    agent::Agent,
    check::action_number,
    counter::Counter,
    engine::{
        address::Address,
        op::Op,
        policy::{
            Action,
            Subject, //
        }, //
    },
    node::Node,
    object::Object,
    policy::ActivePolicy, //
};
use core::num::NonZeroU32;
use kernel::sync::rcu;

/// An address and a port.
type Peer = (Address, u16);

impl Node {
    /// Whether something may govern one of `ops` of the calling task, which leads to `label`. This is all
    /// that a task without a label pays.
    #[inline]
    pub(crate) fn may_govern(&self, label: &Cell, ops: u64) -> bool {
        label.is_taken() || self.host_ops() & ops != 0
    }

    /// Whether an operation on these objects may proceed, as far as that can be told at a glance. What
    /// may not is to be judged by [`Node::check`].
    ///
    /// Context: process context.
    #[inline]
    pub(crate) fn passes(&self, op: Op, objects: &[Object<'_>], address: Option<Peer>) -> bool {
        !self.may_govern(self.label_cell(task::current()), op.bit())
            || self.glance(op, objects, address)
    }

    /// As [`Node::passes`], for a task that [`Node::may_govern`] is true of.
    #[inline]
    pub(crate) fn glance(&self, op: Op, objects: &[Object<'_>], address: Option<Peer>) -> bool {
        let recalled = match (objects, address) {
            ([object], None) => object
                .path()
                .is_some_and(|path| self.recalls(self.label_cell(task::current()), op, path)),
            (_, None) => self.recalls_all(op, objects),
            _ => false,
        };
        recalled || self.look(op, objects, address)
    }

    /// Whether it is remembered that the calling task may do this on all of `objects`, by one policy.
    fn recalls_all(&self, op: Op, objects: &[Object<'_>]) -> bool {
        let current = task::current();
        let Some(agent) = self.label_cell(current).number_of(current.key()) else {
            return false;
        };
        let guard = rcu::read_lock();
        let Some(policy) = self.policy.peek(&guard) else {
            return false;
        };
        let mut line = 0;
        let mut before: Option<&Path> = None;
        for object in objects {
            let Some(path) = object.path() else {
                return false;
            };
            if policy.names(path.dentry().inode_key()) {
                return false;
            }
            // A rename has both directories locked: entries of one stay beside each other.
            if op == Op::FileRename && before.is_some_and(|before| before.is_beside(path)) {
                continue;
            }
            before = Some(path);
            let generation = policy.short_generation();
            match self.recall.line_of(agent, op as u32, path, generation) {
                Some(by) if line == 0 => line = by,
                Some(_) => {}
                None => return false,
            }
        }
        self.count_allowed(op, line);
        true
    }

    /// Whether it is remembered that the calling task, which leads to `label`, may do this at `path`.
    ///
    /// Context: process context.
    #[inline]
    pub(crate) fn recalls(&self, label: &Cell, op: Op, path: &Path) -> bool {
        let Some(line) = self.recall.line(label, op as u32, path) else {
            return false;
        };
        self.count_allowed(op, line);
        true
    }

    /// As [`Node::glance`], for what is not all remembered.
    #[inline(never)]
    fn look(&self, op: Op, objects: &[Object<'_>], address: Option<Peer>) -> bool {
        let epoch = self.recall.epoch();
        let guard = rcu::read_lock();
        let current = task::current();
        let Some(label) = self.label_of(current.key(), &guard) else {
            return self.host_ops() & op.bit() == 0 || !current.is_user();
        };
        let Some(policy) = self.policy.peek(&guard) else {
            return false;
        };
        let asking = Asking {
            op,
            uid: current.euid(),
            epoch,
            agent: &label.agent,
            policy,
        };
        let mut line = 0;
        for object in objects {
            match self.allowed_by(&asking, object, address, &guard) {
                Some(by) if line == 0 => line = by,
                Some(_) => {}
                None => return false,
            }
        }
        self.count_allowed(op, line);
        true
    }

    /// Counts and traces an operation that the rule in `line` allows.
    #[inline]
    fn count_allowed(&self, op: Op, line: u32) {
        self.counters.bump(Counter::Decisions);
        self.counters.bump(Counter::Allowed);
        let action = action_number(&Action::Allow);
        let agent = || self.with_current_label(|label| label.agent.id).unwrap_or(0);
        trace::decision(op as u32, action, agent, line, 0);
    }

    /// The line of the rule that allows the operation on `object`, 0 for a default; `None` when it is
    /// not simply allowed.
    #[inline]
    fn allowed_by(
        &self,
        asking: &Asking<'_>,
        object: &Object<'_>,
        address: Option<Peer>,
        guard: &rcu::Guard,
    ) -> Option<u32> {
        // What depends on an address is not remembered.
        let path = object.path().filter(|_| address.is_none());
        let Some(path) = path else {
            return asking.judge(object, address, guard);
        };
        let generation = asking.policy.short_generation();
        asking
            .number()
            .filter(|_| !asking.is_named(path))
            .and_then(|agent| {
                self.recall
                    .line_of(agent, asking.op as u32, path, generation)
            })
            .or_else(|| self.find_out(asking, object, path, guard))
    }

    /// As [`Node::allowed_by`], of an object at `path` when it is not remembered. Remembers it, unless a rule
    /// names what is there.
    #[inline(never)]
    fn find_out(
        &self,
        asking: &Asking<'_>,
        object: &Object<'_>,
        path: &Path,
        guard: &rcu::Guard,
    ) -> Option<u32> {
        let directory = path.directory();
        let before = Place::of(path);
        let line = asking.judge(object, None, guard)?;
        // What changes meanwhile may have been overlooked.
        if let Some(place) = before.filter(|before| Place::of(path).as_ref() == Some(before)) {
            if let Some(act) = asking.act().filter(|_| !asking.is_named(path)) {
                let leave = Leave {
                    line,
                    generation: asking.policy.short_generation(),
                };
                self.recall.remember(&act, directory, &place, leave);
            }
        }
        Some(line)
    }
}

/// Who asks for what.
struct Asking<'a> {
    op: Op,
    /// The task's effective user.
    uid: u32,
    /// From [`Recall::epoch`](crate::abi::recall::Recall::epoch), before the policy was looked at.
    epoch: u64,
    agent: &'a Agent,
    policy: &'a ActivePolicy,
}

impl Asking<'_> {
    /// The agent's number, if it has one.
    #[inline]
    fn number(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.agent.number())
    }

    /// What may be remembered of it.
    fn act(&self) -> Option<Act> {
        Some(Act {
            op: self.op as u32,
            agent: self.number()?,
            uid: self.uid,
            epoch: self.epoch,
        })
    }

    /// Whether a rule names what is at `path` itself, and not only what it is below.
    #[inline]
    fn is_named(&self, path: &Path) -> bool {
        self.policy.names(path.dentry().inode_key())
    }

    /// The line of the rule that allows it; `None` when it is not simply allowed.
    fn judge(&self, object: &Object<'_>, address: Option<Peer>, guard: &rcu::Guard) -> Option<u32> {
        let subject = Subject {
            class: Some(self.agent.class_in(self.policy)),
            agent: self.agent.name.as_bytes(),
            uid: self.uid,
        };
        let mut matcher = self.policy.rules.matcher(&subject, self.op);
        self.policy
            .meet(&mut matcher, &subject, self.op, object, address, guard)
            .ok()?;
        if matcher.wants_digest() {
            return None;
        }
        let decision = matcher.decide();
        (decision.action == Action::Allow).then_some(decision.line)
    }
}
