// SPDX-License-Identifier: GPL-2.0

//! How far each validator's signed behaviour speaks for it.
//!
//! See "Reputation" in `Documentation/byzantine.rst`. A reputation never ejects anybody and weighs no
//! vote. The tables hold eight validators in one word, a *lane* of 8 bits each: a vote costs a few
//! operations for eight validators, with neither floating point nor vector registers, which the
//! kernel may not use.

use super::limits;
use super::quorum::{
    slot_bit,
    Verdict, //
};
use super::request::short_id;
use super::vec::{
    NoMemory,
    Vec, //
};
use super::wire::{
    self,
    Error,
    Reader,
    Writer, //
};

/// The greatest score, and the first.
pub const PRISTINE: u16 = 10_000;

/// Below this a validator is suspected.
pub const SUSPECTED: u16 = 8000;

/// Below this a validator is distrusted, which raises thresholds.
pub const DISTRUSTED: u16 = 5000;

/// From this on thresholds need not be raised any more.
pub const TRUSTED_AGAIN: u16 = 6000;

/// Steps of a score.
const STEP: u16 = 100;

/// All that can be lost of a score, in steps.
const WHOLE: u8 = 100;

/// What one penalty takes off a score, in steps.
const PENALTY: u8 = 10;

/// What timing takes off a score at most, in steps: enough to be suspected.
const TIMING_LOSS: u8 = 30;

/// Losses, in steps, from which a score is below [`TRUSTED_AGAIN`] and below [`DISTRUSTED`].
const DOUBT: (u8, u8) = (41, 51);

/// A bias that costs a penalty, and what it is afterwards, in quarters of a decision.
pub const BIAS: (u8, u8) = (16, 8);

/// A timing that costs a penalty, and what it is afterwards, in sixteenths of a vote.
pub const TIMING: (u8, u8) = (96, 48);

/// What is taken off a timing with each vote besides chance, in sixteenths.
const SLACK: u32 = 3;

/// Chance at first: a half, in 2^-16.
const CHANCE: u32 = 1 << 15;

/// Votes over which chance is averaged.
const CHANCE_VOTES: u32 = 32;

/// Milliseconds of a tick: votes of one tick and the one before it are together.
const TICK_MS: u64 = 50;

/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

/// Hours in which losses and sums are halved.
const HALVING_HOURS: u64 = 8;

/// Requests whose last votes are remembered.
const RECENT: usize = 4;

/// Validators in one word.
const PER_WORD: usize = 8;

/// Words that hold a lane for each validator.
pub(super) const WORDS: usize = limits::VALIDATORS / PER_WORD;

// A byte of a set of slots for each word.
const _: () = assert!(PER_WORD == u8::BITS as usize && WORDS * 8 == u128::BITS as usize);

/// Penalties by bias in one hour.
const PER_HOUR: u8 = 3;

/// The lowest bit of each lane.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The highest bit of each lane. No lane holds it between two operations.
const TOPS: u64 = ONES << 7;

// A sum that is about to be compared, and a count until it is flushed, stay below the highest bit.
const _: () = assert!(TIMING.0 + 16 < 1 << 7 && BIAS.0 + 4 < 1 << 7 && WHOLE + PENALTY < 1 << 7);
const _: () = assert!(WORDS < 1 << 7 && WORDS * PER_WORD == limits::VALIDATORS);
const _: () = assert!(WHOLE as u16 * STEP == PRISTINE);
const _: () = assert!(PRISTINE - (DOUBT.0 as u16 - 1) * STEP == TRUSTED_AGAIN);
const _: () = assert!(PRISTINE - (DOUBT.1 as u16 - 1) * STEP == DISTRUSTED);

/// Puts `value` into each lane.
const fn lanes(value: u8) -> u64 {
    // CAST: Widening; `u64::from` is not `const`.
    ONES.wrapping_mul(value as u64)
}

/// For each byte a 1 in the lanes whose bits it sets.
static SPREAD: [u64; 256] = {
    let mut table = [0u64; 256];
    let mut byte = 0;
    while byte < table.len() {
        // CAST: Widening; `u64::from` is not `const`.
        let bits = (byte as u64).wrapping_mul(ONES) & 0x8040_2010_0804_0201;
        table[byte] = (bits.wrapping_add(!TOPS) >> 7) & ONES;
        byte += 1;
    }
    table
};

/// Iterates over the words that go with a set of slots (little endian): a 1 in the lane of each.
#[inline(always)]
pub(super) fn spread(set: &[u8; WORDS]) -> impl ExactSizeIterator<Item = u64> + '_ {
    set.iter()
        .map(|&byte| SPREAD.get(usize::from(byte)).copied().unwrap_or(0))
}

/// Returns the highest bits of the lanes, in their order.
#[inline(always)]
pub(super) fn gather(tops: u64) -> u8 {
    let bits = (tops & TOPS).wrapping_mul(0x0002_0408_1020_4081) >> 56;
    u8::try_from(bits).unwrap_or(0)
}

/// Returns all bits but the highest of each lane whose highest bit is set.
#[inline(always)]
fn full(tops: u64) -> u64 {
    let tops = tops & TOPS;
    tops.wrapping_sub(tops >> 7)
}

/// Sets the highest bit of each lane that is at least `limit`, and some others.
#[inline(always)]
pub(super) fn reaches(word: u64, limit: u8) -> u64 {
    word.wrapping_add(lanes((1u8 << 7).wrapping_sub(limit)))
}

/// Returns `max(0, lane + gain - loss)` for each lane.
#[inline(always)]
fn sum(word: u64, gain: u64, loss: u64) -> u64 {
    let sum = (word | TOPS).wrapping_add(gain).wrapping_sub(loss);
    sum & full(sum)
}

/// Puts `value` into the lanes whose highest bit `tops` has.
#[inline(always)]
fn reset(word: u64, tops: u64, value: u8) -> u64 {
    let full = full(tops);
    (word & !full) | (lanes(value) & full)
}

/// Returns the sum of all lanes, which has to be below 2^8.
#[inline(always)]
fn total(word: u64) -> u8 {
    u8::try_from(word.wrapping_mul(ONES) >> 56).unwrap_or(0)
}

/// Halves lanes, some number of times.
#[derive(Clone, Copy)]
struct Halving {
    shift: u32,
    /// The bits that are left of each lane.
    rest: u64,
}

impl Halving {
    fn new(times: u32) -> Self {
        Self {
            shift: times % u64::BITS,
            // Nothing is left of a lane after seven times, so that no more matters to the shift.
            rest: lanes(0x7f_u8.checked_shr(times).unwrap_or(0)),
        }
    }

    /// Halves each lane of a word.
    #[inline(always)]
    fn of(self, word: u64) -> u64 {
        (word >> self.shift) & self.rest
    }
}

/// Adds 1 to the lanes that `ones` has, up to 2^7 - 1.
#[inline(always)]
pub(super) fn count(word: u64, ones: u64) -> u64 {
    let word = word.wrapping_add(ones);
    word.wrapping_sub((word & TOPS) >> 7)
}

/// Returns one lane of a word.
pub(super) fn lane(word: u64, shift: u32) -> u8 {
    // The mask leaves 7 bits.
    u8::try_from(word.checked_shr(shift).unwrap_or(0) & 0x7f).unwrap_or(0)
}

/// Where the lane of a slot is: its word, and the shift there. [`None`] unless it is 1 to 128.
pub(super) fn place(slot: u16) -> Option<(usize, u32)> {
    let index = slot.checked_sub(1)?;
    let shift = u32::from(index % 8).wrapping_mul(8);
    let index = usize::from(index);
    (index < limits::VALIDATORS).then_some((index / PER_WORD, shift))
}

/// Takes the slots of a set one by one, in ascending order.
fn slots(mut set: u128) -> impl Iterator<Item = u16> {
    core::iter::from_fn(move || {
        let place = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        u16::try_from(place.wrapping_add(1))
            .ok()
            .filter(|_| place < u128::BITS)
    })
}

/// What outlives a load.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kept {
    /// What bias has left of it: 0 to [`PRISTINE`], a multiple of 100.
    pub score: u16,
    /// One-sided cumulative sum of disagreements, in quarters: 0 to 15.
    pub bias: u16,
    /// Decisions that it voted for.
    pub agreed: u64,
    /// Decisions that it voted against.
    pub disagreed: u64,
}

impl Kept {
    /// What a validator begins with.
    pub const PRISTINE: Self = Self {
        score: PRISTINE,
        bias: 0,
        agreed: 0,
        disagreed: 0,
    };

    /// Bytes of the encoding.
    pub const LEN: usize = 20;

    /// Appends the encoding.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when it does not fit.
    pub fn put(&self, out: &mut Writer<'_>) -> wire::Result {
        out.u16(self.score)?;
        out.u16(self.bias)?;
        out.u64(self.agreed)?;
        out.u64(self.disagreed)
    }

    /// Takes what [`Kept::put`] appends.
    ///
    /// # Errors
    ///
    /// [`Error::Short`], or [`Error::Field`] for a score or bias that no validator can have.
    pub fn take(reader: &mut Reader<'_>) -> wire::Result<Self> {
        let kept = Self {
            score: reader.u16()?,
            bias: reader.u16()?,
            agreed: reader.u64()?,
            disagreed: reader.u64()?,
        };
        if kept.score > PRISTINE || kept.score % STEP != 0 {
            return Err(Error::Field("score"));
        }
        if kept.bias >= u16::from(BIAS.0) {
            return Err(Error::Field("bias"));
        }
        Ok(kept)
    }
}

/// A reputation, to be shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct View {
    /// What bias and timing have left of it: 0 to [`PRISTINE`], a multiple of 100.
    pub score: u16,
    /// What outlives the load.
    pub kept: Kept,
    /// Its greatest timing, in sixteenths: 0 to 95.
    pub timing: u16,
    /// Slot of the validator that it follows so often; [`None`] when no timing is above 0.
    pub partner: Option<u16>,
}

/// What eight validators share words for.
#[derive(Clone, Copy, Debug, Default)]
struct Eight {
    /// What bias has taken off each score, in steps.
    lost: u64,
    /// What timing has, likewise.
    late: u64,
    bias: u64,
    /// Penalties by bias in this hour.
    penalties: u64,
    /// Judged since the words were flushed.
    judged: u64,
    /// Those of `judged` that went against the decision.
    disagreed: u64,
}

impl Eight {
    /// Those of `judged` that went with the decision.
    #[inline(always)]
    fn agreed(&self) -> u64 {
        // No lane borrows from the next, since none has disagreed more often than it was judged.
        self.judged.wrapping_sub(self.disagreed)
    }

    /// Those whose score is below [`TRUSTED_AGAIN`], and those below [`DISTRUSTED`], but for timing.
    #[inline(always)]
    fn rate(&self) -> (u8, u8) {
        (
            gather(reaches(self.lost, DOUBT.0)),
            gather(reaches(self.lost, DOUBT.1)),
        )
    }

    /// Judges those of `ones`, of whom those of `against` have said the other thing. Returns whether
    /// somebody has lost by that.
    #[inline(always)]
    fn judge(&mut self, ones: u64, against: u64) -> bool {
        self.judged = self.judged.wrapping_add(ones);
        self.disagreed = self.disagreed.wrapping_add(against);
        self.bias = sum(self.bias, against << 2, ones);
        let over = reaches(self.bias, BIAS.0) & TOPS;
        if over == 0 {
            return false;
        }
        self.bias = reset(self.bias, over, BIAS.1);
        let ones = (over & !reaches(self.penalties, PER_HOUR)) >> 7;
        self.penalties = self.penalties.wrapping_add(ones);
        let lost = self
            .lost
            .wrapping_add(ones.wrapping_mul(u64::from(PENALTY)));
        // INVARIANT: at most WHOLE.
        self.lost = reset(lost, reaches(lost, WHOLE), WHOLE);
        true
    }
}

/// What each validator has for itself.
#[derive(Clone, Copy, Debug)]
struct One {
    agreed: u64,
    disagreed: u64,
    /// How many of those who voted before it did so just before, in 2^-16 of them.
    chance: u32,
    /// Until when its timings need not be halved, in hours.
    halved: u64,
}

impl One {
    const FIRST: Self = Self {
        agreed: 0,
        disagreed: 0,
        chance: CHANCE,
        halved: 0,
    };

    /// How often its timings have still to be halved, as of `hour`.
    fn halvings(&self, hour: u64) -> u32 {
        let times = (hour / HALVING_HOURS + 1).saturating_sub(self.halved / HALVING_HOURS);
        u32::try_from(times).unwrap_or(u32::MAX)
    }

    /// What is taken off each timing with a vote, in sixteenths.
    fn loss(&self) -> u8 {
        // Rounded up, at most 16 without the slack.
        let loss = (self.chance.wrapping_add(0xfff) >> 12).wrapping_add(SLACK);
        u8::try_from(loss).unwrap_or(u8::MAX >> 1)
    }

    /// Takes into account that `company` of `others`, who voted before, did so just before.
    fn learn(&mut self, company: u8, others: u8) {
        let share = (u32::from(company) << 16)
            .checked_div(u32::from(others))
            .unwrap_or(0);
        // INVARIANT: between two numbers that are at most 2^16.
        self.chance = if share >= self.chance {
            self.chance
                .wrapping_add(share.wrapping_sub(self.chance) / CHANCE_VOTES)
        } else {
            self.chance
                .wrapping_sub(self.chance.wrapping_sub(share) / CHANCE_VOTES)
        };
    }
}

/// Who voted lately on one request.
#[derive(Clone, Copy, Debug)]
struct Recent {
    /// First bytes of the request's id. It is a digest of what the kernel has drawn, too, so nobody
    /// can make two of them alike, and there are never many at once.
    head: u64,
    /// When it was voted on last, in ticks.
    tick: u64,
    /// Who voted in that tick.
    now: u128,
    /// Who voted in the tick before.
    before: u128,
    /// Who voted.
    voted: u128,
}

impl Recent {
    const NONE: Self = Self {
        head: 0,
        tick: 0,
        now: 0,
        before: 0,
        voted: 0,
    };

    /// Adds a vote in `tick`, and returns who voted just before.
    fn add(&mut self, bit: u128, tick: u64) -> [u128; 2] {
        match tick.saturating_sub(self.tick) {
            0 => {}
            1 => self.before = core::mem::take(&mut self.now),
            _ => (self.before, self.now) = (0, 0),
        }
        self.tick = self.tick.max(tick);
        let company = (self.before | self.now) & !bit;
        self.now |= bit;
        let voted = self.voted & !bit;
        self.voted |= bit;
        [company, voted]
    }
}

/// The reputations of all validators.
///
/// # Invariants
///
/// The vectors have the lengths that [`Reputations::new`] gives them. Every lane is below 2^7.
/// `high` is that of `enrolled`. `doubted` and `distrusted` are the slots whose score is, but for timing,
/// below [`TRUSTED_AGAIN`] and [`DISTRUSTED`].
#[derive(Debug)]
pub struct Reputations {
    eights: Vec<Eight>,
    ones: Vec<One>,
    /// For each validator a row of lanes, one for each that it may follow.
    timings: Vec<u64>,
    recent: [Recent; RECENT],
    /// Place of the request that is forgotten next.
    oldest: usize,
    enrolled: u128,
    /// Words in use.
    high: usize,
    /// The last hour that was needed; [`None`] at first.
    hour: Option<u64>,
    /// When it ends, in milliseconds; 0 at first.
    hour_ends_ms: u64,
    /// Words that are flushed next.
    flush: usize,
    doubted: [u8; WORDS],
    distrusted: [u8; WORDS],
}

impl Reputations {
    /// Makes the tables, about 20 KiB. No other function allocates.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    pub fn new() -> Result<Self, NoMemory> {
        let mut new = Self {
            eights: Vec::new(),
            ones: Vec::new(),
            timings: Vec::new(),
            recent: [Recent::NONE; RECENT],
            oldest: 0,
            enrolled: 0,
            high: 0,
            hour: None,
            hour_ends_ms: 0,
            flush: 0,
            doubted: [0; WORDS],
            distrusted: [0; WORDS],
        };
        // INVARIANT: these are the lengths, all lanes are zero, and nobody is enrolled.
        new.eights.fill_to(WORDS, Eight::default())?;
        new.ones.fill_to(limits::VALIDATORS, One::FIRST)?;
        new.timings.fill_to(WORDS * limits::VALIDATORS, 0)?;
        Ok(new)
    }

    /// Forgets every validator.
    pub fn clear(&mut self) {
        // INVARIANT: as in `new`.
        self.eights.fill(Eight::default());
        self.ones.fill(One::FIRST);
        self.timings.fill(0);
        self.recent = [Recent::NONE; RECENT];
        (self.oldest, self.flush) = (0, 0);
        (self.enrolled, self.high) = (0, 0);
        (self.hour, self.hour_ends_ms) = (None, 0);
        (self.doubted, self.distrusted) = ([0; WORDS], [0; WORDS]);
    }

    /// Takes a validator in, with a clean slate. A slot that is not 1 to 128 changes nothing here
    /// and elsewhere.
    pub fn enrol(&mut self, slot: u16) {
        self.set_enrolled(self.enrolled | slot_bit(slot).unwrap_or(0));
        self.set(slot, &Kept::PRISTINE);
    }

    /// Forgets a validator.
    pub fn remove(&mut self, slot: u16) {
        self.set(slot, &Kept::PRISTINE);
        self.set_enrolled(self.enrolled & !slot_bit(slot).unwrap_or(0));
    }

    /// Gives an enrolled validator the reputation that a state has for it.
    pub fn restore(&mut self, slot: u16, kept: &Kept) {
        if slot_bit(slot).is_some_and(|bit| self.enrolled & bit != 0) {
            self.set(slot, kept);
        }
    }

    fn set_enrolled(&mut self, enrolled: u128) {
        // INVARIANT: the two go together.
        self.enrolled = enrolled;
        let slots = u128::BITS.wrapping_sub(enrolled.leading_zeros());
        self.high = (slots as usize).div_ceil(PER_WORD);
    }

    /// Sets what is kept of a validator, and forgets the rest.
    fn set(&mut self, slot: u16, kept: &Kept) {
        let (Some((word, shift)), Some(bit)) = (place(slot), slot_bit(slot)) else {
            return;
        };
        let others = !(0xff << shift);
        let (rows, row) = (
            self.timings.chunks_exact_mut(WORDS),
            usize::from(slot.wrapping_sub(1)),
        );
        for (place, timings) in rows.enumerate() {
            if place == row {
                timings.fill(0);
            } else if let Some(timing) = timings.get_mut(word) {
                *timing &= others;
            }
        }
        for recent in &mut self.recent {
            recent.now &= !bit;
            recent.before &= !bit;
        }
        if let Some(one) = self.ones.get_mut(row) {
            *one = One {
                agreed: kept.agreed,
                disagreed: kept.disagreed,
                ..One::FIRST
            };
        }
        if let Some(eight) = self.eights.get_mut(word) {
            // INVARIANT: below 2^7, whatever is restored.
            let set = |lanes: &mut u64, value: u16, most: u8| {
                let value = u8::try_from(value).map_or(most, |value| value.min(most));
                *lanes = (*lanes & others) | (u64::from(value) << shift);
            };
            let lost = PRISTINE.saturating_sub(kept.score) / STEP;
            set(&mut eight.lost, lost, WHOLE);
            set(&mut eight.late, 0, 0);
            set(&mut eight.bias, kept.bias, BIAS.0.wrapping_sub(1));
            set(&mut eight.penalties, 0, 0);
            set(&mut eight.judged, 0, 0);
            set(&mut eight.disagreed, 0, 0);
        }
        self.rate();
    }

    /// Establishes the invariant of `doubted` and `distrusted`.
    fn rate(&mut self) {
        let sets = self.doubted.iter_mut().zip(&mut self.distrusted);
        for (eight, (doubted, distrusted)) in self.eights.iter().take(self.high).zip(sets) {
            (*doubted, *distrusted) = eight.rate();
        }
    }

    /// Goes on to the hour of `stamp_ms`, in milliseconds of `CLOCK_BOOTTIME`.
    #[inline(always)]
    pub(super) fn reach(&mut self, stamp_ms: u64) {
        if stamp_ms >= self.hour_ends_ms {
            self.reach_hour(stamp_ms / HOUR_MS);
        }
    }

    /// Lets penalties count anew, and halves losses and biases for each eight hours.
    fn reach_hour(&mut self, hour: u64) {
        let last = self.hour.replace(hour).unwrap_or(hour);
        self.hour_ends_ms = hour.saturating_add(1).saturating_mul(HOUR_MS);
        if hour == last {
            return;
        }
        let times = (hour / HALVING_HOURS).saturating_sub(last / HALVING_HOURS);
        let half = Halving::new(u32::try_from(times).unwrap_or(u32::MAX));
        let sets = self.doubted.iter_mut().zip(&mut self.distrusted);
        for (eight, (doubted, distrusted)) in self.eights.iter_mut().take(self.high).zip(sets) {
            eight.penalties = 0;
            eight.lost = half.of(eight.lost);
            eight.late = half.of(eight.late);
            eight.bias = half.of(eight.bias);
            // INVARIANT: as of now.
            (*doubted, *distrusted) = eight.rate();
        }
    }

    /// Adds the vote to those on its request, and returns who voted just before.
    #[inline]
    fn company(&mut self, bit: u128, request: &[u8; 32], stamp_ms: u64) -> [u128; 2] {
        let tick = stamp_ms / TICK_MS;
        let head = short_id(request);
        let known = self.recent.iter_mut().find(|recent| recent.head == head);
        if let Some(recent) = known {
            return recent.add(bit, tick);
        }
        if let Some(recent) = self.recent.get_mut(self.oldest) {
            *recent = Recent {
                head,
                tick,
                now: bit,
                before: 0,
                voted: bit,
            };
        }
        self.oldest = self.oldest.wrapping_add(1) % RECENT;
        [0; 2]
    }

    /// Takes a vote into account: `slot` voted on `request` at `stamp_ms`, in milliseconds of
    /// `CLOCK_BOOTTIME`.
    #[inline]
    pub fn voted(&mut self, slot: u16, request: &[u8; 32], stamp_ms: u64) {
        self.reach(stamp_ms);
        let Some(bit) = slot_bit(slot).filter(|bit| self.enrolled & bit != 0) else {
            return;
        };
        let [company, voted] = self.company(bit, request, stamp_ms);
        if voted == 0 {
            return;
        }
        let index = usize::from(slot.wrapping_sub(1));
        let start = index.wrapping_mul(WORDS);
        let (Some(one), Some(row)) = (
            self.ones.get_mut(index),
            self.timings.get_mut(start..start.saturating_add(self.high)),
        ) else {
            return;
        };
        let hour = self.hour.unwrap_or(0);
        if hour >= one.halved {
            let half = Halving::new(one.halvings(hour));
            one.halved = (hour / HALVING_HOURS + 1).saturating_mul(HALVING_HOURS);
            row.iter_mut().for_each(|word| *word = half.of(*word));
        }
        let loss = u64::from(one.loss());
        let [company, voted] = [company, voted].map(u128::to_le_bytes);
        let (mut near, mut others, mut over) = (0u64, 0u64, false);
        for ((word, together), there) in row.iter_mut().zip(spread(&company)).zip(spread(&voted)) {
            *word = sum(*word, together << 4, there.wrapping_mul(loss));
            near = near.wrapping_add(together);
            others = others.wrapping_add(there);
            let tops = reaches(*word, TIMING.0) & TOPS;
            if tops != 0 {
                *word = reset(*word, tops, TIMING.1);
                over = true;
            }
        }
        one.learn(total(near), total(others));
        if over {
            self.punish_timing(slot);
        }
    }

    /// The penalty for votes in company. When a vote arrives is not signed, so whoever carries it
    /// can bring this about: it makes a validator suspected, and no more.
    fn punish_timing(&mut self, slot: u16) {
        let Some((word, shift)) = place(slot) else {
            return;
        };
        if let Some(eight) = self.eights.get_mut(word) {
            let lost = TIMING_LOSS.saturating_sub(lane(eight.late, shift));
            // INVARIANT: at most TIMING_LOSS.
            eight.late = eight
                .late
                .wrapping_add(u64::from(lost.min(PENALTY)) << shift);
        }
    }

    /// Judges who voted on a request by its decision, at `stamp_ms` in milliseconds of
    /// `CLOCK_BOOTTIME`. Bit `s - 1` of `voted` and `approved` is that of slot `s`; `majority` is
    /// what more than half of all weight has said.
    #[inline]
    pub fn decided(&mut self, voted: u128, approved: u128, majority: Verdict, stamp_ms: u64) {
        self.reach(stamp_ms);
        let voted = voted & self.enrolled;
        let against = voted
            & match majority {
                Verdict::Approve => !approved,
                Verdict::Deny => approved,
            };
        let [voted, against] = [voted, against].map(u128::to_le_bytes);
        let words = self.eights.get_mut(..self.high).unwrap_or_default();
        let sets = self.doubted.iter_mut().zip(&mut self.distrusted);
        let votes = spread(&voted).zip(spread(&against));
        for ((eight, (ones, against)), (doubted, distrusted)) in
            words.iter_mut().zip(votes).zip(sets)
        {
            if eight.judge(ones, against) {
                (*doubted, *distrusted) = eight.rate();
            }
        }
        self.flush_next();
    }

    /// Adds what was counted for one validator to its totals; in turn, so that no count overflows its
    /// lane.
    fn flush_next(&mut self) {
        let index = self.flush;
        self.flush = index.wrapping_add(1) % limits::VALIDATORS;
        let shift = (index % PER_WORD).wrapping_mul(8);
        let (Some(eight), Some(one)) = (
            self.eights.get_mut(index / PER_WORD),
            self.ones.get_mut(index),
        ) else {
            return;
        };
        one.agreed = one.agreed.saturating_add((eight.agreed() >> shift) & 0xff);
        one.disagreed = one
            .disagreed
            .saturating_add((eight.disagreed >> shift) & 0xff);
        let others = !(0xff << shift);
        eight.judged &= others;
        eight.disagreed &= others;
    }

    /// Words that hold the lanes of all who are enrolled.
    pub(super) fn words(&self) -> usize {
        self.high
    }

    /// Slots whose score is below [`TRUSTED_AGAIN`]; bit `s - 1` is that of slot `s`.
    pub(super) fn doubted(&self) -> u128 {
        u128::from_le_bytes(self.doubted)
    }

    /// Slots whose score is below [`DISTRUSTED`], likewise.
    pub(super) fn distrusted(&self) -> u128 {
        u128::from_le_bytes(self.distrusted)
    }

    /// The reputation of the validator in `slot`, as of the last vote or decision;
    /// [`Kept::PRISTINE`] where nobody is enrolled.
    pub fn of(&self, slot: u16) -> View {
        let mut view = View {
            score: PRISTINE,
            kept: Kept::PRISTINE,
            timing: 0,
            partner: None,
        };
        let Some((word, shift)) = place(slot) else {
            return view;
        };
        let index = usize::from(slot.wrapping_sub(1));
        let (Some(eight), Some(one)) = (self.eights.get(word), self.ones.get(index)) else {
            return view;
        };
        let of = |lanes: u64| lane(lanes, shift);
        view.kept = Kept {
            score: PRISTINE.saturating_sub(u16::from(of(eight.lost)).saturating_mul(STEP)),
            bias: u16::from(of(eight.bias)),
            agreed: one.agreed.saturating_add(u64::from(of(eight.agreed()))),
            disagreed: one.disagreed.saturating_add(u64::from(of(eight.disagreed))),
        };
        let late = u16::from(of(eight.late)).saturating_mul(STEP);
        view.score = view.kept.score.saturating_sub(late);
        let row = self.timings.chunks_exact(WORDS).nth(index).unwrap_or(&[]);
        let half = Halving::new(one.halvings(self.hour.unwrap_or(0)));
        let timings = row.iter().flat_map(|&word| half.of(word).to_le_bytes());
        for (slot, timing) in (1..).zip(timings.map(u16::from)) {
            if timing > view.timing {
                (view.timing, view.partner) = (timing, Some(slot));
            }
        }
        view
    }

    /// The lowest score of the slots in `of`, [`PRISTINE`] when there are none.
    pub fn lowest(&self, of: u128) -> u16 {
        slots(of)
            .map(|slot| self.of(slot).score)
            .min()
            .unwrap_or(PRISTINE)
    }
}
