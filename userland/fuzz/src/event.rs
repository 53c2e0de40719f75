// SPDX-License-Identifier: GPL-2.0

//! Events: whatever is read is written as it was.
//!
//! The first byte chooses: a whole event, or a payload of the kind of that number.

use crate::first;
use engine::event::{
    Event,
    Kind,
    Payload,
    HEADER_LEN, //
};
use engine::limits;
use engine::request::Request;
use engine::vote::VoteRecord;
use engine::wire::Error;

/// Runs the target.
pub fn run(data: &[u8]) {
    let (kind, bytes) = first(data);
    match Kind::ALL.get(usize::from(kind)) {
        Some(&kind) => payload(kind, bytes),
        None => event(bytes),
    }
}

fn payload(kind: Kind, bytes: &[u8]) {
    let Ok(payload) = Payload::decode(kind, bytes) else {
        return;
    };
    let fits = Kind::ALL.iter().filter(|&&kind| payload.fits(kind));
    assert!(fits.clone().any(|&other| other == kind));
    // Kinds that share a kind of payload read the same.
    for &other in fits {
        assert_eq!(Payload::decode(other, bytes), Ok(payload));
    }
    let mut out = [0; limits::EVENT_PAYLOAD];
    let len = payload.encode(&mut out).unwrap();
    assert_eq!(out[..len], *bytes);
    if len != 0 {
        assert!(payload.encode(&mut out[..len - 1]).is_err());
    }
    match payload {
        Payload::Request(bytes) => assert!(Request::decode(bytes).is_ok()),
        Payload::Vote(bytes) => assert!(VoteRecord::decode(bytes).is_ok()),
        _ => {}
    }
}

fn event(bytes: &[u8]) {
    let Ok((event, len)) = Event::decode_first(bytes) else {
        assert!(Event::decode(bytes).is_err());
        return;
    };
    let (own, rest) = bytes.split_at(len);
    assert_eq!(Event::decode(own), Ok(event));
    assert_eq!(
        Event::decode(bytes),
        if rest.is_empty() {
            Ok(event)
        } else {
            Err(Error::Long)
        }
    );
    assert_eq!(Event::decode_first(&own[..len - 1]), Err(Error::Short));
    let header = &event.header;
    assert!(header.number != 0 && usize::from(header.slot) <= limits::VALIDATORS);
    assert!(header.kind.allows(header.result));
    assert_eq!(event.payload.len(), len - HEADER_LEN);
    let mut out = [0; HEADER_LEN + limits::EVENT_PAYLOAD];
    assert_eq!(event.encode(&mut out), Ok(len));
    assert_eq!(out[..len], *own);
    assert_eq!(event.encode(&mut out[..len - 1]), Err(Error::NoSpace));
    let Ok(payload) = event.decode_payload() else {
        return;
    };
    assert!(payload.fits(header.kind));
    let len = payload.encode(&mut out).unwrap();
    assert_eq!(out[..len], *event.payload);
    if let Payload::Staged { result, change, .. } = payload {
        // What is announced can be said.
        match Kind::from_u16(header.result) {
            Some(kind) => {
                assert!(kind.is_committed() && kind.allows(result));
                assert!(Payload::decode(kind, change).is_ok());
            }
            None => assert!(header.result == 0 && result == 0 && change.is_empty()),
        }
    }
}
