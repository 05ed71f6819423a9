//! Times for people: UTC, to the second.

use jiff::Timestamp;

/// `2026-01-02 03:04:05Z` of milliseconds since 1970; what no year has is the last time that one has.
pub(crate) fn utc(unix_ms: u64) -> String {
    let at = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    at.unwrap_or(Timestamp::MAX).strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (unix_ms, text) in [
            (0, "1970-01-01 00:00:00Z"),
            (951_782_399_999, "2000-02-28 23:59:59Z"),
            (951_782_400_000, "2000-02-29 00:00:00Z"),
            (951_868_800_000, "2000-03-01 00:00:00Z"),
            (1_767_323_045_000, "2026-01-02 03:04:05Z"),
            (4_107_542_400_000, "2100-03-01 00:00:00Z"),
        ] {
            assert_eq!(utc(unix_ms), text);
        }
        // Whatever comes off the wire has a date.
        assert!(!utc(u64::MAX).is_empty());
    }
}
