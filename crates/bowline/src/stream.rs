//! Streams: values that come one after the other, transformed and combined with back-pressure from end to end.
//!
//! A stream is a [`Stream`] of the `futures` crates, and [`StreamExt`] and [`TryStreamExt`] are theirs: `map`,
//! `filter`, `scan`, `zip`, `take`, `fold` and many more. [`Flow`] adds what services need beside them. Everything is
//! *pull*: an operator asks its source only while it is asked itself, and holds no more than it says. So whoever stops
//! reading at the end of a chain stops the source at its beginning, be it a topic's disk or a peer's socket.
//!
//! ```
//! use std::time::Duration;
//! use bowline::stream::{self, Flow, StreamExt};
//!
//! # async fn price(id: u32) -> u32 { id * 10 }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let prices = stream::iter(1..=5).ordered(2, price).batch(3, Duration::from_secs(1));
//! assert_eq!(prices.collect::<Vec<_>>().await, [vec![10, 20, 30], vec![40, 50]]);
//! # }
//! ```

mod answer;
mod batch;
mod by_key;
mod combine;
mod debounce;
mod event;
mod idle;
mod latest;
mod retry;
mod sample;
mod topic;
mod window;

use std::time::Duration;

use futures_util::stream::{BufferUnordered, Buffered, Map, Select, SelectAll};

pub(crate) use answer::end_at_drain;
pub use answer::{KEEP_ALIVE, ndjson, sse};
pub use batch::Batch;
pub use by_key::ByKey;
pub use combine::{CombineAll, CombineLatest, combine_all};
pub use debounce::Debounce;
pub(crate) use event::Decoder;
pub use event::{EVENT_BYTES_MAX, Event};
pub use futures_util::stream::{Stream, StreamExt, TryStreamExt, iter, once, poll_fn, unfold};
pub use idle::{Idle, IdleTimeout};
pub use latest::Latest;
pub use retry::{Retry, Retryable, retry};
pub use sample::Sample;
pub use tokio_stream::wrappers::{BroadcastStream, IntervalStream, ReceiverStream, WatchStream};
pub use topic::{Answering, Delivered, Publish, Receipt, Receipts, Source, UNANSWERED_MAX};
pub use window::{InvalidWindows, Sessions, WINDOWS_OPEN_MAX, WINDOWS_PER_EVENT_MAX, Windowed, Windowing, Windows};

/// The most streams that are [merged](merge_all) or [combined](combine_all) into one.
pub const STREAMS_MAX: usize = 1024;

/// How many items that are there at once an operator looks at before it lets others of its thread run.
const TAKEN_AT_ONCE_MAX: usize = 64;

/// More streams than are made one; see [`STREAMS_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{count} streams are more than the {STREAMS_MAX} that can be made one: merge groups of them first")]
pub struct TooMany {
    /// How many there were.
    pub count: usize,
}

impl TooMany {
    fn check(count: usize) -> Result<(), Self> {
        if count > STREAMS_MAX { Err(Self { count }) } else { Ok(()) }
    }
}

/// What services need of a stream beside [`StreamExt`]; every stream has it.
///
/// # Cancel safety
/// All of them: dropping the future of `next` loses nothing, dropping the stream drops what it holds.
pub trait Flow: Stream + Sized {
    /// What `f` makes of each item, at most `count` (at least 1) at work at once; results come in the order of the
    /// items, so a slow one holds up those behind it. Holds at most `count`.
    fn ordered<F, Fut>(self, count: usize, f: F) -> Buffered<Map<Self, F>>
    where
        F: FnMut(Self::Item) -> Fut,
        Fut: Future,
    {
        StreamExt::map(self, f).buffered(count.max(1))
    }

    /// As [`Flow::ordered`], but results come as they are there. Holds at most `count`.
    fn unordered<F, Fut>(self, count: usize, f: F) -> BufferUnordered<Map<Self, F>>
    where
        F: FnMut(Self::Item) -> Fut,
        Fut: Future,
    {
        StreamExt::map(self, f).buffer_unordered(count.max(1))
    }

    /// As [`Flow::unordered`], but items of one key are worked on one after the other, in their order: a lane each.
    /// Holds at most `count` items, those that wait for their key's lane included, so that one busy key ends up
    /// holding back the source.
    fn by_key<K, G, F, Fut>(self, key: G, count: usize, f: F) -> ByKey<Self, K, G, F, Fut>
    where
        K: Ord + Clone,
        G: FnMut(&Self::Item) -> K,
        F: FnMut(Self::Item) -> Fut,
        Fut: Future,
    {
        ByKey::new(self, key, count.max(1), f)
    }

    /// The items of both as they come; where both have some, in turn. Ends when both have. Holds none.
    fn merge<O: Stream<Item = Self::Item>>(self, other: O) -> Select<Self, O> {
        futures_util::stream::select(self, other)
    }

    /// The newest of each side, whenever there is a newer one on either, once there is one on both. Ends when both
    /// have, or when one did that never had an item. Holds one a side.
    ///
    /// Of items that are there at once each makes a pair of its own; put [`Flow::latest`] before or behind it where
    /// only the newest matters.
    fn combine_latest<O: Stream>(self, other: O) -> CombineLatest<Self, O>
    where
        Self::Item: Clone,
        O::Item: Clone,
    {
        CombineLatest::new(self, other)
    }

    /// Lets an item pass each `every`; those behind it wait in the source. Loses and holds none.
    fn throttle(self, every: Duration) -> impl Stream<Item = Self::Item> {
        tokio_stream::StreamExt::throttle(self, every)
    }

    /// Batches of `count` (at least 1) items, or of what there is `within` after the first of them. Holds at most
    /// `count`.
    fn batch(self, count: usize, within: Duration) -> Batch<Self, fn(&Self::Item) -> usize> {
        Batch::new(self, |_| 1, count, within)
    }

    /// As [`Flow::batch`], by weight: bytes, for example. An item of no weight weighs 1; one that is heavier than
    /// `max` comes alone. Holds batches of at most `max`, and one item that did not fit in.
    fn batch_by<W>(self, weigh: W, max: usize, within: Duration) -> Batch<Self, W>
    where
        W: FnMut(&Self::Item) -> usize,
    {
        Batch::new(self, weigh, max, within)
    }

    /// The last item, once none came for so long, or the source ended. The others are dropped. Holds one.
    fn debounce(self, quiet: Duration) -> Debounce<Self> {
        Debounce::new(self, quiet)
    }

    /// The newest item of each interval in which there was any; intervals begin when it is first polled. At the end
    /// comes what is left. The others are dropped. Holds one.
    ///
    /// # Panics
    /// When `every` is zero.
    fn sample(self, every: Duration) -> Sample<Self> {
        Sample::new(self, every)
    }

    /// The newest item: a slow consumer does not hold up the source, but misses what came meanwhile. How much that is
    /// tells [`Latest::dropped`]. Holds one.
    ///
    /// A task of its own drains the source, from when it is first polled until it ends or this is dropped. A panic of
    /// the source is the consumer's.
    ///
    /// # Panics
    /// When it is polled outside a tokio runtime.
    fn latest(self) -> Latest<Self>
    where
        Self: Send + 'static,
        Self::Item: Send + 'static,
    {
        Latest::new(self)
    }

    /// Folds events over windows of the time at which they happened: [`Windows`] of a size, or [`Sessions`]. `at` tells
    /// that time, in milliseconds since 1970.
    ///
    /// Time has come as far as the newest event, less [`Windowing::late_by`]: the *watermark*. A window is closed, and
    /// comes out, when the watermark is at its end: in the order of ends and keys; all do when the source ends. So one
    /// event of the far future closes all windows: where times are not to be trusted, leave such events out before.
    /// Holds what the events of open windows were folded to, at most [`WINDOWS_OPEN_MAX`] windows, and no event.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use bowline::stream::{self, Flow, StreamExt, Windows};
    /// # async fn run() -> Result<(), stream::InvalidWindows> {
    /// let events = stream::iter([(1_000, "a"), (1_500, "b"), (61_000, "c"), (2_000, "late"), (130_000, "d")]);
    /// let minutes = events
    ///     .window(Windows::tumbling(Duration::from_secs(60))?, |event| event.0)
    ///     .late_by(Duration::from_secs(10))
    ///     .fold(|| 0, |count, _| *count += 1);
    /// let counts: Vec<_> = minutes.map(|minute| (minute.start_ms, minute.value)).collect().await;
    /// assert_eq!(counts, [(0, 3), (60_000, 1), (120_000, 1)]);
    /// # Ok(()) }
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run()).unwrap();
    /// ```
    fn window<W, At>(self, windows: W, at: At) -> Windowing<Self, W, At, fn(&Self::Item)>
    where
        At: FnMut(&Self::Item) -> i64,
    {
        Windowing::new(self, windows, at)
    }

    /// Tells by an error, once, when no item came for so long, then goes on: counted from when the source first had
    /// nothing while it was asked, so that a slow reader is no silence. Holds none.
    fn idle_timeout(self, after: Duration) -> IdleTimeout<Self> {
        IdleTimeout::new(self, after)
    }
}

impl<S: Stream> Flow for S {}

/// The items of all streams as they come; ends when all have. Holds none.
///
/// # Errors
/// When they are more than [`STREAMS_MAX`].
pub fn merge_all<S: Stream + Unpin>(streams: impl IntoIterator<Item = S>) -> Result<SelectAll<S>, TooMany> {
    let streams: Vec<S> = streams.into_iter().take(STREAMS_MAX + 1).collect();
    TooMany::check(streams.len())?;
    Ok(futures_util::stream::select_all(streams))
}
