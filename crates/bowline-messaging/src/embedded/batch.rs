//! What waits to be written, and what is being written: many commands, one sync.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use bowline_runtime::{
    task,
    time::{self, Instant},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{
    command::{Answer, Publish},
    log::{BATCH_BYTES_MAX, Log, Place},
    record::Record,
};
use crate::{
    Error,
    port::{Message, NewMessage, Published},
};

/// How long after a failure nothing is written that nobody waits for.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a message takes on disk beside its payload and its texts, at most.
const MESSAGE_BYTES: usize = 128;

/// Is told whether what it waits for is durable.
pub(super) type Then = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// What waits to be written.
pub(super) enum Item {
    /// What is to be kept, and who waits for it.
    Record(Record, Option<Then>),
    /// A message that has no position yet.
    Publish(Publish),
}

/// What waits, in order.
#[derive(Default)]
pub(super) struct Queue {
    items: VecDeque<Item>,
    /// How many of them somebody waits for.
    awaited: usize,
    failed_at: Option<Instant>,
}

/// What is being written.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) messages: Vec<Arc<Message>>,
    pub(super) records: Vec<(Record, Option<Then>)>,
    /// Who is answered what, and what is free again then.
    pub(super) published: Vec<(Answer<Published>, Published, Option<OwnedSemaphorePermit>)>,
    /// How many of the messages have ids that are remembered.
    pub(super) named: usize,
}

/// What is to be done to the log.
pub(super) struct Job {
    pub(super) log: Log,
    /// What a new segment begins with, if there is to be one.
    pub(super) begin: Option<Vec<Record>>,
    /// Segments before that one go.
    pub(super) delete_before: u32,
    /// All segments go before the one that is begun.
    pub(super) begins_anew: bool,
    pub(super) bytes: Vec<u8>,
}

/// What became of it.
pub(super) struct Written {
    pub(super) log: Log,
    pub(super) deleted_before: Option<u32>,
    pub(super) result: Result<Option<Place>, Error>,
}

impl Item {
    /// About how much it takes on disk.
    pub(super) fn bytes(&self) -> usize {
        match self {
            // What a group did with a message, or a group that begins: nothing is pending there.
            Self::Record(..) => MESSAGE_BYTES + crate::NAME_BYTES_MAX,
            Self::Publish(publish) => bytes(&publish.message) + publish.only.as_ref().map_or(0, String::len),
        }
    }

    fn is_awaited(&self) -> bool {
        !matches!(self, Self::Record(_, None))
    }
}

/// About how much a message takes on disk.
pub(super) fn bytes(message: &NewMessage) -> usize {
    let NewMessage { id, key, headers, payload, .. } = message;
    MESSAGE_BYTES + [id, key].into_iter().flatten().map(String::len).sum::<usize>() + rest_bytes(headers, payload)
}

/// The same of one that was published.
pub(super) fn message_bytes(message: &Message) -> usize {
    let Message { id, key, headers, payload, only, .. } = message;
    let texts = [key, only].into_iter().flatten().map(String::len).sum::<usize>();
    MESSAGE_BYTES + id.len() + texts + rest_bytes(headers, payload)
}

fn rest_bytes(headers: &[(String, String)], payload: &[u8]) -> usize {
    headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum::<usize>() + payload.len()
}

impl Queue {
    pub(super) fn push(&mut self, item: Item) {
        self.awaited += usize::from(item.is_awaited());
        self.items.push_back(item);
    }

    /// Whether something is to be written now.
    pub(super) fn is_due(&self) -> bool {
        let is_resting = self.failed_at.is_some_and(|at| time::now() < at + RETRY_AFTER);
        self.awaited > 0 || (!self.items.is_empty() && !is_resting)
    }

    /// Whether what waits, or `is_writing`, follows a failure: nothing done now can be kept.
    pub(super) fn is_failing(&self, is_writing: bool) -> bool {
        self.failed_at.is_some() && (is_writing || !self.items.is_empty())
    }

    /// When it is to be written otherwise.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.failed_at.filter(|_| !self.items.is_empty()).map(|at| at + RETRY_AFTER)
    }

    /// The first items, as many as go into one batch.
    pub(super) fn take(&mut self) -> Vec<Item> {
        let mut bytes = 0;
        let mut taken = Vec::new();
        while let Some(item) = self.items.front() {
            bytes += item.bytes();
            if bytes > BATCH_BYTES_MAX && !taken.is_empty() {
                break;
            }
            taken.extend(self.items.pop_front());
        }
        self.awaited -= taken.iter().filter(|item| item.is_awaited()).count();
        taken
    }

    /// Puts items back to the front.
    pub(super) fn put_back(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.awaited += usize::from(item.is_awaited());
            self.items.push_front(item);
        }
    }

    pub(super) fn note(&mut self, is_written: bool) {
        self.failed_at = if is_written { None } else { Some(time::now()) };
    }
}

/// Does it where it may block.
pub(super) fn begin(job: Job) -> task::JoinHandle<Written> {
    task::spawn_blocking(move || job.run())
}

impl Job {
    fn run(mut self) -> Written {
        let deleted = self.delete(self.delete_before);
        let begun = self.begin();
        let deleted = if self.begins_anew && begun.is_ok() {
            self.log.newest().and_then(|newest| self.delete(newest)).or(deleted)
        } else {
            deleted
        };
        let result = begun.and_then(|()| self.write());
        if self.bytes.is_empty() {
            // Nothing was written for a while.
            self.log.rest();
        }
        Written { log: self.log, deleted_before: deleted, result }
    }

    fn delete(&mut self, before: u32) -> Option<u32> {
        match self.log.delete_before(before) {
            Ok(()) => Some(before),
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "old messages could not be deleted");
                None
            }
        }
    }

    fn begin(&mut self) -> Result<(), Error> {
        match &self.begin {
            Some(records) => self.log.begin_segment(records),
            None => Ok(()),
        }
    }

    fn write(&mut self) -> Result<Option<Place>, Error> {
        if self.bytes.is_empty() { Ok(None) } else { self.log.append(&self.bytes).map(Some) }
    }
}
