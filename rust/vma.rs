// SPDX-License-Identifier: GPL-2.0

//! Memory mappings, as LSM hooks see them.
//!
//! C header: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use super::bindings;
use kernel::{
    fs::File,
    types::Opaque, //
};

/// A mapping whose address space is locked.
///
/// Wraps the kernel's `struct vm_area_struct`.
///
/// # Invariants
///
/// The mmap lock is held for the lifetime of a reference.
#[repr(transparent)]
pub(crate) struct Vma(Opaque<bindings::vm_area_struct>);

impl Vma {
    /// Makes a reference from a C pointer.
    ///
    /// # Safety
    ///
    /// `vma` must be valid, and its mmap lock held, for `'a`.
    pub(crate) unsafe fn from_raw<'a>(vma: *const bindings::vm_area_struct) -> &'a Self {
        // SAFETY: By the safety requirements; `Vma` is transparent.
        // INVARIANT: By the safety requirements the lock is held.
        unsafe { &*vma.cast() }
    }

    /// The file that is mapped, if it is not anonymous memory.
    pub(crate) fn file(&self) -> Option<&File> {
        // SAFETY: By the type invariant the mapping is valid.
        let file = unsafe { bindings::vma_file(self.0.get()) };
        if file.is_null() {
            return None;
        }
        // SAFETY: The mapping holds a reference to its file; LSM hooks do not run with a file
        // position held by `fdget_pos` on a mapped file.
        Some(unsafe { File::from_raw_file(file) })
    }

    /// `VM_*` flags.
    pub(crate) fn flags(&self) -> usize {
        // SAFETY: By the type invariant the mapping is valid.
        unsafe { bindings::vma_flags(self.0.get()) }
    }

    /// Whether some pages may be private copies, which differ from the file.
    pub(crate) fn has_private_pages(&self) -> bool {
        // SAFETY: By the type invariant the mapping is valid.
        unsafe { bindings::vma_has_anon(self.0.get()) }
    }
}
