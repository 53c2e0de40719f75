// SPDX-License-Identifier: GPL-2.0

//! BPF, PERF, USERNS and IO_URING: doors to large parts of the kernel.

use crate::{
    engine::{
        op::Op,
        request::{
            Fact,
            FactWriter, //
        }, //
    },
    node::Node,
    query::{
        Context,
        Query, //
    }, //
};
use kernel::prelude::*;

fn judge(node: &Node, op: Op, command: Option<u32>, hook: &'static str) -> Result {
    let Some(actor) = node.actor_for(op) else {
        return Ok(());
    };
    let facts = |facts: &mut FactWriter<'_>| match command {
        Some(command) => facts.fact(&Fact::Command(command)),
        None => Ok(()),
    };
    node.check(&actor, &Query::new(op, hook, Context::Wait).facts(&facts))
}

/// The `bpf` system call.
pub(crate) fn bpf(node: &Node, cmd: i32, kernel: bool) -> Result {
    if kernel {
        return Ok(());
    }
    judge(node, Op::Bpf, Some(cmd as u32), "bpf")
}

/// A performance event is about to be opened.
pub(crate) fn perf_event_open(node: &Node, type_: i32) -> Result {
    /// `PERF_SECURITY_OPEN` (`include/linux/perf_event.h`): asked for every event, before what more
    /// it wants (another process, the kernel, a tracepoint). One event is one operation.
    const OPEN: i32 = 0;
    if type_ != OPEN {
        return Ok(());
    }
    judge(node, Op::Perf, Some(type_ as u32), "perf_event_open")
}

/// A user namespace is about to be made.
pub(crate) fn userns_create(node: &Node) -> Result {
    judge(node, Op::Userns, None, "userns_create")
}

/// A ring is about to be made (0), or to use registered credentials (1). A thread that polls for it
/// carries the label of whoever makes it.
pub(crate) fn io_uring(node: &Node, what: u32, hook: &'static str) -> Result {
    let context = match what {
        0 => Context::Wait,
        _ => Context::Sleep,
    };
    let Some(actor) = node.actor_for(Op::IoUring) else {
        return Ok(());
    };
    let facts = |facts: &mut FactWriter<'_>| facts.fact(&Fact::Command(what));
    node.check(
        &actor,
        &Query::new(Op::IoUring, hook, context).facts(&facts),
    )
}
