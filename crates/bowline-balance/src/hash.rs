//! The hash by which keys and instances meet: the same in every process and release, so that gateways agree.
//!
//! FNV-1a, whose low bits are good and whose high bits are not, finished by `SplitMix64`'s mixing, which makes all of
//! them good. Who chooses the keys can choose collisions: they then meet at one instance, as equal keys would.
//!
//! Sources: G. Fowler, L. C. Noll, K.-P. Vo, "The FNV Non-Cryptographic Hash Algorithm" (IETF draft); G. Steele,
//! D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.

const FNV_OFFSET: u64 = 0xCBF2_9CE4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01B3;

/// The hash of a key.
#[inline]
pub fn hash(bytes: &[u8]) -> u64 {
    mixed(bytes.iter().fold(FNV_OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)))
}

/// A number from another, far from those of its neighbours.
#[inline]
pub(crate) fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_for_ever() {
        // Whoever changes these moves every key of every system that is updated instance by instance.
        let known = [0xF52A_15E9_A9B5_E89B, 0x02C0_BDBF_4814_20F8, 0xEDF2_3FC2_E07F_A9D3];
        assert_eq!([&b""[..], b"a", b"order-1"].map(hash), known);
    }

    #[test]
    fn each_bit_of_it_is_even() {
        let mut ones = [0u32; 64];
        for number in 0..10_000u32 {
            let hash = hash(format!("user-{number}").as_bytes());
            ones.iter_mut().enumerate().for_each(|(bit, count)| *count += u32::from(hash >> bit & 1 == 1));
        }
        // Four standard deviations of 10,000 coins.
        assert!(ones.iter().all(|count| count.abs_diff(5000) < 200), "{ones:?}");
    }
}
