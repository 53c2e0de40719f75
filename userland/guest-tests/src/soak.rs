// SPDX-License-Identifier: GPL-2.0

//! Five hundred agents and eight validators for `SOAK_MINUTES`: memory stays flat, every verdict is right, nothing is lost.
//!
//! `scripts/soak` boots it, and has `tcpctl audit verify` decide everything anew afterwards from the log that is left in
//! `/mnt/out`, together with the counts of `result.json` there.

use crate::client::Client;
use crate::ensure;
use crate::harness::{
    self,
    fact,
    Ctx,
    Test, //
};
use crate::stage::{
    self,
    kind,
    nl,
    Event,
    Request,
    Res, //
};
use crate::stress;
use crate::worker;
use std::collections::{
    BTreeMap,
    VecDeque, //
};
use std::fs::{
    self,
    File,
    OpenOptions, //
};
use std::io::{
    Read as _,
    Write as _, //
};
use std::os::fd::{
    AsRawFd as _,
    OwnedFd, //
};
use std::process::{
    Child,
    Command,
    Stdio, //
};
use std::thread::sleep;
use std::time::{
    Duration,
    Instant, //
};

/// The test.
pub(crate) const TESTS: &[Test] = &[Test::new("five_hundred_agents", soak)];

const AGENTS: usize = 500;
const VALIDATORS: u32 = 8;
/// Users that the agents belong to: each may have 64 requests.
const USERS: usize = 20;
/// First of these users.
const FIRST_USER: u32 = 2000;
/// User of the first validator.
const FIRST_VOTER: u32 = 3000;
/// Bytes of events that may wait for a validator.
const WAITING: i32 = 16 << 20;
/// Files in each directory that takes a quorum.
const FILES: usize = 50;
/// Requests that may be under way at once.
const UNDER_WAY: u64 = 8;
/// How long after one change of policy the next is asked for, at least.
const BETWEEN_POLICIES: Duration = Duration::from_secs(5);
/// Grants that agents have used in between, lest a slow guest does nothing but change policies; or the most that it waits.
const BETWEEN_USES: u64 = 3;
const MOST_BETWEEN: Duration = Duration::from_secs(60);
/// Measurements of memory in a run, at least; one a minute otherwise.
const SAMPLES: u32 = 10;
/// The part of the run, in percent, in which tables and caches that only grow have grown.
const WARM_UP: usize = 30;
/// What may be lost in all, in KiB, whatever the length: caches differ by that much from one moment to another.
const NOISE_KIB: f64 = 1024.0;
/// The same where fewer than [`LONG_MINUTES`] follow the warm-up: tables that only grow still do.
const SHORT_NOISE_KIB: f64 = 4096.0;
const LONG_MINUTES: f64 = 10.0;
/// What may be lost in a minute beyond that, in KiB: less than 100 bytes a decision.
const SLOPE_KIB: f64 = 64.0;
/// Where results are left.
const OUT: &str = "/mnt/out";

/// What agents and validators tell, a byte each.
mod told {
    /// An agent has its label, or a validator listens.
    pub(super) const READY: u8 = b'r';
    /// An operation was let through by ALLOW.
    pub(super) const ALLOWED: u8 = b'a';
    /// An operation was refused by DENY.
    pub(super) const REFUSED: u8 = b'd';
    /// A token was taken, and an operation tried that takes a quorum.
    pub(super) const ASKED: u8 = b'q';
    /// A grant was used.
    pub(super) const USED: u8 = b'u';
    /// A grant did not come.
    pub(super) const GAVE_UP: u8 = b'g';
    /// A vote was counted.
    pub(super) const VOTE: u8 = b'v';
    /// A vote came after the decision.
    pub(super) const LATE: u8 = b'l';
}

fn dir() -> String {
    format!("{}/soak", stage::SCRATCH)
}

/// The rules; `number` changes the text, and what the lines are.
fn body(number: u64) -> String {
    let dir = dir();
    let fillers: String = (0..number % 5)
        .map(|n| format!("class filler{n}\n"))
        .collect();
    format!(
        "{fillers}class a\nDEFAULT action=ALLOW\n\
         op=FILE_WRITE,FILE_DELETE,FILE_RENAME class=a path={dir}/protected action=DENY\n\
         op=FILE_WRITE class=a path={dir}/grant action=QUORUM threshold=75% uses=1 ttl=1m timeout=1m\n\
         op=FILE_WRITE class=a path={dir}/deny action=QUORUM threshold=75% timeout=1m\n\
         op=FILE_WRITE class=a path={dir}/expire action=QUORUM threshold=75% timeout=3s\n\
         op=POLICY,VALIDATOR,MODE,UNLOAD,RECOVER action=QUORUM threshold=75%\n"
    )
}

/// How many minutes to run.
fn minutes() -> u32 {
    let text = std::env::var("SOAK_MINUTES").unwrap_or_default();
    text.parse().unwrap_or(30).max(1)
}

fn prepare() -> Res {
    let dir = dir();
    let _ = fs::remove_dir_all(&dir);
    for name in ["own", "protected", "grant", "deny", "expire"] {
        stage::make_dir(&format!("{dir}/{name}"))?;
    }
    stage::make_file(&format!("{dir}/protected/file"), "untouched")?;
    for name in ["grant", "deny", "expire"] {
        for n in 0..FILES {
            stage::make_file(&format!("{dir}/{name}/{n}"), "")?;
        }
    }
    fs::create_dir_all(format!("{OUT}/policies")).map_err(|e| e.to_string())?;
    stage::sealed(VALIDATORS, "soak", &body(0))?;
    keep_policy()
}

/// Leaves the text of the running policy for the auditor.
fn keep_policy() -> Res {
    let version = stage::status()?.policy_version;
    let path = format!("{OUT}/policies/{version}.policy");
    fs::write(&path, stage::running_policy()?).map_err(|e| format!("{path}: {e}"))
}

/// Tells one thing; whoever cannot has nobody left to do it for.
fn tell(to: &mut File, what: u8) {
    if to.write_all(&[what]).is_err() {
        std::process::exit(0);
    }
}

fn append(path: &str) -> i32 {
    worker::errno_of(
        &OpenOptions::new()
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(b"x")),
    )
}

/// One of the five hundred: sleeps, and does one operation after the other. The number of the step that went wrong.
fn agent(n: usize, tokens: &OwnedFd, results: &OwnedFd) -> i32 {
    worker::close_others(&[tokens.as_raw_fd(), results.as_raw_fd()]);
    // SAFETY: No pointers are passed; an agent must not outlive the test.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let user = FIRST_USER + u32::try_from(n % USERS).unwrap_or(0);
    if worker::become_user(user) != 0 || worker::label("a", &format!("soak{n}")).0 != 0 {
        return 100;
    }
    let (Ok(tokens), Ok(results)) = (tokens.try_clone(), results.try_clone()) else {
        return 101;
    };
    let (mut tokens, mut results) = (File::from(tokens), File::from(results));
    tell(&mut results, told::READY);
    let own = format!("{}/own/{n}", dir());
    for round in 0usize.. {
        sleep(Duration::from_millis(
            5000 + u64::try_from((n * 7919 + round * 104_729) % 5000).unwrap_or(0),
        ));
        if worker::errno_of(&fs::write(&own, b"x")) != 0 {
            return 1;
        }
        tell(&mut results, told::ALLOWED);
        if append(&format!("{}/protected/file", dir())) != libc::EACCES {
            return 2;
        }
        tell(&mut results, told::REFUSED);
        if round % 4 == n % 4 {
            match worker::fork(|| 0) {
                Ok(pid) if worker::wait(pid) == 0 => {}
                _ => return 3,
            }
        }
        // Whoever takes a token asks for something that needs a quorum.
        let mut fate = [0];
        if matches!(tokens.read(&mut fate), Ok(1)) {
            let step = ask(n, fate[0], &mut results);
            if step != 0 {
                return step;
            }
        }
    }
    0
}

/// Does an operation that takes a quorum, until it succeeds if it is to be granted.
fn ask(n: usize, fate: u8, results: &mut File) -> i32 {
    let name = match fate {
        b'd' => "deny",
        b'e' => "expire",
        _ => "grant",
    };
    let path = format!("{}/{name}/{}", dir(), n % FILES);
    match append(&path) {
        libc::EACCES => tell(results, told::ASKED),
        // A grant that came after this agent had given up.
        0 if name == "grant" => {
            tell(results, told::ASKED);
            tell(results, told::USED);
            return 0;
        }
        _ => return 4,
    }
    if name != "grant" {
        return 0;
    }
    for _ in 0..40 {
        sleep(Duration::from_millis(500));
        match append(&path) {
            0 => {
                tell(results, told::USED);
                return 0;
            }
            libc::EACCES => {}
            _ => return 5,
        }
    }
    tell(results, told::GAVE_UP);
    0
}

/// The verdict on a request; none is none.
fn verdict(request: &Request) -> Option<u8> {
    let path = harness::fact_text(request, fact::PATH);
    if path.contains("/expire/") {
        None
    } else if path.contains("/deny/") {
        Some(stage::DENY)
    } else {
        Some(stage::APPROVE)
    }
}

/// What a validator has still to vote on, as the events tell.
struct Ballot {
    events: Client,
    waiting: VecDeque<Request>,
}

impl Ballot {
    /// Takes the messages that are there; waits for one when there is nothing to vote on.
    fn listen(&mut self) -> Res {
        while self.waiting.is_empty() || worker::readable(self.events.fd(), Duration::ZERO) {
            let messages = match self.events.datagram() {
                Ok(messages) => messages,
                Err(refused) if refused.errno == libc::EAGAIN => continue,
                Err(refused) => return Err(format!("events: {refused:?}")),
            };
            for message in messages {
                if let Some(bytes) = message.attributes().bytes(nl::A_EVENT) {
                    self.take(&Event::decode(bytes, &[])?)?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &Event) -> Res {
        match event.kind {
            kind::REQUEST => {
                let request = Request::of_event(event)?;
                // All the others end when a policy changes, so this one is worth the most.
                if request.agent() == 0 {
                    self.waiting.push_front(request);
                } else if verdict(&request).is_some() {
                    self.waiting.push_back(request);
                }
            }
            kind::GRANTED | kind::DENIED | kind::EXPIRED | kind::CANCELLED => {
                self.waiting.retain(|request| request.id != event.request);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Votes on what comes, as a user of its own without privileges.
fn validate(number: u32, results: &OwnedFd) -> Res {
    let mut results = File::from(results.try_clone().map_err(|e| e.to_string())?);
    let mut voter = stage::voter(number)?;
    let events = stage::open()?;
    events
        .set(
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            &WAITING.to_ne_bytes(),
        )
        .and_then(|()| events.join_events())
        .map_err(|e| format!("events: {e:?}"))?;
    let user = worker::become_user(FIRST_VOTER + number);
    stage::expect_errno("becoming a user", user, 0)?;
    tell(&mut results, told::READY);
    let mut ballot = Ballot {
        events,
        waiting: VecDeque::new(),
    };
    loop {
        ballot.listen()?;
        let Some(request) = ballot.waiting.pop_front() else {
            continue;
        };
        let vote = voter.vote(&request, verdict(&request).unwrap_or(stage::APPROVE));
        match stage::submit(&voter.sign(&vote)) {
            Ok(_) => tell(&mut results, told::VOTE),
            Err(refused)
                if ["vote_closed_request", "vote_unknown_request"]
                    .iter()
                    .any(|code| refused.text.starts_with(code)) =>
            {
                tell(&mut results, told::LATE);
            }
            Err(refused) => return Err(format!("{refused:?}")),
        }
    }
}

fn validator(number: u32, results: &OwnedFd) -> i32 {
    // SAFETY: No pointers are passed; a validator must not outlive the test.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    match validate(number, results) {
        Ok(()) => 0,
        Err(why) => {
            println!("soak: validator {number}: {why}");
            1
        }
    }
}

/// Everybody who was started, by process.
struct Crowd {
    names: BTreeMap<libc::pid_t, String>,
    tokens: File,
    results: File,
    counts: BTreeMap<u8, u64>,
    /// Tokens that were given out.
    given: u64,
}

fn not_blocking(fd: &OwnedFd) -> Res {
    // SAFETY: No pointers are passed.
    let result = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    stage::expect_errno("fcntl", worker::outcome(i64::from(result)), 0)
}

impl Crowd {
    fn start() -> Res<Self> {
        let (take, tokens) = worker::pipe()?;
        let (results, tell) = worker::pipe()?;
        not_blocking(&take)?;
        not_blocking(&results)?;
        let mut names = BTreeMap::new();
        for n in 1..=VALIDATORS {
            let pid = worker::fork(|| validator(n, &tell))?;
            names.insert(pid, format!("validator {n}"));
        }
        for n in 0..AGENTS {
            let pid = worker::fork(|| agent(n, &take, &tell))?;
            names.insert(pid, format!("agent {n}"));
        }
        let mut crowd = Self {
            names,
            tokens: File::from(tokens),
            results: File::from(results),
            counts: BTreeMap::new(),
            given: 0,
        };
        stage::eventually(Duration::from_secs(300), || {
            crowd.listen()?;
            let ready = crowd.count(told::READY);
            let all = AGENTS as u64 + u64::from(VALIDATORS);
            ensure!(ready == all, "{ready} of {all} are ready");
            Ok(())
        })?;
        Ok(crowd)
    }

    fn count(&self, what: u8) -> u64 {
        self.counts.get(&what).copied().unwrap_or(0)
    }

    /// Takes what was told. Fails when somebody has ended.
    fn listen(&mut self) -> Res {
        let mut buffer = [0; 4096];
        while let Ok(n) = self.results.read(&mut buffer) {
            for what in buffer.iter().take(n) {
                *self.counts.entry(*what).or_default() += 1;
            }
            if n == 0 {
                break;
            }
        }
        let mut status = 0;
        // SAFETY: `status` is one int.
        let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
        match self.names.get(&pid) {
            Some(name) => Err(format!("{name} has ended with status {status:#x}")),
            None => Ok(()),
        }
    }

    /// Lets agents ask for more while not too much is under way: of ten, seven will be granted, two denied, one expires.
    fn feed(&mut self, open: u64) -> Res {
        let waiting = self.given.saturating_sub(
            self.count(told::ASKED), // Each takes one token.
        );
        for _ in (open + waiting)..UNDER_WAY {
            let fate = match self.given % 10 {
                3 | 7 => b'd',
                5 => b'e',
                _ => b'g',
            };
            self.tokens
                .write_all(&[fate])
                .map_err(|e| format!("tokens: {e}"))?;
            self.given += 1;
        }
        Ok(())
    }

    fn end(&mut self) {
        for pid in self.names.keys() {
            // SAFETY: A child of this process that has not been waited for.
            unsafe { libc::kill(*pid, libc::SIGKILL) };
        }
        for pid in std::mem::take(&mut self.names).into_keys() {
            worker::wait(pid);
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.end();
    }
}

/// The change of policy that is under way, and how many have been made.
struct Policies {
    last: Instant,
    used: u64,
    asked: Option<(String, [u8; 32], Instant)>,
    done: u64,
}

impl Policies {
    /// Goes on with the change that is under way, or asks for the next. `used` grants have been used so far.
    fn go_on(&mut self, used: u64) -> Res {
        let Some((text, id, since)) = &self.asked else {
            let waited = self.last.elapsed();
            let enough = used >= self.used + BETWEEN_USES || waited >= MOST_BETWEEN;
            if enough && waited >= BETWEEN_POLICIES {
                let text = stage::with_header("soak", &body(self.done + 1))?;
                let request = stage::request_policy(&text)?;
                self.asked = Some((text, request.id, Instant::now()));
            }
            return Ok(());
        };
        let request = stage::request(id)?;
        if request.state == nl::OPEN {
            ensure!(
                since.elapsed() < Duration::from_secs(120),
                "no decision on a policy after two minutes: {} of {} approve",
                request.approve,
                request.total
            );
            return Ok(());
        }
        ensure!(
            request.state == nl::GRANTED,
            "a policy is in state {}",
            request.state
        );
        stage::load_text(text.as_bytes()).map_err(|e| format!("granted policy: {e:?}"))?;
        keep_policy()?;
        self.done += 1;
        self.asked = None;
        self.last = Instant::now();
        self.used = used;
        Ok(())
    }

    /// Goes on with the change that is under way only. Fails while there is one.
    fn finish(&mut self, used: u64) -> Res {
        if self.asked.is_some() {
            self.go_on(used)?;
        }
        ensure!(self.asked.is_none(), "a change of policy is under way");
        Ok(())
    }
}

/// Memory at one moment, in KiB.
#[derive(Clone, Copy)]
struct Sample {
    /// Minutes since the beginning.
    at: f64,
    /// The kernel's own objects that cannot be reclaimed.
    slab: f64,
    /// Available memory, and what files on tmpfs take of it.
    free: f64,
}

fn meminfo(name: &str) -> Res<u64> {
    let text = stage::content("/proc/meminfo")?;
    text.lines()
        .find_map(|line| {
            let rest = line.strip_prefix(name)?.strip_prefix(':')?;
            rest.trim().strip_suffix(" kB")?.parse().ok()
        })
        .ok_or_else(|| format!("no {name} in /proc/meminfo"))
}

fn kib(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}

/// How much a figure rises a minute: the line of least squares.
fn slope(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let n = kib(samples.len() as u64);
    let mean = |f: &dyn Fn(&Sample) -> f64| samples.iter().map(f).sum::<f64>() / n;
    let (x, y) = (mean(&|s| s.at), mean(&of));
    let above: f64 = samples.iter().map(|s| (s.at - x) * (of(s) - y)).sum();
    let below: f64 = samples.iter().map(|s| (s.at - x) * (s.at - x)).sum();
    above / below
}

/// A run.
struct Run {
    start: Instant,
    crowd: Crowd,
    policies: Policies,
    samples: Vec<Sample>,
}

impl Run {
    fn sample(&mut self) -> Res {
        let slab = kib(stress::slab()?);
        let free = kib(meminfo("MemAvailable")? + meminfo("Shmem")?);
        let at = self.start.elapsed().as_secs_f64() / 60.0;
        self.samples.push(Sample { at, slab, free });
        let status = stage::status()?;
        let counter = |name: &str| status.counter(name);
        println!(
            "soak: minute {at:.1}: decisions {}, requests {}, votes {} ({} late), granted {}, used {}, denied {}, expired {}, \
             cancelled {}, policies {}; agents {}, tasks {}, requests open {}; SUnreclaim {slab} KiB, free {free} KiB",
            counter("decisions")?,
            counter("requests")?,
            counter("votes")?,
            self.crowd.count(told::LATE),
            counter("granted")?,
            counter("grants_used")?,
            counter("denied")?,
            counter("expired")?,
            counter("cancelled")?,
            self.policies.done,
            stage::status_number("agents")?,
            stage::status_number("tasks")?,
            stage::status_number("requests")?,
        );
        let agents = stage::status_number("agents")?;
        ensure!(agents == AGENTS as u64, "{agents} agents");
        Ok(())
    }

    /// Runs until the time is over.
    fn go(&mut self, length: Duration) -> Res {
        let every = (length / SAMPLES).min(Duration::from_secs(60));
        let mut next = self.start + every;
        while self.start.elapsed() < length {
            self.crowd.listen()?;
            self.policies.go_on(self.crowd.count(told::USED))?;
            if self.policies.asked.is_none() {
                self.crowd.feed(stage::status_number("requests")?)?;
            }
            if Instant::now() >= next {
                self.sample()?;
                next += every;
            }
            sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// The loss of memory a minute, in KiB: of the kernel's objects, and of all. Fails when it is too much.
    fn judge(&self) -> Res<(f64, f64)> {
        let from = self.samples.len() * WARM_UP / 100;
        let samples = self.samples.get(from..).unwrap_or_default();
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            return Err("no samples".to_string());
        };
        let minutes = last.at - first.at;
        let slab = slope(samples, |s| s.slab);
        let used = -slope(samples, |s| s.free);
        println!(
            "soak: after a warm-up of {:.1} minutes: SUnreclaim grows by {slab:.1} KiB a minute, memory in use by {used:.1}",
            first.at
        );
        let noise = if minutes < LONG_MINUTES {
            SHORT_NOISE_KIB
        } else {
            NOISE_KIB
        };
        for (name, slope, scale) in [("SUnreclaim", slab, 1.0), ("memory in use", used, 4.0)] {
            let limit = scale * (noise + SLOPE_KIB * minutes);
            let lost = slope * minutes;
            // What is no number is not flat.
            let flat = lost <= limit;
            ensure!(
                flat,
                "{name} grew by {lost:.0} KiB in {minutes:.1} minutes, more than {limit:.0}"
            );
        }
        Ok((slab, used))
    }
}

/// Runs `tcpctl` in the directory of results.
fn tcpctl(line: &str) -> Res {
    let output = Command::new("tcpctl")
        .args(line.split(' '))
        .current_dir(OUT)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("tcpctl: {e}"))?;
    ensure!(
        output.status.success(),
        "tcpctl {line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The log, written as events happen.
struct Exporter(Child);

impl Exporter {
    fn start() -> Res<Self> {
        Command::new("tcpctl")
            .args(["events", "export", "--follow", "--out", "node.log"])
            .current_dir(OUT)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map(Self)
            .map_err(|e| format!("tcpctl: {e}"))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // It has ended already where that was reported.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until the log no longer grows, and so has everything.
fn log_is_whole() -> Res {
    let size = || fs::metadata(format!("{OUT}/node.log")).map_or(0, |of| of.len());
    let mut last = (0, Instant::now());
    stage::eventually(Duration::from_secs(60), || {
        if size() != last.0 {
            last = (size(), Instant::now());
        }
        ensure!(
            last.0 > 0 && last.1.elapsed() > Duration::from_secs(3),
            "the log of {} bytes still grows",
            last.0
        );
        Ok(())
    })
}

/// Leaves what the host compares with the log.
fn leave(run: &Run, slopes: (f64, f64)) -> Res {
    let status = stage::status()?;
    let mut text = format!(
        "{{\n \"agents\": {AGENTS},\n \"validators\": {VALIDATORS},\n \"minutes\": {},\n \"policies\": {},\n \
         \"used\": {},\n \"gave_up\": {},\n \"late\": {},\n \"slab_slope_kib\": {:.1},\n \"memory_slope_kib\": {:.1},\n \
         \"samples\": {},\n",
        minutes(),
        run.policies.done,
        run.crowd.count(told::USED),
        run.crowd.count(told::GAVE_UP),
        run.crowd.count(told::LATE),
        slopes.0,
        slopes.1,
        run.samples.len(),
    );
    for (name, value) in &status.counters {
        text += &format!(" \"counter_{name}\": {value},\n");
    }
    text += &format!(" \"last\": {}\n}}\n", status.event);
    fs::write(format!("{OUT}/result.json"), text).map_err(|e| e.to_string())
}

/// What agents saw is what the module counted.
fn check(run: &Run) -> Res {
    let status = stage::status()?;
    for (name, most) in [("failed", 0), ("labels_failed", 0), ("quarantined", 0)] {
        let count = status.counter(name)?;
        ensure!(count <= most, "{count} {name}");
    }
    for name in ["granted", "denied", "expired"] {
        ensure!(status.counter(name)? > 0, "none was {name}");
    }
    let (seen, used) = (run.crowd.count(told::USED), status.counter("grants_used")?);
    // The changes of policy use grants, too.
    ensure!(
        seen > 0 && used == seen + run.policies.done,
        "agents used {seen} grants and {} policies one each, the node counts {used}",
        run.policies.done
    );
    let votes = status.counter("votes")?;
    ensure!(
        votes == run.crowd.count(told::VOTE),
        "validators cast {} votes, the node counts {votes}",
        run.crowd.count(told::VOTE)
    );
    let content = stage::content(&format!("{}/protected/file", dir()))?;
    ensure!(
        content == "untouched",
        "the protected file is now {content}"
    );
    Ok(())
}

fn soak(_: &mut Ctx) -> Res {
    stage::in_setup()?;
    // What an agent leaves behind when it is ended becomes a child of this process.
    // SAFETY: No pointers are passed.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    fs::create_dir_all(OUT).map_err(|e| e.to_string())?;
    let exporter = Exporter::start()?;
    prepare()?;
    let crowd = Crowd::start()?;
    let start = Instant::now();
    println!("soak: {AGENTS} agents and {VALIDATORS} validators are ready");
    let mut run = Run {
        start,
        crowd,
        policies: Policies {
            last: start,
            used: 0,
            asked: None,
            done: 0,
        },
        samples: Vec::new(),
    };
    run.go(Duration::from_secs(60 * u64::from(minutes())))?;
    let slopes = run.judge()?;
    // Those who wait for a grant get it or give up; then what validators and agents have told is everything.
    stage::eventually(Duration::from_secs(90), || {
        run.crowd.listen()?;
        run.policies.finish(run.crowd.count(told::USED))?;
        let open = stage::status_number("requests")?;
        ensure!(open == 0, "{open} requests are open");
        check(&run)
    })?;
    run.crowd.end();
    stress::nothing_left()?;
    tcpctl("state save")?;
    tcpctl("attest key create --out ak.pem")?;
    let nonce = stage::content("/mnt/share/nonce")?;
    tcpctl(&format!(
        "attest quote --nonce {} --out quote.json",
        nonce.trim()
    ))?;
    log_is_whole()?;
    drop(exporter);
    leave(&run, slopes)
}
