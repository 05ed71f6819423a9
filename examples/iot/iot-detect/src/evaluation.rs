//! What a detector found of what there was: precision, recall and delay of each kind, false episodes a day.

use std::{collections::BTreeMap, fmt};

use crate::{
    Change, Event, HOUR_MS, Kind,
    number::{real, real_count, whole},
};

/// How long after a fault it is still found.
const FOUND_MS: i64 = HOUR_MS;

/// How long after a fault an episode is still of it: values that come back are a shift, too.
const AFTERMATH_MS: i64 = 2 * HOUR_MS;

/// Something that is wrong with a series, as a label says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What; none where the label does not say it.
    pub kind: Option<Kind>,
    /// In milliseconds since 1970.
    pub from_ms: i64,
    pub to_ms: i64,
}

/// Something a detector found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Episode {
    pub kind: Kind,
    /// In milliseconds since 1970.
    pub from_ms: i64,
    /// None where it was not over at the end.
    pub to_ms: Option<i64>,
    /// How far it was at its beginning, as a multiple of the limit.
    pub score: f64,
}

/// The episodes that events tell of, in the order of their beginnings.
pub fn episodes(events: impl IntoIterator<Item = Event>) -> Vec<Episode> {
    let mut episodes: Vec<Episode> = Vec::new();
    for Event { at_ms, kind, change, score, .. } in events {
        if change == Change::Began {
            episodes.push(Episode { kind, from_ms: at_ms, to_ms: None, score });
        } else if let Some(open) = episodes.iter_mut().rfind(|episode| episode.kind == kind) {
            open.to_ms = Some(at_ms);
        }
    }
    episodes
}

/// What was found of many series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    faults: BTreeMap<Option<Kind>, Found>,
    alarms: BTreeMap<Kind, Alarms>,
    judged_ms: i64,
}

/// Of the faults of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Found {
    count: usize,
    /// From the fault's beginning to the first episode's, of those that were found; in order.
    delays_ms: Vec<i64>,
    /// Those that an episode of their own kind found.
    named: usize,
}

/// Of the episodes of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Alarms {
    right: usize,
    wrong: usize,
}

impl Report {
    /// Adds a series that was judged for so long.
    ///
    /// A fault is found by an episode of any kind that begins within it, or an hour after; an episode is wrong that
    /// begins neither within a fault nor two hours after.
    pub fn add(&mut self, faults: &[Fault], episodes: &[Episode], judged_ms: i64) {
        self.judged_ms = self.judged_ms.saturating_add(judged_ms);
        for fault in faults {
            let of_it = || episodes.iter().filter(|episode| is_within(episode, fault, FOUND_MS));
            let found = self.faults.entry(fault.kind).or_default();
            found.count += 1;
            found.named += usize::from(of_it().any(|episode| Some(episode.kind) == fault.kind));
            if let Some(first_ms) = of_it().map(|episode| episode.from_ms).min() {
                let delay_ms = first_ms - fault.from_ms;
                found.delays_ms.insert(found.delays_ms.partition_point(|other| *other <= delay_ms), delay_ms);
            }
        }
        for episode in episodes {
            let alarms = self.alarms.entry(episode.kind).or_default();
            if faults.iter().any(|fault| is_within(episode, fault, AFTERMATH_MS)) {
                alarms.right += 1;
            } else {
                alarms.wrong += 1;
            }
        }
    }

    /// The share of the faults of a kind that were found; nothing where there were none.
    pub fn recall(&self, kind: Option<Kind>) -> Option<f64> {
        let found = self.faults.get(&kind)?;
        share(found.delays_ms.len(), found.count)
    }

    /// The share of all faults that were found; nothing where there were none.
    pub fn recall_of_all(&self) -> Option<f64> {
        let all = self.faults.values();
        let (found, count) = all.fold((0, 0), |(found, count), of| (found + of.delays_ms.len(), count + of.count));
        share(found, count)
    }

    /// The share of the faults of a kind that an episode of that kind found; nothing where there were none.
    pub fn named(&self, kind: Kind) -> Option<f64> {
        let found = self.faults.get(&Some(kind))?;
        share(found.named, found.count)
    }

    /// The share of the episodes of a kind that were right; nothing where there were none.
    pub fn precision(&self, kind: Kind) -> Option<f64> {
        let alarms = self.alarms.get(&kind)?;
        share(alarms.right, alarms.right + alarms.wrong)
    }

    /// The delay that such a share of the faults of a kind that were found was not above.
    pub fn delay_ms(&self, kind: Option<Kind>, of: f64) -> Option<i64> {
        let delays_ms = &self.faults.get(&kind)?.delays_ms;
        let index = whole((of * real_count(delays_ms.len())).ceil()).saturating_sub(1);
        delays_ms.get(usize::try_from(index).unwrap_or_default()).copied()
    }

    /// Wrong episodes for each day that a series was judged.
    pub fn wrong_per_day(&self) -> f64 {
        let wrong: usize = self.alarms.values().map(|alarms| alarms.wrong).sum();
        if self.judged_ms > 0 { real_count(wrong) / self.judged_days() } else { 0.0 }
    }

    /// How long series were judged, together.
    pub fn judged_days(&self) -> f64 {
        real(self.judged_ms) / real(crate::DAY_MS)
    }
}

fn is_within(episode: &Episode, fault: &Fault, after_ms: i64) -> bool {
    (fault.from_ms..=fault.to_ms.saturating_add(after_ms)).contains(&episode.from_ms)
}

fn share(part: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| real_count(part) / real_count(of))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<9}{:>8}{:>8}{:>8}{:>8}{:>14}{:>14}",
            "fault", "count", "found", "recall", "named", "delay, half", "delay, 90 %"
        )?;
        for (kind, found) in &self.faults {
            let name = kind.map_or("labelled", Kind::name);
            let recall = self.recall(*kind).unwrap_or_default();
            let named = kind.and_then(|kind| self.named(kind));
            let named = named.map_or_else(|| "-".to_owned(), |named| format!("{named:.3}"));
            write!(f, "{name:<9}{:>8}{:>8}{recall:>8.3}{named:>8}", found.count, found.delays_ms.len())?;
            let delay = |of| self.delay_ms(*kind, of).map_or_else(|| "-".to_owned(), minutes);
            writeln!(f, "{:>14}{:>14}", delay(0.5), delay(0.9))?;
        }
        writeln!(f, "\n{:<9}{:>8}{:>8}{:>8}{:>11}", "episode", "count", "right", "wrong", "precision")?;
        for (kind, Alarms { right, wrong }) in &self.alarms {
            let precision = self.precision(*kind).unwrap_or_default();
            writeln!(f, "{kind:<9}{:>8}{right:>8}{wrong:>8}{precision:>11.3}", right + wrong)?;
        }
        let (wrong, days) = (self.wrong_per_day(), self.judged_days());
        writeln!(f, "\n{wrong:.4} wrong episodes a day, of {days:.1} days judged")
    }
}

fn minutes(span_ms: i64) -> String {
    format!("{} min", whole(real(span_ms) / 60_000.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_ms: i64, kind: Kind, change: Change) -> Event {
        Event { at_ms, kind, change, score: 1.5, value: None, expected: None }
    }

    #[test]
    fn beginnings_and_ends_are_episodes() {
        let told = [
            event(1, Kind::Spike, Change::Began),
            event(2, Kind::Drift, Change::Began),
            event(3, Kind::Spike, Change::Ended),
            event(4, Kind::Spike, Change::Began),
        ];
        let found: Vec<_> = episodes(told).iter().map(|found| (found.kind, found.from_ms, found.to_ms)).collect();
        assert_eq!(found, [(Kind::Spike, 1, Some(3)), (Kind::Drift, 2, None), (Kind::Spike, 4, None)]);
    }

    #[test]
    fn what_is_found_and_what_is_wrong_is_counted() {
        let fault = |kind, from, to| Fault { kind: Some(kind), from_ms: from * HOUR_MS, to_ms: to * HOUR_MS };
        let episode = |kind, from| Episode { kind, from_ms: from * HOUR_MS, to_ms: None, score: 2.0 };
        let faults = [fault(Kind::Shift, 10, 14), fault(Kind::Shift, 30, 34), fault(Kind::Stuck, 50, 51)];
        let found = [
            episode(Kind::Spike, 9),  // Before: wrong.
            episode(Kind::Spike, 12), // It finds the shift, by another name.
            episode(Kind::Shift, 13),
            episode(Kind::Shift, 36), // Of the shift's end, which is not found any more.
            episode(Kind::Stuck, 52),
            episode(Kind::Stuck, 54), // Too late: wrong.
        ];
        let mut report = Report::default();
        report.add(&faults, &found, 4 * crate::DAY_MS);
        assert_eq!((report.recall(Some(Kind::Shift)), report.recall(Some(Kind::Stuck))), (Some(0.5), Some(1.0)));
        assert_eq!(report.recall(Some(Kind::Drift)), None);
        assert_eq!((report.recall_of_all(), Report::default().recall_of_all()), (Some(2.0 / 3.0), None));
        assert_eq!(report.delay_ms(Some(Kind::Shift), 0.5), Some(2 * HOUR_MS));
        assert_eq!((report.precision(Kind::Spike), report.precision(Kind::Shift)), (Some(0.5), Some(1.0)));
        assert!((report.wrong_per_day() - 0.5).abs() < 1e-9);
        let text = report.to_string();
        assert!(text.contains("shift           2       1   0.500   0.500"), "{text}");
    }
}
