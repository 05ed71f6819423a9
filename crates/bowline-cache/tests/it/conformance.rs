//! The suite of the shared level, against the provider in memory.

use bowline_cache::{
    SharedCache, TICKET_FOR,
    shared::{
        conformance,
        memory::{Memory, SHARED_CACHES_MAX},
    },
};
use bowline_runtime::metric::Registry;

use super::*;

fn provider() -> Arc<dyn SharedCache> {
    Arc::new(Memory::new(64 << 20, &Registry::default()))
}

#[tokio::test(start_paused = true)]
async fn the_provider_in_memory_keeps_every_promise() {
    let memory = provider();
    conformance::all(Arc::clone(&memory)).await;
    conformance::a_ticket_ends(&memory, async |_: &str| pass(TICKET_FOR + Duration::from_secs(1)).await).await;
    let restart = |_| Box::pin(async { provider() }) as bowline_runtime::BoxFuture<'static, _>;
    conformance::a_restart_leaves_it_empty_or_whole(memory, restart).await;
}

#[tokio::test]
async fn its_caches_and_its_bytes_are_bounded() {
    let registry = Registry::default();
    let memory = Memory::new(32 << 20, &registry);
    for at in 0..SHARED_CACHES_MAX {
        memory.get(&format!("c{at}"), "k").await.unwrap();
    }
    let error = memory.get("one-more", "k").await.unwrap_err();
    assert_eq!((error.code(), error.retryable()), (Code::Unavailable, true));
    for at in 0..100 {
        let key = format!("k{at}");
        let bowline_cache::Found::Empty(ticket) = memory.get("c0", &key).await.unwrap().found else { panic!() };
        memory.fill("c0", &key, ticket, vec![0; 1 << 20].into(), Duration::from_mins(1)).await.unwrap();
    }
    let text = registry.render();
    let bytes = text.lines().find_map(|line| line.strip_prefix("bowline_shared_cache_bytes ")).unwrap();
    assert!((16 << 20..=32 << 20).contains(&bytes.parse::<u64>().unwrap()), "{text}");
    assert!(text.contains("bowline_shared_cache_refused_total 0"), "{text}");
}
