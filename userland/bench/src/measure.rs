// SPDX-License-Identifier: GPL-2.0

//! Loops timed as a whole, in a child of its own for each setup.

use crate::child::Child;
use crate::metric::Metric;
use crate::mix;
use crate::workload::{
    Fixture,
    Workload,
    DIR,
    WORKLOADS, //
};
use crate::{
    Measure,
    Res, //
};
use std::fs::{
    self,
    File, //
};
use std::io::{
    self,
    Write as _, //
};
use std::path::Path;
use std::thread::sleep;
use std::time::{
    Duration,
    Instant, //
};

/// A file that no setup allows.
const OUTSIDE: &str = "/etc/passwd";

/// Until when the guest is busy with its own start.
const SETTLED: Duration = Duration::from_secs(6);

/// Waits until the guest is quiet.
pub(crate) fn settle() {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let up = text.split('.').next().and_then(|up| up.parse().ok());
    sleep(SETTLED.saturating_sub(Duration::from_secs(up.unwrap_or(0))));
}

/// Fails unless the clock counts instructions: the same loop takes the same time.
///
/// # Errors
///
/// The guest's time is not that of its instructions.
pub(crate) fn counting() -> Res {
    let mut times = [0; 9];
    for time in &mut times {
        let start = Instant::now();
        for n in 0..100_000u64 {
            std::hint::black_box(n);
        }
        *time = start.elapsed().as_nanos();
    }
    times.sort_unstable();
    if times[4] * 100 > times[0] * 101 {
        return Err(format!(
            "this clock does not count instructions (qemu/run.sh --icount): {times:?} ns"
        ));
    }
    Ok(())
}

/// Fails unless the task is refused what lies outside.
///
/// # Errors
///
/// It is not: nothing confines the task.
pub(crate) fn confined() -> Res {
    match File::open(OUTSIDE) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => Err(format!("nothing keeps the task from {OUTSIDE}: {other:?}")),
    }
}

/// Fails if the task is refused what lies outside.
///
/// # Errors
///
/// It is: something confines the task.
pub(crate) fn free() -> Res {
    match File::open(OUTSIDE) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{OUTSIDE}: {error}")),
    }
}

/// Does each workload for a moment.
///
/// # Errors
///
/// One of them is refused, or fails.
pub(crate) fn try_all() -> Res {
    let fixture = Fixture::new()?;
    WORKLOADS.iter().try_for_each(|workload| {
        (workload.run)(&fixture, 2).map_err(|error| format!("{}: {error}", workload.name))
    })
}

/// Prints a metric.
///
/// # Errors
///
/// There were no rounds.
pub(crate) fn print<T: PartialOrd + Copy + std::fmt::Display>(name: &str, rounds: Vec<T>) -> Res {
    let metric = Metric::new(name, rounds).ok_or_else(|| format!("{name} has no rounds"))?;
    println!("{metric}");
    Ok(())
}

/// The name of the mix, see [`mix`].
const MIX: &str = "macro";

/// The names of the workloads.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    WORKLOADS.iter().map(|workload| workload.name).chain([MIX])
}

/// Measures what the caller asked for.
pub(crate) struct Ruler<'a> {
    wanted: &'a Measure,
}

impl<'a> Ruler<'a> {
    /// With the user's wishes.
    pub(crate) fn new(wanted: &'a Measure) -> Self {
        Self { wanted }
    }

    /// Is the setup wanted?
    pub(crate) fn wants(&self, setup: &str) -> bool {
        self.wanted.setup.is_empty() || self.wanted.setup.iter().any(|name| name == setup)
    }

    fn wants_workload(&self, workload: &str) -> bool {
        let all = &self.wanted.workload;
        all.is_empty() || all.iter().any(|name| name == workload)
    }

    /// How often each is measured.
    pub(crate) fn rounds(&self) -> u32 {
        self.wanted.rounds
    }

    /// Measures every workload in a child that `enter` puts under `setup`.
    ///
    /// # Errors
    ///
    /// The setup is not in force, or refuses what it should allow.
    pub(crate) fn workloads(&self, setup: &str, enter: &dyn Fn() -> Res) -> Res {
        self.some(setup, enter, &WORKLOADS)
    }

    /// Measures opening and closing only, in one child after another: a round is the median of one of them. Tasks
    /// differ when there are many: some share what others have for themselves.
    ///
    /// # Errors
    ///
    /// As [`Self::workloads`].
    pub(crate) fn open_close_of_many(&self, setup: &str, enter: &dyn Fn() -> Res) -> Res {
        /// So many that the median does not depend on where the kernel puts them.
        const CHILDREN: usize = 15;
        eprintln!("bench: {setup}");
        let (mut name, mut medians) = (String::new(), Vec::<u64>::new());
        let mut others = Vec::new();
        for _ in 0..CHILDREN {
            for (workload, mut rounds) in Self::said(setup, self.child(enter, &WORKLOADS[..1]))? {
                rounds.sort_unstable();
                medians.extend(rounds.get(rounds.len() / 2));
                name = workload;
            }
            // The next one does not get the memory that this one had.
            others.push(Child::start(|_| loop {
                // SAFETY: No pointers.
                unsafe { libc::pause() };
            })?);
        }
        print(&format!("{name}.{setup}"), medians)
    }

    fn some(&self, setup: &str, enter: &dyn Fn() -> Res, workloads: &[Workload]) -> Res {
        eprintln!("bench: {setup}");
        Self::report(setup, self.child(enter, workloads))
    }

    /// A child that `enter` puts under the setup, and that measures.
    fn child(&self, enter: &dyn Fn() -> Res, workloads: &[Workload]) -> Res<Child> {
        Child::start(|say| {
            enter()?;
            // What it took to get there is memory that a fork would copy, and the setups differ in it.
            // SAFETY: No pointers.
            unsafe { libc::malloc_trim(0) };
            let fixture = Fixture::new()?;
            for workload in workloads {
                if self.wants_workload(workload.name) {
                    self.one(workload, &fixture, say)
                        .map_err(|error| format!("{}: {error}", workload.name))?;
                }
            }
            Ok(())
        })
    }

    /// Measures the mix in a child that `enter` puts under `setup`.
    ///
    /// # Errors
    ///
    /// As [`Self::workloads`].
    pub(crate) fn mix(&self, setup: &str, enter: &dyn Fn() -> Res) -> Res {
        if !self.wants_workload(MIX) {
            return Ok(());
        }
        eprintln!("bench: {setup}: the mix");
        let dir = format!("{DIR}/mix");
        fs::create_dir_all(&dir).map_err(|error| format!("{dir}: {error}"))?;
        let child = Child::start(|say| {
            enter()?;
            let run = || mix::run(Path::new(&dir));
            (|| {
                run()?;
                let mut times = Vec::new();
                for _ in 0..self.rounds() {
                    times.push(run()?);
                }
                tell(say, MIX, &times)
            })()
            .map_err(|error: io::Error| format!("{MIX}: {error}"))
        });
        Self::report(setup, child)
    }

    fn one(&self, workload: &Workload, fixture: &Fixture, say: &mut File) -> io::Result<()> {
        let operations = workload.operations;
        let mut times = vec![0; usize::try_from(self.rounds()).unwrap_or(1)];
        (workload.run)(fixture, operations)?;
        for time in &mut times {
            let start = Instant::now();
            (workload.run)(fixture, operations)?;
            let took = u64::try_from(start.elapsed().as_nanos()).map_err(io::Error::other)?;
            *time = (took + u64::from(operations) / 2) / u64::from(operations);
        }
        tell(say, workload.name, &times)
    }

    fn report(setup: &str, child: Res<Child>) -> Res {
        for (workload, rounds) in Self::said(setup, child)? {
            print(&format!("{workload}.{setup}"), rounds)?;
        }
        Ok(())
    }

    /// What a child said: workloads and their rounds.
    fn said(setup: &str, child: Res<Child>) -> Res<Vec<(String, Vec<u64>)>> {
        let failed = |error| format!("{setup}: {error}");
        let mut said = Vec::new();
        for line in child.and_then(Child::finish).map_err(failed)? {
            let mut words = line.split(' ');
            let workload = words.next().unwrap_or_default();
            let rounds: Result<Vec<u64>, _> = words.map(str::parse).collect();
            let rounds = rounds.map_err(|error| failed(format!("\"{line}\": {error}")))?;
            said.push((workload.to_owned(), rounds));
        }
        Ok(said)
    }
}

/// Says the rounds of a workload.
fn tell(say: &mut File, workload: &str, rounds: &[u64]) -> io::Result<()> {
    let mut line = workload.to_owned();
    for round in rounds {
        line.push_str(&format!(" {round}"));
    }
    writeln!(say, "{line}")
}
