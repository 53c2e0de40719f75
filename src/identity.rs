// SPDX-License-Identifier: GPL-2.0

//! Who this node is, for this load of the module.

use crate::abi::random;

/// Name and epoch that every request binds and every vote signs.
///
/// Without sealed state the node's name is drawn anew at each load, which is what makes a vote of an
/// earlier load worthless in this one; the epoch is then zero. See "Identities" in
/// `Documentation/wire-format.rst`.
pub(crate) struct Identity {
    /// The node's name.
    pub(crate) node: [u8; 32],
    /// Value of the TPM's counter for this load; zero while unsealed.
    pub(crate) epoch: u64,
}

impl Identity {
    /// Says in `status` what vouches for the node's name and history.
    pub(crate) const SEALED_BY: &'static str = "unsealed";

    /// Draws an identity for this load.
    pub(crate) fn unsealed() -> Self {
        let mut node = [0; 32];
        random::fill(&mut node);
        Self { node, epoch: 0 }
    }
}
