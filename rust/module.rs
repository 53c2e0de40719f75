// SPDX-License-Identifier: GPL-2.0

//! Keeping this module loaded.
//!
//! C header: [`include/linux/module.h`](srctree/include/linux/module.h)

use super::bindings;
use kernel::prelude::*;

/// A reference to a module: while one exists, `rmmod` fails with `EWOULDBLOCK`.
///
/// # Invariants
///
/// `self.0` is a module of which this owns one reference, taken with `try_module_get`.
///
/// # Examples
///
/// ```ignore
/// let pin = module::Pin::new(kernel::module::this_module::<crate::LocalModule>())?;
/// // The module cannot be unloaded here.
/// drop(pin);
/// ```
#[must_use = "the module is unpinned when this is dropped"]
pub(crate) struct Pin(&'static ThisModule);

impl Pin {
    /// Takes a reference to `module`, which has to be the module that the caller is part of.
    ///
    /// Does not sleep.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the module is being unloaded.
    pub(crate) fn new(module: &'static ThisModule) -> Result<Self> {
        // SAFETY: `module` is live: its code is running.
        if !unsafe { bindings::try_module_get(module.as_ptr()) } {
            return Err(ENODEV);
        }
        // INVARIANT: `try_module_get` succeeded.
        Ok(Self(module))
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::module_put(self.0.as_ptr()) };
    }
}
