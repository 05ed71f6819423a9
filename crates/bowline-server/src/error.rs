//! Errors of the API, and the one place that turns them into answers.

use axum::{
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::HeaderValue,
    response::{IntoResponse, Response},
};
use bowline_model::Code;
use bowline_transport::problem::Problem;

tokio::task_local! {
    /// The trace id of the request at hand, for the problem document.
    pub(crate) static TRACE_ID: String;
}

/// What a handler answers when it cannot do what was asked.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: Code,
    detail: String,
}

impl ApiError {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// An error of a lower floor: its own words for what a caller can mend, the log for the rest.
    pub(crate) fn of(code: Code, error: &(dyn std::error::Error + 'static)) -> Self {
        if code != Code::Internal {
            return Self::new(code, chain(error));
        }
        let trace_id = TRACE_ID.try_with(Clone::clone).ok();
        tracing::error!(trace_id, error = chain(error), "request failed");
        Self::new(code, "something failed here; the server's log says what, under this trace id")
    }

    /// Its code and what is told about it, for those who answer by other means than a response.
    pub(crate) fn into_parts(self) -> (Code, String) {
        (self.code, self.detail)
    }
}

/// An error with its causes, outermost first.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

impl From<bowline_registry::Error> for ApiError {
    fn from(error: bowline_registry::Error) -> Self {
        Self::of(error.code(), &error)
    }
}

impl From<bowline_observe::Error> for ApiError {
    fn from(error: bowline_observe::Error) -> Self {
        Self::of(error.code(), &error)
    }
}

impl From<bowline_model::InvalidName> for ApiError {
    fn from(error: bowline_model::InvalidName) -> Self {
        Self::new(Code::InvalidArgument, error.to_string())
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        let code = match rejection.status().as_u16() {
            413 => Code::PayloadTooLarge,
            422 => Code::Unprocessable,
            _ => Code::InvalidArgument,
        };
        Self::new(code, rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(Code::InvalidArgument, rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::new(Code::InvalidArgument, rejection.body_text())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let trace_id = TRACE_ID.try_with(Clone::clone).ok();
        let mut problem = Problem::new(self.code, self.detail);
        problem.trace_id = trace_id;
        let mut response = problem.into_response().map(axum::body::Body::new);
        response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
        response
    }
}
