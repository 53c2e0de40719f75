// SPDX-License-Identifier: GPL-2.0

//! A short name of an agent, a class or a validator, held in place.

use crate::engine::{
    limits,
    name::is_name, //
};
use core::fmt;

/// 1 to 32 of `[A-Za-z0-9._-]`.
///
/// # Invariants
///
/// The first `len` of `bytes` are such a name, and the others are zero, so that comparing the whole
/// compares the names.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) struct Name {
    bytes: [u8; limits::NAME],
    len: u8,
}

impl Name {
    /// Takes `name`, or returns `None` when it is not one.
    pub(crate) fn new(name: &[u8]) -> Option<Self> {
        if !is_name(name) {
            return None;
        }
        let mut bytes = [0; limits::NAME];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        // INVARIANT: `is_name` has looked at all of it.
        Some(Self {
            bytes,
            len: u8::try_from(name.len()).ok()?,
        })
    }

    /// The name's bytes.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// The name.
    pub(crate) fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or("")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
