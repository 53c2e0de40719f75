// SPDX-License-Identifier: GPL-2.0

//! Writes `Documentation/testing/unsafe.rst`.

use crate::review::Review;
use crate::scan::Kind;
use std::fmt::Write as _;

/// Documentation text of Rust as reStructuredText: code in double backticks, the rest escaped.
pub(crate) fn to_rst(text: &str) -> String {
    let mut out = String::new();
    for (number, part) in text.split('`').enumerate() {
        if number % 2 == 1 {
            // A link's bracket may come before and after.
            if out.ends_with("\\[") {
                out.truncate(out.len() - 2);
            }
            // Inline markup ends where no word goes on.
            let _ = write!(out, "``{part}``\\ ");
            continue;
        }
        let part = if number > 0 {
            part.strip_prefix(']').unwrap_or(part)
        } else {
            part
        };
        if part.starts_with(' ') || part.starts_with(['.', ',', ';', ':', ')']) {
            out.truncate(out.trim_end_matches("\\ ").len());
        }
        for c in part.chars() {
            if matches!(c, '*' | '_' | '|' | '\\' | '[' | '<') {
                out.push('\\');
            }
            out.push(c);
        }
    }
    out.trim_end_matches("\\ ").to_string()
}

/// A test as the table shows it.
fn test(name: &str) -> String {
    match name.split_once(' ') {
        None if name == "bench" => "``make bench-check``".into(),
        None => "any boot with the module".into(),
        Some(("part", part)) => format!("``scripts/test {part}``"),
        Some(("debug", rest)) => format!("{} (debug kernel)", test(rest)),
        Some((group, name)) => format!("{group}: ``{name}``"),
    }
}

fn table(out: &mut String, widths: &str, rows: &[Vec<String>]) {
    let _ = writeln!(
        out,
        ".. list-table::\n   :header-rows: 1\n   :widths: {widths}\n"
    );
    for row in rows {
        for (number, cell) in row.iter().enumerate() {
            let mark = if number == 0 { "* -" } else { "  -" };
            let _ = writeln!(out, "   {mark} {cell}");
        }
    }
    out.push('\n');
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(String::from).to_vec()
}

fn heading(out: &mut String, text: &str) {
    let _ = writeln!(out, "{text}\n{}\n", "=".repeat(text.chars().count()));
}

fn count(review: &Review, kind: Kind) -> usize {
    let places = review.files.iter().flat_map(|(_, places)| places);
    places.filter(|place| place.kind == kind).count()
}

fn preface(out: &mut String, review: &Review) {
    out.push_str(
        ".. SPDX-License-Identifier: GPL-2.0\n\n\
         .. Made by `make unsafe-review` of the SAFETY comments in rust/ and of\n   \
         userland/unsafe-review/tests.toml. Do not edit.\n\n\
         ===========\nUnsafe code\n===========\n\n\
         All unsafe code of the module, what each piece relies on, and the tests that fail when that does not \
         hold.\n\n",
    );
    let _ = writeln!(
        out,
        "There are {} blocks, {} functions, {} implementations and {} trait, all below ``rust/``, and {} block of \
         foreign functions.\nWhat a piece relies on is its ``SAFETY`` comment, of a function its section \
         ``# Safety``, taken from the source; \"as above\" refers to the row above.\n",
        count(review, Kind::Block),
        count(review, Kind::Function),
        count(review, Kind::Impl),
        count(review, Kind::Trait),
        count(review, Kind::Foreign),
    );
    out.push_str(
        "A test is named by its group and name (``guest-tests GROUP NAME`` in the guest). It runs the code so that the \
         invariant counts, and compares what came out.\n\"Debug kernel\" means: the broken invariant shows only where \
         KASAN, lockdep, kmemleak or debug objects look (``qemu/run.sh --kernel debug``), because the stock kernel\n\
         may run on with memory that was freed.\n\n\
         ``make unsafe-review`` writes this document and fails when a piece has no comment or no test, when a test \
         does not exist, when\nan entry belongs to nothing any more, and when there is unsafe code elsewhere in \
         ``src/`` or ``userland/``; ``make test`` fails when the document is not\nwhat it would write.\n\n",
    );
    heading(out, "Elsewhere");
    let mut rows = vec![row(["Directory", "Why it has unsafe code"])];
    for (directory, why) in &review.tests.outside {
        rows.push(vec![format!("``{directory}``"), to_rst(why)]);
    }
    table(out, "30 70", &rows);
}

fn proofs(out: &mut String, review: &Review) {
    heading(out, "Proofs");
    let _ = writeln!(
        out,
        "Each of these {} invariants was broken on purpose, the module built and run on the stock kernel, and the \
         test named failed\n(``scripts/unsafe-review --prove`` does it again; the last time at commit {}). The other \
         tests below were chosen by reading.\n",
        review.tests.proofs.len(),
        review.tests.proved,
    );
    let mut rows = vec![row(["Item", "What was broken", "Test", "What was seen"])];
    for proof in &review.tests.proofs {
        rows.push(vec![
            format!("``{}`` ``{}``", proof.file, proof.item),
            to_rst(&proof.broken),
            test(&proof.test),
            to_rst(&proof.seen),
        ]);
    }
    table(out, "25 25 25 25", &rows);
}

/// The document.
pub(crate) fn write(review: &Review) -> String {
    let mut out = String::new();
    preface(&mut out, review);
    proofs(&mut out, review);
    for (file, places) in &review.files {
        heading(&mut out, file);
        let mut rows = vec![row(["Item", "What", "Relies on", "Tests"])];
        for place in places {
            let tests = review.tests.of(file, place).map(|(_, tests)| tests);
            let tests: Vec<String> = tests.unwrap_or_default().iter().map(|t| test(t)).collect();
            rows.push(vec![
                format!("``{}``", place.item),
                format!("{} {}", place.kind, place.number),
                to_rst(place.relies_on.as_deref().unwrap_or_default()),
                tests.join(", "),
            ]);
        }
        table(&mut out, "25 8 40 27", &rows);
    }
    // One empty line at most, and none at the end.
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_links_become_literals() {
        assert_eq!(to_rst("`a_b`."), "``a_b``.");
        assert_eq!(
            to_rst("see [`T::f`] for 2 * x_"),
            "see ``T::f`` for 2 \\* x\\_"
        );
        assert_eq!(to_rst("`File`s are"), "``File``\\ s are");
    }

    #[test]
    fn tests_are_shown_by_kind() {
        assert_eq!(test("load"), "any boot with the module");
        assert_eq!(test("votes valid"), "votes: ``valid``");
        assert_eq!(test("debug votes valid"), "votes: ``valid`` (debug kernel)");
        assert_eq!(test("part fault"), "``scripts/test fault``");
    }
}
