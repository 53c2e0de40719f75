// SPDX-License-Identifier: GPL-2.0

//! Hooks under every action that the other tests leave out, and every hook that looks for a path refusing what it cannot
//! judge: what `scripts/module-coverage` found empty.

use super::{
    exec::program,
    mounts,
    probe::Probe,
    ring::Ring,
    sys,
    tasks::bystander, //
};
use crate::{
    agent::{
        self,
        Child,
        Who, //
    },
    harness::{
        ensure,
        op,
        Ctx,
        Test, //
    },
    stage::{
        self,
        expect_errno, //
    },
};
use std::{
    fs,
    os::{
        fd::{
            AsRawFd,
            OwnedFd, //
        },
        unix::fs::PermissionsExt as _, //
    },
    ptr, //
};

fn fixture<T>(what: &str, result: Result<T, i32>) -> Result<T, String> {
    result.map_err(|errno| format!("{what}: errno {errno}"))
}

/// A process without a label that sends `file` for every byte it is sent, and our end of the socket.
fn sender(file: OwnedFd) -> Result<(Child, OwnedFd), String> {
    let (ours, theirs) = fixture("socketpair", sys::pair())?;
    let child = agent::spawn(&Who::Free, |_| {
        while sys::read(&theirs) == 0 && sys::send_fd(&theirs, &file) == 0 {}
        0
    })
    .map_err(|(_, text)| text)?;
    Ok((child, ours))
}

/// Asks a [`sender`] for its file; the errno, where no file means EACCES.
fn ask(end: &OwnedFd) -> i32 {
    match sys::write(end) {
        0 => match sys::receive_fd(end) {
            Ok(Some(_)) => 0,
            Ok(None) => libc::EACCES,
            Err(errno) => errno,
        },
        errno => errno,
    }
}

fn file_receive(ctx: &mut Ctx) -> Result<(), String> {
    let path = ctx.file("received", b"secret")?;
    let (_sender, end) = sender(fixture("open", sys::open(&path, libc::O_RDONLY))?)?;
    Probe::new(op::FILE_READ, format!("path={path}"), &|| ask(&end))
        .all(ctx)
        .map(drop)
}

fn signals_of_a_file_by_fcntl(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    let (end, _) = fixture("socketpair", sys::pair())?;
    let act =
        // SAFETY: No pointers are passed.
        || sys::out(unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETOWN, other.pid) });
    Probe::new(op::KILL, "", &act).all(ctx).map(drop)
}

/// `FIOSETOWN`.
const FIOSETOWN: u64 = 0x8901;

fn signals_of_a_file_by_ioctl(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    let (end, _) = fixture("socketpair", sys::pair())?;
    // SAFETY: The pid outlives the call.
    let act = || sys::out(unsafe { libc::ioctl(end.as_raw_fd(), FIOSETOWN, &raw const other.pid) });
    let probe = Probe::new(op::KILL, "", &act);
    probe.denied(ctx)?;
    probe.allowed(ctx)?;
    probe.beyond_approval(ctx)
}

/// `ioctl` as a 32-bit program calls it.
#[cfg(target_arch = "x86_64")]
fn ioctl_compat(fd: i32, command: u64, argument: u64) -> i32 {
    let mut result: i64 = 54;
    // SAFETY: System call 54 of the 32-bit table; `argument` is an address below 4 GiB that stays mapped. The other
    // registers that the entry changes are named.
    unsafe {
        std::arch::asm!(
            "xchg {descriptor}, rbx",
            "int 0x80",
            "xchg {descriptor}, rbx",
            descriptor = inout(reg) i64::from(fd) => _,
            inout("rax") result,
            in("rcx") command,
            in("rdx") argument,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let [a, b, c, d, ..] = result.to_ne_bytes();
    // The entry gives 32 bits.
    -i32::from_ne_bytes([a, b, c, d]).min(0)
}

#[cfg(target_arch = "x86_64")]
fn signals_of_a_file_by_ioctl_of_a_32_bit_program(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    let (end, _) = fixture("socketpair", sys::pair())?;
    let low = fixture(
        "mmap",
        sys::map(
            -1,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
        ),
    )?;
    // SAFETY: A page of this process that nothing else uses.
    unsafe { low.cast::<i32>().write(other.pid) };
    let act = || ioctl_compat(end.as_raw_fd(), FIOSETOWN, low as u64);
    let probe = Probe::new(op::KILL, "", &act);
    probe.denied(ctx)?;
    probe.allowed(ctx)?;
    probe.beyond_approval(ctx)
}

fn module_by_alias(ctx: &mut Ctx) -> Result<(), String> {
    /// `AF_PPPOX`, which the guest has no module for: the socket is refused either way.
    const AF_PPPOX: i32 = 24;
    let act = || sys::code(sys::socket(AF_PPPOX, libc::SOCK_STREAM));
    Probe::new(op::MODULE_LOAD, "", &act)
        .ok(libc::EAFNOSUPPORT)
        .refusal(libc::EAFNOSUPPORT)
        .all(ctx)
        .map(drop)
}

/// `fspick` and `fsconfig(FSCONFIG_CMD_RECONFIGURE)`: other options for a whole file system.
fn reconfigure(path: &str) -> i32 {
    /// `FSCONFIG_CMD_RECONFIGURE`.
    const RECONFIGURE: i32 = 7;
    let path = sys::c(path);
    // SAFETY: The path is NUL-terminated and outlives the call; null where the call allows it.
    unsafe {
        let picked = libc::syscall(libc::SYS_fspick, libc::AT_FDCWD, path.as_ptr(), 1);
        match sys::fd(picked) {
            Ok(context) => sys::out(libc::syscall(
                libc::SYS_fsconfig,
                context.as_raw_fd(),
                RECONFIGURE,
                ptr::null::<u8>(),
                ptr::null::<u8>(),
                0,
            )),
            Err(errno) => errno,
        }
    }
}

fn options_of_a_file_system(ctx: &mut Ctx) -> Result<(), String> {
    let dir = ctx.dir("point")?;
    expect_errno("mount", sys::mount("none", &dir, "tmpfs", 0), 0)?;
    let act = || reconfigure(&dir);
    let probe = Probe::new(op::MOUNT, format!("path={dir}"), &act);
    probe.denied(ctx)?;
    probe.allowed(ctx)?;
    probe.beyond_approval(ctx)
}

/// `pivot_root`.
fn pivot_root(new: &str, old: &str) -> i32 {
    sys::with_paths(new, old, |new, old| {
        // SAFETY: Both paths are NUL-terminated and outlive the call.
        let result = unsafe { libc::syscall(libc::SYS_pivot_root, new, old) };
        i32::try_from(result).unwrap_or(-1)
    })
}

fn pivot_of_the_root(ctx: &mut Ctx) -> Result<(), String> {
    // Not a mount, so the kernel says EINVAL, but only after the hook.
    let new = ctx.dir("new")?;
    let old = ctx.dir("new/old")?;
    Probe::new(op::MOUNT, format!("path={new}"), &|| pivot_root(&new, &old))
        .ok(libc::EINVAL)
        .all(ctx)
        .map(drop)
}

fn traced_by_the_parent(ctx: &mut Ctx) -> Result<(), String> {
    let act = || {
        // SAFETY: The request takes no pointers.
        sys::out(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) })
    };
    Probe::new(op::PTRACE, "", &act).allowed(ctx)?;
    ctx.worker_policy("op=PTRACE class=worker action=QUORUM")?;
    let agent = ctx.stepper("a", |_, _| i64::from(act()))?;
    let step =
        |what, wanted| expect_errno(what, i32::try_from(agent.step(0)?).unwrap_or(-1), wanted);
    step("without votes", libc::EACCES)?;
    ctx.grant(&ctx.open_request(agent.agent, op::PTRACE)?)?;
    step("granted", 0)
}

fn limit_of_another_process(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    let limit = libc::rlimit {
        rlim_cur: 64,
        rlim_max: 64,
    };
    let act = || {
        // SAFETY: The limit outlives the call; a null pointer where the call allows it.
        sys::out(unsafe { libc::prlimit(other.pid, libc::RLIMIT_NOFILE, &limit, ptr::null_mut()) })
    };
    Probe::new(op::KILL, "", &act).all(ctx).map(drop)
}

fn program_that_changes_the_user(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "setuid-program")?;
    let open = |path: &str, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
    open(&ctx.path(""), 0o755)
        .and_then(|()| open("/tmp/guest-tests", 0o755))
        .and_then(|()| open(&path, 0o4755))
        .map_err(|error| error.to_string())?;
    // As alice, whom the program would make root.
    let act = || {
        sys::in_child(|| {
            // SAFETY: No pointers are passed.
            match sys::out(unsafe { libc::seteuid(1000) }) {
                0 => sys::run(&[&path]),
                _ => 253,
            }
        })
    };
    Probe::new(op::SETUID, format!("path={path}"), &act)
        .by_quorum(ctx)
        .map(drop)
}

fn namespace_of_mounts(ctx: &mut Ctx) -> Result<(), String> {
    let act = || {
        sys::in_child(|| match sys::open("/proc/self/ns/mnt", libc::O_RDONLY) {
            // SAFETY: No pointers are passed.
            Ok(fd) => sys::out(unsafe { libc::setns(fd.as_raw_fd(), libc::CLONE_NEWNS) }),
            Err(_) => 253,
        })
    };
    // The kernel says EPERM here, whatever a security module says.
    let probe = Probe::new(op::MOUNT, "", &act).refusal(libc::EPERM);
    probe.denied(ctx)?;
    probe.allowed(ctx)?;
    probe.beyond_approval(ctx)
}

fn credentials_of_a_ring(ctx: &mut Ctx) -> Result<(), String> {
    let free = ctx.as_bystander(|report| {
        let own = Ring::new().and_then(|mut ring| {
            let personality = ring.register_personality()?;
            Ok(ring.nop_as(personality))
        });
        report.errno(own.unwrap_or_else(|errno| errno));
    })?;
    expect_errno("without a label", free.errno(0)?, 0)?;
    // The ring itself is IO_URING too, so the agent has it before the rules change.
    ctx.worker_policy("")?;
    let mut ring = None;
    let agent = ctx.stepper("a", move |_, step| {
        let result = match (step, &mut ring) {
            (0, _) => Ring::new().and_then(|new| {
                let personality = new.register_personality()?;
                ring = Some((new, personality));
                Ok(0)
            }),
            (_, Some((ring, personality))) => Ok(ring.nop_as(*personality)),
            _ => Err(254),
        };
        i64::from(result.unwrap_or_else(|errno| errno))
    })?;
    let step = |number, what: &str, wanted| {
        let got = i32::try_from(agent.step(number)?).unwrap_or(-1);
        expect_errno(what, got, wanted)
    };
    step(0, "a ring with credentials", 0)?;
    for (action, permissive, wanted) in [
        ("ALLOW", false, 0),
        ("AUDIT", false, 0),
        ("DENY", false, libc::EACCES),
        ("DENY", true, 0),
        ("QUORUM", false, libc::EACCES),
    ] {
        ctx.worker_policy(&format!("op=IO_URING class=worker action={action}"))?;
        if permissive {
            ctx.permissive()?;
        }
        step(1, &format!("{action}, permissive: {permissive}"), wanted)?;
    }
    ctx.grant(&ctx.open_request(agent.agent, op::IO_URING)?)?;
    step(1, "granted", 0)
}

/// SCTP: its sockets are judged where they bind and connect by lists of addresses.
fn lists_of_addresses(ctx: &mut Ctx) -> Result<(), String> {
    const IPPROTO_SCTP: i32 = 132;
    let raw = sys::v4([127, 0, 0, 1], 0);
    // SAFETY: The pointer and the length describe `raw`.
    let act = |option: i32, raw: &[u8]| unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_SEQPACKET, IPPROTO_SCTP);
        match sys::fd(socket) {
            Ok(socket) => sys::out(libc::setsockopt(
                socket.as_raw_fd(),
                IPPROTO_SCTP,
                option,
                raw.as_ptr().cast(),
                u32::try_from(raw.len()).unwrap_or(0),
            )),
            Err(errno) => errno,
        }
    };
    /// `SCTP_SOCKOPT_BINDX_ADD`.
    const BINDX_ADD: i32 = 100;
    Probe::new(op::NET_BIND, "", &|| act(BINDX_ADD, &raw))
        .all(ctx)
        .map(drop)?;
    /// `SCTP_SOCKOPT_CONNECTX`.
    const CONNECTX: i32 = 110;
    let peer = sys::v4([127, 0, 0, 1], 9);
    Probe::new(op::NET_CONNECT, "", &|| act(CONNECTX, &peer))
        .ok(libc::ECONNREFUSED)
        .denied(ctx)?;
    // Of a family that SCTP has not, and one that is cut: it asks before it looks.
    for raw in [[1, 0], [2, 0]] {
        ctx.worker_policy("")?;
        let (agent, free) = ctx.both(|| act(CONNECTX, &raw))?;
        expect_errno("no address (agent)", agent, libc::EACCES)?;
        expect_errno("no address (without a label)", free, libc::EINVAL)?;
    }
    Ok(())
}

fn send_to_the_unspecified_address(ctx: &mut Ctx) -> Result<(), String> {
    // It leads to the address that the socket is bound to, which is not what a rule would be asked about.
    ctx.worker_policy("op=NET_SEND class=worker addr=127.0.0.2 action=DENY")?;
    ctx.denied_only_to_agents(
        "a message to 0.0.0.0 from an address",
        || match sys::socket(libc::AF_INET, libc::SOCK_DGRAM) {
            Ok(socket) => match sys::bind(&socket, &sys::v4([127, 0, 0, 2], 0)) {
                0 => sys::send_to(&socket, &sys::v4([0; 4], 9), 0),
                errno => 1000 + errno,
            },
            Err(errno) => 1000 + errno,
        },
    )
}

/// What is prepared in a mount before it is taken out of the tree.
struct Prepared {
    /// The file `file`, open for reading.
    file: OwnedFd,
    /// A private mapping of it that cannot be executed.
    mapping: *mut libc::c_void,
    /// A copy of a tree, mounted nowhere.
    tree: OwnedFd,
}

/// One operation on what is in the working directory.
type Act = fn(&Prepared) -> i32;

/// An operation in a working directory that is in no tree of mounts; `path=` rules cannot be judged there.
const LOST: &[(u16, &str, Act)] = &[
    (op::FILE_READ, "open", |_| sys::open_read("file")),
    (op::FILE_WRITE, "truncate", |_| {
        // SAFETY: `with_path` gives a path that lives.
        sys::with_path("file", |path| unsafe { libc::truncate(path, 0) })
    }),
    (op::FILE_CREATE, "mknod", |_| {
        // SAFETY: As above.
        sys::with_path("new", |path| unsafe {
            libc::mknod(path, libc::S_IFREG | 0o644, 0)
        })
    }),
    (op::FILE_CREATE, "mkdir", |_| {
        // SAFETY: As above.
        sys::with_path("new", |path| unsafe { libc::mkdir(path, 0o755) })
    }),
    (op::FILE_CREATE, "symlink", |_| {
        // SAFETY: As above.
        sys::with_paths("file", "new", |to, path| unsafe { libc::symlink(to, path) })
    }),
    (op::FILE_DELETE, "unlink", |_| {
        // SAFETY: As above.
        sys::with_path("file", |path| unsafe { libc::unlink(path) })
    }),
    (op::FILE_DELETE, "rmdir", |_| {
        // SAFETY: As above.
        sys::with_path("empty", |path| unsafe { libc::rmdir(path) })
    }),
    (op::FILE_RENAME, "rename", |_| sys::rename("file", "new", 0)),
    (op::FILE_LINK, "link", |_| {
        // SAFETY: As above.
        sys::with_paths("file", "new", |from, to| unsafe { libc::link(from, to) })
    }),
    (op::FILE_ATTR, "chmod", |_| {
        // SAFETY: As above.
        sys::with_path("file", |path| unsafe { libc::chmod(path, 0o600) })
    }),
    (op::FILE_ATTR, "chown", |_| {
        // SAFETY: As above.
        sys::with_path("file", |path| unsafe { libc::chown(path, 1000, 1000) })
    }),
    (op::EXEC, "exec", |_| sys::run(&["./program"])),
    (op::MMAP_EXEC, "mmap", |made| {
        sys::code(sys::map(
            made.file.as_raw_fd(),
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_PRIVATE,
        ))
    }),
    (op::MMAP_EXEC, "mprotect", |made| {
        sys::mprotect(made.mapping, libc::PROT_READ | libc::PROT_EXEC)
    }),
    (op::UNIX_CONNECT, "connect", |_| {
        sys::socket(libc::AF_UNIX, libc::SOCK_STREAM)
            .map_or_else(|errno| errno, |fd| sys::connect(&fd, &sys::unix("socket")))
    }),
    (op::MOUNT, "mount", |_| {
        sys::mount("none", "empty", "tmpfs", 0)
    }),
    (op::MOUNT, "pivot_root", |_| pivot_root("empty", "empty")),
    (op::MOUNT, "move_mount", |made| {
        mounts::attach(&made.tree, "empty")
    }),
    (op::MODULE_LOAD, "finit_module", |made| {
        // SAFETY: A constant string of parameters.
        sys::out(unsafe {
            libc::syscall(
                libc::SYS_finit_module,
                made.file.as_raw_fd(),
                c"".as_ptr(),
                0,
            )
        })
    }),
    (op::KEXEC_LOAD, "kexec_file_load", |made| {
        let (file, none) = (made.file.as_raw_fd(), 4u64);
        // SAFETY: A constant string.
        sys::out(unsafe {
            libc::syscall(
                libc::SYS_kexec_file_load,
                file,
                -1,
                1u64,
                c"".as_ptr(),
                none,
            )
        })
    }),
];

/// Fills a new mount at `dir`.
fn fill(dir: &str) -> Result<(), String> {
    expect_errno("mount", sys::mount("none", dir, "tmpfs", 0), 0)?;
    let make = || {
        fs::write(format!("{dir}/file"), [0; 8192])?;
        fs::create_dir(format!("{dir}/empty"))?;
        let program = format!("{dir}/program");
        fs::copy("/usr/bin/true", &program)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755))
    };
    make().map_err(|error: std::io::Error| error.to_string())
}

/// Prepares what [`LOST`] needs, in the mount at `dir`, and goes there.
fn prepare(dir: &str) -> Result<Prepared, i32> {
    // SAFETY: `with_path` gives a path that lives.
    match sys::with_path(dir, |path| unsafe { libc::chdir(path) }) {
        0 => {}
        errno => return Err(errno),
    }
    let file = sys::open("file", libc::O_RDONLY)?;
    let mapping = sys::map(file.as_raw_fd(), libc::PROT_READ, libc::MAP_PRIVATE)?;
    let tree = mounts::open_tree("empty")?;
    Ok(Prepared {
        file,
        mapping,
        tree,
    })
}

/// In a mount that was taken out of the tree, nobody can say whether a rule's directory is above.
fn nowhere(ctx: &mut Ctx) -> Result<(), String> {
    let vault = ctx.dir("vault")?;
    let dir = ctx.dir("point")?;
    for (operation, what, act) in LOST {
        fill(&dir)?;
        let listener = fixture("socket", sys::socket(libc::AF_UNIX, libc::SOCK_STREAM))?;
        let bound = sys::bind(&listener, &sys::unix(&format!("{dir}/socket")));
        expect_errno("bind", bound, 0)?;
        expect_errno("listen", sys::listen(&listener), 0)?;
        let rule = format!("op={} class=worker path=", op::name(*operation));
        ctx.worker_policy(&format!("{rule}{vault} action=DENY"))?;
        let mut made = None;
        let place = dir.clone();
        let agent = ctx.stepper("a", move |_, step| {
            let result = match (step, &made) {
                (0, _) => prepare(&place).map(|new| {
                    made = Some(new);
                    0
                }),
                (_, Some(made)) => Ok(act(made)),
                _ => Err(254),
            };
            i64::from(result.unwrap_or_else(|errno| errno))
        })?;
        let step = |number| Ok::<_, String>(i32::try_from(agent.step(number)?).unwrap_or(-1));
        expect_errno(&format!("{what}: preparing"), step(0)?, 0)?;
        mounts::unmount_below(&dir);
        let failed = || stage::status()?.counter("failed");
        let before = failed()?;
        expect_errno(&format!("{what} nowhere"), step(1)?, libc::EACCES)?;
        ensure(failed()? > before, || {
            format!("{what} was refused, but not as one that cannot be judged")
        })?;
        agent.stop()?;
    }
    Ok(())
}

fn file_received_from_nowhere(ctx: &mut Ctx) -> Result<(), String> {
    let vault = ctx.dir("vault")?;
    let dir = ctx.dir("point")?;
    fill(&dir)?;
    let file = fixture("open", sys::open(&format!("{dir}/file"), libc::O_RDONLY))?;
    let (_sender, end) = sender(file)?;
    mounts::unmount_below(&dir);
    ctx.worker_policy("")?;
    expect_errno("no rule has to look", ctx.both(|| ask(&end))?.0, 0)?;
    ctx.worker_policy(&format!(
        "op=FILE_READ class=worker path={vault} action=DENY"
    ))?;
    ctx.denied_only_to_agents("a file that is nowhere", || ask(&end))
}

/// Refused by a QUORUM rule, and no request is made: what cannot be shown to approvers cannot be approved.
fn beyond_showing(
    ctx: &Ctx,
    operation: u16,
    what: &str,
    act: &dyn Fn() -> i32,
) -> Result<(), String> {
    ctx.worker_policy(&format!(
        "op={} class=worker action=QUORUM",
        op::name(operation)
    ))?;
    let agent = ctx.stepper("a", |_, _| i64::from(act()))?;
    let got = i32::try_from(agent.step(0)?).unwrap_or(-1);
    expect_errno(what, got, libc::EACCES)?;
    let open = ctx.open_count(agent.agent)?;
    ensure(open == 0, || format!("{what}: {open} requests"))?;
    let free = ctx.as_bystander(|report| report.errno(act()))?;
    expect_errno(&format!("{what}, without a label"), free.errno(0)?, 0)
}

/// So many directories of 255 bytes each make a path that is longer than any path may be.
const TOO_DEEP: usize = 17;

/// Goes down into so many directories, one in the other.
fn descend(depth: usize) -> i32 {
    let name = "n".repeat(255);
    for _ in 0..depth {
        // SAFETY: `with_path` gives a path that lives.
        let errno = sys::with_path(&name, |path| unsafe {
            libc::mkdir(path, 0o755);
            libc::chdir(path)
        });
        if errno != 0 {
            return 1000 + errno;
        }
    }
    0
}

/// Does something in a child process, so many directories below `top`.
fn below(top: &str, depth: usize, act: impl FnOnce() -> i32) -> i32 {
    sys::in_child(|| {
        // SAFETY: `with_path` gives a path that lives.
        let errno = sys::with_path(top, |path| unsafe { libc::chdir(path) });
        match errno {
            0 if descend(depth) == 0 => act(),
            _ => 253,
        }
    })
}

/// A directory with others in it, and the file `file` in the last one, whose path is too long.
fn deep(ctx: &Ctx) -> Result<String, String> {
    let top = ctx.dir("long")?;
    let made = below(&top, TOO_DEEP, || {
        i32::from(fs::write("file", b"x").is_err())
    });
    expect_errno("making directories and a file", made, 0)?;
    Ok(top)
}

fn too_long_a_path(ctx: &mut Ctx) -> Result<(), String> {
    let top = deep(ctx)?;
    let there = |act: fn() -> i32| below(&top, TOO_DEEP, act);
    beyond_showing(ctx, op::FILE_READ, "open", &|| {
        there(|| sys::open_read("file"))
    })?;
    beyond_showing(ctx, op::FILE_DELETE, "unlink", &|| {
        // SAFETY: `with_path` gives a path that lives.
        there(|| sys::with_path("file", |path| unsafe { libc::unlink(path) }))
    })?;
    beyond_showing(ctx, op::FILE_RENAME, "rename", &|| {
        there(|| {
            let _ = fs::write("old", b"x");
            sys::rename("old", "new", 0)
        })
    })?;
    beyond_showing(ctx, op::FILE_CREATE, "mkdir", &|| {
        // SAFETY: As above.
        there(|| sys::with_path("dir", |path| unsafe { libc::mkdir(path, 0o755) }))
    })
}

/// The path of the directory fits, and with the name in it it does not.
fn too_long_with_its_name(ctx: &mut Ctx) -> Result<(), String> {
    let top = deep(ctx)?;
    let name = "m".repeat(255);
    beyond_showing(ctx, op::FILE_CREATE, "mkdir", &|| {
        below(&top, TOO_DEEP - 2, || {
            // SAFETY: `with_path` gives a path that lives.
            sys::with_path(&name, |path| unsafe { libc::mkdir(path, 0o755) })
        })
    })
}

fn too_long_a_second_path(ctx: &mut Ctx) -> Result<(), String> {
    let (top, file) = (deep(ctx)?, ctx.file("short", b"x")?);
    beyond_showing(ctx, op::FILE_LINK, "link", &|| {
        below(&top, TOO_DEEP, || {
            // SAFETY: `with_paths` gives paths that live.
            sys::with_paths(&file, "link", |from, to| unsafe { libc::link(from, to) })
        })
    })
}

/// What is mounted has a short path, and a long one in its own file system.
fn too_long_a_path_in_the_file_system(ctx: &mut Ctx) -> Result<(), String> {
    let (top, point) = (deep(ctx)?, ctx.dir("point")?);
    let bound = below(&top, TOO_DEEP, || {
        sys::mount(".", &point, "", libc::MS_BIND)
    });
    expect_errno("bind mount", bound, 0)?;
    beyond_showing(ctx, op::FILE_READ, "open", &|| {
        sys::open_read(&format!("{point}/file"))
    })
}

fn too_long_a_target(ctx: &mut Ctx) -> Result<(), String> {
    let target = "t".repeat(1100);
    let link = ctx.path("link");
    beyond_showing(ctx, op::FILE_CREATE, "symlink", &|| {
        // SAFETY: `with_paths` gives paths that live.
        sys::with_paths(&target, &link, |to, path| unsafe {
            libc::symlink(to, path)
        })
    })
}

fn too_many_groups(ctx: &mut Ctx) -> Result<(), String> {
    let groups: Vec<u32> = (1_000_000..1_000_200).collect();
    beyond_showing(ctx, op::SETUID, "setgroups", &|| {
        sys::in_child(|| {
            // SAFETY: The length is that of the list.
            sys::out(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
        })
    })
}

fn too_large_a_module(ctx: &mut Ctx) -> Result<(), String> {
    // More than can be digested. Once, by the agent only: the kernel takes its time to copy that much.
    let content = vec![0u8; (256 << 20) + 1];
    let digest = "0".repeat(64);
    ctx.worker_policy(&format!(
        "op=MODULE_LOAD class=worker digest=sha256:{digest} action=ALLOW"
    ))?;
    let agent = ctx.as_agent("worker", "a", |report| {
        report.errno(super::kernel::init_module(&content));
    })?;
    expect_errno("init_module", agent.errno(0)?, libc::EACCES)
}

fn bind_mount_of_nothing(ctx: &mut Ctx) -> Result<(), String> {
    let (source, dir) = (ctx.path("nothing"), ctx.dir("point")?);
    ctx.worker_policy("op=MOUNT class=worker action=DENY")?;
    let (agent, free) = ctx.both(|| sys::mount(&source, &dir, "", libc::MS_BIND))?;
    expect_errno("bind mount (agent)", agent, libc::ENOENT)?;
    expect_errno("bind mount (without a label)", free, libc::ENOENT)
}

fn groups_of_netlink(ctx: &mut Ctx) -> Result<(), String> {
    const NETLINK_GENERIC: i32 = 16;
    // `struct sockaddr_nl`: the family, and the first group at 8.
    let mut raw = [0u8; 12];
    raw[0] = 16;
    raw[8] = 1;
    ctx.worker_policy("")?;
    let (agent, free) = ctx.both(|| {
        // SAFETY: No pointers are passed.
        let socket = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, NETLINK_GENERIC) };
        sys::fd(socket).map_or_else(|errno| errno, |socket| sys::bind(&socket, &raw))
    })?;
    expect_errno("a group by bind (agent)", agent, libc::EPERM)?;
    expect_errno("a group by bind (without a label)", free, 0)
}

fn class_that_is_no_name(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("")?;
    let (errno, text) = ctx.label_refused("not a name!", "a")?;
    expect_errno("label", errno, libc::ENOENT)?;
    ensure(text.contains("class"), || format!("it says: {text}"))
}

fn policy_from_elsewhere(ctx: &mut Ctx) -> Result<(), String> {
    let text = stage::with_header("elsewhere", "DEFAULT action=ALLOW\n")?;
    let there = ctx.as_bystander(|report| {
        // SAFETY: No pointers are passed.
        report.errno(sys::out(unsafe { libc::unshare(libc::CLONE_NEWNS) }));
        if let Err(refused) = stage::load_text(text.as_bytes()) {
            report.text(&refused.line);
        }
    })?;
    expect_errno("unshare", there.errno(0)?, 0)?;
    ensure(there.text.contains("policy_view"), || {
        format!("a policy from another mount namespace: {}", there.text)
    })
}

/// The tests.
pub const TESTS: &[Test] = &[
    Test::new("file_receive", file_receive),
    Test::new("file_fcntl", signals_of_a_file_by_fcntl),
    Test::new("file_ioctl", signals_of_a_file_by_ioctl),
    Test::new(
        "file_ioctl_of_a_32_bit_program",
        signals_of_a_file_by_ioctl_of_a_32_bit_program,
    ),
    Test::new("kernel_module_request", module_by_alias),
    Test::new("sb_remount", options_of_a_file_system),
    Test::new("sb_pivotroot", pivot_of_the_root),
    Test::new("ptrace_traceme", traced_by_the_parent),
    Test::new("task_setrlimit", limit_of_another_process),
    Test::new("bprm_creds_from_file", program_that_changes_the_user),
    Test::new("capable", namespace_of_mounts),
    Test::new("uring_override_creds", credentials_of_a_ring),
    Test::new("sctp_bind_connect", lists_of_addresses),
    Test::new("socket_sendmsg", send_to_the_unspecified_address),
    Test::new("nowhere", nowhere),
    Test::new("file_received_from_nowhere", file_received_from_nowhere),
    Test::new("too_long_a_path", too_long_a_path),
    Test::new("too_long_with_its_name", too_long_with_its_name),
    Test::new("too_long_a_second_path", too_long_a_second_path),
    Test::new(
        "too_long_a_path_in_the_file_system",
        too_long_a_path_in_the_file_system,
    ),
    Test::new("too_long_a_target", too_long_a_target),
    Test::new("too_many_groups", too_many_groups),
    Test::new("too_large_a_module", too_large_a_module),
    Test::new("bind_mount_of_nothing", bind_mount_of_nothing),
    Test::new("groups_of_netlink", groups_of_netlink),
    Test::new("policy_from_elsewhere", policy_from_elsewhere),
    Test::new("class_that_is_no_name", class_that_is_no_name),
];
