// SPDX-License-Identifier: GPL-2.0

//! MOUNT: the tree of mounts changes.

use crate::{
    abi::path::{
        Mount,
        Path,
        PathBuf,
        SuperBlock, //
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
    node::{
        Node,
        Phase, //
    },
    object::Object,
    query::{
        Content,
        Context,
        Facts,
        Query, //
    }, //
};
use kernel::prelude::*;

/// `MS_REMOUNT`, `MS_BIND` and `MS_MOVE` (`include/uapi/linux/mount.h`).
const MS_REMOUNT: usize = 32;
/// See [`MS_REMOUNT`].
const MS_BIND: usize = 4096;
/// See [`MS_REMOUNT`].
const MS_MOVE: usize = 8192;

/// `SECURITYFS_MAGIC` (`include/uapi/linux/magic.h`).
const SECURITYFS_MAGIC: usize = 0x7363_6673;

fn judge(
    node: &Node,
    object: Object<'_>,
    second: Object<'_>,
    facts: Facts<'_>,
    hook: &'static str,
) -> Result {
    let Some(actor) = node.actor_for(Op::Mount) else {
        return Ok(());
    };
    node.check(
        &actor,
        &Query::new(Op::Mount, hook, Context::Sleep)
            .on(object)
            .and(second)
            .facts(facts),
    )
}

/// Something is about to be mounted, or a mount to change.
pub(crate) fn mount(
    node: &Node,
    dev: Option<&CStr>,
    at: &Path,
    fstype: Option<&CStr>,
    flags: usize,
    options: Option<&CStr>,
) -> Result {
    let Some(actor) = node.actor_for(Op::Mount) else {
        return Ok(());
    };
    let _section = node.sleepers.read_lock();
    // What is bound or moved is an object of its own, wherever its name leads.
    let source = match dev {
        Some(dev) if flags & (MS_BIND | MS_MOVE) != 0 && flags & MS_REMOUNT == 0 => {
            Some(PathBuf::lookup(dev, true)?)
        }
        _ => None,
    };
    let name = match &source {
        Some(_) => &b""[..],
        None => dev.map_or(&b""[..], |dev| dev.to_bytes()),
    };
    let facts = |facts: &mut FactWriter<'_>| {
        if !name.is_empty() {
            facts.fact(&Fact::Target(name))?;
        }
        if let Some(fstype) = fstype {
            facts.fact(&Fact::Name(fstype.to_bytes()))?;
        }
        facts.fact(&Fact::Flags(flags as u64))
    };
    // Options that are no text, such as those of NFS, go on behind what looks like their end.
    let binary = options
        .and_then(|options| options.to_bytes().first())
        .is_some_and(|first| *first < b' ');
    let options = options.map_or(Content::None, |options| Content::Bytes(options.to_bytes()));
    node.check(
        &actor,
        &Query {
            opaque: binary,
            ..Query::new(Op::Mount, "sb_mount", Context::Sleep)
                .on(Object::At(at))
                .and(source.as_deref().map_or(Object::None, Object::At))
                .content(options)
                .facts(&facts)
        },
    )
}

/// A file system is about to change its options.
pub(crate) fn remount(node: &Node, sb: &SuperBlock) -> Result {
    let object = sb.root().map_or(Object::None, Object::Entry);
    let Some(actor) = node.actor_for(Op::Mount) else {
        return Ok(());
    };
    // The hook does not see the new options as they were given.
    let query = Query {
        opaque: true,
        ..Query::new(Op::Mount, "sb_remount", Context::Sleep).on(object)
    };
    node.check(&actor, &query)
}

/// Something is about to be unmounted. A sealed node keeps its window to the outside.
pub(crate) fn umount(node: &Node, mnt: &Mount, flags: i32) -> Result {
    if node.phase() == Phase::Sealed && mnt.super_block().magic() == SECURITYFS_MAGIC {
        node.control_refused(Refusal::Denied, "umount securityfs");
        return Err(EPERM);
    }
    if node.actor_for(Op::Mount).is_none() {
        return Ok(());
    }
    let _section = node.sleepers.read_lock();
    let root = mnt.root_path();
    let facts = |facts: &mut FactWriter<'_>| facts.fact(&Fact::Flags(u64::from(flags as u32)));
    judge(node, Object::At(&root), Object::None, &facts, "sb_umount")
}

/// The root of the namespace is about to change.
pub(crate) fn pivot_root(node: &Node, old: &Path, new: &Path) -> Result {
    judge(
        node,
        Object::At(old),
        Object::At(new),
        &|_| Ok(()),
        "sb_pivotroot",
    )
}

/// The calling task is about to change its root. An agent stays in the tree that rules know: from a
/// root in a mount that is in no tree, what lies above that mount could not be seen.
pub(crate) fn chroot(node: &Node, path: &Path) -> Result {
    if !node.is_labelled() {
        return Ok(());
    }
    let _section = node.sleepers.read_lock();
    if Object::At(path).is_unreachable() {
        node.control_refused(Refusal::Denied, "chroot");
        return Err(EACCES);
    }
    Ok(())
}

/// The calling task is about to enter a mount namespace: another tree of mounts, in which other
/// directories lie above an object. No hook tells which.
///
/// Context: as for the `capable` hook.
pub(crate) fn setns(node: &Node) -> Result {
    let Some(agent) = node.current_agent() else {
        return Ok(());
    };
    let query = Query {
        opaque: true,
        ..Query::new(Op::Mount, "setns", Context::Atomic)
    };
    node.check(&Actor::Agent(agent), &query)
}

/// A mount is about to move, or one that was made apart to be put in place.
pub(crate) fn move_mount(node: &Node, from: &Path, to: &Path) -> Result {
    judge(
        node,
        Object::At(to),
        Object::Loose(from),
        &|_| Ok(()),
        "move_mount",
    )
}
