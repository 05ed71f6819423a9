//! How many requests have a connection to an endpoint at once, and who waits in line for one.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bowline_runtime::time::{self, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PoolSettings;
use crate::{
    body::Body,
    error::{Error, Kind},
};

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

    /// Waits in line for a place, for a request with that body.
    ///
    /// # Errors
    /// [`Kind::PoolFull`] at once where the line is as long as may be.
    ///
    /// # Cancel safety
    /// The place in the line is lost, and the body tells that there was one.
    pub(crate) async fn take(&self, settings: &PoolSettings, body: &mut Body) -> Result<Place, Error> {
        if let Some(place) = self.try_take() {
            return Ok(place);
        }
        if self.waiting.fetch_add(1, Relaxed) >= settings.waiting_per_endpoint_max {
            self.waiting.fetch_sub(1, Relaxed);
            settings.metrics.refused_full.increment();
            return Err(Kind::PoolFull.into());
        }
        let waiting =
            Waiting { places: self, settings, since: time::now(), whole: mem::replace(body, Body::in_line()) };
        let permit = self.free.clone().acquire_owned().await.expect("it is never closed");
        *body = waiting.end();
        Ok(Place(permit))
    }

    /// Whether somebody has a place, or waits for one.
    pub(super) fn are_used(&self) -> bool {
        self.free.available_permits() < self.count
    }
}

/// A request in the line.
struct Waiting<'a> {
    places: &'a Places,
    settings: &'a PoolSettings,
    since: Instant,
    /// Its body.
    whole: Body,
}

impl Waiting<'_> {
    fn end(mut self) -> Body {
        mem::take(&mut self.whole)
    }
}

impl Drop for Waiting<'_> {
    /// Who gave up has waited, too.
    fn drop(&mut self) {
        self.places.waiting.fetch_sub(1, Relaxed);
        self.settings.metrics.waited.record(time::now() - self.since);
    }
}
