// SPDX-License-Identifier: GPL-2.0

//! `tcpctl validator`: whose votes count.

use clap::Subcommand;
use serde_json::{
    json,
    Value, //
};

use crate::{
    client::{
        enrolled_slot,
        Client, //
    },
    crypto::{
        public_argument,
        validator_id, //
    },
    error::Result,
    exported::entries,
    govern::{
        self,
        Wait, //
    },
    ids::short,
    output::{
        clean,
        Output,
        Table, //
    }, //
};

/// What to do with validators.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Enrol a validator; in a sealed node this takes a quorum
    #[command(
        after_help = "Example:\n  tcpctl validator add --name alice --key alice.key.pub --weight 1"
    )]
    Add {
        /// Name, 1 to 32 of A-Z a-z 0-9 . _ -
        #[arg(long, value_name = "NAME", value_parser = name)]
        name: String,
        /// Public key: a file in PEM, PEM itself, or a point in hexadecimal
        #[arg(long, value_name = "FILE|PEM|HEX")]
        key: String,
        /// Weight of its votes
        #[arg(long, value_name = "W", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        weight: u32,
        #[command(flatten)]
        wait: Wait,
    },
    /// List the enrolled validators
    #[command(after_help = "Example:\n  tcpctl validator list")]
    List,
    /// Remove a validator; in a sealed node this takes a quorum
    #[command(after_help = "Example:\n  tcpctl validator remove alice --wait")]
    Remove {
        /// Its name
        #[arg(value_name = "NAME", value_parser = name)]
        name: String,
        #[command(flatten)]
        wait: Wait,
    },
}

/// Parses a name of a validator or agent for clap.
///
/// # Errors
///
/// A sentence for clap.
pub(crate) fn name(text: &str) -> Result<String, String> {
    if engine::name::is_name(text.as_bytes()) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 32 of A-Z a-z 0-9 . _ -".to_owned())
    }
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    match command {
        Command::Add {
            name,
            key,
            weight,
            wait,
        } => {
            let point = public_argument(key)?;
            let id = validator_id(&point);
            let reply = govern::run(wait, output, |client| {
                client.validator_add(name, &point, *weight)
            })?;
            let slot = enrolled_slot(&reply);
            output.either(
                &json!({
                    "outcome": "done",
                    "name": name,
                    "id": hex::encode(id),
                    "weight": weight,
                    "slot": slot,
                }),
                || match slot {
                    Some(slot) => format!(
                        "enrolled {name}: slot {slot}, weight {weight}, id {}",
                        hex::encode(id)
                    ),
                    None => format!("enrolled {name}: weight {weight}, id {}", hex::encode(id)),
                },
            )
        }
        Command::List => list(output),
        Command::Remove { name, wait } => {
            govern::run(wait, output, |client| client.validator_remove(name))?;
            output.either(&json!({ "outcome": "done", "name": name }), || {
                format!("removed {name}")
            })
        }
    }
}

fn list(output: &Output) -> Result<()> {
    let validators = Client::open()?.validators()?;
    if output.json {
        let values: Vec<Value> = validators
            .iter()
            .map(|validator| {
                json!({
                    "slot": validator.slot,
                    "name": validator.name,
                    "weight": validator.weight,
                    "id": hex::encode(validator.id),
                    "key": hex::encode(validator.key),
                    "votes_accepted": validator.votes,
                    "clock": entries(&validator.clock),
                })
            })
            .collect();
        return output.json(&values);
    }
    if validators.is_empty() {
        return output
            .line("no validators: add one with `tcpctl validator add --name NAME --key FILE.pub`");
    }
    let total: u64 = validators
        .iter()
        .map(|validator| u64::from(validator.weight))
        .sum();
    let mut table = Table::new(&["SLOT", "NAME", "WEIGHT", "VOTES", "ID"]);
    for validator in &validators {
        table.row(vec![
            validator.slot.to_string(),
            clean(validator.name.as_bytes()),
            validator.weight.to_string(),
            validator.votes.to_string(),
            short(&validator.id),
        ]);
    }
    output.raw(table.render(output).as_bytes())?;
    output.line(&format!("total weight {total}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_before_they_are_sent() {
        for good in ["alice", "a.b_c-1", &"x".repeat(32)] {
            assert_eq!(name(good).as_deref(), Ok(good));
        }
        for bad in ["", "a b", "ä", "a/b", &"x".repeat(33)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
