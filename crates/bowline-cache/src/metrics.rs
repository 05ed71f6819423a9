//! What a cache counts.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_model::error::chain;
use bowline_runtime::{
    metric::{Counter, Gauge, Histogram, Registry, Striped},
    time::{self, Duration, Instant},
};

use crate::status::{LevelStatus, Loads, Requests};

/// The cells of one cache.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    registry: Registry,
    name: String,
    /// Requests that memory had a fresh answer for.
    pub(crate) fresh: Striped,
    /// Requests that it had none for.
    pub(crate) misses: Striped,
    pub(crate) stale: Counter,
    pub(crate) loaded: Counter,
    pub(crate) waited: Counter,
    pub(crate) refused: Counter,
    pub(crate) bypassed: Counter,
    pub(crate) loads_value: Counter,
    pub(crate) loads_nothing: Counter,
    pub(crate) loads_failed: Counter,
    pub(crate) loads_discarded: Counter,
    pub(crate) load_duration: Histogram,
    pub(crate) invalidated_by_feed: Counter,
    pub(crate) invalidated_here: Counter,
    pub(crate) evictions: Counter,
    pub(crate) too_large: Counter,
    pub(crate) entries: Gauge,
    pub(crate) bytes: Gauge,
    pub(crate) followed: Gauge,
    pub(crate) gaps: Counter,
}

const REQUESTS: (&str, &str) = ("bowline_cache_requests_total", "What was asked of the cache, by what it came by.");
/// The longest reason that is kept.
const WHY_CHARS_MAX: usize = 300;
const HITS: (&str, &str) = ("bowline_cache_hits_total", "Fresh values that a level had.");
const MISSES: (&str, &str) = ("bowline_cache_misses_total", "Times that a level was asked and had no fresh value.");

impl Metrics {
    pub(crate) fn new(registry: &Registry, name: &str) -> Self {
        let with = |metric, help, key, value| registry.counter(metric, help, &[("cache", name), (key, value)]);
        let request = |outcome| with(REQUESTS.0, REQUESTS.1, "outcome", outcome);
        let load = |outcome| with("bowline_cache_loads_total", "Loads that ended.", "outcome", outcome);
        let fresh = registry.striped(REQUESTS.0, REQUESTS.1, &[("cache", name), ("outcome", "fresh")]);
        let l1 = [("cache", name), ("level", "l1")];
        registry.also_striped(HITS.0, HITS.1, &l1, &fresh);
        let invalidated =
            |source| with("bowline_cache_invalidations_total", "Invalidations that were applied.", "source", source);
        let gauge = |metric, help, labels: &[(&str, &str)]| registry.gauge(metric, help, labels);
        Self {
            fresh,
            misses: registry.striped(MISSES.0, MISSES.1, &l1),
            stale: request("stale"),
            loaded: request("loaded"),
            waited: request("waited"),
            refused: request("refused"),
            bypassed: request("bypassed"),
            loads_value: load("value"),
            loads_nothing: load("nothing"),
            loads_failed: load("failed"),
            loads_discarded: load("discarded"),
            load_duration: registry.histogram(
                "bowline_cache_load_duration_seconds",
                "How long the loader took.",
                &[("cache", name)],
            ),
            invalidated_by_feed: invalidated("feed"),
            invalidated_here: invalidated("own"),
            evictions: with("bowline_cache_evictions_total", "Entries that made room for others.", "level", "l1"),
            too_large: with("bowline_cache_dropped_total", "What was not kept.", "reason", "too_large"),
            entries: gauge("bowline_cache_entries", "Entries in memory.", &[("cache", name)]),
            bytes: gauge("bowline_cache_bytes", "Bytes that a level holds.", &l1),
            followed: gauge("bowline_cache_followed", "0 while invalidations may be missed.", &[("cache", name)]),
            gaps: registry.counter(
                "bowline_cache_gaps_total",
                "Times that invalidations were lost and everything was cleared.",
                &[("cache", name)],
            ),
            registry: registry.clone(),
            name: name.to_owned(),
        }
    }

    /// The bytes of the level on disk, what it has dropped, and its evictions.
    pub(crate) fn of_disk(&self) -> (Gauge, Counter, Counter) {
        let counter =
            |name, help, key, value| self.registry.counter(name, help, &[("cache", self.name.as_str()), (key, value)]);
        let level = [("cache", self.name.as_str()), ("level", "l2")];
        (
            self.registry.gauge("bowline_cache_bytes", "Bytes that a level holds.", &level),
            counter("bowline_cache_dropped_total", "What was not kept.", "reason", "disk_busy"),
            counter("bowline_cache_evictions_total", "Entries that made room for others.", "level", "l2"),
        )
    }

    pub(crate) fn requests(&self) -> Requests {
        Requests {
            fresh: self.fresh.get(),
            stale: self.stale.get(),
            loaded: self.loaded.get(),
            waited: self.waited.get(),
            refused: self.refused.get(),
            bypassed: self.bypassed.get(),
        }
    }

    pub(crate) fn loads(&self) -> Loads {
        Loads {
            value: self.loads_value.get(),
            nothing: self.loads_nothing.get(),
            failed: self.loads_failed.get(),
            discarded: self.loads_discarded.get(),
        }
    }

    /// Says which strategy a class has.
    pub(crate) fn strategy(&self, class: &str, is: &str) {
        for strategy in ["lru", "ttl", "no_cache"] {
            let labels = [("cache", self.name.as_str()), ("class", class), ("strategy", strategy)];
            let help = "1 where the class of keys is kept so.";
            self.registry.gauge("bowline_cache_strategy", help, &labels).set(i64::from(strategy == is));
        }
    }
}

/// A reason, cut off where it is long.
pub(crate) fn bounded(why: &str) -> String {
    why.chars().take(WHY_CHARS_MAX).collect()
}

/// The cells of one level below memory.
#[derive(Debug, Clone)]
pub(crate) struct LevelMetrics {
    registry: Registry,
    cache: String,
    level: &'static str,
    pub(crate) hits: Counter,
    pub(crate) misses: Counter,
    /// 1: left alone.
    pub(crate) open: Gauge,
    failures: Counter,
    failed: Arc<Mutex<Option<Failed>>>,
}

/// The last failure of a level.
#[derive(Debug)]
struct Failed {
    why: String,
    at: Instant,
}

/// After how long without a failure of a level the next one is told again.
const TOLD_AGAIN: Duration = Duration::from_mins(1);

impl LevelMetrics {
    pub(crate) fn new(registry: &Registry, cache: &str, level: &'static str) -> Self {
        let labels = [("cache", cache), ("level", level)];
        Self {
            hits: registry.counter(HITS.0, HITS.1, &labels),
            misses: registry.counter(MISSES.0, MISSES.1, &labels),
            open: registry.gauge("bowline_cache_level_open", "1 while the level is left alone.", &labels),
            failures: Counter::default(),
            failed: Arc::default(),
            registry: registry.clone(),
            cache: cache.to_owned(),
            level,
        }
    }

    /// A call to the level failed, for that reason: told once, and again after a minute without failures.
    pub(crate) fn failed_by(&self, operation: &str, error: &(dyn std::error::Error + 'static)) {
        let (cache, level, why, at) = (&self.cache, self.level, bounded(&chain(error)), time::now());
        let before = self.last().replace(Failed { why: why.clone(), at });
        if before.is_none_or(|before| at.saturating_duration_since(before.at) >= TOLD_AGAIN) {
            tracing::warn!(cache, level, operation, error = why, "a level of a cache failed");
        } else {
            tracing::debug!(cache, level, operation, error = why, "a level of a cache failed again");
        }
        self.failed(operation);
    }

    fn last(&self) -> MutexGuard<'_, Option<Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call to the level failed.
    pub(crate) fn failed(&self, operation: &str) {
        self.failures.increment();
        let labels = [("cache", self.cache.as_str()), ("level", self.level), ("operation", operation)];
        let help = "Calls to a level that failed or took too long.";
        self.registry.counter("bowline_cache_level_failures_total", help, &labels).increment();
    }

    /// Counts that it was asked, and whether it had something.
    pub(crate) fn count(&self, is_hit: bool) {
        if is_hit { &self.hits } else { &self.misses }.increment();
    }

    pub(crate) fn status(&self, is_left_alone: bool) -> LevelStatus {
        LevelStatus {
            level: self.level.to_owned(),
            hits: self.hits.get(),
            misses: self.misses.get(),
            bytes: None,
            bytes_max: None,
            failures: self.failures.get(),
            is_left_alone,
            why: self.last().as_ref().map(|failed| failed.why.clone()),
        }
    }
}
