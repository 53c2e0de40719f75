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
        limits,
        op::Op,
        request::{
            Fact,
            FactWriter, //
        },
        wire, //
    },
    node::Node,
    object::Object,
    query::{
        Context,
        Query, //
    }, //
};
use core::fmt::{
    self,
    Write, //
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

/// `FIOSETOWN` and `SIOCSPGRP` (`include/uapi/asm-generic/sockios.h`).
const FIOSETOWN: u32 = 0x8901;
/// See [`FIOSETOWN`].
const SIOCSPGRP: u32 = 0x8902;

/// `TIOCSTI` and `TIOCLINUX` (`include/uapi/asm-generic/ioctls.h`).
const TIOCSTI: u32 = 0x5412;
/// See [`TIOCSTI`].
const TIOCLINUX: u32 = 0x541c;

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
    // A device may report completion from an interrupt: nobody's operation.
    if from_kernel || sig == 0 || !task::in_task() {
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

/// The calling task limits another one: the limit on processor time makes the kernel send signals.
///
/// Context: a spin lock of the target is held.
pub(crate) fn setrlimit(node: &Node, target: &Task, resource: u32) -> Result {
    if target.tgid() == task::current().tgid() {
        return Ok(());
    }
    judge(
        node,
        Op::Kill,
        target,
        Some(resource),
        false,
        "task_setrlimit",
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
    let facts = |facts: &mut FactWriter<'_>| {
        facts.fact(&Fact::Flags(arg as u64))?;
        facts.fact(&Fact::Command(cmd))
    };
    let query = Query {
        // F_SETOWN_EX passes a pointer.
        opaque: cmd == F_SETOWN_EX,
        ..Query::new(Op::Kill, "file_fcntl", Context::Sleep).facts(&facts)
    };
    node.check(&actor, &query)
}

/// The same by `ioctl`, which passes a pointer; and characters put into a terminal, as if somebody
/// had typed them: an interrupt, or a command for the shell that started the agent.
#[inline]
pub(crate) fn file_ioctl(node: &Node, cmd: u32, _arg: usize) -> Result {
    if !matches!(cmd, FIOSETOWN | SIOCSPGRP | TIOCSTI | TIOCLINUX) {
        return Ok(());
    }
    let Some(actor) = node.actor_for(Op::Kill) else {
        return Ok(());
    };
    let query = Query {
        opaque: true,
        ..Query::new(Op::Kill, "file_ioctl", Context::Sleep)
    };
    node.check(&actor, &query)
}

/// All user and group ids: real, effective, saved, and for access to files.
fn ids(cred: &Credential) -> [[u32; 4]; 2] {
    [
        [
            cred.uid_val(),
            cred.euid_val(),
            cred.suid_val(),
            cred.fsuid_val(),
        ],
        [
            cred.gid_val(),
            cred.egid_val(),
            cred.sgid_val(),
            cred.fsgid_val(),
        ],
    ]
}

/// Writes all ids, as approvers are to see them, and returns the length; `None` when they do not
/// fit: what cannot be shown cannot be approved.
fn write_ids(cred: &Credential, out: &mut [u8; limits::FACT_STRING]) -> Option<usize> {
    let mut text = Line { out, len: 0 };
    let [[ruid, euid, suid, fsuid], [rgid, egid, sgid, fsgid]] = ids(cred);
    write!(
        text,
        "uid={ruid},{euid},{suid},{fsuid} gid={rgid},{egid},{sgid},{fsgid} groups="
    )
    .ok()?;
    let mut result = Ok(());
    let mut first = true;
    cred.for_each_group(|group| {
        if result.is_ok() {
            let comma = if first { "" } else { "," };
            result = write!(text, "{comma}{group}");
            first = false;
        }
    });
    result.ok()?;
    Some(text.len)
}

/// A line of text in a buffer that does not grow.
struct Line<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len.checked_add(text.len()).ok_or(fmt::Error)?;
        self.out
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// The calling task changes its user or group.
pub(crate) fn fix_ids(
    node: &Node,
    new: &Credential,
    old: &Credential,
    hook: &'static str,
) -> Result {
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
        let full = wire::Error::Field("groups");
        let mut text = KBox::new([0; limits::FACT_STRING], GFP_KERNEL).map_err(|_| full)?;
        let len = write_ids(new, &mut text).ok_or(full)?;
        facts.fact(&Fact::Name(text.get(..len).ok_or(full)?))
    };
    node.check(
        &actor,
        &Query::new(Op::Setuid, hook, Context::Sleep)
            .on(object)
            .facts(&facts),
    )
}
