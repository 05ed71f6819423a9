//! The way of spans to a server: in batches, on a task of its own, dropped when the server stays away.

use std::time::Duration;

use bowline_model::{Address, Code};
use bowline_runtime::{
    drain::{self, Drain, Drainer},
    metric::{Counter, Registry},
    rand, task, time,
};
use bowline_telemetry::{SpanData, SpanQueue, names};
use bowline_transport::{ClientError, HttpClient};

use crate::{Bearer, Link, wire::SpanBatch};

/// Spans in one request.
const BATCH_MAX: usize = 512;
/// About the most bytes of one request: half of what the server takes.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// About the bytes of a span's JSON beside its texts.
const SPAN_BYTES: usize = 400;
/// About the bytes of an attribute's or an event's JSON beside its texts.
const ATTRIBUTE_BYTES: usize = 64;
/// How long a span waits for company.
const BATCH_WAIT: Duration = Duration::from_millis(200);
/// How long one request may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The wait after a first failure; it doubles.
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// The longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How often a batch is sent before it is dropped.
const ATTEMPTS_MAX: u32 = 5;

/// Reports spans until flushed. Dropping it sends what waits, and then ends.
#[derive(Debug)]
pub struct RemoteReporter {
    drainer: Drainer,
}

impl RemoteReporter {
    /// Begins to report what comes out of the queue, with a token where the server demands one.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(api: impl Into<Address>, bearer: Option<Bearer>, spans: SpanQueue, metrics: &Registry) -> Self {
        let client = HttpClient::new(api);
        Self::start_over(bearer.into_iter().fold(client, |client, bearer| bearer.on(client)), spans, metrics)
    }

    /// The same to the server at the end of that link.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_over(link: impl Into<Link>, spans: SpanQueue, metrics: &Registry) -> Self {
        let (drainer, drain) = drain::channel();
        let help = "Spans dropped before they left the process.";
        let dropped = |reason| metrics.counter(names::SPANS_DROPPED_TOTAL, help, &[("reason", reason)]);
        let dropped = Dropped { server_away: dropped("server_away"), too_large: dropped("too_large") };
        let client = link.into().asked.with_timeout(TIMEOUT);
        task::spawn(report(client, spans, drain, dropped));
        Self { drainer }
    }

    /// Sends what waits, for at most so long; spans that end later are dropped.
    ///
    /// # Cancel safety
    /// Reporting ends all the same, when what waits was sent.
    pub async fn flush(mut self, time_max: Duration) {
        let _in_time = time::timeout(time_max, self.drainer.drain()).await;
    }
}

/// Spans that did not arrive, by reason.
struct Dropped {
    /// The server is away, or refuses the batch.
    server_away: Counter,
    /// The server does not take one as large, even alone.
    too_large: Counter,
}

async fn report(client: HttpClient, mut spans: SpanQueue, mut drain: Drain, dropped: Dropped) {
    loop {
        let batch = match drain.or_drain(spans.next_batch(BATCH_MAX, BATCH_WAIT)).await {
            Some(None) => return,
            Some(Some(batch)) => batch,
            // At the end: what is there, without waiting for more.
            None if spans.is_empty() => return,
            None => match spans.next_batch(BATCH_MAX, Duration::ZERO).await {
                Some(batch) => batch,
                None => return,
            },
        };
        send_all(&client, batch, &mut drain, &dropped).await;
    }
}

/// Cuts off the last spans that are more than one request should carry; at least one stays.
fn cut_off(spans: &mut Vec<SpanData>) -> Vec<SpanData> {
    let mut bytes = 0;
    let fits = |span: &&SpanData| {
        bytes += span.text_bytes() + SPAN_BYTES + ATTRIBUTE_BYTES * (span.attributes.len() + span.events.len());
        bytes <= BATCH_BYTES_MAX
    };
    let count = spans.iter().take_while(fits).count().max(1);
    spans.split_off(count.min(spans.len()))
}

/// Sends spans in batches of a size that the server takes.
async fn send_all(client: &HttpClient, spans: Vec<SpanData>, drain: &mut Drain, dropped: &Dropped) {
    // The next one is the last.
    let mut batches = vec![spans];
    while let Some(mut spans) = batches.pop() {
        let rest = cut_off(&mut spans);
        if !rest.is_empty() {
            batches.push(rest);
        }
        let mut spans = match send(client, spans, drain).await {
            Ok(()) => continue,
            Err((ClientError::Answer { problem, .. }, spans)) if problem.code == Code::PayloadTooLarge => spans,
            Err((error, spans)) => {
                tracing::debug!(%error, spans = spans.len(), "spans were dropped");
                dropped.server_away.add(spans.len() as u64);
                continue;
            }
        };
        if spans.len() == 1 {
            tracing::debug!(name = %spans[0].name, "span was dropped: it is too large for the server");
            dropped.too_large.increment();
            continue;
        }
        let second = spans.split_off(spans.len() / 2);
        batches.extend([second, spans]);
    }
}

/// Sends one batch, again and again while that may help; gives it back where nothing did.
async fn send(
    client: &HttpClient,
    spans: Vec<SpanData>,
    drain: &mut Drain,
) -> Result<(), (ClientError, Vec<SpanData>)> {
    let batch = SpanBatch { spans };
    let mut wait = BACKOFF_MIN;
    let mut attempt = 1;
    loop {
        let error = match client.post_json::<()>("/v1/spans", &batch).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if attempt == ATTEMPTS_MAX || !error.retryable() || drain.is_draining() {
            return Err((error, batch.spans));
        }
        attempt += 1;
        // At least half of it, by chance, so that processes do not come back all at once; when the
        // end is near the next attempt, the last one, does not wait.
        let _waited = drain.or_drain(time::sleep(wait.mul_f64(0.5 + rand::unit() / 2.0))).await;
        wait = (wait * 2).min(BACKOFF_MAX);
    }
}
