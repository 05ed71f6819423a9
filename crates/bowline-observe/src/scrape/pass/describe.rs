//! What a scrape target says its metrics are.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::scrape::{
    exposition::{Entry, Kind, unescaped},
    metrics::Metrics,
};

/// The most metrics of a scrape target that are described.
const METRICS_MAX: usize = 2000;
/// The most bytes of a description; more is cut off.
const TEXT_BYTES_MAX: usize = 512;

/// What a metric is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// Its kind.
    pub kind: Kind,
    /// What it is for; empty where that is not told.
    pub help: String,
    /// What it is measured in; empty where that is not told.
    pub unit: String,
}

/// The metrics of one scrape target, by name.
#[derive(Debug, Default)]
pub(crate) struct Descriptions(Mutex<BTreeMap<Box<str>, Description>>);

impl Descriptions {
    /// Takes a line that is no sample.
    pub(super) fn take(&self, line: &Entry<'_>, metrics: &Metrics) {
        let (Entry::Help { metric, .. } | Entry::Kind { metric, .. } | Entry::Unit { metric, .. }) = *line else {
            return;
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(metric) {
            if known.len() >= METRICS_MAX {
                metrics.metadata_dropped.increment();
                return;
            }
            known.insert(metric.into(), Description::default());
        }
        let Some(description) = known.get_mut(metric) else { return };
        match *line {
            Entry::Help { text, .. } => replace(&mut description.help, text),
            Entry::Unit { unit, .. } => replace(&mut description.unit, unit),
            Entry::Kind { kind, .. } => description.kind = kind,
            Entry::Sample { .. } => {}
        }
    }

    /// Joins them to others; what is known there stays.
    pub(crate) fn join(&self, all: &mut BTreeMap<Box<str>, Description>) {
        for (metric, description) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let plain = || Description { help: unescaped(&description.help).into_owned(), ..description.clone() };
            all.entry(metric.clone()).or_insert_with(plain);
        }
    }
}

fn replace(known: &mut String, text: &str) {
    let text = text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default();
    if known != text {
        text.clone_into(known);
    }
}
