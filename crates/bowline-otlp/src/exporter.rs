//! Passes spans on to a foreign collector, by OTLP/HTTP.
//!
//! Whoever offers spans never waits: what has no room is dropped and counted. A batch that the collector
//! cannot take now is sent again, later and later; what it refuses is dropped.

mod connection;
mod endpoint;
mod queue;

use std::sync::{Arc, Mutex, PoisonError};

use bowline_model::Secret;
use bowline_runtime::{
    metric::{Counter, Registry},
    rand,
    task::{self, JoinHandle},
    time::{self, Duration},
};
use bowline_telemetry::SpanData;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

pub use self::endpoint::{Endpoint, InvalidEndpoint};
use self::{
    connection::{Answer, Connection},
    queue::Queue,
};
use crate::{
    encode::{self, Encoded},
    wire::reader::{Field, Reader},
};

/// The first wait before a batch is sent again; it doubles.
const BACKOFF: Duration = Duration::from_secs(1);
/// The longest wait that we come to by ourselves.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// The longest wait that a collector may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_mins(5);

/// Where spans go, and how.
#[derive(Debug, Clone)]
pub struct ExportSettings {
    /// The collector.
    pub endpoint: Endpoint,
    /// Headers of each request, as a credential; values are never told.
    pub headers: Vec<(HeaderName, Secret)>,
    /// The most that spans take while they wait, in bytes.
    pub queue_bytes_max: usize,
    /// The most spans of a request.
    pub batch_spans_max: usize,
    /// How long the first span of a batch waits for others.
    pub batch_wait: Duration,
    /// How long an answer may take, connecting included.
    pub timeout: Duration,
    /// How long a batch is sent again and again.
    pub retry_max: Duration,
    /// Where it counts.
    pub metrics: Registry,
}

impl ExportSettings {
    /// To that collector: 32 MiB wait, 2000 spans go at once or after 1 s, 10 s for an answer, 5 min of retries.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            headers: Vec::new(),
            queue_bytes_max: 32 * 1024 * 1024,
            batch_spans_max: 2000,
            batch_wait: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            retry_max: Duration::from_mins(5),
            metrics: Registry::default(),
        }
    }
}

/// A way out for spans. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Exporter(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Arc<Queue>,
    sending: Mutex<Option<JoinHandle<()>>>,
}

impl Exporter {
    /// Begins to send what will be offered.
    pub fn start(settings: ExportSettings) -> Self {
        let queue = Arc::new(Queue::new(settings.queue_bytes_max, &settings.metrics));
        let sender = Sender::new(settings, Arc::clone(&queue));
        Self(Arc::new(Shared { queue, sending: Mutex::new(Some(task::spawn(sender.run()))) }))
    }

    /// Takes copies of spans as far as there is room; never waits.
    pub fn offer(&self, spans: &[SpanData]) {
        self.0.queue.offer(spans);
    }

    /// Sends what still waits, for at most that long; the rest is dropped and counted. Nothing is taken after it.
    ///
    /// # Cancel safety
    /// As if the time were up.
    pub async fn drain(&self, within: Duration) {
        self.0.queue.close();
        let sending = self.0.sending.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut sending) = sending else { return };
        if time::timeout(within, &mut sending).await.is_err() {
            sending.abort();
            let _aborted = sending.await;
            self.0.queue.abandon();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The task that sends.
struct Sender {
    settings: ExportSettings,
    queue: Arc<Queue>,
    connection: Connection,
    exported: Counter,
    /// Whether the last attempt failed: each change is logged, not each failure.
    is_failing: bool,
}

/// What came of one attempt.
enum Attempt {
    /// Taken, but for so many.
    Taken { refused: u64 },
    /// Perhaps later; not before that.
    Later { why: String, after: Option<Duration> },
    /// Not ever.
    Never { why: String },
}

impl Sender {
    fn new(settings: ExportSettings, queue: Arc<Queue>) -> Self {
        let help = "Spans that a collector took.";
        let exported = settings.metrics.counter("bowline_otlp_exported_total", help, &[]);
        let mut headers = Vec::new();
        for (name, secret) in &settings.headers {
            let Ok(mut value) = HeaderValue::from_str(secret.expose()) else {
                tracing::warn!(header = %name, "a header for the collector cannot be sent: it is no text");
                continue;
            };
            value.set_sensitive(true);
            headers.push((name.clone(), value));
        }
        let connection = Connection::new(settings.endpoint.clone(), headers);
        Self { settings, queue, connection, exported, is_failing: false }
    }

    async fn run(mut self) {
        let (count_max, wait) = (self.settings.batch_spans_max, self.settings.batch_wait);
        while let Some(batch) = self.queue.next_batch(count_max, wait).await {
            self.send(batch).await;
        }
    }

    /// Sends a batch until it is taken, refused, or given up.
    async fn send(&mut self, batch: Vec<Encoded>) {
        let mut owed = self.queue.owe(batch.len() as u64);
        let body = task::spawn_blocking(move || connection::gzip(&encode::request(&batch))).await;
        let Ok(body) = body else { return };
        let until = time::now() + self.settings.retry_max;
        let mut backoff = BACKOFF;
        loop {
            let (why, after) = match self.attempt(&body).await {
                Attempt::Taken { refused } => {
                    self.succeeded();
                    let refused = refused.min(owed.count());
                    self.exported.add(owed.count() - refused);
                    return owed.settle("refused", refused);
                }
                Attempt::Never { why } => {
                    tracing::warn!(collector = %self.settings.endpoint, why, "spans were refused");
                    return owed.settle_all("refused");
                }
                Attempt::Later { why, after } => (why, after),
            };
            self.failed(&why);
            // Between half and all of it, so that not everybody comes at once.
            let wait = backoff.mul_f64(0.5 + rand::unit() / 2.0).max(after.unwrap_or_default());
            backoff = (backoff * 2).min(BACKOFF_MAX);
            if time::now() + wait > until {
                return owed.settle_all("gave_up");
            }
            time::sleep(wait).await;
        }
    }

    async fn attempt(&mut self, body: &Bytes) -> Attempt {
        match time::timeout(self.settings.timeout, self.connection.post(body)).await {
            Err(_) => {
                self.connection.close();
                Attempt::Later { why: "there was no answer in time".to_owned(), after: None }
            }
            Ok(Err(error)) => {
                self.connection.close();
                let why = bowline_model::error::chain(&error);
                Attempt::Later { why, after: None }
            }
            Ok(Ok(answer)) => judge(&answer),
        }
    }

    fn failed(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::warn!(collector = %self.settings.endpoint, why, "spans cannot be passed on now");
        }
    }

    fn succeeded(&mut self) {
        if std::mem::replace(&mut self.is_failing, false) {
            tracing::info!(collector = %self.settings.endpoint, "spans are passed on again");
        }
    }
}

/// What an answer means (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP Response").
fn judge(answer: &Answer) -> Attempt {
    let why = || format!("the collector answered {}", answer.status);
    match answer.status {
        status if status.is_success() => Attempt::Taken { refused: refused_of(&answer.body) },
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            let after = answer.retry_after.map(|after| after.min(RETRY_AFTER_MAX));
            Attempt::Later { why: why(), after }
        }
        _ => Attempt::Never { why: why() },
    }
}

/// How many spans an `ExportTraceServiceResponse` says were refused; none where it is no such thing.
fn refused_of(body: &[u8]) -> u64 {
    let mut message = Reader::new(body);
    while let Ok(Some((number, field))) = message.next() {
        let (1, Field::Bytes(partial)) = (number, field) else { continue };
        let mut partial = Reader::new(partial);
        while let Ok(Some((number, field))) = partial.next() {
            if let (1, Field::Varint(refused)) = (number, field) {
                return refused;
            }
        }
    }
    0
}
