//! Brings what is published to what was compiled, and takes out of the traffic what has ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bowline_config::{Author, ConfigManager, Document, Draft, Error, Format, Version};
use bowline_model::{
    ConfigKey, ServiceName, System,
    mesh::{BreakerOrder, Caller, InvalidTraffic, Snapshot, Steering, Traffic, Workload},
};

/// Who publishes.
const AUTHOR: &str = "bowline";

/// What writes to the manager of configuration.
pub(super) struct Publisher {
    config: Arc<dyn ConfigManager>,
    author: Author,
}

impl Publisher {
    pub(super) fn new(config: Arc<dyn ConfigManager>) -> Self {
        Self { config, author: Author::new(AUTHOR).expect("the name is short and printable") }
    }

    /// Publishes the snapshots that are not there as they are, and deletes those that are no more.
    ///
    /// # Errors
    /// The first; what can be published is, nevertheless.
    pub(super) async fn publish(&self, snapshots: &BTreeMap<Workload, Snapshot>) -> Result<(), Error> {
        let mut outcome = Ok(());
        for (workload, snapshot) in snapshots {
            let published = self.publish_one(&ConfigKey::snapshot(workload), snapshot).await;
            outcome = outcome.and(published);
        }
        outcome.and(self.delete_others(snapshots).await)
    }

    async fn publish_one(&self, key: &ConfigKey, snapshot: &Snapshot) -> Result<(), Error> {
        let document = to_document(snapshot);
        self.change(key, "", |current| {
            let is_there = current.is_some_and(|version| version.document == document);
            Ok((!is_there).then(|| document.clone()))
        })
        .await
    }

    /// Deletes the snapshots of services that there are no more.
    async fn delete_others(&self, snapshots: &BTreeMap<Workload, Snapshot>) -> Result<(), Error> {
        let keys: BTreeSet<_> = snapshots.keys().map(ConfigKey::snapshot).collect();
        let namespaces: BTreeSet<_> = keys.iter().map(ConfigKey::namespace).collect();
        for namespace in namespaces {
            for summary in self.config.list(Some(namespace)).await? {
                if keys.contains(&summary.key) {
                    continue;
                }
                // Whatever version it is by now: nobody but us writes it.
                self.config.delete_config(&summary.key, None).await?;
                tracing::info!(key = %summary.key, "snapshot deleted");
            }
        }
        Ok(())
    }

    /// Takes out of the traffic the faults and orders that have ended at `now`, in milliseconds since 1970, and what is said
    /// of services that are none of the system's any more, or for a mesh or for versions that it has no more:
    /// nobody could publish it anew with that in it.
    pub(super) async fn prune(&self, system: &System, services: &[ServiceName], now: u64) -> Result<(), Error> {
        let has_mesh = system.mesh.is_some();
        let is_steered = has_mesh || system.has_versions();
        self.change(&ConfigKey::traffic(), "what ended or is gone is taken out", |current| {
            let Some(current) = current else { return Ok(None) };
            // What cannot be acted by is its author's to mend.
            let Ok(before) = current.document.read::<Traffic>() else { return Ok(None) };
            let Ok(mut traffic) = read_traffic(current, services) else { return Ok(None) };
            traffic.end(now);
            traffic.faults.retain(|_| has_mesh);
            if !is_steered {
                for steering in traffic.steering.values_mut() {
                    *steering = Steering { breakers: std::mem::take(&mut steering.breakers), ..Steering::default() };
                }
                traffic.steering.retain(|_, steering| !steering.is_empty());
            }
            Ok((traffic != before).then(|| to_document(&traffic)))
        })
        .await
    }

    /// What is said of the traffic to a service.
    ///
    /// # Errors
    /// Also where the document that is there cannot be read.
    pub(super) async fn steering(&self, service: &ServiceName) -> Result<Steering, Error> {
        let mut traffic = traffic_of(self.config.get_config(&ConfigKey::traffic()).await?.as_ref())?;
        Ok(traffic.steering.remove(service).unwrap_or_default())
    }

    /// Splits the traffic to a service like that for its rollout; all else in the document stays, and so does a split
    /// that is not the rollout's: as it is now.
    ///
    /// # Errors
    /// Also where the document that is there cannot be read.
    pub(super) async fn split(
        &self,
        service: &ServiceName,
        rollout: u64,
        weights: &BTreeMap<String, u32>,
    ) -> Result<Steering, Error> {
        let told: Vec<_> = weights.iter().map(|(version, weight)| format!("{version} {weight}")).collect();
        let why = match told.as_slice() {
            [] => format!("{service} is split no more"),
            told => format!("{service} is split: {}", told.join(", ")),
        };
        let mut steering = Steering::default();
        self.change(&ConfigKey::traffic(), &why, |current| {
            let mut traffic = traffic_of(current)?;
            let before = traffic.steering.remove(service).unwrap_or_default();
            steering = before.clone();
            if before.is_split_by_others(rollout) {
                return Ok(None);
            }
            (steering.split, steering.rollout) = (weights.clone(), (!weights.is_empty()).then_some(rollout));
            if steering == before {
                return Ok(None);
            }
            if !steering.is_empty() {
                traffic.steering.insert(service.clone(), steering.clone());
            }
            Ok(Some(to_document(&traffic)))
        })
        .await?;
        Ok(steering)
    }

    /// Publishes what `edit` makes of the current version, if anything.
    async fn change(
        &self,
        key: &ConfigKey,
        comment: &str,
        mut edit: impl FnMut(Option<&Version>) -> Result<Option<Document>, Error>,
    ) -> Result<(), Error> {
        let changed = bowline_config::change(&*self.config, key, |current| {
            let draft = |document| Draft { comment: comment.to_owned(), ..Draft::new(document, self.author.clone()) };
            Ok::<_, Error>(edit(current)?.map(draft))
        });
        if let Some(version) = changed.await? {
            tracing::info!(%key, version = version.number, "published");
        }
        Ok(())
    }
}

/// As people read it, too: `bowline config diff` shows what changed.
fn to_document(value: &impl serde::Serialize) -> Document {
    let mut text = serde_json::to_string_pretty(value).expect("snapshots and traffic have a form in JSON");
    text.push('\n');
    Document::new(Format::Json, text)
}

/// The traffic of a version; none: nothing is said.
fn traffic_of(version: Option<&Version>) -> Result<Traffic, Error> {
    version.map_or(Ok(Traffic::default()), |version| version.document.read())
}

/// Reads the traffic, without what is said of services that are none of the system's any more.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read_traffic(version: &Version, services: &[ServiceName]) -> Result<Traffic, String> {
    let mut traffic: Traffic = version.document.read().map_err(|error| error.to_string())?;
    traffic.steering.retain(|service, _| services.contains(service));
    let is_of_system = |workload: &Workload| workload.service().is_none_or(|service| services.contains(service));
    traffic.faults.retain(|fault| services.contains(&fault.service) && fault.from.as_ref().is_none_or(is_of_system));
    let calls = |order: &BreakerOrder| match &order.caller {
        Some(Caller::Service(caller)) => services.contains(caller),
        Some(Caller::Gateway | Caller::Route(_)) | None => true,
    };
    for steering in traffic.steering.values_mut() {
        steering.breakers.retain(calls);
    }
    let told = |problems: Vec<InvalidTraffic>| problems.first().map_or_else(String::new, ToString::to_string);
    match traffic.check(services) {
        Ok(()) => Ok(traffic),
        Err(problems) => Err(told(problems)),
    }
}
