// SPDX-License-Identifier: GPL-2.0

//! Real material: what messages are made of before they are spoilt.

use super::{
    body,
    dir,
    random::Random,
    Ground,
    POLICY, //
};
use crate::byzantine;
use crate::keys::Validator;
use crate::stage::{
    self,
    Res,
    APPROVE, //
};
use crate::worker::Agent;
use std::fs;

/// What the node knows, and what is made of it.
#[derive(Default)]
pub(super) struct Pool {
    /// Ids of requests.
    pub(super) requests: Vec<[u8; 32]>,
    /// Votes that may be counted: two of four, which decide nothing.
    pub(super) votes: Vec<Vec<u8>>,
    /// How many votes may be counted in a round.
    pub(super) acceptable: u64,
    /// What is true and would change something, so that it is only sent with something wrong in it.
    pub(super) spoilt: Vec<Vec<u8>>,
    /// Policies, all of them well formed.
    pub(super) policies: Vec<Vec<u8>>,
    /// States that this node has made; of a locked node only.
    pub(super) past: Vec<Vec<u8>>,
    /// Version of the running policy.
    pub(super) version: u64,
}

impl Pool {
    /// Asks the node.
    pub(super) fn gather(ground: &Ground) -> Res<Self> {
        let mut pool = Self {
            version: stage::status()?.policy_version,
            ..Self::default()
        };
        if let Ground::Locked(past) = ground {
            pool.past = [&past.older, &past.current, &past.next]
                .map(|state| state.0.clone())
                .to_vec();
            return Ok(pool);
        }
        pool.policies = policies(pool.version)?;
        let mut agent = Agent::start("a")?;
        let request = agent.raise(&["append", &format!("{}/quorum/file", dir())])?;
        agent.end()?;
        pool.requests.push(request.id);
        // The agent has ended, and its request with it: votes need one that is open.
        if matches!(ground, Ground::Sealed) {
            let request = stage::fresh_request()?;
            pool.requests.push(request.id);
            let voters = stage::voters()?;
            let records = voters.iter().map(|voter| voter.record(&request, APPROVE));
            pool.votes = records.collect();
            // The third would decide.
            pool.spoilt = pool.votes.split_off(2);
            pool.acceptable = 2;
        }
        pool.spoilt
            .push(byzantine::elsewhere(&Validator::test(4), 0xaa, 1 << 32));
        Ok(pool)
    }

    /// One of what is true and may not be sent as it is.
    pub(super) fn to_spoil(&self, random: &mut Random) -> Vec<u8> {
        self.spoilt
            .get(random.index(self.spoilt.len()))
            .cloned()
            .unwrap_or_default()
    }

    /// Whether bytes hold something that may not be sent as it is.
    pub(super) fn forbids(&self, bytes: &[u8]) -> bool {
        let holds = |part: &Vec<u8>| {
            bytes
                .windows(part.len().max(1))
                .any(|window| window == part)
        };
        self.spoilt.iter().chain(&self.past).any(holds)
    }

    /// A request's id, most often a real one.
    pub(super) fn request(&self, random: &mut Random) -> Vec<u8> {
        match self.requests.get(random.index(self.requests.len() + 1)) {
            Some(id) => id.to_vec(),
            None => random.bytes().to_vec(),
        }
    }
}

/// The policies that the project comes with, and this test's own, each of a version that could be loaded.
fn policies(version: u64) -> Res<Vec<Vec<u8>>> {
    let mut all = vec![
        format!(
            "policy_name={POLICY} policy_version={}\n{}",
            version + 1,
            body()
        )
        .into_bytes(),
        stage::running_policy()?,
    ];
    let entries = fs::read_dir("/usr/share/tcp-lsm/policies").map_err(|e| e.to_string())?;
    for entry in entries.flatten() {
        let text = stage::content(&entry.path().to_string_lossy())?;
        let next = format!("policy_version={}", version + 1);
        // The directories that they name are not in this guest.
        let here = text
            .replace("policy_version=1", &next)
            .replace("/srv/", "/usr/");
        all.push(here.into_bytes());
    }
    Ok(all)
}

/// Spoils bytes in a few places, as chance has it.
pub(super) fn spoil(bytes: &mut Vec<u8>, random: &mut Random, words: &[&[u8]]) {
    for _ in 0..=random.below(3) {
        let at = random.index(bytes.len());
        match random.below(8) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = [0, 0xff, 0x7f, 0x80, b'\n', b' '][random.index(6)];
                }
            }
            3 => bytes.truncate(at),
            4 => {
                let end = (at + random.index(40)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let end = (at + random.index(200)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                let to = random.index(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            6 => {
                let end = (at + 8).min(bytes.len());
                bytes.splice(at..end, random.bits().to_be_bytes());
            }
            _ => {
                let word = words
                    .get(random.index(words.len()))
                    .copied()
                    .unwrap_or(b"\0");
                bytes.splice(at..at, word.iter().copied());
            }
        }
    }
}
