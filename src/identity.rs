// SPDX-License-Identifier: GPL-2.0

//! Who this node is, for this load of the module.

use crate::{
    abi::random,
    engine::event::SealedBy, //
};
use kernel::{
    str::CString,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    }, //
};

/// Name and epoch that every request binds and every vote signs.
///
/// With a TPM the name is the digest of its attestation key, and the epoch the value of its counter.
/// Without one the name is drawn anew at each load, which is what makes a vote of an earlier load
/// worthless in this one, and the epoch is zero. See "Identities" in `Documentation/wire-format.rst`.
pub(crate) struct Identity {
    /// The node's name.
    pub(crate) node: [u8; 32],
    /// Value of the TPM's counter for this load; zero while unsealed or locked.
    epoch: Atomic<u64>,
    /// Vendor and firmware of the TPM that vouches for the name and keeps the history, if one does.
    pub(crate) tpm: Option<CString>,
}

impl Identity {
    /// Draws an identity for this load.
    pub(crate) fn unsealed() -> Self {
        let mut node = [0; 32];
        random::fill(&mut node);
        Self {
            node,
            epoch: Atomic::new(0),
            tpm: None,
        }
    }

    /// The identity that a TPM gives, in an epoch that is zero while it has yet to begin.
    pub(crate) fn sealed(node: [u8; 32], epoch: u64, tpm: Option<CString>) -> Self {
        Self {
            node,
            epoch: Atomic::new(epoch),
            tpm,
        }
    }

    /// Value of the TPM's counter for this load; zero while unsealed or locked.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Acquire)
    }

    /// Begins the epoch. Nothing has been signed for this load before.
    pub(crate) fn begin(&self, epoch: u64) {
        self.epoch.store(epoch, Release);
    }

    /// What vouches for the node's name and history.
    pub(crate) fn sealed_by(&self) -> SealedBy {
        match self.tpm {
            Some(_) => SealedBy::Tpm,
            None => SealedBy::Nothing,
        }
    }
}
