//! What a cache costs and how often it hits, beside `quick_cache`, `moka` and a plain LRU: for `cargo xtask bench cache`.
//!
//! `bench_cache hits|ratios|scaling|misses [last]` prints a line of JSON for each figure; with `last`, our cache is
//! filled after the others. Traces are made from a seed.

#![expect(clippy::print_stdout, reason = "who starts it reads the figures")]
#![expect(clippy::cast_precision_loss, reason = "figures for people")]

mod lru;
mod ratios;
mod trace;

use std::{
    hint::black_box,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
};

use bowline_cache::{Cache, Failure};
use bowline_runtime::{task, time::Duration};

type Value = [u8; 64];
type Ours = Cache<String, Value>;
type Quick = quick_cache::sync::Cache<String, Arc<Value>>;
type Moka = moka::sync::Cache<String, Arc<Value>>;

const KEYS: usize = 100_000;
const CAPACITY: u64 = 200_000;
/// Gets of one turn; turns alternate.
const TURN: usize = 100_000;
const TURNS: usize = 12;

struct Caches {
    keys: Vec<String>,
    ours: Ours,
    quick: Quick,
    moka: Moka,
}

fn main() {
    let what = std::env::args().nth(1).unwrap_or_default();
    let is_ours_last = std::env::args().nth(2).as_deref() == Some("last");
    let runtime = task::core_runtime().expect("a runtime can be made");
    match what.as_str() {
        "hits" => hits(&runtime.block_on(caches(is_ours_last))),
        "ratios" => runtime.block_on(ratios::ratios()),
        "scaling" => scaling(&runtime.block_on(caches(is_ours_last))),
        "misses" => runtime.block_on(misses()),
        _ => panic!("say what to measure: hits, ratios, scaling or misses"),
    }
}

/// A cache for so many entries, whatever they weigh.
fn ours<K: bowline_cache::Key, V: Send + Sync + 'static>(capacity: u64) -> Cache<K, V> {
    let builder = Cache::builder("bench").ttl(Duration::from_hours(1)).weigh(|_, _| 1);
    builder.memory_bytes(capacity).item_bytes_max(1).build().expect("it can be built")
}

/// All three, filled. Who is filled later lies otherwise in memory, on larger pages: so it says who is last.
async fn caches(is_ours_last: bool) -> Caches {
    let keys: Vec<String> = (0..KEYS).map(|key| format!("user-{key:08}")).collect();
    let quick = Quick::new(usize::try_from(CAPACITY).expect("it is small"));
    let caches = Caches { keys, ours: ours(CAPACITY), quick, moka: Moka::new(CAPACITY) };
    if is_ours_last {
        fill_peers(&caches).await;
    }
    for key in &caches.keys {
        let loaded = caches.ours.get_or_load(key.as_str(), || std::future::ready(Ok(Some([7; 64])))).await;
        loaded.expect("it loads").expect("there is a value");
    }
    if !is_ours_last {
        fill_peers(&caches).await;
    }
    caches
}

/// Each value is made by a task, as a load is: so that their memory looks like ours.
async fn fill_peers(caches: &Caches) {
    for key in &caches.keys {
        let value = loaded().await;
        caches.quick.insert(key.clone(), value);
    }
    for key in &caches.keys {
        let value = loaded().await;
        caches.moka.insert(key.clone(), value);
    }
    caches.moka.run_pending_tasks();
}

async fn loaded() -> Arc<Value> {
    task::spawn(async { Arc::new([7; 64]) }).await.expect("no task panics")
}

fn say(id: &str, ours: f64, peer: f64) {
    println!("{{\"id\":\"{id}\",\"ours\":{ours},\"peer\":{peer}}}");
}

/// Nanoseconds of this thread's CPU for each of the gets: what else runs on the machine does not count.
fn timed(indices: &[u32], get: impl Fn(usize)) -> f64 {
    let begin = spent();
    for index in indices {
        get(*index as usize);
    }
    (spent() - begin) / indices.len() as f64
}

/// The same where each get waits for the value of the one before, as in a program that uses what it gets: the processor
/// cannot look ahead to the next one.
fn waited(indices: &[u32], get: impl Fn(usize) -> Arc<Value>) -> f64 {
    let begin = spent();
    let mut last = 0;
    for index in indices {
        // Values are all the same.
        let value = get(*index as usize + last);
        last = usize::from(value[0] - 7);
    }
    black_box(last);
    (spent() - begin) / indices.len() as f64
}

/// What this thread has run until now, in nanoseconds.
fn spent() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e9 + spent.tv_nsec as f64
}

/// What is measured of hits.
const HITS: usize = 6;

/// Gets that hit, in turns: another one goes first each time, and finds nothing in the processor's caches.
fn hits(caches: &Caches) {
    let trace = trace::zipf(KEYS, 0.99, TURN * TURNS);
    let mut sums = [0.0; HITS];
    for (turn, indices) in std::iter::once(&trace[..TURN]).chain(trace.chunks(TURN)).enumerate() {
        for nth in 0..HITS {
            let which = (turn + nth) % HITS;
            let figure = hit(caches, which, indices);
            // The first turn is for memory to be mapped and branches to be learnt.
            sums[which] += if turn == 0 { 0.0 } else { figure / TURNS as f64 };
        }
    }
    let [ours, quick, moka, polled, ours_ahead, quick_ahead] = sums;
    say("cache.hit.quick_cache", ours, quick);
    say("cache.hit.moka", ours, moka);
    say("cache.hit.async", polled, quick);
    say("cache.hit.ahead", ours_ahead, quick_ahead);
}

fn hit(caches: &Caches, which: usize, indices: &[u32]) -> f64 {
    let Caches { keys, ours, quick, moka } = caches;
    match which {
        0 => waited(indices, |at| ours.get(keys[at].as_str()).expect("it hits")),
        1 => waited(indices, |at| quick.get(keys[at].as_str()).expect("it hits")),
        2 => waited(indices, |at| moka.get(keys[at].as_str()).expect("it hits")),
        3 => waited(indices, |at| polled(ours, keys[at].as_str())),
        4 => timed(indices, |at| drop(black_box(ours.get(black_box(keys[at].as_str()))).expect("it hits"))),
        _ => timed(indices, |at| drop(black_box(quick.get(black_box(keys[at].as_str()))).expect("it hits"))),
    }
}

/// `get_or_load` that hits needs to be polled once.
fn polled(cache: &Ours, key: &str) -> Arc<Value> {
    let load = || std::future::ready(Err::<Option<Value>, _>(Failure::new(bowline_model::Code::Internal, "a miss")));
    let mut asked = pin!(cache.get_or_load(key, load));
    match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        std::task::Poll::Ready(Ok(Some(value))) => value,
        _ => panic!("it hits"),
    }
}

/// Gets that hit, by one thread and by two at once.
fn scaling(caches: &Caches) {
    let traces = [trace::zipf(KEYS, 0.99, TURN * TURNS), trace::zipf(KEYS, 0.99, TURN * TURNS)];
    let Caches { keys, ours, quick, .. } = caches;
    let of_ours = |at: usize| drop(black_box(ours.get(keys[at].as_str())));
    let of_quick = |at: usize| drop(black_box(quick.get(keys[at].as_str())));
    say("cache.scaling", factor(&traces, of_ours), factor(&traces, of_quick));
}

fn factor(traces: &[Vec<u32>; 2], get: impl Fn(usize) + Sync) -> f64 {
    timed(&traces[0], &get);
    let alone = timed(&traces[0], &get);
    let together = std::thread::scope(|scope| {
        let threads = [0, 1].map(|at| {
            let get = &get;
            scope.spawn(move || timed(&traces[at], get))
        });
        threads.map(|thread| thread.join().expect("no thread panics")).iter().sum::<f64>() / 2.0
    });
    2.0 * alone / together
}

/// Microseconds of a load that is ready at once; its task runs on this thread, too.
async fn misses() {
    const LOADS: u64 = 20_000;
    let (ours, moka) = (ours::<u64, Value>(CAPACITY), moka::sync::Cache::<u64, Arc<Value>>::new(CAPACITY));
    let mut figures = [0.0; 2];
    for turn in 0..5 {
        let keys = turn * LOADS..(turn + 1) * LOADS;
        let begin = spent();
        for key in keys.clone() {
            let loaded = ours.get_or_load(&key, || std::future::ready(Ok(Some([7; 64])))).await;
            black_box(loaded).expect("it loads");
        }
        figures[0] += (spent() - begin) / 1e3 / (5 * LOADS) as f64;
        let begin = spent();
        for key in keys {
            black_box(moka.try_get_with(key, || Ok::<_, Failure>(Arc::new([7; 64])))).expect("it loads");
        }
        figures[1] += (spent() - begin) / 1e3 / (5 * LOADS) as f64;
    }
    say("cache.miss", figures[0], figures[1]);
}
