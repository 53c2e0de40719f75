// SPDX-License-Identifier: GPL-2.0

//! System calls with the error they end with.

use std::io;

/// The result of a system call of the C library, or its error.
///
/// # Errors
///
/// The errno, when the result is negative.
pub(crate) fn check<T: Default + PartialOrd>(result: T) -> io::Result<T> {
    if result < T::default() {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The number that a file of the kernel's begins a line with, after `key`; in such as `/proc/meminfo`.
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .trim_start_matches([':', ' ', '\t'])
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::{
        check,
        field, //
    };

    #[test]
    fn negative_results_are_errors() {
        assert!(check(0).is_ok());
        assert!(check(7i64).is_ok());
        assert!(check(-1).is_err());
    }

    #[test]
    fn fields_are_found() {
        let text = "MemTotal:  2048 kB\nMemFree:\t17 kB\ntasks 30001\nother x\n";
        assert_eq!(field(text, "MemFree"), Some(17));
        assert_eq!(field(text, "tasks"), Some(30001));
        assert_eq!(field(text, "other"), None);
        assert_eq!(field(text, "none"), None);
    }
}
