// SPDX-License-Identifier: GPL-2.0

//! Signatures: exactly one encoding counts, see [`engine::der`].
//!
//! The reference reads minimal DER and nothing else.

use engine::der::{
    self,
    Signature,
    HALF_ORDER,
    MAX_LEN,
    ORDER, //
};
use engine::refusal::Refusal;

/// Runs the target.
pub fn run(data: &[u8]) {
    let decoded = der::decode(data);
    assert_eq!(decoded.ok(), reference(data));
    match decoded {
        Ok(signature) => {
            let mut out = [0; MAX_LEN];
            let len = signature.encode(&mut out).unwrap();
            assert_eq!(out[..len], *data);
            assert!(signature.is_low());
            assert!(signature.encode(&mut out[..len - 1]).is_err());
        }
        Err(refusal) => assert!(matches!(
            refusal,
            Refusal::VoteMalformed | Refusal::VoteMalleable
        )),
    }
    if let Some(fixed) = data.first_chunk::<64>() {
        normalize(fixed);
    }
}

/// What a signer does with two numbers.
fn normalize(fixed: &[u8; 64]) {
    let (r, s) = (
        fixed[..32].try_into().unwrap(),
        fixed[32..].try_into().unwrap(),
    );
    let mut out = [0; MAX_LEN];
    let result = der::normalize(fixed, &mut out);
    assert_eq!(result.is_ok(), is_scalar(&r) && is_scalar(&s));
    let Ok(len) = result else { return };
    let signature = der::decode(&out[..len]).unwrap();
    assert_eq!(signature.r, r);
    // The twin of a high number is low, and the sum of both is the order.
    assert!(signature.s == s || (s > HALF_ORDER && sum(&signature.s, &s) == ORDER));
    let high = Signature { r, s };
    let mut encoded = [0; MAX_LEN];
    let len = high.encode(&mut encoded).unwrap();
    assert_eq!(der::decode(&encoded[..len]).is_ok(), high.is_low());
}

/// Adds numbers whose sum has 256 bits.
fn sum(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let mut carry = 0;
    let mut out = [0; 32];
    for place in (0..32).rev() {
        let digit = u16::from(a[place]) + u16::from(b[place]) + carry;
        out[place] = (digit & 0xff) as u8;
        carry = digit >> 8;
    }
    out
}

fn is_scalar(number: &[u8; 32]) -> bool {
    *number != [0; 32] && *number < ORDER
}

/// Reads one INTEGER.
fn integer(bytes: &[u8]) -> Option<([u8; 32], &[u8])> {
    let [2, len, rest @ ..] = bytes else {
        return None;
    };
    let (number, rest) = rest.split_at_checked(usize::from(*len))?;
    let digits = match number {
        [0, high, ..] if *high >= 0x80 => &number[1..],
        [first, ..] if (1..0x80).contains(first) => number,
        _ => return None,
    };
    let mut out = [0; 32];
    let start = 32usize.checked_sub(digits.len())?;
    out[start..].copy_from_slice(digits);
    Some((out, rest))
}

/// Reads minimal DER.
fn reference(data: &[u8]) -> Option<Signature> {
    let [0x30, len, rest @ ..] = data else {
        return None;
    };
    if *len >= 0x80 || usize::from(*len) != rest.len() {
        return None;
    }
    let (r, rest) = integer(rest)?;
    let (s, rest) = integer(rest)?;
    let good = rest.is_empty() && is_scalar(&r) && is_scalar(&s) && s <= HALF_ORDER;
    good.then_some(Signature { r, s })
}
