//! Configuration over a store.
//!
//! A document is one key, its head, which holds the current version; every change compares it as
//! it was read, and puts the version beside it for the history, in one transaction. Nothing is
//! kept in memory: what is asked for is read from the store.

mod acks;
mod entry;
mod watch;

use std::{fmt, sync::Arc, time::Duration};

use bowline_model::ConfigKey;
use bowline_runtime::{BoxFuture, task, time};
use bowline_store::{Entry, Error as StoreError, RANGE_MAX, Store, Txn};
use tokio::sync::Semaphore;

use self::entry::Head;
use crate::{
    Acknowledgement, Author, ConfigManager, ConfigWatcher, Document, Draft, Error, ExpectSchema, HISTORY_BYTES_MAX,
    KEYS_MAX, Origin, SCHEMA_BYTES_MAX, Schema, Status, Summary, VERSIONS_MAX, VIOLATIONS_MAX, Version, VersionSummary,
};

/// How often a change that others' changes thwart is tried.
const ATTEMPTS_MAX: usize = 16;

/// The longest that a document is held against its schema.
const CHECK_MAX: Duration = Duration::from_secs(10);

/// The most documents that are judged at once; one whose time is over counts until it ends.
const CHECKS_MAX: usize = 4;

/// Configuration whose documents are keys of a store. Cheap to clone.
#[derive(Clone)]
pub struct StoreConfig(Arc<Inner>);

struct Inner {
    store: Arc<dyn Store>,
    schema: Arc<dyn Schema>,
    checks: Arc<Semaphore>,
}

/// What a change begins with: what there is, to be compared when it is made.
struct Found {
    entry: Option<Entry>,
    head: Option<Head>,
}

/// What is to become a version.
struct Change {
    draft: Draft,
    /// The schema that replaces the one there is.
    schema: Option<String>,
    restores: Option<u64>,
}

impl StoreConfig {
    /// Configuration in that store, judged by that schema.
    pub fn new(store: Arc<dyn Store>, schema: Arc<dyn Schema>) -> Self {
        Self(Arc::new(Inner { store, schema, checks: Arc::new(Semaphore::new(CHECKS_MAX)) }))
    }

    /// Every entry under a prefix.
    async fn entries(&self, prefix: &str) -> Result<Vec<Entry>, Error> {
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            let after = entries.last().map(|last| last.key.clone());
            let page = self.0.store.range(prefix, after.as_deref(), RANGE_MAX).await.map_err(Error::Store)?;
            entries.extend(page.entries);
            if !page.more {
                return Ok(entries);
            }
        }
    }

    async fn head(&self, key: &ConfigKey) -> Result<Found, Error> {
        let entry = self.0.store.get(&entry::head_key(key)).await.map_err(Error::Store)?;
        let head = entry.as_ref().map(entry::decode).transpose()?;
        Ok(Found { entry, head })
    }

    async fn version(&self, key: &ConfigKey, number: u64) -> Result<Option<Version>, Error> {
        let kept = self.0.store.get(&entry::version_key(key, number)).await.map_err(Error::Store)?;
        kept.as_ref().map(entry::decode).transpose()
    }

    /// Holds a change against what is there: the current version, and the schema that is there or comes along.
    async fn check_change(&self, key: &ConfigKey, change: &Change) -> Result<(Found, Option<Entry>), Error> {
        let found = self.head(key).await?;
        self.check_expected(key, change.draft.expect, &found).await?;
        let schema = self.0.store.get(&entry::schema_key(key)).await.map_err(Error::Store)?;
        let by = match &change.schema {
            Some(schema) => Some(schema.clone()),
            None => schema.as_ref().map(entry::text).transpose()?,
        };
        self.check_document(key, &change.draft.document, by).await?;
        Ok((found, schema))
    }

    /// Makes the change the next version.
    async fn publish(&self, key: ConfigKey, change: Change) -> Result<Version, Error> {
        change.draft.check()?;
        if let Some(schema) = &change.schema {
            self.check_schema(&key, schema).await?;
        }
        for _ in 0..ATTEMPTS_MAX {
            let (found, schema) = self.check_change(&key, &change).await?;
            let (txn, version) = self.next_version(&key, &change, &found).await?;
            let txn = txn.when(entry::schema_key(&key), entry::unchanged(schema.as_ref()));
            if self.commit(txn).await? {
                return Ok(version);
            }
        }
        Err(Error::Unavailable(None))
    }

    /// Commits; false if it is thwarted by another change.
    async fn commit(&self, txn: Txn) -> Result<bool, Error> {
        match self.0.store.commit(txn).await {
            Ok(_) => Ok(true),
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(Error::Store(error)),
        }
    }

    /// Both sides, where the current version is not the expected one.
    async fn check_expected(&self, key: &ConfigKey, expect: Option<u64>, found: &Found) -> Result<(), Error> {
        let current = found.head.as_ref().and_then(|head| head.current.as_ref());
        let Some(expected) = expect.filter(|expect| *expect != current.map_or(0, |current| current.number)) else {
            return Ok(());
        };
        let base = self.version(key, expected).await?.map(Box::new);
        Err(Error::Conflict { key: key.clone(), expected, base, current: current.cloned().map(Box::new) })
    }

    async fn check_document(&self, key: &ConfigKey, document: &Document, schema: Option<String>) -> Result<(), Error> {
        let (judge, key, document) = (Arc::clone(&self.0.schema), key.clone(), document.clone());
        let checked = self.check(move || judge.check(&key, &document, schema.as_deref())).await?;
        checked.map_err(|mut violations| {
            violations.truncate(VIOLATIONS_MAX);
            Error::Rejected { violations }
        })
    }

    async fn check_schema(&self, key: &ConfigKey, schema: &str) -> Result<(), Error> {
        if schema.len() > SCHEMA_BYTES_MAX {
            return Err(Error::Invalid { what: "schema", rule: "it has at most 256 KiB" });
        }
        let (judge, key, schema) = (Arc::clone(&self.0.schema), key.clone(), schema.to_owned());
        let checked = self.check(move || judge.check_schema(&key, &schema)).await?;
        checked.map_err(|reason| Error::InvalidSchema { reason })
    }

    /// Judges where blocking is allowed, but not for ever.
    async fn check<T: Send + 'static>(&self, judge: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
        let until = time::now() + CHECK_MAX;
        let permit = time::timeout_at(until, Arc::clone(&self.0.checks).acquire_owned()).await;
        let permit = permit.map_err(|elapsed| Error::Unavailable(Some(Arc::new(elapsed))))?;
        let judged = task::spawn_blocking(move || {
            let _permit = permit;
            judge()
        });
        let judged = time::timeout_at(until, judged).await;
        let judged = judged.map_err(|_| Error::Invalid { what: "schema", rule: "it is checked within 10 s" })?;
        // A judge that panics has a fault; what it was given is not published.
        judged.map_err(|error| Error::Unavailable(Some(Arc::new(error))))
    }

    /// The transaction that publishes, but for the condition on the schema.
    async fn next_version(&self, key: &ConfigKey, change: &Change, found: &Found) -> Result<(Txn, Version), Error> {
        let Change { draft, schema, restores } = change;
        let Draft { document, expect: _, author, origin, comment } = draft.clone();
        let before = found.head.clone().unwrap_or_default();
        let (number, at_unix_ms) = (before.last + 1, time::unix_millis_now());
        let version = Version { number, document, author, origin, comment, at_unix_ms, restores: *restores };
        let from_file = if origin == Origin::File { Some(number) } else { before.from_file };
        let head = Head { last: number, from_file, current: Some(version.clone()) };
        let kept = entry::encode(&version);
        let mut txn = Txn::default().when(entry::head_key(key), entry::unchanged(found.entry.as_ref()));
        for old in self.beyond_bounds(key, kept.len(), from_file).await? {
            txn = txn.delete(old);
        }
        if found.head.is_none() {
            txn = self.make_room(txn).await?;
        }
        if let Some(schema) = schema {
            txn = txn.put(entry::schema_key(key), schema.clone());
        }
        Ok((txn.put(entry::head_key(key), entry::encode(&head)).put(entry::version_key(key, number), kept), version))
    }

    /// The versions that have to go when one of that size comes; `spared` stays, and counts.
    async fn beyond_bounds(&self, key: &ConfigKey, bytes: usize, spared: Option<u64>) -> Result<Vec<String>, Error> {
        let spared = spared.map(|number| entry::version_key(key, number));
        let is_spared = |kept: &Entry| spared.as_deref() == Some(&*kept.key);
        let kept = self.entries(&entry::versions(key)).await?;
        let (mut count, mut bytes) = (1, bytes);
        for spared in kept.iter().filter(|kept| is_spared(kept)) {
            count += 1;
            bytes += spared.value.len();
        }
        let mut gone = Vec::new();
        for kept in kept.iter().rev().filter(|kept| !is_spared(kept)) {
            count += 1;
            bytes += kept.value.len();
            if count > VERSIONS_MAX || bytes > HISTORY_BYTES_MAX {
                gone.push(kept.key.to_string());
            }
        }
        Ok(gone)
    }

    /// Room for one more document: where there is none, the one that was deleted first is forgotten.
    async fn make_room(&self, mut txn: Txn) -> Result<Txn, Error> {
        let mut heads = self.entries(entry::HEADS).await?;
        if heads.len() < KEYS_MAX {
            return Ok(txn);
        }
        heads.sort_by_key(|entry| entry.modified);
        let is_deleted = |entry: &&Entry| entry::decode::<Head>(entry).is_ok_and(|head| head.current.is_none());
        let Some(oldest) = heads.iter().find(is_deleted) else { return Err(Error::Full { what: "documents" }) };
        let key = entry::key_of_head(oldest)?;
        for version in self.entries(&entry::versions(&key)).await? {
            txn = txn.delete(&*version.key);
        }
        Ok(txn.when(&*oldest.key, entry::unchanged(Some(oldest))).delete(&*oldest.key))
    }

    async fn delete(&self, key: ConfigKey, expect: Option<u64>) -> Result<bool, Error> {
        for _ in 0..ATTEMPTS_MAX {
            let found = self.head(&key).await?;
            self.check_expected(&key, expect, &found).await?;
            let Some(head) = found.head.filter(|head| head.current.is_some()) else { return Ok(false) };
            let head = Head { current: None, ..head };
            let head_key = entry::head_key(&key);
            let txn = Txn::default().when(&*head_key, entry::unchanged(found.entry.as_ref()));
            if self.commit(txn.put(head_key, entry::encode(&head))).await? {
                return Ok(true);
            }
        }
        Err(Error::Unavailable(None))
    }

    async fn restore(&self, key: ConfigKey, to: u64, expect: Option<u64>, author: Author) -> Result<Version, Error> {
        let found = self.head(&key).await?;
        self.check_expected(&key, expect, &found).await?;
        let current = found.head.and_then(|head| head.current);
        if current.is_some_and(|current| current.number == to) {
            return Err(Error::Invalid { what: "rollback", rule: "it goes to another version than the current one" });
        }
        let version = self.version(&key, to).await?;
        let version = version.ok_or_else(|| Error::NoVersion { key: key.clone(), number: to })?;
        let draft = Draft { expect, ..Draft::new(version.document, author) };
        self.publish(key, Change { draft, schema: None, restores: Some(to) }).await
    }

    async fn past(&self, key: ConfigKey, before: Option<u64>, limit: usize) -> Result<Vec<VersionSummary>, Error> {
        let end = before.map(|before| entry::version_key(&key, before));
        let kept = self.entries(&entry::versions(&key)).await?;
        let newest_first = kept.iter().rev().filter(|kept| end.as_deref().is_none_or(|end| &*kept.key < end));
        newest_first.take(limit).map(|kept| entry::decode(kept).map(|version: Version| version.summary())).collect()
    }

    async fn summaries(&self, namespace: Option<String>) -> Result<Vec<Summary>, Error> {
        let part = namespace.map_or_else(String::new, |namespace| format!("{namespace}/"));
        let schemas = self.entries(&format!("{}{part}", entry::SCHEMAS)).await?;
        let mut summaries = Vec::new();
        for kept in self.entries(&format!("{}{part}", entry::HEADS)).await? {
            let Head { current: Some(version), .. } = entry::decode(&kept)? else { continue };
            let key = entry::key_of_head(&kept)?;
            let schema = entry::schema_key(&key);
            let has_schema = schemas.binary_search_by(|entry| (*entry.key).cmp(&schema)).is_ok();
            summaries.push(Summary { key, version: version.summary(), has_schema });
        }
        Ok(summaries)
    }

    async fn replace_schema(&self, key: ConfigKey, schema: Option<String>, expect: ExpectSchema) -> Result<(), Error> {
        if let Some(schema) = &schema {
            self.check_schema(&key, schema).await?;
        }
        let schema_key = entry::schema_key(&key);
        for _ in 0..ATTEMPTS_MAX {
            let before = self.0.store.get(&schema_key).await.map_err(Error::Store)?;
            if !expect.admits(before.as_ref().map(entry::text).transpose()?.as_deref()) {
                return Err(Error::SchemaConflict { key });
            }
            let found = self.head(&key).await?;
            let txn = Txn::default().when(&*schema_key, entry::unchanged(before.as_ref()));
            let txn = match &schema {
                None => txn.delete(&*schema_key),
                Some(schema) => {
                    if let Some(current) = found.head.as_ref().and_then(|head| head.current.as_ref()) {
                        self.check_document(&key, &current.document, Some(schema.clone())).await?;
                    }
                    if before.is_none() && self.entries(entry::SCHEMAS).await?.len() >= KEYS_MAX {
                        return Err(Error::Full { what: "schemas" });
                    }
                    // Held against the document that is there: it may not change meanwhile.
                    let txn = txn.when(entry::head_key(&key), entry::unchanged(found.entry.as_ref()));
                    txn.put(&*schema_key, schema.clone())
                }
            };
            if self.commit(txn).await? {
                return Ok(());
            }
        }
        Err(Error::Unavailable(None))
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig").finish_non_exhaustive()
    }
}

impl ConfigManager for StoreConfig {
    fn get_config(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        let key = key.clone();
        Box::pin(async move { Ok(self.head(&key).await?.head.and_then(|head| head.current)) })
    }

    fn get_version(&self, key: &ConfigKey, number: u64) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        let key = key.clone();
        Box::pin(async move { self.version(&key, number).await })
    }

    fn set_config(&self, key: &ConfigKey, draft: Draft) -> BoxFuture<'_, Result<Version, Error>> {
        Box::pin(self.publish(key.clone(), Change { draft, schema: None, restores: None }))
    }

    fn check_config(&self, key: &ConfigKey, draft: Draft) -> BoxFuture<'_, Result<u64, Error>> {
        let key = key.clone();
        Box::pin(async move {
            draft.check()?;
            let change = Change { draft, schema: None, restores: None };
            let (found, _) = self.check_change(&key, &change).await?;
            // The transaction is not committed.
            let (_, version) = self.next_version(&key, &change, &found).await?;
            Ok(version.number)
        })
    }

    fn set_config_with_schema(
        &self,
        key: &ConfigKey,
        draft: Draft,
        schema: &str,
    ) -> BoxFuture<'_, Result<Version, Error>> {
        Box::pin(self.publish(key.clone(), Change { draft, schema: Some(schema.to_owned()), restores: None }))
    }

    fn delete_config(&self, key: &ConfigKey, expect: Option<u64>) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(self.delete(key.clone(), expect))
    }

    fn rollback(
        &self,
        key: &ConfigKey,
        to: u64,
        expect: Option<u64>,
        author: Author,
    ) -> BoxFuture<'_, Result<Version, Error>> {
        Box::pin(self.restore(key.clone(), to, expect, author))
    }

    fn watch_config(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Box<dyn ConfigWatcher>, Error>> {
        let watcher = watch::Watcher::new(Arc::clone(&self.0.store), key);
        Box::pin(async move { Ok(Box::new(watcher) as Box<dyn ConfigWatcher>) })
    }

    fn history(
        &self,
        key: &ConfigKey,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<VersionSummary>, Error>> {
        Box::pin(self.past(key.clone(), before, limit))
    }

    fn list(&self, namespace: Option<&str>) -> BoxFuture<'_, Result<Vec<Summary>, Error>> {
        Box::pin(self.summaries(namespace.map(ToOwned::to_owned)))
    }

    fn get_schema(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Option<String>, Error>> {
        let schema_key = entry::schema_key(key);
        Box::pin(async move {
            let kept = self.0.store.get(&schema_key).await.map_err(Error::Store)?;
            kept.as_ref().map(entry::text).transpose()
        })
    }

    fn set_schema(
        &self,
        key: &ConfigKey,
        schema: Option<&str>,
        expect: ExpectSchema,
    ) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.replace_schema(key.clone(), schema.map(ToOwned::to_owned), expect))
    }

    fn acknowledge(&self, key: &ConfigKey, ack: Acknowledgement, ttl: Duration) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(self.acknowledge(key.clone(), ack, ttl))
    }

    fn status(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Status, Error>> {
        Box::pin(self.status(key.clone()))
    }
}
