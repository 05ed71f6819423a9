//! Shifts the traffic to a service between its versions, and waits until its callers do as they are told.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use bowline_config::{ConfigManager, Error};
use bowline_deploy::{Failure, Steer};
use bowline_model::{
    ConfigKey, ServiceName,
    error::chain,
    mesh::{Snapshot, Steering, Workload},
    units,
};
use bowline_runtime::{BoxFuture, time};

use super::publish::Publisher;

/// How long callers have to say that they act by a split; who was told of it and has not by then is not waited for.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Splits traffic by the document `bowline/traffic`, which a [`ControlPlane`](crate::ControlPlane) compiles into what
/// each caller acts by.
///
/// What others have published there stays: mirrors, faults, the splits of other services, and one that was set by hand.
pub struct Splits {
    config: Arc<dyn ConfigManager>,
    publisher: Publisher,
}

/// Somebody who calls a service, and may not act by its split yet.
struct Caller {
    workload: Workload,
    /// Of their snapshot.
    key: ConfigKey,
    /// The version of it that was read last; reading it again would tell the same.
    read: Option<u64>,
    /// Whether that one has the split.
    is_told: bool,
}

impl Splits {
    /// Splits traffic in that configuration.
    pub fn new(config: Arc<dyn ConfigManager>) -> Self {
        Self { publisher: Publisher::new(Arc::clone(&config)), config }
    }

    /// Waits until all that call a service act by a split, or refused to; at most [`SETTLE_MAX`].
    ///
    /// # Errors
    /// That somebody is not even told of it by then.
    async fn settle(&self, service: &ServiceName, weights: &BTreeMap<String, u32>) -> Result<(), Failure> {
        let (until, mut callers) = (time::now() + SETTLE_MAX, None);
        while time::now() < until {
            let looked = time::timeout_at(until, self.look(service, weights, &mut callers)).await;
            match looked {
                Ok(Ok(())) if callers.as_ref().is_some_and(Vec::is_empty) => return Ok(()),
                Ok(Err(error)) => tracing::debug!(%service, error = chain(&error), "callers cannot be asked for now"),
                Ok(Ok(())) | Err(_) => {}
            }
            time::sleep(LOOK_EVERY).await;
        }
        let within = units::format_duration(SETTLE_MAX);
        let Some(callers) = callers else {
            return Err(Failure(format!("who calls {service} could not be found out within {within}")));
        };
        if let Some(Caller { workload, .. }) = callers.iter().find(|caller| !caller.is_told) {
            let failure =
                format!("{workload} was not told within {within} how {service} is split: nobody publishes it");
            return Err(Failure(failure));
        }
        let caller = callers.first().map(|caller| caller.workload.to_string());
        tracing::warn!(%service, caller, "not all callers say that they act by its split");
        Ok(())
    }

    /// Finds out who calls the service, the first time; takes out those of them who act by the split.
    async fn look(
        &self,
        service: &ServiceName,
        weights: &BTreeMap<String, u32>,
        callers: &mut Option<Vec<Caller>>,
    ) -> Result<(), Error> {
        let waiting = match callers {
            Some(callers) => callers,
            none => none.insert(self.callers(service).await?),
        };
        while let Some(caller) = waiting.last_mut() {
            if !self.acts_by(caller, service, weights).await? {
                break;
            }
            waiting.pop();
        }
        Ok(())
    }

    /// Those whose snapshots say that they call a service.
    async fn callers(&self, service: &ServiceName) -> Result<Vec<Caller>, Error> {
        let mut callers = Vec::new();
        for namespace in ConfigKey::SNAPSHOT_NAMESPACES {
            for summary in self.config.list(Some(namespace)).await? {
                let Some(workload) = summary.key.workload() else { continue };
                let Some(current) = self.config.get_config(&summary.key).await? else { continue };
                let snapshot: Snapshot = current.document.read()?;
                if snapshot.outbound.iter().any(|call| call.target == *service) {
                    callers.push(Caller { workload, key: summary.key, read: None, is_told: false });
                }
            }
        }
        Ok(callers)
    }

    /// Whether all that act by a snapshot have one that splits the service like that, or that does not call it.
    async fn acts_by(
        &self,
        caller: &mut Caller,
        service: &ServiceName,
        weights: &BTreeMap<String, u32>,
    ) -> Result<bool, Error> {
        let Some(current) = self.config.get_config(&caller.key).await? else { return Ok(true) };
        if caller.read != Some(current.number) {
            let snapshot: Snapshot = current.document.read()?;
            let call = snapshot.outbound.iter().find(|call| call.target == *service);
            (caller.read, caller.is_told) =
                (Some(current.number), call.is_none_or(|call| call.steering.split == *weights));
        }
        if !caller.is_told {
            // It is about to be published.
            return Ok(false);
        }
        let status = self.config.status(&caller.key).await?;
        Ok(status.instances.iter().all(|told| told.ack.version >= current.number))
    }
}

impl Steer for Splits {
    fn published<'a>(&'a self, service: &'a ServiceName) -> BoxFuture<'a, Result<Steering, Failure>> {
        Box::pin(async move {
            let steering = self.publisher.steering(service).await;
            steering.map_err(|error| Failure(format!("how {service} is split cannot be read: {}", chain(&error))))
        })
    }

    fn split<'a>(
        &'a self,
        service: &'a ServiceName,
        rollout: u64,
        weights: &'a BTreeMap<String, u32>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let failed = |why: String| Failure(format!("the traffic to {service} cannot be split: {why}"));
            let steering = self.publisher.split(service, rollout, weights).await;
            let steering = steering.map_err(|error| failed(chain(&error)))?;
            if !steering.is_split_by_others(rollout) {
                return self.settle(service, weights).await;
            }
            if weights.is_empty() {
                return Ok(());
            }
            Err(failed(format!("it is split by hand, which `bowline mesh split {service} --off` ends")))
        })
    }
}

impl fmt::Debug for Splits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Splits").finish_non_exhaustive()
    }
}
