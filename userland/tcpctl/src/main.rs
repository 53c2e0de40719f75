// SPDX-License-Identifier: GPL-2.0

//! `tcpctl`, the control program of TCP-LSM.
//!
//! One noun per file. [`genl`] alone knows how netlink is encoded, [`client`] what the module's family says; the formats
//! that are hashed and signed come from the crate `engine`, which is compiled from the kernel module's own files.

#![forbid(unsafe_code)]

mod agent;
mod attest;
mod audit;
mod cli;
mod client;
mod clock;
mod completions;
mod crypto;
mod describe;
mod doctor;
mod enroll;
mod error;
mod events;
mod evidence;
mod export;
mod exported;
mod file;
mod genl;
mod govern;
mod grant;
mod ids;
mod key;
mod man;
mod mode;
mod output;
mod policy;
mod quote;
mod request;
mod seal;
mod securityfs;
mod sidecar;
mod state;
mod status;
mod time;
mod tpm;
mod unload;
mod validator;
mod vote;

use std::{
    io::Write,
    process::ExitCode, //
};

use clap::Parser;

use crate::{
    cli::Cli,
    error::Error,
    output::Output, //
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.json);
    match cli.run(&output) {
        Ok(()) => ExitCode::from(error::EXIT_DONE),
        Err(error) => {
            report(&error, &output);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Prints an error, unless it speaks for itself.
pub(crate) fn report(error: &Error, output: &Output) {
    if matches!(error, Error::BrokenPipe | Error::Reported) {
        return;
    }
    let text = if output.json {
        output::ascii_json(&error.to_json().to_string())
    } else {
        format!("tcpctl: {error}")
    };
    // Nobody is left to be told when standard error is gone.
    let _ = writeln!(std::io::stderr(), "{text}");
}
