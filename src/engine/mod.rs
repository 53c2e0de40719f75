// SPDX-License-Identifier: GPL-2.0

//! The decisions of TCP-LSM, and nothing else.
//!
//! These files know no kernel and no operating system: they use `core` only, hold no `unsafe` and
//! no floating point, and neither panic nor allocate without bound on any input. The very same
//! files are part of the kernel module and of the user-space crate `engine`, where they are
//! tested. The one difference between the two is where memory comes from ([`vec`]).

/// Lets the kernel's formatting macros print a type that implements [`core::fmt::Display`].
macro_rules! kernel_display {
    ($type:ty) => {
        #[cfg(CONFIG_RUST)]
        impl kernel::fmt::Display for $type {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    };
}
use kernel_display;

pub mod address;
pub mod anchor;
pub mod byzantine;
pub mod clock;
pub mod der;
pub mod event;
pub mod evidence;
pub mod governance;
pub mod limits;
pub mod memory;
pub mod name;
pub mod op;
pub mod policy;
pub mod quarantine;
pub mod quorum;
pub mod refusal;
pub mod reputation;
pub mod request;
pub mod state;
pub mod vec;
pub mod vote;
pub mod watch;
pub mod wire;
