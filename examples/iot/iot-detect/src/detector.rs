//! The detector of one series: what it expects, what it finds, what it keeps.

use serde::{Deserialize, Serialize};

use crate::{
    DAY_MS, Season,
    charts::Charts,
    event::{Event, Kind, Latch},
    intervals::Intervals,
    noise::{Noise, TO_DEVIATION},
    number::{narrow, real, whole},
    profile::Profile,
};

/// What the state's form is called; another is refused.
const FORMAT: u32 = 1;

/// Values beyond count as this one: no sensor's are.
pub const VALUE_MAX: f64 = 1e12;

/// How many whitened deviations a value may be off.
const SPIKE_LIMIT: f64 = 4.5;

/// So many equal values are a stuck sensor, unless it is used to more.
const STUCK_COUNT: u32 = 12;

/// So many times as many as it is used to.
const STUCK_RATIO: u32 = 2;

/// For how long is learned how many equal values are usual.
const STUCK_WARM_UP_MS: i64 = DAY_MS;

/// So many long intervals without a reading are a dropout.
const DROPOUT_RATIO: f64 = 4.0;

/// The least deviation that is believed, as a share of what a day's values range over.
const DEVIATION_MIN: f64 = 0.001;

/// The least deviation of a series that is all alike.
const DEVIATION_OF_NOTHING: f64 = 1e-9;

/// For how long an episode keeps the noise from being learned: noise that has grown for good is to be.
const FROZEN_MAX_MS: i64 = DAY_MS;

/// What is known of a series before its first reading.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What repeats.
    pub season: Season,
    /// The least difference that the sensor shows, in its unit; 0 where that is not known.
    pub resolution: f64,
}

impl Default for Settings {
    /// A sensor of temperatures: weeks, hundredths of a degree.
    fn default() -> Self {
        Self { season: Season::Weekly, resolution: 0.01 }
    }
}

/// Watches one series. Values go in one by one; when something begins or ends, events come out.
#[derive(Debug, Clone)]
pub struct Detector {
    settings: Settings,
    state: State,
}

/// What a detector knows. It is bounded: about 13 KB of JSON, however long and however fast the series is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    format: u32,
    first_ms: Option<i64>,
    last_ms: Option<i64>,
    /// What all values are relative to, so that `f32` does for their differences.
    origin: f32,
    profile: Profile,
    noise: Noise,
    charts: Charts,
    intervals: Intervals,
    repeated: Repeated,
    /// One for each kind.
    latches: [Latch; Kind::ALL.len()],
}

/// How many values in turn were equal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeated {
    value: f32,
    count: u32,
    /// The most that is usual.
    usual: u32,
}

/// Why a state is not a detector's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("the state has format {found}, and {FORMAT} is known: begin with a new detector")]
    Format { found: u32 },
    #[error("the state does not fit the season, or was damaged: begin with a new detector")]
    Form,
}

/// What a reading is held against.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at_ms: i64,
    value: Option<f64>,
    expected: Option<f64>,
}

impl Detector {
    /// One that knows nothing yet: until its season's warm-up is over it tells dropouts and stuck values only.
    pub fn new(settings: Settings) -> Self {
        let state = State {
            format: FORMAT,
            first_ms: None,
            last_ms: None,
            origin: 0.0,
            profile: Profile::new(settings.season),
            noise: Noise::default(),
            charts: Charts::default(),
            intervals: Intervals::default(),
            repeated: Repeated::default(),
            latches: [Latch::default(); Kind::ALL.len()],
        };
        Self { settings, state }
    }

    /// Goes on where another was.
    ///
    /// # Errors
    /// When the state is of another format or season, or not one.
    pub fn restore(settings: Settings, state: State) -> Result<Self, StateError> {
        if state.format != FORMAT {
            return Err(StateError::Format { found: state.format });
        }
        let is_sound = state.profile.is_sound(settings.season)
            && state.noise.is_sound()
            && state.charts.is_sound()
            && state.intervals.is_sound()
            && state.origin.is_finite()
            && state.repeated.value.is_finite();
        if is_sound { Ok(Self { settings, state }) } else { Err(StateError::Form) }
    }

    /// What it knows, to be kept.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The kinds of which an episode is open.
    pub fn open(&self) -> impl Iterator<Item = Kind> {
        Kind::ALL
            .into_iter()
            .zip(&self.state.latches)
            .filter(|(_, latch)| latch.open_since_ms().is_some())
            .map(|(kind, _)| kind)
    }

    /// Whether it has learned enough to judge levels at that time.
    pub fn is_warm(&self, at_ms: i64) -> bool {
        let since_ms = self.state.first_ms.map_or(0, |first_ms| at_ms.saturating_sub(first_ms));
        since_ms >= self.settings.season.warm_up_ms() && self.state.noise.is_known()
    }

    /// What a value should be at that time; nothing where too little is known.
    pub fn expected(&self, at_ms: i64) -> Option<f64> {
        let expected = self.state.profile.expected(self.settings.season, at_ms)?;
        Some(expected + f64::from(self.state.origin))
    }

    /// How far from it values usually are at that time, as a standard deviation; nothing before that is known.
    pub fn deviation(&self, at_ms: i64) -> Option<f64> {
        self.state.noise.is_known().then(|| self.state.noise.scale(self.deviation_floor(at_ms)))
    }

    /// When silence becomes a dropout: the time for the next [`Self::tick`]. None while one is open, and before it
    /// is known how often the device is heard.
    pub fn dropout_at_ms(&self) -> Option<i64> {
        if self.latch(Kind::Dropout).open_since_ms().is_some() {
            return None;
        }
        let silence_ms = whole(DROPOUT_RATIO * real(self.state.intervals.long_ms()?)).max(1);
        Some(self.state.last_ms?.saturating_add(silence_ms))
    }

    /// Hears how late it is: a dropout begins when it is due, however much later this is told.
    pub fn tick(&mut self, now_ms: i64) -> Vec<Event> {
        let Some(at_ms) = self.dropout_at_ms().filter(|at_ms| *at_ms <= now_ms) else { return Vec::new() };
        let change = self.latch_mut(Kind::Dropout).open(at_ms);
        vec![Event { at_ms, kind: Kind::Dropout, change, score: 1.0, value: None, expected: None }]
    }

    /// Takes a reading in. One that is not later than the last, and one that is no number, changes nothing.
    ///
    /// Times are the readings' own. A device's that runs far ahead would have it wait: refuse such readings before.
    pub fn observe(&mut self, at_ms: i64, value: f64) -> Vec<Event> {
        let mut events = self.tick(at_ms);
        if !value.is_finite() || self.state.last_ms.is_some_and(|last_ms| at_ms <= last_ms) {
            return events;
        }
        let value = value.clamp(-VALUE_MAX, VALUE_MAX);
        let steps = self.arrive(at_ms, value, &mut events);
        self.repeat(at_ms, value, &mut events);
        self.compare(at_ms, value, steps, &mut events);
        events
    }

    /// Books that there is one; how many usual intervals after the one before.
    fn arrive(&mut self, at_ms: i64, value: f64, events: &mut Vec<Event>) -> i32 {
        let Some(last_ms) = self.state.last_ms.replace(at_ms) else {
            self.state.first_ms = Some(at_ms);
            self.state.origin = narrow(value);
            return 1;
        };
        let interval_ms = at_ms.saturating_sub(last_ms);
        let usual_ms = self.state.intervals.median_ms().unwrap_or(interval_ms).max(1);
        if self.latch(Kind::Dropout).open_since_ms().is_some() {
            let change = self.latch_mut(Kind::Dropout).close();
            let score = real(interval_ms) / (DROPOUT_RATIO * real(usual_ms));
            let value = Some(value);
            events.push(Event { at_ms, kind: Kind::Dropout, change, score, value, expected: None });
            self.state.charts = Charts::default();
        }
        self.state.intervals.push(interval_ms);
        let steps = whole(real(interval_ms) / real(usual_ms)).clamp(1, 1000);
        i32::try_from(steps).unwrap_or(1)
    }

    /// Counts equal values.
    fn repeat(&mut self, at_ms: i64, value: f64, events: &mut Vec<Event>) {
        let relative = narrow(value - f64::from(self.state.origin));
        let is_learning = self.state.first_ms.is_some_and(|first| at_ms.saturating_sub(first) < STUCK_WARM_UP_MS);
        let repeated = &mut self.state.repeated;
        let is_equal = f64::from(relative - repeated.value).abs() <= self.settings.resolution / 2.0;
        if is_equal && repeated.count > 0 {
            repeated.count = repeated.count.saturating_add(1);
        } else {
            (repeated.value, repeated.count) = (relative, 1);
        }
        if is_learning {
            repeated.usual = repeated.usual.max(repeated.count);
            return;
        }
        let limit = STUCK_COUNT.max(repeated.usual.saturating_mul(STUCK_RATIO));
        // It is one of so many that tells, not the one after.
        let score = (f64::from(repeated.count) + 0.5) / f64::from(limit);
        self.step(Kind::Stuck, score, Seen { at_ms, value: Some(value), expected: None }, events);
    }

    /// Holds a value against what is expected, and learns it.
    fn compare(&mut self, at_ms: i64, value: f64, steps: i32, events: &mut Vec<Event>) {
        let (season, origin) = (self.settings.season, f64::from(self.state.origin));
        let relative = value - origin;
        if let Some(expected) = self.state.profile.expected(season, at_ms) {
            let (error, least) = (relative - expected, self.deviation_min());
            let floor = self.deviation_floor(at_ms);
            let whitened = self.state.noise.whiten(error, floor, steps);
            if self.is_warm(at_ms) {
                let (shift, drift) = self.state.charts.step(whitened);
                let seen = Seen { at_ms, value: Some(value), expected: Some(expected + origin) };
                self.step(Kind::Spike, whitened.abs() / SPIKE_LIMIT, seen, events);
                self.step(Kind::Shift, shift, seen, events);
                self.step(Kind::Drift, drift, seen, events);
            }
            if !self.is_frozen(at_ms) {
                self.state.noise.learn(error, least, steps == 1);
                self.state.profile.learn_error(season, at_ms, error, self.state.noise.median());
            }
            self.state.noise.follow(error, floor);
        }
        self.state.profile.learn(season, at_ms, relative);
    }

    fn deviation_min(&self) -> f64 {
        self.settings.resolution.max(DEVIATION_MIN * self.state.profile.range()).max(DEVIATION_OF_NOTHING)
    }

    /// The least deviation at that time of the day.
    fn deviation_floor(&self, at_ms: i64) -> f64 {
        let spread = self.state.profile.spread(self.settings.season, at_ms);
        self.deviation_min().max(TO_DEVIATION * spread)
    }

    /// Whether what is read now says nothing of the usual noise.
    fn is_frozen(&self, at_ms: i64) -> bool {
        let since = |kind| self.latch(kind).open_since_ms();
        let is_young = |since_ms: i64| at_ms.saturating_sub(since_ms) < FROZEN_MAX_MS;
        [Kind::Shift, Kind::Drift, Kind::Stuck].into_iter().any(|kind| since(kind).is_some_and(is_young))
    }

    fn step(&mut self, kind: Kind, score: f64, seen: Seen, events: &mut Vec<Event>) {
        let Seen { at_ms, value, expected } = seen;
        if let Some(change) = self.latch_mut(kind).step(at_ms, score) {
            events.push(Event { at_ms, kind, change, score, value, expected });
        }
    }

    fn latch(&self, kind: Kind) -> &Latch {
        &self.state.latches[kind as usize]
    }

    fn latch_mut(&mut self, kind: Kind) -> &mut Latch {
        &mut self.state.latches[kind as usize]
    }
}

const _: () = assert!(Kind::ALL[Kind::Dropout as usize] as usize == Kind::Dropout as usize, "kinds are in their order");
