//! What a reading is, what of a batch is judged, and what its sender is told.

use bowline::{Code, HandlerError};
use serde::{Deserialize, Serialize};

/// The most readings of one batch.
pub(crate) const BATCH_MAX: usize = 1000;

/// The longest name of a device.
const DEVICE_MAX: usize = 64;

/// How far a device's clock may be ahead.
pub(crate) const AHEAD_MAX_MS: i64 = 5 * 60 * 1000;

/// A reading, which its device and the device's own number of it name.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reading {
    pub(crate) device: String,
    /// It grows with each reading of the device, also over its restarts.
    pub(crate) sequence: i64,
    /// When it was read, in milliseconds since 1970.
    pub(crate) at_ms: i64,
    pub(crate) value: f64,
}

/// Readings of any devices, in any order.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    pub(crate) readings: Vec<Reading>,
}

/// What became of readings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Receipt {
    /// Judged, or to be judged when their time has come.
    pub(crate) taken: usize,
    /// Told before.
    pub(crate) duplicates: usize,
    /// Read before one that was judged already.
    pub(crate) late: usize,
    /// Of a clock that is more than five minutes ahead.
    pub(crate) ahead: usize,
    /// Of a name, a number or a value that is none.
    pub(crate) malformed: usize,
    /// Of devices beyond those that there is room for.
    pub(crate) crowded: usize,
}

/// What became of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Taken,
    Duplicate,
    Late,
}

impl Receipt {
    pub(crate) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Taken => self.taken += 1,
            Outcome::Duplicate => self.duplicates += 1,
            Outcome::Late => self.late += 1,
        }
    }
}

impl Batch {
    /// What of it may be judged.
    ///
    /// # Errors
    /// Where it has none, or too many.
    pub(crate) fn sift(self, now_ms: i64) -> Result<(Vec<Reading>, Receipt), HandlerError> {
        if !(1..=BATCH_MAX).contains(&self.readings.len()) {
            return Err(HandlerError::new(Code::Unprocessable, format!("readings: 1 to {BATCH_MAX} of them")));
        }
        let mut receipt = Receipt::default();
        let mut readings = self.readings;
        readings.retain(|reading| {
            let is_well_formed = is_device(&reading.device)
                && reading.sequence >= 0
                && reading.at_ms >= 0
                && (-iot_detect::VALUE_MAX..=iot_detect::VALUE_MAX).contains(&reading.value);
            let is_ahead = reading.at_ms > now_ms.saturating_add(AHEAD_MAX_MS);
            receipt.malformed += usize::from(!is_well_formed);
            receipt.ahead += usize::from(is_well_formed && is_ahead);
            is_well_formed && !is_ahead
        });
        Ok((readings, receipt))
    }
}

/// Whether that may be the name of a device.
pub(crate) fn is_device(name: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=DEVICE_MAX).contains(&name.len()) && name.bytes().all(is_safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_000_000_000;

    fn reading(sequence: i64) -> Reading {
        Reading { device: "d-1".to_owned(), sequence, at_ms: NOW_MS, value: 1.5 }
    }

    #[test]
    fn what_may_not_be_judged_is_left_out_and_the_rest_goes_on() {
        let readings = vec![
            Reading { device: "../d".to_owned(), ..reading(1) },
            Reading { device: "x".repeat(65), ..reading(1) },
            Reading { value: f64::NAN, ..reading(1) },
            Reading { value: 2e12, ..reading(1) },
            Reading { at_ms: -1, ..reading(1) },
            reading(-1),
            Reading { at_ms: NOW_MS + AHEAD_MAX_MS + 1, ..reading(1) },
            reading(7),
        ];
        let (readings, receipt) = Batch { readings }.sift(NOW_MS).unwrap();
        assert_eq!(readings, [reading(7)]);
        assert_eq!(receipt, Receipt { malformed: 6, ahead: 1, ..Receipt::default() });
    }

    #[test]
    fn a_batch_is_bounded() {
        for count in [0, BATCH_MAX + 1] {
            let refused = Batch { readings: vec![reading(1); count] }.sift(NOW_MS).unwrap_err();
            assert_eq!(refused.code(), Code::Unprocessable);
        }
        assert!(Batch { readings: vec![reading(1); BATCH_MAX] }.sift(NOW_MS).is_ok());
    }
}
