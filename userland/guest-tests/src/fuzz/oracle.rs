// SPDX-License-Identifier: GPL-2.0

//! What must hold after a round, whatever was sent.

use super::{
    dir,
    discard,
    pool::Pool,
    Ground,
    Role, //
};
use crate::client::Attributes;
use crate::ensure;
use crate::keys::sha256;
use crate::stage::{
    self,
    nl,
    Res, //
};
use crate::worker::Agent;
use engine::refusal::Refusal;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// What workers did.
#[derive(Default)]
pub(super) struct Did {
    /// How often what was done, by name; `ok N` is command N.
    pub(super) counts: BTreeMap<String, u64>,
    /// Policies that were taken: version and digest in hexadecimal digits.
    pub(super) policies: Vec<(u64, String)>,
    /// What should not have been answered so.
    pub(super) complaints: Vec<String>,
}

/// How many complaints are told.
const COMPLAINTS: usize = 5;

impl Did {
    /// Counts one more.
    pub(super) fn count(&mut self, what: &str) {
        *self.counts.entry(what.to_string()).or_default() += 1;
    }

    /// Counts a command that was obeyed.
    pub(super) fn obeyed(&mut self, command: u8) {
        self.count(&format!("ok {command}"));
    }

    /// Remembers what should not be.
    pub(super) fn complain(&mut self, what: String) {
        if self.complaints.len() < COMPLAINTS {
            self.complaints.push(what);
        }
    }

    /// An error must be one that the documents name: with its message, or one of `bare` without.
    pub(super) fn error(&mut self, what: &str, errno: i32, text: &str, bare: &[i32]) {
        let code = text.split(':').next().unwrap_or_default();
        let known = Refusal::ALL.iter().find(|refusal| refusal.name() == code);
        match known {
            Some(refusal) => {
                self.count(code);
                if refusal.errno() != errno {
                    self.complain(format!("{what}: errno {errno} with \"{text}\""));
                }
            }
            None => {
                self.count(&stage::errno_name(errno));
                if !bare.contains(&errno) {
                    self.complain(format!(
                        "{what}: errno {errno} \"{text}\" is not documented"
                    ));
                }
            }
        }
    }

    fn command(&self, command: u8) -> u64 {
        self.counts
            .get(&format!("ok {command}"))
            .copied()
            .unwrap_or(0)
    }

    /// Adds what another one did.
    pub(super) fn add(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            *self.counts.entry(name.clone()).or_default() += count;
        }
        self.policies.extend(other.policies.iter().cloned());
        for complaint in &other.complaints {
            self.complain(complaint.clone());
        }
    }

    /// As lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let counts = self
            .counts
            .iter()
            .map(|(name, count)| format!("#{count} {name}"));
        let policies = self
            .policies
            .iter()
            .map(|(version, digest)| format!("+{version} {digest}"));
        // The page that they go through holds 16 KiB.
        let complaints = self.complaints.iter().map(|text| format!("!{text:.300}"));
        counts.chain(policies).chain(complaints).collect()
    }

    /// The reverse of [`Did::lines`].
    pub(super) fn parse(lines: &[String]) -> Res<Self> {
        let mut did = Self::default();
        for line in lines {
            let bad = || format!("bad line \"{line}\"");
            let (mark, rest) = line.split_at_checked(1).ok_or_else(bad)?;
            if mark == "!" {
                did.complain(rest.to_string());
                continue;
            }
            let (number, rest) = rest.split_once(' ').ok_or_else(bad)?;
            let number = number.parse().map_err(|_| bad())?;
            match mark {
                "#" => *did.counts.entry(rest.to_string()).or_default() += number,
                "+" => did.policies.push((number, rest.to_string())),
                _ => return Err(bad()),
            }
        }
        Ok(did)
    }

    /// In one line.
    pub(super) fn summary(&self) -> String {
        let words: Vec<_> = self
            .counts
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        words.join(", ")
    }
}

/// What only a valid message may change.
#[derive(Debug, PartialEq)]
pub(super) struct Standing {
    phase: u32,
    mode: u32,
    policy: (Option<String>, u64, Option<Vec<u8>>),
    /// Digest of the running policy's text as it is read.
    text: String,
    /// Name, id, weight and fault of each.
    validators: Vec<String>,
    quarantined: u64,
    granted: u64,
    grants_used: u64,
    votes: u64,
    failed: u64,
    references: u64,
    /// Reports of the kernel set bits in this.
    taint: u64,
}

fn number(path: &str) -> Res<u64> {
    let text = stage::content(path)?;
    text.trim()
        .parse()
        .map_err(|_| format!("{path}: \"{text}\""))
}

/// Taints that a kernel's report leaves: a bad page, a death, a warning, a lockup.
const REPORTS: u64 = (1 << 5) | (1 << 7) | (1 << 9) | (1 << 14);

impl Standing {
    pub(super) fn read() -> Res<Self> {
        let status = stage::status()?;
        let all = stage::dump(nl::VALIDATOR_GET, &Attributes::new())
            .map_err(|e| format!("validator-get: {e:?}"))?;
        let validators = all.iter().map(|reply| {
            format!(
                "{:?} {} {:?} {:?}",
                reply.string(nl::A_VALIDATOR_NAME),
                stage::hex(reply.bytes(nl::A_VALIDATOR_ID).unwrap_or_default()),
                reply.u32(nl::A_VALIDATOR_WEIGHT),
                reply.u32(nl::A_FAULT)
            )
        });
        Ok(Self {
            phase: status.phase,
            mode: status.mode,
            validators: validators.collect(),
            quarantined: status.quarantined,
            granted: status.counter("granted")?,
            grants_used: status.counter("grants_used")?,
            votes: status.counter("votes")?,
            failed: status.counter("failed")? + status.counter("labels_failed")?,
            text: stage::hex(&sha256(&[&stage::running_policy()?])),
            references: number("/sys/module/tcp_lsm/refcnt")?,
            taint: number("/proc/sys/kernel/tainted")? & REPORTS,
            policy: (
                status.policy_name,
                status.policy_version,
                status.policy_digest,
            ),
        })
    }

    /// Looks at what a round has left.
    pub(super) fn judge(&self, ground: &Ground, pool: &Pool, did: &Did) -> Res {
        ensure!(did.complaints.is_empty(), "{}", did.complaints.join("; "));
        discard();
        let after = Self::read()?;
        ensure!(
            after.taint == self.taint,
            "the kernel has reported something: see its log"
        );
        ensure!(
            after.references == self.references,
            "{} references to the module instead of {}",
            after.references,
            self.references
        );
        let votes = after.votes - self.votes;
        ensure!(
            votes <= pool.acceptable,
            "{votes} votes were counted, and {} could be",
            pool.acceptable
        );
        // Votes that were counted are no other change.
        let explained = Self {
            votes: self.votes,
            ..self.explained(&after, ground, did)?
        };
        let seen = Self {
            votes: self.votes,
            ..after
        };
        ensure!(
            seen == explained,
            "the node is {seen:?} and should be {explained:?}"
        );
        match ground {
            Ground::Locked(past) => past.same()?,
            Ground::Setup | Ground::Sealed => {
                governed()?;
                chain_holds()?;
            }
        }
        nothing_left()
    }

    /// What the node should be: what it was but for what valid messages have changed.
    fn explained(&self, after: &Self, ground: &Ground, did: &Did) -> Res<Self> {
        let mut now = Self {
            policy: self.policy.clone(),
            text: self.text.clone(),
            validators: self.validators.clone(),
            ..*self
        };
        if !matches!(ground, Ground::Setup) {
            return Ok(now);
        }
        if did.command(nl::VALIDATOR_ADD) + did.command(nl::VALIDATOR_REMOVE) > 0 {
            now.validators.clone_from(&after.validators);
            // Nobody gets in whose key was not sent.
            ensure!(
                after.validators.len() as u64
                    <= self.validators.len() as u64 + did.command(nl::VALIDATOR_ADD),
                "more validators than were added"
            );
        }
        if did.command(nl::MODE_SET) > 0 {
            now.mode = after.mode;
        }
        let newest = did.policies.iter().max();
        if let Some((version, digest)) = newest {
            ensure!(
                after.policy.1 == *version && after.text == *digest,
                "version {} runs, and the newest that was taken is {version}",
                after.policy.1
            );
            now.text.clone_from(&after.text);
            now.policy.clone_from(&after.policy);
        }
        Ok(now)
    }
}

/// What needs a quorum is refused without one. A policy that was loaded in setup may say otherwise, so ours is put back first.
fn governed() -> Res {
    if stage::status()?.phase == nl::SETUP {
        Ground::Setup.prepare()?;
    }
    let mut agent = Agent::start("a")?;
    for name in ["quorum", "deny"] {
        agent.expect(libc::EACCES, &["append", &format!("{}/{name}/file", dir())])?;
    }
    agent.expect(0, &["append", &format!("{}/allow/file", dir())])?;
    agent.end()?;
    for name in ["quorum", "deny"] {
        let path = format!("{}/{name}/file", dir());
        ensure!(stage::content(&path)?.is_empty(), "{path} was written");
    }
    fs::write(format!("{}/allow/file", dir()), "").map_err(|e| e.to_string())
}

/// The last events are an unbroken chain that ends where the status says.
fn chain_holds() -> Res {
    stage::eventually(Duration::from_secs(2), || {
        let status = stage::status()?;
        let events = stage::events_from(status.event.saturating_sub(200))?.0;
        let last = events.last().ok_or("no events")?;
        ensure!(
            last.number == status.event && last.chain == status.chain,
            "the events do not end at the chain's head"
        );
        Ok(())
    })
}

/// Neither agents, nor labels, nor requests, nor grants are left over.
fn nothing_left() -> Res {
    if stage::status()?.phase != nl::LOCKED {
        stage::cancel_all()?;
    }
    stage::eventually(Duration::from_secs(10), || {
        for what in ["agents", "tasks", "requests", "grants"] {
            let left = stage::status_number(what)?;
            ensure!(left == 0, "{left} {what} are left");
        }
        Ok(())
    })
}

/// Whether a command may succeed when this one gives it.
pub(super) fn may(role: Role, command: u8) -> bool {
    match role {
        Role::Root => true,
        Role::User => matches!(
            command,
            nl::STATUS
                | nl::AGENT_LABEL
                | nl::REQUEST_GET
                | nl::VOTE_SUBMIT
                | nl::EVIDENCE_SUBMIT
                | nl::EVIDENCE_GET
        ),
        // An agent may start another one, of a class that its own may start.
        Role::Agent => command == nl::AGENT_LABEL,
    }
}
