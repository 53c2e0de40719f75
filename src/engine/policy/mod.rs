// SPDX-License-Identifier: GPL-2.0

//! Policies: what an agent may do.
//!
//! The grammar is `Documentation/policy.rst`. [`Policy::parse`] reads a text once and builds
//! tables, so that a [`Matcher`] costs the same with one rule and with thousands. The engine does
//! not resolve paths: whoever loads a policy looks up every [`Object`] and tells a matcher which
//! of them the operation's object is, or lies below.

mod error;
#[cfg(not(CONFIG_RUST))]
mod explain;
mod index;
mod lexer;
#[cfg(not(CONFIG_RUST))]
mod lint;
mod matcher;
mod parser;

#[cfg(not(CONFIG_RUST))]
pub use self::{
    error::Excerpt,
    explain::{
        Considered,
        Operation,
        Outcome, //
    },
    lint::Warning,
    parser::{
        Key,
        Statement, //
    }, //
};
pub use self::{
    error::{
        ErrorKind,
        ParseError, //
    },
    matcher::Matcher, //
};

use self::index::Index;
use super::{
    address::Prefix,
    limits,
    op::Op,
    vec::{
        NoMemory,
        Vec, //
    }, //
};
use core::fmt;

/// Set of the governance operations.
const GOVERNANCE: u64 =
    Op::Policy.bit() | Op::Validator.bit() | Op::Mode.bit() | Op::Unload.bit() | Op::Recover.bit();

/// Number of a path in a policy, from 0: its place in [`Policy::objects`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u16);

impl ObjectId {
    /// Returns the number as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Number of a class in a policy, from 0, in the order of declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(u8);

impl ClassId {
    /// The class of an agent whose class the policy does not declare (any more). It matches only
    /// rules without `class`.
    pub const UNKNOWN: Self = Self(u8::MAX);

    /// Returns the class of that number; [`ClassId::UNKNOWN`] when no policy has so many.
    pub fn new(index: usize) -> Self {
        match u8::try_from(index) {
            Ok(class) if index < limits::CLASSES => Self(class),
            _ => Self::UNKNOWN,
        }
    }

    /// Returns the number as an index; 255 for [`ClassId::UNKNOWN`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Returns the class as a set of one; 0 for [`ClassId::UNKNOWN`].
    const fn bit(self) -> u64 {
        // CAST: Widening; `u32::from` is not `const`.
        match 1u64.checked_shl(self.0 as u32) {
            Some(bit) => bit,
            None => 0,
        }
    }
}

/// Conditions of a quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// Weight that must approve, in basis points of all weight: 5001 to 10000.
    pub threshold_bp: u16,
    /// Life of the grant, in seconds from the decision: 1 to 86400.
    pub ttl_s: u32,
    /// How long the request stays open, in seconds: 1 to 86400.
    pub timeout_s: u32,
    /// How often the grant may be used: 1 to 65535.
    pub uses: u16,
    /// How long the operation waits for the decision, in seconds: 0 to 600.
    pub hold_s: u32,
}

impl Terms {
    /// What holds where policy says nothing: 75 %, 5 minutes, 10 minutes, once, no waiting.
    pub const DEFAULT: Self = Self {
        threshold_bp: 7500,
        ttl_s: 300,
        timeout_s: 600,
        uses: 1,
        hold_s: 0,
    };
}

impl Default for Terms {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// When thresholds rise, and how far: the `adaptive` statement. See `Documentation/byzantine.rst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adaptive {
    /// Least threshold of any quorum, in basis points: 5001 to 10000.
    pub floor_bp: u16,
    /// No threshold is raised above this, in basis points: the floor to 10000.
    pub ceiling_bp: u16,
    /// What an alert adds, in basis points: 0 to 4999.
    pub raise_bp: u16,
    /// Unheard weight that starts an alert, in basis points of all weight: 1 to 10000.
    pub missing_bp: u16,
    /// How long an unheard validator has been silent, in seconds: 1 to 86400.
    pub silence_s: u32,
    /// Invalid votes that are an attack: 1 to 64.
    pub burst: u16,
    /// Time in which these are counted, in seconds: 1 to 3600.
    pub within_s: u32,
    /// How long an alert lasts, in seconds: 1 to 86400.
    pub quiet_s: u32,
    /// Greatest random part by which each time is lengthened, in basis points: 0 to 10000.
    pub jitter_bp: u16,
}

impl Adaptive {
    /// What holds where policy says nothing.
    pub const DEFAULT: Self = Self {
        floor_bp: limits::THRESHOLD_MIN_BP,
        ceiling_bp: 9000,
        raise_bp: 1500,
        missing_bp: 3334,
        silence_s: 600,
        burst: 16,
        within_s: 60,
        quiet_s: 600,
        jitter_bp: 2500,
    };

    /// Greatest `raise`, in basis points.
    pub const RAISE_MAX_BP: u16 = 4999;

    /// Greatest `burst`.
    pub const BURST_MAX: u16 = 64;

    /// Greatest `silence`, in seconds: 24 hours.
    pub const SILENCE_MAX_S: u32 = 24 * 60 * 60;

    /// Greatest `within`, in seconds: 1 hour.
    pub const WITHIN_MAX_S: u32 = 60 * 60;

    /// Greatest `quiet`, in seconds: 24 hours.
    pub const QUIET_MAX_S: u32 = 24 * 60 * 60;

    /// The conditions of a quorum that names none: [`Terms::DEFAULT`], but no threshold below the
    /// floor.
    pub fn terms(&self) -> Terms {
        Terms {
            threshold_bp: Terms::DEFAULT.threshold_bp.max(self.floor_bp),
            ..Terms::DEFAULT
        }
    }
}

/// What policy does with an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Let it proceed.
    Allow,
    /// Refuse it.
    Deny,
    /// Let it proceed, and write an event.
    Audit,
    /// Let it proceed with a grant only.
    Quorum(Terms),
}

impl Action {
    /// Returns the word that policy uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Audit => "AUDIT",
            Self::Quorum(_) => "QUORUM",
        }
    }

    /// Returns a rank and a threshold that, in this order, are greater for a stricter action.
    const fn strictness(self) -> (u8, u16) {
        match self {
            Self::Allow => (0, 0),
            Self::Audit => (1, 0),
            Self::Quorum(terms) => (2, terms.threshold_bp),
            Self::Deny => (3, 0),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

super::kernel_display!(Action);

/// Judgement of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// Line of the rule that decided; 0 when no rule matched.
    pub line: u32,
    /// Number of that rule, from 0, among the rules of the policy.
    pub rule: Option<u32>,
}

impl Decision {
    /// Returns the stricter of two judgements of one operation: DENY, QUORUM, AUDIT, ALLOW, and of
    /// two QUORUM the one with the higher threshold. Of two equally strict ones, `self`.
    pub fn stricter(self, other: Self) -> Self {
        if other.action.strictness() > self.action.strictness() {
            other
        } else {
            self
        }
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Class of the agent; `None` for a task without a label.
    pub class: Option<ClassId>,
    /// Name of the agent; empty for a task without a label.
    pub agent: &'a [u8],
    /// Effective user id in the initial user namespace.
    pub uid: u32,
}

/// A part of [`Policy::text`] or [`Policy::strings`].
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Returns the bytes of `of` that the span covers.
    fn bytes(self, of: &[u8]) -> &[u8] {
        of.get(self.start as usize..self.end as usize)
            .unwrap_or(&[])
    }

    /// Returns the text of `of` that the span covers.
    fn text(self, of: &[u8]) -> &str {
        core::str::from_utf8(self.bytes(of)).unwrap_or("")
    }
}

/// A path that the policy names, once however often it names it.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    path: Span,
    /// Line where the path stands first, from 1.
    pub line: u32,
    /// Column of the path there, from 1.
    pub column: u32,
}

impl Object {
    /// Returns the path as the policy writes it, without quotes. It starts with `/` and has
    /// neither control characters nor, therefore, a NUL.
    pub fn path<'a>(&self, policy: &'a Policy) -> &'a str {
        self.path.text(&policy.strings)
    }
}

/// Whose rule it is.
#[derive(Clone, Copy, Debug)]
struct Who {
    /// Agents of every class: the rule has no `class`.
    any: bool,
    /// Tasks without a label.
    host: bool,
    /// Classes, as a set of [`ClassId::bit`]s.
    classes: u64,
}

impl Who {
    /// Nobody.
    const NOBODY: Self = Self {
        any: false,
        host: false,
        classes: 0,
    };

    /// Every agent.
    const AGENTS: Self = Self {
        any: true,
        host: false,
        classes: 0,
    };

    /// Whether tasks of `class` (`None`: without a label) belong to it.
    fn holds(&self, class: Option<ClassId>) -> bool {
        match class {
            None => self.host,
            Some(class) => self.any || self.classes & class.bit() != 0,
        }
    }

    /// Adds those of `other`.
    fn add(&mut self, other: &Self) {
        self.any |= other.any;
        self.host |= other.host;
        self.classes |= other.classes;
    }
}

/// One `op=` statement.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// The statement in the text, without comment.
    text: Span,
    line: u32,
    column: u32,
    /// Operations, as a set of [`Op::bit`]s.
    ops: u64,
    who: Who,
    /// In [`Policy::strings`].
    agent: Option<Span>,
    uid: Option<u32>,
    object: Option<ObjectId>,
    /// Index in [`Policy::digests`].
    digest: Option<u16>,
    prefix: Option<Prefix>,
    /// First and last port.
    ports: Option<(u16, u16)>,
    action: Action,
}

/// One `class` statement.
#[derive(Clone, Copy, Debug)]
struct Class {
    name: Span,
    /// Classes that an agent of this one may start, as a set of [`ClassId::bit`]s.
    may: u64,
    line: u32,
}

/// One `label` statement.
#[derive(Clone, Copy, Debug)]
struct LabelRecord {
    object: ObjectId,
    class: ClassId,
    name: Span,
    /// Whether the statement has `agent=`.
    named: bool,
    line: u32,
}

/// What happens to an operation that no rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// What happens.
    pub action: Action,
    /// Line of the DEFAULT; 0 for governance operations, which have none.
    pub line: u32,
}

/// A `label` statement: whoever executes this file becomes an agent.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a> {
    /// The file.
    pub object: ObjectId,
    /// Class of the agent.
    pub class: ClassId,
    /// Name of the agent, when the statement gives one.
    pub agent: Option<&'a str>,
    /// Name of the agent: the one given, or the last component of the path.
    pub name: &'a str,
    /// Line of the statement.
    pub line: u32,
}

/// A rule, to be shown.
#[derive(Clone, Copy, Debug)]
pub struct RuleView<'a> {
    /// Number, from 0; the order in which rules are tried.
    pub number: u32,
    /// Line of the statement.
    pub line: u32,
    /// Column of the statement.
    pub column: u32,
    /// The statement as the policy has it, without comment.
    pub text: &'a str,
    /// Operations, as a set of [`Op::bit`]s; see [`Op::in_set`].
    pub ops: u64,
    /// Path that it concerns.
    pub object: Option<ObjectId>,
    /// What it does.
    pub action: Action,
}

/// A policy, ready to judge.
#[derive(Debug)]
pub struct Policy {
    text: Vec<u8>,
    /// Names and paths, without quotes, one after the other.
    strings: Vec<u8>,
    name: Span,
    version: u64,
    adaptive: Adaptive,
    /// Line of the `adaptive` statement; 0 without one.
    #[cfg(not(CONFIG_RUST))]
    adaptive_line: u32,
    classes: Vec<Class>,
    labels: Vec<LabelRecord>,
    objects: Vec<Object>,
    rules: Vec<Rule>,
    digests: Vec<[u8; 32]>,
    /// By [`Op::index`].
    fallbacks: Vec<Fallback>,
    host_ops: u64,
    index: Index,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// The first offence of the text, or [`ErrorKind::NoMemory`]. In the kernel this may sleep.
    pub fn parse(text: &[u8]) -> Result<Self, ParseError> {
        parser::parse(text)
    }

    /// Returns the name in the header.
    pub fn name(&self) -> &str {
        self.name.text(&self.strings)
    }

    /// Returns the version in the header, 1 to 2^63 - 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Returns when thresholds rise, and how far.
    pub fn adaptive(&self) -> Adaptive {
        self.adaptive
    }

    /// Returns the text that was read, byte for byte.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Returns the paths of all rules and labels; an [`ObjectId`] is the place in this list.
    pub fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Returns one path of the policy.
    pub fn object(&self, id: ObjectId) -> Option<&Object> {
        self.objects.get(id.index())
    }

    /// Whether some rule has `path=` with this path: otherwise it is only labelled, and no
    /// matcher asks for it.
    pub fn in_rules(&self, id: ObjectId) -> bool {
        self.index.ops_of(id) != 0
    }

    /// Returns the labels, in their order.
    pub fn labels(&self) -> impl Iterator<Item = Label<'_>> {
        self.labels.iter().map(|label| {
            let name = label.name.text(&self.strings);
            Label {
                object: label.object,
                class: label.class,
                agent: label.named.then_some(name),
                name,
                line: label.line,
            }
        })
    }

    /// Returns the names of all classes, in the order of their numbers.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        self.classes
            .iter()
            .map(|class| class.name.text(&self.strings))
    }

    /// Returns the class of that name; `None` when the policy declares none. `host` is no class.
    pub fn class(&self, name: &[u8]) -> Option<ClassId> {
        self.classes
            .iter()
            .position(|class| class.name.bytes(&self.strings) == name)
            .map(ClassId::new)
    }

    /// Returns the name of a class; empty when the policy has no such class.
    pub fn class_name(&self, class: ClassId) -> &str {
        self.classes
            .get(class.index())
            .map_or("", |class| class.name.text(&self.strings))
    }

    /// Returns the line that declares a class; 0 when the policy has no such class.
    pub fn class_line(&self, class: ClassId) -> u32 {
        self.classes
            .get(class.index())
            .map_or(0, |class| class.line)
    }

    /// Whether an agent of class `parent` may start one of class `child` (`may=`).
    pub fn may_start(&self, parent: ClassId, child: ClassId) -> bool {
        self.classes
            .get(parent.index())
            .is_some_and(|class| class.may & child.bit() != 0)
    }

    /// Returns the operations, as a set of [`Op::bit`]s, that some rule with `class=host` covers:
    /// tasks without a label may do all others. Governance operations are never in it; they are
    /// judged whoever asks.
    pub fn host_ops(&self) -> u64 {
        self.host_ops
    }

    /// Returns what happens to an operation of an agent that no rule matches.
    pub fn fallback(&self, op: Op) -> Fallback {
        // A policy without a DEFAULT is never made; if it were, it would deny.
        self.fallbacks.get(op.index()).copied().unwrap_or(Fallback {
            action: Action::Deny,
            line: 0,
        })
    }

    /// Returns the rules, in their order.
    pub fn rules(&self) -> impl Iterator<Item = RuleView<'_>> {
        self.rules.iter().zip(0..).map(|(rule, number)| RuleView {
            number,
            line: rule.line,
            column: rule.column,
            text: rule.text.text(&self.text),
            ops: rule.ops,
            object: rule.object,
            action: rule.action,
        })
    }

    /// Starts to judge one operation on at most one object.
    #[inline]
    pub fn matcher<'a>(&'a self, subject: &Subject<'a>, op: Op) -> Matcher<'a> {
        Matcher::new(self, *subject, op)
    }

    /// Appends a string and returns where it is.
    fn intern(strings: &mut Vec<u8>, bytes: impl Iterator<Item = u8>) -> Result<Span, NoMemory> {
        let start = strings.len();
        for byte in bytes {
            strings.push(byte)?;
        }
        // The strings are never longer than the text, so they fit.
        Ok(Span {
            start: u32::try_from(start).map_err(|_| NoMemory)?,
            end: u32::try_from(strings.len()).map_err(|_| NoMemory)?,
        })
    }
}
