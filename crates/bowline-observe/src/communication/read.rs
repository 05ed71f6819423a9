//! Reads the trace store for an observation.

use std::path::Path;

use bowline_model::observed::{Gap, Observed};
use bowline_runtime::{
    task,
    time::{self, Duration},
};

use super::Folder;
use crate::traces::{Error, Query, TraceStore};

/// How much one observation reads at most.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    traces: u64,
    spans: u64,
    time: Duration,
}

/// What is read of one time takes some seconds, and some hundred megabytes of disk.
const BOUNDS: Bounds = Bounds { traces: 100_000, spans: 1_000_000, time: Duration::from_secs(20) };
/// How many traces are read together.
const PAGE: usize = 256;

/// What the store shows of the time that ends now, from its newest trace back; `sqlite_dir` is where the system's
/// SQLite databases are.
///
/// It ends early, and says so in `gaps`, after 100 000 traces, 1 000 000 spans, or 20 s. One is made at a time: others
/// wait.
///
/// # Errors
/// As [`TraceStore::trace`].
///
/// # Cancel safety
/// Nothing is changed.
pub async fn observe(store: &TraceStore, back: Duration, sqlite_dir: &Path) -> Result<Observed, Error> {
    observe_in_pages(store, back, sqlite_dir, BOUNDS, PAGE).await
}

async fn observe_in_pages(
    store: &TraceStore,
    back: Duration,
    sqlite_dir: &Path,
    bounds: Bounds,
    page: usize,
) -> Result<Observed, Error> {
    let mut place = store.observing().await?;
    let until = time::unix_nanos(time::wall());
    let since = until.saturating_sub(u64::try_from(back.as_nanos()).unwrap_or(u64::MAX));
    let begun = time::now();
    let mut folder = Folder::new(sqlite_dir);
    let mut query = Query { since_unix_nanos: Some(since), limit: page, ..Query::default() };
    let (mut traces, mut is_left_out, mut read_since) = (0, false, since);
    loop {
        let page = store.page(&query).await?;
        is_left_out |= page.is_cut;
        traces += page.traces.len() as u64;
        // A page may have 64 MiB of spans: no work for a thread that others wait for.
        let folding = task::spawn_blocking(move || {
            page.traces.iter().for_each(|spans| folder.fold(spans));
            (folder, place)
        });
        // Held by the thread: who gives up does not end the folding.
        (folder, place) = folding.await.map_err(|_| Error::Closed)?;
        let Some(next) = page.next else { break };
        if traces >= bounds.traces || folder.span_count() >= bounds.spans || begun.elapsed() >= bounds.time {
            read_since = since.max(next.key().0);
            break;
        }
        query.cursor = Some(next);
    }
    drop(place);
    // Asked at the end: what was deleted meanwhile is not in it either.
    let kept_since = store.kept_since();
    let mut observed = folder.finish(since / 1_000_000, until / 1_000_000);
    if read_since.max(kept_since) > since {
        observed.whole_since_unix_ms = read_since.max(kept_since).div_ceil(1_000_000);
    }
    let gaps = [
        (read_since > since && read_since >= kept_since, Gap::Unread),
        (kept_since > read_since, Gap::Deleted),
        (is_left_out, Gap::LeftOut),
    ];
    observed.gaps.extend(gaps.into_iter().filter_map(|(is_there, gap)| is_there.then_some(gap)));
    observed.gaps.sort_unstable();
    observed.gaps.dedup();
    Ok(observed)
}

#[cfg(test)]
mod tests {
    use bowline_telemetry::{SpanData, SpanId, SpanKind, Status, TraceId};
    use bowline_testkit::temp_dir;

    use super::*;
    use crate::traces::Settings;

    const HOUR: Duration = Duration::from_hours(1);

    /// The one span of a trace, which began so many seconds ago.
    fn span(trace: u64, ago: u64) -> SpanData {
        SpanData {
            trace_id: TraceId::new(trace.into()).unwrap(),
            span_id: SpanId::new(1).unwrap(),
            parent_span_id: None,
            service: "a".into(),
            instance: "a-1".into(),
            name: "b".into(),
            kind: SpanKind::Server,
            start_unix_nanos: time::unix_nanos(time::wall()) - ago * 1_000_000_000,
            duration_nanos: 1,
            status: Status::Unset,
            attributes: vec![],
            events: vec![],
            links: vec![],
        }
    }

    #[tokio::test]
    async fn one_observation_is_made_at_a_time() {
        let dir = temp_dir();
        let store = TraceStore::open(Settings::new(dir.path())).unwrap();
        let place = store.observing().await.unwrap();
        let mut other = Box::pin(observe(&store, HOUR, dir.path()));
        assert!(time::timeout(Duration::from_millis(20), &mut other).await.is_err());
        drop(place);
        assert!(other.await.unwrap().is_complete());
        store.close().await;
    }

    #[tokio::test]
    async fn where_the_reading_ends_early_it_says_from_when_on_it_read() {
        let dir = temp_dir();
        let store = TraceStore::open(Settings::new(dir.path())).unwrap();
        let spans: Vec<_> = (1..=4).map(|trace| span(trace, trace * 100)).collect();
        let third = spans[2].start_unix_nanos;
        store.append(spans);
        let plenty = Bounds { time: HOUR, ..BOUNDS };
        let early =
            [Bounds { traces: 3, ..plenty }, Bounds { time: Duration::ZERO, ..plenty }, Bounds { spans: 3, ..plenty }];
        for bounds in early {
            let seen = observe_in_pages(&store, HOUR, dir.path(), bounds, 3).await.unwrap();
            assert_eq!((&*seen.gaps, seen.traces, seen.spans), (&[Gap::Unread][..], 3, 3), "{bounds:?}");
            assert_eq!(seen.whole_since_unix_ms, third.div_ceil(1_000_000));
            assert!(!seen.is_complete() && seen.whole_since_unix_ms > seen.since_unix_ms);
        }
        // All of it is read at the very bound.
        let seen = observe_in_pages(&store, HOUR, dir.path(), Bounds { traces: 4, ..plenty }, 4).await.unwrap();
        assert_eq!((seen.gaps.len(), seen.whole_since_unix_ms), (0, seen.since_unix_ms));
        store.close().await;
    }
}
