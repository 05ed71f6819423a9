//! What is counted of sagas.

use std::{collections::BTreeMap, time::Duration};

use bowline_runtime::metric::{Counter, Gauge, Histogram, Registry};

use super::row::Kept;

/// The cells of each definition.
pub(super) struct Metrics(BTreeMap<String, Cells>);

struct Cells {
    running: Gauge,
    stuck: Gauge,
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
                done: ended("done"),
                compensated: ended("compensated"),
            };
            (name.clone(), cells)
        };
        Self(names.map(cells).collect())
    }

    /// How many have not ended, and how many of them are stuck, by definition.
    pub(super) fn set_running(&self, counts: Vec<(String, i64, i64)>) {
        let counts: BTreeMap<String, (i64, i64)> =
            counts.into_iter().map(|(name, running, stuck)| (name, (running, stuck))).collect();
        for (name, cells) in &self.0 {
            let (running, stuck) = counts.get(name).copied().unwrap_or_default();
            cells.running.set(running);
            cells.stuck.set(stuck);
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
