// SPDX-License-Identifier: GPL-2.0

//! What agents were allowed just now.
//!
//! A rule that names a path is about everything below it, so to judge an operation takes a walk from its
//! object to the root. What was allowed on one entry of a directory is allowed on the next one, too,
//! unless a rule names that one itself: this is remembered. Only leave is, never a refusal; it is for the
//! same [`Act`] at the same [`Place`], which is to say for no longer than a second, and until the policy,
//! a name of any file, or a mount of the namespace changes.
//!
//! What hashes to a slot takes it from whatever was there.

use crate::{
    abi::{
        atomic::{
            fence,
            AtomicU32,
            AtomicU64,
            Ordering, //
        },
        path::Path,
        place::{
            Place,
            Stored, //
        }, //
    },
    engine::op::Op, //
};
use kernel::{
    prelude::*,
    sync::rcu, //
};

/// How many decisions are remembered, a power of two.
const SLOTS: usize = 1 << 10;

/// Who does what to entries of a directory, and under which policy.
#[derive(Clone, Copy)]
pub(crate) struct Act {
    /// The operation.
    pub(crate) op: Op,
    /// Number of the agent.
    pub(crate) agent: u64,
    /// Its effective user.
    pub(crate) uid: u32,
    /// Generation of the policy.
    pub(crate) generation: u64,
}

impl Act {
    /// What is done by whom, in one word.
    #[inline]
    fn what(&self) -> u64 {
        u64::from(self.uid) | (self.op as u64) << u32::BITS
    }

    /// Where it is remembered for that directory.
    #[inline]
    fn slot(&self, directory: u64) -> usize {
        // Fibonacci hashing (Knuth, The Art of Computer Programming 6.4).
        let hash = (directory ^ self.what().rotate_left(24) ^ self.agent.rotate_left(48))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (hash >> (u64::BITS - SLOTS.trailing_zeros())) as usize
    }
}

/// One remembered decision.
struct Slot {
    /// Odd while the rest is being changed, and another number afterwards.
    turn: AtomicU32,
    /// Line of the rule that allowed it, 0 for a default.
    line: AtomicU32,
    what: AtomicU64,
    agent: AtomicU64,
    /// 0 at first, which no policy has.
    generation: AtomicU64,
    place: Stored,
}

/// What is remembered.
pub(crate) struct Recall(KVVec<Slot>);

impl Recall {
    /// Remembers nothing, in about 100 KiB.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let mut slots = KVVec::with_capacity(SLOTS, GFP_KERNEL)?;
        for _ in 0..SLOTS {
            let slot = Slot {
                turn: AtomicU32::new(0),
                line: AtomicU32::new(0),
                what: AtomicU64::new(0),
                agent: AtomicU64::new(0),
                generation: AtomicU64::new(0),
                place: Stored::new(),
            };
            slots.push(slot, GFP_KERNEL)?;
        }
        Ok(Self(slots))
    }

    /// The line of the rule that has allowed exactly this on an entry where `path` is now, if that is
    /// remembered.
    ///
    /// Context: any; takes no lock.
    #[inline]
    pub(crate) fn line(&self, act: &Act, path: &Path, guard: &rcu::Guard) -> Option<u32> {
        let slot = self.0.get(act.slot(path.directory()))?;
        let turn = slot.turn.load(Ordering::Acquire);
        let line = slot.line.load(Ordering::Relaxed);
        let known = turn & 1 == 0
            && slot.what.load(Ordering::Relaxed) == act.what()
            && slot.agent.load(Ordering::Relaxed) == act.agent
            && slot.generation.load(Ordering::Relaxed) == act.generation
            && slot.place.is_that_of(path, guard);
        // All of it is of one turn if the turn is still the same.
        fence(Ordering::Acquire);
        (known && slot.turn.load(Ordering::Relaxed) == turn).then_some(line)
    }

    /// Remembers that the rule in `line` has allowed this; does nothing while another task remembers
    /// something in the same slot.
    ///
    /// Context: any; takes no lock.
    pub(crate) fn remember(&self, act: &Act, place: &Place, line: u32) {
        let Some(slot) = self.0.get(act.slot(place.directory())) else {
            return;
        };
        let turn = slot.turn.load(Ordering::Relaxed);
        let odd = turn.wrapping_add(1);
        let taken = turn & 1 != 0
            || slot
                .turn
                .compare_exchange(turn, odd, Ordering::Acquire, Ordering::Relaxed)
                .is_err();
        if taken {
            return;
        }
        // Who sees one of the words sees the odd turn.
        fence(Ordering::Release);
        slot.line.store(line, Ordering::Relaxed);
        slot.what.store(act.what(), Ordering::Relaxed);
        slot.agent.store(act.agent, Ordering::Relaxed);
        slot.generation.store(act.generation, Ordering::Relaxed);
        slot.place.store(place);
        slot.turn.store(odd.wrapping_add(1), Ordering::Release);
    }
}
