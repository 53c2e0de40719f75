// SPDX-License-Identifier: GPL-2.0

//! Load and unload, many times, under load, and nothing grows.

use super::{
    begin,
    end,
    nothing_traced,
    Busy,
    Memory,
    Tracer,
    WORK, //
};
use crate::ensure;
use crate::harness::{
    patience,
    Ctx,
    Test, //
};
use crate::stage::{
    self,
    expect_errno,
    Res, //
};
use crate::stress;
use crate::worker::{
    self,
    Agent, //
};
use std::fs::OpenOptions;
use std::path::Path;
use std::time::{
    Duration,
    Instant, //
};

/// The tests.
pub(super) const TESTS: &[Test] = &[Test::new("thousand_loads_under_load", cycles)];

/// How a load differs from the others.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// As usual.
    Plain,
    /// With the function tracer at the same stubs, which makes unloading take longer.
    Traced,
    /// With the hooks attached by jumps.
    Direct,
}

impl Kind {
    /// One of 25 loads is traced, one of 50 direct: they take five to ten times as long.
    fn of(cycle: u64) -> Self {
        match cycle % 50 {
            12 | 37 => Self::Traced,
            24 => Self::Direct,
            _ => Self::Plain,
        }
    }

    fn name(self) -> &'static str {
        ["plain", "traced", "direct"][self as usize]
    }
}

/// Times of the loads of one kind.
#[derive(Clone, Copy, Default)]
struct Times {
    loads: u32,
    load: Duration,
    unload: Duration,
    longest: Duration,
}

/// What one load does: judges, is seen to judge, and goes while somebody waits in one of its hooks.
fn cycle(top: &Path, kind: Kind, times: &mut Times) -> Res {
    let tracer = match kind {
        Kind::Traced => Some(Tracer::start()?),
        _ => None,
    };
    let parameters = if kind == Kind::Direct { "direct=1" } else { "" };
    let load = begin(parameters, top)?;
    let denied = format!("{}/denied/f", top.display());
    let held = format!("{}/held/f", top.display());
    let mut agent = Agent::start("a")?;
    agent.expect(libc::EACCES, &["append", &denied])?;
    expect_errno(
        "the same without a label",
        worker::errno_of(&OpenOptions::new().append(true).open(&denied)),
        0,
    )?;
    let mut waiter = Agent::start("a")?;
    waiter.send(&["append", &held])?;
    stage::eventually(patience(Duration::from_secs(20)), || {
        ensure!(
            stage::open_requests()?.len() == 1,
            "nobody waits for a decision"
        );
        Ok(())
    })?;
    let unload = end()?;
    // What waited was not let through, and what was denied is anybody's again.
    let (errno, _) = waiter.answer()?;
    expect_errno("whoever waited while the module went", errno, libc::EACCES)?;
    agent.expect(0, &["append", &denied])?;
    agent.end()?;
    waiter.end()?;
    drop(tracer);
    nothing_traced()?;
    times.loads += 1;
    times.load += load;
    times.unload += unload;
    times.longest = times.longest.max(unload);
    Ok(())
}

fn report(times: &[Times; 3]) {
    for (kind, times) in [Kind::Plain, Kind::Traced, Kind::Direct].iter().zip(times) {
        if times.loads > 0 {
            println!(
                "lifecycle: {}: {} loads, {} ms to load, {} ms to unload, {} ms at most",
                kind.name(),
                times.loads,
                (times.load / times.loads).as_millis(),
                (times.unload / times.loads).as_millis(),
                times.longest.as_millis()
            );
        }
    }
}

fn cycles(ctx: &mut Ctx) -> Res {
    let cycles = stress::variable("LIFECYCLE_CYCLES", 8);
    let busy = Busy::start(&ctx.scratch)?;
    // What grows once has grown before the measurement.
    for kind in [Kind::Direct, Kind::Traced, Kind::Plain] {
        cycle(&ctx.scratch, kind, &mut Times::default())?;
        ctx.progress();
    }
    busy.pause(true);
    let before = Memory::now()?;
    busy.pause(false);
    let done = busy.done()?;
    println!("lifecycle: before {cycles} cycles: {} KiB", before.text());
    let mut times = [Times::default(); 3];
    let start = Instant::now();
    for n in 0..cycles {
        let kind = Kind::of(n);
        let judged = cycle(&ctx.scratch, kind, &mut times[kind as usize]);
        judged.map_err(|why| format!("cycle {n} ({}): {why}", kind.name()))?;
        busy.done()?;
        ctx.progress();
        if (n + 1) % 50 == 0 {
            println!(
                "lifecycle: {} of {cycles} after {} s",
                n + 1,
                start.elapsed().as_secs()
            );
        }
    }
    busy.pause(true);
    let after = before.expect_flat()?;
    println!("lifecycle: after {cycles} cycles: {} KiB", after.text());
    println!(
        "lifecycle: caches that have grown most, KiB: {}",
        stress::growth(&before.caches)
    );
    report(&times);
    let all = busy.done()?;
    for (kind, (all, done)) in WORK.iter().zip(all.iter().zip(done)) {
        println!("lifecycle: meanwhile {kind}: {}", all - done);
        ensure!(*all > done + cycles, "hardly any {kind} in {cycles} cycles");
    }
    ensure!(
        std::thread::available_parallelism().is_ok_and(|n| n.get() > 1),
        "this needs two processors"
    );
    Ok(())
}
