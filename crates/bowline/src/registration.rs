//! A process that registers itself: on its own task, again and again while the server is away.

use std::sync::Arc;

use bowline_model::{Instance, InstanceId, error::chain};
use bowline_registry::{Discovered, Error, HeartbeatAnswer, InstanceWatch, Query, Registry, Revision, ServiceSummary};
use bowline_runtime::{
    BoxFuture, drain, rand, task,
    time::{self, Duration},
};

/// How long the registration outlives its process.
const LEASE_TTL: Duration = Duration::from_secs(10);

/// Time between heartbeats: two may be lost before the lease ends.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(3);

/// The wait after a failure, more or less: half of it is up to chance.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The longest a goodbye may take.
const GOODBYE_MAX: Duration = Duration::from_secs(2);

/// A registration that is being kept.
#[derive(Debug)]
pub(crate) struct Registration {
    drainer: drain::Drainer,
}

impl Registration {
    /// Registers and heartbeats until ended.
    pub(crate) fn start<R: Registry>(registry: Arc<R>, instance: Instance) -> Self {
        let (drainer, drain) = drain::channel();
        task::spawn(keep(registry, instance, drain));
        Self { drainer }
    }

    /// Deregisters; gives up after two seconds, the lease then ends by itself.
    pub(crate) async fn end(mut self) {
        let _in_time = time::timeout(GOODBYE_MAX, self.drainer.drain()).await;
    }
}

async fn keep<R: Registry>(registry: Arc<R>, instance: Instance, mut drain: drain::Drain) {
    let id = instance.id.clone();
    let mut is_registered = false;
    // Also when the answer did not come: the server may have done it.
    let mut was_attempted = false;
    let mut has_failed = false;
    while !drain.is_draining() {
        was_attempted = true;
        let step = async {
            if is_registered {
                let answers = registry.heartbeat(std::slice::from_ref(&id)).await?;
                return Ok(answers.first().is_some_and(|answer| answer.known));
            }
            registry.register(instance.clone(), Some(LEASE_TTL)).await.map(|_| true)
        };
        let Some(outcome) = drain.or_drain(step).await else { break };
        let pause = match outcome {
            Ok(true) => {
                is_registered = true;
                has_failed = false;
                HEARTBEAT_EVERY
            }
            Ok(false) => {
                is_registered = false;
                Duration::ZERO
            }
            Err(error) => {
                if !std::mem::replace(&mut has_failed, true) {
                    tracing::warn!(error = chain(&error), "registration waits for the server");
                }
                RETRY_AFTER.mul_f64(0.5 + rand::unit())
            }
        };
        if drain.or_drain(time::sleep(pause)).await.is_none() {
            break;
        }
    }
    if was_attempted && let Err(error) = registry.deregister(&id).await {
        tracing::debug!(error = chain(&error), "registration is left to the end of its lease");
    }
}

/// The registry of a process that was told of none: it knows nobody.
#[derive(Debug)]
pub(crate) struct NoRegistry;

fn none<T: Send + 'static>() -> BoxFuture<'static, Result<T, Error>> {
    Box::pin(async { Err(Error::Unavailable(None)) })
}

impl Registry for NoRegistry {
    fn register(&self, _: Instance, _: Option<Duration>) -> BoxFuture<'_, Result<Revision, Error>> {
        none()
    }

    fn heartbeat(&self, _: &[InstanceId]) -> BoxFuture<'_, Result<Vec<HeartbeatAnswer>, Error>> {
        none()
    }

    fn deregister(&self, _: &InstanceId) -> BoxFuture<'_, Result<bool, Error>> {
        none()
    }

    fn discover(&self, _: &Query) -> BoxFuture<'_, Result<Discovered, Error>> {
        none()
    }

    fn services(&self) -> BoxFuture<'_, Result<Vec<ServiceSummary>, Error>> {
        none()
    }

    fn watch(&self, _: &Query, _: Revision) -> BoxFuture<'_, Result<Box<dyn InstanceWatch>, Error>> {
        none()
    }
}
