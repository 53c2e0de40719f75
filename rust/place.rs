// SPDX-License-Identifier: GPL-2.0

//! Where something is, in a form that can be compared later.
//!
//! A [`Path::walk`] from an entry visits that entry's inode and then what lies above. What lies above
//! follows from the directory that the entry is in, and changes only by a rename, by a change of mounts,
//! or because the task has another root. A [`Place`] holds the directory and a stamp of each of these, so
//! that two equal ones mean: the same lies above. It also holds all directories above, because most renames
//! move none of them.
//!
//! C headers: [`include/linux/dcache.h`](srctree/include/linux/dcache.h),
//! [`fs/mount.h`](srctree/fs/mount.h)

use super::{
    atomic::{
        AtomicU64,
        Ordering, //
    },
    bindings,
    path::Path, //
};

/// An inode, as the `inode_free_security` hook sees it.
///
/// Wraps the kernel's `struct inode`.
///
/// # Invariants
///
/// It is valid for the lifetime of a reference.
#[repr(transparent)]
pub(crate) struct Inode(bindings::inode);

impl Inode {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `inode` must be valid for `'a`.
    pub(crate) unsafe fn from_raw<'a>(inode: *const bindings::inode) -> &'a Self {
        // SAFETY: By the safety requirements; `Inode` is transparent.
        // INVARIANT: By the safety requirements.
        unsafe { &*inode.cast() }
    }

    /// Whether it is a directory.
    #[inline]
    pub(crate) fn is_directory(&self) -> bool {
        /// `S_IFMT` and `S_IFDIR` (`include/uapi/linux/stat.h`).
        const TYPE: u16 = 0o170_000;
        const DIRECTORY: u16 = 0o040_000;
        self.0.i_mode & TYPE == DIRECTORY
    }
}

/// Words of a [`Place`].
const WORDS: usize = 6 + ABOVE;

/// Room for the directories above, and for a 0 after them.
const ABOVE: usize = 12;

/// Where an entry is.
///
/// Two equal places mean: [`Path::walk`] visits the same above the two entries. That holds from the
/// moment the first was taken to the moment the second was, if no inode of a directory was freed in
/// between: its address may belong to another one afterwards.
///
/// It holds however else memory is reused: an entry keeps its directory, and with it the directory's
/// inode and all directories above, in memory; directories have one entry; a change of mounts is counted, and so
/// is a rename, after which all directories above are compared; and a place is not equal to one of another second, so that no count gets round to where
/// it was.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place([u64; WORDS]);

impl Place {
    /// Takes the place of what is at `path`. `None` where a walk may meet more than directories and
    /// mounts (a file of an overlay), where what lies above may change without a rename (a file system that
    /// looks entries up again), for the root of a file system, for a mount that is in no namespace, and
    /// while something is being renamed.
    ///
    /// Context: any but NMI.
    #[inline]
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let mut words = [0; WORDS];
        // SAFETY: By the invariant of `Path` both its parts are held, and C takes RCU for the directory and
        // the namespace; there is room for the words.
        unsafe { bindings::place(path.as_ptr(), words.as_mut_ptr().cast()) }.then_some(Self(words))
    }
}

/// A [`Place`] that any task may read while another one changes it; `struct tcp_place` in
/// `helpers/recall.c`, which compares it. Whoever reads it has to make sure that nobody did.
#[repr(transparent)]
pub(crate) struct Stored([AtomicU64; WORDS]);

impl Stored {
    /// Stores a place.
    pub(crate) fn store(&self, place: &Place) {
        for (to, from) in self.0.iter().zip(&place.0) {
            to.store(*from, Ordering::Relaxed);
        }
    }
}
