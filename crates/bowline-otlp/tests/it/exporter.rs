//! What a collector is sent, and what becomes of what it does not take.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bowline_model::Secret;
use bowline_otlp::{ExportSettings, Exporter, Receiver, Settings};
use bowline_runtime::{
    drain::{self, Drainer},
    metric::Registry,
    net, task,
};
use bowline_telemetry::{Event, Link, SpanData, SpanId, SpanKind, Status, TraceId, Value};
use bowline_transport::{Body, server};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

use crate::receiver::{Kept, Word};

const SOON: Duration = Duration::from_secs(20);

fn span(at: u64) -> SpanData {
    let trace_id = TraceId::new(7).unwrap();
    SpanData {
        trace_id,
        span_id: SpanId::new(at + 1).unwrap(),
        parent_span_id: (at > 0).then(|| SpanId::new(at).unwrap()),
        service: if at.is_multiple_of(2) { "order".into() } else { "payment".into() },
        instance: format!("i-{}", at % 3).into(),
        name: "GET /orders/{id}".into(),
        kind: [SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer]
            [usize::try_from(at % 5).unwrap()],
        start_unix_nanos: 1_764_000_000_000_000_000 + at,
        duration_nanos: 7_000_000,
        status: [Status::Unset, Status::Ok, Status::Error("broke".repeat(60))][usize::try_from(at % 3).unwrap()]
            .clone(),
        attributes: vec![
            ("text".into(), Value::from("ü".repeat(100))),
            ("empty".into(), Value::from("")),
            ("int".into(), Value::Int(-7)),
            ("zero".into(), Value::Int(0)),
            ("float".into(), Value::Float(0.0)),
            ("no".into(), Value::Bool(false)),
        ],
        events: vec![Event { at_unix_nanos: at, name: "e".into(), attributes: vec![("k".into(), "v".into())] }],
        links: vec![Link { trace_id, span_id: SpanId::new(99).unwrap(), attributes: vec![("k".into(), 1_u64.into())] }],
    }
}

fn spans(count: u64) -> Vec<SpanData> {
    (0..count).map(span).collect()
}

fn settings(addr: std::net::SocketAddr, metrics: &Registry) -> ExportSettings {
    let mut settings = ExportSettings::new(format!("http://{addr}").parse().unwrap());
    settings.batch_wait = Duration::from_millis(5);
    settings.metrics = metrics.clone();
    settings
}

/// What a collector was asked, and what it answers in turn; the last answer stays.
#[derive(Clone)]
struct Collector {
    asked: Arc<Mutex<Vec<(http::HeaderMap, ExportTraceServiceRequest)>>>,
    answers: Arc<Mutex<Vec<Response<&'static [u8]>>>>,
}

impl Collector {
    fn start(answers: Vec<Response<&'static [u8]>>) -> (Self, std::net::SocketAddr, Drainer) {
        let collector = Self { asked: Arc::default(), answers: Arc::new(Mutex::new(answers)) };
        let listener = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        let (drainer, drain) = drain::channel();
        let served = collector.clone();
        let make = move |_: &server::Peer| {
            let collector = served.clone();
            server::service_fn(move |request| collector.clone().answer(request))
        };
        task::spawn(server::serve(listener, server::Settings::default(), drain, make));
        (collector, addr, drainer)
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>, std::convert::Infallible> {
        assert_eq!(request.uri().path(), "/v1/traces");
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let mut plain = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(&body[..]), &mut plain).unwrap();
        let told = ExportTraceServiceRequest::decode(&plain[..]).unwrap();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push((head.headers, told));
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        Ok(answer.map(Body::full))
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn status(status: u16) -> Response<&'static [u8]> {
    Response::builder().status(status).body(&b""[..]).unwrap()
}

#[tokio::test]
async fn what_is_passed_on_is_what_was_reported() {
    let kept = Kept::new(1000);
    let receiver = Receiver::new(kept.clone(), Word(Some("Bearer sesame")), Settings::default());
    let listener = net::listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = listener.local_addr().unwrap();
    let (_drainer, drain) = drain::channel();
    task::spawn(receiver.serve(listener, server::Settings::default(), drain));
    let metrics = Registry::default();
    let mut settings = settings(addr, &metrics);
    settings.headers.push((http::header::AUTHORIZATION, Secret::new("Bearer sesame")));
    assert!(!format!("{settings:?}").contains("sesame"));
    let exporter = Exporter::start(settings);
    exporter.offer(&spans(60));
    exporter.offer(&spans(120)[60..]);
    exporter.drain(SOON).await;
    let mut arrived = kept.spans();
    arrived.sort_by_key(|span| span.span_id);
    assert_eq!(arrived, spans(120));
    assert!(metrics.render().contains("bowline_otlp_exported_total 120"), "{}", metrics.render());
}

#[tokio::test]
async fn those_of_one_instance_stand_together() {
    let (collector, addr, _drainer) = Collector::start(vec![status(200)]);
    let exporter = Exporter::start(settings(addr, &Registry::default()));
    exporter.offer(&spans(12));
    exporter.drain(SOON).await;
    let asked = collector.asked.lock().unwrap_or_else(PoisonError::into_inner);
    let [(headers, request)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(
        (&headers["content-type"], &headers["content-encoding"]),
        (&"application/x-protobuf".parse().unwrap(), &"gzip".parse().unwrap(),)
    );
    assert_eq!(request.resource_spans.len(), 6, "two services, three instances each");
    assert!(request.resource_spans.iter().all(|of_one| of_one.scope_spans[0].spans.len() == 2));
}

#[tokio::test]
async fn what_cannot_be_taken_now_is_sent_again() {
    let later = Response::builder().status(503).header("retry-after", "0").body(&b""[..]).unwrap();
    // The last one takes all but one.
    let partly = Response::new(&b"\x0a\x02\x08\x01"[..]);
    let (collector, addr, _drainer) = Collector::start(vec![later, partly]);
    let metrics = Registry::default();
    let exporter = Exporter::start(settings(addr, &metrics));
    exporter.offer(&spans(5));
    exporter.drain(SOON).await;
    assert_eq!(collector.asked(), 2);
    let text = metrics.render();
    assert!(text.contains("bowline_otlp_exported_total 4"), "{text}");
    assert!(text.contains(r#"bowline_otlp_export_dropped_total{reason="refused"} 1"#), "{text}");
}

#[tokio::test]
async fn what_is_refused_for_good_is_dropped_and_counted() {
    for refused in [StatusCode::BAD_REQUEST, StatusCode::UNAUTHORIZED, StatusCode::PAYLOAD_TOO_LARGE] {
        let (collector, addr, _drainer) = Collector::start(vec![status(refused.as_u16())]);
        let metrics = Registry::default();
        let exporter = Exporter::start(settings(addr, &metrics));
        exporter.offer(&spans(5));
        exporter.drain(SOON).await;
        assert_eq!(collector.asked(), 1, "{refused}");
        assert!(metrics.render().contains(r#"bowline_otlp_export_dropped_total{reason="refused"} 5"#));
    }
}

#[tokio::test]
async fn nobody_waits_for_a_collector_that_is_away() {
    let metrics = Registry::default();
    let mut settings = settings(bowline_testkit::free_addr(), &metrics);
    settings.queue_bytes_max = 16 * 1024;
    let exporter = Exporter::start(settings);
    for _ in 0..100 {
        exporter.offer(&spans(10));
    }
    exporter.drain(Duration::from_millis(50)).await;
    exporter.offer(&spans(3));
    let text = metrics.render();
    let count = |reason: &str| {
        let start = format!("bowline_otlp_export_dropped_total{{reason=\"{reason}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    assert_eq!(count("queue_full") + count("stopping"), 1003, "{text}");
    assert!(count("queue_full") > 900, "{text}");
}
