//! What is scraped: every instance of the registry, where it says, and what was given beside. And how many instances
//! each service has, as a metric of this process.

mod census;
mod follow;

use std::{fmt, sync::Arc};

use bowline_model::{
    Instance, ServiceName,
    instance::{METADATA_METRICS, METADATA_METRICS_OFF},
};
use bowline_observe::{
    labels::Labels,
    scrape::{Collector, HttpFetch, Place, Settings, Sink, Target},
};
use bowline_registry::Registry;
use bowline_runtime::task;
use bowline_telemetry::names;
use bowline_transport::{Endpoint, SharedPool};
use tokio::sync::watch;

use self::{census::Census, follow::Follower};

/// Where metrics are without a word about it.
const METRICS_PATH: &str = "/metrics";

/// Says how an instance is dialled: in a mesh under TLS.
pub type Dial = Arc<dyn Fn(&Instance) -> Endpoint + Send + Sync>;

/// What is collected, and how.
pub struct CollectSettings {
    /// How often, how long, how much; its metrics are what [`Place::Process`] exposes too.
    pub scrape: Settings,
    /// Connections to scrape targets; in a mesh with the platform's identity.
    pub pool: SharedPool,
    /// How instances are dialled.
    pub dial: Dial,
    /// Scrape targets beside the registry's instances.
    pub fixed: Vec<Target>,
    /// Services that count as known before they have an instance.
    pub declared: Vec<ServiceName>,
}

/// Scrapes until it is dropped or [stopped](Collecting::stop).
#[derive(Debug)]
pub struct Collecting {
    collector: Collector,
    following: task::Guarded<()>,
}

impl CollectSettings {
    /// As the scrape settings say, in the clear, nothing beside the registry's instances.
    pub fn new(scrape: Settings) -> Self {
        let pool = SharedPool::new(bowline_transport::PoolSettings::default());
        let dial: Dial = Arc::new(|instance| Endpoint::from(instance));
        Self { scrape, pool, dial, fixed: Vec::new(), declared: Vec::new() }
    }
}

impl Collecting {
    /// Begins to follow the registry and to scrape into the sink.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(settings: CollectSettings, registry: Arc<dyn Registry>, sink: Arc<dyn Sink>) -> Self {
        let CollectSettings { scrape, pool, dial, fixed, declared } = settings;
        let (list, targets) = watch::channel(Arc::from(fixed.clone()));
        let census = Census::new(scrape.metrics.clone(), declared);
        let follower = Follower::new(registry, census, move |instances| {
            let of_registry = instances.values().filter_map(|instance| target(instance, &dial));
            list.send_replace(fixed.iter().cloned().chain(of_registry).collect());
        });
        let fetch = Arc::new(HttpFetch::new(pool, scrape.metrics.clone()));
        let collector = Collector::start(scrape, &targets, fetch, sink);
        Self { collector, following: task::Guarded::new(task::spawn(follower.run())) }
    }

    /// Who scrapes.
    pub fn collector(&self) -> &Collector {
        &self.collector
    }

    /// Stops; when this returns, nothing more goes to the sink.
    ///
    /// # Cancel safety
    /// It stops nevertheless.
    pub async fn stop(self) {
        let Self { collector, following } = self;
        drop(following);
        collector.stop().await;
    }
}

impl fmt::Debug for CollectSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scrape, pool: _, dial: _, fixed, declared } = self;
        f.debug_struct("CollectSettings")
            .field("scrape", scrape)
            .field("fixed", fixed)
            .field("declared", declared)
            .finish_non_exhaustive()
    }
}

/// An instance as a scrape target; none where it says that it is none.
fn target(instance: &Instance, dial: &Dial) -> Option<Target> {
    let said = instance.metadata.get(METADATA_METRICS).map(String::as_str);
    if said == Some(METADATA_METRICS_OFF) {
        return None;
    }
    let path = said.unwrap_or(METRICS_PATH).to_owned();
    Some(Target {
        job: instance.service.as_str().into(),
        instance: instance.id.as_str().into(),
        labels: Labels::new([(names::LABEL_VERSION, instance.version.as_str())]),
        place: Place::Http { endpoint: dial(instance), host: None, path },
        is_optional: said.is_none(),
    })
}
