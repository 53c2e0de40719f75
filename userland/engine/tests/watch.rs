// SPDX-License-Identifier: GPL-2.0

//! Alerts: when each starts and ends, and what a threshold becomes.

use engine::policy::{
    Adaptive,
    Policy, //
};
use engine::quorum::{
    Ballot,
    Outcome,
    Verdict, //
};
use engine::refusal::Refusal;
use engine::reputation::{
    Kept,
    DISTRUSTED,
    PRISTINE, //
};
use engine::watch::{
    Reason,
    Rules,
    Turn,
    Watch, //
};
use engine::wire::{
    Error,
    Reader,
    Writer, //
};
use proptest::prelude::*;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// The default rules without a random part: 10 minutes of silence and quiet, 16 in a minute.
fn rules() -> Rules {
    Rules::draw(&Adaptive::DEFAULT, [0; 3])
}

/// A watch over `n` validators of weight 1 that were enrolled at 0.
fn watch(n: u16) -> Watch {
    let mut watch = Watch::new().unwrap();
    watch.rules(rules());
    for slot in 1..=n {
        watch.enrolled(slot, 1, 0);
    }
    watch
}

/// Ends a request on which `approve` and `deny` have voted, out of `n` of weight 1.
fn end(watch: &mut Watch, n: u16, approve: &[u16], deny: &[u16], decided: bool, at: u64) {
    let mut ballot = Ballot::new(10_000, u64::from(n)).unwrap();
    for &slot in approve {
        ballot.cast(slot, 1, Verdict::Approve).unwrap();
    }
    for &slot in deny {
        let _ = ballot.cast(slot, 1, Verdict::Deny);
    }
    watch.ended(&ballot, decided, at);
}

/// A request that everybody in `voters` approves: it is granted if these are all, or else expires.
fn round(watch: &mut Watch, n: u16, voters: &[u16], id: u8, at: u64) {
    for &slot in voters {
        watch.voted(slot, &[id; 32], at);
    }
    end(watch, n, voters, &[], voters.len() == usize::from(n), at);
}

/// Takes the turn that has to be due.
#[track_caller]
fn take(watch: &mut Watch, turn: Turn, number: u64, at: u64) {
    assert_eq!(watch.due(at), Some(turn), "at {at}");
    watch.turn(turn, number, at);
}

fn forged(watch: &mut Watch, count: usize, at: u64) {
    for _ in 0..count {
        watch.refused(Refusal::VoteForged, at);
    }
}

#[test]
fn nothing_is_due_without_rules() {
    let mut watch = Watch::new().unwrap();
    watch.enrolled(1, 1, 0);
    watch.quarantined(1, 5);
    forged(&mut watch, 64, 5);
    assert_eq!(watch.due(u64::MAX), None);
    assert_eq!(watch.in_force(), None);
    assert_eq!(watch.next_ms(), None);
    assert_eq!(watch.threshold(7500, 0, false), 7500);
    // With them, what has happened counts.
    watch.rules(rules());
    assert_eq!(watch.due(6), Some(Turn::Alert(Reason::Evidence)));
    watch.clear();
    watch.rules(rules());
    assert_eq!(watch.due(u64::MAX), None);
    assert_eq!(watch.heard_ms(1), None);
}

#[test]
fn evidence_lasts_until_it_was_quiet_since_the_last() {
    let mut watch = watch(4);
    watch.quarantined(2, 1000);
    assert_eq!(watch.next_ms(), Some(0));
    take(&mut watch, Turn::Alert(Reason::Evidence), 9, 1000);
    assert_eq!(watch.active(), 1 << 1);
    assert_eq!(watch.ends_ms(), Some(1000 + 10 * MINUTE));
    assert_eq!(watch.due(1000 + 10 * MINUTE - 1), None);
    // Another one goes on with the same alert.
    watch.quarantined(3, 5 * MINUTE);
    assert_eq!(watch.due(15 * MINUTE - 1), None);
    assert_eq!(watch.next_ms(), Some(15 * MINUTE));
    take(&mut watch, Turn::Calm(Reason::Evidence), 20, 15 * MINUTE);
    assert_eq!(watch.active(), 0);
    assert_eq!(watch.ends_ms(), None);
    assert_eq!(watch.due(u64::MAX), None);
    // One that was there before the load starts nothing.
    watch.restored_quarantined(4);
    assert_eq!(watch.due(u64::MAX), None);
}

#[test]
fn the_burst_is_the_last_refusal_within_the_time() {
    for (last, alert) in [(1000 + MINUTE, true), (1001 + MINUTE, false)] {
        let mut watch = watch(1);
        watch.refused(Refusal::VoteForged, 1000);
        forged(&mut watch, 14, 30_000);
        assert_eq!(watch.due(30_000), None, "15 are none");
        watch.refused(Refusal::VoteForged, last);
        assert_eq!(watch.due(last).is_some(), alert);
        // The first one is out of the window, the others are not.
        watch.refused(Refusal::VoteForged, last);
        assert_eq!(watch.due(last), Some(Turn::Alert(Reason::Burst)));
    }
}

#[test]
fn only_refusals_that_no_validator_causes_are_a_burst() {
    let counted = [
        Refusal::VoteMalformed,
        Refusal::VoteVersion,
        Refusal::VoteOtherNode,
        Refusal::VoteOtherEpoch,
        Refusal::VoteSlot,
        Refusal::ClockRegresses,
        Refusal::ClockLeap,
        Refusal::VoteMalleable,
        Refusal::VoteForged,
    ];
    for refusal in (0..=u16::MAX).filter_map(Refusal::from_code) {
        let mut watch = watch(1);
        for _ in 0..16 {
            watch.refused(refusal, 0);
        }
        assert_eq!(
            watch.due(0).is_some(),
            counted.contains(&refusal),
            "{refusal:?}"
        );
    }
}

#[test]
fn a_burst_rests_as_long_as_it_lasted() {
    let mut watch = watch(1);
    forged(&mut watch, 16, 0);
    take(&mut watch, Turn::Alert(Reason::Burst), 1, 0);
    // What comes in the meantime does not lengthen it.
    forged(&mut watch, 40, 9 * MINUTE);
    take(&mut watch, Turn::Calm(Reason::Burst), 2, 10 * MINUTE);
    forged(&mut watch, 16, 20 * MINUTE - 1);
    assert_eq!(watch.due(20 * MINUTE - 1), None, "it rests");
    // The count began anew.
    forged(&mut watch, 15, 20 * MINUTE);
    assert_eq!(watch.due(20 * MINUTE), None);
    forged(&mut watch, 1, 20 * MINUTE);
    take(&mut watch, Turn::Alert(Reason::Burst), 3, 20 * MINUTE);
}

#[test]
fn garbage_raises_at_most_half_of_the_time() {
    let mut watch = watch(1);
    let (mut raised, mut number) = (0u64, 0);
    for second in 0..24 * 3600u64 {
        let at = second * 1000;
        watch.refused(Refusal::VoteMalformed, at);
        while let Some(turn) = watch.due(at) {
            number += 1;
            watch.turn(turn, number, at);
        }
        raised += u64::from(watch.active() != 0);
    }
    assert!(raised <= 12 * 3600 + 600, "{raised}");
    assert!(raised >= 11 * 3600, "{raised}");
}

#[test]
fn silence_needs_three_requests_and_the_time() {
    // Two of four are half of the weight, more than the default third.
    let mut watch = watch(4);
    for (id, at) in [(1, 10 * MINUTE), (2, 10 * MINUTE)] {
        round(&mut watch, 4, &[1, 2], id, at);
        assert_eq!(watch.due(at), None);
    }
    assert_eq!((watch.unheard(3), watch.unheard_weight()), (2, 0));
    round(&mut watch, 4, &[1, 2], 3, 10 * MINUTE);
    assert_eq!((watch.unheard(3), watch.unheard_weight()), (3, 2));
    assert_eq!(watch.heard_ms(3), Some(0));
    assert_eq!(watch.heard_ms(1), Some(10 * MINUTE));
    take(&mut watch, Turn::Alert(Reason::Silence), 7, 10 * MINUTE);

    // Requests without the time are not enough.
    let mut watch = self::watch(4);
    for id in 1..=9 {
        round(&mut watch, 4, &[1, 2], id, 10 * MINUTE - 1);
    }
    assert_eq!(
        (watch.due(10 * MINUTE - 1), watch.unheard_weight()),
        (None, 0)
    );
    round(&mut watch, 4, &[1, 2], 10, 10 * MINUTE);
    assert_eq!(watch.due(10 * MINUTE), Some(Turn::Alert(Reason::Silence)));
}

#[test]
fn silence_of_too_little_weight_starts_nothing() {
    for (n, gone, alert) in [
        (3, 1, false),
        (3, 2, true),
        (100, 33, false),
        (100, 34, true),
    ] {
        let mut watch = watch(n);
        let voters: Vec<u16> = (1..=n - gone).collect();
        // With each end one group of eight slots is looked at: these are in five at most.
        for id in 1..=7 {
            round(&mut watch, n, &voters, id, HOUR);
        }
        assert_eq!(watch.unheard_weight(), u64::from(gone));
        assert_eq!(watch.due(HOUR).is_some(), alert, "{gone} of {n}");
    }
}

#[test]
fn groups_of_slots_take_turns_in_being_unheard() {
    // Slots 5 to 12 and 33 to 36 are gone: parts of the groups from 1, 9 and 33 on.
    let voters: Vec<u16> = (1..=40)
        .filter(|slot| !(5..=12).contains(slot) && !(33..=36).contains(slot))
        .collect();
    let mut watch = watch(40);
    for (id, weight) in (1..).zip([0, 0, 4, 8, 12, 12]) {
        round(&mut watch, 40, &voters, id, HOUR);
        assert_eq!(watch.unheard_weight(), weight, "after {id}");
    }
    // The group from 1 on comes after the last one, and those that are heard are left out.
    let all: Vec<u16> = (1..=40).collect();
    round(&mut watch, 40, &all, 7, 2 * HOUR);
    assert_eq!(watch.unheard_weight(), 0);
    for (id, weight) in (8..).zip([0, 0, 7, 15, 23, 31, 39]) {
        round(&mut watch, 40, &[1], id, 3 * HOUR);
        assert_eq!(watch.unheard_weight(), weight, "after {id}");
    }
}

#[test]
fn silence_ends_although_some_stay_away() {
    // Or else one that stays away could keep the others from being heard.
    let mut watch = watch(4);
    for id in 1..=3 {
        round(&mut watch, 4, &[1, 2], id, HOUR);
    }
    take(&mut watch, Turn::Alert(Reason::Silence), 1, HOUR);
    let calm = HOUR + 10 * MINUTE;
    assert_eq!(watch.next_ms(), Some(calm));
    assert_eq!(watch.due(calm - 1), None);
    take(&mut watch, Turn::Calm(Reason::Silence), 2, calm);
    assert_eq!(watch.unheard_weight(), 2, "they are still unheard");
    assert_eq!(watch.due(u64::MAX), None);
    assert_eq!(watch.threshold(7500, 3, false), 7500);
    // The next end finds them missing again, and the one after they are back does not.
    round(&mut watch, 4, &[1, 2], 4, calm);
    take(&mut watch, Turn::Alert(Reason::Silence), 5, calm);
    round(&mut watch, 4, &[1, 2, 3, 4], 5, calm + MINUTE);
    take(
        &mut watch,
        Turn::Calm(Reason::Silence),
        6,
        calm + 10 * MINUTE,
    );
    round(&mut watch, 4, &[1, 2, 3, 4], 6, calm + 11 * MINUTE);
    assert_eq!((watch.unheard_weight(), watch.due(u64::MAX)), (0, None));
}

#[test]
fn silence_that_is_over_early_lasts_until_it_was_quiet() {
    let mut watch = watch(4);
    for id in 1..=3 {
        round(&mut watch, 4, &[1], id, HOUR);
    }
    take(&mut watch, Turn::Alert(Reason::Silence), 1, HOUR);
    for slot in 2..=4 {
        watch.voted(slot, &[4; 32], HOUR);
    }
    assert_eq!(watch.due(HOUR + 10 * MINUTE - 1), None);
    take(
        &mut watch,
        Turn::Calm(Reason::Silence),
        2,
        HOUR + 10 * MINUTE,
    );
}

#[test]
fn whoever_denies_at_once_silences_nobody() {
    // Two of four deny whatever comes before the others have looked at it.
    let mut watch = watch(4);
    for number in 0..600u64 {
        let at = HOUR + number * MINUTE;
        watch.voted(1, &[1; 32], at);
        watch.voted(2, &[1; 32], at);
        end(&mut watch, 4, &[], &[1, 2], true, at);
        assert_eq!((watch.unheard(3), watch.unheard_weight()), (0, 0));
        assert_eq!(watch.due(at), None);
    }
    // What was granted or has expired without them does count.
    let at = 12 * HOUR;
    for (missed, decided) in [(1, true), (2, false), (3, true)] {
        let mut ballot = Ballot::new(5001, 3).unwrap();
        ballot.cast(1, 1, Verdict::Approve).unwrap();
        ballot.cast(2, 1, Verdict::Approve).unwrap();
        watch.ended(&ballot, decided, at);
        assert_eq!(watch.unheard(3), missed);
    }
    assert_eq!(watch.due(at), Some(Turn::Alert(Reason::Silence)));
}

#[test]
fn one_fault_does_not_lock_the_others_out() {
    // One of four was convicted, so thresholds are 90 % and nothing can be approved: every request
    // is denied at once, before anybody has voted.
    let mut watch = watch(4);
    watch.quarantined(4, HOUR);
    take(&mut watch, Turn::Alert(Reason::Evidence), 10, HOUR);
    let mut number = 10;
    for second in 0..3600u64 {
        let at = HOUR + second * 1000;
        number += 1;
        let raised = watch.threshold(7500, number, false);
        let mut ballot = Ballot::new(raised, 4).unwrap();
        ballot.bar(4, 1);
        if ballot.outcome() == Outcome::Denied {
            watch.ended(&ballot, true, at);
        } else {
            assert_eq!(raised, 7500);
            for slot in 1..=3 {
                watch.voted(slot, &[1; 32], at);
                let _ = ballot.cast(slot, 1, Verdict::Approve);
            }
            assert_eq!(ballot.outcome(), Outcome::Granted);
            watch.ended(&ballot, true, at);
        }
        assert_eq!(raised == 9000, second < 600, "second {second}");
        while let Some(turn) = watch.due(at + 1000) {
            assert_eq!(turn, Turn::Calm(Reason::Evidence));
            number += 1;
            watch.turn(turn, number, at + 1000);
        }
    }
    assert_eq!(watch.unheard_weight(), 0);
    assert_eq!(watch.threshold(7500, number + 1, false), 7500);
}

#[test]
fn a_burst_that_is_over_raises_nothing_new() {
    let mut watch = watch(4);
    forged(&mut watch, 16, 0);
    take(&mut watch, Turn::Alert(Reason::Burst), 10, 0);
    // While it holds it raises what was made before, too.
    assert_eq!(watch.threshold(7500, 5, false), 9000);
    assert_eq!(watch.threshold(7500, 15, true), 9000);
    take(&mut watch, Turn::Calm(Reason::Burst), 20, 10 * MINUTE);
    for created in [5, 15, 25] {
        assert_eq!(watch.threshold(7500, created, false), 7500, "{created}");
        assert_eq!(watch.threshold(7500, created, true), 7500, "{created}");
    }
    // But what a vote has raised stays so: the ballot keeps it.
    let mut ballot = Ballot::new(7500, 4).unwrap();
    ballot.raise_to(9000);
    ballot.raise_to(watch.threshold(7500, 5, false));
    assert_eq!(ballot.threshold_bp(), 9000);
}

#[test]
fn timing_makes_suspected_and_never_distrusted() {
    let mut watch = watch(4);
    // Bias alone has left it just above what is distrusted.
    let kept = Kept {
        score: DISTRUSTED,
        ..Kept::PRISTINE
    };
    watch.reputations_mut().restore(2, &kept);
    for number in 0..200u64 {
        let mut request = [0; 32];
        request[..8].copy_from_slice(&number.to_be_bytes());
        let at = number * 2 * MINUTE;
        watch.voted(3, &request, at);
        watch.voted(4, &request, at + 30_000);
        watch.voted(1, &request, at + 60_000);
        watch.voted(2, &request, at + 60_000);
        end(&mut watch, 4, &[1, 2, 3, 4], &[], true, at + 60_000);
        assert_eq!(watch.due(at + 60_000), None, "{number}");
    }
    let view = watch.reputations().of(2);
    assert_eq!((view.kept.score, view.score), (DISTRUSTED, 2000));
    for slot in [1, 3, 4] {
        assert_eq!(watch.reputations().of(slot).score, PRISTINE);
    }
    // A loss by bias that has healed ends the alert, whatever timing has taken.
    watch.turn(Turn::Alert(Reason::Suspicion), 1, 7 * HOUR);
    assert_eq!(watch.due(u64::MAX), None);
    end(&mut watch, 4, &[1, 2, 3, 4], &[], true, 8 * HOUR);
    let view = watch.reputations().of(2);
    assert_eq!((view.kept.score, view.score), (7500, 6000));
    assert_eq!(watch.due(8 * HOUR), Some(Turn::Calm(Reason::Suspicion)));
}

#[test]
fn who_is_quarantined_removed_or_enrolled_is_not_unheard() {
    let gone = |watch: &mut Watch| {
        for id in 1..=3 {
            round(watch, 4, &[1, 2], id, HOUR);
        }
        assert_eq!(watch.unheard_weight(), 2);
    };
    let mut watch = watch(4);
    gone(&mut watch);
    watch.quarantined(3, HOUR);
    assert_eq!(watch.unheard_weight(), 1);
    watch.removed(4);
    assert_eq!((watch.unheard_weight(), watch.heard_ms(4)), (0, None));
    // Back, and heard then.
    watch.readmitted(3, 2 * HOUR);
    watch.enrolled(5, 7, 2 * HOUR);
    for id in 4..=9 {
        round(&mut watch, 4, &[1, 2], id, 2 * HOUR + 9 * MINUTE);
    }
    assert_eq!(watch.unheard_weight(), 0);
    round(&mut watch, 4, &[1, 2], 10, 2 * HOUR + 10 * MINUTE);
    assert_eq!(watch.unheard_weight(), 8);
}

/// Lets validator 7 of 7 disagree until it is distrusted, at most 6 hours.
fn distrusted(watch: &mut Watch) -> u64 {
    for number in 0..360u64 {
        let at = number * MINUTE;
        for slot in 1..=7 {
            watch.voted(slot, &[1; 32], at);
        }
        end(watch, 7, &[1, 2, 3, 4, 5, 6], &[7], true, at);
        if watch.reputations().of(7).kept.score < DISTRUSTED {
            return at;
        }
    }
    panic!("never distrusted");
}

#[test]
fn suspicion_ends_when_trust_is_back() {
    let mut watch = watch(7);
    let at = distrusted(&mut watch);
    assert_eq!(watch.reputations().lowest(u128::MAX), 4000);
    take(&mut watch, Turn::Alert(Reason::Suspicion), 1, at);
    assert_eq!((watch.due(at + HOUR), watch.next_ms()), (None, None));
    // After eight hours half of what was lost is back.
    round(&mut watch, 7, &[1, 2, 3, 4, 5, 6, 7], 2, 8 * HOUR);
    assert_eq!(watch.reputations().of(7).kept.score, 7000);
    take(&mut watch, Turn::Calm(Reason::Suspicion), 2, 8 * HOUR);
}

#[test]
fn suspicion_of_the_quarantined_and_the_removed_does_not_count() {
    for leave in [
        |watch: &mut Watch| watch.quarantined(7, 0),
        |watch: &mut Watch| watch.removed(7),
    ] {
        let mut watch = watch(7);
        let at = distrusted(&mut watch);
        take(&mut watch, Turn::Alert(Reason::Suspicion), 1, at);
        leave(&mut watch);
        watch.turn(Turn::Alert(Reason::Evidence), 2, at);
        let calm = (1..=2).any(|_| {
            let turn = watch.due(at + HOUR);
            watch.turn(turn.unwrap(), 3, at + HOUR);
            turn == Some(Turn::Calm(Reason::Suspicion))
        });
        assert!(calm);
    }
}

#[test]
fn a_restored_reputation_starts_the_alert_at_the_next_end() {
    let mut watch = watch(4);
    let kept = Kept {
        score: 4900,
        ..Kept::PRISTINE
    };
    watch.reputations_mut().restore(2, &kept);
    assert_eq!(watch.due(HOUR), None);
    end(&mut watch, 4, &[], &[], false, HOUR);
    assert_eq!(watch.due(HOUR), Some(Turn::Alert(Reason::Suspicion)));
}

#[test]
fn turns_are_due_in_the_order_of_the_reasons() {
    let mut watch = watch(4);
    let kept = Kept {
        score: 0,
        ..Kept::PRISTINE
    };
    watch.reputations_mut().restore(1, &kept);
    for id in 1..=3 {
        round(&mut watch, 4, &[1, 2], id, HOUR);
    }
    forged(&mut watch, 16, HOUR);
    watch.quarantined(4, HOUR);
    watch.quarantined(3, HOUR);
    for (number, reason) in (10..).zip(Reason::ALL) {
        take(&mut watch, Turn::Alert(reason), number, HOUR);
    }
    assert_eq!(watch.active(), 0b11110);
    assert_eq!(watch.due(HOUR), None);
    // The ends, too, and one that ends is before one that starts if its reason is.
    watch.reputations_mut().restore(1, &Kept::PRISTINE);
    forged(&mut watch, 16, 2 * HOUR);
    for (number, reason) in (20..).zip(Reason::ALL) {
        take(&mut watch, Turn::Calm(reason), number, 2 * HOUR);
    }
    assert_eq!(watch.due(u64::MAX), None);
}

#[test]
fn a_threshold_never_falls_within_a_request_s_life() {
    let mut watch = watch(4);
    watch.quarantined(2, 0);
    // Due is not yet: what counts is what the events say.
    assert_eq!(watch.threshold(7500, 5, false), 7500);
    watch.turn(Turn::Alert(Reason::Evidence), 10, 0);
    assert_eq!(watch.threshold(7500, 5, false), 9000);
    assert_eq!(watch.threshold(7500, 15, false), 9000);
    watch.turn(Turn::Calm(Reason::Evidence), 20, HOUR);
    assert_eq!(
        watch.threshold(7500, 15, false),
        9000,
        "it held after the request"
    );
    assert_eq!(watch.threshold(7500, 19, true), 9000);
    assert_eq!(watch.threshold(7500, 21, false), 7500);
}

#[test]
fn governance_is_raised_by_evidence_and_bursts_only() {
    for (reason, governance) in Reason::ALL.into_iter().zip([9000, 9000, 7500, 7500]) {
        let mut watch = watch(4);
        watch.turn(Turn::Alert(reason), 10, 0);
        assert_eq!(watch.threshold(7500, 5, false), 9000, "{reason:?}");
        assert_eq!(watch.threshold(7500, 5, true), governance, "{reason:?}");
        watch.turn(Turn::Calm(reason), 11, 0);
        let after = match reason {
            Reason::Evidence => 9000,
            _ => 7500,
        };
        assert_eq!(watch.threshold(7500, 5, true), after, "{reason:?}");
        assert_eq!(watch.threshold(7500, 12, false), 7500, "{reason:?}");
    }
}

#[test]
fn raising_stops_at_the_ceiling_and_never_lowers() {
    let with = |raise_bp, ceiling_bp| Rules {
        raise_bp,
        ceiling_bp,
        ..rules()
    };
    assert_eq!(with(1500, 9000).raised(5001), 6501);
    assert_eq!(with(1500, 9000).raised(7500), 9000);
    assert_eq!(with(1500, 9000).raised(7501), 9000);
    assert_eq!(
        with(1500, 9000).raised(9500),
        9500,
        "ceiling below the base"
    );
    assert_eq!(with(0, 9000).raised(7500), 7500);
    assert_eq!(with(0, 5001).raised(10_000), 10_000);
    assert_eq!(with(4999, 10_000).raised(10_000), 10_000);
    assert_eq!(with(u16::MAX, u16::MAX).raised(10_000), u16::MAX);
}

#[test]
fn slots_that_are_none_change_nothing() {
    let mut watch = watch(2);
    for slot in [0, 129, 255, u16::MAX] {
        watch.enrolled(slot, 9, 0);
        watch.voted(slot, &[1; 32], 5);
        watch.removed(slot);
        watch.restored_quarantined(slot);
        watch.readmitted(slot, 5);
        assert_eq!(watch.heard_ms(slot), None);
        assert_eq!(watch.unheard(slot), 0);
    }
    assert_eq!((watch.heard_ms(1), watch.heard_ms(2)), (Some(0), Some(0)));
}

fn encoded(rules: &Rules) -> [u8; Rules::LEN] {
    let mut bytes = [0; Rules::LEN];
    let mut out = Writer::new(&mut bytes);
    rules.put(&mut out).unwrap();
    assert_eq!(out.len(), Rules::LEN);
    bytes
}

#[test]
fn rules_that_no_policy_can_say_are_refused() {
    let bytes = encoded(&rules());
    assert_eq!(Rules::take(&mut Reader::new(&bytes)), Ok(rules()));
    for len in 0..Rules::LEN {
        assert_eq!(
            Rules::take(&mut Reader::new(&bytes[..len])),
            Err(Error::Short)
        );
    }
    let bad = [
        (
            "raise",
            Rules {
                raise_bp: 5000,
                ..rules()
            },
        ),
        (
            "ceiling",
            Rules {
                ceiling_bp: 5000,
                ..rules()
            },
        ),
        (
            "ceiling",
            Rules {
                ceiling_bp: 10_001,
                ..rules()
            },
        ),
        (
            "missing",
            Rules {
                missing_bp: 0,
                ..rules()
            },
        ),
        (
            "missing",
            Rules {
                missing_bp: 10_001,
                ..rules()
            },
        ),
        (
            "burst",
            Rules {
                burst: 0,
                ..rules()
            },
        ),
        (
            "burst",
            Rules {
                burst: 65,
                ..rules()
            },
        ),
        (
            "silence",
            Rules {
                silence_ms: 999,
                ..rules()
            },
        ),
        (
            "silence",
            Rules {
                silence_ms: 172_800_001,
                ..rules()
            },
        ),
        (
            "within",
            Rules {
                within_ms: 7_200_001,
                ..rules()
            },
        ),
        (
            "within",
            Rules {
                within_ms: 0,
                ..rules()
            },
        ),
        (
            "quiet",
            Rules {
                quiet_ms: 999,
                ..rules()
            },
        ),
        (
            "quiet",
            Rules {
                quiet_ms: u32::MAX,
                ..rules()
            },
        ),
    ];
    for (name, rules) in bad {
        let bytes = encoded(&rules);
        assert_eq!(
            Rules::take(&mut Reader::new(&bytes)),
            Err(Error::Field(name))
        );
    }
}

#[test]
fn every_reason_has_its_number_and_name() {
    for (number, reason) in (1..).zip(Reason::ALL) {
        assert_eq!(reason as u16, number);
        assert_eq!(Reason::from_u16(number), Some(reason));
        assert_eq!(reason.name(), format!("{reason:?}").to_lowercase());
    }
    assert_eq!(Reason::from_u16(0), None);
    assert_eq!(Reason::from_u16(5), None);
}

#[test]
fn the_edges_of_the_random_part_are_reached_and_no_more() {
    let text = "policy_name=p policy_version=1\n\
                adaptive silence=24h within=1h quiet=24h jitter=100%\nDEFAULT action=DENY\n";
    let policy = Policy::parse(text.as_bytes()).unwrap().adaptive();
    let least = Rules::draw(&policy, [0; 3]);
    let most = Rules::draw(&policy, [u32::MAX; 3]);
    assert_eq!(
        (least.silence_ms, most.silence_ms),
        (86_400_000, 172_800_000)
    );
    assert_eq!((least.within_ms, most.within_ms), (3_600_000, 7_200_000));
    assert_eq!((least.quiet_ms, most.quiet_ms), (86_400_000, 172_800_000));
    for rules in [least, most] {
        assert_eq!(Rules::take(&mut Reader::new(&encoded(&rules))), Ok(rules));
        assert!(rules.fits(&policy));
    }
    let beyond = Rules {
        quiet_ms: most.quiet_ms + 1,
        ..most
    };
    assert!(!beyond.fits(&policy));
    assert!(!Rules {
        within_ms: least.within_ms - 1,
        ..least
    }
    .fits(&policy));
    assert!(!Rules {
        raise_bp: 1,
        ..least
    }
    .fits(&policy));
    assert!(!Rules {
        ceiling_bp: 9001,
        ..least
    }
    .fits(&policy));
    assert!(!Rules {
        missing_bp: 1,
        ..least
    }
    .fits(&policy));
    assert!(!Rules { burst: 1, ..least }.fits(&policy));
}

proptest! {
    #[test]
    fn what_is_drawn_is_in_bounds(random: [u32; 3], jitter_bp in 0u16..=10_000, seconds in 1u32..=3600) {
        let policy = Adaptive {
            silence_s: seconds,
            within_s: seconds,
            quiet_s: seconds,
            jitter_bp,
            ..Adaptive::DEFAULT
        };
        let rules = Rules::draw(&policy, random);
        prop_assert!(rules.fits(&policy));
        let most = u64::from(seconds) * 1000 * (10_000 + u64::from(jitter_bp)) / 10_000;
        for ms in [rules.silence_ms, rules.within_ms, rules.quiet_ms] {
            prop_assert!(u64::from(ms) >= u64::from(seconds) * 1000);
            prop_assert!(u64::from(ms) <= most);
        }
        // Each time has its own.
        prop_assert_eq!(Rules::draw(&policy, [random[0]; 3]).quiet_ms, rules.silence_ms);
    }

    /// Whatever happens, nothing panics, and what is due is due until it is recorded.
    #[test]
    fn any_events_are_survived(events in prop::collection::vec((0u8..8, 0u16..=131, any::<u8>(), any::<u32>()), 0..300)) {
        let mut watch = watch(9);
        let mut at = 0u64;
        for (number, (kind, slot, id, ms)) in (1..).zip(events) {
            at = at.saturating_add(u64::from(ms) % 1_000_000);
            match kind {
                0 => watch.enrolled(slot, ms, at),
                1 => watch.removed(slot),
                2 => watch.quarantined(slot, at),
                3 => watch.readmitted(slot, at),
                4 => watch.refused(Refusal::VoteForged, at),
                5 | 6 => watch.voted(slot, &[id % 7; 32], at),
                _ => end(&mut watch, 9, &[1, 2, 3, 4, 5], &[6], id % 2 == 0, at),
            }
            let mut turns = 0;
            while let Some(turn) = watch.due(at) {
                watch.turn(turn, number, at);
                turns += 1;
                prop_assert!(turns <= 8);
            }
            if let Some(next) = watch.next_ms() {
                prop_assert!(next > at);
                prop_assert!(watch.due(next).is_some());
                prop_assert!(watch.due(next - 1).is_none());
            }
            let weights: u64 = (1..=128).map(|slot| u64::from(watch.heard_ms(slot).is_some())).sum();
            prop_assert!(weights != 0 || watch.unheard_weight() == 0);
        }
    }
}
