//! A registry that answers what the test tells it to, and fails when it is told to.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bowline_model::{Instance, InstanceId};
use bowline_registry::{
    Discovered, Error, HeartbeatAnswer, HistoryId, InstanceChange, InstanceEvent, InstanceWatch, Query, Registry,
    Revision, ServiceSummary,
};
use bowline_runtime::BoxFuture;
use tokio::sync::watch;

/// A registry that remembers all its events, and can be taken away.
#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    changed: Arc<watch::Sender<u64>>,
    pub(crate) discovers: Arc<AtomicUsize>,
    pub(crate) watches: Arc<AtomicUsize>,
}

pub(crate) struct State {
    pub(crate) is_away: bool,
    /// Whether it tells which history its revisions are of.
    pub(crate) tells_history: bool,
    /// Whether it answers at all.
    pub(crate) hangs: bool,
    pub(crate) history: HistoryId,
    pub(crate) revision: Revision,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    pub(crate) events: Vec<InstanceEvent>,
    /// Watches from before are refused.
    pub(crate) oldest: Revision,
    /// Counts the interruptions of watches.
    pub(crate) generation: u64,
}

impl Fake {
    pub(crate) fn new() -> Self {
        let state = State {
            is_away: false,
            tells_history: true,
            hangs: false,
            history: HistoryId(1),
            revision: 100,
            instances: BTreeMap::new(),
            events: Vec::new(),
            oldest: 0,
            generation: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            changed: Arc::new(watch::Sender::new(0)),
            discovers: Arc::default(),
            watches: Arc::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Changes the state by hand, and wakes the watches.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn put(&self, instance: Instance) {
        self.change(|state| state.happen(InstanceChange::Put(instance)));
    }

    pub(crate) fn delete(&self, instance: &Instance) {
        let Instance { id, service, .. } = instance.clone();
        self.change(|state| state.happen(InstanceChange::Delete { id, service }));
    }

    pub(crate) fn go_away(&self) {
        self.change(|state| {
            state.is_away = true;
            state.generation += 1;
        });
    }

    pub(crate) fn come_back(&self) {
        self.change(|state| state.is_away = false);
    }

    fn available(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.state();
        if state.is_away { Err(Error::Unavailable(None)) } else { Ok(state) }
    }

    async fn hang(&self) {
        let mut changed = self.changed.subscribe();
        changed.wait_for(|_| !self.state().hangs).await.ok();
    }
}

impl State {
    fn happen(&mut self, change: InstanceChange) {
        self.revision += 1;
        match &change {
            InstanceChange::Put(instance) => drop(self.instances.insert(instance.id.clone(), instance.clone())),
            InstanceChange::Delete { id, .. } => drop(self.instances.remove(id)),
        }
        self.events.push(InstanceEvent { revision: self.revision, change });
    }
}

impl Registry for Fake {
    fn register(&self, _: Instance, _: Option<Duration>) -> BoxFuture<'_, Result<Revision, Error>> {
        unreachable!("discovery does not register")
    }

    fn heartbeat(&self, _: &[InstanceId]) -> BoxFuture<'_, Result<Vec<HeartbeatAnswer>, Error>> {
        unreachable!("discovery does not register")
    }

    fn deregister(&self, _: &InstanceId) -> BoxFuture<'_, Result<bool, Error>> {
        unreachable!("discovery does not register")
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceSummary>, Error>> {
        unreachable!("discovery knows which services it is asked for")
    }

    fn discover(&self, query: &Query) -> BoxFuture<'_, Result<Discovered, Error>> {
        self.discovers.fetch_add(1, SeqCst);
        let query = query.clone();
        Box::pin(async move {
            self.hang().await;
            let state = self.available()?;
            let matching = state.instances.values().filter(|i| query.service.as_ref().is_none_or(|s| *s == i.service));
            let instances = matching.cloned().collect();
            let history = state.tells_history.then_some(state.history);
            Ok(Discovered { revision: state.revision, history, instances, more: false })
        })
    }

    fn watch(&self, query: &Query, from: Revision) -> BoxFuture<'_, Result<Box<dyn InstanceWatch>, Error>> {
        self.watches.fetch_add(1, SeqCst);
        let query = query.clone();
        Box::pin(async move {
            self.hang().await;
            let state = self.available()?;
            if from < state.oldest {
                return Err(Error::Compacted { oldest: state.oldest });
            }
            if from > state.revision || query.history.is_some_and(|history| history != state.history) {
                return Err(Error::OtherHistory);
            }
            let generation = state.generation;
            let watch = FakeWatch { fake: self.clone(), changed: self.changed.subscribe(), query, from, generation };
            Ok(Box::new(watch) as Box<dyn InstanceWatch>)
        })
    }
}

struct FakeWatch {
    fake: Fake,
    changed: watch::Receiver<u64>,
    query: Query,
    from: Revision,
    generation: u64,
}

impl FakeWatch {
    fn advance(&mut self) -> Result<Option<InstanceEvent>, Error> {
        let state = self.fake.state();
        if state.generation != self.generation {
            return Err(Error::Unavailable(None));
        }
        let service = |event: &InstanceEvent| match &event.change {
            InstanceChange::Put(instance) => instance.service.clone(),
            InstanceChange::Delete { service, .. } => service.clone(),
        };
        let is_next = |event: &&InstanceEvent| {
            event.revision > self.from && self.query.service.as_ref().is_none_or(|wanted| *wanted == service(event))
        };
        let event = state.events.iter().find(is_next).cloned();
        self.from = event.as_ref().map_or(self.from, |event| event.revision);
        Ok(event)
    }
}

impl InstanceWatch for FakeWatch {
    fn next(&mut self) -> BoxFuture<'_, Result<InstanceEvent, Error>> {
        Box::pin(async {
            loop {
                self.changed.borrow_and_update();
                if let Some(event) = self.advance()? {
                    return Ok(event);
                }
                self.changed.changed().await.map_err(|_| Error::Unavailable(None))?;
            }
        })
    }
}
