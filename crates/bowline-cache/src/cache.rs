//! The cache itself.

use std::{
    fmt,
    hash::Hash,
    slice,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bowline_runtime::{
    task,
    time::{self, coarse},
    watchdog,
};
use bowline_telemetry::current;
use futures_util::future::join_all;
use quick_cache::Equivalent;
use tokio::sync::Semaphore;

use crate::{
    Builder, Error, Failure, Key, LevelStatus, PortError, Status, Which,
    ask::Value,
    check_key,
    classes::Classes,
    codec::Codec,
    disk::Level,
    flights::Flights,
    follow::Followed,
    memory::Memory,
    metrics::Metrics,
    place::Place,
    shared::guard::Guard,
    slot::{Backoff, Ms},
    windows::Windows,
};

/// The longest that a feed may take to tell what is invalid.
const TELL_MAX: Duration = Duration::from_secs(30);

/// Keeps what was loaded by key. Cheap to clone.
///
/// Of the callers that ask for one key at the same time, one loads and all get what it brought. A load runs in a task
/// of its own: callers may go away. **An invalidation during a load wins**: who asked before it gets what was loaded,
/// nobody after it does.
pub struct Cache<K: Key, V: Send + Sync + 'static>(Arc<Inner<K, V>>);

/// What a cache of keys `K` can be asked by: the key, or what it lends, as a `&str` for a `String`.
pub trait Lookup<K>: Hash + Equivalent<K> + ToOwned<Owned = K> {}

impl<K, Q: Hash + Equivalent<K> + ToOwned<Owned = K> + ?Sized> Lookup<K> for Q {}

/// What the parts of a cache share.
pub(crate) struct Inner<K: Key, V: Send + Sync + 'static> {
    pub(crate) name: Arc<str>,
    /// What its loads are called where they hold their thread.
    pub(crate) load_task: watchdog::Name,
    pub(crate) memory: Memory<K, V>,
    /// Until when what is fresh may be taken for it; the end of time where no feed is followed.
    pub(crate) followed_until: AtomicU64,
    /// Which requests are sampled: those whose number has none of its bits.
    pub(crate) sample_mask: AtomicU64,
    pub(crate) metrics: Metrics,
    pub(crate) flights: Flights<K, V>,
    pub(crate) classes: Classes<K>,
    pub(crate) windows: Windows,
    pub(crate) backoff: Backoff,
    pub(crate) weigh: Option<fn(&K, &V) -> u64>,
    pub(crate) loads: Semaphore,
    pub(crate) loads_max: usize,
    pub(crate) load_timeout: Duration,
    /// How long who asks may wait.
    pub(crate) patience: fn() -> Option<Duration>,
    pub(crate) feeds: Vec<Followed>,
    pub(crate) blind_max: Duration,
    /// What values are outside of this process.
    pub(crate) codec: Option<Codec<V>>,
    pub(crate) disk: Option<Arc<Level>>,
    pub(crate) shared: Option<Arc<Guard>>,
    pub(crate) _place: Place,
    /// What runs as long as the cache is there.
    pub(crate) tasks: OnceLock<Vec<task::Guarded<()>>>,
}

impl<K: Key, V: Send + Sync + 'static> Cache<K, V> {
    /// A cache to build. Its name is the one of `state = ["cache:NAME"]` in `bowline.toml`.
    pub fn builder(name: &str) -> Builder<K, V> {
        Builder::new(name)
    }

    pub(crate) fn from_inner(inner: Arc<Inner<K, V>>) -> Self {
        Self(inner)
    }

    /// What memory has of a key, fresh; never waits and never loads. None, too, where it is known that there is
    /// nothing.
    #[inline]
    pub fn get<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Option<Arc<V>> {
        self.0.fresh(key).flatten()
    }

    /// What memory has of a key that may be served where a load fails or there is no time for one.
    pub fn get_stale<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Option<Arc<V>> {
        self.0.fresh(key).or_else(|| self.0.stale(&key.to_owned())).flatten()
    }

    /// What is kept of a key, or what `load` brings; none where there is no such thing, which is kept as well.
    ///
    /// `load` is called at most once, and not at all where another load of that key runs or a level below memory has
    /// it. Its future runs in the caller's trace, for the cache's `load_timeout` at most.
    ///
    /// # Errors
    /// [`Error::Load`] when the load fails or one failed just now, and nothing stale may be served: the same for all
    /// who wait. [`Error::Late`] where who asks may wait [no longer](Builder::patience), and nothing stale may be
    /// served. [`Error::TooBusy`] at the bounds of what is loaded and waited for at a time. [`Error::Key`] where the
    /// key's [name](Key::encode) is empty or longer than [`KEY_BYTES_MAX`](crate::KEY_BYTES_MAX).
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing from others: the load goes on.
    pub async fn get_or_load<Q, F, Fut>(&self, key: &Q, load: F) -> Result<Option<Arc<V>>, Error>
    where
        Q: Lookup<K> + ?Sized,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Option<V>, Failure>> + Send + 'static,
    {
        match self.0.fresh(key) {
            Some(value) => Ok(value),
            None => self.0.ask(key.to_owned(), load).await,
        }
    }

    /// Forgets what is kept of a key, and tells the other processes; a load of it that runs now is not kept either.
    /// Memory forgets it at once. Once this is answered no level has it any more, but a shared one that failed, which
    /// is not read before it has forgotten it, too.
    ///
    /// # Errors
    /// [`Error::Tell`] where it is forgotten here, and the other processes could not be told within 30 s; [`Error::Key`]
    /// as [`Cache::get_or_load`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing back: it goes on in a task of its own.
    pub async fn invalidate<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Result<(), Error> {
        self.invalidate_in_task(Some(key.to_owned())).await
    }

    /// Forgets everything; no load that runs now is kept either.
    ///
    /// # Errors
    /// As [`Cache::invalidate`].
    ///
    /// # Cancel safety
    /// As [`Cache::invalidate`].
    pub async fn invalidate_all(&self) -> Result<(), Error> {
        self.invalidate_in_task(None).await
    }

    /// In a task: a level that was forgotten and one that was not must not be left so by who goes away.
    async fn invalidate_in_task(&self, key: Option<K>) -> Result<(), Error> {
        let inner = Arc::clone(&self.0);
        let run = current::inherit(async move { inner.invalidate(key).await });
        task::spawn(run).await.unwrap_or_else(|error| {
            let source = PortError::unavailable(error);
            Err(Error::Tell { cache: Arc::clone(&self.0.name), source })
        })
    }

    /// How it does.
    pub fn status(&self) -> Status {
        self.0.status()
    }
}

impl<K: Key, V: Send + Sync + 'static> Inner<K, V> {
    /// What memory has, fresh.
    #[inline]
    fn fresh<Q: Lookup<K> + ?Sized>(&self, key: &Q) -> Option<Value<V>> {
        let entry = self.memory.get(key)?;
        let now = coarse();
        if now >= entry.fresh() || !self.is_followed(now) {
            return None;
        }
        if self.metrics.fresh.increment() & self.sample_mask.load(Relaxed) == 0 {
            self.sample_lent(key);
        }
        Some(entry.value)
    }

    #[cold]
    fn sample_lent<Q: Lookup<K> + ?Sized>(&self, key: &Q) {
        self.sample(&key.to_owned());
    }

    #[inline]
    pub(crate) fn is_followed(&self, now: Ms) -> bool {
        now < self.followed_until.load(Relaxed)
    }

    pub(crate) fn missed(&self, key: &K) {
        if self.metrics.misses.increment() & self.sample_mask.load(Relaxed) == 0 {
            self.sample(key);
        }
    }

    /// What a key is called outside of this process.
    pub(crate) fn name_of(&self, key: &K) -> Result<String, Error> {
        let name = key.encode();
        match check_key(&name) {
            Ok(()) => Ok(name),
            Err(source) => Err(Error::Key { cache: Arc::clone(&self.name), source }),
        }
    }

    /// Here first, then everywhere.
    async fn invalidate(&self, key: Option<K>) -> Result<(), Error> {
        let which = match &key {
            Some(key) => Which::Key(self.name_of(key)?),
            None => Which::All,
        };
        self.metrics.invalidated_here.increment();
        // Memory at once, and again once the levels below are done: it may be refilled from them until then.
        if let Some(key) = &key {
            self.forget(key);
            self.forget_keys(slice::from_ref(key), None).await;
        } else {
            self.forget_all();
            self.forget_everything(None).await;
        }
        let (mut told, mut is_told_back) = (Ok(()), false);
        let telling = self.feeds.iter().map(|followed| time::timeout(TELL_MAX, followed.feed.tell(which.clone())));
        for answer in join_all(telling).await {
            let late = |_| Err(PortError::unavailable("it took too long"));
            match answer.unwrap_or_else(late) {
                Ok(()) => is_told_back = true,
                Err(PortError::NotOurs { .. }) => {}
                Err(source) => told = Err(Error::Tell { cache: Arc::clone(&self.name), source }),
            }
        }
        // One change, not two: where the feed tells it, it is observed then.
        if let Some(key) = key.filter(|_| !is_told_back) {
            self.observe_invalidation(&key);
        }
        told
    }

    fn status(&self) -> Status {
        let memory = LevelStatus {
            level: "l1".to_owned(),
            hits: self.metrics.fresh.get(),
            misses: self.metrics.misses.get(),
            bytes: Some(self.memory.weight()),
            bytes_max: Some(self.memory.capacity()),
            failures: 0,
            is_left_alone: false,
            why: None,
        };
        let shared = self.shared.as_ref().map(|guard| guard.metrics.status(guard.is_left_alone()));
        Status {
            cache: self.name.as_ref().to_owned(),
            classes: self.classes.status(),
            entries: self.memory.len(),
            levels: [Some(memory), self.disk.as_ref().map(|disk| disk.status()), shared]
                .into_iter()
                .flatten()
                .collect(),
            requests: self.metrics.requests(),
            loads: self.metrics.loads(),
            invalidated_by_feed: self.metrics.invalidated_by_feed.get(),
            invalidated_here: self.metrics.invalidated_here.get(),
            feeds: self.feeds.iter().map(|followed| followed.status(coarse())).collect(),
        }
    }
}

impl<K: Key, V: Send + Sync + 'static> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Key, V: Send + Sync + 'static> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("name", &self.0.name).finish_non_exhaustive()
    }
}
