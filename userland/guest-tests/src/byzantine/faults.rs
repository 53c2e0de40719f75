// SPDX-License-Identifier: GPL-2.0

//! Validators that lie to this node: what is proved, what is only refused, and what follows.

use super::{
    approves,
    begin,
    convict,
    convicts,
    decided,
    exactly,
    nobody_harmed,
    of_kind,
    quarantined,
    stands,
    tally_of,
    trusted,
    Desk,
    EQUIVOCATION,
    FORK,
    NO_RAISE,
    REGRESSION, //
};
use crate::client::{
    Attributes,
    Refused, //
};
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::keys::Validator;
use crate::stage::{
    self,
    errno_name,
    expect_errno,
    expect_refused,
    kind,
    nl,
    submit,
    voter,
    Request,
    Res,
    Voter,
    APPROVE,
    DENY, //
};
use crate::worker;
use std::fs;

/// The tests, in their order.
pub(super) const TESTS: &[Test] = &[
    Test::new("equivocation_on_an_open_request", on_open),
    Test::new("equivocation_after_the_decision", after_decision),
    Test::new("equivocation_leaves_a_grant_that_others_back", still_backed),
    Test::new("equivocation_while_the_first_vote_is_held", while_held),
    Test::new("equivocation_beside_a_held_vote", beside_held),
    Test::new("equivocation_in_another_slot", other_slot),
    Test::new("fork_at_the_same_own_entry", fork),
    Test::new("fork_behind_later_votes", fork_behind),
    Test::new("regression_of_the_nodes_entry", regression),
    Test::new("regression_that_forgets_an_entry", forgets),
    Test::new("regression_of_an_earlier_vote", earlier),
    Test::new("inflated_entry_that_is_taken_back", inflated),
    Test::new("leaps_and_claims_are_only_refused", only_refused),
    Test::new("replays_are_only_refused", replays),
    Test::new("impossible_requests_are_denied_at_once", impossible),
    Test::new("mass_quarantine_keeps_the_denominator", mass),
    Test::new("leave_and_rejoin", rejoin),
    Test::new("contradicting_votes_at_once", at_once),
];

const FOUR: &[u32] = &[1; 4];

/// A vote of this voter with all that the node has seen, but its own entry.
fn informed(voter: &Voter, request: &Request, verdict: u8) -> Res<stage::Vote> {
    let mut vote = voter.vote(request, verdict);
    let own = vote.entry(voter.slot);
    for (slot, value) in stage::status()?.clock {
        vote.set(slot, value);
    }
    vote.set(voter.slot, own);
    Ok(vote)
}

fn counts(what: &str, record: &[u8]) -> Res<stage::Tally> {
    submit(record).map_err(|e| format!("{what}: {e:?}"))
}

fn on_open(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    // While nobody is quarantined it takes exactly three of four.
    exactly(&desk.ask("most")?, &[1, 2, 3])?;
    let request = desk.ask("most")?;
    let other = desk.ask("most")?;
    let v1 = approves(1, &request)?;
    approves(2, &request)?;
    approves(1, &other)?;
    stands("before", &request.id, (nl::OPEN, 2, 0, 0))?;
    let before = stage::status()?;
    convicts("the denial", submit(&voter(1)?.record(&request, DENY)))?;
    quarantined(1, EQUIVOCATION)?;
    // Its votes are taken back, here and wherever else a request is open; nothing has become easier.
    stands("after", &request.id, (nl::OPEN, 1, 0, 1))?;
    stands("the other request", &other.id, (nl::OPEN, 0, 0, 1))?;
    let after = stage::status()?;
    ensure!(
        after.total == 4
            && after.quarantined == 1
            && after.counter("quarantined")? == before.counter("quarantined")? + 1,
        "the total is {} with {} quarantined",
        after.total,
        after.quarantined
    );
    ensure!(
        stage::status_line("quarantined")? == "1 weight 1",
        "status says quarantined {}",
        stage::status_line("quarantined")?
    );
    let now = stage::request(&request.id)?;
    ensure!(
        now.total == 4 && now.threshold == 7500,
        "threshold {} of {}",
        now.threshold,
        now.total
    );
    exactly(&request, &[3, 4])?;
    ensure!(
        decided(&request, kind::GRANTED)? == (3, 0, 4, 1, 7500),
        "GRANTED tells {:?}",
        decided(&request, kind::GRANTED)?
    );
    unheard(&mut desk, &v1, &request)?;
    ensure!(
        of_kind(before.event, kind::QUARANTINED)?.len() == 1,
        "one fault, several QUARANTINED"
    );
    desk.agent.end()
}

/// Nothing that v1 signs is heard any more, and nobody need look at its signature; the others decide without it.
fn unheard(desk: &mut Desk, v1: &Voter, past: &Request) -> Res {
    let next = desk.ask("most")?;
    convicts("a vote", submit(&voter(1)?.record(&next, APPROVE)))?;
    convicts(
        "a forged vote",
        submit(&v1.vote(&next, DENY).record(&Validator::test(2))),
    )?;
    closed(
        "a vote on what is decided",
        submit(&v1.record(past, APPROVE)),
    )?;
    exactly(&next, &[2, 3, 4])?;
    // One more denial than quarantined weight makes approval impossible.
    let last = desk.ask("most")?;
    let tally = voter(2)?.cast(&last, DENY).map_err(|e| format!("{e:?}"))?;
    ensure!(tally.state == nl::DENIED, "one denial of three: {tally:?}");
    ensure!(
        decided(&last, kind::DENIED)? == (0, 1, 4, 1, 7500),
        "DENIED tells {:?}",
        decided(&last, kind::DENIED)?
    );
    Ok(())
}

fn closed<T>(what: &str, got: Result<T, Refused>) -> Res {
    expect_refused(what, got, libc::EALREADY, "vote_closed_request")
}

fn after_decision(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let request = desk.ask("most")?;
    exactly(&request, &[1, 2, 3])?;
    desk.write(0)?;
    // A late vote of somebody who has not voted is late, and no more.
    closed("a late vote", submit(&voter(4)?.record(&request, DENY)))?;
    let before = stage::status()?.event;
    convicts("the denial", submit(&voter(1)?.record(&request, DENY)))?;
    quarantined(1, EQUIVOCATION)?;
    // Two of four do not back the grant.
    let ended = of_kind(before, kind::GRANT_ENDED)?;
    ensure!(
        ended.len() == 1 && ended[0].request == request.id && ended[0].result == 6,
        "GRANT_ENDED: {ended:?}"
    );
    desk.write(libc::EACCES)?;
    let again = desk.agent.request()?;
    ensure!(
        again.id != request.id && again.state == nl::OPEN,
        "the write after it asked for nothing new"
    );
    exactly(&again, &[2, 3, 4])?;
    desk.write(0)?;
    desk.agent.end()
}

fn still_backed(_: &mut Ctx) -> Res {
    // 50.01 % of 7 is 3.5007: v3 alone has 3.
    begin(&[1, 1, 3, 1, 1], NO_RAISE)?;
    let mut desk = Desk::open()?;
    let request = desk.ask("half")?;
    exactly(&request, &[1, 2, 3])?;
    let before = stage::status()?.event;
    convicts("v1 denies", submit(&voter(1)?.record(&request, DENY)))?;
    quarantined(1, EQUIVOCATION)?;
    ensure!(
        of_kind(before, kind::GRANT_ENDED)?.is_empty(),
        "a grant that 4 of 7 back has ended"
    );
    desk.write(0)?;
    convicts("v2 denies", submit(&voter(2)?.record(&request, DENY)))?;
    quarantined(2, EQUIVOCATION)?;
    let ended = of_kind(before, kind::GRANT_ENDED)?;
    ensure!(
        ended.len() == 1 && ended[0].result == 6,
        "a grant that 3 of 7 back: {ended:?}"
    );
    desk.write(libc::EACCES)?;
    desk.agent.end()
}

/// A vote whose cause is the next vote of another, and that is held.
fn hold(voter: &mut Voter, request: &Request, cause: &Voter) -> Res {
    let mut vote = voter.vote(request, APPROVE);
    let seen = stage::status()?.clock.get(&cause.slot).copied();
    vote.set(cause.slot, seen.unwrap_or(0) + 1);
    let tally = counts("an early vote", &voter.sign(&vote))?;
    ensure!(tally.held, "an early vote is not held: {tally:?}");
    Ok(())
}

fn held_now() -> Res<u32> {
    let reply = stage::call(nl::STATUS, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    reply.u32(nl::A_HELD).ok_or_else(|| "no held".to_string())
}

fn while_held(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let (request, other) = (desk.ask("most")?, desk.ask("most")?);
    let v2 = voter(2)?;
    let mut v1 = voter(1)?;
    hold(&mut v1, &request, &v2)?;
    hold(&mut v1, &other, &v2)?;
    ensure!(held_now()? == 2, "{} votes are held", held_now()?);
    let denial = v1.vote(&request, DENY);
    convicts("the denial", submit(&v1.sign(&denial)))?;
    quarantined(1, EQUIVOCATION)?;
    ensure!(held_now()? == 0, "{} votes are held", held_now()?);
    // The cause arrives, and nothing waits for it.
    counts("the cause", &v2.record(&request, APPROVE))?;
    stands("with its cause", &request.id, (nl::OPEN, 1, 0, 1))?;
    stands("the other", &other.id, (nl::OPEN, 0, 0, 1))?;
    exactly(&request, &[3, 4])?;
    desk.agent.end()
}

fn beside_held(_: &mut Ctx) -> Res {
    // The approval is held, and the denial needs no cause. It would count, were it not for what is held.
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let request = desk.ask("most")?;
    let v2 = voter(2)?;
    let v1 = voter(1)?;
    hold(&mut v1.clone(), &request, &v2)?;
    let mut denial = v1.vote(&request, DENY);
    denial.set(v1.slot, denial.entry(v1.slot) + 1);
    convicts("the denial", submit(&denial.record(&v1.validator)))?;
    quarantined(1, EQUIVOCATION)?;
    stands("after both", &request.id, (nl::OPEN, 0, 0, 1))?;
    ensure!(held_now()? == 0, "{} votes are held", held_now()?);
    exactly(&request, &[2, 3, 4])?;
    desk.agent.end()
}

fn other_slot(_: &mut Ctx) -> Res {
    // No slot but its own is right here, and both verdicts are a lie in any.
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let (request, other) = (desk.ask("most")?, desk.ask("most")?);
    let v1 = approves(1, &request)?;
    let mut vote = v1.vote(&other, DENY);
    vote.slot = 2;
    expect_refused(
        "a vote in another slot",
        submit(&vote.record(&v1.validator)),
        libc::ENOKEY,
        "vote_slot",
    )?;
    trusted(1)?;
    let mut vote = v1.vote(&request, DENY);
    vote.slot = 2;
    convicts("the denial", submit(&vote.record(&v1.validator)))?;
    quarantined(1, EQUIVOCATION)?;
    stands("after it", &request.id, (nl::OPEN, 0, 0, 1))?;
    desk.agent.end()
}

fn fork(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let (first, second) = (desk.ask("most")?, desk.ask("most")?);
    let v1 = voter(1)?;
    counts("the first vote", &v1.record(&first, APPROVE))?;
    convicts("the second", submit(&v1.record(&second, APPROVE)))?;
    quarantined(1, FORK)?;
    stands("the first request", &first.id, (nl::OPEN, 0, 0, 1))?;
    exactly(&first, &[2, 3, 4])?;
    desk.agent.end()
}

fn fork_behind(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let requests = [desk.ask("most")?, desk.ask("most")?, desk.ask("most")?];
    let mut v1 = voter(1)?;
    let other = v1.vote(&requests[2], DENY);
    for request in &requests[..2] {
        let vote = v1.vote(request, APPROVE);
        counts("a vote", &v1.sign(&vote))?;
    }
    convicts("another first vote", submit(&other.record(&v1.validator)))?;
    quarantined(1, FORK)?;
    for request in &requests {
        stands("a request", &request.id, (nl::OPEN, 0, 0, 1))?;
    }
    desk.agent.end()
}

fn regression(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let (older, newer) = (desk.ask("most")?, desk.ask("most")?);
    let mut v1 = voter(1)?;
    let vote = informed(&v1, &newer, APPROVE)?;
    counts("all that is known", &v1.sign(&vote))?;
    let mut back = v1.vote(&older, APPROVE);
    back.set(0, older.created());
    convicts("less than that", submit(&back.record(&v1.validator)))?;
    quarantined(1, REGRESSION)?;
    stands("the newer request", &newer.id, (nl::OPEN, 0, 0, 1))?;
    desk.agent.end()
}

fn forgets(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let (older, newer) = (desk.ask("most")?, desk.ask("most")?);
    let v2 = approves(2, &older)?;
    let mut v1 = voter(1)?;
    let vote = informed(&v1, &newer, APPROVE)?;
    ensure!(vote.entry(v2.slot) > 0, "there is nothing to forget");
    counts("all that is known", &v1.sign(&vote))?;
    let mut vote = v1.vote(&older, APPROVE);
    vote.clock.retain(|entry| entry.0 != v2.slot);
    convicts("without v2", submit(&vote.record(&v1.validator)))?;
    quarantined(1, REGRESSION)?;
    desk.agent.end()
}

fn earlier(_: &mut Ctx) -> Res {
    // The second vote claims to be the earlier one, and knows more than the later one.
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let (older, newer) = (desk.ask("most")?, desk.ask("most")?);
    let v1 = voter(1)?;
    let mut late = v1.vote(&older, APPROVE);
    late.set(v1.slot, 9);
    counts("the late vote", &late.record(&v1.validator))?;
    let mut early = informed(&v1, &newer, APPROVE)?;
    early.set(v1.slot, 4);
    convicts("the early vote", submit(&early.record(&v1.validator)))?;
    quarantined(1, REGRESSION)?;
    desk.agent.end()
}

fn inflated(_: &mut Ctx) -> Res {
    // A clock-forging validator claims what nobody has said, and later does not know of it. As long as it keeps to its
    // claim it has not lied to this node, only to itself: no vote of it counts.
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let (first, second) = (desk.ask("most")?, desk.ask("most")?);
    let known = voter(1)?;
    let mut v1 = known.clone();
    let mut vote = v1.vote(&first, APPROVE);
    vote.set(128, 1);
    let tally = counts("the claim", &v1.sign(&vote))?;
    ensure!(tally.held, "a claim of slot 128: {tally:?}");
    let vote = v1.vote(&second, APPROVE);
    let tally = counts("a vote that keeps to it", &v1.sign(&vote))?;
    ensure!(tally.held, "a vote that keeps to the claim: {tally:?}");
    trusted(1)?;
    let mut vote = known.vote(&desk.ask("most")?, APPROVE);
    vote.set(v1.slot, v1.last.get(&v1.slot).copied().unwrap_or(0) + 1);
    convicts("a vote that does not", submit(&vote.record(&v1.validator)))?;
    quarantined(1, REGRESSION)?;
    ensure!(held_now()? == 0, "{} votes are held", held_now()?);
    for request in stage::open_requests()? {
        stands("an open request", &request.id, (nl::OPEN, 0, 0, 1))?;
    }
    desk.agent.end()
}

fn only_refused(_: &mut Ctx) -> Res {
    // What contradicts nothing that was said is wrong, and no proof.
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    approves(1, &desk.ask("most")?)?;
    let request = desk.ask("most")?;
    let v1 = voter(1)?;
    let now = stage::status()?.clock.get(&0).copied().unwrap_or(0);
    for (what, slot, value, errno, code) in [
        (
            "a leap",
            v1.slot,
            v1.last.get(&v1.slot).copied().unwrap_or(0) + 1_048_577,
            libc::ERANGE,
            "clock_leap",
        ),
        (
            "the greatest leap",
            v1.slot,
            u64::MAX,
            libc::ERANGE,
            "clock_leap",
        ),
        (
            "an event to come",
            0,
            now + 1000,
            libc::EAGAIN,
            "clock_unseen",
        ),
        (
            "all events to come",
            0,
            u64::MAX,
            libc::EAGAIN,
            "clock_unseen",
        ),
        (
            "before the request",
            0,
            request.created() - 1,
            libc::ESTALE,
            "clock_before_request",
        ),
    ] {
        let mut vote = v1.vote(&request, APPROVE);
        vote.set(slot, value);
        expect_refused(what, submit(&vote.record(&v1.validator)), errno, code)?;
        trusted(1)?;
    }
    nobody_harmed()?;
    exactly(&request, &[1, 2, 3])?;
    desk.agent.end()
}

/// The signature of a vote goes with no other one.
fn moved(v1: &Voter, vote: &stage::Vote, other: &Request) -> Res {
    let signature = v1.validator.sign(&vote.signed());
    let with = |change: &dyn Fn(&mut stage::Vote)| {
        let mut vote = vote.clone();
        change(&mut vote);
        vote.record_with(&signature)
    };
    let cases: [(&str, Vec<u8>, i32, &str); 3] = [
        (
            "under another request",
            with(&|vote| vote.request = other.id),
            libc::EKEYREJECTED,
            "vote_forged",
        ),
        (
            "for another node",
            with(&|vote| vote.node[0] ^= 1),
            libc::EXDEV,
            "vote_other_node",
        ),
        (
            "for another epoch",
            with(&|vote| vote.epoch -= 1),
            libc::EXDEV,
            "vote_other_epoch",
        ),
    ];
    for (what, record, errno, code) in cases {
        expect_refused(what, submit(&record), errno, code)?;
    }
    Ok(())
}

fn replays(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let (request, other) = (desk.ask("most")?, desk.ask("most")?);
    let mut v1 = voter(1)?;
    let vote = v1.vote(&request, APPROVE);
    let record = v1.sign(&vote);
    counts("the vote", &record)?;
    let duplicate =
        |what: &str| expect_refused(what, submit(&record), libc::EEXIST, "vote_duplicate");
    duplicate("the same again")?;
    let again = v1.vote(&request, APPROVE);
    expect_refused(
        "the same verdict with a later clock",
        submit(&v1.sign(&again)),
        libc::EEXIST,
        "vote_duplicate",
    )?;
    moved(&v1, &vote, &other)?;
    // The same for real: what it has signed elsewhere, with the other verdict, contradicts nothing here.
    for (what, change) in [("another node", (1u8, 0u64)), ("another epoch", (0, 1))] {
        let mut vote = v1.vote(&request, DENY);
        vote.node[0] ^= change.0;
        vote.epoch -= change.1;
        let code = if change.1 == 0 {
            "vote_other_node"
        } else {
            "vote_other_epoch"
        };
        expect_refused(what, submit(&vote.record(&v1.validator)), libc::EXDEV, code)?;
    }
    exactly(&request, &[2, 3])?;
    closed("after the decision", submit(&record))?;
    let vote = v1.vote(&other, APPROVE);
    let record = v1.sign(&vote);
    counts("another vote", &record)?;
    stage::cancel(&other.id).map_err(|e| format!("{e:?}"))?;
    closed("after the end", submit(&record))?;
    trusted(1)?;
    nobody_harmed()?;
    desk.agent.end()
}

fn impossible(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let (first, second) = (desk.ask("most")?, desk.ask("most")?);
    approves(3, &second)?;
    convict(1)?;
    stands("with one quarantined", &first.id, (nl::OPEN, 0, 0, 1))?;
    let before = stage::status()?.event;
    convict(2)?;
    stands("with two", &first.id, (nl::DENIED, 0, 0, 2))?;
    stands("with two, and one vote", &second.id, (nl::DENIED, 1, 0, 2))?;
    let order: Vec<_> = stage::events_after(before)?
        .iter()
        .filter(|event| [kind::QUARANTINED, kind::DENIED].contains(&event.kind))
        .map(|event| (event.kind, event.request))
        .collect();
    ensure!(
        order
            == [
                (kind::QUARANTINED, [0; 32]),
                (kind::DENIED, first.id),
                (kind::DENIED, second.id)
            ],
        "the events are {order:?}"
    );
    // So it is from the beginning for the next one, and the agent is told so.
    let before = stage::status()?.event;
    desk.next("most")?;
    desk.write(libc::EACCES)?;
    let next = desk.agent.request()?;
    stands("a new request", &next.id, (nl::DENIED, 0, 0, 2))?;
    let events = stage::events_after(before)?;
    let at = events
        .iter()
        .position(|event| event.kind == kind::REQUEST)
        .ok_or("no REQUEST")?;
    let denied = events.get(at + 1).ok_or("nothing after REQUEST")?;
    ensure!(
        denied.kind == kind::DENIED
            && denied.request == next.id
            && tally_of(denied)? == (0, 0, 4, 2, 7500),
        "after REQUEST follows {denied:?}"
    );
    // Half of all weight can still decide what needs no more than that: not 50.01 %.
    desk.next("half")?;
    desk.write(libc::EACCES)?;
    stands(
        "50.01 % of four",
        &desk.agent.request()?.id,
        (nl::DENIED, 0, 0, 2),
    )?;
    desk.agent.end()
}

fn mass(_: &mut Ctx) -> Res {
    // Attackers give themselves up, so that fewer may decide: 75 % of seven is six, and stays so.
    begin(&[1; 7], NO_RAISE)?;
    let mut desk = Desk::open()?;
    exactly(&desk.ask("most")?, &[1, 2, 3, 4, 5, 6])?;
    convict(7)?;
    exactly(&desk.ask("most")?, &[1, 2, 3, 4, 5, 6])?;
    // 50.01 % of seven is four, whoever is quarantined.
    exactly(&desk.ask("half")?, &[1, 2, 3, 4])?;
    let open = desk.ask("most")?;
    approves(1, &open)?;
    convict(6)?;
    stands("with two of seven", &open.id, (nl::DENIED, 1, 0, 2))?;
    exactly(&desk.ask("half")?, &[1, 2, 3, 4])?;
    convict(5)?;
    exactly(&desk.ask("half")?, &[1, 2, 3, 4])?;
    convict(4)?;
    desk.next("half")?;
    desk.write(libc::EACCES)?;
    stands(
        "with four of seven",
        &desk.agent.request()?.id,
        (nl::DENIED, 0, 0, 4),
    )?;
    let status = stage::status()?;
    ensure!(
        status.total == 7 && status.quarantined == 4,
        "the total is {} with {} quarantined",
        status.total,
        status.quarantined
    );
    desk.agent.end()
}

fn rejoin(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    convict(4)?;
    stage::remove("v4").map_err(|e| format!("removing v4: {e:?}"))?;
    let fourth = Validator::test(4);
    ensure!(
        super::shown()?.contains_key(&fourth.id()),
        "with the validator its evidence has gone"
    );
    ensure!(
        stage::status()?.total == 3,
        "the total is {}",
        stage::status()?.total
    );
    let enrol = |name: &str| {
        stage::call(
            nl::VALIDATOR_ADD,
            &stage::validator_attributes(name, &fourth.point(), 1),
        )
    };
    for name in ["v4", "somebody"] {
        expect_refused(
            &format!("its key as {name}"),
            enrol(name),
            libc::EEXIST,
            "validator_quarantined",
        )?;
    }
    // Its name is nobody's fault.
    let fifth = Validator::test(5).point();
    stage::call(
        nl::VALIDATOR_ADD,
        &stage::validator_attributes("v4", &fifth, 1),
    )
    .map_err(|e| format!("another key under its name: {e:?}"))?;
    let status = stage::status()?;
    ensure!(
        status.total == 4 && status.quarantined == 0,
        "the total is {} with {} quarantined",
        status.total,
        status.quarantined
    );
    // Setup that begins anew begins without it.
    begin(FOUR, NO_RAISE)?;
    trusted(4)
}

/// Two processes hand in both verdicts of one validator at the same moment, again and again.
fn at_once(_: &mut Ctx) -> Res {
    begin(FOUR, NO_RAISE)?;
    let mut desk = Desk::open()?;
    let dir = stage::fresh_dir("byzantine-race")?;
    for round in 0..8 {
        let request = desk.ask("most")?;
        approves(2, &request)?;
        approves(3, &request)?;
        let v1 = voter(1)?;
        let verdicts = [APPROVE, DENY];
        let records = verdicts.map(|verdict| v1.record(&request, verdict));
        let (start, mut pids) = (format!("{dir}/start"), Vec::new());
        let _ = fs::remove_file(&start);
        for (n, record) in records.iter().enumerate() {
            let file = format!("{dir}/{n}");
            pids.push(worker::fork(|| {
                while fs::metadata(&start).is_err() {
                    std::hint::spin_loop();
                }
                let text = match submit(record) {
                    Ok(tally) => format!("state {}", tally.state),
                    Err(refused) => format!("{} {}", errno_name(refused.errno), refused.text),
                };
                i32::from(fs::write(&file, text).is_err())
            })?);
        }
        stage::make_file(&start, "")?;
        for pid in pids {
            expect_errno("a voter", worker::wait(pid), 0)?;
        }
        let answers = [
            stage::content(&format!("{dir}/0"))?,
            stage::content(&format!("{dir}/1"))?,
        ];
        // One came first and counted; the other one was its proof.
        let proofs = answers
            .iter()
            .filter(|text| text.starts_with("EKEYREJECTED vote_quarantined: "))
            .count();
        ensure!(
            proofs == 1 && answers.iter().any(|text| text.starts_with("state ")),
            "round {round}: {answers:?}"
        );
        // Both have the same own entry, and both verdicts on one request go first.
        quarantined(1, EQUIVOCATION)?;
        let now = stage::request(&request.id)?;
        if now.state == nl::GRANTED {
            // The approval was the deciding one: its grant is backed by two of four, and is gone.
            desk.write(libc::EACCES)?;
        } else {
            ensure!(
                (now.approve, now.deny, now.quarantined) == (2, 0, 1),
                "round {round}: {now:?}"
            );
        }
        stage::readmit("v1").map_err(|e| format!("readmit: {e:?}"))?;
        stage::cancel_all()?;
    }
    desk.agent.end()
}
