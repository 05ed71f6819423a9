//! Devices and their shadows.

use std::collections::BTreeMap;

use bowline::sql::{self, Tx};
use example_sql::{Db, Row, Statement};
use iot_mqtt::{Presence, Reported};
use serde::Serialize;

use super::{Adding, Desiring, Error, FORGOTTEN_MAX, SqlDevices};
use crate::device::{Credential, Device, NewDevice, Object, Shadow, delta};

/// The columns of a device that is there.
macro_rules! select_devices {
    ($rest:literal) => {
        concat!(
            "SELECT id, name, created_ms, is_connected, since_ms, last_reading_ms FROM devices WHERE is_removed = 0 ",
            $rest
        )
    };
}

/// The columns of a shadow.
const SELECT_SHADOW: &str = "SELECT desired, desired_version, reported, reported_version FROM devices
                             WHERE id = $1 AND is_removed = 0";

/// What is told of a device that is removed.
#[derive(Debug, Serialize)]
struct Told<'a> {
    device: &'a str,
}

impl<DB: Db> SqlDevices<DB> {
    pub(super) async fn insert_device(&self, new: &NewDevice) -> Result<Adding, Error> {
        let NewDevice { id, name, credential, created_ms } = new;
        let insert = Statement::new(
            "INSERT INTO devices (id, name, created_ms, token_hash, token) VALUES ($1, $2, $3, $4, $5)
             ON CONFLICT (id) DO NOTHING",
        );
        let insert = insert.bind(id).bind(name.as_deref()).bind(*created_ms);
        let insert = insert.bind(&credential.hash).bind(credential.token.as_ref().map(|token| token.0.as_str()));
        if self.change(insert).await? {
            return Ok(Adding::Added);
        }
        let select = Statement::new(
            "SELECT COALESCE(removed_ms, 0) AS removed_ms FROM devices WHERE id = $1 AND is_removed = 1",
        );
        let row = self.sql.row(&mut *self.sql.read().await?, "devices", select.bind(id)).await?;
        row.map_or(Ok(Adding::Taken), |row| Ok(Adding::Removed(row.int("removed_ms")?)))
    }

    pub(super) async fn update_credential(&self, device: &str, credential: &Credential) -> Result<bool, Error> {
        let update = Statement::new(
            "UPDATE devices SET token_hash = $2, token = $3, account_version = account_version + 1
             WHERE id = $1 AND is_removed = 0",
        );
        let token = credential.token.as_ref().map(|token| token.0.as_str());
        self.change(update.bind(device).bind(&credential.hash).bind(token)).await
    }

    pub(super) async fn mark_removed(&self, device: &str, now_ms: i64) -> Result<bool, Error> {
        let update = Statement::new(
            "UPDATE devices SET is_removed = 1, removed_ms = $2, token = NULL, account_version = account_version + 1
             WHERE id = $1 AND is_removed = 0",
        );
        let mut tx = self.outbox.begin().await?;
        let was_there = self.sql.execute(&mut tx, "devices", update.bind(device).bind(now_ms)).await? > 0;
        if was_there {
            let told = self.removed.message(&Told { device }).key(device);
            sql::publish(&mut tx, self.removed.name(), told.into_message()?).await?;
        }
        self.outbox.commit(tx).await?;
        Ok(was_there)
    }

    pub(super) async fn delete_removed(&self, before_ms: i64) -> Result<u64, Error> {
        let delete = Statement::new(
            "DELETE FROM devices WHERE id IN (
                SELECT id FROM devices
                WHERE is_removed = 1 AND account_published >= account_version AND COALESCE(removed_ms, 0) < $1 LIMIT $2)",
        );
        let mut tx = self.sql.begin().await?;
        let count = self.sql.execute(&mut tx, "devices", delete.bind(before_ms).bind(FORGOTTEN_MAX)).await?;
        tx.commit().await?;
        Ok(count)
    }

    pub(super) async fn select_device(&self, device: &str) -> Result<Option<Device>, Error> {
        let select = Statement::new(select_devices!("AND id = $1")).bind(device);
        let row = self.sql.row(&mut *self.sql.read().await?, "devices", select).await?;
        row.map(|row| device_of(&row)).transpose()
    }

    pub(super) async fn select_devices(&self, after: &str, limit: i64) -> Result<Vec<Device>, Error> {
        let select = Statement::new(select_devices!("AND id > $1 ORDER BY id LIMIT $2")).bind(after).bind(limit);
        let rows = self.sql.rows(&mut *self.sql.read().await?, "devices", select).await?;
        rows.iter().map(device_of).collect()
    }

    pub(super) async fn select_shadow(&self, device: &str) -> Result<Option<Shadow>, Error> {
        let select = Statement::new(SELECT_SHADOW).bind(device);
        let row = self.sql.row(&mut *self.sql.read().await?, "devices", select).await?;
        row.map(|row| shadow_of(&row)).transpose()
    }

    pub(super) async fn update_desired(
        &self,
        device: &str,
        desired: &Object,
        version: Option<i64>,
    ) -> Result<Desiring, Error> {
        let mut tx = self.sql.begin().await?;
        let Some(shadow) = self.lock_shadow(&mut tx, device).await? else { return Ok(Desiring::NoDevice) };
        if version.is_some_and(|version| version != shadow.desired_version) {
            return Ok(Desiring::OtherVersion(shadow.desired_version));
        }
        let update = Statement::new("UPDATE devices SET desired = $2, desired_version = $3 WHERE id = $1");
        let update = update.bind(device).bind(serde_json::to_string(desired)?).bind(shadow.desired_version + 1);
        self.sql.execute(&mut tx, "devices", update).await?;
        tx.commit().await?;
        Ok(Desiring::Desired(Shadow {
            delta: delta(desired, &shadow.reported),
            desired: desired.clone(),
            desired_version: shadow.desired_version + 1,
            ..shadow
        }))
    }

    pub(super) async fn update_reported(
        &self,
        device: &str,
        said: &Reported,
        is_remembered: bool,
    ) -> Result<(), Error> {
        let mut tx = self.sql.begin().await?;
        let Some(shadow) = self.lock_shadow(&mut tx, device).await? else { return Ok(()) };
        // A version that was never desired says nothing: it is from before the device was added anew.
        let applied = said.version.filter(|version| (1..=shadow.desired_version).contains(version));
        let reported_version = applied.unwrap_or(shadow.reported_version);
        // What the broker remembers comes each time that it is connected, and is news only where it says so.
        let is_news = !is_remembered || reported_version > shadow.reported_version || shadow.reported.is_empty();
        if reported_version < shadow.reported_version || !is_news {
            return Ok(());
        }
        let update = Statement::new("UPDATE devices SET reported = $2, reported_version = $3 WHERE id = $1");
        let update = update.bind(device).bind(serde_json::to_string(&said.reported)?).bind(reported_version);
        self.sql.execute(&mut tx, "devices", update).await?;
        Ok(tx.commit().await?)
    }

    pub(super) async fn update_presence(
        &self,
        device: &str,
        presence: Presence,
        is_remembered: bool,
        now_ms: i64,
    ) -> Result<(), Error> {
        let is_connected = i64::from(presence == Presence::Online);
        let mut tx = self.sql.begin().await?;
        let update = Statement::new(
            "UPDATE devices SET is_connected = $2, since_ms = $3
             WHERE id = $1 AND is_removed = 0 AND (is_connected <> $2 OR since_ms IS NULL)",
        );
        let update = update.bind(device).bind(is_connected).bind(now_ms);
        let has_changed = self.sql.execute(&mut tx, "devices", update).await? > 0;
        if presence == Presence::Online && (has_changed || !is_remembered) {
            let again = Statement::new("UPDATE commands SET asked = asked + 1 WHERE device = $1 AND ended_ms IS NULL");
            self.sql.execute(&mut tx, "commands", again.bind(device)).await?;
        }
        Ok(tx.commit().await?)
    }

    pub(super) async fn update_heard(&self, last: &BTreeMap<String, i64>) -> Result<(), Error> {
        let mut tx = self.sql.begin().await?;
        for (device, at_ms) in last {
            let update = Statement::new("UPDATE devices SET last_reading_ms = $2 WHERE id = $1");
            self.sql.execute(&mut tx, "devices", update.bind(device).bind(*at_ms)).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn lock_shadow(&self, tx: &mut Tx<DB>, device: &str) -> Result<Option<Shadow>, Error> {
        let select = Statement::new(SELECT_SHADOW).bind(device).locking();
        let row = self.sql.row(tx, "devices", select).await?;
        row.map(|row| shadow_of(&row)).transpose()
    }

    /// Changes a row of devices; whether there was one.
    async fn change(&self, statement: Statement) -> Result<bool, Error> {
        let mut tx = self.sql.begin().await?;
        let has_changed = self.sql.execute(&mut tx, "devices", statement).await? > 0;
        tx.commit().await?;
        Ok(has_changed)
    }
}

fn device_of<DB: Db>(row: &Row<DB>) -> Result<Device, Error> {
    Ok(Device {
        id: row.text("id")?,
        name: row.maybe_text("name")?,
        created_at_ms: row.int("created_ms")?,
        connected: row.int("is_connected")? == 1,
        since_ms: row.maybe_int("since_ms")?,
        last_reading_ms: row.maybe_int("last_reading_ms")?,
    })
}

fn shadow_of<DB: Db>(row: &Row<DB>) -> Result<Shadow, Error> {
    let desired: Object = serde_json::from_str(&row.text("desired")?)?;
    let reported: Object = serde_json::from_str(&row.text("reported")?)?;
    Ok(Shadow {
        delta: delta(&desired, &reported),
        desired,
        desired_version: row.int("desired_version")?,
        reported,
        reported_version: row.int("reported_version")?,
    })
}
