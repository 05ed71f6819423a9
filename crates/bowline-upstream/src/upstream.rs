//! A service as this process calls it.

use std::sync::Arc;

use bowline_model::{Instance, ServiceName, policy::CallPolicy};
use bowline_resilience::breaker::State;
use bowline_runtime::{metric::Registry, time::Instant};
use bowline_telemetry::Span;
use bowline_transport::{Body, Pool};
use http::{Request, Response};

use crate::{body::ResponseBody, error::Error};

/// A service as this process calls it: its instances, what is known of them, and the policy.
///
/// Shared by all cores.
#[derive(Debug)]
pub struct Upstream {
    service: ServiceName,
}

/// An instance, and what is known of it here: for listings.
#[derive(Debug, Clone)]
pub struct InstanceStatus {
    /// The instance as last told.
    pub instance: Instance,
    /// Its breaker; `None` where the policy has none.
    pub breaker: Option<State>,
    /// Requests in flight from here.
    pub in_flight: u64,
}

impl Upstream {
    /// A service without instances yet. `reporter` is `gateway` or `client`, for the metrics.
    pub fn new(service: ServiceName, policy: CallPolicy, reporter: &'static str, metrics: &Registry) -> Arc<Self> {
        let _ = (policy, reporter, metrics);
        Arc::new(Self { service })
    }

    /// Whom it calls.
    pub fn service(&self) -> &ServiceName {
        &self.service
    }

    /// Replaces the instances; what is known of one is kept while its id, address and protocol are the same.
    pub fn set_instances(&self, instances: &[Instance]) {
        let _ = instances;
        unimplemented!()
    }

    /// Replaces the policy for calls that begin from now on; where the breaker's policy changed, all breakers begin anew.
    pub fn set_policy(&self, policy: CallPolicy) {
        let _ = policy;
        unimplemented!()
    }

    /// The policy now.
    pub fn policy(&self) -> Arc<CallPolicy> {
        unimplemented!()
    }

    /// The instances, sorted by id.
    pub fn instances(&self) -> Vec<InstanceStatus> {
        unimplemented!()
    }

    /// Makes one call: deadline, retry, and per attempt pick, breaker, time limit, send.
    ///
    /// The future is `Send` where the pool is.
    ///
    /// # Errors
    /// Any [`Error`]; an answer with a bad status is no error here.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the attempt under way; its permit and its place in the load are
    /// given back, and it counts neither as a success nor as a failure.
    pub async fn call<P: Pool>(
        &self,
        pool: &P,
        request: Request<Body>,
        span: &mut Span,
        deadline: Option<Instant>,
    ) -> Result<Response<ResponseBody<P>>, Error> {
        let _ = (pool, request, span, deadline);
        unimplemented!()
    }
}
