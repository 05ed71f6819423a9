//! The one list of error codes, and what each means in HTTP and in gRPC.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of failure an error is, independent of any protocol.
///
/// Follows `google/rpc/code.proto`, with the few HTTP distinctions that callers act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Code {
    /// The request cannot be read.
    InvalidArgument,
    /// No or bad credentials.
    Unauthenticated,
    /// Good credentials that may not do this.
    PermissionDenied,
    /// Nothing has that name.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// Something has that name already.
    AlreadyExists,
    /// A concurrent change won.
    Conflict,
    /// The system is not in the state the request needs.
    FailedPrecondition,
    /// The revision asked for is no longer, or not yet, there.
    OutOfRange,
    /// The body exceeds its limit.
    PayloadTooLarge,
    /// The body is of a media type that is not read here.
    UnsupportedMediaType,
    /// The request can be read, and its data makes no sense.
    Unprocessable,
    /// The headers exceed their limit.
    HeadersTooLarge,
    /// A rate limit refused.
    RateLimited,
    /// The caller went away.
    Cancelled,
    /// A fault of ours.
    Internal,
    /// The upstream's answer is broken.
    BadGateway,
    /// Nobody can take the request now: breaker open, shed, no instance.
    Unavailable,
    /// The deadline passed.
    DeadlineExceeded,
    /// The disk is full.
    InsufficientStorage,
}

/// Each code with its name, HTTP status, gRPC status and title, in the order of declaration.
const TABLE: [(Code, &str, u16, u8, &str); 20] = [
    (Code::InvalidArgument, "invalid_argument", 400, 3, "Bad Request"),
    (Code::Unauthenticated, "unauthenticated", 401, 16, "Unauthorized"),
    (Code::PermissionDenied, "permission_denied", 403, 7, "Forbidden"),
    (Code::NotFound, "not_found", 404, 5, "Not Found"),
    (Code::MethodNotAllowed, "method_not_allowed", 405, 12, "Method Not Allowed"),
    (Code::AlreadyExists, "already_exists", 409, 6, "Conflict"),
    (Code::Conflict, "conflict", 409, 10, "Conflict"),
    (Code::FailedPrecondition, "failed_precondition", 400, 9, "Bad Request"),
    (Code::OutOfRange, "out_of_range", 410, 11, "Gone"),
    (Code::PayloadTooLarge, "payload_too_large", 413, 8, "Content Too Large"),
    (Code::UnsupportedMediaType, "unsupported_media_type", 415, 3, "Unsupported Media Type"),
    (Code::Unprocessable, "unprocessable", 422, 3, "Unprocessable Content"),
    (Code::HeadersTooLarge, "headers_too_large", 431, 8, "Request Header Fields Too Large"),
    (Code::RateLimited, "rate_limited", 429, 8, "Too Many Requests"),
    (Code::Cancelled, "cancelled", 499, 1, "Client Closed Request"),
    (Code::Internal, "internal", 500, 13, "Internal Server Error"),
    (Code::BadGateway, "bad_gateway", 502, 14, "Bad Gateway"),
    (Code::Unavailable, "unavailable", 503, 14, "Service Unavailable"),
    (Code::DeadlineExceeded, "deadline_exceeded", 504, 4, "Gateway Timeout"),
    (Code::InsufficientStorage, "insufficient_storage", 507, 8, "Insufficient Storage"),
];

impl Code {
    /// Every code there is.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    fn row(self) -> &'static (Self, &'static str, u16, u8, &'static str) {
        &TABLE[self as usize]
    }

    /// Its name on the wire, in `snake_case`.
    pub fn as_str(self) -> &'static str {
        self.row().1
    }

    /// The HTTP status it is answered with.
    pub fn http_status(self) -> u16 {
        self.row().2
    }

    /// The gRPC status it is answered with.
    pub fn grpc_status(self) -> u8 {
        self.row().3
    }

    /// Its title in a problem document.
    pub fn title(self) -> &'static str {
        self.row().4
    }

    /// The code of its name on the wire.
    pub fn parse(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == name).map(|row| row.0)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_declaration() {
        for code in Code::all() {
            assert_eq!(code.row().0, code);
            assert_eq!(Code::parse(code.as_str()), Some(code));
        }
    }
}
