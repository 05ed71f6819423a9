//! The clocks: a monotonic one for durations, a wall clock for people.
//!
//! Both follow tokio's virtual time when a test pauses it, and the simulator's.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

pub use tokio::time::{Duration, Instant, Interval, MissedTickBehavior, Sleep, error::Elapsed};
pub use tokio::time::{interval, sleep, sleep_until, timeout, timeout_at};

/// Where the two clocks met when the process first asked: wall time is monotonic from then on.
///
/// A step of the system's clock is therefore not seen by a running process: spans stay in order.
fn anchor() -> (Instant, SystemTime) {
    let anchor = first_asked();
    (anchor.virtual_, anchor.wall)
}

/// The clocks' readings when the process first asked.
struct Anchor {
    virtual_: Instant,
    wall: SystemTime,
    /// Of the monotonic clock itself, also where a test pauses time.
    #[cfg(not(bowline_sim))]
    real: std::time::Instant,
}

#[expect(clippy::disallowed_methods, reason = "this module is the door to the clock")]
fn first_asked() -> &'static Anchor {
    static ANCHOR: OnceLock<Anchor> = OnceLock::new();
    ANCHOR.get_or_init(|| Anchor {
        virtual_: Instant::now(),
        wall: SystemTime::now(),
        #[cfg(not(bowline_sim))]
        real: std::time::Instant::now(),
    })
}

/// Two readings of the clocks at one moment.
#[cfg(not(bowline_sim))]
fn met() -> (Instant, SystemTime) {
    anchor()
}

/// Two readings of the clocks at one moment: each simulated host has its own.
#[cfg(bowline_sim)]
fn met() -> (Instant, SystemTime) {
    turmoil::since_epoch().map_or_else(anchor, |since| (now(), UNIX_EPOCH + since))
}

/// The monotonic clock.
#[expect(clippy::disallowed_methods, reason = "this module is the door to the clock")]
#[inline]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds of a monotonic clock that is cheap to ask and coarse: it may lag by as much as 10 ms.
///
/// Where it begins means nothing: compare it with itself alone. In a debug build and in a simulation it is
/// [`now`], so that it follows virtual time there.
#[cfg(any(bowline_sim, debug_assertions))]
#[inline]
pub fn coarse() -> u64 {
    let since = now().saturating_duration_since(first_asked().virtual_);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds of a monotonic clock that is cheap to ask and coarse: it may lag by as much as 10 ms.
///
/// Where it begins means nothing: compare it with itself alone. It does not follow virtual time in a release build.
#[cfg(not(any(bowline_sim, debug_assertions)))]
#[inline]
pub fn coarse() -> u64 {
    let read = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    read.tv_sec.cast_unsigned() * 1000 + read.tv_nsec.cast_unsigned() / 1_000_000
}

/// The wall clock.
pub fn wall() -> SystemTime {
    wall_of(now())
}

/// The wall clock as the system has it now, for what others' clocks have to agree with: the end of a
/// token, the time of an entry.
///
/// Unlike [`wall`] it follows steps of the system's clock, and counts the time that the machine slept.
#[cfg(not(bowline_sim))]
#[expect(clippy::disallowed_methods, reason = "this module is the door to the clock")]
pub fn system() -> SystemTime {
    let Anchor { wall: start, real, .. } = first_asked();
    let expected = *start + real.elapsed();
    match SystemTime::now().duration_since(expected) {
        Ok(ahead) => wall() + ahead,
        Err(behind) => wall() - behind.duration(),
    }
}

/// The wall clock of the simulated host, which makes no steps.
#[cfg(bowline_sim)]
pub fn system() -> SystemTime {
    wall()
}

/// The wall clock's reading at a monotonic instant.
pub fn wall_of(instant: Instant) -> SystemTime {
    let (start, wall) = met();
    match instant.checked_duration_since(start) {
        Some(since) => wall + since,
        None => wall - start.duration_since(instant),
    }
}

/// Nanoseconds since 1970 of a wall-clock reading; 0 before it, saturating after 2554.
pub fn unix_nanos(wall: SystemTime) -> u64 {
    let since = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970, as [`system`] has it.
pub fn unix_millis_now() -> u64 {
    unix_nanos(system()) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn both_clocks_follow_virtual_time() {
        let (start, wall_start, coarse_start) = (now(), wall(), coarse());
        sleep(Duration::from_hours(1)).await;
        assert_eq!(now() - start, Duration::from_hours(1));
        assert_eq!(wall().duration_since(wall_start).unwrap(), Duration::from_hours(1));
        if cfg!(debug_assertions) {
            assert_eq!(coarse() - coarse_start, 3_600_000);
        }
        // What the real clocks differ by meanwhile is next to nothing.
        let system = system().duration_since(wall_start).unwrap().as_secs_f64();
        assert!((3599.0..3601.0).contains(&system), "{system}");
    }
}
