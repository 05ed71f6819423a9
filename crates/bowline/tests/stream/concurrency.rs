//! Work on several items at once, in order, out of order and in lanes; and again where it fails.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use bowline::{
    policy::{Backoff, RetryPolicy},
    stream::{self, Flow as _, Retryable, StreamExt as _},
};
use bowline_runtime::time;
use proptest::prelude::*;

use crate::support::{Item, Log, numbers, read, run, stalls};

/// Work that takes a time of its own for each item.
async fn work(times: &[u64], item: Item) -> Item {
    // tidy: sleep: the clock is paused
    time::sleep(Duration::from_millis(times[item.value as usize % times.len()])).await;
    item
}

fn times() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(0_u64..50, 1..8)
}

/// An attempt: so many items, then its end.
#[derive(Debug, Clone)]
struct Attempt {
    count: usize,
    end: Result<(), Broken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Broken {
    is_final: bool,
}

impl Retryable for Broken {
    fn retryable(&self) -> bool {
        !self.is_final
    }
}

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let end = prop_oneof![
        1 => Just(Ok(())),
        8 => Just(Err(Broken { is_final: false })),
        1 => Just(Err(Broken { is_final: true })),
    ];
    let count = prop_oneof![2 => Just(0_usize), 1 => 1..4_usize];
    proptest::collection::vec((count, end).prop_map(|(count, end)| Attempt { count, end }), 1..12)
}

/// What comes of the attempts, as a list: they end well when there are no more.
fn retried(attempts: &[Attempt], attempts_max: u32) -> (Vec<Result<usize, Broken>>, usize) {
    let (mut all, mut in_a_row) = (Vec::new(), 0);
    for (at, Attempt { count, end }) in attempts.iter().enumerate() {
        all.extend((0..*count).map(Ok));
        in_a_row = if *count > 0 { 1 } else { in_a_row + 1 };
        match end {
            Ok(()) => return (all, at + 1),
            Err(error) if error.is_final || in_a_row >= attempts_max => {
                all.push(Err(*error));
                return (all, at + 1);
            }
            Err(_) => {}
        }
    }
    (all, attempts.len() + 1)
}

proptest! {
    #[test]
    fn ordered_keeps_the_order(from in stalls(30), to in stalls(8), times in times(), count in 1_usize..6) {
        run(async {
            let log = Log::new();
            let expect = numbers(from.len());
            let stream = log.source(0, from).ordered(count, |item| work(&times, item));
            let got = read(&log, stream, &to, |_, item| item.value).await;
            assert_eq!(got.items, expect);
            assert!(got.held_max <= count, "{} held", got.held_max);
        });
    }

    #[test]
    fn unordered_loses_nothing(from in stalls(30), to in stalls(8), times in times(), count in 1_usize..6) {
        run(async {
            let log = Log::new();
            let expect = numbers(from.len());
            let stream = log.source(0, from).unordered(count, |item| work(&times, item));
            let mut got = read(&log, stream, &to, |_, item| item.value).await;
            got.items.sort_unstable();
            assert_eq!(got.items, expect);
            assert!(got.held_max <= count, "{} held", got.held_max);
        });
    }

    #[test]
    fn lanes_keep_the_order_of_each_key(
        from in stalls(40), to in stalls(8), times in times(), count in 1_usize..6, keys in 1_u32..5,
    ) {
        run(async {
            let log = Log::new();
            let expect = numbers(from.len());
            let busy = Mutex::new(BTreeSet::new());
            let stream = log.source(0, from).by_key(|item| item.value % keys, count, |item| async {
                let key = item.value % keys;
                assert!(busy.lock().unwrap().insert(key), "one at a time of each key");
                let item = work(&times, item).await;
                busy.lock().unwrap().remove(&key);
                item
            });
            let mut got = read(&log, stream, &to, |_, item| item.value).await;
            for key in 0..keys {
                assert!(got.items.iter().filter(|it| *it % keys == key).is_sorted());
            }
            got.items.sort_unstable();
            assert_eq!(got.items, expect);
            assert!(got.held_max <= count, "{} held", got.held_max);
        });
    }

    #[test]
    fn what_breaks_is_made_again(attempts in attempts(), to in stalls(8), attempts_max in 1_u32..5) {
        run(async {
            let (log, made) = (Log::new(), Mutex::new(0));
            let backoff = Backoff { min: Duration::from_millis(5), max: Duration::from_millis(40) };
            let policy = RetryPolicy { attempts_max, backoff, ..RetryPolicy::default() };
            let stream = stream::retry(policy, || {
                let mut made = made.lock().unwrap();
                let attempt = attempts.get(*made).cloned().unwrap_or(Attempt { count: 0, end: Ok(()) });
                *made += 1;
                stream::iter((0..attempt.count).map(Ok)).chain(stream::iter(attempt.end.err().map(Err)))
            });
            let got = read(&log, stream, &to, |_, item| item).await;
            assert_eq!((got.items, *made.lock().unwrap()), retried(&attempts, attempts_max));
        });
    }
}

#[test]
fn a_retry_waits_as_the_policy_says() {
    run(async {
        let log = Log::new();
        let backoff = Backoff { min: Duration::from_millis(10), max: Duration::from_millis(15) };
        let policy = RetryPolicy { attempts_max: 4, backoff, ..RetryPolicy::default() };
        let mut made_at = Vec::new();
        let stream = stream::retry(policy, || {
            made_at.push(log.now());
            stream::iter([Err::<(), _>(Broken { is_final: false })])
        });
        let got = read(&log, stream, &[], |_, item| item).await;
        assert_eq!(got.items, [Err(Broken { is_final: false })]);
        let waits: Vec<u64> = made_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(waits.len(), 3);
        // A timer rounds up to the next millisecond.
        assert!(waits.iter().zip([11, 16, 16]).all(|(wait, most)| *wait <= most), "{waits:?}");
    });
}
