// SPDX-License-Identifier: GPL-2.0

//! Votes: what a validator signs, and the record that carries it.
//!
//! See "Vote" in `Documentation/wire-format.rst`. [`VoteRecord::decode`] is step 1 of the nine that
//! a node takes, [`check`] is steps 2 to 8 in their order, and step 9, the signature over
//! [`VoteRecord::signed`], is for the caller, who has the key. An early vote is held only after
//! step 9, too.

use super::clock::{
    self,
    ClaimedClock,
    Timing,
    VectorClock, //
};
use super::der;
use super::limits;
use super::quorum::Verdict;
use super::refusal::Refusal;
use super::wire::{
    self,
    Digest,
    Error,
    Reader,
    Writer, //
};

/// First bytes of a vote.
pub const MAGIC: &[u8; 8] = b"TCPLVOT2";

/// Bytes of a vote before its clock.
pub const FIXED_LEN: usize = 156;

/// Longest signed part, in bytes.
pub const MAX_SIGNED: usize = FIXED_LEN + clock::SLOTS * clock::ENTRY_LEN;

/// Longest record, in bytes.
pub const MAX_RECORD: usize = MAX_SIGNED + 2 + limits::SIGNATURE + limits::REASON;

/// The reason digest of a vote without a reason.
pub const NO_REASON: [u8; 32] = [0; 32];

/// What a validator signs: a view of its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Vote<'a> {
    /// The node that the vote is for.
    pub node: &'a [u8; 32],
    /// The epoch that the vote is for.
    pub epoch: u64,
    /// Id of the request.
    pub request: &'a [u8; 32],
    /// Who votes: the digest of the public key.
    pub validator: &'a [u8; 32],
    /// What the validator says.
    pub verdict: Verdict,
    /// The validator's place in the node's clock, 1 to 128.
    pub slot: u16,
    /// The vote is not accepted after this, in milliseconds of the node's `CLOCK_BOOTTIME`.
    pub expires_ms: u64,
    /// Digest of the reason's text, [`NO_REASON`] without one.
    pub reason_digest: &'a [u8; 32],
    /// The validator's vector clock, at least one entry.
    pub clock: ClaimedClock<'a>,
}

impl<'a> Vote<'a> {
    /// Takes a vote off the front of a record; `decode` makes the clock of its bytes.
    fn take(
        reader: &mut Reader<'a>,
        decode: fn(&'a [u8]) -> wire::Result<ClaimedClock<'a>>,
    ) -> wire::Result<Self> {
        reader.magic(MAGIC)?;
        // One look at the length is enough for all of it.
        let fixed: &'a [u8; FIXED_LEN - MAGIC.len()] = reader.array()?;
        let clock = reader;
        let mut reader = Reader::new(fixed);
        let node = reader.array()?;
        let epoch = reader.u64()?;
        let request = reader.array()?;
        let validator = reader.array()?;
        let verdict = Verdict::from_u8(reader.u8()?).ok_or(Error::Field("verdict"))?;
        let slot = u16::from(reader.u8()?);
        if !(1..=limits::VALIDATORS).contains(&usize::from(slot)) {
            return Err(Error::Field("slot"));
        }
        let entries = usize::from(reader.u16()?);
        if !(1..=clock::SLOTS).contains(&entries) {
            return Err(Error::Field("clock entries"));
        }
        let expires_ms = reader.u64()?;
        let reason_digest = reader.array()?;
        let len = entries.saturating_mul(clock::ENTRY_LEN);
        Ok(Self {
            node,
            epoch,
            request,
            validator,
            verdict,
            slot,
            expires_ms,
            reason_digest,
            clock: decode(clock.bytes(len)?)?,
        })
    }

    /// Decodes the signed part by itself.
    ///
    /// # Errors
    ///
    /// [`Refusal::VoteMalformed`] or [`Refusal::VoteVersion`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(bytes);
        let vote = Self::take(&mut reader, ClaimedClock::decode)?;
        reader.end()?;
        Ok(vote)
    }

    /// The validator's own entry: that of its slot in the clock, 0 when there is none.
    pub fn own(&self) -> u64 {
        self.clock.get(self.slot)
    }

    /// Writes what the validator signs and returns its length, at most [`MAX_SIGNED`].
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`], or [`Error::Field`] for a clock without entries or a slot out of range.
    pub fn encode_signed(&self, out: &mut [u8]) -> wire::Result<usize> {
        let entries = self.clock.count();
        if entries == 0 {
            return Err(Error::Field("clock entries"));
        }
        let slot = u8::try_from(self.slot)
            .ok()
            .filter(|&slot| (1..=limits::VALIDATORS).contains(&usize::from(slot)))
            .ok_or(Error::Field("slot"))?;
        let mut out = Writer::new(out);
        out.bytes(MAGIC)?;
        out.bytes(self.node)?;
        out.u64(self.epoch)?;
        out.bytes(self.request)?;
        out.bytes(self.validator)?;
        out.u8(self.verdict as u8)?;
        out.u8(slot)?;
        out.u16(u16::try_from(entries).map_err(|_| Error::Field("clock entries"))?)?;
        out.u64(self.expires_ms)?;
        out.bytes(self.reason_digest)?;
        out.bytes(self.clock.as_bytes())?;
        Ok(out.len())
    }

    /// Step 2: the vote is for this load of this node.
    ///
    /// # Errors
    ///
    /// [`Refusal::VoteOtherNode`] or [`Refusal::VoteOtherEpoch`].
    pub fn check_place(&self, node: &[u8; 32], epoch: u64) -> Result<(), Refusal> {
        if self.node != node {
            Err(Refusal::VoteOtherNode)
        } else if self.epoch != epoch {
            Err(Refusal::VoteOtherEpoch)
        } else {
            Ok(())
        }
    }

    /// Step 5: the vote is alive at `now_ms` and does not outlive the request.
    ///
    /// # Errors
    ///
    /// [`Refusal::VoteExpired`].
    pub fn check_expiry(&self, now_ms: u64, request_expires_ms: u64) -> Result<(), Refusal> {
        if now_ms > self.expires_ms || self.expires_ms > request_expires_ms {
            Err(Refusal::VoteExpired)
        } else {
            Ok(())
        }
    }
}

/// Returns the digest that a vote with that reason carries.
pub fn reason_digest<D: Digest>(reason: &str) -> [u8; 32] {
    if reason.is_empty() {
        NO_REASON
    } else {
        D::sha256(&[reason.as_bytes()])
    }
}

/// A vote with its signature: what proves that the validator said it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SignedVote<'a> {
    /// The bytes that the signature covers.
    pub signed: &'a [u8],
    /// What they say.
    pub vote: Vote<'a>,
    /// The signature, in its canonical encoding. Whether it verifies is not known yet.
    pub signature: &'a [u8],
}

impl<'a> SignedVote<'a> {
    /// Decodes the signed part, and looks at the encoding of the signature.
    ///
    /// # Errors
    ///
    /// [`Refusal::VoteMalformed`], [`Refusal::VoteVersion`] or [`Refusal::VoteMalleable`].
    pub fn decode(signed: &'a [u8], signature: &'a [u8]) -> Result<Self, Refusal> {
        let vote = Vote::decode(signed)?;
        der::decode(signature)?;
        Ok(Self {
            signed,
            vote,
            signature,
        })
    }

    /// Takes parts that were decoded once already, without looking at the clock and the signature
    /// again.
    pub(super) fn skim(signed: &'a [u8], signature: &'a [u8]) -> wire::Result<Self> {
        let vote = Vote::take(&mut Reader::new(signed), |bytes| {
            Ok(ClaimedClock::skim(bytes))
        })?;
        Ok(Self {
            signed,
            vote,
            signature,
        })
    }
}

/// A vote with its signature and reason: a view of the bytes that files and netlink carry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct VoteRecord<'a> {
    /// The bytes that the signature covers.
    pub signed: &'a [u8],
    /// What they say.
    pub vote: Vote<'a>,
    /// The signature, in its canonical encoding. Whether it verifies is not known yet.
    pub signature: &'a [u8],
    /// The reason, at most 256 bytes, empty without one.
    pub reason: &'a str,
}

impl<'a> VoteRecord<'a> {
    /// Step 1: decodes a record.
    ///
    /// # Errors
    ///
    /// [`Refusal::VoteMalformed`], [`Refusal::VoteVersion`], or [`Refusal::VoteMalleable`] for a
    /// signature that is not in its canonical encoding.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(bytes);
        let vote = Vote::take(&mut reader, ClaimedClock::decode)?;
        let signed_len = bytes.len().saturating_sub(reader.rest().len());
        let signed = bytes.get(..signed_len).ok_or(Refusal::VoteMalformed)?;
        let signature_len = reader.u16()?;
        let signature = reader.bytes(usize::from(signature_len))?;
        let reason = reader.rest();
        if reason.len() > limits::REASON {
            return Err(Refusal::VoteMalformed);
        }
        let reason = core::str::from_utf8(reason).map_err(|_| Refusal::VoteMalformed)?;
        der::decode(signature)?;
        Ok(Self {
            signed,
            vote,
            signature,
            reason,
        })
    }

    /// The vote without its reason.
    pub fn signed_vote(&self) -> SignedVote<'a> {
        SignedVote {
            signed: self.signed,
            vote: self.vote,
            signature: self.signature,
        }
    }

    /// Step 7: the reason is the one that was signed.
    ///
    /// # Errors
    ///
    /// [`Refusal::VoteReason`].
    pub fn check_reason<D: Digest>(&self) -> Result<(), Refusal> {
        if reason_digest::<D>(self.reason) == *self.vote.reason_digest {
            Ok(())
        } else {
            Err(Refusal::VoteReason)
        }
    }
}

/// Writes a record of its parts and returns its length, at most [`MAX_RECORD`].
///
/// # Errors
///
/// [`Error::NoSpace`], or [`Error::Field`] for a signature or a reason that could not be decoded
/// again. The signed part is taken as it is.
pub fn encode_record(
    signed: &[u8],
    signature: &[u8],
    reason: &str,
    out: &mut [u8],
) -> wire::Result<usize> {
    der::decode(signature).map_err(|_| Error::Field("signature"))?;
    if reason.len() > limits::REASON {
        return Err(Error::Field("reason"));
    }
    let mut out = Writer::new(out);
    out.bytes(signed)?;
    out.u16(u16::try_from(signature.len()).map_err(|_| Error::Field("signature"))?)?;
    out.bytes(signature)?;
    out.bytes(reason.as_bytes())?;
    Ok(out.len())
}

/// What a node knows about the request that a vote names.
#[derive(Clone, Copy, Debug)]
pub struct RequestState {
    /// Whether it is undecided.
    pub open: bool,
    /// The node's own clock entry at its REQUEST event.
    pub created: u64,
    /// When it expires, in milliseconds of `CLOCK_BOOTTIME`.
    pub expires_ms: u64,
}

/// What a node knows about the validator that a vote names.
#[derive(Debug)]
pub struct ValidatorState<'a, const N: usize> {
    /// Place in the vector clock.
    pub slot: u16,
    /// Whether the validator is quarantined.
    pub quarantined: bool,
    /// Whether the validator has voted on this request.
    pub voted: bool,
    /// Clock of the last accepted vote, zeros at first.
    pub last: &'a VectorClock<N>,
}

/// What a node knows when a vote arrives.
#[derive(Debug)]
pub struct Situation<'a, const N: usize> {
    /// The node's name.
    pub node: &'a [u8; 32],
    /// Its epoch.
    pub epoch: u64,
    /// Now, in milliseconds of `CLOCK_BOOTTIME`.
    pub now_ms: u64,
    /// The request that the vote names, if there is one.
    pub request: Option<RequestState>,
    /// The validator that the vote names, if it is enrolled.
    pub validator: Option<ValidatorState<'a, N>>,
    /// The node's clock.
    pub clock: &'a VectorClock<N>,
}

/// Steps 2 to 8 for a record, in their order: everything but the signature. Says whether the
/// causes of the vote have arrived.
///
/// # Errors
///
/// The [`Refusal`] of the first step that fails.
pub fn check<D: Digest, const N: usize>(
    record: &VoteRecord<'_>,
    situation: &Situation<'_, N>,
) -> Result<Timing, Refusal> {
    let vote = &record.vote;
    vote.check_place(situation.node, situation.epoch)?;
    let request = situation
        .request
        .as_ref()
        .ok_or(Refusal::VoteUnknownRequest)?;
    if !request.open {
        return Err(Refusal::VoteClosedRequest);
    }
    let validator = situation
        .validator
        .as_ref()
        .ok_or(Refusal::VoteUnknownValidator)?;
    if vote.slot != validator.slot {
        return Err(Refusal::VoteSlot);
    }
    if validator.quarantined {
        return Err(Refusal::VoteQuarantined);
    }
    vote.check_expiry(situation.now_ms, request.expires_ms)?;
    if validator.voted {
        return Err(Refusal::VoteDuplicate);
    }
    record.check_reason::<D>()?;
    clock::check_vote(
        &vote.clock,
        validator.slot,
        validator.last,
        situation.clock,
        request.created,
    )
}
