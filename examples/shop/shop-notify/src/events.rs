//! What the other services tell, as this service reads it: no more than it needs.

use serde::{Deserialize, de::DeserializeOwned};

/// Something that a customer is to know.
pub(crate) trait Event: DeserializeOwned + Send + Sync + 'static {
    /// Whom it is about.
    fn user_id(&self) -> &str;

    /// What is told of it, by the topic that it came through.
    fn text(&self, topic: &str) -> String;
}

/// What became of an order.
#[derive(Debug, Deserialize)]
pub(crate) struct OrderEvent {
    order_id: String,
    user_id: String,
    /// In minor units.
    total: i64,
    status: String,
}

/// What became of a customer.
#[derive(Debug, Deserialize)]
pub(crate) struct UserEvent {
    user_id: String,
    name: String,
}

impl Event for OrderEvent {
    fn user_id(&self) -> &str {
        &self.user_id
    }

    fn text(&self, topic: &str) -> String {
        let Self { order_id, total, status, .. } = self;
        let amount = format!("{}.{:02}", total / 100, total % 100);
        match (topic, status.as_str()) {
            ("order.placed", _) => format!("your order {order_id} over {amount} is placed"),
            ("order.paid", _) => format!("your order {order_id} is paid: {amount}"),
            (_, "declined") => format!("your order {order_id} is cancelled: the bank declined your card"),
            _ => format!("your order {order_id} is cancelled: nothing was charged"),
        }
    }
}

impl Event for UserEvent {
    fn user_id(&self) -> &str {
        &self.user_id
    }

    fn text(&self, topic: &str) -> String {
        match topic {
            "user.registered" => format!("welcome, {}", self.name),
            _ => "your profile was changed".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(status: &str) -> OrderEvent {
        OrderEvent { order_id: "o-1".to_owned(), user_id: "u-1".to_owned(), total: 3905, status: status.to_owned() }
    }

    #[test]
    fn an_event_is_told_in_a_sentence() {
        for (topic, status, expect) in [
            ("order.placed", "placed", "your order o-1 over 39.05 is placed"),
            ("order.paid", "paid", "your order o-1 is paid: 39.05"),
            ("order.cancelled", "cancelled", "your order o-1 is cancelled: nothing was charged"),
            ("order.cancelled", "declined", "your order o-1 is cancelled: the bank declined your card"),
        ] {
            assert_eq!(order(status).text(topic), expect);
        }
        let user = UserEvent { user_id: "u-1".to_owned(), name: "Ada".to_owned() };
        assert_eq!(
            (&*user.text("user.registered"), &*user.text("user.changed")),
            ("welcome, Ada", "your profile was changed")
        );
    }
}
