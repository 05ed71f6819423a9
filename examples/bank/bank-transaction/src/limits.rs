//! What may be transferred at most: settings of the bank that may change while it runs.

use std::sync::Arc;

use bowline::{Code, HandlerError};
use serde::Deserialize;

/// The limits that hold now: they may change from one transfer to the next.
pub(crate) type CurrentLimits = Arc<dyn Fn() -> Arc<Limits> + Send + Sync>;

/// What may be transferred at most, in minor units. What a document does not say is as in [`Limits::default`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub(crate) struct Limits {
    /// At once.
    per_transfer: i64,
    /// Out of one account on one day of UTC.
    pub(crate) per_day: i64,
    /// At once, while risk cannot be asked.
    pub(crate) unassessed: i64,
}

/// [`Limits`] as it is written; `config/transaction.schema.json` says the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "the words of the document, which has a meaning of its own")]
struct Raw {
    per_transfer_max: i64,
    per_day_max: i64,
    unassessed_max: i64,
}

/// No amount of the bank is above it, so that sums of them do not overflow.
const AMOUNT_MAX: i64 = 1_000_000_000_000;

impl Default for Raw {
    fn default() -> Self {
        Self { per_transfer_max: 1_000_000, per_day_max: 5_000_000, unassessed_max: 10_000 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::try_from(Raw::default()).expect("the defaults keep the rules")
    }
}

impl TryFrom<Raw> for Limits {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw { per_transfer_max, per_day_max, unassessed_max } = raw;
        for (name, value, least) in [
            ("per_transfer_max", per_transfer_max, 1),
            ("per_day_max", per_day_max, 1),
            ("unassessed_max", unassessed_max, 0),
        ] {
            if !(least..=AMOUNT_MAX).contains(&value) {
                return Err(format!("{name}: {least} to {AMOUNT_MAX}, not {value}"));
            }
        }
        // The schema cannot say this.
        if per_day_max < per_transfer_max {
            return Err(format!("per_day_max: at least per_transfer_max, {per_transfer_max}, not {per_day_max}"));
        }
        Ok(Self { per_transfer: per_transfer_max, per_day: per_day_max, unassessed: unassessed_max })
    }
}

impl Limits {
    /// Refuses what is too much at once.
    pub(crate) fn check(&self, amount: i64) -> Result<(), HandlerError> {
        if amount > self.per_transfer {
            let detail = format!("amount: at most {} minor units at once", self.per_transfer);
            return Err(HandlerError::new(Code::Unprocessable, detail));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(document: serde_json::Value) -> Result<Limits, String> {
        serde_json::from_value(document).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(read(json!({})).unwrap(), Limits::default());
        let limits = read(json!({"per_transfer_max": 7})).unwrap();
        assert_eq!(limits, Limits { per_transfer: 7, ..Limits::default() });
        assert!(limits.check(7).is_ok());
        assert_eq!(limits.check(8).unwrap_err().to_string(), "amount: at most 7 minor units at once");
    }

    #[test]
    fn bad_limits_are_refused_by_name() {
        for (document, name) in [
            (json!({"per_transfer_max": 0}), "per_transfer_max"),
            (json!({"per_day_max": -1}), "per_day_max"),
            (json!({"unassessed_max": -1}), "unassessed_max"),
            (json!({"per_day_max": AMOUNT_MAX + 1}), "per_day_max"),
            (json!({"per_day_max": 999_999}), "per_day_max: at least per_transfer_max"),
            (json!({"per_day_max": "much"}), "string"),
            (json!({"per_transfer_max": 1.5}), "floating point"),
            (json!({"per_year_max": 1}), "per_year_max"),
        ] {
            let error = read(document).unwrap_err();
            assert!(error.contains(name), "{name}: {error}");
        }
    }

    /// The schema refuses at publish what the service would refuse when it is told.
    #[test]
    fn the_schema_and_the_document_of_the_example_say_the_same() {
        let schema = include_str!("../../config/transaction.schema.json");
        let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), 3);
        let with = |name: &str, value: i64| {
            // The day's limit goes along, so that one rule is looked at a time.
            let mut document = json!({"per_transfer_max": 1, "per_day_max": AMOUNT_MAX});
            document[name] = json!(value);
            read(document)
        };
        for (name, rule) in properties {
            let (least, most) = (rule["minimum"].as_i64().unwrap(), rule["maximum"].as_i64().unwrap());
            for value in [least, most] {
                with(name, value).unwrap();
            }
            for value in [least - 1, most + 1] {
                with(name, value).unwrap_err();
            }
        }
        let document: toml::Value = toml::from_str(include_str!("../../config/transaction.toml")).unwrap();
        assert_eq!(document.try_into::<Limits>().unwrap(), Limits::default());
    }
}
