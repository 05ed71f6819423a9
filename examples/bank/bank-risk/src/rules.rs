//! When a transfer is denied: by a score, or by what is known without one. Configuration, which may change while it runs.

use serde::Deserialize;

use crate::{assessment::Assessment, scorer::Scored};

/// When a transfer is denied. What a document does not say is as in [`Rules::default`].
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Raw")]
pub(crate) struct Rules {
    /// The score from which on; none: the model's own threshold.
    threshold: Option<f64>,
    /// Without a score: the amount from which on, in minor units.
    fallback_amount: i64,
    /// Without a score: how many transfers of an account in an hour.
    fallback_count_1h: i64,
}

/// [`Rules`] as they are written; `config/risk.schema.json` says the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    threshold: Option<f64>,
    fallback_amount: i64,
    fallback_count_1h: i64,
}

impl Default for Raw {
    fn default() -> Self {
        Self { threshold: None, fallback_amount: 100_000, fallback_count_1h: 10 }
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
        let Raw { threshold, fallback_amount, fallback_count_1h } = raw;
        if threshold.is_some_and(|threshold| !(0.0001..=1.0).contains(&threshold)) {
            return Err("threshold: 0.0001 to 1".to_owned());
        }
        for (name, value, most) in
            [("fallback_amount", fallback_amount, 1_000_000_000_000), ("fallback_count_1h", fallback_count_1h, 500)]
        {
            if !(1..=most).contains(&value) {
                return Err(format!("{name}: 1 to {most}, not {value}"));
            }
        }
        Ok(Self { threshold, fallback_amount, fallback_count_1h })
    }
}

impl Rules {
    /// By what a model says.
    pub(crate) fn judge(&self, scored: &Scored) -> Assessment {
        let is_denied = scored.score >= self.threshold.unwrap_or(scored.threshold);
        let reasons: &[&str] = if is_denied { &["score"] } else { &[] };
        Assessment::new(Some(scored.score), format!("model {}", scored.model), reasons)
    }

    /// Without a model, by the amount and by how many transfers its account made in the last hour, this one included.
    pub(crate) fn fall_back(&self, amount: i64, count_1h: i64) -> Assessment {
        let rules = [(amount >= self.fallback_amount, "amount"), (count_1h >= self.fallback_count_1h, "count_1h")];
        let reasons: Vec<&str> = rules.into_iter().filter(|(holds, _)| *holds).map(|(_, reason)| reason).collect();
        Assessment::new(None, "fallback".to_owned(), &reasons)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::assessment::Decision;

    fn read(document: serde_json::Value) -> Result<Rules, String> {
        serde_json::from_value(document).map_err(|error| error.to_string())
    }

    fn scored(score: f64) -> Scored {
        Scored { score, threshold: 0.6, model: "7-1a2b3c4d".to_owned() }
    }

    #[test]
    fn a_score_is_held_against_the_threshold_of_configuration_or_of_the_model() {
        let (own, told) = (Rules::default(), read(json!({"threshold": 0.8})).unwrap());
        for (rules, score, decision) in [
            (&own, 0.59, Decision::Allow),
            (&own, 0.6, Decision::Deny),
            (&told, 0.79, Decision::Allow),
            (&told, 0.8, Decision::Deny),
        ] {
            let assessment = rules.judge(&scored(score));
            assert_eq!((assessment.decision, assessment.score), (decision, Some(score)));
            assert_eq!(assessment.by, "model 7-1a2b3c4d");
            assert_eq!(assessment.reasons.len(), usize::from(decision == Decision::Deny));
        }
    }

    #[test]
    fn without_a_score_amount_and_pace_decide() {
        let rules = read(json!({"fallback_amount": 1_000, "fallback_count_1h": 3})).unwrap();
        for (amount, count_1h, reasons) in
            [(999, 2, &[][..]), (1_000, 2, &["amount"]), (999, 3, &["count_1h"]), (1_000, 3, &["amount", "count_1h"])]
        {
            let assessment = rules.fall_back(amount, count_1h);
            assert_eq!(assessment.reasons, reasons);
            assert_eq!(assessment.decision, if reasons.is_empty() { Decision::Allow } else { Decision::Deny });
            assert_eq!((assessment.score, &*assessment.by), (None, "fallback"));
        }
    }

    #[test]
    fn bad_rules_are_refused_by_name() {
        for (document, name) in [
            (json!({"threshold": 0.0}), "threshold"),
            (json!({"threshold": 1.1}), "threshold"),
            (json!({"threshold": "low"}), "string"),
            (json!({"fallback_amount": 0}), "fallback_amount"),
            (json!({"fallback_amount": 1.5}), "floating point"),
            (json!({"fallback_count_1h": 501}), "fallback_count_1h"),
            (json!({"fallback": 1}), "fallback"),
        ] {
            let error = read(document).unwrap_err();
            assert!(error.contains(name), "{name}: {error}");
        }
    }

    /// The schema refuses at publish what the service would refuse when it is told.
    #[test]
    fn the_schema_and_the_document_of_the_example_say_the_same() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("../../config/risk.schema.json")).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), 3);
        for (name, rule) in properties {
            let is_whole = rule["type"] == "integer";
            let step = if is_whole { json!(1) } else { json!(0.0001) };
            let beyond = |bound: &serde_json::Value, sign: i64| match bound.as_i64().filter(|_| is_whole) {
                Some(bound) => json!(bound + sign),
                None => json!(bound.as_f64().unwrap() + step.as_f64().unwrap() * if sign < 0 { -1.0 } else { 1.0 }),
            };
            let (least, most) = (&rule["minimum"], &rule["maximum"]);
            for value in [least.clone(), most.clone()] {
                read(json!({name: value})).unwrap();
            }
            for value in [beyond(least, -1), beyond(most, 1)] {
                read(json!({name: value})).unwrap_err();
            }
        }
        let document: toml::Value = toml::from_str(include_str!("../../config/risk.toml")).unwrap();
        assert_eq!(document.try_into::<Rules>().unwrap(), Rules::default());
    }
}
