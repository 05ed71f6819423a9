//! The broker as this service knows it: where it is, of what kind, and how to connect.

use std::fmt;

use anyhow::Context as _;
use clap::ValueEnum;
use iot_mqtt::secret::SERVICE;
use rumqttc_v4::{AckMode, MqttOptions};

/// How often it is heard at least, in seconds.
const KEEP_ALIVE_S: u16 = 15;

/// The longest packet that comes, in bytes. Brokers have a bound of their own, which is to be lower: a message that is
/// longer than this would come again and again.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// How a broker is told who may connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The system's own: by a retained message for each device
    Embedded,
    /// Mosquitto: by its dynamic security plugin
    Mosquitto,
}

impl Kind {
    /// As it is kept.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Mosquitto => "mosquitto",
        }
    }
}

/// Where a broker is, and how to connect.
#[derive(Clone)]
pub(crate) struct Broker {
    host: String,
    port: u16,
    pub(crate) kind: Kind,
    password: String,
}

impl Broker {
    /// One at `HOST:PORT`.
    pub(crate) fn new(at: &str, kind: Kind, password: String) -> anyhow::Result<Self> {
        let parts = at.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parts.with_context(|| format!("`{at}` is no HOST:PORT of an MQTT broker (IOT_MQTT)"))?;
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port, kind, password })
    }

    /// A session of that name, which outlives its connections. What comes is acknowledged by whoever has done with it.
    pub(crate) fn options(&self, client: &str) -> MqttOptions {
        let mut options = MqttOptions::new(client, (self.host.clone(), self.port));
        options
            .set_keep_alive(KEEP_ALIVE_S)
            .set_credentials(SERVICE, self.password.clone())
            .set_clean_session(false)
            .set_ack_mode(AckMode::Manual)
            .set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
        options
    }
}

impl fmt::Debug for Broker {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, kind, .. } = self;
        f.debug_struct("Broker").field("host", host).field("port", port).field("kind", kind).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port_and_a_password_is_not_shown() {
        let broker = |at: &str| Broker::new(at, Kind::Embedded, "s3cret".to_owned());
        let shown = format!("{:?}", broker("[::1]:1883").unwrap());
        assert!(shown.contains("\"::1\"") && shown.contains("1883") && !shown.contains("s3cret"), "{shown}");
        for at in ["localhost", "localhost:", "localhost:mqtt", ""] {
            assert!(broker(at).unwrap_err().to_string().contains("IOT_MQTT"), "{at}");
        }
    }
}
