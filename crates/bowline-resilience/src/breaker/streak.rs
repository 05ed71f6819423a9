//! How many calls have failed in a row: one atomic word of epoch and length.

use crate::sync::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

const LENGTH_BITS: u32 = 32;
const LENGTH_MASK: u64 = (1 << LENGTH_BITS) - 1;

#[derive(Debug, Default)]
pub(super) struct Streak(AtomicU64);

impl Streak {
    /// Counts one result of `epoch`, and tells the length since the last success; 0 where `is_current` denies that the
    /// epoch is still the breaker's.
    #[inline]
    pub(super) fn record(&self, epoch: u64, is_failure: bool, is_current: impl Fn() -> bool) -> u32 {
        let mut word = self.0.load(Acquire);
        loop {
            let is_known = word >> LENGTH_BITS == epoch & LENGTH_MASK;
            let length = if is_known { word & LENGTH_MASK } else { 0 };
            let next = if is_failure { (length + 1).min(LENGTH_MASK) } else { 0 };
            // A success after a success writes nothing that other cores read.
            if !is_current() || (is_known && next == length) {
                return 0;
            }
            match self.0.compare_exchange_weak(word, epoch << LENGTH_BITS | next, Release, Acquire) {
                Ok(_) => return u32::try_from(next).expect("32 bits"),
                Err(current) => word = current,
            }
        }
    }

    /// Begins anew for `epoch`.
    pub(super) fn clear(&self, epoch: u64) {
        self.0.store(epoch << LENGTH_BITS, Release);
    }
}
