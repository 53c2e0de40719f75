// SPDX-License-Identifier: GPL-2.0

//! What the detection of lies costs, in instructions: the guest's clock counts them (`qemu/run.sh --icount`).
//!
//! The steps are those of `userland/engine/examples/cost.rs`, which is the engine that the module has, too.

#[path = "../../engine/examples/cost.rs"]
mod example;

use crate::ensure;
use crate::harness::{
    Ctx,
    Test, //
};
use crate::stage::Res;
use std::collections::BTreeMap;
use std::time::Instant;

/// The tests.
pub(crate) const TESTS: &[Test] = &[Test::new("detection_costs_no_more_than_it_may", detection)];

/// How often everything is measured.
const ROUNDS: usize = 5;

/// Validators, and the instructions that a vote may cost then, apart from hash and signature.
const LIMITS: [(u16, u64); 2] = [(7, 1000), (128, 4000)];

/// The sums over all steps of a vote.
const SUMS: [&str; 3] = ["accepted_mostly", "not_accepted", "accepted"];

/// Fails unless the clock counts instructions: a loop takes the same time whenever it runs.
fn counting() -> Res {
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        for n in 0..10_000u64 {
            std::hint::black_box(n);
        }
        times.push(start.elapsed().as_nanos());
    }
    times.sort_unstable();
    ensure!(
        times[25] * 100 <= times[0] * 101,
        "this clock does not count instructions (qemu/run.sh --icount): {} to {} ns for the same loop",
        times[0],
        times[49]
    );
    Ok(())
}

fn detection(_: &mut Ctx) -> Res {
    counting()?;
    let mut figures: BTreeMap<(u16, &str), Vec<u64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (name, validators, cost) in example::measure() {
            figures.entry((validators, name)).or_default().push(cost);
        }
    }
    for ((validators, name), costs) in &mut figures {
        costs.sort_unstable();
        println!(
            "cost: {name} n={validators}: {} instructions ({} to {} in {ROUNDS} rounds)",
            costs[costs.len() / 2],
            costs[0],
            costs[costs.len() - 1]
        );
    }
    for (validators, limit) in LIMITS {
        for name in SUMS {
            let costs = figures
                .get(&(validators, name))
                .ok_or_else(|| format!("no figure for {name} with {validators} validators"))?;
            ensure!(
                costs.len() == ROUNDS && costs[0] > 0 && costs[ROUNDS - 1] <= limit,
                "{name} with {validators} validators costs {costs:?} instructions, not at most {limit}"
            );
        }
    }
    Ok(())
}
