// SPDX-License-Identifier: GPL-2.0

//! A validator's side: its key, its journal, and the votes that it signs.

use crate::key::Key;
use engine::clock::{
    ClaimedClock,
    NodeClock,
    ENTRY_LEN,
    NODE_SLOT,
    SLOTS, //
};
use engine::quorum::Verdict;
use engine::vote::{
    self,
    Vote,
    MAX_RECORD,
    MAX_SIGNED,
    NO_REASON, //
};
use engine::wire::Writer;

/// What a vote says, but for its clock and signature.
pub(crate) struct Paper {
    pub(crate) node: [u8; 32],
    pub(crate) epoch: u64,
    pub(crate) request: [u8; 32],
    pub(crate) validator: [u8; 32],
    pub(crate) slot: u16,
    pub(crate) verdict: Verdict,
    pub(crate) expires_ms: u64,
}

impl Paper {
    /// Signs a vote with that clock, whoever the key belongs to, and returns its record.
    pub(crate) fn sign(&self, key: &mut Key, clock: &NodeClock) -> Vec<u8> {
        let mut entries = [0; SLOTS * ENTRY_LEN];
        let mut writer = Writer::new(&mut entries);
        clock.encode(&mut writer).expect("room for every entry");
        let vote = Vote {
            node: &self.node,
            epoch: self.epoch,
            request: &self.request,
            validator: &self.validator,
            verdict: self.verdict,
            slot: self.slot,
            expires_ms: self.expires_ms,
            reason_digest: &NO_REASON,
            clock: ClaimedClock::decode(writer.written()).expect("a clock that was encoded"),
        };
        let mut signed = [0; MAX_SIGNED];
        let len = vote
            .encode_signed(&mut signed)
            .expect("a clock with entries");
        let signature = key.sign(&signed[..len]);
        let mut record = vec![0; MAX_RECORD];
        let len = vote::encode_record(&signed[..len], &signature, "", &mut record)
            .expect("a canonical signature");
        record.truncate(len);
        record
    }
}

/// How a validator answers when it answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    /// A program, 2 to 60 milliseconds.
    Bot,
    /// Someone who waits for it, 0.2 to 5 seconds.
    Short,
    /// Someone who has other things to do, 2 seconds to 2 minutes.
    Long,
}

/// A validator.
pub(crate) struct Voter {
    pub(crate) key: Key,
    pub(crate) slot: u16,
    pub(crate) pace: Pace,
    /// The clock of the last vote that it signed; of the last that was accepted, when it lies.
    pub(crate) journal: NodeClock,
    /// The greatest own entry that it has signed.
    pub(crate) own: u64,
    /// Its last two records that were accepted, the last one first.
    pub(crate) accepted: [Vec<u8>; 2],
    /// The requests on which its votes were accepted, and their verdicts.
    pub(crate) voted: Vec<(usize, Verdict)>,
}

impl Voter {
    /// The clock of its next vote: what the node has seen, over what the journal has.
    pub(crate) fn clock(&mut self, node: &NodeClock) -> NodeClock {
        let mut clock = self.journal.clone();
        clock.merge(node);
        self.own += 1;
        self.with_own(clock, self.own)
    }

    /// A clock with another own entry.
    pub(crate) fn with_own(&self, mut clock: NodeClock, own: u64) -> NodeClock {
        assert!(clock.set(self.slot, own), "a validator's slot");
        clock
    }

    /// What it said on a request, if that was accepted.
    pub(crate) fn verdict(&self, request: usize) -> Option<Verdict> {
        let mut latest = self.voted.iter().rev();
        latest
            .find(|&&(on, _)| on == request)
            .map(|&(_, verdict)| verdict)
    }

    /// The entry of the node in its journal.
    pub(crate) fn seen(&self) -> u64 {
        self.journal.get(NODE_SLOT)
    }
}

/// The other verdict.
pub(crate) fn opposite(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Approve => Verdict::Deny,
        Verdict::Deny => Verdict::Approve,
    }
}
