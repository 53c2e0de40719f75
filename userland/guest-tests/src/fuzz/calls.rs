// SPDX-License-Identifier: GPL-2.0

//! System calls with senseless arguments, made by `trinity` as an agent that may not touch a set of objects.
//!
//! The objects are open to the user that it runs as, so that nothing but the module keeps them; without a label the same
//! program destroys them, which shows that it tries. While it runs its processes are stopped now and then and counted: as
//! many labels as tasks.

use super::{
    random::Random,
    seed,
    share, //
};
use crate::agent::{
    self,
    Who, //
};
use crate::ensure;
use crate::harness::Ctx;
use crate::hooks::sys;
use crate::keys::sha256;
use crate::stage::{
    self,
    hex,
    Res, //
};
use crate::worker;
use std::collections::BTreeMap;
use std::fs::{
    self,
    File, //
};
use std::os::unix::fs::{
    MetadataExt as _,
    PermissionsExt as _, //
};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::{
    Command,
    Stdio, //
};
use std::time::{
    Duration,
    Instant, //
};

/// Whom it runs as: nobody else runs as this user.
const UID: u32 = 4242;

/// Calls of one run.
const CALLS: u64 = 10_000;

/// A control group, which holds whatever is forked, keeps it from eating the machine, and stops and ends it as one.
struct Cage(String);

impl Cage {
    fn new() -> Res<Self> {
        let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids");
        let path = format!("/sys/fs/cgroup/fuzz-{}", std::process::id());
        fs::create_dir_all(&path).map_err(|e| format!("{path}: {e}"))?;
        let cage = Self(path);
        cage.set("memory.max", "600M")?;
        cage.set("pids.max", "300")?;
        Ok(cage)
    }

    fn set(&self, name: &str, value: &str) -> Res {
        let path = format!("{}/{name}", self.0);
        fs::write(&path, value).map_err(|e| format!("{path}: {e}"))
    }

    fn event(&self, key: &str) -> Res<bool> {
        let text = stage::content(&format!("{}/cgroup.events", self.0))?;
        Ok(text.lines().any(|line| line == format!("{key} 1")))
    }

    /// Ends everything in it.
    fn end(&self) -> Res {
        self.set("cgroup.freeze", "0")?;
        self.set("cgroup.kill", "1")?;
        stage::eventually(Duration::from_secs(20), || {
            reap(0);
            ensure!(!self.event("populated")?, "what was forked does not end");
            Ok(())
        })
    }

    /// Stops everything, compares labels and tasks, and lets it go on.
    fn compare(&self, except: i32) -> Res<u64> {
        self.set("cgroup.freeze", "1")?;
        let frozen = stage::eventually(Duration::from_secs(5), || {
            ensure!(self.event("frozen")?, "not stopped yet");
            Ok(())
        });
        // A task in an uninterruptible sleep is not stopped: the next time, then.
        let counted = match frozen {
            Ok(()) => Self::count(except),
            Err(_) => Ok(0),
        };
        self.set("cgroup.freeze", "0")?;
        counted
    }

    /// The labels of tasks that have just ended go a little later.
    fn count(except: i32) -> Res<u64> {
        let mut seen = 0;
        stage::eventually(Duration::from_secs(5), || {
            reap(0);
            seen = tasks(except)?;
            let labels = stage::status_number("tasks")?;
            ensure!(labels == seen, "{labels} labels of {seen} tasks");
            Ok(())
        })?;
        Ok(seen)
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        let _ = self.end();
        let _ = fs::remove_dir(&self.0);
    }
}

/// Waits for every child that has ended; whether that one was among them.
fn reap(wanted: i32) -> bool {
    let mut found = false;
    loop {
        // SAFETY: No status is asked for.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            pid if pid > 0 => found |= pid == wanted,
            _ => return found,
        }
    }
}

/// Threads of the user's, but for those of one process; those included that have ended and were not waited for.
fn tasks(except: i32) -> Res<u64> {
    let mut count = 0;
    for process in fs::read_dir("/proc").map_err(|e| e.to_string())?.flatten() {
        // It may end meanwhile.
        let Ok(threads) = fs::read_dir(process.path().join("task")) else {
            continue;
        };
        if process.file_name().to_string_lossy() == except.to_string() {
            continue;
        }
        for thread in threads.flatten() {
            let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            count += u64::from(status.contains(&format!("Uid:\t{UID}\t")));
        }
    }
    Ok(count)
}

/// The objects: what they are, whose, how many names they have, and what is in them.
fn objects(dir: &str) -> Res<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let mut todo = vec![dir.to_string()];
    while let Some(path) = todo.pop() {
        let data = fs::symlink_metadata(&path).map_err(|e| format!("{path}: {e}"))?;
        let content = if data.is_file() {
            hex(&sha256(&[
                &fs::read(&path).map_err(|e| format!("{path}: {e}"))?
            ]))
        } else if data.is_symlink() {
            format!("{:?}", fs::read_link(&path))
        } else {
            String::new()
        };
        if data.is_dir() {
            for entry in fs::read_dir(&path)
                .map_err(|e| format!("{path}: {e}"))?
                .flatten()
            {
                todo.push(entry.path().to_string_lossy().into_owned());
            }
        }
        let (inode, mode, names) = (data.ino(), data.mode(), data.nlink());
        let what = format!(
            "{inode} {mode:o} {} {} {names} {} {content}",
            data.uid(),
            data.gid(),
            data.size()
        );
        all.insert(path, what);
    }
    Ok(all)
}

/// What is denied, and who must not be touched.
struct Objects {
    dir: String,
    before: BTreeMap<String, String>,
    bystander: agent::Child,
    _socket: UnixListener,
}

impl Objects {
    fn new(ctx: &Ctx) -> Res<Self> {
        let top = ctx.dir("calls")?;
        // One file system for all, so that links and renames lead out of it; and what is filled up is this one.
        let path = sys::c(&top);
        // SAFETY: The strings have their terminators.
        let mounted = unsafe {
            libc::mount(
                c"tmpfs".as_ptr(),
                path.as_ptr(),
                c"tmpfs".as_ptr(),
                0,
                c"size=96m".as_ptr().cast(),
            )
        };
        ensure!(mounted == 0, "mounting {top}: errno {}", worker::errno());
        let dir = format!("{top}/denied");
        for name in ["", "/dir", "/dir/deeper"] {
            make_theirs(&format!("{dir}{name}"), None)?;
        }
        make_theirs(&format!("{top}/work"), None)?;
        for (n, name) in ["file", "other", "dir/file", "dir/deeper/file"]
            .into_iter()
            .enumerate()
        {
            make_theirs(&format!("{dir}/{name}"), Some(&vec![b'a'; 700 * n + 11]))?;
        }
        let program = fs::read("/usr/bin/true").map_err(|e| e.to_string())?;
        make_theirs(&format!("{dir}/program"), Some(&program))?;
        std::os::unix::fs::symlink("file", format!("{dir}/link")).map_err(|e| e.to_string())?;
        let socket = UnixListener::bind(format!("{dir}/socket")).map_err(|e| e.to_string())?;
        // Of the same user, so that signals would reach it.
        let bystander = agent::spawn_stepper(&Who::Free, |_, step| match step {
            0 => worker::become_user(UID).into(),
            step => step + 1,
        })
        .map_err(|(_, text)| text)?;
        ensure!(bystander.step(0)? == 0, "the bystander is not of that user");
        Ok(Self {
            before: objects(&dir)?,
            dir,
            bystander,
            _socket: socket,
        })
    }

    fn top(&self) -> &str {
        self.dir.trim_end_matches("/denied")
    }

    fn policy(&self) -> String {
        format!(
            "class a may=a\nDEFAULT action=ALLOW\n\
             op=FILE_WRITE,FILE_CREATE,FILE_DELETE,FILE_RENAME,FILE_LINK,FILE_ATTR class=a path={0} action=DENY\n\
             op=EXEC,MMAP_EXEC,UNIX_CONNECT class=a path={0} action=DENY\n\
             op=KILL,PTRACE,MOUNT,MODULE_LOAD,KEXEC_LOAD,BPF,PERF class=a action=DENY\n",
            self.dir
        )
    }

    /// Which of them are not what they were.
    fn changed(&self) -> Res<Vec<String>> {
        let now = objects(&self.dir)?;
        let all = self.before.iter().chain(&now).map(|(path, _)| path);
        let mut changed: Vec<String> = all
            .filter(|path| self.before.get(*path) != now.get(*path))
            .map(|path| format!("{path}: {:?} is {:?}", self.before.get(path), now.get(path)))
            .collect();
        changed.sort();
        changed.dedup();
        Ok(changed)
    }

    /// Nothing has happened to any of them.
    fn intact(&self) -> Res {
        let changed = self.changed()?;
        ensure!(
            changed.is_empty(),
            "denied objects have changed: {}",
            changed.join("; ")
        );
        ensure!(
            self.bystander.step(41)? == 42,
            "the bystander does not answer"
        );
        let status = stage::content(&format!("/proc/{}/status", self.bystander.pid))?;
        ensure!(
            status.contains("TracerPid:\t0\n"),
            "the bystander is traced"
        );
        Ok(())
    }
}

/// Makes a file, or a directory, that is the user's own.
fn make_theirs(path: &str, content: Option<&[u8]>) -> Res {
    match content {
        Some(content) => fs::write(path, content),
        None => fs::create_dir_all(path),
    }
    .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o777)))
    .and_then(|()| std::os::unix::fs::chown(path, Some(UID), Some(UID)))
    .map_err(|e| format!("{path}: {e}"))
}

/// What trinity says at its end: calls, successes.
fn said(output: &str) -> Option<(u64, u64)> {
    let line = output
        .lines()
        .rev()
        .find_map(|line| line.split_once("Ran "))?
        .1;
    let numbers: Vec<u64> = line
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|word| word.parse().ok())
        .collect();
    Some((*numbers.first()?, *numbers.get(1)?))
}

/// Becomes trinity; the errno when that fails.
fn start(objects: &Objects, output: &File, seed: &str, group: Option<&str>) -> i32 {
    let user = worker::become_user(UID);
    let (Ok(out), Ok(errors), 0) = (output.try_clone(), output.try_clone(), user) else {
        return user.max(1);
    };
    let error = Command::new("trinity")
        // Only a report of the kernel ends it; and no log, which would be one more file that it writes.
        .args([
            "-q",
            "-q",
            "-l",
            "off",
            "-C",
            "4",
            "-T",
            "BAD_PAGE,DIE,WARN,MACHINE_CHECK",
        ])
        .args(["-N", &CALLS.to_string(), "-s", seed, "-V", &objects.dir])
        .args(group.map_or(Vec::new(), |name| vec!["-g", name]))
        .current_dir(format!("{}/work", objects.top()))
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(errors)
        .exec();
    error.raw_os_error().unwrap_or(-1)
}

/// Runs trinity once in a cage, as `who`; how many calls it made and how many of them succeeded.
fn run(
    who: &Who<'_>,
    objects: &Objects,
    random: &mut Random,
    group: Option<&str>,
    limit: Duration,
    mut meanwhile: impl FnMut(&Cage) -> Res,
) -> Res<(u64, u64)> {
    let cage = Cage::new()?;
    let log = format!("{}.log", objects.dir);
    let output = File::create(&log).map_err(|e| e.to_string())?;
    let seed = random.below(1 << 31).to_string();
    // What it leaves behind becomes a child of this process.
    // SAFETY: No pointers are passed.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let child = agent::spawn_stepper(who, |_, _| start(objects, &output, &seed, group).into())
        .map_err(|(errno, text)| format!("label: {errno} {text}"))?;
    cage.set("cgroup.procs", &child.pid.to_string())?;
    child.start(0);
    let start = Instant::now();
    let pid = child.pid;
    // Whoever is not waited for keeps a label.
    child.left_to_others();
    while start.elapsed() < limit && !reap(pid) {
        std::thread::sleep(Duration::from_millis(500));
        meanwhile(&cage)?;
    }
    cage.end()?;
    let output = fs::read(&log).map_err(|e| e.to_string())?;
    let output = String::from_utf8_lossy(&output);
    // One that was ended before it was done has said nothing.
    Ok(said(&output).unwrap_or((0, 0)))
}

/// Without a label it destroys what it is given.
pub(super) fn unlabelled(ctx: &mut Ctx) -> Res {
    let seed = seed("fuzz calls without a label");
    let objects = Objects::new(ctx)?;
    stage::prepare(4, "calls", &objects.policy())?;
    let mut random = Random::new(&[seed, 6]);
    for round in 0..5 {
        run(
            &Who::Free,
            &objects,
            &mut random,
            Some("vfs"),
            Duration::from_secs(15),
            |_| Ok(()),
        )?;
        let changed = objects.changed();
        // One that cannot be looked at any more has changed, too.
        if changed.as_ref().map_or(true, |changed| !changed.is_empty()) {
            println!(
                "fuzz calls without a label: {} changed in round {round}",
                changed.map_or(0, |c| c.len())
            );
            return Ok(());
        }
    }
    Err(format!("FUZZ_SEED={seed}: nothing was changed by a task without a label, so that the oracle proves nothing"))
}

/// With one it does not, and nothing that it starts is without one.
pub(super) fn labelled(ctx: &mut Ctx) -> Res {
    let seed = seed("fuzz calls");
    let objects = Objects::new(ctx)?;
    stage::prepare(4, "calls", &objects.policy())?;
    let (start, before) = (Instant::now(), stage::status()?);
    let mut random = Random::new(&[seed, 7]);
    let (mut calls, mut succeeded, mut most, mut looks) = (0, 0, 0, 0);
    // Two of them are within what a test may take, however slow this host is.
    let limit = share(30).clamp(Duration::from_secs(15), Duration::from_secs(60));
    let mut number = 0u64;
    while number < 2 || start.elapsed() < share(30) {
        let group = [Some("vfs"), None, Some("vfs"), Some("vm")][random.index(4)];
        let group = if number == 0 { Some("vfs") } else { group };
        let went = |why: String| format!("FUZZ_SEED={seed}, round {number} of fuzz calls: {why}");
        let made = run(
            &Who::Agent("a", "trinity"),
            &objects,
            &mut random,
            group,
            limit,
            |cage| {
                let tasks = cage.compare(objects.bystander.pid)?;
                most = most.max(tasks);
                looks += u64::from(tasks > 1);
                objects.intact()
            },
        )
        .map_err(went)?;
        objects.intact().map_err(went)?;
        calls += made.0;
        succeeded += made.1;
        number += 1;
        let _ = fs::remove_dir_all(format!("{}/work", objects.top()));
        make_theirs(&format!("{}/work", objects.top()), None)?;
    }
    println!("fuzz calls: {number} runs, {calls} calls, {succeeded} succeeded, labels counted {looks} times, of {most} tasks at most");
    ensure!(looks > 0, "it was never looked at");
    judged(&before)
}

/// It was refused, its labels were inherited, and none is left.
fn judged(before: &stage::Status) -> Res {
    let after = stage::status()?;
    let grew = |name: &str| Ok::<u64, String>(after.counter(name)? - before.counter(name)?);
    println!(
        "fuzz calls: {} decisions, {} refused",
        grew("decisions")?,
        grew("refused")?
    );
    ensure!(grew("refused")? > 0, "it was never refused");
    ensure!(grew("labels_failed")? == 0, "a label was not inherited");
    stage::eventually(Duration::from_secs(10), || {
        for what in ["agents", "tasks"] {
            let left = stage::status_number(what)?;
            ensure!(left == 0, "{left} {what} are left");
        }
        Ok(())
    })
}
