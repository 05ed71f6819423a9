//! Simulated devices: what they are, what they say over MQTT, and whether all that was acknowledged is kept.
//!
//! A run is [`Fleet::provision`], [`play`], [`audit`], [`compare`]. Whoever kills the broker or a service meanwhile is
//! no business of this program: it connects again, says again what was not acknowledged, and the audit tells what the
//! system made of it.

mod account;
mod anomalies;
mod audit;
mod book;
mod counts;
mod device;
mod link;
mod play;
mod settings;
mod source;

pub use account::Fleet;
pub use anomalies::{Compared, compare};
pub use audit::{Patience, Verdict, audit};
pub use book::Book;
pub use counts::Counts;
pub use play::{Run, play};
pub use settings::{BATCH_MAX, DAYS_MAX, DEVICES_MAX, Live, Settings};

/// The system's host at the gateway.
pub const HOST: &str = "iot.localhost";

/// How many devices are provisioned, or looked up, at once.
const AT_ONCE: usize = 16;

/// How often it is said what is waited for.
const SAY_EVERY: std::time::Duration = std::time::Duration::from_secs(10);

/// Splits work into shares for as many as work at once.
fn shares<T>(all: &[T]) -> impl Iterator<Item = &[T]> {
    all.chunks(all.len().div_ceil(AT_ONCE).max(1))
}

/// The time, in milliseconds since 1970.
fn now_ms() -> i64 {
    i64::try_from(bowline_runtime::time::unix_millis_now()).unwrap_or(i64::MAX)
}
