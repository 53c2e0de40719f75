// SPDX-License-Identifier: GPL-2.0

//! The memory of votes: how much it holds, and that it finds what comparing with every vote would find.

mod support;

use engine::byzantine::{
    contradiction,
    Fault, //
};
use engine::limits::VOTE_MEMORY;
use engine::memory::VoteMemory;
use engine::quorum::Verdict;
use engine::wire::Digest;
use proptest::prelude::*;
use support::{
    Draft,
    Paper,
    Sha256, //
};

const VALIDATOR: [u8; 32] = [0x31; 32];

/// The id of a request: any digest.
fn request(number: u64) -> [u8; 32] {
    Sha256::sha256(&[&number.to_be_bytes()])
}

/// Vote number `own` of a validator in slot 1 whose clock has that many entries, at least two.
fn vote(own: u64, entries: u16) -> Draft {
    let clock: Vec<_> = (0..entries).map(|slot| (slot, own)).collect();
    Draft {
        request: request(own),
        ..Draft::new(&VALIDATOR, 1, &clock)
    }
}

/// A vote with a signature of that many bytes, which a memory does not look into.
fn paper(draft: &Draft, signature: usize) -> Paper {
    Paper {
        signature: vec![0x77; signature],
        ..draft.forge()
    }
}

fn remember(memory: &mut VoteMemory, paper: &Paper) {
    let honest = Paper {
        signed: paper.signed.clone(),
        signature: vec![0x30, 6, 2, 1, 1, 2, 1, 1],
    };
    memory.remember(&engine::vote::SignedVote {
        signature: &paper.signature,
        ..honest.view()
    });
}

/// What a fork of that vote finds.
fn fork_finds(memory: &VoteMemory, draft: &Draft) -> Option<Paper> {
    let fork = Draft {
        expires_ms: draft.expires_ms + 1,
        ..draft.clone()
    };
    memory
        .contradicting(&fork.forge().view(), false)
        .map(|found| Paper {
            signed: found.signed.to_vec(),
            signature: found.signature.to_vec(),
        })
}

#[test]
fn it_holds_as_many_votes_as_the_document_says() {
    for (entries, least) in [(2, 248), (129, 41)] {
        for signature in [70, 71, 72] {
            let mut memory = VoteMemory::new().unwrap();
            let mut fewest = usize::MAX;
            for own in 1..3000 {
                let before = memory.len();
                remember(&mut memory, &paper(&vote(own, entries), signature));
                // Until the first one is forgotten, it grows.
                if memory.len() <= before {
                    fewest = fewest.min(memory.len());
                }
            }
            assert!(fewest >= least, "{entries} entries: {fewest} votes");
            assert!(fewest * (156 + 10 * usize::from(entries)) < VOTE_MEMORY);
        }
    }
}

#[test]
fn it_holds_as_many_votes_when_their_lengths_differ() {
    // Clocks only grow within an epoch; signatures have 70 to 72 bytes, and rarely fewer.
    let mut memory = VoteMemory::new().unwrap();
    let mut seed = 1u64;
    let mut lens = Vec::new();
    let mut full = false;
    for own in 1..6000u64 {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
        let signature = 66 + usize::try_from(seed >> 61).unwrap().min(6);
        let entries = 2 + u16::try_from(own / 40).unwrap().min(127);
        let paper = paper(&vote(own, entries), signature);
        let before = memory.len();
        remember(&mut memory, &paper);
        lens.push(paper.signed.len() + paper.signature.len());
        full |= memory.len() <= before;
        let bytes: usize = lens.iter().rev().take(memory.len()).sum();
        assert!(bytes <= VOTE_MEMORY);
        // What is lost is less than one vote at the end of the ring and one at the gap.
        assert!(!full || bytes > VOTE_MEMORY - 2 * 1518, "{own}: {bytes}");
        assert!(!full || memory.len() >= 41);
    }
    assert!(full);
}

#[test]
fn the_shortest_votes_fit_the_index() {
    // One entry, and eight bytes of signature: nothing shorter decodes.
    let mut memory = VoteMemory::new().unwrap();
    for own in 1..2000 {
        let mut draft = vote(own, 2);
        draft.clock.remove(0);
        remember(&mut memory, &paper(&draft, 8));
        let wanted = own.min(375);
        assert!(memory.len() as u64 >= wanted);
        for old in [own - wanted + 1, own] {
            let mut draft = vote(old, 2);
            draft.clock.remove(0);
            assert_eq!(fork_finds(&memory, &draft), Some(paper(&draft, 8)));
        }
    }
    assert!(memory.len() <= VOTE_MEMORY / 174);
}

#[test]
fn the_oldest_are_forgotten_and_the_others_are_whole() {
    let mut memory = VoteMemory::new().unwrap();
    assert!(memory.is_empty());
    for last in 1..700u64 {
        let entries = |own: u64| 2 + u16::try_from(own % 9).unwrap();
        let papers = |own: u64| {
            paper(
                &vote(own, entries(own)),
                66 + usize::try_from(own % 7).unwrap(),
            )
        };
        remember(&mut memory, &papers(last));
        let oldest = last + 1 - memory.len() as u64;
        if last % 50 == 0 {
            for own in 1..=last {
                let found = fork_finds(&memory, &vote(own, entries(own)));
                assert_eq!(
                    found.as_ref() == Some(&papers(own)),
                    own >= oldest,
                    "vote {own} of {last}, oldest {oldest}"
                );
            }
        }
    }
    assert!(memory.len() < 699);
}

#[test]
fn a_vote_that_is_not_later_is_not_remembered() {
    let mut memory = VoteMemory::new().unwrap();
    remember(&mut memory, &paper(&vote(7, 2), 70));
    for own in [1, 6, 7] {
        let other = Draft {
            expires_ms: 5,
            ..vote(own, 3)
        };
        remember(&mut memory, &paper(&other, 70));
        assert_eq!(memory.len(), 1);
    }
    assert_eq!(
        fork_finds(&memory, &vote(7, 2)),
        Some(paper(&vote(7, 2), 70))
    );
    remember(&mut memory, &paper(&vote(8, 2), 70));
    assert_eq!(memory.len(), 2);
    // Neither is one without an own entry.
    let mut memory = VoteMemory::new().unwrap();
    let mut none = vote(1, 2);
    none.clock = vec![(0, 5)];
    remember(&mut memory, &paper(&none, 70));
    assert!(memory.is_empty());
}

#[test]
fn what_was_cleared_is_not_found() {
    let mut memory = VoteMemory::new().unwrap();
    for own in 1..400 {
        remember(&mut memory, &paper(&vote(own, 2), 70));
    }
    memory.clear();
    assert!(memory.is_empty());
    for own in 1..400 {
        assert_eq!(fork_finds(&memory, &vote(own, 2)), None);
        let mut deny = vote(own, 2);
        deny.verdict = Verdict::Deny;
        assert_eq!(memory.contradicting(&deny.forge().view(), true), None);
    }
    // It goes on with any own entry.
    remember(&mut memory, &paper(&vote(3, 2), 70));
    assert_eq!(
        fork_finds(&memory, &vote(3, 2)),
        Some(paper(&vote(3, 2), 70))
    );
    assert_eq!(memory.len(), 1);
}

#[test]
fn another_verdict_is_found_by_its_request_wherever_it_stands() {
    let mut memory = VoteMemory::new().unwrap();
    for own in 1..1000 {
        remember(&mut memory, &paper(&vote(own, 2), 71));
    }
    let oldest = 1000 - memory.len() as u64;
    for own in 1..1000u64 {
        // Later than all, so that no neighbour has that request.
        let deny = Draft {
            verdict: Verdict::Deny,
            request: request(own),
            ..vote(5000, 2)
        };
        let deny = deny.forge();
        let found = memory.contradicting(&deny.view(), true);
        assert_eq!(
            found.map(|vote| vote.vote.own()),
            (own >= oldest).then_some(own)
        );
        if own != 999 {
            assert_eq!(memory.contradicting(&deny.view(), false), None);
        }
        // The same verdict is no contradiction.
        let again = Draft {
            request: request(own),
            ..vote(5000, 2)
        };
        assert_eq!(memory.contradicting(&again.forge().view(), true), None);
    }
}

#[test]
fn each_neighbour_is_looked_at() {
    let mut memory = VoteMemory::new().unwrap();
    for (own, other) in [(2, 10), (4, 20), (6, 30)] {
        let mut draft = vote(own, 2);
        draft.clock = vec![(0, other), (1, own)];
        remember(&mut memory, &paper(&draft, 70));
    }
    let finds = |own, other| {
        let mut draft = vote(own, 2);
        draft.request = request(99);
        draft.clock = vec![(0, other), (1, own)];
        let paper = draft.forge();
        let found = memory.contradicting(&paper.view(), true)?;
        Some((
            found.vote.own(),
            contradiction(&found, &paper.view()).unwrap(),
        ))
    };
    assert_eq!(finds(1, 10), None);
    assert_eq!(finds(1, 11), Some((2, Fault::Regression)));
    assert_eq!(finds(2, 10), Some((2, Fault::Fork)));
    assert_eq!(finds(3, 9), Some((2, Fault::Regression)));
    assert_eq!(finds(3, 10), None);
    assert_eq!(finds(3, 20), None);
    assert_eq!(finds(3, 21), Some((4, Fault::Regression)));
    assert_eq!(finds(5, 19), Some((4, Fault::Regression)));
    assert_eq!(finds(5, 31), Some((6, Fault::Regression)));
    assert_eq!(finds(7, 29), Some((6, Fault::Regression)));
    assert_eq!(finds(7, 30), None);
    // An older one than the neighbour is implied by it.
    assert_eq!(finds(7, 5), Some((6, Fault::Regression)));
}

/// A step of an honest validator: how much each entry rises, and how long its signature is.
fn steps() -> impl Strategy<Value = Vec<([u64; 4], usize)>> {
    proptest::collection::vec((proptest::array::uniform4(0u64..3), 8usize..73), 0..500)
}

/// A vote to be compared: which remembered one it starts from, what is added to or taken from its
/// entries, the request of which other one it has, and its verdict.
type Probe = (
    prop::sample::Index,
    [i64; 4],
    Option<prop::sample::Index>,
    bool,
);

fn probes() -> impl Strategy<Value = Vec<Probe>> {
    let change = prop_oneof![Just(0i64), -3i64..4];
    proptest::collection::vec(
        (
            any::<prop::sample::Index>(),
            proptest::array::uniform4(change),
            any::<Option<prop::sample::Index>>(),
            any::<bool>(),
        ),
        1..40,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn it_finds_what_comparing_with_every_vote_finds(steps in steps(), probes in probes()) {
        let mut memory = VoteMemory::new().unwrap();
        let mut clock = [0u64; 4];
        let mut all: Vec<Draft> = Vec::new();
        for (number, (rises, signature)) in (0..).zip(&steps) {
            for (entry, rise) in clock.iter_mut().zip(rises) {
                *entry += rise;
            }
            clock[1] += 1;
            let draft = Draft {
                request: request(number),
                ..Draft::new(
                    &VALIDATOR,
                    1,
                    &(0..).zip(clock).filter(|&(_, value)| value != 0).collect::<Vec<_>>(),
                )
            };
            remember(&mut memory, &paper(&draft, *signature));
            all.push(draft);
        }
        prop_assert!(memory.len() <= all.len());
        let known: Vec<Paper> = all[all.len() - memory.len()..].iter().map(Draft::forge).collect();
        prop_assume!(!all.is_empty());
        for (from, changes, other, deny) in probes {
            let mut probe = all[from.index(all.len())].clone();
            let mut entries = [0u64; 4];
            for &(slot, value) in &probe.clock {
                entries[usize::from(slot)] = value;
            }
            for (entry, change) in entries.iter_mut().zip(changes) {
                *entry = entry.saturating_add_signed(change);
            }
            probe.clock = (0..).zip(entries).filter(|&(_, value)| value != 0).collect();
            if probe.clock.is_empty() {
                continue;
            }
            probe.request = match other {
                Some(other) => all[other.index(all.len())].request,
                None => probe.request,
            };
            probe.verdict = if deny { Verdict::Deny } else { Verdict::Approve };
            let probe = probe.forge();
            let every: Vec<Fault> = known
                .iter()
                .filter_map(|vote| contradiction(&vote.view(), &probe.view()))
                .collect();
            let found = memory.contradicting(&probe.view(), true);
            prop_assert_eq!(found.is_some(), !every.is_empty());
            let near = memory.contradicting(&probe.view(), false);
            if every.iter().any(|&fault| fault != Fault::Equivocation) {
                prop_assert!(near.is_some());
            }
            for vote in found.iter().chain(&near) {
                prop_assert!(contradiction(vote, &probe.view()).is_some());
                prop_assert!(known.iter().any(|paper| paper.signed == vote.signed));
            }
        }
    }
}
