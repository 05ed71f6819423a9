//! Reads head, frozen generation and blocks, in this order, and puts them together.

use std::{
    collections::BTreeSet,
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
};

use super::{SeriesStore, Shared, lock};
use crate::{
    labels::{Labels, Matcher},
    series::{
        block::Block,
        head::Chunks,
        postings::{Postings as _, Tried},
        select::Merge,
    },
    source::{Series, SeriesRef, Source, SourceError},
};

/// For how many series the head is locked at a time.
const LOCKED_SERIES: usize = 256;
/// The most series that are listed: their labels are all in memory.
const LISTED_SERIES_MAX: usize = 500_000;

impl Source for SeriesStore {
    fn select(
        &self,
        matchers: &[Matcher],
        from_ms: i64,
        to_ms: i64,
        samples_max: usize,
    ) -> Result<Vec<Series>, SourceError> {
        let shared = self.opened()?;
        let head = shared.head_chunks(matchers, from_ms, to_ms);
        let frozen = lock(&shared.frozen).clone();
        let blocks = shared.blocks_within(from_ms, to_ms);
        let mut merge = Merge::new(samples_max);
        for block in &blocks {
            if let Some(opened) = block.index(&shared.cache, &shared.metrics) {
                block.select(&opened, matchers, (from_ms, to_ms), &shared.metrics, &mut merge)?;
            }
        }
        let frozen = frozen.iter().flat_map(|series| series.iter());
        let passing = frozen.filter(|series| matchers.iter().all(|matcher| matcher.is_matching(&series.labels)));
        for series in passing.chain(&head) {
            shared.add(series, from_ms, to_ms, &mut merge)?;
        }
        Ok(merge.finish())
    }
}

impl SeriesStore {
    /// The series that have samples of that time and pass all matchers of at least one of the lists, or all
    /// series if there is no list; sorted.
    ///
    /// Blocks.
    ///
    /// # Errors
    /// [`SourceError::TooManySeries`], [`SourceError::Closed`]. What cannot be read is skipped, logged and counted.
    pub fn labels(&self, matchers: &[Vec<Matcher>], from_ms: i64, to_ms: i64) -> Result<Vec<Labels>, SourceError> {
        let shared = self.opened()?;
        let everything = [Vec::new()];
        let lists = if matchers.is_empty() { &everything } else { matchers };
        let mut found = HashSet::new();
        for list in lists {
            for some in shared.head_series(list).chunks(LOCKED_SERIES) {
                let head = shared.head();
                found.extend(some.iter().filter_map(|series| head.labels_within(*series, from_ms, to_ms)));
            }
        }
        for series in lock(&shared.frozen).clone().iter().flat_map(|series| series.iter()) {
            let is_within = series.chunks.iter().any(|chunk| chunk.is_overlapping(from_ms, to_ms));
            let is_passing = |list: &Vec<Matcher>| list.iter().all(|matcher| matcher.is_matching(&series.labels));
            if is_within && lists.iter().any(is_passing) {
                found.insert(series.labels.clone());
            }
        }
        for block in shared.blocks_within(from_ms, to_ms) {
            let Some((index, _)) = block.index(&shared.cache, &shared.metrics) else { continue };
            for list in lists {
                found.extend(Block::labels(&index, list, from_ms, to_ms));
                if found.len() > LISTED_SERIES_MAX {
                    return Err(SourceError::TooManySeries { series_max: LISTED_SERIES_MAX });
                }
            }
        }
        let mut found: Vec<_> = found.into_iter().collect();
        found.sort_unstable();
        Ok(found)
    }

    /// The names of the labels of the series of [`SeriesStore::labels`], sorted.
    ///
    /// Without matchers it is quick, and may name labels of series that had samples only up to two hours
    /// before or after. Blocks.
    ///
    /// # Errors
    /// As [`SeriesStore::labels`].
    pub fn label_names(&self, matchers: &[Vec<Matcher>], from_ms: i64, to_ms: i64) -> Result<Vec<String>, SourceError> {
        let mut names = BTreeSet::new();
        if matchers.is_empty() {
            self.quickly(from_ms, to_ms, &mut |part| match part {
                Part::Head(head) => head.label_names(|name| insert(&mut names, name)),
                Part::Frozen(labels) => labels.iter().for_each(|(name, _)| insert(&mut names, name)),
                Part::Block(index) => index.label_names(|name| insert(&mut names, name)),
            })?;
        } else {
            for labels in self.labels(matchers, from_ms, to_ms)? {
                labels.iter().for_each(|(name, _)| insert(&mut names, name));
            }
        }
        Ok(names.into_iter().collect())
    }

    /// The values of a label of the series of [`SeriesStore::labels`], sorted; as quick as
    /// [`SeriesStore::label_names`], and as rough.
    ///
    /// Blocks.
    ///
    /// # Errors
    /// As [`SeriesStore::labels`].
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Vec<Matcher>],
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<String>, SourceError> {
        let mut values = BTreeSet::new();
        // Put among the others when the head is no longer held.
        let mut of_head = Vec::new();
        if matchers.is_empty() {
            self.quickly(from_ms, to_ms, &mut |part| match part {
                Part::Head(head) => of_head = head.label_values(name),
                Part::Frozen(labels) => labels.get(name).into_iter().for_each(|value| insert(&mut values, value)),
                Part::Block(index) => index.values(name, |value, _| insert(&mut values, value)),
            })?;
        } else {
            for labels in self.labels(matchers, from_ms, to_ms)? {
                labels.get(name).into_iter().for_each(|value| insert(&mut values, value));
            }
        }
        for value in &of_head {
            insert(&mut values, value);
        }
        Ok(values.into_iter().collect())
    }

    /// Shows everything that has to do with that time.
    fn quickly(&self, from_ms: i64, to_ms: i64, visit: &mut dyn FnMut(Part<'_>)) -> Result<(), SourceError> {
        let shared = self.opened()?;
        {
            let head = shared.head();
            if head.is_overlapping(from_ms, to_ms) {
                visit(Part::Head(&head));
            }
        }
        for series in lock(&shared.frozen).clone().iter().flat_map(|series| series.iter()) {
            visit(Part::Frozen(&series.labels));
        }
        for block in shared.blocks_within(from_ms, to_ms) {
            if let Some((index, _)) = block.index(&shared.cache, &shared.metrics) {
                visit(Part::Block(&index));
            }
        }
        Ok(())
    }

    fn opened(&self) -> Result<&Shared, SourceError> {
        let shared = &self.0.shared;
        if shared.is_closed.load(Ordering::Acquire) { Err(SourceError::Closed) } else { Ok(shared) }
    }
}

/// Where labels are.
enum Part<'a> {
    Head(&'a crate::series::head::Head),
    Frozen(&'a Labels),
    Block(&'a crate::series::block::Index),
}

fn insert(set: &mut BTreeSet<String>, text: &str) {
    if !set.contains(text) {
        set.insert(text.to_owned());
    }
}

impl Shared {
    fn blocks_within(&self, from_ms: i64, to_ms: i64) -> Vec<Arc<Block>> {
        let blocks = Arc::clone(&lock(&self.blocks));
        blocks.iter().filter(|block| block.is_overlapping(from_ms, to_ms)).cloned().collect()
    }

    /// The series of the head that pass; regular expressions are tried while nobody who appends waits.
    fn head_series(&self, matchers: &[Matcher]) -> Vec<SeriesRef> {
        let values = |name: &str| self.head().label_values(name);
        let tried: Vec<_> = matchers.iter().map(|matcher| Tried::on(matcher, values)).collect();
        self.head().resolve(&tried)
    }

    /// Takes chunks from the head, a few series at a time, so that nobody who appends waits for long.
    fn head_chunks(&self, matchers: &[Matcher], from_ms: i64, to_ms: i64) -> Vec<Chunks> {
        let passed = self.head_series(matchers);
        let mut found = Vec::new();
        for some in passed.chunks(LOCKED_SERIES) {
            let head = self.head();
            found.extend(some.iter().filter_map(|series| head.chunks(*series, from_ms, to_ms)));
        }
        found
    }

    fn add(&self, series: &Chunks, from_ms: i64, to_ms: i64, merge: &mut Merge) -> Result<(), SourceError> {
        let chunks = series.chunks.iter().filter(|chunk| chunk.is_overlapping(from_ms, to_ms));
        let mut at = None;
        for chunk in chunks {
            let at = *at.get_or_insert_with(|| merge.series(&series.labels));
            if !merge.add(at, |out| chunk.read(from_ms, to_ms, out).is_ok())? {
                // It was never on disk: the memory is bad, or we are.
                self.metrics.reads_corrupt.increment();
                tracing::error!(series = %series.labels, "chunk in memory is damaged, skipping it");
            }
        }
        Ok(())
    }
}
