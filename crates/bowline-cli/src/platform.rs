//! The control plane of a system in this process: the node with its API, and what the file brings along.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use bowline_mesh::ControlPlane;
use bowline_model::{
    InstanceId, ServiceName, System,
    instance::{METADATA_MESH, METADATA_MESH_MTLS},
    mesh::{Mode, Workload},
};
use bowline_observe::traces::TraceStore;
use bowline_provider_nats::Nats;
use bowline_runtime::{
    metric,
    task::{self, Guarded, JoinHandle},
    time,
};
use bowline_server::{Declared, Dial, MeshSettings, Messages, MonitorSettings, Node, OtlpAddrs};
use bowline_telemetry::{QueueReporter, SpanQueue, Tracer};
use bowline_transport::{Endpoint, PoolSettings};

use crate::{
    brought::{self, Brought},
    export, nats,
    sampling::{Follower, Sampling},
    topics,
};

/// Spans of this process that wait to be stored, at most.
const SPANS_WAITING_MAX: usize = 20_000;
/// Spans stored in one go.
const SPANS_BATCH_MAX: usize = 1000;
/// How long a span waits for company.
const SPANS_WAIT: Duration = Duration::from_millis(200);
/// How long the last spans may take to be stored.
const SPANS_END_MAX: Duration = Duration::from_secs(1);
/// How long requests to the API may take at the end: it is asked about the drain till then.
const API_GRACE_MAX: Duration = Duration::from_secs(1);

/// What a platform is told.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Where all state lives; absolute.
    pub(crate) data_dir: PathBuf,
    /// Where the API listens, if anywhere.
    pub(crate) api: Option<SocketAddr>,
    /// Where foreign SDKs send spans.
    pub(crate) otlp: OtlpAddrs,
    /// How much disk traces may take.
    pub(crate) traces_max: u64,
    /// How much disk metrics may take.
    pub(crate) metrics_max: u64,
    /// How long a drain may take.
    pub(crate) grace: Duration,
    /// The file of the key that seals the certificate authority's own; absent: in the data folder.
    pub(crate) ca_key: Option<PathBuf>,
}

/// The node, and where this process counts.
pub(crate) struct Platform {
    pub(crate) data_dir: PathBuf,
    pub(crate) metrics: metric::Registry,
    pub(crate) node: Node,
    /// Where messages are kept, if not in the node.
    nats: Option<Nats>,
    /// Which traces of this process are kept.
    pub(crate) sampling: Sampling,
    following: Option<Guarded<()>>,
    /// Renews the certificate by which metrics are collected.
    renewing: Option<Guarded<()>>,
    /// Absent where no workload has a snapshot: there is no mesh, no service has versions, and neither was so before.
    control: Option<ControlPlane>,
}

impl Platform {
    /// Opens the data folder and the API.
    pub(crate) async fn start(settings: Settings, system: &System, metrics: metric::Registry) -> anyhow::Result<Self> {
        let Settings { data_dir, api, otlp, traces_max, metrics_max, grace, ca_key } = settings;
        let nats = Box::pin(nats::connect(system, &metrics)).await?;
        let mesh = system.mesh.as_ref().map(|policy| MeshSettings {
            system: system.name.clone(),
            services: brought::services(system).into_iter().collect(),
            certificate_ttl: policy.certificate_ttl,
            ca_key,
        });
        let settings = bowline_server::Settings {
            data_dir: data_dir.clone(),
            listen: api,
            export: export::settings(system.tracing.export.as_ref(), &metrics)?,
            otlp,
            traces_bytes_max: traces_max,
            grace: API_GRACE_MAX.min(grace),
            mesh,
            shared_caches_bytes_max: system.caches.bytes_max,
            messages: nats.clone().map_or(Messages::Embedded, |bus| Messages::Elsewhere(Arc::new(bus))),
            monitor: MonitorSettings {
                bytes_max: metrics_max,
                policy: system.metrics.clone(),
                external_url: api.map(|addr| format!("http://{addr}")).unwrap_or_default(),
            },
            declared: declared(system),
            is_steered: system.has_versions(),
            system: Some(Arc::new(system.clone())),
        };
        let node = match Node::start_with_routes(settings, metrics.clone(), brought::routes_check(system)).await {
            Ok(node) => node,
            Err(error) => {
                end(nats).await;
                return Err(error.into());
            }
        };
        let sampling = Sampling::new(system.tracing.sampling.clone());
        Ok(Self { data_dir, metrics, node, nats, sampling, following: None, renewing: None, control: None })
    }

    /// Begins to collect metrics; in a mesh as the platform, which may read them.
    ///
    /// # Errors
    /// When the platform gets no certificate.
    async fn collect(&mut self, system: &System) -> anyhow::Result<()> {
        let mut pool = PoolSettings::default();
        let is_strict = system.mesh.as_ref().is_some_and(|mesh| mesh.mode == Mode::Strict);
        if let Some(authority) = self.node.authority() {
            let (identity, renewing) = bowline_mesh::identity(&authority, Workload::Platform, &self.metrics)?;
            pool.tls = Some(identity.client_tls());
            self.renewing = Some(renewing);
        }
        let is_meshed = pool.tls.is_some();
        let dial: Dial = Arc::new(move |instance| {
            let says_so = instance.metadata.get(METADATA_MESH).is_some_and(|mesh| mesh == METADATA_MESH_MTLS);
            let tls = (is_meshed && (is_strict || says_so)).then(|| instance.service.clone());
            Endpoint { tls, ..Endpoint::from(instance) }
        });
        self.node.collect(pool, dial).await;
        Ok(())
    }

    /// Publishes what the file brings along, and from then on what each workload acts by; says what is not as
    /// the file has it.
    pub(crate) async fn publish(&mut self, system: &System, brought: &[Brought]) -> anyhow::Result<Vec<String>> {
        let config = self.node.config();
        topics::declare(system, &*self.node.messages()).await?;
        let mut notes = brought::publish(&*config, brought, &brought::services(system)).await?;
        notes.extend(brought::alerts::notes(&system.alerts));
        self.collect(system).await?;
        self.following = Some(self.sampling.follow(self.node.config(), own_name()).await);
        let control = ControlPlane::start(system.clone(), config).await;
        self.control = Some(control.context("cannot publish what callers act by")?);
        Ok(notes)
    }

    /// Stops the node, after whoever publishes there.
    pub(crate) async fn stop(self) {
        let Self { data_dir: _, metrics: _, node, nats, sampling: _, following, renewing, control } = self;
        drop((control, following, renewing));
        node.stop().await;
        end(nats).await;
    }

    /// Says where tokens travel unencrypted.
    pub(crate) fn warn_if_open(&self) {
        let is_open = |addr: &SocketAddr| !addr.ip().to_canonical().is_loopback();
        if let Some(addr) = self.node.addr().filter(is_open) {
            tracing::warn!(%addr, "the API is open to other machines: tokens travel unencrypted until its TLS is built");
        }
        let OtlpAddrs { grpc, http } = self.node.otlp_addrs();
        for addr in [grpc, http].into_iter().flatten().filter(is_open) {
            tracing::warn!(%addr, "OTLP is open to other machines: tokens and spans travel unencrypted");
        }
    }
}

/// Gives groups back, so that another takes them over at once.
async fn end(nats: Option<Nats>) {
    if let Some(nats) = nats {
        nats.close().await;
    }
}

/// As whom this process says what it makes of documents.
fn own_name() -> Follower {
    const NAME: &str = "bowline";
    let service = ServiceName::new(NAME).expect("it is a name");
    let instance = InstanceId::new(NAME).expect("it is an id");
    Follower { instance, service, last_good: None }
}

/// What the health of a service is judged by: each that is to have instances should be there, and each call is waited
/// for.
fn declared(system: &System) -> Declared {
    let calls = system.services.iter().flat_map(|service| {
        let caller = &service.name;
        service.calls.iter().map(|call| (caller.clone(), call.target.clone()))
    });
    Declared {
        system: Some(system.name.clone()),
        services: system.services.iter().filter(|it| it.is_awaited()).map(|it| it.name.clone()).collect(),
        calls: calls.collect(),
    }
}

/// The way of this process's own spans into its trace store.
#[derive(Debug)]
pub(crate) struct Spans {
    /// Where tracers put them.
    reporter: QueueReporter,
    sampling: Sampling,
    storing: JoinHandle<()>,
}

impl Spans {
    /// Begins to store them.
    pub(crate) fn into_store(traces: Arc<TraceStore>, sampling: Sampling, metrics: &metric::Registry) -> Self {
        let (reporter, spans) = bowline_telemetry::queue(SPANS_WAITING_MAX, metrics);
        Self { reporter, sampling, storing: task::spawn(store_spans(spans, traces)) }
    }

    /// Makes tracers of this process, each for an instance of a service.
    pub(crate) fn tracers(&self) -> impl Fn(&str, &InstanceId) -> Tracer + Send + Sync + use<> {
        let (reporter, sampling) = (self.reporter.clone(), self.sampling.clone());
        move |service, instance| Tracer::new(service, instance.as_str(), sampling.of(service), reporter.clone())
    }

    /// Writes out the last ones, when all tracers are gone.
    pub(crate) async fn end(self) {
        let Self { reporter, sampling: _, storing } = self;
        drop(reporter);
        let _in_time = time::timeout(SPANS_END_MAX, storing).await;
    }
}

async fn store_spans(mut spans: SpanQueue, traces: Arc<TraceStore>) {
    while let Some(batch) = spans.next_batch(SPANS_BATCH_MAX, SPANS_WAIT).await {
        // What does not fit is dropped, and counted by the store.
        traces.append(batch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_switched_off_is_not_expected() {
        let file = r#"
            name = "iot"
            [service.broker]
            run = "broker"
            replicas = 0
            [service.device]
            run = "device"
            [service.elsewhere]
            [service.order]
            run = "order"
            replicas = 0
            version = "v1"
            [service.order.versions.v2]
            replicas = 1
        "#;
        let system = bowline_model::parse(file).unwrap();
        let names: Vec<_> = declared(&system).services.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["device", "elsewhere", "order"]);
    }
}
