//! Devices that do not exist: temperatures through days and weeks, with noise, losses and labelled faults.
//!
//! The same seed and number are the same device, reading for reading, on every machine. A device is read one by one and
//! holds nothing of what it has said, so that a thousand of them are no burden.

use std::f64::consts::{PI, TAU};

use crate::{
    DAY_MS, HOUR_MS, Kind, Reading,
    evaluation::Fault,
    number::{real, real_count, whole},
    random::Random,
};

/// Monday, 5 January 2026.
const START_MS: i64 = 1_767_571_200_000;

/// Readings that a drift takes: a day of one in five minutes.
const DRIFT_COUNT: i64 = 288;

/// The chance that a reading is lost.
const LOSS: f64 = 0.005;

/// How late a reading may be.
const LATE_MAX_MS: i64 = 2000;

/// Over how many readings the weather changes: a day of one in five minutes.
const WEATHER_COUNT: f64 = 288.0;

/// Values are told in hundredths.
const RESOLUTION: f64 = 0.01;

/// What devices are to be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The first reading, in milliseconds since 1970.
    pub start_ms: i64,
    /// From reading to reading.
    pub interval_ms: i64,
    pub days: i64,
    /// Days at the beginning without a fault.
    pub quiet_days: i64,
    /// Whether Saturdays and Sundays differ.
    pub has_weekends: bool,
}

impl Default for Plan {
    /// Four weeks at one reading in five minutes, of which the first 15 days have no fault.
    fn default() -> Self {
        Self { start_ms: START_MS, interval_ms: 300_000, days: 28, quiet_days: 15, has_weekends: true }
    }
}

impl Plan {
    /// For a detector of equal days, which learns from three: the first fault comes after four.
    pub fn of_equal_days(days: i64) -> Self {
        Self { days, quiet_days: 4, has_weekends: false, ..Self::default() }
    }
}

/// One device: its readings, in the order of their times.
#[derive(Debug, Clone)]
pub struct Device {
    plan: Plan,
    curve: Curve,
    faults: Vec<Planned>,
    random: Random,
    number: i64,
    noise: f64,
    weather: f64,
    /// The last value told, and the one a stuck sensor tells.
    told: f64,
}

/// What a device's days look like.
#[derive(Debug, Clone)]
struct Curve {
    base: f64,
    sun: f64,
    peak_hour: f64,
    work: f64,
    work_hour: f64,
    weekend: f64,
    /// The deviation of the noise.
    deviation: f64,
    correlation: f64,
    /// The deviation of the weather.
    weather: f64,
}

/// A fault that is to come.
#[derive(Debug, Clone)]
struct Planned {
    kind: Kind,
    from_ms: i64,
    to_ms: i64,
    /// How far it moves values, in their unit.
    size: f64,
}

impl Device {
    /// The device of that number among those of a seed.
    pub fn new(seed: u64, number: u32, plan: Plan) -> Self {
        let mut random = Random::fork(seed, number);
        let curve = Curve::new(&mut random, plan.has_weekends);
        let faults = faults(&mut random, plan, curve.deviation);
        Self { plan, told: curve.base, curve, faults, random, number: 0, noise: 0.0, weather: 0.0 }
    }

    /// What is wrong with it, and when, in order.
    pub fn faults(&self) -> Vec<Fault> {
        let fault = |fault: &Planned| Fault { kind: Some(fault.kind), from_ms: fault.from_ms, to_ms: fault.to_ms };
        self.faults.iter().map(fault).collect()
    }

    /// When it has told everything.
    pub fn end_ms(&self) -> i64 {
        self.plan.start_ms + self.plan.days * DAY_MS
    }

    /// What a sensor without a fault would show.
    fn truth(&mut self, at_ms: i64) -> f64 {
        let Curve { deviation, correlation, weather, .. } = self.curve;
        let fresh = deviation * (1.0 - correlation * correlation).sqrt();
        self.noise = correlation * self.noise + fresh * self.random.normal();
        let calm = 1.0 - 1.0 / WEATHER_COUNT;
        self.weather = calm * self.weather + weather * (1.0 - calm * calm).sqrt() * self.random.normal();
        self.curve.at(at_ms) + self.noise + self.weather
    }
}

impl Iterator for Device {
    type Item = Reading;

    fn next(&mut self) -> Option<Reading> {
        loop {
            let due_ms = self.plan.start_ms + self.number * self.plan.interval_ms;
            if due_ms >= self.end_ms() {
                return None;
            }
            self.number += 1;
            let truth = self.truth(due_ms);
            let at_ms = due_ms + self.random.below(LATE_MAX_MS);
            let is_lost = self.random.is(LOSS);
            let fault = self.faults.iter().find(|fault| (fault.from_ms..fault.to_ms).contains(&due_ms));
            let value = match fault.map(|fault| (fault.kind, fault)) {
                Some((Kind::Dropout, _)) => continue,
                None if is_lost => continue,
                None => truth,
                Some((Kind::Stuck, _)) => self.told,
                Some((Kind::Spike | Kind::Shift, fault)) => truth + fault.size,
                Some((Kind::Drift, fault)) => {
                    truth + fault.size * real(due_ms - fault.from_ms) / real(fault.to_ms - fault.from_ms)
                }
            };
            self.told = real(whole(value / RESOLUTION)) / (1.0 / RESOLUTION);
            return Some(Reading { at_ms, value: self.told });
        }
    }
}

impl Curve {
    fn new(random: &mut Random, has_weekends: bool) -> Self {
        let deviation = random.between(0.2, 0.8);
        let curve = Self {
            base: random.between(5.0, 25.0),
            sun: random.between(2.0, 6.0),
            peak_hour: random.between(12.0, 16.0),
            work: random.between(1.0, 4.0),
            work_hour: random.between(5.0, 8.0),
            weekend: random.between(0.0, 0.6),
            deviation,
            correlation: random.between(0.3, 0.7),
            weather: deviation * random.between(0.0, 0.4),
        };
        if has_weekends { curve } else { Self { weekend: 1.0, ..curve } }
    }

    fn at(&self, at_ms: i64) -> f64 {
        let hour = real(at_ms.rem_euclid(DAY_MS)) / real(HOUR_MS);
        let sun = self.sun * (TAU * (hour - self.peak_hour) / 24.0).cos();
        // Who works in the building warms it, for 14 hours; less on Saturdays and Sundays.
        let share = ((hour - self.work_hour) / 14.0).clamp(0.0, 1.0);
        let weekday = (at_ms.div_euclid(DAY_MS) + 3).rem_euclid(7);
        let work = self.work * (PI * share).sin().powi(2) * if weekday < 5 { 1.0 } else { self.weekend };
        self.base + sun + work
    }
}

/// One fault in two days, each kind as often as the others, none before the quiet days are over.
fn faults(random: &mut Random, plan: Plan, deviation: f64) -> Vec<Planned> {
    let mut kinds = Kind::ALL;
    let mut faults = Vec::new();
    let slots = (plan.days - plan.quiet_days) / 2;
    for slot in 0..usize::try_from(slots).unwrap_or_default() {
        let turn = slot % kinds.len();
        if turn == 0 {
            random.shuffle(&mut kinds);
        }
        let day_ms = DAY_MS * (plan.quiet_days + 2 * whole(real_count(slot)));
        let in_day = random.below((DAY_MS / plan.interval_ms).max(1)) * plan.interval_ms;
        let from_ms = plan.start_ms + day_ms + in_day;
        // How many readings it takes, and how many deviations it moves them.
        let (count, size) = match kinds[turn] {
            Kind::Spike => (1 + random.below(2), random.between(6.0, 15.0)),
            Kind::Shift => (24 + random.below(49), random.between(4.0, 8.0)),
            Kind::Drift => (DRIFT_COUNT, random.between(5.0, 8.0)),
            Kind::Stuck => (24 + random.below(49), 0.0),
            Kind::Dropout => (12 + random.below(61), 0.0),
        };
        let sign = if random.is(0.5) { 1.0 } else { -1.0 };
        let to_ms = from_ms + count * plan.interval_ms;
        faults.push(Planned { kind: kinds[turn], from_ms, to_ms, size: sign * size * deviation });
    }
    faults
}
