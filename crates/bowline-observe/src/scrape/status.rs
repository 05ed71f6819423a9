//! How scraping goes, for people.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use crate::labels::Labels;

/// What is known of a scrape target.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetStatus {
    /// Its label `job`.
    pub job: Arc<str>,
    /// Its label `instance`.
    pub instance: Arc<str>,
    /// The labels of all its series, those two among them.
    pub labels: Labels,
    /// Where it is asked, as a link.
    pub url: String,
    /// How it is.
    pub health: Health,
    /// When it was asked last.
    pub scraped_at: Option<SystemTime>,
    /// How long that took.
    pub duration: Duration,
    /// How many samples it exposed then.
    pub samples: usize,
    /// Why it is not up, or what of it is not kept.
    pub last_error: Option<String>,
    /// How often it was asked on demand.
    pub(crate) round: u64,
}

/// How a scrape target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Health {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// Its metrics were read.
    Up,
    /// It gave none, or none that can be read.
    Down,
    /// It has none, which it need not.
    None,
}

impl Health {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Up, Self::Down, Self::None];

    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::None => "none",
        }
    }
}
