//! Where messages are: the last ones in memory, all others by the batch that they stand in.

use std::{collections::VecDeque, sync::Arc};

use bowline_runtime::fs::File;

use super::{log::Place, record::Record};
use crate::{Error, delivery::Position, port::Message};

/// How many bytes, and how many messages, are kept in memory.
const RECENT_BYTES_MAX: usize = 8 << 20;
const RECENT_MAX: usize = 16 * 1024;

/// What a message takes beside its payload, about.
const MESSAGE_BYTES: usize = 200;

/// The messages of a topic.
#[derive(Debug)]
pub(super) struct Shelf {
    segments: VecDeque<Segment>,
    /// The last messages; the last of them is the one before `next`.
    recent: VecDeque<Arc<Message>>,
    recent_bytes: usize,
    next: Position,
}

#[derive(Debug)]
struct Segment {
    id: u32,
    file: Arc<File>,
    /// When the last of its messages was published.
    published_ms: i64,
    /// The position of the first message of each batch that has one, and where the batch begins.
    batches: Vec<(Position, u32)>,
}

impl Shelf {
    pub(super) fn new() -> Self {
        Self { segments: VecDeque::new(), recent: VecDeque::new(), recent_bytes: 0, next: 1 }
    }

    /// The position of the next message.
    pub(super) fn next(&self) -> Position {
        self.next
    }

    /// The first position that is still there; that of the next message, where none is.
    pub(super) fn first(&self) -> Position {
        let first = |segment: &Segment| segment.batches.first().map(|(position, _)| *position);
        self.segments.iter().find_map(first).unwrap_or(self.next)
    }

    /// No message before that one is there.
    pub(super) fn begin_at(&mut self, next: Position) {
        self.next = self.next.max(next);
    }

    /// A batch with messages, the next ones, is durable.
    pub(super) fn add(&mut self, place: &Place, messages: Vec<Arc<Message>>) {
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return };
        if self.segments.back().is_none_or(|newest| newest.id != place.segment) {
            let (id, file) = (place.segment, place.file.clone());
            self.segments.push_back(Segment { id, file, published_ms: 0, batches: Vec::new() });
        }
        let newest = self.segments.back_mut().expect("it was just made or was there");
        newest.published_ms = last.published_ms;
        newest.batches.push((first.position, place.offset));
        self.next = last.position + 1;
        self.recent_bytes += messages.iter().map(|message| weight(message)).sum::<usize>();
        self.recent.extend(messages);
        while self.recent.len() > RECENT_MAX || self.recent_bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= weight(&oldest);
        }
    }

    /// A message that is in memory.
    pub(super) fn recent(&self, position: Position) -> Option<&Arc<Message>> {
        let first = self.recent.front()?.position;
        self.recent.get(usize::try_from(position.checked_sub(first)?).ok()?)
    }

    /// The batch that a message stands in, or the first one after it.
    pub(super) fn find(&self, position: Position) -> Option<Place> {
        if position >= self.next {
            return None;
        }
        let is_before = |segment: &Segment| segment.batches.first().is_some_and(|(first, _)| *first <= position);
        let at = self.segments.partition_point(is_before).saturating_sub(1);
        let segment = self.segments.range(at..).find(|segment| !segment.batches.is_empty())?;
        let batch = segment.batches.partition_point(|(first, _)| *first <= position).saturating_sub(1);
        let (_, offset) = segment.batches.get(batch)?;
        Some(Place { segment: segment.id, file: segment.file.clone(), offset: *offset })
    }

    /// The first segment that has to stay: it is the newest, or one of its messages is at or after `floor`, or was
    /// published at or after `since_ms`.
    pub(super) fn stays(&self, floor: Position, since_ms: Option<i64>) -> Option<u32> {
        let ends = self.segments.iter().skip(1).map(|next| next.batches.first().map_or(self.next, |(first, _)| *first));
        let mut older = self.segments.iter().zip(ends);
        let stays = older.find(|(segment, end)| *end > floor || since_ms.is_some_and(|at| segment.published_ms >= at));
        stays.map(|(segment, _)| segment.id).or_else(|| self.segments.back().map(|newest| newest.id))
    }

    /// The segments before that one are gone.
    pub(super) fn delete_before(&mut self, id: u32) {
        while self.segments.front().is_some_and(|oldest| oldest.id < id) {
            self.segments.pop_front();
        }
        let first = self.first();
        while self.recent.front().is_some_and(|oldest| oldest.position < first) {
            let oldest = self.recent.pop_front();
            self.recent_bytes -= oldest.map_or(0, |oldest| weight(&oldest));
        }
    }
}

/// The messages of a batch. Blocks.
pub(super) fn load(place: &Place) -> Result<Vec<Arc<Message>>, Error> {
    let messages = place.read()?.into_iter().filter_map(|record| match record {
        Record::Message(message) => Some(Arc::new(message)),
        _ => None,
    });
    Ok(messages.collect())
}

fn weight(message: &Message) -> usize {
    MESSAGE_BYTES + message.payload.len()
}
