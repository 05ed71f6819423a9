//! Which parts of a set get which share of the calls: levels, zones, and what is done when too few are well.
//!
//! A part is the instances of one level that are in the caller's zone, or those that are not. Of each it is known how
//! many could be picked and how many of them are well: healthy and not ejected.
//!
//! - **Levels.** A level can bear what its share of well instances times [`OVERPROVISION`] comes to, up to all. The
//!   first takes what it can bear, the next what is left, and so on; where all together cannot bear all, each takes its
//!   part of what they can.
//! - **Zones.** Within a level the near part takes what it can bear by the same reckoning, the rest spills over to the
//!   far one. It is not known where the other callers are: the near part bears its own zone's calls while it is sound.
//! - **Panic.** Where the share of well instances of a level is below the policy's, and the levels together cannot bear
//!   all, or there is but one, all that are not draining take its calls, well or not: if most seem to be ill, it is
//!   likelier that the judgement is. Where nobody is well at all, that holds of the first level that has somebody.
//!
//! Source: Envoy's "Priority levels", "Panic threshold" and "Zone aware routing", from which this differs in that a zone
//! is judged by its health alone.

use bowline_model::policy::Share;

/// By how much instances can bear more than their own calls: with five of seven left, nothing spills over.
pub const OVERPROVISION: f64 = 1.4;

/// How many of a part could be picked, and how many of them are well.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Sound {
    pub(crate) well: f64,
    pub(crate) total: f64,
}

/// A part to go to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Leg {
    /// Its place among the parts: two of each level, the near one first.
    pub(crate) part: usize,
    /// It takes the draws below this, and not below the one before it, of 2³².
    pub(crate) below: u64,
    /// Whether all that are not draining are picked from.
    pub(crate) panics: bool,
}

const ALL: f64 = 4_294_967_296.0;

impl Leg {
    /// Whether the first one takes every draw.
    #[inline]
    pub(crate) fn takes_all(self) -> bool {
        self.below == 1 << 32
    }
}

/// The legs in the order in which they are gone to; the last ones, which take no draw, only where the others refuse.
pub(crate) fn legs(parts: &[Sound], panic_below: Share) -> Box<[Leg]> {
    let levels: Vec<Sound> = parts.chunks(2).map(|level| level.iter().fold(Sound::default(), Sound::and)).collect();
    let can_bear = |level: &Sound| (OVERPROVISION * level.share()).min(1.0);
    let borne: f64 = levels.iter().map(can_bear).sum();
    let peopled = levels.iter().filter(|level| level.total > 0.0).count();
    let mut left = 1.0_f64;
    let mut is_taken = borne > 0.0;
    let (mut legs, mut spare) = (Vec::new(), Vec::new());
    for (at, (level, parts)) in levels.iter().zip(parts.chunks(2)).enumerate() {
        let mut share = can_bear(level).min(left);
        left -= share;
        if borne > 0.0 && borne < 1.0 {
            share /= borne;
        }
        if !is_taken && level.total > 0.0 {
            (share, is_taken) = (1.0, true);
        }
        let is_low = level.share() < panic_below.ratio() && (peopled == 1 || borne < 1.0);
        let panics = level.total > 0.0 && (is_low || borne <= 0.0);
        for (place, part_share) in split(parts, panics).into_iter().enumerate().take(parts.len()) {
            let part = 2 * at + place;
            let can_take = if panics { parts[place].total > 0.0 } else { parts[place].well > 0.0 };
            match share * part_share {
                taken if taken > 0.0 => legs.push((part, taken, panics)),
                _ if can_take => spare.push((part, 0.0, panics)),
                _ => {}
            }
        }
    }
    placed(legs, spare)
}

/// What of a level's calls goes to the near part, and what to the far one.
fn split(parts: &[Sound], panics: bool) -> [f64; 2] {
    let [near, far] = [parts.first(), parts.get(1)].map(|part| part.copied().unwrap_or_default());
    let near_share = if panics {
        near.total / (near.total + far.total)
    } else if far.well <= 0.0 {
        1.0
    } else {
        (OVERPROVISION * near.share()).min(1.0)
    };
    [near_share, 1.0 - near_share]
}

fn placed(legs: Vec<(usize, f64, bool)>, spare: Vec<(usize, f64, bool)>) -> Box<[Leg]> {
    let last = legs.len().saturating_sub(1);
    let mut sum = 0.0;
    let place = |(at, (part, share, panics)): (usize, (usize, f64, bool))| {
        sum += share;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 2³²")]
        let below = if at >= last { ALL as u64 } else { (sum * ALL) as u64 };
        Leg { part, below, panics }
    };
    legs.into_iter().chain(spare).enumerate().map(place).collect()
}

impl Sound {
    fn and(self, other: &Self) -> Self {
        Self { well: self.well + other.well, total: self.total + other.total }
    }

    /// The share of the well; none of nobody.
    fn share(&self) -> f64 {
        if self.total > 0.0 { self.well / self.total } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Sound = Sound { well: 0.0, total: 0.0 };

    fn of(well: u32, total: u32) -> Sound {
        Sound { well: f64::from(well), total: f64::from(total) }
    }

    /// Part, percent, whether it panics.
    #[track_caller]
    fn check(parts: &[Sound], panic_below: u32, expect: &[(usize, f64, bool)]) {
        let legs = legs(parts, Share::from_percent(panic_below));
        let mut before = 0;
        let found: Vec<_> = legs
            .iter()
            .map(|leg| {
                #[expect(clippy::cast_precision_loss, reason = "a test")]
                let percent = (leg.below - before) as f64 * 100.0 / ALL;
                before = leg.below;
                (leg.part, (percent * 10.0).round() / 10.0, leg.panics)
            })
            .collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn one_level_takes_all_and_panics_below_the_threshold() {
        check(&[of(5, 5), NONE], 0, &[(0, 100.0, false)]);
        check(&[of(1, 5), NONE], 0, &[(0, 100.0, false)]);
        check(&[of(2, 5), NONE], 40, &[(0, 100.0, false)]);
        check(&[of(2, 5), NONE], 41, &[(0, 100.0, true)]);
        check(&[of(0, 5), NONE], 0, &[(0, 100.0, true)]);
        check(&[NONE, NONE], 50, &[]);
        check(&[], 50, &[]);
    }

    #[test]
    fn levels_spill_over_as_envoy_s_do() {
        // The table of Envoy's documentation: 100 %, 72 %, 71 %, 50 %, 25 %, 0 % of the first are well.
        let spill = |well, first: f64| {
            let rest = ((100.0 - first) * 10.0).round() / 10.0;
            let all = [(0, first, false), (2, rest, false)];
            let (shown, spare) = (all[..].iter().filter(|leg| leg.1 > 0.0), all[..].iter().filter(|leg| leg.1 <= 0.0));
            let expect: Vec<_> = shown.chain(spare).filter(|leg| well > 0 || leg.0 > 0).copied().collect();
            check(&[of(well, 100), NONE, of(100, 100), NONE], 0, &expect);
        };
        for (well, first) in [(100, 100.0), (72, 100.0), (71, 99.4), (50, 70.0), (25, 35.0), (0, 0.0)] {
            spill(well, first);
        }
        // Neither is sound: each takes its part.
        check(&[of(25, 100), NONE, of(25, 100), NONE], 0, &[(0, 50.0, false), (2, 50.0, false)]);
        // A level that panics takes its part with all its instances, where the levels cannot bear all.
        check(&[of(25, 100), NONE, of(35, 100), NONE], 30, &[(0, 41.7, true), (2, 58.3, false)]);
        // It need not, where the next can bear the rest.
        check(&[of(5, 100), NONE, of(100, 100), NONE], 30, &[(0, 7.0, false), (2, 93.0, false)]);
        check(&[of(0, 5), NONE, of(0, 5), NONE], 0, &[(0, 100.0, true), (2, 0.0, true)]);
    }

    #[test]
    fn the_near_zone_bears_what_it_can() {
        check(&[of(5, 5), of(10, 10)], 0, &[(0, 100.0, false), (1, 0.0, false)]);
        check(&[of(1, 2), of(10, 10)], 0, &[(0, 70.0, false), (1, 30.0, false)]);
        check(&[of(0, 2), of(10, 10)], 0, &[(1, 100.0, false)]);
        check(&[NONE, of(10, 10)], 0, &[(1, 100.0, false)]);
        check(&[of(1, 2), of(0, 10)], 0, &[(0, 100.0, false)]);
        // In panic zones are one.
        check(&[of(1, 2), of(2, 8)], 50, &[(0, 20.0, true), (1, 80.0, true)]);
    }
}
