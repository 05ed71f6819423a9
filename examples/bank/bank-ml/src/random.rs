//! Numbers by chance that are the same each time: `SplitMix64` (Steele, Lea and Flood 2014) and the usual distributions.
//!
//! Not the process's generator, since what it gives for a seed may change with its crate: a model names its seed.

/// A generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// One that begins there.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn bits32(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).expect("32 bits are left")
    }

    /// From 0 (included) to 1 (excluded).
    pub fn unit(&mut self) -> f64 {
        f64::from(self.bits32()) / 4_294_967_296.0
    }

    /// Below that; 0 where it is 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let scaled = u64::from(self.bits32()) * u64::from(bound);
        u32::try_from(scaled >> 32).expect("it is below a number of 32 bits")
    }

    /// From the one (included) to the other (excluded).
    pub fn between(&mut self, least: f64, most: f64) -> f64 {
        least + (most - least) * self.unit()
    }

    /// True with that chance.
    pub fn hits(&mut self, chance: f64) -> bool {
        self.unit() < chance
    }

    /// Of the normal distribution around 0, with a deviation of 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.unit(), self.unit());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// Of the Poisson distribution (Knuth); for small means.
    pub fn poisson(&mut self, mean: f64) -> u32 {
        let least = (-mean).exp();
        let (mut count, mut product) = (0, self.unit());
        while product > least {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// One of them, if there are any.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        let count = u32::try_from(among.len()).unwrap_or(u32::MAX);
        among.get(self.below(count) as usize)
    }

    /// Puts them into another order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let bound = u32::try_from(at + 1).unwrap_or(u32::MAX);
            items.swap(at, self.below(bound) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_each_time() {
        let of = |seed| {
            let mut random = Random::new(seed);
            [(); 3].map(|()| random.below(1_000_000))
        };
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn distributions_have_their_means() {
        let mut random = Random::new(1);
        let mut mean =
            |mut one: Box<dyn FnMut(&mut Random) -> f64>| (0..20_000).map(|_| one(&mut random)).sum::<f64>() / 20_000.0;
        for (mean, expect) in [
            (mean(Box::new(Random::unit)), 0.5),
            (mean(Box::new(Random::normal)), 0.0),
            (mean(Box::new(|random| random.normal().powi(2))), 1.0),
            (mean(Box::new(|random| f64::from(random.poisson(1.5)))), 1.5),
            (mean(Box::new(|random| f64::from(random.below(11)))), 5.0),
            (mean(Box::new(|random| random.between(2.0, 4.0))), 3.0),
        ] {
            assert!((mean - expect).abs() < 0.05, "{mean}, not {expect}");
        }
    }

    #[test]
    fn a_shuffle_loses_none() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(2).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
        assert_eq!(Random::new(3).pick::<u32>(&[]), None);
    }
}
