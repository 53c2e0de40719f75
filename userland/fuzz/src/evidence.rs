// SPDX-License-Identifier: GPL-2.0

//! Evidence: whatever is taken is made of its two votes again, in either order.
//!
//! With a first byte that is odd, the votes are made those of the key first, as far as there are any.

use crate::reference::{
    decode,
    dominates, //
};
use crate::{
    first,
    Sha256, //
};
use engine::byzantine::{
    contradiction,
    Fault, //
};
use engine::evidence::{
    encode,
    Evidence,
    MAX_LEN, //
};
use engine::refusal::Refusal;
use engine::vote::SignedVote;
use engine::wire::Digest;

/// Where the key stands.
const KEY: std::ops::Range<usize> = 10..75;

/// Where a signed part names its validator.
const VALIDATOR: std::ops::Range<usize> = 80..112;

/// Runs the target.
pub fn run(data: &[u8]) {
    let (flags, bytes) = first(data);
    let mut bytes = bytes.to_vec();
    if flags & 1 != 0 {
        name_validator(&mut bytes);
    }
    pair(&bytes);
    match Evidence::decode::<Sha256>(&bytes) {
        Ok(evidence) => round_trip(&evidence, &bytes),
        Err(refusal) => assert!(matches!(
            refusal,
            Refusal::EvidenceMalformed | Refusal::EvidenceNone
        )),
    }
}

/// Finds the parts after the key: a signed part, a signature, and the same again.
fn parts(bytes: &[u8]) -> Option<[std::ops::Range<usize>; 4]> {
    let mut at = KEY.end;
    let mut parts = [const { 0..0 }; 4];
    for part in &mut parts {
        let len = u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?);
        *part = at + 2..at + 2 + usize::from(len);
        at = part.end;
        bytes.get(part.clone())?;
    }
    Some(parts)
}

fn name_validator(bytes: &mut [u8]) {
    let Some([first, _, second, _]) = parts(bytes) else {
        return;
    };
    let validator = Sha256::sha256(&[&bytes[KEY]]);
    for part in [first, second] {
        if let Some(name) = bytes[part].get_mut(VALIDATOR) {
            name.copy_from_slice(&validator);
        }
    }
}

/// Judges the two votes, whatever stands before them.
fn pair(bytes: &[u8]) {
    let Some(parts) = parts(bytes) else { return };
    let [a, b, c, d] = parts.map(|part| &bytes[part]);
    let (Ok(one), Ok(two)) = (SignedVote::decode(a, b), SignedVote::decode(c, d)) else {
        return;
    };
    let fault = reference(&one, &two);
    assert_eq!(contradiction(&one, &two), fault);
    assert_eq!(contradiction(&two, &one), fault);
    assert_eq!(contradiction(&one, &one), None);
    let key: &[u8; 65] = bytes[KEY].try_into().unwrap();
    let right = Sha256::sha256(&[key]) == *one.vote.validator && key[0] == 4;
    let wanted = match fault {
        None => Err(Refusal::EvidenceNone),
        Some(_) if !right => Err(Refusal::EvidenceMalformed),
        Some(_) => Ok(()),
    };
    let mut out = [0; MAX_LEN];
    assert_eq!(
        encode::<Sha256>(key, &one, &two, &mut out).map(|_| ()),
        wanted
    );
}

/// The definitions of the document.
fn reference(one: &SignedVote<'_>, two: &SignedVote<'_>) -> Option<Fault> {
    let (a, b) = (&one.vote, &two.vote);
    if (a.validator, a.node, a.epoch) != (b.validator, b.node, b.epoch) {
        return None;
    }
    if a.request == b.request && a.verdict != b.verdict {
        return Some(Fault::Equivocation);
    }
    let (mine, theirs) = (decode(a.clock.as_bytes())?, decode(b.clock.as_bytes())?);
    let (own, other) = (mine[usize::from(a.slot)], theirs[usize::from(b.slot)]);
    if a.slot != b.slot || own == 0 || other == 0 {
        None
    } else if own == other {
        (one.signed != two.signed).then_some(Fault::Fork)
    } else {
        let (earlier, later) = if own < other {
            (mine, theirs)
        } else {
            (theirs, mine)
        };
        (!dominates(&later, &earlier)).then_some(Fault::Regression)
    }
}

fn round_trip(evidence: &Evidence<'_>, bytes: &[u8]) {
    let (first, second) = (&evidence.first, &evidence.second);
    let mut out = [0; MAX_LEN];
    for (one, two) in [(first, second), (second, first)] {
        let len = encode::<Sha256>(evidence.key, one, two, &mut out).unwrap();
        assert_eq!(out[..len], *bytes);
    }
    assert!(encode::<Sha256>(evidence.key, first, second, &mut out[..bytes.len() - 1]).is_err());
    assert_eq!(reference(first, second), Some(evidence.fault));
    assert_eq!(*evidence.validator(), Sha256::sha256(&[evidence.key]));
    assert!(first.vote.own() <= second.vote.own());
    assert!(
        evidence.entry() >= first.vote.clock.get(0) && evidence.entry() >= second.vote.clock.get(0)
    );
    assert!(Evidence::decode::<Sha256>(&bytes[..bytes.len() - 1]).is_err());
}
