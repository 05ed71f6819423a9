//! Keeps an outage from flooding the log: a line a second for each reason, the others only counted.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bowline_runtime::time::{self, Instant};

/// The time from one line to the next of the same reason.
const INTERVAL: Duration = Duration::from_secs(1);

/// The reasons with a gate of their own; any others share one.
const REASONS: [&str; 16] = [
    "no_backend",
    "no_instance",
    "breaker_open",
    "bulkhead_full",
    "bulkhead_timeout",
    "timeout",
    "upstream_connect",
    "upstream_refused",
    "upstream_reset",
    "upstream_malformed",
    "unsupported",
    "pool_full",
    "auth_keys_unavailable",
    "mesh_no_identity",
    "mesh_not_declared",
    "mesh_operation",
];

/// A gate for each reason. Shared by all workers; asking costs a comparison or two of words, a load
/// and an addition, and never waits.
#[derive(Debug)]
pub struct Gates {
    since: Instant,
    gates: [Gate; REASONS.len() + 1],
}

#[derive(Debug, Default)]
struct Gate {
    /// In milliseconds since the gates were made.
    next_at: AtomicU64,
    left_out: AtomicU64,
}

impl Default for Gates {
    fn default() -> Self {
        Self { since: time::now(), gates: Default::default() }
    }
}

impl Gates {
    /// Whether a line may be written: with how many were left out since the last one.
    pub fn admit(&self, reason: &str, now: Instant) -> Option<u64> {
        let place = REASONS.iter().position(|known| *known == reason).unwrap_or(REASONS.len());
        let Gate { next_at, left_out } = &self.gates[place];
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let now = millis(now.saturating_duration_since(self.since));
        let next = next_at.load(Relaxed);
        let is_open = now >= next && next_at.compare_exchange(next, now + millis(INTERVAL), Relaxed, Relaxed).is_ok();
        if is_open {
            Some(left_out.swap(0, Relaxed))
        } else {
            left_out.fetch_add(1, Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_for_each_reason() {
        let gates = Gates::default();
        let at = |millis| gates.since + Duration::from_millis(millis);
        assert_eq!(gates.admit("timeout", at(0)), Some(0));
        for millis in [0, 1, 999] {
            assert_eq!(gates.admit("timeout", at(millis)), None, "{millis}");
        }
        assert_eq!(gates.admit("breaker_open", at(999)), Some(0), "another reason has its own");
        assert_eq!(gates.admit("timeout", at(1000)), Some(3));
        assert_eq!(gates.admit("timeout", at(1999)), None);
        assert_eq!(gates.admit("timeout", at(60_000)), Some(1));
        assert_eq!((gates.admit("what", at(0)), gates.admit("ever", at(0))), (Some(0), None));
    }

    #[test]
    fn threads_at_once_lose_no_line() {
        let gates = Gates::default();
        let mut admitted = 0;
        let mut left_out = 0;
        for second in 1..=20 {
            let now = gates.since + INTERVAL * second;
            let answers = std::thread::scope(|scope| {
                let ask = || (0..1000).filter_map(|_| gates.admit("timeout", now)).collect::<Vec<_>>();
                let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
                asking.into_iter().flat_map(|each| each.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(answers.len(), 1);
            admitted += 1;
            left_out += answers[0];
        }
        left_out += gates.admit("timeout", gates.since + INTERVAL * 21).unwrap();
        assert_eq!(admitted + left_out, 20 * 4000);
    }
}
