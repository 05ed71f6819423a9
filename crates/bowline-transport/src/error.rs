//! Why a request got no answer, or half of one.

use std::{error::Error as StdError, fmt};

use bowline_model::Code;

use crate::body::BoxError;

/// Why a request got no answer, or its answer's body broke off.
///
/// `Display` names what failed; the cause is in [`source`](StdError::source).
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    source: Option<BoxError>,
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// No connection could be made: nothing was sent.
    Connect,
    /// No connection was made in time: nothing was sent.
    ConnectTimeout,
    /// Too many requests wait for a connection to that endpoint: nothing was sent.
    PoolFull,
    /// The server says that it has not looked at the request (HTTP/2: `REFUSED_STREAM`, or a
    /// `GOAWAY` that leaves it out; TLS 1.3: it does not take our certificate, which it tells only
    /// once we already send).
    Refused,
    /// The connection broke before the head of an answer was complete.
    Reset,
    /// The answer is not HTTP as we accept it.
    Malformed,
    /// The answer's head exceeds its bounds.
    HeadTooLarge,
    /// The answer's body broke off, or its framing is wrong.
    Body,
    /// The caller's own body failed, or was not as long as it had said.
    RequestBody,
    /// The request cannot be sent over this connection (`CONNECT`, an upgrade).
    Unsupported,
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Whom we called.
    Upstream,
    /// Who called us.
    Downstream,
    /// Ourselves.
    Internal,
}

impl Error {
    pub(crate) fn new(kind: Kind, source: impl Into<BoxError>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// The failure of a request's body that was read before it was sent.
    pub fn request_body(source: impl Into<BoxError>) -> Self {
        Self::new(Kind::RequestBody, source)
    }

    /// What failed.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What to answer to whoever asked.
    pub fn code(&self) -> Code {
        match self.kind {
            Kind::Connect | Kind::ConnectTimeout | Kind::PoolFull | Kind::Refused => Code::Unavailable,
            Kind::Reset | Kind::Malformed | Kind::HeadTooLarge | Kind::Body => Code::BadGateway,
            Kind::RequestBody => Code::Cancelled,
            Kind::Unsupported => Code::Internal,
        }
    }

    /// Whose fault it is.
    pub fn side(&self) -> Side {
        match self.kind {
            Kind::RequestBody => Side::Downstream,
            Kind::Unsupported | Kind::PoolFull => Side::Internal,
            _ => Side::Upstream,
        }
    }

    /// Whether no connection was made, so that nothing was sent.
    pub fn is_connect(&self) -> bool {
        matches!(self.kind, Kind::Connect | Kind::ConnectTimeout)
    }

    /// Whether it is certain that no server has acted upon the request: any may be repeated.
    pub fn is_unprocessed(&self) -> bool {
        self.is_connect() || matches!(self.kind, Kind::Refused | Kind::PoolFull)
    }

    /// Whether another attempt may succeed; for [`Kind::Reset`] only an idempotent request may be repeated.
    pub fn retryable(&self) -> bool {
        self.is_unprocessed() || self.kind == Kind::Reset
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self { kind, source: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Connect => "cannot connect",
            Kind::ConnectTimeout => "connecting took too long",
            Kind::PoolFull => "too many requests wait for a connection",
            Kind::Refused => "request was refused unread",
            Kind::Reset => "connection closed before an answer",
            Kind::Malformed => "answer is malformed",
            Kind::HeadTooLarge => "answer's head is too large",
            Kind::Body => "answer's body broke off",
            Kind::RequestBody => "request's body failed",
            Kind::Unsupported => "request cannot be sent",
        })
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
