// SPDX-License-Identifier: GPL-2.0

//! What a node remembers of a validator's accepted votes, to find the ones that a refused vote
//! contradicts.
//!
//! See "Detection" in `Documentation/byzantine.rst`.

use super::byzantine::contradiction;
use super::clock::ClaimedClock;
use super::limits;
use super::quorum::Verdict;
use super::request::short_id;
use super::vec::{
    NoMemory,
    Vec, //
};
use super::vote::{
    SignedVote,
    FIXED_LEN, //
};
use core::cmp::Ordering;

/// Bytes of the ring.
const BYTES: usize = limits::VOTE_MEMORY;

/// Shortest remembered vote, in bytes: one clock entry, and a signature of two one-byte numbers.
const MIN_LEN: usize = FIXED_LEN + super::clock::ENTRY_LEN + 8;

/// Places of the index: at least as many as the ring can ever hold votes. A power of two, so that a
/// remainder costs nothing.
const PLACES: usize = (BYTES / MIN_LEN).next_power_of_two();

/// Buckets of the requests.
const BUCKETS: usize = 256;

// A bucket is the first byte of a request's id, which is a digest.
const _: () = assert!(BUCKETS == 1 << u8::BITS);

/// Zeros, to fill the ring with.
static ZEROS: [u8; 4096] = [0; 4096];
const _: () = assert!(BYTES % ZEROS.len() == 0);

/// Where one vote stands.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The validator's own entry in it.
    own: u64,
    /// First bytes of the request that it is on.
    head: u64,
    /// Whether it approves.
    approves: bool,
    /// Number of the vote before it in the same bucket, 0 when there was none.
    before: usize,
    /// Where its signed bytes begin in the ring; the signature follows.
    at: usize,
    /// Length of the signed bytes.
    signed: usize,
    /// Length of both.
    len: usize,
}

/// The last accepted votes of one validator in one epoch, in a ring of [`limits::VOTE_MEMORY`]
/// bytes.
///
/// Votes are numbered from 1 in the order in which they came.
///
/// # Invariants
///
/// The votes `oldest..next` are remembered, with ascending own entries; they are at most [`PLACES`],
/// vote `n` has the index place `n % PLACES`, and its bytes, which do not wrap at the end of the
/// ring, are in no other vote.
#[derive(Debug)]
pub struct VoteMemory {
    /// The bytes of the votes.
    ring: Vec<u8>,
    /// The place of each vote.
    index: Vec<Entry>,
    /// For each first byte of a request's id the number of the last vote on such a request.
    buckets: Vec<usize>,
    /// Number of the oldest vote that is remembered.
    oldest: usize,
    /// Number of the vote that comes next.
    next: usize,
    /// Where the last vote ends in the ring.
    end: usize,
}

impl VoteMemory {
    /// Makes an empty memory, which never allocates again.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    pub fn new() -> Result<Self, NoMemory> {
        let mut ring = Vec::with_capacity(BYTES)?;
        while ring.len() < BYTES {
            ring.extend_from_slice(&ZEROS)?;
        }
        let mut index = Vec::new();
        index.fill_to(PLACES, Entry::default())?;
        let mut buckets = Vec::new();
        buckets.fill_to(BUCKETS, 0)?;
        // INVARIANT: nothing is remembered.
        Ok(Self {
            ring,
            index,
            buckets,
            oldest: 1,
            next: 1,
            end: 0,
        })
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        // INVARIANT: nothing is remembered. What a bucket still names is older than the oldest.
        self.oldest = self.next;
        self.end = 0;
    }

    /// Number of votes that are remembered.
    pub fn len(&self) -> usize {
        self.next.saturating_sub(self.oldest)
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.oldest == self.next
    }

    /// Remembers an accepted vote and forgets as many of the oldest ones as it needs room for.
    ///
    /// The own entry of each is greater than that of the one before, and at least 1, which
    /// [`check_vote`](super::clock::check_vote) sees to; another vote is not remembered.
    pub fn remember(&mut self, vote: &SignedVote<'_>) {
        let _ = self.store(vote);
    }

    /// [`VoteMemory::remember`]; [`None`] when the vote is not remembered.
    fn store(&mut self, vote: &SignedVote<'_>) -> Option<()> {
        let own = vote.vote.own();
        let last = self.entry(self.next.checked_sub(1)?);
        if own <= last.map_or(0, |last| last.own) {
            return None;
        }
        let len = vote.signed.len().checked_add(vote.signature.len())?;
        let start = self.make_room(len)?;
        let end = start.checked_add(len)?;
        let room = self.ring.get_mut(start..end)?;
        let (signed, signature) = room.split_at_mut_checked(vote.signed.len())?;
        signed.copy_from_slice(vote.signed);
        signature.copy_from_slice(vote.signature);
        let entry = Entry {
            own,
            head: short_id(vote.vote.request),
            approves: vote.vote.verdict == Verdict::Approve,
            before: *self.buckets.get(bucket_of(vote))?,
            at: start,
            signed: signed.len(),
            len,
        };
        *self.index.get_mut(self.next % PLACES)? = entry;
        *self.buckets.get_mut(bucket_of(vote))? = self.next;
        // INVARIANT: `make_room` has forgotten whatever stood in these bytes. Each vote has at least
        // `MIN_LEN`, so no more than `PLACES` have room, and the place was free.
        self.end = end;
        self.next = self.next.checked_add(1)?;
        Some(())
    }

    /// Finds room for that many bytes, forgets the votes that stand there, and says where it begins.
    fn make_room(&mut self, len: usize) -> Option<usize> {
        if !(MIN_LEN..=BYTES).contains(&len) {
            return None;
        }
        let behind = self.end.checked_add(len)?;
        let wraps = behind > BYTES;
        while let Some(oldest) = self.entry(self.oldest) {
            let stays = if wraps {
                (len..self.end).contains(&oldest.at)
            } else {
                !(self.end..behind).contains(&oldest.at)
            };
            if stays {
                break;
            }
            self.oldest = self.oldest.checked_add(1)?;
        }
        Some(if wraps { 0 } else { self.end })
    }

    /// Returns where vote `number` stands, if it is remembered.
    fn entry(&self, number: usize) -> Option<&Entry> {
        if (self.oldest..self.next).contains(&number) {
            self.index.get(number % PLACES)
        } else {
            None
        }
    }

    /// The signed bytes of a vote, and its signature.
    fn bytes(&self, entry: &Entry) -> Option<&[u8]> {
        self.ring.get(entry.at..entry.at.checked_add(entry.len)?)
    }

    /// Returns vote `number`, if it is remembered.
    fn vote(&self, number: usize) -> Option<SignedVote<'_>> {
        let entry = self.entry(number)?;
        let bytes = self.bytes(entry)?;
        let (signed, signature) = bytes.split_at_checked(entry.signed)?;
        SignedVote::skim(signed, signature).ok()
    }

    /// Number of the first vote whose own entry is greater than `own`, or of the next one.
    fn first_after(&self, own: u64) -> usize {
        let (mut low, mut high) = (self.oldest, self.next);
        while low < high {
            let middle = low.midpoint(high);
            if self.entry(middle).is_some_and(|entry| entry.own <= own) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        low
    }

    /// Finds a remembered vote that contradicts this one of the same validator: of those that do,
    /// the neighbours by own entry first. The signature of `vote` is for the caller to verify.
    ///
    /// Remembered clocks form a chain, so a fork and a regression show against a neighbour. With
    /// `by_request`, the vote on the same request is compared, too, whatever its own entry.
    pub fn contradicting(&self, vote: &SignedVote<'_>, by_request: bool) -> Option<SignedVote<'_>> {
        let own = vote.vote.own();
        let contradicts = |number| self.neighbour(number, vote, own);
        let after = self.first_after(own);
        after
            .checked_sub(1)
            .and_then(contradicts)
            .or_else(|| contradicts(after))
            .or_else(|| by_request.then(|| self.on_request(vote)).flatten())
    }

    /// Vote `number`, if it contradicts `vote`, which has that own entry. What shows without decoding
    /// that it does not is looked at first.
    fn neighbour(&self, number: usize, vote: &SignedVote<'_>, own: u64) -> Option<SignedVote<'_>> {
        let entry = self.entry(number)?;
        let signed = self.bytes(entry)?.get(..entry.signed)?;
        let clock = ClaimedClock::skim(signed.get(FIXED_LEN..)?);
        let suspect = may_equivocate(entry, vote)
            || match entry.own.cmp(&own) {
                Ordering::Less => clock.exceeds(&vote.vote.clock),
                Ordering::Equal => signed != vote.signed,
                Ordering::Greater => vote.vote.clock.exceeds(&clock),
            };
        if !suspect {
            return None;
        }
        self.vote(number)
            .filter(|other| contradiction(other, vote).is_some())
    }

    /// The remembered vote on the same request, if its verdict is the other one.
    fn on_request(&self, vote: &SignedVote<'_>) -> Option<SignedVote<'_>> {
        let mut number = *self.buckets.get(bucket_of(vote))?;
        while let Some(entry) = self.entry(number) {
            // Whatever else there is shows against a neighbour.
            if may_equivocate(entry, vote) {
                let other = self
                    .vote(number)
                    .filter(|other| contradiction(other, vote).is_some());
                if other.is_some() {
                    return other;
                }
            }
            number = entry.before;
        }
        None
    }
}

/// Whether the vote at `entry` is on the same request with the other verdict, or on one that begins
/// likewise.
fn may_equivocate(entry: &Entry, vote: &SignedVote<'_>) -> bool {
    entry.approves != (vote.vote.verdict == Verdict::Approve)
        && entry.head == short_id(vote.vote.request)
}

/// The bucket of the request that a vote is on.
fn bucket_of(vote: &SignedVote<'_>) -> usize {
    let [first, ..] = *vote.vote.request;
    usize::from(first)
}
