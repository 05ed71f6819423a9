//! Randomness that is the same for a seed on every machine and in every release: figures are printed with it.
//!
//! `SplitMix64` (Steele, Lea and Flood 2014). Not for secrets.

use crate::number::{real, whole};

/// A generator with a seed.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// One of its own for each number.
    pub fn fork(seed: u64, number: u32) -> Self {
        let mut random = Self(seed);
        Self(random.next() ^ Self(u64::from(number)).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 (included) to 1 (excluded).
    pub fn unit(&mut self) -> f64 {
        let bits = i64::try_from(self.next() >> 11).unwrap_or_default();
        real(bits) / real(1 << 53)
    }

    pub fn between(&mut self, least: f64, greatest: f64) -> f64 {
        least + self.unit() * (greatest - least)
    }

    /// Below a bound, 0 when that is 0.
    pub fn below(&mut self, bound: i64) -> i64 {
        whole((self.unit() * real(bound)).floor())
    }

    pub fn is(&mut self, chance: f64) -> bool {
        self.unit() < chance
    }

    /// Of the normal distribution with deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = usize::try_from(self.below(i64::try_from(last).unwrap_or_default() + 1)).unwrap_or_default();
            items.swap(last, other);
        }
    }
}
