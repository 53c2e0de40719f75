// SPDX-License-Identifier: GPL-2.0

//! Quarantine: who is in it since when, and which evidence has expired.
//!
//! See "Quarantine" in `Documentation/byzantine.rst`.

use super::clock::epoch_of;
use super::evidence::Evidence;
use super::limits;
use super::refusal::Refusal;
use super::wire::{
    self,
    Error,
    Reader,
    Writer, //
};

/// Pairs that are kept for one validator.
pub const PAIRS: usize = 4;

/// Longest record in a state, in bytes.
pub const MAX_LEN: usize = 32 + 2 + 1 + 1 + PAIRS * (32 + 8) + 8;

/// Evidence of votes for this node has expired unless it has a greater entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pair {
    /// The node.
    pub node: [u8; 32],
    /// Its own clock entry.
    pub entry: u64,
}

/// Where a validator stands that was quarantined once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Standing {
    /// It still is.
    Quarantined = 1,
    /// It was readmitted.
    Readmitted = 2,
}

impl Standing {
    /// Returns the standing of that number.
    pub fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Quarantined),
            2 => Some(Self::Readmitted),
            _ => None,
        }
    }
}

/// A pair that is not there.
const NO_PAIR: Pair = Pair {
    node: [0; 32],
    entry: 0,
};

/// What a node keeps of a validator that was quarantined.
///
/// # Invariants
///
/// `slot` is 1 to [`limits::VALIDATORS`], `number` at least 1, `count` at most [`PAIRS`]; the first
/// `count` pairs are of different nodes, and the others are zeros.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    validator: [u8; 32],
    slot: u16,
    standing: Standing,
    number: u64,
    pairs: [Pair; PAIRS],
    count: u8,
}

impl Record {
    /// Makes the record of a validator whose first QUARANTINED event has that number, at least 1,
    /// when it was in `slot`, 1 to 128.
    pub fn new(validator: &[u8; 32], slot: u16, number: u64) -> Self {
        Self {
            validator: *validator,
            slot,
            standing: Standing::Quarantined,
            number,
            pairs: [NO_PAIR; PAIRS],
            count: 0,
        }
    }

    /// Who: the digest of the public key.
    pub fn validator(&self) -> &[u8; 32] {
        &self.validator
    }

    /// The slot that it had at its last QUARANTINED event.
    pub fn slot(&self) -> u16 {
        self.slot
    }

    /// Where it stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Number of its last QUARANTINED event.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What was noted at its readmissions: one pair for a node.
    pub fn pairs(&self) -> &[Pair] {
        self.pairs.get(..usize::from(self.count)).unwrap_or(&[])
    }

    /// Whether it is quarantined.
    pub fn is_quarantined(&self) -> bool {
        self.standing == Standing::Quarantined
    }

    /// Says whether evidence against this validator leads to its quarantine.
    ///
    /// # Errors
    ///
    /// [`Refusal::EvidenceKnown`] when it is quarantined, [`Refusal::EvidenceExpired`] when it was
    /// readmitted after the evidence.
    pub fn check(&self, evidence: &Evidence<'_>) -> Result<(), Refusal> {
        if self.is_quarantined() {
            return Err(Refusal::EvidenceKnown);
        }
        let expired = |pair: &Pair| pair.node == *evidence.node() && evidence.entry() <= pair.entry;
        if self.pairs().iter().any(expired) {
            return Err(Refusal::EvidenceExpired);
        }
        Ok(())
    }

    /// Quarantines a validator that was readmitted: the event has that number, at least 1, and the
    /// validator that slot, 1 to 128.
    pub fn quarantine(&mut self, slot: u16, number: u64) {
        self.standing = Standing::Quarantined;
        self.slot = slot;
        self.number = number;
    }

    /// Says whether `node`, whose own clock entry is `entry`, may end the quarantine that this
    /// evidence led to.
    ///
    /// # Errors
    ///
    /// [`Refusal::ValidatorTrusted`] when there is none; [`Refusal::ReadmitLimit`] when it needs more
    /// than [`PAIRS`] pairs, or when the votes have an entry of their node that it cannot have had:
    /// no pair could tell that evidence from later one.
    pub fn may_readmit(
        &self,
        node: &[u8; 32],
        entry: u64,
        evidence: &Evidence<'_>,
    ) -> Result<(), Refusal> {
        self.clone().readmit(node, entry, evidence)
    }

    /// Ends the quarantine that this evidence led to. `entry` is the own clock entry of `node` at
    /// the READMITTED event; evidence that was there before has expired from now on.
    ///
    /// # Errors
    ///
    /// As [`Record::may_readmit`]; the record is unchanged then.
    pub fn readmit(
        &mut self,
        node: &[u8; 32],
        entry: u64,
        evidence: &Evidence<'_>,
    ) -> Result<(), Refusal> {
        if !self.is_quarantined() {
            return Err(Refusal::ValidatorTrusted);
        }
        let mut next = self.clone();
        next.note(node, entry)?;
        let known = if evidence.node() == node {
            evidence.entry() <= entry
        } else {
            next.note(evidence.node(), evidence.entry())?;
            epoch_of(evidence.entry()) <= evidence.first.vote.epoch
        };
        if !known {
            return Err(Refusal::ReadmitLimit);
        }
        next.standing = Standing::Readmitted;
        *self = next;
        Ok(())
    }

    /// Notes a pair in the place of that of the same node, or behind the last one.
    fn note(&mut self, node: &[u8; 32], entry: u64) -> Result<(), Refusal> {
        let same = self.pairs().iter().position(|pair| pair.node == *node);
        let place = same.unwrap_or(usize::from(self.count));
        // INVARIANT: a pair of another node goes behind the last one, and only if there is room.
        *self.pairs.get_mut(place).ok_or(Refusal::ReadmitLimit)? = Pair { node: *node, entry };
        if same.is_none() {
            self.count = self.count.saturating_add(1);
        }
        Ok(())
    }

    /// Takes a record out of a state.
    pub(super) fn take(reader: &mut Reader<'_>) -> wire::Result<Self> {
        let validator = reader.array()?;
        let slot = reader.u16()?;
        if !(1..=limits::VALIDATORS).contains(&usize::from(slot)) {
            return Err(Error::Field("quarantined slot"));
        }
        let standing = Standing::from_u8(reader.u8()?).ok_or(Error::Field("standing"))?;
        let mut record = Self::new(validator, slot, 0);
        record.standing = standing;
        let count = reader.u8()?;
        for noted in 0..count {
            let node = reader.array()?;
            record
                .note(node, reader.u64()?)
                .map_err(|_| Error::Field("number of pairs"))?;
            if record.count == noted {
                return Err(Error::Field("pairs"));
            }
        }
        record.number = reader.u64()?;
        if record.number == 0 {
            return Err(Error::Field("quarantined number"));
        }
        if count == 0 && !record.is_quarantined() {
            return Err(Error::Field("pairs"));
        }
        Ok(record)
    }

    /// Appends what [`Record::take`] takes.
    pub(super) fn put(&self, out: &mut Writer<'_>) -> wire::Result {
        out.bytes(&self.validator)?;
        out.u16(self.slot)?;
        out.u8(self.standing as u8)?;
        out.u8(self.count)?;
        for pair in self.pairs() {
            out.bytes(&pair.node)?;
            out.u64(pair.entry)?;
        }
        out.u64(self.number)
    }
}
