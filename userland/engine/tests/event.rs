// SPDX-License-Identifier: GPL-2.0

//! Events: round trips, and each field and payload judged by itself.

mod support;

use engine::clock::ClaimedClock;
use engine::event::{
    Event,
    Header,
    Kind,
    Payload,
    SealedBy,
    Tally,
    HEADER_LEN,
    MAX_PATH, //
};
use engine::governance::ValidatorRecord;
use engine::op::Op;
use engine::quorum::Verdict;
use engine::reputation::Kept;
use engine::request::{
    self,
    MAX_LEN, //
};
use engine::watch::Rules;
use engine::wire::Error;
use proptest::prelude::*;
use support::{
    record,
    signed,
    Key,
    POLICY,
    REQUEST, //
};

const DOCUMENT: &str = include_str!("../../../Documentation/wire-format.rst");

#[test]
fn what_seals_a_node_has_a_name() {
    assert_eq!(SealedBy::Nothing.name(), "unsealed");
    assert_eq!(SealedBy::Tpm.name(), "tpm");
}

fn header() -> Header {
    Header {
        number: 40,
        boot_ms: 1_000_000,
        wall_ms: 1_767_225_600_000,
        kind: Kind::Refused,
        op: Some(Op::Exec),
        uid: 1000,
        agent: 5,
        request: REQUEST,
        slot: 2,
        result: 13,
        line: 12,
    }
}

fn encode(event: &Event<'_>) -> Vec<u8> {
    let mut out = vec![0; 10_000];
    let len = event.encode(&mut out).unwrap();
    out.truncate(len);
    out
}

fn sample() -> Vec<u8> {
    encode(&Event {
        header: header(),
        payload: b"/etc/shadow",
    })
}

fn with(at: usize, bytes: &[u8]) -> Error {
    let mut event = sample();
    event[at..at + bytes.len()].copy_from_slice(bytes);
    Event::decode(&event).unwrap_err()
}

/// A result that the kind may have.
fn result(kind: Kind) -> u16 {
    (0..=u16::MAX).find(|&result| kind.allows(result)).unwrap()
}

#[test]
fn the_document_and_the_code_agree_on_kinds() {
    let (_, table) = DOCUMENT.split_once("\nEvent and causal chain\n").unwrap();
    let (_, table) = table.split_once("kind  name").unwrap();
    let (table, _) = table.split_once("A validator record is").unwrap();
    let rows: Vec<(u16, String)> = table
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
        })
        .collect();
    let code: Vec<_> = Kind::ALL
        .iter()
        .map(|&kind| (kind as u16, kind.name().to_owned()))
        .collect();
    assert_eq!(rows, code);
    for value in 0..=u16::MAX {
        let kind = Kind::ALL.iter().copied().find(|&kind| kind as u16 == value);
        assert_eq!(Kind::from_u16(value), kind);
    }
}

#[test]
fn results_have_their_ranges() {
    let count = |kind: Kind| (0..=u16::MAX).filter(|&r| kind.allows(r)).count();
    for &kind in Kind::ALL {
        let wanted = match kind {
            Kind::Loaded | Kind::Mode | Kind::Vote | Kind::Held => 2,
            Kind::Restored => 3,
            Kind::Staged => 9,
            Kind::Cancelled | Kind::Alert | Kind::Calm => 4,
            Kind::GrantEnded => 6,
            Kind::Quarantined => 3,
            Kind::Used => 65_536,
            Kind::Refused => 4095,
            Kind::Audit => 4096,
            Kind::VoteRefused | Kind::ControlRefused | Kind::Recovered => {
                engine::refusal::Refusal::ALL.len()
            }
            _ => 1,
        };
        assert_eq!(count(kind), wanted, "{}", kind.name());
        assert_eq!(
            kind.allows(0),
            wanted == 1 || matches!(kind, Kind::Used | Kind::Audit | Kind::Staged)
        );
    }
}

#[test]
fn an_event_round_trips_and_has_one_length() {
    let bytes = sample();
    let event = Event::decode(&bytes).unwrap();
    assert_eq!(event.header, header());
    assert_eq!(event.payload, b"/etc/shadow");
    assert_eq!(bytes.len(), HEADER_LEN + 11);
    for len in 0..bytes.len() {
        assert_eq!(Event::decode(&bytes[..len]).unwrap_err(), Error::Short);
        assert_eq!(event.encode(&mut vec![0; len]), Err(Error::NoSpace));
    }
    let log = [&bytes[..], b"TCPL"].concat();
    assert_eq!(Event::decode(&log).unwrap_err(), Error::Long);
    assert_eq!(Event::decode_first(&log), Ok((event, bytes.len())));
}

#[test]
fn each_field_of_an_event_is_judged() {
    assert_eq!(with(0, b"TCPLEVT2"), Error::Magic);
    assert_eq!(with(8, &[0; 8]), Error::Field("number"));
    for kind in [0u16, 35, u16::MAX] {
        assert_eq!(with(32, &kind.to_be_bytes()), Error::Field("kind"));
    }
    for op in [24u16, 31, 37, u16::MAX] {
        assert_eq!(with(34, &op.to_be_bytes()), Error::Field("operation"));
    }
    for slot in [129u16, u16::MAX] {
        assert_eq!(with(80, &slot.to_be_bytes()), Error::Field("slot"));
    }
    for result in [0u16, 4096, u16::MAX] {
        assert_eq!(with(82, &result.to_be_bytes()), Error::Field("result"));
    }
    assert_eq!(with(88, &10u32.to_be_bytes()), Error::Long);
    assert_eq!(with(88, &12u32.to_be_bytes()), Error::Short);
    for len in [8193, u32::MAX] {
        assert_eq!(with(88, &len.to_be_bytes()), Error::Field("payload length"));
    }
    let mut out = [0; HEADER_LEN];
    for (bad, field) in [
        (
            Header {
                number: 0,
                ..header()
            },
            "number",
        ),
        (
            Header {
                slot: 129,
                ..header()
            },
            "slot",
        ),
        (
            Header {
                result: 0,
                ..header()
            },
            "result",
        ),
    ] {
        assert_eq!(bad.encode(0, &mut out), Err(Error::Field(field)));
    }
    for len in [8193, usize::MAX] {
        assert_eq!(
            header().encode(len, &mut out),
            Err(Error::Field("payload length"))
        );
    }
    assert_eq!(header().encode(8192, &mut out), Ok(()));
}

/// A payload for each kind.
fn with_payload(kind: Kind, f: &dyn Fn(Payload<'_>)) {
    let key = Key::new("alice");
    f(match kind {
        Kind::Loaded => Payload::Loaded { version: "1.0" },
        Kind::Policy => Payload::Policy {
            version: 3,
            digest: &POLICY,
            name: "builder",
        },
        Kind::ValidatorAdded | Kind::ValidatorRemoved | Kind::Readmitted => {
            Payload::Validator(ValidatorRecord {
                slot: 1,
                weight: 2,
                name: "alice",
                key: &key.public,
            })
        }
        Kind::Sealed => Payload::Sealed {
            policy: &POLICY,
            total: 3,
        },
        Kind::Request => {
            let mut out = [0; MAX_LEN];
            let facts = support::facts();
            let len =
                request::encode(&support::head(), &support::binding(), &facts, &mut out).unwrap();
            return f(Payload::Request(&out[..len]));
        }
        Kind::Vote | Kind::Held => {
            let vote = signed(&key, 1, &REQUEST, Verdict::Deny, &[(0, 1), (1, 1)], "");
            return f(Payload::Vote(&record(&key, &vote, "")));
        }
        Kind::Granted | Kind::Denied | Kind::Expired => Payload::Tally(Tally {
            approve: 3,
            deny: 1,
            total: 4,
            quarantined: 0,
            threshold_bp: 7500,
        }),
        Kind::Agent => Payload::Agent {
            parent: 1,
            pid: 77,
            class: "builder",
            name: "a",
        },
        Kind::Refused | Kind::Audit => Payload::Path(b"/\xff"),
        Kind::ControlRefused => Payload::Tried("seal"),
        Kind::Restored => Payload::Restored {
            counter: 4,
            head: &POLICY,
            anchor: &REQUEST,
            wall_ms: 1_767_225_600_000,
        },
        // The result that the tests give it is 0: a checkpoint.
        Kind::Staged => Payload::Staged {
            counter: 5,
            before: &REQUEST,
            result: 0,
            change: &[],
        },
        Kind::Anchored => Payload::Anchored {
            counter: 5,
            number: 44,
            head: &POLICY,
            anchor: &REQUEST,
        },
        Kind::Recovered => Payload::Recovered {
            counter: 9,
            anchor: &REQUEST,
            state: 5,
            head: &POLICY,
        },
        Kind::Clock => {
            let bytes = support::entries(&[(0, 44), (3, 2)]);
            return f(Payload::Clock(ClaimedClock::decode(&bytes).unwrap()));
        }
        Kind::Quarantined => {
            let bytes = support::forged_evidence(&support::NODE, &key.public, 1, 2);
            return f(Payload::Evidence(&bytes));
        }
        Kind::Watch => Payload::Watch(Rules {
            raise_bp: 1500,
            ceiling_bp: 9000,
            missing_bp: 2500,
            burst: 16,
            silence_ms: 3_600_000,
            within_ms: 60_000,
            quiet_ms: 900_000,
        }),
        Kind::Reputation => Payload::Reputation(Kept {
            score: 9000,
            bias: 15,
            agreed: 5,
            disagreed: 1,
        }),
        _ => Payload::None,
    });
}

#[test]
fn payloads_round_trip_and_belong_to_their_kind() {
    for &kind in Kind::ALL {
        with_payload(kind, &|payload| {
            let mut out = vec![0; 8192];
            let len = payload.encode(&mut out).unwrap();
            let bytes = &out[..len];
            let event = encode(&Event {
                header: Header {
                    kind,
                    result: result(kind),
                    ..header()
                },
                payload: bytes,
            });
            assert_eq!(Event::decode(&event).unwrap().decode_payload(), Ok(payload));
            for &other in Kind::ALL {
                let same = payload.fits(other);
                assert!(same || kind != other);
                if same {
                    assert_eq!(Payload::decode(other, bytes), Ok(payload));
                }
            }
            if matches!(kind, Kind::Refused | Kind::Audit) {
                return;
            }
            // A payload of fields has one length.
            for short in 0..len {
                assert!(
                    Payload::decode(kind, &bytes[..short]).is_err(),
                    "{}",
                    kind.name()
                );
                assert_eq!(payload.encode(&mut vec![0; short]), Err(Error::NoSpace));
            }
            let longer = [bytes, &[0xff]].concat();
            // What follows in STAGED is for the kind in the result to judge.
            if kind != Kind::Staged {
                assert!(Payload::decode(kind, &longer).is_err(), "{}", kind.name());
            }
        });
    }
}

/// Decodes a STAGED event with that result and those parts of its payload.
fn staged(kind: u16, result: u16, change: &[u8]) -> Result<(), Error> {
    let mut out = [0; 8192];
    let payload = Payload::Staged {
        counter: 5,
        before: &REQUEST,
        result,
        change,
    };
    let len = payload.encode(&mut out).unwrap();
    let event = Event {
        header: Header {
            kind: Kind::Staged,
            result: kind,
            ..header()
        },
        payload: &out[..len],
    };
    let bytes = encode(&event);
    let read = Event::decode(&bytes).unwrap().decode_payload()?;
    assert_eq!(read, payload);
    Ok(())
}

#[test]
fn a_staged_change_is_the_event_that_follows() {
    for &kind in Kind::ALL {
        with_payload(kind, &|payload| {
            let mut out = [0; 8192];
            let len = payload.encode(&mut out).unwrap();
            let change = &out[..len];
            if !kind.is_committed() {
                return;
            }
            let good = result(kind);
            assert_eq!(staged(kind as u16, good, change), Ok(()));
            // Another result, a shorter and a longer payload.
            assert_eq!(
                staged(kind as u16, u16::MAX, change),
                Err(Error::Field("staged result"))
            );
            for short in 0..len {
                assert!(staged(kind as u16, good, &change[..short]).is_err());
            }
            let longer = [change, &[0xff]].concat();
            assert!(staged(kind as u16, good, &longer).is_err());
        });
    }
    let committed: Vec<_> = Kind::ALL
        .iter()
        .filter(|kind| kind.is_committed())
        .map(|&kind| kind as u16)
        .collect();
    assert_eq!(committed, [2, 3, 4, 5, 6, 22, 26, 30]);
    // A checkpoint changes nothing.
    assert_eq!(staged(0, 0, &[]), Ok(()));
    for (result, change) in [(1, &[][..]), (0, &[0])] {
        assert_eq!(staged(0, result, change), Err(Error::Field("checkpoint")));
    }
    for kind in [1, 7, 23, 24, 29, 31, 35, u16::MAX] {
        assert!(!Kind::Staged.allows(kind));
    }
}

#[test]
fn a_clock_in_an_event_has_as_many_entries_as_it_says() {
    let clock = support::entries(&[(0, 44), (3, 2)]);
    let with = |count: u16| [&count.to_be_bytes()[..], &clock].concat();
    assert!(Payload::decode(Kind::Clock, &with(2)).is_ok());
    assert_eq!(Payload::decode(Kind::Clock, &with(1)), Err(Error::Long));
    assert_eq!(Payload::decode(Kind::Clock, &with(3)), Err(Error::Short));
    assert_eq!(
        Payload::decode(Kind::Clock, &with(130)),
        Err(Error::Field("clock entries"))
    );
    let backwards = [&[0, 2][..], &support::entries(&[(3, 2), (0, 44)])].concat();
    assert_eq!(
        Payload::decode(Kind::Clock, &backwards),
        Err(Error::Field("clock slot"))
    );
}

#[test]
fn the_watch_comes_before_what_it_may_change() {
    let waiting: Vec<_> = Kind::ALL
        .iter()
        .filter(|kind| kind.awaits_watch())
        .map(|kind| kind.name())
        .collect();
    assert_eq!(waiting, ["REQUEST", "VOTE", "VOTE_REFUSED", "HELD"]);
}

#[test]
fn a_tally_has_a_threshold() {
    let tally = |threshold_bp| Tally {
        approve: 3,
        deny: 1,
        total: 9,
        quarantined: 2,
        threshold_bp,
    };
    let mut out = [0; 100];
    let len = Payload::Tally(tally(9000)).encode(&mut out).unwrap();
    let wanted = [3u64, 1, 9, 2]
        .iter()
        .flat_map(|weight| weight.to_be_bytes())
        .chain(9000u16.to_be_bytes())
        .collect::<Vec<_>>();
    assert_eq!(out[..len], wanted);
    for bp in [0, 5000, 10_001, u16::MAX] {
        assert_eq!(
            Payload::Tally(tally(bp)).encode(&mut [0; 100]),
            Err(Error::Field("threshold"))
        );
        out[32..34].copy_from_slice(&bp.to_be_bytes());
        for kind in [Kind::Granted, Kind::Denied, Kind::Expired] {
            assert_eq!(
                Payload::decode(kind, &out[..len]),
                Err(Error::Field("threshold"))
            );
        }
    }
}

#[test]
fn what_quarantines_is_evidence() {
    let key = Key::new("alice");
    let good = support::forged_evidence(&support::NODE, &key.public, 1, 2);
    let mut other = good.clone();
    other[8] = 1;
    for bad in [&[][..], b"TCPLEVD1", &good[1..], &other] {
        assert_eq!(
            Payload::decode(Kind::Quarantined, bad),
            Err(Error::Field("evidence"))
        );
    }
}

#[test]
fn paths_are_cut() {
    let long = [b'/'; MAX_PATH + 1];
    let mut out = [0; 8192];
    assert_eq!(Payload::Path(&long).encode(&mut out), Ok(MAX_PATH));
    assert_eq!(
        Payload::decode(Kind::Audit, &out[..MAX_PATH]),
        Ok(Payload::Path(&long[..MAX_PATH]))
    );
    assert_eq!(
        Payload::decode(Kind::Audit, &long),
        Err(Error::Field("path"))
    );
}

#[test]
fn names_in_payloads_are_names() {
    let mut out = [0; 8192];
    for (bad, field) in [
        (
            Payload::Policy {
                version: 1,
                digest: &POLICY,
                name: "a b",
            },
            "policy name",
        ),
        (
            Payload::Agent {
                parent: 0,
                pid: 1,
                class: "",
                name: "a",
            },
            "class",
        ),
        (
            Payload::Agent {
                parent: 0,
                pid: 1,
                class: "a",
                name: "/",
            },
            "agent name",
        ),
    ] {
        assert_eq!(bad.encode(&mut out), Err(Error::Field(field)));
    }
    let len = Payload::Agent {
        parent: 0,
        pid: 1,
        class: "c",
        name: "n",
    }
    .encode(&mut out)
    .unwrap();
    out[13] = b' ';
    assert_eq!(
        Payload::decode(Kind::Agent, &out[..len]),
        Err(Error::Field("class"))
    );
    assert_eq!(
        Payload::decode(Kind::Loaded, &[1, 0xff]),
        Err(Error::Field("module version"))
    );
    assert_eq!(
        Payload::decode(Kind::ControlRefused, &[1, 0xff]),
        Err(Error::Field("what was tried"))
    );
    assert_eq!(
        Payload::decode(Kind::Vote, b"TCPLVOT2"),
        Err(Error::Field("vote record"))
    );
}

proptest! {
    #[test]
    fn any_event_round_trips(
        numbers in any::<(u64, u64, u64, u32, u64, u32)>(),
        kind in 0..Kind::ALL.len(),
        op in 0..=Op::COUNT,
        request: [u8; 32],
        slot in 0u16..=128,
        wish: u16,
        payload in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let kind = Kind::ALL[kind];
        let event = Event {
            header: Header {
                number: numbers.0.max(1),
                boot_ms: numbers.1,
                wall_ms: numbers.2,
                kind,
                op: Op::ALL.get(op).copied(),
                uid: numbers.3,
                agent: numbers.4,
                request,
                slot,
                result: if kind.allows(wish) { wish } else { result(kind) },
                line: numbers.5,
            },
            payload: &payload,
        };
        let bytes = encode(&event);
        prop_assert_eq!(Event::decode(&bytes), Ok(event));
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..300),
        magic: bool,
    ) {
        if let (true, Some(front)) = (magic, bytes.get_mut(..8)) {
            front.copy_from_slice(engine::event::MAGIC);
        }
        if let Ok(event) = Event::decode(&bytes) {
            prop_assert_eq!(encode(&event), &bytes[..]);
        }
        for &kind in Kind::ALL {
            if let Ok(payload) = Payload::decode(kind, &bytes) {
                let mut out = [0; 8192];
                let len = payload.encode(&mut out).unwrap();
                prop_assert_eq!(&out[..len], &bytes[..]);
            }
        }
    }
}
