// SPDX-License-Identifier: GPL-2.0

//! Paths, directory entries and files, as LSM hooks see them.
//!
//! C headers: [`include/linux/path.h`](srctree/include/linux/path.h),
//! [`include/linux/dcache.h`](srctree/include/linux/dcache.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::bindings;
use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::{
        self,
        NonNull, //
    }, //
};
use kernel::{
    error::{
        from_err_ptr,
        to_result, //
    },
    ffi::{
        c_char,
        c_int, //
    },
    fs::LocalFile,
    prelude::*,
    str::CStr,
    sync::rcu,
    types::Opaque, //
};

/// What an inode is known by.
///
/// `ptr` is an identity only while something keeps the inode in memory; the rest outlives that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InodeId {
    /// The inode's address.
    pub(crate) ptr: usize,
    /// The device of its file system, encoded as in `st_dev`.
    pub(crate) dev: u32,
    /// Its number.
    pub(crate) ino: u64,
    /// Its generation: tells a reused number, on file systems that count.
    pub(crate) generation: u32,
}

impl InodeId {
    /// # Safety
    ///
    /// `inode` must be valid.
    unsafe fn from_raw(inode: *const bindings::inode) -> Self {
        // SAFETY: `inode` is valid, and these fields do not change once it can be found.
        let (sb, ino, generation) =
            unsafe { ((*inode).i_sb, (*inode).i_ino, (*inode).i_generation) };
        Self {
            ptr: inode.addr(),
            // SAFETY: An inode's super block lives longer than the inode.
            dev: unsafe { bindings::sb_dev(sb) },
            ino,
            generation,
        }
    }
}

/// Where a walk towards the root ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    /// At the root of the file system ([`Dentry::walk_dentry`]), or of the tree of mounts that the
    /// calling task sees ([`Path::walk`]).
    Root,
    /// The object is in no directory tree: a pipe, a socket, a `memfd`, or something in a mount
    /// that the kernel made for itself, as POSIX message queues have.
    Detached,
    /// The mount is in no tree that the calling task can see: not yet or no longer mounted
    /// (`open_tree`, `fsmount`, `umount -l`), of another mount namespace, or a layer of an overlay
    /// that the kernel works on. Or the object was found by its handle, and the kernel does not
    /// know where it is. It may have been anywhere.
    Unreachable,
}

/// What is shown the directories that an object is in.
pub(crate) trait Visitor {
    /// Called with the address of each inode, the object's own first; see [`Dentry::inode_key`].
    ///
    /// Context: under RCU and perhaps a spin lock: must not sleep.
    fn visit(&mut self, key: usize);

    /// A rename interfered: the walk starts again, and what was visited so far does not count.
    ///
    /// Context: must not sleep.
    fn restart(&mut self);
}

/// A directory entry.
///
/// Wraps the kernel's `struct dentry`.
///
/// # Invariants
///
/// It has a reference count above zero for the lifetime of a reference.
#[repr(transparent)]
pub(crate) struct Dentry(Opaque<bindings::dentry>);

impl Dentry {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `dentry` must be valid for `'a`.
    pub(crate) unsafe fn from_raw<'a>(dentry: *const bindings::dentry) -> &'a Self {
        // SAFETY: By the safety requirements; `Dentry` is transparent.
        // INVARIANT: By the safety requirements.
        unsafe { &*dentry.cast() }
    }

    /// The C pointer.
    pub(crate) fn as_ptr(&self) -> *mut bindings::dentry {
        self.0.get()
    }

    fn inode(&self) -> Option<NonNull<bindings::inode>> {
        // SAFETY: By the type invariant the entry is valid.
        NonNull::new(unsafe { (&raw const (*self.0.get()).d_inode).read_volatile() })
    }

    /// The address of the inode, 0 for a negative entry. An identity only while something keeps
    /// the inode in memory, as a [`PathBuf`] does.
    #[inline]
    pub(crate) fn inode_key(&self) -> usize {
        self.inode().map_or(0, |inode| inode.as_ptr().addr())
    }

    /// The identity of the inode, `None` for a negative entry.
    pub(crate) fn inode_id(&self) -> Option<InodeId> {
        let inode = self.inode()?;
        // SAFETY: An entry that somebody holds keeps its inode.
        Some(unsafe { InodeId::from_raw(inode.as_ptr()) })
    }

    /// Whether it was found by handle, and its place in the tree is not known.
    pub(crate) fn is_disconnected(&self) -> bool {
        // SAFETY: By the type invariant the entry is valid.
        unsafe { bindings::d_disconnected(self.0.get()) }
    }

    /// Copies the last component of its name to `out`, cut off if it does not fit, and returns
    /// what was copied. The name may change at any time, this is a consistent copy of it.
    ///
    /// Context: any but NMI.
    pub(crate) fn name<'a>(&self, out: &'a mut [u8]) -> &'a [u8] {
        let len = self.copy_name(out).min(out.len());
        out.get(..len).unwrap_or(&[])
    }

    /// Copies the last component of its name to the start of `out`, and returns its length.
    ///
    /// Context: any but NMI.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` if it does not fit.
    fn whole_name(&self, out: &mut [u8]) -> Result<usize> {
        let len = self.copy_name(out);
        if len > out.len() {
            return Err(ENAMETOOLONG);
        }
        Ok(len)
    }

    /// Copies as much of the name as fits, and returns the length of all.
    fn copy_name(&self, out: &mut [u8]) -> usize {
        let snapshot = Opaque::<bindings::name_snapshot>::uninit();
        // SAFETY: By the type invariant the entry is valid; the call initialises `snapshot`.
        unsafe { bindings::take_dentry_name_snapshot(snapshot.get(), self.0.get()) };
        // SAFETY: It was initialised just now, and its name has `len` bytes.
        let name = unsafe {
            let name = &(*snapshot.get()).name;
            core::slice::from_raw_parts(
                name.name,
                usize::try_from(name.__bindgen_anon_1.__bindgen_anon_1.len).unwrap_or(0),
            )
        };
        let len = name.len();
        for (to, from) in out.iter_mut().zip(name) {
            *to = *from;
        }
        // SAFETY: `snapshot` was taken above, and `name` is not used any more.
        unsafe { bindings::release_dentry_name_snapshot(snapshot.get()) };
        len
    }

    /// Visits this entry's inode and those of all directories above it, up to the root of the
    /// *file system*; mounts make no difference. A negative entry is left out.
    ///
    /// For a regular file of an overlay, then also the file of the layer that it is in, and the
    /// directories above that one in its file system. With `metacopy`, that is the layer of its
    /// attributes.
    ///
    /// The chain is one that existed at one moment, see [`Visitor::restart`].
    ///
    /// Context: any but NMI.
    pub(crate) fn walk_dentry(&self, visitor: &mut impl Visitor, guard: &rcu::Guard) -> Walk {
        walk_again(visitor, |visitor, locked| {
            // SAFETY: By the type invariant the entry is valid.
            unsafe { walk_layers(self.0.get(), ptr::null(), locked, visitor, guard) }
        })
    }

    /// Writes the path from the root of the file system to `buf`, and returns the part of `buf`
    /// that has it.
    ///
    /// Context: any but NMI.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG` if it does not fit.
    pub(crate) fn display_raw<'a>(&self, buf: &'a mut [u8]) -> Result<&'a [u8]> {
        let len = c_int::try_from(buf.len()).map_err(|_| EINVAL)?;
        // SAFETY: By the type invariant the entry is valid; `buf` has `len` bytes.
        let text = unsafe {
            bindings::dentry_path_raw(self.0.get(), buf.as_mut_ptr().cast::<c_char>(), len)
        };
        text_in(buf, text)
    }
}

/// The part of `buf` that starts at `text` and ends before the last byte, which is NUL.
fn text_in(buf: &[u8], text: *mut c_char) -> Result<&[u8]> {
    let text = from_err_ptr(text)?;
    let start = text.addr().wrapping_sub(buf.as_ptr().addr());
    let text = buf.get(start..).ok_or(EINVAL)?;
    let end = text.iter().position(|&b| b == 0).ok_or(EINVAL)?;
    text.get(..end).ok_or(EINVAL)
}

/// How often a walk may be interfered with before it gives up. Each time but the first it holds off
/// renames of one file system after the other.
const WALKS: usize = 8;

/// Calls `once` until nothing interferes with it: the first time so that it takes no lock, then with
/// the lock against renames of each file system in turn.
#[inline]
fn walk_again<V: Visitor>(
    visitor: &mut V,
    mut once: impl FnMut(&mut V, bool) -> Option<Walk>,
) -> Walk {
    if let Some(end) = once(visitor, false) {
        return end;
    }
    for _ in 1..WALKS {
        visitor.restart();
        if let Some(end) = once(visitor, true) {
            return end;
        }
    }
    Walk::Unreachable
}

/// Visits an entry and all above it in its file system. `None` if a rename interfered, which
/// cannot happen when `locked`.
///
/// An entry without a parent is where a mount's tree ends if the chain came by `mnt_root`: a second
/// mount of an NFS file system has a root that is not that of its super block.
///
/// # Safety
///
/// `start` must be valid. `mnt_root` is compared only.
#[inline]
unsafe fn walk_chain(
    start: *const bindings::dentry,
    mnt_root: *const bindings::dentry,
    locked: bool,
    visitor: &mut impl Visitor,
    _guard: &rcu::Guard,
) -> Option<Walk> {
    // An odd number asks for the lock, an even one for the counter.
    let mut seq = c_int::from(locked);
    // SAFETY: `rename_lock` always exists.
    unsafe { bindings::rename_begin(&mut seq) };

    let mut dentry = start;
    let mut below_root = false;
    let top = loop {
        below_root |= ptr::eq(dentry, mnt_root);
        // SAFETY: `start` is valid by the safety requirements, and each parent is, because
        // RCU delays the freeing of an entry that had children. The fields are read at once.
        let (inode, parent) = unsafe {
            (
                (&raw const (*dentry).d_inode).read_volatile(),
                (&raw const (*dentry).d_parent).read_volatile().cast_const(),
            )
        };
        if !inode.is_null() {
            visitor.visit(inode.addr());
        }
        if parent == dentry {
            break dentry;
        }
        dentry = parent;
    };
    // SAFETY: As above; the super block lives longer than its entries.
    let end = unsafe {
        if ptr::eq((*(*top).d_sb).s_root, top) {
            Walk::Root
        } else if bindings::d_disconnected(top) {
            Walk::Unreachable
        } else if below_root {
            Walk::Root
        } else {
            Walk::Detached
        }
    };

    // SAFETY: `seq` came from `rename_begin`.
    if unsafe { bindings::rename_retry(seq) } {
        return None;
    }
    if locked {
        // SAFETY: As above; this drops the lock.
        unsafe { bindings::rename_done(seq) };
    }
    Some(end)
}

/// The same as [`walk_chain`], and after that for the real file beneath one of an overlay.
///
/// # Safety
///
/// `start` must be valid. `mnt_root` is compared only.
#[inline]
unsafe fn walk_layers(
    start: *mut bindings::dentry,
    mnt_root: *const bindings::dentry,
    locked: bool,
    visitor: &mut impl Visitor,
    guard: &rcu::Guard,
) -> Option<Walk> {
    // SAFETY: By the safety requirements.
    let end = unsafe { walk_chain(start, mnt_root, locked, visitor, guard) }?;
    // SAFETY: By the safety requirements; the flag does not change while an entry has an inode.
    if unsafe { (&raw const (*start).d_flags).read_volatile() }
        & bindings::dentry_flags_DCACHE_OP_REAL
        == 0
    {
        return Some(end);
    }
    // SAFETY: By the safety requirements.
    let real = unsafe { bindings::d_real_attributes(start) };
    if ptr::eq(real, start) {
        return Some(end);
    }
    // SAFETY: The inode of `start` holds the entries of its layers for as long as it lives.
    match unsafe { walk_chain(real, ptr::null(), locked, visitor, guard) }? {
        Walk::Unreachable => Some(Walk::Unreachable),
        _ => Some(end),
    }
}

/// A mount on a walk upwards, with RCU for all that keeps it in memory.
#[derive(Clone, Copy)]
struct Up {
    mnt: *const bindings::vfsmount,
    /// Where the walk goes on in it.
    dentry: *mut bindings::dentry,
}

impl Up {
    /// The mount that this one is mounted in. `Ok(None)` when it is in none.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if it was moved meanwhile.
    ///
    /// # Safety
    ///
    /// `mnt` must be valid or have been so since the guard was taken.
    #[inline]
    unsafe fn parent(self, _guard: &rcu::Guard) -> Result<Option<Self>> {
        let (mut mnt, mut dentry) = (self.mnt, ptr::null_mut());
        // SAFETY: By the safety requirements: RCU delays the freeing of mounts, and a mount keeps the
        // one it is in and its mount point for as long as it is mounted.
        match unsafe { bindings::mnt_up(&mut mnt, &mut dentry) } {
            0 => Ok(None),
            1 => Ok(Some(Self { mnt, dentry })),
            _ => Err(EAGAIN),
        }
    }
}

/// A place in the tree of mounts.
///
/// Wraps the kernel's `struct path`.
///
/// # Invariants
///
/// Both its mount and its entry have a reference count above zero, and the two pointers do not
/// change, for the lifetime of a reference.
#[repr(transparent)]
pub(crate) struct Path(bindings::path);

impl Path {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `path` must be valid, and must not change, for `'a`.
    pub(crate) unsafe fn from_raw<'a>(path: *const bindings::path) -> &'a Self {
        // SAFETY: By the safety requirements; `Path` is transparent.
        // INVARIANT: By the safety requirements.
        unsafe { &*path.cast() }
    }

    /// The C pointer.
    pub(crate) fn as_ptr(&self) -> *const bindings::path {
        &self.0
    }

    /// The directory that the entry is in, or itself for the root of a file system, as a number to hash:
    /// it may change at any time.
    #[inline]
    pub(crate) fn directory(&self) -> usize {
        // SAFETY: By the type invariant the entry is held; the pointer is read at once.
        let parent = unsafe { (&raw const (*self.0.dentry).d_parent).read_volatile() };
        parent.addr()
    }

    /// Whether both are entries of one directory, seen in one mount, at this moment.
    #[inline]
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.0.mnt == other.0.mnt && self.directory() == other.directory()
    }

    /// The directory entry.
    #[inline]
    pub(crate) fn dentry(&self) -> &Dentry {
        // SAFETY: By the type invariant it is held.
        unsafe { Dentry::from_raw(self.0.dentry) }
    }

    /// The place of `dentry`, a child of this directory.
    pub(crate) fn join<'a>(&'a self, dentry: &'a Dentry) -> Joined<'a> {
        Joined {
            // INVARIANT: The mount and the entry are borrowed for as long as this lives.
            path: Path(bindings::path {
                mnt: self.0.mnt,
                dentry: dentry.as_ptr(),
            }),
            _borrow: PhantomData,
        }
    }

    /// Visits the inode here and those of all directories above: first those up to the root of
    /// the file system, whether they can be seen through this mount or not; then those above the
    /// mount point, and so on to the root of the tree of mounts.
    ///
    /// So an object below a directory is found to be below it when a part of the tree is mounted
    /// elsewhere (bind mounts), and also when it is below it only because something is mounted
    /// there, and when it is a file of an overlay with a layer there, see [`Dentry::walk_dentry`]. A
    /// negative entry is left out.
    ///
    /// The tree must be the one that the calling task's root directory is in: nothing tells what
    /// was above a mount that has been taken out of it, see [`Walk::Unreachable`].
    ///
    /// Each file system's chain existed at one moment, and so did each step from a mount to the one that
    /// it is in. If a rename or a move interferes with any, all of the walk starts again, see
    /// [`Visitor::restart`].
    ///
    /// Context: process context; does not sleep.
    #[inline]
    pub(crate) fn walk(&self, visitor: &mut impl Visitor, guard: &rcu::Guard) -> Walk {
        walk_again(visitor, |visitor, locked| {
            self.walk_once(visitor, locked, guard)
        })
    }

    /// See [`Self::walk`] and [`walk_chain`]. `None` if something interfered.
    #[inline]
    fn walk_once(
        &self,
        visitor: &mut impl Visitor,
        locked: bool,
        guard: &rcu::Guard,
    ) -> Option<Walk> {
        // SAFETY: It only looks at the calling task. Null if it is exiting and has no root any more.
        let root = unsafe { bindings::current_root_mnt() };
        let mut above = Up {
            mnt: self.0.mnt,
            dentry: self.0.dentry,
        };
        let mut seen = false;
        loop {
            // SAFETY: By the type invariant both are held, or `Up::parent` gave them; a mount's root does
            // not change.
            let end = unsafe {
                let mnt_root = (*above.mnt).mnt_root;
                walk_layers(above.dentry, mnt_root, locked, visitor, guard)
            }?;
            if end != Walk::Root {
                return Some(end);
            }
            seen |= ptr::eq(above.mnt, root);
            // SAFETY: As above.
            match unsafe { above.parent(guard) }.ok()? {
                Some(parent) => above = parent,
                None => break,
            }
        }
        if seen {
            return Some(Walk::Root);
        }
        // SAFETY: As above.
        if unsafe { bindings::mnt_is_internal(above.mnt) } {
            return Some(Walk::Detached);
        }
        if root.is_null() {
            return Some(Walk::Unreachable);
        }
        // The task's root may be in some other branch of the same tree (`chroot`).
        let mut top = Up {
            mnt: root,
            dentry: ptr::null_mut(),
        };
        // SAFETY: A task's root is a valid mount, and stays one until the guard is dropped; then as
        // above.
        while let Some(parent) = unsafe { top.parent(guard) }.ok()? {
            top = parent;
        }
        Some(if ptr::eq(top.mnt, above.mnt) {
            Walk::Root
        } else {
            Walk::Unreachable
        })
    }

    /// Writes the path, as seen from the root of the calling task, to `buf`, and returns the part
    /// of `buf` that has it. The task may have chosen that root: this is for display only.
    ///
    /// Context: any but NMI.
    ///
    /// # Errors
    ///
    /// - `ENAMETOOLONG`: it does not fit.
    /// - `ESRCH`: the task is exiting and has no root any more.
    pub(crate) fn display<'a>(&self, buf: &'a mut [u8]) -> Result<&'a [u8]> {
        // SAFETY: It only looks at the calling task.
        if !unsafe { bindings::current_has_fs() } {
            return Err(ESRCH);
        }
        let len = c_int::try_from(buf.len()).map_err(|_| EINVAL)?;
        // SAFETY: By the type invariant the path is valid; `buf` has `len` bytes.
        let text =
            unsafe { bindings::d_path(self.as_ptr(), buf.as_mut_ptr().cast::<c_char>(), len) };
        text_in(buf, text)
    }

    /// Writes the path that `entry`, a child of this directory, has or will have, as
    /// [`Self::display`] does for what exists already: of a name that is not in use yet, that
    /// would say that it was deleted.
    ///
    /// Context: any but NMI.
    ///
    /// # Errors
    ///
    /// As for [`Self::display`].
    pub(crate) fn display_child<'a>(&self, entry: &Dentry, buf: &'a mut [u8]) -> Result<&'a [u8]> {
        let dir = self.display(buf)?;
        let (start, len) = (dir.as_ptr().addr(), dir.len());
        // Not twice for the root.
        let slash = usize::from(dir.last() != Some(&b'/'));
        let start = start.wrapping_sub(buf.as_ptr().addr());
        // It ends somewhere before the end of `buf`: make room behind it.
        buf.copy_within(start..start.checked_add(len).ok_or(EINVAL)?, 0);
        let rest = buf.get_mut(len..).ok_or(EINVAL)?;
        let name = match rest.split_at_mut_checked(slash) {
            Some((separator, rest)) => {
                separator.fill(b'/');
                entry.whole_name(rest)?
            }
            None => return Err(ENAMETOOLONG),
        };
        let end = len.checked_add(slash).and_then(|end| end.checked_add(name));
        buf.get(..end.ok_or(EINVAL)?).ok_or(EINVAL)
    }
}

/// A [`Path`] made from a directory and a child of it.
pub(crate) struct Joined<'a> {
    path: Path,
    _borrow: PhantomData<&'a Path>,
}

impl Deref for Joined<'_> {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

/// A [`Path`] that keeps its mount and its entry, and with them the inode, in memory.
///
/// A file system cannot be unmounted meanwhile.
///
/// Context: it may only be dropped where sleeping is allowed.
///
/// # Invariants
///
/// It owns a reference to both parts of `path`.
pub(crate) struct PathBuf {
    path: Path,
}

// SAFETY: Paths may be used and put in any task.
unsafe impl Send for PathBuf {}
// SAFETY: Nothing that takes `&PathBuf` needs synchronisation.
unsafe impl Sync for PathBuf {}

impl PathBuf {
    /// Takes references to `mnt` and `dentry`.
    ///
    /// # Safety
    ///
    /// Both must be valid.
    unsafe fn from_parts(mnt: *mut bindings::vfsmount, dentry: *mut bindings::dentry) -> Self {
        let path = bindings::path { mnt, dentry };
        // SAFETY: By the safety requirements.
        unsafe { bindings::path_get(&path) };
        // INVARIANT: References were just taken.
        Self { path: Path(path) }
    }

    /// Looks a path up as the calling task sees it; `follow` says whether to follow a symlink in
    /// the last component.
    ///
    /// Context: process context, sleeps.
    ///
    /// # Errors
    ///
    /// Those of a path lookup: `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP` ...
    pub(crate) fn lookup(name: &CStr, follow: bool) -> Result<Self> {
        let mut path = bindings::path::default();
        // SAFETY: `name` is a C string; on success `path` gets references.
        to_result(unsafe { bindings::kern_path(name.as_char_ptr(), follow, &mut path) })?;
        // INVARIANT: `kern_path` took the references.
        Ok(Self { path: Path(path) })
    }
}

impl Deref for PathBuf {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for PathBuf {
    fn drop(&mut self) {
        // SAFETY: By the type invariant it owns references.
        unsafe { bindings::path_put(self.path.as_ptr()) };
    }
}

/// A mount.
///
/// Wraps the kernel's `struct vfsmount`.
///
/// # Invariants
///
/// It has a reference count above zero for the lifetime of a reference.
#[repr(transparent)]
pub(crate) struct Mount(Opaque<bindings::vfsmount>);

impl Mount {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `mnt` must be valid for `'a`.
    pub(crate) unsafe fn from_raw<'a>(mnt: *const bindings::vfsmount) -> &'a Self {
        // SAFETY: By the safety requirements; `Mount` is transparent.
        // INVARIANT: By the safety requirements.
        unsafe { &*mnt.cast() }
    }

    /// The place of its root, seen through the mount itself: [`Path::walk`] goes on from there to
    /// the directories above the mount point.
    pub(crate) fn root_path(&self) -> PathBuf {
        // SAFETY: As above.
        unsafe { PathBuf::from_parts(self.0.get(), (*self.0.get()).mnt_root) }
    }

    /// The file system.
    pub(crate) fn super_block(&self) -> &SuperBlock {
        // SAFETY: By the type invariant the mount is valid, and it holds its file system.
        unsafe { SuperBlock::from_raw((*self.0.get()).mnt_sb) }
    }
}

/// A file system.
///
/// Wraps the kernel's `struct super_block`.
///
/// # Invariants
///
/// It is active for the lifetime of a reference.
#[repr(transparent)]
pub(crate) struct SuperBlock(Opaque<bindings::super_block>);

impl SuperBlock {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `sb` must be valid for `'a`.
    pub(crate) unsafe fn from_raw<'a>(sb: *const bindings::super_block) -> &'a Self {
        // SAFETY: By the safety requirements; `SuperBlock` is transparent.
        // INVARIANT: By the safety requirements.
        unsafe { &*sb.cast() }
    }

    /// Its type: a number of `include/uapi/linux/magic.h`.
    pub(crate) fn magic(&self) -> usize {
        // SAFETY: By the type invariant it is valid; the field does not change.
        unsafe { (*self.0.get()).s_magic }
    }

    /// Its root, `None` while it is being set up.
    pub(crate) fn root(&self) -> Option<&Dentry> {
        // SAFETY: By the type invariant it is valid, and it holds its root.
        let root = unsafe { (*self.0.get()).s_root };
        // SAFETY: As above.
        (!root.is_null()).then(|| unsafe { Dentry::from_raw(root) })
    }
}

/// The kinds of files (`S_IFMT`, `include/uapi/linux/stat.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A block device.
    Block,
    /// A pipe, with a name or without.
    Pipe,
    /// A socket.
    Socket,
    /// Something else: a character device, or a file that is in no directory, such as an epoll
    /// instance.
    Other,
}

impl FileKind {
    fn from_mode(mode: u16) -> Self {
        match mode & 0o170000 {
            0o100000 => Self::Regular,
            0o040000 => Self::Directory,
            0o060000 => Self::Block,
            0o010000 => Self::Pipe,
            0o140000 => Self::Socket,
            _ => Self::Other,
        }
    }
}

/// What [`LocalFile`] does not tell.
pub(crate) trait FileExt {
    /// Where the file was opened. If the kernel opened it beneath another file, as overlayfs and
    /// FUSE passthrough do, the place of that other file; see [`Self::backing_path`].
    fn path(&self) -> &Path;
    /// Where the file itself is: see [`Self::backing_path`].
    fn own_path(&self) -> &Path;
    /// Where the file itself is, if the kernel opened it beneath the file at [`Self::path`], which
    /// was judged when it was opened. It is in a mount of the kernel's own, so [`Path::walk`] would
    /// end with [`Walk::Unreachable`]; the walk from [`Self::path`] has been there already, unless
    /// this is a data layer of an overlay with `metacopy`, or FUSE passthrough.
    fn backing_path(&self) -> Option<&Path>;
    /// The address of its inode: of the file itself, not of the one that it may be beneath.
    fn inode_key(&self) -> usize;
    /// What kind of file it is.
    fn kind(&self) -> FileKind;
    /// Whether it is open for reading (`FMODE_READ`).
    fn is_readable(&self) -> bool;
    /// Whether it is open for writing (`FMODE_WRITE`).
    fn is_writable(&self) -> bool;
    /// Whether the kernel is opening it to run it, for the `execve` that the calling task is in: for
    /// `file_open`.
    ///
    /// `__FMODE_EXEC` alone does not tell: `mq_open`, `TIOCGPTPEER` and `XFS_IOC_OPEN_BY_HANDLE`
    /// let user space put any bit in the flags of a file.
    fn is_exec(&self) -> bool;
    /// Whether it names an object only (`O_PATH`).
    fn is_path_only(&self) -> bool;
    /// Whether it can have other content when it is read again, although nobody wrote to it: a
    /// program in user space (FUSE) answers, for it or for the file beneath it.
    ///
    /// Not told: servers of network file systems, and block devices that are a program.
    fn is_unverifiable(&self) -> bool;
    /// Whether the file system opens files itself (`atomic_open`: NFS, FUSE, CIFS ...), perhaps
    /// while it holds the lock of the directory: for `file_open`.
    fn opens_locked(&self) -> bool;
    /// Reads from `offset` and returns the number of bytes, 0 at the end of the file.
    ///
    /// Context: process context, sleeps.
    ///
    /// # Errors
    ///
    /// `EBADF` if it is not open for reading, `EINVAL` if the file has no such method, and those
    /// of the file system.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize>;
}

/// The file's mode bits.
fn mode(file: &LocalFile) -> u32 {
    // SAFETY: The file is valid; only bits that no caller looks at change after it was opened.
    unsafe { (&raw const (*file.as_ptr()).f_mode).read_volatile() }
}

/// The file's inode.
fn file_inode(file: &LocalFile) -> *mut bindings::inode {
    // SAFETY: The file is valid.
    unsafe { bindings::file_inode(file.as_ptr()) }
}

impl FileExt for LocalFile {
    fn path(&self) -> &Path {
        // SAFETY: An open file holds its path, and that of the file it is beneath, if any. Neither
        // changes.
        unsafe {
            Path::from_raw(if mode(self) & FMODE_BACKING == 0 {
                &raw const (*self.as_ptr()).__bindgen_anon_1.f_path
            } else {
                bindings::file_shown_path(self.as_ptr())
            })
        }
    }

    #[inline]
    fn own_path(&self) -> &Path {
        // SAFETY: An open file holds its path, which never changes.
        unsafe { Path::from_raw(&raw const (*self.as_ptr()).__bindgen_anon_1.f_path) }
    }

    fn backing_path(&self) -> Option<&Path> {
        let own = self.own_path();
        (!ptr::eq(own, self.path())).then_some(own)
    }

    fn inode_key(&self) -> usize {
        file_inode(self).addr()
    }

    fn kind(&self) -> FileKind {
        // SAFETY: An open file holds its inode; the field is read at once.
        let mode = unsafe { (&raw const (*file_inode(self)).i_mode).read_volatile() };
        FileKind::from_mode(mode)
    }

    fn is_readable(&self) -> bool {
        mode(self) & FMODE_READ != 0
    }

    fn is_writable(&self) -> bool {
        mode(self) & FMODE_WRITE != 0
    }

    #[inline]
    fn is_exec(&self) -> bool {
        // SAFETY: The file is valid, and it only looks at the calling task.
        self.flags() & FMODE_EXEC != 0 && unsafe { bindings::file_is_exec(self.as_ptr()) }
    }

    fn is_path_only(&self) -> bool {
        mode(self) & FMODE_PATH != 0
    }

    fn is_unverifiable(&self) -> bool {
        // SAFETY: The file is valid.
        unsafe { bindings::file_is_unverifiable(self.as_ptr()) }
    }

    fn opens_locked(&self) -> bool {
        // SAFETY: The file is valid.
        unsafe { bindings::file_opens_locked(self.as_ptr()) }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        if !self.is_readable() {
            return Err(EBADF);
        }
        let mut offset = i64::try_from(offset).map_err(|_| EINVAL)?;
        // SAFETY: The file is valid, and `buf` has that many bytes.
        let ret = unsafe {
            bindings::kernel_read(
                self.as_ptr(),
                buf.as_mut_ptr().cast(),
                buf.len(),
                &mut offset,
            )
        };
        match usize::try_from(ret) {
            Ok(len) => Ok(len),
            Err(_) => Err(c_int::try_from(ret).map_or(EIO, Error::from_errno)),
        }
    }
}

// `include/linux/fs.h` defines these with casts that bindgen does not follow.
const FMODE_READ: u32 = 1 << 0;
const FMODE_WRITE: u32 = 1 << 1;
/// `__FMODE_EXEC` among the flags of a file: see [`FileExt::is_exec`].
pub(crate) const FMODE_EXEC: u32 = 1 << 5;
const FMODE_PATH: u32 = 1 << 14;
const FMODE_BACKING: u32 = 1 << 24;
