//! Which workload of the mesh asks, as its certificate says.

use std::fmt;

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{HeaderMap, request::Parts},
};
use bowline_model::{Code, ServiceName, mesh::Workload};
use bowline_telemetry::names::CALLER_HEADER;

use crate::error::HandlerError;

/// Which workload of the mesh asks: a service, the gateway, or Bowline itself.
///
/// The sidecar before the application verifies the caller's certificate, takes away what the caller says of
/// itself, and tells who it is in `x-bowline-caller`. A process that is in no mesh passes over the header. **It is
/// worth as much as the way it came**: behind `bind = "port"`, whoever runs programs on the machine can reach
/// the application past its sidecar.
///
/// A request without it is answered 401: in permissive mode there are callers without a certificate. One
/// whose header is no workload is answered 400. A handler for known and unknown callers takes `Option<Caller>`.
/// Who may call at all is not decided here, but declared in `bowline.toml`.
///
/// ```
/// # use bowline::{Code, HandlerError, extract::Caller};
/// async fn refund(caller: Caller) -> Result<(), HandlerError> {
///     match caller.service().map(|service| service.as_str()) {
///         Some("order") => Ok(()),
///         _ => Err(HandlerError::new(Code::PermissionDenied, format!("{caller} gives nothing back"))),
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Caller(Workload);

impl Caller {
    /// Who it is.
    pub fn workload(&self) -> &Workload {
        &self.0
    }

    /// The service it is an instance of, if it is one.
    pub fn service(&self) -> Option<&ServiceName> {
        self.0.service()
    }

    /// The caller of a request; `None` where it showed no certificate.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, HandlerError> {
        let refused =
            |why: &dyn fmt::Display| HandlerError::new(Code::InvalidArgument, format!("{CALLER_HEADER}: {why}"));
        let mut told = headers.get_all(CALLER_HEADER).iter();
        match (told.next(), told.next()) {
            (None, _) => Ok(None),
            (Some(caller), None) => {
                let caller = caller.to_str().unwrap_or_default().parse().map_err(|error| refused(&error))?;
                Ok(Some(Self(caller)))
            }
            (Some(_), Some(_)) => Err(refused(&"it came more than once")),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = HandlerError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HandlerError> {
        Self::of(&parts.headers)?.ok_or_else(|| {
            let detail = "the caller showed no certificate of the mesh: call through a sidecar";
            HandlerError::new(Code::Unauthenticated, detail)
        })
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Caller {
    type Rejection = HandlerError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, HandlerError> {
        Self::of(&parts.headers)
    }
}
