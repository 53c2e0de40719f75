// SPDX-License-Identifier: GPL-2.0

//! Evidence: its one order, each field judged by itself, and that no change of a byte leaves it valid.

mod support;

use engine::byzantine::Fault;
use engine::evidence::{
    encode,
    Evidence,
    MAX_LEN, //
};
use engine::quorum::Verdict;
use engine::refusal::Refusal;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{
    Signature,
    VerifyingKey, //
};
use proptest::prelude::*;
use support::{
    evidence_of,
    Draft,
    Key,
    Paper,
    Sha256,
    CONTENT,
    NODE, //
};

/// Two votes of alice that contradict each other so, the one that comes first in evidence first.
fn pair(fault: Fault) -> (Draft, Draft) {
    let key = Key::new("alice");
    let one = Draft::new(&key.id, 1, &[(0, 40), (1, 6), (3, 2)]);
    let mut two = one.clone();
    match fault {
        Fault::Equivocation => {
            two.verdict = Verdict::Deny;
            two.clock = vec![(0, 41), (1, 7), (3, 2)];
        }
        Fault::Fork => two.request = [0xee; 32],
        Fault::Regression => {
            two.request = CONTENT;
            two.clock = vec![(0, 44), (1, 7)];
        }
    }
    (one, two)
}

fn sample(fault: Fault) -> Vec<u8> {
    let key = Key::new("alice");
    let (one, two) = pair(fault);
    evidence_of(&key.public, &one.sign(&key), &two.sign(&key))
}

fn decode(bytes: &[u8]) -> Result<Evidence<'_>, Refusal> {
    Evidence::decode::<Sha256>(bytes)
}

/// Whether the evidence proves something: it decodes and both signatures verify.
fn is_valid(bytes: &[u8]) -> bool {
    decode(bytes).is_ok_and(|evidence| {
        let Ok(key) = VerifyingKey::from_sec1_bytes(evidence.key) else {
            return false;
        };
        [evidence.first, evidence.second].iter().all(|vote| {
            let signature = Signature::from_der(vote.signature).unwrap();
            key.verify(vote.signed, &signature).is_ok()
        })
    })
}

/// Evidence written by the document and without the engine.
fn by_hand(kind: u8, key: &[u8; 65], first: &Paper, second: &Paper) -> Vec<u8> {
    let part = |bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).unwrap();
        [&len.to_be_bytes()[..], bytes].concat()
    };
    [
        &b"TCPLEVD1"[..],
        &[kind, 0],
        key,
        &part(&first.signed),
        &part(&first.signature),
        &part(&second.signed),
        &part(&second.signature),
    ]
    .concat()
}

#[test]
fn evidence_round_trips_and_is_what_the_document_says() {
    let key = Key::new("alice");
    for fault in Fault::ALL {
        let (one, two) = pair(fault);
        let (one, two) = (one.sign(&key), two.sign(&key));
        let bytes = evidence_of(&key.public, &one, &two);
        // The order in which they are given does not matter.
        assert_eq!(evidence_of(&key.public, &two, &one), bytes);
        assert_eq!(bytes, by_hand(fault as u8, &key.public, &one, &two));
        let evidence = decode(&bytes).unwrap();
        assert_eq!(evidence.fault, fault);
        assert_eq!(*evidence.key, key.public);
        assert_eq!(evidence.first, one.view());
        assert_eq!(evidence.second, two.view());
        assert_eq!(*evidence.validator(), key.id);
        assert_eq!(*evidence.node(), NODE);
        assert!(is_valid(&bytes));
    }
    let entry = |fault| decode(&sample(fault)).unwrap().entry();
    assert_eq!(entry(Fault::Equivocation), 41);
    assert_eq!(entry(Fault::Fork), 40);
    assert_eq!(entry(Fault::Regression), 44);
}

#[test]
fn the_greatest_entry_may_be_of_the_first_vote() {
    let key = Key::new("alice");
    let one = Draft::new(&key.id, 1, &[(0, 50), (1, 6)]);
    let mut two = one.clone();
    two.clock = vec![(1, 7)];
    let bytes = evidence_of(&key.public, &one.forge(), &two.forge());
    assert_eq!(decode(&bytes).unwrap().entry(), 50);
}

#[test]
fn the_other_order_is_malformed() {
    let key = Key::new("alice");
    for fault in Fault::ALL {
        let (one, two) = pair(fault);
        let bytes = by_hand(fault as u8, &key.public, &two.sign(&key), &one.sign(&key));
        assert_eq!(decode(&bytes), Err(Refusal::EvidenceMalformed));
    }
    // With equal own entries the bytes decide: here the verdict.
    let approve = Draft::new(&key.id, 1, &[(0, 40), (1, 6)]);
    let mut deny = approve.clone();
    deny.verdict = Verdict::Deny;
    let bytes = evidence_of(&key.public, &deny.forge(), &approve.forge());
    assert_eq!(decode(&bytes).unwrap().first.vote.verdict, Verdict::Approve);
    let swapped = by_hand(1, &key.public, &deny.forge(), &approve.forge());
    assert_eq!(decode(&swapped), Err(Refusal::EvidenceMalformed));
}

#[test]
fn the_kind_is_the_first_that_holds() {
    for fault in Fault::ALL {
        let mut bytes = sample(fault);
        for kind in 0..=u8::MAX {
            bytes[8] = kind;
            let wanted = match Fault::from_u8(kind) {
                None => Err(Refusal::EvidenceMalformed),
                Some(named) if named != fault => Err(Refusal::EvidenceNone),
                Some(_) => Ok(fault),
            };
            assert_eq!(decode(&bytes).map(|evidence| evidence.fault), wanted);
        }
    }
}

#[test]
fn votes_without_a_contradiction_are_no_evidence() {
    let key = Key::new("alice");
    let (one, _) = pair(Fault::Fork);
    let mut later = one.clone();
    later.clock[1].1 += 1;
    let other_node = Draft {
        node: [9; 32],
        verdict: Verdict::Deny,
        ..one.clone()
    };
    let other_epoch = Draft {
        epoch: 8,
        verdict: Verdict::Deny,
        ..one.clone()
    };
    let other_validator = Draft {
        validator: Key::new("bob").id,
        verdict: Verdict::Deny,
        ..one.clone()
    };
    let mut out = [0; MAX_LEN];
    for other in [&one, &later, &other_node, &other_epoch, &other_validator] {
        let (a, b) = (one.forge(), other.forge());
        assert_eq!(
            encode::<Sha256>(&key.public, &a.view(), &b.view(), &mut out),
            Err(Refusal::EvidenceNone)
        );
        let (a, b) = if (one.clock[1].1, one.bytes()) <= (other.clock[1].1, other.bytes()) {
            (a, b)
        } else {
            (b, a)
        };
        for kind in 1..=3 {
            let bytes = by_hand(kind, &key.public, &a, &b);
            assert_eq!(decode(&bytes), Err(Refusal::EvidenceNone));
        }
    }
    // One vote with two signatures, in either order.
    let (a, b) = (one.sign(&key), one.forge());
    for (a, b) in [(&a, &b), (&b, &a)] {
        let bytes = by_hand(2, &key.public, a, b);
        assert_eq!(decode(&bytes), Err(Refusal::EvidenceNone));
    }
}

#[test]
fn the_key_is_that_of_both_votes() {
    let (alice, mallory) = (Key::new("alice"), Key::new("mallory"));
    let (one, two) = pair(Fault::Fork);
    let (one, two) = (one.sign(&alice), two.sign(&alice));
    let framed = by_hand(2, &mallory.public, &one, &two);
    assert_eq!(decode(&framed), Err(Refusal::EvidenceMalformed));
    let mut out = [0; MAX_LEN];
    assert_eq!(
        encode::<Sha256>(&mallory.public, &one.view(), &two.view(), &mut out),
        Err(Refusal::EvidenceMalformed)
    );
    // Signed by another key: well formed, and not valid.
    let (one, two) = pair(Fault::Fork);
    let forged = evidence_of(&alice.public, &one.sign(&mallory), &two.sign(&alice));
    assert!(decode(&forged).is_ok());
    assert!(!is_valid(&forged));
    // A key that is no uncompressed point, although the votes have its digest.
    let mut odd = alice.public;
    odd[0] = 2;
    let id = <Sha256 as engine::wire::Digest>::sha256(&[&odd]);
    let one = Draft::new(&id, 1, &[(0, 40), (1, 6)]);
    let mut two = one.clone();
    two.verdict = Verdict::Deny;
    let bytes = by_hand(1, &odd, &one.forge(), &two.forge());
    assert_eq!(decode(&bytes), Err(Refusal::EvidenceMalformed));
}

#[test]
fn each_field_of_evidence_is_judged() {
    let good = sample(Fault::Regression);
    let with = |at: usize, bytes: &[u8]| {
        let mut evidence = good.clone();
        evidence[at..at + bytes.len()].copy_from_slice(bytes);
        decode(&evidence).map(|_| ())
    };
    let malformed = Err(Refusal::EvidenceMalformed);
    assert_eq!(with(0, b"TCPLEVD2"), malformed);
    assert_eq!(with(9, &[1]), malformed);
    for first in [0, 2, 3, 5] {
        assert_eq!(with(10, &[first]), malformed);
    }
    assert_eq!(with(40, &[0xff]), malformed);
    // The lengths: of the vote, 186 bytes here, and of the signature.
    for len in [0u16, 185, 187, 196, u16::MAX] {
        assert_eq!(with(75, &len.to_be_bytes()), malformed);
    }
    for len in [0u16, 1, 69, 73, u16::MAX] {
        assert_eq!(with(77 + 186, &len.to_be_bytes()), malformed);
    }
    // The votes: magic, verdict, slot, number of entries, an entry.
    assert_eq!(with(77, b"TCPLVOT1"), malformed);
    assert_eq!(with(77 + 112, &[3]), malformed);
    assert_eq!(with(77 + 113, &[0]), malformed);
    assert_eq!(with(77 + 113, &[129]), malformed);
    assert_eq!(with(77 + 114, &[0, 0]), malformed);
    assert_eq!(with(77 + 156 + 2, &[0; 8]), malformed);
    // Nothing is after it, and nothing is missing.
    for len in 0..good.len() {
        assert_eq!(decode(&good[..len]).map(|_| ()), malformed);
    }
    assert_eq!(decode(&[&good[..], &[0]].concat()).map(|_| ()), malformed);
}

#[test]
fn a_malleable_signature_makes_evidence_malformed() {
    let key = Key::new("alice");
    let (one, two) = pair(Fault::Equivocation);
    let (one, mut two) = (one.sign(&key), two.sign(&key));
    let good = Signature::from_der(&two.signature).unwrap();
    let (r, s) = good.split_scalars();
    let twin = Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    key.private
        .verifying_key()
        .verify(&two.signed, &twin)
        .unwrap();
    two.signature = twin.to_der().as_bytes().to_vec();
    let bytes = by_hand(1, &key.public, &one, &two);
    assert_eq!(decode(&bytes), Err(Refusal::EvidenceMalformed));
}

#[test]
fn no_changed_byte_leaves_evidence_valid() {
    for fault in Fault::ALL {
        let good = sample(fault);
        assert!(is_valid(&good));
        let original = decode(&good).unwrap();
        let mut decoded = 0;
        for at in 0..good.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                assert!(!is_valid(&bytes), "{} byte {at}", fault.name());
                let Ok(evidence) = decode(&bytes) else {
                    continue;
                };
                decoded += 1;
                // What still decodes says something else, or has another signature.
                assert_eq!(evidence.fault, fault);
                assert_ne!(evidence, original);
                let same_words = evidence.key == original.key
                    && evidence.first.vote == original.first.vote
                    && evidence.second.vote == original.second.vote;
                let same_signatures = evidence.first.signature == original.first.signature
                    && evidence.second.signature == original.second.signature;
                assert!(!same_words || !same_signatures);
            }
        }
        assert!(decoded > 0);
    }
}

#[test]
fn the_longest_evidence_fits() {
    let key = Key::new("alice");
    let clock: Vec<_> = (0..129).map(|slot| (slot, u64::MAX)).collect();
    let mut one = Draft::new(&key.id, 128, &clock);
    // A longer signature there is not: a low S never begins with a set bit.
    let longest = (0..)
        .map(|expires_ms| {
            one.expires_ms = expires_ms;
            one.sign(&key)
        })
        .find(|paper| paper.signature.len() == 71)
        .unwrap();
    let mut other = one.clone();
    other.verdict = Verdict::Deny;
    let bytes = evidence_of(&key.public, &longest, &other.sign(&key));
    assert!(bytes.len() <= MAX_LEN - 2);
    assert!(is_valid(&bytes));
    assert_eq!(MAX_LEN, 3119);
    let mut out = vec![0; bytes.len()];
    let (one, other) = (longest, other.sign(&key));
    assert_eq!(
        encode::<Sha256>(&key.public, &one.view(), &other.view(), &mut out),
        Ok(bytes.len())
    );
    for len in 0..bytes.len() {
        assert_eq!(
            encode::<Sha256>(&key.public, &one.view(), &other.view(), &mut out[..len]),
            Err(Refusal::EvidenceMalformed)
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_evidence(bytes: Vec<u8>, magic: bool) {
        let bytes = if magic { [&b"TCPLEVD1"[..], &bytes].concat() } else { bytes };
        prop_assert_eq!(decode(&bytes), Err(Refusal::EvidenceMalformed));
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        fault in 0usize..3,
    ) {
        let mut bytes = sample(Fault::ALL[fault]);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(evidence) = decode(&bytes) {
            let mut out = [0; MAX_LEN];
            let len = encode::<Sha256>(evidence.key, &evidence.second, &evidence.first, &mut out).unwrap();
            prop_assert_eq!(&out[..len], &bytes[..]);
        }
    }
}
