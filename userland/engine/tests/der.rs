// SPDX-License-Identifier: GPL-2.0

//! The canonical encoding of signatures, against an independent implementation.

mod support;

use engine::der::{
    decode,
    normalize,
    Signature,
    HALF_ORDER,
    MAX_LEN,
    ORDER, //
};
use engine::refusal::Refusal;
use engine::wire::Error;
use p256::ecdsa::signature::Verifier;
use proptest::prelude::*;
use support::Key;

fn encode(r: [u8; 32], s: [u8; 32]) -> Vec<u8> {
    let mut out = [0; MAX_LEN];
    let len = Signature { r, s }.encode(&mut out).unwrap();
    out[..len].to_vec()
}

/// A number that is small, just above or below another, or any.
fn number(base: [u8; 32], add: i8) -> [u8; 32] {
    let mut out = base;
    let mut carry = i16::from(add);
    for byte in out.iter_mut().rev() {
        let sum = i16::from(*byte) + carry;
        *byte = u8::try_from(sum.rem_euclid(256)).unwrap();
        carry = sum.div_euclid(256);
    }
    out
}

const ONE: [u8; 32] = {
    let mut one = [0; 32];
    one[31] = 1;
    one
};

fn any_number() -> impl Strategy<Value = [u8; 32]> {
    prop_oneof![
        any::<[u8; 32]>(),
        (-3i8..=3).prop_map(|add| number(ORDER, add)),
        (-3i8..=3).prop_map(|add| number(HALF_ORDER, add)),
        (0i8..=3).prop_map(|add| number([0; 32], add)),
        // Leading zeros of every count.
        (any::<[u8; 32]>(), 0usize..32).prop_map(|(mut bytes, zeros)| {
            bytes[..zeros].fill(0);
            bytes
        }),
    ]
}

#[test]
fn half_of_the_order_is_half_of_the_order() {
    // n = 2 * half + 1
    let mut carry = 1u16;
    let mut double = HALF_ORDER;
    for byte in double.iter_mut().rev() {
        carry += u16::from(*byte) * 2;
        *byte = u8::try_from(carry & 0xff).unwrap();
        carry >>= 8;
    }
    assert_eq!((double, carry), (ORDER, 0));
}

#[test]
fn limits_of_both_numbers() {
    let top = number(ORDER, -1);
    assert!(decode(&encode(ONE, ONE)).is_ok());
    assert!(decode(&encode(top, HALF_ORDER)).is_ok());
    assert_eq!(encode(top, HALF_ORDER).len(), 71);
    assert_eq!(
        decode(&encode(ONE, number(HALF_ORDER, 1))),
        Err(Refusal::VoteMalleable)
    );
    assert_eq!(decode(&encode(ONE, top)), Err(Refusal::VoteMalleable));
    assert_eq!(encode(top, top).len(), 72);
    assert_eq!(decode(&encode(top, top)), Err(Refusal::VoteMalleable));
    for bad in [[0; 32], ORDER, number(ORDER, 1), [0xff; 32]] {
        assert_eq!(decode(&encode(bad, ONE)), Err(Refusal::VoteMalformed));
        assert_eq!(decode(&encode(ONE, bad)), Err(Refusal::VoteMalformed));
    }
}

#[test]
fn other_encodings_of_a_signature_are_malleable() {
    let good = [0x30, 6, 2, 1, 5, 2, 1, 7];
    assert!(decode(&good).is_ok());
    for other in [
        // A length in more bytes than it needs: of the sequence, of r, of s.
        &[0x30, 0x81, 6, 2, 1, 5, 2, 1, 7][..],
        &[0x30, 0x82, 0, 6, 2, 1, 5, 2, 1, 7],
        &[0x30, 7, 2, 0x81, 1, 5, 2, 1, 7],
        &[0x30, 7, 2, 1, 5, 2, 0x81, 1, 7],
        // A zero in front that is not needed.
        &[0x30, 7, 2, 2, 0, 5, 2, 1, 7],
        &[0x30, 7, 2, 1, 5, 2, 2, 0, 7],
        // A zero in front that is needed but missing.
        &[0x30, 6, 2, 1, 0x85, 2, 1, 7],
        // Something behind the integers, within the sequence or after it.
        &[0x30, 7, 2, 1, 5, 2, 1, 7, 0],
        &[0x30, 6, 2, 1, 5, 2, 1, 7, 0],
        &[0x30, 9, 2, 1, 5, 2, 1, 7, 2, 1, 1],
    ] {
        assert_eq!(decode(other), Err(Refusal::VoteMalleable), "{other:?}");
    }
}

#[test]
fn garbage_is_malformed() {
    for garbage in [
        &[][..],
        &[0x30],
        &[0x30, 0],
        &[0x31, 6, 2, 1, 5, 2, 1, 7],
        &[0x30, 6, 3, 1, 5, 2, 1, 7],
        &[0x30, 6, 2, 1, 5, 3, 1, 7],
        &[0x30, 3, 2, 1, 5],
        &[0x30, 5, 2, 1, 5, 2, 1, 7],
        &[0x30, 0x80, 2, 1, 5, 2, 1, 7, 0, 0],
        &[0x30, 6, 2, 0, 2, 2, 1, 7],
    ] {
        assert_eq!(decode(garbage), Err(Refusal::VoteMalformed), "{garbage:?}");
    }
    // A number of 33 digits, and a signature that is too long.
    let mut long = vec![0x30, 38, 2, 33];
    long.extend([1; 33]);
    long.extend([2, 1, 1]);
    assert_eq!(decode(&long), Err(Refusal::VoteMalformed));
    let mut padded = vec![0x30, 6, 2, 1, 5, 2, 1, 7];
    padded.resize(MAX_LEN, 0);
    assert_eq!(decode(&padded), Err(Refusal::VoteMalleable));
    padded.push(0);
    assert_eq!(decode(&padded), Err(Refusal::VoteMalformed));
}

#[test]
fn normalize_refuses_what_is_no_signature() {
    let mut out = [0; MAX_LEN];
    let fixed = |r: [u8; 32], s: [u8; 32]| -> [u8; 64] { [r, s].concat().try_into().unwrap() };
    for (r, s) in [([0; 32], ONE), (ONE, [0; 32]), (ORDER, ONE), (ONE, ORDER)] {
        assert_eq!(
            normalize(&fixed(r, s), &mut out),
            Err(Refusal::VoteMalformed)
        );
    }
    assert_eq!(
        normalize(&fixed(ONE, ONE), &mut out[..7]),
        Err(Refusal::VoteMalformed)
    );
    assert_eq!(normalize(&fixed(ONE, ONE), &mut out[..8]), Ok(8));
    let signature = Signature { r: ONE, s: ONE };
    assert_eq!(signature.encode(&mut out[..7]), Err(Error::NoSpace));
}

#[test]
fn the_twin_verifies_and_is_refused() {
    let key = Key::new("twin");
    for i in 0..40u8 {
        let der = key.sign(&[i]);
        let low = p256::ecdsa::Signature::from_der(&der).unwrap();
        assert_eq!(low.to_der().as_bytes(), der);
        assert!(low.normalize_s().is_none());
        let public = key.private.verifying_key();
        public.verify(&[i], &low).unwrap();
        let (r, s) = low.split_scalars();
        let high = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
        public.verify(&[i], &high).unwrap();
        assert_eq!(
            decode(high.to_der().as_bytes()),
            Err(Refusal::VoteMalleable)
        );
        // A signer whose library made the twin still signs canonically.
        let mut out = [0; MAX_LEN];
        let len = normalize(&high.to_bytes().into(), &mut out).unwrap();
        assert_eq!(out[..len], der);
    }
}

proptest! {
    #[test]
    fn numbers_agree_with_an_independent_implementation(r in any_number(), s in any_number()) {
        let ours = encode(r, s);
        let theirs = p256::ecdsa::Signature::from_scalars(r, s);
        match (decode(&ours), theirs) {
            (Ok(signature), Ok(theirs)) => {
                prop_assert_eq!(theirs.to_der().as_bytes().to_vec(), ours);
                prop_assert_eq!(theirs.normalize_s(), None);
                prop_assert_eq!(signature, Signature { r, s });
            }
            (Err(Refusal::VoteMalleable), Ok(theirs)) => {
                prop_assert_eq!(theirs.to_der().as_bytes().to_vec(), ours);
                let twin = theirs.normalize_s().unwrap();
                let mut out = [0; MAX_LEN];
                let len = normalize(&theirs.to_bytes().into(), &mut out).unwrap();
                prop_assert_eq!(out[..len].to_vec(), twin.to_der().as_bytes().to_vec());
                prop_assert!(decode(&out[..len]).is_ok());
            }
            (Err(Refusal::VoteMalformed), Err(_)) => {}
            (ours, theirs) => prop_assert!(false, "{ours:?} but {theirs:?}"),
        }
    }

    #[test]
    fn a_changed_encoding_agrees_with_an_independent_implementation(
        r in any_number(),
        s in any_number(),
        at: prop::sample::Index,
        byte: u8,
        cut in 0usize..3,
        more in proptest::collection::vec(any::<u8>(), 0..3),
    ) {
        let mut der = encode(r, s);
        let at = at.index(der.len());
        der[at] = byte;
        der.truncate(der.len() - cut);
        der.extend(more);
        let theirs = p256::ecdsa::Signature::from_der(&der)
            .is_ok_and(|signature| signature.normalize_s().is_none());
        prop_assert_eq!(decode(&der).is_ok(), theirs && der.len() <= MAX_LEN);
    }

    #[test]
    fn arbitrary_bytes_never_pass_unless_canonical(
        der in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        if let Ok(signature) = decode(&der) {
            prop_assert_eq!(encode(signature.r, signature.s), der);
        }
    }
}
