//! One scrape target's task: waits for its moment, asks, keeps, and again.

use std::sync::{Arc, Mutex};

use bowline_runtime::{
    task,
    time::{self, Duration},
};
use tokio::sync::watch;

use super::{Shared, Timing, locked};
use crate::scrape::{
    FetchError, Page, Target, TargetStatus,
    metrics::Outcome,
    pass::{Book, Descriptions, Outlet, PageError, Tally},
    status::Health,
    target::{Key, phase_ms},
};

/// How far from its moment a scrape may begin and still have its time, in milliseconds: timestamps at the same
/// distance take less room.
const JITTER_MAX_MS: i64 = 2;
/// How long one that has no metrics is left alone, in milliseconds.
const NONE_RETRY_MS: i64 = 60_000;
/// From so many bytes on a page is read on a thread of its own.
const LARGE_PAGE_BYTES: usize = 64 * 1024;

/// What a task is told.
#[derive(Debug, Clone)]
pub(super) enum Order {
    /// To scrape that.
    Scrape(Arc<Target>),
    /// To end the target's series, and itself.
    Leave,
}

/// The rounds of one scrape target.
pub(super) struct Rounds {
    shared: Arc<Shared>,
    target: Arc<Target>,
    key: Key,
    orders: watch::Receiver<Order>,
    timing: watch::Receiver<Timing>,
    asked: watch::Receiver<u64>,
    status: watch::Sender<TargetStatus>,
    book: Arc<Mutex<Book>>,
    /// The time of the last scrape.
    last_ms: Option<i64>,
}

/// What ended the waiting.
enum Wake {
    /// It is time: that of the samples.
    Due(i64),
    /// The target left.
    Leave,
    /// The collector is gone.
    End,
}

impl Rounds {
    /// The rounds; how they are told what to do; how they go.
    pub(super) fn new(
        key: Key,
        target: Target,
        shared: Arc<Shared>,
        descriptions: Arc<Descriptions>,
    ) -> (Self, watch::Sender<Order>, watch::Receiver<TargetStatus>) {
        let target = Arc::new(target);
        let (orders, ordered) = watch::channel(Order::Scrape(Arc::clone(&target)));
        let (status, seen) = watch::channel(unknown(&key, &target));
        let book = Arc::new(Mutex::new(Book::new(key.clone(), descriptions)));
        let (timing, asked) = (shared.timing.subscribe(), shared.asked.subscribe());
        (Self { shared, target, key, orders: ordered, timing, asked, status, book, last_ms: None }, orders, seen)
    }

    pub(super) async fn run(mut self) {
        self.shared.metrics.moved(None, Some(Health::Unknown));
        let shared = Arc::clone(&self.shared);
        let is_left = loop {
            let at_ms = match self.wait().await {
                Wake::Due(at_ms) => at_ms,
                Wake::Leave => break true,
                Wake::End => break false,
            };
            let permit = tokio::select! {
                biased;
                wake = left(&self.orders) => break matches!(wake, Wake::Leave),
                permit = shared.permits.acquire() => permit,
            };
            let Ok(permit) = permit else { break false };
            // Who had to wait for others is asked now: samples have the time at which they were measured.
            let now = (shared.clock)();
            match self.scrape(if (now - at_ms).abs() <= JITTER_MAX_MS { at_ms } else { now }).await {
                Wake::Due(_) => drop(permit),
                Wake::Leave => break true,
                Wake::End => break false,
            }
        };
        if is_left {
            let now = (self.shared.clock)();
            let at_ms = self.last_ms.map_or(now, |last| now.max(last + 1));
            locked(&self.book).end(at_ms, outlet(&self.shared));
        }
        self.shared.metrics.moved(Some(self.health()), None);
    }

    fn health(&self) -> Health {
        self.status.borrow().health
    }

    /// Waits for the next moment, or until the target is asked for on demand.
    async fn wait(&mut self) -> Wake {
        loop {
            let now = (self.shared.clock)();
            let due = self.due(now);
            let wait = Duration::from_millis(u64::try_from(due - now).unwrap_or(0));
            tokio::select! {
                biased;
                told = self.orders.changed() => if let Some(wake) = self.hear(told.is_ok()) {
                    return wake;
                },
                _ = self.asked.changed() => return Wake::Due((self.shared.clock)()),
                _ = self.timing.changed() => {}
                () = time::sleep(wait) => {
                    let now = (self.shared.clock)();
                    return Wake::Due(if (now - due).abs() <= JITTER_MAX_MS { due } else { now });
                }
            }
        }
    }

    /// Takes an order.
    fn hear(&mut self, is_open: bool) -> Option<Wake> {
        if !is_open {
            return Some(Wake::End);
        }
        match &*self.orders.borrow_and_update() {
            Order::Leave => return Some(Wake::Leave),
            Order::Scrape(target) => self.target = Arc::clone(target),
        }
        self.status.send_modify(|status| status.url = self.target.place.to_string());
        None
    }

    /// The next moment of the target after the last scrape.
    fn due(&mut self, now_ms: i64) -> i64 {
        let timing = *self.timing.borrow_and_update();
        let interval = i64::try_from(timing.interval.as_millis()).unwrap_or(i64::MAX).max(1);
        let mut after = now_ms;
        if let Some(last) = self.last_ms.filter(|last| *last < now_ms.saturating_add(interval)) {
            // Not twice for the same moment: it may have begun a little before it.
            after = after.max(last + JITTER_MAX_MS);
            if self.health() == Health::None {
                after = after.max(last + NONE_RETRY_MS - 1);
            }
        }
        after + 1 + (phase_ms(&self.key, interval) - after - 1).rem_euclid(interval)
    }

    /// Asks once; what is heard meanwhile may end it.
    async fn scrape(&mut self, at_ms: i64) -> Wake {
        let shared = Arc::clone(&self.shared);
        let round = *self.asked.borrow_and_update();
        let timeout = self.timing.borrow().timeout;
        let begun = time::now();
        let target = Arc::clone(&self.target);
        let fetched = tokio::select! {
            biased;
            fetched = shared.fetch.fetch(&target, timeout) => fetched,
            wake = left(&self.orders) => return wake,
        };
        // Nothing of an older time follows, whatever the clock does.
        self.last_ms = Some(at_ms);
        let (outcome, tally, error) = self.keep(at_ms, fetched).await;
        let duration = begun.elapsed();
        let health = match outcome {
            Outcome::Ok => Health::Up,
            Outcome::None => Health::None,
            _ => Health::Down,
        };
        if health == Health::None {
            locked(&self.book).end(at_ms, outlet(&shared));
        } else {
            locked(&self.book).report(at_ms, health == Health::Up, duration, tally, outlet(&shared));
        }
        shared.metrics.count(outcome);
        shared.metrics.duration.record(duration);
        shared.metrics.moved(Some(self.health()), Some(health));
        let before = self.status.borrow().clone();
        self.tell(TargetStatus {
            health,
            scraped_at: Some(time::wall_of(begun)),
            duration,
            samples: tally.scraped,
            last_error: error,
            round,
            ..before
        });
        Wake::Due(at_ms)
    }

    /// Puts what was fetched where it is kept.
    async fn keep(&self, at_ms: i64, fetched: Result<Page, FetchError>) -> (Outcome, Tally, Option<String>) {
        let error = match fetched {
            Ok(page) => return self.keep_page(at_ms, page).await,
            Err(error) => error,
        };
        let outcome = match &error {
            error if self.target.is_optional && error.is_none() => return (Outcome::None, Tally::default(), None),
            // It never had any: that it is away now is not for its metrics to tell.
            _ if self.target.is_optional && self.health() == Health::None => Outcome::None,
            FetchError::Timeout { .. } => Outcome::Timeout,
            FetchError::TooLarge { .. } => Outcome::TooLarge,
            FetchError::Request { .. } | FetchError::Transport { .. } => Outcome::Unreachable,
            FetchError::Status { .. } | FetchError::ContentType { .. } => Outcome::Answer,
            FetchError::Encoding { .. } | FetchError::Unpack { .. } => Outcome::Malformed,
        };
        locked(&self.book).fail(at_ms, outlet(&self.shared));
        (outcome, Tally::default(), Some(chain(&error)))
    }

    async fn keep_page(&self, at_ms: i64, page: Page) -> (Outcome, Tally, Option<String>) {
        let (tally, taken) = if page.body.len() < LARGE_PAGE_BYTES {
            locked(&self.book).take(&page, at_ms, outlet(&self.shared))
        } else {
            let (book, shared) = (Arc::clone(&self.book), Arc::clone(&self.shared));
            let taking = task::spawn_blocking(move || locked(&book).take(&page, at_ms, outlet(&shared)));
            match taking.await {
                Ok(taken) => taken,
                Err(error) => return (Outcome::Malformed, Tally::default(), Some(error.to_string())),
            }
        };
        match taken {
            Ok(()) => (Outcome::Ok, tally, note(tally)),
            Err(error @ PageError::Malformed(_)) => (Outcome::Malformed, tally, Some(chain(&error))),
            Err(error @ PageError::SampleLimit { .. }) => (Outcome::SampleLimit, tally, Some(chain(&error))),
        }
    }

    /// Publishes how it went; in the log is only what changes.
    fn tell(&self, status: TargetStatus) {
        let (job, instance, error) = (&*status.job, &*status.instance, status.last_error.as_deref());
        match (self.health(), status.health) {
            (before, now) if before == now => {}
            (_, Health::Down) => tracing::warn!(job, instance, error, "a target cannot be scraped"),
            (_, health) => tracing::debug!(job, instance, health = health.as_str(), "a target is scraped"),
        }
        self.status.send_replace(status);
    }
}

/// Waits until the target leaves, or the collector is gone; other orders wait.
async fn left(orders: &watch::Receiver<Order>) -> Wake {
    // By a receiver of its own: what this one sees and does not wait for counts as seen.
    match orders.clone().wait_for(|order| matches!(order, Order::Leave)).await {
        Ok(_) => Wake::Leave,
        Err(_) => Wake::End,
    }
}

fn outlet(shared: &Shared) -> Outlet<'_> {
    Outlet { sink: &*shared.sink, metrics: &shared.metrics, samples_max: shared.samples_max }
}

fn unknown(key: &Key, target: &Target) -> TargetStatus {
    TargetStatus {
        job: Arc::clone(&target.job),
        instance: Arc::clone(&target.instance),
        labels: key.clone(),
        url: target.place.to_string(),
        health: Health::Unknown,
        scraped_at: None,
        duration: Duration::ZERO,
        samples: 0,
        last_error: None,
        round: 0,
    }
}

/// What of a page is not kept, though it was taken.
fn note(tally: Tally) -> Option<String> {
    let refused =
        (tally.refused > 0).then(|| format!("{} samples are of series that the store refuses", tally.refused));
    let duplicate = (tally.duplicate > 0).then(|| format!("{} samples are of series that come twice", tally.duplicate));
    let notes: Vec<_> = refused.into_iter().chain(duplicate).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
