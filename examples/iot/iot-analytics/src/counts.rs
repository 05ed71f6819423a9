//! What is counted, for the monitor's rules: readings, anomalies, and each open one of a bounded number.

use std::{
    collections::BTreeMap,
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

/// Open anomalies, and those of them that are shown: the last.
#[derive(Debug, Default)]
struct Open {
    ranks: BTreeMap<(Name, Kind), Rank>,
    all: BTreeMap<Rank, (Name, Kind)>,
    shown: BTreeMap<Rank, Gauge>,
    number: u64,
}

/// Whether it is more than silence, of which there may be a lot; and which it was.
type Rank = (bool, u64);

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
        let before: Vec<_> = self.open().ranks.keys().cloned().collect();
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
        let key = (device.clone(), kind);
        if open.ranks.contains_key(&key) {
            return;
        }
        open.number += 1;
        let rank = (kind != Kind::Dropout, open.number);
        open.ranks.insert(key.clone(), rank);
        open.all.insert(rank, key);
        self.add(kind, 1);
        self.show(&mut open);
    }

    pub(crate) fn ended(&self, device: &Name, kind: Kind) {
        let mut open = self.open();
        let key = (device.clone(), kind);
        let Some(rank) = open.ranks.remove(&key) else { return };
        open.all.remove(&rank);
        self.add(kind, -1);
        if let Some(gauge) = open.shown.remove(&rank) {
            self.hide(&key, gauge);
            self.show(&mut open);
        }
    }

    /// Nothing is wrong any more with a device that is gone.
    pub(crate) fn removed(&self, device: &Name) {
        for kind in Kind::ALL {
            self.ended(device, kind);
        }
    }

    /// Shows the last that is not shown, where it comes before one that is, or there is room.
    fn show(&self, open: &mut Open) {
        let Some((rank, (device, kind))) = open.all.iter().rev().find(|(rank, _)| !open.shown.contains_key(*rank))
        else {
            return;
        };
        if open.shown.len() == SHOWN_MAX {
            if open.shown.first_key_value().is_some_and(|(first, _)| rank < first) {
                return;
            }
            if let Some((first, gauge)) = open.shown.pop_first()
                && let Some(key) = open.all.get(&first)
            {
                self.hide(key, gauge);
            }
        }
        let help = "1 while something is wrong with a device; of the newest hundred, silence after all else.";
        let gauge = self.metrics.gauge(SHOWN, help, &[("device", device), ("kind", kind.name())]);
        gauge.set(1);
        open.shown.insert(*rank, gauge);
    }

    fn hide(&self, (device, kind): &(Name, Kind), gauge: Gauge) {
        drop(gauge);
        self.metrics.forget_gauge(SHOWN, &[("device", device), ("kind", kind.name())]);
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
        // The first gave its place to the newest, and has it again when there is one.
        let is_shown =
            |number: usize| metrics.render().contains(&format!("{{device=\"d-{number}\",kind=\"shift\"}} 1"));
        assert!(!is_shown(0) && is_shown(1) && is_shown(SHOWN_MAX));
        counts.ended(&name(7), Kind::Shift);
        counts.ended(&name(7), Kind::Shift);
        assert!(is_shown(0) && shown() == SHOWN_MAX);
        // That many are silent takes no place of what else is wrong.
        for number in 0..=SHOWN_MAX {
            counts.began(&name(number), Kind::Dropout, false);
        }
        assert!(is_shown(0) && is_shown(SHOWN_MAX) && shown() == SHOWN_MAX);
        counts.removed(&name(3));
        assert!(!is_shown(3) && shown() == SHOWN_MAX);
        assert!(metrics.render().contains("iot_device_anomaly{device=\"d-100\",kind=\"dropout\"} 1\n"));
        counts.begin(&[(name(7), Kind::Dropout)]);
        let text = metrics.render();
        assert!(text.contains("iot_device_anomaly{device=\"d-7\",kind=\"dropout\"} 1\n"), "{text}");
        assert!(text.contains("iot_anomalies_open{kind=\"shift\"} 0\n"), "{text}");
        assert!(text.contains("iot_anomalies_total{kind=\"shift\"} 101\n"), "{text}");
        assert!(text.contains("iot_analytics_scores_total{by=\"fallback\"} 202\n"), "{text}");
        assert_eq!(shown(), 1);
    }
}
