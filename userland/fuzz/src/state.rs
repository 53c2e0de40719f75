// SPDX-License-Identifier: GPL-2.0

//! The sealed state: whatever is well formed is written as it was read.
//!
//! The first byte chooses: bytes as they are, bytes whose length and anchor are made right first, as far
//! as they are there, or a state made of parts that mostly fit each other.

use crate::{
    first,
    reference,
    Input,
    Sha256, //
};
use engine::anchor;
use engine::clock::{
    ClaimedClock,
    NodeClock, //
};
use engine::evidence::{
    self,
    Evidence, //
};
use engine::limits;
use engine::quarantine::PAIRS;
use engine::quorum::{
    Verdict,
    MAX_TOTAL_WEIGHT, //
};
use engine::refusal::Refusal;
use engine::state::{
    State,
    StateWriter,
    Validator,
    MAX_BLOB, //
};
use engine::vote::{
    SignedVote,
    Vote,
    MAX_SIGNED, //
};
use engine::wire::{
    self,
    Digest, //
};

/// Where the anchor before stands, and then the anchor and the chain's head.
const PREVIOUS: usize = 12 + 32 + 8;

/// Runs the target.
pub fn run(data: &[u8]) {
    let (mode, bytes) = first(data);
    let mut bytes = match mode % 4 {
        0 | 1 => bytes.to_vec(),
        _ => assemble(Input::new(bytes)),
    };
    if mode % 4 != 0 {
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

/// The key of a number.
fn key(number: u8) -> [u8; 65] {
    let mut key = [number; 65];
    key[0] = 4;
    key
}

/// Makes a state of sections; a byte of one of them is changed, inserted or removed now and then.
fn assemble(mut input: Input<'_>) -> Vec<u8> {
    let edits = [
        (input.u8(), input.u8(), input.u8()),
        (input.u8(), input.u8(), input.u8()),
    ];
    let number = input.number();
    let mut head = [
        b"TCPLSTA1".as_slice(),
        &[0; 4],
        &[0x11; 32],
        &input.number().to_be_bytes(),
    ]
    .concat();
    head.extend([input.u8(); 96]);
    head.extend(number.to_be_bytes());
    head.extend([0; 8]);
    head.extend((u32::from(input.u8()) << (input.u8() % 20)).to_be_bytes());
    for _ in 0..2 {
        let blob = vec![7; usize::from(input.u8() & 3)];
        head.extend([&[0, blob.len() as u8][..], &blob].concat());
    }
    head.extend([1 + (input.u8() & 1), 0, 0, 6]);
    let slots: u128 = if input.bool() {
        u128::MAX
    } else {
        u128::from(input.u64())
    };
    let mut clock = [0; 4];
    clock.iter_mut().for_each(|entry| *entry = input.number());
    clock[0] = number;
    let mut sections = [
        b"policy".to_vec(),
        validators(&mut input),
        slots.to_be_bytes().to_vec(),
        counted(&clock),
        quarantine(&mut input),
        reputations(&mut input),
    ];
    for (kind, at, value) in edits {
        let section = &mut sections[usize::from(kind >> 2) % 6];
        let at = usize::from(at) % (section.len() + 1);
        match (kind & 3, section.get_mut(at)) {
            (1, Some(byte)) => *byte = value,
            (2, Some(_)) => drop(section.remove(at)),
            (3, _) => section.insert(at, value),
            _ => {}
        }
    }
    let mut state = head;
    for (tag, section) in (1u16..).zip(sections) {
        state.extend(tag.to_be_bytes());
        state.extend([0; 2]);
        state.extend((section.len() as u32).to_be_bytes());
        state.extend(section);
    }
    state.extend([0x99; 32]);
    state
}

/// An encoded clock with its number of entries.
fn counted(entries: &[u64]) -> Vec<u8> {
    let clock = reference::encode(entries);
    [&((clock.len() / 10) as u16).to_be_bytes()[..], &clock].concat()
}

fn validators(input: &mut Input<'_>) -> Vec<u8> {
    let count = input.below(5);
    let (mut items, mut slot) = (Vec::new(), 0u16);
    for _ in 0..count {
        slot += u16::from(input.u8() % 40);
        let number = input.u8() & 7;
        items.extend(slot.to_be_bytes());
        items.extend((input.number() as u32).to_be_bytes());
        items.extend([1, b'a' + (input.u8() & 7)]);
        items.extend(key(number));
        items.extend([0; 8]);
        items.extend(counted(&[0, u64::from(input.u8() & 3)]));
    }
    [&(count as u16).to_be_bytes()[..], &items].concat()
}

fn quarantine(input: &mut Input<'_>) -> Vec<u8> {
    let count = input.below(4);
    let (mut items, mut slot) = (Vec::new(), 0u16);
    for _ in 0..count {
        slot += u16::from(input.u8() % 40);
        let key = key(input.u8() & 7);
        let pairs = input.u8() % 6;
        let quarantined = input.u8() & 3 != 0;
        items.extend(Sha256::sha256(&[&key]));
        items.extend(slot.to_be_bytes());
        items.extend([2 - u8::from(quarantined), pairs]);
        for _ in 0..pairs {
            items.extend([input.u8() & 7; 40]);
        }
        items.extend(input.number().to_be_bytes());
        let proof = if quarantined || input.u8() == 1 {
            proof(&key)
        } else {
            Vec::new()
        };
        items.extend((proof.len() as u16).to_be_bytes());
        items.extend(proof);
    }
    [&(count as u16).to_be_bytes()[..], &items].concat()
}

fn reputations(input: &mut Input<'_>) -> Vec<u8> {
    let count = input.below(4);
    let (mut items, mut slot) = (Vec::new(), 0u16);
    for _ in 0..count {
        slot += u16::from(input.u8() % 40);
        items.extend(slot.to_be_bytes());
        items.extend((u16::from(input.u8() % 102) * 100).to_be_bytes());
        items.extend([0, input.u8() % 17]);
        items.extend([input.u8() & 1; 16]);
    }
    [&(count as u16).to_be_bytes()[..], &items].concat()
}

/// Evidence against a key.
fn proof(key: &[u8; 65]) -> Vec<u8> {
    let validator = Sha256::sha256(&[key]);
    let clock = reference::encode(&[1, 1]);
    let vote = |verdict| {
        let vote = Vote {
            node: &[0x11; 32],
            epoch: 1,
            request: &[0x55; 32],
            validator: &validator,
            verdict,
            slot: 1,
            expires_ms: 1,
            reason_digest: &[0; 32],
            clock: ClaimedClock::decode(&clock).unwrap(),
        };
        let mut out = [0; MAX_SIGNED];
        let len = vote.encode_signed(&mut out).unwrap();
        out[..len].to_vec()
    };
    let (one, two) = (vote(Verdict::Approve), vote(Verdict::Deny));
    let signature = [0x30, 6, 2, 1, 1, 2, 1, 1];
    let [one, two] = [&one, &two].map(|signed| SignedVote::decode(signed, &signature).unwrap());
    let mut out = [0; evidence::MAX_LEN];
    let len = evidence::encode::<Sha256>(key, &one, &two, &mut out).unwrap();
    out[..len].to_vec()
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
    let used = |slot: u16| (state.slots >> (slot - 1)) & 1 != 0;
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
