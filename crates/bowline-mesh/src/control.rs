//! Publishes what each workload acts by, whenever routes or traffic change.

mod follow;
mod publish;
mod steer;

use std::{sync::Arc, time::Duration};

use bowline_config::{ConfigManager, Error, Version};
use bowline_model::{
    ConfigKey, RouteTable, ServiceName, System,
    error::chain,
    mesh::{Traffic, Workload},
    parse,
    policy::Backoff,
};
use bowline_resilience::retry;
use bowline_runtime::{rand, task, time};

pub use self::steer::Splits;
use self::{follow::Followed, publish::Publisher};
use crate::compile;

/// The wait after something failed: longer each time, to an end.
const BACKOFF: Backoff = Backoff { min: Duration::from_millis(200), max: Duration::from_secs(10) };

/// The longest a fault or an order that ended is listed still where the clock is set meanwhile.
const PRUNE_EVERY: Duration = Duration::from_mins(1);

/// What compiles and publishes the snapshots of a system. Dropping it ends that; what is published stays.
#[derive(Debug)]
pub struct ControlPlane {
    _working: task::Guarded<()>,
}

/// What the snapshots are compiled from, and where they go.
struct Work {
    system: System,
    services: Vec<ServiceName>,
    table: RouteTable,
    traffic: Traffic,
    /// Whether there may be something in the document that has ended or is gone.
    is_prune_due: bool,
    /// Whether snapshots are published, or were.
    is_publishing: bool,
    publisher: Publisher,
}

/// What there is to do next.
enum Due {
    Routes(Option<Version>),
    Traffic(Option<Version>),
    /// Some fault or order may have ended, or something that failed is to be tried again.
    Time,
}

impl ControlPlane {
    /// Publishes the snapshots of a system, and begins to follow `bowline/routes` and `bowline/traffic`.
    ///
    /// While no routes are published, those of the system count, and when they are deleted those that were; a
    /// document that cannot be read is warned of, and what was in force stays. What is published already is
    /// not published again. Snapshots of services that the system has no more are deleted, and what the
    /// traffic says of them is taken out, as are faults and orders to breakers that ended; without a mesh all faults, and where no
    /// service has a version all splits and mirrors, since nobody can act by them. In such a system nothing is published
    /// before breakers are steered by hand.
    ///
    /// # Errors
    /// Where a document cannot be read or a snapshot not be published now. Later on that is warned of and
    /// tried again.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open which snapshots are published.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn start(system: System, config: Arc<dyn ConfigManager>) -> Result<Self, Error> {
        let routes = config.get_config(&ConfigKey::routes()).await?;
        let traffic = config.get_config(&ConfigKey::traffic()).await?;
        // Who acts by a snapshot of a mesh that is no more is told that it is none, by the next one.
        let was_published = !config.list(Some(ConfigKey::snapshot(&Workload::Gateway).namespace())).await?.is_empty();
        let mut work = Work::new(system, Arc::clone(&config));
        work.is_publishing |= was_published;
        work.take_routes(routes);
        work.take_traffic(traffic);
        work.publish().await?;
        Ok(Self { _working: task::Guarded::new(task::spawn(work.run(config))) })
    }
}

impl Work {
    fn new(system: System, config: Arc<dyn ConfigManager>) -> Self {
        let services = system.services.iter().map(|service| service.name.clone()).collect();
        let (table, traffic) = (system.table.clone(), Traffic::default());
        let is_publishing = system.mesh.is_some() || system.has_versions();
        let publisher = Publisher::new(config);
        Self { system, services, table, traffic, is_prune_due: false, is_publishing, publisher }
    }

    /// Works, for ever.
    async fn run(mut self, config: Arc<dyn ConfigManager>) {
        let mut routes = Followed::new(Arc::clone(&config), ConfigKey::routes());
        let mut traffic = Followed::new(config, ConfigKey::traffic());
        let mut failures = 0;
        loop {
            let wait = if failures == 0 { self.until_prune() } else { backoff(failures) };
            let due = tokio::select! {
                routes = routes.next() => Due::Routes(routes),
                traffic = traffic.next() => Due::Traffic(traffic),
                () = time::sleep(wait) => Due::Time,
            };
            match due {
                Due::Routes(version) => self.take_routes(version),
                Due::Traffic(version) => self.take_traffic(version),
                Due::Time => {}
            }
            match self.catch_up().await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    tracing::warn!(
                        error = chain(&error),
                        "the mesh's snapshots cannot be published, they are tried again"
                    );
                }
            }
        }
    }

    /// Does all that is due.
    async fn catch_up(&mut self) -> Result<(), Error> {
        let now = time::unix_millis_now();
        self.is_prune_due |= self.traffic.end(now);
        self.publish().await?;
        if self.is_prune_due {
            self.publisher.prune(&self.system, &self.services, now).await?;
            self.is_prune_due = false;
        }
        Ok(())
    }

    async fn publish(&mut self) -> Result<(), Error> {
        self.is_publishing |= self.traffic.steering.values().any(|steering| !steering.breakers.is_empty());
        if !self.is_publishing {
            return Ok(());
        }
        let snapshots = compile(&self.system, &self.table, &self.traffic);
        self.publisher.publish(&snapshots).await
    }

    fn take_routes(&mut self, version: Option<Version>) {
        // That there are none is no proof that nothing is to be served: gateways go on, too.
        let Some(version) = version else { return };
        match parse::routes(&version.document.text, &self.services) {
            Ok(table) => self.table = table,
            Err(problems) => {
                let problem = problems.first().map(ToString::to_string);
                tracing::warn!(
                    version = version.number,
                    problem,
                    "published routes cannot be read, those before count"
                );
            }
        }
    }

    fn take_traffic(&mut self, version: Option<Version>) {
        let Some(version) = version else {
            self.traffic = Traffic::default();
            return;
        };
        match publish::read_traffic(&version, &self.services) {
            Ok(traffic) => {
                self.traffic = traffic;
                self.is_prune_due = true;
            }
            Err(problem) => {
                tracing::warn!(version = version.number, problem, "traffic cannot be read, what was in force stays");
            }
        }
    }

    /// The time to the end of the fault, or the order, that ends first.
    fn until_prune(&self) -> Duration {
        let left = |end: u64| Duration::from_millis(end.saturating_sub(time::unix_millis_now()));
        self.traffic.ends_first().map_or(PRUNE_EVERY, |end| left(end).clamp(BACKOFF.min, PRUNE_EVERY))
    }
}

fn backoff(failures: u32) -> Duration {
    retry::backoff(&BACKOFF, failures, rand::unit()).max(BACKOFF.min)
}
