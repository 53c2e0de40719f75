// SPDX-License-Identifier: GPL-2.0

//! Memory runs out, at every place where the module asks for it: an error or a denial, never an allow, and afterwards all
//! is as before.
//!
//! On the debug kernel only: it can let allocations fail, and says what leaks.

mod control;
pub(crate) mod hooks;
mod inject;
mod load;

use crate::client::Attributes;
use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::stage::{
    self,
    errno_name,
    nl,
    Res, //
};
use crate::state;
use crate::stress::variable;
use inject::{
    Injector,
    Seen, //
};
use std::collections::{
    BTreeMap,
    BTreeSet, //
};
use std::fs;
use std::io::Write as _;

/// The tests.
pub(crate) const TESTS: &[&[Test]] = &[load::TESTS, control::TESTS, hooks::TESTS];

/// Where `qemu/run.sh --out` takes files from.
const OUT: &str = "/mnt/out";

/// An allocation to fail: its way, and how many times that is let through first.
type Plan = (u64, u64);

/// Lets the allocations of operations fail, one after the other.
struct Sweep {
    ctx: Ctx,
    injector: Injector,
    name: &'static str,
    /// All ways, or only one to each site.
    whole: bool,
    tries: usize,
    /// Sites that have failed, as offsets in the module, with what they called and how often.
    sites: BTreeMap<(u64, u64), u64>,
    wrong: Vec<String>,
}

impl Sweep {
    /// Begins, with nothing that counts.
    fn new(ctx: &Ctx, name: &'static str) -> Res<Self> {
        Ok(Self {
            ctx: ctx.clone(),
            injector: Injector::start()?,
            name,
            whole: variable("EVERY_WAY", 0) != 0,
            tries: 0,
            sites: BTreeMap::new(),
            wrong: Vec::new(),
        })
    }

    /// Does `step` without a failure, and then once for every way to fail it. It gives an errno;
    /// itself it checks that what was refused has not happened, and puts all back as it was.
    ///
    /// What is refused without a failure must be refused with one; what succeeds, succeeds or ends with one of `errors`.
    fn run(&mut self, what: &str, errors: &[i32], mut step: impl FnMut() -> Res<i32>) -> Res {
        let mut plans = Plans::default();
        let mut normal = None;
        // What is made once is made the first time.
        for _ in 0..2 {
            self.injector.count();
            let errno = step().map_err(|why| format!("{what}: {why}"))?;
            plans.add(&self.injector.seen()?);
            normal = Some(errno);
        }
        let normal = normal.unwrap_or(0);
        for plan in plans.choose(self.whole) {
            self.injector.fail(plan.0, plan.1);
            let got = step();
            let (failed, seen) = (self.injector.failed(), self.injector.seen()?);
            self.injector.count();
            self.tries += usize::from(failed > 0);
            let at = seen.iter().find(|seen| seen.failed);
            let at = at.map_or("nowhere".to_owned(), Self::describe);
            match got {
                Ok(errno) => {
                    self.note(&seen);
                    let refused = errno == libc::ENOMEM || errors.contains(&errno);
                    if errno != normal && !(refused && errno != 0) {
                        self.blame(format!(
                            "{what}: {} instead of {} when {at} fails",
                            errno_name(errno),
                            errno_name(normal)
                        ));
                    }
                }
                Err(why) => self.blame(format!("{what}: {why}, when {at} fails")),
            }
            match step() {
                Ok(after) if after == normal => {}
                Ok(after) => self.blame(format!(
                    "{what}: {} instead of {} after {at} had failed",
                    errno_name(after),
                    errno_name(normal)
                )),
                Err(why) => self.blame(format!("{what}: {why}, after {at} had failed")),
            }
            self.ctx.progress();
        }
        Ok(())
    }

    fn blame(&mut self, why: String) {
        println!("memory: {}: {why}", self.name);
        self.wrong.push(why);
    }

    fn describe(seen: &Seen) -> String {
        format!(
            "{:#x} at {:#x} (way {:#x})",
            seen.callee,
            inject::offset(seen.site),
            seen.way
        )
    }

    fn note(&mut self, seen: &[Seen]) {
        for seen in seen.iter().filter(|seen| seen.failed) {
            let site = (inject::offset(seen.site), seen.callee);
            *self.sites.entry(site).or_default() += 1;
        }
    }

    /// Says what has failed, and fails when anything was wrong.
    fn end(self) -> Res {
        println!(
            "memory: {}: {} tries, {} sites",
            self.name,
            self.tries,
            self.sites.len()
        );
        let mut out = String::new();
        for ((site, callee), times) in &self.sites {
            out.push_str(&format!("{site:#x} {callee:#x} {times}\n"));
        }
        let _ = fs::create_dir_all(OUT);
        fs::write(format!("{OUT}/{}", self.name), out).map_err(|e| format!("{OUT}: {e}"))?;
        let _ = std::io::stdout().flush();
        ensure!(
            self.wrong.is_empty(),
            "{} of {} tries went wrong: {}",
            self.wrong.len(),
            self.tries,
            self.wrong.join("; ")
        );
        ensure!(self.tries > 0, "no allocation failed");
        Ok(())
    }
}

/// The ways that allocations came by: how often, and their site.
#[derive(Default)]
struct Plans(BTreeMap<u64, (u64, u64)>);

impl Plans {
    fn add(&mut self, seen: &[Seen]) {
        let mut counts: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for seen in seen {
            counts.entry(seen.way).or_insert((0, seen.site)).0 += 1;
        }
        for (way, (count, site)) in counts {
            let all = self.0.entry(way).or_insert((0, site));
            all.0 = all.0.max(count);
        }
    }

    /// One plan for each way, or for each site only; of a way that is taken often also one for the last time.
    fn choose(&self, whole: bool) -> Vec<Plan> {
        let mut sites = BTreeSet::new();
        let mut plans = Vec::new();
        for (way, (count, site)) in &self.0 {
            if !whole && !sites.insert(site) {
                continue;
            }
            plans.push((*way, 0));
            if *count > 1 && whole {
                plans.push((*way, count - 1));
            }
        }
        plans
    }
}

/// Has the module loaded, in setup.
fn loaded() -> Res {
    if inject::module_base()?.is_none() {
        state::load_patiently("")?;
    }
    stage::in_setup()
}

/// Nothing is open and nothing granted.
fn nothing_asked() -> Res {
    stage::cancel_all()?;
    let grants =
        stage::dump(nl::GRANT_GET, &Attributes::new()).map_err(|e| format!("grant-get: {e:?}"))?;
    for grant in grants {
        let mut attributes = Attributes::new();
        attributes.bytes(
            nl::A_REQUEST_ID,
            grant.bytes(nl::A_REQUEST_ID).unwrap_or_default(),
        );
        stage::call(nl::GRANT_REVOKE, &attributes).map_err(|e| format!("grant-revoke: {e:?}"))?;
    }
    Ok(())
}
