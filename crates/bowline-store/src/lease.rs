//! The transition table of a lease: pure, run in production, explored exhaustively by its test.
//!
//! ```text
//!            Renew in time, Tick before the deadline
//!           ┌──────┐
//!           ▼      │    Tick or Renew at the deadline, Revoke
//!  grant ─▶ Active ┴──────────────────────────────────────────▶ Ending ── Deleted ──▶ Gone
//!                                                                │  ▲                  ▲
//!                                                   DeleteFailed ▼  │ Tick, Revoke     │
//!                                                               Stuck ──── Deleted ────┘
//! ```

#[cfg(test)]
mod tests;

/// Nanoseconds of a monotonic clock.
pub type Nanos = u64;

/// Where a lease is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It lives until its deadline.
    Active {
        /// Its lifetime from each renewal on.
        ttl: Nanos,
        /// When it ends.
        deadline: Nanos,
    },
    /// It has ended; the deletion of its keys is under way.
    Ending,
    /// It has ended; the deletion of its keys failed and will be tried again.
    Stuck,
    /// It and its keys are deleted.
    Gone,
}

/// What happens to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its holder renews it.
    Renew {
        /// When.
        now: Nanos,
    },
    /// Its timer fired, not before the time it was set to.
    Tick {
        /// When.
        now: Nanos,
    },
    /// Somebody ends it.
    Revoke,
    /// The deletion is durable.
    Deleted,
    /// The deletion failed; it may be durable all the same.
    DeleteFailed,
}

/// What is to be done after a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing.
    None,
    /// Tell the holder that it has so long.
    Renewed {
        /// From now.
        ttl: Nanos,
    },
    /// Set the timer; it is not set otherwise.
    Arm {
        /// To this time.
        at: Nanos,
    },
    /// Set the timer to some time later.
    ArmLater,
    /// Delete the lease and its keys in one transaction; then report how that went.
    DeleteKeys,
}

impl State {
    /// A lease just granted.
    pub fn granted(ttl: Nanos, now: Nanos) -> Self {
        Self::Active { ttl, deadline: now.saturating_add(ttl) }
    }

    /// Whether keys can be bound to it: it lives, and its deadline has not come.
    pub fn is_alive(self, now: Nanos) -> bool {
        matches!(self, Self::Active { deadline, .. } if now < deadline)
    }
}

/// What becomes of a lease. A renewal was refused unless the effect is [`Effect::Renewed`].
///
/// The clock decides, not the timer: a renewal at or after the deadline ends the lease even if the
/// timer has not fired yet, so that nobody is told "renewed" of what others saw expired.
pub fn step(state: State, event: Event) -> (State, Effect) {
    match (state, event) {
        (State::Active { deadline, .. }, Event::Renew { now } | Event::Tick { now }) if now >= deadline => {
            (State::Ending, Effect::DeleteKeys)
        }
        (State::Active { ttl, .. }, Event::Renew { now }) => (State::granted(ttl, now), Effect::Renewed { ttl }),
        (State::Active { deadline, .. }, Event::Tick { .. }) => (state, Effect::Arm { at: deadline }),
        (State::Active { .. } | State::Stuck, Event::Revoke) | (State::Stuck, Event::Tick { .. }) => {
            (State::Ending, Effect::DeleteKeys)
        }
        (State::Ending | State::Stuck, Event::Deleted) => (State::Gone, Effect::None),
        (State::Ending, Event::DeleteFailed) => (State::Stuck, Effect::ArmLater),
        (State::Ending, Event::Renew { .. } | Event::Tick { .. } | Event::Revoke)
        | (State::Stuck, Event::Renew { .. } | Event::DeleteFailed)
        | (State::Active { .. }, Event::Deleted | Event::DeleteFailed)
        | (State::Gone, _) => (state, Effect::None),
    }
}
