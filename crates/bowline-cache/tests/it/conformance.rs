//! The suite of the shared level, against the provider in memory.

use bowline_cache::{
    SharedCache, TICKET_FOR, Ticket,
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
    // Whoever only asks takes no place, nor whoever has no ticket.
    for at in 0..=SHARED_CACHES_MAX {
        memory.get(&format!("asked-{at}"), "k").await.unwrap();
        let keep = Duration::from_mins(1);
        assert!(!memory.fill(&format!("put-{at}"), "k", Ticket(7), vec![0].into(), keep).await.unwrap());
    }
    for at in 0..SHARED_CACHES_MAX {
        memory.invalidate(&format!("c{at}"), &["k".to_owned()], None).await.unwrap();
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
    let refused = format!("bowline_shared_cache_refused_total {}\n", SHARED_CACHES_MAX + 1);
    assert!(text.contains(&refused), "{text}");
}

#[tokio::test(start_paused = true)]
async fn tickets_from_before_a_cache_began_are_good_until_something_is_invalidated() {
    let memory = provider();
    let ticket = async |key: &str| match memory.get("c", key).await.unwrap().found {
        bowline_cache::Found::Empty(ticket) => ticket,
        found @ bowline_cache::Found::Hit { .. } => panic!("{found:?}"),
    };
    let fill =
        async |key: &str, ticket| memory.fill("c", key, ticket, "v".into(), Duration::from_mins(9)).await.unwrap();
    let (a, b, c, d) = (ticket("a").await, ticket("b").await, ticket("c").await, ticket("d").await);
    assert_ne!(a, b);
    assert!(!fill("a", b).await, "a ticket is of one key");
    assert!(fill("a", a).await && fill("b", b).await, "of all who asked while the cache had not begun");
    assert!(!fill("a", a).await, "once");
    let own = ticket("c").await;
    assert!(!fill("c", c).await && fill("c", own).await, "the slot was asked for since");
    memory.invalidate("c", &["x".to_owned()], None).await.unwrap();
    assert!(!fill("d", d).await, "what it was loaded from may be older");
    let late = match memory.get("late", "k").await.unwrap().found {
        bowline_cache::Found::Empty(ticket) => ticket,
        found @ bowline_cache::Found::Hit { .. } => panic!("{found:?}"),
    };
    pass(TICKET_FOR + Duration::from_secs(1)).await;
    assert!(!memory.fill("late", "k", late, "v".into(), Duration::from_mins(9)).await.unwrap());
}
