//! A fleet of generated devices, each watched by a detector of its own: the figures of the floors.

use crate::{
    Detector, Season, Settings,
    evaluation::{Report, episodes},
    generator::{Device, Plan},
};

/// The least share of the faults of each kind that has to be found.
pub const RECALL_MIN: f64 = 0.9;

/// The most wrong episodes for each device and day.
pub const WRONG_PER_DAY_MAX: f64 = 0.1;

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
        for kind in crate::Kind::ALL {
            if let Some(recall) = self.report.recall(Some(kind)).filter(|recall| *recall < RECALL_MIN) {
                misses.push(format!("recall of {kind} is {recall:.3}, below {RECALL_MIN}"));
            }
        }
        let wrong = self.report.wrong_per_day();
        if wrong > WRONG_PER_DAY_MAX {
            misses.push(format!("{wrong:.4} wrong episodes a device and day, above {WRONG_PER_DAY_MAX}"));
        }
        misses
    }
}
