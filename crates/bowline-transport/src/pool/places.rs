//! How many requests have a connection to an endpoint at once, and who waits in line for one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use bowline_runtime::time;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PoolSettings;
use crate::error::{Error, Kind};

/// The places of one endpoint.
///
/// A connection is made only where none is idle: so what bounds those in use bounds those that are open.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    count: usize,
    waiting: AtomicUsize,
}

/// The right to use a connection, or a stream of one; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it is what is held")] OwnedSemaphorePermit);

impl Places {
    pub(crate) fn new(count_max: usize) -> Self {
        let count = count_max.clamp(1, Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(count)), count, waiting: AtomicUsize::new(0) }
    }

    /// A place, if one is free and nobody waits for it.
    pub(crate) fn try_take(&self) -> Option<Place> {
        self.free.clone().try_acquire_owned().ok().map(Place)
    }

    /// Waits in line for a place.
    ///
    /// # Errors
    /// [`Kind::PoolFull`] at once where the line is as long as may be.
    ///
    /// # Cancel safety
    /// The place in the line is lost.
    pub(crate) async fn take(&self, settings: &PoolSettings) -> Result<Place, Error> {
        if let Some(place) = self.try_take() {
            return Ok(place);
        }
        let waiting = Waiting::new(&self.waiting);
        if waiting.position > settings.waiting_per_endpoint_max {
            settings.metrics.refused_full.increment();
            return Err(Kind::PoolFull.into());
        }
        let begun = time::now();
        let permit = self.free.clone().acquire_owned().await.expect("it is never closed");
        settings.metrics.waited.record(time::now() - begun);
        Ok(Place(permit))
    }

    /// Whether somebody has a place, or waits for one.
    pub(super) fn are_used(&self) -> bool {
        self.free.available_permits() < self.count
    }
}

/// Somebody in the line.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    position: usize,
}

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        Self { count, position: count.fetch_add(1, Relaxed) + 1 }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Relaxed);
    }
}
