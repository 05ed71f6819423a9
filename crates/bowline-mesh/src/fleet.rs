//! What is shared by the workloads of one process: sidecars beside the instances of `bowline up`.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bowline_config::ConfigManager;
use bowline_identity::{Admission, Error as IdentityError, Identity};
use bowline_model::{
    Address, InstanceId, Secret, ServiceName,
    mesh::{SpiffeId, Workload},
    system::Outbound,
};
use bowline_registry::Discovery;
use bowline_runtime::{metric::Registry, task, time};
use bowline_telemetry::{Tracer, names};

use crate::{
    ca::{self, Authority},
    sidecar::{self, Sidecar, first_snapshot},
};

/// The longest that is waited for a first certificate.
const CERTIFICATE_MAX: Duration = Duration::from_secs(10);

/// What sidecars of one process share.
pub struct Mesh {
    /// Who says who is who.
    pub authority: Arc<Authority>,
    /// Who knows the instances.
    pub discovery: Arc<Discovery>,
    /// Who publishes snapshots.
    pub config: Arc<dyn ConfigManager>,
    /// Gives each instance of a service the tracer that its sidecar reports by.
    pub tracers: Tracers,
    /// Where metrics go.
    pub metrics: Registry,
    /// Where sidecars take connections of the mesh.
    pub listen: IpAddr,
}

/// Gives an instance of a service its tracer.
pub type Tracers = Arc<dyn Fn(&ServiceName, &InstanceId) -> Tracer + Send + Sync>;

impl Mesh {
    /// Starts the sidecar of an instance; it takes connections when this returns. What it counts says the release
    /// that the instance is of, if that has a version.
    ///
    /// # Errors
    /// When there is no certificate within 10 s, no snapshot, or nothing to listen on; the source says which.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn sidecar(
        &self,
        service: &ServiceName,
        instance: &InstanceId,
        version: &str,
        app: Address,
        outbound: Outbound,
    ) -> io::Result<Sidecar> {
        let metrics = &self.metrics;
        let metrics =
            if version.is_empty() { metrics.clone() } else { metrics.with_label(names::LABEL_VERSION, version) };
        let (identity, rotation) = self.joined(Workload::Service(service.clone())).await?;
        let first = first_snapshot(&*self.config, service, None).await.map_err(io::Error::other)?;
        let settings = sidecar::Settings {
            service: service.clone(),
            instance: instance.clone(),
            // All of them are on one machine.
            zone: None,
            listen: SocketAddr::new(self.listen, 0),
            app,
            outbound,
            // Who publishes is in this process: nobody starts without it.
            snapshot_dir: None,
            identity,
            discovery: Arc::clone(&self.discovery),
            config: Arc::clone(&self.config),
            tracer: (self.tracers)(service, instance),
            metrics,
            first,
        };
        Ok(Sidecar::start(settings).await.map_err(io::Error::other)?.with_rotation(rotation))
    }

    /// The identity of a workload in this process, and what renews its certificate: for sidecars, the gateway, and
    /// Bowline's own checks.
    ///
    /// # Errors
    /// Those of [`Identity::start`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn identity(&self, workload: Workload) -> Result<(Identity, task::Guarded<()>), IdentityError> {
        identity(&self.authority, workload, &self.metrics)
    }

    /// As [`Mesh::identity`], once it has a certificate.
    ///
    /// # Errors
    /// When there is none within 10 s; the source says why.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn joined(&self, workload: Workload) -> io::Result<(Identity, task::Guarded<()>)> {
        let late = format!("{workload} gets no certificate");
        let (identity, rotation) = self.identity(workload).map_err(io::Error::other)?;
        match time::timeout(CERTIFICATE_MAX, identity.ready()).await {
            Ok(ready) => ready.map_err(io::Error::other)?,
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, late)),
        }
        Ok((identity, rotation))
    }

    /// A token that lets one process join as a workload: an application that links `bowline`.
    ///
    /// # Errors
    /// Those of [`Authority::new_join`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether a token is kept, which nobody knows then.
    pub async fn join(&self, workload: &Workload) -> Result<Secret, ca::Error> {
        self.authority.new_join(workload, ca::JOIN_TTL).await
    }
}

/// The identity of a workload in the process of the authority itself, and what renews its certificate.
///
/// # Errors
/// Those of [`Identity::start`].
///
/// # Panics
/// Outside a tokio runtime.
pub fn identity(
    authority: &Arc<Authority>,
    workload: Workload,
    metrics: &Registry,
) -> Result<(Identity, task::Guarded<()>), IdentityError> {
    let id = SpiffeId::new(authority.system().clone(), workload);
    let settings = bowline_identity::Settings { id, admission: Admission::InProcess, metrics: metrics.clone() };
    Identity::start(settings, authority.issuer())
}

impl fmt::Debug for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { authority, listen, .. } = self;
        f.debug_struct("Mesh").field("system", authority.system()).field("listen", listen).finish_non_exhaustive()
    }
}
