// SPDX-License-Identifier: GPL-2.0

//! Sealed states: round trips, each field judged by itself, and states that are torn or hostile.

mod support;

use engine::anchor::Position;
use engine::clock::SLOTS;
use engine::evidence::Evidence;
use engine::governance::Mode;
use engine::limits::{
    EVIDENCE,
    POLICY_TEXT,
    VALIDATORS, //
};
use engine::quarantine::Record;
use engine::refusal::Refusal;
use engine::reputation;
use engine::state::{
    Head,
    Kept,
    State,
    StateWriter,
    Validator,
    MAC_LEN,
    MAX_BLOB,
    MAX_LEN, //
};
use engine::wire::{
    Digest,
    Error, //
};
use proptest::prelude::*;
use support::{
    entries,
    forged_evidence,
    mac,
    node_clock,
    Key,
    Member,
    Sample,
    Sha256,
    NODE,
    STATE_KEY, //
};

/// The sections of a state, with tags and values that no state has if a test wants so.
type Sections = Vec<(u16, u16, Vec<u8>)>;

/// Clock entries and their number.
fn counted(list: &[(u16, u64)]) -> Vec<u8> {
    let count = u16::try_from(list.len()).unwrap();
    [&count.to_be_bytes()[..], &entries(list)].concat()
}

/// A validator as the document has it.
fn member(member: &Member) -> Vec<u8> {
    [
        &member.slot.to_be_bytes()[..],
        &member.weight.to_be_bytes(),
        &[u8::try_from(member.name.len()).unwrap()],
        member.name.as_bytes(),
        &member.key,
        &member.accepted.to_be_bytes(),
        &counted(&member.clock),
    ]
    .concat()
}

/// The section VALIDATORS as the document has it.
fn members(list: &[Member]) -> Vec<u8> {
    let count = u16::try_from(list.len()).unwrap();
    list.iter()
        .fold(count.to_be_bytes().to_vec(), |mut bytes, one| {
            bytes.extend(member(one));
            bytes
        })
}

fn sections(sample: &Sample) -> Sections {
    vec![
        (1, 0, sample.policy.clone()),
        (2, 0, members(&sample.members)),
        (3, 0, sample.slots.to_be_bytes().to_vec()),
        (4, 0, counted(&sample.clock)),
        (5, 0, quarantine(sample)),
        (6, 0, reputations(sample)),
    ]
}

/// A record of a quarantine as the document has it.
fn record(record: &Record, evidence: &[u8]) -> Vec<u8> {
    let mut bytes = [
        &record.validator()[..],
        &record.slot().to_be_bytes(),
        &[record.standing() as u8],
        &[u8::try_from(record.pairs().len()).unwrap()],
    ]
    .concat();
    for pair in record.pairs() {
        bytes.extend(pair.node);
        bytes.extend(pair.entry.to_be_bytes());
    }
    bytes.extend(record.number().to_be_bytes());
    bytes.extend(u16::try_from(evidence.len()).unwrap().to_be_bytes());
    bytes.extend(evidence);
    bytes
}

/// The section QUARANTINE as the document has it.
fn quarantine(sample: &Sample) -> Vec<u8> {
    let count = u16::try_from(sample.quarantine.len()).unwrap();
    let list = sample.quarantine.iter();
    list.fold(
        count.to_be_bytes().to_vec(),
        |mut bytes, (one, evidence)| {
            bytes.extend(record(one, evidence));
            bytes
        },
    )
}

/// The section REPUTATION as the document has it.
fn reputations(sample: &Sample) -> Vec<u8> {
    let count = u16::try_from(sample.reputations.len()).unwrap();
    let list = sample.reputations.iter();
    list.fold(count.to_be_bytes().to_vec(), |mut bytes, (slot, kept)| {
        bytes.extend(slot.to_be_bytes());
        bytes.extend(kept.score.to_be_bytes());
        bytes.extend(kept.bias.to_be_bytes());
        bytes.extend(kept.agreed.to_be_bytes());
        bytes.extend(kept.disagreed.to_be_bytes());
        bytes
    })
}

/// A state written by the document and without the engine, around any sections.
fn by_hand(sample: &Sample, sections: &Sections) -> Vec<u8> {
    let blob = |bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).unwrap();
        [&len.to_be_bytes()[..], bytes].concat()
    };
    let anchor = Sha256::sha256(&[&sample.previous, &sample.chain]);
    let mut bytes = [
        &b"TCPLSTA1"[..],
        &[0; 4],
        &NODE,
        &sample.counter.to_be_bytes(),
        &sample.previous,
        &anchor,
        &sample.chain,
        &sample.number.to_be_bytes(),
        &sample.wall_ms.to_be_bytes(),
        &sample.pcrs.to_be_bytes(),
        &blob(&sample.private),
        &blob(&sample.public),
        &[sample.mode as u8, 0],
        &u16::try_from(sections.len()).unwrap().to_be_bytes(),
    ]
    .concat();
    for (tag, reserved, value) in sections {
        bytes.extend(tag.to_be_bytes());
        bytes.extend(reserved.to_be_bytes());
        bytes.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend(value);
    }
    close(bytes)
}

/// Gives a body its length and its MAC.
fn close(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(bytes.len() + MAC_LEN).unwrap();
    bytes[8..12].copy_from_slice(&len.to_be_bytes());
    let mac = mac(&STATE_KEY, &bytes);
    bytes.extend(mac);
    bytes
}

fn error(bytes: &[u8]) -> Error {
    assert_eq!(
        State::decode::<Sha256>(bytes).map(|_| ()),
        Err(Refusal::StateMalformed)
    );
    State::parse::<Sha256>(bytes).unwrap_err()
}

/// Compares a decoded state with what went into it.
fn assert_is(bytes: &[u8], sample: &Sample) {
    let state = State::decode::<Sha256>(bytes).unwrap();
    let anchor = sample.anchor();
    assert_eq!(
        state.head,
        Head {
            node: &NODE,
            counter: sample.counter,
            previous: &sample.previous,
            anchor: &anchor,
            chain: &sample.chain,
            number: sample.number,
            wall_ms: sample.wall_ms,
            pcrs: sample.pcrs,
            private: &sample.private,
            public: &sample.public,
            mode: sample.mode,
        }
    );
    assert_eq!(
        state.head.position(),
        Position {
            counter: sample.counter,
            previous: sample.previous,
            anchor,
        }
    );
    assert_eq!(state.policy, sample.policy);
    assert_eq!(state.slots, sample.slots);
    assert_eq!(state.clock.as_bytes(), entries(&sample.clock));
    assert_eq!(usize::from(state.count()), sample.members.len());
    assert_eq!(state.validators().count(), sample.members.len());
    for (validator, member) in state.validators().zip(&sample.members) {
        assert_eq!(validator.record.slot, member.slot);
        assert_eq!(validator.record.weight, member.weight);
        assert_eq!(validator.record.name, member.name);
        assert_eq!(*validator.record.key, member.key);
        assert_eq!(validator.accepted, member.accepted);
        assert_eq!(validator.clock.as_bytes(), entries(&member.clock));
        // As a node loads it.
        let clock = node_clock(&member.clock);
        assert!(clock.iter().eq(validator.clock.iter()));
    }
    assert!(state
        .quarantine()
        .map(|kept| (kept.record, kept.evidence.to_vec()))
        .eq(sample.quarantine.iter().cloned()));
    assert!(state.reputations().eq(sample.reputations.iter().copied()));
    assert_eq!(state.signed, &bytes[..bytes.len() - 32]);
    assert_eq!(*state.mac, mac(&STATE_KEY, state.signed));
}

#[test]
fn a_state_round_trips_and_is_what_the_document_says() {
    let sample = Sample::new();
    let bytes = sample.encode().unwrap();
    assert_is(&bytes, &sample);
    assert_eq!(bytes, by_hand(&sample, &sections(&sample)));
    // The offsets of the document.
    assert_eq!(bytes[12..44], NODE);
    assert_eq!(bytes[44..52], sample.counter.to_be_bytes());
    assert_eq!(bytes[52..84], sample.previous);
    assert_eq!(bytes[84..116], sample.anchor());
    assert_eq!(bytes[116..148], sample.chain);
    assert_eq!(bytes[148..156], sample.number.to_be_bytes());
    assert_eq!(bytes[156..164], sample.wall_ms.to_be_bytes());
    assert_eq!(bytes[164..168], sample.pcrs.to_be_bytes());
    for len in 0..bytes.len() {
        assert_eq!(sample.encode_in(&mut vec![0; len]), Err(Error::NoSpace));
    }
    assert_eq!(sample.encode_in(&mut vec![0; bytes.len()]), Ok(bytes.len()));
}

/// As much of everything as there can be.
fn greatest() -> Sample {
    let clock: Vec<_> = (0..=128).map(|slot| (slot, u64::MAX)).collect();
    Sample {
        counter: u64::MAX,
        number: u64::MAX,
        wall_ms: u64::MAX,
        pcrs: (1 << 24) - 1,
        private: vec![1; MAX_BLOB],
        public: vec![2; MAX_BLOB],
        policy: vec![b'#'; POLICY_TEXT],
        members: (1..=128)
            .map(|slot: u8| {
                let mut key = [slot; 65];
                key[0] = 4;
                Member {
                    slot: slot.into(),
                    weight: u32::MAX / 128,
                    name: format!("{slot:0>32}"),
                    key,
                    accepted: u64::MAX,
                    clock: clock.clone(),
                }
            })
            .collect(),
        slots: u128::MAX,
        clock,
        quarantine: (1..=128u8).map(greatest_record).collect(),
        reputations: (1..=128)
            .map(|slot| {
                let kept = reputation::Kept {
                    score: 0,
                    bias: 15,
                    agreed: u64::MAX,
                    disagreed: u64::MAX,
                };
                (slot, kept)
            })
            .collect(),
        ..Sample::new()
    }
}

/// A quarantine with as many pairs as there can be, and the longest evidence, of the key that
/// [`greatest`] has in that slot.
fn greatest_record(slot: u8) -> (Record, Vec<u8>) {
    let mut key = [slot; 65];
    key[0] = 4;
    let validator = Sha256::sha256(&[&key]);
    let mut record = Record::new(&validator, slot.into(), u64::MAX);
    let mut cause = Vec::new();
    for node in 1u8..=3 {
        cause = forged_evidence(&[node; 32], &key, slot.into(), 129);
        record
            .readmit(
                &NODE,
                u64::MAX,
                &Evidence::decode::<Sha256>(&cause).unwrap(),
            )
            .unwrap();
        record.quarantine(slot.into(), u64::MAX);
    }
    (record, cause)
}

#[test]
fn the_greatest_state_fits() {
    let sample = greatest();
    let bytes = sample.encode().unwrap();
    assert_is(&bytes, &sample);
    assert_eq!(bytes, by_hand(&sample, &sections(&sample)));
    assert!(bytes.len() < MAX_LEN);
    // The forged signatures have eight bytes each.
    assert_eq!(sample.quarantine[0].1.len(), EVIDENCE - 2 * (72 - 8));
    assert_eq!(sample.quarantine[0].0.pairs().len(), 4);
    assert_eq!(sample.members.len(), VALIDATORS);
    assert_eq!(sample.clock.len(), SLOTS);
    // The sum of the weights may be just so great.
    let mut heavy = sample.clone();
    heavy.members[0].weight += 127;
    assert_is(&heavy.encode().unwrap(), &heavy);
    heavy.members[0].weight += 1;
    assert_eq!(heavy.encode(), Err(Error::Field("weight")));
    let mut wordy = sample.clone();
    wordy.policy.push(b'#');
    assert_eq!(wordy.encode(), Err(Error::Field("policy")));
    assert_eq!(
        error(&by_hand(&wordy, &sections(&wordy))),
        Error::Field("policy")
    );
}

#[test]
fn a_state_that_is_torn_anywhere_is_refused() {
    let bytes = Sample::new().encode().unwrap();
    for len in 0..bytes.len() {
        error(&bytes[..len]);
        // What was not written yet may be zeros, or what was there before.
        for rest in [0, 0xff] {
            let mut torn = bytes.clone();
            torn[len..].fill(rest);
            assert!(!authentic(&torn) || torn == bytes, "torn at {len}");
        }
    }
    for more in [&[0][..], &[0; 32], &bytes] {
        error(&[&bytes[..], more].concat());
    }
    // Two halves of different states.
    let newer = Sample {
        counter: 10,
        chain: [0xcc; 32],
        ..Sample::new()
    }
    .encode()
    .unwrap();
    assert_eq!(newer.len(), bytes.len());
    for at in 0..=bytes.len() {
        let mixed = [&bytes[..at], &newer[at..]].concat();
        assert_eq!(
            authentic(&mixed),
            mixed == bytes || mixed == newer,
            "mixed at {at}"
        );
    }
}

/// Whether a state is well formed and its MAC right.
fn authentic(bytes: &[u8]) -> bool {
    State::decode::<Sha256>(bytes).is_ok_and(|state| mac(&STATE_KEY, state.signed) == *state.mac)
}

#[test]
fn a_single_changed_bit_is_noticed() {
    let bytes = Sample::new().encode().unwrap();
    assert!(authentic(&bytes));
    let mut refused = 0;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            assert!(!authentic(&changed), "byte {at}, bit {bit}");
            refused += u32::from(State::decode::<Sha256>(&changed).is_err());
        }
    }
    // Most are found without the key, but not all: a version in the policy's text, say.
    assert!(refused > 100);
    assert!(refused < u32::try_from(bytes.len()).unwrap() * 8);
}

#[test]
fn each_field_of_the_head_is_judged() {
    type Spoil = fn(&mut Sample);
    let cases: [(Spoil, &str); 7] = [
        (|s| s.counter = 0, "counter"),
        (|s| s.pcrs = 1 << 24, "pcrs"),
        (|s| s.pcrs = u32::MAX, "pcrs"),
        (|s| s.private.clear(), "private"),
        (|s| s.private = vec![0; 1025], "private"),
        (|s| s.public.clear(), "public"),
        (|s| s.public = vec![0; 1025], "public"),
    ];
    for (spoil, field) in cases {
        let mut sample = Sample::new();
        spoil(&mut sample);
        assert_eq!(sample.encode(), Err(Error::Field(field)));
        assert_eq!(
            error(&by_hand(&sample, &sections(&sample))),
            Error::Field(field)
        );
    }
    let mut zero = Sample::new();
    zero.number = 0;
    zero.clock.remove(0);
    assert_eq!(zero.encode(), Err(Error::Field("number")));
    assert_eq!(
        error(&by_hand(&zero, &sections(&zero))),
        Error::Field("number")
    );
    // Without a PCR, and with the first counter of all.
    let least = Sample {
        counter: 1,
        pcrs: 0,
        previous: [0; 32],
        ..Sample::new()
    };
    assert_is(&least.encode().unwrap(), &least);
    let good = Sample::new().encode().unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut state = good.clone();
        state[at..at + bytes.len()].copy_from_slice(bytes);
        let body = state.len() - MAC_LEN;
        let mac = mac(&STATE_KEY, &state[..body]);
        state[body..].copy_from_slice(&mac);
        error(&state)
    };
    assert_eq!(with(0, b"TCPLSTA2"), Error::Magic);
    let len = u32::try_from(good.len()).unwrap();
    for wrong in [0, len - 1, len + 1, len - 32, u32::MAX] {
        assert_eq!(with(8, &wrong.to_be_bytes()), Error::Field("length"));
    }
    // The anchor is the digest of its parts, whichever of them changes.
    for at in [52, 84, 115, 116] {
        assert_eq!(with(at, &[1]), Error::Field("anchor"));
    }
    let mode = 168 + 2 + 41 + 2 + 21;
    for value in [0, 3] {
        assert_eq!(with(mode, &[value]), Error::Field("mode"));
    }
    assert_eq!(with(mode + 1, &[1]), Error::Reserved);
    for mode in [Mode::Permissive, Mode::Enforce] {
        let sample = Sample {
            mode,
            ..Sample::new()
        };
        assert_is(&sample.encode().unwrap(), &sample);
    }
}

#[test]
fn each_section_is_there_once_in_its_order() {
    let sample = Sample::new();
    let good = sections(&sample);
    let section = Error::Field("section");
    let number = Error::Field("number of sections");
    let mut cases: Vec<(Sections, Error)> = vec![(Vec::new(), number)];
    for at in 0..6 {
        let mut missing = good.clone();
        missing.remove(at);
        cases.push((missing, number));
        let mut twice = good.clone();
        twice.insert(at, good[at].clone());
        cases.push((twice, number));
        // In the place of another one.
        let mut replaced = good.clone();
        replaced[at] = good[(at + 1) % 6].clone();
        cases.push((replaced, section));
        let mut swapped = good.clone();
        swapped.swap(at, (at + 1) % 6);
        cases.push((swapped, section));
        for tag in [0, 7, u16::MAX] {
            let mut unknown = good.clone();
            unknown[at].0 = tag;
            cases.push((unknown, section));
        }
        let mut reserved = good.clone();
        reserved[at].1 = 1;
        cases.push((reserved, Error::Reserved));
    }
    let mut more = good.clone();
    more.push((7, 0, Vec::new()));
    cases.push((more, number));
    for at in 1..6 {
        let mut long = good.clone();
        long[at].2.push(0);
        cases.push((long, Error::Long));
    }
    for at in 1..6 {
        for len in 0..good[at].2.len() {
            let mut short = good.clone();
            short[at].2.truncate(len);
            assert!(State::parse::<Sha256>(&by_hand(&sample, &short)).is_err());
        }
    }
    for (list, wanted) in cases {
        assert_eq!(error(&by_hand(&sample, &list)), wanted);
    }
    // Something between the last section and the MAC.
    let body = by_hand(&sample, &good);
    let mut body = body[..body.len() - MAC_LEN].to_vec();
    body.push(0);
    assert_eq!(error(&close(body)), Error::Long);
}

#[test]
fn each_validator_is_judged() {
    type Spoil = fn(&mut Sample);
    let cases: [(Spoil, &str); 12] = [
        (|s| s.members.clear(), "number of validators"),
        (|s| s.members.swap(0, 1), "order of validators"),
        (|s| s.members[1].slot = 1, "order of validators"),
        (
            |s| s.members[1].name = s.members[0].name.clone(),
            "validator name",
        ),
        (|s| s.members[1].name = "a b".to_owned(), "validator name"),
        (|s| s.members[1].name.clear(), "validator name"),
        (|s| s.members[1].key = s.members[0].key, "public key"),
        (|s| s.members[1].key[0] = 2, "public key"),
        (|s| s.members[1].weight = 0, "weight"),
        (|s| s.members[1].weight = u32::MAX, "weight"),
        (|s| s.members[1].slot = 129, "slot"),
        (|s| s.members[0].slot = 0, "slot"),
    ];
    for (spoil, field) in cases {
        let mut sample = Sample::new();
        spoil(&mut sample);
        assert_eq!(sample.encode(), Err(Error::Field(field)));
        assert_eq!(
            error(&by_hand(&sample, &sections(&sample))),
            Error::Field(field)
        );
    }
    // One more than there can be.
    let mut crowded = greatest();
    crowded.members.push(crowded.members[127].clone());
    assert_eq!(
        error(&by_hand(&crowded, &sections(&crowded))),
        Error::Field("number of validators")
    );
    assert_eq!(crowded.encode(), Err(Error::Field("number of validators")));
    // A name that is not text at all.
    let sample = Sample::new();
    let mut list = sections(&sample);
    list[1].2[2 + 2 + 4 + 1] = 0xff;
    assert_eq!(
        error(&by_hand(&sample, &list)),
        Error::Field("validator name")
    );
    // More, or fewer, than are there.
    for (count, wanted) in [(1u16, Error::Long), (3, Error::Short)] {
        let mut list = sections(&sample);
        list[1].2[..2].copy_from_slice(&count.to_be_bytes());
        assert_eq!(error(&by_hand(&sample, &list)), wanted);
    }
}

#[test]
fn slots_cover_the_validators() {
    for (slots, good) in [
        (0b101, true),
        (0b111, true),
        (u128::MAX, true),
        (0, false),
        (0b100, false),
        (0b001, false),
        (u128::MAX ^ 1, false),
        (u128::MAX ^ 0b100, false),
    ] {
        let sample = Sample {
            slots,
            quarantine: Vec::new(),
            ..Sample::new()
        };
        assert_eq!(
            sample.encode().err(),
            (!good).then_some(Error::Field("slots"))
        );
        let found = State::parse::<Sha256>(&by_hand(&sample, &sections(&sample))).map(|_| ());
        assert_eq!(found.err(), (!good).then_some(Error::Field("slots")));
    }
    // The least significant bit is bit 0 of the last byte.
    let bytes = by_hand(&Sample::new(), &sections(&Sample::new()));
    let state = State::decode::<Sha256>(&bytes).unwrap();
    let mut list = sections(&Sample::new());
    list[2].2 = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7].to_vec();
    let bytes = by_hand(&Sample::new(), &list);
    let last = State::decode::<Sha256>(&bytes).unwrap();
    assert_eq!(last.slots ^ state.slots, 1 << 127);
}

#[test]
fn clocks_are_judged() {
    let number = Sample::new().number;
    for (clock, wanted) in [
        (&[][..], Error::Field("clock of the node")),
        (&[(1, 6)], Error::Field("clock of the node")),
        (&[(0, number + 1)], Error::Field("clock of the node")),
        (&[(0, number), (0, number)], Error::Field("clock slot")),
        (&[(1, 6), (0, number)], Error::Field("clock slot")),
        (&[(0, number), (129, 1)], Error::Field("clock slot")),
        (&[(0, number), (1, 0)], Error::Field("clock value")),
    ] {
        let sample = Sample::new();
        let mut list = sections(&sample);
        list[3].2 = counted(clock);
        assert_eq!(error(&by_hand(&sample, &list)), wanted);
    }
    for (clock, wanted) in [
        (&[(1, 0)][..], Error::Field("clock value")),
        (&[(2, 1), (1, 1)], Error::Field("clock slot")),
        (&[(129, 1)], Error::Field("clock slot")),
    ] {
        let mut sample = Sample::new();
        sample.members[0].clock = clock.to_vec();
        assert_eq!(error(&by_hand(&sample, &sections(&sample))), wanted);
    }
    let mut list = sections(&Sample::new());
    list[3].2[..2].copy_from_slice(&130u16.to_be_bytes());
    assert_eq!(
        error(&by_hand(&Sample::new(), &list)),
        Error::Field("clock entries")
    );
}

#[test]
fn each_quarantine_is_judged() {
    let good = Sample::new();
    let (alice, bob) = (good.quarantine[0].clone(), good.quarantine[1].clone());
    let cause = forged_evidence(&NODE, &Key::new("alice").public, 1, 2);
    let again = |slot| {
        let mut record = alice.0.clone();
        record.quarantine(slot, 5);
        record
    };
    let readmitted = |slot| {
        let mut record = again(slot);
        let cause = Evidence::decode::<Sha256>(&cause).unwrap();
        record.readmit(&NODE, 60, &cause).unwrap();
        record
    };
    let evidence = "evidence";
    let order = "order of quarantined validators";
    let slot = "quarantined slot";
    type Case = (Vec<(Record, Vec<u8>)>, &'static str);
    let cases: Vec<Case> = vec![
        // Evidence is there while it is needed, and not longer.
        (vec![(alice.0.clone(), cause.clone())], evidence),
        (vec![(bob.0.clone(), Vec::new())], evidence),
        (vec![(bob.0.clone(), bob.1[1..].to_vec())], evidence),
        (vec![(bob.0.clone(), [&bob.1[..], &[0]].concat())], evidence),
        // It is that of the validator.
        (vec![(bob.0.clone(), cause.clone())], evidence),
        (vec![(again(1), bob.1.clone())], evidence),
        // Order, and one slot for each.
        (vec![bob.clone(), alice.clone()], order),
        (vec![bob.clone(), bob.clone()], order),
        (vec![bob.clone(), (readmitted(2), Vec::new())], order),
        // One record for each.
        (
            vec![alice.clone(), (readmitted(2), Vec::new())],
            "quarantined validator",
        ),
        // A slot that was given out.
        (vec![(readmitted(4), Vec::new())], slot),
        (vec![(readmitted(128), Vec::new())], slot),
        // A slot that is another's, and an enrolled validator elsewhere.
        (
            vec![(Record::new(bob.0.validator(), 3, 5), bob.1.clone())],
            slot,
        ),
        (vec![(again(2), cause.clone())], slot),
        (vec![(again(3), cause.clone())], slot),
    ];
    for (number, (list, field)) in cases.into_iter().enumerate() {
        let sample = Sample {
            quarantine: list,
            ..good.clone()
        };
        assert_eq!(sample.encode(), Err(Error::Field(field)), "case {number}");
        assert_eq!(
            error(&by_hand(&sample, &sections(&sample))),
            Error::Field(field)
        );
    }
    for list in [
        vec![],
        vec![bob.clone()],
        vec![(again(1), cause.clone()), bob.clone()],
        vec![(readmitted(1), Vec::new()), bob.clone()],
        vec![(readmitted(2), Vec::new())],
    ] {
        let sample = Sample {
            quarantine: list,
            ..good.clone()
        };
        assert_is(&sample.encode().unwrap(), &sample);
    }
}

#[test]
fn each_byte_of_a_quarantine_is_judged() {
    let sample = Sample::new();
    let good = sections(&sample);
    let with = |at: usize, bytes: &[u8]| {
        let mut list = good.clone();
        list[4].2[at..at + bytes.len()].copy_from_slice(bytes);
        error(&by_hand(&sample, &list))
    };
    // Of alice, who was readmitted with two pairs: validator, slot, standing, number of pairs.
    let at = 2 + 32;
    assert_eq!(with(at, &[0, 0]), Error::Field("quarantined slot"));
    assert_eq!(with(at, &[0, 129]), Error::Field("quarantined slot"));
    for standing in [0, 3, 255] {
        assert_eq!(with(at + 2, &[standing]), Error::Field("standing"));
    }
    assert_eq!(with(at + 2, &[1]), Error::Field("evidence"));
    assert_eq!(sample.quarantine[0].0.pairs().len(), 2);
    for count in [5, 255] {
        assert!(matches!(
            with(at + 3, &[count]),
            Error::Field("number of pairs" | "pairs") | Error::Short
        ));
    }
    // Two pairs of one node.
    assert_eq!(with(at + 4 + 40, &NODE), Error::Field("pairs"));
    // Number and length of the evidence.
    assert_eq!(
        with(at + 4 + 80, &[0; 8]),
        Error::Field("quarantined number")
    );
    assert_eq!(
        with(at + 4 + 88, &1u16.to_be_bytes()),
        Error::Field("evidence")
    );
    assert_eq!(with(at + 4 + 88, &[0xff; 2]), Error::Short);
    // A readmission without any pair.
    let mut list = good.clone();
    list[4].2[at + 3] = 0;
    list[4].2.drain(at + 4..at + 84);
    assert_eq!(error(&by_hand(&sample, &list)), Error::Field("pairs"));
    // More than there can be, more than are there, and fewer.
    assert_eq!(
        with(0, &129u16.to_be_bytes()),
        Error::Field("number of quarantined validators")
    );
    assert_eq!(with(0, &3u16.to_be_bytes()), Error::Short);
    assert_eq!(with(0, &1u16.to_be_bytes()), Error::Long);
    assert_eq!(with(0, &0u16.to_be_bytes()), Error::Long);
    // Five pairs.
    let mut list = good.clone();
    let mut five = sample.quarantine[0].0.validator().to_vec();
    five.extend([0, 1, 2, 5]);
    for node in 0u8..5 {
        five.extend([node; 32]);
        five.extend([0; 8]);
    }
    five.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0]);
    list[4].2 = [&[0, 1][..], &five].concat();
    assert_eq!(
        error(&by_hand(&sample, &list)),
        Error::Field("number of pairs")
    );
}

#[test]
fn each_reputation_is_judged() {
    let kept = Sample::new().reputations[0].1;
    let slot = Error::Field("slot of a reputation");
    for (list, wanted) in [
        (vec![(1, kept), (1, kept)], slot),
        (vec![(3, kept), (1, kept)], slot),
        (vec![(2, kept)], slot),
        (vec![(0, kept)], slot),
        (vec![(129, kept)], slot),
        (vec![(1, kept), (3, kept), (3, kept)], slot),
    ] {
        let sample = Sample {
            reputations: list,
            ..Sample::new()
        };
        assert_eq!(sample.encode(), Err(wanted));
        assert_eq!(error(&by_hand(&sample, &sections(&sample))), wanted);
    }
    // A score beyond its range, and a reputation that is as at first.
    let sample = Sample::new();
    let good = sections(&sample);
    let with = |at: usize, bytes: &[u8]| {
        let mut list = good.clone();
        list[5].2[at..at + bytes.len()].copy_from_slice(bytes);
        error(&by_hand(&sample, &list))
    };
    assert_eq!(with(0, &2u16.to_be_bytes()), Error::Short);
    assert_eq!(with(0, &0u16.to_be_bytes()), Error::Long);
    assert!(matches!(with(4, &10_001u16.to_be_bytes()), Error::Field(_)));
    let pristine = Sample {
        reputations: vec![(1, reputation::Kept::PRISTINE), (3, kept)],
        ..Sample::new()
    };
    assert_eq!(
        error(&by_hand(&pristine, &sections(&pristine))),
        Error::Field("reputation")
    );
    // A writer leaves it out.
    let wanted = Sample {
        reputations: vec![(3, kept)],
        ..Sample::new()
    };
    assert_is(&pristine.encode().unwrap(), &wanted);
    for list in [vec![], vec![(1, kept), (3, kept)]] {
        let sample = Sample {
            reputations: list,
            ..Sample::new()
        };
        assert_is(&sample.encode().unwrap(), &sample);
    }
}

#[test]
fn a_writer_keeps_the_order() {
    let sample = Sample::new();
    let anchor = sample.anchor();
    let head = Head {
        node: &NODE,
        counter: sample.counter,
        previous: &sample.previous,
        anchor: &anchor,
        chain: &sample.chain,
        number: sample.number,
        wall_ms: sample.wall_ms,
        pcrs: sample.pcrs,
        private: &sample.private,
        public: &sample.public,
        mode: sample.mode,
    };
    let clock = node_clock(&sample.clock);
    let none: [Validator<'_, &engine::clock::NodeClock>; 0] = [];
    let section = Err(Error::Field("section"));
    let mut buf = vec![0; 4096];
    let mut writer = StateWriter::begin::<Sha256>(&mut buf, &head).unwrap();
    assert_eq!(writer.validators(none), section);
    assert_eq!(writer.slots(0), section);
    assert_eq!(writer.clock(&clock), section);
    assert_eq!(writer.quarantine(None::<Kept<'_>>), section);
    assert_eq!(writer.reputation([]), section);
    assert_eq!(writer.policy(&sample.policy), Ok(()));
    assert_eq!(writer.policy(&sample.policy), section);
    assert_eq!(writer.slots(0), section);
    // An end in the middle is no state.
    assert!(writer.finish::<Sha256>(|_| [0; 32]).is_err());
    // Neither is one with the anchor of another head.
    let other = Head {
        chain: &[1; 32],
        ..head
    };
    assert_eq!(
        StateWriter::begin::<Sha256>(&mut buf, &other).map(|_| ()),
        Err(Error::Field("anchor"))
    );
}

#[test]
fn what_is_longer_than_a_state_is_refused_at_once() {
    let bytes = vec![0; MAX_LEN + 1];
    assert_eq!(error(&bytes), Error::Field("length"));
    assert_eq!(error(&bytes[..MAX_LEN]), Error::Magic);
    for len in 0..32 {
        assert_eq!(error(&bytes[..len]), Error::Short);
    }
}

/// A state with any values that it may have.
fn any_sample() -> impl Strategy<Value = Sample> {
    let clock = || proptest::collection::btree_map(1u16..129, 1u64.., 0..6);
    let person = (
        1u32..1000,
        any::<[u8; 32]>(),
        any::<u64>(),
        clock(),
        "[A-Za-z0-9._-]{1,28}",
    );
    (
        (
            any::<[[u8; 32]; 2]>(),
            1u64..,
            1u64..,
            any::<u64>(),
            0u32..1 << 24,
            any::<bool>(),
        ),
        (
            proptest::collection::vec(any::<u8>(), 1..60),
            proptest::collection::vec(any::<u8>(), 1..60),
            proptest::collection::vec(any::<u8>(), 0..200),
        ),
        proptest::collection::btree_map(1u16..129, person, 1..6),
        any::<u128>(),
        clock(),
    )
        .prop_map(|(numbers, blobs, people, slots, clock)| {
            let ([previous, chain], counter, number, wall_ms, pcrs, enforce) = numbers;
            let mut used = slots;
            let members = people
                .into_iter()
                .map(|(slot, (weight, secret, accepted, clock, name))| {
                    used |= 1 << (slot - 1);
                    let mut key = [4; 65];
                    key[1..33].copy_from_slice(&secret);
                    key[33..35].copy_from_slice(&slot.to_be_bytes());
                    Member {
                        slot,
                        weight,
                        // The slot keeps it apart from the others.
                        name: format!("{name}-{slot}"),
                        key,
                        accepted,
                        clock: clock.into_iter().collect(),
                    }
                })
                .collect();
            Sample {
                counter,
                previous,
                chain,
                number,
                wall_ms,
                pcrs,
                private: blobs.0,
                public: blobs.1,
                mode: if enforce {
                    Mode::Enforce
                } else {
                    Mode::Permissive
                },
                policy: blobs.2,
                members,
                slots: used,
                clock: [(0, number)].into_iter().chain(clock).collect(),
                quarantine: Vec::new(),
                reputations: Vec::new(),
            }
        })
}

/// Where the lengths and numbers of the sample state stand, and how many bytes they have.
fn lengths() -> Vec<(usize, usize)> {
    let sample = Sample::new();
    let private = 168;
    let public = private + 2 + sample.private.len();
    let number = public + 2 + sample.public.len() + 2;
    let mut list = vec![(8, 4), (private, 2), (public, 2), (number, 2)];
    let mut at = number + 2;
    for (tag, _, value) in sections(&sample) {
        list.push((at + 4, 4));
        at += 8;
        match tag {
            2 => {
                list.push((at, 2));
                let name = at + 2 + 2 + 4;
                list.push((name, 1));
                list.push((name + 1 + sample.members[0].name.len() + 65 + 8, 2));
            }
            4..=6 => list.push((at, 2)),
            _ => {}
        }
        at += value.len();
    }
    list
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_state_round_trips(sample in any_sample()) {
        let mut buf = vec![0; 65536];
        let len = sample.encode_in(&mut buf).unwrap();
        assert_is(&buf[..len], &sample);
        prop_assert_eq!(&buf[..len], &by_hand(&sample, &sections(&sample))[..]);
    }

    #[test]
    fn hostile_lengths_are_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u32>(), 0u32..32), 1..4),
    ) {
        let bytes = Sample::new().encode().unwrap();
        let places = lengths();
        let mut hostile = bytes.clone();
        for (place, value, shift) in changes {
            let (at, width) = places[place.index(places.len())];
            // Great and small numbers alike.
            let value = (value >> shift).to_be_bytes();
            hostile[at..at + width].copy_from_slice(&value[4 - width..]);
        }
        prop_assert_eq!(State::decode::<Sha256>(&hostile).is_ok(), hostile == bytes);
    }

    #[test]
    fn arbitrary_changes_never_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let bytes = Sample::new().encode().unwrap();
        let mut changed = bytes.clone();
        for (at, value) in changes {
            changed[at.index(bytes.len())] = value;
        }
        if let Some(cut) = cut {
            changed.truncate(cut.index(bytes.len()));
        }
        if let Ok(state) = State::decode::<Sha256>(&changed) {
            prop_assert_eq!(state.validators().count(), usize::from(state.count()));
            prop_assert_eq!(authentic(&changed), changed == bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        error(&bytes);
        error(&[&b"TCPLSTA1"[..], &bytes].concat());
    }
}
