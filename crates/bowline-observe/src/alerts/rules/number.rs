//! Numbers for people: as Go prints them, and with prefixes.

/// A number as Go's `%v` prints it.
pub(super) fn plain(value: f64) -> String {
    if !value.is_finite() {
        return unusual(value);
    }
    if value != 0.0 && !(1e-4..1e21).contains(&value.abs()) {
        return exponent(&format!("{value:e}"));
    }
    format!("{value}")
}

/// A number as Go's `%.Nf` prints it.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { unusual(value) }
}

/// A number as Go's `%.4g` prints it.
pub(super) fn short(value: f64) -> String {
    const DIGITS: usize = 4;
    if !value.is_finite() {
        return unusual(value);
    }
    let scientific = format!("{value:.*e}", DIGITS - 1);
    let (mantissa, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = power.parse().unwrap_or_default();
    match usize::try_from(power) {
        Ok(power) if power < DIGITS => without_zeros(&format!("{value:.*}", DIGITS - 1 - power)),
        Err(_) if power >= -4 => {
            let decimals = DIGITS - 1 + usize::try_from(-power).unwrap_or_default();
            without_zeros(&format!("{value:.decimals$}"))
        }
        _ => exponent(&format!("{}e{power}", without_zeros(mantissa))),
    }
}

/// `1.235M`, `12m`: with a prefix of powers of that base.
pub(super) fn humanized(value: f64, base: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return short(value);
    }
    if value.abs() < 1.0 {
        // Prefixes of powers of 1024 are for large numbers only.
        return if base > 1000.0 { short(value) } else { small(value) };
    }
    let prefixes: [&str; 8] = if base > 1000.0 {
        ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"]
    } else {
        ["k", "M", "G", "T", "P", "E", "Z", "Y"]
    };
    let (mut scaled, mut prefix) = (value, "");
    for next in prefixes {
        if scaled.abs() < base {
            break;
        }
        (scaled, prefix) = (scaled / base, next);
    }
    short(scaled) + prefix
}

/// A share as a percentage.
pub(super) fn percentage(value: f64) -> String {
    short(value * 100.0) + "%"
}

/// Seconds as `1d 2h 3m 4s`, `120ms`.
#[expect(clippy::cast_possible_truncation, reason = "bounded before")]
pub(super) fn duration(seconds: f64) -> String {
    /// Beyond it whole seconds are not told apart.
    const WHOLE_MAX: f64 = 9e15;
    if !seconds.is_finite() || seconds.abs() > WHOLE_MAX {
        return short(seconds);
    }
    if seconds == 0.0 {
        return "0s".to_owned();
    }
    if seconds.abs() < 1.0 {
        return small(seconds) + "s";
    }
    let sign = if seconds < 0.0 { "-" } else { "" };
    let whole = seconds.abs() as i64;
    let (days, hours, minutes, rest) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => short(seconds) + "s",
        (0, 0, _) => format!("{sign}{minutes}m {rest}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {rest}s"),
        (_, _, _) => format!("{sign}{days}d {hours}h {minutes}m {rest}s"),
    }
}

fn small(value: f64) -> String {
    let (mut scaled, mut prefix) = (value, "");
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if scaled.abs() >= 1.0 {
            break;
        }
        (scaled, prefix) = (scaled * 1000.0, next);
    }
    short(scaled) + prefix
}

fn unusual(value: f64) -> String {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
    .to_owned()
}

fn without_zeros(text: &str) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

/// `1e6` as Go writes it: a sign, and two digits at least.
fn exponent(text: &str) -> String {
    let (mantissa, power) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, digits) = power.strip_prefix('-').map_or(('+', power), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_go_does() {
        for (value, text) in [(0.0, "0"), (0.5, "0.5"), (1e6, "1000000"), (1e21, "1e+21"), (0.00001, "1e-05")] {
            assert_eq!(plain(value), text);
        }
        for (value, text) in
            [(1234.5, "1234"), (12345.0, "1.234e+04"), (0.012_34, "0.01234"), (99.996, "100"), (1e-5, "1e-05")]
        {
            assert_eq!(short(value), text);
        }
        assert_eq!(
            (plain(f64::NAN), fixed(f64::INFINITY, 2), fixed(2.0 / 3.0, 2)),
            ("NaN".into(), "+Inf".into(), "0.67".into())
        );
    }

    #[test]
    fn numbers_are_humanized_as_prometheus_does() {
        for (value, text) in [(0.0, "0"), (1.0, "1"), (1_234_567.0, "1.235M"), (0.12, "120m"), (-2000.0, "-2k")] {
            assert_eq!(humanized(value, 1000.0), text);
        }
        assert_eq!(humanized(1_048_576.0, 1024.0), "1Mi");
        assert_eq!(percentage(0.1234), "12.34%");
        for (value, text) in [
            (0.0, "0s"),
            (0.1, "100ms"),
            (1.5, "1.5s"),
            (61.0, "1m 1s"),
            (3600.0, "1h 0m 0s"),
            (90_061.0, "1d 1h 1m 1s"),
        ] {
            assert_eq!(duration(value), text);
        }
    }
}
