// SPDX-License-Identifier: GPL-2.0

//! The figures of one run: what the guest prints, and `bench.json`.

use serde::{
    Deserialize,
    Serialize, //
};
use serde_json::Number;
use std::collections::BTreeMap;
use std::path::Path;

/// What the guest repeats in one boot; the order of the tables.
pub(crate) const WORKLOADS: [&str; 8] = [
    "open_close",
    "read",
    "exec",
    "fork",
    "create_unlink",
    "rename",
    "connect",
    "mmap_exec",
];

/// Under what it does so.
pub(crate) const SETUPS: [&str; 7] = [
    "none",
    "loaded",
    "agent1",
    "agent1000",
    "landlock",
    "bpf",
    "apparmor",
];

/// The same with the module attached directly; `none` is what they are compared with.
pub(crate) const DIRECT: [&str; 4] = ["none", "loaded_direct", "agent1_direct", "agent1000_direct"];

/// Names that end in one of these are of no instructions.
const UNITS: [&str; 6] = ["s", "ms", "us", "ns", "bytes", "count"];

/// How far the rounds of a metric were from its median.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spread {
    /// The least round.
    pub(crate) min: Number,
    /// The greatest round.
    pub(crate) max: Number,
    /// Rounds.
    pub(crate) rounds: u64,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// The release of the kernel.
    pub(crate) kernel: String,
    /// The commit that was measured, with `-dirty` when something else was.
    pub(crate) commit: String,
    /// The median of each metric, by its name.
    pub(crate) metrics: BTreeMap<String, Number>,
    /// The spread of each metric, by its name.
    pub(crate) spread: BTreeMap<String, Spread>,
}

/// The unit that a metric's name ends in, as in `attach.ms` or `tasks.bytes_30000`; [`None`]: instructions.
pub(crate) fn unit(name: &str) -> Option<&str> {
    let last = name.rsplit('.').next()?;
    let word = match last.rsplit_once('_') {
        Some((word, count)) if count.bytes().all(|byte| byte.is_ascii_digit()) => word,
        _ => last,
    };
    UNITS.contains(&word).then_some(word)
}

/// A line `metric NAME MEDIAN MIN MAX ROUNDS` without its first word.
fn metric(words: &[&str]) -> Result<(String, Number, Spread), String> {
    let [name, median, min, max, rounds] = words else {
        return Err("not a name and four numbers".into());
    };
    let is_name = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|of| of.is_ascii_alphanumeric() || of == b'_')
    };
    if !name.split('.').all(is_name) {
        return Err(format!("{name:?} is no name"));
    }
    let number = |text: &str| {
        let number: Number = text.parse().map_err(|_| format!("{text:?} is no number"))?;
        let value = number.as_f64().unwrap_or(f64::NAN);
        Ok::<_, String>((number, value))
    };
    let ((median, middle), (min, low), (max, high)) = (number(median)?, number(min)?, number(max)?);
    if !(0.0 <= low && low <= middle && middle <= high) {
        return Err(format!("{min}, {median} and {max} do not ascend from 0"));
    }
    let rounds = rounds
        .parse()
        .map_err(|_| format!("{rounds:?} is no number of rounds"))?;
    Ok(((*name).into(), median, Spread { min, max, rounds }))
}

impl Figures {
    /// Reads what the guest printed; lines that begin with another word than `metric` are left out.
    ///
    /// # Errors
    ///
    /// The line that is wrong, a name that comes twice, or no metric at all.
    pub(crate) fn collect(output: &str, kernel: String, commit: String) -> Result<Self, String> {
        let mut figures = Self {
            kernel,
            commit,
            metrics: BTreeMap::new(),
            spread: BTreeMap::new(),
        };
        for line in output.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let Some((&"metric", words)) = words.split_first() else {
                continue;
            };
            let (name, median, spread) =
                metric(words).map_err(|error| format!("{line:?}: {error}"))?;
            if figures.metrics.insert(name.clone(), median).is_some() {
                return Err(format!("{line:?}: the name comes twice"));
            }
            figures.spread.insert(name, spread);
        }
        if figures.metrics.is_empty() {
            return Err("the guest printed no line `metric NAME MEDIAN MIN MAX ROUNDS`".into());
        }
        Ok(figures)
    }

    /// Reads `bench.json`.
    ///
    /// # Errors
    ///
    /// The file and what is wrong with it.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        text.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()))
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// `bench.json`.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string_pretty(self)
            .map_or_else(|error| error.to_string(), |text| text + "\n")
    }

    /// A metric's median.
    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.metrics.get(name)?.as_f64()
    }

    /// What `setup` costs over `none` on `workload`, in percent.
    pub(crate) fn overhead(&self, workload: &str, setup: &str) -> Option<f64> {
        let none = self.get(&format!("{workload}.none"))?;
        let with = self.get(&format!("{workload}.{setup}"))?;
        (none != 0.0).then(|| (with - none) / none * 100.0)
    }

    /// Whether any workload was measured with the module attached directly.
    pub(crate) fn has_direct(&self) -> bool {
        self.metrics.keys().any(|name| name.ends_with("_direct"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Figures of these lines, each without the word `metric` and with a median only.
    pub(crate) fn figures(medians: &[(&str, &str)]) -> Figures {
        let lines: String = medians
            .iter()
            .map(|(name, median)| format!("metric {name} {median} {median} {median} 5\n"))
            .collect();
        Figures::collect(&lines, "7.3".into(), "abc".into()).unwrap()
    }

    fn collect(output: &str) -> Result<Figures, String> {
        Figures::collect(output, String::new(), String::new())
    }

    #[test]
    fn metrics_are_read_and_other_lines_are_not() {
        let figures = collect(
            "settling\nmetric a.none 10 9 12 5\n metric attach.ms 1.25 1 2.5 7\nmetrics x\n",
        )
        .unwrap();
        assert_eq!(figures.metrics.len(), 2);
        assert_eq!(figures.get("a.none"), Some(10.0));
        assert_eq!(figures.get("attach.ms"), Some(1.25));
        assert_eq!(figures.spread["a.none"].rounds, 5);
        assert_eq!(figures.spread["attach.ms"].max.as_f64(), Some(2.5));
    }

    #[test]
    fn wrong_lines_are_refused() {
        for wrong in [
            "nothing",
            "metric",
            "metric a 1 1 1",
            "metric a 1 1 1 5 6",
            "metric a. 1 1 1 5",
            "metric a-b 1 1 1 5",
            "metric a x 1 1 5",
            "metric a 1 1 1 x",
            "metric a 1 2 3 5",
            "metric a 3 1 2 5",
            "metric a -1 -1 -1 5",
            "metric a 1 1 1 5\nmetric a 1 1 1 5",
        ] {
            assert!(collect(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn integers_stay_integers_in_the_file() {
        let figures = figures(&[("a.none", "5300"), ("attach.ms", "1.5")]);
        let json = figures.json();
        assert!(json.contains("\"a.none\": 5300,"), "{json}");
        assert!(json.contains("\"attach.ms\": 1.5"), "{json}");
        assert_eq!(serde_json::from_str::<Figures>(&json).unwrap(), figures);
    }

    #[test]
    fn units_are_told_from_setups() {
        for (name, wanted) in [
            ("attach.ms", Some("ms")),
            ("agent.bytes", Some("bytes")),
            ("tasks.bytes_30000", Some("bytes")),
            ("open_close.agent_30000", None),
            ("lookup.1m", None),
            ("vote.check.128", None),
            ("open_close.none", None),
        ] {
            assert_eq!(unit(name), wanted, "{name}");
        }
    }

    #[test]
    fn overhead_is_a_part_of_none() {
        let figures = figures(&[("a.none", "200"), ("a.loaded", "203"), ("b.loaded", "1")]);
        assert_eq!(figures.overhead("a", "loaded"), Some(1.5));
        assert_eq!(figures.overhead("b", "loaded"), None);
        assert_eq!(figures.overhead("a", "agent1"), None);
    }
}
