//! Tells analytics what was stored, in the order in which it came, until it has taken it.
//!
//! How far that is, is kept: while analytics is away readings wait where they are, and after a restart nothing is
//! left out. What it was told and this service did not come to note is told again.

use std::time::Duration;

use axum::http::StatusCode;
use bowline::{HandlerError, ServiceClient, runtime::time};
use serde::Serialize;

use crate::{
    reading::{BATCH_MAX, Reading},
    repository::ReadingRepository,
    service::DataService,
};

/// How long is waited after analytics did not take something.
const PAUSE: Duration = Duration::from_secs(1);

/// How often is looked when nobody says that there is something.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Who is told what was stored.
pub(crate) trait Analytics: Send + Sync {
    /// Tells it; whether it took them. What it refuses it will refuse again.
    fn tell(&self, readings: &[Reading]) -> impl Future<Output = Result<bool, HandlerError>> + Send;
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    readings: &'a [Reading],
}

impl Analytics for ServiceClient {
    async fn tell(&self, readings: &[Reading]) -> Result<bool, HandlerError> {
        match self.post("/readings").body(&Told { readings }).bytes().await {
            Ok(_) => Ok(true),
            Err(error) if is_refusal(error.status()) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether an answer says that these readings will never be taken.
fn is_refusal(status: Option<StatusCode>) -> bool {
    let refusals = [StatusCode::BAD_REQUEST, StatusCode::PAYLOAD_TOO_LARGE, StatusCode::UNPROCESSABLE_ENTITY];
    status.is_some_and(|status| refusals.contains(&status))
}

/// Tells as long as it is polled.
pub(crate) async fn run<R: ReadingRepository>(data: &DataService<R>, analytics: &impl Analytics) {
    loop {
        match tell_next(data, analytics).await {
            Ok(0) => {
                let _or_not = time::timeout(LOOK_EVERY, data.stored.notified()).await;
            }
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "analytics was not told, and will be");
                time::sleep(PAUSE).await;
            }
        }
    }
}

/// Tells the next batch; how many it were.
pub(crate) async fn tell_next<R: ReadingRepository>(
    data: &DataService<R>,
    analytics: &impl Analytics,
) -> Result<usize, HandlerError> {
    let limit = u32::try_from(BATCH_MAX).unwrap_or(u32::MAX);
    let untold = data.repository.untold(limit).await.map_err(HandlerError::internal)?;
    let Some(last) = untold.last().map(|last| last.number) else { return Ok(0) };
    let readings: Vec<Reading> = untold.into_iter().map(|arrived| arrived.reading).collect();
    if !analytics.tell(&readings).await? {
        tracing::error!(count = readings.len(), last, "analytics refused readings, it goes on without them");
    }
    data.repository.told(last).await.map_err(HandlerError::internal)?;
    Ok(readings.len())
}
