// SPDX-License-Identifier: GPL-2.0

//! The module comes and goes, again and again, and whatever shares the kernel with it does not notice.
//!
//! The group boots without the module. `LIFECYCLE_CYCLES` says how often the longest test loads and unloads it (8
//! without it); `make lifecycle` sets 1,000.

mod cycles;
mod failing;
mod sharing;
mod sleepers;

use crate::agent::{
    self,
    Child,
    Who, //
};
use crate::bpf::Program;
use crate::btf::Btf;
use crate::ensure;
use crate::harness::Test;
use crate::hooks::sys;
use crate::recall::pin;
use crate::stage::{
    self,
    expect_errno,
    Res, //
};
use crate::state;
use crate::stress;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{
    AtomicBool,
    AtomicI64,
    AtomicU64,
    Ordering::SeqCst, //
};
use std::time::{
    Duration,
    Instant, //
};

/// The tests, in their order: the last one seals a node.
pub(crate) const TESTS: &[&[Test]] = &[
    failing::TESTS,
    sharing::TESTS,
    sleepers::TESTS,
    cycles::TESTS,
    failing::SEALED,
];

/// Enrolled in every load.
const VALIDATORS: u32 = 1;

/// Makes the files that the rules are about, and gives the rules: `denied/f` may not be written to, `held/f` waits for votes.
fn rules(top: &Path) -> Res<String> {
    let top = top.to_string_lossy();
    for name in ["denied", "held"] {
        stage::make_dir(&format!("{top}/{name}"))?;
        stage::make_file(&format!("{top}/{name}/f"), "untouched")?;
    }
    Ok(format!(
        "class a\nDEFAULT action=ALLOW\n\
         op=FILE_WRITE class=a path={top}/denied action=DENY\n\
         op=FILE_WRITE,EXEC,MODULE_LOAD class=a path={top}/held action=QUORUM threshold=75% hold=50s timeout=60s\n"
    ))
}

/// Loads the module and puts it to work; how long loading took.
fn begin(parameters: &str, top: &Path) -> Res<Duration> {
    // A test that failed may have left it there.
    state::unload()?;
    let start = Instant::now();
    state::load_patiently(parameters)?;
    let took = start.elapsed();
    stage::prepare(VALIDATORS, "lifecycle", &rules(top)?)?;
    Ok(took)
}

/// Unloads the module, after which nothing of it may be left; how long that took.
fn end() -> Res<Duration> {
    let start = Instant::now();
    state::unload()?;
    let took = start.elapsed();
    stage::no_trace()?;
    Ok(took)
}

/// Unloads the module in a child, which may take long.
fn end_in_child() -> Res<Child> {
    agent::spawn(&Who::Free, |_| match state::unload() {
        Ok(()) => 0,
        Err(_) => 1,
    })
    .map_err(|(_, text)| text)
}

/// Waits for such a child.
fn ended(child: Child) -> Res {
    let ended = child.wait()?;
    ensure!(ended.exit == Some(0), "unloading failed: {ended:?}");
    stage::no_trace()
}

/// Whether a child has ended, without waiting for it.
pub(crate) fn is_over(child: &Child) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.pid)).unwrap_or_default();
    // The state follows the name, which is in parentheses; a child that nobody has waited for is a zombie.
    stat.rsplit(") ")
        .next()
        .is_none_or(|rest| rest.starts_with('Z'))
}

/// Nothing is redirected or traced.
fn nothing_traced() -> Res {
    let functions = stage::content("/sys/kernel/tracing/enabled_functions")?;
    ensure!(
        functions.trim().is_empty(),
        "functions are still traced:\n{functions}"
    );
    Ok(())
}

// --- BPF programs ---------------------------------------------------------------------------------

/// `BPF_F_SLEEPABLE`: the program may sleep.
const SLEEPABLE: u32 = 1 << 4;

/// Attaches the program to each of the hooks.
fn programs(hooks: &[&'static str], code: &[u64], flags: u32) -> Res<Vec<Program>> {
    let path = "/sys/kernel/btf/vmlinux";
    let types = fs::read(path).map_err(|e| format!("{path}: {e}"))?;
    let btf = Btf::parse(&types).ok_or_else(|| format!("{path} is not BTF"))?;
    hooks
        .iter()
        .map(|hook| Program::attach(&btf, hook, code, flags))
        .collect()
}

// --- the function tracer --------------------------------------------------------------------------

/// The function tracer at the stubs of all hooks, until this is dropped.
struct Tracer;

impl Tracer {
    fn start() -> Res<Self> {
        stage::tracefs("set_ftrace_filter", "bpf_lsm_*")?;
        stage::tracefs("current_tracer", "function")?;
        Ok(Self)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = stage::tracefs("current_tracer", "nop");
        let _ = stage::tracefs("set_ftrace_filter", "");
        let _ = stage::tracefs("trace", "");
    }
}

// --- load -----------------------------------------------------------------------------------------

/// What the busy processes and the test share.
#[repr(C)]
struct Page {
    done: [AtomicU64; 3],
    /// The first errno, and which kind of work it ended.
    failed: AtomicI64,
    paused: AtomicBool,
}

/// Kinds of work.
const WORK: [&str; 3] = ["open", "fork", "exec"];

/// Processes that keep every processor busy: on each, one opens, forks and executes all the time. None has a label, so that
/// nothing that they do may ever fail.
struct Busy {
    page: &'static Page,
    children: Vec<Child>,
}

/// Makes a file, moves, reads and removes it.
fn use_files(from: &str, to: &str) -> i32 {
    let all = fs::write(from, "x")
        .and_then(|()| fs::rename(from, to))
        .and_then(|()| fs::read(to).map(drop))
        .and_then(|()| fs::remove_file(to));
    crate::worker::errno_of(&all)
}

impl Busy {
    fn start(top: &Path) -> Res<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let at = sys::map(-1, protection, libc::MAP_SHARED | libc::MAP_ANONYMOUS)
            .map_err(|errno| format!("mmap: {}", stage::errno_name(errno)))?;
        // SAFETY: A page of zeroes, which are valid here; it is never unmapped.
        let page = unsafe { &*at.cast::<Page>() };
        let mut children = Vec::new();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        for cpu in 0..cpus {
            let from = format!("{}/busy{cpu}", top.display());
            children.push(
                agent::spawn(&Who::Free, move |_| page.work(cpu, &from))
                    .map_err(|(_, text)| text)?,
            );
        }
        Ok(Self { page, children })
    }

    /// How often each kind of work was done; an error when any of it failed.
    fn done(&self) -> Res<[u64; 3]> {
        let failed = self.page.failed.load(SeqCst);
        let kind = usize::try_from(failed / 10_000).unwrap_or(0);
        ensure!(
            failed == 0,
            "{} of a task without a label failed: errno {}",
            WORK.get(kind).unwrap_or(&"?"),
            failed % 10_000
        );
        Ok([0, 1, 2].map(|kind| self.page.done[kind].load(SeqCst)))
    }

    /// Pauses the work, or goes on with it.
    fn pause(&self, pause: bool) {
        self.page.paused.store(pause, SeqCst);
        if pause {
            std::thread::sleep(Duration::from_millis(1500));
        }
    }
}

impl Page {
    fn work(&self, cpu: usize, from: &str) -> i32 {
        let to = format!("{from}.moved");
        let mut errno = pin(cpu);
        // Every processor is busy all the time; but on a slow host the test itself is to go on as well.
        // SAFETY: No pointers are passed.
        unsafe { libc::nice(19) };
        let mut kind = 0;
        let mut round = 0;
        while errno == 0 {
            if self.paused.load(SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
            // A program takes as long as ten files.
            round += 1;
            kind = [0, 0, 0, 0, 0, 0, 0, 1, 1, 2][round % 10];
            errno = match kind {
                0 => use_files(from, &to),
                1 => sys::in_child(|| 0),
                _ => sys::run(&["/usr/bin/true"]),
            };
            self.done[kind].fetch_add(1, SeqCst);
        }
        let code = i64::from(errno) + 10_000 * i64::try_from(kind).unwrap_or(0);
        let _ = self.failed.compare_exchange(0, code, SeqCst, SeqCst);
        1
    }
}

// --- memory ---------------------------------------------------------------------------------------

/// What the kernel uses for itself, KiB; free memory is counted as it shrinks.
#[derive(Clone)]
struct Memory {
    fields: [u64; 4],
    caches: BTreeMap<String, u64>,
}

/// Lines of `/proc/meminfo`, and by how many KiB each may have grown in the end. They are far below what the loads of a
/// test leave behind when each leaves a page.
const FIELDS: [(&str, u64); 4] = [
    ("SUnreclaim", 2048),
    ("Percpu", 128),
    ("VmallocUsed", 512),
    ("KernelStack", 512),
];

impl Memory {
    fn now() -> Res<Self> {
        stress::shrink_caches();
        let text = stage::content("/proc/meminfo")?;
        let mut fields = [0; 4];
        for (field, (name, _)) in fields.iter_mut().zip(FIELDS) {
            *field = crate::sys::field(&text, name).ok_or_else(|| format!("no {name}"))?;
        }
        Ok(Self {
            fields,
            caches: stress::caches(),
        })
    }

    /// In words.
    fn text(&self) -> String {
        FIELDS
            .iter()
            .zip(self.fields)
            .map(|((name, _), value)| format!("{name} {value}"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// Waits until the kernel has given back what was in use; what it uses then.
    fn expect_flat(&self) -> Res<Self> {
        let mut last = None;
        stage::eventually(Duration::from_secs(20), || {
            let now = Self::now()?;
            for ((name, limit), (was, is)) in FIELDS.iter().zip(self.fields.iter().zip(now.fields))
            {
                ensure!(
                    is <= was + limit,
                    "{name} was {was} KiB and is {is} KiB; caches that have grown most (KiB): {}",
                    stress::growth(&self.caches)
                );
            }
            last = Some(now);
            Ok(())
        })?;
        last.ok_or_else(|| "not measured".to_owned())
    }
}

/// The errno of a child's step.
fn errno_of_step(child: &Child) -> Res<i32> {
    i32::try_from(child.finish()?).map_err(|e| e.to_string())
}

/// A load that must fail with this errno, and leave nothing.
fn refused_load(parameters: &str, errno: i32) -> Res {
    expect_errno(
        &format!("loading with \"{parameters}\""),
        state::insert(parameters)?,
        errno,
    )?;
    stage::no_trace()
}
