//! The instance set and its pickers: which instance gets the next attempt.
//!
//! An [`InstanceSet`] holds the instances of one service as an immutable [`Snapshot`] that a pick
//! reads without a lock, and carries each member's state and load over from one update to the
//! next. It is made for a [`Shape`], which is what it must know of the policy: zones, levels, subsets and the tables of
//! the strategies that hash are worked out when the set changes. A [`Balancer`] picks from a snapshot by one of the
//! strategies of [`Balance`](bowline_model::policy::Balance). A [`Detector`] is told what came of each attempt, and has
//! those left out that do worse than the others. Who else may be picked at all (breakers) is the caller's word, given as
//! a predicate; the retry around it is the caller's too.

mod asking;
mod atom;
mod chunks;
mod hash;
mod load;
mod outlier;
mod parts;
mod picker;
mod port;
mod route;
mod set;
mod shape;
mod shared;
mod table;

pub use chunks::Members;
pub use hash::hash;
pub use load::{DECAY, FAILURE_FACTOR, FAILURE_LATENCY_MAX, InFlight};
pub use outlier::{Change, Detector, Ejection, Why, diagram};
pub use picker::{Balancer, LEAST_CONNECTIONS_SCAN_MAX};
pub use port::{Balanced, LoadBalancer, NoInstance};
pub use route::OVERPROVISION;
pub use set::{Guard, InstanceSet, Member, Snapshot};
pub use shape::{METADATA_PRIORITY, PRIORITY_MAX, Shape};
