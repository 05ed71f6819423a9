//! The control plane of a system in this process: the node with its API, and what the file brings along.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use bowline_mesh::ControlPlane;
use bowline_model::{ConfigKey, System, mesh::Workload};
use bowline_observe::traces::TraceStore;
use bowline_runtime::{
    metric,
    task::{self, JoinHandle},
    time,
};
use bowline_server::{MeshSettings, Node, OtlpAddrs};
use bowline_telemetry::{QueueReporter, SpanQueue};

use crate::brought::{self, Brought};

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
    /// Absent where no workload has a snapshot: there is no mesh, and was none.
    control: Option<ControlPlane>,
}

impl Platform {
    /// Opens the data folder and the API.
    pub(crate) async fn start(settings: Settings, system: &System, metrics: metric::Registry) -> anyhow::Result<Self> {
        let Settings { data_dir, api, otlp, traces_max, grace, ca_key } = settings;
        let mesh = system.mesh.as_ref().map(|policy| MeshSettings {
            system: system.name.clone(),
            services: brought::services(system).into_iter().collect(),
            certificate_ttl: policy.certificate_ttl,
            ca_key,
        });
        let settings = bowline_server::Settings {
            data_dir: data_dir.clone(),
            listen: api,
            otlp,
            traces_bytes_max: traces_max,
            grace: API_GRACE_MAX.min(grace),
            mesh,
        };
        let node = Node::start_with_routes(settings, metrics.clone(), brought::routes_check(system)).await?;
        Ok(Self { data_dir, metrics, node, control: None })
    }

    /// Publishes what the file brings along, and from then on what each workload acts by; says what is not as
    /// the file has it.
    pub(crate) async fn publish(&mut self, system: &System, brought: &[Brought]) -> anyhow::Result<Vec<String>> {
        let config = self.node.config();
        let notes = brought::publish(&*config, brought, &brought::services(system)).await?;
        // Who acts by a snapshot of a mesh that is no more is told that it is none, by the next one.
        let snapshots = ConfigKey::snapshot(&Workload::Gateway);
        if system.mesh.is_some() || !config.list(Some(snapshots.namespace())).await?.is_empty() {
            let control = ControlPlane::start(system.clone(), config).await;
            self.control = Some(control.context("cannot publish what the mesh acts by")?);
        }
        Ok(notes)
    }

    /// Stops the node, after whoever publishes there.
    pub(crate) async fn stop(self) {
        let Self { data_dir: _, metrics: _, node, control } = self;
        drop(control);
        node.stop().await;
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

/// The way of this process's own spans into its trace store.
#[derive(Debug)]
pub(crate) struct Spans {
    /// Where tracers put them.
    pub(crate) reporter: QueueReporter,
    storing: JoinHandle<()>,
}

impl Spans {
    /// Begins to store them.
    pub(crate) fn into_store(traces: Arc<TraceStore>, metrics: &metric::Registry) -> Self {
        let (reporter, spans) = bowline_telemetry::queue(SPANS_WAITING_MAX, metrics);
        Self { reporter, storing: task::spawn(store_spans(spans, traces)) }
    }

    /// Writes out the last ones, when all tracers are gone.
    pub(crate) async fn end(self) {
        let Self { reporter, storing } = self;
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
