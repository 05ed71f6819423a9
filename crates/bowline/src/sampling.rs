//! Which of the traces that begin in this process are kept: as the document `bowline/tracing` says, live.

use std::sync::Arc;

use bowline_config::ConfigManager;
use bowline_model::{ConfigKey, InstanceId, monitor::Sampling};
use bowline_runtime::task::{self, Guarded};
use bowline_telemetry::Live;

use crate::{config::Loader, settings::Settings};

/// What tells the acknowledgements of an application from those of its sidecar, which has the same id.
const ACKS_AS: &str = ":app";

/// Follows the document, acknowledged as any other, while the guard lives.
pub(crate) fn follow(settings: &Settings, config: Arc<dyn ConfigManager>, live: Live) -> Guarded<()> {
    let settings = as_application(settings.clone());
    Guarded::new(task::spawn(async move {
        let service = settings.service.clone();
        let loader = Loader::<Sampling>::new(Some(config), &settings, ConfigKey::tracing()).or(Sampling::default());
        // With a default there is always something to begin with.
        let Ok(sampling) = loader.load().await else { return };
        sampling.on_change(move |sampling| live.set(sampling.of(service.as_str()).ratio()));
        std::future::pending::<()>().await;
    }))
}

/// The same settings with the id by which an application acknowledges what its sidecar follows too.
pub(crate) fn as_application(mut settings: Settings) -> Settings {
    if let Ok(instance) = InstanceId::new(&format!("{}{ACKS_AS}", settings.instance)) {
        settings.instance = instance;
    }
    settings
}
