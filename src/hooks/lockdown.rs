// SPDX-License-Identifier: GPL-2.0

//! What a sealed node refuses to everybody, so that the module stays what it is.
//!
//! This is the kernel's own list for "lockdown=integrity": ways to change kernel memory or code from
//! user space. Two of its entries a quorum can open, once, for one task: a module without a
//! signature and another kernel, each by the operation that approved it.

use crate::{
    abi::{
        capable::Capability,
        kernel_read_file::lockdown,
        lsm::UserNs,
        task::{
            self,
            Syscall, //
        }, //
    },
    engine::refusal::Refusal,
    hooks::mount,
    node::{
        Node,
        Phase, //
    }, //
};
use kernel::prelude::*;

/// `delete_module`, for 64-bit and for 32-bit programs (`arch/x86/entry/syscalls/*.tbl`).
const DELETE_MODULE: [Syscall; 3] = [
    Syscall::Native(176),
    // x32 uses the 64-bit numbers.
    Syscall::Compat(176),
    Syscall::Compat(129),
];

/// `setns`, likewise.
const SETNS: [Syscall; 3] = [
    Syscall::Native(308),
    Syscall::Compat(308),
    Syscall::Compat(346),
];

/// Whether the calling task is in one of these system calls.
fn in_syscall(calls: &[Syscall]) -> bool {
    task::current()
        .in_syscall_nr()
        .is_some_and(|syscall| calls.contains(&syscall))
}

/// The calling task wants to do something that lockdown may forbid.
pub(crate) fn locked_down(node: &Node, what: u32) -> Result {
    if what > lockdown::INTEGRITY_MAX || node.phase() != Phase::Sealed {
        return Ok(());
    }
    let approved =
        matches!(what, lockdown::MODULE_SIGNATURE | lockdown::KEXEC) && node.take_approved_loader();
    if approved {
        return Ok(());
    }
    node.control_refused(Refusal::Denied, "lockdown");
    Err(EPERM)
}

/// The calling task uses a capability.
///
/// Removing a module asks for `CAP_SYS_MODULE` and for nothing else that a security module could
/// see, and `rmmod --force` overrides the reference that pins a sealed module.
#[inline]
pub(crate) fn capable(node: &Node, ns: UserNs, cap: i32) -> Result {
    // Entering a mount namespace asks for CAP_SYS_CHROOT, in whatever user namespace.
    if cap == Capability::SYS_CHROOT.as_raw() && in_syscall(&SETNS) {
        return mount::setns(node);
    }
    if cap != Capability::SYS_MODULE.as_raw() || ns != UserNs::Init {
        return Ok(());
    }
    if !in_syscall(&DELETE_MODULE) {
        return Ok(());
    }
    let labelled = node.is_labelled();
    if labelled || (node.phase() == Phase::Sealed && !node.is_unpinned()) {
        let refusal = if labelled {
            Refusal::Labelled
        } else {
            Refusal::Denied
        };
        node.control_refused(refusal, "delete_module");
        return Err(EPERM);
    }
    Ok(())
}
