//! What the service counts, and what it says seldom.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bowline::runtime::{
    metric::{Counter, Gauge, Registry},
    time::{self, Instant},
};
use iot_mqtt::topic::Said;

/// How long after something was said it is said again.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Its metrics.
#[derive(Debug)]
pub(crate) struct Counts {
    pub(crate) connected: Gauge,
    pub(crate) disconnected: Gauge,
    /// By what became of them.
    pub(crate) stored: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) refused: Counter,
    /// Calls of data that it did not answer with success.
    pub(crate) failures: Counter,
    /// Commands by how they ended.
    pub(crate) done: Counter,
    pub(crate) failed: Counter,
    pub(crate) expired: Counter,
    /// Acknowledgements of commands that had ended, or that nobody knows.
    pub(crate) late: Counter,
    /// By what was to be said, in the order of [`Said::ALL`].
    pub(crate) malformed: [Counter; 4],
    unknown: [Counter; 4],
    pub(crate) unkept: [Counter; 4],
    dropped: Counter,
    pub(crate) links: [Gauge; 2],
    said: Mutex<Option<Instant>>,
}

/// Why what a device said is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal<'a> {
    /// What is wrong with it.
    Malformed(&'a str),
    /// There is no such device.
    NoDevice,
    /// The database does not take it.
    Unkept,
}

impl Counts {
    pub(crate) fn new(registry: &Registry) -> Self {
        let devices = |state| registry.gauge("iot_devices", "Devices there are.", &[("state", state)]);
        let readings = |outcome| {
            let help = "Readings that devices sent, by what became of them.";
            registry.counter("iot_device_readings_total", help, &[("outcome", outcome)])
        };
        let commands = |state| {
            let help = "Commands that ended, by how, and acknowledgements that came too late.";
            registry.counter("iot_device_commands_total", help, &[("state", state)])
        };
        let refused = |reason| {
            let help = "Messages of devices that were not taken.";
            let counter = |said: Said| {
                registry.counter("iot_device_refused_total", help, &[("topic", said.word()), ("reason", reason)])
            };
            Said::ALL.map(counter)
        };
        let link = |client| {
            registry.gauge("iot_device_mqtt_connected", "Whether the broker is connected.", &[("client", client)])
        };
        Self {
            connected: devices("connected"),
            disconnected: devices("disconnected"),
            stored: readings("stored"),
            duplicates: readings("duplicate"),
            refused: readings("refused"),
            failures: registry.counter(
                "iot_device_data_failures_total",
                "Calls of data that it did not answer with success, and that were made again.",
                &[],
            ),
            done: commands("done"),
            failed: commands("failed"),
            expired: commands("expired"),
            late: commands("late"),
            malformed: refused("malformed"),
            unknown: refused("no_device"),
            unkept: refused("unkept"),
            dropped: registry.counter(
                "iot_device_dropped_total",
                "Messages of QoS 0 for which there was no room.",
                &[],
            ),
            links: [link(crate::link::CONTROL), link(crate::link::READINGS)],
            said: Mutex::default(),
        }
    }

    /// What a device said is not taken: counted, and logged seldom, as whoever sends nonsense sends much of it.
    pub(crate) fn refuse(&self, device: &str, said: Said, refusal: Refusal<'_>) {
        let (counters, why) = match refusal {
            Refusal::Malformed(why) => (&self.malformed, why),
            Refusal::NoDevice => (&self.unknown, "there is no such device"),
            Refusal::Unkept => (&self.unkept, "the database does not take it"),
        };
        let at = Said::ALL.iter().position(|it| *it == said);
        at.and_then(|at| counters.get(at)).into_iter().for_each(Counter::increment);
        if self.is_to_be_said() {
            tracing::warn!(device, topic = said.word(), why, "what a device said is not taken");
        }
    }

    /// There was no room for a message of QoS 0.
    pub(crate) fn drop_message(&self) {
        self.dropped.increment();
        if self.is_to_be_said() {
            tracing::warn!("messages of QoS 0 are dropped, there are too many");
        }
    }

    fn is_to_be_said(&self) -> bool {
        let (now, mut said) = (time::now(), self.said.lock().unwrap_or_else(PoisonError::into_inner));
        let is_due = said.is_none_or(|said| now >= said + SAID_EVERY);
        if is_due {
            *said = Some(now);
        }
        is_due
    }
}
