// SPDX-License-Identifier: GPL-2.0

//! Ways round the hooks, each under the name by which it is known.
//!
//! Every test asserts what becomes of the attack and, as a control, that the same steps lead somewhere for a task
//! without a label. Where an attack is out of reach of the rule that one would write first, the test says which rule
//! stops it.

use super::{
    exec::program,
    kernel,
    mounts,
    ring::Ring,
    sys,
    tasks::bystander, //
};
use crate::{
    agent::{
        self,
        Who, //
    },
    harness::{
        ensure,
        op,
        Ctx,
        Test, //
    },
    stage::expect_errno, //
};
use std::{
    fs,
    os::{
        fd::{
            AsRawFd,
            OwnedFd, //
        },
        unix::fs::{
            symlink,
            PermissionsExt as _, //
        },
    },
    ptr,
    time::{
        Duration,
        Instant, //
    },
};

/// A protected directory with a file `file` and `sub/file`, that agents may not write to. Gives the directory.
fn vault(ctx: &Ctx) -> Result<String, String> {
    let dir = ctx.dir("vault")?;
    ctx.file("vault/file", b"secret")?;
    ctx.file("vault/sub/file", b"secret")?;
    ctx.worker_policy(&format!("op=FILE_WRITE path={dir} action=DENY"))?;
    Ok(dir)
}

fn io<T>(what: &str, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

fn proc_self_root(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    ctx.denied_only_to_agents("through /proc/self/root", || {
        sys::open_write(&format!("/proc/self/root{dir}/file"))
    })
}

fn dot_dot(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let path = format!(
        "{dir}/../../{}/vault/sub/../file",
        ctx.scratch
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
    );
    ctx.denied_only_to_agents("through ..", || sys::open_write(&path))
}

fn through_symlink(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let (one, two) = (ctx.path("to-file"), ctx.path("to-dir"));
    io("symlink", symlink(format!("{dir}/file"), &one))?;
    io("symlink", symlink(&dir, &two))?;
    ctx.denied_only_to_agents("through a symlink", || sys::open_write(&one))?;
    ctx.denied_only_to_agents("through a linked directory", || {
        sys::open_write(&format!("{two}/file"))
    })
}

fn through_hard_link(ctx: &mut Ctx) -> Result<(), String> {
    let file = ctx.file("file", b"secret")?;
    let other = ctx.path("elsewhere");
    io("link", fs::hard_link(&file, &other))?;
    // A rule that names a file holds for the inode, under whatever name. (One that names a directory holds for what is
    // reached below it: a second name outside that existed before is not. FILE_LINK keeps agents from making one.)
    ctx.worker_policy(&format!("op=FILE_WRITE path={file} action=DENY"))?;
    ctx.denied_only_to_agents("through a hard link", || sys::open_write(&other))
}

fn making_a_hard_link(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    ctx.worker_policy(&format!("op=FILE_WRITE,FILE_LINK path={dir} action=DENY"))?;
    let (from, to) = (format!("{dir}/file"), ctx.path("link"));
    let act = || match fs::hard_link(&from, &to) {
        Ok(()) => sys::open_write(&to),
        Err(error) => error.raw_os_error().unwrap_or(-1),
    };
    ctx.denied_only_to_agents("link, then write", act)
}

fn bind_mount(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    for (source, name) in [(dir.clone(), "file"), (format!("{dir}/sub"), "file")] {
        let at = ctx.dir("elsewhere")?;
        expect_errno("bind mount", sys::mount(&source, &at, "", libc::MS_BIND), 0)?;
        ctx.denied_only_to_agents("through a bind mount", || {
            sys::open_write(&format!("{at}/{name}"))
        })?;
        super::mounts::unmount_below(&at);
    }
    // A single file can be mounted too.
    let at = ctx.file("single", b"")?;
    expect_errno(
        "bind mount of a file",
        sys::mount(&format!("{dir}/file"), &at, "", libc::MS_BIND),
        0,
    )?;
    ctx.denied_only_to_agents("through a mounted file", || sys::open_write(&at))
}

fn bind_mount_by_the_agent(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let at = ctx.dir("elsewhere")?;
    let act = || {
        let errno = sys::mount(&format!("{dir}/sub"), &at, "", libc::MS_BIND);
        if errno != 0 {
            return 1000 + errno;
        }
        let errno = sys::open_write(&format!("{at}/file"));
        super::mounts::unmount_below(&at);
        errno
    };
    ctx.denied_only_to_agents("its own bind mount", act)
}

fn rename_the_protected_directory(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let moved = ctx.path("moved");
    io("rename", fs::rename(&dir, &moved))?;
    ctx.denied_only_to_agents("under its new name", || {
        sys::open_write(&format!("{moved}/file"))
    })?;
    // What has the old name now is something else.
    ctx.file("vault/file", b"other")?;
    expect_errno(
        "the old name",
        ctx.both(|| sys::open_write(&format!("{dir}/file")))?.0,
        0,
    )
}

fn rename_a_directory_above(ctx: &mut Ctx) -> Result<(), String> {
    let dir = ctx.dir("above/vault")?;
    ctx.file("above/vault/file", b"secret")?;
    ctx.worker_policy(&format!("op=FILE_WRITE,FILE_RENAME path={dir} action=DENY"))?;
    let (from, to) = (ctx.path("above"), ctx.path("renamed"));
    let agent = ctx.as_agent("worker", "a", |report| {
        report.errno(sys::rename(&from, &to, 0));
        report.errno(sys::open_write(&format!("{to}/vault/file")));
    })?;
    expect_errno("renaming a directory above", agent.errno(0)?, 0)?;
    expect_errno("writing after it", agent.errno(1)?, libc::EACCES)?;
    expect_errno(
        "writing without a label",
        sys::open_write(&format!("{to}/vault/file")),
        0,
    )
}

fn rename_exchange(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let other = ctx.dir("other")?;
    ctx.file("other/file", b"x")?;
    // The agent may rename here; protection goes where the directory goes.
    let agent = ctx.as_agent("worker", "a", |report| {
        report.errno(sys::rename(&dir, &other, libc::RENAME_EXCHANGE));
        report.errno(sys::open_write(&format!("{other}/file")));
        report.errno(sys::open_write(&format!("{dir}/file")));
    })?;
    expect_errno("the exchange", agent.errno(0)?, 0)?;
    expect_errno(
        "the protected directory under the other's name",
        agent.errno(1)?,
        libc::EACCES,
    )?;
    expect_errno("the other directory under its name", agent.errno(2)?, 0)
}

/// Keeps `file` open in a new agent: what labelling says.
fn label_with(file: &OwnedFd) -> (i32, String) {
    let keep = file.as_raw_fd();
    match agent::spawn(&Who::Agent("worker", "a"), move |_| i32::from(keep < 0)) {
        Ok(_) => (0, String::new()),
        Err(refused) => refused,
    }
}

fn descriptor_opened_earlier(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let path = format!("{dir}/file");
    for (flags, wanted) in [
        (libc::O_WRONLY, libc::EACCES),
        (libc::O_RDWR, libc::EACCES),
        (libc::O_RDONLY, 0),
        (libc::O_PATH, 0),
    ] {
        let file = sys::open(&path, flags).map_err(|errno| format!("open: {errno}"))?;
        let (errno, text) = label_with(&file);
        expect_errno(
            &format!("label with an open file, flags {flags:o}"),
            errno,
            wanted,
        )?;
        ensure(wanted == 0 || text.starts_with("inherited_file: "), || {
            format!("message \"{text}\"")
        })?;
    }
    Ok(())
}

fn descriptor_opened_earlier_to_read(ctx: &mut Ctx) -> Result<(), String> {
    let path = ctx.file("secret", b"secret")?;
    ctx.worker_policy(&format!("op=FILE_READ path={path} action=DENY"))?;
    let file = sys::open(&path, libc::O_RDONLY).map_err(|errno| format!("open: {errno}"))?;
    let (errno, text) = label_with(&file);
    expect_errno("label with an open file", errno, libc::EACCES)?;
    ensure(text.starts_with("inherited_file: "), || {
        format!("message \"{text}\"")
    })?;
    drop(file);
    drop(agent::spawn(&Who::Agent("worker", "a"), |_| 0).map_err(|(_, text)| text)?);
    Ok(())
}

fn directory_opened_earlier(ctx: &mut Ctx) -> Result<(), String> {
    // A directory may stay open: what is opened through it is judged by itself.
    let dir = vault(ctx)?;
    let file = sys::open(&dir, libc::O_PATH | libc::O_DIRECTORY)
        .map_err(|errno| format!("open: {errno}"))?;
    let act = || {
        // SAFETY: A constant string.
        sys::code(sys::fd(unsafe {
            libc::openat(file.as_raw_fd(), c"file".as_ptr(), libc::O_WRONLY)
        }))
    };
    ctx.denied_only_to_agents("openat below it", act)
}

fn mapping_made_earlier(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let path = format!("{dir}/file");
    // Mapped shared and writable, the descriptor closed, then labelled.
    let outcome = ctx.as_bystander(|report| {
        let Ok(file) = sys::open(&path, libc::O_RDWR) else {
            return;
        };
        let Ok(at) = sys::map(
            file.as_raw_fd(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
        ) else {
            return;
        };
        drop(file);
        let (errno, text) = crate::worker::label("worker", "mapped");
        report.errno(errno);
        report.text(&text);
        // SAFETY: The first byte of a mapping of a file of six bytes.
        unsafe { at.cast::<u8>().write_volatile(b'S') };
    })?;
    expect_errno(
        "label with a shared mapping that writes",
        outcome.errno(0)?,
        libc::EACCES,
    )?;
    ensure(outcome.text.starts_with("inherited_file: "), || {
        format!("message \"{}\"", outcome.text)
    })
}

fn descriptor_received_over_a_socket(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let path = format!("{dir}/file");
    let receive = |flags: i32| -> Result<(i64, i64), String> {
        let mut got = [-1, -1];
        for (slot, who) in got.iter_mut().zip([Who::Agent("worker", "a"), Who::Free]) {
            let (ours, theirs) = sys::pair().map_err(|errno| format!("socketpair: {errno}"))?;
            let child = agent::spawn(&who, |report| {
                match sys::receive_fd(&theirs) {
                    Ok(Some(fd)) if flags == libc::O_RDONLY => {
                        report.push(i64::from(sys::read(&fd)))
                    }
                    Ok(Some(fd)) => report.push(i64::from(sys::write(&fd))),
                    // The message arrives, the file does not (MSG_CTRUNC).
                    Ok(None) => report.push(-1),
                    Err(errno) => report.push(i64::from(errno)),
                }
                0
            })
            .map_err(|(_, text)| text)?;
            let file = sys::open(&path, flags).map_err(|errno| format!("open: {errno}"))?;
            expect_errno("sendmsg", sys::send_fd(&ours, &file), 0)?;
            *slot = child.wait()?.value(0)?;
        }
        Ok((got[0], got[1]))
    };
    ensure(receive(libc::O_WRONLY)? == (-1, 0), || {
        "a file for writing arrived, or did not without a label".to_owned()
    })?;
    ensure(receive(libc::O_RDONLY)? == (0, 0), || {
        "a file for reading did not arrive".to_owned()
    })
}

fn descriptor_taken_from_another_process(ctx: &mut Ctx) -> Result<(), String> {
    // pidfd_getfd is PTRACE; where that is allowed, the file is judged like one that is opened.
    let dir = vault(ctx)?;
    let file = sys::open(&format!("{dir}/file"), libc::O_WRONLY)
        .map_err(|errno| format!("open: {errno}"))?;
    let number = file.as_raw_fd();
    let holder = bystander()?;
    drop(file);
    // SAFETY: No pointers are passed.
    let act = || unsafe {
        match sys::fd(libc::syscall(libc::SYS_pidfd_open, holder.pid, 0)) {
            Ok(pidfd) => sys::code(sys::fd(libc::syscall(
                libc::SYS_pidfd_getfd,
                pidfd.as_raw_fd(),
                number,
                0,
            ))),
            Err(errno) => errno,
        }
    };
    ctx.denied_only_to_agents("pidfd_getfd", act)
}

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

fn ld_so_file(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "program")?;
    let act = || sys::run(&[LOADER, &path]);
    // EXEC of the file does not see this; MMAP_EXEC of the file does.
    ctx.worker_policy(&format!("op=EXEC,MMAP_EXEC path={path} action=DENY"))?;
    let (agent, free) = ctx.both(act)?;
    expect_errno("without a label", free, 0)?;
    ensure(agent >= 1000, || {
        format!("ld.so ran the program for an agent: {agent}")
    })?;
    // And where programs are listed, the loader is not one of them.
    ctx.policy(&format!(
        "class worker\nop=EXEC path={path} action=ALLOW\nDEFAULT op=EXEC action=DENY\nDEFAULT action=ALLOW\n"
    ))?;
    ctx.denied_only_to_agents("ld.so where programs are listed", act)?;
    expect_errno("the listed program", ctx.both(|| sys::run(&[&path]))?.0, 0)
}

fn interpreter_given_the_file(ctx: &mut Ctx) -> Result<(), String> {
    let script = ctx.file("script", b"exit 0\n")?;
    io(
        "chmod",
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)),
    )?;
    let shell = || sys::run(&["/usr/bin/busybox", "sh", &script]);
    // To the kernel the script is data of the shell: EXEC of the script does not cover it, FILE_READ does.
    ctx.worker_policy(&format!("op=EXEC path={script} action=DENY"))?;
    expect_errno("EXEC rule (documented: it runs)", ctx.both(shell)?.0, 0)?;
    ctx.worker_policy(&format!("op=EXEC,FILE_READ path={script} action=DENY"))?;
    let (agent, free) = ctx.both(shell)?;
    expect_errno("without a label", free, 0)?;
    ensure(agent > 1000, || {
        format!("the shell read the script for an agent: {agent}")
    })?;
    let python = ctx.file("script.py", b"pass\n")?;
    ctx.worker_policy(&format!("op=FILE_READ path={python} action=DENY"))?;
    let (agent, free) = ctx.both(|| sys::run(&["/usr/bin/python3", "-S", &python]))?;
    expect_errno("python3 without a label", free, 0)?;
    ensure(agent > 1000, || {
        format!("python3 read the script for an agent: {agent}")
    })
}

/// A policy under which agents run nothing but what is in `/usr`.
const ONLY_USR: &str =
    "class worker\nop=EXEC,MMAP_EXEC path=/usr action=ALLOW\nDEFAULT op=EXEC,MMAP_EXEC action=DENY\nDEFAULT action=ALLOW\n";

fn memfd_exec(ctx: &mut Ctx) -> Result<(), String> {
    ctx.policy(ONLY_USR)?;
    let act = || match sys::memfd("/usr/bin/true") {
        Ok(memory) => sys::exec_fd(&memory),
        Err(errno) => errno,
    };
    ctx.denied_only_to_agents("execveat of a memfd", act)?;
    let by_name = || match sys::memfd("/usr/bin/true") {
        Ok(memory) => {
            // A child needs it open.
            // SAFETY: No pointers are passed.
            unsafe { libc::fcntl(memory.as_raw_fd(), libc::F_SETFD, 0) };
            sys::run(&[&sys::proc_fd(&memory)])
        }
        Err(errno) => errno,
    };
    ctx.denied_only_to_agents("execve of a memfd's name", by_name)?;
    expect_errno(
        "what is in /usr",
        ctx.both(|| sys::run(&["/usr/bin/true"]))?.0,
        0,
    )
}

fn tmpfile_exec(ctx: &mut Ctx) -> Result<(), String> {
    ctx.policy(ONLY_USR)?;
    let dir = ctx.path("");
    let act = || {
        let Ok(file) = sys::open(&dir, libc::O_TMPFILE | libc::O_RDWR) else {
            return -1;
        };
        let file = fs::File::from(file);
        let copy = || -> std::io::Result<()> {
            std::io::copy(&mut fs::File::open("/usr/bin/true")?, &mut &file)?;
            file.set_permissions(fs::Permissions::from_mode(0o755))
        };
        if copy().is_err() {
            return -1;
        }
        // A file that is open for writing cannot be executed: open it again.
        match sys::open(&sys::proc_fd(&file), libc::O_RDONLY) {
            Ok(again) => {
                drop(file);
                sys::exec_fd(&again)
            }
            Err(errno) => errno,
        }
    };
    ctx.denied_only_to_agents("execveat of an O_TMPFILE", act)
}

fn mprotect_of_a_written_page(ctx: &mut Ctx) -> Result<(), String> {
    ctx.policy(ONLY_USR)?;
    let page = |written: bool| {
        let Ok(file) = sys::open("/usr/bin/true", libc::O_RDONLY) else {
            return -1;
        };
        let Ok(at) = sys::map(
            file.as_raw_fd(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE,
        ) else {
            return -1;
        };
        if written {
            // SAFETY: The first byte of a private mapping.
            unsafe { at.cast::<u8>().write_volatile(0xc3) };
        }
        sys::mprotect(at, libc::PROT_READ | libc::PROT_EXEC)
    };
    ctx.denied_only_to_agents("mprotect of a written page of a permitted file", || {
        page(true)
    })?;
    expect_errno(
        "mprotect of an unwritten page of it",
        ctx.both(|| page(false))?.0,
        0,
    )?;
    let direct = || match sys::open("/usr/bin/true", libc::O_RDONLY) {
        Ok(file) => sys::code(sys::map(
            file.as_raw_fd(),
            libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
            libc::MAP_PRIVATE,
        )),
        Err(errno) => errno,
    };
    ctx.denied_only_to_agents("a private mapping that is writable and executable", direct)
}

fn write_then_map_twice(ctx: &mut Ctx) -> Result<(), String> {
    // One memfd mapped twice, once to write and once to execute.
    ctx.policy(ONLY_USR)?;
    let act = || match sys::memfd("/usr/bin/true") {
        Ok(memory) => sys::code(sys::map(
            memory.as_raw_fd(),
            libc::PROT_READ | libc::PROT_EXEC,
            libc::MAP_SHARED,
        )),
        Err(errno) => errno,
    };
    ctx.denied_only_to_agents("the executable side", act)
}

fn other_calls_than_write(ctx: &mut Ctx) -> Result<(), String> {
    // Each of them needs a descriptor that was opened for writing; one for reading does not do.
    let dir = vault(ctx)?;
    let path = format!("{dir}/file");
    let source = ctx.file("source", b"overwritten")?;
    type Call = fn(i32, i32) -> i32;
    let calls: [(&str, Call); 6] = [
        ("fallocate", |to, _| {
            // SAFETY: No pointers are passed.
            sys::out(unsafe { libc::fallocate(to, 0, 0, 4096) })
        }),
        ("ftruncate", |to, _| {
            // SAFETY: No pointers are passed.
            sys::out(unsafe { libc::ftruncate(to, 1) })
        }),
        ("copy_file_range", |to, from| {
            // SAFETY: Null pointers, where the call allows them.
            sys::out(unsafe {
                libc::copy_file_range(from, ptr::null_mut(), to, ptr::null_mut(), 4, 0)
            } as i64)
        }),
        ("sendfile", |to, from| {
            // SAFETY: As above.
            sys::out(unsafe { libc::sendfile(to, from, ptr::null_mut(), 4) } as i64)
        }),
        ("splice", |to, _| {
            let mut pipe = [0; 2];
            // SAFETY: Room for two descriptors; one byte of a constant; null pointers.
            unsafe {
                libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC);
                libc::write(pipe[1], c"x".as_ptr().cast(), 1);
                sys::out(libc::splice(pipe[0], ptr::null_mut(), to, ptr::null_mut(), 1, 0) as i64)
            }
        }),
        ("shared mapping", |to, _| {
            sys::code(sys::map(
                to,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
            ))
        }),
    ];
    for (name, call) in calls {
        let act = |flags| match (sys::open(&path, flags), sys::open(&source, libc::O_RDONLY)) {
            (Ok(to), Ok(from)) => call(to.as_raw_fd(), from.as_raw_fd()),
            (Err(errno), _) | (_, Err(errno)) => errno,
        };
        io("fixture", fs::write(&path, b"secret"))?;
        ctx.denied_only_to_agents(&format!("{name} after an open for writing"), || {
            act(libc::O_RDWR)
        })?;
        io("fixture", fs::write(&path, b"secret"))?;
        let (agent, _) = ctx.both(|| act(libc::O_RDONLY))?;
        ensure(
            [libc::EBADF, libc::EINVAL, libc::EACCES].contains(&agent),
            || format!("{name} to a descriptor for reading: errno {agent}"),
        )?;
        ensure(io("fixture", fs::read(&path))? == b"secret", || {
            format!("{name} changed the file")
        })?;
    }
    Ok(())
}

/// Runs the write to the vault in a kind of descendant that `descend` makes.
fn descendant(
    ctx: &Ctx,
    what: &str,
    descend: &dyn Fn(&dyn Fn() -> i32) -> i32,
) -> Result<(), String> {
    let dir = vault(ctx)?;
    let path = format!("{dir}/file");
    ctx.denied_only_to_agents(what, || descend(&|| sys::open_write(&path)))
}

fn double_fork(ctx: &mut Ctx) -> Result<(), String> {
    // The grandchild outlives its parent and reports through a pipe.
    descendant(ctx, "double fork", &|act| {
        let mut pipe = [0; 2];
        // SAFETY: Room for two descriptors.
        unsafe { libc::pipe(pipe.as_mut_ptr()) };
        sys::in_child(|| {
            // SAFETY: Single threaded.
            if unsafe { libc::fork() } == 0 {
                std::thread::sleep(Duration::from_millis(100));
                let errno = act();
                // SAFETY: Four bytes of a local.
                unsafe {
                    libc::write(pipe[1], (&raw const errno).cast(), 4);
                    libc::_exit(0);
                }
            }
            0
        });
        let mut errno = -1i32;
        // SAFETY: Room for four bytes.
        unsafe { libc::read(pipe[0], (&raw mut errno).cast(), 4) };
        errno
    })
}

fn setsid(ctx: &mut Ctx) -> Result<(), String> {
    descendant(ctx, "setsid", &|act| {
        sys::in_child(|| {
            // SAFETY: No pointers are passed.
            unsafe { libc::setsid() };
            act()
        })
    })
}

fn vfork(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let command = format!("echo x > {dir}/file");
    // posix_spawn uses CLONE_VFORK | CLONE_VM.
    let act = || match std::process::Command::new("/usr/bin/busybox")
        .args(["sh", "-c", &command])
        .stderr(std::process::Stdio::null())
        .status()
    {
        Ok(status) if status.success() => 0,
        Ok(_) => libc::EACCES,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    };
    ctx.denied_only_to_agents("posix_spawn of a shell", act)
}

fn namespaces(ctx: &mut Ctx) -> Result<(), String> {
    for (name, flag) in [
        ("mount", libc::CLONE_NEWNS),
        ("pid", libc::CLONE_NEWPID),
        ("net", libc::CLONE_NEWNET),
        ("uts", libc::CLONE_NEWUTS),
        ("ipc", libc::CLONE_NEWIPC),
        ("cgroup", libc::CLONE_NEWCGROUP),
        ("user", libc::CLONE_NEWUSER),
    ] {
        descendant(ctx, &format!("{name} namespace"), &|act| {
            sys::in_child(|| {
                // SAFETY: No pointers are passed.
                if unsafe { libc::unshare(flag) } != 0 {
                    return 200;
                }
                sys::in_child(act)
            })
        })?;
    }
    Ok(())
}

fn chroot(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let act = || {
        sys::in_child(|| {
            // SAFETY: NUL-terminated paths that outlive the calls.
            if sys::with_path(&dir, |path| unsafe { libc::chroot(path) }) != 0 {
                return 200;
            }
            sys::open_write("/file")
        })
    };
    ctx.denied_only_to_agents("chroot into it", act)
}

fn clone3_into_cgroup(ctx: &mut Ctx) -> Result<(), String> {
    /// `CLONE_INTO_CGROUP`.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let group = format!("/sys/fs/cgroup/guest-tests-{}", std::process::id());
    io("cgroup", fs::create_dir_all(&group))?;
    let result = descendant(ctx, "clone3 into another cgroup", &|act| {
        let Ok(cgroup) = sys::open(&group, libc::O_PATH | libc::O_DIRECTORY) else {
            return 200;
        };
        let mut arguments = [0u64; 11];
        arguments[0] = INTO_CGROUP;
        arguments[4] = u64::from(libc::SIGCHLD.unsigned_abs());
        arguments[10] = u64::from(cgroup.as_raw_fd().unsigned_abs());
        // SAFETY: The buffer has the length that is passed; the child has memory of its own.
        let pid = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), 88) };
        match pid {
            0 => {
                let errno = act();
                // SAFETY: Ends the child.
                unsafe { libc::_exit(errno) }
            }
            pid if pid > 0 => sys::wait(i32::try_from(pid).unwrap_or(-1)),
            _ => 201,
        }
    });
    let _ = fs::remove_dir(&group);
    result
}

fn threads(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let path = format!("{dir}/file");
    ctx.denied_only_to_agents("a thread", || {
        let path = path.clone();
        std::thread::spawn(move || sys::open_write(&path))
            .join()
            .unwrap_or(-1)
    })
}

fn io_uring_open(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let path = sys::c(&format!("{dir}/file"));
    for asynchronous in [false, true] {
        let act = || match Ring::new() {
            Ok(mut ring) => ring.open(&path, libc::O_WRONLY, asynchronous),
            Err(errno) => 1000 + errno,
        };
        ctx.denied_only_to_agents(
            &format!("io_uring openat, asynchronous {asynchronous}"),
            act,
        )?;
    }
    Ok(())
}

fn io_uring_made_before_the_label(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let path = sys::c(&format!("{dir}/file"));
    // A ring made before, by the same task: what it submits afterwards is judged as the agent's.
    let outcome = ctx.as_bystander(|report| {
        let Ok(mut ring) = Ring::new() else {
            return;
        };
        report.errno(ring.open(&path, libc::O_WRONLY, true));
        let (errno, _) = crate::worker::label("worker", "ring");
        report.errno(errno);
        report.errno(ring.open(&path, libc::O_WRONLY, false));
        report.errno(ring.open(&path, libc::O_WRONLY, true));
    })?;
    expect_errno("before the label", outcome.errno(0)?, 0)?;
    match outcome.errno(1)? {
        // A worker thread of the ring shares the task's memory and files: labelling may be refused for that.
        libc::EBUSY => Ok(()),
        errno => {
            expect_errno("label", errno, 0)?;
            expect_errno("after the label", outcome.errno(2)?, libc::EACCES)?;
            expect_errno(
                "after the label, by a worker",
                outcome.errno(3)?,
                libc::EACCES,
            )
        }
    }
}

fn ptrace_of_the_unlabelled(ctx: &mut Ctx) -> Result<(), String> {
    let other = bystander()?;
    ctx.worker_policy("op=PTRACE action=DENY")?;
    ctx.denied_only_to_agents("PTRACE_SEIZE", || super::tasks::seize(other.pid))
}

fn deputy(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let name = ctx.path("deputy.socket");
    let path = format!("{dir}/file");
    // A service without a label that overwrites the file for whoever connects.
    let server = sys::socket(libc::AF_UNIX, libc::SOCK_STREAM)
        .map_err(|errno| format!("socket: {errno}"))?;
    expect_errno("bind", sys::bind(&server, &sys::unix(&name)), 0)?;
    expect_errno("listen", sys::listen(&server), 0)?;
    let target = path.clone();
    let _deputy = agent::spawn(&Who::Free, move |_| loop {
        if let Ok(peer) =
            // SAFETY: Null pointers where the call allows them.
            sys::fd(unsafe {
                libc::accept(server.as_raw_fd(), ptr::null_mut(), ptr::null_mut())
            })
        {
            let _ = fs::write(&target, b"by the deputy");
            sys::write(&peer);
        }
    })
    .map_err(|(_, text)| text)?;
    let ask = || match sys::socket(libc::AF_UNIX, libc::SOCK_STREAM) {
        Ok(socket) => match sys::connect(&socket, &sys::unix(&name)) {
            0 => sys::read(&socket),
            errno => errno,
        },
        Err(errno) => errno,
    };
    ctx.worker_policy(&format!(
        "op=FILE_WRITE path={dir} action=DENY\nop=UNIX_CONNECT path={name} action=DENY"
    ))?;
    let agent = ctx.as_agent("worker", "a", |report| report.errno(ask()))?;
    expect_errno("asking the deputy", agent.errno(0)?, libc::EACCES)?;
    ensure(io("read", fs::read(&path))? == b"secret", || {
        "the deputy did it".to_owned()
    })?;
    // A deputy that policy lets the agent reach is out of reach of the other rules.
    ctx.worker_policy(&format!("op=FILE_WRITE path={dir} action=DENY"))?;
    let agent = ctx.as_agent("worker", "a", |report| report.errno(ask()))?;
    expect_errno("asking where that is allowed", agent.errno(0)?, 0)?;
    ensure(io("read", fs::read(&path))? == b"by the deputy", || {
        "the control did nothing".to_owned()
    })
}

fn exchange_after_approval(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "program")?;
    let evil = program(ctx, "evil")?;
    let mut content = io("read", fs::read(&evil))?;
    content.push(0);
    io("write", fs::write(&evil, &content))?;
    ctx.worker_policy(&format!("op=EXEC path={} action=QUORUM", ctx.path("")))?;
    let agent = ctx.stepper("a", |_, _| i64::from(sys::run(&[&path])))?;
    let step = |what: &str, wanted| {
        expect_errno(what, i32::try_from(agent.step(0)?).unwrap_or(-1), wanted)
    };
    step("without votes", libc::EACCES)?;
    ctx.grant(&ctx.open_request(agent.agent, op::EXEC)?)?;
    // Another file takes the name that was approved.
    expect_errno(
        "rename",
        sys::rename(&evil, &path, libc::RENAME_EXCHANGE),
        0,
    )?;
    step("another inode under the approved name", libc::EACCES)?;
    expect_errno(
        "rename back",
        sys::rename(&evil, &path, libc::RENAME_EXCHANGE),
        0,
    )?;
    // The approved inode, with another content.
    let good = io("read", fs::read(&path))?;
    io("write", fs::write(&path, &content))?;
    step("another content in the approved inode", libc::EACCES)?;
    io("write", fs::write(&path, &good))?;
    step("as approved", 0)
}

fn race_of_content(ctx: &mut Ctx) -> Result<(), String> {
    // One process flips the content of a program as fast as it can while the agent executes it: only what the digest
    // names may ever run.
    let path = program(ctx, "program")?;
    let good = io("read", fs::read("/usr/bin/true"))?;
    let evil = io("read", fs::read("/usr/bin/false"))?;
    ctx.worker_policy(&format!(
        "op=EXEC path={path} digest=sha256:{} action=ALLOW\nop=EXEC path={path} action=DENY",
        crate::stage::hex(&crate::keys::sha256(&[&good]))
    ))?;
    let target = path.clone();
    let _flipper = agent::spawn(&Who::Free, move |_| loop {
        let _ = fs::write(&target, &evil);
        let _ = fs::write(&target, &good);
    })
    .map_err(|(_, text)| text)?;
    let race = |report: &mut agent::Report<'_>| {
        let (mut ran_good, mut ran_evil) = (0, 0);
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(5) {
            match sys::exec(&[&path]) {
                (0, 0) => ran_good += 1,
                (0, 1) => ran_evil += 1,
                _ => {}
            }
        }
        report.push(ran_good);
        report.push(ran_evil);
    };
    let agent = ctx.as_agent("worker", "a", race)?;
    ensure(agent.value(1)? == 0, || {
        format!(
            "{} times the other program ran",
            agent.value(1).unwrap_or(-1)
        )
    })?;
    let free = ctx.as_bystander(race)?;
    ensure(free.value(0)? > 0 && free.value(1)? > 0, || {
        format!("the control ran only one of the two: {:?}", free.values)
    })
}

fn proc_self_fd_reopen(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let path = format!("{dir}/file");
    for flags in [libc::O_RDONLY, libc::O_PATH] {
        let act = || match sys::open(&path, flags) {
            Ok(file) => sys::open_write(&sys::proc_fd(&file)),
            Err(errno) => errno,
        };
        ctx.denied_only_to_agents("opening /proc/self/fd/N again", act)?;
    }
    Ok(())
}

fn openat2(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let act = || {
        let Ok(dir) = sys::open(&dir, libc::O_PATH | libc::O_DIRECTORY) else {
            return 200;
        };
        // O_WRONLY, no mode, RESOLVE_BENEATH.
        let how = [1u64, 0, 8];
        // SAFETY: A constant string; the structure has the length that is passed.
        sys::code(sys::fd(unsafe {
            libc::syscall(
                libc::SYS_openat2,
                dir.as_raw_fd(),
                c"sub/file".as_ptr(),
                how.as_ptr(),
                24,
            )
        }))
    };
    ctx.denied_only_to_agents("openat2", act)
}

fn open_by_handle(ctx: &mut Ctx) -> Result<(), String> {
    let dir = vault(ctx)?;
    let path = sys::c(&format!("{dir}/sub/file"));
    let act = || {
        let mut handle = [0u32; 34];
        handle[0] = 128;
        let mut mount = 0i32;
        // SAFETY: The handle has room for the 128 bytes that it says; the path is NUL-terminated.
        let result = unsafe {
            libc::syscall(
                libc::SYS_name_to_handle_at,
                libc::AT_FDCWD,
                path.as_ptr(),
                handle.as_mut_ptr(),
                &raw mut mount,
                0,
            )
        };
        if result != 0 {
            return 1000 + sys::out(result);
        }
        let Ok(mount) = sys::open("/tmp", libc::O_RDONLY | libc::O_DIRECTORY) else {
            return 200;
        };
        // SAFETY: As above.
        sys::code(sys::fd(unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                mount.as_raw_fd(),
                handle.as_mut_ptr(),
                libc::O_WRONLY,
            )
        }))
    };
    ctx.denied_only_to_agents("open_by_handle_at", act)
}

/// Has `arm` name `pid` the receiver of a pipe's signals, then makes the pipe ready. 0 when arming was allowed.
fn signal_by_io(pid: i32, arm: impl Fn(i32, i32) -> i32) -> i32 {
    let Ok((one, other)) = sys::pair() else {
        return 200;
    };
    let fd = one.as_raw_fd();
    let errno = arm(fd, pid);
    // SAFETY: No pointers are passed.
    unsafe {
        libc::fcntl(fd, 10 /* F_SETSIG */, libc::SIGKILL);
        libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC);
    }
    sys::write(&other);
    errno
}

/// An agent must not be able to end a process without a label by `arm`.
fn sigio(ctx: &Ctx, what: &str, arm: fn(i32, i32) -> i32) -> Result<(), String> {
    ctx.worker_policy("op=KILL action=DENY")?;
    let mut other = bystander()?;
    let alive = |pid: i32| {
        std::thread::sleep(Duration::from_millis(100));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z")
    };
    let pid = other.pid;
    let agent = ctx.as_agent("worker", "a", |report| report.errno(signal_by_io(pid, arm)))?;
    ensure(alive(pid), || {
        format!("{what}: an agent ended a process without a label")
    })?;
    expect_errno(what, agent.errno(0)?, libc::EACCES)?;
    // To itself an agent may.
    other = bystander()?;
    let pid = other.pid;
    ctx.as_bystander(|report| report.errno(signal_by_io(pid, arm)))?;
    ensure(!alive(pid), || {
        format!("{what}: the control did not end the process")
    })
}

fn sigio_by_f_setown(ctx: &mut Ctx) -> Result<(), String> {
    sigio(ctx, "F_SETOWN", |fd, pid| {
        // SAFETY: No pointers are passed.
        sys::out(unsafe { libc::fcntl(fd, libc::F_SETOWN, pid) })
    })
}

fn sigio_by_f_setown_ex(ctx: &mut Ctx) -> Result<(), String> {
    sigio(ctx, "F_SETOWN_EX", |fd, pid| {
        // F_OWNER_PID and the process.
        let owner = [1, pid];
        // SAFETY: `struct f_owner_ex` is two ints.
        sys::out(unsafe { libc::fcntl(fd, 15, owner.as_ptr()) })
    })
}

fn sigio_by_ioctl(ctx: &mut Ctx) -> Result<(), String> {
    /// `FIOSETOWN`, which sockets know.
    const FIOSETOWN: u64 = 0x8901;
    sigio(ctx, "FIOSETOWN", |fd, pid| {
        // SAFETY: The argument is an int that outlives the call.
        sys::out(unsafe { libc::ioctl(fd, FIOSETOWN, &raw const pid) })
    })
}

fn kernel_helper_by_core_pattern(ctx: &mut Ctx) -> Result<(), String> {
    // The kernel itself as a deputy: it runs, without a label, whatever the pattern names.
    ctx.worker_policy("op=FILE_WRITE path=/proc/sys action=DENY")?;
    let path = "/proc/sys/kernel/core_pattern";
    let now = io(path, fs::read_to_string(path))?;
    let act = || match fs::write(path, now.as_bytes()) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    };
    ctx.denied_only_to_agents("writing core_pattern", act)?;
    ctx.denied_only_to_agents("through /proc/self/root", || {
        match fs::write(format!("/proc/self/root{path}"), now.as_bytes()) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(-1),
        }
    })
}

fn overlay_over_the_protected_directory(ctx: &mut Ctx) -> Result<(), String> {
    // An overlay with the vault as its upper directory changes the vault without the calls that change directories.
    let dir = vault(ctx)?;
    let (lower, work, at) = (ctx.dir("lower")?, ctx.dir("work")?, ctx.dir("merged")?);
    let options = sys::c(&format!("lowerdir={lower},upperdir={dir},workdir={work}"));
    let target = sys::c(&at);
    let act = || {
        // SAFETY: All strings are NUL-terminated and outlive the call.
        let errno = sys::out(unsafe {
            libc::mount(
                c"overlay".as_ptr(),
                target.as_ptr(),
                c"overlay".as_ptr(),
                0,
                options.as_ptr().cast(),
            )
        });
        if errno != 0 {
            return errno;
        }
        let errno = match fs::remove_file(format!("{at}/file")) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(-1),
        };
        super::mounts::unmount_below(&at);
        errno
    };
    // Making the mount is what has to be refused; a rule for the vault alone cannot see through the overlay.
    ctx.worker_policy(&format!(
        "op=FILE_WRITE,FILE_DELETE path={dir} action=DENY\nop=MOUNT action=DENY"
    ))?;
    let agent = ctx.as_agent("worker", "a", |report| report.errno(act()))?;
    expect_errno("mounting the overlay", agent.errno(0)?, libc::EACCES)?;
    ensure(fs::metadata(format!("{dir}/file")).is_ok(), || {
        "the file is gone".to_owned()
    })?;
    let free = ctx.as_bystander(|report| report.errno(act()))?;
    expect_errno("without a label", free.errno(0)?, 0)?;
    ensure(fs::metadata(format!("{dir}/file")).is_err(), || {
        "the control did nothing".to_owned()
    })
}

/// A mount below a directory that is protected, with a secret in it; returns both.
fn mount_below_the_vault(ctx: &mut Ctx) -> Result<(String, String), String> {
    let top = ctx.dir("top")?;
    let below = format!("{top}/mount");
    fs::create_dir(&below).map_err(|e| e.to_string())?;
    expect_errno("mounting", sys::mount("none", &below, "tmpfs", 0), 0)?;
    fs::write(format!("{below}/secret"), "secret").map_err(|e| e.to_string())?;
    Ok((top, below))
}

fn chroot_into_a_clone(ctx: &mut Ctx) -> Result<(), String> {
    // A copy of the mount has nothing above it, and the task's root decides what it can see: it may not go there.
    let (top, below) = mount_below_the_vault(ctx)?;
    ctx.worker_policy(&format!("op=FILE_READ path={top} action=DENY"))?;
    ctx.denied_only_to_agents("reading below a mount", || {
        sys::open_read(&format!("{below}/secret"))
    })?;
    ctx.denied_only_to_agents("reading from a root in a copy", || {
        sys::in_child(|| {
            let tree = match mounts::open_tree(&below) {
                Ok(tree) => tree,
                Err(errno) => return errno,
            };
            // SAFETY: The descriptor is open, the path NUL-terminated.
            let errno = sys::out(unsafe {
                match libc::fchdir(tree.as_raw_fd()) {
                    0 => libc::chroot(c".".as_ptr()),
                    error => error,
                }
            });
            match errno {
                0 => sys::open_read("/secret"),
                errno => errno,
            }
        })
    })
}

fn namespace_of_a_clone(ctx: &mut Ctx) -> Result<(), String> {
    // A namespace that is entered brings its own tree of mounts, in which the vault need not be above anything.
    /// `OPEN_TREE_NAMESPACE`.
    const NAMESPACE: i32 = 2;
    let (top, below) = mount_below_the_vault(ctx)?;
    ctx.worker_policy(&format!(
        "op=FILE_READ path={top} action=DENY\nDEFAULT op=MOUNT action=DENY"
    ))?;
    let path = sys::c(&below);
    let (agent, free) = ctx.both(|| {
        sys::in_child(|| {
            // SAFETY: The path is NUL-terminated and outlives the call.
            let namespace = sys::fd(unsafe {
                libc::syscall(
                    libc::SYS_open_tree,
                    libc::AT_FDCWD,
                    path.as_ptr(),
                    NAMESPACE | libc::O_CLOEXEC,
                )
            });
            let namespace = match namespace {
                Ok(namespace) => namespace,
                Err(errno) => return errno,
            };
            // SAFETY: The descriptor is open.
            match sys::out(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) }) {
                0 => sys::open_read("/secret"),
                errno => errno,
            }
        })
    })?;
    // A capability that is refused is EPERM to whoever needs it.
    expect_errno("a namespace made of a copy (agent)", agent, libc::EPERM)?;
    expect_errno("a namespace made of a copy (without a label)", free, 0)
}

fn clone_to_another_place(ctx: &mut Ctx) -> Result<(), String> {
    // MOUNT forbids taking the vault anywhere: a copy of a mount in it is no way round that either.
    let (top, below) = mount_below_the_vault(ctx)?;
    let elsewhere = ctx.dir("elsewhere")?;
    ctx.worker_policy(&format!("op=MOUNT path={top} action=DENY"))?;
    ctx.denied_only_to_agents("moving a copy out", || {
        sys::in_child(|| match mounts::open_tree(&below) {
            Ok(tree) => mounts::attach(&tree, &elsewhere),
            Err(errno) => errno,
        })
    })
}

fn unspecified_from_an_address(ctx: &mut Ctx) -> Result<(), String> {
    // From a socket with an address of this host, 0.0.0.0 is that address and not loopback.
    ctx.worker_policy("op=NET_CONNECT addr=127.0.0.0/8 action=ALLOW\nop=NET_CONNECT action=DENY")?;
    let server = sys::socket(libc::AF_INET, libc::SOCK_STREAM).map_err(|e| e.to_string())?;
    expect_errno(
        "binding",
        sys::bind(&server, &sys::v4([127, 0, 0, 1], 0)),
        0,
    )?;
    expect_errno("listening", sys::listen(&server), 0)?;
    let port = sys::local_port(&server);
    let connect = |from: Option<[u8; 4]>| {
        let socket = match sys::socket(libc::AF_INET, libc::SOCK_STREAM) {
            Ok(socket) => socket,
            Err(errno) => return errno,
        };
        match from.map_or(0, |from| sys::bind(&socket, &sys::v4(from, 0))) {
            0 => sys::connect(&socket, &sys::v4([0, 0, 0, 0], port)),
            errno => errno,
        }
    };
    expect_errno("from anywhere", ctx.both(|| connect(None))?.0, 0)?;
    ctx.denied_only_to_agents("from an address", || connect(Some([127, 0, 0, 1])))
}

/// Mounts an overlay over `lower` and returns where.
fn overlay(ctx: &mut Ctx, name: &str, lower: &str) -> Result<String, String> {
    let upper = ctx.dir(&format!("{name}-upper"))?;
    let work = ctx.dir(&format!("{name}-work"))?;
    let at = ctx.dir(name)?;
    let options = sys::c(&format!("lowerdir={lower},upperdir={upper},workdir={work}"));
    let target = sys::c(&at);
    // SAFETY: All strings are NUL-terminated and outlive the call.
    let errno = sys::out(unsafe {
        libc::mount(
            c"overlay".as_ptr(),
            target.as_ptr(),
            c"overlay".as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    });
    expect_errno("mounting an overlay", errno, 0)?;
    Ok(at)
}

fn overlay_read_through(ctx: &mut Ctx) -> Result<(), String> {
    // Somebody else's overlay over the vault: reading and writing through it is judged on the files below.
    let dir = vault(ctx)?;
    ctx.worker_policy(&format!("op=FILE_READ,FILE_WRITE path={dir} action=DENY"))?;
    let at = overlay(ctx, "merged", &dir)?;
    ctx.denied_only_to_agents("reading through an overlay", || {
        sys::open_read(&format!("{at}/file"))
    })?;
    // What no rule names beneath is used as ever: listing, and writing, which copies up.
    let lower = ctx.dir("free")?;
    std::fs::write(format!("{lower}/file"), "content").map_err(|e| e.to_string())?;
    let at = overlay(ctx, "free-merged", &lower)?;
    let uses = || {
        let listed = std::fs::read_dir(&at).and_then(|all| all.collect::<Result<Vec<_>, _>>());
        match listed.and_then(|_| std::fs::write(format!("{at}/file"), "changed")) {
            Ok(()) => 0,
            Err(error) => error.raw_os_error().unwrap_or(-1),
        }
    };
    expect_errno("using an overlay that no rule names", ctx.both(uses)?.0, 0)
}

fn module_through_a_descriptor(ctx: &mut Ctx) -> Result<(), String> {
    // A memfd with the module's content is no file that a path rule names; the rule for agents is without a path.
    let path = kernel::module(ctx)?;
    ctx.worker_policy(&format!(
        "op=MODULE_LOAD path={} action=ALLOW\nop=MODULE_LOAD action=DENY",
        ctx.path("")
    ))?;
    kernel::unload();
    let act = || match sys::memfd(&path) {
        Ok(memory) => {
            let errno = kernel::finit_module(&sys::proc_fd(&memory));
            kernel::unload();
            errno
        }
        Err(errno) => errno,
    };
    ctx.denied_only_to_agents("a module in a memfd", act)?;
    let listed = || {
        let errno = kernel::finit_module(&path);
        kernel::unload();
        errno
    };
    expect_errno("the listed module", ctx.both(listed)?.0, 0)
}

fn userns_mount(ctx: &mut Ctx) -> Result<(), String> {
    // Without privilege: a user namespace gives capabilities over a mount namespace, and MOUNT holds there too.
    let at = ctx.dir("point")?;
    ctx.worker_policy("op=MOUNT action=DENY")?;
    let act = || {
        sys::in_child(|| {
            // SAFETY: No pointers are passed.
            if unsafe { libc::setresuid(1000, 1000, 1000) } != 0
                // SAFETY: No pointers are passed.
                || unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) } != 0
            {
                return 200;
            }
            sys::mount("none", &at, "tmpfs", 0)
        })
    };
    ctx.denied_only_to_agents("tmpfs in a user namespace", act)
}

fn end_by_a_limit(ctx: &mut Ctx) -> Result<(), String> {
    // A process that may use no more processor time is ended by the kernel: a signal by another name.
    let limit = libc::rlimit {
        rlim_cur: 1,
        rlim_max: 1,
    };
    let other = bystander()?;
    ctx.worker_policy("op=KILL action=DENY")?;
    ctx.denied_only_to_agents("prlimit of a process without a label", || {
        // SAFETY: The limit outlives the call; a null pointer where the call allows it.
        sys::out(unsafe { libc::prlimit(other.pid, libc::RLIMIT_CPU, &limit, ptr::null_mut()) })
    })?;
    let own = ctx.as_agent("worker", "a", |report| {
        // SAFETY: As above; 0 is the caller.
        report.errno(sys::out(unsafe {
            libc::prlimit(0, libc::RLIMIT_CPU, &limit, ptr::null_mut())
        }));
    })?;
    expect_errno("prlimit of itself", own.errno(0)?, 0)
}

fn typing_into_the_terminal(ctx: &mut Ctx) -> Result<(), String> {
    // TIOCSTI puts characters where the shell that started the agent will read them: another deputy.
    ctx.worker_policy("op=KILL action=DENY")?;
    let inject = |report: &mut agent::Report<'_>, label: bool| {
        // A session with a terminal of its own.
        // SAFETY: No pointers are passed; the terminal's number is an int that outlives the calls.
        let terminal = unsafe {
            libc::setsid();
            let controller = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
            libc::grantpt(controller);
            libc::unlockpt(controller);
            let mut number = 0u32;
            libc::ioctl(controller, libc::TIOCGPTN, &raw mut number);
            match sys::open(&format!("/dev/pts/{number}"), libc::O_RDWR) {
                Ok(terminal) => terminal,
                Err(errno) => return report.errno(1000 + errno),
            }
        };
        if label {
            report.errno(crate::worker::label("worker", "typist").0);
        }
        // SAFETY: One constant byte.
        report.errno(sys::out(unsafe {
            libc::ioctl(terminal.as_raw_fd(), libc::TIOCSTI, c"x".as_ptr())
        }));
    };
    let free = ctx.as_bystander(|report| inject(report, false))?;
    expect_errno("TIOCSTI without a label", free.errno(0)?, 0)?;
    let agent = ctx.as_bystander(|report| inject(report, true))?;
    expect_errno("label", agent.errno(0)?, 0)?;
    expect_errno("TIOCSTI of an agent", agent.errno(1)?, libc::EACCES)
}

fn unlinked_file(ctx: &mut Ctx) -> Result<(), String> {
    // A deleted file is still the object that it was.
    let dir = vault(ctx)?;
    let path = format!("{dir}/file");
    let file = sys::open(&path, libc::O_PATH).map_err(|errno| format!("open: {errno}"))?;
    io("unlink", fs::remove_file(&path))?;
    ctx.denied_only_to_agents("a deleted file below the vault", || {
        sys::open_write(&sys::proc_fd(&file))
    })
}

/// The tests.
pub const TESTS: &[Test] = &[
    Test::new("attack_proc_self_root", proc_self_root),
    Test::new("attack_dot_dot", dot_dot),
    Test::new("attack_symlink", through_symlink),
    Test::new("attack_hard_link", through_hard_link),
    Test::new("attack_making_a_hard_link", making_a_hard_link),
    Test::new("attack_bind_mount", bind_mount),
    Test::new("attack_bind_mount_by_the_agent", bind_mount_by_the_agent),
    Test::new(
        "attack_rename_the_protected_directory",
        rename_the_protected_directory,
    ),
    Test::new("attack_rename_a_directory_above", rename_a_directory_above),
    Test::new("attack_rename_exchange", rename_exchange),
    Test::new(
        "attack_descriptor_opened_earlier",
        descriptor_opened_earlier,
    ),
    Test::new(
        "attack_descriptor_opened_earlier_to_read",
        descriptor_opened_earlier_to_read,
    ),
    Test::new("attack_directory_opened_earlier", directory_opened_earlier),
    Test::new("attack_mapping_made_earlier", mapping_made_earlier),
    Test::new(
        "attack_descriptor_received_over_a_socket",
        descriptor_received_over_a_socket,
    ),
    Test::new(
        "attack_descriptor_taken_from_another_process",
        descriptor_taken_from_another_process,
    ),
    Test::new("attack_ld_so_file", ld_so_file),
    Test::new(
        "attack_interpreter_given_the_file",
        interpreter_given_the_file,
    ),
    Test::new("attack_memfd_exec", memfd_exec),
    Test::new("attack_tmpfile_exec", tmpfile_exec),
    Test::new(
        "attack_mprotect_of_a_written_page",
        mprotect_of_a_written_page,
    ),
    Test::new("attack_write_then_map_twice", write_then_map_twice),
    Test::new("attack_other_calls_than_write", other_calls_than_write),
    Test::new("attack_double_fork", double_fork),
    Test::new("attack_setsid", setsid),
    Test::new("attack_posix_spawn", vfork),
    Test::new("attack_namespaces", namespaces),
    Test::new("attack_chroot", chroot),
    Test::new("attack_clone3_into_cgroup", clone3_into_cgroup),
    Test::new("attack_threads", threads),
    Test::new("attack_io_uring", io_uring_open),
    Test::new(
        "attack_io_uring_made_before_the_label",
        io_uring_made_before_the_label,
    ),
    Test::new("attack_ptrace_of_the_unlabelled", ptrace_of_the_unlabelled),
    Test::new("attack_deputy", deputy),
    Test::new("attack_exchange_after_approval", exchange_after_approval),
    Test::new("attack_race_of_content", race_of_content),
    Test::new("attack_proc_self_fd_reopen", proc_self_fd_reopen),
    Test::new("attack_openat2", openat2),
    Test::new("attack_open_by_handle", open_by_handle),
    Test::new("attack_sigio_by_f_setown", sigio_by_f_setown),
    Test::new("attack_sigio_by_f_setown_ex", sigio_by_f_setown_ex),
    Test::new("attack_sigio_by_ioctl", sigio_by_ioctl),
    Test::new(
        "attack_kernel_helper_by_core_pattern",
        kernel_helper_by_core_pattern,
    ),
    Test::new(
        "attack_overlay_over_the_protected_directory",
        overlay_over_the_protected_directory,
    ),
    Test::new("attack_overlay_read_through", overlay_read_through),
    Test::new("attack_chroot_into_a_clone", chroot_into_a_clone),
    Test::new("attack_namespace_of_a_clone", namespace_of_a_clone),
    Test::new("attack_clone_to_another_place", clone_to_another_place),
    Test::new(
        "attack_unspecified_from_an_address",
        unspecified_from_an_address,
    ),
    Test::new(
        "attack_module_through_a_descriptor",
        module_through_a_descriptor,
    ),
    Test::new("attack_userns_mount", userns_mount),
    Test::new("attack_end_by_a_limit", end_by_a_limit),
    Test::new("attack_typing_into_the_terminal", typing_into_the_terminal),
    Test::new("attack_unlinked_file", unlinked_file),
];
