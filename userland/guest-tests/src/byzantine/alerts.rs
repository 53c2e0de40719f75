// SPDX-License-Identifier: GPL-2.0

//! Thresholds that rise and fall, and what is merely suspected.

use super::{
    approves,
    begin,
    convict,
    decided,
    exactly,
    of_kind,
    stands,
    trusted,
    Desk,
    NO_RAISE, //
};
use crate::client::Attributes;
use crate::ensure;
use crate::harness::{
    be,
    Ctx,
    Test, //
};
use crate::keys::Validator;
use crate::stage::{
    self,
    kind,
    new_user,
    nl,
    submit_as,
    voter,
    Request,
    Res,
    APPROVE,
    DENY, //
};
use std::time::Duration;

/// The tests, in their order.
pub(super) const TESTS: &[Test] = &[
    Test::new("evidence_raises_the_threshold_for_a_while", evidence),
    Test::new("burst_of_invalid_votes_raises_the_threshold", burst),
    Test::new("silence_raises_the_threshold", silence),
    Test::new("windows_are_drawn_within_jitter", drawn),
    Test::new("floor_and_ceiling", bounds),
    Test::new(
        "reputation_follows_agreement_and_weighs_nothing",
        reputation,
    ),
];

const EVIDENCE: u32 = 1;
const BURST: u32 = 2;
const SILENCE: u32 = 3;

/// Whether an alert holds, as status tells it.
fn alerts(reason: u32, name: &str, holds: bool) -> Res {
    let (mask, line) = (stage::status()?.alert, stage::status_line("alert")?);
    ensure!(
        mask == if holds { 1 << reason } else { 0 } && line == if holds { name } else { "none" },
        "the alerts are {mask:#x}, {line}; {name}: {holds}"
    );
    Ok(())
}

/// The turns since an event: ALERT and CALM with their reasons. WATCH directly follows each.
fn turns(after: u64) -> Res<Vec<(u16, u32)>> {
    let events = stage::events_after(after)?;
    let mut found = Vec::new();
    for (at, event) in events.iter().enumerate() {
        if [kind::ALERT, kind::CALM].contains(&event.kind) {
            found.push((event.kind, u32::from(event.result)));
            ensure!(
                events
                    .get(at + 1)
                    .is_some_and(|next| next.kind == kind::WATCH),
                "WATCH does not follow event {}",
                event.number
            );
        }
    }
    Ok(found)
}

/// A new request, which must have this threshold.
pub(super) fn asks(desk: &mut Desk, threshold: u32) -> Res<Request> {
    let request = desk.ask("most")?;
    ensure!(
        request.threshold == threshold,
        "a new request has the threshold {}, not {threshold}",
        request.threshold
    );
    Ok(request)
}

fn sleep(ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

fn evidence(_: &mut Ctx) -> Res {
    // 75 % of ten is eight, 90 % is nine.
    begin(&[1; 10], "adaptive quiet=6s jitter=0%")?;
    let mut desk = Desk::open()?;
    let old = asks(&mut desk, 7500)?;
    let idle = asks(&mut desk, 7500)?;
    for number in 1..=7 {
        approves(number, &old)?;
    }
    let before = stage::status()?.event;
    convict(10)?;
    alerts(EVIDENCE, "evidence", true)?;
    ensure!(
        turns(before)? == [(kind::ALERT, EVIDENCE)],
        "the turns are {:?}",
        turns(before)?
    );
    let new = asks(&mut desk, 9000)?;
    exactly(&old, &[8, 9])?;
    ensure!(
        decided(&old, kind::GRANTED)? == (9, 0, 10, 1, 9000),
        "GRANTED tells {:?}",
        decided(&old, kind::GRANTED)?
    );
    for number in 1..=7 {
        approves(number, &new)?;
    }
    let reply = stage::call(nl::STATUS, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply
            .u64(nl::A_ALERT_ENDS_MS)
            .is_some_and(|left| left <= 6000),
        "the alert ends in {:?} ms",
        reply.u64(nl::A_ALERT_ENDS_MS)
    );
    sleep(6100);
    let calm = asks(&mut desk, 7500)?;
    alerts(EVIDENCE, "evidence", false)?;
    ensure!(
        turns(before)? == [(kind::ALERT, EVIDENCE), (kind::CALM, EVIDENCE)],
        "the turns are {:?}",
        turns(before)?
    );
    exactly(&calm, &[1, 2, 3, 4, 5, 6, 7, 8])?;
    ensure!(
        decided(&calm, kind::GRANTED)? == (8, 0, 10, 1, 7500),
        "GRANTED tells {:?}",
        decided(&calm, kind::GRANTED)?
    );
    // What was open while it held keeps the threshold until it ends, voted on or not.
    exactly(&new, &[8, 9])?;
    exactly(&idle, &[1, 2, 3, 4, 5, 6, 7, 8, 9])?;
    // The weight of nine is exactly 90 %: with two quarantined nothing can be approved during an alert.
    convict(9)?;
    desk.next("most")?;
    desk.write(libc::EACCES)?;
    stands(
        "two of ten during an alert",
        &desk.agent.request()?.id,
        (nl::DENIED, 0, 0, 2),
    )?;
    sleep(6100);
    exactly(&asks(&mut desk, 7500)?, &[1, 2, 3, 4, 5, 6, 7, 8])?;
    desk.agent.end()
}

fn burst(_: &mut Ctx) -> Res {
    begin(&[1; 4], "adaptive burst=4 within=1m quiet=3s jitter=0%")?;
    let mut desk = Desk::open()?;
    let open = asks(&mut desk, 7500)?;
    // Nobody needs a key for it.
    let forged = voter(1)?.vote(&open, APPROVE).record(&Validator::test(9));
    let noise = |count: usize| -> Res {
        for answer in submit_as(new_user(), &vec![forged.clone(); count])? {
            stage::expect_refused("a forged vote", answer, libc::EKEYREJECTED, "vote_forged")?;
        }
        Ok(())
    };
    let before = stage::status()?.event;
    noise(3)?;
    alerts(BURST, "burst", false)?;
    let touched = asks(&mut desk, 7500)?;
    noise(1)?;
    alerts(BURST, "burst", true)?;
    approves(1, &touched)?;
    let raised = asks(&mut desk, 9000)?;
    exactly(&raised, &[1, 2, 3, 4])?;
    sleep(3100);
    let calm = asks(&mut desk, 7500)?;
    alerts(BURST, "burst", false)?;
    // It rests for as long again, whatever comes.
    noise(9)?;
    asks(&mut desk, 7500)?;
    ensure!(
        turns(before)? == [(kind::ALERT, BURST), (kind::CALM, BURST)],
        "the turns are {:?}",
        turns(before)?
    );
    exactly(&calm, &[1, 2, 3])?;
    // What was voted on meanwhile keeps the threshold; what was only open is as it was.
    exactly(&touched, &[2, 3, 4])?;
    exactly(&open, &[1, 2, 3])?;
    sleep(3100);
    noise(4)?;
    alerts(BURST, "burst", true)?;
    asks(&mut desk, 9000)?;
    trusted(1)?;
    desk.agent.end()
}

/// Three requests that nobody answers.
pub(super) fn unanswered(desk: &mut Desk) -> Res {
    let requests = [desk.ask("brief")?, desk.ask("brief")?, desk.ask("brief")?];
    for request in &requests {
        stage::eventually(Duration::from_secs(8), || {
            let state = stage::request(&request.id)?.state;
            ensure!(state == nl::EXPIRED, "a request of 1 s is in state {state}");
            Ok(())
        })?;
    }
    Ok(())
}

fn silence(_: &mut Ctx) -> Res {
    begin(
        &[1; 4],
        "adaptive silence=1s missing=25% quiet=3s jitter=0%",
    )?;
    let mut desk = Desk::open()?;
    let open = asks(&mut desk, 7500)?;
    let before = stage::status()?.event;
    unanswered(&mut desk)?;
    let raised = asks(&mut desk, 9000)?;
    alerts(SILENCE, "silence", true)?;
    ensure!(
        stage::status()?.unheard == 4,
        "unheard weight {}",
        stage::status()?.unheard
    );
    let unheard = stage::dump(nl::VALIDATOR_GET, &Attributes::new())
        .map_err(|e| format!("{e:?}"))?
        .iter()
        .map(|reply| reply.u32(nl::A_UNHEARD))
        .collect::<Vec<_>>();
    ensure!(
        unheard == [Some(3); 4],
        "requests that ended without a vote: {unheard:?}"
    );
    // All are heard again; it still holds until it has been quiet.
    exactly(&raised, &[1, 2, 3, 4])?;
    ensure!(
        stage::status()?.unheard == 0,
        "unheard weight {}",
        stage::status()?.unheard
    );
    sleep(3100);
    let calm = asks(&mut desk, 7500)?;
    alerts(SILENCE, "silence", false)?;
    ensure!(
        turns(before)? == [(kind::ALERT, SILENCE), (kind::CALM, SILENCE)],
        "the turns are {:?}",
        turns(before)?
    );
    exactly(&calm, &[1, 2, 3])?;
    exactly(&open, &[1, 2, 3, 4])?;
    desk.agent.end()
}

/// The payload of WATCH.
#[derive(Debug, PartialEq)]
struct Watch {
    raise: u64,
    ceiling: u64,
    missing: u64,
    burst: u64,
    windows: [u64; 3],
}

fn watch(payload: &[u8]) -> Res<Watch> {
    ensure!(payload.len() == 20, "WATCH has {} bytes", payload.len());
    Ok(Watch {
        raise: be(payload, 0, 2),
        ceiling: be(payload, 2, 2),
        missing: be(payload, 4, 2),
        burst: be(payload, 6, 2),
        windows: [be(payload, 8, 4), be(payload, 12, 4), be(payload, 16, 4)],
    })
}

fn drawn(_: &mut Ctx) -> Res {
    let adaptive =
        "adaptive raise=12.34% ceiling=88% missing=20% burst=7 silence=10m within=1m quiet=20m \
                    jitter=50%";
    begin(&[1; 4], adaptive)?;
    let least = [600_000, 60_000, 1_200_000];
    let mut all = Vec::new();
    for _ in 0..4 {
        let before = stage::status()?.event;
        stage::load_body("byzantine", &super::body(adaptive)?)?;
        let events = stage::events_after(before)?;
        let at = events
            .iter()
            .position(|event| event.kind == kind::POLICY)
            .ok_or("no POLICY")?;
        let next = events.get(at + 1).ok_or("nothing after POLICY")?;
        ensure!(
            next.kind == kind::WATCH,
            "after POLICY follows kind {}",
            next.kind
        );
        ensure!(
            stage::status()?.watch.as_deref() == Some(next.payload()),
            "status shows another WATCH"
        );
        let now = watch(next.payload())?;
        ensure!(
            (now.raise, now.ceiling, now.missing, now.burst) == (1234, 8800, 2000, 7),
            "WATCH: {now:?}"
        );
        for (value, least) in now.windows.iter().zip(least) {
            ensure!(
                (least..=least + least / 2).contains(value),
                "a window of {value} ms, with {least} ms and 50 % in the policy"
            );
        }
        all.push(now.windows);
    }
    // 30 s to 10 min of room: that two draws are alike happens once in 10^15.
    ensure!(
        (1..all.len()).all(|at| !all[..at].contains(&all[at])),
        "draws that are alike: {all:?}"
    );
    ensure!(
        (0..3).all(|n| all.iter().any(|windows| windows[n] != least[n])),
        "a window is never lengthened: {all:?}"
    );
    stage::load_body(
        "byzantine",
        &super::body("adaptive silence=2m within=5s quiet=3m jitter=0%")?,
    )?;
    let now = watch(&stage::status()?.watch.ok_or("no WATCH in status")?)?;
    ensure!(
        now == Watch {
            raise: 1500,
            ceiling: 9000,
            missing: 3334,
            burst: 16,
            windows: [120_000, 5_000, 180_000],
        },
        "without jitter: {now:?}"
    );
    Ok(())
}

fn bounds(_: &mut Ctx) -> Res {
    let floor = || -> Res<Option<u32>> {
        let reply = stage::call(nl::STATUS, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
        Ok(reply.u32(nl::A_FLOOR))
    };
    // The rule's 75 % and 15 points are above this ceiling.
    begin(&[1; 10], "adaptive ceiling=82% quiet=1m jitter=0%")?;
    ensure!(floor()? == Some(5001), "the floor is {:?}", floor()?);
    let mut desk = Desk::open()?;
    asks(&mut desk, 7500)?;
    convict(10)?;
    let request = asks(&mut desk, 8200)?;
    exactly(&request, &[1, 2, 3, 4, 5, 6, 7, 8, 9])?;
    desk.agent.end()?;
    // A floor is for every rule, and for rules that say nothing.
    stage::load_body(
        "byzantine",
        &format!(
            "class a\nadaptive floor=80%\nDEFAULT action=ALLOW\n\
             op=FILE_WRITE class=a path={} action=QUORUM timeout=5m\n",
            super::dir("most")?
        ),
    )?;
    ensure!(floor()? == Some(8000), "the floor is {:?}", floor()?);
    let mut desk = Desk::open()?;
    // What the grant binds is the rule's, and what decides is raised by the alert that still holds.
    let request = asks(&mut desk, 9000)?;
    ensure!(
        be(&request.encoding, 152, 2) == 8000,
        "a rule without a threshold has {}",
        be(&request.encoding, 152, 2)
    );
    desk.agent.end()
}

/// Score, bias and decisions that a validator has agreed and disagreed with.
pub(super) fn record_of(number: u32) -> Res<(u32, u32, u64, u64)> {
    let name = Validator::test(number).name;
    let replies =
        stage::dump(nl::VALIDATOR_GET, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    let reply = replies
        .iter()
        .find(|reply| reply.string(nl::A_VALIDATOR_NAME).as_deref() == Some(name.as_str()))
        .ok_or_else(|| format!("no {name}"))?;
    ensure!(
        reply.u32(nl::A_VALIDATOR_WEIGHT) == Some(1),
        "{name} weighs {:?}",
        reply.u32(nl::A_VALIDATOR_WEIGHT)
    );
    let missing = || format!("{name} has no reputation");
    Ok((
        reply.u32(nl::A_REPUTATION).ok_or_else(missing)?,
        reply.u32(nl::A_BIAS).ok_or_else(missing)?,
        reply.u64(nl::A_AGREED).ok_or_else(missing)?,
        reply.u64(nl::A_DISAGREED).ok_or_else(missing)?,
    ))
}

fn reputation(_: &mut Ctx) -> Res {
    begin(&[1; 4], NO_RAISE)?;
    let mut desk = Desk::open()?;
    ensure!(
        record_of(4)? == (10_000, 0, 0, 0),
        "v4 begins with {:?}",
        record_of(4)?
    );
    // A decision with half of all weight on either side judges nobody.
    let tie = desk.ask("most")?;
    for (number, verdict) in [(1, APPROVE), (2, APPROVE), (3, DENY), (4, DENY)] {
        voter(number)?
            .cast(&tie, verdict)
            .map_err(|e| format!("{e:?}"))?;
    }
    ensure!(
        record_of(4)? == (10_000, 0, 0, 0) && record_of(1)? == (10_000, 0, 0, 0),
        "a tie was judged: {:?}",
        record_of(4)?
    );
    // Three quarters for each: the sixth decision passes 16 and costs 1000, later every third one does; three times in an
    // hour.
    let scores = [
        10_000, 10_000, 10_000, 10_000, 10_000, 9000, 9000, 9000, 8000, 8000, 8000, 7000, 7000,
        7000, 7000,
    ];
    for (round, score) in (1u32..).zip(scores) {
        let request = desk.ask("most")?;
        voter(4)?
            .cast(&request, DENY)
            .map_err(|e| format!("{e:?}"))?;
        exactly(&request, &[1, 2, 3])?;
        let bias = if round < 6 {
            3 * round
        } else {
            8 + round % 3 * 3
        };
        let now = record_of(4)?;
        ensure!(
            now == (score, bias, 0, u64::from(round)),
            "after {round} denials of what was granted v4 has {now:?}, not {score} and {bias}"
        );
    }
    ensure!(
        record_of(1)?.2 == 15 && record_of(1)?.3 == 0 && record_of(1)?.1 == 0,
        "v1 has {:?}",
        record_of(1)?
    );
    // It weighs what it did, and no alert comes of it.
    let status = stage::status()?;
    ensure!(
        status.total == 4 && status.quarantined == 0 && status.alert == 0,
        "status: {status:?}"
    );
    trusted(4)?;
    let line = stage::content(&format!("{}/validators", stage::SECURITYFS))?;
    ensure!(
        line.lines()
            .any(|line| line.contains(" v4 ") && line.contains(" 7000 trusted")),
        "securityfs says\n{line}"
    );
    exactly(&desk.ask("most")?, &[4, 1, 2])?;
    ensure!(
        of_kind(1, kind::ALERT)?.is_empty(),
        "an alert came of a reputation"
    );
    desk.agent.end()
}
