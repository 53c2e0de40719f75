// SPDX-License-Identifier: GPL-2.0

//! Generic netlink: every command, its attributes right and wrong in every way, several messages at once.

use super::{
    oracle::{
        may,
        Did, //
    },
    pool::{
        spoil,
        Pool, //
    },
    random::Random,
    Batch, //
};
use crate::client::{
    Attributes,
    Client,
    Reply,
    DO,
    DUMP, //
};
use crate::keys::Validator;
use crate::stage::nl;
use crate::worker::errno;

/// Datagrams that one batch sends.
const DATAGRAMS: usize = 40;

/// The highest attribute and command of the family's specification.
const ATTRIBUTES: u64 = 80;
const COMMANDS: u64 = 23;

/// Commands that are dumped.
const DUMPED: [u8; 5] = [
    nl::VALIDATOR_GET,
    nl::AGENT_GET,
    nl::GRANT_GET,
    nl::EVENT_GET,
    nl::EVIDENCE_GET,
];

/// Commands that are acknowledged, and answered with nothing else.
const UNANSWERED: [u8; 2] = [nl::REQUEST_CANCEL, nl::GRANT_REVOKE];

/// Errors of the netlink core itself, which come without a code of ours: a table or a length that does not fit, a command
/// that is not there, a second dump before the first one is over.
const CORE: &[i32] = &[libc::EINVAL, libc::ERANGE, libc::EOPNOTSUPP, libc::EBUSY];

/// What `send` may say: there is more than a socket's buffer holds, or nothing at all.
const SEND: &[i32] = &[libc::EMSGSIZE, libc::ENOBUFS, libc::ENODATA];

const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const ACK_TLVS: u16 = 0x200;

/// An attribute, and the length that its header tells if it lies.
struct Item {
    kind: u16,
    value: Vec<u8>,
    length: Option<usize>,
}

fn item(kind: u16, value: impl Into<Vec<u8>>) -> Item {
    Item {
        kind,
        value: value.into(),
        length: None,
    }
}

fn text(kind: u16, text: &str) -> Item {
    item(kind, [text.as_bytes(), b"\0"].concat())
}

fn vote(pool: &Pool, random: &mut Random) -> Vec<u8> {
    match pool.votes.get(random.index(pool.votes.len() + 2)) {
        Some(record) => record.clone(),
        None => {
            let mut record = pool.to_spoil(random);
            spoil(&mut record, random, &[b"TCPLVOT2"]);
            record
        }
    }
}

/// What a command takes.
fn valid(command: u8, pool: &Pool, random: &mut Random) -> Vec<Item> {
    let validator = Validator::test(u32::try_from(random.between(1, 12)).unwrap_or(1));
    let name = text(nl::A_VALIDATOR_NAME, &validator.name);
    match command {
        nl::VALIDATOR_ADD => vec![
            name,
            item(nl::A_VALIDATOR_KEY, validator.point()),
            item(
                nl::A_VALIDATOR_WEIGHT,
                u32::try_from(random.below(3)).unwrap_or(1).to_ne_bytes(),
            ),
        ],
        nl::VALIDATOR_REMOVE | nl::VALIDATOR_READMIT => vec![name],
        nl::MODE_SET => vec![item(
            nl::A_MODE,
            u32::try_from(random.below(4)).unwrap_or(1).to_ne_bytes(),
        )],
        nl::AGENT_LABEL => vec![text(nl::A_AGENT_NAME, "x"), text(nl::A_AGENT_CLASS, "a")],
        nl::REQUEST_GET | nl::REQUEST_CANCEL | nl::GRANT_REVOKE => {
            vec![item(nl::A_REQUEST_ID, pool.request(random))]
        }
        nl::VOTE_SUBMIT => vec![item(nl::A_VOTE, vote(pool, random))],
        nl::EVENT_GET => vec![item(nl::A_EVENT_NUMBER, random.bits().to_ne_bytes())],
        nl::STATE_COMMIT => vec![item(nl::A_STATE_DIGEST, random.bytes())],
        nl::EVIDENCE_SUBMIT => {
            let mut evidence = pool.to_spoil(random);
            spoil(&mut evidence, random, &[b"TCPLEVD1"]);
            vec![item(nl::A_EVIDENCE, evidence)]
        }
        _ => Vec::new(),
    }
}

/// Bytes of a length that may be too short, right, or far too long.
fn junk(random: &mut Random) -> Vec<u8> {
    let length = match random.below(20) {
        0 => random.index(65_000),
        1..=4 => random.index(3000),
        5 => 0,
        _ => random.index(70),
    };
    let seed = random.bytes();
    seed.into_iter().cycle().take(length).collect()
}

/// Makes attributes wrong in one way.
fn twist(items: &mut Vec<Item>, random: &mut Random) {
    let at = random.index(items.len());
    match random.below(10) {
        0 if !items.is_empty() => {
            items.remove(at);
        }
        1 | 2 => {
            let kind = match random.below(10) {
                0 => u16::try_from(random.below(1 << 16)).unwrap_or(0),
                _ => u16::try_from(random.below(ATTRIBUTES + 3)).unwrap_or(0),
            };
            items.insert(at, item(kind, junk(random)));
        }
        3 if !items.is_empty() => {
            let copy = item(items[at].kind, items[at].value.clone());
            items.push(copy);
        }
        4 if items.len() > 1 => items.swap(0, at),
        5 if !items.is_empty() => {
            // Inside another one, whether that takes a nest or not.
            let mut inner = Attributes::new();
            inner.bytes(items[at].kind, &items[at].value);
            items[at] = item(items[at].kind, inner.0);
        }
        _ => {
            if let Some(item) = items.get_mut(at) {
                match random.below(6) {
                    0 => item.length = Some(random.index(1 << 16)),
                    1 => item.length = Some(item.value.len() + random.index(9)),
                    2 => item.kind ^= 1 << random.below(16),
                    3 => item.value = junk(random),
                    4 => item.value.extend(junk(random)),
                    _ => spoil(&mut item.value, random, &[b"\0"]),
                }
            }
        }
    }
}

/// One message.
fn message(family: u16, pool: &Pool, random: &mut Random) -> Vec<u8> {
    let command = match random.below(40) {
        0 => u8::try_from(random.below(256)).unwrap_or(0),
        // These have the most to look at.
        1..=8 => nl::VOTE_SUBMIT,
        9..=12 => nl::EVIDENCE_SUBMIT,
        _ => u8::try_from(random.between(1, COMMANDS)).unwrap_or(0),
    };
    let mut items = valid(command, pool, random);
    if random.chance(650) {
        for _ in 0..=random.below(3) {
            twist(&mut items, random);
        }
    }
    let mut attributes = Attributes::new();
    for item in &items {
        let length = item.length.unwrap_or(item.value.len() + 4);
        attributes.with_length(item.kind, &item.value, length);
    }
    // Most often the form that the command has.
    let flags = match (random.below(10), DUMPED.contains(&command)) {
        (0, _) => u16::try_from(random.below(1 << 16)).unwrap_or(DO),
        (1, _) => [DO, DUMP, DUMP | 4][random.index(3)],
        (_, true) => DUMP,
        _ => DO,
    };
    let length = HEADER + 4 + attributes.0.len();
    let told = match random.below(30) {
        0 => random.index(1 << 18),
        1 => random.index(length + 8),
        _ => length,
    };
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes();
    let version = if random.chance(950) { 1 } else { 0x81 };
    let reserved = u8::from(random.chance(20));
    let mut bytes = number(told).to_vec();
    bytes.extend(family.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(random.word().to_ne_bytes());
    bytes.extend(random.word().to_ne_bytes());
    bytes.extend([command, version, reserved, 0]);
    bytes.extend(attributes.0);
    bytes
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let part = bytes.get(at..at + 2).and_then(|part| part.try_into().ok());
    part.map_or(0, u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let part = bytes.get(at..at + 4).and_then(|part| part.try_into().ok());
    part.map_or(0, u32::from_ne_bytes)
}

/// Where the kernel sees a message in a datagram: positions of their headers.
fn heads(bytes: &[u8]) -> Vec<usize> {
    let mut all = Vec::new();
    let mut at = 0;
    while at + HEADER <= bytes.len() {
        let length = usize::try_from(u32_at(bytes, at)).unwrap_or(usize::MAX);
        if length < HEADER || length > bytes.len() - at {
            break;
        }
        all.push(at);
        at += length.next_multiple_of(4);
    }
    all
}

/// A datagram of one or more messages, with nothing in it that may not be sent.
fn datagram(family: u16, pool: &Pool, random: &mut Random) -> Vec<u8> {
    loop {
        let mut bytes = Vec::new();
        let count = if random.chance(800) {
            1
        } else {
            random.between(2, 8)
        };
        for _ in 0..count {
            bytes.extend(message(family, pool, random));
        }
        if random.chance(100) {
            spoil(&mut bytes, random, &[b"\0\0\0\0"]);
        }
        // Other families are not ours to try: of theirs there are those that change the network.
        for at in heads(&bytes) {
            let kind = u16_at(&bytes, at + 4);
            if kind >= 16 && kind != family {
                bytes[at + 4..at + 6].copy_from_slice(&family.to_ne_bytes());
            }
        }
        if !pool.forbids(&bytes) {
            return bytes;
        }
    }
}

/// The commands that a message of this sequence number in a datagram gives. What is no request is acknowledged as it is.
fn commands(sent: &[u8], family: u16, sequence: u32) -> Vec<u8> {
    heads(sent)
        .into_iter()
        .filter(|at| u32_at(sent, at + 8) == sequence && u16_at(sent, at + 4) == family)
        .filter(|at| u16_at(sent, at + 6) & NLM_F_REQUEST != 0)
        .filter_map(|at| sent.get(at + HEADER).copied())
        .collect()
}

/// Reads what has been answered, until there is nothing more.
fn answers(client: &Client, sent: &[u8], batch: &Batch<'_>, did: &mut Did) {
    let mut buffer = vec![0; 1 << 16];
    // A dump goes on with each read; the longest is that of all events.
    for _ in 0..10_000 {
        // SAFETY: The pointer and the length describe `buffer`.
        let got = unsafe {
            libc::recv(
                client.fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT,
            )
        };
        let Ok(got) = usize::try_from(got) else {
            match errno() {
                libc::EAGAIN => return,
                libc::ENOBUFS => continue,
                other => return did.complain(format!("recv: errno {other}")),
            }
        };
        let bytes = buffer.get(..got).unwrap_or_default();
        for at in heads(bytes) {
            let length = usize::try_from(u32_at(bytes, at)).unwrap_or(0);
            judge(
                bytes.get(at..at + length).unwrap_or_default(),
                client.family,
                sent,
                batch,
                did,
            );
        }
    }
    did.complain("the answer has no end".to_string());
}

/// Judges one message of the kernel's.
fn judge(message: &[u8], family: u16, sent: &[u8], batch: &Batch<'_>, did: &mut Did) {
    let (kind, flags, sequence) = (u16_at(message, 4), u16_at(message, 6), u32_at(message, 8));
    let payload = message.get(HEADER..).unwrap_or_default();
    let commands = commands(sent, family, sequence);
    let what = format!("{:?}, commands {commands:?}", batch.role);
    if kind == family {
        let command = payload.first().copied().unwrap_or(0);
        if !may(batch.role, command) {
            did.complain(format!("{what}: answered with command {command}"));
        }
        // What is acknowledged only when that is asked for is counted here.
        match DUMPED.contains(&command) {
            true => did.count("parts of dumps"),
            false => did.obeyed(command),
        }
        return;
    }
    if kind != NLMSG_ERROR && kind != NLMSG_DONE {
        return did.complain(format!("{what}: a message of type {kind}"));
    }
    let error = i32::from_ne_bytes(u32_at(payload, 0).to_ne_bytes());
    if error == 0 {
        if let [command] = commands[..] {
            if DUMPED.contains(&command) || UNANSWERED.contains(&command) {
                did.obeyed(command);
            }
            // An acknowledgement without an answer: of a dump, whose refusal comes with its end.
            if kind == NLMSG_ERROR && !may(batch.role, command) {
                did.complain(format!("{what}: obeyed"));
            }
        }
        return;
    }
    // The client has asked that refusals do not quote what they answer.
    let skip = if kind == NLMSG_DONE { 4 } else { 20 };
    let text = match flags & ACK_TLVS {
        0 => String::new(),
        _ => Reply::parse(payload.get(skip..).unwrap_or_default())
            .string(1)
            .unwrap_or_default(),
    };
    // Words of the core's own have no code.
    did.error(&what, -error, &text, CORE);
}

/// Sends a batch.
pub(super) fn batch(batch: &mut Batch<'_>) -> Did {
    let mut did = Did::default();
    let mut client = None;
    for _ in 0..DATAGRAMS {
        let mut socket = match client.take() {
            Some(socket) => socket,
            None => match Client::open() {
                Ok(socket) => socket,
                Err(refused) => {
                    did.complain(format!("no socket: {refused:?}"));
                    return did;
                }
            },
        };
        let bytes = datagram(socket.family, batch.pool, &mut batch.random);
        did.count("datagrams");
        for _ in heads(&bytes) {
            did.count("messages");
        }
        match socket.send_raw(&bytes) {
            Ok(()) => {}
            Err(refused) if SEND.contains(&refused.errno) => did.count("not sent"),
            Err(refused) => did.complain(format!("send: {refused:?}")),
        }
        // Some dumps are never read: the socket is closed in the middle of them.
        let dumps = heads(&bytes).into_iter().all(|at| {
            let command = bytes.get(at + HEADER).copied().unwrap_or(0);
            DUMPED.contains(&command)
        });
        if !dumps || batch.random.chance(700) {
            answers(&socket, &bytes, batch, &mut did);
            client = Some(socket);
        }
    }
    did
}
