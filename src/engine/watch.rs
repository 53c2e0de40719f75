// SPDX-License-Identifier: GPL-2.0

//! When thresholds rise, and how far.
//!
//! See "Adaptive threshold" in `Documentation/byzantine.rst`. Everything here follows from the events
//! that it is told of and their stamps, in milliseconds of `CLOCK_BOOTTIME`, so that an auditor who
//! reads the log comes to the same.

use super::limits;
use super::policy::Adaptive;
use super::quorum::{
    slot_bit,
    Ballot,
    BASIS, //
};
use super::refusal::Refusal;
use super::reputation::{
    self,
    Reputations, //
};
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

/// Requests that end without a validator's vote until it may be unheard.
pub const MISSED: u8 = 3;

/// Slots of a group, one byte of a set.
const PER_GROUP: usize = u8::BITS as usize;

/// Most invalid votes that a burst may need.
const BURST: usize = Adaptive::BURST_MAX as usize;

/// A stamp that no event has.
const NEVER: u64 = u64::MAX;

/// Why thresholds are raised.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub enum Reason {
    /// A validator was quarantined lately.
    Evidence = 1,
    /// Many invalid votes came in a short time.
    Burst = 2,
    /// Much weight is unheard.
    Silence = 3,
    /// A validator is distrusted.
    Suspicion = 4,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Evidence, Self::Burst, Self::Silence, Self::Suspicion];

    /// Returns the reason of that number.
    pub fn from_u16(value: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|&reason| reason as u16 == value)
    }

    /// Name for display, such as `evidence`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Burst => "burst",
            Self::Silence => "silence",
            Self::Suspicion => "suspicion",
        }
    }

    /// The bit of the reason in a set of reasons: 1 << number.
    pub const fn bit(self) -> u32 {
        1 << self as u16
    }
}

/// Reasons that raise the threshold of governance operations, too.
const GOVERNANCE: u32 = Reason::Evidence.bit() | Reason::Burst.bit();

/// The beginning or end of an alert.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Turn {
    /// It begins.
    Alert(Reason),
    /// It ends.
    Calm(Reason),
}

/// What is in force: the payload of WATCH.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rules {
    /// What an alert adds to thresholds, in basis points: 0 to 4999.
    pub raise_bp: u16,
    /// No threshold is raised above this, in basis points: 5001 to 10000.
    pub ceiling_bp: u16,
    /// Unheard weight that starts an alert, in basis points of all weight: 1 to 10000.
    pub missing_bp: u16,
    /// Invalid votes that are a burst: 1 to 64.
    pub burst: u16,
    /// How long an unheard validator has been silent, in milliseconds.
    pub silence_ms: u32,
    /// Time in which invalid votes are counted, in milliseconds.
    pub within_ms: u32,
    /// How long an alert lasts at least, in milliseconds.
    pub quiet_ms: u32,
}

/// The greatest random part of a time of policy, in milliseconds.
fn jitter(ms: u64, jitter_bp: u16) -> u64 {
    ms.saturating_mul(u64::from(jitter_bp)) / BASIS
}

impl Rules {
    /// Bytes of the encoding.
    pub const LEN: usize = 20;

    /// The times of a policy in milliseconds: silence, within, quiet.
    fn times(policy: &Adaptive) -> [u64; 3] {
        [policy.silence_s, policy.within_s, policy.quiet_s]
            .map(|s| u64::from(s).saturating_mul(1000))
    }

    /// Draws what a policy leaves to chance, from evenly distributed random numbers.
    pub fn draw(policy: &Adaptive, random: [u32; 3]) -> Self {
        let mut times = Self::times(policy);
        for (ms, random) in times.iter_mut().zip(random) {
            // Evenly from 0 to the greatest, with an error that 32 bits make negligible.
            let most = jitter(*ms, policy.jitter_bp).saturating_add(1);
            *ms = ms.saturating_add(most.saturating_mul(u64::from(random)) >> u32::BITS);
        }
        // Twice a day is below 2^32 milliseconds.
        let [silence_ms, within_ms, quiet_ms] =
            times.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX));
        Self {
            raise_bp: policy.raise_bp,
            ceiling_bp: policy.ceiling_bp,
            missing_bp: policy.missing_bp,
            burst: policy.burst,
            silence_ms,
            within_ms,
            quiet_ms,
        }
    }

    /// Whether [`Rules::draw`] can give these rules for that policy.
    pub fn fits(&self, policy: &Adaptive) -> bool {
        let drawn = [self.silence_ms, self.within_ms, self.quiet_ms];
        let within = |(ms, drawn): (u64, u32)| {
            (ms..=ms.saturating_add(jitter(ms, policy.jitter_bp))).contains(&u64::from(drawn))
        };
        (self.raise_bp, self.ceiling_bp) == (policy.raise_bp, policy.ceiling_bp)
            && (self.missing_bp, self.burst) == (policy.missing_bp, policy.burst)
            && Self::times(policy).into_iter().zip(drawn).all(within)
    }

    /// Appends the encoding.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] when it does not fit.
    pub fn put(&self, out: &mut Writer<'_>) -> wire::Result {
        out.u16(self.raise_bp)?;
        out.u16(self.ceiling_bp)?;
        out.u16(self.missing_bp)?;
        out.u16(self.burst)?;
        out.u32(self.silence_ms)?;
        out.u32(self.within_ms)?;
        out.u32(self.quiet_ms)
    }

    /// Takes what [`Rules::put`] appends.
    ///
    /// # Errors
    ///
    /// [`Error::Short`], or [`Error::Field`] for what no policy can say.
    pub fn take(reader: &mut Reader<'_>) -> wire::Result<Self> {
        let rules = Self {
            raise_bp: reader.u16()?,
            ceiling_bp: reader.u16()?,
            missing_bp: reader.u16()?,
            burst: reader.u16()?,
            silence_ms: reader.u32()?,
            within_ms: reader.u32()?,
            quiet_ms: reader.u32()?,
        };
        let ceiling = limits::THRESHOLD_MIN_BP..=limits::THRESHOLD_MAX_BP;
        // The random part at most doubles a time.
        let time = |ms: u32, most_s: u32| (1000..=most_s.saturating_mul(2000)).contains(&ms);
        let fields = [
            ("raise", rules.raise_bp <= Adaptive::RAISE_MAX_BP),
            ("ceiling", ceiling.contains(&rules.ceiling_bp)),
            (
                "missing",
                (1..=limits::THRESHOLD_MAX_BP).contains(&rules.missing_bp),
            ),
            ("burst", (1..=Adaptive::BURST_MAX).contains(&rules.burst)),
            ("silence", time(rules.silence_ms, Adaptive::SILENCE_MAX_S)),
            ("within", time(rules.within_ms, Adaptive::WITHIN_MAX_S)),
            ("quiet", time(rules.quiet_ms, Adaptive::QUIET_MAX_S)),
        ];
        match fields.into_iter().find(|(_, good)| !good) {
            Some((name, _)) => Err(Error::Field(name)),
            None => Ok(rules),
        }
    }

    /// The threshold that takes the place of `base_bp` while an alert holds, in basis points.
    pub fn raised(&self, base_bp: u16) -> u16 {
        base_bp.max(base_bp.saturating_add(self.raise_bp).min(self.ceiling_bp))
    }
}

/// One reason's alert.
#[derive(Clone, Copy, Debug, Default)]
struct Alert {
    /// When it started, or what it goes on for was stamped last, in milliseconds.
    since_ms: u64,
    /// Number of the event that ended it last; 0 for none.
    ended: u64,
    /// When that was, in milliseconds.
    ended_ms: u64,
}

/// What the node has heard, and what follows.
///
/// # Invariants
///
/// The vectors have the lengths that [`Watch::new`] gives them. `total` and `unheard_weight` are the
/// weights of the slots in `enrolled` and in `unheard`, a part of `enrolled` without `quarantined`.
/// `calm_ms` and `trust_ms` follow from `active`, `alerts` and `rules`.
#[derive(Debug)]
pub struct Watch {
    rules: Option<Rules>,
    /// Alerts that hold, by the bits of their reasons.
    active: u32,
    /// Alerts that have to be recorded, likewise; none of `active`.
    due: u32,
    /// In the order of [`Reason::ALL`].
    alerts: [Alert; 4],
    /// When the first of the alerts that hold, but suspicion, ends, in milliseconds; [`NEVER`]
    /// without any.
    calm_ms: u64,
    /// When suspicion ends if it holds and nobody is doubted any more, likewise.
    trust_ms: u64,
    /// Weights, by slot from 1.
    weights: Vec<u32>,
    /// When each was heard last, in milliseconds, by slot from 1.
    heard: Vec<u64>,
    /// Requests that ended without the vote of each since then, a lane each.
    missed: Vec<u64>,
    /// Group of eight slots that is looked at next.
    group: usize,
    enrolled: u128,
    quarantined: u128,
    unheard: u128,
    total: u64,
    unheard_weight: u64,
    /// Stamps of the invalid votes that were counted last, a ring, in milliseconds.
    invalid: Vec<u64>,
    /// How many were counted since the count began anew.
    counted: usize,
    reputations: Reputations,
}

impl Watch {
    /// Makes a watch without rules and validators, about 45 KiB. No other function allocates.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    pub fn new() -> Result<Self, NoMemory> {
        let mut new = Self {
            rules: None,
            active: 0,
            due: 0,
            alerts: [Alert::default(); 4],
            calm_ms: NEVER,
            trust_ms: NEVER,
            weights: Vec::new(),
            heard: Vec::new(),
            missed: Vec::new(),
            group: 0,
            enrolled: 0,
            quarantined: 0,
            unheard: 0,
            total: 0,
            unheard_weight: 0,
            invalid: Vec::new(),
            counted: 0,
            reputations: Reputations::new()?,
        };
        // INVARIANT: these are the lengths.
        new.weights.fill_to(limits::VALIDATORS, 0)?;
        new.heard.fill_to(limits::VALIDATORS, 0)?;
        new.missed.fill_to(reputation::WORDS, 0)?;
        new.invalid.fill_to(BURST, 0)?;
        Ok(new)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.rules = None;
        (self.active, self.due) = (0, 0);
        self.alerts = [Alert::default(); 4];
        (self.calm_ms, self.trust_ms) = (NEVER, NEVER);
        self.weights.fill(0);
        self.heard.fill(0);
        self.missed.fill(0);
        (self.enrolled, self.quarantined, self.unheard) = (0, 0, 0);
        (self.total, self.unheard_weight, self.counted) = (0, 0, 0);
        self.group = 0;
        self.reputations.clear();
    }

    /// Puts rules in force: WATCH was recorded.
    pub fn rules(&mut self, rules: Rules) {
        self.rules = Some(rules);
        self.set_ends();
    }

    /// The rules in force, [`None`] before the first policy.
    pub fn in_force(&self) -> Option<&Rules> {
        self.rules.as_ref()
    }

    /// Takes a validator in: VALIDATOR_ADDED was recorded. A slot that is not 1 to 128 changes
    /// nothing here and elsewhere.
    pub fn enrolled(&mut self, slot: u16, weight: u32, stamp_ms: u64) {
        self.removed(slot);
        let (Some(bit), Some(own)) = (slot_bit(slot), of(&mut self.weights, slot)) else {
            return;
        };
        // INVARIANT: the slot had no weight after it was removed.
        *own = weight;
        self.total = self.total.saturating_add(u64::from(weight));
        self.enrolled |= bit;
        self.reputations.enrol(slot);
        self.hear(slot, stamp_ms);
    }

    /// Forgets a validator: VALIDATOR_REMOVED was recorded.
    pub fn removed(&mut self, slot: u16) {
        let Some(bit) = slot_bit(slot).filter(|bit| self.enrolled & bit != 0) else {
            return;
        };
        self.not_unheard(slot);
        if let Some(weight) = of(&mut self.weights, slot) {
            self.total = self
                .total
                .saturating_sub(u64::from(core::mem::take(weight)));
        }
        self.enrolled &= !bit;
        self.quarantined &= !bit;
        self.reputations.remove(slot);
    }

    /// Stops listening to a validator, and starts the alert: QUARANTINED was recorded.
    pub fn quarantined(&mut self, slot: u16, stamp_ms: u64) {
        self.restored_quarantined(slot);
        self.alert(Reason::Evidence).since_ms = stamp_ms;
        self.set_ends();
        self.start(Reason::Evidence);
    }

    /// Stops listening to a validator that was quarantined in an earlier load.
    pub fn restored_quarantined(&mut self, slot: u16) {
        self.not_unheard(slot);
        self.quarantined |= slot_bit(slot).unwrap_or(0) & self.enrolled;
    }

    /// Listens to a validator again: READMITTED was recorded.
    pub fn readmitted(&mut self, slot: u16, stamp_ms: u64) {
        self.quarantined &= !slot_bit(slot).unwrap_or(0);
        self.hear(slot, stamp_ms);
    }

    /// Takes a vote into account: VOTE was recorded.
    pub fn voted(&mut self, slot: u16, request: &[u8; 32], stamp_ms: u64) {
        self.hear(slot, stamp_ms);
        self.reputations.voted(slot, request, stamp_ms);
    }

    /// A validator was heard.
    fn hear(&mut self, slot: u16, stamp_ms: u64) {
        self.not_unheard(slot);
        if let Some(heard) = of(&mut self.heard, slot) {
            *heard = stamp_ms;
        }
        if let Some((word, shift)) = reputation::place(slot) {
            if let Some(missed) = self.missed.get_mut(word) {
                *missed &= !(0xff << shift);
            }
        }
    }

    /// Takes a slot out of those that are unheard.
    fn not_unheard(&mut self, slot: u16) {
        if self.unheard == 0 {
            return;
        }
        let bit = slot_bit(slot).unwrap_or(0);
        if self.unheard & bit != 0 {
            let weight = of(&mut self.weights, slot).map_or(0, |weight| *weight);
            // INVARIANT: weight and bit go together.
            self.unheard &= !bit;
            self.unheard_weight = self.unheard_weight.saturating_sub(u64::from(weight));
        }
    }

    /// Counts an invalid vote: VOTE_REFUSED was recorded.
    pub fn refused(&mut self, refusal: Refusal, stamp_ms: u64) {
        let Some(rules) = self.rules.filter(|_| is_invalid(refusal)) else {
            return;
        };
        if let Some(stamp) = self.invalid.get_mut(self.counted % BURST) {
            *stamp = stamp_ms;
        }
        self.counted = self.counted.saturating_add(1);
        let first = self
            .counted
            .checked_sub(usize::from(rules.burst))
            .and_then(|first| self.invalid.get(first % BURST));
        let Some(&first) = first else {
            return;
        };
        if stamp_ms.saturating_sub(first) > u64::from(rules.within_ms) {
            return;
        }
        self.counted = 0;
        let alert = self.alert(Reason::Burst);
        let rests =
            alert.ended != 0 && stamp_ms < alert.ended_ms.saturating_add(u64::from(rules.quiet_ms));
        if !rests {
            self.start(Reason::Burst);
        }
    }

    /// Takes the end of a request into account: GRANTED or DENIED was recorded (`decided`), or
    /// EXPIRED.
    pub fn ended(&mut self, ballot: &Ballot, decided: bool, stamp_ms: u64) {
        if let Some(majority) = ballot.majority().filter(|_| decided) {
            let voted = ballot.voted() & !self.quarantined;
            self.reputations
                .decided(voted, ballot.approved(), majority, stamp_ms);
        } else {
            self.reputations.reach(stamp_ms);
        }
        let Some(rules) = self.rules else {
            return;
        };
        let listened = self.enrolled & !self.quarantined;
        // Whoever denies at once leaves the others no time: that is not their silence.
        if !decided || ballot.is_backed() {
            let long = self.miss(listened & !self.unheard, ballot.voted());
            if long != 0 {
                self.look(long, stamp_ms, &rules);
            }
        }
        if self.unheard != 0 {
            let missing = u64::from(rules.missing_bp).saturating_mul(self.total);
            if self.unheard_weight.saturating_mul(BASIS) >= missing {
                self.start(Reason::Silence);
            }
        }
        if self.reputations.distrusted() & listened != 0 {
            self.start(Reason::Suspicion);
        }
    }

    /// Counts a request that ended for those of `listened` who have not `voted`. Returns those of
    /// `listened` who have missed enough of them to be unheard.
    fn miss(&mut self, listened: u128, voted: u128) -> u128 {
        let silent = (listened & !voted).to_le_bytes();
        let mut long = [0; reputation::WORDS];
        let high = self.reputations.words();
        let missed = self.missed.get_mut(..high).unwrap_or_default();
        let silent = missed.iter_mut().zip(reputation::spread(&silent));
        for ((missed, ones), long) in silent.zip(&mut long) {
            *missed = reputation::count(*missed, ones);
            *long = reputation::gather(reputation::reaches(*missed, MISSED));
        }
        u128::from_le_bytes(long) & listened
    }

    /// Looks at the next group of eight slots of which some are in `long`, and takes those of them for
    /// unheard that were heard last long ago. One group with each end: no end costs much more than
    /// another.
    fn look(&mut self, long: u128, stamp_ms: u64, rules: &Rules) {
        let first = u32::try_from(self.group.wrapping_mul(PER_GROUP)).unwrap_or(0);
        let ahead = long.rotate_right(first).trailing_zeros() / u8::BITS;
        let group = self.group.wrapping_add(ahead as usize) % reputation::WORDS;
        self.group = group.wrapping_add(1) % reputation::WORDS;
        let long = long.to_le_bytes().get(group).copied().unwrap_or(0);
        let (Some(quiet_ms), Some(heard), Some(weights)) = (
            stamp_ms.checked_sub(u64::from(rules.silence_ms)),
            self.heard.chunks_exact(PER_GROUP).nth(group),
            self.weights.chunks_exact(PER_GROUP).nth(group),
        ) else {
            return;
        };
        let (mut gone, mut weight, mut bit) = (0u8, 0u64, 1u8);
        for (&heard_ms, &own) in heard.iter().zip(weights) {
            if long & bit != 0 && heard_ms <= quiet_ms {
                gone |= bit;
                weight = weight.saturating_add(u64::from(own));
            }
            bit <<= 1;
        }
        // INVARIANT: weight and bits go together, and none of `long` was unheard.
        self.unheard |= u128::from(gone) << (group.wrapping_mul(PER_GROUP));
        self.unheard_weight = self.unheard_weight.saturating_add(weight);
    }

    /// Makes an alert due unless it holds.
    fn start(&mut self, reason: Reason) {
        self.due |= reason.bit() & !self.active;
    }

    fn alert(&mut self, reason: Reason) -> &mut Alert {
        let [evidence, burst, silence, suspicion] = &mut self.alerts;
        match reason {
            Reason::Evidence => evidence,
            Reason::Burst => burst,
            Reason::Silence => silence,
            Reason::Suspicion => suspicion,
        }
    }

    /// Whether an alert of suspicion has to go on, however long it has held.
    fn is_doubted(&self) -> bool {
        self.reputations.doubted() & self.enrolled & !self.quarantined != 0
    }

    /// When the alert that holds ends at the earliest, in milliseconds; [`NEVER`] when it does not
    /// hold.
    fn earliest_ms(&self, reason: Reason, alert: &Alert) -> u64 {
        match &self.rules {
            Some(rules) if self.active & reason.bit() != 0 => {
                alert.since_ms.saturating_add(u64::from(rules.quiet_ms))
            }
            _ => NEVER,
        }
    }

    /// When the alert that holds ends if nothing but time goes by, in milliseconds; [`None`] when it
    /// does not hold, or something else has to happen first.
    fn end_ms(&self, reason: Reason, alert: &Alert) -> Option<u64> {
        // If those who are gone kept an alert of silence up, one that stays away could keep all
        // others from being heard.
        let held = reason == Reason::Suspicion && self.is_doubted();
        Some(self.earliest_ms(reason, alert)).filter(|&ms| ms != NEVER && !held)
    }

    /// Establishes the invariant of `calm_ms` and `trust_ms`.
    fn set_ends(&mut self) {
        let [evidence, burst, silence, suspicion] = &self.alerts;
        let ends = [
            (Reason::Evidence, evidence),
            (Reason::Burst, burst),
            (Reason::Silence, silence),
        ];
        self.calm_ms = ends
            .into_iter()
            .map(|(reason, alert)| self.earliest_ms(reason, alert))
            .fold(NEVER, u64::min);
        self.trust_ms = self.earliest_ms(Reason::Suspicion, suspicion);
    }

    /// What has to be recorded at `stamp_ms` first, if anything.
    #[inline]
    pub fn due(&self, stamp_ms: u64) -> Option<Turn> {
        let ends = stamp_ms >= self.calm_ms || (stamp_ms >= self.trust_ms && !self.is_doubted());
        if self.due == 0 && !ends {
            return None;
        }
        self.first_due(stamp_ms)
    }

    /// As [`Watch::due`], without a short cut.
    fn first_due(&self, stamp_ms: u64) -> Option<Turn> {
        self.rules.as_ref()?;
        Reason::ALL
            .into_iter()
            .zip(&self.alerts)
            .find_map(|(reason, alert)| {
                if self.due & reason.bit() != 0 {
                    return Some(Turn::Alert(reason));
                }
                let ends = self.end_ms(reason, alert).is_some_and(|ms| ms <= stamp_ms);
                ends.then_some(Turn::Calm(reason))
            })
    }

    /// Takes a turn: ALERT or CALM was recorded with that number.
    pub fn turn(&mut self, turn: Turn, number: u64, stamp_ms: u64) {
        match turn {
            Turn::Alert(reason) => {
                self.active |= reason.bit();
                self.due &= !reason.bit();
                if reason != Reason::Evidence {
                    self.alert(reason).since_ms = stamp_ms;
                }
            }
            Turn::Calm(reason) => {
                self.active &= !reason.bit();
                let alert = self.alert(reason);
                (alert.ended, alert.ended_ms) = (number, stamp_ms);
            }
        }
        self.set_ends();
    }

    /// The threshold now of a request whose rule has `base_bp`, in basis points. `created` is the
    /// number of REQUEST.
    pub fn threshold(&self, base_bp: u16, created: u64, governance: bool) -> u16 {
        let held = Reason::ALL
            .into_iter()
            .zip(&self.alerts)
            .any(|(reason, alert)| {
                // Nobody needs a key for a burst, so it raises only what is voted on meanwhile.
                let lasts = reason != Reason::Burst && alert.ended > created;
                (self.active & reason.bit() != 0 || lasts)
                    && (!governance || GOVERNANCE & reason.bit() != 0)
            });
        match &self.rules {
            Some(rules) if held => rules.raised(base_bp),
            _ => base_bp,
        }
    }

    /// The first stamp at which something is due if nothing but time goes by, in milliseconds; 0
    /// when it is due already.
    pub fn next_ms(&self) -> Option<u64> {
        self.rules.as_ref()?;
        Reason::ALL
            .into_iter()
            .zip(&self.alerts)
            .filter_map(|(reason, alert)| {
                if self.due & reason.bit() != 0 {
                    return Some(0);
                }
                self.end_ms(reason, alert)
            })
            .min()
    }

    /// The reasons that hold: bit 1 << number for each.
    pub fn active(&self) -> u32 {
        self.active
    }

    /// When the last of the alerts that hold can end at the earliest, in milliseconds; [`None`]
    /// without any.
    pub fn ends_ms(&self) -> Option<u64> {
        Reason::ALL
            .into_iter()
            .zip(&self.alerts)
            .map(|(reason, alert)| self.earliest_ms(reason, alert))
            .filter(|&ms| ms != NEVER)
            .max()
    }

    /// Weight of the validators that are unheard.
    pub fn unheard_weight(&self) -> u64 {
        self.unheard_weight
    }

    /// Requests that ended without the vote of the validator in `slot` since it was heard last, until
    /// it counted as unheard; at most 127.
    pub fn unheard(&self, slot: u16) -> u16 {
        reputation::place(slot).map_or(0, |(word, shift)| {
            self.missed
                .get(word)
                .map_or(0, |&missed| u16::from(reputation::lane(missed, shift)))
        })
    }

    /// When the validator in `slot` was heard last, in milliseconds; [`None`] where nobody is
    /// enrolled.
    pub fn heard_ms(&self, slot: u16) -> Option<u64> {
        slot_bit(slot).filter(|bit| self.enrolled & bit != 0)?;
        self.heard.get(usize::from(slot.checked_sub(1)?)).copied()
    }

    /// The reputations.
    pub fn reputations(&self) -> &Reputations {
        &self.reputations
    }

    /// The reputations, to be restored.
    pub fn reputations_mut(&mut self) -> &mut Reputations {
        &mut self.reputations
    }
}

/// Returns what an array by slot from 1 has for `slot`.
fn of<T>(all: &mut [T], slot: u16) -> Option<&mut T> {
    all.get_mut(usize::from(slot.checked_sub(1)?))
}

/// Whether the refused vote says that somebody sends what no validator does.
fn is_invalid(refusal: Refusal) -> bool {
    matches!(
        refusal,
        Refusal::VoteMalformed
            | Refusal::VoteVersion
            | Refusal::VoteOtherNode
            | Refusal::VoteOtherEpoch
            | Refusal::VoteSlot
            | Refusal::ClockRegresses
            | Refusal::ClockLeap
            | Refusal::VoteMalleable
            | Refusal::VoteForged
    )
}
