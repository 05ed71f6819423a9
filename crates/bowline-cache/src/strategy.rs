//! How the keys of a class are kept.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bowline_model::units::format_duration;

use crate::slot::Ms;

/// How a cache keeps what it loads, where its builder says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// For the cache's time.
    Ttl,
    /// Until it is evicted or invalidated; for twelve times the cache's time at most, and for an hour, unless the
    /// cache's time is longer.
    Lru,
    /// Not at all: one load at a time for all who ask.
    NoCache,
}

/// How the keys of a class are kept now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Lru,
    Ttl(Ms),
    NoCache,
}

/// A choice that is read and changed by several threads.
#[derive(Debug)]
pub(crate) struct ChoiceCell(AtomicU64);

const NO_CACHE: u64 = 0;
const LRU: u64 = u64::MAX;

impl Choice {
    /// What a builder's word means for that time.
    pub(crate) fn of(strategy: Strategy, ttl: Ms) -> Self {
        match strategy {
            Strategy::Ttl => Self::Ttl(ttl),
            Strategy::Lru => Self::Lru,
            Strategy::NoCache => Self::NoCache,
        }
    }

    /// Its kind, as a label.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Ttl(_) => "ttl",
            Self::NoCache => "no_cache",
        }
    }

    /// For people.
    pub(crate) fn shown(self) -> String {
        match self {
            Self::Lru => "lru".to_owned(),
            Self::Ttl(ttl) => format!("ttl {}", format_duration(Duration::from_millis(ttl))),
            Self::NoCache => "no cache".to_owned(),
        }
    }
}

impl ChoiceCell {
    pub(crate) fn new(choice: Choice) -> Self {
        let cell = Self(AtomicU64::new(NO_CACHE));
        cell.set(choice);
        cell
    }

    pub(crate) fn get(&self) -> Choice {
        match self.0.load(Relaxed) {
            NO_CACHE => Choice::NoCache,
            LRU => Choice::Lru,
            ttl => Choice::Ttl(ttl),
        }
    }

    pub(crate) fn set(&self, choice: Choice) {
        let word = match choice {
            Choice::NoCache => NO_CACHE,
            Choice::Lru => LRU,
            Choice::Ttl(ttl) => ttl.clamp(1, LRU - 1),
        };
        self.0.store(word, Relaxed);
    }
}
