// SPDX-License-Identifier: GPL-2.0

//! What labelled tasks do: all operations that the tests of the hooks know, each under DENY, AUDIT and QUORUM, and with a
//! grant.

use super::{
    inject::{
        armed,
        armed_for_all, //
    },
    Sweep, //
};
use crate::agent::Child;
use crate::ensure;
use crate::harness::{
    op,
    Ctx,
    Test, //
};
use crate::hooks::{
    self,
    probe::Probe, //
};
use crate::stage::{
    Request,
    Res, //
};
use crate::worker::{
    fork,
    wait, //
};
use std::cell::RefCell;
use std::sync::atomic::{
    AtomicBool,
    Ordering::SeqCst, //
};

/// The tests.
pub(super) const TESTS: &[Test] = &[
    Test::new("hooks_of_files", |ctx| all(ctx, hooks::files::TESTS)),
    Test::new("hooks_of_programs", |ctx| all(ctx, hooks::exec::TESTS)),
    Test::new("hooks_of_mounts", |ctx| all(ctx, hooks::mounts::TESTS)),
    Test::new("hooks_of_tasks", |ctx| all(ctx, hooks::tasks::TESTS)),
    Test::new("hooks_of_sockets", |ctx| all(ctx, hooks::network::TESTS)),
    Test::new("hooks_of_the_kernel", |ctx| all(ctx, hooks::kernel::TESTS)),
    Test::new("other_hooks", |ctx| all(ctx, hooks::outcomes::TESTS)),
];

thread_local! {
    /// What a test of the hooks has to do instead of what it does otherwise.
    static SWEEP: RefCell<Option<Sweep>> = const { RefCell::new(None) };
}

/// Whether an operation was probed.
static PROBED: AtomicBool = AtomicBool::new(false);

/// Whether the allocations of what is probed are to fail.
pub(crate) fn failing() -> bool {
    SWEEP.with_borrow(Option::is_some)
}

fn sweep(what: &str, errors: &[i32], step: impl FnMut() -> Res<i32>) -> Res {
    PROBED.store(true, SeqCst);
    SWEEP.with_borrow_mut(|sweep| sweep.as_mut().ok_or("no sweep")?.run(what, errors, step))
}

/// Runs the tests of the hooks that probe an operation.
fn all(ctx: &mut Ctx, tests: &[Test]) -> Res {
    super::loaded()?;
    let mut failed = Vec::new();
    for test in tests {
        let pid = fork(|| match one(ctx, test) {
            Ok(()) => 0,
            Err(why) => {
                println!("memory: {}: {why}", test.name);
                1
            }
        })?;
        if wait(pid) != 0 {
            failed.push(test.name);
        }
        ctx.progress();
    }
    ensure!(failed.is_empty(), "wrong: {}", failed.join(", "));
    Ok(())
}

fn one(ctx: &mut Ctx, test: &Test) -> Res {
    let sweep = Sweep::new(ctx, test.name)?;
    sweep.injector.module()?;
    SWEEP.set(Some(sweep));
    let result = (test.run)(ctx);
    let sweep = SWEEP.take();
    match sweep {
        Some(sweep) if PROBED.load(SeqCst) => sweep.end().and(result),
        _ => Ok(()),
    }
}

/// Whose allocations count while an operation is done.
#[derive(Clone, Copy)]
enum Whose {
    Nobody,
    Own,
    /// Those of the children that do it.
    Everybody,
}

fn agent(probe: &Probe<'_>, ctx: &Ctx) -> Res<Child> {
    ctx.stepper("a", |_, whose| {
        i64::from(match whose {
            0 => (probe.act)(),
            1 => armed(|| (probe.act)()),
            _ => armed_for_all(|| (probe.act)()),
        })
    })
}

fn step(agent: &Child, whose: Whose) -> Res<i32> {
    i32::try_from(agent.step(whose as i64)?).map_err(|e| e.to_string())
}

/// Whose allocations are those of an operation.
fn whose(probe: &Probe<'_>, agent: &Child) -> Res<Whose> {
    (probe.reset)();
    let before = seen()?;
    step(agent, Whose::Own)?;
    Ok(if seen()? > before {
        Whose::Own
    } else {
        Whose::Everybody
    })
}

fn seen() -> Res<usize> {
    SWEEP.with_borrow(|sweep| Ok(sweep.as_ref().ok_or("no sweep")?.injector.seen()?.len()))
}

/// Under DENY.
pub(crate) fn denied(probe: &Probe<'_>, ctx: &Ctx) -> Res {
    probe.load(ctx, "DENY")?;
    let agent = agent(probe, ctx)?;
    let whose = whose(probe, &agent)?;
    let what = format!("{} DENY", op::name(probe.op));
    sweep(&what, &[libc::EACCES, probe.refusal], || {
        (probe.reset)();
        step(&agent, whose)
    })
}

/// Under AUDIT, and in permissive mode.
pub(crate) fn allowed(probe: &Probe<'_>, ctx: &Ctx) -> Res {
    for (action, permissive) in [("AUDIT", false), ("DENY", true)] {
        probe.load(ctx, action)?;
        if permissive {
            ctx.permissive()?;
        }
        let agent = agent(probe, ctx)?;
        let whose = whose(probe, &agent)?;
        let mode = if permissive { ", permissive" } else { "" };
        let what = format!("{} {action}{mode}", op::name(probe.op));
        sweep(&what, &[libc::EACCES, probe.refusal], || {
            (probe.reset)();
            step(&agent, whose)
        })?;
    }
    Ok(())
}

/// Under QUORUM, before and after the votes.
pub(crate) fn by_quorum(probe: &Probe<'_>, ctx: &Ctx) -> Res<Request> {
    probe.load(ctx, "QUORUM")?;
    let name = op::name(probe.op);
    let agent = agent(probe, ctx)?;
    let whose = whose(probe, &agent)?;
    let errors = [libc::EACCES, probe.refusal];
    sweep(&format!("{name} QUORUM"), &errors, || {
        super::nothing_asked()?;
        (probe.reset)();
        let errno = step(&agent, whose)?;
        let open = ctx.open_count(agent.agent)?;
        ensure!(open <= 1, "{open} requests of one operation");
        Ok(errno)
    })?;
    sweep(&format!("{name} granted"), &errors, || {
        super::nothing_asked()?;
        (probe.reset)();
        step(&agent, Whose::Nobody)?;
        ctx.grant(&ctx.open_request(agent.agent, probe.op)?)?;
        let errno = step(&agent, whose)?;
        // A grant is for one use, whatever failed.
        let mut used = u32::from(errno == probe.ok);
        for _ in 0..2 {
            (probe.reset)();
            used += u32::from(step(&agent, Whose::Nobody)? == probe.ok);
        }
        ensure!(used <= 1, "a grant for one use was used {used} times");
        Ok(errno)
    })?;
    super::nothing_asked()?;
    (probe.reset)();
    step(&agent, Whose::Nobody)?;
    let request = ctx.open_request(agent.agent, probe.op)?;
    agent.stop()?;
    Ok(request)
}
