//! Finds what is wrong with a sensor's series, reading by reading: spikes, shifts, drifts, stuck values, dropouts.
//!
//! It reads no clock and no file: whoever has the readings gives them to a [`Detector`], in the order of their times,
//! and tells it from time to time how late it is ([`Detector::tick`]). What it knows of a device is its
//! [`State`], a few kilobytes however long it watches, to be kept wherever one likes.
//!
//! Where a model is asked, too, how unlike others an hour of a device is, a [`Watch`](features::Watch) is a detector
//! that keeps it, and makes its [`features`].
//!
//! Beside it: devices with labelled faults ([`generator`]), what a detector makes of them ([`evaluation`],
//! [`simulation`]), and files in the shape of the Numenta Anomaly Benchmark ([`series`], [`labels`]). `DETECTION.md`
//! in the folder above has the method, its sources and what it measures.
//!
//! ```
//! use iot_detect::{Change, Detector, Kind, Settings};
//!
//! let mut detector = Detector::new(Settings::default());
//! for minute in 0..10 {
//!     assert!(detector.observe(minute * 60_000, 20.0 + minute as f64).is_empty());
//! }
//! let events = detector.tick(15 * 60_000);
//! assert_eq!((events[0].kind, events[0].change), (Kind::Dropout, Change::Began));
//! ```

mod charts;
mod detector;
pub mod evaluation;
mod event;
pub mod features;
pub mod generator;
mod intervals;
pub mod labels;
mod noise;
mod number;
mod profile;
pub mod random;
pub mod series;
pub mod simulation;

pub use detector::{Detector, Settings, State, StateError, VALUE_MAX};
pub use event::{Change, Event, Kind};
pub use profile::Season;

/// A day, in milliseconds.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// An hour, in milliseconds.
pub const HOUR_MS: i64 = 60 * 60 * 1000;

/// One value of a series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// When it was read, in milliseconds since 1970.
    pub at_ms: i64,
    pub value: f64,
}
