// SPDX-License-Identifier: GPL-2.0

//! Reputations: each rule by itself, and who is suspected in the long run.

use engine::quorum::Verdict;
use engine::reputation::{
    Kept,
    Reputations,
    DISTRUSTED,
    PRISTINE,
    SUSPECTED, //
};
use engine::wire::{
    Error,
    Reader,
    Writer, //
};
use proptest::prelude::*;

const HOUR: u64 = 3_600_000;

fn reputations(n: u16) -> Reputations {
    let mut reputations = Reputations::new().unwrap();
    for slot in 1..=n {
        reputations.enrol(slot);
    }
    reputations
}

fn set(slots: impl IntoIterator<Item = u16>) -> u128 {
    slots
        .into_iter()
        .fold(0, |set, slot| set | (1 << (slot - 1)))
}

/// Everybody of `n` votes, and `against` has another opinion than the majority, which approves.
fn decide(reputations: &mut Reputations, n: u16, against: u128, at: u64) {
    let all = set(1..=n);
    reputations.decided(all, all & !against, Verdict::Approve, at);
}

fn score(reputations: &Reputations, slot: u16) -> u16 {
    reputations.of(slot).score
}

/// A generator that is the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[test]
fn the_sixth_disagreement_costs_and_then_every_third() {
    let mut reputations = reputations(7);
    let mut scores = Vec::new();
    for number in 0..14 {
        decide(&mut reputations, 7, set([3]), number);
        scores.push(score(&reputations, 3) / 100);
    }
    assert_eq!(
        scores,
        [100, 100, 100, 100, 100, 90, 90, 90, 80, 80, 80, 70, 70, 70]
    );
    assert_eq!(score(&reputations, 2), PRISTINE);
    let kept = reputations.of(3).kept;
    assert_eq!((kept.agreed, kept.disagreed), (0, 14));
    let kept = reputations.of(2).kept;
    assert_eq!((kept.agreed, kept.disagreed, kept.bias), (14, 0, 0));
}

#[test]
fn no_more_than_three_penalties_in_an_hour() {
    let mut reputations = reputations(7);
    for (hour, least) in [7000, 4000, 1000, 0, 0].into_iter().enumerate() {
        for decision in 0..50 {
            let at = u64::try_from(hour).unwrap() * HOUR + decision * 60_000;
            decide(&mut reputations, 7, set([3]), at);
        }
        assert_eq!(score(&reputations, 3), least, "hour {hour}");
    }
}

#[test]
fn one_in_four_is_forgiven() {
    let mut reputations = reputations(7);
    for number in 0..10_000u64 {
        let against = if number % 4 == 0 { set([3]) } else { 0 };
        decide(&mut reputations, 7, against, number);
    }
    assert_eq!(score(&reputations, 3), PRISTINE);
    let kept = reputations.of(3).kept;
    assert_eq!((kept.agreed, kept.disagreed), (7500, 2500));
}

#[test]
fn who_does_not_vote_is_not_judged() {
    let mut reputations = reputations(7);
    for number in 0..100 {
        reputations.decided(set(1..=4), set([1]), Verdict::Deny, number);
    }
    assert!(score(&reputations, 1) < SUSPECTED);
    for slot in 2..=7 {
        assert_eq!(score(&reputations, slot), PRISTINE);
    }
    assert_eq!(reputations.of(4).kept.agreed, 100);
    assert_eq!(reputations.of(5).kept, Kept::PRISTINE);
    // Nor who is not enrolled.
    reputations.remove(1);
    reputations.decided(set(1..=9), set([1, 8, 9]), Verdict::Deny, 100);
    assert_eq!(reputations.of(1).kept, Kept::PRISTINE);
    assert_eq!(reputations.of(9).kept, Kept::PRISTINE);
}

#[test]
fn losses_are_halved_every_eight_hours_and_not_before() {
    let kept = Kept {
        score: 0,
        bias: 15,
        agreed: 3,
        disagreed: 5,
    };
    let mut reputations = reputations(2);
    reputations.restore(1, &kept);
    assert_eq!(reputations.of(1).kept, kept);
    // The first hour is where it starts, however late the load was.
    let first = 800 * HOUR;
    for (after, score, bias) in [
        (0, 0, 15),
        (8 * HOUR - 1, 0, 15),
        (8 * HOUR, 5000, 7),
        (15 * HOUR, 5000, 7),
        (16 * HOUR, 7500, 3),
        (40 * HOUR, 9700, 0),
        (56 * HOUR, 10_000, 0),
        (1_000_000 * HOUR, 10_000, 0),
    ] {
        reputations.decided(0, 0, Verdict::Approve, first + after);
        let kept = reputations.of(1).kept;
        assert_eq!((kept.score, kept.bias), (score, bias), "{after}");
        assert_eq!((kept.agreed, kept.disagreed), (3, 5));
    }
    // Many at once are the same as one by one.
    let mut at_once = self::reputations(2);
    at_once.restore(1, &kept);
    at_once.decided(0, 0, Verdict::Approve, first);
    at_once.decided(0, 0, Verdict::Approve, first + 16 * HOUR);
    assert_eq!(score(&at_once, 1), 7500);
}

#[test]
fn a_stamp_that_goes_back_changes_no_hour() {
    let mut reputations = reputations(2);
    let kept = Kept {
        score: 5000,
        ..Kept::PRISTINE
    };
    reputations.decided(0, 0, Verdict::Approve, 20 * HOUR);
    reputations.restore(1, &kept);
    reputations.decided(0, 0, Verdict::Approve, 0);
    reputations.decided(0, 0, Verdict::Approve, 20 * HOUR);
    assert_eq!(reputations.of(1).kept, kept);
}

/// One request of a coordinated pair, 1 and 2, that votes after the others of `n`, who are slow.
fn pair(reputations: &mut Reputations, n: u16, number: u64, first: u16, at: u64) {
    let mut request = [0; 32];
    request[..8].copy_from_slice(&number.to_be_bytes());
    for slot in 3..=n {
        reputations.voted(slot, &request, at + u64::from(slot) * 1000);
    }
    let last = at + u64::from(n + 1) * 1000;
    reputations.voted(first, &request, last);
    reputations.voted(3 - first, &request, last + 20);
}

#[test]
fn only_who_follows_loses_by_timing() {
    // Or else whoever copies an honest vote at once would harm who cast it.
    let mut reputations = reputations(7);
    for number in 0..200 {
        pair(&mut reputations, 7, number, 1, number * 20_000);
    }
    assert_eq!(score(&reputations, 1), PRISTINE);
    assert!(score(&reputations, 2) < SUSPECTED);
    let view = reputations.of(2);
    assert_eq!(view.partner, Some(1));
    assert!(view.timing > 0);
    for slot in 3..=7 {
        assert_eq!(score(&reputations, slot), PRISTINE);
        assert_eq!(reputations.of(slot).partner, None);
    }
}

#[test]
fn timing_takes_no_more_than_3000_and_nothing_that_is_kept() {
    for n in [2, 4, 7, 128] {
        let mut reputations = reputations(n);
        for number in 0..5000 {
            pair(&mut reputations, n, number, 1, number * 200_000);
            let least = reputations.lowest(u128::MAX);
            assert!(least >= PRISTINE - 3000, "{least} of {n}");
        }
        assert_eq!(reputations.of(2).kept, Kept::PRISTINE);
        // What bias takes comes on top.
        for number in 0..50 {
            decide(
                &mut reputations,
                n.max(3),
                set([2]),
                5000 * 200_000 + number,
            );
        }
        let view = reputations.of(2);
        assert_eq!(view.kept.score, 7000);
        assert!((4000..=7000).contains(&view.score), "{}", view.score);
    }
}

#[test]
fn the_first_vote_on_a_request_changes_nothing() {
    let follow = |firsts: u64| {
        let mut reputations = reputations(4);
        for number in 0..firsts {
            let mut request = [0xff; 32];
            request[..8].copy_from_slice(&number.to_be_bytes());
            reputations.voted(2, &request, number * 60_000);
        }
        (0..12)
            .map(|number| {
                pair(&mut reputations, 2, number, 1, HOUR + number * 60_000);
                reputations.of(2).timing
            })
            .collect::<Vec<_>>()
    };
    let timings = follow(0);
    // One half is 8 sixteenths of chance and 3 more.
    assert_eq!(timings[0], 16 - 8 - 3);
    assert_eq!(follow(50), timings);
}

#[test]
fn two_that_are_always_the_first_are_not_conspicuous() {
    // Two quick machines among people are no pair: who is second has nobody else to keep away from.
    let mut reputations = reputations(7);
    let mut random = Random(1);
    for number in 0..2000u64 {
        let mut request = [0; 32];
        request[..8].copy_from_slice(&number.to_be_bytes());
        let at = number * 60_000;
        let first = if random.below(2) == 0 { 1 } else { 2 };
        reputations.voted(first, &request, at);
        reputations.voted(3 - first, &request, at + 20);
        for slot in 3..=7 {
            reputations.voted(slot, &request, at + u64::from(slot) * 1000);
        }
    }
    assert_eq!(reputations.lowest(u128::MAX), PRISTINE);
}

#[test]
fn everybody_at_once_is_not_conspicuous() {
    for n in [2, 3, 4, 7, 32, 128] {
        let mut reputations = reputations(n);
        let mut random = Random(u64::from(n));
        for number in 0..3000u64 {
            let mut order: Vec<u16> = (1..=n).collect();
            for place in (1..order.len()).rev() {
                let other = usize::try_from(random.below(place as u64 + 1)).unwrap();
                order.swap(place, other);
            }
            for slot in order {
                reputations.voted(
                    slot,
                    &[u8::try_from(number % 251).unwrap(); 32],
                    number * 60_000,
                );
            }
            let least = reputations.lowest(u128::MAX);
            assert!(least >= SUSPECTED, "{least} of {n} after {number}");
        }
    }
}

#[test]
fn always_the_last_of_a_quick_crowd_is_not_conspicuous() {
    let mut reputations = reputations(7);
    for number in 0..5000u64 {
        for slot in 1..=7 {
            reputations.voted(
                slot,
                &[u8::try_from(number % 251).unwrap(); 32],
                number * 60_000,
            );
        }
    }
    assert_eq!(score(&reputations, 7), PRISTINE);
}

#[test]
fn ticks_are_of_one_request_and_next_to_each_other() {
    let follow = |gap: u64, other: bool| {
        let mut reputations = reputations(7);
        for number in 0..60u64 {
            let at = number * 60_000;
            let request = [u8::try_from(number).unwrap(); 32];
            reputations.voted(1, &if other { [0xff; 32] } else { request }, at);
            reputations.voted(2, &request, at + gap);
        }
        reputations.of(2).partner
    };
    assert_eq!(follow(0, false), Some(1));
    assert_eq!(follow(99, false), Some(1));
    assert_eq!(follow(100, false), None);
    assert_eq!(follow(0, true), None);
}

/// What became of one run.
struct Run {
    /// Hours of honest validators, and how many of these they were suspected in.
    honest: (u64, u64),
    /// Decisions until the first, and the last, of the others was suspected.
    first: Option<u64>,
    last: Option<u64>,
}

/// How a validator behaves.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    /// Disagrees with one in 20, and votes after up to a minute.
    Honest,
    /// Always disagrees.
    Contrary,
    /// Votes within 40 ms of the other such, in any order.
    Pair,
}

fn run(who: &[Who], decisions: u64, per_hour: u64, seed: u64) -> Run {
    let n = u16::try_from(who.len()).unwrap();
    let mut random = Random(seed);
    let mut reputations = reputations(n);
    let mut result = Run {
        honest: (0, 0),
        first: None,
        last: None,
    };
    let mut suspected_at = vec![None; who.len()];
    for number in 0..decisions {
        let start = number * HOUR / per_hour;
        let together = random.below(60_000);
        let mut votes: Vec<(u64, u16, bool)> = (1..)
            .zip(who)
            .map(|(slot, who)| match who {
                Who::Honest => (random.below(60_000), slot, random.below(20) == 0),
                Who::Contrary => (random.below(60_000), slot, true),
                Who::Pair => (together + random.below(40), slot, random.below(20) == 0),
            })
            .collect();
        votes.sort_unstable();
        let mut request = [0; 32];
        request[..8].copy_from_slice(&number.to_be_bytes());
        for &(after, slot, _) in &votes {
            reputations.voted(slot, &request, start + after);
        }
        let against = set(votes.iter().filter(|vote| vote.2).map(|vote| vote.1));
        if u64::from(against.count_ones()) * 2 < u64::from(n) {
            decide(&mut reputations, n, against, start + 60_000);
        }
        let hour_ends = (number + 1) % per_hour == 0;
        for (place, (slot, who)) in (1..).zip(who).enumerate() {
            let suspected = score(&reputations, slot) < SUSPECTED;
            if *who == Who::Honest && hour_ends {
                result.honest.0 += 1;
                result.honest.1 += u64::from(suspected);
            }
            if *who != Who::Honest && suspected {
                suspected_at[place].get_or_insert(number + 1);
            }
        }
    }
    let others = || {
        who.iter()
            .zip(&suspected_at)
            .filter(|(who, _)| **who != Who::Honest)
    };
    result.first = others().filter_map(|(_, at)| *at).min();
    result.last = others()
        .map(|(_, at)| *at)
        .collect::<Option<Vec<u64>>>()
        .and_then(|all| all.into_iter().max());
    result
}

#[test]
fn the_honest_are_not_suspected() {
    for (n, decisions, per_hour) in [
        (4, 40_000, 10),
        (7, 40_000, 60),
        (7, 40_000, 600),
        (128, 2000, 60),
    ] {
        let (mut hours, mut suspected) = (0, 0);
        for seed in 0..5 {
            let run = run(&vec![Who::Honest; n], decisions, per_hour, seed);
            hours += run.honest.0;
            suspected += run.honest.1;
        }
        println!("{n} at {per_hour} an hour: {suspected} of {hours}");
        assert!(
            suspected * 1000 < hours,
            "{suspected} of {hours}, {n} at {per_hour} an hour"
        );
    }
}

#[test]
fn the_contrary_is_suspected_with_its_twelfth_judgement() {
    for n in [4, 7, 33, 128] {
        for seed in 0..50 {
            let mut who = vec![Who::Honest; n];
            who[n / 2] = Who::Contrary;
            let run = run(&who, 20, 60, seed);
            // A decision in which too many honest ones err, too, judges nobody.
            assert!(
                run.last.is_some_and(|at| (12..=24).contains(&at)),
                "{:?} of {n}",
                run.last
            );
        }
    }
}

#[test]
fn the_contrary_is_suspected_where_little_is_decided() {
    // One decision in an hour: the losses of eight hours are halved.
    for seed in 0..50 {
        let mut who = vec![Who::Honest; 7];
        who[0] = Who::Contrary;
        let run = run(&who, 48, 1, seed);
        assert!(run.last.is_some_and(|at| at <= 24), "{:?}", run.last);
    }
}

#[test]
fn a_pair_in_any_order_is_suspected() {
    for n in [4, 7, 33, 128] {
        let mut times = Vec::new();
        for seed in 0..100 {
            let mut who = vec![Who::Honest; n];
            (who[0], who[n - 1]) = (Who::Pair, Who::Pair);
            times.push(run(&who, 400, 20, seed));
        }
        let found = times.iter().filter(|run| run.last.is_some()).count();
        let most = times.iter().filter_map(|run| run.last).max();
        let mut all: Vec<_> = times.iter().filter_map(|run| run.last).collect();
        all.sort_unstable();
        println!(
            "{n}: {found} of 100, median {:?}, at most {most:?}",
            all.get(all.len() / 2)
        );
        assert!(found >= 99, "{found} of {n}");
        // The honest are no worse off.
        let hours: u64 = times.iter().map(|run| run.honest.0).sum();
        let suspected: u64 = times.iter().map(|run| run.honest.1).sum();
        assert!(suspected * 1000 < hours, "{suspected} of {hours}");
    }
}

#[test]
fn what_cannot_be_a_reputation_is_refused() {
    let kept = Kept {
        score: 9900,
        bias: 15,
        agreed: 7,
        disagreed: u64::MAX,
    };
    let encode = |kept: &Kept| {
        let mut bytes = [0; Kept::LEN];
        let mut out = Writer::new(&mut bytes);
        kept.put(&mut out).unwrap();
        assert_eq!(out.len(), Kept::LEN);
        bytes
    };
    let bytes = encode(&kept);
    assert_eq!(Kept::take(&mut Reader::new(&bytes)), Ok(kept));
    for len in 0..Kept::LEN {
        assert_eq!(
            Kept::take(&mut Reader::new(&bytes[..len])),
            Err(Error::Short)
        );
    }
    for (name, bad) in [
        (
            "score",
            Kept {
                score: 10_100,
                ..kept
            },
        ),
        (
            "score",
            Kept {
                score: 9901,
                ..kept
            },
        ),
        ("bias", Kept { bias: 16, ..kept }),
    ] {
        assert_eq!(
            Kept::take(&mut Reader::new(&encode(&bad))),
            Err(Error::Field(name))
        );
    }
}

#[test]
fn a_slot_that_is_given_anew_starts_clean() {
    let mut reputations = reputations(7);
    for number in 0..200 {
        pair(&mut reputations, 7, number, 1, number * 20_000);
        decide(&mut reputations, 7, set([2]), number * 20_000);
    }
    assert!(score(&reputations, 2) < DISTRUSTED);
    reputations.enrol(2);
    assert_eq!(reputations.of(2).kept, Kept::PRISTINE);
    assert_eq!(reputations.of(2).partner, None);
    reputations.clear();
    assert_eq!(reputations.lowest(u128::MAX), PRISTINE);
}

/// The same by the words of the document, one validator at a time.
struct Reference {
    lost: Vec<u32>,
    late: Vec<u32>,
    bias: Vec<i32>,
    penalties: Vec<u32>,
    counts: Vec<(u64, u64)>,
    chance: Vec<i64>,
    timing: Vec<Vec<i64>>,
    /// The last four requests that were voted on: id, and who voted at which tick.
    requests: Vec<(u8, Vec<(usize, u64)>)>,
    hour: Option<u64>,
}

impl Reference {
    fn new(n: u16) -> Self {
        let n = usize::from(n);
        Self {
            lost: vec![0; n],
            late: vec![0; n],
            bias: vec![0; n],
            penalties: vec![0; n],
            counts: vec![(0, 0); n],
            chance: vec![32_768; n],
            timing: vec![vec![0; n]; n],
            requests: Vec::new(),
            hour: None,
        }
    }

    fn reach(&mut self, at: u64) {
        let hour = at / HOUR;
        let last = self.hour.replace(hour).unwrap_or(hour);
        if hour != last {
            self.penalties.fill(0);
        }
        for _ in last / 8..hour / 8 {
            self.lost.iter_mut().for_each(|lost| *lost /= 2);
            self.late.iter_mut().for_each(|late| *late /= 2);
            self.bias.iter_mut().for_each(|bias| *bias /= 2);
            for timing in self.timing.iter_mut().flatten() {
                *timing /= 2;
            }
        }
    }

    fn decided(&mut self, voted: u128, against: u128, at: u64) {
        self.reach(at);
        for slot in 0..self.lost.len() {
            if (voted >> slot) & 1 == 0 {
                continue;
            }
            let other = (against >> slot) & 1 == 1;
            let count = &mut self.counts[slot];
            if other {
                count.1 += 1
            } else {
                count.0 += 1
            }
            self.bias[slot] = (self.bias[slot] + if other { 3 } else { -1 }).max(0);
            if self.bias[slot] >= 16 {
                self.bias[slot] = 8;
                if self.penalties[slot] < 3 {
                    self.penalties[slot] += 1;
                    self.lost[slot] = (self.lost[slot] + 10).min(100);
                }
            }
        }
    }

    fn voted(&mut self, who: usize, request: u8, at: u64) {
        self.reach(at);
        let tick = at / 50;
        let known = self.requests.iter().position(|(id, _)| *id == request);
        let place = known.unwrap_or_else(|| {
            if self.requests.len() == 4 {
                self.requests.remove(0);
            }
            self.requests.push((request, Vec::new()));
            self.requests.len() - 1
        });
        let others = self.requests[place].1.clone();
        self.requests[place].1.push((who, tick));
        let m = i64::try_from(others.len()).unwrap();
        if m == 0 {
            return;
        }
        let chance = self.chance[who];
        let mut c = 0;
        let mut over = false;
        for (other, when) in others {
            let x = i64::from(tick - when <= 1);
            c += x;
            let timing = &mut self.timing[who][other];
            *timing = (*timing + 16 * x - (chance + 4095) / 4096 - 3).max(0);
            if *timing >= 96 {
                *timing = 48;
                over = true;
            }
        }
        if over {
            self.late[who] = (self.late[who] + 10).min(30);
        }
        self.chance[who] = chance + (65_536 * c / m - chance) / 32;
    }

    /// Score, what is kept of it, bias, timing, agreed and disagreed.
    fn of(&self, slot: usize) -> (u32, u32, i32, i64, u64, u64) {
        let kept = 10_000 - 100 * self.lost[slot];
        let timing = self.timing[slot].iter().copied().max().unwrap_or(0);
        let (agreed, disagreed) = self.counts[slot];
        let score = kept.saturating_sub(100 * self.late[slot]);
        (score, kept, self.bias[slot], timing, agreed, disagreed)
    }
}

/// The same of the lanes.
fn shown(reputations: &Reputations, slot: u16) -> (u32, u32, i32, i64, u64, u64) {
    let view = reputations.of(slot);
    (
        view.score.into(),
        view.kept.score.into(),
        view.kept.bias.into(),
        view.timing.into(),
        view.kept.agreed,
        view.kept.disagreed,
    )
}

proptest! {
    #[test]
    fn lanes_agree_with_the_document(
        n in 1u16..=128,
        decisions in prop::collection::vec((any::<u128>(), any::<u128>(), any::<u128>(), 0u64..40), 0..120),
    ) {
        let mut reputations = reputations(n);
        let mut reference = Reference::new(n);
        let mut at = 0;
        for (voted, a, b, step) in decisions {
            at += step * step * step * 600;
            // More disagree than would by a coin.
            let against = voted & (a | b);
            reputations.decided(voted, !against, Verdict::Approve, at);
            reference.decided(voted, against, at);
            for slot in 1..=n {
                prop_assert_eq!(shown(&reputations, slot), reference.of(usize::from(slot - 1)));
            }
        }
    }

    #[test]
    fn timing_agrees_with_the_document(
        n in 2u16..=20,
        seed: u64,
        // Requests that are open at once: more than are remembered, too.
        open in 1u8..=6,
    ) {
        let mut random = Random(seed);
        let mut reputations = reputations(n);
        let mut reference = Reference::new(n);
        let (mut at, mut id) = (0u64, 1u8);
        for _ in 0..30 {
            // Everybody votes once on each of a few requests, mostly in crowds.
            let mut votes: Vec<(u64, u8, u16)> = (0..open)
                .flat_map(|request| (1..=n).map(move |slot| (request, slot)))
                .map(|(request, slot)| {
                    let quick = slot <= n / 2 || random.below(3) == 0;
                    (random.below(if quick { 120 } else { 20_000 }), request, slot)
                })
                .collect();
            votes.sort_unstable();
            for (after, request, slot) in votes {
                let request = id.wrapping_add(request);
                reputations.voted(slot, &[request; 32], at + after);
                reference.voted(usize::from(slot - 1), request, at + after);
                for slot in 1..=n {
                    prop_assert_eq!(shown(&reputations, slot), reference.of(usize::from(slot - 1)));
                }
            }
            id = id.wrapping_add(open);
            at += 60_000 + random.below(40) * random.below(40) * 60_000;
        }
    }
}
