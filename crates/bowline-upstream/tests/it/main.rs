//! What of a call its vectors cannot show: cancellation, load, spans, metrics, headers.

#![expect(clippy::unwrap_used, reason = "a test fails by its panic")]

mod calls;
mod faults;
mod steering;
mod support;
mod told;
