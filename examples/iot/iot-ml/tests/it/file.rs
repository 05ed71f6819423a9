//! The file of a model: the one that is served is what it says, and what is not for this program is refused.

use iot_detect::features::{Features, NAMES};
use iot_ml::{
    model::Model,
    training::{DEVICES, Sets, evaluate, train},
};
use serde_json::{Value, json};

const FILE: &[u8] = include_bytes!("../../../model/anomaly.json");

#[test]
fn the_model_of_the_example_is_as_good_as_it_says() {
    let model = Model::read(FILE).unwrap();
    assert!(FILE.len() < 300_000, "{} bytes", FILE.len());
    assert_eq!(model.data.devices, DEVICES);
    let test = Sets::test_of(model.data.seed, model.data.devices);
    assert_eq!(test.rows.len(), model.data.tested_on);
    let (said, found) = (&model.metrics, evaluate(&model, &test));
    for (said, found) in [
        (said.roc_auc, found.roc_auc),
        (said.operating.precision, found.operating.precision),
        (said.operating.recall, found.operating.recall),
        (said.operating.flagged, found.operating.flagged),
    ] {
        // Another machine's logarithms may differ in the last bit.
        assert!((said - found).abs() < 0.005, "{said}, not {found}");
    }
    assert!(model.version.starts_with(&format!("{}-", model.data.seed)));
}

#[test]
fn a_seed_makes_one_model() {
    let (one, other) = (train(3, 4), train(3, 4));
    assert_eq!(one, other);
    assert_ne!(one.version, train(4, 4).version);
    assert_eq!(Model::read(&one.write().unwrap()).unwrap(), one);
}

#[test]
fn what_is_written_is_what_was_read() {
    let model = Model::read(FILE).unwrap();
    assert_eq!(model.write().unwrap(), FILE);
    assert_eq!(model.features(), NAMES);
}

fn healthy() -> Features {
    Features {
        level: 0.2,
        spread: 0.8,
        slope: 0.5,
        jump: 1.5,
        peak: 1.5,
        last: 0.5,
        one_sided: 0.6,
        equal: 0.0,
        gap: 1.0,
    }
}

#[test]
fn what_is_odd_scores_higher_than_what_is_usual() {
    let model = Model::read(FILE).unwrap();
    let usual = model.score(&healthy().row());
    for odd in [
        Features { level: 5.0, peak: 7.0, last: 5.0, one_sided: 1.0, ..healthy() },
        Features { jump: 10.0, peak: 10.0, spread: 3.0, ..healthy() },
        Features { equal: 1.0, spread: 0.1, jump: 0.1, ..healthy() },
        Features { gap: 6.0, ..healthy() },
    ] {
        let score = model.score(&odd.row());
        assert!(score > usual + 0.02, "{odd:?}: {score} and {usual}");
    }
    let endless = Features { peak: f32::INFINITY, level: f32::NAN, ..healthy() };
    assert!((0.0..=1.0).contains(&model.score(&endless.row())));
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
        ("tree 0", refused(|value| value["forest"]["trees"][0] = json!([[0, 0.5, 0], 1, 1]))),
        ("0 trees", refused(|value| value["forest"]["trees"] = json!([]))),
        ("sample", refused(|value| value["forest"]["sample"] = json!(1))),
        ("checksum", refused(|value| drop(value["forest"]["trees"].as_array_mut().unwrap().pop()))),
        ("checksum", refused(|value| value["data"]["seed"] = json!(8))),
    ] {
        assert!(error.contains(why), "{why}: {error}");
    }
}
