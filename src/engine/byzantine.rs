// SPDX-License-Identifier: GPL-2.0

//! Faults of validators that two of their votes prove.
//!
//! See "Provable faults" in `Documentation/byzantine.rst`.

use super::vote::SignedVote;

/// How two votes of one validator contradict each other.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Fault {
    /// They name the same request and have different verdicts.
    Equivocation = 1,
    /// They have the same own entry and differ.
    Fork = 2,
    /// The one with the greater own entry has some smaller entry.
    Regression = 3,
}

impl Fault {
    /// Every fault, in ascending order of its number.
    pub const ALL: [Self; 3] = [Self::Equivocation, Self::Fork, Self::Regression];

    /// Returns the fault of that number.
    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&fault| fault as u8 == value)
    }

    /// Name for display: `equivocation`, `fork` or `regression`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Equivocation => "equivocation",
            Self::Fork => "fork",
            Self::Regression => "regression",
        }
    }
}

/// Says how two votes, in any order, contradict each other: the first way that holds.
///
/// [`None`] when they do not, and whenever they are of different validators, nodes or epochs. The
/// signatures are not looked at: a contradiction proves a fault only when both verify.
pub fn contradiction(a: &SignedVote<'_>, b: &SignedVote<'_>) -> Option<Fault> {
    let (one, two) = (&a.vote, &b.vote);
    if one.validator != two.validator || one.node != two.node || one.epoch != two.epoch {
        return None;
    }
    if one.request == two.request && one.verdict != two.verdict {
        return Some(Fault::Equivocation);
    }
    let (own, other) = (one.own(), two.own());
    if one.slot != two.slot || own == 0 || other == 0 {
        return None;
    }
    if own == other {
        return (a.signed != b.signed).then_some(Fault::Fork);
    }
    let (earlier, later) = if own < other { (one, two) } else { (two, one) };
    earlier
        .clock
        .exceeds(&later.clock)
        .then_some(Fault::Regression)
}
