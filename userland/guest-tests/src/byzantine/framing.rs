// SPDX-License-Identifier: GPL-2.0

//! Whoever would have an honest validator look like a liar: the network, a helper, root without the key, another validator.

use super::{
    approves,
    begin,
    both_verdicts,
    convicts,
    evidence_of,
    exactly,
    nobody_harmed,
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
use crate::client::Refused;
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::keys::Validator;
use crate::stage::{
    self,
    expect_refused,
    new_user,
    nl,
    submit,
    submit_as,
    submit_evidence,
    submit_evidence_as,
    voter,
    Request,
    Res,
    Voter,
    APPROVE,
    DENY, //
};
use crate::worker::Agent;

/// The tests, in their order.
pub(super) const TESTS: &[Test] = &[
    Test::new("network_garbles_a_vote_at_every_byte", garbled),
    Test::new("network_cuts_a_vote_at_every_length", cut),
    Test::new("network_replays_and_reorders", reordered),
    Test::new("helper_withholds_votes", withheld),
    Test::new("helper_alters_the_reason", altered_reason),
    Test::new("root_forges_votes_of_a_validator", forged_votes),
    Test::new("root_forges_evidence_against_a_validator", forged_evidence),
    Test::new("root_garbles_evidence_at_every_byte", garbled_evidence),
    Test::new("root_lies_about_the_clock", lies),
    Test::new("validator_signs_in_the_name_of_another", other_name),
    Test::new("validator_gives_itself_up", gives_up),
    Test::new("honest_votes_are_no_evidence", honest_votes),
    Test::new("flood_of_votes_naming_an_honest_validator", flood),
    Test::new("any_user_may_prove_a_fault", any_user),
];

const FOUR: &[u32] = &[1; 4];

/// A node on which validator 1 has approved two requests, and a third one is open.
fn honest_node() -> Res<(Desk, Voter, [Request; 3])> {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let requests = [desk.ask("most")?, desk.ask("most")?, desk.ask("most")?];
    approves(1, &requests[0])?;
    approves(1, &requests[1])?;
    Ok((desk, voter(1)?, requests))
}

/// The validator is as it was, and its next vote counts.
fn unharmed(before: &Voter, request: &Request) -> Res {
    trusted(1)?;
    nobody_harmed()?;
    let now = voter(1)?;
    ensure!(
        now.last == before.last && now.accepted == before.accepted,
        "what is known of v1 is {:?}, not {:?}",
        now.last,
        before.last
    );
    stands("before its vote", &request.id, (nl::OPEN, 0, 0, 0))?;
    exactly(request, &[1, 2, 3])
}

/// Submits records as many users; all must be refused, for one of these codes.
fn all_refused(records: &[Vec<u8>], codes: &[&str]) -> Res {
    each_refused(records, codes, submit_as)
}

fn each_refused(
    all: &[Vec<u8>],
    codes: &[&str],
    submit_as: impl Fn(u32, &[Vec<u8>]) -> Res<Vec<Result<u32, Refused>>>,
) -> Res {
    let mut at = 0;
    // A user may have 32 refused in a row.
    for some in all.chunks(24) {
        for answer in submit_as(new_user(), some)? {
            match answer {
                Ok(state) => return Err(format!("number {at} was taken: {state}")),
                Err(refused) => ensure!(
                    codes
                        .iter()
                        .any(|code| refused.text.starts_with(&format!("{code}: "))),
                    "number {at}: {refused:?}, not one of {codes:?}"
                ),
            }
            at += 1;
        }
    }
    ensure!(at == all.len(), "{at} answers to {}", all.len());
    Ok(())
}

/// The bytes with one bit of each byte flipped in turn.
fn flips(bytes: &[u8]) -> Vec<Vec<u8>> {
    (0..bytes.len())
        .map(|at| {
            let mut out = bytes.to_vec();
            out[at] ^= 1;
            out
        })
        .collect()
}

fn garbled(_: &mut Ctx) -> Res {
    let (desk, v1, requests) = honest_node()?;
    const CODES: &[&str] = &[
        "vote_malformed",
        "vote_version",
        "vote_other_node",
        "vote_other_epoch",
        "vote_unknown_request",
        "vote_unknown_validator",
        "vote_slot",
        "vote_expired",
        "vote_duplicate",
        "vote_reason",
        "vote_malleable",
        "vote_forged",
        "clock_not_later",
        "clock_regresses",
        "clock_before_request",
        "clock_unseen",
        "clock_leap",
    ];
    // A vote that is on its way, and one that has arrived: there every change is a contradiction that nobody has signed.
    let fresh = v1.record(&requests[2], APPROVE);
    all_refused(&flips(&fresh), CODES)?;
    let vote = sent(&v1, &requests[1])?;
    all_refused(&flips(&vote), CODES)?;
    unharmed(&v1, &requests[2])?;
    desk.agent.end()
}

/// The record of an accepted vote of the validator on a request, from its event.
fn sent(voter: &Voter, request: &Request) -> Res<Vec<u8>> {
    let events = stage::events_from(request.created())?.0;
    let event = events
        .iter()
        .find(|event| {
            event.kind == stage::kind::VOTE
                && event.slot == voter.slot
                && event.request == request.id
        })
        .ok_or("no VOTE")?;
    Ok(event.payload().to_vec())
}

fn cut(_: &mut Ctx) -> Res {
    let (desk, v1, requests) = honest_node()?;
    for record in [v1.record(&requests[2], APPROVE), sent(&v1, &requests[0])?] {
        let all: Vec<_> = (1..record.len())
            .map(|length| record[..length].to_vec())
            .collect();
        all_refused(&all, &["vote_malformed"])?;
    }
    unharmed(&v1, &requests[2])?;
    desk.agent.end()
}

fn reordered(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let mut requests = Vec::new();
    let mut records = Vec::new();
    let mut v1 = voter(1)?;
    for _ in 0..5 {
        let request = desk.ask("most")?;
        let vote = v1.vote(&request, APPROVE);
        records.push(v1.sign(&vote));
        requests.push(request);
    }
    // The last one arrives first: the others are late, and no fault, however often they come.
    submit(&records[4]).map_err(|e| format!("the last vote: {e:?}"))?;
    for _ in 0..2 {
        for record in records[..4].iter().rev() {
            expect_refused(
                "an earlier vote",
                submit(record),
                libc::ESTALE,
                "clock_not_later",
            )?;
        }
        expect_refused(
            "the last one again",
            submit(&records[4]),
            libc::EEXIST,
            "vote_duplicate",
        )?;
    }
    nobody_harmed()?;
    // Asked again, it signs the same verdict with a later clock.
    for request in &requests[..4] {
        let vote = v1.vote(request, APPROVE);
        submit(&v1.sign(&vote)).map_err(|e| format!("the same verdict: {e:?}"))?;
        stands("a request", &request.id, (nl::OPEN, 1, 0, 0))?;
    }
    for record in &records {
        ensure!(submit(record).is_err(), "an old vote was taken");
    }
    trusted(1)?;
    nobody_harmed()?;
    desk.agent.end()
}

fn withheld(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let request = desk.ask("brief")?;
    let mut v1 = voter(1)?;
    let vote = v1.vote(&request, APPROVE);
    let late = v1.sign(&vote);
    stage::eventually(std::time::Duration::from_secs(8), || {
        let state = stage::request(&request.id)?.state;
        ensure!(state == nl::EXPIRED, "the request is in state {state}");
        Ok(())
    })?;
    let closed = || {
        expect_refused(
            "a vote that was kept back",
            submit(&late),
            libc::EALREADY,
            "vote_closed_request",
        )
    };
    closed()?;
    let next = desk.ask("most")?;
    let vote = v1.vote(&next, DENY);
    submit(&v1.sign(&vote)).map_err(|e| format!("its next vote: {e:?}"))?;
    closed()?;
    trusted(1)?;
    nobody_harmed()?;
    desk.agent.end()
}

fn altered_reason(_: &mut Ctx) -> Res {
    let (desk, v1, requests) = honest_node()?;
    let mut vote = v1.vote(&requests[2], APPROVE);
    vote.reason = b"reviewed by two".to_vec();
    let record = vote.record(&v1.validator);
    let mut altered = Vec::new();
    for at in record.len() - vote.reason.len()..record.len() {
        let mut other = record.clone();
        other[at] ^= 1;
        altered.push(other);
    }
    altered.push(record[..record.len() - 1].to_vec());
    altered.push([&record[..], b"!"].concat());
    // Of a vote that counts, too.
    altered.push([&sent(&v1, &requests[0])?[..], b"!"].concat());
    all_refused(&altered, &["vote_reason", "vote_duplicate"])?;
    unharmed(&v1, &requests[2])?;
    desk.agent.end()
}

fn forged_votes(_: &mut Ctx) -> Res {
    // Each would be a proof if v1 had signed it.
    let (desk, v1, requests) = honest_node()?;
    let mallory = Validator::test(2);
    let last = v1.last.get(&v1.slot).copied().unwrap_or(0);
    let mut same = v1.vote(&requests[2], APPROVE);
    same.set(v1.slot, last);
    let mut back = v1.vote(&requests[2], APPROVE);
    back.set(0, requests[0].created() - 1);
    let mut signatures = vec![v1.validator.sign(b"something else")];
    signatures.push(mallory.sign(&same.signed()));
    for signature in &signatures {
        for vote in [&v1.vote(&requests[1], DENY), &same, &back] {
            expect_refused(
                "a forged contradiction",
                submit(&vote.record_with(signature)),
                libc::EKEYREJECTED,
                "vote_forged",
            )?;
        }
    }
    // The genuine signature of another vote of its own.
    let record = sent(&v1, &requests[1])?;
    let mut turned = record.clone();
    turned[112] = DENY;
    expect_refused(
        "a vote that was turned round",
        submit(&turned),
        libc::EKEYREJECTED,
        "vote_forged",
    )?;
    // Who hands that in pays for it.
    let answers = submit_as(new_user(), &vec![turned; 60])?;
    ensure!(
        answers.iter().any(
            |answer| matches!(answer, Err(refused) if refused.text.starts_with("rate_limited: "))
        ),
        "60 forged contradictions never met the limit"
    );
    unharmed(&v1, &requests[2])?;
    desk.agent.end()
}

fn forged_evidence(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let (victim, mallory) = (Validator::test(1), Validator::test(2));
    let node = stage::status()?.node;
    let (a, b) = both_verdicts(&victim, node, 1 << 32);
    let (real, other) = (signed(&a, &victim), signed(&b, &mallory));
    let fake = signed(&a, &mallory);
    for (what, first, second) in [
        ("the second vote forged", &real, &other),
        ("the first vote forged", &fake, &signed(&b, &victim)),
        ("both forged", &fake, &other),
    ] {
        expect_refused(
            what,
            submit_evidence(&ordered(EQUIVOCATION, &victim.point(), first, second)),
            libc::EKEYREJECTED,
            "evidence_forged",
        )?;
    }
    // Under the key that has signed: then it is not the key of that validator.
    expect_refused(
        "another key",
        submit_evidence(&ordered(EQUIVOCATION, &mallory.point(), &fake, &other)),
        libc::EINVAL,
        "evidence_malformed",
    )?;
    trusted(1)?;
    trusted(2)?;
    nobody_harmed()
}

fn garbled_evidence(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let victim = Validator::test(1);
    let node = stage::status()?.node;
    let (a, b) = both_verdicts(&victim, node, 1 << 32);
    let evidence = evidence_of(EQUIVOCATION, &victim, &a, &b);
    each_refused(
        &flips(&evidence),
        &[
            "evidence_malformed",
            "evidence_none",
            "evidence_unknown",
            "evidence_forged",
        ],
        submit_evidence_as,
    )?;
    trusted(1)?;
    nobody_harmed()?;
    // With every byte in its place it is what it is.
    submit_evidence(&evidence).map_err(|e| format!("the true evidence: {e:?}"))?;
    quarantined(1, EQUIVOCATION).map(drop)
}

fn lies(_: &mut Ctx) -> Res {
    // A validator that is told of events which have not happened signs that it has seen them. With its journal it does
    // not take that back: it is out until they have happened, and not guilty.
    let (mut desk, known, requests) = honest_node()?;
    let mut v1 = known.clone();
    let now = stage::status()?.clock.get(&0).copied().unwrap_or(0);
    let mut vote = v1.vote(&requests[2], APPROVE);
    vote.set(0, now + 24);
    let unseen = |record: &[u8]| {
        expect_refused(
            "a vote on a lie",
            submit(record),
            libc::EAGAIN,
            "clock_unseen",
        )
    };
    unseen(&v1.sign(&vote))?;
    let vote = v1.vote(&requests[2], APPROVE);
    unseen(&v1.sign(&vote))?;
    unharmed_so_far(&known)?;
    for _ in 0..30 {
        let request = desk.ask("most")?;
        stage::cancel(&request.id).map_err(|e| format!("{e:?}"))?;
    }
    let vote = v1.vote(&requests[2], APPROVE);
    submit(&v1.sign(&vote)).map_err(|e| format!("when it has happened: {e:?}"))?;
    stands("after it", &requests[2].id, (nl::OPEN, 1, 0, 0))?;
    trusted(1)?;
    nobody_harmed()?;
    desk.agent.end()
}

fn unharmed_so_far(before: &Voter) -> Res {
    trusted(1)?;
    ensure!(
        voter(1)?.last == before.last,
        "what was refused moved the clock of v1"
    );
    nobody_harmed()
}

fn other_name(_: &mut Ctx) -> Res {
    let (desk, v1, requests) = honest_node()?;
    let v2 = voter(2)?;
    // In the name of v1, in the slot of v1 or its own, with its own key; and in its own name in the slot of v1.
    let as_v1 = v1.vote(&requests[1], DENY);
    let slot = u8::try_from(v2.slot).map_err(|e| e.to_string())?;
    let mut own_slot = as_v1.clone();
    own_slot.slot = slot;
    let mut new_slot = v1.vote(&requests[2], APPROVE);
    new_slot.slot = slot;
    let mut own_name = v2.vote(&requests[2], DENY);
    own_name.slot = u8::try_from(v1.slot).map_err(|e| e.to_string())?;
    for (what, vote, errno, code) in [
        ("in its name", &as_v1, libc::EKEYREJECTED, "vote_forged"),
        (
            "in its name and another slot",
            &own_slot,
            libc::EKEYREJECTED,
            "vote_forged",
        ),
        (
            "in its name and another slot, on a new request",
            &new_slot,
            libc::ENOKEY,
            "vote_slot",
        ),
        ("in its slot", &own_name, libc::ENOKEY, "vote_slot"),
    ] {
        expect_refused(what, submit(&vote.record(&v2.validator)), errno, code)?;
    }
    trusted(2)?;
    unharmed(&v1, &requests[2])?;
    desk.agent.end()
}

fn gives_up(_: &mut Ctx) -> Res {
    let (desk, _, requests) = honest_node()?;
    let own = Validator::test(2);
    let (a, b) = both_verdicts(&own, stage::status()?.node, 1 << 32);
    let answers = submit_evidence_as(new_user(), &[evidence_of(EQUIVOCATION, &own, &a, &b)])?;
    ensure!(
        matches!(answers.first(), Some(Ok(1))),
        "evidence of a validator against itself: {answers:?}"
    );
    quarantined(2, EQUIVOCATION)?;
    trusted(1)?;
    exactly(&requests[2], &[1, 3, 4])?;
    desk.agent.end()
}

fn honest_votes(_: &mut Ctx) -> Res {
    // Everything that v1 has signed, in every combination and under every name.
    let (desk, v1, requests) = honest_node()?;
    let mut all = Vec::new();
    for record in [
        sent(&v1, &requests[0])?,
        sent(&v1, &requests[1])?,
        v1.record(&requests[2], APPROVE),
    ] {
        let m = usize::from(record[115]);
        let end = 156 + 10 * m;
        let vote = record[..end].to_vec();
        let own = crate::harness::be(&vote, 156 + 12, 8);
        all.push((vote, record[end + 2..].to_vec(), own));
    }
    let twice = {
        // The same vote with a signature that differs: who has the key may sign twice.
        let (vote, _, own) = all[0].clone();
        (vote, v1.validator.sign_high_s(&all[0].0), own)
    };
    let point = v1.validator.point();
    let mut refused = Vec::new();
    for fault in [EQUIVOCATION, FORK, REGRESSION] {
        for first in &all {
            for second in &all {
                refused.push(raw_evidence(fault, &point, first, second));
            }
        }
        refused.push(raw_evidence(fault, &point, &all[0], &twice));
    }
    each_refused(
        &refused,
        &["evidence_none", "evidence_malformed"],
        submit_evidence_as,
    )?;
    unharmed(&v1, &requests[2])?;
    desk.agent.end()
}

fn flood(_: &mut Ctx) -> Res {
    let (desk, v1, requests) = honest_node()?;
    let forged = v1.vote(&requests[1], DENY).record(&Validator::test(3));
    let noise = vec![0x5a; 200];
    let before = stage::status()?.event;
    for user in [new_user(), new_user(), new_user()] {
        let mut records = vec![forged.clone(); 60];
        records.extend(vec![noise.clone(); 60]);
        let answers = submit_as(user, &records)?;
        ensure!(
            answers.iter().all(Result::is_err),
            "a vote of the flood was taken"
        );
        ensure!(
            answers
                .iter()
                .filter(
                    |answer| matches!(answer, Err(refused) if refused.text.starts_with("rate_limited: "))
                )
                .count()
                > 40,
            "120 bad votes of one user hardly met the limit"
        );
    }
    let events = super::of_kind(before, stage::kind::VOTE_REFUSED)?.len();
    ensure!(events <= 180, "360 votes of a flood made {events} events");
    let proper = v1.record(&requests[2], APPROVE);
    let answers = submit_as(new_user(), std::slice::from_ref(&proper))?;
    ensure!(
        matches!(answers.first(), Some(Ok(nl::OPEN))),
        "the vote of the validator that the flood named: {answers:?}"
    );
    trusted(1)?;
    nobody_harmed()?;
    exactly(&requests[2], &[2, 3])?;
    desk.agent.end()
}

fn any_user(_: &mut Ctx) -> Res {
    let (desk, v1, requests) = honest_node()?;
    let (a, b) = both_verdicts(&v1.validator, stage::status()?.node, 1 << 32);
    let evidence = evidence_of(EQUIVOCATION, &v1.validator, &a, &b);
    // Not an agent, whatever it has.
    let mut agent = Agent::start("a")?;
    let (errno, text) = agent.ask(&["evidence", &stage::hex(&evidence)])?;
    ensure!(
        errno == libc::EPERM && text.starts_with("labelled: "),
        "evidence from an agent: {errno} {text}"
    );
    let get = nl::EVIDENCE_GET.to_string();
    let (errno, text) = agent.ask(&["netlink", &get, "dump"])?;
    ensure!(
        errno == libc::EPERM && text.starts_with("labelled: "),
        "evidence-get of an agent: {errno} {text}"
    );
    agent.end()?;
    trusted(1)?;
    let user = new_user();
    let answers = submit_evidence_as(user, std::slice::from_ref(&evidence))?;
    ensure!(
        matches!(answers.first(), Some(Ok(1))),
        "evidence of an ordinary user: {answers:?}"
    );
    ensure!(
        quarantined(1, EQUIVOCATION)? == evidence,
        "other evidence is shown than was handed in"
    );
    // And everybody can read it.
    let lines = crate::worker::in_child(user, || {
        vec![super::shown().map_or_else(|why| why, |all| all.len().to_string())]
    })?;
    ensure!(lines == ["1"], "an ordinary user sees {lines:?}");
    convicts("its vote", submit(&v1.record(&requests[2], APPROVE)))?;
    desk.agent.end()
}
