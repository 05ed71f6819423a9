//! What goes by time: throttled, in batches, after a pause, once an interval, the newest.

use std::{pin::pin, task::Poll, time::Duration};

use bowline::stream::{self, Flow as _, StreamExt as _};
use bowline_runtime::time;
use proptest::prelude::*;

use crate::support::{Event, Item, Log, given, numbers, poll_once, read, run, stalls};

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Checks that what was given was each time the newest that was taken, and that the last one was given.
fn is_newest(log: &Log, count: usize) {
    let (mut newest, mut is_given) = (None, true);
    for event in log.events() {
        match event {
            Event::Taken { value, .. } => (newest, is_given) = (Some(value), false),
            Event::Given { value, .. } => {
                assert!(!is_given && newest == Some(value), "{:?}", log.events());
                is_given = true;
            }
        }
    }
    assert!(is_given, "{:?}", log.events());
    assert_eq!(log.taken().len(), count);
}

proptest! {
    #[test]
    fn throttled_items_keep_their_distance(from in stalls(20), to in stalls(8), every in 1_u64..30) {
        run(async {
            let log = Log::new();
            let expect = numbers(from.len());
            let got = read(&log, log.source(0, from).throttle(millis(every)), &to, |log, item| given(log, &item)).await;
            assert_eq!(got.items, expect);
            assert!(got.at.windows(2).all(|pair| pair[1] - pair[0] >= every), "{:?}", got.at);
            assert_eq!(got.held_max, 0);
        });
    }

    #[test]
    fn batches_are_full_or_old(
        from in stalls(40), to in stalls(8), max in 1_usize..9, within in 1_u64..60, weights in 1_usize..12,
    ) {
        run(async {
            let log = Log::new();
            let expect = numbers(from.len());
            let weight = |value: u32| value as usize % weights;
            let stream = log.source(0, from).batch_by(|item| weight(item.value), max, millis(within));
            let plain = |_: &Log, items: Vec<Item>| items.iter().map(|it| it.value).collect::<Vec<_>>();
            let got = read(&log, stream, &to, plain).await;
            assert_eq!(got.items.concat(), expect);
            let taken = log.taken();
            let heavy = |items: &[u32]| items.iter().map(|value| weight(*value).max(1)).sum::<usize>();
            for (at, items) in got.items.iter().enumerate() {
                assert!(!items.is_empty());
                assert!(items.len() == 1 || heavy(items) <= max, "{items:?}");
                let Some(next) = got.items.get(at + 1).map(|next| next[0]) else { continue };
                let is_full = heavy(items) + weight(next).max(1) > max;
                // What did not fit in began the next batch only when that one was asked for.
                let age = got.at[at] - taken[items[0] as usize].0;
                assert!(is_full || age >= within, "{items:?} after {age} ms of {within}");
            }
            assert!(got.held_max <= max + 1, "{} held", got.held_max);
        });
    }

    #[test]
    fn batches_of_a_count_are_chunks_where_all_is_there(count in 0_usize..50, max in 1_usize..9) {
        run(async {
            let log = Log::new();
            let stream = log.source(0, vec![None; count]).batch(max, millis(10));
            let plain = |_: &Log, items: Vec<Item>| items.iter().map(|it| it.value).collect::<Vec<_>>();
            let got = read(&log, stream, &[Some(30)], plain).await;
            assert_eq!(got.items, numbers(count).chunks(max).map(<[u32]>::to_vec).collect::<Vec<_>>());
            assert!(got.held_max <= max, "{} held", got.held_max);
        });
    }

    #[test]
    fn only_what_is_followed_by_a_pause_is_left(from in stalls(40), to in stalls(8), quiet in 1_u64..40) {
        run(async {
            let log = Log::new();
            let got = read(&log, log.source(0, from).debounce(millis(quiet)), &to, |log, item| given(log, &item)).await;
            let taken = log.taken();
            let is_last = |at: usize| taken.get(at + 1).is_none_or(|next| next.0 - taken[at].0 >= quiet);
            let expect: Vec<u32> = (0..taken.len()).filter(|at| is_last(*at)).map(|at| taken[at].2).collect();
            assert_eq!(got.items, expect);
            assert!(got.held_max <= 1, "{} held", got.held_max);
        });
    }

    #[test]
    fn of_each_interval_the_newest_is_left(from in stalls(40), to in stalls(8), every in 1_u64..40) {
        run(async {
            let log = Log::new();
            let count = from.len();
            let got = read(&log, log.source(0, from).sample(millis(every)), &to, |log, item| given(log, &item)).await;
            is_newest(&log, count);
            assert!(got.held_max <= 1, "{} held", got.held_max);
        });
    }

    #[test]
    fn a_reader_who_waits_gets_one_an_interval(steps in proptest::collection::vec(1_u64..6, 0..40), every in 1_u64..5) {
        run(async {
            let log = Log::new();
            // Items come at tens of milliseconds, intervals end at fives.
            let step = |(at, step)| Some(10 * step - if at == 0 { 5 } else { 0 });
            let from: Vec<_> = steps.iter().enumerate().map(step).collect();
            let every = 10 * every;
            let got = read(&log, log.source(0, from).sample(millis(every)), &[], |log, item| given(log, &item)).await;
            let taken = log.taken();
            let interval = |at: usize| taken[at].0 / every;
            let is_last = |at: usize| at + 1 == taken.len() || interval(at) != interval(at + 1);
            let expect: Vec<u32> = (0..taken.len()).filter(|at| is_last(*at)).map(|at| taken[at].2).collect();
            assert_eq!(got.items, expect);
        });
    }

    #[test]
    fn a_slow_reader_gets_the_newest_and_the_rest_is_counted(from in stalls(200), to in stalls(8)) {
        run(async {
            let log = Log::new();
            let count = from.len();
            let stream = log.source(0, from).latest();
            let dropped = stream.dropped().clone();
            let got = read(&log, stream, &to, |log, item| given(log, &item)).await;
            is_newest(&log, count);
            assert_eq!(got.items.len() + usize::try_from(dropped.get()).unwrap(), count);
            assert!(got.held_max <= 1, "{} held", got.held_max);
        });
    }

    #[test]
    fn each_silence_is_told_once_and_none_of_the_reader(from in stalls(20), to in stalls(8), after in 1_u64..40) {
        run(async {
            let log = Log::new();
            let mut expect = Vec::new();
            for (stall, number) in from.iter().zip(0..) {
                expect.extend(stall.filter(|stall| *stall > after).map(|_| Err(millis(after))));
                expect.push(Ok(number));
            }
            let stream = log.source(0, from).idle_timeout(millis(after));
            let plain = |_: &Log, item: Result<Item, stream::Idle>| item.map(|it| it.value).map_err(|idle| idle.after);
            let got = read(&log, stream, &to, plain).await;
            assert_eq!(got.items, expect);
            assert_eq!(got.held_max, 0);
        });
    }
}

#[test]
fn a_batch_is_due_though_its_source_always_has_an_item() {
    run(async {
        let mut batches = pin!(stream::iter(0..10_000).batch(usize::MAX, millis(10)));
        assert!(poll_once(&mut batches).await.is_pending(), "others of the thread have their turn");
        // tidy: sleep: the clock is paused
        time::sleep(millis(10)).await;
        let Poll::Ready(Some(batch)) = poll_once(&mut batches).await else { panic!("it is over") };
        assert!(batch.len() < 10_000, "{}", batch.len());
    });
}

#[test]
fn a_batch_that_is_full_waits_for_nothing() {
    run(async {
        let never = stream::once(std::future::pending());
        let mut batches = pin!(stream::iter(0..6).chain(never).batch(3, Duration::from_hours(1)));
        let begun = time::now();
        assert_eq!(batches.next().await.unwrap(), [0, 1, 2]);
        assert_eq!(batches.next().await.unwrap(), [3, 4, 5]);
        assert_eq!(time::now(), begun);
    });
}

#[test]
fn a_source_that_breaks_breaks_its_reader() {
    let stream = bowline::stream::iter(0..3).inspect(|it| assert_ne!(*it, 1, "broken"));
    let read = std::panic::AssertUnwindSafe(|| run(stream.latest().collect::<Vec<_>>()));
    assert!(std::panic::catch_unwind(read).is_err());
}
