//! Names, valid from birth: services, instances, documents of configuration.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::mesh::Workload;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a valid {what}: {rule}")]
pub struct InvalidName {
    /// The text that was given, cut to 64 characters.
    pub name: String,
    /// What it should have named.
    pub what: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl InvalidName {
    fn new(name: &str, what: &'static str, rule: &'static str) -> Self {
        Self { name: name.chars().take(64).collect(), what, rule }
    }
}

macro_rules! name_type {
    ($name:ident, $check:path) => {
        impl $name {
            /// Checks the text against the rule of the type.
            pub fn new(text: &str) -> Result<Self, InvalidName> {
                $check(text)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

/// A service's logical name: a DNS label, 1 to 63 of `a-z`, `0-9` and inner `-`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(Arc<str>);

/// One running copy of a service: 1 to 128 of `a-z A-Z 0-9 - _ . :`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId(Arc<str>);

/// A document of configuration, `NAMESPACE/NAME`: each part 1 to 63 of `a-z 0-9 - _ .`, beginning with
/// a letter or a digit. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ConfigKey(Arc<str>);

/// The namespaces of what the workloads of a mesh act by.
const OF_SERVICES: &str = "bowline.service";
const OF_OTHERS: &str = "bowline.mesh";

name_type!(ServiceName, check_service_name);
name_type!(InstanceId, check_instance_id);
name_type!(ConfigKey, check_config_key);

impl ConfigKey {
    /// The namespace of what Bowline itself is configured by.
    pub const RESERVED_NAMESPACE: &str = "bowline";

    /// The namespaces of [snapshots](Self::snapshot).
    pub const SNAPSHOT_NAMESPACES: [&str; 2] = [OF_SERVICES, OF_OTHERS];

    /// The route table that gateways serve by: `bowline/routes`.
    pub fn routes() -> Self {
        Self(Arc::from("bowline/routes"))
    }

    /// How traffic is steered and disturbed: `bowline/traffic`.
    pub fn traffic() -> Self {
        Self(Arc::from("bowline/traffic"))
    }

    /// Which traces are kept: `bowline/tracing`.
    pub fn tracing() -> Self {
        Self(Arc::from("bowline/tracing"))
    }

    /// What is watched for, and who is told: `bowline/alerts`.
    pub fn alerts() -> Self {
        Self(Arc::from("bowline/alerts"))
    }

    /// What a workload of the mesh acts by: `bowline.service/NAME` for a service, `bowline.mesh/NAME` for others.
    pub fn snapshot(workload: &Workload) -> Self {
        match workload {
            Workload::Service(service) => Self(Arc::from(format!("{OF_SERVICES}/{service}"))),
            Workload::Gateway | Workload::Platform => Self(Arc::from(format!("{OF_OTHERS}/{workload}"))),
        }
    }

    /// Whose [snapshot](Self::snapshot) it is, if it is one's.
    pub fn workload(&self) -> Option<Workload> {
        let workload = match self.namespace() {
            OF_SERVICES => Workload::Service(ServiceName::new(self.name()).ok()?),
            OF_OTHERS => self.name().parse().ok()?,
            _ => return None,
        };
        (Self::snapshot(&workload) == *self).then_some(workload)
    }

    /// The part before the slash.
    pub fn namespace(&self) -> &str {
        self.parts().0
    }

    /// The part after the slash.
    pub fn name(&self) -> &str {
        self.parts().1
    }

    /// Whether it is Bowline's own.
    pub fn is_reserved(&self) -> bool {
        Self::is_reserved_namespace(self.namespace())
    }

    /// Whether the documents of a namespace are Bowline's own: `bowline`, and what begins with `bowline.`.
    pub fn is_reserved_namespace(namespace: &str) -> bool {
        let rest = namespace.strip_prefix(Self::RESERVED_NAMESPACE);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').expect("a key has one slash")
    }
}

fn check_service_name(text: &str) -> Result<(), InvalidName> {
    let error = |rule| Err(InvalidName::new(text, "service name", rule));
    if text.is_empty() || text.len() > 63 {
        return error("it has 1 to 63 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return error("only a-z, 0-9 and - are allowed");
    }
    if text.starts_with('-') || text.ends_with('-') {
        return error("it begins and ends with a letter or a digit");
    }
    Ok(())
}

fn check_instance_id(text: &str) -> Result<(), InvalidName> {
    let error = |rule| Err(InvalidName::new(text, "instance id", rule));
    if text.is_empty() || text.len() > 128 {
        return error("it has 1 to 128 characters");
    }
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)) {
        return error("only a-z, A-Z, 0-9 and - _ . : are allowed");
    }
    Ok(())
}

fn check_config_key(text: &str) -> Result<(), InvalidName> {
    let error = |rule| Err(InvalidName::new(text, "configuration key", rule));
    let Some((namespace, name)) = text.split_once('/') else {
        return error("write NAMESPACE/NAME: shop/order");
    };
    for part in [namespace, name] {
        if part.is_empty() || part.len() > 63 {
            return error("namespace and name have 1 to 63 characters each");
        }
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        if !part.bytes().all(|b| is_plain(b) || b"-_.".contains(&b)) || !part.bytes().next().is_some_and(is_plain) {
            return error("only a-z, 0-9 and - _ . are allowed, and a letter or a digit first");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_snapshot_says_whose_it_is() {
        for text in ["service/order", "gateway", "bowline"] {
            let workload: Workload = text.parse().unwrap();
            let key = ConfigKey::snapshot(&workload);
            assert!(key.is_reserved() && ConfigKey::SNAPSHOT_NAMESPACES.contains(&key.namespace()), "{key}");
            assert_eq!(key.workload(), Some(workload));
        }
        for other in ["bowline/routes", "bowline.mesh/service", "bowline.service/a_b", "shop/order"] {
            assert_eq!(ConfigKey::new(other).unwrap().workload(), None, "{other}");
        }
    }

    #[test]
    fn names_are_checked() {
        for good in ["a", "order", "order-2", &"x".repeat(63)] {
            assert!(ServiceName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Order", "a_b", "-a", "a-", "a.b", &"x".repeat(64), "é"] {
            assert!(ServiceName::new(bad).is_err(), "{bad}");
        }
        for good in ["shop/order", "a/b.c_d-e", "0/1"] {
            let key = ConfigKey::new(good).unwrap();
            assert_eq!(format!("{}/{}", key.namespace(), key.name()), good);
        }
        for bad in ["", "shop", "shop/", "/order", "a/b/c", "A/b", "a/../b", "a/.b", "a/ b"] {
            assert!(ConfigKey::new(bad).is_err(), "{bad}");
        }
        assert!(ConfigKey::new(ConfigKey::routes().as_str()).unwrap().is_reserved());
        assert!(InstanceId::new("order-1.host:80").is_ok());
        assert!(InstanceId::new("order/1").is_err());
        assert!(InstanceId::new(&"x".repeat(129)).is_err());
    }
}
