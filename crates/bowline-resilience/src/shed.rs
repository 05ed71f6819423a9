//! Load shedding: a service that has more than it can do turns some away at its door, the least important first.
//!
//! Requests at work are limited, by a number or by what is found out ([`crate::adaptive`]). Who finds no place waits in
//! one bounded queue. Who is served next, and who is turned away:
//!
//! - the higher [`Priority`] is served first, and among equals who came first;
//! - the queue **stands** when at no moment of a whole `interval` its oldest had waited less than `delay_target`. Then
//!   among equals who came last is served first (its caller has waited the least, and will wait for the answer), and
//!   the oldest of the lowest priority that waits are turned away once they have waited twice the target. A queue that
//!   was empty stands no longer;
//! - where the queue is full, who would be served last gives way, the newcomer included. Nobody gives way to who has less
//!   than `delay_target` left: its answer would come too late;
//! - who waits beyond its deadline is dropped: nobody waits for its answer;
//! - nobody waits for longer than [`wait_max`], with or without a deadline.
//!
//! - **Exact**: never more at work than the limit, nor more in the queue than `queue_max`; a place is given back exactly
//!   once, and goes to the next at once.
//! - **Cost**: as a bulkhead's: one compare-and-exchange and one subtraction where nobody waits.
//!
//! Sources: K. Nichols, V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012; B. Maurer, "Fail at Scale", ACM
//! Queue 13(8), 2015 (adaptive LIFO and controlled delay at servers); H. Zhou et al., "Overload Control for Scaling
//! `WeChat` Microservices", ACM Cloud Computing 2018 (queueing delay as the sign of overload, priorities handed on from hop to hop).

use bowline_model::{
    Code,
    policy::{Priority, ShedPolicy},
};
use bowline_runtime::time::{Duration, Instant};

use crate::{
    Deadline,
    room::{self, Occupancy, Place, Room, Visitor, Why},
    sync::Arc,
};

/// The header that carries a request's priority, and is handed on from hop to hop.
pub const PRIORITY_HEADER: &str = "x-bowline-priority";

/// What an answer to who was turned away says in `x-bowline-reason`: nothing was done of the request, and the one who
/// turned it away is not at fault.
pub const REASON: &str = "shed";

/// The longest that a request waits: twice an `interval` and a `delay_target`.
///
/// In a queue that drains, the oldest has waited less than the target once in each interval, so that nobody waits for as
/// long; and one that stands is seen after two intervals at most. It is a bound of its own all the same: a queue is
/// looked at when somebody comes or goes, and where all that is at work hangs nobody goes.
pub fn wait_max(policy: &ShedPolicy) -> Duration {
    policy.interval.saturating_add(policy.delay_target).saturating_mul(2)
}

/// Turns requests away where there are too many. Cheap to clone; clones are of the same.
#[derive(Debug, Clone)]
pub struct Shedder {
    room: Arc<Room>,
    retry_after: Duration,
    wait_max: Duration,
}

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The queue is full of requests that are served before.
    #[error("too many requests wait")]
    Full {
        /// When it is worth asking again.
        retry_after: Duration,
    },
    /// It waited for too long in a queue that does not get shorter.
    #[error("requests wait for too long")]
    Overloaded {
        /// When it is worth asking again.
        retry_after: Duration,
    },
    /// Its deadline passed before its turn.
    #[error("the deadline passed while the request waited for its turn")]
    Late,
}

impl Refused {
    /// [`Code::DeadlineExceeded`] of one that was too late, else [`Code::Unavailable`].
    pub fn code(self) -> Code {
        match self {
            Self::Late => Code::DeadlineExceeded,
            Self::Full { .. } | Self::Overloaded { .. } => Code::Unavailable,
        }
    }

    /// Whether another instance, or this one later, may take it: nothing was done of it.
    pub fn retryable(self) -> bool {
        self.retry_after().is_some()
    }

    /// When it is worth asking again.
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Full { retry_after } | Self::Overloaded { retry_after } => Some(retry_after),
            Self::Late => None,
        }
    }
}

/// The right to work on one request. Given back when it is dropped.
#[derive(Debug)]
#[must_use = "a permit that is dropped is given back"]
pub struct Permit(Place<Arc<Room>>);

impl Shedder {
    /// A shedder with nothing to do.
    pub fn new(policy: &ShedPolicy) -> Self {
        Self { room: Arc::new(Room::shedding(policy)), retry_after: policy.interval, wait_max: wait_max(policy) }
    }

    /// Asks to work on a request, and waits for its turn: until its deadline, and for [`wait_max`], at most.
    ///
    /// It is asked when the future is first polled.
    ///
    /// # Errors
    /// [`Refused`].
    ///
    /// # Cancel safety
    /// Dropped while it waits, it leaves the queue; a place that it was granted meanwhile goes to the next.
    pub async fn admit(&self, priority: Priority, deadline: Option<Deadline>, now: Instant) -> Result<Permit, Refused> {
        if deadline.is_some_and(|deadline| deadline.is_past(now)) {
            return Err(Refused::Late);
        }
        let bound = Deadline::after(now, self.wait_max);
        let until = deadline.map_or(bound, |deadline| deadline.earliest(bound));
        let visitor = Visitor { priority, until: Some(until.instant()) };
        let entered = room::enter(Arc::clone(&self.room), visitor, now).await;
        entered.map(Permit).map_err(|why| match why {
            Why::TimedOut if deadline != Some(until) => self.refused(Why::Overloaded),
            why => self.refused(why),
        })
    }

    /// Takes a place if one is free and nobody waits for it; lock-free.
    #[inline]
    pub fn try_admit(&self, now: Instant) -> Option<Permit> {
        Place::take(Arc::clone(&self.room), now).map(Permit)
    }

    /// Sets how many requests there may be at work: 1 to 1,000,000.
    pub fn set_limit(&self, limit: u32) {
        self.room.set_limit(limit);
    }

    /// How many there are, of one moment.
    pub fn occupancy(&self) -> Occupancy {
        self.room.occupancy()
    }

    fn refused(&self, why: Why) -> Refused {
        let retry_after = self.retry_after;
        match why {
            Why::Full => Refused::Full { retry_after },
            Why::Overloaded => Refused::Overloaded { retry_after },
            Why::TimedOut => Refused::Late,
        }
    }
}

impl Permit {
    /// Gives it back with how the request went, by which an adaptive limit is found: `was_dropped` when it timed out,
    /// or something that it called turned it away. Cancelled requests are better dropped.
    #[inline]
    pub fn record(self, was_dropped: bool, now: Instant) {
        self.0.record(was_dropped, now);
    }
}
