// SPDX-License-Identifier: GPL-2.0

//! Measuring: loops of calls, rounds of loops.

use core::hint::black_box;
use kernel::{
    prelude::*,
    task::might_sleep,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Rounds of every metric, after one that does not count.
pub(super) const ROUNDS: usize = 9;

/// Nanoseconds that `call` takes, reading the clock included.
pub(super) fn time<T>(call: impl FnOnce() -> T) -> u64 {
    let start = Instant::<Monotonic>::now();
    black_box(call());
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(0)
}

/// Nanoseconds of a loop of so many calls less a loop of `beside`, which does what the calls need and is
/// not to count.
pub(super) fn all<T, U>(
    times: usize,
    mut beside: impl FnMut(usize) -> U,
    mut call: impl FnMut(usize) -> T,
) -> u64 {
    might_sleep();
    let all = time(|| (0..times).for_each(|n| drop(black_box(call(n)))));
    let beside = time(|| (0..times).for_each(|n| drop(black_box(beside(n)))));
    might_sleep();
    all.saturating_sub(beside)
}

/// [`all`] for one call.
pub(super) fn each<T, U>(
    times: usize,
    beside: impl FnMut(usize) -> U,
    call: impl FnMut(usize) -> T,
) -> u64 {
    share(all(times, beside, call), times)
}

/// What falls to one of so many.
pub(super) fn share(sum: u64, times: usize) -> u64 {
    let times = times as u64;
    sum.saturating_add(times / 2)
        .checked_div(times)
        .unwrap_or(0)
}

/// The figures of one metric, in ascending order.
pub(super) struct Rounds(KVec<u64>);

impl Rounds {
    /// No figures yet.
    pub(super) const fn new() -> Self {
        Self(KVec::new())
    }

    /// Those of [`ROUNDS`] rounds.
    pub(super) fn of(mut round: impl FnMut() -> Result<u64>) -> Result<Self> {
        let mut rounds = Self::new();
        round()?;
        for _ in 0..ROUNDS {
            rounds.add(round()?)?;
        }
        Ok(rounds)
    }

    /// Adds the figure of one round.
    pub(super) fn add(&mut self, figure: u64) -> Result {
        self.0.reserve(1, GFP_KERNEL)?;
        let place = self.0.partition_point(|other| *other < figure);
        self.0
            .insert_within_capacity(place, figure)
            .map_err(|_| ENOMEM)
    }

    fn at(&self, place: usize) -> u64 {
        self.0.get(place).copied().unwrap_or(0)
    }

    /// The figure in the middle.
    pub(super) fn median(&self) -> u64 {
        self.at(self.0.len() / 2)
    }

    /// Prints the metric.
    pub(super) fn print(&self, name: &str) {
        let rounds = self.0.len();
        let (median, least, most) = (self.median(), self.at(0), self.at(rounds.saturating_sub(1)));
        pr_info!("metric {name} {median} {least} {most} {rounds}\n");
    }
}
