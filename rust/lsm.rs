// SPDX-License-Identifier: GPL-2.0

//! Linux security module hooks, for a module that is loaded at run time.
//!
//! `security_add_hooks` is for the kernel's own code only. But the BPF LSM registers an empty
//! function `bpf_lsm_HOOK` for every hook, made to be traced. A [`Registration`] redirects those
//! (see [`super::ftrace`]) to the functions of a type that implements [`Hooks`]; what they return
//! is what the security module returns.
//!
//! # Order among security modules
//!
//! A hook runs where `bpf` stands in the `lsm=` list, after any BPF program on the same hook. It
//! is not called if an earlier one denied the operation already.
//!
//! # Unloading
//!
//! A function may be left only when no task is in it. [`Registration::drop`](Drop::drop) waits for
//! every task that has not slept; for those that sleep inside of a hook, only the owner can wait:
//!
//! - a hook that may sleep must do so inside a section (of SRCU, for one) that
//!   [`Hooks::drained`] waits for. Sleeping includes blocking locks, `GFP_KERNEL`, reading a file
//!   and dropping a [`super::path::PathBuf`];
//! - the owner must first make sleepers wake up, before it drops the registration.
//!
//! C headers: [`include/linux/lsm_hook_defs.h`](srctree/include/linux/lsm_hook_defs.h),
//! [`include/linux/bpf_lsm.h`](srctree/include/linux/bpf_lsm.h)

use super::{
    atomic::{
        AtomicPtr,
        Ordering, //
    },
    bindings,
    binprm::Binprm,
    ftrace::{
        self,
        AttachError,
        Redirect,
        Target,
        Way, //
    },
    path::{
        Dentry,
        Mount,
        Path,
        SuperBlock, //
    },
    place::Inode,
    socket::{
        Sock,
        Socket,
        UnixSock, //
    },
    vma::Vma, //
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr, //
};
use kernel::{
    alloc::AllocError,
    cred::Credential,
    error::VTABLE_DEFAULT_ERROR,
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_ulong,
        c_void, //
    },
    fmt,
    fs::File,
    prelude::*,
    str::CStr,
    sync::Arc,
    task::Task, //
};

/// The user namespace that a capability is needed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UserNs {
    /// The first one: the capability means power over the host.
    Init,
    /// Some other one.
    Other,
}

/// The hooks of a security module.
///
/// A hook that is not implemented is not attached, and costs nothing. What a hook returns is the
/// errno of the operation; the values of the documented C prototypes with a default of 0 mean
/// "no objection". See the [module](self) for what a hook that sleeps owes.
#[vtable]
pub(crate) trait Hooks: Send + Sync + Sized + 'static {
    /// Waits until no task sleeps in a hook any more. Called once by the registration's drop, when
    /// no hook is called any more.
    ///
    /// Context: process context, may sleep.
    fn drained(&self) {}

    /// A task is about to be made as a child of the calling one. [`Self::task_free`] follows, also if
    /// the fork fails later.
    ///
    /// ```c
    /// int task_alloc(struct task_struct *task, u64 clone_flags)
    /// ```
    ///
    /// Context: Process context, may allocate. Not yet visible to anybody.
    fn task_alloc(&self, _child: &Task, _clone_flags: u64) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The last reference to a task was dropped. Nothing can refer to it afterwards.
    ///
    /// ```c
    /// void task_free(struct task_struct *task)
    /// ```
    ///
    /// Context: Any context, softirq included: must not sleep.
    fn task_free(&self, _task: &Task) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An inode was evicted and is about to be freed.
    ///
    /// ```c
    /// void inode_free_security(struct inode *inode)
    /// ```
    ///
    /// Context: Any context that may drop an inode: must not sleep. Frequent.
    fn inode_free_security(&self, _inode: &Inode) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The credentials of a new program are computed from the `file` that gives them.
    ///
    /// ```c
    /// int bprm_creds_from_file(struct linux_binprm *bprm, const struct file *file)
    /// ```
    ///
    /// Context: Process context, may sleep; `cred_guard_mutex` and `exec_update_lock` are held. A
    /// denial comes before the point of no return.
    fn bprm_creds_from_file(&self, _bprm: &Binprm, _file: &File) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A binary format is about to be looked for: once for a script, once for its interpreter.
    ///
    /// ```c
    /// int bprm_check_security(struct linux_binprm *bprm)
    /// ```
    ///
    /// Context: Process context, may sleep; `cred_guard_mutex` is held.
    fn bprm_check_security(&self, _bprm: &Binprm) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A mapping is asked for, of a file or (`None`) of anonymous memory. `reqprot` is what was
    /// asked, `prot` what will be applied.
    ///
    /// ```c
    /// int mmap_file(struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn mmap_file(
        &self,
        _file: Option<&File>,
        _reqprot: usize,
        _prot: usize,
        _flags: usize,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The protection of a mapping is about to change.
    ///
    /// ```c
    /// int file_mprotect(struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)
    /// ```
    ///
    /// Context: Process context; the mmap lock is held: do not wait.
    fn file_mprotect(&self, _vma: &Vma, _reqprot: usize, _prot: usize) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A file is being opened; also for `execve`, and for reading by the kernel.
    ///
    /// ```c
    /// int file_open(struct file *file)
    /// ```
    ///
    /// Context: Process context, may sleep. A file system with `atomic_open` (NFS, FUSE) calls it
    /// with the directory's inode locked.
    fn file_open(&self, _file: &File) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The task gets an open file from another one: by `SCM_RIGHTS`, `pidfd_getfd`, seccomp's
    /// notifier.
    ///
    /// ```c
    /// int file_receive(struct file *file)
    /// ```
    ///
    /// Context: Process context; a socket's mutex may be held: do not wait.
    fn file_receive(&self, _file: &File) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An `fcntl` is asked for.
    ///
    /// ```c
    /// int file_fcntl(struct file *file, unsigned int cmd, unsigned long arg)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn file_fcntl(&self, _file: &File, _cmd: u32, _arg: usize) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An `ioctl` is asked for: `cmd` is not interpreted yet, and `arg` may be an address in user
    /// space. Device drivers never see one that is denied.
    ///
    /// ```c
    /// int file_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
    /// ```
    ///
    /// Context: Process context, may sleep. overlayfs also calls it for inode flags of the file
    /// beneath, with an `arg` of 0 and a file of its own, perhaps with an inode locked: there, do
    /// not wait.
    fn file_ioctl(&self, _file: &File, _cmd: u32, _arg: usize) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The same from a 32-bit program, whose numbers of some commands differ (`FS_IOC32_*`).
    ///
    /// ```c
    /// int file_ioctl_compat(struct file *file, unsigned int cmd, unsigned long arg)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn file_ioctl_compat(&self, _file: &File, _cmd: u32, _arg: usize) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A file is about to be truncated by name.
    ///
    /// ```c
    /// int path_truncate(const struct path *path)
    /// ```
    ///
    /// Context: Process context; write access to the mount is held: do not wait.
    fn path_truncate(&self, _path: &Path) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A file of any kind but a directory or a symlink is about to be made, also by `open` with
    /// `O_CREAT` and by `bind` of a UNIX socket.
    ///
    /// ```c
    /// int path_mknod(const struct path *dir, struct dentry *dentry, umode_t mode, unsigned int dev)
    /// ```
    ///
    /// Context: Process context; the directory's inode is locked: do not wait.
    fn path_mknod(&self, _dir: &Path, _dentry: &Dentry, _mode: u16, _dev: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A directory is about to be made.
    ///
    /// ```c
    /// int path_mkdir(const struct path *dir, struct dentry *dentry, umode_t mode)
    /// ```
    ///
    /// Context: Process context; the directory's inode is locked: do not wait.
    fn path_mkdir(&self, _dir: &Path, _dentry: &Dentry, _mode: u16) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The root directory of the calling task is about to change.
    ///
    /// ```c
    /// int path_chroot(const struct path *path)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn path_chroot(&self, _path: &Path) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A symlink to `target` is about to be made.
    ///
    /// ```c
    /// int path_symlink(const struct path *dir, struct dentry *dentry, const char *old_name)
    /// ```
    ///
    /// Context: Process context; the directory's inode is locked: do not wait.
    fn path_symlink(&self, _dir: &Path, _dentry: &Dentry, _target: &CStr) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A name is about to be removed.
    ///
    /// ```c
    /// int path_unlink(const struct path *dir, struct dentry *dentry)
    /// ```
    ///
    /// Context: Process context; the directory's inode is locked: do not wait.
    fn path_unlink(&self, _dir: &Path, _dentry: &Dentry) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A directory is about to be removed.
    ///
    /// ```c
    /// int path_rmdir(const struct path *dir, struct dentry *dentry)
    /// ```
    ///
    /// Context: Process context; the directory's inode is locked: do not wait.
    fn path_rmdir(&self, _dir: &Path, _dentry: &Dentry) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A hard link `new` to `old` is about to be made; both are on one mount.
    ///
    /// ```c
    /// int path_link(struct dentry *old_dentry, const struct path *new_dir, struct dentry *new_dentry)
    /// ```
    ///
    /// Context: Process context; the directory's inode is locked: do not wait.
    fn path_link(&self, _old: &Dentry, _new_dir: &Path, _new: &Dentry) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A rename, or with `RENAME_EXCHANGE` in `flags` an exchange.
    ///
    /// ```c
    /// int path_rename(const struct path *old_dir, struct dentry *old_dentry,
    ///                 const struct path *new_dir, struct dentry *new_dentry, unsigned int flags)
    /// ```
    ///
    /// Context: Process context; both directories' inodes are locked: do not wait.
    fn path_rename(
        &self,
        _old_dir: &Path,
        _old: &Dentry,
        _new_dir: &Path,
        _new: &Dentry,
        _flags: u32,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Permissions are about to change.
    ///
    /// ```c
    /// int path_chmod(const struct path *path, umode_t mode)
    /// ```
    ///
    /// Context: Process context; the inode is locked: do not wait.
    fn path_chmod(&self, _path: &Path, _mode: u16) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The owner is about to change, to ids of the initial user namespace; `u32::MAX` stays as it is.
    ///
    /// ```c
    /// int path_chown(const struct path *path, kuid_t uid, kgid_t gid)
    /// ```
    ///
    /// Context: Process context; the inode is locked: do not wait.
    fn path_chown(&self, _path: &Path, _uid: u32, _gid: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An extended attribute is about to be set to `value`, up to 64 KiB. For
    /// `security.capability`, ids in it are as they will be stored.
    ///
    /// ```c
    /// int inode_setxattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name,
    ///                    const void *value, size_t size, int flags)
    /// ```
    ///
    /// Context: Process context; the inode is locked: do not wait.
    fn inode_setxattr(&self, _dentry: &Dentry, _name: &CStr, _value: &[u8]) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An extended attribute is about to be removed.
    ///
    /// ```c
    /// int inode_removexattr(struct mnt_idmap *idmap, struct dentry *dentry, const char *name)
    /// ```
    ///
    /// Context: Process context; the inode is locked: do not wait.
    fn inode_removexattr(&self, _dentry: &Dentry, _name: &CStr) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A POSIX ACL is about to be set, or (`None`) removed. `acl` has eight bytes for each entry, in
    /// the order of the CPU: tag (16 bits), permissions (16 bits), and the id of a user or group in
    /// the initial user namespace (32 bits), `u32::MAX` where the tag needs none.
    ///
    /// ```c
    /// int inode_set_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name,
    ///                   struct posix_acl *kacl)
    /// ```
    ///
    /// Context: Process context; the inode is locked: do not wait.
    fn inode_set_acl(&self, _dentry: &Dentry, _name: &CStr, _acl: Option<&[u8]>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A POSIX ACL is about to be removed.
    ///
    /// ```c
    /// int inode_remove_acl(struct mnt_idmap *idmap, struct dentry *dentry, const char *acl_name)
    /// ```
    ///
    /// Context: Process context; the inode is locked: do not wait.
    fn inode_remove_acl(&self, _dentry: &Dentry, _name: &CStr) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `FS_IOC_SETFLAGS` and its like: the immutable flag, for one. `flags` are `FS_*_FL`, `xflags`
    /// are `FS_XFLAG_*`. Whichever was asked for, both are valid and are what the inode is going to
    /// have: the kernel translates what the two have in common, and fills in the rest from the
    /// inode. What `FS_IOC_FSSETXATTR` sets besides (project, extent sizes) is not told.
    ///
    /// ```c
    /// int inode_file_setattr(struct dentry *dentry, struct file_kattr *fa)
    /// ```
    ///
    /// Context: Process context; the inode is locked: do not wait.
    fn inode_file_setattr(&self, _dentry: &Dentry, _flags: u32, _xflags: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The kernel wants `modprobe` to load a module on behalf of the calling task.
    ///
    /// ```c
    /// int kernel_module_request(char *kmod_name)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn kernel_module_request(&self, _name: &CStr) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The kernel is about to load something from a buffer: `id` is a `LOADING_*`. `contents` says
    /// whether [`Self::kernel_post_load_data`] follows.
    ///
    /// ```c
    /// int kernel_load_data(enum kernel_load_data_id id, bool contents)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn kernel_load_data(&self, _id: u32, _contents: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The kernel loaded `buf`, and is about to use it.
    ///
    /// ```c
    /// int kernel_post_load_data(char *buf, loff_t size, enum kernel_load_data_id id,
    ///                           char *description)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn kernel_post_load_data(&self, _buf: &[u8], _id: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The kernel is about to read a file: `id` is a `READING_*`. `contents` says whether
    /// [`Self::kernel_post_read_file`] will see all of it.
    ///
    /// ```c
    /// int kernel_read_file(struct file *file, enum kernel_read_file_id id, bool contents)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn kernel_read_file(&self, _file: Option<&File>, _id: u32, _contents: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The kernel read `buf` from a file, and is about to use it.
    ///
    /// ```c
    /// int kernel_post_read_file(struct file *file, char *buf, loff_t size,
    ///                           enum kernel_read_file_id id)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn kernel_post_read_file(&self, _file: Option<&File>, _buf: &[u8], _id: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `mount` is asked for: `MS_BIND`, `MS_MOVE`, `MS_REMOUNT` ... in `flags`. The new mount API
    /// goes through [`Self::move_mount`] instead.
    ///
    /// `options` is the page of options that the caller passed, up to the first zero byte; the last
    /// byte is one always. For file systems with binary options (`FS_BINARY_MOUNTDATA`: NFS, Coda)
    /// what follows that byte counts too, and is not shown. It is not looked at, and may be
    /// anything, with flags that ask for no new file system and no `MS_REMOUNT`.
    ///
    /// ```c
    /// int sb_mount(const char *dev_name, const struct path *path, const char *type,
    ///              unsigned long flags, void *data)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn sb_mount(
        &self,
        _dev: Option<&CStr>,
        _path: &Path,
        _fstype: Option<&CStr>,
        _flags: usize,
        _options: Option<&CStr>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The options of a file system are about to change.
    ///
    /// ```c
    /// int sb_remount(struct super_block *sb, void *mnt_opts)
    /// ```
    ///
    /// Context: Process context; `s_umount` is held: do not wait.
    fn sb_remount(&self, _sb: &SuperBlock) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A mount is about to be taken away.
    ///
    /// ```c
    /// int sb_umount(struct vfsmount *mnt, int flags)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn sb_umount(&self, _mnt: &Mount, _flags: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `pivot_root`: `new` becomes the root, the present one goes to `old`.
    ///
    /// ```c
    /// int sb_pivotroot(const struct path *old_path, const struct path *new_path)
    /// ```
    ///
    /// Context: Process context; do not wait.
    fn sb_pivotroot(&self, _old: &Path, _new: &Path) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A mount, perhaps a new one, is about to be put at `to`.
    ///
    /// ```c
    /// int move_mount(const struct path *from_path, const struct path *to_path)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn move_mount(&self, _from: &Path, _to: &Path) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The calling task wants `PTRACE_MODE_*` access to `child`: also for `/proc/PID`, `pidfd_getfd`,
    /// `process_vm_writev`.
    ///
    /// ```c
    /// int ptrace_access_check(struct task_struct *child, unsigned int mode)
    /// ```
    ///
    /// Context: Atomic: a lock of `child` is held.
    fn ptrace_access_check(&self, _child: &Task, _mode: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The calling task wants to be traced by `parent`.
    ///
    /// ```c
    /// int ptrace_traceme(struct task_struct *parent)
    /// ```
    ///
    /// Context: Atomic: `tasklist_lock` is held with interrupts off.
    fn ptrace_traceme(&self, _parent: &Task) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A signal is about to be sent to `target`; 0 only asks if it could be. `from_kernel` says
    /// whether the kernel itself sends it.
    ///
    /// ```c
    /// int task_kill(struct task_struct *p, struct kernel_siginfo *info, int sig,
    ///               const struct cred *cred)
    /// ```
    ///
    /// Context: Atomic: under RCU. For a signal about USB data, which `from_kernel` does not say,
    /// any context, so that the calling task may be anybody: see [`super::task::in_task`].
    fn task_kill(&self, _target: &Task, _sig: i32, _from_kernel: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A limit of `target`'s process is about to change.
    ///
    /// ```c
    /// int task_setrlimit(struct task_struct *p, unsigned int resource, struct rlimit *new_rlim)
    /// ```
    ///
    /// Context: Atomic: the spin lock of the target's group leader (`task_lock`) is held.
    fn task_setrlimit(&self, _target: &Task, _resource: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The `bpf` system call, or its use by the kernel itself.
    ///
    /// ```c
    /// int bpf(int cmd, union bpf_attr *attr, unsigned int size, bool kernel)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn bpf(&self, _cmd: i32, _kernel: bool) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A use of perf events: `type_` is a `PERF_SECURITY_*`.
    ///
    /// ```c
    /// int perf_event_open(int type)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn perf_event_open(&self, _type: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A user namespace is about to be made, with `cred` as they will be in it.
    ///
    /// ```c
    /// int userns_create(const struct cred *cred)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn userns_create(&self, _cred: &Credential) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `io_uring_setup`.
    ///
    /// ```c
    /// int uring_allowed(void)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn uring_allowed(&self) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A ring is about to get a kernel thread that submits for it.
    ///
    /// ```c
    /// int uring_sqpoll(void)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn uring_sqpoll(&self) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An operation of a ring is about to run with registered credentials.
    ///
    /// ```c
    /// int uring_override_creds(const struct cred *new)
    /// ```
    ///
    /// Context: Process context; the ring is locked: do not wait.
    fn uring_override_creds(&self, _new: &Credential) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `connect` to the raw `sockaddr` in `addr`, which is the kernel's copy.
    ///
    /// ```c
    /// int socket_connect(struct socket *sock, struct sockaddr *address, int addrlen)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn socket_connect(&self, _sock: &Socket, _addr: &[u8]) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `bind` to the raw `sockaddr` in `addr`, which is the kernel's copy.
    ///
    /// ```c
    /// int socket_bind(struct socket *sock, struct sockaddr *address, int addrlen)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn socket_bind(&self, _sock: &Socket, _addr: &[u8]) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `listen`: a socket that [`Socket::is_unbound`] gets a port by it.
    ///
    /// ```c
    /// int socket_listen(struct socket *sock, int backlog)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn socket_listen(&self, _sock: &Socket, _backlog: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An option of a socket is about to be set.
    ///
    /// ```c
    /// int socket_setsockopt(struct socket *sock, int level, int optname)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn socket_setsockopt(&self, _sock: &Socket, _level: i32, _option: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Data is about to be sent, to the raw `sockaddr` in `name` if there is one, else to the peer.
    ///
    /// ```c
    /// int socket_sendmsg(struct socket *sock, struct msghdr *msg, int size)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn socket_sendmsg(&self, _sock: &Socket, _name: Option<&[u8]>, _size: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// SCTP is about to use the raw `sockaddr`s that follow each other in `addr`; `optname` says what
    /// for.
    ///
    /// ```c
    /// int sctp_bind_connect(struct sock *sk, int optname, struct sockaddr *address, int addrlen)
    /// ```
    ///
    /// Context: The socket is locked: must not sleep. For a peer that tells of new addresses
    /// (ASCONF), softirq, so that the calling task may be anybody: see [`super::task::in_task`].
    fn sctp_bind_connect(&self, _sock: &Sock, _optname: i32, _addr: &[u8]) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A UNIX socket was found by its `path`, to connect or send to.
    ///
    /// ```c
    /// int unix_find(const struct path *path, struct sock *other, int flags)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn unix_find(&self, _path: &Path, _other: &UnixSock, _flags: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A stream is about to be connected to `other`; see [`UnixSock::abstract_name`].
    ///
    /// ```c
    /// int unix_stream_connect(struct sock *sock, struct sock *other, struct sock *newsk)
    /// ```
    ///
    /// Context: Atomic: the socket's spin lock is held.
    fn unix_stream_connect(&self, _sock: &UnixSock, _other: &UnixSock) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// A datagram socket is about to be connected or sent to; see [`Socket::abstract_name`].
    ///
    /// ```c
    /// int unix_may_send(struct socket *sock, struct socket *other)
    /// ```
    ///
    /// Context: Atomic: a spin lock of `other` is held.
    fn unix_may_send(&self, _sock: &Socket, _other: &Socket) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The user ids of the task are about to change: `flags` is an `LSM_SETID_*`.
    ///
    /// ```c
    /// int task_fix_setuid(struct cred *new, const struct cred *old, int flags)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn task_fix_setuid(&self, _new: &Credential, _old: &Credential, _flags: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The group ids of the task are about to change: `flags` is an `LSM_SETID_*`.
    ///
    /// ```c
    /// int task_fix_setgid(struct cred *new, const struct cred *old, int flags)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn task_fix_setgid(&self, _new: &Credential, _old: &Credential, _flags: i32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The supplementary groups of the task are about to change.
    ///
    /// ```c
    /// int task_fix_setgroups(struct cred *new, const struct cred *old)
    /// ```
    ///
    /// Context: Process context, may sleep.
    fn task_fix_setgroups(&self, _new: &Credential, _old: &Credential) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Something needs the capability `cap` in the user namespace `ns`. `opts` are `CAP_OPT_*`:
    /// `CAP_OPT_NOAUDIT` (2) marks a question that is not a use. Very frequent.
    ///
    /// ```c
    /// int capable(const struct cred *cred, struct user_namespace *ns, int cap, unsigned int opts)
    /// ```
    ///
    /// Context: Any: must not sleep.
    fn capable(&self, _cred: &Credential, _ns: UserNs, _cap: i32, _opts: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Something needs what kernel lockdown may forbid: `what` is a `LOCKDOWN_*`.
    ///
    /// ```c
    /// int locked_down(enum lockdown_reason what)
    /// ```
    ///
    /// Context: Any: must not sleep.
    fn locked_down(&self, _what: u32) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Why the hooks were not attached, none of them. What [`fmt::Display`] says ends with what to do
/// about it.
#[derive(Debug)]
pub(crate) enum LsmError {
    /// `bpf` is not among the active security modules.
    BpfLsmInactive,
    /// This module has hooks attached already.
    Registered,
    /// The kernel has no hook, or no stub, of this name.
    NoStub(&'static CStr),
    /// Another `IPMODIFY` user of ftrace has this stub; or, for [`Way::Jump`], a BPF program.
    HookTaken(&'static CStr),
    /// ftrace is switched off.
    FtraceDisabled,
    /// Something else.
    Kernel(Error),
}

impl fmt::Display for LsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BpfLsmInactive => f.write_str(
                "the BPF LSM is not active: append bpf to the list of the kernel parameter lsm= \
                 (see /sys/kernel/security/lsm for the present one) and reboot",
            ),
            Self::Registered => f.write_str("hooks are attached already: unload the module first"),
            Self::NoStub(name) => f.write_fmt(fmt!(
                "the kernel has no traceable function {name}: this kernel version is not \
                 supported, see the list in the documentation"
            )),
            Self::HookTaken(name) => f.write_fmt(fmt!(
                "a live patch, another module of this kind, or (where hooks are attached directly) a BPF \
                 program has taken the function {name}: see /sys/kernel/tracing/enabled_functions, and \
                 unload it first"
            )),
            Self::FtraceDisabled => f.write_str(
                "ftrace is off: run sysctl kernel.ftrace_enabled=1; if that fails, see the kernel \
                 log for an earlier ftrace error, and reboot",
            ),
            Self::Kernel(e) => f.write_fmt(fmt!("cannot attach hooks, error {}", e.to_errno())),
        }
    }
}

impl From<LsmError> for Error {
    fn from(e: LsmError) -> Self {
        match e {
            LsmError::BpfLsmInactive | LsmError::NoStub(_) => EOPNOTSUPP,
            LsmError::Registered | LsmError::HookTaken(_) | LsmError::FtraceDisabled => EBUSY,
            LsmError::Kernel(e) => e,
        }
    }
}

impl From<AttachError> for LsmError {
    fn from(e: AttachError) -> Self {
        match e {
            AttachError::NoSymbol(name) => Self::NoStub(name),
            AttachError::Taken(name) => Self::HookTaken(name),
            AttachError::Disabled => Self::FtraceDisabled,
            AttachError::Kernel(e) => Self::Kernel(e),
        }
    }
}

impl From<AllocError> for LsmError {
    fn from(_: AllocError) -> Self {
        Self::Kernel(ENOMEM)
    }
}

/// The registered [`Hooks`], from [`Arc::into_raw`].
///
/// While the stubs are redirected to the functions of [`shim`] with type `T`, and while a task may
/// still be in one of them, it points to a `T`. [`RESERVED`] while that is being prepared or undone.
static HOOKS: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// A value of [`HOOKS`] that keeps a second registration away.
const RESERVED: *mut c_void = ptr::without_provenance_mut(1);

/// What the `ismaclabel` hook is asked with to see whether it is called at all, and the answer.
static PROBE: &CStr = c"security.tcp-lsm-probe";
const PROBE_ANSWER: c_int = 1;

/// Makes the argument of a hook from what C passes.
///
/// # Safety
///
/// Implementations must only rely on what the LSM core guarantees about such an argument.
unsafe trait FromHook<'a, Raw>: Sized {
    /// # Safety
    ///
    /// `raw` must be the argument that the LSM core passes to a hook for this, and `'a` must end
    /// before the hook returns.
    unsafe fn from_hook(raw: Raw) -> Self;
}

/// Implements [`FromHook`] for integers, which are passed as they are.
macro_rules! from_integer {
    ($($ty:ty),*) => {$(
        // SAFETY: Relies on nothing.
        unsafe impl FromHook<'_, $ty> for $ty {
            #[inline(always)]
            unsafe fn from_hook(raw: $ty) -> Self {
                raw
            }
        }
    )*};
}

from_integer!(bool, u16, u32, i32, u64, usize);

/// Implements [`FromHook`] for references to wrappers of C structures.
macro_rules! from_pointer {
    ($($raw:ty => $ty:ty, $from:path;)*) => {$(
        // SAFETY: The LSM core passes pointers that are valid while the hook runs.
        unsafe impl<'a> FromHook<'a, $raw> for &'a $ty {
            #[inline(always)]
            unsafe fn from_hook(raw: $raw) -> Self {
                // SAFETY: By the safety requirements the pointer is valid for `'a`.
                unsafe { $from(raw) }
            }
        }
    )*};
}

from_pointer! {
    *mut bindings::linux_binprm => Binprm, Binprm::from_raw;
    // No system call that holds a file position by `fdget_pos` calls one of these hooks.
    *mut bindings::file => File, File::from_raw_file;
    *const bindings::file => File, File::from_raw_file;
    *mut bindings::vm_area_struct => Vma, Vma::from_raw;
    *const bindings::path => Path, Path::from_raw;
    *mut bindings::dentry => Dentry, Dentry::from_raw;
    *mut bindings::inode => Inode, Inode::from_raw;
    *mut bindings::super_block => SuperBlock, SuperBlock::from_raw;
    *mut bindings::vfsmount => Mount, Mount::from_raw;
    *mut bindings::socket => Socket, Socket::from_raw;
    *mut bindings::sock => Sock, Sock::from_raw;
    *mut bindings::cred => Credential, Credential::from_ptr;
    *const bindings::cred => Credential, Credential::from_ptr;
    *const c_char => CStr, CStr::from_char_ptr;
    *mut c_char => CStr, CStr::from_char_ptr;
}

// SAFETY: The LSM core passes tasks that are valid while the hook runs.
unsafe impl<'a> FromHook<'a, *mut bindings::task_struct> for &'a Task {
    #[inline(always)]
    unsafe fn from_hook(raw: *mut bindings::task_struct) -> Self {
        // SAFETY: By the safety requirements the task is valid for `'a`; `Task` is transparent.
        unsafe { &*raw.cast() }
    }
}

// SAFETY: The LSM core passes null, or a file that is valid while the hook runs.
unsafe impl<'a> FromHook<'a, *mut bindings::file> for Option<&'a File> {
    #[inline(always)]
    unsafe fn from_hook(raw: *mut bindings::file) -> Self {
        // SAFETY: By the safety requirements, as it is not null.
        (!raw.is_null()).then(|| unsafe { <&File>::from_hook(raw) })
    }
}

// SAFETY: The LSM core passes null, or a C string that is valid while the hook runs.
unsafe impl<'a> FromHook<'a, *const c_char> for Option<&'a CStr> {
    #[inline(always)]
    unsafe fn from_hook(raw: *const c_char) -> Self {
        // SAFETY: By the safety requirements, as it is not null.
        (!raw.is_null()).then(|| unsafe { <&CStr>::from_hook(raw) })
    }
}

// SAFETY: The LSM core passes a buffer with its length, in memory of the kernel that nobody
// changes while the hook runs.
unsafe impl<'a, L> FromHook<'a, (*const c_char, L)> for &'a [u8]
where
    usize: TryFrom<L>,
{
    #[inline(always)]
    unsafe fn from_hook((raw, len): (*const c_char, L)) -> Self {
        match usize::try_from(len) {
            // SAFETY: By the safety requirements.
            Ok(len) if !raw.is_null() => unsafe { core::slice::from_raw_parts(raw.cast(), len) },
            _ => &[],
        }
    }
}

/// What the `task_kill` hook gets about the origin of a signal.
struct SigInfo(*mut bindings::kernel_siginfo);

// SAFETY: The LSM core passes a special value, or information that is valid while the hook runs.
unsafe impl FromHook<'_, SigInfo> for bool {
    #[inline(always)]
    unsafe fn from_hook(raw: SigInfo) -> Self {
        // SAFETY: By the safety requirements.
        unsafe { bindings::siginfo_from_kernel(raw.0) }
    }
}

/// The message whose destination the `socket_sendmsg` hook gets.
struct MsgName(*mut bindings::msghdr);

// SAFETY: The LSM core passes a message that is valid while the hook runs.
unsafe impl<'a> FromHook<'a, MsgName> for Option<&'a [u8]> {
    #[inline(always)]
    unsafe fn from_hook(raw: MsgName) -> Self {
        // SAFETY: By the safety requirements.
        let (name, len) = unsafe { ((*raw.0).msg_name, (*raw.0).msg_namelen) };
        if name.is_null() || len <= 0 {
            return None;
        }
        // SAFETY: By the safety requirements; `msg_name` is the kernel's copy.
        Some(unsafe { <&[u8]>::from_hook((name.cast_const().cast::<c_char>(), len)) })
    }
}

// SAFETY: The LSM core passes null, or an ACL that is the caller's own, and so is not read or
// changed by anybody else while the hook runs.
unsafe impl<'a> FromHook<'a, *mut bindings::posix_acl> for Option<&'a [u8]> {
    #[inline(always)]
    unsafe fn from_hook(raw: *mut bindings::posix_acl) -> Self {
        if raw.is_null() {
            return None;
        }
        let mut len = 0;
        // SAFETY: By the safety requirements; it initialises all of the bytes that it returns.
        let bytes = unsafe { bindings::posix_acl_bytes(raw, &mut len) };
        // SAFETY: There are `len` bytes; they do not change by the safety requirements.
        Some(unsafe { core::slice::from_raw_parts(bytes.cast(), len) })
    }
}

/// The `flags` that the `inode_file_setattr` hook gets.
struct FileFlags(*const bindings::file_kattr);

// SAFETY: The LSM core passes attributes that are valid while the hook runs.
unsafe impl FromHook<'_, FileFlags> for u32 {
    #[inline(always)]
    unsafe fn from_hook(raw: FileFlags) -> Self {
        // SAFETY: By the safety requirements.
        unsafe { bindings::file_kattr_flags(raw.0) }
    }
}

/// The `xflags` that the `inode_file_setattr` hook gets.
struct FileXflags(*const bindings::file_kattr);

// SAFETY: The LSM core passes attributes that are valid while the hook runs.
unsafe impl FromHook<'_, FileXflags> for u32 {
    #[inline(always)]
    unsafe fn from_hook(raw: FileXflags) -> Self {
        // SAFETY: By the safety requirements.
        unsafe { bindings::file_kattr_xflags(raw.0) }
    }
}

// SAFETY: The only such pointer is the options of `sb_mount`: null, or a page of the caller's own
// whose last byte is zero.
unsafe impl<'a> FromHook<'a, *mut c_void> for Option<&'a CStr> {
    #[inline(always)]
    unsafe fn from_hook(raw: *mut c_void) -> Self {
        // SAFETY: By the safety requirements, `raw` is null or a C string.
        unsafe { Self::from_hook(raw.cast_const().cast::<c_char>()) }
    }
}

// SAFETY: Only the address is looked at.
unsafe impl FromHook<'_, *mut bindings::user_namespace> for UserNs {
    #[inline(always)]
    unsafe fn from_hook(raw: *mut bindings::user_namespace) -> Self {
        if ptr::eq(raw, &raw const bindings::init_user_ns) {
            Self::Init
        } else {
            Self::Other
        }
    }
}

// SAFETY: Relies on nothing.
unsafe impl FromHook<'_, bindings::kuid_t> for u32 {
    #[inline(always)]
    unsafe fn from_hook(raw: bindings::kuid_t) -> Self {
        raw.val
    }
}

// SAFETY: Relies on nothing.
unsafe impl FromHook<'_, bindings::kgid_t> for u32 {
    #[inline(always)]
    unsafe fn from_hook(raw: bindings::kgid_t) -> Self {
        raw.val
    }
}

/// What a hook returns to C.
trait IntoHook<Raw> {
    fn into_hook(self) -> Raw;
}

impl IntoHook<c_int> for Result {
    #[inline(always)]
    fn into_hook(self) -> c_int {
        match self {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }
}

impl IntoHook<()> for () {
    #[inline(always)]
    fn into_hook(self) {}
}

/// A hook of some implementation: its name, and what its stub is redirected to.
struct Entry {
    name: &'static CStr,
    target: Option<Target>,
}

/// Makes the functions that the LSM core calls, and the table of them.
///
/// Each line gives a C prototype of `include/linux/lsm_hook_defs.h`, then which of its arguments
/// go to the method of [`Hooks`] with the same name.
macro_rules! hooks {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $ret:ty)? => ($($pass:expr),*);)*) => {
        /// What stubs are redirected to.
        mod shim {
            use super::*;

            $(
                /// Called by the LSM core instead of the stub of the same name.
                ///
                /// # Safety
                ///
                /// The arguments must be those of the LSM core, and [`HOOKS`] point to a `T`.
                pub(super) unsafe extern "C" fn $name<T: Hooks>($($arg: $ty),*) $(-> $ret)? {
                    // SAFETY: By the safety requirements. It is freed after the last hook left.
                    let hooks = unsafe { &*HOOKS.load(Ordering::Relaxed).cast::<T>() };
                    hooks
                        .$name($(
                            // SAFETY: By the safety requirements.
                            unsafe { FromHook::from_hook($pass) }
                        ),*)
                        .into_hook()
                }
            )*
        }

        impl<T: Hooks> Table<T> {
            /// Every hook that there is.
            const ENTRIES: &'static [Entry] = &[$(
                Entry {
                    name: kernel::c_str!(stringify!($name)),
                    target: kernel::macros::paste! {
                        if T::[<HAS_ $name:upper>] {
                            Some(Target {
                                symbol: kernel::c_str!(concat!("bpf_lsm_", stringify!($name))),
                                function: shim::$name::<T>
                                    as unsafe extern "C" fn($($ty),*) $(-> $ret)?
                                    as *const c_void,
                            })
                        } else {
                            None
                        }
                    },
                },
            )*];
        }
    };
}

/// The hooks of `T`.
struct Table<T>(PhantomData<T>);

hooks! {
    fn task_alloc(task: *mut bindings::task_struct, clone_flags: u64) -> c_int => (task, clone_flags);
    fn task_free(task: *mut bindings::task_struct) => (task);
    fn inode_free_security(inode: *mut bindings::inode) => (inode);
    fn bprm_creds_from_file(bprm: *mut bindings::linux_binprm, file: *const bindings::file) -> c_int => (bprm, file);
    fn bprm_check_security(bprm: *mut bindings::linux_binprm) -> c_int => (bprm);
    fn mmap_file(file: *mut bindings::file, reqprot: c_ulong, prot: c_ulong, flags: c_ulong) -> c_int => (file, reqprot, prot, flags);
    fn file_mprotect(vma: *mut bindings::vm_area_struct, reqprot: c_ulong, prot: c_ulong) -> c_int => (vma, reqprot, prot);
    fn file_open(file: *mut bindings::file) -> c_int => (file);
    fn file_receive(file: *mut bindings::file) -> c_int => (file);
    fn file_fcntl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_int => (file, cmd, arg);
    fn file_ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_int => (file, cmd, arg);
    fn file_ioctl_compat(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_int => (file, cmd, arg);
    fn path_truncate(path: *const bindings::path) -> c_int => (path);
    fn path_mknod(dir: *const bindings::path, dentry: *mut bindings::dentry, mode: u16, dev: c_uint) -> c_int => (dir, dentry, mode, dev);
    fn path_mkdir(dir: *const bindings::path, dentry: *mut bindings::dentry, mode: u16) -> c_int => (dir, dentry, mode);
    fn path_chroot(path: *const bindings::path) -> c_int => (path);
    fn path_symlink(dir: *const bindings::path, dentry: *mut bindings::dentry, old_name: *const c_char) -> c_int => (dir, dentry, old_name);
    fn path_unlink(dir: *const bindings::path, dentry: *mut bindings::dentry) -> c_int => (dir, dentry);
    fn path_rmdir(dir: *const bindings::path, dentry: *mut bindings::dentry) -> c_int => (dir, dentry);
    fn path_link(old_dentry: *mut bindings::dentry, new_dir: *const bindings::path, new_dentry: *mut bindings::dentry) -> c_int => (old_dentry, new_dir, new_dentry);
    fn path_rename(old_dir: *const bindings::path, old_dentry: *mut bindings::dentry, new_dir: *const bindings::path, new_dentry: *mut bindings::dentry, flags: c_uint) -> c_int => (old_dir, old_dentry, new_dir, new_dentry, flags);
    fn path_chmod(path: *const bindings::path, mode: u16) -> c_int => (path, mode);
    fn path_chown(path: *const bindings::path, uid: bindings::kuid_t, gid: bindings::kgid_t) -> c_int => (path, uid, gid);
    fn inode_setxattr(_idmap: *mut bindings::mnt_idmap, dentry: *mut bindings::dentry, name: *const c_char, value: *const c_void, size: usize, _flags: c_int) -> c_int => (dentry, name, (value.cast::<c_char>(), size));
    fn inode_removexattr(_idmap: *mut bindings::mnt_idmap, dentry: *mut bindings::dentry, name: *const c_char) -> c_int => (dentry, name);
    fn inode_set_acl(_idmap: *mut bindings::mnt_idmap, dentry: *mut bindings::dentry, acl_name: *const c_char, kacl: *mut bindings::posix_acl) -> c_int => (dentry, acl_name, kacl);
    fn inode_remove_acl(_idmap: *mut bindings::mnt_idmap, dentry: *mut bindings::dentry, acl_name: *const c_char) -> c_int => (dentry, acl_name);
    fn inode_file_setattr(dentry: *mut bindings::dentry, fa: *mut bindings::file_kattr) -> c_int => (dentry, FileFlags(fa), FileXflags(fa));
    fn kernel_module_request(kmod_name: *mut c_char) -> c_int => (kmod_name);
    fn kernel_load_data(id: c_uint, contents: bool) -> c_int => (id, contents);
    fn kernel_post_load_data(buf: *mut c_char, size: bindings::loff_t, id: c_uint, _description: *mut c_char) -> c_int => ((buf.cast_const(), size), id);
    fn kernel_read_file(file: *mut bindings::file, id: c_uint, contents: bool) -> c_int => (file, id, contents);
    fn kernel_post_read_file(file: *mut bindings::file, buf: *mut c_char, size: bindings::loff_t, id: c_uint) -> c_int => (file, (buf.cast_const(), size), id);
    fn sb_mount(dev_name: *const c_char, path: *const bindings::path, fstype: *const c_char, flags: c_ulong, data: *mut c_void) -> c_int => (dev_name, path, fstype, flags, data);
    fn sb_remount(sb: *mut bindings::super_block, _mnt_opts: *mut c_void) -> c_int => (sb);
    fn sb_umount(mnt: *mut bindings::vfsmount, flags: c_int) -> c_int => (mnt, flags);
    fn sb_pivotroot(old_path: *const bindings::path, new_path: *const bindings::path) -> c_int => (old_path, new_path);
    fn move_mount(from_path: *const bindings::path, to_path: *const bindings::path) -> c_int => (from_path, to_path);
    fn ptrace_access_check(child: *mut bindings::task_struct, mode: c_uint) -> c_int => (child, mode);
    fn ptrace_traceme(parent: *mut bindings::task_struct) -> c_int => (parent);
    fn task_kill(p: *mut bindings::task_struct, info: *mut bindings::kernel_siginfo, sig: c_int, _cred: *const bindings::cred) -> c_int => (p, sig, SigInfo(info));
    fn task_setrlimit(p: *mut bindings::task_struct, resource: c_uint, _new_rlim: *mut bindings::rlimit) -> c_int => (p, resource);
    fn bpf(cmd: c_int, _attr: *mut bindings::bpf_attr, _size: c_uint, kernel: bool) -> c_int => (cmd, kernel);
    fn perf_event_open(type_: c_int) -> c_int => (type_);
    fn userns_create(cred: *const bindings::cred) -> c_int => (cred);
    fn uring_allowed() -> c_int => ();
    fn uring_sqpoll() -> c_int => ();
    fn uring_override_creds(new: *const bindings::cred) -> c_int => (new);
    fn socket_connect(sock: *mut bindings::socket, address: *mut bindings::sockaddr, addrlen: c_int) -> c_int => (sock, (address.cast_const().cast::<c_char>(), addrlen));
    fn socket_bind(sock: *mut bindings::socket, address: *mut bindings::sockaddr, addrlen: c_int) -> c_int => (sock, (address.cast_const().cast::<c_char>(), addrlen));
    fn socket_listen(sock: *mut bindings::socket, backlog: c_int) -> c_int => (sock, backlog);
    fn socket_setsockopt(sock: *mut bindings::socket, level: c_int, optname: c_int) -> c_int => (sock, level, optname);
    fn socket_sendmsg(sock: *mut bindings::socket, msg: *mut bindings::msghdr, size: c_int) -> c_int => (sock, MsgName(msg), size);
    fn sctp_bind_connect(sk: *mut bindings::sock, optname: c_int, address: *mut bindings::sockaddr, addrlen: c_int) -> c_int => (sk, optname, (address.cast_const().cast::<c_char>(), addrlen));
    fn unix_find(path: *const bindings::path, other: *mut bindings::sock, flags: c_int) -> c_int => (path, other, flags);
    fn unix_stream_connect(sock: *mut bindings::sock, other: *mut bindings::sock, _newsk: *mut bindings::sock) -> c_int => (sock, other);
    fn unix_may_send(sock: *mut bindings::socket, other: *mut bindings::socket) -> c_int => (sock, other);
    fn task_fix_setuid(new: *mut bindings::cred, old: *const bindings::cred, flags: c_int) -> c_int => (new, old, flags);
    fn task_fix_setgid(new: *mut bindings::cred, old: *const bindings::cred, flags: c_int) -> c_int => (new, old, flags);
    fn task_fix_setgroups(new: *mut bindings::cred, old: *const bindings::cred) -> c_int => (new, old);
    fn capable(cred: *const bindings::cred, ns: *mut bindings::user_namespace, cap: c_int, opts: c_uint) -> c_int => (cred, ns, cap, opts);
    fn locked_down(what: c_uint) -> c_int => (what);
}

/// Answers [`PROBE`], in place of the hook that asks security modules for the names of their
/// extended attributes.
extern "C" fn probe(name: *const c_char) -> c_int {
    if ptr::eq(name, PROBE.as_char_ptr()) {
        PROBE_ANSWER
    } else {
        0
    }
}

/// The stubs that are called more often than all others together.
const OFTEN: &[&CStr] = &[c"bpf_lsm_file_open"];

/// The stub that is redirected to [`probe`].
const PROBE_TARGET: Target = Target {
    symbol: c"bpf_lsm_ismaclabel",
    function: probe as extern "C" fn(*const c_char) -> c_int as *const c_void,
};

/// Whether the LSM core calls the stubs of the BPF LSM, and does what our functions return.
///
/// True only while [`PROBE_TARGET`] is redirected. All stubs stand and fall together: the BPF LSM
/// registers them in one call, and ours are redirected by one `ftrace_ops`.
fn is_called() -> bool {
    // SAFETY: `PROBE` is a C string. No module does more than compare it.
    unsafe { bindings::security_ismaclabel(PROBE.as_char_ptr()) == PROBE_ANSWER }
}

/// Attached hooks. They are detached when this is dropped.
///
/// # Examples
///
/// ```ignore
/// struct NoModules;
///
/// #[vtable]
/// impl lsm::Hooks for NoModules {
///     fn kernel_module_request(&self, name: &CStr) -> Result {
///         pr_info!("no {name} today\n");
///         Err(EPERM)
///     }
/// }
///
/// let registration = lsm::Registration::new(Arc::new(NoModules, GFP_KERNEL)?)
///     .inspect_err(|e| pr_err!("{e}\n"))?;
/// ```
///
/// # Invariants
///
/// `redirect` redirects the stubs of all hooks that `T` implements to the functions in [`shim`]
/// for `T`, and [`HOOKS`] came from an `Arc<T>`.
#[must_use = "dropping it detaches the hooks"]
pub(crate) struct Registration<T: Hooks> {
    redirect: ManuallyDrop<Redirect>,
    _hooks: PhantomData<Arc<T>>,
}

impl<T: Hooks> Registration<T> {
    /// Attaches all hooks that `T` implements, or none.
    ///
    /// Hooks may be called from some moment before this returns, on any CPU.
    ///
    /// Context: process context, sleeps.
    ///
    /// # Errors
    ///
    /// See [`LsmError`].
    pub(crate) fn new(hooks: Arc<T>, way: Way) -> Result<Self, LsmError> {
        let mut targets = KVec::with_capacity(Table::<T>::ENTRIES.len() + 1, GFP_KERNEL)?;
        targets.push(PROBE_TARGET, GFP_KERNEL)?;
        for target in Table::<T>::ENTRIES.iter().filter_map(|e| e.target) {
            targets.push(target, GFP_KERNEL)?;
        }

        let reserved = HOOKS.compare_exchange(
            ptr::null_mut(),
            RESERVED,
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        if reserved.is_err() {
            return Err(LsmError::Registered);
        }

        // First the probe alone: with an inactive BPF LSM, no hook is called even for a moment,
        // and no hook must be.
        // SAFETY: `probe` has the signature of the stub, and may be called from anywhere.
        let probed = unsafe { Redirect::attach(&[PROBE_TARGET], Way::Shared, &[]) };
        let active = probed.map(|_redirect| is_called());
        match active {
            Ok(true) => (),
            Ok(false) => {
                HOOKS.store(ptr::null_mut(), Ordering::Release);
                return Err(LsmError::BpfLsmInactive);
            }
            Err(e) => {
                HOOKS.store(ptr::null_mut(), Ordering::Release);
                return Err(e.into());
            }
        }

        HOOKS.store(Arc::into_raw(hooks).cast_mut().cast(), Ordering::Release);
        // SAFETY: The functions in `shim` have the signatures of the stubs (the C prototypes), and
        // by the contract of `Hooks` may be called where those are. `HOOKS` points to a `T`. Our
        // `Drop` keeps them in memory until no task is inside.
        match unsafe { Redirect::attach(&targets, way, OFTEN) } {
            // INVARIANT: All were just redirected, and `HOOKS` set before.
            Ok(redirect) => {
                let this = Self {
                    redirect: ManuallyDrop::new(redirect),
                    _hooks: PhantomData,
                };
                if this.is_called() {
                    Ok(this)
                } else {
                    Err(LsmError::BpfLsmInactive)
                }
            }
            Err(e) => {
                // No hook is attached. Those that were for a moment found nothing to sleep for, and who was in
                // one without sleeping has left it.
                let hooks = HOOKS.swap(ptr::null_mut(), Ordering::Acquire);
                // SAFETY: It came from `Arc::into_raw`.
                drop(unsafe { Arc::from_raw(hooks.cast_const().cast::<T>()) });
                Err(e.into())
            }
        }
    }

    /// Whether the LSM core calls our functions at this moment: asks one of them a question
    /// through the kernel's own entry, and checks the answer.
    ///
    /// Context: any.
    pub(crate) fn is_called(&self) -> bool {
        is_called()
    }
}

/// The names of the hooks that `T` implements: those that a [`Registration`] attaches.
pub(crate) fn implemented<T: Hooks>() -> impl Iterator<Item = &'static CStr> {
    Table::<T>::ENTRIES
        .iter()
        .filter(|e| e.target.is_some())
        .map(|e| e.name)
}

impl<T: Hooks> Drop for Registration<T> {
    /// Detaches all hooks, and waits until no task is in one of them: some tenths of a second, or
    /// ten seconds if a BPF program or the function tracer was at one of the stubs meanwhile.
    ///
    /// Whoever sleeps in a hook must have been woken up before, and not go to sleep again.
    fn drop(&mut self) {
        // From here on only tasks on their way through a BPF trampoline still come in.
        // SAFETY: It is not used again.
        let redirect = unsafe { ManuallyDrop::take(&mut self.redirect) };
        if redirect.detach() {
            ftrace::synchronize_trampolines();
        }
        // From here on no task comes in.

        // SAFETY: By the type invariants, it came from an `Arc<T>` that is dropped below.
        let hooks =
            unsafe { Arc::from_raw(HOOKS.load(Ordering::Acquire).cast_const().cast::<T>()) };
        // Those that sleep in a hook, inside whatever section that they chose for it.
        hooks.drained();
        // Those that are between the end of that section and the return to the kernel.
        ftrace::synchronize_tasks();
        drop(hooks);
        HOOKS.store(ptr::null_mut(), Ordering::Release);
    }
}
