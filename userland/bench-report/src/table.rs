// SPDX-License-Identifier: GPL-2.0

//! Figures as tables of reStructuredText, which are read well on a terminal, too.

use crate::figures::{
    unit,
    Figures,
    DIRECT,
    SETUPS,
    WORKLOADS, //
};
use crate::target::{
    percent,
    Target, //
};

/// Where there is no figure. A dash would be a list in the document.
const NONE: &str = "n/a";

/// Cells below their heads.
pub(crate) fn simple(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&cell| cell.into()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head)
            .chain(rows)
            .filter_map(|row| row.get(column));
        cells
            .map(|cell: &String| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join(" ").trim_end())
    };
    let ruler = line(
        &widths
            .iter()
            .map(|&width| "=".repeat(width))
            .collect::<Vec<_>>(),
    );
    let body: String = rows.iter().map(|row| line(row)).collect();
    format!("{ruler}{}{ruler}{body}{ruler}", line(&head))
}

/// A line for each workload, a column for each setup that was measured.
fn grid(figures: &Figures, setups: &[&str], cell: impl Fn(&str, &str) -> Option<String>) -> String {
    let measured = |setup: &&str| {
        WORKLOADS
            .iter()
            .any(|on| figures.get(&format!("{on}.{setup}")).is_some())
    };
    let setups: Vec<&str> = setups.iter().copied().filter(measured).collect();
    let rows: Vec<Vec<String>> = WORKLOADS
        .iter()
        .map(|workload| {
            let cells = setups
                .iter()
                .map(|setup| cell(workload, setup).unwrap_or(NONE.into()));
            std::iter::once((*workload).into()).chain(cells).collect()
        })
        .collect();
    let head: Vec<&str> = std::iter::once("workload").chain(setups).collect();
    simple(&head, &rows)
}

/// Instructions of one operation of each workload under each setup, or those of direct attachment.
pub(crate) fn instructions(figures: &Figures, direct: bool) -> String {
    let setups: &[&str] = if direct { &DIRECT } else { &SETUPS };
    grid(figures, setups, |on, setup| {
        figures
            .metrics
            .get(&format!("{on}.{setup}"))
            .map(ToString::to_string)
    })
}

/// The same as percent over `none`.
pub(crate) fn overhead(figures: &Figures, direct: bool) -> String {
    let setups: &[&str] = if direct { &DIRECT } else { &SETUPS };
    grid(figures, &setups[1..], |on, setup| {
        figures.overhead(on, setup).map(percent)
    })
}

/// All metrics that stand in no grid.
pub(crate) fn others(figures: &Figures) -> String {
    let in_grid = |name: &str| {
        name.split_once('.').is_some_and(|(on, setup)| {
            WORKLOADS.contains(&on) && (SETUPS.contains(&setup) || DIRECT.contains(&setup))
        })
    };
    let rows: Vec<Vec<String>> = figures
        .metrics
        .iter()
        .filter(|(name, _)| !in_grid(name))
        .map(|(name, median)| {
            let spread = figures.spread.get(name);
            let text = |of: Option<String>| of.unwrap_or(NONE.into());
            vec![
                name.clone(),
                median.to_string(),
                unit(name).unwrap_or("instructions").into(),
                text(spread.map(|of| of.min.to_string())),
                text(spread.map(|of| of.max.to_string())),
                text(spread.map(|of| of.rounds.to_string())),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "None was measured.\n".into();
    }
    simple(&["metric", "median", "unit", "min", "max", "rounds"], &rows)
}

/// Targets and what became of them.
pub(crate) fn targets(targets: &[Target]) -> String {
    let rows: Vec<Vec<String>> = targets
        .iter()
        .map(|of| {
            vec![
                of.name.clone(),
                of.says.into(),
                of.found.clone(),
                of.verdict.name().into(),
            ]
        })
        .collect();
    simple(&["target", "what it says", "found", "verdict"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::figures;
    use crate::target;

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [
            vec!["a".into(), "bcd".into()],
            vec!["efg".into(), "h".into()],
        ];
        let wanted = "=== ===\nx   y\n=== ===\na   bcd\nefg h\n=== ===\n";
        assert_eq!(simple(&["x", "y"], &rows), wanted);
    }

    #[test]
    fn grids_hold_what_was_measured() {
        let figures = figures(&[
            ("read.none", "200"),
            ("read.bpf", "210"),
            ("fork.none", "7"),
        ]);
        let table = instructions(&figures, false);
        assert!(table.contains("workload      none bpf\n"), "{table}");
        assert!(table.contains("read          200  210\n"), "{table}");
        assert!(table.contains("fork          7    n/a\n"), "{table}");
        assert!(table.contains("exec          n/a  n/a\n"), "{table}");
        let table = overhead(&figures, false);
        assert!(table.contains("read          +5.00 %\n"), "{table}");
        assert!(!table.contains("none"), "{table}");
    }

    #[test]
    fn every_metric_stands_in_one_table() {
        let figures = figures(&[
            ("read.none", "200"),
            ("read.agent1_direct", "220"),
            ("read.agent_30000", "230"),
            ("attach.ms", "1.5"),
        ]);
        let rest = others(&figures);
        assert!(
            rest.contains("read.agent_30000 230    instructions 230 230 5\n"),
            "{rest}"
        );
        assert!(
            rest.contains("attach.ms        1.5    ms           1.5 1.5 5\n"),
            "{rest}"
        );
        assert!(!rest.contains("none") && !rest.contains("direct"), "{rest}");
        assert!(overhead(&figures, true).contains("read          +10.00 %"));
    }

    #[test]
    fn a_missed_target_stands_out() {
        let table = targets(&target::all(&figures(&[("decide.grant", "1001")])));
        let line = table
            .lines()
            .find(|line| line.starts_with("decide.grant"))
            .unwrap();
        assert!(
            line.contains(" 1001 ") && line.ends_with("MISSED"),
            "{line}"
        );
    }
}
