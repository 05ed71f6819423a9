//! Sagas: changes of several services that end done or undone, kept in the database of the service that began them.
//!
//! The transition table is `bowline_messaging::saga`; here is what it runs on.

mod definition;
mod drive;
mod info;
mod metrics;
mod poll;
mod row;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use bowline_messaging::{
    ID_BYTES_MAX,
    saga::{Effect, Event, Saga},
};
use bowline_runtime::{
    metric::Registry,
    task::JoinSet,
    time::{self, Instant},
};
use bowline_telemetry::{Tracer, current};
use serde::{Serialize, de::DeserializeOwned};
use sqlx::Pool;
use tokio::sync::{Notify, watch};

pub use definition::{Definition, STEPS_MAX, StepError};
pub use info::{Filter, HISTORY_MAX, Happened, Phase, SagaInfo, What};

use crate::{
    Error, Outbox,
    db::{Db, Tx},
    lease::owner,
    ms, now_ms, trace,
};
use definition::Erased;
use metrics::Metrics;
use row::{Kept, Stored};

/// The most bytes that the data of a saga have as JSON.
pub const DATA_BYTES_MAX: usize = 1 << 20;

/// How many sagas a process works on at a time, if nothing else is said.
pub const RUNNING_MAX: usize = 256;

/// The most sagas of one page.
pub const PAGE_MAX: usize = 1000;

/// How many sagas are remembered as begun here and not worked on yet.
const FRESH_MAX: usize = 65_536;

/// The longest that [`Sagas::finish`] waits before it looks again at a saga that another process works on.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(500);

/// The sagas of a database, and this process's part in their work. Cheap to clone; when the last clone is dropped, the
/// work of this process stops where it is, and other replicas, or its next start, take it up when its leases end.
pub struct Sagas<DB: Db> {
    shared: Arc<Shared<DB>>,
    stop: Arc<Stop<DB>>,
}

/// Collects what [`Sagas`] needs.
pub struct SagasBuilder<DB: Db> {
    pool: Pool<DB>,
    definitions: BTreeMap<String, Result<Erased<DB>, Error>>,
    settings: Settings,
    outbox: Option<Outbox<DB>>,
    tracer: Tracer,
    registry: Registry,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    poll: Duration,
    lease: Duration,
    keep: Duration,
    concurrency: usize,
}

/// What [`Sagas::begin`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// False where a saga with that id was there.
    pub is_new: bool,
}

/// How a saga ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome<T> {
    /// Every step is done.
    Done(T),
    /// Everything that was done is undone.
    Compensated {
        /// The data as the last step or compensation left them.
        data: T,
        /// Why.
        reason: String,
    },
    /// It had not ended in the time that the caller gave; it goes on.
    StillRunning,
}

struct Shared<DB: Db> {
    pool: Pool<DB>,
    /// Names this process.
    owner: String,
    definitions: BTreeMap<String, Erased<DB>>,
    /// The names of the definitions, as a list of SQL.
    names: String,
    /// That a saga is at a step that its definition has, as a condition of SQL.
    known: String,
    settings: Settings,
    outbox: Option<Outbox<DB>>,
    tracer: Tracer,
    metrics: Metrics,
    /// What this process works on, and where it is told how that ended.
    running: Mutex<BTreeMap<String, watch::Receiver<Option<Arc<Kept>>>>>,
    /// What was begun here and was not worked on since: nothing of it was tried that is not kept.
    fresh: Mutex<BTreeMap<String, Instant>>,
    tasks: Mutex<JoinSet<()>>,
    woken: Notify,
    /// Nothing is worked on.
    idle: Notify,
    /// Nothing is looked for any more.
    is_draining: AtomicBool,
    /// Nothing is worked on any more.
    is_over: AtomicBool,
}

/// Ends this process's work when it is dropped.
struct Stop<DB: Db>(Arc<Shared<DB>>);

impl<DB: Db> Drop for Stop<DB> {
    fn drop(&mut self) {
        lock(&self.0.tasks).abort_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<DB: Db> SagasBuilder<DB> {
    /// A kind of saga that can be begun, and is worked on.
    pub fn saga<T>(mut self, definition: Definition<DB, T>) -> Self
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        self.definitions.insert(definition.name.clone(), definition.erase());
        self
    }

    /// The outbox whose relay is woken when a step is committed.
    pub fn outbox(mut self, outbox: &Outbox<DB>) -> Self {
        self.outbox = Some(outbox.clone());
        self
    }

    /// Where a span of each step goes to.
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.tracer = tracer;
        self
    }

    /// Where it is counted.
    pub fn metrics(mut self, registry: &Registry) -> Self {
        self.registry = registry.clone();
        self
    }

    /// After how long another replica takes over from one that is gone; 10 s, if nothing is said. The clocks of
    /// replicas should agree to well within it: where they do not, a saga changes hands without need.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.settings.lease = lease;
        self
    }

    /// How often it looks for what is due; 500 ms, if nothing is said.
    pub fn poll(mut self, poll: Duration) -> Self {
        self.settings.poll = poll;
        self
    }

    /// For how long a saga stays that has ended; 7 days, if nothing is said.
    pub fn keep(mut self, keep: Duration) -> Self {
        self.settings.keep = keep;
        self
    }

    /// How many this process works on at a time; [`RUNNING_MAX`], if nothing is said.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.settings.concurrency = concurrency.max(1);
        self
    }

    /// Starts working on what is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] and [`Error::Message`] where a definition breaks a rule.
    ///
    /// # Panics
    /// Outside a runtime.
    pub fn start(self) -> Result<Sagas<DB>, Error> {
        let Self { pool, definitions, settings, outbox, tracer, registry } = self;
        let definitions: BTreeMap<_, _> =
            definitions.into_iter().map(|(name, definition)| Ok((name, definition?))).collect::<Result<_, Error>>()?;
        if definitions.is_empty() {
            return Err(Error::Invalid { what: "sagas", rule: "there is at least one definition" });
        }
        // Names have no quotes: `check_name` said so.
        let quoted = |name: &String| format!("'{name}'");
        let names: Vec<String> = definitions.keys().map(quoted).collect();
        let known = definitions.iter().map(|(name, definition)| {
            let steps: Vec<String> = definition.steps.iter().map(|step| quoted(&step.name)).collect();
            format!("(name = {} AND (step IS NULL OR step IN ({})))", quoted(name), steps.join(", "))
        });
        let known: Vec<String> = known.collect();
        let shared = Arc::new(Shared {
            metrics: Metrics::new(&registry, definitions.keys()),
            pool,
            owner: owner(),
            names: names.join(", "),
            known: format!("({})", known.join(" OR ")),
            definitions,
            settings,
            outbox,
            tracer,
            running: Mutex::default(),
            fresh: Mutex::default(),
            tasks: Mutex::default(),
            woken: Notify::new(),
            idle: Notify::new(),
            is_draining: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        lock(&shared.tasks).spawn(Arc::clone(&shared).poll());
        Ok(Sagas { stop: Arc::new(Stop(Arc::clone(&shared))), shared })
    }
}

impl<DB: Db> Sagas<DB> {
    /// Sagas of a database whose tables [are there](crate::migrate).
    pub fn builder(pool: Pool<DB>) -> SagasBuilder<DB> {
        SagasBuilder {
            pool,
            definitions: BTreeMap::new(),
            settings: Settings {
                poll: Duration::from_millis(500),
                lease: Duration::from_secs(10),
                keep: Duration::from_hours(24 * 7),
                concurrency: RUNNING_MAX,
            },
            outbox: None,
            tracer: Tracer::disabled(),
            registry: Registry::default(),
        }
    }

    /// Begins a saga in the caller's transaction, which also does its first steps, as far as they are local. It exists
    /// when the transaction is committed, and only then. Where there is one with that id, nothing changes.
    ///
    /// # Errors
    /// [`Error::Taken`] where the id is that of a saga of another definition. After an error, roll the transaction back.
    ///
    /// # Cancel safety
    /// Roll the transaction back.
    pub async fn begin<T: Serialize>(&self, tx: &mut Tx<DB>, name: &str, id: &str, data: &T) -> Result<Begun, Error> {
        let definition = self.shared.definition(name)?;
        if id.is_empty() || id.len() > ID_BYTES_MAX || id.contains('\0') {
            return Err(Error::Invalid { what: "saga id", rule: "it has 1 to 256 bytes" });
        }
        let data = serde_json::to_string(data).map_err(Error::Data)?;
        if data.len() > DATA_BYTES_MAX {
            return Err(Error::Invalid { what: "saga data", rule: "as JSON they have at most 1 MiB" });
        }
        let now = now_ms();
        let deadline = definition.within.map_or(i64::MAX, |within| now.saturating_add(ms(within)));
        let saga = Saga::begin(now, deadline);
        let mut kept = Kept {
            id: id.to_owned(),
            name: name.to_owned(),
            at: Stored::of(saga, definition),
            data,
            reason: None,
            history: Vec::new(),
            traceparent: current::context().map(trace::format),
            owner: Some(self.shared.owner.clone()),
            lease_ms: now.saturating_add(ms(self.shared.settings.lease)),
            version: 1,
            begun_ms: now,
            ended_ms: None,
        };
        if !kept.insert::<DB>(tx).await? {
            return match Kept::load::<DB>(tx, id).await? {
                Some(other) if other.name != name => Err(Error::Taken { id: id.to_owned(), name: other.name }),
                _ => Ok(Begun { is_new: false }),
            };
        }
        self.shared.remember(id);
        let (saga, effect) = definition.advance(&mut kept, saga, Event::Look, None);
        if definition.is_local(effect) {
            let settled = self.shared.settle_in(tx, definition, &mut kept, saga, effect).await?;
            // Counted although the caller may roll back: nobody comes by it again.
            if let Some((_, Effect::Ended)) = settled {
                self.shared.metrics.ended(&kept);
            }
        }
        Ok(Begun { is_new: true })
    }

    /// Commits, has what was begun worked on at once, and wakes the relay of the [outbox](SagasBuilder::outbox). A
    /// transaction that is committed otherwise is found when this process looks next.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    pub async fn commit(&self, tx: Tx<DB>) -> Result<(), Error> {
        tx.commit().await?;
        self.shared.committed();
        self.shared.woken.notify_one();
        Ok(())
    }

    /// Works on a saga until it has ended, or waits for whoever does, for at most that time. It goes on after that, in
    /// the background.
    ///
    /// # Errors
    /// [`Error::NoSaga`]; [`Error::Data`] where the data are no `T`.
    ///
    /// # Cancel safety
    /// The saga goes on.
    pub async fn finish<T: DeserializeOwned>(&self, id: &str, within: Duration) -> Result<Outcome<T>, Error> {
        let until = time::now() + within;
        let mut pause = Duration::from_millis(5);
        loop {
            if let Some(ended) = self.shared.work_on(id, until).await {
                return outcome(&ended);
            }
            let Some(kept) = self.load(id).await? else { return Err(Error::NoSaga { id: id.to_owned() }) };
            if kept.ended_ms.is_some() {
                return outcome(&kept);
            }
            if time::now() >= until {
                return Ok(Outcome::StillRunning);
            }
            time::sleep_until(until.min(time::now() + pause)).await;
            pause = (pause * 2).min(LOOK_EVERY_MAX);
        }
    }

    /// Up to `limit` (at most [`PAGE_MAX`]) sagas, the youngest first, without their [history](SagaInfo::history).
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn list(&self, filter: &Filter, limit: usize) -> Result<Vec<SagaInfo>, Error> {
        let mut connection = self.shared.pool.acquire().await?;
        Kept::list::<DB>(&mut connection, filter, limit.min(PAGE_MAX)).await
    }

    /// What is known of a saga.
    ///
    /// # Errors
    /// [`Error::NoSaga`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn get(&self, id: &str) -> Result<SagaInfo, Error> {
        self.load(id).await?.map(Kept::info).ok_or_else(|| Error::NoSaga { id: id.to_owned() })
    }

    /// Has a saga that waits for its next try tried at once; false where it has ended, or somebody works on it now.
    ///
    /// # Errors
    /// [`Error::NoSaga`]; [`Error::NoDefinition`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens.
    pub async fn retry(&self, id: &str) -> Result<bool, Error> {
        let mut kept = self.load(id).await?.ok_or_else(|| Error::NoSaga { id: id.to_owned() })?;
        let definition = self.shared.definition(&kept.name)?;
        let is_idle = kept.ended_ms.is_none() && kept.lease_ms <= now_ms();
        let Some(saga) = kept.at.saga(definition).filter(|_| is_idle) else { return Ok(false) };
        let _effect = definition.advance(&mut kept, saga, Event::Retry, None);
        let mut connection = self.shared.pool.acquire().await?;
        let is_kept = kept.keep::<DB>(&mut connection).await?;
        self.shared.woken.notify_one();
        Ok(is_kept)
    }

    /// Looks for nothing more that is due. What is begun here, and waited for by [`Sagas::finish`], is still worked on.
    pub fn begin_drain(&self) {
        self.shared.begin_drain();
    }

    /// Ends this process's part in the work: waits for what is worked on, as long as the grace lasts, then stops it, and
    /// leaves all that is this process's to other replicas, which go on at once. Nothing is worked on here after that.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the work as it is; it can be drained again.
    pub async fn drain(&self, grace: Duration) {
        self.shared.drain(grace).await;
    }

    async fn load(&self, id: &str) -> Result<Option<Kept>, Error> {
        let mut connection = self.shared.pool.acquire().await?;
        Kept::load::<DB>(&mut connection, id).await
    }
}

fn outcome<T: DeserializeOwned>(ended: &Kept) -> Result<Outcome<T>, Error> {
    let data = definition::read(&ended.data).map_err(Error::Data)?;
    if ended.is_done() {
        return Ok(Outcome::Done(data));
    }
    Ok(Outcome::Compensated { data, reason: ended.reason.clone().unwrap_or_default() })
}

impl<DB: Db> Clone for Sagas<DB> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), stop: Arc::clone(&self.stop) }
    }
}

impl<DB: Db> fmt::Debug for Sagas<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sagas").field("names", &self.shared.names).finish_non_exhaustive()
    }
}

impl<DB: Db> fmt::Debug for SagasBuilder<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SagasBuilder").field("settings", &self.settings).finish_non_exhaustive()
    }
}
