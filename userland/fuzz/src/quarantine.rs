// SPDX-License-Identifier: GPL-2.0

//! Who is in quarantine and which evidence has expired, against a map from nodes to entries.

use crate::Input;
use engine::byzantine::Fault;
use engine::clock::{
    epoch_of,
    ClaimedClock, //
};
use engine::evidence::Evidence;
use engine::quarantine::{
    Record,
    Standing,
    PAIRS, //
};
use engine::quorum::Verdict;
use engine::refusal::Refusal;
use engine::vote::{
    SignedVote,
    Vote, //
};
use std::collections::BTreeMap;

/// The validator.
const VALIDATOR: [u8; 32] = [0x55; 32];

/// A key.
static KEY: [u8; 65] = [4; 65];

/// Nodes that there are.
const NODES: u8 = 7;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut model = Model {
        record: Record::new(&VALIDATOR, 1, 1),
        quarantined: true,
        pairs: BTreeMap::new(),
        last: (1, 1),
    };
    while !input.is_empty() {
        model.step(&mut input);
        model.compare();
    }
}

struct Model {
    record: Record,
    quarantined: bool,
    pairs: BTreeMap<[u8; 32], u64>,
    /// Slot and number of the last quarantine.
    last: (u16, u64),
}

/// An entry of a node, often one of a later epoch.
fn entry(input: &mut Input<'_>) -> u64 {
    let number = input.number();
    (u64::from(input.u8() & 3) << 32) | number
}

impl Model {
    fn step(&mut self, input: &mut Input<'_>) {
        let kind = input.below(4);
        let node = [input.u8() % NODES; 32];
        let (first, second) = (entry(input), entry(input));
        let clocks =
            [first, second].map(|entry| [&[0; 2][..], &entry.max(1).to_be_bytes()].concat());
        let epoch = u64::from(input.u8() & 3);
        let vote = |clock| SignedVote {
            signed: &[],
            vote: Vote {
                node: &node,
                epoch,
                request: &VALIDATOR,
                validator: &VALIDATOR,
                verdict: Verdict::Approve,
                slot: 1,
                expires_ms: 0,
                reason_digest: &VALIDATOR,
                clock: ClaimedClock::decode(clock).unwrap(),
            },
            signature: &[],
        };
        let evidence = Evidence {
            fault: Fault::Fork,
            key: &KEY,
            first: vote(&clocks[0]),
            second: vote(&clocks[1]),
        };
        let greatest = first.max(second).max(1);
        assert_eq!(evidence.entry(), greatest);
        let known = self
            .pairs
            .get(&node)
            .is_some_and(|&entry| greatest <= entry);
        let wanted = match (self.quarantined, known) {
            (true, _) => Err(Refusal::EvidenceKnown),
            (false, true) => Err(Refusal::EvidenceExpired),
            (false, false) => Ok(()),
        };
        assert_eq!(self.record.check(&evidence), wanted);
        match kind {
            0 | 1 if wanted.is_ok() => {
                self.last = (1 + u16::from(input.u8() % 128), input.number().max(1));
                self.record.quarantine(self.last.0, self.last.1);
                self.quarantined = true;
            }
            0 | 1 => {}
            _ => self.readmit([input.u8() % NODES; 32], entry(input), &evidence),
        }
    }

    fn readmit(&mut self, node: [u8; 32], entry: u64, evidence: &Evidence<'_>) {
        let mut pairs = self.pairs.clone();
        pairs.insert(node, entry);
        let here = *evidence.node() == node;
        let known = if here {
            evidence.entry() <= entry
        } else {
            pairs.insert(*evidence.node(), evidence.entry());
            epoch_of(evidence.entry()) <= evidence.first.vote.epoch
        };
        let wanted = if !self.quarantined {
            Err(Refusal::ValidatorTrusted)
        } else if !known || pairs.len() > PAIRS {
            Err(Refusal::ReadmitLimit)
        } else {
            Ok(())
        };
        assert_eq!(self.record.may_readmit(&node, entry, evidence), wanted);
        assert_eq!(self.record.readmit(&node, entry, evidence), wanted);
        if wanted.is_ok() {
            (self.pairs, self.quarantined) = (pairs, false);
            // It has expired from now on.
            assert_eq!(self.record.check(evidence), Err(Refusal::EvidenceExpired));
        }
    }

    fn compare(&self) {
        let record = &self.record;
        let standing = if self.quarantined {
            Standing::Quarantined
        } else {
            Standing::Readmitted
        };
        assert_eq!(
            (record.standing(), record.is_quarantined()),
            (standing, self.quarantined)
        );
        assert_eq!((record.slot(), record.number()), self.last);
        assert_eq!(record.validator(), &VALIDATOR);
        let pairs: BTreeMap<_, _> = record
            .pairs()
            .iter()
            .map(|pair| (pair.node, pair.entry))
            .collect();
        assert_eq!(pairs.len(), record.pairs().len());
        assert_eq!(pairs, self.pairs);
    }
}
