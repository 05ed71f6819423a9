//! Which windows are open, what is in them, and how far time has come. Pure.

use std::collections::BTreeMap;

use super::Windowed;

/// The most windows that are open at a time; then the one that ends first is closed early.
pub const WINDOWS_OPEN_MAX: usize = 10_000;

/// The windows that are open; times and durations are milliseconds.
#[derive(Debug)]
pub(crate) struct Table<K, A> {
    late_by: i64,
    /// The greatest time of an event.
    newest: Option<i64>,
    /// Up to when nothing is expected any more; it never goes back.
    watermark: i64,
    /// By end, key and start: the order in which they are closed.
    open: BTreeMap<(i64, K, i64), A>,
    /// By key and start, the end; only of windows that grow.
    growing: BTreeMap<(K, i64), i64>,
}

impl<K: Ord + Clone, A> Table<K, A> {
    pub(super) fn new(late_by: i64) -> Self {
        Self { late_by, newest: None, watermark: i64::MIN, open: BTreeMap::new(), growing: BTreeMap::new() }
    }

    /// Adds an event to the windows of a size, one beginning each `every`; false: all of them are closed.
    ///
    /// Closed ones are to be popped before.
    pub(super) fn add_fixed(
        &mut self,
        (at, key): (i64, &K),
        (size, every): (i64, i64),
        mut init: impl FnMut() -> A,
        mut fold: impl FnMut(&mut A),
    ) -> bool {
        let mut start = at.saturating_sub(at.rem_euclid(every));
        let mut is_in_any = false;
        while start.saturating_add(size) > at {
            let end = start.saturating_add(size);
            if end > self.watermark {
                fold(self.open.entry((end, key.clone(), start)).or_insert_with(&mut init));
                is_in_any = true;
            }
            let Some(before) = start.checked_sub(every) else { break };
            start = before;
        }
        self.see(at);
        is_in_any
    }

    /// Adds an event to the session of its key: those that are less than `gap` from another are in one, and two of
    /// them become one where it is close to both. False: its session is closed.
    ///
    /// Closed ones are to be popped before.
    pub(super) fn add_session(
        &mut self,
        (at, key): (i64, &K),
        gap: i64,
        init: impl FnOnce() -> A,
        fold: impl FnOnce(&mut A),
        mut merge: impl FnMut(A, A) -> A,
    ) -> bool {
        let (mut start, mut end) = (at, at.saturating_add(gap));
        let reaches = |(_, other): &(&(K, i64), &i64)| **other > at;
        // Sessions are at least a gap long: beside the one that began before, at most one begins within.
        let before = self.growing.range(..=(key.clone(), at)).next_back().filter(|it| it.0.0 == *key).filter(reaches);
        let after = self.growing.range((key.clone(), at)..(key.clone(), end)).find(|it| it.0.1 > at);
        let near: Vec<(i64, i64)> = before.into_iter().chain(after).map(|(key, end)| (key.1, *end)).collect();
        if near.is_empty() && end <= self.watermark {
            self.see(at);
            return false;
        }
        let mut joined = None;
        for (its_start, its_end) in near {
            self.growing.remove(&(key.clone(), its_start));
            let accumulated = self.open.remove(&(its_end, key.clone(), its_start)).expect("what grows is open");
            (start, end) = (start.min(its_start), end.max(its_end));
            joined = Some(match joined {
                Some(joined) => merge(joined, accumulated),
                None => accumulated,
            });
        }
        let mut accumulated = joined.unwrap_or_else(init);
        fold(&mut accumulated);
        self.growing.insert((key.clone(), start), end);
        self.open.insert((end, key.clone(), start), accumulated);
        self.see(at);
        true
    }

    fn see(&mut self, at: i64) {
        let newest = self.newest.map_or(at, |newest| newest.max(at));
        self.newest = Some(newest);
        self.advance(newest.saturating_sub(self.late_by));
    }

    /// Nothing is expected any more before that time.
    pub(super) fn advance(&mut self, to: i64) {
        self.watermark = self.watermark.max(to);
    }

    /// So much time has passed since the newest event.
    pub(super) fn pass(&mut self, elapsed: i64) {
        if let Some(newest) = self.newest {
            self.advance(newest.saturating_add(elapsed).saturating_sub(self.late_by));
        }
    }

    /// How much time has to pass since the newest event until a window closes by that.
    pub(super) fn closes_after(&self) -> Option<i64> {
        let (end, ..) = self.open.first_key_value()?.0;
        Some(end.saturating_add(self.late_by).saturating_sub(self.newest?))
    }

    /// Takes out a window that is over, or one too many.
    pub(super) fn pop(&mut self) -> Option<Windowed<K, A>> {
        let is_over = self.open.first_key_value()?.0.0 <= self.watermark;
        if !is_over && self.open.len() <= WINDOWS_OPEN_MAX {
            return None;
        }
        let ((end_ms, key, start_ms), value) = self.open.pop_first()?;
        self.growing.remove(&(key.clone(), start_ms));
        Some(Windowed { key, start_ms, end_ms, value, is_early: !is_over })
    }
}
