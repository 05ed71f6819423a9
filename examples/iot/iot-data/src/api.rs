//! The operations over HTTP, as `openapi/data.yaml` describes them.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    routing::{MethodRouter, get, post},
};
use bowline::{
    HandlerError,
    extract::{Json, Path, Query},
    runtime::time,
};

use crate::{
    reading::{Batch, Receipt},
    repository::ReadingRepository,
    service::{Asked, DataService, Series},
};

/// The largest body of a request, in bytes: enough for the largest batch.
const BODY_BYTES_MAX: usize = 512 << 10;

type Service<R> = State<Arc<DataService<R>>>;

/// An operation: its method, its path, and what carries it out.
pub(crate) type Operation<R> = (&'static str, &'static str, MethodRouter<Arc<DataService<R>>>);

/// All operations.
pub(crate) fn operations<R: ReadingRepository + 'static>() -> [Operation<R>; 2] {
    [("POST", "/readings", post(ingest::<R>)), ("GET", "/series/{device}", get(series::<R>))]
}

/// The application.
pub(crate) fn app<R: ReadingRepository + 'static>(data: Arc<DataService<R>>) -> Router {
    let routed = operations().into_iter().fold(Router::new(), |app, (_, path, handler)| app.route(path, handler));
    routed.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(data)
}

async fn ingest<R: ReadingRepository>(
    State(data): Service<R>,
    Json(batch): Json<Batch>,
) -> Result<Json<Receipt>, HandlerError> {
    data.ingest(batch, now_ms()).await.map(Json)
}

async fn series<R: ReadingRepository>(
    State(data): Service<R>,
    Path(device): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Json<Series>, HandlerError> {
    data.series(&device, &asked).await.map(Json)
}

/// The time, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX)
}
