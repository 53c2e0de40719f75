// SPDX-License-Identifier: GPL-2.0

//! Reads the text of a policy.
//!
//! Every word is checked when it is read, so that the offence reported is the first one. What only
//! the end of a statement or of the text can tell is checked there.

use super::{
    super::{
        address::{
            Prefix,
            PrefixError, //
        },
        limits,
        name,
        op::Op,
        vec::Vec, //
    },
    error::{
        ErrorKind,
        Excerpt,
        ParseError, //
    },
    index::Index,
    lexer::{
        Lexer,
        Token,
        Value, //
    },
    Action,
    Adaptive,
    Class,
    ClassId,
    Fallback,
    LabelRecord,
    Object,
    ObjectId,
    Policy,
    Rule,
    Span,
    Terms,
    Who,
    GOVERNANCE, //
};
use core::fmt;

type Result<T> = core::result::Result<T, ParseError>;

macro_rules! keys {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A key of a statement.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Key {
            $($(#[$doc])* $variant,)*
        }

        impl Key {
            /// How many keys there are.
            const COUNT: usize = [$(Self::$variant,)*].len();

            /// Returns the word that policy uses, such as `path`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

keys! {
    /// Name of the policy.
    PolicyName = "policy_name",
    /// Version of the policy.
    PolicyVersion = "policy_version",
    /// Least threshold.
    Floor = "floor",
    /// Greatest threshold that an alert makes.
    Ceiling = "ceiling",
    /// What an alert adds.
    Raise = "raise",
    /// Unheard weight that starts an alert.
    Missing = "missing",
    /// How long the unheard have been silent.
    Silence = "silence",
    /// Invalid votes that start an alert.
    Burst = "burst",
    /// Time in which these are counted.
    Within = "within",
    /// How long an alert lasts.
    Quiet = "quiet",
    /// Random part of these times.
    Jitter = "jitter",
    /// Classes that an agent may start.
    May = "may",
    /// Executable that gives a label.
    Exec = "exec",
    /// Operations.
    Op = "op",
    /// Classes.
    Class = "class",
    /// Name of an agent.
    Agent = "agent",
    /// User id.
    Uid = "uid",
    /// Path of an object.
    Path = "path",
    /// Digest of content.
    Digest = "digest",
    /// Address prefix.
    Addr = "addr",
    /// Ports.
    Port = "port",
    /// What to do.
    Action = "action",
    /// Weight that must approve.
    Threshold = "threshold",
    /// Life of a grant.
    Ttl = "ttl",
    /// Life of a request.
    Timeout = "timeout",
    /// Uses of a grant.
    Uses = "uses",
    /// How long the operation waits.
    Hold = "hold",
}

impl Key {
    /// Options of QUORUM.
    const OPTIONS: [Self; 5] = [
        Self::Threshold,
        Self::Ttl,
        Self::Timeout,
        Self::Uses,
        Self::Hold,
    ];

    /// Whether the key is a selector that `op` takes, or no selector.
    const fn suits(self, op: Op) -> bool {
        match self {
            Self::Path => op.takes_path(),
            Self::Digest => op.takes_digest(),
            Self::Addr | Self::Port => op.takes_address(),
            _ => true,
        }
    }

    /// Whether the key is a selector.
    const fn is_selector(self) -> bool {
        matches!(
            self,
            Self::Class
                | Self::Agent
                | Self::Uid
                | Self::Path
                | Self::Digest
                | Self::Addr
                | Self::Port
        )
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A kind of statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statement {
    /// `policy_name=`
    Header,
    /// `adaptive`
    Adaptive,
    /// `class`
    Class,
    /// `label`
    Label,
    /// `DEFAULT`
    Default,
    /// `op=`
    Rule,
}

impl Statement {
    /// Returns the keys of the statement.
    pub const fn keys(self) -> &'static [Key] {
        match self {
            Self::Header => &[Key::PolicyName, Key::PolicyVersion],
            Self::Adaptive => &[
                Key::Floor,
                Key::Ceiling,
                Key::Raise,
                Key::Missing,
                Key::Silence,
                Key::Burst,
                Key::Within,
                Key::Quiet,
                Key::Jitter,
            ],
            Self::Class => &[Key::May],
            Self::Label => &[Key::Exec, Key::Class, Key::Agent],
            Self::Default => &[
                Key::Op,
                Key::Action,
                Key::Threshold,
                Key::Ttl,
                Key::Timeout,
                Key::Uses,
                Key::Hold,
            ],
            Self::Rule => &[
                Key::Op,
                Key::Class,
                Key::Agent,
                Key::Uid,
                Key::Path,
                Key::Digest,
                Key::Addr,
                Key::Port,
                Key::Action,
                Key::Threshold,
                Key::Ttl,
                Key::Timeout,
                Key::Uses,
                Key::Hold,
            ],
        }
    }
}

/// What the keys of one statement said.
struct Draft {
    statement: Statement,
    /// Column of the first word.
    column: u32,
    /// Columns of the keys, by their number; 0 for one that does not stand there.
    columns: [u32; Key::COUNT],
    /// Column of the value of `hold`.
    hold_column: u32,
    name: Option<Span>,
    version: Option<u64>,
    adaptive: Adaptive,
    ops: u64,
    who: Option<Who>,
    class: Option<ClassId>,
    agent: Option<Span>,
    uid: Option<u32>,
    object: Option<ObjectId>,
    digest: Option<u16>,
    prefix: Option<Prefix>,
    ports: Option<(u16, u16)>,
    action: Option<Action>,
    terms: Terms,
}

impl Draft {
    /// Starts a statement whose options are those of `adaptive` where it names none.
    fn new(statement: Statement, column: u32, adaptive: Adaptive) -> Self {
        Self {
            statement,
            column,
            columns: [0; Key::COUNT],
            hold_column: 0,
            name: None,
            version: None,
            adaptive,
            ops: 0,
            who: None,
            class: None,
            agent: None,
            uid: None,
            object: None,
            digest: None,
            prefix: None,
            ports: None,
            action: None,
            terms: adaptive.terms(),
        }
    }

    /// Returns the column of a key; 0 when it does not stand there.
    fn column_of(&self, key: Key) -> u32 {
        self.columns.get(key as usize).copied().unwrap_or(0)
    }
}

/// A name in `may=`, to be looked up when all classes are known.
struct Pending {
    /// Number of the class that has the `may=`.
    class: usize,
    /// In the text of strings.
    name: Span,
    line: u32,
    column: u32,
}

/// The DEFAULT without `op`.
struct General {
    fallback: Fallback,
    hold_column: u32,
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    strings: Vec<u8>,
    header: Option<(Span, u64)>,
    adaptive: Adaptive,
    /// Line of the `adaptive` statement; 0 without one.
    adaptive_line: u32,
    classes: Vec<Class>,
    pending: Vec<Pending>,
    labels: Vec<LabelRecord>,
    objects: Vec<Object>,
    /// Numbers of the objects, in the order of their paths.
    by_path: Vec<u16>,
    rules: Vec<Rule>,
    digests: Vec<[u8; 32]>,
    general: Option<General>,
    /// By [`Op::index`].
    defaults: Vec<Option<Fallback>>,
}

/// Reads a policy.
pub(super) fn parse(text: &[u8]) -> Result<Policy> {
    if text.len() > limits::POLICY_TEXT {
        return Err(ParseError {
            line: 1,
            column: 1,
            kind: ErrorKind::TextTooLong,
        });
    }
    let mut parser = Parser {
        lexer: Lexer::new(text),
        strings: Vec::new(),
        header: None,
        adaptive: Adaptive::DEFAULT,
        adaptive_line: 0,
        classes: Vec::new(),
        pending: Vec::new(),
        labels: Vec::new(),
        objects: Vec::new(),
        by_path: Vec::new(),
        rules: Vec::new(),
        digests: Vec::new(),
        general: None,
        defaults: Vec::new(),
    };
    parser.defaults.fill_to(Op::COUNT, None)?;
    while parser.lexer.next_statement()? {
        parser.statement()?;
        parser.lexer.end_line();
    }
    parser.finish(text)
}

impl<'t> Parser<'t> {
    /// Reads one statement.
    fn statement(&mut self) -> Result<()> {
        let start = self.lexer.place();
        let Some(first) = self.lexer.next_token()? else {
            return Ok(());
        };
        let statement = match (first.word, first.value) {
            (b"policy_name", Some(_)) => Statement::Header,
            (b"adaptive", None) => Statement::Adaptive,
            (b"class", None) => Statement::Class,
            (b"label", None) => Statement::Label,
            (b"DEFAULT", None) => Statement::Default,
            (b"op", Some(_)) => Statement::Rule,
            (word, _) => {
                let kind = match self.header {
                    None => ErrorKind::NoHeader,
                    Some(_) => ErrorKind::UnknownStatement(Excerpt::new(word)),
                };
                return Err(self.lexer.error(first.column, kind));
            }
        };
        match (statement, &self.header) {
            (Statement::Header, Some(_)) => {
                return Err(self.lexer.error(first.column, ErrorKind::DuplicateHeader));
            }
            (Statement::Header, None) | (_, Some(_)) => {}
            (_, None) => return Err(self.lexer.error(first.column, ErrorKind::NoHeader)),
        }
        if statement == Statement::Adaptive {
            self.may_adapt(first.column)?;
        }
        if statement == Statement::Rule && self.rules.len() >= limits::RULES {
            return Err(self.lexer.error(first.column, ErrorKind::TooManyRules));
        }
        if statement == Statement::Class {
            self.class_name(first.column)?;
        }

        let mut draft = Draft::new(statement, first.column, self.adaptive);
        let mut end = self.lexer.place();
        if first.value.is_some() {
            self.field(&mut draft, first)?;
        }
        while let Some(token) = self.lexer.next_token()? {
            self.field(&mut draft, token)?;
            end = self.lexer.place();
        }
        match statement {
            Statement::Header => self.header(&draft),
            Statement::Adaptive => self.adaptive(&draft),
            // All was done when its words were read.
            Statement::Class => Ok(()),
            Statement::Label => self.label(&draft),
            Statement::Default => self.default(&draft),
            Statement::Rule => self.rule(&draft, Span { start, end }),
        }
    }

    /// Returns an error when a key that the statement needs is missing.
    fn need(&self, draft: &Draft, key: Key) -> Result<()> {
        if draft.column_of(key) == 0 {
            return Err(self.lexer.error(draft.column, ErrorKind::MissingKey(key)));
        }
        Ok(())
    }

    /// Reads the name after `class` and declares it.
    fn class_name(&mut self, column: u32) -> Result<()> {
        let Some(token) = self.lexer.next_token()? else {
            return Err(self.lexer.error(column, ErrorKind::NoClassName));
        };
        let error = |kind| self.lexer.error(token.column, kind);
        let word = Excerpt::new(token.word);
        if token.value.is_some() {
            return Err(error(ErrorKind::NoClassName));
        }
        if !name::is_name(token.word) {
            return Err(error(ErrorKind::Name(word)));
        }
        if token.word == b"host" {
            return Err(error(ErrorKind::ReservedHost));
        }
        if self.find_class(token.word).is_some() {
            return Err(error(ErrorKind::DuplicateClass(word)));
        }
        if self.classes.len() >= limits::CLASSES {
            return Err(error(ErrorKind::TooManyClasses));
        }
        let class = Class {
            name: Policy::intern(&mut self.strings, token.word.iter().copied())?,
            may: 0,
            line: self.lexer.line(),
        };
        self.classes.push(class)?;
        Ok(())
    }

    /// Returns the class of that name, when it is declared already.
    fn find_class(&self, name: &[u8]) -> Option<ClassId> {
        self.classes
            .iter()
            .position(|class| class.name.bytes(&self.strings) == name)
            .map(ClassId::new)
    }

    /// Takes one `KEY=VALUE` into the statement.
    fn field(&mut self, draft: &mut Draft, token: Token<'t>) -> Result<()> {
        let error = |kind| Err(self.lexer.error(token.column, kind));
        let Some(value) = token.value else {
            return error(ErrorKind::NotAKey(Excerpt::new(token.word)));
        };
        let mut keys = draft.statement.keys().iter();
        let Some(&key) = keys.find(|key| key.name().as_bytes() == token.word) else {
            let word = Excerpt::new(token.word);
            return error(ErrorKind::UnknownKey(word, draft.statement));
        };
        if draft.column_of(key) != 0 {
            return error(ErrorKind::DuplicateKey(key));
        }
        if draft.statement == Statement::Rule {
            if key.is_selector() && key != Key::Uid && draft.ops & GOVERNANCE != 0 {
                return error(ErrorKind::GovernanceSelector(key));
            }
            if let Some(op) = Op::in_set(draft.ops).find(|&op| !key.suits(op)) {
                return error(ErrorKind::SelectorOperation(key, op));
            }
        }
        if value.raw.is_empty() {
            return Err(self.lexer.error(value.column, ErrorKind::EmptyValue(key)));
        }
        if let Some(column) = draft.columns.get_mut(key as usize) {
            *column = token.column;
        }

        match key {
            Key::PolicyName => draft.name = Some(self.name(value)?),
            Key::PolicyVersion => {
                draft.version =
                    Some(self.number(value, 1..=limits::POLICY_VERSION, ErrorKind::Version)?);
            }
            Key::Floor
            | Key::Ceiling
            | Key::Raise
            | Key::Missing
            | Key::Silence
            | Key::Burst
            | Key::Within
            | Key::Quiet
            | Key::Jitter => self.adaptive_field(&mut draft.adaptive, key, value)?,
            Key::May => self.may(value)?,
            Key::Exec | Key::Path => draft.object = Some(self.path(value)?),
            Key::Op => draft.ops = self.ops(value, draft.statement)?,
            Key::Class if draft.statement == Statement::Label => {
                draft.class = Some(self.class(value.raw, value.column)?);
            }
            Key::Class => draft.who = Some(self.who(value)?),
            Key::Agent => draft.agent = Some(self.name(value)?),
            Key::Uid => {
                // The greatest number is the one that `chown` takes for "unchanged": no user.
                let uid = self.number(value, 0..=u64::from(u32::MAX - 1), ErrorKind::Uid)?;
                draft.uid = u32::try_from(uid).ok();
            }
            Key::Digest => draft.digest = Some(self.digest(value)?),
            Key::Addr => draft.prefix = Some(self.prefix(value)?),
            Key::Port => draft.ports = Some(self.ports(value)?),
            Key::Action => draft.action = Some(self.action(value, draft.ops)?),
            Key::Threshold => draft.terms.threshold_bp = self.threshold(value)?,
            Key::Ttl => draft.terms.ttl_s = self.duration(value, key, 1, limits::TTL_S)?,
            Key::Timeout => {
                draft.terms.timeout_s = self.duration(value, key, 1, limits::TIMEOUT_S)?;
            }
            Key::Uses => {
                let uses = self.number(value, 1..=u64::from(u16::MAX), ErrorKind::Uses)?;
                draft.terms.uses = u16::try_from(uses).unwrap_or(u16::MAX);
            }
            Key::Hold => {
                draft.hold_column = value.column;
                draft.terms.hold_s = self.duration(value, key, 0, limits::HOLD_S)?;
            }
        }
        Ok(())
    }

    /// Returns the items of a list with their columns, having checked that none is empty.
    fn items(&self, value: Value<'t>, key: Key) -> impl Iterator<Item = Result<(&'t [u8], u32)>> {
        let line = self.lexer.line();
        let mut column = value.column;
        value.raw.split(|&byte| byte == b',').map(move |item| {
            let start = column;
            // A line is shorter than 2^32, so this never saturates.
            let length = u32::try_from(item.len()).unwrap_or(u32::MAX);
            column = start.saturating_add(length).saturating_add(1);
            if item.is_empty() {
                return Err(ParseError {
                    line,
                    column: start,
                    kind: ErrorKind::EmptyItem(key),
                });
            }
            Ok((item, start))
        })
    }

    /// Reads the name of a policy or an agent.
    fn name(&mut self, value: Value<'t>) -> Result<Span> {
        if !name::is_name(value.raw) {
            let kind = ErrorKind::Name(Excerpt::new(value.raw));
            return Err(self.lexer.error(value.column, kind));
        }
        let bytes = value.raw.iter().copied();
        Ok(Policy::intern(&mut self.strings, bytes)?)
    }

    /// Reads a number.
    fn number(
        &self,
        value: Value<'t>,
        range: core::ops::RangeInclusive<u64>,
        kind: ErrorKind,
    ) -> Result<u64> {
        name::number(value.raw)
            .filter(|number| range.contains(number))
            .ok_or_else(|| self.lexer.error(value.column, kind))
    }

    /// Reads the list of `may=`, for the class that was declared last.
    fn may(&mut self, value: Value<'t>) -> Result<()> {
        let first = self.pending.len();
        for item in self.items(value, Key::May) {
            let (name, column) = item?;
            let error = |kind| Err(self.lexer.error(column, kind));
            if !name::is_name(name) {
                return error(ErrorKind::Name(Excerpt::new(name)));
            }
            if name == b"host" {
                return error(ErrorKind::ReservedHost);
            }
            let before = self.pending.get(first..).unwrap_or(&[]);
            if before
                .iter()
                .any(|pending| pending.name.bytes(&self.strings) == name)
            {
                return error(ErrorKind::DuplicateItem(Excerpt::new(name)));
            }
            // Names that differ; no more of them can be declared.
            if before.len() >= limits::CLASSES {
                return error(ErrorKind::TooManyClasses);
            }
            let name = Policy::intern(&mut self.strings, name.iter().copied())?;
            self.pending.push(Pending {
                class: self.classes.len().saturating_sub(1),
                name,
                line: self.lexer.line(),
                column,
            })?;
        }
        Ok(())
    }

    /// Reads the name of a declared class.
    fn class(&self, name: &[u8], column: u32) -> Result<ClassId> {
        let error = |kind| self.lexer.error(column, kind);
        if name == b"host" {
            return Err(error(ErrorKind::ReservedHost));
        }
        self.find_class(name)
            .ok_or_else(|| error(ErrorKind::UnknownClass(Excerpt::new(name))))
    }

    /// Reads the list of a rule's `class=`.
    fn who(&self, value: Value<'t>) -> Result<Who> {
        let mut who = Who::NOBODY;
        for item in self.items(value, Key::Class) {
            let (name, column) = item?;
            let again = if name == b"host" {
                core::mem::replace(&mut who.host, true)
            } else {
                let class = self.class(name, column)?.bit();
                let again = who.classes & class != 0;
                who.classes |= class;
                again
            };
            if again {
                let kind = ErrorKind::DuplicateItem(Excerpt::new(name));
                return Err(self.lexer.error(column, kind));
            }
        }
        Ok(who)
    }

    /// Reads a list of operations.
    fn ops(&self, value: Value<'t>, statement: Statement) -> Result<u64> {
        let mut ops = 0;
        for item in self.items(value, Key::Op) {
            let (name, column) = item?;
            let error = |kind| Err(self.lexer.error(column, kind));
            let Some(op) = Op::from_name(name) else {
                return error(ErrorKind::UnknownOperation(Excerpt::new(name)));
            };
            if ops & op.bit() != 0 {
                return error(ErrorKind::DuplicateItem(Excerpt::new(name)));
            }
            if statement == Statement::Default {
                if op.is_governance() {
                    return error(ErrorKind::GovernanceDefault(op));
                }
                if self.defaults.get(op.index()).is_some_and(Option::is_some) {
                    return error(ErrorKind::DuplicateDefault(Some(op)));
                }
            }
            ops |= op.bit();
        }
        Ok(ops)
    }

    /// Reads a path; the same text is the same object.
    fn path(&mut self, value: Value<'t>) -> Result<ObjectId> {
        if value.raw.first() != Some(&b'/') {
            return Err(self.lexer.error(value.column, ErrorKind::PathNotAbsolute));
        }
        if value.bytes().count() > limits::PATH {
            return Err(self.lexer.error(value.column, ErrorKind::PathTooLong));
        }
        let place = self.by_path.binary_search_by(|&id| {
            let path = self
                .objects
                .get(usize::from(id))
                .map_or(&[][..], |object| object.path.bytes(&self.strings));
            path.iter().copied().cmp(value.bytes())
        });
        match place {
            Ok(place) => Ok(ObjectId(self.by_path.get(place).copied().unwrap_or(0))),
            Err(place) => {
                let number = u16::try_from(self.objects.len())
                    .ok()
                    .filter(|&number| usize::from(number) < limits::PATHS)
                    .ok_or_else(|| self.lexer.error(value.column, ErrorKind::TooManyPaths))?;
                let object = Object {
                    path: Policy::intern(&mut self.strings, value.bytes())?,
                    line: self.lexer.line(),
                    column: value.column,
                };
                self.objects.push(object)?;
                self.by_path.insert(place, number)?;
                Ok(ObjectId(number))
            }
        }
    }

    /// Reads a digest.
    fn digest(&mut self, value: Value<'t>) -> Result<u16> {
        let digest = value
            .raw
            .strip_prefix(b"sha256:")
            .and_then(name::digest)
            .ok_or_else(|| self.lexer.error(value.column, ErrorKind::Digest))?;
        // At most one a rule, so the number fits.
        let number = u16::try_from(self.digests.len())
            .map_err(|_| self.lexer.error(value.column, ErrorKind::TooManyRules))?;
        self.digests.push(digest)?;
        Ok(number)
    }

    /// Reads an address or a prefix.
    fn prefix(&self, value: Value<'t>) -> Result<Prefix> {
        Prefix::parse(value.raw).map_err(|error| {
            let kind = match error {
                PrefixError::Address => ErrorKind::Address,
                PrefixError::Length => ErrorKind::PrefixLength,
                PrefixError::HostBits => ErrorKind::PrefixHostBits,
            };
            self.lexer.error(value.column, kind)
        })
    }

    /// Reads a port or a range of ports.
    fn ports(&self, value: Value<'t>) -> Result<(u16, u16)> {
        let error = |kind| self.lexer.error(value.column, kind);
        let port = |text| {
            name::number(text)
                .and_then(|port| u16::try_from(port).ok())
                .ok_or_else(|| error(ErrorKind::Port))
        };
        let mut ends = value.raw.splitn(2, |&byte| byte == b'-');
        let first = port(ends.next().unwrap_or(&[]))?;
        let last = ends.next().map_or(Ok(first), port)?;
        if last < first {
            return Err(error(ErrorKind::PortOrder));
        }
        Ok((first, last))
    }

    /// Reads an action; the terms of a quorum follow at the end of the statement.
    fn action(&self, value: Value<'t>, ops: u64) -> Result<Action> {
        let error = |kind| Err(self.lexer.error(value.column, kind));
        let action = match value.raw {
            b"ALLOW" => Action::Allow,
            b"DENY" => Action::Deny,
            b"AUDIT" => Action::Audit,
            b"QUORUM" => Action::Quorum(self.adaptive.terms()),
            word => return error(ErrorKind::UnknownAction(Excerpt::new(word))),
        };
        if matches!(action, Action::Allow | Action::Audit) {
            if let Some(op) = Op::in_set(ops & GOVERNANCE).next() {
                return error(ErrorKind::GovernanceAction(op));
            }
        }
        Ok(action)
    }

    /// Reads a threshold, in basis points.
    fn threshold(&self, value: Value<'t>) -> Result<u16> {
        let range = limits::THRESHOLD_MIN_BP..=limits::THRESHOLD_MAX_BP;
        let bp = self.percentage(value, range, ErrorKind::Threshold)?;
        if bp < self.adaptive.floor_bp {
            let kind = ErrorKind::ThresholdFloor(self.adaptive.floor_bp);
            return Err(self.lexer.error(value.column, kind));
        }
        Ok(bp)
    }

    /// Reads a percentage of up to two decimals, in basis points.
    fn percentage(
        &self,
        value: Value<'t>,
        range: core::ops::RangeInclusive<u16>,
        kind: ErrorKind,
    ) -> Result<u16> {
        let parse = || {
            let text = value.raw.strip_suffix(b"%")?;
            let mut parts = text.splitn(2, |&byte| byte == b'.');
            let whole = name::number(parts.next()?)?;
            let hundredths = match parts.next() {
                None => 0,
                Some(&[tenths]) => 10 * digit(tenths)?,
                Some(&[tenths, hundredths]) => 10 * digit(tenths)? + digit(hundredths)?,
                Some(_) => return None,
            };
            let bp = whole.checked_mul(100)?.checked_add(hundredths)?;
            u16::try_from(bp).ok().filter(|bp| range.contains(bp))
        };
        parse().ok_or_else(|| self.lexer.error(value.column, kind))
    }

    /// Reads one key of `adaptive`.
    fn adaptive_field(&self, into: &mut Adaptive, key: Key, value: Value<'t>) -> Result<()> {
        let percentage =
            |least, most| self.percentage(value, least..=most, ErrorKind::Percentage(key));
        let duration = |most| self.duration(value, key, 1, most);
        let whole = limits::THRESHOLD_MAX_BP;
        match key {
            Key::Floor => into.floor_bp = percentage(limits::THRESHOLD_MIN_BP, whole)?,
            Key::Ceiling => into.ceiling_bp = percentage(limits::THRESHOLD_MIN_BP, whole)?,
            Key::Raise => into.raise_bp = percentage(0, Adaptive::RAISE_MAX_BP)?,
            Key::Missing => into.missing_bp = percentage(1, whole)?,
            Key::Jitter => into.jitter_bp = percentage(0, whole)?,
            Key::Silence => into.silence_s = duration(Adaptive::SILENCE_MAX_S)?,
            Key::Within => into.within_s = duration(Adaptive::WITHIN_MAX_S)?,
            Key::Quiet => into.quiet_s = duration(Adaptive::QUIET_MAX_S)?,
            _ => {
                let burst = 1..=u64::from(Adaptive::BURST_MAX);
                let burst = self.number(value, burst, ErrorKind::Burst)?;
                into.burst = u16::try_from(burst).unwrap_or(Adaptive::BURST_MAX);
            }
        }
        Ok(())
    }

    /// Reads a time, in seconds.
    fn duration(&self, value: Value<'t>, key: Key, least: u32, most: u32) -> Result<u32> {
        let parse = || {
            let (unit, text) = value.raw.split_last()?;
            let seconds = match unit {
                b's' => 1,
                b'm' => 60,
                b'h' => 3600,
                _ => return None,
            };
            let time = name::number(text)?.checked_mul(seconds)?;
            u32::try_from(time)
                .ok()
                .filter(|time| (least..=most).contains(time))
        };
        parse().ok_or_else(|| self.lexer.error(value.column, ErrorKind::Duration(key)))
    }

    /// Ends the header.
    fn header(&mut self, draft: &Draft) -> Result<()> {
        self.need(draft, Key::PolicyVersion)?;
        self.header = draft.name.zip(draft.version);
        Ok(())
    }

    /// Returns an error when `adaptive` cannot stand here: what follows it depends on its floor.
    fn may_adapt(&self, column: u32) -> Result<()> {
        let kind = if self.adaptive_line != 0 {
            ErrorKind::DuplicateAdaptive
        } else if self.general.is_some()
            || !self.rules.is_empty()
            || self.defaults.iter().any(Option::is_some)
        {
            ErrorKind::AdaptivePlace
        } else {
            return Ok(());
        };
        Err(self.lexer.error(column, kind))
    }

    /// Ends `adaptive`.
    fn adaptive(&mut self, draft: &Draft) -> Result<()> {
        let mut adaptive = draft.adaptive;
        if adaptive.ceiling_bp < adaptive.floor_bp {
            let column = draft.column_of(Key::Ceiling);
            if column != 0 {
                let kind = ErrorKind::CeilingFloor(adaptive.floor_bp);
                return Err(self.lexer.error(column, kind));
            }
            adaptive.ceiling_bp = adaptive.floor_bp;
        }
        self.adaptive = adaptive;
        self.adaptive_line = self.lexer.line();
        Ok(())
    }

    /// Ends a label.
    fn label(&mut self, draft: &Draft) -> Result<()> {
        self.need(draft, Key::Exec)?;
        self.need(draft, Key::Class)?;
        let (Some(object), Some(class)) = (draft.object, draft.class) else {
            return Ok(());
        };
        let column = draft.column_of(Key::Exec);
        if self.labels.iter().any(|label| label.object == object) {
            return Err(self.lexer.error(column, ErrorKind::DuplicateLabel));
        }
        let name = match draft.agent {
            Some(name) => name,
            None => self
                .last_component(object)
                .ok_or_else(|| self.lexer.error(column, ErrorKind::AgentFromPath))?,
        };
        self.labels.push(LabelRecord {
            object,
            class,
            name,
            named: draft.agent.is_some(),
            line: self.lexer.line(),
        })?;
        Ok(())
    }

    /// Returns the last component of a path, when it can be a name.
    fn last_component(&self, object: ObjectId) -> Option<Span> {
        let path = self.objects.get(object.index())?.path;
        let last = path
            .bytes(&self.strings)
            .rsplit(|&byte| byte == b'/')
            .next()?;
        if !name::is_name(last) {
            return None;
        }
        Some(Span {
            start: path.end.checked_sub(u32::try_from(last.len()).ok()?)?,
            end: path.end,
        })
    }

    /// Returns the action of a statement with its options.
    fn action_of(&self, draft: &Draft) -> Result<Action> {
        self.need(draft, Key::Action)?;
        match draft.action {
            Some(Action::Quorum(_)) => Ok(Action::Quorum(draft.terms)),
            action => {
                let option = Key::OPTIONS
                    .into_iter()
                    .filter(|&key| draft.column_of(key) != 0)
                    .min_by_key(|&key| draft.column_of(key));
                match option {
                    Some(key) => Err(self
                        .lexer
                        .error(draft.column_of(key), ErrorKind::OptionWithoutQuorum(key))),
                    None => Ok(action.unwrap_or(Action::Deny)),
                }
            }
        }
    }

    /// Returns an error when one of the operations cannot wait and the statement wants it to.
    fn may_hold(&self, draft: &Draft) -> Result<()> {
        if draft.terms.hold_s == 0 {
            return Ok(());
        }
        match Op::in_set(draft.ops).find(|op| !op.may_hold()) {
            Some(op) => Err(self
                .lexer
                .error(draft.hold_column, ErrorKind::HoldOperation(op))),
            None => Ok(()),
        }
    }

    /// Ends a DEFAULT.
    fn default(&mut self, draft: &Draft) -> Result<()> {
        let fallback = Fallback {
            action: self.action_of(draft)?,
            line: self.lexer.line(),
        };
        if draft.column_of(Key::Op) == 0 {
            if self.general.is_some() {
                let kind = ErrorKind::DuplicateDefault(None);
                return Err(self.lexer.error(draft.column, kind));
            }
            self.general = Some(General {
                fallback,
                hold_column: draft.hold_column,
            });
            return Ok(());
        }
        self.may_hold(draft)?;
        for op in Op::in_set(draft.ops) {
            if let Some(default) = self.defaults.get_mut(op.index()) {
                *default = Some(fallback);
            }
        }
        Ok(())
    }

    /// Ends a rule.
    fn rule(&mut self, draft: &Draft, text: Span) -> Result<()> {
        let action = self.action_of(draft)?;
        self.may_hold(draft)?;
        self.rules.push(Rule {
            text,
            line: self.lexer.line(),
            column: draft.column,
            ops: draft.ops,
            who: draft.who.unwrap_or(Who::AGENTS),
            agent: draft.agent,
            uid: draft.uid,
            object: draft.object,
            digest: draft.digest,
            prefix: draft.prefix,
            ports: draft.ports,
            action,
        })?;
        Ok(())
    }

    /// Looks the names of all `may=` up.
    fn resolve_may(&mut self) -> Result<()> {
        for pending in &self.pending {
            let name = pending.name.bytes(&self.strings);
            let Some(started) = self.find_class(name) else {
                return Err(ParseError {
                    line: pending.line,
                    column: pending.column,
                    kind: ErrorKind::UnknownClass(Excerpt::new(name)),
                });
            };
            if let Some(class) = self.classes.get_mut(pending.class) {
                class.may |= started.bit();
            }
        }
        Ok(())
    }

    /// Gives every operation its fallback.
    fn fallbacks(&self) -> Result<Vec<Fallback>> {
        let mut fallbacks = Vec::with_capacity(Op::COUNT)?;
        for op in Op::ALL {
            let own = self.defaults.get(op.index()).copied().flatten();
            let fallback = match (own, &self.general) {
                (Some(fallback), _) => fallback,
                (None, _) if op.is_governance() => Fallback {
                    action: Action::Quorum(self.adaptive.terms()),
                    line: 0,
                },
                (None, Some(general)) => {
                    let fallback = general.fallback;
                    if let Action::Quorum(terms) = fallback.action {
                        if terms.hold_s != 0 && !op.may_hold() {
                            return Err(ParseError {
                                line: fallback.line,
                                column: general.hold_column,
                                kind: ErrorKind::HoldOperation(op),
                            });
                        }
                    }
                    fallback
                }
                (None, None) => return Err(self.lexer.error(1, ErrorKind::NoDefault(op))),
            };
            fallbacks.push(fallback)?;
        }
        Ok(fallbacks)
    }

    /// Checks what concerns the whole text and builds the tables.
    fn finish(mut self, text: &[u8]) -> Result<Policy> {
        let Some((name, version)) = self.header else {
            return Err(self.lexer.error(1, ErrorKind::NoHeader));
        };
        let (may, fallbacks) = (self.resolve_may(), self.fallbacks());
        let fallbacks = match (may, fallbacks) {
            (Ok(()), Ok(fallbacks)) => fallbacks,
            (Err(first), Err(second)) if second.line < first.line => return Err(second),
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let mut copy = Vec::new();
        copy.extend_from_slice(text)?;
        let host_ops = self
            .rules
            .iter()
            .filter(|rule| rule.who.host)
            .fold(0, |ops, rule| ops | rule.ops);
        let index = Index::new(&self.rules, &self.digests, self.objects.len())?;
        Ok(Policy {
            text: copy,
            strings: self.strings,
            name,
            version,
            adaptive: self.adaptive,
            #[cfg(not(CONFIG_RUST))]
            adaptive_line: self.adaptive_line,
            classes: self.classes,
            labels: self.labels,
            objects: self.objects,
            rules: self.rules,
            digests: self.digests,
            fallbacks,
            host_ops,
            index,
        })
    }
}

/// Returns the value of a decimal digit.
fn digit(digit: u8) -> Option<u64> {
    digit
        .checked_sub(b'0')
        .filter(|&digit| digit <= 9)
        .map(u64::from)
}
