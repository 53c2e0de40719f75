// SPDX-License-Identifier: GPL-2.0

//! The test vectors in `Documentation/vectors/`: made anew here and compared with the files.
//!
//! After a deliberate change of the format, `UPDATE_VECTORS=1 cargo test -p engine --test vectors`
//! writes the files; otherwise a difference fails.

mod support;

use engine::anchor;
use engine::byzantine::Fault;
use engine::clock::{
    first_number,
    Chain, //
};
use engine::event::{
    Event,
    Header,
    Kind,
    Payload,
    HEADER_LEN, //
};
use engine::evidence::{
    self,
    Evidence, //
};
use engine::op::Op;
use engine::quorum::{
    Ballot,
    Outcome,
    Verdict, //
};
use engine::refusal::Refusal;
use engine::request::{
    self,
    Fact,
    Request, //
};
use engine::state::State;
use engine::vote::VoteRecord;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::VerifyingKey;
use serde_json::{
    json,
    Value, //
};
use std::path::Path;
use support::{
    hex,
    record,
    signed,
    Draft,
    Key,
    Paper,
    Sha256,
    EPOCH,
    NODE, //
};

const CLOCK: &[(u16, u64)] = &[(0, 40), (1, 6), (3, 2)];
const REASON: &str = "reviewed \u{2713}";

/// Compares a file with what it should hold, or writes it when asked to.
fn check(file: &str, value: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../Documentation/vectors")
        .join(file);
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(found, text, "{file} is stale");
}

fn request_bytes(created: u64) -> Vec<u8> {
    let mut out = vec![0; request::MAX_LEN];
    let head = request::Head {
        created,
        ..support::head()
    };
    let len = request::encode(&head, &support::binding(), &support::facts(), &mut out).unwrap();
    out.truncate(len);
    out
}

/// Fields of a fact, as names and values.
fn fact_value(fact: &Fact<'_>) -> Value {
    match fact {
        Fact::Path(bytes)
        | Fact::Target(bytes)
        | Fact::Name(bytes)
        | Fact::Arg(bytes)
        | Fact::Detail(bytes)
        | Fact::Hook(bytes)
        | Fact::FsPath(bytes) => json!(hex(bytes)),
        Fact::ArgsDigest(digest) | Fact::EnvDigest(digest) => json!(hex(*digest)),
        Fact::Argc(value) | Fact::Mode(value) | Fact::Command(value) => json!(value),
        Fact::Flags(value) | Fact::Size(value) | Fact::Version(value) => json!(value),
        Fact::TargetObject(object) => json!({
            "device": object.device,
            "inode": object.inode,
            "generation": object.generation,
        }),
        Fact::Address {
            family,
            port,
            address,
        } => json!({ "family": family, "port": port, "address": hex(address) }),
        Fact::Owner { uid, gid } => json!({ "uid": uid, "gid": gid }),
        Fact::Task { pid, agent, comm } => {
            json!({ "pid": pid, "agent": agent, "comm": hex(comm) })
        }
    }
}

fn request_value(bytes: &[u8]) -> Value {
    let read = Request::decode(bytes).unwrap();
    let (head, binding) = (&read.head, &read.binding);
    json!({
        "node": hex(head.node),
        "epoch": head.epoch,
        "nonce": hex(head.nonce),
        "created": head.created,
        "created_ms": head.created_ms,
        "expires_ms": head.expires_ms,
        "wall_ms": head.wall_ms,
        "operation": binding.op.name(),
        "shortened": read.shortened,
        "uid": binding.uid,
        "agent": binding.agent,
        "policy_version": binding.policy_version,
        "policy_digest": hex(binding.policy),
        "threshold_bp": binding.threshold_bp,
        "uses": binding.uses,
        "ttl_s": binding.ttl_s,
        "line": binding.line,
        "object": {
            "device": binding.object.device,
            "inode": binding.object.inode,
            "generation": binding.object.generation,
        },
        "content_digest": hex(binding.content),
        "class": binding.class,
        "agent_name": binding.agent_name,
        "facts": read.facts().map(|fact| json!({
            "tag": fact.tag(),
            "name": fact.name(),
            "value": fact_value(&fact),
        })).collect::<Vec<_>>(),
        "encoding": hex(bytes),
        "id": hex(&request::id::<Sha256>(bytes)),
        "binding_digest": hex(&request::binding_digest::<Sha256>(bytes)),
    })
}

#[test]
fn request_vectors() {
    let governance = request::Binding {
        op: Op::Mode,
        agent: 0,
        class: "",
        agent_name: "",
        content: &<Sha256 as engine::wire::Digest>::sha256(&[&[2]]),
        ..support::binding()
    };
    let detail = [Fact::Detail(&[2])];
    let mut out = vec![0; request::MAX_LEN];
    let len = request::encode(&support::head(), &governance, &detail, &mut out).unwrap();
    // Arguments that are cut and left out, and a path of which the end is kept.
    let long = [b'x'; 1100];
    let deep: String = (0..100).map(|number| format!("/{number}")).collect();
    let shortened = [
        Fact::Argc(6),
        Fact::Arg(&long),
        Fact::Arg(&long),
        Fact::Arg(&long),
        Fact::Arg(&long),
        Fact::Arg(b"y"),
        Fact::Arg(b"z"),
        Fact::ArgsDigest(&support::ARGS),
        Fact::FsPath(deep.as_bytes()),
    ];
    let mut short = vec![0; request::MAX_LEN];
    let short_len = request::encode(
        &support::head(),
        &support::binding(),
        &shortened,
        &mut short,
    )
    .unwrap();
    let value = json!({
        "description": "Requests. Byte strings are hexadecimal, text in facts too.",
        "requests": [
            request_value(&request_bytes(40)),
            request_value(&out[..len]),
            request_value(&short[..short_len]),
        ],
    });
    check("request.json", &value);
}

#[test]
fn vote_vectors() {
    let key = Key::new("alice");
    let request = request_bytes(40);
    let id = request::id::<Sha256>(&request);
    let mut votes = Vec::new();
    for (verdict, reason, clock) in [
        (Verdict::Approve, "", &[(0, 40), (1, 1)][..]),
        (Verdict::Approve, REASON, CLOCK),
        (Verdict::Deny, "", CLOCK),
        (Verdict::Deny, "not in the change window", CLOCK),
    ] {
        let vote = signed(&key, 1, &id, verdict, clock, reason);
        let bytes = record(&key, &vote, reason);
        let read = VoteRecord::decode(&bytes).unwrap();
        let signature = p256::ecdsa::Signature::from_der(read.signature).unwrap();
        key.private
            .verifying_key()
            .verify(&vote, &signature)
            .unwrap();
        votes.push(json!({
            "verdict": verdict.name(),
            "slot": read.vote.slot,
            "reason": reason,
            "reason_digest": hex(read.vote.reason_digest),
            "expires_ms": read.vote.expires_ms,
            "clock": clock,
            "signed": hex(read.signed),
            "signature": hex(read.signature),
            "record": hex(&bytes),
        }));
    }
    let value = json!({
        "description": "Votes. Signatures are deterministic (RFC 6979, SHA-256) and have a low s. \
                        The key is for tests only.",
        "private_key": hex(&key.private.to_bytes()),
        "public_key": hex(&key.public),
        "validator": hex(&key.id),
        "node": hex(&NODE),
        "epoch": EPOCH,
        "request_id": hex(&id),
        "votes": votes,
    });
    check("vote.json", &value);
}

/// A record with other bytes in one place.
fn changed(base: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut record = base.to_vec();
    record[at..at + bytes.len()].copy_from_slice(bytes);
    record
}

/// A record with another signature.
fn resigned(base: &[u8], signature: &[u8]) -> Vec<u8> {
    let read = VoteRecord::decode(base).unwrap();
    let len = u16::try_from(signature.len()).unwrap();
    [
        read.signed,
        &len.to_be_bytes(),
        signature,
        read.reason.as_bytes(),
    ]
    .concat()
}

/// What steps 1, 7 and 9 say: the ones that depend on nothing but the record and the key.
fn judge(key: &Key, bytes: &[u8]) -> Option<Refusal> {
    let verify = || {
        let record = VoteRecord::decode(bytes)?;
        record.check_reason::<Sha256>()?;
        let signature = p256::ecdsa::Signature::from_der(record.signature)
            .map_err(|_| Refusal::VoteMalformed)?;
        key.private
            .verifying_key()
            .verify(record.signed, &signature)
            .map_err(|_| Refusal::VoteForged)
    };
    verify().err()
}

#[test]
fn refused_vectors() {
    let key = Key::new("alice");
    let id = request::id::<Sha256>(&request_bytes(40));
    let vote = signed(&key, 1, &id, Verdict::Approve, &[(0, 40), (1, 1)], REASON);
    let good = record(&key, &vote, REASON);
    assert_eq!(judge(&key, &good), None);
    let read = VoteRecord::decode(&good).unwrap();
    let der = read.signature.to_vec();
    let at = read.signed.len();
    let (r, s) = p256::ecdsa::Signature::from_der(&der)
        .unwrap()
        .split_scalars();
    let twin = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    let zero_r = [&[0x30, 6, 2, 1, 0][..], &[2, 1, 1]].concat();
    let order = [&[0x30, 38, 2, 33, 0][..], &engine::der::ORDER, &[2, 1, 1]].concat();
    let long_length = [&[0x30, 0x81][..], &der[1..]].concat();
    let trailing = [&der[..], &[0]].concat();
    let other = Key::new("mallory").sign(&vote);
    let malformed = Refusal::VoteMalformed;
    let malleable = Refusal::VoteMalleable;
    let cases: Vec<(&str, Vec<u8>, Refusal)> = vec![
        ("nothing", Vec::new(), malformed),
        (
            "one byte short of the fixed part",
            good[..155].to_vec(),
            malformed,
        ),
        ("cut within the clock", good[..170].to_vec(), malformed),
        ("cut after the signed part", good[..at].to_vec(), malformed),
        (
            "cut within the signature",
            good[..at + 2 + der.len() - 1].to_vec(),
            malformed,
        ),
        (
            "another magic",
            changed(&good, 7, b"1"),
            Refusal::VoteVersion,
        ),
        ("verdict 0", changed(&good, 112, &[0]), malformed),
        ("verdict 3", changed(&good, 112, &[3]), malformed),
        ("slot 0", changed(&good, 113, &[0]), malformed),
        (
            "slot 129 of the vote",
            changed(&good, 113, &[129]),
            malformed,
        ),
        ("no clock entries", changed(&good, 114, &[0, 0]), malformed),
        (
            "130 clock entries",
            changed(&good, 114, &[0, 130]),
            malformed,
        ),
        (
            "slots out of order",
            changed(&good, 156, &[0, 2]),
            malformed,
        ),
        ("a slot twice", changed(&good, 166, &[0, 0]), malformed),
        ("slot 129", changed(&good, 166, &[0, 129]), malformed),
        ("clock value 0", changed(&good, 168, &[0; 8]), malformed),
        ("no signature", resigned(&good, &[]), malformed),
        ("r is 0", resigned(&good, &zero_r), malformed),
        ("r is the order", resigned(&good, &order), malformed),
        (
            "a signature of 73 bytes",
            resigned(&good, &[0x30; 73]),
            malformed,
        ),
        (
            "reason of 257 bytes",
            [&good[..], &[b'x'; 257]].concat(),
            malformed,
        ),
        (
            "reason that is not UTF-8",
            changed(&good, good.len() - 1, &[0xff]),
            malformed,
        ),
        (
            "high s",
            resigned(&good, twin.to_der().as_bytes()),
            malleable,
        ),
        (
            "length in two bytes",
            resigned(&good, &long_length),
            malleable,
        ),
        (
            "byte behind the sequence",
            resigned(&good, &trailing),
            malleable,
        ),
        (
            "another reason",
            [&good[..], b"!"].concat(),
            Refusal::VoteReason,
        ),
        (
            "no reason",
            good[..at + 2 + der.len()].to_vec(),
            Refusal::VoteReason,
        ),
        (
            "signed by another key",
            resigned(&good, &other),
            Refusal::VoteForged,
        ),
        (
            "verdict changed",
            changed(&good, 112, &[2]),
            Refusal::VoteForged,
        ),
        (
            "slot changed",
            changed(&good, 113, &[2]),
            Refusal::VoteForged,
        ),
        (
            "epoch changed",
            changed(&good, 47, &[8]),
            Refusal::VoteForged,
        ),
        (
            "expiry changed",
            changed(&good, 123, &[0xff]),
            Refusal::VoteForged,
        ),
        (
            "clock changed",
            changed(&good, 175, &[2]),
            Refusal::VoteForged,
        ),
    ];
    let list: Vec<_> = cases
        .iter()
        .map(|(what, bytes, refusal)| {
            assert_eq!(judge(&key, bytes), Some(*refusal), "{what}");
            json!({
                "what": what,
                "record": hex(bytes),
                "refusal": refusal.name(),
                "code": refusal.code(),
            })
        })
        .collect();
    let value = json!({
        "description": "Records that are refused by steps 1, 7 and 9 of \"Vote\", which depend \
                        on nothing but the record and the validator's key.",
        "public_key": hex(&key.public),
        "accepted": hex(&good),
        "refused": list,
    });
    check("refused.json", &value);
}

#[test]
fn chain_vectors() {
    let key = Key::new("alice");
    // The node's own entry is the number of the event.
    let created = first_number(EPOCH) + 2;
    let request = request_bytes(created);
    let id = request::id::<Sha256>(&request);
    let vote = signed(
        &key,
        1,
        &id,
        Verdict::Approve,
        &[(0, created), (1, 1)],
        REASON,
    );
    let vote = record(&key, &vote, REASON);
    let payloads = [
        (Kind::Loaded, Payload::Loaded { version: "1.0" }, 0, 2),
        (Kind::Request, Payload::Request(&request), 0, 0),
        (Kind::Vote, Payload::Vote(&vote), 1, 1),
    ];
    let previous = [0x88; 32];
    let mut chain = Chain::new::<Sha256>(&NODE, EPOCH, &previous);
    let genesis = hex(chain.head());
    let mut events = Vec::new();
    for (place, (kind, payload, slot, result)) in (1..).zip(payloads) {
        let number = first_number(EPOCH) + place;
        let asked = kind != Kind::Loaded;
        let mut buf = vec![0; 8192];
        let len = payload.encode(&mut buf).unwrap();
        let event = Event {
            header: Header {
                number,
                boot_ms: 1_000_000 + place,
                wall_ms: 1_767_225_600_000 + place,
                kind,
                op: asked.then_some(Op::Exec),
                uid: if asked { 1000 } else { 0 },
                agent: if asked { 5 } else { 0 },
                request: if asked { id } else { [0; 32] },
                slot,
                result,
                line: if asked { 12 } else { 0 },
            },
            payload: &buf[..len],
        };
        let mut header = [0; HEADER_LEN];
        event.header.encode(len, &mut header).unwrap();
        chain.extend::<Sha256>(&header, event.payload);
        let mut bytes = vec![0; HEADER_LEN + len];
        event.encode(&mut bytes).unwrap();
        assert_eq!(Event::decode(&bytes).unwrap().decode_payload(), Ok(payload));
        events.push(json!({
            "number": number,
            "kind": kind.name(),
            "event": hex(&bytes),
            "chain": hex(chain.head()),
        }));
    }
    let value = json!({
        "description": "The first events of a load, and the chain's head after each.",
        "node": hex(&NODE),
        "epoch": EPOCH,
        "previous_head": hex(&previous),
        "genesis_input": hex(&Chain::genesis_input(&NODE, EPOCH, &previous)),
        "chain": genesis,
        "events": events,
    });
    check("chain.json", &value);
}

/// What is wrong with evidence, the signatures included.
fn judge_evidence(bytes: &[u8]) -> Option<Refusal> {
    let verify = || {
        let evidence = Evidence::decode::<Sha256>(bytes)?;
        let forged = |_| Refusal::EvidenceForged;
        let key = VerifyingKey::from_sec1_bytes(evidence.key).map_err(forged)?;
        for vote in [evidence.first, evidence.second] {
            let signature = p256::ecdsa::Signature::from_der(vote.signature).map_err(forged)?;
            key.verify(vote.signed, &signature).map_err(forged)?;
        }
        Ok(())
    };
    verify().err()
}

/// Evidence with other bytes for one of its parts: `first` and `second` as they are to stand there.
fn assembled(kind: u8, key: &Key, first: &Paper, second: &Paper) -> Vec<u8> {
    let part = |bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).unwrap();
        [&len.to_be_bytes()[..], bytes].concat()
    };
    [
        &evidence::MAGIC[..],
        &[kind, 0],
        &key.public,
        &part(&first.signed),
        &part(&first.signature),
        &part(&second.signed),
        &part(&second.signature),
    ]
    .concat()
}

#[test]
fn evidence_vectors() {
    let (alice, mallory) = (Key::new("alice"), Key::new("mallory"));
    let one = Draft::new(&alice.id, 1, CLOCK);
    let denies = Draft {
        verdict: Verdict::Deny,
        clock: vec![(0, 41), (1, 7), (3, 2)],
        ..one.clone()
    };
    let other_slot = Draft {
        slot: 3,
        ..denies.clone()
    };
    let same_entry = Draft {
        request: [0x77; 32],
        ..one.clone()
    };
    let fewer = Draft {
        request: [0x77; 32],
        clock: vec![(0, 44), (1, 7)],
        ..one.clone()
    };
    let proven: Vec<_> = [
        (Fault::Equivocation, "another verdict, later", &denies),
        (
            Fault::Equivocation,
            "another verdict in another slot",
            &other_slot,
        ),
        (
            Fault::Fork,
            "the same own entry, another request",
            &same_entry,
        ),
        (
            Fault::Regression,
            "a later vote that forgets slot 3",
            &fewer,
        ),
    ]
    .into_iter()
    .map(|(fault, what, other)| {
        let bytes = support::evidence_of(&alice.public, &other.sign(&alice), &one.sign(&alice));
        assert_eq!(judge_evidence(&bytes), None, "{what}");
        let evidence = Evidence::decode::<Sha256>(&bytes).unwrap();
        assert_eq!(evidence.fault, fault);
        json!({
            "what": what,
            "fault": fault.name(),
            "kind": fault as u8,
            "node": hex(evidence.node()),
            "validator": hex(evidence.validator()),
            "entry": evidence.entry(),
            "evidence": hex(&bytes),
        })
    })
    .collect();
    let value = json!({
        "description": "Evidence of faults, and bytes that prove none. The key is for tests only.",
        "private_key": hex(&alice.private.to_bytes()),
        "public_key": hex(&alice.public),
        "proven": proven,
        "refused": refused_evidence(&alice, &mallory, &one, &same_entry),
    });
    check("evidence.json", &value);
}

/// Bytes that prove nothing of alice, whose votes `one` and `two` would: they have the same own
/// entry.
fn refused_evidence(alice: &Key, mallory: &Key, one: &Draft, two: &Draft) -> Vec<Value> {
    let (malformed, none, forged) = (
        Refusal::EvidenceMalformed,
        Refusal::EvidenceNone,
        Refusal::EvidenceForged,
    );
    let (a, b) = (one.sign(alice), two.sign(alice));
    let good = assembled(2, alice, &a, &b);
    assert_eq!(judge_evidence(&good), None);
    let with = |change: fn(&mut Draft)| {
        let mut other = two.clone();
        change(&mut other);
        assembled(2, alice, &a, &other.sign(alice))
    };
    let end = good.len();
    let cases: Vec<(&str, Vec<u8>, Refusal)> = vec![
        ("nothing", Vec::new(), malformed),
        ("one byte missing", good[..end - 1].to_vec(), malformed),
        ("one byte more", [&good[..], &[0]].concat(), malformed),
        ("another magic", changed(&good, 7, b"2"), malformed),
        ("kind 0", changed(&good, 8, &[0]), malformed),
        ("kind 4", changed(&good, 8, &[4]), malformed),
        ("reserved byte", changed(&good, 9, &[1]), malformed),
        ("the other order", assembled(2, alice, &b, &a), malformed),
        ("another key", assembled(2, mallory, &a, &b), malformed),
        ("another kind", changed(&good, 8, &[3]), none),
        ("the same vote twice", assembled(2, alice, &a, &a), none),
        (
            "the same bytes with two signatures",
            assembled(2, alice, &a, &one.forge()),
            none,
        ),
        ("of two nodes", with(|v| v.node = [0x12; 32]), none),
        ("of two epochs", with(|v| v.epoch += 1), none),
        (
            "of two slots",
            with(|v| {
                v.slot = 3;
                v.clock = vec![(0, 40), (1, 6), (3, 9)];
            }),
            none,
        ),
        (
            "a later vote that dominates",
            with(|v| v.clock = vec![(0, 44), (1, 7), (3, 2)]),
            none,
        ),
        (
            "signed by another key",
            assembled(2, alice, &a, &two.sign(mallory)),
            forged,
        ),
        (
            "a signature of the other vote",
            assembled(
                2,
                alice,
                &a,
                &Paper {
                    signature: a.signature.clone(),
                    ..b.clone()
                },
            ),
            forged,
        ),
    ];
    cases
        .iter()
        .map(|(what, bytes, refusal)| {
            assert_eq!(judge_evidence(bytes), Some(*refusal), "{what}");
            json!({
                "what": what,
                "evidence": hex(bytes),
                "refusal": refusal.name(),
                "code": refusal.code(),
            })
        })
        .collect()
}

#[test]
fn state_vectors() {
    let sample = support::Sample::new();
    let bytes = sample.encode().unwrap();
    let state = State::decode::<Sha256>(&bytes).unwrap();
    assert_eq!(support::mac(&support::STATE_KEY, state.signed), *state.mac);
    let first = anchor::extended::<Sha256>(&anchor::UNWRITTEN, &sample.chain);
    let epoch = state.head.counter + 1;
    let next = Chain::new::<Sha256>(&NODE, epoch, &sample.chain);
    let value = json!({
        "description": "A sealed state. Byte strings are hexadecimal. The state key is for tests \
                        only; that of a node never leaves its kernel.",
        "state_key": hex(&support::STATE_KEY),
        "state": hex(&bytes),
        "signed_length": state.signed.len(),
        "mac": hex(state.mac),
        "fields": {
            "node": hex(state.head.node),
            "counter": state.head.counter,
            "previous_anchor": hex(state.head.previous),
            "anchor": hex(state.head.anchor),
            "head": hex(state.head.chain),
            "number": state.head.number,
            "wall_ms": state.head.wall_ms,
            "pcrs": state.head.pcrs,
            "private": hex(state.head.private),
            "public": hex(state.head.public),
            "mode": state.head.mode.name(),
            "policy": std::str::from_utf8(state.policy).unwrap(),
            "validators": state.validators().map(|validator| json!({
                "slot": validator.record.slot,
                "weight": validator.record.weight,
                "name": validator.record.name,
                "key": hex(validator.record.key),
                "accepted": validator.accepted,
                "clock": validator.clock.iter().collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "slots": hex(&state.slots.to_be_bytes()),
            "clock": state.clock.iter().collect::<Vec<_>>(),
            "quarantine": state.quarantine().map(|kept| json!({
                "validator": hex(kept.record.validator()),
                "slot": kept.record.slot(),
                "standing": kept.record.standing() as u8,
                "pairs": kept.record.pairs().iter().map(|pair| json!({
                    "node": hex(&pair.node),
                    "entry": pair.entry,
                })).collect::<Vec<_>>(),
                "number": kept.record.number(),
                "evidence": hex(kept.evidence),
            })).collect::<Vec<_>>(),
            "reputation": state.reputations().map(|(slot, kept)| json!({
                "slot": slot,
                "score": kept.score,
                "bias": kept.bias,
                "agreed": kept.agreed,
                "disagreed": kept.disagreed,
            })).collect::<Vec<_>>(),
        },
        "anchors": [
            {
                "what": "this state",
                "value": hex(state.head.previous),
                "head": hex(state.head.chain),
                "extended": hex(state.head.anchor),
            },
            {
                "what": "the first commit of all",
                "value": hex(&anchor::UNWRITTEN),
                "head": hex(&sample.chain),
                "extended": hex(&first),
            },
        ],
        "next_load": {
            "epoch": epoch,
            "genesis_input": hex(&Chain::genesis_input(&NODE, epoch, &sample.chain)),
            "chain": hex(next.head()),
            "first_number": first_number(epoch) + 1,
        },
    });
    check("state.json", &value);
}

#[test]
fn quorum_vectors() {
    let mut rows = Vec::new();
    for (weights, approve, deny, quarantined) in [
        (&[1][..], 1, 0, 0),
        (&[1], 0, 0, 1),
        (&[1, 1, 1, 1], 3, 0, 1),
        (&[1, 1, 1, 1], 2, 0, 1),
        (&[1, 1, 1, 1], 2, 0, 2),
        (&[1; 7], 5, 0, 1),
        (&[1; 7], 4, 1, 2),
        (&[1; 100], 0, 0, 25),
        (&[1; 100], 0, 0, 26),
        (&[1; 100], 0, 10, 16),
        (&[1], 0, 1, 0),
        (&[1, 1, 1], 2, 0, 0),
        (&[1, 1, 1], 3, 0, 0),
        (&[1, 1, 1, 1], 2, 1, 0),
        (&[1, 1, 1, 1], 3, 0, 0),
        (&[1, 1, 1, 1], 3, 1, 0),
        (&[1; 7], 5, 1, 0),
        (&[1; 7], 6, 0, 0),
        (&[1; 7], 0, 3, 0),
        (&[1; 100], 74, 25, 0),
        (&[1; 100], 75, 0, 0),
        (&[1; 100], 0, 25, 0),
        (&[1; 100], 0, 26, 0),
        (&[u32::MAX], 1, 0, 0),
        (&[5, 3, 1, 1], 1, 1, 0),
        (&[5, 3, 1, 1], 2, 0, 0),
        (&[u32::MAX - 2, 1, 1], 1, 1, 0),
    ] {
        for bp in [5001, 6667, 7500, 9000, 10_000] {
            let total = weights.iter().map(|&weight| u64::from(weight)).sum();
            let mut ballot = Ballot::new(bp, total).unwrap();
            // The first validators approve, the last ones are quarantined, those before them deny.
            let verdicts = (1..)
                .zip(weights)
                .enumerate()
                .filter_map(|(i, (slot, &weight))| {
                    if i < approve {
                        Some((slot, weight, Verdict::Approve))
                    } else if i >= weights.len() - deny - quarantined
                        && i < weights.len() - quarantined
                    {
                        Some((slot, weight, Verdict::Deny))
                    } else {
                        None
                    }
                });
            for (slot, &weight) in (1..).zip(weights).skip(weights.len() - quarantined) {
                ballot.bar(slot, weight);
            }
            for (slot, weight, verdict) in verdicts {
                if ballot.outcome() == Outcome::Open {
                    ballot.cast(slot, weight, verdict).unwrap();
                }
            }
            rows.push(json!({
                "threshold_bp": bp,
                "total": total,
                "approve": ballot.approve(),
                "deny": ballot.deny(),
                "quarantined": ballot.barred(),
                "needed": ballot.needed(),
                "outcome": match ballot.outcome() {
                    Outcome::Open => "open",
                    Outcome::Granted => "granted",
                    Outcome::Denied => "denied",
                },
            }));
        }
    }
    let value = json!({
        "description": "Weights when the votes so far have been counted, one by one until a \
                        decision, and what they amount to.",
        "rows": rows,
    });
    check("quorum.json", &value);
}
