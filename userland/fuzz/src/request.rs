// SPDX-License-Identifier: GPL-2.0

//! Requests: whatever is read can be written, and whatever is written is read.
//!
//! The first byte chooses: bytes to read, or facts to write.

use crate::{
    first,
    Input,
    Sha256, //
};
use engine::governance::MAX_DETAIL;
use engine::limits;
use engine::op::Op;
use engine::request::{
    self,
    Binding,
    Fact,
    FactWriter,
    Head,
    Object,
    Request,
    MAX_LEN, //
};
use engine::wire::Digest;

/// Digest of arguments and environments.
const DIGEST: [u8; 32] = [0x77; 32];

/// Runs the target.
pub fn run(data: &[u8]) {
    let (mode, rest) = first(data);
    if mode & 1 == 0 {
        read(rest);
    } else {
        write(Input::new(rest));
    }
}

fn read(bytes: &[u8]) {
    let Ok(request) = Request::decode(bytes) else {
        return;
    };
    assert!(bytes.len() <= MAX_LEN);
    assert_eq!(request.facts().count(), usize::from(request.fact_count()));
    assert!(request.facts().count() <= limits::FACTS);
    let mut out = [0; MAX_LEN];
    let mut writer = FactWriter::new(&mut out, &request.binding).unwrap();
    for fact in request.facts() {
        writer.fact(&fact).unwrap();
    }
    // A writer keeps room for what may follow the arguments; a reader takes more of them.
    let cut = writer.is_shortened();
    if request.shortened {
        writer.mark_shortened();
    }
    let len = writer.finish().unwrap();
    request::write_head(&mut out, &request.head).unwrap();
    if cut {
        assert!(request.facts().any(|fact| matches!(fact, Fact::Arg(_))));
        assert!(bytes.len() > MAX_LEN / 2 || request.facts().count() > limits::FACTS / 2);
        assert!(Request::decode(&out[..len]).is_ok());
    } else {
        assert_eq!(out[..len], *bytes);
    }
    let wanted = matches!(
        request.binding.op,
        Op::Validator | Op::Mode | Op::Unload | Op::Recover
    );
    assert_eq!(request.detail().is_some(), wanted);
    assert!(request
        .detail()
        .is_none_or(|detail| detail.op() == request.binding.op));
    assert_eq!(request::binding(bytes), &bytes[request::BINDING_OFFSET..]);
    assert!(Request::decode(&bytes[..bytes.len() - 1]).is_err());
    retime(&request, bytes);
}

/// The times are no part of the binding.
fn retime(request: &Request<'_>, bytes: &[u8]) {
    let mut other = bytes.to_vec();
    let head = &request.head;
    request::set_times(
        &mut other,
        head.created ^ 2,
        head.expires_ms,
        head.created_ms,
    )
    .ok();
    if let Ok(again) = Request::decode(&other) {
        assert_eq!(again.binding, request.binding);
        assert_eq!(again.head.node, head.node);
        if head.created != 2 {
            assert_eq!(
                (again.head.created_ms, again.head.expires_ms),
                (head.expires_ms, head.created_ms)
            );
        }
    }
    assert_eq!(
        request::binding_digest::<Sha256>(&other),
        Sha256::sha256(&[&bytes[request::BINDING_OFFSET..]])
    );
}

fn fact<'a>(input: &mut Input<'a>) -> Fact<'a> {
    match input.below(19) {
        0 => Fact::Path(input.bytes(2000)),
        1 => Fact::Target(input.bytes(2000)),
        2 => Fact::TargetObject(object(input)),
        3 => Fact::Name(input.bytes(2000)),
        4 => Fact::Argc(input.u32()),
        5 => Fact::Arg(input.bytes(2000)),
        6 => Fact::ArgsDigest(&DIGEST),
        7 => Fact::Address {
            family: input.pick(&[2, 10, 1, 16]),
            port: input.u16(),
            address: input.bytes(20),
        },
        8 => Fact::Flags(input.u64()),
        9 => Fact::Mode(input.u32()),
        10 => Fact::Owner {
            uid: input.u32(),
            gid: input.u32(),
        },
        11 => Fact::Command(input.u32()),
        12 => Fact::Task {
            pid: input.u32(),
            agent: input.u64(),
            comm: input.bytes(20),
        },
        13 => Fact::Size(input.u64()),
        14 => Fact::Version(input.u64()),
        15 => Fact::Detail(input.bytes(MAX_DETAIL + 1)),
        16 => Fact::Hook(input.bytes(80)),
        17 => Fact::FsPath(input.bytes(300)),
        _ => Fact::EnvDigest(&DIGEST),
    }
}

fn object(input: &mut Input<'_>) -> Object {
    Object {
        device: input.number(),
        inode: input.number(),
        generation: input.u32(),
    }
}

/// Takes what a writer cuts off.
fn shortened(fact: Fact<'_>) -> Fact<'_> {
    let cut = |text: &'_ [u8], most: usize| text.len().min(most);
    match fact {
        Fact::Path(text) => Fact::Path(&text[..cut(text, 1024)]),
        Fact::Target(text) => Fact::Target(&text[..cut(text, 1024)]),
        Fact::Name(text) => Fact::Name(&text[..cut(text, 1024)]),
        Fact::Arg(text) => Fact::Arg(&text[..cut(text, 1024)]),
        Fact::Hook(text) => Fact::Hook(&text[..cut(text, 64)]),
        Fact::FsPath(text) => Fact::FsPath(&text[text.len().saturating_sub(256)..]),
        Fact::Task { pid, agent, comm } => Fact::Task {
            pid,
            agent,
            comm: &comm[..cut(comm, 16)],
        },
        other => other,
    }
}

fn write(mut input: Input<'_>) {
    let (node, nonce, digest) = ([input.u8(); 32], [input.u8(); 16], [input.u8(); 32]);
    let head = Head {
        node: &node,
        epoch: input.number(),
        nonce: &nonce,
        created: input.number(),
        created_ms: input.number(),
        expires_ms: input.number(),
        wall_ms: input.number(),
    };
    let names = [
        "",
        "builder",
        "host",
        "a name that is longer than a name may be",
        "a b",
    ];
    let agent = u64::from(input.u8() & 3);
    let binding = Binding {
        op: input.pick(&Op::ALL),
        uid: input.u32(),
        agent,
        policy_version: input.number(),
        policy: &digest,
        threshold_bp: input.pick(&[7500, 5001, 10_000, 5000, 10_001]),
        uses: input.pick(&[1, u16::MAX, 0]),
        ttl_s: input.u32(),
        line: input.u32(),
        object: object(&mut input),
        content: input.pick(&[&[0; 32], &digest]),
        class: input.pick(&names),
        agent_name: input.pick(&names),
    };
    let mut facts = Vec::new();
    while !input.is_empty() {
        facts.push(fact(&mut input));
    }
    let mut out = [0; MAX_LEN];
    let Ok(len) = request::encode(&head, &binding, &facts, &mut out) else {
        return;
    };
    let request = Request::decode(&out[..len]).unwrap();
    assert_eq!((request.head, request.binding), (head, binding));
    let cut = facts.iter().any(|&fact| shortened(fact) != fact);
    let wanted = facts.iter().map(|&fact| shortened(fact));
    if request.facts().count() == facts.len() {
        assert!(request.facts().eq(wanted));
        assert_eq!(request.shortened, cut);
    } else {
        // Only arguments are left out, and only the last ones.
        assert!(request.shortened);
        let other = |fact: &Fact<'_>| !matches!(fact, Fact::Arg(_));
        assert!(request
            .facts()
            .filter(other)
            .eq(wanted.clone().filter(other)));
        let arguments = request.facts().filter(|fact| !other(fact));
        let all: Vec<_> = wanted.filter(|fact| !other(fact)).collect();
        assert!(arguments
            .clone()
            .eq(all.iter().copied().take(arguments.count())));
    }
}
