// SPDX-License-Identifier: GPL-2.0

//! PTRACE, KILL and SETUID: what a task does to others, and whom it turns into.

use crate::{
    abi::{
        binprm::Binprm,
        path::FileExt,
        task::{
            self,
            key_of,
            CredentialExt, //
        }, //
    },
    agent::Agent,
    check::Actor,
    engine::{
        op::Op,
        request::{
            Fact,
            FactWriter, //
        }, //
    },
    node::Node,
    object::Object,
    query::{
        Context,
        Query, //
    }, //
};
use kernel::{
    cred::Credential,
    fs::File,
    prelude::*,
    sync::Arc,
    task::Task, //
};

/// `PTRACE_MODE_NOAUDIT` (`include/linux/ptrace.h`): somebody only looks whether he may.
const PTRACE_MODE_NOAUDIT: u32 = 0x04;

/// `F_SETOWN` and `F_SETOWN_EX` (`include/uapi/asm-generic/fcntl.h`).
const F_SETOWN: u32 = 8;
/// See [`F_SETOWN`].
const F_SETOWN_EX: u32 = 15;

/// Whether a task of `actor`'s may do to a task of `target`'s what it likes: both are of one agent.
fn is_own(actor: &Actor, target: Option<&Arc<Agent>>) -> bool {
    match (actor, target) {
        (Actor::Agent(agent), Some(target)) => agent.id == target.id,
        _ => false,
    }
}

/// Judges something done to another task.
fn judge(
    node: &Node,
    op: Op,
    other: &Task,
    command: Option<u32>,
    quiet: bool,
    hook: &'static str,
) -> Result {
    let Some(actor) = node.actor_for(op) else {
        return Ok(());
    };
    let target = node.agent_of(key_of(other));
    if is_own(&actor, target.as_ref()) {
        return Ok(());
    }
    // A task without a label is governed only by `class=host` rules, and then only towards agents'
    // tasks it is the host's own business.
    let comm = task::comm_of(other);
    let comm = comm.split(|byte| *byte == 0).next().unwrap_or(&[]);
    let facts = |facts: &mut FactWriter<'_>| {
        if let Some(command) = command {
            facts.fact(&Fact::Command(command))?;
        }
        facts.fact(&Fact::Task {
            pid: other.pid().unsigned_abs(),
            agent: target.as_ref().map_or(0, |target| target.id),
            comm,
        })
    };
    node.check(
        &actor,
        &Query {
            quiet,
            ..Query::new(op, hook, Context::Atomic).facts(&facts)
        },
    )
}

/// The calling task wants to look into or to control another one: ptrace, `/proc/PID/mem`,
/// `process_vm_readv`, `pidfd_getfd`.
pub(crate) fn ptrace_access_check(node: &Node, child: &Task, mode: u32) -> Result {
    judge(
        node,
        Op::Ptrace,
        child,
        Some(mode),
        mode & PTRACE_MODE_NOAUDIT != 0,
        "ptrace_access_check",
    )
}

/// The calling task asks its parent to trace it.
pub(crate) fn ptrace_traceme(node: &Node, parent: &Task) -> Result {
    judge(node, Op::Ptrace, parent, None, false, "ptrace_traceme")
}

/// The calling task sends a signal.
///
/// Context: RCU.
pub(crate) fn kill(node: &Node, target: &Task, sig: i32, from_kernel: bool) -> Result {
    if from_kernel || sig == 0 {
        return Ok(());
    }
    judge(
        node,
        Op::Kill,
        target,
        Some(sig.unsigned_abs()),
        false,
        "task_kill",
    )
}

/// The calling task names the receiver of a file's signals. The kernel sends them later, from
/// wherever the file becomes ready, so the naming is judged as the sending.
pub(crate) fn file_fcntl(node: &Node, cmd: u32, arg: usize) -> Result {
    if cmd != F_SETOWN && cmd != F_SETOWN_EX {
        return Ok(());
    }
    let Some(actor) = node.actor_for(Op::Kill) else {
        return Ok(());
    };
    // The lower half is a `pid_t`.
    let to = arg as i32;
    // To itself it may send anything; a group may have others in it.
    if cmd == F_SETOWN && (to == 0 || task::current().is_process(to)) {
        return Ok(());
    }
    let facts = |facts: &mut FactWriter<'_>| facts.fact(&Fact::Command(cmd));
    node.check(
        &actor,
        &Query::new(Op::Kill, "file_fcntl", Context::Sleep).facts(&facts),
    )
}

/// The calling task changes its user or group.
pub(crate) fn fix_ids(
    node: &Node,
    new: &Credential,
    old: &Credential,
    hook: &'static str,
) -> Result {
    let ids = |cred: &Credential| {
        [
            cred.uid_val(),
            cred.euid_val(),
            cred.fsuid_val(),
            cred.gid_val(),
            cred.egid_val(),
        ]
    };
    if ids(new) == ids(old) {
        return Ok(());
    }
    setuid(node, new, Object::None, hook)
}

/// The calling task changes its supplementary groups.
pub(crate) fn fix_groups(node: &Node, new: &Credential) -> Result {
    setuid(node, new, Object::None, "task_fix_setgroups")
}

/// A program changes the user, the group, or adds capabilities.
pub(crate) fn creds_from_file(node: &Node, bprm: &Binprm, file: &File) -> Result {
    let new = bprm.cred();
    let gains = task::with_current_cred(|old| {
        new.euid_val() != old.euid_val()
            || new.egid_val() != old.egid_val()
            || new.gains_capabilities(old)
    });
    if !gains {
        return Ok(());
    }
    setuid(node, new, Object::At(file.path()), "bprm_creds_from_file")
}

fn setuid(node: &Node, new: &Credential, object: Object<'_>, hook: &'static str) -> Result {
    let Some(actor) = node.actor_for(Op::Setuid) else {
        return Ok(());
    };
    let facts = |facts: &mut FactWriter<'_>| {
        facts.fact(&Fact::Owner {
            uid: new.euid_val(),
            gid: new.egid_val(),
        })
    };
    node.check(
        &actor,
        &Query::new(Op::Setuid, hook, Context::Sleep)
            .on(object)
            .facts(&facts),
    )
}
