//! The file of a model: the one that is served is what it says, and what is not for this program is refused.

use bank_features::{Features, NAMES};
use bank_ml::{
    model::Model,
    training::{ACCOUNTS, Spans, evaluate},
};
use serde_json::{Value, json};

const FILE: &[u8] = include_bytes!("../../../model/fraud.json");

#[test]
fn the_model_of_the_example_is_as_good_as_it_says() {
    let model = Model::read(FILE).unwrap();
    assert!(FILE.len() < 200_000, "{} bytes", FILE.len());
    assert_eq!(model.data.accounts, ACCOUNTS);
    let spans = Spans::of(model.data.seed, model.data.accounts);
    assert_eq!((spans.train.rows.len(), spans.test.rows.len()), (model.data.trained_on, model.data.tested_on));
    let (said, found) = (model.metrics, evaluate(&model, &spans.test));
    for (said, found) in [
        (said.roc_auc, found.roc_auc),
        (said.average_precision, found.average_precision),
        (said.operating.precision, found.operating.precision),
        (said.operating.recall, found.operating.recall),
        (said.operating.denied, found.operating.denied),
    ] {
        // Another machine's logarithms may differ in the last bit.
        assert!((said - found).abs() < 0.005, "{said}, not {found}");
    }
    assert!(model.version.starts_with(&format!("{}-", model.data.seed)));
}

#[test]
fn what_is_written_is_what_was_read() {
    let model = Model::read(FILE).unwrap();
    assert_eq!(model.write().unwrap(), FILE);
    assert_eq!(model.features(), NAMES);
}

#[test]
fn scores_are_chances() {
    let model = Model::read(FILE).unwrap();
    let usual = Features::of(1_767_787_200_000, 4_000, [], []);
    let odd = Features { amount_to_mean: 6.0, is_night: 1.0, count_1h: 4.0, payee_risk_7d: 0.8, ..usual.clone() };
    let endless = Features { amount: f32::INFINITY, sum_1h: f32::NAN, ..usual.clone() };
    for features in [&usual, &odd, &endless] {
        let score = model.score(&features.row());
        assert!((0.0..=1.0).contains(&score), "{score}");
    }
    assert!(model.score(&odd.row()) > 10.0 * model.score(&usual.row()));
}

#[test]
fn trees_that_make_no_sense_are_refused() {
    let refused = |change: fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(FILE).unwrap();
        change(&mut value);
        Model::read(&serde_json::to_vec(&value).unwrap()).unwrap_err().to_string()
    };
    for (why, error) in [
        ("tree 0", refused(|value| value["forest"]["trees"][0] = json!([]))),
        ("checksum", refused(|value| value["forest"]["base"] = json!(-4.0))),
        ("checksum", refused(|value| drop(value["forest"]["trees"].as_array_mut().unwrap().pop()))),
        ("checksum", refused(|value| value["data"]["seed"] = json!(8))),
    ] {
        assert!(error.contains(why), "{why}: {error}");
    }
}
