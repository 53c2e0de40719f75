// SPDX-License-Identifier: GPL-2.0

//! The decisions of TCP-LSM, compiled for user space.
//!
//! Everything comes from `src/engine`, the very files that are part of the kernel module, so what
//! is tested, fuzzed and measured here is what runs there.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[path = "../../../src/engine/mod.rs"]
mod engine;

pub use self::engine::*;
