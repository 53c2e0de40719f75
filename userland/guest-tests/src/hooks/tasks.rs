// SPDX-License-Identifier: GPL-2.0

//! PTRACE, KILL and SETUID: what a task does to others, and whom it turns into.

use super::{
    exec::program,
    probe::Probe,
    sys, //
};
use crate::{
    agent::{
        self,
        Child,
        Who, //
    },
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
    os::unix::fs::PermissionsExt as _, //
    time::Duration,
};

/// A process without a label that waits until it is ended.
pub fn bystander() -> Result<Child, String> {
    agent::spawn(&Who::Free, |_| loop {
        std::thread::sleep(Duration::from_secs(1));
    })
    .map_err(|(_, text)| text)
}

/// A process without a label that ignores SIGUSR1 and waits.
fn deaf_bystander() -> Result<Child, String> {
    agent::spawn(&Who::Free, |_| {
        // SAFETY: Ignoring a signal installs no handler.
        unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    })
    .map_err(|(_, text)| text)
}

/// `PTRACE_SEIZE` and `PTRACE_DETACH`.
pub fn seize(pid: i32) -> i32 {
    // SAFETY: The requests take no pointers.
    unsafe {
        let errno = sys::out(libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0));
        if errno == 0 {
            libc::ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0);
            libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL);
            libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0);
        }
        errno
    }
}

fn ptrace_seize(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    let request = Probe::new(op::PTRACE, "", &|| seize(other.pid)).all(ctx)?;
    let task = fact_of(&request, fact::TASK).unwrap_or_default();
    ensure(
        be(&task, 0, 4) == u64::from(other.pid.unsigned_abs()) && be(&task, 4, 8) == 0,
        || format!("TASK is {task:?}"),
    )
}

fn ptrace_attach(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    // SAFETY: The requests take no pointers.
    let act = || unsafe {
        let errno = sys::out(libc::ptrace(libc::PTRACE_ATTACH, other.pid, 0, 0));
        if errno == 0 {
            libc::waitpid(other.pid, std::ptr::null_mut(), libc::__WALL);
            libc::ptrace(libc::PTRACE_DETACH, other.pid, 0, 0);
        }
        errno
    };
    Probe::new(op::PTRACE, "", &act).all(ctx).map(drop)
}

fn ptrace_traceme(ctx: &mut Ctx) -> Result<(), String> {
    // The child of an agent would be traced by its parent: of one agent, so nothing is asked. The agent's first task
    // has a parent without a label.
    let act = || {
        // SAFETY: The request takes no pointers.
        sys::out(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) })
    };
    ctx.worker_policy("op=PTRACE class=worker action=DENY")?;
    ctx.denied_only_to_agents("PTRACE_TRACEME", act)?;
    let own = ctx.as_agent("worker", "a", |report| report.errno(sys::in_child(act)))?;
    expect_errno("PTRACE_TRACEME of a child", own.errno(0)?, 0)
}

fn ptrace_by_reading_memory(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    let mut word = 7u64;
    let remote = (&raw mut word) as usize;
    let act = || {
        let mut here = 0u64;
        let local = libc::iovec {
            iov_base: (&raw mut here).cast(),
            iov_len: 8,
        };
        let there = libc::iovec {
            iov_base: remote as *mut libc::c_void,
            iov_len: 8,
        };
        // SAFETY: One vector each; the remote address is checked by the kernel.
        sys::out(unsafe { libc::process_vm_readv(other.pid, &local, 1, &there, 1, 0) } as i64)
    };
    // The kernel says EPERM here, whatever a security module says.
    Probe::new(op::PTRACE, "", &act)
        .refusal(libc::EPERM)
        .all(ctx)
        .map(drop)
}

fn ptrace_by_proc_mem(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    let path = format!("/proc/{}/mem", other.pid);
    let act = || sys::code(sys::open(&path, libc::O_RDWR));
    Probe::new(op::PTRACE, "", &act).all(ctx).map(drop)
}

fn ptrace_by_taking_a_descriptor(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    // SAFETY: No pointers are passed.
    let act = || unsafe {
        let pidfd = match sys::fd(libc::syscall(libc::SYS_pidfd_open, other.pid, 0)) {
            Ok(pidfd) => pidfd,
            Err(errno) => return errno,
        };
        sys::code(sys::fd(libc::syscall(
            libc::SYS_pidfd_getfd,
            std::os::fd::AsRawFd::as_raw_fd(&pidfd),
            0,
            0,
        )))
    };
    // The kernel says EPERM here, whatever a security module says.
    Probe::new(op::PTRACE, "", &act)
        .refusal(libc::EPERM)
        .all(ctx)
        .map(drop)
}

fn ptrace_of_its_own(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("op=PTRACE class=worker action=DENY")?;
    let agent = ctx.as_agent("worker", "a", |report| {
        // SAFETY: The agent is single threaded.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        report.errno(seize(pid));
        // SAFETY: A child of this process.
        unsafe { libc::kill(pid, libc::SIGKILL) };
        sys::wait(pid);
    })?;
    expect_errno("ptrace of a task of the same agent", agent.errno(0)?, 0)
}

fn ptrace_of_another_agent(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("op=PTRACE class=worker action=DENY")?;
    let other = ctx.stepper("other", |_, _| 0)?;
    let agent = ctx.as_agent("worker", "a", |report| report.errno(seize(other.pid)))?;
    expect_errno(
        "ptrace of another agent of the class",
        agent.errno(0)?,
        libc::EACCES,
    )?;
    expect_errno("ptrace without a label", seize(other.pid), 0)
}

fn kill(pid: i32, signal: i32) -> i32 {
    // SAFETY: No pointers are passed.
    sys::out(unsafe { libc::kill(pid, signal) })
}

fn kill_by_kill(ctx: &mut Ctx) -> Result<(), String> {
    let other = deaf_bystander()?;
    let request = Probe::new(op::KILL, "", &|| kill(other.pid, libc::SIGUSR1)).all(ctx)?;
    let signal = fact_of(&request, fact::COMMAND).map_or(0, |bytes| be(&bytes, 0, 4));
    ensure(signal == u64::from(libc::SIGUSR1.unsigned_abs()), || {
        format!("COMMAND is {signal}")
    })
}

fn kill_by_tgkill(ctx: &mut Ctx) -> Result<(), String> {
    let other = deaf_bystander()?;
    let act = || {
        // SAFETY: No pointers are passed.
        sys::out(unsafe { libc::syscall(libc::SYS_tgkill, other.pid, other.pid, libc::SIGUSR1) })
    };
    Probe::new(op::KILL, "", &act).all(ctx).map(drop)
}

fn kill_by_queue(ctx: &mut Ctx) -> Result<(), String> {
    let other = deaf_bystander()?;
    let value = libc::sigval {
        sival_ptr: std::ptr::null_mut(),
    };
    // SAFETY: The value is not used as a pointer.
    let act = || sys::out(unsafe { libc::sigqueue(other.pid, libc::SIGUSR1, value) });
    Probe::new(op::KILL, "", &act).all(ctx).map(drop)
}

fn kill_by_pidfd(ctx: &mut Ctx) -> Result<(), String> {
    let other = deaf_bystander()?;
    // SAFETY: Null where the call allows it.
    let act = || unsafe {
        match sys::fd(libc::syscall(libc::SYS_pidfd_open, other.pid, 0)) {
            Ok(pidfd) => sys::out(libc::syscall(
                libc::SYS_pidfd_send_signal,
                std::os::fd::AsRawFd::as_raw_fd(&pidfd),
                libc::SIGUSR1,
                std::ptr::null::<u8>(),
                0,
            )),
            Err(errno) => errno,
        }
    };
    Probe::new(op::KILL, "", &act).all(ctx).map(drop)
}

fn kill_of_a_group(ctx: &mut Ctx) -> Result<(), String> {
    let other = deaf_bystander()?;
    // SAFETY: No pointers are passed.
    let errno = sys::out(unsafe { libc::setpgid(other.pid, other.pid) });
    expect_errno("setpgid", errno, 0)?;
    Probe::new(op::KILL, "", &|| kill(-other.pid, libc::SIGUSR1))
        .all(ctx)
        .map(drop)
}

fn kill_everybody_spares_the_unlabelled(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    ctx.worker_policy("op=KILL class=worker action=DENY")?;
    // In a child of the agent: kill(-1) does not reach the caller, but its agent.
    ctx.as_agent("worker", "a", |report| {
        report.errno(sys::in_child(|| kill(-1, libc::SIGCONT)))
    })?;
    let own = ctx.as_agent("worker", "a", |_| {
        // SAFETY: Ignoring a signal installs no handler.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        sys::in_child(|| kill(-1, libc::SIGTERM));
    })?;
    drop(own);
    ensure(kill(other.pid, 0) == 0, || {
        "kill(-1) of an agent ended a process without a label".to_owned()
    })?;
    let state = fs::read_to_string(format!("/proc/{}/stat", other.pid)).unwrap_or_default();
    ensure(!state.contains(") Z"), || {
        format!("the process without a label is dead: {state}")
    })
}

fn kill_of_its_own(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("op=KILL class=worker action=DENY")?;
    let agent = ctx.as_agent("worker", "a", |report| {
        // SAFETY: The agent is single threaded.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            loop {
                std::thread::sleep(Duration::from_secs(1));
            }
        }
        report.errno(kill(pid, libc::SIGKILL));
        report.push(i64::from(sys::wait(pid)));
    })?;
    expect_errno("kill of a task of the same agent", agent.errno(0)?, 0)?;
    ensure(agent.value(1)? == 255, || {
        "the signal did not end it".to_owned()
    })
}

fn kill_probe_with_zero_stays_free(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    ctx.worker_policy("op=KILL class=worker action=DENY")?;
    expect_errno("kill with signal 0", ctx.both(|| kill(other.pid, 0))?.0, 0)?;
    ctx.denied_only_to_agents("kill with a signal", || kill(other.pid, libc::SIGCONT))
}

/// Runs a change of identity in a child, so that whoever calls stays who it is.
fn as_child(change: impl Fn() -> i32) -> i32 {
    sys::in_child(&change)
}

fn setuid(ctx: &mut Ctx) -> Result<(), String> {
    // SAFETY: No pointers are passed.
    let act = || as_child(|| sys::out(unsafe { libc::syscall(libc::SYS_setuid, 1000) }));
    let request = Probe::new(op::SETUID, "", &act).all(ctx)?;
    let shown = fact_text(&request, fact::NAME);
    ensure(
        shown.starts_with("uid=1000,1000,1000,1000 gid=0,0,0,0 groups="),
        || format!("NAME is {shown}"),
    )
}

fn setresuid(ctx: &mut Ctx) -> Result<(), String> {
    // SAFETY: No pointers are passed.
    let act = || as_child(|| sys::out(unsafe { libc::syscall(libc::SYS_setresuid, -1, 1000, -1) }));
    Probe::new(op::SETUID, "", &act).all(ctx).map(drop)
}

fn setfsuid(ctx: &mut Ctx) -> Result<(), String> {
    // setfsuid cannot fail: it gives the old user, twice when it was refused.
    let act = || {
        // SAFETY: No pointers are passed.
        as_child(|| unsafe {
            libc::syscall(libc::SYS_setfsuid, 1000);
            if libc::syscall(libc::SYS_setfsuid, 1000) == 1000 {
                0
            } else {
                libc::EACCES
            }
        })
    };
    Probe::new(op::SETUID, "", &act).denied(ctx)
}

fn setgid(ctx: &mut Ctx) -> Result<(), String> {
    // SAFETY: No pointers are passed.
    let act = || as_child(|| sys::out(unsafe { libc::syscall(libc::SYS_setgid, 1000) }));
    Probe::new(op::SETUID, "", &act).all(ctx).map(drop)
}

fn setgroups(ctx: &mut Ctx) -> Result<(), String> {
    let groups = [1000u32, 1001];
    let act =
        // SAFETY: Two groups of the array.
        || as_child(|| sys::out(unsafe { libc::syscall(libc::SYS_setgroups, 2, groups.as_ptr()) }));
    Probe::new(op::SETUID, "", &act).all(ctx).map(drop)
}

fn other_groups(ctx: &mut Ctx) -> Result<(), String> {
    super::files::other_is_another_request(ctx, "op=SETUID action=QUORUM", op::SETUID, |value| {
        let groups = [1000, 1000 + u32::try_from(value).unwrap_or(0)];
        // SAFETY: Two groups of the array.
        as_child(|| sys::out(unsafe { libc::syscall(libc::SYS_setgroups, 2, groups.as_ptr()) }))
    })
}

fn setuid_by_program(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "setuid-program")?;
    for directory in [ctx.path(""), "/tmp/guest-tests".to_owned()] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))
            .map_err(|error| error.to_string())?;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755))
        .map_err(|error| error.to_string())?;
    // As alice, whom the program would make root.
    let act = || {
        sys::in_child(|| {
            // SAFETY: No pointers are passed.
            let errno = sys::out(unsafe { libc::seteuid(1000) });
            if errno == 0 {
                sys::run(&[&path])
            } else {
                253
            }
        })
    };
    // Becoming alice is SETUID without an object; the rule names the program.
    let probe = Probe::new(op::SETUID, format!("path={path}"), &act);
    probe.denied(ctx)?;
    probe.allowed(ctx)
}

fn no_change_is_no_setuid(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("op=SETUID class=worker action=DENY")?;
    // SAFETY: No pointers are passed.
    let act = || as_child(|| sys::out(unsafe { libc::syscall(libc::SYS_setresuid, 0, 0, 0) }));
    expect_errno("setresuid to what it is", ctx.both(act)?.0, 0)
}

/// The tests.
pub const TESTS: &[Test] = &[
    Test::new("ptrace_seize", ptrace_seize),
    Test::new("ptrace_attach", ptrace_attach),
    Test::new("ptrace_traceme", ptrace_traceme),
    Test::new("ptrace_by_reading_memory", ptrace_by_reading_memory),
    Test::new("ptrace_by_proc_mem", ptrace_by_proc_mem),
    Test::new(
        "ptrace_by_taking_a_descriptor",
        ptrace_by_taking_a_descriptor,
    ),
    Test::new("ptrace_of_its_own", ptrace_of_its_own),
    Test::new("ptrace_of_another_agent", ptrace_of_another_agent),
    Test::new("kill", kill_by_kill),
    Test::new("kill_by_tgkill", kill_by_tgkill),
    Test::new("kill_by_queue", kill_by_queue),
    Test::new("kill_by_pidfd", kill_by_pidfd),
    Test::new("kill_of_a_group", kill_of_a_group),
    Test::new(
        "kill_everybody_spares_the_unlabelled",
        kill_everybody_spares_the_unlabelled,
    ),
    Test::new("kill_of_its_own", kill_of_its_own),
    Test::new(
        "kill_probe_with_zero_stays_free",
        kill_probe_with_zero_stays_free,
    ),
    Test::new("setuid", setuid),
    Test::new("setuid_setresuid", setresuid),
    Test::new("setuid_setfsuid", setfsuid),
    Test::new("setuid_setgid", setgid),
    Test::new("setuid_setgroups", setgroups),
    Test::new("setuid_other_groups_are_another_request", other_groups),
    Test::new("setuid_by_program", setuid_by_program),
    Test::new("setuid_no_change", no_change_is_no_setuid),
];
