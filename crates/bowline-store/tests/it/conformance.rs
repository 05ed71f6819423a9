//! The suite of the port against the embedded provider, in virtual time.

use std::sync::Arc;

use bowline_runtime::metric;
use bowline_store::{Embedded, Settings, Store, conformance};

/// What is about concurrency, on several threads; nothing in it waits for a clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_right_on_several_threads() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(crate::open(&dir.path().join("store")).await);
    conformance::concurrent_comparisons_lose_no_update(&store).await;
    conformance::a_watch_misses_nothing_under_load(&store).await;
    conformance::an_abandoned_wait_loses_nothing(&store).await;
    conformance::progress_follows_what_was_told(&store).await;
}

#[tokio::test(start_paused = true)]
async fn the_embedded_store_passes_the_suite() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("folder/store.redb");
    let open = move || {
        let settings = Settings::new(&path);
        async move { Embedded::open(settings, &metric::Registry::default()).await.unwrap() }
    };
    let first = open().await;
    let store: Arc<dyn Store> = Arc::new(first.clone());
    let mut last = Some(first);
    let reopen: conformance::Reopen = Box::new(move |store| {
        drop(store);
        let last = last.take().unwrap();
        let opened = open();
        Box::pin(async move {
            last.close().await;
            Arc::new(opened.await) as Arc<dyn Store>
        })
    });
    conformance::all(store, reopen).await;
}
