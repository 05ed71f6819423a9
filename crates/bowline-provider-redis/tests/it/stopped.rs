//! A cache whose Redis stops or dies while it is asked: its callers do not notice, and what was invalidated meanwhile
//! is not served once it is back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bowline_cache::{Cache, Error};
use bowline_runtime::{metric::Registry, task, time};
use bowline_testkit::{eventually, redis::Server};

use crate::connect;

/// How many callers ask all the time.
const CALLERS: u64 = 64;
/// How many keys they ask for: half of them are in memory, the others come up once.
const KEYS: u64 = 16;

/// What the cache loads from: each thing is as new as the last change.
#[derive(Clone, Default)]
struct Source(Arc<AtomicU64>);

impl Source {
    async fn ask(&self, cache: &Cache<u64, u64>, key: u64) -> Result<u64, Error> {
        let version = Arc::clone(&self.0);
        let load = || async move { Ok(Some(version.load(SeqCst))) };
        cache.get_or_load(&key, load).await.map(|value| *value.expect("there is always something"))
    }
}

fn cache(server: &Server, registry: &Registry) -> Cache<u64, u64> {
    let shared = Arc::new(connect(server));
    Cache::builder("users").serialized("1").shared(shared).metrics(registry).build().unwrap()
}

/// Asks all the time until told to stop; answers how long each call took.
fn callers(
    cache: &Cache<u64, u64>,
    source: &Source,
    is_over: &Arc<AtomicBool>,
) -> Vec<task::JoinHandle<Vec<Duration>>> {
    let fresh = Arc::new(AtomicU64::new(1000));
    let caller = |number: u64| {
        let (cache, source, is_over, fresh) = (cache.clone(), source.clone(), is_over.clone(), fresh.clone());
        task::spawn(async move {
            let mut took = Vec::new();
            while !is_over.load(SeqCst) {
                let key = if number.is_multiple_of(2) { number % KEYS } else { fresh.fetch_add(1, SeqCst) };
                let asked = time::now();
                source.ask(&cache, key).await.expect("nobody gets an error");
                took.push(asked.elapsed());
                task::yield_now().await;
            }
            took
        })
    };
    (0..CALLERS).map(caller).collect()
}

fn is_open(registry: &Registry, is: u8) -> bool {
    registry.render().contains(&format!("bowline_cache_level_open{{cache=\"users\",level=\"l3\"}} {is}"))
}

/// What happens to Redis, and how it comes back.
async fn check(mut server: Server, away: impl FnOnce(&mut Server), back: impl FnOnce(&mut Server)) {
    let (registry, source, is_over) = (Registry::default(), Source::default(), Arc::default());
    let cache = cache(&server, &registry);
    for key in 0..KEYS {
        source.ask(&cache, key).await.unwrap();
    }
    let callers = callers(&cache, &source, &is_over);
    away(&mut server);
    eventually(Duration::from_secs(5), || is_open(&registry, 1)).await;
    source.0.store(1, SeqCst);
    cache.invalidate(&0).await.unwrap();
    assert_eq!(source.ask(&cache, 0).await.unwrap(), 1, "here it is invalid at once");
    is_over.store(true, SeqCst);
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await.unwrap());
    }
    took.sort();
    let slowest = took[took.len() * 99 / 100];
    assert!(slowest < Duration::from_millis(150), "99 of 100 take no longer than {slowest:?}");
    assert!(registry.render().contains("bowline_cache_level_failures_total{cache=\"users\",level=\"l3\""));

    back(&mut server);
    // Asked for, it is tried again; what it has missed comes first.
    let next = AtomicU64::new(1_000_000);
    super::until(async || {
        source.ask(&cache, next.fetch_add(1, SeqCst)).await.unwrap();
        is_open(&registry, 0).then_some(())
    })
    .await;
    let other = self::cache(&server, &Registry::default());
    assert_eq!(source.ask(&other, 0).await.unwrap(), 1, "the old value is not served by it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_redis_is_stopped() {
    let Some(server) = Server::start() else { return };
    check(server, |server| server.stop(), |server| server.go_on()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_notices_that_redis_is_killed() {
    let Some(server) = Server::start() else { return };
    check(server, Server::kill, Server::begin).await;
}
