// SPDX-License-Identifier: GPL-2.0

//! What is measured; the figures are in `Documentation/performance.rst`.

mod decision;
mod lookup;
mod measure;
mod signature;
mod vote;

use kernel::prelude::*;

/// Measures everything.
///
/// # Errors
///
/// `ENOMEM`; `EINVAL` when something does not do what is measured.
///
/// Context: process context; sleeps.
pub(crate) fn run() -> Result {
    lookup::run()?;
    signature::run()?;
    vote::run()?;
    decision::run()
}
