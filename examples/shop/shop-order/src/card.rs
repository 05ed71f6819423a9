//! What a customer pays with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of a card at the bank. It is not for logs: it debugs as nothing.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Card(pub(crate) String);

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Card(..)")
    }
}
