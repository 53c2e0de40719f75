// SPDX-License-Identifier: GPL-2.0

//! The one canonical encoding of an ECDSA signature over P-256.
//!
//! A signature `(r, s)` has a twin `(r, n - s)` that verifies as well, and a lenient reader of DER
//! takes many encodings of either. Only one byte string counts here: minimal DER with `s <= n / 2`.
//! Everything else that a lenient reader would take is *malleable*, and the rest is *malformed*.

use super::limits;
use super::refusal::Refusal;
use super::wire::{
    Error,
    Reader,
    Writer, //
};

/// Longest signature, in bytes.
pub const MAX_LEN: usize = limits::SIGNATURE;

/// Order of the group, big-endian.
///
/// Source: SEC 2, version 2, 2.4.2 "Recommended Parameters secp256r1".
pub const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Half of the order, rounded down, big-endian: the greatest low `s`.
pub const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8,
];

/// Tag of a constructed SEQUENCE.
const SEQUENCE: u8 = 0x30;
/// Tag of an INTEGER.
const INTEGER: u8 = 0x02;

/// A signature as its two numbers, big-endian, each 1 to the order less one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Signature {
    /// The number `r`.
    pub r: [u8; 32],
    /// The number `s`.
    pub s: [u8; 32],
}

/// Whether a number is 1 to the order less one.
fn is_scalar(number: &[u8; 32]) -> bool {
    *number < ORDER && number.iter().any(|&b| b != 0)
}

/// Returns the order less `number`, for a number below the order.
fn negate(number: &[u8; 32]) -> [u8; 32] {
    let mut result = [0; 32];
    let mut borrow = false;
    let digits = ORDER.iter().rev().zip(number.iter().rev());
    for (out, (a, b)) in result.iter_mut().rev().zip(digits) {
        let (difference, first) = a.overflowing_sub(*b);
        let (difference, second) = difference.overflowing_sub(u8::from(borrow));
        *out = difference;
        borrow = first || second;
    }
    result
}

/// Takes a length as BER has it: short, or in up to two bytes.
fn take_length(reader: &mut Reader<'_>) -> Result<usize, Error> {
    match reader.u8()? {
        short @ 0..=0x7f => Ok(usize::from(short)),
        0x81 => Ok(usize::from(reader.u8()?)),
        0x82 => Ok(usize::from(reader.u16()?)),
        _ => Err(Error::Field("length")),
    }
}

/// Takes an INTEGER of up to 256 bits as a lenient reader does, its sign ignored.
fn take_integer(reader: &mut Reader<'_>) -> Result<[u8; 32], Error> {
    if reader.u8()? != INTEGER {
        return Err(Error::Field("tag"));
    }
    let len = take_length(reader)?;
    let bytes = reader.bytes(len)?;
    let start = bytes.iter().take_while(|&&b| b == 0).count();
    let digits = bytes.get(start..).unwrap_or(&[]);
    let mut number = [0; 32];
    let at = number.len().checked_sub(digits.len());
    at.and_then(|at| number.get_mut(at..))
        .ok_or(Error::Field("integer"))?
        .copy_from_slice(digits);
    Ok(number)
}

/// Reads a signature as a lenient reader does; what follows it is ignored.
fn read_lenient(der: &[u8]) -> Result<Signature, Error> {
    let mut outer = Reader::new(der);
    if outer.u8()? != SEQUENCE {
        return Err(Error::Field("tag"));
    }
    let len = take_length(&mut outer)?;
    let mut inner = Reader::new(outer.bytes(len)?);
    Ok(Signature {
        r: take_integer(&mut inner)?,
        s: take_integer(&mut inner)?,
    })
}

/// Appends a number as a minimal INTEGER.
fn put_integer(out: &mut Writer<'_>, number: &[u8; 32]) -> Result<(), Error> {
    let start = number.iter().take_while(|&&b| b == 0).count();
    let digits = number.get(start..).unwrap_or(&[]);
    let pad = digits.first().is_none_or(|&b| b >= 0x80);
    let len = digits.len().saturating_add(usize::from(pad));
    out.u8(INTEGER)?;
    out.u8(u8::try_from(len).map_err(|_| Error::NoSpace)?)?;
    out.zeros(usize::from(pad))?;
    out.bytes(digits)
}

impl Signature {
    /// Encodes the signature as it is, low or high, and returns the length.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`]; never with a buffer of [`MAX_LEN`] bytes.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, Error> {
        let mut out = Writer::new(out);
        out.bytes(&[SEQUENCE, 0])?;
        put_integer(&mut out, &self.r)?;
        put_integer(&mut out, &self.s)?;
        let len = u8::try_from(out.len().saturating_sub(2)).map_err(|_| Error::NoSpace)?;
        out.patch(1, &[len])?;
        Ok(out.len())
    }

    /// Whether `s` is at most half of the order.
    pub fn is_low(&self) -> bool {
        self.s <= HALF_ORDER
    }
}

/// Decodes a signature, which must be in its one canonical encoding.
///
/// # Errors
///
/// [`Refusal::VoteMalformed`] when it is no signature under any reading: too long, no sequence of
/// two integers, or a number that is not 1 to the order less one. [`Refusal::VoteMalleable`] when a
/// lenient reader would take it, but it is not canonical: `s` is high, a length or an integer is not
/// minimal, or something stands after the integers.
pub fn decode(der: &[u8]) -> Result<Signature, Refusal> {
    if der.len() > MAX_LEN {
        return Err(Refusal::VoteMalformed);
    }
    let signature = read_lenient(der).map_err(|_| Refusal::VoteMalformed)?;
    if !is_scalar(&signature.r) || !is_scalar(&signature.s) {
        return Err(Refusal::VoteMalformed);
    }
    let mut canonical = [0; MAX_LEN];
    let len = signature
        .encode(&mut canonical)
        .map_err(|_| Refusal::VoteMalformed)?;
    if !signature.is_low() || canonical.get(..len) != Some(der) {
        return Err(Refusal::VoteMalleable);
    }
    Ok(signature)
}

/// Encodes a signature given as `r || s`, 32 bytes each, canonically, and returns the length.
///
/// A signer calls this on what its library or token has made: a high `s` is replaced by its twin.
///
/// # Errors
///
/// [`Refusal::VoteMalformed`] when a number is not 1 to the order less one, or `out` is too small;
/// [`MAX_LEN`] bytes always do.
pub fn normalize(fixed: &[u8; 64], out: &mut [u8]) -> Result<usize, Refusal> {
    let mut reader = Reader::new(fixed);
    let mut signature = Signature {
        r: *reader.array()?,
        s: *reader.array()?,
    };
    if !is_scalar(&signature.r) || !is_scalar(&signature.s) {
        return Err(Refusal::VoteMalformed);
    }
    if !signature.is_low() {
        signature.s = negate(&signature.s);
    }
    Ok(signature.encode(out)?)
}
