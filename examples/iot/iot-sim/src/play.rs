//! The run itself: all devices at once, until everything that they read is acknowledged.

use std::{fmt, sync::Arc, time::Duration};

use anyhow::Context as _;
use bowline_runtime::{task::JoinSet, time};
use example_load::Progress;
use tokio::sync::{Semaphore, watch};

use crate::{
    Counts, Fleet, Settings,
    book::Book,
    device::{CONNECTING_MAX, Device, Phase, Shared},
};

/// How long what has been read may take to be acknowledged after the time is over.
const FINISH_MAX: Duration = Duration::from_mins(2);

/// What a run brought.
#[derive(Debug)]
pub struct Run {
    /// What each device has read.
    pub books: Vec<Book>,
    /// What they counted.
    pub counts: Arc<Counts>,
    took: Duration,
}

/// Lets all devices live until they have said everything, or the time is over.
///
/// # Errors
/// When a device panicked.
pub async fn play(settings: &Settings, fleet: &Fleet, counts: Arc<Counts>) -> anyhow::Result<Run> {
    let begun = time::now();
    let (phase, phases) = watch::channel(Phase::Reading);
    let connecting = Semaphore::new(CONNECTING_MAX);
    let shared = Arc::new(Shared { settings: settings.clone(), counts: counts.clone(), connecting });
    let mut living = JoinSet::new();
    for account in &fleet.accounts {
        living.spawn(Device::new(shared.clone(), account.clone(), phases.clone()).live());
    }
    let (saying, mut last) = (counts.clone(), 0);
    let shown = Progress::show(settings.length, move || saying.say(&mut last));
    let mut through = counts.through.subscribe();
    let all = settings.devices;
    let mut are_through =
        async |length| time::timeout(length, through.wait_for(|through| *through >= all)).await.is_ok();
    if !are_through(settings.length.unwrap_or(Duration::MAX)).await {
        phase.send_replace(Phase::Finishing);
        // Whoever is not even now has told what is not acknowledged, which the audit does not ask for.
        are_through(FINISH_MAX).await;
    }
    let took = time::now() - begun;
    drop(shown);
    phase.send_replace(Phase::Leaving);
    let mut books = Vec::new();
    while let Some(book) = living.join_next().await {
        books.push(book.context("a device panicked")?);
    }
    books.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(Run { books, counts, took })
}

impl Run {
    /// One that is over, with what was read in it.
    #[cfg(test)]
    pub(crate) fn of(books: Vec<Book>) -> Self {
        Self { books, counts: Arc::default(), took: Duration::from_secs(1) }
    }

    /// How many readings were made.
    pub fn made(&self) -> usize {
        self.books.iter().map(Book::made).sum()
    }

    /// How many of them were acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.books.iter().map(Book::acknowledged).sum()
    }
}

impl fmt::Display for Run {
    #[expect(clippy::cast_precision_loss, reason = "nobody makes 2⁵³ readings")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { books, counts, took } = self;
        let (acknowledged, seconds) = (self.acknowledged(), took.as_secs_f64());
        let rate = acknowledged as f64 / seconds;
        writeln!(f, "{acknowledged} readings in {seconds:.1} s: {rate:.0} readings/s")?;
        writeln!(
            f,
            "devices {}   connections lost {}   not acknowledged {}   commands {}   wishes applied {}",
            books.len(),
            counts.lost(),
            self.made() - acknowledged,
            counts.commands(),
            counts.applied()
        )?;
        write!(f, "message to acknowledgement: {}", counts.latencies())
    }
}
