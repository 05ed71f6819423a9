//! The outbox: messages that are published in the transaction of the change that they tell of.

use std::{fmt, sync::Arc};

use bowline_messaging::{NewMessage, check_message, check_name};
use bowline_runtime::rand;
use bowline_telemetry::current;
use sqlx::Pool;
use tokio::sync::Notify;

use crate::{
    Error,
    db::{Db, Query, Tx, begin},
    ms, now_ms, trace,
};

/// The messages of a database that wait for the message bus. Cheap to clone.
pub struct Outbox<DB: Db> {
    pub(crate) pool: Pool<DB>,
    pub(crate) woken: Arc<Notify>,
}

/// Publishes a message together with the caller's change: when the transaction is committed, and only then, the message
/// is handed to the message bus, once, behind what was published before with its key. Answers the message's id.
///
/// A message without `traceparent` gets that of the request that is worked for. Delay and expiry count from now.
///
/// "Before" is the order of the calls. Two transactions that publish with one key at once are in order where both lock
/// what the key stands for, as they do that change its row.
///
/// # Errors
/// [`Error::Message`] where the message breaks a limit; nothing was written.
///
/// # Cancel safety
/// Roll the transaction back.
pub async fn publish<DB: Db>(
    tx: &mut sqlx::Transaction<'_, DB>,
    topic: &str,
    mut message: NewMessage,
) -> Result<String, Error> {
    check_name("topic", topic)?;
    let has_parent = message.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(trace::TRACEPARENT));
    if let Some(context) = current::context().filter(|_| !has_parent) {
        message.headers.push((trace::TRACEPARENT.to_owned(), trace::format(context)));
    }
    check_message(&message)?;
    let NewMessage { id, key, headers, payload, delay, expires_in } = message;
    let id = id.unwrap_or_else(|| format!("{:032x}", rand::u128()));
    let headers = serde_json::to_string(&headers).map_err(Error::Data)?;
    let now = now_ms();
    let sql = "INSERT INTO bowline_outbox (id, topic, ordering_key, headers, payload, created_ms, due_ms, expires_ms) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let query = Query::new(sql)
        .text(&id)
        .text(topic)
        .maybe_text(key)
        .text(headers)
        .bytes(payload.into())
        .int(now)
        .int(now.saturating_add(ms(delay)))
        .maybe_int(expires_in.map(|expires| now.saturating_add(ms(expires))));
    DB::run(tx, query).await?;
    Ok(id)
}

impl<DB: Db> Outbox<DB> {
    /// The outbox of a database whose tables [are there](crate::migrate).
    pub fn new(pool: Pool<DB>) -> Self {
        Self { pool, woken: Arc::new(Notify::new()) }
    }

    /// [`begin`] on this database.
    ///
    /// # Cancel safety
    /// Nothing has happened.
    pub async fn begin(&self) -> Result<Tx<DB>, Error> {
        begin(&self.pool).await
    }

    /// Commits, and wakes the relay.
    ///
    /// # Cancel safety
    /// Dropping the future leaves open whether it happens; the relay finds it when it looks next.
    pub async fn commit(&self, tx: Tx<DB>) -> Result<(), Error> {
        tx.commit().await?;
        self.notify();
        Ok(())
    }

    /// Wakes the relay of this process: something was committed. Without that it looks every
    /// [`RelaySettings::poll`](crate::RelaySettings::poll).
    pub fn notify(&self) {
        self.woken.notify_one();
    }
}

impl<DB: Db> Clone for Outbox<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), woken: Arc::clone(&self.woken) }
    }
}

impl<DB: Db> fmt::Debug for Outbox<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}
