// SPDX-License-Identifier: GPL-2.0

//! Remembered votes, against a list of all of them.

use crate::reference::encode;
use crate::Input;
use engine::byzantine::contradiction;
use engine::clock::SLOTS;
use engine::limits::VOTE_MEMORY;
use engine::memory::VoteMemory;
use engine::quorum::Verdict;
use engine::vote::{
    SignedVote,
    Vote,
    MAX_SIGNED, //
};
use std::cell::RefCell;

/// Longest vote with its signature, in bytes.
const LONGEST: usize = MAX_SIGNED + 72;

/// The bytes of a vote, and what the list goes by.
#[derive(Clone)]
struct Paper {
    signed: Vec<u8>,
    signature: Vec<u8>,
    own: u64,
    request: u8,
    verdict: Verdict,
}

impl Paper {
    fn view(&self) -> SignedVote<'_> {
        SignedVote {
            signed: &self.signed,
            vote: Vote::decode(&self.signed).unwrap(),
            signature: &self.signature,
        }
    }

    fn len(&self) -> usize {
        self.signed.len() + self.signature.len()
    }
}

thread_local! {
    /// Made once: it is large. That nothing of the last run is left is a promise of `clear`.
    static MEMORY: RefCell<VoteMemory> = RefCell::new(VoteMemory::new().unwrap());
}

/// Runs the target.
pub fn run(data: &[u8]) {
    MEMORY.with_borrow_mut(|memory| {
        memory.clear();
        assert!(memory.is_empty());
        Model {
            memory,
            all: Vec::new(),
            bytes: 0,
        }
        .run(Input::new(data));
    });
}

struct Model<'a> {
    memory: &'a mut VoteMemory,
    /// Every vote that was to be remembered.
    all: Vec<Paper>,
    /// Length of those that are.
    bytes: usize,
}

/// Makes a vote of the validator in slot 1.
fn vote(input: &mut Input<'_>, own: u64) -> Paper {
    let kind = input.u8();
    let count = match kind & 7 {
        0 if kind & 0xf0 == 0xf0 => SLOTS,
        1 if kind & 0x30 == 0 => 40,
        count => 3 + usize::from(count),
    };
    let mut entries = [0; SLOTS];
    entries[..count].fill(1 + u64::from(kind >> 6) * u64::from(input.u8() & 3));
    entries[1] = own;
    if kind & 8 != 0 {
        entries[usize::from(input.u8()) % count] = input.number();
    }
    let request = [(kind >> 4) & 3; 32];
    let clock = encode(&entries[..count]);
    let vote = Vote {
        node: &[0x11; 32],
        epoch: 1,
        request: &request,
        validator: &[0x22; 32],
        verdict: if input.u8() & 3 == 0 {
            Verdict::Deny
        } else {
            Verdict::Approve
        },
        slot: 1,
        expires_ms: 1,
        reason_digest: &[0; 32],
        clock: engine::clock::ClaimedClock::decode(&clock).unwrap(),
    };
    let mut out = [0; MAX_SIGNED];
    let len = vote.encode_signed(&mut out).unwrap();
    let signature = if kind & 0x80 == 0 {
        vec![0x30, 6, 2, 1, 1, 2, 1, 1]
    } else {
        [&[0x30, 36, 2, 1, 1, 2, 31][..], &[1; 31]].concat()
    };
    Paper {
        signed: out[..len].to_vec(),
        signature,
        own: vote.own(),
        request: request[0],
        verdict: vote.verdict,
    }
}

impl Model<'_> {
    fn run(mut self, mut input: Input<'_>) {
        while !input.is_empty() {
            let own = self.all.last().map_or(0, |last| last.own);
            match input.below(4) {
                0 | 1 => {
                    let next = own.saturating_add(input.number());
                    let paper = vote(&mut input, next);
                    self.remember(paper);
                }
                2 => {
                    // Many alike, to go round the ring.
                    let times = input.u8();
                    let times = if times < 0xfa { 1 + times % 3 } else { 50 };
                    let paper = vote(&mut input, own.saturating_add(1));
                    for step in 0..u64::from(times) {
                        let mut paper = paper.clone();
                        let Some(own) = own.checked_add(1 + step) else {
                            break;
                        };
                        set_own(&mut paper, own);
                        self.remember(paper);
                    }
                }
                _ => {
                    let own = if input.bool() { own } else { input.number() };
                    let own = own.saturating_sub(u64::from(input.u8()));
                    let paper = vote(&mut input, own);
                    self.search(&paper, input.bool());
                }
            }
        }
    }

    fn remember(&mut self, paper: Paper) {
        let last = self.all.last().map_or(0, |last| last.own);
        let before = self.memory.len();
        self.memory.remember(&paper.view());
        if paper.own <= last {
            assert_eq!(self.memory.len(), before);
            return;
        }
        self.bytes += paper.len();
        self.all.push(paper);
        let kept = self.memory.len();
        assert!((1..=before + 1).contains(&kept));
        let forgotten = &self.all[self.all.len() - before - 1..self.all.len() - kept];
        self.bytes -= forgotten.iter().map(Paper::len).sum::<usize>();
        // Of the ring, only what is left at its end and before the oldest vote is unused.
        assert!(self.bytes <= VOTE_MEMORY);
        assert!(kept == self.all.len() || self.bytes + 2 * LONGEST >= VOTE_MEMORY);
    }

    /// The votes that should be remembered.
    fn kept(&self) -> &[Paper] {
        &self.all[self.all.len() - self.memory.len()..]
    }

    fn search(&self, paper: &Paper, by_request: bool) {
        let vote = paper.view();
        let found = self.memory.contradicting(&vote, by_request);
        if let Some(found) = found {
            assert!(contradiction(&found, &vote).is_some());
            let same =
                |paper: &Paper| paper.signed == found.signed && paper.signature == found.signature;
            assert!(self.kept().iter().any(same));
            return;
        }
        let after = self.kept().partition_point(|other| other.own <= paper.own);
        let neighbours = [after.checked_sub(1), Some(after)];
        let near = neighbours
            .into_iter()
            .flatten()
            .filter_map(|place| self.kept().get(place));
        assert!(near
            .into_iter()
            .all(|paper| contradiction(&paper.view(), &vote).is_none()));
        if by_request {
            let other =
                |other: &Paper| other.request == paper.request && other.verdict != paper.verdict;
            assert!(!self.kept().iter().any(other));
        }
    }
}

/// Changes the own entry, which stands second.
fn set_own(paper: &mut Paper, own: u64) {
    let clock = &mut paper.signed[engine::vote::FIXED_LEN..];
    let entry = clock
        .chunks_exact_mut(10)
        .find(|entry| entry[..2] == [0, 1]);
    if let Some(entry) = entry {
        entry[2..].copy_from_slice(&own.to_be_bytes());
        paper.own = own;
    }
}
