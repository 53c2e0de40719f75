// SPDX-License-Identifier: GPL-2.0

//! Atomics for what runs in every system call.
//!
//! [`kernel::sync::atomic`] calls a C function for each access, which costs more than all the rest of
//! a hook that has nothing to say. Here the compiler's own are used. Their ordering is that of Rust's
//! memory model, not of the kernel's: only what needs no more than [`Ordering::Relaxed`], or acquires a
//! pointer that was released, may use them.

pub(crate) use core::sync::atomic::{
    fence,
    AtomicPtr,
    AtomicU32,
    AtomicU64,
    AtomicUsize,
    Ordering, //
};
