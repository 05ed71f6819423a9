//! How the keys of a class are kept.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bowline_model::units::{format_duration, rounded};

use crate::{estimate::Estimate, slot::Ms};

/// From how many sampled reads a choice is made.
const READS_MIN: f64 = 100.0;
/// Reads of a key before it changes, from which on it is kept until then.
const READS_PER_CHANGE_MIN: f64 = 10.0;
/// The share of the time between two changes for which a value is kept: so often, at most, it is stale.
const STALE_SHARE: f64 = 0.05;
/// The shortest time for which a value is kept.
const TTL_MIN: Ms = 1000;
/// How much more or less may be read before the choice is another one.
const MARGIN: f64 = 1.5;
/// How often in a row another choice has to be found before it is made.
const ROUNDS: u8 = 3;

/// How a cache keeps what it loads, where its builder says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// For the cache's time.
    Ttl,
    /// Until it is evicted or invalidated; for twelve times the cache's time at most, and for an hour, unless the
    /// cache's time is longer.
    Lru,
    /// Not at all: one load at a time for all who ask.
    NoCache,
}

/// How the keys of a class are kept now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Lru,
    Ttl(Ms),
    NoCache,
}

/// A choice that is read and changed by several threads.
#[derive(Debug)]
pub(crate) struct ChoiceCell(AtomicU64);

const NO_CACHE: u64 = 0;
const LRU: u64 = u64::MAX;

impl Choice {
    /// What a builder's word means for that time.
    pub(crate) fn of(strategy: Strategy, ttl: Ms) -> Self {
        match strategy {
            Strategy::Ttl => Self::Ttl(ttl),
            Strategy::Lru => Self::Lru,
            Strategy::NoCache => Self::NoCache,
        }
    }

    /// Its kind, as a label.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Ttl(_) => "ttl",
            Self::NoCache => "no_cache",
        }
    }

    /// For people.
    pub(crate) fn shown(self) -> String {
        match self {
            Self::Lru => "lru".to_owned(),
            Self::Ttl(ttl) => format!("ttl {}", format_duration(Duration::from_millis(ttl))),
            Self::NoCache => "no cache".to_owned(),
        }
    }
}

impl ChoiceCell {
    pub(crate) fn new(choice: Choice) -> Self {
        let cell = Self(AtomicU64::new(NO_CACHE));
        cell.set(choice);
        cell
    }

    pub(crate) fn get(&self) -> Choice {
        match self.0.load(Relaxed) {
            NO_CACHE => Choice::NoCache,
            LRU => Choice::Lru,
            ttl => Choice::Ttl(ttl),
        }
    }

    pub(crate) fn set(&self, choice: Choice) {
        let word = match choice {
            Choice::NoCache => NO_CACHE,
            Choice::Lru => LRU,
            Choice::Ttl(ttl) => ttl.clamp(1, LRU - 1),
        };
        self.0.store(word, Relaxed);
    }
}

/// What a cache allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// The longest that [`Choice::Ttl`] keeps something.
    pub(crate) ttl: Ms,
    /// The longest that [`Choice::Lru`] does.
    pub(crate) lru: Ms,
    /// Whether the cache hears of changes.
    pub(crate) is_followed: bool,
}

/// How the keys of a class are best kept, by what is known of them:
///
/// - until they change, where a key is read ten times before it does and often enough, and changes are heard of or were
///   not seen;
/// - else for a twentieth of the time between two changes, where a second read is likely within it;
/// - else not at all.
pub(crate) fn choose(estimate: &Estimate, rules: &Rules) -> Choice {
    let Estimate { frequency, volatility, .. } = *estimate;
    let is_changing = volatility > 0.0;
    let is_read_again = frequency * seconds(rules.lru) >= 1.0;
    let is_read_before = frequency >= READS_PER_CHANGE_MIN * volatility;
    if is_read_again && is_read_before && (rules.is_followed || !is_changing) {
        return Choice::Lru;
    }
    if is_changing {
        let ttl = Duration::try_from_secs_f64(STALE_SHARE / volatility).unwrap_or(Duration::MAX);
        let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(TTL_MIN).min(rules.ttl);
        if frequency * seconds(ttl) >= 1.0 {
            return Choice::Ttl(ttl);
        }
    }
    Choice::NoCache
}

/// A choice that is not given up for a short while or a little.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    other: Option<&'static str>,
    rounds: u8,
}

impl Judge {
    /// What is chosen now, where that is another choice.
    pub(crate) fn judge(&mut self, now: Choice, estimate: &Estimate, rules: &Rules) -> Option<Choice> {
        if estimate.reads < READS_MIN {
            return None;
        }
        let found = choose(estimate, rules);
        let scaled = |by: f64| Estimate { frequency: estimate.frequency * by, ..*estimate };
        let is_clear = || [MARGIN, 1.0 / MARGIN].iter().all(|by| choose(&scaled(*by), rules).kind() == found.kind());
        let is_other = match (now, found) {
            (Choice::Ttl(now), Choice::Ttl(found)) => seconds(now.max(found)) >= MARGIN * seconds(now.min(found)),
            _ => now.kind() != found.kind() && is_clear(),
        };
        if !is_other {
            self.other = None;
            return None;
        }
        self.rounds = if self.other == Some(found.kind()) { self.rounds + 1 } else { 1 };
        self.other = Some(found.kind());
        if self.rounds < ROUNDS {
            return None;
        }
        self.other = None;
        Some(found)
    }
}

/// Why that is how a class is kept, as a sentence.
pub(crate) fn why(estimate: &Estimate, choice: Choice) -> String {
    let Estimate { frequency, volatility, reads } = *estimate;
    if reads < READS_MIN {
        return format!("too few requests to judge by: {reads:.0} of {READS_MIN:.0} sampled");
    }
    let read = often(frequency);
    if volatility <= 0.0 {
        return match choice {
            Choice::NoCache => format!("a key is read {read}: it is hardly read again while it could be kept"),
            Choice::Lru | Choice::Ttl(_) => format!("a key is read {read} and was not seen to change"),
        };
    }
    let per_change = frequency / volatility;
    format!("a key is read {read} and changes {}: {per_change:.1} reads a change", often(volatility))
}

/// So many times a second, for people.
fn often(rate: f64) -> String {
    if rate >= 0.1 {
        return format!("{rate:.1}/s");
    }
    match Duration::try_from_secs_f64(1.0 / rate) {
        Ok(every) if every < Duration::from_hours(24) => format!("every {}", rounded(every)),
        _ => "less than once a day".to_owned(),
    }
}

fn seconds(ms: Ms) -> f64 {
    Duration::from_millis(ms).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { ttl: 300_000, lru: 3_600_000, is_followed: true };

    fn estimate(frequency: f64, volatility: f64) -> Estimate {
        Estimate { frequency, volatility, reads: 1000.0 }
    }

    #[test]
    fn what_is_read_often_and_changes_seldom_is_kept_until_it_changes() {
        assert_eq!(choose(&estimate(0.8, 1.0 / 2460.0), &RULES), Choice::Lru);
        assert_eq!(choose(&estimate(0.001, 0.0), &RULES), Choice::Lru);
        let deaf = Rules { is_followed: false, ..RULES };
        assert_eq!(choose(&estimate(0.8, 0.0), &deaf), Choice::Lru, "no change was seen");
        assert_eq!(choose(&estimate(0.8, 1.0 / 2460.0), &deaf), Choice::Ttl(123_000), "nobody would tell");
    }

    #[test]
    fn what_changes_often_is_kept_for_a_short_time_and_what_is_not_read_again_not_at_all() {
        assert_eq!(choose(&estimate(2.0, 1.0), &RULES), Choice::Ttl(1000));
        assert_eq!(choose(&estimate(1.0, 0.2), &RULES), Choice::Ttl(1000));
        assert_eq!(choose(&estimate(0.5, 0.2), &RULES), Choice::NoCache, "hardly a second read within a second");
        assert_eq!(choose(&estimate(0.0001, 0.0), &RULES), Choice::NoCache);
    }

    #[test]
    fn a_choice_is_made_after_three_rounds_and_where_it_is_clear() {
        let mut judge = Judge::default();
        let (steady, wild) = (estimate(0.8, 0.0), estimate(0.1, 0.2));
        let now = Choice::Ttl(300_000);
        assert_eq!([&steady, &steady, &steady].map(|e| judge.judge(now, e, &RULES)), [None, None, Some(Choice::Lru)]);
        let found = [&wild, &wild, &steady, &wild, &wild, &wild].map(|e| judge.judge(Choice::Lru, e, &RULES));
        assert_eq!(found, [None, None, None, None, None, Some(Choice::NoCache)]);
        let close = estimate(0.11, 0.01);
        assert_eq!(choose(&close, &RULES), Choice::Lru);
        assert!((0..10).all(|_| judge.judge(now, &close, &RULES).is_none()), "a little less, and it would be another");
        let few = Estimate { reads: 99.0, ..steady };
        assert!((0..10).all(|_| judge.judge(now, &few, &RULES).is_none()));
        let (slow, faster) = (estimate(2.0, 0.01), estimate(2.0, 0.012));
        let deaf = Rules { is_followed: false, ..RULES };
        assert_eq!(judge.judge(Choice::Ttl(6000), &slow, &deaf), None);
        assert_eq!(judge.judge(Choice::Ttl(6000), &faster, &deaf), None, "about the same time");
        let found = [&slow, &slow, &slow].map(|e| judge.judge(Choice::Ttl(300_000), e, &deaf));
        assert_eq!(found, [None, None, Some(Choice::Ttl(5000))]);
        let found = [&slow, &slow, &slow].map(|e| judge.judge(Choice::Ttl(300_000), e, &deaf));
        assert_eq!(found, [None, None, Some(Choice::Ttl(5000))], "the next one takes as many");
    }

    #[test]
    fn it_says_why() {
        let why = |frequency, volatility, choice| why(&estimate(frequency, volatility), choice);
        let expect = "a key is read 0.8/s and changes every 41m: 1968.0 reads a change";
        assert_eq!(why(0.8, 1.0 / 2460.0, Choice::Lru), expect);
        assert_eq!(why(0.01, 0.0, Choice::Lru), "a key is read every 1m 40s and was not seen to change");
        let expect = "a key is read less than once a day: it is hardly read again while it could be kept";
        assert_eq!(why(0.00001, 0.0, Choice::NoCache), expect);
    }
}
