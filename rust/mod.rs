// SPDX-License-Identifier: GPL-2.0

//! Abstractions that the `kernel` crate lacks.
//!
//! All FFI and all `unsafe` code of the module live here. Each file could be proposed for the
//! `kernel` crate as it stands.

mod bindings;

pub(crate) mod atomic;
pub(crate) mod binprm;
pub(crate) mod capable;
pub(crate) mod clock;
pub(crate) mod filter;
pub(crate) mod ftrace;
pub(crate) mod genetlink;
pub(crate) mod global;
pub(crate) mod hmac;
pub(crate) mod kernel_read_file;
pub(crate) mod lsm;
pub(crate) mod module;
pub(crate) mod path;
pub(crate) mod place;
pub(crate) mod published;
pub(crate) mod random;
pub(crate) mod recall;
pub(crate) mod rhashtable;
pub(crate) mod secret;
pub(crate) mod securityfs;
pub(crate) mod sha256;
pub(crate) mod sig;
pub(crate) mod socket;
pub(crate) mod task;
pub(crate) mod tpm;
pub(crate) mod trace;
pub(crate) mod vma;
pub(crate) mod wait;
pub(crate) mod worker;
