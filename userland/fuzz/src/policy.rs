// SPDX-License-Identifier: GPL-2.0

//! Policies: what the tables decide is what a look at each rule in turn decides.
//!
//! The text ends at the first byte 0, which none may have; what follows are operations to judge.

use crate::Input;
use engine::address::Address;
use engine::limits;
use engine::name::is_name;
use engine::op::Op;
use engine::policy::{
    Action,
    ClassId,
    Decision,
    ErrorKind,
    ObjectId,
    Operation,
    Outcome,
    ParseError,
    Policy,
    Subject, //
};

/// Runs the target.
pub fn run(data: &[u8]) {
    let end = data.iter().position(|&byte| byte == 0);
    let (text, rest) = match end {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &data[..0]),
    };
    let parsed = Policy::parse(text);
    // One more line in front moves everything by a line, and changes nothing else.
    let shifted = Policy::parse(&[b"\n", text].concat());
    match (parsed, shifted) {
        (Ok(policy), Ok(shifted)) => {
            check(&policy, text);
            let numbers = |policy: &Policy, by| -> Vec<_> {
                policy
                    .rules()
                    .map(|rule| (rule.line + by, rule.ops, rule.action))
                    .collect()
            };
            assert_eq!(numbers(&policy, 1), numbers(&shifted, 0));
            questions(&policy, Input::new(rest));
        }
        (Err(error), Err(shifted)) => {
            offence(&error, text);
            let there = (error.line + 1, error.column, error.kind);
            assert_eq!((shifted.line, shifted.column, shifted.kind), there);
        }
        _ => panic!("a line more or less decides"),
    }
}

/// An error names a place of the text, and its message is short.
fn offence(error: &ParseError, text: &[u8]) {
    assert_ne!(error.kind, ErrorKind::NoMemory);
    let mut lines = text.split(|&byte| byte == b'\n');
    let line = lines.nth(error.line as usize - 1).map(<[u8]>::len);
    let len = line.expect("the line is one of the text, or the one behind it");
    assert!((1..=len + 1).contains(&(error.column as usize)));
    let message = error.to_string();
    assert!(message.starts_with(&format!("{}:{}: ", error.line, error.column)));
    assert!(message.len() <= 400 && message.chars().all(|c| !c.is_control()));
}

/// What holds for every policy.
fn check(policy: &Policy, text: &[u8]) {
    assert_eq!(policy.text(), text);
    assert!(is_name(policy.name().as_bytes()));
    assert!((1..=limits::POLICY_VERSION).contains(&policy.version()));
    let adaptive = policy.adaptive();
    assert!(
        adaptive.floor_bp >= limits::THRESHOLD_MIN_BP && adaptive.floor_bp <= adaptive.ceiling_bp
    );
    assert!(policy.objects().len() <= limits::PATHS && policy.classes().count() <= limits::CLASSES);
    for (place, object) in policy.objects().iter().enumerate() {
        let path = object.path(policy);
        assert!(path.starts_with('/') && path.len() <= limits::PATH);
        let mut others = policy.objects().iter().take(place);
        assert!(others.all(|other| other.path(policy) != path));
    }
    for label in policy.labels() {
        assert!(is_name(label.name.as_bytes()) && policy.object(label.object).is_some());
    }
    let lines: Vec<_> = text.split(|&byte| byte == b'\n').collect();
    for rule in policy.rules() {
        let line = lines[rule.line as usize - 1];
        assert!(line[rule.column as usize - 1..].starts_with(rule.text.as_bytes()));
        action(rule.action, rule.ops, adaptive.floor_bp);
    }
    for op in Op::ALL {
        action(policy.fallback(op).action, op.bit(), adaptive.floor_bp);
    }
    for warning in policy.lint() {
        assert!(warning.line as usize <= lines.len());
    }
}

/// The limits of an action.
fn action(action: Action, ops: u64, floor_bp: u16) {
    if let Action::Quorum(terms) = action {
        assert!((floor_bp..=limits::THRESHOLD_MAX_BP).contains(&terms.threshold_bp));
        assert!((1..=limits::TTL_S).contains(&terms.ttl_s));
        assert!((1..=limits::TIMEOUT_S).contains(&terms.timeout_s));
        assert!(terms.uses >= 1 && terms.hold_s <= limits::HOLD_S);
        assert!(terms.hold_s == 0 || Op::in_set(ops).all(Op::may_hold));
    }
    if Op::in_set(ops).any(Op::is_governance) {
        assert!(matches!(action, Action::Deny | Action::Quorum(_)));
    }
}

/// Judges some operations.
fn questions(policy: &Policy, mut input: Input<'_>) {
    for _ in 0..8 {
        let op = input.pick(&Op::ALL);
        let class = match input.u8() {
            0..=0x3f => None,
            0x40..=0x4f => Some(ClassId::UNKNOWN),
            class => Some(ClassId::new(usize::from(class) % 4)),
        };
        let named = policy
            .labels()
            .nth(input.below(4))
            .map(|label| label.name.as_bytes());
        let subject = Subject {
            class,
            agent: named.unwrap_or(b"make"),
            uid: input.pick(&[0, 1000, 1, u32::MAX]),
        };
        let mut objects = Vec::new();
        for _ in 0..input.below(4) {
            objects.push(ObjectId(u16::from(input.u8() % 6)));
        }
        let address = match input.below(4) {
            0 => None,
            1 => Some(Address::from_v6(
                [[0x20, 0x01].as_slice(), &[input.u8(); 14]]
                    .concat()
                    .try_into()
                    .unwrap(),
            )),
            _ => Some(Address::from_v4([10, 0, input.u8() & 3, input.u8()])),
        };
        let address = address.map(|address| (address, input.pick(&[443, 0, 80, 1024, u16::MAX])));
        let digest = match input.below(3) {
            0 => None,
            byte => Some([byte as u8 * 0x11; 32]),
        };
        judge(
            policy,
            &subject,
            &Operation {
                op,
                objects: &objects,
                address,
                digest,
            },
        );
        if input.is_empty() {
            return;
        }
    }
}

/// Compares what is decided by the tables with what each rule says.
fn judge(policy: &Policy, subject: &Subject<'_>, operation: &Operation<'_>) {
    let (decision, considered) = policy.explain(subject, operation);
    let matching = |outcome| matches!(outcome, Outcome::Decides | Outcome::TooLate);
    let first = considered
        .iter()
        .find(|considered| matching(considered.outcome));
    match first {
        Some(first) => {
            let rule = policy.rules().nth(first.rule as usize).unwrap();
            assert_eq!(decision.rule, Some(first.rule));
            assert_eq!((decision.action, decision.line), (rule.action, rule.line));
            assert!(rule.ops & operation.op.bit() != 0);
        }
        None => {
            let host = subject.class.is_none() && !operation.op.is_governance();
            let fallback = policy.fallback(operation.op).action;
            let action = if host { Action::Allow } else { fallback };
            assert_eq!(
                decision,
                Decision {
                    action,
                    line: 0,
                    rule: None
                }
            );
        }
    }
    // Whoever does only what the matcher wants comes to the same, in another order as well.
    let mut matcher = policy.matcher(subject, operation.op);
    if matcher.wants_address() {
        if let Some((address, port)) = operation.address {
            matcher.address(address, port);
        }
    }
    for &object in operation.objects.iter().rev() {
        if matcher.wants_object() {
            matcher.object(object);
        }
    }
    if let Some(digest) = operation.digest.filter(|_| matcher.wants_digest()) {
        matcher.digest(&digest);
    }
    assert_eq!(matcher.decide(), decision);
}
