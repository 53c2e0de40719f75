// SPDX-License-Identifier: GPL-2.0

//! What one vote costs, apart from hash and signature.
//!
//! Prints `STEP VALIDATORS NANOSECONDS` for each step. Below `qemu/run.sh --icount` one nanosecond is
//! one instruction. `decided` is the three steps of the watch for a vote that decides, `accepted` all
//! that an accepted vote costs, and `not_accepted` all that a refused one does. A step is the dearest
//! call of a story that is told several times; of each of its calls the cheapest telling counts, so
//! that interrupts do not. `..._mostly` is the median call instead of the dearest.

use engine::clock::{
    check_vote,
    ClaimedClock,
    NodeClock,
    ENTRY_LEN,
    SLOTS, //
};
use engine::memory::VoteMemory;
use engine::policy::Adaptive;
use engine::quorum::{
    Ballot,
    Verdict, //
};
use engine::refusal::Refusal;
use engine::vote::{
    SignedVote,
    Vote,
    MAX_SIGNED, //
};
use engine::watch::{
    Rules,
    Watch, //
};
use engine::wire::Writer;
use std::hint::black_box;
use std::time::Instant;

/// How often a story is told.
const TELLINGS: usize = 5;

/// Requests of a story.
const REQUESTS: u16 = 60;

/// Milliseconds between two requests: bursts of decisions, and new hours.
const APART_MS: u64 = 600_000;

/// A signature of the greatest length: two numbers of 33 bytes.
const SIGNATURE: [u8; 72] = {
    let mut signature = [0x7f; 72];
    let head = [0x30, 70, 0x02, 33, 0x00, 0xff];
    let mut at = 0;
    while at < head.len() {
        signature[at] = head[at];
        at += 1;
    }
    (signature[37], signature[38], signature[39], signature[40]) = (0x02, 33, 0x00, 0xff);
    signature
};

/// The cheapest telling of each call of a story.
#[derive(Default)]
struct Story {
    calls: Vec<u64>,
    next: usize,
}

impl Story {
    fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = black_box(call());
        let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match self.calls.get_mut(self.next) {
            Some(least) => *least = took.min(*least),
            None => self.calls.push(took),
        }
        self.next += 1;
        result
    }

    /// Begins to tell it again.
    fn again(&mut self) {
        self.next = 0;
    }

    fn dearest(&self) -> u64 {
        self.calls.iter().copied().max().unwrap_or(0)
    }

    fn median(&self) -> u64 {
        let mut calls = self.calls.clone();
        calls.sort_unstable();
        calls.get(calls.len() / 2).copied().unwrap_or(0)
    }
}

/// What the two readings of the clock cost by themselves.
fn nothing() -> u64 {
    let mut story = Story::default();
    for _ in 0..TELLINGS * 10 {
        story.time(|| ());
        story.again();
    }
    story.dearest()
}

fn encode(clock: &NodeClock) -> Vec<u8> {
    let mut bytes = vec![0; SLOTS * ENTRY_LEN];
    let mut out = Writer::new(&mut bytes);
    clock.encode(&mut out).expect("room for all slots");
    let len = out.len();
    bytes.truncate(len);
    bytes
}

/// A clock of the node and `n` validators.
fn clock(n: u16, value: u64) -> NodeClock {
    let mut clock = NodeClock::new();
    for slot in 0..=n {
        assert!(clock.set(slot, value));
    }
    clock
}

/// The clock of a vote that is accepted, of one that is not later than the last, and of votes that
/// fail at each other rule.
fn clocks(n: u16) -> [Story; 3] {
    let (last, node) = (clock(n, 100), clock(n, 200));
    let claim = |changes: &[(u16, u64)]| {
        let mut claim = clock(n, 150);
        for &(slot, value) in changes {
            assert!(claim.set(slot, value));
        }
        encode(&claim)
    };
    let [mut accepted, mut late, mut refused] = <[Story; 3]>::default();
    let own = n - 1;
    let claims = [
        (claim(&[]), None),
        (claim(&[(n, 300)]), None),
        (claim(&[(own, 100)]), Some(Refusal::ClockNotLater)),
        (claim(&[(n, 99)]), Some(Refusal::ClockRegresses)),
        (claim(&[(n, 0)]), Some(Refusal::ClockRegresses)),
        (claim(&[(own, 1 << 40)]), Some(Refusal::ClockLeap)),
        (claim(&[(0, 120)]), Some(Refusal::ClockBeforeRequest)),
        (claim(&[(0, 300)]), Some(Refusal::ClockUnseen)),
    ];
    for _ in 0..TELLINGS {
        for story in [&mut accepted, &mut late, &mut refused] {
            story.again();
        }
        for (bytes, refusal) in &claims {
            let claimed = ClaimedClock::decode(bytes).expect("well formed");
            let story = match refusal {
                None => &mut accepted,
                Some(Refusal::ClockNotLater) => &mut late,
                Some(_) => &mut refused,
            };
            let result = story.time(|| check_vote(&claimed, own, &last, &node, 140));
            assert_eq!(result.err(), *refusal);
        }
    }
    [accepted, late, refused]
}

/// The request with that number: the hash that a request's id is, as far as it matters.
fn request(number: u64) -> [u8; 32] {
    let mut request = [0; 32];
    request[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    request
}

/// Calls `each` with a vote of validator `n` that has that own entry.
fn with_vote<T>(
    n: u16,
    own: u64,
    request: &[u8; 32],
    each: impl FnOnce(&SignedVote<'_>) -> T,
) -> T {
    let mut claim = clock(n, 10_000);
    assert!(claim.set(n, own));
    let clock = encode(&claim);
    let vote = Vote {
        node: &[1; 32],
        epoch: 1,
        request,
        validator: &[2; 32],
        verdict: Verdict::Approve,
        slot: n,
        expires_ms: 1,
        reason_digest: &[0; 32],
        clock: ClaimedClock::decode(&clock).expect("well formed"),
    };
    let mut signed = [0; MAX_SIGNED];
    let len = vote.encode_signed(&mut signed).expect("room");
    each(&SignedVote {
        signed: &signed[..len],
        vote,
        signature: &SIGNATURE,
    })
}

/// Votes to be remembered, votes between two of them to be looked for, and later ones. Each has to be
/// compared to the end, and is on a request that is remembered, too.
fn memory(n: u16) -> [Story; 3] {
    let [mut remember, mut between, mut later] = <[Story; 3]>::default();
    let mut memory = VoteMemory::new().expect("memory");
    for _ in 0..TELLINGS {
        memory.clear();
        for story in [&mut remember, &mut between, &mut later] {
            story.again();
        }
        for number in 1..=800 {
            with_vote(n, 2 * number, &request(number), |vote| {
                remember.time(|| memory.remember(vote));
            });
            let past = request(number.saturating_sub(5));
            let looks = [
                (&mut between, (2 * number).saturating_sub(15)),
                (&mut later, 2 * number + 1),
            ];
            for (story, own) in looks {
                let found = with_vote(n, own.max(1), &past, |vote| {
                    story.time(|| memory.contradicting(vote, true).is_some())
                });
                assert!(!found);
            }
        }
    }
    [remember, between, later]
}

/// Who votes in a story, in what order, and what they say.
#[derive(Clone, Copy)]
enum Habit {
    /// Each on its own, all of one mind.
    Apart,
    /// All at once, and just under one half against the rest.
    Split,
    /// All at once, after long times in which nobody was near; the last one decides alone.
    Company,
    /// The validator with most of the weight decides before anybody has voted.
    Alone,
    /// All at once, and the validator with most of the weight decides against all the others.
    Against,
}

#[derive(Default)]
struct Votes {
    voted: Story,
    ended: Story,
    due: Story,
    refused: Story,
    /// A vote that decides: the three steps of the watch one after the other.
    decided: Story,
}

impl Votes {
    fn again(&mut self) {
        self.voted.again();
        self.ended.again();
        self.due.again();
        self.refused.again();
        self.decided.again();
    }
}

/// Tells one story of votes and decisions.
///
/// `together`: the steps of the vote that decides are timed as one, not each by itself.
fn tell(n: u16, habit: Habit, together: bool, watch: &mut Watch, votes: &mut Votes) {
    watch.clear();
    watch.rules(Rules::draw(&Adaptive::DEFAULT, [0; 3]));
    let heavy = matches!(habit, Habit::Alone | Habit::Company | Habit::Against);
    let weight = |slot: u16| if heavy && slot == n { 1000 } else { 1 };
    let total = (1..=n).map(|slot| u64::from(weight(slot))).sum();
    for slot in 1..=n {
        watch.enrolled(slot, weight(slot), 0);
    }
    for number in 0..REQUESTS {
        let mut at = u64::from(number) * APART_MS;
        let request = [u8::try_from(number).expect("few requests"); 32];
        let mut ballot = Ballot::new(5001, total).expect("a threshold in range");
        let first = match habit {
            Habit::Alone => n,
            Habit::Company if number < 30 => n,
            _ => 1,
        };
        for slot in first..=n {
            at += if matches!(habit, Habit::Apart) {
                1000
            } else {
                0
            };
            let against = match habit {
                Habit::Split => slot * 2 < n,
                Habit::Against => slot < n,
                _ => false,
            };
            let verdict = if against {
                Verdict::Deny
            } else {
                Verdict::Approve
            };
            // What comes after the decision is refused by a ballot.
            let _ = ballot.cast(slot, weight(slot), verdict);
            votes
                .refused
                .time(|| watch.refused(Refusal::VoteForged, at));
            if together && slot == n {
                votes.decided.time(|| {
                    black_box(watch.due(at));
                    watch.voted(slot, &request, at);
                    watch.ended(&ballot, true, at);
                });
                continue;
            }
            votes.due.time(|| watch.due(at));
            votes.voted.time(|| watch.voted(slot, &request, at));
            if slot == n {
                votes.ended.time(|| watch.ended(&ballot, true, at));
            }
        }
        while let Some(turn) = watch.due(at) {
            watch.turn(turn, u64::from(number), at);
        }
    }
}

/// All steps and their sums: name, validators, cost.
pub(crate) fn measure() -> Vec<(&'static str, u16, u64)> {
    let mut figures = Vec::new();
    let nothing = nothing();
    let mut watch = Watch::new().expect("memory");
    for n in [7, 128] {
        let mut show = |name, cost| figures.push((name, n, cost));
        let cost = |story: &Story| story.dearest().saturating_sub(nothing);
        let [accepted, late, refused] = clocks(n);
        let [remember, between, later] = memory(n);
        let mut votes = Votes::default();
        for _ in 0..TELLINGS {
            votes.again();
            for habit in [
                Habit::Apart,
                Habit::Split,
                Habit::Company,
                Habit::Alone,
                Habit::Against,
            ] {
                tell(n, habit, false, &mut watch, &mut votes);
                tell(n, habit, true, &mut watch, &mut votes);
            }
        }
        let (check, remember) = (cost(&accepted), cost(&remember));
        let mostly = votes.decided.median().saturating_sub(nothing);
        show("check_vote", check);
        show("due", cost(&votes.due));
        show("remember", remember);
        show("voted", cost(&votes.voted));
        show("ended", cost(&votes.ended));
        show("decided", cost(&votes.decided));
        show("decided_mostly", mostly);
        show("accepted", check + remember + cost(&votes.decided));
        show("accepted_mostly", check + remember + mostly);
        let (late, between) = (cost(&late), cost(&between));
        let (check, later) = (cost(&refused), cost(&later));
        let (count, due) = (cost(&votes.refused), cost(&votes.due));
        show("check_vote_not_later", late);
        show("contradicting_between", between);
        show("check_vote_refused", check);
        show("contradicting_later", later);
        show("refused", count);
        // What is not later is refused before clocks are compared, and only that is between others.
        let look = (late + between).max(check + later);
        show("not_accepted", look + count + due);
    }
    figures
}

fn main() {
    for (name, validators, cost) in measure() {
        println!("{name} {validators} {cost}");
    }
}
