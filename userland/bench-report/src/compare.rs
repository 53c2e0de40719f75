// SPDX-License-Identifier: GPL-2.0

//! A run against an earlier one.

use crate::figures::{
    unit,
    Figures, //
};
use crate::target::{
    is_within,
    percent, //
};

/// How much more of a metric is too much.
const LIMIT_PERMILLE: u32 = 30;

/// How much less or more of it is worth a line.
const NOTED_PERMILLE: u32 = 5;

/// What the comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    /// What is worse by too much, or is gone.
    pub(crate) failures: Vec<String>,
    /// Other changes.
    pub(crate) changes: Vec<String>,
    /// Metrics with a unit, which depend on the machine and are not compared.
    pub(crate) left_out: Vec<String>,
    /// Metrics that were compared.
    pub(crate) compared: usize,
}

/// Compares `now` with `before`.
pub(crate) fn compare(now: &Figures, before: &Figures) -> Comparison {
    let mut found = Comparison::default();
    for name in before.metrics.keys() {
        if unit(name).is_some() {
            found.left_out.push(name.clone());
            continue;
        }
        let (Some(was), Some(is)) = (before.get(name), now.get(name)) else {
            found
                .failures
                .push(format!("{name}: is no longer measured"));
            continue;
        };
        found.compared += 1;
        let change = if was > 0.0 {
            percent((is - was) / was * 100.0)
        } else {
            "more".into()
        };
        let line = format!("{name}: {was} -> {is} ({change})");
        if !is_within(is, was, LIMIT_PERMILLE) {
            found.failures.push(line);
        } else if !is_within(is, was, NOTED_PERMILLE) || !is_within(was, is, NOTED_PERMILLE) {
            found.changes.push(line);
        }
    }
    for name in now.metrics.keys() {
        if unit(name).is_none() && !before.metrics.contains_key(name) {
            found.changes.push(format!("{name}: is new"));
        }
    }
    found
}

impl Comparison {
    /// What there is to say about it, for people.
    pub(crate) fn print(&self) {
        for line in &self.changes {
            println!("changed: {line}");
        }
        for line in &self.failures {
            println!("FAILED: {line}");
        }
        if !self.left_out.is_empty() {
            println!(
                "not compared, since they are no instructions: {}",
                self.left_out.join(", ")
            );
        }
        println!(
            "{} metrics compared; {} more than 3 % worse or gone",
            self.compared,
            self.failures.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::figures;

    fn between(was: &str, is: &str) -> Comparison {
        compare(&figures(&[("a.none", is)]), &figures(&[("a.none", was)]))
    }

    #[test]
    fn three_percent_worse_is_still_good_and_more_is_not() {
        let exactly = between("10000", "10300");
        assert_eq!(exactly.failures, Vec::<String>::new());
        assert_eq!(exactly.changes, ["a.none: 10000 -> 10300 (+3.00 %)"]);
        let above = between("10000", "10301");
        assert_eq!(above.failures, ["a.none: 10000 -> 10301 (+3.01 %)"]);
        assert!(above.changes.is_empty());
        assert_eq!(between("0", "1").failures.len(), 1);
    }

    #[test]
    fn better_is_told_and_never_fails() {
        let better = between("10000", "5000");
        assert!(better.failures.is_empty());
        assert_eq!(better.changes, ["a.none: 10000 -> 5000 (-50.00 %)"]);
    }

    #[test]
    fn half_a_percent_is_not_worth_a_line() {
        for (is, lines) in [("10050", 0), ("10051", 1), ("9951", 0), ("9949", 1)] {
            assert_eq!(between("10000", is).changes.len(), lines, "{is}");
        }
    }

    #[test]
    fn a_missing_metric_fails_and_a_new_one_does_not() {
        let (old, new) = (figures(&[("a.none", "1")]), figures(&[("b.none", "1")]));
        let found = compare(&new, &old);
        assert_eq!(found.failures, ["a.none: is no longer measured"]);
        assert_eq!(found.changes, ["b.none: is new"]);
        assert_eq!(found.compared, 0);
    }

    #[test]
    fn units_are_left_out() {
        let (old, new) = (
            figures(&[("attach.ms", "1")]),
            figures(&[("attach.ms", "9")]),
        );
        let found = compare(&new, &old);
        assert!(found.failures.is_empty() && found.changes.is_empty());
        assert_eq!(found.left_out, ["attach.ms"]);
    }
}
