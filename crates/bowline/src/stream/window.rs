//! Windows of event time: what belongs together because it happened at one time, though it came at another.

mod table;

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bowline_runtime::{
    metric::Counter,
    time::{self, Instant, Sleep},
};
use futures_util::stream::{Fuse, Stream, StreamExt as _};
use pin_project_lite::pin_project;
use tokio::sync::mpsc;

use table::Table;
pub use table::WINDOWS_OPEN_MAX;

/// The most windows an event may be in.
pub const WINDOWS_PER_EVENT_MAX: i64 = 64;

/// Windows that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("windows cannot be made: {rule}")]
pub struct InvalidWindows {
    rule: &'static str,
}

/// Windows of a size, which begin at multiples of a step since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows {
    size: i64,
    every: i64,
}

/// Windows that end when a key had no event for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sessions {
    gap: i64,
}

/// What came of a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windowed<K, A> {
    /// The key of its events.
    pub key: K,
    /// Its first millisecond since 1970; of a session: when its first event happened.
    pub start_ms: i64,
    /// The first millisecond that is not in it; of a session: the gap after its last event.
    pub end_ms: i64,
    /// What the events were folded to.
    pub value: A,
    /// Whether it was closed before its time, because more than [`WINDOWS_OPEN_MAX`] were open: of an event that still
    /// comes a further window is made.
    pub is_early: bool,
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Windows {
    /// One after the other: each event is in one.
    ///
    /// # Errors
    /// When the size is below a millisecond.
    pub fn tumbling(size: Duration) -> Result<Self, InvalidWindows> {
        Self::sliding(size, size)
    }

    /// One begins each `every`: an event is in `size / every` of them, 64 at most.
    ///
    /// # Errors
    /// When a duration is below a millisecond, `every` above `size`, or an event would be in too many.
    pub fn sliding(size: Duration, every: Duration) -> Result<Self, InvalidWindows> {
        let (size, every) = (millis(size), millis(every));
        let rule = match (size, every) {
            (_, ..=0) => "they last and begin at least a millisecond apart",
            _ if every > size => "what is between them would be in none: the step is at most the size",
            _ if (size - 1) / every >= WINDOWS_PER_EVENT_MAX => {
                "an event would be in more than 64 of them: the step is at least a 64th of the size"
            }
            _ => return Ok(Self { size, every }),
        };
        Err(InvalidWindows { rule })
    }
}

impl Sessions {
    /// Events of a key that happen less than `gap` apart are in one.
    ///
    /// # Errors
    /// When the gap is below a millisecond.
    pub fn gap(gap: Duration) -> Result<Self, InvalidWindows> {
        let gap = millis(gap);
        if gap > 0 { Ok(Self { gap }) } else { Err(InvalidWindows { rule: "a gap is at least a millisecond" }) }
    }
}

/// Windows that are being described; see [`Flow::window`](super::Flow::window).
#[derive(Debug)]
#[must_use = "nothing is read until the events are folded"]
pub struct Windowing<S: Stream, W, At, By> {
    source: S,
    windows: W,
    at: At,
    by: By,
    timing: Timing<S::Item>,
}

/// What is said of time.
#[derive(Debug)]
struct Timing<E> {
    late_by: i64,
    idle_after: Option<Duration>,
    late: Late<E>,
    dropped: Counter,
}

/// What becomes of an event that comes too late.
#[derive(Debug)]
enum Late<E> {
    Dropped,
    To(mpsc::Sender<E>),
    By(fn(E)),
}

impl<S: Stream, W, At> Windowing<S, W, At, fn(&S::Item)> {
    pub(super) fn new(source: S, windows: W, at: At) -> Self {
        let timing = Timing { late_by: 0, idle_after: None, late: Late::Dropped, dropped: Counter::default() };
        Self { source, windows, at, by: |_| (), timing }
    }
}

impl<S: Stream, W, At, By> Windowing<S, W, At, By> {
    /// Windows of their own for each key.
    pub fn by<K: Ord + Clone, G: FnMut(&S::Item) -> K>(self, by: G) -> Windowing<S, W, At, G> {
        let Self { source, windows, at, by: _, timing } = self;
        Windowing { source, windows, at, by, timing }
    }

    /// For how long after the newest event those that happened before it may still come: so long windows stay open
    /// beyond their end. 0.
    pub fn late_by(mut self, late_by: Duration) -> Self {
        self.timing.late_by = millis(late_by);
        self
    }

    /// Has time go on by the clock after no event came for so long, so that the last windows close, too. Without, they
    /// wait for the next event. It is counted from when the source first had no event while it was asked for one: what
    /// the reader takes for itself makes nothing late.
    pub fn idle_after(mut self, idle_after: Duration) -> Self {
        self.timing.idle_after = Some(idle_after);
        self
    }

    /// Sends there what comes after all of its windows were closed; what there is no room for is dropped. A message of
    /// a topic that is dropped is tried again, is late again, and is a dead letter in the end: see
    /// [`Windowing::on_late`].
    pub fn late_to(mut self, late: mpsc::Sender<S::Item>) -> Self {
        self.timing.late = Late::To(late);
        self
    }

    /// Has that function take what comes after all of its windows were closed, in the place of
    /// [`Windowing::late_to`]: [`Delivered::ack`](super::Delivered::ack), so that a message that is late does not come
    /// again.
    pub fn on_late(mut self, late: fn(S::Item)) -> Self {
        self.timing.late = Late::By(late);
        self
    }

    /// Counts there what came too late and was dropped.
    pub fn dropped_counted_by(mut self, dropped: Counter) -> Self {
        self.timing.dropped = dropped;
        self
    }
}

impl<S, At, By, K> Windowing<S, Windows, At, By>
where
    S: Stream,
    At: FnMut(&S::Item) -> i64,
    By: FnMut(&S::Item) -> K,
    K: Ord + Clone,
{
    /// Begins each window with `init` and adds each of its events; a window comes out when it is over.
    pub fn fold<A>(
        self,
        mut init: impl FnMut() -> A,
        mut fold: impl FnMut(&mut A, &S::Item),
    ) -> impl Stream<Item = Windowed<K, A>> {
        let Self { source, windows: Windows { size, every }, mut at, mut by, timing } = self;
        Folded::new(source, timing, move |table: &mut Table<K, A>, event: &S::Item| {
            table.add_fixed((at(event), &by(event)), (size, every), &mut init, |value| fold(value, event))
        })
    }
}

impl<S, At, By, K> Windowing<S, Sessions, At, By>
where
    S: Stream,
    At: FnMut(&S::Item) -> i64,
    By: FnMut(&S::Item) -> K,
    K: Ord + Clone,
{
    /// Begins each session with `init` and adds each of its events; where an event turns out to join two sessions,
    /// `merge` makes one of both, the earlier first. A session comes out when it is over.
    pub fn fold<A>(
        self,
        mut init: impl FnMut() -> A,
        mut fold: impl FnMut(&mut A, &S::Item),
        mut merge: impl FnMut(A, A) -> A,
    ) -> impl Stream<Item = Windowed<K, A>> {
        let Self { source, windows: Sessions { gap }, mut at, mut by, timing } = self;
        Folded::new(source, timing, move |table: &mut Table<K, A>, event: &S::Item| {
            table.add_session((at(event), &by(event)), gap, &mut init, |value| fold(value, event), &mut merge)
        })
    }
}

pin_project! {
    /// The windows of a stream, as they close.
    #[must_use = "streams do nothing unless polled"]
    struct Folded<S: Stream, G, K, A> {
        #[pin]
        source: Fuse<S>,
        timing: Timing<S::Item>,
        // Adds an event; false: it is late.
        add: G,
        table: Table<K, A>,
        // Since when there is no event, while it is asked for one.
        silent_since: Option<Instant>,
        // Until a window closes by the clock.
        #[pin]
        idle: Option<Sleep>,
    }
}

impl<S: Stream, G, K: Ord + Clone, A> Folded<S, G, K, A> {
    fn new(source: S, timing: Timing<S::Item>, add: G) -> Self {
        let table = Table::new(timing.late_by);
        Self { source: source.fuse(), timing, add, table, silent_since: None, idle: None }
    }

    /// Whether so much time passed without an event that a window is over.
    fn poll_idle(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let (Some(idle_after), Some(closes_after)) = (this.timing.idle_after, this.table.closes_after()) else {
            return Poll::Pending;
        };
        let since = *this.silent_since.get_or_insert_with(time::now);
        let wait = idle_after.max(Duration::from_millis(u64::try_from(closes_after).unwrap_or(0)));
        if this.idle.is_none() {
            this.idle.set(Some(time::sleep_until(since + wait)));
        }
        let sleep = this.idle.as_mut().as_pin_mut().expect("it was just set");
        std::task::ready!(sleep.poll(cx));
        // Not further, however late the reader asks again: the next event may have happened before that.
        this.table.pass(millis(wait));
        Poll::Ready(())
    }
}

impl<S, G, K, A> Stream for Folded<S, G, K, A>
where
    S: Stream,
    G: FnMut(&mut Table<K, A>, &S::Item) -> bool,
    K: Ord + Clone,
{
    type Item = Windowed<K, A>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        for _ in 0..super::TAKEN_AT_ONCE_MAX {
            let mut this = self.as_mut().project();
            if let Some(windowed) = this.table.pop() {
                this.idle.set(None);
                return Poll::Ready(Some(windowed));
            }
            match this.source.poll_next(cx) {
                Poll::Ready(Some(event)) => {
                    this.idle.set(None);
                    *this.silent_since = None;
                    if !(this.add)(this.table, &event) {
                        this.timing.late(event);
                    }
                }
                Poll::Ready(None) => {
                    this.table.advance(i64::MAX);
                    return Poll::Ready(this.table.pop());
                }
                Poll::Pending => std::task::ready!(self.as_mut().poll_idle(cx)),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<E> Timing<E> {
    fn late(&self, event: E) {
        let is_taken = match &self.late {
            Late::Dropped => false,
            Late::To(to) => to.try_send(event).is_ok(),
            Late::By(take) => {
                take(event);
                true
            }
        };
        if !is_taken {
            self.dropped.increment();
        }
    }
}
