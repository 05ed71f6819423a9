//! One device: its readings put into the order of their times, and judged in it.
//!
//! What is judged is a function of the readings that were taken and of the times that were told, not of how they came in
//! batches: whoever goes through the journal comes to the same state.

use std::collections::{BTreeMap, VecDeque};

use iot_detect::{
    Change, Detector, Event, Settings, State,
    features::{Told, Watch, Window},
};
use serde::{Deserialize, Serialize};

use crate::{reading::Outcome, rules::Terms};

/// The most readings of a device that wait for earlier ones: of more, the earliest is judged.
pub(crate) const PENDING_MAX: usize = 1000;

/// Of how many judged readings the numbers are known, to tell one that comes again from a late one.
const RECENT_MAX: usize = 64;

/// The longest list that is reckoned with.
const BURST_MAX_MS: i64 = 6 * iot_detect::HOUR_MS;

/// What a kept state is called; another is not read.
const FORMAT: u32 = 1;

/// A device.
#[derive(Debug, Clone)]
pub(crate) struct Device {
    terms: Terms,
    watch: Watch,
    /// Readings that wait for earlier ones, by time and number.
    pending: BTreeMap<Place, f64>,
    /// The last that was judged.
    released: Option<Place>,
    /// The numbers of the last that were judged, the newest last.
    recent: VecDeque<i64>,
    /// How much time the readings usually span that come at once, at most.
    burst_ms: i64,
    /// Readings of the journal that the kept state does not have.
    unkept: usize,
}

/// When a reading was read, and the device's number of it.
pub(crate) type Place = (i64, i64);

/// A device's state as it is kept: what waits is in the journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    format: u32,
    detector: State,
    window: Window,
    released: Option<Place>,
    recent: VecDeque<i64>,
    /// Of a state of before it is not known: it may tell an hour's list each hour.
    #[serde(default = "unknown_burst_ms")]
    burst_ms: i64,
}

fn unknown_burst_ms() -> i64 {
    iot_detect::HOUR_MS
}

/// Why a kept state is not taken up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    #[error("it cannot be read")]
    Json(#[from] serde_json::Error),
    #[error("it has format {0}, and {FORMAT} is known")]
    Format(u32),
    #[error(transparent)]
    State(#[from] iot_detect::StateError),
}

impl Device {
    /// One that nothing is known of.
    pub(crate) fn new(terms: Terms) -> Self {
        Self {
            terms,
            watch: Watch::new(Detector::new(settings(terms)), Window::default()),
            pending: BTreeMap::new(),
            released: None,
            recent: VecDeque::new(),
            burst_ms: 0,
            unkept: 0,
        }
    }

    /// One of which no state was kept: what its lists span is not known.
    pub(crate) fn unkept_yet(terms: Terms) -> Self {
        Self { burst_ms: unknown_burst_ms(), ..Self::new(terms) }
    }

    /// One of which that was kept.
    pub(crate) fn restore(terms: Terms, text: &str) -> Result<Self, Unread> {
        let Kept { format, detector, window, released, recent, burst_ms } = serde_json::from_str(text)?;
        if format != FORMAT {
            return Err(Unread::Format(format));
        }
        let watch = Watch::new(Detector::restore(settings(terms), detector)?, window);
        Ok(Self { watch, released, recent, burst_ms, ..Self::new(terms) })
    }

    /// What is kept of it.
    pub(crate) fn kept(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Kept {
            format: FORMAT,
            detector: self.watch.detector().state().clone(),
            window: self.watch.window().clone(),
            released: self.released,
            recent: self.recent.clone(),
            burst_ms: self.burst_ms,
        })
    }

    /// Says that it is kept: what waits stays in the journal.
    pub(crate) fn is_kept(&mut self) {
        self.unkept = self.pending.len();
    }

    pub(crate) fn terms(&self) -> Terms {
        self.terms
    }

    pub(crate) fn unkept(&self) -> usize {
        self.unkept
    }

    pub(crate) fn released(&self) -> Option<Place> {
        self.released
    }

    pub(crate) fn detector(&self) -> &Detector {
        self.watch.detector()
    }

    /// When its newest reading was read.
    pub(crate) fn newest_ms(&self) -> Option<i64> {
        let newest = self.pending.last_key_value().map(|(place, _)| *place).or(self.released);
        newest.map(|(at_ms, _)| at_ms)
    }

    /// Takes a reading in, if it is new and not too late; it is judged by [`Self::release`].
    pub(crate) fn offer(&mut self, (at_ms, sequence): Place, value: f64) -> Outcome {
        if self.pending.contains_key(&(at_ms, sequence)) || self.recent.contains(&sequence) {
            return Outcome::Duplicate;
        }
        if self.released.is_some_and(|(released_ms, _)| at_ms <= released_ms) {
            return Outcome::Late;
        }
        self.accept((at_ms, sequence), value);
        Outcome::Taken
    }

    /// Takes in what was taken in before.
    pub(crate) fn accept(&mut self, place: Place, value: f64) {
        self.pending.insert(place, value);
        self.unkept += 1;
    }

    /// Hears that readings came at once, of which that is the first that is new, so long after those before. What spans
    /// more is played faster than it was read.
    pub(crate) fn come(&mut self, first_ms: Option<i64>, since_ms: i64) {
        let span_ms = first_ms.zip(self.newest_ms()).map_or(0, |(first_ms, newest_ms)| newest_ms - first_ms);
        // What was usual is forgotten little by little: a list may come in two parts.
        self.burst_ms = span_ms.min(since_ms).max(self.burst_ms - self.burst_ms / 8).clamp(0, BURST_MAX_MS);
    }

    pub(crate) fn burst_ms(&self) -> i64 {
        self.burst_ms
    }

    /// Judges the readings that nothing earlier is waited for any more.
    pub(crate) fn release(&mut self) -> Vec<Told> {
        let watermark_ms = self.newest_ms().map_or(i64::MIN, |ms| ms.saturating_sub(self.terms.lateness_ms));
        self.judge(|place, count| place.0 < watermark_ms || count > PENDING_MAX)
    }

    /// Hears how late it is, when it is beyond [`Self::due_ms`]: nothing is waited for any more.
    pub(crate) fn tick(&mut self, now_ms: i64) -> Vec<Told> {
        let mut told = self.judge(|_, _| true);
        told.extend(self.watch.tick(now_ms));
        told
    }

    /// When its silence is a dropout, if nothing else comes.
    pub(crate) fn due_ms(&self) -> Option<i64> {
        let due_ms = self.watch.detector().dropout_at_ms()?;
        let waiting_ms = self.newest_ms()?.saturating_sub(self.released?.0);
        Some(due_ms.saturating_add(waiting_ms))
    }

    /// From now on it is judged by other terms: of another season it learns anew, and what is open is over.
    pub(crate) fn adopt(&mut self, terms: Terms) -> Vec<Told> {
        let before = std::mem::replace(&mut self.terms, terms);
        let mut told = Vec::new();
        if terms.season != before.season {
            let at_ms = self.released.map_or(0, |(at_ms, _)| at_ms);
            told.extend(self.watch.detector().open().map(|kind| over(kind, at_ms)));
            self.watch = Watch::new(Detector::new(settings(terms)), Window::default());
        }
        told.extend(self.release());
        told
    }

    fn judge(&mut self, is_due: impl Fn(Place, usize) -> bool) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(first) = self.pending.first_entry().map(|entry| *entry.key())
            && is_due(first, self.pending.len())
        {
            let Some((place, value)) = self.pending.pop_first() else { break };
            told.extend(self.watch.observe(place.0, value));
            self.released = Some(place);
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back(place.1);
        }
        told
    }
}

/// That an episode is over which nobody watches any more.
pub(crate) fn over(kind: iot_detect::Kind, at_ms: i64) -> Told {
    let event = Event { at_ms, kind, change: Change::Ended, score: 0.0, value: None, expected: None };
    Told { event, features: None }
}

fn settings(terms: Terms) -> Settings {
    Settings { season: terms.season, ..Settings::default() }
}

#[cfg(test)]
mod tests {
    use iot_detect::{Kind, Season};

    use super::*;

    const MINUTE_MS: i64 = 60_000;
    const TERMS: Terms = Terms { season: Season::Daily, lateness_ms: 5 * MINUTE_MS };

    fn at(minute: i64) -> Place {
        (minute * MINUTE_MS, minute)
    }

    #[test]
    fn readings_wait_for_earlier_ones_and_late_ones_are_left_out() {
        let mut device = Device::new(TERMS);
        for (minute, outcome) in [
            (10, Outcome::Taken),
            (12, Outcome::Taken),
            (11, Outcome::Taken),
            (11, Outcome::Duplicate),
            (17, Outcome::Taken),
            (16, Outcome::Taken),
        ] {
            assert_eq!(device.offer(at(minute), 1.0), outcome, "{minute}");
            assert!(device.release().is_empty());
        }
        // The watermark is at 12: what was read then still waits.
        assert_eq!(device.released(), Some(at(11)));
        assert_eq!(device.offer(at(9), 1.0), Outcome::Late);
        assert_eq!(device.offer(at(11), 1.0), Outcome::Duplicate);
        assert_eq!((device.newest_ms(), device.unkept()), (Some(17 * MINUTE_MS), 5));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut device = Device::new(TERMS);
        for number in 0..5000 {
            device.offer((1_000_000 + number, number), 1.0);
            device.release();
            assert!(device.pending.len() <= PENDING_MAX);
        }
        assert_eq!(device.released(), Some((1_000_000 + 3999, 3999)));
    }

    #[test]
    fn what_lists_span_is_known_unless_they_are_played_faster() {
        let mut device = Device::new(TERMS);
        let mut come = |from: i64, to: i64, since_minutes: i64| {
            for minute in from..to {
                device.offer(at(minute), 1.0);
            }
            device.come((from < to).then_some(from * MINUTE_MS), since_minutes.saturating_mul(MINUTE_MS));
            device.burst_ms() / MINUTE_MS
        };
        assert_eq!(come(0, 60, i64::MAX), 59);
        assert_eq!(come(60, 120, 60), 59);
        assert_eq!([come(120, 150, 60), come(150, 180, 0), come(180, 240, 60)], [51, 45, 59]);
        let played: Vec<i64> = (0..60).map(|list| come(240 + list * 60, 300 + list * 60, 1)).collect();
        assert_eq!(played.last(), Some(&1));
        assert_eq!(come(9, 9, 60), 0);
    }

    #[test]
    fn silence_is_told_from_the_newest_reading_on() {
        let mut device = Device::new(TERMS);
        for minute in 0..20 {
            device.offer(at(minute), 1.0);
            device.release();
        }
        assert_eq!((device.released(), device.due_ms()), (Some(at(13)), Some(23 * MINUTE_MS)));
        let told = device.tick(23 * MINUTE_MS);
        assert_eq!((told.len(), told[0].event.kind, told[0].event.at_ms), (1, Kind::Dropout, 23 * MINUTE_MS));
        assert_eq!((device.released(), device.due_ms()), (Some(at(19)), None));
    }

    #[test]
    fn what_is_kept_goes_on_as_it_was_and_of_another_season_it_learns_anew() {
        let mut device = Device::new(TERMS);
        for minute in 0..20 {
            device.offer(at(minute), 1.0);
        }
        device.tick(60 * MINUTE_MS);
        let text = device.kept().unwrap();
        assert!(text.len() < 20_000, "{}", text.len());
        assert_eq!(Device::restore(TERMS, &text).unwrap().kept().unwrap(), text);
        assert!(Device::restore(TERMS, &text.replacen("\"format\":1", "\"format\":2", 1)).is_err());
        let weekly = Terms { season: Season::Weekly, ..TERMS };
        assert!(Device::restore(weekly, &text).is_err());
        let told = device.adopt(weekly);
        assert_eq!((told[0].event.kind, told[0].event.change), (Kind::Dropout, Change::Ended));
        assert_eq!(device.detector().open().count(), 0);
    }
}
