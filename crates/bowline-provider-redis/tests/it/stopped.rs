//! A cache whose Redis stops or dies while it is asked: memory and disk go on, its callers do not notice, and what was
//! invalidated meanwhile is not served once it is back.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bowline_cache::{After, Batch, Builder, Cache, Error, Invalidations, Mark, PortError, Resumed, Which};
use bowline_runtime::{BoxFuture, metric::Registry, task, time};
use bowline_testkit::{eventually, redis::Server};
use tokio::sync::Notify;

use crate::connect;

/// How many callers ask all the time, each for keys that come up once: every one asks Redis while it is not left alone.
const CALLERS: u64 = 16;
/// How many keys are known: more than memory has room for, the others are on disk.
const KEYS: u64 = 100;
/// Longer than any caller waits: a quarter of a second at most for Redis, and for its turn of two threads. Redis'
/// provider by itself would have it wait for longer.
const LONG: Duration = Duration::from_millis(900);

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

/// A feed that tells what it was told, to caches that follow it.
#[derive(Default)]
struct Told {
    what: Mutex<Vec<Which>>,
    is_more: Notify,
}

impl Told {
    fn after(&self, mark: &Mark) -> Batch {
        let what = self.what.lock().unwrap();
        let at = usize::try_from(mark.position).unwrap();
        Batch { what: what[at..].to_vec(), upto: Self::mark(what.len()), is_end: true }
    }

    fn mark(count: usize) -> Mark {
        Mark { position: count as u64, id: format!("m{count}") }
    }
}

impl Invalidations for Told {
    fn name(&self) -> &'static str {
        "cache.users"
    }

    fn resume(&self, from: Option<Mark>) -> BoxFuture<'_, Result<Resumed, PortError>> {
        let end = Self::mark(self.what.lock().unwrap().len());
        Box::pin(async move { Ok(from.map_or(Resumed::Gap { end }, Resumed::At)) })
    }

    fn after(&self, mark: Mark, wait: Duration) -> BoxFuture<'_, Result<After, PortError>> {
        Box::pin(async move {
            let is_more = self.is_more.notified();
            if self.after(&mark).what.is_empty() {
                time::timeout(wait, is_more).await.ok();
            }
            Ok(After::Batch(self.after(&mark)))
        })
    }

    fn tell(&self, what: Which) -> BoxFuture<'_, Result<(), PortError>> {
        self.what.lock().unwrap().push(what);
        self.is_more.notify_waiters();
        Box::pin(async { Ok(()) })
    }
}

fn cache(server: &Server, registry: &Registry, feed: &Arc<Told>) -> Builder<u64, u64> {
    let builder = Cache::builder("users").serialized("1").shared(Arc::new(connect(server))).metrics(registry);
    builder.follow(Arc::clone(feed) as Arc<dyn Invalidations>)
}

/// Asks all the time until told to stop; answers how long the slowest call took.
fn callers(cache: &Cache<u64, u64>, source: &Source, is_over: &Arc<AtomicBool>) -> Vec<task::JoinHandle<Duration>> {
    let fresh = Arc::new(AtomicU64::new(1000));
    let caller = |_| {
        let (cache, source, is_over, fresh) = (cache.clone(), source.clone(), is_over.clone(), fresh.clone());
        task::spawn(async move {
            let mut slowest = Duration::ZERO;
            while !is_over.load(SeqCst) {
                let key = fresh.fetch_add(1, SeqCst);
                let asked = time::now();
                source.ask(&cache, key).await.expect("nobody gets an error");
                slowest = slowest.max(asked.elapsed());
                task::yield_now().await;
            }
            slowest
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
    let (dir, feed) = (bowline_testkit::temp_dir(), Arc::new(Told::default()));
    let builder = cache(&server, &registry, &feed).memory_bytes(4 << 10).disk(dir.path(), 16 << 20);
    let cache = builder.build().unwrap();
    eventually(Duration::from_secs(10), || cache.status().feeds[0].standing == "following").await;
    let on_disk = || cache.status().levels[1].bytes.unwrap();
    eventually(Duration::from_secs(10), || on_disk() > 0).await;
    let empty = on_disk();
    source.ask(&cache, 0).await.unwrap();
    eventually(Duration::from_secs(10), || on_disk() > empty).await;
    let of_one = on_disk() - empty;
    for key in 0..KEYS {
        source.ask(&cache, key).await.unwrap();
    }
    eventually(Duration::from_secs(10), || on_disk() >= empty + KEYS * of_one).await;
    let callers = callers(&cache, &source, &is_over);
    away(&mut server);
    eventually(Duration::from_secs(15), || is_open(&registry, 1)).await;
    source.0.store(1, SeqCst);
    let hits = || cache.status().levels.iter().take(2).map(|level| level.hits).collect::<Vec<_>>();
    let before = hits();
    for key in (1..KEYS).rev() {
        assert_eq!(source.ask(&cache, key).await.unwrap(), 0, "it is known without Redis");
    }
    assert!(hits().iter().zip(&before).all(|(now, before)| now > before), "by memory and by disk: {:?}", hits());
    cache.invalidate(&0).await.unwrap();
    assert_eq!(source.ask(&cache, 0).await.unwrap(), 1, "here it is invalid at once");
    is_over.store(true, SeqCst);
    for caller in callers {
        let slowest = caller.await.unwrap();
        assert!(slowest < LONG, "a call took {slowest:?}");
    }
    assert!(registry.render().contains("bowline_cache_level_failures_total{cache=\"users\",level=\"l3\""));

    back(&mut server);
    // Asked for, it is tried again; what it has missed comes first.
    let next = AtomicU64::new(1_000_000);
    super::until(async || {
        source.ask(&cache, next.fetch_add(1, SeqCst)).await.unwrap();
        is_open(&registry, 0).then_some(())
    })
    .await;
    let other = self::cache(&server, &Registry::default(), &feed).build().unwrap();
    eventually(Duration::from_secs(10), || other.status().feeds[0].standing == "following").await;
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
