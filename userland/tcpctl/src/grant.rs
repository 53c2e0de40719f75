// SPDX-License-Identifier: GPL-2.0

//! `tcpctl grant`: what has been approved and not used up.

use clap::Subcommand;
use serde_json::{
    json,
    Value, //
};

use crate::{
    client::Client,
    describe,
    error::Result,
    ids::{
        self,
        short,
        Prefix, //
    },
    output::{
        Output,
        Table, //
    },
    time::human_duration, //
};

/// What to do with grants.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the live grants
    #[command(after_help = "Example:\n  tcpctl grant list")]
    List,
    /// End a grant at once
    #[command(after_help = "Example:\n  tcpctl grant revoke 3f9a12c4")]
    Revoke {
        /// Id of the grant's request, at least its first 8 digits
        #[arg(value_name = "ID", value_parser = ids::parse)]
        id: Prefix,
    },
}

/// Runs the command.
///
/// # Errors
///
/// The refusals of the node.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    let mut client = Client::open()?;
    match command {
        Command::List => {
            let grants = client.grants()?;
            if output.json {
                let values: Vec<Value> = grants
                    .iter()
                    .map(|grant| {
                        let mut value = describe::request_json(&grant.encoding)?;
                        if let Some(fields) = value.as_object_mut() {
                            fields.insert("id".to_owned(), json!(hex::encode(grant.id)));
                            fields.insert("uses_left".to_owned(), json!(grant.uses_left));
                            fields.insert("remaining_ms".to_owned(), json!(grant.remaining_ms));
                        }
                        Ok(value)
                    })
                    .collect::<Result<_>>()?;
                return output.json(&values);
            }
            if grants.is_empty() {
                return output.line("no grants");
            }
            let mut table =
                Table::new(&["REQUEST", "OPERATION", "FOR", "USES LEFT", "LEFT", "ABOUT"]);
            for grant in &grants {
                let request = describe::decode(&grant.encoding)?;
                table.row(vec![
                    short(&grant.id),
                    request.binding.op.name().to_owned(),
                    describe::who_short(&request),
                    grant.uses_left.to_string(),
                    human_duration(grant.remaining_ms),
                    describe::about(&request),
                ]);
            }
            output.raw(table.render(output).as_bytes())
        }
        Command::Revoke { id } => {
            let id = match id.whole() {
                Some(id) => id,
                None => {
                    id.pick("grant", "grant_unknown", client.grants()?, |grant| {
                        &grant.id
                    })?
                    .id
                }
            };
            client.grant_revoke(&id)?;
            output.either(
                &json!({ "outcome": "done", "request": hex::encode(id) }),
                || format!("revoked {}", short(&id)),
            )
        }
    }
}
