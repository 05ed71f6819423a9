//! Durations for people: three digits and one unit.

/// `512 ns`, `1.24 ms`, `35.1 s`, `12.5 min`, `7.25 h`, `3.40 d`.
pub(crate) fn short(nanos: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let nanos = nanos as f64;
    let (value, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n if n < 60e9 => (n / 1e9, "s"),
        n if n < 3600e9 => (n / 60e9, "min"),
        n if n < 86_400e9 => (n / 3600e9, "h"),
        n => (n / 86_400e9, "d"),
    };
    let decimals = match value {
        v if unit == "ns" || v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits() {
        const SECOND: u64 = 1_000_000_000;
        for (nanos, text) in [
            (0, "0 ns"),
            (512, "512 ns"),
            (123_456, "123 µs"),
            (1_240_000, "1.24 ms"),
            (35_100_000_000, "35.1 s"),
            (60 * SECOND, "1.00 min"),
            (750 * SECOND, "12.5 min"),
            (26_100 * SECOND, "7.25 h"),
            (123_456 * SECOND, "1.43 d"),
            (1000 * 86_400 * SECOND, "1000 d"),
        ] {
            assert_eq!(short(nanos), text);
        }
    }
}
