//! The mesh of `bowline up`: a sidecar beside each instance, in this process.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use bowline_mesh::{Mesh, sidecar::Sidecar};
use bowline_model::{Address, System, mesh::Workload, system::Outbound};
use bowline_registry::Discovery;
use bowline_runtime::BoxFuture;
use bowline_supervisor::{Beside, Companion, Companions};

use crate::platform::{Platform, Spans};

/// Where sidecars take connections: on this machine, as all of the system is.
const LISTEN: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What the workloads of this process share, where the system has a mesh.
///
/// # Errors
/// When the node has no certificate authority, which is a fault of ours.
pub(crate) fn mesh(system: &System, platform: &Platform, spans: &Spans) -> anyhow::Result<Option<Arc<Mesh>>> {
    if system.mesh.is_none() {
        return Ok(None);
    }
    let Platform { data_dir, metrics, node, .. } = platform;
    let tracers = spans.tracers();
    let snapshots = data_dir.join("discovery").join("sidecars");
    Ok(Some(Arc::new(Mesh {
        authority: node.authority().context("the node has no certificate authority")?,
        discovery: Arc::new(Discovery::new(node.registry(), Some(snapshots))),
        config: node.config(),
        tracers: Arc::new(move |service, instance| tracers(service.as_str(), instance)),
        metrics: metrics.clone(),
        listen: LISTEN,
    })))
}

/// Gives each instance its sidecar.
pub(crate) struct Sidecars {
    mesh: Arc<Mesh>,
    system: System,
}

impl Sidecars {
    pub(crate) fn new(mesh: Arc<Mesh>, system: System) -> Self {
        Self { mesh, system }
    }
}

impl Companions for Sidecars {
    fn start(&self, beside: Beside) -> BoxFuture<'_, io::Result<Box<dyn Companion>>> {
        Box::pin(async move {
            let Beside { service, instance, version, app } = beside;
            let declared = self.system.service(service.as_str());
            let outbound = declared.map_or(Outbound::default(), |declared| declared.outbound);
            let sidecar = self.mesh.sidecar(&service, &instance, &version, app, outbound).await?;
            let joins = (outbound == Outbound::Application).then_some(Workload::Service(service));
            Ok(Box::new(Beneath { sidecar, mesh: Arc::clone(&self.mesh), joins }) as Box<dyn Companion>)
        })
    }
}

/// A sidecar as the supervisor sees it.
struct Beneath {
    sidecar: Sidecar,
    mesh: Arc<Mesh>,
    /// As whom the application itself joins, where it makes its calls.
    joins: Option<Workload>,
}

impl Companion for Beneath {
    fn address(&self) -> Address {
        self.sidecar.addr().into()
    }

    fn environment(&self) -> BoxFuture<'_, io::Result<BTreeMap<String, String>>> {
        Box::pin(async {
            let mut variables = self.sidecar.environment();
            if let Some(workload) = &self.joins {
                // A token serves once: each process has its own.
                let token = self.mesh.join(workload).await.map_err(io::Error::other)?;
                variables.insert("BOWLINE_SYSTEM".to_owned(), self.mesh.authority.system().to_string());
                variables.insert("BOWLINE_JOIN".to_owned(), token.expose().to_owned());
            }
            Ok(variables)
        })
    }

    fn refuse_new(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.sidecar.refuse_new())
    }

    fn drain(self: Box<Self>, grace: Duration) -> BoxFuture<'static, ()> {
        let Self { sidecar, mesh: _, joins: _ } = *self;
        Box::pin(async move {
            // The sidecar logs what it cut.
            let _in_time = sidecar.drain(grace).await;
        })
    }
}
