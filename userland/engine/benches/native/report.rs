// SPDX-License-Identifier: GPL-2.0

//! The table of medians for the documentation.

use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// What stands before the table.
const HEAD: &str = "\
.. SPDX-License-Identifier: GPL-2.0
.. Written by NATIVE_RST=FILE cargo bench -p engine; do not edit.

The engine, natively
====================

What one call of a part of the engine takes in user space, with criterion: the median of a hundred samples and the 95 % interval around
it. These are times, not instructions: they depend on the machine and its load, and only say what is cheap and what is dear.

";

/// Writes the medians of `parts` (name and description), which criterion has left below `figures`, to
/// `file`.
///
/// # Errors
///
/// A text that says what is missing: a part that has not been measured since `start`, as when the
/// command line names only some of them, or a file that cannot be read or written.
pub(crate) fn write(
    file: &Path,
    figures: &Path,
    parts: &[(String, String)],
    start: SystemTime,
) -> Result<(), String> {
    let mut rows =
        vec![["name", "what one call does", "median", "95 % interval"].map(String::from)];
    for (name, what) in parts {
        let [median, low, high] = median(figures, name, start)
            .map_err(|error| format!("no figures of {name} in this run: {error}"))?;
        let interval = format!("{} to {}", time(low), time(high));
        rows.push([name.clone(), what.clone(), time(median), interval]);
    }
    fs::write(file, format!("{HEAD}{}", table(&rows)))
        .map_err(|error| format!("{}: {error}", file.display()))
}

/// The median and its interval, in nanoseconds.
fn median(figures: &Path, name: &str, start: SystemTime) -> Result<[f64; 3], String> {
    let file = figures.join(name).join("new/estimates.json");
    let say = |error: std::io::Error| format!("{}: {error}", file.display());
    let written = fs::metadata(&file).and_then(|data| data.modified());
    if written.map_err(say)? < start {
        return Err("they are older".to_owned());
    }
    let estimates: Value = serde_json::from_slice(&fs::read(&file).map_err(say)?)
        .map_err(|error| format!("{}: {error}", file.display()))?;
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    if interval["confidence_level"].as_f64() != Some(0.95) {
        return Err("their interval is not of 95 %".to_owned());
    }
    let number = |value: &Value| value.as_f64().ok_or_else(|| "not a number".to_owned());
    Ok([
        number(&median["point_estimate"])?,
        number(&interval["lower_bound"])?,
        number(&interval["upper_bound"])?,
    ])
}

/// Nanoseconds with three digits that count.
fn time(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns => (ns / 1e6, "ms"),
    };
    let digits = match value {
        value if value < 10.0 => 2,
        value if value < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {unit}")
}

/// A simple table of reStructuredText; the first row is the head.
fn table(rows: &[[String; 4]]) -> String {
    let widths: [usize; 4] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0));
    let rule = widths.map(|width| "=".repeat(width)).join(" ") + "\n";
    let mut out = rule.clone();
    for (number, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$} ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
        if number == 0 {
            out.push_str(&rule);
        }
    }
    out + &rule
}
