//! What a model is asked about a device: its last hour, in numbers that are alike for all devices.
//!
//! They are of how far each value is from what the detector expects, in the device's usual deviations: so a sensor of
//! 5 °C and one of 25 °C, one that is noisy and one that is not, are asked about in the same way. Who trains and who
//! serves call the same [`Watch`].

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    Change, Detector, Event, HOUR_MS,
    number::{narrow, real, real_count},
};

/// The most readings of an hour that are looked at: the newest.
pub const WINDOW_MAX: usize = 120;

/// How many features there are.
pub const COUNT: usize = 9;

/// Their names, in the order of a row.
pub const NAMES: [&str; COUNT] = ["level", "spread", "slope", "jump", "peak", "last", "one_sided", "equal", "gap"];

/// The greatest that any of them is.
const FEATURE_MAX: f64 = 1000.0;

/// Features in the order of [`NAMES`].
pub type Row = [f32; COUNT];

/// What is known of an hour. Errors are how far a value is from what was expected, in usual deviations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Features {
    /// How far the mean error is from 0.
    pub level: f32,
    /// The standard deviation of errors.
    pub spread: f32,
    /// How steep the line through the errors is, in deviations an hour, up or down.
    pub slope: f32,
    /// The greatest difference between two readings that follow each other.
    pub jump: f32,
    /// The greatest error, up or down.
    pub peak: f32,
    /// The last error, up or down.
    pub last: f32,
    /// The share of errors that are on the side where most are.
    pub one_sided: f32,
    /// The share of readings that are equal to the one before.
    pub equal: f32,
    /// The longest time without a reading, as a multiple of the one in the middle.
    pub gap: f32,
}

impl Features {
    /// In the order of [`NAMES`].
    pub fn row(&self) -> Row {
        let Self { level, spread, slope, jump, peak, last, one_sided, equal, gap } = *self;
        [level, spread, slope, jump, peak, last, one_sided, equal, gap]
    }
}

/// The last hour of a device. It is bounded: [`WINDOW_MAX`] readings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The newest last.
    seen: VecDeque<Seen>,
    /// The last value, to tell an equal one.
    value: Option<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seen {
    at_ms: i64,
    /// 0 while nothing is expected.
    error: f32,
    is_equal: bool,
}

impl Window {
    fn push(&mut self, at_ms: i64, value: f64, error: f64) {
        let value = narrow(value);
        let is_equal = self.value.replace(value).is_some_and(|before| before.to_bits() == value.to_bits());
        self.seen.push_back(Seen { at_ms, error: narrow(error.clamp(-FEATURE_MAX, FEATURE_MAX)), is_equal });
        // The one before the hour stays, for the silence that may follow it.
        let is_old = |seen: Option<&Seen>| seen.is_some_and(|seen| seen.at_ms <= at_ms.saturating_sub(HOUR_MS));
        while self.seen.len() > WINDOW_MAX || is_old(self.seen.get(1)) {
            self.seen.pop_front();
        }
    }

    /// Of the hour until then.
    pub fn features(&self, until_ms: i64) -> Features {
        let from_ms = until_ms.saturating_sub(HOUR_MS);
        let hour = || self.seen.iter().filter(|seen| seen.at_ms > from_ms && seen.at_ms <= until_ms);
        let errors: Vec<(f64, f64)> =
            hour().map(|seen| (real(seen.at_ms - from_ms) / real(HOUR_MS), f64::from(seen.error))).collect();
        let line = Line::through(&errors);
        let peak = errors.iter().map(|(_, error)| error.abs()).fold(0.0, f64::max);
        let jump = errors.windows(2).map(|pair| (pair[1].1 - pair[0].1).abs()).fold(0.0, f64::max);
        let last = errors.last().map_or(0.0, |(_, error)| error.abs());
        let above = errors.iter().filter(|(_, error)| *error > 0.0).count();
        let one_sided = share(above.max(errors.len() - above), errors.len()).unwrap_or(0.5);
        let equal = share(hour().filter(|seen| seen.is_equal).count(), errors.len()).unwrap_or(0.0);
        let single = |number: f64| narrow(number.min(FEATURE_MAX));
        Features {
            level: single(line.mean.abs()),
            spread: single(line.spread),
            slope: single(line.slope.abs()),
            jump: single(jump),
            peak: single(peak),
            last: single(last),
            one_sided: single(one_sided),
            equal: single(equal),
            gap: single(self.gap(from_ms, until_ms)),
        }
    }

    /// The longest silence of the hour beside the usual one.
    fn gap(&self, from_ms: i64, until_ms: i64) -> f64 {
        // With the reading before the hour: a silence that reaches into it counts.
        let of_old = self.seen.iter().rfind(|seen| seen.at_ms <= from_ms);
        let of_hour = self.seen.iter().filter(|seen| seen.at_ms > from_ms && seen.at_ms <= until_ms);
        let times: Vec<i64> = of_old.into_iter().chain(of_hour).map(|seen| seen.at_ms).collect();
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        let usual_ms = gaps.get(gaps.len() / 2).copied().unwrap_or(HOUR_MS).max(1);
        let silence_ms = times.last().map_or(HOUR_MS, |last_ms| until_ms - last_ms);
        let longest_ms = gaps.last().copied().unwrap_or_default().max(silence_ms).max(usual_ms);
        real(longest_ms) / real(usual_ms)
    }
}

/// The straight line that is nearest to some points.
#[derive(Debug, Default)]
struct Line {
    mean: f64,
    spread: f64,
    slope: f64,
}

impl Line {
    fn through(points: &[(f64, f64)]) -> Self {
        if points.is_empty() {
            return Self::default();
        }
        let count = real_count(points.len());
        let middle = points.iter().map(|(at, _)| at).sum::<f64>() / count;
        let mean = points.iter().map(|(_, error)| error).sum::<f64>() / count;
        let (mut along, mut both, mut across) = (0.0, 0.0, 0.0);
        for (at, error) in points {
            along += (at - middle).powi(2);
            both += (at - middle) * (error - mean);
            across += (error - mean).powi(2);
        }
        let slope = if along > 0.0 { both / along } else { 0.0 };
        Self { mean, spread: (across / count).sqrt(), slope }
    }
}

fn share(part: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| real_count(part) / real_count(of))
}

/// A detector that keeps the last hour of its device.
#[derive(Debug, Clone)]
pub struct Watch {
    detector: Detector,
    window: Window,
}

/// Something began or ended; of what began, what a model is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub event: Event,
    /// None of what ended.
    pub features: Option<Features>,
}

impl Watch {
    /// Goes on where another was; with a new detector and `Window::default()`, a new one.
    pub fn new(detector: Detector, window: Window) -> Self {
        Self { detector, window }
    }

    /// The detector.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// The last hour.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// As [`Detector::observe`].
    pub fn observe(&mut self, at_ms: i64, value: f64) -> Vec<Told> {
        let mut told = self.tick(at_ms);
        let expected = self.detector.expected(at_ms).zip(self.detector.deviation(at_ms));
        let error = expected.map_or(0.0, |(expected, deviation)| (value - expected) / deviation);
        let events = self.detector.observe(at_ms, value);
        let is_newer = self.window.seen.back().is_none_or(|last| at_ms > last.at_ms);
        if value.is_finite() && is_newer {
            self.window.push(at_ms, value, error);
        }
        told.extend(events.into_iter().map(|event| self.told(event)));
        told
    }

    /// As [`Detector::tick`].
    pub fn tick(&mut self, now_ms: i64) -> Vec<Told> {
        let events = self.detector.tick(now_ms);
        events.into_iter().map(|event| self.told(event)).collect()
    }

    fn told(&self, event: Event) -> Told {
        let features = (event.change == Change::Began).then(|| self.window.features(event.at_ms));
        Told { event, features }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn window(errors: &[f64]) -> Window {
        let mut window = Window::default();
        for (number, error) in errors.iter().enumerate() {
            let number = i64::try_from(number).unwrap();
            window.push(number * 5 * MINUTE_MS, 20.0 + error, *error);
        }
        window
    }

    #[track_caller]
    fn assert_near(found: f32, expect: f64) {
        assert!((f64::from(found) - expect).abs() < 1e-3, "{found}, not {expect}");
    }

    #[test]
    fn an_hour_is_told_by_its_errors() {
        let features = window(&[0.0, 1.0, 2.0, 3.0]).features(15 * MINUTE_MS);
        assert_near(features.level, 1.5);
        assert_near(features.slope, 12.0);
        assert_near(features.spread, 1.25_f64.sqrt());
        assert_near(features.jump, 1.0);
        assert_near(features.peak, 3.0);
        assert_near(features.last, 3.0);
        assert_near(features.one_sided, 0.75);
        assert_near(features.equal, 0.0);
        assert_near(features.gap, 1.0);
    }

    #[test]
    fn equal_readings_and_silence_are_seen() {
        let stuck = window(&[0.5; 12]);
        assert_near(stuck.features(55 * MINUTE_MS).equal, 11.0 / 12.0);
        assert_near(stuck.features(75 * MINUTE_MS).gap, 4.0);
        let none = stuck.features(10 * HOUR_MS);
        assert_near(none.level, 0.0);
        assert_near(none.gap, 109.0 / 12.0);
    }

    #[test]
    fn it_is_bounded_and_of_an_hour() {
        let mut window = Window::default();
        for second in 0..10_000 {
            window.push(second * 1000, 1.0, 0.0);
            assert!(window.seen.len() <= WINDOW_MAX);
        }
        let mut window = Window::default();
        for hour in 0..100 {
            window.push(hour * 30 * MINUTE_MS, 1.0, 1e300);
        }
        assert_eq!(window.seen.len(), 3);
        assert!(window.features(50 * HOUR_MS).row().iter().all(|feature| feature.is_finite()));
    }

    #[test]
    fn what_is_kept_is_what_was() {
        let window = window(&[0.1, 0.7, -1.3]);
        let text = serde_json::to_string(&window).unwrap();
        assert_eq!(serde_json::from_str::<Window>(&text).unwrap(), window);
    }
}
