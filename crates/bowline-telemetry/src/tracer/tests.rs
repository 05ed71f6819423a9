//! Tests of spans.

use std::{sync::Mutex, time::Duration};

use bowline_runtime::rand;

use super::*;
use crate::{Always, Never, ParentBased};

/// Keeps what is reported.
#[derive(Default)]
struct Kept(Mutex<Vec<SpanData>>);

impl Reporter for Kept {
    fn report(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
}

impl Kept {
    fn only(&self) -> SpanData {
        let mut spans = self.0.lock().unwrap();
        assert_eq!(spans.len(), 1);
        spans.pop().unwrap()
    }
}

fn tracer(sampler: impl Sampler) -> (Tracer, Arc<Kept>) {
    let kept = Arc::new(Kept::default());
    (Tracer::new("order", "order-1", sampler, Arc::clone(&kept)), kept)
}

#[tokio::test(start_paused = true)]
async fn a_span_says_what_happened_and_when() {
    let (tracer, kept) = tracer(Always);
    let before = time::unix_nanos(time::wall());
    let mut span = tracer.start("GET", SpanKind::Server, None);
    time::sleep(Duration::from_millis(5)).await;
    span.set("a", 1_u16);
    span.set("a", "two");
    span.event("attempt", vec![("bowline.attempt".into(), 1_i64.into())]);
    span.rename("GET /orders");
    time::sleep(Duration::from_millis(7)).await;
    span.fail("no");
    let ctx = span.context();
    span.end();
    let data = kept.only();
    assert_eq!((data.trace_id, data.span_id, data.parent_span_id), (ctx.trace_id, ctx.span_id, None));
    assert_eq!((&*data.service, &*data.instance, &*data.name), ("order", "order-1", "GET /orders"));
    assert_eq!(data.start_unix_nanos, before);
    assert_eq!(data.duration_nanos, 12_000_000);
    assert_eq!(data.status, Status::Error("no".to_owned()));
    assert_eq!(data.attributes, [("a".into(), "two".into())]);
    assert_eq!(data.events[0].at_unix_nanos, before + 5_000_000);
    data.validate().unwrap();
}

#[test]
fn a_child_is_of_its_parents_trace_and_shares_its_fate() {
    for is_sampled in [true, false] {
        let (tracer, kept) = tracer(ParentBased::new(0.5));
        let parent = SpanContext { trace_id: TraceId::generate(), span_id: SpanId::generate(), is_sampled };
        let child = tracer.start("child", SpanKind::Client, Some(parent));
        assert_eq!(child.context().trace_id, parent.trace_id);
        assert_ne!(child.context().span_id, parent.span_id);
        assert_eq!((child.context().is_sampled, child.is_recording()), (is_sampled, is_sampled));
        drop(child);
        let reported: Vec<_> = kept.0.lock().unwrap().iter().map(|span| span.parent_span_id).collect();
        assert_eq!(reported, if is_sampled { vec![Some(parent.span_id)] } else { vec![] });
    }
}

#[test]
fn an_unsampled_span_reports_nothing_and_works_nothing_out() {
    let (tracer, kept) = tracer(Never);
    let mut span = tracer.start("a", SpanKind::Internal, None);
    span.set_with("a", || -> i64 { panic!("not worked out") });
    span.event_with("a", || panic!("not worked out"));
    span.fail("a");
    span.rename("b");
    drop(span);
    assert!(kept.0.lock().unwrap().is_empty());
}

#[test]
fn a_disabled_tracer_passes_the_context_on() {
    let parent = SpanContext { trace_id: TraceId::generate(), span_id: SpanId::generate(), is_sampled: true };
    assert_eq!(Tracer::disabled().start("a", SpanKind::Server, Some(parent)).context(), parent);
    assert!(!Tracer::disabled().start("a", SpanKind::Server, None).context().is_sampled);
}

#[test]
fn a_span_aside_is_reported_only_if_kept_and_stands_beside_what_goes_on() {
    let (tracer, kept) = tracer(ParentBased::new(1.0));
    let parent = SpanContext { trace_id: TraceId::generate(), span_id: SpanId::generate(), is_sampled: true };
    let span = tracer.start_aside("a", SpanKind::Server, Some(parent));
    assert_eq!((span.passed_on(), span.is_kept(), span.is_recording()), (Some(parent), false, true));
    assert_eq!(span.unrecorded().passed_on(), Some(parent));
    drop(span);
    assert!(kept.0.lock().unwrap().is_empty());
    let mut span = tracer.start_aside("a", SpanKind::Server, Some(parent));
    span.keep();
    assert_eq!(span.passed_on(), Some(parent));
    drop(span);
    let data = kept.only();
    assert_eq!((data.trace_id, data.parent_span_id), (parent.trace_id, Some(parent.span_id)));
    assert_ne!(data.span_id, parent.span_id);
    let unsampled = SpanContext { is_sampled: false, ..parent };
    let mut span = tracer.start_aside("a", SpanKind::Server, Some(unsampled));
    span.keep();
    assert_eq!((span.passed_on(), span.is_kept()), (Some(unsampled), false));
}

#[test]
fn a_span_aside_without_a_caller_is_passed_on_only_if_kept() {
    let (tracer, kept) = tracer(Always);
    let mut span = tracer.start_aside("a", SpanKind::Server, None);
    assert_eq!(span.passed_on(), None);
    span.keep();
    let passed_on = span.passed_on().unwrap();
    drop(span);
    let data = kept.only();
    assert_eq!((data.trace_id, data.span_id, data.parent_span_id), (passed_on.trace_id, passed_on.span_id, None));
}

#[test]
fn bounds_hold_and_say_how_much_was_dropped() {
    let (tracer, kept) = tracer(Always);
    let mut span = tracer.start("é".repeat(NAME_BYTES_MAX), SpanKind::Internal, None);
    for i in 0..ATTRIBUTES_MAX + 6 {
        span.set(format!("k{i}"), "€".repeat(if i == 0 { VALUE_BYTES_MAX } else { 1 }));
    }
    for _ in 0..EVENTS_MAX - 1 {
        span.event("e", vec![]);
    }
    span.event("e", (0..EVENT_ATTRIBUTES_MAX + 4).map(|i| (Key::Owned(format!("k{i}")), Value::from(i))).collect());
    span.event("e", vec![]);
    span.fail("x".repeat(VALUE_BYTES_MAX + 1));
    span.set("", 1);
    drop(span);
    let data = kept.only();
    data.validate().unwrap();
    assert_eq!((data.attributes.len(), data.events.len()), (ATTRIBUTES_MAX, EVENTS_MAX));
    assert_eq!(data.name.len(), NAME_BYTES_MAX);
    // Cut between characters of three bytes.
    assert_eq!(data.attribute("k0").unwrap().to_string().len(), VALUE_BYTES_MAX - 1);
    // Six attributes and one for the note, four of an event, one event, one without a name.
    assert_eq!(data.attribute(names::BOWLINE_DROPPED), Some(&Value::Int(6 + 1 + 4 + 1 + 1)));
}

#[test]
fn a_span_of_any_texts_is_valid() {
    let seed = 11;
    rand::seed(seed);
    let (tracer, kept) = tracer(Always);
    for _ in 0..200 {
        let mut span = tracer.start("x".repeat(1 + rand::below(400)), SpanKind::Consumer, None);
        for _ in 0..rand::below(100) {
            let text = || "€".repeat(rand::below(2000));
            span.set(text(), text());
            span.event(text(), (0..rand::below(40)).map(|_| (text().into(), text().into())).collect());
        }
        drop(span);
        let data = kept.only();
        assert_eq!(data.validate(), Ok(()), "seed {seed}");
        assert!(data.text_bytes() <= SPAN_BYTES_MAX, "seed {seed}");
    }
}
