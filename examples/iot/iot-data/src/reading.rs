//! What a reading is, what may be stored of a batch, and what its sender is told.

use std::collections::BTreeMap;

use bowline::{Code, HandlerError};
use serde::{Deserialize, Serialize};

/// The most readings of one batch.
pub(crate) const BATCH_MAX: usize = 1000;

/// The longest name of a device.
const DEVICE_MAX: usize = 64;

/// Values beyond are no sensor's.
const VALUE_MAX: f64 = 1e12;

/// How far a device's clock may be ahead.
const AHEAD_MAX_MS: i64 = 5 * 60 * 1000;

/// A reading, which its device and the device's own number of it name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Batch {
    pub(crate) readings: Vec<Reading>,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Receipt {
    /// Stored now.
    pub(crate) stored: usize,
    /// Stored before, or twice in the batch.
    pub(crate) duplicates: usize,
    /// Not stored, and not to be sent again.
    pub(crate) refused: Vec<Refused>,
}

/// A reading that was not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Refused {
    pub(crate) device: String,
    pub(crate) sequence: i64,
    pub(crate) reason: Reason,
}

/// Why a reading was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reason {
    /// Its name has other than 1 to 64 letters, digits, `-` and `_`, its number is below 0, or its value beyond 10¹².
    Malformed,
    /// It is older than what is kept: whether it was there already cannot be known.
    TooOld,
    /// Its device's clock is more than five minutes ahead.
    Ahead,
    /// Another reading has that number: the device counts anew.
    Conflict,
}

/// The names of readings, and the readings.
pub(crate) type ByName = BTreeMap<(String, i64), Reading>;

impl Reading {
    pub(crate) fn name(&self) -> (String, i64) {
        (self.device.clone(), self.sequence)
    }

    pub(crate) fn refused(&self, reason: Reason) -> Refused {
        Refused { device: self.device.clone(), sequence: self.sequence, reason }
    }

    /// Why it may not be stored, if so, where what was read before `oldest_ms` is kept no longer.
    fn fault(&self, now_ms: i64, oldest_ms: i64) -> Option<Reason> {
        if !is_device(&self.device) || self.sequence < 0 || !(-VALUE_MAX..=VALUE_MAX).contains(&self.value) {
            Some(Reason::Malformed)
        } else if self.at_ms < oldest_ms {
            Some(Reason::TooOld)
        } else if self.at_ms > now_ms.saturating_add(AHEAD_MAX_MS) {
            Some(Reason::Ahead)
        } else {
            None
        }
    }
}

impl Batch {
    /// What of it may be stored, each once, and what is known of the rest.
    ///
    /// # Errors
    /// Where it has none, or too many.
    pub(crate) fn sift(self, now_ms: i64, oldest_ms: i64) -> Result<(ByName, Receipt), HandlerError> {
        if !(1..=BATCH_MAX).contains(&self.readings.len()) {
            return Err(HandlerError::new(Code::Unprocessable, format!("readings: 1 to {BATCH_MAX} of them")));
        }
        let mut receipt = Receipt { stored: 0, duplicates: 0, refused: Vec::new() };
        let mut named = ByName::new();
        for reading in self.readings {
            if let Some(reason) = reading.fault(now_ms, oldest_ms) {
                receipt.refused.push(reading.refused(reason));
                continue;
            }
            match named.get(&reading.name()) {
                None => drop(named.insert(reading.name(), reading)),
                Some(other) => receipt.meet(&reading, other),
            }
        }
        Ok((named, receipt))
    }
}

impl Receipt {
    /// Books a reading whose name another has.
    pub(crate) fn meet(&mut self, reading: &Reading, other: &Reading) {
        if reading == other {
            self.duplicates += 1;
        } else {
            self.refused.push(reading.refused(Reason::Conflict));
        }
    }
}

/// Whether that may be the name of a device. It is part of paths.
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

    fn sift(readings: Vec<Reading>) -> Result<(ByName, Receipt), HandlerError> {
        Batch { readings }.sift(NOW_MS, NOW_MS - 1000)
    }

    #[test]
    fn what_may_not_be_stored_is_refused_and_the_rest_goes_on() {
        let bad = [
            (Reading { device: "../d".to_owned(), ..reading(1) }, Reason::Malformed),
            (Reading { device: String::new(), ..reading(1) }, Reason::Malformed),
            (Reading { device: "x".repeat(65), ..reading(1) }, Reason::Malformed),
            (Reading { value: 2e12, ..reading(1) }, Reason::Malformed),
            (Reading { value: f64::NAN, ..reading(1) }, Reason::Malformed),
            (reading(-1), Reason::Malformed),
            (Reading { at_ms: NOW_MS - 1001, ..reading(1) }, Reason::TooOld),
            (Reading { at_ms: NOW_MS + AHEAD_MAX_MS + 1, ..reading(1) }, Reason::Ahead),
        ];
        let readings = bad.iter().map(|(bad, _)| bad.clone()).chain([reading(7)]).collect();
        let (named, receipt) = sift(readings).unwrap();
        assert_eq!(named.into_values().collect::<Vec<_>>(), [reading(7)]);
        let reasons: Vec<_> = receipt.refused.iter().map(|refused| refused.reason).collect();
        assert_eq!(reasons, bad.map(|(_, reason)| reason));
    }

    #[test]
    fn a_reading_twice_in_a_batch_is_one_and_another_of_its_number_is_refused() {
        let other = Reading { value: 2.0, ..reading(1) };
        let (named, receipt) = sift(vec![reading(1), reading(1), other.clone()]).unwrap();
        assert_eq!((named.len(), receipt.duplicates), (1, 1));
        assert_eq!(receipt.refused, [other.refused(Reason::Conflict)]);
    }

    #[test]
    fn a_batch_is_bounded() {
        for count in [0, BATCH_MAX + 1] {
            assert_eq!(sift(vec![reading(1); count]).unwrap_err().code(), Code::Unprocessable);
        }
        assert!(sift(vec![reading(1); BATCH_MAX]).is_ok());
    }
}
