// SPDX-License-Identifier: GPL-2.0

//! What the governance commands share: `--wait`, saving what they change, and telling how they ended.

use std::time::Duration;

use clap::Args;
use serde_json::json;

use crate::{
    client::{
        settle,
        Client,
        Outcome,
        Patience, //
    },
    error::{
        Error,
        Result, //
    },
    genl::Attributes,
    ids::short,
    output::{
        note,
        Output, //
    },
    state::{
        self,
        Place, //
    },
    time, //
};

/// Options of commands that may need a quorum.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wait {
    /// When a quorum is needed, wait for it, then finish
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait at most that long (30s, 10m, 2h)
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = time::parse_duration)]
    pub(crate) timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) place: Place,
}

impl Wait {
    /// As the client takes it.
    pub(crate) fn patience(&self) -> Patience {
        Patience {
            wait: self.wait,
            timeout: self.timeout,
        }
    }
}

/// Says that a quorum is being waited for.
pub(crate) fn announce(id: &[u8; 32], output: &Output) {
    note(
        output,
        &format!(
            "waiting for a quorum on request {} (`tcpctl request show {}`)",
            hex::encode(id),
            short(id)
        ),
    );
}

/// Prints the id of a request that is still open to standard output, for scripts; the explanation follows on standard
/// error.
pub(crate) fn report_pending<T>(result: Result<T>, output: &Output) -> Result<T> {
    if let Err(Error::Pending { request, .. }) = &result {
        output.either(&json!({ "outcome": "pending", "request": request }), || {
            format!("pending {request}")
        })?;
    }
    result
}

/// Runs a governance command until its change is in effect: in a node that a TPM seals, until its state is saved and
/// committed.
///
/// # Errors
///
/// [`Error::Pending`], [`Error::Denied`], [`Error::Unsaved`], and the refusals of the node.
pub(crate) fn run(
    wait: &Wait,
    output: &Output,
    command: impl FnMut(&mut Client) -> Result<Outcome>,
) -> Result<Attributes> {
    let mut client = Client::open()?;
    let result = settle(
        &mut client,
        wait.patience(),
        |id| announce(id, output),
        command,
    );
    let taken = report_pending(result, output)?;
    state::finish(&mut client, &wait.place, &taken)?;
    Ok(taken.reply)
}
