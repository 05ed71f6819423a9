//! What an order may be at most: settings of the shop that may change while it runs.

use bowline::{Code, HandlerError};
use serde::Deserialize;

use crate::order::Item;

/// What an order may be at most. What a document does not say is as in [`Limits::default`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Raw")]
pub(crate) struct Limits {
    /// Items of one order.
    items: usize,
    /// Of one item.
    quantity: i64,
    /// In minor units.
    unit_price: i64,
    /// In minor units.
    total: i64,
}

/// [`Limits`] as it is written; `config/order.schema.json` says the same.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "the words of the document, which has a meaning of its own")]
struct Raw {
    items_max: i64,
    quantity_max: i64,
    unit_price_max: i64,
    total_max: i64,
}

impl Default for Raw {
    fn default() -> Self {
        Self { items_max: 100, quantity_max: 10_000, unit_price_max: 1_000_000_000, total_max: BANK_MAX }
    }
}

/// The longest name of an item.
const SKU_BYTES_MAX: usize = 64;

/// The bank moves no more at once, in minor units.
const BANK_MAX: i64 = 100_000_000;

impl Default for Limits {
    fn default() -> Self {
        Self::try_from(Raw::default()).expect("the defaults keep the rules")
    }
}

impl TryFrom<Raw> for Limits {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        let Raw { items_max, quantity_max, unit_price_max, total_max } = raw;
        // The most of all together is 10¹⁸: a sum of them cannot overflow.
        for (name, value, most) in [
            ("items_max", items_max, 1000),
            ("quantity_max", quantity_max, 1_000_000),
            ("unit_price_max", unit_price_max, 1_000_000_000),
            ("total_max", total_max, BANK_MAX),
        ] {
            if !(1..=most).contains(&value) {
                return Err(format!("{name}: 1 to {most}, not {value}"));
            }
        }
        let items = usize::try_from(items_max).map_err(|_| "items_max: too large for this machine")?;
        Ok(Self { items, quantity: quantity_max, unit_price: unit_price_max, total: total_max })
    }
}

impl Limits {
    /// Holds the items of an order against the rules and adds up its total, in minor units.
    pub(crate) fn total(&self, items: &[Item]) -> Result<i64, HandlerError> {
        let refuse = |detail: String| Err(HandlerError::new(Code::Unprocessable, detail));
        if items.is_empty() || items.len() > self.items {
            return refuse(format!("items: 1 to {}", self.items));
        }
        let mut total: i64 = 0;
        for (at, item) in items.iter().enumerate() {
            self.check(item).map_err(|rule| HandlerError::new(Code::Unprocessable, format!("items[{at}].{rule}")))?;
            total += item.quantity * item.unit_price;
        }
        if total == 0 {
            return refuse("items: an order costs at least 1 minor unit".to_owned());
        }
        if total > self.total {
            return refuse(format!("items: an order costs at most {} minor units", self.total));
        }
        Ok(total)
    }

    fn check(&self, item: &Item) -> Result<(), String> {
        if item.sku.is_empty() || item.sku.len() > SKU_BYTES_MAX {
            return Err(format!("sku: 1 to {SKU_BYTES_MAX} bytes"));
        }
        if !(1..=self.quantity).contains(&item.quantity) {
            return Err(format!("quantity: 1 to {}", self.quantity));
        }
        if !(0..=self.unit_price).contains(&item.unit_price) {
            return Err(format!("unit_price: 0 to {} minor units", self.unit_price));
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

    fn items(items: &[(&str, i64, i64)]) -> Vec<Item> {
        let item = |(sku, quantity, unit_price): &(&str, i64, i64)| Item {
            sku: (*sku).to_owned(),
            quantity: *quantity,
            unit_price: *unit_price,
        };
        items.iter().map(item).collect()
    }

    #[test]
    fn totals_are_whole_numbers() {
        let limits = Limits::default();
        assert_eq!(limits.total(&items(&[("book", 2, 1999), ("pen", 1, 150)])), Ok(4148));
        assert_eq!(limits.total(&items(&[("villa", 1, BANK_MAX)])), Ok(BANK_MAX));
    }

    #[test]
    fn bad_orders_are_refused_by_name() {
        let all = read(json!({"items_max": 1000, "quantity_max": 1_000_000})).unwrap();
        let few = read(json!({"items_max": 1, "quantity_max": 2, "unit_price_max": 50, "total_max": 99})).unwrap();
        for (limits, bad, field) in [
            (&all, items(&[]), "items"),
            (&all, items(&[("book", 0, 1)]), "items[0].quantity"),
            (&all, items(&[("book", -1, 1)]), "items[0].quantity"),
            (&all, items(&[("book", 1, -1)]), "items[0].unit_price"),
            (&all, items(&[("", 1, 1)]), "items[0].sku"),
            (&all, items(&[("book", 1, 0)]), "items: an order costs at least"),
            (&all, items(&[("villa", 1, BANK_MAX), ("pen", 1, 1)]), "items: an order costs at most"),
            // The largest that can be written does not overflow.
            (&all, items(&vec![("x", 1_000_000, 1_000_000_000); 1000]), "items: an order costs at most"),
            (&all, items(&vec![("x", 1, 1); 1001]), "items: 1 to 1000"),
            (&few, items(&[("book", 1, 1), ("book", 1, 1)]), "items: 1 to 1"),
            (&few, items(&[("book", 3, 1)]), "items[0].quantity: 1 to 2"),
            (&few, items(&[("book", 1, 51)]), "items[0].unit_price: 0 to 50"),
            (&few, items(&[("book", 2, 50)]), "items: an order costs at most 99"),
        ] {
            let error = limits.total(&bad).unwrap_err();
            assert_eq!(error.code(), Code::Unprocessable);
            assert!(error.to_string().starts_with(field), "{field}: {error}");
        }
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(read(json!({})).unwrap(), Limits::default());
        let limits = read(json!({"items_max": 2})).unwrap();
        assert_eq!(limits, Limits { items: 2, ..Limits::default() });
    }

    #[test]
    fn bad_limits_are_refused_by_name() {
        for (document, name) in [
            (json!({"items_max": 0}), "items_max"),
            (json!({"items_max": 1001}), "items_max"),
            (json!({"quantity_max": -1}), "quantity_max"),
            (json!({"quantity_max": 1_000_001}), "quantity_max"),
            (json!({"unit_price_max": 0}), "unit_price_max"),
            (json!({"unit_price_max": 1_000_000_001}), "unit_price_max"),
            (json!({"total_max": BANK_MAX + 1}), "total_max"),
            (json!({"total_max": "much"}), "string"),
            (json!({"total_max": 1.5}), "floating point"),
            (json!({"total_maximum": 1}), "total_maximum"),
        ] {
            let error = read(document).unwrap_err();
            assert!(error.contains(name), "{name}: {error}");
        }
    }

    /// The schema refuses at publish what the service would refuse when it is told.
    #[test]
    fn the_schema_and_the_document_of_the_example_say_the_same() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("../../config/order.schema.json")).unwrap();
        assert_eq!(schema["additionalProperties"], false);
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), 4);
        for (name, rule) in properties {
            let (least, most) = (rule["minimum"].as_i64().unwrap(), rule["maximum"].as_i64().unwrap());
            for value in [least, most] {
                read(json!({name: value})).unwrap();
            }
            for value in [least - 1, most + 1] {
                read(json!({name: value})).unwrap_err();
            }
        }
        let document: toml::Value = toml::from_str(include_str!("../../config/order.toml")).unwrap();
        assert_eq!(document.try_into::<Limits>().unwrap(), Limits::default());
    }
}
