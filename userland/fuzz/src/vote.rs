// SPDX-License-Identifier: GPL-2.0

//! Votes: a record comes back as it was, and is refused by the first step that fails.
//!
//! The first two bytes say what is wrong with the situation, the others are the record.

use crate::Sha256;
use engine::clock::{
    check_vote,
    NodeClock, //
};
use engine::limits;
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
    MAX_RECORD, //
};

/// Runs the target.
pub fn run(data: &[u8]) {
    let Some((&[high, low], bytes)) = data.split_first_chunk() else {
        return;
    };
    let record = match VoteRecord::decode(bytes) {
        Ok(record) => record,
        Err(refusal) => {
            let known = [
                Refusal::VoteMalformed,
                Refusal::VoteVersion,
                Refusal::VoteMalleable,
            ];
            return assert!(known.contains(&refusal));
        }
    };
    round_trip(&record, bytes);
    situation(&record, u16::from_be_bytes([high, low]));
}

fn round_trip(record: &VoteRecord<'_>, bytes: &[u8]) {
    assert!(bytes.len() <= MAX_RECORD && record.reason.len() <= limits::REASON);
    let mut out = [0; MAX_RECORD];
    let len = encode_record(record.signed, record.signature, record.reason, &mut out).unwrap();
    assert_eq!(out[..len], *bytes);
    assert!(encode_record(
        record.signed,
        record.signature,
        record.reason,
        &mut out[..len - 1]
    )
    .is_err());
    let len = record.vote.encode_signed(&mut out).unwrap();
    assert_eq!(out[..len], *record.signed);
    assert!(record.vote.encode_signed(&mut out[..len - 1]).is_err());
    assert_eq!(Vote::decode(record.signed), Ok(record.vote));
    assert_eq!(
        SignedVote::decode(record.signed, record.signature),
        Ok(record.signed_vote())
    );
    let vote = &record.vote;
    assert!((1..=128).contains(&vote.slot) && (1..=129).contains(&vote.clock.count()));
    assert_eq!(vote.own(), vote.clock.get(vote.slot));
    // A part of a record is no record, but for its reason.
    let cut = &bytes[..bytes.len() - record.reason.len() - 1];
    assert!(VoteRecord::decode(cut).is_err());
}

/// Puts the vote in a situation in which as many steps fail as `flaws` has bits.
fn situation(record: &VoteRecord<'_>, flaws: u16) {
    let vote = &record.vote;
    let flaw = |bit: u16| (flaws >> bit) & 1 != 0;
    let mut node = *vote.node;
    node[usize::from(vote.slot) % 32] ^= u8::from(flaw(0));
    // An epoch after the greatest is the first.
    let epoch = vote.epoch.wrapping_add(u64::from(flaw(1)));
    let (late, short) = (
        flaw(7) && vote.expires_ms != u64::MAX,
        flaw(8) && vote.expires_ms != 0,
    );
    let request = RequestState {
        open: !flaw(3),
        created: vote.clock.get(0),
        expires_ms: vote.expires_ms - u64::from(short),
    };
    let last = NodeClock::new();
    let mut clock = NodeClock::new();
    clock.decode(vote.clock.as_bytes()).unwrap();
    let validator = ValidatorState {
        slot: vote.slot + u16::from(flaw(5)),
        quarantined: flaw(6),
        voted: flaw(9),
        last: &last,
    };
    let now_ms = vote.expires_ms.saturating_add(u64::from(late));
    let situation = Situation {
        node: &node,
        epoch,
        now_ms,
        request: (!flaw(2)).then_some(request),
        validator: (!flaw(4)).then_some(validator),
        clock: &clock,
    };
    let reason = reason_digest::<Sha256>(record.reason) == *vote.reason_digest;
    let wanted = [
        (flaw(0), Refusal::VoteOtherNode),
        (flaw(1), Refusal::VoteOtherEpoch),
        (flaw(2), Refusal::VoteUnknownRequest),
        (flaw(3), Refusal::VoteClosedRequest),
        (flaw(4), Refusal::VoteUnknownValidator),
        (flaw(5), Refusal::VoteSlot),
        (flaw(6), Refusal::VoteQuarantined),
        (late || short, Refusal::VoteExpired),
        (flaw(9), Refusal::VoteDuplicate),
        (!reason, Refusal::VoteReason),
    ];
    let result = check::<Sha256, 129>(record, &situation);
    match wanted.into_iter().find(|&(fails, _)| fails) {
        Some((_, refusal)) => assert_eq!(result, Err(refusal)),
        None => assert_eq!(
            result,
            check_vote(&vote.clock, vote.slot, &last, &clock, request.created)
        ),
    }
}
