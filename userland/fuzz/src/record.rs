// SPDX-License-Identifier: GPL-2.0

//! Small records: details of governance requests, validators, reputations, rules of the watch.
//!
//! The first byte says which.

use crate::first;
use engine::governance::{
    Detail,
    ValidatorRecord,
    MAX_DETAIL,
    MAX_VALIDATOR_RECORD, //
};
use engine::name::is_name;
use engine::op::Op;
use engine::policy::Adaptive;
use engine::reputation::Kept;
use engine::watch::Rules;
use engine::wire::{
    Reader,
    Writer, //
};

/// Runs the target.
pub fn run(data: &[u8]) {
    let (kind, bytes) = first(data);
    match usize::from(kind) {
        op if op < Op::COUNT => detail(Op::ALL[op], bytes),
        0x80..=0x8f => validator(bytes),
        0x90..=0x9f => kept(bytes),
        0xa0..=0xaf => rules(bytes),
        _ => draw(bytes),
    }
}

fn detail(op: Op, bytes: &[u8]) {
    let Ok(detail) = Detail::decode(op, bytes) else {
        return;
    };
    assert_eq!(detail.op(), op);
    let mut out = [0; MAX_DETAIL];
    let len = detail.encode(&mut out).unwrap();
    assert_eq!(out[..len], *bytes);
    assert!(detail.encode(&mut out[..len - 1]).is_err());
    assert!(Detail::decode(op, &bytes[..len - 1]).is_err());
    if let Detail::AddValidator { weight, name, key } = detail {
        assert!(weight != 0 && is_name(name.as_bytes()) && key[0] == 4);
    }
}

fn validator(bytes: &[u8]) {
    let Ok(record) = ValidatorRecord::decode(bytes) else {
        return;
    };
    assert!((1..=128).contains(&record.slot) && record.weight != 0 && record.key[0] == 4);
    assert!(is_name(record.name.as_bytes()));
    let mut out = [0; MAX_VALIDATOR_RECORD];
    let len = record.encode(&mut out).unwrap();
    assert_eq!(out[..len], *bytes);
    assert!(record.encode(&mut out[..len - 1]).is_err());
}

/// Appends, and compares with what was taken.
fn same(bytes: &[u8], rest: &[u8], put: impl Fn(&mut Writer<'_>) -> engine::wire::Result) {
    let taken = &bytes[..bytes.len() - rest.len()];
    let mut buffer = [0; 32];
    let mut out = Writer::new(&mut buffer);
    put(&mut out).unwrap();
    assert_eq!(out.written(), taken);
    assert!(put(&mut Writer::new(&mut buffer[..taken.len() - 1])).is_err());
}

fn kept(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let Ok(kept) = Kept::take(&mut reader) else {
        return;
    };
    assert!(kept.score <= 10_000 && kept.score % 100 == 0 && kept.bias < 16);
    same(bytes, reader.rest(), |out| kept.put(out));
}

fn rules(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    let Ok(rules) = Rules::take(&mut reader) else {
        return;
    };
    same(bytes, reader.rest(), |out| rules.put(out));
    for base in [5001, 7500, 10_000] {
        let raised = rules.raised(base);
        assert!(raised >= base && raised <= base.max(rules.ceiling_bp));
    }
}

/// What chance leaves of a policy fits it, and can be read again.
fn draw(bytes: &[u8]) {
    let mut input = crate::Input::new(bytes);
    let policy = Adaptive {
        floor_bp: 5001,
        ceiling_bp: 5001 + input.u16() % 5000,
        raise_bp: input.u16() % 5000,
        missing_bp: 1 + input.u16() % 10_000,
        silence_s: 1 + input.u32() % Adaptive::SILENCE_MAX_S,
        burst: 1 + input.u16() % 64,
        within_s: 1 + input.u32() % Adaptive::WITHIN_MAX_S,
        quiet_s: 1 + input.u32() % Adaptive::QUIET_MAX_S,
        jitter_bp: input.u16() % 10_001,
    };
    let rules = Rules::draw(&policy, [input.u32(), input.u32(), input.u32()]);
    assert!(rules.fits(&policy));
    let mut buffer = [0; Rules::LEN];
    rules.put(&mut Writer::new(&mut buffer)).unwrap();
    assert_eq!(Rules::take(&mut Reader::new(&buffer)), Ok(rules));
}
