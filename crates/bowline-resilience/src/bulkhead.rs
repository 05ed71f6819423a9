//! The bulkhead: so many calls at a time, so that one slow callee does not take all that its caller has.
//!
//! Who finds no place waits in a bounded queue, first come first served, for at most `queue_timeout`; who finds the
//! queue full is refused at once. With a range for a limit (`calls_max = "10..500"`) the limit is found out by how long
//! calls take ([`crate::adaptive`]): then each call is to be told of by [`Permit::record`].
//!
//! - **Exact**: never more calls under way than the limit, over all threads, save those that were under way when it was
//!   lowered. A place is given back exactly once, also by a call that is cancelled, or panics.
//! - **Nobody is forgotten**: a place goes to who waits for the longest, and on to the next when that one has gone.
//! - **Cost**: one compare-and-exchange to take a place, one subtraction to give it back. No lock, no allocation. Who
//!   waits takes a mutex for a few dozen instructions, and a slot that is used again.
//!
//! Sources: M. Nygard, "Release It!", 2007 (the pattern).

use bowline_model::{
    Code,
    policy::{BulkheadPolicy, Priority},
};
use bowline_runtime::time::{Duration, Instant};

pub use crate::room::Occupancy;
use crate::{
    Deadline,
    room::{self, Place, Room, Visitor, Why},
    sync::Arc,
};

/// So many calls at a time. Cheap to clone; clones are of the same.
#[derive(Debug, Clone)]
pub struct Bulkhead {
    room: Arc<Room>,
    queue_timeout: Duration,
}

/// Why a call is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// As many calls are under way as there may be, and as many wait.
    #[error("too many calls are under way")]
    Full,
    /// It waited for as long as it may.
    #[error("no call ended while this one waited for its turn")]
    TimedOut,
}

#[expect(clippy::unused_self, reason = "every error answers these")]
impl Refused {
    /// Always [`Code::Unavailable`].
    pub fn code(self) -> Code {
        Code::Unavailable
    }

    /// No: it is the caller itself that has too much under way.
    pub fn retryable(self) -> bool {
        false
    }
}

/// The right to make one call. Given back when it is dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct Permit<'a>(Place<&'a Room>);

/// A [`Permit`] that outlives the borrow.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct OwnedPermit(Place<Arc<Room>>);

impl Bulkhead {
    /// A bulkhead with nobody in it.
    pub fn new(policy: &BulkheadPolicy) -> Self {
        let BulkheadPolicy { calls_max, queue_max, queue_timeout } = policy;
        Self { room: Arc::new(Room::fair(*calls_max, *queue_max)), queue_timeout: *queue_timeout }
    }

    /// Asks for a place, and waits for one: at most for the policy's `queue_timeout`, counted from `now`.
    ///
    /// It is asked when the future is first polled.
    ///
    /// # Errors
    /// [`Refused`].
    ///
    /// # Cancel safety
    /// Dropped while it waits, it leaves the queue; a place that it was granted meanwhile goes to the next.
    #[inline]
    pub async fn acquire(&self, now: Instant) -> Result<Permit<'_>, Refused> {
        if let Some(permit) = self.try_acquire(now) {
            return Ok(permit);
        }
        room::enter(&*self.room, self.visitor(now, None), now).await.map(Permit).map_err(Refused::from)
    }

    /// As [`Bulkhead::acquire`], and not beyond a deadline.
    ///
    /// # Errors
    /// As [`Bulkhead::acquire`].
    ///
    /// # Cancel safety
    /// As [`Bulkhead::acquire`].
    #[inline]
    pub async fn acquire_by(&self, deadline: Deadline, now: Instant) -> Result<Permit<'_>, Refused> {
        if let Some(permit) = self.try_acquire(now) {
            return Ok(permit);
        }
        room::enter(&*self.room, self.visitor(now, Some(deadline)), now).await.map(Permit).map_err(Refused::from)
    }

    /// As [`Bulkhead::acquire_by`], for a permit that outlives the borrow.
    ///
    /// # Errors
    /// As [`Bulkhead::acquire`].
    ///
    /// # Cancel safety
    /// As [`Bulkhead::acquire`].
    pub async fn acquire_owned(&self, deadline: Option<Deadline>, now: Instant) -> Result<OwnedPermit, Refused> {
        let visitor = self.visitor(now, deadline);
        room::enter(Arc::clone(&self.room), visitor, now).await.map(OwnedPermit).map_err(Refused::from)
    }

    /// Takes a place if one is free and nobody waits for it; lock-free.
    #[inline]
    pub fn try_acquire(&self, now: Instant) -> Option<Permit<'_>> {
        Place::take(&*self.room, now).map(Permit)
    }

    /// As [`Bulkhead::try_acquire`], for a permit that outlives the borrow.
    #[inline]
    pub fn try_acquire_owned(&self, now: Instant) -> Option<OwnedPermit> {
        Place::take(Arc::clone(&self.room), now).map(OwnedPermit)
    }

    /// Sets how many calls there may be at a time: 1 to 1,000,000. Who waits gets the places that are new; calls that
    /// are under way go on.
    pub fn set_limit(&self, limit: u32) {
        self.room.set_limit(limit);
    }

    /// How many there are, of one moment.
    pub fn occupancy(&self) -> Occupancy {
        self.room.occupancy()
    }

    fn visitor(&self, now: Instant, deadline: Option<Deadline>) -> Visitor {
        let until = Deadline::after(now, self.queue_timeout);
        let until = deadline.map_or(until, |deadline| deadline.earliest(until));
        Visitor { priority: Priority::default(), until: Some(until.instant()) }
    }
}

impl From<Why> for Refused {
    fn from(why: Why) -> Self {
        match why {
            Why::Full => Self::Full,
            Why::TimedOut | Why::Overloaded => Self::TimedOut,
        }
    }
}

impl Permit<'_> {
    /// Gives it back with how the call went, by which an adaptive limit is found: `was_dropped` when it timed out, or
    /// the callee turned it away. Cancelled calls are better dropped.
    #[inline]
    pub fn record(self, was_dropped: bool, now: Instant) {
        self.0.record(was_dropped, now);
    }
}

impl OwnedPermit {
    /// As [`Permit::record`].
    #[inline]
    pub fn record(self, was_dropped: bool, now: Instant) {
        self.0.record(was_dropped, now);
    }
}
