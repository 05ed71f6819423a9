//! What the receiver answers, by protocol.

use std::{
    io::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_model::Code;
use bowline_otlp::{Admission, Admit, Receiver, Refused, Settings, Sink};
use bowline_runtime::metric::Registry;
use bowline_telemetry::SpanData;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Version, request::Parts};
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message as _;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Keeps what it is given, up to a number of spans.
#[derive(Clone, Default)]
pub(crate) struct Kept {
    spans: Arc<Mutex<Vec<SpanData>>>,
    room: usize,
}

impl Kept {
    pub(crate) fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    pub(crate) fn spans(&self) -> Vec<SpanData> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Kept {
    fn take(&self, spans: Vec<SpanData>) -> usize {
        let mut kept = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.room - kept.len();
        // As the trace store: only what would never fit is taken in part.
        let count = if spans.len() <= room {
            spans.len()
        } else if kept.is_empty() {
            room
        } else {
            0
        };
        kept.extend(spans.into_iter().take(count));
        count
    }
}

/// Lets those in who say the word.
pub(crate) struct Word(pub(crate) Option<&'static str>);

impl Admit for Word {
    fn admit<'a>(&'a self, head: &'a Parts, _: Option<SocketAddr>) -> Admission<'a> {
        let said = head.headers.get("authorization").and_then(|value| value.to_str().ok());
        let is_in = self.0.is_none() || self.0 == said;
        let refused = || Refused { code: Code::Unauthenticated, message: "this needs a token: ü".to_owned() };
        Box::pin(std::future::ready(if is_in { Ok(()) } else { Err(refused()) }))
    }
}

type Headers<'a> = &'a [(&'a str, &'a str)];

struct Fixture {
    kept: Kept,
    receiver: Receiver,
    metrics: Registry,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: HeaderMap,
}

impl Fixture {
    fn new(room: usize) -> Self {
        Self::with(room, None)
    }

    fn with(room: usize, word: Option<&'static str>) -> Self {
        let (kept, metrics) = (Kept::new(room), Registry::default());
        let settings = Settings { message_bytes_max: 1 << 20, metrics: metrics.clone() };
        Self { receiver: Receiver::new(kept.clone(), Word(word), settings), kept, metrics }
    }

    async fn ask(&self, path: &str, headers: Headers<'_>, body: impl Into<Bytes>) -> Answer {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(body.into())).unwrap()).await
    }

    async fn grpc(&self, path: &str, headers: Headers<'_>, body: impl Into<Bytes>) -> Answer {
        let mut request = Request::post(path).version(Version::HTTP_2).header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::new(body.into())).unwrap()).await
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        let (head, body) = self.receiver.answer(request, None).await.into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned().unwrap_or_default();
        Answer { status: head.status, headers: head.headers, body: body.to_bytes(), trailers }
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The code and message of a `google.rpc.Status`.
    fn status_of(&self) -> (i64, String) {
        assert_eq!(self.header("content-type"), "application/json");
        let status: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        (status["code"].as_i64().unwrap(), status["message"].as_str().unwrap().to_owned())
    }
}

fn spans(count: u8) -> ExportTraceServiceRequest {
    let span = |at| Span { trace_id: vec![7; 16], span_id: vec![at; 8], name: "s".to_owned(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: (1..=count).map(span).collect(), ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

/// One that holds a span without an id as well.
fn half_good() -> ExportTraceServiceRequest {
    let mut request = spans(1);
    request.resource_spans[0].scope_spans[0].spans.push(Span::default());
    request
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag][..], &length, message].concat()
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

#[tokio::test]
async fn every_way_of_sending_is_taken() {
    let fixture = Fixture::new(100);
    let (bytes, json) = (spans(2).encode_to_vec(), serde_json::to_vec(&spans(2)).unwrap());
    for (headers, body, answer) in [
        (vec![PROTOBUF], bytes.clone(), ""),
        (vec![PROTOBUF, GZIP], gzip(&bytes), ""),
        (vec![JSON], json.clone(), "{}"),
        (vec![JSON, GZIP], gzip(&json), "{}"),
    ] {
        let told = fixture.ask("/v1/traces", &headers, body).await;
        assert_eq!((told.status, &told.body[..]), (StatusCode::OK, answer.as_bytes()), "{told:?}");
        assert!(headers[0].1.starts_with(told.header("content-type")));
    }
    for (headers, body) in [
        (vec![], framed(0, &bytes)),
        (vec![("grpc-encoding", "gzip")], framed(1, &gzip(&bytes))),
        (vec![("grpc-encoding", "gzip")], framed(0, &bytes)),
    ] {
        let told = fixture.grpc(EXPORT, &headers, body).await;
        assert_eq!((told.status, told.header("content-type")), (StatusCode::OK, "application/grpc"));
        assert_eq!((&told.body[..], &told.trailers["grpc-status"]), (&[0; 5][..], &"0".parse().unwrap()));
    }
    assert_eq!(fixture.kept.spans().len(), 14);
    let text = fixture.metrics.render();
    for line in [
        r#"bowline_otlp_spans_total{protocol="grpc",outcome="taken"} 6"#,
        r#"bowline_otlp_spans_total{protocol="http/json",outcome="taken"} 4"#,
        r#"bowline_otlp_requests_total{protocol="http/protobuf",code="ok"} 2"#,
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test]
async fn what_is_refused_is_told_in_the_answer() {
    let fixture = Fixture::new(100);
    let told = fixture.ask("/v1/traces", &[PROTOBUF], half_good().encode_to_vec()).await;
    let partial = ExportTraceServiceResponse::decode(told.body.clone()).unwrap().partial_success.unwrap();
    assert_eq!((told.status, partial.rejected_spans), (StatusCode::OK, 1));
    assert!(partial.error_message.starts_with("a trace id is"), "{partial:?}");
    let told = fixture.ask("/v1/traces", &[JSON], serde_json::to_vec(&half_good()).unwrap()).await;
    let json: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(json["partialSuccess"]["rejectedSpans"], "1");
    let told = fixture.grpc(EXPORT, &[], framed(0, &half_good().encode_to_vec())).await;
    let response = ExportTraceServiceResponse::decode(&told.body[5..]).unwrap();
    assert_eq!(
        (response.partial_success.unwrap().rejected_spans, &told.trailers["grpc-status"]),
        (1, &"0".parse().unwrap())
    );
    assert_eq!(fixture.kept.spans().len(), 3);
}

#[tokio::test]
async fn without_room_the_sender_is_told_to_come_again() {
    let fixture = Fixture::new(3);
    let bytes = spans(2).encode_to_vec();
    assert_eq!(fixture.ask("/v1/traces", &[PROTOBUF], bytes.clone()).await.status, StatusCode::OK);
    let told = fixture.ask("/v1/traces", &[PROTOBUF], bytes.clone()).await;
    assert_eq!((told.status, told.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    let told = fixture.grpc(EXPORT, &[], framed(0, &bytes)).await;
    assert_eq!((told.header("grpc-status"), told.body.len()), ("14", 0));
    // google.rpc.Status with a RetryInfo of one second.
    let details = told.header("grpc-status-details-bin");
    let details = base64::Engine::decode(&base64::engine::general_purpose::STANDARD_NO_PAD, details).unwrap();
    assert!(details.ends_with(b"google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01"), "{details:?}");
    assert_eq!(fixture.kept.spans().len(), 2, "all of a request, or nothing");
    // What would never fit is no use to send again.
    let fixture = Fixture::new(3);
    let told = fixture.ask("/v1/traces", &[PROTOBUF], spans(5).encode_to_vec()).await;
    let partial = ExportTraceServiceResponse::decode(told.body.clone()).unwrap().partial_success.unwrap();
    assert_eq!((told.status, partial.rejected_spans), (StatusCode::OK, 2));
}

#[tokio::test]
async fn what_is_no_request_is_told_by_protocol() {
    let fixture = Fixture::new(100);
    let good = spans(1).encode_to_vec();
    let big = vec![0; (1 << 20) + 9];
    let cases: &[(&str, Headers<'_>, Vec<u8>, u16, i64)] = &[
        ("/v1/traces", &[JSON], b"{".to_vec(), 400, 3),
        ("/v1/traces", &[JSON, GZIP], b"{}".to_vec(), 400, 3),
        ("/v1/traces", &[JSON], big.clone(), 413, 8),
        ("/v1/traces", &[JSON, GZIP], gzip(&big), 413, 8),
        ("/v1/traces", &[], good.clone(), 415, 3),
        ("/v1/traces", &[("content-type", "text/plain")], good.clone(), 415, 3),
        ("/v1/traces", &[JSON, ("content-encoding", "br")], good.clone(), 415, 3),
        ("/v1/metrics", &[JSON], b"{}".to_vec(), 404, 5),
        ("/v1/nothing", &[JSON], b"{}".to_vec(), 404, 5),
    ];
    for (path, headers, body, status, code) in cases {
        let told = fixture.ask(path, headers, body.clone()).await;
        assert_eq!((told.status.as_u16(), told.status_of().0), (*status, *code), "{path} {headers:?}");
        assert_eq!(told.header("retry-after"), "", "it is no use to send it again");
    }
    let kept_elsewhere = fixture.ask("/v1/logs", &[JSON], "{}").await.status_of().1;
    assert!(kept_elsewhere.contains("not kept here"), "{kept_elsewhere}");
    let told = fixture.ask("/v1/traces", &[PROTOBUF], "{}").await;
    // google.rpc.Status: the code 3, and a message.
    assert!(told.status == 400 && told.body.starts_with(b"\x08\x03\x12"), "{told:?}");
    let get = Request::get("/v1/traces").body(Full::default()).unwrap();
    let told = fixture.send(get).await;
    assert_eq!((told.status.as_u16(), told.header("allow")), (405, "POST"));
    assert!(fixture.kept.spans().is_empty());
}

#[tokio::test]
async fn what_is_no_grpc_request_is_told() {
    let fixture = Fixture::new(100);
    let good = spans(1).encode_to_vec();
    let logs = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let zstd = ("grpc-encoding", "zstd");
    let cases: &[(&str, Headers<'_>, Vec<u8>, &str)] = &[
        (logs, &[], framed(0, &good), "12"),
        ("/a.b.C/D", &[], framed(0, &good), "12"),
        (EXPORT, &[zstd], framed(1, &good), "12"),
        (EXPORT, &[], framed(1, &gzip(&good)), "3"),
        (EXPORT, &[], b"\0\0".to_vec(), "3"),
        (EXPORT, &[], [framed(0, &good), framed(0, &good)].concat(), "3"),
        (EXPORT, &[], framed(0, &good[1..]), "3"),
        (EXPORT, &[], framed(0, &vec![0; 1 << 21]), "8"),
    ];
    for (path, headers, body, status) in cases {
        let told = fixture.grpc(path, headers, body.clone()).await;
        assert_eq!((told.status.as_u16(), told.header("grpc-status")), (200, *status), "{path} {told:?}");
        assert!(told.body.is_empty() && !told.header("grpc-message").is_empty(), "{told:?}");
    }
    assert!(fixture.grpc(logs, &[], "").await.header("grpc-message").contains("not kept here"));
}

#[tokio::test]
async fn who_may_not_is_told() {
    let fixture = Fixture::with(100, Some("Bearer sesame"));
    let good = spans(1).encode_to_vec();
    let told = fixture.ask("/v1/traces", &[JSON], good.clone()).await;
    assert_eq!((told.status.as_u16(), told.status_of().0), (401, 16));
    assert!(told.header("www-authenticate").starts_with("Bearer"));
    let told = fixture.grpc(EXPORT, &[], framed(0, &good)).await;
    assert_eq!(told.header("grpc-status"), "16");
    assert_eq!(told.header("grpc-message"), "this needs a token: %C3%BC");
    let with = [("authorization", "Bearer sesame")];
    let told = fixture.grpc(EXPORT, &with, framed(0, &good)).await;
    assert_eq!(told.trailers["grpc-status"], "0");
    assert_eq!(fixture.kept.spans().len(), 1);
}

/// A body of which nothing more comes.
struct Silent;

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_arrive_is_given_up() {
    let fixture = Fixture::new(1);
    let request = Request::post("/v1/traces").header(JSON.0, JSON.1).body(Silent).unwrap();
    assert_eq!(fixture.receiver.answer(request, None).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}
