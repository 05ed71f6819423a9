//! How good a model has to be on devices that it has not seen, and how good it must not be.

use example_model::metrics::roc_auc;
use iot_detect::random::Random;
use iot_ml::{
    model::Metrics,
    training::{DEVICES, Sets, scores, train_on},
};

#[expect(clippy::print_stdout, reason = "the figures are what the test is about")]
fn check(seed: u64) {
    let sets = Sets::of(seed, DEVICES);
    assert!(sets.train.labels.iter().all(Option::is_none), "it learns from healthy devices");
    let model = train_on(&sets, seed, DEVICES);
    let Metrics { roc_auc: area, operating, kinds } = &model.metrics;
    println!("seed {seed}: {:?}, threshold {}, {:?}", model.data, model.threshold, model.metrics);
    assert!(*area >= 0.88, "ROC AUC {area}");
    assert!(*area < 0.999, "ROC AUC {area}: a feature must have the label in it");
    assert!(operating.precision >= 0.8 && operating.recall >= 0.5, "{operating:?}");
    assert!(kinds.iter().all(|of| of.roc_auc >= 0.83), "{kinds:?}");

    // What there is to know is in the hours: of labels that are dealt out by chance nothing is known.
    let mut is_faulty: Vec<bool> = sets.test.labels.iter().map(Option::is_some).collect();
    Random::fork(3, 0).shuffle(&mut is_faulty);
    let area = roc_auc(&scores(model.forest(), &sets.test), &is_faulty);
    assert!((0.45..=0.55).contains(&area), "ROC AUC {area} of labels by chance");
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
