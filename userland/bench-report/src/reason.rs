// SPDX-License-Identifier: GPL-2.0

//! Why a target is missed, in people's words.

use crate::target::{
    Target,
    Verdict, //
};
use std::collections::BTreeMap;

/// The reasons of a definition list of reStructuredText, by the targets that its terms name.
///
/// A term stands alone on a line, in double backquotes, and may name several targets, with commas
/// between them. The indented lines below are the reason.
///
/// # Errors
///
/// A term without a reason, or a target that is named twice.
pub(crate) fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut entries: Vec<(Vec<&str>, String)> = Vec::new();
    let mut in_entry = false;
    for line in text.lines() {
        if line.starts_with("``") {
            let names = line.split(',').map(|name| name.trim().trim_matches('`'));
            entries.push((names.collect(), String::new()));
            in_entry = true;
        } else if let (true, Some((_, reason))) = (
            line.starts_with([' ', '\t']) && in_entry,
            entries.last_mut(),
        ) {
            *reason += line.trim();
            reason.push('\n');
        } else {
            in_entry &= line.trim().is_empty();
        }
    }
    let mut reasons = BTreeMap::new();
    for (names, reason) in entries {
        for name in names {
            if reason.trim().is_empty() {
                return Err(format!("{name}: no reason below it"));
            }
            if reasons.insert(name.to_string(), reason.clone()).is_some() {
                return Err(format!("{name}: is named twice"));
            }
        }
    }
    Ok(reasons)
}

/// Targets that are not met and have no reason, and reasons of what is no missed target.
pub(crate) fn gaps(
    targets: &[Target],
    reasons: &BTreeMap<String, String>,
) -> (Vec<String>, Vec<String>) {
    let missed: Vec<_> = targets
        .iter()
        .filter(|target| target.verdict != Verdict::Met)
        .map(|target| &target.name)
        .collect();
    let without = missed.iter().filter(|&&name| !reasons.contains_key(name));
    let idle = reasons.keys().filter(|name| !missed.contains(name));
    (
        without.map(|&name| name.clone()).collect(),
        idle.cloned().collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::figures;
    use crate::target;

    const TEXT: &str = ".. comment\n   goes on\n\n``a over b``, ``c``\n    First line,\n    second.\n\n    Third.\n\nText.\n";

    #[test]
    fn terms_and_their_reasons_are_read() {
        let reasons = parse(TEXT).unwrap();
        assert_eq!(reasons.keys().collect::<Vec<_>>(), ["a over b", "c"]);
        let lines: Vec<_> = reasons["c"].split_whitespace().collect();
        assert_eq!(lines, ["First", "line,", "second.", "Third."]);
        assert_eq!(parse("Nothing is missed.\n").unwrap().len(), 0);
    }

    #[test]
    fn empty_and_doubled_reasons_are_refused() {
        assert!(parse("``a``\n``b``\n    Why.\n").is_err());
        assert!(parse("``a``\n\nText.\n").is_err());
        assert!(parse("``a``\n    Why.\n\n``a``\n    Why.\n").is_err());
    }

    #[test]
    fn a_missed_target_needs_a_reason_and_a_met_one_has_none() {
        let figures = figures(&[("decide.grant", "1001"), ("agent.bytes", "1")]);
        let targets: Vec<_> = target::all(&figures)
            .into_iter()
            .filter(|of| {
                ["decide.grant", "agent.bytes", "macro.agent over none"].contains(&of.name.as_str())
            })
            .collect();
        let (without, idle) = gaps(&targets, &parse("``agent.bytes``\n  Why.\n").unwrap());
        assert_eq!(without, ["decide.grant", "macro.agent over none"]);
        assert_eq!(idle, ["agent.bytes"]);
        let all = "``decide.grant``, ``macro.agent over none``\n  Why.\n";
        assert_eq!(gaps(&targets, &parse(all).unwrap()), (vec![], vec![]));
    }
}
