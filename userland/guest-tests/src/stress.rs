// SPDX-License-Identifier: GPL-2.0

//! Two hundred agents at once: no leak, no report, no wrong verdict.
//!
//! `STRESS_SECONDS` says for how long (20 without it), `STRESS_PROGRAMS` how many of the agents are a `stress-ng` (24
//! without it, all 200 at most; the others do the same kinds of work themselves).

use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::stage::{
    self,
    nl,
    Res, //
};
use crate::worker::{
    self,
    Agent, //
};
use std::collections::BTreeMap;
use std::fs::{
    self,
    File,
    OpenOptions, //
};
use std::io::Write as _;
use std::process::{
    Command,
    Stdio, //
};
use std::time::{
    Duration,
    Instant, //
};

/// The tests.
pub(crate) const TESTS: &[Test] = &[
    Test {
        name: "two_hundred_agents",
        run: two_hundred,
    },
    Test {
        name: "policy_changes_under_load",
        run: policy_changes,
    },
];

const AGENTS: usize = 200;

/// Classes of stress-ng that meet the hooks.
const STRESSORS: &[&[&str]] = &[
    &["--fork", "1"],
    &["--exec", "1"],
    &["--open", "1"],
    &["--rename", "1"],
    &["--mmap", "1", "--mmap-bytes", "1m"],
    &["--sock", "1"],
    &["--link", "1"],
    &["--chmod", "1"],
];

/// A number that the environment gives.
pub(crate) fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn dir() -> String {
    format!("{}/stress", stage::SCRATCH)
}

fn body() -> String {
    let dir = dir();
    format!(
        "class a\nDEFAULT action=ALLOW\n\
         op=FILE_WRITE,FILE_DELETE,FILE_RENAME,FILE_LINK,FILE_ATTR class=a path={dir}/protected action=DENY\n\
         op=FILE_WRITE class=a path={dir}/quorum action=QUORUM threshold=75% timeout=2s\n\
         op=EXEC class=a path={dir}/programs action=DENY\n"
    )
}

fn prepare() -> Res {
    let dir = dir();
    let _ = fs::remove_dir_all(&dir);
    for name in ["protected", "quorum", "allowed", "programs"] {
        stage::make_dir(&format!("{dir}/{name}"))?;
    }
    stage::make_file(&format!("{dir}/protected/file"), "untouched")?;
    stage::make_file(&format!("{dir}/quorum/file"), "untouched")?;
    fs::copy("/usr/bin/true", format!("{dir}/programs/true")).map_err(|e| e.to_string())?;
    stage::prepare(4, "stress", &body())
}

/// Gives back what caches keep for later.
pub(crate) fn shrink_caches() {
    let _ = fs::write("/proc/sys/vm/drop_caches", "3");
    if let Ok(caches) = fs::read_dir("/sys/kernel/slab") {
        for cache in caches.flatten() {
            let _ = fs::write(cache.path().join("shrink"), "1");
        }
    }
}

/// Memory of the kernel's own objects that cannot be reclaimed, in KiB.
pub(crate) fn slab() -> Res<u64> {
    shrink_caches();
    let text = stage::content("/proc/meminfo")?;
    text.lines()
        .find_map(|line| {
            line.strip_prefix("SUnreclaim:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .ok_or_else(|| "no SUnreclaim in /proc/meminfo".to_string())
}

/// How many KiB each cache of the kernel's allocator has in use.
pub(crate) fn caches() -> BTreeMap<String, u64> {
    let text = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?.to_string();
            let objects: u64 = words.next()?.parse().ok()?;
            let size: u64 = words.nth(1)?.parse().ok()?;
            Some((name, objects * size / 1024))
        })
        .collect()
}

/// The caches that have grown most, for the message of a leak.
pub(crate) fn growth(before: &BTreeMap<String, u64>) -> String {
    let mut grown: Vec<_> = caches()
        .into_iter()
        .map(|(name, now)| {
            (
                now.saturating_sub(before.get(&name).copied().unwrap_or(0)),
                name,
            )
        })
        .collect();
    grown.sort();
    grown
        .iter()
        .rev()
        .take(8)
        .map(|(kib, name)| format!("{name} +{kib}"))
        .collect::<Vec<_>>()
        .join(", ")
}

/// What an agent that is no stress-ng does until the time is over: the same kinds of work, each verdict checked. The
/// number of the step that went wrong, 0 for none.
fn work(n: usize, until: Instant) -> i32 {
    let dir = dir();
    let mine = format!("{dir}/allowed/{n}");
    let (from, to) = (format!("{mine}/a"), format!("{mine}/b"));
    let protected = format!("{dir}/protected/file");
    let denied = |errno: i32| errno == libc::EACCES;
    if fs::create_dir_all(&mine).is_err() {
        return 1;
    }
    let mut round = 0usize;
    while Instant::now() < until {
        round += 1;
        if File::create(&from)
            .and_then(|mut f| f.write_all(b"x"))
            .is_err()
        {
            return 2;
        }
        if fs::rename(&from, &to).is_err() || fs::remove_file(&to).is_err() {
            return 3;
        }
        if !denied(worker::errno_of(
            &OpenOptions::new().append(true).open(&protected),
        )) {
            return 4;
        }
        if !denied(worker::errno_of(&fs::rename(
            &protected,
            format!("{mine}/stolen"),
        ))) {
            return 5;
        }
        if !denied(worker::errno_of(&fs::remove_file(&protected))) {
            return 6;
        }
        if round % 4 == n % 4 {
            match worker::fork(|| 0) {
                Ok(pid) if worker::wait(pid) == 0 => {}
                _ => return 7,
            }
        }
        if round % 16 == n % 16 {
            if worker::exec(&["/usr/bin/true"]).0 != 0 {
                return 8;
            }
            if !denied(worker::exec(&[&format!("{dir}/programs/true")]).0) {
                return 9;
            }
            if !denied(worker::errno_of(
                &OpenOptions::new()
                    .append(true)
                    .open(format!("{dir}/quorum/file")),
            )) {
                return 10;
            }
        }
        if round % 8 == n % 8 {
            let pair = std::os::unix::net::UnixStream::pair();
            if pair.and_then(|(mut a, _b)| a.write_all(b"x")).is_err() {
                return 11;
            }
        }
    }
    0
}

/// Labels this task and becomes one of the two hundred.
fn agent(n: usize, programs: usize, until: Instant) -> i32 {
    let (errno, _) = worker::label("a", &format!("stress{n}"));
    if errno != 0 {
        return 100;
    }
    if n >= programs {
        return work(n, until);
    }
    let mine = format!("{}/allowed/{n}", dir());
    if fs::create_dir_all(&mine).is_err() {
        return 1;
    }
    let seconds = until
        .saturating_duration_since(Instant::now())
        .as_secs()
        .max(1)
        .to_string();
    let kind = STRESSORS
        .get(n % STRESSORS.len())
        .copied()
        .unwrap_or_default();
    // No two may want the same port.
    let port = (10_000 + 8 * n).to_string();
    let ports: &[&str] = if kind.contains(&"--sock") {
        &["--sock-port", &port]
    } else {
        &[]
    };
    let status = Command::new("stress-ng")
        .args(kind)
        .args(ports)
        .args([
            "--timeout",
            &seconds,
            "--temp-path",
            &mine,
            "--quiet",
            "--oomable",
        ])
        .current_dir(&mine)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => 0,
        Ok(status) => 200 + status.code().unwrap_or(55).min(54),
        Err(_) => 101,
    }
}

/// Checks, while the agents run, that nothing protected has changed.
fn sample() -> Res {
    let dir = dir();
    for name in ["protected", "quorum"] {
        let now = stage::content(&format!("{dir}/{name}/file"))?;
        ensure!(now == "untouched", "{name}/file is now \"{now}\"");
    }
    ensure!(
        fs::metadata(format!("{dir}/programs/true")).is_ok(),
        "the program is gone"
    );
    Ok(())
}

/// Runs the agents for that long, doing something meanwhile; how each ended.
fn run(
    count: usize,
    programs: usize,
    length: Duration,
    mut meanwhile: impl FnMut() -> Res,
) -> Res<Vec<i32>> {
    // What the programs leave behind becomes a child of this process.
    // SAFETY: No pointers are passed.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let until = Instant::now() + length;
    let alive = || stage::status_number("agents").unwrap_or(0);
    let mut pids = Vec::new();
    let mut most = 0;
    for n in 0..count {
        pids.push(worker::fork(|| agent(n, programs, until))?);
        // On a slow host the first ones end before the last one has begun.
        if n % 16 == 0 {
            most = most.max(alive());
        }
    }
    let mut result = Ok(());
    while result.is_ok() && Instant::now() < until {
        result = sample().and_then(|()| meanwhile());
        most = most.max(alive());
        std::thread::sleep(Duration::from_millis(200));
    }
    let ends = pids.into_iter().map(worker::wait).collect();
    result?;
    sample()?;
    ensure!(
        most >= count as u64 / 2,
        "only {most} of {count} agents were alive at once"
    );
    Ok(ends)
}

/// Fails when a label or a request outlives the agents.
pub(crate) fn nothing_left() -> Res {
    stage::eventually(Duration::from_secs(10), || {
        // A zombie keeps its label. SAFETY: No status is asked for; every agent has been waited for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        for what in ["agents", "tasks", "requests"] {
            let left = stage::status_number(what)?;
            ensure!(left == 0, "{left} {what} are left");
        }
        Ok(())
    })
}

fn check_ends(ends: &[i32]) -> Res {
    for (n, end) in ends.iter().enumerate() {
        ensure!(*end == 0, "agent {n} of {} ended with {end}", ends.len());
    }
    Ok(())
}

fn two_hundred(_: &mut Ctx) -> Res {
    prepare()?;
    let seconds = variable("STRESS_SECONDS", 20);
    let programs = usize::try_from(variable("STRESS_PROGRAMS", 24))
        .unwrap_or(AGENTS)
        .min(AGENTS);
    // Once before the measurement, so that caches which only grow have grown.
    check_ends(&run(40, 8, Duration::from_secs(3), || Ok(()))?)?;
    nothing_left()?;
    let before = (slab()?, stage::status()?, caches());
    check_ends(&run(
        AGENTS,
        programs,
        Duration::from_secs(seconds),
        || Ok(()),
    )?)?;
    nothing_left()?;
    let mut agent = Agent::start("a")?;
    agent.expect(
        libc::EACCES,
        &["append", &format!("{}/protected/file", dir())],
    )?;
    agent.expect(0, &["create", &format!("{}/allowed/after", dir())])?;
    agent.end()?;
    let after = stage::status()?;
    ensure!(
        after.counter("labels_failed")? == before.1.counter("labels_failed")?
            && after.counter("failed")? == before.1.counter("failed")?,
        "some operations could not be judged: {:?}",
        after.counters
    );
    ensure!(
        after.counter("decisions")? > before.1.counter("decisions")? + 10_000,
        "only {} decisions",
        after.counter("decisions")? - before.1.counter("decisions")?
    );
    // A label or a decision that leaked a hundred bytes would show: there were tens of thousands.
    let _ = fs::remove_dir_all(format!("{}/allowed", dir()));
    stage::eventually(Duration::from_secs(20), || {
        let now = slab()?;
        ensure!(
            now <= before.0 + 8192,
            "SUnreclaim was {} KiB and is {now} KiB; most has gone to (KiB): {}",
            before.0,
            growth(&before.2)
        );
        Ok(())
    })
}

fn policy_changes(_: &mut Ctx) -> Res {
    prepare()?;
    let mut changes = 0;
    // Every policy protects the same file; between them the classes' places and the rules' lines change.
    let ends = run(50, 0, Duration::from_secs(8), || {
        changes += 1;
        let filler: String = (0..changes % 7)
            .map(|n| format!("class filler{n}\n"))
            .collect();
        stage::load_body("stress", &format!("{filler}{}", body()))
    })?;
    check_ends(&ends)?;
    ensure!(changes > 5, "only {changes} changes of policy");
    nothing_left()?;
    ensure!(stage::status()?.mode == nl::ENFORCE, "the mode changed");
    Ok(())
}
