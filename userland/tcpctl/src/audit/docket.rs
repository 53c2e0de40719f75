// SPDX-License-Identifier: GPL-2.0

//! Requests that are open and grants that live. What is decided and used up is forgotten, so a long log takes no more
//! memory than the kernel needs.

use std::collections::{
    HashMap,
    VecDeque, //
};

use engine::{
    event::{
        GrantEnded,
        Header,
        Kind, //
    },
    governance::{
        Detail,
        Mode,
        KEY_LEN, //
    },
    limits,
    op::Op,
    quorum::{
        Ballot,
        Outcome, //
    },
    request::{
        Fact,
        Request, //
    }, //
};

use super::fault::{
    same,
    same_digest,
    wrong,
    Checked, //
};
use crate::{
    crypto::sha256,
    ids::short, //
};

/// How much later than its decision an event may be stamped: the kernel reads the clock, decides, and stamps, and a machine may
/// stand still in between.
pub(crate) const SLACK_MS: u64 = 10_000;

/// What a governance request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A policy with that digest, version and name.
    Policy([u8; 32], u64, String),
    /// A validator with that weight, name and key.
    Add(u32, String, Box<[u8; KEY_LEN]>),
    /// No validator of that name.
    Remove(String),
    /// That the validator of that name is quarantined no longer.
    Readmit(String),
    /// A mode.
    Mode(Mode),
    /// To be unloaded.
    Unload,
    /// A state that is not current: reason, its counter, the counter found.
    Recover(u16, u64, u64),
}

impl Wanted {
    /// Reads a request; [`None`] for one that is not governance.
    fn of(request: &Request<'_>) -> Checked<Option<Self>> {
        let op = request.binding.op;
        if !op.is_governance() {
            return Ok(None);
        }
        if op == Op::Policy {
            let mut version = 0;
            let mut name = String::new();
            for fact in request.facts() {
                match fact {
                    Fact::Version(value) => version = value,
                    Fact::Name(bytes) => name = String::from_utf8_lossy(bytes).into_owned(),
                    _ => {}
                }
            }
            return Ok(Some(Self::Policy(*request.binding.content, version, name)));
        }
        // The state, whose digest a RECOVER request binds, is not in the log.
        if op != Op::Recover {
            let detail = request.facts().find_map(|fact| match fact {
                Fact::Detail(bytes) => Some(sha256(bytes)),
                _ => None,
            });
            same_digest(
                "request_content",
                "the content digest",
                request.binding.content,
                &detail.unwrap_or([0; 32]),
            )?;
        }
        let wanted = match request.detail() {
            Some(Detail::AddValidator { weight, name, key }) => {
                Self::Add(weight, name.to_owned(), Box::new(*key))
            }
            Some(Detail::RemoveValidator { name }) => Self::Remove(name.to_owned()),
            Some(Detail::ReadmitValidator { name }) => Self::Readmit(name.to_owned()),
            Some(Detail::Mode(mode)) => Self::Mode(mode),
            Some(Detail::Unload) => Self::Unload,
            Some(Detail::Recover {
                reason,
                state,
                found,
            }) => Self::Recover(reason, state, found),
            None => {
                return Err(wrong(
                    "event_malformed",
                    "a governance request without detail",
                    "a DETAIL fact",
                ))
            }
        };
        Ok(Some(wanted))
    }
}

/// What all events about one request have in common.
#[derive(Debug, Clone)]
struct About {
    op: Op,
    uid: u32,
    agent: u64,
    line: u32,
}

impl About {
    /// Checks the header of an event about the request.
    fn check(&self, header: &Header) -> Checked {
        if header.op != Some(self.op)
            || header.uid != self.uid
            || header.agent != self.agent
            || header.line != self.line
        {
            return Err(wrong(
                "event_header",
                "operation, user, agent or line are not those of the request",
                format!(
                    "{} of user {}, agent {}, line {}",
                    self.op, self.uid, self.agent, self.line
                ),
            ));
        }
        Ok(())
    }
}

/// A request that waits for votes.
#[derive(Debug, Clone)]
pub(crate) struct Open {
    about: About,
    /// Digest of what it binds.
    binding: [u8; 32],
    /// Number of its REQUEST event.
    pub(crate) created: u64,
    /// When silence becomes a denial.
    pub(crate) expires_ms: u64,
    ttl_ms: u64,
    uses: u16,
    /// The votes.
    pub(crate) ballot: Ballot,
    /// The threshold of its encoding.
    threshold_bp: u16,
    wanted: Option<Wanted>,
}

impl Open {
    /// What its threshold in force follows from: that of its encoding, `created`, and whether it is governance.
    pub(crate) fn terms(&self) -> (u16, u64, bool) {
        (
            self.threshold_bp,
            self.created,
            self.about.op.is_governance(),
        )
    }
}

/// A grant that can be used.
#[derive(Debug)]
struct Grant {
    about: About,
    /// Number of its GRANTED event.
    given: u64,
    /// The votes that it was given for.
    ballot: Ballot,
    uses_left: u16,
    /// When it ends, at the latest.
    expires_ms: u64,
    wanted: Option<Wanted>,
}

/// The open requests and the grants of one load.
#[derive(Debug, Default)]
pub(crate) struct Docket {
    open: HashMap<[u8; 32], Open>,
    grants: HashMap<[u8; 32], Grant>,
}

fn unknown(id: &[u8; 32]) -> super::fault::Wrong {
    wrong(
        "request_not_open",
        format!("request {} is not open", short(id)),
        "a request that waits for votes",
    )
}

impl Docket {
    /// Neither requests nor grants are left.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.grants.is_empty()
    }

    /// How many requests are open, and how many grants live.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.open.len(), self.grants.len())
    }

    /// Opens a request among validators of that total weight.
    ///
    /// # Errors
    ///
    /// Everything that a request can be wrong in by itself.
    pub(crate) fn open(&mut self, header: &Header, encoding: &[u8], total: u64) -> Checked {
        let request = Request::decode(encoding)
            .map_err(|error| wrong("event_malformed", error.to_string(), "a request"))?;
        same_digest("request_id", "the id", &header.request, &sha256(encoding))?;
        let binding = &request.binding;
        same(
            "request_created",
            "`created`",
            request.head.created,
            header.number,
        )?;
        let about = About {
            op: binding.op,
            uid: binding.uid,
            agent: binding.agent,
            line: binding.line,
        };
        about.check(header)?;
        let times = request.head;
        if times.created_ms > header.boot_ms
            || times.expires_ms <= times.created_ms
            || times.expires_ms - times.created_ms > u64::from(limits::TIMEOUT_S) * 1000
        {
            return Err(wrong(
                "request_times",
                format!(
                    "made at {} ms, until {} ms, recorded at {} ms",
                    times.created_ms, times.expires_ms, header.boot_ms
                ),
                "made before it was recorded, and open for at most a day",
            ));
        }
        let ballot = Ballot::new(binding.threshold_bp, total).map_err(|refusal| {
            wrong(
                "request_threshold",
                refusal.name(),
                "validators, and a threshold from 50.01 % to 100 %",
            )
        })?;
        let digest = sha256(engine::request::binding(encoding));
        if self.open.values().any(|open| open.binding == digest) {
            return Err(wrong(
                "request_duplicate",
                "an open request asks for the same",
                "no second request",
            ));
        }
        let governance = binding.op.is_governance();
        let alike = self
            .open
            .values()
            .filter(|open| open.about.op.is_governance() == governance)
            .count();
        let limit = if governance {
            limits::GOVERNANCE_REQUESTS
        } else {
            limits::REQUESTS
        };
        if alike >= limit {
            return Err(wrong(
                "request_limit",
                format!("{alike} requests are open already"),
                format!("at most {limit}"),
            ));
        }
        self.open.insert(
            header.request,
            Open {
                about,
                binding: digest,
                created: request.head.created,
                expires_ms: request.head.expires_ms,
                ttl_ms: u64::from(binding.ttl_s) * 1000,
                uses: binding.uses,
                ballot,
                threshold_bp: binding.threshold_bp,
                wanted: Wanted::of(&request)?,
            },
        );
        Ok(())
    }

    /// The open request of that id.
    pub(crate) fn get(&self, id: &[u8; 32]) -> Option<&Open> {
        self.open.get(id)
    }

    /// The ballot of an open request, for an event about it.
    ///
    /// # Errors
    ///
    /// `request_not_open`, `event_header`.
    pub(crate) fn ballot(&mut self, header: &Header) -> Checked<&mut Ballot> {
        let open = self
            .open
            .get_mut(&header.request)
            .ok_or_else(|| unknown(&header.request))?;
        open.about.check(header)?;
        Ok(&mut open.ballot)
    }

    /// Raises the threshold of a request that was just made, and bars the quarantined. What follows at once, if anything, is
    /// returned.
    pub(crate) fn prepare(
        &mut self,
        id: &[u8; 32],
        threshold_bp: u16,
        barred: impl Iterator<Item = (u16, u32)>,
    ) -> Due {
        let Some(open) = self.open.get_mut(id) else {
            return Due::Nothing;
        };
        open.ballot.raise_to(threshold_bp);
        for (slot, weight) in barred {
            open.ballot.bar(slot, weight);
        }
        match open.ballot.outcome() {
            Outcome::Denied => Due::Decision(Kind::Denied, *id),
            _ => Due::Nothing,
        }
    }

    /// Takes back the votes of a validator that was quarantined. What follows at once is returned: the requests that can no
    /// longer be approved, then the grants that are no longer backed, each in the order of their making.
    pub(crate) fn bar(&mut self, slot: u16, weight: u32) -> Due {
        let mut denied = Vec::new();
        for (id, open) in &mut self.open {
            open.ballot.bar(slot, weight);
            if open.ballot.outcome() == Outcome::Denied {
                denied.push((open.created, Kind::Denied, *id));
            }
        }
        let mut ended = Vec::new();
        for (id, grant) in &mut self.grants {
            grant.ballot.bar(slot, weight);
            if !grant.ballot.is_backed() {
                ended.push((grant.given, Kind::GrantEnded, *id));
            }
        }
        denied.sort_by_key(|&(number, _, _)| number);
        ended.sort_by_key(|&(number, _, _)| number);
        let all = denied.into_iter().chain(ended);
        Due::Quarantine(all.map(|(_, kind, id)| (kind, id)).collect()).settle()
    }

    /// Closes a request.
    ///
    /// # Errors
    ///
    /// `request_not_open`, `event_header`.
    pub(crate) fn close(&mut self, header: &Header) -> Checked<Open> {
        let open = self
            .open
            .get(&header.request)
            .ok_or_else(|| unknown(&header.request))?;
        open.about.check(header)?;
        self.open
            .remove(&header.request)
            .ok_or_else(|| unknown(&header.request))
    }

    /// Makes the grant of a request that was granted.
    ///
    /// # Errors
    ///
    /// `grant_limit`.
    pub(crate) fn grant(&mut self, header: &Header, open: Open) -> Checked {
        // Those that have expired and whose end has not been recorded yet count.
        if self.grants.len() >= limits::GRANTS {
            return Err(wrong(
                "grant_limit",
                format!("{} grants live already", self.grants.len()),
                format!("at most {}", limits::GRANTS),
            ));
        }
        self.grants.insert(
            header.request,
            Grant {
                about: open.about,
                given: header.number,
                ballot: open.ballot,
                uses_left: open.uses,
                expires_ms: header.boot_ms.saturating_add(open.ttl_ms),
                wanted: open.wanted,
            },
        );
        Ok(())
    }

    /// Uses a grant, and returns what governance change it allows. It is over when the result is 0, which an event of its
    /// own must say.
    ///
    /// # Errors
    ///
    /// `grant_unknown`, `grant_expired`, `grant_uses`, `event_header`.
    pub(crate) fn spend(&mut self, header: &Header) -> Checked<Option<Wanted>> {
        let grant = self.grants.get_mut(&header.request).ok_or_else(|| {
            wrong(
                "grant_unknown",
                format!("request {} has no live grant", short(&header.request)),
                "a grant that was given and is not used up",
            )
        })?;
        grant.about.check(header)?;
        if header.boot_ms > grant.expires_ms.saturating_add(SLACK_MS) {
            return Err(wrong(
                "grant_expired",
                format!("used at {} ms", header.boot_ms),
                format!("a use before {} ms", grant.expires_ms),
            ));
        }
        let left = grant.uses_left.checked_sub(1).ok_or_else(|| {
            wrong(
                "grant_uses",
                "the grant is used up",
                "GRANT_ENDED after the last use",
            )
        })?;
        same("grant_uses", "the number of uses left", header.result, left)?;
        grant.uses_left = left;
        Ok(grant.wanted.clone())
    }

    /// Ends a grant.
    ///
    /// # Errors
    ///
    /// `grant_unknown`, `grant_ended`, `event_header`.
    pub(crate) fn end(&mut self, header: &Header) -> Checked {
        let grant = self.grants.get(&header.request).ok_or_else(|| {
            wrong(
                "grant_unknown",
                format!("request {} has no live grant", short(&header.request)),
                "a grant that was given and has not ended",
            )
        })?;
        grant.about.check(header)?;
        let used_up = header.result == GrantEnded::UsedUp as u16;
        if used_up != (grant.uses_left == 0) {
            return Err(wrong(
                "grant_ended",
                format!("{} uses are left", grant.uses_left),
                "`used up` exactly when none is",
            ));
        }
        let unbacked = header.result == GrantEnded::ValidatorQuarantined as u16;
        if unbacked && grant.ballot.is_backed() {
            return Err(wrong(
                "grant_ended",
                format!(
                    "{} of {} still approve, at a threshold of {} basis points",
                    grant.ballot.approve(),
                    grant.ballot.total(),
                    grant.ballot.threshold_bp()
                ),
                "`validator quarantined` exactly when too little approves",
            ));
        }
        let early = header.boot_ms.saturating_add(SLACK_MS) < grant.expires_ms;
        if header.result == GrantEnded::Expired as u16 && early {
            return Err(wrong(
                "grant_ended",
                format!("expired at {} ms", header.boot_ms),
                format!("not before {} ms", grant.expires_ms),
            ));
        }
        self.grants.remove(&header.request);
        Ok(())
    }
}

/// What the next event must be, because the kernel records both under one lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Due {
    /// Anything.
    #[default]
    Nothing,
    /// This decision on this request.
    Decision(Kind, [u8; 32]),
    /// The end of this grant, which is used up.
    UsedUp([u8; 32]),
    /// Further ends for a new policy, then POLICY.
    Policy,
    /// Further ends for other validators, then VALIDATOR_ADDED, VALIDATOR_REMOVED or READMITTED.
    Validators,
    /// These denials and ends of grants, one after the other: a validator was quarantined.
    Quarantine(VecDeque<(Kind, [u8; 32])>),
    /// WATCH.
    Watch,
    /// Further cancellations of this agent's requests, then AGENT_ENDED.
    Agent(u64),
}

impl Due {
    /// Nothing, when nothing is left.
    fn settle(self) -> Self {
        match self {
            Self::Quarantine(all) if all.is_empty() => Self::Nothing,
            due => due,
        }
    }

    /// What has to come after the event that had to come.
    pub(crate) fn after(self) -> Self {
        match self {
            Self::Quarantine(mut all) => {
                all.pop_front();
                Self::Quarantine(all).settle()
            }
            _ => Self::Nothing,
        }
    }

    /// Checks that an event is what has to come.
    ///
    /// # Errors
    ///
    /// `decision_missing`, `end_missing`, `change_missing`, `watch_missing`, `watch_misplaced`.
    pub(crate) fn check(&self, header: &Header) -> Checked {
        let kind = header.kind;
        let result = header.result;
        if kind == Kind::Watch && *self != Self::Watch {
            return Err(wrong(
                "watch_misplaced",
                "WATCH stands by itself",
                "POLICY, ALERT or CALM right before it",
            ));
        }
        let (fits, code, expected) = match self {
            Self::Nothing => (true, "", ""),
            Self::Decision(decision, id) => (
                kind == *decision && header.request == *id,
                "decision_missing",
                decision.name(),
            ),
            Self::UsedUp(id) => (
                kind == Kind::GrantEnded
                    && result == GrantEnded::UsedUp as u16
                    && header.request == *id,
                "end_missing",
                "GRANT_ENDED of the grant that is used up",
            ),
            Self::Policy => (
                kind == Kind::Policy
                    || (kind == Kind::Cancelled && result == 2)
                    || (kind == Kind::GrantEnded && result == 4),
                "change_missing",
                "POLICY, because of which requests and grants ended",
            ),
            Self::Validators => (
                kind == Kind::ValidatorAdded
                    || kind == Kind::ValidatorRemoved
                    || kind == Kind::Readmitted
                    || (kind == Kind::Cancelled && result == 3)
                    || (kind == Kind::GrantEnded && result == 5),
                "change_missing",
                "a change of the validators, because of which requests and grants ended",
            ),
            Self::Quarantine(all) => match all.front() {
                Some((Kind::Denied, id)) => (
                    kind == Kind::Denied && header.request == *id,
                    "decision_missing",
                    "DENIED of each request that has become impossible, in the order of their making",
                ),
                Some((_, id)) => (
                    kind == Kind::GrantEnded
                        && result == GrantEnded::ValidatorQuarantined as u16
                        && header.request == *id,
                    "end_missing",
                    "GRANT_ENDED of each grant that is no longer backed, in the order of their making",
                ),
                None => (true, "", ""),
            },
            Self::Watch => (kind == Kind::Watch, "watch_missing", "WATCH"),
            Self::Agent(agent) => (
                header.agent == *agent
                    && (kind == Kind::AgentEnded || (kind == Kind::Cancelled && result == 4)),
                "change_missing",
                "AGENT_ENDED, because of which requests ended",
            ),
        };
        if fits {
            Ok(())
        } else {
            Err(wrong(
                code,
                format!("{} follows", kind.name()),
                expected.to_owned(),
            ))
        }
    }
}
