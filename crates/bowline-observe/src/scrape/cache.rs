//! What a scrape target exposed last time, by how it was written: what is unchanged is neither parsed nor looked up.
//!
//! A target writes its series in the same order each time, mostly. The next one expected is compared with the text
//! as it stands; only where that fails it is looked for.

use std::{collections::HashMap, sync::Arc};

use crate::{labels::Labels, source::SeriesRef};

/// A series of the cache, until it is forgotten.
pub(super) type Id = u32;

/// The series of one scrape target.
#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: Vec<Entry>,
    free: Vec<Id>,
    by_text: HashMap<Arc<str>, Id>,
    /// The series of the last round that went well, as they were written.
    order: Vec<Id>,
    /// Those of this round so far.
    next: Vec<Id>,
    /// Those of this round that were not known before.
    fresh: Vec<Id>,
    /// Where in `order` the next series is expected.
    at: usize,
    round: u64,
}

/// A series.
#[derive(Debug)]
pub(super) struct Entry {
    /// As the target writes it.
    text: Arc<str>,
    /// As it is kept.
    pub(super) labels: Labels,
    /// Where it is kept; none: the sink does not take it.
    pub(super) series: Option<SeriesRef>,
    /// Whether it needs a marker when it ends: its samples have the time of the scrape.
    pub(super) is_live: bool,
    /// The round in which it was seen last.
    round: u64,
    /// Where in that round.
    place: usize,
}

impl Cache {
    /// Begins a round.
    pub(super) fn begin(&mut self) {
        self.round += 1;
        self.at = 0;
        self.next.clear();
        self.fresh.clear();
    }

    /// The series that should come next, and how it is written.
    #[inline]
    pub(super) fn expected(&self) -> Option<(Id, &str)> {
        let id = *self.order.get(self.at)?;
        Some((id, &self.entry(id).text))
    }

    /// The series that is written so.
    pub(super) fn find(&self, text: &str) -> Option<Id> {
        self.by_text.get(text).copied()
    }

    /// Takes a series that is not known.
    pub(super) fn add(&mut self, text: &str, labels: Labels) -> Id {
        let text: Arc<str> = text.into();
        let entry =
            Entry { text: Arc::clone(&text), labels, series: None, is_live: false, round: 0, place: usize::MAX };
        let id = if let Some(id) = self.free.pop() {
            *self.entry_mut(id) = entry;
            id
        } else {
            self.entries.push(entry);
            Id::try_from(self.entries.len() - 1).expect("a page has fewer samples than bytes")
        };
        self.by_text.insert(text, id);
        self.fresh.push(id);
        id
    }

    /// Marks a series as seen in this round; whether that is the first time.
    #[inline]
    pub(super) fn see(&mut self, id: Id) -> bool {
        let (round, place) = (self.round, self.next.len());
        let entry = self.entry_mut(id);
        if entry.round == round {
            return false;
        }
        let was_at = std::mem::replace(&mut entry.place, place);
        entry.round = round;
        if was_at != usize::MAX {
            self.at = was_at + 1;
        }
        self.next.push(id);
        true
    }

    /// Ends a round that went well: hands out what was live and was not seen, and forgets it.
    pub(super) fn finish(&mut self, mut vanished: impl FnMut(&Entry)) {
        std::mem::swap(&mut self.order, &mut self.next);
        for at in 0..self.next.len() {
            let id = self.next[at];
            if self.entry(id).round != self.round {
                vanished(self.entry(id));
                self.forget(id);
            }
        }
    }

    /// Ends a round that failed: hands out what was live, which it is no more, and forgets what was new.
    pub(super) fn fail(&mut self, mut ended: impl FnMut(&Entry)) {
        for id in std::mem::take(&mut self.fresh) {
            self.forget(id);
        }
        for at in 0..self.order.len() {
            let id = self.order[at];
            ended(self.entry(id));
            let entry = self.entry_mut(id);
            entry.is_live = false;
            entry.place = at;
        }
    }

    /// How many series of this round were not known before.
    pub(super) fn fresh_count(&self) -> usize {
        self.fresh.len()
    }

    /// A series.
    #[inline]
    pub(super) fn entry(&self, id: Id) -> &Entry {
        &self.entries[id as usize]
    }

    /// A series.
    #[inline]
    pub(super) fn entry_mut(&mut self, id: Id) -> &mut Entry {
        &mut self.entries[id as usize]
    }

    fn forget(&mut self, id: Id) {
        let text = Arc::clone(&self.entry(id).text);
        self.by_text.remove(&text);
        self.free.push(id);
    }
}
