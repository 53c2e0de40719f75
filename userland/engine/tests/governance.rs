// SPDX-License-Identifier: GPL-2.0

//! Details of governance requests, and records of validators.

mod support;

use engine::governance::{
    Detail,
    Mode,
    ValidatorRecord,
    KEY_LEN,
    MAX_DETAIL,
    MAX_VALIDATOR_RECORD, //
};
use engine::name::is_name;
use engine::op::Op;
use engine::refusal::Refusal;
use engine::wire::Error;
use proptest::prelude::*;
use support::hex;

const KEY: [u8; KEY_LEN] = [4; KEY_LEN];

fn detail(detail: &Detail<'_>) -> Vec<u8> {
    let mut out = [0; MAX_DETAIL];
    let len = detail.encode(&mut out).unwrap();
    out[..len].to_vec()
}

fn details() -> [Detail<'static>; 7] {
    [
        Detail::AddValidator {
            weight: 3,
            name: "alice",
            key: &KEY,
        },
        Detail::RemoveValidator { name: "bob" },
        Detail::Mode(Mode::Permissive),
        Detail::Mode(Mode::Enforce),
        Detail::Unload,
        Detail::Recover {
            reason: Refusal::StateOlder.code(),
            state: 5,
            found: 9,
        },
        Detail::ReadmitValidator { name: "bob" },
    ]
}

#[test]
fn details_round_trip_and_refuse_every_other_length() {
    for value in details() {
        let op = value.op();
        let mut bytes = detail(&value);
        assert_eq!(Detail::decode(op, &bytes), Ok(value));
        for len in 0..bytes.len() {
            assert!(Detail::decode(op, &bytes[..len]).is_err());
            assert_eq!(value.encode(&mut vec![0; len]), Err(Error::NoSpace));
        }
        bytes.push(0);
        assert_eq!(Detail::decode(op, &bytes), Err(Error::Long));
    }
}

#[test]
fn a_detail_belongs_to_its_operation() {
    for op in Op::ALL {
        for value in details() {
            let bytes = detail(&value);
            assert_eq!(Detail::decode(op, &bytes).is_ok(), {
                // MODE 1 and UNLOAD are the same byte.
                op == value.op()
                    || (op == Op::Unload && bytes == [1])
                    || (op == Op::Mode && bytes == [1])
            });
        }
    }
    assert_eq!(
        Detail::decode(Op::Policy, &[1]),
        Err(Error::Field("operation"))
    );
}

#[test]
fn each_field_of_a_detail_is_judged() {
    let add = detail(&details()[0]);
    let remove = detail(&details()[1]);
    let changed = |base: &[u8], at: usize, byte: u8| {
        let mut bytes = base.to_vec();
        bytes[at] = byte;
        Detail::decode(Op::Validator, &bytes).map(|_| ())
    };
    assert_eq!(changed(&add, 0, 0), Err(Error::Field("action")));
    assert_eq!(changed(&add, 0, 4), Err(Error::Field("action")));
    assert_eq!(changed(&add, 4, 0), Err(Error::Field("weight")));
    assert_eq!(changed(&add, 6, b'/'), Err(Error::Field("validator name")));
    assert_eq!(changed(&add, 6, 0xff), Err(Error::Field("validator name")));
    assert_eq!(changed(&add, 11, 2), Err(Error::Field("public key")));
    let readmit = detail(&details()[6]);
    for named in [&remove, &readmit] {
        assert_eq!(changed(named, 4, 1), Err(Error::Field("weight")));
        assert_eq!(changed(named, 9, 4), Err(Error::Field("public key")));
        assert_eq!(changed(named, 73, 4), Err(Error::Field("public key")));
    }
    // The two differ in the action only, and what enrols is neither.
    assert_eq!((remove[0], readmit[0]), (2, 3));
    assert_eq!(remove[1..], readmit[1..]);
    for action in [2, 3] {
        assert_eq!(changed(&add, 0, action), Err(Error::Field("weight")));
    }
    for byte in [0, 3, 255] {
        assert_eq!(Detail::decode(Op::Mode, &[byte]), Err(Error::Field("mode")));
    }
    for byte in [0, 2, 255] {
        assert_eq!(
            Detail::decode(Op::Unload, &[byte]),
            Err(Error::Field("unload"))
        );
    }
    let recover = detail(&details()[5]);
    assert_eq!(
        hex(&recover),
        "0049".to_owned() + "0000000000000005" + "0000000000000009"
    );
    for reason in [0u16, 103, u16::MAX] {
        let bytes = [&reason.to_be_bytes(), &recover[2..]].concat();
        assert_eq!(
            Detail::decode(Op::Recover, &bytes),
            Err(Error::Field("reason"))
        );
    }
    let mut out = [0; MAX_DETAIL];
    for (bad, field) in [
        (
            Detail::AddValidator {
                weight: 0,
                name: "a",
                key: &KEY,
            },
            "weight",
        ),
        (
            Detail::AddValidator {
                weight: 1,
                name: "",
                key: &KEY,
            },
            "validator name",
        ),
        (
            Detail::AddValidator {
                weight: 1,
                name: "a",
                key: &[0; KEY_LEN],
            },
            "public key",
        ),
        (Detail::RemoveValidator { name: "a b" }, "validator name"),
        (Detail::ReadmitValidator { name: "" }, "validator name"),
        (
            Detail::Recover {
                reason: 0,
                state: 1,
                found: 1,
            },
            "reason",
        ),
    ] {
        assert_eq!(bad.encode(&mut out), Err(Error::Field(field)));
    }
}

#[test]
fn validator_records_round_trip_and_each_field_is_judged() {
    let good = ValidatorRecord {
        slot: 128,
        weight: u32::MAX,
        name: "a-name_of.exactly-32-characters.",
        key: &KEY,
    };
    let mut out = [0; MAX_VALIDATOR_RECORD];
    assert_eq!(good.encode(&mut out), Ok(MAX_VALIDATOR_RECORD));
    assert_eq!(ValidatorRecord::decode(&out), Ok(good));
    for len in 0..out.len() {
        assert_eq!(ValidatorRecord::decode(&out[..len]), Err(Error::Short));
        assert_eq!(good.encode(&mut vec![0; len]), Err(Error::NoSpace));
    }
    assert_eq!(
        ValidatorRecord::decode(&[&out[..], &[0]].concat()),
        Err(Error::Long)
    );
    let mut buf = out;
    for (bad, field) in [
        (ValidatorRecord { slot: 0, ..good }, "slot"),
        (ValidatorRecord { slot: 129, ..good }, "slot"),
        (ValidatorRecord { weight: 0, ..good }, "weight"),
        (ValidatorRecord { name: "", ..good }, "validator name"),
        (
            ValidatorRecord {
                name: "a-name-of-exactly-33-characters..",
                ..good
            },
            "validator name",
        ),
        (
            ValidatorRecord {
                key: &[3; KEY_LEN],
                ..good
            },
            "public key",
        ),
    ] {
        assert_eq!(bad.encode(&mut buf), Err(Error::Field(field)));
    }
    for (range, bytes, field) in [
        (0..2, &[0, 0][..], "slot"),
        (0..2, &[0, 129], "slot"),
        (2..6, &[0, 0, 0, 0], "weight"),
        (7..8, b"/", "validator name"),
        (39..40, &[2], "public key"),
    ] {
        let mut bad = out;
        bad[range].copy_from_slice(bytes);
        assert_eq!(ValidatorRecord::decode(&bad), Err(Error::Field(field)));
    }
}

#[test]
fn modes_have_their_numbers() {
    for value in 0..=u8::MAX {
        let mode = Mode::from_u8(value);
        assert_eq!(
            mode.map(|m| m as u8),
            (1..=2).contains(&value).then_some(value)
        );
    }
    assert_eq!(Mode::Permissive.name(), "permissive");
    assert_eq!(Mode::Enforce.name(), "enforce");
}

proptest! {
    #[test]
    fn any_validator_round_trips(
        slot in 1u16..=128,
        weight in 1u32..,
        name in "[A-Za-z0-9._-]{1,32}",
        mut key in proptest::collection::vec(any::<u8>(), KEY_LEN),
    ) {
        key[0] = 4;
        let key: [u8; KEY_LEN] = key.try_into().unwrap();
        let record = ValidatorRecord { slot, weight, name: &name, key: &key };
        let mut out = [0; MAX_VALIDATOR_RECORD];
        let len = record.encode(&mut out).unwrap();
        prop_assert_eq!(ValidatorRecord::decode(&out[..len]), Ok(record));
        for value in [
            Detail::AddValidator { weight, name: &name, key: &key },
            Detail::RemoveValidator { name: &name },
            Detail::ReadmitValidator { name: &name },
        ] {
            let bytes = detail(&value);
            prop_assert_eq!(Detail::decode(Op::Validator, &bytes), Ok(value));
        }
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..120),
        name in "\\PC{0,40}",
    ) {
        for op in Op::ALL {
            if let Ok(value) = Detail::decode(op, &bytes) {
                prop_assert_eq!(detail(&value), &bytes[..]);
            }
        }
        if let Ok(record) = ValidatorRecord::decode(&bytes) {
            prop_assert!(is_name(record.name.as_bytes()));
        }
        let mut out = [0; MAX_DETAIL];
        let remove = Detail::RemoveValidator { name: &name };
        prop_assert_eq!(remove.encode(&mut out).is_ok(), is_name(name.as_bytes()));
    }
}
