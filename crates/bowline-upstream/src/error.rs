//! Why a call got no answer.

use std::time::Duration;

use bowline_model::{Code, ServiceName};
use bowline_resilience::bulkhead;
use bowline_transport::Side;

/// Why a call got no answer. A bad answer is an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The service has no instance that takes requests.
    #[error("service {service} has no instance")]
    NoInstance {
        /// Whom we called.
        service: ServiceName,
    },
    /// The breakers of all its instances are open.
    #[error("the breakers of service {service} are open")]
    BreakerOpen {
        /// Whom we called.
        service: ServiceName,
        /// When it is worth trying again, where that is known.
        retry_after: Option<Duration>,
    },
    /// As many calls as its policy allows are under way, and as many wait as may.
    #[error("calling service {service}: {source}")]
    Bulkhead {
        /// Whom we called.
        service: ServiceName,
        /// Whether it waited for its turn.
        source: bulkhead::Refused,
    },
    /// There was no answer before the deadline.
    #[error("service {service} did not answer in time")]
    Timeout {
        /// Whom we called.
        service: ServiceName,
    },
    /// The last attempt failed.
    #[error("calling service {service} failed")]
    Transport {
        /// Whom we called.
        service: ServiceName,
        /// How.
        #[source]
        source: bowline_transport::Error,
    },
}

impl Error {
    /// What to answer to whoever asked.
    pub fn code(&self) -> Code {
        match self {
            Self::NoInstance { .. } | Self::BreakerOpen { .. } => Code::Unavailable,
            Self::Bulkhead { source, .. } => source.code(),
            Self::Timeout { .. } => Code::DeadlineExceeded,
            Self::Transport { source, .. } => source.code(),
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::NoInstance { .. } | Self::BreakerOpen { .. } | Self::Timeout { .. } => true,
            Self::Bulkhead { source, .. } => source.retryable(),
            Self::Transport { source, .. } => source.retryable(),
        }
    }

    /// Whose fault it is.
    pub fn side(&self) -> Side {
        match self {
            Self::Transport { source, .. } => source.side(),
            Self::Bulkhead { .. } => Side::Internal,
            _ => Side::Upstream,
        }
    }

    /// Which layer refused, for `x-bowline-reason`, spans and metrics: `no_instance`,
    /// `breaker_open`, `bulkhead_full`, `bulkhead_timeout`, `timeout`, `upstream_connect`, `upstream_refused`, `upstream_reset`,
    /// `upstream_malformed`, `request_body`, `unsupported`, `pool_full`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoInstance { .. } => "no_instance",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::Bulkhead { source: bulkhead::Refused::Full, .. } => "bulkhead_full",
            Self::Bulkhead { .. } => "bulkhead_timeout",
            Self::Timeout { .. } => "timeout",
            Self::Transport { source, .. } => transport_reason(source),
        }
    }
}

/// The reason of a connection that was not made: the request was sent to nobody.
pub(crate) const REASON_CONNECT: &str = "upstream_connect";

/// The reason of a transport error.
pub(crate) fn transport_reason(error: &bowline_transport::Error) -> &'static str {
    use bowline_transport::Kind;
    match error.kind() {
        Kind::Connect | Kind::ConnectTimeout => REASON_CONNECT,
        Kind::Refused => "upstream_refused",
        Kind::RequestBody => "request_body",
        Kind::Malformed | Kind::HeadTooLarge => "upstream_malformed",
        Kind::Unsupported => "unsupported",
        Kind::PoolFull => "pool_full",
        _ => "upstream_reset",
    }
}
