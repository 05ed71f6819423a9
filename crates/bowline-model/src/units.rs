//! Values with units, as they are written in `bowline.toml`: durations, shares, sizes.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Reads `"250ms"`, `"2s"`, `"1h 30m"`: whole numbers with ns, us, ms, s, m, h or d, largest first.
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    const RULE: &str = "write a number with a unit: \"250ms\", \"2s\", \"1h 30m\"";
    let mut total = Duration::ZERO;
    let mut last_unit_ns = u64::MAX;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(RULE);
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: u64 = rest[..digits].parse().map_err(|_| RULE)?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit_ns = unit_ns(&rest[..letters]).ok_or(RULE)?;
        if unit_ns >= last_unit_ns {
            return Err("write the larger unit first, and each once: \"1h 30m\"");
        }
        last_unit_ns = unit_ns;
        let part = count.checked_mul(unit_ns).ok_or("it is longer than 500 years")?;
        total = total.checked_add(Duration::from_nanos(part)).ok_or("it is longer than 500 years")?;
        rest = rest[letters..].trim_start();
    }
    Ok(total)
}

fn unit_ns(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    })
}

/// Writes a duration so that [`parse_duration`] reads the same: `1h 30m`, `250ms`.
pub fn format_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 7] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let mut rest = duration.as_nanos();
    let mut parts = Vec::new();
    for (unit, size) in UNITS {
        if rest >= size {
            parts.push(format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Writes a duration that was measured for people, in two units at most: to the second above ten of them, to the
/// millisecond above one, rounded down.
pub fn rounded(duration: Duration) -> String {
    let unit = match duration {
        _ if duration >= Duration::from_hours(1) => Duration::from_mins(1),
        _ if duration >= Duration::from_secs(10) => Duration::from_secs(1),
        _ if duration >= Duration::from_millis(1) => Duration::from_millis(1),
        _ => Duration::from_micros(1),
    };
    let nanos = duration.as_nanos();
    format_duration(Duration::from_nanos_u128(nanos - nanos % unit.as_nanos()))
}

/// For `#[serde(with = "bowline_model::units::duration")]`: a duration as text with units.
pub mod duration {
    use super::{Deserialize, Deserializer, Duration, Serializer, de, format_duration, parse_duration};

    /// Writes it as text.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_duration(*duration))
    }

    /// Reads it from text.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map_err(de::Error::custom)
    }

    /// The same for an optional duration; absent is `None`.
    pub mod option {
        use super::{Deserialize, Deserializer, Duration, Serializer, de, format_duration, parse_duration};

        /// Writes it as text, or nothing.
        #[expect(clippy::ref_option, reason = "serde's signature")]
        pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => serializer.serialize_some(&format_duration(*duration)),
                None => serializer.serialize_none(),
            }
        }

        /// Reads it from text.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
            Option::<String>::deserialize(deserializer)?
                .map(|text| parse_duration(&text).map_err(de::Error::custom))
                .transpose()
        }
    }
}

/// So many in each period, at least one. As text: `"100/s"`, `"5000/h"`, `"10/m"`, `"1000/d"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    period: Duration,
}

impl Rate {
    /// The most that a rate counts in a period.
    pub const COUNT_MAX: u32 = 1_000_000;

    /// Reads a whole number, a slash and `s`, `m`, `h` or `d`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write how many in which time: \"100/s\", \"10/m\", \"5000/h\" or \"1000/d\"";
        let (count, unit) = text.split_once('/').ok_or(RULE)?;
        let count: u32 = count.trim().parse().map_err(|_| RULE)?;
        let seconds = match unit.trim() {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86400,
            _ => return Err(RULE),
        };
        if !(1..=Self::COUNT_MAX).contains(&count) {
            return Err("a rate is 1 to 1,000,000 in its time");
        }
        Ok(Self { count, period: Duration::from_secs(seconds) })
    }

    /// How many in each period, 1 to [`Rate::COUNT_MAX`].
    pub fn count(self) -> u32 {
        self.count
    }

    /// The period: a second, a minute, an hour or a day.
    pub fn period(self) -> Duration {
        self.period
    }

    /// The time between two at an even pace.
    pub fn interval(self) -> Duration {
        self.period / self.count
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.period.as_secs() {
            1 => "s",
            60 => "m",
            3600 => "h",
            _ => "d",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

/// A share of a whole, 0 % to 100 %, kept in millionths. As text: `"50%"`, `"0.5%"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Share(u32);

impl Share {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// All of it.
    pub const ALL: Self = Self(1_000_000);

    /// So many percent, up to 100.
    pub const fn from_percent(percent: u32) -> Self {
        assert!(percent <= 100, "a share is at most 100 %");
        Self(percent * 10_000)
    }

    /// So many thousandths, up to 1000.
    pub const fn from_thousandths(thousandths: u32) -> Self {
        assert!(thousandths <= 1000, "a share is at most 1000 thousandths");
        Self(thousandths * 1000)
    }

    /// Millionths, 0 to 1,000,000.
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// From 0 to 1.
    pub fn ratio(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ALL.0)
    }

    /// Whether `part` of `whole` is at least this share; false for an empty whole.
    pub fn is_reached_by(self, part: u64, whole: u64) -> bool {
        whole > 0 && u128::from(part) * 1_000_000 >= u128::from(whole) * u128::from(self.0)
    }

    /// Reads `"50%"` or `"0.25%"`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write a percentage from 0% to 100%, with at most four decimals: \"50%\"";
        let number = text.trim().strip_suffix('%').ok_or(RULE)?.trim_end();
        let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
        let all_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || whole.len() > 3 || decimals.len() > 4 || !all_digits(whole) || !all_digits(decimals) {
            return Err(RULE);
        }
        if number.ends_with('.') {
            return Err(RULE);
        }
        let whole: u32 = whole.parse().map_err(|_| RULE)?;
        let fraction: u32 = format!("{decimals:0<4}").parse().map_err(|_| RULE)?;
        let millionths = whole * 10_000 + fraction;
        if millionths > 1_000_000 { Err(RULE) } else { Ok(Self(millionths)) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 10_000, self.0 % 10_000);
        if fraction == 0 {
            return write!(f, "{whole}%");
        }
        write!(f, "{whole}.{}%", format!("{fraction:04}").trim_end_matches('0'))
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Reads a size in bytes: `"64 MiB"`, `"10KiB"`, `"512 B"`; units B, KiB, MiB, GiB.
pub fn parse_bytes(text: &str) -> Result<u64, &'static str> {
    const RULE: &str = "write a size with a unit: \"512 B\", \"64 KiB\", \"10 MiB\", \"1 GiB\"";
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count: u64 = text[..digits].parse().map_err(|_| RULE)?;
    let unit: u64 = match text[digits..].trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(RULE),
    };
    count.checked_mul(unit).ok_or("it is larger than 16 EiB")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates() {
        for text in ["1/s", "100/s", "10/m", "5000/h", "1000000/d"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Rate::parse("100/s").unwrap().interval(), Duration::from_millis(10));
        for bad in ["", "100", "/s", "0/s", "1000001/s", "-1/s", "1.5/s", "100/w", "100/10s"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1h 30m"), Ok(Duration::from_mins(90)));
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
        for bad in ["", "5", "s", "1.5s", "-1s", "30m 1h", "1s 1s", "1 s", "1w", "99999999999999999999s", "20000000d"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_measured_is_rounded() {
        for (nanos, text) in [
            (0, "0s"),
            (812_345, "812us"),
            (1_812_345, "1ms"),
            (7_502_526_967, "7s 502ms"),
            (10_002_016_464, "10s"),
            (65_002_016_464, "1m 5s"),
            (3_665_000_000_000, "1h 1m"),
        ] {
            assert_eq!(rounded(Duration::from_nanos(nanos)), text);
        }
    }

    #[test]
    fn shares() {
        assert_eq!(Share::parse("50%"), Ok(Share::from_percent(50)));
        assert_eq!(Share::parse("0.25%").unwrap().to_string(), "0.25%");
        for bad in ["", "%", "50", "101%", "-1%", "1.%", "0.00001%", "a%"] {
            assert!(Share::parse(bad).is_err(), "{bad}");
        }
        assert!(Share::from_percent(50).is_reached_by(1, 2));
        assert!(!Share::from_percent(50).is_reached_by(0, 0));
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_bytes("10 MiB"), Ok(10 << 20));
        assert_eq!(parse_bytes("1GiB"), Ok(1 << 30));
        for bad in ["", "10", "MiB", "10 MB", "1.5 MiB", "99999999999 GiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_reads_the_same(nanos in 0u64..u64::MAX / 2) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn a_written_share_reads_the_same(millionths in 0u32..=1_000_000) {
            prop_assert_eq!(Share::parse(&Share(millionths).to_string()), Ok(Share(millionths)));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            parse_duration(&text).ok();
            Share::parse(&text).ok();
            parse_bytes(&text).ok();
        }
    }
}
