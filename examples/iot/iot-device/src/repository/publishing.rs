//! What is to be published, and that it was.

use bowline::sql::Tx;
use example_sql::{Db, Row, Statement};

use super::{Error, SqlDevices};
use crate::{
    broker::Kind,
    device::{Credential, Due, Token},
};

impl<DB: Db> SqlDevices<DB> {
    /// Accounts first, so that a device that is new finds the rest. Commands wait for their device.
    pub(super) async fn select_due(&self, now_ms: i64, limit: i64) -> Result<Vec<Due>, Error> {
        let mut connection = self.sql.read().await?;
        let accounts = Statement::new(
            "SELECT id, is_removed, account_version, token_hash, token FROM devices
             WHERE account_published < account_version ORDER BY id LIMIT $1",
        );
        let desired = Statement::new(
            "SELECT id, desired, desired_version FROM devices
             WHERE desired_published < desired_version AND is_removed = 0 ORDER BY id LIMIT $1",
        );
        let commands = Statement::new(
            "SELECT commands.id AS id, device, commands.name AS name, arguments, asked, expires_ms
             FROM commands JOIN devices ON devices.id = commands.device
             WHERE ended_ms IS NULL AND published < asked AND expires_ms > $1 AND is_connected = 1 AND is_removed = 0
             ORDER BY commands.created_ms, commands.id LIMIT $2",
        );
        let mut due = Vec::new();
        for row in self.sql.rows(&mut connection, "devices", accounts.bind(limit)).await? {
            due.push(account_of(&row)?);
        }
        for row in self.sql.rows(&mut connection, "devices", desired.bind(limit)).await? {
            due.push(desired_of(&row)?);
        }
        for row in self.sql.rows(&mut connection, "commands", commands.bind(now_ms).bind(limit)).await? {
            due.push(command_of(&row)?);
        }
        Ok(due)
    }

    pub(super) async fn note_broker(&self, kind: Kind, has_forgotten: bool) -> Result<i64, Error> {
        let mut tx = self.sql.begin().await?;
        let note = Statement::new(
            "INSERT INTO brokers (id, kind) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET kind = $1 WHERE brokers.kind <> $1",
        );
        let is_another = self.sql.execute(&mut tx, "brokers", note.bind(kind.word())).await? > 0;
        let mut unknown = 0;
        if is_another || has_forgotten {
            let count =
                Statement::new("SELECT COUNT(*) AS unknown FROM devices WHERE is_removed = 0 AND token IS NULL");
            let row = self.sql.row(&mut tx, "devices", count).await?;
            unknown = row.map(|row| row.int("unknown")).transpose()?.unwrap_or(0);
            let again = Statement::new("UPDATE devices SET account_published = 0, desired_published = 0");
            self.sql.execute(&mut tx, "devices", again).await?;
        }
        tx.commit().await?;
        Ok(unknown)
    }

    pub(super) async fn note_published(&self, due: &[Due]) -> Result<(), Error> {
        let mut tx = self.sql.begin().await?;
        for due in due {
            self.note(&mut tx, due).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn note(&self, tx: &mut Tx<DB>, due: &Due) -> Result<(), Error> {
        let (table, update) = match due {
            Due::Account { device, version, .. } => {
                let update = Statement::new(
                    "UPDATE devices SET account_published = $2,
                            token = CASE WHEN account_version = $2 THEN NULL ELSE token END WHERE id = $1",
                );
                ("devices", update.bind(device).bind(*version))
            }
            Due::Removal { device } => {
                let delete = Statement::new("DELETE FROM commands WHERE device = $1").bind(device);
                self.sql.execute(tx, "commands", delete).await?;
                let update = "UPDATE devices SET account_published = account_version WHERE id = $1 AND is_removed = 1";
                ("devices", Statement::new(update).bind(device))
            }
            Due::Desired { device, told } => {
                let update = Statement::new("UPDATE devices SET desired_published = $2 WHERE id = $1");
                ("devices", update.bind(device).bind(told.version))
            }
            Due::Command { asked, told, .. } => {
                let update = Statement::new(
                    "UPDATE commands SET published = $2, state = CASE WHEN state = 'waiting' THEN 'sent' ELSE state END
                     WHERE id = $1",
                );
                ("commands", update.bind(&told.id).bind(*asked))
            }
        };
        self.sql.execute(tx, table, update).await?;
        Ok(())
    }
}

fn account_of<DB: Db>(row: &Row<DB>) -> Result<Due, Error> {
    let device = row.text("id")?;
    if row.int("is_removed")? == 1 {
        return Ok(Due::Removal { device });
    }
    let credential = Credential { hash: row.text("token_hash")?, token: row.maybe_text("token")?.map(Token) };
    Ok(Due::Account { device, version: row.int("account_version")?, credential })
}

fn desired_of<DB: Db>(row: &Row<DB>) -> Result<Due, Error> {
    let desired = serde_json::from_str(&row.text("desired")?)?;
    let told = iot_mqtt::Desired { version: row.int("desired_version")?, desired };
    Ok(Due::Desired { device: row.text("id")?, told })
}

fn command_of<DB: Db>(row: &Row<DB>) -> Result<Due, Error> {
    let told = iot_mqtt::Command {
        id: row.text("id")?,
        name: row.text("name")?,
        arguments: serde_json::from_str(&row.text("arguments")?)?,
        expires_ms: row.int("expires_ms")?,
    };
    Ok(Due::Command { device: row.text("device")?, asked: row.int("asked")?, told })
}
