// SPDX-License-Identifier: GPL-2.0

//! Vector clocks, claimed clocks and the rules of a vote's clock, against plain arrays.
//!
//! The first byte chooses: operations on clocks, or a node to which validators send votes.

use crate::reference::{
    decode,
    dominates,
    encode,
    Entries, //
};
use crate::{
    first,
    Input, //
};
use engine::clock::{
    check_vote,
    ClaimedClock,
    NodeClock,
    Timing,
    VectorClock,
    SLOTS, //
};
use engine::limits::CLOCK_LEAP;
use engine::refusal::Refusal;
use engine::wire::Writer;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Runs the target.
pub fn run(data: &[u8]) {
    let (mode, rest) = first(data);
    match mode % 4 {
        0 => operations::<5>(Input::new(rest)),
        1 => operations::<SLOTS>(Input::new(rest)),
        2 => claims(rest),
        _ => session(Input::new(rest)),
    }
}

/// A slot that is often one of the first.
fn slot(input: &mut Input<'_>) -> u16 {
    match input.u8() {
        slot @ 0..=0x8f => u16::from(slot % 8),
        slot @ 0x90..=0xfe => u16::from(slot - 0x90) + 20,
        _ => input.u16(),
    }
}

/// Two clocks, and what they should be.
fn operations<const N: usize>(mut input: Input<'_>) {
    let mut clocks = [VectorClock::<N>::new(), VectorClock::<N>::new()];
    let mut wanted = [[0u64; N]; 2];
    while !input.is_empty() {
        let (kind, at) = (input.below(8), input.below(2));
        let (clock, entries) = (&mut clocks[at], &mut wanted[at]);
        match kind {
            0 => {
                let (slot, value) = (slot(&mut input), input.number());
                let there = entries
                    .get_mut(usize::from(slot))
                    .map(|entry| *entry = value);
                assert_eq!(clock.set(slot, value), there.is_some());
            }
            1 => {
                let slot = slot(&mut input);
                let next = entries
                    .get(usize::from(slot))
                    .and_then(|entry| entry.checked_add(1));
                assert_eq!(clock.tick(slot), next);
                if let Some(next) = next {
                    entries[usize::from(slot)] = next;
                }
            }
            2 => {
                let [a, b] = &mut clocks;
                a.merge(b);
                wanted[0] = std::array::from_fn(|slot| wanted[0][slot].max(wanted[1][slot]));
            }
            3 => {
                let [a, b] = &mut clocks;
                b.copy_from(a);
                wanted[1] = wanted[0];
            }
            4 => {
                clock.clear();
                *entries = [0; N];
            }
            5 => {
                let (slot, created) = (slot(&mut input), input.number());
                let own = entries
                    .get(usize::from(slot))
                    .and_then(|own| own.checked_add(1));
                let own = own.filter(|_| slot != 0);
                assert_eq!(clock.next_vote(slot, created), own.is_some());
                if let Some(own) = own {
                    entries[usize::from(slot)] = own;
                    entries[0] = entries[0].max(created);
                }
            }
            6 => {
                let bytes = input.bytes(60);
                let all = decode(bytes).filter(|all| all[N..].iter().all(|&value| value == 0));
                assert_eq!(clock.decode(bytes).is_ok(), all.is_some());
                if let Some(all) = all {
                    entries.copy_from_slice(&all[..N]);
                }
            }
            _ => {}
        }
        let probe = u16::from(input.u8()) % N as u16;
        assert_eq!(clocks[at].get(probe), wanted[at][usize::from(probe)]);
    }
    compare(&clocks, &wanted);
}

fn compare<const N: usize>(clocks: &[VectorClock<N>; 2], wanted: &[[u64; N]; 2]) {
    let [a, b] = wanted;
    for (clock, entries) in clocks.iter().zip(wanted) {
        let count = entries.iter().filter(|&&value| value != 0).count();
        assert_eq!(clock.count(), count);
        assert!((0u16..)
            .zip(entries)
            .all(|(slot, &value)| clock.get(slot) == value));
        assert_eq!(clock.get(N as u16), 0);
        let mut buffer = [0; 10 * SLOTS];
        let mut out = Writer::new(&mut buffer);
        clock.encode(&mut out).unwrap();
        assert_eq!(out.written(), encode(entries));
        let mut again = VectorClock::<N>::new();
        again.decode(out.written()).unwrap();
        assert!(again == *clock);
    }
    assert_eq!(clocks[0] == clocks[1], a == b);
    assert_eq!(clocks[0].dominates(&clocks[1]), dominates(a, b));
    let order = match (dominates(a, b), dominates(b, a)) {
        (true, true) => Some(Ordering::Equal),
        (true, false) => Some(Ordering::Greater),
        (false, true) => Some(Ordering::Less),
        (false, false) => None,
    };
    assert_eq!(clocks[0].partial_cmp(&clocks[1]), order);
}

/// Two encoded clocks, as votes carry them.
fn claims(data: &[u8]) {
    let mut input = Input::new(data);
    let one = input.bytes(200);
    let two = input.rest();
    let read = |bytes| {
        let (claimed, wanted) = (ClaimedClock::decode(bytes), decode(bytes));
        assert_eq!(claimed.is_ok(), wanted.is_some());
        Some((claimed.ok()?, wanted?))
    };
    let (Some((one, a)), two) = (read(one), read(two)) else {
        return;
    };
    assert!((0u16..).zip(a).all(|(slot, value)| one.get(slot) == value));
    assert_eq!(one.get(SLOTS as u16), 0);
    assert_eq!(one.iter().count(), one.count());
    assert_eq!(encode(&a), one.as_bytes());
    let Some((two, b)) = two else { return };
    assert_eq!(one.exceeds(&two), !dominates(&b, &a));
    assert_eq!(two.exceeds(&one), !dominates(&a, &b));
}

/// The rules of the document, one by one.
fn judge(
    claimed: &Entries,
    slot: u16,
    last: &Entries,
    node: &Entries,
    created: u64,
) -> Result<Timing, Refusal> {
    let own = usize::from(slot);
    if own == 0 || own >= SLOTS {
        return Err(Refusal::VoteUnknownValidator);
    }
    if claimed[own] <= last[own] {
        return Err(Refusal::ClockNotLater);
    }
    if !dominates(claimed, last) {
        return Err(Refusal::ClockRegresses);
    }
    if claimed[own] - last[own] > CLOCK_LEAP {
        return Err(Refusal::ClockLeap);
    }
    if claimed[0] < created {
        return Err(Refusal::ClockBeforeRequest);
    }
    if claimed[0] > node[0] {
        return Err(Refusal::ClockUnseen);
    }
    let seen = (1..SLOTS).all(|slot| slot == own || claimed[slot] <= node[slot]);
    Ok(if seen { Timing::Now } else { Timing::Early })
}

/// Makes a clock of the engine.
fn clock_of(entries: &Entries) -> NodeClock {
    let mut clock = NodeClock::new();
    clock.decode(&encode(entries)).unwrap();
    clock
}

/// A node that judges votes: its clock never goes back, nor does that of a validator.
fn session(mut input: Input<'_>) {
    let mut node: Entries = [0; SLOTS];
    let mut lasts = BTreeMap::new();
    node[0] = input.number();
    while !input.is_empty() {
        let slot = slot(&mut input);
        let last = lasts.get(&slot).copied().unwrap_or([0; SLOTS]);
        let mut claimed = if input.bool() { last } else { node };
        // Most votes are good in most ways.
        let own = last.get(usize::from(slot)).copied().unwrap_or(0);
        if let Some(entry) = claimed.get_mut(usize::from(slot)) {
            *entry = own.saturating_add(1);
        }
        for _ in 0..input.below(4) {
            let place = usize::from(self::slot(&mut input)) % SLOTS;
            claimed[place] = match input.below(4) {
                0 => input.number(),
                1 => claimed[place].saturating_add(input.number()),
                2 => claimed[place].saturating_sub(input.number()),
                _ => own
                    .saturating_add(CLOCK_LEAP)
                    .saturating_add(u64::from(input.u8() & 1)),
            };
        }
        let created = if input.bool() {
            node[0]
        } else {
            input.number()
        };
        let bytes = encode(&claimed);
        let view = ClaimedClock::decode(&bytes).unwrap();
        let (last_clock, node_clock) = (clock_of(&last), clock_of(&node));
        let verdict = check_vote(&view, slot, &last_clock, &node_clock, created);
        assert_eq!(verdict, judge(&claimed, slot, &last, &node, created));
        if verdict == Ok(Timing::Now) {
            // What a node takes over never takes its clock back.
            let mut merged = node_clock.clone();
            merged.merge(&clock_of(&claimed));
            assert!(merged.dominates(&node_clock));
            assert_eq!(merged.tick(0).is_some(), node[0] != u64::MAX);
            assert!(node[0] == u64::MAX || merged > node_clock);
            node = std::array::from_fn(|place| merged.get(place as u16));
            lasts.insert(slot, claimed);
            // Nothing is accepted twice.
            let again = check_vote(&view, slot, &clock_of(&claimed), &clock_of(&node), 0);
            assert_eq!(again, Err(Refusal::ClockNotLater));
        }
    }
}
