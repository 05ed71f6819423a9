//! Watches: order, completeness, resumption.

use std::{sync::Arc, time::Duration};

use bowline_runtime::{
    task::{self, JoinSet},
    time,
};

use super::{key, next};
use crate::{Change, Error, Revision, Store, Txn, Update};

/// A watch begins with the history after its revision, and goes on with what comes.
pub async fn a_watch_sees_history_then_what_comes(store: &Arc<dyn Store>) {
    let put = |key: &'static str, value: &'static str| store.commit(Txn::default().put(key, value));
    let first = put("c/watch/a", "1").await.expect("commits");
    let second = put("c/watch/a", "2").await.expect("commits");
    put("c/watchman", "1").await.expect("commits");
    let mut watch = store.watch("c/watch/", first).await.expect("watches");
    let event = next(&mut watch).await;
    assert_eq!(event.revision, second);
    let Change::Put(entry) = event.change else { panic!("it is a put") };
    assert_eq!((entry.value.as_ref(), entry.created, entry.modified), (b"2".as_ref(), first, second));

    let third = store.commit(Txn::default().delete("c/watch/a").put("c/watch/b", "1")).await.expect("commits");
    let event = next(&mut watch).await;
    let Change::Delete { key: deleted, previous } = event.change else { panic!("it is a deletion") };
    assert_eq!((&*deleted, &previous, event.revision), ("c/watch/a", &entry, third));
    let event = next(&mut watch).await;
    assert_eq!((key(&event).as_str(), event.revision), ("c/watch/b", third));
    let idle = time::timeout(Duration::from_millis(50), watch.next()).await;
    assert!(idle.is_err(), "nothing else happened: {idle:?}");
}

/// A revision that is not yet there is refused; the current one is not.
pub async fn a_watch_ends_at_what_is_not_there(store: &Arc<dyn Store>) {
    let revision = store.commit(Txn::default().put("c/future", "1")).await.expect("commits");
    store.watch("c/future", revision).await.expect("the current revision can be watched from");
    let error = store.watch("c/future", revision + 1000).await.expect_err("that is the future");
    assert!(matches!(error, Error::Future { current } if current >= revision), "{error}");
}

/// A `next` that is dropped while it waits loses no event.
pub async fn an_abandoned_wait_loses_nothing(store: &Arc<dyn Store>) {
    let from = store.revision().await.expect("counts");
    let mut watch = store.watch("c/abandoned/", from).await.expect("watches");
    for round in 0..20 {
        let writing = {
            let store = Arc::clone(store);
            task::spawn(async move { store.commit(Txn::default().put(format!("c/abandoned/{round:02}"), "1")).await })
        };
        let early = time::timeout(Duration::from_micros(round * 50), watch.next()).await;
        let event = match early {
            Ok(event) => event.expect("the watch goes on"),
            Err(_) => next(&mut watch).await,
        };
        assert_eq!(key(&event), format!("c/abandoned/{round:02}"));
        writing.await.expect("no task fails").expect("commits");
    }
}

/// Progress is told when others' keys change, and never before what it covers.
pub async fn progress_follows_what_was_told(store: &Arc<dyn Store>) {
    let from = store.revision().await.expect("counts");
    let mut watch = store.watch("c/progress/", from).await.expect("watches");
    let other = store.commit(Txn::default().put("c/progressive", "1")).await.expect("commits");
    let txn = Txn::default().put("c/progress/a", "1").put("c/progress/b", "1");
    let own = store.commit(txn).await.expect("commits");
    let last = store.commit(Txn::default().delete("c/progressive")).await.expect("commits");
    let mut told = Vec::new();
    loop {
        let update = time::timeout(super::PATIENCE, watch.next_update()).await.expect("progress is told");
        match update.expect("the watch goes on") {
            Update::Event(event) => told.push(event.revision),
            Update::UpTo(revision) => {
                assert!(revision >= other);
                let expected = if revision >= own { vec![own, own] } else { vec![] };
                assert_eq!(told, expected, "up to {revision}");
                if revision == last {
                    break;
                }
            }
        }
    }
}

/// Watches that begin while many write see every later change once, in the order of revisions.
pub async fn a_watch_misses_nothing_under_load(store: &Arc<dyn Store>) {
    const WRITERS: usize = 4;
    const WRITES: usize = 40;
    let begin = store.revision().await.expect("counts");
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(store);
        writers.spawn(async move {
            let mut revisions = Vec::new();
            for i in 0..WRITES {
                let txn = Txn::default().put(format!("c/load/{writer}"), i.to_string());
                revisions.push(store.commit(txn).await.expect("commits"));
            }
            revisions
        });
    }
    let mut watchers = JoinSet::new();
    for _ in 0..WRITES {
        let from = store.revision().await.expect("counts");
        watchers.spawn(collect(Arc::clone(store), from, begin + (WRITERS * WRITES) as u64));
        task::yield_now().await;
    }
    let mut revisions = Vec::new();
    while let Some(written) = writers.join_next().await {
        revisions.extend(written.expect("no task fails"));
    }
    revisions.sort_unstable();
    while let Some(seen) = watchers.join_next().await {
        let (from, seen) = seen.expect("no task fails");
        let expected = revisions.iter().copied().filter(|revision| *revision > from).collect::<Vec<_>>();
        assert_eq!(seen, expected, "watched from {from}");
    }
}

/// The revisions that a watch sees up to `last`.
async fn collect(store: Arc<dyn Store>, from: Revision, last: Revision) -> (Revision, Vec<Revision>) {
    let mut seen = Vec::new();
    let mut watch = store.watch("c/load/", from).await.expect("watches");
    while *seen.last().unwrap_or(&from) < last {
        seen.push(next(&mut watch).await.revision);
    }
    (from, seen)
}
