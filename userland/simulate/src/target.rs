// SPDX-License-Identifier: GPL-2.0

//! What has to come out.

use crate::behaviour::{
    Behaviour,
    Label,
    ALL, //
};
use crate::stats::{
    float,
    Rate, //
};
use crate::table;
use crate::Summary;

/// One target: what it is, what came out, and whether that is enough.
struct Target {
    what: &'static str,
    wanted: &'static str,
    found: String,
    holds: bool,
}

/// The sum over the behaviours that `which` wants.
fn sum(
    summaries: &[Summary],
    which: impl Fn(&Behaviour) -> bool,
    of: impl Fn(&Summary) -> Rate,
) -> Rate {
    let mut all = Rate::default();
    for (_, summary) in ALL
        .iter()
        .zip(summaries)
        .filter(|(behaviour, _)| which(behaviour))
    {
        all.add(of(summary));
    }
    all
}

fn all(rate: Rate) -> bool {
    rate.of != 0 && rate.hits == rate.of
}

fn targets(summaries: &[Summary]) -> Vec<Target> {
    let within = |of: &Behaviour| of.label != Label::Beyond;
    let detected = |of: &Summary| of.detected;
    let provable = sum(summaries, |of| of.label == Label::Provable, detected);
    let overall = sum(summaries, |of| of.label.is_detectable(), detected);
    let refused = sum(summaries, |_| true, |of| of.refused);
    let suspected = sum(
        summaries,
        |of| of.suspicion && within(of),
        |of| of.suspected,
    );
    let wrong = sum(summaries, within, |of| of.wrong);
    let beyond = sum(summaries, |of| !within(of), |of| of.wrong);
    let harmed: u64 = summaries.iter().map(|of| of.harmed).sum();
    let part = |rate: Rate| rate.part().unwrap_or(0.0);
    let count = |rate: Rate| format!("{} of {}", rate.hits, rate.of);
    let target = |what, wanted, found, holds| Target {
        what,
        wanted,
        found,
        holds,
    };
    vec![
        target(
            "provable faults that end in quarantine at both nodes, of runs",
            "all",
            count(provable),
            all(provable),
        ),
        target(
            "honest validators that are quarantined",
            "0",
            harmed.to_string(),
            harmed == 0,
        ),
        target(
            "attempts to replay, forge, frame and return that are refused",
            "all",
            count(refused),
            all(refused),
        ),
        target(
            "detected, of all runs of provable, silent, statistical and mixed behaviours",
            "above 99 %",
            table::with_interval(overall),
            part(overall) > 0.99,
        ),
        target(
            "suspected, of all honest validator-hours",
            "below 0.1 %",
            table::with_interval(suspected),
            suspected.of != 0 && part(suspected) < 0.001,
        ),
        target(
            "bad requests that are granted, with less Byzantine weight than the threshold",
            "0",
            count(wrong),
            wrong.of != 0 && wrong.hits == 0,
        ),
        target(
            "the same with more than it: that a wrong decision is counted",
            "more than half",
            format!("{} ({:.0} %)", count(beyond), part(beyond) * 100.0),
            beyond.hits * 2 > beyond.of,
        ),
        target(
            "honest validator-hours that were looked at",
            "at least 1000",
            format!("{:.0}", float(suspected.of)),
            suspected.of >= 1000,
        ),
    ]
}

/// The targets as a table.
pub(crate) fn table(summaries: &[Summary]) -> String {
    let rows: Vec<_> = targets(summaries)
        .into_iter()
        .map(|of| {
            vec![
                of.what.into(),
                of.wanted.into(),
                of.found,
                if of.holds { "yes" } else { "no" }.into(),
            ]
        })
        .collect();
    table::simple(&["target", "wanted", "found", "holds"], &rows)
}

/// Prints the targets as tests, and says whether all hold.
pub(crate) fn print(summaries: &[Summary]) -> bool {
    let targets = targets(summaries);
    for of in &targets {
        let verdict = if of.holds { "ok" } else { "FAILED" };
        println!(
            "{verdict}: {}: {} (wanted: {})",
            of.what, of.found, of.wanted
        );
    }
    let passed = targets.iter().filter(|of| of.holds).count();
    println!("{} passed, {} failed", passed, targets.len() - passed);
    passed == targets.len()
}
