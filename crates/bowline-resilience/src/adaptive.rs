//! How many calls at a time a callee bears, found out by how long they take.
//!
//! A gradient: calls under way are as many as before times how much longer they take than at rest, and a few more.
//!
//! ```text
//! gradient = clamp(1.5 × rest / now, 0.5, 1)      of mean latencies, each of a window of time
//! limit    = 0.8 × limit + 0.2 × (limit × gradient + √limit)
//! ```
//!
//! - **Why a gradient and not AIMD**: AIMD needs losses to find the limit, which are what it is to prevent; the
//!   latency tells of a queue before anything is lost. Losses count too: where they are a share of a window that is no
//!   noise ([`DROPS_MIN`]), the limit falls by a tenth, once a window. A single one of thousands moves nothing.
//! - **Why not Gradient2 as it is**: its latency at rest is a long average, which under an overload that lasts becomes
//!   the overload's own, and the limit creeps up to its end. Here the latency at rest is taken over where it is seen at
//!   rest: in windows with less than half of the limit in use, with the limit at its least, or in a **probe**: after
//!   [`PROBE_AFTER`] windows in which calls took too long, the limit is halved for two windows, one for what is under way
//!   to drain and one to measure (about 1 % of the throughput, of a callee that is overloaded all the time). It is
//!   taken over at once by half where it is lower. That is Envoy's `minRTT`, without its phase of very few calls.
//! - **It begins at its least**, so that what is taken for rest is rest, and grows by half each window until calls first
//!   take too long: from 4 to 1,000 in less than two seconds.
//! - **Only where it is used**: with less than half of it under way, the limit does not grow.
//! - A fixed point: a callee that works at `c` calls at once and queues the rest is given about `1.5 c + √c`.
//!
//! Sources: Netflix `concurrency-limits`, `Gradient2Limit` and `WindowedLimit` (formula, smoothing, windows); Envoy,
//! "Adaptive Concurrency" (latency at rest at the least concurrency, headroom √limit).

use bowline_model::policy::Concurrency;
use bowline_runtime::time::{Duration, Instant};

/// At least so long is looked at before the limit moves.
pub const WINDOW: Duration = Duration::from_millis(100);

/// At least so many calls are.
pub const SAMPLES_MIN: u32 = 10;

/// The limit falls where one of so many calls of a window was dropped: what is rarer happens to a callee that is well.
pub const DROPS_MIN: u32 = 100;

/// After so many windows in which calls took too long, the latency at rest is measured anew.
pub const PROBE_AFTER: u32 = 100;

/// What the limit grows by each window at first.
const START_FACTOR: f64 = 1.5;
/// What is left of the limit while the latency at rest is measured.
const PROBE_FACTOR: f64 = 0.5;
/// How much longer than at rest a call may take before the limit falls.
const TOLERANCE: f64 = 1.5;
const SMOOTHING: f64 = 0.2;
/// What is left of the limit after a window in which calls were dropped.
const AFTER_DROP: f64 = 0.9;
/// How fast the latency at rest rises and falls, as the share of a window's that is taken over.
const RISE: f64 = 0.1;
const FALL: f64 = 0.5;

/// How one call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How long it took, from when it got its place.
    pub latency: Duration,
    /// How many were under way when it ended, itself included.
    pub in_flight: u32,
    /// Whether it came to nothing since the callee had too much to do: it timed out, or was turned away. Its latency
    /// is not looked at.
    pub was_dropped: bool,
}

/// The limit, and what it was found by. A value: [`Gradient::step`] makes the next of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gradient {
    bounds: Concurrency,
    limit: f64,
    /// Mean latency at rest, in nanoseconds; `None` until the first window has ended.
    at_rest: Option<f64>,
    phase: Phase,
    window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    /// Calls never took too long yet.
    Starting,
    /// They did, in so many windows since the last probe.
    Running { slow_count: u32 },
    /// The limit is halved, and what was under way before drains.
    Draining { limit: f64 },
    /// The latency at rest is measured.
    Measuring { limit: f64 },
}

/// What was seen since the limit was last looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Window {
    began: Option<Instant>,
    /// Calls that came to an end of their own.
    count: u32,
    /// Of their latencies, in nanoseconds.
    sum: f64,
    in_flight_max: u32,
    dropped_count: u32,
}

impl Gradient {
    /// Between those bounds; it begins at the least.
    pub fn new(bounds: Concurrency) -> Self {
        let limit = f64::from(bounds.min);
        Self { bounds, limit, at_rest: None, phase: Phase::Starting, window: Window::default() }
    }

    /// How many there may be at a time; within the bounds.
    pub fn limit(&self) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within the bounds")]
        let limit = self.limit as u32;
        limit.min(self.bounds.max).max(self.bounds.min)
    }

    /// The latency that calls have at rest, as far as it is known.
    pub fn at_rest(&self) -> Option<Duration> {
        self.at_rest.map(|nanos| Duration::from_secs_f64(nanos / 1e9))
    }

    /// One more call has ended. The limit moves when a window is over: [`WINDOW`] and [`SAMPLES_MIN`] calls, those
    /// included that were dropped.
    #[must_use]
    pub fn step(self, sample: Sample, now: Instant) -> Self {
        let window = self.window.with(sample, now);
        let is_over = window.began.is_some_and(|began| now.saturating_duration_since(began) >= WINDOW);
        if is_over && window.total() >= SAMPLES_MIN { self.moved(window) } else { Self { window, ..self } }
    }

    fn moved(self, window: Window) -> Self {
        let fresh = Self { window: Window::default(), ..self };
        let mean = (window.count > 0).then(|| (window.sum / f64::from(window.count)).max(1.0));
        match (self.phase, mean) {
            (Phase::Draining { limit }, _) => Self { phase: Phase::Measuring { limit }, ..fresh },
            (Phase::Measuring { limit }, mean) => {
                let phase = Phase::Running { slow_count: 0 };
                Self { at_rest: mean.or(self.at_rest), phase, ..fresh }.limited(limit)
            }
            _ if window.has_drops() => {
                Self { phase: Phase::Running { slow_count: 0 }, ..fresh }.limited(self.limit * AFTER_DROP)
            }
            (_, None) => fresh,
            (_, Some(mean)) => fresh.followed(&window, mean),
        }
    }

    /// After a window in which calls took that long.
    fn followed(self, window: &Window, mean: f64) -> Self {
        let at_rest = self.at_rest_after(window, mean);
        let gradient = (TOLERANCE * at_rest / mean).clamp(0.5, 1.0);
        let phase = self.phase.after(gradient < 1.0, self.limit);
        let next = Self { at_rest: Some(at_rest), phase, ..self };
        let is_used = f64::from(window.in_flight_max) * 2.0 >= self.limit;
        match phase {
            Phase::Draining { .. } => next.limited(self.limit * PROBE_FACTOR),
            Phase::Starting if is_used => next.limited(self.limit * START_FACTOR),
            _ => {
                let aim = self.limit * gradient + self.limit.sqrt();
                let limit = self.limit + SMOOTHING * (aim - self.limit);
                next.limited(if is_used { limit } else { limit.min(self.limit) })
            }
        }
    }

    fn limited(self, limit: f64) -> Self {
        Self { limit: limit.clamp(f64::from(self.bounds.min), f64::from(self.bounds.max)), ..self }
    }

    fn at_rest_after(&self, window: &Window, mean: f64) -> f64 {
        let Some(before) = self.at_rest else { return mean };
        let is_at_rest = f64::from(window.in_flight_max) * 2.0 < self.limit || self.limit() == self.bounds.min;
        match mean < before {
            true => before + FALL * (mean - before),
            false if is_at_rest => before + RISE * (mean - before),
            false => before,
        }
    }
}

impl Phase {
    /// After a window in which calls took too long, or did not. A probe goes back to that limit.
    fn after(self, is_slow: bool, limit: f64) -> Self {
        match self {
            Self::Starting if is_slow => Self::Running { slow_count: 1 },
            Self::Running { slow_count } if is_slow && slow_count + 1 >= PROBE_AFTER => Self::Draining { limit },
            Self::Running { slow_count } if is_slow => Self::Running { slow_count: slow_count + 1 },
            phase => phase,
        }
    }
}

impl Window {
    fn with(self, sample: Sample, now: Instant) -> Self {
        let Sample { latency, in_flight, was_dropped } = sample;
        let (count, sum) = if was_dropped { (0, 0.0) } else { (1, latency.as_secs_f64() * 1e9) };
        Self {
            began: self.began.or(Some(now)),
            count: self.count.saturating_add(count),
            sum: self.sum + sum,
            in_flight_max: self.in_flight_max.max(in_flight),
            dropped_count: self.dropped_count.saturating_add(u32::from(was_dropped)),
        }
    }

    fn total(&self) -> u32 {
        self.count.saturating_add(self.dropped_count)
    }

    /// Whether so many were dropped that the callee had too much to do.
    fn has_drops(&self) -> bool {
        self.dropped_count.saturating_mul(DROPS_MIN) >= self.total()
    }
}

#[cfg(test)]
mod tests {
    use bowline_runtime::time;
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Concurrency = Concurrency { min: 4, max: 1000 };

    /// A callee that works at `capacity` calls at once, each for `work`, and queues the rest. As many come as the limit
    /// allows, or `callers`, until `seconds` are over.
    fn driven(
        mut gradient: Gradient,
        now: &mut Instant,
        capacity: u32,
        work: f64,
        callers: u32,
        seconds: f64,
    ) -> Gradient {
        let mut left = seconds;
        while left > 0.0 {
            let in_flight = gradient.limit().min(callers);
            let latency = work * (f64::from(in_flight) / f64::from(capacity)).max(1.0);
            left -= latency;
            *now += Duration::from_secs_f64(latency);
            for _ in 0..in_flight {
                let sample = Sample { latency: Duration::from_secs_f64(latency), in_flight, was_dropped: false };
                gradient = gradient.step(sample, *now);
            }
        }
        gradient
    }

    #[test]
    fn it_finds_what_a_callee_bears_and_stays_there() {
        for capacity in [4, 10, 50, 200] {
            let mut now = time::now();
            let found = driven(Gradient::new(BOUNDS), &mut now, capacity, 0.01, u32::MAX, 60.0).limit();
            let later = driven(Gradient::new(BOUNDS), &mut now, capacity, 0.01, u32::MAX, 600.0).limit();
            assert!((capacity..=capacity * 3).contains(&found), "{capacity}: {found}");
            assert!(found.abs_diff(later) <= found / 5 + 1, "{capacity}: {found}, then {later}: it does not creep");
        }
    }

    #[test]
    fn it_follows_a_callee_that_loses_half_of_its_capacity() {
        let mut now = time::now();
        let full = driven(Gradient::new(BOUNDS), &mut now, 100, 0.01, u32::MAX, 60.0);
        let half = driven(full, &mut now, 50, 0.01, u32::MAX, 60.0);
        assert!((50..=150).contains(&half.limit()), "{half:?}");
        let again = driven(half, &mut now, 100, 0.01, u32::MAX, 60.0);
        assert!((100..=300).contains(&again.limit()), "{again:?}");
    }

    #[test]
    fn a_callee_that_became_slower_of_itself_is_not_starved_for_ever() {
        let mut now = time::now();
        let quick = driven(Gradient::new(BOUNDS), &mut now, 100, 0.01, u32::MAX, 60.0);
        let slow = driven(quick, &mut now, 100, 0.05, u32::MAX, 300.0);
        assert!(slow.limit() >= 100, "{slow:?}");
    }

    #[test]
    fn it_does_not_grow_where_it_is_not_used() {
        let mut now = time::now();
        let idle = driven(Gradient::new(BOUNDS), &mut now, 100, 0.01, 3, 60.0);
        assert!(idle.limit() <= 9, "it grows while half of it is used: {idle:?}");
    }

    /// A window of a thousand calls at rest, so many of them dropped, and what is left of a limit of 500.
    fn after_a_window_with_drops(dropped: u32) -> u32 {
        let now = time::now();
        let at_rest = Some(1e7);
        let before =
            Gradient { limit: 500.0, at_rest, phase: Phase::Running { slow_count: 0 }, ..Gradient::new(BOUNDS) };
        let sample = |was_dropped| Sample { latency: Duration::from_millis(10), in_flight: 400, was_dropped };
        let window = (0..1000).fold(before, |gradient, at| gradient.step(sample(at < dropped), now + WINDOW / 2));
        window.step(sample(false), now + WINDOW * 2).limit()
    }

    #[test]
    fn a_few_drops_of_many_calls_are_noise_and_a_share_of_them_is_not() {
        let undisturbed = after_a_window_with_drops(0);
        assert!(undisturbed > 500, "{undisturbed}");
        assert_eq!([1, 9].map(after_a_window_with_drops), [undisturbed; 2]);
        assert_eq!([11, 500, 1000].map(after_a_window_with_drops), [450; 3]);
    }

    #[test]
    fn a_drop_or_two_are_no_window() {
        let now = time::now();
        let dropped = Sample { latency: Duration::ZERO, in_flight: 20, was_dropped: true };
        let before = Gradient { limit: 20.0, ..Gradient::new(BOUNDS) };
        let rare = (0..9).fold(before, |gradient, at| gradient.step(dropped, now + WINDOW * at));
        assert_eq!(rare.limit(), 20);
        assert_eq!(rare.step(dropped, now + WINDOW * 9).limit(), 18);
    }

    #[test]
    fn drops_lower_it_once_a_window() {
        let now = time::now();
        let dropped = Sample { latency: Duration::ZERO, in_flight: 20, was_dropped: true };
        let first = Gradient { limit: 20.0, ..Gradient::new(BOUNDS) }.step(dropped, now);
        let burst = (0..1000).fold(first, |gradient, _| gradient.step(dropped, now + WINDOW / 2));
        assert_eq!(burst.limit(), 20);
        assert_eq!(burst.step(dropped, now + WINDOW).limit(), 18);
    }

    proptest! {
        #[test]
        fn it_is_always_within_its_bounds(
            min in 1u32..50, more in 0u32..500,
            samples in proptest::collection::vec((0u64..10_000_000_000, 0u32..2000, any::<bool>(), 0u64..1000), 0..300),
        ) {
            let bounds = Concurrency { min, max: min + more };
            let mut now = time::now();
            let mut gradient = Gradient::new(bounds);
            for (latency, in_flight, was_dropped, millis) in samples {
                now += Duration::from_millis(millis);
                let latency = Duration::from_nanos(latency);
                gradient = gradient.step(Sample { latency, in_flight, was_dropped }, now);
                prop_assert!((bounds.min..=bounds.max).contains(&gradient.limit()));
                prop_assert!(gradient.limit.is_finite());
            }
        }
    }
}
