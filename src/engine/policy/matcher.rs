// SPDX-License-Identifier: GPL-2.0

//! Finds the rule that decides.

use super::{
    super::{
        address::Address,
        limits,
        op::Op, //
    },
    index::{
        Reach,
        NONE, //
    },
    Action,
    ClassId,
    Decision,
    ObjectId,
    Policy,
    Rule,
    Subject, //
};

/// A set of objects.
struct ObjectSet([u64; limits::PATHS.div_ceil(64)]);

impl ObjectSet {
    const EMPTY: Self = Self([0; limits::PATHS.div_ceil(64)]);

    fn insert(&mut self, object: ObjectId) {
        if let Some(word) = self.0.get_mut(object.index() / 64) {
            *word |= 1 << (object.index() % 64);
        }
    }

    fn contains(&self, object: ObjectId) -> bool {
        self.0
            .get(object.index() / 64)
            .is_some_and(|word| (word >> (object.index() % 64)) & 1 != 0)
    }
}

/// Judges one operation on at most one object.
///
/// Say what is known about the operation, in any order: [`object`](Self::object) for each path of
/// the policy that the object is or lies below, [`address`](Self::address),
/// [`digest`](Self::digest); then [`decide`](Self::decide). It allocates nothing, never sleeps and
/// compares no strings but the agent's name.
///
/// # Examples
///
/// ```
/// # use engine::{op::Op, policy::{Action, Policy, Subject}};
/// let policy = Policy::parse(
///     b"policy_name=p policy_version=1\n\
///       class builder\n\
///       DEFAULT action=DENY\n\
///       op=FILE_READ path=/srv action=ALLOW\n",
/// )?;
/// let subject = Subject {
///     class: policy.class(b"builder"),
///     agent: b"make",
///     uid: 1000,
/// };
/// let mut matcher = policy.matcher(&subject, Op::FileRead);
/// let srv = policy.objects().iter().position(|object| object.path(&policy) == "/srv");
/// matcher.object(engine::policy::ObjectId(srv.unwrap().try_into().unwrap()));
/// assert_eq!(matcher.decide().action, Action::Allow);
/// assert_eq!(matcher.decide().line, 4);
/// # Ok::<(), engine::policy::ParseError>(())
/// ```
#[must_use]
pub struct Matcher<'a> {
    policy: &'a Policy,
    subject: Subject<'a>,
    op: Op,
    /// The first rule known to match; [`NONE`] at first.
    best: u16,
    /// The first rule that the content's digest may make match; [`NONE`] when it cannot matter.
    content: u16,
    digest: Option<[u8; 32]>,
    /// Objects met that have rules with digests. Most operations need no such set.
    met: Option<ObjectSet>,
}

impl<'a> Matcher<'a> {
    #[inline]
    pub(super) fn new(policy: &'a Policy, subject: Subject<'a>, op: Op) -> Self {
        let mut matcher = Self {
            policy,
            subject,
            op,
            best: NONE,
            content: NONE,
            digest: None,
            met: None,
        };
        for &number in policy.index.plain(op) {
            if matcher.try_rule(number, |_| true) {
                break;
            }
        }
        matcher.wish(policy.index.contents(op));
        matcher
    }

    /// Whether the subject satisfies a rule's `class`, `agent` and `uid`.
    fn suits(&self, rule: &Rule) -> bool {
        // Governance rules have no class, and are for everybody.
        (self.op.is_governance() || rule.who.holds(self.subject.class))
            && rule.uid.is_none_or(|uid| uid == self.subject.uid)
            && rule.agent.is_none_or(|name| {
                self.subject.class.is_some()
                    && name.bytes(&self.policy.strings) == self.subject.agent
            })
    }

    /// Whether rules of a list may still decide.
    #[inline]
    fn may_decide(&self, reach: &Reach) -> bool {
        reach.first < self.best && reach.who.holds(self.subject.class)
    }

    /// Makes a rule the best one if it comes before and matches; `other` tells whether selectors
    /// beyond the subject do. Returns whether the rules after it in its list cannot matter.
    fn try_rule(&mut self, number: u16, other: impl FnOnce(&Rule) -> bool) -> bool {
        if number >= self.best {
            return true;
        }
        let matches = self
            .policy
            .rules
            .get(usize::from(number))
            .is_some_and(|rule| self.suits(rule) && other(rule));
        if matches {
            self.best = number;
        }
        matches
    }

    /// Notes that rules wait for the digest of the content.
    fn wish(&mut self, reach: Reach) {
        if self.may_decide(&reach) {
            self.content = self.content.min(reach.first);
        }
    }

    /// Whether some object could still change the decision: otherwise nobody needs to find out
    /// which the object is. It may be true although none would, but never false when one would.
    #[inline]
    pub fn wants_object(&self) -> bool {
        self.may_decide(&self.policy.index.paths(self.op))
    }

    /// Says that the object is `object`, or lies below it. Costs the same however many rules there
    /// are, when none of them has this object and operation.
    #[inline]
    pub fn object(&mut self, object: ObjectId) {
        let index = &self.policy.index;
        let Some(chain) = index.chain(self.op, object) else {
            return;
        };
        for &number in index.chain_rules(chain) {
            if self.try_rule(number, |_| true) {
                break;
            }
        }
        if self.may_decide(&chain.contents) {
            self.wish(chain.contents);
            self.met.get_or_insert(ObjectSet::EMPTY).insert(object);
        }
    }

    /// Whether an address could still change the decision; as exact as
    /// [`wants_object`](Self::wants_object).
    pub fn wants_address(&self) -> bool {
        self.may_decide(&self.policy.index.network(self.op))
    }

    /// Says which address and port (in host order) the operation uses. IPv4-mapped IPv6 addresses
    /// count as IPv4.
    pub fn address(&mut self, address: Address, port: u16) {
        if !self.wants_address() {
            return;
        }
        let index = &self.policy.index;
        let has_port = |rule: &Rule| {
            rule.ports
                .is_none_or(|(first, last)| (first..=last).contains(&port))
        };
        for &number in index.ports(self.op) {
            if self.try_rule(number, has_port) {
                break;
            }
        }
        for found in index.prefixes(self.op, address) {
            for &(_, number) in found {
                if self.try_rule(number, has_port) {
                    break;
                }
            }
        }
    }

    /// Whether the digest of the content could change the decision. Ask after having said which
    /// the objects are. It may be true although the digest makes no difference, but never false
    /// when it does.
    #[inline]
    pub fn wants_digest(&self) -> bool {
        self.digest.is_none() && self.content < self.best
    }

    /// Says which digest the content has.
    pub fn digest(&mut self, digest: &[u8; 32]) {
        self.digest = Some(*digest);
    }

    /// Returns the first rule that matches with the content's digest and comes before `best`.
    #[inline]
    fn best_by_digest(&self) -> Option<u16> {
        let digest = self.digest.as_ref()?;
        self.best_by(digest)
    }

    /// The same, when the digest is `digest`.
    fn best_by(&self, digest: &[u8; 32]) -> Option<u16> {
        if self.content >= self.best {
            return None;
        }
        let policy = self.policy;
        policy
            .index
            .with_digest(self.op, digest, |number| {
                let rule = policy.rules.get(usize::from(number))?;
                policy.digests.get(usize::from(rule.digest?))
            })
            .take_while(|&number| number < self.best)
            .find(|&number| {
                policy.rules.get(usize::from(number)).is_some_and(|rule| {
                    let met = |object| self.met.as_ref().is_some_and(|met| met.contains(object));
                    rule.object.is_none_or(met) && self.suits(rule)
                })
            })
    }

    /// Returns the judgement, from what is known so far.
    ///
    /// Where no rule matches: ALLOW for a task without a label, QUORUM with default terms for a
    /// governance operation, and otherwise what DEFAULT says.
    #[inline]
    #[must_use]
    pub fn decide(&self) -> Decision {
        let best = self.best_by_digest().unwrap_or(self.best);
        if let Some(rule) = self.policy.rules.get(usize::from(best)) {
            return Decision {
                action: rule.action,
                line: rule.line,
                rule: Some(u32::from(best)),
            };
        }
        let host = self.subject.class.is_none() && !self.op.is_governance();
        Decision {
            action: if host {
                Action::Allow
            } else {
                self.policy.fallback(self.op).action
            },
            line: 0,
            rule: None,
        }
    }
}

/// Judges a subject whose class the policy may not know.
impl<'a> Subject<'a> {
    /// Returns the subject for an agent whose class is called `class`.
    pub fn agent(policy: &Policy, class: &[u8], agent: &'a [u8], uid: u32) -> Self {
        Self {
            class: Some(policy.class(class).unwrap_or(ClassId::UNKNOWN)),
            agent,
            uid,
        }
    }

    /// Returns the subject for a task without a label.
    pub fn host(uid: u32) -> Self {
        Self {
            class: None,
            agent: &[],
            uid,
        }
    }
}
