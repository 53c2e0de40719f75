// SPDX-License-Identifier: GPL-2.0

//! Rates with their intervals, and percentiles.

/// How often something happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Times that it did.
    pub(crate) hits: u64,
    /// Times that it could have.
    pub(crate) of: u64,
}

/// The 97.5th percentile of the normal distribution: a two-sided interval of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// An exact `f64` of a count, which no simulation brings beyond 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

impl Rate {
    /// Counts one more.
    pub(crate) fn count(&mut self, hit: bool) {
        self.of += 1;
        self.hits += u64::from(hit);
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        self.hits += other.hits;
        self.of += other.of;
    }

    /// The part, 0 to 1; [`None`] of nothing.
    pub(crate) fn part(self) -> Option<f64> {
        (self.of != 0).then(|| float(self.hits) / float(self.of))
    }

    /// The 95 % interval of the part (Wilson 1927); [`None`] of nothing.
    pub(crate) fn interval(self) -> Option<(f64, f64)> {
        let part = self.part()?;
        let of = float(self.of);
        let scale = 1.0 + Z * Z / of;
        let middle = (part + Z * Z / (2.0 * of)) / scale;
        let half = Z * (part * (1.0 - part) / of + Z * Z / (4.0 * of * of)).sqrt() / scale;
        Some(((middle - half).max(0.0), (middle + half).min(1.0)))
    }
}

/// The `percent`-th percentile by nearest rank; [`None`] of nothing. `sorted` ascends.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-5
    }

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (hits, of, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let (a, b) = Rate { hits, of }.interval().unwrap();
            assert!(close(a, low) && close(b, high), "{hits} of {of}: {a} {b}");
        }
    }

    #[test]
    fn the_interval_holds_the_part_and_ends_at_0_and_1() {
        for of in [1, 7, 1000] {
            for hits in 0..=of {
                let rate = Rate { hits, of };
                let (low, high) = rate.interval().unwrap();
                let part = rate.part().unwrap();
                assert!(0.0 <= low && low <= part + 1e-12, "{hits} of {of}");
                assert!(part - 1e-12 <= high && high <= 1.0, "{hits} of {of}");
            }
        }
        assert_eq!(Rate::default().interval(), None);
        assert_eq!(Rate::default().part(), None);
    }

    #[test]
    fn rates_add_up() {
        let mut rate = Rate::default();
        rate.count(true);
        rate.count(false);
        rate.add(Rate { hits: 3, of: 4 });
        assert_eq!(rate, Rate { hits: 4, of: 6 });
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<u64> = (1..=20).collect();
        assert_eq!(percentile(&values, 50), Some(10));
        assert_eq!(percentile(&values, 95), Some(19));
        assert_eq!(percentile(&values, 100), Some(20));
        assert_eq!(percentile(&values, 0), Some(1));
        assert_eq!(percentile(&[4], 95), Some(4));
        assert_eq!(percentile(&[], 50), None);
    }
}
