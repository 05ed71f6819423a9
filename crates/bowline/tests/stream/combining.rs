//! Several streams made one.

use std::{pin::pin, task::Poll};

use bowline::stream::{self, Flow as _, STREAMS_MAX, StreamExt as _};
use proptest::prelude::*;

use crate::support::{Item, Log, Stall, numbers, poll_once, read, run, stalls};

/// Of each source, what came of it, in the order in which it came.
fn by_source(sources: usize, items: &[(u32, u32)]) -> Vec<Vec<u32>> {
    let of = |source| items.iter().filter(|item| item.0 == source).map(|item| item.1).collect();
    numbers(sources).into_iter().map(of).collect()
}

fn tagged(log: &Log, source: u32, stalls: Vec<Stall>) -> impl stream::Stream<Item = (u32, Item)> + Unpin {
    log.source(source, stalls).map(move |item| (source, item))
}

/// The newest of each source after each that was taken, once each has one.
fn combined(log: &Log, sources: usize) -> Vec<Vec<u32>> {
    let mut newest = vec![None; sources];
    let after = |(_, source, value): (u64, u32, u32)| {
        newest[source as usize] = Some(value);
        newest.iter().copied().collect::<Option<Vec<u32>>>()
    };
    log.taken().into_iter().filter_map(after).collect()
}

proptest! {
    #[test]
    fn merged_streams_lose_nothing_and_keep_their_orders(one in stalls(20), other in stalls(20), to in stalls(8)) {
        run(async {
            let log = Log::new();
            let expect = [numbers(one.len()), numbers(other.len())];
            let stream = tagged(&log, 0, one).merge(tagged(&log, 1, other));
            let got = read(&log, stream, &to, |_, (source, item)| (source, item.value)).await;
            assert_eq!(by_source(2, &got.items), expect);
            assert_eq!(got.held_max, 0);
        });
    }

    #[test]
    fn many_merged_streams_do_so_too(all in proptest::collection::vec(stalls(12), 0..6), to in stalls(8)) {
        run(async {
            let log = Log::new();
            let expect: Vec<_> = all.iter().map(|stalls| numbers(stalls.len())).collect();
            let sources = all.into_iter().zip(0..).map(|(stalls, source)| tagged(&log, source, stalls));
            let stream = stream::merge_all(sources).unwrap();
            let got = read(&log, stream, &to, |_, (source, item)| (source, item.value)).await;
            assert_eq!(by_source(expect.len(), &got.items), expect);
            assert_eq!(got.held_max, 0);
        });
    }

    #[test]
    fn zipped_streams_are_pairs(one in stalls(20), other in stalls(20), to in stalls(8)) {
        run(async {
            let log = Log::new();
            let count = one.len().min(other.len());
            let stream = log.source(0, one).zip(log.source(1, other));
            let got = read(&log, stream, &to, |_, (one, other)| (one.value, other.value)).await;
            assert_eq!(got.items, numbers(count).into_iter().map(|it| (it, it)).collect::<Vec<_>>());
            assert!(got.held_max <= 1, "{} held", got.held_max);
        });
    }

    #[test]
    fn the_newest_of_two_are_those_of_the_interleaving(one in stalls(20), other in stalls(20), to in stalls(8)) {
        run(async {
            let log = Log::new();
            let is_any_empty = one.is_empty() || other.is_empty();
            let count = one.len() + other.len();
            let stream = log.source(0, one).combine_latest(log.source(1, other));
            let got = read(&log, stream, &to, |_, (one, other)| vec![one.value, other.value]).await;
            assert_eq!(got.items, combined(&log, 2));
            assert!(is_any_empty || log.taken().len() == count, "all were taken");
            assert!(got.held_max <= 2, "{} held", got.held_max);
        });
    }

    #[test]
    fn the_newest_of_many_are_those_of_the_interleaving(
        all in proptest::collection::vec(stalls(12), 0..5), to in stalls(8),
    ) {
        run(async {
            let log = Log::new();
            let count = all.len();
            let items = all.iter().map(Vec::len).sum::<usize>();
            let is_any_empty = all.iter().any(Vec::is_empty);
            let sources = all.into_iter().zip(0..).map(|(stalls, source)| log.source(source, stalls)).collect();
            let stream = stream::combine_all(sources).unwrap();
            let got = read(&log, stream, &to, |_, all| all.iter().map(|it| it.value).collect::<Vec<_>>()).await;
            assert_eq!(got.items, combined(&log, count));
            assert!(is_any_empty || log.taken().len() == items, "all were taken");
            assert!(got.held_max <= count, "{} held", got.held_max);
        });
    }
}

#[test]
fn neither_side_starves_the_other() {
    run(async {
        let (one, other) = (stream::iter(0..).map(|_| 0), stream::iter(0..).map(|_| 1));
        let turns: Vec<i32> = one.merge(other).take(100).collect().await;
        assert_eq!(turns.iter().sum::<i32>(), 50);
        let pairs: Vec<(u32, u32)> = stream::iter(0..).combine_latest(stream::iter(0..)).take(100).collect().await;
        let (one, other) = pairs[99];
        assert!(one.abs_diff(other) <= 1, "{one} {other}");
    });
}

#[test]
fn a_side_that_always_has_an_item_does_not_keep_the_thread_while_the_other_has_none() {
    run(async {
        let never = || stream::once(std::future::pending::<i32>());
        let mut pairs = pin!(stream::iter(0..).combine_latest(never()));
        assert!(poll_once(&mut pairs).await.is_pending());
        let both = vec![stream::iter(0..).boxed(), never().boxed()];
        assert!(poll_once(&mut stream::combine_all(both).unwrap()).await.is_pending());
    });
}

#[test]
fn a_side_that_ends_without_an_item_ends_both() {
    run(async {
        let never = || stream::once(std::future::pending::<i32>());
        let mut pairs = pin!(never().combine_latest(stream::iter([0; 0])));
        assert!(poll_once(&mut pairs).await == Poll::Ready(None));
        let both = vec![never().boxed(), stream::iter([0; 0]).boxed()];
        assert!(poll_once(&mut stream::combine_all(both).unwrap()).await == Poll::Ready(None));
        // However much the other one has.
        let mut pairs = pin!(stream::iter(0..).combine_latest(stream::iter([0; 0])));
        assert!(poll_once(&mut pairs).await == Poll::Ready(None));
        let mut pairs = pin!(stream::iter([0; 0]).combine_latest(stream::iter(0..)));
        assert!(poll_once(&mut pairs).await == Poll::Ready(None));
        let both = vec![stream::iter(0..).boxed(), stream::iter([0; 0]).boxed()];
        assert!(poll_once(&mut stream::combine_all(both).unwrap()).await == Poll::Ready(None));
    });
}

#[test]
fn too_many_streams_are_refused() {
    let empty = || (0..=STREAMS_MAX).map(|_| stream::iter([0])).collect::<Vec<_>>();
    assert_eq!(stream::combine_all(empty()).unwrap_err().count, STREAMS_MAX + 1);
    assert!(stream::merge_all(empty()).is_err());
}
