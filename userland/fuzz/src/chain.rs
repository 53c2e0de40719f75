// SPDX-License-Identifier: GPL-2.0

//! A log: whoever has the head of its chain notices every change of it.

use crate::{
    Input,
    Sha256, //
};
use engine::clock::{
    epoch_of,
    first_number,
    Chain,
    SecureVectorClock,
    NODE_SLOT,
    NO_HEAD, //
};
use engine::event::{
    Event,
    Header,
    Kind,
    HEADER_LEN, //
};
use engine::op::Op;

/// The node of the log.
const NODE: [u8; 32] = [0x11; 32];

/// Most events of a log.
const MOST: usize = 6;

/// Runs the target.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (change, at, value) = (input.below(5), input.u16(), input.u8());
    let epoch = input.number() % (u64::from(u32::MAX) - 1);
    let previous = if input.bool() {
        NO_HEAD
    } else {
        [input.u8(); 32]
    };
    let mut clock = SecureVectorClock::new::<Sha256>(&NODE, epoch, &previous);
    assert_eq!(clock.logical_time.get(NODE_SLOT), first_number(epoch));
    let mut events: Vec<Vec<u8>> = Vec::new();
    while !input.is_empty() && events.len() < MOST {
        let before = clock.logical_time.clone();
        let Some(event) = event(&mut input, &mut clock) else {
            clock.logical_time = before;
            continue;
        };
        assert!(clock.logical_time > before);
        assert_eq!(epoch_of(clock.logical_time.get(NODE_SLOT)), epoch);
        clock
            .causal_chain
            .extend::<Sha256>(&event[..HEADER_LEN], &event[HEADER_LEN..]);
        events.push(event);
    }
    let start = Chain::new::<Sha256>(&NODE, epoch, &previous);
    let log = events.concat();
    let head = *clock.causal_chain.head();
    assert_eq!(replay(&log, &start, first_number(epoch)), Some(head));
    let changed = tamper(&events, change, usize::from(at), value);
    if changed != log {
        assert_ne!(replay(&changed, &start, first_number(epoch)), Some(head));
    }
    // The same log of another load is another chain.
    let other = Chain::new::<Sha256>(&NODE, epoch + 1, &previous);
    assert_ne!(replay(&log, &other, first_number(epoch)), Some(head));
}

/// Makes the next event of the load.
fn event(input: &mut Input<'_>, clock: &mut SecureVectorClock) -> Option<Vec<u8>> {
    let kind = input.pick(Kind::ALL);
    let header = Header {
        number: clock.logical_time.tick(NODE_SLOT)?,
        boot_ms: input.number(),
        wall_ms: input.number(),
        kind,
        op: Op::from_u16(u16::from(input.u8())),
        uid: input.u32(),
        agent: input.number(),
        request: [input.u8(); 32],
        slot: u16::from(input.u8()),
        result: u16::from(input.u8()),
        line: input.u32(),
    };
    let payload = input.bytes(300);
    let mut out = [0; HEADER_LEN + 300];
    let event = Event { header, payload };
    let encoded = event.encode(&mut out);
    assert_eq!(
        encoded.is_ok(),
        header.slot <= 128 && kind.allows(header.result)
    );
    encoded.ok().map(|len| out[..len].to_vec())
}

/// Reads a log as an auditor does: the head after its last event, if all of it is well formed.
fn replay(mut log: &[u8], start: &Chain, mut number: u64) -> Option<[u8; 32]> {
    let mut chain = Chain::from_head(*start.head());
    while !log.is_empty() {
        let (event, len) = Event::decode_first(log).ok()?;
        number += 1;
        if event.header.number != number {
            return None;
        }
        let (own, rest) = log.split_at(len);
        chain.extend::<Sha256>(&own[..HEADER_LEN], event.payload);
        log = rest;
    }
    Some(*chain.head())
}

/// Edits, cuts, drops, swaps or repeats.
fn tamper(events: &[Vec<u8>], change: usize, at: usize, value: u8) -> Vec<u8> {
    let mut changed = events.to_vec();
    let count = events.len();
    if count == 0 {
        return Vec::new();
    }
    match change {
        0 => {
            let mut log = changed.concat();
            let place = at % log.len();
            log[place] ^= value;
            return log;
        }
        1 => {
            let mut log = changed.concat();
            log.truncate(at % log.len());
            return log;
        }
        2 => drop(changed.remove(at % count)),
        3 => changed.swap(at % count, usize::from(value) % count),
        _ => changed.push(events[at % count].clone()),
    }
    changed.concat()
}
