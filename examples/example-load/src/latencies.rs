//! How long answers took, and how that is printed.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;

/// How long answers took, in three digits.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        // Microseconds, up to two minutes.
        Self(Histogram::new_with_bounds(1, 120_000_000, 3).expect("the bounds are sound"))
    }
}

impl Latencies {
    /// Books one.
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Books all of another's.
    pub fn add(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// What such a share of them did not exceed, in milliseconds.
    #[expect(clippy::cast_precision_loss, reason = "they are bounded by two minutes")]
    pub fn quantile_ms(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e3
    }
}

impl fmt::Display for Latencies {
    #[expect(clippy::cast_precision_loss, reason = "they are bounded by two minutes")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "latency, ms")?;
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            writeln!(f, "  {name:<6} {:>9.2}", self.quantile_ms(share))?;
        }
        write!(f, "histogram")?;
        let steps = || self.0.iter_log(500, 2.0);
        let most = steps().map(|step| step.count_since_last_iteration()).max().unwrap_or(1).max(1);
        for step in steps() {
            let count = step.count_since_last_iteration();
            let bar = "█".repeat(usize::try_from((count * 40).div_ceil(most)).unwrap_or(40));
            write!(f, "\n  ≤ {:>8.1} ms {count:>8} {bar}", step.value_iterated_to() as f64 / 1e3)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_printed_as_it_is_read() {
        let (mut all, mut some) = (Latencies::default(), Latencies::default());
        for ms in 1..=90 {
            all.record(Duration::from_millis(ms));
        }
        for ms in 91..=100 {
            some.record(Duration::from_millis(ms));
        }
        all.add(&some);
        let text = all.to_string();
        assert!(
            text.starts_with("latency, ms\n  p50        50.02\n  p90        90.05\n  p99        99.01\n"),
            "{text}"
        );
        assert!(text.contains("\nhistogram\n  ≤ "), "{text}");
        assert!((99.0..99.1).contains(&all.quantile_ms(0.99)));
    }
}
