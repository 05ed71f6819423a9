//! What is counted, for the monitor's rules: readings, anomalies, and each open one of a bounded number.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bowline::runtime::metric::{Counter, Gauge, Registry};
use iot_detect::Kind;

use crate::{fleet::Name, reading::Receipt};

/// The most open anomalies that are shown by device and kind.
pub(crate) const SHOWN_MAX: usize = 100;

const SHOWN: &str = "iot_device_anomaly";

/// What is counted.
#[derive(Debug)]
pub(crate) struct Counts {
    metrics: Registry,
    outcomes: [Counter; 6],
    by_model: Counter,
    by_fallback: Counter,
    devices: Gauge,
    of_kinds: BTreeMap<Kind, (Counter, Gauge)>,
    open: Mutex<Open>,
}

/// Open anomalies, and those of them that are shown.
#[derive(Debug, Default)]
struct Open {
    all: BTreeSet<(Name, Kind)>,
    shown: BTreeMap<(Name, Kind), Gauge>,
}

impl Counts {
    /// Every series is there from the start, so that a rule sees the first of them.
    pub(crate) fn new(metrics: &Registry) -> Self {
        let outcomes = ["taken", "duplicate", "late", "ahead", "malformed", "crowded"].map(|outcome| {
            let help = "Readings that were told, by what became of them.";
            metrics.counter("iot_analytics_readings_total", help, &[("outcome", outcome)])
        });
        let scores = |by| {
            metrics.counter("iot_analytics_scores_total", "Anomalies that were scored, and by whom.", &[("by", by)])
        };
        let of_kind = |kind: Kind| {
            let labels = &[("kind", kind.name())];
            let began = metrics.counter("iot_anomalies_total", "Anomalies that began.", labels);
            (kind, (began, metrics.gauge("iot_anomalies_open", "Anomalies that last.", labels)))
        };
        Self {
            metrics: metrics.clone(),
            outcomes,
            by_model: scores("model"),
            by_fallback: scores("fallback"),
            devices: metrics.gauge("iot_analytics_devices", "Devices whose readings are judged.", &[]),
            of_kinds: Kind::ALL.into_iter().map(of_kind).collect(),
            open: Mutex::default(),
        }
    }

    pub(crate) fn readings(&self, receipt: &Receipt) {
        let Receipt { taken, duplicates, late, ahead, malformed, crowded } = *receipt;
        for (counter, count) in self.outcomes.iter().zip([taken, duplicates, late, ahead, malformed, crowded]) {
            counter.add(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }

    pub(crate) fn devices(&self, count: usize) {
        self.devices.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Begins with those that are open.
    pub(crate) fn begin(&self, open: &[(Name, Kind)]) {
        let before: Vec<_> = self.open().all.iter().cloned().collect();
        for (device, kind) in before {
            self.ended(&device, kind);
        }
        for (device, kind) in open {
            self.opened(device, *kind);
        }
    }

    pub(crate) fn began(&self, device: &Name, kind: Kind, is_by_model: bool) {
        if is_by_model { &self.by_model } else { &self.by_fallback }.increment();
        if let Some((began, _)) = self.of_kinds.get(&kind) {
            began.increment();
        }
        self.opened(device, kind);
    }

    fn opened(&self, device: &Name, kind: Kind) {
        let mut open = self.open();
        if open.all.insert((device.clone(), kind)) {
            self.add(kind, 1);
            self.show(&mut open, device, kind);
        }
    }

    pub(crate) fn ended(&self, device: &Name, kind: Kind) {
        let mut open = self.open();
        let key = (device.clone(), kind);
        if !open.all.remove(&key) {
            return;
        }
        self.add(kind, -1);
        if open.shown.remove(&key).is_none() {
            return;
        }
        self.metrics.forget_gauge(SHOWN, &[("device", device), ("kind", kind.name())]);
        // There is room for one that was not shown, if there is any.
        let next = open.all.iter().find(|other| !open.shown.contains_key(*other)).cloned();
        if let Some((device, kind)) = next {
            self.show(&mut open, &device, kind);
        }
    }

    fn show(&self, open: &mut Open, device: &Name, kind: Kind) {
        if open.shown.len() < SHOWN_MAX {
            let help = "1 while something is wrong with a device; of the first hundred.";
            let gauge = self.metrics.gauge(SHOWN, help, &[("device", device), ("kind", kind.name())]);
            gauge.set(1);
            open.shown.insert((device.clone(), kind), gauge);
        }
    }

    fn add(&self, kind: Kind, count: i64) {
        if let Some((_, open)) = self.of_kinds.get(&kind) {
            open.add(count);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_anomalies_are_shown_while_they_last_and_are_bounded() {
        let metrics = Registry::default();
        let counts = Counts::new(&metrics);
        let shown = || metrics.render().lines().filter(|line| line.starts_with("iot_device_anomaly{")).count();
        let name = |number: usize| Name::from(format!("d-{number}"));
        for number in 0..=SHOWN_MAX {
            counts.began(&name(number), Kind::Shift, false);
        }
        assert_eq!(shown(), SHOWN_MAX);
        assert!(metrics.render().contains("iot_anomalies_open{kind=\"shift\"} 101\n"));
        // The one beyond takes the place of one that ended.
        counts.ended(&name(0), Kind::Shift);
        counts.ended(&name(0), Kind::Shift);
        assert_eq!(shown(), SHOWN_MAX);
        counts.begin(&[(name(7), Kind::Dropout)]);
        let text = metrics.render();
        assert!(text.contains("iot_device_anomaly{device=\"d-7\",kind=\"dropout\"} 1\n"), "{text}");
        assert!(text.contains("iot_anomalies_open{kind=\"shift\"} 0\n"), "{text}");
        assert!(text.contains("iot_anomalies_total{kind=\"shift\"} 101\n"), "{text}");
        assert!(text.contains("iot_analytics_scores_total{by=\"fallback\"} 101\n"), "{text}");
        assert_eq!(shown(), 1);
    }
}
