//! The store's events as states of one document.

use std::{fmt, sync::Arc};

use bowline_model::ConfigKey;
use bowline_runtime::BoxFuture;
use bowline_store::{Change, Error as StoreError, Revision, Store, Update, Watch, WatchEvent};

use super::entry::{self, Head};
use crate::{ConfigWatcher, Error, Version};

/// Follows one document.
pub(super) struct Watcher {
    store: Arc<dyn Store>,
    /// The store's key of the head.
    key: String,
    following: Option<Following>,
    /// What was told last.
    told: State,
}

/// What is known of the document.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Nothing, or nothing new.
    Unknown,
    /// Its current version, or that there is none.
    Known(Option<Version>),
}

/// A watch of the store, and up to where its events are known already.
struct Following {
    watch: Watch,
    seen: Revision,
}

impl Watcher {
    pub(super) fn new(store: Arc<dyn Store>, key: &ConfigKey) -> Self {
        Self { store, key: entry::head_key(key), following: None, told: State::Unknown }
    }

    async fn state(&mut self) -> Result<Option<Version>, Error> {
        loop {
            let state = match self.step().await {
                Ok(state) => state,
                // Events were missed: the state itself is read again.
                Err(Error::Store(StoreError::Lagged { .. } | StoreError::Compacted { .. })) => {
                    self.following = None;
                    continue;
                }
                Err(error) => {
                    self.following = None;
                    return Err(error);
                }
            };
            if let State::Known(version) = &state
                && self.told != state
            {
                let version = version.clone();
                self.told = state;
                return Ok(version);
            }
        }
    }

    /// Waits until something may have been learned.
    async fn step(&mut self) -> Result<State, Error> {
        let Some(following) = &mut self.following else { return self.begin().await.map(State::Known) };
        match following.watch.next_update().await.map_err(Error::Store)? {
            Update::UpTo(_) => Ok(State::Unknown),
            Update::Event(event) => following.learn(&self.key, &event),
        }
    }

    /// Watches, then reads: what comes between is seen twice rather than not at all.
    async fn begin(&mut self) -> Result<Option<Version>, Error> {
        let from = self.store.revision().await.map_err(Error::Store)?;
        let watch = self.store.watch(&self.key, from).await.map_err(Error::Store)?;
        let read = self.store.get(&self.key).await.map_err(Error::Store)?;
        let seen = read.as_ref().map_or(from, |read| read.modified.max(from));
        let head = read.as_ref().map(entry::decode::<Head>).transpose()?;
        self.following = Some(Following { watch, seen });
        Ok(head.and_then(|head| head.current))
    }
}

impl Following {
    fn learn(&mut self, key: &str, event: &WatchEvent) -> Result<State, Error> {
        // Others' keys begin with ours, and what was read is not to be told after a later state.
        if **event.change.key() != *key || event.revision <= self.seen {
            return Ok(State::Unknown);
        }
        self.seen = event.revision;
        match &event.change {
            Change::Put(put) => entry::decode::<Head>(put).map(|head| State::Known(head.current)),
            Change::Delete { .. } => Ok(State::Known(None)),
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("key", &self.key).finish_non_exhaustive()
    }
}

impl ConfigWatcher for Watcher {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Version>, Error>> {
        Box::pin(self.state())
    }
}
