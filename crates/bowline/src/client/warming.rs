//! Connections that are made before the first call.

use std::sync::Arc;

use bowline_runtime::{
    task,
    time::{self, Duration},
};
use tokio::sync::watch;

use super::ServiceClient;
use crate::microservice::ReadyCheck;

/// The longest that is taken for it in all.
const WARM_UP_MAX: Duration = Duration::from_secs(2);
/// The longest it waits to hear of instances: those of a system that has just begun may not be there yet.
const FIRST_INSTANCES_WITHIN: Duration = Duration::from_millis(200);

impl ServiceClient {
    /// Makes a connection to each instance that is known, so that the first calls need not: to 64 at most, 16 at once,
    /// within two seconds. Those that cannot be made are left out: the calls will tell.
    ///
    /// # Cancel safety
    /// What was made stays, what was being made is closed.
    pub async fn warm_up(&self) {
        let warming = async {
            let mut has_begun = self.0.has_begun.clone();
            let known = has_begun.wait_for(|has_begun| *has_begun);
            if time::timeout(FIRST_INSTANCES_WITHIN, known).await.is_ok() {
                self.0.governed.upstream().warm_up(&self.0.pool).await;
            }
        };
        let _all_or_some = time::timeout(WARM_UP_MAX, warming).await;
    }
}

/// The longest that one check waits for it: who checks has little patience.
const CHECK_WAITS_MAX: Duration = Duration::from_millis(200);

/// Warms all of them up, beside; the service is not ready until it is over.
pub(crate) fn warm_up(clients: Vec<ServiceClient>) -> ReadyCheck {
    let (done, is_done) = watch::channel(false);
    task::spawn(async move {
        futures_util::future::join_all(clients.iter().map(ServiceClient::warm_up)).await;
        done.send_replace(true);
    });
    Arc::new(move || {
        let mut is_done = is_done.clone();
        Box::pin(async move {
            match time::timeout(CHECK_WAITS_MAX, is_done.wait_for(|is_done| *is_done)).await {
                Ok(_done_or_gone) => Ok(()),
                Err(_) => Err("connections to the services that are called are being made".to_owned()),
            }
        })
    })
}
