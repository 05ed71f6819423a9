//! What is simulated, and against what.

use std::{net::SocketAddr, time::Duration};

use example_load::Host;
use iot_detect::{DAY_MS, generator::Plan};

use crate::{HOST, now_ms};

/// The most devices.
pub const DEVICES_MAX: u32 = 10_000;

/// The most days: readings are kept for seven, and a run takes its time.
pub const DAYS_MAX: i64 = 6;

/// The most readings of a message that the system takes.
pub const BATCH_MAX: usize = 100;

/// From one reading to the next of days that are played fast.
const INTERVAL_MS: i64 = 5 * 60 * 1000;

/// The shortest time between two readings of a device.
const INTERVAL_MIN_MS: i64 = 50;

/// What is simulated, and against what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The system through the gateway.
    pub host: Host,
    /// The broker.
    pub mqtt: SocketAddr,
    /// Devices of the same seed and time are the same.
    pub seed: u32,
    /// How many devices.
    pub devices: u32,
    /// The days that are played, as fast as they are acknowledged: they end about now.
    pub plan: Plan,
    /// What comes after them, as time passes.
    pub live: Option<Live>,
    /// For how long new readings are made, at most.
    pub length: Option<Duration>,
    /// Readings of a message, at most.
    pub batch: usize,
    /// The number of a device's first reading. It grows from run to run.
    pub first_sequence: i64,
}

/// Readings as time passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// From one to the next of a device.
    pub(crate) interval_ms: i64,
    /// For how long.
    pub(crate) length_ms: i64,
}

impl Live {
    /// So many readings in a second of all devices together, for so long.
    pub fn new(per_second: u32, devices: u32, length: Duration) -> Self {
        let interval_ms = i64::from(devices) * 1000 / i64::from(per_second.max(1));
        let length_ms = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
        Self { interval_ms: interval_ms.max(INTERVAL_MIN_MS), length_ms }
    }
}

impl Settings {
    /// A device through six days, with the API key of whoever may provision.
    ///
    /// # Errors
    /// When the key is no value of a header.
    pub fn new(gateway: SocketAddr, mqtt: SocketAddr, key: &str) -> anyhow::Result<Self> {
        let settings = Self {
            host: Host::new(gateway, HOST).with_key(key)?,
            mqtt,
            seed: 1,
            devices: 1,
            plan: Plan { interval_ms: INTERVAL_MS, ..Plan::of_equal_days(DAYS_MAX) },
            live: None,
            length: None,
            batch: 20,
            // Microseconds, since a device says less than a reading in one of them.
            first_sequence: now_ms() * 1000,
        };
        Ok(settings.days(DAYS_MAX))
    }

    /// The same with so many days.
    pub fn days(self, days: i64) -> Self {
        let end_ms = now_ms() / INTERVAL_MS * INTERVAL_MS;
        Self { plan: Plan { start_ms: end_ms - days * DAY_MS, days, ..self.plan }, ..self }
    }
}
