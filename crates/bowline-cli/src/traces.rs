//! `bowline traces` and `bowline trace`: find a request, see where its time went.

use std::process::ExitCode;

use bowline_provider_remote::{TracesQuery, wire};
use bowline_runtime::time;

use crate::{
    api,
    args::{self, Output},
    duration,
    style::{self, Paint},
    table, waterfall,
};

/// Searches, newest first.
pub(crate) async fn search(args: args::Traces) -> anyhow::Result<ExitCode> {
    let args::Traces { service, operation, min_duration, attr, error, limit, query } = args;
    let wanted =
        TracesQuery { service, operation, min_duration, attr, error: error.then_some(true), limit: Some(limit) };
    let list = api::answered(&query, api::client(&query).traces(&wanted).await)?;
    match query.output {
        Output::Json => api::print_json(&list)?,
        Output::Text if list.traces.is_empty() && !list.is_cut => style::line("no trace matches"),
        Output::Text => {
            let now = time::unix_nanos(time::wall());
            let rows: Vec<Vec<String>> = list.traces.iter().map(|trace| row(trace, now)).collect();
            for line in table::lines(&["TRACE", "AGO", "DURATION", "SPANS", "FIRST SPAN", "SERVICES"], &rows) {
                style::line(&line);
            }
            if list.is_cut {
                style::line("the search ended at its bound of work: older traces were not looked at; add --service");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(trace: &wire::TraceSummary, now: u64) -> Vec<String> {
    let mark = if trace.has_error { " ✗" } else { "" };
    vec![
        trace.trace_id.clone(),
        duration::short(now.saturating_sub(trace.start_unix_nanos)),
        duration::short(trace.duration_nanos),
        trace.span_count.to_string(),
        format!("{} {}{mark}", trace.service, trace.name),
        trace.services.join(" "),
    ]
}

/// Shows one trace.
pub(crate) async fn show(args: args::Trace) -> anyhow::Result<ExitCode> {
    let trace = api::answered(&args.query, api::client(&args.query).trace(&args.id).await)?;
    match args.query.output {
        Output::Json => api::print_json(&trace)?,
        Output::Text => {
            let coloured = style::is_coloured();
            let total = waterfall::duration_nanos(&trace.spans);
            let head = format!(
                "trace {}  {} spans  {}",
                style::plain(&trace.trace_id),
                trace.spans.len(),
                duration::short(total)
            );
            style::line(&Paint::Bold.apply(head, coloured));
            for line in waterfall::lines(&trace.spans, coloured) {
                style::line(&line);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
