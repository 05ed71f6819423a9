//! Releases that take the place of those that the file declares: what runs at the start, and what rolls them out.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Context as _;
use bowline_deploy::{Deployer, InForce, Ports};
use bowline_mesh::Splits;
use bowline_model::{ServiceName, System};
use bowline_server::Node;
use bowline_supervisor::{Releases, with_releases};

/// Reads which releases are in force or on their way.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn open(system: &System, node: &Node) -> anyhow::Result<Deployer> {
    let opened = Deployer::open(node.recorded_store(), system, node.metrics()).await;
    opened.context("cannot read which releases are in force")
}

/// Takes the requests off releases that the file does not know any more, before anything starts.
pub(crate) async fn release_superseded(deployer: &Deployer, node: &Node) {
    if let Err(error) = deployer.release_superseded(&Splits::new(node.config())).await {
        // It is tried again once the services run.
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "requests are still steered to a release that is gone"
        );
    }
}

/// The system as it is to run: as declared, but for the releases in force.
pub(crate) fn in_force(system: &System, deployer: &Deployer) -> System {
    with_releases(system.clone(), &deployer.in_force())
}

/// Rolls releases out from now on, those first whose rollout was under way.
pub(crate) fn begin(deployer: &Deployer, releases: Releases, node: &Node, system: &System) {
    let steer = Arc::new(Splits::new(node.config()));
    deployer.start(&Ports { fleet: Arc::new(releases), steer, judge: node.judge() });
    node.set_deployer(deployer.clone(), system);
}

/// The releases that are rolled out: that one of them does not start is no failure of the system.
pub(crate) fn on_trial(deployer: &Deployer) -> BTreeSet<(ServiceName, String)> {
    let of = |it: InForce| {
        let InForce { service, own: _, own_count: _, beside } = it;
        beside.into_iter().map(move |(release, _)| (service.clone(), release.version))
    };
    deployer.in_force().into_iter().flat_map(of).collect()
}
