//! The rules of keeping readings: what is stored, what is shown, what is forgotten.

use bowline::{
    Code, HandlerError,
    runtime::metric::{Counter, Gauge, Registry},
    sql,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{
    reading::{Batch, Reading, Receipt, is_device},
    repository::{FORGOTTEN_MAX, ReadingRepository, Span},
    rollup::{Rollup, Step},
};

/// The most points of one answer.
pub(crate) const POINTS_MAX: u32 = 10_000;

/// For how long readings are taken.
pub(crate) const READINGS_FOR_MS: i64 = 7 * DAY_MS;

/// For how long they are kept: longer, so that one that is still taken is never gone already, whatever the clocks of
/// replicas say and however long it waits to be stored. It would be rolled up twice.
pub(crate) const READINGS_KEPT_FOR_MS: i64 = READINGS_FOR_MS + HOUR_MS;

/// For how long those are kept that analytics was not told.
pub(crate) const UNTOLD_FOR_MS: i64 = 2 * READINGS_FOR_MS;

/// For how long minutes are kept.
pub(crate) const MINUTES_FOR_MS: i64 = 31 * DAY_MS;

/// For how long hours are kept.
pub(crate) const HOURS_FOR_MS: i64 = 400 * DAY_MS;

const HOUR_MS: i64 = 60 * 60 * 1000;

const DAY_MS: i64 = 24 * HOUR_MS;

/// Keeps readings.
#[derive(Debug)]
pub(crate) struct DataService<R> {
    pub(crate) repository: R,
    /// Told when there is something to tell analytics.
    pub(crate) stored: Notify,
    pub(crate) counts: Counts,
}

/// What became of readings.
#[derive(Debug)]
pub(crate) struct Counts {
    stored: Counter,
    duplicates: Counter,
    refused: Counter,
    /// Those that analytics is to be told.
    pub(crate) untold: Gauge,
    /// Analytics refused them.
    pub(crate) untold_refused: Counter,
    /// Analytics was away for too long.
    untold_forgotten: Counter,
}

impl Counts {
    fn new(metrics: &Registry) -> Self {
        let counter = |outcome| {
            metrics.counter(
                "iot_data_readings_total",
                "Readings that came, by what became of them.",
                &[("outcome", outcome)],
            )
        };
        let untold = |why| {
            metrics.counter(
                "iot_data_untold_total",
                "Readings that analytics will never have, by the reason.",
                &[("why", why)],
            )
        };
        Self {
            stored: counter("stored"),
            duplicates: counter("duplicate"),
            refused: counter("refused"),
            untold: metrics.gauge("iot_data_untold", "Readings that analytics is to be told, at most.", &[]),
            untold_refused: untold("refused"),
            untold_forgotten: untold("forgotten"),
        }
    }

    fn add(&self, receipt: &Receipt) {
        let Receipt { stored, duplicates, refused } = receipt;
        for (counter, count) in
            [(&self.stored, *stored), (&self.duplicates, *duplicates), (&self.refused, refused.len())]
        {
            counter.add(u64::try_from(count).unwrap_or(u64::MAX));
        }
    }
}

/// What part of a series is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// In milliseconds since 1970, included.
    pub(crate) from: i64,
    /// In milliseconds since 1970, excluded.
    pub(crate) to: i64,
    /// Absent: every reading.
    #[serde(default)]
    pub(crate) step: Option<Step>,
}

/// A part of a device's series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Series {
    pub(crate) device: String,
    pub(crate) points: Vec<Point>,
}

/// One of its points.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Point {
    Read {
        at_ms: i64,
        sequence: i64,
        value: f64,
    },
    /// What was read in a step that begins then.
    Rolled {
        at_ms: i64,
        count: i64,
        mean: f64,
        min: f64,
        max: f64,
    },
}

impl<R: ReadingRepository> DataService<R> {
    pub(crate) fn new(repository: R, metrics: &Registry) -> Self {
        Self { repository, stored: Notify::new(), counts: Counts::new(metrics) }
    }

    /// Stores what may be stored of a batch, each reading once. A batch that comes again changes nothing.
    pub(crate) async fn ingest(&self, batch: Batch, now_ms: i64) -> Result<Receipt, HandlerError> {
        let (named, mut receipt) = batch.sift(now_ms, now_ms.saturating_sub(READINGS_FOR_MS))?;
        let stored = self.repository.store(&named).await?;
        receipt.stored = stored.fresh.len();
        for found in &stored.found {
            if let Some(reading) = named.get(&found.name()) {
                receipt.meet(reading, found);
            }
        }
        self.counts.add(&receipt);
        if receipt.stored > 0 {
            self.stored.notify_one();
        }
        Ok(receipt)
    }

    /// A part of a device's series. Of a step it begins with the one in which `from` is.
    pub(crate) async fn series(&self, device: &str, asked: &Asked) -> Result<Series, HandlerError> {
        if !is_device(device) {
            return Err(HandlerError::new(Code::Unprocessable, "device: 1 to 64 letters, digits, - and _"));
        }
        if asked.from < 0 {
            return Err(HandlerError::new(Code::Unprocessable, "from: it is in milliseconds since 1970, not below 0"));
        }
        if asked.from >= asked.to {
            return Err(HandlerError::new(Code::Unprocessable, "from: it has to be before `to`"));
        }
        let from_ms = asked.step.map_or(asked.from, |step| step.begin_ms(asked.from));
        // One more, to see that there are more.
        let span = Span { device, from_ms, to_ms: asked.to, limit: POINTS_MAX + 1 };
        let points: Vec<Point> = match asked.step {
            None => {
                let readings = self.repository.readings(&span).await.map_err(sql::Error::from)?;
                readings.into_iter().map(Point::from).collect()
            }
            Some(step) => {
                let rollups = self.repository.rollups(step, &span).await.map_err(sql::Error::from)?;
                rollups.into_iter().map(Point::from).collect()
            }
        };
        if points.len() > POINTS_MAX as usize {
            let detail = format!("more than {POINTS_MAX} points: ask for less time, or a longer `step` (1m, 1h)");
            return Err(HandlerError::new(Code::Unprocessable, detail));
        }
        Ok(Series { device: device.to_owned(), points })
    }

    /// Forgets what has been kept for long enough; how much it was. What analytics was not told waits for it, but not for
    /// ever.
    pub(crate) async fn forget(&self, now_ms: i64) -> Result<u64, sqlx::Error> {
        let before_ms = |for_ms| now_ms.saturating_sub(for_ms);
        let told = || self.repository.forget_readings(true, before_ms(READINGS_KEPT_FOR_MS));
        let mut forgotten = until_few(told).await?;
        let untold = until_few(|| self.repository.forget_readings(false, before_ms(UNTOLD_FOR_MS))).await?;
        if untold > 0 {
            self.counts.untold_forgotten.add(untold);
            tracing::error!(count = untold, "readings are forgotten that analytics was not told");
        }
        forgotten += untold;
        for (step, for_ms) in [(Step::Minute, MINUTES_FOR_MS), (Step::Hour, HOURS_FOR_MS)] {
            forgotten += until_few(|| self.repository.forget_rollups(step, before_ms(for_ms))).await?;
        }
        Ok(forgotten)
    }
}

/// Forgets again and again, until there was no more; how much it was.
async fn until_few<F: Future<Output = Result<u64, sqlx::Error>>>(
    mut forget: impl FnMut() -> F,
) -> Result<u64, sqlx::Error> {
    let mut forgotten = 0;
    loop {
        let count = forget().await?;
        forgotten += count;
        if count < u64::from(FORGOTTEN_MAX) {
            return Ok(forgotten);
        }
    }
}

impl From<Reading> for Point {
    fn from(Reading { device: _, sequence, at_ms, value }: Reading) -> Self {
        Self::Read { at_ms, sequence, value }
    }
}

impl From<Rollup> for Point {
    #[expect(clippy::cast_precision_loss, reason = "nobody counts 2⁵³ readings in an hour")]
    fn from(Rollup { from_ms, count, total, lowest, highest }: Rollup) -> Self {
        Self::Rolled { at_ms: from_ms, count, mean: total / count as f64, min: lowest, max: highest }
    }
}
