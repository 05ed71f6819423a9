//! The relay: hands what waits in the outbox to the message bus. One is active in a database at a time.

use std::{collections::BTreeMap, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bowline_messaging::{Error as BusError, MessageBus, NewMessage};
use bowline_runtime::{
    metric::{Counter, Gauge, Registry},
    rand,
    task::{self, Guarded},
    time::{self, Instant},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, stream};

use crate::{
    Error, Outbox,
    db::{Db, Kind, Query, Row, begin},
    lease::Lease,
    now_ms,
};

/// How many messages are read at once, and how many bytes of them; a message alone may have more.
const BATCH_MAX: usize = 256;
const BATCH_BYTES_MAX: i64 = 4 << 20;

/// What a message is counted as besides its payload.
const ROW_BYTES: i64 = 1 << 10;

/// How many keys are handed over at once.
const KEYS_AT_ONCE: usize = 64;

/// How many topics are held back at once; when more are refused, everything waits.
const HELD_BACK_MAX: usize = 32;

/// The longest between two tries of a topic that was refused; the first is after [`BACKOFF_MIN`].
const BACKOFF_MAX: Duration = Duration::from_secs(30);
const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// How long it waits after a panic before it goes on.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// How often what waits is counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// Up to how many waiting messages are counted.
const COUNTED_MAX: i64 = 100_000;

/// The longest text of why a message was set aside.
const FAILURE_BYTES_MAX: usize = 512;

/// How the relay works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySettings {
    /// How often it looks where nobody wakes it.
    pub poll: Duration,
    /// After how long another replica takes over from one that is gone.
    pub lease: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self { poll: Duration::from_millis(250), lease: Duration::from_secs(10) }
    }
}

/// The relay's task; it ends when this is dropped. What it was handing over then is handed over again, with the same id.
#[derive(Debug)]
pub struct Relay {
    _task: Guarded<()>,
}

impl<DB: Db> Outbox<DB> {
    /// Starts handing messages to a message bus: in order within a key, in parallel across keys. A message is deleted
    /// when the message bus acknowledged it; until then it is published again with the same id, which the topic
    /// recognises within its `dedup`.
    ///
    /// A topic that is refused is tried again, after a time that doubles up to 30 s; others go on. A message that no
    /// try will help is set aside: it stays in `bowline_outbox` with why, and holds nobody up.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn relay(&self, bus: Arc<dyn MessageBus>, settings: RelaySettings, registry: &Registry) -> Relay {
        let lease = Lease::new("relay", settings.lease);
        let metrics = Metrics::new(registry);
        let worker = Worker { outbox: self.clone(), bus, settings, lease, held_back: BTreeMap::new(), metrics };
        Relay { _task: Guarded::new(task::spawn(worker.run())) }
    }
}

struct Worker<DB: Db> {
    outbox: Outbox<DB>,
    bus: Arc<dyn MessageBus>,
    settings: RelaySettings,
    lease: Lease,
    /// Topics that were refused.
    held_back: BTreeMap<String, HeldBack>,
    metrics: Metrics,
}

#[derive(Debug, Clone, Copy)]
struct HeldBack {
    failures: u32,
    until: Instant,
}

/// A message that waits.
#[derive(Debug)]
struct Waiting {
    seq: i64,
    topic: String,
    message: NewMessage,
    /// When it is not delivered any more.
    expires_ms: Option<i64>,
    due_ms: i64,
}

/// The messages of a batch, in their order.
#[derive(Debug)]
struct Next {
    seqs: Vec<i64>,
    /// Whether there are more behind them.
    is_cut: bool,
}

/// What became of messages.
#[derive(Debug, Default)]
struct Outcome {
    gone: Vec<i64>,
    set_aside: Vec<(i64, BusError)>,
    refused: Vec<(String, BusError)>,
}

impl<DB: Db> Worker<DB> {
    /// Hands over for ever, whatever happens.
    async fn run(mut self) {
        while AssertUnwindSafe(self.try_run()).catch_unwind().await.is_err() {
            tracing::error!("handing messages over panicked, it goes on");
            time::sleep(AFTER_PANIC).await;
        }
    }

    async fn try_run(&mut self) {
        let (mut counted, mut failures) = (None, 0);
        loop {
            if counted.is_none_or(|counted: Instant| counted.elapsed() >= COUNT_EVERY) {
                counted = Some(time::now());
                self.count().await;
            }
            let pause = match self.pass().await {
                Ok(true) => {
                    failures = 0;
                    continue;
                }
                Ok(false) => {
                    failures = 0;
                    self.settings.poll
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(error = %chain(&error), "the outbox cannot be read or written, it is tried again");
                    backoff(failures)
                }
            };
            // Who is told while it works is not told again: a permit of `Notify` stays.
            time::timeout(pause, self.outbox.woken.notified()).await.ok();
        }
    }

    /// Hands a batch over; whether more may be there.
    async fn pass(&mut self) -> Result<bool, Error> {
        let now = time::now();
        let is_waiting = |held: &&HeldBack| held.until > now;
        if self.held_back.values().filter(is_waiting).count() >= HELD_BACK_MAX {
            return Ok(false);
        }
        let next = self.next(now).await?;
        if next.seqs.is_empty() {
            return Ok(false);
        }
        // Read after it is held: what another handed over before is gone.
        let Some(until) = self.lease.hold(&self.outbox.pool).await? else { return Ok(false) };
        let waiting = self.waiting(&next.seqs).await?;
        let outcome = self.hand_over(waiting, until).await;
        let did_some = !outcome.gone.is_empty() || !outcome.set_aside.is_empty();
        self.settle(outcome).await?;
        Ok(next.is_cut && did_some)
    }

    /// What is to be handed over next, as many as are read at once.
    async fn next(&self, now: Instant) -> Result<Next, Error> {
        let held: Vec<&String> =
            self.held_back.iter().filter(|(_, held)| held.until > now).map(|(topic, _)| topic).collect();
        let places: Vec<String> = (1..=held.len()).map(|number| format!("${number}")).collect();
        let but = if held.is_empty() { String::new() } else { format!("AND topic NOT IN ({})", places.join(", ")) };
        let sql = format!(
            "SELECT seq, CAST(LENGTH(payload) AS BIGINT) FROM bowline_outbox \
             WHERE set_aside_ms IS NULL {but} ORDER BY seq LIMIT {BATCH_MAX}"
        );
        let query = held.into_iter().fold(Query::made(sql), Query::text).answers(&[Kind::Int, Kind::Int]);
        let mut connection = self.outbox.pool.acquire().await?;
        let found = DB::fetch(&mut connection, query).await?;
        let count = found.len();
        let mut bytes = 0;
        let fits = found.into_iter().map(|mut row| (row.int(), row.int())).take_while(|(_, length)| {
            let is_first = bytes == 0;
            bytes += length.saturating_add(ROW_BYTES);
            is_first || bytes <= BATCH_BYTES_MAX
        });
        let seqs: Vec<i64> = fits.map(|(seq, _)| seq).collect();
        Ok(Next { is_cut: count >= BATCH_MAX || seqs.len() < count, seqs })
    }

    /// Those of them that are still there.
    async fn waiting(&self, seqs: &[i64]) -> Result<Vec<Waiting>, Error> {
        let seqs: Vec<String> = seqs.iter().map(ToString::to_string).collect();
        let sql = format!(
            "SELECT seq, id, topic, ordering_key, headers, payload, due_ms, expires_ms FROM bowline_outbox \
             WHERE set_aside_ms IS NULL AND seq IN ({}) ORDER BY seq",
            seqs.join(", ")
        );
        let query = Query::made(sql).answers(&[
            Kind::Int,
            Kind::Text,
            Kind::Text,
            Kind::Text,
            Kind::Text,
            Kind::Bytes,
            Kind::Int,
            Kind::Int,
        ]);
        let mut connection = self.outbox.pool.acquire().await?;
        Ok(DB::fetch(&mut connection, query).await?.into_iter().map(read).collect())
    }

    async fn hand_over(&self, waiting: Vec<Waiting>, until: Instant) -> Outcome {
        let mut chains: BTreeMap<(String, Option<String>, i64), Vec<Waiting>> = BTreeMap::new();
        for waiting in waiting {
            // Without a key each stands for itself.
            let alone = if waiting.message.key.is_none() { waiting.seq } else { 0 };
            chains.entry((waiting.topic.clone(), waiting.message.key.clone(), alone)).or_default().push(waiting);
        }
        let chains = stream::iter(chains.into_values().map(|chain| self.hand_over_chain(chain, until)));
        let mut outcome = Outcome::default();
        let mut done = chains.buffer_unordered(KEYS_AT_ONCE);
        while let Some(one) = done.next().await {
            outcome.gone.extend(one.gone);
            outcome.set_aside.extend(one.set_aside);
            outcome.refused.extend(one.refused);
        }
        outcome
    }

    /// The messages of one key, one after the other, as long as the lease lasts.
    async fn hand_over_chain(&self, chain: Vec<Waiting>, until: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        for Waiting { seq, topic, mut message, expires_ms, due_ms } in chain {
            let now = now_ms();
            message.delay = since(now, due_ms);
            message.expires_in = expires_ms.map(|expires| since(now, expires));
            if message.expires_in.is_some_and(|expires| expires.is_zero()) {
                outcome.gone.push(seq);
                continue;
            }
            match time::timeout_at(until, self.bus.publish(&topic, message)).await {
                Ok(Ok(_)) => {
                    self.metrics.published.increment();
                    outcome.gone.push(seq);
                }
                Ok(Err(error @ BusError::Invalid { .. })) => outcome.set_aside.push((seq, error)),
                Ok(Err(error)) => {
                    outcome.refused.push((topic, error));
                    break;
                }
                Err(_) => {
                    outcome.refused.push((topic, BusError::Unavailable { retry_after: None }));
                    break;
                }
            }
        }
        outcome
    }

    async fn settle(&mut self, outcome: Outcome) -> Result<(), Error> {
        let Outcome { gone, set_aside, refused } = outcome;
        self.hold_back(refused);
        if gone.is_empty() && set_aside.is_empty() {
            return Ok(());
        }
        let mut tx = begin(&self.outbox.pool).await?;
        if !gone.is_empty() {
            let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
            DB::run(&mut tx, Query::made(format!("DELETE FROM bowline_outbox WHERE seq IN ({})", gone.join(", "))))
                .await?;
        }
        for (seq, error) in set_aside {
            tracing::error!(seq, error = %error, "a message of the outbox can never be published, it is set aside");
            let sql = "UPDATE bowline_outbox SET set_aside_ms = $1, failure = $2 WHERE seq = $3";
            let failure = crate::cut(error.to_string(), FAILURE_BYTES_MAX);
            DB::run(&mut tx, Query::new(sql).int(now_ms()).text(failure).int(seq)).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// What was refused waits; what was not, goes on.
    fn hold_back(&mut self, refused: Vec<(String, BusError)>) {
        let now = time::now();
        let mut anew = BTreeMap::new();
        for (topic, error) in refused {
            self.metrics.refused.increment();
            anew.insert(topic, error);
        }
        // Whose time had come and who was not refused again is as before.
        self.held_back.retain(|topic, held| held.until > now || anew.contains_key(topic));
        for (topic, error) in anew {
            let held = self.held_back.entry(topic.clone()).or_insert(HeldBack { failures: 0, until: now });
            held.failures = held.failures.saturating_add(1);
            held.until = now + backoff(held.failures);
            tracing::warn!(topic, failures = held.failures, error = %chain(&error), "the message bus refuses a topic");
        }
    }

    async fn count(&self) {
        if let Err(error) = self.try_count().await {
            tracing::debug!(error = %chain(&error), "the outbox cannot be counted");
        }
    }

    async fn try_count(&self) -> Result<(), Error> {
        const COUNTS: &[Kind] = &[Kind::Int, Kind::Int];
        let sql = "SELECT COUNT(*), MIN(created_ms) FROM \
                   (SELECT created_ms FROM bowline_outbox WHERE set_aside_ms IS NULL ORDER BY seq LIMIT $1) AS waiting";
        let mut connection = self.outbox.pool.acquire().await?;
        let rows = DB::fetch(&mut connection, Query::new(sql).int(COUNTED_MAX).answers(COUNTS)).await?;
        if let Some(mut row) = rows.into_iter().next() {
            self.metrics.waiting.set(row.int());
            let oldest = row.maybe_int().map_or(Duration::ZERO, |created| since(created, now_ms()));
            self.metrics.oldest_age.set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
        }
        let sql = "SELECT COUNT(*) FROM \
                   (SELECT 1 FROM bowline_outbox WHERE set_aside_ms IS NOT NULL LIMIT $1) AS aside";
        let rows = DB::fetch(&mut connection, Query::new(sql).int(COUNTED_MAX).answers(&[Kind::Int])).await?;
        self.metrics.set_aside.set(rows.into_iter().next().map_or(0, |mut row| row.int()));
        Ok(())
    }
}

fn read(mut row: Row) -> Waiting {
    let (seq, id, topic, key) = (row.int(), row.text(), row.text(), row.maybe_text());
    let headers = serde_json::from_str(&row.text()).unwrap_or_default();
    let payload = Bytes::from(row.bytes());
    let (due_ms, expires_ms) = (row.int(), row.maybe_int());
    let message = NewMessage { id: Some(id), key, headers, payload, ..NewMessage::default() };
    Waiting { seq, topic, message, expires_ms, due_ms }
}

/// How long from one moment to another; nothing when it is over.
fn since(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or_default())
}

/// Half of it is up to chance.
fn backoff(failures: u32) -> Duration {
    let whole = BACKOFF_MIN.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    whole.min(BACKOFF_MAX).mul_f64(0.5 + rand::unit() / 2.0)
}

/// An error with its causes, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

struct Metrics {
    waiting: Gauge,
    oldest_age: Gauge,
    set_aside: Gauge,
    published: Counter,
    refused: Counter,
}

impl Metrics {
    fn new(registry: &Registry) -> Self {
        Self {
            waiting: registry.gauge("bowline_outbox_waiting", "Messages that wait for the message bus.", &[]),
            oldest_age: registry.gauge("bowline_outbox_oldest_age_seconds", "How long the oldest one has waited.", &[]),
            set_aside: registry.gauge("bowline_outbox_set_aside", "Messages that can never be published.", &[]),
            published: registry.counter("bowline_outbox_published_total", "Messages handed to the message bus.", &[]),
            refused: registry.counter("bowline_outbox_refused_total", "Tries that the message bus refused.", &[]),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
