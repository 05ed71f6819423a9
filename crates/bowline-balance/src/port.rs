//! The port of a load balancer, as the mission document has it, and the set with its pickers behind it.

use std::{
    future::{Future, ready},
    sync::Arc,
};

use bowline_model::{Code, Instance, policy::BalancePolicy};
use bowline_runtime::time;

use crate::{hash::hash, picker::Balancer, set::InstanceSet, shape::Shape};

/// Selects a service for each request, among services that come and go.
pub trait LoadBalancer {
    /// What a service is selected for.
    type Request: ?Sized;
    /// What is selected.
    type Service;
    /// Why nothing is.
    type Error;

    /// Selects a service for that request.
    fn select_service(
        &self,
        request: &Self::Request,
    ) -> impl Future<Output = Result<Self::Service, Self::Error>> + Send;

    /// Replaces the services.
    fn update_services(&self, services: Vec<Self::Service>) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A set of instances with a balancer: the simplest [`LoadBalancer`], for who makes no calls by `bowline-upstream`.
#[derive(Debug)]
pub struct Balanced {
    set: InstanceSet<()>,
    balancer: Balancer,
}

/// Nobody can be selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no instance is there to be selected")]
pub struct NoInstance;

#[expect(clippy::unused_self, reason = "as all errors have it")]
impl NoInstance {
    /// What it is to a caller.
    pub fn code(self) -> Code {
        Code::Unavailable
    }

    /// Whether it may go well later.
    pub fn retryable(self) -> bool {
        true
    }
}

impl Balanced {
    /// Without instances yet, by that policy; zone and id are the caller's, as in [`Shape::of`].
    pub fn new(policy: &BalancePolicy, zone: Option<&str>, caller: &str) -> Self {
        Self { set: InstanceSet::new(Shape::of(policy, zone, caller)), balancer: Balancer::new(policy) }
    }
}

impl LoadBalancer for Balanced {
    /// The key, for the strategies that go by one; empty where there is none.
    type Request = [u8];
    type Service = Instance;
    type Error = NoInstance;

    fn select_service(&self, request: &[u8]) -> impl Future<Output = Result<Instance, NoInstance>> + Send {
        let key = (!request.is_empty()).then(|| hash(request));
        let set = self.set.load();
        let member = self.balancer.pick(&set, time::now(), key, |_| true).map(Arc::clone);
        ready(member.map(|member| member.instance.clone()).ok_or(NoInstance))
    }

    fn update_services(&self, services: Vec<Instance>) -> impl Future<Output = Result<(), NoInstance>> + Send {
        self.set.update(&services, |_| ());
        ready(Ok(()))
    }
}
