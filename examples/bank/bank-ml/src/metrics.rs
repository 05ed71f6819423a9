//! How good scores are, held against what became of the transfers.

use serde::{Deserialize, Serialize};

use crate::real;

/// What a threshold does to a set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operating {
    /// The share of frauds among what it denies.
    pub precision: f64,
    /// The share of the frauds that it denies.
    pub recall: f64,
    /// The share of all transfers that it denies.
    pub denied: f64,
}

/// The chance that a fraud scores higher than an honest transfer; of equals half counts. 0.5 is guessing.
///
/// NaN where one of both is missing.
pub fn roc_auc(scores: &[f64], labels: &[bool]) -> f64 {
    let (mut pairs, mut frauds, mut honest) = (0.0, 0.0, 0.0);
    // From the lowest: each fraud beats all honest ones below it.
    for group in groups(scores, labels).into_iter().rev() {
        pairs += group.frauds * (honest + group.honest / 2.0);
        frauds += group.frauds;
        honest += group.honest;
    }
    pairs / (frauds * honest)
}

/// The precision at each fraud, of all that scores as high, on average: the area below precision over recall. Guessing
/// gives the share of frauds.
///
/// NaN where there is no fraud.
pub fn average_precision(scores: &[f64], labels: &[bool]) -> f64 {
    let (mut sum, mut frauds, mut all) = (0.0, 0.0, 0.0);
    for group in groups(scores, labels) {
        frauds += group.frauds;
        all += group.frauds + group.honest;
        sum += group.frauds * frauds / all;
    }
    sum / frauds
}

/// What denying from that score on does.
pub fn at_threshold(scores: &[f64], labels: &[bool], threshold: f64) -> Operating {
    let is_denied = |score: &&f64| **score >= threshold;
    let denied = real(scores.iter().filter(is_denied).count());
    let caught = real(scores.iter().zip(labels).filter(|(score, is_fraud)| **is_fraud && is_denied(score)).count());
    let frauds = real(labels.iter().filter(|is_fraud| **is_fraud).count());
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    Operating {
        precision: share(caught, denied),
        recall: share(caught, frauds),
        denied: share(denied, real(scores.len())),
    }
}

/// The lowest score from which on so large a share of what is denied is frauds: it denies as many frauds as it can.
pub fn threshold_of_precision(scores: &[f64], labels: &[bool], precision: f64) -> Option<f64> {
    let (mut frauds, mut all, mut found) = (0.0, 0.0, None);
    for group in groups(scores, labels) {
        frauds += group.frauds;
        all += group.frauds + group.honest;
        if frauds >= precision * all {
            found = Some(group.score);
        }
    }
    found
}

/// The mean surprise in nats, of log-odds; what the learner makes small.
pub fn log_loss(margins: &[f64], labels: &[bool]) -> f64 {
    // ln(1 + e^x), without overflow.
    let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
    let surprise =
        margins.iter().zip(labels).map(|(margin, is_fraud)| softplus(if *is_fraud { -margin } else { *margin }));
    surprise.sum::<f64>() / real(labels.len().max(1))
}

/// What has one score.
struct Group {
    score: f64,
    frauds: f64,
    honest: f64,
}

/// The highest score first.
fn groups(scores: &[f64], labels: &[bool]) -> Vec<Group> {
    let mut sorted: Vec<(f64, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let count = |group: &[(f64, bool)], of: bool| real(group.iter().filter(|(_, is_fraud)| *is_fraud == of).count());
    let group =
        |group: &[(f64, bool)]| Group { score: group[0].0, frauds: count(group, true), honest: count(group, false) };
    sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f64; 5] = [0.9, 0.8, 0.7, 0.6, 0.5];
    const LABELS: [bool; 5] = [true, false, true, false, false];

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
        assert_near(operating.denied, 0.6);
        assert_near(at_threshold(&SCORES, &LABELS, 0.95).precision, 0.0);
    }

    #[test]
    fn the_lowest_threshold_that_is_precise_enough_is_found() {
        let of = |precision| threshold_of_precision(&SCORES, &LABELS, precision);
        assert_eq!((of(1.0), of(0.6), of(0.4)), (Some(0.9), Some(0.7), Some(0.5)));
        assert_eq!(threshold_of_precision(&SCORES, &[false; 5], 0.5), None);
    }

    #[test]
    fn surprise_is_small_where_the_odds_are_right_and_does_not_overflow() {
        assert_near(log_loss(&[0.0, 0.0], &[true, false]), 2_f64.ln());
        assert!(log_loss(&[9.0, -9.0], &[true, false]) < 0.001);
        assert_near(log_loss(&[-1000.0], &[true]), 1000.0);
    }
}
