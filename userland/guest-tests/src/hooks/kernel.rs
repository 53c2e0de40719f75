// SPDX-License-Identifier: GPL-2.0

//! MODULE_LOAD, KEXEC_LOAD, BPF, PERF, USERNS and IO_URING: doors into the kernel.

use super::{
    probe::Probe,
    sys, //
};
use crate::{
    harness::{
        content_digest,
        ensure,
        fact,
        fact_text,
        op,
        Ctx,
        Test, //
    },
    keys::sha256, //
};
use std::{fs, os::fd::AsRawFd, path::PathBuf, ptr};

/// A small signed module of the distribution that is not loaded, at a path below the scratch directory.
pub fn module(ctx: &Ctx) -> Result<String, String> {
    fn find(dir: &PathBuf) -> Option<PathBuf> {
        for entry in fs::read_dir(dir).ok()?.flatten() {
            let path = entry.path();
            if path.is_dir() {
                if let Some(found) = find(&path) {
                    return Some(found);
                }
            } else if path.file_name().is_some_and(|name| name == "dummy.ko") {
                return Some(path);
            }
        }
        None
    }
    let found = find(&PathBuf::from("/lib/modules")).ok_or("the guest has no dummy.ko")?;
    let content = fs::read(&found).map_err(|error| format!("{}: {error}", found.display()))?;
    ctx.file("dummy.ko", &content)
}

/// Unloads the test's module, if it is there.
pub fn unload() {
    // SAFETY: A constant string.
    unsafe { libc::syscall(libc::SYS_delete_module, c"dummy".as_ptr(), libc::O_NONBLOCK) };
}

/// `finit_module`.
pub fn finit_module(path: &str) -> i32 {
    match sys::open(path, libc::O_RDONLY) {
        // SAFETY: A constant string of parameters.
        Ok(fd) => sys::out(unsafe {
            libc::syscall(
                libc::SYS_finit_module,
                fd.as_raw_fd(),
                c"numdummies=0".as_ptr(),
                0,
            )
        }),
        Err(errno) => errno,
    }
}

/// `init_module`.
pub fn init_module(content: &[u8]) -> i32 {
    // SAFETY: The pointer and the length describe `content`; a constant string of parameters.
    sys::out(unsafe {
        libc::syscall(
            libc::SYS_init_module,
            content.as_ptr(),
            content.len(),
            c"numdummies=0".as_ptr(),
        )
    })
}

fn module_by_file(ctx: &mut Ctx) -> Result<(), String> {
    let path = module(ctx)?;
    let request = Probe::new(op::MODULE_LOAD, format!("path={path}"), &|| {
        finit_module(&path)
    })
    .reset(&unload)
    .all(ctx)?;
    unload();
    let content = fs::read(&path).map_err(|error| error.to_string())?;
    ensure(fact_text(&request, fact::PATH) == path, || {
        format!("PATH is {}", fact_text(&request, fact::PATH))
    })?;
    ensure(content_digest(&request) == sha256(&[&content]), || {
        "the content digest is not that of the module".to_owned()
    })
}

fn module_by_memory(ctx: &mut Ctx) -> Result<(), String> {
    let content = fs::read(module(ctx)?).map_err(|error| error.to_string())?;
    // No file, so a rule with a path does not reach it; one without does.
    let request = Probe::new(op::MODULE_LOAD, "", &|| init_module(&content))
        .reset(&unload)
        .all(ctx)?;
    unload();
    ensure(content_digest(&request) == sha256(&[&content]), || {
        "the content digest is not that of the module".to_owned()
    })
}

fn module_by_digest(ctx: &mut Ctx) -> Result<(), String> {
    let path = module(ctx)?;
    let content = fs::read(&path).map_err(|error| error.to_string())?;
    let digest = crate::stage::hex(&sha256(&[&content]));
    ctx.worker_policy(&format!(
        "op=MODULE_LOAD digest=sha256:{digest} action=ALLOW\nop=MODULE_LOAD action=DENY"
    ))?;
    unload();
    let (agent, _) = ctx.both(|| {
        let errno = finit_module(&path);
        unload();
        errno
    })?;
    unload();
    crate::stage::expect_errno("the known module", agent, 0)?;
    // One byte more than the kernel needs: another module.
    let mut other = content.clone();
    other.push(0);
    let (agent, free) = ctx.both(|| init_module(&other))?;
    unload();
    crate::stage::expect_errno("another module (agent)", agent, libc::EACCES)?;
    // Without a label the kernel itself judges the appended byte: it has no signature any more.
    ensure(free != libc::EACCES, || {
        "another module was refused without a label".to_owned()
    })
}

fn module_by_alias(ctx: &mut Ctx) -> Result<(), String> {
    // A socket of a family that only a module has makes the kernel ask for that module.
    /// `AF_PPPOX` has no user in the guest but needs `net-pf-24`.
    const AF_PPPOX: i32 = 24;
    ctx.worker_policy("op=MODULE_LOAD class=worker action=DENY")?;
    let before = ctx.now()?;
    let agent = ctx.as_agent("worker", "a", |report| {
        report.errno(sys::code(sys::socket(AF_PPPOX, libc::SOCK_STREAM)));
    })?;
    crate::stage::expect_errno("socket", agent.errno(0)?, libc::EAFNOSUPPORT)?;
    ctx.refused(before, agent.agent, op::MODULE_LOAD).map(drop)
}

fn kexec_by_segments(ctx: &mut Ctx) -> Result<(), String> {
    // No segments: harmless, and only asks to forget a loaded image.
    let act =
        // SAFETY: No pointers are passed.
        || sys::out(unsafe { libc::syscall(libc::SYS_kexec_load, 0, 0, ptr::null::<u8>(), 0) });
    let probe = Probe::new(op::KEXEC_LOAD, "", &act);
    probe.denied(ctx)?;
    probe.allowed(ctx)?;
    // No security module is shown the image, so nobody could say what was approved.
    probe.beyond_approval(ctx)
}

fn kexec_by_file(ctx: &mut Ctx) -> Result<(), String> {
    let image = ctx.file("image", &[0; 8192])?;
    // No kernel: ENOEXEC once it has been let through.
    let act = || match sys::open(&image, libc::O_RDONLY) {
        // SAFETY: A constant string.
        Ok(fd) => sys::out(unsafe {
            libc::syscall(
                libc::SYS_kexec_file_load,
                fd.as_raw_fd(),
                -1,
                1u64,
                c"".as_ptr(),
                4u64, /* no initramfs */
            )
        }),
        Err(errno) => errno,
    };
    Probe::new(op::KEXEC_LOAD, format!("path={image}"), &act)
        .ok(libc::ENOEXEC)
        .all(ctx)
        .map(drop)
}

/// `bpf(BPF_MAP_CREATE)` of an array of one u32.
pub fn bpf_map() -> i32 {
    let mut attributes = [0u32; 32];
    attributes[..4].copy_from_slice(&[2, 4, 4, 1]);
    // SAFETY: The buffer has the length that is passed.
    sys::code(sys::fd(unsafe {
        libc::syscall(libc::SYS_bpf, 0, attributes.as_ptr(), 128)
    }))
}

fn bpf(ctx: &mut Ctx) -> Result<(), String> {
    Probe::new(op::BPF, "", &bpf_map).all(ctx).map(drop)
}

/// `perf_event_open` of a software clock of this task, in user space or everywhere.
pub fn perf_event(kernel: bool) -> i32 {
    /// `exclude_kernel` and `exclude_hv` of `struct perf_event_attr`.
    const USER_ONLY: u32 = 0x60;
    let mut attributes = [0u32; 32];
    // Type software, size, config CPU clock.
    attributes[0] = 1;
    attributes[1] = 128;
    attributes[10] = if kernel { 0 } else { USER_ONLY };
    // SAFETY: The buffer has the length that it says.
    sys::code(sys::fd(unsafe {
        libc::syscall(libc::SYS_perf_event_open, attributes.as_ptr(), 0, -1, -1, 0)
    }))
}

fn perf(ctx: &mut Ctx) -> Result<(), String> {
    Probe::new(op::PERF, "", &|| perf_event(false))
        .all(ctx)
        .map(drop)
}

fn perf_of_the_kernel(ctx: &mut Ctx) -> Result<(), String> {
    // The kernel asks twice, for the event and for looking at the kernel: it is one operation all the same.
    Probe::new(op::PERF, "", &|| perf_event(true))
        .all(ctx)
        .map(drop)
}

fn userns_by_unshare(ctx: &mut Ctx) -> Result<(), String> {
    // In a child, so that the agent can try again.
    let act = || {
        sys::in_child(|| {
            // SAFETY: No pointers are passed.
            sys::out(unsafe { libc::unshare(libc::CLONE_NEWUSER) })
        })
    };
    Probe::new(op::USERNS, "", &act).all(ctx).map(drop)
}

/// `clone3` with these flags; the child ends at once.
pub fn clone3(flags: u64, cgroup: u64) -> i32 {
    let mut arguments = [0u64; 11];
    arguments[0] = flags;
    arguments[4] = u64::try_from(libc::SIGCHLD).unwrap_or(0);
    arguments[10] = cgroup;
    // SAFETY: The buffer has the length that is passed; without CLONE_VM the child has its own memory.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), 88) };
    if pid == 0 {
        // SAFETY: Ends the child.
        unsafe { libc::_exit(0) };
    }
    if pid > 0 {
        sys::wait(i32::try_from(pid).unwrap_or(-1));
    }
    sys::out(pid)
}

fn userns_by_clone3(ctx: &mut Ctx) -> Result<(), String> {
    let flags = u64::try_from(libc::CLONE_NEWUSER).unwrap_or(0);
    Probe::new(op::USERNS, "", &|| clone3(flags, 0))
        .all(ctx)
        .map(drop)
}

/// `io_uring_setup`; the ring's descriptor or the errno, with the parameters it was given.
pub fn ring(flags: u32) -> Result<(std::os::fd::OwnedFd, [u32; 30]), i32> {
    let mut parameters = [0u32; 30];
    parameters[2] = flags;
    let fd =
        // SAFETY: `struct io_uring_params` has 120 bytes.
        sys::fd(unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, parameters.as_mut_ptr()) })?;
    Ok((fd, parameters))
}

fn io_uring(ctx: &mut Ctx) -> Result<(), String> {
    Probe::new(op::IO_URING, "", &|| sys::code(ring(0)))
        .all(ctx)
        .map(drop)
}

fn io_uring_with_a_kernel_thread(ctx: &mut Ctx) -> Result<(), String> {
    /// `IORING_SETUP_SQPOLL`.
    const SQPOLL: u32 = 2;
    let act = || sys::code(ring(SQPOLL));
    let probe = Probe::new(op::IO_URING, "", &act);
    probe.denied(ctx)?;
    probe.allowed(ctx)
}

/// The tests.
pub const TESTS: &[Test] = &[
    Test::new("module_load_by_file", module_by_file),
    Test::new("module_load_by_memory", module_by_memory),
    Test::new("module_load_by_digest", module_by_digest),
    Test::new("module_load_by_alias", module_by_alias),
    Test::new("kexec_load_by_segments", kexec_by_segments),
    Test::new("kexec_load_by_file", kexec_by_file),
    Test::new("bpf", bpf),
    Test::new("perf", perf),
    Test::new("perf_of_the_kernel", perf_of_the_kernel),
    Test::new("userns_by_unshare", userns_by_unshare),
    Test::new("userns_by_clone3", userns_by_clone3),
    Test::new("io_uring", io_uring),
    Test::new(
        "io_uring_with_a_kernel_thread",
        io_uring_with_a_kernel_thread,
    ),
];
