//! What an order is, and the rules it keeps.

use bowline::{Code, HandlerError};
use serde::{Deserialize, Serialize};

/// The most items of one order.
const ITEMS_MAX: usize = 100;
/// The most of one item.
const QUANTITY_MAX: i64 = 10_000;
/// The dearest item, in minor units.
const UNIT_PRICE_MAX: i64 = 1_000_000_000;
/// The dearest order, in minor units: the bank moves no more at once.
const TOTAL_MAX: i64 = 100_000_000;

/// An order as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrder {
    pub(crate) user_id: String,
    pub(crate) items: Vec<Item>,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Item {
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    /// In minor units.
    pub(crate) unit_price: i64,
}

/// An order as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) user_id: String,
    pub(crate) items: Vec<Item>,
    /// In minor units.
    pub(crate) total: i64,
    pub(crate) status: Status,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Kept; payment has not answered yet.
    Placed,
    /// The bank moved the money.
    Paid,
    /// The bank declined the card.
    Declined,
}

impl NewOrder {
    /// Checks the rules and adds up the total.
    pub(crate) fn total(&self) -> Result<i64, HandlerError> {
        let refuse = |detail: String| Err(HandlerError::new(Code::Unprocessable, detail));
        if self.user_id.is_empty() || self.user_id.len() > 64 {
            return refuse("user_id: 1 to 64 characters".to_owned());
        }
        if !self.user_id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return refuse("user_id: letters, digits, - and _".to_owned());
        }
        if self.items.is_empty() || self.items.len() > ITEMS_MAX {
            return refuse(format!("items: 1 to {ITEMS_MAX}"));
        }
        let mut total: i64 = 0;
        for (at, item) in self.items.iter().enumerate() {
            item.check().map_err(|rule| HandlerError::new(Code::Unprocessable, format!("items[{at}].{rule}")))?;
            // 100 items of at most 10^4 × 10^9 cannot overflow.
            total += item.quantity * item.unit_price;
        }
        if total == 0 {
            return refuse("items: an order costs at least 1 minor unit".to_owned());
        }
        if total > TOTAL_MAX {
            return refuse(format!("items: an order costs at most {TOTAL_MAX} minor units"));
        }
        Ok(total)
    }
}

impl Item {
    fn check(&self) -> Result<(), String> {
        if self.sku.is_empty() || self.sku.len() > 64 {
            return Err("sku: 1 to 64 characters".to_owned());
        }
        if !(1..=QUANTITY_MAX).contains(&self.quantity) {
            return Err(format!("quantity: 1 to {QUANTITY_MAX}"));
        }
        if !(0..=UNIT_PRICE_MAX).contains(&self.unit_price) {
            return Err(format!("unit_price: 0 to {UNIT_PRICE_MAX} minor units"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(items: &[(&str, i64, i64)]) -> NewOrder {
        let item = |(sku, quantity, unit_price): &(&str, i64, i64)| Item {
            sku: (*sku).to_owned(),
            quantity: *quantity,
            unit_price: *unit_price,
        };
        NewOrder { user_id: "u-1".to_owned(), items: items.iter().map(item).collect() }
    }

    #[test]
    fn totals_are_whole_numbers() {
        assert_eq!(order(&[("book", 2, 1999), ("pen", 1, 150)]).total(), Ok(4148));
        assert_eq!(order(&[("villa", 1, TOTAL_MAX)]).total(), Ok(TOTAL_MAX));
    }

    #[test]
    fn bad_orders_are_refused_by_name() {
        for (bad, field) in [
            (order(&[]), "items"),
            (order(&[("book", 0, 1)]), "items[0].quantity"),
            (order(&[("book", -1, 1)]), "items[0].quantity"),
            (order(&[("book", 1, -1)]), "items[0].unit_price"),
            (order(&[("", 1, 1)]), "items[0].sku"),
            (order(&[("book", 1, 0)]), "items"),
            (order(&[("villa", 1, TOTAL_MAX), ("pen", 1, 1)]), "items: an order costs at most"),
            (order(&vec![("x", QUANTITY_MAX, UNIT_PRICE_MAX); ITEMS_MAX]), "items: an order costs at most"),
            (order(&vec![("x", 1, 1); ITEMS_MAX + 1]), "items"),
            (NewOrder { user_id: "../u".to_owned(), ..order(&[("book", 1, 1)]) }, "user_id"),
        ] {
            let error = bad.total().unwrap_err();
            assert_eq!(error.code(), Code::Unprocessable);
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
