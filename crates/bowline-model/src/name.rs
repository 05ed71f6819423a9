//! Names, valid from birth: services and instances.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

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

name_type!(ServiceName, check_service_name);
name_type!(InstanceId, check_instance_id);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["a", "order", "order-2", &"x".repeat(63)] {
            assert!(ServiceName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "Order", "a_b", "-a", "a-", "a.b", &"x".repeat(64), "é"] {
            assert!(ServiceName::new(bad).is_err(), "{bad}");
        }
        assert!(InstanceId::new("order-1.host:80").is_ok());
        assert!(InstanceId::new("order/1").is_err());
        assert!(InstanceId::new(&"x".repeat(129)).is_err());
    }
}
