//! Which traces are kept: the samplers of this process, which follow the document `bowline/tracing`.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bowline_config::{ConfigManager, Document, Format, Version};
use bowline_model::{ConfigKey, InstanceId, ServiceName, error::chain, monitor};
use bowline_proxy::follow::{Follow, LastGood};
use bowline_runtime::task::{self, Guarded};
use bowline_telemetry::Live;

/// What the last document is kept as.
const KEPT_AS: &str = "tracing";

/// The samplers of a process's tracers, which change together. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Sampling(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    shares: monitor::Sampling,
    live: BTreeMap<String, Live>,
}

/// Who follows, and where it keeps what it was told last.
#[derive(Debug, Clone)]
pub(crate) struct Follower {
    pub(crate) instance: InstanceId,
    pub(crate) service: ServiceName,
    /// The folder of the process's state, where it may have to start without the server.
    pub(crate) last_good: Option<PathBuf>,
}

impl Sampling {
    pub(crate) fn new(shares: monitor::Sampling) -> Self {
        Self(Arc::new(Mutex::new(State { shares, live: BTreeMap::new() })))
    }

    /// The sampler of the traces that begin at a service.
    pub(crate) fn of(&self, service: &str) -> Live {
        let State { shares, live } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        live.entry(service.to_owned()).or_insert_with(|| Live::new(shares.of(service).ratio())).clone()
    }

    /// Follows what is published, while the guard lives.
    pub(crate) async fn follow(&self, config: Arc<dyn ConfigManager>, follower: Follower) -> Guarded<()> {
        let Follower { instance, service, last_good } = follower;
        let last_good = last_good.map(|dir| LastGood { path: dir.join(KEPT_AS), what: KEPT_AS });
        let runs = match last_good.clone() {
            Some(last_good) => self.begin_with(last_good).await,
            None => None,
        };
        let follow = Follow { config, key: ConfigKey::tracing(), instance, service, last_good, runs };
        let sampling = self.clone();
        Guarded::new(task::spawn(follow.run(move |version| sampling.apply(version))))
    }

    /// Acts by what was kept, if anything was; gives its version.
    async fn begin_with(&self, last_good: LastGood) -> Option<u64> {
        let kept = task::spawn_blocking(move || last_good.read()).await.ok()?;
        let kept = kept.inspect_err(|error| tracing::warn!(error = chain(error), "cannot read which traces are kept"));
        let kept = kept.ok()??;
        // Kept in the format that it came in: both are tried.
        let read = |format| Document::new(format, kept.text.as_str()).read().ok();
        self.set(read(Format::Json).or_else(|| read(Format::Toml))?);
        Some(kept.version)
    }

    fn apply(&self, version: &Version) -> Result<(), String> {
        self.set(version.document.read().map_err(|error| chain(&error))?);
        Ok(())
    }

    fn set(&self, new: monitor::Sampling) {
        let State { shares, live } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *shares = new;
        for (service, live) in live {
            live.set(shares.of(service).ratio());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_change_together_each_by_its_service() {
        let sampling = Sampling::new(monitor::Sampling::default());
        let (order, gateway) = (sampling.of("order"), sampling.of("gateway"));
        let shares = r#"{"sample": "10%", "services": {"order": "50%"}}"#;
        sampling.set(serde_json::from_str(shares).unwrap());
        let close = |live: &Live, share: f64| (live.ratio() - share).abs() < 1e-9;
        assert!(close(&order, 0.5) && close(&gateway, 0.1) && close(&sampling.of("user"), 0.1));
    }
}
