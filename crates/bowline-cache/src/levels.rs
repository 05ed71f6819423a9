//! What lies below memory, and the loader at the bottom.

use std::{sync::Arc, time::Duration};

use bowline_model::Code;
use bowline_runtime::{rand, time};

use crate::{
    Error, Failure, Key,
    ask::Value,
    builder::weight,
    cache::Inner,
    slot::{Kept, Ms},
};

/// How long a load waits for a place among those that run.
const LINE_MAX: Duration = Duration::from_secs(1);

/// What a level or the loader brought.
pub(crate) struct Brought<V> {
    pub(crate) value: Value<V>,
    pub(crate) weight: u64,
    /// Whether the loader brought it; else for how long the level that did keeps it, in milliseconds.
    pub(crate) is_loaded: bool,
    pub(crate) left: Ms,
}

impl<K: Key, V: Send + Sync + 'static> Inner<K, V> {
    /// Gets it from the next level that has it.
    pub(crate) async fn bring<Fut>(&self, key: &K, loader: Fut) -> Result<Brought<V>, Error>
    where
        Fut: Future<Output = Result<Option<V>, Failure>> + Send + 'static,
    {
        let Ok(place) = time::timeout(LINE_MAX, self.loads.acquire()).await else {
            return Err(self.too_busy("loads", self.loads_max));
        };
        let begin = time::now();
        let answer = time::timeout(self.load_timeout, loader).await;
        self.metrics.load_duration.record(begin.elapsed());
        drop(place);
        match answer.unwrap_or_else(|_| Err(self.too_slow())) {
            Ok(value) => Ok(self.loaded(key, value)),
            Err(source) => Err(Error::Load { cache: Arc::clone(&self.name), source }),
        }
    }

    fn loaded(&self, key: &K, value: Option<V>) -> Brought<V> {
        let weight = match (&value, self.weigh) {
            (Some(value), Some(weigh)) => weigh(key, value),
            _ => weight::<K, V>(key, 0),
        };
        Brought { value: value.map(Arc::new), weight, is_loaded: true, left: 0 }
    }

    /// Until when memory keeps it.
    pub(crate) fn ends(&self, key: &K, brought: &Brought<V>, began: Ms) -> Option<Kept> {
        let (choice, is_nothing) = (self.classes.choice(key), brought.value.is_none());
        let kept = self.windows.ends(choice, is_nothing, began, rand::unit())?;
        if brought.is_loaded {
            return Some(kept);
        }
        Some(self.windows.from(kept.fresh.min(began.saturating_add(brought.left)), is_nothing))
    }

    fn too_slow(&self) -> Failure {
        let limit = bowline_model::units::format_duration(self.load_timeout);
        Failure::new(Code::DeadlineExceeded, format!("the loader took longer than {limit}"))
    }
}
