//! Who may do what in the system: services everything, a device what is its own.
//!
//! The account of a device is a retained message: what the device service publishes to `accounts/DEVICE` is the SHA-256
//! of the device's token, in hexadecimal digits, and nothing there is no account. So it is as durable as all that is
//! retained, and the broker needs nobody else to let a device in, or to show it out: a device whose account changes is
//! closed, and of one that has none any more nothing is kept.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bowline_runtime::metric::Registry;
use iot_mqtt::{hash, secret::SERVICE, topic};

use crate::{
    admission::{Admission, Identity},
    broker::{Broker, Error, Handle},
    settings::Settings,
};

/// The longest packet of a device, in bytes: what it may say is no longer than 16 KiB, and has a topic.
const DEVICE_PACKET_BYTES_MAX: u32 = 20 << 10;

/// The system's [`Admission`].
#[derive(Debug)]
pub struct Accounts {
    /// The hash of the services' password.
    services: String,
    /// Where the devices' are; none before the broker runs.
    broker: OnceLock<Handle>,
}

impl Accounts {
    /// Starts a broker with the accounts of its devices, and that password of its services.
    ///
    /// # Errors
    /// As [`Broker::start`].
    pub async fn start(settings: Settings, password: &str, metrics: &Registry) -> Result<Broker, Error> {
        let accounts = Arc::new(Self::new(password));
        let broker = Broker::start(settings, accounts.clone(), metrics).await?;
        accounts.broker.get_or_init(|| broker.handle());
        Ok(broker)
    }

    fn new(password: &str) -> Self {
        Self { services: hash(password.as_bytes()), broker: OnceLock::new() }
    }
}

impl Admission for Accounts {
    fn authenticate(&self, client: &str, user: Option<&str>, password: Option<&[u8]>) -> Option<Identity> {
        let user = user?;
        let shown = hash(password?);
        if user == SERVICE {
            let is_one = verify_slices_are_equal(shown.as_bytes(), self.services.as_bytes()).is_ok();
            // A device's session is its own.
            return (is_one && !client.starts_with("d-")).then(|| Identity::new(SERVICE));
        }
        let is_its = user == client && topic::is_device(client);
        let broker = self.broker.get().filter(|_| is_its)?;
        let known = broker.retained(&topic::account(client))?;
        let is_one = verify_slices_are_equal(shown.as_bytes(), &known).is_ok();
        is_one.then(|| Identity::new(client).with_packets_of(DEVICE_PACKET_BYTES_MAX))
    }

    fn may_publish(&self, who: &Identity, topic: &str) -> bool {
        who.name() == SERVICE || topic::parse(topic).is_some_and(|(device, _)| device == who.name())
    }

    fn may_subscribe(&self, who: &Identity, filter: &str) -> bool {
        let name = who.name();
        name == SERVICE || filter == topic::desired(name) || filter == topic::commands(name)
    }

    fn holder<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let (_, device) = topic.rsplit_once('/')?;
        (topic::is_device(device) && topic::account(device) == topic).then_some(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_does_what_is_its_own_and_a_service_all() {
        let accounts = Accounts::new("secret");
        let (device, service) = (Identity::new("d-1"), Identity::new(SERVICE));
        assert!(accounts.may_publish(&device, "devices/d-1/readings"));
        assert!(accounts.may_subscribe(&device, "devices/d-1/commands"));
        for topic in ["devices/d-2/readings", "devices/d-1", "devices/d-1/commands", "accounts/d-1", "d-1/readings"] {
            assert!(!accounts.may_publish(&device, topic), "{topic}");
            assert!(accounts.may_publish(&service, topic), "{topic}");
        }
        for filter in ["#", "devices/+/commands", "devices/d-1/#", "accounts/d-1", "devices/d-1/readings"] {
            assert!(!accounts.may_subscribe(&device, filter), "{filter}");
            assert!(accounts.may_subscribe(&service, filter), "{filter}");
        }
    }

    #[test]
    fn who_shows_nothing_or_the_wrong_thing_is_nobody() {
        let accounts = Accounts::new("secret");
        let is_known = |client, user, password: Option<&[u8]>| accounts.authenticate(client, user, password).is_some();
        assert!(is_known("data", Some(SERVICE), Some(b"secret")));
        assert!(!is_known("data", Some(SERVICE), Some(b"wrong")));
        assert!(!is_known("data", Some(SERVICE), None));
        assert!(!is_known("data", None, Some(b"secret")));
        assert!(!is_known("d-1", Some(SERVICE), Some(b"secret")), "a device's session is its own");
        assert!(!is_known("d-1", Some("d-1"), Some(b"token")), "no account");
    }
}
