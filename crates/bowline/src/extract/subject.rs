//! Who asks, as the gateway tells it.

use std::fmt;

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderMap, request::Parts},
};
use bowline_model::Code;
use bowline_telemetry::names::SUBJECT_HEADER;

use crate::error::HandlerError;

/// The longest name of a caller, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 256;

/// Who asks: the subject that the gateway authenticated, 1 to [`SUBJECT_BYTES_MAX`] visible ASCII
/// characters, and blanks between them.
///
/// The gateway takes away what a client says of itself, then says in `x-bowline-subject` what a route's
/// `auth` found out. **It is worth as much as the way it came**: whoever can reach the service past the
/// gateway can write the header too. Let only the gateway, and services that pass the header on in good
/// faith, reach a service that asks for it.
///
/// A request without it is answered 401, one whose header is no name 400. A handler for known and unknown
/// callers takes `Option<Subject>`.
///
/// ```
/// # use bowline::{Code, HandlerError, extract::{Path, Subject}};
/// async fn orders_of(subject: Subject, Path(user): Path<String>) -> Result<String, HandlerError> {
///     if subject.as_str() != user {
///         return Err(HandlerError::new(Code::PermissionDenied, "these orders are another's"));
///     }
///     Ok(format!("the orders of {subject}"))
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(String);

impl Subject {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is empty, too long, or holds anything but visible ASCII characters and blanks between them.
    pub fn new(name: &str) -> Result<Self, HandlerError> {
        let is_visible = name.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
        if name.is_empty() || name.len() > SUBJECT_BYTES_MAX || !is_visible || name.trim_ascii() != name {
            let rule = format!("1 to {SUBJECT_BYTES_MAX} visible ASCII characters, and blanks between them");
            let detail = format!("{SUBJECT_HEADER}: {rule}");
            return Err(HandlerError::new(Code::InvalidArgument, detail));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The subject of a request; `None` where nobody was authenticated.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, HandlerError> {
        let mut told = headers.get_all(SUBJECT_HEADER).iter();
        match (told.next(), told.next()) {
            (None, _) => Ok(None),
            // What is no text is no name either.
            (Some(name), None) => Self::new(name.to_str().unwrap_or_default()).map(Some),
            (Some(_), Some(_)) => {
                let detail = format!("{SUBJECT_HEADER}: it came more than once");
                Err(HandlerError::new(Code::InvalidArgument, detail))
            }
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Sync> FromRequestParts<S> for Subject {
    type Rejection = HandlerError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HandlerError> {
        Self::of(&parts.headers)?.ok_or_else(|| {
            let detail =
                "nobody was authenticated: call through a route of the gateway that has `auth`, with its credential";
            HandlerError::new(Code::Unauthenticated, detail)
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Subject {
    type Rejection = HandlerError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, HandlerError> {
        Self::of(&parts.headers)
    }
}
