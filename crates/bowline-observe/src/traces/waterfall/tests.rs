//! Tests of the layout.

use std::fmt::Write as _;

use bowline_runtime::rand;
use bowline_telemetry::{Status, TraceId};

use super::*;

fn span(id: u64, parent: u64, kind: SpanKind, start: u64, duration: u64) -> SpanData {
    SpanData {
        trace_id: TraceId::new(1).unwrap(),
        span_id: SpanId::new(id).unwrap(),
        parent_span_id: SpanId::new(parent),
        service: "a".into(),
        instance: "a-1".into(),
        name: "b".into(),
        kind,
        start_unix_nanos: 1000 + start,
        duration_nanos: duration,
        status: Status::Unset,
        attributes: vec![],
        events: vec![],
        links: vec![],
    }
}

fn internal(id: u64, parent: u64, start: u64, duration: u64) -> SpanData {
    span(id, parent, SpanKind::Internal, start, duration)
}

fn server(id: u64, parent: u64, start: u64, duration: u64) -> SpanData {
    span(id, parent, SpanKind::Server, start, duration)
}

/// One line a row: indented id, offset + duration, `?` for what is not there, `!` for orphans.
fn draw(spans: &[SpanData]) -> String {
    let mut text = String::new();
    for row in layout(spans) {
        let mark = if row.span.is_none() { "?" } else { "" };
        let orphan = if row.is_orphan { "!" } else { "" };
        let (id, from, long) = (row.span_id.get(), row.offset.as_nanos(), row.duration.as_nanos());
        writeln!(text, "{}{id}{mark}{orphan} {from}+{long}", " ".repeat(row.depth)).unwrap();
    }
    text
}

#[track_caller]
fn check(spans: &[SpanData], expect: &[&str]) {
    let drawn = draw(spans);
    assert_eq!(drawn.lines().collect::<Vec<_>>(), expect, "\n{drawn}");
}

#[test]
fn parents_stand_before_children_and_siblings_by_begin() {
    check(
        &[internal(4, 2, 30, 5), internal(3, 1, 60, 30), internal(2, 1, 10, 40), internal(1, 0, 0, 100)],
        &["1 0+100", " 2 10+40", "  4 30+5", " 3 60+30"],
    );
    check(&[], &[]);
}

#[test]
fn orphans_stand_under_the_parent_that_is_not_there() {
    check(
        &[internal(1, 0, 0, 100), internal(5, 9, 70, 10), internal(4, 9, 50, 10), internal(6, 4, 55, 1)],
        &["1 0+100", "9?! 50+30", " 4! 50+10", "  6 55+1", " 5! 70+10"],
    );
    check(&[internal(5, 9, 70, 10)], &["9?! 0+10", " 5! 0+10"]);
}

#[test]
fn a_clock_that_is_behind_or_ahead_is_brought_in_line() {
    // Behind: into the middle of its caller, and all under it with it.
    check(
        &[span(1, 0, SpanKind::Client, 1000, 100), server(2, 1, 400, 60), internal(3, 2, 410, 10)],
        &["1 0+100", " 2 20+60", "  3 30+10"],
    );
    // Ahead, past its caller's end.
    check(&[span(1, 0, SpanKind::Client, 0, 100), server(2, 1, 5000, 60)], &["1 0+100", " 2 20+60"]);
    // Longer than its caller: to its begin.
    check(&[span(1, 0, SpanKind::Client, 100, 50), server(2, 1, 0, 70)], &["1 0+50", " 2 0+70"]);
    // Work that goes on after its parent's end is no fault of a clock.
    check(
        &[internal(1, 0, 0, 10), span(2, 1, SpanKind::Consumer, 500, 5), internal(3, 1, 20, 5)],
        &["1 0+10", " 3 20+5", " 2 500+5"],
    );
}

#[test]
fn circles_and_doubles_are_shown_once() {
    check(&[internal(1, 2, 5, 10), internal(2, 1, 0, 10)], &["2! 0+10", " 1 5+10"]);
    check(&[internal(1, 1, 3, 10)], &["1! 0+10"]);
    check(
        &[internal(1, 0, 0, 9), internal(2, 1, 1, 5), internal(2, 1, 1, 5), internal(3, 2, 2, 1)],
        &["1 0+9", " 2 1+5", "  3 2+1", " 2 1+5"],
    );
    check(&[internal(1, 0, 50, 9), internal(7, 8, 0, 1), internal(8, 7, 60, 1)], &["1 0+9", "7! 0+1", " 8 60+1"]);
}

#[test]
fn a_deep_trace_needs_no_deep_stack() {
    let spans: Vec<_> = (1..=50_000).map(|id| internal(id, id - 1, id, 1)).collect();
    let rows = layout(&spans);
    assert_eq!((rows.len(), rows[49_999].depth), (50_000, 49_999));
}

#[test]
fn every_span_is_in_exactly_one_row() {
    for seed in 0..300 {
        rand::seed(seed);
        let count = 1 + rand::below(30);
        let any = |bound: usize| rand::below(bound) as u64;
        let spans: Vec<_> = (0..count)
            .map(|_| {
                let kind = if rand::below(2) == 0 { SpanKind::Server } else { SpanKind::Internal };
                let mut span = span(1 + any(20), any(24), kind, any(100), any(50));
                if rand::below(20) == 0 {
                    (span.start_unix_nanos, span.duration_nanos) = (rand::u64(), rand::u64());
                }
                span
            })
            .collect();
        let rows = layout(&spans);
        let mut shown: Vec<_> = rows.iter().filter_map(|row| row.span).collect();
        shown.sort_unstable();
        assert_eq!(shown, (0..count).collect::<Vec<_>>(), "seed {seed}");
        for pair in rows.windows(2) {
            assert!(pair[1].depth <= pair[0].depth + 1, "seed {seed}");
        }
        assert!(rows.iter().all(|row| row.depth > 0 || row.is_orphan || row.span.is_some()), "seed {seed}");
    }
}
