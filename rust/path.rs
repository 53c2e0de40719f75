// SPDX-License-Identifier: GPL-2.0

//! Paths, directory entries and files, as LSM hooks see them.
//!
//! C headers: [`include/linux/path.h`](srctree/include/linux/path.h),
//! [`include/linux/dcache.h`](srctree/include/linux/dcache.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::bindings;
use core::{
    marker::PhantomData,
    ops::{
        ControlFlow,
        Deref, //
    },
    ptr::NonNull, //
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
    /// The visitor broke it off.
    Stopped,
    /// At the root of the file system, or of the mount namespace.
    Root,
    /// Before any root: the object is in no directory tree (a pipe, a socket, a `memfd`), or was
    /// found by its handle and the kernel does not know where it is. It may be below anything.
    Detached,
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
        NonNull::new(unsafe { bindings::d_inode(self.0.get()) })
    }

    /// The address of the inode, 0 for a negative entry. An identity only while something keeps
    /// the inode in memory, as a [`PathBuf`] does.
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
        let len = name.len().min(out.len());
        for (to, from) in out.iter_mut().zip(name) {
            *to = *from;
        }
        // SAFETY: `snapshot` was taken above, and `name` is not used any more.
        unsafe { bindings::release_dentry_name_snapshot(snapshot.get()) };
        out.get(..len).unwrap_or(&[])
    }

    /// Visits this entry's inode and those of all directories above it, up to the root of the
    /// *file system*; mounts make no difference. A negative entry is left out.
    ///
    /// The chain is one that existed at one moment: if a rename interferes, `visit` is called
    /// again from the start, and what it said before is forgotten. So it must not count.
    ///
    /// Context: any but NMI. `visit` runs under RCU and perhaps a spin lock: it must not sleep.
    pub(crate) fn walk_dentry(&self, mut visit: impl FnMut(usize) -> ControlFlow<()>) -> Walk {
        // SAFETY: By the type invariant the entry is valid.
        unsafe { walk_tree(self.0.get(), &mut visit) }
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

/// See [`Dentry::walk_dentry`].
///
/// # Safety
///
/// `start` must be valid.
unsafe fn walk_tree(
    start: *const bindings::dentry,
    visit: &mut impl FnMut(usize) -> ControlFlow<()>,
) -> Walk {
    let mut seq = 0;
    loop {
        let guard = rcu::read_lock();
        // SAFETY: `rename_lock` always exists. The first time this only reads the counter, the
        // second time (if `seq` is odd) it takes the lock.
        unsafe { bindings::rename_begin(&mut seq) };

        let mut dentry = start;
        let outcome = loop {
            // SAFETY: `start` is valid by the safety requirements, and each parent is, because
            // RCU delays the freeing of an entry that had children.
            let (inode, parent) = unsafe {
                (
                    bindings::d_inode(dentry),
                    bindings::d_parent(dentry).cast_const(),
                )
            };
            if !inode.is_null() && visit(inode.addr()).is_break() {
                break Walk::Stopped;
            }
            if parent == dentry {
                // SAFETY: As above; the super block lives longer than its entries.
                break if unsafe { bindings::d_is_sb_root(dentry) } {
                    Walk::Root
                } else {
                    Walk::Detached
                };
            }
            dentry = parent;
        };

        // SAFETY: `seq` came from `rename_begin`.
        let retry = unsafe { bindings::rename_retry(seq) };
        if !retry {
            // SAFETY: As above; this drops the lock if it was taken.
            unsafe { bindings::rename_done(seq) };
            return outcome;
        }
        drop(guard);
        // An odd number asks for the lock: nobody can make this fail for ever.
        seq = 1;
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

    /// The directory entry.
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
    /// mount point, and so on to the root of the mount namespace.
    ///
    /// So an object below a directory is found to be below it when a part of the tree is mounted
    /// elsewhere (bind mounts), and also when it is below it only because something is mounted
    /// there. A negative entry is left out.
    ///
    /// Each file system's chain existed at one moment. If a rename interferes, `visit` is called
    /// again with the start of that chain, and what it said about it before is forgotten. So it
    /// must not count.
    ///
    /// Context: process context, may sleep. `visit` itself must not sleep.
    pub(crate) fn walk(&self, mut visit: impl FnMut(usize) -> ControlFlow<()>) -> Walk {
        // SAFETY: By the type invariant the entry is held.
        match unsafe { walk_tree(self.0.dentry, &mut visit) } {
            Walk::Root => (),
            end => return end,
        }

        // SAFETY: By the type invariant the mount is held, and it holds its root.
        let mut above = unsafe { PathBuf::from_parts(self.0.mnt, (*self.0.mnt).mnt_root) };
        // SAFETY: `above` holds what it points to; on success it is made to hold the mount point.
        while unsafe { bindings::follow_up(&mut above.path.0) } != 0 {
            match above.dentry().walk_dentry(&mut visit) {
                Walk::Root => (),
                end => return end,
            }
            let mnt = above.path.0.mnt;
            // SAFETY: `above` holds the mount, and it holds its root.
            above = unsafe { PathBuf::from_parts(mnt, (*mnt).mnt_root) };
        }
        Walk::Root
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

impl From<&Path> for PathBuf {
    fn from(path: &Path) -> Self {
        // SAFETY: By the invariant of `Path` both are held.
        unsafe { Self::from_parts(path.0.mnt, path.0.dentry) }
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

/// What [`LocalFile`] does not tell.
pub(crate) trait FileExt {
    /// Where the file was opened.
    fn path(&self) -> &Path;
    /// The address of its inode.
    fn inode_key(&self) -> usize;
    /// The file type and permissions.
    fn inode_mode(&self) -> u16;
    /// Whether it is open for reading (`FMODE_READ`).
    fn is_readable(&self) -> bool;
    /// Whether it is open for writing (`FMODE_WRITE`).
    fn is_writable(&self) -> bool;
    /// Whether the kernel opened it to run it (`__FMODE_EXEC`).
    fn is_exec(&self) -> bool;
    /// Whether it names an object only (`O_PATH`).
    fn is_path_only(&self) -> bool;
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
        // SAFETY: An open file holds its path, which never changes.
        unsafe { Path::from_raw(&raw const (*self.as_ptr()).__bindgen_anon_1.f_path) }
    }

    fn inode_key(&self) -> usize {
        file_inode(self).addr()
    }

    fn inode_mode(&self) -> u16 {
        // SAFETY: An open file holds its inode; the field is read at once.
        unsafe { (&raw const (*file_inode(self)).i_mode).read_volatile() }
    }

    fn is_readable(&self) -> bool {
        mode(self) & FMODE_READ != 0
    }

    fn is_writable(&self) -> bool {
        mode(self) & FMODE_WRITE != 0
    }

    fn is_exec(&self) -> bool {
        self.flags() & FMODE_EXEC != 0
    }

    fn is_path_only(&self) -> bool {
        mode(self) & FMODE_PATH != 0
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
const FMODE_EXEC: u32 = 1 << 5;
const FMODE_PATH: u32 = 1 << 14;
