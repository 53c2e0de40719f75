// SPDX-License-Identifier: GPL-2.0

//! Lists the unsafe code of the module, what each piece relies on and the tests that would fail without.
//!
//! `scripts/unsafe-review` runs it; `tests.toml` beside it names the tests.

#![forbid(unsafe_code)]

mod comment;
mod document;
mod review;
mod scan;

use clap::{
    Parser,
    Subcommand, //
};
use review::{
    Proof,
    Review,
    Tests, //
};
use std::collections::BTreeSet;
use std::fs;
use std::path::{
    Path,
    PathBuf, //
};
use std::process::ExitCode;

/// Reviews the unsafe code of TCP-LSM.
///
/// Exit status: 0; 1 when something is missing, stale or out of date.
#[derive(Parser)]
#[command(name = "unsafe-review")]
struct Cli {
    /// The project.
    #[arg(long, default_value = ".")]
    top: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the document.
    ///
    /// Example: unsafe-review document --known build/known --out Documentation/testing/unsafe.rst
    Document {
        /// The tests that there are: lines `GROUP NAME` and `part NAME`.
        #[arg(long)]
        known: PathBuf,
        /// The file to write.
        #[arg(long)]
        out: PathBuf,
        /// Write nothing, and fail when the file has something else.
        #[arg(long)]
        check: bool,
    },
    /// List the proofs: `NUMBER FILE ITEM TEST`, with tabs between.
    ///
    /// Example: unsafe-review proofs
    Proofs,
    /// Break the invariant of a proof in a copy of the project.
    ///
    /// Example: unsafe-review break 3 --copy build/broken
    Break {
        /// The number of the proof.
        number: usize,
        /// The copy.
        #[arg(long)]
        copy: PathBuf,
    },
}

fn document(top: &Path, known: &Path, out: &Path, check: bool) -> Result<(), Vec<String>> {
    let one = |e: String| vec![e];
    let list = fs::read_to_string(known).map_err(|e| one(format!("{}: {e}", known.display())))?;
    let known: BTreeSet<String> = list.lines().map(str::to_string).collect();
    let review = Review::new(top, tests(top).map_err(one)?, &known)?;
    let text = document::write(&review);
    if !check {
        return fs::write(out, text).map_err(|e| one(format!("{}: {e}", out.display())));
    }
    let committed = fs::read_to_string(out).unwrap_or_default();
    let differs = committed
        .lines()
        .zip(text.lines())
        .position(|(a, b)| a != b)
        .unwrap_or_else(|| committed.lines().count().min(text.lines().count()));
    if committed == text {
        Ok(())
    } else {
        Err(one(format!(
            "{}: line {} is not what the source says; run make unsafe-review",
            out.display(),
            differs + 1
        )))
    }
}

fn tests(top: &Path) -> Result<Tests, String> {
    Tests::load(&top.join("userland/unsafe-review/tests.toml"))
}

fn proof(tests: &Tests, number: usize) -> Result<&Proof, String> {
    let index = number.checked_sub(1);
    index
        .and_then(|index| tests.proofs.get(index))
        .ok_or_else(|| format!("there is no proof {number}"))
}

fn run(cli: &Cli) -> Result<(), Vec<String>> {
    let one = |e: String| vec![e];
    match &cli.command {
        Command::Document { known, out, check } => document(&cli.top, known, out, *check),
        Command::Proofs => {
            let tests = tests(&cli.top).map_err(one)?;
            for (number, proof) in tests.proofs.iter().enumerate() {
                println!(
                    "{}\t{}\t{}\t{}",
                    number + 1,
                    proof.file,
                    proof.item,
                    proof.test
                );
            }
            Ok(())
        }
        Command::Break { number, copy } => {
            let tests = tests(&cli.top).map_err(one)?;
            let proof = proof(&tests, *number).map_err(one)?;
            let text = proof.apply(&cli.top).map_err(one)?;
            fs::write(copy.join(&proof.file), text).map_err(|e| one(format!("{}: {e}", proof.file)))
        }
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(wrong) => {
            for line in wrong {
                eprintln!("error: {line}");
            }
            ExitCode::FAILURE
        }
    }
}
