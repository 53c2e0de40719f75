// SPDX-License-Identifier: GPL-2.0

//! Quarantine on a sealed node: who ends it, and what of it outlives a restart.

use super::{
    alerts::{
        asks,
        record_of,
        unanswered, //
    },
    approves,
    begin,
    convict,
    convicts,
    elsewhere,
    exactly,
    quarantined,
    shown,
    trusted,
    Desk,
    EQUIVOCATION,
    NO_RAISE, //
};
use crate::client::Attributes;
use crate::ensure;
use crate::harness::{
    facts,
    Ctx,
    Test, //
};
use crate::keys::Validator;
use crate::stage::{
    self,
    expect_refused,
    fresh_request,
    kind,
    nl,
    submit,
    submit_evidence,
    voter,
    Res,
    APPROVE,
    DENY, //
};
use crate::state::{
    self,
    Kept, //
};

/// The tests, in their order.
pub(super) const TESTS: &[Test] = &[
    Test::new("readmission_takes_a_quorum", by_quorum),
    Test::new("quarantined_key_is_not_enrolled_again", enrolled_again),
    Test::new("quarantine_and_reputation_outlive_a_restart", restart),
    Test::new("quarantine_that_was_not_saved_is_proved_again", unsaved),
    Test::new("silence_does_not_raise_governance", governance),
];

const FOUR: &[u32] = &[1; 4];

/// A node like that of [`begin`], and sealed; its state.
fn sealed(weights: &[u32], adaptive: &str) -> Res<Kept> {
    begin(weights, adaptive)?;
    state::keep(stage::ask(nl::SEAL, &Attributes::new()))
}

/// Has validator 1 lie to this node; the evidence.
fn equivocate() -> Res<Vec<u8>> {
    let request = fresh_request()?;
    approves(1, &request)?;
    convicts("both verdicts", submit(&voter(1)?.record(&request, DENY)))?;
    quarantined(1, EQUIVOCATION)
}

fn named(name: &str) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.string(nl::A_VALIDATOR_NAME, name);
    attributes
}

/// Has these validators decide on the readmission of one, and commits it.
fn readmit(name: &str, by: &[u32]) -> Res {
    let ask = || stage::ask(nl::VALIDATOR_READMIT, &named(name));
    let reply = ask().map_err(|e| format!("readmit {name}: {e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::PENDING),
        "readmit {name} on a sealed node: {reply:?}"
    );
    let request = state::requested(&reply)?;
    let mut detail = vec![3, 0, 0, 0, 0];
    detail.push(u8::try_from(name.len()).unwrap_or(0));
    detail.extend(name.as_bytes());
    detail.extend([0; 65]);
    ensure!(
        facts(&request).iter().any(|(_, value)| *value == detail),
        "the request does not say who is to be readmitted"
    );
    exactly(&request, by)?;
    state::keep(ask()).map(drop)
}

fn by_quorum(_: &mut Ctx) -> Res {
    sealed(FOUR, NO_RAISE)?;
    let open = fresh_request()?;
    let evidence = equivocate()?;
    let before = stage::status()?.event;
    let reply = stage::ask(nl::VALIDATOR_READMIT, &named("v1")).map_err(|e| format!("{e:?}"))?;
    convicts(
        "its vote on its own return",
        submit(&voter(1)?.record(&state::requested(&reply)?, APPROVE)),
    )?;
    readmit("v1", &[2, 3, 4])?;
    trusted(1)?;
    ensure!(
        stage::request(&open.id)?.state == nl::CANCELLED,
        "an open request outlived the change"
    );
    let kinds: Vec<u16> = stage::events_after(before)?
        .iter()
        .map(|event| event.kind)
        .filter(|kind| [kind::STAGED, kind::ANCHORED, kind::READMITTED].contains(kind))
        .collect();
    ensure!(
        kinds == [kind::STAGED, kind::ANCHORED, kind::READMITTED],
        "the events are {kinds:?}"
    );
    expect_refused(
        "the old evidence",
        submit_evidence(&evidence),
        libc::ESTALE,
        "evidence_expired",
    )?;
    exactly(&fresh_request()?, &[1, 2, 3])?;
    let again = equivocate()?;
    ensure!(again != evidence, "the old evidence is shown");
    Ok(())
}

fn enrolled_again(_: &mut Ctx) -> Res {
    sealed(FOUR, NO_RAISE)?;
    convict(1)?;
    let remove = || stage::ask(nl::VALIDATOR_REMOVE, &named("v1"));
    let reply = remove().map_err(|e| format!("{e:?}"))?;
    exactly(&state::requested(&reply)?, &[2, 3, 4])?;
    state::keep(remove())?;
    let before = stage::open_requests()?.len();
    for name in ["v1", "other"] {
        expect_refused(
            "its key again",
            stage::ask(
                nl::VALIDATOR_ADD,
                &stage::validator_attributes(name, &Validator::test(1).point(), 1),
            ),
            libc::EEXIST,
            "validator_quarantined",
        )?;
    }
    ensure!(
        stage::open_requests()?.len() == before,
        "a quorum was asked for it"
    );
    // Nor after a restart.
    stage::fresh_request()?;
    let state = state::keep(state::checkpoint())?;
    state::restart()?;
    state::restore(&state)?;
    expect_refused(
        "its key after a restart",
        stage::enrol(&Validator::test(1), 1),
        libc::EEXIST,
        "validator_quarantined",
    )?;
    ensure!(
        shown()?.contains_key(&Validator::test(1).id()),
        "with the restart its evidence has gone"
    );
    Ok(())
}

/// The log of a load that begins with this state says by itself that v1 is quarantined, and for what.
fn told(state: &Kept, evidence: &[u8]) -> Res {
    let events = state::history(&state.head())?;
    let kinds: Vec<u16> = events
        .iter()
        .map(|event| event.kind)
        .filter(|kind| *kind != kind::CONTROL_REFUSED)
        .collect();
    let mut want = vec![
        kind::LOADED,
        kind::STAGED,
        kind::ANCHORED,
        kind::RESTORED,
        kind::POLICY,
        kind::WATCH,
        kind::MODE,
        kind::VALIDATOR_ADDED,
        kind::CLOCK,
        kind::REPUTATION,
        kind::QUARANTINED,
    ];
    for _ in 0..3 {
        want.extend([kind::VALIDATOR_ADDED, kind::CLOCK, kind::REPUTATION]);
    }
    want.extend([kind::CLOCK, kind::SEALED]);
    ensure!(kinds == want, "the events are {kinds:?}, not {want:?}");
    ensure!(
        events
            .iter()
            .any(|event| event.kind == kind::QUARANTINED && event.payload() == evidence),
        "QUARANTINED has other evidence"
    );
    Ok(())
}

fn restart(_: &mut Ctx) -> Res {
    sealed(FOUR, NO_RAISE)?;
    for _ in 0..2 {
        let request = fresh_request()?;
        voter(4)?
            .cast(&request, DENY)
            .map_err(|e| format!("{e:?}"))?;
        exactly(&request, &[1, 2, 3])?;
    }
    let old = elsewhere(&Validator::test(2), 0x77, 40);
    submit_evidence(&old).map_err(|e| format!("{e:?}"))?;
    readmit("v2", &[1, 3, 4])?;
    let evidence = equivocate()?;
    let records = || -> Res<Vec<_>> { (1..=4).map(record_of).collect() };
    let before = records()?;
    ensure!(
        before[3] == (10_000, 3 + 3 - 1, 1, 2),
        "v4 has {:?}",
        before[3]
    );
    stage::fresh_request()?;
    let state = state::keep(state::checkpoint())?;
    state::restart()?;
    state::restore(&state)?;
    ensure!(
        records()? == before,
        "reputations are {:?}, not {before:?}",
        records()?
    );
    let status = stage::status()?;
    ensure!(
        status.total == 4 && status.quarantined == 1 && status.alert == 0,
        "status: {status:?}"
    );
    ensure!(
        voter(1)?.fault == Some(1)
            && super::standing("v1")? == "equivocation"
            && shown()?.get(&Validator::test(1).id()).map(|kept| &kept.1) == Some(&evidence),
        "the quarantine is not what it was"
    );
    told(&state, &evidence)?;
    let request = fresh_request()?;
    convicts("its vote", submit(&voter(1)?.record(&request, APPROVE)))?;
    exactly(&request, &[2, 3, 4])?;
    expect_refused(
        "the evidence again",
        submit_evidence(&evidence),
        libc::EALREADY,
        "evidence_known",
    )?;
    expect_refused(
        "what expired before the restart",
        submit_evidence(&old),
        libc::ESTALE,
        "evidence_expired",
    )?;
    readmit("v1", &[2, 3, 4])?;
    expect_refused(
        "what the readmission after the restart has expired",
        submit_evidence(&evidence),
        libc::ESTALE,
        "evidence_expired",
    )
}

fn unsaved(_: &mut Ctx) -> Res {
    let state = sealed(FOUR, NO_RAISE)?;
    let evidence = equivocate()?;
    state::restart()?;
    state::restore(&state)?;
    trusted(1)?;
    // Whoever has kept the evidence, or the log, has the node know it again.
    submit_evidence(&evidence).map_err(|e| format!("the kept evidence: {e:?}"))?;
    ensure!(
        quarantined(1, EQUIVOCATION)? == evidence,
        "other evidence is shown"
    );
    let request = fresh_request()?;
    convicts("its vote", submit(&voter(1)?.record(&request, APPROVE)))
}

fn governance(_: &mut Ctx) -> Res {
    // Whoever is gone for good must be replaceable.
    sealed(
        &[1; 10],
        "adaptive silence=1s missing=25% quiet=20s jitter=0%",
    )?;
    let mut desk = Desk::open()?;
    unanswered(&mut desk)?;
    asks(&mut desk, 9000)?;
    let request = fresh_request()?;
    ensure!(
        request.threshold == 7500,
        "a governance request during silence has the threshold {}",
        request.threshold
    );
    exactly(&request, &[1, 2, 3, 4, 5, 6, 7, 8])?;
    // Evidence is another matter.
    convict(10)?;
    let request = fresh_request()?;
    ensure!(
        request.threshold == 9000,
        "a governance request with fresh evidence has the threshold {}",
        request.threshold
    );
    exactly(&request, &[1, 2, 3, 4, 5, 6, 7, 8, 9])?;
    desk.agent.end()
}
