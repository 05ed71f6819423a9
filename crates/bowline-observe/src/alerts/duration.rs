//! Durations as Prometheus writes them, `1h30m`, and times as RFC 3339 does.

use std::time::Duration;

use jiff::Timestamp;

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

/// A time in milliseconds since 1970 as RFC 3339 in UTC: `2026-01-31T12:00:00.000Z`; what no year has is the first
/// or the last time that one has.
pub fn rfc3339(at_ms: i64) -> String {
    let bounds = (Timestamp::MIN.as_millisecond(), Timestamp::MAX.as_millisecond());
    let at = Timestamp::from_millisecond(at_ms.clamp(bounds.0, bounds.1)).expect("it is within the bounds");
    format!("{at:.3}")
}

/// Reads RFC 3339 with any offset, to milliseconds since 1970.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse().ok().map(Timestamp::as_millisecond)
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
