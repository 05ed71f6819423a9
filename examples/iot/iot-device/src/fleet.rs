//! Which devices there are, in memory, so that a message needs no database for that; the one instance knows them all.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::counts::Counts;

/// The devices.
#[derive(Debug, Default)]
pub(crate) struct Fleet(Mutex<BTreeMap<String, Seen>>);

/// What has been heard of a device since the service began.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    is_connected: bool,
    last_reading_ms: Option<i64>,
    /// That is in the database, too.
    is_kept: bool,
}

impl Fleet {
    fn devices(&self) -> MutexGuard<'_, BTreeMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self) -> usize {
        self.devices().len()
    }

    pub(crate) fn knows(&self, device: &str) -> bool {
        self.devices().contains_key(device)
    }

    pub(crate) fn add(&self, device: &str) {
        self.devices().entry(device.to_owned()).or_default();
    }

    pub(crate) fn remove(&self, device: &str) {
        self.devices().remove(device);
    }

    pub(crate) fn set_connected(&self, device: &str, is_connected: bool) {
        if let Some(seen) = self.devices().get_mut(device) {
            seen.is_connected = is_connected;
        }
    }

    /// A reading of the device was stored.
    pub(crate) fn heard(&self, device: &str, at_ms: i64) {
        if let Some(seen) = self.devices().get_mut(device) {
            (seen.last_reading_ms, seen.is_kept) = (Some(at_ms), false);
        }
    }

    pub(crate) fn last_reading_ms(&self, device: &str) -> Option<i64> {
        self.devices().get(device)?.last_reading_ms
    }

    /// When readings were stored last, where that is not kept yet. It is taken as kept.
    pub(crate) fn take_heard(&self) -> BTreeMap<String, i64> {
        let mut devices = self.devices();
        let news = devices.iter_mut().filter(|(_, seen)| !seen.is_kept);
        let take = |(device, seen): (&String, &mut Seen)| {
            seen.is_kept = true;
            Some((device.clone(), seen.last_reading_ms?))
        };
        news.filter_map(take).collect()
    }

    /// What was taken as kept is not.
    pub(crate) fn give_back(&self, heard: &BTreeMap<String, i64>) {
        for (_, seen) in self.devices().iter_mut().filter(|(device, _)| heard.contains_key(*device)) {
            seen.is_kept = false;
        }
    }

    /// Shows how many devices there are.
    pub(crate) fn show(&self, counts: &Counts) {
        let devices = self.devices();
        let connected = devices.values().filter(|seen| seen.is_connected).count();
        let shown = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        counts.connected.set(shown(connected));
        counts.disconnected.set(shown(devices.len() - connected));
    }
}
