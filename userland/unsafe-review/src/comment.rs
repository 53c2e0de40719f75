// SPDX-License-Identifier: GPL-2.0

//! Reads what comments say that unsafe code relies on.

/// How many lines of code of the same statement may stand between a comment and the word `unsafe`.
const REACH: usize = 6;

/// The lines of a source file.
pub(crate) struct Comments<'a>(Vec<&'a str>);

impl<'a> Comments<'a> {
    /// The comments of `source`.
    pub(crate) fn new(source: &'a str) -> Self {
        Self(source.lines().map(str::trim).collect())
    }

    /// The lines before `line` (from 1), the nearest first.
    fn above(&self, line: usize) -> impl Iterator<Item = &'a str> + '_ {
        self.0.iter().take(line.saturating_sub(1)).rev().copied()
    }

    /// What the comment says that belongs to the statement of `line`, after `SAFETY:`.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn safety_above(&self, line: usize) -> Result<String, String> {
        let code = self
            .above(line)
            .take_while(|text| !is_comment(text))
            .collect::<Vec<_>>();
        // Beyond the end or the beginning of something else, a comment is about that.
        let other = |text: &&str| text.is_empty() || text.ends_with([';', '{', '}']);
        if code.len() > REACH || code.iter().any(other) {
            return Err("no SAFETY comment".into());
        }
        let mut comment: Vec<&str> = self
            .above(line)
            .skip(code.len())
            .take_while(|text| is_comment(text))
            .map(|text| text.trim_start_matches('/').trim())
            .collect();
        comment.reverse();
        tagged(&comment, "SAFETY:").ok_or_else(|| "no SAFETY comment".into())
    }

    /// What the section `# Safety` of the documentation above `line` says.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn requirements_above(&self, line: usize) -> Result<String, String> {
        let mut documentation: Vec<&str> = self
            .above(line)
            .take_while(|text| text.starts_with("///") || text.starts_with("#["))
            .filter_map(|text| text.strip_prefix("///"))
            .map(str::trim)
            .collect();
        documentation.reverse();
        let section = documentation
            .iter()
            .skip_while(|text| **text != "# Safety")
            .skip(1)
            .take_while(|text| !text.starts_with('#'))
            .copied()
            .collect::<Vec<_>>()
            .join(" ");
        said(&section).ok_or_else(|| "no section \"# Safety\" in its documentation".into())
    }

    /// The comment just above `line`, whatever it says.
    ///
    /// # Errors
    ///
    /// There is none.
    pub(crate) fn any_above(&self, line: usize) -> Result<String, String> {
        let mut comment: Vec<&str> = self
            .above(line)
            .take_while(|text| is_comment(text))
            .map(|text| text.trim_start_matches('/').trim())
            .collect();
        comment.reverse();
        said(&comment.join(" ")).ok_or_else(|| "no comment that says what it relies on".into())
    }
}

fn is_comment(text: &str) -> bool {
    text.starts_with("//") && !text.starts_with("///") && !text.starts_with("//!")
}

fn said(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// What follows `tag` in a comment, up to the next such word (`INVARIANT:`, `CAST:`).
fn tagged(comment: &[&str], tag: &str) -> Option<String> {
    let start = comment.iter().rposition(|text| text.starts_with(tag))?;
    let mut lines = comment.iter().skip(start);
    let first = lines.next()?.strip_prefix(tag)?;
    let another = |text: &&&str| {
        let word = text.split(' ').next().unwrap_or_default();
        word.len() > 2
            && word.ends_with(':')
            && word
                .trim_end_matches(':')
                .chars()
                .all(|c| c.is_ascii_uppercase())
    };
    let rest = lines.take_while(|text| !another(text)).copied();
    said(
        &std::iter::once(first)
            .chain(rest)
            .collect::<Vec<_>>()
            .join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safety(source: &str) -> Result<String, String> {
        let line = 1 + source
            .lines()
            .position(|text| text.contains("unsafe"))
            .expect("unsafe");
        Comments::new(source).safety_above(line)
    }

    #[test]
    fn the_comment_of_the_statement_is_taken() {
        let text = "// INVARIANT: i\n// SAFETY: one\n//  two.\n// CAST: c\nlet x =\n    f(unsafe {";
        assert_eq!(safety(text).as_deref(), Ok("one two."));
    }

    #[test]
    fn the_comment_of_another_statement_is_not() {
        for between in ["y();", "}", "", "if z {"] {
            let text = format!("// SAFETY: one\n{between}\nunsafe {{");
            assert!(safety(&text).is_err(), "{between:?}");
        }
    }

    #[test]
    fn a_comment_that_says_nothing_of_it_is_none() {
        assert!(safety("// Fast.\nunsafe {").is_err());
        assert!(safety("// SAFETY:\nunsafe {").is_err());
        assert!(safety("/// SAFETY: in the documentation\nunsafe {").is_err());
    }

    #[test]
    fn a_function_has_a_section() {
        let comments =
            Comments::new("/// F.\n///\n/// # Safety\n///\n/// `a`\n/// b.\n#[inline]\nfn");
        assert_eq!(comments.requirements_above(8).as_deref(), Ok("`a` b."));
        assert!(Comments::new("/// F.\nfn").requirements_above(2).is_err());
    }
}
