// SPDX-License-Identifier: GPL-2.0

//! Why a policy was refused, and where.

use super::{
    super::{
        limits,
        op::Op,
        vec::NoMemory, //
    },
    parser::{
        Key,
        Statement, //
    }, //
};
use core::fmt::{
    self,
    Write, //
};

/// The first offence of a policy.
///
/// Its text starts with the place and the essential, `12:5: unknown key "foo"; ...`, so that it may
/// be cut. It never depends on input beyond an [`Excerpt`], so it stays short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Line, from 1; 0 for [`ErrorKind::NoMemory`]. What is missing at the end of the text is
    /// reported on the line after the last.
    pub line: u32,
    /// Column in bytes, from 1; 0 for [`ErrorKind::NoMemory`].
    pub column: u32,
    /// The reason.
    pub kind: ErrorKind,
}

impl From<NoMemory> for ParseError {
    fn from(_: NoMemory) -> Self {
        Self {
            line: 0,
            column: 0,
            kind: ErrorKind::NoMemory,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line != 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        self.kind.fmt(f)
    }
}

super::super::kernel_display!(ParseError);

/// The beginning of an offending word, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excerpt {
    bytes: [u8; Self::LENGTH],
    len: u8,
    cut: bool,
}

impl Excerpt {
    /// Bytes that are kept.
    pub const LENGTH: usize = limits::NAME;

    /// Keeps the beginning of `word`.
    pub fn new(word: &[u8]) -> Self {
        let mut bytes = [0; Self::LENGTH];
        let mut len = 0;
        for (to, from) in bytes.iter_mut().zip(word) {
            *to = *from;
            len += 1;
        }
        Self {
            bytes,
            len,
            cut: word.len() > Self::LENGTH,
        }
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or(&[]);
        // What is cut may end within a character.
        if let Some(chunk) = bytes.utf8_chunks().next() {
            f.write_str(chunk.valid())?;
        }
        f.write_str(if self.cut { "...\"" } else { "\"" })
    }
}

/// Reason of a [`ParseError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No memory; says nothing about the text.
    NoMemory,
    /// The text is longer than [`limits::POLICY_TEXT`].
    TextTooLong,
    /// More rules than [`limits::RULES`].
    TooManyRules,
    /// More different paths than [`limits::PATHS`].
    TooManyPaths,
    /// More classes than [`limits::CLASSES`].
    TooManyClasses,
    /// A path is longer than [`limits::PATH`].
    PathTooLong,
    /// Not UTF-8.
    NotUtf8,
    /// A control character other than a newline or tab.
    Control(u8),
    /// The last line does not end.
    NoNewline,
    /// A bare value holds a double quote.
    StrayQuote,
    /// A double quote is not closed on its line.
    UnclosedQuote,
    /// A backslash in quotes before anything but `"` and `\`.
    BadEscape,
    /// Something follows a closing quote immediately.
    AfterQuote,
    /// A line starts with something else than a statement.
    UnknownStatement(Excerpt),
    /// The first statement is not the header.
    NoHeader,
    /// A second header.
    DuplicateHeader,
    /// The statement has no such key.
    UnknownKey(Excerpt, Statement),
    /// The key stands twice in the statement.
    DuplicateKey(Key),
    /// The statement needs this key.
    MissingKey(Key),
    /// A word where `key=value` belongs.
    NotAKey(Excerpt),
    /// A key without value.
    EmptyValue(Key),
    /// A list with nothing between two commas, or at an end.
    EmptyItem(Key),
    /// The same thing twice in a list.
    DuplicateItem(Excerpt),
    /// A name is not 1 to 32 of `[A-Za-z0-9._-]`.
    Name(Excerpt),
    /// The version is not 1 to 2^63 - 1.
    Version,
    /// A second `adaptive`.
    DuplicateAdaptive,
    /// `adaptive` after a DEFAULT or a rule.
    AdaptivePlace,
    /// A percentage out of the key's range.
    Percentage(Key),
    /// The ceiling is below this floor.
    CeilingFloor(u16),
    /// `burst` is not 1 to 64.
    Burst,
    /// `class` without a name.
    NoClassName,
    /// `host` where only a class can stand.
    ReservedHost,
    /// The class is declared twice.
    DuplicateClass(Excerpt),
    /// The class is not declared (before its use, except in `may=`).
    UnknownClass(Excerpt),
    /// No operation of that name.
    UnknownOperation(Excerpt),
    /// A path does not start with `/`.
    PathNotAbsolute,
    /// The last component of `exec=` cannot be an agent's name.
    AgentFromPath,
    /// Two labels for one path.
    DuplicateLabel,
    /// Not a user id.
    Uid,
    /// Not `sha256:` and 64 hexadecimal digits.
    Digest,
    /// Not an IPv4 or IPv6 address.
    Address,
    /// The length of a prefix is no number, or too great.
    PrefixLength,
    /// The address of a prefix has bits after the prefix.
    PrefixHostBits,
    /// Not a port or a range of ports.
    Port,
    /// A range of ports whose end is before its start.
    PortOrder,
    /// Not an action.
    UnknownAction(Excerpt),
    /// An option of QUORUM with another action.
    OptionWithoutQuorum(Key),
    /// The threshold is not 50.01% to 100%.
    Threshold,
    /// The threshold is below this floor.
    ThresholdFloor(u16),
    /// A time that is not a number and a unit, or out of the key's range.
    Duration(Key),
    /// `uses` is not 1 to 65535.
    Uses,
    /// The operation cannot wait.
    HoldOperation(Op),
    /// The operation does not take the selector.
    SelectorOperation(Key, Op),
    /// A governance operation takes no selector but `uid`.
    GovernanceSelector(Key),
    /// A governance operation takes only DENY and QUORUM.
    GovernanceAction(Op),
    /// A governance operation has no DEFAULT.
    GovernanceDefault(Op),
    /// Two DEFAULTs for one operation, or two without `op`.
    DuplicateDefault(Option<Op>),
    /// An operation without DEFAULT.
    NoDefault(Op),
}

impl ErrorKind {
    /// Whether the text passes a limit, rather than the grammar (refusal code `policy_limit`).
    pub const fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::TextTooLong
                | Self::TooManyRules
                | Self::TooManyPaths
                | Self::TooManyClasses
                | Self::PathTooLong
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoMemory => f.write_str("no memory"),
            Self::TextTooLong => {
                write!(f, "text longer than {} bytes", limits::POLICY_TEXT)
            }
            Self::TooManyRules => write!(f, "more than {} rules", limits::RULES),
            Self::TooManyPaths => write!(f, "more than {} different paths", limits::PATHS),
            Self::TooManyClasses => write!(f, "more than {} classes", limits::CLASSES),
            Self::PathTooLong => write!(f, "path longer than {} bytes", limits::PATH),
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::Control(byte) => write!(f, "control character {byte:#04x}"),
            Self::NoNewline => f.write_str("the last line must end in a newline"),
            Self::StrayQuote => {
                f.write_str("stray \"; quote the whole value and write \\\" for a quote in it")
            }
            Self::UnclosedQuote => f.write_str("quote is not closed on its line"),
            Self::BadEscape => f.write_str("in quotes, \\ stands before \" or \\ only"),
            Self::AfterQuote => f.write_str("a space must follow the closing quote"),
            Self::UnknownStatement(word) => write!(
                f,
                "unknown statement {word}; a line starts with adaptive, class, label, DEFAULT or op=",
            ),
            Self::NoHeader => {
                f.write_str("the first statement must be policy_name=NAME policy_version=N")
            }
            Self::DuplicateHeader => f.write_str("second policy_name; there is one header"),
            Self::UnknownKey(word, statement) => {
                write!(f, "unknown key {word}; known keys are ")?;
                for (place, key) in statement.keys().iter().enumerate() {
                    f.write_str(if place == 0 { "" } else { ", " })?;
                    f.write_str(key.name())?;
                }
                Ok(())
            }
            Self::DuplicateKey(key) => write!(f, "{key} stands twice in this statement"),
            Self::MissingKey(key) => write!(f, "{key}= is missing"),
            Self::NotAKey(word) => write!(f, "{word} is not KEY=VALUE"),
            Self::EmptyValue(key) => write!(f, "{key}= has no value"),
            Self::EmptyItem(key) => write!(f, "{key}= has an empty item in its list"),
            Self::DuplicateItem(word) => write!(f, "{word} stands twice in the list"),
            Self::Name(word) => write!(
                f,
                "bad name {word}; a name is 1 to {} of A-Z a-z 0-9 . _ -",
                limits::NAME
            ),
            Self::Version => f.write_str("policy_version must be 1 to 9223372036854775807"),
            Self::DuplicateAdaptive => f.write_str("second adaptive; put all its keys on one line"),
            Self::AdaptivePlace => {
                f.write_str("adaptive must stand before the first DEFAULT and op=")
            }
            Self::Percentage(key) => {
                let range = match key {
                    Key::Raise => "0% to 49.99%",
                    Key::Missing => "0.01% to 100%",
                    Key::Jitter => "0% to 100%",
                    _ => "50.01% to 100%",
                };
                write!(f, "{key} must be {range}, with at most two decimals")
            }
            Self::CeilingFloor(floor) => {
                f.write_str("ceiling is below the floor, ")?;
                percentage(f, *floor)
            }
            Self::Burst => f.write_str("burst must be a number, 1 to 64"),
            Self::NoClassName => f.write_str("class needs a name: class NAME [may=NAME,...]"),
            Self::ReservedHost => f.write_str("\"host\" is reserved for tasks without a label"),
            Self::DuplicateClass(word) => write!(f, "class {word} is declared twice"),
            Self::UnknownClass(word) => {
                write!(f, "unknown class {word}; declare it first: class NAME")
            }
            Self::UnknownOperation(word) => write!(f, "unknown operation {word}"),
            Self::PathNotAbsolute => f.write_str("a path must start with /"),
            Self::AgentFromPath => {
                f.write_str("the file's name cannot be an agent's name; add agent=NAME")
            }
            Self::DuplicateLabel => f.write_str("this path has a label already"),
            Self::Uid => f.write_str("uid must be a number, 0 to 4294967294"),
            Self::Digest => f.write_str("a digest is sha256: and 64 hexadecimal digits"),
            Self::Address => {
                f.write_str("not an IPv4 or IPv6 address or prefix, such as 10.0.0.0/8")
            }
            Self::PrefixLength => f.write_str(
                "prefix length must be a number, 0 to 32 for IPv4 and 0 to 128 for IPv6",
            ),
            Self::PrefixHostBits => {
                f.write_str("the address has bits after the prefix; set them to 0")
            }
            Self::Port => f.write_str("port must be N or N-M, 0 to 65535"),
            Self::PortOrder => f.write_str("the port range ends before it starts"),
            Self::UnknownAction(word) => write!(
                f,
                "unknown action {word}; actions are ALLOW, DENY, AUDIT, QUORUM",
            ),
            Self::OptionWithoutQuorum(key) => {
                write!(f, "{key} is an option of action=QUORUM only")
            }
            Self::Threshold => {
                f.write_str("threshold must be 50.01% to 100%, with at most two decimals")
            }
            Self::ThresholdFloor(floor) => {
                f.write_str("threshold is below the floor of this policy, ")?;
                percentage(f, *floor)
            }
            Self::Duration(Key::Within) => {
                f.write_str("within must be 1s to 1h: a number and s, m or h")
            }
            Self::Duration(Key::Hold) => {
                f.write_str("hold must be 0s to 10m: a number and s, m or h")
            }
            Self::Duration(key) => {
                write!(f, "{key} must be 1s to 24h: a number and s, m or h")
            }
            Self::Uses => f.write_str("uses must be a number, 1 to 65535"),
            Self::HoldOperation(op) => write!(
                f,
                "{op} cannot hold: the kernel has locks taken there; leave hold out",
            ),
            Self::SelectorOperation(key, op) => write!(f, "{op} does not take {key}="),
            Self::GovernanceSelector(key) => {
                write!(f, "a governance operation does not take {key}=, only uid=",)
            }
            Self::GovernanceAction(op) => {
                write!(f, "{op} is a governance operation: DENY or QUORUM only")
            }
            Self::GovernanceDefault(op) => write!(
                f,
                "{op} is a governance operation and has no DEFAULT; write a rule",
            ),
            Self::DuplicateDefault(Some(op)) => write!(f, "{op} has a DEFAULT already"),
            Self::DuplicateDefault(None) => f.write_str("there is a DEFAULT without op already"),
            Self::NoDefault(op) => write!(
                f,
                "{op} has no DEFAULT; add one, or DEFAULT action=DENY for all the rest",
            ),
        }
    }
}

/// Writes basis points as a percentage.
fn percentage(f: &mut fmt::Formatter<'_>, bp: u16) -> fmt::Result {
    write!(f, "{}.{:02}%", bp / 100, bp % 100)
}
