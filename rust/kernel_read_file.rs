// SPDX-License-Identifier: GPL-2.0

//! What the kernel reads for its own use, and what lockdown protects, by number.
//!
//! C headers: [`include/linux/kernel_read_file.h`](srctree/include/linux/kernel_read_file.h),
//! [`include/linux/security.h`](srctree/include/linux/security.h)

/// Numbers of `enum kernel_read_file_id` and, equal to it, `enum kernel_load_data_id`.
pub(crate) mod id {
    use crate::abi::bindings;

    /// A module.
    pub(crate) const MODULE: u32 = bindings::kernel_read_file_id_READING_MODULE;
    /// A kernel to be started by kexec.
    pub(crate) const KEXEC_IMAGE: u32 = bindings::kernel_read_file_id_READING_KEXEC_IMAGE;
    /// An initial file system for that kernel.
    pub(crate) const KEXEC_INITRAMFS: u32 = bindings::kernel_read_file_id_READING_KEXEC_INITRAMFS;

    const _: () = assert!(MODULE == bindings::kernel_load_data_id_LOADING_MODULE);
    const _: () = assert!(KEXEC_IMAGE == bindings::kernel_load_data_id_LOADING_KEXEC_IMAGE);
    const _: () = assert!(KEXEC_INITRAMFS == bindings::kernel_load_data_id_LOADING_KEXEC_INITRAMFS);
}

/// Numbers of `enum lockdown_reason`.
pub(crate) mod lockdown {
    use crate::abi::bindings;

    /// A module without a valid signature.
    pub(crate) const MODULE_SIGNATURE: u32 = bindings::lockdown_reason_LOCKDOWN_MODULE_SIGNATURE;
    /// Another kernel.
    pub(crate) const KEXEC: u32 = bindings::lockdown_reason_LOCKDOWN_KEXEC;
    /// The reasons up to here protect the kernel's integrity, those above its secrets.
    pub(crate) const INTEGRITY_MAX: u32 = bindings::lockdown_reason_LOCKDOWN_INTEGRITY_MAX;
}
