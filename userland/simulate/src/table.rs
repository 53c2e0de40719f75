// SPDX-License-Identifier: GPL-2.0

//! Figures as text: the lines on the terminal and the tables in the document.

use crate::behaviour::{
    Behaviour,
    Label,
    ALL, //
};
use crate::stats::{
    float,
    percentile,
    Rate, //
};
use crate::Summary;

/// Where there is no figure. A dash would be a list in the document.
const NONE: &str = "n/a";

/// A part in percent, with as many digits as it takes to tell it from 0 and 100.
pub(crate) fn percent(rate: Rate) -> String {
    match rate.part() {
        None => NONE.into(),
        Some(part) if rate.hits == 0 || rate.hits == rate.of => format!("{:.0} %", part * 100.0),
        Some(part) if !(0.001..=0.999).contains(&part) => format!("{:.4} %", part * 100.0),
        Some(part) => format!("{:.2} %", part * 100.0),
    }
}

/// A part and its interval.
pub(crate) fn with_interval(rate: Rate) -> String {
    match rate.interval() {
        None => NONE.into(),
        Some((low, high)) => {
            format!(
                "{} ({:.2} to {:.2})",
                percent(rate),
                low * 100.0,
                high * 100.0
            )
        }
    }
}

/// The columns of the main table.
const COLUMNS: [&str; 9] = [
    "behaviour",
    "label",
    "detected (95 % interval)",
    "harmed",
    "false suspicion",
    "wrong",
    "not granted",
    "events, median",
    "95 %",
];

/// One behaviour's line of the main table.
fn row(behaviour: &Behaviour, summary: &Summary) -> Vec<String> {
    let events = |percent| {
        let value = percentile(&summary.latency, percent);
        value.map_or(NONE.into(), |value| value.to_string())
    };
    let detected = match behaviour.label {
        Label::Honest | Label::Beyond => NONE.into(),
        _ => with_interval(summary.detected),
    };
    vec![
        behaviour.name.into(),
        behaviour.label.name().into(),
        detected,
        summary.harmed.to_string(),
        percent(summary.suspected),
        format!("{} of {}", summary.wrong.hits, summary.wrong.of),
        percent(summary.stalled),
        events(50),
        events(95),
    ]
}

/// Widths of columns on the terminal.
const WIDTHS: [usize; 9] = [18, 12, 26, 7, 16, 14, 12, 15, 7];

fn line<S: AsRef<str>>(cells: &[S]) -> String {
    let cells = cells.iter().zip(WIDTHS);
    let padded: String = cells
        .map(|(cell, width)| format!("{:<width$} ", cell.as_ref()))
        .collect();
    padded.trim_end().into()
}

/// The heading on the terminal.
pub(crate) fn heading() -> String {
    line(&COLUMNS)
}

/// A behaviour's line on the terminal.
pub(crate) fn progress(behaviour: &Behaviour, summary: &Summary) -> String {
    line(&row(behaviour, summary))
}

/// A table of reStructuredText.
pub(crate) fn simple(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let join = |cells: Vec<String>| format!("{}\n", cells.join(" ").trim_end());
    let ruler = join(widths.iter().map(|&width| "=".repeat(width)).collect());
    let text = |cells: &[String]| {
        let cells = cells.iter().zip(&widths);
        join(
            cells
                .map(|(cell, &width)| format!("{cell:<width$}"))
                .collect(),
        )
    };
    let head: Vec<String> = head.iter().map(|&cell| cell.into()).collect();
    let body: String = rows.iter().map(|row| text(row)).collect();
    format!("{ruler}{}{ruler}{body}{ruler}", text(&head))
}

/// The table of all behaviours.
pub(crate) fn behaviours(summaries: &[Summary]) -> String {
    let rows: Vec<_> = ALL
        .iter()
        .zip(summaries)
        .map(|(of, summary)| row(of, summary))
        .collect();
    simple(&COLUMNS, &rows)
}

/// What the names in it stand for.
pub(crate) fn names() -> String {
    let rows: Vec<_> = ALL
        .iter()
        .map(|of| vec![of.name.into(), of.what.into()])
        .collect();
    simple(&["behaviour", "what validators do"], &rows)
}

/// The curve as numbers: a line for each part of lies, a column for each rate of requests.
pub(crate) fn curve(rates: &[u64], points: &[(u64, Vec<Rate>)]) -> String {
    let heads: Vec<String> = std::iter::once("lies".into())
        .chain(rates.iter().map(|rate| format!("{rate} requests an hour")))
        .collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let rows: Vec<_> = points
        .iter()
        .map(|(permille, found)| {
            std::iter::once(format!("{:.0} %", float(*permille) / 10.0))
                .chain(found.iter().map(|&rate| with_interval(rate)))
                .collect()
        })
        .collect();
    simple(&heads, &rows)
}

/// Puts `body` in the place of what stands between the two comments of that name.
///
/// # Errors
///
/// What is missing.
pub(crate) fn replace(text: &str, name: &str, body: &str) -> Result<String, String> {
    let (begin, end) = (
        format!(".. begin generated {name}\n"),
        format!(".. end generated {name}\n"),
    );
    let (before, rest) = text
        .split_once(&begin)
        .ok_or(format!("no line {begin:?}"))?;
    let (_, after) = rest.split_once(&end).ok_or(format!("no line {end:?}"))?;
    Ok(format!(
        "{before}{begin}\n{}\n\n{end}{after}",
        body.trim_end()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_from_0_and_100() {
        let text = |hits, of| percent(Rate { hits, of });
        assert_eq!(text(0, 0), NONE);
        assert_eq!(text(0, 9), "0 %");
        assert_eq!(text(9, 9), "100 %");
        assert_eq!(text(1, 3), "33.33 %");
        assert_eq!(text(1, 100_000), "0.0010 %");
        assert_eq!(text(99_999, 100_000), "99.9990 %");
    }

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
}
