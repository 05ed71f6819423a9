//! The audit: whatever changes the store says who did it, in the same transaction.
//!
//! [`Audited`] is a store around another one. Each of its transactions that changes something also puts
//! an entry at `audit/CLASS/ID`: there is an entry exactly if there is the change. Ids grow with time;
//! keys hold their complement, so that the newest comes first. Of messages, which are not in the store, the entry comes
//! before the change, which may fail. Not recorded are renewals and the end of
//! leases, which nobody decides, sessions of the console, which change nothing, acknowledgements of configuration, the course of a rollout that somebody
//! ordered, certificates that are renewed or issued within this process, and the removal of old entries.

mod entry;
mod kept;
pub(crate) mod list;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bowline_provider_remote::wire::{AuditActor, AuditChange, AuditClass, ChangeKind};
use bowline_runtime::{
    BoxFuture, task,
    time::{self, sleep},
};
use bowline_store::{
    Compare, Entry, Error, Expect, HistoryId, LeaseId, Op, Page, Revision, Store, TXN_OPS_MAX, Txn, Watch,
};
use tokio::sync::Notify;

use self::kept::{Ids, Kept};
use crate::actor::{self, Acting};

pub(crate) use entry::Record;

/// Under which keys the entries are.
const PREFIX: &str = "audit/";
/// What nobody decides and many do: each instance tells which configuration it runs, and renews its
/// certificate. Who is let in by a join token is recorded, since the token is used up. How alerts are, and who was
/// told of them, follows from rules; silences are somebody's. Whoever may only read opens as many sessions of the
/// console as they like: their entries would push out those of changes.
const UNRECORDED: [&str; 6] = [
    "access/sessions/",
    "config/ack/",
    "mesh/certificates/",
    "alerts/v1/active/",
    "alerts/v1/ledger/",
    "alerts/v1/deliveries/",
];
/// Where this process keeps how far rollouts are: what somebody orders is recorded, what follows from that is not.
const DEPLOY: &str = "deploy/";
/// Under which keys the registry is.
const REGISTRY: &str = "registry/";
/// The most operations of a transaction, beside which its entry has place.
const OPS_MAX: usize = TXN_OPS_MAX - 1;
/// How often it is looked anew what a transaction of deletions would change.
const ATTEMPTS_MAX: usize = 16;
/// The wait before old entries are removed after that failed.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A store whose changes are recorded.
pub(crate) struct Audited {
    store: Arc<dyn Store>,
    kept: Arc<Mutex<Kept>>,
    /// Told when there are more entries than are kept.
    surplus: Arc<Notify>,
    _pruning: task::Guarded<()>,
}

/// What a transaction of deletions does, under further conditions.
enum Foreseen {
    Change(Compare),
    Nothing(Vec<Compare>),
}

impl Audited {
    /// Records the changes of that store from now on. Its task runs in the current runtime.
    ///
    /// # Errors
    /// When the entries that are there cannot be read.
    pub(crate) async fn open(store: Arc<dyn Store>) -> Result<Self, Error> {
        Self::open_with(store, kept::MAX).await
    }

    /// As [`Audited::open`], with other bounds on the entries of each class.
    async fn open_with(store: Arc<dyn Store>, max: fn(AuditClass) -> usize) -> Result<Self, Error> {
        let mut classes = BTreeMap::new();
        for class in AuditClass::ALL {
            classes.insert(class.as_str(), Ids { kept: entry::ids(&*store, class).await?, max: max(class) });
        }
        let kept = Arc::new(Mutex::new(Kept::new(classes)));
        let surplus = Arc::new(Notify::new());
        surplus.notify_one();
        let pruning = task::spawn(prune(Arc::clone(&store), Arc::clone(&kept), Arc::clone(&surplus)));
        Ok(Self { store, kept, surplus, _pruning: task::Guarded::new(pruning) })
    }

    /// Records that somebody was refused.
    pub(crate) async fn record_refusal(&self, acting: &Acting) -> Result<(), Error> {
        self.recorded(AuditClass::Refused, acting, Txn::default(), None).await.map(|_| ())
    }

    /// Records what somebody is about to change that is not in the store, as messages and sagas are not; it may fail.
    pub(crate) async fn record_elsewhere(
        &self,
        class: AuditClass,
        change: ChangeKind,
        key: String,
    ) -> Result<(), Error> {
        let acting = actor::current();
        let now = time::unix_nanos(time::system());
        let id = self.kept().begin(class.as_str(), now);
        let record = Record::of(&acting, now / 1_000_000, vec![AuditChange { change, key }]);
        self.pass(Txn::default().put_lasting(entry::key(class, id), record.encode()), None).await?;
        if self.kept().has_surplus() {
            self.surplus.notify_one();
        }
        Ok(())
    }

    /// The entries of a class, or of all, that are older than that id: newest first.
    pub(crate) async fn entries(
        &self,
        class: Option<AuditClass>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<(Vec<(u64, AuditClass, Record)>, bool), Error> {
        let classes = AuditClass::ALL.into_iter().filter(|known| class.is_none_or(|class| class == *known));
        let (mut found, mut more) = (Vec::new(), false);
        for class in classes {
            let after = before.map(|id| entry::key(class, id));
            let page = self.store.range(&entry::prefix(class), after.as_deref(), limit).await?;
            more |= page.more;
            found.extend(page.entries.iter().filter_map(|entry| entry::decode(class, entry)));
        }
        found.sort_unstable_by_key(|(id, ..)| std::cmp::Reverse(*id));
        more |= found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// Commits a transaction of whoever acts, with its entry if it changes something.
    async fn write(&self, txn: Txn, ttl: Option<Duration>, acting: Acting) -> Result<Written, Error> {
        let Some(class) = class_of(txn.ops.iter().map(Op::key)) else { return self.pass(txn, ttl).await };
        let is_own = matches!(acting.actor, AuditActor::Bowline);
        if is_own && txn.ops.iter().all(|op| op.key().starts_with(DEPLOY)) {
            return self.pass(txn, ttl).await;
        }
        if is_surely_change(&txn) {
            return self.recorded(class, &acting, txn, ttl).await;
        }
        for _ in 0..ATTEMPTS_MAX {
            let foreseen = self.foresee(&txn).await?;
            let mut conditional = txn.clone();
            let written = match foreseen {
                Foreseen::Change(condition) => {
                    conditional.compares.push(condition);
                    self.recorded(class, &acting, conditional, ttl).await
                }
                Foreseen::Nothing(conditions) => {
                    conditional.compares.extend(conditions);
                    self.pass(conditional, ttl).await
                }
            };
            match written {
                // It changed since we looked, which is none of the caller's conditions.
                Err(Error::Conflict { key, .. }) if !txn.compares.iter().any(|compare| compare.key == key) => {}
                written => return written,
            }
        }
        Err(Error::Unavailable { retry_after: None })
    }

    /// What a transaction that only deletes would do now.
    async fn foresee(&self, txn: &Txn) -> Result<Foreseen, Error> {
        let mut missing = Vec::new();
        for key in txn.ops.iter().map(Op::key) {
            if self.store.get(key).await?.is_some() {
                return Ok(Foreseen::Change(Compare { key: key.to_owned(), expect: Expect::Exists }));
            }
            missing.push(Compare { key: key.to_owned(), expect: Expect::Missing });
        }
        Ok(Foreseen::Nothing(missing))
    }

    /// Commits it with its entry.
    async fn recorded(
        &self,
        class: AuditClass,
        acting: &Acting,
        txn: Txn,
        ttl: Option<Duration>,
    ) -> Result<Written, Error> {
        if txn.ops.len() > OPS_MAX {
            let rule = "it has at most 127 operations, beside which its entry in the audit has place";
            return Err(Error::Invalid { what: "transaction", rule });
        }
        let is_relief = !txn.ops.is_empty() && txn.ops.iter().all(|op| op.value().is_none());
        let now = time::unix_nanos(time::system());
        let id = self.kept().begin(class.as_str(), now);
        let record = Record::new(acting, now / 1_000_000, &txn.ops);
        let txn = txn.put_lasting(entry::key(class, id), record.encode());
        let mut written = self.pass(txn.clone(), ttl).await;
        // A full store can be emptied: what is deleted may be less than what its entry takes.
        if matches!(written, Err(Error::Full)) && is_relief && self.make_room().await {
            written = self.pass(txn, ttl).await;
        }
        let may_be_written = matches!(written, Ok(_) | Err(Error::Io(_) | Error::Closed | Error::Unavailable { .. }));
        let mut kept = self.kept();
        if !may_be_written {
            kept.forget(class.as_str(), id);
        }
        if kept.has_surplus() {
            self.surplus.notify_one();
        }
        drop(kept);
        written
    }

    /// Removes some of the oldest entries; whether there were any, and they are gone.
    async fn make_room(&self) -> bool {
        let Some((class, ids)) = self.kept().oldest(TXN_OPS_MAX) else { return false };
        tracing::warn!(class, count = ids.len(), "the store is full: the oldest entries of the audit make room");
        remove(&*self.store, &self.kept, class, &ids).await.is_ok()
    }

    /// Commits it as it is.
    async fn pass(&self, txn: Txn, ttl: Option<Duration>) -> Result<Written, Error> {
        match ttl {
            None => self.store.commit(txn).await.map(|revision| (revision, None)),
            Some(ttl) => self.store.commit_leased(txn, ttl).await.map(|(revision, lease)| (revision, Some(lease))),
        }
    }

    /// Ends a lease of whoever acts: its keys are deleted with an entry, then it ends without any.
    async fn end(&self, lease: LeaseId, acting: Acting) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let keys = self.store.lease_keys(lease).await?;
            let Some(class) = class_of(keys.iter().map(|key| &**key)) else { return self.store.revoke(lease).await };
            let mut txn = Txn::default();
            for key in &keys {
                let entry = self.store.get(key).await?.filter(|entry| entry.lease == Some(lease));
                txn = entry.into_iter().fold(txn, |txn, entry| {
                    txn.when(&*entry.key, Expect::Modified(entry.modified)).delete(&*entry.key)
                });
            }
            if txn.ops.len() > OPS_MAX {
                // Too many for one transaction: the entry comes first, and may be of a change that fails.
                self.recorded_before(class, &acting, &txn).await?;
                return self.store.revoke(lease).await;
            }
            match self.recorded(class, &acting, txn, None).await {
                Ok(_) => return self.store.revoke(lease).await.map(|_| true),
                // A key changed since we looked.
                Err(Error::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Unavailable { retry_after: None })
    }

    /// Records what is about to be changed.
    async fn recorded_before(&self, class: AuditClass, acting: &Acting, txn: &Txn) -> Result<(), Error> {
        let now = time::unix_nanos(time::system());
        let id = self.kept().begin(class.as_str(), now);
        let record = Record::new(acting, now / 1_000_000, &txn.ops);
        self.store.commit(Txn::default().put(entry::key(class, id), record.encode())).await.map(|_| ())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        lock(&self.kept)
    }
}

/// The revision of a transaction, and the lease it was granted.
type Written = (Revision, Option<LeaseId>);

/// What kind of change it is to these keys; none where it is not recorded.
fn class_of<'a>(mut keys: impl Iterator<Item = &'a str> + Clone) -> Option<AuditClass> {
    let is_unrecorded = |key: &str| UNRECORDED.iter().any(|prefix| key.starts_with(prefix));
    if keys.clone().all(is_unrecorded) {
        return None;
    }
    Some(if keys.all(|key| key.starts_with(REGISTRY)) { AuditClass::Registry } else { AuditClass::Other })
}

/// Whether a transaction changes something, if its conditions hold: it puts, or deletes what is there.
fn is_surely_change(txn: &Txn) -> bool {
    let is_there = |key: &str| {
        txn.compares
            .iter()
            .any(|compare| compare.key == key && matches!(compare.expect, Expect::Exists | Expect::Modified(_)))
    };
    txn.ops.iter().any(|op| op.value().is_some() || is_there(op.key()))
}

/// Removes the oldest entries, whenever there are more than are kept.
async fn prune(store: Arc<dyn Store>, kept: Arc<Mutex<Kept>>, surplus: Arc<Notify>) {
    loop {
        surplus.notified().await;
        loop {
            let oldest = lock(&kept).surplus(TXN_OPS_MAX);
            let Some((class, ids)) = oldest else { break };
            match remove(&*store, &kept, class, &ids).await {
                Ok(()) => {}
                Err(Error::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "old entries of the audit are not removed yet");
                    sleep(RETRY_AFTER).await;
                }
            }
        }
    }
}

/// Removes entries, unrecorded.
async fn remove(store: &dyn Store, kept: &Mutex<Kept>, class: &'static str, ids: &[u64]) -> Result<(), Error> {
    store.commit(ids.iter().fold(Txn::default(), |txn, id| txn.delete(entry::key_in(class, *id)))).await?;
    let mut kept = lock(kept);
    for id in ids {
        kept.forget(class, *id);
    }
    Ok(())
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Audited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audited").finish_non_exhaustive()
    }
}

impl Store for Audited {
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>, Error>> {
        self.store.get(key)
    }

    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Page, Error>> {
        self.store.range(prefix, after, limit)
    }

    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, Error>> {
        Box::pin(async move { self.write(txn, None, actor::current()).await.map(|(revision, _)| revision) })
    }

    fn commit_leased(&self, txn: Txn, ttl: Duration) -> BoxFuture<'_, Result<(Revision, LeaseId), Error>> {
        Box::pin(async move {
            let (revision, lease) = self.write(txn, Some(ttl), actor::current()).await?;
            Ok((revision, lease.expect("a commit with a lifetime grants a lease")))
        })
    }

    fn watch(&self, prefix: &str, from: Revision) -> BoxFuture<'_, Result<Watch, Error>> {
        self.store.watch(prefix, from)
    }

    fn grant(&self, ttl: Duration) -> BoxFuture<'_, Result<LeaseId, Error>> {
        self.store.grant(ttl)
    }

    fn keep_alive(&self, leases: &[LeaseId]) -> BoxFuture<'_, Result<Vec<Result<Duration, Error>>, Error>> {
        self.store.keep_alive(leases)
    }

    fn revoke(&self, lease: LeaseId) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move { self.end(lease, actor::current()).await })
    }

    fn lease_keys(&self, lease: LeaseId) -> BoxFuture<'_, Result<Vec<Arc<str>>, Error>> {
        self.store.lease_keys(lease)
    }

    fn time_left(&self, lease: LeaseId) -> BoxFuture<'_, Result<Duration, Error>> {
        self.store.time_left(lease)
    }

    fn history(&self) -> BoxFuture<'_, Result<HistoryId, Error>> {
        self.store.history()
    }

    fn revision(&self) -> BoxFuture<'_, Result<Revision, Error>> {
        self.store.revision()
    }

    fn is_writable(&self) -> bool {
        self.store.is_writable()
    }
}

#[cfg(test)]
mod tests;
