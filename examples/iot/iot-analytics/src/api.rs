//! The operations over HTTP, as `openapi/analytics.yaml` describes them.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    routing::{MethodRouter, get, post},
};
use bowline::{
    HandlerError,
    extract::{Json, Query},
    runtime::time,
};

use crate::{
    anomaly::{Anomalies, Asked},
    reading::{Batch, Receipt},
    repository::AnalyticsRepository,
    scorer::Scorer,
    service::AnalyticsService,
};

/// The largest body of a request, in bytes: enough for the largest batch.
const BODY_BYTES_MAX: usize = 512 << 10;

type Service<R, S> = State<Arc<AnalyticsService<R, S>>>;

/// An operation: its method, its path, and what carries it out.
pub(crate) type Operation<R, S> = (&'static str, &'static str, MethodRouter<Arc<AnalyticsService<R, S>>>);

/// All operations.
pub(crate) fn operations<R: AnalyticsRepository, S: Scorer>() -> [Operation<R, S>; 2] {
    [("POST", "/observations", post(take::<R, S>)), ("GET", "/anomalies", get(list::<R, S>))]
}

/// The application.
pub(crate) fn app<R: AnalyticsRepository, S: Scorer>(analytics: Arc<AnalyticsService<R, S>>) -> Router {
    let routed = operations().into_iter().fold(Router::new(), |app, (_, path, handler)| app.route(path, handler));
    routed.layer(DefaultBodyLimit::max(BODY_BYTES_MAX)).with_state(analytics)
}

async fn take<R: AnalyticsRepository, S: Scorer>(
    State(analytics): Service<R, S>,
    Json(batch): Json<Batch>,
) -> Result<Json<Receipt>, HandlerError> {
    analytics.take(batch, now_ms()).await.map(Json)
}

async fn list<R: AnalyticsRepository, S: Scorer>(
    State(analytics): Service<R, S>,
    Query(asked): Query<Asked>,
) -> Result<Json<Anomalies>, HandlerError> {
    analytics.anomalies(&asked).await.map(Json)
}

/// The time, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX)
}
