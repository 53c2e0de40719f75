// SPDX-License-Identifier: GPL-2.0

//! What the figures should be, and whether they are.

use crate::figures::{
    Figures,
    WORKLOADS, //
};

/// What a figure is held against. The other figure is a setup of the same workload, or a whole name.
#[derive(Clone, Copy)]
enum Bound {
    /// At most this much.
    AtMost(u32),
    /// At most this many permille over the other figure.
    Over(&'static str, u32),
    /// Less than the other figure.
    Below(&'static str),
    /// What it adds to `none` is at most this many permille over what the other figure adds.
    Added(&'static str, u32),
}

/// A target for `of` on each of `on`.
struct Rule {
    on: &'static [&'static str],
    of: &'static str,
    bound: Bound,
    says: &'static str,
}

const fn rule(
    on: &'static [&'static str],
    of: &'static str,
    bound: Bound,
    says: &'static str,
) -> Rule {
    Rule {
        on,
        of,
        bound,
        says,
    }
}

/// All but `open_close`, which has a target of its own.
const OTHERS: &[&str] = &[
    "read",
    "exec",
    "fork",
    "create_unlink",
    "rename",
    "connect",
    "mmap_exec",
];

use Bound::*;
#[rustfmt::skip]
const RULES: [Rule; 14] = [
    rule(&["open_close"], "loaded", Over("none", 12), "no label: at most 1.2 % over no module"),
    rule(&["exec", "fork"], "loaded", Over("none", 5), "no label: at most 0.5 % over no module"),
    rule(&["open_close"], "agent1000", Over("none", 30), "1,000 rules: at most 3 % over no module"),
    rule(OTHERS, "agent1000", Over("none", 50), "1,000 rules: at most 5 % over no module"),
    rule(&WORKLOADS, "agent1000", Below("landlock"), "1,000 rules: less than Landlock"),
    rule(&WORKLOADS, "agent1000", Below("bpf"), "1,000 rules: less than an empty BPF program"),
    rule(&WORKLOADS, "agent1000", Below("apparmor"), "1,000 rules: less than AppArmor"),
    rule(&WORKLOADS, "agent1000", Added("agent1", 100), "1,000 rules add at most 10 % more than one does"),
    rule(&["decide"], "grant", AtMost(1000), "a decision that finds a grant: at most 1,000"),
    rule(&["vote"], "verify", Over("verify.kernel", 50), "at most 5 % over the kernel's own verification"),
    rule(&["lookup"], "1m", Over("1k", 250), "a million labels: at most 1.25 of a thousand"),
    rule(&["agent"], "bytes", AtMost(128), "at most 128 bytes a label, table included"),
    rule(&["macro"], "loaded", Over("none", 10), "whole run, no label: at most 1 % over no module"),
    rule(&["macro"], "agent", Over("none", 30), "whole run, labelled: at most 3 % over no module"),
];

/// What became of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The figures are as they should be.
    Met,
    /// They are not.
    Missed,
    /// A figure is missing.
    Unmeasured,
}

impl Verdict {
    /// As in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Unmeasured => "NOT MEASURED",
        }
    }
}

/// One target of one figure.
pub(crate) struct Target {
    /// By which a reason names it.
    pub(crate) name: String,
    /// What should be.
    pub(crate) says: &'static str,
    /// What is.
    pub(crate) found: String,
    /// Whether that is enough.
    pub(crate) verdict: Verdict,
}

/// The difference in percent, with a sign.
pub(crate) fn percent(percent: f64) -> String {
    format!("{percent:+.2} %")
}

/// Whether `figure` is at most `permille` over `base`. Exact for whole numbers below 2^43.
pub(crate) fn is_within(figure: f64, base: f64, permille: u32) -> bool {
    figure * 1000.0 <= base * f64::from(1000 + permille)
}

/// What was found, and whether it holds; [`None`] when a figure is missing.
fn judge(
    figures: &Figures,
    on: &str,
    of: &str,
    bound: Bound,
    suffix: &str,
) -> Option<(String, bool)> {
    let other = |name: &str| {
        if name.contains('.') {
            figures.get(name)
        } else {
            figures.get(&format!("{on}.{name}"))
        }
    };
    let found = figures.get(&format!("{on}.{of}"))?;
    let over = |figure: f64, base: f64| {
        if base > 0.0 {
            percent((figure - base) / base * 100.0)
        } else {
            format!("{figure} against {base}")
        }
    };
    Some(match bound {
        AtMost(limit) => (found.to_string(), found <= f64::from(limit)),
        Over(base, permille) => {
            let base = other(base)?;
            (over(found, base), is_within(found, base, permille))
        }
        Below(base) => {
            let base = other(base)?;
            (format!("{found} against {base}"), found < base)
        }
        Added(base, permille) => {
            let none = other("none")?;
            let (added, least) = (found - none, other(&format!("{base}{suffix}"))? - none);
            let holds = is_within(added, least, permille);
            (format!("{added} against {least}"), holds)
        }
    })
}

/// The targets of the module attached in the usual way, or directly.
pub(crate) fn targets(figures: &Figures, direct: bool) -> Vec<Target> {
    let suffix = if direct { "_direct" } else { "" };
    let mut targets = Vec::new();
    // Only what runs in an agent's or a bystander's way has a direct kind.
    for rule in RULES
        .iter()
        .filter(|rule| !direct || WORKLOADS.contains(&rule.on[0]))
    {
        let of = format!("{}{suffix}", rule.of);
        for on in rule.on {
            let against = match rule.bound {
                AtMost(_) => String::new(),
                Over(base, _) => format!(" over {base}"),
                Below(base) => format!(" below {base}"),
                Added(base, _) => format!(" like {base}{suffix}"),
            };
            let judged = judge(figures, on, &of, rule.bound, suffix);
            let verdict = match judged {
                None => Verdict::Unmeasured,
                Some((_, true)) => Verdict::Met,
                Some((_, false)) => Verdict::Missed,
            };
            targets.push(Target {
                name: format!("{on}.{of}{against}"),
                says: rule.says,
                found: judged.map_or_else(|| "n/a".into(), |(found, _)| found),
                verdict,
            });
        }
    }
    targets
}

/// All targets: the direct ones only if anything was measured so.
pub(crate) fn all(figures: &Figures) -> Vec<Target> {
    let mut all = targets(figures, false);
    if figures.has_direct() {
        all.extend(targets(figures, true));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::figures;
    use std::collections::BTreeSet;

    fn verdict(medians: &[(&str, &str)], name: &str) -> Verdict {
        let all = all(&figures(medians));
        all.iter()
            .find(|target| target.name == name)
            .unwrap()
            .verdict
    }

    #[test]
    fn names_are_unique_and_every_workload_of_an_agent_is_judged() {
        let all = all(&figures(&[("read.agent1_direct", "1")]));
        let names: BTreeSet<_> = all.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for workload in WORKLOADS {
            for suffix in ["", "_direct"] {
                for against in ["over none", "below bpf", "below landlock", "below apparmor"] {
                    let name = format!("{workload}.agent1000{suffix} {against}");
                    assert!(names.contains(name.as_str()), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_limit_itself_is_met_and_one_more_is_missed() {
        for (name, base, met, missed) in [
            (
                "open_close.loaded over none",
                "open_close.none",
                "5060",
                "5061",
            ),
            ("exec.loaded over none", "exec.none", "5025", "5026"),
            (
                "open_close.agent1000 over none",
                "open_close.none",
                "5150",
                "5151",
            ),
            ("rename.agent1000 over none", "rename.none", "5250", "5251"),
            (
                "read.agent1000 below landlock",
                "read.landlock",
                "4999",
                "5000",
            ),
            (
                "vote.verify over verify.kernel",
                "verify.kernel",
                "5250",
                "5251",
            ),
            ("lookup.1m over 1k", "lookup.1k", "6250", "6251"),
            ("macro.agent over none", "macro.none", "5150", "5151"),
            ("decide.grant", "other", "1000", "1001"),
            ("agent.bytes", "other", "128", "129"),
            ("exec.loaded_direct over none", "exec.none", "5025", "5026"),
        ] {
            let of = name.split(' ').next().unwrap();
            let got = |value| verdict(&[(base, "5000"), (of, value)], name);
            assert_eq!(got(met), Verdict::Met, "{name}");
            assert_eq!(got(missed), Verdict::Missed, "{name}");
        }
    }

    #[test]
    fn added_costs_are_compared_without_what_it_costs_anyway() {
        let got = |added| {
            let medians = [
                ("fork.none", "5000"),
                ("fork.agent1", "5100"),
                ("fork.agent1000", added),
            ];
            verdict(&medians, "fork.agent1000 like agent1")
        };
        assert_eq!(got("5110"), Verdict::Met);
        assert_eq!(got("5111"), Verdict::Missed);
        let direct = [
            ("fork.none", "5000"),
            ("fork.agent1", "5100"),
            ("fork.agent1_direct", "5010"),
            ("fork.agent1000_direct", "5012"),
        ];
        assert_eq!(
            verdict(&direct, "fork.agent1000_direct like agent1_direct"),
            Verdict::Missed
        );
    }

    #[test]
    fn what_is_missing_is_not_met() {
        let one = [("open_close.loaded", "5")];
        assert_eq!(
            verdict(&one, "open_close.loaded over none"),
            Verdict::Unmeasured
        );
        assert_eq!(verdict(&one, "decide.grant"), Verdict::Unmeasured);
        assert!(all(&figures(&one))
            .iter()
            .all(|of| !of.name.contains("direct")));
    }
}
