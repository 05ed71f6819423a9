//! How good a model has to be on transfers that it has not seen, and how good it must not be.

use bank_ml::{
    Set,
    model::Metrics,
    random::Random,
    training::{ACCOUNTS, Spans, train_on},
};
use example_model::{Learned as _, metrics::roc_auc};

#[expect(clippy::print_stdout, reason = "the figures are what the test is about")]
fn check(seed: u64) {
    let spans = Spans::of(seed, ACCOUNTS);
    let model = train_on(&spans, seed, ACCOUNTS);
    let Metrics { roc_auc, average_precision, operating } = model.metrics;
    println!("seed {seed}, {} trees: {:?}, {:?}", model.forest().trees(), model.data, model.metrics);
    assert!((0.003..=0.008).contains(&model.data.fraud_rate), "frauds are as rare as at banks");
    assert!(roc_auc >= 0.85, "ROC AUC {roc_auc}");
    assert!(roc_auc < 0.99, "ROC AUC {roc_auc}: a feature must have the label in it");
    assert!(average_precision >= 0.35, "average precision {average_precision}");
    assert!(operating.precision >= 0.7 && operating.recall >= 0.4, "{operating:?}");
}

#[test]
fn a_model_is_good_enough_on_what_it_has_not_seen() {
    check(7);
}

/// So that the first is no luck.
#[test]
fn so_is_one_of_another_seed() {
    check(11);
}

/// What there is to learn is in the features, not in the way of learning: where labels are dealt out by chance, a model
/// is as good as guessing.
#[test]
fn of_labels_by_chance_nothing_is_learned() {
    let mut spans = Spans::of(7, ACCOUNTS / 4);
    let mut random = Random::new(3);
    for Set { labels, .. } in [&mut spans.train, &mut spans.valid] {
        random.shuffle(labels);
    }
    let model = train_on(&spans, 7, ACCOUNTS / 4);
    let scores: Vec<f64> = spans.test.rows.iter().map(|row| model.forest().margin(row)).collect();
    let area = roc_auc(&scores, &spans.test.labels);
    assert!((0.4..=0.6).contains(&area), "ROC AUC {area}");
}
