//! A source that is told when it has items, a consumer that is told when it asks, and a log of both.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bowline::stream::{Stream, StreamExt as _};
use bowline_runtime::{
    task,
    time::{self, Instant, Sleep},
};
use proptest::prelude::*;

/// How long what is asked has nothing, or does not ask, in milliseconds; 0: it yields.
pub(crate) type Stall = Option<u64>;

/// Stalls of so many at most.
pub(crate) fn stalls(count: usize) -> impl Strategy<Value = Vec<Stall>> {
    let stall = prop_oneof![3 => Just(None), 1 => Just(Some(0)), 2 => (1_u64..40).prop_map(Some)];
    proptest::collection::vec(stall, 0..=count)
}

/// Runs a case on virtual time.
pub(crate) fn run<T>(case: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(case)
}

/// Something that happened, and when: milliseconds since the case began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Taken { at: u64, source: u32, value: u32 },
    Given { at: u64, value: u32 },
}

/// What happened, and how many items there are in between.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    begun: Instant,
    live: Arc<AtomicUsize>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { begun: time::now(), live: Arc::default(), events: Arc::default() }
    }

    pub(crate) fn now(&self) -> u64 {
        u64::try_from((time::now() - self.begun).as_millis()).unwrap()
    }

    fn add(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// The items that were taken from the sources: when, from which, what.
    pub(crate) fn taken(&self) -> Vec<(u64, u32, u32)> {
        let taken = |event| match event {
            Event::Taken { at, source, value } => Some((at, source, value)),
            Event::Given { .. } => None,
        };
        self.events().into_iter().filter_map(taken).collect()
    }

    /// A source of these many items, numbered; before each it stalls.
    pub(crate) fn source(&self, source: u32, stalls: Vec<Stall>) -> Source {
        Source { log: self.clone(), number: source, next: 0, stalls, is_stalled: false, sleep: None }
    }

    fn item(&self, value: u32) -> Item {
        self.live.fetch_add(1, Relaxed);
        Item { value, live: self.live.clone() }
    }
}

/// An item that is counted as long as it is anywhere.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) value: u32,
    live: Arc<AtomicUsize>,
}

impl Clone for Item {
    fn clone(&self) -> Self {
        self.live.fetch_add(1, Relaxed);
        Self { value: self.value, live: self.live.clone() }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct Source {
    log: Log,
    number: u32,
    next: usize,
    stalls: Vec<Stall>,
    is_stalled: bool,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Stream for Source {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let Some(stall) = self.stalls.get(self.next).copied() else { return Poll::Ready(None) };
        if let Some(stall) = stall.filter(|_| !self.is_stalled) {
            self.is_stalled = true;
            if stall == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.sleep = Some(Box::pin(time::sleep(Duration::from_millis(stall))));
        }
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
        }
        (self.is_stalled, self.sleep) = (false, None);
        let value = u32::try_from(self.next).unwrap();
        self.next += 1;
        self.log.add(Event::Taken { at: self.log.now(), source: self.number, value });
        Poll::Ready(Some(self.log.item(value)))
    }
}

/// What a consumer got, when, and the most items that were held for it meanwhile.
#[derive(Debug)]
pub(crate) struct Got<T> {
    pub(crate) items: Vec<T>,
    pub(crate) at: Vec<u64>,
    pub(crate) held_max: usize,
}

/// Reads a stream to its end; after each item the consumer stalls as it is told, round and round.
///
/// `plain` makes of an item what is kept of it.
pub(crate) async fn read<S: Stream, T>(
    log: &Log,
    stream: S,
    stalls: &[Stall],
    mut plain: impl FnMut(&Log, S::Item) -> T,
) -> Got<T> {
    let mut stream = pin!(stream);
    let mut got = Got { items: Vec::new(), at: Vec::new(), held_max: 0 };
    loop {
        let next = std::future::poll_fn(|cx| {
            let polled = stream.poll_next_unpin(cx).map(|item| item.map(|item| plain(log, item)));
            got.held_max = got.held_max.max(log.live.load(Relaxed));
            polled
        });
        let Some(item) = next.await else { break };
        let stall = if stalls.is_empty() { None } else { stalls[got.items.len() % stalls.len()] };
        got.items.push(item);
        got.at.push(log.now());
        match stall {
            None => {}
            Some(0) => task::yield_now().await,
            // tidy: sleep: the clock is paused
            Some(stall) => time::sleep(Duration::from_millis(stall)).await,
        }
        got.held_max = got.held_max.max(log.live.load(Relaxed));
    }
    assert!(stream.next().await.is_none(), "it ends once and for all");
    got
}

/// Keeps an item's number, and logs that it was given.
pub(crate) fn given(log: &Log, item: &Item) -> u32 {
    log.add(Event::Given { at: log.now(), value: item.value });
    item.value
}

/// The numbers of so many items.
pub(crate) fn numbers(count: usize) -> Vec<u32> {
    (0..u32::try_from(count).unwrap()).collect()
}

/// Asks once.
pub(crate) async fn poll_once<S: Stream + Unpin>(stream: &mut S) -> Poll<Option<S::Item>> {
    std::future::poll_fn(|cx| Poll::Ready(stream.poll_next_unpin(cx))).await
}
