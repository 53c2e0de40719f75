// SPDX-License-Identifier: GPL-2.0

//! What the module remembers of its decisions, and all that must end it.
//!
//! A decision about one entry of a directory may be remembered for the next one. Every test here lets an agent do
//! something, twice, so that it may be remembered, then takes away what that was based on, and demands that the next
//! operation is judged by what holds now. A test is right, and passes, whether anything is remembered or not.

use crate::{
    agent::{
        self,
        Child,
        Report,
        Who, //
    },
    harness::{
        ensure,
        op,
        patience,
        Ctx,
        Test,
        AUDIT, //
    },
    hooks::sys,
    stage::{
        self,
        errno_name,
        expect_errno,
        nl,
        Res, //
    },
    worker,
};
use std::{
    cell::Cell,
    ffi::CStr,
    fs, hint, mem,
    os::fd::{
        AsRawFd,
        OwnedFd, //
    },
    sync::atomic::{
        AtomicBool,
        AtomicU64,
        Ordering::SeqCst, //
    },
    time::{
        Duration,
        Instant, //
    },
};

/// How long a race or a search may go on, on the stock kernel.
const LIMIT: Duration = Duration::from_secs(45);

// --- what the tests share -------------------------------------------------------------------------

/// Two directories, below one of which no agent may read.
struct Yard {
    allowed: String,
    denied: String,
}

impl Yard {
    /// Makes both below `top`, a part of the scratch directory that may be empty.
    fn make(ctx: &Ctx, top: &str) -> Res<Self> {
        Ok(Self {
            allowed: ctx.dir(&format!("{top}allowed"))?,
            denied: ctx.dir(&format!("{top}denied"))?,
        })
    }

    /// With this as the policy.
    fn guard(self, ctx: &Ctx) -> Res<Self> {
        ctx.worker_policy(&format!("op=FILE_READ path={} action=DENY", self.denied))?;
        Ok(self)
    }

    /// With the policy, and with a mount at `m` in the allowed one that may be moved to `m` in the other one. There
    /// is a file `d/f` in it.
    fn with_mount(ctx: &Ctx) -> Res<Self> {
        // Out of a shared mount nothing can be moved.
        tmpfs(&ctx.dir("base")?)?;
        let yard = Self::make(ctx, "base/")?;
        ctx.dir("base/denied/m")?;
        tmpfs(&ctx.dir("base/allowed/m")?)?;
        ctx.file("base/allowed/m/d/f", b"x")?;
        yard.guard(ctx)
    }

    /// Moves that mount.
    fn move_mount(&self, deny: bool) -> Res {
        let (allowed, denied) = (format!("{}/m", self.allowed), format!("{}/m", self.denied));
        let (from, to) = if deny {
            (allowed, denied)
        } else {
            (denied, allowed)
        };
        expect_errno(
            "moving the mount",
            sys::mount(&from, &to, "", libc::MS_MOVE),
            0,
        )
    }

    /// Moves the directory `x`.
    fn move_x(&self, deny: bool) -> Res {
        let (allowed, denied) = (format!("{}/x", self.allowed), format!("{}/x", self.denied));
        let (from, to) = if deny {
            (allowed, denied)
        } else {
            (denied, allowed)
        };
        expect_errno("renaming the directory", sys::rename(&from, &to, 0), 0)
    }
}

/// A new tmpfs on a private mount.
fn tmpfs(at: &str) -> Res {
    expect_errno("mount of a tmpfs", sys::mount("none", at, "tmpfs", 0), 0)?;
    expect_errno("private", sys::mount("none", at, "", libc::MS_PRIVATE), 0)
}

fn bind(from: &str, to: &str) -> Res {
    expect_errno("bind mount", sys::mount(from, to, "", libc::MS_BIND), 0)
}

fn unmount(at: &str, flags: i32) -> Res {
    // SAFETY: The path is NUL-terminated and outlives the call.
    let errno = sys::with_path(at, |at| unsafe { libc::umount2(at, flags) });
    expect_errno("unmount", errno, 0)
}

/// A descriptor that only leads to a directory: no label asks whether it might be opened.
fn place(dir: &str) -> Res<OwnedFd> {
    sys::open(dir, libc::O_PATH | libc::O_DIRECTORY)
        .map_err(|errno| format!("{dir}: {}", errno_name(errno)))
}

/// Opens an entry of a directory: the errno.
fn open_in(dir: &OwnedFd, name: &CStr, flags: i32) -> i32 {
    // SAFETY: The descriptor is open, the name NUL-terminated.
    sys::code(sys::fd(unsafe {
        libc::openat(dir.as_raw_fd(), name.as_ptr(), flags | libc::O_CLOEXEC)
    }))
}

fn read_in(dir: &OwnedFd, name: &CStr) -> i32 {
    open_in(dir, name, libc::O_RDONLY)
}

/// What the agent's next step must end with.
fn expect(agent: &Child, what: &str, argument: i64, wanted: i32) -> Res {
    let got = agent.step(argument)?;
    expect_errno(what, i32::try_from(got).unwrap_or(-1), wanted)
}

/// The step succeeds, so often that it may be remembered.
fn expect_twice(agent: &Child, what: &str, argument: i64) -> Res {
    expect(agent, what, argument, 0)?;
    expect(agent, &format!("{what}, again"), argument, 0)
}

/// The step succeeds twice; after `deny` it is refused, and after `allow` it succeeds again.
fn expect_change(
    agent: &Child,
    argument: i64,
    deny: impl FnOnce() -> Res,
    allow: impl FnOnce() -> Res,
) -> Res {
    expect_twice(agent, "while allowed", argument)?;
    deny()?;
    expect(agent, "once denied", argument, libc::EACCES)?;
    allow()?;
    expect(agent, "allowed again", argument, 0)
}

/// An agent whose steps are this operation.
fn agent_that(ctx: &Ctx, act: impl Fn(i64) -> i32) -> Res<Child> {
    ctx.stepper("a", move |_, argument| i64::from(act(argument)))
}

/// Keeps the calling process on one processor: the errno.
pub fn pin(cpu: usize) -> i32 {
    // SAFETY: All zeroes is an empty set, which outlives the calls.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        sys::out(libc::sched_setaffinity(
            0,
            size_of_val(&set),
            &raw const set,
        ))
    }
}

// --- races ----------------------------------------------------------------------------------------

/// What an agent shares with the process that it races.
///
/// The phase grows before and after each change, so these follow one another, beginning with [`ALLOWED`].
#[repr(C)]
struct Race {
    phase: AtomicU64,
    opens: AtomicU64,
    over: AtomicBool,
}

/// The phase, modulo 4, in which everything is surely allowed.
const ALLOWED: u64 = 0;
/// The phase, modulo 4, in which everything is surely denied.
const DENIED: u64 = 2;

impl Race {
    fn new() -> Res<&'static Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let at = sys::map(-1, protection, libc::MAP_SHARED | libc::MAP_ANONYMOUS)
            .map_err(|errno| format!("mmap: {}", errno_name(errno)))?;
        // SAFETY: A page of zeroes, which are valid here; it is never unmapped.
        Ok(unsafe { &*at.cast::<Self>() })
    }

    /// The agent's side. Records how often it was surely let and surely refused, and what was wrong.
    fn run(&self, report: &mut Report<'_>, act: &impl Fn() -> i32) {
        let (mut let_in, mut refused) = (0, 0);
        while !self.over.load(SeqCst) {
            let before = self.phase.load(SeqCst);
            let errno = act();
            let after = self.phase.load(SeqCst);
            self.opens.fetch_add(1, SeqCst);
            let sure = (before == after).then_some(before % 4);
            match (sure, errno) {
                (Some(ALLOWED), 0) => let_in += 1,
                (Some(DENIED), libc::EACCES) => refused += 1,
                (Some(ALLOWED | DENIED), _) => {
                    let phase = if sure == Some(ALLOWED) {
                        "allowed"
                    } else {
                        "denied"
                    };
                    report.text(&format!(
                        "{} while surely {phase} ({let_in} let and {refused} refused before, change {})",
                        errno_name(errno),
                        before / 2
                    ));
                    self.over.store(true, SeqCst);
                }
                (_, 0 | libc::EACCES) => {}
                (_, errno) => {
                    report.text(&format!("{} in between", errno_name(errno)));
                    self.over.store(true, SeqCst);
                }
            }
        }
        report.push(let_in);
        report.push(refused);
    }

    /// The other side: `change(deny)` by turns until there were so many changes and so many opens.
    fn change(&self, opens: u64, changes: u64, mut change: impl FnMut(bool) -> Res) -> Res {
        let limit = patience(LIMIT);
        let start = Instant::now();
        let mut done = 0;
        while done < changes || self.opens.load(SeqCst) < opens {
            self.phase.fetch_add(1, SeqCst);
            change(done % 2 == 0)?;
            self.phase.fetch_add(1, SeqCst);
            done += 1;
            // Now the next change comes at once, now after some opens.
            let enough = self.opens.load(SeqCst) + done / 2 % 4 * 4;
            while self.opens.load(SeqCst) < enough && !self.over.load(SeqCst) {
                hint::spin_loop();
                ensure(start.elapsed() < limit, || "the agent is stuck".to_owned())?;
            }
            if self.over.load(SeqCst) {
                return Ok(());
            }
            ensure(start.elapsed() < limit, || {
                format!(
                    "only {done} changes and {} opens in time",
                    self.opens.load(SeqCst)
                )
            })?;
        }
        Ok(())
    }
}

/// Makes directories below `top`, each with a file, and gives what leads to them.
///
/// There are so many that an agent that opens the files [`by_turns`] meets each for the first time since the last
/// change, or the second or third time: what it is told then must not be what was true before.
fn many(top: &str) -> Res<Vec<OwnedFd>> {
    let files: Vec<String> = (0..32).map(|n| format!("{top}/{n}/f")).collect();
    make_directories(&files)?;
    files
        .iter()
        .map(|file| place(file.trim_end_matches("/f")))
        .collect()
}

/// Opens the file in one directory after the other, three times each: the errno.
fn by_turns(places: &[OwnedFd]) -> impl Fn() -> i32 + '_ {
    let opens = Cell::new(0);
    move || {
        let n = opens.replace(opens.get() + 1);
        read_in(&places[n / 3 % places.len()], c"f")
    }
}

/// On one processor an agent does `act` all the time, on the other this process changes by turns whether it may. What
/// began and ended while it surely might succeeds, and what did while it surely might not is refused.
fn race(
    what: &str,
    (opens, changes): (u64, u64),
    act: impl Fn() -> i32,
    change: impl FnMut(bool) -> Res,
) -> Res {
    let race = Race::new()?;
    let agent = agent::spawn(&Who::Agent("worker", "racer"), |report| {
        report.errno(pin(0));
        race.run(report, &act);
        0
    })
    .map_err(|(errno, text)| format!("label: {} {text}", errno_name(errno)))?;
    expect_errno("the second processor", pin(1), 0)?;
    let changed = race.change(opens, changes, change);
    race.over.store(true, SeqCst);
    let ended = agent.wait()?;
    changed?;
    ensure(ended.exit == Some(0), || {
        format!("the agent ended badly: {ended:?}")
    })?;
    expect_errno("the first processor", ended.errno(0)?, 0)?;
    ensure(ended.text.is_empty(), || ended.text.clone())?;
    let (let_in, refused) = (ended.value(1)?, ended.value(2)?);
    println!(
        "recall: {what}: {} opens, surely allowed {let_in}, surely denied {refused}, changes {}",
        race.opens.load(SeqCst),
        race.phase.load(SeqCst) / 2
    );
    ensure(let_in > 0 && refused > 0, || {
        format!("not both were seen: {let_in} let, {refused} refused")
    })
}

// --- what moves -----------------------------------------------------------------------------------

fn ends_with_a_rename(ctx: &mut Ctx) -> Res {
    let yard = Yard::make(ctx, "")?.guard(ctx)?;
    ctx.file("allowed/x/f", b"x")?;
    ctx.file("allowed/x/deep/er/f", b"x")?;
    ctx.dir("denied/other")?;
    let at = format!("{}/x", yard.allowed);
    let places = [place(&at)?, place(&format!("{at}/deep/er"))?];
    let agent = agent_that(ctx, |which| read_in(&places[usize::from(which != 0)], c"f"))?;
    let exchange = || {
        let other = format!("{}/other", yard.denied);
        expect_errno(
            "exchange",
            sys::rename(&at, &other, libc::RENAME_EXCHANGE),
            0,
        )
    };
    for round in 0..500 {
        let changed = if round % 4 < 2 {
            expect_change(
                &agent,
                round % 2,
                || yard.move_x(true),
                || yard.move_x(false),
            )
        } else {
            expect_change(&agent, round % 2, exchange, exchange)
        };
        changed.map_err(|why| format!("round {round}: {why}"))?;
    }
    agent.stop().map(drop)
}

/// The directory that is renamed has a mount below it, and the file is there.
fn ends_with_a_rename_above_a_mount(ctx: &mut Ctx) -> Res {
    let yard = Yard::make(ctx, "")?.guard(ctx)?;
    tmpfs(&ctx.dir("allowed/x/deep/m")?)?;
    ctx.file("allowed/x/deep/m/d/f", b"x")?;
    let mount = format!("{}/x/deep/m", yard.allowed);
    let places = [place(&mount)?, place(&format!("{mount}/d"))?];
    ctx.file("allowed/x/deep/m/f", b"x")?;
    let agent = agent_that(ctx, |which| read_in(&places[usize::from(which != 0)], c"f"))?;
    for round in 0..200 {
        expect_change(
            &agent,
            round % 2,
            || yard.move_x(true),
            || yard.move_x(false),
        )
        .map_err(|why| format!("round {round}: {why}"))?;
    }
    agent.stop()?;
    drop(places);
    unmount(&mount, 0)
}

/// Other files are renamed all the time, which changes nothing for those that are not.
fn outlasts_other_renames(ctx: &mut Ctx) -> Res {
    let yard = Yard::make(ctx, "")?.guard(ctx)?;
    ctx.file("allowed/x/deep/f", b"x")?;
    ctx.file("allowed/one", b"x")?;
    let at = place(&format!("{}/x/deep", yard.allowed))?;
    let agent = agent_that(ctx, |_| read_in(&at, c"f"))?;
    let (one, two) = (
        format!("{}/one", yard.allowed),
        format!("{}/two", yard.denied),
    );
    for round in 0..200 {
        expect_errno("renaming another file", sys::rename(&one, &two, 0), 0)?;
        expect_twice(&agent, &format!("round {round}: after that"), 0)?;
        yard.move_x(true)?;
        expect_errno("renaming it back", sys::rename(&two, &one, 0), 0)?;
        expect(
            &agent,
            &format!("round {round}: once denied"),
            0,
            libc::EACCES,
        )?;
        yard.move_x(false)?;
    }
    agent.stop().map(drop)
}

fn races_renames(ctx: &mut Ctx) -> Res {
    let yard = Yard::make(ctx, "")?.guard(ctx)?;
    let places = many(&ctx.dir("allowed/x")?)?;
    race("renames", (20_000, 2_000), by_turns(&places), |deny| {
        yard.move_x(deny)
    })
}

fn ends_with_a_move_of_a_mount(ctx: &mut Ctx) -> Res {
    let yard = Yard::with_mount(ctx)?;
    let dir = place(&format!("{}/m/d", yard.allowed))?;
    let agent = agent_that(ctx, |_| read_in(&dir, c"f"))?;
    for round in 0..200 {
        expect_change(
            &agent,
            0,
            || yard.move_mount(true),
            || yard.move_mount(false),
        )
        .map_err(|why| format!("round {round}: {why}"))?;
    }
    agent.stop().map(drop)
}

fn races_moves_of_a_mount(ctx: &mut Ctx) -> Res {
    let yard = Yard::with_mount(ctx)?;
    let places = many(&format!("{}/m/d", yard.allowed))?;
    race(
        "moves of a mount",
        (20_000, 2_000),
        by_turns(&places),
        |deny| yard.move_mount(deny),
    )
}

fn ends_with_a_lazy_unmount(ctx: &mut Ctx) -> Res {
    // Nothing tells what was above a mount that has been taken away, so nothing in it may be opened.
    let yard = Yard::with_mount(ctx)?;
    let at = format!("{}/m", yard.allowed);
    for round in 0..100 {
        if round > 0 {
            tmpfs(&at)?;
            ctx.file("base/allowed/m/d/f", b"x")?;
        }
        let dir = place(&format!("{at}/d"))?;
        let agent = agent_that(ctx, |_| read_in(&dir, c"f"))?;
        expect_twice(&agent, "while mounted", 0)?;
        unmount(&at, libc::MNT_DETACH)?;
        expect(&agent, "once unmounted", 0, libc::EACCES)
            .map_err(|why| format!("round {round}: {why}"))?;
    }
    Ok(())
}

fn ends_with_a_bind_over(ctx: &mut Ctx) -> Res {
    let yard = Yard::make(ctx, "")?.guard(ctx)?;
    let here = ctx.file("allowed/place/f", b"x")?;
    let there = ctx.file("denied/place/f", b"x")?;
    let (allowed, denied) = (
        format!("{}/place", yard.allowed),
        format!("{}/place", yard.denied),
    );
    let agent = agent_that(ctx, |which| {
        sys::open_read(if which == 0 { &here } else { &there })
    })?;
    for _ in 0..100 {
        // What is denied, at the allowed place: the directory, then the file alone.
        for (from, to) in [(&denied, &allowed), (&there, &here)] {
            expect_change(&agent, 0, || bind(from, to), || unmount(to, 0))?;
        }
        // The directory that is remembered, at the denied place, too.
        bind(&allowed, &denied)?;
        expect_twice(&agent, "where it was", 0)?;
        expect(&agent, "at the denied place", 1, libc::EACCES)?;
        expect(&agent, "where it was, after that", 0, 0)?;
        unmount(&denied, 0)?;
    }
    agent.stop().map(drop)
}

// --- what memory is used for again ----------------------------------------------------------------

/// How many directories are made at once, and twice as many when they have been removed again.
const BATCH: usize = 20;

/// The kernel records the address of each new entry for a directory on tmpfs, and of each new inode.
struct Trace;

impl Trace {
    const EVENTS: &str = "kprobe_events";

    fn start() -> Res<Self> {
        stage::tracefs(
            Self::EVENTS,
            "p:recall/entry shmem_mkdir address=%dx:x64\nr:recall/inode new_inode address=$retval:x64\n",
        )?;
        let trace = Self;
        stage::tracefs("buffer_size_kb", "8192")?;
        stage::tracefs("trace", "")?;
        stage::tracefs("events/recall/enable", "1")?;
        Ok(trace)
    }

    /// The addresses recorded: of entry and inode of each new directory, in their order.
    fn finish(self) -> Res<Vec<(String, String)>> {
        stage::tracefs("events/recall/enable", "0")?;
        let text = stage::content("/sys/kernel/tracing/trace")?;
        let mut entry = None;
        let mut all = Vec::new();
        for line in text.lines() {
            let Some((before, address)) = line.rsplit_once("address=") else {
                continue;
            };
            if before.contains(" entry: ") {
                entry = Some(address.to_owned());
            } else if let Some(entry) = entry.take() {
                all.push((entry, address.to_owned()));
            }
        }
        Ok(all)
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = stage::tracefs("events/recall/enable", "0");
        let _ = stage::tracefs(Self::EVENTS, "");
        let _ = stage::tracefs("trace", "");
    }
}

/// Waits until what was about to be freed is free: the errno.
fn grace_period() -> i32 {
    /// `MEMBARRIER_CMD_GLOBAL`, which waits for RCU.
    const GLOBAL: i32 = 1;
    // SAFETY: No pointers are passed.
    sys::out(unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) })
}

/// Makes directories, each with a file.
fn make_directories(files: &[String]) -> Res {
    for file in files {
        let dir = file.trim_end_matches("/f");
        fs::create_dir(dir).map_err(|error| format!("{dir}: {error}"))?;
        fs::write(file, "x").map_err(|error| format!("{file}: {error}"))?;
    }
    Ok(())
}

/// Removes what [`make_directories`] has made.
fn remove_directories(files: &[String]) -> Res {
    for file in files {
        let dir = file.trim_end_matches("/f");
        fs::remove_dir_all(dir).map_err(|error| format!("{dir}: {error}"))?;
    }
    Ok(())
}

/// How many of the first directories of each batch are the same as one of those after them, by `same`.
fn recurred(
    all: &[(String, String)],
    same: fn(&(String, String), &(String, String)) -> bool,
) -> usize {
    all.chunks_exact(3 * BATCH)
        .map(|batch| {
            let (first, heirs) = batch.split_at(BATCH);
            first
                .iter()
                .filter(|dir| heirs.iter().any(|heir| same(dir, heir)))
                .count()
        })
        .sum()
}

fn knows_a_reused_directory(ctx: &mut Ctx) -> Res {
    const BATCHES: usize = 100;
    let yard = Yard::make(ctx, "")?.guard(ctx)?;
    let files =
        |top: &str, count| -> Vec<String> { (0..count).map(|n| format!("{top}/d{n}/f")).collect() };
    let first = files(&yard.allowed, BATCH);
    let heirs = files(&yard.denied, 2 * BATCH);
    // What is free on one processor is used again by the same.
    expect_errno("one processor", pin(0), 0)?;
    let agent = agent_that(ctx, |deny| {
        let (files, wanted) = if deny == 0 {
            (&first, 0)
        } else {
            (&heirs, libc::EACCES)
        };
        let mut errnos = files.iter().map(|file| sys::open_read(file));
        errnos.find(|errno| *errno != wanted).unwrap_or(wanted)
    })?;
    let trace = Trace::start()?;
    for batch in 0..BATCHES {
        ctx.progress();
        make_directories(&first)?;
        expect_twice(&agent, "in the first directories", 0)?;
        remove_directories(&first)?;
        expect_errno("membarrier", grace_period(), 0)?;
        make_directories(&heirs)?;
        expect(&agent, "in those after them", 1, libc::EACCES)
            .map_err(|why| format!("batch {batch}: {why}"))?;
        remove_directories(&heirs)?;
    }
    let all = trace.finish()?;
    ensure(all.len() == BATCHES * 3 * BATCH, || {
        format!("{} new directories were recorded", all.len())
    })?;
    let both = recurred(&all, |a, b| a == b);
    println!(
        "recall: of {} directories the entry's address recurred for {}, the inode's for {}, both for {both}",
        BATCHES * BATCH,
        recurred(&all, |a, b| a.0 == b.0),
        recurred(&all, |a, b| a.1 == b.1)
    );
    ensure(both > 0, || {
        "no directory was like one before it".to_owned()
    })?;
    agent.stop().map(drop)
}

/// Puts this process in a mount namespace that has nothing but the root and what leads to `base`.
fn small_namespace(base: &str) -> Res {
    // SAFETY: No pointers are passed.
    let errno = sys::out(unsafe { libc::unshare(libc::CLONE_NEWNS) });
    expect_errno("unshare", errno, 0)?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    expect_errno("private", sys::mount("none", "/", "", private), 0)?;
    let table = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
    for at in table
        .lines()
        .rev()
        .filter_map(|line| line.split(' ').nth(1))
    {
        if at != "/" && !base.starts_with(at) && !at.starts_with(base) {
            unmount(at, libc::MNT_DETACH)?;
        }
    }
    Ok(())
}

fn knows_a_reused_namespace(ctx: &mut Ctx) -> Res {
    // A new namespace has had no change of mounts, and a new one after it may lie where it lay.
    let yard = Yard::with_mount(ctx)?;
    small_namespace(&ctx.path("base"))?;
    expect_errno("one processor", pin(0), 0)?;
    let paths = [
        format!("{}/m/d/f", yard.allowed),
        format!("{}/m/d/f", yard.denied),
    ];
    let agent = agent_that(ctx, |which| {
        sys::in_child(|| {
            // SAFETY: No pointers are passed.
            if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
                return 200;
            }
            let path = &paths[usize::from(which != 0)];
            match sys::open_read(path) {
                0 => sys::open_read(path),
                errno => errno,
            }
        })
    })?;
    let start = Instant::now();
    let mut namespaces = 0;
    while start.elapsed() < Duration::from_secs(20) {
        expect(&agent, "in a new namespace", 0, 0)?;
        yard.move_mount(true)?;
        for _ in 0..16 {
            namespaces += 1;
            expect(&agent, "in one after it", 1, libc::EACCES)
                .map_err(|why| format!("after {namespaces} namespaces: {why}"))?;
        }
        yard.move_mount(false)?;
    }
    println!("recall: {namespaces} namespaces after another one");
    agent.stop().map(drop)
}

// --- who and by what rule -------------------------------------------------------------------------

/// Loads the next policy, which denies to read in `dir` or does not.
fn load(dir: &str, deny: bool) -> Res {
    let action = if deny { "DENY" } else { "ALLOW" };
    let before = stage::status()?.policy_version;
    stage::load_body(
        "test",
        &format!("class worker\nop=FILE_READ path={dir} action={action}\nDEFAULT action=ALLOW\n"),
    )?;
    let after = stage::status()?.policy_version;
    ensure(after > before, || format!("version {after} after {before}"))
}

fn ends_with_a_policy(ctx: &mut Ctx) -> Res {
    let dir = ctx.dir("dir")?;
    ctx.file("dir/f", b"x")?;
    ctx.worker_policy("")?;
    let at = place(&dir)?;
    let agent = agent_that(ctx, |_| read_in(&at, c"f"))?;
    for round in 0..100 {
        expect_change(&agent, 0, || load(&dir, true), || load(&dir, false))
            .map_err(|why| format!("round {round}: {why}"))?;
    }
    agent.stop().map(drop)
}

fn races_policies(ctx: &mut Ctx) -> Res {
    let dir = ctx.dir("dir")?;
    ctx.worker_policy("")?;
    let places = many(&dir)?;
    race("policies", (20_000, 200), by_turns(&places), |deny| {
        load(&dir, deny)
    })
}

fn ends_with_permissive_mode(ctx: &mut Ctx) -> Res {
    let yard = Yard::make(ctx, "")?.guard(ctx)?;
    let path = ctx.file("denied/f", b"x")?;
    let at = place(&yard.denied)?;
    let agent = agent_that(ctx, |which| match which {
        0 => read_in(&at, c"f"),
        _ => sys::open_read(&path),
    })?;
    let enforce = || {
        stage::set_mode(nl::ENFORCE)
            .map(drop)
            .map_err(|refused| format!("mode: {refused:?}"))
    };
    for which in [0, 1].repeat(10) {
        ctx.permissive()?;
        expect_change(&agent, which, enforce, || ctx.permissive())?;
    }
    enforce()
}

fn is_of_one_user(ctx: &mut Ctx) -> Res {
    let dir = ctx.dir("dir")?;
    ctx.file("dir/f", b"x")?;
    ctx.worker_policy(&format!("op=FILE_READ uid=1000 path={dir} action=DENY"))?;
    for name in ["/tmp/guest-tests", &ctx.path(""), &dir] {
        fs::set_permissions(name, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(|error| format!("{name}: {error}"))?;
    }
    let at = place(&dir)?;
    let agent = agent_that(ctx, |uid| {
        // SAFETY: No pointers are passed.
        let errno = sys::out(unsafe { libc::seteuid(u32::try_from(uid).unwrap_or(0)) });
        match errno {
            0 => read_in(&at, c"f"),
            errno => 1000 + errno,
        }
    })?;
    for _ in 0..100 {
        for (uid, wanted) in [(0, 0), (1000, libc::EACCES), (0, 0), (1001, 0)] {
            expect(&agent, &format!("as user {uid}"), uid, wanted)?;
            expect(&agent, &format!("as user {uid}, again"), uid, wanted)?;
            // From one user to the next without the right to: by way of root.
            expect(&agent, "as root", 0, 0)?;
        }
    }
    agent.stop().map(drop)
}

fn is_of_one_agent(ctx: &mut Ctx) -> Res {
    let dir = ctx.dir("dir")?;
    ctx.file("dir/f", b"x")?;
    ctx.worker_policy(&format!(
        "op=FILE_READ agent=stranger path={dir} action=DENY"
    ))?;
    let at = place(&dir)?;
    let open = |_: &mut Report<'_>, _| i64::from(read_in(&at, c"f"));
    let native = ctx.stepper("native", open)?;
    let stranger = ctx.stepper("stranger", open)?;
    for _ in 0..100 {
        expect_twice(&native, "the one", 0)?;
        expect(&stranger, "the other", 0, libc::EACCES)?;
        expect(&native, "the one, after it", 0, 0)?;
    }
    native.stop()?;
    stranger.stop().map(drop)
}

fn lasts_no_longer_than_a_relabel(ctx: &mut Ctx) -> Res {
    let dir = ctx.dir("dir")?;
    ctx.file("dir/f", b"x")?;
    ctx.policy(&format!(
        "class worker may=tester\nclass tester\nop=FILE_READ class=tester path={dir} action=DENY\nDEFAULT action=ALLOW\n"
    ))?;
    let at = place(&dir)?;
    for round in 0..50 {
        let agent = agent_that(ctx, |what| match what {
            0 => read_in(&at, c"f"),
            1 => worker::label("tester", "sub").0,
            // A child of the agent's becomes a sub-agent, and the agent stays what it is.
            _ => sys::in_child(|| match worker::label("tester", "child").0 {
                0 => read_in(&at, c"f"),
                errno => 100 + errno,
            }),
        })?;
        let check = || {
            expect_twice(&agent, "the agent", 0)?;
            expect(&agent, "its child as a sub-agent", 2, libc::EACCES)?;
            expect_twice(&agent, "the agent, after that", 0)?;
            expect(&agent, "the label", 1, 0)?;
            expect(&agent, "as a sub-agent", 0, libc::EACCES)
        };
        check().map_err(|why| format!("round {round}: {why}"))?;
        agent.stop()?;
    }
    Ok(())
}

fn of_a_chroot(ctx: &mut Ctx) -> Res {
    // The root is a mount, and its file another one below it.
    tmpfs(&ctx.dir("base")?)?;
    let yard = Yard::make(ctx, "base/")?;
    let root = ctx.dir("base/allowed/root")?;
    tmpfs(&root)?;
    ctx.file("base/allowed/root/secret/f", b"x")?;
    ctx.file("base/allowed/x/f", b"x")?;
    ctx.worker_policy(&format!(
        "op=FILE_READ path={} action=DENY\nop=FILE_READ path={root}/secret action=DENY",
        yard.denied
    ))?;
    ctx.file("base/allowed/root/open/f", b"x")?;
    let (outside, open) = (
        place(&format!("{}/x", yard.allowed))?,
        place(&format!("{root}/open"))?,
    );
    let agent = agent_that(ctx, |what| match what {
        0 => read_in(&outside, c"f"),
        1 => read_in(&open, c"f"),
        2 => sys::open_read("/open/f"),
        3 => sys::open_read("/secret/f"),
        // SAFETY: The path is NUL-terminated and outlives the call.
        _ => sys::with_path(&root, |root| unsafe { libc::chroot(root) }),
    })?;
    expect_twice(&agent, "outside, before", 0)?;
    expect_twice(&agent, "inside, before", 1)?;
    expect(&agent, "chroot", 4, 0)?;
    for _ in 0..100 {
        expect_twice(&agent, "inside, by its path", 2)?;
        expect_twice(&agent, "inside, by its directory", 1)?;
        expect(&agent, "what is denied inside", 3, libc::EACCES)?;
        expect_change(&agent, 0, || yard.move_x(true), || yard.move_x(false))?;
    }
    // A root that is in no tree shows nothing of what is above anything.
    expect_twice(&agent, "outside, before the unmount", 0)?;
    unmount(&root, libc::MNT_DETACH)?;
    expect(&agent, "outside", 0, libc::EACCES)
}

// --- what else a rule may name --------------------------------------------------------------------

fn not_for_a_named_file(ctx: &mut Ctx) -> Res {
    let secret = ctx.file("dir/secret", b"x")?;
    let other = ctx.file("dir/other", b"x")?;
    let link = ctx.path("elsewhere/link");
    let beside = ctx.file("elsewhere/beside", b"x")?;
    ctx.worker_policy(&format!("op=FILE_READ path={secret} action=DENY"))?;
    fs::hard_link(&secret, &link).map_err(|error| error.to_string())?;
    let agent = agent_that(ctx, |which| {
        let names = [&other, &secret, &beside, &link];
        sys::open_read(names[usize::try_from(which).unwrap_or(0) % names.len()])
    })?;
    let (in_dir, in_elsewhere) = ([(0, 1)], [(2, 3)]);
    for round in 0..100 {
        for (neighbour, named) in in_dir.iter().chain(&in_elsewhere).copied() {
            expect_twice(&agent, "a neighbour", neighbour)?;
            expect(&agent, "the file", named, libc::EACCES)
                .map_err(|why| format!("round {round}, name {named}: {why}"))?;
            expect_twice(&agent, "a neighbour, after it", neighbour)?;
        }
        // Another file takes the name: the rule means the inode, which the link still leads to.
        let new = ctx.file("dir/new", b"x")?;
        expect_errno("replacing the file", sys::rename(&new, &secret, 0), 0)?;
        expect_twice(&agent, "what has replaced it", 1)?;
        expect(&agent, "its link", 3, libc::EACCES)?;
        // And back, without a rename of what is judged: by a second link.
        fs::remove_file(&secret).map_err(|error| error.to_string())?;
        fs::hard_link(&link, &secret).map_err(|error| error.to_string())?;
        expect_twice(&agent, "a neighbour again", 0)?;
        expect(&agent, "the file again", 1, libc::EACCES)?;
    }
    agent.stop().map(drop)
}

fn not_because_of_a_named_file(ctx: &mut Ctx) -> Res {
    // The rule that allows is about the file alone: it says nothing about those beside it.
    let yard = Yard::make(ctx, "")?;
    let open = ctx.file("denied/open", b"x")?;
    ctx.file("denied/f", b"x")?;
    ctx.file("denied/second/f", b"x")?;
    ctx.worker_policy(&format!(
        "op=FILE_READ path={open} action=ALLOW\nop=FILE_READ path={} action=DENY",
        yard.denied
    ))?;
    let second = format!("{}/second", yard.denied);
    fs::hard_link(&open, format!("{second}/open")).map_err(|error| error.to_string())?;
    let places = [place(&yard.denied)?, place(&second)?];
    let agent = agent_that(ctx, |which| {
        let name = if which % 2 == 0 { c"open" } else { c"f" };
        read_in(&places[usize::from(which >= 2)], name)
    })?;
    for round in 0..100 {
        for first in [0, 2] {
            expect_twice(&agent, "the file", first)?;
            expect(&agent, "the one beside it", first + 1, libc::EACCES)
                .map_err(|why| format!("round {round}, name {first}: {why}"))?;
        }
    }
    agent.stop().map(drop)
}

/// An operation on the entry of a directory, by the path of one and the name of the other: the errno.
type Operation = fn(&str, &str) -> i32;

/// Operations; what they make they take away.
const OPERATIONS: [(&str, Operation); 7] = [
    ("write", |dir, name| {
        sys::open_write(&format!("{dir}/{name}"))
    }),
    ("truncate", |dir, name| {
        // SAFETY: The path is NUL-terminated and outlives the call.
        sys::with_path(&format!("{dir}/{name}"), |path| unsafe {
            libc::truncate(path, 0)
        })
    }),
    ("chmod", |dir, name| {
        // SAFETY: The path is NUL-terminated and outlives the call.
        sys::with_path(&format!("{dir}/{name}"), |path| unsafe {
            libc::chmod(path, 0o600)
        })
    }),
    ("link", |dir, name| {
        let new = format!("{dir}/link");
        let errno = worker::errno_of(&fs::hard_link(format!("{dir}/{name}"), &new));
        let _ = fs::remove_file(&new);
        errno
    }),
    ("rename", |dir, name| {
        let (from, to) = (format!("{dir}/{name}"), format!("{dir}/moved"));
        match sys::rename(&from, &to, 0) {
            0 => sys::rename(&to, &from, 0),
            errno => errno,
        }
    }),
    ("replace", |dir, name| {
        let new = format!("{dir}/new");
        match worker::errno_of(&fs::write(&new, "x")) {
            0 => sys::rename(&new, &format!("{dir}/{name}"), 0),
            errno => 1000 + errno,
        }
    }),
    ("unlink", |dir, name| {
        worker::errno_of(&fs::remove_file(format!("{dir}/{name}")))
    }),
];

fn not_for_a_named_file_by_any_operation(ctx: &mut Ctx) -> Res {
    let dir = ctx.dir("dir")?;
    for name in ["one", "two", "secret"] {
        ctx.file(&format!("dir/{name}"), b"x")?;
    }
    ctx.worker_policy(&format!(
        "op=FILE_WRITE,FILE_DELETE,FILE_RENAME,FILE_LINK,FILE_ATTR path={dir}/secret action=DENY"
    ))?;
    let agent = ctx.as_agent("worker", "a", |report| {
        for (_, act) in OPERATIONS {
            for name in ["one", "two", "secret"] {
                report.errno(act(&dir, name));
            }
        }
    })?;
    for (at, (what, _)) in OPERATIONS.iter().enumerate() {
        expect_errno(&format!("{what} of one"), agent.errno(3 * at)?, 0)?;
        expect_errno(&format!("{what} of another"), agent.errno(3 * at + 1)?, 0)?;
        expect_errno(what, agent.errno(3 * at + 2)?, libc::EACCES)?;
    }
    Ok(())
}

/// What hashes to the same place is nevertheless another directory.
fn not_for_another_directory(ctx: &mut Ctx) -> Res {
    /// More than there are places in the memory, and as many as to meet some of them.
    const ALLOWED: usize = 3000;
    const DENIED: usize = 50;
    let yard = Yard::make(ctx, "")?.guard(ctx)?;
    let files =
        |top: &str, count| -> Vec<String> { (0..count).map(|n| format!("{top}/d{n}/f")).collect() };
    let (allowed, denied) = (files(&yard.allowed, ALLOWED), files(&yard.denied, DENIED));
    make_directories(&allowed)?;
    make_directories(&denied)?;
    let agent = agent_that(ctx, |_| {
        let open = |file: &String| sys::open_read(file);
        if let Some(errno) = allowed.iter().map(open).find(|errno| *errno != 0) {
            return errno;
        }
        let mut errnos = denied.iter().map(open);
        errnos
            .find(|errno| *errno != libc::EACCES)
            .map_or(libc::EACCES, |_| libc::EEXIST)
    })?;
    for round in 0..10 {
        expect(
            &agent,
            &format!("round {round}: after {ALLOWED} others"),
            0,
            libc::EACCES,
        )?;
    }
    agent.stop().map(drop)
}

/// A rename concerns two directories, and what is remembered of one says nothing about the other.
fn not_for_the_other_directory_of_a_rename(ctx: &mut Ctx) -> Res {
    let (allowed, denied) = (ctx.dir("allowed")?, ctx.dir("denied")?);
    for name in ["allowed/one", "allowed/two", "denied/one", "denied/two"] {
        ctx.file(name, b"x")?;
    }
    ctx.worker_policy(&format!("op=FILE_RENAME path={denied} action=DENY"))?;
    let (here, there) = (format!("{allowed}/one"), format!("{denied}/one"));
    let tries = [
        (&here, format!("{denied}/new"), 0),
        (&there, format!("{allowed}/new"), 0),
        (&here, format!("{denied}/two"), 0),
        (&there, format!("{allowed}/two"), 0),
        (&here, format!("{denied}/two"), libc::RENAME_EXCHANGE),
        (&there, format!("{allowed}/two"), libc::RENAME_EXCHANGE),
        (&there, format!("{denied}/new"), 0),
    ];
    let agent = ctx.as_agent("worker", "a", |report| {
        for (from, to, flags) in &tries {
            let moved = format!("{allowed}/moved");
            for _ in 0..2 {
                report.errno(sys::rename(&here, &moved, 0));
                report.errno(sys::rename(&moved, &here, 0));
            }
            report.errno(sys::rename(from, to, *flags));
        }
    })?;
    for (at, (from, to, flags)) in tries.iter().enumerate() {
        for n in 0..4 {
            expect_errno("a rename in one directory", agent.errno(5 * at + n)?, 0)?;
        }
        let what = format!("{from} to {to}, flags {flags}");
        expect_errno(&what, agent.errno(5 * at + 4)?, libc::EACCES)?;
    }
    Ok(())
}

fn not_for_another_operation(ctx: &mut Ctx) -> Res {
    let dir = ctx.dir("dir")?;
    ctx.file("dir/f", b"x")?;
    ctx.worker_policy(&format!("op=FILE_WRITE path={dir} action=DENY"))?;
    let at = place(&dir)?;
    let agent = agent_that(ctx, |flags| {
        open_in(&at, c"f", i32::try_from(flags).unwrap_or(-1))
    })?;
    for _ in 0..50 {
        for flags in [
            libc::O_WRONLY,
            libc::O_RDWR,
            libc::O_RDONLY | libc::O_TRUNC,
            libc::O_ACCMODE,
        ] {
            expect_twice(&agent, "reading", i64::from(libc::O_RDONLY))?;
            expect(
                &agent,
                &format!("flags {flags:o}"),
                i64::from(flags),
                libc::EACCES,
            )?;
        }
    }
    agent.stop().map(drop)
}

fn not_of_an_audit(ctx: &mut Ctx) -> Res {
    const OPENS: usize = 5;
    let path = ctx.file("dir/audited", b"x")?;
    let other = ctx.file("dir/other", b"x")?;
    ctx.worker_policy(&format!("op=FILE_READ path={path} action=AUDIT"))?;
    let agent = agent_that(ctx, |which| {
        sys::open_read(if which == 0 { &other } else { &path })
    })?;
    let before = ctx.now()?;
    for _ in 0..OPENS {
        expect_twice(&agent, "a neighbour", 0)?;
        expect(&agent, "what is audited", 1, 0)?;
    }
    stage::eventually(Duration::from_secs(3), || {
        let events = ctx.events_since(before)?;
        let seen = events
            .iter()
            .filter(|event| {
                event.kind == AUDIT && event.agent == agent.agent && event.op == op::FILE_READ
            })
            .count();
        ensure(seen == OPENS, || format!("{seen} events of {OPENS} opens"))
    })
}

fn not_of_a_grant(ctx: &mut Ctx) -> Res {
    let dir = ctx.dir("dir")?;
    ctx.file("dir/f", b"x")?;
    ctx.file("dir/g", b"x")?;
    ctx.worker_policy(&format!("op=FILE_READ path={dir} action=QUORUM uses=2"))?;
    let at = place(&dir)?;
    let agent = agent_that(ctx, |which| {
        read_in(&at, if which == 0 { c"f" } else { c"g" })
    })?;
    expect(&agent, "without votes", 0, libc::EACCES)?;
    ctx.grant(&ctx.open_request(agent.agent, op::FILE_READ)?)?;
    expect_twice(&agent, "by the grant", 0)?;
    expect(&agent, "when it is used up", 0, libc::EACCES)?;
    expect(&agent, "another file", 1, libc::EACCES)
}

/// The tests.
pub const TESTS: &[Test] = &[
    Test::new("recall_ends_with_a_rename", ends_with_a_rename),
    Test::new(
        "recall_ends_with_a_rename_above_a_mount",
        ends_with_a_rename_above_a_mount,
    ),
    Test::new("recall_outlasts_other_renames", outlasts_other_renames),
    Test::new("recall_races_renames", races_renames),
    Test::new(
        "recall_ends_with_a_move_of_a_mount",
        ends_with_a_move_of_a_mount,
    ),
    Test::new("recall_races_moves_of_a_mount", races_moves_of_a_mount),
    Test::new("recall_ends_with_a_lazy_unmount", ends_with_a_lazy_unmount),
    Test::new("recall_ends_with_a_bind_over", ends_with_a_bind_over),
    Test::new("recall_ends_with_a_policy", ends_with_a_policy),
    Test::new("recall_races_policies", races_policies),
    Test::new(
        "recall_ends_with_permissive_mode",
        ends_with_permissive_mode,
    ),
    Test::new("recall_knows_a_reused_directory", knows_a_reused_directory),
    Test::new("recall_knows_a_reused_namespace", knows_a_reused_namespace),
    Test::new("recall_is_of_one_user", is_of_one_user),
    Test::new("recall_is_of_one_agent", is_of_one_agent),
    Test::new("recall_not_for_a_named_file", not_for_a_named_file),
    Test::new(
        "recall_not_because_of_a_named_file",
        not_because_of_a_named_file,
    ),
    Test::new(
        "recall_not_for_a_named_file_by_any_operation",
        not_for_a_named_file_by_any_operation,
    ),
    Test::new(
        "recall_not_for_another_directory",
        not_for_another_directory,
    ),
    Test::new(
        "recall_not_for_the_other_directory_of_a_rename",
        not_for_the_other_directory_of_a_rename,
    ),
    Test::new(
        "recall_not_for_another_operation",
        not_for_another_operation,
    ),
    Test::new("recall_not_of_an_audit", not_of_an_audit),
    Test::new("recall_not_of_a_grant", not_of_a_grant),
    Test::new("recall_of_a_chroot", of_a_chroot),
    Test::new(
        "recall_lasts_no_longer_than_a_relabel",
        lasts_no_longer_than_a_relabel,
    ),
];
