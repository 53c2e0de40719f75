// SPDX-License-Identifier: GPL-2.0

//! EXEC and MMAP_EXEC: what code runs.

use crate::{
    abi::{
        binprm::Binprm,
        path::FileExt,
        sha256::Sha256,
        vma::Vma, //
    },
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
        Content,
        Context,
        Query, //
    }, //
};
use kernel::{
    fs::File,
    prelude::*, //
};

/// `PROT_WRITE` and `PROT_EXEC` (`include/uapi/asm-generic/mman-common.h`).
const PROT_WRITE: usize = 2;
const PROT_EXEC: usize = 4;
/// `MAP_SHARED`, which `MAP_SHARED_VALIDATE` contains too (`include/uapi/linux/mman.h`).
const MAP_SHARED: usize = 1;

/// Bytes of arguments that can be shown.
const ARGS_SHOWN: usize = 3072;

/// A program is about to run: label it if policy says so, then judge it.
pub(crate) fn bprm_check_security(node: &Node, bprm: &Binprm) -> Result {
    let agent = match node.current_agent() {
        Some(agent) => Some(agent),
        None => {
            // The program that confers a label is started by a task without one, so it is not
            // judged as the agent's; what it executes from then on is.
            node.label_exec(bprm)?;
            None
        }
    };
    let object = Object::At(bprm.file().path());
    if agent.is_some() && node.glance(Op::Exec, &[object], None) {
        return Ok(());
    }
    let actor = match agent {
        Some(agent) => crate::check::Actor::Agent(agent),
        None => match node.actor_for(Op::Exec) {
            Some(crate::check::Actor::Host) => crate::check::Actor::Host,
            _ => return Ok(()),
        },
    };
    let facts = |facts: &mut FactWriter<'_>| arguments(bprm, facts);
    let environment = environment(bprm);
    node.check(
        &actor,
        &Query {
            environment: Some(&environment),
            ..Query::new(Op::Exec, "bprm_check_security", Context::Wait)
                .on(object)
                .content(Content::File(bprm.file()))
                .facts(&facts)
        },
    )
}

/// A function that gives the digest of the environment: it can make a program do anything.
fn environment(bprm: &Binprm) -> impl Fn() -> Result<[u8; 32]> + '_ {
    || {
        let mut digest = Sha256::new();
        bprm.for_each_env_bytes(|bytes| {
            digest.update(bytes);
        })?;
        Ok(digest.finish())
    }
}

/// The arguments, as many as there is room for, and the digest of all.
fn arguments(bprm: &Binprm, facts: &mut FactWriter<'_>) -> wire::Result {
    let failed = wire::Error::Field("arguments");
    let mut shown = KVec::from_elem(0, ARGS_SHOWN, GFP_KERNEL).map_err(|_| failed)?;
    let mut digest = Sha256::new();
    let mut total = 0_u64;
    let (copied, all) = bprm
        .read_args(&mut shown, |bytes| {
            total = total.saturating_add(bytes.len() as u64);
            digest.update(bytes);
        })
        .map_err(|_| failed)?;
    if total > limits::ARGUMENTS {
        return Err(failed);
    }
    let argc = u32::try_from(bprm.argc()).map_err(|_| failed)?;
    facts.fact(&Fact::Argc(argc))?;
    let copy = shown.get(..copied).ok_or(failed)?;
    // What follows the last zero byte is a part of an argument when not everything was copied.
    let whole = if copied < all {
        copy
    } else {
        copy.strip_suffix(&[0]).unwrap_or(copy)
    };
    if argc > 0 {
        for argument in whole.split(|byte| *byte == 0) {
            facts.fact(&Fact::Arg(argument))?;
        }
    }
    if copied < all {
        facts.mark_shortened();
    }
    facts.fact(&Fact::ArgsDigest(&digest.finish()))
}

/// A file, or memory of its own, is about to be mapped.
#[inline]
pub(crate) fn mmap_file(node: &Node, file: Option<&File>, prot: usize, flags: usize) -> Result {
    if prot & PROT_EXEC == 0 {
        return Ok(());
    }
    // A private mapping that can be written runs whatever the task writes there.
    let written = prot & PROT_WRITE != 0 && flags & MAP_SHARED == 0;
    map(node, file.filter(|_| !written), prot, "mmap_file")
}

/// Memory is about to change its protection.
#[inline]
pub(crate) fn file_mprotect(node: &Node, vma: &Vma, prot: usize) -> Result {
    /// `VM_EXEC` (`include/linux/mm.h`).
    const VM_EXEC: usize = 4;
    if prot & PROT_EXEC == 0 {
        return Ok(());
    }
    let written = prot & PROT_WRITE != 0 || vma.has_private_pages();
    if vma.flags() & VM_EXEC != 0 && prot & PROT_WRITE == 0 {
        // It can be executed already.
        return Ok(());
    }
    map(node, vma.file().filter(|_| !written), prot, "file_mprotect")
}

/// Judges executable memory: that of `file`, or of nothing that has a path.
fn map(node: &Node, file: Option<&File>, prot: usize, hook: &'static str) -> Result {
    let object = file.map_or(Object::None, |file| Object::At(file.path()));
    if node.passes(Op::MmapExec, &[object], None) {
        return Ok(());
    }
    let Some(actor) = node.actor_for(Op::MmapExec) else {
        return Ok(());
    };
    let facts = |facts: &mut FactWriter<'_>| facts.fact(&Fact::Flags(prot as u64));
    node.check(
        &actor,
        &Query::new(Op::MmapExec, hook, Context::Sleep)
            .on(object)
            .facts(&facts),
    )
}
