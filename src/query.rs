// SPDX-License-Identifier: GPL-2.0

//! What a hook asks: one operation, with everything that rules and approvers look at.

use crate::{
    abi::{
        path::FileExt,
        sha256::{
            self,
            Sha256, //
        }, //
    },
    engine::{
        address::Address,
        limits,
        op::Op,
        request::FactWriter,
        wire, //
    },
    object::Object, //
};
use kernel::{
    alloc::Flags,
    fs::File,
    prelude::*, //
};

/// Where the content is that a digest is taken of.
#[derive(Clone, Copy)]
pub(crate) enum Content<'a> {
    /// The operation has none.
    None,
    /// In a file that nobody can write to meanwhile.
    File(&'a File),
    /// In kernel memory.
    Bytes(&'a [u8]),
}

/// SHA-256 digest of a content, and its length in bytes.
pub(crate) type Fingerprint = ([u8; 32], u64);

/// What the caller may do while it asks.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Context {
    /// Not sleep: a spin lock or RCU is held.
    Atomic,
    /// Sleep for memory, not wait for people: other locks are held.
    Sleep,
    /// Wait for the decision: nothing is held.
    Wait,
}

impl Context {
    /// How memory may be asked for.
    pub(crate) fn flags(self) -> Flags {
        match self {
            Self::Atomic => GFP_ATOMIC,
            Self::Sleep | Self::Wait => GFP_KERNEL,
        }
    }
}

/// A function that appends the facts with the tags from NAME to TASK.
pub(crate) type Facts<'a> = &'a dyn Fn(&mut FactWriter<'_>) -> wire::Result;

/// One operation.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    /// The operation.
    pub(crate) op: Op,
    /// Its object.
    pub(crate) object: Object<'a>,
    /// A second object: where a rename or a link leads, what a mount covers.
    pub(crate) second: Object<'a>,
    /// Remote or local address, and port.
    pub(crate) address: Option<(Address, u16)>,
    /// Content that a grant binds.
    pub(crate) content: Content<'a>,
    /// Further facts for the approvers.
    pub(crate) facts: Facts<'a>,
    /// Version of a policy that is to be loaded.
    pub(crate) version: Option<u64>,
    /// What a governance request asks for; empty for other operations.
    pub(crate) detail: &'a [u8],
    /// Digest of the environment of a program.
    pub(crate) environment: Option<&'a dyn Fn() -> Result<[u8; 32]>>,
    /// Name of the hook.
    pub(crate) hook: &'static str,
    /// What the caller may do meanwhile.
    pub(crate) context: Context,
    /// The caller only looks whether it may: nothing is recorded or requested.
    pub(crate) quiet: bool,
    /// The object lies beneath one that was judged: only rules that name it matter.
    pub(crate) beneath: bool,
    /// The hook does not see what exactly is asked for, so no quorum can approve it.
    pub(crate) opaque: bool,
}

impl<'a> Query<'a> {
    /// An operation without an object.
    pub(crate) fn new(op: Op, hook: &'static str, context: Context) -> Self {
        Self {
            op,
            object: Object::None,
            second: Object::None,
            address: None,
            content: Content::None,
            facts: &|_| Ok(()),
            version: None,
            detail: &[],
            environment: None,
            hook,
            context,
            quiet: false,
            opaque: false,
            beneath: false,
        }
    }

    /// The same, about `object`.
    pub(crate) fn on(self, object: Object<'a>) -> Self {
        Self { object, ..self }
    }

    /// The same, with a second object.
    pub(crate) fn and(self, second: Object<'a>) -> Self {
        Self { second, ..self }
    }

    /// The same, with content.
    pub(crate) fn content(self, content: Content<'a>) -> Self {
        Self { content, ..self }
    }

    /// The same, with more facts.
    pub(crate) fn facts(self, facts: Facts<'a>) -> Self {
        Self { facts, ..self }
    }

    /// Digest and length of the content.
    ///
    /// Context: sleeps for a file, for as long as its file system likes, but gives up soon after
    /// `is_stopping`: unloading waits for it.
    ///
    /// # Errors
    ///
    /// `EFBIG` beyond [`limits::CONTENT`], `EACCES` for a file system that may answer the next read
    /// differently (FUSE), `EINTR` once `is_stopping`, `ENOMEM`, and those of reading the file.
    pub(crate) fn digest(&self, is_stopping: impl Fn() -> bool) -> Result<Option<Fingerprint>> {
        match self.content {
            Content::None => Ok(None),
            Content::Bytes(bytes) if bytes.len() as u64 > limits::CONTENT => Err(EFBIG),
            Content::Bytes(bytes) => Ok(Some((sha256::digest(&[bytes]), bytes.len() as u64))),
            Content::File(file) if file.is_unverifiable() => Err(EACCES),
            Content::File(file) => file_digest(file, is_stopping).map(Some),
        }
    }
}

/// Bytes read at a time.
const CHUNK: usize = 32 << 10;

/// Digest and length of a file's content.
fn file_digest(file: &File, is_stopping: impl Fn() -> bool) -> Result<Fingerprint> {
    let mut chunk = KVVec::from_elem(0, CHUNK, GFP_KERNEL)?;
    let mut digest = Sha256::new();
    let mut offset = 0;
    loop {
        if is_stopping() {
            return Err(EINTR);
        }
        let len = file.read_at(&mut chunk, offset)?;
        if len == 0 {
            return Ok((digest.finish(), offset));
        }
        digest.update(chunk.get(..len).ok_or(EIO)?);
        offset += len as u64;
        if offset > limits::CONTENT {
            return Err(EFBIG);
        }
        kernel::task::might_sleep();
    }
}
