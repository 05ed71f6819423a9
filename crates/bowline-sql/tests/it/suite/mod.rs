//! What holds on every database.

mod messages;
mod replicas;
mod sagas;

use super::{DB, Fixture};
