//! `bowline traces` and `bowline trace`: find a request, see where its time went.

use std::{fmt::Write as _, process::ExitCode};

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
pub(crate) const ARRIVAL: Duration = Duration::from_secs(1);
/// The longest a trace is waited for.
const ARRIVAL_MAX: Duration = Duration::from_secs(2);
/// Time between two looks.
const LOOK_AGAIN_EVERY: Duration = Duration::from_millis(200);

/// Searches, newest or slowest first.
pub(crate) async fn search(args: args::Traces) -> anyhow::Result<ExitCode> {
    let args::Traces {
        service,
        operation,
        min_duration,
        max_duration,
        since,
        attr,
        status,
        error,
        slowest,
        limit,
        cursor,
        query,
    } = args;
    let order = slowest.then(|| "slowest".to_owned());
    let (error, limit) = (error.then_some(true), Some(limit));
    let wanted = TracesQuery {
        service,
        operation,
        min_duration,
        max_duration,
        since,
        attr,
        status,
        error,
        order,
        limit,
        cursor,
    };
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
                style::line("the search ended at its bound of work: not all traces were looked at; add --service");
            }
            if let Some(cursor) = &list.next_cursor {
                style::line(&format!("next page: {}", next_page(&wanted, cursor)));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(trace: &wire::TraceSummary, now: u64) -> Vec<String> {
    let mark = match (&*trace.status, trace.has_error) {
        // A server of before does not tell how the first span ended.
        ("error", _) | ("", true) => " ✗",
        (_, true) => " (✗ inside)",
        (_, false) => "",
    };
    vec![
        trace.trace_id.clone(),
        duration::short(now.saturating_sub(trace.start_unix_nanos)),
        duration::short(trace.duration_nanos),
        trace.span_count.to_string(),
        format!("{} {}{mark}", trace.service, trace.name),
        trace.services.join(" "),
    ]
}

/// The command line of the next page, for a shell.
fn next_page(query: &TracesQuery, cursor: &str) -> String {
    let TracesQuery {
        service,
        operation,
        min_duration,
        max_duration,
        since,
        attr,
        status,
        error,
        // The slowest have no pages.
        order: _,
        limit,
        cursor: _,
    } = query;
    let texts = [
        ("--service", service),
        ("--operation", operation),
        ("--min-duration", min_duration),
        ("--max-duration", max_duration),
        ("--since", since),
        ("--status", status),
    ];
    let texts = texts.into_iter().filter_map(|(flag, value)| Some((flag, value.as_ref()?)));
    let mut line = "bowline traces".to_owned();
    for (flag, value) in texts.chain(attr.iter().map(|value| ("--attr", value))) {
        let _infallible = write!(line, " {flag} {}", quoted(value));
    }
    line.push_str(if *error == Some(true) { " --error" } else { "" });
    if let Some(limit) = limit.filter(|limit| *limit != 20) {
        let _infallible = write!(line, " --limit {limit}");
    }
    let _infallible = write!(line, " --cursor {cursor}");
    line
}

/// In quotes where a shell would take it apart.
fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._=:/@%+,".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_a_command_that_a_shell_understands() {
        let query = TracesQuery {
            operation: Some("POST /it's".to_owned()),
            attr: vec!["a=b".to_owned(), "c=d e".to_owned()],
            error: Some(true),
            limit: Some(5),
            ..TracesQuery::default()
        };
        let expect =
            r"bowline traces --operation 'POST /it'\''s' --attr a=b --attr 'c=d e' --error --limit 5 --cursor 12";
        assert_eq!(next_page(&query, "12"), expect);
    }
}
