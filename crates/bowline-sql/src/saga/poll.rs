//! Who works on which saga: what is due is looked for, and each is worked on by one task of one process.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bowline_runtime::time::{self, Instant};
use futures_util::FutureExt as _;
use tokio::sync::watch;

use super::{FRESH_MAX, Shared, definition::Erased, lock, row::Kept};
use crate::{
    Error,
    db::{Db, Kind, Query},
    ms, now_ms,
    relay::chain,
};

/// How often sagas are counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// How often those are looked for that ended long ago, and how many are deleted at once.
const DELETE_EVERY: Duration = Duration::from_mins(1);
const DELETED_AT_ONCE: usize = 1000;

/// How many such steps are told at once.
const UNKNOWN_MAX: usize = 16;

/// How long it waits after a panic before it looks again.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// How long it may take to leave sagas to others at the end.
const RELEASE_MAX: Duration = Duration::from_millis(500);

/// How often it is told which sagas wait at a step that their definition does not have.
const TELL_UNKNOWN_EVERY: Duration = Duration::from_mins(1);

/// A task's claim on a saga within this process; it ends when this is dropped.
struct Running<DB: Db> {
    shared: Arc<Shared<DB>>,
    id: String,
    ended: watch::Sender<Option<Arc<Kept>>>,
}

impl<DB: Db> Drop for Running<DB> {
    fn drop(&mut self) {
        let mut running = lock(&self.shared.running);
        running.remove(&self.id);
        if running.is_empty() {
            self.shared.idle.notify_one();
        }
    }
}

impl<DB: Db> Shared<DB> {
    pub(super) fn definition(&self, name: &str) -> Result<&Erased<DB>, Error> {
        self.definitions.get(name).ok_or_else(|| Error::NoDefinition { name: name.to_owned() })
    }

    /// It was begun here, and nobody else works on it before its lease ends.
    pub(super) fn remember(&self, id: &str) {
        let mut fresh = lock(&self.fresh);
        if fresh.len() < FRESH_MAX {
            fresh.insert(id.to_owned(), time::now());
        }
    }

    /// Something may be in the outbox.
    pub(super) fn committed(&self) {
        if let Some(outbox) = &self.outbox {
            outbox.notify();
        }
    }

    /// Works on a saga, or waits for the task that does; the saga, where it has ended by then.
    pub(super) async fn work_on(self: &Arc<Self>, id: &str, until: Instant) -> Option<Arc<Kept>> {
        let running = lock(&self.running).get(id).cloned();
        let mut ended = running.or_else(|| self.start(id))?;
        let ended = time::timeout_at(until, ended.wait_for(Option::is_some)).await.ok()?.ok()?;
        ended.clone()
    }

    /// Has a task work on it; none where one does, or there are too many.
    fn start(self: &Arc<Self>, id: &str) -> Option<watch::Receiver<Option<Arc<Kept>>>> {
        let (ended, receiver) = watch::channel(None);
        let mut tasks = lock(&self.tasks);
        {
            let mut running = lock(&self.running);
            let is_full = running.len() >= self.settings.concurrency;
            if is_full || running.contains_key(id) || self.is_over.load(Ordering::SeqCst) {
                return None;
            }
            running.insert(id.to_owned(), receiver.clone());
        }
        let running = Running { shared: Arc::clone(self), id: id.to_owned(), ended };
        while tasks.try_join_next().is_some() {}
        tasks.spawn(running.work());
        Some(receiver)
    }

    /// Looks for what is due until the drain, whatever happens.
    pub(super) async fn poll(self: Arc<Self>) {
        while AssertUnwindSafe(self.clone().try_poll()).catch_unwind().await.is_err() {
            tracing::error!("looking for sagas that are due panicked, it goes on");
            time::sleep(AFTER_PANIC).await;
        }
    }

    async fn try_poll(self: Arc<Self>) {
        let (mut counted, mut deleted, mut told) = (None, None, None);
        while !self.is_draining.load(Ordering::SeqCst) {
            if let Err(error) = self.start_due().await {
                tracing::warn!(error = %chain(&error), "sagas that are due cannot be looked for, it is tried again");
            }
            if is_time(&mut counted, COUNT_EVERY)
                && let Err(error) = self.count().await
            {
                tracing::debug!(error = %chain(&error), "sagas cannot be counted");
            }
            if is_time(&mut told, TELL_UNKNOWN_EVERY)
                && let Err(error) = self.tell_unknown().await
            {
                tracing::debug!(error = %chain(&error), "sagas at unknown steps cannot be looked for");
            }
            if is_time(&mut deleted, DELETE_EVERY) {
                match self.delete_old().await {
                    Ok(true) => deleted = None,
                    Ok(false) => {}
                    Err(error) => tracing::warn!(error = %chain(&error), "old sagas cannot be deleted"),
                }
            }
            time::timeout(self.settings.poll, self.woken.notified()).await.ok();
        }
    }

    /// Works on nothing new that nobody here asks for.
    pub(super) fn begin_drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.woken.notify_one();
    }

    /// Waits for what is worked on, stops what is not done in time, and leaves all that was ours to others.
    pub(super) async fn drain(&self, grace: Duration) {
        self.begin_drain();
        let idle = async {
            while !lock(&self.running).is_empty() {
                self.idle.notified().await;
            }
        };
        let is_in_time = time::timeout(grace, idle).await.is_ok();
        let mut tasks = {
            let mut tasks = lock(&self.tasks);
            // Who waits for a saga waits for another replica from now on.
            self.is_over.store(true, Ordering::SeqCst);
            std::mem::take(&mut *tasks)
        };
        tasks.shutdown().await;
        match time::timeout(RELEASE_MAX, self.release_all()).await {
            Ok(Ok(())) if is_in_time => {}
            Ok(Ok(())) => tracing::warn!(?grace, "steps of sagas were not done in the grace, other replicas go on"),
            Ok(Err(error)) => {
                tracing::warn!(error = %chain(&error), "sagas cannot be left to others before their leases end");
            }
            Err(_) => tracing::warn!("sagas were not left to others in time, their leases end"),
        }
    }

    async fn release_all(&self) -> Result<(), Error> {
        let sql = "UPDATE bowline_sagas SET lease_ms = 0, owner = NULL WHERE owner = $1 AND ended_ms IS NULL";
        let mut connection = self.pool.acquire().await?;
        DB::run(&mut connection, Query::new(sql).text(&self.owner)).await?;
        Ok(())
    }

    async fn start_due(self: &Arc<Self>) -> Result<(), Error> {
        let lease = self.settings.lease;
        lock(&self.fresh).retain(|_, begun| begun.elapsed() < lease);
        let limit = self.settings.concurrency.saturating_mul(2);
        let due = {
            let mut connection = self.pool.acquire().await?;
            Kept::due::<DB>(&mut connection, &self.known, &self.owner, now_ms(), limit).await?
        };
        for id in due {
            self.start(&id);
        }
        Ok(())
    }

    async fn count(&self) -> Result<(), Error> {
        let sql = "SELECT name, COUNT(*), COUNT(CASE WHEN is_stuck = 1 THEN 1 END), MIN(begun_ms) FROM bowline_sagas \
                   WHERE ended_ms IS NULL GROUP BY name";
        let mut connection = self.pool.acquire().await?;
        let query = Query::new(sql).answers(&[Kind::Text, Kind::Int, Kind::Int, Kind::Int]);
        let rows = DB::fetch(&mut connection, query).await?;
        let now = now_ms();
        let counts = rows.into_iter().map(|mut row| {
            let (name, running, stuck, begun_ms) = (row.text(), row.int(), row.int(), row.int());
            (name, (running, stuck, now.saturating_sub(begun_ms).max(0) / 1000))
        });
        self.metrics.set_running(&counts.collect());
        Ok(())
    }

    /// What only a later or an earlier release can go on with is told: perhaps there is none any more.
    async fn tell_unknown(&self) -> Result<(), Error> {
        let sql = format!(
            "SELECT name, step, COUNT(*) FROM bowline_sagas WHERE ended_ms IS NULL AND due_ms <= $1 AND lease_ms <= $1 \
             AND name IN ({}) AND NOT {} GROUP BY name, step LIMIT {UNKNOWN_MAX}",
            self.names, self.known
        );
        let query = Query::made(sql).int(now_ms()).answers(&[Kind::Text, Kind::Text, Kind::Int]);
        let mut connection = self.pool.acquire().await?;
        for mut row in DB::fetch(&mut connection, query).await? {
            let (saga, step, count) = (row.text(), row.text(), row.int());
            tracing::warn!(saga, step, count, "sagas wait at a step that their definition does not have");
        }
        Ok(())
    }

    /// Whether there may be more. What is due is not to wait for all of them.
    async fn delete_old(&self) -> Result<bool, Error> {
        let sql = format!(
            "DELETE FROM bowline_sagas WHERE id IN \
             (SELECT id FROM bowline_sagas WHERE ended_ms < $1 LIMIT {DELETED_AT_ONCE})"
        );
        let before = now_ms().saturating_sub(ms(self.settings.keep));
        let mut connection = self.pool.acquire().await?;
        let deleted = DB::run(&mut connection, Query::made(sql).int(before)).await?;
        Ok(deleted >= DELETED_AT_ONCE as u64)
    }

    /// The saga, if this process may work on it now, and whether nothing was tried since it was kept.
    async fn take(&self, id: &str) -> Result<Option<(Kept, bool)>, Error> {
        let mut connection = self.pool.acquire().await?;
        let Some(mut kept) = Kept::load::<DB>(&mut connection, id).await? else { return Ok(None) };
        let is_ours = kept.owner.as_ref() == Some(&self.owner);
        if kept.ended_ms.is_some() || (lock(&self.fresh).remove(id).is_some() && is_ours) {
            return Ok(Some((kept, true)));
        }
        let now = now_ms();
        // One at a step that is not known here is left as it is, to the replicas that know the step.
        let is_known = self.definitions.get(&kept.name).is_some_and(|definition| kept.at.saga(definition).is_some());
        if kept.at.due_ms() > now || (kept.lease_ms > now && !is_ours) || !is_known {
            return Ok(None);
        }
        let lease_ms = now.saturating_add(ms(self.settings.lease));
        Ok(kept.claim::<DB>(&mut connection, &self.owner, now, lease_ms).await?.then_some((kept, false)))
    }

    async fn work(&self, id: &str) -> Result<Option<Kept>, Error> {
        let Some((kept, is_fresh)) = self.take(id).await? else { return Ok(None) };
        if kept.ended_ms.is_some() {
            return Ok(Some(kept));
        }
        let definition = self.definition(&kept.name)?;
        let Some(saga) = kept.at.saga(definition) else { return Ok(None) };
        self.drive(definition, kept, saga, is_fresh).await
    }
}

impl<DB: Db> Running<DB> {
    async fn work(self) {
        match Box::pin(self.shared.work(&self.id)).await {
            Ok(ended) => {
                self.ended.send_replace(ended.map(Arc::new));
            }
            Err(error) => {
                tracing::warn!(id = self.id, error = %chain(&error), "a saga could not be worked on, it is tried again");
            }
        }
    }
}

/// Whether something is to be done again, and then notes that it is.
fn is_time(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_time = last.is_none_or(|last| last.elapsed() >= every);
    if is_time {
        *last = Some(time::now());
    }
    is_time
}
