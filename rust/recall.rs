// SPDX-License-Identifier: GPL-2.0

//! What tasks were allowed just now.
//!
//! A rule that names a path is about everything below it, so to judge an operation takes a walk from its
//! object to the root. What was allowed on one entry of a directory is allowed on the next one, too,
//! unless a rule names that one itself: this is remembered. Only leave is, never a refusal; it is for the
//! same [`Act`] at the same [`Place`], which is to say for no longer than a second, and until the policy,
//! a name of any file, or a mount of the namespace changes.
//!
//! What hashes to a slot takes it from whatever was there.

use super::{
    atomic::{
        fence,
        AtomicU32,
        AtomicU64,
        Ordering, //
    },
    bindings,
    filter::{
        Cell,
        Filter,
        MULTIPLIER, //
    },
    path::Path,
    place::{
        Place,
        Stored, //
    }, //
};
use core::num::NonZeroU32;
use kernel::{
    alloc::flags::__GFP_ZERO,
    prelude::*, //
};

/// How many decisions are remembered, as a power of two: 176 KiB.
const SLOT_BITS: u32 = 10;

/// Places for the inodes that rules name: 512 KiB. Two lead to the same place for one file in two thousand, with a
/// thousand rules.
const NAMED: usize = 1 << 15;

/// What a task of an agent does to entries of a directory, and since when that is so.
#[derive(Clone, Copy)]
pub(crate) struct Act {
    /// The operation.
    pub(crate) op: u32,
    /// Number of the agent.
    pub(crate) agent: NonZeroU32,
    /// The task's effective user.
    pub(crate) uid: u32,
    /// From [`Recall::epoch`], before anything else was looked at.
    pub(crate) epoch: u64,
}

impl Act {
    /// What is done, by whom.
    fn word(&self) -> u64 {
        word(self.op, self.agent.get())
    }

    /// Where it is remembered for that [`Path::directory`]. Must be the same function as
    /// `tcp_recall_slot` in `helpers/recall.c`.
    fn slot(&self, directory: usize) -> usize {
        let hash = (directory ^ self.word() as usize).wrapping_mul(MULTIPLIER);
        hash >> (usize::BITS - SLOT_BITS)
    }
}

/// An operation of an agent; the number 0 is none's.
#[inline]
fn word(op: u32, agent: u32) -> u64 {
    u64::from(op) << u32::BITS | u64::from(agent)
}

/// What has allowed something.
#[derive(Clone, Copy)]
pub(crate) struct Leave {
    /// Line of the rule, 0 for a default.
    pub(crate) line: u32,
    /// Generation of its policy, not 0.
    pub(crate) generation: u32,
}

/// One remembered decision; `struct tcp_recall_slot`. All zeros is none.
#[repr(C)]
struct Slot {
    /// Odd while the rest is being changed, and another number afterwards.
    turn: AtomicU32,
    line: AtomicU32,
    uid: AtomicU32,
    generation: AtomicU32,
    act: AtomicU64,
    epoch: AtomicU64,
    place: Stored,
}

/// What is remembered; `struct tcp_recall`.
#[repr(C)]
pub(crate) struct Recall {
    slots: KVBox<[Slot; 1 << SLOT_BITS]>,
    /// Inodes that are never asked about here, because a rule names them.
    pub(crate) named: Filter<NAMED>,
    /// Grows with each call of [`Recall::forget`].
    epoch: AtomicU64,
}

impl Recall {
    /// Remembers nothing. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let slots = KVBox::<[Slot; 1 << SLOT_BITS]>::new_uninit(GFP_KERNEL | __GFP_ZERO)?;
        Ok(Self {
            // SAFETY: Each field may be all zeros.
            slots: unsafe { slots.assume_init() },
            named: Filter::new()?,
            epoch: AtomicU64::new(0),
        })
    }

    /// A number for the present: see [`Act::epoch`].
    ///
    /// Context: any.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Forgets everything.
    ///
    /// To be called after another policy was published, and before the inode of a directory is free: its
    /// address, and that of its entry, may belong to another directory afterwards.
    ///
    /// Context: any.
    #[inline]
    pub(crate) fn forget(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// The line of the rule that, as is remembered, allows the calling task to do `op` at `path`. `label`
    /// is where the task leads among those that may be labelled.
    ///
    /// Context: process context; takes no lock.
    #[inline]
    pub(crate) fn line(&self, label: &Cell, op: u32, path: &Path) -> Option<u32> {
        let (recall, label) = ((&raw const *self).cast(), (&raw const *label).cast());
        let op = word(op, 0);
        // SAFETY: Both have the layout that C expects, which reads words that are atomic here, and so in
        // memory what they hold. By the invariant of `Path` both its parts are held; C takes RCU for what
        // lies above. Of a namespace it looks at nothing before it knows that it is the one that was
        // stored, and there.
        let found = unsafe { bindings::recalled(recall, label, path.as_ptr(), op) };
        (found != 0).then_some(found as u32)
    }

    /// As [`Self::line`], for a task of the agent with that number, of the policy of `generation` only, which
    /// names nothing that is at `path`.
    pub(crate) fn line_of(
        &self,
        agent: NonZeroU32,
        op: u32,
        path: &Path,
        generation: u32,
    ) -> Option<u32> {
        let (recall, act) = ((&raw const *self).cast(), word(op, agent.get()));
        // SAFETY: As in `line`.
        let found = unsafe { bindings::recalled_of(recall, path.as_ptr(), act, generation) };
        (found != 0).then_some(found as u32)
    }

    /// Remembers what has allowed this; does nothing while another task remembers something in the same
    /// slot. `directory` is [`Path::directory`] of the entry.
    ///
    /// Context: any; takes no lock.
    pub(crate) fn remember(&self, act: &Act, directory: usize, place: &Place, leave: Leave) {
        let Some(slot) = self.slots.get(act.slot(directory)) else {
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
        slot.line.store(leave.line, Ordering::Relaxed);
        slot.uid.store(act.uid, Ordering::Relaxed);
        slot.generation.store(leave.generation, Ordering::Relaxed);
        slot.act.store(act.word(), Ordering::Relaxed);
        slot.epoch.store(act.epoch, Ordering::Relaxed);
        slot.place.store(place);
        slot.turn.store(odd.wrapping_add(1), Ordering::Release);
    }
}
