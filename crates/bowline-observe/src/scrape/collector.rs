//! The collector: a task for each scrape target, each at its own moment of the interval.

mod round;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_model::Code;
use bowline_runtime::{
    BoxFuture, metric,
    task::{self, JoinHandle},
    time::{self, Duration},
};
use tokio::sync::{Semaphore, watch};

use self::round::{Order, Rounds};
use super::{
    Fetch, ScrapeTargets, Sink, TARGETS_MAX, Target, TargetStatus,
    metrics::Metrics,
    pass::{Description, Descriptions},
    status::Health,
    target::Key,
};

/// The shortest and the longest interval.
const INTERVAL_RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_hours(1));

/// Collects metrics: the port that a monitor stands on.
pub trait MetricsCollector: Send + Sync {
    /// Asks every scrape target once, now, beside its interval; answers when that is done.
    ///
    /// # Errors
    /// [`Error::Closed`].
    ///
    /// # Cancel safety
    /// What was begun goes on.
    fn collect(&self) -> BoxFuture<'_, Result<Collected, Error>>;

    /// How scraping goes, sorted by job and instance.
    fn targets(&self) -> Vec<TargetStatus>;
}

/// What came of asking everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Scrape targets whose metrics were read.
    pub up: usize,
    /// Scrape targets that gave none.
    pub down: usize,
    /// Samples that were on the pages.
    pub samples: usize,
}

/// Why nothing was collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It was stopped.
    #[error("the collector is stopped")]
    Closed,
}

impl Error {
    /// What kind of failure it is.
    pub fn code(self) -> Code {
        match self {
            Self::Closed => Code::Unavailable,
        }
    }

    /// Whether trying again may help.
    pub fn retryable(self) -> bool {
        match self {
            Self::Closed => false,
        }
    }
}

/// What a collector is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often a scrape target is asked: 100 ms to 1 h; what is beyond counts as the bound.
    pub interval: Duration,
    /// How long an answer may take; never longer than the interval.
    pub timeout: Duration,
    /// The most samples of a page; one with more is not taken.
    pub samples_max: usize,
    /// The most scrape targets that are asked at once; others wait.
    pub concurrency_max: usize,
    /// Where it counts.
    pub metrics: metric::Registry,
}

impl Default for Settings {
    /// Every 5 s, 5 s for an answer, 50,000 samples, 64 at once.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            samples_max: 50_000,
            concurrency_max: 64,
            metrics: metric::Registry::default(),
        }
    }
}

/// Scrapes, until it is dropped or [stopped](Collector::stop).
///
/// Each scrape target has a task and a moment of the interval of its own; samples have that moment's time to the
/// millisecond, unless a scrape begins more than 2 ms beside it. A scrape target whose job, instance and labels stay
/// goes on when its address changes. One that leaves the list has its series ended; those of a collector that stops
/// stay as they are, for the next one to go on with.
pub struct Collector {
    shared: Arc<Shared>,
    running: Arc<Mutex<BTreeMap<Key, Running>>>,
    timeout: Duration,
    supervisor: task::Guarded<()>,
}

/// What the tasks share.
struct Shared {
    fetch: Arc<dyn Fetch>,
    sink: Arc<dyn Sink>,
    metrics: Metrics,
    samples_max: usize,
    permits: Semaphore,
    timing: watch::Sender<Timing>,
    /// How often everybody was asked on demand.
    asked: watch::Sender<u64>,
    /// Milliseconds since 1970.
    clock: fn() -> i64,
}

/// When scrape targets are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Timing {
    interval: Duration,
    timeout: Duration,
}

/// A scrape target's task.
struct Running {
    orders: watch::Sender<Order>,
    status: watch::Receiver<TargetStatus>,
    descriptions: Arc<Descriptions>,
    task: JoinHandle<()>,
}

impl Timing {
    fn new(interval: Duration, timeout: Duration) -> Self {
        let interval = interval.clamp(INTERVAL_RANGE.0, INTERVAL_RANGE.1);
        Self { interval, timeout: timeout.min(interval) }
    }
}

impl Collector {
    /// Begins to scrape.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(settings: Settings, targets: &dyn ScrapeTargets, fetch: Arc<dyn Fetch>, sink: Arc<dyn Sink>) -> Self {
        let clock = || i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX);
        Self::start_by(settings, targets, fetch, sink, clock)
    }

    fn start_by(
        settings: Settings,
        targets: &dyn ScrapeTargets,
        fetch: Arc<dyn Fetch>,
        sink: Arc<dyn Sink>,
        clock: fn() -> i64,
    ) -> Self {
        let Settings { interval, timeout, samples_max, concurrency_max, metrics } = settings;
        let shared = Arc::new(Shared {
            fetch,
            sink,
            metrics: Metrics::new(&metrics),
            samples_max,
            permits: Semaphore::new(concurrency_max.clamp(1, Semaphore::MAX_PERMITS)),
            timing: watch::Sender::new(Timing::new(interval, timeout)),
            asked: watch::Sender::new(0),
            clock,
        });
        let running = Arc::default();
        let mut list = targets.watch();
        let first = Arc::clone(&list.borrow_and_update());
        reconcile(&first, &shared, &mut locked(&running));
        let supervisor = supervise(list, Arc::clone(&shared), Arc::clone(&running));
        Self { shared, running, timeout, supervisor: task::Guarded::new(task::spawn(supervisor)) }
    }

    /// Scrapes at another interval from now on.
    pub fn set_interval(&self, interval: Duration) {
        let timing = Timing::new(interval, self.timeout);
        self.shared.timing.send_if_modified(|known| std::mem::replace(known, timing) != timing);
    }

    /// What targets say their metrics are, by name; of what two say the first counts.
    pub fn descriptions(&self) -> BTreeMap<Box<str>, Description> {
        let mut all = BTreeMap::new();
        locked(&self.running).values().for_each(|running| running.descriptions.join(&mut all));
        all
    }

    /// Stops; when this returns, nothing more goes to the sink.
    ///
    /// # Cancel safety
    /// It stops nevertheless.
    pub async fn stop(self) {
        let Self { shared: _, running, timeout: _, supervisor } = self;
        drop(supervisor);
        let running = std::mem::take(&mut *locked(&running));
        let tasks: Vec<_> = running.into_values().map(|Running { task, .. }| task).collect();
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "scraping a target failed");
            }
        }
    }
}

impl MetricsCollector for Collector {
    fn collect(&self) -> BoxFuture<'_, Result<Collected, Error>> {
        Box::pin(async {
            let mut round = 0;
            self.shared.asked.send_modify(|asked| {
                *asked += 1;
                round = *asked;
            });
            let asked: Vec<_> = locked(&self.running).values().map(|running| running.status.clone()).collect();
            let mut collected = Collected::default();
            for mut status in asked {
                // One that has left meanwhile counts for nothing.
                let Ok(status) = status.wait_for(|status| status.round >= round).await else { continue };
                collected.samples += status.samples;
                collected.up += usize::from(status.health == Health::Up);
                collected.down += usize::from(status.health == Health::Down);
            }
            if self.supervisor.is_finished() { Err(Error::Closed) } else { Ok(collected) }
        })
    }

    fn targets(&self) -> Vec<TargetStatus> {
        let mut targets: Vec<_> =
            locked(&self.running).values().map(|running| running.status.borrow().clone()).collect();
        targets.sort_by(|a, b| (&a.job, &a.instance, &a.labels).cmp(&(&b.job, &b.instance, &b.labels)));
        targets
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timing = *self.shared.timing.borrow();
        f.debug_struct("Collector").field("timing", &timing).finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a task for each scrape target of the list.
async fn supervise(
    mut list: watch::Receiver<Arc<[Target]>>,
    shared: Arc<Shared>,
    running: Arc<Mutex<BTreeMap<Key, Running>>>,
) {
    while list.changed().await.is_ok() {
        let targets = Arc::clone(&list.borrow_and_update());
        reconcile(&targets, &shared, &mut locked(&running));
    }
    // Whoever made the list is gone; what was on it stays.
    std::future::pending::<()>().await;
}

fn reconcile(targets: &[Target], shared: &Arc<Shared>, running: &mut BTreeMap<Key, Running>) {
    let mut wanted = BTreeMap::new();
    for target in targets {
        let is_full = wanted.len() >= TARGETS_MAX;
        match wanted.entry(target.key()) {
            Entry::Vacant(_) if is_full => shared.metrics.target_too_many.increment(),
            Entry::Vacant(vacant) => drop(vacant.insert(target)),
            Entry::Occupied(_) => shared.metrics.target_duplicate.increment(),
        }
    }
    running.retain(|key, running| {
        let stays = wanted.contains_key(key);
        if !stays {
            running.orders.send_replace(Order::Leave);
        }
        stays
    });
    for (key, target) in wanted {
        match running.entry(key) {
            Entry::Vacant(vacant) => {
                let key = vacant.key().clone();
                vacant.insert(Running::start(key, target.clone(), Arc::clone(shared)));
            }
            Entry::Occupied(known) => {
                known.get().orders.send_if_modified(|order| {
                    let is_new = !matches!(order, Order::Scrape(known) if **known == *target);
                    if is_new {
                        *order = Order::Scrape(Arc::new(target.clone()));
                    }
                    is_new
                });
            }
        }
    }
}

impl Running {
    fn start(key: Key, target: Target, shared: Arc<Shared>) -> Self {
        let descriptions = Arc::new(Descriptions::default());
        let (rounds, orders, status) = Rounds::new(key, target, shared, Arc::clone(&descriptions));
        Self { orders, status, descriptions, task: task::spawn(rounds.run()) }
    }
}
