// SPDX-License-Identifier: GPL-2.0

//! `Documentation/performance.rst` and what lies in `Documentation/performance/`.

use crate::figures::{
    Figures,
    DIRECT,
    SETUPS, //
};
use crate::picture;
use crate::reason;
use crate::table;
use crate::target::{
    self,
    Target,
    Verdict, //
};
use std::collections::BTreeMap;
use std::path::Path;

/// Puts `body` in the place of what stands between the two comments of that name.
///
/// # Errors
///
/// What is missing.
fn replace(text: &str, name: &str, body: &str) -> Result<String, String> {
    let begin = format!(".. begin generated {name}\n");
    let end = format!(".. end generated {name}\n");
    let (before, rest) = text
        .split_once(&begin)
        .ok_or(format!("no line {begin:?}"))?;
    let (_, after) = rest.split_once(&end).ok_or(format!("no line {end:?}"))?;
    Ok(format!(
        "{before}{begin}\n{}\n\n{end}{after}",
        body.trim_end()
    ))
}

/// The targets that are not met, each with its reason; those of one reason together.
fn misses(targets: &[Target], reasons: &BTreeMap<String, String>) -> String {
    let mut entries: Vec<(&str, Vec<&str>)> = Vec::new();
    for target in targets.iter().filter(|of| of.verdict != Verdict::Met) {
        let reason = reasons.get(&target.name).map_or("", String::as_str);
        match entries.iter_mut().find(|(of, _)| *of == reason) {
            Some((_, names)) => names.push(&target.name),
            None => entries.push((reason, vec![&target.name])),
        }
    }
    if entries.is_empty() {
        return "None.\n".into();
    }
    let entry = |(reason, names): (&str, Vec<&str>)| {
        let names: Vec<_> = names.iter().map(|name| format!("``{name}``")).collect();
        let lines: String = reason.lines().map(|line| format!("    {line}\n")).collect();
        format!("{}\n{lines}", names.join(", "))
    };
    entries.into_iter().map(entry).collect()
}

/// What stands between the marks of the document.
fn parts(
    figures: &Figures,
    reasons: &BTreeMap<String, String>,
    native: bool,
) -> [(&'static str, String); 7] {
    let targets = target::all(figures);
    let met = targets
        .iter()
        .filter(|of| of.verdict == Verdict::Met)
        .count();
    let count = format!(
        "{met} of {} are met.\n\n{}",
        targets.len(),
        table::targets(&targets)
    );
    let direct = if figures.has_direct() {
        format!(
            "{}\n{}\n.. image:: performance/direct.svg\n   :alt: Bars of what it costs when attached directly",
            table::instructions(figures, true),
            table::overhead(figures, true)
        )
    } else {
        "The module was not measured so.".into()
    };
    let native = if native {
        ".. include:: performance/native.rst"
    } else {
        "The times of the engine by itself were not measured yet."
    };
    [
        (
            "run",
            format!(
                "Kernel ``{}``, commit ``{}``.",
                figures.kernel, figures.commit
            ),
        ),
        ("targets", count),
        ("misses", misses(&targets, reasons)),
        (
            "workloads",
            format!(
                "{}\n{}",
                table::instructions(figures, false),
                table::overhead(figures, false)
            ),
        ),
        ("direct", direct),
        ("others", table::others(figures)),
        ("native", native.into()),
    ]
}

/// Writes the committed run and what is made of it below `directory`; says what else there is to do.
///
/// # Errors
///
/// A target that is not met and has no reason, or a file. Then nothing, or not all, was written.
pub(crate) fn save(figures: &Figures, directory: &Path) -> Result<Vec<String>, String> {
    let at = |name: &str| directory.join(name);
    let read = |name: &str| {
        std::fs::read_to_string(at(name))
            .map_err(|error| format!("{}: {error}", at(name).display()))
    };
    let write = |name: &str, content: &str| {
        std::fs::write(at(name), content)
            .map_err(|error| format!("{}: {error}", at(name).display()))
    };
    const REASONS: &str = "performance/misses.rst";
    let reasons = reason::parse(&read(REASONS)?).map_err(|error| format!("{REASONS}: {error}"))?;
    let (without, idle) = reason::gaps(&target::all(figures), &reasons);
    if !without.is_empty() {
        return Err(format!(
            "these targets are not met and have no reason in {}:\n  ``{}``\nWrite each there as it is here, alone on a \
             line, and the reason with its profile in indented lines below it",
            at(REASONS).display(),
            without.join("``\n  ``")
        ));
    }
    let mut text = read("performance.rst")?;
    for (name, body) in parts(figures, &reasons, at("performance/native.rst").exists()) {
        text = replace(&text, name, &body)?;
    }
    write("performance/bench.json", &figures.json())?;
    let title = "What each setup costs over no module, in percent";
    write(
        "performance/overhead.svg",
        &picture::overhead(figures, &SETUPS[1..], title),
    )?;
    if figures.has_direct() {
        let title = "The module attached directly: what it costs over no module, in percent";
        write(
            "performance/direct.svg",
            &picture::overhead(figures, &DIRECT[1..], title),
        )?;
    }
    write("performance.rst", &text)?;
    Ok(idle
        .iter()
        .map(|name| format!("{REASONS}: {name}: is met, or no target; its reason may go"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::figures;
    use crate::figures::WORKLOADS;

    #[test]
    fn what_was_generated_is_replaced_and_nothing_else() {
        let text = "a\n.. begin generated x\n\nold\n\n.. end generated x\nb\n";
        let new = replace(text, "x", "new\n").unwrap();
        assert_eq!(
            new,
            "a\n.. begin generated x\n\nnew\n\n.. end generated x\nb\n"
        );
        assert_eq!(replace(&new, "x", "new\n").unwrap(), new);
        assert!(replace(text, "y", "new").is_err());
    }

    /// Figures that meet every target but that of a decision.
    fn run() -> Figures {
        let names: Vec<_> = WORKLOADS
            .iter()
            .flat_map(|on| SETUPS.map(|setup| format!("{on}.{setup}")))
            .collect();
        let value = |name: &str| match name.rsplit('.').next() {
            Some("none" | "loaded") => "1000",
            Some("agent1" | "agent1000") => "1010",
            _ => "1020",
        };
        let mut medians: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), value(name)))
            .collect();
        medians.extend([
            ("decide.grant", "1001"),
            ("vote.verify", "9"),
            ("verify.kernel", "9"),
        ]);
        medians.extend([("lookup.1m", "9"), ("lookup.1k", "9"), ("agent.bytes", "9")]);
        medians.extend([
            ("macro.none", "9"),
            ("macro.loaded", "9"),
            ("macro.agent", "9"),
        ]);
        figures(&medians)
    }

    fn directory(reasons: &str) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let marks = [
            "run",
            "targets",
            "misses",
            "workloads",
            "direct",
            "others",
            "native",
        ];
        let marks: String = marks
            .iter()
            .map(|name| format!(".. begin generated {name}\n.. end generated {name}\n"))
            .collect();
        std::fs::create_dir(directory.path().join("performance")).unwrap();
        std::fs::write(directory.path().join("performance.rst"), marks).unwrap();
        std::fs::write(directory.path().join("performance/misses.rst"), reasons).unwrap();
        directory
    }

    #[test]
    fn a_miss_without_a_reason_writes_nothing_and_says_where_to_give_it() {
        let directory = directory("");
        let error = save(&run(), directory.path()).unwrap_err();
        assert!(
            error.contains("performance/misses.rst") && error.contains("``decide.grant``"),
            "{error}"
        );
        assert!(!error.contains("open_close"), "{error}");
        assert!(!directory.path().join("performance/bench.json").exists());
    }

    #[test]
    fn a_run_is_written_with_its_misses_and_can_be_read_back() {
        let directory =
            directory("``decide.grant``\n    It counts.\n\n``agent.bytes``\n    Idle.\n");
        let idle = save(&run(), directory.path()).unwrap();
        assert!(
            idle.len() == 1 && idle[0].contains("agent.bytes"),
            "{idle:?}"
        );
        let path = |name: &str| directory.path().join(name);
        assert_eq!(
            Figures::read(&path("performance/bench.json")).unwrap(),
            run()
        );
        let text = std::fs::read_to_string(path("performance.rst")).unwrap();
        assert!(
            text.contains("\n``decide.grant``\n    It counts.\n"),
            "{text}"
        );
        assert!(text.contains("Kernel ``7.3``, commit ``abc``."), "{text}");
        assert!(
            text.contains("MISSED") && text.contains("were not measured yet."),
            "{text}"
        );
        let svg = std::fs::read_to_string(path("performance/overhead.svg")).unwrap();
        assert!(svg.contains("mmap_exec"));
        assert!(!path("performance/direct.svg").exists());
    }
}
