//! The gateway: routes of the system from outside to its services, over the data-plane engine.
//!
//! A [`Gateway`] serves [`Route`](bowline_model::route::Route)s with `bowline-proxy` and keeps the
//! instances behind them current from `bowline-registry`'s discovery. What it answers itself, and
//! what it refuses, is in the documentation of [`bowline_proxy`].

mod backends;
mod error;
mod gateway;

pub use error::Error;
pub use gateway::{Gateway, SETTLE_MAX, Settings};
