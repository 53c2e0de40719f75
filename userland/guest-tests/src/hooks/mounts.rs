// SPDX-License-Identifier: GPL-2.0

//! MOUNT.

use super::{
    probe::Probe,
    sys, //
};
use crate::{
    harness::{
        ensure,
        fact,
        fact_text,
        op,
        Ctx,
        Test, //
    },
    stage::expect_errno, //
};
use std::{
    ffi::CString,
    fs,
    os::fd::{
        AsRawFd,
        OwnedFd, //
    },
    ptr,
};

/// Unmounts everything below `path`, the latest mount first.
pub fn unmount_below(path: &str) {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for line in table.lines().rev() {
        if let Some(at) = line.split(' ').nth(1).filter(|at| at.starts_with(path)) {
            if let Ok(at) = CString::new(at) {
                // SAFETY: The path is NUL-terminated and outlives the call.
                unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
            }
        }
    }
}

fn umount(path: &str) -> i32 {
    // SAFETY: The path is NUL-terminated and outlives the call.
    sys::with_path(path, |path| unsafe { libc::umount2(path, 0) })
}

/// A directory to mount on, and the selector for it.
fn point(ctx: &Ctx) -> Result<(String, String), String> {
    let dir = ctx.dir("point")?;
    Ok((format!("path={dir}"), dir))
}

fn mount(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = point(ctx)?;
    let request = Probe::new(op::MOUNT, selectors, &|| {
        sys::mount("none", &dir, "tmpfs", 0)
    })
    .reset(&|| unmount_below(&dir))
    .all(ctx)?;
    ensure(fact_text(&request, fact::NAME) == "tmpfs", || {
        format!("NAME is {}", fact_text(&request, fact::NAME))
    })
}

fn bind(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = point(ctx)?;
    let source = ctx.dir("source")?;
    let request = Probe::new(op::MOUNT, selectors, &|| {
        sys::mount(&source, &dir, "", libc::MS_BIND)
    })
    .reset(&|| unmount_below(&dir))
    .all(ctx)?;
    ensure(fact_text(&request, fact::TARGET) == source, || {
        format!("TARGET is {}", fact_text(&request, fact::TARGET))
    })
}

fn remount(ctx: &mut Ctx) -> Result<(), String> {
    let (_, dir) = point(ctx)?;
    let free = sys::mount("none", &dir, "tmpfs", 0);
    expect_errno("mount of the fixture", free, 0)?;
    // The mount's own root: the rule is loaded when it is there.
    let act = || sys::mount("none", &dir, "", libc::MS_REMOUNT | libc::MS_NOATIME);
    Probe::new(op::MOUNT, format!("path={dir}"), &act).denied(ctx)
}

fn change_of_propagation(ctx: &mut Ctx) -> Result<(), String> {
    let (_, dir) = point(ctx)?;
    expect_errno(
        "mount of the fixture",
        sys::mount("none", &dir, "tmpfs", 0),
        0,
    )?;
    let act = || sys::mount("none", &dir, "", libc::MS_PRIVATE);
    Probe::new(op::MOUNT, format!("path={dir}"), &act)
        .all(ctx)
        .map(drop)
}

fn unmount(ctx: &mut Ctx) -> Result<(), String> {
    let (_, dir) = point(ctx)?;
    let reset = || {
        unmount_below(&dir);
        sys::mount("none", &dir, "tmpfs", 0);
    };
    // Another mount at the same place is another object, so the rule names the directory above.
    Probe::new(op::MOUNT, format!("path={}", ctx.path("")), &|| {
        umount(&dir)
    })
    .reset(&reset)
    .all(ctx)
    .map(drop)
}

fn move_of_a_mount(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = point(ctx)?;
    let source = ctx.dir("source")?;
    let reset = || {
        unmount_below(&dir);
        unmount_below(&source);
        sys::mount("none", &source, "tmpfs", 0);
    };
    Probe::new(op::MOUNT, selectors, &|| {
        sys::mount(&source, &dir, "", libc::MS_MOVE)
    })
    .reset(&reset)
    .denied(ctx)
    .map_err(|why| format!("to a protected place: {why}"))?;
    // Taking a mount away from a protected place is judged like putting one there.
    Probe::new(op::MOUNT, format!("path={source}"), &|| {
        sys::mount(&source, &dir, "", libc::MS_MOVE)
    })
    .reset(&reset)
    .denied(ctx)
    .map_err(|why| format!("from a protected place: {why}"))
}

/// `open_tree` of a copy of what is at `path`.
pub(super) fn open_tree(path: &str) -> Result<OwnedFd, i32> {
    /// `OPEN_TREE_CLONE`.
    const CLONE: i32 = 1;
    let path = sys::c(path);
    // SAFETY: The path is NUL-terminated and outlives the call.
    sys::fd(unsafe {
        libc::syscall(
            libc::SYS_open_tree,
            libc::AT_FDCWD,
            path.as_ptr(),
            CLONE | libc::O_CLOEXEC,
        )
    })
}

/// `move_mount` of a mount that was made apart.
pub(super) fn attach(mount: &OwnedFd, to: &str) -> i32 {
    /// `MOVE_MOUNT_F_EMPTY_PATH`.
    const EMPTY_PATH: i32 = 4;
    let to = sys::c(to);
    // SAFETY: Both paths are NUL-terminated and outlive the call.
    sys::out(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            EMPTY_PATH,
        )
    })
}

fn move_mount_of_a_tree(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = point(ctx)?;
    let source = ctx.dir("source")?;
    let act = || match open_tree(&source) {
        Ok(tree) => attach(&tree, &dir),
        Err(errno) => errno,
    };
    Probe::new(op::MOUNT, selectors, &act)
        .reset(&|| unmount_below(&dir))
        .all(ctx)
        .map(drop)
}

/// A new tmpfs by the new system calls, attached nowhere.
fn new_tmpfs() -> Result<OwnedFd, i32> {
    /// `FSCONFIG_CMD_CREATE`.
    const CREATE: i32 = 6;
    // SAFETY: Constant strings and null pointers where the calls allow them.
    unsafe {
        let context = sys::fd(libc::syscall(libc::SYS_fsopen, c"tmpfs".as_ptr(), 1))?;
        let errno = sys::out(libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            CREATE,
            ptr::null::<u8>(),
            ptr::null::<u8>(),
            0,
        ));
        if errno != 0 {
            return Err(errno);
        }
        sys::fd(libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, 0))
    }
}

/// `move_mount` of a mount from one place to another.
fn move_place(from: &str, to: &str) -> i32 {
    let (from, to) = (sys::c(from), sys::c(to));
    // SAFETY: Both paths are NUL-terminated and outlive the call.
    sys::out(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            libc::AT_FDCWD,
            from.as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            0,
        )
    })
}

fn move_mount_from_a_place(ctx: &mut Ctx) -> Result<(), String> {
    let (_, dir) = point(ctx)?;
    let source = ctx.dir("source")?;
    let reset = || {
        unmount_below(&dir);
        unmount_below(&source);
        sys::mount("none", &source, "tmpfs", 0);
    };
    Probe::new(op::MOUNT, format!("path={source}"), &|| {
        move_place(&source, &dir)
    })
    .reset(&reset)
    .denied(ctx)
}

fn move_mount_of_a_new_file_system(ctx: &mut Ctx) -> Result<(), String> {
    let (selectors, dir) = point(ctx)?;
    let act = || match new_tmpfs() {
        Ok(mount) => attach(&mount, &dir),
        Err(errno) => errno,
    };
    // Every new file system has a device number of its own, and the request binds it as its second object: a grant
    // is for that very mount, so the mount is made once, before.
    let reset = || unmount_below(&dir);
    let probe = Probe::new(op::MOUNT, selectors.clone(), &act).reset(&reset);
    probe.denied(ctx)?;
    probe.allowed(ctx)?;
    let mount = new_tmpfs().map_err(|errno| format!("a new tmpfs: errno {errno}"))?;
    ctx.worker_policy(&format!("op=MOUNT class=worker {selectors} action=QUORUM"))?;
    let agent = ctx.stepper("a", |_, _| i64::from(attach(&mount, &dir)))?;
    let step = |what: &str, wanted| {
        expect_errno(what, i32::try_from(agent.step(0)?).unwrap_or(-1), wanted)
    };
    step("without votes", libc::EACCES)?;
    ctx.grant(&ctx.open_request(agent.agent, op::MOUNT)?)?;
    step("granted", 0)
}

/// Makes `root` the root and the working directory of this process.
fn enter(root: &str) -> i32 {
    // SAFETY: The path is NUL-terminated and outlives the call.
    let errno = sys::with_path(root, |path| unsafe { libc::chroot(path) });
    if errno != 0 {
        return errno;
    }
    // SAFETY: A constant string.
    sys::out(unsafe { libc::chdir(c"/".as_ptr()) })
}

fn pivot_root(ctx: &mut Ctx) -> Result<(), String> {
    // In a mount namespace of its own, so that the guest keeps its root. The root of an initramfs cannot be pivoted:
    // a new root is entered first.
    let root = ctx.dir("root")?;
    let act = || {
        sys::in_child(|| {
            let inner = format!("{root}/inner");
            // SAFETY: No pointers are passed.
            let errno = sys::out(unsafe { libc::unshare(libc::CLONE_NEWNS) });
            if errno != 0 {
                return 200;
            }
            if sys::mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE) != 0
                || sys::mount("none", &root, "tmpfs", 0) != 0
                || fs::create_dir_all(format!("{inner}/old")).is_err()
                || enter(&root) != 0
                || sys::mount("none", "/inner", "tmpfs", 0) != 0
                || fs::create_dir_all("/inner/old").is_err()
            {
                return 201;
            }
            // SAFETY: Constant strings.
            sys::out(unsafe {
                libc::syscall(
                    libc::SYS_pivot_root,
                    c"/inner".as_ptr(),
                    c"/inner/old".as_ptr(),
                )
            })
        })
    };
    // The mounts before it are MOUNT too, so only what pivot_root names can be told apart: without a label it works,
    // and a DENY for all of MOUNT stops an agent at its first mount.
    ctx.worker_policy("op=MOUNT class=worker action=DENY")?;
    let (agent, free) = ctx.both(act)?;
    expect_errno("pivot_root (agent)", agent, 201)?;
    expect_errno("pivot_root (without a label)", free, 0)?;
    // Prepared by someone without a label, the call itself is judged.
    let before = ctx.now()?;
    let agent = ctx.as_bystander(|report| {
        // SAFETY: No pointers are passed.
        report.errno(sys::out(unsafe { libc::unshare(libc::CLONE_NEWNS) }));
        report.errno(sys::mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE));
        report.errno(sys::mount("none", &root, "tmpfs", 0));
        report.errno(i32::from(
            fs::create_dir_all(format!("{root}/inner/old")).is_err(),
        ));
        let (errno, id) = crate::worker::label("worker", "pivot");
        report.errno(errno);
        report.push(id.parse().unwrap_or(0));
        report.errno(enter(&root));
        // SAFETY: Constant strings.
        report.errno(sys::out(unsafe {
            libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c"inner/old".as_ptr())
        }));
    })?;
    for (at, what) in [
        (0, "unshare"),
        (1, "private"),
        (2, "mount"),
        (3, "mkdir"),
        (4, "label"),
        (6, "chroot"),
    ] {
        expect_errno(what, agent.errno(at)?, 0)?;
    }
    expect_errno("pivot_root itself", agent.errno(7)?, libc::EACCES)?;
    let id = u64::try_from(agent.value(5)?).map_err(|error| error.to_string())?;
    ctx.refused(before, id, op::MOUNT).map(drop)
}

/// The tests.
pub const TESTS: &[Test] = &[
    Test::new("mount", mount),
    Test::new("mount_bind", bind),
    Test::new("mount_remount", remount),
    Test::new("mount_change_of_propagation", change_of_propagation),
    Test::new("mount_umount", unmount),
    Test::new("mount_move", move_of_a_mount),
    Test::new("mount_move_mount_from_a_place", move_mount_from_a_place),
    Test::new("mount_move_mount_of_a_tree", move_mount_of_a_tree),
    Test::new(
        "mount_move_mount_of_a_new_file_system",
        move_mount_of_a_new_file_system,
    ),
    Test::new("mount_pivot_root", pivot_root),
];
