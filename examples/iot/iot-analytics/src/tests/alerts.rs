//! The rules of the example ask for metrics that there are.

use std::collections::BTreeSet;

use bowline::runtime::metric::Registry;
use iot_detect::Kind;
use serde_json::Value;

use crate::counts::Counts;

const ALERTS: &str = include_str!("../../../alerts.yaml");

/// Words of an expression that may be names of metrics of this system.
fn names(expr: &str) -> impl Iterator<Item = &str> {
    expr.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').filter(|word| word.starts_with("iot_"))
}

#[test]
fn the_rules_ask_for_what_is_counted() {
    let metrics = Registry::default();
    Counts::new(&metrics).began(&"d-1".into(), Kind::Shift, true);
    let text = metrics.render();
    let counted: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let document: Value = serde_saphyr::from_str(ALERTS).unwrap();
    let rules = document["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap());
    let mut asked = BTreeSet::new();
    for rule in rules {
        let expr = rule["expr"].as_str().unwrap();
        for name in names(expr) {
            // Of the others are those of iot-data and iot-device, who count them.
            assert!(
                counted.contains(name) || name.starts_with("iot_data_") || name.starts_with("iot_device"),
                "{name}"
            );
            asked.insert(name.to_owned());
        }
        assert!(rule["alert"].is_null() || rule["annotations"]["summary"].is_string(), "{rule}");
    }
    for name in ["iot_device_anomaly", "iot_anomalies_open", "iot_analytics_scores_total"] {
        assert!(asked.contains(name), "{name}");
    }
}
