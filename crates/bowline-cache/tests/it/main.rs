//! Caches from the outside: one load for all, times, failures, invalidations, levels.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod adaptive;
mod bounds;
mod conformance;
mod crash;
mod degrading;
mod disk;
mod faults;
mod feed;
mod invalidating;
mod levels;
mod negative;
mod patience;
mod ratio;
mod single_flight;
mod stale;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

use bowline_cache::{Builder, Cache, Error, Failure};
use bowline_model::{Code, units::Share};
use bowline_runtime::{
    task,
    time::{self, Duration},
};
use tokio::sync::Semaphore;

type Answer = Result<Option<Arc<String>>, Error>;

fn builder() -> Builder<String, String> {
    Cache::builder("users").jitter(Share::ZERO)
}

/// Where values come from: it counts how often it is asked, and can be held up, fail or have nothing.
#[derive(Clone)]
struct Source(Arc<State>);

struct State {
    calls: AtomicU64,
    version: AtomicU64,
    /// What loads wait for, where they are held.
    gate: Semaphore,
    is_held: bool,
    mode: AtomicU64,
}

const GOOD: u64 = 0;
const FAILS: u64 = 1;
const EMPTY: u64 = 2;
const PANICS: u64 = 3;

impl Source {
    fn new() -> Self {
        Self::with(false)
    }

    /// Each load waits until it is let go.
    fn held() -> Self {
        Self::with(true)
    }

    fn with(is_held: bool) -> Self {
        let (calls, version, mode) = (AtomicU64::new(0), AtomicU64::new(1), AtomicU64::new(GOOD));
        Self(Arc::new(State { calls, version, gate: Semaphore::new(0), is_held, mode }))
    }

    fn set(&self, mode: u64) {
        self.0.mode.store(mode, SeqCst);
    }

    /// The thing changes.
    fn change(&self) {
        self.0.version.fetch_add(1, SeqCst);
    }

    fn let_go(&self, count: usize) {
        self.0.gate.add_permits(count);
    }

    fn calls(&self) -> u64 {
        self.0.calls.load(SeqCst)
    }

    /// Reads first, and answers when it is let go: what it answers may be old by then.
    async fn read(self) -> Result<Option<String>, Failure> {
        self.0.calls.fetch_add(1, SeqCst);
        let version = self.0.version.load(SeqCst);
        if self.0.is_held {
            self.0.gate.acquire().await.unwrap().forget();
        }
        match self.0.mode.load(SeqCst) {
            FAILS => Err(Failure::new(Code::Unavailable, "no route")),
            EMPTY => Ok(None),
            PANICS => panic!("the loader has a fault"),
            _ => Ok(Some(format!("v{version}"))),
        }
    }

    async fn ask(&self, cache: &Cache<String, String>, key: &str) -> Answer {
        let source = self.clone();
        cache.get_or_load(key, || source.read()).await
    }

    fn ask_beside(&self, cache: &Cache<String, String>, key: &str) -> task::JoinHandle<Answer> {
        let (source, cache, key) = (self.clone(), cache.clone(), key.to_owned());
        task::spawn(async move { source.ask(&cache, &key).await })
    }
}

fn text(answer: Answer) -> String {
    answer.unwrap().map_or_else(|| "nothing".to_owned(), |value| value.to_string())
}

/// Lets all tasks go on until they wait; the clock is paused.
async fn settle() {
    pass(Duration::from_millis(1)).await;
}

async fn pass(time: Duration) {
    time::sleep(time).await; // tidy: sleep: the clock is paused
}
