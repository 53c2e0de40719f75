// SPDX-License-Identifier: GPL-2.0

//! Warnings about policies, and operations.

use engine::{
    op::Op,
    policy::Policy, //
};
use std::collections::BTreeSet;

/// Warnings about a policy whose statements start on line 5.
fn lint(lines: &str) -> Vec<(u32, String)> {
    let text =
        format!("policy_name=p policy_version=1\nclass a\nclass b\nDEFAULT action=DENY\n{lines}");
    Policy::parse(text.as_bytes())
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
        .lint()
        .map(|warning| (warning.line, warning.message))
        .collect()
}

/// Lines of the warnings about a policy, likewise, whose message starts so.
fn told(lines: &str, start: &str) -> Vec<u32> {
    lint(lines)
        .into_iter()
        .filter(|(_, message)| message.starts_with(start))
        .map(|(line, _)| line)
        .collect()
}

/// Asserts that there is one warning, on that line and with that text in it.
#[track_caller]
fn one(lines: &str, line: u32, part: &str) {
    let warnings = lint(lines);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].0, line);
    assert!(warnings[0].1.contains(part), "{warnings:?}");
}

#[test]
fn a_sound_policy_has_no_warnings() {
    assert_eq!(
        lint(
            "label exec=/usr/bin/agent class=a\n\
             op=EXEC class=a path=/usr/bin action=ALLOW\n\
             op=FILE_WRITE,FILE_CREATE class=a path=/srv action=ALLOW\n\
             op=FILE_WRITE class=a path=/etc action=QUORUM\n"
        ),
        []
    );
}

#[test]
fn rules_that_are_never_reached() {
    one(
        "op=BPF action=ALLOW\nop=BPF uid=1 action=DENY\n",
        6,
        "line 5",
    );
    one(
        "op=EXEC path=/x action=DENY\nop=MOUNT action=DENY\nop=EXEC,MOUNT path=/x uid=0 action=DENY\n",
        7,
        "line 6",
    );
    one(
        "op=NET_SEND addr=10.0.0.0/8 port=1-9 action=DENY\nop=NET_SEND addr=10.1.0.0/16 port=5 action=DENY\n",
        6,
        "line 5",
    );
    // A wider rule after a narrower one, another subject, the tasks without a label.
    assert_eq!(lint("op=BPF uid=1 action=DENY\nop=BPF action=DENY\n"), []);
    assert_eq!(
        lint("op=BPF uid=1 action=DENY\nop=BPF uid=2 action=DENY\n"),
        []
    );
    assert_eq!(
        lint("op=BPF action=DENY\nop=BPF class=host action=DENY\n"),
        []
    );
    assert_eq!(
        lint("op=NET_SEND addr=10.1.0.0/16 action=DENY\nop=NET_SEND addr=10.0.0.0/8 action=DENY\n"),
        []
    );
}

/// Selectors of an earlier and a later rule, and whether the later one is never reached.
#[track_caller]
fn shadows(op: &str, table: &[(&str, &str, bool)]) {
    for &(first, second, wanted) in table {
        let lines = format!("op={op} {first} action=DENY\nop={op} {second} action=DENY\n");
        let lines_told: &[u32] = if wanted { &[6] } else { &[] };
        assert_eq!(told(&lines, "never reached"), lines_told, "{lines}");
    }
}

#[test]
fn a_rule_shadows_what_has_no_more_subjects() {
    shadows(
        "BPF",
        &[
            ("", "", true),
            ("", "class=a", true),
            ("class=a", "", false),
            ("class=a", "class=a", true),
            ("class=a", "class=b", false),
            ("class=a,b", "class=a", true),
            ("class=a", "class=a,b", false),
            ("", "class=host", false),
            ("class=host", "", false),
            ("class=host", "class=host", true),
            ("class=host", "class=a", false),
            ("class=a", "class=host", false),
            ("class=a", "class=host,a", false),
            ("class=host,a", "class=host", true),
            ("class=host,a", "class=a", true),
            ("", "agent=x", true),
            ("agent=x", "agent=x", true),
            ("agent=x", "agent=y", false),
            ("agent=x", "", false),
            ("", "uid=1", true),
            ("uid=1", "uid=1", true),
            ("uid=1", "uid=2", false),
            ("uid=1", "", false),
        ],
    );
}

#[test]
fn a_rule_shadows_what_has_no_more_objects() {
    shadows(
        "NET_SEND",
        &[
            ("", "addr=10.0.0.0/8", true),
            ("addr=10.0.0.0/8", "", false),
            ("addr=10.0.0.0/8", "addr=10.0.0.0/8", true),
            ("addr=10.0.0.0/8", "addr=10.1.0.0/16", true),
            ("addr=10.0.0.0/16", "addr=10.0.0.0/8", false),
            ("addr=10.0.0.0/8", "addr=11.0.0.0/16", false),
            ("", "port=5", true),
            ("port=5", "", false),
            ("port=1-9", "port=1-9", true),
            ("port=1-9", "port=2-8", true),
            ("port=2-9", "port=1-9", false),
            ("port=1-8", "port=1-9", false),
        ],
    );
    let zeros = format!("digest=sha256:{}", "0".repeat(64));
    let ones = format!("digest=sha256:{}", "1".repeat(64));
    shadows(
        "EXEC",
        &[
            ("", "path=/x", true),
            ("path=/x", "", false),
            ("path=/x", "path=/x", true),
            ("path=/x", "path=/y", false),
            ("", &zeros, true),
            (&zeros, "", false),
            (&zeros, &zeros, true),
            (&zeros, &ones, false),
        ],
    );
}

#[test]
fn each_operation_of_a_rule_is_looked_for() {
    // The line is that of the rule that took the last operation, not of one with others.
    one(
        "op=BPF action=DENY\nop=MOUNT action=DENY\nop=BPF uid=1 action=DENY\n",
        7,
        "line 5 matches",
    );
    // One operation is left.
    assert_eq!(lint("op=BPF action=DENY\nop=BPF,MOUNT action=DENY\n"), []);
}

#[test]
fn a_path_that_is_protected_in_part() {
    let allow = "DEFAULT op=FILE_RENAME,FILE_LINK,FILE_DELETE,FILE_ATTR action=ALLOW\n";
    one(
        &format!("{allow}op=FILE_WRITE,FILE_ATTR path=/etc action=DENY\n"),
        6,
        "FILE_DELETE, FILE_RENAME, FILE_LINK is allowed",
    );
    assert_eq!(
        lint(&format!(
            "{allow}op=FILE_WRITE,FILE_ATTR,FILE_DELETE path=/etc action=DENY\n\
             op=FILE_RENAME,FILE_LINK action=AUDIT\n"
        )),
        []
    );
    // Tasks without a label may do whatever is not named.
    one(
        "op=FILE_WRITE class=host path=/etc action=DENY\n",
        5,
        "FILE_CREATE",
    );
}

/// The operations that are allowed at a path whose writing these rules, from line 6 on, restrict.
fn open(rules: &str) -> Vec<(u32, String)> {
    let changes = "FILE_CREATE,FILE_DELETE,FILE_RENAME,FILE_LINK,FILE_ATTR";
    lint(&format!("DEFAULT op={changes} action=ALLOW\n{rules}"))
        .into_iter()
        .filter_map(|(line, message)| {
            let names = message
                .strip_prefix("FILE_WRITE of /etc is restricted and ")?
                .strip_suffix(" is allowed there; name these operations too")?;
            Some((line, names.to_owned()))
        })
        .collect()
}

#[test]
fn what_leaves_a_protected_path_open() {
    let all = "FILE_CREATE, FILE_DELETE, FILE_RENAME, FILE_LINK, FILE_ATTR";
    let but_create = "FILE_DELETE, FILE_RENAME, FILE_LINK, FILE_ATTR";
    for (rules, wanted) in [
        ("op=FILE_WRITE path=/etc action=DENY", Some(all)),
        ("op=FILE_WRITE path=/etc action=QUORUM", Some(all)),
        ("op=FILE_READ,FILE_WRITE path=/etc action=DENY", Some(all)),
        ("op=FILE_WRITE path=/etc action=ALLOW", None),
        ("op=FILE_WRITE path=/etc action=AUDIT", None),
        ("op=FILE_READ path=/etc action=DENY", None),
        ("op=FILE_WRITE action=DENY", None),
        (
            "op=FILE_WRITE,FILE_CREATE path=/etc action=DENY",
            Some(but_create),
        ),
        // Another rule restricts one of them, there or everywhere, or does not.
        (
            "op=FILE_WRITE path=/etc action=DENY\nop=FILE_CREATE path=/etc action=AUDIT",
            Some(but_create),
        ),
        (
            "op=FILE_WRITE path=/etc action=DENY\nop=FILE_CREATE action=QUORUM",
            Some(but_create),
        ),
        (
            "op=FILE_WRITE path=/etc action=DENY\nop=FILE_CREATE path=/usr action=DENY",
            Some(all),
        ),
        (
            "op=FILE_WRITE path=/etc action=DENY\nop=FILE_CREATE path=/etc action=ALLOW",
            Some(all),
        ),
        (
            "op=FILE_WRITE path=/etc uid=1 action=DENY\nop=FILE_CREATE path=/etc uid=2 action=DENY",
            Some(all),
        ),
    ] {
        let wanted: Vec<_> = wanted
            .map(|names| (6, names.to_owned()))
            .into_iter()
            .collect();
        assert_eq!(open(&format!("{rules}\n")), wanted, "{rules}");
    }
    // What DEFAULT does not allow is open to tasks without a label only.
    assert_eq!(lint("op=FILE_WRITE path=/etc action=DENY\n"), []);
    one(
        "op=FILE_WRITE class=host path=/etc action=DENY\n",
        5,
        &format!("/etc is restricted and {all} is allowed"),
    );
}

#[test]
fn what_can_be_written_and_executed() {
    one(
        "op=FILE_WRITE path=/srv action=ALLOW\nop=EXEC path=/srv action=ALLOW\n",
        6,
        "line 5 allows writing",
    );
    assert_eq!(
        lint("op=FILE_WRITE path=/srv uid=1 action=ALLOW\nop=EXEC path=/srv uid=2 action=ALLOW\n"),
        []
    );
}

#[test]
fn who_can_write_and_execute() {
    for (execute, write, wanted) in [
        ("", "", true),
        ("", "class=a", true),
        ("class=a", "", true),
        ("class=a", "class=a", true),
        ("class=a", "class=b", false),
        ("class=a,b", "class=b", true),
        ("", "class=host", false),
        ("class=host", "", false),
        ("class=host", "class=host", true),
        ("class=host", "class=a", false),
        ("class=a", "class=host", false),
        ("class=host,a", "class=host", true),
        ("class=host,a", "class=b", false),
        ("agent=x", "agent=x", true),
        ("agent=x", "agent=y", false),
        ("agent=x", "", true),
        ("", "agent=x", true),
        ("uid=1", "uid=1", true),
        ("uid=1", "uid=2", false),
        ("uid=1", "", true),
        ("", "uid=1", true),
    ] {
        let lines = format!(
            "op=FILE_WRITE {write} path=/srv action=ALLOW\n\
             op=EXEC {execute} path=/srv action=ALLOW\n"
        );
        let lines_told: &[u32] = if wanted { &[6] } else { &[] };
        assert_eq!(
            told(&lines, "EXEC is allowed below /srv"),
            lines_told,
            "{lines}"
        );
    }
}

#[test]
fn what_counts_as_writing_and_executing() {
    let digest = format!("digest=sha256:{}", "0".repeat(64));
    for (write, execute, wanted) in [
        (
            "FILE_WRITE path=/srv action=AUDIT",
            "EXEC path=/srv action=AUDIT",
            true,
        ),
        (
            "FILE_CREATE path=/srv action=ALLOW",
            "EXEC path=/srv action=ALLOW",
            true,
        ),
        (
            "FILE_READ,FILE_WRITE path=/srv action=ALLOW",
            "EXEC,MOUNT path=/srv action=ALLOW",
            true,
        ),
        (
            "FILE_READ path=/srv action=ALLOW",
            "EXEC path=/srv action=ALLOW",
            false,
        ),
        (
            "FILE_WRITE path=/srv action=ALLOW",
            "FILE_READ path=/srv action=ALLOW",
            false,
        ),
        (
            "FILE_WRITE path=/srv action=DENY",
            "EXEC path=/srv action=ALLOW",
            false,
        ),
        (
            "FILE_WRITE path=/srv action=QUORUM",
            "EXEC path=/srv action=ALLOW",
            false,
        ),
        (
            "FILE_WRITE path=/srv action=ALLOW",
            "EXEC path=/srv action=DENY",
            false,
        ),
        (
            "FILE_WRITE path=/srv action=ALLOW",
            "EXEC path=/srv action=QUORUM",
            false,
        ),
        (
            "FILE_WRITE path=/tmp action=ALLOW",
            "EXEC path=/srv action=ALLOW",
            false,
        ),
        (
            "FILE_WRITE action=ALLOW",
            "EXEC path=/srv action=ALLOW",
            false,
        ),
        (
            "FILE_WRITE path=/srv action=ALLOW",
            "EXEC action=ALLOW",
            false,
        ),
        // What is executed is known: its digest.
        (
            "FILE_WRITE path=/srv action=ALLOW",
            &format!("EXEC path=/srv {digest} action=ALLOW"),
            false,
        ),
    ] {
        let lines = format!("op={write}\nop={execute}\n");
        let lines_told: &[u32] = if wanted { &[6] } else { &[] };
        assert_eq!(
            told(&lines, "EXEC is allowed below /srv"),
            lines_told,
            "{lines}"
        );
    }
}

#[test]
fn selectors_that_match_nothing() {
    one(
        "op=BPF class=host agent=x action=DENY\n",
        5,
        "no agent name",
    );
    assert_eq!(lint("op=BPF class=host action=DENY\n"), []);
    assert_eq!(lint("op=BPF agent=x action=DENY\n"), []);
}

#[test]
fn classes_and_labels_without_rules() {
    one(
        "label exec=/x class=b\nlabel exec=/y class=a\nop=BPF class=b action=ALLOW\n",
        6,
        "no rule concerns class a",
    );
    one(
        "op=BPF class=b action=ALLOW\n",
        3,
        "class b is given by no label",
    );
}

#[test]
fn a_class_is_given_by_a_label_or_another_class() {
    let lint = |lines: &str| -> Vec<(u32, String)> {
        let text = format!("policy_name=p policy_version=1\nDEFAULT action=DENY\n{lines}");
        let policy = Policy::parse(text.as_bytes()).unwrap();
        policy
            .lint()
            .map(|warning| (warning.line, warning.message))
            .collect()
    };
    // Two of each: neither hides the other.
    assert_eq!(
        lint(
            "class a may=c\nclass b may=c\nclass c\nclass d\n\
             label exec=/1 class=a\nlabel exec=/2 class=a\nlabel exec=/3 class=b\n\
             op=BPF class=a uid=1 action=DENY\nop=BPF class=a uid=2 action=DENY\n\
             op=BPF class=b action=DENY\nop=BPF class=c action=DENY\n"
        ),
        []
    );
    let given = |class: &str| {
        format!(
            "class {class} is given by no label and no may=: only tcpctl can start such an agent"
        )
    };
    assert_eq!(
        lint("class a may=b\nclass b\nclass c\nop=BPF class=a,b,c action=DENY\n"),
        [(3, given("a")), (5, given("c"))]
    );
}

#[test]
fn a_label_wants_a_rule_for_its_class() {
    let start = "no rule concerns class a: only DEFAULT holds for these agents";
    let label = "label exec=/x class=a\n";
    for (rule, wanted) in [
        ("", true),
        ("op=BPF class=b action=DENY\n", true),
        ("op=BPF class=host action=DENY\n", true),
        ("op=BPF class=a action=DENY\n", false),
        ("op=BPF class=a,b action=DENY\n", false),
        ("op=BPF action=DENY\n", false),
        // Governance is nothing that makes a class what it is.
        ("op=POLICY action=DENY\n", true),
        ("op=POLICY,BPF action=DENY\n", false),
    ] {
        let lines_told: &[u32] = if wanted { &[5] } else { &[] };
        assert_eq!(told(&format!("{label}{rule}"), start), lines_told, "{rule}");
    }
}

#[test]
fn defaults_that_let_agents_out() {
    assert_eq!(
        lint("DEFAULT op=MODULE_LOAD,KEXEC_LOAD,MOUNT,PTRACE,BPF,IO_URING action=ALLOW\n"),
        [
            "MODULE_LOAD",
            "KEXEC_LOAD",
            "MOUNT",
            "PTRACE",
            "BPF",
            "IO_URING"
        ]
        .map(|op| (
            5,
            format!("{op} is allowed by DEFAULT: an agent can escape with it")
        ))
    );
    assert_eq!(lint("DEFAULT op=BPF action=AUDIT\n"), []);
    assert_eq!(lint("DEFAULT op=FILE_READ,USERNS action=ALLOW\n"), []);
    one(
        "DEFAULT op=BPF action=ALLOW\n",
        5,
        "BPF is allowed by DEFAULT",
    );
}

#[test]
fn alerts_that_raise_nothing() {
    let lint = |adaptive: &str| -> Vec<(u32, String)> {
        let text = format!("policy_name=p policy_version=1\n\n{adaptive}\nDEFAULT action=DENY\n");
        let policy = Policy::parse(text.as_bytes()).unwrap();
        policy
            .lint()
            .map(|warning| (warning.line, warning.message))
            .collect()
    };
    for (adaptive, part) in [
        ("adaptive raise=0%", "raise=0%"),
        ("adaptive floor=80% ceiling=80%", "the ceiling is the floor"),
        ("adaptive floor=95%", "the ceiling is the floor"),
    ] {
        let warnings = lint(adaptive);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert_eq!(warnings[0].0, 3);
        assert!(warnings[0].1.starts_with(part), "{warnings:?}");
    }
    assert_eq!(lint("adaptive"), []);
    assert_eq!(lint(""), []);
}

#[test]
fn operations_have_the_documented_values() {
    let text = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../Documentation/wire-format.rst"
    ))
    .unwrap();
    // The rows of the table: values and names by turns.
    let mut documented = BTreeSet::new();
    let section = text.split("\nOperations\n").nth(1).unwrap();
    for line in section
        .lines()
        .take_while(|line| !line.starts_with("32 to 36"))
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.chunks_exact(2) {
            if let Ok(value) = pair[0].parse::<u16>() {
                documented.insert((value, String::from(pair[1])));
            }
        }
    }
    let known: BTreeSet<(u16, String)> = Op::ALL
        .into_iter()
        .map(|op| (op.value(), String::from(op.name())))
        .collect();
    assert_eq!(known.len(), Op::COUNT);
    assert_eq!(known, documented);
}

#[test]
fn operations_are_found_and_placed() {
    for (place, op) in Op::ALL.into_iter().enumerate() {
        assert_eq!(op.index(), place);
        assert_eq!(Op::from_u16(op.value()), Some(op));
        assert_eq!(Op::from_name(op.name().as_bytes()), Some(op));
        assert_eq!(op.bit(), 1 << op.value());
        assert_eq!(op.is_governance(), op.value() >= 32);
        assert!(!(op.takes_path() && op.takes_address()));
    }
    for value in (0..=u16::MAX).filter(|value| !matches!(value, 1..=23 | 32..=36)) {
        assert_eq!(Op::from_u16(value), None);
    }
    assert_eq!(Op::from_name(b"exec"), None);
    assert_eq!(Op::from_name(b""), None);
    assert_eq!(Op::in_set(u64::MAX).count(), Op::COUNT);
    assert_eq!(Op::in_set(0).count(), 0);
}
