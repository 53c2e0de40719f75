// SPDX-License-Identifier: GPL-2.0

//! Validators that lie, and whoever would have them look as if they did (`Documentation/byzantine.rst`).
//!
//! What a proof is, is decided here from the bytes alone, not with the engine's code.

mod alerts;
mod dumps;
mod evidence;
mod faults;
mod framing;
mod sealed;

use crate::client::Refused;
use crate::ensure;
use crate::harness::{
    be,
    Test, //
};
use crate::keys::{
    sha256,
    verifies,
    Validator, //
};
use crate::stage::{
    self,
    decode_clock,
    expect_refused,
    nl,
    submit_evidence,
    voter,
    Event,
    Request,
    Res,
    Vote,
    Voter,
    APPROVE,
    DENY, //
};
use crate::state;
use crate::worker::Agent;
use std::collections::BTreeMap;

/// The tests, in their order: those of a sealed node are last.
pub(crate) const TESTS: &[&[Test]] = &[
    faults::TESTS,
    framing::TESTS,
    evidence::TESTS,
    alerts::TESTS,
    dumps::TESTS,
    sealed::TESTS,
];

/// Kinds of faults.
const EQUIVOCATION: u8 = 1;
const FORK: u8 = 2;
const REGRESSION: u8 = 3;

/// A statement that keeps thresholds where they are.
const NO_RAISE: &str = "adaptive raise=0%";

// --- the node -------------------------------------------------------------------------------------

fn dir(name: &str) -> Res<String> {
    let dir = format!("{}/byzantine/{name}", stage::SCRATCH);
    stage::make_dir(&dir)?;
    Ok(dir)
}

fn body(adaptive: &str) -> Res<String> {
    Ok(format!(
        "class a\n{adaptive}\nDEFAULT action=ALLOW\n\
         op=FILE_WRITE class=a path={} action=QUORUM threshold=75% ttl=1h timeout=5m uses=3\n\
         op=FILE_WRITE class=a path={} action=QUORUM threshold=50.01% ttl=1h timeout=5m uses=3\n\
         op=FILE_WRITE class=a path={} action=QUORUM threshold=75% timeout=1s\n\
         op=POLICY,VALIDATOR,MODE,UNLOAD action=QUORUM threshold=75%\n",
        dir("most")?,
        dir("half")?,
        dir("brief")?
    ))
}

/// A node in setup that knows of no fault, with test validators of these weights from the first on.
fn begin(weights: &[u32], adaptive: &str) -> Res {
    state::restart()?;
    if stage::status()?.phase != nl::SETUP {
        state::forget()?;
        state::load("")?;
    }
    for (number, weight) in (1..).zip(weights) {
        stage::enrol(&Validator::test(number), *weight)
            .map_err(|e| format!("enrolling v{number}: {e:?}"))?;
    }
    stage::load_body("byzantine", &body(adaptive)?)?;
    stage::set_mode(nl::ENFORCE).map_err(|e| format!("mode: {e:?}"))?;
    Ok(())
}

/// An agent that asks for one file after the other.
struct Desk {
    agent: Agent,
    files: usize,
    path: String,
}

impl Desk {
    fn open() -> Res<Self> {
        Ok(Self {
            agent: Agent::start("a")?,
            files: 0,
            path: String::new(),
        })
    }

    /// Chooses the next file of a directory of [`body`].
    fn next(&mut self, name: &str) -> Res {
        self.files += 1;
        self.path = format!("{}/{}", dir(name)?, self.files);
        stage::make_file(&self.path, "")
    }

    /// The open request for the next file.
    fn ask(&mut self, name: &str) -> Res<Request> {
        self.next(name)?;
        self.agent.raise(&["append", &self.path])
    }

    /// Writes the last file that was chosen, which must end with this error number.
    fn write(&mut self, errno: i32) -> Res {
        self.agent.expect(errno, &["append", &self.path])
    }
}

/// These validators approve, and only the last of them grants the request.
fn exactly(request: &Request, numbers: &[u32]) -> Res {
    for (at, number) in numbers.iter().enumerate() {
        let tally = voter(*number)?
            .cast(request, APPROVE)
            .map_err(|e| format!("v{number} approves: {e:?}"))?;
        let last = at + 1 == numbers.len();
        let want = if last { nl::GRANTED } else { nl::OPEN };
        ensure!(
            tally.state == want,
            "approval {} of {} (v{number}): {tally:?}, not state {want}",
            at + 1,
            numbers.len()
        );
    }
    Ok(())
}

fn approves(number: u32, request: &Request) -> Res<Voter> {
    let mut voter = voter(number)?;
    voter
        .cast(request, APPROVE)
        .map_err(|e| format!("v{number} approves: {e:?}"))?;
    Ok(voter)
}

/// The request stands so: state, approving, denying and barred weight.
fn stands(what: &str, id: &[u8; 32], want: (u32, u64, u64, u64)) -> Res {
    let now = stage::request(id)?;
    let is = (now.state, now.approve, now.deny, now.quarantined);
    ensure!(
        is == want,
        "{what}: state, approving, denying and barred weight are {is:?}, not {want:?}"
    );
    Ok(())
}

/// A vote must be refused because of a quarantine, or bring it about.
fn convicts<T>(what: &str, got: Result<T, Refused>) -> Res {
    expect_refused(what, got, libc::EKEYREJECTED, "vote_quarantined")
}

// --- evidence -------------------------------------------------------------------------------------

/// A vote as it was signed, its signature, and its validator's own entry.
type Signed = (Vec<u8>, Vec<u8>, u64);

fn signed(vote: &Vote, key: &Validator) -> Signed {
    let bytes = vote.signed();
    let signature = key.sign(&bytes);
    (bytes, signature, vote.entry(u16::from(vote.slot)))
}

/// Evidence in this order, right or not.
fn raw_evidence(fault: u8, point: &[u8], first: &Signed, second: &Signed) -> Vec<u8> {
    let mut out = b"TCPLEVD1".to_vec();
    out.extend([fault, 0]);
    out.extend(point);
    for (vote, signature, _) in [first, second] {
        for part in [vote, signature] {
            out.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend(part);
        }
    }
    out
}

/// Evidence in its one order.
fn ordered(fault: u8, point: &[u8], a: &Signed, b: &Signed) -> Vec<u8> {
    if (a.2, &a.0) <= (b.2, &b.0) {
        raw_evidence(fault, point, a, b)
    } else {
        raw_evidence(fault, point, b, a)
    }
}

/// Evidence of two votes that `key` signs.
fn evidence_of(fault: u8, key: &Validator, a: &Vote, b: &Vote) -> Vec<u8> {
    ordered(fault, &key.point(), &signed(a, key), &signed(b, key))
}

/// Two votes of a validator for some node, on one request, with both verdicts; `entry` is the node's in both clocks.
fn both_verdicts(key: &Validator, node: [u8; 32], entry: u64) -> (Vote, Vote) {
    let vote = |verdict, own| Vote {
        magic: *b"TCPLVOT2",
        node,
        epoch: 7,
        request: [9; 32],
        validator: key.id(),
        verdict,
        slot: 3,
        entries: None,
        expires_ms: 1_000_000,
        reason: Vec::new(),
        reason_digest: None,
        clock: vec![(0, entry), (3, own)],
    };
    (vote(APPROVE, 5), vote(DENY, 6))
}

/// Evidence that a validator has lied to a node that is not this one.
pub(crate) fn elsewhere(key: &Validator, node: u8, entry: u64) -> Vec<u8> {
    let (a, b) = both_verdicts(key, [node; 32], entry);
    evidence_of(EQUIVOCATION, key, &a, &b)
}

/// Quarantines a validator for what it has told another node.
fn convict(number: u32) -> Res {
    let key = Validator::test(number);
    let reply = submit_evidence(&elsewhere(&key, 0xaa, 1 << 32))
        .map_err(|e| format!("evidence against v{number}: {e:?}"))?;
    ensure!(
        reply.u32(nl::A_OUTCOME) == Some(nl::DONE)
            && reply.u32(nl::A_FAULT) == Some(u32::from(EQUIVOCATION))
            && reply.string(nl::A_VALIDATOR_NAME).as_deref() == Some(key.name.as_str())
            && reply.u32(nl::A_VALIDATOR_SLOT) == Some(u32::from(voter(number)?.slot)),
        "the answer to evidence against v{number}: {reply:?}"
    );
    quarantined(number, EQUIVOCATION).map(drop)
}

fn part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(be(bytes, 0, 2)).ok()?;
    let (part, rest) = bytes.get(2..)?.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

/// The kind of the fault that two signed votes of one validator for one node and epoch are, if they are one.
fn contradiction(a: &[u8], b: &[u8]) -> Res<Option<u8>> {
    let slot = u16::from(a[113]);
    let clocks = [
        decode_clock(a.get(156..).unwrap_or_default())?,
        decode_clock(b.get(156..).unwrap_or_default())?,
    ];
    let own = |clock: &BTreeMap<u16, u64>| clock.get(&slot).copied().unwrap_or(0);
    let (own_a, own_b) = (own(&clocks[0]), own(&clocks[1]));
    let behind = |early: &BTreeMap<u16, u64>, late: &BTreeMap<u16, u64>| {
        early
            .iter()
            .any(|(slot, value)| late.get(slot).is_none_or(|late| late < value))
    };
    Ok(if a[8..48] != b[8..48] || a[80..112] != b[80..112] {
        None
    } else if a[48..80] == b[48..80] && a[112] != b[112] {
        Some(EQUIVOCATION)
    } else if a[113] != b[113] || own_a.min(own_b) == 0 {
        None
    } else if own_a == own_b {
        (a != b).then_some(FORK)
    } else if own_a < own_b && behind(&clocks[0], &clocks[1])
        || own_b < own_a && behind(&clocks[1], &clocks[0])
    {
        Some(REGRESSION)
    } else {
        None
    })
}

/// Whoever has these bytes knows with them alone that this validator has lied so.
fn proves(evidence: &[u8], validator: &[u8; 32], fault: u8) -> Res {
    ensure!(
        evidence.starts_with(b"TCPLEVD1") && evidence.get(8..10) == Some(&[fault, 0]),
        "not evidence of fault {fault}: {}",
        stage::hex(evidence)
    );
    let point = evidence.get(10..75).ok_or("evidence without a key")?;
    let mut rest = &evidence[75..];
    let mut parts = [&[][..]; 4];
    for one in &mut parts {
        *one = part(&mut rest).ok_or("evidence that is too short")?;
    }
    let [first, first_signature, second, second_signature] = parts;
    ensure!(
        rest.is_empty() && first.len() >= 156 && second.len() >= 156,
        "evidence with {} bytes left",
        rest.len()
    );
    ensure!(
        sha256(&[point]) == *validator && first[80..112] == *validator,
        "the evidence is against somebody else"
    );
    ensure!(
        verifies(point, first, first_signature) && verifies(point, second, second_signature),
        "a signature in the evidence does not verify"
    );
    let is = contradiction(first, second)?;
    ensure!(
        is == Some(fault),
        "the evidence of fault {fault} shows {is:?}"
    );
    Ok(())
}

// --- who is quarantined ---------------------------------------------------------------------------

/// The last word of a validator's line in securityfs.
fn standing(name: &str) -> Res<String> {
    let text = stage::content(&format!("{}/validators", stage::SECURITYFS))?;
    text.lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|words| words.get(2) == Some(&name))
        .and_then(|words| words.get(5).map(|word| (*word).to_string()))
        .ok_or_else(|| format!("no standing of {name} in\n{text}"))
}

/// By validator: the number of the event, and the evidence.
type Shown = BTreeMap<[u8; 32], (u64, Vec<u8>)>;

/// All evidence that the node shows.
fn shown() -> Res<Shown> {
    let replies = stage::dump(nl::EVIDENCE_GET, &crate::client::Attributes::new())
        .map_err(|e| format!("evidence-get: {e:?}"))?;
    let mut all = BTreeMap::new();
    for reply in replies {
        let id: [u8; 32] = reply
            .bytes(nl::A_VALIDATOR_ID)
            .and_then(|id| id.try_into().ok())
            .ok_or("evidence without a validator")?;
        let number = reply
            .u64(nl::A_EVENT_NUMBER)
            .ok_or("evidence without an event")?;
        let bytes = reply.bytes(nl::A_EVIDENCE).ok_or("no evidence")?.to_vec();
        ensure!(
            reply.u32(nl::A_FAULT) == bytes.get(8).map(|fault| u32::from(*fault)),
            "the fault of {} is {:?}",
            stage::hex(&id),
            reply.u32(nl::A_FAULT)
        );
        ensure!(
            all.insert(id, (number, bytes)).is_none(),
            "a validator is shown twice"
        );
    }
    Ok(all)
}

/// The events since a number that are of this kind.
fn of_kind(after: u64, kind: u16) -> Res<Vec<Event>> {
    let mut events = stage::events_after(after)?;
    events.retain(|event| event.kind == kind);
    Ok(events)
}

/// The validator is quarantined for this fault, everybody is told so, and can verify it; the evidence.
fn quarantined(number: u32, fault: u8) -> Res<Vec<u8>> {
    let voter = voter(number)?;
    let name = &voter.validator.name;
    ensure!(
        voter.fault == Some(u32::from(fault)),
        "{name} has the fault {:?}, not {fault}",
        voter.fault
    );
    let word = ["", "equivocation", "fork", "regression"][usize::from(fault)];
    ensure!(
        standing(name)? == word,
        "{name} is {} in securityfs, not {word}",
        standing(name)?
    );
    let (event, bytes) = shown()?
        .remove(&voter.validator.id())
        .ok_or_else(|| format!("no evidence against {name} is shown"))?;
    proves(&bytes, &voter.validator.id(), fault)?;
    let recorded = stage::events_from(event)?.0;
    let recorded = recorded.first().ok_or("the event is not there")?;
    ensure!(
        recorded.kind == stage::kind::QUARANTINED
            && recorded.number == event
            && recorded.slot == voter.slot
            && recorded.result == u16::from(fault)
            && recorded.payload() == bytes,
        "the event {event} is not that of {name}: {recorded:?}"
    );
    Ok(bytes)
}

/// Nothing is held against the validator.
fn trusted(number: u32) -> Res {
    let voter = voter(number)?;
    let name = &voter.validator.name;
    ensure!(
        voter.fault.is_none()
            && standing(name)? == "trusted"
            && !shown()?.contains_key(&voter.validator.id()),
        "{name} is quarantined: {:?}, {}",
        voter.fault,
        standing(name)?
    );
    Ok(())
}

/// Nobody is quarantined, and nobody ever was in this load.
fn nobody_harmed() -> Res {
    let events = stage::events_from(1)?.0;
    ensure!(
        !events
            .iter()
            .any(|event| event.kind == stage::kind::QUARANTINED),
        "somebody was quarantined"
    );
    ensure!(
        stage::status()?.quarantined == 0 && shown()?.is_empty(),
        "somebody is quarantined"
    );
    Ok(())
}

/// The weights that a decision's event tells: approving, denying, total, quarantined; and the threshold.
fn tally_of(event: &Event) -> Res<(u64, u64, u64, u64, u64)> {
    let payload = event.payload();
    ensure!(
        payload.len() == 34,
        "the tally of a decision has {} bytes",
        payload.len()
    );
    let at = |at| be(payload, at, 8);
    Ok((at(0), at(8), at(16), at(24), be(payload, 32, 2)))
}

/// The decision of a request, and its tally.
fn decided(request: &Request, kind: u16) -> Res<(u64, u64, u64, u64, u64)> {
    let events = stage::events_from(request.created())?.0;
    let event = events
        .iter()
        .find(|event| event.kind == kind && event.request == request.id)
        .ok_or_else(|| format!("no event of kind {kind} for the request"))?;
    tally_of(event)
}
