//! How good scores are, held against what was wrong with the devices.

use serde::{Deserialize, Serialize};

use crate::real;

/// What a threshold does to a set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operating {
    /// The share of hours with a fault among those it flags.
    pub precision: f64,
    /// The share of the hours with a fault that it flags.
    pub recall: f64,
    /// The share of all hours that it flags.
    pub flagged: f64,
}

/// The chance that an hour with a fault scores higher than one without; of equals half counts. 0.5 is guessing.
///
/// NaN where one of both is missing.
pub fn roc_auc(scores: &[f64], labels: &[bool]) -> f64 {
    let (mut pairs, mut faulty, mut healthy) = (0.0, 0.0, 0.0);
    // From the lowest: each fault beats all that is healthy below it.
    for (_, group_faulty, group_healthy) in groups(scores, labels) {
        pairs += group_faulty * (healthy + group_healthy / 2.0);
        faulty += group_faulty;
        healthy += group_healthy;
    }
    pairs / (faulty * healthy)
}

/// What flagging from that score on does.
pub fn at_threshold(scores: &[f64], labels: &[bool], threshold: f64) -> Operating {
    let (mut flagged, mut right, mut faulty) = (0.0, 0.0, 0.0);
    for (score, group_faulty, group_healthy) in groups(scores, labels) {
        faulty += group_faulty;
        if score >= threshold {
            flagged += group_faulty + group_healthy;
            right += group_faulty;
        }
    }
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    Operating {
        precision: share(right, flagged),
        recall: share(right, faulty),
        flagged: share(flagged, real(scores.len())),
    }
}

/// The lowest score from which on so large a share of what is flagged has a fault: it flags as many as it can.
pub fn threshold_of_precision(scores: &[f64], labels: &[bool], precision: f64) -> Option<f64> {
    let (mut faulty, mut all, mut found) = (0.0, 0.0, None);
    for (score, group_faulty, group_healthy) in groups(scores, labels).into_iter().rev() {
        faulty += group_faulty;
        all += group_faulty + group_healthy;
        if faulty >= precision * all {
            found = Some(score);
        }
    }
    found
}

/// Each score with how many faulty and healthy hours have it, the lowest first.
fn groups(scores: &[f64], labels: &[bool]) -> Vec<(f64, f64, f64)> {
    let mut sorted: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = |group: &[(f64, bool)], of: bool| real(group.iter().filter(|(_, is_faulty)| *is_faulty == of).count());
    let group = |group: &[(f64, bool)]| (group[0].0, count(group, true), count(group, false));
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
    fn figures_are_those_counted_by_hand() {
        // Of six pairs, one is the wrong way round.
        assert_near(roc_auc(&SCORES, &LABELS), 5.0 / 6.0);
        assert_near(roc_auc(&[0.5; 5], &LABELS), 0.5);
        assert!(roc_auc(&SCORES, &[false; 5]).is_nan());
        let operating = at_threshold(&SCORES, &LABELS, 0.7);
        assert_near(operating.precision, 2.0 / 3.0);
        assert_near(operating.recall, 1.0);
        assert_near(operating.flagged, 0.6);
        assert_near(at_threshold(&SCORES, &LABELS, 0.95).precision, 0.0);
        let of = |precision| threshold_of_precision(&SCORES, &LABELS, precision);
        assert_eq!((of(1.0), of(0.6), of(0.4)), (Some(0.9), Some(0.7), Some(0.5)));
        assert_eq!(threshold_of_precision(&SCORES, &[false; 5], 0.5), None);
    }
}
