// SPDX-License-Identifier: GPL-2.0

//! Capabilities and user ids, both as seen from the initial user namespace.
//!
//! C headers: [`include/linux/capability.h`](srctree/include/linux/capability.h),
//! [`include/linux/uidgid.h`](srctree/include/linux/uidgid.h)

use super::bindings;
use kernel::{
    prelude::*,
    task::Kuid, //
};

/// One capability (`CAP_*` of `include/uapi/linux/capability.h`).
///
/// # Invariants
///
/// `self.0` is the number of a capability that the kernel knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capability(c_int);

macro_rules! capabilities {
    ($($(#[$doc:meta])* $name:ident = $raw:ident;)*) => {
        // INVARIANT: These are all the kernel's own numbers, which are far below `c_int::MAX`.
        $($(#[$doc])* pub(crate) const $name: Self = Self(bindings::$raw as c_int);)*
    };
}

impl Capability {
    capabilities! {
        /// `CAP_SYS_CHROOT`
        SYS_CHROOT = CAP_SYS_CHROOT;
        /// `CAP_SYS_MODULE`
        SYS_MODULE = CAP_SYS_MODULE;
        /// `CAP_MAC_ADMIN`
        MAC_ADMIN = CAP_MAC_ADMIN;
    }

    /// The capability's number.
    pub(crate) const fn as_raw(self) -> c_int {
        self.0
    }
}

/// A user id as the initial user namespace numbers it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Uid(u32);

impl Uid {
    /// The effective user id of the current task.
    ///
    /// # Examples
    ///
    /// ```ignore
    /// let uid = Uid::current_effective().as_u32();
    /// ```
    pub(crate) fn current_effective() -> Self {
        Self::from(Kuid::current_euid())
    }

    /// The number.
    pub(crate) const fn as_u32(self) -> u32 {
        self.0
    }
}

impl From<Kuid> for Uid {
    fn from(uid: Kuid) -> Self {
        // SAFETY: `init_user_ns` lives as long as the kernel; every `kuid_t` is accepted.
        Self(unsafe { bindings::from_kuid(&raw mut bindings::init_user_ns, uid.into_raw()) })
    }
}
