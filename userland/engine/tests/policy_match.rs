// SPDX-License-Identifier: GPL-2.0

//! The matcher, against a linear scan that is written from the documentation alone.

use engine::{
    address::Address,
    op::Op,
    policy::{
        Action,
        Adaptive,
        ClassId,
        Decision,
        ObjectId,
        Operation,
        Outcome,
        Policy,
        Subject,
        Terms, //
    }, //
};
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{
        select,
        subsequence, //
    }, //
};
use std::fmt::Write;

const CLASSES: [&str; 4] = ["a", "b", "c", "d"];
const AGENTS: [&str; 3] = ["x", "y", "xy"];
const PATHS: [&str; 6] = ["/", "/a", "/a/b", "/a b", "/q\"\\", "/\u{e9}#"];
const PATH_OPS: [Op; 5] = [
    Op::Exec,
    Op::FileWrite,
    Op::FileRename,
    Op::ModuleLoad,
    Op::Setuid,
];
const CONTENT_OPS: [Op; 2] = [Op::Exec, Op::ModuleLoad];
const NET_OPS: [Op; 3] = [Op::NetConnect, Op::NetBind, Op::NetSend];
const GOVERNANCE_OPS: [Op; 5] = [Op::Policy, Op::Validator, Op::Mode, Op::Unload, Op::Recover];
const PLAIN_OPS: [Op; 6] = [
    Op::Exec,
    Op::FileWrite,
    Op::NetConnect,
    Op::Bpf,
    Op::Kill,
    Op::Userns,
];
/// Prefixes, each with the addresses of `ADDRESSES` that it holds.
const PREFIXES: [(&str, &[usize]); 10] = [
    ("10.0.0.0/8", &[0, 1, 2]),
    ("192.0.0.0/8", &[3]),
    ("10.1.0.0/16", &[1, 2]),
    ("10.1.2.3", &[2]),
    ("0.0.0.0/0", &[0, 1, 2, 3]),
    ("::ffff:10.1.0.0/112", &[1, 2]),
    ("::/0", &[4, 5, 6]),
    ("fe80::/10", &[5]),
    ("2001:db8::/32", &[6]),
    ("::1", &[4]),
];
const ADDRESSES: [&str; 7] = [
    "10.0.0.0",
    "10.1.255.255",
    "::ffff:10.1.2.3",
    "192.0.2.1",
    "::1",
    "fe80::1",
    "2001:db8::1",
];

#[derive(Clone, Debug)]
struct TestRule {
    ops: Vec<Op>,
    classes: Option<Vec<&'static str>>,
    host: bool,
    agent: Option<&'static str>,
    uid: Option<u32>,
    path: Option<usize>,
    digest: Option<u8>,
    prefix: Option<usize>,
    ports: Option<(u16, u16)>,
    action: Action,
}

#[derive(Clone, Debug)]
struct TestPolicy {
    rules: Vec<TestRule>,
    defaults: Vec<(Op, Action)>,
    general: Action,
}

#[derive(Clone, Debug)]
struct Query {
    op: Op,
    /// `None`: without a label; an empty name: a class that the policy does not know.
    class: Option<&'static str>,
    agent: &'static str,
    uid: u32,
    /// Indices in `PATHS`.
    objects: Vec<usize>,
    /// Index in `ADDRESSES`, and port.
    address: Option<(usize, u16)>,
    digest: Option<u8>,
}

impl Query {
    /// The linear scan.
    fn judge(&self, policy: &TestPolicy) -> (Action, Option<usize>) {
        let governance = GOVERNANCE_OPS.contains(&self.op);
        for (number, rule) in policy.rules.iter().enumerate() {
            let who = governance
                || match (self.class, &rule.classes) {
                    (None, _) => rule.host,
                    (Some(_), None) => !rule.host,
                    (Some(class), Some(classes)) => classes.contains(&class),
                };
            let agent = match rule.agent {
                None => true,
                Some(agent) => self.class.is_some() && agent == self.agent,
            };
            if rule.ops.contains(&self.op)
                && who
                && agent
                && rule.uid.is_none_or(|uid| uid == self.uid)
                && rule.path.is_none_or(|path| self.objects.contains(&path))
                && rule.digest.is_none_or(|digest| Some(digest) == self.digest)
                && rule.prefix.is_none_or(|prefix| {
                    self.address
                        .is_some_and(|(address, _)| PREFIXES[prefix].1.contains(&address))
                })
                && rule.ports.is_none_or(|(first, last)| {
                    self.address
                        .is_some_and(|(_, port)| first <= port && port <= last)
                })
            {
                return (rule.action, Some(number));
            }
        }
        let action = if governance {
            Action::Quorum(Terms::DEFAULT)
        } else if self.class.is_none() {
            Action::Allow
        } else {
            policy
                .defaults
                .iter()
                .find(|(op, _)| *op == self.op)
                .map_or(policy.general, |(_, action)| *action)
        };
        (action, None)
    }
}

/// Writes the text; the rule of number `n` is on line `first + n`, `first` being returned.
fn print(policy: &TestPolicy) -> (String, u32) {
    let mut text = String::from("policy_name=p policy_version=1\n\n");
    for class in CLASSES {
        writeln!(text, "class {class} # {class}").unwrap();
    }
    let mut first = 3 + CLASSES.len();
    // All paths have a label, so that all have an object.
    for (number, path) in PATHS.iter().enumerate() {
        writeln!(text, "label exec={} class=a agent=l{number}", quote(path)).unwrap();
    }
    first += PATHS.len();
    for (op, action) in &policy.defaults {
        writeln!(text, "DEFAULT op={op} {}", print_action(action)).unwrap();
    }
    first += policy.defaults.len();
    for rule in &policy.rules {
        let ops: Vec<&str> = rule.ops.iter().map(|op| op.name()).collect();
        write!(text, "op={}", ops.join(",")).unwrap();
        let mut classes = rule.classes.clone().unwrap_or_default();
        if rule.host {
            classes.insert(classes.len() / 2, "host");
        }
        if !classes.is_empty() {
            write!(text, " class={}", classes.join(",")).unwrap();
        }
        if let Some(agent) = rule.agent {
            write!(text, " agent=\"{agent}\"").unwrap();
        }
        if let Some(uid) = rule.uid {
            write!(text, "\tuid={uid}").unwrap();
        }
        if let Some(path) = rule.path {
            write!(text, "  path={}", quote(PATHS[path])).unwrap();
        }
        if let Some(digest) = rule.digest {
            write!(
                text,
                " digest=sha256:{}",
                format!("{:02X}", 0xa0 + digest).repeat(32)
            )
            .unwrap();
        }
        if let Some(prefix) = rule.prefix {
            write!(text, " addr={}", PREFIXES[prefix].0).unwrap();
        }
        match rule.ports {
            Some((first, last)) if first == last => write!(text, " port={first}").unwrap(),
            Some((first, last)) => write!(text, " port={first}-{last}").unwrap(),
            None => {}
        }
        writeln!(text, " {}#{}", print_action(&rule.action), rule.ops.len()).unwrap();
    }
    writeln!(text, "DEFAULT {}", print_action(&policy.general)).unwrap();
    (text, u32::try_from(first).unwrap())
}

fn quote(path: &str) -> String {
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
}

fn print_action(action: &Action) -> String {
    let mut text = format!("action={action}");
    if let Action::Quorum(terms) = action {
        // The defaults are left out.
        if terms.threshold_bp != 7500 {
            let (whole, hundredths) = (terms.threshold_bp / 100, terms.threshold_bp % 100);
            match hundredths {
                0 => write!(text, " threshold={whole}%").unwrap(),
                h if h % 10 == 0 => write!(text, " threshold={whole}.{}%", h / 10).unwrap(),
                h => write!(text, " threshold={whole}.{h:02}%").unwrap(),
            }
        }
        if terms.ttl_s != 300 {
            write!(text, " ttl={}s", terms.ttl_s).unwrap();
        }
        if terms.timeout_s != 600 {
            match terms.timeout_s % 3600 {
                0 => write!(text, " timeout={}h", terms.timeout_s / 3600).unwrap(),
                _ => write!(text, " timeout={}s", terms.timeout_s).unwrap(),
            }
        }
        if terms.uses != 1 {
            write!(text, " uses={}", terms.uses).unwrap();
        }
        if terms.hold_s != 0 {
            match terms.hold_s % 60 {
                0 => write!(text, " hold={}m", terms.hold_s / 60).unwrap(),
                _ => write!(text, " hold={}s", terms.hold_s).unwrap(),
            }
        }
    }
    text
}

fn terms(may_hold: bool) -> impl Strategy<Value = Terms> {
    let seconds = prop_oneof![Just(300u32), Just(600), Just(7200), 1u32..=86400];
    let hold = if may_hold { 600u32 } else { 0 };
    (
        prop_oneof![Just(7500u16), 5001u16..=10000],
        seconds.clone(),
        seconds,
        prop_oneof![Just(1u16), 1u16..=65535],
        prop_oneof![Just(0u32), 0..=hold],
    )
        .prop_map(|(threshold_bp, ttl_s, timeout_s, uses, hold_s)| Terms {
            threshold_bp,
            ttl_s,
            timeout_s,
            uses,
            hold_s,
        })
}

fn action(governance: bool, may_hold: bool) -> impl Strategy<Value = Action> {
    let mut simple = vec![Action::Deny];
    if !governance {
        simple.extend([Action::Allow, Action::Audit]);
    }
    prop_oneof![select(simple), terms(may_hold).prop_map(Action::Quorum)]
}

/// A value now and then; never with a share of 0.
fn maybe<T: std::fmt::Debug + Clone + 'static>(
    share: f64,
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    if share > 0.0 {
        option::weighted(share, value).boxed()
    } else {
        Just(None).boxed()
    }
}

/// A rule for some of `ops`, with the selectors that all of them take.
fn rule(ops: &'static [Op]) -> BoxedStrategy<TestRule> {
    subsequence(ops, 1..=ops.len())
        .prop_shuffle()
        .prop_flat_map(|ops| {
            let all = |of: fn(Op) -> bool| {
                if ops.iter().all(|&op| of(op)) {
                    0.6
                } else {
                    0.0
                }
            };
            let governance = ops.iter().any(|op| op.is_governance());
            let may_hold = ops.iter().all(|op| op.may_hold());
            let people = if governance { 0.0 } else { 0.5 };
            (
                (
                    Just(ops.clone()),
                    maybe(people, subsequence(&CLASSES[..], 1..=4)),
                    maybe(people / 2.0, Just(())).prop_map(|host| host.is_some()),
                    maybe(people / 3.0, select(&AGENTS[..])),
                    maybe(0.2, 0u32..3),
                ),
                (
                    maybe(all(Op::takes_path), 0..PATHS.len()),
                    maybe(all(Op::takes_digest), 0u8..3),
                    maybe(all(Op::takes_address), 0..PREFIXES.len()),
                    maybe(
                        all(Op::takes_address),
                        select(vec![
                            (0, 65535),
                            (80, 80),
                            (1, 80),
                            (80, 443),
                            (443, 443),
                            (0, 0),
                        ]),
                    ),
                ),
                action(governance, may_hold),
            )
                .prop_map(
                    |((ops, classes, host, agent, uid), (path, digest, prefix, ports), action)| {
                        TestRule {
                            ops,
                            classes,
                            host,
                            agent,
                            uid,
                            path,
                            digest,
                            prefix,
                            ports,
                            action,
                        }
                    },
                )
                .boxed()
        })
        .boxed()
}

fn policy() -> impl Strategy<Value = TestPolicy> {
    let rule = prop_oneof![
        3 => rule(&PATH_OPS),
        2 => rule(&CONTENT_OPS),
        2 => rule(&NET_OPS),
        1 => rule(&GOVERNANCE_OPS),
        2 => rule(&PLAIN_OPS),
    ];
    (
        vec(rule, 0..40),
        subsequence(&PLAIN_OPS[..], 0..=PLAIN_OPS.len()).prop_flat_map(|ops| {
            let defaults: Vec<_> = ops
                .into_iter()
                .map(|op| (Just(op), action(false, op.may_hold())))
                .collect();
            defaults
        }),
        action(false, false),
    )
        .prop_map(|(rules, defaults, general)| TestPolicy {
            rules,
            defaults,
            general,
        })
}

fn query() -> impl Strategy<Value = Query> {
    let ops: Vec<Op> = [
        &PATH_OPS[..],
        &CONTENT_OPS,
        &NET_OPS,
        &GOVERNANCE_OPS,
        &PLAIN_OPS,
    ]
    .concat();
    (
        select(ops),
        option::weighted(0.85, select(vec!["a", "b", "c", "d", ""])),
        select(vec!["x", "y", "xy", "z", ""]),
        0u32..4,
        subsequence((0..PATHS.len()).collect::<Vec<_>>(), 0..=PATHS.len()).prop_shuffle(),
        option::of((
            0..ADDRESSES.len(),
            prop_oneof![select(vec![0u16, 1, 80, 443, 65535]), any::<u16>()],
        )),
        option::of(0u8..4),
    )
        .prop_map(|(op, class, agent, uid, objects, address, digest)| Query {
            op,
            class,
            agent,
            uid,
            objects: if op.takes_path() { objects } else { Vec::new() },
            address: address.filter(|_| op.takes_address()),
            digest: digest.filter(|_| op.takes_digest()),
        })
}

fn subject<'a>(policy: &Policy, query: &Query, agent: &'a str) -> Subject<'a> {
    match query.class {
        None => Subject {
            class: None,
            agent: agent.as_bytes(),
            uid: query.uid,
        },
        Some(class) => Subject::agent(policy, class.as_bytes(), agent.as_bytes(), query.uid),
    }
}

fn object(policy: &Policy, path: usize) -> ObjectId {
    let place = policy
        .objects()
        .iter()
        .position(|object| object.path(policy) == PATHS[path]);
    ObjectId(u16::try_from(place.unwrap()).unwrap())
}

fn address(index: usize) -> Address {
    Address::parse(ADDRESSES[index].as_bytes()).unwrap()
}

#[test]
fn every_rule_says_why_it_does_not_decide() {
    let digest = "ab".repeat(32);
    let text = format!(
        "policy_name=p policy_version=1\nclass a\nclass b\n\
         op=EXEC class=b action=DENY\n\
         op=EXEC class=a agent=y action=DENY\n\
         op=EXEC class=a uid=7 action=DENY\n\
         op=EXEC class=a path=/a action=DENY\n\
         op=EXEC class=a digest=sha256:{digest} action=DENY\n\
         op=NET_CONNECT class=a addr=10.0.0.0/8 action=DENY\n\
         op=NET_CONNECT class=a port=443 action=DENY\n\
         op=EXEC,NET_CONNECT class=a action=AUDIT\n\
         op=EXEC,NET_CONNECT action=ALLOW\n\
         DEFAULT action=DENY\n"
    );
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let agent = Subject {
        class: policy.class(b"a"),
        agent: b"x",
        uid: 1000,
    };
    let why = |subject: &Subject<'_>, op, address| {
        let operation = Operation {
            op,
            objects: &[],
            address,
            digest: None,
        };
        let (_, considered) = policy.explain(subject, &operation);
        Vec::from_iter(
            considered
                .iter()
                .map(|rule| (rule.line, rule.outcome.to_string())),
        )
    };
    let told = |told: &[(u32, &str)]| {
        Vec::from_iter(told.iter().map(|&(line, why)| (line, why.to_owned())))
    };
    assert_eq!(
        why(&agent, Op::Exec, None),
        told(&[
            (4, "is for other classes"),
            (5, "is for another agent"),
            (6, "is for another user"),
            (7, "is for another path"),
            (8, "is for content with another digest"),
            (11, "decides"),
            (12, "matches, but an earlier rule decides"),
        ])
    );
    let elsewhere = Some((Address::from_v4([192, 0, 2, 1]), 80));
    assert_eq!(
        why(&agent, Op::NetConnect, elsewhere)[..2],
        told(&[(9, "is for other addresses"), (10, "is for other ports")])
    );
    let bystander = Subject {
        class: None,
        agent: b"",
        uid: 0,
    };
    let none = "is for agents, and the task has no label";
    assert!(why(&bystander, Op::Exec, None)
        .iter()
        .all(|(_, why)| why == none));
}

#[test]
fn a_class_that_no_policy_can_have_is_unknown() {
    assert_ne!(ClassId::new(0), ClassId::UNKNOWN);
    for index in [engine::limits::CLASSES, 255, usize::MAX] {
        assert_eq!(ClassId::new(index), ClassId::UNKNOWN);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_matcher_finds_the_first_match(test in policy(), queries in vec(query(), 1..40)) {
        let (text, first) = print(&test);
        let policy = Policy::parse(text.as_bytes()).map_err(|error| {
            TestCaseError::fail(format!("{error}\n{text}"))
        })?;
        for query in queries {
            let (action, number) = query.judge(&test);
            let expected = Decision {
                action,
                line: number.map_or(0, |number| first + u32::try_from(number).unwrap()),
                rule: number.map(|number| u32::try_from(number).unwrap()),
            };
            let subject = subject(&policy, &query, query.agent);
            let digest = query.digest.map(|digest| [0xa0 + digest; 32]);

            // As the kernel does: what is not wanted is not said.
            let mut matcher = policy.matcher(&subject, query.op);
            if matcher.wants_object() {
                for &path in &query.objects {
                    matcher.object(object(&policy, path));
                }
            }
            if let (true, Some((index, port))) = (matcher.wants_address(), query.address) {
                matcher.address(address(index), port);
            }
            if let (true, Some(digest)) = (matcher.wants_digest(), &digest) {
                matcher.digest(digest);
            }
            prop_assert_eq!(matcher.decide(), expected, "{:?}\n{}", &query, &text);

            // In the other order, twice, and whether it is wanted or not.
            let mut matcher = policy.matcher(&subject, query.op);
            for _ in 0..2 {
                if let Some(digest) = &digest {
                    matcher.digest(digest);
                }
                if let Some((index, port)) = query.address {
                    matcher.address(address(index), port);
                }
                for &path in query.objects.iter().rev() {
                    matcher.object(object(&policy, path));
                }
            }
            prop_assert_eq!(matcher.decide(), expected, "{:?}\n{}", &query, &text);

            // And explained.
            let objects: Vec<ObjectId> =
                query.objects.iter().map(|&path| object(&policy, path)).collect();
            let operation = Operation {
                op: query.op,
                objects: &objects,
                address: query.address.map(|(index, port)| (address(index), port)),
                digest,
            };
            let (decision, considered) = policy.explain(&subject, &operation);
            prop_assert_eq!(decision, expected);
            let deciding: Vec<u32> = considered
                .iter()
                .filter(|rule| rule.outcome == Outcome::Decides)
                .map(|rule| rule.rule)
                .collect();
            prop_assert_eq!(deciding, Vec::from_iter(expected.rule));
            let earlier = considered
                .iter()
                .take_while(|rule| Some(rule.rule) != expected.rule)
                .any(|rule| rule.outcome == Outcome::TooLate);
            prop_assert!(!earlier);
            prop_assert_eq!(
                considered.len(),
                test.rules.iter().filter(|rule| rule.ops.contains(&query.op)).count()
            );

            // A task without a label is only ever restrained in `host_ops`.
            if query.class.is_none() && !query.op.is_governance() && expected.rule.is_some() {
                prop_assert!(policy.host_ops() & query.op.bit() != 0);
            }
        }
        let shown: Vec<String> = policy.rules().map(|rule| rule.text.to_string()).collect();
        let lines: Vec<&str> = text.lines().skip(first as usize - 1).take(test.rules.len()).collect();
        for (shown, line) in shown.iter().zip(&lines) {
            prop_assert!(line.starts_with(shown.as_str()) && line[shown.len()..].starts_with('#'));
        }
        // Warnings are told for any policy.
        prop_assert!(policy.lint().all(|warning| warning.line > 0));
    }

    #[test]
    fn the_stricter_of_two(a in action(false, true), b in action(false, true)) {
        let decision = |action, line| Decision { action, line, rule: None };
        let (first, second) = (decision(a, 1), decision(b, 2));
        let chosen = first.stricter(second);
        let rank = |action| match action {
            Action::Deny => (3, 0),
            Action::Quorum(terms) => (2, terms.threshold_bp),
            Action::Audit => (1, 0),
            Action::Allow => (0, 0),
        };
        prop_assert_eq!(rank(chosen.action), rank(a).max(rank(b)));
        prop_assert_eq!(chosen, if rank(b) > rank(a) { second } else { first });
        prop_assert_eq!(second.stricter(first).action, if rank(a) > rank(b) { a } else { b });
    }
}

/// A policy with these lines after a header and two classes.
fn parse(lines: &str) -> Policy {
    let text = format!(
        "policy_name=p policy_version=7\nclass a may=b\nclass b\nDEFAULT action=DENY\n{lines}"
    );
    Policy::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn find(policy: &Policy, path: &str) -> ObjectId {
    let place = policy
        .objects()
        .iter()
        .position(|object| object.path(policy) == path);
    ObjectId(u16::try_from(place.unwrap()).unwrap())
}

#[test]
fn what_a_policy_says_of_itself() {
    let policy = parse(
        "label exec=/usr/bin/agent class=a\n\
         label exec=/b agent=named class=b\n\
         op=FILE_READ class=a,host path=/etc action=AUDIT # why\n\
         op=MODE uid=0 action=DENY\n",
    );
    assert_eq!((policy.name(), policy.version()), ("p", 7));
    assert_eq!(policy.classes().collect::<Vec<_>>(), ["a", "b"]);
    let (a, b) = (policy.class(b"a").unwrap(), policy.class(b"b").unwrap());
    assert_eq!((policy.class_line(a), policy.class_line(b)), (2, 3));
    assert_eq!(policy.class(b"host"), None);
    assert_eq!(policy.class(b""), None);
    assert!(policy.may_start(a, b) && !policy.may_start(a, a) && !policy.may_start(b, a));
    assert!(!policy.may_start(ClassId::UNKNOWN, a) && !policy.may_start(a, ClassId::UNKNOWN));
    assert_eq!(policy.class_name(ClassId::UNKNOWN), "");
    assert_eq!(policy.class_line(ClassId::UNKNOWN), 0);
    assert_eq!((policy.class_name(a), policy.class_name(b)), ("a", "b"));
    let etc = policy.object(find(&policy, "/etc")).unwrap();
    assert_eq!((etc.path(&policy), etc.line, etc.column), ("/etc", 7, 32));
    assert!(policy.object(ObjectId(3)).is_none());
    let labels: Vec<_> = policy
        .labels()
        .map(|label| (label.class, label.agent, label.name, label.line))
        .collect();
    assert_eq!(
        labels,
        [(a, None, "agent", 5), (b, Some("named"), "named", 6)]
    );
    assert_eq!(policy.host_ops(), Op::FileRead.bit());
    assert!(policy.in_rules(find(&policy, "/etc")));
    assert!(!policy.in_rules(find(&policy, "/b")));
    let rules: Vec<_> = policy.rules().map(|rule| (rule.line, rule.text)).collect();
    assert_eq!(
        rules,
        [
            (7, "op=FILE_READ class=a,host path=/etc action=AUDIT"),
            (8, "op=MODE uid=0 action=DENY")
        ]
    );
    assert_eq!(policy.fallback(Op::Exec).line, 4);
    for op in [Op::Unload, Op::Recover] {
        assert_eq!(policy.fallback(op).line, 0);
        assert_eq!(policy.fallback(op).action, Action::Quorum(Terms::default()));
    }
}

#[test]
fn what_a_policy_says_of_thresholds() {
    let parse = |adaptive: &str| {
        let text = format!(
            "policy_name=p policy_version=7\n{adaptive}\n\
             DEFAULT action=QUORUM\nop=BPF action=QUORUM threshold=100%\n"
        );
        Policy::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
    };
    let threshold = |action| match action {
        Action::Quorum(terms) => terms.threshold_bp,
        _ => panic!("no quorum"),
    };
    for none in ["", "adaptive", "  adaptive # all defaults"] {
        assert_eq!(parse(none).adaptive(), Adaptive::DEFAULT);
    }
    let all = parse(
        "adaptive jitter=100% quiet=24h within=1h burst=64 silence=24h missing=0.01% raise=49.99% \
         ceiling=100% floor=50.01%",
    );
    assert_eq!(
        all.adaptive(),
        Adaptive {
            floor_bp: 5001,
            ceiling_bp: 10_000,
            raise_bp: 4999,
            missing_bp: 1,
            silence_s: 86_400,
            burst: 64,
            within_s: 3600,
            quiet_s: 86_400,
            jitter_bp: 10_000,
        }
    );
    let none =
        parse("adaptive raise=0% jitter=0% burst=1 within=1s silence=1s quiet=1s").adaptive();
    assert_eq!((none.raise_bp, none.jitter_bp, none.burst), (0, 0, 1));

    // Where no threshold stands it is 75 % or the floor, for governance, too.
    for (text, least) in [
        ("adaptive floor=60%", 7500),
        ("adaptive floor=75.01%", 7501),
        ("adaptive floor=100%", 10_000),
    ] {
        let policy = parse(text);
        assert_eq!(threshold(policy.fallback(Op::Exec).action), least);
        assert_eq!(threshold(policy.fallback(Op::Unload).action), least);
        assert_eq!(policy.adaptive().terms().threshold_bp, least);
    }
    // A floor above the default ceiling takes it along.
    assert_eq!(parse("adaptive floor=95%").adaptive().ceiling_bp, 9500);
    assert_eq!(parse("adaptive floor=90%").adaptive().ceiling_bp, 9000);
}

#[test]
fn a_class_has_a_number_below_the_limit() {
    for index in 0..1000 {
        let class = ClassId::new(index);
        assert_eq!(class == ClassId::UNKNOWN, index >= 64, "{index}");
        assert_eq!(class.index(), if index < 64 { index } else { 255 });
    }
}

#[test]
fn no_governance_is_simply_allowed() {
    for op in Op::ALL {
        for action in ["ALLOW", "AUDIT"] {
            let text = format!(
                "policy_name=p policy_version=1\nDEFAULT action=DENY\nop={op} action={action}\n"
            );
            assert_eq!(
                Policy::parse(text.as_bytes()).is_err(),
                GOVERNANCE_OPS.contains(&op),
                "{text}"
            );
        }
    }
}

#[test]
fn an_explanation_names_the_first_selector_that_does_not_match() {
    let digest = "0".repeat(64);
    let policy = parse(&format!(
        "op=NET_SEND class=b action=DENY\n\
         op=NET_SEND agent=y action=DENY\n\
         op=NET_SEND uid=1 action=DENY\n\
         op=NET_SEND addr=10.0.0.0/8 action=DENY\n\
         op=NET_SEND port=1 action=DENY\n\
         op=NET_SEND class=a,host action=AUDIT\n\
         op=NET_SEND action=DENY\n\
         op=EXEC path=/x action=DENY\n\
         op=EXEC digest=sha256:{digest} action=DENY\n"
    ));
    let outcomes = |subject: &Subject<'_>, operation: &Operation<'_>| -> Vec<Outcome> {
        let (_, considered) = policy.explain(subject, operation);
        considered.iter().map(|rule| rule.outcome).collect()
    };
    let send = Operation {
        op: Op::NetSend,
        objects: &[],
        address: Some((Address::from_v4([192, 0, 2, 1]), 80)),
        digest: None,
    };
    let agent = Subject::agent(&policy, b"a", b"x", 0);
    assert_eq!(
        outcomes(&agent, &send),
        [
            Outcome::OtherClass,
            Outcome::OtherAgent,
            Outcome::OtherUid,
            Outcome::OtherAddress,
            Outcome::OtherPort,
            Outcome::Decides,
            Outcome::TooLate,
        ]
    );
    let mut wanted = [Outcome::NoLabel; 7];
    wanted[5] = Outcome::Decides;
    assert_eq!(outcomes(&Subject::host(0), &send), wanted);
    let exec = Operation {
        op: Op::Exec,
        address: None,
        ..send
    };
    assert_eq!(
        outcomes(&agent, &exec),
        [Outcome::OtherPath, Outcome::OtherDigest]
    );
}

#[test]
fn outcomes_read_as_what_a_rule_does() {
    for (outcome, text) in [
        (Outcome::Decides, "decides"),
        (Outcome::TooLate, "matches, but an earlier rule decides"),
        (Outcome::OtherClass, "is for other classes"),
        (Outcome::NoLabel, "is for agents, and the task has no label"),
        (Outcome::OtherAgent, "is for another agent"),
        (Outcome::OtherUid, "is for another user"),
        (Outcome::OtherPath, "is for another path"),
        (Outcome::OtherDigest, "is for content with another digest"),
        (Outcome::OtherAddress, "is for other addresses"),
        (Outcome::OtherPort, "is for other ports"),
    ] {
        assert_eq!(outcome.to_string(), text);
        // It takes a width, as in a table.
        assert_eq!(format!("{outcome:<40}|"), format!("{text:<40}|"));
    }
}

#[test]
fn objects_and_digests_out_of_range_are_survived() {
    let policy = parse("op=EXEC path=/etc action=ALLOW\n");
    let mut matcher = policy.matcher(&Subject::agent(&policy, b"a", b"x", 0), Op::Exec);
    matcher.object(ObjectId(1));
    matcher.object(ObjectId(u16::MAX));
    matcher.digest(&[0xff; 32]);
    matcher.address(Address::from_v4([0; 4]), 0);
    assert_eq!(matcher.decide().action, Action::Deny);
}

#[test]
fn nobody_asks_for_what_cannot_matter() {
    let policy = parse(
        "op=EXEC class=b action=ALLOW\n\
         op=EXEC class=a path=/bin action=ALLOW\n\
         op=EXEC class=b path=/bin digest=sha256:\
         0000000000000000000000000000000000000000000000000000000000000000 action=DENY\n\
         op=NET_SEND class=a action=ALLOW\n\
         op=NET_SEND port=1 action=DENY\n",
    );
    let matcher = |class: &[u8], op| {
        let subject = Subject::agent(&policy, class, b"x", 0);
        policy.matcher(&subject, op)
    };
    let mut exec = matcher(b"a", Op::Exec);
    assert!(exec.wants_object());
    // The first rule with a path matches: no other one could come before it.
    exec.object(find(&policy, "/bin"));
    assert!(!exec.wants_object());
    assert!(!matcher(b"b", Op::Exec).wants_object());
    assert!(!matcher(b"gone", Op::Exec).wants_object());
    assert!(!matcher(b"a", Op::Bpf).wants_object());
    assert!(!matcher(b"a", Op::NetSend).wants_address());
    assert!(matcher(b"b", Op::NetSend).wants_address());
    assert!(!matcher(b"b", Op::NetConnect).wants_address());
    let mut exec = matcher(b"b", Op::Exec);
    exec.object(find(&policy, "/bin"));
    assert!(!exec.wants_digest());
    assert!(!policy.matcher(&Subject::host(0), Op::Exec).wants_object());
}

#[test]
fn a_digest_is_wanted_until_it_is_known() {
    let zeros = "0".repeat(64);
    let policy = parse(&format!(
        "op=EXEC path=/bin digest=sha256:{zeros} action=ALLOW\nop=EXEC path=/usr action=AUDIT\n"
    ));
    let subject = Subject::agent(&policy, b"a", b"x", 0);
    let mut exec = policy.matcher(&subject, Op::Exec);
    assert!(!exec.wants_digest());
    exec.object(find(&policy, "/usr"));
    assert!(!exec.wants_digest());
    exec.object(find(&policy, "/bin"));
    assert!(exec.wants_digest());
    assert_eq!(exec.decide().action, Action::Audit);
    exec.digest(&[0; 32]);
    assert!(!exec.wants_digest());
    assert_eq!(exec.decide().action, Action::Allow);
    exec.digest(&[1; 32]);
    assert_eq!(exec.decide().action, Action::Audit);
}

/// Least time of some rounds, in nanoseconds for each call.
fn least_time(mut call: impl FnMut()) -> u128 {
    (0..50)
        .map(|_| {
            let start = std::time::Instant::now();
            for _ in 0..200 {
                call();
            }
            start.elapsed().as_nanos()
        })
        .min()
        .unwrap()
}

#[test]
fn many_rules_cost_as_much_as_few() {
    let judge = |rules: usize| {
        let lines: String = (0..rules)
            .map(|n| {
                format!(
                    "op=FILE_WRITE,EXEC path=/d/{n} action=ALLOW\n\
                     op=NET_SEND addr=10.{}.{}.0/24 action=ALLOW\n",
                    n / 256,
                    n % 256,
                )
            })
            .collect();
        let policy = parse(&format!("{lines}label exec=/other class=a\n"));
        let subject = Subject::agent(&policy, b"a", b"x", 0);
        let (first, other) = (find(&policy, "/d/0"), find(&policy, "/other"));
        let address = Address::from_v4([10, 0, 0, 1]);
        least_time(|| {
            let mut write = policy.matcher(&subject, Op::FileWrite);
            for _ in 0..4 {
                write.object(other);
            }
            write.object(first);
            let mut send = policy.matcher(&subject, Op::NetSend);
            send.address(address, 80);
            assert_eq!(std::hint::black_box(write.decide()).action, Action::Allow);
            assert_eq!(std::hint::black_box(send.decide()).action, Action::Allow);
        })
    };
    let (few, many) = (judge(1), judge(2000));
    assert!(many < 4 * few, "{few} ns with 2 rules, {many} ns with 4000");
}
