//! Which answers are failures, and which say nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{InvalidPolicy, check_that};
use crate::text_form::text_form;

/// The most classes one list holds.
pub const CLASSES_MAX: usize = 32;

/// What breakers, outlier detection and the balance take an answer for.
///
/// An answer that is in neither list went well. One that is in both is ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomePolicy {
    /// Answers that count as failures.
    #[serde(default = "failures")]
    pub failures: Vec<Class>,
    /// Answers that count neither as failures nor as successes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignored: Vec<Class>,
}

impl Default for OutcomePolicy {
    /// 5xx, and what gRPC calls the server's own fault.
    fn default() -> Self {
        Self { failures: failures(), ignored: Vec::new() }
    }
}

fn failures() -> Vec<Class> {
    use GrpcCode::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unknown};
    let grpc = [Unknown, DeadlineExceeded, Internal, Unavailable, DataLoss].map(Class::Grpc);
    [Class::Hundred(5)].into_iter().chain(grpc).collect()
}

impl OutcomePolicy {
    pub(super) fn check(&self) -> Result<(), InvalidPolicy> {
        let Self { failures, ignored } = self;
        check_that(failures.len() <= CLASSES_MAX, "outcome.failures", "it has at most 32 classes")?;
        check_that(ignored.len() <= CLASSES_MAX, "outcome.ignored", "it has at most 32 classes")
    }
}

/// Some answers. As text: `"503"`, `"5xx"`, `"grpc:unavailable"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Class {
    /// Of that HTTP status.
    Status(u16),
    /// Of the statuses that begin with that digit, 1 to 5.
    Hundred(u8),
    /// Of that status of gRPC, whose HTTP status is 200.
    Grpc(GrpcCode),
}

impl Class {
    /// Reads `"503"`, `"5xx"` or `"grpc:unavailable"`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "write a status, a class or a gRPC code: \"503\", \"5xx\", \"grpc:unavailable\"";
        if let Some(name) = text.strip_prefix("grpc:") {
            return GrpcCode::parse(name).map(Self::Grpc).ok_or("write one of gRPC's codes: \"grpc:unavailable\"");
        }
        match text.as_bytes() {
            [digit @ b'1'..=b'5', b'x', b'x'] => Ok(Self::Hundred(digit - b'0')),
            [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] => text.parse().map(Self::Status).map_err(|_| RULE),
            _ => Err(RULE),
        }
    }

    /// Whether an answer of that status, and of that `grpc-status` where it has one, is among them.
    pub fn holds(self, status: u16, grpc: Option<GrpcCode>) -> bool {
        match self {
            Self::Status(own) => own == status,
            Self::Hundred(digit) => status / 100 == u16::from(digit),
            Self::Grpc(own) => grpc == Some(own),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Hundred(digit) => write!(f, "{digit}xx"),
            Self::Grpc(code) => write!(f, "grpc:{}", code.name()),
        }
    }
}

text_form!(Class);

/// The status of a gRPC call that did not go well, as `grpc-status` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "gRPC's own words")]
pub enum GrpcCode {
    Cancelled = 1,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl GrpcCode {
    const NAMES: [(&'static str, Self); 16] = [
        ("cancelled", Self::Cancelled),
        ("unknown", Self::Unknown),
        ("invalid_argument", Self::InvalidArgument),
        ("deadline_exceeded", Self::DeadlineExceeded),
        ("not_found", Self::NotFound),
        ("already_exists", Self::AlreadyExists),
        ("permission_denied", Self::PermissionDenied),
        ("resource_exhausted", Self::ResourceExhausted),
        ("failed_precondition", Self::FailedPrecondition),
        ("aborted", Self::Aborted),
        ("out_of_range", Self::OutOfRange),
        ("unimplemented", Self::Unimplemented),
        ("internal", Self::Internal),
        ("unavailable", Self::Unavailable),
        ("data_loss", Self::DataLoss),
        ("unauthenticated", Self::Unauthenticated),
    ];

    /// By its name in lower case: `unavailable`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(own, _)| *own == name).map(|(_, code)| *code)
    }

    /// By its number in `grpc-status`; one that is none of gRPC's is unknown. `None` for 0, which is no failure.
    pub fn of(number: u32) -> Option<Self> {
        let at = usize::try_from(number).ok()?.checked_sub(1)?;
        Some(Self::NAMES.get(at).map_or(Self::Unknown, |(_, code)| *code))
    }

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize - 1].0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_read_as_they_are_written() {
        for text in ["503", "404", "5xx", "4xx", "grpc:unavailable", "grpc:data_loss"] {
            assert_eq!(Class::parse(text).unwrap().to_string(), text);
        }
        for bad in ["", "5", "5x", "600", "099", "5XX", "xxx", "grpc:", "grpc:14", "grpc:UNAVAILABLE", "٥٠٣"] {
            assert!(Class::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_code_of_grpc_is_known_by_name_and_number() {
        for (at, (name, code)) in GrpcCode::NAMES.into_iter().enumerate() {
            assert_eq!((code.name(), GrpcCode::parse(name)), (name, Some(code)));
            assert_eq!(GrpcCode::of(u32::try_from(at).unwrap() + 1), Some(code));
        }
        assert_eq!((GrpcCode::of(0), GrpcCode::of(17)), (None, Some(GrpcCode::Unknown)));
    }

    #[test]
    fn classes_hold_what_they_say() {
        let grpc = Class::Grpc(GrpcCode::Unavailable);
        assert!(Class::Hundred(5).holds(599, None) && !Class::Hundred(5).holds(499, None));
        assert!(Class::Status(429).holds(429, None) && !Class::Status(429).holds(430, None));
        assert!(grpc.holds(200, Some(GrpcCode::Unavailable)) && !grpc.holds(200, None));
    }
}
