//! What holds on every database.

mod messages;
mod sagas;

use super::{DB, Fixture};
