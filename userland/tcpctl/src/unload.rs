// SPDX-License-Identifier: GPL-2.0

//! `tcpctl unload`: letting the module go.

use clap::Args;
use serde_json::json;

use crate::{
    error::Result,
    govern::{
        self,
        Wait, //
    },
    output::{
        note,
        Output, //
    }, //
};

/// How to unload.
#[derive(Debug, Args)]
pub(crate) struct Command {
    #[command(flatten)]
    wait: Wait,
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    govern::run(&command.wait, output, |client| client.unload())?;
    output.either(&json!({ "outcome": "done" }), || {
        "the module may be unloaded".to_owned()
    })?;
    note(output, "Remove it with `rmmod tcp_lsm`.");
    Ok(())
}
