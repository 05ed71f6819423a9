//! What a topic counts, the same whatever keeps it.

use bowline_runtime::metric::{Counter, Gauge, Registry};

use crate::delivery::{Effect, End};

/// The cells of one topic.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Messages that are durable.
    pub published: Counter,
    delivered: Counter,
    redelivered: Counter,
    acked: Counter,
    expired: Counter,
    dead: Counter,
    /// Messages that could not be read, and were passed over in the end.
    pub lost: Counter,
    /// Batches that could not be written.
    pub write_failures: Counter,
    /// Bytes on disk, without dead letters.
    pub bytes: Gauge,
}

impl Metrics {
    /// The cells of that topic.
    pub fn new(registry: &Registry, topic: &str) -> Self {
        let counter = |name, help| registry.counter(name, help, &[("topic", topic)]);
        Self {
            published: counter("bowline_messages_published_total", "Messages that are durable."),
            delivered: counter("bowline_messages_delivered_total", "Tries, by all groups."),
            redelivered: counter("bowline_messages_redelivered_total", "Tries that were not the first."),
            acked: counter("bowline_messages_acked_total", "Messages processed, by all groups."),
            expired: counter("bowline_messages_expired_total", "Messages not processed before they expired."),
            dead: counter("bowline_messages_dead_total", "Messages put with the dead letters."),
            lost: counter("bowline_messages_lost_total", "Messages that were damaged, and passed over by a group."),
            write_failures: counter("bowline_messages_write_failures_total", "Batches that could not be written."),
            bytes: registry.gauge(
                "bowline_messages_bytes",
                "Bytes on disk, without dead letters.",
                &[("topic", topic)],
            ),
        }
    }

    /// Counts what came of a delivery.
    pub fn count(&self, effect: Effect) {
        match effect {
            Effect::Deliver { attempt, .. } => {
                self.delivered.increment();
                if attempt > 1 {
                    self.redelivered.increment();
                }
            }
            Effect::Done { end: End::Acked, .. } => self.acked.increment(),
            Effect::Done { end: End::Expired, .. } => self.expired.increment(),
            Effect::Done { end: End::Buried, .. } => self.dead.increment(),
            Effect::Nothing | Effect::Failed { .. } | Effect::Bury { .. } | Effect::Stale => {}
        }
    }
}
