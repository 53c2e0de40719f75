// SPDX-License-Identifier: GPL-2.0

//! `tcpctl seal`: the end of setup.

use serde_json::json;

use crate::{
    client::{
        Client,
        Outcome, //
    },
    error::{
        Error,
        Result, //
    },
    output::{
        note,
        Output, //
    }, //
};

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node: `not_in_setup`, `no_policy`, `no_validators`.
pub(crate) fn run(output: &Output) -> Result<()> {
    match Client::open()?.seal()? {
        Outcome::Done(_) => {
            output.either(&json!({ "outcome": "done", "phase": "sealed" }), || {
                "sealed".to_owned()
            })?;
            note(
                output,
                "From now on policy, validators, mode and unloading take a quorum, whoever asks.",
            );
            Ok(())
        }
        Outcome::Pending(id) => Err(Error::Pending {
            request: hex::encode(id),
            waited: false,
        }),
    }
}
