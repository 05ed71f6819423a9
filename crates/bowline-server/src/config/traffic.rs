//! Who splits traffic: while a rollout of a service is under way, its split is nobody else's to change.

use bowline_config::{Document, Version};
use bowline_model::{
    Code, ServiceName,
    mesh::{Steering, Traffic},
};

use crate::{api::Shared, error::ApiError};

/// Checks that what comes after the current traffic, absent where it is deleted, changes no split that is a rollout's.
pub(super) async fn check(shared: &Shared, current: Option<&Version>, next: Option<&Document>) -> Result<(), ApiError> {
    let read = |document: &Document| document.read::<Traffic>();
    // Nobody acts by what cannot be read; and it is not published, for reasons of its own.
    let before = current.and_then(|current| read(&current.document).ok()).unwrap_or_default();
    let Ok(after) = next.map_or(Ok(Traffic::default()), read) else { return Ok(()) };
    let unsteered = Steering::default();
    for service in before.steering.keys().chain(after.steering.keys()) {
        let [before, after] = [&before, &after].map(|traffic| traffic.steering.get(service).unwrap_or(&unsteered));
        if (&before.split, before.rollout) != (&after.split, after.rollout) {
            check_split(shared, service, before).await?;
        }
    }
    Ok(())
}

/// What was set by hand may be changed by hand, also while a rollout waits for its end.
async fn check_split(shared: &Shared, service: &ServiceName, before: &Steering) -> Result<(), ApiError> {
    let rollout = bowline_deploy::under_way(&*shared.store, service).await?;
    let Some(rollout) = rollout.filter(|rollout| !before.is_split_by_others(rollout.id)) else { return Ok(()) };
    let (id, from, to) = (rollout.id, &rollout.from.version, &rollout.to.version);
    let detail = format!(
        "the requests to `{service}` are split by its rollout {id}, {from} → {to}, which is under way: `bowline deploy status {service}` shows it, `bowline deploy abort {service}` ends it"
    );
    Err(ApiError::new(Code::FailedPrecondition, detail).with_reason("rollout"))
}
