//! The first value: of the server, of the disk, or built in.

use std::{fmt, sync::Arc, time::Duration};

use bowline_config::{ConfigManager, ConfigWatcher, Version};
use bowline_model::{ConfigKey, error::chain};
use bowline_runtime::{rand, task, time};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::{
    Config, Error, Inner, Loaded, Shared, acks,
    follow::{Follower, Place, Reader, Validate},
};
use crate::Settings;

/// How long the server has to answer at the start where there is something else to begin with.
const WAIT_WITH_FALLBACK: Duration = Duration::from_secs(2);

/// How long where there is not.
const WAIT_ALONE: Duration = Duration::from_secs(10);

/// The wait between two attempts at the start, more or less: half of it is up to chance.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// The longest that a refusal is told for, when the process ends by it.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);

/// Loads a document as a value; made by [`Microservice::config_loader`](crate::Microservice::config_loader).
#[must_use = "nothing is loaded before `load`"]
pub struct Loader<T> {
    manager: Option<Arc<dyn ConfigManager>>,
    place: Place,
    validate: Option<Validate<T>>,
    default: Option<T>,
    wait_with_fallback: Duration,
}

impl<T: DeserializeOwned + Send + Sync + 'static> Loader<T> {
    pub(crate) fn new(manager: Option<Arc<dyn ConfigManager>>, settings: &Settings, key: ConfigKey) -> Self {
        let Settings { instance, service, data_dir, .. } = settings;
        // A folder of this instance alone; one named by the process id would never be read again.
        let file = || data_dir.join("config").join(instance.as_str()).join(format!("{key}.json"));
        let snapshot = settings.has_lasting_id.then(file);
        Self::of(manager, Place { key, instance: instance.clone(), service: service.clone(), snapshot })
    }

    pub(super) fn of(manager: Option<Arc<dyn ConfigManager>>, place: Place) -> Self {
        Self { manager, place, validate: None, default: None, wait_with_fallback: WAIT_WITH_FALLBACK }
    }

    /// Checks each version once it is read as the type; the text says what is wrong with it. It
    /// must not block.
    pub fn validate(self, check: impl Fn(&T) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { validate: Some(Box::new(check)), ..self }
    }

    /// What to begin with where nothing was published and no version is kept here.
    pub fn or(self, default: T) -> Self {
        Self { default: Some(default), ..self }
    }

    /// How long the server has to answer at the start where there is something else to begin with.
    pub(crate) fn within(self, wait_with_fallback: Duration) -> Self {
        Self { wait_with_fallback, ..self }
    }

    /// Loads the current version, and follows the document from then on in the current runtime.
    ///
    /// While the server is away, it begins with the last good version of this instance, which is
    /// kept in its data folder where `BOWLINE_INSTANCE` names it, else with the default; the
    /// server's then follows. A document that was deleted, or whose current version is refused,
    /// makes it begin with those too. It waits for the server for 2 s, or 10 s where there is
    /// nothing else to begin with.
    ///
    /// # Errors
    /// Any [`Error`], where there is nothing to begin with.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    /// Nothing is followed.
    pub async fn load(self) -> Result<Config<T>, Error> {
        let Self { manager, place, validate, default, wait_with_fallback } = self;
        let reader = Reader { validate };
        let kept = restored(&place, &reader).await;
        let Some(manager) = manager else {
            let unavailable = Error::Unavailable { key: place.key.clone(), source: None };
            let (loaded, _) = fallback(kept, default).ok_or(unavailable)?;
            return Ok(Config(Arc::new(Inner { shared: Arc::new(Shared::new(place.key, loaded)), _following: None })));
        };
        let wait = if kept.is_some() || default.is_some() { wait_with_fallback } else { WAIT_ALONE };
        let opened = open(&*manager, &place, wait).await;
        let (watcher, first) = opened.map_err(|source| Error::Unavailable { key: place.key.clone(), source })?;
        let beginning = judge(&place, &reader, first, kept, default);
        let Beginning { loaded, good, ack } = match beginning {
            Ok(beginning) => beginning,
            Err(error) => {
                if let Error::Refused { version, reason, .. } = &error {
                    let ack = place.ack(*version, Some(reason.clone()), None);
                    // Whether it is heard or not: the process is about to say it itself.
                    time::timeout(LAST_WORDS_MAX, manager.acknowledge(&place.key, ack, acks::TTL)).await.ok();
                }
                return Err(error);
            }
        };
        if let Some(good) = &good {
            place.keep(good).await;
        }
        let (acks, told) = watch::channel(ack);
        let shared = Arc::new(Shared::new(place.key.clone(), loaded));
        let acking = acks::run(manager, place.key.clone(), told);
        let follower = Follower { place, reader, shared: Arc::clone(&shared), watcher, good, acks };
        // Neither ends before the other; both are dropped together.
        let following = task::spawn(async move {
            tokio::join!(follower.run(), acking);
        });
        Ok(Config(Arc::new(Inner { shared, _following: Some(task::Guarded::new(following)) })))
    }
}

/// A value with the version it is of.
type Read<T> = (T, Version);

/// What to begin with.
struct Beginning<T> {
    loaded: Loaded<T>,
    good: Option<Version>,
    ack: Option<bowline_config::Acknowledgement>,
}

/// What the server said first.
enum First {
    State(Option<Version>),
    /// Nothing, or that it cannot.
    Silence(Option<bowline_config::Error>),
}

/// The last good version on disk, if it is still good.
async fn restored<T: DeserializeOwned>(place: &Place, reader: &Reader<T>) -> Option<Read<T>> {
    let version = place.restore().await?;
    let Ok(value) = reader.read(&version) else {
        tracing::warn!(key = %place.key, version = version.number, "last good configuration is good no more");
        return None;
    };
    Some((value, version))
}

fn fallback<T>(kept: Option<Read<T>>, default: Option<T>) -> Option<(Loaded<T>, Option<Version>)> {
    match (kept, default) {
        (Some((value, good)), _) => Some((Loaded { value: Arc::new(value), version: Some(good.number) }, Some(good))),
        (None, Some(default)) => Some((Loaded { value: Arc::new(default), version: None }, None)),
        (None, None) => None,
    }
}

/// Watches, and waits for what the watch says first, but not for ever.
async fn open(
    manager: &dyn ConfigManager,
    place: &Place,
    wait: Duration,
) -> Result<(Box<dyn ConfigWatcher>, First), Option<bowline_config::Error>> {
    let until = time::now() + wait;
    let mut watcher = manager.watch_config(&place.key).await.map_err(Some)?;
    let mut last = None;
    let asked = async {
        loop {
            match watcher.next().await {
                Ok(state) => return state,
                Err(error) => last = Some(error),
            }
            time::sleep(RETRY_AFTER.mul_f64(0.5 + rand::unit())).await;
        }
    };
    let first = time::timeout_at(until, asked).await;
    let first = match first {
        Ok(state) => First::State(state),
        Err(_) => First::Silence(last),
    };
    Ok((watcher, first))
}

/// Decides what to begin with.
fn judge<T: DeserializeOwned>(
    place: &Place,
    reader: &Reader<T>,
    first: First,
    kept: Option<Read<T>>,
    default: Option<T>,
) -> Result<Beginning<T>, Error> {
    let key = &place.key;
    let (refused, error) = match first {
        First::State(Some(version)) => match reader.read(&version) {
            Ok(value) => {
                let number = Some(version.number);
                let loaded = Loaded { value: Arc::new(value), version: number };
                let ack = Some(place.ack(version.number, None, number));
                return Ok(Beginning { loaded, good: Some(version), ack });
            }
            Err(reason) => {
                tracing::warn!(%key, version = version.number, "configuration refused");
                let error = Error::Refused { key: key.clone(), version: version.number, reason: reason.clone() };
                (Some((version.number, reason)), error)
            }
        },
        First::State(None) => (None, Error::Absent { key: key.clone() }),
        First::Silence(source) => {
            let cause = source.as_ref().map(|error| chain(error));
            tracing::warn!(%key, error = cause, "no server answers, configuration begins without");
            (None, Error::Unavailable { key: key.clone(), source })
        }
    };
    let (loaded, good) = fallback(kept, default).ok_or(error)?;
    let ack = refused.map(|(version, reason)| place.ack(version, Some(reason), loaded.version));
    Ok(Beginning { loaded, good, ack })
}

impl<T> fmt::Debug for Loader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("place", &self.place).finish_non_exhaustive()
    }
}
