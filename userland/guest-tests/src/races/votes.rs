// SPDX-License-Identifier: GPL-2.0

//! Votes, cancelling, expiry and use at once; the end of a grant while it is used.

use super::{
    agents,
    append,
    finish,
    length,
    log,
    play,
    Dice,
    Quorum,
    Track,
    VALIDATORS, //
};
use crate::agent::{
    self,
    Child,
    Who, //
};
use crate::client::Attributes;
use crate::ensure;
use crate::harness::{
    op,
    patience,
    Ctx,
    Test, //
};
use crate::stage::{
    self,
    nl,
    Request,
    Res,
    APPROVE,
    DENY, //
};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{
    Duration,
    Instant, //
};

/// The tests.
pub(super) const TESTS: &[Test] = &[
    Test::new("race_of_votes_cancelling_and_expiry", votes),
    Test::new("race_of_a_grant_and_its_end", ends),
];

/// Processes of the agent.
const RACERS: usize = 3;

/// The open request of an agent for writing.
fn raised(ctx: &Ctx, agent: &Child) -> Res<Request> {
    let mut found = Err("nothing was raised".to_owned());
    stage::eventually(patience(Duration::from_secs(20)), || {
        found = ctx.open_request(agent.agent, op::FILE_WRITE);
        found.as_ref().map(drop).map_err(Clone::clone)
    })?;
    found
}

/// What was let through is what was written, and what the log says was used.
fn agrees(track: &Track, agent: u64, path: &str, before: u64) -> Res {
    track.fair()?;
    let (done, used) = (track.done.load(SeqCst), log::uses(agent)?);
    let written = length(path)? - before;
    ensure!(
        done == written && done == used,
        "{done} writes were let through, {written} bytes written, {used} uses recorded"
    );
    let failed = stage::status()?.counter("failed")?;
    ensure!(failed == 0, "{failed} operations could not be judged");
    Ok(())
}

/// Whoever submits: all records, in an order of its own, each perhaps sent by another at the same time.
fn submitters(track: &'static Track, records: &[Vec<u8>], dice: &mut Dice) -> Res<Vec<Child>> {
    let mut children = Vec::new();
    for _ in 0..2 {
        let mut own = dice.split();
        let mut order: Vec<Vec<u8>> = records.to_vec();
        own.shuffle(&mut order);
        // Each is a user of its own: what is refused, being the second, counts against whoever sends it.
        let uid = stage::new_user();
        let child = agent::spawn(&Who::Free, move |report| {
            track.wait();
            for record in &order {
                own.upset();
                match stage::submit_as(uid, std::slice::from_ref(record)) {
                    Ok(answers) => {
                        report.push(i64::from(answers.first().is_some_and(Result::is_ok)));
                    }
                    Err(why) => report.text(&why),
                }
            }
            0
        });
        children.push(child.map_err(|(_, text)| text)?);
    }
    Ok(children)
}

/// Whoever cancels, at some time.
fn canceller(track: &'static Track, id: [u8; 32], dice: &mut Dice) -> Res<Child> {
    let mut own = dice.split();
    agent::spawn(&Who::Free, move |_| {
        track.wait();
        std::thread::sleep(Duration::from_millis(own.below(120)));
        own.upset();
        let _ = stage::cancel(&id);
        0
    })
    .map_err(|(_, text)| text)
}

fn verdicts(request: &Request, dice: &mut Dice, quorum: &mut Quorum) -> Res<Vec<Vec<u8>>> {
    quorum.refresh()?;
    // Most often nobody denies, else one in four or three in four.
    let deny = [0, 0, 1, 3][usize::try_from(dice.below(4)).unwrap_or(0)];
    let mut records = Vec::new();
    for voter in &quorum.0 {
        let verdict = match dice.below(4) {
            n if n < deny => DENY,
            _ => APPROVE,
        };
        // Some keep silent, so that it is undecided until it expires.
        if !dice.one_in(10) {
            records.push(voter.record(request, verdict));
        }
    }
    Ok(records)
}

fn vote_round(
    ctx: &Ctx,
    track: &'static Track,
    path: &str,
    dice: &mut Dice,
    quorum: &mut Quorum,
) -> Res {
    track.reset();
    let before = length(path)?;
    let agent = agents(track, RACERS, dice, |_, dice| {
        while !track.over.load(SeqCst) {
            track.count(append(path));
            dice.upset();
        }
    })?;
    // They raise the same, all at once: that is one request.
    track.go.store(true, SeqCst);
    let request = raised(ctx, &agent)?;
    let records = verdicts(&request, dice, quorum)?;
    let mut others = submitters(track, &records, dice)?;
    if dice.one_in(3) {
        others.push(canceller(track, request.id, dice)?);
    }
    let mut accepted = 0;
    for child in others {
        let ended = child.wait()?;
        ensure!(ended.text.is_empty(), "submitting: {}", ended.text);
        accepted += ended.values.iter().sum::<i64>();
    }
    ensure!(
        accepted <= i64::try_from(records.len()).unwrap_or(0),
        "{accepted} of {} votes were accepted, some twice",
        records.len()
    );
    // An undecided request expires after some seconds, while the racers ask again.
    if dice.one_in(4) {
        let left = request
            .expires_ms()
            .saturating_sub(stage::status()?.boot_ms);
        std::thread::sleep(Duration::from_millis(left.min(8500)));
    }
    track.over.store(true, SeqCst);
    let id = agent.agent;
    finish(agent)?;
    agrees(track, id, path, before)?;
    let after = stage::request(&request.id)?;
    ensure!(
        (after.state == nl::GRANTED) == (after.approve >= 3),
        "{} approve and {} deny, and the request is in state {}",
        after.approve,
        after.deny,
        after.state
    );
    ensure!(
        track.done.load(SeqCst) == 0 || after.state == nl::GRANTED,
        "let through in state {}",
        after.state
    );
    Ok(())
}

fn votes(ctx: &mut Ctx) -> Res {
    let path = ctx.file("vault/f", b"")?;
    let rules = format!(
        "class worker\nDEFAULT action=ALLOW\n\
         op=FILE_WRITE class=worker path={} action=QUORUM threshold=75% timeout=8s uses=3\n",
        ctx.path("vault")
    );
    let track = Track::new()?;
    play(
        ctx,
        "votes, cancelling and expiry",
        &rules,
        |ctx, dice, quorum| vote_round(ctx, track, &path, dice, quorum),
    )
}

// --- the end of a grant ---------------------------------------------------------------------------

/// Ends the grant, one way or another, and returns once it has surely ended.
fn end_grant(request: &Request, rules: &str, dice: &mut Dice) -> Res {
    match dice.below(4) {
        0 => {
            let mut attributes = Attributes::new();
            attributes.bytes(nl::A_REQUEST_ID, &request.id);
            stage::call(nl::GRANT_REVOKE, &attributes)
                .map(drop)
                // It may have expired just now.
                .or_else(|refused| match refused.errno {
                    libc::ENOENT => Ok(()),
                    _ => Err(format!("grant-revoke: {refused:?}")),
                })
        }
        1 => stage::load_body("races", rules),
        2 => {
            let name = format!("v{VALIDATORS}");
            stage::remove(&name).map_err(|e| format!("removing {name}: {e:?}"))?;
            stage::electorate(VALIDATORS)
        }
        _ => {
            let start = Instant::now();
            loop {
                let grants = stage::dump(nl::GRANT_GET, &Attributes::new())
                    .map_err(|e| format!("grant-get: {e:?}"))?;
                if grants.is_empty() {
                    return Ok(());
                }
                ensure!(
                    start.elapsed() < patience(Duration::from_secs(20)),
                    "a grant for four seconds never ends"
                );
                std::thread::sleep(Duration::from_millis(dice.below(20)));
            }
        }
    }
}

/// Phases: not ended yet, or surely ended.
const ENDED: u64 = 1;

fn end_round(
    track: &'static Track,
    path: &str,
    rules: &str,
    dice: &mut Dice,
    quorum: &mut Quorum,
    ctx: &Ctx,
) -> Res {
    track.reset();
    let before = length(path)?;
    let agent = agents(track, RACERS, dice, |_, dice| {
        // Enough for the ring of events, and for the time that the grant has.
        for _ in 0..400 {
            if track.over.load(SeqCst) {
                break;
            }
            let phase = track.phase.load(SeqCst);
            let errno = append(path);
            track.count(errno);
            if phase == ENDED && errno == 0 {
                track.foul(1000);
            }
            dice.upset();
        }
    })?;
    track.go.store(true, SeqCst);
    let request = raised(ctx, &agent)?;
    quorum.grant(&request)?;
    std::thread::sleep(Duration::from_millis(dice.below(300)));
    dice.upset();
    end_grant(&request, rules, dice)?;
    track.phase.store(ENDED, SeqCst);
    std::thread::sleep(Duration::from_millis(50 + dice.below(100)));
    track.over.store(true, SeqCst);
    let id = agent.agent;
    finish(agent)?;
    agrees(track, id, path, before)
}

fn ends(ctx: &mut Ctx) -> Res {
    let path = ctx.file("vault/f", b"")?;
    let rules = format!(
        "class worker\nDEFAULT action=ALLOW\n\
         op=FILE_WRITE class=worker path={} action=QUORUM threshold=75% ttl=4s uses=60000\n",
        ctx.path("vault")
    );
    let track = Track::new()?;
    play(ctx, "a grant and its end", &rules, |ctx, dice, quorum| {
        end_round(track, &path, &rules, dice, quorum, ctx)
    })
}
