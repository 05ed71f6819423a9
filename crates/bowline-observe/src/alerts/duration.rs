//! Durations as Prometheus writes them, `1h30m`, and times as RFC 3339 does.

use std::time::Duration;

/// Units, the largest first, in milliseconds. A year is 365 days.
const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Reads `5m`, `1h30m`, `0`: whole numbers with y, w, d, h, m, s or ms, each at most once, largest first.
pub(crate) fn parse(text: &str) -> Result<Duration, &'static str> {
    const RULE: &str = "write a number with a unit, the larger first: \"30s\", \"5m\", \"1h30m\"";
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut total_ms, mut rest, mut last) = (0u64, text, u64::MAX);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest[..digits].parse().map_err(|_| RULE)?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, unit_ms) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters]).ok_or(RULE)?;
        if *unit_ms >= last {
            return Err(RULE);
        }
        last = *unit_ms;
        let part = count.checked_mul(*unit_ms).ok_or("it is too long")?;
        total_ms = total_ms.checked_add(part).filter(|total| *total <= LONGEST_MS).ok_or("it is too long")?;
        rest = &rest[letters..];
    }
    if text.is_empty() { Err(RULE) } else { Ok(Duration::from_millis(total_ms)) }
}

/// A hundred years: adding it to a time never overflows.
const LONGEST_MS: u64 = 100 * 365 * 86_400_000;

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A time in milliseconds since 1970 as RFC 3339 in UTC: `2026-01-31T12:00:00.000Z`.
pub fn rfc3339(at_ms: i64) -> String {
    let (days, rest_ms) = (at_ms.div_euclid(86_400_000), at_ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (rest_ms / 3_600_000, rest_ms / 60_000 % 60, rest_ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", rest_ms % 1000)
}

/// Reads RFC 3339 with any offset, to milliseconds since 1970.
pub(crate) fn parse_rfc3339(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<i64>().ok()
    };
    let is_at = |at: usize, wanted: &[u8]| text.as_bytes().get(at).is_some_and(|byte| wanted.contains(byte));
    let is_shaped = is_at(4, b"-") && is_at(7, b"-") && is_at(10, b"Tt ") && is_at(13, b":") && is_at(16, b":");
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !is_shaped || !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut fraction_ms = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        fraction_ms = format!("{:0<3.3}", &fraction[..digits]).parse().ok()?;
        rest = &fraction[digits..];
    }
    let offset_ms = offset_minutes(rest)? * 60_000;
    let seconds = hour * 3600 + minute * 60 + second;
    Some(days_of(year, month, day) * 86_400_000 + seconds * 1000 + fraction_ms - offset_ms)
}

fn offset_minutes(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = text.get(1..)?.split_once(':')?;
    let is_valid = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_valid(hours) || !is_valid(minutes) {
        return None;
    }
    Some(sign * (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?))
}

/// Year, month and day of so many days since 1970, in the Gregorian calendar: years begin in March, so that the
/// leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days from 1970 to that day.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let month_shifted = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_prometheus() {
        for (text, seconds) in [("0", 0), ("5m", 300), ("1h30m", 5400), ("1d", 86_400), ("1w2d", 777_600)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("1500ms"), Ok(Duration::from_millis(1500)));
        for bad in ["", "5", "m", "1m1h", "1m1m", "-1s", "1.5s", "101y", "99999999999999999999s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_written_and_read() {
        for (at_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_102_444_799_001, "2099-12-31T23:59:59.001Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(at_ms), text);
            assert_eq!(parse_rfc3339(text), Some(at_ms));
        }
        assert_eq!(parse_rfc3339("2000-02-29T02:30:00+02:30"), Some(951_782_400_000));
        assert_eq!(parse_rfc3339("2000-02-29T00:00:00.1234567Z"), Some(951_782_400_123));
        for bad in ["", "2000-02-29", "2000-13-01T00:00:00Z", "2000-02-29T00:00:00", "2000-02-29T00:00:00+1:00", "ä"] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }
}
