//! How a model comes about: hours of generated devices, learning from healthy ones, the operating point, and how good it
//! is on devices that it has not seen.

use std::ops::Range;

use example_model::{
    Learned as _,
    metrics::{at_threshold, roc_auc, rounded, threshold_of_precision},
    real,
};
use iot_detect::{
    DAY_MS, Detector, HOUR_MS, Kind, Season, Settings,
    features::{Row, Watch, Window},
    generator::{Device, Plan},
};

use crate::{
    forest::{Forest, Params},
    model::{Metrics, Model, OfKind, Origin},
};

/// How precise the threshold has to be on the devices it is chosen by: nine of ten flagged hours have a fault.
const PRECISION: f64 = 0.9;

/// Devices of each of the three sets.
pub const DEVICES: u32 = 60;

/// From one hour that is looked at to the next: no multiple of anything that repeats.
const STEP_MS: i64 = 55 * 60 * 1000;

/// Hours of devices, and of each what was wrong in it.
#[derive(Debug, Clone, Default)]
pub struct Set {
    /// The features of each.
    pub rows: Vec<Row>,
    /// The fault that there was.
    pub labels: Vec<Option<Kind>>,
}

/// Three sets of devices, of which none is in two.
#[derive(Debug, Clone, Default)]
pub struct Sets {
    /// Healthy ones, which are learned from.
    pub train: Set,
    /// By which the threshold is chosen.
    pub valid: Set,
    /// What neither forest nor threshold have seen.
    pub test: Set,
}

impl Sets {
    /// Of a seed, with so many devices each.
    pub fn of(seed: u64, devices: u32) -> Self {
        let faulty = Plan::default();
        let healthy = Plan { quiet_days: faulty.days, ..faulty };
        Self {
            train: Set::of(seed, 0..devices, healthy),
            valid: Set::of(seed, devices..2 * devices, faulty),
            test: Self::test_of(seed, devices),
        }
    }

    /// The last of the three alone.
    pub fn test_of(seed: u64, devices: u32) -> Set {
        Set::of(seed, 2 * devices..3 * devices, Plan::default())
    }
}

impl Set {
    fn of(seed: u64, numbers: Range<u32>, plan: Plan) -> Self {
        let mut set = Self::default();
        for number in numbers {
            set.watch(Device::new(seed, number, plan), plan);
        }
        set
    }

    /// Watches a device as analytics does, and looks at its last hour from time to time.
    fn watch(&mut self, device: Device, plan: Plan) {
        let settings = Settings { season: Season::Weekly, ..Settings::default() };
        let mut watch = Watch::new(Detector::new(settings), Window::default());
        let (faults, end_ms) = (device.faults(), device.end_ms());
        let mut readings = device.peekable();
        let mut at_ms = plan.start_ms + settings.season.warm_up_ms() + DAY_MS;
        while at_ms < end_ms {
            while let Some(reading) = readings.next_if(|reading| reading.at_ms <= at_ms) {
                watch.observe(reading.at_ms, reading.value);
            }
            watch.tick(at_ms);
            let of_hour = faults.iter().find(|fault| fault.from_ms <= at_ms && at_ms - HOUR_MS < fault.to_ms);
            self.rows.push(watch.window().features(at_ms).row());
            self.labels.push(of_hour.and_then(|fault| fault.kind));
            at_ms += STEP_MS;
        }
    }

    fn is_faulty(&self) -> Vec<bool> {
        self.labels.iter().map(Option::is_some).collect()
    }
}

/// Trains a model on the devices of that seed.
pub fn train(seed: u64, devices: u32) -> Model {
    train_on(&Sets::of(seed, devices), seed, devices)
}

/// Trains a model on sets that are there already.
pub fn train_on(sets: &Sets, seed: u64, devices: u32) -> Model {
    let Sets { train, valid, test } = sets;
    let params = Params::default();
    let forest = Forest::learn(&train.rows, &params, seed);
    let threshold = threshold_of_precision(&scores(&forest, valid), &valid.is_faulty(), PRECISION);
    // It is compared as it is written. Where no threshold is as precise, nothing is flagged.
    let threshold = threshold.map_or(1.0, |threshold| (threshold * 10_000.0).ceil() / 10_000.0);
    let metrics = judge(&forest, threshold, test);
    let faulty = test.labels.iter().flatten().count();
    let data = Origin {
        seed,
        devices,
        trained_on: train.rows.len(),
        tested_on: test.rows.len(),
        fault_rate: rounded(real(faulty) / real(test.rows.len().max(1))),
    };
    Model::new(data, params, metrics, threshold, forest)
}

/// How good a model is on a set.
pub fn evaluate(model: &Model, set: &Set) -> Metrics {
    judge(model.forest(), model.threshold, set)
}

fn judge(forest: &Forest, threshold: f64, set: &Set) -> Metrics {
    let (scores, is_faulty) = (scores(forest, set), set.is_faulty());
    let operating = at_threshold(&scores, &is_faulty, threshold).rounded();
    let of_kind = |kind| {
        // Against all that is healthy.
        let meant = |label: &Option<Kind>| label.is_none_or(|label| label == kind);
        let (scores, labels): (Vec<f64>, Vec<bool>) = scores
            .iter()
            .zip(&set.labels)
            .filter(|(_, label)| meant(label))
            .map(|(score, label)| (*score, label.is_some()))
            .unzip();
        let recall = rounded(at_threshold(&scores, &labels, threshold).recall);
        OfKind { kind, roc_auc: rounded(roc_auc(&scores, &labels)), recall }
    };
    Metrics { roc_auc: rounded(roc_auc(&scores, &is_faulty)), operating, kinds: Kind::ALL.map(of_kind).to_vec() }
}

/// How unlike healthy hours each of a set is.
pub fn scores(forest: &Forest, set: &Set) -> Vec<f64> {
    set.rows.iter().map(|row| forest.score(row)).collect()
}
