// SPDX-License-Identifier: GPL-2.0

//! Vector clocks and the causal chain.
//!
//! See "Vector clock" and "Event and causal chain" in `Documentation/wire-format.rst`. Slot 0 of a
//! clock belongs to the node, slots 1 to 128 to the validators.

use super::limits;
use super::refusal::Refusal;
use super::wire::{
    self,
    Digest,
    Error,
    Reader,
    Writer, //
};
use core::cmp::Ordering;

/// Slots of a node's clock: the node itself and every validator.
pub const SLOTS: usize = limits::VALIDATORS + 1;

/// Bytes of one entry in the encoding of a clock.
pub const ENTRY_LEN: usize = 10;

/// The slot of the node itself.
pub const NODE_SLOT: u16 = 0;

/// The clock of a node.
pub type NodeClock = VectorClock<SLOTS>;

/// A vector clock with `N` entries, all zero at first.
///
/// The partial order is the causal one: `a <= b` when no entry of `a` is greater than that of `b`.
///
/// # Invariants
///
/// The entries from `end` on are zero.
#[derive(Clone, Debug)]
pub struct VectorClock<const N: usize> {
    /// Number of the last event of each slot, zero for a slot that has had none.
    entries: [u64; N],
    /// Slots that are looked at: most nodes have few validators.
    end: usize,
}

impl<const N: usize> PartialEq for VectorClock<N> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<const N: usize> Eq for VectorClock<N> {}

impl<const N: usize> Default for VectorClock<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> VectorClock<N> {
    /// Makes a clock of zeros. It holds `8 * N` bytes: the kernel makes it in place on the heap.
    #[inline(always)]
    pub const fn new() -> Self {
        // INVARIANT: all are zero.
        Self {
            entries: [0; N],
            end: 0,
        }
    }

    /// Sets every entry to zero.
    pub fn clear(&mut self) {
        // INVARIANT: as in `new`.
        self.entries.fill(0);
        self.end = 0;
    }

    /// Makes this clock equal to `other` in place.
    pub fn copy_from(&mut self, other: &Self) {
        // INVARIANT: that of `other`.
        self.entries.copy_from_slice(&other.entries);
        self.end = other.end;
    }

    /// The entries up to the last one that is not zero, and perhaps some more.
    fn used(&self) -> &[u64] {
        self.entries.get(..self.end).unwrap_or(&self.entries)
    }

    /// Whether the entries from `start` to before `end` are zero.
    #[inline]
    fn is_zero(&self, start: usize, end: usize) -> bool {
        let end = end.min(self.end);
        // Without branches for each entry, which cost more than they save.
        start >= end
            || self
                .entries
                .get(start..end)
                .is_some_and(|entries| entries.iter().fold(0, |any, &entry| any | entry) == 0)
    }

    /// Returns the entry of `slot`, to be changed.
    fn entry(&mut self, slot: u16) -> Option<&mut u64> {
        let place = usize::from(slot);
        let entry = self.entries.get_mut(place)?;
        // INVARIANT: what is changed is before the end.
        self.end = self.end.max(place.wrapping_add(1));
        Some(entry)
    }

    /// Returns the entry of `slot`; zero for a slot that the clock does not have.
    pub fn get(&self, slot: u16) -> u64 {
        self.entries.get(usize::from(slot)).copied().unwrap_or(0)
    }

    /// Sets the entry of `slot`, and says whether the clock has it.
    #[must_use = "a clock without that slot is left as it was"]
    pub fn set(&mut self, slot: u16, value: u64) -> bool {
        match self.entry(slot) {
            Some(entry) => {
                *entry = value;
                true
            }
            None => false,
        }
    }

    /// Adds one to the entry of `slot` and returns it: the number of the new event.
    ///
    /// Returns [`None`], and changes nothing, for a slot that the clock does not have or an entry
    /// that is at its end.
    #[must_use = "the tick may have been refused"]
    pub fn tick(&mut self, slot: u16) -> Option<u64> {
        let entry = self.entry(slot)?;
        *entry = entry.checked_add(1)?;
        Some(*entry)
    }

    /// Whether no entry of `other` is greater than that of this clock.
    pub fn dominates(&self, other: &Self) -> bool {
        self.entries.iter().zip(other.used()).all(|(a, b)| a >= b)
    }

    /// Raises each entry to that of `other`: the least clock that dominates both.
    pub fn merge(&mut self, other: &Self) {
        for (a, b) in self.entries.iter_mut().zip(other.used()) {
            *a = (*a).max(*b);
        }
        // INVARIANT: behind both ends all are zero.
        self.end = self.end.max(other.end);
    }

    /// Turns the clock of a validator's last vote into the smallest one that its next vote needs.
    ///
    /// Its own entry is raised by one, that of the node to `created` of the request. Returns `false`,
    /// and changes nothing, when `slot` is not a validator's or its entry is at its end.
    #[must_use = "the clock may be unchanged"]
    pub fn next_vote(&mut self, slot: u16, created: u64) -> bool {
        if slot == NODE_SLOT || self.tick(slot).is_none() {
            return false;
        }
        let seen = self.get(NODE_SLOT).max(created);
        self.set(NODE_SLOT, seen)
    }

    /// Iterates over the entries that are not zero, in ascending order of slot.
    pub fn iter(&self) -> impl Iterator<Item = (u16, u64)> + '_ {
        // A `zip` with `u16` numbers ends with the last number that the encoding has.
        (0..=u16::MAX)
            .zip(self.used().iter().copied())
            .filter(|&(_, value)| value != 0)
    }

    /// Number of entries that are not zero.
    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// Appends the entries that are not zero; their number is not part of the encoding.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when they do not fit.
    pub fn encode(&self, out: &mut Writer<'_>) -> wire::Result {
        for (slot, value) in self.iter() {
            out.u16(slot)?;
            out.u64(value)?;
        }
        Ok(())
    }

    /// Appends the number of entries that are not zero, then those entries.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when they do not fit.
    pub fn put(&self, out: &mut Writer<'_>) -> wire::Result {
        out.u16(u16::try_from(self.count()).map_err(|_| Error::Field("clock entries"))?)?;
        self.encode(out)
    }

    /// Makes this clock equal to an encoded one in place; it is left as it was on an error. A
    /// [`ClaimedClock`] is loaded by its [`as_bytes`](ClaimedClock::as_bytes).
    ///
    /// # Errors
    ///
    /// Those of [`ClaimedClock::decode`], or [`Error::Field`] for a slot that this clock lacks.
    pub fn decode(&mut self, bytes: &[u8]) -> wire::Result {
        let claimed = ClaimedClock::decode(bytes)?;
        if claimed.iter().any(|(slot, _)| usize::from(slot) >= N) {
            return Err(Error::Field("clock slot"));
        }
        self.clear();
        for (slot, value) in claimed.iter() {
            if !self.set(slot, value) {
                return Err(Error::Field("clock slot"));
            }
        }
        Ok(())
    }
}

impl<const N: usize> PartialOrd for VectorClock<N> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.dominates(other), other.dominates(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

/// A clock as it stands in a vote: a view of the encoded bytes.
///
/// # Invariants
///
/// `bytes` is a whole number of entries, at most [`SLOTS`], in strictly ascending order of slot,
/// with slots below [`SLOTS`] and values of at least 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClaimedClock<'a> {
    bytes: &'a [u8],
}

impl<'a> ClaimedClock<'a> {
    /// Checks the encoding of a clock.
    ///
    /// # Errors
    ///
    /// [`Error::Short`] for a part of an entry, [`Error::Field`] for a slot or value out of range or
    /// out of order.
    pub fn decode(bytes: &'a [u8]) -> wire::Result<Self> {
        let mut reader = Reader::new(bytes);
        let mut next: u16 = 0;
        while !reader.rest().is_empty() {
            let slot = reader.u16()?;
            if slot < next || usize::from(slot) >= SLOTS {
                return Err(Error::Field("clock slot"));
            }
            if reader.u64()? == 0 {
                return Err(Error::Field("clock value"));
            }
            next = slot.saturating_add(1);
        }
        // INVARIANT: the loop has seen whole entries only; ascending slots below `SLOTS` bound
        // their number.
        Ok(Self { bytes })
    }

    /// Takes the encoding of a clock that was decoded once already.
    pub(super) fn skim(bytes: &'a [u8]) -> Self {
        // INVARIANT: by the caller, who has kept the bytes as they were.
        Self { bytes }
    }

    /// Takes a `u16` number of entries and that many entries.
    pub(super) fn take(reader: &mut Reader<'a>) -> wire::Result<Self> {
        let entries = usize::from(reader.u16()?);
        if entries > SLOTS {
            return Err(Error::Field("clock entries"));
        }
        Self::decode(reader.bytes(entries.saturating_mul(ENTRY_LEN))?)
    }

    /// Appends the number of entries, then the entries.
    pub(super) fn put(&self, out: &mut Writer<'_>) -> wire::Result {
        out.u16(u16::try_from(self.count()).map_err(|_| Error::Field("clock entries"))?)?;
        out.bytes(self.bytes)
    }

    /// The encoded entries.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of entries.
    pub fn count(&self) -> usize {
        self.bytes.len() / ENTRY_LEN
    }

    /// Iterates over the entries, in ascending order of slot.
    pub fn iter(&self) -> ClaimedIter<'a> {
        ClaimedIter {
            reader: Reader::new(self.bytes),
        }
    }

    /// Returns the entry of `slot`; zero when there is none.
    #[inline]
    pub fn get(&self, slot: u16) -> u64 {
        // Most clocks leave no slot out before it.
        let start = usize::from(slot).saturating_mul(ENTRY_LEN);
        let there = self.bytes.get(start..start.saturating_add(ENTRY_LEN));
        match there.map(entry) {
            Some((at, value)) if at == slot => value,
            _ => self.search(slot),
        }
    }

    /// [`ClaimedClock::get`] in a clock that leaves slots out.
    fn search(&self, slot: u16) -> u64 {
        // Slots ascend from 0 on, so it is not behind the place of its number.
        let end = usize::from(slot).saturating_mul(ENTRY_LEN);
        let before = self.bytes.get(..end).unwrap_or(self.bytes);
        before
            .rchunks_exact(ENTRY_LEN)
            .map(entry)
            .find(|&(at, _)| at <= slot)
            .filter(|&(at, _)| at == slot)
            .map_or(0, |(_, value)| value)
    }

    /// Whether the entries are those of the first slots, with none left out.
    #[inline]
    fn is_dense(&self) -> bool {
        // Slots ascend from 0 on: none is left out when the last one is in the place of its number.
        let last = self.bytes.rchunks_exact(ENTRY_LEN).next();
        last.is_some_and(|last| usize::from(entry(last).0).wrapping_add(1) == self.count())
    }

    /// Compares the clock with the last one of the same validator and with that of the node, in one
    /// walk.
    ///
    /// Returns how many entries are greater than the node's; [`None`] when one is less than that of
    /// `last`.
    fn compare<const N: usize>(
        &self,
        last: &VectorClock<N>,
        node: &VectorClock<N>,
    ) -> Option<usize> {
        let entries = self.bytes.chunks_exact(ENTRY_LEN).map(entry);
        // Counted, since adding a carry is cheaper than keeping a flag.
        let (mut ahead, mut behind, mut next) = (0usize, 0usize, self.count());
        if self.is_dense() && next <= N {
            for (((_, value), &last), &node) in entries.zip(&last.entries).zip(&node.entries) {
                behind = behind.wrapping_add(usize::from(value < last));
                ahead = ahead.wrapping_add(usize::from(value > node));
            }
        } else {
            next = 0;
            for (slot, value) in entries {
                let regresses = value < last.get(slot) || !last.is_zero(next, usize::from(slot));
                behind = behind.wrapping_add(usize::from(regresses));
                ahead = ahead.wrapping_add(usize::from(value > node.get(slot)));
                next = usize::from(slot).wrapping_add(1);
            }
        }
        (behind == 0 && last.is_zero(next, N)).then_some(ahead)
    }

    /// Whether some entry is greater than that of `other`.
    pub fn exceeds(&self, other: &ClaimedClock<'_>) -> bool {
        let mut entries = self.bytes.chunks_exact(ENTRY_LEN).map(entry);
        let mut others = other.bytes.chunks_exact(ENTRY_LEN).map(entry);
        if self.is_dense() && other.is_dense() {
            return self.count() > other.count()
                || entries
                    .zip(others)
                    .any(|((_, value), (_, other))| value > other);
        }
        // Both run in ascending order of slot, so one walk compares them.
        entries.any(|(at, value)| match others.find(|&(slot, _)| slot >= at) {
            Some((slot, other)) => slot != at || other < value,
            None => true,
        })
    }
}

/// Reads one entry out of its [`ENTRY_LEN`] bytes.
#[inline(always)]
fn entry(bytes: &[u8]) -> (u16, u64) {
    match *bytes {
        [a, b, c, d, e, f, g, h, i, j] => (
            u16::from_be_bytes([a, b]),
            u64::from_be_bytes([c, d, e, f, g, h, i, j]),
        ),
        _ => (0, 0),
    }
}

/// Iterator over the entries of a [`ClaimedClock`].
#[derive(Clone, Debug)]
pub struct ClaimedIter<'a> {
    reader: Reader<'a>,
}

impl Iterator for ClaimedIter<'_> {
    type Item = (u16, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let slot = self.reader.u16().ok()?;
        let value = self.reader.u64().ok()?;
        Some((slot, value))
    }
}

/// Whether everything that the clock of a vote claims has arrived.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use = "an early vote is not accepted yet"]
pub enum Timing {
    /// It has: the vote may be accepted.
    Now,
    /// It claims votes of other validators that this node has not seen: the vote is held, once its
    /// signature has been verified.
    Early,
}

/// Judges the clock of a vote by the validator in `slot`.
///
/// `last` is the clock of that validator's last accepted vote (zeros at first), `node` this node's
/// clock and `created` the node's entry at the request. The rules are checked in the order of the
/// document and the first that fails is returned; failing only the last one is
/// [`Timing::Early`].
///
/// # Errors
///
/// [`Refusal::ClockNotLater`], [`Refusal::ClockRegresses`], [`Refusal::ClockLeap`],
/// [`Refusal::ClockBeforeRequest`], [`Refusal::ClockUnseen`]; [`Refusal::VoteUnknownValidator`] for
/// a slot that is not a validator's.
pub fn check_vote<const N: usize>(
    claimed: &ClaimedClock<'_>,
    slot: u16,
    last: &VectorClock<N>,
    node: &VectorClock<N>,
    created: u64,
) -> Result<Timing, Refusal> {
    if slot == NODE_SLOT || usize::from(slot) >= N {
        return Err(Refusal::VoteUnknownValidator);
    }
    let own = claimed.get(slot);
    let own_last = last.get(slot);
    if own <= own_last {
        return Err(Refusal::ClockNotLater);
    }
    let ahead = claimed.compare(last, node).ok_or(Refusal::ClockRegresses)?;
    if own > own_last.saturating_add(limits::CLOCK_LEAP) {
        return Err(Refusal::ClockLeap);
    }
    let seen = claimed.get(NODE_SLOT);
    if seen < created {
        return Err(Refusal::ClockBeforeRequest);
    }
    // What this node has not done yet cannot arrive: only it could have said so.
    if seen > node.get(NODE_SLOT) {
        return Err(Refusal::ClockUnseen);
    }
    // The node's own entry is not ahead, and the validator's own entry is what the vote is for.
    let unseen = ahead > usize::from(own > node.get(slot));
    Ok(if unseen { Timing::Early } else { Timing::Now })
}

/// Event numbers that an epoch has: the high half of a number says which epoch it is of.
pub const EPOCH_STRIDE: u64 = 1 << 32;

/// Returns the node's own clock entry when a load with that epoch begins, `epoch * 2^32`: its
/// first event has the number after it.
///
/// An epoch beyond 2^32 - 1 gives the greatest entry, from which no clock ticks on.
pub const fn first_number(epoch: u64) -> u64 {
    epoch.saturating_mul(EPOCH_STRIDE)
}

/// Returns the epoch that an event's number belongs to; 0 for one of a load without a TPM.
pub const fn epoch_of(number: u64) -> u64 {
    number >> EPOCH_STRIDE.trailing_zeros()
}

/// Magic of the chain's first input.
pub const CHAIN_MAGIC: &[u8; 8] = b"TCPLCHN2";

/// Bytes of the chain's first input.
pub const GENESIS_LEN: usize = 80;

/// The head that a load without a past goes on from.
pub const NO_HEAD: [u8; 32] = [0; 32];

/// The causal chain: a running digest over every event of one load.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Chain {
    head: [u8; 32],
}

impl Chain {
    /// The bytes whose digest is `chain[0]`. `previous` is the head in the state that the load goes
    /// on from, [`NO_HEAD`] without one.
    pub fn genesis_input(node: &[u8; 32], epoch: u64, previous: &[u8; 32]) -> [u8; GENESIS_LEN] {
        let mut input = [0; GENESIS_LEN];
        let epoch = epoch.to_be_bytes();
        let bytes = CHAIN_MAGIC.iter().chain(node).chain(&epoch).chain(previous);
        for (to, from) in input.iter_mut().zip(bytes) {
            *to = *from;
        }
        input
    }

    /// Starts the chain of one load, see [`Chain::genesis_input`].
    pub fn new<D: Digest>(node: &[u8; 32], epoch: u64, previous: &[u8; 32]) -> Self {
        Self {
            head: D::sha256(&[&Self::genesis_input(node, epoch, previous)]),
        }
    }

    /// Goes on from a known head, as a reader of an exported log does.
    pub fn from_head(head: [u8; 32]) -> Self {
        Self { head }
    }

    /// The digest over everything so far.
    pub fn head(&self) -> &[u8; 32] {
        &self.head
    }

    /// Extends the chain by one event, given as its encoded header and its payload.
    pub fn extend<D: Digest>(&mut self, header: &[u8], payload: &[u8]) {
        self.head = D::sha256(&[&self.head, header, payload]);
    }
}

/// What a node knows of its own past: where it is, who it is, and the proof of both.
///
/// The C name is `tcp_secure_vector_clock`. The kernel makes it in place on the heap: it holds more
/// than a kilobyte.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecureVectorClock {
    /// The node's clock; the entry of slot 0 is the number of its last event.
    pub logical_time: NodeClock,
    /// The node's name.
    pub node_id: [u8; 32],
    /// MAC of the last state that was committed, under the key that only the TPM releases; zeros
    /// before the first one and without a TPM.
    pub signature: [u8; 32],
    /// The chain over the events of this load.
    pub causal_chain: Chain,
}

impl SecureVectorClock {
    /// Starts one load of a node, before its first event. See [`Chain::genesis_input`] for
    /// `previous`.
    #[inline(always)]
    pub fn new<D: Digest>(node: &[u8; 32], epoch: u64, previous: &[u8; 32]) -> Self {
        let mut logical_time = NodeClock::new();
        // The clock of a node has the node's slot.
        let _ = logical_time.set(NODE_SLOT, first_number(epoch));
        Self {
            logical_time,
            node_id: *node,
            signature: [0; 32],
            causal_chain: Chain::new::<D>(node, epoch, previous),
        }
    }
}
