//! Problem documents (RFC 9457): how every error is told to a client.

use std::borrow::Cow;

use bowline_model::Code;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::body::Body;

/// The media type of a problem document.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// The response header that says which layer refused, and why.
pub const REASON_HEADER: &str = "x-bowline-reason";

/// The response header with the trace's id.
pub const TRACE_ID_HEADER: &str = "x-trace-id";

/// An error as a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of failure it is.
    pub code: Code,
    /// The HTTP status; the code's own unless changed.
    pub status: u16,
    /// A constant text for the code.
    pub title: &'static str,
    /// What went wrong this time, for people. Never a chain of causes.
    pub detail: String,
    /// Under which trace the rest can be found.
    pub trace_id: Option<String>,
    /// Which layer refused, in `snake_case`; sent as [`REASON_HEADER`].
    pub reason: Option<&'static str>,
    /// Members that problems of this kind have besides: what programs act upon.
    pub extra: Map<String, Value>,
}

/// The document on the wire.
#[derive(Serialize, Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", default = "about_blank", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    title: String,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

fn about_blank() -> Cow<'static, str> {
    Cow::Borrowed("about:blank")
}

impl Problem {
    /// A problem of that code, with the code's status and title.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            status: code.http_status(),
            title: code.title(),
            detail: detail.into(),
            trace_id: None,
            reason: None,
            extra: Map::new(),
        }
    }

    /// The same with the layer that refused.
    pub fn with_reason(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// The same with the trace's id.
    pub fn with_trace_id(self, trace_id: impl Into<String>) -> Self {
        Self { trace_id: Some(trace_id.into()), ..self }
    }

    /// The same with one more member; one of the document's own names is not to be used.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// The document as JSON.
    pub fn to_json(&self) -> Bytes {
        let wire = Wire {
            kind: about_blank(),
            title: self.title.to_owned(),
            status: self.status,
            code: self.code.as_str().to_owned(),
            detail: self.detail.clone(),
            trace_id: self.trace_id.clone(),
            extra: self.extra.clone(),
        };
        Bytes::from(serde_json::to_vec(&wire).expect("texts and numbers are JSON"))
    }

    /// The whole response, its body as bytes.
    pub fn to_response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.to_json());
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        if let Some(reason) = self.reason {
            headers.insert(REASON_HEADER, HeaderValue::from_static(reason));
        }
        if let Some(trace_id) = self.trace_id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(TRACE_ID_HEADER, trace_id);
        }
        response
    }

    /// The whole response.
    pub fn into_response(self) -> Response<Body> {
        self.to_response().map(Body::full)
    }

    /// Reads a problem out of an error response; `None` when it is no problem document.
    ///
    /// An unknown or absent `code` is taken from the status.
    pub fn parse(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if !media_type.eq_ignore_ascii_case(CONTENT_TYPE) {
            return None;
        }
        let wire: Wire<'_> = serde_json::from_slice(body).ok()?;
        let code = Code::parse(&wire.code).unwrap_or_else(|| code_of_status(status));
        let problem = Self::new(code, wire.detail);
        Some(Self { status: status.as_u16(), trace_id: wire.trace_id, extra: wire.extra, ..problem })
    }
}

/// The code nearest to an HTTP status.
pub fn code_of_status(status: StatusCode) -> Code {
    let exact = Code::all().find(|code| code.http_status() == status.as_u16());
    exact.unwrap_or(if status.is_client_error() { Code::InvalidArgument } else { Code::Internal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_survives_the_wire() {
        for code in Code::all() {
            let problem = Problem::new(code, "say \"why\"").with_trace_id("0af7651916cd43dd8448eb211c80319c");
            let response = problem.to_response();
            assert_eq!(response.status().as_u16(), code.http_status());
            let read = Problem::parse(response.status(), response.headers(), response.body());
            assert_eq!(read, Some(problem));
        }
    }

    #[test]
    fn further_members_survive_the_wire() {
        let violations = serde_json::json!([{"path": "/a", "rule": "maximum"}]);
        let problem = Problem::new(Code::Unprocessable, "no").with("violations", violations.clone()).with("n", 7);
        let response = problem.to_response();
        let json: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!((&json["violations"], &json["n"], &json["detail"]), (&violations, &7.into(), &"no".into()));
        assert_eq!(Problem::parse(response.status(), response.headers(), response.body()), Some(problem));
    }

    #[test]
    fn the_reason_and_the_trace_are_headers() {
        let problem = Problem::new(Code::NotFound, "no route").with_reason("no_route").with_trace_id("ab");
        let response = problem.to_response();
        assert_eq!(response.headers()[REASON_HEADER], "no_route");
        assert_eq!(response.headers()[TRACE_ID_HEADER], "ab");
        let json: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        let expected = serde_json::json!({
            "type": "about:blank", "title": "Not Found", "status": 404, "code": "not_found", "detail": "no route",
            "trace_id": "ab",
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn what_is_no_problem_is_not_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(Problem::parse(StatusCode::NOT_FOUND, &headers, b"{}"), None);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("Application/Problem+JSON; charset=utf-8"));
        assert_eq!(Problem::parse(StatusCode::NOT_FOUND, &headers, b"not json"), None);
        let foreign = Problem::parse(StatusCode::IM_A_TEAPOT, &headers, br#"{"type":"https://e/x","detail":"d"}"#);
        assert_eq!(foreign.map(|p| (p.code, p.status, p.detail)), Some((Code::InvalidArgument, 418, "d".to_owned())));
        let escaped = br#"{"type":"https:\/\/e\/x","code":"not_found","detail":"d"}"#;
        let foreign = Problem::parse(StatusCode::IM_A_TEAPOT, &headers, escaped);
        assert_eq!(foreign.map(|p| p.code), Some(Code::NotFound), "a type may be written with escapes");
    }
}
