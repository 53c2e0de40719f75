// SPDX-License-Identifier: GPL-2.0

//! The peer of distributions: AppArmor.

use crate::workload::DIR;
use crate::Res;
use std::fs;
use std::io::Write as _;
use std::process::{
    Command,
    Stdio, //
};

const PROFILE: &str = "bench";

/// The rights of the workloads. AppArmor judges families and types of sockets, not ports.
fn profile() -> String {
    format!("profile {PROFILE} {{\n  {DIR}/ r,\n  {DIR}/** mrwix,\n  network inet stream,\n}}\n")
}

/// The loaded profile; it goes when this is dropped.
pub(crate) struct Profile(());

impl Profile {
    /// Compiles and loads the profile, with all features of the kernel that runs.
    ///
    /// # Errors
    ///
    /// AppArmor is not active, or its parser fails.
    pub(crate) fn load() -> Res<Self> {
        parser("--replace")?;
        Ok(Self(()))
    }

    /// Puts the calling task under the profile for good.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub(crate) fn enter(&self) -> Res {
        fs::write(
            "/proc/self/attr/apparmor/current",
            format!("changeprofile {PROFILE}"),
        )
        .map_err(|error| format!("apparmor: {error}"))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        if let Err(error) = parser("--remove") {
            eprintln!("bench: {error}");
        }
    }
}

fn parser(action: &str) -> Res {
    let run = || {
        let mut parser = Command::new("apparmor_parser")
            .args(["--config-file=/dev/null", "--skip-cache"])
            .arg("--policy-features=/sys/kernel/security/apparmor/features")
            .arg(action)
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = parser.stdin.take() {
            input.write_all(profile().as_bytes())?;
        }
        parser.wait()
    };
    match run() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("apparmor_parser {action}: {status}")),
        Err(error) => Err(format!("apparmor_parser {action}: {error}")),
    }
}
