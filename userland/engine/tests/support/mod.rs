// SPDX-License-Identifier: GPL-2.0

//! What several tests share: digests, keys, hexadecimal text, samples.
// Each test is a crate of its own and uses another part of this module, so an `expect` would not be
// fulfilled in every one of them.
#![allow(dead_code)]

use engine::anchor;
use engine::clock::NodeClock;
use engine::der;
use engine::governance::{
    Mode,
    ValidatorRecord, //
};
use engine::op::Op;
use engine::quorum::Verdict;
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

/// The signed part of a vote on the sample request.
pub(crate) fn signed(
    key: &Key,
    request: &[u8; 32],
    verdict: Verdict,
    clock: &[(u16, u64)],
    reason: &str,
) -> Vec<u8> {
    let clock = entries(clock);
    let vote = Vote {
        node: &NODE,
        epoch: EPOCH,
        request,
        validator: &key.id,
        verdict,
        expires_ms: 1_300_000,
        reason_digest: &vote::reason_digest::<Sha256>(reason),
        clock: engine::clock::ClaimedClock::decode(&clock).unwrap(),
    };
    let mut out = [0; vote::MAX_SIGNED];
    let len = vote.encode_signed(&mut out).unwrap();
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
}

impl Sample {
    /// Two validators, of which one has voted; a third one was removed.
    pub(crate) fn new() -> Self {
        static KEYS: LazyLock<[[u8; 65]; 2]> =
            LazyLock::new(|| ["alice", "carol"].map(|name| Key::new(name).public));
        let number = (EPOCH << 32) + 44;
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
        writer.finish::<Sha256>(|bytes| mac(&STATE_KEY, bytes))
    }
}
