// SPDX-License-Identifier: GPL-2.0

//! Evidence: two votes that contradict each other, with the key that signed both.
//!
//! See "Evidence" in `Documentation/byzantine.rst`. Whoever has the bytes can check them with
//! nothing else. That both signatures verify is for the caller, who has the means.

use super::byzantine::{
    contradiction,
    Fault, //
};
use super::clock::NODE_SLOT;
use super::governance::{
    KEY_LEN,
    UNCOMPRESSED, //
};
use super::limits;
use super::refusal::Refusal;
use super::vote::{
    SignedVote,
    MAX_SIGNED, //
};
use super::wire::{
    self,
    Digest,
    Reader,
    Writer, //
};

/// First bytes of evidence.
pub const MAGIC: &[u8; 8] = b"TCPLEVD1";

/// Longest evidence, in bytes.
pub const MAX_LEN: usize = limits::EVIDENCE;

// Two votes with every entry and the longest signatures.
const _: () = assert!(10 + KEY_LEN + 2 * (2 + MAX_SIGNED + 2 + limits::SIGNATURE) == MAX_LEN);

/// Decoded evidence: a view of its bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Evidence<'a> {
    /// How the votes contradict each other.
    pub fault: Fault,
    /// Public key of the validator. That it is a point of the curve is for whoever loads it to
    /// check.
    pub key: &'a [u8; KEY_LEN],
    /// The vote with the smaller own entry; when they are equal, that whose bytes compare less.
    pub first: SignedVote<'a>,
    /// The other vote.
    pub second: SignedVote<'a>,
}

impl<'a> Evidence<'a> {
    /// Decodes evidence. The signatures are not verified.
    ///
    /// # Errors
    ///
    /// [`Refusal::EvidenceMalformed`] for bytes that are no evidence, votes in the other order, or a
    /// key that is not that of both votes; [`Refusal::EvidenceNone`] when the votes do not
    /// contradict each other in the way that is named.
    pub fn decode<D: Digest>(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let evidence = Self::parse(bytes)?;
        evidence.check_key::<D>()?;
        Ok(evidence)
    }

    /// [`Evidence::decode`] without the digest of the key.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        let malformed = |_| Refusal::EvidenceMalformed;
        let mut reader = Reader::new(bytes);
        let (kind, key) = take_head(&mut reader).map_err(malformed)?;
        let fault = Fault::from_u8(kind).ok_or(Refusal::EvidenceMalformed)?;
        if key.first() != Some(&UNCOMPRESSED) {
            return Err(Refusal::EvidenceMalformed);
        }
        let first = take_vote(&mut reader)?;
        let second = take_vote(&mut reader)?;
        reader.end().map_err(malformed)?;
        if rank(&first) > rank(&second) {
            return Err(Refusal::EvidenceMalformed);
        }
        if contradiction(&first, &second) != Some(fault) {
            return Err(Refusal::EvidenceNone);
        }
        Ok(Self {
            fault,
            key,
            first,
            second,
        })
    }

    /// Checks that the votes are of the key. They are of one validator: they contradict each other.
    fn check_key<D: Digest>(&self) -> Result<(), Refusal> {
        if D::sha256(&[self.key]) == *self.validator() {
            Ok(())
        } else {
            Err(Refusal::EvidenceMalformed)
        }
    }

    /// The validator: the digest of its key.
    pub fn validator(&self) -> &'a [u8; 32] {
        self.first.vote.validator
    }

    /// The node that both votes are for.
    pub fn node(&self) -> &'a [u8; 32] {
        self.first.vote.node
    }

    /// The greatest entry of that node in the clocks of both votes.
    pub fn entry(&self) -> u64 {
        let entry = |vote: &SignedVote<'_>| vote.vote.clock.get(NODE_SLOT);
        entry(&self.first).max(entry(&self.second))
    }
}

/// What the order of the two votes goes by.
fn rank<'a>(vote: &SignedVote<'a>) -> (u64, &'a [u8]) {
    (vote.vote.own(), vote.signed)
}

/// Takes what stands before the votes: the kind and the key.
fn take_head<'a>(reader: &mut Reader<'a>) -> wire::Result<(u8, &'a [u8; KEY_LEN])> {
    reader.magic(MAGIC)?;
    let kind = reader.u8()?;
    reader.reserved(1)?;
    Ok((kind, reader.array()?))
}

/// Takes a `u16` length and that many bytes.
fn take_part<'a>(reader: &mut Reader<'a>) -> wire::Result<&'a [u8]> {
    let len = reader.u16()?;
    reader.bytes(usize::from(len))
}

/// Takes a vote and its signature.
fn take_vote<'a>(reader: &mut Reader<'a>) -> Result<SignedVote<'a>, Refusal> {
    let mut parts = || Ok((take_part(reader)?, take_part(reader)?));
    parts()
        .map_err(|_: wire::Error| Refusal::EvidenceMalformed)
        .and_then(|(signed, signature)| SignedVote::decode(signed, signature))
        .map_err(|_| Refusal::EvidenceMalformed)
}

/// Appends a `u16` length and the bytes.
fn put_part(out: &mut Writer<'_>, bytes: &[u8]) -> wire::Result {
    out.u16(u16::try_from(bytes.len()).map_err(|_| wire::Error::NoSpace)?)?;
    out.bytes(bytes)
}

/// Makes evidence of two votes, in any order, and returns its length, at most [`MAX_LEN`].
///
/// # Errors
///
/// [`Refusal::EvidenceNone`] when they do not contradict each other, and
/// [`Refusal::EvidenceMalformed`] when `key` is not that of both, or `out` is too small.
pub fn encode<D: Digest>(
    key: &[u8; KEY_LEN],
    a: &SignedVote<'_>,
    b: &SignedVote<'_>,
    out: &mut [u8],
) -> Result<usize, Refusal> {
    let fault = contradiction(a, b).ok_or(Refusal::EvidenceNone)?;
    let (first, second) = if rank(a) <= rank(b) { (a, b) } else { (b, a) };
    let put = |out: &mut Writer<'_>| {
        out.bytes(MAGIC)?;
        out.u8(fault as u8)?;
        out.zeros(1)?;
        out.bytes(key)?;
        for vote in [first, second] {
            put_part(out, vote.signed)?;
            put_part(out, vote.signature)?;
        }
        wire::Result::Ok(())
    };
    let mut out = Writer::new(out);
    put(&mut out).map_err(|_| Refusal::EvidenceMalformed)?;
    Evidence::decode::<D>(out.written())?;
    Ok(out.len())
}
