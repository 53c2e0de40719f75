// SPDX-License-Identifier: GPL-2.0

//! Votes: what counts, what does not, and when a request is decided.

use crate::ensure;
use crate::harness::{
    patience,
    Ctx,
    Test, //
};
use crate::keys::Validator;
use crate::stage::{
    self,
    cancel_all,
    expect_errno,
    expect_refused,
    fresh_request,
    kind,
    nl,
    submit,
    submit_as,
    voter,
    Request,
    Res,
    Vote,
    Voter,
    APPROVE,
    DENY, //
};
use crate::worker::{
    self,
    Agent, //
};
use std::process::Command;
use std::time::{
    Duration,
    Instant, //
};

/// The tests of the voter that was written from the documentation alone.
pub(crate) const FOREIGN: &[Test] = &[
    Test {
        name: "foreign_voter_shows_what_is_signed",
        run: foreign_shows,
    },
    Test {
        name: "foreign_votes_decide",
        run: foreign_decides,
    },
    Test {
        name: "foreign_voter_needs_no_privilege",
        run: foreign_unprivileged,
    },
    Test {
        name: "foreign_voter_meets_the_same_refusals",
        run: foreign_refusals,
    },
];

/// The tests, in their order: the first ones need a node in setup, the others seal it.
pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "rounding_at_1_validator",
        run: rounding_1,
    },
    Test {
        name: "rounding_at_3_validators",
        run: rounding_3,
    },
    Test {
        name: "rounding_at_4_validators",
        run: rounding_4,
    },
    Test {
        name: "rounding_at_7_validators",
        run: rounding_7,
    },
    Test {
        name: "rounding_at_100_validators",
        run: rounding_100,
    },
    Test {
        name: "rounding_of_unequal_weights",
        run: rounding_weights,
    },
    Test {
        name: "valid_vote_counts",
        run: valid_vote,
    },
    Test {
        name: "forged_signature",
        run: forged_signature,
    },
    Test {
        name: "signature_over_another_request",
        run: another_request,
    },
    Test {
        name: "signature_for_another_node",
        run: another_node,
    },
    Test {
        name: "signature_for_another_epoch",
        run: another_epoch,
    },
    Test {
        name: "early_vote_is_held_until_its_cause_arrives",
        run: held,
    },
    Test {
        name: "held_votes_are_bounded",
        run: held_limit,
    },
    Test {
        name: "unknown_request",
        run: unknown_request,
    },
    Test {
        name: "unknown_validator",
        run: unknown_validator,
    },
    Test {
        name: "vote_of_another_slot",
        run: another_slot,
    },
    Test {
        name: "duplicate_vote",
        run: duplicate,
    },
    Test {
        name: "replay_after_decision",
        run: replay_after_decision,
    },
    Test {
        name: "malleable_second_signature",
        run: malleable,
    },
    Test {
        name: "one_key_enrolled_twice",
        run: key_twice,
    },
    Test {
        name: "vote_before_the_request_existed",
        run: before_request,
    },
    Test {
        name: "inflated_foreign_clock_entry",
        run: inflated,
    },
    Test {
        name: "vote_that_a_later_one_has_overtaken",
        run: overtaken,
    },
    Test {
        name: "leaping_clock",
        run: leaping,
    },
    Test {
        name: "vote_expiry",
        run: vote_expiry,
    },
    Test {
        name: "vote_withheld_until_after_expiry",
        run: withheld,
    },
    Test {
        name: "reason_must_have_the_signed_digest",
        run: reasons,
    },
    Test {
        name: "every_truncation_is_refused",
        run: truncations,
    },
    Test {
        name: "every_extension_is_refused",
        run: extensions,
    },
    Test {
        name: "every_bad_field_is_refused",
        run: bad_fields,
    },
    Test {
        name: "every_bad_signature_encoding_is_refused",
        run: bad_encodings,
    },
    Test {
        name: "flood_of_invalid_votes_naming_an_honest_validator",
        run: flood,
    },
    Test {
        name: "agents_refusals_do_not_block_the_votes_of_their_user",
        run: agent_flood,
    },
    Test {
        name: "requester_votes",
        run: requester_votes,
    },
    Test {
        name: "unprivileged_user_votes",
        run: unprivileged,
    },
    Test {
        name: "deny_threshold",
        run: deny_threshold,
    },
    Test {
        name: "silence_until_expiry_is_a_denial",
        run: silence,
    },
    Test {
        name: "hold_shorter_than_timeout",
        run: short_hold,
    },
    Test {
        name: "kill_of_a_waiting_task",
        run: kill_waiting,
    },
    Test {
        name: "approval_during_hold",
        run: approval_during_hold,
    },
    Test {
        name: "denial_during_hold",
        run: denial_during_hold,
    },
    Test {
        name: "grant_opens_exactly_that_operation_once",
        run: exactly_once,
    },
    Test {
        name: "grant_of_several_uses",
        run: several_uses,
    },
    Test {
        name: "grant_ends_with_its_time",
        run: grant_expires,
    },
    Test {
        name: "identical_pending_requests_are_one",
        run: identical,
    },
    Test {
        name: "cancelled_request_takes_no_votes",
        run: cancelled,
    },
    Test {
        name: "requests_end_with_their_agent",
        run: agent_ends,
    },
    Test {
        name: "revoked_grant_opens_nothing",
        run: revoked,
    },
];

/// Validators in the sealed part.
const VALIDATORS: u32 = 4;

/// The sealed part's policy; the directories are made by [`stage`].
fn body() -> Res<String> {
    let base = format!("{}/votes", stage::SCRATCH);
    for name in ["plain", "twice", "short", "silent", "waiting", "brief"] {
        let dir = format!("{base}/{name}");
        stage::make_dir(&dir)?;
        for file in ["one", "two"] {
            stage::make_file(&format!("{dir}/{file}"), "")?;
        }
    }
    Ok(format!(
        "class a\n\
         adaptive raise=0%\n\
         DEFAULT action=ALLOW\n\
         op=FILE_WRITE class=a path={base}/plain action=QUORUM threshold=75% ttl=1m timeout=2m\n\
         op=FILE_WRITE class=a path={base}/twice action=QUORUM threshold=75% ttl=1m timeout=2m uses=2\n\
         op=FILE_WRITE class=a path={base}/brief action=QUORUM threshold=75% ttl=1s timeout=2m\n\
         op=FILE_WRITE class=a path={base}/short action=QUORUM threshold=75% timeout=1m hold=1s\n\
         op=FILE_WRITE class=a path={base}/silent action=QUORUM threshold=75% timeout=2s hold=10s\n\
         op=FILE_WRITE class=a path={base}/waiting action=QUORUM threshold=75% timeout=2m hold=1m\n\
         op=POLICY,VALIDATOR,MODE,UNLOAD action=QUORUM threshold=75%\n"
    ))
}

/// A file of the policy.
fn file(name: &str) -> String {
    format!("{}/votes/{name}", stage::SCRATCH)
}

/// Seals the node, if that has not happened, and leaves no request open.
fn sealed() -> Res {
    stage::sealed(VALIDATORS, "votes", &body()?)?;
    cancel_all()
}

/// The tally must be this.
fn expect_tally(what: &str, id: &[u8; 32], state: u32, approve: u64, deny: u64) -> Res {
    let now = stage::request(id)?;
    ensure!(
        (now.state, now.approve, now.deny) == (state, approve, deny),
        "{what}: state {} with {} approving and {} denying, not state {state} with {approve} and {deny}",
        now.state,
        now.approve,
        now.deny
    );
    Ok(())
}

// --- exact thresholds, in setup -------------------------------------------------------------------

fn rounding_policy(threshold: &str) -> Res {
    let dir = file("rounding");
    stage::make_dir(&dir)?;
    stage::make_file(&format!("{dir}/one"), "")?;
    stage::load_body(
        "rounding",
        &format!(
            "class a\nDEFAULT action=ALLOW\n\
             op=FILE_WRITE class=a path={dir} action=QUORUM threshold={threshold} ttl=1m timeout=5m\n"
        ),
    )
}

/// With weights of 1, exactly `need` of `count` approvals must grant at each threshold, and exactly one more denial
/// than `count - need` must deny.
fn rounding(count: u32, thresholds: &[(&str, u64)]) -> Res {
    stage::in_setup()?;
    stage::electorate(count)?;
    stage::set_mode(nl::ENFORCE).map_err(|e| format!("{e:?}"))?;
    let total = u64::from(count);
    for &(threshold, need) in thresholds {
        rounding_policy(threshold)?;
        let one = file("rounding/one");
        let mut agent = Agent::start("a")?;
        let request = agent.raise(&["append", &one])?;
        ensure!(
            request.total == total,
            "the total weight is {}",
            request.total
        );
        let mut voters = stage::voters()?;
        for n in 1..=need {
            let voter = usize::try_from(n - 1)
                .ok()
                .and_then(|at| voters.get_mut(at))
                .ok_or("too few voters")?;
            let tally = voter
                .cast(&request, APPROVE)
                .map_err(|e| format!("{e:?}"))?;
            let want = if n == need { nl::GRANTED } else { nl::OPEN };
            ensure!(
                tally.state == want
                    && tally.approve == n
                    && tally.deny == 0
                    && tally.total == total,
                "{n} of {count} at {threshold}: {tally:?}, not state {want}"
            );
            if n + 1 == need {
                agent.expect(libc::EACCES, &["append", &one])?;
            }
        }
        agent.expect(0, &["append", &one])?;
        agent.expect(libc::EACCES, &["append", &one])?;
        // The other way: the last denial that matters.
        let request = agent.request()?;
        let impossible = total - need + 1;
        for n in 1..=impossible {
            let voter = usize::try_from(n - 1)
                .ok()
                .and_then(|at| voters.get_mut(at))
                .ok_or("too few voters")?;
            let tally = voter.cast(&request, DENY).map_err(|e| format!("{e:?}"))?;
            let want = if n == impossible {
                nl::DENIED
            } else {
                nl::OPEN
            };
            ensure!(
                tally.state == want && tally.deny == n && tally.approve == 0,
                "{n} denials of {count} at {threshold}: {tally:?}, not state {want}"
            );
        }
        agent.end()?;
    }
    Ok(())
}

fn rounding_1(_: &mut Ctx) -> Res {
    rounding(1, &[("50.01%", 1), ("75%", 1), ("100%", 1)])
}

fn rounding_3(_: &mut Ctx) -> Res {
    rounding(
        3,
        &[
            ("50.01%", 2),
            ("66.66%", 2),
            ("66.67%", 3),
            ("75%", 3),
            ("100%", 3),
        ],
    )
}

fn rounding_4(_: &mut Ctx) -> Res {
    rounding(4, &[("50.01%", 3), ("75%", 3), ("75.01%", 4), ("100%", 4)])
}

fn rounding_7(_: &mut Ctx) -> Res {
    rounding(
        7,
        &[("57.14%", 4), ("57.15%", 5), ("75%", 6), ("85.72%", 7)],
    )
}

fn rounding_100(_: &mut Ctx) -> Res {
    rounding(100, &[("75%", 75), ("75.01%", 76)])
}

fn rounding_weights(_: &mut Ctx) -> Res {
    // Total 2^32 - 1, the greatest: 75 % of it is 3221225471.25, so 3221225472 is needed.
    stage::in_setup()?;
    stage::electorate(0)?;
    let enrol = |number, weight| {
        stage::enrol(&Validator::test(number), weight).map_err(|e| format!("{e:?}"))
    };
    enrol(1, 3_221_225_471)?;
    enrol(2, 1)?;
    enrol(3, 1_073_741_823)?;
    stage::set_mode(nl::ENFORCE).map_err(|e| format!("{e:?}"))?;
    rounding_policy("75%")?;
    let one = file("rounding/one");
    let mut agent = Agent::start("a")?;
    let request = agent.raise(&["append", &one])?;
    let tally = voter(1)?
        .cast(&request, APPROVE)
        .map_err(|e| format!("{e:?}"))?;
    ensure!(
        tally.state == nl::OPEN && tally.approve == 3_221_225_471,
        "one short: {tally:?}"
    );
    agent.expect(libc::EACCES, &["append", &one])?;
    let tally = voter(2)?
        .cast(&request, APPROVE)
        .map_err(|e| format!("{e:?}"))?;
    ensure!(tally.state == nl::GRANTED, "exactly enough: {tally:?}");
    agent.expect(0, &["append", &one])?;
    agent.end()
}

// --- one vote -------------------------------------------------------------------------------------

fn valid_vote(_: &mut Ctx) -> Res {
    sealed()?;
    let request = fresh_request()?;
    let before = stage::status()?;
    let v1 = voter(1)?;
    let mut vote = v1.vote(&request, APPROVE);
    vote.reason = "it is needed ä".as_bytes().to_vec();
    let record = vote.record(&v1.validator);
    let tally = submit(&record).map_err(|e| format!("{e:?}"))?;
    ensure!(
        tally.state == nl::OPEN && tally.approve == 1 && tally.deny == 0 && tally.total == 4,
        "the first of four votes: {tally:?}"
    );
    expect_tally("after it", &request.id, nl::OPEN, 1, 0)?;
    let after = stage::status()?;
    ensure!(
        after.counter("votes")? == before.counter("votes")? + 1,
        "the vote was not counted"
    );
    let now = voter(1)?;
    ensure!(
        now.accepted == v1.accepted + 1,
        "votes-accepted is {}",
        now.accepted
    );
    ensure!(
        now.last == vote.clock.iter().copied().collect(),
        "the last clock is {:?}, not {:?}",
        now.last,
        vote.clock
    );
    ensure!(
        after.clock.get(&v1.slot) == now.last.get(&v1.slot),
        "the node's clock has {:?} for the voter",
        after.clock.get(&v1.slot)
    );
    let events = stage::events_after(before.event)?;
    let event = events
        .iter()
        .find(|e| e.kind == kind::VOTE)
        .ok_or("no VOTE event")?;
    ensure!(
        event.slot == v1.slot
            && event.result == u16::from(APPROVE)
            && event.request == request.id
            && event.bytes.ends_with(&record),
        "the VOTE event does not hold the vote: {event:?}"
    );
    Ok(())
}

/// Submits a vote that must be refused; the same validator's proper vote must count afterwards.
fn refused_then_counts(
    number: u32,
    errno: i32,
    code: &str,
    spoil: impl FnOnce(&mut Vote, &Request) -> Option<Vec<u8>>,
) -> Res {
    sealed()?;
    let request = fresh_request()?;
    let before = stage::status()?;
    let voter = voter(number)?;
    let mut vote = voter.vote(&request, APPROVE);
    let record = match spoil(&mut vote, &request) {
        Some(record) => record,
        None => vote.record(&voter.validator),
    };
    expect_refused("the spoilt vote", submit(&record), errno, code)?;
    expect_tally("after the spoilt vote", &request.id, nl::OPEN, 0, 0)?;
    let after = stage::status()?;
    ensure!(
        after.counter("votes")? == before.counter("votes")?
            && after.counter("votes_refused")? == before.counter("votes_refused")? + 1,
        "the refused vote was not counted as one"
    );
    let now = stage::voter(number)?;
    ensure!(
        now.accepted == voter.accepted && now.last == voter.last,
        "the refused vote changed what is known of the validator it names"
    );
    submit(&voter.record(&request, APPROVE)).map_err(|e| format!("the proper vote: {e:?}"))?;
    expect_tally("after the proper vote", &request.id, nl::OPEN, 1, 0)
}

fn forged_signature(_: &mut Ctx) -> Res {
    // Another validator's key; then one flipped bit in what was signed.
    refused_then_counts(1, libc::EKEYREJECTED, "vote_forged", |vote, _| {
        Some(vote.record(&Validator::test(2)))
    })?;
    refused_then_counts(1, libc::EKEYREJECTED, "vote_forged", |vote, _| {
        vote.verdict = DENY;
        let signature = Validator::test(1).sign(&vote.signed());
        vote.verdict = APPROVE;
        Some(vote.record_with(&signature))
    })?;
    // Who may not vote at all does not get further by being enrolled elsewhere.
    let before = stage::status()?.event;
    refused_then_counts(2, libc::EKEYREJECTED, "vote_forged", |vote, _| {
        Some(vote.record(&Validator::test(99)))
    })?;
    let events = stage::events_after(before)?;
    let event = events
        .iter()
        .find(|e| e.kind == kind::VOTE_REFUSED)
        .ok_or("no VOTE_REFUSED event")?;
    ensure!(
        event.result == 16,
        "the event has the code {}, not vote_forged",
        event.result
    );
    Ok(())
}

fn another_request(_: &mut Ctx) -> Res {
    sealed()?;
    let other = fresh_request()?;
    refused_then_counts(1, libc::EKEYREJECTED, "vote_forged", |vote, request| {
        // cancel_all() has closed `other`; its id serves all the same.
        vote.request = other.id;
        let signature = Validator::test(1).sign(&vote.signed());
        vote.request = request.id;
        Some(vote.record_with(&signature))
    })?;
    // The vote as it was signed counts for its own request only.
    let (a, b) = (fresh_request()?, fresh_request()?);
    let v2 = voter(2)?;
    submit(&v2.record(&a, APPROVE)).map_err(|e| format!("{e:?}"))?;
    expect_tally("the request voted on", &a.id, nl::OPEN, 1, 0)?;
    expect_tally("the other request", &b.id, nl::OPEN, 0, 0)
}

fn another_node(_: &mut Ctx) -> Res {
    refused_then_counts(1, libc::EXDEV, "vote_other_node", |vote, _| {
        vote.node[31] ^= 1;
        None
    })
}

fn another_epoch(_: &mut Ctx) -> Res {
    refused_then_counts(1, libc::EXDEV, "vote_other_epoch", |vote, _| {
        vote.epoch += 1;
        None
    })
}

fn unknown_request(_: &mut Ctx) -> Res {
    refused_then_counts(1, libc::ENOENT, "vote_unknown_request", |vote, _| {
        vote.request[0] ^= 1;
        None
    })
}

fn unknown_validator(_: &mut Ctx) -> Res {
    refused_then_counts(1, libc::ENOKEY, "vote_unknown_validator", |vote, _| {
        let stranger = Validator::test(77);
        vote.validator = stranger.id();
        Some(vote.record(&stranger))
    })
}

fn another_slot(_: &mut Ctx) -> Res {
    sealed()?;
    let other = u8::try_from(voter(2)?.slot).map_err(|e| e.to_string())?;
    for slot in [other, 128] {
        refused_then_counts(1, libc::ENOKEY, "vote_slot", |vote, _| {
            vote.slot = slot;
            None
        })?;
    }
    Ok(())
}

fn duplicate(_: &mut Ctx) -> Res {
    sealed()?;
    let request = fresh_request()?;
    let mut v1 = voter(1)?;
    let record = v1.record(&request, APPROVE);
    v1.cast(&request, APPROVE).map_err(|e| format!("{e:?}"))?;
    expect_refused(
        "the same record again",
        submit(&record),
        libc::EEXIST,
        "vote_duplicate",
    )?;
    expect_refused(
        "a later vote",
        submit(&v1.record(&request, APPROVE)),
        libc::EEXIST,
        "vote_duplicate",
    )?;
    expect_tally("after three votes of one", &request.id, nl::OPEN, 1, 0)
}

fn replay_after_decision(_: &mut Ctx) -> Res {
    sealed()?;
    let request = fresh_request()?;
    let record = voter(1)?.record(&request, APPROVE);
    let late = voter(4)?.record(&request, DENY);
    let tally = stage::approve_by(&request, 3)?;
    ensure!(tally.state == nl::GRANTED, "three of four: {tally:?}");
    expect_refused(
        "a replay",
        submit(&record),
        libc::EALREADY,
        "vote_closed_request",
    )?;
    expect_refused(
        "a late denial",
        submit(&late),
        libc::EALREADY,
        "vote_closed_request",
    )?;
    expect_tally("after the decision", &request.id, nl::GRANTED, 3, 0)
}

fn malleable(_: &mut Ctx) -> Res {
    refused_then_counts(1, libc::EKEYREJECTED, "vote_malleable", |vote, _| {
        Some(vote.record_with(&Validator::test(1).sign_high_s(&vote.signed())))
    })?;
    // A second copy of a counted vote that differs in its signature only.
    sealed()?;
    let request = fresh_request()?;
    let v1 = voter(1)?;
    let vote = v1.vote(&request, APPROVE);
    submit(&vote.record(&v1.validator)).map_err(|e| format!("{e:?}"))?;
    expect_refused(
        "the twin of a counted vote",
        submit(&vote.record_with(&v1.validator.sign_high_s(&vote.signed()))),
        libc::EKEYREJECTED,
        "vote_malleable",
    )
}

fn key_twice(_: &mut Ctx) -> Res {
    sealed()?;
    let v1 = Validator::test(1);
    let under = |name: &str, key: &[u8]| {
        stage::call(
            nl::VALIDATOR_ADD,
            &stage::validator_attributes(name, key, 1),
        )
    };
    expect_refused(
        "the key again",
        under("again", &v1.point()),
        libc::EEXIST,
        "validator_duplicate",
    )?;
    expect_refused(
        "the name again",
        under(&v1.name, &Validator::test(50).point()),
        libc::EEXIST,
        "validator_duplicate",
    )?;
    ensure!(
        stage::open_requests()?.is_empty(),
        "a request was made for it"
    );
    // Another key under another name is a matter for the quorum.
    let reply = under("other", &Validator::test(50).point()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::PENDING),
        "a new validator is not pending"
    );
    cancel_all()
}

// --- clocks ---------------------------------------------------------------------------------------

fn before_request(_: &mut Ctx) -> Res {
    refused_then_counts(1, libc::ESTALE, "clock_before_request", |vote, request| {
        vote.set(0, request.created() - 1);
        None
    })
}

fn inflated(_: &mut Ctx) -> Res {
    sealed()?;
    // A vote that claims what another validator has not said yet is held, and counts for nothing. What it claims binds
    // its validator: what becomes of one that takes it back is in the group `byzantine`.
    let request = fresh_request()?;
    let v2 = voter(2)?;
    let (v1, record) = (voter(1)?, early(&mut voter(1)?, &request, &v2)?);
    let tally = submit(&record).map_err(|e| format!("{e:?}"))?;
    ensure!(tally.held, "a claim of slot {}: {tally:?}", v2.slot);
    expect_tally("after the held vote", &request.id, nl::OPEN, 0, 0)?;
    let now = voter(1)?;
    ensure!(
        now.accepted == v1.accepted && now.last == v1.last,
        "the held vote changed what is known of its validator"
    );
    submit(&v2.record(&request, APPROVE)).map_err(|e| format!("{e:?}"))?;
    refused_then_counts(1, libc::EAGAIN, "clock_unseen", |vote, _| {
        vote.set(0, u64::MAX);
        None
    })?;
    // Exactly what the node has seen may be claimed.
    let request = fresh_request()?;
    let v3 = voter(3)?;
    let mut vote = v3.vote(&request, APPROVE);
    let own = vote.entry(v3.slot);
    for (slot, value) in stage::status()?.clock {
        vote.set(slot, value);
    }
    vote.set(v3.slot, own);
    submit(&vote.record(&v3.validator))
        .map_err(|e| format!("all that the node has seen: {e:?}"))?;
    Ok(())
}

/// A vote whose cause is the next vote of another.
fn early(voter: &mut Voter, request: &Request, cause: &Voter) -> Res<Vec<u8>> {
    let mut vote = voter.vote(request, APPROVE);
    let seen = stage::status()?.clock.get(&cause.slot).copied();
    vote.set(cause.slot, seen.unwrap_or(0) + 1);
    Ok(voter.sign(&vote))
}

fn held(_: &mut Ctx) -> Res {
    sealed()?;
    let request = fresh_request()?;
    let before = stage::status()?;
    let v2 = voter(2)?;
    let v1 = voter(1)?;
    let record = early(&mut v1.clone(), &request, &v2)?;
    let tally = submit(&record).map_err(|e| format!("{e:?}"))?;
    ensure!(
        tally.held && tally.state == nl::OPEN,
        "the early vote: {tally:?}"
    );
    expect_refused(
        "the same again",
        submit(&record),
        libc::EEXIST,
        "vote_duplicate",
    )?;
    // Whoever holds the cause decides when: the votes count in the order of cause and effect.
    let tally = submit(&v2.record(&request, APPROVE)).map_err(|e| format!("{e:?}"))?;
    ensure!(!tally.held, "the cause: {tally:?}");
    expect_tally("after the cause", &request.id, nl::OPEN, 2, 0)?;
    let events = stage::events_after(before.event)?;
    let order: Vec<_> = events
        .iter()
        .filter(|e| [kind::HELD, kind::VOTE].contains(&e.kind))
        .map(|e| (e.kind, e.slot))
        .collect();
    ensure!(
        order
            == [
                (kind::HELD, v1.slot),
                (kind::VOTE, v2.slot),
                (kind::VOTE, v1.slot)
            ],
        "held and counted: {order:?}"
    );
    ensure!(
        events
            .iter()
            .filter(|e| e.slot == v1.slot && e.kind != kind::VOTE_REFUSED)
            .all(|e| e.bytes.ends_with(&record)),
        "the events do not hold the vote"
    );
    ensure!(
        voter(1)?.accepted == v1.accepted + 1,
        "the held vote was not counted as its validator's"
    );
    Ok(())
}

fn held_limit(_: &mut Ctx) -> Res {
    sealed()?;
    let v2 = voter(2)?;
    let known = voter(1)?;
    let mut v1 = known.clone();
    let mut requests = Vec::new();
    for _ in 0..4 {
        let request = fresh_request()?;
        let tally = submit(&early(&mut v1, &request, &v2)?).map_err(|e| format!("{e:?}"))?;
        ensure!(tally.held, "an early vote: {tally:?}");
        requests.push(request);
    }
    let fifth = fresh_request()?;
    expect_refused(
        "a fifth",
        submit(&early(&mut v1, &fifth, &v2)?),
        libc::EAGAIN,
        "held_limit",
    )?;
    // One validator's fill no room of another's.
    let tally = submit(&early(&mut voter(3)?, &fifth, &v2)?).map_err(|e| format!("{e:?}"))?;
    ensure!(tally.held, "another's early vote: {tally:?}");
    // A held vote must be genuine: nobody fills a validator's room but itself.
    let sixth = fresh_request()?;
    let mut vote = voter(4)?.vote(&sixth, APPROVE);
    vote.set(v2.slot, u64::MAX);
    expect_refused(
        "a forged early vote",
        submit(&vote.record(&Validator::test(3))),
        libc::EKEYREJECTED,
        "vote_forged",
    )?;
    // With its request a held vote goes, and makes room.
    for request in &requests {
        stage::cancel(&request.id).map_err(|e| format!("{e:?}"))?;
    }
    let tally = submit(&early(&mut v1, &fifth, &v2)?).map_err(|e| format!("{e:?}"))?;
    ensure!(tally.held, "when there is room: {tally:?}");
    ensure!(
        voter(1)?.last == known.last,
        "held votes moved the validator's clock"
    );
    // With the cause all that is still held counts.
    submit(&v2.record(&fifth, APPROVE)).map_err(|e| format!("the cause: {e:?}"))?;
    expect_tally("after the cause", &fifth.id, nl::GRANTED, 3, 0)?;
    ensure!(
        voter(1)?.last == v1.last,
        "the last held vote is not the last"
    );
    cancel_all()
}

fn overtaken(_: &mut Ctx) -> Res {
    // An honest validator signs two votes one after the other, and the network turns them round.
    sealed()?;
    let (older, newer) = (fresh_request()?, fresh_request()?);
    let mut v1 = voter(1)?;
    let first = v1.vote(&older, APPROVE);
    let first = v1.sign(&first);
    let second = v1.vote(&newer, APPROVE);
    let second = v1.sign(&second);
    submit(&second).map_err(|e| format!("the later vote: {e:?}"))?;
    expect_refused(
        "the earlier vote after it",
        submit(&first),
        libc::ESTALE,
        "clock_not_later",
    )?;
    ensure!(
        voter(1)?.fault.is_none(),
        "the network's doing is held against the validator"
    );
    submit(&v1.record(&older, APPROVE)).map_err(|e| format!("a new vote: {e:?}"))?;
    expect_tally("after it", &older.id, nl::OPEN, 1, 0)
}

fn leaping(_: &mut Ctx) -> Res {
    sealed()?;
    let slot = voter(4)?.slot;
    refused_then_counts(4, libc::ERANGE, "clock_leap", |vote, _| {
        vote.set(slot, vote.entry(slot) + 1_048_576);
        None
    })?;
    refused_then_counts(4, libc::ERANGE, "clock_leap", |vote, _| {
        vote.set(slot, u64::MAX);
        None
    })?;
    let request = fresh_request()?;
    let v4 = voter(4)?;
    let mut vote = v4.vote(&request, APPROVE);
    vote.set(slot, vote.entry(slot) + 1_048_575);
    submit(&vote.record(&v4.validator)).map_err(|e| format!("the longest leap: {e:?}"))?;
    Ok(())
}

// --- time -----------------------------------------------------------------------------------------

fn vote_expiry(_: &mut Ctx) -> Res {
    refused_then_counts(1, libc::ETIME, "vote_expired", |vote, _| {
        vote.expires_ms = 1;
        None
    })?;
    refused_then_counts(1, libc::ETIME, "vote_expired", |vote, request| {
        vote.expires_ms = request.expires_ms() + 1;
        None
    })?;
    // A vote may live shorter than the request.
    let request = fresh_request()?;
    let v1 = voter(1)?;
    let mut vote = v1.vote(&request, APPROVE);
    vote.expires_ms = request.expires_ms() - 1000;
    submit(&vote.record(&v1.validator)).map_err(|e| format!("a shorter vote: {e:?}"))?;
    Ok(())
}

fn withheld(_: &mut Ctx) -> Res {
    sealed()?;
    let path = file("silent/one");
    let mut agent = Agent::start("a")?;
    agent.send(&["append", &path])?;
    let request = wait_for_request(agent.id)?;
    let mut records = Vec::new();
    for voter in stage::voters()? {
        records.push(voter.record(&request, APPROVE));
    }
    let (errno, _) = agent.answer()?;
    expect_errno("after silence", errno, libc::EACCES)?;
    for record in &records {
        expect_refused(
            "a vote kept until later",
            submit(record),
            libc::EALREADY,
            "vote_closed_request",
        )?;
    }
    expect_tally("after the votes", &request.id, nl::EXPIRED, 0, 0)?;
    agent.end()
}

/// The open request of an agent, which may take a moment to appear.
fn wait_for_request(agent: u64) -> Res<Request> {
    let mut found = None;
    stage::eventually(Duration::from_secs(5), || {
        found = stage::open_requests()?
            .into_iter()
            .find(|r| r.agent() == agent);
        if found.is_some() {
            Ok(())
        } else {
            Err(format!("agent {agent} has no open request"))
        }
    })?;
    found.ok_or_else(|| "no request".to_string())
}

fn silence(_: &mut Ctx) -> Res {
    sealed()?;
    let path = file("silent/two");
    let expired = stage::status()?.counter("expired")?;
    let mut agent = Agent::start("a")?;
    let start = Instant::now();
    agent.expect(libc::EACCES, &["append", &path])?;
    let took = start.elapsed();
    ensure!(
        (Duration::from_millis(1900)..patience(Duration::from_secs(8))).contains(&took),
        "with timeout=2s and hold=10s it waited {took:?}"
    );
    let request = agent.request()?;
    ensure!(
        request.state == nl::EXPIRED,
        "the request is in state {}",
        request.state
    );
    ensure!(
        stage::status()?.counter("expired")? == expired + 1,
        "expired was not counted"
    );
    ensure!(
        stage::events_from(request.created())?
            .0
            .iter()
            .any(|e| e.kind == kind::EXPIRED && e.request == request.id),
        "no EXPIRED event"
    );
    ensure!(stage::content(&path)?.is_empty(), "the file was written");
    agent.end()
}

fn short_hold(_: &mut Ctx) -> Res {
    sealed()?;
    let mut agent = Agent::start("a")?;
    let start = Instant::now();
    let request = agent.raise(&["append", &file("short/one")])?;
    let took = start.elapsed();
    ensure!(
        (Duration::from_millis(900)..patience(Duration::from_secs(6))).contains(&took),
        "with hold=1s it waited {took:?}"
    );
    // The request stays open, and its grant serves the next attempt.
    stage::approve_by(&request, 3)?;
    agent.expect(0, &["append", &file("short/one")])?;
    agent.end()
}

fn kill_waiting(_: &mut Ctx) -> Res {
    sealed()?;
    let mut agent = Agent::start("a")?;
    agent.send(&["append", &file("waiting/one")])?;
    let request = wait_for_request(agent.id)?;
    ensure!(
        !agent.answers_within(Duration::from_millis(500)),
        "the operation did not wait"
    );
    let took = agent.kill();
    ensure!(
        took < patience(Duration::from_secs(2)),
        "a killed task took {took:?} to end"
    );
    // It ended with its agent.
    stage::eventually(Duration::from_secs(3), || {
        let state = stage::request(&request.id)?.state;
        ensure!(
            state == nl::CANCELLED,
            "the request of the dead agent is in state {state}"
        );
        Ok(())
    })
}

fn approval_during_hold(_: &mut Ctx) -> Res {
    sealed()?;
    let path = file("waiting/one");
    stage::make_file(&path, "")?;
    let mut agent = Agent::start("a")?;
    agent.send(&["append", &path])?;
    let request = wait_for_request(agent.id)?;
    stage::approve_by(&request, 2)?;
    ensure!(
        !agent.answers_within(Duration::from_millis(500)),
        "two of four let it through"
    );
    let mut v3 = voter(3)?;
    v3.cast(&request, APPROVE).map_err(|e| format!("{e:?}"))?;
    ensure!(
        agent.answers_within(patience(Duration::from_secs(3))),
        "it still waits after the third vote"
    );
    expect_errno("the approved write", agent.answer()?.0, 0)?;
    ensure!(
        stage::content(&path)? == "x",
        "the approved write did not happen"
    );
    // The waiting operation used the grant.
    let grants = stage::dump(nl::GRANT_GET, &crate::client::Attributes::new())
        .map_err(|e| format!("{e:?}"))?;
    ensure!(
        !grants
            .iter()
            .any(|g| g.bytes(nl::A_REQUEST_ID) == Some(&request.id)),
        "the grant outlived its one use"
    );
    agent.end()
}

fn denial_during_hold(_: &mut Ctx) -> Res {
    sealed()?;
    let path = file("waiting/two");
    let mut agent = Agent::start("a")?;
    agent.send(&["append", &path])?;
    let request = wait_for_request(agent.id)?;
    for number in [1, 2] {
        voter(number)?
            .cast(&request, DENY)
            .map_err(|e| format!("{e:?}"))?;
    }
    ensure!(
        agent.answers_within(patience(Duration::from_secs(3))),
        "it still waits after the denial"
    );
    expect_errno("the denied write", agent.answer()?.0, libc::EACCES)?;
    ensure!(
        stage::content(&path)?.is_empty(),
        "the denied write happened"
    );
    agent.end()
}

// --- malformed records ----------------------------------------------------------------------------

/// Submits records as many users in turn, so that no user's limit is reached; all must be refused alike.
fn all_refused(records: &[(String, Vec<u8>)], errno: i32, code: &str) -> Res {
    for some in records.chunks(24) {
        let bytes: Vec<Vec<u8>> = some.iter().map(|(_, record)| record.clone()).collect();
        for ((what, _), answer) in some.iter().zip(submit_as(stage::new_user(), &bytes)?) {
            expect_refused(what, answer, errno, code)?;
        }
    }
    Ok(())
}

fn truncations(_: &mut Ctx) -> Res {
    sealed()?;
    let request = fresh_request()?;
    let v1 = voter(1)?;
    let record = v1.record(&request, APPROVE);
    let cut: Vec<_> = (1..record.len())
        .map(|len| {
            (
                format!("a record cut to {len} bytes"),
                record[..len].to_vec(),
            )
        })
        .collect();
    all_refused(&cut, libc::EINVAL, "vote_malformed")?;
    submit(&record).map_err(|e| format!("the whole record: {e:?}"))?;
    Ok(())
}

fn extensions(_: &mut Ctx) -> Res {
    sealed()?;
    let request = fresh_request()?;
    let v1 = voter(1)?;
    let vote = v1.vote(&request, APPROVE);
    let record = vote.record(&v1.validator);
    // One byte more is a reason that was not signed.
    let mut longer = record.clone();
    longer.push(b'!');
    expect_refused(
        "one byte more",
        submit(&longer),
        libc::EBADMSG,
        "vote_reason",
    )?;
    // 257 bytes of reason, even a signed one.
    let mut long = vote.clone();
    long.reason = vec![b'r'; 257];
    expect_refused(
        "a reason of 257 bytes",
        submit(&long.record(&v1.validator)),
        libc::EINVAL,
        "vote_malformed",
    )?;
    let mut bad = vote.clone();
    bad.reason = vec![0xff];
    expect_refused(
        "a reason that is not UTF-8",
        submit(&bad.record(&v1.validator)),
        libc::EINVAL,
        "vote_malformed",
    )?;
    // The attribute has a limit of its own.
    let mut huge = record.clone();
    huge.resize(2049, b'r');
    match submit(&huge) {
        Err(refused) if [libc::EINVAL, libc::ERANGE].contains(&refused.errno) => {}
        other => return Err(format!("a record of 2049 bytes: {other:?}")),
    }
    let mut most = vote;
    most.reason = vec![b'r'; 256];
    submit(&most.record(&v1.validator)).map_err(|e| format!("a reason of 256 bytes: {e:?}"))?;
    Ok(())
}

fn bad_fields(_: &mut Ctx) -> Res {
    sealed()?;
    let request = fresh_request()?;
    let v1 = voter(1)?;
    let proper = v1.vote(&request, APPROVE);
    let mut bad = Vec::new();
    let mut add = |what: &str, change: &dyn Fn(&mut Vote)| {
        let mut vote = proper.clone();
        change(&mut vote);
        bad.push((what.to_string(), vote.record(&v1.validator)));
    };
    for verdict in [0, 3, 0x81, 0xff] {
        add(&format!("verdict {verdict}"), &|vote| {
            vote.verdict = verdict
        });
    }
    for slot in [0, 129, 255] {
        add(&format!("a vote of slot {slot}"), &|vote| vote.slot = slot);
    }
    add("no clock", &|vote| vote.clock.clear());
    add("130 clock entries", &|vote| {
        vote.clock = (0..130).map(|n| (n, 1)).collect()
    });
    add("fewer entries than written", &|vote| vote.entries = Some(1));
    add("more entries than written", &|vote| {
        vote.entries = Some(100)
    });
    add("65535 entries", &|vote| vote.entries = Some(u16::MAX));
    add("entries in descending order", &|vote| vote.clock.reverse());
    add("an entry twice", &|vote| {
        let first = vote.clock[0];
        vote.clock.insert(0, first);
    });
    add("an entry of zero", &|vote| vote.set(128, 0));
    add("slot 129", &|vote| vote.clock.push((129, 1)));
    add("slot 65535", &|vote| vote.clock.push((u16::MAX, 1)));
    all_refused(&bad, libc::EINVAL, "vote_malformed")?;
    let mut versions = Vec::new();
    for magic in [b"TCPLVOT1", b"TCPLREQ1", b"tcplvot2", b"\0\0\0\0\0\0\0\0"] {
        let mut vote = proper.clone();
        vote.magic = *magic;
        versions.push((format!("magic {magic:?}"), vote.record(&v1.validator)));
    }
    all_refused(&versions, libc::EPROTO, "vote_version")?;
    expect_tally("after all of them", &request.id, nl::OPEN, 0, 0)?;
    submit(&proper.record(&v1.validator)).map_err(|e| format!("the proper vote: {e:?}"))?;
    Ok(())
}

fn bad_encodings(_: &mut Ctx) -> Res {
    sealed()?;
    let request = fresh_request()?;
    let v1 = voter(1)?;
    let vote = v1.vote(&request, APPROVE);
    let good = v1.validator.sign(&vote.signed());
    let (r, s) = {
        let split = usize::from(good[3]) + 4;
        (good[2..split].to_vec(), good[split..].to_vec())
    };
    let sequence = |parts: &[&[u8]]| {
        let body = parts.concat();
        let mut der = vec![0x30, u8::try_from(body.len()).unwrap_or(0)];
        der.extend(body);
        der
    };
    let padded = |integer: &[u8]| {
        let mut out = vec![2, integer[1] + 1, 0];
        out.extend(&integer[2..]);
        out
    };
    let mut malformed = vec![
        ("no signature", vec![]),
        ("one byte", vec![0x30]),
        ("zeros", vec![0; good.len()]),
        ("not a sequence", [&[0x31][..], &good[1..]].concat()),
        ("one integer", sequence(&[&r])),
        (
            "an octet string",
            sequence(&[&[&[4][..], &r[1..]].concat(), &s]),
        ),
        ("r of zero", sequence(&[&[2, 1, 0], &s])),
        ("s of zero", sequence(&[&r, &[2, 1, 0]])),
        (
            "73 bytes",
            [&good[..], &[0; 73][..73 - good.len()]].concat(),
        ),
    ];
    let order = [
        &[2, 33, 0][..],
        &[
            0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        ],
        &[
            0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63,
            0x25, 0x51,
        ],
    ]
    .concat();
    malformed.push(("r of the order", sequence(&[&order, &s])));
    let records = |list: Vec<(&str, Vec<u8>)>| -> Vec<(String, Vec<u8>)> {
        list.into_iter()
            .map(|(what, der)| (what.to_string(), vote.record_with(&der)))
            .collect()
    };
    all_refused(&records(malformed), libc::EINVAL, "vote_malformed")?;
    let mut malleable = vec![
        ("high s", v1.validator.sign_high_s(&vote.signed())),
        (
            "a length in two bytes",
            [&[0x30, 0x81][..], &good[1..]].concat(),
        ),
    ];
    // Longer encodings, where they still fit in 72 bytes.
    for (what, der) in [
        ("a zero before r", sequence(&[&padded(&r), &s])),
        ("a zero before s", sequence(&[&r, &padded(&s)])),
        ("a byte after the sequence", [&good[..], &[0]].concat()),
        ("a byte inside the sequence", sequence(&[&r, &s, &[0]])),
    ] {
        if der.len() <= 72 {
            malleable.push((what, der));
        }
    }
    all_refused(&records(malleable), libc::EKEYREJECTED, "vote_malleable")?;
    submit(&vote.record(&v1.validator)).map_err(|e| format!("the one encoding: {e:?}"))?;
    Ok(())
}

fn reasons(_: &mut Ctx) -> Res {
    refused_then_counts(1, libc::EBADMSG, "vote_reason", |vote, _| {
        vote.reason = b"yes".to_vec();
        vote.reason_digest = Some([0; 32]);
        None
    })?;
    refused_then_counts(1, libc::EBADMSG, "vote_reason", |vote, _| {
        vote.reason_digest = Some([7; 32]);
        None
    })?;
    refused_then_counts(1, libc::EBADMSG, "vote_reason", |vote, _| {
        vote.reason = b"approved after review".to_vec();
        let mut record = vote.record(&Validator::test(1));
        let end = record.len();
        record[end - 1] ^= 1;
        Some(record)
    })
}

// --- who sends ------------------------------------------------------------------------------------

fn flood(_: &mut Ctx) -> Res {
    sealed()?;
    let request = fresh_request()?;
    let v1 = voter(1)?;
    let forged = v1.vote(&request, APPROVE).record(&Validator::test(2));
    let proper = v1.record(&request, APPROVE);
    // A user may have 32 votes refused in a row; then it is not heard for a while, whatever it sends.
    let records = vec![forged.clone(); 60];
    let answers = submit_as(30_001, &records)?;
    for (n, answer) in answers.iter().enumerate().take(32) {
        expect_refused(
            &format!("forged vote {n}"),
            answer.clone(),
            libc::EKEYREJECTED,
            "vote_forged",
        )?;
    }
    let limited = answers
        .iter()
        .filter(|a| matches!(a, Err(e) if e.errno == libc::EBUSY))
        .count();
    ensure!(limited > 0, "60 forged votes in a row never met the limit");
    // Eight votes a second are heard again, whatever they are: one may come just in time, not five.
    let mut answer = Err("no attempt".to_string());
    for _ in 0..5 {
        let spare = fresh_request()?;
        let mut records = vec![forged.clone(); 12];
        records.push(voter(3)?.record(&spare, APPROVE));
        let answers = submit_as(30_001, &records)?;
        answer = expect_refused(
            "even a proper vote from that user",
            answers.last().cloned().ok_or("lost")?,
            libc::EBUSY,
            "rate_limited",
        );
        if answer.is_ok() {
            break;
        }
    }
    answer?;
    // The validator it named is none the worse: its vote counts from another user.
    expect_tally("after the flood", &request.id, nl::OPEN, 0, 0)?;
    let now = voter(1)?;
    ensure!(
        now.last == v1.last && now.accepted == v1.accepted,
        "the flood changed the validator"
    );
    let answer = submit_as(30_002, std::slice::from_ref(&proper))?;
    ensure!(
        matches!(answer.first(), Some(Ok(nl::OPEN))),
        "the honest vote from another user: {answer:?}"
    );
    expect_tally("after the honest vote", &request.id, nl::OPEN, 1, 0)?;
    // And the user is heard again in time.
    let v2 = voter(2)?;
    let record = v2.record(&request, APPROVE);
    stage::eventually(Duration::from_secs(10), || {
        match submit_as(30_001, std::slice::from_ref(&record))?.first() {
            Some(Ok(_)) => Ok(()),
            other => Err(format!("the user is still not heard: {other:?}")),
        }
    })
}

fn agent_flood(_: &mut Ctx) -> Res {
    // An agent runs as the user who also votes. What it has refused must not cost the user its voice.
    sealed()?;
    let request = fresh_request()?;
    let mut agent = Agent::start_as("a", "noisy", 30_003)?;
    for _ in 0..80 {
        agent.expect(libc::EPERM, &["netlink", "1"])?;
    }
    let record = voter(1)?.record(&request, APPROVE);
    let answer = submit_as(30_003, &[record])?;
    ensure!(
        matches!(answer.first(), Some(Ok(nl::OPEN))),
        "after 80 refused commands of an agent, its user's vote: {answer:?}"
    );
    agent.end()
}

fn requester_votes(_: &mut Ctx) -> Res {
    sealed()?;
    let mut agent = Agent::start("a")?;
    let request = agent.raise(&["append", &file("plain/one")])?;
    let record = voter(1)?.record(&request, APPROVE);
    let (errno, text) = agent.ask(&["vote", &stage::hex(&record)])?;
    ensure!(
        errno == libc::EPERM && text.starts_with("labelled: "),
        "the agent's own vote: {errno} {text}"
    );
    expect_tally("after it", &request.id, nl::OPEN, 0, 0)?;
    submit(&record).map_err(|e| format!("the same vote from a task without a label: {e:?}"))?;
    agent.end()
}

fn unprivileged(_: &mut Ctx) -> Res {
    sealed()?;
    let request = fresh_request()?;
    // All that a validator needs is open to any user: the request, the status.
    let lines = worker::in_child(30_004, || {
        vec![match (stage::request(&request.id), stage::status()) {
            (Ok(seen), Ok(_)) if seen.encoding == request.encoding => "seen".to_string(),
            (seen, status) => format!("{seen:?} {status:?}"),
        }]
    })?;
    ensure!(lines == ["seen"], "an unprivileged user: {lines:?}");
    let answer = submit_as(30_004, &[voter(1)?.record(&request, APPROVE)])?;
    ensure!(
        matches!(answer.first(), Some(Ok(nl::OPEN))),
        "its vote: {answer:?}"
    );
    expect_tally("after it", &request.id, nl::OPEN, 1, 0)
}

// --- decisions ------------------------------------------------------------------------------------

fn deny_threshold(_: &mut Ctx) -> Res {
    sealed()?;
    let mut agent = Agent::start("a")?;
    let path = file("plain/one");
    let request = agent.raise(&["append", &path])?;
    voter(1)?
        .cast(&request, APPROVE)
        .map_err(|e| format!("{e:?}"))?;
    voter(2)?
        .cast(&request, DENY)
        .map_err(|e| format!("{e:?}"))?;
    expect_tally("one denial of four", &request.id, nl::OPEN, 1, 1)?;
    let tally = voter(3)?
        .cast(&request, DENY)
        .map_err(|e| format!("{e:?}"))?;
    ensure!(tally.state == nl::DENIED, "two denials of four: {tally:?}");
    expect_refused(
        "the fourth vote",
        submit(&voter(4)?.record(&request, APPROVE)),
        libc::EALREADY,
        "vote_closed_request",
    )?;
    // Asking again is a new request.
    let next = agent.raise(&["append", &path])?;
    ensure!(next.id != request.id, "a denied request was opened again");
    agent.end()
}

fn exactly_once(_: &mut Ctx) -> Res {
    sealed()?;
    let (one, two) = (file("plain/one"), file("plain/two"));
    stage::make_file(&one, "")?;
    let mut agent = Agent::start("a")?;
    let mut other = Agent::start("a")?;
    let request = agent.raise(&["append", &one])?;
    ensure!(
        request.op() == 4 && request.uid() == 0,
        "operation {} of uid {}",
        request.op(),
        request.uid()
    );
    stage::approve_by(&request, 3)?;
    agent.expect(libc::EACCES, &["append", &two])?;
    agent.expect(libc::EACCES, &["truncate", &one])?;
    other.expect(libc::EACCES, &["append", &one])?;
    ensure!(
        stage::content(&one)?.is_empty(),
        "something was written without the grant"
    );
    let before = stage::status()?;
    agent.expect(0, &["append", &one])?;
    ensure!(
        stage::content(&one)? == "x",
        "the granted write did not happen"
    );
    agent.expect(libc::EACCES, &["append", &one])?;
    ensure!(stage::content(&one)? == "x", "the grant was used twice");
    let events = stage::events_after(before.event)?;
    ensure!(
        events
            .iter()
            .filter(|e| e.kind == kind::USED && e.request == request.id)
            .count()
            == 1,
        "there is not exactly one USED event"
    );
    ensure!(
        stage::status()?.counter("grants_used")? == before.counter("grants_used")? + 1,
        "grants_used did not rise by one"
    );
    agent.end()?;
    other.end()
}

fn several_uses(_: &mut Ctx) -> Res {
    sealed()?;
    let path = file("twice/one");
    stage::make_file(&path, "")?;
    let mut agent = Agent::start("a")?;
    let request = agent.raise(&["append", &path])?;
    stage::approve_by(&request, 3)?;
    agent.expect(0, &["append", &path])?;
    agent.expect(0, &["append", &path])?;
    agent.expect(libc::EACCES, &["append", &path])?;
    ensure!(
        stage::content(&path)? == "xx",
        "two uses wrote \"{}\"",
        stage::content(&path)?
    );
    agent.end()
}

fn grant_expires(_: &mut Ctx) -> Res {
    sealed()?;
    let path = file("brief/one");
    let mut agent = Agent::start("a")?;
    let request = agent.raise(&["append", &path])?;
    stage::approve_by(&request, 3)?;
    std::thread::sleep(Duration::from_millis(1500));
    agent.expect(libc::EACCES, &["append", &path])?;
    let next = agent.request()?;
    ensure!(
        next.id != request.id,
        "the expired grant's request is used again"
    );
    ensure!(
        stage::events_from(request.created())?
            .0
            .iter()
            .any(|e| e.kind == kind::GRANT_ENDED && e.request == request.id && e.result == 2),
        "no GRANT_ENDED event with \"expired\""
    );
    // Used in time it opens.
    stage::approve_by(&next, 3)?;
    agent.expect(0, &["append", &path])?;
    agent.end()
}

fn identical(_: &mut Ctx) -> Res {
    sealed()?;
    let mut agent = Agent::start("a")?;
    let first = agent.raise(&["append", &file("plain/one")])?;
    let again = agent.raise(&["append", &file("plain/one")])?;
    ensure!(first.id == again.id, "the same operation made two requests");
    let other = agent.raise(&["append", &file("plain/two")])?;
    ensure!(other.id != first.id, "another file shares the request");
    ensure!(
        stage::open_requests()?.len() == 2,
        "there are not two open requests"
    );
    agent.end()
}

fn cancelled(_: &mut Ctx) -> Res {
    sealed()?;
    let request = fresh_request()?;
    stage::cancel(&request.id).map_err(|e| format!("{e:?}"))?;
    expect_refused(
        "a vote",
        submit(&voter(1)?.record(&request, APPROVE)),
        libc::EALREADY,
        "vote_closed_request",
    )?;
    expect_refused(
        "a second cancel",
        stage::cancel(&request.id),
        libc::EALREADY,
        "request_closed",
    )?;
    expect_refused(
        "cancelling no request",
        stage::cancel(&[9; 32]),
        libc::ENOENT,
        "request_unknown",
    )
}

fn agent_ends(_: &mut Ctx) -> Res {
    sealed()?;
    let mut agent = Agent::start("a")?;
    let request = agent.raise(&["append", &file("plain/one")])?;
    agent.end()?;
    stage::eventually(Duration::from_secs(3), || {
        let state = stage::request(&request.id)?.state;
        ensure!(
            state == nl::CANCELLED,
            "the request of an ended agent is in state {state}"
        );
        Ok(())
    })?;
    expect_refused(
        "a vote for it",
        submit(&voter(1)?.record(&request, APPROVE)),
        libc::EALREADY,
        "vote_closed_request",
    )
}

fn revoked(_: &mut Ctx) -> Res {
    sealed()?;
    let mut agent = Agent::start("a")?;
    let request = agent.raise(&["append", &file("plain/two")])?;
    stage::approve_by(&request, 3)?;
    let mut attributes = crate::client::Attributes::new();
    attributes.bytes(nl::A_REQUEST_ID, &request.id);
    stage::call(nl::GRANT_REVOKE, &attributes).map_err(|e| format!("{e:?}"))?;
    expect_refused(
        "revoking it again",
        stage::call(nl::GRANT_REVOKE, &attributes),
        libc::ENOENT,
        "grant_unknown",
    )?;
    agent.expect(libc::EACCES, &["append", &file("plain/two")])?;
    agent.end()
}

// --- the foreign voter ----------------------------------------------------------------------------

/// Where `qemu/run.sh` puts it.
const VOTE_PY: &str = "/usr/share/tcp-lsm/foreign-voter/vote.py";

/// Runs a program; its exit status and everything it printed.
fn output(command: &mut Command) -> Res<(i32, String)> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = [output.stdout, output.stderr].concat();
    Ok((
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

/// Makes two keys with openssl and enrols them with the test validator 1, weight 1 each: 75 % takes all three. Returns
/// the files of the keys and an agent with an open request.
fn foreign_setup() -> Res<([String; 2], Agent, Request)> {
    let dir = stage::fresh_dir("foreign")?;
    stage::prepare(
        1,
        "foreign",
        &format!(
            "class a\nDEFAULT action=ALLOW\n\
             op=FILE_WRITE class=a path={dir} action=QUORUM threshold=75% ttl=1m timeout=5m\n"
        ),
    )?;
    stage::make_file(&format!("{dir}/file"), "")?;
    let mut keys = [String::new(), String::new()];
    for (n, key) in keys.iter_mut().enumerate() {
        *key = format!("{dir}/{n}.pem");
        let (status, text) = output(
            Command::new("openssl")
                .args([
                    "genpkey",
                    "-algorithm",
                    "EC",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-out",
                ])
                .arg(&*key),
        )?;
        ensure!(status == 0, "openssl genpkey: {text}");
        stage::make_readable(key)?;
        let public = Command::new("openssl")
            .args(["pkey", "-pubout", "-outform", "DER", "-in"])
            .arg(&*key)
            .output()
            .map_err(|e| e.to_string())?
            .stdout;
        let point = public
            .len()
            .checked_sub(65)
            .and_then(|at| public.get(at..))
            .ok_or("no public key")?;
        stage::call(
            nl::VALIDATOR_ADD,
            &stage::validator_attributes(&format!("foreign{n}"), point, 1),
        )
        .map_err(|e| format!("enrolling the foreign voter: {e:?}"))?;
    }
    let mut agent = Agent::start("a")?;
    let request = agent.raise(&["append", &format!("{dir}/file")])?;
    Ok((keys, agent, request))
}

/// A vote of a key that has never voted.
fn first_vote(verdict: &str, id: &str, key: &str, more: &[&str]) -> Res<(i32, String)> {
    output(
        vote_py()
            .args([verdict, id, "--key", key, "--new-journal"])
            .args(more),
    )
}

fn vote_py() -> Command {
    let mut command = Command::new("python3");
    command.arg(VOTE_PY);
    command
}

fn foreign_shows(_: &mut Ctx) -> Res {
    let (_, agent, request) = foreign_setup()?;
    let id = stage::hex(&request.id);
    let (status, text) = output(vote_py().args(["show", &id[..8]]))?;
    ensure!(status == 0, "show: {status} {text}");
    for part in [&id[..], "FILE_WRITE", "foreign/file", "75.00%", "open"] {
        ensure!(text.contains(part), "no {part} in: {text}");
    }
    agent.end()
}

fn foreign_decides(_: &mut Ctx) -> Res {
    let (keys, mut agent, request) = foreign_setup()?;
    let id = stage::hex(&request.id);
    let path = format!("{}/foreign/file", stage::SCRATCH);
    let (status, text) = first_vote("approve", &id, &keys[0], &["--reason", "looks right"])?;
    ensure!(
        status == 0 && text.contains("is open: 1 approve"),
        "the first vote: {status} {text}"
    );
    let (status, text) = first_vote("approve", &id, &keys[1], &[])?;
    ensure!(
        status == 0 && text.contains("is open: 2 approve"),
        "the second vote: {status} {text}"
    );
    agent.expect(libc::EACCES, &["append", &path])?;
    voter(1)?
        .cast(&request, APPROVE)
        .map_err(|e| format!("{e:?}"))?;
    agent.expect(0, &["append", &path])?;
    // And it can say no: one of three denies 75 %.
    let next = agent.raise(&["append", &path])?;
    let (status, text) =
        output(vote_py().args(["deny", &stage::hex(&next.id), "--key", &keys[0]]))?;
    ensure!(
        status == 0 && text.contains("is denied"),
        "the denial: {status} {text}"
    );
    agent.expect(libc::EACCES, &["append", &path])?;
    agent.end()
}

fn foreign_unprivileged(_: &mut Ctx) -> Res {
    let (keys, agent, request) = foreign_setup()?;
    let id = stage::hex(&request.id);
    let slots = stage::dump(nl::VALIDATOR_GET, &crate::client::Attributes::new())
        .map_err(|e| format!("{e:?}"))?;
    let slot = slots
        .iter()
        .find(|v| v.string(nl::A_VALIDATOR_NAME).as_deref() == Some("foreign1"))
        .and_then(|v| v.u32(nl::A_VALIDATOR_SLOT))
        .ok_or("foreign1 has no slot")?
        .to_string();
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=30010",
        "--regid=30010",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]);
    command.args([
        "python3",
        VOTE_PY,
        "approve",
        &id,
        "--key",
        &keys[1],
        "--new-journal",
        "--slot",
        &slot,
    ]);
    let (status, text) = output(&mut command)?;
    ensure!(
        status == 0 && text.contains("1 approve"),
        "without privilege: {status} {text}"
    );
    agent.end()
}

fn foreign_refusals(_: &mut Ctx) -> Res {
    let (keys, agent, request) = foreign_setup()?;
    let id = stage::hex(&request.id);
    let expect = |what: &str, command: &mut Command, name: &str, code: &str| -> Res {
        let (status, text) = output(command)?;
        ensure!(
            status == 1 && text.contains(&format!("refused with {name}: {code}: ")),
            "{what}: {status} {text}"
        );
        Ok(())
    };
    let file = format!("{}/foreign/vote", stage::SCRATCH);
    let (status, text) = first_vote("approve", &id, &keys[0], &["--out", &file])?;
    ensure!(status == 0, "writing a vote: {text}");
    let mut record = std::fs::read(&file).map_err(|e| e.to_string())?;
    record[112] = DENY;
    let spoilt = format!("{file}.spoilt");
    std::fs::write(&spoilt, &record).map_err(|e| e.to_string())?;
    expect(
        "a changed verdict",
        vote_py().args(["submit", &spoilt]),
        "EKEYREJECTED",
        "vote_forged",
    )?;
    record[112] = APPROVE;
    record.truncate(150);
    std::fs::write(&spoilt, &record).map_err(|e| e.to_string())?;
    expect(
        "a torn record",
        vote_py().args(["submit", &spoilt]),
        "EINVAL",
        "vote_malformed",
    )?;
    let (status, text) = output(vote_py().args(["submit", &file]))?;
    ensure!(status == 0, "the kept vote: {text}");
    expect(
        "the same again",
        vote_py().args(["submit", &file]),
        "EEXIST",
        "vote_duplicate",
    )?;
    let (status, text) = first_vote("deny", &id, &keys[1], &[])?;
    ensure!(
        status == 0 && text.contains("is denied"),
        "the denial: {text}"
    );
    expect(
        "after the decision",
        vote_py().args(["submit", &file]),
        "EALREADY",
        "vote_closed_request",
    )?;
    agent.end()
}
