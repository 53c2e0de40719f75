// SPDX-License-Identifier: GPL-2.0

//! What a load finds, what a state must be to be taken, and how a commit goes wrong.

use super::{
    approve,
    checkpoint,
    commit,
    declined,
    discard,
    errno_for,
    first_sealed,
    forget,
    give,
    guarded,
    history,
    keep,
    load,
    locked,
    next_policy,
    open_as_user,
    permissive,
    refused,
    replay,
    requested,
    restart,
    restore,
    run,
    save,
    seal,
    sealed,
    stage_policy,
    staged,
    tpm,
    unload,
    Kept, //
};
use crate::client::{
    Attributes,
    Reply, //
};
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::keys::{
    sha256,
    Validator, //
};
use crate::stage::{
    self,
    errno_name,
    expect_errno,
    kind,
    load_text,
    nl,
    submit,
    voter,
    Res,
    APPROVE, //
};
use crate::worker::{
    self,
    Agent, //
};
use std::collections::BTreeMap;
use std::fs;

use Index::{
    Foreign,
    Missing,
    Unwritten,
    Written, //
};

/// The tests, in their order: those that follow one another work on the same node where they can.
pub(crate) const TESTS: &[Test] = &[
    // What a load finds in the TPM.
    Test::new("first_use_defines_the_indices", first_use),
    Test::new("first_use_interrupted_before_the_anchor", |_| {
        row(Unwritten, Missing, None)
    }),
    Test::new("first_use_interrupted_before_the_counter", |_| {
        row(Missing, Unwritten, None)
    }),
    Test::new("first_use_interrupted_before_the_increment", |_| {
        row(Unwritten, Unwritten, None)
    }),
    Test::new("restart_in_setup_is_setup_again", setup_again),
    Test::new("load_with_counter_and_without_anchor", |_| {
        row(Written, Missing, Some("anchor_missing"))
    }),
    Test::new("load_with_anchor_and_without_counter", |_| {
        row(Missing, Written, Some("counter_missing"))
    }),
    Test::new("load_with_anchor_and_a_new_counter", |_| {
        row(Unwritten, Written, Some("counter_missing"))
    }),
    Test::new("load_with_both_and_without_state", |_| {
        row(Written, Written, Some("state_missing"))
    }),
    Test::new("load_with_foreign_counter", |_| {
        row(Foreign, Written, Some("counter_foreign"))
    }),
    Test::new("load_with_foreign_counter_and_nothing_else", |_| {
        row(Foreign, Missing, Some("counter_foreign"))
    }),
    Test::new("load_with_foreign_anchor", |_| {
        row(Written, Foreign, Some("anchor_foreign"))
    }),
    Test::new("load_with_foreign_anchor_and_nothing_else", |_| {
        row(Missing, Foreign, Some("anchor_foreign"))
    }),
    Test::new("load_with_both_foreign", |_| {
        row(Foreign, Foreign, Some("counter_foreign"))
    }),
    // What survives.
    Test::new("restart_restores_everything", everything),
    Test::new("vote_with_a_clock_from_before_the_restart", old_clock),
    Test::new("grant_and_vote_from_before_the_restart", old_grant),
    // Commits.
    Test::new("change_takes_effect_with_its_commit", effect),
    Test::new("commit_with_another_digest", wrong_digest),
    Test::new("commit_and_discard_of_nothing", nothing_staged),
    Test::new("second_change_while_one_is_staged", second_change),
    Test::new("discarded_change_can_be_made_again", discarded),
    Test::new("checkpoint_without_news_writes_nothing", no_news),
    Test::new("two_instances_commit_at_once", two_instances),
    Test::new("commit_goes_on_where_it_was_interrupted", interrupted),
    Test::new("change_moved_by_root_between_stage_and_commit", conflict),
    Test::new("commits_can_be_watched", watched),
    Test::new("nv_writes_are_counted", writes),
    Test::new("anchor_is_recomputed_from_the_events", recomputed),
    Test::new("tpm_tools_read_what_status_shows", tools),
    Test::new("users_and_agents_reach_no_state", outsiders),
];

/// The tests of states that are given back to a locked node, in their order.
pub(crate) const GIVEN: &[Test] = &[
    Test::new("locked_node_takes_nothing_but_a_state", takes_nothing),
    Test::new("deleted_state", deleted),
    Test::new("older_state", older),
    Test::new("staged_state_that_was_never_committed", staged_only),
    Test::new("state_of_another_node", other_node),
    Test::new("state_with_a_wrong_mac", wrong_mac),
    Test::new("state_with_another_policy", other_policy),
    Test::new("new_head_on_an_old_state", spliced),
    Test::new("state_from_the_future", future),
    Test::new("state_torn_at_every_length", torn),
    Test::new("state_with_any_byte_flipped", flipped),
    Test::new("current_state_is_taken_after_all_that", taken),
    Test::new("root_moves_the_counter", counter_moved),
    Test::new("root_extends_the_anchor", anchor_extended),
    Test::new("half_committed_state", half_committed),
    Test::new("root_undefines_the_counter", counter_undefined),
    Test::new("root_defines_the_counter_again", counter_again),
    Test::new("root_makes_the_counter_plain_memory", counter_plain),
    Test::new("root_undefines_the_anchor", anchor_undefined),
    Test::new("root_defines_the_anchor_again", anchor_again),
    Test::new("root_rebuilds_the_anchor_of_an_older_state", anchor_rebuilt),
    Test::new("root_makes_the_anchor_plain_memory", anchor_plain),
    Test::new("pcrs_have_other_values", pcrs),
    Test::new("discarded_change_completed_by_root", completed),
    Test::new("root_unseals_the_key_and_forges_a_state", forged),
    Test::new("tpm_cleared", cleared),
    Test::new("nothing_is_left_in_the_tpm", nothing_left),
];

// --- what a load finds ----------------------------------------------------------------------------

/// What stands at an NV index.
#[derive(Clone, Copy, PartialEq)]
enum Index {
    Missing,
    Unwritten,
    Written,
    Foreign,
}

/// Loads the module over these indices: in setup, or locked for a reason.
fn row(counter: Index, anchor: Index, reason: Option<&str>) -> Res {
    forget()?;
    match counter {
        Missing => {}
        Foreign => tpm::define(tpm::COUNTER, tpm::PLAIN_ATTRIBUTES, 8)?,
        Unwritten | Written => tpm::define(tpm::COUNTER, tpm::COUNTER_ATTRIBUTES, 8)?,
    }
    match anchor {
        Missing => {}
        Foreign => tpm::define(tpm::ANCHOR, tpm::PLAIN_ATTRIBUTES, 32)?,
        Unwritten | Written => tpm::define(tpm::ANCHOR, tpm::ANCHOR_ATTRIBUTES, 32)?,
    }
    if counter == Written {
        tpm::increment(tpm::COUNTER)?;
    }
    if anchor == Written {
        tpm::extend(tpm::ANCHOR, &[1; 32])?;
    }
    if counter == Foreign {
        tpm::write(tpm::COUNTER, &[0, 0, 0, 0, 0, 0, 0, 9])?;
    }
    let before = (tpm::counter()?, tpm::anchor()?);
    load("")?;
    let status = stage::status()?;
    match reason {
        None => {
            ensure!(
                status.phase == nl::SETUP && status.epoch == tpm::counter()? && status.epoch > 0,
                "not in setup: {status:?}"
            );
            ensure!(
                status.epoch > before.0 && tpm::anchor()?.is_none(),
                "a first use did not count, or anchored something"
            );
            history(&[0; 32]).map(drop)
        }
        Some(reason) => {
            ensure!(
                status.phase == nl::LOCKED
                    && status.epoch == 0
                    && stage::status_line("reason")? == reason,
                "not locked for {reason}: {status:?}"
            );
            ensure!(
                stage::events_from(1)?.0.is_empty(),
                "a locked node has recorded something"
            );
            ensure!(
                (tpm::counter()?, tpm::anchor()?) == before,
                "a load that was refused moved the TPM's indices"
            );
            Ok(())
        }
    }
}

fn first_use(_: &mut Ctx) -> Res {
    forget()?;
    load("")?;
    ensure!(
        tpm::attributes(tpm::COUNTER)? == Some(tpm::COUNTER_ATTRIBUTES | tpm::WRITTEN),
        "the counter has the attributes {:x?}",
        tpm::attributes(tpm::COUNTER)?
    );
    ensure!(
        tpm::attributes(tpm::ANCHOR)? == Some(tpm::ANCHOR_ATTRIBUTES),
        "the anchor has the attributes {:x?}",
        tpm::attributes(tpm::ANCHOR)?
    );
    let status = stage::status()?;
    ensure!(
        status.phase == nl::SETUP && status.epoch == tpm::counter()?,
        "{status:?}"
    );
    for (key, value) in [
        ("sealed_by", "tpm"),
        ("tpm_software", "1"),
        ("nv_counter", "01854350"),
        ("nv_anchor", "01854351"),
        ("anchor", "none"),
        ("staged", "none"),
        ("anchor_interval", "900"),
        ("pcrs", "80"),
        ("nv_writes", "3"),
    ] {
        let line = stage::status_line(key)?;
        ensure!(line == value, "status {key} is {line}, not {value}");
    }
    history(&[0; 32])?;
    stage::expect_refused(
        "a checkpoint in setup",
        checkpoint(),
        libc::EINVAL,
        "not_sealed",
    )?;
    refused(
        "a state in setup",
        give(&Kept(vec![1; 600])),
        "state_malformed",
    )
}

fn setup_again(_: &mut Ctx) -> Res {
    forget()?;
    load("")?;
    let before = stage::status()?;
    stage::electorate(2)?;
    restart()?;
    let after = stage::status()?;
    ensure!(
        after.phase == nl::SETUP && after.epoch == before.epoch + 1 && after.total == 0,
        "restarted in setup: {after:?}"
    );
    ensure!(after.node == before.node, "the node has another name");
    history(&[0; 32]).map(drop)
}

// --- what survives --------------------------------------------------------------------------------

/// What is known of each validator, by name.
fn electorate() -> Res<BTreeMap<String, String>> {
    let replies =
        stage::dump(nl::VALIDATOR_GET, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    let line = |reply: &Reply| {
        format!(
            "slot {:?} weight {:?} id {} clock {} votes {:?}",
            reply.u32(nl::A_VALIDATOR_SLOT),
            reply.u32(nl::A_VALIDATOR_WEIGHT),
            stage::hex(reply.bytes(nl::A_VALIDATOR_ID).unwrap_or_default()),
            stage::hex(reply.bytes(nl::A_CLOCK).unwrap_or_default()),
            reply.u64(nl::A_VOTES_ACCEPTED)
        )
    };
    Ok(replies
        .iter()
        .filter_map(|reply| Some((reply.string(nl::A_VALIDATOR_NAME)?, line(reply))))
        .collect())
}

/// Repeats a command with the approval of a quorum and commits what it stages.
fn governed(what: &str, ask: impl Fn() -> Result<Reply, crate::client::Refused>) -> Res<Kept> {
    let reply = ask().map_err(|e| format!("{what}: {e:?}"))?;
    approve(&requested(&reply)?)?;
    keep(ask())
}

fn everything(_: &mut Ctx) -> Res {
    let first = first_sealed()?;
    let anchored = replay([0; 32], &history(&[0; 32])?)?;
    ensure!(anchored == first.anchor(), "the seal's anchor");
    let fifth = Validator::test(5);
    governed("adding a validator", || {
        stage::ask(
            nl::VALIDATOR_ADD,
            &stage::validator_attributes("v5", &fifth.point(), 3),
        )
    })?;
    governed("removing a validator", || {
        let mut name = Attributes::new();
        name.string(nl::A_VALIDATOR_NAME, "v2");
        stage::ask(nl::VALIDATOR_REMOVE, &name)
    })?;
    governed("permissive", || stage::ask(nl::MODE_SET, &permissive()))?;
    stage_policy(&next_policy("before the restart")?)?;
    commit()?;
    let state = save()?;
    let (before, policy, voters) = (stage::status()?, stage::running_policy()?, electorate()?);
    let past = history(&[0; 32])?;
    let anchored = replay([0; 32], &past)?;
    ensure!(anchored == state.anchor(), "the anchor of the last commit");

    restart()?;
    let line = give(&state).map_err(|e| format!("{e:?}"))?;
    let next = staged()?;
    ensure!(
        line == format!("staged {}", state.counter() + 1)
            && next.counter() == state.counter() + 1
            && next.previous() == state.anchor(),
        "what follows the state: \"{line}\""
    );
    refused(
        "another state while one is staged",
        give(&state),
        "state_staged",
    )?;
    commit()?;
    let after = stage::status()?;
    ensure!(
        after.phase == nl::SEALED && after.mode == nl::PERMISSIVE && after.node == before.node,
        "{after:?}"
    );
    ensure!(
        after.epoch == next.counter() && after.epoch > before.epoch,
        "epoch {} after {}",
        after.epoch,
        before.epoch
    );
    ensure!(
        after.policy_version == before.policy_version && stage::running_policy()? == policy,
        "the policy is not what it was"
    );
    let now = electorate()?;
    ensure!(now == voters, "the validators are {now:?}, not {voters:?}");
    ensure!(
        after.total == 6 && !now.contains_key("v2"),
        "the total weight is {}",
        after.total
    );
    for (slot, value) in &before.clock {
        let kept = after.clock.get(slot).copied().unwrap_or(0);
        let right = if *slot == 0 {
            kept > *value
        } else {
            kept == *value
        };
        ensure!(right, "the clock of slot {slot} is {kept} after {value}");
    }
    // The log of this load can be verified by itself, and binds the head of the last one.
    let events = history(&state.head())?;
    let kinds: Vec<u16> = events
        .iter()
        .map(|event| event.kind)
        .filter(|kind| *kind != stage::kind::CONTROL_REFUSED)
        .collect();
    let mut want = vec![
        kind::LOADED,
        kind::STAGED,
        kind::ANCHORED,
        kind::RESTORED,
        kind::POLICY,
        kind::WATCH,
        kind::MODE,
    ];
    for _ in 0..4 {
        want.extend([kind::VALIDATOR_ADDED, kind::CLOCK, kind::REPUTATION]);
    }
    want.extend([kind::CLOCK, kind::SEALED]);
    ensure!(kinds == want, "the events are {kinds:?}, not {want:?}");
    let restored = events
        .iter()
        .find(|event| event.kind == kind::RESTORED)
        .ok_or("no RESTORED")?;
    let mut payload = state.counter().to_be_bytes().to_vec();
    payload.extend(state.head());
    payload.extend(state.anchor());
    payload.extend(&state.0[156..164]);
    ensure!(
        restored.result == 1 && restored.bytes[92..] == payload,
        "RESTORED: {restored:?}"
    );
    let anchored = replay(state.anchor(), &events)?;
    ensure!(
        tpm::anchor()?.as_deref() == Some(&anchored),
        "the anchor after the restart"
    );
    refused(
        "a state for a node that has it",
        give(&next),
        "state_current",
    )?;
    // The policy's version counts on, and no slot is given out twice.
    match load_text(&policy) {
        Err(error) => ensure!(
            error.errno == libc::ESTALE && error.line.starts_with("policy_version: "),
            "the same version: {error:?}"
        ),
        Ok(line) => return Err(format!("the same version was taken: {line}")),
    }
    let sixth = Validator::test(6);
    governed("adding a validator", || {
        stage::ask(
            nl::VALIDATOR_ADD,
            &stage::validator_attributes("v6", &sixth.point(), 1),
        )
    })?;
    ensure!(voter(6)?.slot == 6, "v6 has slot {}, not 6", voter(6)?.slot);
    Ok(())
}

fn old_clock(_: &mut Ctx) -> Res {
    sealed()?;
    for _ in 0..2 {
        let request = stage::fresh_request()?;
        voter(1)?
            .cast(&request, APPROVE)
            .map_err(|e| format!("{e:?}"))?;
    }
    let before = voter(1)?;
    let state = save()?;
    restart()?;
    restore(&state)?;
    let now = voter(1)?;
    ensure!(
        now.last == before.last && now.accepted == before.accepted,
        "the clock of the last vote is {:?}, not {:?}",
        now.last,
        before.last
    );
    let request = stage::fresh_request()?;
    let own = before.last.get(&before.slot).copied().unwrap_or(0);
    for (what, value) in [("its last", own), ("an earlier", own - 1)] {
        let mut vote = now.vote(&request, APPROVE);
        vote.set(now.slot, value);
        stage::expect_refused(
            &format!("a vote with {what} clock of before the restart"),
            submit(&vote.record(&now.validator)),
            libc::ESTALE,
            "clock_not_later",
        )?;
    }
    submit(&now.record(&request, APPROVE)).map_err(|e| format!("a later vote: {e:?}"))?;
    Ok(())
}

fn old_grant(_: &mut Ctx) -> Res {
    sealed()?;
    let path = format!("{}/file", guarded()?);
    let mut agent = Agent::start("a")?;
    let request = agent.raise(&["append", &path])?;
    approve(&request)?;
    agent.expect(0, &["append", &path])?;
    let open = stage::fresh_request()?;
    let vote = voter(1)?.record(&open, APPROVE);
    let state = save()?;
    restart()?;
    restore(&state)?;
    // Two uses were left. The agent is none any more, and the next one has to ask.
    agent.end()?;
    let grants = stage::dump(nl::GRANT_GET, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        grants.is_empty(),
        "{} grants outlived a restart",
        grants.len()
    );
    ensure!(stage::requests()?.is_empty(), "requests outlived a restart");
    let mut agent = Agent::start("a")?;
    let again = agent.raise(&["append", &path])?;
    ensure!(again.id != request.id, "the old request is open again");
    agent.end()?;
    stage::expect_refused(
        "a vote that was signed before the restart",
        submit(&vote),
        libc::EXDEV,
        "vote_other_epoch",
    )?;
    // Not even for the same policy, asked for again: the request binds the epoch.
    let text = next_policy("asked for twice")?;
    let asked = stage::request_policy(&text)?;
    let vote = voter(1)?.record(&asked, APPROVE);
    let state = save()?;
    restart()?;
    restore(&state)?;
    let again = stage::request_policy(&text)?;
    ensure!(again.id != asked.id, "the same request in another epoch");
    stage::expect_refused(
        "a vote for the same policy in the last epoch",
        submit(&vote),
        libc::EXDEV,
        "vote_other_epoch",
    )
}

// --- commits --------------------------------------------------------------------------------------

fn effect(_: &mut Ctx) -> Res {
    forget()?;
    load("")?;
    stage::prepare(super::VALIDATORS, super::POLICY, &super::body()?)?;
    let reply = stage::ask(nl::SEAL, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::STAGED) && stage::status()?.phase == nl::SETUP,
        "the seal did not wait for its commit: {reply:?}"
    );
    ensure!(
        tpm::anchor()?.is_none(),
        "the anchor was extended before the state was saved"
    );
    commit()?;
    ensure!(stage::status()?.phase == nl::SEALED, "the seal's commit");
    let before = stage::running_policy()?;
    let text = next_policy("effect")?;
    let counter = tpm::counter()?;
    let line = stage_policy(&text)?;
    ensure!(
        line == format!("staged {}", counter + 1)
            && stage::running_policy()? == before
            && stage::status_number("staged")? == counter + 1
            && tpm::counter()? == counter,
        "the policy did not wait for its commit: \"{line}\""
    );
    commit()?;
    ensure!(
        stage::running_policy()? == text.as_bytes() && tpm::counter()? == counter + 1,
        "the committed policy is not running"
    );
    let events = history(&[0; 32])?;
    let kinds: Vec<u16> = events
        .iter()
        .rev()
        .take(4)
        .map(|event| event.kind)
        .collect();
    ensure!(
        kinds == [kind::WATCH, kind::POLICY, kind::ANCHORED, kind::STAGED],
        "the last events are {kinds:?}"
    );
    let staged = &events[events.len() - 4];
    let (payload, policy) = (staged.payload(), events[events.len() - 2].payload());
    ensure!(
        staged.result == kind::POLICY
            && payload[..8] == (counter + 1).to_be_bytes()
            && payload[40..42] == [0, 0]
            && payload[42..] == *policy,
        "STAGED does not tell of the policy: {staged:?}"
    );
    Ok(())
}

fn wrong_digest(_: &mut Ctx) -> Res {
    sealed()?;
    let before = stage::running_policy()?;
    stage_policy(&next_policy("digest")?)?;
    let state = staged()?;
    let counter = tpm::counter()?;
    for digest in [[0; 32], sha256(&[&before]), sha256(&[&state.0[1..]])] {
        declined(
            "another digest",
            stage::commit_digest(&digest),
            "state_digest",
        )?;
    }
    ensure!(
        tpm::counter()? == counter && stage::running_policy()? == before && staged()? == state,
        "a wrong digest moved something"
    );
    commit()
}

fn nothing_staged(_: &mut Ctx) -> Res {
    sealed()?;
    declined("a commit", stage::commit_digest(&[1; 32]), "state_none")?;
    declined("a discard", discard(), "state_none")?;
    ensure!(
        stage::staged_state().map_err(|e| e.to_string())?.is_empty(),
        "the staged state is not empty"
    );
    let state = save()?;
    // Whoever asks again has not heard the answer: it is the same one, and nothing is done twice.
    let (counter, writes) = (tpm::counter()?, stage::status_number("nv_writes")?);
    stage::commit_digest(&sha256(&[&state.0]))
        .map_err(|e| format!("the same commit again: {e:?}"))?;
    ensure!(
        tpm::counter()? == counter && stage::status_number("nv_writes")? == writes,
        "the same commit again wrote something"
    );
    declined(
        "another commit",
        stage::commit_digest(&[1; 32]),
        "state_none",
    )
}

fn second_change(_: &mut Ctx) -> Res {
    sealed()?;
    stage_policy(&next_policy("first")?)?;
    let state = staged()?;
    let mut name = Attributes::new();
    name.string(nl::A_VALIDATOR_NAME, "v1");
    let fifth = stage::validator_attributes("v5", &Validator::test(5).point(), 1);
    for (what, command, attributes) in [
        ("mode-set", nl::MODE_SET, permissive()),
        ("validator-add", nl::VALIDATOR_ADD, fifth),
        ("validator-remove", nl::VALIDATOR_REMOVE, name),
    ] {
        declined(what, stage::ask(command, &attributes), "state_staged")?;
    }
    refused(
        "another policy",
        stage::write_node("policy", next_policy("second")?.as_bytes()),
        "state_staged",
    )?;
    // A checkpoint names what is staged.
    let reply = checkpoint().map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::STAGED)
            && reply.u64(nl::A_STAGED_COUNTER) == Some(state.counter())
            && staged()? == state,
        "a checkpoint while a change is staged: {reply:?}"
    );
    commit()
}

fn discarded(_: &mut Ctx) -> Res {
    sealed()?;
    let (before, counter) = (stage::running_policy()?, tpm::counter()?);
    let event = stage::status()?.event;
    let text = next_policy("discarded")?;
    stage_policy(&text)?;
    let digest = sha256(&[&staged()?.0]);
    discard().map_err(|e| format!("{e:?}"))?;
    declined("its commit", stage::commit_digest(&digest), "state_none")?;
    ensure!(
        stage::running_policy()? == before && tpm::counter()? == counter,
        "a discarded change has taken effect"
    );
    ensure!(
        stage::events_after(event)?
            .iter()
            .any(|event| event.kind == kind::DISCARDED),
        "no DISCARDED event"
    );
    // The approval was for once: the same text has to be approved again.
    stage_policy(&text)?;
    commit()?;
    ensure!(
        stage::running_policy()? == text.as_bytes(),
        "the policy of the second attempt"
    );
    Ok(())
}

fn no_news(_: &mut Ctx) -> Res {
    sealed()?;
    save()?;
    let before = (
        stage::status_number("nv_writes")?,
        tpm::counter()?,
        tpm::anchor()?,
        stage::status()?.event,
    );
    for _ in 0..3 {
        let reply = checkpoint().map_err(|e| format!("{e:?}"))?;
        ensure!(
            reply.u32(nl::A_OUTCOME) == Some(nl::DONE),
            "a checkpoint without news: {reply:?}"
        );
    }
    let after = (
        stage::status_number("nv_writes")?,
        tpm::counter()?,
        tpm::anchor()?,
        stage::status()?.event,
    );
    ensure!(before == after, "{before:?} became {after:?}");
    Ok(())
}

fn two_instances(_: &mut Ctx) -> Res {
    sealed()?;
    stage::fresh_request()?;
    let counter = tpm::counter()?;
    let (first, second) = (checkpoint(), checkpoint());
    let counters: Vec<_> = [first, second]
        .into_iter()
        .map(|reply| reply.ok()?.u64(nl::A_STAGED_COUNTER))
        .collect();
    ensure!(
        counters == [Some(counter + 1); 2],
        "two who stage are told {counters:?}"
    );
    let digest = sha256(&[&staged()?.0]);
    let results = stage::fresh_dir("two-instances")?;
    let mut pids = Vec::new();
    for n in 0..2 {
        let file = format!("{results}/{n}");
        pids.push(worker::fork(|| {
            let text = match stage::commit_digest(&digest) {
                Ok(_) => "won".to_string(),
                Err(refused) => refused.text,
            };
            i32::from(fs::write(&file, text).is_err())
        })?);
    }
    for pid in pids {
        expect_errno("a committer", worker::wait(pid), 0)?;
    }
    let mut texts = [
        stage::content(&format!("{results}/0"))?,
        stage::content(&format!("{results}/1"))?,
    ];
    texts.sort();
    ensure!(
        texts.iter().all(|text| text == "won"),
        "two who commit are told {texts:?}"
    );
    ensure!(
        tpm::counter()? == counter + 1,
        "the counter rose by {}",
        tpm::counter()? - counter
    );
    Ok(())
}

fn interrupted(_: &mut Ctx) -> Res {
    sealed()?;
    // After the anchor; then after the counter, too. Each time the commit ends what had begun, once.
    for steps in [1, 2] {
        let text = next_policy(&format!("interrupted after step {steps}"))?;
        stage_policy(&text)?;
        let state = staged()?;
        let before = stage::status_number("nv_writes")?;
        tpm::extend(tpm::ANCHOR, &state.head())?;
        if steps == 2 {
            tpm::increment(tpm::COUNTER)?;
        }
        declined("a discard of it", discard(), "state_staged")?;
        commit()?;
        ensure!(
            tpm::counter()? == state.counter()
                && tpm::anchor()?.as_deref() == Some(&state.anchor())
                && stage::status_number("nv_writes")? == before + 2 - steps,
            "the commit did not go on after step {steps}"
        );
        ensure!(
            stage::running_policy()? == text.as_bytes(),
            "the change is not in force"
        );
    }
    Ok(())
}

fn conflict(_: &mut Ctx) -> Res {
    for by in ["counter", "anchor"] {
        sealed()?;
        let before = stage::running_policy()?;
        stage_policy(&next_policy(by)?)?;
        match by {
            "counter" => tpm::increment(tpm::COUNTER)?,
            _ => tpm::extend(tpm::ANCHOR, &[7; 32])?,
        }
        let counter = tpm::counter()?;
        declined("the commit", stage::commit(), "state_conflict")?;
        // What can never be committed can be dropped, and no grant is spent on what could not be either.
        discard().map_err(|e| format!("a discard: {e:?}"))?;
        let grants = stage::status_number("grants")?;
        declined(
            "the next change",
            stage::ask(nl::MODE_SET, &permissive()),
            "state_conflict",
        )?;
        declined("a checkpoint", checkpoint(), "state_conflict")?;
        ensure!(
            stage::status_number("grants")? == grants
                && stage::status_line("staged")? == "none"
                && tpm::counter()? == counter
                && stage::running_policy()? == before,
            "a conflict moved something"
        );
    }
    Ok(())
}

/// A tracepoint, and a kprobe that reads `struct tcp_secure_vector_clock`.
fn watched(_: &mut Ctx) -> Res {
    sealed()?;
    stage::fresh_request()?;
    let probe = "p:tcp_anchor/commit tcp_secure_clock_anchored number=+0(%di):u64 counter=+8(%di):u64 \
                 node=+16(%di):x8[32] mac=+48(%di):x8[32] chain=+80(%di):x8[32] anchor=+112(%di):x8[32]";
    stage::tracefs("kprobe_events", probe)?;
    stage::tracefs("events/tcp_anchor/commit/enable", "1")?;
    stage::tracefs("events/tcp_lsm/tcp_lsm_anchor/enable", "1")?;
    stage::tracefs("trace", "")?;
    let state = save()?;
    let trace =
        fs::read_to_string("/sys/kernel/tracing/trace").map_err(|e| format!("the trace: {e}"))?;
    stage::tracefs("events/tcp_anchor/commit/enable", "0")?;
    stage::tracefs("events/tcp_lsm/tcp_lsm_anchor/enable", "0")?;
    stage::tracefs("kprobe_events", "")?;
    let bytes = |of: &[u8]| {
        let each: Vec<String> = of.iter().map(|byte| format!("0x{byte:x}")).collect();
        format!("{{{}}}", each.join(","))
    };
    let (number, counter) = (state.number(), state.counter());
    let mac = &state.0[state.0.len() - 32..];
    for wanted in [
        format!("tcp_lsm_anchor: number={number} counter={counter}"),
        format!(
            "number={number} counter={counter} node={}",
            bytes(&stage::status()?.node)
        ),
        format!("mac={}", bytes(mac)),
        format!("chain={}", bytes(&state.head())),
        format!("anchor={}", bytes(&state.anchor())),
    ] {
        ensure!(
            trace.contains(&wanted),
            "no {wanted} in the trace:\n{trace}"
        );
    }
    Ok(())
}

fn writes(_: &mut Ctx) -> Res {
    // Two definitions and the first increment; then two for each commit.
    first_sealed()?;
    let count = || stage::status_number("nv_writes");
    ensure!(count()? == 5, "{} writes up to the seal", count()?);
    let state = save()?;
    ensure!(count()? == 7, "{} writes with a checkpoint", count()?);
    stage_policy(&next_policy("writes")?)?;
    discard().map_err(|e| format!("{e:?}"))?;
    ensure!(count()? == 7, "{} writes with a discard", count()?);
    // What is planned is the greater one: every 900 s twice.
    let year = stage::status_number("nv_writes_year")?;
    ensure!(year == 70_080, "{year} writes a year");
    restart()?;
    ensure!(count()? == 0, "{} writes of a locked node", count()?);
    restore(&state)?;
    ensure!(count()? == 2, "{} writes of a restore", count()?);
    Ok(())
}

fn recomputed(_: &mut Ctx) -> Res {
    let first = first_sealed()?;
    let anchor = replay([0; 32], &history(&[0; 32])?)?;
    ensure!(anchor == first.anchor(), "the seal's");
    stage_policy(&next_policy("recomputed")?)?;
    commit()?;
    let state = save()?;
    let anchor = replay([0; 32], &history(&[0; 32])?)?;
    ensure!(
        tpm::anchor()?.as_deref() == Some(&anchor) && anchor == state.anchor(),
        "the anchor is not the digest of what was anchored"
    );
    ensure!(
        state.anchor() == sha256(&[&state.previous(), &state.head()]),
        "the state's anchor is not that of its parts"
    );
    let covered = stage::events_from(state.number())?.0;
    ensure!(
        covered.first().map(|event| &event.chain[..]) == Some(&state.head()[..]),
        "the state's head is not that of its number"
    );
    ensure!(
        stage::status_number("anchored")? == state.number(),
        "status says that event {} is anchored",
        stage::status_number("anchored")?
    );
    Ok(())
}

fn tools(_: &mut Ctx) -> Res {
    sealed()?;
    let read = |size: &str, index: &str| run(&["tpm2_nvread", "-C", "o", "-s", size, index]);
    let counter = read("8", "0x01854350")?;
    let shown = stage::status_number("state_counter")?;
    ensure!(
        counter == shown.to_be_bytes(),
        "tpm2_nvread says counter {}, status {shown}",
        stage::hex(&counter)
    );
    let anchor = read("32", "0x01854351")?;
    let shown = stage::status_line("anchor")?;
    ensure!(
        stage::hex(&anchor) == shown,
        "tpm2_nvread says anchor {}, status {shown}",
        stage::hex(&anchor)
    );
    let reply = stage::ask(nl::STATUS, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.u64(nl::A_STATE_COUNTER).map(u64::to_be_bytes) == counter.try_into().ok()
            && reply.bytes(nl::A_ANCHOR) == Some(&anchor)
            && reply.u32(nl::A_NV_COUNTER) == Some(tpm::COUNTER)
            && reply.u32(nl::A_NV_ANCHOR) == Some(tpm::ANCHOR)
            && reply.string(nl::A_SEALED_BY).as_deref() == Some("tpm")
            && reply.string(nl::A_TPM) == stage::status_line("tpm").ok(),
        "netlink and securityfs differ: {reply:?}"
    );
    Ok(())
}

fn outsiders(_: &mut Ctx) -> Res {
    sealed()?;
    let mut agent = Agent::start("a")?;
    for name in ["state", "recover"] {
        let path = format!("{}/{name}", stage::SECURITYFS);
        expect_errno(
            &format!("a user opens {name}"),
            open_as_user(&path)?,
            libc::EACCES,
        )?;
        for word in ["read", "append", "write"] {
            agent.expect(libc::EPERM, &[word, &path])?;
        }
    }
    let path = format!("{}/state", stage::SECURITYFS);
    let errno = worker::errno_as(40_201, || worker::errno_of(&fs::read(&path)))?;
    expect_errno("a user reads state", errno, libc::EACCES)?;
    for command in [
        nl::STATE_STAGE,
        nl::STATE_COMMIT,
        nl::STATE_DISCARD,
        nl::STATE_RECOVER,
    ] {
        let (errno, text) = agent.ask(&["netlink", &command.to_string(), "do"])?;
        ensure!(
            errno == libc::EPERM && text.starts_with("labelled: "),
            "command {command} of an agent: {} {text}",
            errno_name(errno)
        );
    }
    agent.end()
}

// --- states that are given back -------------------------------------------------------------------

fn takes_nothing(_: &mut Ctx) -> Res {
    let past = locked()?;
    let mut name = Attributes::new();
    name.string(nl::A_VALIDATOR_NAME, "v1");
    let first = stage::validator_attributes("v1", &Validator::test(1).point(), 1);
    for (what, command, attributes) in [
        ("validator-add", nl::VALIDATOR_ADD, first),
        ("validator-remove", nl::VALIDATOR_REMOVE, name),
        ("mode-set", nl::MODE_SET, permissive()),
        ("seal", nl::SEAL, Attributes::new()),
        ("state-stage", nl::STATE_STAGE, Attributes::new()),
    ] {
        declined(what, stage::ask(command, &attributes), "state_locked")?;
    }
    refused(
        "a policy",
        stage::write_node("policy", next_policy("locked")?.as_bytes()),
        "state_locked",
    )?;
    match Agent::try_start("a", "early", 0, None)? {
        Ok(_) => return Err("a locked node labelled an agent".to_string()),
        Err((errno, text)) => ensure!(
            errno == errno_for("state_locked") && text.starts_with("state_locked: "),
            "an agent of a locked node: {} {text}",
            errno_name(errno)
        ),
    }
    let reply = stage::ask(nl::STATUS, &Attributes::new()).map_err(|e| format!("{e:?}"))?;
    ensure!(
        reply.string(nl::A_STATE_REASON).as_deref() == Some("state_missing")
            && reply.u32(nl::A_PHASE) == Some(nl::LOCKED),
        "status of a locked node: {reply:?}"
    );
    past.unmoved("state_missing")
}

fn deleted(_: &mut Ctx) -> Res {
    let past = locked()?;
    restart()?;
    past.unmoved("state_missing")?;
    // What a file system may leave of a file that was never flushed: its length, and no content.
    past.refuses(
        "zeros",
        &Kept(vec![0; past.current.0.len()]),
        "state_malformed",
    )
}

fn older(_: &mut Ctx) -> Res {
    let past = locked()?;
    past.refuses("the state of the seal", &past.older, "state_older")
}

fn staged_only(_: &mut Ctx) -> Res {
    let past = locked()?;
    past.refuses("what was staged only", &past.next, "state_staged_only")
}

fn other_node(_: &mut Ctx) -> Res {
    let past = locked()?;
    let theirs = past.current.with(12, &[0x5a; 32]);
    past.refuses("another node's", &theirs, "state_other_tpm")?;
    // The same claiming to be ours: its key was sealed by another TPM.
    let private = past.current.blobs().0;
    let mut blob = past.current.0[private.clone()].to_vec();
    let last = blob.len() - 1;
    blob[last] ^= 1;
    let renamed = past.current.with(private.start, &blob);
    past.refuses("a key of another TPM", &renamed, "state_key")
}

fn wrong_mac(_: &mut Ctx) -> Res {
    let past = locked()?;
    let at = past.current.0.len() - 32;
    past.refuses(
        "a MAC of zeros",
        &past.current.with(at, &[0; 32]),
        "state_forged",
    )
}

fn other_policy(_: &mut Ctx) -> Res {
    let past = locked()?;
    let version = format!("policy_name={} policy_version=99\n", super::POLICY);
    let text = format!("{version}class a\nDEFAULT action=ALLOW\n");
    let forged = past.current.with_section(1, text.as_bytes())?;
    past.refuses("a policy of his own", &forged, "state_forged")
}

fn spliced(_: &mut Ctx) -> Res {
    // Both states are genuine and have the same key: the counter of one does not go with the policy of the other.
    let past = locked()?;
    let start = past.current.sections();
    for mac in [&past.current, &past.older] {
        let mut bytes = past.current.0[..start].to_vec();
        bytes.extend(&past.older.0[start..past.older.0.len() - 32]);
        bytes.extend(&mac.0[mac.0.len() - 32..]);
        let length = u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
        let spliced = Kept(bytes).with(8, &length);
        // The clock's own entry has to be the number in the head, which whoever splices sees to.
        let clock = spliced.section(4)?;
        let number = past.current.number().to_be_bytes();
        let spliced = spliced.with(clock.start + 4, &number);
        past.refuses("an old policy under a new head", &spliced, "state_forged")?;
    }
    Ok(())
}

fn future(_: &mut Ctx) -> Res {
    let past = locked()?;
    for (ahead, code) in [
        // As if its commit had begun: whether it had is for the key to say.
        (1, "state_forged"),
        (2, "counter_behind"),
        (1 << 40, "counter_behind"),
    ] {
        let counter = (past.current.counter() + ahead).to_be_bytes();
        past.refuses(
            &format!("a counter {ahead} ahead"),
            &past.current.with(44, &counter),
            code,
        )?;
    }
    Ok(())
}

fn torn(_: &mut Ctx) -> Res {
    let past = locked()?;
    let whole = &past.current.0;
    for length in 1..whole.len() {
        past.refuses(
            &format!("{length} of {} bytes", whole.len()),
            &Kept(whole[..length].to_vec()),
            "state_malformed",
        )?;
    }
    let mut longer = whole.clone();
    longer.push(0);
    past.refuses("one byte more", &Kept(longer), "state_malformed")
}

/// What a state with one bit of this byte flipped is refused for; one of several where that depends on the rest.
fn verdict(state: &Kept, at: usize) -> Res<&'static [&'static str]> {
    const MALFORMED: &[&str] = &["state_malformed"];
    let (private, public) = state.blobs();
    let sections = state.sections();
    let policy = state.section(1)?;
    let mac = state.0.len() - 32;
    Ok(match at {
        12..44 => &["state_other_tpm"],
        44..52 => {
            let counter = state.counter();
            let flipped = counter ^ (1 << (8 * (51 - at)));
            if flipped == 0 {
                MALFORMED
            } else if flipped == counter + 1 {
                &["state_forged"]
            } else if flipped < counter {
                &["state_older"]
            } else {
                &["counter_behind"]
            }
        }
        156..164 => &["state_forged"],
        164 => MALFORMED,
        165..168 => &["state_pcr"],
        at if at >= mac => &["state_forged"],
        at if private.contains(&at) || public.contains(&at) => {
            if at < private.start + 2 || (public.start..public.start + 2).contains(&at) {
                MALFORMED
            } else {
                &["state_key"]
            }
        }
        at if policy.contains(&at) => &["state_forged"],
        at if at >= sections => &["state_forged", "state_malformed"],
        _ => MALFORMED,
    })
}

fn flipped(_: &mut Ctx) -> Res {
    let past = locked()?;
    let length = past.current.0.len();
    let mac = length - 32;
    for at in 0..length {
        // Each of the later ones costs an unsealing.
        if (400..mac).contains(&at) && at % 7 != 0 {
            continue;
        }
        let bytes = [past.current.0[at] ^ 1];
        let wanted = verdict(&past.current, at)?;
        match give(&past.current.with(at, &bytes)) {
            Ok(line) => return Err(format!("with byte {at} flipped: \"{line}\"")),
            Err(error) => ensure!(
                wanted.iter().any(|code| error.errno == errno_for(code)
                    && error.line.starts_with(&format!("{code}: "))),
                "with byte {at} flipped: {error:?} instead of {wanted:?}"
            ),
        }
    }
    ensure!(
        tpm::counter()? == past.current.counter()
            && tpm::anchor()?.as_deref() == Some(&past.current.anchor()),
        "a refused state moved the TPM's indices"
    );
    Ok(())
}

fn taken(_: &mut Ctx) -> Res {
    let past = locked()?;
    refused(
        "the same again as garbage",
        give(&Kept(vec![9; 700])),
        "state_malformed",
    )?;
    let next = restore(&past.current)?;
    ensure!(
        next.counter() == past.current.counter() + 1,
        "the epoch is {}",
        next.counter()
    );
    history(&past.current.head()).map(drop)
}

fn counter_moved(_: &mut Ctx) -> Res {
    let past = locked()?;
    tpm::increment(tpm::COUNTER)?;
    refused("the last state", give(&past.current), "state_older")?;
    // What was staged has the counter now, and not the anchor.
    refused("what was staged", give(&past.next), "anchor_differs")
}

fn anchor_extended(_: &mut Ctx) -> Res {
    let past = locked()?;
    tpm::extend(tpm::ANCHOR, &[3; 32])?;
    refused("the last state", give(&past.current), "anchor_differs")?;
    refused("what was staged", give(&past.next), "anchor_differs")?;
    refused("an older one", give(&past.older), "state_older")
}

fn half_committed(ctx: &mut Ctx) -> Res {
    let past = locked()?;
    let head = ctx.file("head", &past.next.head())?;
    run(&["tpm2_nvextend", "-C", "o", "-i", &head, "0x01854351"])?;
    refused("the one before", give(&past.current), "anchor_differs")?;
    let next = restore(&past.next)?;
    ensure!(
        next.counter() == past.next.counter() + 1
            && next.previous() == past.next.anchor()
            && stage::status_number("nv_writes")? == 3,
        "the commit that had begun was not ended once"
    );
    let restored = history(&past.next.head())?;
    ensure!(
        restored
            .iter()
            .any(|event| event.kind == kind::RESTORED && event.result == 2),
        "RESTORED does not say that the state was half committed"
    );
    Ok(())
}

fn counter_undefined(_: &mut Ctx) -> Res {
    let past = locked()?;
    tpm::undefine(tpm::COUNTER)?;
    refused("the last state", give(&past.current), "counter_missing")?;
    restart()?;
    ensure!(
        stage::status_line("reason")? == "counter_missing",
        "a load without the counter: {}",
        stage::status_line("reason")?
    );
    refused("the last state", give(&past.current), "counter_missing")
}

fn counter_again(_: &mut Ctx) -> Res {
    let past = locked()?;
    tpm::undefine(tpm::COUNTER)?;
    tpm::define(tpm::COUNTER, tpm::COUNTER_ATTRIBUTES, 8)?;
    refused("before it counts", give(&past.current), "counter_missing")?;
    tpm::increment(tpm::COUNTER)?;
    // The TPM remembers how far a counter that it deleted had come, and begins above.
    ensure!(
        tpm::counter()? > past.current.counter(),
        "a counter that was defined again starts at {} after {}",
        tpm::counter()?,
        past.current.counter()
    );
    refused("the last state", give(&past.current), "state_older")?;
    restart()?;
    ensure!(
        stage::status()?.phase == nl::LOCKED,
        "a new counter opened the node"
    );
    refused("the last state", give(&past.current), "state_older")
}

fn counter_plain(_: &mut Ctx) -> Res {
    let past = locked()?;
    tpm::undefine(tpm::COUNTER)?;
    tpm::define(tpm::COUNTER, tpm::PLAIN_ATTRIBUTES, 8)?;
    tpm::write(tpm::COUNTER, &past.older.counter().to_be_bytes())?;
    refused("an older state", give(&past.older), "counter_foreign")?;
    refused("the last state", give(&past.current), "counter_foreign")?;
    restart()?;
    ensure!(
        stage::status_line("reason")? == "counter_foreign",
        "a load: {}",
        stage::status_line("reason")?
    );
    Ok(())
}

fn anchor_undefined(_: &mut Ctx) -> Res {
    let past = locked()?;
    tpm::undefine(tpm::ANCHOR)?;
    refused("the last state", give(&past.current), "anchor_missing")?;
    restart()?;
    ensure!(
        stage::status_line("reason")? == "anchor_missing",
        "a load: {}",
        stage::status_line("reason")?
    );
    refused("the last state", give(&past.current), "anchor_missing")
}

fn anchor_again(_: &mut Ctx) -> Res {
    let past = locked()?;
    tpm::undefine(tpm::ANCHOR)?;
    tpm::define(tpm::ANCHOR, tpm::ANCHOR_ATTRIBUTES, 32)?;
    refused("the last state", give(&past.current), "anchor_missing")?;
    // Whoever does that begins anew, as he could without the module; the counter goes on, and whoever remembers it
    // or the anchor sees that.
    restart()?;
    let status = stage::status()?;
    ensure!(
        status.phase == nl::SETUP && status.epoch > past.current.counter() && status.total == 0,
        "after an anchor that was never extended: {status:?}"
    );
    refused("the last state", give(&past.current), "anchor_missing")
}

fn anchor_rebuilt(_: &mut Ctx) -> Res {
    // The first commit's anchor is a function of its head alone, so root can have it again. Not so the counter.
    let past = locked()?;
    ensure!(
        past.older.previous() == [0; 32],
        "the seal was not the first commit"
    );
    tpm::undefine(tpm::ANCHOR)?;
    tpm::define(tpm::ANCHOR, tpm::ANCHOR_ATTRIBUTES, 32)?;
    tpm::extend(tpm::ANCHOR, &past.older.head())?;
    ensure!(
        tpm::anchor()?.as_deref() == Some(&past.older.anchor()),
        "the anchor was not rebuilt"
    );
    refused("the older state", give(&past.older), "state_older")?;
    refused("the last state", give(&past.current), "anchor_differs")
}

fn anchor_plain(_: &mut Ctx) -> Res {
    let past = locked()?;
    tpm::undefine(tpm::ANCHOR)?;
    tpm::define(tpm::ANCHOR, tpm::PLAIN_ATTRIBUTES, 32)?;
    tpm::write(tpm::ANCHOR, &past.current.anchor())?;
    refused("the last state", give(&past.current), "anchor_foreign")?;
    restart()?;
    ensure!(
        stage::status_line("reason")? == "anchor_foreign",
        "a load: {}",
        stage::status_line("reason")?
    );
    refused("the last state", give(&past.current), "anchor_foreign")
}

fn pcrs(_: &mut Ctx) -> Res {
    const PCR: u32 = 16;
    forget()?;
    load("pcrs=0x10000")?;
    let state = seal()?;
    ensure!(
        stage::status_line("pcrs")? == "10000" && state.be(164, 4) == 1 << PCR,
        "the state names the PCRs {:x}",
        state.be(164, 4)
    );
    unload()?;
    tpm::pcr_extend(PCR, &[5; 32])?;
    load("pcrs=0x10000")?;
    refused("with another value of PCR 16", give(&state), "state_pcr")?;
    // That the module is told of other PCRs, or the state says that there are none, changes nothing.
    restart()?;
    refused("told of PCR 7", give(&state), "state_pcr")?;
    for mask in [0x80u32, 0] {
        let changed = state.with(164, &mask.to_be_bytes());
        refused("with another mask", give(&changed), "state_pcr")?;
    }
    tpm::pcr_reset(PCR)?;
    let next = restore(&state)?;
    ensure!(
        next.be(164, 4) == 0x80,
        "the next state names the PCRs {:x}, not those of the module",
        next.be(164, 4)
    );
    Ok(())
}

fn completed(_: &mut Ctx) -> Res {
    // A discarded change was approved by a quorum, and its state is genuine. Once the node has committed anything
    // else, that state is worth nothing.
    first_sealed()?;
    let text = next_policy("discarded")?;
    stage_policy(&text)?;
    let dropped = staged()?;
    discard().map_err(|e| format!("{e:?}"))?;
    let state = save()?;
    restart()?;
    refused("the discarded state", give(&dropped), "anchor_differs")?;
    restore(&state)?;
    ensure!(
        stage::running_policy()? != text.as_bytes(),
        "the discarded policy is in force"
    );
    // Until then it is what a power cut would have left: whoever has it may end what the quorum had decided.
    let text = next_policy("completed")?;
    stage_policy(&text)?;
    let dropped = staged()?;
    discard().map_err(|e| format!("{e:?}"))?;
    restart()?;
    refused("the discarded state", give(&dropped), "state_staged_only")?;
    tpm::extend(tpm::ANCHOR, &dropped.head())?;
    restore(&dropped)?;
    ensure!(
        stage::running_policy()? == text.as_bytes(),
        "the completed policy is not in force"
    );
    Ok(())
}

/// HMAC-SHA-256 (RFC 2104) with a key of 32 bytes.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        for (to, from) in block.iter_mut().zip(key) {
            *to ^= from;
        }
        block
    };
    sha256(&[&pad(0x5c), &sha256(&[&pad(0x36), message])])
}

fn forged(ctx: &mut Ctx) -> Res {
    // Root has the TPM, and PCR 7 has the value that it had for the module: so it has the key, and its MAC is as
    // good as the module's. That is out of the module's reach. What root does not have is another past: the chain of
    // the next load binds the true head and anchor, and says which policy goes on from there.
    let past = locked()?;
    let (private, public) = past.current.blobs();
    let file = |name: &str, range| ctx.file(name, &past.current.0[range]);
    let (private, public) = (file("private", private)?, file("public", public)?);
    let [parent, object, session, secret] =
        ["parent", "object", "session", "secret"].map(|name| ctx.path(name));
    let storage = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|decrypt";
    run(&[
        "tpm2_createprimary",
        "-Q",
        "-C",
        "o",
        "-g",
        "sha256",
        "-G",
        "ecc256:aes128cfb",
        "-a",
        storage,
        "-c",
        &parent,
    ])?;
    run(&[
        "tpm2_load",
        "-Q",
        "-C",
        &parent,
        "-r",
        &private,
        "-u",
        &public,
        "-c",
        &object,
    ])?;
    run(&["tpm2_startauthsession", "--policy-session", "-S", &session])?;
    run(&[
        "tpm2_policycommandcode",
        "-Q",
        "-S",
        &session,
        "TPM2_CC_Unseal",
    ])?;
    run(&["tpm2_policypcr", "-Q", "-S", &session, "-l", "sha256:7"])?;
    run(&[
        "tpm2_unseal",
        "-Q",
        "-c",
        &object,
        "-p",
        &format!("session:{session}"),
        "-o",
        &secret,
    ])?;
    run(&["tpm2_flushcontext", &session])?;
    let key = fs::read(&secret).map_err(|e| format!("{secret}: {e}"))?;
    let signed = past.current.0.len() - 32;
    ensure!(
        past.current.0[signed..] == hmac(&key, &past.current.0[..signed]),
        "that is not the key of the state"
    );
    let text = format!(
        "policy_name={} policy_version=99\nclass a\nDEFAULT action=ALLOW\n",
        super::POLICY
    );
    let changed = past.current.with_section(1, text.as_bytes())?;
    let signed = changed.0.len() - 32;
    let changed = changed.with(signed, &hmac(&key, &changed.0[..signed]));
    restore(&changed)?;
    let events = history(&past.current.head())?;
    let policy = events
        .iter()
        .find(|event| event.kind == kind::POLICY)
        .ok_or("no POLICY event")?;
    ensure!(
        policy.bytes[92..100] == 99u64.to_be_bytes()
            && policy.bytes[100..132] == sha256(&[text.as_bytes()]),
        "the log does not tell of the forged policy: {policy:?}"
    );
    Ok(())
}

fn cleared(_: &mut Ctx) -> Res {
    let past = locked()?;
    let node = stage::status()?.node;
    unload()?;
    tpm::clear()?;
    load("")?;
    let status = stage::status()?;
    ensure!(
        status.phase == nl::SETUP && status.total == 0,
        "a cleared TPM has no past: {status:?}"
    );
    ensure!(
        status.node == node,
        "the endorsement seed outlives TPM2_Clear, and with it the node's name"
    );
    refused("the last state", give(&past.current), "anchor_missing")?;
    // Root builds the indices of the first state again, as far as the TPM lets it.
    forget()?;
    tpm::define(tpm::COUNTER, tpm::COUNTER_ATTRIBUTES, 8)?;
    tpm::increment(tpm::COUNTER)?;
    ensure!(
        tpm::counter()? > past.current.counter(),
        "the counter of a cleared TPM starts at {} after {}",
        tpm::counter()?,
        past.current.counter()
    );
    tpm::define(tpm::ANCHOR, tpm::ANCHOR_ATTRIBUTES, 32)?;
    tpm::extend(tpm::ANCHOR, &past.older.head())?;
    load("")?;
    refused("the first state", give(&past.older), "state_older")?;
    // Even if the counter could be had again: the storage key went with the clearing.
    let counter = tpm::counter()?.to_be_bytes();
    let renumbered = past.older.with(44, &counter);
    refused(
        "with the counter that is there",
        give(&renumbered),
        "state_key",
    )?;
    forget()?;
    load("")
}

fn nothing_left(_: &mut Ctx) -> Res {
    const THEIRS: u32 = 0x0150_0016;
    tpm::undefine(THEIRS)?;
    tpm::define(THEIRS, tpm::PLAIN_ATTRIBUTES, 8)?;
    tpm::write(THEIRS, b"untouchd")?;
    let first = first_sealed()?;
    stage_policy(&next_policy("left")?)?;
    commit()?;
    let state = save()?;
    restart()?;
    for wrong in [
        state.with(170, &[0; 4]),
        state.with(state.0.len() - 32, &[0; 32]),
        state.with(167, &[1]),
        first,
    ] {
        ensure!(give(&wrong).is_err(), "a wrong state was taken");
    }
    restore(&state)?;
    let (objects, sessions) = tpm::loaded()?;
    ensure!(
        objects == 0 && sessions == 0,
        "{objects} objects and {sessions} sessions are left in the TPM"
    );
    ensure!(
        tpm::read(THEIRS, 8)?.as_deref() == Some(b"untouchd"),
        "an index of somebody else was changed"
    );
    tpm::undefine(THEIRS)
}
