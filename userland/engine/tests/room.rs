// SPDX-License-Identifier: GPL-2.0

//! What is written into a buffer that is too short, by every number of bytes: an error each time. What is read from one
//! is in the tests of each format.

mod support;

use engine::der;
use engine::event::{
    Event,
    Header,
    Kind,
    Payload, //
};
use engine::evidence;
use engine::op::Op;
use engine::policy::Policy;
use engine::quorum::Verdict;
use engine::vote::{
    self,
    Vote, //
};
use std::fmt::{
    self,
    Write, //
};
use support::{
    entries,
    signed,
    Draft,
    Key,
    Sha256,
    NODE,
    REQUEST, //
};

/// Writes into every shorter buffer, and then into one of the right length.
fn every_length<E: fmt::Debug>(what: &str, write: impl Fn(&mut [u8]) -> Result<usize, E>) {
    let mut room = vec![0; 20_000];
    let len = write(&mut room).unwrap();
    assert!(len > 0, "{what} is empty");
    for short in 0..len {
        let got = write(&mut room[..short]);
        assert!(got.is_err(), "{what}: {short} of {len} bytes are enough");
    }
    assert_eq!(write(&mut room[..len]).unwrap(), len, "{what}");
}

#[test]
fn votes() {
    let key = Key::new("alice");
    let clock = entries(&[(0, 41), (2, 9)]);
    let vote = Vote {
        node: &NODE,
        epoch: 7,
        request: &REQUEST,
        validator: &key.id,
        verdict: Verdict::Deny,
        slot: 2,
        expires_ms: 1_300_000,
        reason_digest: &vote::reason_digest::<Sha256>("no"),
        clock: engine::clock::ClaimedClock::decode(&clock).unwrap(),
    };
    every_length("a vote", |out| vote.encode_signed(out));
    let bytes = signed(&key, 2, &REQUEST, Verdict::Deny, &[(0, 41), (2, 9)], "no");
    let signature = key.sign(&bytes);
    every_length("a record", |out| {
        vote::encode_record(&bytes, &signature, "no", out)
    });
    let decoded = der::decode(&signature).unwrap();
    every_length("a signature", |out| decoded.encode(out));
}

#[test]
fn proof() {
    let key = Key::new("alice");
    let one = Draft::new(&key.id, 2, &[(0, 41), (2, 9)]);
    let two = Draft {
        verdict: Verdict::Deny,
        ..one.clone()
    };
    let (one, two) = (one.sign(&key), two.sign(&key));
    every_length("evidence", |out| {
        evidence::encode::<Sha256>(&key.public, &one.view(), &two.view(), out)
    });
}

#[test]
fn events() {
    for payload in [
        Payload::Loaded { version: "0.1" },
        Payload::Policy {
            version: 3,
            digest: &NODE,
            name: "builder",
        },
        Payload::Sealed {
            policy: &NODE,
            total: 4,
        },
        Payload::Path(b"/etc/shadow"),
        Payload::Agent {
            parent: 1,
            pid: 2,
            class: "builder",
            name: "agent",
        },
        Payload::Staged {
            counter: 1,
            before: &NODE,
            result: 0,
            change: &NODE,
        },
    ] {
        every_length("a payload", |out| payload.encode(out));
    }
    let event = Event {
        header: Header {
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
        },
        payload: b"/etc/shadow",
    };
    every_length("an event", |out| event.encode(out));
}

/// Text with room for some bytes only.
struct Short(usize);

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

#[test]
fn messages() {
    let head = "policy_name=p policy_version=1\nDEFAULT action=DENY\n";
    for line in [
        "op=EXEC colour=red action=ALLOW",
        "adaptive floor=90% ceiling=80%",
        "adaptive floor=90%\nop=EXEC action=QUORUM threshold=60%",
        "op=EXEC path=relative action=ALLOW",
    ] {
        let error = Policy::parse(format!("{head}{line}\n").as_bytes()).unwrap_err();
        let len = error.to_string().len();
        for short in 0..len {
            assert!(write!(Short(short), "{error}").is_err(), "{error}: {short}");
        }
        assert!(write!(Short(len), "{error}").is_ok());
    }
    let prefix = engine::address::Prefix::parse(b"10.0.0.0/8").unwrap();
    for short in 0..prefix.to_string().len() {
        assert!(write!(Short(short), "{prefix}").is_err());
    }
}
