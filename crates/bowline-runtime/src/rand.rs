//! Randomness: a fast generator per thread, seeded by the system, or by a test.
//!
//! Not for secrets.

/// Makes this thread's generator begin anew from a seed; what follows is the same each time.
pub fn seed(seed: u64) {
    fastrand::seed(seed);
}

/// Any of the 2⁶⁴ values.
#[inline]
pub fn u64() -> u64 {
    fastrand::u64(..)
}

/// Any of the 2¹²⁸ values.
#[inline]
pub fn u128() -> u128 {
    fastrand::u128(..)
}

/// A value below `bound`; 0 when the bound is 0.
#[inline]
pub fn below(bound: usize) -> usize {
    if bound == 0 { 0 } else { fastrand::usize(..bound) }
}

/// True with that chance, in millionths: never at 0, always at 1,000,000.
#[inline]
pub fn hits(millionths: u32) -> bool {
    below(1_000_000) < millionths as usize
}

/// A value from 0 (included) to 1 (excluded).
#[inline]
pub fn unit() -> f64 {
    fastrand::f64()
}
