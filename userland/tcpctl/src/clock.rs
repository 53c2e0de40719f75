// SPDX-License-Identifier: GPL-2.0

//! `tcpctl clock`: the node's vector clock.

use clap::Subcommand;
use serde_json::{
    json,
    Value, //
};

use crate::{
    client::Client,
    describe::validator_name,
    error::Result,
    output::{
        Output,
        Table, //
    },
    request, //
};

/// What to do with the clock.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the node's vector clock and the head of its chain
    #[command(after_help = "Example:\n  tcpctl clock show")]
    Show,
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    let Command::Show = command;
    let mut client = Client::open()?;
    let status = client.status()?;
    let names = request::names(&mut client);
    if output.json {
        let entries: Vec<Value> = status
            .clock
            .iter()
            .map(|(slot, value)| json!({ "slot": slot, "value": value, "name": names.get(&slot) }))
            .collect();
        return output.json(&json!({
            "node": hex::encode(status.node),
            "epoch": status.epoch,
            "clock": entries,
            "event": status.event,
            "chain": hex::encode(status.chain),
        }));
    }
    let mut table = Table::new(&["SLOT", "VALUE", "OF"]);
    for (slot, value) in status.clock.iter() {
        let name = match slot {
            0 => "this node".to_owned(),
            _ => validator_name(&names, slot),
        };
        table.row(vec![slot.to_string(), value.to_string(), name]);
    }
    output.raw(table.render(output).as_bytes())?;
    output.line(&format!(
        "chain {} after event {}",
        hex::encode(status.chain),
        status.event
    ))
}
