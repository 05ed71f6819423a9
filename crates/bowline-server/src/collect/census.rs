//! How many instances each service has, by health: also none, so that an alert can say so.

use std::collections::BTreeMap;

use bowline_model::{Health, Instance, ServiceName};
use bowline_runtime::metric::{Gauge, Registry};

/// The most services that are counted: a metric keeps 2000 label sets.
const SERVICES_MAX: usize = 600;

const HEALTHS: [Health; 3] = [Health::Healthy, Health::Unhealthy, Health::Draining];

/// The gauges of each service that is known, or was.
#[derive(Debug)]
pub(super) struct Census {
    metrics: Registry,
    services: BTreeMap<ServiceName, [Gauge; 3]>,
    is_full: bool,
}

impl Census {
    /// Counts in that registry; those services from the beginning.
    pub(super) fn new(metrics: Registry, declared: Vec<ServiceName>) -> Self {
        let mut census = Self { metrics, services: BTreeMap::new(), is_full: false };
        for service in declared {
            census.know(&service);
        }
        census
    }

    /// Counts these instances, which are all.
    pub(super) fn count<'a>(&mut self, instances: impl Iterator<Item = &'a Instance>) {
        let mut counts = BTreeMap::<&ServiceName, [i64; 3]>::new();
        for instance in instances {
            let of_service = counts.entry(&instance.service).or_default();
            if let Some((_, count)) = HEALTHS.iter().zip(of_service).find(|(health, _)| **health == instance.health) {
                *count += 1;
            }
        }
        for service in counts.keys() {
            self.know(service);
        }
        for (service, gauges) in &self.services {
            let counts = counts.get(service).copied().unwrap_or_default();
            for (gauge, count) in gauges.iter().zip(counts) {
                gauge.set(count);
            }
        }
    }

    fn know(&mut self, service: &ServiceName) {
        if self.services.contains_key(service) {
            return;
        }
        if self.services.len() >= SERVICES_MAX {
            if !std::mem::replace(&mut self.is_full, true) {
                tracing::warn!(%service, max = SERVICES_MAX, "instances of further services are not counted");
            }
            return;
        }
        let gauges = HEALTHS.map(|health| {
            let labels = &[("service", service.as_str()), ("health", health.as_str())];
            self.metrics.gauge("bowline_instances", "Instances that are registered, by their health.", labels)
        });
        self.services.insert(service.clone(), gauges);
    }
}
