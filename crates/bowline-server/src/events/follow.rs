//! What looks for changes while somebody listens: at each change of the store, and now and then at what is not in it.

use std::sync::Arc;

use bowline_messaging::{MessageBus, TopicInfo};
use bowline_model::ConfigKey;
use bowline_provider_remote::wire::EventKind;
use bowline_runtime::{
    task,
    time::{self, Duration},
};
use bowline_store::{Error, Store, Watch};

use super::News;
use crate::{api::Shared, deployments, monitor::Queries};

/// How often it is looked at what is not in the store.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the bus may take to say what there is.
const TOPICS_MAX: Duration = Duration::from_secs(2);
/// The wait before the store is watched anew after that failed.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Where changes are seen.
pub(super) struct Sources {
    store: Arc<dyn Store>,
    messages: Arc<dyn MessageBus>,
    queries: Queries,
    deployments: deployments::Slot,
}

impl Sources {
    pub(super) fn of(shared: &Shared) -> Self {
        Self {
            store: shared.store.clone(),
            messages: shared.messages.clone(),
            queries: shared.queries.clone(),
            deployments: shared.deployments.clone(),
        }
    }
}

/// The task that looks. When it is dropped, it ends.
#[derive(Debug, Default)]
pub(super) struct Following {
    _task: Option<task::Guarded<()>>,
}

impl Following {
    /// Tells what changes from now on.
    ///
    /// # Errors
    /// When the store cannot be watched.
    pub(super) async fn start(news: News, sources: Sources) -> Result<Self, Error> {
        let watch = open(&*sources.store).await?;
        let task = task::spawn(async move {
            let messages = sources.messages.clone();
            let mut looking = Looking { topics: topics(&*messages).await, ..Looking::of(&sources) };
            tokio::join!(follow(&*sources.store, watch, &news), looking.run(&sources, &news));
        });
        Ok(Self { _task: Some(task::Guarded::new(task)) })
    }
}

// === what is in the store ===

/// Every change from now on.
async fn open(store: &dyn Store) -> Result<Watch, Error> {
    store.watch("", store.revision().await?).await
}

/// Tells each change, until the store is closed.
async fn follow(store: &dyn Store, mut watch: Watch, news: &News) {
    loop {
        let error = loop {
            match watch.next().await {
                Ok(event) => news.tell(kinds_of(event.change.key())),
                Err(error) => break error,
            }
        };
        tracing::debug!(%error, "changes of the store are watched anew");
        watch = loop {
            match open(store).await {
                Ok(watch) => break watch,
                Err(Error::Closed) => return,
                Err(_) => time::sleep(RETRY_AFTER).await,
            }
        };
        // Nobody knows what was missed.
        news.tell(&EventKind::ALL);
    }
}

/// Of what kinds a change of that key is.
fn kinds_of(key: &str) -> &'static [EventKind] {
    let (area, rest) = key.split_once('/').unwrap_or((key, ""));
    match area {
        "registry" => &[EventKind::Services, EventKind::Health],
        "health" => &[EventKind::Health],
        "alerts" => &[EventKind::Alerts],
        "deploy" => &[EventKind::Deployments],
        "mesh" => &[EventKind::Mesh],
        // `doc/KEY`, `version/KEY/N`, `schema/KEY`, `ack/KEY/INSTANCE`.
        "config" => rest.split_once('/').map_or(&[EventKind::Config], |(_, document)| kinds_of_document(document)),
        _ => &[],
    }
}

fn kinds_of_document(rest: &str) -> &'static [EventKind] {
    let mut parts = rest.split('/');
    let (namespace, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let is = |key: &ConfigKey| key.namespace() == namespace && key.name() == name;
    if is(&ConfigKey::routes()) {
        &[EventKind::Routes, EventKind::Config]
    } else if is(&ConfigKey::traffic()) {
        &[EventKind::Faults, EventKind::Mesh, EventKind::Config]
    } else if is(&ConfigKey::alerts()) {
        &[EventKind::Alerts, EventKind::Config]
    } else if ConfigKey::SNAPSHOT_NAMESPACES.contains(&namespace) {
        &[EventKind::Mesh]
    } else {
        &[EventKind::Config]
    }
}

// === what is not ===

/// What was seen when it was looked last.
struct Looking {
    samples: u64,
    rollouts: u64,
    topics: Option<Vec<TopicInfo>>,
}

impl Looking {
    /// What is known at once.
    fn of(sources: &Sources) -> Self {
        let rollouts = sources.deployments.get().map_or(0, deployments::Deployments::changes);
        Self { samples: sources.queries.samples(), rollouts, topics: None }
    }

    /// Looks now and then, for ever.
    async fn run(&mut self, sources: &Sources, news: &News) {
        loop {
            time::sleep(LOOK_EVERY).await;
            let Self { samples, rollouts, topics: _ } = Self::of(sources);
            let is_changed = [
                (EventKind::Metrics, std::mem::replace(&mut self.samples, samples) != samples),
                (EventKind::Deployments, std::mem::replace(&mut self.rollouts, rollouts) != rollouts),
                (EventKind::Messages, self.take_topics(topics(&*sources.messages).await)),
            ];
            let kinds: Vec<EventKind> = is_changed.into_iter().filter(|(_, is)| *is).map(|(kind, _)| kind).collect();
            news.tell(&kinds);
        }
    }

    /// Whether they are others than before. A bus that does not answer says nothing.
    fn take_topics(&mut self, topics: Option<Vec<TopicInfo>>) -> bool {
        let is_changed = topics.is_some() && topics != self.topics;
        if is_changed {
            self.topics = topics;
        }
        is_changed
    }
}

async fn topics(bus: &dyn MessageBus) -> Option<Vec<TopicInfo>> {
    time::timeout(TOPICS_MAX, bus.topics()).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, expect: &[EventKind]) {
        assert_eq!(kinds_of(key), expect, "{key}");
    }

    #[test]
    fn keys_of_the_store_are_of_kinds() {
        use EventKind::{Alerts, Config, Deployments, Faults, Health, Mesh, Routes, Services};
        check("registry/instances/order-1", &[Services, Health]);
        check("health/past/0000000000000001", &[Health]);
        check("config/doc/shop/order", &[Config]);
        check("config/schema/shop/order", &[Config]);
        check("config/version/bowline/routes/00000000000000000001", &[Routes, Config]);
        check("config/ack/bowline/routes/gateway-1", &[Routes, Config]);
        check("config/doc/bowline/routes2", &[Config]);
        check("config/doc/bowline/traffic", &[Faults, Mesh, Config]);
        check("config/doc/bowline/alerts", &[Alerts, Config]);
        check("config/ack/bowline.service/order/order-1", &[Mesh]);
        check("alerts/v1/silences/a", &[Alerts]);
        check("deploy/live/order", &[Deployments]);
        check("mesh/certificates/a", &[Mesh]);
        for key in ["audit/other/ff", "access/tokens/root", "format", ""] {
            check(key, &[]);
        }
    }
}
