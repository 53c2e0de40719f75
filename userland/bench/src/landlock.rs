// SPDX-License-Identifier: GPL-2.0

//! The peer that a task asks for itself: Landlock.

use crate::workload::{
    DIR,
    PORT, //
};
use crate::Res;
use landlock::{
    AccessFs,
    AccessNet,
    CompatLevel,
    Compatible as _,
    NetPort,
    PathBeneath,
    PathFd,
    Ruleset,
    RulesetAttr as _,
    RulesetCreatedAttr as _,
    RulesetError,
    RulesetStatus, //
};

/// Restricts the calling task for good to what the workloads do.
///
/// # Errors
///
/// The kernel does not enforce all of it.
pub(crate) fn enter() -> Res {
    let files = AccessFs::Execute
        | AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::MakeReg
        | AccessFs::RemoveFile;
    let dir = PathFd::new(DIR).map_err(|error| format!("landlock: {error}"))?;
    let restrict = || -> Result<RulesetStatus, RulesetError> {
        let status = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(files)?
            .handle_access(AccessNet::ConnectTcp)?
            .create()?
            .add_rule(PathBeneath::new(dir, files))?
            .add_rule(NetPort::new(PORT, AccessNet::ConnectTcp))?
            .restrict_self()?;
        Ok(status.ruleset)
    };
    match restrict().map_err(|error| format!("landlock: {error}"))? {
        RulesetStatus::FullyEnforced => Ok(()),
        status => Err(format!("landlock: {status:?}")),
    }
}
