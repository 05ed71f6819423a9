//! Shifts the traffic to a service between its versions, and waits until its callers do as they are told.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bowline_config::{ConfigManager, Error};
use bowline_deploy::{Failure, Steer};
use bowline_model::{
    ConfigKey, ServiceName,
    error::chain,
    mesh::{Snapshot, Workload},
};
use bowline_runtime::{BoxFuture, time};

use super::publish::Publisher;

/// How long callers have to say that they act by a split; who has not by then is not waited for.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Splits traffic by the document `bowline/traffic`, which a [`ControlPlane`](crate::ControlPlane) compiles into what
/// each caller acts by.
///
/// What others have published there stays: mirrors, faults, the splits of other services.
pub struct Splits {
    config: Arc<dyn ConfigManager>,
    publisher: Publisher,
}

impl Splits {
    /// Splits traffic in that configuration.
    pub fn new(config: Arc<dyn ConfigManager>) -> Self {
        Self { publisher: Publisher::new(Arc::clone(&config)), config }
    }

    /// Waits until all that call a service act by a split, or refused to.
    async fn settled(&self, service: &ServiceName, weights: &BTreeMap<String, u32>) {
        loop {
            match self.waits_for(service, weights).await {
                Ok(None) => return,
                Ok(Some(_)) => {}
                Err(error) => tracing::debug!(%service, error = chain(&error), "callers cannot be asked for now"),
            }
            time::sleep(LOOK_EVERY).await;
        }
    }

    /// Somebody who does not act by it yet.
    async fn waits_for(
        &self,
        service: &ServiceName,
        weights: &BTreeMap<String, u32>,
    ) -> Result<Option<Workload>, Error> {
        for namespace in ConfigKey::SNAPSHOT_NAMESPACES {
            for summary in self.config.list(Some(namespace)).await? {
                if !self.acts_by(&summary.key, service, weights).await? {
                    return Ok(summary.key.workload());
                }
            }
        }
        Ok(None)
    }

    /// Whether all that act by a snapshot have one that splits the service like that, or that does not call it.
    async fn acts_by(
        &self,
        key: &ConfigKey,
        service: &ServiceName,
        weights: &BTreeMap<String, u32>,
    ) -> Result<bool, Error> {
        let Some(current) = self.config.get_config(key).await? else { return Ok(true) };
        let snapshot: Snapshot = current.document.read()?;
        let Some(call) = snapshot.outbound.iter().find(|call| call.target == *service) else { return Ok(true) };
        if call.steering.split != *weights {
            // It is about to be published.
            return Ok(false);
        }
        let status = self.config.status(key).await?;
        Ok(status.instances.iter().all(|told| told.ack.version >= current.number))
    }
}

impl Steer for Splits {
    fn split<'a>(
        &'a self,
        service: &'a ServiceName,
        weights: &'a BTreeMap<String, u32>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.publisher
                .split(service, weights)
                .await
                .map_err(|error| Failure(format!("the traffic to {service} cannot be split: {}", chain(&error))))?;
            if time::timeout(SETTLE_MAX, self.settled(service, weights)).await.is_err() {
                let caller = self.waits_for(service, weights).await.ok().flatten();
                let caller = caller.map(|caller| caller.to_string());
                tracing::warn!(%service, caller, "not all callers say that they act by its split");
            }
            Ok(())
        })
    }
}

impl fmt::Debug for Splits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Splits").finish_non_exhaustive()
    }
}
