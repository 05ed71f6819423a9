//! What a service's own database does for its messages: the outbox, the inbox and sagas, on SQLite and PostgreSQL.
//!
//! - [`publish`] writes a message in the transaction of the change that it tells of; the [`Outbox`]'s relay hands it to
//!   the message bus.
//! - An [`Inbox`] makes of "delivered at least once" "processed once", for what the same database keeps.
//! - [`Sagas`] bring a change of several services to one of two ends: done, or undone.
//!
//! Everything is in tables `bowline_*` of the service's own database, made by [`migrate`]. Replicas that share the
//! database share the work. An order that is reserved here, charged elsewhere and confirmed here:
//!
//! ```
//! use std::time::Duration;
//!
//! use bowline_messaging::NewMessage;
//! use bowline_sql::{Definition, Error, Outbox, Outcome, Sagas, StepError, begin, publish};
//! use serde::{Deserialize, Serialize};
//! use sqlx::{Sqlite, SqlitePool};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order {
//!     id: String,
//!     books: i64,
//! }
//!
//! fn order_saga(payment: Payment) -> Definition<Sqlite, Order> {
//!     let refund = payment.clone();
//!     Definition::<Sqlite, Order>::new("order")
//!         .deadline(Duration::from_mins(5))
//!         .local("reserve", |tx, order| {
//!             Box::pin(async move {
//!                 let sql = "UPDATE stock SET books = books - $1 WHERE books >= $1";
//!                 let done = sqlx::query(sql).bind(order.books).execute(&mut **tx).await?;
//!                 if done.rows_affected() == 0 { Err(StepError::abort("out of stock")) } else { Ok(()) }
//!             })
//!         })
//!         .undo_local(|tx, order| {
//!             Box::pin(async move {
//!                 sqlx::query("UPDATE stock SET books = books + $1").bind(order.books).execute(&mut **tx).await?;
//!                 Ok(())
//!             })
//!         })
//!         .remote("charge", move |saga, order| {
//!             let payment = payment.clone();
//!             // It answers an error: tried again. It answers false: everything is undone.
//!             Box::pin(async move {
//!                 if payment.charge(saga, order.books).await? { Ok(()) } else { Err(StepError::abort("declined")) }
//!             })
//!         })
//!         .undo_remote(move |saga, _| {
//!             let payment = refund.clone();
//!             Box::pin(async move { Ok(payment.refund(saga).await?) })
//!         })
//!         .timeout(Duration::from_secs(2))
//!         .local("confirm", |tx, order| {
//!             Box::pin(async move {
//!                 let payload = serde_json::json!({ "id": order.id }).to_string().into();
//!                 let paid = NewMessage { payload, ..NewMessage::default() };
//!                 publish(tx, "order.paid", paid).await?;
//!                 Ok(())
//!             })
//!         })
//! }
//!
//! fn start(pool: &SqlitePool, outbox: &Outbox<Sqlite>, payment: Payment) -> Result<Sagas<Sqlite>, Error> {
//!     Sagas::builder(pool.clone()).saga(order_saga(payment)).outbox(outbox).start()
//! }
//!
//! async fn place(pool: &SqlitePool, sagas: &Sagas<Sqlite>, order: Order) -> Result<&'static str, Error> {
//!     let mut tx = begin(pool).await?;
//!     // What else is written here is committed with it; `reserve` is done here, too.
//!     sagas.begin(&mut tx, "order", &order.id, &order).await?;
//!     sagas.commit(tx).await?;
//!     Ok(match sagas.finish::<Order>(&order.id, Duration::from_secs(10)).await? {
//!         Outcome::Done(_) => "paid",
//!         Outcome::Compensated { .. } => "cancelled",
//!         Outcome::StillRunning => "placed",
//!     })
//! }
//! # #[derive(Clone)]
//! # struct Payment;
//! # impl Payment {
//! #     async fn charge(&self, _: &str, _: i64) -> Result<bool, std::io::Error> {
//! #         Ok(true)
//! #     }
//! #     async fn refund(&self, _: &str) -> Result<(), std::io::Error> {
//! #         Ok(())
//! #     }
//! # }
//! # #[tokio::main]
//! # async fn main() -> Result<(), Error> {
//! #     let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
//! #     sqlx::query("CREATE TABLE stock (books BIGINT NOT NULL)").execute(&pool).await?;
//! #     sqlx::query("INSERT INTO stock VALUES (3)").execute(&pool).await?;
//! #     bowline_sql::migrate(&pool).await?;
//! #     let sagas = start(&pool, &Outbox::new(pool.clone()), Payment)?;
//! #     let order = |id: &str, books| Order { id: id.to_owned(), books };
//! #     assert_eq!(place(&pool, &sagas, order("o-1", 2)).await?, "paid");
//! #     assert_eq!(place(&pool, &sagas, order("o-2", 2)).await?, "cancelled");
//! #     Ok(())
//! # }
//! ```

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
