//! One scrape target's series, and what a page of it does to them. Knows no clock and asks nobody.

mod describe;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use super::{
    Page, Sink,
    cache::{Cache, Id},
    exposition::{Entry as Line, Exposition, ParseError, Reading, parse_labels},
    metrics::Metrics,
};
use crate::{
    labels::{Labels, NAME},
    source::{Appended, STALE, SeriesRef},
};

pub use describe::Description;
pub(super) use describe::Descriptions;

/// How far ahead of the scrape a target's own time may be, in milliseconds.
const AHEAD_MAX_MS: i64 = 10 * 60 * 1000;

/// The series that every scrape brings about, beside the target's own.
const REPORTS: [&str; 5] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
];

/// The series of one scrape target.
#[derive(Debug)]
pub(super) struct Book {
    labels: Labels,
    cache: Cache,
    reports: Vec<SeriesRef>,
    descriptions: Arc<Descriptions>,
    /// The samples of the page that is read: without a time of their own, and with one.
    plain: Vec<(Id, f64)>,
    timed: Vec<(i64, Id, f64)>,
    /// What goes to the sink.
    samples: Vec<(SeriesRef, f64)>,
}

/// Where samples go, and what is counted.
#[derive(Clone, Copy)]
pub(super) struct Outlet<'a> {
    pub(super) sink: &'a dyn Sink,
    pub(super) metrics: &'a Metrics,
    /// The most samples of a page.
    pub(super) samples_max: usize,
}

/// What came of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// Samples on it.
    pub(super) scraped: usize,
    /// Series on it that the one before did not have.
    pub(super) added: usize,
    /// Samples whose series the sink does not take.
    pub(super) refused: usize,
    /// Samples of a series that was on it already.
    pub(super) duplicate: usize,
}

/// Why a page is not taken, none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PageError {
    #[error("the page cannot be read")]
    Malformed(#[source] ParseError),
    #[error("the page has more than {samples_max} samples")]
    SampleLimit { samples_max: usize },
}

impl Book {
    pub(super) fn new(labels: Labels, descriptions: Arc<Descriptions>) -> Self {
        Self {
            labels,
            cache: Cache::default(),
            reports: Vec::new(),
            descriptions,
            plain: Vec::new(),
            timed: Vec::new(),
            samples: Vec::new(),
        }
    }

    /// Keeps what is on a page of that time; of series that are not on it any more, that they ended.
    ///
    /// # Errors
    /// When it is not taken: then all series have ended.
    pub(super) fn take(&mut self, page: &Page, at_ms: i64, to: Outlet<'_>) -> (Tally, Result<(), PageError>) {
        self.cache.begin();
        self.plain.clear();
        self.timed.clear();
        let mut tally = Tally::default();
        if let Err(error) = self.read(page, &mut tally, to) {
            self.fail(at_ms, to);
            return (tally, Err(error));
        }
        tally.added = self.cache.fresh_count();
        self.append_plain(at_ms, &mut tally, to);
        self.append_timed(at_ms, to);
        self.samples.clear();
        let stale = &mut self.samples;
        self.cache.finish(|entry| stale.extend(entry.series.filter(|_| entry.is_live).map(|series| (series, STALE))));
        if !stale.is_empty() {
            to.sink.append(at_ms, stale);
        }
        to.metrics.duplicate.add(tally.duplicate as u64);
        to.metrics.series_refused.add(tally.refused as u64);
        (tally, Ok(()))
    }

    /// Ends all series of the target, since there is no page of that time.
    pub(super) fn fail(&mut self, at_ms: i64, to: Outlet<'_>) {
        self.samples.clear();
        let stale = &mut self.samples;
        self.cache.fail(|entry| stale.extend(entry.series.filter(|_| entry.is_live).map(|series| (series, STALE))));
        if !stale.is_empty() {
            to.sink.append(at_ms, stale);
        }
    }

    /// Ends all series, and those about the target: it is no more, or has no metrics.
    pub(super) fn end(&mut self, at_ms: i64, to: Outlet<'_>) {
        self.cache.begin();
        self.fail(at_ms, to);
        if !self.reports.is_empty() {
            let stale: Vec<_> = self.reports.drain(..).map(|series| (series, STALE)).collect();
            to.sink.append(at_ms, &stale);
        }
    }

    /// Keeps how a scrape went.
    pub(super) fn report(&mut self, at_ms: i64, is_up: bool, duration: Duration, tally: Tally, to: Outlet<'_>) {
        let kept = tally.scraped - tally.duplicate;
        #[expect(clippy::cast_precision_loss, reason = "a page has fewer samples than that")]
        let [scraped, kept, added] = [tally.scraped, kept, tally.added].map(|count| count as f64);
        let values = [f64::from(u8::from(is_up)), duration.as_secs_f64(), scraped, kept, added];
        let mut appended = Appended { unknown: usize::from(self.reports.is_empty()), ..Appended::default() };
        for _ in 0..2 {
            if appended.unknown > 0 {
                self.reports =
                    REPORTS.iter().filter_map(|name| to.sink.intern(&self.labels.with(NAME, name)).ok()).collect();
                if self.reports.len() < REPORTS.len() {
                    to.metrics.series_refused.add(REPORTS.len() as u64);
                    self.reports.clear();
                    return;
                }
            }
            let samples: Vec<_> = self.reports.iter().copied().zip(values).collect();
            appended = to.sink.append(at_ms, &samples);
            if appended.unknown == 0 {
                break;
            }
        }
        to.metrics.appended(appended);
    }

    fn read(&mut self, page: &Page, tally: &mut Tally, to: Outlet<'_>) -> Result<(), PageError> {
        let mut lines = Exposition::new(page.format, &page.body).map_err(PageError::Malformed)?;
        loop {
            if let Some((id, text)) = self.cache.expected()
                && let Some(reading) = lines.next_of(text).map_err(PageError::Malformed)?
            {
                self.push(id, reading, tally, to);
                continue;
            }
            match lines.next_entry().map_err(PageError::Malformed)? {
                None => break,
                Some(Line::Sample { .. }) if tally.scraped >= to.samples_max => tally.scraped += 1,
                Some(Line::Sample { series, reading }) => {
                    let id = match self.cache.find(series) {
                        Some(id) => id,
                        None => self.learn(series).map_err(|rule| PageError::Malformed(lines.error(rule)))?,
                    };
                    self.push(id, reading, tally, to);
                }
                Some(line) => self.descriptions.take(&line, to.metrics),
            }
        }
        if tally.scraped > to.samples_max {
            return Err(PageError::SampleLimit { samples_max: to.samples_max });
        }
        Ok(())
    }

    /// Takes a series that was not on the page before.
    fn learn(&mut self, series: &str) -> Result<Id, &'static str> {
        let mut pairs: Vec<(Arc<str>, Arc<str>)> = Vec::new();
        let name = parse_labels(series, |name, value| pairs.push((name.into(), (&*value).into())))?;
        let exposed: Vec<Arc<str>> = pairs.iter().map(|(name, _)| Arc::clone(name)).collect();
        for (name, value) in &mut pairs {
            // What the target says of itself does not replace what we know.
            let mut is_taken = !value.is_empty() && self.labels.get(name).is_some();
            while is_taken {
                *name = format!("exported_{name}").into();
                is_taken = self.labels.get(name).is_some() || exposed.contains(name);
            }
        }
        let own = self.labels.pairs().iter().cloned();
        let labels = Labels::new(pairs.into_iter().chain([(Arc::from(NAME), Arc::from(name))]).chain(own));
        Ok(self.cache.add(series, labels))
    }

    #[inline]
    fn push(&mut self, id: Id, reading: Reading, tally: &mut Tally, to: Outlet<'_>) {
        let Reading { value, at_ms, has_exemplar } = reading;
        tally.scraped += 1;
        if has_exemplar {
            to.metrics.exemplars_dropped.increment();
        }
        let is_first = self.cache.see(id);
        match at_ms {
            Some(at_ms) => self.timed.push((at_ms, id, value)),
            None if is_first => self.plain.push((id, value)),
            None => tally.duplicate += 1,
        }
    }

    fn append_plain(&mut self, at_ms: i64, tally: &mut Tally, to: Outlet<'_>) {
        self.samples.clear();
        for (id, value) in &self.plain {
            let entry = self.cache.entry_mut(*id);
            entry.is_live = true;
            if entry.series.is_none() {
                entry.series = to.sink.intern(&entry.labels).ok();
            }
            match entry.series {
                Some(series) => self.samples.push((series, *value)),
                None => tally.refused += 1,
            }
        }
        let mut appended = to.sink.append(at_ms, &self.samples);
        if appended.unknown > 0 {
            let renewed = self.append_renewed(at_ms, to);
            appended.unknown = appended.unknown.saturating_sub(renewed.kept);
            appended.kept += renewed.kept;
        }
        to.metrics.appended(appended);
    }

    /// Interns all series of the page again, since the sink has forgotten some, and appends what it had not known.
    fn append_renewed(&mut self, at_ms: i64, to: Outlet<'_>) -> Appended {
        self.samples.clear();
        for (id, value) in &self.plain {
            let entry = self.cache.entry_mut(*id);
            let before = std::mem::replace(&mut entry.series, to.sink.intern(&entry.labels).ok());
            self.samples.extend(entry.series.filter(|now| Some(*now) != before).map(|series| (series, *value)));
        }
        to.sink.append(at_ms, &self.samples)
    }

    /// Appends what has a time of its own: by time, which the sink demands of each series.
    fn append_timed(&mut self, now_ms: i64, to: Outlet<'_>) {
        self.timed.sort_by_key(|(at_ms, _, _)| *at_ms);
        for same_time in self.timed.chunk_by(|(a, _, _), (b, _, _)| a == b) {
            let Some((at_ms, _, _)) = same_time.first() else { continue };
            if *at_ms > now_ms.saturating_add(AHEAD_MAX_MS) {
                to.metrics.future.add(same_time.len() as u64);
                continue;
            }
            self.samples.clear();
            for (_, id, value) in same_time {
                let entry = self.cache.entry_mut(*id);
                let series = entry.series.or_else(|| to.sink.intern(&entry.labels).ok());
                entry.series = series;
                entry.is_live = false;
                self.samples.extend(series.map(|series| (series, *value)));
            }
            to.metrics.series_refused.add((same_time.len() - self.samples.len()) as u64);
            let appended = to.sink.append(*at_ms, &self.samples);
            if appended.unknown > 0 {
                for (_, id, _) in same_time {
                    self.cache.entry_mut(*id).series = None;
                }
            }
            to.metrics.appended(appended);
        }
    }
}
