// SPDX-License-Identifier: GPL-2.0

//! `tcpctl audit verify` as an auditor meets it, and the same logs before an auditor that shares no code with it.

mod history;

use std::{
    fs,
    os::{
        fd::OwnedFd,
        unix::net::UnixStream, //
    },
    path::{
        Path,
        PathBuf, //
    },
    process::{
        Command,
        Output,
        Stdio, //
    }, //
};

use engine::{
    event::Kind,
    quorum::Verdict,
    refusal::Refusal,
    watch::{
        Reason,
        Turn, //
    }, //
};
use serde_json::{
    json,
    Value, //
};
use tempfile::TempDir;

use history::{
    byzantine,
    caught,
    everything,
    sha256,
    Log,
    Node,
    POLICY_1,
    POLICY_2, //
};

const NONCE: [u8; 32] = [0x4e; 32];

/// The files of an audit, in a directory of their own.
struct Case {
    dir: TempDir,
    node: Node,
}

impl Case {
    fn new(node: Node) -> Self {
        let case = Self {
            dir: tempfile::tempdir().unwrap(),
            node,
        };
        case.write("node.log", &case.node.log.bytes());
        case.write("quote.json", case.node.quote(&NONCE).to_string().as_bytes());
        case.write("one.policy", POLICY_1.as_bytes());
        case.write("two.policy", POLICY_2.as_bytes());
        case
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.dir.path().join(name), bytes).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tcpctl"))
            .args(["audit", "verify"])
            .args(arguments)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs it with the quote and more, and returns the exit code and what `--json` prints.
    fn quoted(&self, more: &[&str]) -> (Option<i32>, Value) {
        let nonce = hex::encode(NONCE);
        let node = hex::encode(self.node.id);
        let mut arguments = vec!["--json", "node.log", "--quote", "quote.json"];
        arguments.extend(["--nonce", &nonce, "--node", &node]);
        arguments.extend(more);
        let output = self.run(&arguments);
        let text = if output.stdout.is_empty() {
            &output.stderr
        } else {
            &output.stdout
        };
        let value = serde_json::from_slice(text).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(text));
        });
        (output.status.code(), value)
    }
}

#[test]
fn a_true_log_is_verified_and_what_was_not_checked_is_said() {
    let case = Case::new(everything());
    let (code, value) = case.quoted(&["--policy", "one.policy", "--policy", "two.policy"]);
    assert_eq!((code, &value["ok"]), (Some(0), &json!(true)), "{value}");
    assert_eq!(value["not_anchored"], 3);
    assert_eq!(value["loads"], 2);
    assert_eq!(value["terms"], value["requests"]);
    assert_eq!(value["anchored"]["counter"], case.node.counter);
    assert_eq!(value["anchored"]["anchor"], hex::encode(case.node.anchor));
    let unchecked = value["not_checked"].to_string();
    assert!(!unchecked.contains("--quote"), "{unchecked}");

    let output = case.run(&["node.log"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.starts_with("verified\n"), "{text}");
    for part in ["NOT checked", "--quote", "--policy", "not yet anchored"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn the_key_may_be_given_instead_of_the_name() {
    let case = Case::new(everything());
    let point = history::Key::new("attestation").public;
    let key = p256::PublicKey::from_sec1_bytes(&point).unwrap();
    let pem = p256::pkcs8::EncodePublicKey::to_public_key_pem(&key, p256::pkcs8::LineEnding::LF);
    case.write("ak.pem", pem.unwrap().as_bytes());
    let nonce = hex::encode(NONCE);
    let quote = ["node.log", "--quote", "quote.json", "--nonce", &nonce];
    let output = case.run(&[&quote[..], &["--ak", "ak.pem"]].concat());
    assert!(output.status.success());
    // A quote that nobody's key is known of proves nothing.
    assert_eq!(case.run(&quote).status.code(), Some(2));
}

#[test]
fn a_quote_that_is_stale_or_anothers_is_refused() {
    let case = Case::new(everything());
    let node = hex::encode(case.node.id);
    for (nonce, node, code) in [
        ("00".repeat(32), node, "quote_nonce"),
        (hex::encode(NONCE), "11".repeat(32), "quote_other_key"),
    ] {
        let output = case.run(&[
            "--json",
            "node.log",
            "--quote",
            "quote.json",
            "--nonce",
            &nonce,
            "--node",
            &node,
        ]);
        assert_eq!(output.status.code(), Some(1));
        let error: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error["error"], code);
    }
}

#[test]
fn a_truncated_log_fails_against_the_quote() {
    let mut case = Case::new(everything());
    let last = case.node.log.segments.len() - 1;
    case.node.log.segments.truncate(last);
    case.write("node.log", &case.node.log.bytes());
    let (code, value) = case.quoted(&[]);
    assert_eq!(code, Some(1));
    assert_eq!(value["error"], "log_truncated", "{value}");
}

#[test]
fn the_first_wrong_event_is_named() {
    let case = Case::new(everything());
    let mut log = case.node.log.clone();
    let place = log.places(Kind::Vote)[2];
    log.event(place)[30] ^= 1;
    case.write("node.log", &log.bytes());
    let (code, value) = case.quoted(&[]);
    assert_eq!(code, Some(1));
    assert_eq!(
        (
            &value["ok"],
            &value["event"],
            &value["kind"],
            &value["error"]
        ),
        (
            &json!(false),
            &json!(log.number(place)),
            &json!("VOTE"),
            &json!("chain_broken")
        )
    );
    let output = case.run(&["node.log"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let start = format!("WRONG: event {} VOTE: chain_broken: ", log.number(place));
    assert!(text.starts_with(&start), "{text}");
    assert!(text.contains("expected: "), "{text}");
}

#[test]
fn a_wrong_log_is_an_error_even_when_nobody_reads_it() {
    let case = Case::new(everything());
    let mut log = case.node.log.clone();
    let place = log.places(Kind::Vote)[2];
    log.event(place)[30] ^= 1;
    case.write("wrong.log", &log.bytes());
    for (name, expected) in [("node.log", 0), ("wrong.log", 1)] {
        for json in [&[][..], &["--json"]] {
            let (writer, reader) = UnixStream::pair().unwrap();
            drop(reader);
            let status = Command::new(env!("CARGO_BIN_EXE_tcpctl"))
                .args(json)
                .args(["audit", "verify", name])
                .current_dir(case.dir.path())
                .stdin(Stdio::null())
                .stdout(OwnedFd::from(writer))
                .status()
                .unwrap();
            assert_eq!(status.code(), Some(expected), "{name} {json:?}");
        }
    }
}

#[test]
fn several_files_are_one_log_and_a_torn_tail_is_told() {
    let case = Case::new(everything());
    let [first, second] = &case.node.log.segments[..] else {
        panic!("two loads");
    };
    let bytes = |segment: &history::Segment| {
        Log {
            segments: vec![segment.clone()],
        }
        .bytes()
    };
    case.write("first.log", &bytes(first));
    let mut torn = bytes(second);
    torn.truncate(torn.len() - 5);
    case.write("node.log", &torn);
    let output = case.run(&["--json", "first.log", "node.log"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{value}");
    assert_eq!(value["loads"], 2);
    assert!(value["torn_bytes"].as_u64().unwrap() > 0);
    let output = case.run(&["node.log", "first.log"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("past_missing"));
    let output = case.run(&["node.log", "first.log", "--partial"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("epoch_replayed"));
}

#[test]
fn a_state_is_compared_with_the_log() {
    let mut node = Node::new(3);
    node.set_up();
    node.agent(9);
    let id = node.ask(b"/etc/hosts");
    node.vote(&id, 2, Verdict::Approve);
    let older = node.checkpoint_state();
    node.agent(10);
    let state = node.checkpoint_state();
    let case = Case::new(node);
    case.write("state", &state);
    case.write("older", &older);
    let (code, value) = case.quoted(&["--state", "state"]);
    assert_eq!(code, Some(0), "{value}");
    // The policy in the state serves for the terms.
    assert_eq!(value["terms"], 1);
    assert!(value["not_checked"].to_string().contains("MAC"));
    let (code, value) = case.quoted(&["--state", "older"]);
    assert_eq!((code, &value["error"]), (Some(1), &json!("quote_older")));
    let mut torn = state.clone();
    torn.truncate(state.len() - 1);
    case.write("torn", &torn);
    let (code, value) = case.quoted(&["--state", "torn"]);
    assert_eq!(
        (code, &value["error"]),
        (Some(1), &json!("state_malformed"))
    );
    // Another policy in the state than the log put in force.
    let mut other = state;
    let at = other
        .windows(10)
        .position(|window| window == b"ttl=5m use")
        .unwrap();
    other[at + 4] = b'6';
    case.write("other", &other);
    let (code, value) = case.quoted(&["--state", "other"]);
    assert_eq!((code, &value["error"]), (Some(1), &json!("state_differs")));
}

#[test]
fn validators_and_clocks_in_a_state_are_compared() {
    let lies: [fn(&mut Node); 4] = [
        |node| {
            node.validators.remove(&3);
        },
        |node| node.validators.get_mut(&3).unwrap().weight += 1,
        |node| node.validators.get_mut(&3).unwrap().name = "mallory".to_owned(),
        |node| assert!(node.validators.get_mut(&3).unwrap().last.set(3, 7)),
    ];
    for lie in lies {
        let mut node = Node::new(3);
        node.set_up();
        lie(&mut node);
        let state = node.checkpoint_state();
        let case = Case::new(node);
        case.write("state", &state);
        let (code, value) = case.quoted(&["--state", "state"]);
        assert_eq!((code, &value["error"]), (Some(1), &json!("state_differs")));
    }
}

#[test]
fn a_state_with_the_counter_of_before_its_commit_is_refused() {
    let mut node = Node::new(3);
    node.set_up();
    let mut state = node.checkpoint_state();
    let counter = 44..52;
    assert_eq!(state[counter.clone()], node.counter.to_be_bytes());
    state[counter].copy_from_slice(&(node.counter - 1).to_be_bytes());
    let case = Case::new(node);
    case.write("state", &state);
    let (code, value) = case.quoted(&["--state", "state"]);
    assert_eq!((code, &value["error"]), (Some(1), &json!("state_differs")));
    assert!(value.to_string().contains("the counter is"), "{value}");
}

#[test]
fn a_state_that_was_staged_is_compared_with_what_was_staged() {
    let mut node = Node::new(3);
    node.set_up();
    node.checkpoint();
    let quote = node.quote(&NONCE);
    let state = node.checkpoint_state();
    let segment = node.log.segments.last_mut().unwrap();
    segment.events.pop();
    let case = Case::new(node);
    case.write("state", &state);
    let (code, value) = case.quoted(&["--state", "state"]);
    assert_eq!(code, Some(0), "{value}");
    assert!(!value["not_checked"].to_string().contains("staged last"));
    let output = case.run(&["--json", "node.log", "--state", "state"]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("staged last"));
    let mut other = state;
    let at = other
        .windows(10)
        .position(|window| window == b"ttl=5m use")
        .unwrap();
    other[at + 4] = b'6';
    case.write("other", &other);
    let (code, value) = case.quoted(&["--state", "other"]);
    assert_eq!((code, &value["error"]), (Some(1), &json!("state_differs")));
    // The TPM says that it never took it.
    case.write("quote.json", quote.to_string().as_bytes());
    let (code, value) = case.quoted(&["--state", "state"]);
    assert_eq!((code, &value["error"]), (Some(1), &json!("state_differs")));
}

#[test]
fn a_quote_within_a_commit_is_called_half_committed() {
    let mut node = Node::new(3);
    node.set_up();
    node.checkpoint();
    node.counter -= 1;
    let case = Case::new(node);
    let (code, value) = case.quoted(&[]);
    assert_eq!((code, &value["half_committed"]), (Some(0), &json!(true)));
    let nonce = hex::encode(NONCE);
    let node = hex::encode(case.node.id);
    let quote = ["node.log", "--quote", "quote.json", "--nonce", &nonce];
    let output = case.run(&[&quote[..], &["--node", &node]].concat());
    assert!(String::from_utf8_lossy(&output.stdout).contains("half committed"));
}

/// Root unseals the state key, makes a state with another policy under the head of the last commit, and has it restored.
#[test]
fn a_forged_state_is_found_out_by_the_log_of_the_load_before() {
    let mut node = Node::new(3);
    node.set_up();
    node.agent(9);
    node.checkpoint();
    node.policy = Some(POLICY_2);
    node.restart(false);
    let epoch = node.epoch;
    let policy = *node.log.places(Kind::Policy).last().unwrap();
    let number = node.log.number(policy);
    let case = Case::new(node);
    let (code, value) = case.quoted(&[]);
    assert_eq!(
        (code, &value["event"], &value["kind"], &value["error"]),
        (
            Some(1),
            &json!(number),
            &json!("POLICY"),
            &json!("restored_policy")
        ),
        "{value}"
    );
    // By itself the load is as it should be: what it cannot tell is said.
    let log = Log {
        segments: vec![case.node.log.segments[1].clone()],
    };
    case.write("node.log", &log.bytes());
    let (code, value) = case.quoted(&[]);
    assert_eq!((code, &value["error"]), (Some(1), &json!("past_missing")));
    let (code, value) = case.quoted(&["--partial"]);
    assert_eq!(code, Some(0), "{value}");
    assert_eq!(value["restored_from_unknown"], json!([epoch]));
    let line = format!("what load {epoch} was restored from");
    assert!(value["not_checked"].to_string().contains(&line), "{value}");
    let output = case.run(&["node.log", "--partial"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(
        text.lines()
            .any(|text| text.starts_with("NOT checked") && text.contains(&line)),
        "{text}"
    );
    // With an honest past there is no such line.
    let case = Case::new(everything());
    let (_, value) = case.quoted(&[]);
    assert_eq!(value["restored_from_unknown"], json!([]));
    assert!(!value["not_checked"].to_string().contains("restored from"));
}

#[test]
fn a_policy_that_was_never_in_force_leaves_the_terms_unchecked() {
    let case = Case::new(everything());
    case.write(
        "other.policy",
        b"policy_name=x policy_version=9\nDEFAULT action=DENY\n",
    );
    let (code, value) = case.quoted(&["--policy", "other.policy"]);
    assert_eq!((code, &value["terms"]), (Some(0), &json!(0)));
    assert!(value["not_checked"].to_string().contains("--policy"));
    case.write("other.policy", b"no policy\n");
    let output = case.run(&["node.log", "--policy", "other.policy"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn what_is_no_log_is_refused() {
    let case = Case::new(everything());
    assert_eq!(case.run(&["missing.log"]).status.code(), Some(1));
    case.write("empty.log", b"");
    assert_eq!(case.run(&["empty.log"]).status.code(), Some(1));
    // A segment's head without any whole event.
    for cut in [80, 84, 200] {
        case.write("empty.log", &case.node.log.bytes()[..cut]);
        let output = case.run(&["--json", "empty.log"]);
        assert_eq!(output.status.code(), Some(1));
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["error"], "log_empty", "{cut}");
    }
    assert_eq!(case.run(&["one.policy"]).status.code(), Some(1));
    assert_eq!(
        case.run(&["node.log", "--node", "12"]).status.code(),
        Some(2)
    );
    assert_eq!(
        case.run(&["node.log", "--node", &"11".repeat(32)])
            .status
            .code(),
        Some(1)
    );
}

// --- test vectors ------------------------------------------------------------------------------------------------

/// A short history whose every kind of check an independent auditor has, too.
fn short() -> Node {
    let mut node = Node::new(3);
    node.set_up();
    node.agent(9);
    let id = node.ask(b"/etc/hosts");
    node.approve(&id);
    node.spend(&id);
    node.checkpoint();
    node.restart(false);
    let id = node.ask(b"/etc/group");
    node.vote(&id, 1, Verdict::Deny);
    node.checkpoint();
    node.recover(|node, id| {
        for slot in 1..=3 {
            node.vote(id, slot, Verdict::Approve);
        }
    });
    node.agent(10);
    node
}

/// Wrong logs: name, log, the event that is wrong, the error.
fn wrong() -> Vec<(&'static str, Log, Option<u64>, &'static str)> {
    let node = short();
    let mut list = Vec::new();

    let mut log = node.log.clone();
    let number = log.number((0, 4));
    log.segments[0].events.remove(4);
    list.push(("one event removed", log, Some(number + 1), "event_missing"));

    let mut log = node.log.clone();
    log.segments[0].events.swap(4, 5);
    list.push((
        "two events reordered",
        log,
        Some(number + 1),
        "event_missing",
    ));

    let mut log = node.log.clone();
    log.event((0, 4))[30] ^= 1;
    list.push((
        "one event edited",
        log.clone(),
        Some(number),
        "chain_broken",
    ));

    log.rechain();
    let anchored = log.number(log.places(Kind::Anchored)[0]);
    list.push((
        "one event edited, the chain computed anew",
        log,
        Some(anchored),
        "anchored_differs",
    ));

    let mut log = node.log.clone();
    let copy = log.segments[0].events[4].clone();
    log.segments[0].events.insert(5, copy);
    list.push(("one event duplicated", log, Some(number), "event_repeated"));

    let mut log = node.log.clone();
    let place = *log.places(Kind::Request).last().unwrap();
    let number = log.number(place);
    log.event(place)[48] ^= 1;
    log.rechain();
    list.push(("a request's id", log, Some(number), "request_id"));

    let mut log = node.log.clone();
    let place = *log.places(Kind::Vote).last().unwrap();
    let number = log.number(place);
    let other = log.payload(log.places(Kind::Vote)[0]);
    let mut payload = log.payload(place);
    // The signature of another vote, which may be of another length.
    let length =
        |record: &[u8]| 156 + 10 * usize::from(u16::from_be_bytes([record[114], record[115]]));
    payload.truncate(length(&payload));
    payload.extend_from_slice(&other[length(&other)..]);
    log.set_payload(place, &payload);
    log.rechain();
    list.push(("a vote forged", log, Some(number), "vote_forged"));

    let mut forger = Node::new(3);
    forger.set_up();
    let id = forger.ask(b"/etc/hosts");
    forger.vote(&id, 1, Verdict::Approve);
    forger.decide(&id, Kind::Granted);
    let number = forger.clock.get(0);
    list.push((
        "the threshold not met",
        forger.log,
        Some(number),
        "threshold_not_met",
    ));

    let mut forger = Node::new(3);
    forger.set_up();
    forger.anchor[0] ^= 1;
    let number = forger.stage(0, 0, &[]);
    list.push((
        "an anchor skipped",
        forger.log,
        Some(number),
        "anchor_skipped",
    ));

    let mut log = node.log.clone();
    let first = log.segments[0].clone();
    log.segments.push(first);
    let number = log.number((log.segments.len() - 1, 0));
    list.push(("an epoch replayed", log, Some(number), "epoch_replayed"));

    let mut log = node.log.clone();
    let place = log.places(Kind::Anchored)[log.places(Kind::Anchored).len() - 2];
    let number = log.number(place);
    let mut payload = log.payload(place);
    payload[16] ^= 1;
    log.set_payload(place, &payload);
    log.rechain();
    list.push((
        "another head when a recovery began",
        log,
        Some(number),
        "anchored_differs",
    ));

    let mut forger = Node::new(3);
    forger.set_up();
    let found = (forger.counter, [7; 32]);
    forger.begin_recovery();
    forger.decide_recovery(found, |node, id| {
        for slot in 1..=3 {
            node.vote(id, slot, Verdict::Approve);
        }
    });
    let staged = *forger.log.places(Kind::Staged).last().unwrap();
    let number = forger.log.number(staged);
    list.push((
        "another anchor found than a recovery began with",
        forger.log,
        Some(number),
        "anchor_differs",
    ));

    let mut forger = Node::new(3);
    forger.set_up();
    let found = (forger.counter, forger.anchor);
    forger.epoch = forger.counter + 1;
    forger.outdated();
    let number = forger.clock.get(0) + 1;
    forger.decide_recovery(found, |node, id| {
        for slot in 1..=3 {
            node.vote(id, slot, Verdict::Approve);
        }
    });
    list.push((
        "a recovery that the TPM was not told of",
        forger.log,
        Some(number),
        "not_anchored",
    ));

    let mut log = node.log.clone();
    log.segments.truncate(1);
    list.push(("a truncated log", log, None, "log_truncated"));

    let mut forger = Node::new(3);
    forger.set_up();
    while forger.counter < node.counter {
        forger.checkpoint();
    }
    list.push(("a forked chain", forger.log, None, "anchor_differs"));
    list.extend(forged());
    list
}

/// A load that takes up what the load before did not have, or changes what nobody has committed.
fn forged() -> Vec<(&'static str, Log, Option<u64>, &'static str)> {
    let honest = || {
        let mut node = Node::new(3);
        node.set_up();
        node.checkpoint();
        node
    };
    let restored = |forge: &dyn Fn(&mut Node)| {
        let mut node = honest();
        forge(&mut node);
        node.restart(false);
        node
    };
    let first = |log: &Log, kind| Some(log.number(*log.places(kind).last().unwrap()));
    let mut list = Vec::new();

    let node = restored(&|node| node.validators.get_mut(&4).unwrap().name = "mallory".to_owned());
    let number = first(&node.log, Kind::Clock);
    list.push((
        "another validator's key restored",
        node.log,
        number,
        "restored_validator",
    ));
    let node = restored(&|node| node.validators.get_mut(&4).unwrap().weight = 9);
    let number = first(&node.log, Kind::Clock);
    list.push((
        "another weight restored",
        node.log,
        number,
        "restored_validator",
    ));
    let node = restored(&|node| assert!(node.validators.get_mut(&3).unwrap().last.set(3, 7)));
    let number = first(&node.log, Kind::Clock);
    list.push((
        "another validator's clock restored",
        node.log,
        number,
        "restored_validator",
    ));
    let node = restored(&|node| assert!(node.clock.set(3, 7)));
    let number = first(&node.log, Kind::Clock);
    list.push((
        "another clock of the node restored",
        node.log,
        number,
        "restored_clock",
    ));
    let node = restored(&|node| node.policy = Some(POLICY_2));
    let number = first(&node.log, Kind::Policy);
    list.push((
        "another policy restored",
        node.log,
        number,
        "restored_policy",
    ));
    let mut log = restored(&|_| {}).log;
    let place = *log.places(Kind::Mode).last().unwrap();
    let number = Some(log.number(place));
    log.event(place)[83] ^= 3;
    log.rechain();
    list.push((
        "another mode restored",
        log.clone(),
        number,
        "restored_mode",
    ));
    log.segments[place.0].events.remove(place.1);
    log.renumber();
    log.rechain();
    let number = first(&log, Kind::Clock);
    list.push(("no mode restored", log, number, "restored_order"));
    let mut log = restored(&|_| {}).log;
    log.segments.remove(0);
    let number = Some(log.number(log.places(Kind::Staged)[0]));
    list.push((
        "a restore without the load before",
        log,
        number,
        "past_missing",
    ));

    let mut node = honest();
    node.counter += 1;
    node.epoch = node.counter;
    node.validators.clear();
    node.anchor = [0; 32];
    node.load(&[0; 32]);
    let number = node.clock.get(0) + 1;
    node.set_up();
    list.push(("a past forgotten", node.log, Some(number), "past_forgotten"));

    let mut node = honest();
    let number = node.add(5, "mallory", 9);
    list.push((
        "a validator added that nobody committed",
        node.log,
        Some(number),
        "not_anchored",
    ));
    let mut node = honest();
    let number = node.policy(POLICY_2);
    list.push((
        "a policy that nobody committed",
        node.log,
        Some(number),
        "not_anchored",
    ));
    let mut node = honest();
    let number = node.record(node.header(Kind::Mode, 1), &[]);
    list.push((
        "a mode that nobody committed",
        node.log,
        Some(number),
        "not_anchored",
    ));
    list
}

/// A log of a node that lies about a validator, an alert or a threshold.
struct Lie {
    name: &'static str,
    log: Log,
    event: u64,
    error: &'static str,
    /// Whether only those can tell who compute alerts and reputations anew.
    recomputed: bool,
}

/// The log with the payload of one event changed.
fn altered(log: &Log, place: (usize, usize), change: impl FnOnce(&mut Vec<u8>)) -> (Log, u64) {
    let mut log = log.clone();
    let mut payload = log.payload(place);
    change(&mut payload);
    log.set_payload(place, &payload);
    log.rechain();
    let number = log.number(place);
    (log, number)
}

/// What a node may do to a validator, or for one, that it must not.
fn unjust() -> Vec<Lie> {
    let mut list = Vec::new();
    let mut add = |name, (log, event): (Log, u64), error| {
        list.push(Lie {
            name,
            log,
            event,
            error,
            recomputed: false,
        });
    };
    let node = caught();
    let place = node.log.places(Kind::Quarantined)[0];
    let evidence = node.log.payload(place);
    let parts = engine::evidence::Evidence::decode::<history::Sha256>(&evidence).unwrap();
    let forged = altered(&node.log, place, |payload| {
        payload.truncate(evidence.len() - parts.second.signature.len() - 2);
        let signature = parts.first.signature;
        payload.extend_from_slice(&u16::try_from(signature.len()).unwrap().to_be_bytes());
        payload.extend_from_slice(signature);
    });
    add(
        "evidence with the signature of another vote",
        forged,
        "evidence_forged",
    );

    let mut again = node.clone();
    let number = again.record_quarantine(4, &evidence);
    add("a quarantine again", (again.log, number), "evidence_known");

    let mut later = node.clone();
    later.boot_ms += 900_000;
    later.readmit_by_quorum(4);
    let number = later.record_quarantine(4, &evidence);
    add(
        "evidence of before the readmission",
        (later.log, number),
        "evidence_expired",
    );

    let mut toothless = node.clone();
    toothless.boot_ms += 900_000;
    let id = toothless.ask(b"/etc/issue");
    let record = toothless.ballot_paper(&id, 4, Verdict::Approve);
    let header = engine::event::Header {
        slot: 4,
        ..toothless.about(&id, Kind::Vote, 1)
    };
    let number = toothless.record(header, &record);
    add(
        "a vote of a quarantined validator",
        (toothless.log, number),
        "vote_quarantined",
    );

    let denied = *node.log.places(Kind::Denied).last().unwrap();
    let shrunk = altered(&node.log, denied, |payload| payload[23] = 8);
    add(
        "the denominator shrinks by what is quarantined",
        shrunk,
        "tally_wrong",
    );
    let kept = altered(&node.log, denied, |payload| {
        payload[7] += 2;
        payload[31] = 0;
    });
    add("a vote that is not taken back", kept, "tally_wrong");
    let lowered = altered(&node.log, denied, |payload| {
        payload[32..34].copy_from_slice(&7499u16.to_be_bytes());
    });
    add(
        "a threshold below the request's",
        lowered,
        "threshold_wrong",
    );

    let mut alone = node.clone();
    alone.start_over();
    let number = alone.readmit(4);
    add(
        "a readmission that nobody committed",
        (alone.log, number),
        "not_anchored",
    );

    // It claims a vote of Alice that this node has not seen.
    let mut deaf = Node::of_five();
    deaf.lies.deaf = true;
    let id = deaf.ask(b"/etc/hosts");
    let mut clock = deaf.validators[&4].last.clone();
    assert!(clock.next_vote(4, deaf.requests[&id].created));
    assert!(clock.set(1, 1));
    let early = |verdict| deaf.signed(&id, "dave", verdict, &clock, "");
    let [approval, denial] = [Verdict::Approve, Verdict::Deny].map(early);
    deaf.hold(&id, 4, Verdict::Approve, &approval);
    let mut held = deaf.clone();
    let number = held.hold(&id, 4, Verdict::Deny, &denial);
    add(
        "a vote held that a held one contradicts",
        (held.log, number),
        "contradiction_missed",
    );
    deaf.vote(&id, 4, Verdict::Deny);
    let number = deaf.clock.get(0);
    add(
        "a vote accepted that a held one contradicts",
        (deaf.log, number),
        "contradiction_missed",
    );

    let mut silent = node;
    silent.checkpoint();
    silent.quarantines.clear();
    silent.restart(false);
    let number = silent
        .log
        .number(*silent.log.places(Kind::Clock).last().unwrap());
    add(
        "a quarantine that a restart has ended",
        (silent.log, number),
        "restored_quarantine",
    );
    list
}

/// What only those notice who compute alerts, thresholds and reputations anew.
fn untold() -> Vec<Lie> {
    let mut list = Vec::new();
    let mut add = |name, (log, event): (Log, u64), error| {
        list.push(Lie {
            name,
            log,
            event,
            error,
            recomputed: true,
        });
    };
    let number = |node: &Node, kind| node.log.number(*node.log.places(kind).last().unwrap());

    let mut silent = Node::of_five();
    let id = silent.ask(b"/etc/hosts");
    silent.lies.silent = true;
    silent.equivocate(&id, 4);
    silent.ask(b"/etc/group");
    let at = number(&silent, Kind::Request);
    add("an alert left out", (silent.log, at), "alert_missing");

    let mut early = caught();
    early.boot_ms += 300_000;
    let at = early.turn(Turn::Calm(Reason::Evidence));
    add(
        "an alert that ends too early",
        (early.log, at),
        "calm_wrongly",
    );

    let mut lenient = Node::of_five();
    for _ in 0..16 {
        lenient.refuse(Refusal::VoteForged);
    }
    lenient.lies.lenient = true;
    let id = lenient.ask(b"/etc/hosts");
    lenient.approve_by(&id, 5);
    let at = number(&lenient, Kind::Granted);
    add(
        "a threshold that is not raised",
        (lenient.log, at),
        "threshold_wrong",
    );

    let node = caught();
    let watch = *node.log.places(Kind::Watch).last().unwrap();
    let wide = altered(&node.log, watch, |payload| {
        // A quarter of ten minutes is the most.
        payload[16..20].copy_from_slice(&750_001u32.to_be_bytes());
    });
    add(
        "a window that the policy does not give",
        wide,
        "watch_differs",
    );

    let mut praised = node;
    praised.checkpoint();
    let eve = praised.reputations.get_mut(&5).unwrap();
    eve.bias = 0;
    praised.restart(false);
    let at = number(&praised, Kind::Reputation);
    add(
        "a reputation that is better after a restart",
        (praised.log, at),
        "restored_reputation",
    );
    list
}

/// Every wrong log: those of [`wrong`], and the lies.
fn all_wrong() -> Vec<(&'static str, Log, Option<u64>, &'static str, bool)> {
    let lies = unjust().into_iter().chain(untold());
    let known = wrong()
        .into_iter()
        .map(|(name, log, event, error)| (name, log, event, error, false));
    known
        .chain(lies.map(|lie| {
            (
                lie.name,
                lie.log,
                Some(lie.event),
                lie.error,
                lie.recomputed,
            )
        }))
        .collect()
}

fn vectors() -> Value {
    let node = short();
    let votes = node.log.places(Kind::Vote).len();
    let quarantine = byzantine();
    json!({
        "true": {
            "node": hex::encode(node.id),
            "log": hex::encode(node.log.bytes()),
            "policy": POLICY_1,
            "policy_digest": hex::encode(sha256(POLICY_1.as_bytes())),
            "last": node.clock.get(0),
            "chain": hex::encode(node.chain.head()),
            "votes": votes,
            "counter": node.counter,
            "anchor": hex::encode(node.anchor),
            "nonce": hex::encode(NONCE),
            "quote": node.quote(&NONCE),
        },
        "quarantine": {
            "node": hex::encode(quarantine.id),
            "log": hex::encode(quarantine.log.bytes()),
            "policy": POLICY_1,
            "quarantined": 1,
            "readmitted": 1,
            "alerts": quarantine.log.places(Kind::Alert).len(),
        },
        "wrong": all_wrong().into_iter().map(|(name, log, event, error, recomputed)| json!({
            "name": name,
            "log": hex::encode(log.bytes()),
            "event": event,
            "error": error,
            "recomputed": recomputed,
        })).collect::<Vec<_>>(),
    })
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The file is made anew and compared; `UPDATE_VECTORS=1` writes it.
#[test]
fn the_vectors_are_what_this_auditor_says() {
    let path = project().join("Documentation/vectors/history.json");
    let text = serde_json::to_string_pretty(&vectors()).unwrap() + "\n";
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        fs::write(&path, text).unwrap();
    } else {
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            text,
            "history.json is stale"
        );
    }
    let case = Case::new(short());
    let (code, value) = case.quoted(&["--policy", "one.policy"]);
    assert_eq!(code, Some(0), "{value}");
    assert_eq!(value["votes"], case.node.log.places(Kind::Vote).len());
    for (name, log, event, error, _) in all_wrong() {
        case.write("node.log", &log.bytes());
        let (code, value) = case.quoted(&["--policy", "one.policy"]);
        assert_eq!(code, Some(1), "{name}: {value}");
        assert_eq!(
            (&value["event"], &value["error"]),
            (&json!(event), &json!(error)),
            "{name}: {value}"
        );
    }
}

#[test]
fn a_quarantine_is_verified_and_told() {
    let mut node = byzantine();
    node.checkpoint();
    let case = Case::new(node);
    let (code, value) = case.quoted(&["--policy", "one.policy"]);
    assert_eq!(code, Some(0), "{value}");
    let counts = ["quarantined", "readmitted", "alerts"].map(|name| value[name].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(2)]);
    // Without the policy's text nobody knows whether windows are within its bounds.
    let (code, value) = case.quoted(&[]);
    assert_eq!(code, Some(0), "{value}");
    assert!(
        value["not_checked"].to_string().contains("WATCH"),
        "{value}"
    );
    // Of a load that is not there from its beginning nothing can be computed anew.
    let mut log = case.node.log.clone();
    let segment = &mut log.segments[0];
    segment.chain = segment.events[9].1;
    segment.events.drain(..10);
    case.write("node.log", &log.bytes());
    let (code, value) = case.quoted(&["--partial"]);
    assert_eq!(code, Some(0), "{value}");
    assert!(
        value["not_checked"].to_string().contains("thresholds"),
        "{value}"
    );
    assert_eq!(
        (&value["quarantined"], &value["alerts"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn quarantine_and_reputation_in_a_state_are_compared() {
    let compared = |lie: &dyn Fn(&mut Node)| {
        let mut node = caught();
        lie(&mut node);
        let state = node.checkpoint_state();
        let case = Case::new(node);
        case.write("state", &state);
        let (code, value) = case.quoted(&["--state", "state", "--policy", "one.policy"]);
        assert_eq!(code, Some(i32::from(value["ok"] != true)), "{value}");
        value["error"].as_str().map(str::to_owned)
    };
    assert_eq!(compared(&|_| {}), None);
    let differs = Some("state_differs".to_owned());
    assert_eq!(compared(&|node| node.quarantines.clear()), differs);
    assert_eq!(compared(&|node| node.lies.praising = true), differs);
    let readmitted = |node: &mut Node| {
        node.boot_ms += 900_000;
        node.readmit_by_quorum(4);
    };
    assert_eq!(compared(&readmitted), None);
    let restarted = |node: &mut Node| {
        node.checkpoint();
        node.restart(false);
    };
    assert_eq!(compared(&restarted), None);
    // Evidence of before the readmission would not expire.
    let pardoned = |node: &mut Node| {
        readmitted(node);
        node.quarantines.clear();
    };
    assert_eq!(compared(&pardoned), differs);
}

/// An auditor in another language, written from the documents alone, finds the same.
#[test]
fn the_foreign_auditor_agrees() {
    let program = project().join("qemu/foreign-auditor/audit.py");
    let run = |arguments: &[&str], directory: &Path| {
        Command::new("python3")
            .arg("-B")
            .arg(&program)
            .args(arguments)
            .current_dir(directory)
            .output()
            .expect("python3, and its package cryptography, are needed")
    };
    let output = run(
        &["vectors", "Documentation/vectors/history.json"],
        &project(),
    );
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let case = Case::new(everything());
    let node = hex::encode(case.node.id);
    let nonce = hex::encode(NONCE);
    let verify = [
        "verify",
        "node.log",
        "--quote",
        "quote.json",
        "--nonce",
        &nonce,
        "--node",
        &node,
    ];
    let output = run(&verify, case.dir.path());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("vouches"), "{text}");
    assert!(text.contains("not recomputed"), "{text}");
    let mut stale = verify;
    stale[5] = "00";
    assert_eq!(run(&stale, case.dir.path()).status.code(), Some(1));
    let mut node = case.node;
    node.recover(|node, id| {
        for slot in 1..=3 {
            node.vote(id, slot, Verdict::Approve);
        }
    });
    node.recover_to_setup();
    node.set_up();
    let case = Case::new(node);
    let output = run(&["verify", "node.log"], case.dir.path());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (code, value) = case.quoted(&[]);
    assert_eq!((code, &value["recovered"]), (Some(0), &json!(2)), "{value}");
}
