//! The table of one instance's ejection: `step(standing, event, now) -> (standing, effects)`, and its diagram.
//!
//! Pure: [`Record`](super::Record) runs it in a compare-and-swap on one word, the model checker explores it
//! exhaustively, and [`diagram`] draws it. Whether there is room for one more to be out is the set's matter, and is
//! settled before an event arrives here. Times are durations since the set was made.

use std::{fmt::Write as _, time::Duration};

use bowline_model::policy::OpenFor;

/// Where an instance stands with the detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Standing {
    pub(crate) phase: Phase,
    /// How often it was ejected in a row: one less for each interval of being in.
    pub(crate) ejections: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    In,
    Out {
        until: Duration,
        why: Why,
    },
    /// It is of the set no longer.
    Gone,
}

/// Why an instance was ejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// So many failures in a row.
    Consecutive,
    /// Its share of failures in an interval reached the limit.
    FailureRate,
    /// Its share of successes in an interval was too far below those of the others.
    SuccessRate,
}

impl Why {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Consecutive, Self::FailureRate, Self::SuccessRate];

    /// Its name, as metrics and listings have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Consecutive => "consecutive",
            Self::FailureRate => "failure_rate",
            Self::SuccessRate => "success_rate",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// It was found to do worse than it may, and there is room for one more to be out.
    Found(Why),
    /// An interval is over.
    Swept,
    /// More are out than may be, since the set has shrunk; or nobody judges any more.
    Recalled,
    /// It is of the set no longer.
    Left,
}

/// What the set is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Effects {
    /// One more is out.
    pub(crate) is_ejected: bool,
    /// One less is out.
    pub(crate) is_back: bool,
}

impl Standing {
    pub(crate) const START: Self = Self { phase: Phase::In, ejections: 0 };

    /// The transition table.
    pub(crate) fn step(self, eject_for: OpenFor, event: Event, now: Duration) -> (Self, Effects) {
        let back = Effects { is_back: true, ..Effects::default() };
        match (self.phase, event) {
            (Phase::In, Event::Found(why)) => {
                (self.eject(eject_for, why, now), Effects { is_ejected: true, is_back: false })
            }
            // Its time was over, though no sweep has come by.
            (Phase::Out { until, .. }, Event::Found(why)) if now >= until => {
                (self.eject(eject_for, why, now), Effects { is_ejected: true, is_back: true })
            }
            (Phase::In, Event::Swept) => {
                (Self { ejections: self.ejections.saturating_sub(1), ..self }, Effects::default())
            }
            (Phase::Out { until, .. }, Event::Swept) if now >= until => (Self { phase: Phase::In, ..self }, back),
            (Phase::Out { .. }, Event::Recalled) => (Self { phase: Phase::In, ..self }, back),
            (Phase::Out { .. }, Event::Left) => (Self { phase: Phase::Gone, ..self }, back),
            (Phase::In, Event::Left) => (Self { phase: Phase::Gone, ..self }, Effects::default()),
            (Phase::Out { .. }, Event::Found(_) | Event::Swept) | (Phase::In, Event::Recalled) | (Phase::Gone, _) => {
                (self, Effects::default())
            }
        }
    }

    /// Whether it is to be left out: what is out comes back with time alone.
    pub(crate) fn is_ejected(self, now: Duration) -> bool {
        matches!(self.phase, Phase::Out { until, .. } if now < until)
    }

    /// Each time in a row it is out for as much longer as the first time.
    fn eject(self, eject_for: OpenFor, why: Why, now: Duration) -> Self {
        let ejections = self.ejections.saturating_add(1);
        let time = eject_for.min.saturating_mul(u32::from(ejections)).min(eject_for.max);
        Self { phase: Phase::Out { until: now.saturating_add(time), why }, ejections }
    }
}

/// `until` in units of 2²⁰ ns (1 ms), then the ejections, then why, then the phase.
const UNTIL_SHIFT: u32 = 20;
const EJECTIONS_SHIFT: u32 = 4;
const WHY_SHIFT: u32 = 2;
const PHASE_MASK: u64 = 3;
const OUT: u64 = 1;
const GONE: u64 = 2;

impl Standing {
    /// As one word. The end of an ejection is rounded up to a millisecond, or so.
    pub(crate) fn pack(self) -> u64 {
        let ejections = u64::from(self.ejections) << EJECTIONS_SHIFT;
        match self.phase {
            Phase::In => ejections,
            Phase::Gone => ejections | GONE,
            Phase::Out { until, why } => {
                let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
                let units = nanos.div_ceil(1 << UNTIL_SHIFT).min((1 << (64 - UNTIL_SHIFT)) - 1);
                units << UNTIL_SHIFT | ejections | (why as u64) << WHY_SHIFT | OUT
            }
        }
    }

    pub(crate) fn unpack(word: u64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "sixteen bits of the word")]
        let ejections = (word >> EJECTIONS_SHIFT) as u16;
        let phase = match word & PHASE_MASK {
            OUT => {
                let why = Why::ALL[usize::try_from(word >> WHY_SHIFT & 3).expect("two bits")];
                Phase::Out { until: Duration::from_nanos(word >> UNTIL_SHIFT << UNTIL_SHIFT), why }
            }
            GONE => Phase::Gone,
            _ => Phase::In,
        };
        Self { phase, ejections }
    }

    /// [`Standing::is_ejected`] of a word, for the pick; `now` in nanoseconds.
    #[inline]
    pub(crate) fn is_word_ejected(word: u64, now: u64) -> bool {
        word & PHASE_MASK == OUT && now < word >> UNTIL_SHIFT << UNTIL_SHIFT
    }
}

/// The table as a Mermaid state diagram, drawn by running it.
///
/// `docs/outlier.md` holds the same text.
pub fn diagram() -> String {
    const SECOND: Duration = Duration::from_secs(1);
    let eject_for = OpenFor { min: SECOND * 30, max: SECOND * 300 };
    let at = |phase| Standing { phase, ejections: 1 };
    let out = at(Phase::Out { until: SECOND, why: Why::Consecutive });
    let (early, late) = (Duration::ZERO, SECOND);
    let cases = [
        (at(Phase::In), Event::Found(Why::Consecutive), early, "failures in a row, or a rate out of bounds"),
        (at(Phase::In), Event::Swept, early, "an interval is over: one ejection less in a row"),
        (at(Phase::In), Event::Recalled, early, "fewer may be out, or nobody judges"),
        (at(Phase::In), Event::Left, early, "it left the set"),
        (out, Event::Found(Why::Consecutive), early, "found again before its time is over"),
        (out, Event::Found(Why::Consecutive), late, "found again after its time, before an interval is over"),
        (out, Event::Swept, early, "an interval is over before its time is"),
        (out, Event::Swept, late, "an interval is over after its time"),
        (out, Event::Recalled, early, "fewer may be out, or nobody judges"),
        (out, Event::Left, early, "it left the set"),
        (at(Phase::Gone), Event::Found(Why::Consecutive), early, "whatever late answers say"),
    ];
    let name = |standing: Standing| match standing.phase {
        Phase::In => "In",
        Phase::Out { .. } => "Out",
        Phase::Gone => "Gone",
    };
    let mut text = "stateDiagram-v2\n    [*] --> In\n".to_owned();
    for (standing, event, now, label) in cases {
        let (next, Effects { is_ejected, is_back }) = standing.step(eject_for, event, now);
        let effect = match (is_ejected, is_back) {
            (true, true) => " / back, and out for longer",
            (true, false) => " / out",
            (false, true) => " / back",
            (false, false) => "",
        };
        writeln!(text, "    {} --> {}: {label}{effect}", name(standing), name(next)).expect("a String takes any text");
    }
    text
}

#[cfg(test)]
mod tests;
