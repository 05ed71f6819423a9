//! A trace as lines: who called whom, how long it took, which instance, which attempt.

use std::time::Duration;

use bowline_model::units;
use bowline_observe::traces::waterfall::{Row, layout};
use bowline_telemetry::{Event, SpanData, Status, names};

use crate::{
    duration,
    style::{Paint, plain},
};

/// Columns of the time line.
const BAR_WIDTH: usize = 32;
/// The widest column of names.
const NAME_WIDTH_MAX: usize = 48;

/// From the first begin to the last end.
pub(crate) fn duration_nanos(spans: &[SpanData]) -> u64 {
    let begin = spans.iter().map(|span| span.start_unix_nanos).min().unwrap_or(0);
    let end = spans.iter().map(SpanData::end_unix_nanos).max().unwrap_or(0);
    end.saturating_sub(begin)
}

/// The waterfall: a line a span, and one below it for each attempt where there were several.
pub(crate) fn lines(spans: &[SpanData], coloured: bool) -> Vec<String> {
    let rows = layout(spans);
    let total = rows.iter().map(|row| nanos(row.offset + row.duration)).max().unwrap_or(0).max(1);
    let names: Vec<String> = rows.iter().map(|row| name(row, spans)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).min(NAME_WIDTH_MAX);
    let mut lines = Vec::new();
    for (row, name) in rows.iter().zip(&names) {
        let span = row.span.map(|at| &spans[at]);
        let is_error = span.is_some_and(SpanData::is_error);
        let bar = Paint::Nth(row.depth).apply(bar(row, total), coloured && !is_error);
        let bar = if is_error { Paint::Red.apply(bar, coloured) } else { bar };
        let took = duration::short(nanos(row.duration));
        let details = span.map(|span| detail(span, coloured)).unwrap_or_default();
        let name: String = name.chars().take(width).collect();
        lines.push(format!("{name:width$}  {bar}  {took:>8}  {details}").trim_end().to_owned());
        if let Some(span) = span {
            lines.extend(
                attempts(span).into_iter().map(|text| format!("{:indent$}{text}", "", indent = row.depth * 2 + 2)),
            );
        }
    }
    lines
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn name(row: &Row, spans: &[SpanData]) -> String {
    let indent = "  ".repeat(row.depth);
    match row.span.map(|at| &spans[at]) {
        Some(span) => format!("{indent}{}", plain(&format!("{} · {}", span.service, span.name))),
        None => format!("{indent}(span {} has not come)", row.span_id),
    }
}

/// Where the span lies in the whole: at least one block wide.
fn bar(row: &Row, total: u64) -> String {
    let column = |nanos: u64| {
        let at = u128::from(nanos) * BAR_WIDTH as u128 / u128::from(total);
        usize::try_from(at).unwrap_or(BAR_WIDTH).min(BAR_WIDTH)
    };
    let begin = column(nanos(row.offset)).min(BAR_WIDTH - 1);
    let end = column(nanos(row.offset + row.duration)).max(begin + 1);
    format!("{}{}{}", "·".repeat(begin), "█".repeat(end - begin), "·".repeat(BAR_WIDTH - end))
}

/// Which instance, which status, and what went wrong.
fn detail(span: &SpanData, coloured: bool) -> String {
    let instance = Some(format!("[{}]", span.instance));
    let picked = span.attribute(names::BOWLINE_INSTANCE).map(|instance| format!("→ {instance}"));
    let status = span.attribute(names::HTTP_RESPONSE_STATUS_CODE).map(ToString::to_string);
    let reason = span.attribute(names::BOWLINE_REASON).map(|reason| format!("({reason})"));
    let faults = span.events.iter().filter(|event| event.name == names::EVENT_FAULT).map(fault);
    let foreign = [instance, picked, status, reason].into_iter().flatten().chain(faults);
    let mut parts: Vec<String> = foreign.map(|part| plain(&part)).collect();
    if let Status::Error(message) = &span.status {
        parts.push(Paint::Red.apply(format!("✗ {}", plain(message)), coloured));
    }
    parts.join(" ")
}

/// A line for each attempt, where there was more than one or the only one failed.
fn attempts(span: &SpanData) -> Vec<String> {
    let attempts: Vec<&Event> = span.events.iter().filter(|event| event.name == names::EVENT_ATTEMPT).collect();
    if attempts.len() < 2 {
        return Vec::new();
    }
    attempts.into_iter().map(attempt).collect()
}

/// A fault that befell it on purpose: `fault f1 +300ms 503`.
fn fault(event: &Event) -> String {
    let id = value(event, names::BOWLINE_FAULT).unwrap_or_else(|| "?".to_owned());
    let delay = value(event, names::BOWLINE_FAULT_DELAY_MS).and_then(|millis| millis.parse().ok());
    let delay = delay.map(|millis| format!("+{}", units::format_duration(Duration::from_millis(millis))));
    let parts = [Some(format!("fault {id}")), delay, value(event, names::BOWLINE_FAULT_ABORT)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn value(event: &Event, key: &str) -> Option<String> {
    event.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.to_string())
}

fn attempt(event: &Event) -> String {
    let value = |key: &str| value(event, key);
    let number = value(names::BOWLINE_ATTEMPT).unwrap_or_else(|| "?".to_owned());
    let instance = value(names::BOWLINE_INSTANCE).unwrap_or_else(|| "no instance".to_owned());
    let outcome = value(names::BOWLINE_OUTCOME).unwrap_or_default();
    let took = value(names::BOWLINE_DURATION_NANOS).and_then(|nanos| nanos.parse().ok()).map(duration::short);
    let text = format!("attempt {number} → {instance}: {outcome} {}", took.unwrap_or_default());
    plain(text.trim_end())
}

#[cfg(test)]
mod tests {
    use bowline_telemetry::{SpanId, SpanKind, TraceId};

    use super::*;

    fn span(id: u64, parent: Option<u64>, service: &str, start: u64, duration: u64) -> SpanData {
        SpanData {
            trace_id: TraceId::new(1).unwrap(),
            span_id: SpanId::new(id).unwrap(),
            parent_span_id: parent.and_then(SpanId::new),
            service: service.into(),
            instance: format!("{service}-1").into(),
            name: "GET /".into(),
            kind: SpanKind::Server,
            start_unix_nanos: start,
            duration_nanos: duration,
            status: Status::Unset,
            attributes: Vec::new(),
            events: Vec::new(),
            links: vec![],
        }
    }

    #[test]
    fn callees_stand_under_callers() {
        let mut inner = span(2, Some(1), "b", 500_000, 500_000);
        inner.status = Status::Error("answered\n\x1b]0;title\x07503".to_owned());
        inner.name = "GET\x1b[2J /".into();
        for attempt in 1..=2 {
            let attributes = vec![
                (names::BOWLINE_ATTEMPT.into(), i64::from(attempt).into()),
                (names::BOWLINE_INSTANCE.into(), "c-1\x1bc".into()),
                (names::BOWLINE_OUTCOME.into(), "reset".into()),
                (names::BOWLINE_DURATION_NANOS.into(), 1_500_000_i64.into()),
            ];
            inner.events.push(Event { at_unix_nanos: 0, name: names::EVENT_ATTEMPT.into(), attributes });
        }
        let outer = span(1, None, "a", 0, 1_000_000);
        let full = "█".repeat(32);
        let half = format!("{}{}", "·".repeat(16), "█".repeat(16));
        let expected = [
            format!("a · GET /    {full}   1.00 ms  [a-1]"),
            format!("  b · GET /  {half}    500 µs  [b-1] ✗ answered 503"),
            "    attempt 1 → c-1c: reset 1.50 ms".to_owned(),
            "    attempt 2 → c-1c: reset 1.50 ms".to_owned(),
        ];
        assert_eq!(lines(&[inner, outer], false), expected);
    }

    #[test]
    fn faults_are_told_on_the_line_of_whom_they_befell() {
        let fault = |id: &'static str, delay: Option<i64>, abort: Option<i64>| {
            let attribute = |key: &'static str, value: i64| (key.into(), value.into());
            let id = (names::BOWLINE_FAULT.into(), id.into());
            let delay = delay.map(|millis| attribute(names::BOWLINE_FAULT_DELAY_MS, millis));
            let abort = abort.map(|status| attribute(names::BOWLINE_FAULT_ABORT, status));
            let attributes = [Some(id), delay, abort].into_iter().flatten().collect();
            Event { at_unix_nanos: 0, name: names::EVENT_FAULT.into(), attributes }
        };
        for (faults, expected) in [
            (vec![fault("f73f8d9", Some(300), None)], "[b-1] fault f73f8d9 +300ms"),
            (vec![fault("f73f8d9", None, Some(503))], "[b-1] fault f73f8d9 503"),
            (vec![fault("f1", Some(1500), Some(500))], "[b-1] fault f1 +1s 500ms 500"),
            (
                vec![fault("f1", Some(300), None), fault("f\x1b2", None, Some(503))],
                "[b-1] fault f1 +300ms fault f2 503",
            ),
        ] {
            let mut span = span(1, None, "b", 0, 1_000_000);
            span.events = faults;
            let lines = lines(&[span], false);
            assert!(lines.len() == 1 && lines[0].ends_with(expected), "{lines:?}");
        }
    }
}
