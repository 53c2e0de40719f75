// SPDX-License-Identifier: GPL-2.0

//! Weights, votes and the threshold, against exact arithmetic.

use engine::quorum::{
    Ballot,
    Electorate,
    Outcome,
    Verdict, //
};
use engine::refusal::Refusal;
use proptest::prelude::*;

/// What the document says, in numbers that cannot round or overflow.
fn reference(bp: u16, total: u64, approve: u64, deny: u64) -> Outcome {
    let (bp, total) = (u128::from(bp), u128::from(total));
    let granted = u128::from(approve) * 10_000 >= bp * total;
    let denied = (total - u128::from(deny)) * 10_000 < bp * total;
    assert!(!(granted && denied), "granted and denied at once");
    if granted {
        Outcome::Granted
    } else if denied {
        Outcome::Denied
    } else {
        Outcome::Open
    }
}

/// How many of `n` equal validators must approve, and how many must deny.
fn count(n: u16, bp: u16, weight: u32) -> (u16, u16) {
    let run = |verdict, outcome| {
        let mut ballot = Ballot::new(bp, u64::from(n) * u64::from(weight)).unwrap();
        (1..=n)
            .find(|&slot| {
                let now = ballot.cast(slot, weight, verdict).unwrap();
                assert_eq!(now, ballot.outcome());
                now == outcome
            })
            .unwrap()
    };
    (
        run(Verdict::Approve, Outcome::Granted),
        run(Verdict::Deny, Outcome::Denied),
    )
}

#[test]
fn thresholds_round_up_exactly() {
    // Validators, basis points, approvals that grant, denials that deny.
    for (n, bp, approvals, denials) in [
        (1, 5001, 1, 1),
        (1, 7500, 1, 1),
        (1, 10000, 1, 1),
        (3, 5001, 2, 2),
        (3, 6666, 2, 2),
        (3, 6667, 3, 1),
        (3, 7500, 3, 1),
        (3, 9000, 3, 1),
        (4, 5001, 3, 2),
        (4, 7500, 3, 2),
        (4, 7501, 4, 1),
        (4, 9000, 4, 1),
        (7, 5001, 4, 4),
        (7, 5714, 4, 4),
        (7, 5715, 5, 3),
        (7, 7142, 5, 3),
        (7, 7143, 6, 2),
        (7, 7500, 6, 2),
        (7, 9000, 7, 1),
        (100, 5001, 51, 50),
        (100, 7500, 75, 26),
        (100, 7501, 76, 25),
        (100, 9000, 90, 11),
        (100, 9999, 100, 1),
        (100, 10000, 100, 1),
        (128, 7500, 96, 33),
    ] {
        for weight in [1, 3, u32::MAX / u32::from(n)] {
            assert_eq!(
                count(n, bp, weight),
                (approvals, denials),
                "n {n}, {bp} basis points, weight {weight}"
            );
        }
    }
}

#[test]
fn a_restored_electorate_goes_on_where_it_was() {
    let mut first = Electorate::new();
    for weight in [5, 6, 7] {
        first.enrol(weight).unwrap();
    }
    first.remove(3).unwrap();
    first.remove(1).unwrap();
    assert_eq!(first.used(), 0b111);
    let mut second = Electorate::new();
    for (slot, weight) in first.iter() {
        second.add(slot, weight).unwrap();
    }
    assert_ne!(second, first);
    assert_eq!(second.next_slot(), Some(1));
    second.use_slots(first.used());
    assert_eq!(second, first);
    assert_eq!(second.next_slot(), Some(4));
    // Bits are only added: a slot in use stays so.
    second.use_slots(1 << 127);
    assert_eq!(second.used(), 0b111 | (1 << 127));
    second.use_slots(u128::MAX);
    assert_eq!(second.enrol(1), Err(Refusal::ValidatorLimit));
    assert_eq!(second.weight(2), Some(6));
}

#[test]
fn a_ballot_has_voters_and_a_threshold_above_half() {
    assert_eq!(Ballot::new(7500, 0), Err(Refusal::NoValidators));
    assert_eq!(
        Ballot::new(7500, u64::from(u32::MAX) + 1),
        Err(Refusal::ValidatorWeight)
    );
    assert!(Ballot::new(7500, u64::from(u32::MAX)).is_ok());
    for bp in [0, 1, 5000, 10001, u16::MAX] {
        assert_eq!(Ballot::new(bp, 1), Err(Refusal::AttributeMissing));
    }
    for bp in [5001, 10000] {
        assert!(Ballot::new(bp, 1).is_ok());
    }
}

#[test]
fn a_vote_that_does_not_count_changes_nothing() {
    let mut ballot = Ballot::new(7500, 100).unwrap();
    assert_eq!(ballot.cast(1, 30, Verdict::Approve), Ok(Outcome::Open));
    let before = ballot.clone();
    for (slot, weight, refusal) in [
        (1, 30, Refusal::VoteDuplicate),
        (1, 71, Refusal::VoteDuplicate),
        (0, 1, Refusal::VoteUnknownValidator),
        (129, 1, Refusal::VoteUnknownValidator),
        (u16::MAX, 1, Refusal::VoteUnknownValidator),
        (2, 0, Refusal::ValidatorWeight),
        (2, 71, Refusal::ValidatorWeight),
        (2, u32::MAX, Refusal::ValidatorWeight),
    ] {
        for verdict in [Verdict::Approve, Verdict::Deny] {
            assert_eq!(ballot.cast(slot, weight, verdict), Err(refusal));
            assert_eq!(ballot, before);
        }
    }
    assert!(ballot.has_voted(1));
    assert!(!ballot.has_voted(2));
    assert!(!ballot.has_voted(0));
    assert!(!ballot.has_voted(129));
    assert_eq!(ballot.votes(), 1);
    assert_eq!(ballot.outstanding(), 70);
    assert_eq!(ballot.needed(), 45);
    assert_eq!(ballot.cast(128, 45, Verdict::Approve), Ok(Outcome::Granted));
    assert_eq!(ballot.needed(), 0);
    assert_eq!((ballot.approve(), ballot.deny()), (75, 0));
    assert_eq!((ballot.total(), ballot.threshold_bp()), (100, 7500));
}

#[test]
fn a_decided_ballot_is_closed() {
    for (verdict, outcome) in [
        (Verdict::Approve, Outcome::Granted),
        (Verdict::Deny, Outcome::Denied),
    ] {
        let mut ballot = Ballot::new(7500, 4).unwrap();
        assert_eq!(ballot.cast(1, 3, verdict), Ok(outcome));
        let before = ballot.clone();
        for slot in [1, 2] {
            assert_eq!(
                ballot.cast(slot, 1, Verdict::Deny),
                Err(Refusal::VoteClosedRequest)
            );
        }
        assert_eq!(ballot, before);
    }
}

#[test]
fn weights_sum_up_to_their_limit_and_no_further() {
    let mut voters = Electorate::new();
    assert_eq!(voters, Electorate::default());
    assert_eq!(voters.enrol(0), Err(Refusal::ValidatorWeight));
    assert_eq!(voters.enrol(u32::MAX - 1), Ok(1));
    assert_eq!(voters.check_weight(2), Err(Refusal::ValidatorWeight));
    assert_eq!(voters.enrol(2), Err(Refusal::ValidatorWeight));
    assert_eq!(voters.enrol(u32::MAX), Err(Refusal::ValidatorWeight));
    assert_eq!((voters.count(), voters.next_slot()), (1, Some(2)));
    assert_eq!(voters.enrol(1), Ok(2));
    assert_eq!(voters.total(), u64::from(u32::MAX));
    assert_eq!(voters.enrol(1), Err(Refusal::ValidatorWeight));
    assert_eq!(voters.remove(1), Ok(u32::MAX - 1));
    assert_eq!(voters.total(), 1);
    assert!(voters.iter().eq([(2, 1)]));
}

#[test]
fn a_slot_is_given_out_once() {
    let mut voters = Electorate::new();
    for slot in 1..=128 {
        assert_eq!(voters.enrol(2), Ok(slot));
    }
    assert_eq!(voters.enrol(1), Err(Refusal::ValidatorLimit));
    assert_eq!(voters.remove(64), Ok(2));
    assert_eq!(voters.weight(64), None);
    assert_eq!(voters.remove(64), Err(Refusal::ValidatorUnknown));
    assert_eq!(voters.next_slot(), None);
    assert_eq!(voters.enrol(1), Err(Refusal::ValidatorLimit));
    assert_eq!((voters.count(), voters.total()), (127, 254));
    for slot in [0, 129, u16::MAX] {
        assert_eq!(voters.weight(slot), None);
        assert_eq!(voters.remove(slot), Err(Refusal::ValidatorUnknown));
        assert_eq!(voters.add(slot, 1), Err(Refusal::ValidatorLimit));
    }
    assert_eq!(voters.add(1, 1), Err(Refusal::ValidatorDuplicate));
    assert_eq!(voters.add(64, 7), Ok(()));
    assert_eq!(voters.weight(64), Some(7));
}

#[test]
fn verdicts_have_their_numbers() {
    for value in 0..=u8::MAX {
        let verdict = Verdict::from_u8(value);
        assert_eq!(
            verdict.map(|v| v as u8),
            (1..=2).contains(&value).then_some(value)
        );
    }
    assert_eq!(Verdict::Approve.name(), "approve");
    assert_eq!(Verdict::Deny.name(), "deny");
}

/// Validators of any weight, the sum within its limit, and what each says.
fn votes() -> impl Strategy<Value = Vec<(u32, bool)>> {
    let weight = prop_oneof![1u32..10, 1u32..=33_000_000];
    proptest::collection::vec((weight, any::<bool>()), 1..=128)
}

proptest! {
    #[test]
    fn every_step_agrees_with_exact_arithmetic(votes in votes(), bp in 5001u16..=10_000) {
        let total: u64 = votes.iter().map(|&(weight, _)| u64::from(weight)).sum();
        prop_assume!(total <= u64::from(u32::MAX));
        let mut ballot = Ballot::new(bp, total).unwrap();
        let (mut approve, mut deny) = (0, 0);
        for (slot, &(weight, yes)) in (1..).zip(&votes) {
            // What is needed grants, and one less does not.
            let needed = ballot.needed();
            prop_assert_eq!(reference(bp, total, approve + needed, 0), Outcome::Granted);
            prop_assert_ne!(reference(bp, total, approve + needed - 1, 0), Outcome::Granted);
            let verdict = if yes { Verdict::Approve } else { Verdict::Deny };
            *(if yes { &mut approve } else { &mut deny }) += u64::from(weight);
            let outcome = ballot.cast(slot, weight, verdict).unwrap();
            prop_assert_eq!(outcome, reference(bp, total, approve, deny));
            prop_assert_eq!((ballot.approve(), ballot.deny()), (approve, deny));
            if outcome != Outcome::Open {
                break;
            }
        }
        // When everybody has spoken there is a decision.
        prop_assert_ne!(ballot.outcome(), Outcome::Open);
    }

    #[test]
    fn an_approval_never_undoes_a_grant(
        total in 1u64..=u64::from(u32::MAX),
        bp in 5001u16..=10_000,
        shares in proptest::array::uniform3(0u64..=1_000),
    ) {
        // Two amounts of approval, the second at least the first, and a denial in the rest.
        let first = total * shares[0] / 1_000;
        let more = first + (total - first) * shares[1] / 1_000;
        let deny = (total - more) * shares[2] / 1_000;
        let at = |approve: u64| {
            let mut ballot = Ballot::new(bp, total).unwrap();
            for (slot, weight, verdict) in [(1, deny, Verdict::Deny), (2, approve, Verdict::Approve)] {
                if weight != 0 && ballot.outcome() == Outcome::Open {
                    ballot.cast(slot, u32::try_from(weight).unwrap(), verdict).unwrap();
                }
            }
            ballot.outcome()
        };
        if at(first) == Outcome::Granted {
            prop_assert_eq!(at(more), Outcome::Granted);
        }
        if at(more) == Outcome::Denied {
            prop_assert_eq!(at(first), Outcome::Denied);
        }
    }

    #[test]
    fn votes_in_any_order_grant_alike(
        votes in proptest::collection::vec((1u32..1_000, any::<bool>()), 1..=20),
        bp in 5001u16..=10_000,
        seed in any::<prop::sample::Index>(),
    ) {
        let total = votes.iter().map(|&(weight, _)| u64::from(weight)).sum();
        let run = |order: &[usize]| {
            let mut ballot = Ballot::new(bp, total).unwrap();
            for &i in order {
                let (weight, yes) = votes[i];
                let verdict = if yes { Verdict::Approve } else { Verdict::Deny };
                let slot = u16::try_from(i + 1).unwrap();
                if ballot.cast(slot, weight, verdict) != Ok(Outcome::Open) {
                    break;
                }
            }
            ballot.outcome()
        };
        let mut order: Vec<usize> = (0..votes.len()).collect();
        let straight = run(&order);
        order.rotate_left(seed.index(votes.len()));
        prop_assert_eq!(run(&order), straight);
        order.reverse();
        prop_assert_eq!(run(&order), straight);
    }

    #[test]
    fn the_electorate_keeps_its_sum(
        steps in proptest::collection::vec((any::<bool>(), 1u16..=128, any::<u32>()), 0..300),
    ) {
        let mut voters = Electorate::new();
        for (add, slot, weight) in steps {
            if add {
                let _ = voters.add(slot, weight);
            } else {
                let _ = voters.remove(slot);
            }
            let sum: u64 = voters.iter().map(|(_, weight)| u64::from(weight)).sum();
            prop_assert_eq!(voters.total(), sum);
            prop_assert!(sum <= u64::from(u32::MAX));
            prop_assert_eq!(voters.count(), voters.iter().count());
        }
    }
}
