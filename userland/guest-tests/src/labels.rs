// SPDX-License-Identifier: GPL-2.0

//! Labels: who gets one, who keeps it, and that none is left over.

use crate::{
    agent::{
        self,
        Ended,
        Report,
        Who, //
    },
    client::Attributes,
    harness::{
        ensure,
        op,
        Ctx,
        Test, //
    },
    hooks::sys,
    stage::{
        self,
        eventually,
        expect_errno,
        nl, //
    },
    worker,
};
use std::{fs, time::Duration};

/// A file that agents of class `worker` may not write to.
fn secret(ctx: &Ctx) -> Result<String, String> {
    let path = ctx.file("secret", b"secret")?;
    ctx.worker_policy(&format!("op=FILE_WRITE path={path} action=DENY"))?;
    Ok(path)
}

/// The line of `self` that begins with `key`.
fn own(key: &str) -> String {
    let text = fs::read_to_string(format!("{}/self", stage::SECURITYFS)).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
        .unwrap_or("")
        .to_owned()
}

/// One agent as the node shows it.
struct Shown {
    id: u64,
    name: String,
    class: String,
    parent: u64,
    depth: u32,
    tasks: u64,
    uid: u32,
    pid: u32,
}

fn agents() -> Result<Vec<Shown>, String> {
    let missing = || "an attribute of an agent is missing".to_owned();
    stage::dump(nl::AGENT_GET, &Attributes::new())
        .map_err(|refused| format!("agent-get: {refused:?}"))?
        .iter()
        .map(|reply| {
            Ok(Shown {
                id: reply.u64(nl::A_AGENT_ID).ok_or_else(missing)?,
                name: reply.string(nl::A_AGENT_NAME).ok_or_else(missing)?,
                class: reply.string(nl::A_AGENT_CLASS).ok_or_else(missing)?,
                parent: reply.u64(22).ok_or_else(missing)?,
                depth: reply.u32(nl::A_AGENT_DEPTH).ok_or_else(missing)?,
                tasks: reply.u64(24).ok_or_else(missing)?,
                uid: reply.u32(25).ok_or_else(missing)?,
                pid: reply.u32(26).ok_or_else(missing)?,
            })
        })
        .collect()
}

fn shown(id: u64) -> Result<Shown, String> {
    agents()?
        .into_iter()
        .find(|agent| agent.id == id)
        .ok_or_else(|| format!("agent {id} is not in the list"))
}

/// No agents, labelled tasks or requests are left, within 5 s.
fn nothing_left() -> Result<(), String> {
    eventually(Duration::from_secs(5), || {
        for key in ["agents", "tasks", "requests"] {
            let left = stage::status_number(key)?;
            ensure(left == 0, || format!("{left} {key} are left"))?;
        }
        let listed = agents()?.len();
        ensure(listed == 0, || format!("{listed} agents are listed"))
    })
}

fn label_shows_in_self_and_in_the_list(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("")?;
    ensure(own("agent") == "none", || {
        "a task without a label has one".to_owned()
    })?;
    let child = agent::spawn_stepper(&Who::Agent("worker", "the-name"), |report, _| {
        for key in ["agent", "name", "class", "depth"] {
            report.text(&format!("{} ", own(key)));
        }
        0
    })
    .map_err(|(_, text)| text)?;
    child.step(0)?;
    ensure(
        child.text() == format!("{} the-name worker 0 ", child.agent),
        || format!("self says \"{}\"", child.text()),
    )?;
    let listed = shown(child.agent)?;
    ensure(
        listed.name == "the-name"
            && listed.class == "worker"
            && (listed.parent, listed.depth, listed.tasks, listed.uid) == (0, 0, 1, 0)
            && listed.pid == child.pid.unsigned_abs(),
        || "the list shows something else".to_owned(),
    )?;
    child.stop()?;
    nothing_left()
}

fn label_of_any_user(ctx: &mut Ctx) -> Result<(), String> {
    let path = secret(ctx)?;
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .map_err(|error| error.to_string())?;
    let ended = ctx.as_bystander(|report| {
        // SAFETY: No pointers are passed.
        report.errno(sys::out(unsafe { libc::setresuid(1000, 1000, 1000) }));
        report.errno(worker::label("worker", "alice").0);
        report.errno(sys::open_write(&path));
    })?;
    for (at, wanted) in [(0, 0), (1, 0), (2, libc::EACCES)] {
        expect_errno(&format!("step {at}"), ended.errno(at)?, wanted)?;
    }
    Ok(())
}

fn bad_names_and_classes(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("")?;
    let long = "x".repeat(32);
    for (class, name, errno, code) in [
        ("worker", "", libc::EINVAL, "agent_name"),
        ("worker", "a b", libc::EINVAL, "agent_name"),
        ("worker", "ä", libc::EINVAL, "agent_name"),
        ("nobody", "a", libc::ENOENT, "class_unknown"),
        ("host", "a", libc::ENOENT, "class_unknown"),
    ] {
        let (got, text) = ctx.label_refused(class, name)?;
        expect_errno(&format!("label \"{class}\" \"{name}\""), got, errno)?;
        ensure(text.starts_with(&format!("{code}: ")), || {
            format!("message \"{text}\", not {code}")
        })?;
    }
    ctx.as_agent("worker", &long, |_| {}).map(drop)
}

fn not_single_threaded(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("")?;
    let threaded = ctx.as_bystander(|report| {
        let (stop, wait) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || wait.recv().is_ok());
        let (errno, text) = worker::label("worker", "threads");
        report.errno(errno);
        report.text(&text);
        drop(stop);
        let _ = other.join();
        // The thread may still be on its way out for a moment.
        let mut errno = libc::EBUSY;
        for _ in 0..200 {
            errno = worker::label("worker", "threads").0;
            if errno != libc::EBUSY {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        report.errno(errno);
    })?;
    expect_errno("with a second thread", threaded.errno(0)?, libc::EBUSY)?;
    ensure(threaded.text.starts_with("not_single_threaded: "), || {
        format!("message \"{}\"", threaded.text)
    })?;
    expect_errno("after it has ended", threaded.errno(1)?, 0)
}

fn shared_files_or_memory(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("")?;
    // A child that shares the table of open files labels itself: its parent could open what it may not.
    for (what, flag, wanted) in [("files", libc::CLONE_FILES, libc::EBUSY), ("nothing", 0, 0)] {
        let ended = ctx.as_bystander(|report| {
            // SAFETY: Without CLONE_VM the child has memory of its own.
            let pid = unsafe { libc::syscall(libc::SYS_clone, flag | libc::SIGCHLD, 0, 0, 0, 0) };
            if pid == 0 {
                let (errno, _) = worker::label("worker", "shared");
                // SAFETY: Ends the child.
                unsafe { libc::_exit(errno) };
            }
            report.push(i64::from(sys::wait(i32::try_from(pid).unwrap_or(-1))));
        })?;
        expect_errno(&format!("sharing {what}"), ended.errno(0)?, wanted)?;
    }
    Ok(())
}

fn irrevocable(ctx: &mut Ctx) -> Result<(), String> {
    let path = secret(ctx)?;
    let ended = ctx.as_agent("worker", "a", |report| {
        let (errno, text) = worker::label("worker", "again");
        report.errno(errno);
        report.text(&text);
        report.errno(sys::open_write(&path));
    })?;
    expect_errno("a second label", ended.errno(0)?, libc::EPERM)?;
    ensure(ended.text.starts_with("class_forbidden: "), || {
        format!("message \"{}\"", ended.text)
    })?;
    expect_errno("after it", ended.errno(1)?, libc::EACCES)
}

fn sub_agents(ctx: &mut Ctx) -> Result<(), String> {
    let path = ctx.file("secret", b"secret")?;
    ctx.policy(&format!(
        "class builder may=tester\nclass tester\nclass freer\nop=FILE_WRITE class=tester path={path} action=DENY\nDEFAULT action=ALLOW\n"
    ))?;
    let parent = agent::spawn_stepper(&Who::Agent("builder", "parent"), |report, _| {
        report.errno(sys::open_write(&path));
        // The sub-agent is a child of the agent.
        // SAFETY: Single threaded.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let (errno, id) = worker::label("tester", "child");
            report.errno(errno);
            report.push(id.parse().unwrap_or(0));
            report.errno(sys::open_write(&path));
            report.text(&format!("{} {};", own("class"), own("depth")));
            // It cannot go back, nor on to a class that nobody may start.
            report.errno(worker::label("builder", "back").0);
            report.errno(worker::label("freer", "out").0);
            let listed = shown_to_another(&report_id(&id));
            report.push(listed);
            // SAFETY: Ends the child.
            unsafe { libc::_exit(0) };
        }
        sys::wait(pid);
        // The parent is what it was.
        report.errno(sys::open_write(&path));
        report.errno(worker::label("freer", "out").0);
        0
    })
    .map_err(|(_, text)| text)?;
    parent.step(0)?;
    let values = parent.values();
    let wanted = [
        ("the parent writes", 0, 0),
        ("the sub-agent's label", 1, 0),
        ("the sub-agent writes", 3, i64::from(libc::EACCES)),
        ("back to the parent's class", 4, i64::from(libc::EPERM)),
        ("to another class", 5, i64::from(libc::EPERM)),
        ("an agent reads the list", 6, i64::from(libc::EPERM)),
        ("the parent writes afterwards", 7, 0),
        ("the parent takes another class", 8, i64::from(libc::EPERM)),
    ];
    for (what, at, errno) in wanted {
        let got = values.get(at).copied().unwrap_or(-1);
        ensure(got == errno, || {
            format!("{what}: {got} instead of {errno}; all: {values:?}")
        })?;
    }
    ensure(
        values
            .get(2)
            .is_some_and(|id| *id > i64::try_from(parent.agent).unwrap_or(0)),
        || "the sub-agent has no number of its own".to_owned(),
    )?;
    ensure(parent.text() == "tester 1;", || {
        format!("self of the sub-agent: {}", parent.text())
    })?;
    parent.stop()?;
    nothing_left()
}

fn report_id(id: &str) -> u64 {
    id.parse().unwrap_or(0)
}

/// The errno of the list of agents, as an agent sees it; 0 when it shows `id`.
fn shown_to_another(id: &u64) -> i64 {
    match stage::dump(nl::AGENT_GET, &Attributes::new()) {
        Ok(list)
            if list
                .iter()
                .any(|reply| reply.u64(nl::A_AGENT_ID) == Some(*id)) =>
        {
            0
        }
        Ok(_) => -1,
        Err(refused) => i64::from(refused.errno),
    }
}

fn nesting_depth(ctx: &mut Ctx) -> Result<(), String> {
    ctx.policy("class worker may=worker\nDEFAULT action=ALLOW\n")?;
    // Eight levels: depth 0 to 7.
    let ended = ctx.as_agent("worker", "level", |report| {
        for _ in 0..9 {
            report.errno(worker::label("worker", "level").0);
        }
        report.text(&own("depth"));
    })?;
    let refused: Vec<i64> = ended
        .values
        .iter()
        .copied()
        .filter(|errno| *errno != 0)
        .collect();
    ensure(refused == [i64::from(libc::EAGAIN); 2], || {
        format!("labels: {:?}", ended.values)
    })?;
    ensure(ended.text == "7", || format!("depth {}", ended.text))?;
    nothing_left()
}

fn persists(ctx: &mut Ctx) -> Result<(), String> {
    let path = secret(ctx)?;
    let shell = format!("echo x > {path}");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .map_err(|error| error.to_string())?;
    let steps: [(&str, &dyn Fn() -> i32); 5] = [
        ("fork", &|| sys::in_child(|| sys::open_write(&path))),
        ("thread", &|| {
            let path = path.clone();
            std::thread::spawn(move || sys::open_write(&path))
                .join()
                .unwrap_or(-1)
        }),
        (
            "exec",
            &|| match sys::run(&["/usr/bin/busybox", "sh", "-c", &shell]) {
                0 => 0,
                status if status > 1000 => libc::EACCES,
                errno => 2000 + errno,
            },
        ),
        ("setuid", &|| {
            sys::in_child(|| {
                // SAFETY: No pointers are passed.
                if unsafe { libc::setresuid(1000, 1000, 1000) } != 0 {
                    return 200;
                }
                sys::open_write(&path)
            })
        }),
        ("setuid and exec", &|| {
            sys::in_child(|| {
                // SAFETY: No pointers are passed.
                if unsafe { libc::setresuid(1000, 1000, 1000) } != 0 {
                    return 200;
                }
                match sys::run(&["/usr/bin/busybox", "sh", "-c", &shell]) {
                    0 => 0,
                    _ => libc::EACCES,
                }
            })
        }),
    ];
    for (what, act) in steps {
        ctx.denied_only_to_agents(what, act)?;
    }
    nothing_left()
}

fn persists_over_a_new_policy(ctx: &mut Ctx) -> Result<(), String> {
    let path = ctx.file("secret", b"secret")?;
    ctx.worker_policy("")?;
    let agent = ctx.stepper("a", |_, _| i64::from(sys::open_write(&path)))?;
    let step = |what: &str, wanted| {
        expect_errno(what, i32::try_from(agent.step(0)?).unwrap_or(-1), wanted)
    };
    step("first policy", 0)?;
    ctx.worker_policy(&format!("op=FILE_WRITE path={path} action=DENY"))?;
    step("second policy", libc::EACCES)?;
    // A policy without the class: only what holds for every agent.
    ctx.policy(&format!("class other\nop=FILE_WRITE class=other path={path} action=ALLOW\nDEFAULT op=FILE_WRITE action=DENY\nDEFAULT action=ALLOW\n"))?;
    step("a policy without the class", libc::EACCES)?;
    ctx.worker_policy("")?;
    step("the first one again", 0)
}

/// A copy of busybox that labels who executes it, and a secret. Gives the program and the file.
fn labelling_program(ctx: &Ctx, options: &str) -> Result<(String, String), String> {
    let program = ctx.path("busybox");
    fs::copy("/usr/bin/busybox", &program).map_err(|error| error.to_string())?;
    let path = ctx.file("secret", b"secret")?;
    ctx.policy(&format!(
        "class worker\nclass other\nlabel exec={program} class=worker {options}\nop=FILE_WRITE class=worker path={path} action=DENY\nDEFAULT action=ALLOW\n"
    ))?;
    Ok((program, path))
}

fn by_execution(ctx: &mut Ctx) -> Result<(), String> {
    let (program, path) = labelling_program(ctx, "agent=robot")?;
    let script = format!("echo x > {path}");
    // The very same program under another name has no label.
    ensure(
        sys::run(&["/usr/bin/busybox", "sh", "-c", &script]) == 0,
        || "the control could not write".to_owned(),
    )?;
    let before = ctx.now()?;
    let got = sys::run(&[&program, "sh", "-c", &script]);
    ensure(got > 1000, || {
        format!("a program that policy labels could write: {got}")
    })?;
    let born = ctx.wait_event(before, "AGENT", |event| event.kind == 15)?;
    let payload = born.bytes.get(92 + 12..).unwrap_or_default();
    ensure(payload == b"\x06worker\x05robot", || {
        format!("the event says {:?}", String::from_utf8_lossy(payload))
    })?;
    // So have its children, whatever they execute.
    let nested = format!("/usr/bin/busybox sh -c '{script}'");
    let got = sys::run(&[&program, "sh", "-c", &nested]);
    ensure(got > 1000, || format!("a child of it could write: {got}"))?;
    // And through a link, a script's first line, or a descriptor.
    let link = ctx.path("link");
    std::os::unix::fs::symlink(&program, &link).map_err(|error| error.to_string())?;
    let got = sys::run(&[&link, "sh", "-c", &script]);
    ensure(got != 0, || "through a symlink it has no label".to_owned())?;
    let interpreted = ctx.file("script", format!("#!{program} sh\n{script}\n").as_bytes())?;
    fs::set_permissions(
        &interpreted,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .map_err(|error| error.to_string())?;
    let got = sys::run(&[&interpreted]);
    ensure(got > 1000, || {
        format!("as an interpreter it has no label: {got}")
    })?;
    nothing_left()
}

fn by_execution_default_name(ctx: &mut Ctx) -> Result<(), String> {
    let (program, _) = labelling_program(ctx, "")?;
    let before = ctx.now()?;
    ensure(sys::run(&[&program, "true"]) == 0, || {
        "the program did not run".to_owned()
    })?;
    let born = ctx.wait_event(before, "AGENT", |event| event.kind == 15)?;
    ensure(born.bytes.ends_with(b"\x07busybox"), || {
        "the agent is not named after the file".to_owned()
    })
}

fn by_execution_keeps_a_label(ctx: &mut Ctx) -> Result<(), String> {
    let (program, path) = labelling_program(ctx, "")?;
    let script = format!("echo x > {path}");
    // An agent of a class that may write stays of that class.
    let ended = ctx.as_agent("other", "a", |report| {
        report.push(i64::from(sys::run(&[&program, "sh", "-c", &script])))
    })?;
    expect_errno("an agent of another class executes it", ended.errno(0)?, 0)
}

fn by_execution_with_an_open_file(ctx: &mut Ctx) -> Result<(), String> {
    let (program, path) = labelling_program(ctx, "")?;
    // An open file that the label would not be allowed to open keeps the program from running at all.
    let ended = ctx.as_bystander(|report| {
        let Ok(file) = sys::open(&path, libc::O_WRONLY) else {
            return;
        };
        // SAFETY: No pointers are passed.
        unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_SETFD, 0) };
        report.push(i64::from(sys::run(&[&program, "true"])));
        drop(file);
        report.push(i64::from(sys::run(&[&program, "true"])));
    })?;
    expect_errno("with the file open", ended.errno(0)?, libc::EACCES)?;
    expect_errno("with the file closed", ended.errno(1)?, 0)?;
    nothing_left()
}

fn inherited_by(
    ctx: &Ctx,
    what: &str,
    make: impl Fn(&mut Report<'_>) -> i32,
) -> Result<Ended, String> {
    let ended = ctx.as_agent("worker", "a", |report| {
        let result = make(report);
        report.push(i64::from(result));
    })?;
    let last = ended.values.last().copied().unwrap_or(-1);
    ensure(last == 0, || format!("{what}: {last}; {:?}", ended.values))?;
    Ok(ended)
}

fn no_leak_after_many_forks(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("")?;
    nothing_left()?;
    let ended = inherited_by(ctx, "5000 forks", |_| {
        let mut failed = 0;
        for done in 0..5000 {
            if done % 250 == 0 {
                ctx.progress();
            }
            // SAFETY: Single threaded; the child ends at once.
            let pid = unsafe { libc::fork() };
            match pid {
                // SAFETY: Ends the child.
                0 => unsafe { libc::_exit(0) },
                -1 => failed += 1,
                pid => {
                    sys::wait(pid);
                }
            }
        }
        failed
    })?;
    ensure(ended.agent > 0, || "no agent".to_owned())?;
    nothing_left()
}

fn no_leak_after_many_threads(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("")?;
    inherited_by(ctx, "500 threads", |_| {
        let mut failed = 0;
        for _ in 0..500 {
            failed += i32::from(std::thread::spawn(|| {}).join().is_err());
        }
        failed
    })?;
    nothing_left()
}

fn no_leak_after_kill(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("")?;
    for _ in 0..20 {
        let agent = ctx.stepper("a", |_, _| 0)?;
        // Ends it in the middle of whatever it does.
        drop(agent);
    }
    nothing_left()
}

fn tasks_are_counted(ctx: &mut Ctx) -> Result<(), String> {
    ctx.worker_policy("")?;
    let mut children = Vec::new();
    let agent = ctx.stepper("a", move |_, count| {
        for _ in 0..count {
            // SAFETY: Single threaded.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                loop {
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            children.push(pid);
        }
        if count == 0 {
            for pid in children.drain(..) {
                // SAFETY: A child of this process.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                sys::wait(pid);
            }
        }
        0
    })?;
    for (count, tasks) in [(5, 6), (0, 1)] {
        agent.step(count)?;
        eventually(Duration::from_secs(3), || {
            let listed = shown(agent.agent)?.tasks;
            ensure(listed == tasks, || {
                format!("{listed} tasks listed instead of {tasks}")
            })?;
            let counted = stage::status_number("tasks")?;
            ensure(counted == tasks, || {
                format!("status counts {counted} tasks instead of {tasks}")
            })
        })?;
    }
    agent.stop()?;
    nothing_left()
}

fn requests_end_with_their_agent(ctx: &mut Ctx) -> Result<(), String> {
    let path = ctx.file("secret", b"secret")?;
    ctx.worker_policy(&format!("op=FILE_WRITE path={path} action=QUORUM"))?;
    let agent = ctx.stepper("a", |_, _| i64::from(sys::open_write(&path)))?;
    expect_errno(
        "write",
        i32::try_from(agent.step(0)?).unwrap_or(-1),
        libc::EACCES,
    )?;
    let request = ctx.open_request(agent.agent, op::FILE_WRITE)?;
    agent.stop()?;
    eventually(Duration::from_secs(3), || {
        let state = stage::request(&request.id)?.state;
        ensure(state == nl::CANCELLED, || {
            format!("the request of an ended agent is in state {state}")
        })
    })?;
    nothing_left()
}

/// The tests.
pub const TESTS: &[Test] = &[
    Test::new(
        "label_shows_in_self_and_in_the_list",
        label_shows_in_self_and_in_the_list,
    ),
    Test::new("label_of_any_user", label_of_any_user),
    Test::new("label_bad_names_and_classes", bad_names_and_classes),
    Test::new("label_not_single_threaded", not_single_threaded),
    Test::new("label_shared_files", shared_files_or_memory),
    Test::new("label_irrevocable", irrevocable),
    Test::new("label_sub_agents", sub_agents),
    Test::new("label_nesting_depth", nesting_depth),
    Test::new("label_persists", persists),
    Test::new(
        "label_persists_over_a_new_policy",
        persists_over_a_new_policy,
    ),
    Test::new("label_by_execution", by_execution),
    Test::new("label_by_execution_default_name", by_execution_default_name),
    Test::new(
        "label_by_execution_keeps_a_label",
        by_execution_keeps_a_label,
    ),
    Test::new(
        "label_by_execution_with_an_open_file",
        by_execution_with_an_open_file,
    ),
    Test::new("label_no_leak_after_many_forks", no_leak_after_many_forks),
    Test::new(
        "label_no_leak_after_many_threads",
        no_leak_after_many_threads,
    ),
    Test::new("label_no_leak_after_kill", no_leak_after_kill),
    Test::new("label_tasks_are_counted", tasks_are_counted),
    Test::new(
        "label_requests_end_with_their_agent",
        requests_end_with_their_agent,
    ),
];
