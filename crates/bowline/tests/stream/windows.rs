//! Windows of event time against a function of the whole list of events.

use std::{collections::BTreeMap, time::Duration};

use bowline::stream::{self, Flow as _, Sessions, StreamExt as _, WINDOWS_OPEN_MAX, Windowed, Windows};
use bowline_runtime::{metric::Counter, time};
use proptest::prelude::*;
use tokio::sync::mpsc;

use crate::support::{Item, Log, Stall, read, run, stalls};

/// When an event happened, and its key.
type Event = (i64, u8);

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.try_into().unwrap())
}

/// Events that come more or less in order.
fn events() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec((0_i64..20, -60_i64..60, 0_u8..3), 0..60).prop_map(|steps| {
        let mut at = -100;
        let event = |(step, jitter, key)| {
            at += step;
            (at + jitter, key)
        };
        steps.into_iter().map(event).collect()
    })
}

/// How far time has come before each event, and after all.
fn watermarks(events: &[Event], late_by: i64) -> Vec<i64> {
    let mut watermarks = vec![i64::MIN];
    for (at, _) in events {
        watermarks.push((at - late_by).max(*watermarks.last().unwrap()));
    }
    watermarks
}

/// What came of a window: when it began and ended, and which events are in it.
type Closed = (i64, u8, i64, Vec<usize>);

/// The windows in the order in which they close, and which events are late.
fn fixed(events: &[Event], (size, every): (i64, i64), late_by: i64) -> (Vec<Closed>, Vec<usize>) {
    let watermarks = watermarks(events, late_by);
    let mut windows = BTreeMap::<(i64, u8), Vec<usize>>::new();
    let mut late = Vec::new();
    for (index, (at, key)) in events.iter().enumerate() {
        let starts = (at - size + 1..=*at).filter(|start| start.rem_euclid(every) == 0);
        let open: Vec<i64> = starts.filter(|start| start + size > watermarks[index]).collect();
        if open.is_empty() {
            late.push(index);
        }
        for start in open {
            windows.entry((start, *key)).or_default().push(index);
        }
    }
    let closes = |end: i64| watermarks.iter().position(|watermark| *watermark >= end).unwrap_or(usize::MAX);
    let mut closed: Vec<Closed> =
        windows.into_iter().map(|((start, key), inside)| (start + size, key, start, inside)).collect();
    closed.sort_by_key(|(end, key, ..)| (closes(*end), *end, *key));
    (closed, late)
}

/// The sessions where nothing is ever late: events in the order of their times, cut at the gaps.
fn in_the_end(events: &[Event], gap: i64) -> Vec<Closed> {
    let mut sorted: Vec<usize> = (0..events.len()).collect();
    sorted.sort_by_key(|index| (events[*index].1, events[*index].0));
    let apart = |one: &usize, other: &usize| {
        let ((at, key), (other_at, other_key)) = (events[*one], events[*other]);
        key == other_key && other_at - at < gap
    };
    let session = |inside: &[usize]| {
        let (first, last) = (events[inside[0]], events[*inside.last().unwrap()]);
        let mut inside = inside.to_vec();
        inside.sort_unstable();
        (last.0 + gap, first.1, first.0, inside)
    };
    let mut sessions: Vec<Closed> = sorted.chunk_by(apart).map(session).collect();
    sessions.sort_unstable();
    sessions
}

/// The sessions as they come, in plain lists.
fn sessions(events: &[Event], gap: i64, late_by: i64) -> (Vec<Closed>, Vec<usize>) {
    let watermarks = watermarks(events, late_by);
    let (mut open, mut closed, mut late) = (Vec::<Closed>::new(), Vec::new(), Vec::new());
    for (index, (at, key)) in events.iter().enumerate() {
        let is_near = |it: &Closed| it.1 == *key && it.0 > *at && it.2 < at + gap;
        let (near, others): (Vec<Closed>, Vec<Closed>) = open.into_iter().partition(is_near);
        open = others;
        if near.is_empty() && at + gap <= watermarks[index] {
            late.push(index);
        } else {
            let start = near.iter().map(|it| it.2).chain([*at]).min().unwrap();
            let end = near.iter().map(|it| it.0).chain([at + gap]).max().unwrap();
            let mut inside: Vec<usize> = near.into_iter().flat_map(|it| it.3).chain([index]).collect();
            inside.sort_unstable();
            open.push((end, *key, start, inside));
        }
        let (mut over, still): (Vec<Closed>, Vec<Closed>) =
            open.into_iter().partition(|it| it.0 <= watermarks[index + 1]);
        open = still;
        over.sort_unstable();
        closed.extend(over);
    }
    open.sort_unstable();
    closed.extend(open);
    (closed, late)
}

fn plain(_: &Log, windowed: Windowed<u8, Vec<usize>>) -> Closed {
    assert!(!windowed.is_early);
    let mut inside = windowed.value;
    inside.sort_unstable();
    (windowed.end_ms, windowed.key, windowed.start_ms, inside)
}

/// The events, with stalls between them, each as long as its item is anywhere.
fn source(log: &Log, events: &[Event], stalls: &[Stall]) -> impl stream::Stream<Item = (Item, Event)> {
    let stalls = (0..events.len()).map(|at| stalls.get(at % stalls.len().max(1)).copied().flatten()).collect();
    log.source(0, stalls).map(|item| {
        let event = events[item.value as usize];
        (item, event)
    })
}

fn drained(late: &mut mpsc::Receiver<(Item, Event)>) -> Vec<usize> {
    std::iter::from_fn(|| late.try_recv().ok()).map(|late| late.0.value as usize).collect()
}

fn push(inside: &mut Vec<usize>, event: &(Item, Event)) {
    inside.push(event.0.value as usize);
}

/// The events that are late where time goes on by the clock, too, for a reader that stalls.
async fn late_by_clock(events: &[Event], (from, to): (&[Stall], &[Stall]), idle_after: i64) -> Vec<usize> {
    let log = Log::new();
    let (late, mut told) = mpsc::channel(64);
    let windows = source(&log, events, from)
        .window(Windows::tumbling(millis(20)).unwrap(), |event| event.1.0)
        .by(|event| event.1.1)
        .late_by(millis(10))
        .idle_after(millis(idle_after))
        .late_to(late)
        .fold(Vec::new, push);
    read(&log, windows, to, plain).await;
    drained(&mut told)
}

proptest! {
    #[test]
    fn windows_of_a_size(
        events in events(), from in stalls(8), to in stalls(8),
        every in 1_i64..40, more in 1_i64..80, late_by in 0_i64..60,
    ) {
        run(async {
            let (log, size) = (Log::new(), every * (1 + more / 20) + more % 20);
            let (late, mut told) = mpsc::channel(64);
            let windows = source(&log, &events, &from)
                .window(Windows::sliding(millis(size), millis(every)).unwrap(), |event| event.1.0)
                .by(|event| event.1.1)
                .late_by(millis(late_by))
                .late_to(late)
                .fold(Vec::new, push);
            let got = read(&log, windows, &to, plain).await;
            let late = drained(&mut told);
            assert!(got.held_max <= late.len(), "{} held beside those that are late", got.held_max);
            assert_eq!((got.items, late), fixed(&events, (size, every), late_by));
        });
    }

    #[test]
    fn tumbling_windows_have_each_event_once(events in events(), to in stalls(8), size in 1_i64..80) {
        run(async {
            let log = Log::new();
            let windows = source(&log, &events, &[])
                .window(Windows::tumbling(millis(size)).unwrap(), |event| event.1.0)
                .by(|event| event.1.1)
                .late_by(Duration::from_hours(1))
                .fold(Vec::new, push);
            let got = read(&log, windows, &to, plain).await;
            let mut inside: Vec<usize> = got.items.into_iter().flat_map(|closed| closed.3).collect();
            inside.sort_unstable();
            assert_eq!(inside, (0..events.len()).collect::<Vec<_>>());
        });
    }

    #[test]
    fn sessions_grow_and_merge(
        events in events(), from in stalls(8), to in stalls(8), gap in 1_i64..60, late_by in 0_i64..60,
    ) {
        run(async {
            let log = Log::new();
            let (late, mut told) = mpsc::channel(64);
            let windows = source(&log, &events, &from)
                .window(Sessions::gap(millis(gap)).unwrap(), |event| event.1.0)
                .by(|event| event.1.1)
                .late_by(millis(late_by))
                .late_to(late)
                .fold(Vec::new, push, |one, other| [one, other].concat());
            let got = read(&log, windows, &to, plain).await;
            let late = drained(&mut told);
            assert!(got.held_max <= late.len(), "{} held beside those that are late", got.held_max);
            assert_eq!((got.items, late), sessions(&events, gap, late_by));
        });
    }

    #[test]
    fn sessions_are_those_of_the_sorted_list_where_nothing_is_late(events in events(), gap in 1_i64..60) {
        run(async {
            let log = Log::new();
            let windows = source(&log, &events, &[])
                .window(Sessions::gap(millis(gap)).unwrap(), |event| event.1.0)
                .by(|event| event.1.1)
                .late_by(Duration::from_hours(1))
                .fold(Vec::new, push, |one, other| [one, other].concat());
            let got = read(&log, windows, &[], plain).await;
            assert_eq!(got.items, in_the_end(&events, gap));
        });
    }

    #[test]
    fn a_reader_that_stalls_makes_nothing_late(
        events in events(), from in stalls(8), to in stalls(8), idle_after in 1_i64..40,
    ) {
        let late = run(late_by_clock(&events, (&from, &[]), idle_after));
        let late_of_slow = run(late_by_clock(&events, (&from, &to), idle_after));
        assert!(late_of_slow.iter().all(|it| late.contains(it)), "{late_of_slow:?} and not only {late:?}");
    }
}

#[test]
fn the_last_windows_close_by_the_clock_where_no_event_comes() {
    run(async {
        let events = stream::iter([1_000, 12_500]).chain(stream::once(std::future::pending()));
        let windows = events
            .window(Windows::tumbling(millis(10_000)).unwrap(), |at| *at)
            .late_by(millis(2_000))
            .idle_after(millis(1_000))
            .fold(|| 0, |count, _| *count += 1);
        let begun = time::now();
        let closed: Vec<_> = windows.take(2).map(|it| (it.start_ms, it.value, time::now() - begun)).collect().await;
        // The watermark was at 10,500; it is at 20,000 after 9.5 s more.
        assert_eq!(closed, [(0, 1, Duration::ZERO), (10_000, 1, millis(9_500))]);
    });
}

#[test]
fn where_too_many_are_open_the_oldest_is_closed_early() {
    run(async {
        let count = i64::try_from(WINDOWS_OPEN_MAX).unwrap() + 3;
        let windows = stream::iter(0..count)
            .window(Windows::tumbling(millis(1_000)).unwrap(), |_| 5)
            .by(|key| *key)
            .fold(|| (), |(), _| ());
        let closed: Vec<_> = windows.collect().await;
        assert_eq!(closed.iter().map(|it| it.key).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
        assert_eq!(closed.iter().filter(|it| it.is_early).count(), 3);
        assert!(closed[2].is_early && !closed[3].is_early);
    });
}

#[test]
fn what_comes_too_late_is_counted_where_nobody_takes_it() {
    run(async {
        let (late, mut told) = mpsc::channel(1);
        let dropped = Counter::default();
        let windows = stream::iter([100, 5, 6, 7])
            .window(Windows::tumbling(millis(10)).unwrap(), |at| *at)
            .late_to(late)
            .dropped_counted_by(dropped.clone())
            .fold(|| 0, |count, _| *count += 1);
        assert_eq!(windows.map(|it| (it.start_ms, it.value)).collect::<Vec<_>>().await, [(100, 1)]);
        assert_eq!((told.try_recv().unwrap(), dropped.get()), (5, 2));
    });
}

#[test]
fn what_comes_too_late_may_be_taken_by_a_function() {
    run(async {
        let (late, mut told) = mpsc::channel(4);
        let dropped = Counter::default();
        let windows = stream::iter([100, 5, 6])
            .map(|at| (at, late.clone()))
            .window(Windows::tumbling(millis(10)).unwrap(), |event| event.0)
            .on_late(|(at, late)| late.try_send(at).unwrap())
            .dropped_counted_by(dropped.clone())
            .fold(|| 0, |count, _| *count += 1);
        assert_eq!(windows.count().await, 1);
        assert_eq!((told.recv().await, told.recv().await, dropped.get()), (Some(5), Some(6), 0));
    });
}

#[test]
fn windows_that_cannot_be_are_refused() {
    let sliding = |size, every| Windows::sliding(millis(size), millis(every));
    assert!(sliding(64, 1).is_ok() && sliding(128, 2).is_ok());
    for (size, every) in [(65, 1), (0, 0), (10, 0), (10, 11)] {
        assert!(sliding(size, every).is_err(), "{size} {every}");
    }
    assert!(Sessions::gap(Duration::ZERO).is_err());
}
