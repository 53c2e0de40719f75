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
fn selectors_that_match_nothing() {
    one(
        "op=BPF class=host agent=x action=DENY\n",
        5,
        "no agent name",
    );
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
fn defaults_that_let_agents_out() {
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
