//! A fleet of generated devices, each watched by a detector of its own: the figures of the floors.

use crate::{
    Detector, HOUR_MS, Kind, Season, Settings,
    evaluation::{Report, episodes},
    generator::{Device, Plan},
};

/// A minute, in milliseconds.
const MINUTE_MS: i64 = HOUR_MS / 60;

/// The least share of the faults of each kind that has to be found.
pub const RECALL_MIN: f64 = 0.9;

/// The least share of the episodes of each kind that has to be right.
pub const PRECISION_MIN: f64 = 0.95;

/// The most wrong episodes for each device and day.
pub const WRONG_PER_DAY_MAX: f64 = 0.02;

/// The least share of the faults of a kind that an episode of that kind has to find: what other charts notice of a drift is
/// no work of the one for drifts. A shift that is large enough may be taken for a spike, and be over.
pub fn named_min(kind: Kind) -> f64 {
    if kind == Kind::Shift { 0.8 } else { 0.9 }
}

/// How long after its beginning nine of ten of the faults that are found have to be, at most.
pub fn delay_ms_max(kind: Kind) -> i64 {
    match kind {
        // A reading is up to so late.
        Kind::Spike => MINUTE_MS,
        Kind::Dropout => 20 * MINUTE_MS,
        Kind::Stuck => HOUR_MS,
        Kind::Shift => 2 * HOUR_MS,
        Kind::Drift => 18 * HOUR_MS,
    }
}

/// What was simulated, and what was found.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub readings: u64,
    pub report: Report,
}

/// Watches the devices of a seed from the first to the last reading.
pub fn run(seed: u64, devices: u32, plan: Plan) -> Outcome {
    let mut outcome = Outcome { readings: 0, report: Report::default() };
    let season = if plan.has_weekends { Season::Weekly } else { Season::Daily };
    for number in 0..devices {
        let mut device = Device::new(seed, number, plan);
        let mut detector = Detector::new(Settings { season, ..Settings::default() });
        let mut events = Vec::new();
        for reading in device.by_ref() {
            events.extend(detector.observe(reading.at_ms, reading.value));
            outcome.readings += 1;
        }
        events.extend(detector.tick(device.end_ms()));
        let judged_ms = device.end_ms() - plan.start_ms - season.warm_up_ms();
        outcome.report.add(&device.faults(), &episodes(events), judged_ms);
    }
    outcome
}

impl Outcome {
    /// What is below the floors, a line each.
    pub fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        for kind in Kind::ALL {
            for (name, share, least) in [
                ("recall", self.report.recall(Some(kind)), RECALL_MIN),
                ("recall by its own name", self.report.named(kind), named_min(kind)),
                ("precision", self.report.precision(kind), PRECISION_MIN),
            ] {
                if let Some(share) = share.filter(|share| *share < least) {
                    misses.push(format!("{name} of {kind} is {share:.3}, below {least}"));
                }
            }
            let (delay_ms, most_ms) = (self.report.delay_ms(Some(kind), 0.9), delay_ms_max(kind));
            if let Some(delay_ms) = delay_ms.filter(|delay_ms| *delay_ms > most_ms) {
                let minutes = (delay_ms / MINUTE_MS, most_ms / MINUTE_MS);
                misses.push(format!("{kind} is found after {} minutes, above {}", minutes.0, minutes.1));
            }
        }
        let wrong = self.report.wrong_per_day();
        if wrong > WRONG_PER_DAY_MAX {
            misses.push(format!("{wrong:.4} wrong episodes a device and day, above {WRONG_PER_DAY_MAX}"));
        }
        misses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::{Episode, Fault};

    /// What is missed where each of ten drifts of a day has that episode, so long after its beginning.
    fn misses(kind: Kind, after_ms: i64) -> Vec<String> {
        let mut outcome = Outcome { readings: 0, report: Report::default() };
        let fault = Fault { kind: Some(Kind::Drift), from_ms: 0, to_ms: 24 * HOUR_MS };
        let episode = Episode { kind, from_ms: after_ms, to_ms: None, score: 2.0 };
        for _ in 0..10 {
            outcome.report.add(&[fault], &[episode], 24 * HOUR_MS);
        }
        outcome.misses()
    }

    #[test]
    fn what_is_found_by_another_name_or_late_or_for_nothing_is_below_the_floors() {
        assert_eq!(misses(Kind::Drift, 18 * HOUR_MS), [""; 0]);
        assert_eq!(misses(Kind::Shift, HOUR_MS), ["recall by its own name of drift is 0.000, below 0.9"]);
        assert_eq!(misses(Kind::Drift, 19 * HOUR_MS), ["drift is found after 1140 minutes, above 1080"]);
        let wrong = misses(Kind::Drift, 27 * HOUR_MS);
        assert!(wrong.contains(&"precision of drift is 0.000, below 0.95".to_owned()), "{wrong:?}");
        assert!(wrong.iter().any(|miss| miss.starts_with("1.0000 wrong episodes")), "{wrong:?}");
    }
}
