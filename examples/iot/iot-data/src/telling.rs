//! Tells analytics what was stored, in the order in which it came, until it has taken it.
//!
//! How far that is, is kept: while analytics is away readings wait where they are, and after a restart nothing is
//! left out. What it was told and this service did not come to note is told again. Of what it refuses each half is told
//! alone, and so on: what is left out is what it refuses alone.

use std::time::Duration;

use axum::http::StatusCode;
use bowline::{HandlerError, ServiceClient, runtime::time, sql};
use serde::Serialize;

use crate::{
    reading::{BATCH_MAX, Reading},
    repository::{Arrived, ReadingRepository},
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
        match self.post("/observations").body(&Told { readings }).bytes().await {
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
    let untold = data.repository.untold(limit).await.map_err(sql::Error::from)?;
    let waiting = if untold.len() < BATCH_MAX {
        i64::try_from(untold.len()).unwrap_or(i64::MAX)
    } else {
        data.repository.untold_count().await.map_err(sql::Error::from)?
    };
    data.counts.untold.set(waiting);
    let refused = tell_parts(data, analytics, &untold).await?;
    if let Some(Reading { device, sequence, .. }) = refused.first() {
        data.counts.untold_refused.add(u64::try_from(refused.len()).unwrap_or(u64::MAX));
        tracing::error!(count = refused.len(), device, sequence, "analytics refuses readings, it goes on without them");
    }
    Ok(untold.len())
}

/// Tells readings, in halves where they are refused; those that are refused alone.
async fn tell_parts<R: ReadingRepository>(
    data: &DataService<R>,
    analytics: &impl Analytics,
    untold: &[Arrived],
) -> Result<Vec<Reading>, HandlerError> {
    let mut refused = Vec::new();
    let mut parts = vec![untold];
    while let Some(part) = parts.pop() {
        let Some(last) = part.last() else { continue };
        let readings: Vec<Reading> = part.iter().map(|arrived| arrived.reading.clone()).collect();
        let is_taken = analytics.tell(&readings).await?;
        if !is_taken && part.len() > 1 {
            let (first, second) = part.split_at(part.len() / 2);
            parts.extend([second, first]);
            continue;
        }
        if !is_taken {
            refused.extend(readings);
        }
        data.repository.told(last.number).await.map_err(sql::Error::from)?;
    }
    Ok(refused)
}
