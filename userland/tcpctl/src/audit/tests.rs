// SPDX-License-Identifier: GPL-2.0

//! Every attack on a log, with the exact event that is named; and that no changed byte goes unnoticed.

#[path = "../../tests/history/mod.rs"]
pub(crate) mod node;

use engine::{
    clock::{
        first_number,
        NODE_SLOT, //
    },
    event::{
        Event,
        Header,
        Kind,
        Payload, //
    },
    governance::Detail,
    op::Op,
    policy::Policy,
    quorum::Verdict,
    refusal::Refusal,
    request::Fact,
    vote::VoteRecord,
    watch::{
        Reason,
        Turn, //
    }, //
};

use self::node::{
    byzantine,
    caught,
    encode,
    everything,
    sha256,
    Key,
    Log,
    Node,
    POLICY_1,
    POLICY_2, //
};
use super::{
    fault::Fault,
    history::{
        History,
        Stop,
        Vouched, //
    },
    load::Texts,
    said::Said, //
};

fn texts() -> Texts {
    [POLICY_1, POLICY_2]
        .into_iter()
        .map(|text| {
            (
                sha256(text.as_bytes()),
                Policy::parse(text.as_bytes()).unwrap(),
            )
        })
        .collect()
}

fn read(bytes: &[u8], partial: bool) -> Result<History, Box<Fault>> {
    let mut history = History::new(texts(), partial);
    match history.read("log", bytes, |_, _| {}) {
        Ok(()) => Ok(history),
        Err(Stop::Fault(fault)) => Err(fault),
        Err(Stop::Io(error)) => panic!("{error}"),
    }
}

fn good(log: &Log) -> History {
    read(&log.bytes(), false).unwrap_or_else(|fault| panic!("{fault}"))
}

/// Epochs of the loads of which it is not known what they go on from: refused, unless `partial` is asked for.
#[track_caller]
fn unfounded(log: &Log) -> Vec<u64> {
    let fault = read(&log.bytes(), false).err().unwrap();
    assert_eq!(fault.wrong.code, "past_missing", "{fault}");
    let history = read(&log.bytes(), true).unwrap_or_else(|fault| panic!("{fault}"));
    history.unfounded
}

/// Demands that exactly this event is named, with this error.
#[track_caller]
fn bad(log: &Log, event: u64, code: &str) -> Box<Fault> {
    match read(&log.bytes(), false) {
        Ok(_) => panic!("{code} was not noticed"),
        Err(fault) => {
            assert_eq!(
                (fault.wrong.code, fault.event),
                (code, Some(event)),
                "{fault}"
            );
            fault
        }
    }
}

#[test]
fn a_true_history_verifies() {
    let node = everything();
    let history = good(&node.log);
    let counts = history.counts;
    assert_eq!(counts.loads, 2);
    assert_eq!(counts.restored, 1);
    assert_eq!((counts.granted, counts.denied, counts.expired), (4, 1, 1));
    assert_eq!((counts.cancelled, counts.held), (2, 1));
    assert_eq!(counts.governance, 2);
    assert_eq!((counts.anchors, counts.unread), (5, 0));
    assert_eq!(counts.terms, counts.requests);
    let vouched = Vouched {
        node: node.id,
        counter: node.counter,
        anchor: node.anchor,
    };
    // ANCHORED, the change and an agent come after what is anchored.
    assert_eq!(history.vouch(&vouched).map(|at| at.tail), Ok(3));
}

/// A sealed node with an agent, before any request.
fn sealed() -> Node {
    let mut node = Node::new(3);
    node.set_up();
    node.agent(9);
    node
}

fn last(node: &Node) -> u64 {
    node.clock.get(NODE_SLOT)
}

#[test]
fn an_event_removed_is_missed() {
    let node = everything();
    for place in [(0, 2), (0, 15), (1, 9)] {
        let mut log = node.log.clone();
        let number = log.number(place);
        log.segments[place.0].events.remove(place.1);
        bad(&log, number + 1, "event_missing");
        // A forger closes the gap and computes the chain anew.
        log.renumber();
        log.rechain();
        assert!(read(&log.bytes(), false).is_err(), "{place:?}");
    }
    let mut log = node.log.clone();
    let place = log.places(Kind::Agent)[0];
    log.segments[0].events.remove(place.1);
    log.renumber();
    log.rechain();
    let request = log.number(log.places(Kind::Request)[0]);
    bad(&log, request, "request_created");
}

#[test]
fn events_reordered_are_noticed() {
    let mut log = everything().log;
    let number = log.number((0, 8));
    log.segments[0].events.swap(8, 9);
    bad(&log, number + 1, "event_missing");
    log.renumber();
    log.rechain();
    assert!(read(&log.bytes(), false).is_err());
}

#[test]
fn an_event_edited_breaks_the_chain_and_then_the_anchor() {
    let mut log = everything().log;
    let place = log.places(Kind::Agent)[0];
    log.event(place)[30] ^= 1;
    let number = log.number(place);
    bad(&log, number, "chain_broken");
    // Whoever computes the chain anew is found out by the TPM.
    log.rechain();
    let anchored = log.places(Kind::Anchored)[1];
    assert!(anchored > place);
    bad(&log, log.number(anchored), "anchored_differs");
}

#[test]
fn an_event_duplicated_is_noticed() {
    let mut log = everything().log;
    let copy = log.segments[0].events[5].clone();
    let number = log.number((0, 5));
    log.segments[0].events.insert(6, copy);
    bad(&log, number, "event_repeated");
}

#[test]
fn a_truncated_log_is_told_by_the_quote_and_by_the_next_load() {
    let node = everything();
    let vouched = Vouched {
        node: node.id,
        counter: node.counter,
        anchor: node.anchor,
    };
    let mut log = node.log.clone();
    let cut = *log.places(Kind::Staged).last().unwrap();
    log.segments[cut.0].events.truncate(cut.1);
    let fault = good(&log).vouch(&vouched).unwrap_err();
    assert_eq!(fault.code, "log_truncated");
    // The power was cut after the TPM had it: the log says what was staged, and that is what the TPM has.
    let mut log = node.log.clone();
    log.segments[cut.0].events.truncate(cut.1 + 1);
    assert_eq!(good(&log).vouch(&vouched).map(|at| at.tail), Ok(0));
    // The first load ends before the state that the second one goes on from.
    let mut log = node.log.clone();
    let cut = *log
        .places(Kind::Staged)
        .iter()
        .rfind(|place| place.0 == 0)
        .unwrap();
    log.segments[0].events.truncate(cut.1);
    let staged = log.places(Kind::Staged);
    let first = staged.iter().find(|place| place.0 == 1).unwrap();
    bad(&log, log.number(*first), "past_missing");
    // Without any of the first load's events the second is checked by itself, when that is asked for.
    let mut log = node.log.clone();
    log.segments.remove(0);
    let history = read(&log.bytes(), true).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(history.vouch(&vouched).map(|at| at.tail), Ok(3));
}

#[test]
fn a_tail_that_is_not_anchored_is_fine_and_told() {
    let mut node = sealed();
    let before = node.anchor;
    node.checkpoint();
    let vouched = Vouched {
        node: node.id,
        counter: node.counter,
        anchor: node.anchor,
    };
    let id = node.ask(b"/etc/hosts");
    node.vote(&id, 1, Verdict::Approve);
    assert_eq!(good(&node.log).vouch(&vouched).map(|at| at.tail), Ok(3));
    let older = Vouched {
        counter: node.counter - 1,
        anchor: before,
        ..vouched
    };
    assert_eq!(
        good(&node.log).vouch(&older).unwrap_err().code,
        "quote_older"
    );
    let other = Vouched {
        node: [1; 32],
        ..vouched
    };
    assert_eq!(
        good(&node.log).vouch(&other).unwrap_err().code,
        "other_node"
    );
}

#[test]
fn a_forked_chain_is_told_by_the_quote() {
    let mut one = sealed();
    one.checkpoint();
    let mut other = one.clone();
    one.agent(10);
    one.checkpoint();
    other.agent(11);
    other.checkpoint();
    for (log, tpm, code) in [
        (&one, &one, None),
        (&other, &other, None),
        (&one, &other, Some("anchor_differs")),
    ] {
        let vouched = Vouched {
            node: tpm.id,
            counter: tpm.counter,
            anchor: tpm.anchor,
        };
        let found = good(&log.log).vouch(&vouched).err().map(|wrong| wrong.code);
        assert_eq!(found, code);
    }
}

#[test]
fn each_wrong_vote_is_named() {
    let cast = |of: &str, make: &dyn Fn(&mut Node, [u8; 32]) -> Vec<u8>| {
        let mut node = sealed();
        let id = node.ask(b"/etc/hosts");
        node.vote(&id, 1, Verdict::Approve);
        let record = make(&mut node, id);
        let header = engine::event::Header {
            slot: 2,
            ..node.about(&id, Kind::Vote, 1)
        };
        let number = node.record(header, &record);
        bad(&node.log, number, of);
    };
    let clock = |node: &Node, id: &[u8; 32], slot: u16| {
        let mut clock = node.validators[&slot].last.clone();
        assert!(clock.next_vote(slot, node.requests[id].created));
        clock
    };
    cast("vote_forged", &|node, id| {
        // Bob's vote, signed by somebody else.
        let clock = clock(node, &id, 2);
        let record = node.signed(&id, "bob", Verdict::Approve, &clock, "");
        splice(
            &record,
            &node.signed(&id, "carol", Verdict::Approve, &clock, ""),
        )
    });
    cast("vote_unknown_validator", &|node, id| {
        let clock = clock(node, &id, 2);
        node.signed(&id, "mallory", Verdict::Approve, &clock, "")
    });
    cast("clock_before_request", &|node, id| {
        let mut clock = clock(node, &id, 2);
        assert!(clock.set(NODE_SLOT, 1));
        node.signed(&id, "bob", Verdict::Approve, &clock, "")
    });
    cast("clock_not_later", &|node, id| {
        let mut clock = clock(node, &id, 2);
        assert!(clock.set(2, 0));
        node.signed(&id, "bob", Verdict::Approve, &clock, "")
    });
    cast("clock_leap", &|node, id| {
        let mut clock = clock(node, &id, 2);
        assert!(clock.set(2, 1 << 21));
        node.signed(&id, "bob", Verdict::Approve, &clock, "")
    });
    cast("clock_unseen", &|node, id| {
        let mut clock = clock(node, &id, 2);
        assert!(clock.set(3, 1));
        node.signed(&id, "bob", Verdict::Approve, &clock, "")
    });
    cast("clock_unseen", &|node, id| {
        let mut clock = clock(node, &id, 2);
        assert!(clock.set(NODE_SLOT, last(node) + 1));
        node.signed(&id, "bob", Verdict::Approve, &clock, "")
    });
    cast("vote_expired", &|node, id| {
        let record = node.ballot_paper(&id, 2, Verdict::Approve);
        node.boot_ms += 700_000;
        record
    });
    cast("vote_other_epoch", &|node, id| {
        node.epoch += 1;
        let record = node.ballot_paper(&id, 2, Verdict::Approve);
        node.epoch -= 1;
        record
    });
    cast("vote_other_node", &|node, id| {
        let own = node.id;
        node.id = [9; 32];
        let record = node.ballot_paper(&id, 2, Verdict::Approve);
        node.id = own;
        record
    });
    cast("vote_reason", &|node, id| {
        let mut record = node.ballot_paper(&id, 2, Verdict::Approve);
        record.push(b'!');
        record
    });
    cast("vote_duplicate", &|node, id| {
        let clock = clock(node, &id, 1);
        node.signed(&id, "alice", Verdict::Approve, &clock, "")
    });
    cast("event_header", &|node, id| {
        let clock = clock(node, &id, 3);
        node.signed(&id, "carol", Verdict::Approve, &clock, "")
    });
}

#[test]
fn a_regressing_clock_is_named() {
    let mut node = sealed();
    let first = node.ask(b"/etc/hosts");
    node.approve(&first);
    let second = node.ask(b"/etc/group");
    // Carol has seen this node's event; now she claims not to have seen her own past.
    let mut clock = engine::clock::NodeClock::new();
    assert!(clock.set(3, 9));
    let record = node.signed(&second, "carol", Verdict::Approve, &clock, "");
    let header = engine::event::Header {
        slot: 3,
        ..node.about(&second, Kind::Vote, 1)
    };
    let number = node.record(header, &record);
    bad(&node.log, number, "clock_regresses");
}

#[test]
fn the_vote_of_a_removed_validator_is_named() {
    let mut node = sealed();
    node.remove_by_quorum(4);
    let id = node.ask(b"/etc/hosts");
    let clock = {
        let mut clock = engine::clock::NodeClock::new();
        assert!(clock.next_vote(4, node.requests[&id].created));
        clock
    };
    let record = node.signed(&id, "dave", Verdict::Approve, &clock, "");
    let header = engine::event::Header {
        slot: 4,
        ..node.about(&id, Kind::Vote, 1)
    };
    let number = node.record(header, &record);
    bad(&node.log, number, "vote_unknown_validator");
}

#[test]
fn a_decision_without_its_weight_is_named() {
    let mut node = sealed();
    let id = node.ask(b"/etc/hosts");
    node.vote(&id, 1, Verdict::Approve);
    node.vote(&id, 2, Verdict::Approve);
    for (kind, code) in [
        (Kind::Granted, "threshold_not_met"),
        (Kind::Denied, "threshold_not_met"),
        (Kind::Expired, "decision_wrong"),
    ] {
        let mut node = node.clone();
        node.decide(&id, kind);
        bad(&node.log, last(&node), code);
    }
    // The weights are invented.
    let mut lied = node.clone();
    let tally = engine::event::Tally {
        approve: 3,
        deny: 0,
        total: 4,
        quarantined: 0,
        threshold_bp: 7500,
    };
    let number = lied.record(
        lied.about(&id, Kind::Granted, 0),
        &encode(&Payload::Tally(tally)),
    );
    bad(&lied.log, number, "tally_wrong");
    // The decision is kept back.
    let record = node.ballot_paper(&id, 3, Verdict::Approve);
    let header = engine::event::Header {
        slot: 3,
        ..node.about(&id, Kind::Vote, 1)
    };
    node.record(header, &record);
    node.agent(12);
    bad(&node.log, last(&node), "decision_missing");
}

#[test]
fn a_grant_used_too_often_too_late_or_never_given_is_named() {
    let mut node = sealed();
    let id = node.ask(b"/etc/hosts");
    let number = {
        let mut early = node.clone();
        early.record(early.about(&id, Kind::Used, 1), &[]);
        bad(&early.log, last(&early), "grant_unknown");
        node.approve(&id);
        last(&node)
    };
    let mut late = node.clone();
    // GRANTED and USED are 10 ms apart, and a machine may stand still for 10 s between a decision and its event.
    late.boot_ms += 300_000 + 10_000 - 10;
    late.spend(&id);
    good(&late.log);
    let mut late = node.clone();
    late.boot_ms += 300_000 + 10_000 - 9;
    late.spend(&id);
    bad(&late.log, number + 1, "grant_expired");
    let mut generous = node.clone();
    generous.record(generous.about(&id, Kind::Used, 2), &[]);
    bad(&generous.log, number + 1, "grant_uses");
    let mut early = node.clone();
    early.record(early.about(&id, Kind::GrantEnded, 2), &[]);
    bad(&early.log, number + 1, "grant_ended");
    node.spend(&id);
    let mut kept = node.clone();
    kept.record(kept.about(&id, Kind::Used, 0), &[]);
    kept.agent(12);
    bad(&kept.log, last(&kept), "end_missing");
    node.spend(&id);
    node.record(node.about(&id, Kind::Used, 0), &[]);
    bad(&node.log, last(&node), "grant_unknown");
}

#[test]
fn a_policy_without_its_quorum_is_named() {
    // Not even staged.
    let mut node = sealed();
    let number = node.policy(POLICY_2);
    bad(&node.log, number, "not_anchored");
    // Anchored, but nobody was asked.
    let mut node = sealed();
    let change = encode(&Payload::Policy {
        version: 2,
        digest: &sha256(POLICY_2.as_bytes()),
        name: "builder",
    });
    node.anchored(Kind::Policy, 0, &change);
    bad(&node.log, last(&node) - 1, "not_granted");
    // A quorum approved another text.
    let mut node = sealed();
    let id = node.ask_policy(POLICY_2);
    node.approve(&id);
    node.spend(&id);
    let other = encode(&Payload::Policy {
        version: 2,
        digest: &[5; 32],
        name: "builder",
    });
    node.anchored(Kind::Policy, 0, &other);
    bad(&node.log, last(&node) - 1, "not_granted");
    // Approved and anchored, and then another one is put in force.
    let mut node = sealed();
    let id = node.ask_policy(POLICY_2);
    node.approve(&id);
    node.spend(&id);
    node.anchored(Kind::Policy, 0, &change);
    node.record(node.header(Kind::Policy, 0), &other);
    bad(&node.log, last(&node), "change_differs");
    // Used for a second policy.
    let mut node = sealed();
    node.change_policy(POLICY_2);
    let change = encode(&Payload::Policy {
        version: 3,
        digest: &[5; 32],
        name: "builder",
    });
    let staged = node.stage(Kind::Policy as u16, 0, &change);
    bad(&node.log, staged, "not_granted");
}

#[test]
fn an_agent_may_use_a_grant_between_a_leave_and_its_change() {
    let change = encode(&Payload::Policy {
        version: 2,
        digest: &sha256(POLICY_2.as_bytes()),
        name: "builder",
    });
    let mut node = sealed();
    let file = node.ask(b"/etc/hosts");
    node.approve(&file);
    let mut unasked = node.clone();
    let policy = node.ask_policy(POLICY_2);
    node.approve(&policy);
    node.spend(&policy);
    // Both its uses, on another processor.
    node.spend(&file);
    node.spend(&file);
    node.anchored(Kind::Policy, 0, &change);
    node.policy(POLICY_2);
    good(&node.log);
    // That use is no leave by itself.
    unasked.spend(&file);
    let staged = unasked.stage(Kind::Policy as u16, 0, &change);
    bad(&unasked.log, staged, "not_granted");
}

#[test]
fn other_governance_without_its_quorum_is_named() {
    let mut node = sealed();
    let number = node.record(node.header(Kind::Unpinned, 0), &[]);
    bad(&node.log, number, "not_granted");
    let mut node = sealed();
    let number = node.stage(Kind::Mode as u16, 1, &[]);
    bad(&node.log, number, "not_granted");
    let mut node = sealed();
    let id = node.ask_detail(&Detail::RemoveValidator { name: "carol" });
    node.approve(&id);
    node.spend(&id);
    let dave = node.validators[&4].clone();
    let record = encode(&Payload::Validator(engine::governance::ValidatorRecord {
        slot: 4,
        weight: dave.weight,
        name: "dave",
        key: &node::Key::new("dave").public,
    }));
    let number = node.stage(Kind::ValidatorRemoved as u16, 0, &record);
    bad(&node.log, number, "not_granted");
    // Without a TPM the same, without STAGED.
    let mut node = Node::new(0);
    node.set_up();
    let number = node.remove(4);
    bad(&node.log, number, "not_granted");
}

#[test]
fn an_unsealed_node_verifies() {
    let mut node = Node::new(0);
    node.set_up();
    let id = node.ask_detail(&Detail::Mode(engine::governance::Mode::Permissive));
    node.approve(&id);
    node.spend(&id);
    node.record(node.header(Kind::Mode, 1), &[]);
    node.change_policy(POLICY_2);
    node.remove_by_quorum(4);
    let history = good(&node.log);
    assert_eq!(history.counts.governance, 3);
    assert!(history.committed().is_none());
}

#[test]
fn a_wrong_request_is_named() {
    let mut node = sealed();
    let id = node.ask(b"/etc/hosts");
    let place = *node.log.places(Kind::Request).last().unwrap();
    let number = node.log.number(place);
    let forge = |change: &dyn Fn(&mut Vec<u8>), code: &str| {
        let mut log = node.log.clone();
        let mut payload = log.payload(place);
        change(&mut payload);
        let digest = sha256(&payload);
        log.set_payload(place, &payload);
        // The id is that of what was changed, unless the test is about the id.
        if code != "request_id" {
            log.event(place)[48..80].copy_from_slice(&digest);
        }
        log.rechain();
        bad(&log, number, code);
    };
    forge(&|payload| payload[50] ^= 1, "request_id");
    forge(&|payload| payload[8] ^= 1, "request_node");
    forge(&|payload| payload[47] ^= 1, "request_epoch");
    forge(&|payload| payload[71] ^= 1, "request_created");
    forge(&|payload| payload[118] ^= 1, "request_policy");
    forge(&|payload| payload[130] ^= 1, "request_policy");
    forge(&|payload| payload[103] ^= 1, "event_header");
    // The rule says 75 %, 2 uses, 5 minutes, and 10 minutes to decide.
    forge(&|payload| payload[153] ^= 1, "terms_wrong");
    forge(&|payload| payload[155] = 3, "terms_wrong");
    forge(&|payload| payload[159] ^= 1, "terms_wrong");
    forge(&|payload| payload[87] ^= 1, "terms_wrong");
    // Asked for twice.
    let mut again = node.clone();
    again.ask(b"/etc/hosts");
    bad(&again.log, last(&again), "request_duplicate");
    assert!(node.requests.contains_key(&id));
}

#[test]
fn a_request_outside_its_phase_is_named() {
    let mut node = Node::new(3);
    node.add(1, "alice", 1);
    node.policy(POLICY_1);
    let mut early = node.clone();
    early.ask_policy(POLICY_2);
    bad(&early.log, last(&early), "request_phase");
    let mut wrong = sealed();
    let content = [1; 32];
    let mut out = [0; 64];
    let length = Detail::Unload.encode(&mut out).unwrap();
    let facts = [Fact::Detail(&out[..length])];
    wrong.request(Op::Unload, 0, 0, (7500, 300, 1), &content, &facts);
    bad(&wrong.log, last(&wrong), "request_content");
}

#[test]
fn a_change_that_keeps_old_requests_is_named() {
    let mut node = sealed();
    node.ask(b"/etc/hosts");
    node.change_policy(POLICY_2);
    // WATCH is the last one.
    bad(&node.log, last(&node) - 1, "change_keeps_requests");
    let mut node = sealed();
    let id = node.ask(b"/etc/hosts");
    node.record(node.about(&id, Kind::Cancelled, 2), &[]);
    node.agent(12);
    bad(&node.log, last(&node), "change_missing");
}

#[test]
fn an_anchor_skipped_is_named() {
    // Another commit, which the log does not have, went before.
    let mut node = sealed();
    node.counter += 1;
    let number = node.stage(0, 0, &[]);
    bad(&node.log, number, "counter_skipped");
    let mut node = sealed();
    node.anchor = [8; 32];
    let number = node.stage(0, 0, &[]);
    bad(&node.log, number, "anchor_skipped");
    let mut node = sealed();
    let staged = node.stage(0, 0, &[]);
    node.anchor[0] ^= 1;
    node.commit(staged);
    bad(&node.log, last(&node), "anchor_differs");
    let mut node = sealed();
    let staged = node.stage(0, 0, &[]);
    node.commit(staged - 1);
    bad(&node.log, last(&node), "anchored_differs");
    let mut node = sealed();
    node.commit(1);
    bad(&node.log, last(&node), "anchored_unstaged");
    let mut node = sealed();
    node.stage(0, 0, &[]);
    let number = node.stage(0, 0, &[]);
    bad(&node.log, number, "staged_twice");
    let mut node = sealed();
    let number = node.record(node.header(Kind::Discarded, 0), &[]);
    bad(&node.log, number, "discarded_unstaged");
    // What was discarded may be staged again, with the same counter.
    let mut node = sealed();
    node.stage(0, 0, &[]);
    node.record(node.header(Kind::Discarded, 0), &[]);
    node.checkpoint();
    good(&node.log);
}

#[test]
fn an_epoch_replayed_is_named() {
    let mut node = sealed();
    node.checkpoint();
    let first = node.log.segments[0].clone();
    let mut log = node.log.clone();
    log.segments.push(first);
    let number = log.number((1, 0));
    bad(&log, number, "epoch_replayed");
    node.restart(false);
    node.log.segments.swap(0, 1);
    let staged = node.log.places(Kind::Staged)[0];
    bad(&node.log, node.log.number(staged), "past_missing");
    let number = node.log.number((1, 0));
    let fault = read(&node.log.bytes(), true).err().unwrap();
    assert_eq!(
        (fault.wrong.code, fault.event),
        ("epoch_replayed", Some(number))
    );
}

#[test]
fn a_past_forgotten_is_named() {
    let mut node = sealed();
    node.checkpoint();
    let before = node.clone();
    node.counter += 1;
    node.epoch = node.counter;
    node.validators.clear();
    node.load(&[0; 32]);
    let number = node.add(1, "mallory", 1);
    bad(&node.log, number, "past_forgotten");
    // Saying so is recovery: it is in the log for everybody to see.
    let mut node = before;
    node.recover_to_setup();
    node.set_up();
    let history = good(&node.log);
    assert_eq!((history.counts.recovered, history.counts.loads), (1, 2));
    let vouched = Vouched {
        node: node.id,
        counter: node.counter,
        anchor: node.anchor,
    };
    assert_eq!(history.vouch(&vouched).map(|at| at.tail), Ok(2));
}

#[test]
fn a_restored_state_is_compared_with_the_log() {
    let node = {
        let mut node = sealed();
        let id = node.ask(b"/etc/hosts");
        node.approve(&id);
        node.checkpoint();
        node
    };
    let mut same = node.clone();
    same.restart(true);
    good(&same.log);
    let mut other = node.clone();
    other.policy = Some(POLICY_2);
    other.restart(false);
    let number = *other.log.places(Kind::Policy).last().unwrap();
    bad(&other.log, other.log.number(number), "restored_policy");
    let mut other = node.clone();
    other.validators.remove(&4);
    other.restart(false);
    bad(&other.log, last(&other) - 1, "restored_validator");
    let mut other = node.clone();
    let carol = other.validators.get_mut(&3).unwrap();
    assert!(carol.last.set(3, 7));
    other.restart(false);
    bad(&other.log, last(&other) - 1, "restored_validator");
    let mut other = node.clone();
    other.state = Some((node.counter, [3; 32], node.anchor));
    other.restart(false);
    let staged = *other.log.places(Kind::Staged).last().unwrap();
    bad(&other.log, other.log.number(staged), "past_missing");
    let mut other = node;
    other.restart(false);
    other.log.segments[1].chain[0] ^= 1;
    other.log.rechain();
    let staged = *other.log.places(Kind::Staged).last().unwrap();
    bad(&other.log, other.log.number(staged), "genesis");
}

#[test]
fn a_recovery_by_quorum_verifies_and_a_forged_one_is_named() {
    let mut node = sealed();
    let id = node.ask(b"/etc/hosts");
    node.approve(&id);
    node.checkpoint();
    let mut forged = node.clone();
    let mut unasked = node.clone();
    node.recover(|node, id| node.approve(id));
    node.checkpoint();
    let history = good(&node.log);
    assert_eq!((history.counts.recovered, history.counts.outdated), (1, 0));
    node.restart(false);
    good(&node.log);
    let number = std::cell::Cell::new(0);
    forged.recover(|node, id| {
        let record = node.ballot_paper(id, 1, Verdict::Approve);
        let clock = node.validators[&1].last.clone();
        let other = node.signed(id, "mallory", Verdict::Approve, &clock, "looks right");
        number.set(last(node) + 1);
        node.cast(id, 1, Verdict::Approve, &splice(&record, &other));
        node.vote(id, 2, Verdict::Approve);
        node.vote(id, 3, Verdict::Approve);
    });
    bad(&forged.log, number.get(), "vote_forged");
    // Nobody has approved.
    unasked.recover(|node, id| {
        number.set(last(node) + 1);
        node.decide(id, Kind::Granted);
        node.uses_left.insert(*id, 1);
    });
    bad(&unasked.log, number.get(), "threshold_not_met");
}

/// A sealed node whose state is older than the counter, and the counter and anchor that are found then.
fn outdated() -> (Node, (u64, [u8; 32])) {
    let mut node = sealed();
    node.checkpoint();
    node.counter += 2;
    let found = (node.counter, node.anchor);
    (node, found)
}

fn vouched(node: &Node) -> Vouched {
    Vouched {
        node: node.id,
        counter: node.counter,
        anchor: node.anchor,
    }
}

#[test]
fn the_tpm_is_told_how_a_recovery_began() {
    let (node, found) = outdated();
    // The counter is the epoch, and the anchor that of before with the head before ANCHORED.
    let mut begun = node.clone();
    begun.begin_recovery();
    let history = good(&begun.log);
    assert_eq!(history.vouch(&vouched(&begun)).map(|at| at.tail), Ok(1));
    assert_eq!(begun.counter, begun.epoch);
    // Something came between the last event that it covers and ANCHORED, and between CLOCK and that.
    let mut busy = node.clone();
    busy.epoch = busy.counter + 1;
    busy.outdated();
    busy.record(
        busy.header(Kind::ControlRefused, 33),
        &encode(&Payload::Tried("seal")),
    );
    let covered = last(&busy);
    busy.anchor_beginning(covered);
    busy.decide_recovery(found, |node, id| node.approve(id));
    good(&busy.log);
    // Another anchor was there than RECOVERED says: nobody knows what was hidden.
    let mut lied = begun.clone();
    lied.decide_recovery((found.0, [7; 32]), |node, id| node.approve(id));
    let staged = *lied.log.places(Kind::Staged).last().unwrap();
    bad(&lied.log, lied.log.number(staged), "anchor_differs");
    // ANCHORED is about another event, another head, another counter.
    let anchored = *begun.log.places(Kind::Anchored).last().unwrap();
    let number = begun.log.number(anchored);
    for at in [7, 15, 16, 47] {
        let mut log = begun.log.clone();
        let mut payload = log.payload(anchored);
        payload[at] ^= 1;
        log.set_payload(anchored, &payload);
        log.rechain();
        bad(&log, number, "anchored_differs");
    }
    // The TPM was not told, and the quorum is asked nevertheless.
    let mut silent = node;
    silent.epoch = silent.counter + 1;
    silent.outdated();
    silent.counter = silent.epoch;
    let clock = last(&silent);
    silent.decide_recovery(found, |node, id| node.approve(id));
    bad(&silent.log, clock + 1, "not_anchored");
}

#[test]
fn a_recovery_to_setup_is_told_before_anything_else() {
    let (mut node, _) = outdated();
    node.recover_to_setup();
    let anchored = *node.log.places(Kind::Anchored).last().unwrap();
    let number = node.log.number(anchored);
    let mut forged = node.log.clone();
    let mut payload = forged.payload(anchored);
    payload[48] ^= 1;
    forged.set_payload(anchored, &payload);
    forged.rechain();
    bad(&forged, number, "anchor_differs");
    node.log.segments[anchored.0].events.pop();
    // The power was cut when the TPM had it.
    assert_eq!(
        good(&node.log).vouch(&vouched(&node)).map(|at| at.tail),
        Ok(0)
    );
    let mut log = node.log;
    let added = {
        let mut other = Node::new(node.epoch);
        other.add(1, "alice", 1);
        other.log.segments[0].events[1].0.clone()
    };
    log.segments[anchored.0].events.push((added, [0; 32]));
    log.renumber();
    log.rechain();
    bad(&log, number, "not_anchored");
}

#[test]
fn a_restore_that_was_discarded_goes_on_or_makes_way() {
    // Given back again in the same load: STAGED comes again, LOADED does not.
    let mut node = sealed();
    node.checkpoint();
    let discarded = {
        let mut node = node.clone();
        node.stage_restore();
        node.record(node.header(Kind::Discarded, 0), &[]);
        node
    };
    let mut again = discarded.clone();
    again.restore(1);
    let history = good(&again.log);
    assert_eq!((history.counts.loads, history.counts.restored), (2, 1));
    // A recovery in the same load takes another epoch: that of the restore is used.
    let mut other = discarded.clone();
    let found = (other.counter, other.anchor);
    other.counter += 1;
    other.begin_recovery();
    assert_eq!(other.epoch, found.0 + 2);
    other.decide_recovery(found, |node, id| node.approve(id));
    good(&other.log);
    let mut setup = discarded.clone();
    setup.counter += 1;
    setup.recover_to_setup();
    setup.set_up();
    good(&setup.log);
    // The machine was started again instead: the TPM has not been told, so the epoch is free.
    let mut restarted = discarded;
    restarted.restart(false);
    good(&restarted.log);
    // But not when the TPM was told.
    let mut replayed = again;
    replayed.counter -= 1;
    replayed.state = node.state;
    replayed.restart(false);
    let first = replayed.log.number((2, 0));
    bad(&replayed.log, first, "epoch_replayed");
}

#[test]
fn a_power_cut_when_a_load_begins_leaves_the_epoch_to_the_next_one() {
    let (node, found) = outdated();
    // When everything is recorded that the TPM is told, and when it was told.
    let mut cut = node.clone();
    cut.epoch = cut.counter + 1;
    cut.outdated();
    let mut same = cut.clone();
    same.begin_recovery();
    same.decide_recovery(found, |node, id| node.approve(id));
    let history = good(&same.log);
    assert_eq!((history.counts.loads, history.counts.outdated), (3, 0));
    let mut told = cut;
    let number = last(&told);
    told.anchor_beginning(number);
    let place = told.log.segments.len() - 1;
    told.log.segments[place].events.pop();
    assert_eq!(
        good(&told.log).vouch(&vouched(&told)).map(|at| at.tail),
        Ok(0)
    );
    told.begin_recovery();
    let found = (told.epoch - 1, {
        let segment = &told.log.segments[place];
        let head = segment.events.last().unwrap().1;
        engine::anchor::extended::<node::Sha256>(&node.anchor, &head)
    });
    told.decide_recovery(found, |node, id| node.approve(id));
    good(&told.log);
    // Nobody has decided: the state is still that of before.
    let (mut node, found) = outdated();
    node.begin_recovery();
    let again = (node.counter, node.anchor);
    node.begin_recovery();
    let history = good(&node.log);
    assert_eq!((history.counts.outdated, again.0), (0, found.0 + 1));
    node.decide_recovery(again, |node, id| node.approve(id));
    good(&node.log);
    // A restore was staged and the power cut, twice, before it went through.
    let mut node = sealed();
    node.checkpoint();
    let whole = node.log.clone();
    node.stage_restore();
    node.stage_restore();
    node.restart(false);
    let history = good(&node.log);
    assert_eq!((history.counts.loads, history.unfounded.len()), (4, 0));
    // The same without the load before: it is not known what any of them goes on from.
    node.log.segments.drain(..whole.segments.len());
    assert_eq!(unfounded(&node.log), [node.epoch]);
}

#[test]
fn a_log_that_begins_with_a_restore_says_that_its_past_is_missing() {
    let mut node = sealed();
    node.checkpoint();
    node.restart(false);
    node.agent(9);
    assert_eq!(good(&node.log).unfounded, [0u64; 0]);
    let first = node.epoch;
    node.log.segments.remove(0);
    let staged = node.log.places(Kind::Staged)[0];
    bad(&node.log, node.log.number(staged), "past_missing");
    assert_eq!(unfounded(&node.log), [first]);
    // What a later load goes on from is there.
    node.restart(false);
    assert_eq!(unfounded(&node.log), [first]);
    let (mut node, _) = outdated();
    node.recover(|node, id| node.approve(id));
    node.log.segments.remove(0);
    let restored = node.log.places(Kind::Restored)[0];
    bad(&node.log, node.log.number(restored), "past_missing");
    assert_eq!(unfounded(&node.log), [node.epoch]);
    // The load before is there, but ends before it says what it has.
    for ends_with in [Kind::Staged, Kind::Anchored] {
        let mut node = sealed();
        node.checkpoint();
        node.restart(false);
        node.restart(false);
        node.log.segments.remove(0);
        let places = node.log.places(ends_with);
        node.log.segments[0].events.truncate(places[0].1 + 1);
        let first = node.log.number((0, 0)) >> 32;
        assert_eq!(unfounded(&node.log), [first, node.epoch], "{ends_with:?}");
    }
    // Setup goes on from nothing.
    let (mut node, _) = outdated();
    node.recover_to_setup();
    node.set_up();
    node.log.segments.remove(0);
    assert_eq!(good(&node.log).unfounded, [0u64; 0]);
}

#[test]
fn a_quote_within_a_commit_is_half_of_it() {
    let (mut node, _) = outdated();
    node.counter -= 2;
    let before = vouched(&node);
    let number = node.stage(0, 0, &[]);
    let mut staged = node.log.clone();
    node.commit(number);
    let half = Vouched {
        counter: before.counter,
        ..vouched(&node)
    };
    // Whether or not ANCHORED came into the log meanwhile.
    for log in [&staged, &node.log] {
        let history = good(log);
        assert!(history.vouch(&half).unwrap().half);
        assert!(!history.vouch(&vouched(&node)).unwrap().half);
        // A counter further behind is that of no commit.
        let older = Vouched {
            counter: half.counter - 1,
            ..half
        };
        assert!(history.vouch(&older).is_err());
        let other = Vouched {
            anchor: [7; 32],
            ..half
        };
        assert!(history.vouch(&other).is_err());
    }
    assert!(!good(&staged).vouch(&before).unwrap().half);
    assert!(good(&node.log).vouch(&before).is_err());
    // Of a commit that the log does not have.
    let segment = staged.segments.last_mut().unwrap();
    segment.events.pop();
    let fault = good(&staged).vouch(&half).unwrap_err();
    assert_eq!(fault.code, "anchor_differs");
    // A recovery begins with the same two steps.
    let (mut node, found) = outdated();
    node.begin_recovery();
    let place = node.log.segments.len() - 1;
    node.log.segments[place].events.pop();
    let half = Vouched {
        counter: found.0,
        ..vouched(&node)
    };
    assert!(good(&node.log).vouch(&half).unwrap().half);
}

#[test]
fn a_restored_load_has_a_mode() {
    let mut node = sealed();
    node.restart(false);
    let place = *node.log.places(Kind::Mode).last().unwrap();
    let mut log = node.log.clone();
    log.segments[place.0].events.remove(place.1);
    log.renumber();
    log.rechain();
    let clock = *log.places(Kind::Clock).last().unwrap();
    bad(&log, log.number(clock), "restored_order");
    let mut log = node.log;
    let copy = log.segments[place.0].events[place.1].clone();
    log.segments[place.0].events.insert(place.1, copy);
    log.renumber();
    log.rechain();
    bad(&log, log.number(place) + 1, "restored_order");
}

#[test]
fn a_node_that_recovers_does_nothing_else() {
    let mut node = sealed();
    node.checkpoint();
    node.recover(|node, id| {
        node.agent(12);
        node.approve(id);
    });
    let agent = *node.log.places(Kind::Agent).last().unwrap();
    bad(&node.log, node.log.number(agent), "node_locked");
}

/// The signed part of one vote with the signature and the reason of another.
fn splice(signed: &[u8], other: &[u8]) -> Vec<u8> {
    let length =
        |record: &[u8]| 156 + 10 * usize::from(u16::from_be_bytes([record[114], record[115]]));
    [&signed[..length(signed)], &other[length(other)..]].concat()
}

#[test]
fn a_log_cut_at_any_byte_is_torn_and_no_more() {
    let mut node = Node::new(3);
    node.add(1, "alice", 1);
    node.policy(POLICY_1);
    let bytes = node.log.bytes();
    for cut in 0..bytes.len() {
        match read(&bytes[..cut], false) {
            Ok(history) => {
                let torn: u64 = history.torn.iter().map(|(_, bytes)| bytes).sum();
                assert!(torn <= cut as u64);
            }
            Err(fault) => assert_eq!((fault.wrong.code, cut < 80), ("log_empty", true)),
        }
    }
}

#[test]
fn no_changed_byte_goes_unnoticed() {
    let mut node = sealed();
    let id = node.ask(b"/etc/hosts");
    node.vote(&id, 1, Verdict::Deny);
    node.boot_ms += 600_000;
    node.decide(&id, Kind::Expired);
    let mut bytes = node.log.bytes();
    good(&node.log);
    for at in 0..bytes.len() {
        for mask in [1, 0x80] {
            bytes[at] ^= mask;
            assert!(read(&bytes, false).is_err(), "byte {at}, {mask:#x}");
            bytes[at] ^= mask;
        }
    }
}

#[test]
fn a_log_without_its_beginning_is_refused_unless_asked_for() {
    let node = everything();
    let mut log = node.log.clone();
    let first = &mut log.segments[0];
    first.chain = first.events[9].1;
    first.events.drain(..10);
    let number = log.number((0, 0));
    bad(&log, number, "log_starts_late");
    let history = read(&log.bytes(), true).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(history.counts.partial > 0);
    let mut gap = node.log.clone();
    let events = gap.segments[0].events.split_off(20);
    let mut rest = gap.segments[0].clone();
    rest.chain = events[3].1;
    rest.events = events[4..].to_vec();
    gap.segments.insert(1, rest);
    let number = gap.number((1, 0));
    bad(&gap, number, "event_missing");
    read(&gap.bytes(), true).unwrap_or_else(|fault| panic!("{fault}"));
    // A segment that goes on where the one before ended is no gap.
    let mut split = node.log.clone();
    let events = split.segments[0].events.split_off(20);
    let mut rest = split.segments[0].clone();
    rest.chain = split.segments[0].events[19].1;
    rest.events = events;
    split.segments.insert(1, rest);
    good(&split);
}

#[test]
fn hostile_bytes_are_refused() {
    assert!(read(b"", false).is_err());
    assert!(read(b"TCPL", false).is_err());
    let bytes = everything().log.bytes();
    let mut other = bytes.clone();
    other.extend_from_slice(&[0xff; 200]);
    let fault = read(&other, false).err().unwrap();
    assert_eq!(fault.wrong.code, "log_malformed");
    let mut headless = bytes[80..].to_vec();
    headless.truncate(2000);
    let fault = read(&headless, false).err().unwrap();
    assert_eq!(fault.wrong.code, "log_malformed");
    let mut unknown = bytes;
    unknown[7] = b'2';
    let fault = read(&unknown, false).err().unwrap();
    assert_eq!(fault.wrong.code, "log_malformed");
}

// --- Byzantine validators ----------------------------------------------------------------------------------------

#[test]
fn a_history_of_a_quarantine_verifies() {
    let node = byzantine();
    let history = good(&node.log);
    let counts = history.counts;
    assert_eq!((counts.loads, counts.restored), (3, 2));
    assert_eq!((counts.quarantined, counts.readmitted), (1, 1));
    assert_eq!((counts.alerts, counts.unfitted), (2, 0));
    assert_eq!(node.log.places(Kind::Calm).len(), 1);
    // Two are denied at the quarantine, one by its own making, one by the vote that met the raised threshold.
    assert_eq!((counts.granted, counts.denied), (4, 3));
    // The quarantine is told once after the first restart.
    let places = node.log.places(Kind::Quarantined);
    assert_eq!(
        places.iter().map(|place| place.0).collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(node.log.places(Kind::Reputation).len(), 10);
}

/// The first and the last place of events of a kind.
fn first(log: &Log, kind: Kind) -> (usize, usize) {
    log.places(kind)[0]
}

/// The log with one event changed.
fn with(log: &Log, place: (usize, usize), change: impl FnOnce(&mut Vec<u8>)) -> Log {
    let mut log = log.clone();
    let mut payload = log.payload(place);
    change(&mut payload);
    log.set_payload(place, &payload);
    log.rechain();
    log
}

/// The log without the events from a place on, as many as `count`.
fn without(log: &Log, place: (usize, usize), count: usize) -> Log {
    let mut log = log.clone();
    log.segments[place.0].events.drain(place.1..place.1 + count);
    log.renumber();
    log.rechain();
    log
}

#[test]
fn forged_evidence_is_named() {
    let node = caught();
    let place = first(&node.log, Kind::Quarantined);
    let number = node.log.number(place);
    let evidence = node.log.payload(place);
    let parts = engine::evidence::Evidence::decode::<node::Sha256>(&evidence).unwrap();
    // A signature by the same key, of the other vote.
    let signature = parts.first.signature.to_vec();
    let end = evidence.len() - parts.second.signature.len() - 2;
    let forged = with(&node.log, place, |payload| {
        payload.truncate(end);
        payload.extend_from_slice(&u16::try_from(signature.len()).unwrap().to_be_bytes());
        payload.extend_from_slice(&signature);
    });
    bad(&forged, number, "evidence_forged");
    // Evidence that proves something else than is told.
    let mut log = node.log.clone();
    log.event(place)[83] = 2;
    log.rechain();
    bad(&log, number, "event_header");
    let mut log = node.log.clone();
    log.event(place)[81] = 1;
    log.rechain();
    bad(&log, number, "event_header");
    // No byte of it can be changed.
    for at in 0..evidence.len() {
        let log = with(&node.log, place, |payload| payload[at] ^= 1);
        let fault = read(&log.bytes(), false).err().unwrap();
        assert_eq!(fault.event, Some(number), "{at}: {fault}");
    }
}

#[test]
fn evidence_against_the_wrong_is_named() {
    let mut node = Node::of_five();
    let id = node.ask(b"/etc/hosts");
    let evidence = node.equivocate(&id, 4);
    let mut again = node.clone();
    let number = again.record_quarantine(4, &evidence);
    bad(&again.log, number, "evidence_known");
    // Somebody who is not enrolled has two opinions.
    let mut stranger = Node::of_five();
    let id = stranger.ask(b"/etc/hosts");
    let clock = {
        let mut clock = engine::clock::NodeClock::new();
        assert!(clock.next_vote(1, stranger.requests[&id].created));
        clock
    };
    let [a, b] = [Verdict::Approve, Verdict::Deny]
        .map(|verdict| stranger.signed(&id, "mallory", verdict, &clock, ""));
    let evidence = stranger.evidence("mallory", &a, &b);
    let number = stranger.record_quarantine(1, &evidence);
    bad(&stranger.log, number, "evidence_unknown");
}

#[test]
fn evidence_of_before_a_readmission_is_named() {
    let mut node = caught();
    let evidence = node.log.payload(first(&node.log, Kind::Quarantined));
    node.boot_ms += 900_000;
    let readmitted = node.readmit_by_quorum(4);
    good(&node.log);
    let mut framed = node.clone();
    let number = framed.record_quarantine(4, &evidence);
    bad(&framed.log, number, "evidence_expired");
    // It is known after a restart, too.
    node.checkpoint();
    node.restart(false);
    let mut framed = node.clone();
    let number = framed.record_quarantine(4, &evidence);
    bad(&framed.log, number, "evidence_expired");
    // A new fault is one.
    node.agent(9);
    let id = node.ask(b"/etc/hosts");
    node.equivocate(&id, 4);
    good(&node.log);
    assert!(readmitted < last(&node));
}

#[test]
fn what_follows_from_a_quarantine_stands_beside_it() {
    let node = caught();
    let denied = first(&node.log, Kind::Denied);
    let number = node.log.number(denied);
    bad(&without(&node.log, denied, 1), number, "decision_missing");
    let ended = *node.log.places(Kind::GrantEnded).last().unwrap();
    let number = node.log.number(ended);
    bad(&without(&node.log, ended, 1), number, "end_missing");
    // In their order.
    let mut log = node.log.clone();
    log.segments[0].events.swap(denied.1, ended.1);
    log.renumber();
    log.rechain();
    bad(&log, log.number(denied), "decision_missing");
    // A grant that is backed does not end so.
    let mut node = Node::of_five();
    let id = node.ask(b"/etc/hosts");
    node.approve_by(&id, 5);
    node.record(node.about(&id, Kind::GrantEnded, 6), &[]);
    bad(&node.log, last(&node), "grant_ended");
}

#[test]
fn a_quarantined_validator_does_not_count() {
    let mut node = caught();
    node.boot_ms += 900_000;
    node.lies.toothless = true;
    let id = node.ask(b"/etc/hosts");
    node.vote(&id, 1, Verdict::Approve);
    let mut held = node.clone();
    node.vote(&id, 4, Verdict::Approve);
    bad(&node.log, last(&node), "vote_quarantined");
    let paper = held.ballot_paper(&id, 4, Verdict::Approve);
    let number = held.hold(&id, 4, Verdict::Approve, &paper);
    bad(&held.log, number, "vote_quarantined");
    // Its vote is not taken back.
    let mut node = Node::of_five();
    let id = node.ask(b"/etc/hosts");
    node.lies.toothless = true;
    node.lies.silent = true;
    node.lies.lenient = true;
    node.equivocate(&id, 4);
    for slot in 1..=3 {
        node.lies.silent = false;
        node.vote(&id, slot, Verdict::Approve);
    }
    let voted = node.log.places(Kind::Vote)[1];
    // Already the next vote makes approval impossible.
    bad(&node.log, node.log.number(voted) + 1, "decision_missing");
}

#[test]
fn a_tally_that_is_not_the_sum_is_named() {
    let node = caught();
    let place = *node.log.places(Kind::Denied).last().unwrap();
    let number = node.log.number(place);
    for (at, code) in [
        (7, "tally_wrong"),
        (15, "tally_wrong"),
        // The denominator shrinks by what is quarantined.
        (23, "tally_wrong"),
        (31, "tally_wrong"),
        (33, "threshold_wrong"),
    ] {
        let log = with(&node.log, place, |payload| payload[at] ^= 2);
        bad(&log, number, code);
    }
}

#[test]
fn alerts_are_computed_anew() {
    let node = caught();
    // The alert is left out, and everything else is as if it was not.
    let mut silent = Node::of_five();
    let id = silent.ask(b"/etc/hosts");
    silent.lies.silent = true;
    silent.equivocate(&id, 4);
    silent.ask(b"/etc/group");
    let request = *silent.log.places(Kind::Request).last().unwrap();
    bad(&silent.log, silent.log.number(request), "alert_missing");
    // It never ends, or too early, or comes from nowhere.
    let mut late = node.clone();
    late.boot_ms += 900_000;
    late.lies.silent = true;
    late.ask(b"/etc/issue");
    let request = *late.log.places(Kind::Request).last().unwrap();
    bad(&late.log, late.log.number(request), "calm_missing");
    let mut early = node.clone();
    early.boot_ms += 300_000;
    let number = early.turn(Turn::Calm(Reason::Evidence));
    bad(&early.log, number, "calm_wrongly");
    for reason in [Reason::Evidence, Reason::Burst, Reason::Silence] {
        let mut node = node.clone();
        let number = node.turn(Turn::Alert(reason));
        bad(&node.log, number, "alert_wrongly");
    }
    // WATCH follows ALERT, CALM and POLICY, and nothing else.
    for kind in [Kind::Alert, Kind::Policy] {
        let (segment, at) = first(&node.log, kind);
        let log = without(&node.log, (segment, at + 1), 1);
        bad(&log, log.number((segment, at + 1)), "watch_missing");
    }
    let watch = node.log.payload(first(&node.log, Kind::Watch));
    let mut again = node.clone();
    let number = again.record(again.header(Kind::Watch, 0), &watch);
    bad(&again.log, number, "watch_misplaced");
}

#[test]
fn windows_are_those_of_the_policy() {
    let node = caught();
    let places = node.log.places(Kind::Watch);
    for (name, at) in [("raise", 1), ("ceiling", 3), ("missing", 5), ("burst", 7)] {
        for place in [places[0], places[1]] {
            let log = with(&node.log, place, |payload| payload[at] ^= 1);
            let fault = bad(&log, log.number(place), "watch_differs");
            assert!(fault.wrong.found.contains("raise"), "{name}: {fault}");
        }
        // Without the policy's text it is known that a policy has one of each.
        let log = with(&node.log, places[1], |payload| payload[at] ^= 1);
        let mut history = History::new(Texts::new(), false);
        match history.read("log", &log.bytes()[..], |_, _| {}) {
            Err(Stop::Fault(fault)) => assert_eq!(fault.wrong.code, "watch_differs"),
            _ => panic!("{name} was not noticed"),
        }
    }
    // Ten minutes, one and ten, each at most a quarter longer; one millisecond less, or one more.
    for (at, shortest) in [(8, 600_000u32), (12, 60_000), (16, 600_000)] {
        for (ms, fits) in [
            (shortest, true),
            (shortest - 1, false),
            (shortest + shortest / 4, true),
            (shortest + shortest / 4 + 1, false),
        ] {
            let place = places[0];
            let mut log = with(&node.log, place, |payload| {
                payload[at..at + 4].copy_from_slice(&ms.to_be_bytes());
            });
            log.segments[0].events.truncate(place.1 + 1);
            match fits {
                true => drop(good(&log)),
                false => drop(bad(&log, log.number(place), "watch_differs")),
            }
        }
    }
}

#[test]
fn a_threshold_that_was_not_raised_is_named() {
    let mut node = Node::of_five();
    for _ in 0..16 {
        node.refuse(Refusal::VoteForged);
    }
    node.lies.lenient = true;
    let id = node.ask(b"/etc/hosts");
    for slot in 1..=4 {
        node.vote(&id, slot, Verdict::Approve);
    }
    let granted = *node.log.places(Kind::Granted).last().unwrap();
    bad(&node.log, node.log.number(granted), "threshold_wrong");
    // The tally lies about the threshold.
    let log = with(&node.log, granted, |payload| {
        payload[32..34].copy_from_slice(&9000u16.to_be_bytes());
    });
    bad(&log, log.number(granted), "threshold_not_met");
    // Fifteen are no burst.
    let mut node = Node::of_five();
    for _ in 0..15 {
        node.refuse(Refusal::VoteForged);
    }
    let id = node.ask(b"/etc/hosts");
    node.approve_by(&id, 5);
    assert_eq!(good(&node.log).counts.alerts, 0);
}

#[test]
fn what_is_restored_is_as_bad_as_it_was() {
    let mut node = caught();
    node.checkpoint();
    node.restart(false);
    good(&node.log);
    let eve = *node.log.places(Kind::Reputation).last().unwrap();
    let number = node.log.number(eve);
    let log = with(&node.log, eve, |payload| payload[..2].fill(0));
    bad(&log, number, "restored_reputation");
    // Bias, agreed, disagreed.
    for at in [3, 11, 19] {
        let log = with(&node.log, eve, |payload| payload[at] ^= 1);
        bad(&log, number, "restored_reputation");
    }
    let log = without(&node.log, eve, 1);
    let clock = *log.places(Kind::Clock).last().unwrap();
    bad(&log, log.number(clock), "restored_reputation");
    let quarantined = node.log.places(Kind::Quarantined)[1];
    let log = without(&node.log, quarantined, 1);
    let clock = *log.places(Kind::Clock).last().unwrap();
    bad(&log, log.number(clock), "restored_quarantine");
    // Once, and of what was there.
    let mut log = node.log.clone();
    let copy = log.segments[1].events[quarantined.1].clone();
    log.segments[1].events.insert(quarantined.1, copy);
    log.renumber();
    log.rechain();
    bad(&log, log.number(quarantined) + 1, "restored_order");
    let mut other = node.clone();
    other.restart(false);
    let mut framed = Node::of_five();
    let id = framed.ask(b"/etc/hosts");
    let evidence = framed.equivocate(&id, 5);
    framed.quarantines.clear();
    framed.checkpoint();
    framed.lies.silent = true;
    let eve = Key::new("eve").id;
    let record = engine::quarantine::Record::new(&eve, 5, 1);
    framed.quarantines.insert(eve, (record, evidence.clone()));
    framed.restart(false);
    good(&framed.log);
    let place = framed.log.places(Kind::Quarantined)[1];
    let log = with(&framed.log, place, |payload| {
        *payload = other.log.payload(quarantined);
    });
    let fault = read(&log.bytes(), false).err().unwrap();
    assert_eq!(fault.wrong.code, "restored_quarantine", "{fault}");
    // REPUTATION belongs to a restore.
    let kept = engine::reputation::Kept::PRISTINE;
    let header = engine::event::Header {
        slot: 1,
        ..node.header(Kind::Reputation, 0)
    };
    let number = node.record(header, &encode(&Payload::Reputation(kept)));
    bad(&node.log, number, "restored_order");
}

#[test]
fn a_readmission_without_its_quorum_is_named() {
    let mut node = caught();
    let mut alone = node.clone();
    alone.start_over();
    let number = alone.readmit(4);
    bad(&alone.log, number, "not_anchored");
    node.boot_ms += 900_000;
    let payload = {
        let place = node.log.places(Kind::ValidatorAdded)[3];
        node.log.payload(place)
    };
    let number = node.stage(Kind::Readmitted as u16, 0, &payload);
    bad(&node.log, number, "not_granted");
    // Who is not quarantined cannot be readmitted; in setup root decides.
    let mut node = Node::new(3);
    for (slot, name) in (1..).zip(["alice", "bob", "carol", "dave"]) {
        node.add(slot, name, 2);
    }
    node.policy(POLICY_1);
    let mut trusted = node.clone();
    let number = trusted.readmit(4);
    bad(&trusted.log, number, "validator_trusted");
    node.agent(9);
    let id = node.ask(b"/etc/hosts");
    node.equivocate(&id, 4);
    node.start_over();
    // Removal does not help.
    let mut renewed = node.clone();
    renewed.remove(4);
    let number = renewed.add(5, "dave", 2);
    bad(&renewed.log, number, "validator_quarantined");
    node.readmit(4);
    assert_eq!(good(&node.log).counts.readmitted, 1);
    node.remove(4);
    node.add(5, "dave", 2);
    good(&node.log);
}

/// Reasons of the alerts in a log, in their order.
fn alerts(node: &Node) -> Vec<u8> {
    let places = node.log.places(Kind::Alert);
    let event = |place: &(usize, usize)| &node.log.segments[place.0].events[place.1].0;
    places.iter().map(|place| event(place)[83]).collect()
}

#[test]
fn silence_is_heard_and_does_not_raise_governance() {
    let mut node = Node::of_five();
    for path in [&b"/etc/a"[..], b"/etc/b", b"/etc/c"] {
        let id = node.ask(path);
        node.vote(&id, 1, Verdict::Approve);
        node.vote(&id, 2, Verdict::Approve);
        node.boot_ms += 600_000;
        node.decide(&id, Kind::Expired);
    }
    let raised = node.ask(b"/etc/hosts");
    assert_eq!(alerts(&node), [3]);
    let governed = node.ask_policy(POLICY_2);
    for id in [&raised, &governed] {
        node.approve_by(id, 5);
    }
    assert!(node.requests[&raised].is_open);
    assert!(!node.requests[&governed].is_open);
    good(&node.log);
    // When Eve is back, it ends.
    node.vote(&raised, 5, Verdict::Approve);
    assert!(!node.requests[&raised].is_open);
    node.boot_ms += 900_000;
    let later = node.ask(b"/etc/hosts.deny");
    assert_eq!(node.log.places(Kind::Calm).len(), 1);
    node.approve_by(&later, 5);
    assert!(!node.requests[&later].is_open);
    good(&node.log);
}

#[test]
fn suspicion_is_computed_from_every_decision() {
    let mut node = Node::of_five();
    let mut decisions = 0u32;
    while alerts(&node).is_empty() {
        decisions += 1;
        assert!(decisions < 200, "Eve may disagree for ever");
        let id = node.ask(format!("/etc/{decisions}").as_bytes());
        node.vote(&id, 5, Verdict::Deny);
        node.approve_by(&id, 5);
        if alerts(&node).is_empty() {
            node.spend(&id);
            node.spend(&id);
        }
        node.boot_ms += 120_000;
    }
    assert_eq!(alerts(&node), [4]);
    good(&node.log);
    // A decision more or less, and it comes at another time.
    let place = first(&node.log, Kind::Alert);
    let early = without(&node.log, place, 2);
    bad(&early, early.number(place), "alert_missing");
    node.checkpoint();
    node.restart(false);
    let history = good(&node.log);
    assert_eq!(history.counts.alerts, 1);
    assert!(node.reputations[&5].score < 5000);
}

/// Dave's vote, and one that he signed before it and that regresses against it, as the network may deliver them.
fn regressing(node: &mut Node) -> ([u8; 32], [u8; 32], Vec<u8>) {
    let first = node.ask(b"/etc/hosts");
    let second = node.ask(b"/etc/group");
    // It claims a vote of Alice that this node has not seen, and then comes one that does not.
    let mut clock = node.validators[&4].last.clone();
    assert!(clock.next_vote(4, node.requests[&second].created));
    assert!(clock.set(1, node.validators[&1].last.get(1) + 1));
    let early = node.signed(&second, "dave", Verdict::Approve, &clock, "");
    (first, second, early)
}

#[test]
fn a_contradiction_that_the_node_lets_pass_is_named() {
    // A vote that is held contradicts one that was accepted: it has a smaller entry.
    let mut node = Node::of_five();
    let (first, second, _) = regressing(&mut node);
    node.vote(&first, 4, Verdict::Approve);
    let mut clock = node.validators[&4].last.clone();
    assert!(clock.set(1, 1));
    // The same own entry, and another request: a fork. The kernel refuses it as too old, and quarantines Dave.
    let fork = node.signed(&second, "dave", Verdict::Approve, &clock, "");
    let mut wrong = node.clone();
    let number = wrong.hold(&second, 4, Verdict::Approve, &fork);
    bad(&wrong.log, number, "clock_not_later");
    // Two that are held contradict each other.
    let mut node = Node::of_five();
    let (first, second, early) = regressing(&mut node);
    node.hold(&second, 4, Verdict::Approve, &early);
    let mut clock = node.validators[&4].last.clone();
    assert!(clock.next_vote(4, node.requests[&first].created));
    assert!(clock.set(2, 1));
    let other = node.signed(&first, "dave", Verdict::Approve, &clock, "");
    let mut two = deaf(&node);
    let number = two.hold(&first, 4, Verdict::Approve, &other);
    bad(&two.log, number, "contradiction_missed");
    let mut two = node.clone();
    two.hold(&first, 4, Verdict::Approve, &other);
    convicted(&two);
    // A vote is accepted that a held one contradicts.
    let mut wrong = deaf(&node);
    wrong.vote(&first, 4, Verdict::Approve);
    bad(&wrong.log, last(&wrong), "contradiction_missed");
    node.vote(&first, 4, Verdict::Approve);
    convicted(&node);
}

/// The same node, which compares no vote with those that are held.
fn deaf(node: &Node) -> Node {
    let mut node = node.clone();
    node.lies.deaf = true;
    node
}

/// Demands that the second of two votes of Dave was refused, and Dave quarantined.
#[track_caller]
fn convicted(node: &Node) {
    let counts = good(&node.log).counts;
    assert_eq!((counts.held, counts.votes, counts.quarantined), (1, 0, 1));
}

#[test]
fn a_held_vote_is_compared_for_as_long_as_it_is_certainly_held() {
    let mut node = Node::of_five();
    let (first, second, early) = regressing(&mut node);
    node.hold(&second, 4, Verdict::Approve, &early);
    // VOTE is stamped 10 ms after what comes before it.
    let expires_ms = node.requests[&second].expires_ms - 10;
    for (ms, code) in [
        (expires_ms - 10_000, Some("contradiction_missed")),
        (expires_ms - 9_999, None),
        (expires_ms, None),
    ] {
        let mut node = deaf(&node);
        node.boot_ms = ms;
        node.vote(&first, 4, Verdict::Approve);
        let found = read(&node.log.bytes(), false).err();
        assert_eq!(found.map(|fault| fault.wrong.code), code, "{ms}");
    }
    // The request is withdrawn, so the vote on it is let go.
    let mut withdrawn = node.clone();
    withdrawn.record(withdrawn.about(&second, Kind::Cancelled, 1), &[]);
    withdrawn.requests.get_mut(&second).unwrap().is_open = false;
    withdrawn.vote(&first, 4, Verdict::Approve);
    assert_eq!(good(&withdrawn.log).counts.votes, 1);
    // A later vote overtakes it: then the verdict may be another one.
    node.vote(&first, 1, Verdict::Approve);
    let mut clock = node.validators[&4].last.clone();
    assert!(clock.set(4, 1));
    assert!(clock.next_vote(4, node.requests[&first].created));
    assert!(clock.set(NODE_SLOT, node.requests[&second].created));
    assert!(clock.set(1, 1));
    let later = node.signed(&first, "dave", Verdict::Approve, &clock, "");
    node.cast(&first, 4, Verdict::Approve, &later);
    node.vote(&second, 4, Verdict::Deny);
    assert_eq!(good(&node.log).counts.votes, 3);
}

#[test]
fn what_a_readmitted_validator_said_before_is_forgotten() {
    let mut node = Node::of_five();
    let first = node.ask(b"/etc/hosts");
    let before = node.ballot_paper(&first, 4, Verdict::Approve);
    let second = node.ask(b"/etc/group");
    // The same own entry on another request: a fork.
    let fork = node.ballot_paper(&second, 4, Verdict::Approve);
    let [before, after] = [&before, &fork].map(|record| VoteRecord::decode(record).unwrap());
    let mut said = Said::default();
    said.accept(node.boot_ms, &before).unwrap();
    let fault = said.hold(node.boot_ms, &after, &fork).unwrap_err();
    assert_eq!(fault.code, "contradiction_missed");
    said.forget(4);
    said.hold(node.boot_ms, &after, &fork).unwrap();
    // Held votes are forgotten, too, and other validators are not.
    assert!(said.accept(node.boot_ms, &before).is_err());
    said.forget(5);
    assert!(said.accept(node.boot_ms, &before).is_err());
    said.forget(4);
    said.accept(node.boot_ms, &before).unwrap();

    // Whoever comes back votes, and is held, as everybody does.
    let mut node = caught();
    node.boot_ms += 900_000;
    node.readmit_by_quorum(4);
    let (first, second, early) = regressing(&mut node);
    node.hold(&second, 4, Verdict::Approve, &early);
    good(&node.log);
    let mut wrong = deaf(&node);
    wrong.vote(&first, 4, Verdict::Approve);
    bad(&wrong.log, last(&wrong), "contradiction_missed");
}

#[test]
fn a_log_with_gaps_has_its_evidence_verified() {
    let node = caught();
    let place = first(&node.log, Kind::Quarantined);
    let cut = |log: &Log| {
        let mut log = log.clone();
        let segment = &mut log.segments[0];
        segment.chain = segment.events[9].1;
        segment.events.drain(..10);
        log
    };
    let history = read(&cut(&node.log).bytes(), true).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!((history.counts.quarantined, history.counts.alerts), (1, 0));
    let number = node.log.number(place);
    let forged = with(&node.log, place, |payload| {
        let at = payload.len() - 1;
        payload[at] ^= 1;
    });
    let fault = read(&cut(&forged).bytes(), true).err().unwrap();
    assert_eq!(
        (fault.wrong.code, fault.event),
        ("evidence_forged", Some(number))
    );
    // A load that goes on from nobody knows what: its quarantine and reputations are taken as told.
    let mut node = byzantine();
    node.log.segments.remove(0);
    let epochs = unfounded(&node.log);
    assert_eq!(epochs.len(), 1);
}

/// The log with another header on one event.
fn headed(log: &Log, place: (usize, usize), change: impl FnOnce(&mut Header)) -> Log {
    let mut log = log.clone();
    let payload = log.payload(place);
    let mut header = Event::decode(log.event(place)).unwrap().header;
    change(&mut header);
    let mut bytes = vec![0; 92 + payload.len()];
    Event {
        header,
        payload: &payload,
    }
    .encode(&mut bytes)
    .unwrap();
    *log.event(place) = bytes;
    log.rechain();
    log
}

/// Demands that the last event is named.
#[track_caller]
fn bad_last(node: &Node, code: &str) {
    bad(&node.log, last(node), code);
}

#[test]
fn an_enrolment_that_no_node_makes_is_named() {
    let mut node = Node::new(3);
    node.add(1, "alice", 1);
    node.add(2, "bob", u32::MAX - 1);
    let mut again = node.clone();
    again.add(3, "bob", 1);
    bad_last(&again, "validator_duplicate");
    let mut heavy = node.clone();
    heavy.add(3, "carol", 1);
    bad_last(&heavy, "validator_weight");
    let mut back = node.clone();
    back.remove(1);
    back.add(1, "carol", 1);
    bad_last(&back, "validator_slot");
    let place = *node.log.places(Kind::ValidatorAdded).last().unwrap();
    let off = with(&node.log, place, |payload| {
        *payload.last_mut().unwrap() ^= 1
    });
    bad(&off, last(&node), "validator_key");
    let mut gone = node.clone();
    gone.validators.get_mut(&1).unwrap().weight = 7;
    gone.remove(1);
    bad_last(&gone, "validator_unknown");
}

#[test]
fn a_load_that_begins_as_none_does_is_named() {
    let start = first_number(3) + 1;
    let mut node = Node::new(3);
    node.add(1, "alice", 1);
    bad(&without(&node.log, (0, 0), 1), start, "loaded_missing");
    let unsealed = headed(&node.log, (0, 0), |header| header.result = 1);
    bad(&unsealed, start, "epoch");
    let mut without_epoch = Node::new(0).log;
    without_epoch.segments[0].chain = [1; 32];
    without_epoch.rechain();
    bad(&without_epoch, 1, "genesis");
    node.plain(Kind::Loaded, 2, &Payload::Loaded { version: "0.1.0" });
    bad_last(&node, "loaded_again");
    let early = headed(&sealed().log, (0, 2), |header| header.boot_ms = 1);
    bad(&early, start + 2, "time_backwards");
}

#[test]
fn a_segment_that_does_not_follow_is_named() {
    let node = sealed();
    let mut again = node.log.clone();
    again.segments.push(node.log.segments[0].clone());
    again.segments[1].events.remove(0);
    again.segments[1].chain = [7; 32];
    again.rechain();
    bad(&again, first_number(3) + 2, "event_repeated");
    let mut cut = node.log.clone();
    let mut rest = cut.segments[0].clone();
    rest.events = cut.segments[0].events.split_off(3);
    rest.chain = [7; 32];
    cut.segments.push(rest);
    cut.rechain();
    bad(&cut, first_number(3) + 4, "chain_broken");
}

#[test]
fn setup_that_is_no_setup_is_named() {
    let nothing = Payload::Sealed {
        policy: &[0; 32],
        total: 0,
    };
    let mut node = Node::new(0);
    node.plain(Kind::Sealed, 0, &nothing);
    bad_last(&node, "sealed_differs");
    let mut node = Node::new(0);
    node.policy(POLICY_1);
    node.seal();
    bad_last(&node, "sealed_differs");
    node.add(1, "alice", 1);
    let mut node = Node::new(0);
    node.set_up();
    node.seal();
    bad_last(&node, "not_granted");
    let mut node = Node::new(0);
    node.policy(POLICY_2);
    let number = node.policy(POLICY_1);
    bad(&node.log, number, "policy_version");
    // Nothing is kept of a node without a TPM, and nothing before it is sealed.
    let mut node = Node::new(0);
    let number = node.stage(0, 0, &[]);
    bad(&node.log, number, "staged_unsealed");
    let mut node = Node::new(3);
    let number = node.stage(0, 0, &[]);
    bad(&node.log, number, "staged_misplaced");
    let mut node = Node::new(3);
    node.add(1, "alice", 1);
    let asked = |node: &mut Node| {
        let facts = [Fact::Path(b"/etc/x"), Fact::Hook(b"file_open")];
        node.policy = Some(POLICY_1);
        node.request(
            Op::FileWrite,
            9,
            node::LINE,
            (7500, 300, 2),
            &[0; 32],
            &facts,
        );
    };
    asked(&mut node);
    bad_last(&node, "request_policy");
    let mut node = Node::new(3);
    node.policy(POLICY_1);
    node.ask(b"/etc/hosts");
    bad_last(&node, "request_threshold");
}

#[test]
fn the_last_validator_of_a_sealed_node_stays() {
    let mut node = Node::new(0);
    node.add(1, "alice", 1);
    node.policy(POLICY_1);
    node.seal();
    let id = node.ask_detail(&Detail::RemoveValidator { name: "alice" });
    node.vote(&id, 1, Verdict::Approve);
    node.spend(&id);
    node.remove(1);
    bad_last(&node, "no_validators");
}

#[test]
fn enrolling_and_unloading_by_quorum_verify() {
    let mut node = Node::new(0);
    node.set_up();
    let erin = Key::new("erin");
    let id = node.ask_detail(&Detail::AddValidator {
        weight: 2,
        name: "erin",
        key: &erin.public,
    });
    node.approve(&id);
    node.spend(&id);
    let mut other = node.clone();
    other.add(5, "erin", 3);
    bad_last(&other, "not_granted");
    node.add(5, "erin", 2);
    let id = node.ask_detail(&Detail::Unload);
    for slot in [1, 2, 3, 5] {
        node.vote(&id, slot, Verdict::Approve);
    }
    node.spend(&id);
    node.record(node.header(Kind::Unpinned, 0), &[]);
    assert_eq!(good(&node.log).counts.governance, 2);
    node.record(node.header(Kind::Unpinned, 0), &[]);
    bad_last(&node, "not_granted");
}

#[test]
fn what_begins_a_load_in_the_middle_of_one_is_named() {
    let mut before = sealed();
    before.restart(false);
    let restored = before.log.payload(first(&before.log, Kind::Restored));
    let mut node = sealed();
    node.record(node.header(Kind::Restored, 3), &restored);
    bad_last(&node, "restored_misplaced");
    let mut anew = sealed();
    anew.recover_to_setup();
    let place = first(&anew.log, Kind::Recovered);
    let recovered = anew.log.payload(place);
    let mut node = Node::new(3);
    node.add(1, "alice", 1);
    node.record(
        node.header(Kind::Recovered, Refusal::StateMissing.code()),
        &recovered,
    );
    bad_last(&node, "recovered_misplaced");
    let ahead = with(&anew.log, place, |payload| payload[0] = 1);
    bad(&ahead, anew.log.number(place), "counter_skipped");
    let place = *before.log.places(Kind::Clock).last().unwrap();
    let clock = before.log.payload(place);
    let mut node = sealed();
    node.record(node.header(Kind::Clock, 0), &clock);
    bad_last(&node, "restored_order");
    let ahead = with(&before.log, place, |payload| payload[4] = 0x7f);
    bad(&ahead, before.log.number(place), "restored_clock");
}

#[test]
fn a_request_that_no_node_makes_is_named() {
    let mut node = sealed();
    node.ask(b"/etc/hosts");
    let place = *node.log.places(Kind::Request).last().unwrap();
    let forge = |at: usize, bytes: &[u8], code: &str| {
        let mut log = with(&node.log, place, |payload| {
            payload[at..at + bytes.len()].copy_from_slice(bytes);
        });
        let id = sha256(&log.payload(place));
        log.event(place)[48..80].copy_from_slice(&id);
        log.rechain();
        bad(&log, node.log.number(place), code);
    };
    // It is made after it is recorded; it has ended when it is made; it is open for more than a day.
    forge(72, &u64::MAX.to_be_bytes(), "request_times");
    forge(80, &[0; 8], "request_times");
    forge(80, &(1u64 << 40).to_be_bytes(), "request_times");
    // No rule of the policy is in that line.
    let mut node = sealed();
    let facts = [Fact::Path(b"/etc/x"), Fact::Hook(b"file_open")];
    node.request(Op::FileWrite, 9, 3, (7500, 300, 2), &[0; 32], &facts);
    bad_last(&node, "terms_wrong");
    let mut node = sealed();
    for number in 0..=engine::limits::REQUESTS {
        node.ask(format!("/etc/{number}").as_bytes());
    }
    bad_last(&node, "request_limit");
    let mut node = sealed();
    for _ in 0..=engine::limits::GOVERNANCE_REQUESTS {
        let name = format!("x{}", node.boot_ms);
        node.ask_detail(&Detail::RemoveValidator { name: &name });
    }
    bad_last(&node, "request_limit");
}

#[test]
fn the_end_of_what_is_not_there_is_named() {
    let mut node = sealed();
    let id = node.ask(b"/etc/hosts");
    node.approve(&id);
    let granted = node.clone();
    let ends = |result: u16, code: &str| {
        let mut node = granted.clone();
        node.record(node.about(&id, Kind::GrantEnded, result), &[]);
        bad_last(&node, code);
    };
    // Two uses are left.
    ends(3, "grant_ended");
    let mut node = granted.clone();
    node.record(node.about(&id, Kind::GrantEnded, 1), &[]);
    node.record(node.about(&id, Kind::GrantEnded, 1), &[]);
    bad_last(&node, "grant_unknown");
    // What a change ends, the change must follow.
    for (result, kind) in [(4, Kind::GrantEnded), (5, Kind::GrantEnded)] {
        let mut node = granted.clone();
        node.record(node.about(&id, kind, result), &[]);
        node.agent(10);
        bad_last(&node, "change_missing");
    }
    let mut node = granted.clone();
    node.decide(&id, Kind::Expired);
    bad_last(&node, "request_not_open");
    // Nobody's agent has asked for a change of the mode.
    let mut node = sealed();
    let id = node.ask_detail(&Detail::Mode(engine::governance::Mode::Permissive));
    node.record(node.about(&id, Kind::Cancelled, 4), &[]);
    bad_last(&node, "cancelled_wrongly");
    // What an agent's end ends, it must follow.
    let mut node = sealed();
    node.agent(9);
    let id = node.ask(b"/etc/hosts");
    node.record(node.about(&id, Kind::Cancelled, 4), &[]);
    node.checkpoint();
    let place = *node.log.places(Kind::Staged).last().unwrap();
    bad(&node.log, node.log.number(place), "change_missing");
}

#[test]
fn a_vote_held_although_all_of_its_causes_are_here_is_named() {
    let mut node = sealed();
    let id = node.ask(b"/etc/hosts");
    let vote = node.ballot_paper(&id, 1, Verdict::Approve);
    node.hold(&id, 1, Verdict::Approve, &vote);
    bad_last(&node, "held_wrongly");
}

#[test]
fn a_log_that_was_never_anchored_vouches_for_nothing() {
    let mut node = Node::new(3);
    node.add(1, "alice", 1);
    let reached = good(&node.log).vouch(&vouched(&node)).map(|at| at.tail);
    let wrong = reached.unwrap_err();
    assert_eq!(
        (wrong.code, wrong.found.as_str()),
        ("log_truncated", "the log has no ANCHORED event")
    );
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]

    #[test]
    fn no_changed_byte_of_a_long_history_goes_unnoticed(at in 0usize..1 << 20, mask in 1u8..) {
        static BYTES: std::sync::OnceLock<[Vec<u8>; 2]> = std::sync::OnceLock::new();
        for bytes in BYTES.get_or_init(|| [everything().log.bytes(), byzantine().log.bytes()]) {
            let mut changed = bytes.clone();
            let at = at % changed.len();
            changed[at] ^= mask;
            proptest::prop_assert!(read(&changed, false).is_err());
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        let _ = read(&bytes, true);
        let mut headed = b"TCPLLOG1".to_vec();
        headed.extend_from_slice(&bytes);
        let _ = read(&headed, true);
    }
}
