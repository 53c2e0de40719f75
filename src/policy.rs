// SPDX-License-Identifier: GPL-2.0

//! The running policy: the engine's rules, with every path resolved to the inode it names.

use crate::{
    abi::{
        path::PathBuf,
        sha256,
        task, //
    },
    engine::{
        event::Payload,
        op::Op,
        policy::{
            Action,
            ClassId,
            Decision,
            ErrorKind,
            ObjectId,
            ParseError,
            Policy,
            Subject, //
        },
        refusal::Refusal, //
    }, //
};
use core::fmt;
use kernel::{
    alloc::AllocError,
    prelude::*,
    str::CString, //
};

/// A policy that can be put in force.
pub(crate) struct ActivePolicy {
    /// The rules.
    pub(crate) rules: Policy,
    /// Digest of the text.
    pub(crate) digest: [u8; 32],
    /// Number of this policy among all that this load of the module has put in force, from 1.
    pub(crate) generation: u64,
    /// Which inodes the rules name.
    identities: Identities,
    /// Keeps those inodes, and the mounts that lead to them, alive.
    _paths: KVVec<PathBuf>,
}

/// Why a text cannot be put in force.
pub(crate) enum PolicyError {
    /// The text is wrong there.
    Parse(ParseError),
    /// The path at that line and column does not lead to anything.
    Path {
        /// Line, from 1.
        line: u32,
        /// Column in bytes, from 1.
        column: u32,
        /// What the kernel says.
        error: Error,
    },
    /// Something else.
    Refused(Refusal),
}

impl PolicyError {
    /// The refusal that this is.
    pub(crate) fn refusal(&self) -> Refusal {
        match self {
            Self::Parse(error) if matches!(error.kind, ErrorKind::NoMemory) => Refusal::NoMemory,
            Self::Parse(error) if error.kind.is_limit() => Refusal::PolicyLimit,
            Self::Parse(_) => Refusal::PolicyInvalid,
            Self::Path { .. } => Refusal::PolicyPath,
            Self::Refused(refusal) => *refusal,
        }
    }
}

impl From<AllocError> for PolicyError {
    fn from(_: AllocError) -> Self {
        Self::Refused(Refusal::NoMemory)
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.refusal().name();
        match self {
            Self::Parse(error) => write!(f, "{code}: {error}"),
            Self::Path {
                line,
                column,
                error,
            } => write!(
                f,
                "{code}: {line}:{column}: the path cannot be resolved (errno {}); create it or correct the rule",
                -error.to_errno()
            ),
            Self::Refused(refusal) => f.write_str(refusal.message()),
        }
    }
}

impl From<Refusal> for PolicyError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl ActivePolicy {
    /// Reads `text` and resolves its paths as the calling task sees them.
    ///
    /// Context: process context; sleeps.
    ///
    /// # Errors
    ///
    /// [`Refusal::PolicyView`] when that task does not see the host's own files, and whatever is
    /// wrong with the text or a path.
    pub(crate) fn prepare(text: &[u8], generation: u64) -> Result<Self, PolicyError> {
        let current = task::current();
        if !current.sees_host() || current.shares_root() {
            return Err(Refusal::PolicyView.into());
        }
        let rules = Policy::parse(text).map_err(PolicyError::Parse)?;
        let mut paths = KVVec::new();
        let mut identities = Identities::with_capacity(rules.objects().len())?;
        for (index, object) in rules.objects().iter().enumerate() {
            let name = CString::try_from_fmt(fmt!("{}", object.path(&rules)))
                .map_err(|_| PolicyError::Refused(Refusal::NoMemory))?;
            let at = |error| PolicyError::Path {
                line: object.line,
                column: object.column,
                error,
            };
            let path = PathBuf::lookup(&name, true).map_err(at)?;
            let key = path.dentry().inode_key();
            if key == 0 {
                return Err(at(ENOENT));
            }
            let id =
                u16::try_from(index).map_err(|_| PolicyError::Refused(Refusal::PolicyLimit))?;
            identities.insert(key, ObjectId(id));
            paths.push(path, GFP_KERNEL)?;
        }
        Ok(Self {
            digest: sha256::digest(&[text]),
            rules,
            generation,
            identities,
            _paths: paths,
        })
    }

    /// Payload of the POLICY event.
    pub(crate) fn payload(&self) -> Payload<'_> {
        Payload::Policy {
            version: self.rules.version(),
            digest: &self.digest,
            name: self.rules.name(),
        }
    }

    /// The objects of the rules that are the inode `key`.
    #[inline]
    pub(crate) fn objects(&self, key: usize) -> impl Iterator<Item = ObjectId> + '_ {
        self.identities.find(key)
    }

    /// Whether `decision` was made by a rule that names an object by its path.
    pub(crate) fn names_object(&self, decision: &Decision) -> bool {
        decision.rule.is_some_and(|number| {
            self.rules
                .rules()
                .any(|rule| rule.number == number && rule.object.is_some())
        })
    }

    /// The strictest of what the rules say about `op` on the objects that they name.
    pub(crate) fn strictest(&self, subject: &Subject<'_>, op: Op) -> Decision {
        let mut strictest = Decision {
            action: Action::Allow,
            line: 0,
            rule: None,
        };
        for index in 0..self.rules.objects().len() {
            let Ok(index) = u16::try_from(index) else {
                break;
            };
            let mut matcher = self.rules.matcher(subject, op);
            matcher.object(ObjectId(index));
            let decision = matcher.decide();
            if self.names_object(&decision) {
                strictest = strictest.stricter(decision);
            }
        }
        strictest
    }

    /// Class and name that executing the inode `key` confers.
    pub(crate) fn exec_label(&self, key: usize) -> Option<(ClassId, &str)> {
        self.objects(key).find_map(|object| {
            self.rules
                .labels()
                .find(|label| label.object == object)
                .map(|label| (label.class, label.name))
        })
    }
}

/// From inodes to the objects of rules: a table with open addressing, made once and never changed.
///
/// # Invariants
///
/// The length of `slots` is a power of two and at least twice the number of objects inserted, so
/// that every search meets an empty slot.
struct Identities {
    slots: KVVec<Option<(usize, ObjectId)>>,
}

impl Identities {
    /// An empty table for up to `objects` objects.
    fn with_capacity(objects: usize) -> Result<Self, AllocError> {
        let size = (objects.saturating_add(1))
            .saturating_mul(2)
            .next_power_of_two();
        let mut slots = KVVec::new();
        slots.extend_with(size, None, GFP_KERNEL)?;
        // INVARIANT: A power of two, and more than twice as many.
        Ok(Self { slots })
    }

    /// Where the search for `key` begins.
    #[inline]
    fn start(&self, key: usize) -> usize {
        // Fibonacci hashing (Knuth, The Art of Computer Programming 6.4) of the address.
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) & (self.slots.len().wrapping_sub(1))
    }

    /// Adds an object; one key may have several.
    fn insert(&mut self, key: usize, object: ObjectId) {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = self.start(key);
        while let Some(slot) = self.slots.get_mut(at) {
            if slot.is_none() {
                *slot = Some((key, object));
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// The objects of `key`.
    #[inline]
    fn find(&self, key: usize) -> impl Iterator<Item = ObjectId> + '_ {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = self.start(key);
        core::iter::from_fn(move || loop {
            let (found, object) = (*self.slots.get(at)?)?;
            at = (at + 1) & mask;
            if found == key {
                return Some(object);
            }
        })
    }
}
