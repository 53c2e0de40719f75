// SPDX-License-Identifier: GPL-2.0

//! What validators that lie do, and when.

use crate::behaviour::{
    Behaviour,
    Conduct, //
};
use crate::key::{
    Key,
    PublicKey, //
};
use crate::node::EPOCH;
use crate::run::{
    Job,
    Truth,
    World,
    HOUR_MS, //
};
use crate::voter::{
    opposite,
    Paper, //
};
use engine::byzantine::Fault;
use engine::clock::{
    NodeClock,
    NODE_SLOT, //
};
use engine::evidence;
use engine::limits;
use engine::quorum::Verdict;
use engine::vote::{
    SignedVote,
    VoteRecord, //
};

/// Requests before the first lie: there has to be something to contradict.
const TRUST: usize = 4;

/// Milliseconds for which a shadow is behind at most.
const SHADOW_MS: u64 = 40;

/// Lets a validator find out about a request. `delays` are the times that each would take.
pub(crate) fn plan(world: &mut World<'_>, voter: usize, request: usize, delays: &[u64]) {
    let conduct = world.conducts[voter];
    if is_away(world.behaviour, conduct, world.elapsed()) {
        return world.begin(voter);
    }
    let (delay, verdict) = choose(world, voter, request, delays);
    if conduct == Conduct::InflateAlways {
        world.begin(voter);
        return world.later(delay, Job::Attack(voter, request));
    }
    let lies = conduct.is_scripted() && request >= TRUST;
    if !(lies && conduct.comes_first()) {
        world.later(delay, Job::Vote(voter, request, verdict));
    }
    if lies {
        let after = match conduct {
            Conduct::EquivocateLate => 6 * 60_000,
            _ => 1 + world.random.below(5000),
        };
        world.later(delay + after, Job::Attack(voter, request));
    }
}

/// When a validator votes, and what it says.
fn choose(world: &mut World<'_>, voter: usize, request: usize, delays: &[u64]) -> (u64, Verdict) {
    let mut delay = delays[voter];
    let truth = world.truths[request];
    let mut verdict = world.honest_verdict(request);
    match world.conducts[voter] {
        Conduct::Collude(wanted, first) => {
            let target = if wanted == Verdict::Deny {
                Truth::Good
            } else {
                Truth::Bad
            };
            if truth == target {
                verdict = wanted;
                let (low, high) = if first {
                    (500, 1500)
                } else {
                    (125_000, 145_000)
                };
                delay = world.random.between(low, high);
                world.begin(voter);
            }
        }
        Conduct::Liar(_) | Conduct::Betray if truth == Truth::Good => {
            let often = match world.conducts[voter] {
                Conduct::Liar(permille) => permille,
                _ => 1000 * u64::from(world.elapsed() * 2 >= world.behaviour.hours * HOUR_MS),
            };
            // Who is to lie never is there to show how often that is suspected.
            if often != 0 || world.conducts[voter] == Conduct::Liar(0) {
                world.begin(voter);
            }
            if world.random.chance(often) {
                verdict = Verdict::Deny;
            }
        }
        Conduct::Pair(apart) => {
            // They agree on who is first each time.
            let [a, b] = [world.coalition[0], world.coalition[1]];
            let first = if request % 2 == 0 { a } else { b };
            delay = delays[a];
            if voter != first {
                delay += world.random.below(apart);
            }
            world.begin(voter);
        }
        Conduct::Shadow => {
            delay = delays[world.victims[0]] + world.random.between(1, SHADOW_MS);
            world.begin(voter);
        }
        _ => {}
    }
    (delay, verdict)
}

fn is_away(behaviour: &Behaviour, conduct: Conduct, elapsed: u64) -> bool {
    match conduct {
        Conduct::Crash => elapsed * 4 > behaviour.hours * HOUR_MS,
        Conduct::Flaky => elapsed % HOUR_MS > HOUR_MS / 2,
        Conduct::Partition => elapsed / HOUR_MS == 1,
        _ => false,
    }
}

/// Does what the conduct of a validator is, once.
pub(crate) fn attack(world: &mut World<'_>, voter: usize, request: usize) {
    if world.node.is_quarantined(world.voters[voter].slot) {
        return;
    }
    match world.conducts[voter] {
        Conduct::Equivocate | Conduct::EquivocateLate | Conduct::Rejoin => {
            second(world, voter, request)
        }
        Conduct::EquivocateHeld => held(world, voter, request),
        Conduct::Fork | Conduct::Regress | Conduct::Backdate => bend(world, voter, request),
        Conduct::Inflate => inflate(world, voter, request, true),
        Conduct::InflateAlways => inflate(world, voter, request, false),
        Conduct::Leap => leap(world, voter, request),
        Conduct::Replay => replay(world, voter, 3),
        Conduct::Flood => replay(world, voter, 50),
        Conduct::ReplayOthers => replay(world, world.victims[0], 3),
        Conduct::Withhold => withhold(world, voter, request),
        Conduct::Forge => forge(world, voter, request),
        Conduct::FrameTampered => frame_tampered(world),
        Conduct::FramePair => frame_pair(world),
        Conduct::FrameElsewhere => frame_elsewhere(world),
        Conduct::FrameKey => frame_key(world, voter, request),
        _ => {}
    }
}

/// The other verdict on a request on which its vote was accepted.
fn second(world: &mut World<'_>, voter: usize, request: usize) {
    let Some(verdict) = world.voters[voter].verdict(request) else {
        return;
    };
    world.begin(voter);
    let clock = world.voters[voter].clock(&world.node.clock);
    let record = world.sign(voter, request, opposite(verdict), &clock);
    world.hand_in(voter, request, opposite(verdict), record, clock);
}

/// A clock that claims votes of another validator that this node has not seen.
fn inflated(world: &mut World<'_>, voter: usize, by: u64) -> NodeClock {
    let mut clock = world.voters[voter].clock(&world.node.clock);
    let other = world.voters[world.victims[0]].slot;
    assert!(
        clock.set(other, clock.get(other) + by),
        "a validator's slot"
    );
    clock
}

/// Both verdicts in votes whose causes have not arrived.
fn held(world: &mut World<'_>, voter: usize, request: usize) {
    if !world.is_open(request) || world.voters[voter].verdict(request).is_some() {
        return;
    }
    world.begin(voter);
    for verdict in [Verdict::Approve, Verdict::Deny] {
        let clock = inflated(world, voter, 3);
        let record = world.sign(voter, request, verdict, &clock);
        world.hand_in(voter, request, verdict, record, clock);
    }
}

/// A vote whose clock contradicts that of its last accepted vote.
fn bend(world: &mut World<'_>, voter: usize, request: usize) {
    let Some(&(on, verdict)) = world.voters[voter].voted.last() else {
        return;
    };
    let own = world.voters[voter].journal.get(world.voters[voter].slot);
    let seen = world.voters[voter].seen();
    let mut clock = world.voters[voter].clock(&world.node.clock);
    match world.conducts[voter] {
        Conduct::Fork if on != request => clock = world.voters[voter].with_own(clock, own),
        Conduct::Regress => assert!(clock.set(NODE_SLOT, seen - 1), "slot 0"),
        // The entry before that of its last vote, which it has skipped.
        Conduct::Backdate if own >= 2 && clock.get(NODE_SLOT) > seen => {
            clock = world.voters[voter].with_own(clock, own - 1);
        }
        _ => return,
    }
    world.begin(voter);
    let record = world.sign(voter, request, verdict, &clock);
    world.hand_in(voter, request, verdict, record, clock);
}

/// A vote that claims what there is not; then, when it `goes_on`, one without it.
fn inflate(world: &mut World<'_>, voter: usize, request: usize, goes_on: bool) {
    if !world.is_open(request) {
        return;
    }
    let verdict = world.honest_verdict(request);
    let clock = inflated(world, voter, 1_000_000);
    let record = world.sign(voter, request, verdict, &clock);
    world.hand_in(voter, request, verdict, record, clock);
    if goes_on {
        let clock = world.voters[voter].clock(&world.node.clock);
        let record = world.sign(voter, request, verdict, &clock);
        world.begin(voter);
        world.hand_in(voter, request, verdict, record, clock);
    }
}

/// A vote far ahead of its own entry.
fn leap(world: &mut World<'_>, voter: usize, request: usize) {
    let own = world.voters[voter].journal.get(world.voters[voter].slot);
    let clock = world.voters[voter].clock(&world.node.clock);
    let clock = world.voters[voter].with_own(clock, own + limits::CLOCK_LEAP + 1);
    let record = world.sign(voter, request, Verdict::Approve, &clock);
    world.attempt(&record);
}

/// The last accepted vote of a validator, again.
fn replay(world: &mut World<'_>, voter: usize, times: u32) {
    let record = world.voters[voter].accepted[0].clone();
    for _ in 0..if record.is_empty() { 0 } else { times } {
        world.attempt(&record);
    }
}

/// A vote that was signed in time and comes too late.
fn withhold(world: &mut World<'_>, voter: usize, request: usize) {
    let clock = world.voters[voter].clock(&world.node.clock);
    let record = world.sign(voter, request, Verdict::Approve, &clock);
    let late = world.node.requests[request]
        .expires_ms
        .saturating_sub(world.now)
        + 1;
    world.later(late, Job::Deliver(record, true));
}

/// Votes in the name of another.
fn forge(world: &mut World<'_>, voter: usize, request: usize) {
    let victim = world.victims[0];
    for at in 0..20 {
        let own = world.voters[victim].own + 1 + at / 2;
        let clock = world.voters[victim].with_own(world.node.clock.clone(), own);
        let verdict = if at % 2 == 0 {
            Verdict::Approve
        } else {
            Verdict::Deny
        };
        let record = world
            .paper(victim, request, verdict)
            .sign(&mut world.voters[voter].key, &clock);
        world.attempt(&record);
    }
}

/// Evidence of any two votes, whether it is some or not.
fn claim(kind: Fault, key: &PublicKey, votes: [&SignedVote<'_>; 2]) -> Vec<u8> {
    let mut bytes = evidence::MAGIC.to_vec();
    bytes.extend([kind as u8, 0]);
    bytes.extend(key.point);
    for part in votes
        .into_iter()
        .flat_map(|vote| [vote.signed, vote.signature])
    {
        bytes.extend(
            u16::try_from(part.len())
                .expect("a short part")
                .to_be_bytes(),
        );
        bytes.extend(part);
    }
    bytes
}

/// Hands two votes in as evidence, of each kind and in each order.
fn accuse(world: &mut World<'_>, key: &PublicKey, records: [&[u8]; 2]) {
    let decoded =
        records.map(|record| VoteRecord::decode(record).map(|record| record.signed_vote()));
    let [Ok(a), Ok(b)] = decoded else {
        return;
    };
    for kind in Fault::ALL {
        world.accuse(&claim(kind, key, [&a, &b]));
        world.accuse(&claim(kind, key, [&b, &a]));
    }
}

/// The public key of who is to be framed, and its last two votes.
fn material(world: &World<'_>) -> Option<(PublicKey, [Vec<u8>; 2])> {
    let victim = &world.voters[world.victims[0]];
    let votes = victim.accepted.clone();
    (!votes[1].is_empty()).then(|| (victim.key.public.clone(), votes))
}

/// A vote beside a copy with something changed.
fn frame_tampered(world: &mut World<'_>) {
    let Some((key, [last, _])) = material(world) else {
        return;
    };
    let mut other = last.clone();
    // The verdict: approve and deny differ in both low bits.
    other[112] ^= 3;
    accuse(world, &key, [&last, &other]);
    for _ in 0..4 {
        let mut other = last.clone();
        let at = world.random.index(other.len());
        other[at] ^= 1 << world.random.below(8);
        accuse(world, &key, [&last, &other]);
    }
}

/// Two honest votes.
fn frame_pair(world: &mut World<'_>) {
    if let Some((key, [last, before])) = material(world) {
        accuse(world, &key, [&before, &last]);
        accuse(world, &key, [&last, &last]);
    }
}

/// An honest vote beside an honest vote for another node, with the same own entry.
fn frame_elsewhere(world: &mut World<'_>) {
    let Some((key, [last, _])) = material(world) else {
        return;
    };
    let victim = world.victims[0];
    let mut clock = NodeClock::new();
    assert!(clock.set(NODE_SLOT, 1), "slot 0");
    let own = world.voters[victim].journal.get(world.voters[victim].slot);
    let clock = world.voters[victim].with_own(clock, own);
    let paper = Paper {
        node: world.witness.name,
        epoch: EPOCH,
        request: world.random.bytes(),
        validator: key.id,
        slot: world.voters[victim].slot,
        verdict: Verdict::Approve,
        expires_ms: world.now,
    };
    let other = paper.sign(&mut world.voters[victim].key, &clock);
    accuse(world, &key, [&last, &other]);
}

/// Two votes that contradict each other, in another's name, signed with one's own key.
fn frame_key(world: &mut World<'_>, voter: usize, request: usize) {
    let victim = world.victims[0];
    let clock = world.voters[victim].with_own(world.node.clock.clone(), 1);
    let records = [Verdict::Approve, Verdict::Deny].map(|verdict| {
        let paper = world.paper(victim, request, verdict);
        let key: &mut Key = &mut world.voters[voter].key;
        paper.sign(key, &clock)
    });
    for key in [victim, voter] {
        let key = world.voters[key].key.public.clone();
        accuse(world, &key, [&records[0], &records[1]]);
    }
}

/// The quorum has decided to readmit a validator. What convicted it does so no more.
pub(crate) fn readmitted(world: &mut World<'_>, voter: usize) {
    if world
        .node
        .readmit(world.voters[voter].slot, world.now)
        .is_ok()
    {
        world.suspects[voter].began = None;
        let evidence = world.suspects[voter].evidence.clone();
        let refused = world.node.evidence(&evidence, world.now).is_err();
        world.result.refused.count(refused);
    }
}

/// A quarantined validator is removed and wants to be enrolled again.
pub(crate) fn come_back(world: &mut World<'_>) {
    let voter = world.coalition[0];
    if world.node.is_quarantined(world.voters[voter].slot) {
        world.node.remove(world.voters[voter].slot);
        let key = world.voters[voter].key.public.clone();
        let refused = world.node.enrol(key, 100, world.now).is_err();
        world.result.refused.count(refused);
    }
}
