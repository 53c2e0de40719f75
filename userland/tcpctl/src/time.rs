// SPDX-License-Identifier: GPL-2.0

//! Durations and times, as people read and write them.

use std::time::{
    Duration,
    SystemTime,
    UNIX_EPOCH, //
};

/// Parses `N`, `Ns`, `Nm`, `Nh` or `Nd`: a whole number of seconds, minutes, hours or days, at least one second.
///
/// # Errors
///
/// A message for clap when the text is anything else, or too large.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write 30s, 10m, 2h or 1d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86400,
        _ => return Err(wrong()),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let seconds = number
        .checked_mul(unit)
        .filter(|seconds| (1..=366 * 86400).contains(seconds))
        .ok_or_else(|| format!("`{text}` is out of range: from 1s to 366d"))?;
    Ok(Duration::from_secs(seconds))
}

/// A duration in its two largest units: `9m 58s`, `2h 5m`, `3d 1h`, `0s`.
pub(crate) fn human_duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    let parts = [
        (days, "d"),
        (hours, "h"),
        (minutes, "m"),
        (seconds % 60, "s"),
    ];
    let first = parts
        .iter()
        .position(|(value, _)| *value > 0)
        .unwrap_or(parts.len() - 1);
    parts
        .iter()
        .skip(first)
        .take(2)
        .enumerate()
        .filter(|(at, (value, _))| *at == 0 || *value > 0)
        .map(|(_, (value, unit))| format!("{value}{unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// A moment in UTC, `2026-11-23 00:41:07 UTC`, from milliseconds since 1970.
pub(crate) fn human_time(wall_ms: u64) -> String {
    let seconds = wall_ms / 1000;
    let (days, rest) = (seconds / 86400, seconds % 86400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Year, month and day of a count of days since 1970-01-01, in the Gregorian calendar.
///
/// Counts from 0000-03-01, so that the leap day ends a year: 146097 days are 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map(|elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in [
            ("1", 1),
            ("30s", 30),
            ("10m", 600),
            ("2h", 7200),
            ("1d", 86400),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn bad_durations_are_refused() {
        for text in [
            "",
            "s",
            "0s",
            "-1s",
            "1.5h",
            "1w",
            "1 s",
            "+1s",
            "367d",
            "1sm",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_in_two_units() {
        for (ms, text) in [
            (0, "0s"),
            (999, "0s"),
            (61_000, "1m 1s"),
            (60_000, "1m"),
            (7_505_000, "2h 5m"),
            (3_600_000 + 5_000, "1h"),
            (90_000_000, "1d 1h"),
        ] {
            assert_eq!(human_duration(ms), text);
        }
    }

    #[test]
    fn times_are_gregorian_utc() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_798_761_600, "2027-01-01 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(human_time(seconds * 1000), text);
        }
        assert!(wall_ms() > 1_700_000_000_000);
    }
}
