//! Hashes that every process agrees on, in every release.
//!
//! Several gateways must send one key to the same instance, so neither seed nor algorithm may differ
//! between them: a change here moves every key once.

use xxhash_rust::xxh3::xxh3_64;

/// The hash of a key, the same in every process and every release.
///
/// XXH3 of 64 bits without a seed. Not for secrets: who picks keys can pick their instance.
///
/// Source: Y. Collet, "XXH3" in the specification of xxHash.
pub fn hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Scatters a number: neighbours are far apart, and no two numbers meet.
///
/// Source: `SplitMix64`'s last step; G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014.
#[inline]
pub(crate) fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// The number of a sequence that belongs to a hash: each step draws anew.
#[inline]
pub(crate) fn nth(hash: u64, step: u64) -> u64 {
    mix(hash ^ mix(step))
}

/// Maps a hash evenly onto the numbers below a bound, without a division.
///
/// Source: D. Lemire, "Fast random integer generation in an interval", ACM TOMACS 29(1), 2019.
#[inline]
pub(crate) fn reduce(hash: u64, below: usize) -> usize {
    let scaled = (u128::from(hash) * below as u128) >> 64;
    usize::try_from(scaled).expect("below the bound")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_same_in_every_release() {
        assert_eq!(hash(b""), 0x2D06_8005_38D3_94C2);
        assert_eq!(hash(b"user-42"), xxh3_64(b"user-42"));
        assert_eq!([mix(0), nth(0, 0)], [0xE220_A839_7B1D_CDAF, mix(0xE220_A839_7B1D_CDAF)]);
    }

    #[test]
    fn reductions_stay_below_their_bound() {
        for (hash, below, expect) in [(0, 7, 0), (u64::MAX, 7, 6), (u64::MAX, 1, 0), (1 << 63, 10, 5)] {
            assert_eq!(reduce(hash, below), expect);
        }
    }
}
