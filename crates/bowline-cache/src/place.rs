//! The places of caches in this process: each has metrics, tasks and memory of its own.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::CACHES_MAX;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(());

impl Place {
    /// None where all [`CACHES_MAX`] are taken.
    pub(crate) fn take() -> Option<Self> {
        let taken = TAKEN.fetch_update(Relaxed, Relaxed, |taken| (taken < CACHES_MAX).then_some(taken + 1));
        taken.is_ok().then(|| Self(()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        TAKEN.fetch_sub(1, Relaxed);
    }
}
