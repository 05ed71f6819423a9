//! The service graph out.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
};
use bowline_model::{Code, units};
use bowline_observe::graph::{Edge, Figures, Graph, Node, WINDOW_MAX, WINDOW_MIN};
use bowline_provider_remote::wire;
use bowline_runtime::{task, time::Duration};
use serde::Deserialize;

use crate::{api::Shared, error::ApiError};

/// The window where nobody says.
const WINDOW_DEFAULT: Duration = Duration::from_mins(15);

/// What `GET /v1/service-graph` understands.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct GraphQuery {
    /// How far back: `1m` to `1h`; `15m` where absent.
    window: Option<String>,
}

/// Services and who calls whom: rate, errors and latency from spans.
#[utoipa::path(get, path = "/v1/service-graph", tag = "traces", params(GraphQuery),
    responses((status = 200, body = wire::ServiceGraph)))]
pub(crate) async fn graph(
    State(shared): State<Shared>,
    query: Result<Query<GraphQuery>, QueryRejection>,
) -> Result<Json<wire::ServiceGraph>, ApiError> {
    let Query(GraphQuery { window }) = query?;
    let invalid = |text: &str, rule: &str| ApiError::new(Code::InvalidArgument, format!("window `{text}`: {rule}"));
    let window = match window {
        None => WINDOW_DEFAULT,
        Some(text) => {
            let window = units::parse_duration(&text).map_err(|rule| invalid(&text, rule))?;
            if !(WINDOW_MIN..=WINDOW_MAX).contains(&window) {
                return Err(invalid(&text, "it is 1m to 1h"));
            }
            window
        }
    };
    let graph = task::spawn_blocking(move || shared.graph.snapshot(window)).await;
    let graph = graph.map_err(|_| ApiError::new(Code::Internal, "the service graph failed".to_owned()))?;
    let Graph { services, edges } = graph;
    Ok(Json(wire::ServiceGraph {
        services: services.into_iter().map(service).collect(),
        edges: edges.into_iter().map(edge).collect(),
    }))
}

fn service(node: Node) -> wire::GraphService {
    let Node { name, figures: of_service, is_instrumented, operations } = node;
    let operations = operations.into_iter().map(|operation| wire::GraphOperation {
        name: text(&operation.name),
        kind: if operation.is_consumer { "consumer" } else { "server" }.to_owned(),
        figures: figures(operation.figures),
    });
    wire::GraphService {
        name: text(&name),
        is_instrumented,
        figures: figures(of_service),
        operations: operations.collect(),
    }
}

fn edge(edge: Edge) -> wire::GraphEdge {
    let Edge { caller, callee, mode, figures: of_edge, failures, last_seen_unix_nanos, sample } = edge;
    let failures =
        failures.into_iter().map(|failure| wire::GraphFailure { status: text(&failure.status), count: failure.count });
    wire::GraphEdge {
        caller: text(&caller),
        callee: text(&callee),
        mode: mode.as_str().to_owned(),
        figures: figures(of_edge),
        failures: failures.collect(),
        last_seen_unix_nanos,
        sample_trace_id: sample.map(|trace_id| trace_id.to_string()),
    }
}

fn figures(figures: Figures) -> wire::GraphFigures {
    let Figures { count, errors, rate, error_rate, p50, p95, p99, max } = figures;
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let (p50_nanos, p95_nanos, p99_nanos, max_nanos) = (nanos(p50), nanos(p95), nanos(p99), nanos(max));
    wire::GraphFigures { count, errors, rate, error_rate, p50_nanos, p95_nanos, p99_nanos, max_nanos }
}

fn text(shared: &Arc<str>) -> String {
    shared.as_ref().to_owned()
}
