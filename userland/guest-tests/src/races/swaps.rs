// SPDX-License-Identifier: GPL-2.0

//! What was approved is one object; another takes its name meanwhile, over and over.

use super::{
    agents,
    append,
    finish,
    length,
    log,
    play,
    Dice,
    Quorum,
    Track, //
};
use crate::agent::{
    self,
    Who, //
};
use crate::ensure;
use crate::harness::{
    op,
    patience,
    Ctx,
    Test, //
};
use crate::hooks::sys;
use crate::stage::{
    self,
    expect_errno,
    Res, //
};
use std::fs;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// The tests.
pub(super) const TESTS: &[Test] = &[
    Test::new("race_of_objects_after_approval", files),
    Test::new("race_of_programs_after_approval", programs),
];

/// Processes of the agent.
const RACERS: usize = 3;

/// How many writes each does, and how many programs it executes: what they record has to fit in the ring of events.
const ACTS: [usize; 2] = [60, 12];

/// How another object takes the name.
#[derive(Clone, Copy)]
enum Way {
    /// The files change places.
    Exchange,
    /// The directories do.
    ExchangeAbove,
    /// The other file is mounted over the one.
    Bind,
    /// A link leads now here, now there.
    Link,
    /// The file loses its name to the other one, and gets it back.
    Replace,
}

const WAYS: [Way; 5] = [
    Way::Exchange,
    Way::ExchangeAbove,
    Way::Bind,
    Way::Link,
    Way::Replace,
];

/// Two objects, of which one is approved.
struct Pair {
    top: String,
    /// Where the approved one is, and the other.
    good: String,
    evil: String,
    /// What the agent uses.
    name: String,
}

impl Pair {
    /// Makes both below a fresh directory of `vault`, with these contents.
    fn make(ctx: &Ctx, way: Way, good: &[u8], evil: &[u8]) -> Res<Self> {
        let _ = fs::remove_dir_all(ctx.path("vault/pair"));
        let pair = Self {
            top: ctx.dir("vault/pair")?,
            good: ctx.file("vault/pair/a/f", good)?,
            evil: ctx.file("vault/pair/b/f", evil)?,
            name: ctx.path(match way {
                Way::Link => "vault/pair/link",
                _ => "vault/pair/a/f",
            }),
        };
        for path in [&pair.good, &pair.evil] {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
                .map_err(|e| format!("{path}: {e}"))?;
            // What each is stays known under a name that nobody touches.
            let kept = path.replace("/f", "/kept");
            fs::hard_link(path, &kept).map_err(|e| format!("{kept}: {e}"))?;
        }
        pair.link("a")?;
        Ok(pair)
    }

    /// The object itself, wherever its directory is: of the approved one, or of the other.
    fn kept(&self, good: bool) -> Res<String> {
        let file = if good { &self.good } else { &self.evil };
        Ok(file.replace("/f", "/kept"))
    }

    /// Has the link lead to one of the directories.
    fn link(&self, to: &str) -> Res {
        let (new, link) = (format!("{}/new", self.top), format!("{}/link", self.top));
        let _ = fs::remove_file(&new);
        std::os::unix::fs::symlink(format!("{to}/f"), &new)
            .and_then(|()| fs::rename(&new, &link))
            .map_err(|e| format!("{link}: {e}"))
    }

    /// Puts the other object at the name, or the approved one back.
    fn swap(&self, way: Way, evil: bool) -> Res {
        let exchange = |a: &str, b: &str| {
            expect_errno("an exchange", sys::rename(a, b, libc::RENAME_EXCHANGE), 0)
        };
        match way {
            Way::Exchange => exchange(&self.good, &self.evil),
            Way::ExchangeAbove => exchange(&format!("{}/a", self.top), &format!("{}/b", self.top)),
            Way::Bind if evil => expect_errno(
                "a bind mount",
                sys::mount(&self.evil, &self.good, "", libc::MS_BIND),
                0,
            ),
            // SAFETY: The path is NUL-terminated and outlives the call.
            Way::Bind => sys::with_path(&self.good, |path| unsafe {
                sys::out(libc::umount2(path, libc::MNT_DETACH))
            })
            .eq(&0)
            .then_some(())
            .ok_or_else(|| "unmounting failed".to_owned()),
            Way::Link => self.link(if evil { "b" } else { "a" }),
            Way::Replace => {
                let from = self.kept(!evil)?;
                let new = format!("{}/new", self.top);
                fs::hard_link(&from, &new)
                    .and_then(|()| fs::rename(&new, &self.good))
                    // Of two links to one file neither goes: that is where it was before.
                    .and_then(|()| match fs::remove_file(&new) {
                        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
                        _ => Ok(()),
                    })
                    .map_err(|e| format!("{}: {e}", self.good))
            }
        }
    }
}

/// Swaps until the racers are through; how often.
fn swap_until(track: &'static Track, pair: &Pair, way: Way, dice: &mut Dice) -> Res<u64> {
    let mut swaps = 0;
    while !track.over.load(SeqCst) {
        pair.swap(way, swaps % 2 == 0)?;
        swaps += 1;
        dice.upset();
    }
    if swaps % 2 == 1 {
        pair.swap(way, false)?;
    }
    Ok(swaps)
}

/// Lets the agent's operation be approved as it is, then has the racers and the swaps begin.
fn race(
    ctx: &Ctx,
    track: &'static Track,
    pair: &Pair,
    way: Way,
    (dice, quorum): (&mut Dice, &mut Quorum),
    (op, act): (u16, fn(&str) -> i32),
) -> Res<u64> {
    track.reset();
    let name = pair.name.clone();
    let agent = agents(track, RACERS, dice, |n, dice| {
        if n == 0 {
            // The one that raises the request.
            track.count(act(&name));
            track.phase.store(1, SeqCst);
        }
        while track.phase.load(SeqCst) < 2 {
            std::thread::sleep(Duration::from_millis(1));
        }
        for _ in 0..ACTS[usize::from(op == op::EXEC)] {
            track.count(act(&name));
            dice.upset();
        }
        track.phase.fetch_add(1, SeqCst);
    })?;
    track.go.store(true, SeqCst);
    stage::eventually(patience(Duration::from_secs(20)), || {
        ensure!(track.phase.load(SeqCst) == 1, "nothing was raised");
        Ok(())
    })?;
    quorum.grant(&ctx.open_request(agent.agent, op)?)?;
    let mut own = dice.split();
    let swapper = {
        let mut pair = Some(pair);
        agent::spawn(&Who::Free, |report| match pair.take() {
            Some(pair) => match swap_until(track, pair, way, &mut own) {
                Ok(swaps) => {
                    report.push(i64::try_from(swaps).unwrap_or(0));
                    0
                }
                Err(why) => {
                    report.text(&why);
                    1
                }
            },
            None => 1,
        })
        .map_err(|(_, text)| text)?
    };
    track.phase.store(2, SeqCst);
    let id = agent.agent;
    finish(agent)?;
    track.over.store(true, SeqCst);
    let ended = swapper.wait()?;
    ensure!(ended.exit == Some(0), "swapping: {}", ended.text);
    ensure!(ended.value(0)? > 2, "only {} swaps", ended.value(0)?);
    track.fair()?;
    let (done, used) = (track.done.load(SeqCst), log::uses(id)?);
    ensure!(
        done == used,
        "{done} were let through and {used} uses recorded"
    );
    Ok(done)
}

fn file_round(ctx: &Ctx, track: &'static Track, dice: &mut Dice, quorum: &mut Quorum) -> Res {
    let way = WAYS[usize::try_from(dice.below(5)).unwrap_or(0)];
    let pair = Pair::make(ctx, way, b"", b"")?;
    let done = race(
        ctx,
        track,
        &pair,
        way,
        (dice, quorum),
        (op::FILE_WRITE, append),
    )?;
    let (good, evil) = (length(&pair.kept(true)?)?, length(&pair.kept(false)?)?);
    ensure!(
        evil == 0 && good == done,
        "{evil} bytes in what nobody approved, {good} in what was, {done} let through"
    );
    Ok(())
}

fn rules(ctx: &Ctx) -> String {
    format!(
        "class worker\nDEFAULT action=ALLOW\n\
         op=FILE_WRITE,EXEC class=worker path={} action=QUORUM threshold=75% ttl=1h timeout=1h uses=60000\n",
        ctx.path("vault")
    )
}

fn files(ctx: &mut Ctx) -> Res {
    let track = Track::new()?;
    ctx.dir("vault")?;
    let rules = rules(ctx);
    play(
        ctx,
        "objects after approval",
        &rules,
        |ctx, dice, quorum| file_round(ctx, track, dice, quorum),
    )
}

/// Executes: 0 when the approved program ran, [`EVIL`] when the other one did.
fn execute(path: &str) -> i32 {
    match sys::exec(&[path]) {
        (0, 0) => 0,
        (0, _) => EVIL,
        (errno, _) => errno,
    }
}

/// The program that nobody approved ran.
const EVIL: i32 = 6666;

fn programs(ctx: &mut Ctx) -> Res {
    let track = Track::new()?;
    ctx.dir("vault")?;
    let rules = rules(ctx);
    let read = |path| fs::read(path).map_err(|e| format!("{path}: {e}"));
    let (good, evil) = (read("/usr/bin/true")?, read("/usr/bin/false")?);
    play(
        ctx,
        "programs after approval",
        &rules,
        |ctx, dice, quorum| {
            let way = WAYS[usize::try_from(dice.below(5)).unwrap_or(0)];
            let pair = Pair::make(ctx, way, &good, &evil)?;
            race(ctx, track, &pair, way, (dice, quorum), (op::EXEC, execute)).map(drop)
        },
    )
}
