// SPDX-License-Identifier: GPL-2.0

//! The module is loaded.

use super::{
    inject::{
        armed,
        module_base, //
    },
    Sweep, //
};
use crate::agent::{
    self,
    Who, //
};
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::stage::{
    self,
    nl,
    Res, //
};
use crate::state;

/// The tests.
pub(super) const TESTS: &[Test] = &[Test::new("load", load)];

/// Loads the module in a child; the errno. Meanwhile it is seen where the module is.
fn insert(parameters: &'static str) -> Res<i32> {
    let child = agent::spawn(&Who::Free, move |report| {
        match armed(|| state::insert(parameters)) {
            Ok(errno) => {
                report.errno(errno);
                0
            }
            Err(_) => 1,
        }
    })
    .map_err(|(_, text)| text)?;
    while !crate::lifecycle::is_over(&child) {
        module_base()?;
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let ended = child.wait()?;
    ended.errno(0)
}

/// Loads the module, and has it go again; it must be there and at work, or have left nothing.
fn step(parameters: &'static str) -> Res<i32> {
    state::unload()?;
    stage::no_trace()?;
    let errno = insert(parameters)?;
    if errno == 0 {
        ensure!(
            stage::status()?.phase == nl::SETUP,
            "loaded, but not in setup"
        );
        state::unload()?;
    }
    stage::no_trace()?;
    Ok(errno)
}

fn load(ctx: &mut Ctx) -> Res {
    let mut sweep = Sweep::new(ctx, "load")?;
    sweep.injector.loading();
    sweep.run("load", &[libc::EIO, libc::ENODEV], || step(""))?;
    sweep.end()
}
