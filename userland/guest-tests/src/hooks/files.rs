// SPDX-License-Identifier: GPL-2.0

//! FILE_READ, FILE_WRITE, FILE_CREATE, FILE_DELETE, FILE_RENAME, FILE_LINK and FILE_ATTR.

use super::{
    probe::Probe,
    sys, //
};
use crate::{
    harness::{
        be,
        ensure,
        fact,
        fact_of,
        fact_text,
        op,
        Ctx,
        Test, //
    },
    stage::expect_errno, //
};
use std::{
    fs,
    os::{
        fd::AsRawFd,
        unix::fs::symlink, //
    },
    ptr,
};

/// `path=` of the scratch directory's `protected`, which is made.
fn protected(ctx: &Ctx) -> Result<(String, String), String> {
    let dir = ctx.dir("protected")?;
    Ok((format!("path={dir}"), dir))
}

/// Writes a file, whatever was there.
fn put(path: &str) {
    let _ = fs::write(path, b"content");
}

/// Removes a file or an empty directory, if there is one.
fn gone(path: &str) {
    let _ = fs::remove_file(path);
    let _ = fs::remove_dir(path);
}

fn read(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let path = format!("{dir}/deep/er/file");
    ctx.file("protected/deep/er/file", b"content")?;
    let request = Probe::new(op::FILE_READ, selectors, &|| sys::open_read(&path)).all(ctx)?;
    ensure(fact_text(&request, fact::PATH) == path, || {
        format!("PATH is {}", fact_text(&request, fact::PATH))
    })
}

fn read_of_a_directory(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let act = || sys::code(sys::open(&dir, libc::O_RDONLY | libc::O_DIRECTORY));
    Probe::new(op::FILE_READ, selectors, &act)
        .all(ctx)
        .map(drop)
}

fn write(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, _) = protected(ctx)?;
    let path = ctx.file("protected/file", b"content")?;
    Probe::new(op::FILE_WRITE, selectors, &|| sys::open_write(&path))
        .all(ctx)
        .map(drop)
}

fn write_for_both_is_judged_as_both(ctx: &mut Ctx) -> Result<(), String> {
    let path = ctx.file("file", b"content")?;
    let act = || sys::code(sys::open(&path, libc::O_RDWR));
    Probe::new(op::FILE_READ, format!("path={path}"), &act).denied(ctx)?;
    Probe::new(op::FILE_WRITE, format!("path={path}"), &act).denied(ctx)
}

fn access_mode_three_needs_both(ctx: &mut Ctx) -> Result<(), String> {
    // Neither for reading nor for writing, but for ioctl, which may do anything.
    let path = ctx.file("file", b"content")?;
    let act = || sys::code(sys::open(&path, libc::O_ACCMODE));
    Probe::new(op::FILE_READ, format!("path={path}"), &act).denied(ctx)?;
    Probe::new(op::FILE_WRITE, format!("path={path}"), &act).denied(ctx)
}

fn write_append(ctx: &mut Ctx) -> Result<(), String> {
    let path = ctx.file("file", b"content")?;
    let act = || sys::code(sys::open(&path, libc::O_WRONLY | libc::O_APPEND));
    Probe::new(op::FILE_WRITE, format!("path={path}"), &act).denied(ctx)
}

fn write_by_o_trunc(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, _) = protected(ctx)?;
    let path = ctx.file("protected/file", b"content")?;
    // O_TRUNC with O_RDONLY cuts the file all the same.
    let act = || sys::code(sys::open(&path, libc::O_RDONLY | libc::O_TRUNC));
    Probe::new(op::FILE_WRITE, selectors, &act)
        .reset(&|| put(&path))
        .denied(ctx)?;
    put(&path);
    ctx.as_agent("worker", "a", |_| {
        act();
    })?;
    let left = fs::read(&path).map_err(|error| error.to_string())?;
    ensure(left == b"content", || {
        "the refused open has cut the file".to_owned()
    })
}

fn write_by_truncate(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, _) = protected(ctx)?;
    let path = ctx.file("protected/file", b"content")?;
    // SAFETY: The path is NUL-terminated and outlives the call.
    let act = || sys::with_path(&path, |path| unsafe { libc::truncate(path, 3) });
    Probe::new(op::FILE_WRITE, selectors, &act)
        .reset(&|| put(&path))
        .all(ctx)
        .map(drop)
}

fn write_by_ftruncate_needs_an_open_for_write(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, _) = protected(ctx)?;
    let path = ctx.file("protected/file", b"content")?;
    let act = || match sys::open(&path, libc::O_WRONLY) {
        // SAFETY: No pointers are passed.
        Ok(fd) => sys::out(unsafe { libc::ftruncate(fd.as_raw_fd(), 2) }),
        Err(errno) => errno,
    };
    Probe::new(op::FILE_WRITE, selectors, &act).denied(ctx)?;
    // A descriptor for reading does not help.
    let through_a_reader = || match sys::open(&path, libc::O_RDONLY) {
        // SAFETY: No pointers are passed.
        Ok(fd) => sys::out(unsafe { libc::ftruncate(fd.as_raw_fd(), 2) }),
        Err(errno) => errno,
    };
    expect_errno(
        "ftruncate of a reader",
        ctx.both(through_a_reader)?.0,
        libc::EINVAL,
    )
}

/// Probes the creation of `protected/new` by `make`.
fn create(ctx: &Ctx, make: &dyn Fn(&str) -> i32) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let path = format!("{dir}/new");
    let request = Probe::new(op::FILE_CREATE, selectors, &|| make(&path))
        .reset(&|| gone(&path))
        .all(ctx)?;
    ensure(fact_text(&request, fact::PATH) == path, || {
        format!("PATH is {}", fact_text(&request, fact::PATH))
    })
}

fn create_by_open(ctx: &mut Ctx) -> Result<(), String> {
    create(ctx, &|path| {
        sys::code(sys::open(path, libc::O_WRONLY | libc::O_CREAT))
    })
}

fn create_by_mknod(ctx: &mut Ctx) -> Result<(), String> {
    create(ctx, &|path| {
        // SAFETY: The path is NUL-terminated and outlives the call.
        sys::with_path(path, |path| unsafe {
            libc::mknod(path, libc::S_IFREG | 0o600, 0)
        })
    })
}

fn create_fifo(ctx: &mut Ctx) -> Result<(), String> {
    create(ctx, &|path| {
        // SAFETY: The path is NUL-terminated and outlives the call.
        sys::with_path(path, |path| unsafe { libc::mkfifo(path, 0o600) })
    })
}

/// Whatever the policy says: through a new file of a device an agent would reach what a rule keeps from it.
fn create_device(ctx: &mut Ctx) -> Result<(), String> {
    let (_, dir) = protected(ctx)?;
    ctx.worker_policy("op=FILE_CREATE class=worker action=ALLOW")?;
    let path = format!("{dir}/new");
    let make = |kind: libc::mode_t, device: libc::dev_t| {
        gone(&path);
        // SAFETY: The path is NUL-terminated and outlives the call.
        sys::with_path(&path, |path| unsafe {
            libc::mknod(path, kind | 0o600, device)
        })
    };
    for (what, kind, device) in [
        (
            "the device that /dev/null is",
            libc::S_IFCHR,
            libc::makedev(1, 3),
        ),
        ("a disk", libc::S_IFBLK, libc::makedev(254, 0)),
    ] {
        let agent = ctx.as_agent("worker", "a", |report| report.errno(make(kind, device)))?;
        expect_errno(what, agent.errno(0)?, libc::EPERM)?;
        let free = ctx.as_bystander(|report| report.errno(make(kind, device)))?;
        expect_errno(&format!("{what}, without a label"), free.errno(0)?, 0)?;
    }
    // Number 0 is a whiteout of overlayfs, and no device.
    let agent = ctx.as_agent("worker", "a", |report| report.errno(make(libc::S_IFCHR, 0)))?;
    expect_errno("a whiteout", agent.errno(0)?, 0)?;
    gone(&path);
    Ok(())
}

fn create_directory(ctx: &mut Ctx) -> Result<(), String> {
    create(ctx, &|path| {
        // SAFETY: The path is NUL-terminated and outlives the call.
        sys::with_path(path, |path| unsafe { libc::mkdir(path, 0o700) })
    })
}

fn create_symlink(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let path = format!("{dir}/new");
    let act = || match symlink("/etc/shadow", &path) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    };
    let request = Probe::new(op::FILE_CREATE, selectors, &act)
        .reset(&|| gone(&path))
        .all(ctx)?;
    ensure(fact_text(&request, fact::TARGET) == "/etc/shadow", || {
        format!("TARGET is {}", fact_text(&request, fact::TARGET))
    })
}

fn create_socket(ctx: &mut Ctx) -> Result<(), String> {
    create(
        ctx,
        &|path| match sys::socket(libc::AF_UNIX, libc::SOCK_STREAM) {
            Ok(socket) => sys::bind(&socket, &sys::unix(path)),
            Err(errno) => errno,
        },
    )
}

fn create_by_name_of_tmpfile(ctx: &mut Ctx) -> Result<(), String> {
    // O_TMPFILE itself makes no name; giving it one is a link.
    let (selectors, dir) = protected(ctx)?;
    let path = format!("{dir}/new");
    let outside = ctx.dir("outside")?;
    let act = || match sys::open(&outside, libc::O_TMPFILE | libc::O_WRONLY) {
        Ok(fd) => sys::with_paths(&sys::proc_fd(&fd), &path, |from, to| {
            // SAFETY: Both paths are NUL-terminated and outlive the call.
            unsafe {
                libc::linkat(
                    libc::AT_FDCWD,
                    from,
                    libc::AT_FDCWD,
                    to,
                    libc::AT_SYMLINK_FOLLOW,
                )
            }
        }),
        Err(errno) => errno,
    };
    Probe::new(op::FILE_LINK, selectors, &act)
        .reset(&|| gone(&path))
        .denied(ctx)
}

fn tmpfile_is_a_write_below_the_directory(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let act = || sys::code(sys::open(&dir, libc::O_TMPFILE | libc::O_WRONLY));
    Probe::new(op::FILE_WRITE, selectors, &act).denied(ctx)
}

fn delete(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let path = format!("{dir}/file");
    // SAFETY: The path is NUL-terminated and outlives the call.
    let act = || sys::with_path(&path, |path| unsafe { libc::unlink(path) });
    Probe::new(op::FILE_DELETE, selectors, &act)
        .reset(&|| put(&path))
        .all(ctx)
        .map(drop)
}

fn delete_directory(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let path = format!("{dir}/sub");
    // SAFETY: The path is NUL-terminated and outlives the call.
    let act = || sys::with_path(&path, |path| unsafe { libc::rmdir(path) });
    let reset = || {
        let _ = fs::create_dir(&path);
    };
    Probe::new(op::FILE_DELETE, selectors, &act)
        .reset(&reset)
        .all(ctx)
        .map(drop)
}

fn rename_out(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let (from, to) = (format!("{dir}/file"), ctx.path("outside"));
    let reset = || {
        gone(&to);
        put(&from);
    };
    let request = Probe::new(op::FILE_RENAME, selectors, &|| sys::rename(&from, &to, 0))
        .reset(&reset)
        .all(ctx)?;
    let shown = (
        fact_text(&request, fact::PATH),
        fact_text(&request, fact::TARGET),
    );
    ensure(shown == (from.clone(), to.clone()), || {
        format!("PATH and TARGET are {shown:?}")
    })
}

fn rename_in(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let (from, to) = (ctx.path("outside"), format!("{dir}/file"));
    let reset = || {
        gone(&to);
        put(&from);
    };
    Probe::new(op::FILE_RENAME, selectors, &|| sys::rename(&from, &to, 0))
        .reset(&reset)
        .all(ctx)
        .map(drop)
}

fn rename_over(ctx: &mut Ctx) -> Result<(), String> {
    // The rule names the file that the rename would replace.
    let to = ctx.path("file");
    let from = ctx.path("other");
    put(&to);
    Probe::new(op::FILE_RENAME, format!("path={to}"), &|| {
        sys::rename(&from, &to, 0)
    })
    .reset(&|| put(&from))
    .denied(ctx)
}

fn rename_exchange(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let (from, to) = (ctx.path("outside"), format!("{dir}/file"));
    put(&from);
    put(&to);
    let act = || sys::rename(&from, &to, libc::RENAME_EXCHANGE);
    let back = || sys::rename(&to, &from, libc::RENAME_EXCHANGE);
    Probe::new(op::FILE_RENAME, selectors.clone(), &act).all(ctx)?;
    Probe::new(op::FILE_RENAME, selectors, &back).denied(ctx)
}

fn link_out(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let (from, to) = (format!("{dir}/file"), ctx.path("link"));
    put(&from);
    // SAFETY: Both paths are NUL-terminated and outlive the call.
    let act = || sys::with_paths(&from, &to, |from, to| unsafe { libc::link(from, to) });
    Probe::new(op::FILE_LINK, selectors, &act)
        .reset(&|| gone(&to))
        .all(ctx)
        .map(drop)
}

fn link_in(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = protected(ctx)?;
    let (from, to) = (ctx.path("file"), format!("{dir}/link"));
    put(&from);
    // SAFETY: Both paths are NUL-terminated and outlive the call.
    let act = || sys::with_paths(&from, &to, |from, to| unsafe { libc::link(from, to) });
    Probe::new(op::FILE_LINK, selectors, &act)
        .reset(&|| gone(&to))
        .all(ctx)
        .map(drop)
}

/// Probes a change of attributes of `protected/file`.
fn attribute(ctx: &Ctx, act: &dyn Fn(&str) -> i32) -> Result<crate::stage::Request, String> {
    let (selectors, _) = protected(ctx)?;
    let path = ctx.file("protected/file", b"content")?;
    Probe::new(op::FILE_ATTR, selectors, &|| act(&path)).all(ctx)
}

fn chmod(ctx: &mut Ctx) -> Result<(), String> {
    let request = attribute(ctx, &|path| {
        // SAFETY: The path is NUL-terminated and outlives the call.
        sys::with_path(path, |path| unsafe { libc::chmod(path, 0o4755) })
    })?;
    let mode = fact_of(&request, fact::MODE).map_or(0, |bytes| be(&bytes, 0, 4));
    ensure(mode & 0o7777 == 0o4755, || format!("MODE is {mode:o}"))
}

fn fchmod(ctx: &mut Ctx) -> Result<(), String> {
    attribute(ctx, &|path| match sys::open(path, libc::O_RDONLY) {
        // SAFETY: No pointers are passed.
        Ok(fd) => sys::out(unsafe { libc::fchmod(fd.as_raw_fd(), 0o640) }),
        Err(errno) => errno,
    })
    .map(drop)
}

fn chown(ctx: &mut Ctx) -> Result<(), String> {
    let request = attribute(ctx, &|path| {
        // SAFETY: The path is NUL-terminated and outlives the call.
        sys::with_path(path, |path| unsafe { libc::chown(path, 1000, 1001) })
    })?;
    let owner = fact_of(&request, fact::OWNER).unwrap_or_default();
    ensure((be(&owner, 0, 4), be(&owner, 4, 4)) == (1000, 1001), || {
        format!("OWNER is {owner:?}")
    })
}

fn fchown(ctx: &mut Ctx) -> Result<(), String> {
    attribute(ctx, &|path| match sys::open(path, libc::O_RDONLY) {
        // SAFETY: No pointers are passed.
        Ok(fd) => sys::out(unsafe { libc::fchown(fd.as_raw_fd(), 1000, u32::MAX) }),
        Err(errno) => errno,
    })
    .map(drop)
}

fn set_xattr(path: &str) -> i32 {
    sys::with_path(path, |path| {
        // SAFETY: NUL-terminated strings and one byte.
        unsafe { libc::setxattr(path, c"user.note".as_ptr(), c"x".as_ptr().cast(), 1, 0) }
    })
}

fn setxattr(ctx: &mut Ctx) -> Result<(), String> {
    let request = attribute(ctx, &set_xattr)?;
    ensure(fact_text(&request, fact::NAME) == "user.note", || {
        format!("NAME is {}", fact_text(&request, fact::NAME))
    })
}

/// With a grant for `act(1)`, which `rule` sends to a quorum, `act(2)` is another request; `act(1)` then succeeds.
pub(super) fn other_is_another_request(
    ctx: &Ctx,
    rule: &str,
    op: u16,
    act: impl Fn(i64) -> i32,
) -> Result<(), String> {
    ctx.worker_policy(rule)?;
    let agent = ctx.stepper("a", |_, value| i64::from(act(value)))?;
    let step = |what: &str, value, wanted| {
        expect_errno(
            what,
            i32::try_from(agent.step(value)?).unwrap_or(-1),
            wanted,
        )
    };
    step("without votes", 1, libc::EACCES)?;
    ctx.grant(&ctx.open_request(agent.agent, op)?)?;
    step("another value", 2, libc::EACCES)?;
    step("the granted value", 1, 0)
}

fn other_value_is_another_request(ctx: &mut Ctx) -> Result<(), String> {
    let path = ctx.file("file", b"content")?;
    let rule = format!("op=FILE_ATTR path={path} action=QUORUM");
    other_is_another_request(ctx, &rule, op::FILE_ATTR, |value| {
        let byte = u8::try_from(value).unwrap_or(0);
        sys::with_path(&path, |path| {
            // SAFETY: NUL-terminated strings and one byte.
            unsafe { libc::setxattr(path, c"user.note".as_ptr(), (&raw const byte).cast(), 1, 0) }
        })
    })
}

fn other_list_is_another_request(ctx: &mut Ctx) -> Result<(), String> {
    let path = ctx.file("file", b"content")?;
    let rule = format!("op=FILE_ATTR path={path} action=QUORUM");
    other_is_another_request(ctx, &rule, op::FILE_ATTR, |value| {
        set_list(&path, &acl(1000 + u32::try_from(value).unwrap_or(0)))
    })
}

fn removexattr(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, _) = protected(ctx)?;
    let path = ctx.file("protected/file", b"content")?;
    let act = || {
        // SAFETY: NUL-terminated strings.
        sys::with_path(&path, |path| unsafe {
            libc::removexattr(path, c"user.note".as_ptr())
        })
    };
    let reset = || {
        set_xattr(&path);
    };
    Probe::new(op::FILE_ATTR, selectors, &act)
        .reset(&reset)
        .all(ctx)
        .map(drop)
}

/// An access control list with an entry for user 1000, as the kernel encodes it.
/// A list with an entry for that user.
fn acl(user: u32) -> Vec<u8> {
    let mut list = 2u32.to_ne_bytes().to_vec();
    for (tag, permissions, id) in [
        (1u16, 6u16, u32::MAX),
        (2, 6, user),
        (4, 4, u32::MAX),
        (16, 6, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        list.extend(tag.to_ne_bytes());
        list.extend(permissions.to_ne_bytes());
        list.extend(id.to_ne_bytes());
    }
    list
}

const ACL: &std::ffi::CStr = c"system.posix_acl_access";

fn set_acl(path: &str) -> i32 {
    set_list(path, &acl(1000))
}

fn set_list(path: &str, list: &[u8]) -> i32 {
    sys::with_path(path, |path| {
        // SAFETY: NUL-terminated strings; the pointer and the length describe `list`.
        unsafe { libc::setxattr(path, ACL.as_ptr(), list.as_ptr().cast(), list.len(), 0) }
    })
}

fn access_control_list(ctx: &mut Ctx) -> Result<(), String> {
    attribute(ctx, &set_acl).map(drop)
}

fn access_control_list_removed(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, _) = protected(ctx)?;
    let path = ctx.file("protected/file", b"content")?;
    let act = || {
        // SAFETY: NUL-terminated strings.
        sys::with_path(&path, |path| unsafe {
            libc::removexattr(path, ACL.as_ptr())
        })
    };
    let reset = || {
        set_acl(&path);
    };
    Probe::new(op::FILE_ATTR, selectors, &act)
        .reset(&reset)
        .all(ctx)
        .map(drop)
}

fn inode_flags(ctx: &mut Ctx) -> Result<(), String> {
    /// `_IOW('f', 2, long)` and `FS_NODUMP_FL` (`include/uapi/linux/fs.h`).
    const FS_IOC_SETFLAGS: u64 = 0x4008_6602;
    static FS_NODUMP_FL: libc::c_int = 0x40;
    attribute(ctx, &|path| match sys::open(path, libc::O_RDONLY) {
        // SAFETY: The argument is an int that outlives the call.
        Ok(fd) => sys::out(unsafe {
            libc::ioctl(fd.as_raw_fd(), FS_IOC_SETFLAGS, &raw const FS_NODUMP_FL)
        }),
        Err(errno) => errno,
    })
    .map(drop)
}

fn utimes_stay_free(ctx: &mut Ctx) -> Result<(), String> {
    // Times are not among what FILE_ATTR covers: mode, owner, extended attributes, lists and flags.
    let path = ctx.file("file", b"content")?;
    ctx.worker_policy(&format!("op=FILE_ATTR path={path} action=DENY"))?;
    let act = || {
        sys::with_path(&path, |path| {
            // SAFETY: The path is NUL-terminated; no times are passed.
            unsafe { libc::utimensat(libc::AT_FDCWD, path, ptr::null(), 0) }
        })
    };
    expect_errno("utimensat", ctx.both(act)?.0, 0)
}

fn neighbours_stay_free(ctx: &mut Ctx) -> Result<(), String> {
    // A rule holds for what is below its path and for nothing else, not even for a longer name.
    let (selectors, dir) = protected(ctx)?;
    let beside = ctx.file("protected-not/file", b"x")?;
    let above = ctx.file("file", b"x")?;
    let below = ctx.file("protected/file", b"x")?;
    ctx.worker_policy(&format!("op=FILE_WRITE {selectors} action=DENY"))?;
    for path in [&beside, &above] {
        expect_errno(path, ctx.both(|| sys::open_write(path))?.0, 0)?;
    }
    ctx.denied_only_to_agents(&dir, || sys::open_write(&below))
}

/// The tests.
pub const TESTS: &[Test] = &[
    Test::new("file_read", read),
    Test::new("file_read_of_a_directory", read_of_a_directory),
    Test::new("file_write", write),
    Test::new(
        "file_write_for_both_is_judged_as_both",
        write_for_both_is_judged_as_both,
    ),
    Test::new(
        "file_access_mode_three_needs_both",
        access_mode_three_needs_both,
    ),
    Test::new("file_write_append", write_append),
    Test::new("file_write_by_o_trunc", write_by_o_trunc),
    Test::new("file_write_by_truncate", write_by_truncate),
    Test::new(
        "file_write_by_ftruncate_needs_an_open_for_write",
        write_by_ftruncate_needs_an_open_for_write,
    ),
    Test::new("file_create_by_open", create_by_open),
    Test::new("file_create_by_mknod", create_by_mknod),
    Test::new("file_create_fifo", create_fifo),
    Test::new("file_create_device", create_device),
    Test::new("file_create_directory", create_directory),
    Test::new("file_create_symlink", create_symlink),
    Test::new("file_create_socket", create_socket),
    Test::new("file_create_by_name_of_tmpfile", create_by_name_of_tmpfile),
    Test::new("file_write_tmpfile", tmpfile_is_a_write_below_the_directory),
    Test::new("file_delete", delete),
    Test::new("file_delete_directory", delete_directory),
    Test::new("file_rename_out", rename_out),
    Test::new("file_rename_in", rename_in),
    Test::new("file_rename_over", rename_over),
    Test::new("file_rename_exchange", rename_exchange),
    Test::new("file_link_out", link_out),
    Test::new("file_link_in", link_in),
    Test::new("file_attr_chmod", chmod),
    Test::new("file_attr_fchmod", fchmod),
    Test::new("file_attr_chown", chown),
    Test::new("file_attr_fchown", fchown),
    Test::new("file_attr_setxattr", setxattr),
    Test::new(
        "file_attr_other_value_is_another_request",
        other_value_is_another_request,
    ),
    Test::new("file_attr_removexattr", removexattr),
    Test::new("file_attr_access_control_list", access_control_list),
    Test::new(
        "file_attr_other_list_is_another_request",
        other_list_is_another_request,
    ),
    Test::new(
        "file_attr_access_control_list_removed",
        access_control_list_removed,
    ),
    Test::new("file_attr_inode_flags", inode_flags),
    Test::new("file_attr_times_stay_free", utimes_stay_free),
    Test::new("file_neighbours_stay_free", neighbours_stay_free),
];
