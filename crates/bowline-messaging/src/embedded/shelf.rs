//! Where messages are: the last ones in memory, all others by the stretch of their log that they stand in.

use std::{collections::VecDeque, path::Path, sync::Arc};

use super::{log::Place, record::Record};
use crate::{Error, delivery::Position, port::Message};

/// How many bytes, and how many messages, are kept in memory.
const RECENT_BYTES_MAX: usize = 8 << 20;
const RECENT_MAX: usize = 16 * 1024;

/// What a message takes beside its payload and its texts, about.
const MESSAGE_BYTES: usize = 200;

/// Batches next to each other are found, and read, together, as far as they have no more bytes than that.
const STRETCH_BYTES: u32 = 64 * 1024;

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
    /// When the last of its messages was published.
    published_ms: i64,
    stretches: Vec<Stretch>,
}

/// Some batches, next to each other, that have messages.
#[derive(Debug)]
struct Stretch {
    /// The position of the first message.
    first: Position,
    offset: u32,
    end: u32,
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
        let first = |segment: &Segment| segment.stretches.first().map(|stretch| stretch.first);
        self.segments.iter().find_map(first).unwrap_or(self.next)
    }

    /// No message before that one is there.
    pub(super) fn begin_at(&mut self, next: Position) {
        self.next = self.next.max(next);
    }

    /// A batch with messages, the next ones, is durable.
    pub(super) fn add(&mut self, place: Place, messages: Vec<Arc<Message>>) {
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return };
        if self.segments.back().is_none_or(|newest| newest.id != place.segment) {
            self.segments.push_back(Segment { id: place.segment, published_ms: 0, stretches: Vec::new() });
        }
        let newest = self.segments.back_mut().expect("it was just made or was there");
        newest.published_ms = last.published_ms;
        match newest.stretches.last_mut().filter(|stretch| place.end - stretch.offset <= STRETCH_BYTES) {
            Some(stretch) => stretch.end = place.end,
            None => {
                newest.stretches.push(Stretch { first: first.position, offset: place.offset, end: place.end });
            }
        }
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

    /// The stretch that a message stands in, or the first one after it.
    pub(super) fn find(&self, position: Position) -> Option<Place> {
        if position >= self.next {
            return None;
        }
        let is_before = |segment: &Segment| segment.stretches.first().is_some_and(|stretch| stretch.first <= position);
        let at = self.segments.partition_point(is_before).saturating_sub(1);
        let segment = self.segments.get(at)?;
        let at = segment.stretches.partition_point(|stretch| stretch.first <= position).saturating_sub(1);
        let Stretch { offset, end, .. } = *segment.stretches.get(at)?;
        Some(Place { segment: segment.id, offset, end })
    }

    /// The first segment that has to stay, as one of its messages is at or after `floor`, or was published at or after
    /// `since_ms`.
    pub(super) fn stays(&self, floor: Position, since_ms: Option<i64>) -> Option<u32> {
        let first = |next: &Segment| next.stretches.first().map_or(self.next, |stretch| stretch.first);
        let ends = self.segments.iter().skip(1).map(first).chain([self.next]);
        let mut segments = self.segments.iter().zip(ends);
        let stays =
            segments.find(|(segment, end)| *end > floor || since_ms.is_some_and(|at| segment.published_ms >= at));
        stays.map(|(segment, _)| segment.id)
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

/// The messages of a stretch of the log in that folder; none, where it was deleted meanwhile. Blocks.
pub(super) fn load(dir: &Path, place: Place) -> Result<Vec<Arc<Message>>, Error> {
    let messages = place.read(dir)?.into_iter().filter_map(|record| match record {
        Record::Message(message) | Record::Unnamed(message) => Some(Arc::new(message)),
        _ => None,
    });
    Ok(messages.collect())
}

/// How much memory a message takes, about.
pub(super) fn weight(message: &Message) -> usize {
    let Message { id, key, headers, payload, .. } = message;
    let headers = headers.iter().map(|(name, value)| 48 + name.len() + value.len()).sum::<usize>();
    MESSAGE_BYTES + id.len() + key.as_ref().map_or(0, String::len) + headers + payload.len()
}
