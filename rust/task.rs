// SPDX-License-Identifier: GPL-2.0

//! Facts about tasks and credentials that the `kernel` crate does not give.
//!
//! C headers: [`include/linux/sched.h`](srctree/include/linux/sched.h),
//! [`include/linux/cred.h`](srctree/include/linux/cred.h)

use super::bindings;
#[cfg(CONFIG_X86_64)]
use core::arch::asm;
use core::ops::ControlFlow;
use kernel::{
    cred::Credential,
    ffi::{
        c_int,
        c_uint,
        c_ulong,
        c_void, //
    },
    fs::File,
    task::Task,
    types::NotThreadSafe, //
};

/// Length of a task's name with its NUL byte.
pub(crate) const COMM_LEN: usize = 16;

/// What a task may be known by for as long as it lives: its address.
///
/// Unlike a pid, it is not reused before `task_free` ran.
pub(crate) fn key_of(task: &Task) -> usize {
    task.as_ptr().addr()
}

/// The name of `task`, padded with NUL bytes. The task may choose it, and change it meanwhile.
pub(crate) fn comm_of(task: &Task) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    // SAFETY: The task is valid; `comm` has the size passed.
    unsafe { bindings::task_comm(task.as_ptr(), comm.as_mut_ptr().cast(), COMM_LEN) };
    comm
}

/// Calls `f` with the credentials that the calling task acts with.
pub(crate) fn with_current_cred<R>(f: impl FnOnce(&Credential) -> R) -> R {
    // SAFETY: The credentials stay until the task itself changes them, which `f` cannot.
    f(unsafe { Credential::from_ptr(bindings::current_cred()) })
}

/// Whether the code runs for the calling task: not in an interrupt, softirq or NMI, where that task
/// is whoever happened to be running.
///
/// Context: any.
#[inline]
pub(crate) fn in_task() -> bool {
    // SAFETY: It only looks at the CPU's own counters.
    unsafe { bindings::in_task() }
}

/// The calling task.
///
/// Cannot leave the task that got it.
#[derive(Clone, Copy)]
pub(crate) struct Current {
    task: *mut bindings::task_struct,
    _not_send: NotThreadSafe,
}

/// Returns the calling task.
#[inline]
pub(crate) fn current() -> Current {
    Current {
        task: current_raw(),
        _not_send: NotThreadSafe,
    }
}

/// As [`Task::current_raw`], which is a call.
#[cfg(CONFIG_X86_64)]
#[inline]
fn current_raw() -> *mut bindings::task_struct {
    let task;
    // SAFETY: Each CPU has this variable; to the task that reads it, it never changes.
    unsafe {
        asm!(
            "mov {task}, qword ptr gs:[rip + {current}]",
            task = out(reg) task,
            current = sym bindings::const_current_task,
            options(pure, nomem, nostack, preserves_flags),
        )
    };
    task
}

/// See [`Task::current_raw`].
#[cfg(not(CONFIG_X86_64))]
#[inline]
fn current_raw() -> *mut bindings::task_struct {
    Task::current_raw()
}

/// A system call: what table its number belongs to, and the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syscall {
    /// Of the kernel's own architecture.
    Native(i32),
    /// Of a 32-bit (or x32) program.
    Compat(i32),
}

impl Current {
    /// The same as [`key_of`].
    #[inline]
    pub(crate) fn key(self) -> usize {
        self.task.addr()
    }

    /// The process's id in the initial pid namespace.
    pub(crate) fn tgid(self) -> i32 {
        // SAFETY: It only looks at the calling task.
        unsafe { bindings::current_tgid() }
    }

    /// Whether `pid` is the calling process, as its own pid namespace numbers it.
    pub(crate) fn is_process(self, pid: i32) -> bool {
        // SAFETY: It only looks at the calling task.
        unsafe { bindings::current_is_process(pid) }
    }

    /// The effective user id, as the initial user namespace sees it.
    #[inline]
    pub(crate) fn euid(self) -> u32 {
        // SAFETY: The credentials of the calling task stay until the task itself changes them; they do not
        // change.
        unsafe { (*(*self.task).cred).euid.val }
    }

    /// Whether it sees the host's files under their own names: its root directory and its mount
    /// namespace are those of the first process. False if that cannot be told, as when one of the
    /// two exits.
    ///
    /// Both may be changed by the task itself at any time, and its root directory by one that shares
    /// it ([`Self::is_shared`]).
    ///
    /// Context: process context; no task's `alloc_lock` is held.
    pub(crate) fn sees_host(self) -> bool {
        // SAFETY: It looks at the calling task, and locks what it looks at of the first one.
        unsafe { bindings::current_sees_host() }
    }

    /// Whether it acts for a program in user space: no kernel thread. The workers that io_uring has
    /// in a process act for that process.
    pub(crate) fn is_user(self) -> bool {
        // SAFETY: It only looks at the calling task.
        unsafe { bindings::current_is_user() }
    }

    /// Whether the process has no other thread. Only the caller itself could then make one.
    pub(crate) fn is_single_threaded(self) -> bool {
        // SAFETY: It only looks at the calling task.
        unsafe { bindings::current_single_threaded() }
    }

    /// Whether its memory, open files or directories are shared with another process
    /// (`CLONE_VM`, `CLONE_FILES`, `CLONE_FS`), or looked at by one right now.
    pub(crate) fn is_shared(self) -> bool {
        // SAFETY: It only looks at the calling task.
        unsafe {
            bindings::current_mm_shared()
                || bindings::current_files_shared()
                || bindings::current_fs_shared()
        }
    }

    /// Whether its root and working directory are shared with another task (`CLONE_FS`), which can
    /// change them at any time.
    pub(crate) fn shares_root(self) -> bool {
        // SAFETY: It only looks at the calling task.
        unsafe { bindings::current_fs_shared() }
    }

    /// The system call that the task is in. `None` for a kernel thread, for an exiting task, and
    /// in an interrupt or exception taken from user space.
    pub(crate) fn in_syscall_nr(self) -> Option<Syscall> {
        // SAFETY: It only looks at the calling task.
        if !unsafe { bindings::current_has_pt_regs() } {
            return None;
        }
        // SAFETY: The task has registers of user space.
        let nr = unsafe { bindings::current_syscall_nr() };
        if nr < 0 {
            return None;
        }
        // SAFETY: It only looks at the calling task.
        if unsafe { bindings::in_compat_syscall() } {
            Some(Syscall::Compat(nr))
        } else {
            Some(Syscall::Native(nr))
        }
    }

    /// Whether the kernel acts for it with credentials that it has not got: a stacked file system on
    /// its own account. The task itself can arrange for that only with io_uring's personalities,
    /// which do not count.
    pub(crate) fn has_borrowed_cred(self) -> bool {
        /// `io_uring_enter`, the same in every table.
        const IO_URING_ENTER: i32 = 426;
        // SAFETY: It only looks at the calling task.
        if !unsafe { bindings::current_cred_overridden() } {
            return false;
        }
        !matches!(
            self.in_syscall_nr(),
            None | Some(Syscall::Native(IO_URING_ENTER) | Syscall::Compat(IO_URING_ENTER))
        )
    }

    /// Calls `each` for every open file, until it breaks, and says whether executing a program would
    /// close it.
    ///
    /// Context: process context. `each` runs under a spin lock: it must not sleep.
    pub(crate) fn for_each_open_file<B, F>(self, mut each: F) -> Option<B>
    where
        F: FnMut(&File, bool) -> ControlFlow<B>,
    {
        let mut state: (Option<B>, &mut F) = (None, &mut each);
        // SAFETY: It only looks at the calling task, whose table lives at least that long; a null
        // pointer is allowed. `open_file::<B, F>` takes a pointer to such a pair.
        unsafe {
            bindings::iterate_fd(
                bindings::current_files(),
                0,
                Some(open_file::<B, F>),
                (&raw mut state).cast_const().cast::<c_void>(),
            )
        };
        state.0
    }

    /// Calls `each` for every mapping of a file in the task's memory, with its flags (`VM_*`), until
    /// it breaks.
    ///
    /// Context: process context, sleeps. `each` runs with the memory's lock held for reading: it may
    /// sleep, but not touch the memory of user space.
    pub(crate) fn for_each_mapping<B, F>(self, mut each: F) -> Option<B>
    where
        F: FnMut(&File, usize) -> ControlFlow<B>,
    {
        let mut state: (Option<B>, &mut F) = (None, &mut each);
        // SAFETY: It only looks at the calling task. `mapping::<B, F>` takes a pointer to such a
        // pair.
        unsafe {
            bindings::current_for_each_mapping(
                Some(mapping::<B, F>),
                (&raw mut state).cast::<c_void>(),
            )
        };
        state.0
    }
}

/// Callback of `current_for_each_mapping`.
///
/// # Safety
///
/// `data` must point to an `(Option<B>, &mut F)` that nobody else uses, and `file` be valid.
unsafe extern "C" fn mapping<B, F: FnMut(&File, usize) -> ControlFlow<B>>(
    data: *mut c_void,
    file: *mut bindings::file,
    flags: c_ulong,
) -> bool {
    // SAFETY: By the safety requirements.
    let state = unsafe { &mut *data.cast::<(Option<B>, &mut F)>() };
    // SAFETY: The mapping keeps the file open. The caller cannot use a position of it.
    match (state.1)(unsafe { File::from_raw_file(file) }, flags) {
        ControlFlow::Continue(()) => true,
        ControlFlow::Break(value) => {
            state.0 = Some(value);
            false
        }
    }
}

/// Callback of `iterate_fd`.
///
/// # Safety
///
/// `data` must point to an `(Option<B>, &mut F)` that nobody else uses, `file` be valid, and the lock
/// of the calling task's table be held.
unsafe extern "C" fn open_file<B, F: FnMut(&File, bool) -> ControlFlow<B>>(
    data: *const c_void,
    file: *mut bindings::file,
    fd: c_uint,
) -> c_int {
    // SAFETY: By the safety requirements; it was made from a pointer to mutable data.
    let state = unsafe { &mut *data.cast_mut().cast::<(Option<B>, &mut F)>() };
    // SAFETY: The table's lock is held.
    let closes = unsafe { bindings::current_close_on_exec(fd) };
    // SAFETY: The table's lock keeps the file open. The caller cannot use a position of it.
    match (state.1)(unsafe { File::from_raw_file(file) }, closes) {
        ControlFlow::Continue(()) => 0,
        ControlFlow::Break(value) => {
            state.0 = Some(value);
            1
        }
    }
}

/// What [`Credential`] does not tell. Ids are those of the initial user namespace.
pub(crate) trait CredentialExt {
    /// Real user id.
    fn uid_val(&self) -> u32;
    /// Effective user id.
    fn euid_val(&self) -> u32;
    /// User id for access to files.
    fn fsuid_val(&self) -> u32;
    /// Saved user id.
    fn suid_val(&self) -> u32;
    /// Real group id.
    fn gid_val(&self) -> u32;
    /// Effective group id.
    fn egid_val(&self) -> u32;
    /// Group id for access to files.
    fn fsgid_val(&self) -> u32;
    /// Saved group id.
    fn sgid_val(&self) -> u32;
    /// Passes each supplementary group to `each`, in ascending order, at most 65536 of them.
    fn for_each_group(&self, each: impl FnMut(u32));
    /// Whether the permitted set has a capability that the one of `old` lacks.
    fn gains_capabilities(&self, old: &Credential) -> bool;
}

impl CredentialExt for Credential {
    fn uid_val(&self) -> u32 {
        // SAFETY: The credentials are valid.
        unsafe { bindings::cred_uid(self.as_ptr()) }
    }

    fn euid_val(&self) -> u32 {
        // SAFETY: The credentials are valid.
        unsafe { bindings::cred_euid(self.as_ptr()) }
    }

    fn fsuid_val(&self) -> u32 {
        // SAFETY: The credentials are valid.
        unsafe { bindings::cred_fsuid(self.as_ptr()) }
    }

    fn suid_val(&self) -> u32 {
        // SAFETY: The credentials are valid.
        unsafe { bindings::cred_suid(self.as_ptr()) }
    }

    fn gid_val(&self) -> u32 {
        // SAFETY: The credentials are valid.
        unsafe { bindings::cred_gid(self.as_ptr()) }
    }

    fn egid_val(&self) -> u32 {
        // SAFETY: The credentials are valid.
        unsafe { bindings::cred_egid(self.as_ptr()) }
    }

    fn fsgid_val(&self) -> u32 {
        // SAFETY: The credentials are valid.
        unsafe { bindings::cred_fsgid(self.as_ptr()) }
    }

    fn sgid_val(&self) -> u32 {
        // SAFETY: The credentials are valid.
        unsafe { bindings::cred_sgid(self.as_ptr()) }
    }

    fn for_each_group(&self, each: impl FnMut(u32)) {
        let mut len = 0;
        // SAFETY: The credentials are valid.
        let groups = unsafe { bindings::cred_groups(self.as_ptr(), &mut len) };
        // SAFETY: There are `len` groups, which the credentials hold. Nobody changes a list that
        // credentials refer to; `kgid_t` is a transparent `u32`.
        let groups = unsafe { core::slice::from_raw_parts(groups, len) };
        groups.iter().map(|group| group.val).for_each(each);
    }

    fn gains_capabilities(&self, old: &Credential) -> bool {
        // SAFETY: Both are valid.
        !unsafe { bindings::cred_caps_subset(self.as_ptr(), old.as_ptr()) }
    }
}
