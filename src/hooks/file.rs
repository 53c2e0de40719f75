// SPDX-License-Identifier: GPL-2.0

//! FILE_READ and FILE_WRITE: a file is opened, or comes open from another task.

use crate::{
    abi::{
        filter::Cell,
        path::{
            FileExt,
            FileKind,
            Path,
            FMODE_EXEC, //
        },
        socket::Socket,
        task, //
    },
    check::Actor,
    engine::{
        op::Op,
        refusal::Refusal,
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
    fs::{
        file::flags,
        File, //
    },
    prelude::*, //
};

/// Flags of `open` that an approver should see.
const SHOWN: u32 = flags::O_ACCMODE | flags::O_APPEND | flags::O_TRUNC;

/// A file is about to be opened.
///
/// One that is opened to be executed is not judged here: its content goes to nobody before
/// `bprm_check_security` or `mmap_file` has judged it as EXEC or MMAP_EXEC.
#[inline]
pub(crate) fn open(node: &Node, file: &File) -> Result {
    let label = node.label_cell(task::current());
    if node.may_govern(label, Op::FileRead.bit() | Op::FileWrite.bit()) {
        return open_governed(node, file, label);
    }
    Ok(())
}

/// A file is about to be opened by a task that something may govern.
#[inline(never)]
fn open_governed(node: &Node, file: &File, label: &Cell) -> Result {
    let remembered = match file.flags() & (flags::O_ACCMODE | flags::O_TRUNC | FMODE_EXEC) {
        flags::O_RDONLY => node.recalls(label, Op::FileRead, file.own_path()),
        flags::O_WRONLY => node.recalls(label, Op::FileWrite, file.own_path()),
        // More than one operation, or one that is not judged here.
        _ => false,
    };
    if remembered {
        Ok(())
    } else {
        open_anew(node, file)
    }
}

/// The same, when that is not remembered.
#[inline(never)]
fn open_anew(node: &Node, file: &File) -> Result {
    if file.is_exec() {
        return Ok(());
    }
    if let Some(own) = file.backing_path() {
        return beneath(node, file, own);
    }
    // Overlayfs lists directories and copies files up on mounts of its own, without saying so.
    if task::current().has_borrowed_cred() && Object::At(file.path()).is_unreachable() {
        return beneath(node, file, file.path());
    }
    // O_TRUNC writes, whatever the file was opened for.
    let truncates = file.flags() & flags::O_TRUNC != 0;
    // Some network file systems open with the directory locked, and truncating holds off whoever
    // wants to freeze the file system: nobody is kept waiting for it.
    let context = || {
        if truncates || file.opens_locked() {
            Context::Sleep
        } else {
            Context::Wait
        }
    };
    judge(node, file, truncates, "file_open", context)
}

/// A stacked file system opens the file that lies beneath one of its own.
///
/// That one has just been judged where the task sees it. What is left to ask is whether a rule names
/// the file beneath: stacking must not be a way round it. The defaults have had their say.
fn beneath(node: &Node, file: &File, own: &Path) -> Result {
    for (wanted, op) in needs(file, false) {
        if let Some(actor) = node.actor_for(op).filter(|_| wanted) {
            node.check(
                &actor,
                &Query {
                    beneath: true,
                    ..Query::new(op, "file_open", Context::Sleep).on(Object::Entry(own.dentry()))
                },
            )?;
        }
    }
    Ok(())
}

/// What a file that is open as `file` is open for. `truncates` says that opening it has written.
///
/// Access mode 3 gives neither right, but a file for `ioctl`, which may do anything: it needs both.
pub(crate) fn needs(file: &File, truncates: bool) -> [(bool, Op); 2] {
    let (reads, writes) = (file.is_readable(), file.is_writable());
    let neither = !reads && !writes;
    [
        (reads || neither, Op::FileRead),
        (writes || neither || truncates, Op::FileWrite),
    ]
}

/// A file comes from another task, over a socket or by `pidfd_getfd`.
///
/// It is judged as if it were opened here. Files without a path, such as sockets and pipes, have
/// nothing that a rule could match but the defaults, and are let through: they are talk, not files.
pub(crate) fn receive(node: &Node, file: &File) -> Result {
    let Some(actor) = node.actor(Op::FileRead.bit() | Op::FileWrite.bit()) else {
        return Ok(());
    };
    // It may listen to the events, which an agent may not.
    if matches!(actor, Actor::Agent(_))
        && Socket::from_file(file).is_some_and(Socket::is_generic_netlink)
    {
        node.control_refused(Refusal::Labelled, "receive a netlink socket");
        return Err(EACCES);
    }
    if matches!(file.kind(), FileKind::Socket | FileKind::Pipe) || file.is_path_only() {
        return Ok(());
    }
    judge(node, file, false, "file_receive", || Context::Sleep)
}

fn judge(
    node: &Node,
    file: &File,
    truncates: bool,
    hook: &'static str,
    context: impl Fn() -> Context,
) -> Result {
    let object = Object::At(file.path());
    for (wanted, op) in needs(file, truncates) {
        if wanted && !node.glance(op, &[object], None) {
            check(node, op, file, hook, context())?;
        }
    }
    Ok(())
}

fn check(node: &Node, op: Op, file: &File, hook: &'static str, context: Context) -> Result {
    let Some(actor) = node.actor_for(op) else {
        return Ok(());
    };
    let shown = u64::from(file.flags() & SHOWN);
    let facts = |facts: &mut FactWriter<'_>| facts.fact(&Fact::Flags(shown));
    node.check(
        &actor,
        &Query::new(op, hook, context)
            .on(Object::At(file.path()))
            .facts(&facts),
    )
}
