//! Reads the trace store for an observation.

use bowline_model::observed::Observed;
use bowline_runtime::{
    task,
    time::{self, Duration},
};

use super::Folder;
use crate::traces::{Error, Query, TraceStore};

/// The most traces that one observation reads.
pub const TRACES_MAX: u64 = 100_000;
/// The most spans that one observation reads.
pub const SPANS_MAX: u64 = 1_000_000;
/// How long one observation reads at most.
const READ_FOR_MAX: Duration = Duration::from_secs(20);
/// How many traces are read together.
const PAGE: usize = 256;

/// What the store shows of the time that ends now, from its newest trace back.
///
/// It ends early, and says so in `is_complete`, after [`TRACES_MAX`] traces, [`SPANS_MAX`] spans, or 20 s. One is made
/// at a time: others wait.
///
/// # Errors
/// As [`TraceStore::trace`].
///
/// # Cancel safety
/// Nothing is changed.
pub async fn observe(store: &TraceStore, back: Duration) -> Result<Observed, Error> {
    let mut place = store.observing().await?;
    let until = time::unix_nanos(time::wall());
    let since = until.saturating_sub(u64::try_from(back.as_nanos()).unwrap_or(u64::MAX));
    let begun = time::now();
    let mut folder = Folder::new();
    let mut query = Query { since_unix_nanos: Some(since), limit: PAGE, ..Query::default() };
    let (mut traces, mut is_complete) = (0, true);
    loop {
        let page = store.page(&query).await?;
        is_complete &= !page.is_cut;
        traces += page.traces.len() as u64;
        // A page may have 64 MiB of spans: no work for a thread that others wait for.
        let folding = task::spawn_blocking(move || {
            page.traces.iter().for_each(|spans| folder.fold(spans));
            (folder, place)
        });
        // Held by the thread: who gives up does not end the folding.
        (folder, place) = folding.await.map_err(|_| Error::Closed)?;
        let Some(next) = page.next else { break };
        let is_enough = traces >= TRACES_MAX || folder.span_count() >= SPANS_MAX;
        if is_enough || begun.elapsed() >= READ_FOR_MAX {
            is_complete = false;
            break;
        }
        query.cursor = Some(next);
    }
    drop(place);
    Ok(folder.finish(since / 1_000_000, until / 1_000_000, is_complete))
}

#[cfg(test)]
mod tests {
    use bowline_testkit::temp_dir;

    use super::*;
    use crate::traces::Settings;

    #[tokio::test]
    async fn one_observation_is_made_at_a_time() {
        let dir = temp_dir();
        let store = TraceStore::open(Settings::new(dir.path())).unwrap();
        let place = store.observing().await.unwrap();
        let mut other = Box::pin(observe(&store, Duration::from_hours(1)));
        assert!(time::timeout(Duration::from_millis(20), &mut other).await.is_err());
        drop(place);
        assert!(other.await.unwrap().is_complete);
        store.close().await;
    }
}
