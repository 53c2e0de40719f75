// SPDX-License-Identifier: GPL-2.0

//! Figures and their middle.

use std::fmt;

/// The rounds of one metric, at least one, in ascending order.
pub(crate) struct Metric<T> {
    name: String,
    rounds: Vec<T>,
}

impl<T: PartialOrd + Copy> Metric<T> {
    /// The metric `name` of these rounds; none without a round.
    pub(crate) fn new(name: impl Into<String>, mut rounds: Vec<T>) -> Option<Self> {
        // Sorts numbers that are all comparable; a time is never NaN.
        rounds.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        (!rounds.is_empty()).then(|| Self {
            name: name.into(),
            rounds,
        })
    }
}

/// `metric NAME MEDIAN MIN MAX ROUNDS`; of an even number of rounds the lower of the two in the middle.
impl<T: fmt::Display> fmt::Display for Metric<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.rounds.len();
        let (median, min, max) = (
            &self.rounds[(count - 1) / 2],
            &self.rounds[0],
            &self.rounds[count - 1],
        );
        write!(f, "metric {} {median} {min} {max} {count}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::Metric;

    fn line(rounds: &[u64]) -> Option<String> {
        Metric::new("a.b", rounds.to_vec()).map(|metric| metric.to_string())
    }

    #[test]
    fn the_median_is_a_round() {
        assert_eq!(line(&[5, 1, 3]).as_deref(), Some("metric a.b 3 1 5 3"));
        assert_eq!(line(&[4, 1, 3, 2]).as_deref(), Some("metric a.b 2 1 4 4"));
        assert_eq!(line(&[9]).as_deref(), Some("metric a.b 9 9 9 1"));
        assert_eq!(line(&[]), None);
    }

    #[test]
    fn fractions_are_kept() {
        let metric = Metric::new("attach.ms", vec![1.5, 0.25, 2.0]);
        assert_eq!(
            metric.map(|metric| metric.to_string()).as_deref(),
            Some("metric attach.ms 1.5 0.25 2 3")
        );
    }
}
