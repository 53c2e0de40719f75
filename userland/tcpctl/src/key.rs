// SPDX-License-Identifier: GPL-2.0

//! `tcpctl key`: keys of validators.

use std::{
    os::unix::fs::PermissionsExt,
    path::PathBuf, //
};

use clap::Subcommand;
use serde_json::json;

use crate::{
    crypto::{
        public_argument,
        validator_id,
        PrivateKey, //
    },
    error::Result,
    file,
    output::{
        note,
        pairs,
        Output, //
    }, //
};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a validator's key (NIST P-256)
    ///
    /// Writes the private key as PKCS#8 in PEM, readable by its owner only, and the public key beside it (FILE.pub). Keep
    /// FILE and FILE.clock together; only FILE.pub goes to the node. Keys made by
    /// `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` are as good.
    #[command(after_help = "Example:\n  tcpctl key generate --out alice.key")]
    Generate {
        /// Where to write the private key
        #[arg(long, value_name = "FILE", default_value = "validator.key")]
        out: PathBuf,
        /// Replace files that exist
        #[arg(long)]
        force: bool,
    },
    /// Show a key's public half and validator id
    #[command(after_help = "Example:\n  tcpctl key show alice.key.pub")]
    Show {
        /// Private or public key in PEM, or a point in hexadecimal
        #[arg(value_name = "FILE|HEX")]
        file: String,
    },
}

/// Runs the command.
///
/// # Errors
///
/// Those of the files and keys.
pub(crate) fn run(command: &Command, output: &Output) -> Result<()> {
    match command {
        Command::Generate { out, force } => {
            let key = PrivateKey::generate();
            let public_path = file::beside(out, ".pub");
            let private = key.to_pem()?;
            let public = key.public_pem()?;
            if *force {
                file::replace(out, 0o600, private.as_bytes())?;
                file::replace(&public_path, 0o644, public.as_bytes())?;
            } else {
                file::create(out, 0o600, private.as_bytes())?;
                file::create(&public_path, 0o644, public.as_bytes())?;
            }
            let id = hex::encode(validator_id(&key.point()));
            output.either(
                &json!({
                    "private": out,
                    "public": public_path,
                    "id": id,
                    "point": hex::encode(key.point()),
                }),
                || {
                    pairs(&[
                        ("private key", out.display().to_string()),
                        ("public key", public_path.display().to_string()),
                        ("validator id", id.clone()),
                    ])
                },
            )?;
            note(
                output,
                &format!(
                    "Enrol it with `tcpctl validator add --name NAME --key {}`.",
                    public_path.display()
                ),
            );
            Ok(())
        }
        Command::Show { file } => {
            let point = public_argument(file)?;
            let id = hex::encode(validator_id(&point));
            output.either(&json!({ "id": id, "point": hex::encode(point) }), || {
                pairs(&[
                    ("validator id", id.clone()),
                    ("public key", hex::encode(point)),
                ])
            })
        }
    }
}

/// A warning when others can read a private key.
pub(crate) fn exposed(path: &std::path::Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| {
        format!(
            "warning: others can read {}: run `chmod 600 {}`",
            path.display(),
            path.display()
        )
    })
}
