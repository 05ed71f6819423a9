//! How far values usually are from what is expected, and how much of that the one before has already said.
//!
//! Charts of control want values that are independent and of one scale; a sensor's are neither. So the error is
//! divided by its usual size, the median absolute deviation (Iglewicz and Hoaglin 1993), and freed of what follows from
//! the one before (Lu and Reynolds 1999): whitened. Both are learned in constant memory: the median by
//! stochastic approximation (Robbins and Monro 1951), the correlation by running means.

use serde::{Deserialize, Serialize};

use crate::number::{narrow, real};

/// From a median absolute deviation to a standard deviation, for a normal distribution.
pub(crate) const TO_DEVIATION: f64 = 1.4826;

/// The least share by which the median moves at each value: it follows within about a day of one in five minutes.
const STEP_MIN: f64 = 0.004;

/// The greatest.
const STEP_MAX: f64 = 0.2;

/// Over how many values the correlation is learned: three days of one in five minutes.
const CORRELATION_COUNT: f64 = 864.0;

/// Over how many values the centre is: a day of one in five minutes.
const CENTRE_COUNT: f64 = 288.0;

/// Beyond so many deviations a value counts no more than there.
const CLIP: f64 = 3.0;

/// So many deviations of the value before are taken off at most: what comes after a spike is no spike.
const CLIP_BEFORE: f64 = 4.0;

/// The greatest correlation that is believed.
const CORRELATION_MAX: f64 = 0.9;

/// Values before the scale is known.
const COUNT_MIN: u32 = 200;

/// What is known of errors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Noise {
    count: u32,
    /// The median of how far errors are from the centre.
    median: f32,
    centre: f32,
    /// Mean of the product of two that follow each other, in deviations.
    product: f32,
    /// Mean of the square, in deviations.
    square: f32,
    /// The last error.
    before: Option<f32>,
}

impl Noise {
    pub(crate) fn is_sound(&self) -> bool {
        let Self { count: _, median, centre, product, square, before } = self;
        [*median, *centre, *product, *square, before.unwrap_or_default()].iter().all(|number| number.is_finite())
    }

    pub(crate) fn is_known(&self) -> bool {
        self.count >= COUNT_MIN
    }

    /// The median error.
    pub(crate) fn median(&self) -> f64 {
        f64::from(self.median)
    }

    /// The deviation, which is not below the floor.
    pub(crate) fn scale(&self, floor: f64) -> f64 {
        (TO_DEVIATION * f64::from(self.median)).max(floor)
    }

    /// The correlation of two values that follow each other.
    fn correlation(&self) -> f64 {
        if self.square > 0.0 {
            (f64::from(self.product) / f64::from(self.square)).clamp(0.0, CORRELATION_MAX)
        } else {
            0.0
        }
    }

    /// The error in deviations, without what follows from the one so many steps before.
    pub(crate) fn whiten(&self, error: f64, floor: f64, steps: i32) -> f64 {
        let scale = self.scale(floor);
        let Some(before) = self.before else { return error / scale };
        let correlation = self.correlation().powi(steps);
        (error - correlation * f64::from(before)) / (scale * (1.0 - correlation * correlation).sqrt())
    }

    /// Learns from an error; `is_next` says that no value is missing between it and the one before.
    pub(crate) fn learn(&mut self, error: f64, floor: f64, is_next: bool) {
        self.count = self.count.saturating_add(1);
        let count = real(i64::from(self.count));
        let scale = if self.count == 1 { error.abs().max(floor) } else { self.scale(floor) };
        let centre = f64::from(self.centre);
        if self.count == 1 {
            self.median = narrow(scale / TO_DEVIATION);
        } else {
            let step = (2.0 / count).clamp(STEP_MIN, STEP_MAX);
            let is_beyond = (error - centre).abs() > f64::from(self.median);
            let median = f64::from(self.median) * if is_beyond { 1.0 + step } else { 1.0 - step };
            self.median = narrow(median.max(floor / 10.0));
        }
        let within = error.clamp(centre - CLIP_BEFORE * scale, centre + CLIP_BEFORE * scale);
        self.centre = narrow(centre + (within - centre) / count.min(CENTRE_COUNT));
        if let Some(before) = self.before.filter(|_| is_next) {
            let (now, before) = (clip(error / scale), clip(f64::from(before) / scale));
            let share = 1.0 / count.min(CORRELATION_COUNT);
            self.product = narrow(f64::from(self.product) + share * (now * before - f64::from(self.product)));
            self.square = narrow(f64::from(self.square) + share * (now * now - f64::from(self.square)));
        }
    }

    /// Keeps an error for the next one.
    pub(crate) fn follow(&mut self, error: f64, floor: f64) {
        let bound = CLIP_BEFORE * self.scale(floor);
        self.before = Some(narrow(error.clamp(-bound, bound)));
    }
}

fn clip(deviations: f64) -> f64 {
    deviations.clamp(-CLIP, CLIP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const SEED: u64 = 3;

    #[test]
    fn correlated_noise_becomes_white_and_of_one_scale() {
        println!("seed {SEED}");
        let (mut noise, mut random) = (Noise::default(), Random::fork(SEED, 0));
        let (mut error, mut before, mut count) = (0.0, 0.0, 0.0);
        let (mut squares, mut products) = (0.0, 0.0);
        for number in 0..20_000 {
            error = 0.6 * error + 0.4 * random.normal();
            if number >= 2000 {
                let white = noise.whiten(error, 0.01, 1);
                squares += white * white;
                products += white * before;
                before = white;
                count += 1.0;
            }
            noise.learn(error, 0.01, true);
            noise.follow(error, 0.01);
        }
        let (square, correlation) = (squares / count, products / squares);
        assert!((0.8..1.25).contains(&square), "{square}");
        assert!(correlation.abs() < 0.1, "{correlation}");
    }

    #[test]
    fn a_constant_keeps_its_floor() {
        let mut noise = Noise::default();
        for _ in 0..1000 {
            noise.learn(0.0, 0.01, true);
            noise.follow(0.0, 0.01);
        }
        assert!(noise.is_known() && noise.is_sound());
        assert!((noise.whiten(0.05, 0.01, 1) - 5.0).abs() < 1e-6);
    }
}
