// SPDX-License-Identifier: GPL-2.0

//! Evidence that is handed in: what is taken, what is refused and for what, and what ends a quarantine.

use super::{
    approves,
    begin,
    both_verdicts,
    convict,
    convicts,
    elsewhere,
    evidence_of,
    exactly,
    of_kind,
    ordered,
    quarantined,
    raw_evidence,
    signed,
    stands,
    trusted,
    Desk,
    EQUIVOCATION,
    FORK,
    NO_RAISE,
    REGRESSION, //
};
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::keys::Validator;
use crate::stage::{
    self,
    expect_refused,
    kind,
    new_user,
    nl,
    submit,
    submit_evidence,
    submit_evidence_as,
    voter,
    Res,
    Vote,
    DENY, //
};

/// The tests, in their order.
pub(super) const TESTS: &[Test] = &[
    Test::new("evidence_of_each_fault_from_another_node", another_node),
    Test::new("evidence_in_another_order_or_torn", malformed),
    Test::new("evidence_of_no_contradiction", none),
    Test::new("evidence_against_a_stranger", stranger),
    Test::new("evidence_again", known),
    Test::new("flood_of_evidence", flood),
    Test::new("readmission_in_setup", readmission),
    Test::new("readmission_expires_what_was_before_it", old_and_new),
    Test::new("readmission_has_a_limit", limit),
    Test::new("readmission_of_who_is_not_quarantined", trusted_already),
];

const FOUR: &[u32] = &[1; 4];

/// Two votes of a validator for another node that are this fault.
fn lie(fault: u8, key: &Validator) -> (Vote, Vote) {
    let (a, mut b) = both_verdicts(key, [0x77; 32], 40);
    if fault != EQUIVOCATION {
        b.request = [8; 32];
        b.verdict = a.verdict;
    }
    match fault {
        FORK => b.set(3, a.entry(3)),
        REGRESSION => b.set(0, 39),
        _ => {}
    }
    (a, b)
}

fn another_node(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    for (number, fault) in [(1, EQUIVOCATION), (2, FORK), (3, REGRESSION)] {
        let key = Validator::test(number);
        let (a, b) = lie(fault, &key);
        let before = stage::status()?;
        let evidence = evidence_of(fault, &key, &a, &b);
        let reply = submit_evidence(&evidence).map_err(|e| format!("fault {fault}: {e:?}"))?;
        ensure!(
            reply.u32(nl::A_OUTCOME) == Some(nl::DONE)
                && reply.u32(nl::A_FAULT) == Some(u32::from(fault))
                && reply.string(nl::A_VALIDATOR_NAME).as_deref() == Some(key.name.as_str())
                && reply.u32(nl::A_VALIDATOR_SLOT) == Some(u32::from(voter(number)?.slot)),
            "the answer: {reply:?}"
        );
        ensure!(
            quarantined(number, fault)? == evidence,
            "other evidence is shown than was handed in"
        );
        let after = stage::status()?;
        ensure!(
            after.quarantined == before.quarantined + 1
                && after.counter("quarantined")? == before.counter("quarantined")? + 1
                && after.counter("evidence_refused")? == before.counter("evidence_refused")?,
            "status after fault {fault}: {after:?}"
        );
    }
    trusted(4)
}

fn refused(what: &str, evidence: &[u8], errno: i32, code: &str) -> Res {
    expect_refused(what, submit_evidence(evidence), errno, code)
}

fn malformed(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let key = Validator::test(1);
    let mut refused = Vec::new();
    for fault in [EQUIVOCATION, FORK, REGRESSION] {
        let (a, b) = lie(fault, &key);
        let (a, b) = (signed(&a, &key), signed(&b, &key));
        let right = ordered(fault, &key.point(), &a, &b);
        // The one order, and not the other one.
        for wrong in [
            raw_evidence(fault, &key.point(), &a, &b),
            raw_evidence(fault, &key.point(), &b, &a),
        ] {
            if wrong != right {
                refused.push(wrong);
            }
        }
        refused.push([&right[..], &[0]].concat());
        if fault == FORK {
            refused.extend((1..right.len()).map(|length| right[..length].to_vec()));
        }
    }
    let before = stage::status()?.counter("evidence_refused")?;
    let mut count = 0;
    for some in refused.chunks(24) {
        for answer in submit_evidence_as(new_user(), some)? {
            expect_refused(
                &format!("number {count}"),
                answer,
                libc::EINVAL,
                "evidence_malformed",
            )?;
            count += 1;
        }
    }
    ensure!(
        count > 300 && stage::status()?.counter("evidence_refused")? == before + count,
        "{count} refused, and evidence_refused rose by {}",
        stage::status()?.counter("evidence_refused")? - before
    );
    trusted(1)
}

fn none(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let key = Validator::test(1);
    let none = |what: &str, fault: u8, a: &Vote, b: &Vote| {
        refused(
            what,
            &evidence_of(fault, &key, a, b),
            libc::EINVAL,
            "evidence_none",
        )
    };
    let (a, b) = both_verdicts(&key, [0x77; 32], 40);
    let mut same = b.clone();
    same.verdict = a.verdict;
    none("one verdict, twice", EQUIVOCATION, &a, &same)?;
    let mut other = b.clone();
    other.request = [8; 32];
    none("two requests", EQUIVOCATION, &a, &other)?;
    let mut node = b.clone();
    node.node = [0x78; 32];
    none("two nodes", EQUIVOCATION, &a, &node)?;
    let mut epoch = b.clone();
    epoch.epoch += 1;
    none("two epochs", EQUIVOCATION, &a, &epoch)?;
    none("a fork that is none", FORK, &a, &other)?;
    none("a regression that is none", REGRESSION, &a, &other)?;
    // Another slot is another clock; an own entry of nothing says nothing.
    let mut slot = other.clone();
    slot.slot = 4;
    slot.clock = vec![(0, 39), (4, 5)];
    none("two slots", REGRESSION, &a, &slot)?;
    none("two slots", FORK, &a, &slot)?;
    let (mut nothing, mut neither) = (a.clone(), other.clone());
    nothing.clock = vec![(0, 40)];
    neither.clock = vec![(0, 41)];
    none("no own entries", FORK, &nothing, &neither)?;
    none("no own entry", REGRESSION, &nothing, &other)?;
    // The kind is that of the first row that holds, and no other.
    for fault in [EQUIVOCATION, FORK, REGRESSION] {
        let (a, b) = lie(fault, &key);
        for named in [EQUIVOCATION, FORK, REGRESSION] {
            if named != fault {
                none(&format!("fault {fault} as {named}"), named, &a, &b)?;
            }
        }
    }
    let (a, mut b) = both_verdicts(&key, [0x77; 32], 40);
    b.set(3, a.entry(3));
    none("an equivocation that is a fork, too", FORK, &a, &b)?;
    trusted(1)?;
    let evidence = evidence_of(EQUIVOCATION, &key, &a, &b);
    submit_evidence(&evidence).map_err(|e| format!("as an equivocation: {e:?}"))?;
    quarantined(1, EQUIVOCATION).map(drop)
}

fn stranger(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let evidence = elsewhere(&Validator::test(5), 0x77, 40);
    refused("of a stranger", &evidence, libc::ENOKEY, "evidence_unknown")?;
    ensure!(
        stage::status()?.quarantined == 0 && super::shown()?.is_empty(),
        "a stranger is quarantined"
    );
    stage::enrol(&Validator::test(5), 1).map_err(|e| format!("{e:?}"))?;
    submit_evidence(&evidence).map_err(|e| format!("once enrolled: {e:?}"))?;
    quarantined(5, EQUIVOCATION).map(drop)
}

fn known(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    convict(1)?;
    let first = quarantined(1, EQUIVOCATION)?;
    let key = Validator::test(1);
    let (a, b) = lie(REGRESSION, &key);
    let before = stage::status()?;
    let forged = {
        let (a, b) = both_verdicts(&key, [0x77; 32], 40);
        let thief = Validator::test(2);
        ordered(
            EQUIVOCATION,
            &key.point(),
            &signed(&a, &thief),
            &signed(&b, &thief),
        )
    };
    for (what, evidence) in [
        ("the same again", &first),
        ("of another fault", &evidence_of(REGRESSION, &key, &a, &b)),
        // What is known already costs no verification.
        ("forged", &forged),
    ] {
        refused(what, evidence, libc::EALREADY, "evidence_known")?;
    }
    ensure!(
        quarantined(1, EQUIVOCATION)? == first,
        "later evidence took the place of the first"
    );
    let after = stage::status()?;
    ensure!(
        after.counter("evidence_refused")? == before.counter("evidence_refused")? + 3
            && after.counter("quarantined")? == before.counter("quarantined")?
            && of_kind(before.event, kind::QUARANTINED)?.is_empty(),
        "evidence again: {after:?}"
    );
    Ok(())
}

fn flood(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    convict(1)?;
    let evidence = quarantined(1, EQUIVOCATION)?;
    let before = stage::status()?.event;
    let user = new_user();
    let answers = submit_evidence_as(user, &vec![evidence.clone(); 200])?;
    let with = |code: &str| {
        answers
            .iter()
            .filter(|answer| matches!(answer, Err(refused) if refused.text.starts_with(code)))
            .count()
    };
    let (known, limited) = (with("evidence_known: "), with("rate_limited: "));
    ensure!(
        known >= 32 && limited > 60 && known + limited == 200,
        "200 times the same evidence: {known} known, {limited} limited"
    );
    let events = stage::events_after(before)?;
    ensure!(
        events.len() <= known && !events.iter().any(|event| event.kind == kind::QUARANTINED),
        "200 times the same evidence made {} events",
        events.len()
    );
    // The limit is that of votes: who floods with the one is not heard with the other.
    let mut desk = Desk::open()?;
    let mut limited = false;
    // Eight a second are heard again: a vote may come just in time, not each time.
    for _ in 0..5 {
        let mut mixed = vec![evidence.clone(); 12];
        mixed.push(voter(2)?.record(&desk.ask("most")?, DENY));
        let answers = stage::as_user(user, &mixed, |bytes| {
            if bytes.starts_with(b"TCPLEVD1") {
                submit_evidence(bytes).map(|_| 0)
            } else {
                submit(bytes).map(|tally| tally.state)
            }
        })?;
        let last = answers.last().ok_or("no answer")?;
        limited = matches!(last, Err(refused) if refused.text.starts_with("rate_limited: "));
        if limited {
            break;
        }
    }
    ensure!(limited, "who floods with evidence is heard with votes");
    exactly(&desk.ask("most")?, &[2, 3, 4])?;
    desk.agent.end()
}

fn readmit(number: u32) -> Res {
    let name = Validator::test(number).name;
    let reply = stage::readmit(&name).map_err(|e| format!("readmitting {name}: {e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::DONE),
        "readmitting {name} in setup: {reply:?}"
    );
    trusted(number)
}

fn readmission(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let (granted, first) = (desk.ask("most")?, desk.ask("most")?);
    exactly(&granted, &[2, 3, 4])?;
    let granted_path = desk.path.clone();
    approves(1, &first)?;
    convicts("its denial", submit(&voter(1)?.record(&first, DENY)))?;
    let here = quarantined(1, EQUIVOCATION)?;
    let before = stage::status()?;
    readmit(1)?;
    // Open requests and grants end, as with any change of the validators.
    let events = stage::events_after(before.event)?;
    let kinds: Vec<_> = events
        .iter()
        .map(|event| (event.kind, event.result))
        .collect();
    ensure!(
        kinds.contains(&(kind::READMITTED, 0))
            && kinds.contains(&(kind::CANCELLED, 3))
            && kinds.contains(&(kind::GRANT_ENDED, 5)),
        "the events are {kinds:?}"
    );
    let event = events
        .iter()
        .find(|event| event.kind == kind::READMITTED)
        .ok_or("no READMITTED")?;
    let mut record = voter(1)?.slot.to_be_bytes().to_vec();
    record.extend(1u32.to_be_bytes());
    record.extend(b"\x02v1");
    record.extend(Validator::test(1).point());
    ensure!(
        event.slot == voter(1)?.slot && event.payload() == record,
        "READMITTED: {event:?}"
    );
    ensure!(
        stage::status()?.quarantined == 0 && stage::status()?.total == 4,
        "status after it: {:?}",
        stage::status()?
    );
    desk.path = granted_path;
    desk.write(libc::EACCES)?;
    // Its votes count again.
    let second = desk.ask("most")?;
    approves(1, &second)?;
    stands("its vote", &second.id, (nl::OPEN, 1, 0, 0))?;
    expired("the evidence of before", &here)?;
    desk.agent.end()
}

fn expired(what: &str, evidence: &[u8]) -> Res {
    refused(what, evidence, libc::ESTALE, "evidence_expired")
}

fn old_and_new(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let key = Validator::test(1);
    let node = stage::status()?.node;
    let fresh = |entry| {
        let (a, b) = both_verdicts(&key, node, entry);
        evidence_of(EQUIVOCATION, &key, &a, &b)
    };
    let then = stage::status()?.event;
    let first = fresh(then);
    submit_evidence(&first).map_err(|e| format!("{e:?}"))?;
    readmit(1)?;
    let readmitted = of_kind(then, kind::READMITTED)?;
    let number = readmitted.first().ok_or("no READMITTED")?.number;
    // What was there before is expired: the same, and all that is as old.
    expired("the old evidence", &first)?;
    expired("as old as the readmission", &fresh(number))?;
    trusted(1)?;
    // A new fault is a new fault, by a vote or by evidence.
    let request = desk.ask("most")?;
    approves(1, &request)?;
    convicts("both verdicts", submit(&voter(1)?.record(&request, DENY)))?;
    ensure!(
        quarantined(1, EQUIVOCATION)? != first,
        "the old evidence is shown"
    );
    readmit(1)?;
    // One entry that is greater than the pair's is enough, and one is needed.
    let (mut a, b) = both_verdicts(&key, node, stage::status()?.event + 1);
    a.set(0, 1);
    submit_evidence(&evidence_of(EQUIVOCATION, &key, &a, &b)).map_err(|e| format!("{e:?}"))?;
    quarantined(1, EQUIVOCATION)?;
    readmit(1)?;
    // Of another node: that node's pair is the greatest entry there.
    let there = elsewhere(&key, 0x77, 40);
    submit_evidence(&there).map_err(|e| format!("of another node: {e:?}"))?;
    readmit(1)?;
    expired("of another node", &there)?;
    expired("as old", &elsewhere(&key, 0x77, 39))?;
    submit_evidence(&elsewhere(&key, 0x77, 41)).map_err(|e| format!("newer: {e:?}"))?;
    quarantined(1, EQUIVOCATION)?;
    desk.agent.end()
}

fn limit(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let key = Validator::test(1);
    // This node's pair and three others.
    for node in [1, 2, 3] {
        submit_evidence(&elsewhere(&key, node, 40)).map_err(|e| format!("{e:?}"))?;
        readmit(1)?;
    }
    // A later pair of a node takes the place of its earlier one.
    submit_evidence(&elsewhere(&key, 2, 50)).map_err(|e| format!("{e:?}"))?;
    readmit(1)?;
    submit_evidence(&elsewhere(&key, 4, 40)).map_err(|e| format!("{e:?}"))?;
    expect_refused(
        "a fifth pair",
        stage::readmit("v1"),
        libc::ENOSPC,
        "readmit_limit",
    )?;
    quarantined(1, EQUIVOCATION)?;
    // Nothing that was noted is forgotten, and nobody else is concerned.
    convict(2)?;
    readmit(2)?;
    stage::remove("v1").map_err(|e| format!("{e:?}"))?;
    expect_refused(
        "its key, anew",
        stage::enrol(&key, 1),
        libc::EEXIST,
        "validator_quarantined",
    )
}

fn trusted_already(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let before = stage::status()?.event;
    expect_refused(
        "who is trusted",
        stage::readmit("v1"),
        libc::EINVAL,
        "validator_trusted",
    )?;
    expect_refused(
        "who is not there",
        stage::readmit("v9"),
        libc::ENOENT,
        "validator_unknown",
    )?;
    ensure!(
        of_kind(before, kind::READMITTED)?.is_empty(),
        "somebody was readmitted"
    );
    // Removed and never quarantined, it may come back.
    stage::remove("v1").map_err(|e| format!("{e:?}"))?;
    stage::enrol(&Validator::test(1), 1).map_err(|e| format!("enrolled again: {e:?}"))?;
    trusted(1)
}
