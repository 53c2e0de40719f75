// SPDX-License-Identifier: GPL-2.0

//! Steps of a load and of a commit, told one by one when the module was loaded for that.

use kernel::{
    prelude::*,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Says that a step has been taken and waits, when the parameter `step_ms` is not 0: so a test can cut
/// the power at exactly this place.
///
/// Context: process context; sleeps.
pub(crate) fn step(name: &str) {
    let ms = crate::module_parameters::step_ms.value();
    if ms != 0 {
        pr_notice!("step {name}\n");
        fsleep(Delta::from_millis(i64::from(ms)));
    }
}
