//! Passive ejection: an instance that does worse than it may, or than the others, is left out for a while.
//!
//! The caller tells a [`Detector`] what came of each attempt. Failures in a row eject at once; each interval the
//! rates of all instances are judged. What is out comes back with time alone, is out for longer each time in a row, and
//! for one time less with each interval of being in. Never more than the policy's share is out, but one may always be.
//!
//! Nothing is locked, and no task is needed: counts are atomics beside the member's load, who records first after an
//! interval judges all (O(n), some tens of microseconds for a thousand instances), and the pick reads one word of the
//! set as long as nobody is out, and one of the instance then.
//!
//! Sources: Envoy's "Outlier detection"; the table is `docs/outlier.md`.

mod detector;
mod standing;

use std::sync::atomic::AtomicU64;

use bowline_model::policy::{OpenFor, Share};
use bowline_runtime::time::{Duration, Instant};

pub(crate) use self::standing::Phase;
use self::standing::{Event, Standing};
pub use self::{
    detector::{Change, Detector},
    standing::{Why, diagram},
};
use crate::atom::Atom;

/// What is known of one instance's answers, on the cache line of its load.
#[derive(Debug)]
pub(crate) struct Record<A = AtomicU64> {
    /// A [`Standing`].
    standing: A,
    /// Calls of this interval: `all << 32 | bad`.
    calls: A,
    /// Failures in a row.
    row: A,
}

/// How many of a set are out, and how often that has changed.
#[derive(Debug)]
pub(crate) struct Room<A = AtomicU64> {
    out: A,
    changes: A,
}

/// An instance that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ejection {
    /// When it comes back.
    pub until: Instant,
    /// How often in a row it was ejected.
    pub in_a_row: u16,
    /// By which rule.
    pub why: Why,
}

/// What one instance's calls of an interval came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) all: u64,
    pub(crate) bad: u64,
}

impl<A: Atom> Record<A> {
    pub(crate) fn new() -> Self {
        Self { standing: A::new(Standing::START.pack()), calls: A::new(0), row: A::new(0) }
    }

    pub(crate) fn standing(&self) -> Standing {
        Standing::unpack(self.standing.load())
    }

    /// Whether it is to be left out; `now` in nanoseconds since the set was made.
    #[inline]
    pub(crate) fn is_ejected(&self, now: u64) -> bool {
        Standing::is_word_ejected(self.standing.load(), now)
    }

    /// When its time is over; zero of who is in.
    fn end(&self) -> Duration {
        match self.standing().phase {
            Phase::Out { until, .. } => until,
            _ => Duration::ZERO,
        }
    }

    /// Counts an answer; how many failures in a row it makes.
    #[inline]
    fn count(&self, ok: bool) -> u64 {
        self.calls.add(1 << 32 | u64::from(!ok));
        if !ok {
            return self.row.add(1) + 1;
        }
        // Mostly it is zero, and nothing is written.
        if self.row.load() != 0 {
            self.row.swap(0);
        }
        0
    }

    /// The calls since it was last asked.
    fn take_calls(&self) -> Calls {
        let word = self.calls.swap(0);
        Calls { all: word >> 32, bad: word & u64::from(u32::MAX) }
    }

    /// Ejects it, where it is in and less than `out_max` are out; whether it did.
    fn eject(&self, room: &Room<A>, out_max: u64, eject_for: OpenFor, why: Why, now: u64) -> bool {
        // The place is taken first: two that are found at once do not both take the last one.
        if room.out.update(|out| (out < out_max).then_some(out + 1)).is_err() {
            return false;
        }
        let is_ejected = self.step(room, eject_for, Event::Found(why), now);
        if is_ejected {
            self.row.swap(0);
        } else {
            room.leave();
        }
        is_ejected
    }

    /// Applies an event to the table, and tells the room who is back; whether it was ejected.
    fn step(&self, room: &Room<A>, eject_for: OpenFor, event: Event, now: u64) -> bool {
        let now = Duration::from_nanos(now);
        let step = |word| Standing::unpack(word).step(eject_for, event, now);
        let is_change = |word: &u64| step(*word).0.pack() != *word;
        let Ok(before) = self.standing.update(|word| Some(word).filter(is_change).map(|word| step(word).0.pack()))
        else {
            return false;
        };
        let effects = step(before).1;
        if effects.is_back {
            room.leave();
        }
        if effects.is_ejected || effects.is_back {
            room.changes.add(1);
        }
        effects.is_ejected
    }

    /// An interval is over; whether it was in before, so that it is to be judged.
    fn sweep(&self, room: &Room<A>, now: u64) -> bool {
        let was_in = self.standing().phase == Phase::In;
        self.step(room, NO_TIME, Event::Swept, now);
        was_in
    }

    /// It comes back at once.
    pub(crate) fn recall(&self, room: &Room<A>) {
        self.step(room, NO_TIME, Event::Recalled, 0);
    }

    /// It is of the set no longer: whatever is still told of it counts for nothing.
    pub(crate) fn leave(&self, room: &Room<A>) {
        self.step(room, NO_TIME, Event::Left, 0);
    }
}

impl Ejection {
    /// That of a standing in a set that was made at `epoch`.
    pub(crate) fn of(standing: Standing, epoch: Instant, now: Instant) -> Option<Self> {
        let Phase::Out { until, why } = standing.phase else { return None };
        let is_ejected = standing.is_ejected(now.saturating_duration_since(epoch));
        let until = epoch.checked_add(until).filter(|_| is_ejected)?;
        Some(Self { until, in_a_row: standing.ejections, why })
    }
}

/// For the events that eject nobody.
const NO_TIME: OpenFor = OpenFor::exactly(Duration::ZERO);

impl<A: Atom> Room<A> {
    pub(crate) fn new() -> Self {
        Self { out: A::new(0), changes: A::new(0) }
    }

    /// How many are out, those included whose time is over while no sweep has come by.
    #[inline]
    pub(crate) fn out(&self) -> u64 {
        self.out.load()
    }

    /// A number that is another whenever who is out is.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load()
    }

    fn leave(&self) {
        let left = self.out.update(|out| out.checked_sub(1));
        debug_assert!(left.is_ok(), "one came back that was not out");
    }
}

/// How many of so many may be out at a time: one always may.
pub(crate) fn out_max(share: Share, count: u64) -> u64 {
    (count * u64::from(share.millionths()) / 1_000_000).max(1)
}

#[cfg(test)]
mod tests;
