//! One slot of the shared level, and the marks of its cache. The transition table.
//!
//! A slot that was asked for and has nothing is *empty*, and called by a ticket; who has the ticket may *fill* it. An
//! invalidation makes it *absent* again: the ticket is good no more. Other providers do the same in their own words.

use crate::{Mark, slot::Ms};

/// What a slot has; `T` is a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Slot<T> {
    Absent,
    /// Somebody loads what is to be here.
    Empty {
        ticket: u64,
        until: Ms,
    },
    Full {
        value: T,
        until: Ms,
    },
}

/// What a slot answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Answer<T> {
    Hit { value: T, left: Ms },
    Ticket(u64),
}

/// What a mark means for invalidations from a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Judged {
    /// They come next.
    Next,
    /// They were applied before.
    Known,
    /// Some before them were not.
    Missing,
}

impl<T: Clone> Slot<T> {
    /// What it has now; else the ticket that it has, or this one from now on.
    pub(crate) fn get(self, now: Ms, ticket: u64, ticket_for: Ms) -> (Self, Answer<T>) {
        match self.at(now) {
            Self::Full { value, until } => {
                let answer = Answer::Hit { value: value.clone(), left: until - now };
                (Self::Full { value, until }, answer)
            }
            Self::Empty { ticket, until } => (Self::Empty { ticket, until }, Answer::Ticket(ticket)),
            Self::Absent => {
                let until = now.saturating_add(ticket_for);
                (Self::Empty { ticket, until }, Answer::Ticket(ticket))
            }
        }
    }

    /// Puts a value, where it still has that ticket.
    pub(crate) fn fill(self, now: Ms, ticket: u64, value: T, until: Ms) -> (Self, bool) {
        match self.at(now) {
            Self::Empty { ticket: has, .. } if has == ticket => (Self::Full { value, until }, true),
            other => (other, false),
        }
    }

    /// What is over is absent.
    pub(crate) fn at(self, now: Ms) -> Self {
        match self {
            Self::Empty { until, .. } | Self::Full { until, .. } if until <= now => Self::Absent,
            other => other,
        }
    }
}

/// Judges invalidations after one mark up to another by the mark of their feed.
///
/// Positions of a feed that was made anew begin again: where another message stands at one of theirs, who asks and
/// whoever applied the mark do not follow the same feed.
pub(crate) fn judge(mark: Option<&Mark>, after: &Mark, upto: &Mark) -> Judged {
    match mark {
        Some(mark) if mark.is_of_another_feed(after) || mark.is_of_another_feed(upto) => Judged::Missing,
        Some(mark) if mark.position >= upto.position => Judged::Known,
        Some(mark) if mark.position >= after.position => Judged::Next,
        Some(_) | None => Judged::Missing,
    }
}

#[cfg(test)]
mod tests;
