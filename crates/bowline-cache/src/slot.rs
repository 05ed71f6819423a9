//! One key of a cache: what is kept of it, and who loads it. The transition table.
//!
//! What is kept has three ends: until the first it is *fresh*, until the second it may be served while a new value is
//! loaded, until the third it may be served where a load failed. At most one load *counts* at a time. An invalidation
//! removes what is kept and makes the load under way count no longer: it runs on for those who waited for it before,
//! and what it brings is discarded. So **an invalidation during a load wins**.
//!
//! Times are milliseconds of [`bowline_runtime::time::coarse`].

use crate::RUNNING_MAX;

/// A moment, or a number of milliseconds.
pub(crate) type Ms = u64;

/// What is known of one key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    kept: Option<Kept>,
    /// The number of the load that counts.
    load: Option<u64>,
    /// How many loads run, those that count no longer too.
    running: u8,
    failed: Option<Failed>,
    /// The number of the next load.
    next: u64,
}

/// Until when it may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Kept {
    /// Until then it is fresh.
    pub(crate) fresh: Ms,
    /// Until then it is served while a new one is loaded; not before `fresh`.
    pub(crate) revalidate: Ms,
    /// Until then it is served where a load failed.
    pub(crate) if_error: Ms,
}

/// Loads that failed, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Failed {
    times: u32,
    /// None begins before then.
    until: Ms,
}

/// How long nobody loads after a load that failed: doubled with each further one, half of it up to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Backoff {
    pub(crate) min: Ms,
    pub(crate) max: Ms,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// Somebody asks for it.
    Get,
    /// A load brought something, or that there is nothing; and how long it is kept, if it is.
    Loaded { number: u64, keep: Option<Kept> },
    /// A load failed, by an error, a panic or its time.
    Failed { number: u64 },
    /// It has changed where it comes from.
    Invalidate,
}

/// When it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Moment {
    pub(crate) now: Ms,
    /// Whether every invalidation up to a little while ago is known to have been applied.
    pub(crate) is_followed: bool,
    pub(crate) luck: u16,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub(crate) enum Effect {
    /// What is kept is the answer.
    Serve,
    /// The same, and a load begins.
    ServeAndBegin { number: u64 },
    /// A load begins; who asked waits for it.
    Begin { number: u64 },
    /// Who asked waits for the load that counts.
    Wait,
    /// Who asked asks again when a load has ended.
    InLine,
    /// What is kept is the answer, since a load failed.
    ServeStale,
    /// The answer is the error of the load that failed.
    Refuse,
    /// What the load brought is kept, or nothing is.
    Keep,
    /// What the load brought goes to those who wait for it, and nowhere else.
    Discard,
    /// What is kept is to be dropped.
    Drop,
}

impl Slot {
    /// The same with what memory has of it now: it may drop it at any time.
    pub(crate) fn with(self, kept: Option<Kept>) -> Self {
        Self { kept, ..self }
    }

    /// Whether nothing is known of the key but what is kept.
    pub(crate) fn is_idle(&self) -> bool {
        self.load.is_none() && self.running == 0 && self.failed.is_none()
    }

    /// Whether forgetting all but what is kept costs no more than a back-off, and until when that is.
    pub(crate) fn is_spare(&self) -> Option<Ms> {
        self.failed.filter(|_| self.running == 0).map(|failed| failed.until)
    }

    /// The table.
    pub(crate) fn step(self, backoff: Backoff, event: Event, moment: Moment) -> (Self, Effect) {
        match event {
            Event::Get => self.get(moment),
            Event::Loaded { number, keep } if self.load == Some(number) => {
                (Self { kept: keep, load: None, failed: None, ..self.ended() }, Effect::Keep)
            }
            Event::Failed { number } if self.load == Some(number) => {
                let times = self.failed.map_or(0, |failed| failed.times).saturating_add(1);
                let until = moment.now.saturating_add(backoff.wait(times, moment.luck));
                let slot = Self { load: None, failed: Some(Failed { times, until }), ..self.ended() };
                (slot, if self.is_within_error(moment) { Effect::ServeStale } else { Effect::Refuse })
            }
            Event::Loaded { .. } | Event::Failed { .. } => (self.ended(), Effect::Discard),
            // The back-off stays: invalidations must not make a storm of a loader that fails.
            Event::Invalidate => (Self { kept: None, load: None, ..self }, Effect::Drop),
        }
    }

    fn get(self, moment: Moment) -> (Self, Effect) {
        let Moment { now, is_followed, .. } = moment;
        let is_resting = self.failed.is_some_and(|failed| failed.until > now);
        let may_begin = self.load.is_none() && !is_resting && self.running < RUNNING_MAX;
        let kept = self.kept.filter(|_| is_followed);
        if kept.is_some_and(|kept| now < kept.fresh) {
            return (self, Effect::Serve);
        }
        if kept.is_some_and(|kept| now < kept.revalidate) {
            return if may_begin {
                self.begin(|number| Effect::ServeAndBegin { number })
            } else {
                (self, Effect::Serve)
            };
        }
        match self.load {
            Some(_) => (self, Effect::Wait),
            None if is_resting && self.is_within_error(moment) => (self, Effect::ServeStale),
            None if is_resting => (self, Effect::Refuse),
            None if may_begin => self.begin(|number| Effect::Begin { number }),
            None => (self, Effect::InLine),
        }
    }

    fn begin(self, effect: impl FnOnce(u64) -> Effect) -> (Self, Effect) {
        let number = self.next;
        (Self { load: Some(number), running: self.running + 1, next: number + 1, ..self }, effect(number))
    }

    fn ended(self) -> Self {
        Self { running: self.running.saturating_sub(1), ..self }
    }

    fn is_within_error(&self, moment: Moment) -> bool {
        self.kept.is_some_and(|kept| moment.now < kept.if_error)
    }
}

impl Backoff {
    fn wait(self, times: u32, luck: u16) -> Ms {
        let doubled = self.min.saturating_mul(1_u64.checked_shl(times.saturating_sub(1)).unwrap_or(u64::MAX));
        let whole = doubled.clamp(1, self.max.max(1));
        let half = whole / 2;
        half + (whole - half).saturating_mul(u64::from(luck)) / u64::from(u16::MAX)
    }
}

#[cfg(test)]
mod tests;
