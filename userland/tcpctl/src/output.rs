// SPDX-License-Identifier: GPL-2.0

//! What `tcpctl` prints: tables, JSON, colours.
//!
//! Paths, arguments, names and reasons come from agents and may be hostile: everything that a terminal could act upon, or
//! that a reader could mistake, is shown as an escape ([`clean`]).

use std::io::{
    self,
    IsTerminal,
    Write, //
};

use serde::Serialize;

use crate::error::{
    Error,
    Result, //
};

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// One JSON value instead of text.
    pub(crate) json: bool,
    /// Colours: standard output is a terminal and `NO_COLOR` is not set.
    pub(crate) colour: bool,
}

/// A colour with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Good: green.
    Good,
    /// Look at it: yellow.
    Warn,
    /// Bad: red.
    Bad,
    /// A heading: bold.
    Head,
}

impl Output {
    /// Decides about colours from the environment.
    pub(crate) fn new(json: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            json,
            colour: !json && !no_colour && !dumb && io::stdout().is_terminal(),
        }
    }

    /// Prints bytes as they are.
    ///
    /// # Errors
    ///
    /// [`Error::BrokenPipe`] when nobody reads any more, [`Error::Io`] otherwise.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Result<()> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|source| match source.kind() {
                io::ErrorKind::BrokenPipe => Error::BrokenPipe,
                _ => Error::Io {
                    what: "cannot write to standard output".to_owned(),
                    source,
                },
            })
    }

    /// Prints a line.
    ///
    /// # Errors
    ///
    /// As [`Output::raw`].
    pub(crate) fn line(&self, line: &str) -> Result<()> {
        self.raw(format!("{line}\n").as_bytes())
    }

    /// Prints a value as JSON: on several lines for people who pipe it into a pager.
    ///
    /// # Errors
    ///
    /// As [`Output::raw`].
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::invalid("json", error.to_string()))?;
        self.line(&ascii_json(&text))
    }

    /// Prints a value as one line of JSON, for streams.
    ///
    /// # Errors
    ///
    /// As [`Output::raw`].
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(value)
            .map_err(|error| Error::invalid("json", error.to_string()))?;
        self.line(&ascii_json(&text))
    }

    /// Prints JSON or, without `--json`, the text that `human` makes.
    ///
    /// # Errors
    ///
    /// As [`Output::raw`].
    pub(crate) fn either(
        &self,
        value: &impl Serialize,
        human: impl FnOnce() -> String,
    ) -> Result<()> {
        if self.json {
            return self.json(value);
        }
        let text = human();
        self.raw(text.as_bytes())?;
        if text.ends_with('\n') || text.is_empty() {
            Ok(())
        } else {
            self.raw(b"\n")
        }
    }

    /// Text in a colour, when there are colours.
    pub(crate) fn paint(&self, tone: Tone, text: &str) -> String {
        if !self.colour {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Head => "1",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Ends a command with what it has found: a reader that has gone does not make a failure a success.
///
/// # Errors
///
/// `failure` when there is one and it was told, or nobody reads any more; otherwise what `told` says.
pub(crate) fn conclude(told: Result<()>, failure: Option<Error>) -> Result<()> {
    match (told, failure) {
        (Ok(()) | Err(Error::BrokenPipe), Some(failure)) => Err(failure),
        (told, _) => told,
    }
}

/// JSON with DEL and everything beyond ASCII, which stands in strings only, as `\uXXXX`: a terminal may act upon some of it.
pub(crate) fn ascii_json(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for character in text.chars() {
        if character < '\u{7f}' {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

/// A short note on standard error, for people; nothing with `--json`.
pub(crate) fn note(output: &Output, text: &str) {
    if !output.json {
        // Nobody is left to be told when standard error is gone.
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// A table with a heading; columns as wide as they must be.
#[derive(Debug)]
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; what stands in it has been made [`clean`] by the caller where it is foreign.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text.
    pub(crate) fn render(&self, output: &Output) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|cell| cell.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> = cells
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        let mut text = output.paint(Tone::Head, &line(&mut self.head.iter().copied()));
        text.push('\n');
        for row in &self.rows {
            text.push_str(&line(&mut row.iter().map(String::as_str)));
            text.push('\n');
        }
        text
    }
}

/// Rows of a name and a value, aligned.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name:<width$}  {value}\n"))
        .collect()
}

/// Foreign text made harmless: what is not ASCII, control characters, bytes that are not UTF-8, and every space behind a
/// space become escapes. Nothing in it looks like another row, column or letter.
pub(crate) fn clean(bytes: &[u8]) -> String {
    escape(bytes, false)
}

/// [`clean`] for what a validator says: letters of all scripts stay, what cannot be seen does not.
pub(crate) fn prose(bytes: &[u8]) -> String {
    escape(bytes, true)
}

fn escape(bytes: &[u8], letters: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut space = false;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                ' ' if space => text.push_str("\\x20"),
                '"' | '\'' => text.push(character),
                _ if letters || character.is_ascii() => text.extend(character.escape_debug()),
                _ => text.extend(character.escape_unicode()),
            }
            space = character == ' ';
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
            space = false;
        }
    }
    text
}

/// [`clean`] for an argument: quoted when a reader could not tell where it ends.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let text = clean(bytes);
    let plain = !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&byte));
    if plain {
        text
    } else {
        format!("\"{}\"", text.replace('"', "\\\""))
    }
}

/// `count` and the word, in the plural where it must be.
pub(crate) fn count(count: usize, word: &str) -> String {
    match count {
        1 => format!("1 {word}"),
        _ => format!("{count} {word}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Output = Output {
        json: false,
        colour: false,
    };

    #[test]
    fn tables_align_their_columns() {
        let mut table = Table::new(&["NAME", "N"]);
        table.row(vec!["a".into(), "1".into()]);
        table.row(vec!["longer".into(), "22".into()]);
        assert_eq!(table.render(&PLAIN), "NAME    N\na       1\nlonger  22\n");
    }

    #[test]
    fn colours_only_when_asked() {
        assert_eq!(PLAIN.paint(Tone::Bad, "x"), "x");
        let output = Output {
            json: false,
            colour: true,
        };
        for (tone, code) in [
            (Tone::Good, "32"),
            (Tone::Warn, "33"),
            (Tone::Bad, "31"),
            (Tone::Head, "1"),
        ] {
            assert_eq!(output.paint(tone, "x"), format!("\x1b[{code}mx\x1b[0m"));
        }
    }

    #[test]
    fn hostile_text_cannot_reach_the_terminal() {
        for (bytes, shown) in [
            (&b"/etc/passwd"[..], "/etc/passwd"),
            (b"\x1b[2J", "\\u{1b}[2J"),
            (b"a\nb\tc", "a\\nb\\tc"),
            (b"\xff\xfe", "\\xff\\xfe"),
            (b"back\\slash", "back\\\\slash"),
            ("\u{202e}txt".as_bytes(), "\\u{202e}txt"),
            ("\u{200b}".as_bytes(), "\\u{200b}"),
            ("\u{a0}".as_bytes(), "\\u{a0}"),
            ("größe".as_bytes(), "gr\\u{f6}\\u{df}e"),
            (b"a b", "a b"),
            (b"a   b  ", "a \\x20\\x20b \\x20"),
            (b"it's \"x\"", "it's \"x\""),
            (b"\x9b2J", "\\x9b2J"),
        ] {
            assert_eq!(clean(bytes), shown);
        }
        let reason = "größer,  \u{202e}x".as_bytes();
        assert_eq!(prose(reason), "größer, \\x20\\u{202e}x");
    }

    #[test]
    fn json_is_printable_ascii() {
        let text = serde_json::to_string("a\u{7f}\u{9b}ö\u{1f600}").unwrap();
        let shown = ascii_json(&text);
        assert_eq!(shown, r#""a\u007f\u009b\u00f6\ud83d\ude00""#);
        let read: String = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, "a\u{7f}\u{9b}ö\u{1f600}");
    }

    #[test]
    fn arguments_are_quoted_when_they_must_be() {
        for (bytes, shown) in [
            (&b"--flag=/x"[..], "--flag=/x"),
            (b"", "\"\""),
            (b"a b", "\"a b\""),
            (b"a\"b", "\"a\\\"b\""),
            (b"$(x)", "\"$(x)\""),
        ] {
            assert_eq!(quote(bytes), shown);
        }
    }

    #[test]
    fn pairs_align_their_values() {
        assert_eq!(
            pairs(&[("a", "1".into()), ("long", "2".into())]),
            "a     1\nlong  2\n"
        );
        assert_eq!(pairs(&[]), "");
    }

    #[test]
    fn a_failure_outlives_its_reader() {
        let broken = || Err(Error::BrokenPipe);
        for told in [Ok(()), broken()] {
            let end = conclude(told, Some(Error::Reported));
            assert!(matches!(end, Err(Error::Reported)), "{end:?}");
        }
        assert!(matches!(conclude(broken(), None), Err(Error::BrokenPipe)));
        assert!(conclude(Ok(()), None).is_ok());
        let full = Err(Error::invalid("full", "full"));
        let end = conclude(full, Some(Error::Reported));
        assert_eq!(end.unwrap_err().code(), "full");
    }

    #[test]
    fn counts_have_a_plural() {
        assert_eq!(count(1, "vote"), "1 vote");
        assert_eq!(count(0, "vote"), "0 votes");
    }
}
