//! Work on several items at once, in order, out of order and in lanes; and again where it fails.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use bowline::{
    policy::{Backoff, RetryPolicy},
    stream::{self, Flow as _, Retryable, StreamExt as _},
};
use bowline_runtime::time;
use proptest::prelude::*;

use crate::support::{Got, Item, Log, numbers, read, run, stalls};

/// Work that takes a time of its own for each item.
async fn work(times: &[u64], item: Item) -> Item {
    // tidy: sleep: the clock is paused
    time::sleep(Duration::from_millis(times[item.value as usize % times.len()])).await;
    item
}

fn times() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(0_u64..50, 1..8)
}

/// When each item is given out, where all are there at once and so many are worked on: in the order of the items, or
/// as they are done.
fn given_at(times: &[u64], count: usize, is_ordered: bool) -> Vec<u64> {
    let (mut at, mut slots) = (Vec::new(), std::collections::BinaryHeap::new());
    for time in times {
        let begun = if slots.len() < count { 0 } else { slots.pop().map_or(0, |Reverse(free)| free) };
        let before = at.last().copied().filter(|_| is_ordered).unwrap_or(0);
        at.push(before.max(begun + time));
        slots.extend(at.last().copied().map(Reverse));
    }
    at
}

/// What was given out when, by the number of the item.
fn by_number(got: &Got<u32>) -> Vec<u64> {
    let by_number: BTreeMap<u32, u64> = got.items.iter().copied().zip(got.at.iter().copied()).collect();
    by_number.into_values().collect()
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
    fn as_many_as_may_be_are_at_work(times in proptest::collection::vec(1_u64..50, 0..30), count in 1_usize..6) {
        run(async {
            let (plain, all) = (|_: &Log, item: Item| item.value, vec![None; times.len()]);
            let log = Log::new();
            let got = read(&log, log.source(0, all.clone()).ordered(count, |item| work(&times, item)), &[], plain).await;
            assert_eq!(by_number(&got), given_at(&times, count, true));
            let log = Log::new();
            let got = read(&log, log.source(0, all.clone()).unordered(count, |item| work(&times, item)), &[], plain).await;
            assert_eq!(by_number(&got), given_at(&times, count, false));
            let log = Log::new();
            let lanes = log.source(0, all).by_key(|item| item.value, count, |item| work(&times, item));
            let got = read(&log, lanes, &[], plain).await;
            assert_eq!(by_number(&got), given_at(&times, count, false));
        });
    }

    #[test]
    fn what_breaks_is_made_again(
        attempts in attempts(), from in stalls(8), to in stalls(8), attempts_max in 1_u32..5,
    ) {
        run(async {
            let (log, made) = (Log::new(), Mutex::new(0));
            let backoff = Backoff { min: Duration::from_millis(5), max: Duration::from_millis(40) };
            let policy = RetryPolicy { attempts_max, backoff, ..RetryPolicy::default() };
            let stream = stream::retry(policy, || {
                let mut made = made.lock().unwrap();
                let attempt = attempts.get(*made).cloned().unwrap_or(Attempt { count: 0, end: Ok(()) });
                *made += 1;
                let (items, stalls) = ((0..attempt.count).map(Ok).chain(attempt.end.err().map(Err)), from.clone());
                // What stalls, stalls before its end, too.
                let stalls = (0..=attempt.count).map(|at| stalls.get(at % stalls.len().max(1)).copied().flatten());
                log.source(0, stalls.collect()).zip(stream::iter(items)).map(|(_, item)| item)
            });
            let got = read(&log, stream, &to, |_, item| item).await;
            assert_eq!((got.items, *made.lock().unwrap()), retried(&attempts, attempts_max));
        });
    }
}

#[test]
fn what_falls_silent_is_made_again() {
    run(async {
        let mut made = 0;
        let stream = stream::retry(RetryPolicy::default(), || {
            made += 1;
            let never = stream::once(std::future::pending::<u32>());
            let silent = if made == 1 { never.left_stream() } else { stream::iter([2]).right_stream() };
            stream::iter([1]).chain(silent).idle_timeout(Duration::from_millis(5))
        });
        assert_eq!(stream.collect::<Vec<_>>().await, [Ok(1), Ok(1), Ok(2)]);
    });
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
