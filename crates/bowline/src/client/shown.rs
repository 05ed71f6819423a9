//! What people are told of the breakers of a process's calls: at `/-/bowline/breakers`, which the server asks for.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, extract::State, routing::get};
use bowline_model::{
    ServiceName,
    mesh::{BREAKERS_PATH, OwnBreakers},
};

use super::ServiceClient;
use crate::extract::Json;

/// The clients of a process, by whom they call.
pub(crate) type Clients = Arc<Mutex<BTreeMap<ServiceName, ServiceClient>>>;

/// The routes.
pub(crate) fn router(clients: Clients) -> Router {
    Router::new().route(BREAKERS_PATH, get(list)).with_state(clients)
}

async fn list(State(clients): State<Clients>) -> Json<OwnBreakers> {
    let clients = clients.lock().unwrap_or_else(PoisonError::into_inner);
    Json(OwnBreakers { calls: clients.values().map(|client| client.0.governed.upstream().breakers()).collect() })
}
