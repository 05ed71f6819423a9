//! Configuration as a value: the last good version of a document, kept current.
//!
//! [`Microservice::config`](crate::Microservice::config) loads a document as a type and follows it.
//! A later version that cannot be read, or that the application's own check refuses, changes
//! nothing: the last good one stays, and the server is told why. The last good version is also kept
//! on disk, so that the process starts while the server is away.

mod acks;
mod follow;
mod load;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use bowline_model::{Code, ConfigKey};
use bowline_runtime::task;
use tokio::sync::watch;

pub use load::Loader;

/// Why a document could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing was published, no version is kept here, and the type has no default.
    #[error("there is no document `{key}`: publish one with `bowline config set {key} FILE`")]
    Absent {
        /// The document.
        key: ConfigKey,
    },
    /// The current version is not what this service runs by, and no earlier one is kept here.
    #[error("version {version} of `{key}` cannot be used: {reason}")]
    Refused {
        /// The document.
        key: ConfigKey,
        /// Its version.
        version: u64,
        /// Why not.
        reason: String,
    },
    /// The server cannot be asked, and no version is kept here.
    #[error("`{key}` cannot be loaded: no server answers, and no version is kept here")]
    Unavailable {
        /// The document.
        key: ConfigKey,
        /// What the last attempt met; absent: there is no server (`BOWLINE_API`), or it was silent.
        #[source]
        source: Option<bowline_config::Error>,
    },
}

impl Error {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        match self {
            Self::Absent { .. } => Code::NotFound,
            Self::Refused { .. } => Code::FailedPrecondition,
            Self::Unavailable { .. } => Code::Unavailable,
        }
    }

    /// Whether the same may succeed later, without a change by hand.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// A document of configuration as a value that follows it. Cheap to clone.
///
/// Load it once in a process and clone it: it is followed and acknowledged while a clone lives.
///
/// ```no_run
/// # use bowline::Microservice;
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Limits {
///     items_max: usize,
/// }
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let service = Microservice::from_env("order")?;
/// let limits = service.config::<Limits>("shop/order").await?;
/// // In a handler, for each request:
/// let limits = limits.get();
/// # let _ = limits.items_max;
/// # Ok(())
/// # }
/// ```
pub struct Config<T>(Arc<Inner<T>>);

struct Inner<T> {
    shared: Arc<Shared<T>>,
    _following: Option<task::Guarded<()>>,
}

/// What the value's users and its follower share.
struct Shared<T> {
    key: ConfigKey,
    loaded: ArcSwap<Loaded<T>>,
    /// Counts the values.
    generation: watch::Sender<u64>,
    /// Held while the value is replaced, so that each listener sees every value in order.
    listeners: Mutex<Vec<Listener<T>>>,
}

type Listener<T> = Box<dyn FnMut(&Arc<T>) + Send>;

/// A value, and the version it was read from; none: it is built in.
struct Loaded<T> {
    value: Arc<T>,
    version: Option<u64>,
}

/// The values of a [`Config`] from now on.
pub struct Changes<T> {
    config: Config<T>,
    generation: watch::Receiver<u64>,
}

impl<T: Send + Sync + 'static> Config<T> {
    /// The value now: of the last good version. Costs no lock.
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.shared.loaded.load().value)
    }

    /// The version that the value is of; none: it is the default that was built in.
    pub fn version(&self) -> Option<u64> {
        self.0.shared.loaded.load().version
    }

    /// The document it follows.
    pub fn key(&self) -> &ConfigKey {
        &self.0.shared.key
    }

    /// Calls that with the value now, and with each later one, in order, for as long as a clone
    /// of this lives.
    ///
    /// It must not block, nor call `on_change` of the same document. If it panics the value is
    /// replaced all the same, and it is called with the next one.
    pub fn on_change(&self, mut listener: impl FnMut(&Arc<T>) + Send + 'static) {
        let mut listeners = self.0.shared.lock();
        listener(&self.get());
        listeners.push(Box::new(listener));
    }

    /// The values that come from now on; they may be waited for.
    pub fn changes(&self) -> Changes<T> {
        Changes { config: self.clone(), generation: self.0.shared.generation.subscribe() }
    }
}

impl<T: Send + Sync + 'static> Changes<T> {
    /// Waits for a value after the one that this, or [`Config::changes`], last saw. Values that
    /// follow each other quickly may be left out, the last one never is.
    ///
    /// # Cancel safety
    /// Nothing is lost: the next call answers the same value or a later one.
    pub async fn next(&mut self) -> Arc<T> {
        self.generation.changed().await.expect("the configuration that tells of changes is held here");
        self.config.get()
    }
}

impl<T> Shared<T> {
    fn new(key: ConfigKey, loaded: Loaded<T>) -> Self {
        let (generation, listeners) = (watch::Sender::new(0), Mutex::default());
        Self { key, loaded: ArcSwap::from_pointee(loaded), generation, listeners }
    }

    /// Replaces the value, and tells everybody.
    fn put(&self, loaded: Loaded<T>) {
        let value = Arc::clone(&loaded.value);
        let mut listeners = self.lock();
        self.loaded.store(Arc::new(loaded));
        self.generation.send_modify(|generation| *generation += 1);
        for listener in listeners.iter_mut() {
            if catch_unwind(AssertUnwindSafe(|| listener(&value))).is_err() {
                tracing::error!(key = %self.key, "a listener of configuration panicked");
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Listener<T>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Config<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The version only: the value may hold what is nobody's business.
impl<T> fmt::Debug for Config<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { key, loaded, .. } = &*self.0.shared;
        f.debug_struct("Config").field("key", key).field("version", &loaded.load().version).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Changes").field(&self.config).finish()
    }
}
