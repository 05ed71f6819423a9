//! A manager of configuration that fails when it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
};

use bowline_config::{
    Acknowledgement, Author, ConfigManager, ConfigWatcher, Document, Draft, Error, ExpectSchema, Format, Status,
    Summary, Version, VersionSummary,
};
use bowline_model::ConfigKey;
use bowline_runtime::BoxFuture;

/// A manager that fails while it is told to, and lets somebody else be faster now and then.
pub(crate) struct Broken {
    pub(crate) inner: Arc<dyn ConfigManager>,
    fails: AtomicBool,
    /// How many writes to the traffic somebody else is faster with.
    races: AtomicU32,
}

impl Broken {
    pub(crate) fn set_broken(&self, is_broken: bool) {
        self.fails.store(is_broken, SeqCst);
    }

    fn check(&self) -> Result<(), Error> {
        if self.fails.load(SeqCst) { Err(Error::Unavailable(None)) } else { Ok(()) }
    }
}

impl ConfigManager for Broken {
    fn get_config(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        let asked = self.inner.get_config(key);
        Box::pin(async { self.check().and(asked.await) })
    }

    fn check_config(&self, key: &ConfigKey, draft: Draft) -> BoxFuture<'_, Result<u64, Error>> {
        self.inner.check_config(key, draft)
    }

    fn set_config(&self, key: &ConfigKey, draft: Draft) -> BoxFuture<'_, Result<Version, Error>> {
        let key = key.clone();
        Box::pin(async move {
            self.check()?;
            let is_raced = key == ConfigKey::traffic()
                && draft.author.as_str() == "bowline"
                && self.races.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            if is_raced {
                let other = Draft { author: Author::new("racer").unwrap(), expect: None, ..draft.clone() };
                let text = self.inner.get_config(&key).await?.unwrap().document.text + " ";
                self.inner.set_config(&key, Draft { document: Document::new(Format::Json, text), ..other }).await?;
            }
            self.inner.set_config(&key, draft).await
        })
    }

    fn delete_config(&self, key: &ConfigKey, expect: Option<u64>) -> BoxFuture<'_, Result<bool, Error>> {
        self.inner.delete_config(key, expect)
    }

    fn watch_config(&self, key: &ConfigKey) -> BoxFuture<'_, Result<Box<dyn ConfigWatcher>, Error>> {
        let asked = self.inner.watch_config(key);
        Box::pin(async { self.check().and(asked.await) })
    }

    fn list(&self, namespace: Option<&str>) -> BoxFuture<'_, Result<Vec<Summary>, Error>> {
        let asked = self.inner.list(namespace);
        Box::pin(async { self.check().and(asked.await) })
    }

    fn get_version(&self, _: &ConfigKey, _: u64) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        unreachable!("nobody asks for old versions")
    }

    fn set_config_with_schema(&self, _: &ConfigKey, _: Draft, _: &str) -> BoxFuture<'_, Result<Version, Error>> {
        unreachable!("nobody sets schemas")
    }

    fn rollback(&self, _: &ConfigKey, _: u64, _: Option<u64>, _: Author) -> BoxFuture<'_, Result<Version, Error>> {
        unreachable!("nobody rolls back")
    }

    fn history(&self, _: &ConfigKey, _: Option<u64>, _: usize) -> BoxFuture<'_, Result<Vec<VersionSummary>, Error>> {
        unreachable!("nobody asks for the history")
    }

    fn get_schema(&self, _: &ConfigKey) -> BoxFuture<'_, Result<Option<String>, Error>> {
        unreachable!("nobody asks for schemas")
    }

    fn set_schema(&self, _: &ConfigKey, _: Option<&str>, _: ExpectSchema) -> BoxFuture<'_, Result<(), Error>> {
        unreachable!("nobody sets schemas")
    }

    fn acknowledge(
        &self,
        key: &ConfigKey,
        ack: Acknowledgement,
        ttl: std::time::Duration,
    ) -> BoxFuture<'_, Result<(), Error>> {
        let asked = self.inner.acknowledge(key, ack, ttl);
        Box::pin(async { self.check().and(asked.await) })
    }

    fn status(&self, _: &ConfigKey) -> BoxFuture<'_, Result<Status, Error>> {
        unreachable!("nobody asks for the status")
    }
}

pub(crate) fn broken(inner: Arc<dyn ConfigManager>, is_broken: bool, races: u32) -> Broken {
    Broken { inner, fails: AtomicBool::new(is_broken), races: AtomicU32::new(races) }
}
