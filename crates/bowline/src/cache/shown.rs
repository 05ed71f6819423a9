//! What people are told of a process's caches: at `/-/bowline/caches`, which the server asks for.

use std::sync::PoisonError;

use axum::{Router, extract::State, routing::get};
use bowline_cache::{Cache, Key, Status};
use bowline_provider_remote::wire::OwnCaches;

use super::Caches;
use crate::extract::Json;

/// A cache, whatever it keeps.
pub(crate) trait Shown: Send + Sync {
    fn status(&self) -> Status;
}

impl<K: Key, V: Send + Sync + 'static> Shown for Cache<K, V> {
    fn status(&self) -> Status {
        Self::status(self)
    }
}

/// The routes.
pub(crate) fn router(caches: Caches) -> Router {
    Router::new().route("/-/bowline/caches", get(list)).with_state(caches)
}

async fn list(State(caches): State<Caches>) -> Json<OwnCaches> {
    let caches = caches.shown.lock().unwrap_or_else(PoisonError::into_inner);
    let mut caches: Vec<Status> = caches.iter().map(|cache| cache.status()).collect();
    caches.sort_by(|one, other| one.cache.cmp(&other.cache));
    Json(OwnCaches { caches })
}
