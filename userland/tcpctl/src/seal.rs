// SPDX-License-Identifier: GPL-2.0

//! `tcpctl seal`: the end of setup.

use clap::Args;
use serde_json::json;

use crate::{
    client::Client,
    error::Result,
    output::{
        note,
        Output, //
    },
    state::{
        self,
        Place, //
    }, //
};

/// How to seal.
#[derive(Debug, Args)]
pub(crate) struct Command {
    #[command(flatten)]
    place: Place,
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node: `not_in_setup`, `no_policy`, `no_validators`; [`crate::error::Error::Unsaved`].
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    let mut client = Client::open()?;
    let taken = client.seal()?;
    state::finish(&mut client, &command.place, &taken)?;
    output.either(&json!({ "outcome": "done", "phase": "sealed" }), || {
        "sealed".to_owned()
    })?;
    note(
        output,
        "From now on policy, validators, mode and unloading take a quorum, whoever asks.",
    );
    Ok(())
}
