//! Errors of the API, and the one place that turns them into answers.

use axum::{
    extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bowline_model::{Code, error::chain};
use bowline_runtime::time::Duration;
use bowline_transport::problem::{Problem, code_of_status};
use serde_json::{Map, Value};

/// How whoever is not known is to authenticate (RFC 6750).
const CHALLENGE: &str = "Bearer realm=\"bowline\"";

tokio::task_local! {
    /// The trace id of the request at hand, for the problem document.
    pub(crate) static TRACE_ID: String;
}

/// What a handler answers when it cannot do what was asked.
#[derive(Debug)]
pub(crate) struct ApiError {
    code: Code,
    detail: String,
    /// What programs need of it: further members of the problem document.
    extra: Map<String, Value>,
    reason: Option<&'static str>,
    retry_after: Option<Duration>,
}

impl ApiError {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), extra: Map::new(), reason: None, retry_after: None }
    }

    /// The same with further members.
    pub(crate) fn with(mut self, extra: Map<String, Value>) -> Self {
        self.extra.extend(extra);
        self
    }

    /// The same with the rule that refused, in `snake_case`.
    pub(crate) fn with_reason(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// The same with when to ask again.
    pub(crate) fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// What kind of failure it is.
    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// What is told about it.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// An error of a lower floor: its own words for the caller, its causes for the log.
    pub(crate) fn of(code: Code, error: &(dyn std::error::Error + 'static)) -> Self {
        let trace_id = TRACE_ID.try_with(Clone::clone).ok();
        if code == Code::Internal {
            tracing::error!(trace_id, error = chain(error), "request failed");
            return Self::new(code, "something failed here; the server's log says what, under this trace id");
        }
        if code.http_status() >= 500 {
            tracing::warn!(trace_id, %code, error = chain(error), "request failed");
        }
        Self::new(code, error.to_string())
    }

    /// Its code and what is told about it, for those who answer by other means than a response.
    pub(crate) fn into_parts(self) -> (Code, String) {
        (self.code, self.detail)
    }
}

impl From<bowline_registry::Error> for ApiError {
    fn from(error: bowline_registry::Error) -> Self {
        match &error {
            // What the caller can mend is one floor down: which field breaks which rule.
            bowline_registry::Error::InvalidInstance(invalid) => Self::of(error.code(), invalid),
            _ => Self::of(error.code(), &error),
        }
    }
}

impl From<bowline_config::Error> for ApiError {
    fn from(error: bowline_config::Error) -> Self {
        let extra = bowline_provider_remote::wire::encode_config_error(&error);
        Self::of(error.code(), &error).with(extra)
    }
}

impl From<bowline_messaging::Error> for ApiError {
    fn from(error: bowline_messaging::Error) -> Self {
        let extra = bowline_provider_remote::wire::encode_message_error(&error);
        let told = Self::of(error.code(), &error).with(extra);
        match error {
            bowline_messaging::Error::Unavailable { retry_after: Some(wait) } => told.with_retry_after(wait),
            _ => told,
        }
    }
}

impl From<bowline_observe::traces::Error> for ApiError {
    fn from(error: bowline_observe::traces::Error) -> Self {
        Self::of(error.code(), &error)
    }
}

impl From<bowline_model::InvalidName> for ApiError {
    fn from(error: bowline_model::InvalidName) -> Self {
        Self::new(Code::InvalidArgument, error.to_string())
    }
}

macro_rules! from_rejection {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for ApiError {
            fn from(rejection: $rejection) -> Self {
                Self::new(code_of_status(rejection.status()), rejection.body_text())
            }
        }
    )*};
}

from_rejection!(BytesRejection, PathRejection, QueryRejection);

impl From<JsonRejection> for ApiError {
    /// A field that breaks its rule is told as `bake: write a number with a unit …`, without what a parser says of it.
    fn from(rejection: JsonRejection) -> Self {
        let text = rejection.body_text();
        let is_of_field = matches!(rejection, JsonRejection::JsonDataError(_));
        let detail = if is_of_field { rule_of(&text) } else { &text };
        Self::new(code_of_status(rejection.status()), detail)
    }
}

/// Which field breaks which rule, of what axum and `serde_json` say: the type and the place in the text mean nothing to
/// whoever filled in a form.
fn rule_of(text: &str) -> &str {
    let told = text.split_once("target type: ").map_or(text, |(_, told)| told);
    told.rsplit_once(" at line ").map_or(told, |(told, _)| told)
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let trace_id = TRACE_ID.try_with(Clone::clone).ok();
        let mut problem = Problem::new(self.code, self.detail);
        problem.trace_id = trace_id;
        problem.extra = self.extra;
        problem.reason = self.reason;
        let mut response = problem.into_response().map(axum::body::Body::new);
        if let Some(wait) = self.retry_after {
            // Whole seconds, and never too early.
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        if self.code == Code::Unauthenticated {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn causes_are_not_told() {
        let disk = || Arc::new(std::io::Error::other("/secret/path is gone"));
        for error in [
            bowline_registry::Error::Unavailable(Some(disk())),
            bowline_registry::Error::Store(bowline_store::Error::Io(disk())),
            bowline_registry::Error::Store(bowline_store::Error::Full),
        ] {
            let code = error.code();
            let (told, detail) = ApiError::from(error).into_parts();
            assert_eq!(told, code);
            assert!(!detail.contains("secret") && !detail.contains(": "), "{detail}");
        }
    }
}
