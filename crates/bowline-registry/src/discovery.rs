//! The instances of services as their callers see them: watched, cached, never emptied without proof.
//!
//! For each service that is asked for, one task lists and watches the registry. While the registry
//! is away, the last set stays; across a restart it is read from the folder. What replaces a set is
//! decided in [`set`]:
//!
//! - An event of a watch is proof: a deregistration or an expiry removes its instance, the last one
//!   too.
//! - A list is proof when it is of the same history as the set and not older: it replaces the set,
//!   also by nothing.
//! - Any other list is no proof (the registry lost its data, is another one, or was restored from
//!   the past): its instances join the set. Once it has listed some, the others have
//!   [`set::RETURN_WITHIN`] to register there before they are dropped; while it lists none they
//!   stay. A registry that does not tell its history is believed to have the same one.

mod follow;
mod set;
mod snapshot;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_model::{Instance, ServiceName};
use bowline_runtime::task;
use tokio::{runtime::Handle, sync::watch};

use self::follow::Follower;
use crate::Registry;

/// The most services that one process follows. Their names come from its own settings.
pub const SERVICES_MAX: usize = 4096;

/// The instances of services, kept current.
pub struct Discovery {
    registry: Arc<dyn Registry>,
    snapshot_dir: Option<PathBuf>,
    /// Where the tasks run: not on the core that asks first.
    runtime: Handle,
    services: Mutex<BTreeMap<ServiceName, Followed>>,
}

/// One service that is followed.
struct Followed {
    known: Known,
    _task: task::Guarded<()>,
}

/// What is known of a service.
#[derive(Clone)]
struct Known {
    instances: watch::Receiver<Arc<[Instance]>>,
    is_settled: watch::Receiver<bool>,
}

impl Discovery {
    /// A cache over a registry, whose tasks run in the current runtime. With a folder (of this
    /// process alone), the last good sets survive a restart.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(registry: Arc<dyn Registry>, snapshot_dir: Option<PathBuf>) -> Self {
        Self { registry, snapshot_dir, runtime: Handle::current(), services: Mutex::default() }
    }

    /// The instances of a service, sorted by id; the receiver sees every later set.
    ///
    /// The first call begins to follow the service and answers an empty set; see
    /// [`Discovery::settled`].
    pub fn instances(&self, service: &ServiceName) -> watch::Receiver<Arc<[Instance]>> {
        match self.follow(service) {
            Some(known) => known.instances,
            None => watch::Sender::new(Arc::default()).subscribe(),
        }
    }

    /// Waits until something is known of a service: from the registry, or instances from the
    /// folder.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn settled(&self, service: &ServiceName) {
        if let Some(mut known) = self.follow(service) {
            // An error means that the task is gone, and with it all that could be waited for.
            known.is_settled.wait_for(|is_settled| *is_settled).await.ok();
        }
    }

    fn follow(&self, service: &ServiceName) -> Option<Known> {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        if !services.contains_key(service) {
            if services.len() >= SERVICES_MAX {
                tracing::error!(%service, max = SERVICES_MAX, "too many services are followed");
                return None;
            }
            services.insert(service.clone(), self.start(service));
        }
        services.get(service).map(|followed| followed.known.clone())
    }

    fn start(&self, service: &ServiceName) -> Followed {
        let path = self.snapshot_dir.as_ref().map(|dir| dir.join(format!("{service}.json")));
        let (instances, settled) = (watch::Sender::new(Arc::default()), watch::Sender::new(false));
        let known = Known { instances: instances.subscribe(), is_settled: settled.subscribe() };
        let follower = Follower::new(Arc::clone(&self.registry), service.clone(), path, instances, settled);
        let _runtime = self.runtime.enter();
        Followed { known, _task: task::Guarded::new(task::spawn(follower.run())) }
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("snapshot_dir", &self.snapshot_dir).finish_non_exhaustive()
    }
}
