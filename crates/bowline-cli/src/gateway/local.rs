//! The gateway of `bowline up`, in the process of the control plane.

use std::sync::Arc;

use bowline_config::ConfigManager;
use bowline_gateway::{Gateway, LastGoodMesh};
use bowline_mesh::Mesh;
use bowline_model::{ConfigKey, InstanceId, System, mesh::Workload, parse};
use bowline_registry::Discovery;
use bowline_runtime::BoxFuture;
use bowline_server::{Explainer, GatewayBreakers};

use super::{Followed, Joined, Known, Parts, open as open_by, served};
use crate::{
    args::{self, Listen},
    brought, explain,
    platform::{Platform, Spans},
};

/// Opens it beside its node, which tells from then on what requests would meet there.
pub(crate) async fn open(
    args: &args::Up,
    system: &System,
    platform: &Platform,
    spans: &Spans,
    mesh: Option<&Mesh>,
) -> anyhow::Result<Option<Gateway>> {
    let Listen::At(listen) = args.gateway else { return Ok(None) };
    let Platform { data_dir, metrics, node, .. } = platform;
    let mut settings = bowline_gateway::Settings::new(listen);
    if let Some(workers) = args.workers {
        settings.workers = usize::from(workers);
    }
    let joined = match mesh {
        Some(mesh) => Some(join(mesh, &mut settings).await?),
        None => Some(steer(&*node.config(), &mut settings).await?),
    };
    let instance = InstanceId::new("gateway-1").expect("it is an id");
    let tracer = (spans.tracers())("gateway", &instance);
    let discovery = Arc::new(Discovery::new(node.registry(), Some(data_dir.join("discovery").join("gateway"))));
    let parts = Parts { settings, discovery, tracer, metrics: metrics.clone() };
    let last_good = data_dir.join("routes.toml");
    let services = Some(brought::services(system));
    let followed = Followed { config: node.config(), services, instance, last_good, joined };
    let id = followed.instance.clone();
    let gateway = open_by(parts, known(system, &followed).await?, followed).await?;
    let handle = gateway.handle();
    let explainer = move |request| -> BoxFuture<'static, _> { Box::pin(explain::answer(handle.clone(), request)) };
    node.set_explainer(Explainer::new(explainer));
    let handle = gateway.handle();
    node.set_gateway_breakers(GatewayBreakers::new(id, move || handle.breakers()));
    Ok(Some(gateway))
}

/// Gives the gateway its identity, and what is published of the mesh for it.
async fn join(mesh: &Mesh, settings: &mut bowline_gateway::Settings) -> anyhow::Result<Joined> {
    let (identity, rotation) = mesh.joined(Workload::Gateway).await?;
    settings.pool.tls = Some(identity.client_tls());
    Ok(Joined { rotation: Some(rotation), ..steer(&*mesh.config, settings).await? })
}

/// Gives the gateway what is published for it: of a mesh, and of how traffic is steered.
async fn steer(config: &dyn ConfigManager, settings: &mut bowline_gateway::Settings) -> anyhow::Result<Joined> {
    let published = config.get_config(&ConfigKey::snapshot(&Workload::Gateway)).await?;
    let published = published.as_ref().map(LastGoodMesh::published).transpose().map_err(anyhow::Error::msg)?;
    let version = published.as_ref().map(|published| published.version);
    settings.mesh = published.map(|published| published.snapshot);
    Ok(Joined { rotation: None, version, last_good: None })
}

/// What was published through the API since the file last changed, or what the file says.
async fn known(system: &System, followed: &Followed) -> anyhow::Result<Known> {
    let Followed { config, services, last_good, .. } = followed;
    let published = config.get_config(&ConfigKey::routes()).await?;
    let read = |text: &str| parse::routes(text, services.as_deref().unwrap_or_default()).ok();
    let published = published.and_then(|it| Some((read(&it.document.text)?, it.number)));
    let Some((table, version)) = published else {
        return Ok(Known { table: system.table.clone(), version: None, served: None });
    };
    let served = served(last_good, services.clone()).await;
    Ok(Known { table, version: Some(version), served })
}
