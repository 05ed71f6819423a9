//! Watches: cursors into the shared history, so that a slow one costs no memory.

use std::sync::Arc;

use bowline_runtime::{BoxFuture, metric::Gauge};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::memory::{Published, Shared, Step};
use crate::{Error, Revision, Update, WatchEvent, WatchSource};

/// One watch: where it is in the history.
#[derive(Debug)]
pub(super) struct Cursor {
    shared: Arc<Shared>,
    prefix: String,
    /// The revision last read to its end.
    seen: Revision,
    /// The revision up to which all was told to have been told.
    told: Revision,
    /// The transaction being read, and how many of its changes were.
    reading: Option<(Arc<Step>, usize)>,
    published: watch::Receiver<Published>,
    _permit: OwnedSemaphorePermit,
    _open: Open,
}

/// Counts a watch while it is open.
#[derive(Debug)]
pub(super) struct Open(Gauge);

impl Open {
    pub(super) fn new(gauge: &Gauge) -> Self {
        gauge.add(1);
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Cursor {
    /// A watch of what comes after a revision.
    pub(super) fn new(
        shared: Arc<Shared>,
        prefix: &str,
        from: Revision,
        permit: OwnedSemaphorePermit,
        open: Open,
    ) -> Result<Self, Error> {
        let published = shared.subscribe();
        let (oldest, current) = {
            let memory = shared.read();
            (memory.oldest(), memory.revision)
        };
        if from < oldest {
            return Err(Error::Compacted { oldest });
        }
        if from > current {
            return Err(Error::Future { current });
        }
        let prefix = prefix.to_owned();
        Ok(Self { shared, prefix, seen: from, told: from, reading: None, published, _permit: permit, _open: open })
    }

    /// What there is to tell already.
    fn advance(&mut self) -> Result<Option<Update>, Error> {
        loop {
            if let Some((step, read)) = &mut self.reading {
                let rest = &step.changes[*read..];
                if let Some(at) = rest.iter().position(|change| change.key().starts_with(&self.prefix)) {
                    *read += at + 1;
                    let change = rest[at].clone();
                    return Ok(Some(Update::Event(WatchEvent { revision: step.revision, change })));
                }
                self.seen = step.revision;
                self.reading = None;
            }
            match self.shared.read().step(self.seen + 1)? {
                Some(step) => self.reading = Some((Arc::clone(step), 0)),
                None if self.told < self.seen => {
                    self.told = self.seen;
                    return Ok(Some(Update::UpTo(self.told)));
                }
                None => return Ok(None),
            }
        }
    }
}

impl WatchSource for Cursor {
    fn next_update(&mut self) -> BoxFuture<'_, Result<Update, Error>> {
        Box::pin(async {
            loop {
                // Marked as seen before reading: what is published after is a change again.
                let published = *self.published.borrow_and_update();
                if let Some(update) = self.advance()? {
                    return Ok(update);
                }
                if published == Published::Closed {
                    return Err(Error::Closed);
                }
                self.published.changed().await.map_err(|_| Error::Closed)?;
            }
        })
    }
}
