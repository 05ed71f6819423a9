//! A server in another process, as gateways and sidecars that stand alone use it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use bowline_config::ConfigManager;
use bowline_model::{Secret, monitor};
use bowline_provider_remote::{Bearer, Link, RemoteConfig, RemoteRegistry, RemoteReporter};
use bowline_runtime::{metric, task::Guarded};
use bowline_telemetry::Tracer;

use crate::sampling::{Follower, Sampling};

/// Spans that wait to be sent, at most.
const SPANS_WAITING_MAX: usize = 20_000;
/// How long the last spans may take to be sent.
const SPANS_END_MAX: Duration = Duration::from_secs(1);

/// What a server is used for.
pub(crate) struct Elsewhere {
    pub(crate) config: Arc<dyn ConfigManager>,
    pub(crate) registry: Arc<RemoteRegistry>,
    /// Of the process itself.
    pub(crate) tracer: Tracer,
    /// Sends what the tracer reports.
    pub(crate) spans: SpansElsewhere,
}

/// The way of this process's spans to the server, and what says which of them are kept.
pub(crate) struct SpansElsewhere {
    sending: RemoteReporter,
    _following: Guarded<()>,
}

impl SpansElsewhere {
    /// Sends the last ones, within a second.
    pub(crate) async fn end(self) {
        self.sending.flush(SPANS_END_MAX).await;
    }
}

impl Elsewhere {
    /// The server there, for an instance of a service; no answer of it is awaited.
    ///
    /// # Errors
    /// A token that cannot be sent.
    pub(crate) async fn new(
        api: SocketAddr,
        token: Option<&Secret>,
        follower: Follower,
        metrics: &metric::Registry,
    ) -> anyhow::Result<Self> {
        let token = token.filter(|token| !token.expose().is_empty());
        let bearer = token.map(Bearer::new).transpose().context("--token, or BOWLINE_TOKEN, cannot be used")?;
        let link = bearer.into_iter().fold(Link::new(api), Link::with_bearer);
        let (config, registry) = (RemoteConfig::over(&link), RemoteRegistry::over(&link));
        let (reporter, spans) = bowline_telemetry::queue(SPANS_WAITING_MAX, metrics);
        let sending = RemoteReporter::start_over(&link, spans, metrics);
        let sampling = Sampling::new(monitor::Sampling::default());
        let (service, instance) = (follower.service.clone(), follower.instance.clone());
        let tracer = Tracer::new(service.as_str(), instance.as_str(), sampling.of(service.as_str()), reporter);
        let config: Arc<dyn ConfigManager> = Arc::new(config);
        let following = sampling.follow(Arc::clone(&config), follower).await;
        let spans = SpansElsewhere { sending, _following: following };
        Ok(Self { config, registry: Arc::new(registry), tracer, spans })
    }
}
