//! The simulator: hosts, their network, disks and clocks, in one thread and from one seed.
//!
//! There only under `--cfg bowline_sim`. What the doors of this crate lead to is then the host's whose
//! code is running, so that a test sees the same run from the same seed.

use std::time::{Duration, UNIX_EPOCH};

pub use turmoil::{Builder, Sim, elapsed, hold, lookup, partition, release, repair, sim_elapsed};

#[cfg(not(tokio_unstable))]
compile_error!("simulation needs `--cfg tokio_unstable` too: it seeds tokio's own choices, as those of `select!`");

/// The environment's variable that replays a seed.
const SEED: &str = "BOWLINE_SIM_SEED";

/// When every simulation begins: 2026-01-01, 00:00 UTC.
const EPOCH: Duration = Duration::from_hours(490_896);

/// A simulation in which the network, the disks, tokio and [`crate::rand`] follow from the seed.
///
/// Run it on the thread that calls this: the randomness is that thread's.
pub fn builder(seed: u64) -> Builder {
    crate::rand::seed(seed);
    let mut builder = Builder::new();
    builder.rng_seed(seed).epoch(UNIX_EPOCH + EPOCH);
    builder
}

/// A seed: that of `BOWLINE_SIM_SEED`, else any. It is printed, so that a failure can be replayed.
///
/// # Panics
/// When the variable is no number.
#[expect(clippy::print_stderr, reason = "whoever sees a test fail needs the seed")]
pub fn seed() -> u64 {
    let seed = match std::env::var(SEED) {
        Ok(text) => text.parse().expect("the variable holds a number"),
        Err(_) => crate::rand::u64(),
    };
    eprintln!("replay with {SEED}={seed}");
    seed
}
