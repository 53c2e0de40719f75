// SPDX-License-Identifier: GPL-2.0

//! A label is inherited by whatever a task becomes or makes, however fast it does; and given to nobody by halves.

use super::{
    append,
    length,
    play,
    Dice,
    Track, //
};
use crate::agent::{
    self,
    Who, //
};
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::hooks::sys;
use crate::stage::{
    self,
    Res, //
};
use crate::worker;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// The tests.
pub(super) const TESTS: &[Test] = &[
    Test::new("race_of_forks_and_their_label", forks),
    Test::new("race_of_labelling_and_threads", threads),
];

/// How deep an agent's processes nest, and how many each makes.
const DEEP: u32 = 4;
const WIDE: u64 = 3;

/// What no task of an agent may do.
fn try_out(track: &Track, path: &str) {
    match append(path) {
        libc::EACCES => track.refused.fetch_add(1, SeqCst),
        errno => track.foul(u64::try_from(errno).unwrap_or(0) + 10_000),
    };
}

/// The same by a program that the task becomes: it is refused, and says so by its status.
fn try_out_by_program(track: &Track, path: &str) {
    let command = format!("echo x 2>/dev/null >>{path}");
    match sys::exec(&["/usr/bin/bash", "-c", &command]) {
        (0, 1) => track.refused.fetch_add(1, SeqCst),
        // Killed by its parent, perhaps.
        (_, status) if status != 0 => 0,
        (errno, _) => track.foul(u64::try_from(errno).unwrap_or(0) + 20_000),
    };
}

/// Makes children of all kinds that make children in their turn. Each tries what it may not.
fn tree(track: &'static Track, path: &str, deep: u32, dice: &mut Dice) {
    try_out(track, path);
    dice.upset();
    if deep == 0 || track.over.load(SeqCst) {
        return;
    }
    let mut pids = Vec::new();
    for _ in 0..dice.below(WIDE) + 1 {
        let mut own = dice.split();
        match dice.below(6) {
            0 => {
                let thread = std::thread::spawn({
                    let path = path.to_owned();
                    move || try_out(track, &path)
                });
                let _ = thread.join();
            }
            1 => try_out_by_program(track, path),
            2 => {
                // An agent of its own, with the same rules.
                pids.extend(worker::fork(|| {
                    let _ = worker::label("worker", "sub");
                    tree(track, path, deep - 1, &mut own);
                    0
                }));
            }
            3 => {
                // Its parent is gone at once.
                pids.extend(worker::fork(|| {
                    let _ = worker::fork(|| {
                        tree(track, path, deep - 1, &mut own);
                        0
                    });
                    0
                }));
            }
            _ => pids.extend(worker::fork(|| {
                tree(track, path, deep - 1, &mut own);
                0
            })),
        }
    }
    for pid in pids {
        if dice.one_in(5) {
            // SAFETY: The child has not been waited for.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        worker::wait(pid);
    }
}

fn fork_round(track: &'static Track, path: &str, rules: &str, dice: &mut Dice) -> Res {
    track.reset();
    let mut children = Vec::new();
    for n in 0..3 {
        let mut own = dice.split();
        let name = format!("tree{n}");
        let child = agent::spawn(&Who::Agent("worker", &name), move |_| {
            track.wait();
            tree(track, path, DEEP, &mut own);
            0
        });
        children.push(child.map_err(|(errno, text)| format!("label: {errno} {text}"))?);
    }
    track.go.store(true, SeqCst);
    for _ in 0..dice.below(4) {
        dice.upset();
        stage::load_body("races", rules)?;
    }
    if dice.one_in(4) {
        // One is killed at its root.
        std::thread::sleep(Duration::from_millis(dice.below(200)));
        children.remove(0).kill()?;
    }
    for child in children {
        let ended = child.wait()?;
        ensure!(ended.exit == Some(0), "the agent ended badly: {ended:?}");
    }
    // Orphans run on.
    super::nothing_left()?;
    track.fair()?;
    ensure!(length(path)? == 0, "an agent wrote what it may not");
    ensure!(track.refused.load(SeqCst) > 3, "hardly anything was tried");
    Ok(())
}

fn denied(ctx: &Ctx) -> Res<(String, String)> {
    let path = ctx.file("vault/f", b"")?;
    let rules = format!(
        "class worker\nDEFAULT action=ALLOW\n\
         op=FILE_WRITE class=worker path={} action=DENY\n",
        ctx.path("vault")
    );
    Ok((path, rules))
}

fn forks(ctx: &mut Ctx) -> Res {
    let (path, rules) = denied(ctx)?;
    let track = Track::new()?;
    play(ctx, "forks and their label", &rules, |_, dice, _| {
        fork_round(track, &path, &rules, dice)
    })
}

// --- labelling ------------------------------------------------------------------------------------

/// The label was given.
const LABELLED: u64 = 1;

/// A thread comes, goes, and does what an agent may not; its process asks for a label at some time. When that is given,
/// nothing of the process may be left without it.
fn labelling(track: &'static Track, path: &str, dice: &mut Dice) -> i32 {
    let mut own = dice.split();
    let other = {
        let path = path.to_owned();
        std::thread::spawn(move || {
            for _ in 0..own.below(6) {
                let phase = track.phase.load(SeqCst);
                let errno = append(&path);
                if phase == LABELLED && errno == 0 {
                    track.foul(30_000);
                }
                own.upset();
            }
        })
    };
    dice.upset();
    // It is refused while the thread is there, and so it is asked for again.
    let mut refusals = 0;
    let labelled = loop {
        match worker::label("worker", "late").0 {
            0 => break true,
            _ if refusals == 2000 => break false,
            _ => refusals += 1,
        }
    };
    if labelled {
        track.phase.store(LABELLED, SeqCst);
        track.done.fetch_add(1, SeqCst);
        track.refused.fetch_add(refusals, SeqCst);
        try_out(track, path);
        let _ = other.join();
        try_out(track, path);
        return 0;
    }
    track.foul(40_000);
    1
}

fn threads(ctx: &mut Ctx) -> Res {
    let (path, rules) = denied(ctx)?;
    let track = Track::new()?;
    play(ctx, "labelling and threads", &rules, |_, dice, _| {
        for _ in 0..8 {
            track.reset();
            let mut own = dice.split();
            let child = agent::spawn(&Who::Free, |_| labelling(track, &path, &mut own));
            let ended = child.map_err(|(_, text)| text)?.wait()?;
            track.fair()?;
            ensure!(ended.exit == Some(0), "labelling: {ended:?}");
            ensure!(track.done.load(SeqCst) == 1, "no label was given");
        }
        Ok(())
    })
}
