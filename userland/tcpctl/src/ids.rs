// SPDX-License-Identifier: GPL-2.0

//! Identities of requests and validators, which may be abbreviated.

use crate::error::{
    Error,
    Result, //
};

/// Digits that an abbreviation must have.
const SHORTEST: usize = 8;
/// Digits of a whole identity.
const LONGEST: usize = 64;
/// Digits shown in tables.
const SHOWN: usize = 12;

/// An identity, or the beginning of one: 8 to 64 hexadecimal digits, lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefix(String);

/// Parses an identity for clap.
///
/// # Errors
///
/// A sentence for clap.
pub(crate) fn parse(text: &str) -> Result<Prefix, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits && (SHORTEST..=LONGEST).contains(&text.len()) {
        Ok(Prefix(text.to_ascii_lowercase()))
    } else {
        Err(format!(
            "`{text}` is not an id: give 8 to 64 hexadecimal digits"
        ))
    }
}

impl Prefix {
    /// The whole identity, when it is not abbreviated.
    pub(crate) fn whole(&self) -> Option<[u8; 32]> {
        hex::decode(&self.0).ok()?.try_into().ok()
    }

    /// Whether it stands for this identity.
    pub(crate) fn matches(&self, id: &[u8; 32]) -> bool {
        hex::encode(id).starts_with(&self.0)
    }

    /// The one thing among several whose identity it is.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] `CODE_unknown` or `ambiguous`.
    pub(crate) fn pick<T>(
        &self,
        what: &str,
        unknown: &'static str,
        all: Vec<T>,
        id: impl Fn(&T) -> &[u8; 32],
    ) -> Result<T> {
        let mut found = all.into_iter().filter(|one| self.matches(id(one)));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(Error::invalid(
                unknown,
                format!("no {what} {}: see `tcpctl {what} list`", self.0),
            )),
            (Some(_), Some(_)) => Err(Error::invalid(
                "ambiguous",
                format!("{} is the beginning of several: give more digits", self.0),
            )),
        }
    }
}

impl std::fmt::Display for Prefix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// An identity as tables show it.
pub(crate) fn short(id: &[u8; 32]) -> String {
    let mut text = hex::encode(id);
    text.truncate(SHOWN);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abbreviations_have_bounds() {
        assert!(parse("abcdef0").is_err());
        assert!(parse("abcdefg0").is_err());
        assert!(parse(&"a".repeat(65)).is_err());
        assert!(parse("").is_err());
        assert_eq!(parse("ABCDEF01").unwrap().to_string(), "abcdef01");
        assert_eq!(parse(&"ab".repeat(32)).unwrap().whole(), Some([0xab; 32]));
        assert_eq!(parse("abcdef01").unwrap().whole(), None);
    }

    #[test]
    fn an_abbreviation_must_mean_one_thing() {
        let mut other = [0xab; 32];
        other[31] = 0;
        let all = vec![[0xab; 32], other, [0xcd; 32]];
        let pick = |text: &str| {
            parse(text)
                .unwrap()
                .pick("request", "request_unknown", all.clone(), |id| id)
        };
        assert_eq!(pick("cdcdcdcd").unwrap(), [0xcd; 32]);
        assert_eq!(pick("abababab").unwrap_err().code(), "ambiguous");
        assert_eq!(pick(&hex::encode(other)).unwrap(), other);
        assert_eq!(pick("00000000").unwrap_err().code(), "request_unknown");
        assert_eq!(short(&[0xab; 32]), "abababababab");
    }
}
