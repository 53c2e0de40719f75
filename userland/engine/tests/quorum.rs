// SPDX-License-Identifier: GPL-2.0

//! Weights, votes and the threshold, against exact arithmetic.

use engine::event::Tally;
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
    reference_with(bp, total, approve, deny, 0)
}

/// The same with quarantined weight.
fn reference_with(bp: u16, total: u64, approve: u64, deny: u64, barred: u64) -> Outcome {
    let (bp, total) = (u128::from(bp), u128::from(total));
    let granted = u128::from(approve) * 10_000 >= bp * total;
    let denied = (total - u128::from(deny) - u128::from(barred)) * 10_000 < bp * total;
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
fn a_threshold_only_rises() {
    let mut ballot = Ballot::new(7500, 100).unwrap();
    for (bp, wanted) in [
        (0, 7500),
        (7499, 7500),
        (7500, 7500),
        (9000, 9000),
        (8000, 9000),
        (10_000, 10_000),
        (u16::MAX, 10_000),
        (5001, 10_000),
    ] {
        ballot.raise_to(bp);
        assert_eq!(ballot.threshold_bp(), wanted);
    }
    // What was enough is not any more, and what may still come is too little.
    let mut ballot = Ballot::new(7500, 100).unwrap();
    assert_eq!(ballot.cast(1, 80, Verdict::Approve), Ok(Outcome::Granted));
    assert!(ballot.is_backed());
    ballot.raise_to(9000);
    assert_eq!((ballot.outcome(), ballot.needed()), (Outcome::Open, 10));
    assert!(!ballot.is_backed());
    assert_eq!(ballot.cast(2, 10, Verdict::Deny), Ok(Outcome::Open));
    assert_eq!(ballot.cast(3, 1, Verdict::Deny), Ok(Outcome::Denied));
}

#[test]
fn a_barred_vote_is_taken_back_and_comes_no_more() {
    for verdict in [Verdict::Approve, Verdict::Deny] {
        let mut ballot = Ballot::new(7500, 100).unwrap();
        ballot.cast(1, 20, verdict).unwrap();
        ballot.cast(2, 5, Verdict::Approve).unwrap();
        ballot.cast(3, 4, Verdict::Deny).unwrap();
        assert_eq!(ballot.verdict(1), Some(verdict));
        ballot.bar(1, 20);
        assert_eq!(
            (ballot.approve(), ballot.deny(), ballot.barred()),
            (5, 4, 20)
        );
        assert_eq!((ballot.total(), ballot.outstanding()), (100, 71));
        assert_eq!((ballot.voted(), ballot.approved()), (0b110, 0b010));
        assert_eq!(ballot.votes(), 2);
        assert!(!ballot.has_voted(1));
        assert_eq!(ballot.verdict(1), None);
        assert_eq!(
            ballot.tally(),
            Tally {
                approve: 5,
                deny: 4,
                total: 100,
                quarantined: 20,
                threshold_bp: 7500,
            }
        );
        // Once is enough, and neither another weight nor another slot does more.
        let before = ballot.clone();
        for (slot, weight) in [
            (1, 20),
            (1, 1),
            (1, u32::MAX),
            (0, 5),
            (129, 5),
            (u16::MAX, 5),
        ] {
            ballot.bar(slot, weight);
            assert_eq!(ballot, before);
        }
        for verdict in [Verdict::Approve, Verdict::Deny] {
            assert_eq!(ballot.cast(1, 20, verdict), Err(Refusal::VoteQuarantined));
        }
        assert_eq!(ballot, before);
    }
}

#[test]
fn who_has_not_voted_is_barred_alike() {
    let mut ballot = Ballot::new(7500, 100).unwrap();
    ballot.bar(7, 25);
    assert_eq!((ballot.barred(), ballot.outstanding()), (25, 75));
    assert_eq!(ballot.outcome(), Outcome::Open);
    assert_eq!(
        ballot.cast(7, 25, Verdict::Approve),
        Err(Refusal::VoteQuarantined)
    );
    assert_eq!(
        ballot.cast(1, 76, Verdict::Approve),
        Err(Refusal::ValidatorWeight)
    );
    assert_eq!(ballot.cast(1, 75, Verdict::Approve), Ok(Outcome::Granted));
    // One more, and approval is impossible from the beginning.
    let mut ballot = Ballot::new(7500, 100).unwrap();
    ballot.bar(7, 26);
    assert_eq!(ballot.outcome(), Outcome::Denied);
    assert_eq!(
        ballot.cast(1, 1, Verdict::Approve),
        Err(Refusal::VoteClosedRequest)
    );
    // No weight passes the total.
    let mut ballot = Ballot::new(7500, 100).unwrap();
    ballot.bar(1, u32::MAX);
    assert_eq!((ballot.barred(), ballot.outstanding()), (100, 0));
}

#[test]
fn a_grant_without_its_votes_is_not_backed() {
    let mut ballot = Ballot::new(7500, 100).unwrap();
    ballot.cast(1, 40, Verdict::Approve).unwrap();
    ballot.cast(2, 37, Verdict::Approve).unwrap();
    assert!(ballot.is_backed());
    // Who has not voted takes nothing away.
    ballot.bar(3, 23);
    assert!(ballot.is_backed());
    assert_eq!(ballot.outcome(), Outcome::Granted);
    ballot.bar(2, 37);
    assert!(!ballot.is_backed());
    assert_eq!(ballot.outcome(), Outcome::Denied);
}

/// Quarantined weight of 100 that leaves a request open at just that threshold, and one more.
#[test]
fn quarantine_denies_at_the_exact_weight() {
    for (bp, open) in [
        (5001, 49),
        (6667, 33),
        (7500, 25),
        (7501, 24),
        (9000, 10),
        (9999, 0),
        (10_000, 0),
    ] {
        for (weight, wanted) in [(open, Outcome::Open), (open + 1, Outcome::Denied)] {
            let mut ballot = Ballot::new(bp, 100).unwrap();
            ballot.bar(1, weight);
            assert_eq!(
                ballot.outcome(),
                wanted,
                "{bp} basis points, weight {weight}"
            );
            // Denials and quarantine add up.
            let mut ballot = Ballot::new(bp, 100).unwrap();
            if weight >= 2 {
                ballot.bar(1, weight - 1);
                assert_eq!(ballot.cast(2, 1, Verdict::Deny), Ok(wanted));
            }
        }
    }
}

#[test]
fn a_majority_is_more_than_half_of_all_weight() {
    for (approve, deny, wanted) in [
        (0, 0, None),
        (50, 0, None),
        (51, 0, Some(Verdict::Approve)),
        (0, 50, None),
        (0, 51, Some(Verdict::Deny)),
        (49, 51, Some(Verdict::Deny)),
        (50, 50, None),
        (51, 49, Some(Verdict::Approve)),
    ] {
        let mut ballot = Ballot::new(5001, 100).unwrap();
        for (slot, weight, verdict) in [(1, approve, Verdict::Approve), (2, deny, Verdict::Deny)] {
            if weight != 0 && ballot.outcome() == Outcome::Open {
                ballot.cast(slot, weight, verdict).unwrap();
            }
        }
        if u64::from(approve + deny) == ballot.approve() + ballot.deny() {
            assert_eq!(ballot.majority(), wanted, "{approve} to {deny}");
        }
    }
    // Of all weight: what was barred is a part of it.
    let mut ballot = Ballot::new(5001, 100).unwrap();
    ballot.cast(1, 10, Verdict::Deny).unwrap();
    ballot.cast(2, 45, Verdict::Deny).unwrap();
    assert_eq!(ballot.majority(), Some(Verdict::Deny));
    ballot.bar(1, 10);
    assert_eq!(ballot.majority(), None);
}

#[test]
fn the_bits_are_those_of_the_slots() {
    let mut ballot = Ballot::new(10_000, 1000).unwrap();
    for (slot, verdict) in [
        (1, Verdict::Approve),
        (3, Verdict::Approve),
        (128, Verdict::Approve),
    ] {
        ballot.cast(slot, 1, verdict).unwrap();
        assert_eq!(ballot.verdict(slot), Some(verdict));
    }
    assert_eq!(ballot.cast(64, 1, Verdict::Deny), Ok(Outcome::Denied));
    assert_eq!(ballot.verdict(64), Some(Verdict::Deny));
    assert_eq!(ballot.approved(), 1 | (1 << 2) | (1 << 127));
    assert_eq!(ballot.voted(), ballot.approved() | (1 << 63));
    for slot in [0, 2, 127, 129, u16::MAX] {
        assert_eq!(ballot.verdict(slot), None);
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
    fn quarantine_never_makes_approval_easier(
        // Weight, vote if any, whether it is barred and before or after its vote.
        people in proptest::collection::vec(
            (1u32..100, any::<Option<bool>>(), any::<Option<bool>>()),
            1..=128,
        ),
        bp in 5001u16..=10_000,
        raise in prop_oneof![Just(0u16), 5001u16..=10_000],
    ) {
        let total = people.iter().map(|&(weight, ..)| u64::from(weight)).sum();
        let mut with = Ballot::new(bp, total).unwrap();
        with.raise_to(raise);
        let mut without = with.clone();
        for (slot, &(weight, vote, barred)) in (1..).zip(&people) {
            if barred == Some(true) {
                with.bar(slot, weight);
            }
            if let Some(yes) = vote {
                let verdict = if yes { Verdict::Approve } else { Verdict::Deny };
                if without.outcome() == Outcome::Open {
                    without.cast(slot, weight, verdict).unwrap();
                }
                match with.cast(slot, weight, verdict) {
                    Ok(_) => {}
                    Err(refusal) => prop_assert!(
                        refusal == Refusal::VoteClosedRequest
                            || refusal == Refusal::VoteQuarantined && barred == Some(true)
                    ),
                }
            }
            let needed = with.needed();
            let outcome = with.outcome();
            if barred.is_some() {
                with.bar(slot, weight);
                let once = with.clone();
                with.bar(slot, weight);
                prop_assert_eq!(&with, &once);
            }
            prop_assert!(with.needed() >= needed);
            prop_assert!(with.outcome() != Outcome::Granted || outcome == Outcome::Granted);
            // The whole stays the whole.
            prop_assert_eq!(with.total(), total);
            prop_assert_eq!(
                with.approve() + with.deny() + with.barred() + with.outstanding(),
                total
            );
            prop_assert_eq!(
                with.outcome(),
                reference_with(with.threshold_bp(), total, with.approve(), with.deny(), with.barred())
            );
            prop_assert_eq!(with.is_backed(), with.outcome() == Outcome::Granted);
            prop_assert_eq!(with.approved() & !with.voted(), 0);
        }
        let weight_of = |bits: u128| -> u64 {
            (0..).zip(&people).filter(|&(bit, _)| (bits >> bit) & 1 == 1).map(|(_, one)| u64::from(one.0)).sum()
        };
        prop_assert_eq!(weight_of(with.approved()), with.approve());
        prop_assert_eq!(weight_of(with.voted()), with.approve() + with.deny());
        if with.outcome() == Outcome::Granted {
            prop_assert_eq!(without.outcome(), Outcome::Granted);
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
