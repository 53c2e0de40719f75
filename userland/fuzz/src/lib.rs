// SPDX-License-Identifier: GPL-2.0

//! What the fuzz targets do with their input, one module for each.
//!
//! A target panics when the engine breaks a promise: an encoding that does not come back as it was,
//! a decision that a simple reference does not come to, a clock that runs backwards. Whatever else the
//! engine does wrong (an index, an overflow, a lost assertion) panics by itself.

#![forbid(unsafe_code)]

pub mod anchor;
pub mod chain;
pub mod clock;
pub mod der;
pub mod event;
pub mod evidence;
pub mod memory;
pub mod policy;
pub mod quarantine;
pub mod quorum;
pub mod record;
mod reference;
pub mod request;
pub mod state;
pub mod text;
pub mod vote;
pub mod watch;
pub mod wire;

use arbitrary::Unstructured;
use engine::wire::Digest;
use sha2::Digest as _;

/// SHA-256, which the engine is given.
pub struct Sha256;

impl Digest for Sha256 {
    fn sha256(parts: &[&[u8]]) -> [u8; 32] {
        let mut hash = sha2::Sha256::new();
        for part in parts {
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// Takes numbers off the input, zeros once it is used up.
pub(crate) struct Input<'a>(Unstructured<'a>);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.0.arbitrary().unwrap_or(0)
    }

    pub(crate) fn u16(&mut self) -> u16 {
        self.0.arbitrary().unwrap_or(0)
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.0.arbitrary().unwrap_or(0)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0.arbitrary().unwrap_or(0)
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// A number below `count`, of one byte.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        usize::from(self.u8()) % count
    }

    /// One of `all`.
    pub(crate) fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    /// A number that is often small and sometimes at a limit.
    pub(crate) fn number(&mut self) -> u64 {
        match self.u8() {
            small @ 0..=0xef => u64::from(small),
            0xf0..=0xf3 => u64::MAX - u64::from(self.u8()),
            0xf4..=0xf7 => u64::from(self.u16()) << 20,
            0xf8..=0xfb => u64::from(self.u32()),
            _ => self.u64(),
        }
    }

    /// Up to `most` bytes, as far as there are some.
    pub(crate) fn bytes(&mut self, most: usize) -> &'a [u8] {
        let len = usize::from(self.u16()).min(most).min(self.0.len());
        self.0.bytes(len).unwrap_or(&[])
    }

    /// What is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0.take_rest()
    }
}

/// Splits off the first byte, 0 when there is none.
pub(crate) fn first(data: &[u8]) -> (u8, &[u8]) {
    data.split_first()
        .map_or((0, data), |(&first, rest)| (first, rest))
}
