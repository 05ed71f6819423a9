//! One running copy of a service: who it is and where it is reached.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::name::{InstanceId, ServiceName};

/// Where something listens. As text: `127.0.0.1:80`, `[::1]:80`, `unix:/path/to.sock`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// A text that is no [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an address: write IP:PORT or unix:/PATH")]
pub struct InvalidAddress(pub String);

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = || InvalidAddress(text.chars().take(128).collect());
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(_) => Err(invalid()),
            None => text.parse().map(Self::Tcp).map_err(|_| invalid()),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = InvalidAddress;

    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What an instance speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// HTTP/1.1, and HTTP/2 with prior knowledge: the caller's choice.
    Both,
}

/// The verdict of an instance's checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Takes requests.
    #[default]
    Healthy,
    /// Fails its checks; gets no requests while a healthy one is there.
    Unhealthy,
    /// Finishes what it has; gets nothing new.
    Draining,
}

impl Health {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
            Self::Draining => "draining",
        }
    }
}

/// One running copy of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Unique in the system.
    pub id: InstanceId,
    /// What it is a copy of.
    pub service: ServiceName,
    /// Where it is reached.
    pub address: Address,
    /// What it speaks there.
    #[serde(default)]
    pub protocol: Protocol,
    /// Its share of the traffic beside others, 1 to 1000.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// The release it runs; empty when not told.
    #[serde(default)]
    pub version: String,
    /// The failure domain it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The verdict of its checks.
    #[serde(default)]
    pub health: Health,
    /// Whatever its owner wants known of it: at most [`METADATA_MAX`] pairs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// The most metadata pairs an instance has; keys hold up to 64, values up to 512 bytes.
pub const METADATA_MAX: usize = 64;

/// The beginning of the paths at which instances answer Bowline itself: nobody else is let in, whatever a route or a
/// rule says.
pub const OWN_PATHS: &str = "/-/bowline/";

/// The beginning of the metadata keys that are Bowline's own: nobody else sets them.
pub const METADATA_RESERVED_PREFIX: &str = "bowline.";

/// The metadata key of an instance that a supervisor runs; who holds it decides about the instance.
pub const METADATA_SUPERVISED: &str = "bowline.supervised";

/// The metadata key that says how an instance takes part in the mesh.
pub const METADATA_MESH: &str = "bowline.mesh";

/// What [`METADATA_MESH`] says of an instance that takes connections under mutual TLS.
pub const METADATA_MESH_MTLS: &str = "mtls";

/// The metadata key that says where an instance exposes its metrics: a path that begins with `/`, or
/// [`METADATA_METRICS_OFF`]. Without it, `/metrics` is tried.
pub const METADATA_METRICS: &str = "bowline.metrics";

/// What [`METADATA_METRICS`] says of an instance that is not to be asked for metrics.
pub const METADATA_METRICS_OFF: &str = "off";

/// The header by which the answer to a health check says what is spoken there beside HTTP/1.1.
pub const SPEAKS_HEADER: &str = "x-bowline-speaks";

/// What [`SPEAKS_HEADER`] says of HTTP/2 with prior knowledge.
pub const SPEAKS_HTTP2: &str = "h2";

/// The shortest and the longest lease an instance may ask for.
pub const LEASE_TTL_RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(1));

fn default_weight() -> u32 {
    100
}

/// What is wrong with an instance as given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct InvalidInstance {
    /// The field at fault.
    pub field: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl Instance {
    /// A healthy HTTP/1.1 instance of weight 100 without metadata.
    pub fn new(id: InstanceId, service: ServiceName, address: Address) -> Self {
        Self {
            id,
            service,
            address,
            protocol: Protocol::default(),
            weight: default_weight(),
            version: String::new(),
            zone: None,
            health: Health::default(),
            metadata: BTreeMap::new(),
        }
    }

    /// Checks the bounds that its types cannot carry.
    pub fn validate(&self) -> Result<(), InvalidInstance> {
        let check = |ok: bool, field, rule| if ok { Ok(()) } else { Err(InvalidInstance { field, rule }) };
        check((1..=1000).contains(&self.weight), "weight", "it is 1 to 1000")?;
        check(self.version.len() <= 128, "version", "it has at most 128 bytes")?;
        check(self.zone.as_ref().is_none_or(|z| (1..=64).contains(&z.len())), "zone", "it has 1 to 64 bytes")?;
        check(self.metadata.len() <= METADATA_MAX, "metadata", "it has at most 64 pairs")?;
        check(self.metadata.keys().all(|k| (1..=64).contains(&k.len())), "metadata", "a key has 1 to 64 bytes")?;
        check(self.metadata.values().all(|v| v.len() <= 512), "metadata", "a value has at most 512 bytes")?;
        check_address(&self.address).map_err(|rule| InvalidInstance { field: "address", rule })
    }
}

/// Checks that an address is one that others can reach an instance at; the rule it breaks if not.
pub fn check_address(address: &Address) -> Result<(), &'static str> {
    let Address::Tcp(addr) = address else { return Ok(()) };
    let ip = addr.ip().to_canonical();
    if ip.is_unspecified() {
        return Err("write the IP that others reach it at: 0.0.0.0 and [::] are where it listens, not where it is");
    }
    if ip.is_multicast() {
        return Err("write the IP of one machine: this one is of a multicast group");
    }
    if addr.port() == 0 { Err("its port is not 0") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_text() {
        for text in ["127.0.0.1:80", "[::1]:8080", "unix:/run/a.sock"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for bad in ["", "localhost:80", "127.0.0.1", "unix:a.sock", ":80"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn bounds_are_checked() {
        let id = InstanceId::new("a-1").unwrap();
        let good = Instance::new(id, ServiceName::new("a").unwrap(), "127.0.0.1:80".parse().unwrap());
        assert_eq!(good.validate(), Ok(()));
        let heavy = Instance { weight: 1001, ..good.clone() };
        assert_eq!(heavy.validate().unwrap_err().field, "weight");
        let nowhere = Instance { address: "127.0.0.1:0".parse().unwrap(), ..good };
        assert_eq!(nowhere.validate().unwrap_err().field, "address");
    }

    #[test]
    fn an_address_is_where_one_machine_is() {
        let (id, service) = (InstanceId::new("a-1").unwrap(), ServiceName::new("a").unwrap());
        let validate = |address: &str| Instance::new(id.clone(), service.clone(), address.parse().unwrap()).validate();
        for bad in ["0.0.0.0:80", "[::]:80", "[::ffff:0.0.0.0]:80", "224.0.0.1:80", "[ff02::1]:80"] {
            let error = validate(bad).unwrap_err();
            assert_eq!(error.field, "address", "{bad}");
            assert!(error.rule.starts_with("write the IP"), "{bad}: {error}");
        }
        for good in ["10.0.0.1:80", "[::1]:80", "unix:/run/a.sock"] {
            assert_eq!(validate(good), Ok(()), "{good}");
        }
    }
}
