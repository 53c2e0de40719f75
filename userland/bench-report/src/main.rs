// SPDX-License-Identifier: GPL-2.0

//! Judges, compares and draws what `make bench` measured in the guest.
//!
//! `scripts/bench` runs it; `Documentation/performance.rst` says what is measured and what came out.

#![forbid(unsafe_code)]

mod compare;
mod document;
mod figures;
mod picture;
mod reason;
mod table;
mod target;

use clap::{
    Parser,
    Subcommand, //
};
use figures::Figures;
use std::path::{
    Path,
    PathBuf, //
};
use std::process::ExitCode;
use target::Verdict;

/// Judges, compares and draws the figures of TCP-LSM's benchmark.
///
/// Exit status: 0; 1 when a metric is worse by too much or gone; 2 for anything else.
#[derive(Parser)]
#[command(name = "bench-report")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make bench.json of the lines `metric NAME MEDIAN MIN MAX ROUNDS` that the guest printed.
    ///
    /// Example: bench-report collect metrics --kernel 7.3.4 --commit 0d6e123 --out bench.json
    Collect {
        /// What the guest printed.
        metrics: PathBuf,
        /// The release of the kernel that ran.
        #[arg(long)]
        kernel: String,
        /// The commit that was measured.
        #[arg(long)]
        commit: String,
        /// The file to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Print the tables, and which targets are met.
    ///
    /// Example: bench-report show build/bench.json
    Show {
        /// The run.
        bench: PathBuf,
    },
    /// Fail when a metric of RUN is more than 3 % worse than in BEFORE, or is gone.
    ///
    /// Example: bench-report check build/bench.json Documentation/performance/bench.json
    Check {
        /// The run.
        run: PathBuf,
        /// What it is compared with.
        before: PathBuf,
    },
    /// Make a run the committed one, and write performance.rst and its pictures anew.
    ///
    /// Example: bench-report save build/bench.json Documentation
    Save {
        /// The run.
        bench: PathBuf,
        /// Where performance.rst is.
        directory: PathBuf,
    },
}

/// What went wrong.
enum Failure {
    /// The figures are not good enough.
    Figures(String),
    /// Anything else.
    Other(String),
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self::Other(error)
    }
}

fn collect(metrics: &Path, kernel: String, commit: String, out: &Path) -> Result<(), Failure> {
    let error = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(metrics).map_err(|of| error(metrics, &of))?;
    let figures = Figures::collect(&text, kernel, commit).map_err(|of| error(metrics, &of))?;
    std::fs::write(out, figures.json()).map_err(|of| error(out, &of))?;
    Ok(())
}

fn show(figures: &Figures) {
    println!(
        "Kernel {}, commit {}; instructions.\n",
        figures.kernel, figures.commit
    );
    println!("{}", table::instructions(figures, false));
    println!("{}", table::overhead(figures, false));
    if figures.has_direct() {
        println!(
            "Attached directly:\n\n{}",
            table::instructions(figures, true)
        );
        println!("{}", table::overhead(figures, true));
    }
    println!("{}", table::others(figures));
    let targets = target::all(figures);
    println!("{}", table::targets(&targets));
    let count = |verdict| targets.iter().filter(|of| of.verdict == verdict).count();
    println!(
        "{} targets: {} met, {} missed, {} not measured",
        targets.len(),
        count(Verdict::Met),
        count(Verdict::Missed),
        count(Verdict::Unmeasured)
    );
}

fn check(run: &Figures, before: &Figures) -> Result<(), Failure> {
    if run.kernel != before.kernel {
        println!(
            "note: kernel {} is compared with kernel {}",
            run.kernel, before.kernel
        );
    }
    println!(
        "commit {} compared with commit {}",
        run.commit, before.commit
    );
    let found = compare::compare(run, before);
    found.print();
    if found.failures.is_empty() {
        Ok(())
    } else {
        Err(Failure::Figures("not as good as the committed run".into()))
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Collect {
            metrics,
            kernel,
            commit,
            out,
        } => collect(&metrics, kernel, commit, &out),
        Command::Show { bench } => {
            show(&Figures::read(&bench)?);
            Ok(())
        }
        Command::Check { run, before } => check(&Figures::read(&run)?, &Figures::read(&before)?),
        Command::Save { bench, directory } => {
            let figures = Figures::read(&bench)?;
            for note in document::save(&figures, &directory)? {
                eprintln!("note: {note}");
            }
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Figures(error)) => {
            eprintln!("bench-report: {error}");
            ExitCode::FAILURE
        }
        Err(Failure::Other(error)) => {
            eprintln!("bench-report: {error}");
            ExitCode::from(2)
        }
    }
}
