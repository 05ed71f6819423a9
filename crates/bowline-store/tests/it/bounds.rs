//! Every bound of the store, reached.

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use bowline_model::Code;
use bowline_runtime::{fs, metric, time};
use bowline_store::{Embedded, Error, LEASE_KEYS_MAX, Settings, Store, Txn};
use tempfile::TempDir;

use crate::open_with;

const TTL: Duration = Duration::from_secs(5);

async fn bounded(change: impl FnOnce(&mut Settings)) -> (TempDir, Settings, Embedded) {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(dir.path().join("store"));
    change(&mut settings);
    let store = open_with(settings.clone()).await;
    (dir, settings, store)
}

fn put(key: &str, bytes: usize) -> Txn {
    Txn::default().put(key, vec![7; bytes])
}

#[tokio::test(start_paused = true)]
async fn only_its_owner_can_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("outer/inner/store");
    open_with(Settings::new(&path)).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!((mode(&dir.path().join("outer")), mode(&dir.path().join("outer/inner"))), (0o700, 0o700));
}

#[tokio::test(start_paused = true)]
async fn the_history_keeps_its_latest_events() {
    let (_dir, settings, store) = bounded(|settings| settings.history_max = 10).await;
    for i in 0..8 {
        store.commit(put(&format!("a{i}"), 1).put(format!("b{i}"), "1")).await.unwrap();
    }
    let check = async |store: &Embedded| {
        let error = store.watch("", 2).await.unwrap_err();
        assert!(matches!(error, Error::Compacted { oldest: 3 }), "{error:?}");
        assert_eq!(error.code(), Code::OutOfRange);
        let mut watch = store.watch("a", 3).await.unwrap();
        for revision in 4..=8 {
            assert_eq!(watch.next().await.unwrap().revision, revision);
        }
    };
    check(&store).await;
    store.close().await;
    let store = open_with(settings.clone()).await;
    check(&store).await;
    store.close().await;
    // A tighter bound takes effect at the next write; the latest transaction is always kept.
    let store = open_with(Settings { history_max: 1, ..settings }).await;
    store.commit(put("c", 1).put("d", "1")).await.unwrap();
    assert!(matches!(store.watch("", 7).await, Err(Error::Compacted { oldest: 8 })));
    assert_eq!(store.watch("", 8).await.unwrap().next().await.unwrap().revision, 9);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_not_read_lags() {
    let (_dir, _, store) = bounded(|settings| settings.history_max = 5).await;
    let mut watch = store.watch("a", 0).await.unwrap();
    store.commit(put("a", 1)).await.unwrap();
    assert_eq!(watch.next().await.unwrap().revision, 1);
    for _ in 0..5 {
        store.commit(put("a", 1)).await.unwrap();
    }
    assert_eq!(watch.next().await.unwrap().revision, 2, "what is kept is told");
    for _ in 0..10 {
        store.commit(put("other", 1)).await.unwrap();
    }
    let error = watch.next().await.unwrap_err();
    assert!(matches!(error, Error::Lagged { oldest: 11 }), "{error:?}");
    assert!(error.retryable());
}

#[tokio::test(start_paused = true)]
async fn watches_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { watchers_max: 2, ..Settings::new(dir.path().join("store")) };
    let metrics = metric::Registry::default();
    let store = Embedded::open(settings, &metrics).await.unwrap();
    let first = store.watch("", 0).await.unwrap();
    let _second = store.watch("", 0).await.unwrap();
    let error = store.watch("", 0).await.unwrap_err();
    assert!(matches!(error, Error::TooMany { what: "watches" }), "{error:?}");
    assert!(metrics.render().contains("bowline_store_watches 2\n"));
    assert!(metrics.render().contains("bowline_store_watches_refused_total 1\n"));
    drop(first);
    store.watch("", 0).await.unwrap();
    assert!(metrics.render().contains("bowline_store_watches 1\n"));
}

#[tokio::test(start_paused = true)]
async fn data_beyond_the_bound_is_refused_and_can_shrink() {
    let (_dir, settings, store) = bounded(|settings| settings.data_bytes_max = 1000).await;
    store.commit(put("a", 499)).await.unwrap();
    store.commit(put("b", 499)).await.unwrap();
    let error = store.commit(put("c", 0)).await.unwrap_err();
    assert_eq!(error.code(), Code::InsufficientStorage);
    assert!(matches!(store.commit(put("a", 500)).await, Err(Error::Full)));
    store.commit(put("a", 499)).await.unwrap();
    store.commit(put("a", 10)).await.unwrap();
    store.commit(put("c", 488)).await.unwrap();
    assert!(matches!(store.commit(put("d", 0)).await, Err(Error::Full)));
    store.close().await;
    // What is there stays though the bound shrank.
    let store = open_with(Settings { data_bytes_max: 100, ..settings }).await;
    assert_eq!(store.range("", None, 10).await.unwrap().entries.len(), 3);
    store.commit(put("b", 400)).await.unwrap();
    store.commit(Txn::default().delete("b").delete("c")).await.unwrap();
    store.commit(put("d", 50)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn bytes_of_expired_keys_are_free_again() {
    let (_dir, _, store) = bounded(|settings| settings.data_bytes_max = 1000).await;
    for _ in 0..5 {
        store.commit_leased(put("a", 900), TTL).await.unwrap();
        assert!(matches!(store.commit(put("b", 900)).await, Err(Error::Full)));
        time::sleep(TTL * 2).await;
    }
    store.commit(put("b", 900)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn leases_and_their_keys_are_bounded() {
    let (_dir, _, store) = bounded(|settings| settings.leases_max = 3).await;
    let lease = store.grant(TTL).await.unwrap();
    store.grant(TTL).await.unwrap();
    store.grant(TTL).await.unwrap();
    let error = store.commit_leased(put("a", 1), TTL).await.unwrap_err();
    assert!(matches!(error, Error::TooMany { what: "leases" }), "{error:?}");
    assert!(store.get("a").await.unwrap().is_none(), "nothing is half done");
    for batch in 0..LEASE_KEYS_MAX / 128 {
        store.keep_alive(&[lease]).await.unwrap()[0].clone().unwrap();
        let keys = (0..128).map(|i| format!("k{batch}/{i}"));
        store.commit(keys.fold(Txn::default(), |txn, key| txn.put_leased(key, "", lease))).await.unwrap();
    }
    let error = store.commit(Txn::default().put_leased("k", "", lease)).await.unwrap_err();
    assert!(matches!(error, Error::TooMany { what: "keys bound to one lease" }), "{error:?}");
    time::sleep(TTL * 2).await;
    assert!(store.range("", None, 1).await.unwrap().entries.is_empty());
    store.commit_leased(put("a", 1), TTL).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_store_writes_what_was_queued_and_releases_the_file() {
    let (_dir, settings, store) = bounded(|_| {}).await;
    let waiting = {
        let store = store.clone();
        bowline_runtime::task::spawn(async move { store.commit(put("a", 1)).await })
    };
    bowline_runtime::task::yield_now().await;
    drop(store);
    waiting.await.unwrap().unwrap();
    let store = loop {
        match Embedded::open(settings.clone(), &metric::Registry::default()).await {
            Ok(store) => break store,
            Err(Error::InUse { .. }) => bowline_runtime::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    };
    assert!(store.get("a").await.unwrap().is_some());
}
