//! What a cache says of itself.

use serde::{Deserialize, Serialize};

/// How a cache does, since its process started.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub cache: String,
    /// Its classes of keys; one where it has no others, called `all`.
    pub classes: Vec<ClassStatus>,
    /// Entries in memory now.
    pub entries: u64,
    /// Its levels, the upper first.
    pub levels: Vec<LevelStatus>,
    /// What was asked of it.
    pub requests: Requests,
    /// Loads that ended.
    pub loads: Loads,
    /// Invalidations by feeds that were applied.
    pub invalidated_by_feed: u64,
    /// Invalidations by this process itself.
    pub invalidated_here: u64,
    /// The feeds that it follows.
    pub feeds: Vec<FeedStatus>,
}

/// How the keys of a class are kept, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassStatus {
    /// Its name.
    pub class: String,
    /// `lru`, `ttl 5m` or `no cache`.
    pub strategy: String,
    /// A sentence.
    pub why: String,
    /// Whether the strategy is chosen by what is observed.
    pub is_adaptive: bool,
}

/// How a level does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelStatus {
    /// `l1` (memory), `l2` (disk) or `l3` (shared).
    pub level: String,
    /// How often it had a fresh value.
    pub hits: u64,
    /// How often it was asked and had none.
    pub misses: u64,
    /// Bytes that it holds; none where this process does not know.
    pub bytes: Option<u64>,
    /// The most bytes that it holds; none where this process does not know.
    pub bytes_max: Option<u64>,
    /// How often it failed.
    pub failures: u64,
    /// Whether it is left alone, because it failed too often.
    pub is_left_alone: bool,
    /// Why it failed last; none where it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Requests by what they came by.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Memory had it, fresh.
    pub fresh: u64,
    /// Memory had it, and it was no longer fresh.
    pub stale: u64,
    /// They began a load, or got it from a lower level.
    pub loaded: u64,
    /// They waited for a load that another began.
    pub waited: u64,
    /// They got an error.
    pub refused: u64,
    /// Their keys are not cached.
    pub bypassed: u64,
}

/// Loads by what came of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loads {
    /// A value.
    pub value: u64,
    /// That there is nothing.
    pub nothing: u64,
    /// A failure.
    pub failed: u64,
    /// Something that an invalidation had overtaken, and that was not kept.
    pub discarded: u64,
}

/// How a feed is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedStatus {
    /// Its name.
    pub feed: String,
    /// `unsure` (not heard of yet, or not for too long), `behind` or `following`.
    pub standing: String,
    /// Up to where it was applied.
    pub position: Option<u64>,
    /// How often something of it was lost, so that everything was forgotten.
    pub gaps: u64,
    /// Why it did not answer when it was asked last; none where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl LevelStatus {
    /// Which share of those who asked it had a fresh value; none where nobody asked.
    pub fn hit_ratio(&self) -> Option<f64> {
        let asked = self.hits + self.misses;
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        (asked > 0).then(|| self.hits as f64 / asked as f64)
    }
}
