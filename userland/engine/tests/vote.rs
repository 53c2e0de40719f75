// SPDX-License-Identifier: GPL-2.0

//! Votes: round trips, each field judged by itself, and the order of the steps.

mod support;

use engine::clock::{
    ClaimedClock,
    Timing,
    VectorClock,
    SLOTS, //
};
use engine::quorum::Verdict;
use engine::refusal::Refusal;
use engine::vote::{
    check,
    encode_record,
    reason_digest,
    RequestState,
    SignedVote,
    Situation,
    ValidatorState,
    Vote,
    VoteRecord,
    MAX_RECORD,
    MAX_SIGNED,
    NO_REASON, //
};
use engine::wire::Error;
use p256::ecdsa::signature::Verifier;
use proptest::prelude::*;
use support::{
    entries,
    record,
    signed,
    Key,
    Sha256,
    EPOCH,
    NODE,
    REQUEST, //
};

const CLOCK: &[(u16, u64)] = &[(0, 40), (2, 6)];
const REASON: &str = "reviewed \u{2713}";

/// Where the signature's length stands in the sample.
const SIGNATURE_AT: usize = 156 + 20;

fn sample() -> Vec<u8> {
    let key = Key::new("alice");
    let vote = signed(&key, 2, &REQUEST, Verdict::Approve, CLOCK, REASON);
    record(&key, &vote, REASON)
}

/// What a record with other bytes in one place is refused for.
fn with(at: usize, bytes: &[u8]) -> Refusal {
    let mut record = sample();
    record[at..at + bytes.len()].copy_from_slice(bytes);
    VoteRecord::decode(&record).unwrap_err()
}

#[test]
fn a_record_round_trips_and_verifies() {
    let key = Key::new("alice");
    for verdict in [Verdict::Approve, Verdict::Deny] {
        for reason in ["", REASON, &"r".repeat(256)] {
            let vote = signed(&key, 2, &REQUEST, verdict, CLOCK, reason);
            let bytes = record(&key, &vote, reason);
            let read = VoteRecord::decode(&bytes).unwrap();
            assert_eq!(read.signed, vote);
            assert_eq!(read.reason, reason);
            assert_eq!(read.vote, Vote::decode(&vote).unwrap());
            assert_eq!(read.vote.verdict, verdict);
            assert_eq!((read.vote.slot, read.vote.own()), (2, 6));
            assert_eq!(
                SignedVote::decode(read.signed, read.signature),
                Ok(read.signed_vote())
            );
            assert_eq!(read.vote.node, &NODE);
            assert_eq!(read.vote.epoch, EPOCH);
            assert_eq!(read.vote.request, &REQUEST);
            assert_eq!(read.vote.validator, &key.id);
            assert_eq!(read.vote.expires_ms, 1_300_000);
            assert!(read.vote.clock.iter().eq(CLOCK.iter().copied()));
            assert_eq!(read.check_reason::<Sha256>(), Ok(()));
            let signature = p256::ecdsa::Signature::from_der(read.signature).unwrap();
            key.private
                .verifying_key()
                .verify(read.signed, &signature)
                .unwrap();
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = sample();
    let whole = VoteRecord::decode(&bytes).unwrap();
    let end = bytes.len() - whole.reason.len();
    for len in 0..end {
        let refusal = VoteRecord::decode(&bytes[..len]).unwrap_err();
        assert_eq!(refusal, Refusal::VoteMalformed, "{len} bytes");
    }
    // The reason has no length of its own: its digest is what a cut breaks.
    for len in end..bytes.len() {
        let refused = VoteRecord::decode(&bytes[..len])
            .and_then(|record| record.check_reason::<Sha256>())
            .unwrap_err();
        let cut_in_a_character = len > bytes.len() - 3;
        assert_eq!(
            refused,
            if cut_in_a_character {
                Refusal::VoteMalformed
            } else {
                Refusal::VoteReason
            }
        );
    }
    let signed_part = whole.signed;
    for len in 0..signed_part.len() {
        assert_eq!(
            Vote::decode(&signed_part[..len]),
            Err(Refusal::VoteMalformed)
        );
    }
}

#[test]
fn every_extension_is_refused() {
    let mut bytes = sample();
    let signed_part = VoteRecord::decode(&bytes).unwrap().signed;
    let longer = [signed_part, &[0]].concat();
    assert_eq!(Vote::decode(&longer), Err(Refusal::VoteMalformed));
    bytes.push(b'x');
    assert_eq!(
        VoteRecord::decode(&bytes).and_then(|record| record.check_reason::<Sha256>()),
        Err(Refusal::VoteReason)
    );
    bytes.resize(bytes.len() + 256, b'x');
    assert_eq!(VoteRecord::decode(&bytes), Err(Refusal::VoteMalformed));
}

#[test]
fn each_field_of_a_record_is_judged() {
    assert_eq!(with(0, b"TCPLVOT1"), Refusal::VoteVersion);
    assert_eq!(with(0, b"TCPLREQ1"), Refusal::VoteVersion);
    for verdict in [0, 3, 255] {
        assert_eq!(with(112, &[verdict]), Refusal::VoteMalformed);
    }
    for slot in [0, 129, 255] {
        assert_eq!(with(113, &[slot]), Refusal::VoteMalformed);
    }
    for count in [0u16, 1, 3, 129, 130, u16::MAX] {
        assert_eq!(with(114, &count.to_be_bytes()), Refusal::VoteMalformed);
    }
    // Entries of the clock: out of order, twice, out of range, zero.
    assert_eq!(with(156, &[0, 3]), Refusal::VoteMalformed);
    assert_eq!(with(156, &[0, 2]), Refusal::VoteMalformed);
    assert_eq!(with(166, &[0, 129]), Refusal::VoteMalformed);
    assert_eq!(with(168, &[0; 8]), Refusal::VoteMalformed);
    // The signature: its length, its tag, and more than 72 bytes of it.
    assert_eq!(with(SIGNATURE_AT, &[0, 0]), Refusal::VoteMalformed);
    assert_eq!(with(SIGNATURE_AT, &[0, 73]), Refusal::VoteMalformed);
    assert_eq!(with(SIGNATURE_AT, &[255, 255]), Refusal::VoteMalformed);
    assert_eq!(with(SIGNATURE_AT + 2, &[0x31]), Refusal::VoteMalformed);
    // The reason.
    let last = sample().len() - 1;
    assert_eq!(with(last, &[0xff]), Refusal::VoteMalformed);
}

#[test]
fn a_malleable_signature_is_named_so() {
    let key = Key::new("alice");
    let vote = signed(&key, 2, &REQUEST, Verdict::Approve, CLOCK, "");
    let good = p256::ecdsa::Signature::from_der(&key.sign(&vote)).unwrap();
    let (r, s) = good.split_scalars();
    let twin = p256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).unwrap();
    key.private.verifying_key().verify(&vote, &twin).unwrap();
    let twin = twin.to_der();
    let mut bytes = vote.clone();
    bytes.extend(u16::try_from(twin.as_bytes().len()).unwrap().to_be_bytes());
    bytes.extend(twin.as_bytes());
    assert_eq!(VoteRecord::decode(&bytes), Err(Refusal::VoteMalleable));
    let mut out = [0; MAX_RECORD];
    assert_eq!(
        encode_record(&vote, twin.as_bytes(), "", &mut out),
        Err(Error::Field("signature"))
    );
}

#[test]
fn the_largest_record_fits() {
    let key = Key::new("alice");
    let full: Vec<_> = (0..129).map(|slot| (slot, u64::MAX)).collect();
    let vote = signed(&key, 2, &REQUEST, Verdict::Deny, &full, "");
    assert_eq!(vote.len(), MAX_SIGNED);
    // The longest vote, its signature with its length, and the longest reason.
    assert_eq!((MAX_SIGNED, MAX_RECORD), (1446, 1446 + 2 + 72 + 256));
    let reason = "r".repeat(256);
    let bytes = record(&key, &vote, &reason);
    assert!(bytes.len() <= MAX_RECORD);
    assert_eq!(VoteRecord::decode(&bytes).unwrap().vote.clock.count(), 129);
    let mut out = [0; MAX_RECORD];
    assert_eq!(
        encode_record(&vote, &key.sign(&vote), &"r".repeat(257), &mut out),
        Err(Error::Field("reason"))
    );
    assert_eq!(
        encode_record(
            &vote,
            &key.sign(&vote),
            &reason,
            &mut out[..bytes.len() - 1]
        ),
        Err(Error::NoSpace)
    );
    let empty = Vote {
        clock: ClaimedClock::decode(&[]).unwrap(),
        ..Vote::decode(&vote).unwrap()
    };
    assert_eq!(
        empty.encode_signed(&mut out),
        Err(Error::Field("clock entries"))
    );
    for slot in [0, 129, 256, 258, u16::MAX] {
        let nowhere = Vote {
            slot,
            ..Vote::decode(&vote).unwrap()
        };
        assert_eq!(nowhere.encode_signed(&mut out), Err(Error::Field("slot")));
    }
}

#[test]
fn no_reason_is_zeros() {
    assert_eq!(reason_digest::<Sha256>(""), NO_REASON);
    assert_ne!(reason_digest::<Sha256>("x"), NO_REASON);
    let key = Key::new("alice");
    // Neither the digest of the empty text, nor a text under zeros, nor another text.
    for (signed_reason, sent) in [("", "x"), ("x", ""), ("x", "y")] {
        let vote = signed(&key, 2, &REQUEST, Verdict::Deny, CLOCK, signed_reason);
        let bytes = record(&key, &vote, sent);
        assert_eq!(
            VoteRecord::decode(&bytes).unwrap().check_reason::<Sha256>(),
            Err(Refusal::VoteReason)
        );
    }
    let mut vote = signed(&key, 2, &REQUEST, Verdict::Deny, CLOCK, "");
    let digest = <Sha256 as engine::wire::Digest>::sha256(&[]);
    vote[124..156].copy_from_slice(&digest);
    let bytes = record(&key, &vote, "");
    assert_eq!(
        VoteRecord::decode(&bytes).unwrap().check_reason::<Sha256>(),
        Err(Refusal::VoteReason)
    );
}

/// What a node knows, with everything that a test may change.
#[derive(Clone)]
struct Node {
    node: [u8; 32],
    epoch: u64,
    now_ms: u64,
    request: Option<RequestState>,
    enrolled: bool,
    slot: u16,
    quarantined: bool,
    voted: bool,
    last: Vec<(u16, u64)>,
    clock: Vec<(u16, u64)>,
    claim: Vec<(u16, u64)>,
    reason: &'static str,
}

impl Node {
    fn new() -> Self {
        Self {
            node: NODE,
            epoch: EPOCH,
            now_ms: 1_300_000,
            request: Some(RequestState {
                open: true,
                created: 40,
                expires_ms: 1_300_000,
            }),
            enrolled: true,
            slot: 2,
            quarantined: false,
            voted: false,
            last: vec![(0, 39), (2, 5)],
            clock: vec![(0, 41), (2, 5)],
            claim: CLOCK.to_vec(),
            reason: REASON,
        }
    }

    fn judge(&self) -> Result<Timing, Refusal> {
        let clock = |list: &[(u16, u64)]| {
            let mut clock = VectorClock::<SLOTS>::new();
            clock.decode(&entries(list)).unwrap();
            clock
        };
        let key = Key::new("alice");
        let vote = signed(&key, 2, &REQUEST, Verdict::Approve, &self.claim, REASON);
        let bytes = record(&key, &vote, self.reason);
        let last = clock(&self.last);
        check::<Sha256, SLOTS>(
            &VoteRecord::decode(&bytes).unwrap(),
            &Situation {
                node: &self.node,
                epoch: self.epoch,
                now_ms: self.now_ms,
                request: self.request,
                validator: self.enrolled.then_some(ValidatorState {
                    slot: self.slot,
                    quarantined: self.quarantined,
                    voted: self.voted,
                    last: &last,
                }),
                clock: &clock(&self.clock),
            },
        )
    }
}

/// A change that makes a vote unacceptable, and why.
type Spoil = (Refusal, fn(&mut Node));

/// In the order of the steps.
const SPOILS: &[Spoil] = &[
    (Refusal::VoteOtherNode, |n| n.node[31] ^= 1),
    (Refusal::VoteOtherEpoch, |n| n.epoch += 1),
    (Refusal::VoteUnknownRequest, |n| n.request = None),
    (Refusal::VoteClosedRequest, |n| {
        if let Some(request) = &mut n.request {
            request.open = false;
        }
    }),
    (Refusal::VoteUnknownValidator, |n| n.enrolled = false),
    (Refusal::VoteSlot, |n| n.slot = 3),
    (Refusal::VoteQuarantined, |n| n.quarantined = true),
    (Refusal::VoteExpired, |n| n.now_ms += 1),
    (Refusal::VoteDuplicate, |n| n.voted = true),
    (Refusal::VoteReason, |n| n.reason = "another"),
    (Refusal::ClockNotLater, |n| n.last = vec![(2, 6)]),
];

#[test]
fn steps_fail_by_themselves() {
    assert_eq!(Node::new().judge(), Ok(Timing::Now));
    for (refusal, spoil) in SPOILS {
        let mut node = Node::new();
        spoil(&mut node);
        assert_eq!(node.judge(), Err(*refusal));
    }
    // The other way to outlive: a request that ends before the vote does.
    let mut node = Node::new();
    node.now_ms = 0;
    node.request = node.request.map(|request| RequestState {
        expires_ms: 1_299_999,
        ..request
    });
    assert_eq!(node.judge(), Err(Refusal::VoteExpired));
    // A vote that is older than the request.
    let mut node = Node::new();
    node.request = node.request.map(|request| RequestState {
        created: 41,
        ..request
    });
    assert_eq!(node.judge(), Err(Refusal::ClockBeforeRequest));
    // An event of this node that has not happened.
    let mut node = Node::new();
    node.clock = vec![(0, 39), (2, 5), (7, 9)];
    assert_eq!(node.judge(), Err(Refusal::ClockUnseen));
}

#[test]
fn a_vote_whose_causes_have_not_arrived_is_early() {
    let mut node = Node::new();
    node.claim.push((7, 3));
    assert_eq!(node.judge(), Ok(Timing::Early));
    // Nothing else may be wrong with it.
    for (refusal, spoil) in SPOILS {
        let mut node = node.clone();
        spoil(&mut node);
        assert_eq!(node.judge(), Err(*refusal));
    }
    // Its causes arrive.
    node.clock.push((7, 2));
    assert_eq!(node.judge(), Ok(Timing::Early));
    node.clock[2] = (7, 3);
    assert_eq!(node.judge(), Ok(Timing::Now));
}

#[test]
fn of_two_failures_the_earlier_step_is_named() {
    for (i, (first, spoil_first)) in SPOILS.iter().enumerate() {
        for (_, spoil_second) in &SPOILS[i + 1..] {
            let mut node = Node::new();
            spoil_second(&mut node);
            spoil_first(&mut node);
            // No request is neither open nor closed.
            assert_eq!(node.judge(), Err(*first));
        }
    }
}

proptest! {
    #[test]
    fn any_vote_round_trips(
        (node, request, validator, digest) in any::<([u8; 32], [u8; 32], [u8; 32], [u8; 32])>(),
        epoch: u64,
        expires_ms: u64,
        approve: bool,
        slot in 1u16..=128,
        clock in proptest::collection::btree_map(0u16..129, 1u64.., 1..=129),
    ) {
        let clock = entries(&clock.into_iter().collect::<Vec<_>>());
        let vote = Vote {
            node: &node,
            epoch,
            request: &request,
            validator: &validator,
            verdict: if approve { Verdict::Approve } else { Verdict::Deny },
            slot,
            expires_ms,
            reason_digest: &digest,
            clock: ClaimedClock::decode(&clock).unwrap(),
        };
        let mut out = [0; MAX_SIGNED];
        let len = vote.encode_signed(&mut out).unwrap();
        prop_assert_eq!(Vote::decode(&out[..len]), Ok(vote));
        let own = vote.clock.iter().find(|&(at, _)| at == slot).map_or(0, |(_, value)| value);
        prop_assert_eq!(vote.own(), own);
        prop_assert_eq!(vote.encode_signed(&mut out[..len - 1]), Err(Error::NoSpace));
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>, magic: bool) {
        if let (true, Some(front)) = (magic, bytes.get_mut(..8)) {
            front.copy_from_slice(engine::vote::MAGIC);
        }
        prop_assert!(VoteRecord::decode(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_is_refused_by_some_step(at: prop::sample::Index, flip in 1u8..) {
        let key = Key::new("alice");
        let mut bytes = sample();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let accepted = VoteRecord::decode(&bytes).is_ok_and(|record| {
            let signature = p256::ecdsa::Signature::from_der(record.signature).unwrap();
            record.check_reason::<Sha256>().is_ok()
                && key.private.verifying_key().verify(record.signed, &signature).is_ok()
        });
        prop_assert!(!accepted, "byte {at} changed");
    }
}
