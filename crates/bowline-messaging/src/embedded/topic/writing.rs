//! How a topic writes: what waits is judged, given its positions, and written as one batch; then everybody is told.

use std::{sync::Arc, time::Duration};

use bowline_model::error::chain;
use bowline_runtime::{rand, task, time};

use super::{TIDY_EVERY, Topic, kept_settings, now};
use crate::{
    Error,
    delivery::Position,
    embedded::{
        batch::{self, Batch, Item, Job, Written},
        command::Publish,
        group::{Group, millis},
        log::{Log, Place},
        record::Record,
    },
    port::{Message, NewMessage, Published},
};

/// What of a batch there is room for.
struct Fit {
    items: Vec<Item>,
    /// Segments before that one are to go.
    freed_before: u32,
    /// All segments are to go, and a new one is begun.
    begins_anew: bool,
}

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
        let now = now();
        // First: what is published now is judged by what is remembered now.
        self.dedup.forget_until(now - millis(self.settings.dedup));
        log.set_bytes_max(self.settings.bytes_max);
        let items = self.queue.take();
        let Fit { items, freed_before, begins_anew } = self.fit(items, &log);
        let begin = (begins_anew || log.is_full()).then(|| self.said_before());
        let mut batch = self.judge(items);
        let bytes = std::mem::take(&mut batch.bytes);
        self.tidied = time::now();
        // What is remembered of ids after a restart are the messages that are there.
        let kept = self.settings.keep.max(self.settings.dedup);
        let old = self.deletable(&log, Some(now - millis(kept)));
        let job = Job {
            delete_before: old.max(freed_before),
            begin: begin.filter(|_| begins_anew || !bytes.is_empty()),
            begins_anew,
            log,
            bytes,
        };
        Some((batch::begin(job), batch))
    }

    /// What of it there is room for: messages wait until the oldest that can be deleted are, and are refused where none
    /// can. What groups did is always written: it is what makes room.
    fn fit(&mut self, items: Vec<Item>, log: &Log) -> Fit {
        let mut left = self.settings.bytes_max.saturating_sub(log.bytes());
        let mut left_delayed = self.delayed.left(now());
        let (mut fit, mut waiting, mut bytes) = (Vec::new(), Vec::new(), 0);
        for item in items {
            match item {
                Item::Publish(publish) if !self.is_known(&publish.message) => {
                    let message_bytes = batch::bytes(&publish.message) as u64;
                    let delayed = usize::from(publish.message.delay > Duration::ZERO);
                    if delayed > left_delayed {
                        let refused = Error::TooMany { what: "delayed messages", max: self.delayed.max() };
                        publish.answer.send(Err(refused)).ok();
                    } else if waiting.is_empty() && message_bytes <= left {
                        left -= message_bytes;
                        left_delayed -= delayed;
                        fit.push(Item::Publish(publish));
                    } else {
                        bytes += message_bytes;
                        waiting.push(publish);
                    }
                }
                // What was published before takes no room.
                item @ Item::Publish(_) => fit.push(item),
                item @ Item::Record(..) => {
                    left = left.saturating_sub(item.bytes() as u64);
                    fit.push(item);
                }
            }
        }
        let (freed_before, begins_anew) =
            if waiting.is_empty() { (0, false) } else { self.make_room(log, bytes.saturating_sub(left)) };
        if begins_anew || freed_before > 0 {
            self.making_room = log.oldest();
            self.queue.put_back(waiting.into_iter().map(Item::Publish).collect());
        } else {
            self.making_room = None;
            self.refuse(waiting);
        }
        Fit { items: fit, freed_before, begins_anew }
    }

    /// Before which segment all are deleted, so that there is room for so many bytes more, and whether it takes a new
    /// segment; neither, where nothing can be deleted.
    fn make_room(&self, log: &Log, bytes: u64) -> (u32, bool) {
        let oldest = log.oldest().unwrap_or(0);
        // The same ones could not be deleted just before.
        if self.making_room == Some(oldest) {
            return (0, false);
        }
        let before = self.deletable(log, None).min(log.freed_before(bytes));
        if before > oldest {
            return (before, false);
        }
        // All are in the segment that is written to, and no group needs them any more.
        let is_done = self.floor().0 >= self.shelf.next() && self.shelf.first() < self.shelf.next();
        (0, is_done)
    }

    fn refuse(&self, waiting: Vec<Publish>) {
        let full = || Error::Full { topic: self.name.clone(), by: self.floor().1.map(str::to_owned) };
        for publish in waiting {
            publish.answer.send(Err(full())).ok();
        }
    }

    fn is_known(&self, message: &NewMessage) -> bool {
        message.id.as_ref().is_some_and(|id| self.dedup.find(id).is_some())
    }

    /// The first segment that no group needs and that is not as young as that.
    fn deletable(&self, log: &Log, since_ms: Option<i64>) -> u32 {
        self.shelf.stays(self.floor().0, since_ms).or(log.newest()).unwrap_or(0)
    }

    /// What has to be said before a segment's first batch.
    fn said_before(&self) -> Vec<Record> {
        let began = Record::Began { next: self.shelf.next() };
        let groups = self.groups.values().flat_map(Group::kept);
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
                Item::Publish(Publish { message, only, room, answer }) => {
                    let published = self.place(message, only, &mut batch);
                    batch.published.push((answer, published, room));
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
        let is_named = id.is_some();
        if let Some(id) = id.as_ref().filter(|_| !self.settings.dedup.is_zero()) {
            self.dedup.add(id, position, published_ms);
            batch.named += 1;
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
        let record = if is_named { Record::Message(message) } else { Record::Unnamed(message) };
        record.put(&mut batch.bytes);
        if let Record::Message(message) | Record::Unnamed(message) = record {
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
        self.delayed.add(&messages);
        if let Some(place) = place {
            self.shelf.add(place, messages);
            self.end.send_replace(self.shelf.next());
        }
        for (answer, published, _room) in published {
            answer.send(Ok(published)).ok();
        }
        for then in records.into_iter().filter_map(|(_, then)| then) {
            then(Ok(()));
        }
    }

    fn is_not_written(&mut self, error: &Error, batch: Batch) {
        let Batch { records, published, named, .. } = batch;
        self.dedup.forget_last(named);
        tracing::error!(topic = self.name, error = %chain(error), "messages cannot be written");
        self.queue.note(false);
        self.metrics.write_failures.increment();
        for (answer, ..) in published {
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
