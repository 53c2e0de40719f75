// SPDX-License-Identifier: GPL-2.0

//! One run: a node, a second one that verifies what the first has proved, validators, and hours of
//! requests.

use crate::attack;
use crate::behaviour::{
    Behaviour,
    Coalition,
    Conduct,
    Label,
    MIXED, //
};
use crate::key::Key;
use crate::node::{
    Node,
    Notice,
    State,
    EPOCH, //
};
use crate::random::Random;
use crate::stats::Rate;
use crate::voter::{
    Pace,
    Paper,
    Voter, //
};
use engine::clock::NodeClock;
use engine::quorum::Verdict;
use engine::refusal::Refusal;
use engine::reputation::SUSPECTED;
use engine::watch::{
    Reason,
    Turn, //
};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Milliseconds of an hour.
pub(crate) const HOUR_MS: u64 = 3_600_000;

/// How often a request asks for something bad, in permille.
const BAD: u64 = 200;

/// How often somebody hands in a vote although the request has ended meanwhile, in permille.
const LATE: u64 = 250;

/// What a run is made of.
pub(crate) struct Setup<'a> {
    pub(crate) behaviour: &'a Behaviour,
    pub(crate) validators: usize,
    /// Mean time between two requests, in milliseconds.
    pub(crate) gap_ms: u64,
    pub(crate) seeds: [u64; 3],
}

/// What came out.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct Result {
    /// Whether everybody who did wrong was found out; nothing when nobody had the occasion.
    pub(crate) detected: Rate,
    /// Attempts that were refused.
    pub(crate) refused: Rate,
    /// Honest validators that were quarantined.
    pub(crate) harmed: u64,
    /// Honest validator-hours with suspicion.
    pub(crate) suspected: Rate,
    /// Bad requests that were granted.
    pub(crate) wrong: Rate,
    /// Good requests that were not.
    pub(crate) stalled: Rate,
    /// Events from the first wrong act of each to its detection.
    pub(crate) latency: Vec<u64>,
}

/// The large parts, kept from run to run.
pub(crate) struct Stage {
    pub(crate) node: Node,
    pub(crate) witness: Node,
}

impl Stage {
    /// Room for any run.
    pub(crate) fn new() -> Self {
        Self {
            node: Node::new(),
            witness: Node::new(),
        }
    }
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    Good,
    Bad,
    /// To readmit the validator with that index.
    Readmit(usize),
}

/// Something to be done at its time.
pub(crate) enum Job {
    /// Somebody asks for something.
    Ask,
    /// A validator answers.
    Vote(usize, usize, Verdict),
    /// A validator does what its conduct is.
    Attack(usize, usize),
    /// A record arrives. Whether that is an attempt that has to fail.
    Deliver(Vec<u8>, bool),
    /// Readmission of a validator is asked for.
    Governance(usize),
}

/// What is known of one validator that does not behave.
#[derive(Default)]
pub(crate) struct Suspect {
    /// Number of the node's event before its first wrong act.
    pub(crate) began: Option<u64>,
    /// Number of the event at which it was found out.
    pub(crate) found: Option<u64>,
    /// How often it was quarantined.
    pub(crate) quarantined: u32,
    /// The evidence.
    pub(crate) evidence: Vec<u8>,
}

/// A run under way.
pub(crate) struct World<'a> {
    pub(crate) behaviour: &'a Behaviour,
    pub(crate) random: Random,
    pub(crate) node: &'a mut Node,
    pub(crate) witness: &'a mut Node,
    pub(crate) voters: Vec<Voter>,
    pub(crate) conducts: Vec<Conduct>,
    pub(crate) suspects: Vec<Suspect>,
    /// Who is not just honest, in no order of slots.
    pub(crate) coalition: Vec<usize>,
    /// An honest validator that others may want to harm, and another one.
    pub(crate) victims: [usize; 2],
    pub(crate) truths: Vec<Truth>,
    pub(crate) now: u64,
    pub(crate) start: u64,
    pub(crate) result: Result,
    gap_ms: u64,
    /// Hour after that in which each was suspected last; 0 for never.
    hours: Vec<u64>,
    alerted: bool,
    agenda: BinaryHeap<Reverse<(u64, usize)>>,
    jobs: Vec<Option<Job>>,
}

/// Does one run.
pub(crate) fn run(setup: &Setup<'_>, stage: &mut Stage) -> Result {
    let mut world = World::new(setup, stage);
    let end = world.start + setup.behaviour.hours * HOUR_MS;
    world.later(0, Job::Ask);
    while let Some(Reverse((time, at))) = world.agenda.pop() {
        if time > end {
            break;
        }
        world.now = time;
        if let Some(job) = world.jobs[at].take() {
            world.perform(job);
        }
        world.take_notices();
    }
    world.now = end;
    world.finish()
}

/// Weights of the honest and of the coalition's validators.
fn weights(random: &mut Random, honest: usize, coalition: usize, share: Coalition) -> Vec<u32> {
    let Coalition::Percent(percent) = share else {
        return vec![100; honest + coalition];
    };
    let mut weights: Vec<u64> = (0..honest).map(|_| random.between(80, 120)).collect();
    // At most that part of the sum of all.
    let all = weights.iter().sum::<u64>() * percent / (100 - percent);
    let members = coalition as u64;
    weights.extend((0..members).map(|member| all / members + u64::from(member < all % members)));
    weights
        .iter()
        .map(|&weight| u32::try_from(weight).expect("a small weight"))
        .collect()
}

impl<'a> World<'a> {
    fn new(setup: &Setup<'a>, stage: &'a mut Stage) -> Self {
        let behaviour = setup.behaviour;
        let mut random = Random::new(&setup.seeds);
        let start = random.below(HOUR_MS);
        let size = match behaviour.coalition {
            Coalition::None => 0,
            Coalition::Count(count) => count,
            Coalition::Percent(percent) => {
                let percent = usize::try_from(percent).expect("a percentage");
                (setup.validators * percent / 100).max(1)
            }
        };
        let honest = setup.validators - size;
        let weights = weights(&mut random, honest, size, behaviour.coalition);
        let mut places: Vec<usize> = (0..setup.validators).collect();
        random.shuffle(&mut places);
        let Stage { node, witness } = stage;
        node.reset(Random::new(&[random.bits()]), start);
        witness.reset(Random::new(&[random.bits()]), start);
        let mut conducts = vec![Conduct::Honest; setup.validators];
        let coalition = places[honest..].to_vec();
        for (member, &place) in coalition.iter().enumerate() {
            conducts[place] = member_conduct(behaviour.conduct, member, size);
        }
        let mut slot_weights = vec![0; setup.validators];
        for (&place, weight) in places.iter().zip(weights) {
            slot_weights[place] = weight;
        }
        let voters: Vec<Voter> = slot_weights
            .iter()
            .map(|&weight| enrol(&mut random, node, witness, behaviour.pace, weight, start))
            .collect();
        Self {
            behaviour,
            node,
            witness,
            suspects: (0..setup.validators).map(|_| Suspect::default()).collect(),
            hours: vec![0; setup.validators],
            victims: [places[0], places[1]],
            coalition,
            conducts,
            voters,
            random,
            truths: Vec::new(),
            now: start,
            start,
            result: Result::default(),
            gap_ms: setup.gap_ms,
            alerted: false,
            agenda: BinaryHeap::new(),
            jobs: Vec::new(),
        }
    }

    /// Puts a job on the agenda.
    pub(crate) fn later(&mut self, delay: u64, job: Job) {
        self.agenda
            .push(Reverse((self.now + delay, self.jobs.len())));
        self.jobs.push(Some(job));
    }

    /// Time since the run began, in milliseconds.
    pub(crate) fn elapsed(&self) -> u64 {
        self.now - self.start
    }

    fn perform(&mut self, job: Job) {
        match job {
            Job::Ask => {
                let truth = if self.random.chance(BAD) {
                    Truth::Bad
                } else {
                    Truth::Good
                };
                self.ask(truth);
                let gap = self.random.between(self.gap_ms / 4, self.gap_ms * 7 / 4);
                self.later(gap, Job::Ask);
            }
            Job::Vote(voter, request, verdict) => self.answer(voter, request, verdict),
            Job::Attack(voter, request) => attack::attack(self, voter, request),
            Job::Deliver(record, attempt) => {
                let result = self.node.vote(&record, self.now);
                if attempt {
                    self.result.refused.count(result.is_err());
                }
            }
            Job::Governance(voter) => {
                let slot = self.voters[voter].slot;
                if self.suspects[voter].quarantined == 1 && self.node.is_quarantined(slot) {
                    self.ask(Truth::Readmit(voter));
                    self.later(16 * 60_000, Job::Governance(voter));
                }
            }
        }
    }

    /// Makes a request, and lets everybody find out about it.
    fn ask(&mut self, truth: Truth) {
        let request = self.node.open(matches!(truth, Truth::Readmit(_)), self.now);
        self.truths.push(truth);
        let mut delays: Vec<u64> = (0..self.voters.len())
            .map(|voter| self.delay(voter))
            .collect();
        if self.behaviour.conduct == Conduct::Batch {
            let [a, b] = self.victims;
            let last = delays[a].max(delays[b]);
            (delays[a], delays[b]) = (last, last);
        }
        for voter in 0..self.voters.len() {
            attack::plan(self, voter, request, &delays);
        }
    }

    fn delay(&mut self, voter: usize) -> u64 {
        let random = &mut self.random;
        match self.voters[voter].pace {
            Pace::Bot => random.between(2, 60),
            Pace::Short => random.between(200, 5000),
            Pace::Long => 2000 + random.below(118_000) * random.below(1000) / 1000,
        }
    }

    /// What an honest validator says.
    pub(crate) fn honest_verdict(&mut self, request: usize) -> Verdict {
        match self.truths[request] {
            Truth::Good if self.random.chance(self.behaviour.dissent) => Verdict::Deny,
            Truth::Good | Truth::Readmit(_) => Verdict::Approve,
            Truth::Bad => Verdict::Deny,
        }
    }

    /// Whether a request is open still.
    pub(crate) fn is_open(&self, request: usize) -> bool {
        self.node.requests[request].state == State::Open
    }

    /// A validator signs and hands in its vote, if it has not heard that it is too late.
    fn answer(&mut self, voter: usize, request: usize, verdict: Verdict) {
        if !self.is_open(request) && !self.random.chance(LATE) {
            return;
        }
        if self.conducts[voter] == Conduct::Backdate {
            self.voters[voter].own += 1;
        }
        let clock = self.voters[voter].clock(&self.node.clock);
        let record = self.sign(voter, request, verdict, &clock);
        let honest = self.conducts[voter].is_honest();
        if honest {
            self.voters[voter].journal = clock.clone();
        }
        if self.behaviour.conduct == Conduct::Lossy {
            return self.lossy(record);
        }
        self.hand_in(voter, request, verdict, record, clock);
    }

    /// Signs a vote in a validator's own name.
    pub(crate) fn sign(
        &mut self,
        voter: usize,
        request: usize,
        verdict: Verdict,
        clock: &NodeClock,
    ) -> Vec<u8> {
        let paper = self.paper(voter, request, verdict);
        paper.sign(&mut self.voters[voter].key, clock)
    }

    /// What a vote of that validator says.
    pub(crate) fn paper(&self, voter: usize, request: usize, verdict: Verdict) -> Paper {
        let of = &self.node.requests[request];
        Paper {
            node: self.node.name,
            epoch: EPOCH,
            request: of.id,
            validator: self.voters[voter].key.public.id,
            slot: self.voters[voter].slot,
            verdict,
            expires_ms: of.expires_ms,
        }
    }

    /// Hands a vote in, and remembers it when it counts.
    pub(crate) fn hand_in(
        &mut self,
        voter: usize,
        request: usize,
        verdict: Verdict,
        record: Vec<u8>,
        clock: NodeClock,
    ) {
        let result = self.node.vote(&record, self.now);
        if result == Ok(false) {
            let voter = &mut self.voters[voter];
            voter.journal = clock;
            voter.voted.push((request, verdict));
            voter.accepted.swap(0, 1);
            voter.accepted[0] = record;
        }
        self.look_at(voter);
    }

    /// The network loses 10 % of the votes, hands 10 % in twice, and each up to 20 seconds late.
    fn lossy(&mut self, record: Vec<u8>) {
        if self.random.chance(100) {
            return;
        }
        if self.random.chance(100) {
            let delay = self.random.below(20_000);
            self.later(delay, Job::Deliver(record.clone(), false));
        }
        let delay = self.random.below(20_000);
        self.later(delay, Job::Deliver(record, false));
    }

    /// Hands in evidence that must be refused, to both nodes.
    pub(crate) fn accuse(&mut self, evidence: &[u8]) {
        let now = self.now;
        for node in [&mut *self.node, &mut *self.witness] {
            let refused = node.evidence(evidence, now).is_err();
            self.result.refused.count(refused);
        }
    }

    /// An attempt that must fail.
    pub(crate) fn attempt(&mut self, record: &[u8]) {
        let refused = self.node.vote(record, self.now).is_err();
        self.result.refused.count(refused);
    }

    /// Notes that a validator is about to do its first wrong act.
    pub(crate) fn begin(&mut self, voter: usize) {
        let number = self.node.number();
        self.suspects[voter].began.get_or_insert(number);
    }

    fn found(&mut self, voter: usize) {
        let number = self.node.number();
        let suspect = &mut self.suspects[voter];
        if suspect.began.is_some() {
            suspect.found.get_or_insert(number);
        }
    }

    fn take_notices(&mut self) {
        for notice in std::mem::take(&mut self.node.notices) {
            match notice {
                Notice::Ended(request) => self.ended(request),
                Notice::Quarantined(slot, evidence) => self.quarantined(slot, evidence),
                Notice::Turn(Turn::Alert(Reason::Silence)) => self.alerted = true,
                Notice::Turn(_) => {}
            }
        }
    }

    fn ended(&mut self, request: usize) {
        if let Truth::Readmit(voter) = self.truths[request] {
            if self.node.requests[request].state == State::Granted {
                attack::readmitted(self, voter);
            }
        }
        let slots = self.voters.iter().map(|voter| 1u128 << (voter.slot - 1));
        let all = slots.fold(0, |all, bit| all | bit);
        if self.node.watch.reputations().lowest(all) < SUSPECTED {
            for voter in 0..self.voters.len() {
                self.look_at(voter);
            }
        }
        for at in 0..self.coalition.len() {
            let voter = self.coalition[at];
            let found = match self.conducts[voter] {
                Conduct::Partition => self.alerted,
                _ => self.node.is_unheard(self.voters[voter].slot, self.now),
            };
            if self.conducts[voter].label() == Label::Silent && found {
                self.found(voter);
            }
        }
    }

    /// Notes that a validator is suspected, if it is.
    fn look_at(&mut self, voter: usize) {
        let slot = self.voters[voter].slot;
        if self.node.watch.reputations().of(slot).score >= SUSPECTED {
            return;
        }
        if self.conducts[voter].label() == Label::Statistical {
            self.found(voter);
        }
        let hour = self.now / HOUR_MS + 1;
        if self.conducts[voter].is_honest() && self.hours[voter] != hour {
            self.hours[voter] = hour;
            self.result.suspected.hits += 1;
        }
    }

    /// Shows the evidence to the witness.
    fn quarantined(&mut self, slot: u16, evidence: Vec<u8>) {
        let voter = usize::from(slot) - 1;
        let verified = match self.witness.evidence(&evidence, self.now) {
            Ok(()) => true,
            // It does not readmit whom the node readmits.
            Err(refusal) => {
                refusal == Refusal::EvidenceKnown && self.behaviour.conduct == Conduct::Rejoin
            }
        };
        if self.conducts[voter].is_honest() {
            self.result.harmed += 1;
        }
        self.suspects[voter].quarantined += 1;
        self.suspects[voter].evidence = evidence;
        if self.conducts[voter] == Conduct::Rejoin && self.suspects[voter].quarantined == 1 {
            return self.later(16 * 60_000, Job::Governance(voter));
        }
        if verified && self.conducts[voter].label() == Label::Provable {
            self.found(voter);
        }
    }

    /// Whether anybody did wrong, and whether all of that was found out.
    fn verdict(&mut self) -> (bool, bool) {
        let mut acted = self.result.refused.of != 0;
        let mut all = self.result.refused.hits == self.result.refused.of;
        for &voter in &self.coalition {
            let suspect = &self.suspects[voter];
            let label = self.conducts[voter].label();
            // Those for whom the others convict themselves are not to be found out by it.
            if (self.behaviour.label, label) == (Label::Mixed, Label::Statistical) {
                continue;
            }
            if let (Some(began), Label::Provable | Label::Silent | Label::Statistical) =
                (suspect.began, label)
            {
                acted = true;
                all &= suspect.found.is_some();
                self.result
                    .latency
                    .extend(suspect.found.map(|found| found - began));
            }
        }
        if self.behaviour.conduct == Conduct::Partition {
            all &= !self.node.alert(Reason::Silence);
        }
        (acted, all)
    }

    /// Sums the run up.
    fn finish(mut self) -> Result {
        self.node.expire(self.now);
        self.take_notices();
        if self.behaviour.conduct == Conduct::Rejoin {
            attack::come_back(&mut self);
        }
        let honest = self
            .conducts
            .iter()
            .filter(|conduct| conduct.is_honest())
            .count();
        self.result.suspected.of = honest as u64 * self.behaviour.hours;
        self.result.suspected.hits = self.result.suspected.hits.min(self.result.suspected.of);
        for (request, truth) in self.node.requests.iter().zip(&self.truths) {
            let granted = request.state == State::Granted;
            match truth {
                Truth::Bad => self.result.wrong.count(granted),
                Truth::Good if request.state == State::Open => {}
                Truth::Good => self.result.stalled.count(!granted),
                Truth::Readmit(_) => {}
            }
        }
        let (acted, found) = self.verdict();
        if acted {
            self.result.detected.count(found);
        }
        self.result
    }
}

/// What one member of a coalition does.
fn member_conduct(conduct: Conduct, member: usize, size: usize) -> Conduct {
    match conduct {
        Conduct::Mixed => MIXED[member % MIXED.len()],
        // The first approves what is bad, so that a coalition of one does, too.
        Conduct::MassQuarantine if member * 3 < size => Conduct::Collude(Verdict::Approve, true),
        Conduct::MassQuarantine => Conduct::Equivocate,
        other => other,
    }
}

fn enrol(
    random: &mut Random,
    node: &mut Node,
    witness: &mut Node,
    pace: Option<Pace>,
    weight: u32,
    stamp: u64,
) -> Voter {
    let key = Key::new(random);
    let slot = node
        .enrol(key.public.clone(), weight, stamp)
        .expect("a new key");
    witness
        .enrol(key.public.clone(), weight, stamp)
        .expect("a new key");
    let paces = [Pace::Bot, Pace::Short, Pace::Long];
    Voter {
        key,
        slot,
        pace: pace.unwrap_or(paces[random.index(paces.len())]),
        journal: NodeClock::new(),
        own: 0,
        accepted: [Vec::new(), Vec::new()],
        voted: Vec::new(),
    }
}
