// SPDX-License-Identifier: GPL-2.0

//! The running policy: the engine's rules, with every path resolved to the inode it names.

use crate::{
    abi::{
        path::{
            PathBuf,
            Visitor, //
        },
        recall::Recall,
        sha256,
        task, //
    },
    engine::{
        address::Address,
        event::Payload,
        op::Op,
        policy::{
            Action,
            ClassId,
            Decision,
            ErrorKind,
            Matcher,
            ObjectId,
            ParseError,
            Policy,
            Subject, //
        },
        refusal::Refusal, //
    },
    object::Object, //
};
use core::fmt;
use kernel::{
    alloc::AllocError,
    prelude::*,
    str::CString,
    sync::{
        rcu,
        Arc, //
    }, //
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
    /// Is never asked about them while this lives.
    recall: Arc<Recall>,
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
    /// Reads `text` and resolves its paths as the calling task sees them. `recall` is not
    /// asked about the inodes that they lead to for as long as the policy lives.
    ///
    /// Context: process context; sleeps.
    ///
    /// # Errors
    ///
    /// [`Refusal::PolicyView`] when that task does not see the host's own files, and whatever is
    /// wrong with the text or a path.
    pub(crate) fn prepare(
        text: &[u8],
        generation: u64,
        recall: &Arc<Recall>,
    ) -> Result<Self, PolicyError> {
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
            let at = |error| match error {
                // The path may be right.
                ENOMEM => PolicyError::Refused(Refusal::NoMemory),
                error => PolicyError::Path {
                    line: object.line,
                    column: object.column,
                    error,
                },
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
        for key in identities.keys() {
            recall.named.add(key, 0);
        }
        Ok(Self {
            digest: sha256::digest(&[text]),
            rules,
            generation,
            identities,
            recall: recall.clone(),
            _paths: paths,
        })
    }

    /// [`Self::generation`] where there is room for half of it; so many are not loaded that one came twice.
    #[inline]
    pub(crate) fn short_generation(&self) -> u32 {
        self.generation as u32
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

    /// Whether a rule names the inode `key` itself, and not only what it is below.
    #[inline]
    pub(crate) fn names(&self, key: usize) -> bool {
        self.recall.named.may_have(key) && self.objects(key).next().is_some()
    }

    /// Tells a new matcher which objects lie above `object`, and which address and port are used.
    ///
    /// # Errors
    ///
    /// `EACCES` when the kernel cannot tell where the object is: it may be below anything. What is
    /// known the matcher has been told.
    #[inline(always)]
    pub(crate) fn meet<'a>(
        &'a self,
        matcher: &mut Matcher<'a>,
        subject: &Subject<'a>,
        op: Op,
        object: &Object<'_>,
        address: Option<(Address, u16)>,
        guard: &rcu::Guard,
    ) -> Result {
        let mut known = Ok(());
        if matcher.wants_object() {
            let mut above = Ancestors {
                policy: self,
                subject,
                op,
                matcher: &mut *matcher,
            };
            known = object.walk(&mut above, guard);
        }
        if let Some((address, port)) = address {
            matcher.address(address, port);
        }
        known
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

impl Drop for ActivePolicy {
    fn drop(&mut self) {
        for key in self.identities.keys() {
            self.recall.named.remove(key, true);
        }
    }
}

/// Tells a matcher which objects of rules lie above an object.
struct Ancestors<'a, 'b> {
    policy: &'a ActivePolicy,
    subject: &'b Subject<'a>,
    op: Op,
    matcher: &'b mut Matcher<'a>,
}

impl Visitor for Ancestors<'_, '_> {
    #[inline]
    fn visit(&mut self, key: usize) {
        // Most directories are named by no rule, and the filter says so for less.
        if !self.policy.recall.named.may_have(key) {
            return;
        }
        for object in self.policy.objects(key) {
            self.matcher.object(object);
        }
    }

    fn restart(&mut self) {
        *self.matcher = self.policy.rules.matcher(self.subject, self.op);
    }
}

/// From inodes to the objects of rules: a table with open addressing, made once and never changed.
///
/// # Invariants
///
/// The length of `keys` is a power of two and at least four times the number of objects inserted, so
/// that every search meets an empty place, which has 0, and most meet it at once. `objects` is as
/// long.
struct Identities {
    keys: KVVec<usize>,
    objects: KVVec<ObjectId>,
}

impl Identities {
    /// An empty table for up to `objects` objects.
    fn with_capacity(objects: usize) -> Result<Self, AllocError> {
        let size = (objects.saturating_add(1))
            .saturating_mul(4)
            .next_power_of_two();
        // INVARIANT: A power of two, and more than four times as many.
        Ok(Self {
            keys: KVVec::from_elem(0, size, GFP_KERNEL)?,
            objects: KVVec::from_elem(ObjectId(0), size, GFP_KERNEL)?,
        })
    }

    /// Where the search for `key` begins.
    #[inline]
    fn start(&self, key: usize) -> usize {
        // Fibonacci hashing (Knuth, The Art of Computer Programming 6.4) of the address.
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) & (self.keys.len().wrapping_sub(1))
    }

    /// Adds an object; one key, which is not 0, may have several.
    fn insert(&mut self, key: usize, object: ObjectId) {
        let mask = self.keys.len().wrapping_sub(1);
        let mut at = self.start(key);
        while let (Some(place), Some(slot)) = (self.keys.get_mut(at), self.objects.get_mut(at)) {
            if *place == 0 {
                (*place, *slot) = (key, object);
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// The key of each object.
    fn keys(&self) -> impl Iterator<Item = usize> + '_ {
        self.keys.iter().copied().filter(|key| *key != 0)
    }

    /// The objects of `key`.
    #[inline]
    fn find(&self, key: usize) -> impl Iterator<Item = ObjectId> + '_ {
        let mask = self.keys.len().wrapping_sub(1);
        let mut next = self.start(key);
        core::iter::from_fn(move || loop {
            let at = next;
            let found = *self.keys.get(at)?;
            if found == 0 {
                return None;
            }
            next = (at + 1) & mask;
            if found == key {
                return self.objects.get(at).copied();
            }
        })
    }
}
