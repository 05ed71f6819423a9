//! How the keys of a class are kept is chosen by how often they are read and change.

use bowline_runtime::metric::Registry;

use super::{feed::Tape, *};

const CLASSES: [&str; 2] = ["profile", "price"];

#[expect(clippy::ptr_arg, reason = "the builder wants a function of keys")]
fn class(key: &String) -> usize {
    usize::from(key.starts_with("price"))
}

fn adaptive(registry: &Registry) -> Builder<String, String> {
    builder().adaptive().classes(&CLASSES, class).serialized("1").metrics(registry)
}

/// Twenty keys of that class, each read once in a round of two seconds; and changed in some of them.
async fn live(cache: &Cache<String, String>, tape: Option<&Tape>, class: &str, rounds: u64, changes_every: u64) {
    let source = Source::new();
    for round in 1..=rounds {
        if round % changes_every == 0 {
            source.change();
        }
        for key in 0..20 {
            let key = format!("{class}-{key}");
            if let Some(tape) = tape.filter(|_| round % changes_every == 0) {
                tape.put_key(&key);
            }
            source.ask(cache, &key).await.unwrap();
        }
        pass(Duration::from_secs(2)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_class_that_is_read_often_and_changes_seldom_is_kept_until_it_changes() {
    let (registry, tape) = (Registry::default(), Tape::new("user.changed"));
    let cache = adaptive(&registry).follow(tape.feed()).build().unwrap();
    settle().await;
    live(&cache, Some(&tape), "profile", 120, 60).await;
    let classes = cache.status().classes;
    assert_eq!((classes[0].class.as_str(), classes[0].strategy.as_str()), ("profile", "lru"), "{classes:?}");
    assert!(classes[0].why.starts_with("a key is read ") && classes[0].why.contains("reads a change"), "{classes:?}");
    assert_eq!(classes[1].strategy, "ttl 5m", "{classes:?}");
    assert!(classes[1].why.starts_with("too few requests"), "{classes:?}");
    assert_eq!(cache.status().loads.value, 40, "what may be kept for longer now is not dropped");
    let text = registry.render();
    let strategy = "bowline_cache_strategy{cache=\"users\",class=\"profile\",strategy=\"lru\"} 1";
    assert!(text.contains(strategy), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_class_that_changes_all_the_time_is_kept_for_a_short_time_or_not_at_all() {
    let registry = Registry::default();
    let tape = Tape::new("price.changed");
    let cache = adaptive(&registry).follow(tape.feed()).build().unwrap();
    settle().await;
    live(&cache, Some(&tape), "price", 120, 1).await;
    let class = &cache.status().classes[1];
    assert_eq!(class.strategy, "no cache", "{class:?}");
    assert!(cache.get("price-1").is_none());
    assert!(cache.status().requests.bypassed > 100);
    live(&cache, Some(&tape), "price", 300, 290).await;
    assert_eq!(cache.status().classes[1].strategy, "lru", "and otherwise, once it is otherwise");
}

#[tokio::test(start_paused = true)]
async fn an_invalidation_that_comes_back_by_the_feed_is_one_change() {
    let registry = Registry::default();
    let (theirs, ours) = (Tape::new("user.changed"), Tape::new("cache.users"));
    let [told, telling] = [&theirs, &ours].map(|tape| adaptive(&registry).follow(tape.feed()).build().unwrap());
    let alone = adaptive(&registry).build().unwrap();
    settle().await;
    let source = Source::new();
    for round in 0..60 {
        for key in 0..20 {
            let key = format!("profile-{key}");
            for cache in [&told, &telling, &alone] {
                source.ask(cache, &key).await.unwrap();
            }
            if round % 10 == 9 {
                theirs.put_key(&key);
                telling.invalidate(key.as_str()).await.unwrap();
                alone.invalidate(key.as_str()).await.unwrap();
            }
        }
        pass(Duration::from_secs(2)).await;
    }
    let why = |cache: &Cache<String, String>| cache.status().classes[0].why.clone();
    assert!(why(&told).contains("changes every"), "{}", why(&told));
    assert_eq!((why(&telling), why(&alone)), (why(&told), why(&told)));
}

#[tokio::test(start_paused = true)]
async fn without_a_feed_changes_are_seen_by_what_loads_bring() {
    let registry = Registry::default();
    let cache = adaptive(&registry).ttl(Duration::from_secs(5)).build().unwrap();
    live(&cache, None, "profile", 120, 1000).await;
    assert_eq!(cache.status().classes[0].strategy, "lru", "no change was seen");
    let cache = adaptive(&registry).ttl(Duration::from_secs(5)).build().unwrap();
    live(&cache, None, "profile", 300, 40).await;
    let class = &cache.status().classes[0];
    assert!(class.strategy.starts_with("ttl "), "{class:?}");
    assert!(class.why.contains("changes every"), "{class:?}");
}
