// SPDX-License-Identifier: GPL-2.0

//! What the log of a whole load may say, whatever raced: each request is opened once, voted on by each validator once, decided
//! at most once and then for the votes that were counted, used no more often than the rule says, and ends once.

use crate::ensure;
use crate::harness::Ctx;
use crate::stage::{
    self,
    hex,
    kind,
    Event,
    Res, //
};
use std::collections::{
    BTreeMap,
    BTreeSet, //
};
use std::fmt;
use std::process::Command;

/// Threshold of every rule, basis points.
const THRESHOLD: u64 = 7500;

/// Weight of all validators.
const TOTAL: u64 = 4;

/// What was seen.
#[derive(Default)]
pub(super) struct Totals {
    events: u64,
    requests: u64,
    votes: u64,
    granted: u64,
    denied: u64,
    expired: u64,
    cancelled: u64,
    uses: u64,
    ended: [u64; 6],
}

impl Totals {
    pub(super) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.requests += other.requests;
        self.votes += other.votes;
        self.granted += other.granted;
        self.denied += other.denied;
        self.expired += other.expired;
        self.cancelled += other.cancelled;
        self.uses += other.uses;
        for (all, more) in self.ended.iter_mut().zip(other.ended) {
            *all += more;
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [revoked, expired, used_up, policy, validators, quarantined] = self.ended;
        write!(
            f,
            "{} events, {} requests, {} votes, {} granted, {} denied, {} expired, {} cancelled, {} uses; \
             grants ended: {revoked} revoked, {expired} expired, {used_up} used up, {policy} by a policy, \
             {validators} by validators, {quarantined} by quarantine",
            self.events,
            self.requests,
            self.votes,
            self.granted,
            self.denied,
            self.expired,
            self.cancelled,
            self.uses
        )
    }
}

/// One request, as the log tells it.
#[derive(Default)]
struct Story {
    /// What was asked for, and by whom.
    key: Vec<u8>,
    approve: BTreeSet<u16>,
    deny: BTreeSet<u16>,
    /// Kind of the decision.
    decided: Option<u16>,
    left: Option<u16>,
    ended: bool,
}

/// A big-endian number of a payload.
fn number(payload: &[u8], at: usize) -> u64 {
    crate::harness::be(payload, at, 8)
}

impl Story {
    fn begin(request: &Event) -> Self {
        Self {
            // What follows node, epoch, nonce and times: what is asked for.
            key: request.payload().get(96..).unwrap_or_default().to_vec(),
            ..Self::default()
        }
    }

    fn is_open(&self) -> bool {
        self.decided.is_none()
    }

    /// Whether the votes approve, and whether they deny.
    fn tally(&self) -> (bool, bool) {
        let (approve, deny) = (self.approve.len() as u64, self.deny.len() as u64);
        (
            approve * 10_000 >= THRESHOLD * TOTAL,
            // What is left can no longer reach the threshold.
            (TOTAL - deny) * 10_000 < THRESHOLD * TOTAL,
        )
    }

    fn vote(&mut self, event: &Event) -> Res {
        ensure!(self.is_open(), "a vote after the decision");
        let (approved, denied) = self.tally();
        ensure!(!approved && !denied, "a vote when it was clear already");
        ensure!(
            !self.approve.contains(&event.slot) && !self.deny.contains(&event.slot),
            "a second vote of slot {}",
            event.slot
        );
        match event.result {
            1 => self.approve.insert(event.slot),
            2 => self.deny.insert(event.slot),
            other => return Err(format!("verdict {other}")),
        };
        Ok(())
    }

    fn decide(&mut self, event: &Event) -> Res {
        ensure!(
            self.is_open(),
            "decided twice: {:?} and {}",
            self.decided,
            event.kind
        );
        let (approved, denied) = self.tally();
        ensure!(
            approved == (event.kind == kind::GRANTED) && denied == (event.kind == kind::DENIED),
            "{} approve and {} deny, and it ends with {}",
            self.approve.len(),
            self.deny.len(),
            event.kind
        );
        if event.kind != kind::CANCELLED {
            let bytes = event.payload();
            ensure!(
                number(bytes, 0) == self.approve.len() as u64
                    && number(bytes, 8) == self.deny.len() as u64
                    && number(bytes, 16) == TOTAL,
                "the tally is not that of the votes: {}",
                hex(bytes)
            );
        }
        self.decided = Some(event.kind);
        Ok(())
    }

    fn used(&mut self, event: &Event) -> Res {
        ensure!(
            self.decided == Some(kind::GRANTED) && !self.ended,
            "used without a grant, or after its end"
        );
        ensure!(
            self.left
                .is_none_or(|left| left > 0 && event.result == left - 1),
            "{:?} uses were left, and then {}",
            self.left,
            event.result
        );
        self.left = Some(event.result);
        Ok(())
    }

    fn end(&mut self, event: &Event) -> Res {
        ensure!(
            self.decided == Some(kind::GRANTED) && !self.ended,
            "a grant that was not there ended"
        );
        ensure!(
            (event.result == 3) == (self.left == Some(0)),
            "it ended for {} with {:?} uses left",
            event.result,
            self.left
        );
        self.ended = true;
        Ok(())
    }
}

/// Goes through all events of this load; an error when any of them may not be where it is.
pub(super) fn check() -> Res<Totals> {
    let (events, lost) = stage::events_from(1)?;
    ensure!(lost == 0, "{lost} events are lost");
    let mut totals = Totals::default();
    let mut stories: BTreeMap<[u8; 32], Story> = BTreeMap::new();
    for event in &events {
        totals.events += 1;
        step(event, &mut stories, &mut totals)
            .map_err(|why| format!("event {}: {why}: {}", event.number, hex(&event.request)))?;
    }
    let open = stories.values().filter(|story| story.is_open()).count();
    ensure!(open == 0, "{open} requests never ended");
    Ok(totals)
}

fn step(event: &Event, stories: &mut BTreeMap<[u8; 32], Story>, totals: &mut Totals) -> Res {
    if event.kind == kind::REQUEST {
        let story = Story::begin(event);
        ensure!(
            !stories
                .values()
                .any(|other| other.is_open() && other.key == story.key),
            "opened while the same was open already"
        );
        totals.requests += 1;
        ensure!(
            stories.insert(event.request, story).is_none(),
            "opened twice"
        );
        return Ok(());
    }
    let of_request = [
        kind::VOTE,
        kind::GRANTED,
        kind::DENIED,
        kind::EXPIRED,
        kind::CANCELLED,
        kind::USED,
        kind::GRANT_ENDED,
    ];
    if !of_request.contains(&event.kind) {
        return Ok(());
    }
    let story = stories
        .get_mut(&event.request)
        .ok_or("of a request that was never opened")?;
    match event.kind {
        kind::VOTE => {
            totals.votes += 1;
            story.vote(event)
        }
        kind::USED => {
            totals.uses += 1;
            story.used(event)
        }
        kind::GRANT_ENDED => {
            let reason = usize::from(event.result).wrapping_sub(1);
            *totals.ended.get_mut(reason).ok_or("an unknown reason")? += 1;
            story.end(event)
        }
        decision => {
            match decision {
                kind::GRANTED => totals.granted += 1,
                kind::DENIED => totals.denied += 1,
                kind::EXPIRED => totals.expired += 1,
                _ => totals.cancelled += 1,
            }
            story.decide(event)
        }
    }
}

/// How often grants of that agent were used.
pub(super) fn uses(agent: u64) -> Res<u64> {
    let events = stage::events_from(1)?.0;
    let used = events
        .iter()
        .filter(|event| event.kind == kind::USED && event.agent == agent);
    Ok(used.count() as u64)
}

/// Has `tcpctl` export the log and verify it, as an auditor would.
pub(super) fn verify(ctx: &Ctx) -> Res {
    let path = ctx.path("log");
    let _ = std::fs::remove_file(&path);
    for words in [
        &["events", "export", "--out", &path][..],
        &["audit", "verify", &path],
    ] {
        let output = Command::new("tcpctl")
            .args(words)
            .output()
            .map_err(|e| format!("tcpctl: {e}"))?;
        ensure!(
            output.status.success(),
            "tcpctl {}: {}{}",
            words.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{
        kind,
        step,
        Event,
        Res,
        Totals, //
    };
    use std::collections::BTreeMap;

    /// Events of the requests `a` and `b`, which ask for the same: kind, slot and result; a tally for a decision.
    fn told(events: &[(char, u16, u16, u16)]) -> Res {
        let (mut stories, mut totals) = (BTreeMap::new(), Totals::default());
        let (mut approve, mut deny) = (0u64, 0u64);
        for &(request, kind, slot, result) in events {
            if kind == kind::VOTE {
                *(if result == 1 { &mut approve } else { &mut deny }) += 1;
            }
            let mut bytes = vec![0; 92];
            if kind == kind::REQUEST {
                bytes.extend([7; 300]);
            } else {
                bytes.extend([approve, deny, 4, 0].map(u64::to_be_bytes).concat());
            }
            let mut id = [0; 32];
            id[0] = u8::try_from(request).unwrap_or(0);
            let event = Event {
                number: 1,
                kind,
                op: 4,
                agent: 1,
                request: id,
                slot,
                result,
                bytes,
                chain: Vec::new(),
            };
            step(&event, &mut stories, &mut totals)?;
        }
        Ok(())
    }

    const REQUEST: (char, u16, u16, u16) = ('a', kind::REQUEST, 0, 0);
    const YES: [(char, u16, u16, u16); 3] = [
        ('a', kind::VOTE, 1, 1),
        ('a', kind::VOTE, 2, 1),
        ('a', kind::VOTE, 3, 1),
    ];
    const NO: [(char, u16, u16, u16); 2] = [('a', kind::VOTE, 1, 2), ('a', kind::VOTE, 2, 2)];
    const GRANTED: (char, u16, u16, u16) = ('a', kind::GRANTED, 0, 0);

    fn used(left: u16) -> (char, u16, u16, u16) {
        ('a', kind::USED, 0, left)
    }

    fn ended(reason: u16) -> (char, u16, u16, u16) {
        ('a', kind::GRANT_ENDED, 0, reason)
    }

    fn granted(rest: &[(char, u16, u16, u16)]) -> Res {
        told(&[&[REQUEST], &YES[..], &[GRANTED], rest].concat())
    }

    #[test]
    fn what_may_be_is_accepted() {
        assert_eq!(granted(&[used(1), used(0), ended(3)]), Ok(()));
        assert_eq!(granted(&[used(7), ended(1)]), Ok(()));
        let denied = ('a', kind::DENIED, 0, 0);
        assert_eq!(told(&[&[REQUEST], &NO[..], &[denied]].concat()), Ok(()));
        let again = ('b', kind::REQUEST, 0, 0);
        assert_eq!(told(&[REQUEST, ('a', kind::EXPIRED, 0, 0), again]), Ok(()));
        assert_eq!(
            told(&[REQUEST, YES[0], ('a', kind::CANCELLED, 0, 1)]),
            Ok(())
        );
    }

    #[test]
    fn what_may_not_be_is_found() {
        let wrong: [(&str, Res); 12] = [
            (
                "the same is open",
                told(&[REQUEST, ('b', kind::REQUEST, 0, 0)]),
            ),
            ("never opened", told(&[YES[0]])),
            ("a second vote", told(&[REQUEST, YES[0], YES[0]])),
            ("too few votes", told(&[REQUEST, YES[0], YES[1], GRANTED])),
            (
                "expired with a quorum",
                told(&[&[REQUEST], &YES[..], &[('a', kind::EXPIRED, 0, 0)]].concat()),
            ),
            (
                "granted though denied",
                told(&[&[REQUEST], &NO[..], &[GRANTED]].concat()),
            ),
            ("decided twice", granted(&[GRANTED])),
            ("a vote afterwards", granted(&[('a', kind::VOTE, 4, 1)])),
            ("used without a grant", told(&[REQUEST, used(1)])),
            ("used after its end", granted(&[used(1), ended(1), used(0)])),
            ("uses that do not count down", granted(&[used(2), used(0)])),
            ("ended twice", granted(&[ended(1), ended(2)])),
        ];
        for (what, told) in wrong {
            assert!(told.is_err(), "{what} was accepted");
        }
    }
}
