// SPDX-License-Identifier: GPL-2.0

//! Names and numbers as policies, commands and records write them.

use super::limits;

/// Whether `name` is 1 to 32 of `[A-Za-z0-9._-]`: the name of a policy, a class, an agent or a
/// validator.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= limits::NAME
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// Parses a decimal number: digits only, no sign, and no zero in front of another digit.
pub fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || (text.len() > 1 && text.first() == Some(&b'0')) {
        return None;
    }
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Parses 64 hexadecimal digits of either case.
pub fn digest(text: &[u8]) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
        let &[high, low] = pair else {
            return None;
        };
        *byte = (hex_digit(high)? << 4) | hex_digit(low)?;
    }
    Some(digest)
}

/// Returns the value of a hexadecimal digit.
fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
