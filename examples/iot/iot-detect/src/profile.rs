//! What a day looks like: for each half hour the median of what it was on the days before.
//!
//! A knot stands at each full and half hour and takes what was read within a quarter of an hour of it. Of each day it
//! keeps one value, the median; its own is the median of these: half of the days may be bad before it follows
//! them, and it follows when they stay as they are. Between knots it is linear, since the slope within a half hour would
//! look like an anomaly. Where a day has an edge that no line follows, or is noisier than elsewhere, the knots know by
//! their usual error how much less a deviation says there. (The seasonal part of S-H-ESD, Hochenbaum, Vallis and Kejariwal 2017, made incremental.)

use serde::{Deserialize, Serialize};

use crate::{
    DAY_MS,
    number::{median, narrow, real},
};

/// Knots of a day.
const KNOTS: usize = 48;

/// From one to the next.
const KNOT_MS: i64 = DAY_MS / 48;

/// Days that a knot of weekdays remembers: two weeks.
const WEEKDAYS_MAX: usize = 10;

/// Days that a knot of weekends remembers: three weeks.
const WEEKEND_DAYS_MAX: usize = 6;

/// Days before a knot says anything.
const DAYS_MIN: usize = 3;

/// The share by which the usual error of a knot moves at each value.
const SPREAD_STEP: f64 = 0.05;

/// Values of one half hour that are kept until it is over; of more, every second, fourth and so on.
const PENDING_MAX: usize = 32;

/// What repeats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Season {
    /// All days are alike: three days are learned from.
    Daily,
    /// Weekdays are alike, and Saturdays and Sundays (in UTC): two weeks are learned from.
    #[default]
    Weekly,
}

impl Season {
    /// For how long is learned before anything of a level is judged.
    pub const fn warm_up_ms(self) -> i64 {
        match self {
            Self::Daily => 3 * DAY_MS,
            Self::Weekly => 14 * DAY_MS,
        }
    }

    fn knots(self) -> usize {
        match self {
            Self::Daily => KNOTS,
            Self::Weekly => 2 * KNOTS,
        }
    }

    /// Where a knot is kept, by its number since 1970.
    fn place(self, number: i64) -> usize {
        let of_day = number.rem_euclid(48);
        // The first of 1970 was a Thursday.
        let weekday = (number.div_euclid(48) + 3).rem_euclid(7);
        let is_weekend = self == Self::Weekly && weekday >= 5;
        usize::try_from(of_day).unwrap_or_default() + if is_weekend { KNOTS } else { 0 }
    }
}

/// The days, as they were.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    knots: Vec<Knot>,
    /// From the least to the greatest of them.
    range: f32,
    pending: Pending,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Knot {
    /// The newest last.
    days: Vec<f32>,
    median: f32,
    /// The median of how far values near it are from what was expected; 0 while that is not known.
    spread: f32,
}

/// The half hour that is not over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    number: i64,
    values: Vec<f32>,
    /// One of so many is kept.
    stride: u32,
    seen: u32,
}

impl Pending {
    fn of(number: i64) -> Self {
        Self { number, values: Vec::new(), stride: 1, seen: 0 }
    }

    fn push(&mut self, value: f64) {
        if self.values.len() == PENDING_MAX {
            let mut index = 0;
            self.values.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.stride = self.stride.saturating_mul(2);
        }
        if self.seen.is_multiple_of(self.stride) {
            self.values.push(narrow(value));
        }
        self.seen = self.seen.saturating_add(1);
    }
}

impl Profile {
    pub(crate) fn new(season: Season) -> Self {
        Self { knots: vec![Knot::default(); season.knots()], range: 0.0, pending: Pending::of(i64::MIN) }
    }

    /// Whether it has the form that its season gives it, also when others have written it.
    pub(crate) fn is_sound(&self, season: Season) -> bool {
        let Self { knots, range, pending } = self;
        let is_knot_sound = |(place, knot): (usize, &Knot)| {
            let mut numbers = knot.days.iter().chain([&knot.median, &knot.spread]);
            knot.days.len() <= days_max(place) && numbers.all(|number| number.is_finite())
        };
        knots.len() == season.knots()
            && knots.iter().enumerate().all(is_knot_sound)
            && range.is_finite()
            && pending.stride > 0
            && pending.values.len() <= PENDING_MAX
            && pending.values.iter().all(|value| value.is_finite())
    }

    /// What a value should be; nothing where too little is known.
    pub(crate) fn expected(&self, season: Season, at_ms: i64) -> Option<f64> {
        let number = at_ms.div_euclid(KNOT_MS);
        let share = real(at_ms.rem_euclid(KNOT_MS)) / real(KNOT_MS);
        match (self.knot(season, number), self.knot(season, number + 1)) {
            (Some(before), Some(after)) => Some(before + share * (after - before)),
            // Who is read once an hour never fills each second knot.
            (Some(before), None) if share < 0.5 => Some(before),
            (None, Some(after)) if share >= 0.5 => Some(after),
            _ => None,
        }
    }

    fn knot(&self, season: Season, number: i64) -> Option<f64> {
        let knot = self.knots.get(season.place(number))?;
        (knot.days.len() >= DAYS_MIN).then(|| f64::from(knot.median))
    }

    /// The usual error at that time of the day, where it is higher than at others: by the higher of two knots.
    pub(crate) fn spread(&self, season: Season, at_ms: i64) -> f64 {
        let number = at_ms.div_euclid(KNOT_MS);
        let spread = |number| self.knots.get(season.place(number)).map_or(0.0, |knot| f64::from(knot.spread));
        spread(number).max(spread(number + 1))
    }

    /// Learns an error; a knot begins with its first, or with the usual one of all.
    pub(crate) fn learn_error(&mut self, season: Season, at_ms: i64, error: f64, usual: f64) {
        let place = season.place(nearest(at_ms));
        let Some(knot) = self.knots.get_mut(place) else { return };
        let before = if knot.spread > 0.0 { f64::from(knot.spread) } else { error.abs().max(usual) };
        let is_beyond = error.abs() > before;
        knot.spread = narrow(before * if is_beyond { 1.0 + SPREAD_STEP } else { 1.0 - SPREAD_STEP });
    }

    /// How far the day's values are apart.
    pub(crate) fn range(&self) -> f64 {
        f64::from(self.range)
    }

    /// Learns a value, when its half hour is over.
    pub(crate) fn learn(&mut self, season: Season, at_ms: i64, value: f64) {
        let number = nearest(at_ms);
        if number != self.pending.number {
            self.end_half_hour(season);
            self.pending = Pending::of(number);
        }
        self.pending.push(value);
    }

    fn end_half_hour(&mut self, season: Season) {
        let place = season.place(self.pending.number);
        let (Some(day), Some(knot)) = (median(&self.pending.values), self.knots.get_mut(place)) else { return };
        if knot.days.len() >= days_max(place) {
            knot.days.remove(0);
        }
        knot.days.push(day);
        knot.median = median(&knot.days).unwrap_or(day);
        let known = self.knots.iter().filter(|knot| knot.days.len() >= DAYS_MIN).map(|knot| knot.median);
        let (least, greatest) =
            known.fold((f32::MAX, f32::MIN), |(least, greatest), median| (least.min(median), greatest.max(median)));
        self.range = if least <= greatest { greatest - least } else { 0.0 };
    }
}

/// The number of the knot that is nearest.
fn nearest(at_ms: i64) -> i64 {
    at_ms.saturating_add(KNOT_MS / 2).div_euclid(KNOT_MS)
}

fn days_max(place: usize) -> usize {
    if place < KNOTS { WEEKDAYS_MAX } else { WEEKEND_DAYS_MAX }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HOUR_MS;

    /// Five minutes apart, from the first of 1970, a Thursday.
    fn learn(profile: &mut Profile, season: Season, days: std::ops::Range<i64>, value: impl Fn(i64) -> f64) {
        for at_ms in (days.start * DAY_MS..days.end * DAY_MS).step_by(300_000) {
            profile.learn(season, at_ms, value(at_ms));
        }
    }

    fn hour(at_ms: i64) -> f64 {
        real(at_ms.rem_euclid(DAY_MS)) / real(HOUR_MS)
    }

    #[test]
    fn a_slope_is_followed_between_the_knots() {
        let mut profile = Profile::new(Season::Daily);
        learn(&mut profile, Season::Daily, 0..4, hour);
        for minutes in [600, 607, 615, 629, 630] {
            let at_ms = 4 * DAY_MS + minutes * 60_000;
            let expected = profile.expected(Season::Daily, at_ms).unwrap();
            assert!((expected - hour(at_ms)).abs() < 0.1, "{minutes}: {expected}");
        }
        // The knot of midnight has a half of both.
        assert!((profile.range() - 23.0).abs() < 0.1);
    }

    #[test]
    fn weekends_are_apart() {
        let mut profile = Profile::new(Season::Weekly);
        let value = |at_ms: i64| if [2, 3].contains(&at_ms.div_euclid(DAY_MS).rem_euclid(7)) { 5.0 } else { 20.0 };
        learn(&mut profile, Season::Weekly, 0..14, value);
        for day in 14..21 {
            let noon_ms = day * DAY_MS + DAY_MS / 2;
            assert_eq!(profile.expected(Season::Weekly, noon_ms), Some(value(noon_ms)));
        }
    }

    #[test]
    fn a_bad_day_changes_nothing_and_a_lasting_level_is_followed() {
        let mut profile = Profile::new(Season::Daily);
        let noon = |profile: &Profile| profile.expected(Season::Daily, DAY_MS / 2);
        learn(&mut profile, Season::Daily, 0..2, |_| 20.0);
        assert_eq!(noon(&profile), None);
        learn(&mut profile, Season::Daily, 2..9, |_| 20.0);
        learn(&mut profile, Season::Daily, 9..13, |_| 30.0);
        assert_eq!(noon(&profile), Some(20.0));
        learn(&mut profile, Season::Daily, 13..16, |_| 30.0);
        assert_eq!(noon(&profile), Some(30.0));
    }

    #[test]
    fn what_is_read_once_an_hour_has_a_profile() {
        let mut profile = Profile::new(Season::Daily);
        for at_ms in (0..4 * DAY_MS).step_by(3_600_000) {
            profile.learn(Season::Daily, at_ms, hour(at_ms));
        }
        assert_eq!(profile.expected(Season::Daily, 9 * HOUR_MS), Some(9.0));
        assert_eq!(profile.expected(Season::Daily, 9 * HOUR_MS + 20_000), Some(9.0));
    }

    #[test]
    fn a_half_hour_of_many_values_is_bounded() {
        let mut profile = Profile::new(Season::Daily);
        for at_ms in (0..4 * DAY_MS).step_by(10_000) {
            profile.learn(Season::Daily, at_ms, hour(at_ms));
            assert!(profile.is_sound(Season::Daily));
        }
        let expected = profile.expected(Season::Daily, 9 * HOUR_MS).unwrap();
        assert!((expected - 9.0).abs() < 0.1, "{expected}");
    }
}
