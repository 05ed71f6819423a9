//! A server in another process, as gateways and sidecars that stand alone use it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use bowline_config::ConfigManager;
use bowline_model::{InstanceId, Secret};
use bowline_provider_remote::{Bearer, RemoteConfig, RemoteRegistry, RemoteReporter};
use bowline_runtime::metric;
use bowline_telemetry::{ParentBased, Tracer};

/// Spans that wait to be sent, at most.
const SPANS_WAITING_MAX: usize = 20_000;
/// How long the last spans may take to be sent.
pub(crate) const SPANS_END_MAX: Duration = Duration::from_secs(1);

/// What a server is used for.
pub(crate) struct Elsewhere {
    pub(crate) config: Arc<dyn ConfigManager>,
    pub(crate) registry: Arc<RemoteRegistry>,
    /// Of the process itself.
    pub(crate) tracer: Tracer,
    /// Sends what the tracer reports.
    pub(crate) spans: RemoteReporter,
}

impl Elsewhere {
    /// The server there, for an instance of a service; nothing is asked of it yet.
    ///
    /// # Errors
    /// A token that cannot be sent.
    pub(crate) fn new(
        api: SocketAddr,
        token: Option<&Secret>,
        service: &str,
        instance: &InstanceId,
        metrics: &metric::Registry,
    ) -> anyhow::Result<Self> {
        let token = token.filter(|token| !token.expose().is_empty());
        let bearer = token.map(Bearer::new).transpose().context("--token, or BOWLINE_TOKEN, cannot be used")?;
        let config = bearer.iter().cloned().fold(RemoteConfig::new(api), RemoteConfig::with_bearer);
        let registry = bearer.iter().cloned().fold(RemoteRegistry::new(api), RemoteRegistry::with_bearer);
        let (reporter, spans) = bowline_telemetry::queue(SPANS_WAITING_MAX, metrics);
        let spans = RemoteReporter::start(api, bearer, spans, metrics);
        let tracer = Tracer::new(service, instance.as_str(), ParentBased::new(1.0), reporter);
        Ok(Self { config: Arc::new(config), registry: Arc::new(registry), tracer, spans })
    }
}
