// SPDX-License-Identifier: GPL-2.0

//! The sealed state: whatever is well formed is written as it was read.
//!
//! With a first byte that is odd, length and anchor are made right first, as far as they are there.

use crate::{
    first,
    Sha256, //
};
use engine::anchor;
use engine::clock::NodeClock;
use engine::evidence::Evidence;
use engine::limits;
use engine::quarantine::PAIRS;
use engine::quorum::MAX_TOTAL_WEIGHT;
use engine::refusal::Refusal;
use engine::state::{
    State,
    StateWriter,
    Validator,
    MAX_BLOB, //
};
use engine::wire;

/// Where the anchor before stands, and then the anchor and the chain's head.
const PREVIOUS: usize = 12 + 32 + 8;

/// Runs the target.
pub fn run(data: &[u8]) {
    let (flags, bytes) = first(data);
    let mut bytes = bytes.to_vec();
    if flags & 1 != 0 {
        repair(&mut bytes);
    }
    match State::parse::<Sha256>(&bytes) {
        Ok(state) => {
            promises(&state);
            let mut out = vec![0; bytes.len()];
            assert_eq!(write(&state, &mut out), Ok(bytes.len()));
            assert_eq!(out, bytes);
            assert!(write(&state, &mut out[..bytes.len() - 1]).is_err());
            assert!(State::decode::<Sha256>(&bytes[..bytes.len() - 1]).is_err());
        }
        Err(_) => {
            let refusal = State::decode::<Sha256>(&bytes).map(|_| ());
            assert_eq!(refusal, Err(Refusal::StateMalformed));
        }
    }
}

fn repair(bytes: &mut [u8]) {
    let len = u32::try_from(bytes.len()).unwrap();
    if let Some(field) = bytes.get_mut(8..12) {
        field.copy_from_slice(&len.to_be_bytes());
    }
    if let Some(parts) = bytes.get_mut(PREVIOUS..PREVIOUS + 96) {
        let (previous, rest) = parts.split_first_chunk_mut::<32>().unwrap();
        let (value, chain) = rest.split_first_chunk_mut::<32>().unwrap();
        *value = anchor::extended::<Sha256>(previous, chain.first_chunk().unwrap());
    }
}

/// What a well-formed state promises whoever restores it.
fn promises(state: &State<'_>) {
    let head = &state.head;
    assert!(head.counter != 0 && head.number != 0 && head.pcrs < 1 << 24);
    assert!(
        (1..=MAX_BLOB).contains(&head.private.len()) && (1..=MAX_BLOB).contains(&head.public.len())
    );
    assert!(state.policy.len() <= limits::POLICY_TEXT);
    assert_eq!(state.clock.get(0), head.number);
    let validators: Vec<_> = state.validators().collect();
    assert_eq!(validators.len(), usize::from(state.count()));
    assert!((1..=limits::VALIDATORS).contains(&validators.len()));
    assert!(validators
        .windows(2)
        .all(|pair| pair[0].record.slot < pair[1].record.slot));
    let total: u64 = validators
        .iter()
        .map(|validator| u64::from(validator.record.weight))
        .sum();
    assert!(total <= MAX_TOTAL_WEIGHT);
    let used = |slot: u16| state.slots >> (slot - 1) & 1 != 0;
    for (place, validator) in validators.iter().enumerate() {
        assert!(used(validator.record.slot) && validator.record.weight != 0);
        for other in &validators[..place] {
            assert!(
                other.record.name != validator.record.name
                    && other.record.key != validator.record.key
            );
        }
    }
    for kept in state.quarantine() {
        assert!(used(kept.record.slot()) && kept.record.pairs().len() <= PAIRS);
        assert_eq!(kept.record.is_quarantined(), !kept.evidence.is_empty());
        if kept.record.is_quarantined() {
            let evidence = Evidence::decode::<Sha256>(kept.evidence).unwrap();
            assert_eq!(evidence.validator(), kept.record.validator());
        }
    }
    let slots = |slot| {
        validators
            .iter()
            .any(|validator| validator.record.slot == slot)
    };
    assert!(state
        .reputations()
        .all(|(slot, kept)| slots(slot) && kept.score <= 10_000));
}

fn write(state: &State<'_>, out: &mut [u8]) -> wire::Result<usize> {
    let clock = |bytes| {
        let mut clock = NodeClock::new();
        clock.decode(bytes).unwrap();
        clock
    };
    let clocks: Vec<_> = state
        .validators()
        .map(|validator| clock(validator.clock.as_bytes()))
        .collect();
    let mut writer = StateWriter::begin::<Sha256>(out, &state.head)?;
    writer.policy(state.policy)?;
    writer.validators(
        state
            .validators()
            .zip(&clocks)
            .map(|(validator, clock)| Validator {
                record: validator.record,
                accepted: validator.accepted,
                clock,
            }),
    )?;
    writer.slots(state.slots)?;
    writer.clock(&clock(state.clock.as_bytes()))?;
    writer.quarantine(state.quarantine())?;
    writer.reputation(state.reputations())?;
    writer.finish::<Sha256>(|signed| {
        assert_eq!(signed, state.signed);
        *state.mac
    })
}
