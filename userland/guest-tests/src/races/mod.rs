// SPDX-License-Identifier: GPL-2.0

//! Races on four processors, with `stress-ng` beside them and a schedule that dice shuffle.
//!
//! `RACE_ROUNDS` says how many rounds each test plays (4 without it; `make races` sets 300), `RACE_SEED` what the dice
//! begin with (a new number each time without it; each test prints it). After each few rounds, which are one load of the
//! module, the whole log of that load is gone through event by event ([`log`]), and `tcpctl audit verify` goes through it too.

mod labels;
mod log;
mod swaps;
mod votes;

use crate::agent::{
    self,
    Child,
    Report,
    Who, //
};
use crate::client::Attributes;
use crate::ensure;
use crate::harness::{
    patience,
    Ctx,
    Test, //
};
use crate::hooks::sys;
use crate::keys::Validator;
use crate::recall::pin;
use crate::stage::{
    self,
    nl,
    Request,
    Res,
    Voter,
    APPROVE, //
};
use crate::state;
use crate::stress::variable;
use crate::worker;
use std::collections::hash_map::RandomState;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{
    BuildHasher as _,
    Hasher as _, //
};
use std::process::{
    self,
    Command,
    Stdio, //
};
use std::sync::atomic::{
    AtomicBool,
    AtomicU64,
    Ordering::SeqCst, //
};
use std::time::{
    Duration,
    Instant, //
};

/// The tests.
pub(crate) const TESTS: &[&[Test]] = &[votes::TESTS, swaps::TESTS, labels::TESTS];

/// Enrolled in every load; three of them are a quorum.
const VALIDATORS: u32 = 4;

/// Rounds in one load: what they record fits in the ring of events.
const BATCH: u64 = 12;

// --- dice -----------------------------------------------------------------------------------------

/// Numbers that look random and follow from a seed (xorshift64*).
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// The next number below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % n.max(1)
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Dice of their own for another process.
    fn split(&mut self) -> Self {
        Self::new((self.below(1 << 32) << 32) | self.below(1 << 32))
    }

    /// Mixes a list.
    fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            let other = self.below(at as u64 + 1);
            list.swap(at, usize::try_from(other).unwrap_or(0));
        }
    }

    /// Lets the scheduler do something else, or not.
    fn upset(&mut self) {
        match self.below(12) {
            0 | 1 => std::thread::yield_now(),
            2..=4 => std::thread::sleep(Duration::from_micros(self.below(2000))),
            5 | 6 => (0..self.below(20_000)).for_each(|_| std::hint::spin_loop()),
            7 => drop(pin(usize::try_from(self.below(processors())).unwrap_or(0))),
            8 => anywhere(),
            9 => self.schedule(),
            _ => {}
        }
    }

    /// Another way of being scheduled.
    fn schedule(&mut self) {
        let (policy, priority) = match self.below(5) {
            0 => (libc::SCHED_BATCH, 0),
            1 => (libc::SCHED_IDLE, 0),
            // Before everybody else, but not for long: it comes to rest within the next few steps.
            2 => (libc::SCHED_RR, 1),
            _ => (libc::SCHED_OTHER, 0),
        };
        let parameters = libc::sched_param {
            sched_priority: priority,
        };
        // SAFETY: The parameters outlive the call. It is no matter if an agent may not.
        unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) };
    }
}

fn processors() -> u64 {
    // SAFETY: No pointers are passed.
    let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u64::try_from(count).unwrap_or(1)
}

/// Gives the calling process every processor.
fn anywhere() {
    // SAFETY: All ones names every processor there is; the set outlives the call.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        (0..64).for_each(|cpu| libc::CPU_SET(cpu, &mut set));
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}

// --- what the racers share ------------------------------------------------------------------------

/// A page that all processes of a round share.
#[repr(C)]
struct Track {
    /// The racers wait for it.
    go: AtomicBool,
    /// The racers stop when they see it.
    over: AtomicBool,
    /// What the test says about the time: each has its own meaning for it.
    phase: AtomicU64,
    /// Operations that were let through.
    done: AtomicU64,
    /// Operations that were refused.
    refused: AtomicU64,
    /// Operations that ended as none may.
    wrong: AtomicU64,
    /// How one of those ended.
    what: AtomicU64,
}

impl Track {
    fn new() -> Res<&'static Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let at = sys::map(-1, protection, libc::MAP_SHARED | libc::MAP_ANONYMOUS)
            .map_err(|errno| format!("mmap: {}", stage::errno_name(errno)))?;
        // SAFETY: A page of zeroes, which are valid here; it is never unmapped.
        Ok(unsafe { &*at.cast::<Self>() })
    }

    /// For the next round.
    fn reset(&self) {
        for flag in [&self.go, &self.over] {
            flag.store(false, SeqCst);
        }
        for number in [
            &self.phase,
            &self.done,
            &self.refused,
            &self.wrong,
            &self.what,
        ] {
            number.store(0, SeqCst);
        }
    }

    /// Waits for the start.
    fn wait(&self) {
        while !self.go.load(SeqCst) && !self.over.load(SeqCst) {
            std::hint::spin_loop();
            std::thread::yield_now();
        }
    }

    /// Counts an operation that was let through or refused.
    fn count(&self, errno: i32) {
        match errno {
            0 => self.done.fetch_add(1, SeqCst),
            libc::EACCES => self.refused.fetch_add(1, SeqCst),
            errno => self.foul(u64::try_from(errno).unwrap_or(0)),
        };
    }

    /// Counts what may not be.
    fn foul(&self, what: u64) -> u64 {
        self.what.store(what, SeqCst);
        self.wrong.fetch_add(1, SeqCst)
    }

    /// Fails when anything was wrong.
    fn fair(&self) -> Res {
        let wrong = self.wrong.load(SeqCst);
        ensure!(
            wrong == 0,
            "{wrong} operations ended as none may: {}",
            self.what.load(SeqCst)
        );
        Ok(())
    }
}

/// Runs `body` in `count` processes, each with dice of its own, and waits for them. In a labelled process they are all of
/// one agent.
fn crowd(count: usize, dice: &mut Dice, body: impl Fn(usize, &mut Dice)) -> Res {
    let mut pids = Vec::new();
    for n in 0..count {
        let mut own = dice.split();
        pids.push(worker::fork(|| {
            body(n, &mut own);
            0
        })?);
    }
    for pid in pids {
        let status = worker::wait(pid);
        ensure!(status == 0, "a racer ended with {status}");
    }
    Ok(())
}

/// An agent whose `count` processes wait for the start and then run `body`.
fn agents(
    track: &'static Track,
    count: usize,
    dice: &mut Dice,
    body: impl Fn(usize, &mut Dice),
) -> Res<Child> {
    let mut dice = dice.split();
    agent::spawn(&Who::Agent("worker", "racer"), |report: &mut Report<'_>| {
        let run = crowd(count, &mut dice, |n, dice| {
            track.wait();
            body(n, dice);
        });
        match run {
            Ok(()) => 0,
            Err(why) => {
                report.text(&why);
                1
            }
        }
    })
    .map_err(|(errno, text)| format!("label: {} {text}", stage::errno_name(errno)))
}

/// Waits for an agent, which must end well.
fn finish(child: Child) -> Res {
    let ended = child.wait()?;
    ensure!(ended.exit == Some(0), "the agent ended badly: {ended:?}");
    Ok(())
}

/// Appends a byte; the errno.
fn append(path: &str) -> i32 {
    match sys::open(path, libc::O_WRONLY | libc::O_APPEND) {
        Ok(file) => sys::write(&file),
        Err(errno) => errno,
    }
}

/// Length of a file in bytes.
fn length(path: &str) -> Res<u64> {
    fs::metadata(path)
        .map(|found| found.len())
        .map_err(|e| format!("{path}: {e}"))
}

// --- validators -----------------------------------------------------------------------------------

/// The validators, whose keys are made once: that takes long in an emulated guest.
struct Quorum(Vec<Voter>);

impl Quorum {
    fn new() -> Self {
        let voter = |number| Voter {
            validator: Validator::test(number),
            slot: 0,
            last: BTreeMap::new(),
            accepted: 0,
            fault: None,
        };
        Self((1..=VALIDATORS).map(voter).collect())
    }

    /// Learns their slots, and the clocks of their last votes.
    fn refresh(&mut self) -> Res {
        let all = stage::dump(nl::VALIDATOR_GET, &Attributes::new())
            .map_err(|e| format!("validator-get: {e:?}"))?;
        for voter in &mut self.0 {
            let name = Some(voter.validator.name.clone());
            let reply = all
                .iter()
                .find(|reply| reply.string(nl::A_VALIDATOR_NAME) == name)
                .ok_or("a validator is not enrolled")?;
            voter.slot = u16::try_from(reply.u32(nl::A_VALIDATOR_SLOT).unwrap_or(0)).unwrap_or(0);
            voter.last = stage::decode_clock(reply.bytes(nl::A_CLOCK).unwrap_or_default())?;
        }
        Ok(())
    }

    /// Three approve; the third vote must grant.
    fn grant(&mut self, request: &Request) -> Res {
        self.refresh()?;
        let mut state = request.state;
        for voter in self.0.iter_mut().take(3) {
            ensure!(state == nl::OPEN, "state {state} before the third vote");
            let tally = voter.cast(request, APPROVE);
            state = tally.map_err(|e| format!("a vote: {e:?}"))?.state;
        }
        ensure!(state == nl::GRANTED, "three votes led to state {state}");
        Ok(())
    }
}

// --- rounds ---------------------------------------------------------------------------------------

/// `stress-ng` beside the race, until this is dropped.
struct Noise(process::Child);

impl Noise {
    fn start(ctx: &Ctx) -> Res<Self> {
        Command::new("stress-ng")
            .args([
                "--fork", "1", "--switch", "1", "--open", "1", "--futex", "1",
            ])
            .args(["--timeout", "0", "--quiet", "--oomable", "--temp-path"])
            .arg(ctx.dir("noise")?)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map(Self)
            .map_err(|e| format!("stress-ng: {e}"))
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        // It ends its own children when it is told to end.
        if let Ok(pid) = libc::pid_t::try_from(self.0.id()) {
            // SAFETY: The child has not been waited for.
            unsafe { libc::kill(pid, libc::SIGTERM) };
        }
        let _ = self.0.wait();
    }
}

/// Nothing of an agent is left.
fn nothing_left() -> Res {
    stage::eventually(patience(Duration::from_secs(20)), || {
        // A zombie keeps its label. SAFETY: No status is asked for; every racer has been waited for.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        for what in ["agents", "tasks", "requests"] {
            let left = stage::status_number(what)?;
            ensure!(left == 0, "{left} {what} are left");
        }
        Ok(())
    })
}

/// Plays all rounds of a test, a fresh load of the module for each batch, with these rules.
fn play(
    ctx: &mut Ctx,
    name: &str,
    rules: &str,
    mut round: impl FnMut(&Ctx, &mut Dice, &mut Quorum) -> Res,
) -> Res {
    // What a racer leaves behind becomes a child of this process. SAFETY: No pointers are passed.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let seed = variable("RACE_SEED", RandomState::new().build_hasher().finish());
    let rounds = variable("RACE_ROUNDS", 4);
    println!("races: {name}: RACE_SEED={seed}");
    let mut dice = Dice::new(seed);
    let mut quorum = Quorum::new();
    let noise = Noise::start(ctx)?;
    let start = Instant::now();
    let mut total = log::Totals::default();
    let mut played = 0;
    while played < rounds {
        state::unload()?;
        state::load_patiently("")?;
        stage::prepare(VALIDATORS, "races", rules)?;
        for _ in 0..BATCH.min(rounds - played) {
            round(ctx, &mut dice, &mut quorum).map_err(|why| format!("round {played}: {why}"))?;
            played += 1;
            ctx.progress();
        }
        nothing_left()?;
        let found = log::check().map_err(|why| format!("before round {played}: {why}"))?;
        total.add(&found);
        log::verify(ctx).map_err(|why| format!("before round {played}: {why}"))?;
        let status = stage::status()?;
        ensure!(
            status.counter("labels_failed")? == 0,
            "{:?}",
            status.counters
        );
        ensure!(status.mode == nl::ENFORCE, "the mode changed");
        if played % 60 == 0 {
            println!("races: {name}: {played} of {rounds} rounds");
        }
    }
    drop(noise);
    state::unload()?;
    println!(
        "races: {name}: {rounds} rounds in {} s: {total}",
        start.elapsed().as_secs()
    );
    Ok(())
}
