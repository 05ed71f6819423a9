//! How a topic writes: what waits is judged, given its positions, and written as one batch; then everybody is told.

use std::sync::Arc;

use bowline_model::error::chain;
use bowline_runtime::{rand, task, time};

use super::{TIDY_EVERY, Topic, kept_settings, now};
use crate::{
    Error,
    delivery::Position,
    embedded::{
        batch::{self, Batch, Item, Job, Written},
        group::millis,
        log::{Log, Place},
        record::Record,
    },
    port::{Message, NewMessage, Published},
};

impl Topic {
    /// The floor of the group that is furthest behind, and its name.
    fn floor(&self) -> (Position, Option<&str>) {
        let floors = self.groups.iter().map(|(name, group)| (group.floor(), Some(name.as_str())));
        floors.min_by_key(|(floor, _)| *floor).unwrap_or((self.shelf.next(), None))
    }

    /// Whether it is time to delete what is old.
    pub(super) fn is_untidy(&self) -> bool {
        time::now() >= self.tidied + TIDY_EVERY
    }

    /// Takes what waits, and begins to write it.
    pub(super) fn begin_batch(&mut self) -> Option<(task::JoinHandle<Written>, Batch)> {
        let mut log = self.log.take()?;
        log.set_bytes_max(self.settings.bytes_max);
        let items = self.queue.take();
        let items = self.fit(items, &log);
        let begin = log.is_full().then(|| self.said_before());
        let mut batch = self.judge(items);
        let bytes = std::mem::take(&mut batch.bytes);
        let now = now();
        self.dedup.forget_before(now - millis(self.settings.dedup));
        self.tidied = time::now();
        let job = Job {
            delete_before: self.deletable(&log, now, bytes.len()),
            begin: begin.filter(|_| !bytes.is_empty()),
            log,
            bytes,
        };
        Some((batch::begin(job), batch))
    }

    /// What of it there is room for: messages wait until what can be deleted is, and are refused where nothing can.
    /// What groups did is always written: it is what makes room.
    fn fit(&mut self, items: Vec<Item>, log: &Log) -> Vec<Item> {
        let bytes: usize = items.iter().map(Item::bytes).sum();
        if log.bytes() + bytes as u64 <= self.settings.bytes_max {
            self.is_making_room = false;
            return items;
        }
        let (messages, records) = items.into_iter().partition(|item| matches!(item, Item::Publish { .. }));
        let may_delete = self.deletable(log, now(), bytes) > log.oldest().unwrap_or(0);
        if may_delete && !self.is_making_room {
            self.is_making_room = true;
            self.queue.put_back(messages);
            return records;
        }
        let full = Error::Full { topic: self.name.clone(), by: self.floor().1.map(str::to_owned) };
        for message in messages {
            if let Item::Publish { answer, .. } = message {
                answer.send(Err(full.clone())).ok();
            }
        }
        records
    }

    /// The first segment that is not deleted, if so many bytes are to be written.
    fn deletable(&self, log: &Log, now: i64, bytes: usize) -> u32 {
        let is_full = self.is_making_room || log.bytes() + bytes as u64 > self.settings.bytes_max;
        let since = (!is_full).then(|| now - millis(self.settings.keep));
        self.shelf.stays(self.floor().0, since).or(log.newest()).unwrap_or(0)
    }

    /// What has to be said before a segment's first batch.
    fn said_before(&self) -> Vec<Record> {
        let began = Record::Began { next: self.shelf.next() };
        let groups = self.groups.values().map(|group| Record::Group(group.kept()));
        [began, kept_settings(&self.settings)].into_iter().chain(groups).collect()
    }

    /// Gives messages their positions, and encodes all of it.
    fn judge(&mut self, items: Vec<Item>) -> Batch {
        let mut batch = Batch::default();
        for item in items {
            match item {
                Item::Record(record, then) => {
                    record.put(&mut batch.bytes);
                    batch.records.push((record, then));
                }
                Item::Publish { message, only, answer } => {
                    let published = self.place(message, only, &mut batch);
                    batch.published.push((answer, published));
                }
            }
        }
        batch
    }

    /// The position of a message: the next one, unless its id is known.
    fn place(&mut self, message: NewMessage, only: Option<String>, batch: &mut Batch) -> Published {
        let known = message.id.as_ref().and_then(|id| self.dedup.find(id));
        if let Some(position) = known {
            return Published { position, is_duplicate: true };
        }
        let position = batch.messages.last().map_or(self.shelf.next(), |last| last.position + 1);
        // Positions and times go the same way, also when the clock does not.
        let now = now();
        let published_ms = now.max(self.published_ms);
        self.published_ms = published_ms;
        let NewMessage { id, key, headers, payload, delay, expires_in } = message;
        if let Some(id) = &id {
            self.dedup.add(id, position, published_ms);
        }
        let message = Message {
            position,
            id: id.unwrap_or_else(|| format!("{:032x}", rand::u128())),
            key,
            headers,
            payload,
            published_ms,
            due_ms: if delay.is_zero() { published_ms } else { now.saturating_add(millis(delay)) },
            expires_ms: expires_in.map(|expires| now.saturating_add(millis(expires))),
            only,
        };
        let record = Record::Message(message);
        record.put(&mut batch.bytes);
        if let Record::Message(message) = record {
            batch.messages.push(Arc::new(message));
        }
        Published { position, is_duplicate: false }
    }

    /// Tells everybody what became of a batch.
    pub(super) fn end_batch(&mut self, written: Written, batch: Batch) {
        let Written { log, deleted_before, result } = written;
        self.bytes = log.bytes();
        self.metrics.bytes.set(i64::try_from(self.bytes).unwrap_or(i64::MAX));
        self.log = Some(log);
        if let Some(id) = deleted_before {
            self.shelf.delete_before(id);
        }
        match result {
            Ok(place) => self.is_written(place, batch),
            Err(error) => self.is_not_written(&error, batch),
        }
    }

    fn is_written(&mut self, place: Option<Place>, batch: Batch) {
        self.queue.note(true);
        let Batch { messages, records, published, .. } = batch;
        self.metrics.published.add(messages.len() as u64);
        if let Some(place) = place {
            self.shelf.add(&place, messages);
        }
        for (answer, published) in published {
            answer.send(Ok(published)).ok();
        }
        for then in records.into_iter().filter_map(|(_, then)| then) {
            then(Ok(()));
        }
    }

    fn is_not_written(&mut self, error: &Error, batch: Batch) {
        let Batch { messages, records, published, .. } = batch;
        for message in &messages {
            self.dedup.remove(&message.id);
        }
        tracing::error!(topic = self.name, error = %chain(error), "messages cannot be written");
        self.queue.note(false);
        self.metrics.write_failures.increment();
        for (answer, _) in published {
            answer.send(Err(error.clone())).ok();
        }
        // What groups did is kept with the next batch, though nobody waits for it any more.
        let back = records.into_iter().map(|(record, then)| {
            if let Some(then) = then {
                then(Err(error.clone()));
            }
            Item::Record(record, None)
        });
        self.queue.put_back(back.collect());
    }
}
