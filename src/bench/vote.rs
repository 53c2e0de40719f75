// SPDX-License-Identifier: GPL-2.0

//! What an accepted vote costs apart from hash and signature.
//!
//! The steps and their stories are those of `userland/engine/examples/cost.rs`, whose `accepted` is
//! the `vote.check` here: the dearest call of each step.

use super::{
    measure::{
        time,
        Rounds, //
    },
    signature::RECORD, //
};
use crate::{
    engine::{
        clock::{
            check_vote,
            ClaimedClock,
            NodeClock,
            ENTRY_LEN,
            SLOTS, //
        },
        memory::VoteMemory,
        policy::Adaptive,
        quorum::{
            Ballot,
            Verdict, //
        },
        vote::{
            SignedVote,
            Vote,
            VoteRecord,
            MAX_SIGNED, //
        },
        watch::{
            Rules,
            Watch, //
        },
        wire::Writer, //
    },
    ledger::{
        new_clock,
        Ledger, //
    }, //
};
use core::hint::black_box;
use kernel::{
    prelude::*,
    task::might_sleep, //
};

/// How often a story is told in a round.
const TELLINGS: usize = 2;

/// Requests of a story.
const REQUESTS: u8 = 60;

/// Milliseconds between two requests: bursts of decisions, and new hours.
const APART_MS: u64 = 600_000;

/// The cheapest telling of each call of a story, so that interrupts do not count.
struct Story {
    calls: KVVec<u64>,
    next: usize,
}

impl Story {
    const fn new() -> Self {
        Self {
            calls: KVVec::new(),
            next: 0,
        }
    }

    fn time<T>(&mut self, call: impl FnOnce() -> T) -> Result {
        let took = time(call);
        match self.calls.get_mut(self.next) {
            Some(least) => *least = took.min(*least),
            None => self.calls.push(took, GFP_KERNEL)?,
        }
        self.next += 1;
        Ok(())
    }

    /// The dearest call, the reading of the clock included.
    fn dearest(&self) -> u64 {
        self.calls.iter().copied().max().unwrap_or(0)
    }
}

/// What the dearest call of a story costs that `tell` tells.
fn dearest(mut tell: impl FnMut(&mut Story) -> Result) -> Result<u64> {
    let (mut story, mut nothing) = (Story::new(), Story::new());
    for _ in 0..TELLINGS {
        story.next = 0;
        tell(&mut story)?;
        nothing.next = 0;
        nothing.time(|| ())?;
    }
    Ok(story.dearest().saturating_sub(nothing.dearest()))
}

/// A clock of the node and `n` validators, in which that entry is another.
fn clock(n: u16, value: u64, other: (u16, u64)) -> Result<KBox<NodeClock>> {
    let mut clock = new_clock()?;
    for slot in 0..=n {
        let value = if slot == other.0 { other.1 } else { value };
        if !clock.set(slot, value) {
            return Err(EINVAL);
        }
    }
    Ok(clock)
}

/// The encoding of a clock.
fn encode(clock: &NodeClock) -> Result<KVec<u8>> {
    let mut bytes = KVec::from_elem(0, SLOTS * ENTRY_LEN, GFP_KERNEL)?;
    let mut out = Writer::new(&mut bytes);
    clock.encode(&mut out).map_err(|_| EINVAL)?;
    let len = out.len();
    bytes.truncate(len);
    Ok(bytes)
}

/// Judging the clock of a vote.
fn check(n: u16) -> Result<u64> {
    let own = n - 1;
    let (last, node) = (clock(n, 100, (0, 100))?, clock(n, 200, (0, 200))?);
    let claims = [
        encode(&*clock(n, 150, (0, 150))?)?,
        encode(&*clock(n, 150, (n, 300))?)?,
    ];
    dearest(|story| {
        for bytes in &claims {
            let claimed = ClaimedClock::decode(bytes).map_err(|_| EINVAL)?;
            let mut accepted = false;
            story.time(|| accepted = check_vote(&claimed, own, &last, &node, 140).is_ok())?;
            if !accepted {
                return Err(EINVAL);
            }
        }
        Ok(())
    })
}

/// Remembering a vote.
fn remember(n: u16) -> Result<u64> {
    let mut memory = KBox::new(VoteMemory::new().map_err(|_| ENOMEM)?, GFP_KERNEL)?;
    let record = VoteRecord::decode(&RECORD).map_err(|_| EINVAL)?;
    let signature = record.signed_vote().signature;
    let mut signed = KVec::from_elem(0, MAX_SIGNED, GFP_KERNEL)?;
    dearest(|story| {
        memory.clear();
        for number in 1..=800_u64 {
            let claimed = encode(&*clock(n, 10_000, (n, 2 * number))?)?;
            // A request's id is a hash.
            let mut request = [0; 32];
            for (to, from) in request
                .iter_mut()
                .zip(number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
            {
                *to = from;
            }
            let vote = Vote {
                request: &request,
                slot: n,
                clock: ClaimedClock::decode(&claimed).map_err(|_| EINVAL)?,
                ..record.vote
            };
            let len = vote.encode_signed(&mut signed).map_err(|_| EINVAL)?;
            let vote = SignedVote {
                signed: signed.get(..len).ok_or(EINVAL)?,
                vote,
                signature,
            };
            story.time(|| memory.remember(&vote))?;
            might_sleep();
        }
        if memory.is_empty() {
            return Err(EINVAL);
        }
        Ok(())
    })
}

/// Who votes in a story, in what order, and what they say: see the example.
#[derive(Clone, Copy)]
enum Habit {
    Apart,
    Split,
    Company,
    Alone,
    Against,
}

impl Habit {
    const ALL: [Self; 5] = [
        Self::Apart,
        Self::Split,
        Self::Company,
        Self::Alone,
        Self::Against,
    ];

    /// Weight of validator `slot` of `n`.
    fn weight(self, slot: u16, n: u16) -> u32 {
        let heavy = matches!(self, Self::Alone | Self::Company | Self::Against);
        if heavy && slot == n {
            1000
        } else {
            1
        }
    }

    /// Who votes first on that request.
    fn first(self, request: u8, n: u16) -> u16 {
        match self {
            Self::Alone => n,
            Self::Company if request < 30 => n,
            _ => 1,
        }
    }

    /// What validator `slot` of `n` says.
    fn verdict(self, slot: u16, n: u16) -> Verdict {
        let against = match self {
            Self::Split => slot * 2 < n,
            Self::Against => slot < n,
            _ => false,
        };
        if against {
            Verdict::Deny
        } else {
            Verdict::Approve
        }
    }
}

/// Tells a story of votes and decisions; the vote that decides is timed.
fn tell(n: u16, habit: Habit, watch: &mut Watch, decided: &mut Story) -> Result {
    watch.clear();
    watch.rules(Rules::draw(&Adaptive::DEFAULT, [0; 3]));
    let total = (1..=n).map(|slot| u64::from(habit.weight(slot, n))).sum();
    for slot in 1..=n {
        watch.enrolled(slot, habit.weight(slot, n), 0);
    }
    for number in 0..REQUESTS {
        might_sleep();
        let mut at = u64::from(number) * APART_MS;
        let request = [number; 32];
        let mut ballot = Ballot::new(5001, total).map_err(|_| EINVAL)?;
        for slot in habit.first(number, n)..=n {
            at += if matches!(habit, Habit::Apart) {
                1000
            } else {
                0
            };
            // What comes after the decision is refused by a ballot.
            let _ = ballot.cast(slot, habit.weight(slot, n), habit.verdict(slot, n));
            if slot == n {
                decided.time(|| {
                    black_box(watch.due(at));
                    watch.voted(slot, &request, at);
                    watch.ended(&ballot, true, at);
                })?;
            } else {
                watch.voted(slot, &request, at);
            }
        }
        while let Some(turn) = watch.due(at) {
            watch.turn(turn, u64::from(number), at);
        }
    }
    Ok(())
}

/// The steps of the watch for a vote that decides.
fn decide(n: u16) -> Result<u64> {
    let mut watch = Ledger::new(&[0; 32])?.watch;
    dearest(|story| {
        Habit::ALL
            .into_iter()
            .try_for_each(|habit| tell(n, habit, &mut watch, story))
    })
}

/// What the kernel takes to copy a vote of a validator among `n` and its signature, as [`remember`] does.
/// That is an instruction for each of the two, which an emulator counts once for each byte.
fn copy(n: u16) -> Result<u64> {
    let record = VoteRecord::decode(&RECORD).map_err(|_| EINVAL)?;
    let signature = record.signed_vote().signature;
    let claimed = encode(&*clock(n, 10_000, (n, 2))?)?;
    let vote = Vote {
        clock: ClaimedClock::decode(&claimed).map_err(|_| EINVAL)?,
        ..record.vote
    };
    let mut signed = KVec::from_elem(0, MAX_SIGNED, GFP_KERNEL)?;
    let len = vote.encode_signed(&mut signed).map_err(|_| EINVAL)?;
    signed.truncate(len);
    let mut to = KVec::from_elem(0, len, GFP_KERNEL)?;
    let mut behind = KVec::from_elem(0, signature.len(), GFP_KERNEL)?;
    dearest(|story| {
        story.time(|| {
            to.copy_from_slice(&signed);
            behind.copy_from_slice(signature);
        })
    })
}

/// Measures `vote.check`, all of a vote but hash and signature, among 7 and among 128 validators, and its
/// steps.
pub(super) fn run() -> Result {
    let both = [
        (
            7,
            [
                "vote.check.7",
                "vote.clock.7",
                "vote.remember.7",
                "vote.watch.7",
                "vote.copy.7",
            ],
        ),
        (
            128,
            [
                "vote.check.128",
                "vote.clock.128",
                "vote.remember.128",
                "vote.watch.128",
                "vote.copy.128",
            ],
        ),
    ];
    for (n, [all, clock, remember_, watch, copy_]) in both {
        let steps = [
            (clock, Rounds::of(|| check(n))?),
            (remember_, Rounds::of(|| remember(n))?),
            (watch, Rounds::of(|| decide(n))?),
        ];
        let mut sum = Rounds::new();
        sum.add(steps.iter().map(|(_, rounds)| rounds.median()).sum())?;
        sum.print(all);
        if n == 7 {
            sum.print("vote.check");
        }
        for (name, rounds) in &steps {
            rounds.print(name);
        }
        Rounds::of(|| copy(n))?.print(copy_);
    }
    Ok(())
}
