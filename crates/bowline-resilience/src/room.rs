//! A room of so many places, with a line before its door: what bulkhead and shedder are made of.
//!
//! Who comes while a place is free and nobody waits takes it by one compare-and-exchange; who leaves while nobody waits
//! does so by one subtraction. Else a mutex is taken for a few dozen instructions, never across a wait. The three
//! numbers are in one word ([`Places`]): who joins the line has seen in the same instant that no place is free, and who
//! gives a place back sees in the same instant that somebody waits, so that none is overlooked. Nobody overtakes the
//! line.
//!
//! Wakers are called outside the lock: what they run may come back here.

mod delay;
mod places;
mod table;

use std::{
    future::{Future as _, poll_fn},
    ops::Deref,
    pin::pin,
    task::{Context, Poll, Waker},
};

use bowline_model::policy::{Concurrency, Priority, ShedPolicy};
use bowline_runtime::{
    metric::Padded,
    time::{self, Duration, Instant},
};

pub(crate) use self::table::{Told, Why};
use self::{
    delay::Delay,
    places::{ONE_IN_FLIGHT, Places},
    table::{Arriving, At, Decision, Table},
};
use crate::{
    adaptive::{Gradient, Sample},
    nanos::nanos,
    sync::{
        AtomicU64, Mutex, MutexGuard,
        Ordering::{AcqRel, Acquire},
        lock,
    },
};

/// So many are woken with one lock.
const WAKES_MAX: usize = 16;

#[derive(Debug)]
pub(crate) struct Room {
    places: Padded<AtomicU64>,
    hall: Padded<Mutex<Hall>>,
    /// Finds the limit, where it is not given.
    gradient: Option<Box<Mutex<Gradient>>>,
    born: Instant,
}

/// What the mutex guards.
#[derive(Debug)]
struct Hall {
    table: Table,
    /// By slot.
    wakers: Vec<Option<Waker>>,
}

/// What one may be answered at the door.
#[derive(Debug)]
enum Arrival {
    Granted,
    Queued(At),
    Refused(Why),
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Occupancy {
    /// Calls under way.
    pub in_flight: u32,
    /// Calls in the queue.
    pub waiting: u32,
    /// How many there may be under way, now.
    pub limit: u32,
}

/// Who comes, and until when it waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visitor {
    pub(crate) priority: Priority,
    /// `None`: as long as it takes.
    pub(crate) until: Option<Instant>,
}

/// A place in the room, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place<R: Deref<Target = Room>> {
    room: R,
    since: Instant,
}

/// A place in the line, given up when it is dropped.
struct Ticket<'a> {
    room: &'a Room,
    /// `None` once it is not ours any more.
    at: Option<At>,
}

impl Room {
    /// A room where who comes first is served first.
    pub(crate) fn fair(calls_max: Concurrency, queue_max: u32) -> Self {
        Self::new(calls_max, Table::new(queue_max, None))
    }

    /// A room that turns some away when its line stands.
    pub(crate) fn shedding(policy: &ShedPolicy) -> Self {
        Self::new(policy.calls_max, Table::new(policy.queue_max, Some(Delay::new(policy))))
    }

    fn new(calls_max: Concurrency, table: Table) -> Self {
        let gradient = (calls_max.min < calls_max.max).then(|| Gradient::new(calls_max));
        let limit = gradient.as_ref().map_or(calls_max.max, Gradient::limit);
        Self {
            places: Padded(AtomicU64::new(Places::empty(limit).pack())),
            hall: Padded(Mutex::new(Hall { table, wakers: Vec::new() })),
            gradient: gradient.map(|gradient| Box::new(Mutex::new(gradient))),
            born: time::now(),
        }
    }

    pub(crate) fn occupancy(&self) -> Occupancy {
        let Places { in_flight, waiting, limit } = self.load();
        Occupancy { in_flight, waiting, limit }
    }

    /// Takes a place if one is free and nobody waits for it.
    #[inline]
    pub(crate) fn try_enter(&self) -> bool {
        let mut word = self.places.0.load(Acquire);
        while let Some(taken) = Places::unpack(word).taken() {
            match self.places.0.compare_exchange_weak(word, taken.pack(), AcqRel, Acquire) {
                Ok(_) => return true,
                Err(other) => word = other,
            }
        }
        false
    }

    /// Gives a place back, to who waits for it longest.
    #[inline]
    pub(crate) fn leave(&self) {
        let before = self.places.0.fetch_sub(ONE_IN_FLIGHT, AcqRel);
        if Places::unpack(before).waiting > 0 {
            self.settle(lock(&self.hall.0), time::now());
        }
    }

    /// Sets how many there may be. Who is in stays in.
    #[cold]
    pub(crate) fn set_limit(&self, limit: u32) {
        let hall = lock(&self.hall.0);
        self.change(|places| places.limited(limit));
        self.settle(hall, time::now());
    }

    /// Tells how a call went to what finds the limit; a sample is left out when another is just being told.
    pub(crate) fn record(&self, latency: Duration, was_dropped: bool, now: Instant) {
        let Some(gradient) = &self.gradient else { return };
        let Ok(mut gradient) = gradient.try_lock() else { return };
        let Places { in_flight, limit: before, .. } = self.load();
        *gradient = gradient.step(Sample { latency, in_flight, was_dropped }, now);
        let limit = gradient.limit();
        drop(gradient);
        if limit != before {
            self.set_limit(limit);
        }
    }

    #[cold]
    fn arrive(&self, visitor: Visitor, now: Instant) -> Arrival {
        let at = self.nanos(now);
        let who = Arriving { priority: visitor.priority, until: visitor.until.map_or(u64::MAX, |it| self.nanos(it)) };
        let mut hall = lock(&self.hall.0);
        hall.table.observe(at);
        let mut places = self.load();
        let decision = loop {
            let (next, decision) = hall.table.decide(places, who, at);
            match self.places.0.compare_exchange(places.pack(), next.pack(), AcqRel, Acquire) {
                Ok(_) => break decision,
                Err(other) => places = Places::unpack(other),
            }
        };
        let displaced = match decision {
            Decision::Take => return Arrival::Granted,
            Decision::Refuse(why) => {
                self.settle(hall, now);
                return Arrival::Refused(why);
            }
            Decision::Queue => None,
            Decision::Displace(last) => {
                hall.table.tell(last, Told::Refused(Why::Full));
                hall.take_waker(last)
            }
        };
        let queued = hall.push(who, at);
        self.settle(hall, now);
        displaced.into_iter().for_each(Waker::wake);
        Arrival::Queued(queued)
    }

    /// Tells everybody who is to be told something, until all who wait must go on waiting.
    fn settle<'a>(&'a self, mut hall: MutexGuard<'a, Hall>, now: Instant) {
        let now = self.nanos(now);
        loop {
            let mut wakes: [Option<Waker>; WAKES_MAX] = Default::default();
            hall.table.observe(now);
            let is_settled = !wakes.iter_mut().all(|wake| self.tell_next(&mut hall, now, wake));
            drop(hall);
            wakes.into_iter().flatten().for_each(Waker::wake);
            if is_settled {
                return;
            }
            hall = lock(&self.hall.0);
        }
    }

    /// Tells one, if one is to be told, and gives who is to be woken for it.
    fn tell_next(&self, hall: &mut Hall, now: u64, wake: &mut Option<Waker>) -> bool {
        // Meanwhile others give places back: what is granted by fewer free places than there are stays right, and who
        // gives one back comes here next.
        let Some((at, told)) = hall.table.next(self.load(), now) else { return false };
        hall.table.tell(at, told);
        self.change(|places| match told {
            Told::Granted => places.granted(),
            Told::Refused(_) => places.unqueued(),
        });
        *wake = hall.take_waker(at);
        true
    }

    /// What who waits there was told, or else who is woken when it is.
    fn poll(&self, at: At, cx: &Context<'_>) -> Option<Told> {
        let mut hall = lock(&self.hall.0);
        let told = hall.table.collect(at);
        match (&told, &mut hall.wakers[at as usize]) {
            (Some(_), waker) => *waker = None,
            (None, Some(waker)) => waker.clone_from(cx.waker()),
            (None, waker) => *waker = Some(cx.waker().clone()),
        }
        told
    }

    /// Who waits there waits no longer, unless it was told something just before.
    fn give_up(&self, at: At) -> Option<Told> {
        let mut hall = lock(&self.hall.0);
        let waker = hall.take_waker(at);
        let told = hall.table.collect(at);
        if told.is_none() {
            hall.table.withdraw(at);
            self.change(Places::unqueued);
        }
        drop(hall);
        drop(waker);
        told
    }

    fn change(&self, change: impl Fn(Places) -> Places) {
        let changed = |word| Some(change(Places::unpack(word)).pack());
        self.places.0.fetch_update(AcqRel, Acquire, changed).expect("a change always succeeds");
    }

    #[inline]
    fn load(&self) -> Places {
        Places::unpack(self.places.0.load(Acquire))
    }

    fn nanos(&self, instant: Instant) -> u64 {
        nanos(instant.saturating_duration_since(self.born))
    }
}

impl Hall {
    fn push(&mut self, who: Arriving, now: u64) -> At {
        let at = self.table.push(who, now);
        if self.wakers.len() <= at as usize {
            self.wakers.resize(at as usize + 1, None);
        }
        at
    }

    fn take_waker(&mut self, at: At) -> Option<Waker> {
        self.wakers[at as usize].take()
    }
}

/// Takes a place, or waits for one.
///
/// # Cancel safety
/// Dropped while it waits, it leaves the line; a place that it was granted meanwhile goes to the next.
pub(crate) async fn enter<R: Deref<Target = Room>>(room: R, visitor: Visitor, now: Instant) -> Result<Place<R>, Why> {
    if room.try_enter() {
        return Ok(Place { room, since: now });
    }
    let told = match room.arrive(visitor, now) {
        Arrival::Granted => Told::Granted,
        Arrival::Refused(why) => return Err(why),
        Arrival::Queued(at) => Ticket { room: &room, at: Some(at) }.wait(visitor.until).await,
    };
    match told {
        Told::Granted => Ok(Place { room, since: time::now() }),
        Told::Refused(why) => Err(why),
    }
}

impl<R: Deref<Target = Room>> Place<R> {
    /// Takes a place if one is free and nobody waits for it.
    #[inline]
    pub(crate) fn take(room: R, now: Instant) -> Option<Self> {
        room.try_enter().then(|| Self { room, since: now })
    }

    /// Gives it back with how the call went.
    #[inline]
    pub(crate) fn record(self, was_dropped: bool, now: Instant) {
        if self.room.gradient.is_some() {
            self.room.record(now.saturating_duration_since(self.since), was_dropped, now);
        }
    }
}

impl<R: Deref<Target = Room>> Drop for Place<R> {
    #[inline]
    fn drop(&mut self) {
        self.room.leave();
    }
}

impl Ticket<'_> {
    async fn wait(mut self, until: Option<Instant>) -> Told {
        let Some(until) = until else { return poll_fn(|cx| self.poll(cx)).await };
        let mut timer = pin!(time::sleep_until(until));
        poll_fn(|cx| match self.poll(cx) {
            Poll::Pending => timer.as_mut().poll(cx).map(|()| self.give_up()),
            told @ Poll::Ready(_) => told,
        })
        .await
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Told> {
        let at = self.at.expect("it is not polled again once it is ready");
        let Some(told) = self.room.poll(at, cx) else { return Poll::Pending };
        self.at = None;
        Poll::Ready(told)
    }

    fn give_up(&mut self) -> Told {
        let told = self.at.take().and_then(|at| self.room.give_up(at));
        told.unwrap_or(Told::Refused(Why::TimedOut))
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let told = self.at.take().and_then(|at| self.room.give_up(at));
        if told == Some(Told::Granted) {
            self.room.leave();
        }
    }
}

#[cfg(all(test, bowline_shuttle))]
mod schedules;
#[cfg(test)]
mod tests;
