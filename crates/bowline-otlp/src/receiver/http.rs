//! OTLP/HTTP: `POST /v1/traces`, in protocol buffers or JSON.
//!
//! Source: opentelemetry.io/docs/specs/otlp, "OTLP/HTTP".

use bowline_model::Code;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};

use super::{AnswerBody, Failure, Protocol, Taken};

const PATH: &str = "/v1/traces";
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
/// Where other signals are sent.
const OTHERS: [&str; 3] = ["/v1/metrics", "/v1/logs", "/v1development/profiles"];

/// How the body is written; where nobody can tell, the answer is JSON.
pub(super) fn protocol(head: &Parts) -> Protocol {
    if media_type(head).eq_ignore_ascii_case(PROTOBUF) { Protocol::Protobuf } else { Protocol::Json }
}

/// Whether the body is one of ours, and gzip.
pub(super) fn check(head: &Parts) -> Result<bool, Failure> {
    let path = head.uri.path();
    if OTHERS.contains(&path) {
        let message = format!("{path} is not kept here: Bowline takes traces by OTLP, at {PATH}");
        return Err(Failure::new(Code::NotFound, message));
    }
    if path != PATH {
        return Err(Failure::new(Code::NotFound, format!("nothing is at {path}: OTLP's traces are sent to {PATH}")));
    }
    if head.method != Method::POST {
        return Err(Failure::new(Code::MethodNotAllowed, format!("{} is not for {PATH}: POST is", head.method)));
    }
    let media_type = media_type(head);
    if ![PROTOBUF, JSON].iter().any(|known| media_type.eq_ignore_ascii_case(known)) {
        let message = format!("`{media_type}` is not read here: send {PROTOBUF} or {JSON}");
        return Err(Failure::new(Code::UnsupportedMediaType, message));
    }
    match text(head, &header::CONTENT_ENCODING) {
        "" | "identity" => Ok(false),
        encoding if encoding.eq_ignore_ascii_case("gzip") => Ok(true),
        encoding => {
            let message = format!("the encoding `{encoding}` is not read here: send gzip, or none");
            Err(Failure::new(Code::UnsupportedMediaType, message))
        }
    }
}

/// The answer, in the encoding of the request.
pub(super) fn answer(outcome: &Result<Taken, Failure>, is_json: bool) -> Response<AnswerBody> {
    let (status, retry_after, body) = match outcome {
        Ok(taken) => (200, None, if is_json { taken.to_json() } else { taken.to_protobuf() }),
        Err(failure) => {
            let body = if is_json { failure.to_json() } else { failure.to_protobuf() };
            (failure.code.http_status(), failure.retry_after, body)
        }
    };
    let mut response = Response::new(AnswerBody::full(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(if is_json { JSON } else { PROTOBUF }));
    if let Some(after) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    if status == 401 {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bowline\""));
    }
    if status == 405 {
        headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

fn media_type(head: &Parts) -> &str {
    text(head, &header::CONTENT_TYPE).split(';').next().unwrap_or_default().trim()
}

fn text<'a>(head: &'a Parts, name: &header::HeaderName) -> &'a str {
    head.headers.get(name).map_or("", |value| value.to_str().unwrap_or("?"))
}
