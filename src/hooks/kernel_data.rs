// SPDX-License-Identifier: GPL-2.0

//! MODULE_LOAD and KEXEC_LOAD: what the kernel itself will run.
//!
//! A module is judged when the kernel has read it, uncompressed, into memory that nobody else can
//! write: what is digested is what will be linked. So is the image that `kexec_file_load` reads;
//! what `kexec_load` passes is never shown to a security module, so that no quorum can approve it.

use crate::{
    abi::{
        kernel_read_file::id,
        path::FileExt,
        task, //
    },
    check::{
        Actor,
        Ruling, //
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
        Content,
        Context,
        Query, //
    }, //
};
use kernel::{
    fs::File,
    prelude::*,
    sync::atomic::Relaxed, //
};

/// The kernel wants a module by its alias, on behalf of the calling task.
pub(crate) fn module_request(node: &Node, name: &CStr) -> Result {
    // What runs modprobe for the kernel carries no label: the one who causes it is judged here.
    let Some(agent) = node.current_agent() else {
        return Ok(());
    };
    let facts = |facts: &mut FactWriter<'_>| facts.fact(&Fact::Name(name.to_bytes()));
    node.check(
        &Actor::Agent(agent),
        &Query::new(Op::ModuleLoad, "kernel_module_request", Context::Sleep).facts(&facts),
    )
}

/// Data comes from user memory.
pub(crate) fn load_data(node: &Node, id: u32, contents: bool) -> Result {
    match id {
        // The kernel shows neither the image nor where it comes from.
        id::KEXEC_IMAGE | id::KEXEC_INITRAMFS => kexec(node, None, None, "kernel_load_data"),
        id::MODULE if !contents => unseen(node),
        _ => Ok(()),
    }
}

/// Data has come from user memory.
pub(crate) fn post_load_data(node: &Node, buf: &[u8], id: u32) -> Result {
    match id {
        id::MODULE => module(node, None, buf, "kernel_post_load_data"),
        _ => Ok(()),
    }
}

/// A file is about to be read.
pub(crate) fn read_file(node: &Node, file: Option<&File>, id: u32, contents: bool) -> Result {
    match id {
        id::KEXEC_IMAGE | id::KEXEC_INITRAMFS if !contents => {
            kexec(node, file, None, "kernel_read_file")
        }
        id::MODULE if !contents => unseen(node),
        _ => Ok(()),
    }
}

/// A file has been read.
pub(crate) fn post_read_file(node: &Node, file: Option<&File>, buf: &[u8], id: u32) -> Result {
    match id {
        id::MODULE => module(node, file, buf, "kernel_post_read_file"),
        id::KEXEC_IMAGE | id::KEXEC_INITRAMFS => {
            kexec(node, file, Some(buf), "kernel_post_read_file")
        }
        _ => Ok(()),
    }
}

/// A module that the kernel would not show us: nobody could say what was approved.
fn unseen(node: &Node) -> Result {
    match node.actor_for(Op::ModuleLoad) {
        Some(_) => Err(EACCES),
        None => Ok(()),
    }
}

fn module(node: &Node, file: Option<&File>, content: &[u8], hook: &'static str) -> Result {
    // A leave that was not used, for whatever reason, is not one for this load.
    node.take_approved_loader();
    let Some(actor) = node.actor_for(Op::ModuleLoad) else {
        return Ok(());
    };
    let query = Query::new(Op::ModuleLoad, hook, Context::Wait).content(Content::Bytes(content));
    let ruling = node.rule_on(
        &actor,
        &match file {
            Some(file) => query.on(Object::At(file.path())),
            None => query,
        },
    );
    approve(node, ruling)
}

/// Another kernel. On a sealed node even a task without a label needs a rule that allows it: the
/// next kernel need not have this module.
fn kexec(node: &Node, file: Option<&File>, content: Option<&[u8]>, hook: &'static str) -> Result {
    node.take_approved_loader();
    let actor = match node.actor_for(Op::KexecLoad) {
        Some(actor) => actor,
        None if node.phase() == Phase::Sealed => {
            node.control_refused(Refusal::Denied, "kexec");
            return Err(EPERM);
        }
        None => return Ok(()),
    };
    let mut query = Query::new(Op::KexecLoad, hook, Context::Wait);
    match content {
        Some(content) => query = query.content(Content::Bytes(content)),
        None => query.opaque = true,
    }
    if let Some(file) = file {
        query = query.on(Object::At(file.path()));
    }
    let ruling = node.rule_on(&actor, &query);
    approve(node, ruling)
}

/// Passes a ruling on. When a quorum has approved, the calling task may do this one thing that a
/// sealed node refuses to everybody else: see [`super::lockdown`].
fn approve(node: &Node, ruling: Ruling) -> Result {
    if let Ruling::Proceed { by_grant: true } = ruling {
        node.approved_loader.store(task::current().key(), Relaxed);
    }
    ruling.into_result()
}
