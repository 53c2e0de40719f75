// SPDX-License-Identifier: GPL-2.0

//! MOUNT: the tree of mounts changes.

use crate::{
    abi::path::{
        Mount,
        Path,
        SuperBlock, //
    },
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
        Context,
        Facts,
        Query, //
    }, //
};
use kernel::prelude::*;

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
) -> Result {
    let source = dev.map_or(&b""[..], |dev| dev.to_bytes());
    let facts = |facts: &mut FactWriter<'_>| {
        if !source.is_empty() {
            facts.fact(&Fact::Target(source))?;
        }
        if let Some(fstype) = fstype {
            facts.fact(&Fact::Name(fstype.to_bytes()))?;
        }
        facts.fact(&Fact::Flags(flags as u64))
    };
    judge(node, Object::At(at), Object::None, &facts, "sb_mount")
}

/// A file system is about to change its options.
pub(crate) fn remount(node: &Node, sb: &SuperBlock) -> Result {
    let object = sb.root().map_or(Object::None, Object::Entry);
    judge(node, object, Object::None, &|_| Ok(()), "sb_remount")
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

/// A mount is about to move, or one that was made apart to be put in place.
pub(crate) fn move_mount(node: &Node, from: &Path, to: &Path) -> Result {
    judge(
        node,
        Object::At(to),
        Object::At(from),
        &|_| Ok(()),
        "move_mount",
    )
}
