// SPDX-License-Identifier: GPL-2.0

//! EXEC and MMAP_EXEC.

use super::{
    probe::Probe,
    sys, //
};
use crate::{
    harness::{
        be,
        content_digest,
        ensure,
        fact,
        fact_of,
        fact_text,
        facts,
        object_id,
        op,
        Ctx,
        Test, //
    },
    keys::sha256,
    stage::{
        expect_errno,
        hex, //
    },
};
use std::fs;

/// A copy of a small program below the scratch directory.
pub fn program(ctx: &Ctx, name: &str) -> Result<String, String> {
    let content = fs::read("/usr/bin/true").map_err(|error| format!("/usr/bin/true: {error}"))?;
    let path = ctx.file(name, &content)?;
    let errno = sys::with_path(&path, |path| {
        // SAFETY: A NUL-terminated path that outlives the call.
        unsafe { libc::chmod(path, 0o755) }
    });
    expect_errno("chmod of the program", errno, 0)?;
    Ok(path)
}

fn exec(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "bin/program")?;
    let request = Probe::new(op::EXEC, format!("path={path}"), &|| {
        sys::run(&[&path, "one", "two"])
    })
    .all(ctx)?;
    ensure(fact_text(&request, fact::PATH) == path, || {
        format!("PATH is {}", fact_text(&request, fact::PATH))
    })?;
    let shown: Vec<String> = facts(&request)
        .into_iter()
        .filter(|(tag, _)| *tag == fact::ARG)
        .map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
        .collect();
    ensure(shown == [path.as_str(), "one", "two"], || {
        format!("arguments shown: {shown:?}")
    })?;
    let digest = sha256(&[path.as_bytes(), b"\0one\0two\0"]);
    ensure(
        fact_of(&request, fact::ARGS_DIGEST).as_deref() == Some(&digest),
        || "ARGS_DIGEST is not the digest of the arguments".to_owned(),
    )?;
    let content = fs::read(&path).map_err(|error| error.to_string())?;
    ensure(content_digest(&request) == sha256(&[&content]), || {
        "the content digest is not that of the file".to_owned()
    })?;
    let size = fact_of(&request, fact::SIZE).map_or(0, |bytes| be(&bytes, 0, 8));
    ensure(size == content.len() as u64, || format!("SIZE is {size}"))
}

fn exec_of_a_directory(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "bin/program")?;
    Probe::new(op::EXEC, format!("path={}", ctx.path("bin")), &|| {
        sys::run(&[&path])
    })
    .denied(ctx)
}

fn exec_by_digest(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "known")?;
    let other = program(ctx, "other")?;
    let mut content = fs::read(&other).map_err(|error| error.to_string())?;
    content.push(0);
    fs::write(&other, &content).map_err(|error| error.to_string())?;
    let known = fs::read(&path).map_err(|error| error.to_string())?;
    ctx.worker_policy(&format!(
        "op=EXEC digest=sha256:{} action=ALLOW\nop=EXEC path={} action=DENY",
        hex(&sha256(&[&known])),
        ctx.path("")
    ))?;
    expect_errno("the known program", ctx.both(|| sys::run(&[&path]))?.0, 0)?;
    ctx.denied_only_to_agents("the other program", || sys::run(&[&other]))?;
    // The same name with another content is another program.
    fs::copy(&other, &path).map_err(|error| error.to_string())?;
    ctx.denied_only_to_agents("the known program's name", || sys::run(&[&path]))
}

fn other_arguments_are_another_request(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "program")?;
    ctx.worker_policy(&format!("op=EXEC path={path} action=QUORUM"))?;
    let agent = ctx.stepper("a", |_, argument| {
        i64::from(sys::run(&[&path, &argument.to_string()]))
    })?;
    expect_errno(
        "first",
        agent.step(1)?.try_into().unwrap_or(-1),
        libc::EACCES,
    )?;
    let first = ctx.open_request(agent.agent, op::EXEC)?;
    ctx.grant(&first)?;
    expect_errno(
        "other arguments",
        agent.step(2)?.try_into().unwrap_or(-1),
        libc::EACCES,
    )?;
    let second = ctx.open_request(agent.agent, op::EXEC)?;
    ensure(second.id != first.id, || {
        "one request for two argument lists".to_owned()
    })?;
    expect_errno(
        "the granted arguments",
        agent.step(1)?.try_into().unwrap_or(-1),
        0,
    )
}

fn other_environment_is_another_request(ctx: &mut Ctx) -> Result<(), String> {
    // What LD_PRELOAD says is not among the arguments, and makes another program of it.
    let path = program(ctx, "program")?;
    ctx.worker_policy(&format!("op=EXEC path={path} action=QUORUM"))?;
    let agent = ctx.stepper("a", |_, preload| {
        let mut command = std::process::Command::new(&path);
        command.env_clear();
        if preload != 0 {
            command.env("LD_PRELOAD", "/tmp/evil.so");
        }
        command.stderr(std::process::Stdio::null());
        i64::from(crate::harness::errno_of(&command.status()))
    })?;
    let step = |what: &str, preload, wanted| {
        expect_errno(
            what,
            i32::try_from(agent.step(preload)?).unwrap_or(-1),
            wanted,
        )
    };
    step("without votes", 0, libc::EACCES)?;
    ctx.grant(&ctx.open_request(agent.agent, op::EXEC)?)?;
    step("with LD_PRELOAD", 1, libc::EACCES)?;
    step("as approved", 0, 0)
}

fn other_content_is_another_request(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "program")?;
    ctx.worker_policy(&format!("op=EXEC path={path} action=QUORUM"))?;
    let agent = ctx.stepper("a", |_, _| i64::from(sys::run(&[&path])))?;
    expect_errno(
        "before",
        agent.step(0)?.try_into().unwrap_or(-1),
        libc::EACCES,
    )?;
    let first = ctx.open_request(agent.agent, op::EXEC)?;
    ctx.grant(&first)?;
    let good = fs::read(&path).map_err(|error| error.to_string())?;
    let mut bad = good.clone();
    bad.push(0);
    // The same inode, another content.
    fs::write(&path, &bad).map_err(|error| error.to_string())?;
    expect_errno(
        "exchanged",
        agent.step(0)?.try_into().unwrap_or(-1),
        libc::EACCES,
    )?;
    let second = ctx.open_request(agent.agent, op::EXEC)?;
    ensure(object_id(&second) == object_id(&first), || {
        "the inode changed".to_owned()
    })?;
    ensure(content_digest(&second) != content_digest(&first), || {
        "the same content digest".to_owned()
    })?;
    fs::write(&path, &good).map_err(|error| error.to_string())?;
    expect_errno("as approved", agent.step(0)?.try_into().unwrap_or(-1), 0)
}

fn other_user_is_another_request(ctx: &mut Ctx) -> Result<(), String> {
    let path = ctx.file("file", b"x")?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .map_err(|error| error.to_string())?;
    ctx.worker_policy(&format!("op=FILE_WRITE path={path} action=QUORUM"))?;
    let agent = ctx.stepper("a", |_, uid| {
        // SAFETY: No pointers are passed.
        let _ = unsafe { libc::seteuid(u32::try_from(uid).unwrap_or(0)) };
        let errno = sys::open_write(&path);
        // SAFETY: As above; the saved user is root.
        let _ = unsafe { libc::seteuid(0) };
        i64::from(errno)
    })?;
    expect_errno(
        "root",
        agent.step(0)?.try_into().unwrap_or(-1),
        libc::EACCES,
    )?;
    let first = ctx.open_request(agent.agent, op::FILE_WRITE)?;
    ctx.grant(&first)?;
    expect_errno(
        "alice",
        agent.step(1000)?.try_into().unwrap_or(-1),
        libc::EACCES,
    )?;
    let second = ctx.open_request(agent.agent, op::FILE_WRITE)?;
    ensure((first.uid(), second.uid()) == (0, 1000), || {
        format!("users {} and {}", first.uid(), second.uid())
    })?;
    expect_errno("root, granted", agent.step(0)?.try_into().unwrap_or(-1), 0)
}

fn script(ctx: &mut Ctx) -> Result<(), String> {
    let path = ctx.file("script", b"#!/usr/bin/true\n")?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    Probe::new(op::EXEC, format!("path={path}"), &|| sys::run(&[&path])).denied(ctx)
}

fn script_interpreter(ctx: &mut Ctx) -> Result<(), String> {
    let interpreter = program(ctx, "interpreter")?;
    let path = ctx.file("script", format!("#!{interpreter}\n").as_bytes())?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    Probe::new(op::EXEC, format!("path={interpreter}"), &|| {
        sys::run(&[&path])
    })
    .denied(ctx)
}

fn execveat_of_a_descriptor(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "program")?;
    let act = || match sys::open(&path, libc::O_PATH) {
        Ok(fd) => sys::exec_fd(&fd),
        Err(errno) => errno,
    };
    Probe::new(op::EXEC, format!("path={path}"), &act)
        .all(ctx)
        .map(drop)
}

const RX: i32 = libc::PROT_READ | libc::PROT_EXEC;
const RW: i32 = libc::PROT_READ | libc::PROT_WRITE;

fn map_of_a_file(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "library")?;
    let act = || sys::map_file(&path, RX, libc::MAP_PRIVATE);
    let request = Probe::new(op::MMAP_EXEC, format!("path={path}"), &act).all(ctx)?;
    ensure(fact_text(&request, fact::PATH) == path, || {
        format!("PATH is {}", fact_text(&request, fact::PATH))
    })
}

fn mprotect_of_a_file(ctx: &mut Ctx) -> Result<(), String> {
    let path = program(ctx, "library")?;
    let act = || match sys::open(&path, libc::O_RDONLY) {
        Ok(fd) => match sys::map(
            std::os::fd::AsRawFd::as_raw_fd(&fd),
            libc::PROT_READ,
            libc::MAP_PRIVATE,
        ) {
            Ok(at) => sys::mprotect(at, RX),
            Err(errno) => errno,
        },
        Err(errno) => errno,
    };
    Probe::new(op::MMAP_EXEC, format!("path={path}"), &act)
        .all(ctx)
        .map(drop)
}

fn map_of_no_file(ctx: &mut Ctx) -> Result<(), String> {
    let act = || sys::code(sys::map(-1, RX, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS));
    Probe::new(op::MMAP_EXEC, "", &act).all(ctx).map(drop)
}

fn mprotect_of_no_file(ctx: &mut Ctx) -> Result<(), String> {
    let act = || match sys::map(-1, RW, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) {
        Ok(at) => sys::mprotect(at, RX),
        Err(errno) => errno,
    };
    Probe::new(op::MMAP_EXEC, "", &act).all(ctx).map(drop)
}

/// The tests.
pub const TESTS: &[Test] = &[
    Test::new("exec", exec),
    Test::new("exec_of_a_directory", exec_of_a_directory),
    Test::new("exec_by_digest", exec_by_digest),
    Test::new(
        "exec_other_arguments_are_another_request",
        other_arguments_are_another_request,
    ),
    Test::new(
        "exec_other_content_is_another_request",
        other_content_is_another_request,
    ),
    Test::new(
        "other_user_is_another_request",
        other_user_is_another_request,
    ),
    Test::new(
        "exec_other_environment_is_another_request",
        other_environment_is_another_request,
    ),
    Test::new("exec_script", script),
    Test::new("exec_script_interpreter", script_interpreter),
    Test::new("exec_execveat_of_a_descriptor", execveat_of_a_descriptor),
    Test::new("mmap_exec_of_a_file", map_of_a_file),
    Test::new("mmap_exec_mprotect_of_a_file", mprotect_of_a_file),
    Test::new("mmap_exec_of_no_file", map_of_no_file),
    Test::new("mmap_exec_mprotect_of_no_file", mprotect_of_no_file),
];
