// SPDX-License-Identifier: GPL-2.0

//! Simulates validators that lie, crash or conspire, against the engine of TCP-LSM.
//!
//! `Documentation/simulation.rst` says what is simulated and what came out; `make simulate` writes
//! the figures there. The same seed gives the same figures, whatever the number of threads.

#![forbid(unsafe_code)]

mod attack;
mod behaviour;
mod key;
mod node;
mod picture;
mod random;
mod run;
mod stats;
mod table;
mod target;
mod voter;

use behaviour::{
    Behaviour,
    ALL, //
};
use run::{
    Setup,
    Stage,
    HOUR_MS, //
};
use stats::Rate;
use std::path::{
    Path,
    PathBuf, //
};
use std::process::ExitCode;
use std::sync::atomic::{
    AtomicU64,
    Ordering, //
};
use std::time::Instant;

/// Numbers of validators, by turns.
const SIZES: [usize; 12] = [4, 5, 7, 10, 13, 16, 25, 31, 40, 64, 100, 128];

/// Requests an hour, but for the curve.
const RATE: u64 = 30;

/// Requests an hour of each line of the curve.
const RATES: [u64; 3] = [10, 30, 100];

/// Validators of the curve.
const CURVE_SIZE: usize = 7;

/// What came out of all runs of one behaviour.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Summary {
    detected: Rate,
    refused: Rate,
    harmed: u64,
    suspected: Rate,
    wrong: Rate,
    stalled: Rate,
    /// Ascending.
    latency: Vec<u64>,
}

impl Summary {
    fn add(&mut self, result: run::Result) {
        self.detected.add(result.detected);
        self.refused.add(result.refused);
        self.harmed += result.harmed;
        self.suspected.add(result.suspected);
        self.wrong.add(result.wrong);
        self.stalled.add(result.stalled);
        self.latency.extend(result.latency);
    }
}

/// What the command line says.
struct Options {
    runs: u64,
    threads: usize,
    seed: u64,
    only: Option<String>,
    out: Option<PathBuf>,
}

const HELP: &str = "\
usage: simulate [--runs N] [--threads N] [--seed N] [--only NAME] [--out DIRECTORY]

Simulates each behaviour N times (1000), prints a table and says which targets hold; --only takes
those behaviours whose name begins so, and looks at no target. --out writes simulation.rst between
its marks and the pictures in simulation/ there; then the curve of those who lie sometimes is drawn, too.
Exit status: 0 when every target holds, 1 when one does not, 2 for a wrong command line or a file.";

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let mut options = Self {
            runs: 1000,
            threads,
            seed: 1,
            only: None,
            out: None,
        };
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            if name == "--help" || name == "-h" {
                return Ok(None);
            }
            let value = arguments
                .next()
                .ok_or(format!("{name}: no value, or unknown"))?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|error| format!("{name} {value}: {error}"))
            };
            match name.as_str() {
                "--runs" => options.runs = number()?.max(1),
                "--threads" => {
                    options.threads = usize::try_from(number()?.clamp(1, 256)).unwrap_or(1)
                }
                "--seed" => options.seed = number()?,
                "--only" => options.only = Some(value),
                "--out" => options.out = Some(value.into()),
                _ => return Err(format!("{name}: unknown")),
            }
        }
        Ok(Some(options))
    }
}

/// Runs one behaviour; `size` is that of each run, or they take [`SIZES`] by turns.
fn simulate(behaviour: &Behaviour, options: &Options, rate: u64, size: Option<usize>) -> Summary {
    let next = AtomicU64::new(0);
    let name = behaviour
        .name
        .bytes()
        .fold(rate, |sum, byte| random::mix(sum ^ u64::from(byte)));
    let work = || {
        let mut stage = Stage::new();
        let mut sum = Summary::default();
        loop {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= options.runs {
                return sum;
            }
            let turn = usize::try_from(run).unwrap_or(0) % SIZES.len();
            let setup = Setup {
                behaviour,
                validators: size.unwrap_or(SIZES[turn]),
                gap_ms: HOUR_MS / rate,
                seeds: [options.seed, name, run],
            };
            sum.add(run::run(&setup, &mut stage));
        }
    };
    let mut summary = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads).map(|_| scope.spawn(work)).collect();
        let sums = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        sums.fold(Summary::default(), |mut all, sum| {
            all.add(run::Result {
                detected: sum.detected,
                refused: sum.refused,
                harmed: sum.harmed,
                suspected: sum.suspected,
                wrong: sum.wrong,
                stalled: sum.stalled,
                latency: sum.latency,
            });
            all
        })
    });
    summary.latency.sort_unstable();
    summary
}

/// How often a liar is suspected, for each permille of lies and each rate of requests.
fn curve(options: &Options) -> Vec<(u64, Vec<Rate>)> {
    (0..=1000)
        .step_by(50)
        .map(|permille| {
            let liar = behaviour::liar(permille);
            let found = RATES.map(|rate| simulate(&liar, options, rate, Some(CURVE_SIZE)).detected);
            println!(
                "a liar of {permille} permille: {}",
                found.map(table::percent).join(", ")
            );
            (permille, found.to_vec())
        })
        .collect()
}

fn write(out: &Path, options: &Options, summaries: &[Summary]) -> Result<(), String> {
    let points = curve(options);
    let file = |name: &str, content: &str| {
        let path = out.join(name);
        std::fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))
    };
    let document = out.join("simulation.rst");
    let mut text = std::fs::read_to_string(&document)
        .map_err(|error| format!("{}: {error}", document.display()))?;
    let made = format!(
        "{} runs of each behaviour with 4 to 128 validators, seed {}.",
        options.runs, options.seed
    );
    for (name, body) in [
        ("targets", format!("{made}\n\n{}", target::table(summaries))),
        ("names", table::names()),
        ("table", table::behaviours(summaries)),
        ("curve", table::curve(&RATES, &points)),
    ] {
        text = table::replace(&text, name, &body)?;
    }
    file("simulation.rst", &text)?;
    file("simulation/detection.svg", &picture::bars(summaries))?;
    file("simulation/liars.svg", &picture::curve(&RATES, &points))
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("simulate: {error}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let started = Instant::now();
    println!("{}", table::heading());
    let wanted = |of: &&Behaviour| {
        options
            .only
            .as_ref()
            .is_none_or(|only| of.name.starts_with(only))
    };
    let mut summaries = Vec::new();
    for behaviour in ALL.iter().filter(wanted) {
        let summary = simulate(behaviour, &options, RATE, None);
        println!("{}", table::progress(behaviour, &summary));
        summaries.push(summary);
    }
    println!(
        "{} runs of each in {} s",
        options.runs,
        started.elapsed().as_secs()
    );
    if options.only.is_some() {
        return ExitCode::SUCCESS;
    }
    if let Some(out) = &options.out {
        if let Err(error) = write(out, &options, &summaries) {
            eprintln!("simulate: {error}");
            return ExitCode::from(2);
        }
        println!("written in {} s", started.elapsed().as_secs());
    }
    if target::print(&summaries) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use behaviour::Label;

    fn options(runs: u64, threads: usize, seed: u64) -> Options {
        Options {
            runs,
            threads,
            seed,
            only: None,
            out: None,
        }
    }

    fn named(name: &str) -> &'static Behaviour {
        ALL.iter().find(|of| of.name == name).unwrap()
    }

    #[test]
    fn the_figures_depend_on_the_seed_and_not_on_the_threads() {
        let behaviour = named("mixed");
        let figures =
            |threads, seed| simulate(behaviour, &options(6, threads, seed), RATE, Some(7));
        assert_eq!(figures(1, 1), figures(4, 1));
        assert_ne!(figures(1, 1), figures(1, 2));
    }

    #[test]
    fn there_are_20_behaviours_and_each_has_a_name_of_its_own() {
        let mut names: Vec<_> = ALL.iter().map(|of| of.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        assert!(ALL.len() >= 20);
    }

    #[test]
    fn every_run_of_a_provable_behaviour_has_occasions() {
        for behaviour in ALL.iter().filter(|of| of.label == Label::Provable) {
            let summary = simulate(behaviour, &options(2, 2, 3), RATE, Some(10));
            assert_eq!(
                summary.detected,
                Rate { hits: 2, of: 2 },
                "{}",
                behaviour.name
            );
            assert_eq!(summary.harmed, 0, "{}", behaviour.name);
        }
    }

    #[test]
    fn a_coalition_above_the_threshold_is_counted_as_wrong() {
        let summary = simulate(named("approve-80-first"), &options(2, 2, 3), RATE, Some(10));
        assert!(summary.wrong.hits * 2 > summary.wrong.of);
    }

    #[test]
    fn the_command_line_is_read() {
        let parse = |words: &[&str]| Options::parse(words.iter().map(|&word| word.to_string()));
        let options = parse(&["--runs", "7", "--seed", "3"]).unwrap().unwrap();
        assert_eq!((options.runs, options.seed), (7, 3));
        assert!(parse(&["--help"]).unwrap().is_none());
        assert!(parse(&["--runs"]).is_err());
        assert!(parse(&["--runs", "x"]).is_err());
        assert!(parse(&["--else", "1"]).is_err());
    }
}
