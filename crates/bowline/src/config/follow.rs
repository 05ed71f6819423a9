//! The task that follows a document: takes each version in, or refuses it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use bowline_config::{Acknowledgement, ConfigWatcher, Outcome, REASON_BYTES_MAX, Version};
use bowline_model::{ConfigKey, InstanceId, ServiceName, error::chain};
use bowline_runtime::{rand, task, time};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{Loaded, Shared, snapshot};

/// The bounds of the wait after failures; at least half of it is waited, by chance.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// An application's own check of a value; the text says what is wrong.
pub(super) type Validate<T> = Box<dyn Fn(&T) -> Result<(), String> + Send + Sync>;

/// Makes values of versions.
pub(super) struct Reader<T> {
    pub(super) validate: Option<Validate<T>>,
}

/// Who follows which document.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) key: ConfigKey,
    pub(super) instance: InstanceId,
    pub(super) service: ServiceName,
    /// Where the last good version is kept.
    pub(super) snapshot: Option<PathBuf>,
}

/// Follows one document.
pub(super) struct Follower<T> {
    pub(super) place: Place,
    pub(super) reader: Reader<T>,
    pub(super) shared: Arc<Shared<T>>,
    pub(super) watcher: Box<dyn ConfigWatcher>,
    /// The last good version.
    pub(super) good: Option<Version>,
    pub(super) acks: watch::Sender<Option<Acknowledgement>>,
}

impl<T: DeserializeOwned> Reader<T> {
    /// The value of a version, or why it has none.
    pub(super) fn read(&self, version: &Version) -> Result<T, String> {
        let read = || {
            let value: T = version.document.read().map_err(|error| error.to_string())?;
            self.validate.as_ref().map_or(Ok(()), |validate| validate(&value))?;
            Ok(value)
        };
        // Types and checks are the application's: their panic is no reason to follow no more.
        let read = catch_unwind(AssertUnwindSafe(read));
        read.unwrap_or_else(|_| Err("reading it panicked: see the instance's log".to_owned())).map_err(bounded)
    }
}

/// A reason that the server takes.
fn bounded(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}

impl Place {
    /// What this instance makes of a version, by which it runs if there is no reason against it.
    pub(super) fn ack(&self, version: u64, refusal: Option<String>, runs: Option<u64>) -> Acknowledgement {
        let outcome = refusal.map_or(Outcome::Applied, |reason| Outcome::Refused { reason });
        let (instance, service) = (self.instance.clone(), self.service.clone());
        Acknowledgement { instance, service, version, outcome, runs }
    }

    /// The last good version on disk; none where there is none that can be read.
    pub(super) async fn restore(&self) -> Option<Version> {
        let (path, key) = (self.snapshot.clone()?, self.key.clone());
        match task::spawn_blocking(move || snapshot::read(&path, &key)).await {
            Ok(Ok(version)) => version,
            Ok(Err(error)) => {
                tracing::warn!(key = %self.key, error = chain(&error), "last good configuration cannot be read");
                None
            }
            Err(error) => {
                tracing::error!(key = %self.key, %error, "reading a file failed");
                None
            }
        }
    }

    /// Keeps a version on disk.
    pub(super) async fn keep(&self, version: &Version) {
        let Some(path) = self.snapshot.clone() else { return };
        let (key, version) = (self.key.clone(), version.clone());
        match task::spawn_blocking(move || snapshot::write(&path, &key, &version)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(key = %self.key, error = chain(&error), "good configuration cannot be written");
            }
            Err(error) => tracing::error!(key = %self.key, %error, "writing a file failed"),
        }
    }
}

impl<T: DeserializeOwned> Follower<T> {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut failures = 0_u32;
        loop {
            let began = time::now();
            match self.watcher.next().await {
                Ok(state) => {
                    if std::mem::take(&mut failures) > 0 {
                        tracing::info!(key = %self.place.key, "configuration is followed again");
                    }
                    self.take(state).await;
                }
                Err(error) => {
                    // One that held for a while was no failed attempt.
                    if time::now() >= began + 2 * BACKOFF_MAX {
                        failures = 0;
                    }
                    if failures == 0 {
                        let error = chain(&error);
                        tracing::warn!(key = %self.place.key, error, "configuration lost the server, keeps what it has");
                    }
                    let longest = BACKOFF_MIN.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX);
                    failures = failures.saturating_add(1);
                    time::sleep(longest.mul_f64(0.5 + rand::unit() / 2.0)).await;
                }
            }
        }
    }

    async fn take(&mut self, state: Option<Version>) {
        let Some(version) = state else {
            let runs = self.good.as_ref().map(|good| good.number);
            tracing::warn!(key = %self.place.key, runs, "configuration is gone, the last good version stays");
            return;
        };
        let number = version.number;
        if self.good.as_ref() == Some(&version) {
            self.acks.send_replace(Some(self.place.ack(number, None, Some(number))));
            return;
        }
        match self.reader.read(&version) {
            Ok(value) => {
                self.shared.put(Loaded { value: Arc::new(value), version: Some(number) });
                self.acks.send_replace(Some(self.place.ack(number, None, Some(number))));
                tracing::info!(key = %self.place.key, version = number, "configuration applied");
                self.place.keep(&version).await;
                self.good = Some(version);
            }
            Err(reason) => {
                // The reason may quote the document: it goes to the server, which has it, not to the log.
                let runs = self.good.as_ref().map(|good| good.number);
                tracing::warn!(key = %self.place.key, version = number, runs, "configuration refused");
                self.acks.send_replace(Some(self.place.ack(number, Some(reason), runs)));
            }
        }
    }
}
