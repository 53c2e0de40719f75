// SPDX-License-Identifier: GPL-2.0

//! Requests: round trips, shortening, and each field judged by itself.

mod support;

use engine::address::Address;
use engine::governance::{
    Detail,
    Mode,
    MAX_DETAIL, //
};
use engine::op::Op;
use engine::request::{
    self,
    binding_digest,
    encode,
    id,
    set_times,
    write_head,
    Binding,
    Fact,
    FactWriter,
    Head,
    Object,
    Request,
    BINDING_OFFSET,
    MAX_COMM,
    MAX_FS_PATH,
    MAX_HOOK,
    MAX_LEN, //
};
use engine::wire::Error;
use proptest::prelude::*;
use support::{
    binding,
    facts,
    head,
    Sha256,
    NODE, //
};

/// A detail of RECOVER: state_older, counter 1 in the state, 2 found.
const RECOVER: [u8; 18] = [0, 73, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];

fn make(binding: &Binding<'_>, facts: &[Fact<'_>]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0xaa; MAX_LEN];
    let len = encode(&head(), binding, facts, &mut out)?;
    out.truncate(len);
    Ok(out)
}

fn sample() -> Vec<u8> {
    make(&binding(), &facts()).unwrap()
}

/// The error of a request with other bytes in one place.
fn with(at: usize, bytes: &[u8]) -> Error {
    let mut request = sample();
    request[at..at + bytes.len()].copy_from_slice(bytes);
    Request::decode(&request).unwrap_err()
}

#[test]
fn a_request_round_trips() {
    let bytes = sample();
    let request = Request::decode(&bytes).unwrap();
    assert_eq!(request.head, head());
    assert_eq!(request.binding, binding());
    assert!(!request.shortened);
    assert_eq!(usize::from(request.fact_count()), facts().len());
    assert!(request.facts().eq(facts()));
    assert_eq!(request.detail(), None);
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    let bytes = sample();
    for len in 0..bytes.len() {
        assert!(Request::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    for more in [&[0][..], &[0; 4], &[0, 18, 0, 0], b"x"] {
        let longer = [&bytes[..], more].concat();
        assert_eq!(Request::decode(&longer).unwrap_err(), Error::Long);
    }
    assert_eq!(Request::decode(&[0; MAX_LEN + 1]).unwrap_err(), Error::Long);
}

#[test]
fn each_fixed_field_is_judged() {
    assert_eq!(with(0, b"TCPLREQ2"), Error::Magic);
    assert_eq!(with(64, &[0; 8]), Error::Field("created"));
    for op in [0u16, 24, 31, 37, u16::MAX] {
        assert_eq!(with(96, &op.to_be_bytes()), Error::Field("operation"));
    }
    for flags in [2u16, 3, 0x8000, u16::MAX] {
        assert_eq!(with(98, &flags.to_be_bytes()), Error::Reserved);
    }
    assert_eq!(with(104, &[0; 8]), Error::Field("class"));
    assert_eq!(with(112, &[0; 8]), Error::Field("policy digest"));
    for bp in [0u16, 5000, 10001, u16::MAX] {
        assert_eq!(with(152, &bp.to_be_bytes()), Error::Field("threshold"));
    }
    assert_eq!(with(154, &[0, 0]), Error::Field("uses"));
    for at in 164..168 {
        assert_eq!(with(at, &[1]), Error::Reserved);
    }
    for at in 188..192 {
        assert_eq!(with(at, &[1]), Error::Reserved);
    }
    assert_eq!(
        with(96, &3u16.to_be_bytes()),
        Error::Field("content digest")
    );
    assert_eq!(with(225, b"/"), Error::Field("class"));
    assert_eq!(with(225, &[0xff]), Error::Field("class"));
    assert_eq!(with(233, b" "), Error::Field("agent name"));
    // The number of facts follows the two names.
    assert_eq!(
        with(240, &129u16.to_be_bytes()),
        Error::Field("number of facts")
    );
    assert_eq!(with(240, &20u16.to_be_bytes()), Error::Short);
    assert_eq!(with(240, &18u16.to_be_bytes()), Error::Long);
    // The first fact.
    assert_eq!(with(242, &[0, 0]), Error::Field("fact tag"));
    assert_eq!(with(242, &20u16.to_be_bytes()), Error::Field("fact tag"));
    assert_eq!(with(242, &2u16.to_be_bytes()), Error::Field("fact order"));
}

#[test]
fn a_task_without_a_label_has_no_names() {
    let host = Binding {
        agent: 0,
        class: "",
        agent_name: "",
        ..binding()
    };
    let bytes = make(&host, &[]).unwrap();
    assert_eq!(Request::decode(&bytes).unwrap().binding, host);
    for (bad, field) in [
        (Binding { class: "c", ..host }, "class"),
        (
            Binding {
                agent_name: "a",
                ..host
            },
            "agent name",
        ),
        (
            Binding {
                class: "",
                ..binding()
            },
            "class",
        ),
        (
            Binding {
                agent_name: "",
                ..binding()
            },
            "agent name",
        ),
        (Binding { uses: 0, ..host }, "uses"),
        (
            Binding {
                threshold_bp: 5000,
                ..host
            },
            "threshold",
        ),
        (
            Binding {
                policy_version: 0,
                ..host
            },
            "policy digest",
        ),
        (
            Binding {
                op: Op::Kill,
                ..host
            },
            "content digest",
        ),
    ] {
        assert_eq!(make(&bad, &[]), Err(Error::Field(field)));
    }
}

#[test]
fn facts_stand_in_order() {
    for (list, ok) in [
        (&[Fact::Path(b"a"), Fact::Target(b"b")][..], true),
        (&[Fact::Target(b"b"), Fact::Path(b"a")], false),
        (&[Fact::Path(b"a"), Fact::Path(b"a")], false),
        (&[Fact::Arg(b"a"), Fact::Arg(b"a")], true),
        (&[Fact::Arg(b"a"), Fact::Argc(1)], false),
        (&[Fact::Hook(b"h"), Fact::Hook(b"h")], false),
        (&[Fact::Hook(b"h"), Fact::FsPath(b"/p")], true),
        (&[Fact::FsPath(b"/p"), Fact::Hook(b"h")], false),
        (&[Fact::FsPath(b"/p"), Fact::FsPath(b"/p")], false),
    ] {
        let result = make(&binding(), list).map(|_| ());
        let wanted = if ok {
            Ok(())
        } else {
            Err(Error::Field("fact order"))
        };
        assert_eq!(result, wanted, "{list:?}");
    }
}

#[test]
fn each_fact_has_its_own_length() {
    // One request for each fact; its length field is at 244, its value at 246.
    for fact in facts() {
        let good = make(&binding(), &[fact]).unwrap();
        assert_eq!(good[242..244], fact.tag().to_be_bytes());
        let len = good.len() - 246;
        let elastic = matches!(
            fact,
            Fact::Path(_)
                | Fact::Target(_)
                | Fact::Name(_)
                | Fact::Arg(_)
                | Fact::Hook(_)
                | Fact::FsPath(_)
                | Fact::Task { .. }
        );
        for (wrong, bytes) in [
            (len - 1, &good[..good.len() - 1]),
            (len + 1, &[&good[..], &[0]].concat()),
        ] {
            let mut bad = bytes.to_vec();
            bad[244..246].copy_from_slice(&u16::try_from(wrong).unwrap().to_be_bytes());
            assert_eq!(Request::decode(&bad).is_ok(), elastic, "{fact:?}");
        }
    }
}

#[test]
fn values_of_facts_are_judged() {
    let address = |family, address| Fact::Address {
        family,
        port: 1,
        address,
    };
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
    for (fact, ok) in [
        (address(2, &[0; 4][..]), true),
        (address(2, &[0; 16]), false),
        (address(2, &[]), false),
        (address(10, &[0; 16]), true),
        (address(10, &[0; 4]), false),
        (address(10, &mapped), false),
        (address(16, &[]), true),
        (address(16, &[0; 4]), false),
    ] {
        let result = make(&binding(), &[fact]).map(|_| ());
        let wanted = if ok {
            Ok(())
        } else {
            Err(Error::Field("ADDRESS"))
        };
        assert_eq!(result, wanted, "{fact:?}");
    }
    // The same for a decoder: an IPv4-mapped address, a string, hook or comm that is too long.
    let mut bytes = make(&binding(), &[address(10, &[0; 16])]).unwrap();
    let at = bytes.len() - 16;
    bytes[at..].copy_from_slice(&mapped);
    assert_eq!(
        Request::decode(&bytes).unwrap_err(),
        Error::Field("ADDRESS")
    );
    for (fact, len, name) in [
        (Fact::Path(b""), 1025, "PATH"),
        (Fact::Target(b""), 1025, "TARGET"),
        (Fact::Name(b""), 1025, "NAME"),
        (Fact::Arg(b""), 1025, "ARG"),
        (Fact::Hook(b""), MAX_HOOK + 1, "HOOK"),
        (Fact::FsPath(b""), MAX_FS_PATH + 1, "FS_PATH"),
        (
            Fact::Task {
                pid: 1,
                agent: 0,
                comm: b"",
            },
            12 + MAX_COMM + 1,
            "TASK",
        ),
    ] {
        let mut bytes = make(&binding(), &[fact]).unwrap();
        bytes.resize(246 + len, b'x');
        bytes[244..246].copy_from_slice(&u16::try_from(len).unwrap().to_be_bytes());
        assert_eq!(Request::decode(&bytes).unwrap_err(), Error::Field(name));
        bytes.pop();
        bytes[244..246].copy_from_slice(&u16::try_from(len - 1).unwrap().to_be_bytes());
        assert!(Request::decode(&bytes).is_ok());
    }
}

#[test]
fn internet_addresses_have_one_form() {
    let v4 = Address::V4([192, 0, 2, 1]);
    let mut bytes = [0; 16];
    bytes[10..].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
    assert_eq!(
        Fact::internet(&v4, 9),
        Fact::internet(&Address::V6(bytes), 9)
    );
    bytes[0] = 0x20;
    let wanted = Fact::Address {
        family: 10,
        port: 9,
        address: &bytes,
    };
    assert_eq!(Fact::internet(&Address::V6(bytes), 9), wanted);
}

#[test]
fn long_strings_are_cut_with_the_flag() {
    // Its beginning and its end differ.
    let long: Vec<u8> = (0..=250).cycle().take(1025).collect();
    for (fact, cut) in [
        (Fact::Path(&long), Fact::Path(&long[..1024])),
        (Fact::Target(&long), Fact::Target(&long[..1024])),
        (Fact::Name(&long), Fact::Name(&long[..1024])),
        (Fact::Arg(&long), Fact::Arg(&long[..1024])),
        (Fact::Hook(&long), Fact::Hook(&long[..MAX_HOOK])),
        (
            Fact::FsPath(&long),
            Fact::FsPath(&long[long.len() - MAX_FS_PATH..]),
        ),
        (
            Fact::FsPath(&long[..=MAX_FS_PATH]),
            Fact::FsPath(&long[1..=MAX_FS_PATH]),
        ),
        (
            Fact::Task {
                pid: 1,
                agent: 2,
                comm: &long,
            },
            Fact::Task {
                pid: 1,
                agent: 2,
                comm: &long[..MAX_COMM],
            },
        ),
    ] {
        for (fact, shortened) in [(fact, true), (cut, false)] {
            let bytes = make(&binding(), &[fact]).unwrap();
            let request = Request::decode(&bytes).unwrap();
            assert_eq!(request.shortened, shortened);
            assert!(request.facts().eq([cut]));
        }
    }
}

#[test]
fn arguments_without_room_are_left_out_from_the_first() {
    let long = [b'x'; 1000];
    let mut list = vec![Fact::Argc(5)];
    list.extend([Fact::Arg(&long); 4]);
    // This one alone would have room.
    list.push(Fact::Arg(b"y"));
    list.push(Fact::ArgsDigest(&support::ARGS));
    let bytes = make(&binding(), &list).unwrap();
    let request = Request::decode(&bytes).unwrap();
    assert!(request.shortened);
    let kept: Vec<_> = request.facts().collect();
    assert_eq!(
        kept[..4],
        [
            Fact::Argc(5),
            Fact::Arg(&long),
            Fact::Arg(&long),
            Fact::Arg(&long)
        ]
    );
    assert_eq!(kept[4..], [Fact::ArgsDigest(&support::ARGS)]);
}

#[test]
fn arguments_leave_room_in_number_for_the_facts_behind_them() {
    let mut list: Vec<_> = facts().into_iter().filter(|fact| fact.tag() < 6).collect();
    list.extend([Fact::Arg(b""); 200]);
    list.extend(facts().into_iter().filter(|fact| fact.tag() > 6));
    let bytes = make(&binding(), &list).unwrap();
    let request = Request::decode(&bytes).unwrap();
    assert!(request.shortened);
    assert!(request.fact_count() <= 128);
    let args = request.facts().filter(|fact| fact.tag() == 6).count();
    assert_eq!(args, 128 - 5 - 13);
    assert_eq!(request.facts().last(), facts().pop());
}

#[test]
fn the_longest_facts_of_every_kind_fit() {
    let long = [b'x'; 2000];
    let detail = {
        let mut out = [0; MAX_DETAIL];
        let name = "n".repeat(32);
        let value = Detail::AddValidator {
            weight: 1,
            name: &name,
            key: &[4; 65],
        };
        assert_eq!(value.encode(&mut out), Ok(MAX_DETAIL));
        out
    };
    let name = "n".repeat(32);
    let widest = Binding {
        op: Op::Validator,
        class: &name,
        agent_name: &name,
        ..binding()
    };
    let mut list = Vec::new();
    for fact in facts() {
        if let Fact::Hook(_) = fact {
            list.push(Fact::Detail(&detail));
        }
        list.push(match fact {
            Fact::Path(_) => Fact::Path(&long),
            Fact::Target(_) => Fact::Target(&long),
            Fact::Name(_) => Fact::Name(&long),
            Fact::Arg(_) => Fact::Arg(&long),
            Fact::Address { .. } => Fact::Address {
                family: 10,
                port: 1,
                address: &[1; 16],
            },
            Fact::Task { pid, agent, .. } => Fact::Task {
                pid,
                agent,
                comm: &long,
            },
            Fact::Hook(_) => Fact::Hook(&long),
            Fact::FsPath(_) => Fact::FsPath(&long),
            other => other,
        });
    }
    let bytes = make(&widest, &list).unwrap();
    let request = Request::decode(&bytes).unwrap();
    assert!(request.shortened);
    let tags: Vec<_> = request.facts().map(|fact| fact.tag()).collect();
    // Everything but the arguments.
    assert_eq!(
        tags,
        [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]
    );
}

#[test]
fn a_governance_request_says_what_it_asks_for() {
    let host = |op| Binding {
        op,
        agent: 0,
        class: "",
        agent_name: "",
        ..binding()
    };
    let missing = Err(Error::Field("DETAIL"));
    for op in [Op::Validator, Op::Mode, Op::Unload, Op::Recover] {
        assert_eq!(make(&host(op), &[]), missing);
    }
    assert!(make(&host(Op::Policy), &[]).is_ok());
    for op in [Op::Policy, Op::Exec] {
        assert_eq!(
            make(&host(op), &[Fact::Detail(&[1])]),
            Err(Error::Field("operation"))
        );
    }
    assert_eq!(
        make(&host(Op::Mode), &[Fact::Detail(&[3])]),
        Err(Error::Field("mode"))
    );
    let mut bytes = make(&host(Op::Mode), &[Fact::Detail(&[2])]).unwrap();
    let request = Request::decode(&bytes).unwrap();
    assert_eq!(request.detail(), Some(Detail::Mode(Mode::Enforce)));
    // The decoder judges the same.
    let at = bytes.len() - 1;
    bytes[at] = 3;
    assert_eq!(Request::decode(&bytes).unwrap_err(), Error::Field("mode"));
    let mut bare = make(&host(Op::Policy), &[]).unwrap();
    bare[97] = 34;
    assert_eq!(Request::decode(&bare).unwrap_err(), Error::Field("DETAIL"));
}

#[test]
fn two_stages_make_the_same_request() {
    let mut buf = vec![0; MAX_LEN];
    let mut writer = FactWriter::new(&mut buf, &binding()).unwrap();
    for fact in facts() {
        writer.fact(&fact).unwrap();
    }
    assert!(!writer.is_shortened());
    let len = writer.finish().unwrap();
    let whole = sample();
    assert_eq!(request::binding(&buf[..len]), request::binding(&whole));
    // Not yet a request.
    assert_eq!(Request::decode(&buf[..len]).unwrap_err(), Error::Magic);
    let before = binding_digest::<Sha256>(&buf[..len]);
    write_head(&mut buf[..len], &head()).unwrap();
    assert_eq!(buf[..len], whole);
    assert_eq!(binding_digest::<Sha256>(&buf[..len]), before);
}

#[test]
fn what_was_left_out_before_shortens_the_request() {
    let mut buf = vec![0; MAX_LEN];
    let mut writer = FactWriter::new(&mut buf, &binding()).unwrap();
    writer.mark_shortened();
    assert!(writer.is_shortened());
    for fact in facts() {
        writer.fact(&fact).unwrap();
    }
    let len = writer.finish().unwrap();
    write_head(&mut buf[..len], &head()).unwrap();
    let request = Request::decode(&buf[..len]).unwrap();
    assert!(request.shortened);
    assert!(request.facts().eq(facts()));
}

#[test]
fn times_may_come_last() {
    let early = Head {
        created: 1,
        created_ms: 2,
        expires_ms: 3,
        ..head()
    };
    let mut bytes = vec![0; MAX_LEN];
    let len = encode(&early, &binding(), &facts(), &mut bytes).unwrap();
    bytes.truncate(len);
    let head = head();
    assert_eq!(
        set_times(&mut bytes, 0, head.created_ms, head.expires_ms),
        Err(Error::Field("created"))
    );
    assert_eq!(Request::decode(&bytes).unwrap().head, early);
    set_times(&mut bytes, head.created, head.created_ms, head.expires_ms).unwrap();
    assert_eq!(bytes, sample());
    assert_eq!(set_times(&mut [0; 87], 1, 2, 3), Err(Error::NoSpace));
}

#[test]
fn buffers_and_heads_have_their_limits() {
    let mut small = vec![0; MAX_LEN - 1];
    assert_eq!(
        encode(&head(), &binding(), &[], &mut small),
        Err(Error::NoSpace)
    );
    assert_eq!(
        write_head(&mut [0; BINDING_OFFSET - 1], &head()),
        Err(Error::NoSpace)
    );
    let bad = Head {
        created: 0,
        ..head()
    };
    assert_eq!(write_head(&mut small, &bad), Err(Error::Field("created")));
    assert_eq!(request::binding(&[0; 95]), b"");
    // A larger buffer makes no difference.
    let mut large = vec![0; 2 * MAX_LEN];
    let mut list = vec![Fact::Arg(&[7; 1000]); 5];
    list.push(Fact::Size(1));
    let len = encode(&head(), &binding(), &list, &mut large).unwrap();
    assert_eq!(large[..len], make(&binding(), &list).unwrap());
}

#[test]
fn the_id_covers_everything_and_the_binding_only_the_operation() {
    let base = sample();
    let same = |other: &[u8]| {
        (
            id::<Sha256>(&base) == id::<Sha256>(other),
            binding_digest::<Sha256>(&base) == binding_digest::<Sha256>(other),
        )
    };
    assert_eq!(same(&base), (true, true));
    for at in 0..base.len() {
        let mut other = base.clone();
        other[at] ^= 1;
        assert_eq!(same(&other), (false, at < BINDING_OFFSET));
    }
}

fn any_text(max: usize) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..max)
}

proptest! {
    #[test]
    fn any_request_round_trips(
        head_numbers in any::<[u64; 5]>(),
        nonce: [u8; 16],
        (op, uid, agent) in (0..Op::COUNT, any::<u32>(), any::<u64>()),
        (version, policy) in any::<(u64, [u8; 32])>(),
        (bp, uses, ttl, line) in (5001u16..=10_000, 1u16.., any::<u32>(), any::<u32>()),
        (device, inode, generation) in any::<(u64, u64, u32)>(),
        content: [u8; 32],
        (class, name) in ("[A-Za-z0-9._-]{1,32}", "[A-Za-z0-9._-]{1,32}"),
        (texts, fs_path) in (
            proptest::collection::vec(any_text(1100), 3),
            any_text(MAX_FS_PATH + 1),
        ),
        args in proptest::collection::vec(any_text(300), 0..20),
        kept in proptest::collection::vec(any::<bool>(), 18),
        numbers in any::<[u64; 4]>(),
    ) {
        let op = Op::ALL[op];
        let head = Head {
            node: &NODE,
            epoch: head_numbers[0],
            nonce: &nonce,
            created: head_numbers[1].max(1),
            created_ms: head_numbers[2],
            expires_ms: head_numbers[3],
            wall_ms: head_numbers[4],
        };
        let content = if op.is_governance() || op.takes_digest() { content } else { [0; 32] };
        let policy = if version == 0 { [0; 32] } else { policy };
        let object = Object { device, inode, generation };
        let binding = Binding {
            op,
            uid,
            agent,
            policy_version: version,
            policy: &policy,
            threshold_bp: bp,
            uses,
            ttl_s: ttl,
            line,
            object,
            content: &content,
            class: if agent == 0 { "" } else { &class },
            agent_name: if agent == 0 { "" } else { &name },
        };
        let mut list = vec![
            Fact::Path(&texts[0]),
            Fact::Target(&texts[1]),
            Fact::TargetObject(object),
            Fact::Name(&texts[2]),
            Fact::Argc(u32::try_from(args.len()).unwrap()),
        ];
        list.extend(args.iter().map(|arg| Fact::Arg(arg)));
        list.extend([
            Fact::ArgsDigest(&content),
            Fact::Flags(numbers[0]),
            Fact::Mode(uid),
            Fact::Owner { uid, gid: line },
            Fact::Command(ttl),
            Fact::Task { pid: uid, agent, comm: b"comm" },
            Fact::Size(numbers[1]),
            Fact::Version(numbers[2]),
        ]);
        list.retain(|fact| kept[usize::from(fact.tag()) - 1]);
        match op {
            Op::Validator => list.push(Fact::Detail(&[])),
            Op::Mode | Op::Unload => list.push(Fact::Detail(&[1])),
            Op::Recover => list.push(Fact::Detail(&RECOVER)),
            _ => {}
        }
        if kept[17] {
            list.push(Fact::FsPath(&fs_path));
        }
        let mut out = vec![0; MAX_LEN];
        let result = encode(&head, &binding, &list, &mut out);
        if op == Op::Validator {
            prop_assert_eq!(result, Err(Error::Short));
            return Ok(());
        }
        let bytes = &out[..result.unwrap()];
        let request = Request::decode(bytes).unwrap();
        prop_assert_eq!(request.head, head);
        prop_assert_eq!(request.binding, binding);
        // Exactly the facts that were given, in their order; cut or left out only with the flag.
        let read: Vec<_> = request.facts().collect();
        prop_assert_eq!(request.shortened, read != list);
        for (wanted, rest) in list.iter().filter(|fact| fact.tag() > 6).zip(
            read.iter().filter(|fact| fact.tag() > 6),
        ) {
            prop_assert_eq!(wanted, rest);
        }
        // What was read is written again to the same bytes.
        if !request.shortened {
            let mut again = vec![0; MAX_LEN];
            let len = encode(&request.head, &request.binding, &read, &mut again).unwrap();
            prop_assert_eq!(&again[..len], bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        magic: bool,
    ) {
        let mut bytes = bytes;
        if let (true, Some(front)) = (magic, bytes.get_mut(..8)) {
            front.copy_from_slice(request::MAGIC);
        }
        // Random bytes have no valid operation, threshold and reserved fields at once.
        prop_assert!(Request::decode(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_is_refused_or_read_back(at: prop::sample::Index, byte: u8) {
        let mut bytes = sample();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(request) = Request::decode(&bytes) {
            let list: Vec<_> = request.facts().collect();
            let mut out = vec![0; MAX_LEN];
            let len = encode(&request.head, &request.binding, &list, &mut out).unwrap();
            if request.shortened {
                out[99] = 1;
            }
            prop_assert_eq!(&out[..len], &bytes[..]);
        }
    }
}
