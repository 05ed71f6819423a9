//! What an application says of a cache before it is one.

use std::{
    fmt,
    mem::size_of,
    ops::RangeInclusive,
    path::PathBuf,
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use bowline_model::{policy, units::Share};
use bowline_runtime::{metric::Registry, task, time::coarse, watchdog};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;

use crate::{
    CACHES_MAX, CLASSES_MAX, Cache, FEED_BYTES_MAX, FEEDS_MAX, Invalidations, Key, LOADS_MAX, SharedCache, Strategy,
    adapt,
    cache::Inner,
    check_name,
    classes::Classes,
    codec::Codec,
    disk,
    flights::Flights,
    follow::{self, Followed},
    memory::{ENTRY_BYTES, Memory},
    metrics::{LevelMetrics, Metrics},
    place::Place,
    shared::guard::Guard,
    slot::Backoff,
    strategy::Choice,
    windows::{Windows, ms},
};

/// The longest of all times of a cache.
const TIME_MAX: Duration = Duration::from_hours(24 * 7);

/// The least `blind_max`: a feed is asked twice within it, and may take two seconds for its answer.
const BLIND_MIN: Duration = Duration::from_secs(6);

/// How many bytes a level on disk has.
const DISK_RANGE: RangeInclusive<u64> = 16 << 20..=64 << 30;

/// A cache to build; see each method for what holds where it is not called.
pub struct Builder<K, V> {
    name: String,
    ttl: Duration,
    jitter: Share,
    nothing_for: Duration,
    stale_while_revalidate: Duration,
    stale_if_error: Duration,
    memory_bytes: u64,
    item_bytes_max: Option<u64>,
    weigh: Option<fn(&K, &V) -> u64>,
    loads_max: usize,
    load_timeout: Duration,
    patience: fn() -> Option<Duration>,
    failure_backoff: policy::Backoff,
    strategy: Strategy,
    is_adaptive: bool,
    classes: Vec<String>,
    class_of: fn(&K) -> usize,
    registry: Registry,
    feeds: Vec<Arc<dyn Invalidations>>,
    blind_max: Duration,
    codec: Option<Codec<V>>,
    disk: Option<disk::Settings>,
    shared: Option<Arc<dyn SharedCache>>,
}

/// Why a cache cannot be built: every fault, not the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cache `{cache}` cannot be built: {}", faults.join("; "))]
pub struct BuildError {
    /// Its name.
    pub cache: String,
    /// What is wrong, and what would be right.
    pub faults: Vec<String>,
}

impl<K: Key, V: Send + Sync + 'static> Builder<K, V> {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ttl: Duration::from_mins(5),
            jitter: Share::from_percent(10),
            nothing_for: Duration::from_secs(10),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            memory_bytes: 16 << 20,
            item_bytes_max: None,
            weigh: None,
            loads_max: LOADS_MAX,
            load_timeout: Duration::from_secs(10),
            patience: || None,
            failure_backoff: policy::Backoff { min: Duration::from_millis(100), max: Duration::from_secs(10) },
            strategy: Strategy::Ttl,
            is_adaptive: false,
            classes: vec!["all".to_owned()],
            class_of: |_| 0,
            registry: Registry::default(),
            feeds: Vec::new(),
            blind_max: Duration::from_secs(10),
            codec: None,
            disk: None,
            shared: None,
        }
    }

    /// For how long a value is fresh, counted from the beginning of its load: 1 ms to 7 days; else 5 min.
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl, ..self }
    }

    /// Up to which share of its time a value is kept shorter, so that what was loaded together is not loaded again
    /// together: 0 to 50 %; else 10 %.
    pub fn jitter(self, jitter: Share) -> Self {
        Self { jitter, ..self }
    }

    /// For how long it is kept that there is nothing: up to 7 days, zero for not at all; else 10 s.
    pub fn nothing_for(self, nothing_for: Duration) -> Self {
        Self { nothing_for, ..self }
    }

    /// For how long after it was fresh a value is served while it is loaded again: up to 7 days; else not at all.
    pub fn stale_while_revalidate(self, stale_while_revalidate: Duration) -> Self {
        Self { stale_while_revalidate, ..self }
    }

    /// For how long after it was fresh a value is served where a load fails: up to 7 days; else not at all. What was
    /// invalidated is never served.
    pub fn stale_if_error(self, stale_if_error: Duration) -> Self {
        Self { stale_if_error, ..self }
    }

    /// About how many bytes memory holds at most, by [`weigh`](Self::weigh): at least 1,024; else 16 MiB.
    pub fn memory_bytes(self, memory_bytes: u64) -> Self {
        Self { memory_bytes, ..self }
    }

    /// The heaviest item that has to fit into memory, by [`weigh`](Self::weigh): up to a sixteenth of
    /// [`memory_bytes`](Self::memory_bytes); else 64 KiB, or that sixteenth where it is less. What is much heavier is
    /// not kept there, and counted.
    pub fn item_bytes_max(self, item_bytes_max: u64) -> Self {
        Self { item_bytes_max: Some(item_bytes_max), ..self }
    }

    /// What an item weighs; else the size of its value's type, of its key, and 96 bytes. Heap memory that a value
    /// holds is for you to count.
    pub fn weigh(self, weigh: fn(&K, &V) -> u64) -> Self {
        Self { weigh: Some(weigh), ..self }
    }

    /// How many loads run at a time, of all keys: 1 to 65,536; else 256. More wait for 1 s, and are refused.
    pub fn loads_max(self, loads_max: usize) -> Self {
        Self { loads_max, ..self }
    }

    /// How long a load may take: 1 ms to 1 h; else 10 s.
    pub fn load_timeout(self, load_timeout: Duration) -> Self {
        Self { load_timeout, ..self }
    }

    /// How long who asks may wait, which each is asked that has to; none, as else, for as long as it takes. Whose time
    /// is over gets what [`stale_if_error`](Self::stale_if_error) allows, or [`Error::Late`](crate::Error::Late); the
    /// load goes on.
    pub fn patience(self, patience: fn() -> Option<Duration>) -> Self {
        Self { patience, ..self }
    }

    /// For how long a key is not loaded again after a load failed; else 100 ms, doubled up to 10 s.
    pub fn failure_backoff(self, failure_backoff: policy::Backoff) -> Self {
        Self { failure_backoff, ..self }
    }

    /// How values are kept; else [`Strategy::Ttl`].
    pub fn strategy(self, strategy: Strategy) -> Self {
        Self { strategy, is_adaptive: false, ..self }
    }

    /// Has it chosen for each class of keys how values are kept, by how often a key is read and changes. It begins as
    /// [`Strategy::Ttl`].
    ///
    /// Changes are seen by invalidations and, where values are [`serialized`](Self::serialized), by what loads bring.
    pub fn adaptive(self) -> Self {
        Self { strategy: Strategy::Ttl, is_adaptive: true, ..self }
    }

    /// Classes of keys that are alike, and which one a key is of: 1 to 16 names, each up to 64 bytes; else one.
    pub fn classes(self, names: &[&str], of: fn(&K) -> usize) -> Self {
        Self { classes: names.iter().map(|name| (*name).to_owned()).collect(), class_of: of, ..self }
    }

    /// A feed that says what is invalid, one more with each call, 16 at most; else none.
    ///
    /// With feeds, nothing is fresh until each was heard, and while one was not heard for
    /// [`blind_max`](Self::blind_max).
    pub fn follow(mut self, feed: Arc<dyn Invalidations>) -> Self {
        self.feeds.push(feed);
        self
    }

    /// For how long after a feed was last asked, and heard to its end, values are taken for fresh: 6 s to 1 h; else
    /// 10 s.
    pub fn blind_max(self, blind_max: Duration) -> Self {
        Self { blind_max, ..self }
    }

    /// That values have a form in JSON, which the levels below memory need; `version` (1 to 64 bytes) names the form:
    /// what was kept under another one is loaded again. Items weigh what they are in JSON, unless
    /// [`weigh`](Self::weigh) is called.
    pub fn serialized(self, version: &str) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        Self { codec: Some(Codec::json(version)), ..self }
    }

    /// A folder of this process's own, in which at most so many bytes (16 MiB to 64 GiB) survive a restart; else none.
    /// It needs [`serialized`](Self::serialized) and a feed to [`follow`](Self::follow), which says what has changed
    /// while the process was away.
    ///
    /// Where the disk fails, it is left alone: no error comes of it.
    pub fn disk(self, dir: impl Into<PathBuf>, bytes_max: u64) -> Self {
        let disk = bowline_disk::Disk::default();
        Self { disk: Some(disk::Settings { dir: dir.into(), bytes_max, disk }), ..self }
    }

    /// What the level on disk writes and reads through; tests have one that fails.
    pub fn through(mut self, disk: bowline_disk::Disk) -> Self {
        if let Some(settings) = &mut self.disk {
            settings.disk = disk;
        }
        self
    }

    /// The level that the processes of the service share; else none. It needs [`serialized`](Self::serialized).
    ///
    /// Where it fails, it is left alone: no error comes of it.
    pub fn shared(self, shared: Arc<dyn SharedCache>) -> Self {
        Self { shared: Some(shared), ..self }
    }

    /// Where it counts; else nowhere.
    pub fn metrics(self, registry: &Registry) -> Self {
        Self { registry: registry.clone(), ..self }
    }

    /// The cache.
    ///
    /// # Errors
    /// [`BuildError`] with everything that is out of its range, and where the process has [`CACHES_MAX`] caches.
    ///
    /// # Panics
    /// Outside of a runtime, where it follows feeds, has a level below memory or is adaptive.
    pub fn build(self) -> Result<Cache<K, V>, BuildError> {
        let (mut faults, place) = (self.faults(), Place::take());
        if place.is_none() {
            let max = CACHES_MAX;
            faults
                .push(format!("the process has {max} caches, which is the most: build each once, its clones share it"));
        }
        let Some(place) = place.filter(|_| faults.is_empty()) else {
            return Err(BuildError { cache: self.name, faults });
        };
        let metrics = Metrics::new(&self.registry, &self.name);
        let windows = Windows {
            ttl: ms(self.ttl),
            jitter: self.jitter,
            nothing_for: ms(self.nothing_for),
            stale_while_revalidate: ms(self.stale_while_revalidate),
            stale_if_error: ms(self.stale_if_error),
        };
        let classes =
            Classes::new(&self.classes, self.class_of, Choice::of(self.strategy, windows.ttl), self.is_adaptive);
        for class in classes.iter() {
            metrics.strategy(&class.name, class.choice.get().kind());
        }
        let memory = Memory::new(self.memory_bytes, self.item_max(), metrics.evictions.clone());
        let name: Arc<str> = self.name.as_str().into();
        let guard = |port| {
            let metrics = LevelMetrics::new(&self.registry, &name, "l3");
            Arc::new(Guard::new(Arc::clone(&name), port, metrics))
        };
        let shared = self.shared.map(guard);
        let level = |settings| {
            let cells = metrics.of_disk();
            Arc::new(disk::Level::new(settings, LevelMetrics::new(&self.registry, &name, "l2"), cells))
        };
        let disk = self.disk.map(level);
        let inner = Inner {
            load_task: watchdog::Name::new(&format!("load {name}")),
            name,
            memory,
            followed_until: AtomicU64::new(if self.feeds.is_empty() { u64::MAX } else { 0 }),
            sample_mask: AtomicU64::new(if self.is_adaptive { 0 } else { adapt::NEVER }),
            metrics,
            flights: Flights::new(),
            classes,
            windows,
            backoff: Backoff { min: ms(self.failure_backoff.min), max: ms(self.failure_backoff.max) },
            weigh: self.weigh,
            loads: Semaphore::new(self.loads_max),
            loads_max: self.loads_max,
            load_timeout: self.load_timeout,
            patience: self.patience,
            feeds: self.feeds.into_iter().map(Followed::new).collect(),
            blind_max: self.blind_max,
            codec: self.codec,
            disk,
            shared,
            _place: place,
            tasks: OnceLock::new(),
        };
        let inner = Arc::new(inner);
        inner.measure_followed(coarse());
        inner.tasks.get_or_init(|| tasks(&inner, self.is_adaptive));
        Ok(Cache::from_inner(inner))
    }

    fn item_max(&self) -> u64 {
        self.item_bytes_max.unwrap_or_else(|| (64 << 10).min(self.memory_bytes / 16))
    }

    /// All that is wrong.
    fn faults(&self) -> Vec<String> {
        let least = Duration::from_millis(1);
        let hour = Duration::from_hours(1);
        let of_time = |time: Duration, min, max| (min..=max).contains(&time);
        let is_class = |name: &String| (1..=64).contains(&name.len());
        let is_feed = |name: &&str| (1..=FEED_BYTES_MAX).contains(&name.len());
        let windows = [self.nothing_for, self.stale_while_revalidate, self.stale_if_error];
        let mut names: Vec<&str> = self.feeds.iter().map(Invalidations::name).collect();
        names.sort_unstable();
        names.dedup();
        let checks = [
            (check_name(&self.name).is_ok(), "its name has 1 to 64 of a-z, 0-9 and `-`, the first is a letter"),
            (of_time(self.ttl, least, TIME_MAX), "`ttl` is 1 ms to 7 days"),
            (self.jitter <= Share::from_percent(50), "`jitter` is 0 to 50 %"),
            (
                windows.iter().all(|window| *window <= TIME_MAX),
                "`nothing_for`, `stale_while_revalidate` and `stale_if_error` are at most 7 days",
            ),
            (self.memory_bytes >= 1024, "`memory_bytes` is at least 1,024"),
            (
                (1..=self.memory_bytes / 16).contains(&self.item_max()),
                "`item_bytes_max` is at least 1, and at most a sixteenth of `memory_bytes`",
            ),
            ((1..=65_536).contains(&self.loads_max), "`loads_max` is 1 to 65,536"),
            (of_time(self.load_timeout, least, hour), "`load_timeout` is 1 ms to 1 h"),
            (
                of_time(self.failure_backoff.min, least, self.failure_backoff.max) && self.failure_backoff.max <= hour,
                "`failure_backoff` is 1 ms to 1 h, and its least is not above its most",
            ),
            (
                self.feeds.len() <= FEEDS_MAX && names.len() == self.feeds.len() && names.iter().all(is_feed),
                "it follows at most 16 feeds, each of another name, of 1 to 128 bytes",
            ),
            (of_time(self.blind_max, BLIND_MIN, hour), "`blind_max` is 6 s to 1 h"),
            (
                self.codec.as_ref().map_or(self.shared.is_none() && self.disk.is_none(), Codec::is_good),
                "a level below memory needs `serialized`, whose version has 1 to 64 bytes",
            ),
            (
                self.disk.as_ref().is_none_or(|disk| !self.feeds.is_empty() && DISK_RANGE.contains(&disk.bytes_max)),
                "a level on disk needs a feed to follow, and has 16 MiB to 64 GiB",
            ),
            (
                (1..=CLASSES_MAX).contains(&self.classes.len()) && self.classes.iter().all(is_class),
                "`classes` has 1 to 16 names of 1 to 64 bytes",
            ),
        ];
        checks.iter().filter(|(is_good, _)| !is_good).map(|(_, fault)| (*fault).to_owned()).collect()
    }
}

impl<K, V> fmt::Debug for Builder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What goes on as long as the cache is there.
fn tasks<K: Key, V: Send + Sync + 'static>(inner: &Arc<Inner<K, V>>, is_adaptive: bool) -> Vec<task::Guarded<()>> {
    let mut tasks = follow::start(inner);
    if is_adaptive {
        tasks.push(task::Guarded::new(task::spawn(adapt::adapt(Arc::downgrade(inner)))));
    }
    tasks
}

/// What an item weighs where nobody says it.
pub(crate) fn weight<K: Key, V>(key: &K, heap_bytes: u64) -> u64 {
    ENTRY_BYTES + (size_of::<K>() + size_of::<V>() + key.heap_bytes()) as u64 + heap_bytes
}
