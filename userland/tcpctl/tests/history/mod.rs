// SPDX-License-Identifier: GPL-2.0

//! A node in miniature, whose histories are the auditor's input: it records what the kernel module would, with real keys
//! and signatures, and does whatever a test tells it to.
// Each test that includes this uses another part of it, so an `expect` would not be fulfilled in every one.
#![allow(dead_code)]

mod watched;

use std::collections::BTreeMap;

use engine::{
    anchor,
    byzantine::contradiction,
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
        Payload, //
    },
    evidence::{
        self,
        Evidence, //
    },
    governance::{
        Detail,
        Mode,
        ValidatorRecord, //
    },
    op::Op,
    policy::Policy,
    quarantine::Record,
    quorum::{
        Ballot,
        Outcome,
        Verdict, //
    },
    refusal::Refusal,
    reputation::Kept,
    request::{
        self,
        Binding,
        Fact,
        Head,
        Object, //
    },
    vote::{
        self,
        Vote,
        VoteRecord, //
    },
    watch::{
        Rules,
        Turn, //
    },
    wire::Digest, //
};
use p256::ecdsa::{
    signature::Signer,
    Signature,
    SigningKey, //
};
use sha2::Digest as _;
use watched::{
    Told,
    Watched, //
};

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
    /// Number of its GRANTED event.
    pub(crate) given: u64,
    pub(crate) is_open: bool,
}

/// What a node does that is not as it should be.
#[derive(Clone, Default)]
pub(crate) struct Lies {
    /// No ALERT and no CALM is recorded.
    pub(crate) silent: bool,
    /// Thresholds are those of the rules, whatever has happened.
    pub(crate) lenient: bool,
    /// A quarantine has no consequences.
    pub(crate) toothless: bool,
    /// Its state says that every reputation is as at first.
    pub(crate) praising: bool,
    /// No vote is compared with those that are held.
    pub(crate) deaf: bool,
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
    /// Slots and records of the votes that were held in this load.
    held: Vec<(u16, Vec<u8>)>,
    /// Who was quarantined, on which evidence.
    pub(crate) quarantines: BTreeMap<[u8; 32], (Record, Vec<u8>)>,
    /// Reputations at the last STAGED.
    pub(crate) reputations: BTreeMap<u16, Kept>,
    pub(crate) lies: Lies,
    watched: Watched,
    /// Counter, head and anchor of the last state.
    pub(crate) state: Option<(u64, [u8; 32], [u8; 32])>,
    pub(crate) nonce: u16,
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
            held: Vec::new(),
            quarantines: BTreeMap::new(),
            reputations: BTreeMap::new(),
            lies: Lies::default(),
            watched: Watched::new(),
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
        self.held.clear();
        self.watched = Watched::new();
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

    /// POLICY, and WATCH.
    pub(crate) fn policy(&mut self, text: &'static str) -> u64 {
        self.policy = Some(text);
        let number = Self::with_policy(text, |payload| self.plain(Kind::Policy, 0, payload));
        self.watch();
        number
    }

    /// What the policy in force allows.
    fn drawn(&self) -> Rules {
        let policy = Policy::parse(self.policy.unwrap().as_bytes()).unwrap();
        // As random as a test may be.
        let digest = Sha256::sha256(&[b"windows", &self.clock.get(NODE_SLOT).to_be_bytes()]);
        let word = |at: usize| u32::from_be_bytes(digest[at..at + 4].try_into().unwrap());
        Rules::draw(&policy.adaptive(), [word(0), word(4), word(8)])
    }

    /// WATCH.
    fn watch(&mut self) {
        let rules = self.drawn();
        self.record(self.header(Kind::Watch, 0), &encode(&Payload::Watch(rules)));
        self.watched.tell(Told::Rules(rules));
    }

    /// ALERT or CALM, and WATCH.
    pub(crate) fn turn(&mut self, turn: Turn) -> u64 {
        let (kind, reason) = match turn {
            Turn::Alert(reason) => (Kind::Alert, reason),
            Turn::Calm(reason) => (Kind::Calm, reason),
        };
        let number = self.record(self.header(kind, reason as u16), &[]);
        self.watched.tell(Told::Turned(turn, number, self.boot_ms));
        self.watch();
        number
    }

    /// Records what is due before the next event.
    pub(crate) fn catch_up(&mut self) {
        // The next event is 10 ms later.
        while let Some(turn) = self.watched.watch().due(self.boot_ms + 10) {
            if self.lies.silent {
                return;
            }
            self.turn(turn);
        }
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
        let number = self.record(header, &payload);
        self.watched
            .tell(Told::Enrolled(slot, weight, self.boot_ms));
        number
    }

    /// VALIDATOR_REMOVED.
    pub(crate) fn remove(&mut self, slot: u16) -> u64 {
        let gone = self.validators.remove(&slot).unwrap();
        let payload = Self::validator_payload(slot, &gone.name, gone.weight);
        let header = Header {
            slot,
            ..self.header(Kind::ValidatorRemoved, 0)
        };
        self.watched.tell(Told::Removed(slot));
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
        if kind != Kind::Restored as u16 {
            let reputations = self.watched.watch().reputations();
            self.reputations = self
                .validators
                .keys()
                .map(|&slot| (slot, reputations.of(slot).kept))
                .collect();
        }
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
        self.catch_up();
        self.nonce += 1;
        let [high, low] = self.nonce.to_be_bytes();
        let mut nonce = [low; 16];
        nonce[0] = nonce[0].wrapping_add(high);
        let created = self.clock.get(NODE_SLOT) + 1;
        let expires_ms = self.boot_ms + 600_000;
        let head = Head {
            node: &self.id.clone(),
            epoch: self.epoch,
            nonce: &nonce,
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
        let mut ballot = Ballot::new(threshold_bp, total).unwrap();
        self.raise(&mut ballot, threshold_bp, created, op);
        for (slot, weight) in self.barred() {
            ballot.bar(slot, weight);
        }
        let denied = ballot.outcome() == Outcome::Denied;
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
                given: 0,
                is_open: true,
            },
        );
        if denied {
            self.decide(&id, Kind::Denied);
        }
        id
    }

    /// Raises the threshold of a request to what alerts make of it.
    fn raise(&self, ballot: &mut Ballot, threshold_bp: u16, created: u64, op: Op) {
        let governance = op.is_governance();
        let watch = self.watched.watch();
        if !self.lies.lenient {
            ballot.raise_to(watch.threshold(threshold_bp, created, governance));
        }
    }

    /// Slots and weights of the quarantined.
    fn barred(&self) -> Vec<(u16, u32)> {
        self.validators
            .values()
            .filter(|of| self.is_quarantined(&of.name))
            .map(|of| (of.slot, of.weight))
            .collect()
    }

    fn is_quarantined(&self, name: &str) -> bool {
        let case = self.quarantines.get(&Key::new(name).id);
        case.is_some_and(|(record, _)| record.is_quarantined() && !self.lies.toothless)
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
        let known = self.validators.values().find(|of| of.name == name);
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
            slot: known.map_or(1, |of| of.slot),
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

    /// Records a vote whatever is in it, and the decision that the weights bring; or a quarantine, when a held vote contradicts
    /// it.
    pub(crate) fn cast(&mut self, id: &[u8; 32], slot: u16, verdict: Verdict, record: &[u8]) {
        if self.convict(slot, record).is_some() {
            return;
        }
        self.catch_up();
        let header = Header {
            slot,
            ..self.about(id, Kind::Vote, verdict as u16)
        };
        self.record(header, record);
        let clock = VoteRecord::decode(record).unwrap().vote.clock;
        let _ = self.clock.set(slot, clock.get(slot));
        let enrolled = self.validators.get_mut(&slot).unwrap();
        enrolled.last.decode(clock.as_bytes()).unwrap();
        let weight = enrolled.weight;
        self.watched.tell(Told::Voted(slot, *id, self.boot_ms));
        let asked = &self.requests[id];
        let mut ballot = asked.ballot.clone();
        ballot.cast(slot, weight, verdict).unwrap();
        let terms = request::Request::decode(&asked.encoding).unwrap().binding;
        self.raise(&mut ballot, terms.threshold_bp, asked.created, asked.op);
        let outcome = ballot.outcome();
        self.requests.get_mut(id).unwrap().ballot = ballot;
        match outcome {
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
        let ballot = self.requests[id].ballot.clone();
        let payload = encode(&Payload::Tally(ballot.tally()));
        let number = self.record(self.about(id, kind, 0), &payload);
        let decided = kind != Kind::Expired;
        self.watched
            .tell(Told::Ended(Box::new(ballot), decided, self.boot_ms));
        let asked = self.requests.get_mut(id).unwrap();
        asked.given = number;
        asked.is_open = false;
    }

    /// HELD; or a quarantine, when another held vote contradicts this one. Returns the event's number.
    pub(crate) fn hold(
        &mut self,
        id: &[u8; 32],
        slot: u16,
        verdict: Verdict,
        record: &[u8],
    ) -> u64 {
        if let Some(number) = self.convict(slot, record) {
            return number;
        }
        self.held.push((slot, record.to_vec()));
        self.catch_up();
        let header = Header {
            slot,
            ..self.about(id, Kind::Held, verdict as u16)
        };
        self.record(header, record)
    }

    /// Quarantines a validator whose vote a held one contradicts, and refuses the vote. Returns the number of QUARANTINED.
    fn convict(&mut self, slot: u16, record: &[u8]) -> Option<u64> {
        let vote = VoteRecord::decode(record).unwrap().signed_vote();
        let contradicts = |other: &&(u16, Vec<u8>)| {
            let other = VoteRecord::decode(&other.1).unwrap().signed_vote();
            self.is_held(&other.vote) && contradiction(&other, &vote).is_some()
        };
        let mut held = self.held.iter().filter(|held| held.0 == slot);
        let other = held.find(contradicts)?.1.clone();
        if self.lies.deaf {
            return None;
        }
        let name = self.validators[&slot].name.clone();
        let evidence = self.evidence(&name, &other, record);
        let number = self.quarantine(slot, &evidence);
        self.refuse(Refusal::VoteQuarantined);
        Some(number)
    }

    /// Whether a vote that was held can still be accepted: the others are let go.
    fn is_held(&self, vote: &Vote<'_>) -> bool {
        let asked = &self.requests[vote.request];
        asked.is_open
            && !asked.ballot.has_voted(vote.slot)
            && vote.expires_ms >= self.boot_ms
            && vote.own() > self.validators[&vote.slot].last.get(vote.slot)
    }

    /// VOTE_REFUSED.
    pub(crate) fn refuse(&mut self, refusal: Refusal) -> u64 {
        self.catch_up();
        let number = self.record(self.header(Kind::VoteRefused, refusal.code()), &[]);
        self.watched.tell(Told::Refused(refusal, self.boot_ms));
        number
    }

    /// Evidence of two vote records.
    pub(crate) fn evidence(&self, name: &str, a: &[u8], b: &[u8]) -> Vec<u8> {
        let [a, b] = [a, b].map(|record| VoteRecord::decode(record).unwrap().signed_vote());
        let mut out = vec![0; evidence::MAX_LEN];
        let key = Key::new(name).public;
        let length = evidence::encode::<Sha256>(&key, &a, &b, &mut out).unwrap();
        out.truncate(length);
        out
    }

    /// Only QUARANTINED.
    pub(crate) fn record_quarantine(&mut self, slot: u16, evidence: &[u8]) -> u64 {
        let header = Header {
            slot,
            // The kind of the fault follows the magic.
            ..self.header(Kind::Quarantined, u16::from(evidence[8]))
        };
        self.record(header, evidence)
    }

    /// QUARANTINED, and everything that follows from it. Returns its number.
    pub(crate) fn quarantine(&mut self, slot: u16, evidence: &[u8]) -> u64 {
        let number = self.record_quarantine(slot, evidence);
        let id = Key::new(&self.validators[&slot].name).id;
        let case = self.quarantines.entry(id);
        let (record, kept) = case.or_insert_with(|| (Record::new(&id, slot, number), Vec::new()));
        record.quarantine(slot, number);
        *kept = evidence.to_vec();
        self.watched.tell(Told::Quarantined(slot, self.boot_ms));
        if self.lies.toothless {
            return number;
        }
        let weight = self.validators[&slot].weight;
        for asked in self.requests.values_mut() {
            asked.ballot.bar(slot, weight);
        }
        for id in self.open() {
            if self.requests[&id].ballot.outcome() == Outcome::Denied {
                self.decide(&id, Kind::Denied);
            }
        }
        for id in self.grants() {
            if !self.requests[&id].ballot.is_backed() {
                self.uses_left.insert(id, 0);
                self.record(self.about(&id, Kind::GrantEnded, 6), &[]);
            }
        }
        self.catch_up();
        number
    }

    /// A vote that contradicts the last one on a request: the verdict is the other one.
    pub(crate) fn contradict(&self, id: &[u8; 32], slot: u16, last: &[u8]) -> Vec<u8> {
        let verdict = match VoteRecord::decode(last).unwrap().vote.verdict {
            Verdict::Approve => Verdict::Deny,
            Verdict::Deny => Verdict::Approve,
        };
        self.ballot_paper(id, slot, verdict)
    }

    /// Votes, and contradicts that: QUARANTINED and what follows.
    pub(crate) fn equivocate(&mut self, id: &[u8; 32], slot: u16) -> Vec<u8> {
        let first = self.ballot_paper(id, slot, Verdict::Approve);
        self.cast(id, slot, Verdict::Approve, &first);
        let second = self.contradict(id, slot, &first);
        let name = self.validators[&slot].name.clone();
        let evidence = self.evidence(&name, &first, &second);
        self.quarantine(slot, &evidence);
        evidence
    }

    /// The open requests, in the order of their making.
    fn open(&self) -> Vec<[u8; 32]> {
        let open = self.requests.iter().filter(|(_, asked)| asked.is_open);
        let mut list: Vec<_> = open.map(|(id, asked)| (asked.created, *id)).collect();
        list.sort_unstable();
        list.into_iter().map(|(_, id)| id).collect()
    }

    /// The grants, in the order of their making.
    fn grants(&self) -> Vec<[u8; 32]> {
        let live = self.uses_left.iter().filter(|(_, left)| **left > 0);
        let mut list: Vec<_> = live.map(|(id, _)| (self.requests[id].given, *id)).collect();
        list.sort_unstable();
        list.into_iter().map(|(_, id)| id).collect()
    }

    /// Ends every request and grant, since the validators change.
    pub(crate) fn start_over(&mut self) {
        for id in self.open() {
            self.record(self.about(&id, Kind::Cancelled, 3), &[]);
            self.requests.get_mut(&id).unwrap().is_open = false;
        }
        for id in self.grants() {
            self.record(self.about(&id, Kind::GrantEnded, 5), &[]);
            self.uses_left.insert(id, 0);
        }
    }

    /// READMITTED. Returns its number.
    pub(crate) fn readmit(&mut self, slot: u16) -> u64 {
        let of = self.validators[&slot].clone();
        let payload = Self::validator_payload(slot, &of.name, of.weight);
        let header = Header {
            slot,
            ..self.header(Kind::Readmitted, 0)
        };
        let number = self.record(header, &payload);
        self.watched.tell(Told::Readmitted(slot, self.boot_ms));
        if let Some((record, evidence)) = self.quarantines.get_mut(&Key::new(&of.name).id) {
            let of = std::mem::take(evidence);
            let of = Evidence::decode::<Sha256>(&of).unwrap();
            record.readmit(&self.id, number, &of).unwrap();
        }
        number
    }

    /// Readmits a validator as a quorum allows, in which everybody else votes.
    pub(crate) fn readmit_by_quorum(&mut self, slot: u16) -> u64 {
        let of = self.validators[&slot].clone();
        let id = self.ask_detail(&Detail::ReadmitValidator { name: &of.name });
        self.approve_by(&id, slot);
        self.spend(&id);
        if self.epoch > 0 {
            let change = Self::validator_payload(slot, &of.name, of.weight);
            self.anchored(Kind::Readmitted, 0, &change);
        }
        self.start_over();
        self.readmit(slot)
    }

    /// Everybody but the validator in a slot approves, until that is enough.
    pub(crate) fn approve_by(&mut self, id: &[u8; 32], but: u16) {
        for slot in 1..=u16::try_from(self.validators.len()).unwrap() {
            if slot != but && self.requests[id].is_open {
                self.vote(id, slot, Verdict::Approve);
            }
        }
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
        self.quarantines.clear();
        self.reputations.clear();
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
            self.repeat_standing(slot, &of.name);
        }
        let clock = self.clock.clone();
        self.record_clock(NODE_SLOT, &clock);
    }

    /// REPUTATION, if it is not as at first, and QUARANTINED.
    fn repeat_standing(&mut self, slot: u16, name: &str) {
        let known = self.reputations.get(&slot).copied();
        if let Some(kept) = known.filter(|kept| *kept != Kept::PRISTINE) {
            let header = Header {
                slot,
                ..self.header(Kind::Reputation, 0)
            };
            self.record(header, &encode(&Payload::Reputation(kept)));
            self.watched.tell(Told::RestoredReputation(slot, kept));
        }
        if self.is_quarantined(name) {
            let id = Key::new(name).id;
            let evidence = self.quarantines[&id].1.clone();
            let number = self.record_quarantine(slot, &evidence);
            let case = self.quarantines.get_mut(&id).unwrap();
            case.0.quarantine(slot, number);
            self.watched.tell(Told::RestoredQuarantined(slot));
        }
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
    node.hold(&held, 2, Verdict::Approve, &early);
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
    /// A sealed node with five validators of weight 2, before any request.
    pub(crate) fn of_five() -> Self {
        let mut node = Self::new(3);
        for (slot, name) in (1..).zip(["alice", "bob", "carol", "dave", "eve"]) {
            node.add(slot, name, 2);
        }
        node.policy(POLICY_1);
        node.seal();
        node.agent(9);
        node
    }
}

/// Dave is caught with two verdicts on one request.
pub(crate) fn caught() -> Node {
    let mut node = Node::of_five();
    // Eve is overruled.
    let granted = node.ask(b"/etc/hosts");
    node.vote(&granted, 5, Verdict::Deny);
    for slot in 1..=4 {
        node.vote(&granted, slot, Verdict::Approve);
    }
    node.spend(&granted);
    let open = node.ask(b"/etc/group");
    node.vote(&open, 1, Verdict::Approve);
    let hopeless = node.ask(b"/etc/shadow");
    node.vote(&hopeless, 2, Verdict::Deny);
    // The grant ends, since Dave was one of those who approved, and the request that Bob has denied is denied.
    node.equivocate(&open, 4);
    // While the threshold is 90 % nothing can be approved without Dave.
    node.ask(b"/etc/motd");
    node.vote(&open, 2, Verdict::Approve);
    node
}

/// A history of a quarantine: an alert that raises thresholds, its end, a restart, a readmission, another restart.
pub(crate) fn byzantine() -> Node {
    let mut node = caught();
    // Longer than `quiet` with all of its `jitter`.
    node.boot_ms += 900_000;
    let calm = node.ask(b"/etc/issue");
    node.approve_by(&calm, 4);
    node.spend(&calm);
    node.checkpoint();
    node.restart(false);
    node.agent(9);
    node.readmit_by_quorum(4);
    let again = node.ask(b"/etc/hosts");
    node.vote(&again, 4, Verdict::Approve);
    node.checkpoint();
    node.restart(false);
    node.agent(9);
    // Sixteen invalid votes are a burst.
    for _ in 0..16 {
        node.refuse(Refusal::VoteForged);
    }
    let raised = node.ask(b"/etc/group");
    for slot in 1..=5 {
        node.vote(&raised, slot, Verdict::Approve);
    }
    node.spend(&raised);
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
                    let record = VoteRecord::decode(event.payload).unwrap();
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
        let used = self
            .validators
            .keys()
            .fold(0, |used, slot| used | (1 << (slot - 1)));
        writer.slots(used).unwrap();
        writer.clock(&clock).unwrap();
        let mut cases: Vec<_> = self.quarantines.values().collect();
        cases.sort_by_key(|(record, _)| record.slot());
        let kept = cases
            .into_iter()
            .map(|(record, evidence)| engine::state::Kept {
                record: record.clone(),
                evidence,
            });
        writer.quarantine(kept).unwrap();
        let told = self.reputations.iter().filter(|_| !self.lies.praising);
        writer
            .reputation(told.map(|(&slot, &kept)| (slot, kept)))
            .unwrap();
        let length = writer.finish::<Sha256>(|_| [0; 32]).unwrap();
        out.truncate(length);
        out
    }
}
