// SPDX-License-Identifier: GPL-2.0

//! What the TPM says about a node's past, and what follows from it.
//!
//! See "What the TPM holds", "Commit" and "What a load finds" in `Documentation/sealed-state.rst`.
//! The counter says how often a state was committed, the anchor which ones: whoever has both can
//! tell the last state from every other.

use super::refusal::Refusal;
use super::wire::Digest;
use core::num::NonZeroU64;

/// NV index of the counter.
pub const COUNTER_INDEX: u32 = 0x0185_4350;

/// NV index of the anchor.
pub const ANCHOR_INDEX: u32 = 0x0185_4351;

/// `TPMA_NV` of the counter when it is defined: a counter, OWNERWRITE, OWNERREAD, AUTHREAD, NO_DA.
pub const COUNTER_ATTRIBUTES: u32 = 0x0206_0012;

/// `TPMA_NV` of the anchor when it is defined: an extend index, otherwise as the counter.
pub const ANCHOR_ATTRIBUTES: u32 = 0x0206_0042;

/// The bit of `TPMA_NV` that the TPM sets with the first write.
pub const WRITTEN: u32 = 1 << 29;

/// Size of the counter, in bytes.
pub const COUNTER_SIZE: u16 = 8;

/// Size of the anchor, in bytes.
pub const ANCHOR_SIZE: u16 = 32;

/// The anchor's value before it is first extended.
pub const UNWRITTEN: [u8; 32] = [0; 32];

// The two indices differ in nothing but their type.
const _: () = assert!(COUNTER_ATTRIBUTES ^ ANCHOR_ATTRIBUTES == 0x10 ^ 0x40);
const _: () = assert!((COUNTER_ATTRIBUTES | ANCHOR_ATTRIBUTES) & WRITTEN == 0);

/// What the TPM has at an NV index.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Index<T> {
    /// Nothing.
    Missing,
    /// An index of another type, size, algorithm or other attributes.
    Foreign,
    /// The right index, never written.
    Unwritten,
    /// The right index with this value.
    Value(T),
}

/// What the TPM says: read anew before each decision.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Witness {
    /// The node that its attestation key names.
    pub node: [u8; 32],
    /// The counter.
    pub counter: Index<u64>,
    /// The anchor.
    pub anchor: Index<[u8; 32]>,
}

/// How a load begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Start {
    /// Nothing was ever committed: what is missing is defined, then the counter is incremented, and
    /// setup begins.
    FirstUse {
        /// Whether the counter has to be defined.
        define_counter: bool,
        /// Whether the anchor has to be defined.
        define_anchor: bool,
    },
    /// There is a past. The node is locked, with the reason.
    Locked(Refusal),
}

/// Says how a load begins, before any state is given back.
pub fn start(witness: &Witness) -> Start {
    let (define_counter, define_anchor) = match (witness.counter, witness.anchor) {
        (Index::Foreign, _) => return Start::Locked(Refusal::CounterForeign),
        (_, Index::Foreign) => return Start::Locked(Refusal::AnchorForeign),
        (Index::Value(_), Index::Value(_)) => return Start::Locked(Refusal::StateMissing),
        (Index::Missing | Index::Unwritten, Index::Value(_)) => {
            return Start::Locked(Refusal::CounterMissing)
        }
        (Index::Value(_), Index::Missing) => return Start::Locked(Refusal::AnchorMissing),
        (Index::Missing, Index::Missing) => (true, true),
        (Index::Missing, Index::Unwritten) => (true, false),
        // An interrupted first use.
        (Index::Unwritten, Index::Missing) => (false, true),
        // The anchor is extended before anything is acknowledged, so there was nothing.
        (Index::Unwritten | Index::Value(_), Index::Unwritten) => (false, false),
    };
    Start::FirstUse {
        define_counter,
        define_anchor,
    }
}

/// Where a state stands in the past of its node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Position {
    /// The counter once the state is committed.
    pub counter: u64,
    /// The anchor before that; zeros when it was never extended.
    pub previous: [u8; 32],
    /// The anchor once the state is committed.
    pub anchor: [u8; 32],
}

/// How current a state is. The value is the result of RESTORED.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum Standing {
    /// It is the last one that was committed.
    Current = 1,
    /// Its commit was interrupted after the anchor: the counter has to be incremented.
    Half = 2,
    /// It is an older one, and a quorum has to agree. [`judge`] never says this.
    Outdated = 3,
}

impl Standing {
    /// Name for display: `current`, `half committed` or `not current`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Half => "half committed",
            Self::Outdated => "not current",
        }
    }
}

/// Judges a well-formed state of `node` that is given back to a locked node.
///
/// The findings are checked in the order of the document. The state's key and MAC come after this
/// and are not judged here.
///
/// # Errors
///
/// [`Refusal::StateOtherTpm`], [`Refusal::CounterMissing`], [`Refusal::CounterForeign`],
/// [`Refusal::AnchorMissing`], [`Refusal::AnchorForeign`], [`Refusal::StateStagedOnly`],
/// [`Refusal::StateOlder`], [`Refusal::CounterBehind`], [`Refusal::AnchorDiffers`].
pub fn judge(witness: &Witness, node: &[u8; 32], position: &Position) -> Result<Standing, Refusal> {
    if witness.node != *node {
        return Err(Refusal::StateOtherTpm);
    }
    let counter = match witness.counter {
        Index::Missing | Index::Unwritten => return Err(Refusal::CounterMissing),
        Index::Foreign => return Err(Refusal::CounterForeign),
        Index::Value(counter) => counter,
    };
    let anchor = match witness.anchor {
        Index::Missing | Index::Unwritten => return Err(Refusal::AnchorMissing),
        Index::Foreign => return Err(Refusal::AnchorForeign),
        Index::Value(anchor) => anchor,
    };
    let next = counter.checked_add(1) == Some(position.counter);
    if position.counter == counter && position.anchor == anchor {
        Ok(Standing::Current)
    } else if next && position.anchor == anchor {
        Ok(Standing::Half)
    } else if next && position.previous == anchor {
        Err(Refusal::StateStagedOnly)
    } else if position.counter < counter {
        Err(Refusal::StateOlder)
    } else if position.counter > counter && !next {
        Err(Refusal::CounterBehind)
    } else {
        Err(Refusal::AnchorDiffers)
    }
}

/// What a commit has to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Next {
    /// Extend the anchor, then increment the counter.
    Extend,
    /// Increment the counter.
    Increment,
    /// Nothing: the TPM has it.
    Done,
}

/// Says where the commit of a staged state goes on; a repeated one does nothing twice.
///
/// # Errors
///
/// [`Refusal::StateConflict`] when counter and anchor are neither what they were when the state was
/// staged nor what the commit makes of them.
pub fn next(witness: &Witness, position: &Position) -> Result<Next, Refusal> {
    let Index::Value(counter) = witness.counter else {
        return Err(Refusal::StateConflict);
    };
    let anchor = match witness.anchor {
        Index::Value(anchor) => anchor,
        Index::Unwritten => UNWRITTEN,
        Index::Missing | Index::Foreign => return Err(Refusal::StateConflict),
    };
    let before = counter.checked_add(1) == Some(position.counter);
    if before && anchor == position.previous {
        Ok(Next::Extend)
    } else if before && anchor == position.anchor {
        Ok(Next::Increment)
    } else if counter == position.counter && anchor == position.anchor {
        Ok(Next::Done)
    } else {
        Err(Refusal::StateConflict)
    }
}

/// The anchor's value after it was extended with a head of the chain.
pub fn extended<D: Digest>(value: &[u8; 32], head: &[u8; 32]) -> [u8; 32] {
    D::sha256(&[value, head])
}

/// Writes to NV memory that one commit takes.
pub const WRITES_PER_COMMIT: u64 = 2;

/// Seconds of a year of 365 days.
const YEAR_S: u64 = 365 * DAY_S.get();

/// Seconds of a day.
const DAY_S: NonZeroU64 = NonZeroU64::new(24 * 60 * 60).unwrap();

/// Returns how many writes to NV memory a year takes: what checkpoints every `interval_s` seconds
/// need (none for 0), or as `measured` in `uptime_ms` milliseconds if that is more.
///
/// A load younger than a day counts as a day old: what it writes at its start, it writes once.
/// Rounds up, and stays at the greatest number instead of passing it.
pub fn writes_a_year(interval_s: u32, measured: u64, uptime_ms: u64) -> u64 {
    let planned = NonZeroU64::new(u64::from(interval_s)).map_or(0, |interval| {
        div_ceil(YEAR_S, interval).saturating_mul(WRITES_PER_COMMIT)
    });
    let uptime_s = NonZeroU64::new(uptime_ms / 1000).map_or(DAY_S, |uptime| uptime.max(DAY_S));
    // The product of two `u64` fits a `u128`, but not every kernel divides those.
    let found = match measured.checked_mul(YEAR_S) {
        Some(product) => div_ceil(product, uptime_s),
        None => (measured / uptime_s)
            .saturating_add(1)
            .saturating_mul(YEAR_S),
    };
    planned.max(found)
}

/// Divides and rounds up.
fn div_ceil(value: u64, by: NonZeroU64) -> u64 {
    // The quotient has room for one more unless `by` is 1, and then nothing is left over.
    (value / by).saturating_add(u64::from(value % by != 0))
}
