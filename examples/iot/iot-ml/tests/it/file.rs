//! The file of a model: the one that is served is what it says, and what is not for this program is refused.

use std::path::Path;

use iot_detect::features::{Features, NAMES};
use iot_ml::{
    model::{Error, FILE_BYTES_MAX, Model},
    training::{DEVICES, Sets, evaluate, train},
};
use serde_json::{Value, json};

const FILE: &[u8] = include_bytes!("../../../model/anomaly.json");

/// The file of the example, with something else in it.
fn with(change: impl FnOnce(&mut Value)) -> Result<Model, Error> {
    let mut value: Value = serde_json::from_slice(FILE).unwrap();
    change(&mut value);
    Model::read(&serde_json::to_vec(&value).unwrap())
}

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
    let usual = model.score(&healthy());
    for odd in [
        Features { level: 5.0, peak: 7.0, last: 5.0, one_sided: 1.0, ..healthy() },
        Features { jump: 10.0, peak: 10.0, spread: 3.0, ..healthy() },
        Features { equal: 1.0, spread: 0.1, jump: 0.1, ..healthy() },
        Features { gap: 6.0, ..healthy() },
    ] {
        assert!(model.score(&odd) > usual + 0.02, "{odd:?}: {} and {usual}", model.score(&odd));
    }
    let endless = Features { peak: f32::INFINITY, level: f32::NAN, ..healthy() };
    assert!((0.0..=1.0).contains(&model.score(&endless)));
}

#[test]
fn what_is_not_for_this_program_is_refused() {
    let refused = |change: fn(&mut Value)| with(change).unwrap_err().to_string();
    for (why, error) in [
        ("format 2", refused(|value| value["format"] = json!(2))),
        ("other features", refused(|value| value["features"][3] = json!("colour"))),
        ("other features", refused(|value| drop(value["features"].as_array_mut().unwrap().pop()))),
        ("version", refused(|value| value["version"] = json!(""))),
        // Trees that were changed, or that go by another's name.
        ("checksum", refused(|value| drop(value["forest"]["trees"].as_array_mut().unwrap().pop()))),
        ("checksum", refused(|value| value["data"]["seed"] = json!(8))),
        ("threshold", refused(|value| value["threshold"] = json!(0.0))),
        ("threshold", refused(|value| value["threshold"] = json!(1.5))),
        ("tree 0", refused(|value| value["forest"]["trees"][0] = json!([]))),
        ("tree 0", refused(|value| value["forest"]["trees"][0] = json!([[0, 0.5, 0], 1, 1]))),
        ("0 trees", refused(|value| value["forest"]["trees"] = json!([]))),
        ("sample", refused(|value| value["forest"]["sample"] = json!(1))),
        ("cannot be read", refused(|value| value["colour"] = json!(1))),
        ("cannot be read", refused(|value| *value = json!([]))),
    ] {
        assert!(error.contains(why), "{why}: {error}");
    }
    // Of another format nothing else is looked at.
    assert!(matches!(Model::read(br#"{"format":9,"all":"else"}"#), Err(Error::Format { format: 9 })));
    assert!(matches!(Model::read(&vec![b' '; FILE_BYTES_MAX + 1]), Err(Error::Large)));
    assert!(matches!(Model::load(Path::new("no/such/file.json")), Err(Error::Read(_))));
}
