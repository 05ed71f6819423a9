//! What an instance is told about itself, by the environment that `bowline up` sets.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use bowline_model::{Address, Code, InstanceId, ServiceName, policy::CallPolicy};

/// Who this process is, where it listens and whom it may call.
///
/// Every value has a default, so that a service also starts by itself, without Bowline:
///
/// | variable | meaning | where absent |
/// |---|---|---|
/// | `BOWLINE_SERVICE` | the service's name | the name given in code |
/// | `BOWLINE_INSTANCE` | this copy's id | the service's name and the process id; no snapshot of discovery is kept |
/// | `BOWLINE_LISTEN` | where to listen, `IP:PORT` | `127.0.0.1:0` |
/// | `BOWLINE_API` | the server, `http://IP:PORT` | no discovery but the snapshot's, no reports |
/// | `BOWLINE_DATA_DIR` | where state lives | `.bowline` |
/// | `BOWLINE_CALLS` | JSON: service → policy of the declared call | the default policy |
/// | `BOWLINE_DATA_<NAME>` | connection string of an owned resource | see [`Settings::data`] |
/// | `BOWLINE_SUPERVISED` | registration is the supervisor's business | the process registers itself |
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) service: ServiceName,
    pub(crate) instance: InstanceId,
    pub(crate) listen: SocketAddr,
    pub(crate) api: Option<Address>,
    pub(crate) data_dir: PathBuf,
    pub(crate) calls: BTreeMap<ServiceName, CallPolicy>,
    pub(crate) data: BTreeMap<String, String>,
    pub(crate) is_supervised: bool,
    /// Whether the instance's id is the same after a restart.
    pub(crate) has_lasting_id: bool,
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {rule}")]
pub struct Error {
    /// The variable at fault.
    pub variable: String,
    /// What is wrong with it, and what to write.
    pub rule: String,
}

#[expect(clippy::unused_self, reason = "every error answers these")]
impl Error {
    fn new(variable: &str, rule: &(impl ToString + ?Sized)) -> Self {
        Self { variable: variable.to_owned(), rule: rule.to_string() }
    }

    /// Always [`Code::InvalidArgument`].
    pub fn code(&self) -> Code {
        Code::InvalidArgument
    }

    /// Never: the environment stays what it is.
    pub fn retryable(&self) -> bool {
        false
    }
}

impl Settings {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// When a variable holds what cannot be used.
    pub fn from_env(service: &str) -> Result<Self, Error> {
        Self::from_vars(
            service,
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
        )
    }

    /// Reads the given variables; others than those of the table are passed over.
    ///
    /// # Errors
    /// As [`Settings::from_env`].
    pub fn from_vars(service: &str, vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, Error> {
        let mut vars: BTreeMap<String, String> =
            vars.into_iter().filter(|(name, _)| name.starts_with("BOWLINE_")).collect();
        let service = vars.remove("BOWLINE_SERVICE").unwrap_or_else(|| service.to_owned());
        let service = ServiceName::new(&service).map_err(|error| Error::new("BOWLINE_SERVICE", &error))?;
        let instance = vars.remove("BOWLINE_INSTANCE");
        let has_lasting_id = instance.is_some();
        let instance = instance.unwrap_or_else(|| format!("{service}-{}", std::process::id()));
        let instance = InstanceId::new(&instance).map_err(|error| Error::new("BOWLINE_INSTANCE", &error))?;
        let listen = vars.remove("BOWLINE_LISTEN").unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let listen = listen.parse().map_err(|_| Error::new("BOWLINE_LISTEN", &format!("`{listen}` is not IP:PORT")))?;
        let api = vars.remove("BOWLINE_API").map(|url| parse_api(&url)).transpose()?;
        let data_dir = vars.remove("BOWLINE_DATA_DIR").map_or_else(|| PathBuf::from(".bowline"), PathBuf::from);
        let calls = match vars.remove("BOWLINE_CALLS") {
            Some(json) => serde_json::from_str(&json).map_err(|error| Error::new("BOWLINE_CALLS", &error))?,
            None => BTreeMap::new(),
        };
        let is_supervised = vars.remove("BOWLINE_SUPERVISED").is_some_and(|value| value == "1");
        let data =
            vars.into_iter().filter_map(|(k, v)| Some((k.strip_prefix("BOWLINE_DATA_")?.to_owned(), v))).collect();
        Ok(Self { service, instance, listen, api, data_dir, calls, data, is_supervised, has_lasting_id })
    }

    /// The connection string of a resource this service owns, by its name in `bowline.toml`.
    ///
    /// Outside `bowline up`, a SQLite database lives in the data folder all the same.
    ///
    /// # Errors
    /// When nobody said where the resource is and it is not a SQLite database.
    pub fn data(&self, resource: &str) -> Result<String, Error> {
        let (kind, name) = resource.split_once(':').ok_or_else(|| Error::new(resource, "write kind:name"))?;
        let key: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
        match self.data.get(&key) {
            Some(url) => Ok(url.clone()),
            None if kind == "sqlite" => Ok(format!("sqlite://{}", self.data_dir.join("sqlite").join(name).display())),
            None => Err(Error::new(
                &format!("BOWLINE_DATA_{key}"),
                &format!("it is not set, so {resource} cannot be reached"),
            )),
        }
    }

    /// The policy of the declared call; the default one where nothing was declared.
    pub(crate) fn policy(&self, target: &ServiceName) -> CallPolicy {
        self.calls.get(target).cloned().unwrap_or_default()
    }
}

fn parse_api(url: &str) -> Result<Address, Error> {
    let rule = || Error::new("BOWLINE_API", &format!("`{url}` is not http://IP:PORT"));
    let address = url.strip_prefix("http://").ok_or_else(rule)?.trim_end_matches('/');
    address.parse().map_err(|_| rule())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vars(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn nothing_set_is_enough() {
        let settings = Settings::from_vars("order", vars(&[])).unwrap();
        assert_eq!(settings.service.as_str(), "order");
        assert!(!settings.is_supervised);
        assert_eq!(settings.data("sqlite:order.db").unwrap(), "sqlite://.bowline/sqlite/order.db");
        assert!(settings.data("postgres:order").unwrap_err().to_string().contains("BOWLINE_DATA_ORDER"));
    }

    #[test]
    fn everything_set_is_used() {
        let all = vars(&[
            ("BOWLINE_SERVICE", "order2"),
            ("BOWLINE_INSTANCE", "order2-1"),
            ("BOWLINE_LISTEN", "127.0.0.1:9000"),
            ("BOWLINE_API", "http://127.0.0.1:7117"),
            ("BOWLINE_DATA_DIR", "/data"),
            ("BOWLINE_DATA_ORDER_DB", "sqlite:///data/sqlite/order.db"),
            ("BOWLINE_CALLS", r#"{"payment":{"timeout":"800ms"}}"#),
            ("BOWLINE_SUPERVISED", "1"),
        ]);
        let settings = Settings::from_vars("order", all).unwrap();
        assert_eq!(settings.instance.as_str(), "order2-1");
        assert!(settings.is_supervised);
        assert_eq!(settings.data("sqlite:order.db").unwrap(), "sqlite:///data/sqlite/order.db");
        let payment = ServiceName::new("payment").unwrap();
        assert_eq!(settings.policy(&payment).timeout, std::time::Duration::from_millis(800));
    }

    #[test]
    fn each_bad_value_names_its_variable() {
        for (name, value) in [
            ("BOWLINE_SERVICE", "Order!"),
            ("BOWLINE_INSTANCE", ""),
            ("BOWLINE_LISTEN", "9000"),
            ("BOWLINE_API", "127.0.0.1:1"),
            ("BOWLINE_CALLS", "{"),
        ] {
            let error = Settings::from_vars("order", vars(&[(name, value)])).unwrap_err();
            assert_eq!(error.variable, name);
        }
    }
}
