// SPDX-License-Identifier: GPL-2.0

//! A node in miniature, whose histories are the auditor's input: it records what the kernel module would, with real keys
//! and signatures, and does whatever a test tells it to.
// Each test that includes this uses another part of it, so an `expect` would not be fulfilled in every one.
#![allow(dead_code)]

use std::collections::BTreeMap;

use engine::{
    anchor,
    clock::{
        first_number,
        Chain,
        ClaimedClock,
        NodeClock,
        NODE_SLOT,
        NO_HEAD, //
    },
    der,
    event::{
        Event,
        Header,
        Kind,
        Payload,
        Tally, //
    },
    governance::{
        Detail,
        Mode,
        ValidatorRecord, //
    },
    op::Op,
    quorum::{
        Ballot,
        Outcome,
        Verdict, //
    },
    refusal::Refusal,
    request::{
        self,
        Binding,
        Fact,
        Head,
        Object, //
    },
    vote::{
        self,
        Vote, //
    },
    wire::Digest, //
};
use p256::ecdsa::{
    signature::Signer,
    Signature,
    SigningKey, //
};
use sha2::Digest as _;

pub(crate) struct Sha256;

impl Digest for Sha256 {
    fn sha256(parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = sha2::Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::sha256(&[bytes])
}

/// A key that everybody knows: the private key is the digest of the name.
pub(crate) struct Key {
    pub(crate) private: SigningKey,
    pub(crate) public: [u8; 65],
    pub(crate) id: [u8; 32],
}

impl Key {
    pub(crate) fn new(name: &str) -> Self {
        let secret = Sha256::sha256(&[b"TCP-LSM test key ", name.as_bytes()]);
        let private = SigningKey::from_slice(&secret).unwrap();
        let point = private.verifying_key().to_encoded_point(false);
        let public: [u8; 65] = point.as_bytes().try_into().unwrap();
        Self {
            private,
            id: sha256(&public),
            public,
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.private.sign(message);
        let mut out = [0; der::MAX_LEN];
        let length = der::normalize(&signature.to_bytes().into(), &mut out).unwrap();
        out[..length].to_vec()
    }
}

pub(crate) const POLICY_1: &str = "policy_name=builder policy_version=1\n\
    class builder\n\
    DEFAULT action=DENY\n\
    op=FILE_WRITE class=builder path=/etc action=QUORUM threshold=75% ttl=5m uses=2\n";

pub(crate) const POLICY_2: &str = "policy_name=builder policy_version=2\n\
    class builder\n\
    DEFAULT action=DENY\n\
    op=FILE_WRITE class=builder path=/etc action=QUORUM threshold=90% ttl=1m uses=1\n";

/// Line of the rule in both policies.
pub(crate) const LINE: u32 = 4;

/// The events of one segment, each with the chain's value after it.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) node: [u8; 32],
    pub(crate) epoch: u64,
    pub(crate) chain: [u8; 32],
    pub(crate) events: Vec<(Vec<u8>, [u8; 32])>,
}

/// A log.
#[derive(Clone, Default)]
pub(crate) struct Log {
    pub(crate) segments: Vec<Segment>,
}

impl Log {
    /// The container that `Documentation/audit.rst` specifies, written here a second time.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for segment in &self.segments {
            out.extend_from_slice(b"TCPLLOG1");
            out.extend_from_slice(&segment.node);
            out.extend_from_slice(&segment.epoch.to_be_bytes());
            out.extend_from_slice(&segment.chain);
            for (event, chain) in &segment.events {
                out.extend_from_slice(&u32::try_from(event.len()).unwrap().to_be_bytes());
                out.extend_from_slice(event);
                out.extend_from_slice(chain);
            }
        }
        out
    }

    /// Computes the chain anew, as a forger does.
    pub(crate) fn rechain(&mut self) {
        for segment in &mut self.segments {
            let mut chain = Chain::from_head(segment.chain);
            for (event, value) in &mut segment.events {
                chain.extend::<Sha256>(event, &[]);
                *value = *chain.head();
            }
        }
    }

    /// Gives the events of a segment consecutive numbers, as a forger does who took one away.
    pub(crate) fn renumber(&mut self) {
        for segment in &mut self.segments {
            let mut number = first_number(segment.epoch);
            for (event, _) in &mut segment.events {
                number += 1;
                event[8..16].copy_from_slice(&number.to_be_bytes());
            }
        }
    }

    /// Places of all events of a kind: segment and index.
    pub(crate) fn places(&self, kind: Kind) -> Vec<(usize, usize)> {
        let mut places = Vec::new();
        for (at, segment) in self.segments.iter().enumerate() {
            for (index, (event, _)) in segment.events.iter().enumerate() {
                if Event::decode(event).unwrap().header.kind == kind {
                    places.push((at, index));
                }
            }
        }
        places
    }

    /// The bytes of an event.
    pub(crate) fn event(&mut self, place: (usize, usize)) -> &mut Vec<u8> {
        &mut self.segments[place.0].events[place.1].0
    }

    /// The number of an event.
    pub(crate) fn number(&self, place: (usize, usize)) -> u64 {
        let event = &self.segments[place.0].events[place.1].0;
        u64::from_be_bytes(event[8..16].try_into().unwrap())
    }

    /// Puts a new payload into an event.
    pub(crate) fn set_payload(&mut self, place: (usize, usize), payload: &[u8]) {
        let event = self.event(place);
        event.truncate(88);
        event.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
        event.extend_from_slice(payload);
    }

    /// The payload of an event.
    pub(crate) fn payload(&self, place: (usize, usize)) -> Vec<u8> {
        self.segments[place.0].events[place.1].0[92..].to_vec()
    }
}

/// One enrolled validator.
#[derive(Clone)]
pub(crate) struct Enrolled {
    pub(crate) name: String,
    pub(crate) slot: u16,
    pub(crate) weight: u32,
    pub(crate) last: NodeClock,
}

/// A request that the node knows.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) encoding: Vec<u8>,
    pub(crate) op: Op,
    pub(crate) agent: u64,
    pub(crate) uid: u32,
    pub(crate) line: u32,
    pub(crate) created: u64,
    pub(crate) expires_ms: u64,
    pub(crate) uses: u16,
    pub(crate) ballot: Ballot,
}

/// A node in miniature.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) log: Log,
    pub(crate) id: [u8; 32],
    pub(crate) epoch: u64,
    /// What the TPM's counter shows.
    pub(crate) counter: u64,
    /// What the TPM's anchor shows.
    pub(crate) anchor: [u8; 32],
    pub(crate) chain: Chain,
    pub(crate) clock: NodeClock,
    pub(crate) boot_ms: u64,
    pub(crate) policy: Option<&'static str>,
    pub(crate) validators: BTreeMap<u16, Enrolled>,
    pub(crate) requests: BTreeMap<[u8; 32], Asked>,
    pub(crate) uses_left: BTreeMap<[u8; 32], u16>,
    /// Counter, head and anchor of the last state.
    pub(crate) state: Option<(u64, [u8; 32], [u8; 32])>,
    pub(crate) nonce: u8,
}

fn policy_version(text: &str) -> u64 {
    engine::policy::Policy::parse(text.as_bytes())
        .unwrap()
        .version()
}

impl Node {
    /// A node that is loaded for the first time, with a counter that shows `epoch` then.
    pub(crate) fn new(epoch: u64) -> Self {
        let mut node = Self {
            log: Log::default(),
            id: sha256(&ak()),
            epoch,
            counter: epoch,
            anchor: [0; 32],
            chain: Chain::from_head(NO_HEAD),
            clock: NodeClock::new(),
            boot_ms: 1000,
            policy: None,
            validators: BTreeMap::new(),
            requests: BTreeMap::new(),
            uses_left: BTreeMap::new(),
            state: None,
            nonce: 0,
        };
        node.load(&NO_HEAD);
        node
    }

    /// Begins a load.
    pub(crate) fn load(&mut self, previous: &[u8; 32]) {
        self.chain = Chain::new::<Sha256>(&self.id, self.epoch, previous);
        assert!(self.clock.set(NODE_SLOT, first_number(self.epoch)));
        self.boot_ms = 1000;
        self.requests.clear();
        self.uses_left.clear();
        self.log.segments.push(Segment {
            node: self.id,
            epoch: self.epoch,
            chain: *self.chain.head(),
            events: Vec::new(),
        });
        let tpm = 1 + u16::from(self.epoch > 0);
        self.plain(Kind::Loaded, tpm, &Payload::Loaded { version: "0.1.0" });
    }

    pub(crate) fn header(&self, kind: Kind, result: u16) -> Header {
        Header {
            number: 0,
            boot_ms: 0,
            wall_ms: 1_767_225_600_000,
            kind,
            op: None,
            uid: 0,
            agent: 0,
            request: [0; 32],
            slot: 0,
            result,
            line: 0,
        }
    }

    /// Records an event; number and time are the next ones.
    pub(crate) fn record(&mut self, header: Header, payload: &[u8]) -> u64 {
        self.boot_ms += 10;
        let number = self.clock.tick(NODE_SLOT).unwrap();
        let header = Header {
            number,
            boot_ms: self.boot_ms,
            wall_ms: header.wall_ms + self.boot_ms,
            ..header
        };
        let mut out = vec![0; 92 + payload.len()];
        Event { header, payload }.encode(&mut out).unwrap();
        self.chain.extend::<Sha256>(&out, &[]);
        let head = *self.chain.head();
        let segment = self.log.segments.last_mut().unwrap();
        segment.events.push((out, head));
        number
    }

    /// Records an event about nothing in particular.
    pub(crate) fn plain(&mut self, kind: Kind, result: u16, payload: &Payload<'_>) -> u64 {
        let bytes = encode(payload);
        let slot = match payload {
            Payload::Validator(record) => record.slot,
            _ => 0,
        };
        let header = Header {
            slot,
            ..self.header(kind, result)
        };
        self.record(header, &bytes)
    }

    fn with_policy<T>(text: &'static str, f: impl FnOnce(&Payload<'_>) -> T) -> T {
        let digest = sha256(text.as_bytes());
        f(&Payload::Policy {
            version: policy_version(text),
            digest: &digest,
            name: "builder",
        })
    }

    /// POLICY.
    pub(crate) fn policy(&mut self, text: &'static str) -> u64 {
        self.policy = Some(text);
        Self::with_policy(text, |payload| self.plain(Kind::Policy, 0, payload))
    }

    fn validator_payload(slot: u16, name: &str, weight: u32) -> Vec<u8> {
        let key = Key::new(name);
        encode(&Payload::Validator(ValidatorRecord {
            slot,
            weight,
            name,
            key: &key.public,
        }))
    }

    /// VALIDATOR_ADDED.
    pub(crate) fn add(&mut self, slot: u16, name: &str, weight: u32) -> u64 {
        let payload = Self::validator_payload(slot, name, weight);
        self.validators.insert(
            slot,
            Enrolled {
                name: name.to_owned(),
                slot,
                weight,
                last: NodeClock::new(),
            },
        );
        let header = Header {
            slot,
            ..self.header(Kind::ValidatorAdded, 0)
        };
        self.record(header, &payload)
    }

    /// VALIDATOR_REMOVED.
    pub(crate) fn remove(&mut self, slot: u16) -> u64 {
        let gone = self.validators.remove(&slot).unwrap();
        let payload = Self::validator_payload(slot, &gone.name, gone.weight);
        let header = Header {
            slot,
            ..self.header(Kind::ValidatorRemoved, 0)
        };
        self.record(header, &payload)
    }

    pub(crate) fn total(&self) -> u64 {
        self.validators
            .values()
            .map(|of| u64::from(of.weight))
            .sum()
    }

    fn sealed_payload(&self) -> Vec<u8> {
        encode(&Payload::Sealed {
            policy: &sha256(self.policy.unwrap().as_bytes()),
            total: u32::try_from(self.total()).unwrap(),
        })
    }

    /// STAGED.
    pub(crate) fn stage(&mut self, kind: u16, result: u16, change: &[u8]) -> u64 {
        let payload = encode(&Payload::Staged {
            counter: self.counter + 1,
            before: &self.anchor.clone(),
            result,
            change,
        });
        self.record(self.header(Kind::Staged, kind), &payload)
    }

    /// The TPM takes what was staged last, and ANCHORED.
    pub(crate) fn commit(&mut self, number: u64) -> u64 {
        let head = self.commit_silently();
        let payload = encode(&Payload::Anchored {
            counter: self.counter,
            number,
            head: &head,
            anchor: &self.anchor.clone(),
        });
        self.record(self.header(Kind::Anchored, 0), &payload)
    }

    /// The TPM takes what was staged last, and the power is cut.
    pub(crate) fn commit_silently(&mut self) -> [u8; 32] {
        let head = *self.chain.head();
        self.anchor = anchor::extended::<Sha256>(&self.anchor, &head);
        self.counter += 1;
        self.state = Some((self.counter, head, self.anchor));
        head
    }

    /// A commit of a change.
    pub(crate) fn anchored(&mut self, kind: Kind, result: u16, change: &[u8]) {
        let number = self.stage(kind as u16, result, change);
        self.commit(number);
    }

    /// A checkpoint.
    pub(crate) fn checkpoint(&mut self) {
        let number = self.stage(0, 0, &[]);
        self.commit(number);
    }

    /// Ends setup.
    pub(crate) fn seal(&mut self) {
        let payload = self.sealed_payload();
        if self.epoch > 0 {
            self.anchored(Kind::Sealed, 0, &payload);
        }
        self.record(self.header(Kind::Sealed, 0), &payload);
    }

    /// AGENT.
    pub(crate) fn agent(&mut self, id: u64) {
        let header = Header {
            agent: id,
            uid: 1000,
            ..self.header(Kind::Agent, 0)
        };
        let payload = encode(&Payload::Agent {
            parent: 0,
            pid: 4242,
            class: "builder",
            name: "nightly",
        });
        self.record(header, &payload);
    }

    /// A request of agent 9 to write a file under /etc, by the rule in force.
    pub(crate) fn ask(&mut self, path: &[u8]) -> [u8; 32] {
        let second = self.policy == Some(POLICY_2);
        let facts = [Fact::Path(path), Fact::Hook(b"file_open")];
        let terms = match second {
            true => (9000, 60, 1),
            false => (7500, 300, 2),
        };
        self.request(Op::FileWrite, 9, LINE, terms, &[0; 32], &facts)
    }

    /// A governance request.
    pub(crate) fn ask_detail(&mut self, detail: &Detail<'_>) -> [u8; 32] {
        let mut out = [0; 256];
        let length = detail.encode(&mut out).unwrap();
        let bytes = &out[..length];
        let facts = [Fact::Size(length as u64), Fact::Detail(bytes)];
        let content = sha256(bytes);
        self.request(detail.op(), 0, 0, (7500, 300, 1), &content, &facts)
    }

    /// A request to load a policy.
    pub(crate) fn ask_policy(&mut self, text: &str) -> [u8; 32] {
        let facts = [
            Fact::Name(b"builder"),
            Fact::Size(text.len() as u64),
            Fact::Version(policy_version(text)),
        ];
        let content = sha256(text.as_bytes());
        self.request(Op::Policy, 0, 0, (7500, 300, 1), &content, &facts)
    }

    /// REQUEST, with threshold, life in seconds, and uses.
    pub(crate) fn request(
        &mut self,
        op: Op,
        agent: u64,
        line: u32,
        (threshold_bp, ttl_s, uses): (u16, u32, u16),
        content: &[u8; 32],
        facts: &[Fact<'_>],
    ) -> [u8; 32] {
        self.nonce += 1;
        let created = self.clock.get(NODE_SLOT) + 1;
        let expires_ms = self.boot_ms + 600_000;
        let head = Head {
            node: &self.id.clone(),
            epoch: self.epoch,
            nonce: &[self.nonce; 16],
            created,
            created_ms: self.boot_ms,
            expires_ms,
            wall_ms: 1_767_225_600_000,
        };
        let uid = if agent == 0 { 0 } else { 1000 };
        let text = self.policy.unwrap_or("");
        let none = self.policy.is_none();
        let binding = Binding {
            op,
            uid,
            agent,
            policy_version: if none { 0 } else { policy_version(text) },
            policy: &if none {
                [0; 32]
            } else {
                sha256(text.as_bytes())
            },
            threshold_bp,
            uses,
            ttl_s,
            line,
            object: Object::default(),
            content,
            class: if agent == 0 { "" } else { "builder" },
            agent_name: if agent == 0 { "" } else { "nightly" },
        };
        let mut out = vec![0; request::MAX_LEN];
        let length = request::encode(&head, &binding, facts, &mut out).unwrap();
        out.truncate(length);
        let id = sha256(&out);
        let header = Header {
            op: Some(op),
            uid,
            agent,
            request: id,
            line,
            ..self.header(Kind::Request, 0)
        };
        self.record(header, &out);
        let total = self.total().max(1);
        let ballot = Ballot::new(threshold_bp, total).unwrap();
        self.requests.insert(
            id,
            Asked {
                encoding: out,
                op,
                agent,
                uid,
                line,
                created,
                expires_ms,
                uses,
                ballot,
            },
        );
        id
    }

    /// The header of an event about a request.
    pub(crate) fn about(&self, id: &[u8; 32], kind: Kind, result: u16) -> Header {
        let asked = &self.requests[id];
        Header {
            op: Some(asked.op),
            uid: asked.uid,
            agent: asked.agent,
            request: *id,
            line: asked.line,
            ..self.header(kind, result)
        }
    }

    /// A vote record with the smallest clock.
    pub(crate) fn ballot_paper(&self, id: &[u8; 32], slot: u16, verdict: Verdict) -> Vec<u8> {
        let enrolled = &self.validators[&slot];
        let mut clock = enrolled.last.clone();
        assert!(clock.next_vote(slot, self.requests[id].created));
        self.signed(id, &enrolled.name, verdict, &clock, "looks right")
    }

    /// A vote record of anybody with any clock.
    pub(crate) fn signed(
        &self,
        id: &[u8; 32],
        name: &str,
        verdict: Verdict,
        clock: &NodeClock,
        reason: &str,
    ) -> Vec<u8> {
        let key = Key::new(name);
        let mut bytes = [0; 2048];
        let mut writer = engine::wire::Writer::new(&mut bytes);
        clock.encode(&mut writer).unwrap();
        let entries = writer.written().to_vec();
        let vote = Vote {
            node: &self.id,
            epoch: self.epoch,
            request: id,
            validator: &key.id,
            verdict,
            expires_ms: self.requests[id].expires_ms,
            reason_digest: &vote::reason_digest::<Sha256>(reason),
            clock: ClaimedClock::decode(&entries).unwrap(),
        };
        let mut out = [0; vote::MAX_SIGNED];
        let length = vote.encode_signed(&mut out).unwrap();
        let signed = &out[..length];
        let mut record = [0; vote::MAX_RECORD];
        let length = vote::encode_record(signed, &key.sign(signed), reason, &mut record).unwrap();
        record[..length].to_vec()
    }

    /// VOTE, and the decision that it brings.
    pub(crate) fn vote(&mut self, id: &[u8; 32], slot: u16, verdict: Verdict) {
        let record = self.ballot_paper(id, slot, verdict);
        self.cast(id, slot, verdict, &record);
    }

    /// Records a vote whatever is in it, and the decision that the weights bring.
    pub(crate) fn cast(&mut self, id: &[u8; 32], slot: u16, verdict: Verdict, record: &[u8]) {
        let header = Header {
            slot,
            ..self.about(id, Kind::Vote, verdict as u16)
        };
        self.record(header, record);
        let clock = vote::VoteRecord::decode(record).unwrap().vote.clock;
        let _ = self.clock.set(slot, clock.get(slot));
        let enrolled = self.validators.get_mut(&slot).unwrap();
        enrolled.last.decode(clock.as_bytes()).unwrap();
        let weight = enrolled.weight;
        let asked = self.requests.get_mut(id).unwrap();
        match asked.ballot.cast(slot, weight, verdict).unwrap() {
            Outcome::Open => {}
            Outcome::Granted => {
                self.decide(id, Kind::Granted);
                let uses = self.requests[id].uses;
                self.uses_left.insert(*id, uses);
            }
            Outcome::Denied => self.decide(id, Kind::Denied),
        }
    }

    /// GRANTED, DENIED or EXPIRED, as the weights are.
    pub(crate) fn decide(&mut self, id: &[u8; 32], kind: Kind) {
        let ballot = &self.requests[id].ballot;
        let payload = encode(&Payload::Tally(Tally {
            approve: ballot.approve(),
            deny: ballot.deny(),
            total: ballot.total(),
        }));
        self.record(self.about(id, kind, 0), &payload);
    }

    /// USED, and GRANT_ENDED after the last use.
    pub(crate) fn spend(&mut self, id: &[u8; 32]) {
        let left = self.uses_left.get_mut(id).unwrap();
        *left -= 1;
        let left = *left;
        self.record(self.about(id, Kind::Used, left), &[]);
        if left == 0 {
            self.record(self.about(id, Kind::GrantEnded, 3), &[]);
        }
    }

    /// Three of four approve.
    pub(crate) fn approve(&mut self, id: &[u8; 32]) {
        for slot in 1..=3 {
            self.vote(id, slot, Verdict::Approve);
        }
    }

    /// Puts a policy in force as a quorum allows.
    pub(crate) fn change_policy(&mut self, text: &'static str) {
        let id = self.ask_policy(text);
        self.approve(&id);
        self.spend(&id);
        if self.epoch > 0 {
            let change = Self::with_policy(text, encode);
            self.anchored(Kind::Policy, 0, &change);
        }
        self.policy(text);
    }

    /// Removes a validator as a quorum allows.
    pub(crate) fn remove_by_quorum(&mut self, slot: u16) {
        let of = self.validators[&slot].clone();
        let id = self.ask_detail(&Detail::RemoveValidator { name: &of.name });
        self.approve(&id);
        self.spend(&id);
        if self.epoch > 0 {
            let change = Self::validator_payload(slot, &of.name, of.weight);
            self.anchored(Kind::ValidatorRemoved, 0, &change);
        }
        self.remove(slot);
    }

    /// The setup of most tests: four validators of weight 1, the first policy, sealed.
    pub(crate) fn set_up(&mut self) {
        for (slot, name) in (1..).zip(["alice", "bob", "carol", "dave"]) {
            self.add(slot, name, 1);
        }
        self.policy(POLICY_1);
        self.seal();
    }

    /// The module is loaded again and its state given back. `half` when the power was cut within the commit.
    pub(crate) fn restart(&mut self, half: bool) {
        let (_, head, _) = self.state.unwrap();
        self.epoch = self.counter + 1;
        self.load(&head);
        self.restore(1 + u16::from(half));
    }

    /// RESTORED of the last state.
    fn restored(&self) -> Vec<u8> {
        let (counter, head, anchor) = self.state.unwrap();
        encode(&Payload::Restored {
            counter,
            head: &head,
            anchor: &anchor,
            wall_ms: 1_767_225_600_000,
        })
    }

    /// The module is loaded again and the restore of its state staged.
    pub(crate) fn stage_restore(&mut self) {
        let (_, head, _) = self.state.unwrap();
        self.epoch = self.counter + 1;
        self.load(&head);
        let change = self.restored();
        self.stage(Kind::Restored as u16, 1, &change);
    }

    /// The state is given back in a load that has begun.
    pub(crate) fn restore(&mut self, result: u16) {
        let change = self.restored();
        self.anchored(Kind::Restored, result, &change);
        self.record(self.header(Kind::Restored, result), &change);
        self.repeat_state();
        self.sealed();
    }

    /// The module is loaded again and its state given back by quorum: it is not current.
    pub(crate) fn recover(&mut self, approve: impl Fn(&mut Self, &[u8; 32])) {
        // Somebody has moved the counter.
        self.counter += 2;
        let found = (self.counter, self.anchor);
        self.begin_recovery();
        self.decide_recovery(found, approve);
    }

    /// The load of a recovery up to the request.
    pub(crate) fn begin_recovery(&mut self) {
        self.epoch = self.counter + 1;
        self.outdated();
        let number = self.clock.get(NODE_SLOT);
        self.anchor_beginning(number);
    }

    /// The events of a load that takes a state which is not current, up to CLOCK of slot 0.
    pub(crate) fn outdated(&mut self) {
        let (_, head, _) = self.state.unwrap();
        self.load(&head);
        let outdated = self.restored();
        self.record(self.header(Kind::Restored, 3), &outdated);
        self.repeat_state();
    }

    /// The TPM is told how the load began, up to the last event, whose number is `number`; ANCHORED.
    pub(crate) fn anchor_beginning(&mut self, number: u64) {
        let head = *self.chain.head();
        self.anchor = anchor::extended::<Sha256>(&self.anchor, &head);
        self.counter = self.epoch;
        let payload = encode(&Payload::Anchored {
            counter: self.counter,
            number,
            head: &head,
            anchor: &self.anchor.clone(),
        });
        self.record(self.header(Kind::Anchored, 0), &payload);
    }

    /// The request to recover, its votes, and what follows. `found` are counter and anchor.
    pub(crate) fn decide_recovery(
        &mut self,
        (found, before): (u64, [u8; 32]),
        approve: impl Fn(&mut Self, &[u8; 32]),
    ) {
        let (state, head, _) = self.state.unwrap();
        let reason = Refusal::StateOlder.code();
        let mut out = [0; 64];
        let length = Detail::Recover {
            reason,
            state,
            found,
        }
        .encode(&mut out)
        .unwrap();
        let facts = [Fact::Size(4000), Fact::Detail(&out[..length])];
        let content = sha256(b"the state");
        let id = self.request(Op::Recover, 0, 0, (7500, 300, 1), &content, &facts);
        approve(self, &id);
        self.spend(&id);
        let change = encode(&Payload::Recovered {
            counter: found,
            anchor: &before,
            state,
            head: &head,
        });
        self.anchored(Kind::Recovered, reason, &change);
        self.record(self.header(Kind::Recovered, reason), &change);
        self.sealed();
    }

    /// The module is loaded again and begins anew.
    pub(crate) fn recover_to_setup(&mut self) {
        let found = self.counter;
        self.epoch = found + 1;
        self.policy = None;
        self.validators.clear();
        self.clock = NodeClock::new();
        self.load(&NO_HEAD);
        let change = encode(&Payload::Recovered {
            counter: found,
            anchor: &self.anchor.clone(),
            state: 0,
            head: &NO_HEAD,
        });
        let reason = Refusal::StateMissing.code();
        let number = self.record(self.header(Kind::Recovered, reason), &change);
        self.anchor_beginning(number);
    }

    /// SEALED.
    fn sealed(&mut self) {
        let payload = self.sealed_payload();
        self.record(self.header(Kind::Sealed, 0), &payload);
    }

    /// The events after RESTORED.
    pub(crate) fn repeat_state(&mut self) {
        self.policy(self.policy.unwrap());
        self.record(self.header(Kind::Mode, Mode::Enforce as u16), &[]);
        for (slot, of) in self.validators.clone() {
            self.add(slot, &of.name, of.weight);
            self.validators.insert(slot, of.clone());
            if of.last.count() > 0 {
                self.record_clock(slot, &of.last);
            }
        }
        let clock = self.clock.clone();
        self.record_clock(NODE_SLOT, &clock);
    }

    fn record_clock(&mut self, slot: u16, clock: &NodeClock) {
        let mut bytes = [0; 2048];
        let mut writer = engine::wire::Writer::new(&mut bytes);
        clock.encode(&mut writer).unwrap();
        let claimed = ClaimedClock::decode(writer.written()).unwrap();
        let payload = encode(&Payload::Clock(claimed));
        let header = Header {
            slot,
            ..self.header(Kind::Clock, 0)
        };
        self.record(header, &payload);
    }
}

/// The bytes of a payload.
pub(crate) fn encode(payload: &Payload<'_>) -> Vec<u8> {
    let mut out = [0; engine::limits::EVENT_PAYLOAD];
    let length = payload.encode(&mut out).unwrap();
    out[..length].to_vec()
}

/// A history with a bit of everything: two loads, grants used up, denied, expired and cancelled requests, a policy and a
/// validator changed by quorum, a held vote, checkpoints, a tail that is not anchored.
pub(crate) fn everything() -> Node {
    let mut node = Node::new(3);
    node.set_up();
    node.agent(9);
    let first = node.ask(b"/etc/hosts");
    node.approve(&first);
    node.spend(&first);
    node.spend(&first);
    let denied = node.ask(b"/etc/passwd");
    for slot in 1..=2 {
        node.vote(&denied, slot, Verdict::Deny);
    }
    let expired = node.ask(b"/etc/shadow");
    node.vote(&expired, 4, Verdict::Approve);
    node.boot_ms += 600_000;
    node.decide(&expired, Kind::Expired);
    let withdrawn = node.ask(b"/etc/group");
    node.record(node.about(&withdrawn, Kind::Cancelled, 1), &[]);
    node.checkpoint();
    let pending = node.ask(b"/etc/fstab");
    let id = node.ask_policy(POLICY_2);
    node.approve(&id);
    node.spend(&id);
    let change = Node::with_policy(POLICY_2, encode);
    node.anchored(Kind::Policy, 0, &change);
    node.record(node.about(&pending, Kind::Cancelled, 2), &[]);
    node.policy(POLICY_2);
    // This one is lost in the crash that follows.
    let lost = node.ask(b"/etc/motd");
    node.vote(&lost, 1, Verdict::Approve);
    let undo = node.validators.clone();
    let clock = node.clock.clone();
    node.restart_after_crash(undo, &clock);
    node.agent(9);
    let held = node.ask(b"/etc/issue");
    // Bob refers to a vote of Alice that this node has not seen, until it comes.
    let mut clock = node.validators[&2].last.clone();
    assert!(clock.next_vote(2, node.requests[&held].created));
    assert!(clock.set(1, node.validators[&1].last.get(1) + 1));
    let early = node.signed(&held, "bob", Verdict::Approve, &clock, "");
    let header = Header {
        slot: 2,
        ..node.about(&held, Kind::Held, 1)
    };
    node.record(header, &early);
    node.vote(&held, 1, Verdict::Approve);
    node.cast(&held, 2, Verdict::Approve, &early);
    for slot in 3..=4 {
        node.vote(&held, slot, Verdict::Approve);
    }
    node.spend(&held);
    node.remove_by_quorum(4);
    node.agent(10);
    node
}

impl Node {
    /// Restarts from the last state, with the clocks that it held.
    pub(crate) fn restart_after_crash(
        &mut self,
        validators: BTreeMap<u16, Enrolled>,
        clock: &NodeClock,
    ) {
        // Alice's last vote was after the last commit: the state has what she said before.
        self.validators = validators;
        self.clock = clock.clone();
        let alice = self.validators.get_mut(&1).unwrap();
        let own = alice.last.get(1) - 1;
        let _ = alice.last.set(1, own);
        let _ = self.clock.set(1, own);
        let seen = self.state_node_entry(1);
        let _ = self
            .validators
            .get_mut(&1)
            .unwrap()
            .last
            .set(NODE_SLOT, seen);
        self.restart(false);
    }

    /// The node's entry in the vote of a slot before its last one.
    fn state_node_entry(&self, slot: u16) -> u64 {
        let mut entries = Vec::new();
        for segment in &self.log.segments {
            for (event, _) in &segment.events {
                let event = Event::decode(event).unwrap();
                if event.header.kind == Kind::Vote && event.header.slot == slot {
                    let record = vote::VoteRecord::decode(event.payload).unwrap();
                    entries.push(record.vote.clock.get(NODE_SLOT));
                }
            }
        }
        entries[entries.len() - 2]
    }
}

fn put_2b(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u16::try_from(bytes.len()).unwrap().to_be_bytes());
    out.extend_from_slice(bytes);
}

/// `TPMT_PUBLIC` of an attestation key, as `sealed-state.rst` prescribes it.
pub(crate) fn ak() -> Vec<u8> {
    let key = Key::new("attestation");
    let mut public = hex::decode("0023000b00050472000000100018000b00030010").unwrap();
    put_2b(&mut public, &key.public[1..33]);
    put_2b(&mut public, &key.public[33..]);
    public
}

/// The Name of a public area.
fn name_of(public: &[u8]) -> Vec<u8> {
    [&[0, 0x0b][..], &sha256(public)].concat()
}

/// A statement of the attestation key, as JSON.
fn attested(kind: u16, nonce: &[u8], body: &[u8]) -> serde_json::Value {
    let mut attest = b"\xffTCG".to_vec();
    attest.extend_from_slice(&kind.to_be_bytes());
    let endorsement = [&0x4000_000bu32.to_be_bytes()[..], &name_of(&ak())].concat();
    put_2b(&mut attest, &name_of(&endorsement));
    put_2b(&mut attest, nonce);
    // Clock, resets, restarts, safe, firmware.
    attest.extend_from_slice(&[0; 7]);
    attest.extend_from_slice(&[9, 0, 0, 0, 2, 0, 0, 0, 0, 1]);
    attest.extend_from_slice(&[0; 8]);
    attest.extend_from_slice(body);
    let signature: Signature = Key::new("attestation").private.sign(&attest);
    let numbers = signature.to_bytes();
    let mut bytes = hex::decode("0018000b").unwrap();
    put_2b(&mut bytes, &numbers[..32]);
    put_2b(&mut bytes, &numbers[32..]);
    serde_json::json!({ "attest": hex::encode(attest), "signature": hex::encode(bytes) })
}

/// The certificate of an NV index, as JSON.
fn certified(nonce: &[u8], index: u32, attributes: u32, value: &[u8]) -> serde_json::Value {
    let size = u16::try_from(value.len()).unwrap();
    let mut public = index.to_be_bytes().to_vec();
    public.extend_from_slice(&[0, 0x0b]);
    public.extend_from_slice(&(attributes | 0x2000_0000).to_be_bytes());
    public.extend_from_slice(&[0, 0]);
    public.extend_from_slice(&size.to_be_bytes());
    let mut body = Vec::new();
    put_2b(&mut body, &name_of(&public));
    body.extend_from_slice(&[0, 0]);
    put_2b(&mut body, value);
    attested(0x8014, nonce, &body)
}

impl Node {
    /// What `tcpctl attest quote` would write: of PCR 7, which is all zeros.
    pub(crate) fn quote(&self, nonce: &[u8]) -> serde_json::Value {
        let mut body = vec![0, 0, 0, 1, 0, 0x0b, 3, 0x80, 0, 0];
        put_2b(&mut body, &sha256(&[0; 32]));
        serde_json::json!({
            "format": "tcp-lsm-quote",
            "version": 1,
            "ak": hex::encode(ak()),
            "pcrs": { "7": "00".repeat(32) },
            "quote": attested(0x8018, nonce, &body),
            "counter": certified(nonce, 0x0185_4350, 0x0206_0012, &self.counter.to_be_bytes()),
            "anchor": certified(nonce, 0x0185_4351, 0x0206_0042, &self.anchor),
            "ek_certificate": null,
        })
    }

    /// A checkpoint, and the state that it commits; its MAC is not one.
    pub(crate) fn checkpoint_state(&mut self) -> Vec<u8> {
        let previous = self.anchor;
        let number = self.stage(0, 0, &[]);
        let clock = self.clock.clone();
        self.commit(number);
        let (counter, chain, anchor) = self.state.unwrap();
        let head = engine::state::Head {
            node: &self.id,
            counter,
            previous: &previous,
            anchor: &anchor,
            chain: &chain,
            number,
            wall_ms: 1_767_225_600_000,
            pcrs: 1 << 7,
            private: b"private",
            public: b"public",
            mode: Mode::Enforce,
        };
        let mut out = vec![0; engine::state::MAX_LEN];
        let mut writer = engine::state::StateWriter::begin::<Sha256>(&mut out, &head).unwrap();
        writer.policy(self.policy.unwrap().as_bytes()).unwrap();
        let keys: Vec<Key> = self
            .validators
            .values()
            .map(|of| Key::new(&of.name))
            .collect();
        let validators =
            self.validators
                .values()
                .zip(&keys)
                .map(|(of, key)| engine::state::Validator {
                    record: ValidatorRecord {
                        slot: of.slot,
                        weight: of.weight,
                        name: &of.name,
                        key: &key.public,
                    },
                    accepted: 1,
                    clock: &of.last,
                });
        writer.validators(validators).unwrap();
        writer.slots(15).unwrap();
        writer.clock(&clock).unwrap();
        let length = writer.finish::<Sha256>(|_| [0; 32]).unwrap();
        out.truncate(length);
        out
    }
}
