// SPDX-License-Identifier: GPL-2.0

//! Files and directories in securityfs.
//!
//! A file serves text in whole pieces:
//!
//! - What is read is a snapshot, taken at the first read of an open file and kept until it is
//!   closed, so that readers never see a mixture of two states. `pread` and, on files opened for
//!   reading only, `lseek` work on the snapshot.
//! - What is written is one transaction: a single `write` at offset 0 carries the whole text. After
//!   it, succeeded or failed, the same open file reads back the diagnostics of that transaction.
//!
//! # Unloading
//!
//! A file's `i_fop` cannot have the module for its owner: an `open` while the module is on its way
//! out would meet a `WARN_ON` in `do_dentry_open`, so that any reader could make an unload look like
//! a bug of the kernel. Instead it is a table without an owner (see [`Gate`]), whose `open` takes
//! the reference to the module itself and then puts the real table in place.
//!
//! C header: [`include/linux/security.h`](srctree/include/linux/security.h)

use super::{
    bindings,
    capable::Capability, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    build_error,
    error::{
        from_err_ptr,
        VTABLE_DEFAULT_ERROR, //
    },
    fmt,
    module::this_module,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Full, //
        },
        rcu,
        Arc,
        Mutex, //
    },
    types::ForeignOwnable,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

/// Text that grows, up to [`Text::MAX`] bytes.
///
/// `write!` to it fails only for want of memory or at the limit.
pub(crate) struct Text(KVVec<u8>);

impl Text {
    /// The most bytes that a text holds.
    pub(crate) const MAX: usize = 8 << 20;

    /// An empty text.
    pub(crate) const fn new() -> Self {
        Self(KVVec::new())
    }

    /// Appends `bytes`. Sleeps.
    ///
    /// # Errors
    ///
    /// `EFBIG` beyond [`Text::MAX`], `ENOMEM`. Nothing is appended then.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result {
        if bytes.len() > Self::MAX.saturating_sub(self.0.len()) {
            return Err(EFBIG);
        }
        let len = self.0.len().saturating_add(bytes.len());
        if len > self.0.capacity() {
            // Grow in large steps: each one copies.
            let more = len.saturating_sub(self.0.len()).max(self.0.len()).max(256);
            self.0.reserve(more, GFP_KERNEL)?;
        }
        self.0.extend_from_slice(bytes, GFP_KERNEL)?;
        Ok(())
    }

    /// The bytes so far.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.append(s.as_bytes()).map_err(|_| fmt::Error)
    }
}

/// The one who opened a file: the credentials that decide, whoever reads or writes it later.
///
/// # Invariants
///
/// `file` is valid for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Opener<'a> {
    file: NonNull<bindings::file>,
    _file: PhantomData<&'a bindings::file>,
}

impl Opener<'_> {
    /// Whether the opener had `cap` in the initial user namespace. Marks a successful use for
    /// audit. Does not sleep.
    pub(crate) fn has_cap(&self, cap: Capability) -> bool {
        // SAFETY: The file is valid by the type invariant; `init_user_ns` always is; so is `cap`.
        unsafe {
            bindings::file_ns_capable(
                self.file.as_ptr(),
                &raw mut bindings::init_user_ns,
                cap.as_raw(),
            )
        }
    }

    /// Whether the file was opened for reading.
    pub(crate) fn readable(&self) -> bool {
        // SAFETY: The file is valid by the type invariant.
        unsafe { bindings::securityfs_readable(self.file.as_ptr()) }
    }

    /// Whether the file was opened for writing.
    pub(crate) fn writable(&self) -> bool {
        // SAFETY: The file is valid by the type invariant.
        unsafe { bindings::securityfs_writable(self.file.as_ptr()) }
    }
}

/// What is being done to a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Opening it.
    Open,
    /// Reading it.
    Read,
    /// Writing it.
    Write,
}

/// What a file shows and takes.
///
/// All methods run in process context and may sleep.
///
/// # Examples
///
/// ```ignore
/// struct Version(u32);
///
/// #[vtable]
/// impl Node for Version {
///     type State = ();
///     fn open(&self, _opener: &Opener<'_>) -> Result {
///         Ok(())
///     }
///     fn read(&self, _state: &(), _opener: &Opener<'_>, out: &mut Text) -> Result {
///         writeln!(out, "{}", self.0).map_err(|_| ENOMEM)
///     }
/// }
/// ```
#[vtable]
pub(crate) trait Node: Send + Sync + Sized + 'static {
    /// What is kept per open file.
    type State: Send + Sync + 'static;

    /// The most bytes that one `write` may carry.
    const MAX_WRITE: usize = 1 << 20;

    /// Decides whether the opener may do this. Asked at the open, then at each read and write.
    ///
    /// The default leaves it to the file's mode bits.
    fn authorize(&self, _opener: &Opener<'_>, _access: Access) -> Result {
        Ok(())
    }

    /// Called for each open file, after [`Node::authorize`].
    fn open(&self, opener: &Opener<'_>) -> Result<Self::State>;

    /// Writes the snapshot to `out`. Called once per open file, by its first reader, unless it was
    /// written before.
    ///
    /// Without this method the file can only be opened for writing (or for both, to read the
    /// diagnostics).
    fn read(&self, _state: &Self::State, _opener: &Opener<'_>, _out: &mut Text) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes the whole `text` that was written, as the one transaction of this open file.
    ///
    /// What is put in `diagnostics` can be read from the same open file, after an error too. It is
    /// the error, if any, that `write` returns.
    ///
    /// Without this method the file can only be opened for reading.
    fn write(
        &self,
        _state: &Self::State,
        _opener: &Opener<'_>,
        _text: &[u8],
        _diagnostics: &mut Text,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// What one open file has served.
struct Session {
    /// The snapshot or the diagnostics; `None` before the first of them.
    text: Option<Text>,
    /// Whether the transaction was made.
    written: bool,
}

/// The private data of an open file.
#[pin_data]
struct Open<T: Node> {
    node: Arc<T>,
    state: T::State,
    /// Covers the whole of a read or write of this open file. No other lock is taken by this file.
    #[pin]
    session: Mutex<Session>,
}

impl<T: Node> Open<T> {
    /// Runs `f` on the text to read, which is made if this is the first read.
    fn with_text<R>(&self, opener: &Opener<'_>, f: impl FnOnce(&[u8]) -> Result<R>) -> Result<R> {
        self.node.authorize(opener, Access::Read)?;
        let mut session = self.session.lock();
        if session.text.is_none() {
            let mut text = Text::new();
            if T::HAS_READ {
                self.node.read(&self.state, opener, &mut text)?;
            }
            session.text = Some(text);
        }
        f(session.text.as_ref().map_or(&[], Text::as_bytes))
    }

    fn read(&self, opener: &Opener<'_>, to: UserSlice, pos: &mut i64) -> Result<usize> {
        self.with_text(opener, |text| to.writer().write_slice_file(text, pos))
    }

    fn write(&self, opener: &Opener<'_>, from: UserSlice, len: usize, pos: i64) -> Result<usize> {
        if pos != 0 || len == 0 {
            return Err(EINVAL);
        }
        if len > T::MAX_WRITE {
            return Err(EFBIG);
        }
        self.node.authorize(opener, Access::Write)?;
        let mut text = KVVec::new();
        from.read_all(&mut text, GFP_KERNEL)?;

        let mut session = self.session.lock();
        if session.written {
            return Err(EINVAL);
        }
        session.written = true;
        let mut diagnostics = Text::new();
        let result = self
            .node
            .write(&self.state, opener, &text, &mut diagnostics);
        session.text = Some(diagnostics);
        result.map(|()| len)
    }
}

/// The `file_operations` of the files of one type of node.
struct Operations<T: Node>(PhantomData<T>);

impl<T: Node> Operations<T> {
    const TABLE: bindings::file_operations = bindings::file_operations {
        // `Gate::open` takes a reference to the module and closing puts it.
        owner: this_module::<T::OwnerModule>().as_ptr(),
        open: Some(Self::open),
        release: Some(Self::release),
        read: Some(Self::read),
        write: if T::HAS_WRITE {
            Some(Self::write)
        } else {
            None
        },
        llseek: Some(Self::llseek),
        ..pin_init::zeroed()
    };

    /// The table; promoted to a static.
    const fn table() -> &'static bindings::file_operations {
        &Self::TABLE
    }

    /// Finds the node of an inode and takes a reference to it.
    ///
    /// # Safety
    ///
    /// `inode` is live and was created by [`File::new`] with a node of type `T`.
    unsafe fn node(inode: *mut bindings::inode) -> Result<Arc<T>> {
        let guard = rcu::read_lock();
        // SAFETY: By the safety requirements.
        let link = unsafe { link(inode, &guard) }.ok_or(ENOENT)?;
        // SAFETY: `File` put the pointer of a `Link<T>` there, which lives until the guard is
        // released.
        Ok(unsafe { link.cast::<Link<T>>().as_ref() }.node.clone())
    }

    fn try_open(node: Arc<T>, opener: &Opener<'_>) -> Result<Pin<KBox<Open<T>>>> {
        if (opener.writable() && !T::HAS_WRITE)
            || (opener.readable() && !opener.writable() && !T::HAS_READ)
        {
            return Err(EACCES);
        }
        node.authorize(opener, Access::Open)?;
        let state = node.open(opener)?;
        KBox::pin_init(
            pin_init!(Open {
                node,
                state,
                session <- new_mutex!(Session {
                    text: None,
                    written: false,
                }, "securityfs::Open::session"),
            }),
            GFP_KERNEL,
        )
    }

    /// # Safety
    ///
    /// `inode` was created by [`File::new`] with a node of type `T`; `file` is being opened on it.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the safety requirements.
        let opener = unsafe { opener(file) };
        // SAFETY: By the safety requirements.
        match unsafe { Self::node(inode) }.and_then(|node| Self::try_open(node, &opener)) {
            Ok(open) => {
                if opener.writable() {
                    // SAFETY: The file is being opened.
                    unsafe { bindings::securityfs_no_llseek(file) };
                }
                // SAFETY: The file is being opened: its private data is ours to set.
                unsafe { (*file).private_data = open.into_foreign() };
                0
            }
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// `file` was opened by [`Self::open`] and is used by nobody any more.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` put it there, and this is the last use of the file.
        drop(unsafe { <Pin<KBox<Open<T>>>>::from_foreign((*file).private_data) });
        0
    }

    /// # Safety
    ///
    /// `file` was opened by [`Self::open`] and is not released while this runs.
    unsafe fn private<'a>(file: *mut bindings::file) -> Pin<&'a Open<T>> {
        // SAFETY: `open` put it there, and `release` takes it away at the end.
        unsafe { <Pin<KBox<Open<T>>>>::borrow((*file).private_data) }
    }

    /// # Safety
    ///
    /// As for a `read` of `struct file_operations`, on a file opened by [`Self::open`].
    unsafe extern "C" fn read(
        file: *mut bindings::file,
        buf: *mut c_char,
        len: usize,
        pos: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: By the safety requirements.
        let (open, opener, pos) = unsafe { (Self::private(file), opener(file), &mut *pos) };
        let to = UserSlice::new(UserPtr::from_ptr(buf.cast()), len);
        to_ssize(open.read(&opener, to, pos))
    }

    /// # Safety
    ///
    /// As for a `write` of `struct file_operations`, on a file opened by [`Self::open`].
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        buf: *const c_char,
        len: usize,
        pos: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: By the safety requirements.
        let (open, opener, pos) = unsafe { (Self::private(file), opener(file), *pos) };
        let from = UserSlice::new(UserPtr::from_ptr(buf.cast_mut().cast()), len);
        // The position is left alone: the diagnostics are read from their beginning.
        to_ssize(open.write(&opener, from, len, pos))
    }

    /// # Safety
    ///
    /// As for an `llseek` of `struct file_operations`, on a file opened by [`Self::open`].
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // SAFETY: By the safety requirements.
        let (open, opener) = unsafe { (Self::private(file), opener(file)) };
        let size = open.with_text(&opener, |text| {
            bindings::loff_t::try_from(text.len()).map_err(|_| EOVERFLOW)
        });
        match size {
            // SAFETY: `file` is live and its position is locked by the caller.
            Ok(size) => unsafe { bindings::fixed_size_llseek(file, offset, whence, size) },
            Err(e) => e.to_errno().into(),
        }
    }
}

/// What the `i_private` of an inode points to.
#[repr(C)]
struct Link<T: Node> {
    /// The operations of `T`. First, for [`Gate::open`], which does not know `T`.
    operations: &'static bindings::file_operations,
    node: Arc<T>,
}

// SAFETY: The operations are immutable and static; an `Arc` of a node may be sent.
unsafe impl<T: Node> Send for Link<T> {}
// SAFETY: As above; an `Arc` of a node may be shared.
unsafe impl<T: Node> Sync for Link<T> {}

/// Finds the [`Link`] of an inode, which begins with a reference to the operations.
///
/// # Safety
///
/// `inode` is live and was created by [`File::new`].
unsafe fn link<'g>(
    inode: *mut bindings::inode,
    _guard: &'g rcu::Guard,
) -> Option<NonNull<&'g bindings::file_operations>> {
    // SAFETY: The inode is live; from its creation on, `i_private` is only accessed atomically.
    let private = unsafe { Atomic::from_ptr(&raw mut (*inode).i_private) };
    // `File::drop` keeps the link for a grace period after it has cleared the pointer.
    NonNull::new(private.load(Acquire).cast())
}

/// The `i_fop` of all files below one root directory.
///
/// It has no owner, so whoever opens a file may come upon it at any time, even when the module is
/// gone. Hence it is not the module's memory: it is left behind (a few hundred bytes) when the last
/// file has been removed, without the pointer to the module's code.
///
/// # Invariants
///
/// `table` is valid for ever; its `open` is [`Gate::open`] as long as this object exists, and all its
/// other functions are absent.
struct Gate {
    table: NonNull<bindings::file_operations>,
}

// SAFETY: The table belongs to no task.
unsafe impl Send for Gate {}
// SAFETY: Only `drop` writes to the table.
unsafe impl Sync for Gate {}

impl Gate {
    fn new() -> Result<Self> {
        let table = KBox::new(
            bindings::file_operations {
                open: Some(Self::open),
                ..pin_init::zeroed()
            },
            GFP_KERNEL,
        )?;
        let table = NonNull::from(KBox::leak(table));
        // SAFETY: It was just allocated.
        unsafe { bindings::kmemleak_not_leak(table.as_ptr().cast()) };
        // INVARIANT: The table was leaked, with this `open`.
        Ok(Self { table })
    }

    /// Takes a reference to the module, then hands over to the real operations.
    ///
    /// # Safety
    ///
    /// `inode` was created by [`File::new`]; `file` is being opened on it.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // Until there is a reference to the module, nothing here may sleep: see `drop`.
        let guard = rcu::read_lock();
        // SAFETY: By the safety requirements.
        let Some(link) = (unsafe { link(inode, &guard) }) else {
            return ENOENT.to_errno();
        };
        // SAFETY: The link lives until the guard is released.
        let operations: *const bindings::file_operations = unsafe { *link.as_ref() };
        // SAFETY: The operations are static in a module that is not gone, since its link exists.
        if !unsafe { bindings::try_module_get((*operations).owner) } {
            return ENODEV.to_errno();
        }
        drop(guard);
        // SAFETY: The file is being opened, and takes over the reference to the module.
        unsafe { bindings::securityfs_replace_fops(file, operations) };
        // SAFETY: The operations stay valid, the module being referenced.
        match unsafe { (*operations).open } {
            // SAFETY: By the safety requirements. On failure the caller puts the module, after this
            // has returned.
            Some(open) => unsafe { open(inode, file) },
            None => 0,
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // SAFETY: The table is valid for ever by the type invariant. Those who open a file read the
        // pointer once; it is written in one piece.
        unsafe { ptr::write_volatile(&raw mut (*self.table.as_ptr()).open, None) };
        // Someone may have read the pointer just before, or be inside of `Gate::open` without a
        // reference to the module. They do not sleep there, so this waits for them to leave. Someone
        // who comes later opens a file without any function.
        // SAFETY: Process context; everything here may sleep.
        unsafe { bindings::synchronize_rcu_tasks() };
    }
}

/// # Safety
///
/// `file` is live for `'a`, and has its credentials.
unsafe fn opener<'a>(file: *mut bindings::file) -> Opener<'a> {
    // INVARIANT: By the safety requirements.
    Opener {
        // SAFETY: A live file is not null.
        file: unsafe { NonNull::new_unchecked(file) },
        _file: PhantomData,
    }
}

/// The return value of `read` and `write`.
fn to_ssize(result: Result<usize>) -> isize {
    match result {
        Ok(n) => isize::try_from(n).unwrap_or(isize::MAX),
        // No errno is out of the range of any integer type; -EIO could only hide a bug here.
        Err(e) => isize::try_from(e.to_errno()).unwrap_or(-5),
    }
}

/// A node of the file system, removed on drop.
///
/// # Invariants
///
/// `dentry` is live in securityfs, was created by this object, and is removed only by its drop:
/// `parent` keeps the directory that it is in, because removing a directory removes what is in it.
struct Entry {
    dentry: NonNull<bindings::dentry>,
    // Dropped in this order, after the entry was removed.
    _parent: Option<Arc<Entry>>,
    gate: Arc<Gate>,
}

// SAFETY: Any task may remove the entry.
unsafe impl Send for Entry {}
// SAFETY: There is nothing to do with a shared reference but to use the immutable pointer.
unsafe impl Sync for Entry {}

impl Entry {
    fn new(dentry: *mut bindings::dentry, parent: Option<&Dir>, gate: Arc<Gate>) -> Result<Self> {
        let dentry = from_err_ptr(dentry)?;
        Ok(Self {
            dentry: NonNull::new(dentry).ok_or(ENODEV)?,
            _parent: parent.map(|dir| dir.0.clone()),
            gate,
        })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the entry is live and this object's to remove.
        unsafe { bindings::securityfs_remove(self.dentry.as_ptr()) };
    }
}

/// A directory. It is removed when this handle and everything created in it have been dropped.
///
/// # Examples
///
/// ```ignore
/// let dir = securityfs::Dir::new(c"tcp", None)?;
/// let requests = securityfs::Dir::new(c"requests", Some(&dir))?;
/// ```
pub(crate) struct Dir(Arc<Entry>);

impl Dir {
    /// Creates a directory in `parent`, or at the root of securityfs, with mode 0755. Sleeps.
    ///
    /// # Errors
    ///
    /// `EEXIST`, `ENOMEM`; `ENODEV` if the kernel has no securityfs.
    pub(crate) fn new(name: &CStr, parent: Option<&Dir>) -> Result<Self> {
        let (raw, gate) = match parent {
            Some(Dir(entry)) => (entry.dentry.as_ptr(), entry.gate.clone()),
            None => (ptr::null_mut(), Arc::new(Gate::new()?, GFP_KERNEL)?),
        };
        // SAFETY: `name` is NUL-terminated and copied; `raw` is null or live.
        let dentry = unsafe { bindings::securityfs_create_dir(name.as_char_ptr(), raw) };
        let entry = Entry::new(dentry, parent, gate)?;
        Ok(Self(Arc::new(entry, GFP_KERNEL)?))
    }
}

/// A file, removed on drop.
///
/// Files that are open then stay usable until they are closed: they hold the node and the module.
///
/// # Invariants
///
/// The `i_private` of the inode is null or the pointer of `link`.
///
/// # Examples
///
/// ```ignore
/// let file = securityfs::File::new(&dir, c"version", 0o444, Arc::new(Version(1), GFP_KERNEL)?)?;
/// ```
pub(crate) struct File<T: Node> {
    entry: Entry,
    // Dropped after `entry`, and a grace period after the inode's pointer was cleared.
    _link: Arc<Link<T>>,
}

impl<T: Node> File<T> {
    /// Creates a file in `dir` with the permission bits `mode`, owned by root. Sleeps.
    ///
    /// It can be opened at once: create files when everything that they show is there.
    ///
    /// # Errors
    ///
    /// `EEXIST`, `ENOMEM`; `ENODEV` if the kernel has no securityfs.
    pub(crate) fn new(dir: &Dir, name: &CStr, mode: u16, node: Arc<T>) -> Result<Self> {
        let link = Arc::new(
            Link {
                operations: Operations::<T>::table(),
                node,
            },
            GFP_KERNEL,
        )?;
        let gate = dir.0.gate.clone();
        // INVARIANT: The inode gets the pointer of `link`.
        // SAFETY: `name` is NUL-terminated and copied; the directory is live; the link lives until
        // `drop` has cleared the pointer to it; the gate's table is valid for ever.
        let dentry = unsafe {
            bindings::securityfs_create_file(
                name.as_char_ptr(),
                mode & 0o777,
                dir.0.dentry.as_ptr(),
                Arc::as_ptr(&link).cast_mut().cast(),
                gate.table.as_ptr(),
            )
        };
        Ok(Self {
            entry: Entry::new(dentry, Some(dir), gate)?,
            _link: link,
        })
    }
}

impl<T: Node> Drop for File<T> {
    fn drop(&mut self) {
        // SAFETY: The dentry is live and has its inode, by the invariant of `Entry`; the pointer is
        // only accessed atomically.
        let private = unsafe {
            let inode = (*self.entry.dentry.as_ptr()).d_inode;
            Atomic::from_ptr(&raw mut (*inode).i_private)
        };
        private.xchg(ptr::null_mut(), Full);
        // An `open` that has seen the pointer takes its reference under RCU.
        rcu::synchronize_rcu();
    }
}
