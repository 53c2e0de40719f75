// SPDX-License-Identifier: GPL-2.0

//! What each validator has said lately, as far back as the kernel remembers, to find contradictions that it let pass.

use std::collections::{
    btree_map::Entry,
    BTreeMap, //
};

use engine::{
    byzantine::contradiction,
    memory::VoteMemory,
    refusal::Refusal,
    vote::{
        SignedVote,
        Vote,
        VoteRecord, //
    }, //
};

use super::{
    docket::SLACK_MS,
    fault::{
        wrong,
        Checked,
        Wrong, //
    }, //
};

/// The votes of one load.
#[derive(Default)]
pub(crate) struct Said {
    memories: BTreeMap<u16, VoteMemory>,
    /// The records of those that the kernel certainly holds.
    held: Vec<Vec<u8>>,
}

fn missed(vote: &SignedVote<'_>) -> Wrong {
    wrong(
        "contradiction_missed",
        format!(
            "an earlier vote of slot {} contradicts this one",
            vote.vote.slot
        ),
        "QUARANTINED",
    )
}

impl Said {
    /// Takes an accepted vote; `boot_ms` is the stamp of its event.
    ///
    /// # Errors
    ///
    /// `contradiction_missed`, `no_memory`.
    pub(crate) fn accept(&mut self, boot_ms: u64, record: &VoteRecord<'_>) -> Checked {
        let vote = record.signed_vote();
        let slot = vote.vote.slot;
        self.check_held(boot_ms, &vote)?;
        // The kernel lets go of those that can no longer be accepted.
        self.keep(|held| {
            held.slot != slot || (held.own() > vote.vote.own() && held.request != vote.vote.request)
        });
        let memory = match self.memories.entry(slot) {
            Entry::Occupied(of) => of.into_mut(),
            Entry::Vacant(of) => of.insert(VoteMemory::new().map_err(|_| {
                wrong(
                    Refusal::NoMemory.name(),
                    "no memory for a validator's votes",
                    "64 KiB",
                )
            })?),
        };
        memory.remember(&vote);
        Ok(())
    }

    /// Takes a held vote, whose record has these bytes; `boot_ms` is the stamp of its event.
    ///
    /// # Errors
    ///
    /// `contradiction_missed`.
    pub(crate) fn hold(&mut self, boot_ms: u64, record: &VoteRecord<'_>, bytes: &[u8]) -> Checked {
        let vote = record.signed_vote();
        let memory = self.memories.get(&vote.vote.slot);
        if memory.is_some_and(|memory| memory.contradicting(&vote, false).is_some()) {
            return Err(missed(&vote));
        }
        self.check_held(boot_ms, &vote)?;
        self.held.push(bytes.to_vec());
        Ok(())
    }

    /// Demands that no held vote contradicts one that is accepted or held itself.
    fn check_held(&mut self, boot_ms: u64, vote: &SignedVote<'_>) -> Checked {
        // The kernel may have let go of what expires about now.
        self.keep(|held| held.expires_ms.saturating_sub(SLACK_MS) >= boot_ms);
        let contradicted = self.held.iter().any(|held| {
            VoteRecord::decode(held)
                .is_ok_and(|held| contradiction(&held.signed_vote(), vote).is_some())
        });
        if contradicted {
            return Err(missed(vote));
        }
        Ok(())
    }

    /// Lets go of the held votes that `stays` does not want.
    fn keep(&mut self, stays: impl Fn(&Vote<'_>) -> bool) {
        self.held
            .retain(|held| VoteRecord::decode(held).is_ok_and(|held| stays(&held.vote)));
    }

    /// The kernel holds no votes on a request that is closed.
    pub(crate) fn close(&mut self, request: &[u8; 32]) {
        self.keep(|held| held.request != request);
    }

    /// The validator is quarantined: nothing of it is held.
    pub(crate) fn quarantine(&mut self, slot: u16) {
        self.keep(|held| held.slot != slot);
    }

    /// The validator is gone, or readmitted: what it has said before counts for nothing.
    pub(crate) fn forget(&mut self, slot: u16) {
        self.quarantine(slot);
        self.memories.remove(&slot);
    }
}
