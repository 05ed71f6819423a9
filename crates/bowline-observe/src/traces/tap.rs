//! Others who see the spans that the store keeps.

use std::{collections::VecDeque, fmt, sync::Arc};

use bowline_runtime::fs::File;
use bowline_telemetry::SpanData;

use crate::traces::{
    codec::Record,
    index::Location,
    log::{self, Follower, Place},
    writer::SharedIndex,
};

/// The most records of earlier runs that are shown again, the newest.
const REPLAY_RECORDS_MAX: usize = 40_000;
/// The most spans of earlier runs that are shown again, the newest.
const REPLAY_SPANS_MAX: usize = 500_000;

/// Sees the spans that a trace store takes: each once, but for those that are reported twice.
pub trait Tap: fmt::Debug + Send + Sync {
    /// Spans that were appended. Called by the thread that writes them, which waits.
    fn appended(&self, spans: &[SpanData]);

    /// Spans of an earlier run, newest records first. Called by another thread, while new ones come in.
    fn replayed(&self, spans: &[SpanData]);
}

/// Notes the newest records that are found at open, for a tap.
#[derive(Debug)]
pub(crate) struct Recent {
    index: SharedIndex,
    since_unix_nanos: Option<u64>,
    places: VecDeque<Place>,
}

impl Recent {
    /// Notes those written since then; none where nobody wants them.
    pub(crate) fn new(index: SharedIndex, since_unix_nanos: Option<u64>) -> Self {
        Self { index, since_unix_nanos, places: VecDeque::new() }
    }

    /// Where they stand, oldest first.
    pub(crate) fn locations(self) -> Vec<Location> {
        let index = self.index.lock();
        self.places.into_iter().filter_map(|place| index.location(place)).collect()
    }
}

impl Follower for Recent {
    fn opened(&mut self, segment: u32, file: Arc<File>) {
        self.index.opened(segment, file);
    }

    fn found(&mut self, place: Place, record: &[u8]) -> bool {
        let Some(written_at) = self.index.found_at(place, record) else { return false };
        if self.since_unix_nanos.is_some_and(|since| written_at >= since) {
            if self.places.len() == REPLAY_RECORDS_MAX {
                self.places.pop_front();
            }
            self.places.push_back(place);
        }
        true
    }

    fn deleting(&mut self, segment: u32) {
        self.index.deleting(segment);
    }
}

/// Shows records to a tap, newest first, until it is enough. Blocks.
pub(crate) fn replay(tap: &dyn Tap, locations: &[Location], is_enough: impl Fn() -> bool) {
    let mut spans_left = REPLAY_SPANS_MAX;
    for Location { file, place } in locations.iter().rev() {
        if is_enough() || spans_left == 0 {
            return;
        }
        // What cannot be read is told by whoever asks for it.
        let Ok(record) = log::read_record(file, place.segment, place.offset) else { continue };
        let Ok(spans) = Record::unpack(&record).and_then(|record| record.decode(|_| true)) else { continue };
        let shown = &spans[..spans.len().min(spans_left)];
        tap.replayed(shown);
        spans_left -= shown.len();
    }
}
