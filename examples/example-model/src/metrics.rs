//! How good scores are, held against what came out: of each row, whether it was what is looked for.

use serde::{Deserialize, Serialize};

use crate::real;

/// What a threshold does to a set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operating {
    /// The share of what is looked for among what it flags.
    pub precision: f64,
    /// The share of what is looked for that it flags.
    pub recall: f64,
    /// The share of all that it flags.
    pub flagged: f64,
}

impl Operating {
    /// All of it [`rounded`].
    pub fn rounded(self) -> Self {
        let Self { precision, recall, flagged } = self;
        Self { precision: rounded(precision), recall: rounded(recall), flagged: rounded(flagged) }
    }
}

/// To four digits: more says nothing.
pub fn rounded(share: f64) -> f64 {
    (share * 10_000.0).round() / 10_000.0
}

/// The chance that what is looked for scores higher than what is not; of equals half counts. 0.5 is guessing.
///
/// NaN where one of both is missing.
pub fn roc_auc(scores: &[f64], labels: &[bool]) -> f64 {
    let (mut pairs, mut wanted, mut others) = (0.0, 0.0, 0.0);
    // From the lowest: each that is looked for beats all others below it.
    for group in groups(scores, labels) {
        pairs += group.wanted * (others + group.others / 2.0);
        wanted += group.wanted;
        others += group.others;
    }
    pairs / (wanted * others)
}

/// The precision at each that is looked for, of all that scores as high, on average: the area below precision over
/// recall. Guessing gives the share of what is looked for.
///
/// NaN where there is none.
pub fn average_precision(scores: &[f64], labels: &[bool]) -> f64 {
    let (mut sum, mut wanted, mut all) = (0.0, 0.0, 0.0);
    for group in groups(scores, labels).into_iter().rev() {
        wanted += group.wanted;
        all += group.wanted + group.others;
        sum += group.wanted * wanted / all;
    }
    sum / wanted
}

/// What flagging from that score on does.
pub fn at_threshold(scores: &[f64], labels: &[bool], threshold: f64) -> Operating {
    let is_flagged = |score: &&f64| **score >= threshold;
    let flagged = real(scores.iter().filter(is_flagged).count());
    let right = real(scores.iter().zip(labels).filter(|(score, is_wanted)| **is_wanted && is_flagged(score)).count());
    let wanted = real(labels.iter().filter(|is_wanted| **is_wanted).count());
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    Operating {
        precision: share(right, flagged),
        recall: share(right, wanted),
        flagged: share(flagged, real(scores.len())),
    }
}

/// The lowest score from which on so large a share of what is flagged is looked for: it flags as many as it can.
pub fn threshold_of_precision(scores: &[f64], labels: &[bool], precision: f64) -> Option<f64> {
    let (mut wanted, mut all, mut found) = (0.0, 0.0, None);
    for group in groups(scores, labels).into_iter().rev() {
        wanted += group.wanted;
        all += group.wanted + group.others;
        if wanted >= precision * all {
            found = Some(group.score);
        }
    }
    found
}

/// What has one score.
struct Group {
    score: f64,
    wanted: f64,
    others: f64,
}

/// The lowest score first.
fn groups(scores: &[f64], labels: &[bool]) -> Vec<Group> {
    let mut sorted: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = |group: &[(f64, bool)], of: bool| real(group.iter().filter(|(_, is_wanted)| *is_wanted == of).count());
    let group =
        |group: &[(f64, bool)]| Group { score: group[0].0, wanted: count(group, true), others: count(group, false) };
    sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f64; 5] = [0.5, 0.9, 0.7, 0.8, 0.6];
    const LABELS: [bool; 5] = [false, true, true, false, false];

    #[track_caller]
    fn assert_near(value: f64, expect: f64) {
        assert!((value - expect).abs() < 1e-12, "{value}, not {expect}");
    }

    #[test]
    fn areas_are_those_counted_by_hand() {
        // Of six pairs, one is the wrong way round.
        assert_near(roc_auc(&SCORES, &LABELS), 5.0 / 6.0);
        assert_near(average_precision(&SCORES, &LABELS), f64::midpoint(1.0, 2.0 / 3.0));
        let upside_down = SCORES.map(|score| 1.0 - score);
        assert_near(roc_auc(&upside_down, &LABELS), 1.0 / 6.0);
        // All are equal: it is guessing.
        assert_near(roc_auc(&[0.5; 5], &LABELS), 0.5);
        assert_near(average_precision(&[0.5; 5], &LABELS), 0.4);
        assert!(roc_auc(&SCORES, &[false; 5]).is_nan());
    }

    #[test]
    fn a_threshold_is_told_what_it_does() {
        let operating = at_threshold(&SCORES, &LABELS, 0.7);
        assert_near(operating.precision, 2.0 / 3.0);
        assert_near(operating.recall, 1.0);
        assert_near(operating.flagged, 0.6);
        assert_near(operating.rounded().precision, 0.6667);
        assert_near(at_threshold(&SCORES, &LABELS, 0.95).precision, 0.0);
    }

    #[test]
    fn the_lowest_threshold_that_is_precise_enough_is_found() {
        let of = |precision| threshold_of_precision(&SCORES, &LABELS, precision);
        assert_eq!((of(1.0), of(0.6), of(0.4)), (Some(0.9), Some(0.7), Some(0.5)));
        assert_eq!(threshold_of_precision(&SCORES, &[false; 5], 0.5), None);
    }
}
