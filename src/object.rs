// SPDX-License-Identifier: GPL-2.0

//! The object of an operation, as rules match it: by identity, never by name.

use crate::{
    abi::path::{
        Dentry,
        InodeId,
        Path,
        Visitor,
        Walk, //
    },
    engine::request, //
};
use kernel::{
    prelude::*,
    sync::rcu, //
};

/// What an operation is about.
#[derive(Clone, Copy)]
pub(crate) enum Object<'a> {
    /// Nothing that has a path.
    None,
    /// Something with a path.
    At(&'a Path),
    /// A new entry `at`, in directory `dir`: it has a path, but no identity of its own yet.
    New {
        /// Where the entry is to be.
        at: &'a Path,
        /// The directory.
        dir: &'a Path,
    },
    /// Something with a path whose mount need not be in any tree yet.
    Loose(&'a Path),
    /// Something whose hook does not tell the mount: looked at within its file system.
    Entry(&'a Dentry),
}

impl Object<'_> {
    /// Visits the inode and those of the directories above it, see [`Path::walk`].
    ///
    /// # Errors
    ///
    /// `EACCES` when the kernel cannot tell where the object is: it may be below anything.
    #[inline]
    pub(crate) fn walk(&self, visitor: &mut impl Visitor, guard: &rcu::Guard) -> Result {
        let (end, entry) = match self {
            Self::None => return Ok(()),
            Self::At(path) | Self::New { at: path, .. } | Self::Loose(path) => {
                (path.walk(visitor, guard), path.dentry())
            }
            Self::Entry(entry) => (entry.walk_dentry(visitor, guard), *entry),
        };
        match end {
            Walk::Unreachable => Err(EACCES),
            Walk::Detached if entry.is_disconnected() => Err(EACCES),
            _ => Ok(()),
        }
    }

    /// Its path, when what is found out about it may be remembered.
    #[inline]
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::At(path) | Self::New { at: path, .. } => Some(path),
            Self::None | Self::Loose(_) | Self::Entry(_) => None,
        }
    }

    /// Whether it is in a mount that the calling task cannot see.
    pub(crate) fn is_unreachable(&self) -> bool {
        /// Looks at nothing: only the end matters.
        struct Nobody;

        impl Visitor for Nobody {
            fn visit(&mut self, _key: usize) {}
            fn restart(&mut self) {}
        }

        let guard = rcu::read_lock();
        matches!(self, Self::At(path) if path.walk(&mut Nobody, &guard) == Walk::Unreachable)
    }

    /// The identity that a request binds.
    pub(crate) fn id(&self) -> Option<InodeId> {
        match self {
            Self::None => None,
            Self::At(path) | Self::Loose(path) => path.dentry().inode_id(),
            // What has the name already is what is lost or exchanged.
            Self::New { at, dir } => at.dentry().inode_id().or_else(|| dir.dentry().inode_id()),
            Self::Entry(dentry) => dentry.inode_id(),
        }
    }

    /// The identity in the form that requests carry; zeros when there is none.
    pub(crate) fn encoded_id(&self) -> request::Object {
        self.id()
            .map_or_else(Default::default, |id| request::Object {
                device: u64::from(id.dev),
                inode: id.ino,
                generation: id.generation,
            })
    }

    /// The path, for people, in a part of `buf`; empty when there is none.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` when it does not fit, `ESRCH` for a task that is exiting.
    pub(crate) fn display<'b>(&self, buf: &'b mut [u8]) -> Result<&'b [u8]> {
        match self {
            Self::None => Ok(&[]),
            Self::At(path) | Self::Loose(path) => path.display(buf),
            Self::New { at, dir } => dir.display_child(at.dentry(), buf),
            Self::Entry(dentry) => dentry.display_raw(buf),
        }
    }

    /// The path within the file system, in a part of `buf`; empty when there is none. Unlike
    /// [`Object::display`] it is the same whatever root and mounts the calling task has.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` when it does not fit.
    pub(crate) fn place<'b>(&self, buf: &'b mut [u8]) -> Result<&'b [u8]> {
        match self {
            Self::None => Ok(&[]),
            Self::At(path) | Self::Loose(path) | Self::New { at: path, .. } => {
                path.dentry().display_raw(buf)
            }
            Self::Entry(dentry) => dentry.display_raw(buf),
        }
    }
}
