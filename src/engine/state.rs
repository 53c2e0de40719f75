// SPDX-License-Identifier: GPL-2.0

//! The sealed state: what a node keeps over a restart.
//!
//! See "State" in `Documentation/sealed-state.rst`. [`State::decode`] says whether a state is well
//! formed, [`anchor::judge`](super::anchor::judge) whether it is the current one, and the MAC over
//! [`State::signed`] is for the caller, who has the key.

use super::anchor::{
    self,
    Position, //
};
use super::clock::{
    ClaimedClock,
    VectorClock,
    ENTRY_LEN,
    NODE_SLOT, //
};
use super::evidence::Evidence;
use super::governance::{
    Mode,
    ValidatorRecord, //
};
use super::limits;
use super::quarantine;
use super::quorum::{
    slot_bit,
    MAX_TOTAL_WEIGHT, //
};
use super::refusal::Refusal;
use super::reputation;
use super::wire::{
    self,
    Digest,
    Error,
    Reader,
    Writer, //
};

/// First bytes of a state.
pub const MAGIC: &[u8; 8] = b"TCPLSTA1";

/// Longest state, in bytes.
pub const MAX_LEN: usize = limits::STATE;

/// Bytes of the MAC at the end.
pub const MAC_LEN: usize = 32;

/// Longest content of a TPM2B in a state, in bytes.
pub const MAX_BLOB: usize = 1024;

/// Number of PCRs that can be chosen: a mask is below `1 << PCRS`.
pub const PCRS: u32 = 24;

/// Where the length stands.
const LENGTH_AT: usize = 8;

/// Tag of the policy's text.
const POLICY: u16 = 1;

/// Tag of the validators.
const VALIDATORS: u16 = 2;

/// Tag of the slots that were given out.
const SLOTS: u16 = 3;

/// Tag of the node's clock.
const CLOCK: u16 = 4;

/// Tag of the validators that were quarantined once.
const QUARANTINE: u16 = 5;

/// Tag of the reputations.
const REPUTATION: u16 = 6;

/// Every section, in its order.
const SECTIONS: u16 = REPUTATION;

// A state with every field at its greatest fits.
const _: () = {
    let head = 168 + 2 * (2 + MAX_BLOB) + 4;
    let clock = 2 + super::clock::SLOTS * ENTRY_LEN;
    let validator = super::governance::MAX_VALIDATOR_RECORD + 8 + clock;
    let quarantined = quarantine::MAX_LEN + 2 + limits::EVIDENCE;
    let reputation = 2 + reputation::Kept::LEN;
    let each = validator + quarantined + reputation;
    let sections = limits::POLICY_TEXT + 3 * 2 + limits::VALIDATORS * each + 16 + clock;
    assert!(head + 6 * 8 + sections + MAC_LEN <= MAX_LEN);
};
const _: () = assert!(MAX_LEN <= u32::MAX as usize);

/// Everything in a state that is not in a section.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head<'a> {
    /// The node's name.
    pub node: &'a [u8; 32],
    /// The counter's value once this state is committed, at least 1.
    pub counter: u64,
    /// The anchor's value before that; zeros when it was never extended.
    pub previous: &'a [u8; 32],
    /// The anchor's value once this state is committed: that of `previous`, extended with `chain`.
    pub anchor: &'a [u8; 32],
    /// Head of the chain.
    pub chain: &'a [u8; 32],
    /// Number of the event whose chain value that is, at least 1.
    pub number: u64,
    /// When the state was staged, in milliseconds since 1970-01-01 UTC; for display only.
    pub wall_ms: u64,
    /// The PCRs in the state key's policy, a mask of [`PCRS`] bits.
    pub pcrs: u32,
    /// What the `TPM2B_PRIVATE` of the sealed state key holds, 1 to [`MAX_BLOB`] bytes without the
    /// size.
    pub private: &'a [u8],
    /// What its `TPM2B_PUBLIC` holds, likewise.
    pub public: &'a [u8],
    /// The mode.
    pub mode: Mode,
}

impl<'a> Head<'a> {
    /// Takes a head: everything between the length and the number of sections.
    fn take(reader: &mut Reader<'a>) -> wire::Result<Self> {
        let head = Self {
            node: reader.array()?,
            counter: reader.u64()?,
            previous: reader.array()?,
            anchor: reader.array()?,
            chain: reader.array()?,
            number: reader.u64()?,
            wall_ms: reader.u64()?,
            pcrs: reader.u32()?,
            private: take_blob(reader, "private")?,
            public: take_blob(reader, "public")?,
            mode: Mode::from_u8(reader.u8()?).ok_or(Error::Field("mode"))?,
        };
        reader.reserved(1)?;
        Ok(head)
    }

    /// Appends what [`Head::take`] takes.
    fn put(&self, out: &mut Writer<'_>) -> wire::Result {
        out.bytes(self.node)?;
        out.u64(self.counter)?;
        out.bytes(self.previous)?;
        out.bytes(self.anchor)?;
        out.bytes(self.chain)?;
        out.u64(self.number)?;
        out.u64(self.wall_ms)?;
        out.u32(self.pcrs)?;
        put_blob(out, self.private, "private")?;
        put_blob(out, self.public, "public")?;
        out.u8(self.mode as u8)?;
        out.zeros(1)
    }

    /// Checks what both directions demand.
    fn check<D: Digest>(&self) -> wire::Result {
        if self.counter == 0 {
            return Err(Error::Field("counter"));
        }
        if *self.anchor != anchor::extended::<D>(self.previous, self.chain) {
            return Err(Error::Field("anchor"));
        }
        if self.number == 0 {
            return Err(Error::Field("number"));
        }
        if self.pcrs >= 1 << PCRS {
            return Err(Error::Field("pcrs"));
        }
        Ok(())
    }

    /// Where the state stands in the past of its node.
    pub fn position(&self) -> Position {
        Position {
            counter: self.counter,
            previous: *self.previous,
            anchor: *self.anchor,
        }
    }
}

/// Takes the content of a TPM2B.
fn take_blob<'a>(reader: &mut Reader<'a>, field: &'static str) -> wire::Result<&'a [u8]> {
    let len = usize::from(reader.u16()?);
    if !(1..=MAX_BLOB).contains(&len) {
        return Err(Error::Field(field));
    }
    reader.bytes(len)
}

/// Appends a TPM2B.
fn put_blob(out: &mut Writer<'_>, blob: &[u8], field: &'static str) -> wire::Result {
    if !(1..=MAX_BLOB).contains(&blob.len()) {
        return Err(Error::Field(field));
    }
    out.u16(u16::try_from(blob.len()).map_err(|_| Error::Field(field))?)?;
    out.bytes(blob)
}

/// A validator in a state: with a view of its clock in a decoded one, with a reference to the clock
/// in one that is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Validator<'a, C = ClaimedClock<'a>> {
    /// Slot, weight, name and key.
    pub record: ValidatorRecord<'a>,
    /// Number of its votes that were accepted.
    pub accepted: u64,
    /// Clock of the last one; no entries when there was none.
    pub clock: C,
}

impl<'a> Validator<'a> {
    /// Takes a validator.
    fn take(reader: &mut Reader<'a>) -> wire::Result<Self> {
        Ok(Self {
            record: ValidatorRecord::take(reader)?,
            accepted: reader.u64()?,
            clock: ClaimedClock::take(reader)?,
        })
    }

    /// Takes a validator that was taken once already, without looking at its clock again.
    fn skim(reader: &mut Reader<'a>) -> wire::Result<ValidatorRecord<'a>> {
        let record = ValidatorRecord::take(reader)?;
        reader.u64()?;
        let entries = usize::from(reader.u16()?);
        reader.bytes(entries.saturating_mul(ENTRY_LEN))?;
        Ok(record)
    }
}

/// Iterator over the validators of a [`State`], in ascending order of slot.
#[derive(Clone, Debug)]
pub struct Validators<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Validators<'a> {
    type Item = Validator<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        Validator::take(&mut self.reader).ok()
    }
}

/// A validator that was quarantined once.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept<'a> {
    /// Where it stands.
    pub record: quarantine::Record,
    /// What proves its fault: what [`Evidence::decode`] takes, nothing when it was readmitted.
    pub evidence: &'a [u8],
}

impl<'a> Kept<'a> {
    /// Takes what [`Kept::put`] appends.
    fn take(reader: &mut Reader<'a>) -> wire::Result<Self> {
        let record = quarantine::Record::take(reader)?;
        let len = usize::from(reader.u16()?);
        Ok(Self {
            record,
            evidence: reader.bytes(len)?,
        })
    }

    /// Appends the record and the evidence.
    fn put(&self, out: &mut Writer<'_>) -> wire::Result {
        self.record.put(out)?;
        out.u16(u16::try_from(self.evidence.len()).map_err(|_| Error::Field("evidence"))?)?;
        out.bytes(self.evidence)
    }

    /// Checks that the evidence is there while it is needed, that it is against this validator, and
    /// that no other validator has its slot, nor itself another one.
    fn check<D: Digest>(&self, validators: Validators<'_>) -> wire::Result {
        if !self.record.is_quarantined() {
            return match self.evidence {
                [] => Ok(()),
                _ => Err(Error::Field("evidence")),
            };
        }
        let evidence =
            Evidence::decode::<D>(self.evidence).map_err(|_| Error::Field("evidence"))?;
        if evidence.validator() != self.record.validator() {
            return Err(Error::Field("evidence"));
        }
        for Validator { record, .. } in validators {
            if (record.key == evidence.key) != (record.slot == self.record.slot()) {
                return Err(Error::Field("quarantined slot"));
            }
        }
        Ok(())
    }
}

/// A decoded state: a view of its bytes.
#[derive(Clone, Copy, Debug)]
pub struct State<'a> {
    /// Everything that is not in a section.
    pub head: Head<'a>,
    /// The policy's text, at most [`limits::POLICY_TEXT`] bytes. Whether it can be loaded is not
    /// known yet.
    pub policy: &'a [u8],
    /// Slots that were given out: bit `s - 1` is that of slot `s`.
    pub slots: u128,
    /// The node's clock.
    pub clock: ClaimedClock<'a>,
    /// What the MAC covers: everything before it.
    pub signed: &'a [u8],
    /// HMAC-SHA-256 of that. Whether it is right is not known yet.
    pub mac: &'a [u8; MAC_LEN],
    /// Number of validators.
    count: u16,
    /// The validators, [`State::count`] of them and nothing else.
    validators: Reader<'a>,
    /// The validators that were quarantined once, and nothing else.
    quarantine: Reader<'a>,
    /// Slots and reputations, and nothing else.
    reputations: Reader<'a>,
}

impl<'a> State<'a> {
    /// Checks that a state is well formed.
    ///
    /// That includes whatever can be checked without the key: the length, that the anchor is the
    /// digest of its parts, and that validators, slots and clock fit each other.
    ///
    /// # Errors
    ///
    /// [`Refusal::StateMalformed`]; see [`State::parse`] for the reason.
    pub fn decode<D: Digest>(bytes: &'a [u8]) -> Result<Self, Refusal> {
        Self::parse::<D>(bytes).map_err(|_| Refusal::StateMalformed)
    }

    /// [`State::decode`] for whoever wants to say what is wrong.
    ///
    /// # Errors
    ///
    /// A [`wire::Error`].
    pub fn parse<D: Digest>(bytes: &'a [u8]) -> wire::Result<Self> {
        if bytes.len() > MAX_LEN {
            return Err(Error::Field("length"));
        }
        let (signed, mac) = bytes.split_last_chunk::<MAC_LEN>().ok_or(Error::Short)?;
        let mut reader = Reader::new(signed);
        reader.magic(MAGIC)?;
        if usize::try_from(reader.u32()?) != Ok(bytes.len()) {
            return Err(Error::Field("length"));
        }
        let head = Head::take(&mut reader)?;
        head.check::<D>()?;
        if reader.u16()? != SECTIONS {
            return Err(Error::Field("number of sections"));
        }
        let policy = take_section(&mut reader, POLICY)?.rest();
        if policy.len() > limits::POLICY_TEXT {
            return Err(Error::Field("policy"));
        }
        let mut validators = take_section(&mut reader, VALIDATORS)?;
        let count = validators.u16()?;
        let mut slots = take_section(&mut reader, SLOTS)?;
        let used = u128::from_be_bytes(*slots.array()?);
        slots.end()?;
        check_validators(validators, count, used)?;
        let mut clock = take_section(&mut reader, CLOCK)?;
        let claimed = ClaimedClock::take(&mut clock)?;
        clock.end()?;
        if claimed.get(NODE_SLOT) != head.number {
            return Err(Error::Field("clock of the node"));
        }
        let enrolled = Validators { reader: validators };
        let mut quarantine = take_section(&mut reader, QUARANTINE)?;
        let quarantined = quarantine.u16()?;
        check_quarantine::<D>(quarantine, quarantined, used, enrolled.clone())?;
        let mut reputations = take_section(&mut reader, REPUTATION)?;
        let known = reputations.u16()?;
        check_reputations(reputations, known, enrolled)?;
        reader.end()?;
        Ok(Self {
            head,
            policy,
            slots: used,
            clock: claimed,
            signed,
            mac,
            count,
            validators,
            quarantine,
            reputations,
        })
    }

    /// Number of validators, 1 to [`limits::VALIDATORS`].
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Iterates over the validators, in ascending order of slot.
    pub fn validators(&self) -> Validators<'a> {
        Validators {
            reader: self.validators,
        }
    }

    /// Iterates over the validators that were quarantined once, in ascending order of slot.
    pub fn quarantine(&self) -> impl Iterator<Item = Kept<'a>> {
        let mut reader = self.quarantine;
        core::iter::from_fn(move || Kept::take(&mut reader).ok())
    }

    /// Iterates over slots and reputations of the validators whose reputation is not as at first,
    /// in ascending order of slot.
    pub fn reputations(&self) -> impl Iterator<Item = (u16, reputation::Kept)> + 'a {
        let mut reader = self.reputations;
        core::iter::from_fn(move || take_reputation(&mut reader).ok())
    }
}

/// Takes a slot and the reputation of the validator there.
fn take_reputation(reader: &mut Reader<'_>) -> wire::Result<(u16, reputation::Kept)> {
    Ok((reader.u16()?, reputation::Kept::take(reader)?))
}

/// Takes the section that has to follow.
fn take_section<'a>(reader: &mut Reader<'a>, tag: u16) -> wire::Result<Reader<'a>> {
    if reader.u16()? != tag {
        return Err(Error::Field("section"));
    }
    reader.reserved(2)?;
    let len = usize::try_from(reader.u32()?).map_err(|_| Error::Short)?;
    Ok(Reader::new(reader.bytes(len)?))
}

/// Checks the validators of a state: their number and order, that no name and no key is there twice,
/// the sum of their weights, and that each has a slot that was given out.
fn check_validators(section: Reader<'_>, count: u16, used: u128) -> wire::Result {
    if !(1..=limits::VALIDATORS).contains(&usize::from(count)) {
        return Err(Error::Field("number of validators"));
    }
    let mut reader = section;
    let mut last = 0;
    let mut total: u64 = 0;
    for place in 0..count {
        let record = Validator::take(&mut reader)?.record;
        if record.slot <= last {
            return Err(Error::Field("order of validators"));
        }
        if slot_bit(record.slot).is_none_or(|bit| used & bit == 0) {
            return Err(Error::Field("slots"));
        }
        let mut before = section;
        for _ in 0..place {
            let other = Validator::skim(&mut before)?;
            if other.name == record.name {
                return Err(Error::Field("validator name"));
            }
            if other.key == record.key {
                return Err(Error::Field("public key"));
            }
        }
        last = record.slot;
        total = total.saturating_add(u64::from(record.weight));
    }
    if total > MAX_TOTAL_WEIGHT {
        return Err(Error::Field("weight"));
    }
    reader.end()
}

/// Checks the validators that were quarantined once: their number and order, that none is there
/// twice, that each has a slot that was given out, and see [`Kept::check`].
fn check_quarantine<D: Digest>(
    section: Reader<'_>,
    count: u16,
    used: u128,
    validators: Validators<'_>,
) -> wire::Result {
    if usize::from(count) > limits::VALIDATORS {
        return Err(Error::Field("number of quarantined validators"));
    }
    let mut reader = section;
    let mut last = 0;
    for place in 0..count {
        let kept = Kept::take(&mut reader)?;
        let slot = kept.record.slot();
        if slot <= last {
            return Err(Error::Field("order of quarantined validators"));
        }
        if slot_bit(slot).is_none_or(|bit| used & bit == 0) {
            return Err(Error::Field("quarantined slot"));
        }
        let mut before = section;
        for _ in 0..place {
            if Kept::take(&mut before)?.record.validator() == kept.record.validator() {
                return Err(Error::Field("quarantined validator"));
            }
        }
        kept.check::<D>(validators.clone())?;
        last = slot;
    }
    reader.end()
}

/// Checks the reputations: that each is one of an enrolled validator, in their order, and not as at
/// first.
fn check_reputations(
    mut reader: Reader<'_>,
    count: u16,
    mut validators: Validators<'_>,
) -> wire::Result {
    for _ in 0..count {
        let (slot, kept) = take_reputation(&mut reader)?;
        // The search goes on behind the last one, so the order is checked, too.
        if !validators.any(|validator| validator.record.slot == slot) {
            return Err(Error::Field("slot of a reputation"));
        }
        if kept == reputation::Kept::PRISTINE {
            return Err(Error::Field("reputation"));
        }
    }
    reader.end()
}

/// Writer of a state, section by section in their order.
///
/// After an error the buffer holds no state.
#[derive(Debug)]
pub struct StateWriter<'b> {
    out: Writer<'b>,
    /// Tag of the last section.
    last: u16,
}

impl<'b> StateWriter<'b> {
    /// Starts a state in `buf`; [`MAX_LEN`] bytes are enough for any.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], or [`Error::Field`] for a value that could not be decoded again.
    pub fn begin<D: Digest>(buf: &'b mut [u8], head: &Head<'_>) -> wire::Result<Self> {
        head.check::<D>()?;
        let mut out = Writer::new(buf);
        out.bytes(MAGIC)?;
        // The length, which is not known yet.
        out.u32(0)?;
        head.put(&mut out)?;
        out.u16(SECTIONS)?;
        Ok(Self { out, last: 0 })
    }

    /// Appends a section, whose value `fill` writes.
    fn section(
        &mut self,
        tag: u16,
        fill: impl FnOnce(&mut Writer<'b>) -> wire::Result,
    ) -> wire::Result {
        if self.last.checked_add(1) != Some(tag) {
            return Err(Error::Field("section"));
        }
        self.out.u16(tag)?;
        self.out.zeros(2)?;
        let len_at = self.out.len();
        self.out.u32(0)?;
        let start = self.out.len();
        fill(&mut self.out)?;
        let len = self.out.len().saturating_sub(start);
        let len = u32::try_from(len).map_err(|_| Error::NoSpace)?;
        self.out.patch(len_at, &len.to_be_bytes())?;
        self.last = tag;
        Ok(())
    }

    /// Appends a section that is a number of items and the items, each of which `put` writes.
    fn list<T>(
        &mut self,
        tag: u16,
        items: impl IntoIterator<Item = T>,
        mut put: impl FnMut(&mut Writer<'b>, T) -> wire::Result,
    ) -> wire::Result {
        self.section(tag, |out| {
            let count_at = out.len();
            out.u16(0)?;
            let mut count: u16 = 0;
            for item in items {
                put(out, item)?;
                count = count.checked_add(1).ok_or(Error::Field("number"))?;
            }
            out.patch(count_at, &count.to_be_bytes())
        })
    }

    /// Appends the policy's text.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], or [`Error::Field`] for a section that does not follow the last one.
    pub fn policy(&mut self, text: &[u8]) -> wire::Result {
        self.section(POLICY, |out| out.bytes(text))
    }

    /// Appends the validators, which come in ascending order of slot.
    ///
    /// # Errors
    ///
    /// As [`StateWriter::policy`], and [`Error::Field`] for a record that could not be decoded
    /// again.
    pub fn validators<'v, const N: usize>(
        &mut self,
        validators: impl IntoIterator<Item = Validator<'v, &'v VectorClock<N>>>,
    ) -> wire::Result {
        self.list(VALIDATORS, validators, |out, validator| {
            validator.record.put(out)?;
            out.u64(validator.accepted)?;
            validator.clock.put(out)
        })
    }

    /// Appends the slots that were given out: bit `s - 1` is that of slot `s`.
    ///
    /// # Errors
    ///
    /// As [`StateWriter::policy`].
    pub fn slots(&mut self, used: u128) -> wire::Result {
        self.section(SLOTS, |out| out.bytes(&used.to_be_bytes()))
    }

    /// Appends the node's clock, whose entry of the node is the number in the head.
    ///
    /// # Errors
    ///
    /// As [`StateWriter::policy`].
    pub fn clock<const N: usize>(&mut self, clock: &VectorClock<N>) -> wire::Result {
        self.section(CLOCK, |out| clock.put(out))
    }

    /// Appends the validators that were quarantined once, which come in ascending order of slot.
    ///
    /// # Errors
    ///
    /// As [`StateWriter::policy`].
    pub fn quarantine<'v>(
        &mut self,
        quarantine: impl IntoIterator<Item = Kept<'v>>,
    ) -> wire::Result {
        self.list(QUARANTINE, quarantine, |out, kept| kept.put(out))
    }

    /// Appends slots and reputations of enrolled validators, which come in ascending order of slot.
    /// Those that are as at first are left out.
    ///
    /// # Errors
    ///
    /// As [`StateWriter::policy`].
    pub fn reputation(
        &mut self,
        reputations: impl IntoIterator<Item = (u16, reputation::Kept)>,
    ) -> wire::Result {
        let known = reputations
            .into_iter()
            .filter(|(_, kept)| *kept != reputation::Kept::PRISTINE);
        self.list(REPUTATION, known, |out, (slot, kept)| {
            out.u16(slot)?;
            kept.put(out)
        })
    }

    /// Ends the state with the MAC that `mac` makes of everything before it, and returns its length.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], or whatever [`State::parse`] finds wrong: nothing is written that could
    /// not be given back.
    pub fn finish<D: Digest>(
        mut self,
        mac: impl FnOnce(&[u8]) -> [u8; MAC_LEN],
    ) -> wire::Result<usize> {
        let len = self.out.len().saturating_add(MAC_LEN);
        let len = u32::try_from(len).map_err(|_| Error::NoSpace)?;
        self.out.patch(LENGTH_AT, &len.to_be_bytes())?;
        let mac = mac(self.out.written());
        self.out.bytes(&mac)?;
        State::parse::<D>(self.out.written())?;
        Ok(self.out.len())
    }
}
