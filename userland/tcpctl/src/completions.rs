// SPDX-License-Identifier: GPL-2.0

//! `tcpctl completions`: what shells complete.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{
    cli::Cli,
    error::Result,
    output::Output, //
};

/// Prints the completions for a shell.
///
/// # Errors
///
/// Those of standard output.
pub(crate) fn run(shell: Shell, output: &Output) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tcpctl", &mut script);
    output.raw(&script)
}
