//! What an order is.

use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) id: String,
    pub(crate) user_id: String,
    pub(crate) items: Vec<Item>,
    /// In minor units.
    pub(crate) total: i64,
    pub(crate) status: Status,
}

/// How far an order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    /// Kept; its stock is reserved, and payment has not answered yet.
    Placed,
    /// The bank moved the money.
    Paid,
    /// The bank declined the card.
    Declined,
    /// It was given up: there was not enough in stock, or it could not be charged in time.
    Cancelled,
}

impl Status {
    /// As it is written.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Paid => "paid",
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Placed, Self::Paid, Self::Declined, Self::Cancelled].into_iter().find(|status| status.as_str() == text)
    }
}
