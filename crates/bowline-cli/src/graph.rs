//! `bowline graph`: who calls whom, how often, how fast and how well.

use std::process::ExitCode;

use bowline_provider_remote::wire;
use bowline_runtime::time;

use crate::{
    api,
    args::{self, Output},
    duration, style, table,
};

/// Prints the edges of the service graph.
pub(crate) async fn run(args: args::Graph) -> anyhow::Result<ExitCode> {
    let args::Graph { window, query } = args;
    let graph = api::answered(&query, api::client(&query).await?.service_graph(Some(&window)).await)?;
    match query.output {
        Output::Json => api::print_json(&graph)?,
        Output::Text if graph.edges.is_empty() => style::line("no service called another in this time"),
        Output::Text => {
            let now = time::unix_nanos(time::wall());
            let rows: Vec<Vec<String>> = graph.edges.iter().map(|edge| row(edge, &graph, now)).collect();
            let head = ["CALLER", "CALLEE", "MODE", "CALLS", "RATE", "ERRORS", "P50", "P95", "P99", "AGO", "SAMPLE"];
            for line in table::lines(&head, &rows) {
                style::line(&line);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(edge: &wire::GraphEdge, graph: &wire::ServiceGraph, now: u64) -> Vec<String> {
    let is_silent = graph.services.iter().any(|service| service.name == edge.callee && !service.is_instrumented);
    let figures = &edge.figures;
    vec![
        edge.caller.clone(),
        // It reports no spans: what is told of it is what its callers saw.
        format!("{}{}", edge.callee, if is_silent { " *" } else { "" }),
        edge.mode.clone(),
        figures.count.to_string(),
        format!("{:.2}/s", figures.rate),
        format!("{:.2} %", figures.error_rate * 100.0),
        duration::short(figures.p50_nanos),
        duration::short(figures.p95_nanos),
        duration::short(figures.p99_nanos),
        duration::short(now.saturating_sub(edge.last_seen_unix_nanos)),
        edge.sample_trace_id.clone().unwrap_or_default(),
    ]
}
