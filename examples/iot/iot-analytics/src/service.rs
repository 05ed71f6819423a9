//! The rules of judging: a batch is answered when all that came of it is durable, and not much later for want of a score.

use std::{sync::Arc, time::Duration};

use bowline::{
    Code, HandlerError, SpanKind, Tracer, current,
    runtime::{metric::Registry, task, time},
};
use iot_detect::{Change, features::Features};
use serde::Deserialize;
use tokio::sync::{Mutex, Semaphore};

use crate::{
    anomaly::{Anomalies, Anomaly, Asked, Noted},
    counts::Counts,
    fleet::{DEVICES_MAX, Fleet, Name, Work},
    reading::{Batch, Receipt, is_device},
    repository::{AnalyticsRepository, Error, FORGOTTEN_MAX},
    rules::Rules,
    scorer::{Scored, Scorer, WINDOWS_MAX},
};

/// The most that a batch waits for scores. The call's own policy says less; this also bounds the wait for an instance.
const SCORED_WITHIN: Duration = Duration::from_millis(150);

/// For how long anomalies are kept that are over.
pub(crate) const KEPT_FOR_MS: i64 = 400 * iot_detect::DAY_MS;

/// Anomalies of an answer, where nothing else is asked for; and at most.
const LISTED: i64 = 100;
const LISTED_MAX: i64 = 1000;

/// Batches that are judged, or wait for it, at once: beyond them callers come again.
const TAKEN_AT_ONCE_MAX: usize = 2;

/// Devices, and rows of the journal, that are read at once.
const DEVICES_READ: i64 = 500;
const ROWS_READ: i64 = 5000;

/// The rules now.
pub(crate) type CurrentRules = Box<dyn Fn() -> Arc<Rules> + Send + Sync>;

/// Judges readings.
pub(crate) struct AnalyticsService<R, S> {
    repository: R,
    scorer: S,
    rules: CurrentRules,
    tracer: Tracer,
    counts: Counts,
    taking: Arc<Semaphore>,
    held: Mutex<Held>,
}

/// What device tells of one that is there no longer.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Removed {
    pub(crate) device: String,
}

/// The devices, and up to which number of the journal they are; none where that is not known.
struct Held {
    fleet: Option<(Fleet, i64)>,
}

impl<R: AnalyticsRepository, S: Scorer> AnalyticsService<R, S> {
    pub(crate) fn new(repository: R, scorer: S, rules: CurrentRules, tracer: &Tracer, metrics: &Registry) -> Self {
        let (taking, held) = (Arc::new(Semaphore::new(TAKEN_AT_ONCE_MAX)), Mutex::new(Held { fleet: None }));
        Self { repository, scorer, rules, tracer: tracer.clone(), counts: Counts::new(metrics), taking, held }
    }

    /// Reads what is known of devices.
    pub(crate) async fn begin(&self) -> Result<(), Error> {
        let mut held = self.held.lock().await;
        held.fleet = Some(self.read().await?);
        Ok(())
    }

    /// Judges a batch. It answers when that is durable; a batch that comes again changes nothing. Whoever stops waiting
    /// does not stop it. While the database stands still, who comes again is refused: so what waits is bounded.
    pub(crate) async fn take(self: Arc<Self>, batch: Batch, now_ms: i64) -> Result<Receipt, HandlerError> {
        let (readings, mut receipt) = batch.sift(now_ms)?;
        let Ok(permit) = self.taking.clone().try_acquire_owned() else {
            return Err(HandlerError::new(Code::Unavailable, "batches that came before are not kept yet: come again"));
        };
        let taking = async move {
            let _permit = permit;
            let rules = (self.rules)();
            let mut held = self.held.lock().await;
            let (mut fleet, number) = self.taken(&mut held).await?;
            let work = fleet.take(readings, rules.terms, now_ms, &mut receipt);
            let number = self.keep(number, work, &rules).await?;
            self.counts.readings(&receipt);
            self.counts.devices(fleet.len());
            held.fleet = Some((fleet, number));
            Ok::<_, Error>(receipt)
        };
        let taken = task::spawn(current::inherit(taking)).await.map_err(HandlerError::internal)?;
        Ok(taken?)
    }

    /// Finds devices that are missed. It is to be called often.
    pub(crate) async fn look(self: Arc<Self>, now_ms: i64) -> Result<(), HandlerError> {
        let looking = async move {
            let rules = (self.rules)();
            let mut held = self.held.lock().await;
            let (mut fleet, number) = self.taken(&mut held).await?;
            let work = fleet.look(now_ms, rules.terms);
            let number = self.keep(number, work, &rules).await?;
            held.fleet = Some((fleet, number));
            Ok::<_, Error>(())
        };
        let looked = task::spawn(looking).await.map_err(HandlerError::internal)?;
        Ok(looked?)
    }

    /// Forgets a device that was removed, and ends what was wrong with it, in the transaction that notes the message: a
    /// second delivery changes nothing, also where there is a device of that id again.
    pub(crate) async fn remove(
        self: Arc<Self>,
        message_id: String,
        removed: Removed,
        now_ms: i64,
    ) -> Result<(), HandlerError> {
        let name = Name::from(removed.device);
        let removing = async move {
            let mut held = self.held.lock().await;
            let (mut fleet, mut number) = self.taken(&mut held).await?;
            if let Some(next) = self.repository.remove(number, &message_id, &name, now_ms).await? {
                number = next;
                fleet.remove(&name, now_ms);
                self.counts.removed(&name);
                self.counts.devices(fleet.len());
            }
            held.fleet = Some((fleet, number));
            Ok::<_, Error>(())
        };
        let removed = task::spawn(current::inherit(removing)).await.map_err(HandlerError::internal)?;
        Ok(removed?)
    }

    /// Anomalies, by their ids.
    pub(crate) async fn anomalies(&self, asked: &Asked) -> Result<Anomalies, HandlerError> {
        let refuse = |detail: &str| Err(HandlerError::new(Code::Unprocessable, detail));
        if asked.device.as_deref().is_some_and(|device| !is_device(device)) {
            return refuse("device: 1 to 64 letters, digits, - and _");
        }
        let limit = asked.limit.unwrap_or(LISTED);
        if !(1..=LISTED_MAX).contains(&limit) {
            return refuse("limit: 1 to 1000");
        }
        Ok(Anomalies { anomalies: self.repository.anomalies(asked, limit).await? })
    }

    /// Forgets what was over for long enough; how much it was.
    pub(crate) async fn forget(&self, now_ms: i64) -> Result<u64, Error> {
        let mut forgotten = 0;
        loop {
            let count = self.repository.forget(now_ms.saturating_sub(KEPT_FOR_MS)).await?;
            forgotten += count;
            if count < FORGOTTEN_MAX.unsigned_abs() {
                return Ok(forgotten);
            }
        }
    }

    /// The devices, taken out: they are put back when what is done to them is durable. Whatever fails in between, they are
    /// read anew.
    async fn taken(&self, held: &mut Held) -> Result<(Fleet, i64), Error> {
        match held.fleet.take() {
            Some(fleet) => Ok(fleet),
            None => self.read().await,
        }
    }

    async fn read(&self) -> Result<(Fleet, i64), Error> {
        let rules = (self.rules)();
        let mut number = self.repository.number().await?;
        let mut fleet = Fleet::new(DEVICES_MAX);
        let mut after = String::new();
        loop {
            let devices = self.repository.devices(&after, DEVICES_READ).await?;
            let Some(last) = devices.last() else { break };
            last.name.as_ref().clone_into(&mut after);
            for device in devices {
                fleet.restore(device.name, device.terms, device.state.as_deref());
            }
        }
        let mut after = 0;
        loop {
            let entries = self.repository.journal(after, ROWS_READ).await?;
            let Some((last, _)) = entries.last() else { break };
            after = *last;
            for (_, entry) in &entries {
                fleet.replay(entry);
            }
        }
        let open = self.repository.open().await?;
        self.counts.begin(&open);
        self.counts.devices(fleet.len());
        let work = Work { told: fleet.replayed(&open), ..Work::default() };
        if !work.is_empty() {
            number = self.keep(number, work, &rules).await?;
        }
        while let Some(work) = fleet.keep_anew(rules.terms) {
            number = self.keep(number, work, &rules).await?;
        }
        Ok((fleet, number))
    }

    /// Makes all that was done durable, with scores for what began; the last number then.
    async fn keep(&self, number: i64, work: Work, rules: &Rules) -> Result<i64, Error> {
        if work.is_empty() {
            return Ok(number);
        }
        let windows: Vec<Features> = work.told.iter().filter_map(|(_, told)| told.features.clone()).collect();
        let scored = if windows.is_empty() { None } else { self.score(&windows).await };
        let noted = note(&work, scored.as_ref(), rules);
        let number = self.repository.keep(number, &work, &noted).await?;
        for noted in &noted {
            match noted {
                Noted::Began(Anomaly { device, kind, by, .. }) => {
                    self.counts.began(&device.as_str().into(), *kind, by != FALLBACK);
                }
                Noted::Ended { device, kind, .. } => self.counts.ended(device, *kind),
            }
        }
        Ok(number)
    }

    /// What the model says of the first so many; none where it does not say it in time, which the trace tells.
    async fn score(&self, windows: &[Features]) -> Option<Scored> {
        let asked = &windows[..windows.len().min(WINDOWS_MAX)];
        let scored = match time::timeout(SCORED_WITHIN, self.scorer.score(asked)).await {
            Ok(scored) => scored,
            Err(_) => Err("ml did not answer in time".to_owned()),
        };
        match scored {
            Ok(scored) if asked.len() == windows.len() => Some(scored),
            Ok(scored) => {
                self.tell_fallback(format!("{} anomalies at once are more than are scored", windows.len()));
                Some(scored)
            }
            Err(why) => {
                self.tell_fallback(why);
                None
            }
        }
    }

    fn tell_fallback(&self, why: String) {
        let mut span = self.tracer.start("analytics.fallback", SpanKind::Internal, current::context());
        span.set("analytics.fallback.why", why);
    }
}

/// Who scored what no model did.
const FALLBACK: &str = "fallback";

/// What is kept of what began and ended. Without a model's score it is the detector's own: a half at its limit, and more
/// the further beyond.
fn note(work: &Work, scored: Option<&Scored>, rules: &Rules) -> Vec<Noted> {
    let mut scores = scored.into_iter().flat_map(|scored| scored.scores.iter().map(|score| (*score, &*scored.version)));
    let noted = work.told.iter().map(|(device, told)| {
        let event = &told.event;
        if event.change == Change::Ended {
            return Noted::Ended { device: device.clone(), kind: event.kind, at_ms: event.at_ms };
        }
        let (score, by) = scores.next().unwrap_or((event.score / (1.0 + event.score), FALLBACK));
        Noted::Began(Anomaly {
            id: 0,
            device: device.to_string(),
            kind: event.kind,
            began_ms: event.at_ms,
            ended_ms: None,
            value: event.value,
            expected: event.expected,
            score,
            severity: rules.severity(score),
            by: by.to_owned(),
        })
    });
    noted.collect()
}
