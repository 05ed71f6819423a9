//! A service's sagas: what people are told of them, at `/-/bowline/sagas`, which the server asks for, and how they end
//! with it.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    routing::{get, post},
};
use bowline_model::Code;
use bowline_provider_remote::wire::{Saga, SagaEvent, SagaList, SagaRetried, SagasQuery};
use bowline_runtime::BoxFuture;
use bowline_sql::{Db, Error, Filter, Happened, SagaInfo, Sagas};

use crate::{
    HandlerError,
    extract::{Json, Path, Query},
};

/// How many sagas are listed where nothing else is asked for.
const LIMIT_DEFAULT: usize = 100;

/// The sagas of a database, whatever that is.
pub(crate) trait Shown: Send + Sync {
    fn list(&self, filter: Filter, limit: usize) -> BoxFuture<'_, Result<Vec<SagaInfo>, Error>>;
    fn get(&self, id: String) -> BoxFuture<'_, Result<SagaInfo, Error>>;
    fn retry(&self, id: String) -> BoxFuture<'_, Result<bool, Error>>;
    fn begin_drain(&self);
    fn drain(&self, grace: Duration) -> BoxFuture<'_, ()>;
}

impl<DB: Db> Shown for Sagas<DB> {
    fn list(&self, filter: Filter, limit: usize) -> BoxFuture<'_, Result<Vec<SagaInfo>, Error>> {
        Box::pin(async move { Self::list(self, &filter, limit).await })
    }

    fn get(&self, id: String) -> BoxFuture<'_, Result<SagaInfo, Error>> {
        Box::pin(async move { Self::get(self, &id).await })
    }

    fn retry(&self, id: String) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move { Self::retry(self, &id).await })
    }

    fn begin_drain(&self) {
        Self::begin_drain(self);
    }

    fn drain(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(Self::drain(self, grace))
    }
}

/// The routes.
pub(crate) fn router(sagas: Arc<dyn Shown>) -> Router {
    Router::new()
        .route("/-/bowline/sagas", get(list))
        .route("/-/bowline/sagas/{id}", get(one))
        .route("/-/bowline/sagas/{id}/retry", post(retry))
        .with_state(sagas)
}

async fn list(
    State(sagas): State<Arc<dyn Shown>>,
    Query(query): Query<SagasQuery>,
) -> Result<Json<SagaList>, HandlerError> {
    let SagasQuery { service: _, name, phase, limit } = query;
    let phase = phase.map(|phase| serde_json::from_value(phase.into())).transpose();
    let unknown = |_| {
        let detail = "phase: one of acting, undoing, stuck, done, compensated";
        HandlerError::new(Code::InvalidArgument, detail)
    };
    let filter = Filter { name, phase: phase.map_err(unknown)?, before: None };
    let found = sagas.list(filter, limit.unwrap_or(LIMIT_DEFAULT)).await.map_err(failure)?;
    Ok(Json(SagaList { sagas: found.into_iter().map(shown).collect(), missing: Vec::new() }))
}

async fn one(State(sagas): State<Arc<dyn Shown>>, Path(id): Path<String>) -> Result<Json<Saga>, HandlerError> {
    sagas.get(id).await.map(|info| Json(shown(info))).map_err(failure)
}

async fn retry(State(sagas): State<Arc<dyn Shown>>, Path(id): Path<String>) -> Result<Json<SagaRetried>, HandlerError> {
    sagas.retry(id).await.map(|is_tried| Json(SagaRetried { is_tried })).map_err(failure)
}

fn failure(error: Error) -> HandlerError {
    match error.code() {
        Code::Internal => HandlerError::internal(error),
        code => HandlerError::new(code, error.to_string()),
    }
}

fn shown(info: SagaInfo) -> Saga {
    let SagaInfo { id, name, phase, step, attempts, due_ms, begun_ms, ended_ms, reason, trace_id, history } = info;
    let event =
        |Happened { at_ms, step, what, failure }: Happened| SagaEvent { at_ms, step, what: word(&what), failure };
    let history = history.into_iter().map(event).collect();
    let phase = word(&phase);
    Saga { service: None, id, name, phase, step, attempts, due_ms, begun_ms, ended_ms, reason, trace_id, history }
}

/// A word as it is written in JSON.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
