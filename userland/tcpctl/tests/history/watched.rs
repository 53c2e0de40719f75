// SPDX-License-Identifier: GPL-2.0

//! The kernel's watch, which a node in miniature can be copied with.

use engine::{
    quorum::Ballot,
    refusal::Refusal,
    reputation::Kept,
    watch::{
        Rules,
        Turn,
        Watch, //
    }, //
};

/// What a watch was told, with the time in milliseconds since boot.
#[derive(Clone)]
pub(crate) enum Told {
    Rules(Rules),
    Enrolled(u16, u32, u64),
    Removed(u16),
    Quarantined(u16, u64),
    RestoredQuarantined(u16),
    RestoredReputation(u16, Kept),
    Readmitted(u16, u64),
    Voted(u16, [u8; 32], u64),
    Refused(Refusal, u64),
    Ended(Box<Ballot>, bool, u64),
    Turned(Turn, u64, u64),
}

/// A watch, and everything that it was told.
pub(crate) struct Watched {
    watch: Watch,
    told: Vec<Told>,
}

impl Watched {
    pub(crate) fn new() -> Self {
        Self {
            watch: Watch::new().unwrap(),
            told: Vec::new(),
        }
    }

    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    pub(crate) fn tell(&mut self, told: Told) {
        let watch = &mut self.watch;
        match &told {
            Told::Rules(rules) => watch.rules(*rules),
            Told::Enrolled(slot, weight, ms) => watch.enrolled(*slot, *weight, *ms),
            Told::Removed(slot) => watch.removed(*slot),
            Told::Quarantined(slot, ms) => watch.quarantined(*slot, *ms),
            Told::RestoredQuarantined(slot) => watch.restored_quarantined(*slot),
            Told::RestoredReputation(slot, kept) => watch.reputations_mut().restore(*slot, kept),
            Told::Readmitted(slot, ms) => watch.readmitted(*slot, *ms),
            Told::Voted(slot, request, ms) => watch.voted(*slot, request, *ms),
            Told::Refused(refusal, ms) => watch.refused(*refusal, *ms),
            Told::Ended(ballot, decided, ms) => watch.ended(ballot, *decided, *ms),
            Told::Turned(turn, number, ms) => watch.turn(*turn, *number, *ms),
        }
        self.told.push(told);
    }
}

impl Clone for Watched {
    fn clone(&self) -> Self {
        let mut copy = Self::new();
        for told in &self.told {
            copy.tell(told.clone());
        }
        copy
    }
}
