//! Messages: published to a topic durably, and handed to consumers until one of each group is done with them.
//!
//! [`Topic`] publishes, a [`Consumer`] takes what others published, and [`ServiceClient::send`] hands a request over
//! that is carried out later. All of it is told in one trace: who publishes writes its span into the message's headers.
//!
//! [`ServiceClient::send`]: crate::ServiceClient::send

mod consumer;
mod handed_over;
mod topic;

use std::{fmt, sync::Arc};

use bowline_messaging::MessageBus;
use bowline_model::{Code, ServiceName};
use bowline_runtime::{metric, rand, time};
use bowline_telemetry::{SpanContext, Tracer, propagation};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::client::current_deadline;

pub use bowline_messaging as port;
pub(crate) use consumer::Consuming;
pub use consumer::{Consumer, Failure, Incoming, TIME_DEFAULT};
pub use handed_over::{ATTEMPTS_MAX as HANDED_OVER_ATTEMPTS_MAX, Sent};
pub(crate) use handed_over::{HandOver, carry_out};
pub use topic::{Outgoing, Topic};

/// For how long publishing is tried again while no bus answers, unless the request that is served ends before.
const PUBLISH_WITHIN: time::Duration = time::Duration::from_secs(10);
/// The first wait between two tries, and the longest.
const RETRY_WAIT: (time::Duration, time::Duration) = (time::Duration::from_millis(50), time::Duration::from_secs(1));

/// Why a message was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The value cannot be written as JSON.
    #[error("a message to `{topic}` cannot be written")]
    Value {
        /// The topic.
        topic: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The bus refused it, or did not answer in time; then it may have been published all the same.
    #[error("a message to `{topic}` was not published")]
    Bus {
        /// The topic.
        topic: String,
        /// What the bus says.
        #[source]
        source: port::Error,
    },
    /// There is no bus: the process was told of no server.
    #[error("a message to `{topic}` was not published: no server is known (BOWLINE_API)")]
    NoBus {
        /// The topic.
        topic: String,
    },
    /// Requests are not handed over for that service, as far as the process was told.
    #[error(
        "nothing is handed over for {service}: its call is not declared with `mode = \"async\"` (BOWLINE_ASYNC_CALLS)"
    )]
    NotAsync {
        /// Who was to get it.
        service: ServiceName,
    },
    /// The request cannot be written.
    #[error("a request to {service} cannot be made")]
    Request {
        /// Who was to get it.
        service: ServiceName,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Value { .. } | Self::Request { .. } => Code::Internal,
            Self::Bus { source, .. } => source.code(),
            Self::NoBus { .. } => Code::Unavailable,
            Self::NotAsync { .. } => Code::FailedPrecondition,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Bus { source, .. } => source.retryable(),
            Self::NoBus { .. } | Self::Value { .. } | Self::NotAsync { .. } | Self::Request { .. } => false,
        }
    }
}

/// What everything about messages shares in a process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Post {
    pub(crate) service: ServiceName,
    pub(crate) bus: Option<Arc<dyn MessageBus>>,
    pub(crate) tracer: Tracer,
    pub(crate) metrics: metric::Registry,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Post").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Post {
    /// Publishes, and again while no bus answers: under one id, so that it is there once.
    async fn publish(&self, topic: &str, mut message: port::NewMessage) -> Result<port::Published, Error> {
        let Some(bus) = &self.bus else { return Err(Error::NoBus { topic: topic.to_owned() }) };
        message.id.get_or_insert_with(|| format!("{:032x}", rand::u128()));
        let until = time::now() + PUBLISH_WITHIN;
        let until = current_deadline().map_or(until, |deadline| deadline.instant().min(until));
        let mut wait = Wait::default();
        loop {
            let error = match bus.publish(topic, message.clone()).await {
                Ok(published) => return Ok(published),
                Err(error) => error,
            };
            let wait = wait.next();
            if !error.retryable() || time::now() + wait >= until {
                return Err(Error::Bus { topic: topic.to_owned(), source: error });
            }
            time::sleep(wait).await;
        }
    }
}

/// Waits that grow, each by chance half as long.
#[derive(Debug, Default)]
struct Wait(u32);

impl Wait {
    fn next(&mut self) -> time::Duration {
        let (first, longest) = RETRY_WAIT;
        let wait = first.saturating_mul(1 << self.0.min(16)).min(longest);
        self.0 += 1;
        wait.mul_f64(f64::midpoint(1.0, rand::unit()))
    }
}

/// The headers that carry a span.
fn headers_of(context: SpanContext) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    propagation::inject(context, &mut headers);
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        value.to_str().ok().map(|value| (name.as_str().to_owned(), value.to_owned()))
    };
    headers.iter().filter_map(text).collect()
}

/// The span that a message's headers carry.
pub(crate) fn context_of(headers: &[(String, String)]) -> Option<SpanContext> {
    let header = |(name, value): &(String, String)| {
        HeaderName::try_from(name.as_str()).ok().zip(HeaderValue::try_from(value.as_str()).ok())
    };
    propagation::extract(&headers.iter().filter_map(header).collect())
}
