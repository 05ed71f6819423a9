//! What all snapshots of one set share.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bowline_runtime::{
    metric::Padded,
    time::{self, Instant},
};

use crate::{
    load::{Load, Tally, nanos_between},
    outlier::Room,
    shape::level_of,
    table::Tables,
};

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) epoch: Instant,
    pub(crate) hot: Padded<Hot>,
    pub(crate) tables: Tables,
    tallies: Mutex<BTreeMap<Together, Tally>>,
}

/// Version, zone and level of those whose requests in flight are counted together.
type Together = (String, Option<String>, u8);

/// What every pick reads, and what is seldom written.
#[derive(Debug)]
pub(crate) struct Hot {
    pub(crate) room: Room,
    /// When the last slow start is over, in nanoseconds; zero where there was none.
    pub(crate) warming_until: AtomicU64,
    /// When rates are judged next, in nanoseconds.
    pub(crate) sweep_due: AtomicU64,
    /// How many members the set has.
    pub(crate) members: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        let [warming_until, sweep_due, members] = [const { AtomicU64::new(0) }; 3];
        let hot = Padded(Hot { room: Room::new(), warming_until, sweep_due, members });
        Arc::new(Self { epoch: time::now(), hot, tables: Tables::default(), tallies: Mutex::default() })
    }

    /// Nanoseconds since the set was made.
    #[inline]
    pub(crate) fn nanos(&self, now: Instant) -> u64 {
        nanos_between(self.epoch, now)
    }

    /// Whether somebody's slow start is not over.
    #[inline]
    pub(crate) fn is_warming(&self, now: Instant) -> bool {
        let until = self.hot.0.warming_until.load(Relaxed);
        until != 0 && self.nanos(now) < until
    }

    /// Has a load counted together with those of the same version, zone and level: versions and zones are picked from by
    /// themselves.
    pub(crate) fn tally(&self, load: &Load, instance: &bowline_model::Instance) {
        load.count_in(|| {
            let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
            // Of those that nobody is counted in any more, none is kept.
            tallies.retain(|_, tally| Arc::strong_count(tally) > 1);
            let together = (instance.version.clone(), instance.zone.clone(), level_of(instance));
            Arc::clone(tallies.entry(together).or_default())
        });
    }
}
