//! `bowline traces` and `bowline trace`: find a request, see where its time went.

use std::process::ExitCode;

use bowline_model::Code;
use bowline_provider_remote::{Client, TracesQuery, wire};
use bowline_runtime::time::{self, Duration};
use bowline_telemetry::SpanData;
use bowline_transport::ClientError;

use crate::{
    api,
    args::{self, Output},
    duration,
    style::{self, Paint},
    table, waterfall,
};

/// How long after its end a span arrives at the latest, in a system that keeps up.
const ARRIVAL: Duration = Duration::from_secs(1);
/// The longest a trace is waited for.
const ARRIVAL_MAX: Duration = Duration::from_secs(2);
/// Time between two looks.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(200);

/// Searches, newest first.
pub(crate) async fn search(args: args::Traces) -> anyhow::Result<ExitCode> {
    let args::Traces { service, operation, min_duration, attr, error, limit, query } = args;
    let wanted =
        TracesQuery { service, operation, min_duration, attr, error: error.then_some(true), limit: Some(limit) };
    let list = api::answered(&query, api::client(&query).await?.traces(&wanted).await)?;
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

/// Asks for a trace until its last spans can have come: whoever saw the answer a moment ago, asks now.
async fn whole(client: &Client, id: &str) -> Result<wire::Trace, ClientError> {
    let until = time::now() + ARRIVAL_MAX;
    loop {
        let answer = client.trace(id).await;
        let may_grow = match &answer {
            Ok(trace) => age_of(trace) < ARRIVAL,
            Err(ClientError::Answer { problem, .. }) => problem.code == Code::NotFound,
            Err(_) => false,
        };
        if !may_grow || time::now() >= until {
            return answer;
        }
        time::sleep(LOOK_AGAIN_EVERY).await;
    }
}

/// Time since the last span's end.
fn age_of(trace: &wire::Trace) -> Duration {
    let end = trace.spans.iter().map(SpanData::end_unix_nanos).max().unwrap_or(0);
    Duration::from_nanos(time::unix_nanos(time::wall()).saturating_sub(end))
}

/// Shows one trace.
pub(crate) async fn show(args: args::Trace) -> anyhow::Result<ExitCode> {
    let trace = api::answered(&args.query, whole(&api::client(&args.query).await?, &args.id).await)?;
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
