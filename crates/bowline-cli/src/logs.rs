//! `bowline logs`: what the processes of a service wrote lately, and what they go on to write.

use std::{process::ExitCode, time::Duration};

use bowline_provider_remote::wire::{LogLine, LogList, LogStream, LogsQuery};
use bowline_runtime::time;
use bowline_server::{LogSource, LogsAsked};
use bowline_supervisor::{LogPage, LogQuery, Logs};

use crate::{
    api,
    args::{self, Output},
    prefix::Prefixes,
    style::{self, Paint},
    when,
};

/// How long it waits for further lines before it asks for them.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// The most lines of one answer while it follows.
const FOLLOWED_MAX: usize = 2000;

/// The lines of a supervisor's processes, for the API.
pub(crate) fn source(logs: Logs) -> LogSource {
    LogSource::new(move |LogsAsked { service, instance, after, limit }| {
        let LogPage { lines, next, more, is_cut } = logs.read(&service, &LogQuery { instance, after, limit });
        let line = |line: bowline_supervisor::LogLine| LogLine {
            at_unix_ms: line.at_unix_ms,
            instance: line.instance,
            stream: if line.is_stderr { LogStream::Stderr } else { LogStream::Stdout },
            text: line.text,
        };
        LogList { lines: lines.into_iter().map(line).collect(), next, more, is_cut }
    })
}

/// Shows the last lines, then those that come where that is asked for.
pub(crate) async fn run(args: args::Logs) -> anyhow::Result<ExitCode> {
    let args::Logs { service, instance, limit, follow, query } = args;
    let client = api::client(&query).await?;
    let mut wanted = LogsQuery { instance, after: None, limit: Some(limit) };
    let mut list = api::answered(&query, client.logs(&service, &wanted).await)?;
    let mut view = View::new(style::is_coloured());
    if !follow {
        match query.output {
            Output::Json => api::print_json(&list)?,
            Output::Text if list.lines.is_empty() => style::line(&none(&service, wanted.instance.as_deref())),
            Output::Text => view.lines(&list).iter().for_each(|line| style::line(line)),
        }
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        let lines = match query.output {
            Output::Json => list.lines.iter().map(compact).collect::<anyhow::Result<_>>()?,
            Output::Text => view.lines(&list),
        };
        if !lines.iter().all(|line| style::line_is_read(line)) {
            // Whoever read has seen enough.
            return Ok(ExitCode::SUCCESS);
        }
        // Earlier lines that were left off do not come any more.
        if wanted.after.is_none() || !list.more {
            time::sleep(ASK_EVERY).await;
        }
        wanted = LogsQuery { after: Some(list.next), limit: Some(FOLLOWED_MAX), ..wanted };
        list = api::answered(&query, client.logs(&service, &wanted).await)?;
    }
}

/// That there are no lines.
fn none(service: &str, instance: Option<&str>) -> String {
    let whose = instance.map_or_else(|| service.to_owned(), |instance| format!("{instance} of {service}"));
    style::plain(&format!("no lines of {whose}: nothing was written, or this Bowline does not run it"))
}

/// A line for programs, in one.
fn compact(line: &LogLine) -> anyhow::Result<String> {
    Ok(api::escaped(&serde_json::to_string(line)?))
}

/// Lines for people, each behind its time and its instance.
struct View {
    prefixes: Prefixes,
    is_coloured: bool,
}

impl View {
    fn new(is_coloured: bool) -> Self {
        Self { prefixes: Prefixes::new(0, is_coloured), is_coloured }
    }

    fn lines(&mut self, LogList { lines, next: _, more: _, is_cut }: &LogList) -> Vec<String> {
        let widest = lines.iter().map(|line| line.instance.as_str().len()).max();
        self.prefixes.widen(widest.unwrap_or_default());
        let cut = is_cut.then(|| "… some lines are not kept any more: they came too fast to be read".to_owned());
        cut.into_iter().chain(lines.iter().map(|line| self.line(line))).collect()
    }

    fn line(&mut self, LogLine { at_unix_ms, instance, stream: _, text }: &LogLine) -> String {
        let at = Paint::Dim.apply(when::utc(*at_unix_ms), self.is_coloured);
        format!("{at} {}", self.prefixes.line(instance, text))
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::InstanceId;

    use super::*;

    fn line(instance: &str, stream: LogStream, text: &str) -> LogLine {
        let instance = InstanceId::new(instance).unwrap();
        LogLine { at_unix_ms: 1_767_323_045_678, instance, stream, text: text.to_owned() }
    }

    #[test]
    fn lines_are_told_with_when_and_who() {
        let lines = vec![
            line("order-1", LogStream::Stdout, "listening"),
            line("order-10", LogStream::Stderr, "\x1b[31mill\x1b[0m\x1b[2J\tnow"),
        ];
        let list = LogList { lines, next: 7, more: false, is_cut: true };
        let expect = [
            "… some lines are not kept any more: they came too fast to be read",
            "2026-01-02 03:04:05Z order-1  │ listening",
            "2026-01-02 03:04:05Z order-10 │ ill\tnow",
        ];
        let mut view = View::new(false);
        assert_eq!(view.lines(&list), expect);
        // Who has seen a long name does not see the column move.
        let next = LogList { lines: list.lines[..1].to_vec(), is_cut: false, ..list.clone() };
        assert_eq!(view.lines(&next), expect[1..2]);
        let coloured = View::new(true).lines(&next);
        assert_eq!(coloured, ["\x1b[2m2026-01-02 03:04:05Z\x1b[0m \x1b[36morder-1 │\x1b[0m listening"]);
    }

    #[test]
    fn programs_have_a_line_each() {
        let text = compact(&line("order-1", LogStream::Stderr, "a\n\x1b\u{9b}")).unwrap();
        let expect = r#"{"at_unix_ms":1767323045678,"instance":"order-1","stream":"stderr","text":"a\n\u001b\u009b"}"#;
        assert_eq!(text, expect);
    }

    #[test]
    fn who_has_no_lines_is_named() {
        let why = "nothing was written, or this Bowline does not run it";
        assert_eq!(none("order", None), format!("no lines of order: {why}"));
        assert_eq!(none("order", Some("order-1")), format!("no lines of order-1 of order: {why}"));
    }
}
