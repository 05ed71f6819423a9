//! The way of spans to a server: in batches, on a task of its own, dropped when the server stays away.

use std::time::Duration;

use bowline_model::Address;
use bowline_runtime::{
    drain::{self, Drain, Drainer},
    metric::{Counter, Registry},
    rand, task, time,
};
use bowline_telemetry::{SpanData, SpanQueue, names};
use bowline_transport::HttpClient;

use crate::wire::SpanBatch;

/// Spans in one request.
const BATCH_MAX: usize = 512;
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
    /// Begins to report what comes out of the queue.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(api: impl Into<Address>, spans: SpanQueue, metrics: &Registry) -> Self {
        let (drainer, drain) = drain::channel();
        let help = "Spans dropped before they left the process.";
        let dropped = metrics.counter(names::SPANS_DROPPED_TOTAL, help, &[("reason", "server_away")]);
        let client = HttpClient::new(api).with_timeout(TIMEOUT);
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

async fn report(client: HttpClient, mut spans: SpanQueue, mut drain: Drain, dropped: Counter) {
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
        send(&client, batch, &mut drain, &dropped).await;
    }
}

/// Sends one batch, again and again while that may help.
async fn send(client: &HttpClient, spans: Vec<SpanData>, drain: &mut Drain, dropped: &Counter) {
    let batch = SpanBatch { spans };
    let mut wait = BACKOFF_MIN;
    for attempt in 1..=ATTEMPTS_MAX {
        let error = match client.post_json::<()>("/v1/spans", &batch).await {
            Ok(()) => return,
            Err(error) => error,
        };
        let is_last = attempt == ATTEMPTS_MAX || !error.retryable() || drain.is_draining();
        if is_last {
            tracing::debug!(error = %error, spans = batch.spans.len(), "spans were dropped");
            break;
        }
        // At least half of it, by chance, so that processes do not come back all at once; when the
        // end is near the next attempt, the last one, does not wait.
        let _waited = drain.or_drain(time::sleep(wait.mul_f64(0.5 + rand::unit() / 2.0))).await;
        wait = (wait * 2).min(BACKOFF_MAX);
    }
    dropped.add(batch.spans.len() as u64);
}
