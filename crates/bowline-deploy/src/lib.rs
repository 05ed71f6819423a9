//! `Deployment(S)`: rolls a release out by steps, holds each step against what is measured, and promotes the
//! release, or rolls back completely.

mod port;

pub use port::{Failure, Fleet, Judge, Question, Steer, Verdict};
