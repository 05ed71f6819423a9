//! What a handler answers when it cannot do what was asked: a problem document with a code.

use axum::{
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bowline_model::{Code, error::chain};
use bowline_telemetry::current;
use bowline_transport::problem::{Problem, code_of_status};
use serde_json::{Map, Value};

use crate::{client, messages};

/// An answer of `application/problem+json`, with the trace id of the request.
///
/// ```
/// # use bowline::{Code, HandlerError};
/// fn quantity(text: &str) -> Result<u32, HandlerError> {
///     text.parse().map_err(|_| HandlerError::new(Code::Unprocessable, "quantity: a whole number from 1"))
/// }
/// # assert!(quantity("x").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct HandlerError {
    code: Code,
    detail: String,
    extra: Map<String, Value>,
}

impl HandlerError {
    /// An error the caller is told about.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), extra: Map::new() }
    }

    /// The same with one more member of the document, for programs that act upon it; its own names (`type`, `title`,
    /// `status`, `code`, `detail`, `trace_id`) are not to be used. Who calls finds it in
    /// [`client::Error::Status`].
    ///
    /// ```
    /// # use bowline::{Code, HandlerError};
    /// let error = HandlerError::new(Code::Unprocessable, "the account has too little");
    /// let error = error.with("reason", "insufficient_funds");
    /// ```
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// A fault of ours: the cause goes to the log, the caller is told only that there was one.
    pub fn internal(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let cause: Box<dyn std::error::Error + Send + Sync> = cause.into();
        tracing::error!(trace_id = trace_id(), error = chain(cause.as_ref()), "request failed");
        Self::new(Code::Internal, "something failed here; the service's log says what, under this trace id")
    }

    /// A failure of whom the handler asked: unavailable, out of time and too many are passed on in those words, the rest
    /// is a fault here.
    pub(crate) fn of_below(
        code: Code,
        words: String,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        match code {
            Code::Unavailable | Code::DeadlineExceeded | Code::RateLimited => Self::new(code, words),
            _ => Self::internal(cause),
        }
    }

    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        self.code
    }
}

/// The trace of the request at hand, if there is one.
pub(crate) fn trace_id() -> Option<String> {
    current::context().map(|context| context.trace_id.to_string())
}

impl From<messages::Error> for HandlerError {
    /// A message that was not published: where that may pass it is passed on, else it is a fault here.
    fn from(error: messages::Error) -> Self {
        Self::of_below(error.code(), error.to_string(), error)
    }
}

impl From<client::Error> for HandlerError {
    /// A failed call of ours: unavailable and deadline are passed on, the rest is a fault here.
    fn from(error: client::Error) -> Self {
        // Its own words say whom and how; what is below them is for the trace.
        let words = match &error {
            client::Error::Call { source, .. } => source.to_string(),
            error => error.to_string(),
        };
        Self::of_below(error.code(), words, error)
    }
}

#[cfg(feature = "sql")]
impl From<bowline_sql::Error> for HandlerError {
    /// What the database did not take: where that may pass who calls is told so, else it is a fault here.
    fn from(error: bowline_sql::Error) -> Self {
        Self::of_below(error.code(), "the database cannot take it now, ask again".to_owned(), error)
    }
}

macro_rules! from_rejection {
    ($($rejection:ty),*) => {$(
        impl From<$rejection> for HandlerError {
            fn from(rejection: $rejection) -> Self {
                Self::new(code_of_status(rejection.status()), rejection.body_text())
            }
        }
    )*};
}

from_rejection!(JsonRejection, PathRejection, QueryRejection);

impl IntoResponse for HandlerError {
    fn into_response(self) -> Response {
        let mut problem = Problem::new(self.code, self.detail);
        problem.trace_id = trace_id();
        problem.extra = self.extra;
        let mut response = problem.into_response().map(axum::body::Body::new);
        if self.code == Code::Unauthenticated {
            // RFC 9110, 15.5.2: whoever is answered 401 is told what would do.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
