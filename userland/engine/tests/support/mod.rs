// SPDX-License-Identifier: GPL-2.0

//! What several tests share: digests, keys, hexadecimal text, samples.
// Each test is a crate of its own and uses another part of this module, so an `expect` would not be
// fulfilled in every one of them.
#![allow(dead_code)]

use engine::anchor;
use engine::clock::NodeClock;
use engine::der;
use engine::evidence::{
    self,
    Evidence, //
};
use engine::governance::{
    Mode,
    ValidatorRecord, //
};
use engine::op::Op;
use engine::quarantine;
use engine::quorum::Verdict;
use engine::reputation;
use engine::request::{
    Binding,
    Fact,
    Head,
    Object, //
};
use engine::state::{
    self,
    StateWriter, //
};
use engine::vote::{
    self,
    SignedVote,
    Vote, //
};
use engine::wire::{
    self,
    Digest, //
};
use hmac::{
    Hmac,
    Mac, //
};
use p256::ecdsa::signature::Signer;
use p256::ecdsa::{
    Signature,
    SigningKey, //
};
use sha2::Digest as _;
use std::sync::LazyLock;

/// SHA-256 by an independent implementation.
pub(crate) struct Sha256;

impl Digest for Sha256 {
    fn sha256(parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = sha2::Sha256::new();
        for part in parts {
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// Lower-case hexadecimal text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key pair that everybody knows: the private key is the digest of `name`.
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
        let id = Sha256::sha256(&[&public]);
        Self {
            private,
            public,
            id,
        }
    }

    /// Signs deterministically (RFC 6979) and encodes canonically.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.private.sign(message);
        let mut out = [0; der::MAX_LEN];
        let len = der::normalize(&signature.to_bytes().into(), &mut out).unwrap();
        out[..len].to_vec()
    }
}

pub(crate) const NODE: [u8; 32] = [0x11; 32];
pub(crate) const EPOCH: u64 = 7;
pub(crate) const NONCE: [u8; 16] = [0x22; 16];
pub(crate) const POLICY: [u8; 32] = [0x33; 32];
pub(crate) const CONTENT: [u8; 32] = [0x44; 32];
pub(crate) const REQUEST: [u8; 32] = [0x55; 32];
pub(crate) const ARGS: [u8; 32] = [0x66; 32];

/// Digest of an environment.
pub(crate) const ENV: [u8; 32] = [0x77; 32];

/// The head of the sample request.
pub(crate) fn head() -> Head<'static> {
    Head {
        node: &NODE,
        epoch: EPOCH,
        nonce: &NONCE,
        created: 40,
        created_ms: 1_000_000,
        expires_ms: 1_300_000,
        wall_ms: 1_767_225_600_000,
    }
}

/// The binding of the sample request.
pub(crate) fn binding() -> Binding<'static> {
    Binding {
        op: Op::Exec,
        uid: 1000,
        agent: 5,
        policy_version: 3,
        policy: &POLICY,
        threshold_bp: 7500,
        uses: 2,
        ttl_s: 300,
        line: 12,
        object: Object {
            device: 0x801,
            inode: 4711,
            generation: 9,
        },
        content: &CONTENT,
        class: "builder",
        agent_name: "agent-1",
    }
}

/// One fact of each kind that the sample request may have, two arguments among them.
pub(crate) fn facts() -> Vec<Fact<'static>> {
    vec![
        Fact::Path(b"/usr/bin/make"),
        Fact::Target(b"/srv/\xffdata"),
        Fact::TargetObject(Object {
            device: 0x802,
            inode: 12,
            generation: 1,
        }),
        Fact::Name(b"security.capability"),
        Fact::Argc(2),
        Fact::Arg(b"make"),
        Fact::Arg(b"install"),
        Fact::ArgsDigest(&ARGS),
        Fact::Address {
            family: 2,
            port: 443,
            address: &[192, 0, 2, 1],
        },
        Fact::Flags(0x8001),
        Fact::Mode(0o100_755),
        Fact::Owner {
            uid: 0,
            gid: u32::MAX,
        },
        Fact::Command(9),
        Fact::Task {
            pid: 4242,
            agent: 5,
            comm: b"make",
        },
        Fact::Size(123_456),
        Fact::Version(4),
        Fact::Hook(b"bprm_check_security"),
        Fact::FsPath(b"/guests/7/usr/bin/make"),
        Fact::EnvDigest(&ENV),
    ]
}

/// Encodes clock entries, also ones that no clock has.
pub(crate) fn entries(list: &[(u16, u64)]) -> Vec<u8> {
    list.iter()
        .flat_map(|(slot, value)| [slot.to_be_bytes().to_vec(), value.to_be_bytes().to_vec()])
        .flatten()
        .collect()
}

/// A vote that a test may change in every part.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) node: [u8; 32],
    pub(crate) epoch: u64,
    pub(crate) request: [u8; 32],
    pub(crate) validator: [u8; 32],
    pub(crate) verdict: Verdict,
    pub(crate) slot: u16,
    pub(crate) expires_ms: u64,
    pub(crate) reason: String,
    pub(crate) clock: Vec<(u16, u64)>,
}

impl Draft {
    /// A vote on the sample request.
    pub(crate) fn new(validator: &[u8; 32], slot: u16, clock: &[(u16, u64)]) -> Self {
        Self {
            node: NODE,
            epoch: EPOCH,
            request: REQUEST,
            validator: *validator,
            verdict: Verdict::Approve,
            slot,
            expires_ms: 1_300_000,
            reason: String::new(),
            clock: clock.to_vec(),
        }
    }

    /// What is signed.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let clock = entries(&self.clock);
        let vote = Vote {
            node: &self.node,
            epoch: self.epoch,
            request: &self.request,
            validator: &self.validator,
            verdict: self.verdict,
            slot: self.slot,
            expires_ms: self.expires_ms,
            reason_digest: &vote::reason_digest::<Sha256>(&self.reason),
            clock: engine::clock::ClaimedClock::decode(&clock).unwrap(),
        };
        let mut out = [0; vote::MAX_SIGNED];
        let len = vote.encode_signed(&mut out).unwrap();
        out[..len].to_vec()
    }

    /// The vote with the signature of that key.
    pub(crate) fn sign(&self, key: &Key) -> Paper {
        let signed = self.bytes();
        let signature = key.sign(&signed);
        Paper { signed, signature }
    }

    /// The vote with a signature that is in its canonical encoding and verifies under no key.
    pub(crate) fn forge(&self) -> Paper {
        Paper {
            signed: self.bytes(),
            signature: vec![0x30, 6, 2, 1, 1, 2, 1, 1],
        }
    }
}

/// The bytes of a vote and its signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Paper {
    pub(crate) signed: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl Paper {
    pub(crate) fn view(&self) -> SignedVote<'_> {
        SignedVote::decode(&self.signed, &self.signature).unwrap()
    }
}

/// The signed part of a vote on the sample node.
pub(crate) fn signed(
    key: &Key,
    slot: u16,
    request: &[u8; 32],
    verdict: Verdict,
    clock: &[(u16, u64)],
    reason: &str,
) -> Vec<u8> {
    Draft {
        request: *request,
        verdict,
        reason: reason.to_owned(),
        ..Draft::new(&key.id, slot, clock)
    }
    .bytes()
}

/// Evidence of a fork with that key, without valid signatures: the votes have as many entries as
/// wanted, from slot 0 on, and `slot` is one of theirs.
pub(crate) fn forged_evidence(
    node: &[u8; 32],
    public: &[u8; 65],
    slot: u16,
    entries: u16,
) -> Vec<u8> {
    let validator = Sha256::sha256(&[public]);
    let clock: Vec<_> = (0..entries)
        .chain([slot].into_iter().filter(|&slot| slot >= entries))
        .map(|slot| (slot, u64::from(slot) + 40))
        .collect();
    let one = Draft {
        node: *node,
        ..Draft::new(&validator, slot, &clock)
    };
    let two = Draft {
        request: CONTENT,
        ..one.clone()
    };
    evidence_of(public, &one.forge(), &two.forge())
}

/// Evidence of these two votes.
pub(crate) fn evidence_of(public: &[u8; 65], one: &Paper, two: &Paper) -> Vec<u8> {
    let mut out = [0; evidence::MAX_LEN];
    let len = evidence::encode::<Sha256>(public, &one.view(), &two.view(), &mut out).unwrap();
    out[..len].to_vec()
}

/// Signs and makes a record.
pub(crate) fn record(key: &Key, signed: &[u8], reason: &str) -> Vec<u8> {
    let mut out = [0; vote::MAX_RECORD];
    let len = vote::encode_record(signed, &key.sign(signed), reason, &mut out).unwrap();
    out[..len].to_vec()
}

/// The state key of the samples.
pub(crate) const STATE_KEY: [u8; 32] = [0x99; 32];

/// HMAC-SHA-256 by an independent implementation.
pub(crate) fn mac(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// A clock with these entries.
pub(crate) fn node_clock(list: &[(u16, u64)]) -> NodeClock {
    let mut clock = NodeClock::new();
    clock.decode(&entries(list)).unwrap();
    clock
}

/// A validator of a [`Sample`].
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) slot: u16,
    pub(crate) weight: u32,
    pub(crate) name: String,
    pub(crate) key: [u8; 65],
    pub(crate) accepted: u64,
    pub(crate) clock: Vec<(u16, u64)>,
}

/// A state with everything that a test may change. The anchor follows from its parts.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) counter: u64,
    pub(crate) previous: [u8; 32],
    pub(crate) chain: [u8; 32],
    pub(crate) number: u64,
    pub(crate) wall_ms: u64,
    pub(crate) pcrs: u32,
    pub(crate) private: Vec<u8>,
    pub(crate) public: Vec<u8>,
    pub(crate) mode: Mode,
    pub(crate) policy: Vec<u8>,
    pub(crate) members: Vec<Member>,
    pub(crate) slots: u128,
    pub(crate) clock: Vec<(u16, u64)>,
    pub(crate) quarantine: Vec<(quarantine::Record, Vec<u8>)>,
    pub(crate) reputations: Vec<(u16, reputation::Kept)>,
}

impl Sample {
    /// Two validators, of which one has voted and was readmitted; a third one was removed while
    /// it was quarantined.
    pub(crate) fn new() -> Self {
        static KEYS: LazyLock<[[u8; 65]; 3]> =
            LazyLock::new(|| ["alice", "carol", "bob"].map(|name| Key::new(name).public));
        let number = (EPOCH << 32) + 44;
        let evidence = forged_evidence(&[0x12; 32], &KEYS[0], 1, 2);
        let mut alice = quarantine::Record::new(&Sha256::sha256(&[&KEYS[0]]), 1, number - 20);
        alice
            .readmit(
                &NODE,
                number - 10,
                &Evidence::decode::<Sha256>(&evidence).unwrap(),
            )
            .unwrap();
        let bob = quarantine::Record::new(&Sha256::sha256(&[&KEYS[2]]), 2, number - 2);
        Self {
            counter: EPOCH + 2,
            previous: [0xaa; 32],
            chain: [0xbb; 32],
            number,
            wall_ms: 1_767_225_600_000,
            pcrs: 1 << 7,
            private: (0..=40).collect(),
            public: (50..=70).collect(),
            mode: Mode::Enforce,
            policy: b"policy_name=demo policy_version=3\nDEFAULT action=DENY\n".to_vec(),
            members: vec![
                Member {
                    slot: 1,
                    weight: 3,
                    name: "alice".to_owned(),
                    key: KEYS[0],
                    accepted: 6,
                    clock: vec![(0, number - 4), (1, 6)],
                },
                Member {
                    slot: 3,
                    weight: 1,
                    name: "carol".to_owned(),
                    key: KEYS[1],
                    accepted: 0,
                    clock: Vec::new(),
                },
            ],
            slots: 0b111,
            clock: vec![(0, number), (1, 6), (2, 9)],
            quarantine: vec![
                (alice, Vec::new()),
                (bob, forged_evidence(&NODE, &KEYS[2], 2, 2)),
            ],
            reputations: vec![(
                1,
                reputation::Kept {
                    score: 9000,
                    bias: 8,
                    agreed: 5,
                    disagreed: 1,
                },
            )],
        }
    }

    /// The anchor once it is committed.
    pub(crate) fn anchor(&self) -> [u8; 32] {
        anchor::extended::<Sha256>(&self.previous, &self.chain)
    }

    /// What the engine writes, with the MAC under [`STATE_KEY`].
    pub(crate) fn encode(&self) -> wire::Result<Vec<u8>> {
        let mut out = vec![0; state::MAX_LEN];
        let len = self.encode_in(&mut out)?;
        out.truncate(len);
        Ok(out)
    }

    /// The same in a buffer of the caller.
    pub(crate) fn encode_in(&self, out: &mut [u8]) -> wire::Result<usize> {
        let head = state::Head {
            node: &NODE,
            counter: self.counter,
            previous: &self.previous,
            anchor: &self.anchor(),
            chain: &self.chain,
            number: self.number,
            wall_ms: self.wall_ms,
            pcrs: self.pcrs,
            private: &self.private,
            public: &self.public,
            mode: self.mode,
        };
        let clocks: Vec<_> = self
            .members
            .iter()
            .map(|member| node_clock(&member.clock))
            .collect();
        let mut writer = StateWriter::begin::<Sha256>(out, &head)?;
        writer.policy(&self.policy)?;
        writer.validators(self.members.iter().zip(&clocks).map(|(member, clock)| {
            state::Validator {
                record: ValidatorRecord {
                    slot: member.slot,
                    weight: member.weight,
                    name: &member.name,
                    key: &member.key,
                },
                accepted: member.accepted,
                clock,
            }
        }))?;
        writer.slots(self.slots)?;
        writer.clock(&node_clock(&self.clock))?;
        writer.quarantine(
            self.quarantine
                .iter()
                .map(|(record, evidence)| state::Kept {
                    record: record.clone(),
                    evidence,
                }),
        )?;
        writer.reputation(self.reputations.iter().copied())?;
        writer.finish::<Sha256>(|bytes| mac(&STATE_KEY, bytes))
    }
}
