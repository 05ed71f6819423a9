//! Commands and how they end.

use example_sql::{Db, Row, Statement};
use iot_mqtt::Ack;

use super::{COMMANDS_OPEN_MAX, Commanding, Error, FORGOTTEN_MAX, SqlDevices};
use crate::device::{Command, NewCommand, State};

impl<DB: Db> SqlDevices<DB> {
    pub(super) async fn insert_command(&self, new: &NewCommand, now_ms: i64) -> Result<Commanding, Error> {
        let NewCommand { device, told } = new;
        let mut tx = self.sql.begin().await?;
        let lock = Statement::new("SELECT id FROM devices WHERE id = $1 AND is_removed = 0").bind(device).locking();
        if self.sql.row(&mut tx, "devices", lock).await?.is_none() {
            return Ok(Commanding::NoDevice);
        }
        let count = Statement::new(
            "SELECT COUNT(*) AS open FROM commands WHERE device = $1 AND ended_ms IS NULL AND expires_ms > $2",
        );
        let open = self.sql.row(&mut tx, "commands", count.bind(device).bind(now_ms)).await?;
        if open.map(|row| row.int("open")).transpose()?.unwrap_or(0) >= COMMANDS_OPEN_MAX {
            return Ok(Commanding::TooMany);
        }
        let insert = Statement::new(
            "INSERT INTO commands (id, device, name, arguments, state, created_ms, expires_ms)
             VALUES ($1, $2, $3, $4, 'waiting', $5, $6)",
        );
        let insert = insert.bind(&told.id).bind(device).bind(&told.name);
        let insert = insert.bind(serde_json::to_string(&told.arguments)?).bind(now_ms).bind(told.expires_ms);
        self.sql.execute(&mut tx, "commands", insert).await?;
        tx.commit().await?;
        Ok(Commanding::Waiting)
    }

    pub(super) async fn select_command(&self, device: &str, id: &str) -> Result<Option<Command>, Error> {
        let select = Statement::new(
            "SELECT commands.id AS id, commands.name AS name, arguments, state, detail,
                    commands.created_ms AS created_ms, expires_ms, ended_ms
             FROM commands JOIN devices ON devices.id = commands.device
             WHERE commands.id = $1 AND device = $2 AND is_removed = 0",
        );
        let row = self.sql.row(&mut *self.sql.read().await?, "commands", select.bind(id).bind(device)).await?;
        row.map(|row| command_of(&row)).transpose()
    }

    pub(super) async fn end_command(&self, device: &str, ack: &Ack, now_ms: i64) -> Result<bool, Error> {
        let update = Statement::new(
            "UPDATE commands SET state = $3, detail = $4, ended_ms = $5
             WHERE id = $1 AND device = $2 AND ended_ms IS NULL AND expires_ms > $5",
        );
        let update = update.bind(&ack.command).bind(device).bind(State::from(ack.state).word());
        let update = update.bind(ack.detail.as_deref()).bind(now_ms);
        Ok(self.change_commands(update).await? > 0)
    }

    pub(super) async fn expire_commands(&self, now_ms: i64) -> Result<u64, Error> {
        let update = Statement::new(
            "UPDATE commands SET state = 'expired', ended_ms = expires_ms WHERE ended_ms IS NULL AND expires_ms <= $1",
        );
        self.change_commands(update.bind(now_ms)).await
    }

    pub(super) async fn delete_commands(&self, before_ms: i64) -> Result<u64, Error> {
        let delete = Statement::new(
            "DELETE FROM commands
             WHERE id IN (SELECT id FROM commands WHERE ended_ms IS NOT NULL AND ended_ms < $1 LIMIT $2)",
        );
        self.change_commands(delete.bind(before_ms).bind(FORGOTTEN_MAX)).await
    }

    async fn change_commands(&self, statement: Statement) -> Result<u64, Error> {
        let mut tx = self.sql.begin().await?;
        let count = self.sql.execute(&mut tx, "commands", statement).await?;
        tx.commit().await?;
        Ok(count)
    }
}

fn command_of<DB: Db>(row: &Row<DB>) -> Result<Command, Error> {
    Ok(Command {
        id: row.text("id")?,
        state: State::parse(&row.text("state")?).ok_or(Error::State)?,
        detail: row.maybe_text("detail")?,
        name: row.text("name")?,
        arguments: serde_json::from_str(&row.text("arguments")?)?,
        created_at_ms: row.int("created_ms")?,
        expires_at_ms: row.int("expires_ms")?,
        ended_at_ms: row.maybe_int("ended_ms")?,
    })
}
