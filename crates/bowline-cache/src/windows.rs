//! For how long something may be served.

use std::time::Duration;

use bowline_model::units::Share;

use crate::{
    slot::{Kept, Ms},
    strategy::Choice,
};

/// The longest that [`Choice::Lru`] keeps something, unless the cache's own time is longer.
const LRU_MAX: Ms = 3_600_000;
/// How many times as long as the cache's own time [`Choice::Lru`] keeps something.
const LRU_TIMES: u64 = 12;

/// The windows of a cache, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windows {
    pub(crate) ttl: Ms,
    /// Up to which share of its time something is kept shorter, so that what was loaded together is not over together.
    pub(crate) jitter: Share,
    /// For how long it is known that there is nothing; 0: not at all.
    pub(crate) nothing_for: Ms,
    /// For how long after it was fresh something is served while it is loaded again; 0: not at all.
    pub(crate) stale_while_revalidate: Ms,
    /// For how long after it was fresh something is served where a load fails; 0: not at all.
    pub(crate) stale_if_error: Ms,
}

impl Windows {
    /// The ends of what was loaded from that moment on; none where it is not kept. Luck is from 0 to 1.
    pub(crate) fn ends(&self, choice: Choice, is_nothing: bool, began: Ms, luck: f64) -> Option<Kept> {
        let whole = Some(self.whole(choice, is_nothing)).filter(|whole| *whole > 0)?;
        Some(self.from(began.saturating_add(shortened(whole, self.jitter, luck)), is_nothing))
    }

    /// For how long something is kept at most, from the beginning of its load on; 0: not at all.
    pub(crate) fn whole(&self, choice: Choice, is_nothing: bool) -> Ms {
        match choice {
            Choice::NoCache => 0,
            Choice::Lru if !is_nothing => self.lru(),
            Choice::Ttl(ttl) if !is_nothing => ttl,
            Choice::Lru | Choice::Ttl(_) => self.nothing_for,
        }
    }

    /// The ends of what is fresh until then.
    pub(crate) fn from(&self, fresh: Ms, is_nothing: bool) -> Kept {
        if is_nothing {
            return Kept { fresh, revalidate: fresh, if_error: 0 };
        }
        let if_error = if self.stale_if_error == 0 { 0 } else { fresh.saturating_add(self.stale_if_error) };
        Kept { fresh, revalidate: fresh.saturating_add(self.stale_while_revalidate), if_error }
    }

    /// For how long [`Choice::Lru`] keeps something.
    pub(crate) fn lru(&self) -> Ms {
        self.ttl.saturating_mul(LRU_TIMES).min(LRU_MAX).max(self.ttl)
    }
}

fn shortened(whole: Ms, jitter: Share, luck: f64) -> Ms {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and chance needs no precision"
    )]
    let less = (whole as f64 * jitter.ratio() * luck) as Ms;
    whole.saturating_sub(less).max(1)
}

/// Milliseconds, rounded up, so that what is not zero stays so.
pub(crate) fn ms(duration: Duration) -> Ms {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows {
        ttl: 1000,
        jitter: Share::from_percent(10),
        nothing_for: 100,
        stale_while_revalidate: 50,
        stale_if_error: 500,
    };

    #[test]
    fn the_ends_are_counted_from_the_beginning_of_the_load() {
        let ends = |choice, is_nothing, luck| WINDOWS.ends(choice, is_nothing, 5000, luck);
        let kept = |fresh, revalidate, if_error| Some(Kept { fresh, revalidate, if_error });
        assert_eq!(ends(Choice::Ttl(1000), false, 0.0), kept(6000, 6050, 6500));
        assert_eq!(ends(Choice::Ttl(1000), false, 1.0), kept(5900, 5950, 6400), "it is kept shorter by up to a tenth");
        assert_eq!(ends(Choice::Ttl(1000), true, 0.0), kept(5100, 5100, 0), "nothing is never stale");
        assert_eq!(ends(Choice::Lru, false, 0.0), kept(17_000, 17_050, 17_500));
        assert_eq!(ends(Choice::NoCache, false, 0.0), None);
        assert_eq!(Windows { nothing_for: 0, ..WINDOWS }.ends(Choice::Lru, true, 0, 0.0), None);
        assert_eq!(Windows { stale_if_error: 0, ..WINDOWS }.from(10, false).if_error, 0);
    }

    #[test]
    fn lru_keeps_no_longer_than_an_hour_unless_it_is_told_to() {
        assert_eq!(Windows { ttl: 600_000, ..WINDOWS }.lru(), 3_600_000);
        assert_eq!(Windows { ttl: 7_200_000, ..WINDOWS }.lru(), 7_200_000);
    }
}
