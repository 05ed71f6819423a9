//! What of alerts survives: small JSON values in the store, written when something changed.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bowline_runtime::metric::Counter;
use bowline_store::{Store, Txn};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::error::Error;

/// Below it is everything of alerts, in this format.
pub(crate) const PREFIX: &str = "alerts/v1/";

/// Operations of one transaction; the store takes 128.
const BATCH: usize = 100;

/// The most bytes of one value; a larger one is not kept.
const VALUE_BYTES_MAX: usize = 256 * 1024;

/// At which a transaction is closed; the store takes 8 MiB.
const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Entries of one page.
const PAGE: usize = 1000;

/// The most changes that wait for a store that fails; more are not kept.
const WAITING_MAX: usize = 50_000;

/// Gathers changes and commits them together. A later change of a key replaces an earlier one.
pub(crate) struct Journal {
    store: Arc<dyn Store>,
    waiting: Mutex<BTreeMap<String, Option<Bytes>>>,
    /// Held while a batch is committed, so that changes of a key are committed in order.
    committing: tokio::sync::Mutex<()>,
    failures: Counter,
}

impl Journal {
    pub(crate) fn new(store: Arc<dyn Store>, failures: Counter) -> Self {
        Self { store, waiting: Mutex::default(), committing: tokio::sync::Mutex::default(), failures }
    }

    /// The key that has that value at the next [`Journal::commit`].
    pub(crate) fn put(&self, key: &str, value: &impl Serialize) {
        let value = serde_json::to_vec(value).expect("what is kept is plain data with text keys");
        self.wait(key, Some(value.into()));
    }

    /// The key that is gone at the next [`Journal::commit`].
    pub(crate) fn delete(&self, key: &str) {
        self.wait(key, None);
    }

    fn wait(&self, key: &str, value: Option<Bytes>) {
        let mut waiting = self.waiting();
        let key = format!("{PREFIX}{key}");
        let is_small = value.as_ref().is_none_or(|value| value.len() <= VALUE_BYTES_MAX);
        if is_small && (waiting.len() < WAITING_MAX || waiting.contains_key(&key)) {
            waiting.insert(key, value);
        } else {
            self.failures.increment();
        }
    }

    /// Waits until all changes made so far are durable.
    ///
    /// # Errors
    /// [`Error::Keep`]; what was not committed waits for the next call.
    ///
    /// # Cancel safety
    /// What is being committed may be committed or not; it waits for the next call.
    pub(crate) async fn commit(&self) -> Result<(), Error> {
        let _committing = self.committing.lock().await;
        loop {
            let batch = self.batch();
            if batch.is_empty() {
                return Ok(());
            }
            let txn = batch.iter().fold(Txn::default(), |txn, (key, value)| match value {
                Some(value) => txn.put(key.as_str(), value.clone()),
                None => txn.delete(key.as_str()),
            });
            if let Err(source) = self.store.commit(txn).await {
                self.failures.increment();
                return Err(Error::Keep { source });
            }
            let mut waiting = self.waiting();
            for (key, value) in batch {
                // What changed meanwhile waits on.
                if waiting.get(&key) == Some(&value) {
                    waiting.remove(&key);
                }
            }
        }
    }

    /// As many changes as go into one transaction.
    fn batch(&self) -> Vec<(String, Option<Bytes>)> {
        let mut bytes = 0;
        let fits = |(key, value): &(&String, &Option<Bytes>)| {
            bytes += key.len() + value.as_ref().map_or(0, Bytes::len);
            bytes <= BATCH_BYTES
        };
        self.waiting().iter().take(BATCH).take_while(fits).map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Every value below a part of our prefix, by key (without our prefix); what cannot be read is left out and
    /// counted.
    ///
    /// # Errors
    /// [`Error::Load`].
    pub(crate) async fn load<T: DeserializeOwned>(&self, part: &str) -> Result<Vec<(String, T)>, Error> {
        let prefix = format!("{PREFIX}{part}");
        let (mut loaded, mut after) = (Vec::new(), None::<Arc<str>>);
        loop {
            let page = self.store.range(&prefix, after.as_deref(), PAGE).await;
            let page = page.map_err(|source| Error::Load { source })?;
            for entry in &page.entries {
                let key = entry.key.strip_prefix(PREFIX).unwrap_or(&entry.key).to_owned();
                match serde_json::from_slice(&entry.value) {
                    Ok(value) => loaded.push((key, value)),
                    Err(error) => {
                        tracing::warn!(key, error = %error, "what was kept of an alert cannot be read");
                        self.failures.increment();
                    }
                }
            }
            after = page.entries.last().map(|entry| entry.key.clone());
            if !page.more || after.is_none() {
                return Ok(loaded);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<String, Option<Bytes>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::tests::Memory;

    #[tokio::test]
    async fn changes_are_committed_in_parts_that_the_store_takes() {
        let store = Memory::default();
        let failures = Counter::default();
        let journal = Journal::new(Arc::new(store.clone()), failures.clone());
        for number in 0..250 {
            journal.put(&format!("a/{number:03}"), &"x".repeat(100_000));
        }
        journal.put("a/large", &"x".repeat(VALUE_BYTES_MAX));
        assert_eq!(failures.get(), 1);
        store.set_failing(true);
        assert!(matches!(journal.commit().await, Err(Error::Keep { .. })));
        journal.delete("a/000");
        store.set_failing(false);
        journal.commit().await.unwrap();
        assert_eq!(store.keys("a/"), 249);
        let loaded: Vec<(String, String)> = journal.load("a/").await.unwrap();
        assert_eq!((loaded.len(), loaded[0].0.as_str()), (249, "a/001"));
        // What is of another form is left out, and counted.
        assert!(journal.load::<u64>("a/").await.unwrap().is_empty());
        assert_eq!(failures.get(), 2 + 249);
    }
}
