//! `Deployment(S)`: rolls a release out by steps, holds each step against what is measured, and promotes the
//! release, or rolls back completely.

mod course;
mod declared;
mod deployer;
mod driver;
mod error;
mod kept;
mod metrics;
mod port;
mod rollout;
pub mod table;
mod track;

pub use course::{Course, Step, WEIGHT_ALL};
pub use deployer::{Deployer, InForce, Ports};
pub use error::Error;
pub use kept::{HISTORY_MAX, under_way};
pub use port::{Failure, Fleet, Judge, Question, Steer, Verdict};
pub use rollout::{Action, Begin, Rollout, Status, TRANSITIONS_MAX, Transition};
pub use table::{Phase, State, diagram};
