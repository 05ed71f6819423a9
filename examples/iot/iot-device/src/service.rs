//! The rules of devices: what can be asked for, and what becomes of what they say.

use bowline::{
    Code, HandlerError,
    runtime::{metric::Registry, rand, time},
};
use iot_mqtt::{
    Presence,
    topic::{self, DEVICE_BYTES_MAX, Said},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Notify;

use crate::{
    broker::Kind,
    counts::{Counts, Refusal},
    device::{Command, Credential, Device, NewCommand, NewDevice, Object, Shadow, State, Token, is_shallow},
    fleet::Fleet,
    repository::{Adding, COMMANDS_OPEN_MAX, Commanding, Desiring, DeviceRepository, Error, FORGOTTEN_MAX},
};

/// The most devices. Our broker retains three messages for each, and up to 50,000.
pub(crate) const DEVICES_MAX: usize = 10_000;

/// The most devices of one list.
pub(crate) const LISTED_MAX: i64 = 1000;

/// The longest name of a device, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// The longest name of what is to be done, in bytes.
const COMMAND_BYTES_MAX: usize = 64;

/// The longest arguments of a command, in bytes.
const ARGUMENTS_BYTES_MAX: usize = 4 << 10;

/// The longest state that is desired, in bytes; with what is said around it a device takes it.
const DESIRED_BYTES_MAX: usize = 8000;

/// The most objects and lists within each other.
const LEVELS_MAX: usize = 16;

/// For how long commands are wanted, where nothing is said, in seconds.
const TTL_S: i64 = 300;

/// For how long they can be, in seconds.
const TTL_S_MAX: i64 = 7 * 24 * 60 * 60;

/// For how long it is known how a command ended.
const ENDED_FOR_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// For how long the id of a removed device is not given again: readings are known by it for as long.
const FREE_AFTER_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// Keeps devices.
#[derive(Debug)]
pub(crate) struct DeviceService<R> {
    pub(crate) repository: R,
    pub(crate) fleet: Fleet,
    pub(crate) counts: Counts,
    /// Told when there is something to publish.
    pub(crate) due: Notify,
    kind: Kind,
}

/// A device as it is asked for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provisioning {
    pub(crate) id: Option<String>,
    pub(crate) name: Option<String>,
}

/// A device with its token, which is told this once.
#[derive(Debug, Serialize)]
pub(crate) struct Provisioned {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) token: Token,
}

/// A command as it is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) arguments: Object,
    pub(crate) ttl_s: Option<i64>,
}

/// A command that is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Accepted {
    pub(crate) command: String,
    pub(crate) state: State,
}

impl<R: DeviceRepository> DeviceService<R> {
    /// With the devices there are.
    pub(crate) async fn load(repository: R, kind: Kind, metrics: &Registry) -> Result<Self, Error> {
        let (fleet, counts) = (Fleet::default(), Counts::new(metrics));
        let mut after = String::new();
        loop {
            let devices = repository.list(&after, LISTED_MAX).await?;
            for device in &devices {
                fleet.add(&device.id);
                fleet.set_connected(&device.id, device.connected);
            }
            let Some(last) = devices.into_iter().last() else { break };
            after = last.id;
        }
        fleet.show(&counts);
        Ok(Self { repository, fleet, counts, due: Notify::new(), kind })
    }

    /// Adds a device. Its account is published once the broker can be reached.
    pub(crate) async fn provision(&self, asked: Provisioning, now_ms: i64) -> Result<Provisioned, HandlerError> {
        let Provisioning { id, name } = asked;
        let id = id.unwrap_or_else(|| format!("d-{:032x}", rand::u128()));
        if !topic::is_device(&id) {
            let rule = format!("id: `d-`, then letters, digits, - and _, at most {DEVICE_BYTES_MAX} in all");
            return Err(unprocessable(rule));
        }
        if let Some(name) = &name {
            check_text("name", name, NAME_BYTES_MAX)?;
        }
        // Those that are asked for at once may be a few more.
        if self.fleet.count() >= DEVICES_MAX {
            let rule = format!("there is room for {DEVICES_MAX} devices, remove one first");
            return Err(HandlerError::new(Code::InsufficientStorage, rule));
        }
        let (token, credential) = self.credential()?;
        let new = NewDevice { id: id.clone(), name: name.clone(), credential, created_ms: now_ms };
        let refuse = |detail| HandlerError::new(Code::AlreadyExists, detail);
        match self.repository.add(&new).await? {
            Adding::Added => {}
            Adding::Taken => return Err(refuse(format!("there is a device `{id}`"))),
            Adding::Removed(removed_ms) => {
                let free_at_ms = removed_ms + FREE_AFTER_MS;
                let detail = format!(
                    "`{id}` was removed, its readings are known by its id until {free_at_ms} ms after 1970: take another"
                );
                return Err(refuse(detail).with("free_at_ms", free_at_ms));
            }
        }
        self.fleet.add(&id);
        self.fleet.show(&self.counts);
        self.due.notify_one();
        Ok(Provisioned { id, name, token })
    }

    /// Gives a device a new token. The old one ends once the broker can be reached.
    pub(crate) async fn renew(&self, device: &str) -> Result<Provisioned, HandlerError> {
        check_device(device)?;
        let (token, credential) = self.credential()?;
        if !self.repository.renew(device, &credential).await? {
            return Err(no_device(device));
        }
        self.fleet.add(device);
        self.fleet.show(&self.counts);
        self.due.notify_one();
        let name = self.repository.find(device).await?.and_then(|device| device.name);
        Ok(Provisioned { id: device.to_owned(), name, token })
    }

    /// Removes a device: what it says is not taken any more, and it does not connect again.
    pub(crate) async fn remove(&self, device: &str, now_ms: i64) -> Result<(), HandlerError> {
        check_device(device)?;
        let was_there = self.repository.remove(device, now_ms).await?;
        // Also where it was not: the answer to whoever removed it may have been lost on its way from the database.
        self.fleet.remove(device);
        self.fleet.show(&self.counts);
        self.due.notify_one();
        if was_there { Ok(()) } else { Err(no_device(device)) }
    }

    /// Whether there is such a device. Where that is not known here, as the answer of the database was lost when it was
    /// added, the database is asked.
    pub(crate) async fn knows(&self, device: &str) -> Result<bool, Error> {
        if !self.fleet.knows(device) && self.repository.find(device).await?.is_some() {
            self.fleet.add(device);
            self.fleet.show(&self.counts);
        }
        Ok(self.fleet.knows(device))
    }

    pub(crate) async fn show(&self, id: &str) -> Result<Device, HandlerError> {
        check_device(id)?;
        let device = self.repository.find(id).await?.ok_or_else(|| no_device(id))?;
        Ok(self.newest(device))
    }

    /// Up to so many devices behind an id.
    pub(crate) async fn list(&self, after: &str, limit: i64) -> Result<Vec<Device>, HandlerError> {
        if !(1..=LISTED_MAX).contains(&limit) {
            return Err(unprocessable(format!("limit: 1 to {LISTED_MAX}")));
        }
        if after.contains(char::is_control) {
            return Err(unprocessable("after: no control characters".to_owned()));
        }
        let devices = self.repository.list(after, limit).await?;
        Ok(devices.into_iter().map(|device| self.newest(device)).collect())
    }

    pub(crate) async fn shadow(&self, device: &str) -> Result<Shadow, HandlerError> {
        check_device(device)?;
        self.repository.shadow(device).await?.ok_or_else(|| no_device(device))
    }

    /// Changes what is desired of a device, where it is of that version, if one is said.
    pub(crate) async fn desire(
        &self,
        device: &str,
        desired: Object,
        version: Option<i64>,
    ) -> Result<Shadow, HandlerError> {
        check_device(device)?;
        check_object("desired", &desired, DESIRED_BYTES_MAX)?;
        match self.repository.desire(device, &desired, version).await? {
            Desiring::Desired(shadow) => {
                self.due.notify_one();
                Ok(shadow)
            }
            Desiring::OtherVersion(version) => {
                let detail = format!("what is desired is of version {version}, look at it and ask again");
                Err(HandlerError::new(Code::Conflict, detail).with("desired_version", version))
            }
            Desiring::NoDevice => Err(no_device(device)),
        }
    }

    /// Has a device told to do something.
    pub(crate) async fn command(&self, device: &str, asked: Asked, now_ms: i64) -> Result<Accepted, HandlerError> {
        check_device(device)?;
        let Asked { name, arguments, ttl_s } = asked;
        check_text("name", &name, COMMAND_BYTES_MAX)?;
        check_object("arguments", &arguments, ARGUMENTS_BYTES_MAX)?;
        let ttl_s = ttl_s.unwrap_or(TTL_S);
        if !(1..=TTL_S_MAX).contains(&ttl_s) {
            return Err(unprocessable(format!("ttl_s: 1 to {TTL_S_MAX} seconds")));
        }
        let id = format!("c-{:032x}", rand::u128());
        let told = iot_mqtt::Command { id, name, arguments, expires_ms: now_ms + 1000 * ttl_s };
        let new = NewCommand { device: device.to_owned(), told };
        match self.repository.command(&new, now_ms).await? {
            Commanding::Waiting => {
                self.due.notify_one();
                Ok(Accepted { command: new.told.id, state: State::Waiting })
            }
            Commanding::TooMany => {
                let detail = format!("{COMMANDS_OPEN_MAX} commands of the device have not ended, ask again later");
                Err(HandlerError::new(Code::RateLimited, detail))
            }
            Commanding::NoDevice => Err(no_device(device)),
        }
    }

    pub(crate) async fn show_command(&self, device: &str, id: &str, now_ms: i64) -> Result<Command, HandlerError> {
        let none = || HandlerError::new(Code::NotFound, "the device has no such command, or had it a week ago");
        if !topic::is_device(device) || !iot_mqtt::is_command(id) {
            return Err(none());
        }
        let command = self.repository.find_command(device, id).await?;
        Ok(command.ok_or_else(none)?.at(now_ms))
    }

    /// Takes what a device said that is no reading. When this returns it is durable, or not to be taken.
    pub(crate) async fn hear(
        &self,
        (device, said): (&str, Said),
        payload: &[u8],
        is_remembered: bool,
        now_ms: i64,
    ) -> Result<(), Error> {
        if !self.knows(device).await? {
            self.counts.refuse(device, said, Refusal::NoDevice);
            return Ok(());
        }
        let refuse = |why: &str| self.counts.refuse(device, said, Refusal::Malformed(why));
        match said {
            Said::Reported => match iot_mqtt::reported(payload) {
                Ok(reported) => self.repository.report(device, &reported, is_remembered).await?,
                Err(why) => refuse(&why),
            },
            Said::Acks => match iot_mqtt::ack(payload) {
                Ok(ack) => self.acknowledge(device, &ack, now_ms).await?,
                Err(why) => refuse(&why),
            },
            Said::Status => match Presence::parse(payload) {
                Some(presence) => self.present(device, presence, is_remembered, now_ms).await?,
                // What was retained was taken away.
                None if payload.is_empty() => {}
                None => refuse("neither `online` nor `offline`"),
            },
            Said::Readings => refuse("readings come in the other session"),
        }
        Ok(())
    }

    /// Does what time brings.
    pub(crate) async fn sweep(&self, now_ms: i64) -> Result<(), Error> {
        self.counts.expired.add(self.repository.expire(now_ms).await?);
        while self.repository.forget(now_ms - ENDED_FOR_MS).await? >= FORGOTTEN_MAX.unsigned_abs() {}
        while self.repository.free(now_ms - FREE_AFTER_MS).await? >= FORGOTTEN_MAX.unsigned_abs() {}
        let heard = self.fleet.take_heard();
        if !heard.is_empty() {
            let kept = self.repository.heard(&heard).await;
            if kept.is_err() {
                self.fleet.give_back(&heard);
            }
            kept?;
        }
        Ok(())
    }

    async fn acknowledge(&self, device: &str, ack: &iot_mqtt::Ack, now_ms: i64) -> Result<(), Error> {
        let has_ended = self.repository.acknowledge(device, ack, now_ms).await?;
        let counter = match ack.state {
            _ if !has_ended => &self.counts.late,
            iot_mqtt::Outcome::Done => &self.counts.done,
            iot_mqtt::Outcome::Failed => &self.counts.failed,
        };
        counter.increment();
        Ok(())
    }

    async fn present(&self, device: &str, presence: Presence, is_remembered: bool, now_ms: i64) -> Result<(), Error> {
        self.repository.present(device, presence, is_remembered, now_ms).await?;
        self.fleet.set_connected(device, presence == Presence::Online);
        self.fleet.show(&self.counts);
        self.due.notify_one();
        Ok(())
    }

    /// A new token, and what is kept of it.
    fn credential(&self) -> Result<(Token, Credential), HandlerError> {
        let token = Token(iot_mqtt::token().map_err(HandlerError::internal)?);
        let hash = iot_mqtt::hash(token.0.as_bytes());
        let kept = (self.kind == Kind::Mosquitto).then(|| token.clone());
        Ok((token, Credential { hash, token: kept }))
    }

    fn newest(&self, device: Device) -> Device {
        let last_reading_ms = self.fleet.last_reading_ms(&device.id).or(device.last_reading_ms);
        Device { last_reading_ms, ..device }
    }
}

/// The time, in milliseconds since 1970.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(time::unix_millis_now()).unwrap_or(i64::MAX)
}

fn no_device(device: &str) -> HandlerError {
    HandlerError::new(Code::NotFound, format!("no device `{device}`"))
}

/// What cannot be an id is nobody's, and no text for every database.
fn check_device(device: &str) -> Result<(), HandlerError> {
    if topic::is_device(device) { Ok(()) } else { Err(no_device(device)) }
}

fn unprocessable(rule: String) -> HandlerError {
    HandlerError::new(Code::Unprocessable, rule)
}

fn check_text(what: &str, text: &str, bytes_max: usize) -> Result<(), HandlerError> {
    if (1..=bytes_max).contains(&text.len()) && !text.contains(char::is_control) {
        return Ok(());
    }
    Err(unprocessable(format!("{what}: 1 to {bytes_max} bytes, no control characters")))
}

fn check_object(what: &str, object: &Object, bytes_max: usize) -> Result<(), HandlerError> {
    let value = Value::Object(object.clone());
    if is_shallow(&value, LEVELS_MAX) && value.to_string().len() <= bytes_max {
        return Ok(());
    }
    Err(unprocessable(format!("{what}: an object of at most {bytes_max} bytes and {LEVELS_MAX} levels")))
}
