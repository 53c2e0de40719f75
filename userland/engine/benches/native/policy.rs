// SPDX-License-Identifier: GPL-2.0

//! Policies: reading one, and finding the rule that decides.

use crate::Suite;
use engine::op::Op;
use engine::policy::{
    Action,
    ObjectId,
    Policy,
    Subject, //
};
use std::fmt::Write;
use std::hint::black_box;

/// A policy whose last rule of `rules` allows what all others deny elsewhere.
fn text(rules: usize) -> String {
    let mut text =
        String::from("policy_name=bench policy_version=1\nclass bench\nDEFAULT action=DENY\n");
    for number in 1..=rules {
        let action = if number == rules { "ALLOW" } else { "DENY" };
        writeln!(
            text,
            "op=FILE_READ class=bench path=/srv/tree/{number} action={action}"
        )
        .expect("a string has room");
    }
    text
}

/// A whole decision on the path of the last rule.
fn decide(policy: &Policy, subject: &Subject<'_>, object: ObjectId) -> Action {
    let mut matcher = policy.matcher(subject, Op::FileRead);
    if matcher.wants_object() {
        matcher.object(object);
    }
    matcher.decide().action
}

/// Measures all of it.
pub(crate) fn measure(suite: &mut Suite) {
    for rules in [1, 1000] {
        let policy = Policy::parse(text(rules).as_bytes()).expect("a good policy");
        let subject = Subject::agent(&policy, b"bench", b"bench", 1000);
        let path = format!("/srv/tree/{rules}");
        let object = policy
            .objects()
            .iter()
            .position(|object| object.path(&policy) == path)
            .and_then(|index| u16::try_from(index).ok())
            .map(ObjectId)
            .expect("the path of a rule");
        assert_eq!(decide(&policy, &subject, object), Action::Allow);
        suite.measure(
            format!("policy.match.{rules}"),
            format!("finds the last of {rules} path rules"),
            |bencher| bencher.iter(|| decide(&policy, black_box(&subject), black_box(object))),
        );
    }
    let text = text(1000);
    suite.measure(
        "policy.parse.1000",
        "reads a policy of 1000 rules",
        |bencher| {
            bencher.iter(|| Policy::parse(black_box(text.as_bytes())));
        },
    );
}
