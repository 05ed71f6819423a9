//! What a supervisor is told: folders, the keeper's executable, and its bounds in time.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bowline_model::{Secret, ServiceName, policy::Backoff};
use bowline_registry::health::ProbeWatcher;
use bowline_runtime::metric;

use crate::{Companions, expand::Placeholders, workspace::Layout};

/// What a [`Supervisor`](crate::Supervisor) is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where commands run.
    pub root: PathBuf,
    /// What `${target}` stands for: Cargo's target folder.
    pub target_dir: PathBuf,
    /// What `${data}` stands for: the folder of all state.
    pub data_dir: PathBuf,
    /// Where the platform's API is reached; absent: instances are not told.
    pub api: Option<SocketAddr>,
    /// What instances show to the API; absent: they are given no credential.
    pub token: Option<Secret>,
    /// What services show to the Redis of `[caches]`; absent: nothing.
    pub redis_token: Option<Secret>,
    /// What services show to the PostgreSQL of `[databases]`; absent: nothing.
    pub postgres_credential: Option<Secret>,
    /// The executable whose subcommand `keeper` calls [`keeper::run`](crate::keeper::run).
    pub keeper: PathBuf,
    /// The longest a drain waits between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// How long callers may take to hear that an instance is scaled away before it takes nothing new any more;
    /// the grace period begins after it. Of no concern when all is drained, where callers go first.
    pub notice: Duration,
    /// The longest a service may take until its first successful check.
    pub startup_max: Duration,
    /// The lease of an instance in the registry; at least three times `heartbeat_every`.
    pub lease_ttl: Duration,
    /// Time between heartbeats, which go out for all instances at once.
    pub heartbeat_every: Duration,
    /// The wait before a crashed instance is started again; it doubles with each crash.
    pub restart: Backoff,
    /// An instance that was up for so long begins with the shortest wait again.
    pub stable_after: Duration,
    /// Releases, by service and version, that a start neither waits for nor fails of, and does not build: who rolls
    /// them out asks for them again, and judges them. Those that need no build of their own are begun.
    pub on_trial: BTreeSet<(ServiceName, String)>,
    /// Who stands beside each instance; absent: instances listen where they are registered.
    pub companions: Option<Arc<dyn Companions>>,
    /// Who is told of every check; absent: nobody.
    pub probes: Option<Probes>,
    /// Where restarts and dropped events are counted.
    pub metrics: metric::Registry,
}

/// Who is told of every check.
#[derive(Clone)]
pub struct Probes(pub Arc<dyn ProbeWatcher>);

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Probes").finish()
    }
}

impl Settings {
    /// The settings for a system of that layout, everything else at its default: 10 s of grace,
    /// 500 ms of notice, 60 s to start, leases of 10 s with heartbeats every 3 s, restarts after 100 ms to 30 s.
    pub fn new(layout: Layout, data_dir: PathBuf, keeper: PathBuf) -> Self {
        Self {
            root: layout.root,
            target_dir: layout.target_dir,
            data_dir,
            api: None,
            token: None,
            redis_token: None,
            postgres_credential: None,
            keeper,
            grace: Duration::from_secs(10),
            notice: Duration::from_millis(500),
            startup_max: Duration::from_mins(1),
            lease_ttl: Duration::from_secs(10),
            heartbeat_every: Duration::from_secs(3),
            restart: Backoff { min: Duration::from_millis(100), max: Duration::from_secs(30) },
            stable_after: Duration::from_secs(30),
            on_trial: BTreeSet::new(),
            companions: None,
            probes: None,
            metrics: metric::Registry::default(),
        }
    }

    /// What placeholders stand for.
    pub(crate) fn placeholders(&self) -> Placeholders<'_> {
        Placeholders { target: &self.target_dir, data: &self.data_dir }
    }
}
