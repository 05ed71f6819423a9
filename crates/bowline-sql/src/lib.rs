//! What a service's own database does for its messages: the outbox, the inbox and sagas, on SQLite and PostgreSQL.
//!
//! - [`publish`] writes a message in the transaction of the change that it tells of; the [`Outbox`]'s relay hands it to
//!   the message bus.
//! - An [`Inbox`] makes of "delivered at least once" "processed once", for what the same database keeps.
//! - [`Sagas`] bring a change of several services to one of two ends: done, or undone.
//!
//! Everything is in tables `bowline_*` of the service's own database, made by [`migrate`]. Replicas that share the
//! database share the work.

mod db;
mod error;
mod inbox;
mod lease;
mod outbox;
mod relay;
mod saga;
mod schema;
mod trace;

use std::time::Duration;

use bowline_runtime::time;

pub use db::{Db, Tx, begin};
pub use error::Error;
pub use inbox::Inbox;
pub use outbox::{Outbox, publish};
pub use relay::{Relay, RelaySettings};
pub use saga::{
    Begun, DATA_BYTES_MAX, Definition, Filter, HISTORY_MAX, Happened, Outcome, PAGE_MAX, Phase, RUNNING_MAX, STEPS_MAX,
    SagaInfo, Sagas, SagasBuilder, StepError, What,
};
pub use schema::migrate;

/// Milliseconds since 1970, as the columns have them.
fn now_ms() -> i64 {
    i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX)
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A text cut where a character ends.
fn cut(mut text: String, bytes_max: usize) -> String {
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}
