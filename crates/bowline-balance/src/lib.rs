//! The instance set and its pickers: which instance gets the next attempt.
//!
//! An [`InstanceSet`] holds the instances of one service as an immutable [`Snapshot`] that a pick
//! reads without a lock, and carries each member's state and load over from one update to the
//! next. A [`Balancer`] picks from a snapshot by one of the strategies of
//! [`Balance`](bowline_model::policy::Balance). Who may be picked at all (breakers, outliers) is
//! the caller's word, given as a predicate; the retry around it is the caller's too.

mod hash;
mod load;
mod picker;
mod set;

pub use hash::hash;
pub use load::{DECAY, FAILURE_FACTOR, FAILURE_LATENCY_MAX, InFlight};
pub use picker::{Balancer, LEAST_CONNECTIONS_SCAN_MAX};
pub use set::{Guard, InstanceSet, Member, Snapshot};
