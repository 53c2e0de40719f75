// SPDX-License-Identifier: GPL-2.0

//! The short way to a decision, which most operations take.
//!
//! It is open to what no rule governs, and to what the rules let an agent do without more ado. It takes
//! no reference and no lock, allocates and records nothing, and never sleeps. What it has allowed it
//! remembers, see [`crate::recall`]. For any other answer the hook asks [`Node::check`], which judges
//! from the start.

use crate::{
    abi::{
        path::Path,
        place::Place,
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
    policy::ActivePolicy,
    recall::Act, //
};
use kernel::sync::rcu;

/// An address and a port.
type Peer = (Address, u16);

impl Node {
    /// Whether something may govern one of `ops` of the calling task. This is all that a task without
    /// a label pays.
    #[inline]
    pub(crate) fn may_govern(&self, ops: u64) -> bool {
        let current = task::current();
        self.may_be_labelled(current.key()) || (self.host_ops() & ops != 0 && current.is_user())
    }

    /// Whether an operation on these objects may proceed, as far as that can be told at a glance. What
    /// may not is to be judged by [`Node::check`].
    ///
    /// Context: process context.
    #[inline]
    pub(crate) fn passes(&self, op: Op, objects: &[Object<'_>], address: Option<Peer>) -> bool {
        !self.may_govern(op.bit()) || self.glance(op, objects, address)
    }

    /// As [`Node::passes`], for a task that [`Node::may_govern`] is true of.
    pub(crate) fn glance(&self, op: Op, objects: &[Object<'_>], address: Option<Peer>) -> bool {
        let guard = rcu::read_lock();
        let current = task::current();
        let Some(label) = self.label_of(current.key(), &guard) else {
            return self.host_ops() & op.bit() == 0 || !current.is_user();
        };
        let Some(policy) = self.policy.peek(&guard) else {
            return false;
        };
        let asking = Asking {
            act: Act {
                op,
                agent: label.agent.id,
                uid: current.euid(),
                generation: policy.generation,
            },
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
        self.counters.bump(Counter::Decisions);
        self.counters.bump(Counter::Allowed);
        let action = action_number(&Action::Allow);
        trace::decision(op as u32, action, asking.act.agent, line, 0);
        true
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
        let path = object
            .path()
            .filter(|path| address.is_none() && !asking.is_named(path));
        let recalled = path.and_then(|path| self.recall.line(&asking.act, path, guard));
        recalled.or_else(|| match path {
            Some(path) => self.find_out(asking, object, path, guard),
            None => asking.judge(object, address, guard),
        })
    }

    /// As [`Node::allowed_by`], when it is not remembered and may be: of an object at `path` that no rule
    /// names, and without an address.
    #[inline(never)]
    fn find_out(
        &self,
        asking: &Asking<'_>,
        object: &Object<'_>,
        path: &Path,
        guard: &rcu::Guard,
    ) -> Option<u32> {
        let before = Place::of(path, guard);
        let line = asking.judge(object, None, guard)?;
        // What changes meanwhile may have been overlooked.
        if let Some(place) = before.filter(|before| Place::of(path, guard).as_ref() == Some(before))
        {
            if !asking.is_named(path) {
                self.recall.remember(&asking.act, &place, line);
            }
        }
        Some(line)
    }
}

/// Who asks for what.
struct Asking<'a> {
    act: Act,
    agent: &'a Agent,
    policy: &'a ActivePolicy,
}

impl Asking<'_> {
    /// Whether a rule names what is at `path` itself, and not only what it is below.
    #[inline]
    fn is_named(&self, path: &Path) -> bool {
        let inode = path.dentry().inode_key();
        self.policy.objects(inode).next().is_some()
    }

    /// The line of the rule that allows it; `None` when it is not simply allowed.
    fn judge(&self, object: &Object<'_>, address: Option<Peer>, guard: &rcu::Guard) -> Option<u32> {
        let subject = Subject {
            class: Some(self.agent.class_in(self.policy)),
            agent: self.agent.name.as_bytes(),
            uid: self.act.uid,
        };
        let mut matcher = self.policy.rules.matcher(&subject, self.act.op);
        self.policy
            .meet(&mut matcher, &subject, self.act.op, object, address, guard)
            .ok()?;
        if matcher.wants_digest() {
            return None;
        }
        let decision = matcher.decide();
        (decision.action == Action::Allow).then_some(decision.line)
    }
}
