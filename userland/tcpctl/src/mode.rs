// SPDX-License-Identifier: GPL-2.0

//! `tcpctl mode`: whether verdicts hold.

use clap::Args;
use serde_json::json;

use crate::{
    client::Mode,
    error::Result,
    govern::{
        self,
        Wait, //
    },
    output::Output, //
};

/// Which mode.
#[derive(Debug, Args)]
pub(crate) struct Command {
    /// enforce: refuse what policy refuses; permissive: only write it down
    #[arg(value_name = "MODE")]
    mode: Mode,
    #[command(flatten)]
    wait: Wait,
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    govern::run(&command.wait, output, |client| {
        client.mode_set(command.mode)
    })?;
    let mode = command.mode.name();
    output.either(&json!({ "outcome": "done", "mode": mode }), || {
        format!("mode {mode}")
    })
}
