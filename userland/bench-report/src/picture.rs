// SPDX-License-Identifier: GPL-2.0

//! Pictures as SVG: what each setup costs over `none`.

use crate::figures::{
    Figures,
    WORKLOADS, //
};
use crate::target::percent;
use std::fmt::Write as _;

/// Colours that are told apart without colour vision, too (Okabe and Ito 2008).
const COLOURS: [&str; 6] = [
    "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#e69f00", "#cc79a7",
];

/// Where the bars begin, and how long the longest may be.
const LEFT: f64 = 110.0;
const WIDE: f64 = 540.0;

/// Height of a bar with its gap, and the gap between workloads.
const STEP: f64 = 13.0;
const GAP: f64 = 12.0;

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

fn rectangle(out: &mut String, x: f64, y: f64, width: f64, colour: &str) {
    let _ = writeln!(
        out,
        "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
        STEP - 2.0
    );
}

/// The step between marks, so that there are at most eight of them up to `most`: 1, 2 or 5 and noughts.
fn mark(most: f64) -> f64 {
    let steps = (-2..6).flat_map(|power| [1.0, 2.0, 5.0].map(|digit| digit * 10_f64.powi(power)));
    steps
        .into_iter()
        .find(|step| step * 8.0 >= most)
        .unwrap_or(most)
}

/// A group of bars for each workload, a bar for each setup that was measured there.
pub(crate) fn overhead(figures: &Figures, setups: &[&str], title: &str) -> String {
    let groups: Vec<(&str, Vec<(usize, f64)>)> = WORKLOADS
        .iter()
        .map(|&on| {
            let bars = setups.iter().zip(0..);
            let bars = bars.filter_map(|(setup, at)| Some((at, figures.overhead(on, setup)?)));
            (on, bars.collect::<Vec<_>>())
        })
        .filter(|(_, bars)| !bars.is_empty())
        .collect();
    let bars = groups.iter().flat_map(|(_, bars)| bars);
    let most = bars.map(|&(_, value)| value).fold(1.0, f64::max);
    let mut body = String::new();
    let mut y = 62.0;
    for (workload, bars) in &groups {
        let mut top = y;
        for &(at, value) in bars {
            let width = value.max(0.0) / most * WIDE;
            rectangle(&mut body, LEFT, top, width, COLOURS[at % COLOURS.len()]);
            text(
                &mut body,
                LEFT + width + 4.0,
                top + 9.5,
                "start",
                &percent(value),
            );
            top += STEP;
        }
        text(
            &mut body,
            LEFT - 6.0,
            (y + top) / 2.0 + 3.0,
            "end",
            workload,
        );
        y = top + GAP;
    }
    let (grid, height) = (grid(most, y), y + 20.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 720 {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<!-- SPDX-License-Identifier: GPL-2.0 -->\n<title>{title}</title>\n\
         <rect width=\"720\" height=\"{height:.0}\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"20\" font-size=\"15\">{title}</text>\n{}{grid}{body}</svg>\n",
        legend(setups)
    )
}

/// Which colour is which setup.
fn legend(setups: &[&str]) -> String {
    let mut out = String::new();
    let mut x = LEFT;
    for (setup, colour) in setups.iter().zip(COLOURS) {
        rectangle(&mut out, x, 32.0, STEP - 2.0, colour);
        text(&mut out, x + 15.0, 41.5, "start", setup);
        x += 100.0;
    }
    out
}

/// Lines up to `most` percent, which end at `bottom`.
fn grid(most: f64, bottom: f64) -> String {
    let mut out = String::new();
    let step = mark(most);
    for at in (0..=8_u8)
        .map(|times| f64::from(times) * step)
        .filter(|&at| at <= most)
    {
        let x = LEFT + at / most * WIDE;
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"52\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#cccccc\"/>"
        );
        text(&mut out, x, bottom + 14.0, "middle", &format!("{at} %"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::figures;

    #[test]
    fn there_is_a_bar_for_each_figure_and_the_dearest_is_the_longest() {
        let figures = figures(&[
            ("read.none", "200"),
            ("read.loaded", "202"),
            ("read.bpf", "220"),
            ("exec.none", "100"),
            ("exec.bpf", "99"),
        ]);
        let svg = overhead(&figures, &["loaded", "bpf"], "Title");
        let bars = |colour: &str| svg.matches(&format!("fill=\"{colour}\"")).count();
        // One more of each is in the legend.
        assert_eq!((bars(COLOURS[0]), bars(COLOURS[1])), (2, 3));
        assert!(
            svg.contains("width=\"540.0\"") && svg.contains("width=\"54.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("width=\"0.0\"") && svg.contains("-1.00 %"),
            "{svg}"
        );
        assert!(!svg.contains("fork"));
    }

    #[test]
    fn marks_are_round() {
        for (most, step) in [(1.0, 0.2), (8.0, 1.0), (35.0, 5.0), (170.0, 50.0)] {
            assert!((mark(most) - step).abs() < 1e-9, "{most}: {}", mark(most));
        }
    }
}
