//! How fast requests are read, beside the generated types that others read them with.
//!
//! `cargo run --release -p bowline-otlp --example decode`

#![expect(clippy::print_stdout, reason = "it says what it measured")]

use std::{hint::black_box, io::Write as _, time::Duration};

use bowline_otlp::{from_json, from_protobuf};
use bowline_runtime::time;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, span::Event},
};
use prost::Message as _;

/// As many as the SDKs send at once.
const SPANS: u32 = 512;
const TIME: Duration = Duration::from_secs(2);

fn main() {
    let request = request();
    let protobuf = request.encode_to_vec();
    let json = serde_json::to_vec(&request).expect("it is JSON");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&protobuf).expect("memory takes it");
    let gzip = gzip.finish().expect("memory takes it");
    println!(
        "{SPANS} spans: {} bytes of protobuf, {} of JSON, {} of protobuf with gzip",
        protobuf.len(),
        json.len(),
        gzip.len()
    );
    measure("protobuf, into spans", || drop(black_box(from_protobuf(&protobuf))));
    measure("protobuf, generated types alone", || {
        drop(black_box(ExportTraceServiceRequest::decode(&protobuf[..])));
    });
    measure("protobuf with gzip, into spans", || {
        let mut plain = Vec::new();
        std::io::copy(&mut flate2::read::GzDecoder::new(&gzip[..]), &mut plain).expect("it is gzip");
        drop(black_box(from_protobuf(&plain)));
    });
    measure("JSON, into spans", || drop(black_box(from_json(&json))));
    measure("JSON, generated types alone", || {
        drop(black_box(serde_json::from_slice::<ExportTraceServiceRequest>(&json)));
    });
}

fn measure(what: &str, mut read: impl FnMut()) {
    let begun = time::now();
    let mut rounds = 0_u32;
    while begun.elapsed() < TIME {
        read();
        rounds += 1;
    }
    let rate = f64::from(rounds) * f64::from(SPANS) / begun.elapsed().as_secs_f64();
    println!("{what}: {rate:.0} spans/s");
}

/// Spans as instrumented HTTP servers report them.
fn request() -> ExportTraceServiceRequest {
    let text = |key: &str, text: String| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(text)) }),
        ..KeyValue::default()
    };
    let number = |key: &str, number| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::IntValue(number)) }),
        ..KeyValue::default()
    };
    let span = |at: u32| Span {
        trace_id: (0x0af7_6519_16cd_43dd_8448_eb21_0000_0000 | u128::from(at / 8)).to_be_bytes().to_vec(),
        span_id: u64::from(at + 1).to_be_bytes().to_vec(),
        parent_span_id: u64::from(at + 1000).to_be_bytes().to_vec(),
        name: "GET /orders/{id}".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_764_000_000_000_000_000 + u64::from(at),
        end_time_unix_nano: 1_764_000_000_020_000_000,
        attributes: vec![
            text("http.request.method", "GET".to_owned()),
            text("http.route", "/orders/{id}".to_owned()),
            text("url.path", format!("/orders/{at}")),
            text("url.scheme", "http".to_owned()),
            text("server.address", "order.example".to_owned()),
            number("server.port", 8080),
            text("network.protocol.version", "1.1".to_owned()),
            text("user_agent.original", "python-requests/2.32".to_owned()),
            number("http.response.status_code", 200),
        ],
        events: vec![
            Event {
                time_unix_nano: 1_764_000_000_010_000_000,
                name: "cache.miss".to_owned(),
                attributes: vec![text("key", format!("order-{at}"))],
                ..Event::default()
            };
            usize::from(at.is_multiple_of(4))
        ],
        ..Span::default()
    };
    let resource = Resource {
        attributes: vec![
            text("service.name", "order".to_owned()),
            text("service.instance.id", "order-1".to_owned()),
            text("telemetry.sdk.language", "python".to_owned()),
            text("telemetry.sdk.name", "opentelemetry".to_owned()),
            text("telemetry.sdk.version", "1.38.0".to_owned()),
        ],
        ..Resource::default()
    };
    let scope =
        InstrumentationScope { name: "shop".to_owned(), version: "1.0".to_owned(), ..InstrumentationScope::default() };
    let scope_spans =
        vec![ScopeSpans { scope: Some(scope), spans: (0..SPANS).map(span).collect(), ..Default::default() }];
    let resource_spans = vec![ResourceSpans { resource: Some(resource), scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }
}
