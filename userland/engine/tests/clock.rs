// SPDX-License-Identifier: GPL-2.0

//! Laws of the vector clock, and each rule for the clock of a vote by itself.

mod support;

use engine::clock::{
    check_vote,
    epoch_of,
    first_number,
    Chain,
    ClaimedClock,
    NodeClock,
    SecureVectorClock,
    Timing,
    VectorClock,
    ENTRY_LEN,
    EPOCH_STRIDE,
    NO_HEAD,
    SLOTS, //
};
use engine::event::{
    Kind,
    Payload, //
};
use engine::limits::CLOCK_LEAP;
use engine::refusal::Refusal;
use engine::wire::{
    Error,
    Writer, //
};
use proptest::prelude::*;
use std::cmp::Ordering;
use support::{
    entries,
    hex,
    Sha256, //
};

/// A clock as small as it may be to have everything: the node and four validators.
type Clock = VectorClock<5>;

fn clock(list: &[(u16, u64)]) -> Clock {
    let mut clock = Clock::new();
    for &(slot, value) in list {
        assert!(clock.set(slot, value));
    }
    clock
}

fn any_clock() -> impl Strategy<Value = Clock> {
    // Few values, so that equal and comparable clocks are frequent.
    proptest::array::uniform5(0u64..4).prop_map(|values| {
        let mut clock = Clock::new();
        for (slot, value) in (0..).zip(values) {
            assert!(clock.set(slot, value));
        }
        clock
    })
}

fn encode<const N: usize>(clock: &VectorClock<N>) -> Vec<u8> {
    let mut buf = vec![0; N * ENTRY_LEN];
    let mut out = Writer::new(&mut buf);
    clock.encode(&mut out).unwrap();
    out.written().to_vec()
}

#[test]
fn entries_beyond_the_clock_do_not_exist() {
    let mut clock = Clock::new();
    assert!(!clock.set(5, 1));
    assert_eq!(clock.get(5), 0);
    assert_eq!(clock.tick(5), None);
    assert_eq!(clock, Clock::default());
}

#[test]
fn a_tick_counts_and_stops_at_the_end() {
    let mut clock = clock(&[(1, u64::MAX - 1)]);
    assert_eq!(clock.tick(0), Some(1));
    assert_eq!(clock.tick(0), Some(2));
    assert_eq!(clock.tick(1), Some(u64::MAX));
    assert_eq!(clock.tick(1), None);
    assert_eq!(clock.get(1), u64::MAX);
    clock.clear();
    assert_eq!(clock.count(), 0);
}

#[test]
fn the_next_vote_needs_no_more_than_the_document_says() {
    let mut next = clock(&[(0, 3), (1, 5), (2, 9)]);
    assert!(next.next_vote(2, 40));
    assert_eq!(next, clock(&[(0, 40), (1, 5), (2, 10)]));
    // It never goes back.
    assert!(next.next_vote(2, 1));
    assert_eq!(next, clock(&[(0, 40), (1, 5), (2, 11)]));
    let before = clock(&[(1, u64::MAX)]);
    let mut full = before.clone();
    assert!(!full.next_vote(1, 1));
    assert!(!full.next_vote(0, 1));
    assert!(!full.next_vote(5, 1));
    assert_eq!(full, before);
}

#[test]
fn encoding_is_sparse_and_ordered() {
    let bytes = encode(&clock(&[(3, 2), (0, 1)]));
    assert_eq!(
        hex(&bytes),
        "00000000000000000001".to_owned() + "00030000000000000002"
    );
    let mut buf = [0; 19];
    assert_eq!(
        clock(&[(3, 2), (0, 1)]).encode(&mut Writer::new(&mut buf)),
        Err(Error::NoSpace)
    );
}

#[test]
fn a_counted_clock_has_its_number_of_entries_first() {
    let mut buf = [0; 22];
    let mut out = Writer::new(&mut buf);
    clock(&[(3, 2), (0, 1)]).put(&mut out).unwrap();
    let wanted = "0002".to_owned() + "00000000000000000001" + "00030000000000000002";
    assert_eq!(hex(out.written()), wanted);
    for len in 0..22 {
        assert_eq!(
            clock(&[(3, 2), (0, 1)]).put(&mut Writer::new(&mut buf[..len])),
            Err(Error::NoSpace)
        );
    }
    // The same of a clock that stands in an event.
    let bytes = entries(&[(0, 1), (3, 2)]);
    let claimed = ClaimedClock::decode(&bytes).unwrap();
    let len = Payload::Clock(claimed).encode(&mut buf).unwrap();
    assert_eq!(hex(&buf[..len]), wanted);
    assert_eq!(
        Payload::decode(Kind::Clock, &buf),
        Ok(Payload::Clock(claimed))
    );
}

#[test]
fn no_clock_has_more_entries_than_slots() {
    let with = |count: u16| {
        let list: Vec<_> = (0..count).map(|slot| (slot, 1)).collect();
        let bytes = [&count.to_be_bytes()[..], &entries(&list)].concat();
        Payload::decode(Kind::Clock, &bytes).map(|_| ())
    };
    assert_eq!(with(129), Ok(()));
    assert_eq!(with(130), Err(Error::Field("clock entries")));
    // It is told before the entries are looked for.
    assert_eq!(
        Payload::decode(Kind::Clock, &[0, 130]),
        Err(Error::Field("clock entries"))
    );
    assert_eq!(Payload::decode(Kind::Clock, &[0, 129]), Err(Error::Short));
}

/// Whether one clock exceeds another, both as they stand in votes.
fn exceeds(one: &[(u16, u64)], other: &[(u16, u64)]) -> bool {
    let (one, other) = (entries(one), entries(other));
    let decode = |bytes| ClaimedClock::decode(bytes).unwrap();
    decode(&one).exceeds(&decode(&other))
}

#[test]
fn a_clock_exceeds_another_in_any_entry() {
    for (one, other, wanted) in [
        // Both without gaps.
        (&[(0, 2), (1, 2)][..], &[(0, 2), (1, 2)][..], false),
        (&[(0, 1), (1, 1)], &[(0, 2), (1, 2)], false),
        (&[(0, 3), (1, 1)], &[(0, 2), (1, 2)], true),
        (&[(0, 1), (1, 3)], &[(0, 2), (1, 2)], true),
        (&[(0, 1), (1, 1)], &[(0, 2)], true),
        (&[(0, 1)], &[(0, 2), (1, 1)], false),
        // With gaps in one of them, and in both.
        (&[(0, 2), (2, 2)], &[(0, 2), (1, 2), (2, 2)], false),
        (&[(0, 2), (2, 3)], &[(0, 2), (1, 2), (2, 2)], true),
        (&[(0, 2), (1, 1), (2, 2)], &[(0, 2), (2, 2)], true),
        (&[(2, 2)], &[(1, 9), (3, 9)], true),
        (&[(2, 2)], &[(1, 9), (2, 2), (3, 9)], false),
        (&[(2, 2)], &[(1, 9)], true),
        (&[(2, 2)], &[], true),
        (&[], &[(2, 2)], false),
        (&[], &[], false),
    ] {
        assert_eq!(exceeds(one, other), wanted, "{one:?} and {other:?}");
    }
}

#[test]
fn the_largest_clock_has_every_slot() {
    let mut full = VectorClock::<SLOTS>::new();
    for slot in 0..=128 {
        assert!(full.set(slot, u64::MAX));
    }
    let bytes = encode(&full);
    assert_eq!(bytes.len(), 1290);
    let claimed = ClaimedClock::decode(&bytes).unwrap();
    assert_eq!(claimed.count(), 129);
    assert_eq!(claimed.as_bytes(), bytes);
    let mut again = VectorClock::<SLOTS>::new();
    again.decode(&bytes).unwrap();
    assert_eq!(again, full);
}

#[test]
fn a_malformed_clock_is_refused() {
    let slot = Err(Error::Field("clock slot"));
    let value = Err(Error::Field("clock value"));
    for (list, error) in [
        (&[(2, 1), (1, 1)][..], slot),
        (&[(1, 1), (1, 2)], slot),
        (&[(129, 1)], slot),
        (&[(u16::MAX, 1)], slot),
        (&[(0, 0)], value),
        (&[(1, 1), (2, 0)], value),
    ] {
        assert_eq!(ClaimedClock::decode(&entries(list)).map(|_| ()), error);
    }
    let good = entries(&[(0, 1), (7, 2)]);
    for len in 0..good.len() {
        let whole = len % ENTRY_LEN == 0;
        assert_eq!(ClaimedClock::decode(&good[..len]).is_ok(), whole);
    }
}

#[test]
fn a_clock_that_does_not_fit_changes_nothing() {
    let before = clock(&[(1, 1)]);
    let mut small = before.clone();
    assert_eq!(
        small.decode(&entries(&[(2, 2), (5, 1)])),
        Err(Error::Field("clock slot"))
    );
    assert_eq!(
        small.decode(&entries(&[(2, 0)])),
        Err(Error::Field("clock value"))
    );
    assert_eq!(small, before);
}

/// Judges a vote of the validator in slot 2 whose last clock is {0: 10, 1: 3, 2: 5} on a node with
/// the clock {0: 20, 1: 4, 2: 5, 3: 1}, on a request created at 15.
fn judge(claim: &[(u16, u64)]) -> Result<Timing, Refusal> {
    let bytes = entries(claim);
    check_vote(
        &ClaimedClock::decode(&bytes).unwrap(),
        2,
        &clock(&[(0, 10), (1, 3), (2, 5)]),
        &clock(&[(0, 20), (1, 4), (2, 5), (3, 1)]),
        15,
    )
}

#[test]
fn each_rule_has_its_refusal() {
    // The smallest and the largest that are acceptable.
    assert_eq!(judge(&[(0, 15), (1, 3), (2, 6)]), Ok(Timing::Now));
    assert_eq!(
        judge(&[(0, 20), (1, 4), (2, 5 + CLOCK_LEAP), (3, 1)]),
        Ok(Timing::Now)
    );
    // One fact changed at a time.
    assert_eq!(
        judge(&[(0, 15), (1, 3), (2, 5)]),
        Err(Refusal::ClockNotLater)
    );
    assert_eq!(
        judge(&[(0, 15), (1, 3), (2, 4)]),
        Err(Refusal::ClockNotLater)
    );
    assert_eq!(judge(&[(0, 15), (1, 3)]), Err(Refusal::ClockNotLater));
    assert_eq!(
        judge(&[(0, 15), (1, 2), (2, 6)]),
        Err(Refusal::ClockRegresses)
    );
    assert_eq!(judge(&[(0, 15), (2, 6)]), Err(Refusal::ClockRegresses));
    assert_eq!(
        judge(&[(0, 9), (1, 3), (2, 6)]),
        Err(Refusal::ClockRegresses)
    );
    assert_eq!(judge(&[(1, 3), (2, 6)]), Err(Refusal::ClockRegresses));
    assert_eq!(
        judge(&[(0, 15), (1, 3), (2, 6 + CLOCK_LEAP)]),
        Err(Refusal::ClockLeap)
    );
    assert_eq!(
        judge(&[(0, 15), (1, 3), (2, u64::MAX)]),
        Err(Refusal::ClockLeap)
    );
    assert_eq!(
        judge(&[(0, 14), (1, 3), (2, 6)]),
        Err(Refusal::ClockBeforeRequest)
    );
    assert_eq!(judge(&[(0, 21), (1, 3), (2, 6)]), Err(Refusal::ClockUnseen));
    // Causes of other validators may still arrive, also from a slot that this node's clock lacks.
    for claim in [
        &[(0, 15), (1, 5), (2, 6)][..],
        &[(0, 15), (1, 3), (2, 6), (3, 2)],
        &[(0, 15), (1, 3), (2, 6), (4, 1)],
        &[(0, 15), (1, 3), (2, 6), (128, 1)],
    ] {
        assert_eq!(judge(claim), Ok(Timing::Early));
    }
    // An event of this node that has not happened is no cause that could arrive.
    assert_eq!(
        judge(&[(0, 21), (1, 5), (2, 6), (3, 2)]),
        Err(Refusal::ClockUnseen)
    );
}

#[test]
fn a_claim_without_gaps_may_have_more_slots_than_the_clocks() {
    let last = clock(&[(0, 10), (1, 3), (2, 5)]);
    let node = clock(&[(0, 20), (1, 4), (2, 5), (3, 1), (4, 1)]);
    let judge = |claim: &[(u16, u64)]| {
        let bytes = entries(claim);
        check_vote(&ClaimedClock::decode(&bytes).unwrap(), 2, &last, &node, 15)
    };
    let mut claim = vec![(0, 15), (1, 3), (2, 6), (3, 1), (4, 1)];
    assert_eq!(judge(&claim), Ok(Timing::Now));
    claim.push((5, 1));
    assert_eq!(judge(&claim), Ok(Timing::Early));
}

#[test]
fn a_cause_is_unseen_wherever_the_node_has_the_own_entry() {
    let last = clock(&[(0, 10), (1, 3), (2, 5)]);
    // The node has less, as much and more than the vote's own entry.
    for own in 5..=7 {
        let node = clock(&[(0, 20), (1, 4), (2, own)]);
        for (claim, wanted) in [
            (&[(0, 15), (1, 4), (2, 6)], Timing::Now),
            (&[(0, 15), (1, 5), (2, 6)], Timing::Early),
        ] {
            let bytes = entries(claim);
            let claimed = ClaimedClock::decode(&bytes).unwrap();
            assert_eq!(check_vote(&claimed, 2, &last, &node, 15), Ok(wanted));
        }
    }
}

#[test]
fn the_first_rule_that_fails_is_named() {
    assert_eq!(judge(&[]), Err(Refusal::ClockNotLater));
    assert_eq!(
        judge(&[(0, 21), (1, 2), (2, 6 + CLOCK_LEAP)]),
        Err(Refusal::ClockRegresses)
    );
    assert_eq!(
        judge(&[(0, 14), (1, 5), (2, 6 + CLOCK_LEAP)]),
        Err(Refusal::ClockLeap)
    );
    assert_eq!(
        judge(&[(0, 14), (1, 5), (2, 6)]),
        Err(Refusal::ClockBeforeRequest)
    );
}

#[test]
fn the_node_has_no_vote() {
    let bytes = entries(&[(0, 1)]);
    let claim = ClaimedClock::decode(&bytes).unwrap();
    for slot in [0, 5, u16::MAX] {
        assert_eq!(
            check_vote(&claim, slot, &Clock::new(), &Clock::new(), 0),
            Err(Refusal::VoteUnknownValidator)
        );
    }
}

#[test]
fn a_leap_is_measured_without_overflow() {
    let bytes = entries(&[(1, u64::MAX)]);
    let claim = ClaimedClock::decode(&bytes).unwrap();
    let last = clock(&[(1, u64::MAX - 1)]);
    assert_eq!(check_vote(&claim, 1, &last, &last, 0), Ok(Timing::Now));
}

#[test]
fn the_chain_covers_every_byte_in_order() {
    let node = [1; 32];
    let previous = [3; 32];
    let start = Chain::new::<Sha256>(&node, 2, &previous);
    let input = Chain::genesis_input(&node, 2, &previous);
    assert_eq!(
        hex(&input),
        hex(b"TCPLCHN2") + &hex(&node) + "0000000000000002" + &hex(&previous)
    );
    let digest = <Sha256 as engine::wire::Digest>::sha256;
    assert_eq!(*start.head(), digest(&[&input]));
    let mut chain = start.clone();
    chain.extend::<Sha256>(b"header", b"payload");
    assert_eq!(*chain.head(), digest(&[start.head(), b"headerpayload"]));
    // Another order, a missing event, another byte: another head.
    let head = |events: &[&[u8]]| {
        let mut chain = start.clone();
        for event in events {
            chain.extend::<Sha256>(event, b"");
        }
        *chain.head()
    };
    assert_ne!(head(&[b"a", b"b"]), head(&[b"b", b"a"]));
    assert_ne!(head(&[b"a", b"b"]), head(&[b"a"]));
    assert_ne!(head(&[b"a", b"b"]), head(&[b"a", b"c"]));
    // So does another node, another epoch, another past.
    for (node, epoch, previous) in [
        ([2; 32], 2, previous),
        (node, 3, previous),
        (node, 2, NO_HEAD),
    ] {
        assert_ne!(Chain::new::<Sha256>(&node, epoch, &previous), start);
    }
    assert_eq!(Chain::from_head(*start.head()), start);
}

#[test]
fn numbers_tell_their_epoch() {
    assert_eq!(first_number(0), 0);
    assert_eq!(first_number(1), EPOCH_STRIDE);
    assert_eq!(epoch_of(first_number(1)), 1);
    assert_eq!(epoch_of(first_number(2) - 1), 1);
    assert_eq!(epoch_of(EPOCH_STRIDE - 1), 0);
    assert_eq!(first_number(7) >> 32, 7);
    assert_eq!(first_number(u64::from(u32::MAX)), u64::MAX << 32);
    for epoch in [1 << 32, u64::MAX] {
        assert_eq!(first_number(epoch), u64::MAX);
    }
}

#[test]
fn a_load_starts_where_its_epoch_does() {
    let node = [1; 32];
    let mut clock = SecureVectorClock::new::<Sha256>(&node, 7, &[3; 32]);
    assert_eq!(clock.node_id, node);
    assert_eq!(clock.signature, [0; 32]);
    assert_eq!(clock.causal_chain, Chain::new::<Sha256>(&node, 7, &[3; 32]));
    assert_eq!(clock.logical_time.count(), 1);
    assert_eq!(clock.logical_time.tick(0), Some((7 << 32) + 1));
    // Without a TPM the first event is number 1.
    let mut clock = SecureVectorClock::new::<Sha256>(&node, 0, &NO_HEAD);
    assert_eq!(clock.logical_time, NodeClock::new());
    assert_eq!(clock.logical_time.tick(0), Some(1));
    // Beyond the last epoch there is no event at all.
    let mut clock = SecureVectorClock::new::<Sha256>(&node, 1 << 32, &NO_HEAD);
    assert_eq!(clock.logical_time.tick(0), None);
}

/// The rules written down once more, entry by entry, without views or walks.
fn reference(c: &Clock, s: u16, l: &Clock, v: &Clock, r: u64) -> Result<Timing, Refusal> {
    if c.get(s) <= l.get(s) {
        return Err(Refusal::ClockNotLater);
    }
    if (0..5).any(|j| c.get(j) < l.get(j)) {
        return Err(Refusal::ClockRegresses);
    }
    if u128::from(c.get(s)) > u128::from(l.get(s)) + 1_048_576 {
        return Err(Refusal::ClockLeap);
    }
    if c.get(0) < r {
        return Err(Refusal::ClockBeforeRequest);
    }
    if c.get(0) > v.get(0) {
        return Err(Refusal::ClockUnseen);
    }
    if (1..5).any(|j| j != s && c.get(j) > v.get(j)) {
        return Ok(Timing::Early);
    }
    Ok(Timing::Now)
}

#[test]
fn a_slot_that_a_clock_lacks_is_refused_and_changes_nothing() {
    let bytes = encode(&{
        let mut wide = VectorClock::<7>::new();
        assert!(wide.set(1, 3) && wide.set(5, 4));
        wide
    });
    let mut narrow = clock(&[(0, 9)]);
    assert_eq!(narrow.decode(&bytes), Err(Error::Field("clock slot")));
    assert_eq!(narrow, clock(&[(0, 9)]));
}

proptest! {
    #[test]
    fn order_is_partial(a in any_clock(), b in any_clock(), c in any_clock()) {
        prop_assert!(a.dominates(&a));
        prop_assert_eq!(a.partial_cmp(&a), Some(Ordering::Equal));
        if a.dominates(&b) && b.dominates(&a) {
            prop_assert_eq!(&a, &b);
        }
        if a.dominates(&b) && b.dominates(&c) {
            prop_assert!(a.dominates(&c));
        }
        prop_assert_eq!(
            a.partial_cmp(&b),
            b.partial_cmp(&a).map(Ordering::reverse)
        );
        prop_assert_eq!(a.partial_cmp(&b) == Some(Ordering::Less), a != b && b.dominates(&a));
    }

    #[test]
    fn merge_is_the_least_upper_bound(a in any_clock(), b in any_clock(), c in any_clock()) {
        let merged = |a: &Clock, b: &Clock| {
            let mut m = Clock::new();
            m.copy_from(a);
            m.merge(b);
            m
        };
        let m = merged(&a, &b);
        prop_assert!(m.dominates(&a) && m.dominates(&b));
        if c.dominates(&a) && c.dominates(&b) {
            prop_assert!(c.dominates(&m));
        }
        prop_assert_eq!(&m, &merged(&b, &a));
        prop_assert_eq!(merged(&m, &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(&merged(&a, &a), &a);
    }

    #[test]
    fn a_tick_makes_a_clock_strictly_later(a in any_clock(), slot in 0u16..5) {
        let mut b = a.clone();
        prop_assert_eq!(b.tick(slot), Some(a.get(slot) + 1));
        prop_assert_eq!(a.partial_cmp(&b), Some(Ordering::Less));
    }

    #[test]
    fn encoding_round_trips(a in any_clock()) {
        let bytes = encode(&a);
        let claimed = ClaimedClock::decode(&bytes).unwrap();
        prop_assert_eq!(claimed.count(), a.count());
        prop_assert!(claimed.iter().eq(a.iter()));
        for slot in 0..8 {
            prop_assert_eq!(claimed.get(slot), a.get(slot));
        }
        let mut b = Clock::new();
        b.decode(&bytes).unwrap();
        prop_assert_eq!(a, b);
    }

    #[test]
    fn claims_are_compared_entry_by_entry(a in any_clock(), b in any_clock()) {
        let (one, other) = (encode(&a), encode(&b));
        let decode = |bytes| ClaimedClock::decode(bytes).unwrap();
        prop_assert_eq!(decode(&one).exceeds(&decode(&other)), !b.dominates(&a));
    }

    #[test]
    fn arbitrary_bytes_decode_to_themselves_or_not_at_all(bytes: Vec<u8>) {
        if let Ok(claimed) = ClaimedClock::decode(&bytes) {
            prop_assert_eq!(entries(&claimed.iter().collect::<Vec<_>>()), bytes);
        }
    }

    #[test]
    fn rules_agree_with_the_reference(
        c in any_clock(),
        l in any_clock(),
        v in any_clock(),
        slot in 1u16..5,
        created in 0u64..4,
    ) {
        let bytes = encode(&c);
        let claimed = ClaimedClock::decode(&bytes).unwrap();
        prop_assert_eq!(
            check_vote(&claimed, slot, &l, &v, created),
            reference(&c, slot, &l, &v, created)
        );
    }

    #[test]
    fn the_smallest_next_clock_is_acceptable(
        l in any_clock(),
        v in any_clock(),
        slot in 1u16..5,
        created in 0u64..4,
    ) {
        // The node has seen whatever the validator's last vote claimed, and made the request.
        let mut node = v;
        node.merge(&l);
        let seen = node.get(0).max(created);
        prop_assert!(node.set(0, seen));
        let mut next = l.clone();
        prop_assert!(next.next_vote(slot, created));
        let bytes = encode(&next);
        let claimed = ClaimedClock::decode(&bytes).unwrap();
        prop_assert_eq!(check_vote(&claimed, slot, &l, &node, created), Ok(Timing::Now));
    }
}
