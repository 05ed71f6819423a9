//! Takes spans from foreign SDKs, over gRPC and HTTP on one listener.
//!
//! Nothing waits for room: what the sink cannot take now is answered so that the SDK sends it again later.

mod answer;
mod body;
mod grpc;
mod http;

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use ::http::{Request, Response, request::Parts};
use bowline_model::Code;
use bowline_runtime::{drain::Drain, metric::Registry, net::TcpListener, task, time};
use bowline_telemetry::SpanData;
use bowline_transport::{BoxError, server};
use bytes::Bytes;
use http_body::Body as HttpBody;
use tokio::sync::Semaphore;

pub use self::answer::AnswerBody;
use self::body::{Budget, Held};
use crate::{Decoded, from_json, from_protobuf};

/// The most that a message may be, decompressed, unless another bound is asked for, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The most that all requests at hand may be together, in bytes.
const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many large messages are read at once.
const DECODES_MAX: usize = 2;
/// Messages up to this size are read where they arrive, in bytes; larger ones would hold up others.
const DECODE_HERE_MAX: usize = 64 * 1024;
/// How long a request may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// When to come again if there is no room.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where spans go.
pub trait Sink: Send + Sync + 'static {
    /// Takes spans and says how many; none when there is no room now. Never blocks.
    ///
    /// Where it takes some but not all, the others would not fit at any time.
    fn take(&self, spans: Vec<SpanData>) -> usize;
}

/// Who may send spans.
pub trait Admit: Send + Sync + 'static {
    /// Whether that request may be acted upon.
    fn admit<'a>(&'a self, head: &'a Parts, peer: Option<SocketAddr>) -> Admission<'a>;
}

/// What [`Admit`] says, once it is known.
pub type Admission<'a> = Pin<Box<dyn Future<Output = Result<(), Refused>> + Send + 'a>>;

/// Why a request is not acted upon, as its sender is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// What kind of failure it is.
    pub code: Code,
    /// What to tell.
    pub message: String,
}

impl Refused {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Whether the same request may be acted upon later.
    pub fn retryable(&self) -> bool {
        matches!(self.code, Code::Unavailable | Code::RateLimited)
    }
}

/// The bounds of a receiver.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The most that a message may be, decompressed, in bytes.
    pub message_bytes_max: usize,
    /// Where it counts.
    pub metrics: Registry,
}

impl Default for Settings {
    /// [`MESSAGE_BYTES_MAX`], and metrics that nobody sees.
    fn default() -> Self {
        Self { message_bytes_max: MESSAGE_BYTES_MAX, metrics: Registry::default() }
    }
}

/// Answers OTLP's requests. Cheap to clone.
#[derive(Clone)]
pub struct Receiver(Arc<Shared>);

struct Shared {
    sink: Box<dyn Sink>,
    admit: Box<dyn Admit>,
    message_bytes_max: usize,
    budget: Budget,
    decodes: Semaphore,
    metrics: Registry,
}

/// How a request was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Grpc,
    Protobuf,
    Json,
}

/// What came of a request that was read.
#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    refused: u64,
    why: String,
}

/// Why a request was not read, or its spans not taken.
#[derive(Debug)]
struct Failure {
    code: Code,
    message: String,
    retry_after: Option<Duration>,
}

/// A message as it arrived, and what it counts for.
struct Message {
    bytes: Bytes,
    is_gzip: bool,
    held: Held,
}

impl Receiver {
    /// A receiver that hands what it takes to the sink.
    pub fn new(sink: impl Sink, admit: impl Admit, settings: Settings) -> Self {
        let Settings { message_bytes_max, metrics } = settings;
        Self(Arc::new(Shared {
            sink: Box::new(sink),
            admit: Box::new(admit),
            message_bytes_max,
            budget: Budget::new(IN_FLIGHT_BYTES_MAX),
            decodes: Semaphore::new(DECODES_MAX),
            metrics,
        }))
    }

    /// Serves both protocols on a listener, until it is drained.
    ///
    /// # Cancel safety
    /// As [`server::serve`].
    pub async fn serve(self, listener: TcpListener, settings: server::Settings, drain: Drain) {
        let make = move |peer: &server::Peer| {
            let (receiver, remote) = (self.clone(), peer.remote);
            server::service_fn(move |request| {
                let receiver = receiver.clone();
                async move { Ok::<_, std::convert::Infallible>(receiver.answer(request, remote).await) }
            })
        };
        server::serve(listener, settings, drain, make).await;
    }

    /// Answers one request.
    ///
    /// # Cancel safety
    /// The spans are taken or not; the sender does not know.
    pub async fn answer<B>(&self, request: Request<B>, peer: Option<SocketAddr>) -> Response<AnswerBody>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let (head, body) = request.into_parts();
        let protocol = if grpc::is_grpc(&head) { Protocol::Grpc } else { http::protocol(&head) };
        let outcome = self.take(protocol, &head, body, peer).await;
        let code = outcome.as_ref().map_or_else(|failure| failure.code.as_str(), |_| "ok");
        let labels = [("protocol", protocol.as_str()), ("code", code)];
        self.0.metrics.counter("bowline_otlp_requests_total", "OTLP requests answered.", &labels).increment();
        match protocol {
            Protocol::Grpc => grpc::answer(&outcome),
            Protocol::Protobuf => http::answer(&outcome, false),
            Protocol::Json => http::answer(&outcome, true),
        }
    }

    async fn take<B>(
        &self,
        protocol: Protocol,
        head: &Parts,
        body: B,
        peer: Option<SocketAddr>,
    ) -> Result<Taken, Failure>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send,
    {
        let shared = &*self.0;
        shared.admit.admit(head, peer).await?;
        let is_gzip = if protocol == Protocol::Grpc { grpc::check(head)? } else { http::check(head)? };
        // What is compressed is shorter, and what is gRPC has five bytes more.
        let bytes_max = shared.message_bytes_max + grpc::PREFIX_BYTES;
        let reading = time::timeout(BODY_TIME_MAX, body::read(body, bytes_max, shared.budget.hold())).await;
        let (bytes, held) = reading.map_err(|_| Failure::later("the request took too long to arrive"))??;
        let mut message = Message { bytes, is_gzip, held };
        if protocol == Protocol::Grpc {
            message = grpc::unframe(message)?;
        }
        let decoded = self.decode(message, protocol == Protocol::Json).await?;
        self.hand_over(protocol, decoded)
    }

    /// Reads a message; a large one where it holds up nobody.
    async fn decode(&self, message: Message, is_json: bool) -> Result<Decoded, Failure> {
        let bytes_max = self.0.message_bytes_max;
        // What is compressed may become a thousand times as long.
        let is_small = message.bytes.len() <= if message.is_gzip { DECODE_HERE_MAX / 16 } else { DECODE_HERE_MAX };
        let decode = move || {
            let (bytes, _held) = message.plain(bytes_max)?;
            let decoded = if is_json { from_json(&bytes) } else { from_protobuf(&bytes) };
            decoded.map_err(|error| Failure::new(error.code(), error.to_string()))
        };
        if is_small {
            return decode();
        }
        let _one_of_few = self.0.decodes.acquire().await;
        let decoded = task::spawn_blocking(decode).await;
        decoded.unwrap_or_else(|_| Err(Failure::new(Code::Internal, "reading the request failed")))
    }

    fn hand_over(&self, protocol: Protocol, decoded: Decoded) -> Result<Taken, Failure> {
        let Decoded { spans, mut refused, why, .. } = decoded;
        let mut why = why.map(|why| why.to_string()).unwrap_or_default();
        self.count(protocol, "refused", refused);
        let count = spans.len();
        let taken = if count == 0 { 0 } else { self.0.sink.take(spans) };
        self.count(protocol, "taken", taken as u64);
        self.count(protocol, "no_room", (count - taken) as u64);
        if taken == 0 && count > 0 {
            return Err(Failure::later("there is no room for these spans now: send them again later"));
        }
        if taken < count {
            refused += (count - taken) as u64;
            "the request is larger than there is ever room for: send fewer spans at once".clone_into(&mut why);
        }
        Ok(Taken { refused, why })
    }

    fn count(&self, protocol: Protocol, outcome: &str, count: u64) {
        if count > 0 {
            let labels = [("protocol", protocol.as_str()), ("outcome", outcome)];
            self.0.metrics.counter("bowline_otlp_spans_total", "Spans that came in by OTLP.", &labels).add(count);
        }
    }
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Protobuf => "http/protobuf",
            Self::Json => "http/json",
        }
    }
}

impl Failure {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None }
    }

    /// One that the sender gets over by sending the same again.
    fn later(message: impl Into<String>) -> Self {
        Self { retry_after: Some(RETRY_AFTER), ..Self::new(Code::Unavailable, message) }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let retry_after = refused.retryable().then_some(RETRY_AFTER);
        Self { retry_after, ..Self::new(refused.code, refused.message) }
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}
