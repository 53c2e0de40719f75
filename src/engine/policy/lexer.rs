// SPDX-License-Identifier: GPL-2.0

//! Splits the text of a policy into statements and words.

use super::error::{
    ErrorKind,
    ParseError, //
};

/// One `WORD` or `KEY=VALUE`.
#[derive(Clone, Copy)]
pub(super) struct Token<'t> {
    /// The word, or the key.
    pub(super) word: &'t [u8],
    /// Column of the word.
    pub(super) column: u32,
    /// What follows the `=`; `None` without `=`.
    pub(super) value: Option<Value<'t>>,
}

/// A value, without its quotes.
#[derive(Clone, Copy)]
pub(super) struct Value<'t> {
    /// The bytes as they stand; with `escaped`, backslashes still to be removed.
    pub(super) raw: &'t [u8],
    /// Column of the first byte in `raw`.
    pub(super) column: u32,
    /// Whether `raw` holds a backslash that stands for the byte after it.
    pub(super) escaped: bool,
}

impl<'t> Value<'t> {
    /// Returns the bytes that the value stands for.
    pub(super) fn bytes(&self) -> impl Iterator<Item = u8> + 't {
        let escaped = self.escaped;
        let mut after_backslash = false;
        self.raw.iter().copied().filter(move |&byte| {
            after_backslash = escaped && byte == b'\\' && !after_backslash;
            !after_backslash
        })
    }
}

/// Reads a text from its start to its end.
pub(super) struct Lexer<'t> {
    text: &'t [u8],
    /// All bytes before this one are UTF-8.
    utf8_end: usize,
    /// The byte that is read next.
    at: usize,
    /// Line of that byte, from 1.
    line: u32,
    /// Where that line starts.
    line_start: usize,
}

impl<'t> Lexer<'t> {
    /// Starts at the beginning of `text`, which has at most [`POLICY_TEXT`] bytes.
    ///
    /// [`POLICY_TEXT`]: super::super::limits::POLICY_TEXT
    pub(super) fn new(text: &'t [u8]) -> Self {
        Self {
            text,
            utf8_end: match core::str::from_utf8(text) {
                Ok(_) => text.len(),
                Err(error) => error.valid_up_to(),
            },
            at: 0,
            line: 1,
            line_start: 0,
        }
    }

    /// Returns the number of the line that is read next.
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// Returns an error on the current line.
    pub(super) fn error(&self, column: u32, kind: ErrorKind) -> ParseError {
        ParseError {
            line: self.line,
            column,
            kind,
        }
    }

    /// Returns the place in the text of the byte that is read next.
    pub(super) fn place(&self) -> u32 {
        u32::try_from(self.at).unwrap_or(u32::MAX)
    }

    /// Returns the column of a place on the current line.
    fn column(&self, at: usize) -> u32 {
        u32::try_from(at.saturating_sub(self.line_start).saturating_add(1)).unwrap_or(u32::MAX)
    }

    /// Returns an error at the byte that is read next.
    fn error_here(&self, kind: ErrorKind) -> ParseError {
        self.error(self.column(self.at), kind)
    }

    /// Returns the byte that is read next, `None` at the end, having checked that it may stand in
    /// a policy at all.
    fn peek(&self) -> Result<Option<u8>, ParseError> {
        let Some(&byte) = self.text.get(self.at) else {
            return Ok(None);
        };
        if self.at >= self.utf8_end {
            return Err(self.error_here(ErrorKind::NotUtf8));
        }
        let control = match byte {
            b'\n' | b'\t' => None,
            0..=0x1f | 0x7f => Some(byte),
            // U+0080 to U+009F.
            0xc2 => self
                .text
                .get(self.at.saturating_add(1))
                .copied()
                .filter(|next| (0x80..=0x9f).contains(next)),
            _ => None,
        };
        match control {
            Some(byte) => Err(self.error_here(ErrorKind::Control(byte))),
            None => Ok(Some(byte)),
        }
    }

    /// Reads on while `wanted` says so.
    fn skip(&mut self, wanted: impl Fn(u8) -> bool) -> Result<(), ParseError> {
        while self.peek()?.is_some_and(&wanted) {
            self.at = self.at.saturating_add(1);
        }
        Ok(())
    }

    /// Returns the bytes from `start` to the one that is read next.
    fn since(&self, start: usize) -> &'t [u8] {
        self.text.get(start..self.at).unwrap_or(&[])
    }

    /// Reads spaces and a comment; returns whether a word follows on this line.
    fn reaches_word(&mut self) -> Result<bool, ParseError> {
        self.skip(|byte| matches!(byte, b' ' | b'\t'))?;
        if self.peek()? == Some(b'#') {
            self.skip(|byte| byte != b'\n')?;
        }
        match self.peek()? {
            Some(b'\n') => Ok(false),
            Some(_) => Ok(true),
            None => Err(self.error_here(ErrorKind::NoNewline)),
        }
    }

    /// Reads up to the next line with a statement; returns whether there is one.
    pub(super) fn next_statement(&mut self) -> Result<bool, ParseError> {
        while self.peek()?.is_some() {
            if self.reaches_word()? {
                return Ok(true);
            }
            self.end_line();
        }
        Ok(false)
    }

    /// Goes past the newline that is read next.
    pub(super) fn end_line(&mut self) {
        self.at = self.at.saturating_add(1);
        self.line = self.line.saturating_add(1);
        self.line_start = self.at;
    }

    /// Returns the next word of the line; `None` once its end is reached.
    pub(super) fn next_token(&mut self) -> Result<Option<Token<'t>>, ParseError> {
        if !self.reaches_word()? {
            return Ok(None);
        }
        let start = self.at;
        let column = self.column(start);
        self.skip(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'#' | b'"' | b'='))?;
        let word = self.since(start);
        let value = match self.peek()? {
            Some(b'=') => {
                self.at = self.at.saturating_add(1);
                Some(self.value()?)
            }
            Some(b'"') => return Err(self.error_here(ErrorKind::StrayQuote)),
            _ => None,
        };
        Ok(Some(Token {
            word,
            column,
            value,
        }))
    }

    /// Reads the value after a `=`.
    fn value(&mut self) -> Result<Value<'t>, ParseError> {
        if self.peek()? == Some(b'"') {
            return self.quoted();
        }
        let start = self.at;
        self.skip(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'#' | b'"'))?;
        if self.peek()? == Some(b'"') {
            return Err(self.error_here(ErrorKind::StrayQuote));
        }
        Ok(Value {
            raw: self.since(start),
            column: self.column(start),
            escaped: false,
        })
    }

    /// Reads a value in quotes.
    fn quoted(&mut self) -> Result<Value<'t>, ParseError> {
        let open = self.column(self.at);
        self.at = self.at.saturating_add(1);
        let start = self.at;
        let mut escaped = false;
        loop {
            self.skip(|byte| !matches!(byte, b'\n' | b'"' | b'\\'))?;
            match self.peek()? {
                Some(b'"') => break,
                Some(b'\\') => {
                    let backslash = self.column(self.at);
                    self.at = self.at.saturating_add(1);
                    if !matches!(self.peek()?, Some(b'"' | b'\\')) {
                        return Err(self.error(backslash, ErrorKind::BadEscape));
                    }
                    self.at = self.at.saturating_add(1);
                    escaped = true;
                }
                _ => return Err(self.error(open, ErrorKind::UnclosedQuote)),
            }
        }
        let raw = self.since(start);
        self.at = self.at.saturating_add(1);
        if !matches!(self.peek()?, None | Some(b' ' | b'\t' | b'\n' | b'#')) {
            return Err(self.error_here(ErrorKind::AfterQuote));
        }
        Ok(Value {
            raw,
            column: self.column(start),
            escaped,
        })
    }
}
