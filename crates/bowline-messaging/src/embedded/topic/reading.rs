//! Reads messages that are not in memory any more.

use bowline_model::error::chain;
use bowline_runtime::{task, time};

use super::{Arc, Duration, Error, Message, Place, Position, Topic, shelf};

/// How many batches of old messages are kept in memory.
const LOADED_MAX: usize = 4;

/// For so long what could not be read is not read again: many messages stand together.
const UNREADABLE_FOR: Duration = Duration::from_secs(1);

/// For so long a failure of the disk is taken for one that passes.
const PASSING_MAX: Duration = Duration::from_secs(30);

/// What could not be read.
pub(super) struct Unreadable {
    place: Place,
    /// When it failed first.
    since: time::Instant,
    /// When it is read again.
    until: time::Instant,
    error: Error,
}

impl Topic {
    /// A message, from memory or from disk; that it cannot be read is logged.
    pub(super) async fn message(&mut self, position: Position) -> Result<Arc<Message>, Error> {
        if let Some(message) = self.shelf.recent(position) {
            return Ok(message.clone());
        }
        let in_batch = |batch: &Vec<Arc<Message>>| {
            let first = batch.first()?.position;
            batch.get(usize::try_from(position.checked_sub(first)?).ok()?).cloned()
        };
        if let Some(message) = self.loaded.iter().find_map(in_batch) {
            return Ok(message);
        }
        let missing = || Error::NoMessage { topic: self.name.clone(), position };
        let place = self.shelf.find(position).ok_or_else(missing)?;
        if let Some(bad) = self.unreadable.as_ref().filter(|bad| bad.place == place && time::now() < bad.until) {
            return Err(bad.error.clone());
        }
        let dir = self.dir.clone();
        let loaded = task::spawn_blocking(move || shelf::load(&dir, place)).await.unwrap_or(Err(Error::Closed));
        let found = loaded.and_then(|batch| in_batch(&batch).map(|message| (message, batch)).ok_or_else(missing));
        let before = self.unreadable.take_if(|bad| bad.place == place);
        match found {
            Ok((message, batch)) => {
                self.loaded.truncate(LOADED_MAX - 1);
                self.loaded.push_front(batch);
                Ok(message)
            }
            Err(error) => {
                tracing::error!(topic = self.name, position, error = %chain(&error), "a message cannot be read");
                let now = time::now();
                // Where it was not read for long, what failed then has nothing to do with it.
                let since = before.filter(|bad| now < bad.until + 2 * PASSING_MAX).map_or(now, |bad| bad.since);
                self.unreadable = Some(Unreadable { place, since, until: now + UNREADABLE_FOR, error: error.clone() });
                Err(error)
            }
        }
    }

    /// Whether it may be read in a moment: until then nothing goes on, so that each key keeps its order.
    pub(super) fn may_pass(&self, error: &Error) -> bool {
        let is_new = |bad: &Unreadable| bad.since.elapsed() < PASSING_MAX;
        matches!(error, Error::Io(_)) && self.unreadable.as_ref().is_some_and(is_new)
    }

    /// When what could not be read is read again.
    pub(super) fn reads_at(&self) -> Option<time::Instant> {
        self.unreadable.as_ref().map(|bad| bad.until).filter(|until| *until > time::now())
    }

    /// A message was damaged so often that its group is done with it.
    pub(super) fn note_lost(&self, group: &str, position: Position, error: &Error) {
        tracing::error!(topic = self.name, group, position, error = %chain(error),
            "a message is lost to its group: it is damaged");
        self.metrics.lost.increment();
    }
}
