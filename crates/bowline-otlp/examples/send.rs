//! Sends spans to a collector as fast as it takes them, and prints JSON: what was sent, what was taken.
//!
//! `send HOST:PORT [SECONDS] [CONNECTIONS]` posts OTLP as protobuf over HTTP/1.1, one request after the
//! other on each connection. The requests hold the spans of the example system `shop`, encoded once;
//! before each is sent, its ids become new ones and its times those of now.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement fails loudly and prints what it found")]

#[path = "../../bowline-observe/tests/it/shop.rs"]
mod shop;

use std::{
    collections::{BTreeMap, HashMap},
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use bowline_runtime::{
    rand,
    time::{self, Instant},
};
use bowline_telemetry::{Key, SpanData, SpanKind, Status, Value};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{self as wire, ResourceSpans, ScopeSpans},
};
use prost::Message as _;

/// Orders of one request: about 600 spans.
const ORDERS: u32 = 100;
/// Requests that each connection repeats in turn, under other ids.
const TEMPLATES: usize = 8;
/// How long one waits that was told to come again.
const BUSY: Duration = Duration::from_millis(5);
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What became of the spans.
#[derive(Debug, Default)]
struct Told {
    sent: u64,
    accepted: u64,
    /// Requests that were answered with 429 or 503 and sent again.
    again: u64,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let addr = arguments.next().expect("HOST:PORT");
    let seconds: f64 = arguments.next().map_or(5.0, |text| text.parse().unwrap());
    let connections: usize = arguments.next().map_or(4, |text| text.parse().unwrap());
    let made = time::now();
    let templates: Vec<Vec<Template>> =
        (0..connections).map(|_| (0..TEMPLATES).map(|_| Template::new(&addr)).collect()).collect();
    let begun = time::now();
    let end = begun + Duration::from_secs_f64(seconds);
    let told: Vec<Told> = thread::scope(|scope| {
        let send = |mut of_one: Vec<Template>| {
            let addr = addr.as_str();
            scope.spawn(move || send(addr, &mut of_one, made, end))
        };
        let threads: Vec<_> = templates.into_iter().map(send).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let sum = |pick: fn(&Told) -> u64| told.iter().map(pick).sum::<u64>();
    println!(
        "{{\"sent\":{},\"accepted\":{},\"again\":{},\"seconds\":{:.6}}}",
        sum(|told| told.sent),
        sum(|told| told.accepted),
        sum(|told| told.again),
        begun.elapsed().as_secs_f64()
    );
}

/// Sends until the end over one connection.
fn send(addr: &str, templates: &mut [Template], made: Instant, end: Instant) -> Told {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    let (mut told, mut answer) = (Told::default(), Vec::new());
    for at in (0..templates.len()).cycle() {
        if time::now() >= end {
            break;
        }
        let template = &mut templates[at];
        template.renew(u64::try_from(made.elapsed().as_nanos()).unwrap());
        told.sent += template.spans;
        loop {
            stream.write_all(&template.request).unwrap();
            match read_answer(&mut stream, &mut answer) {
                (200, body) => {
                    told.accepted += template.spans - refused(body);
                    break;
                }
                (429 | 503, _) if time::now() < end => {
                    told.again += 1;
                    thread::sleep(BUSY);
                }
                (429 | 503, _) => break,
                (status, body) => panic!("answered {status}: {}", String::from_utf8_lossy(body)),
            }
        }
    }
    told
}

/// The status and the body of the next answer.
fn read_answer<'a>(stream: &mut TcpStream, buffer: &'a mut Vec<u8>) -> (u16, &'a [u8]) {
    buffer.clear();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the connection was closed");
        buffer.extend_from_slice(&chunk[..count]);
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&buffer[..end]).unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().unwrap())
        });
        let length = length.expect("an answer says its length");
        if buffer.len() >= end + 4 + length {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return (status, &buffer[end + 4..end + 4 + length]);
        }
    }
}

/// How many spans an answer says were not taken.
fn refused(body: &[u8]) -> u64 {
    let answer = ExportTraceServiceResponse::decode(body).unwrap();
    answer.partial_success.map_or(0, |partial| partial.rejected_spans.cast_unsigned())
}

/// A request with its head, and where its ids and times are.
struct Template {
    request: Vec<u8>,
    patches: Vec<(usize, Patch)>,
    /// As many as there are different ids.
    ids: Vec<u64>,
    spans: u64,
}

/// What eight bytes of a request are.
#[derive(Clone, Copy)]
enum Patch {
    /// The id of that number, or half of it.
    Id(usize),
    /// Nanoseconds since 1970, when the request was made.
    Time(u64),
}

impl Template {
    fn new(addr: &str) -> Self {
        let now = time::unix_nanos(time::wall()) - 100_000_000;
        let spans: Vec<SpanData> = (0..ORDERS).flat_map(|at| shop::order(now + u64::from(at) * 100_000)).collect();
        let body = encode(&spans);
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let known = known(&spans);
        let found = body.windows(8).enumerate().filter_map(|(at, eight)| Some((head.len() + at, *known.get(eight)?)));
        let patches: Vec<(usize, Patch)> = found.collect();
        let ids = patches.iter().filter_map(|(_, patch)| if let Patch::Id(id) = patch { Some(id + 1) } else { None });
        let ids = vec![0; ids.max().unwrap()];
        Self { request: [head.as_bytes(), &body].concat(), patches, ids, spans: spans.len() as u64 }
    }

    /// Gives it new ids, and times that are so much later.
    fn renew(&mut self, later_nanos: u64) {
        self.ids.fill_with(|| rand::u64() | 1);
        for (at, patch) in &self.patches {
            let eight = match patch {
                Patch::Id(id) => self.ids[*id].to_be_bytes(),
                Patch::Time(nanos) => (nanos + later_nanos).to_le_bytes(),
            };
            self.request[*at..*at + 8].copy_from_slice(&eight);
        }
    }
}

/// The bytes of all ids and times. Random ids do not occur by chance, nor do nanoseconds.
fn known(spans: &[SpanData]) -> HashMap<[u8; 8], Patch> {
    let mut known = HashMap::new();
    let mut ids = 0;
    let mut id = |known: &mut HashMap<[u8; 8], Patch>, bytes: [u8; 8]| {
        known.entry(bytes).or_insert_with(|| {
            ids += 1;
            Patch::Id(ids - 1)
        });
    };
    for span in spans {
        let trace_id = span.trace_id.get().to_be_bytes();
        id(&mut known, trace_id[..8].try_into().unwrap());
        id(&mut known, trace_id[8..].try_into().unwrap());
        id(&mut known, span.span_id.get().to_be_bytes());
        let events = span.events.iter().map(|event| event.at_unix_nanos);
        for nanos in events.chain([span.start_unix_nanos, span.end_unix_nanos()]) {
            known.insert(nanos.to_le_bytes(), Patch::Time(nanos));
        }
    }
    known
}

/// The spans of each instance stand together, as a collector passes them on.
fn encode(spans: &[SpanData]) -> Vec<u8> {
    let mut by_instance: BTreeMap<(&str, &str), Vec<wire::Span>> = BTreeMap::new();
    for span in spans {
        by_instance.entry((&span.service, &span.instance)).or_default().push(wire_span(span));
    }
    let resource_spans = by_instance.into_iter().map(|((service, instance), spans)| {
        let attributes = vec![text("service.name", service), text("service.instance.id", instance)];
        let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource = Some(Resource { attributes, ..Resource::default() });
        ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec()
}

fn wire_span(span: &SpanData) -> wire::Span {
    let event = |event: &bowline_telemetry::Event| wire::span::Event {
        time_unix_nano: event.at_unix_nanos,
        name: event.name.to_string(),
        attributes: attributes(&event.attributes),
        ..wire::span::Event::default()
    };
    let status = match &span.status {
        Status::Error(message) => Some(wire::Status { message: message.clone(), code: 2 }),
        Status::Unset | Status::Ok => None,
    };
    wire::Span {
        trace_id: span.trace_id.get().to_be_bytes().to_vec(),
        span_id: span.span_id.get().to_be_bytes().to_vec(),
        parent_span_id: span.parent_span_id.map(|id| id.get().to_be_bytes().to_vec()).unwrap_or_default(),
        name: span.name.to_string(),
        kind: if span.kind == SpanKind::Client { 3 } else { 2 },
        start_time_unix_nano: span.start_unix_nanos,
        end_time_unix_nano: span.end_unix_nanos(),
        attributes: attributes(&span.attributes),
        events: span.events.iter().map(event).collect(),
        status,
        ..wire::Span::default()
    }
}

fn attributes(all: &[(Key, Value)]) -> Vec<KeyValue> {
    all.iter()
        .map(|(key, value)| match value {
            Value::Text(value) => text(key, value),
            Value::Int(value) => attribute(key, any_value::Value::IntValue(*value)),
            Value::Bool(value) => attribute(key, any_value::Value::BoolValue(*value)),
            Value::Float(value) => attribute(key, any_value::Value::DoubleValue(*value)),
        })
        .collect()
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
