// SPDX-License-Identifier: GPL-2.0

//! Electorates and ballots, against sums that are made anew each time.

use crate::Input;
use engine::limits;
use engine::quorum::{
    Ballot,
    Electorate,
    Outcome,
    Verdict,
    MAX_TOTAL_WEIGHT, //
};
use engine::refusal::Refusal;

/// Slots, and one before and behind them.
const SLOTS: usize = limits::VALIDATORS + 2;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (electorate, weights) = electorate(&mut input);
    let total = electorate.total();
    let bp = match input.u8() {
        0..=0x7f => 5001 + input.u16() % 5000,
        _ => input.u16(),
    };
    let ballot = Ballot::new(bp, total);
    assert_eq!(ballot.is_ok(), total != 0 && (5001..=10000).contains(&bp));
    if let Ok(ballot) = ballot {
        Count::new(ballot, &weights, total, bp).vote(input);
    }
}

/// A weight that is often small and sometimes as great as can be.
fn weight(input: &mut Input<'_>) -> u32 {
    u32::try_from(input.number()).unwrap_or(u32::MAX)
}

/// Enrols and removes.
fn electorate(input: &mut Input<'_>) -> (Electorate, [u32; SLOTS]) {
    let mut electorate = Electorate::new();
    let mut weights = [0u32; SLOTS];
    let mut used = 0u128;
    let mut sum = 0;
    for _ in 0..input.below(40) {
        let total = sum;
        match input.below(8) {
            0..=4 => {
                let weight = weight(input);
                let slot = electorate.next_slot();
                let free = (1..=128u16).find(|slot| (used >> (slot - 1)) & 1 == 0);
                assert_eq!(slot, free);
                let fits = weight != 0 && total + u64::from(weight) <= MAX_TOTAL_WEIGHT;
                assert_eq!(electorate.check_weight(weight).is_ok(), fits);
                let wanted = match slot {
                    None => Err(Refusal::ValidatorLimit),
                    Some(_) if !fits => Err(Refusal::ValidatorWeight),
                    Some(slot) => Ok(slot),
                };
                assert_eq!(electorate.enrol(weight), wanted);
                if let Ok(slot) = wanted {
                    weights[usize::from(slot)] = weight;
                    sum += u64::from(weight);
                    used |= 1 << (slot - 1);
                }
            }
            5 => {
                let (slot, weight) = (u16::from(input.u8()), weight(input));
                let free = (1..=128).contains(&slot) && weights[usize::from(slot)] == 0;
                let fits = weight != 0 && total + u64::from(weight) <= MAX_TOTAL_WEIGHT;
                assert_eq!(electorate.add(slot, weight).is_ok(), free && fits);
                if free && fits {
                    weights[usize::from(slot)] = weight;
                    sum += u64::from(weight);
                    used |= 1 << (slot - 1);
                }
            }
            6 => {
                let slot = u16::from(input.u8());
                let there = weights
                    .get_mut(usize::from(slot))
                    .filter(|weight| **weight != 0);
                let there = there.map(std::mem::take);
                sum -= u64::from(there.unwrap_or(0));
                assert_eq!(electorate.remove(slot).ok(), there);
            }
            _ => {
                let bits = u128::from(input.u64()) << input.below(65);
                electorate.use_slots(bits);
                used |= bits;
            }
        }
        assert!(sum <= MAX_TOTAL_WEIGHT);
        assert_eq!((electorate.total(), electorate.used()), (sum, used));
    }
    assert_eq!(
        weights.iter().map(|&weight| u64::from(weight)).sum::<u64>(),
        sum
    );
    let all = (0u16..).zip(weights).filter(|&(_, weight)| weight != 0);
    assert_eq!(electorate.count(), all.clone().count());
    assert!(electorate.iter().eq(all));
    assert!((0u16..)
        .zip(weights)
        .all(|(slot, weight)| electorate.weight(slot).unwrap_or(0) == weight));
    (electorate, weights)
}

/// What a validator has done.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Silent,
    Voted(Verdict),
    Barred,
}

/// A validator, or somebody else who has a slot.
struct Voter {
    slot: u16,
    weight: u32,
    state: State,
}

/// A ballot, and what it should hold.
struct Count {
    ballot: Ballot,
    voters: Vec<Voter>,
    total: u64,
    bp: u16,
}

impl Count {
    fn new(ballot: Ballot, weights: &[u32; SLOTS], total: u64, bp: u16) -> Self {
        let enrolled = (0u16..).zip(weights).filter(|&(_, &weight)| weight != 0);
        let voters = enrolled.map(|(slot, &weight)| Voter {
            slot,
            weight,
            state: State::Silent,
        });
        Self {
            ballot,
            voters: voters.collect(),
            total,
            bp,
        }
    }

    fn sum(&self, state: State) -> u128 {
        let same = self.voters.iter().filter(|voter| voter.state == state);
        same.map(|voter| u128::from(voter.weight)).sum()
    }

    fn outcome(&self) -> Outcome {
        let wanted = u128::from(self.bp) * u128::from(self.total);
        let lost = self.sum(State::Voted(Verdict::Deny)) + self.sum(State::Barred);
        if self.sum(State::Voted(Verdict::Approve)) * 10000 >= wanted {
            Outcome::Granted
        } else if (u128::from(self.total) - lost) * 10000 < wanted {
            Outcome::Denied
        } else {
            Outcome::Open
        }
    }

    fn vote(mut self, mut input: Input<'_>) {
        while !input.is_empty() {
            let slot = u16::from(input.u8()) % 132;
            let voter = self.voters.iter().position(|voter| voter.slot == slot);
            let before = self.ballot.clone();
            match input.below(8) {
                0 => {
                    let bp = input.u16();
                    self.ballot.raise_to(bp);
                    self.bp = self.bp.max(bp.min(10000));
                    assert!(self.ballot.needed() >= before.needed());
                }
                1 => {
                    let weight = voter.map_or(0, |voter| self.voters[voter].weight);
                    self.ballot.bar(slot, weight);
                    match voter {
                        Some(voter) => self.voters[voter].state = State::Barred,
                        None => self.voters.push(Voter {
                            slot,
                            weight: 0,
                            state: State::Barred,
                        }),
                    }
                    // Quarantine never makes approval easier, and the total stays what it was.
                    assert!(before.is_backed() || !self.ballot.is_backed());
                    assert!(self.ballot.needed() >= before.needed());
                }
                kind => {
                    let approves = kind < 6;
                    let verdict = if approves {
                        Verdict::Approve
                    } else {
                        Verdict::Deny
                    };
                    self.cast(slot, voter, verdict);
                }
            }
            self.compare();
        }
        self.compare_slots();
    }

    fn cast(&mut self, slot: u16, voter: Option<usize>, verdict: Verdict) {
        let state = voter.map(|voter| self.voters[voter].state);
        let wanted = match state {
            _ if self.outcome() != Outcome::Open => Some(Refusal::VoteClosedRequest),
            _ if !(1..=128).contains(&slot) => Some(Refusal::VoteUnknownValidator),
            Some(State::Barred) => Some(Refusal::VoteQuarantined),
            Some(State::Voted(_)) => Some(Refusal::VoteDuplicate),
            Some(State::Silent) => None,
            None => Some(Refusal::ValidatorWeight),
        };
        let weight = voter.map_or(0, |voter| self.voters[voter].weight);
        let result = self.ballot.cast(slot, weight, verdict);
        assert_eq!(result.err(), wanted);
        if let (Ok(outcome), Some(voter)) = (result, voter) {
            self.voters[voter].state = State::Voted(verdict);
            assert_eq!(outcome, self.outcome());
        }
    }

    fn compare(&self) {
        let ballot = &self.ballot;
        let tally = ballot.tally();
        let approve = self.sum(State::Voted(Verdict::Approve));
        let deny = self.sum(State::Voted(Verdict::Deny));
        let barred = self.sum(State::Barred);
        assert_eq!(u128::from(tally.approve), approve);
        assert_eq!(u128::from(tally.deny), deny);
        assert_eq!(u128::from(tally.quarantined), barred);
        assert_eq!((tally.total, tally.threshold_bp), (self.total, self.bp));
        let total = u128::from(self.total);
        assert_eq!(
            u128::from(ballot.outstanding()),
            total - approve - deny - barred
        );
        let outcome = self.outcome();
        assert_eq!(ballot.outcome(), outcome);
        assert_eq!(ballot.is_backed(), outcome == Outcome::Granted);
        assert_eq!(ballot.needed() == 0, ballot.is_backed());
        // What is needed is the least weight that is enough.
        let missing = u128::from(ballot.needed());
        let wanted = u128::from(self.bp) * total;
        assert!((approve + missing) * 10000 >= wanted);
        assert!(missing == 0 || (approve + missing - 1) * 10000 < wanted);
        let most = if approve * 2 > total {
            Some(Verdict::Approve)
        } else {
            (deny * 2 > total).then_some(Verdict::Deny)
        };
        assert_eq!(ballot.majority(), most);
    }

    fn compare_slots(&self) {
        let ballot = &self.ballot;
        let (mut voted, mut approved) = (0u128, 0u128);
        for voter in &self.voters {
            let verdict = match voter.state {
                State::Voted(verdict) => Some(verdict),
                _ => None,
            };
            assert_eq!(ballot.verdict(voter.slot), verdict);
            assert_eq!(ballot.has_voted(voter.slot), verdict.is_some());
            if let Some(verdict) = verdict {
                voted |= 1 << (voter.slot - 1);
                approved |= u128::from(verdict == Verdict::Approve) << (voter.slot - 1);
            }
        }
        assert_eq!((ballot.voted(), ballot.approved()), (voted, approved));
        assert_eq!(ballot.votes(), voted.count_ones());
        assert_eq!(ballot.verdict(0).or(ballot.verdict(129)), None);
    }
}
