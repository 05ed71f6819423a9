//! One document that is followed, whatever befalls the store.

use std::sync::Arc;

use bowline_config::{ConfigManager, ConfigWatcher, Error, Version};
use bowline_model::{ConfigKey, error::chain};
use bowline_runtime::time::{self, Instant};

use super::backoff;

/// A document as it changes.
pub(super) struct Followed {
    config: Arc<dyn ConfigManager>,
    key: ConfigKey,
    watcher: Option<Box<dyn ConfigWatcher>>,
    failures: u32,
    /// Not asked before.
    retry_at: Option<Instant>,
}

impl Followed {
    pub(super) fn new(config: Arc<dyn ConfigManager>, key: ConfigKey) -> Self {
        Self { config, key, watcher: None, failures: 0, retry_at: None }
    }

    /// The state now, then each later one; `None` while there is no document.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(super) async fn next(&mut self) -> Option<Version> {
        loop {
            if let Some(at) = self.retry_at {
                time::sleep_until(at).await;
                self.retry_at = None;
            }
            match self.ask().await {
                Ok(version) => {
                    self.failures = 0;
                    return version;
                }
                Err(error) => {
                    self.failures += 1;
                    self.retry_at = Some(time::now() + backoff(self.failures));
                    tracing::warn!(key = %self.key, error = chain(&error), "document cannot be followed, what was in force stays");
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<Option<Version>, Error> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => none.insert(self.config.watch_config(&self.key).await?),
        };
        watcher.next().await
    }
}
