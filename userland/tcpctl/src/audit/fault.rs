// SPDX-License-Identifier: GPL-2.0

//! What an auditor can find wrong with a log.

use std::fmt;

/// Something wrong, before it is known at which event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Short code for scripts; the table is in `Documentation/audit.rst`.
    pub(crate) code: &'static str,
    /// What was found.
    pub(crate) found: String,
    /// What should have been there.
    pub(crate) expected: String,
}

/// Result of one check.
pub(crate) type Checked<T = ()> = Result<T, Wrong>;

/// Makes the error of a check.
pub(crate) fn wrong(
    code: &'static str,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> Wrong {
    Wrong {
        code,
        found: found.into(),
        expected: expected.into(),
    }
}

/// Demands that two values are equal.
///
/// # Errors
///
/// [`Wrong`] with both of them.
pub(crate) fn same<T: PartialEq + fmt::Display>(
    code: &'static str,
    what: &str,
    found: T,
    expected: T,
) -> Checked {
    if found == expected {
        Ok(())
    } else {
        Err(wrong(
            code,
            format!("{what} is {found}"),
            expected.to_string(),
        ))
    }
}

/// The same for digests, which are shown in hexadecimal.
///
/// # Errors
///
/// [`Wrong`] with both of them.
pub(crate) fn same_digest(
    code: &'static str,
    what: &str,
    found: &[u8; 32],
    expected: &[u8; 32],
) -> Checked {
    if found == expected {
        Ok(())
    } else {
        Err(wrong(
            code,
            format!("{what} is {}", hex::encode(found)),
            hex::encode(expected),
        ))
    }
}

/// The first thing that is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The event, where it could be read that far; [`None`] for what concerns the log as a whole.
    pub(crate) event: Option<u64>,
    /// Name of its kind.
    pub(crate) kind: Option<&'static str>,
    /// The file that it stands in.
    pub(crate) file: String,
    /// What is wrong.
    pub(crate) wrong: Wrong,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.event, self.kind) {
            (Some(number), Some(kind)) => write!(f, "event {number} {kind}: ")?,
            (Some(number), None) => write!(f, "event {number}: ")?,
            _ => {}
        }
        write!(f, "{}: {}", self.wrong.code, self.wrong.found)?;
        if !self.wrong.expected.is_empty() {
            write!(f, "; expected: {}", self.wrong.expected)?;
        }
        if !self.file.is_empty() {
            write!(f, " ({})", crate::output::clean(self.file.as_bytes()))?;
        }
        Ok(())
    }
}
