//! How readings are judged. Configuration, which may change while it runs.

use iot_detect::Season;
use serde::Deserialize;

use crate::anomaly::Severity;

/// How readings are judged. What a document does not say is as in [`Rules::default`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Raw")]
pub(crate) struct Rules {
    pub(crate) terms: Terms,
    /// The scores from which on an anomaly is a warning, and critical.
    pub(crate) warning: f64,
    pub(crate) critical: f64,
}

/// What a device's readings are judged by. A device takes a change up when its state is next written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) season: Season,
    /// How much later than the newest reading of its device one may come.
    pub(crate) lateness_ms: i64,
}

/// [`Rules`] as they are written; `config/analytics.schema.json` says the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    season: Season,
    lateness_s: i64,
    warning: f64,
    critical: f64,
}

impl Default for Raw {
    fn default() -> Self {
        Self { season: Season::Daily, lateness_s: 300, warning: 0.5, critical: 0.6 }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::try_from(Raw::default()).expect("the defaults keep the rules")
    }
}

impl TryFrom<Raw> for Rules {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw { season, lateness_s, warning, critical } = raw;
        if !(0..=3600).contains(&lateness_s) {
            return Err(format!("lateness_s: 0 to 3600, not {lateness_s}"));
        }
        for (name, score) in [("warning", warning), ("critical", critical)] {
            if !(0.0..=1.0).contains(&score) {
                return Err(format!("{name}: 0 to 1, not {score}"));
            }
        }
        if critical < warning {
            return Err("critical: not below `warning`".to_owned());
        }
        Ok(Self { terms: Terms { season, lateness_ms: lateness_s * 1000 }, warning, critical })
    }
}

impl Rules {
    pub(crate) fn severity(&self, score: f64) -> Severity {
        if score >= self.critical {
            Severity::Critical
        } else if score >= self.warning {
            Severity::Warning
        } else {
            Severity::Info
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(document: Value) -> Result<Rules, String> {
        serde_json::from_value(document).map_err(|error| error.to_string())
    }

    #[test]
    fn a_score_has_a_severity() {
        let rules = read(json!({"warning": 0.4, "critical": 0.8})).unwrap();
        for (score, severity) in
            [(0.39, Severity::Info), (0.4, Severity::Warning), (0.8, Severity::Critical), (1.0, Severity::Critical)]
        {
            assert_eq!(rules.severity(score), severity);
        }
    }

    #[test]
    fn bad_rules_are_refused_by_name() {
        for (document, name) in [
            (json!({"season": "yearly"}), "yearly"),
            (json!({"lateness_s": -1}), "lateness_s"),
            (json!({"lateness_s": 3601}), "lateness_s"),
            (json!({"warning": 1.1}), "warning"),
            (json!({"warning": 0.9}), "critical"),
            (json!({"critical": -0.1}), "critical"),
            (json!({"lateness": 1}), "lateness"),
        ] {
            let error = read(document).unwrap_err();
            assert!(error.contains(name), "{name}: {error}");
        }
    }

    /// The schema refuses at publish what the service would refuse when it is told.
    #[test]
    fn the_schema_and_the_document_of_the_example_say_the_same() {
        let schema: Value = serde_json::from_str(include_str!("../../config/analytics.schema.json")).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        for document in [
            json!({}),
            json!({"season": "weekly", "lateness_s": 0, "warning": 0, "critical": 1}),
            json!({"season": "daily", "lateness_s": 3600, "warning": 0.5}),
        ] {
            assert!(validator.is_valid(&document), "{document}");
            read(document).unwrap();
        }
        for document in [
            json!({"season": "yearly"}),
            json!({"lateness_s": -1}),
            json!({"lateness_s": 3601}),
            json!({"lateness_s": 1.5}),
            json!({"warning": 1.1}),
            json!({"critical": -0.1}),
            json!({"more": 1}),
        ] {
            assert!(!validator.is_valid(&document), "{document}");
            read(document).unwrap_err();
        }
        let document: toml::Value = toml::from_str(include_str!("../../config/analytics.toml")).unwrap();
        assert_eq!(document.try_into::<Rules>().unwrap(), Rules::default());
    }
}
