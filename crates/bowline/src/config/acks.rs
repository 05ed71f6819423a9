//! What this instance makes of a version, said again and again while it stands.

use std::{sync::Arc, time::Duration};

use bowline_config::{Acknowledgement, ConfigManager};
use bowline_model::{ConfigKey, error::chain};
use bowline_runtime::{rand, time};
use tokio::sync::watch;

/// How long the server knows it without hearing it again.
pub(super) const TTL: Duration = Duration::from_secs(15);

/// Time between two sayings: one may be lost before it is forgotten.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// The wait after a failure, more or less: half of it is up to chance.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Says what there is to say until nobody can change it any more.
pub(super) async fn run(
    manager: Arc<dyn ConfigManager>,
    key: ConfigKey,
    mut acks: watch::Receiver<Option<Acknowledgement>>,
) {
    let mut has_failed = false;
    loop {
        let ack = acks.borrow_and_update().clone();
        let said = async {
            let Some(ack) = ack else { return std::future::pending().await };
            let wait = match manager.acknowledge(&key, ack, TTL).await {
                Ok(()) => {
                    has_failed = false;
                    RENEW_EVERY
                }
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        tracing::debug!(%key, error = chain(&error), "acknowledgement waits for the server");
                    }
                    RETRY_AFTER.mul_f64(0.5 + rand::unit())
                }
            };
            time::sleep(wait).await;
        };
        // What is new is said at once, whatever became of the last.
        tokio::select! {
            changed = acks.changed() => if changed.is_err() { return },
            () = said => {}
        }
    }
}
