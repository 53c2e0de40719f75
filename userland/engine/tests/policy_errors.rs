// SPDX-License-Identifier: GPL-2.0

//! Every reason to refuse a policy, with its exact place.

use engine::{
    limits,
    op::Op,
    policy::{
        Action,
        ErrorKind,
        Excerpt,
        Key,
        ParseError,
        Policy,
        Statement,
        Terms, //
    },
    vec::NoMemory, //
};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Parses a text that must be refused.
fn refused(text: impl AsRef<[u8]>) -> ParseError {
    match Policy::parse(text.as_ref()) {
        Ok(_) => panic!(
            "accepted: {}",
            String::from_utf8_lossy(text.as_ref().get(..200).unwrap_or(text.as_ref()))
        ),
        Err(error) => error,
    }
}

/// A policy around one statement, which is on line 4.
fn around(statement: &str) -> String {
    format!(
        "policy_name=p policy_version=1\nclass a may=b\nclass b\n{statement}\nDEFAULT action=DENY\n"
    )
}

fn word(word: &str) -> Excerpt {
    Excerpt::new(word.as_bytes())
}

/// Texts, with the line, column and reason of their first offence.
fn table() -> Vec<(Vec<u8>, u32, u32, ErrorKind)> {
    use ErrorKind::*;
    let mut table: Vec<(Vec<u8>, u32, u32, ErrorKind)> = Vec::new();

    // Whole texts.
    let many = |count: usize, line: &dyn Fn(usize) -> String| {
        let lines: String = (0..count).map(line).collect();
        format!("policy_name=p policy_version=1\nDEFAULT action=DENY\n{lines}").into_bytes()
    };
    let rule = |_: usize| String::from("op=BPF action=DENY\n");
    let paths = |n: usize| format!("op=EXEC,MOUNT path=/{n} action=DENY\n");
    let classes = |n: usize| format!("class c{n}\n");
    let row = |n: usize| u32::try_from(n).unwrap() + 3;
    table.extend([
        (vec![b'\n'; limits::POLICY_TEXT + 1], 1, 1, TextTooLong),
        (vec![b'a'; 1 << 20], 1, 1, TextTooLong),
        (
            many(limits::RULES + 1, &rule),
            row(limits::RULES),
            1,
            TooManyRules,
        ),
        (
            many(limits::PATHS + 1, &paths),
            row(limits::PATHS),
            20,
            TooManyPaths,
        ),
        (
            many(limits::CLASSES + 1, &classes),
            row(limits::CLASSES),
            7,
            TooManyClasses,
        ),
        (Vec::new(), 1, 1, NoHeader),
        (b"\n# nothing\n".to_vec(), 3, 1, NoHeader),
        (b"  class a\n".to_vec(), 1, 3, NoHeader),
        (b"op=EXEC action=DENY\n".to_vec(), 1, 1, NoHeader),
        (b"nonsense\n".to_vec(), 1, 1, NoHeader),
        (b"policy_version=1 policy_name=p\n".to_vec(), 1, 1, NoHeader),
        (b"policy_name\n".to_vec(), 1, 1, NoHeader),
        (
            b"policy_name=p\n".to_vec(),
            1,
            1,
            MissingKey(Key::PolicyVersion),
        ),
        (
            b"policy_name= policy_version=1\n".to_vec(),
            1,
            13,
            EmptyValue(Key::PolicyName),
        ),
        (
            b"policy_name=\"\" policy_version=1\n".to_vec(),
            1,
            14,
            EmptyValue(Key::PolicyName),
        ),
        (
            b"policy_name=a/b policy_version=1\n".to_vec(),
            1,
            13,
            Name(word("a/b")),
        ),
        (b"policy_name=p policy_version=0\n".to_vec(), 1, 30, Version),
        (
            b"policy_name=p policy_version=01\n".to_vec(),
            1,
            30,
            Version,
        ),
        (
            b"policy_name=p policy_version=+1\n".to_vec(),
            1,
            30,
            Version,
        ),
        (
            b"policy_name=p policy_version=9223372036854775808\n".to_vec(),
            1,
            30,
            Version,
        ),
        (
            b"policy_name=p policy_version=18446744073709551617\n".to_vec(),
            1,
            30,
            Version,
        ),
        (b"policy_name=p policy_version=1".to_vec(), 1, 31, NoNewline),
        (
            b"policy_name=p policy_version=1\nDEFAULT action=DENY".to_vec(),
            2,
            20,
            NoNewline,
        ),
        (
            b"policy_name=p policy_version=1\nDEFAULT action=DENY\n# x".to_vec(),
            3,
            4,
            NoNewline,
        ),
        (
            b"policy_name=p policy_version=1\n".to_vec(),
            2,
            1,
            NoDefault(Op::Exec),
        ),
        (
            b"policy_name=p policy_version=1\nDEFAULT op=EXEC,MMAP_EXEC action=DENY\n".to_vec(),
            3,
            1,
            NoDefault(Op::FileRead),
        ),
        // Of two offences that only the whole text shows, the first one.
        (
            b"policy_name=p policy_version=1\nDEFAULT action=QUORUM hold=1s\nclass a may=b\n"
                .to_vec(),
            2,
            28,
            HoldOperation(Op::MmapExec),
        ),
        (
            b"policy_name=p policy_version=1\nclass a may=b\nDEFAULT action=QUORUM hold=1s\n"
                .to_vec(),
            2,
            13,
            UnknownClass(word("b")),
        ),
    ]);
    for (bytes, column, kind) in [
        (&b"\xff"[..], 1, NotUtf8),
        (b"# \xc3\x28", 3, NotUtf8),
        (b"op=EXEC path=/\xed\xa0\x80 action=DENY", 15, NotUtf8),
        (b"op=EXEC action=DENY # \x07", 23, Control(7)),
        (b"op=EXEC path=\"/a\0b\" action=DENY", 17, Control(0)),
        (b"op=EXEC action=DENY\r", 20, Control(13)),
        (b"op=EXEC action=\x7fDENY", 16, Control(127)),
        (b"op=EXEC path=/\xc2\x85 action=DENY", 15, Control(0x85)),
        // The first offence of the line is told, not the worst.
        (b"op=FOO \xff", 4, UnknownOperation(word("FOO"))),
        (b"op=EXEC \xff op=FOO", 9, NotUtf8),
    ] {
        let mut text = b"policy_name=p policy_version=1\n".to_vec();
        text.extend_from_slice(bytes);
        text.extend_from_slice(b"\nDEFAULT action=DENY\n");
        table.push((text, 2, column, kind));
    }

    // Statements.
    let long = "x".repeat(33);
    let path = format!("/{}", "x".repeat(limits::PATH));
    let bad_hex = format!("sha256:{}g", "0".repeat(63));
    let statements: Vec<(String, u32, ErrorKind)> = [
        ("policy_name=p policy_version=2", 1, DuplicateHeader),
        ("classes a", 1, UnknownStatement(word("classes"))),
        ("default action=DENY", 1, UnknownStatement(word("default"))),
        ("class=a", 1, UnknownStatement(word("class"))),
        ("label=a", 1, UnknownStatement(word("label"))),
        ("DEFAULT=a", 1, UnknownStatement(word("DEFAULT"))),
        ("op", 1, UnknownStatement(word("op"))),
        ("action=DENY op=EXEC", 1, UnknownStatement(word("action"))),
        ("\u{e9}", 1, UnknownStatement(word("\u{e9}"))),
        (
            "op=EXEC acton=DENY",
            9,
            UnknownKey(word("acton"), Statement::Rule),
        ),
        (
            "op=EXEC OP=EXEC",
            9,
            UnknownKey(word("OP"), Statement::Rule),
        ),
        ("op=EXEC =x", 9, UnknownKey(word(""), Statement::Rule)),
        (
            "op=EXEC exec=/x",
            9,
            UnknownKey(word("exec"), Statement::Rule),
        ),
        (
            "class c op=EXEC",
            9,
            UnknownKey(word("op"), Statement::Class),
        ),
        ("label uid=1", 7, UnknownKey(word("uid"), Statement::Label)),
        (
            "adaptive threshold=75%",
            10,
            UnknownKey(word("threshold"), Statement::Adaptive),
        ),
        ("adaptive=1", 1, UnknownStatement(word("adaptive"))),
        ("adaptive floor", 10, NotAKey(word("floor"))),
        ("adaptive raise=", 16, EmptyValue(Key::Raise)),
        ("adaptive raise=1% raise=1%", 19, DuplicateKey(Key::Raise)),
        ("adaptive floor=50%", 16, Percentage(Key::Floor)),
        ("adaptive floor=100.01%", 16, Percentage(Key::Floor)),
        ("adaptive floor=75", 16, Percentage(Key::Floor)),
        ("adaptive ceiling=50%", 18, Percentage(Key::Ceiling)),
        ("adaptive ceiling=100.5%", 18, Percentage(Key::Ceiling)),
        ("adaptive raise=50%", 16, Percentage(Key::Raise)),
        ("adaptive raise=-1%", 16, Percentage(Key::Raise)),
        ("adaptive missing=0%", 18, Percentage(Key::Missing)),
        ("adaptive missing=101%", 18, Percentage(Key::Missing)),
        ("adaptive jitter=100.01%", 17, Percentage(Key::Jitter)),
        ("adaptive jitter=1.005%", 17, Percentage(Key::Jitter)),
        ("adaptive silence=0s", 18, Duration(Key::Silence)),
        ("adaptive silence=25h", 18, Duration(Key::Silence)),
        ("adaptive within=0s", 17, Duration(Key::Within)),
        ("adaptive within=61m", 17, Duration(Key::Within)),
        ("adaptive quiet=0m", 16, Duration(Key::Quiet)),
        ("adaptive quiet=86401s", 16, Duration(Key::Quiet)),
        ("adaptive burst=0", 16, Burst),
        ("adaptive burst=65", 16, Burst),
        ("adaptive burst=16.0", 16, Burst),
        ("adaptive floor=80% ceiling=79.99%", 20, CeilingFloor(8000)),
        ("adaptive ceiling=60% floor=60.01%", 10, CeilingFloor(6001)),
        (
            "DEFAULT class=a",
            9,
            UnknownKey(word("class"), Statement::Default),
        ),
        (
            "DEFAULT path=/x",
            9,
            UnknownKey(word("path"), Statement::Default),
        ),
        (
            "op=EXEC uid=1 uid=2 action=DENY",
            15,
            DuplicateKey(Key::Uid),
        ),
        ("op=EXEC op=BPF action=DENY", 9, DuplicateKey(Key::Op)),
        (
            "DEFAULT action=DENY action=DENY",
            21,
            DuplicateKey(Key::Action),
        ),
        ("op=EXEC", 1, MissingKey(Key::Action)),
        (" \top=EXEC", 3, MissingKey(Key::Action)),
        ("op=EXEC # action=DENY", 1, MissingKey(Key::Action)),
        ("DEFAULT op=EXEC", 1, MissingKey(Key::Action)),
        ("label class=a", 1, MissingKey(Key::Exec)),
        ("label exec=/x", 1, MissingKey(Key::Class)),
        ("label", 1, MissingKey(Key::Exec)),
        ("op=EXEC action", 9, NotAKey(word("action"))),
        ("class c d", 9, NotAKey(word("d"))),
        ("op=EXEC path=/a b action=DENY", 17, NotAKey(word("b"))),
        ("op= action=DENY", 4, EmptyValue(Key::Op)),
        ("op=EXEC uid=#", 13, EmptyValue(Key::Uid)),
        ("op=EXEC path=\"\" action=DENY", 15, EmptyValue(Key::Path)),
        ("op=EXEC,,BPF action=DENY", 9, EmptyItem(Key::Op)),
        ("op=,EXEC action=DENY", 4, EmptyItem(Key::Op)),
        ("op=EXEC class=a, action=DENY", 17, EmptyItem(Key::Class)),
        ("class c may=a,,b", 15, EmptyItem(Key::May)),
        ("op=EXEC,EXEC action=DENY", 9, DuplicateItem(word("EXEC"))),
        (
            "op=EXEC class=a,b,a action=DENY",
            19,
            DuplicateItem(word("a")),
        ),
        (
            "op=EXEC class=host,a,host action=DENY",
            22,
            DuplicateItem(word("host")),
        ),
        ("class c may=a,b,a", 17, DuplicateItem(word("a"))),
        ("class a+b", 7, Name(word("a+b"))),
        ("class \u{e9}", 7, Name(word("\u{e9}"))),
        ("class c may=a+b", 13, Name(word("a+b"))),
        ("op=EXEC agent=\"a b\" action=DENY", 16, Name(word("a b"))),
        ("label exec=/x class=a agent=x/y", 29, Name(word("x/y"))),
        ("class", 1, NoClassName),
        ("class # c", 1, NoClassName),
        ("class may=a", 7, NoClassName),
        ("class host", 7, ReservedHost),
        ("class c may=a,host", 15, ReservedHost),
        ("label exec=/x class=host", 21, ReservedHost),
        ("class a", 7, DuplicateClass(word("a"))),
        ("op=EXEC class=c action=DENY", 15, UnknownClass(word("c"))),
        ("op=EXEC class=a,A action=DENY", 17, UnknownClass(word("A"))),
        ("label exec=/x class=c", 21, UnknownClass(word("c"))),
        ("label exec=/x class=a,b", 21, UnknownClass(word("a,b"))),
        ("class c may=a,d", 15, UnknownClass(word("d"))),
        ("op=exec action=DENY", 4, UnknownOperation(word("exec"))),
        (
            "op=EXEC,FILE action=DENY",
            9,
            UnknownOperation(word("FILE")),
        ),
        (
            "DEFAULT op=ALL action=DENY",
            12,
            UnknownOperation(word("ALL")),
        ),
        ("op=EXEC path=etc action=DENY", 14, PathNotAbsolute),
        ("op=EXEC path=\"\\\\\" action=DENY", 15, PathNotAbsolute),
        ("label exec=x class=a", 12, PathNotAbsolute),
        ("label exec=/ class=a", 7, AgentFromPath),
        ("label exec=/x/ class=a", 7, AgentFromPath),
        ("label class=a exec=/[", 15, AgentFromPath),
        ("op=EXEC uid=-1 action=DENY", 13, Uid),
        ("op=EXEC uid=root action=DENY", 13, Uid),
        ("op=EXEC uid=4294967295 action=DENY", 13, Uid),
        ("op=EXEC uid=00 action=DENY", 13, Uid),
        ("op=EXEC digest=sha256:00 action=DENY", 16, Digest),
        ("op=EXEC digest=md5:00 action=DENY", 16, Digest),
        ("op=NET_SEND addr=example.org action=DENY", 18, Address),
        ("op=NET_SEND addr=/8 action=DENY", 18, Address),
        ("op=NET_SEND addr=10.0.0.0/33 action=DENY", 18, PrefixLength),
        (
            "op=NET_SEND addr=10.0.0.1/8 action=DENY",
            18,
            PrefixHostBits,
        ),
        ("op=NET_SEND port=65536 action=DENY", 18, Port),
        ("op=NET_SEND port=1- action=DENY", 18, Port),
        ("op=NET_SEND port=-1 action=DENY", 18, Port),
        ("op=NET_SEND port=1-2-3 action=DENY", 18, Port),
        ("op=NET_SEND port=http action=DENY", 18, Port),
        ("op=NET_SEND port=2-1 action=DENY", 18, PortOrder),
        ("op=EXEC action=allow", 16, UnknownAction(word("allow"))),
        ("DEFAULT action=NO", 16, UnknownAction(word("NO"))),
        (
            "op=EXEC action=DENY uses=1 ttl=1s",
            21,
            OptionWithoutQuorum(Key::Uses),
        ),
        (
            "op=EXEC ttl=1s action=ALLOW uses=1",
            9,
            OptionWithoutQuorum(Key::Ttl),
        ),
        (
            "op=EXEC action=AUDIT threshold=75%",
            22,
            OptionWithoutQuorum(Key::Threshold),
        ),
        (
            "DEFAULT action=AUDIT hold=0s",
            22,
            OptionWithoutQuorum(Key::Hold),
        ),
        (
            "op=EXEC action=DENY timeout=1s",
            21,
            OptionWithoutQuorum(Key::Timeout),
        ),
        ("op=EXEC action=QUORUM threshold=50% ", 33, Threshold),
        ("op=EXEC action=QUORUM threshold=50.00%", 33, Threshold),
        ("op=EXEC action=QUORUM threshold=100.01%", 33, Threshold),
        ("op=EXEC action=QUORUM threshold=75", 33, Threshold),
        ("op=EXEC action=QUORUM threshold=75.123%", 33, Threshold),
        ("op=EXEC action=QUORUM threshold=75.%", 33, Threshold),
        ("op=EXEC action=QUORUM threshold=.75%", 33, Threshold),
        ("op=EXEC action=QUORUM threshold=-75%", 33, Threshold),
        (
            "op=EXEC action=QUORUM threshold=184467440737095517%",
            33,
            Threshold,
        ),
        ("op=EXEC action=QUORUM ttl=0s", 27, Duration(Key::Ttl)),
        ("op=EXEC action=QUORUM ttl=5", 27, Duration(Key::Ttl)),
        ("op=EXEC action=QUORUM ttl=s", 27, Duration(Key::Ttl)),
        ("op=EXEC action=QUORUM ttl=5d", 27, Duration(Key::Ttl)),
        ("op=EXEC action=QUORUM ttl=25h", 27, Duration(Key::Ttl)),
        ("op=EXEC action=QUORUM ttl=86401s", 27, Duration(Key::Ttl)),
        (
            "op=EXEC action=QUORUM ttl=5124095576030432h",
            27,
            Duration(Key::Ttl),
        ),
        (
            "op=EXEC action=QUORUM timeout=0m",
            31,
            Duration(Key::Timeout),
        ),
        ("op=EXEC action=QUORUM hold=601s", 28, Duration(Key::Hold)),
        ("op=EXEC action=QUORUM hold=1h", 28, Duration(Key::Hold)),
        ("op=EXEC action=QUORUM uses=0", 28, Uses),
        ("op=EXEC action=QUORUM uses=65536", 28, Uses),
        (
            "op=EXEC,MOUNT action=QUORUM hold=1s",
            34,
            HoldOperation(Op::Mount),
        ),
        (
            "DEFAULT op=KILL hold=1s action=QUORUM",
            22,
            HoldOperation(Op::Kill),
        ),
        (
            "op=POLICY hold=1m action=QUORUM",
            16,
            HoldOperation(Op::Policy),
        ),
        (
            "op=BPF path=/x action=DENY",
            8,
            SelectorOperation(Key::Path, Op::Bpf),
        ),
        (
            "op=EXEC,BPF path=/x action=DENY",
            13,
            SelectorOperation(Key::Path, Op::Bpf),
        ),
        (
            "op=FILE_WRITE digest=x action=DENY",
            15,
            SelectorOperation(Key::Digest, Op::FileWrite),
        ),
        (
            "op=EXEC addr=::1 action=DENY",
            9,
            SelectorOperation(Key::Addr, Op::Exec),
        ),
        (
            "op=UNIX_CONNECT port=1 action=DENY",
            17,
            SelectorOperation(Key::Port, Op::UnixConnect),
        ),
        (
            "op=POLICY class=a action=DENY",
            11,
            GovernanceSelector(Key::Class),
        ),
        (
            "op=MODE agent=a action=DENY",
            9,
            GovernanceSelector(Key::Agent),
        ),
        (
            "op=UNLOAD path=/x action=DENY",
            11,
            GovernanceSelector(Key::Path),
        ),
        (
            "op=EXEC,MODE class=a action=DENY",
            14,
            GovernanceSelector(Key::Class),
        ),
        ("op=POLICY action=ALLOW", 18, GovernanceAction(Op::Policy)),
        (
            "op=EXEC,VALIDATOR action=AUDIT",
            26,
            GovernanceAction(Op::Validator),
        ),
        (
            "DEFAULT op=UNLOAD action=QUORUM",
            12,
            GovernanceDefault(Op::Unload),
        ),
        ("op=EXEC path=a\"b action=DENY", 15, StrayQuote),
        ("op=EXEC \"path\"=/a action=DENY", 9, StrayQuote),
        ("class \"c\"", 7, StrayQuote),
        ("op=EXEC path=\"/a action=DENY", 14, UnclosedQuote),
        ("op=EXEC path=\"/a\\\"", 14, UnclosedQuote),
        ("op=EXEC path=\"/a\\n\" action=DENY", 17, BadEscape),
        ("op=EXEC path=\"/a\\", 17, BadEscape),
        ("op=EXEC path=\"/a\"b action=DENY", 18, AfterQuote),
        ("op=EXEC path=\"/a\"\"b\" action=DENY", 18, AfterQuote),
    ]
    .into_iter()
    .map(|(text, column, kind)| (String::from(text), column, kind))
    .chain([
        (format!("class {long}"), 7, Name(word(&long))),
        (format!("label exec=/{long} class=a"), 7, AgentFromPath),
        (format!("op=EXEC path={path} action=DENY"), 14, PathTooLong),
        (format!("op=EXEC digest={bad_hex} action=DENY"), 16, Digest),
        (
            format!("op=EXEC {long}=1"),
            9,
            UnknownKey(word(&long), Statement::Rule),
        ),
        (
            format!(
                "class c may={}",
                (0..65)
                    .map(|n| format!("c{n}"))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
            // After 10 names of 2 and 54 of 3 bytes, with their commas.
            13 + 10 * 3 + 54 * 4,
            TooManyClasses,
        ),
    ])
    .collect();
    table.extend(
        statements
            .into_iter()
            .map(|(text, column, kind)| (around(&text).into_bytes(), 4, column, kind)),
    );
    // Offences against an earlier statement.
    table.extend([
        (
            around("adaptive\nadaptive raise=0%").into_bytes(),
            5,
            1,
            DuplicateAdaptive,
        ),
        (
            around("DEFAULT op=BPF action=DENY\n adaptive").into_bytes(),
            5,
            2,
            AdaptivePlace,
        ),
        (
            around("op=BPF action=DENY\nadaptive raise=0%").into_bytes(),
            5,
            1,
            AdaptivePlace,
        ),
        (
            b"policy_name=p policy_version=1\nDEFAULT action=DENY\nadaptive\n".to_vec(),
            3,
            1,
            AdaptivePlace,
        ),
        (
            b"adaptive\npolicy_name=p policy_version=1\n".to_vec(),
            1,
            1,
            NoHeader,
        ),
        (
            around("adaptive floor=66.67%\nop=BPF action=QUORUM threshold=66.66%").into_bytes(),
            5,
            32,
            ThresholdFloor(6667),
        ),
        (
            around("adaptive floor=90%\nDEFAULT op=BPF action=QUORUM threshold=75%").into_bytes(),
            5,
            40,
            ThresholdFloor(9000),
        ),
        (
            around("label exec=/x class=a\nlabel exec=/x class=b").into_bytes(),
            5,
            7,
            DuplicateLabel,
        ),
        (
            around("DEFAULT action=DENY").into_bytes(),
            5,
            1,
            DuplicateDefault(None),
        ),
        (
            around("DEFAULT op=BPF action=DENY\nDEFAULT op=EXEC,BPF action=DENY").into_bytes(),
            5,
            17,
            DuplicateDefault(Some(Op::Bpf)),
        ),
    ]);
    table
}

#[test]
fn offences_are_told_with_their_place() {
    for (text, line, column, kind) in table() {
        let shown = String::from_utf8_lossy(text.get(..300).unwrap_or(&text)).into_owned();
        assert_eq!(refused(&text), ParseError { line, column, kind }, "{shown}");
    }
}

/// A number for each kind. A new kind does not compile until it is here, and in the table.
fn number(kind: &ErrorKind) -> u32 {
    use ErrorKind::*;
    match kind {
        NoMemory => 0,
        TextTooLong => 1,
        TooManyRules => 2,
        TooManyPaths => 3,
        TooManyClasses => 4,
        PathTooLong => 5,
        NotUtf8 => 6,
        Control(_) => 7,
        NoNewline => 8,
        StrayQuote => 9,
        UnclosedQuote => 10,
        BadEscape => 11,
        AfterQuote => 12,
        UnknownStatement(_) => 13,
        NoHeader => 14,
        DuplicateHeader => 15,
        UnknownKey(..) => 16,
        DuplicateKey(_) => 17,
        MissingKey(_) => 18,
        NotAKey(_) => 19,
        EmptyValue(_) => 20,
        EmptyItem(_) => 21,
        DuplicateItem(_) => 22,
        Name(_) => 23,
        Version => 24,
        NoClassName => 25,
        ReservedHost => 26,
        DuplicateClass(_) => 27,
        UnknownClass(_) => 28,
        UnknownOperation(_) => 29,
        PathNotAbsolute => 30,
        AgentFromPath => 31,
        DuplicateLabel => 32,
        Uid => 33,
        Digest => 34,
        Address => 35,
        PrefixLength => 36,
        PrefixHostBits => 37,
        Port => 38,
        PortOrder => 39,
        UnknownAction(_) => 40,
        OptionWithoutQuorum(_) => 41,
        Threshold => 42,
        Duration(_) => 43,
        Uses => 44,
        HoldOperation(_) => 45,
        SelectorOperation(..) => 46,
        GovernanceSelector(_) => 47,
        GovernanceAction(_) => 48,
        GovernanceDefault(_) => 49,
        DuplicateDefault(_) => 50,
        NoDefault(_) => 51,
        DuplicateAdaptive => 52,
        AdaptivePlace => 53,
        Percentage(_) => 54,
        CeilingFloor(_) => 55,
        Burst => 56,
        ThresholdFloor(_) => 57,
    }
}

#[test]
fn every_offence_occurs_and_has_its_own_text() {
    let mut kinds: Vec<ErrorKind> = table().into_iter().map(|row| row.3).collect();
    // Memory does not run out here.
    kinds.push(ParseError::from(NoMemory).kind);
    let seen: BTreeSet<u32> = kinds.iter().map(number).collect();
    assert_eq!(seen, (0..=57).collect());

    let mut texts: Vec<(String, u32)> = kinds
        .iter()
        .map(|kind| (kind.to_string(), number(kind)))
        .collect();
    texts.sort();
    texts.dedup();
    for pair in texts.windows(2) {
        assert_ne!(pair[0].0, pair[1].0, "two kinds have one text");
    }
    for (text, _) in texts {
        assert!(text.len() <= 200, "{text}");
    }
}

#[test]
fn limits_are_told_from_grammar() {
    for (_, _, _, kind) in table() {
        assert_eq!(kind.is_limit(), (1..=5).contains(&number(&kind)), "{kind}");
    }
}

#[test]
fn messages_start_with_the_place_and_the_essential() {
    let error = refused(around("op=EXEC foo=1 action=DENY"));
    assert_eq!(
        error.to_string(),
        "4:9: unknown key \"foo\"; known keys are op, class, agent, uid, path, digest, addr, port, \
         action, threshold, ttl, timeout, uses, hold"
    );
    assert_eq!(
        refused(around("op=FILE_READ,MOUNT action=QUORUM hold=5s")).to_string(),
        "4:39: MOUNT cannot hold: the kernel has locks taken there; leave hold out"
    );
    assert_eq!(ParseError::from(NoMemory).to_string(), "no memory");
    // A word that is too long is cut, at a character's end.
    let long = "\u{e9}".repeat(20);
    let error = refused(around(&format!("op=EXEC {long}=1")));
    let cut = format!("4:9: unknown key \"{}...\";", "\u{e9}".repeat(16));
    assert!(error.to_string().starts_with(&cut), "{error}");
    let error = refused(around(&format!("op=EXEC x{long}=1")));
    let cut = format!("4:9: unknown key \"x{}...\";", "\u{e9}".repeat(15));
    assert!(error.to_string().starts_with(&cut), "{error}");
}

#[test]
fn messages_name_the_key_and_its_range() {
    let percent = |statement: &str| refused(around(statement)).kind.to_string();
    for (key, range) in [
        ("floor", "50.01% to 100%"),
        ("ceiling", "50.01% to 100%"),
        ("raise", "0% to 49.99%"),
        ("missing", "0.01% to 100%"),
        ("jitter", "0% to 100%"),
    ] {
        assert_eq!(
            percent(&format!("adaptive {key}=101%")),
            format!("{key} must be {range}, with at most two decimals")
        );
    }
    for (key, range) in [
        ("silence", "1s to 24h"),
        ("within", "1s to 1h"),
        ("quiet", "1s to 24h"),
    ] {
        assert_eq!(
            percent(&format!("adaptive {key}=0s")),
            format!("{key} must be {range}: a number and s, m or h")
        );
    }
    assert_eq!(
        percent("op=EXEC action=QUORUM hold=11m"),
        "hold must be 0s to 10m: a number and s, m or h"
    );
    assert_eq!(
        percent("adaptive floor=80.5% ceiling=80.05%"),
        "ceiling is below the floor, 80.50%"
    );
    assert_eq!(
        percent("adaptive floor=66.67%\nop=BPF action=QUORUM threshold=66%"),
        "threshold is below the floor of this policy, 66.67%"
    );
    for (statement, text) in [
        ("op=EXEC", "action= is missing"),
        ("op=EXEC uid=1 uid=2", "uid stands twice in this statement"),
        ("op=EXEC path=", "path= has no value"),
        ("op=EXEC,", "op= has an empty item in its list"),
        (
            "op=EXEC action=DENY ttl=1s",
            "ttl is an option of action=QUORUM only",
        ),
        ("op=BPF path=/x", "BPF does not take path="),
        (
            "op=MODE class=a",
            "a governance operation does not take class=, only uid=",
        ),
    ] {
        assert_eq!(percent(statement), text);
    }
    // A key takes a width, as in a table.
    assert_eq!(format!("{:>6}|", Key::Uid), "   uid|");
}

#[test]
fn a_word_is_cut_when_it_is_longer_than_a_name() {
    for (len, end) in [
        (0, ""),
        (1, ""),
        (31, ""),
        (32, ""),
        (33, "..."),
        (99, "..."),
    ] {
        let kept = "x".repeat(len.min(32));
        let shown = Excerpt::new("x".repeat(len).as_bytes()).to_string();
        assert_eq!(shown, format!("\"{kept}{end}\""));
    }
}

/// The paths that a policy with this rule names.
fn paths(rule: &str) -> Vec<String> {
    let policy = Policy::parse(around(rule).as_bytes()).unwrap();
    let paths = policy.objects().iter();
    paths
        .map(|object| object.path(&policy).to_owned())
        .collect()
}

#[test]
fn a_backslash_is_special_in_quotes_only() {
    assert_eq!(paths(r"op=EXEC path=/a\b\\c action=DENY"), [r"/a\b\\c"]);
    assert_eq!(paths(r#"op=EXEC path="/a b" action=DENY"#), ["/a b"]);
    assert_eq!(
        paths(r#"op=EXEC path="/\\\"\\\\" action=DENY"#),
        [r#"/\"\\"#]
    );
}

#[test]
fn a_threshold_and_a_ceiling_may_be_the_floor() {
    let text =
        around("adaptive floor=66.67% ceiling=66.67%\nop=BPF action=QUORUM threshold=66.67%");
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let adaptive = policy.adaptive();
    assert_eq!((adaptive.floor_bp, adaptive.ceiling_bp), (6667, 6667));
    let actions: Vec<Action> = policy.rules().map(|rule| rule.action).collect();
    let terms = Terms {
        threshold_bp: 6667,
        ..Terms::DEFAULT
    };
    assert_eq!(actions, [Action::Quorum(terms)]);
}

#[test]
fn limits_can_be_reached() {
    let header = "policy_name=p policy_version=9223372036854775807\nDEFAULT action=DENY\n";

    let mut text = String::from(header);
    text.push('#');
    text.push_str(&"x".repeat(limits::POLICY_TEXT - text.len()));
    text.push('\n');
    assert_eq!(text.len(), limits::POLICY_TEXT + 1);
    assert_eq!(refused(&text).kind, ErrorKind::TextTooLong);
    text.remove(text.len() - 2);
    let policy = Policy::parse(text.as_bytes()).unwrap();
    assert_eq!(policy.text(), text.as_bytes());
    assert_eq!(policy.version(), i64::MAX.unsigned_abs());

    let rules = format!("{header}{}", "op=BPF action=DENY\n".repeat(limits::RULES));
    assert_eq!(
        Policy::parse(rules.as_bytes()).unwrap().rules().count(),
        limits::RULES
    );

    let paths: String = (0..limits::PATHS)
        .map(|n| format!("op=EXEC path=/{n} action=DENY\nop=EXEC path=\"/{n}\" action=DENY\n"))
        .collect();
    let policy = Policy::parse(format!("{header}{paths}").as_bytes()).unwrap();
    assert_eq!(policy.objects().len(), limits::PATHS);
    for (n, object) in policy.objects().iter().enumerate() {
        assert_eq!(object.path(&policy), format!("/{n}"));
        assert_eq!(object.line as usize, 3 + 2 * n);
        assert_eq!(object.column, 14);
    }

    let classes: String = (0..limits::CLASSES)
        .map(|n| format!("class c{n} may=c63\n"))
        .collect();
    let policy = Policy::parse(format!("{header}{classes}").as_bytes()).unwrap();
    assert_eq!(policy.classes().count(), limits::CLASSES);
    let last = policy.class(b"c63").unwrap();
    assert_eq!(policy.class_name(last), "c63");
    assert!(policy.may_start(last, last));
    assert!(policy.may_start(policy.class(b"c0").unwrap(), last));
    assert!(!policy.may_start(last, policy.class(b"c0").unwrap()));

    let name = "n".repeat(limits::NAME);
    let path = format!("/{}", "x".repeat(limits::PATH - 1));
    let text = format!("{header}class {name}\nlabel exec={path} class={name} agent={name}\n");
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let label = policy.labels().next().unwrap();
    assert_eq!(label.name, name);
    assert_eq!(policy.object(label.object).unwrap().path(&policy), path);
}

/// Words from which texts are made that come near to being policies.
fn fragment() -> impl Strategy<Value = String> {
    let fragments: Vec<&str> = vec![
        "policy_name=p policy_version=1\n",
        "class a\n",
        "class ",
        "label exec=/x class=a\n",
        "adaptive",
        " floor=66%",
        " ceiling=66%",
        " burst=9",
        " quiet=1m",
        "DEFAULT action=DENY\n",
        "DEFAULT ",
        "op=EXEC",
        "op=",
        ",FILE_WRITE",
        "NET_CONNECT",
        "POLICY",
        " action=QUORUM",
        " action=ALLOW",
        " path=/a",
        " path=\"/a b\\\"\"",
        " class=host",
        " class=a",
        " addr=10.0.0.0/8",
        " port=1-2",
        " threshold=66.67%",
        " hold=1s",
        " ttl=",
        "may=a,b",
        "\n",
        "#",
        "\"",
        "\\",
        ",",
        "=",
        " ",
        "\t",
        "\u{e9}",
        "\u{85}",
        "\0",
        "99999999999999999999",
    ];
    proptest::sample::select(fragments).prop_map(String::from)
}

/// What holds for any refusal.
fn check_refusal(text: &[u8], error: ParseError) {
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
    let line = lines[usize::try_from(error.line).unwrap() - 1];
    assert!(
        (1..=line.len() + 1).contains(&usize::try_from(error.column).unwrap()),
        "{error}"
    );
    let shown = error.to_string();
    assert!(
        shown.len() <= 220 && !shown.chars().any(char::is_control),
        "{shown:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_bytes_are_survived(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        check_refusal(&text, refused(&text));
    }

    #[test]
    fn near_policies_are_survived(words in proptest::collection::vec(fragment(), 0..40)) {
        let text = words.concat();
        match Policy::parse(text.as_bytes()) {
            Ok(policy) => prop_assert_eq!(policy.text(), text.as_bytes()),
            Err(error) => check_refusal(text.as_bytes(), error),
        }
    }

    #[test]
    fn a_broken_policy_is_survived(
        place in 0usize..2000,
        byte: u8,
        remove in 0usize..20,
    ) {
        let mut text = EXAMPLE.as_bytes().to_vec();
        let place = place % text.len();
        let end = (place + remove).min(text.len());
        text.splice(place..end, [byte]);
        match Policy::parse(&text) {
            Ok(policy) => prop_assert_eq!(policy.text(), &text[..]),
            Err(error) => check_refusal(&text, error),
        }
    }
}

/// The example of `Documentation/policy.rst`.
const EXAMPLE: &str = "\
policy_name=builder policy_version=1
class builder may=tester
class tester
label exec=/usr/bin/agent class=builder
DEFAULT action=DENY
DEFAULT op=FILE_READ,MMAP_EXEC action=ALLOW
op=EXEC class=builder,tester path=/usr/bin action=ALLOW
op=FILE_WRITE,FILE_CREATE class=builder path=/srv/build action=ALLOW
op=FILE_WRITE class=builder path=/etc action=QUORUM threshold=75% ttl=5m uses=1 hold=0s
op=NET_CONNECT addr=10.0.0.0/8 port=443 action=ALLOW
op=MODULE_LOAD class=builder,host action=QUORUM
op=POLICY action=QUORUM threshold=90%
";

#[test]
fn the_documented_example_is_the_one_here() {
    let document = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../Documentation/policy.rst"
    ))
    .unwrap();
    let indented: String = EXAMPLE
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    assert!(document.contains(&indented));
    Policy::parse(EXAMPLE.as_bytes()).unwrap();
}
