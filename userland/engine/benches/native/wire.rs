// SPDX-License-Identifier: GPL-2.0

//! What is written and read: requests, events and evidence.

use crate::support::{
    binding,
    facts,
    forged_evidence,
    head,
    Key,
    Sha256,
    NODE,
    REQUEST, //
};
use crate::{
    Suite,
    VALIDATORS, //
};
use engine::event::{
    Event,
    Header,
    Kind,
    HEADER_LEN, //
};
use engine::evidence::Evidence;
use engine::op::Op;
use engine::request::{
    self,
    Request,
    MAX_LEN, //
};
use std::hint::black_box;

/// Measures all of it.
pub(crate) fn measure(suite: &mut Suite) {
    let (head, binding, facts) = (head(), binding(), facts());
    let mut request = vec![0; MAX_LEN];
    let len = request::encode(&head, &binding, &facts, &mut request).expect("a good request");
    let mut out = request.clone();
    suite.measure(
        "request.encode",
        "writes a request with each kind of fact",
        |bencher| {
            bencher
                .iter(|| request::encode(&head, black_box(&binding), black_box(&facts), &mut out));
        },
    );
    request.truncate(len);
    Request::decode(&request).expect("it can be read");
    suite.measure(
        "request.decode",
        "reads and checks that request",
        |bencher| {
            bencher.iter(|| Request::decode(black_box(&request)).is_ok());
        },
    );

    let event = Event {
        header: Header {
            number: 40,
            boot_ms: 1_000_000,
            wall_ms: 1_767_225_600_000,
            kind: Kind::Request,
            op: Some(Op::Exec),
            uid: 1000,
            agent: 5,
            request: REQUEST,
            slot: 0,
            result: 0,
            line: 12,
        },
        payload: &request,
    };
    let mut out = vec![0; HEADER_LEN + MAX_LEN];
    event.encode(&mut out).expect("a good event");
    suite.measure(
        "event.encode",
        "writes the event of that request",
        |bencher| {
            bencher.iter(|| black_box(&event).encode(&mut out));
        },
    );

    let key = Key::new("alice").public;
    for validators in VALIDATORS {
        let evidence = forged_evidence(&NODE, &key, 1, validators + 1);
        Evidence::decode::<Sha256>(&evidence).expect("good but for the signatures");
        suite.measure(
            format!("evidence.decode.{validators}"),
            format!("checks evidence of {validators} entries, but no signature"),
            |bencher| bencher.iter(|| Evidence::decode::<Sha256>(black_box(&evidence)).is_ok()),
        );
    }
}
