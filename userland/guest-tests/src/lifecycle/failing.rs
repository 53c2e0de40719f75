// SPDX-License-Identifier: GPL-2.0

//! Loads that fail half-way, loads and unloads at once, and unloads that are refused.

use super::{
    begin,
    end,
    nothing_traced,
    programs,
    refused_load,
    rules,
    Memory, //
};
use crate::agent::{
    self,
    Who, //
};
use crate::bpf::NOTHING;
use crate::client::{
    Attributes,
    DUMP, //
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
    nl,
    Res, //
};
use crate::state;
use crate::worker::{
    outcome,
    Agent, //
};
use std::fs::File;
use std::path::Path;
use std::time::{
    Duration,
    Instant, //
};

/// The tests.
pub(super) const TESTS: &[Test] = &[
    Test::new("load_fails_half_way_and_then_works", fails_half_way),
    Test::new("load_is_killed_half_way_and_then_works", killed_half_way),
    Test::new("load_fails_with_bad_parameters", bad_parameters),
    Test::new("loads_and_unloads_at_once", at_once),
    Test::new("unload_while_files_are_open", files_open),
    Test::new("unload_with_listeners_and_half_read_dumps", listeners),
];

/// Enrolled when the node is sealed.
const VALIDATORS: u32 = 4;

/// The last one: a sealed node stays sealed.
pub(super) const SEALED: &[Test] = &[Test::new("sealed_module_is_pinned", pinned)];

fn delete(flags: libc::c_int) -> i32 {
    // SAFETY: The name is a constant string with its terminator.
    outcome(unsafe { libc::syscall(libc::SYS_delete_module, c"tcp_lsm".as_ptr(), flags) })
}

/// Loads, judges once, and unloads.
fn works(top: &Path) -> Res {
    begin("", top)?;
    let mut agent = Agent::start("a")?;
    agent.expect(
        libc::EACCES,
        &["append", &format!("{}/denied/f", top.display())],
    )?;
    agent.end()?;
    end().map(drop)
}

/// Attached at the last of all hooks, a BPF program makes a load with jumps fail when all others are attached; at the
/// first, before any is.
fn fails_half_way(ctx: &mut Ctx) -> Res {
    let mut before = None;
    for round in 0..2 {
        for hook in ["locked_down", "task_alloc"] {
            let programs = programs(&[hook], &NOTHING, 0)?;
            refused_load("direct=1", libc::EBUSY)?;
            let traced = stage::content("/sys/kernel/tracing/enabled_functions")?;
            ensure!(
                traced.matches("bpf_lsm_").count() == 1 && traced.contains(hook),
                "a failed load left functions redirected:\n{traced}"
            );
            drop(programs);
            stage::eventually(patience(Duration::from_secs(5)), nothing_traced)?;
            ctx.progress();
        }
        works(&ctx.scratch)?;
        if round == 0 {
            before = Some(Memory::now()?);
        }
    }
    before.ok_or("not measured")?.expect_flat().map(drop)
}

/// Whoever loads is killed, now early and now late: the module is all there then, or not at all.
fn killed_half_way(ctx: &mut Ctx) -> Res {
    let (mut loaded, mut not) = (0, 0);
    for round in 0..16 {
        let mut child = agent::spawn(&Who::Free, |_| state::insert("").unwrap_or(1))
            .map_err(|(_, text)| text)?;
        std::thread::sleep(Duration::from_millis(30 * round));
        child.kill()?;
        if stage::no_trace().is_ok() {
            not += 1;
        } else {
            loaded += 1;
            ensure!(
                stage::status()?.phase == nl::SETUP,
                "killed after {} ms: the module is there but not at work",
                30 * round
            );
            end()?;
        }
        nothing_traced()?;
    }
    println!("lifecycle: killed half-way: {loaded} times loaded, {not} times not");
    works(&ctx.scratch)
}

fn bad_parameters(ctx: &mut Ctx) -> Res {
    for parameters in ["pcrs=0x1000000", "pcrs=x", "direct=x", "require_tpm=300"] {
        let errno = state::insert(parameters)?;
        ensure!(errno != 0, "loaded with \"{parameters}\"");
        stage::no_trace()?;
    }
    works(&ctx.scratch)
}

/// Four processes load and unload as they like. Each time it is all there or not at all.
fn at_once(ctx: &mut Ctx) -> Res {
    let until = Instant::now() + Duration::from_secs(15);
    let mut children = Vec::new();
    for n in 0..4 {
        let child = agent::spawn(&Who::Free, move |report| {
            while Instant::now() < until {
                let errno = if n % 2 == 0 {
                    state::insert("").unwrap_or(-1)
                } else {
                    delete(if n == 1 { libc::O_NONBLOCK } else { 0 })
                };
                // A module on its way is in use, or is there already; who asks without waiting is told so. And a TPM may be
                // too slow.
                let known = if n % 2 == 0 {
                    [0, libc::EEXIST, libc::EBUSY, libc::EIO]
                } else {
                    [0, libc::ENOENT, libc::EBUSY, libc::EAGAIN]
                };
                if !known.contains(&errno) {
                    report.errno(errno);
                    return 1;
                }
                if errno == 0 {
                    report.push(0);
                }
            }
            0
        })
        .map_err(|(_, text)| text)?;
        children.push(child);
    }
    let mut done = Vec::new();
    for child in children {
        let ended = child.wait()?;
        ensure!(ended.exit == Some(0), "loading or unloading: {ended:?}");
        done.push(ended.values.len());
    }
    println!("lifecycle: at once: {done:?} loads and unloads by turns");
    ensure!(
        done[0] + done[2] > 1 && done[1] + done[3] > 1,
        "hardly anything was loaded: {done:?}"
    );
    state::unload()?;
    stage::no_trace()?;
    works(&ctx.scratch)
}

fn files_open(ctx: &mut Ctx) -> Res {
    begin("", &ctx.scratch)?;
    for name in ["status", "policy", "self", "events", "requests"] {
        let path = format!("{}/{name}", stage::SECURITYFS);
        let file = File::open(&path).map_err(|e| format!("{path}: {e}"))?;
        let what = format!("delete_module while {name} is open");
        expect_errno(&what, delete(libc::O_NONBLOCK), libc::EAGAIN)?;
        // It is all still at work.
        ensure!(stage::status()?.mode == nl::ENFORCE, "the mode changed");
        drop(file);
    }
    // A directory that is open, or somebody's working directory, keeps nothing: it is only gone.
    let directory = File::open(stage::SECURITYFS).map_err(|e| e.to_string())?;
    end()?;
    drop(directory);
    works(&ctx.scratch)
}

fn listeners(ctx: &mut Ctx) -> Res {
    begin("", &ctx.scratch)?;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let client = stage::open()?;
        client.join_events().map_err(|e| format!("{e:?}"))?;
        clients.push(client);
    }
    // Many events, so that nobody gets all of a dump at once.
    let body = rules(&ctx.scratch)?;
    for _ in 0..40 {
        stage::load_body("lifecycle", &body)?;
    }
    let mut attributes = Attributes::new();
    attributes.u64(nl::A_EVENT_NUMBER, 1);
    let mut reader = stage::open()?;
    reader
        .send(nl::EVENT_GET, DUMP, &attributes.0)
        .map_err(|e| format!("{e:?}"))?;
    // Who has not read a dump to its end holds the module, or else it is complete: then it goes.
    let errno = delete(libc::O_NONBLOCK);
    ensure!(
        [0, libc::EAGAIN].contains(&errno),
        "delete_module during a dump: {}",
        stage::errno_name(errno)
    );
    println!(
        "lifecycle: a dump half read: delete_module: {}",
        stage::errno_name(errno)
    );
    drop(reader);
    state::unload()?;
    stage::no_trace()?;
    // The sockets are still there, with what had been sent.
    for client in &mut clients {
        let messages = client.datagram().map_err(|e| format!("{e:?}"))?;
        ensure!(!messages.is_empty(), "no event was sent");
    }
    works(&ctx.scratch)
}

fn references() -> Res<i64> {
    let text = stage::content("/sys/module/tcp_lsm/refcnt")?;
    text.trim().parse().map_err(|_| format!("refcnt {text}"))
}

fn pinned(ctx: &mut Ctx) -> Res {
    state::load_patiently("")?;
    stage::prepare(VALIDATORS, "pinned", &rules(&ctx.scratch)?)?;
    let free = references()?;
    stage::call(nl::SEAL, &Attributes::new()).map_err(|e| format!("seal: {e:?}"))?;
    ensure!(
        references()? == free + 1,
        "sealing took {} references",
        references()? - free
    );
    // Everybody tries at once, by force as well.
    let mut children = Vec::new();
    for flags in [
        0,
        libc::O_NONBLOCK,
        libc::O_TRUNC,
        libc::O_TRUNC | libc::O_NONBLOCK,
    ] {
        let child = agent::spawn(&Who::Free, move |report| {
            let mut wrong = 0;
            for _ in 0..200 {
                wrong += i64::from(delete(flags) != libc::EPERM);
            }
            report.push(wrong);
            0
        });
        children.push(child.map_err(|(_, text)| text)?);
    }
    for child in children {
        let wrong = child.wait()?.value(0)?;
        ensure!(
            wrong == 0,
            "{wrong} of 200 times delete_module was not refused"
        );
    }
    ensure!(references()? == free + 1, "there are references too few");
    let mut agent = Agent::start("a")?;
    let denied = ["append", &format!("{}/denied/f", ctx.scratch.display())];
    agent.expect(libc::EACCES, &denied)?;
    agent.end()
}
