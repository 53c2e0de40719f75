// SPDX-License-Identifier: GPL-2.0

//! Contradictions: each kind, whatever is none, and that honest votes never have one.

mod support;

use engine::byzantine::{
    contradiction,
    Fault, //
};
use engine::clock::{
    check_vote,
    ClaimedClock,
    Timing,
    VectorClock, //
};
use engine::quorum::Verdict;
use proptest::prelude::*;
use support::{
    entries,
    Draft,
    Key,
    CONTENT,
    REQUEST, //
};

const VALIDATOR: [u8; 32] = [0x31; 32];

fn draft() -> Draft {
    Draft::new(&VALIDATOR, 1, &[(0, 40), (1, 6), (3, 2)])
}

/// What two votes amount to, in either order.
fn judge(a: &Draft, b: &Draft) -> Option<Fault> {
    let (a, b) = (a.forge(), b.forge());
    let found = contradiction(&a.view(), &b.view());
    assert_eq!(contradiction(&b.view(), &a.view()), found);
    found
}

/// The sample, and the sample with something changed.
fn against(change: impl FnOnce(&mut Draft)) -> Option<Fault> {
    let mut other = draft();
    change(&mut other);
    judge(&draft(), &other)
}

#[test]
fn two_verdicts_on_one_request_are_an_equivocation() {
    assert_eq!(
        against(|v| v.verdict = Verdict::Deny),
        Some(Fault::Equivocation)
    );
    // Whatever their clocks, own entries and slots are.
    for clock in [&[(0, 41), (1, 7), (3, 2)][..], &[(0, 41)], &[(4, 1)]] {
        for slot in [1, 2] {
            assert_eq!(
                against(|v| {
                    v.verdict = Verdict::Deny;
                    v.clock = clock.to_vec();
                    v.slot = slot;
                }),
                Some(Fault::Equivocation)
            );
        }
    }
}

#[test]
fn two_votes_with_one_own_entry_are_a_fork() {
    type Change = fn(&mut Draft);
    let changes: [Change; 6] = [
        |v| v.request = CONTENT,
        |v| {
            v.request = CONTENT;
            v.verdict = Verdict::Deny;
        },
        |v| v.expires_ms += 1,
        |v| v.reason = "another".to_owned(),
        |v| v.clock[0].1 += 1,
        |v| v.clock[2].1 -= 1,
    ];
    for change in changes {
        assert_eq!(against(change), Some(Fault::Fork));
    }
}

#[test]
fn a_later_vote_with_a_smaller_entry_is_a_regression() {
    for clock in [
        &[(0, 39), (1, 7), (3, 2)][..],
        &[(0, 99), (1, 7), (3, 1)],
        &[(0, 99), (1, 7)],
        &[(1, u64::MAX), (3, 2)],
        &[(0, 99), (1, 7), (2, 5), (4, 5)],
    ] {
        for request in [REQUEST, CONTENT] {
            assert_eq!(
                against(|v| {
                    v.request = request;
                    v.clock = clock.to_vec();
                }),
                Some(Fault::Regression),
                "{clock:?}"
            );
        }
    }
}

#[test]
fn what_differs_in_who_or_where_is_no_contradiction() {
    // Each of these pairs contradicts itself but for the one thing that is changed.
    let pairs: [fn(&mut Draft); 3] = [
        |v| v.verdict = Verdict::Deny,
        |v| v.expires_ms += 1,
        |v| v.clock = vec![(1, 7)],
    ];
    for pair in pairs {
        assert!(against(pair).is_some());
        let with = |change: fn(&mut Draft)| {
            against(|v| {
                pair(v);
                change(v);
            })
        };
        assert_eq!(with(|v| v.node[31] ^= 1), None);
        assert_eq!(with(|v| v.epoch += 1), None);
        assert_eq!(with(|v| v.validator[0] ^= 1), None);
    }
    // A fork and a regression are of one slot.
    for change in [pairs[1], pairs[2]] {
        let found = against(|v| {
            change(v);
            v.slot = 3;
        });
        assert_eq!(found, None);
    }
}

#[test]
fn an_own_entry_of_zero_proves_no_order() {
    for clock in [&[(0, 39)][..], &[(0, 41), (3, 9)], &[(2, 1)]] {
        assert_eq!(against(|v| v.clock = clock.to_vec()), None);
        // Nor do two of them.
        let none = Draft::new(&VALIDATOR, 1, &[(0, 40), (3, 2)]);
        let mut other = none.clone();
        other.clock = clock.to_vec();
        assert_eq!(judge(&none, &other), None);
    }
}

#[test]
fn one_vote_signed_twice_is_no_contradiction() {
    assert_eq!(against(|_| ()), None);
    let key = Key::new("alice");
    let vote = Draft::new(&key.id, 1, &[(0, 40), (1, 6)]);
    let (one, two) = (vote.sign(&key), vote.forge());
    assert_ne!(one.signature, two.signature);
    assert_eq!(contradiction(&one.view(), &two.view()), None);
}

#[test]
fn a_vote_that_dominates_is_no_contradiction() {
    for clock in [
        &[(0, 40), (1, 7), (3, 2)][..],
        &[(0, 41), (1, 7), (2, 1), (3, 2)],
        &[(0, 40), (1, u64::MAX), (3, 2), (128, 1)],
    ] {
        for request in [REQUEST, CONTENT] {
            assert_eq!(
                against(|v| {
                    v.request = request;
                    v.clock = clock.to_vec();
                }),
                None
            );
        }
    }
}

#[test]
fn the_first_kind_that_holds_is_named() {
    assert_eq!(
        against(|v| {
            v.verdict = Verdict::Deny;
            v.expires_ms += 1;
        }),
        Some(Fault::Equivocation)
    );
    assert_eq!(
        against(|v| {
            v.verdict = Verdict::Deny;
            v.clock = vec![(1, 7)];
        }),
        Some(Fault::Equivocation)
    );
    // Equal own entries and a smaller entry: a fork.
    assert_eq!(against(|v| v.clock = vec![(1, 6)]), Some(Fault::Fork));
}

#[test]
fn faults_have_their_numbers_and_names() {
    for value in 0..=u8::MAX {
        assert_eq!(
            Fault::from_u8(value).map(|fault| fault as u8),
            (1..=3).contains(&value).then_some(value)
        );
    }
    assert_eq!(
        Fault::ALL.map(Fault::name),
        ["equivocation", "fork", "regression"]
    );
}

/// Clocks with few values, so that every relation is frequent. Slot 1 is the voter's.
fn any_clock() -> impl Strategy<Value = Vec<(u16, u64)>> {
    proptest::array::uniform4(0u64..4)
        .prop_map(|values| (0..).zip(values).filter(|&(_, value)| value != 0).collect())
}

fn any_draft() -> impl Strategy<Value = Draft> {
    (any_clock(), 0u8..3, any::<bool>(), 1u16..3).prop_map(|(mut clock, request, deny, slot)| {
        // A vote has an entry.
        if clock.is_empty() {
            clock.push((0, 1));
        }
        Draft {
            request: [request; 32],
            verdict: if deny {
                Verdict::Deny
            } else {
                Verdict::Approve
            },
            ..Draft::new(&VALIDATOR, slot, &clock)
        }
    })
}

/// The table of the document once more, entry by entry.
fn reference(a: &Draft, b: &Draft) -> Option<Fault> {
    let get = |vote: &Draft, slot| {
        vote.clock
            .iter()
            .find(|&&(at, _)| at == slot)
            .map_or(0, |&(_, value)| value)
    };
    let own = |vote: &Draft| get(vote, vote.slot);
    let after = |a: &Draft, b: &Draft| {
        own(a) >= 1 && own(a) < own(b) && (0..129).any(|slot| get(a, slot) > get(b, slot))
    };
    if a.request == b.request && a.verdict != b.verdict {
        Some(Fault::Equivocation)
    } else if a.slot != b.slot {
        None
    } else if own(a) == own(b) && own(a) >= 1 && a.bytes() != b.bytes() {
        Some(Fault::Fork)
    } else if after(a, b) || after(b, a) {
        Some(Fault::Regression)
    } else {
        None
    }
}

proptest! {
    #[test]
    fn every_pair_is_judged_as_the_document_says(a in any_draft(), b in any_draft()) {
        prop_assert_eq!(judge(&a, &b), reference(&a, &b));
    }

    #[test]
    fn accepted_votes_never_contradict_each_other(votes in proptest::collection::vec(any_draft(), 0..60)) {
        let mut last = VectorClock::<5>::new();
        let mut node = VectorClock::<5>::new();
        for slot in 0..5 {
            prop_assert!(node.set(slot, 9));
        }
        let mut accepted: Vec<Draft> = Vec::new();
        for vote in votes {
            let clock = entries(&vote.clock);
            let claimed = ClaimedClock::decode(&clock).unwrap();
            if vote.slot == 1
                && accepted.iter().all(|before| before.request != vote.request)
                && check_vote(&claimed, 1, &last, &node, 0) == Ok(Timing::Now)
            {
                last.decode(&clock).unwrap();
                for before in &accepted {
                    prop_assert_eq!(judge(before, &vote), None);
                }
                accepted.push(vote);
            }
        }
    }

    #[test]
    fn a_validator_with_a_journal_is_never_in_danger(
        // Request, verdict, what it is told of the other entries.
        asked in proptest::collection::vec((0u8..8, any::<bool>(), any_clock()), 0..40),
    ) {
        let mut journal = VectorClock::<5>::new();
        let mut verdicts = [None; 8];
        let mut votes: Vec<Draft> = Vec::new();
        for (request, deny, told) in asked {
            let verdict = if deny { Verdict::Deny } else { Verdict::Approve };
            if *verdicts[usize::from(request)].get_or_insert(verdict) != verdict {
                continue;
            }
            // It takes what is greater, and raises its own entry.
            let own = journal.get(1);
            for (slot, value) in told {
                if slot != 1 {
                    let value = journal.get(slot).max(value);
                    prop_assert!(journal.set(slot, value));
                }
            }
            prop_assert!(journal.set(1, own + 1));
            votes.push(Draft {
                request: [request; 32],
                verdict,
                ..Draft::new(&VALIDATOR, 1, &journal.iter().collect::<Vec<_>>())
            });
        }
        for (i, one) in votes.iter().enumerate() {
            for two in &votes[..i] {
                prop_assert_eq!(judge(one, two), None);
            }
        }
    }
}
