//! What is known of a member's load: requests in flight, and latency as a peak-sensitive average.
//!
//! The average is Finagle's peak EWMA: a latency above it raises it at once, one below pulls it
//! down slowly, weighted by the time since the last; unasked, it fades, so that a member that was
//! slow is tried again. Both numbers are atomics on one cache line of the member's own, and beside them is what the
//! outlier detector and a slow start need to know.
//!
//! Sources: Finagle's `PeakEwma.scala`; tower's `load/peak_ewma.rs`.

use std::{
    mem,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use bowline_runtime::{
    metric::Padded,
    time::{self, Duration, Instant},
};

use crate::outlier::Record;

/// The time constant with which latencies lose their weight.
pub const DECAY: Duration = Duration::from_secs(10);

/// By how much a failure multiplies the latency that is recorded for it.
///
/// A member that fails fast would otherwise look like the best of all. Four times costs a single
/// failure some 14 s of doubt, and a row of them soon [`FAILURE_LATENCY_MAX`].
pub const FAILURE_FACTOR: f32 = 4.0;

/// The most that failures alone can make of a latency.
pub const FAILURE_LATENCY_MAX: Duration = Duration::from_secs(10);

/// The least latency a failure is reckoned from.
const FAILURE_LATENCY_MIN: Duration = Duration::from_millis(1);

/// What a member is taken for that has requests in flight and has answered none yet.
const UNKNOWN_LATENCY_NANOS: f32 = 1e9;

/// A latency below it is as good as none known.
const KNOWN_NANOS_MIN: f32 = 1.0;

#[derive(Debug)]
pub(crate) struct Load(Padded<Cells>);

#[derive(Debug)]
struct Cells {
    in_flight: AtomicU64,
    /// `stamp << 32 | bits of an f32 of nanoseconds`.
    latency: AtomicU64,
    /// When the set was made: all times here are since then.
    epoch: Instant,
    record: Record,
    /// When its slow start began, in nanoseconds, and at least [`WARM_FROM_MIN`]; [`UNSEEN`], [`WARM`].
    warm_from: AtomicU64,
    /// Counts what is in flight at several members together, where somebody asks for that.
    tally: OnceLock<Tally>,
}

/// Requests in flight at several members together.
pub(crate) type Tally = Arc<Padded<AtomicU64>>;

/// It was never seen healthy.
const UNSEEN: u64 = 0;

/// It has its full share.
const WARM: u64 = 1;

const WARM_FROM_MIN: u64 = 2;

/// The share with which a slow start begins.
pub(crate) const SLOW_START_FROM: f32 = 0.1;

/// One request in flight at a member, from [`Member::begin`](crate::Member::begin) on.
///
/// Dropped without a verdict, the request was cancelled: the member is then known to
/// take at least this long, and no less is concluded.
#[derive(Debug)]
#[must_use = "the request counts as in flight only while this lives"]
pub struct InFlight {
    load: Arc<Load>,
    started: Instant,
    is_recorded: bool,
    is_tallied: bool,
}

impl InFlight {
    pub(crate) fn begin(load: &Arc<Load>, now: Instant) -> Self {
        load.0.0.in_flight.fetch_add(1, Relaxed);
        let tally = load.tally();
        if let Some(tally) = tally {
            tally.0.fetch_add(1, Relaxed);
        }
        Self { load: Arc::clone(load), started: now, is_recorded: false, is_tallied: tally.is_some() }
    }

    /// Notes the latency up to `now` and whether it went well; the request stays in flight.
    ///
    /// For answers whose body goes on after their head: the head's latency counts at once, the
    /// place is held until this is dropped. Only the first verdict counts. What the caller gave up
    /// because it took too long did not go well.
    pub fn record(&mut self, now: Instant, ok: bool) {
        if !mem::replace(&mut self.is_recorded, true) {
            let verdict = if ok { Verdict::Good } else { Verdict::Bad };
            self.load.observe(now, now.saturating_duration_since(self.started), verdict);
        }
    }

    /// Notes that its latency says nothing of the instance; the request stays in flight.
    pub fn ignore(&mut self) {
        self.is_recorded = true;
    }

    /// Ends the request, with its latency up to `now` and whether it went well.
    pub fn finish(mut self, now: Instant, ok: bool) {
        self.record(now, ok);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if !self.is_recorded {
            let now = time::now();
            self.load.observe(now, now.saturating_duration_since(self.started), Verdict::Unknown);
        }
        self.load.0.0.in_flight.fetch_sub(1, Relaxed);
        // One that began before there was a tally is not in it.
        if let Some(tally) = self.load.tally().filter(|_| self.is_tallied) {
            tally.0.fetch_sub(1, Relaxed);
        }
    }
}

/// What a latency means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    Bad,
    /// It would have been at least this.
    Unknown,
}

impl Load {
    pub(crate) fn new(epoch: Instant) -> Self {
        let [in_flight, latency, warm_from] = [0, 0, UNSEEN].map(AtomicU64::new);
        let cells = Cells { in_flight, latency, epoch, record: Record::new(), warm_from, tally: OnceLock::new() };
        Self(Padded(cells))
    }

    #[inline]
    pub(crate) fn record(&self) -> &Record {
        &self.0.0.record
    }

    pub(crate) fn epoch(&self) -> Instant {
        self.0.0.epoch
    }

    pub(crate) fn tally(&self) -> Option<&Tally> {
        self.0.0.tally.get()
    }

    /// Has it counted in that tally, unless it is in one.
    pub(crate) fn count_in(&self, tally: impl FnOnce() -> Tally) {
        self.0.0.tally.get_or_init(tally);
    }

    /// It was seen healthy: the first time that begins its slow start, where it is `new` among others.
    pub(crate) fn seen_healthy(&self, is_new: bool, now: u64) -> bool {
        let from = if is_new { now.max(WARM_FROM_MIN) } else { WARM };
        self.0.0.warm_from.compare_exchange(UNSEEN, from, Relaxed, Relaxed).is_ok() && is_new
    }

    /// What share of its due it gets, from [`SLOW_START_FROM`] to 1; `now` and `slow_start` in nanoseconds.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(crate) fn warmth(&self, now: u64, slow_start: u64) -> f32 {
        let since = now.saturating_sub(self.0.0.warm_from.load(Relaxed));
        match self.0.0.warm_from.load(Relaxed) {
            WARM | UNSEEN => 1.0,
            _ if since >= slow_start => 1.0,
            _ => SLOW_START_FROM + (1.0 - SLOW_START_FROM) * (since as f32 / slow_start as f32),
        }
    }

    #[inline]
    pub(crate) fn in_flight(&self) -> u64 {
        self.0.0.in_flight.load(Relaxed)
    }

    /// The latency as of now.
    pub(crate) fn latency(&self, now: Instant) -> Duration {
        Duration::from_secs_f64(f64::from(self.latency_nanos(now)) / 1e9)
    }

    /// What a request more would cost here: latency × (in flight + 1); for comparison only.
    ///
    /// A member without history costs nothing once, so that it is tried; while that first request
    /// is out it costs much, so that not everybody tries it.
    ///
    /// `now` is in nanoseconds since the set was made. The fading is reckoned roughly, to a thousandth.
    #[inline]
    pub(crate) fn cost(&self, now: u64) -> f32 {
        let in_flight = self.in_flight();
        #[expect(clippy::cast_precision_loss, reason = "it is compared, not counted")]
        let count = in_flight as f32;
        let latency = Latency::unpack(self.0.0.latency.load(Acquire));
        match latency.faded_roughly(stamp_of(now)) {
            nanos if nanos >= KNOWN_NANOS_MIN => nanos * (count + 1.0),
            _ => UNKNOWN_LATENCY_NANOS * count,
        }
    }

    #[inline]
    fn latency_nanos(&self, now: Instant) -> f32 {
        Latency::unpack(self.0.0.latency.load(Acquire)).faded(self.stamp(now)).nanos
    }

    fn observe(&self, now: Instant, elapsed: Duration, verdict: Verdict) {
        let stamp = self.stamp(now);
        let observed = |word| {
            let before = Latency::unpack(word);
            before.observed(stamp, elapsed.as_secs_f32() * 1e9, verdict).map(Latency::pack)
        };
        // Where there is nothing to change it is left as it is.
        self.0.0.latency.fetch_update(Release, Acquire, observed).ok();
    }

    #[inline]
    fn stamp(&self, now: Instant) -> u32 {
        stamp_of(nanos_between(self.0.0.epoch, now))
    }
}

/// Nanoseconds between two moments; none where the second is not the later one.
#[inline]
pub(crate) fn nanos_between(epoch: Instant, now: Instant) -> u64 {
    let since = now.saturating_duration_since(epoch);
    since.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(since.subsec_nanos()))
}

#[inline]
fn stamp_of(nanos: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "it comes round after 78 h, which the fading takes in")]
    let stamp = (nanos >> STAMP_SHIFT) as u32;
    stamp
}

/// The average and when it was last changed, in units of 2¹⁶ ns (66 µs).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Latency {
    stamp: u32,
    nanos: f32,
}

const STAMP_SHIFT: u32 = 16;
const UNITS_PER_DECAY: f32 = DECAY.as_secs_f32() * 1e9 / UNIT_NANOS;
const UNIT_NANOS: f32 = 65_536.0;

/// The exponent's place in an `f32`, and what it is for 1.
const EXPONENT_SHIFT: u32 = 23;
const EXPONENT_OF_ONE: u32 = 127;

/// Halved so often, no latency is left that counts.
const OCTAVES_MAX: f32 = 100.0;

impl Latency {
    #[inline]
    fn unpack(word: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "the two halves of a word")]
        let (stamp, bits) = ((word >> 32) as u32, word as u32);
        Self { stamp, nanos: f32::from_bits(bits) }
    }

    #[inline]
    fn pack(self) -> u64 {
        u64::from(self.stamp) << 32 | u64::from(self.nanos.to_bits())
    }

    /// How much of its weight is left at that time: 1 when it is not older.
    #[inline]
    fn weight(self, stamp: u32) -> f32 {
        let age = stamp.wrapping_sub(self.stamp);
        if age == 0 || age > u32::MAX / 2 {
            return 1.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "a weight")]
        let age = age as f32;
        (-age / UNITS_PER_DECAY).exp()
    }

    /// What is left of it at that time, to a thousandth: a comparison of two needs no more.
    ///
    /// A power of two is its exponent, and a polynomial within the octave; exact where nothing has faded.
    #[inline]
    fn faded_roughly(self, stamp: u32) -> f32 {
        let age = stamp.wrapping_sub(self.stamp);
        if age == 0 || age > u32::MAX / 2 {
            return self.nanos;
        }
        #[expect(clippy::cast_precision_loss, reason = "a weight")]
        let octaves = age as f32 * (std::f32::consts::LOG2_E / UNITS_PER_DECAY);
        if octaves >= OCTAVES_MAX {
            return 0.0;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below the greatest")]
        let whole = octaves as u32;
        #[expect(clippy::cast_precision_loss, reason = "small")]
        let part = octaves - whole as f32;
        let within = 1.0 - part * (0.692_0 - part * (0.233_6 - part * 0.041_6));
        self.nanos * within * f32::from_bits((EXPONENT_OF_ONE - whole) << EXPONENT_SHIFT)
    }

    #[inline]
    fn faded(self, stamp: u32) -> Self {
        Self { nanos: self.nanos * self.weight(stamp), ..self }
    }

    /// With one more latency; `None` when that changes nothing.
    fn observed(self, stamp: u32, elapsed: f32, verdict: Verdict) -> Option<Self> {
        let weight = self.weight(stamp);
        let now = self.nanos * weight;
        let nanos = match verdict {
            Verdict::Good if elapsed < self.nanos => (now + elapsed * (1.0 - weight)).max(KNOWN_NANOS_MIN),
            Verdict::Good => elapsed.max(KNOWN_NANOS_MIN),
            Verdict::Bad => elapsed.max(failure_nanos(elapsed.max(now))),
            Verdict::Unknown if elapsed > now => elapsed,
            Verdict::Unknown => return None,
        };
        let is_newer = stamp.wrapping_sub(self.stamp) <= u32::MAX / 2;
        Some(Self { stamp: if is_newer { stamp } else { self.stamp }, nanos })
    }
}

fn failure_nanos(nanos: f32) -> f32 {
    let (min, max) = (FAILURE_LATENCY_MIN.as_secs_f32() * 1e9, FAILURE_LATENCY_MAX.as_secs_f32() * 1e9);
    (nanos.max(min) * FAILURE_FACTOR).min(max)
}

#[cfg(test)]
mod tests;
