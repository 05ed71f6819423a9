//! OTLP/gRPC: one unary method, framed by hand.
//!
//! Source: github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md.

use std::fmt::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bowline_model::Code;
use http::{HeaderMap, HeaderValue, Response, Version, header, request::Parts};

use super::{AnswerBody, Failure, Message, Taken};

/// What stands before a message: whether it is compressed, and its length.
pub(super) const PREFIX_BYTES: usize = 5;

const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Where other signals are sent.
const OTHERS: [&str; 3] = [
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export",
];
const MEDIA_TYPE: &str = "application/grpc";
const ENCODING: &str = "grpc-encoding";

/// Whether a request is gRPC: `application/grpc`, which only HTTP/2 carries.
pub(super) fn is_grpc(head: &Parts) -> bool {
    let media_type = head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = media_type.strip_prefix(MEDIA_TYPE.as_bytes());
    head.version == Version::HTTP_2 && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Whether the request is one of ours; whether its message is gzip where it is compressed.
pub(super) fn check(head: &Parts) -> Result<bool, Failure> {
    let path = head.uri.path();
    // gRPC's "unimplemented", as for methods that are not for a path.
    let unimplemented = |message| Err(Failure::new(Code::MethodNotAllowed, message));
    if OTHERS.contains(&path) {
        return unimplemented(format!("{path} is not kept here: Bowline takes traces by OTLP"));
    }
    if path != PATH {
        return unimplemented(format!("there is no {path}: OTLP's traces are sent to {PATH}"));
    }
    match head.headers.get(ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(false),
        Some(b"gzip") => Ok(true),
        Some(_) => unimplemented(format!("this {ENCODING} is not read here: send gzip, or identity")),
    }
}

/// The one message of a body.
pub(super) fn unframe(mut message: Message) -> Result<Message, Failure> {
    let bad = |what: &str| Err(Failure::new(Code::InvalidArgument, what));
    if message.bytes.len() < PREFIX_BYTES {
        return bad("the request holds no message");
    }
    let prefix = message.bytes.split_to(PREFIX_BYTES);
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
    if usize::try_from(length).ok() != Some(message.bytes.len()) {
        return bad("the request does not hold one whole message");
    }
    message.is_gzip = match (prefix[0], message.is_gzip) {
        (0, _) => false,
        (1, true) => true,
        _ => return bad("the message is compressed, and nobody says how"),
    };
    Ok(message)
}

pub(super) fn answer(outcome: &Result<Taken, Failure>) -> Response<AnswerBody> {
    let body = match outcome {
        Ok(taken) => AnswerBody::full(frame(&taken.to_protobuf())).with_trailers(status(outcome)),
        Err(_) => AnswerBody::default(),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if outcome.is_err() {
        // Without a message, the status comes at once.
        response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip"));
        response.headers_mut().extend(status(outcome));
    }
    response
}

fn frame(message: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    out.extend_from_slice(&u32::try_from(message.len()).expect("an answer is short").to_be_bytes());
    out.extend_from_slice(message);
    out
}

fn status(outcome: &Result<Taken, Failure>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Err(failure) = outcome else {
        headers.insert("grpc-status", HeaderValue::from_static("0"));
        return headers;
    };
    headers.insert("grpc-status", HeaderValue::from(u16::from(failure.code.grpc_status())));
    let message = HeaderValue::from_str(&percent_encoded(&failure.message));
    headers.insert("grpc-message", message.expect("it is visible ASCII"));
    if failure.retry_after.is_some() {
        let details = HeaderValue::from_str(&STANDARD_NO_PAD.encode(failure.to_protobuf()));
        headers.insert("grpc-status-details-bin", details.expect("base64 is ASCII"));
    }
    headers
}

fn percent_encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(byte.into()),
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}
