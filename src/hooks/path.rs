// SPDX-License-Identifier: GPL-2.0

//! FILE_CREATE, FILE_DELETE, FILE_RENAME, FILE_LINK, FILE_ATTR, and FILE_WRITE by truncation.
//!
//! The hooks on directory entries run with the directory locked, so nothing waits for people here.

use crate::{
    abi::path::{
        Dentry,
        Path, //
    },
    engine::{
        limits,
        op::Op,
        refusal::Refusal,
        request::{
            Fact,
            FactWriter, //
        },
        wire, //
    },
    node::Node,
    object::Object,
    query::{
        Content,
        Context,
        Facts,
        Query, //
    }, //
};
use kernel::prelude::*;

/// Room for the last component of a path (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// Judges an operation on one object.
#[inline]
fn judge(node: &Node, op: Op, object: Object<'_>, facts: Facts<'_>, hook: &'static str) -> Result {
    if node.passes(op, &[object], None) {
        return Ok(());
    }
    let Some(actor) = node.actor_for(op) else {
        return Ok(());
    };
    node.check(
        &actor,
        &Query::new(op, hook, Context::Sleep).on(object).facts(facts),
    )
}

/// The name of a new entry: the path may have been cut before it.
fn name(entry: &Dentry, facts: &mut FactWriter<'_>) -> wire::Result {
    let mut room = [0; NAME_MAX];
    facts.fact(&Fact::Name(entry.name(&mut room)))
}

/// Judges a new entry of a directory.
fn create(
    node: &Node,
    dir: &Path,
    entry: &Dentry,
    mode: Option<u16>,
    hook: &'static str,
) -> Result {
    let at = dir.join(entry);
    judge(
        node,
        Op::FileCreate,
        Object::New { at: &at, dir },
        &|facts| {
            name(entry, facts)?;
            match mode {
                Some(mode) => facts.fact(&Fact::Mode(u32::from(mode))),
                None => Ok(()),
            }
        },
        hook,
    )
}

/// A file, a device or a socket is about to be made.
///
/// An agent makes no device, whatever its policy says: rules name devices by their inodes, and with
/// another one it would open the disk, or the TPM, that a rule keeps from it. Number 0 is no device
/// but a whiteout of overlayfs.
pub(crate) fn mknod(node: &Node, dir: &Path, entry: &Dentry, mode: u16, dev: u32) -> Result {
    const TYPE: u16 = 0o170_000;
    const CHARACTER: u16 = 0o020_000;
    const BLOCK: u16 = 0o060_000;
    if matches!(mode & TYPE, CHARACTER | BLOCK) && dev != 0 && node.is_labelled() {
        node.control_refused(Refusal::Labelled, "mknod");
        return Err(EPERM);
    }
    let at = dir.join(entry);
    judge(
        node,
        Op::FileCreate,
        Object::New { at: &at, dir },
        &|facts| {
            name(entry, facts)?;
            facts.fact(&Fact::Flags(u64::from(dev)))?;
            facts.fact(&Fact::Mode(u32::from(mode)))
        },
        "path_mknod",
    )
}

/// A directory is about to be made.
pub(crate) fn mkdir(node: &Node, dir: &Path, entry: &Dentry, mode: u16) -> Result {
    create(node, dir, entry, Some(mode), "path_mkdir")
}

/// A symbolic link is about to be made.
pub(crate) fn symlink(node: &Node, dir: &Path, entry: &Dentry, target: &CStr) -> Result {
    let at = dir.join(entry);
    judge(
        node,
        Op::FileCreate,
        Object::New { at: &at, dir },
        &|facts| {
            // What cannot be shown whole cannot be approved.
            if target.to_bytes().len() > limits::FACT_STRING {
                return Err(wire::Error::Field("symlink target"));
            }
            facts.fact(&Fact::Target(target.to_bytes()))?;
            name(entry, facts)
        },
        "path_symlink",
    )
}

/// An entry is about to go.
pub(crate) fn delete(node: &Node, dir: &Path, entry: &Dentry, hook: &'static str) -> Result {
    let at = dir.join(entry);
    judge(node, Op::FileDelete, Object::At(&at), &|_| Ok(()), hook)
}

/// A second name is about to be made. Both names are in one mount, or the kernel refuses.
pub(crate) fn link(node: &Node, old: &Dentry, new_dir: &Path, new: &Dentry) -> Result {
    let from = new_dir.join(old);
    let to = new_dir.join(new);
    let from = Object::At(&from);
    let to = Object::New {
        at: &to,
        dir: new_dir,
    };
    if node.passes(Op::FileLink, &[from, to], None) {
        return Ok(());
    }
    let Some(actor) = node.actor_for(Op::FileLink) else {
        return Ok(());
    };
    node.check(
        &actor,
        &Query::new(Op::FileLink, "path_link", Context::Sleep)
            .on(from)
            .and(to)
            .facts(&|facts| name(new, facts)),
    )
}

/// An entry is about to get another name, perhaps in exchange for what has that name.
pub(crate) fn rename(
    node: &Node,
    old_dir: &Path,
    old: &Dentry,
    new_dir: &Path,
    new: &Dentry,
    flags: u32,
) -> Result {
    let from = old_dir.join(old);
    let to = new_dir.join(new);
    let from = Object::At(&from);
    // What has the name already is moved or lost: it is judged too, with its directories.
    let to = Object::New {
        at: &to,
        dir: new_dir,
    };
    if node.passes(Op::FileRename, &[from, to], None) {
        return Ok(());
    }
    let Some(actor) = node.actor_for(Op::FileRename) else {
        return Ok(());
    };
    node.check(
        &actor,
        &Query::new(Op::FileRename, "path_rename", Context::Sleep)
            .on(from)
            .and(to)
            .facts(&|facts| {
                name(new, facts)?;
                facts.fact(&Fact::Flags(u64::from(flags)))
            }),
    )
}

/// A file is about to be cut or extended by name. By descriptor, it was judged when it was opened.
pub(crate) fn truncate(node: &Node, path: &Path) -> Result {
    judge(
        node,
        Op::FileWrite,
        Object::At(path),
        &|_| Ok(()),
        "path_truncate",
    )
}

/// Permissions are about to change.
pub(crate) fn chmod(node: &Node, path: &Path, mode: u16) -> Result {
    judge(
        node,
        Op::FileAttr,
        Object::At(path),
        &|facts| facts.fact(&Fact::Mode(u32::from(mode))),
        "path_chmod",
    )
}

/// The owner is about to change.
pub(crate) fn chown(node: &Node, path: &Path, uid: u32, gid: u32) -> Result {
    judge(
        node,
        Op::FileAttr,
        Object::At(path),
        &|facts| facts.fact(&Fact::Owner { uid, gid }),
        "path_chown",
    )
}

/// An extended attribute or an access control list is about to get a value, or to go.
pub(crate) fn xattr(
    node: &Node,
    entry: &Dentry,
    name: &CStr,
    value: Option<&[u8]>,
    hook: &'static str,
) -> Result {
    let object = Object::Entry(entry);
    if node.passes(Op::FileAttr, &[object], None) {
        return Ok(());
    }
    let Some(actor) = node.actor_for(Op::FileAttr) else {
        return Ok(());
    };
    node.check(
        &actor,
        &Query::new(Op::FileAttr, hook, Context::Sleep)
            .on(object)
            .content(value.map_or(Content::None, Content::Bytes))
            .facts(&|facts| facts.fact(&Fact::Name(name.to_bytes()))),
    )
}

/// Inode flags, such as immutable, are about to change.
pub(crate) fn flags(node: &Node, entry: &Dentry, flags: u32, xflags: u32) -> Result {
    let flags = u64::from(xflags) << 32 | u64::from(flags);
    judge(
        node,
        Op::FileAttr,
        Object::Entry(entry),
        &|facts| facts.fact(&Fact::Flags(flags)),
        "inode_file_setattr",
    )
}
