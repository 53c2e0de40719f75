// SPDX-License-Identifier: GPL-2.0

//! Measures what TCP-LSM and its peers cost, in instructions.
//!
//! It runs as root in a guest whose clock counts instructions (`qemu/run.sh --icount`), as the only program there, and
//! changes that guest for good: it is not for a machine that anybody needs.

mod apparmor;
mod bpf;
mod btf;
mod child;
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the guest's tests have the same file, and call more of it"
)]
#[path = "../../guest-tests/src/client.rs"]
mod client;
mod landlock;
mod measure;
mod metric;
mod mix;
mod module;
mod policy;
mod setup;
mod sys;
mod tasks;
mod workload;

use clap::builder::PossibleValuesParser;
use clap::{
    Args,
    Parser,
    Subcommand, //
};
use std::path::PathBuf;
use std::process::ExitCode;

/// A result whose error says what failed and why.
pub(crate) type Res<T = ()> = Result<T, String>;

const EXAMPLES: &str = "\
Examples:
  On the host, with tcp_lsm.ko in DIR:
    qemu/run.sh --icount --no-load --mem 2048 --tpm-state none --share DIR -- bench measure
  A look at one workload under two setups:
    bench measure --workload open_close --setup none --setup landlock";

/// Measures in the guest what TCP-LSM and its peers cost, in instructions.
#[derive(Parser)]
#[command(name = "bench", version, after_help = EXAMPLES)]
struct Command {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure every workload under every setup; one line a metric: metric NAME MEDIAN MIN MAX ROUNDS
    #[command(after_help = EXAMPLES)]
    Measure(Measure),
}

/// What is to be measured.
#[derive(Args)]
pub(crate) struct Measure {
    /// The module
    #[arg(long, value_name = "FILE", default_value = "/mnt/share/tcp_lsm.ko")]
    module: PathBuf,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Only this workload; may be repeated
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(measure::names()))]
    workload: Vec<String>,
    /// Only this setup; may be repeated
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(setup::NAMES))]
    setup: Vec<String>,
}

fn main() -> ExitCode {
    let Verb::Measure(wanted) = Command::parse().verb;
    match setup::run_all(&wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Command;
    use clap::CommandFactory as _;

    #[test]
    fn arguments_are_consistent() {
        Command::command().debug_assert();
    }
}
