// SPDX-License-Identifier: GPL-2.0

//! Runs tests, each in a process of its own, and gives them what they share.

use crate::{
    agent::{
        self,
        Child,
        Ended,
        Report,
        Who, //
    },
    stage::{
        self,
        errno_name,
        expect_errno,
        nl,
        Event,
        Request, //
    },
    stress::variable, //
};
use std::{
    fs,
    io::{
        self,
        Read,
        Write, //
    },
    os::unix::net::UnixStream,
    panic,
    path::{
        Path,
        PathBuf, //
    },
    time::{
        Duration,
        Instant, //
    },
};

/// One behaviour or attack.
pub struct Test {
    /// Its name.
    pub name: &'static str,
    /// What it does; `Err` says what was wrong.
    pub run: fn(&mut Ctx) -> Result<(), String>,
}

impl Test {
    /// A test called `name`.
    pub const fn new(name: &'static str, run: fn(&mut Ctx) -> Result<(), String>) -> Self {
        Self { name, run }
    }
}

/// Tests that share one boot.
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Options of `qemu/run.sh` that it needs.
    pub boot: &'static str,
    /// Its tests, in the order in which they run.
    pub tests: &'static [&'static [Test]],
}

/// How long one test may take on the stock kernel, seconds, beyond what `STRESS_SECONDS`, `FUZZ_SECONDS` and
/// `SOAK_MINUTES` ask for.
const LIMIT_S: u64 = 60;

/// How long one test may take.
fn limit() -> Duration {
    let more = variable("STRESS_SECONDS", 0) + variable("FUZZ_SECONDS", 0);
    // A soak needs some minutes before and after.
    let soak = match variable("SOAK_MINUTES", 0) {
        0 => 0,
        minutes => 60 * minutes + 900,
    };
    patience(Duration::from_secs(LIMIT_S + 2 * more + soak))
}

/// How long to wait for what takes at most `stock` on the stock kernel: longer on one that watches itself. The guest's
/// `init` says how many times (`TEST_SLOWDOWN`).
pub fn patience(stock: Duration) -> Duration {
    let times = std::env::var("TEST_SLOWDOWN").ok();
    stock * times.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// What a test works with.
pub struct Ctx {
    /// An empty directory on tmpfs, removed after the test.
    pub scratch: PathBuf,
    /// To the runner.
    runner: Option<UnixStream>,
}

/// What [`Ctx::progress`] sends.
const PROGRESS: u8 = 0;

/// The errno of a result, 0 for success.
pub fn errno_of<T>(result: &io::Result<T>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    }
}

/// The errno of a system call's return value, 0 for success.
pub fn errno(result: impl Into<i64>) -> i32 {
    if result.into() < 0 {
        io::Error::last_os_error().raw_os_error().unwrap_or(-1)
    } else {
        0
    }
}

/// Fails with `text` unless `condition`.
pub fn ensure(condition: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if condition {
        Ok(())
    } else {
        Err(text())
    }
}

/// Validators that tests share; three of them are a quorum at the default threshold.
pub const VALIDATORS: u32 = 4;

/// Operations (`wire-format.rst`).
pub mod op {
    pub const EXEC: u16 = 1;
    pub const MMAP_EXEC: u16 = 2;
    pub const FILE_READ: u16 = 3;
    pub const FILE_WRITE: u16 = 4;
    pub const FILE_CREATE: u16 = 5;
    pub const FILE_DELETE: u16 = 6;
    pub const FILE_RENAME: u16 = 7;
    pub const FILE_LINK: u16 = 8;
    pub const FILE_ATTR: u16 = 9;
    pub const MODULE_LOAD: u16 = 10;
    pub const KEXEC_LOAD: u16 = 11;
    pub const MOUNT: u16 = 12;
    pub const PTRACE: u16 = 13;
    pub const BPF: u16 = 14;
    pub const PERF: u16 = 15;
    pub const NET_CONNECT: u16 = 16;
    pub const NET_BIND: u16 = 17;
    pub const NET_SEND: u16 = 18;
    pub const UNIX_CONNECT: u16 = 19;
    pub const SETUID: u16 = 20;
    pub const USERNS: u16 = 21;
    pub const IO_URING: u16 = 22;
    pub const KILL: u16 = 23;

    const NAMES: [&str; 24] = [
        "?",
        "EXEC",
        "MMAP_EXEC",
        "FILE_READ",
        "FILE_WRITE",
        "FILE_CREATE",
        "FILE_DELETE",
        "FILE_RENAME",
        "FILE_LINK",
        "FILE_ATTR",
        "MODULE_LOAD",
        "KEXEC_LOAD",
        "MOUNT",
        "PTRACE",
        "BPF",
        "PERF",
        "NET_CONNECT",
        "NET_BIND",
        "NET_SEND",
        "UNIX_CONNECT",
        "SETUID",
        "USERNS",
        "IO_URING",
        "KILL",
    ];

    /// Name of an operation.
    pub fn name(op: u16) -> &'static str {
        NAMES.get(usize::from(op)).copied().unwrap_or("?")
    }
}

/// Kind of the event that an AUDIT rule, or a refusal in permissive mode, writes.
pub const AUDIT: u16 = 18;

/// Tags of a request's facts (`wire-format.rst`).
pub mod fact {
    pub const PATH: u16 = 1;
    pub const TARGET: u16 = 2;
    pub const TARGET_OBJECT: u16 = 3;
    pub const NAME: u16 = 4;
    pub const ARGC: u16 = 5;
    pub const ARG: u16 = 6;
    pub const ARGS_DIGEST: u16 = 7;
    pub const ADDRESS: u16 = 8;
    pub const FLAGS: u16 = 9;
    pub const MODE: u16 = 10;
    pub const OWNER: u16 = 11;
    pub const COMMAND: u16 = 12;
    pub const TASK: u16 = 13;
    pub const SIZE: u16 = 14;
    pub const HOOK: u16 = 17;
}

/// A big-endian number of a wire encoding; what lies beyond its end counts as zero.
pub fn be(bytes: &[u8], at: usize, length: usize) -> u64 {
    (at..at + length).fold(0, |all, at| {
        (all << 8) | u64::from(bytes.get(at).copied().unwrap_or(0))
    })
}

/// Content digest of a request.
pub fn content_digest(request: &Request) -> &[u8] {
    request.encoding.get(192..224).unwrap_or_default()
}

/// Device, inode number and generation of a request's object.
pub fn object_id(request: &Request) -> (u64, u64, u64) {
    let bytes = &request.encoding;
    (be(bytes, 168, 8), be(bytes, 176, 8), be(bytes, 184, 4))
}

/// Facts of a request: tag and value, in their order.
pub fn facts(request: &Request) -> Vec<(u16, Vec<u8>)> {
    let bytes = &request.encoding;
    let number = |at, length| usize::try_from(be(bytes, at, length)).unwrap_or(0);
    let mut at = 224;
    at += 1 + number(at, 1);
    at += 1 + number(at, 1);
    let count = number(at, 2);
    at += 2;
    let mut facts = Vec::new();
    for _ in 0..count {
        let length = number(at + 2, 2);
        let Some(value) = bytes.get(at + 4..at + 4 + length) else {
            break;
        };
        facts.push((u16::try_from(number(at, 2)).unwrap_or(0), value.to_vec()));
        at += 4 + length;
    }
    facts
}

/// The first fact of a tag.
pub fn fact_of(request: &Request, tag: u16) -> Option<Vec<u8>> {
    facts(request)
        .into_iter()
        .find(|(found, _)| *found == tag)
        .map(|(_, value)| value)
}

/// The first fact of a tag, as text; empty when there is none.
pub fn fact_text(request: &Request, tag: u16) -> String {
    String::from_utf8_lossy(&fact_of(request, tag).unwrap_or_default()).into_owned()
}

impl Clone for Ctx {
    fn clone(&self) -> Self {
        Self {
            scratch: self.scratch.clone(),
            runner: self
                .runner
                .as_ref()
                .and_then(|runner| runner.try_clone().ok()),
        }
    }
}

impl Ctx {
    /// Says that the test goes on: its time begins anew.
    pub fn progress(&self) {
        if let Some(mut runner) = self.runner.as_ref() {
            let _ = runner.write_all(&[PROGRESS]);
        }
    }

    /// A path in the scratch directory.
    pub fn path(&self, name: &str) -> String {
        self.scratch.join(name).to_string_lossy().into_owned()
    }

    /// Makes a file in the scratch directory; its path.
    pub fn file(&self, name: &str, content: &[u8]) -> Result<String, String> {
        let path = self.path(name);
        if let Some(parent) = Path::new(&path).parent() {
            fs::create_dir_all(parent).map_err(|error| format!("{}: {error}", parent.display()))?;
        }
        fs::write(&path, content).map_err(|error| format!("{path}: {error}"))?;
        Ok(path)
    }

    /// Makes a directory in the scratch directory; its path.
    pub fn dir(&self, name: &str) -> Result<String, String> {
        let path = self.path(name);
        fs::create_dir_all(&path).map_err(|error| format!("{path}: {error}"))?;
        Ok(path)
    }

    /// Loads a policy of the next version in enforce mode, with the shared validators enrolled. Line 1 is the header,
    /// so the first line of `body` is line 2.
    pub fn policy(&self, body: &str) -> Result<(), String> {
        stage::prepare(VALIDATORS, "test", body).map_err(|why| format!("{why}\n{body}"))
    }

    /// Loads a policy for class `worker`: `rules` (line 3 and on), then DEFAULT ALLOW.
    pub fn worker_policy(&self, rules: &str) -> Result<(), String> {
        self.policy(&format!("class worker\n{rules}\nDEFAULT action=ALLOW\n"))
    }

    /// Permissive mode. The next policy that a test loads ends it.
    pub fn permissive(&self) -> Result<(), String> {
        stage::set_mode(nl::PERMISSIVE)
            .map(drop)
            .map_err(|refused| format!("mode: {refused:?}"))
    }

    /// Forks an agent of `class`, runs `body` in it and waits for its end.
    pub fn as_agent<F>(&self, class: &str, name: &str, body: F) -> Result<Ended, String>
    where
        F: FnOnce(&mut Report<'_>),
    {
        let child = agent::spawn(&Who::Agent(class, name), |report| {
            body(report);
            0
        })
        .map_err(|(errno, text)| format!("label: {} {text}", errno_name(errno)))?;
        check_end(child.wait()?)
    }

    /// Forks a process without a label, runs `body` in it and waits for its end.
    pub fn as_bystander<F>(&self, body: F) -> Result<Ended, String>
    where
        F: FnOnce(&mut Report<'_>),
    {
        let child = agent::spawn(&Who::Free, |report| {
            body(report);
            0
        })
        .map_err(|(_, text)| text)?;
        check_end(child.wait()?)
    }

    /// An agent of class `worker` that runs `body(argument)` for each step.
    pub fn stepper<F>(&self, name: &str, body: F) -> Result<Child, String>
    where
        F: FnMut(&mut Report<'_>, i64) -> i64,
    {
        agent::spawn_stepper(&Who::Agent("worker", name), body)
            .map_err(|(errno, text)| format!("label: {} {text}", errno_name(errno)))
    }

    /// Labelling must fail: gives errno and message.
    pub fn label_refused(&self, class: &str, name: &str) -> Result<(i32, String), String> {
        match agent::spawn(&Who::Agent(class, name), |_| 0) {
            Ok(_) => Err("the label was given".to_owned()),
            Err(refused) => Ok(refused),
        }
    }

    /// Runs `body` both as an agent of class `worker` and without a label; gives both errnos.
    pub fn both<F>(&self, body: F) -> Result<(i32, i32), String>
    where
        F: Fn() -> i32,
    {
        let agent = self.as_agent("worker", "a", |report| report.errno(body()))?;
        let free = self.as_bystander(|report| report.errno(body()))?;
        Ok((agent.errno(0)?, free.errno(0)?))
    }

    /// The agent is refused with EACCES and the same operation without a label succeeds.
    pub fn denied_only_to_agents<F>(&self, what: &str, body: F) -> Result<(), String>
    where
        F: Fn() -> i32,
    {
        let (agent, free) = self.both(body)?;
        expect_errno(&format!("{what} (agent)"), agent, libc::EACCES)?;
        expect_errno(&format!("{what} (without a label)"), free, 0)
    }

    /// Number of the last event.
    pub fn now(&self) -> Result<u64, String> {
        Ok(stage::status()?.event)
    }

    /// Events after number `after`.
    pub fn events_since(&self, after: u64) -> Result<Vec<Event>, String> {
        stage::events_after(after)
    }

    /// Waits up to 3 s for an event after `after` that `wanted` accepts.
    pub fn wait_event(
        &self,
        after: u64,
        what: &str,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, String> {
        let start = Instant::now();
        loop {
            let events = self.events_since(after)?;
            if let Some(found) = events.iter().find(|event| wanted(event)) {
                return Ok(found.clone());
            }
            if start.elapsed() > patience(Duration::from_secs(3)) {
                let seen: Vec<_> = events
                    .iter()
                    .map(|event| {
                        format!(
                            "{}:kind={},op={},result={},agent={}",
                            event.number, event.kind, event.op, event.result, event.agent
                        )
                    })
                    .collect();
                return Err(format!(
                    "no event \"{what}\" after {after}; seen: {}",
                    seen.join(" ")
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The newest open request of an agent for an operation.
    pub fn open_request(&self, agent: u64, op: u16) -> Result<Request, String> {
        let requests = stage::requests()?;
        requests
            .iter()
            .filter(|request| {
                request.agent() == agent
                    && request.op() == u64::from(op)
                    && request.state == nl::OPEN
            })
            .max_by_key(|request| request.created())
            .cloned()
            .ok_or_else(|| {
                let seen: Vec<_> = requests
                    .iter()
                    .map(|request| {
                        format!(
                            "agent={},op={},state={}",
                            request.agent(),
                            request.op(),
                            request.state
                        )
                    })
                    .collect();
                format!(
                    "agent {agent} has no open request for {}; requests: {}",
                    op::name(op),
                    seen.join(" ")
                )
            })
    }

    /// Number of open requests of an agent.
    pub fn open_count(&self, agent: u64) -> Result<usize, String> {
        let open = stage::open_requests()?;
        Ok(open
            .iter()
            .filter(|request| request.agent() == agent)
            .count())
    }

    /// Two validators approve, which decides nothing; the third vote must grant.
    pub fn grant(&self, request: &Request) -> Result<(), String> {
        let two = stage::approve_by(request, 2)?;
        ensure(two.state == nl::OPEN, || {
            format!(
                "two of four approvals left the request in state {}",
                two.state
            )
        })?;
        let mut third = stage::voter(3)?;
        let three = third
            .cast(request, stage::APPROVE)
            .map_err(|refused| format!("v3 approves: {refused:?}"))?;
        ensure(three.state == nl::GRANTED, || {
            format!(
                "three of four approvals left the request in state {}",
                three.state
            )
        })
    }

    /// An AUDIT event of this agent and operation, with this result.
    pub fn audit(&self, after: u64, agent: u64, op: u16, result: i32) -> Result<Event, String> {
        let what = format!("AUDIT of {}, result {result}", op::name(op));
        self.wait_event(after, &what, |event| {
            event.kind == AUDIT
                && event.agent == agent
                && event.op == op
                && i32::from(event.result) == result
        })
    }

    /// A REFUSED event of this agent and operation, with EACCES.
    pub fn refused(&self, after: u64, agent: u64, op: u16) -> Result<Event, String> {
        let what = format!("REFUSED of {}", op::name(op));
        self.wait_event(after, &what, |event| {
            event.kind == stage::kind::REFUSED
                && event.agent == agent
                && event.op == op
                && i32::from(event.result) == libc::EACCES
        })
    }
}

fn check_end(ended: Ended) -> Result<Ended, String> {
    ensure(ended.exit == Some(0), || {
        format!("the child did not end well: {ended:?}")
    })?;
    Ok(ended)
}

/// Kills and reaps whatever the test left behind; this process is their subreaper.
fn sweep() {
    let own = std::process::id().to_string();
    for _ in 0..50 {
        let mut left = false;
        let Ok(entries) = fs::read_dir("/proc") else {
            return;
        };
        for entry in entries.flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat
                .rsplit(')')
                .next()
                .and_then(|rest| rest.split_whitespace().nth(1));
            if parent == Some(own.as_str()) {
                left = true;
                // SAFETY: A child of this process that nobody else waits for.
                unsafe {
                    libc::kill(pid, libc::SIGKILL);
                    libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG);
                }
            }
        }
        if !left {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Runs one test in a process of its own.
fn run_one(test: &Test) -> Result<(), String> {
    let (mut ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    // SAFETY: This process is single threaded.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(format!("fork: {}", io::Error::last_os_error()));
    }
    let scratch = PathBuf::from(format!("/tmp/guest-tests/{}", test.name));
    if pid == 0 {
        drop(ours);
        let mut theirs = theirs;
        // Children that outlive the test go to the runner, which ends them.
        let result = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            let _ = fs::remove_dir_all(&scratch);
            fs::create_dir_all(&scratch).map_err(|error| error.to_string())?;
            let mut ctx = Ctx {
                scratch: scratch.clone(),
                runner: theirs.try_clone().ok(),
            };
            (test.run)(&mut ctx)
        }));
        let text = match result {
            Ok(Ok(())) => "ok".to_owned(),
            Ok(Err(text)) => format!("FAIL {text}"),
            Err(panic) => format!(
                "FAIL panic: {}",
                panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied())
                    .unwrap_or("?")
            ),
        };
        let _ = theirs.write_all(text.as_bytes());
        // SAFETY: Ends the test's process; nothing of the runner is flushed twice.
        unsafe { libc::_exit(0) };
    }
    drop(theirs);
    let _ = ours.set_read_timeout(Some(Duration::from_millis(200)));
    let mut start = Instant::now();
    let mut text = String::new();
    let mut buffer = [0u8; 4096];
    let verdict = loop {
        match ours.read(&mut buffer) {
            Ok(0) => break None,
            Ok(got) if buffer[..got].iter().all(|byte| *byte == PROGRESS) => {
                start = Instant::now();
            }
            Ok(got) => {
                text.push_str(&String::from_utf8_lossy(&buffer[..got]));
                text.retain(|c| c != char::from(PROGRESS));
                let mut status = 0;
                // SAFETY: `status` outlives the call. A test that has reported ends at once.
                unsafe { libc::waitpid(pid, &mut status, 0) };
                while let Ok(got) = ours.read(&mut buffer) {
                    if got == 0 {
                        break;
                    }
                    text.push_str(&String::from_utf8_lossy(&buffer[..got]));
                }
                break None;
            }
            Err(_) => {
                let mut status = 0;
                // SAFETY: `status` outlives the call.
                if unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } == pid {
                    break Some(format!("the test's process ended with status {status:#x}"));
                }
                if start.elapsed() > limit() {
                    break Some(format!("took more than {} s", limit().as_secs()));
                }
            }
        }
    };
    // SAFETY: The pid is our child's, dead or alive, and not yet reused while it is unreaped.
    unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0);
    }
    sweep();
    crate::hooks::mounts::unmount_below("/tmp/guest-tests");
    let _ = fs::remove_dir_all(&scratch);
    match (verdict, text.as_str()) {
        (Some(why), _) => Err(why),
        (None, "ok") => Ok(()),
        (None, text) => Err(text
            .strip_prefix("FAIL ")
            .unwrap_or("ended without a verdict")
            .to_owned()),
    }
}

/// Tells whoever watches the guest which test begins: a line in the kernel's trace.
fn mark(group: &str, test: &str) {
    let _ = fs::write(
        "/sys/kernel/tracing/trace_marker",
        format!("test {group}/{test}"),
    );
}

/// Runs the tests of `group` whose name contains `filter`. True when all passed.
pub fn run(group: &Group, filter: &str) -> bool {
    // SAFETY: No pointers are passed.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    panic::set_hook(Box::new(|info| {
        let _ = writeln!(io::stderr(), "panic: {info}");
    }));
    let (mut passed, mut failed) = (0, 0);
    for test in group.tests.iter().copied().flatten() {
        if !test.name.contains(filter) {
            continue;
        }
        mark(group.name, test.name);
        let line = match run_one(test) {
            Ok(()) => {
                passed += 1;
                format!("ok {}\n", test.name)
            }
            Err(why) => {
                failed += 1;
                format!("FAIL {}: {why}\n", test.name)
            }
        };
        let _ = io::stdout().write_all(line.as_bytes());
        let _ = io::stdout().flush();
    }
    mark(group.name, "(end)");
    println!("{}: {passed} passed, {failed} failed", group.name);
    failed == 0 && passed > 0
}
