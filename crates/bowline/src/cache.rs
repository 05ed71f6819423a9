//! Caches of what a service reads from others; see [`Microservice::cache`].

mod feed;
mod shared;
mod shown;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{HandlerError, Microservice, client};

pub use bowline_cache::{
    BuildError, Builder, Cache, Error, Failure, Invalidations, Key, LevelStatus, PortError, SharedCache, Status,
    Strategy, Which,
};
pub(crate) use shown::{Shown, router};

use self::feed::BusInvalidations;

/// The topic through which the processes of a service tell each other what of a cache is invalid.
const OWN_TOPIC: &str = "cache.";

/// A cache to build, by [`Microservice::cache`].
#[must_use = "it is no cache until it is built"]
pub struct CacheBuilder<'a, K, V> {
    service: &'a Microservice,
    name: String,
    builder: Builder<K, V>,
    /// What cannot be.
    fault: Option<String>,
}

/// What is of all caches of a process.
pub(crate) type Caches = Arc<Common>;

#[derive(Default)]
pub(crate) struct Common {
    /// They are shown.
    shown: Mutex<Vec<Arc<dyn Shown>>>,
    /// Where they share, through one connection.
    shared: OnceLock<shared::Place>,
}

impl Microservice {
    /// A cache of what this service reads from others: its metrics are at `/metrics`, and `bowline caches` shows it.
    /// Who asks it waits no longer than the request, or the message, has time ([`time_left`](crate::time_left)).
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use bowline::cache::Cache;
    /// # #[derive(serde::Deserialize)] struct User { card: String }
    /// # #[derive(serde::Deserialize)] struct Changed { id: String }
    /// # async fn run(service: &bowline::Microservice) -> Result<(), Box<dyn std::error::Error>> {
    /// let user = service.client("user");
    /// let profiles: Cache<String, User> = service
    ///     .cache("user-profile")
    ///     .with(|cache| cache.stale_if_error(Duration::from_hours(1)).adaptive())
    ///     .invalidated_by("user.changed", |changed: Changed| [changed.id])
    ///     .build()?;
    /// let ada = profiles.get_or_load("ada", || async move { Ok(user.get("/users/ada").json().await.map(Some)?) }).await?;
    /// # Ok(()) }
    /// ```
    pub fn cache<K: Key, V: Send + Sync + 'static>(&self, name: &str) -> CacheBuilder<'_, K, V> {
        let builder = Cache::builder(name).metrics(&self.metrics).patience(client::time_left);
        CacheBuilder { service: self, name: name.to_owned(), builder, fault: None }
    }
}

impl<K: Key, V: Send + Sync + 'static> CacheBuilder<'_, K, V> {
    /// Says how it is kept: times, weights, strategy; see [`Builder`] for all there is.
    pub fn with(self, tell: impl FnOnce(Builder<K, V>) -> Builder<K, V>) -> Self {
        Self { builder: tell(self.builder), ..self }
    }

    /// Forgets, whenever a message comes to that topic, the keys that it names; each process by itself, whichever
    /// published it. A message that cannot be read as `M` may have named any: everything is forgotten.
    ///
    /// Each message is told in a span of its trace, as one that the service takes.
    ///
    /// # Panics
    /// When the name is no topic's: it stands in the code, not in data.
    pub fn invalidated_by<M, I>(self, topic: &str, keys: impl Fn(M) -> I + Send + Sync + 'static) -> Self
    where
        M: DeserializeOwned,
        I: IntoIterator<Item = K>,
    {
        let read = move |payload: &[u8]| {
            let message = serde_json::from_slice(payload).ok()?;
            Some(keys(message).into_iter().map(|key| Which::Key(key.encode())).collect())
        };
        self.follow(topic, false, Box::new(read))
    }

    /// Forgets in all processes of the service what one of them invalidates: through the topic `cache.NAME`, which
    /// the service has to own (`state = ["topic:cache.NAME"]` in `bowline.toml`).
    ///
    /// In one transaction with what changes, a [`Which`] may be put into an outbox, as a message to that topic.
    pub fn invalidated_together(self) -> Self {
        let read = |payload: &[u8]| Some(vec![serde_json::from_slice(payload).ok()?]);
        let topic = format!("{OWN_TOPIC}{}", self.name);
        self.follow(&topic, true, Box::new(read))
    }

    fn follow(self, topic: &str, is_ours: bool, read: feed::Read) -> Self {
        bowline_messaging::check_name("topic", topic).expect("the name in the code is a topic's name");
        if self.service.post.bus.is_none() {
            // It would be blind for ever.
            tracing::warn!(cache = self.name, topic, "no server is known (BOWLINE_API): nothing tells what is invalid");
            return self;
        }
        let feed = BusInvalidations::new(self.service.post.clone(), topic, &self.name, is_ours, read);
        self.with(|builder| builder.follow(Arc::new(feed)))
    }

    /// Has the processes of the service share what they load: in Redis, where `[caches]` of `bowline.toml` names one,
    /// else in the memory of the server. A value of another `version` is none.
    ///
    /// Without a server, nothing is shared.
    pub fn shared(self, version: &str) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        let Self { service, .. } = &self;
        if service.settings().caches.as_ref().is_some_and(|caches| !caches.contains(&self.name)) {
            let fault = format!("`shared` needs it declared: add \"cache:{}\" to the service's `state`", self.name);
            return Self { fault: Some(fault), ..self };
        }
        let place = || shared::of(service.settings(), service.link.as_ref());
        match service.caches.shared.get_or_init(place).clone() {
            Ok(Some(shared)) => self.with(|builder| builder.serialized(version).shared(shared)),
            Ok(None) => self,
            Err(fault) => Self { fault: Some(fault), ..self },
        }
    }

    /// Has what a process has loaded survive its restart: so many bytes (16 MiB to 64 GiB) in its data folder. Values of
    /// another `version` are none. It needs a topic that says what has changed meanwhile.
    ///
    /// Without a server, or an id that is the same after a restart (`BOWLINE_INSTANCE`), nothing is kept there.
    pub fn on_disk(self, version: &str, bytes_max: u64) -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        let settings = self.service.settings();
        if self.service.post.bus.is_none() || !settings.has_lasting_id {
            return self;
        }
        let dir = settings.data_dir.join("cache").join(settings.instance.as_str()).join(&self.name);
        self.with(|builder| builder.serialized(version).disk(dir, bytes_max))
    }

    /// The cache; from now on it is shown.
    ///
    /// # Errors
    /// [`BuildError`] with everything that cannot be: what is out of its range, a name that another cache of the
    /// process has, more than 64 of them, one that is shared and not declared, `BOWLINE_REDIS` in a program without the
    /// feature `redis`.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn build(self) -> Result<Cache<K, V>, BuildError> {
        let Self { service, name, builder, fault } = self;
        let failed = |fault: String| BuildError { cache: name.clone(), faults: vec![fault] };
        if let Some(fault) = fault {
            return Err(failed(fault));
        }
        let mut caches = service.caches.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if caches.iter().any(|cache| cache.status().cache == name) {
            return Err(failed("another cache of this process has its name".to_owned()));
        }
        let cache = builder.build()?;
        caches.push(Arc::new(cache.clone()));
        Ok(cache)
    }
}

impl<K, V> fmt::Debug for CacheBuilder<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder").field("name", &self.name).finish_non_exhaustive()
    }
}

impl From<client::Error> for Failure {
    /// A call that loads failed.
    fn from(error: client::Error) -> Self {
        let is_retryable = error.retryable();
        Self::new(error.code(), error).with_retryable(is_retryable)
    }
}

impl From<Error> for HandlerError {
    /// What is unavailable or out of time, and a key that can be none, is passed on, the rest is a fault here.
    fn from(error: Error) -> Self {
        if let Error::Key { source, .. } = &error {
            // It is what the caller asks for.
            return Self::new(error.code(), source.to_string());
        }
        let words = match &error {
            Error::Load { source, .. } => source.to_string(),
            error => error.to_string(),
        };
        Self::of_below(error.code(), words, error)
    }
}

#[cfg(test)]
mod tests;
