// SPDX-License-Identifier: GPL-2.0

//! The state key: what authenticates the states of a node.
//!
//! See "What the TPM holds" in `Documentation/sealed-state.rst`.

use crate::abi::{
    hmac,
    secret::Secret,
    tpm::Sealed, //
};

/// The key that authenticates states, and the form of it that only this TPM opens.
pub(crate) struct StateKey {
    /// The key itself.
    pub(crate) secret: Secret,
    /// What the TPM makes it of again.
    pub(crate) sealed: Sealed,
    /// PCRs in its policy.
    pub(crate) pcrs: u32,
}

impl StateKey {
    /// What the `TPM2B_PRIVATE` of the sealed key holds.
    pub(crate) fn private(&self) -> &[u8] {
        &self.sealed.private
    }

    /// What its `TPM2B_PUBLIC` holds.
    pub(crate) fn public(&self) -> &[u8] {
        &self.sealed.public
    }

    /// The MAC of `message`.
    pub(crate) fn mac(&self, message: &[u8]) -> [u8; 32] {
        hmac::sha256(&self.secret, message)
    }

    /// Whether `mac` authenticates `message`; takes the same time for every wrong one.
    pub(crate) fn authenticates(&self, message: &[u8], mac: &[u8; 32]) -> bool {
        hmac::verify(&self.secret, message, mac)
    }
}
