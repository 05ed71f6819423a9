//! The port through which a scrape target is asked, and the way over HTTP.

mod http;

use bowline_model::Code;
use bowline_runtime::{BoxFuture, time::Duration};
use bytes::Bytes;

pub use self::http::HttpFetch;
use super::{Target, exposition::Format};

/// Asks scrape targets: over HTTP, or as a test says.
pub trait Fetch: Send + Sync + 'static {
    /// What a scrape target answers within that time.
    ///
    /// # Errors
    /// Any [`FetchError`].
    ///
    /// # Cancel safety
    /// The answer is lost.
    fn fetch<'a>(&'a self, target: &'a Target, timeout: Duration) -> BoxFuture<'a, Result<Page, FetchError>>;
}

/// What a scrape target exposes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What it is written in.
    pub format: Format,
    /// The text, unpacked.
    pub body: Bytes,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No request can be made of the path or the host.
    #[error("the request cannot be made")]
    Request {
        /// Why.
        #[source]
        source: ::http::Error,
    },
    /// There was no answer, or half of one.
    #[error("the request failed")]
    Transport {
        /// Why.
        #[source]
        source: bowline_transport::Error,
    },
    /// There was no whole answer in time.
    #[error("no answer within {} ms", timeout.as_millis())]
    Timeout {
        /// How long was waited.
        timeout: Duration,
    },
    /// The answer is not 200.
    #[error("the answer is {status}")]
    Status {
        /// What it is.
        status: u16,
    },
    /// The answer is of a media type that is not read here.
    #[error("the answer is `{content_type}`, which is no exposition of metrics")]
    ContentType {
        /// Which, cut to 100 characters.
        content_type: String,
    },
    /// The answer is packed as it was not asked for.
    #[error("the answer is packed as `{encoding}`, which is not read")]
    Encoding {
        /// How, cut to 100 characters.
        encoding: String,
    },
    /// The answer cannot be unpacked.
    #[error("the answer cannot be unpacked")]
    Unpack {
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The answer, unpacked, is longer than is read.
    #[error("the answer has more than {bytes_max} bytes")]
    TooLarge {
        /// How many are read.
        bytes_max: usize,
    },
}

impl FetchError {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Request { .. } => Code::InvalidArgument,
            Self::Transport { source } => source.code(),
            Self::Timeout { .. } => Code::DeadlineExceeded,
            Self::Status { .. }
            | Self::ContentType { .. }
            | Self::Encoding { .. }
            | Self::Unpack { .. }
            | Self::TooLarge { .. } => Code::BadGateway,
        }
    }

    /// Whether asking again later may help.
    pub fn retryable(&self) -> bool {
        !matches!(self, Self::Request { .. })
    }

    /// Whether it is the answer of one that has no metrics.
    pub(crate) fn is_none(&self) -> bool {
        matches!(self, Self::Status { status: 404 | 405 | 410 | 501 } | Self::ContentType { .. })
    }
}
