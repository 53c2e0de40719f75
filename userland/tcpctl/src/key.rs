// SPDX-License-Identifier: GPL-2.0

//! `tcpctl key`: keys of validators.

use std::{
    os::unix::fs::PermissionsExt,
    path::{
        Path,
        PathBuf, //
    }, //
};

use clap::Subcommand;
use serde_json::json;

use crate::{
    crypto::{
        self,
        public_argument,
        validator_id,
        PrivateKey, //
    },
    error::{
        Error,
        Result, //
    },
    file,
    output::{
        note,
        pairs,
        Output, //
    },
    sidecar,
    tpm::{
        self,
        Tpm, //
    }, //
};

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a validator's key (NIST P-256)
    ///
    /// Writes the private key as PKCS#8 in PEM, readable by its owner only, beside it the public key (FILE.pub) and the
    /// journal of its votes (FILE.clock). Keep FILE and FILE.clock together; only FILE.pub goes to the node. Keys made by
    /// `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` are as good; they take --new-journal at their first
    /// vote.
    ///
    /// With --tpm the private key is made in this machine's TPM and never leaves it; FILE.pub is written, and the journal is
    /// ID.clock in /var/lib/tcp-lsm for root, else in tcp-lsm below $XDG_STATE_HOME or ~/.local/state.
    #[command(
        after_help = "Examples:\n  tcpctl key generate --out alice.key\n  tcpctl key generate --tpm --out alice"
    )]
    Generate {
        /// Where to write the private key [default: validator.key, with --tpm tpm-HANDLE]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Replace files that exist; an old FILE.clock is renamed to FILE.clock.old
        #[arg(long)]
        force: bool,
        /// Make the key in the TPM, and keep it there
        #[arg(long)]
        tpm: bool,
        /// Where in the TPM, 81000000 to 817fffff [default: the first that is free from 81185400]
        #[arg(long, value_name = "HANDLE", requires = "tpm", value_parser = tpm::parse_handle)]
        handle: Option<u32>,
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
        Command::Generate {
            out,
            force,
            tpm: true,
            handle,
        } => generate_in_tpm(out.as_deref(), *force, *handle, output),
        Command::Generate { out, force, .. } => {
            let out = out.as_deref().unwrap_or(Path::new("validator.key"));
            generate_in_file(out, *force, output)
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

/// Makes a key in a file.
fn generate_in_file(out: &Path, force: bool, output: &Output) -> Result<()> {
    let journal = file::beside(out, ".clock");
    let key = PrivateKey::generate();
    let public_path = file::beside(out, ".pub");
    let private = key.to_pem()?;
    let public = key.public_pem()?;
    let id = validator_id(&key.point());
    if force {
        let held = journal.symlink_metadata().is_ok();
        let held = held.then(|| sidecar::hold(&journal)).transpose()?;
        file::replace(out, 0o600, private.as_bytes())?;
        // After: a key without its journal would sign old entries again, one with a foreign one refuses to sign.
        if held.is_some() {
            retire(&journal, output)?;
        }
        sidecar::create(&journal, &id)?;
        file::replace(&public_path, 0o644, public.as_bytes())?;
    } else {
        for path in [out, &public_path, &journal] {
            file::must_not_exist(path)?;
        }
        file::create(out, 0o600, private.as_bytes())?;
        sidecar::create(&journal, &id)?;
        file::create(&public_path, 0o644, public.as_bytes())?;
    }
    let id = hex::encode(id);
    output.either(
        &json!({
            "private": out,
            "public": public_path,
            "journal": journal,
            "id": id,
            "point": hex::encode(key.point()),
        }),
        || {
            pairs(&[
                ("private key", out.display().to_string()),
                ("public key", public_path.display().to_string()),
                ("journal", journal.display().to_string()),
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

/// The name that stands for a key in the TPM: FILE.pub is beside it.
pub(crate) fn tpm_name(handle: u32) -> PathBuf {
    PathBuf::from(format!("tpm-{handle:08x}"))
}

/// Makes a key in the TPM.
fn generate_in_tpm(
    out: Option<&Path>,
    force: bool,
    handle: Option<u32>,
    output: &Output,
) -> Result<()> {
    // Before the key: one that nobody knows of would stay in the TPM.
    let named = out.map(Path::to_owned).or_else(|| handle.map(tpm_name));
    if let (Some(name), false) = (&named, force) {
        file::must_not_exist(&file::beside(name, ".pub"))?;
    }
    sidecar::create_directory()?;
    let key = Tpm::open()?.keep_signing_key(handle)?;
    let name = named.unwrap_or_else(|| tpm_name(key.handle));
    let public_path = file::beside(&name, ".pub");
    let handle = format!("{:08x}", key.handle);
    let id = validator_id(&key.point);
    let written = || -> Result<PathBuf> {
        let public = crypto::point_pem(&key.point)?;
        let journal = sidecar::of_tpm(&id)?;
        sidecar::create(&journal, &id)?;
        if force {
            file::replace(&public_path, 0o644, public.as_bytes())?;
        } else {
            file::create(&public_path, 0o644, public.as_bytes())?;
        }
        Ok(journal)
    };
    let journal = written().inspect_err(|_| {
        note(
            output,
            &format!(
                "The key is in the TPM at {handle}; `tpm2_evictcontrol -c 0x{handle}` removes it."
            ),
        );
    })?;
    let id = hex::encode(id);
    output.either(
        &json!({
            "handle": handle,
            "public": public_path,
            "journal": journal,
            "id": id,
            "point": hex::encode(key.point),
        }),
        || {
            pairs(&[
                ("TPM handle", handle.clone()),
                ("public key", public_path.display().to_string()),
                ("journal", journal.display().to_string()),
                ("validator id", id.clone()),
            ])
        },
    )?;
    note(
        output,
        &format!(
            "Enrol it with `tcpctl validator add --name NAME --key {}`, vote with `--tpm {handle} --key {}`.",
            public_path.display(),
            name.display()
        ),
    );
    Ok(())
}

/// Renames the journal of a key that is replaced: it belongs to the old key, and the new one could not vote with it.
fn retire(journal: &Path, output: &Output) -> Result<()> {
    let mut old = file::beside(journal, ".old");
    let mut number = 1u32;
    while old.symlink_metadata().is_ok() {
        number = number.saturating_add(1);
        old = file::beside(journal, &format!(".old{number}"));
    }
    std::fs::rename(journal, &old).map_err(|source| Error::file("rename", journal, source))?;
    note(
        output,
        &format!("the journal of the old key is in {}", old.display()),
    );
    Ok(())
}

/// A warning when others can read a private key.
pub(crate) fn exposed(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| {
        format!(
            "warning: others can read {}: run `chmod 600 {}`",
            path.display(),
            path.display()
        )
    })
}
