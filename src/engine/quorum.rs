// SPDX-License-Identifier: GPL-2.0

//! Weights, votes and the threshold.
//!
//! See "Decision" in `Documentation/wire-format.rst`. All arithmetic is on integers, and none of it
//! can overflow: see the assertions below.

use super::event::Tally;
use super::limits;
use super::refusal::Refusal;

/// Greatest sum of all weights.
pub const MAX_TOTAL_WEIGHT: u64 = u32::MAX as u64;

/// A whole, in basis points.
pub const BASIS: u64 = 10_000;

// Weight times basis points, the largest product made here, fits with room for the rounding up.
const _: () = assert!(MAX_TOTAL_WEIGHT <= (u64::MAX - BASIS) / BASIS);
const _: () = assert!(limits::THRESHOLD_MAX_BP as u64 == BASIS);
// Above half, so that two sets of validators that each reach the threshold have one in common.
const _: () = assert!(limits::THRESHOLD_MIN_BP as u64 * 2 > BASIS);
// One bit of a `u128` for each slot from 1.
const _: () = assert!(limits::VALIDATORS == u128::BITS as usize);

/// What a validator says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Verdict {
    /// The operation may proceed.
    Approve = 1,
    /// The operation may not proceed.
    Deny = 2,
}

impl Verdict {
    /// Returns the verdict of that number.
    pub fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Approve),
            2 => Some(Self::Deny),
            _ => None,
        }
    }

    /// Name for display: `approve` or `deny`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Deny => "deny",
        }
    }
}

/// State of a ballot.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// More votes may still decide either way.
    Open,
    /// Enough weight approves.
    Granted,
    /// So much weight denies that approval has become impossible.
    Denied,
}

/// Returns the bit of a validator's slot, [`None`] unless it is 1 to 128.
pub(super) fn slot_bit(slot: u16) -> Option<u128> {
    1u128.checked_shl(u32::from(slot).checked_sub(1)?)
}

/// The weights of all enrolled validators, by slot.
///
/// # Invariants
///
/// `total` is the sum of `weights` and at most [`MAX_TOTAL_WEIGHT`]. A slot with a weight has its
/// bit in `used`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Electorate {
    /// Weight of slot `i + 1`; zero where nobody is enrolled.
    weights: [u32; limits::VALIDATORS],
    /// Sum of the weights.
    total: u64,
    /// Slots that have been given out, be it to a validator that was removed since.
    used: u128,
}

impl Default for Electorate {
    fn default() -> Self {
        Self::new()
    }
}

impl Electorate {
    /// Makes an electorate without validators. It holds about 540 bytes: the kernel makes it in
    /// place on the heap.
    #[inline(always)]
    pub const fn new() -> Self {
        // INVARIANT: no weights, no sum.
        Self {
            weights: [0; limits::VALIDATORS],
            total: 0,
            used: 0,
        }
    }

    /// Sum of all weights.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Number of enrolled validators.
    pub fn count(&self) -> usize {
        self.weights.iter().filter(|&&weight| weight != 0).count()
    }

    /// Weight of the validator in `slot`, [`None`] when nobody is enrolled there.
    pub fn weight(&self, slot: u16) -> Option<u32> {
        let index = usize::from(slot.checked_sub(1)?);
        self.weights
            .get(index)
            .copied()
            .filter(|&weight| weight != 0)
    }

    /// Iterates over slots and weights of the enrolled validators, in ascending order of slot.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u32)> + '_ {
        (1..=u16::MAX)
            .zip(self.weights.iter().copied())
            .filter(|&(_, weight)| weight != 0)
    }

    /// The slot that a validator enrolled now gets: the lowest that was never given out.
    pub fn next_slot(&self) -> Option<u16> {
        let slot = self.used.trailing_ones().checked_add(1)?;
        u16::try_from(slot)
            .ok()
            .filter(|&slot| usize::from(slot) <= limits::VALIDATORS)
    }

    /// Says whether one more validator of that weight may be enrolled.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorWeight`] for weight 0 or a sum that passes [`MAX_TOTAL_WEIGHT`].
    pub fn check_weight(&self, weight: u32) -> Result<(), Refusal> {
        if weight == 0 || self.total.saturating_add(u64::from(weight)) > MAX_TOTAL_WEIGHT {
            return Err(Refusal::ValidatorWeight);
        }
        Ok(())
    }

    /// Enrols a validator of that weight in the next free slot and returns the slot.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorLimit`] when every slot has been used, [`Refusal::ValidatorWeight`].
    pub fn enrol(&mut self, weight: u32) -> Result<u16, Refusal> {
        let slot = self.next_slot().ok_or(Refusal::ValidatorLimit)?;
        self.add(slot, weight)?;
        Ok(slot)
    }

    /// Enrols a validator of that weight in a given slot.
    ///
    /// The caller sees to it that a slot is not given to another key; [`Electorate::enrol`] does.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorLimit`] for a slot that is not 1 to 128,
    /// [`Refusal::ValidatorDuplicate`] when somebody is enrolled there, and
    /// [`Refusal::ValidatorWeight`].
    pub fn add(&mut self, slot: u16, weight: u32) -> Result<(), Refusal> {
        self.check_weight(weight)?;
        let bit = slot_bit(slot).ok_or(Refusal::ValidatorLimit)?;
        let entry = slot
            .checked_sub(1)
            .and_then(|index| self.weights.get_mut(usize::from(index)))
            .ok_or(Refusal::ValidatorLimit)?;
        if *entry != 0 {
            return Err(Refusal::ValidatorDuplicate);
        }
        // INVARIANT: `check_weight` has shown that the sum stays within its limit.
        *entry = weight;
        self.total = self.total.saturating_add(u64::from(weight));
        self.used |= bit;
        Ok(())
    }

    /// Slots that have been given out: bit `s - 1` is that of slot `s`.
    pub fn used(&self) -> u128 {
        self.used
    }

    /// Takes slots as given out, as bits like those of [`Electorate::used`]: a restored node goes on
    /// where it was. Slots that are used already stay so.
    pub fn use_slots(&mut self, used: u128) {
        // INVARIANT: bits are only added.
        self.used |= used;
    }

    /// Removes the validator in `slot` and returns its weight. The slot stays used.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorUnknown`] when nobody is enrolled there.
    pub fn remove(&mut self, slot: u16) -> Result<u32, Refusal> {
        let entry = slot
            .checked_sub(1)
            .and_then(|index| self.weights.get_mut(usize::from(index)))
            .filter(|weight| **weight != 0)
            .ok_or(Refusal::ValidatorUnknown)?;
        let weight = core::mem::take(entry);
        // INVARIANT: the weight was a part of the sum.
        self.total = self.total.saturating_sub(u64::from(weight));
        Ok(weight)
    }
}

/// The votes on one request.
///
/// The weights are frozen: a change of the electorate cancels the requests that are open, so the
/// caller passes the weight that held when the ballot was made.
///
/// # Invariants
///
/// `1 <= total <= MAX_TOTAL_WEIGHT`, `approve + deny + quarantined <= total`, the threshold is within
/// its limits, and `approved` is a part of `voted`, which has no bit in common with `barred`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ballot {
    threshold_bp: u16,
    total: u64,
    /// Slots whose vote counts.
    voted: u128,
    /// Those of them that approve.
    approved: u128,
    /// Slots whose vote can no longer count.
    barred: u128,
    approve: u64,
    deny: u64,
    /// Weight of the barred slots.
    quarantined: u64,
}

impl Ballot {
    /// Opens a ballot among validators whose weights sum up to `total`, with a threshold in basis
    /// points.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoValidators`] for a sum of 0, [`Refusal::ValidatorWeight`] for one beyond the
    /// limit, [`Refusal::AttributeMissing`] for a threshold that is not 5001 to 10000.
    pub fn new(threshold_bp: u16, total: u64) -> Result<Self, Refusal> {
        if total == 0 {
            return Err(Refusal::NoValidators);
        }
        if total > MAX_TOTAL_WEIGHT {
            return Err(Refusal::ValidatorWeight);
        }
        if !(limits::THRESHOLD_MIN_BP..=limits::THRESHOLD_MAX_BP).contains(&threshold_bp) {
            return Err(Refusal::AttributeMissing);
        }
        // INVARIANT: just checked.
        Ok(Self {
            threshold_bp,
            total,
            voted: 0,
            approved: 0,
            barred: 0,
            approve: 0,
            deny: 0,
            quarantined: 0,
        })
    }

    /// Counts one vote.
    ///
    /// # Errors
    ///
    /// [`Refusal::VoteClosedRequest`] when the ballot is decided,
    /// [`Refusal::VoteUnknownValidator`] for a slot that is not 1 to 128,
    /// [`Refusal::VoteQuarantined`] for a barred one, [`Refusal::VoteDuplicate`] for a second vote, [`Refusal::ValidatorWeight`] for weight 0 or
    /// one that passes the total. Nothing is counted then.
    pub fn cast(&mut self, slot: u16, weight: u32, verdict: Verdict) -> Result<Outcome, Refusal> {
        if self.outcome() != Outcome::Open {
            return Err(Refusal::VoteClosedRequest);
        }
        let bit = slot_bit(slot).ok_or(Refusal::VoteUnknownValidator)?;
        if self.barred & bit != 0 {
            return Err(Refusal::VoteQuarantined);
        }
        if self.voted & bit != 0 {
            return Err(Refusal::VoteDuplicate);
        }
        let weight = u64::from(weight);
        if weight == 0 || weight > self.outstanding() {
            return Err(Refusal::ValidatorWeight);
        }
        // INVARIANT: the weight is at most what had not voted yet.
        let side = self.side(verdict);
        *side = side.saturating_add(weight);
        self.voted |= bit;
        if verdict == Verdict::Approve {
            self.approved |= bit;
        }
        Ok(self.outcome())
    }

    /// The weight that says so.
    fn side(&mut self, verdict: Verdict) -> &mut u64 {
        match verdict {
            Verdict::Approve => &mut self.approve,
            Verdict::Deny => &mut self.deny,
        }
    }

    /// Raises the threshold to `bp` basis points, at most to a whole; a higher one stays.
    pub fn raise_to(&mut self, bp: u16) {
        // INVARIANT: between what it was and its greatest value.
        self.threshold_bp = self.threshold_bp.max(bp.min(limits::THRESHOLD_MAX_BP));
    }

    /// Takes the vote of a quarantined validator back, if there is one, and lets it cast none. A
    /// slot that is barred already, or is none, changes nothing.
    ///
    /// `weight` is that of its vote. All other weights stay what they were, so this never makes
    /// approval easier; a ballot that was granted may be open or denied afterwards.
    pub fn bar(&mut self, slot: u16, weight: u32) {
        let Some(bit) = slot_bit(slot).filter(|bit| self.barred & bit == 0) else {
            return;
        };
        let weight = u64::from(weight);
        if let Some(verdict) = self.verdict(slot) {
            let side = self.side(verdict);
            *side = side.saturating_sub(weight);
        }
        // INVARIANT: what did not vote, or does not any more, is a part of the outstanding weight.
        self.quarantined = self
            .quarantined
            .saturating_add(weight.min(self.outstanding()));
        self.voted &= !bit;
        self.approved &= !bit;
        self.barred |= bit;
    }

    /// The state that the votes so far amount to.
    pub fn outcome(&self) -> Outcome {
        let wanted = self.wanted();
        let possible = self
            .total
            .saturating_sub(self.deny)
            .saturating_sub(self.quarantined);
        if self.is_backed() {
            Outcome::Granted
        } else if possible.saturating_mul(BASIS) < wanted {
            Outcome::Denied
        } else {
            Outcome::Open
        }
    }

    /// Whether the approving weight reaches the threshold.
    pub fn is_backed(&self) -> bool {
        self.approve.saturating_mul(BASIS) >= self.wanted()
    }

    /// What more than half of all weight has said, if so much has said the same.
    pub fn majority(&self) -> Option<Verdict> {
        let most = |weight: u64| weight.saturating_mul(2) > self.total;
        if most(self.approve) {
            Some(Verdict::Approve)
        } else if most(self.deny) {
            Some(Verdict::Deny)
        } else {
            None
        }
    }

    /// The weights and the threshold, as events carry them.
    pub fn tally(&self) -> Tally {
        Tally {
            approve: self.approve,
            deny: self.deny,
            total: self.total,
            quarantined: self.quarantined,
            threshold_bp: self.threshold_bp,
        }
    }

    /// Approving weight that is still missing, 0 when enough approves.
    pub fn needed(&self) -> u64 {
        self.wanted().div_ceil(BASIS).saturating_sub(self.approve)
    }

    /// Weight of those who have not voted and may.
    pub fn outstanding(&self) -> u64 {
        self.total
            .saturating_sub(self.approve)
            .saturating_sub(self.deny)
            .saturating_sub(self.quarantined)
    }

    /// Whether the validator in `slot` has voted, and its vote counts.
    pub fn has_voted(&self, slot: u16) -> bool {
        slot_bit(slot).is_some_and(|bit| self.voted & bit != 0)
    }

    /// What the validator in `slot` says; [`None`] when it has no vote that counts.
    pub fn verdict(&self, slot: u16) -> Option<Verdict> {
        let bit = slot_bit(slot).filter(|bit| self.voted & bit != 0)?;
        Some(if self.approved & bit != 0 {
            Verdict::Approve
        } else {
            Verdict::Deny
        })
    }

    /// Slots whose vote counts: bit `s - 1` is that of slot `s`. No barred one is among them.
    pub fn voted(&self) -> u128 {
        self.voted
    }

    /// Slots whose vote counts and approves, likewise.
    pub fn approved(&self) -> u128 {
        self.approved
    }

    /// Weight of the barred slots.
    pub fn barred(&self) -> u64 {
        self.quarantined
    }

    /// Number of votes.
    pub fn votes(&self) -> u32 {
        self.voted.count_ones()
    }

    /// Approving weight.
    pub fn approve(&self) -> u64 {
        self.approve
    }

    /// Denying weight.
    pub fn deny(&self) -> u64 {
        self.deny
    }

    /// Weight of all validators.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Threshold in basis points.
    pub fn threshold_bp(&self) -> u16 {
        self.threshold_bp
    }

    /// `b * T` of the document: what the approving weight times [`BASIS`] must reach.
    fn wanted(&self) -> u64 {
        u64::from(self.threshold_bp).saturating_mul(self.total)
    }
}
