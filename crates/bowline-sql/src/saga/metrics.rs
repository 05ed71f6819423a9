//! What is counted of sagas.

use std::{collections::BTreeMap, time::Duration};

use bowline_runtime::metric::{Counter, Gauge, Histogram, Registry};

use super::row::Kept;

/// The cells of each definition.
pub(super) struct Metrics(BTreeMap<String, Cells>);

struct Cells {
    running: Gauge,
    stuck: Gauge,
    oldest_age: Gauge,
    done: Ended,
    compensated: Ended,
}

struct Ended {
    count: Counter,
    duration: Histogram,
}

impl Metrics {
    pub(super) fn new<'a>(registry: &Registry, names: impl Iterator<Item = &'a String>) -> Self {
        let cells = |name: &String| {
            let gauge = |metric, help| registry.gauge(metric, help, &[("saga", name)]);
            let ended = |outcome| Ended {
                count: registry.counter(
                    "bowline_sagas_ended_total",
                    "Sagas that ended, counted by who ended them.",
                    &[("saga", name), ("outcome", outcome)],
                ),
                duration: registry.histogram(
                    "bowline_saga_duration_seconds",
                    "How long sagas took.",
                    &[("saga", name), ("outcome", outcome)],
                ),
            };
            let cells = Cells {
                running: gauge("bowline_sagas_running", "Sagas that have not ended."),
                stuck: gauge("bowline_sagas_stuck", "Sagas of which a step cannot be undone."),
                oldest_age: gauge("bowline_sagas_oldest_age_seconds", "How long ago the oldest of them was begun."),
                done: ended("done"),
                compensated: ended("compensated"),
            };
            (name.clone(), cells)
        };
        Self(names.map(cells).collect())
    }

    /// How many have not ended, how many of them are stuck, and how old the oldest is in seconds, by definition.
    pub(super) fn set_running(&self, counts: &BTreeMap<String, (i64, i64, i64)>) {
        for (name, cells) in &self.0 {
            let (running, stuck, oldest_age) = counts.get(name).copied().unwrap_or_default();
            cells.running.set(running);
            cells.stuck.set(stuck);
            cells.oldest_age.set(oldest_age);
        }
    }

    pub(super) fn ended(&self, kept: &Kept) {
        let Some(cells) = self.0.get(&kept.name) else { return };
        let ended = if kept.is_done() { &cells.done } else { &cells.compensated };
        ended.count.increment();
        let took = kept.ended_ms.unwrap_or(kept.begun_ms).saturating_sub(kept.begun_ms);
        ended.duration.record(Duration::from_millis(u64::try_from(took).unwrap_or_default()));
    }
}
