// SPDX-License-Identifier: GPL-2.0

//! Pictures as SVG: the detection of each behaviour and the curve of those who lie sometimes.

use crate::behaviour::{
    Label,
    ALL, //
};
use crate::stats::{
    float,
    Rate, //
};
use crate::table;
use crate::Summary;
use std::fmt::Write as _;

/// Colours that are told apart without colour vision, too (Okabe and Ito 2008).
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

fn begin(width: u32, height: u32, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<!-- SPDX-License-Identifier: GPL-2.0 -->\n<title>{title}</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"15\">{title}</text>\n"
    )
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

fn line(out: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
    );
}

/// A bar for each behaviour that is to be found out, with its 95 % interval.
pub(crate) fn bars(summaries: &[Summary]) -> String {
    let shown: Vec<_> = ALL
        .iter()
        .zip(summaries)
        .filter(|(of, _)| of.label.is_detectable() || of.label == Label::Refused)
        .collect();
    let (left, scale, step) = (150.0, 4.0, 20.0);
    let height = 60 + 20 * u32::try_from(shown.len()).unwrap_or(0);
    let mut out = begin(720, height, "Detected, in percent of the runs");
    for mark in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let x = left + mark * scale;
        line(&mut out, [x, 32.0, x, f64::from(height) - 22.0], "#cccccc");
        text(
            &mut out,
            x,
            f64::from(height) - 8.0,
            "middle",
            &format!("{mark:.0}"),
        );
    }
    let mut y = 34.0;
    for (behaviour, summary) in shown {
        let colour = match behaviour.label {
            Label::Provable | Label::Mixed => COLOURS[0],
            Label::Statistical | Label::Silent => COLOURS[1],
            _ => COLOURS[2],
        };
        text(&mut out, left - 6.0, y + 12.0, "end", behaviour.name);
        let part = summary.detected.part().unwrap_or(0.0) * 100.0;
        let _ = writeln!(
            out,
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"14\" fill=\"{colour}\"/>",
            part * scale
        );
        if let Some((low, high)) = summary.detected.interval() {
            let (low, high) = (left + low * 100.0 * scale, left + high * 100.0 * scale);
            line(&mut out, [low, y + 7.0, high, y + 7.0], "black");
            line(&mut out, [low, y + 3.0, low, y + 11.0], "black");
            line(&mut out, [high, y + 3.0, high, y + 11.0], "black");
        }
        let label = format!(
            "{} {}",
            table::percent(summary.detected),
            behaviour.label.name()
        );
        text(&mut out, left + 408.0, y + 12.0, "start", &label);
        y += step;
    }
    out + "</svg>\n"
}

/// How often who lies in a part of the decisions is suspected, a curve for each rate of requests.
pub(crate) fn curve(rates: &[u64], points: &[(u64, Vec<Rate>)]) -> String {
    let (left, bottom, wide, high) = (60.0, 360.0, 600.0, 300.0);
    let mut out = begin(
        720,
        420,
        "Suspected within 8 hours, by the part of good requests that one validator denies",
    );
    for mark in [0.0, 0.25, 0.5, 0.75, 1.0] {
        let (x, y) = (left + mark * wide, bottom - mark * high);
        line(&mut out, [left, y, left + wide, y], "#cccccc");
        line(&mut out, [x, bottom - high, x, bottom], "#cccccc");
        text(
            &mut out,
            left - 6.0,
            y + 4.0,
            "end",
            &format!("{:.0} %", mark * 100.0),
        );
        text(
            &mut out,
            x,
            bottom + 18.0,
            "middle",
            &format!("{:.0} %", mark * 100.0),
        );
    }
    for (at, (rate, colour)) in rates.iter().zip(COLOURS).enumerate() {
        let mut path = String::new();
        for (permille, found) in points {
            let Some(rate) = found.get(at) else { continue };
            let x = left + float(*permille) / 1000.0 * wide;
            let y = |part: f64| bottom - part * high;
            let _ = write!(path, "{x:.1},{:.1} ", y(rate.part().unwrap_or(0.0)));
            if let Some((low, up)) = rate.interval() {
                line(&mut out, [x, y(low), x, y(up)], colour);
            }
        }
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.trim_end()
        );
        let y = 70.0 + float(at as u64) * 18.0;
        line(
            &mut out,
            [left + 14.0, y - 4.0, left + 40.0, y - 4.0],
            colour,
        );
        text(
            &mut out,
            left + 46.0,
            y,
            "start",
            &format!("{rate} requests an hour"),
        );
    }
    text(
        &mut out,
        left + wide / 2.0,
        bottom + 40.0,
        "middle",
        "part of good requests that are denied",
    );
    out + "</svg>\n"
}
