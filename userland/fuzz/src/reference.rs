// SPDX-License-Identifier: GPL-2.0

//! What several references share.

/// A clock as a plain array, by slot.
pub(crate) type Entries = [u64; engine::clock::SLOTS];

/// Encodes the entries that are not zero.
pub(crate) fn encode(entries: &[u64]) -> Vec<u8> {
    let mut out = Vec::new();
    for (slot, value) in (0u16..).zip(entries).filter(|(_, &value)| value != 0) {
        out.extend(slot.to_be_bytes());
        out.extend(value.to_be_bytes());
    }
    out
}

/// Decodes a clock, [`None`] for what is none.
pub(crate) fn decode(bytes: &[u8]) -> Option<Entries> {
    let mut entries = [0; engine::clock::SLOTS];
    let mut next = 0;
    if bytes.len() % 10 != 0 {
        return None;
    }
    for entry in bytes.chunks(10) {
        let slot = usize::from(u16::from_be_bytes([entry[0], entry[1]]));
        let value = u64::from_be_bytes(entry[2..].try_into().ok()?);
        if slot < next || value == 0 {
            return None;
        }
        *entries.get_mut(slot)? = value;
        next = slot + 1;
    }
    Some(entries)
}

/// Whether no entry of `b` is greater.
pub(crate) fn dominates(a: &[u64], b: &[u64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a >= b)
}
