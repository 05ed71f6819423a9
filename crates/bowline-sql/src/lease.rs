//! A lease on a task that one process of a database does at a time.

use std::time::Duration;

use bowline_runtime::{
    rand,
    time::{self, Instant},
};
use sqlx::Pool;

use crate::{
    Error,
    db::{Db, Query},
    ms, now_ms,
};

/// The claim of this process on a task. Clocks of replicas should agree to well within its length.
#[derive(Debug)]
pub(crate) struct Lease {
    name: &'static str,
    owner: String,
    length: Duration,
    held_until: Option<Instant>,
}

impl Lease {
    pub(crate) fn new(name: &'static str, length: Duration) -> Self {
        Self { name, owner: owner(), length, held_until: None }
    }

    /// Until when it is held, where more than half of it is left.
    fn held(&self) -> Option<Instant> {
        self.held_until.filter(|until| *until > time::now() + self.length / 2)
    }

    /// Holds it, or takes it where nobody does; until when, if so. It is renewed once half of it is over.
    pub(crate) async fn hold<DB: Db>(&mut self, pool: &Pool<DB>) -> Result<Option<Instant>, Error> {
        if let Some(until) = self.held() {
            return Ok(Some(until));
        }
        let (asked, now) = (time::now(), now_ms());
        self.held_until = None;
        let sql = "INSERT INTO bowline_leases (name, owner, until_ms) VALUES ($1, $2, $3) \
                   ON CONFLICT (name) DO UPDATE SET owner = $2, until_ms = $3 \
                   WHERE bowline_leases.until_ms <= $4 OR bowline_leases.owner = $2";
        let query = Query::new(sql).text(self.name).text(&self.owner).int(now.saturating_add(ms(self.length))).int(now);
        let mut connection = pool.acquire().await?;
        if DB::run(&mut connection, query).await? == 1 {
            self.held_until = Some(asked + self.length);
        }
        Ok(self.held_until)
    }
}

/// A name that no other process has.
pub(crate) fn owner() -> String {
    format!("{:032x}", rand::u128())
}
