//! Atomic words, as the lock-free parts see them: the processor's, or in a test those of `shuttle`.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{AcqRel, Acquire},
};

/// An atomic word of 64 bits.
pub(crate) trait Atom {
    fn new(word: u64) -> Self;

    fn load(&self) -> u64;

    /// Replaces it, and gives what it was.
    fn swap(&self, word: u64) -> u64;

    /// Adds, and gives what it was; a sum beyond the end begins anew.
    fn add(&self, count: u64) -> u64;

    /// Replaces it where it is `current`.
    fn exchange(&self, current: u64, word: u64) -> Result<u64, u64>;

    /// Replaces it by what `next` makes of it, as often as another comes in between; gives what it was, as an error
    /// where `next` leaves it as it is.
    #[inline]
    fn update(&self, mut next: impl FnMut(u64) -> Option<u64>) -> Result<u64, u64> {
        let mut current = self.load();
        while let Some(word) = next(current) {
            match self.exchange(current, word) {
                Ok(before) => return Ok(before),
                Err(other) => current = other,
            }
        }
        Err(current)
    }
}

impl Atom for AtomicU64 {
    fn new(word: u64) -> Self {
        Self::new(word)
    }

    #[inline]
    fn load(&self) -> u64 {
        self.load(Acquire)
    }

    fn swap(&self, word: u64) -> u64 {
        self.swap(word, AcqRel)
    }

    #[inline]
    fn add(&self, count: u64) -> u64 {
        self.fetch_add(count, AcqRel)
    }

    fn exchange(&self, current: u64, word: u64) -> Result<u64, u64> {
        self.compare_exchange(current, word, AcqRel, Acquire)
    }
}

#[cfg(test)]
impl Atom for shuttle::sync::atomic::AtomicU64 {
    fn new(word: u64) -> Self {
        Self::new(word)
    }

    fn load(&self) -> u64 {
        self.load(Acquire)
    }

    fn swap(&self, word: u64) -> u64 {
        self.swap(word, AcqRel)
    }

    fn add(&self, count: u64) -> u64 {
        self.fetch_add(count, AcqRel)
    }

    fn exchange(&self, current: u64, word: u64) -> Result<u64, u64> {
        self.compare_exchange(current, word, AcqRel, Acquire)
    }
}
