// SPDX-License-Identifier: GPL-2.0

//! BPF programs and the function tracer at the same stubs, which come and go as they like.

use super::{
    begin,
    end,
    nothing_traced,
    programs,
    refused_load,
    Busy,
    Tracer,
    SLEEPABLE, //
};
use crate::agent::{
    self,
    Who, //
};
use crate::bpf::{
    Program,
    NOTHING, //
};
use crate::ensure;
use crate::harness::{
    patience,
    Ctx,
    Test, //
};
use crate::stage::{
    self,
    Res, //
};
use crate::worker::Agent;
use std::path::Path;
use std::time::Duration;

/// The tests.
pub(super) const TESTS: &[Test] = &[
    Test::new("bpf_programs_before_and_after", before_and_after),
    Test::new("bpf_programs_come_and_go", programs_come_and_go),
    Test::new("function_tracer_comes_and_goes", tracer_comes_and_goes),
    Test::new("direct_hooks_are_not_shared_with_bpf", direct_and_bpf),
    Test::new("direct_hooks_are_shared_with_the_tracer", direct_and_tracer),
];

/// Hooks that the busy processes come by all the time.
const HOOKS: [&str; 7] = [
    "file_open",
    "bprm_check_security",
    "mmap_file",
    "path_mknod",
    "path_unlink",
    "task_alloc",
    "task_free",
];

/// Those where a program may sleep.
const SLEEPY: [&str; 3] = ["file_open", "bprm_check_security", "path_unlink"];

/// The module judges: an agent is refused.
fn judges(top: &Path) -> Res {
    let mut agent = Agent::start("a")?;
    agent.expect(
        libc::EACCES,
        &["append", &format!("{}/denied/f", top.display())],
    )?;
    agent.expect(0, &["create", &format!("{}/allowed", top.display())])?;
    agent.expect(0, &["unlink", &format!("{}/allowed", top.display())])?;
    agent.expect(0, &["exec", "/usr/bin/true"])?;
    agent.end()
}

/// The hooks at which something other than the module is still attached.
fn still_traced(hooks: &[&str]) -> Res {
    let functions = stage::content("/sys/kernel/tracing/enabled_functions")?;
    for hook in hooks {
        ensure!(
            functions.contains(&format!("bpf_lsm_{hook} ")),
            "the program on {hook} went with the module:\n{functions}"
        );
    }
    Ok(())
}

/// Programs at the hooks, some of which may sleep.
fn both() -> Res<Vec<Program>> {
    let mut all = programs(&HOOKS, &NOTHING, 0)?;
    all.extend(programs(&SLEEPY, &NOTHING, SLEEPABLE)?);
    Ok(all)
}

fn before_and_after(ctx: &mut Ctx) -> Res {
    let busy = Busy::start(&ctx.scratch)?;
    // There first, and stay.
    let there = both()?;
    begin("", &ctx.scratch)?;
    judges(&ctx.scratch)?;
    end()?;
    still_traced(&HOOKS)?;
    drop(there);
    ctx.progress();
    // Come while the module is there, and stay.
    begin("", &ctx.scratch)?;
    let there = both()?;
    judges(&ctx.scratch)?;
    end()?;
    still_traced(&HOOKS)?;
    ctx.progress();
    // There first, and go while the module stays.
    begin("", &ctx.scratch)?;
    drop(there);
    judges(&ctx.scratch)?;
    end()?;
    ctx.progress();
    busy.done()?;
    stage::eventually(patience(Duration::from_secs(5)), nothing_traced)
}

/// Loads and unloads while a child does `change` over and over; how often it did.
fn meanwhile(ctx: &mut Ctx, rounds: u32, mut change: impl FnMut() -> Res) -> Res {
    let busy = Busy::start(&ctx.scratch)?;
    let child = agent::spawn_stepper(&Who::Free, move |report, _| match change() {
        Ok(()) => {
            report.push(0);
            0
        }
        Err(why) => {
            report.text(&why);
            1
        }
    })
    .map_err(|(_, text)| text)?;
    let mut changes = 0;
    let mut turn = || -> Res {
        if child.idle() {
            ensure!(child.step(0)? == 0, "{}", child.text());
            changes += 1;
        }
        child.start(0);
        Ok(())
    };
    for round in 0..rounds {
        turn()?;
        begin("", &ctx.scratch)?;
        ctx.progress();
        judges(&ctx.scratch).map_err(|why| format!("round {round}: {why}"))?;
        turn()?;
        judges(&ctx.scratch).map_err(|why| format!("round {round}: {why}"))?;
        turn()?;
        ctx.progress();
        end().map_err(|why| format!("round {round}: {why}"))?;
        busy.done()?;
        ctx.progress();
    }
    ensure!(child.finish()? == 0, "{}", child.text());
    child.stop()?;
    stage::eventually(patience(Duration::from_secs(5)), nothing_traced)
}

fn programs_come_and_go(ctx: &mut Ctx) -> Res {
    meanwhile(ctx, 2, || {
        let one = programs(&HOOKS, &NOTHING, 0)?;
        let other = programs(&SLEEPY, &NOTHING, SLEEPABLE)?;
        std::thread::sleep(Duration::from_millis(50));
        drop(one);
        std::thread::sleep(Duration::from_millis(50));
        drop(other);
        Ok(())
    })
}

fn tracer_comes_and_goes(ctx: &mut Ctx) -> Res {
    meanwhile(ctx, 2, || {
        let tracer = Tracer::start()?;
        std::thread::sleep(Duration::from_millis(100));
        drop(tracer);
        Ok(())
    })
}

/// A BPF program at a hook keeps the module from attaching directly, and the other way round; whoever was there first is
/// not disturbed.
fn direct_and_bpf(ctx: &mut Ctx) -> Res {
    let there = programs(&SLEEPY, &NOTHING, SLEEPABLE)?;
    refused_load("direct=1", libc::EBUSY)?;
    still_traced(&SLEEPY)?;
    drop(there);
    stage::eventually(patience(Duration::from_secs(5)), nothing_traced)?;
    begin("direct=1", &ctx.scratch)?;
    for (hook, flags) in [("file_open", 0), ("file_open", SLEEPABLE), ("task_free", 0)] {
        match programs(&[hook], &NOTHING, flags) {
            Ok(_) => return Err(format!("a program was attached to {hook}")),
            Err(why) => ensure!(
                // EINVAL or EBUSY: it depends on what the kernel looks at first.
                why.ends_with("(os error 22)") || why.ends_with("(os error 16)"),
                "a program on {hook} was refused otherwise: {why}"
            ),
        }
        judges(&ctx.scratch)?;
    }
    // A hook that the module does not want is free.
    drop(programs(&["file_lock"], &NOTHING, 0)?);
    ctx.progress();
    end()?;
    drop(programs(&SLEEPY, &NOTHING, SLEEPABLE)?);
    stage::eventually(patience(Duration::from_secs(5)), nothing_traced)
}

fn direct_and_tracer(ctx: &mut Ctx) -> Res {
    let busy = Busy::start(&ctx.scratch)?;
    let tracer = Tracer::start()?;
    begin("direct=1", &ctx.scratch)?;
    judges(&ctx.scratch)?;
    drop(tracer);
    judges(&ctx.scratch)?;
    let tracer = Tracer::start()?;
    judges(&ctx.scratch)?;
    ctx.progress();
    end()?;
    drop(tracer);
    busy.done()?;
    nothing_traced()
}
