//! What runs rollouts: one handle for whoever begins, orders and looks.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_model::{ServiceName, deploy::Release, system::System};
use bowline_runtime::{
    drain::{self, Drain, Drainer},
    metric, task,
};
use bowline_store::Store;
use tokio::sync::watch;

use crate::{
    declared::Declared,
    driver,
    error::Error,
    metrics::Metrics,
    port::{Failure, Fleet, Judge, Steer},
    rollout::{Action, Begin, Rollout, Status},
    track::Track,
};

/// What a rollout needs of others.
#[derive(Clone)]
pub struct Ports {
    /// Runs releases.
    pub fleet: Arc<dyn Fleet>,
    /// Steers requests.
    pub steer: Arc<dyn Steer>,
    /// Measures.
    pub judge: Arc<dyn Judge>,
}

/// What has to run of a service, where that is not what its file declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// Whose.
    pub service: ServiceName,
    /// What runs in the place of its own release; none: that itself.
    pub own: Option<Release>,
    /// How many instances of it.
    pub own_count: u32,
    /// What is on its way, and how many instances of it run beside. One that says nothing but the service's own
    /// version is what the file declares.
    pub beside: Vec<(Release, u32)>,
}

/// Runs the rollouts of a system's services, at most one a service. Cheap to clone.
///
/// Whatever it answers is durable. Where the process ends, the next one resumes what was under way. Once all clones
/// are dropped nothing goes on.
#[derive(Clone)]
pub struct Deployer(Arc<Inner>);

struct Inner {
    tracks: BTreeMap<ServiceName, Arc<Track>>,
    changed: watch::Sender<u64>,
    /// Present from start to stop.
    running: Mutex<Option<Running>>,
    drainer: tokio::sync::Mutex<Drainer>,
}

/// What it has while it runs.
#[derive(Clone)]
struct Running {
    /// Keeps it from having stopped.
    _drain: Drain,
    steer: Arc<dyn Steer>,
}

impl Deployer {
    /// Reads what is kept of a system's services. Of a service that the file declares otherwise than when a rollout
    /// began, nothing counts any more: the rollout is given up when this is started.
    ///
    /// # Errors
    /// [`Error::Store`] and [`Error::Unreadable`].
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn open(store: Arc<dyn Store>, system: &System, metrics: &metric::Registry) -> Result<Self, Error> {
        let changed = watch::Sender::new(0);
        let metrics = Metrics::new(metrics);
        let mut tracks = BTreeMap::new();
        for service in &system.services {
            let declared = Declared::new(service, system);
            let track = Track::open(declared, Arc::clone(&store), changed.clone(), metrics.clone()).await?;
            tracks.insert(service.name.clone(), Arc::new(track));
        }
        let (drainer, _) = drain::channel();
        let drainer = tokio::sync::Mutex::new(drainer);
        Ok(Self(Arc::new(Inner { tracks, changed, running: Mutex::default(), drainer })))
    }

    /// What has to run, of the services of which that is not what the file declares.
    pub fn in_force(&self) -> Vec<InForce> {
        self.0.tracks.values().filter_map(|track| track.in_force()).collect()
    }

    /// Takes the requests off the releases that the file does not know any more: none of them runs from now on, so
    /// that whoever is steered to them is answered by nobody. To be asked before anything of the system starts, which
    /// may wait for such an answer; the rollouts themselves end when this is started.
    ///
    /// # Errors
    /// The first that could not be published; the others are.
    ///
    /// # Cancel safety
    /// A part of it may be done; asking again goes on.
    pub async fn release_superseded(&self, steer: &dyn Steer) -> Result<(), Failure> {
        let mut outcome = Ok(());
        for rollout in self.0.tracks.values().filter_map(|track| track.superseded()) {
            let split = steer.split(&rollout.service, rollout.id, &BTreeMap::new()).await;
            outcome = outcome.and(split);
        }
        outcome
    }

    /// Resumes what was under way, and takes orders from now on, until it is stopped; in tasks of the current
    /// runtime.
    ///
    /// # Panics
    /// When it is started a second time.
    pub fn start(&self, ports: &Ports) {
        let mut running = self.running();
        let drainer = self.0.drainer.try_lock().expect("it is started once, and before it is stopped");
        let drain = drainer.watch();
        for track in self.0.tracks.values() {
            drop(task::spawn(driver::drive(Arc::clone(track), ports.clone(), drain.clone())));
        }
        let steer = Arc::clone(&ports.steer);
        assert!(running.replace(Running { _drain: drain, steer }).is_none(), "it is started once");
    }

    /// Begins a rollout.
    ///
    /// # Errors
    /// Why it cannot begin, see [`Error`].
    ///
    /// # Cancel safety
    /// It may have begun.
    pub async fn begin(&self, begin: Begin) -> Result<Status, Error> {
        let running = self.must_run()?;
        self.track(&begin.service)?.begin(begin, &*running.steer).await
    }

    /// Does what an operator orders of the rollout under way; of the one with that id alone, where one is given.
    ///
    /// # Errors
    /// [`Error::NoService`], [`Error::NoRollout`], [`Error::NotUnderWay`], [`Error::Refused`]; [`Error::Stopped`], and
    /// those of the store.
    ///
    /// # Cancel safety
    /// It may be done.
    pub async fn act(&self, service: &ServiceName, action: Action, id: Option<u64>) -> Result<Status, Error> {
        let _running = self.must_run()?;
        self.track(service)?.order(action, id).await
    }

    /// The rollout of a service that is under way, or its last one; none: it had none.
    pub fn get(&self, service: &ServiceName) -> Option<Status> {
        self.0.tracks.get(service)?.status()
    }

    /// Of every service that had one the rollout under way, or the last one, by name.
    pub fn list(&self) -> Vec<Status> {
        self.0.tracks.values().filter_map(|track| track.status()).collect()
    }

    /// The last rollouts of a service that ended, at most [`HISTORY_MAX`](crate::HISTORY_MAX), the newest first.
    ///
    /// # Errors
    /// [`Error::NoService`], [`Error::Unreadable`], [`Error::Store`].
    ///
    /// # Cancel safety
    /// Nothing is changed.
    pub async fn history(&self, service: &ServiceName) -> Result<Vec<Rollout>, Error> {
        self.track(service)?.history().await
    }

    /// The release of a service that was promoted and still counts: until the file declares another one. None: the
    /// service's own.
    pub fn current(&self, service: &ServiceName) -> Option<Release> {
        self.0.tracks.get(service)?.current()
    }

    /// A number that changes whenever one of the others' answers may have changed.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Stops all work, wherever it is, and takes no more orders; the next process resumes it.
    ///
    /// # Cancel safety
    /// It stays stopped; waiting can begin again.
    pub async fn stop(&self) {
        drop(self.running().take());
        self.0.drainer.lock().await.drain().await;
    }

    fn track(&self, service: &ServiceName) -> Result<&Arc<Track>, Error> {
        self.0.tracks.get(service).ok_or_else(|| Error::NoService { service: service.clone() })
    }

    /// Keeps it from having stopped while the answer is held.
    fn must_run(&self) -> Result<Running, Error> {
        self.running().clone().ok_or(Error::Stopped)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

impl fmt::Debug for Deployer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployer").field("rollouts", &self.list()).finish_non_exhaustive()
    }
}
