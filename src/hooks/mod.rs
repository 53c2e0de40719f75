// SPDX-License-Identifier: GPL-2.0

//! The LSM hooks: each gathers the facts of one operation and asks [`Node::check`].
//!
//! Which hook stands for which operation is in `Documentation/hooks.rst`. A hook's first step is
//! [`Node::actor`]: one look-up, after which a task that nothing governs goes on.

pub(crate) mod exec;
pub(crate) mod file;
pub(crate) mod kernel_data;
pub(crate) mod lockdown;
pub(crate) mod mount;
pub(crate) mod net;
pub(crate) mod path;
pub(crate) mod system;
pub(crate) mod task;

use crate::{
    abi::{
        binprm::Binprm,
        lsm::{
            self,
            Hooks,
            UserNs, //
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
        task::key_of,
        vma::Vma, //
    },
    node::Node, //
};
use kernel::{
    cred::Credential,
    fs::File,
    prelude::*,
    task::Task, //
};

/// The names of the hooks that are attached.
pub(crate) fn attached() -> impl Iterator<Item = &'static CStr> {
    lsm::implemented::<Node>()
}

#[vtable]
impl Hooks for Node {
    fn drained(&self) {
        self.policy.synchronize();
        self.sleepers.synchronize();
    }

    fn task_alloc(&self, child: &Task, _clone_flags: u64) -> Result {
        self.inherit(key_of(child))
    }

    fn task_free(&self, task: &Task) {
        self.unlabel(key_of(task));
    }

    #[inline]
    fn inode_free_security(&self, inode: &Inode) {
        if inode.is_directory() {
            self.recall.forget();
        }
    }

    fn bprm_creds_from_file(&self, bprm: &Binprm, file: &File) -> Result {
        task::creds_from_file(self, bprm, file)
    }

    fn bprm_check_security(&self, bprm: &Binprm) -> Result {
        exec::bprm_check_security(self, bprm)
    }

    fn mmap_file(&self, file: Option<&File>, _reqprot: usize, prot: usize, flags: usize) -> Result {
        exec::mmap_file(self, file, prot, flags)
    }

    fn file_mprotect(&self, vma: &Vma, _reqprot: usize, prot: usize) -> Result {
        exec::file_mprotect(self, vma, prot)
    }

    #[inline]
    fn file_open(&self, file: &File) -> Result {
        file::open(self, file)
    }

    fn file_receive(&self, file: &File) -> Result {
        file::receive(self, file)
    }

    fn file_fcntl(&self, _file: &File, cmd: u32, arg: usize) -> Result {
        task::file_fcntl(self, cmd, arg)
    }

    fn file_ioctl(&self, _file: &File, cmd: u32, arg: usize) -> Result {
        task::file_ioctl(self, cmd, arg)
    }

    fn file_ioctl_compat(&self, _file: &File, cmd: u32, arg: usize) -> Result {
        task::file_ioctl(self, cmd, arg)
    }

    fn path_truncate(&self, path: &Path) -> Result {
        path::truncate(self, path)
    }

    fn path_mknod(&self, dir: &Path, dentry: &Dentry, mode: u16, dev: u32) -> Result {
        path::mknod(self, dir, dentry, mode, dev)
    }

    fn path_mkdir(&self, dir: &Path, dentry: &Dentry, mode: u16) -> Result {
        path::mkdir(self, dir, dentry, mode)
    }

    fn path_chroot(&self, path: &Path) -> Result {
        mount::chroot(self, path)
    }

    fn path_symlink(&self, dir: &Path, dentry: &Dentry, target: &CStr) -> Result {
        path::symlink(self, dir, dentry, target)
    }

    fn path_unlink(&self, dir: &Path, dentry: &Dentry) -> Result {
        path::delete(self, dir, dentry, "path_unlink")
    }

    fn path_rmdir(&self, dir: &Path, dentry: &Dentry) -> Result {
        path::delete(self, dir, dentry, "path_rmdir")
    }

    fn path_link(&self, old: &Dentry, new_dir: &Path, new: &Dentry) -> Result {
        path::link(self, old, new_dir, new)
    }

    fn path_rename(
        &self,
        old_dir: &Path,
        old: &Dentry,
        new_dir: &Path,
        new: &Dentry,
        flags: u32,
    ) -> Result {
        path::rename(self, old_dir, old, new_dir, new, flags)
    }

    fn path_chmod(&self, path: &Path, mode: u16) -> Result {
        path::chmod(self, path, mode)
    }

    fn path_chown(&self, path: &Path, uid: u32, gid: u32) -> Result {
        path::chown(self, path, uid, gid)
    }

    fn inode_setxattr(&self, dentry: &Dentry, name: &CStr, value: &[u8]) -> Result {
        path::xattr(self, dentry, name, Some(value), "inode_setxattr")
    }

    fn inode_removexattr(&self, dentry: &Dentry, name: &CStr) -> Result {
        path::xattr(self, dentry, name, None, "inode_removexattr")
    }

    fn inode_set_acl(&self, dentry: &Dentry, name: &CStr, acl: Option<&[u8]>) -> Result {
        path::xattr(self, dentry, name, acl, "inode_set_acl")
    }

    fn inode_remove_acl(&self, dentry: &Dentry, name: &CStr) -> Result {
        path::xattr(self, dentry, name, None, "inode_remove_acl")
    }

    fn inode_file_setattr(&self, dentry: &Dentry, flags: u32, xflags: u32) -> Result {
        path::flags(self, dentry, flags, xflags)
    }

    fn kernel_module_request(&self, name: &CStr) -> Result {
        kernel_data::module_request(self, name)
    }

    fn kernel_load_data(&self, id: u32, contents: bool) -> Result {
        kernel_data::load_data(self, id, contents)
    }

    fn kernel_post_load_data(&self, buf: &[u8], id: u32) -> Result {
        kernel_data::post_load_data(self, buf, id)
    }

    fn kernel_read_file(&self, file: Option<&File>, id: u32, contents: bool) -> Result {
        kernel_data::read_file(self, file, id, contents)
    }

    fn kernel_post_read_file(&self, file: Option<&File>, buf: &[u8], id: u32) -> Result {
        kernel_data::post_read_file(self, file, buf, id)
    }

    fn sb_mount(
        &self,
        dev: Option<&CStr>,
        path: &Path,
        fstype: Option<&CStr>,
        flags: usize,
        options: Option<&CStr>,
    ) -> Result {
        mount::mount(self, dev, path, fstype, flags, options)
    }

    fn sb_remount(&self, sb: &SuperBlock) -> Result {
        mount::remount(self, sb)
    }

    fn sb_umount(&self, mnt: &Mount, flags: i32) -> Result {
        mount::umount(self, mnt, flags)
    }

    fn sb_pivotroot(&self, old: &Path, new: &Path) -> Result {
        mount::pivot_root(self, old, new)
    }

    fn move_mount(&self, from: &Path, to: &Path) -> Result {
        mount::move_mount(self, from, to)
    }

    fn ptrace_access_check(&self, child: &Task, mode: u32) -> Result {
        task::ptrace_access_check(self, child, mode)
    }

    fn ptrace_traceme(&self, parent: &Task) -> Result {
        task::ptrace_traceme(self, parent)
    }

    fn task_kill(&self, target: &Task, sig: i32, from_kernel: bool) -> Result {
        task::kill(self, target, sig, from_kernel)
    }

    fn task_setrlimit(&self, target: &Task, resource: u32) -> Result {
        task::setrlimit(self, target, resource)
    }

    fn bpf(&self, cmd: i32, kernel: bool) -> Result {
        system::bpf(self, cmd, kernel)
    }

    fn perf_event_open(&self, type_: i32) -> Result {
        system::perf_event_open(self, type_)
    }

    fn userns_create(&self, _cred: &Credential) -> Result {
        system::userns_create(self)
    }

    fn uring_allowed(&self) -> Result {
        system::io_uring(self, 0, "uring_allowed")
    }

    fn uring_override_creds(&self, _new: &Credential) -> Result {
        system::io_uring(self, 1, "uring_override_creds")
    }

    fn socket_connect(&self, sock: &Socket, addr: &[u8]) -> Result {
        net::connect(self, sock, addr)
    }

    fn socket_bind(&self, sock: &Socket, addr: &[u8]) -> Result {
        net::bind(self, sock, addr)
    }

    fn socket_listen(&self, sock: &Socket, _backlog: i32) -> Result {
        net::listen(self, sock)
    }

    fn socket_setsockopt(&self, sock: &Socket, level: i32, option: i32) -> Result {
        net::setsockopt(self, sock, level, option)
    }

    fn socket_sendmsg(&self, sock: &Socket, name: Option<&[u8]>, _size: i32) -> Result {
        net::sendmsg(self, sock, name)
    }

    fn sctp_bind_connect(&self, sock: &Sock, optname: i32, addr: &[u8]) -> Result {
        net::sctp(self, sock.family(), optname, addr)
    }

    fn unix_find(&self, path: &Path, _other: &UnixSock, _flags: i32) -> Result {
        net::unix_find(self, path)
    }

    fn unix_stream_connect(&self, _sock: &UnixSock, other: &UnixSock) -> Result {
        net::unix_abstract(self, other.abstract_name(), "unix_stream_connect")
    }

    fn unix_may_send(&self, _sock: &Socket, other: &Socket) -> Result {
        net::unix_abstract(self, other.abstract_name(), "unix_may_send")
    }

    fn task_fix_setuid(&self, new: &Credential, old: &Credential, _flags: i32) -> Result {
        task::fix_ids(self, new, old, "task_fix_setuid")
    }

    fn task_fix_setgid(&self, new: &Credential, old: &Credential, _flags: i32) -> Result {
        task::fix_ids(self, new, old, "task_fix_setgid")
    }

    fn task_fix_setgroups(&self, new: &Credential, _old: &Credential) -> Result {
        task::fix_groups(self, new)
    }

    fn capable(&self, _cred: &Credential, ns: UserNs, cap: i32, _opts: u32) -> Result {
        lockdown::capable(self, ns, cap)
    }

    fn locked_down(&self, what: u32) -> Result {
        lockdown::locked_down(self, what)
    }
}
