// SPDX-License-Identifier: GPL-2.0

//! Quarantine: what begins it, what ends it, and which evidence has expired.

mod support;

use engine::evidence::Evidence;
use engine::quarantine::{
    Pair,
    Record,
    Standing,
    PAIRS, //
};
use engine::refusal::Refusal;
use support::{
    evidence_of,
    Draft,
    Key,
    Sha256,
    NODE, //
};

/// Evidence against alice of votes for a node, whose greatest entry of the node is `entry`.
fn evidence(node: [u8; 32], entry: u64) -> Vec<u8> {
    let key = Key::new("alice");
    let one = Draft {
        node,
        ..Draft::new(&key.id, 1, &[(0, entry), (1, 6)])
    };
    let two = Draft {
        clock: vec![(1, 7)],
        ..one.clone()
    };
    evidence_of(&key.public, &one.forge(), &two.forge())
}

fn read(bytes: &[u8]) -> Evidence<'_> {
    Evidence::decode::<Sha256>(bytes).unwrap()
}

fn record() -> Record {
    Record::new(&Key::new("alice").id, 3, 50)
}

const OTHER: [u8; 32] = [9; 32];

#[test]
fn a_new_record_is_quarantined() {
    let record = record();
    assert_eq!(*record.validator(), Key::new("alice").id);
    assert_eq!((record.slot(), record.number()), (3, 50));
    assert_eq!(record.standing(), Standing::Quarantined);
    assert!(record.is_quarantined());
    assert!(record.pairs().is_empty());
}

#[test]
fn evidence_against_who_is_quarantined_is_known() {
    for (node, entry) in [(NODE, 40), (NODE, u64::MAX), (OTHER, 1)] {
        assert_eq!(
            record().check(&read(&evidence(node, entry))),
            Err(Refusal::EvidenceKnown)
        );
    }
}

#[test]
fn old_evidence_expires_with_readmission_and_newer_does_not() {
    let mut record = record();
    let cause = evidence(NODE, 48);
    record.readmit(&NODE, 60, &read(&cause)).unwrap();
    assert_eq!(record.standing(), Standing::Readmitted);
    assert_eq!(
        record.pairs(),
        [Pair {
            node: NODE,
            entry: 60
        }]
    );
    for (entry, expired) in [(1, true), (48, true), (60, true), (61, false)] {
        assert_eq!(
            record.check(&read(&evidence(NODE, entry))),
            if expired {
                Err(Refusal::EvidenceExpired)
            } else {
                Ok(())
            }
        );
    }
    // Evidence of another node does not.
    assert_eq!(record.check(&read(&evidence(OTHER, 1))), Ok(()));
}

#[test]
fn evidence_of_another_node_expires_at_its_own_entry() {
    let mut record = record();
    let cause = evidence(OTHER, 900);
    record.readmit(&NODE, 60, &read(&cause)).unwrap();
    assert_eq!(
        record.pairs(),
        [
            Pair {
                node: NODE,
                entry: 60
            },
            Pair {
                node: OTHER,
                entry: 900
            }
        ]
    );
    for (node, entry, wanted) in [
        (OTHER, 900, Err(Refusal::EvidenceExpired)),
        (OTHER, 901, Ok(())),
        (NODE, 60, Err(Refusal::EvidenceExpired)),
        (NODE, 61, Ok(())),
        ([8; 32], 1, Ok(())),
    ] {
        assert_eq!(record.check(&read(&evidence(node, entry))), wanted);
    }
}

#[test]
fn it_can_be_quarantined_again_and_a_later_pair_replaces_the_earlier() {
    let mut record = record();
    for (round, entry) in (0..10u16).zip((100u64..).step_by(100)) {
        let cause = evidence(OTHER, entry + 7);
        record.readmit(&NODE, entry, &read(&cause)).unwrap();
        assert!(!record.is_quarantined());
        assert_eq!(
            record.pairs(),
            [
                Pair { node: NODE, entry },
                Pair {
                    node: OTHER,
                    entry: entry + 7
                }
            ]
        );
        let newer = evidence(OTHER, entry + 8);
        assert_eq!(record.check(&read(&newer)), Ok(()));
        record.quarantine(4 + round, entry + 9);
        assert!(record.is_quarantined());
        assert_eq!((record.slot(), record.number()), (4 + round, entry + 9));
        assert_eq!(record.pairs().len(), 2);
        assert_eq!(record.check(&read(&newer)), Err(Refusal::EvidenceKnown));
    }
}

#[test]
fn only_who_is_quarantined_is_readmitted() {
    let mut record = record();
    let cause = evidence(NODE, 48);
    assert_eq!(record.may_readmit(&NODE, 99, &read(&cause)), Ok(()));
    assert!(record.is_quarantined());
    record.readmit(&NODE, 60, &read(&cause)).unwrap();
    let before = record.clone();
    assert_eq!(
        record.may_readmit(&NODE, 99, &read(&cause)),
        Err(Refusal::ValidatorTrusted)
    );
    assert_eq!(
        record.readmit(&NODE, 61, &read(&cause)),
        Err(Refusal::ValidatorTrusted)
    );
    assert_eq!(record, before);
}

#[test]
fn a_readmission_that_needs_a_fifth_pair_is_refused() {
    let mut record = record();
    // This node and three others.
    for (node, number) in (1u8..4).zip(1..) {
        let cause = evidence([node; 32], 5);
        record.readmit(&NODE, 10 * number, &read(&cause)).unwrap();
        record.quarantine(3, 10 * number + 1);
    }
    assert_eq!(record.pairs().len(), PAIRS);
    let before = record.clone();
    let fifth = evidence([4; 32], 5);
    assert_eq!(
        record.may_readmit(&NODE, 99, &read(&fifth)),
        Err(Refusal::ReadmitLimit)
    );
    assert_eq!(
        record.readmit(&NODE, 99, &read(&fifth)),
        Err(Refusal::ReadmitLimit)
    );
    assert_eq!(record, before);
    // Those that it has can still be replaced.
    for node in [NODE, [2; 32]] {
        let cause = evidence(node, 70);
        let mut record = record.clone();
        assert_eq!(record.may_readmit(&NODE, 99, &read(&cause)), Ok(()));
        assert_eq!(record.readmit(&NODE, 99, &read(&cause)), Ok(()));
        assert_eq!(record.pairs().len(), PAIRS);
        assert_eq!(record.check(&read(&cause)), Err(Refusal::EvidenceExpired));
    }
}

#[test]
fn standings_have_their_numbers() {
    for value in 0..=u8::MAX {
        assert_eq!(
            Standing::from_u8(value).map(|standing| standing as u8),
            (1..=2).contains(&value).then_some(value)
        );
    }
}

#[test]
fn an_entry_that_no_node_can_have_had_is_not_forgiven() {
    let epoch = read(&evidence(NODE, 1)).first.vote.epoch;
    let next = (epoch + 1) << 32;
    for (node, entry, expected) in [
        (NODE, 60, Ok(())),
        (NODE, 61, Err(Refusal::ReadmitLimit)),
        (NODE, u64::MAX, Err(Refusal::ReadmitLimit)),
        (OTHER, 61, Ok(())),
        (OTHER, next - 1, Ok(())),
        (OTHER, next, Err(Refusal::ReadmitLimit)),
        (OTHER, u64::MAX, Err(Refusal::ReadmitLimit)),
    ] {
        let mut record = record();
        let before = record.clone();
        let cause = evidence(node, entry);
        assert_eq!(record.may_readmit(&NODE, 60, &read(&cause)), expected);
        assert_eq!(record.readmit(&NODE, 60, &read(&cause)), expected);
        assert_eq!(record == before, expected.is_err());
    }
}
