// SPDX-License-Identifier: GPL-2.0

//! What a vote costs, apart from hash and signature.

use crate::support::{
    entries,
    node_clock,
    Draft,
    Paper, //
};
use crate::{
    Suite,
    VALIDATORS, //
};
use engine::clock::{
    check_vote,
    ClaimedClock,
    NodeClock,
    Timing, //
};
use engine::memory::VoteMemory;
use engine::policy::Adaptive;
use engine::quorum::{
    Ballot,
    Outcome,
    Verdict, //
};
use engine::watch::{
    Rules,
    Watch, //
};
use std::hint::black_box;

/// Time between two calls of the watch, in milliseconds: the hours pass, as they do for it in use.
const APART_MS: u64 = 1000;

/// Measures all of it.
pub(crate) fn measure(suite: &mut Suite) {
    for validators in VALIDATORS {
        clock(suite, validators);
    }
    for validators in VALIDATORS {
        memory(suite, validators);
    }
    for validators in VALIDATORS {
        voted(suite, validators);
    }
    for validators in VALIDATORS {
        ended(suite, validators);
    }
    for validators in VALIDATORS {
        cast(suite, validators);
    }
}

/// The entries of the node and `n` validators, of which the last has `own`.
fn list(n: u16, value: u64, own: u64) -> Vec<(u16, u64)> {
    (0..n).map(|slot| (slot, value)).chain([(n, own)]).collect()
}

fn clock(suite: &mut Suite, n: u16) {
    let last: NodeClock = node_clock(&list(n, 100, 100));
    let node = node_clock(&list(n, 200, 200));
    let bytes = entries(&list(n, 150, 150));
    let claimed = ClaimedClock::decode(&bytes).expect("a good clock");
    let check = |claimed| check_vote(claimed, n, &last, &node, 140);
    assert_eq!(check(&claimed), Ok(Timing::Now));
    suite.measure(
        format!("clock.check_vote.{n}"),
        format!("judges the clock of a vote, {n} validators"),
        |bencher| bencher.iter(|| check(black_box(&claimed))),
    );
}

fn memory(suite: &mut Suite, n: u16) {
    // Enough to fill the memory twice, so that old votes have to go.
    let count =
        2 * engine::limits::VOTE_MEMORY / Draft::new(&[2; 32], n, &list(n, 1, 1)).bytes().len();
    let papers: Vec<Paper> = (1..)
        .take(count)
        .map(|own| {
            let mut draft = Draft::new(&[2; 32], n, &list(n, 1, own));
            draft.request[..8]
                .copy_from_slice(&own.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            draft.forge()
        })
        .collect();
    let votes: Vec<_> = papers.iter().map(Paper::view).collect();
    let mut memory = VoteMemory::new().expect("memory");
    votes.iter().for_each(|vote| memory.remember(vote));
    assert!((1..votes.len()).contains(&memory.len()));
    let mut next = votes.len();
    suite.measure(
        format!("memory.remember.{n}"),
        format!("remembers an accepted vote, {n} validators"),
        |bencher| {
            bencher.iter(|| {
                // Only later votes are remembered: after the last one it begins anew.
                if next == votes.len() {
                    memory.clear();
                    next = 0;
                }
                memory.remember(black_box(&votes[next]));
                next += 1;
            });
        },
    );
}

/// A watch over `n` validators.
fn watch(n: u16) -> Watch {
    let mut watch = Watch::new().expect("memory");
    watch.rules(Rules::draw(&Adaptive::DEFAULT, [0; 3]));
    for slot in 1..=n {
        watch.enrolled(slot, 1, 0);
    }
    watch
}

fn voted(suite: &mut Suite, n: u16) {
    let mut watch = watch(n);
    let (mut at, mut slot, mut request) = (0, 0, [0; 32]);
    suite.measure(
        format!("watch.voted.{n}"),
        format!("takes a vote into account, {n} validators"),
        |bencher| {
            bencher.iter(|| {
                at += APART_MS;
                slot += 1;
                if slot > n {
                    slot = 1;
                    request[..8].copy_from_slice(&at.to_be_bytes());
                }
                watch.voted(slot, black_box(&request), at);
            });
        },
    );
}

fn ended(suite: &mut Suite, n: u16) {
    let mut watch = watch(n);
    let mut ballot = Ballot::new(10_000, n.into()).expect("a threshold in range");
    for slot in 1..=n {
        ballot
            .cast(slot, 1, Verdict::Approve)
            .expect("a vote that counts");
    }
    let mut at = 0;
    suite.measure(
        format!("watch.ended.{n}"),
        format!("takes a decision into account, {n} validators"),
        |bencher| {
            bencher.iter(|| {
                at += APART_MS;
                watch.ended(black_box(&ballot), true, at);
            });
        },
    );
}

fn cast(suite: &mut Suite, n: u16) {
    let vote = || {
        let mut ballot = Ballot::new(10_000, n.into()).expect("a threshold in range");
        for slot in 1..=n {
            let _ = black_box(ballot.cast(slot, 1, black_box(Verdict::Approve)));
        }
        ballot.outcome()
    };
    assert_eq!(vote(), Outcome::Granted);
    suite.measure(
        format!("quorum.cast.{n}"),
        format!("counts {n} votes, the last of which decides"),
        |bencher| bencher.iter(vote),
    );
}
