//! Durations for people: three digits and one unit.

/// `512 ns`, `1.24 ms`, `35.1 s`.
pub(crate) fn short(nanos: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let nanos = nanos as f64;
    let (value, unit) = match nanos {
        n if n < 1e3 => (n, "ns"),
        n if n < 1e6 => (n / 1e3, "µs"),
        n if n < 1e9 => (n / 1e6, "ms"),
        n => (n / 1e9, "s"),
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
        for (nanos, text) in
            [(0, "0 ns"), (512, "512 ns"), (1_240_000, "1.24 ms"), (35_100_000_000, "35.1 s"), (123_456, "123 µs")]
        {
            assert_eq!(short(nanos), text);
        }
    }
}
