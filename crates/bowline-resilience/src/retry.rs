//! Retries: how many the traffic can bear, how long to wait, and what may be sent twice.

use std::time::SystemTime;

use bowline_model::policy::{Backoff, RetryPolicy, Share};
use bowline_runtime::{
    metric::Padded,
    time::{self, Duration, Instant},
};

use crate::{
    nanos::nanos,
    sync::{AtomicU64, Ordering::Relaxed},
};

/// The time over which a deposit loses its worth.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Retries a second that are granted whatever the traffic.
pub const FLOOR_PER_SECOND: u32 = 10;

/// How many retries the traffic can bear.
///
/// Two pots, each one atomic word, so that no race grants a retry twice:
///
/// - the **share**: each first attempt deposits the policy's share of a retry; what lies there
///   fades with a time constant of [`WINDOW`], so that quiet hours do not pay for a storm;
/// - the **floor**: [`FLOOR_PER_SECOND`] a second, at most one second's worth at once, so that
///   little traffic can retry too.
///
/// In the long run retries are at most `share × first attempts + 10 a second`. One budget for each
/// upstream, shared by all cores. Lock-free; nothing is allocated.
///
/// Sources: Finagle's `RetryBudget` (share, floor, ten seconds); the floor is the generic cell rate
/// algorithm, ITU-T I.371.
#[derive(Debug)]
pub struct Budget {
    /// Share of a retry that one first attempt deposits, in millionths.
    share: u64,
    born: Instant,
    /// `tick << 40 | millionths of a retry`, see [`Pot`].
    pot: Padded<AtomicU64>,
    /// When the floor will be full again, in nanoseconds since `born`.
    floor_full_at: Padded<AtomicU64>,
}

/// Millionths of a retry.
const RETRY: u64 = 1_000_000;
const FLOOR_NANOS: u64 = 1_000_000_000 / FLOOR_PER_SECOND as u64;
const FLOOR_FULL_NANOS: u64 = 1_000_000_000;

impl Budget {
    /// A budget of the policy's share, with an empty pot and a full floor.
    pub fn new(policy: &RetryPolicy) -> Self {
        Self::of(policy.budget)
    }

    /// A budget of that share.
    pub fn of(share: Share) -> Self {
        Self {
            share: u64::from(share.millionths()),
            born: time::now(),
            pot: Padded::default(),
            floor_full_at: Padded::default(),
        }
    }

    /// Counts a first attempt. Once for each call, not for its retries.
    #[inline]
    pub fn deposit(&self, now: Instant) {
        if self.share > 0 {
            let tick = self.tick(now);
            let deposited = |word| Some(Pot::unpack(word).at(tick).plus(self.share).pack());
            self.pot.0.fetch_update(Relaxed, Relaxed, deposited).expect("a deposit always succeeds");
        }
    }

    /// Takes one retry out; false when there is none, and the failure must stand.
    pub fn try_withdraw(&self, now: Instant) -> bool {
        let tick = self.tick(now);
        let withdrawn = |word| Pot::unpack(word).at(tick).minus(RETRY).map(Pot::pack);
        self.pot.0.fetch_update(Relaxed, Relaxed, withdrawn).is_ok() || self.try_floor(now)
    }

    fn try_floor(&self, now: Instant) -> bool {
        let now = nanos(now.saturating_duration_since(self.born));
        self.floor_full_at.0.fetch_update(Relaxed, Relaxed, |full_at| floor_after(full_at, now)).is_ok()
    }

    fn tick(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.born)) / TICK_NANOS
    }
}

/// When the floor is full again after one more retry; `None` where it has none left.
fn floor_after(full_at: u64, now: u64) -> Option<u64> {
    let next = full_at.max(now).saturating_add(FLOOR_NANOS);
    (next - now <= FLOOR_FULL_NANOS).then_some(next)
}

/// The share's pot unpacked: 24 bits of tick (121 days), 40 bits of millionths (a million retries).
#[derive(Debug, Clone, Copy)]
struct Pot {
    tick: u64,
    millionths: u64,
}

/// The pot fades by a sixteenth each sixteenth of the window.
const FADE_SHIFT: u32 = 4;
const TICK_NANOS: u64 = (WINDOW.as_secs() * 1_000_000_000) >> FADE_SHIFT;
const POT_BITS: u32 = 40;
const POT_MAX: u64 = (1 << POT_BITS) - 1;
const TICK_MASK: u64 = (1 << (64 - POT_BITS)) - 1;
/// After so many ticks nothing worth counting is left of a full pot.
const FADED_TICKS: u64 = 256;

impl Pot {
    #[inline]
    fn unpack(word: u64) -> Self {
        Self { tick: word >> POT_BITS, millionths: word & POT_MAX }
    }

    #[inline]
    fn pack(self) -> u64 {
        self.tick << POT_BITS | self.millionths
    }

    /// The pot at that tick; a thread whose clock reading is older leaves it as it is.
    #[inline]
    fn at(self, tick: u64) -> Self {
        let age = tick.wrapping_sub(self.tick) & TICK_MASK;
        match age {
            0 => self,
            age if age > TICK_MASK / 2 => self,
            age => Self { tick: tick & TICK_MASK, millionths: faded(self.millionths, age) },
        }
    }

    #[inline]
    fn plus(self, millionths: u64) -> Self {
        Self { millionths: (self.millionths + millionths).min(POT_MAX), ..self }
    }

    #[inline]
    fn minus(self, millionths: u64) -> Option<Self> {
        Some(Self { millionths: self.millionths.checked_sub(millionths)?, ..self })
    }
}

#[cold]
fn faded(millionths: u64, ticks: u64) -> u64 {
    if ticks > FADED_TICKS {
        return 0;
    }
    (0..ticks).fold(millionths, |left, _| left - (left >> FADE_SHIFT))
}

/// How long to wait before a retry: full jitter.
///
/// `retry` counts from 1; `unit` is random in [0, 1) ([`bowline_runtime::rand::unit`]). The wait is
/// that share of `min × 2^(retry - 1)`, and of `max` at most: spread over the whole range, since
/// callers that failed together must not come back together.
///
/// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full
/// jitter").
pub fn backoff(bounds: &Backoff, retry: u32, unit: f64) -> Duration {
    let doublings = retry.saturating_sub(1);
    let bound = 2u32.checked_pow(doublings).and_then(|factor| bounds.min.checked_mul(factor));
    let bound = bound.map_or(bounds.max, |bound| bound.min(bounds.max));
    let unit = if unit.is_finite() { unit.clamp(0.0, 1.0) } else { 1.0 };
    bound.mul_f64(unit)
}

/// Whether a request may be sent twice although its first attempt may have had its effect.
///
/// The idempotent methods of RFC 9110, section 9.2.2 (case-sensitive, as methods are), and any
/// method when the request carries an `Idempotency-Key` that its receiver honours.
pub fn is_idempotent(method: &str, has_idempotency_key: bool) -> bool {
    has_idempotency_key || matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

/// The longest wait that an answer may ask for: beyond it there is no retry of the same call.
pub const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// What an answer says of when to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushback {
    /// Not before that time is over.
    After(Duration),
    /// Not at all.
    Never,
}

/// Reads a `Retry-After` (RFC 9110, section 10.2.3) at that time: a number of seconds, or a date. `None` where it is
/// neither.
pub fn retry_after(value: &[u8], wall: SystemTime) -> Option<Pushback> {
    let text = str::from_utf8(value).ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let wait = if is_number {
        // What has more digits than a u64 is longer than any wait of ours.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(wall).unwrap_or_default()
    };
    Some(if wait > RETRY_AFTER_MAX { Pushback::Never } else { Pushback::After(wait) })
}

/// Reads a `grpc-retry-pushback-ms`: a negative number, or none, forbids the retry.
///
/// Source: gRPC's proposal A6, "client retries".
pub fn grpc_pushback(value: &[u8]) -> Pushback {
    let millis = str::from_utf8(value).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let wait = millis.map(Duration::from_millis).filter(|wait| *wait <= RETRY_AFTER_MAX);
    wait.map_or(Pushback::Never, Pushback::After)
}

#[cfg(test)]
mod proof;
#[cfg(all(test, bowline_shuttle))]
mod schedules;
#[cfg(test)]
mod tests;
