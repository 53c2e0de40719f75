// SPDX-License-Identifier: GPL-2.0

//! The command line: `tcpctl NOUN VERB`.

use std::path::PathBuf;

use clap::{
    Parser,
    Subcommand, //
};
use clap_complete::Shell;

use crate::{
    agent,
    attest,
    audit,
    clock,
    completions,
    doctor,
    error::Result,
    events,
    evidence,
    grant,
    key,
    man,
    mode,
    output::Output,
    policy,
    request,
    seal,
    state,
    status,
    unload,
    validator,
    vote, //
};

/// Controls TCP-LSM: the kernel lets a labelled agent do what policy protects only when a quorum of signed votes agrees
///
/// TCP is the Tool Capability Protocol here: what an AI agent's tool may do. Ids of requests may be abbreviated to their
/// first 8 digits or more.
#[derive(Debug, Parser)]
#[command(
    name = "tcpctl",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 module not loaded, 4 pending (a quorum is needed), 5 denied, \
                  6 not signed (it could convict the key).\n\n\
                  Example:\n  tcpctl status"
)]
pub(crate) struct Cli {
    /// Print JSON: results on standard output, errors on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    command: Command,
}

/// The nouns.
#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the module is and does
    #[command(after_help = "Example:\n  tcpctl status --counters")]
    Status {
        /// Also counters that are zero
        #[arg(long)]
        counters: bool,
    },
    /// Check whether this machine is protected, and say what to do
    #[command(after_help = "Example:\n  tcpctl doctor")]
    Doctor(doctor::Command),
    /// Keys of validators
    #[command(
        subcommand,
        after_help = "Example:\n  tcpctl key generate --out alice.key"
    )]
    Key(key::Command),
    /// Whose votes count
    #[command(
        subcommand,
        after_help = "Example:\n  tcpctl validator add --name alice --key alice.key.pub"
    )]
    Validator(validator::Command),
    /// What agents may do
    #[command(
        subcommand,
        after_help = "Example:\n  tcpctl policy check builder.policy"
    )]
    Policy(policy::Command),
    /// End setup: from then on policy, validators, mode and unloading take a quorum
    ///
    /// Irrevocable: with a TPM over restarts too, without one while the module is loaded. It pins itself in memory.
    #[command(after_help = "Example:\n  tcpctl seal")]
    Seal(seal::Command),
    /// Enforce verdicts, or only write them down; in a sealed node this takes a quorum
    #[command(after_help = "Example:\n  tcpctl mode enforce")]
    Mode(mode::Command),
    /// Let the module be removed; in a sealed node this takes a quorum
    #[command(after_help = "Example:\n  tcpctl unload --wait && rmmod tcp_lsm")]
    Unload(unload::Command),
    /// What the node keeps over a restart, sealed by its TPM
    #[command(subcommand, after_help = "Example:\n  tcpctl state restore")]
    State(state::Command),
    /// Labelled process trees
    #[command(
        subcommand,
        after_help = "Example:\n  tcpctl agent run --name nightly --class builder -- make all"
    )]
    Agent(agent::Command),
    /// What waits for a quorum
    #[command(subcommand, after_help = "Example:\n  tcpctl request list")]
    Request(request::Command),
    /// Sign and submit votes
    #[command(
        subcommand,
        after_help = "Example:\n  tcpctl vote approve 3f9a12c4 --as alice --key alice.key"
    )]
    Vote(vote::Command),
    /// What proves that a validator lied
    #[command(
        subcommand,
        after_help = "Example:\n  tcpctl evidence verify carol.evidence --key carol.key.pub"
    )]
    Evidence(evidence::Command),
    /// What has been approved and not used up
    #[command(subcommand, after_help = "Example:\n  tcpctl grant list")]
    Grant(grant::Command),
    /// Print the causal log: who asked, who voted, what was used
    #[command(after_help = "Example:\n  tcpctl events --from 100 --verify")]
    Events(events::Command),
    /// The node's vector clock
    #[command(subcommand, after_help = "Example:\n  tcpctl clock show")]
    Clock(clock::Command),
    /// Prove to another machine which node this is and how far its history goes
    #[command(
        subcommand,
        after_help = "Example:\n  tcpctl attest quote --nonce $NONCE --out node.quote"
    )]
    Attest(attest::Command),
    /// Verify on any machine what a node did
    #[command(
        subcommand,
        after_help = "Example:\n  tcpctl audit verify node.log --policy builder.policy"
    )]
    Audit(audit::Command),
    /// Print completions for a shell
    #[command(after_help = "Example:\n  tcpctl completions bash > /etc/bash_completion.d/tcpctl")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages
    #[command(after_help = "Example:\n  tcpctl man --out /usr/local/share/man/man1")]
    Man {
        /// Where to write them
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// Those of the command.
    pub(crate) fn run(&self, output: &Output) -> Result<()> {
        match &self.command {
            Command::Status { counters } => status::run(*counters, output),
            Command::Doctor(command) => doctor::run(command, output),
            Command::Key(command) => key::run(command, output),
            Command::Validator(command) => validator::run(command, output),
            Command::Policy(command) => policy::run(command, output),
            Command::Seal(command) => seal::run(command, output),
            Command::Mode(command) => mode::run(command, output),
            Command::Unload(command) => unload::run(command, output),
            Command::State(command) => state::run(command, output),
            Command::Agent(command) => agent::run(command, output),
            Command::Request(command) => request::run(command, output),
            Command::Vote(command) => vote::run(command, output),
            Command::Evidence(command) => evidence::run(command, output),
            Command::Grant(command) => grant::run(command, output),
            Command::Events(command) => events::run(command, output),
            Command::Clock(command) => clock::run(command, output),
            Command::Attest(command) => attest::run(command, output),
            Command::Audit(command) => audit::run(command, output),
            Command::Completions { shell } => completions::run(*shell, output),
            Command::Man { out } => man::run(out, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
