// SPDX-License-Identifier: GPL-2.0

//! The ways back from a state that is not current, or from none: a quorum, or setup.

use super::{
    approve,
    checkpoint,
    commit,
    declined,
    discard,
    first_sealed,
    forget,
    give,
    history,
    load,
    locked,
    next_policy,
    permissive,
    refused,
    replay,
    restart,
    restore,
    save,
    seal,
    stage_policy,
    staged,
    tpm,
    unload,
    Kept,
    Past, //
};
use crate::client::{
    Attributes,
    Refused,
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
    kind,
    nl,
    voter,
    voters,
    Event,
    PolicyRefused,
    Request,
    Res,
    APPROVE,
    DENY, //
};
use crate::worker::Agent;

/// The tests, in their order.
pub(crate) const TESTS: &[Test] = &[
    Test::new("quorum_recovers_an_older_state", older),
    Test::new("quorum_recovers_a_staged_state", staged_only),
    Test::new("quorum_recovers_when_the_anchor_differs", anchor_differs),
    Test::new("quorum_recovers_when_the_anchor_is_gone", anchor_gone),
    Test::new("quorum_recovers_when_the_counter_is_gone", counter_gone),
    Test::new("recovery_of_a_current_state", current),
    Test::new("recovery_of_a_state_that_is_not_authentic", not_authentic),
    Test::new("recovery_of_a_node_that_is_not_locked", not_locked),
    Test::new("recovery_takes_one_state", one_state),
    Test::new("votes_below_the_threshold_recover_nothing", below),
    Test::new("recovery_denied_by_the_quorum", denied_by_quorum),
    Test::new("recovery_denied_by_the_policy", denied_by_policy),
    Test::new("recovering_node_takes_nothing_else", nothing_else),
    Test::new("restart_while_recovering", restarted),
    Test::new("vote_of_a_former_recovery", old_vote),
    Test::new("conflict_is_recovered_by_quorum", conflict),
    Test::new("setup_after_a_lost_state", setup),
    Test::new("setup_when_the_anchor_is_gone", setup_without_anchor),
    Test::new("setup_when_both_are_foreign", setup_foreign),
    Test::new("setup_of_a_node_that_is_not_locked", setup_refused),
    Test::new("restart_after_the_way_to_setup", setup_restarted),
];

/// Gives a state to be recovered; the line of the diagnostic.
fn recover(state: &Kept) -> Result<String, PolicyRefused> {
    stage::write_node("recover", &state.0)
}

/// Gives a state to be recovered: the request for the quorum.
fn ask(state: &Kept) -> Res<Request> {
    match recover(state) {
        Ok(line) => Err(format!("a state was recovered without a quorum: {line}")),
        Err(refused) => {
            ensure!(
                refused.errno == libc::EINPROGRESS,
                "recover: {} \"{}\" instead of EINPROGRESS",
                errno_name(refused.errno),
                refused.line
            );
            let id = refused
                .line
                .strip_prefix("pending ")
                .ok_or_else(|| format!("the diagnostic is \"{}\"", refused.line))?;
            stage::request(&stage::parse_id(id)?)
        }
    }
}

fn to_setup() -> Result<Reply, Refused> {
    stage::ask(nl::STATE_RECOVER, &Attributes::new())
}

/// Number of a refusal code.
fn number_of(code: &str) -> Res<u16> {
    Ok(match code {
        "state_missing" => 70,
        "state_older" => 73,
        "state_staged_only" => 74,
        "counter_missing" => 78,
        "counter_foreign" => 79,
        "anchor_missing" => 81,
        "anchor_differs" => 83,
        _ => return Err(format!("no number for {code}")),
    })
}

/// RECOVERED must tell of this, and be the only one.
fn recovered(
    events: &[Event],
    code: &str,
    counter: u64,
    anchor: &[u8],
    state: Option<&Kept>,
) -> Res {
    let all: Vec<&Event> = events
        .iter()
        .filter(|event| event.kind == kind::RECOVERED)
        .collect();
    let [event] = all[..] else {
        return Err(format!("{} RECOVERED events", all.len()));
    };
    let mut payload = counter.to_be_bytes().to_vec();
    payload.extend(anchor);
    payload.extend(state.map_or(0, Kept::counter).to_be_bytes());
    payload.extend(state.map_or([0; 32], Kept::head));
    ensure!(
        event.result == number_of(code)? && event.op == 36 && event.bytes[92..] == payload,
        "RECOVERED does not tell of {code}, counter {counter}: {event:?}"
    );
    Ok(())
}

/// Has a quorum recover a state that is refused for `code`, from the first request to the sealed node.
fn by_quorum(state: &Kept, code: &str) -> Res {
    let found = (
        tpm::counter()?,
        tpm::anchor()?.unwrap_or_else(|| vec![0; 32]),
    );
    refused("a restore", give(state), code)?;
    let request = ask(state)?;
    let status = stage::status()?;
    ensure!(
        status.phase == nl::RECOVERING
            && status.epoch == tpm::counter()?
            && (code.starts_with("counter_") || status.epoch == found.0 + 1)
            && stage::status_line("reason")? == code,
        "recovering: {status:?}"
    );
    let mut detail = number_of(code)?.to_be_bytes().to_vec();
    detail.extend(state.counter().to_be_bytes());
    detail.extend(found.0.to_be_bytes());
    ensure!(
        request.op() == 36
            && crate::harness::content_digest(&request) == sha256(&[&state.0])
            && crate::harness::facts(&request)
                .iter()
                .any(|(_, value)| *value == detail),
        "the request does not bind the state and its reason"
    );
    approve(&request)?;
    ensure!(
        stage::status()?.phase == nl::RECOVERING,
        "the grant alone recovered the node"
    );
    let line = recover(state).map_err(|e| format!("the granted recovery: {e:?}"))?;
    let next = staged()?;
    ensure!(
        line == format!("staged {}", next.counter()) && next.counter() > state.counter(),
        "the diagnostic is \"{line}\""
    );
    commit()?;
    let status = stage::status()?;
    ensure!(
        status.phase == nl::SEALED
            && tpm::counter()? == next.counter()
            && tpm::counter()? > found.0,
        "recovered: {status:?}"
    );
    let events = history(&state.head())?;
    recovered(&events, code, found.0, &found.1, Some(state))?;
    ensure!(
        events
            .iter()
            .any(|event| event.kind == kind::RESTORED && event.result == 3),
        "RESTORED does not say that the state was not current"
    );
    // Anchored with the rest: whoever knows the anchor knows that there was a recovery.
    let before = found.1[..]
        .try_into()
        .map_err(|_| "an anchor of another size")?;
    let anchored = replay(before, &events)?;
    ensure!(
        tpm::anchor()?.as_deref() == Some(&anchored) && anchored == next.anchor(),
        "the anchor after the recovery"
    );
    // From here on it is a node like any other.
    let state = save()?;
    restart()?;
    restore(&state).map(drop)
}

fn older(_: &mut Ctx) -> Res {
    let past = locked()?;
    by_quorum(&past.older, "state_older")?;
    let version = stage::status()?.policy_version;
    ensure!(
        version == 1,
        "the policy of the older state has version {version}"
    );
    Ok(())
}

fn staged_only(_: &mut Ctx) -> Res {
    let past = locked()?;
    by_quorum(&past.next, "state_staged_only")
}

fn anchor_differs(_: &mut Ctx) -> Res {
    let past = locked()?;
    tpm::extend(tpm::ANCHOR, &[3; 32])?;
    by_quorum(&past.current, "anchor_differs")
}

fn anchor_gone(_: &mut Ctx) -> Res {
    let past = locked()?;
    tpm::undefine(tpm::ANCHOR)?;
    by_quorum(&past.current, "anchor_missing")
}

fn counter_gone(_: &mut Ctx) -> Res {
    let past = locked()?;
    tpm::undefine(tpm::COUNTER)?;
    by_quorum(&past.current, "counter_missing")
}

fn current(_: &mut Ctx) -> Res {
    let past = locked()?;
    refused("a current state", recover(&past.current), "state_current")?;
    ensure!(
        stage::status()?.phase == nl::LOCKED && tpm::counter()? == past.current.counter(),
        "a refused recovery moved something"
    );
    Ok(())
}

fn not_authentic(_: &mut Ctx) -> Res {
    let past = locked()?;
    let mac = past.older.0.len() - 32;
    for (what, state, code) in [
        ("garbage", Kept(vec![1; 900]), "state_malformed"),
        (
            "a wrong MAC",
            past.older.with(mac, &[0; 32]),
            "state_forged",
        ),
        (
            "another node's",
            past.older.with(12, &[2; 32]),
            "state_other_tpm",
        ),
        (
            "another key's",
            past.older.with(past.older.blobs().0.end - 4, &[9; 4]),
            "state_key",
        ),
        (
            "other PCRs'",
            past.older.with(164, &[0, 1, 0, 0]),
            "state_pcr",
        ),
    ] {
        refused(what, recover(&state), code)?;
        ensure!(
            stage::status()?.phase == nl::LOCKED && tpm::counter()? == past.current.counter(),
            "{what} moved something"
        );
    }
    Ok(())
}

fn not_locked(_: &mut Ctx) -> Res {
    let state = first_sealed()?;
    refused("of a sealed node", recover(&state), "state_current")?;
    forget()?;
    load("")?;
    refused("of a node in setup", recover(&state), "state_current")
}

fn one_state(_: &mut Ctx) -> Res {
    let past = locked()?;
    let request = ask(&past.older)?;
    refused("another one", recover(&past.current), "state_digest")?;
    refused("another one, forged", recover(&past.next), "state_digest")?;
    // The one that was current is older now: the counter rose when the recovery began.
    refused("a restore", give(&past.current), "state_older")?;
    let again = ask(&past.older)?;
    ensure!(
        again.id == request.id,
        "the same state made another request"
    );
    let now = stage::request(&request.id)?;
    ensure!(
        now.state == nl::OPEN,
        "the request is in state {}",
        now.state
    );
    Ok(())
}

fn below(_: &mut Ctx) -> Res {
    let past = locked()?;
    let request = ask(&past.older)?;
    let counter = tpm::counter()?;
    for mut voter in voters()?.into_iter().take(2) {
        let tally = voter
            .cast(&request, APPROVE)
            .map_err(|e| format!("{e:?}"))?;
        ensure!(tally.state == nl::OPEN, "two of four: {tally:?}");
        let again = ask(&past.older)?;
        ensure!(again.id == request.id, "another request");
    }
    ensure!(
        stage::status()?.phase == nl::RECOVERING && tpm::counter()? == counter,
        "two of four recovered the node"
    );
    declined("a commit", stage::commit(), "state_none")?;
    declined("a discard", discard(), "state_none")
}

fn denied_by_quorum(_: &mut Ctx) -> Res {
    let past = locked()?;
    let request = ask(&past.older)?;
    let mut state = nl::OPEN;
    for mut voter in voters()?.into_iter().take(2) {
        state = voter
            .cast(&request, DENY)
            .map_err(|e| format!("{e:?}"))?
            .state;
    }
    ensure!(state == nl::DENIED, "two of four denials: state {state}");
    ensure!(
        stage::status()?.phase == nl::RECOVERING,
        "a denied recovery opened the node"
    );
    // It may be asked again, and another request it is.
    let again = ask(&past.older)?;
    ensure!(again.id != request.id, "the denied request is open again");
    Ok(())
}

fn denied_by_policy(_: &mut Ctx) -> Res {
    forget()?;
    load("")?;
    let body = super::body()?
        .replace(",RECOVER action", " action")
        .replace("op=POLICY", "op=RECOVER action=DENY\nop=POLICY");
    stage::prepare(super::VALIDATORS, super::POLICY, &body)?;
    let first = super::keep(stage::ask(nl::SEAL, &Attributes::new()))?;
    let last = save()?;
    restart()?;
    for _ in 0..2 {
        match recover(&first) {
            Ok(line) => return Err(format!("a recovery that policy denies: \"{line}\"")),
            Err(error) => ensure!(
                error.errno == libc::EACCES && error.line.starts_with("denied: "),
                "a recovery that policy denies: {error:?}"
            ),
        }
    }
    ensure!(
        stage::status()?.phase != nl::SEALED && stage::open_requests()?.is_empty(),
        "a denied recovery has left {}",
        stage::status_line("phase")?
    );
    // The attempt has made the last state older, too: a beginning is counted, whatever comes of it.
    refused("the last state", give(&last), "state_older")
}

fn nothing_else(_: &mut Ctx) -> Res {
    let past = locked()?;
    ask(&past.older)?;
    let fifth = stage::validator_attributes("v5", &Validator::test(5).point(), 1);
    for (what, command, attributes) in [
        ("validator-add", nl::VALIDATOR_ADD, fifth),
        ("mode-set", nl::MODE_SET, permissive()),
        ("seal", nl::SEAL, Attributes::new()),
    ] {
        declined(what, stage::ask(command, &attributes), "state_locked")?;
    }
    declined("a checkpoint", checkpoint(), "state_locked")?;
    stage::expect_refused("setup", to_setup(), libc::EPERM, "not_in_setup")?;
    refused(
        "a policy",
        stage::write_node("policy", next_policy("recovering")?.as_bytes()),
        "state_locked",
    )?;
    match Agent::try_start("a", "early", 0, None)? {
        Ok(_) => Err("a recovering node labelled an agent".to_string()),
        Err((errno, text)) => {
            ensure!(
                errno == libc::EPERM && text.starts_with("state_locked: "),
                "an agent of a recovering node: {} {text}",
                errno_name(errno)
            );
            Ok(())
        }
    }
}

fn restarted(_: &mut Ctx) -> Res {
    let past = locked()?;
    let request = ask(&past.older)?;
    approve(&request)?;
    let counter = tpm::counter()?;
    restart()?;
    ensure!(
        stage::status()?.phase == nl::LOCKED && tpm::counter()? == counter,
        "a restart while recovering"
    );
    refused("the last state", give(&past.current), "state_older")?;
    // The grant went with its epoch.
    let again = ask(&past.older)?;
    ensure!(
        again.id != request.id && again.state == nl::OPEN && tpm::counter()? == counter + 1,
        "the request of the restarted recovery is in state {}",
        again.state
    );
    Ok(())
}

fn old_vote(_: &mut Ctx) -> Res {
    let past = locked()?;
    let request = ask(&past.older)?;
    let votes: Vec<Vec<u8>> = voters()?
        .iter()
        .map(|voter| voter.record(&request, APPROVE))
        .collect();
    restart()?;
    let again = ask(&past.older)?;
    for vote in &votes {
        stage::expect_refused(
            "a vote for the same recovery before the restart",
            stage::submit(vote),
            libc::EXDEV,
            "vote_other_epoch",
        )?;
    }
    let now = stage::request(&again.id)?;
    ensure!(now.approve == 0, "old votes count: {now:?}");
    Ok(())
}

fn conflict(_: &mut Ctx) -> Res {
    // Root moves the counter while a change is staged: nothing can be committed, and after a restart the last state
    // is older than the counter. The quorum finds a way out.
    let first = first_sealed()?;
    stage_policy(&next_policy("conflict")?)?;
    tpm::increment(tpm::COUNTER)?;
    declined("the commit", stage::commit(), "state_conflict")?;
    restart()?;
    by_quorum(&first, "state_older")
}

// --- setup ----------------------------------------------------------------------------------------

/// Takes a locked node to setup, which must anchor that before it is acknowledged.
fn begin_again(code: &str) -> Res {
    let found = (tpm::counter()?, tpm::anchor()?);
    ensure!(
        stage::status_line("reason")? == code,
        "locked for {}",
        stage::status_line("reason")?
    );
    let reply = to_setup().map_err(|e| format!("state-recover: {e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::DONE),
        "state-recover: {reply:?}"
    );
    let status = stage::status()?;
    ensure!(
        status.phase == nl::SETUP
            && status.total == 0
            && status.policy_version == 0
            && status.epoch == tpm::counter()?
            && status.epoch > found.0,
        "after state-recover: {status:?}"
    );
    ensure!(
        stage::status_line("reason").is_err(),
        "status still has a reason"
    );
    let events = history(&[0; 32])?;
    let kinds: Vec<u16> = events.iter().map(|event| event.kind).collect();
    ensure!(
        kinds == [kind::LOADED, kind::RECOVERED, kind::ANCHORED],
        "the events are {kinds:?}"
    );
    let before = found.1.unwrap_or_else(|| vec![0; 32]);
    recovered(&events, code, found.0, &before, None)?;
    let before = before.try_into().map_err(|_| "an anchor of another size")?;
    let anchored = replay(before, &events)?;
    ensure!(
        tpm::anchor()?.as_deref() == Some(&anchored),
        "RECOVERED is not anchored"
    );
    Ok(())
}

fn setup(_: &mut Ctx) -> Res {
    let past = locked()?;
    restart()?;
    begin_again("state_missing")?;
    // Nothing of the past can be had back but by what the new node decides.
    refused("the last state", give(&past.current), "state_older")?;
    let state = seal()?;
    ensure!(
        state.previous() != [0; 32] && state.counter() > past.current.counter() + 1,
        "the new past does not go on from the old one"
    );
    restart()?;
    restore(&state).map(drop)
}

fn setup_without_anchor(_: &mut Ctx) -> Res {
    locked()?;
    tpm::undefine(tpm::ANCHOR)?;
    restart()?;
    begin_again("anchor_missing")
}

fn setup_foreign(_: &mut Ctx) -> Res {
    let past = locked()?;
    unload()?;
    for (index, size) in [(tpm::COUNTER, 8u16), (tpm::ANCHOR, 32)] {
        tpm::undefine(index)?;
        tpm::define(index, tpm::PLAIN_ATTRIBUTES, size)?;
    }
    load("")?;
    let reply = to_setup().map_err(|e| format!("state-recover: {e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::DONE) && stage::status()?.phase == nl::SETUP,
        "state-recover: {reply:?}"
    );
    ensure!(
        tpm::attributes(tpm::COUNTER)? == Some(tpm::COUNTER_ATTRIBUTES | tpm::WRITTEN)
            && tpm::attributes(tpm::ANCHOR)? == Some(tpm::ANCHOR_ATTRIBUTES | tpm::WRITTEN),
        "the indices were not made anew"
    );
    ensure!(
        tpm::counter()? > past.current.counter(),
        "the counter fell to {}",
        tpm::counter()?
    );
    let events = history(&[0; 32])?;
    recovered(&events, "counter_foreign", 0, &[0; 32], None)?;
    let anchored = replay([0; 32], &events)?;
    ensure!(
        tpm::anchor()?.as_deref() == Some(&anchored),
        "RECOVERED is not anchored"
    );
    Ok(())
}

fn setup_refused(_: &mut Ctx) -> Res {
    let state = first_sealed()?;
    stage::expect_refused("of a sealed node", to_setup(), libc::EPERM, "not_in_setup")?;
    restart()?;
    give(&state).map_err(|e| format!("{e:?}"))?;
    declined("while a restore is staged", to_setup(), "state_staged")?;
    commit()?;
    forget()?;
    load("")?;
    // In setup there is nothing to do, and nothing is done.
    let (counter, event) = (tpm::counter()?, stage::status()?.event);
    to_setup().map_err(|e| format!("in setup: {e:?}"))?;
    ensure!(
        tpm::counter()? == counter && stage::status()?.event == event,
        "state-recover in setup did something"
    );
    Ok(())
}

fn setup_restarted(_: &mut Ctx) -> Res {
    let Past { current, .. } = locked()?;
    to_setup().map_err(|e| format!("state-recover: {e:?}"))?;
    stage::prepare(super::VALIDATORS, super::POLICY, &super::body()?)?;
    let counter = tpm::counter()?;
    // Not sealed yet: the past is still remembered, and the way to setup has to be taken, and told, again.
    restart()?;
    ensure!(
        stage::status()?.phase == nl::LOCKED && tpm::counter()? == counter,
        "a restart before the seal opened the node"
    );
    refused("the last state", give(&current), "state_older")?;
    let reply = to_setup().map_err(|e| format!("state-recover: {e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::DONE) && tpm::counter()? == counter + 1,
        "the second time: {reply:?}"
    );
    let state = seal()?;
    restart()?;
    restore(&state)?;
    let v1 = voter(1)?;
    ensure!(v1.slot == 1, "v1 has slot {}", v1.slot);
    Ok(())
}
