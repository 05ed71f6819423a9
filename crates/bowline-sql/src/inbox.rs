//! The inbox: messages that were processed, so that a second delivery changes nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bowline_messaging::{ID_BYTES_MAX, check_name};

use crate::{
    Error,
    db::{Db, Query},
    ms, now_ms,
};

/// How often entries are looked for that are to be forgotten.
const FORGET_EVERY_MS: u64 = 60_000;

/// How many entries are forgotten at once.
const FORGOTTEN_AT_ONCE: u32 = 1000;

/// What was processed. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inbox {
    keep: Duration,
    forgot_ms: Arc<AtomicU64>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self::keeping(Duration::from_hours(24 * 7))
    }
}

impl Inbox {
    /// One that forgets after that time, which is to be longer than the topic keeps its messages.
    pub fn keeping(keep: Duration) -> Self {
        Self { keep, forgot_ms: Arc::new(AtomicU64::new(0)) }
    }

    /// Says in this transaction that a group of consumers processes a message; false: it did so before, change nothing.
    ///
    /// The caller's changes and this entry are committed as one. Two who process the same message at once wait for
    /// each other here.
    ///
    /// # Errors
    /// [`Error::Message`] where `group` or `message_id` cannot be one.
    ///
    /// # Cancel safety
    /// Roll the transaction back.
    pub async fn once<DB: Db>(
        &self,
        tx: &mut sqlx::Transaction<'_, DB>,
        group: &str,
        message_id: &str,
    ) -> Result<bool, Error> {
        check_name("group", group)?;
        if message_id.is_empty() || message_id.len() > ID_BYTES_MAX {
            return Err(Error::Invalid { what: "message id", rule: "it has 1 to 256 bytes" });
        }
        let now = now_ms();
        let sql = "INSERT INTO bowline_inbox (consumers, id, processed_ms) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let is_new = DB::run(tx, Query::new(sql).text(group).text(message_id).int(now)).await? == 1;
        if self.is_time_to_forget(now) {
            self.forget(tx, now).await?;
        }
        Ok(is_new)
    }

    /// Forgets what is old. Where more may be, the next message goes on: so they are forgotten faster than they come.
    async fn forget<DB: Db>(&self, tx: &mut sqlx::Transaction<'_, DB>, now: i64) -> Result<(), Error> {
        let sql = format!(
            "DELETE FROM bowline_inbox WHERE (consumers, id) IN \
             (SELECT consumers, id FROM bowline_inbox WHERE processed_ms < $1 LIMIT {FORGOTTEN_AT_ONCE} {})",
            DB::SKIP_LOCKED
        );
        let forgotten = DB::run(tx, Query::made(sql).int(now.saturating_sub(ms(self.keep)))).await?;
        if forgotten >= FORGOTTEN_AT_ONCE.into() {
            self.forgot_ms.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn is_time_to_forget(&self, now: i64) -> bool {
        let now = u64::try_from(now).unwrap_or_default();
        let last = self.forgot_ms.load(Ordering::Relaxed);
        now.saturating_sub(last) >= FORGET_EVERY_MS
            && self.forgot_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
