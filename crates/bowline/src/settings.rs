//! What an instance is told about itself, by the environment that `bowline up` sets.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
};

use bowline_identity::JoinToken;
use bowline_model::{
    Address, Code, InstanceId, Secret, ServiceName,
    caches::check_redis_url,
    data,
    instance::check_address,
    policy::{CallPolicy, ShedPolicy},
};
use bowline_provider_remote::Bearer;
use bowline_runtime::fs;

/// The longest name of a zone.
const ZONE_BYTES_MAX: usize = 64;

/// Who this process is, where it listens and whom it may call.
///
/// Every value has a default, so that a service also starts by itself, without Bowline:
///
/// | variable | meaning | where absent |
/// |---|---|---|
/// | `BOWLINE_SERVICE` | the service's name | the name given in code |
/// | `BOWLINE_INSTANCE` | this copy's id | the service's name and the process id; no snapshot of discovery or configuration is kept |
/// | `BOWLINE_VERSION` | the release it is | none is told |
/// | `BOWLINE_ZONE` | the failure domain it is in, 1 to 64 bytes: it is registered with it, and prefers its own where a call says so | none |
/// | `BOWLINE_LISTEN` | where to listen, `IP:PORT` or `unix:/PATH` (which is not registered: nobody elsewhere could reach it) | `127.0.0.1:0` |
/// | `BOWLINE_ADVERTISE` | where others reach it, `IP:PORT`; needed to register what listens on every address | where it listens |
/// | `BOWLINE_API` | the server, `http://IP:PORT` | no discovery and no configuration but the snapshots', no reports |
/// | `BOWLINE_TOKEN` | the credential for that server | none is sent |
/// | `BOWLINE_DATA_DIR` | where state lives | `.bowline` |
/// | `BOWLINE_CALLS` | JSON: service → policy of the declared call | the default policy |
/// | `BOWLINE_SHED` | JSON: what it turns away when it has more than it can do, as `shed` in `bowline.toml` | it takes what comes |
/// | `BOWLINE_ASYNC_CALLS` | services that requests are handed over for: `payment,user` | none are |
/// | `BOWLINE_CACHES` | the caches that it declares, `user-profile,price`: no other is shared | any may be |
/// | `BOWLINE_DATA_<NAME>` | connection string of an owned resource; it may hold a password | see [`Settings::data`] |
/// | `BOWLINE_REDIS` | the Redis in which processes share what they cache, `redis://HOST:PORT`; needs `BOWLINE_SYSTEM` | the server's memory |
/// | `BOWLINE_REDIS_TOKEN` | what that Redis demands, `PASSWORD` or `USER:PASSWORD` (`default:PASS:WORD` where there is a colon in it) | nothing is shown |
/// | `BOWLINE_SYSTEM` | the system it is part of | none |
/// | `BOWLINE_JOIN` | the token by which it joins the system's mesh; needs `BOWLINE_SYSTEM` and `BOWLINE_API` | it is in no mesh |
/// | `BOWLINE_LOG` | what is logged to standard error: `info`, `warn,shop_order=debug` ([`Microservice::from_env`](crate::Microservice::from_env)) | `warn` |
/// | `BOWLINE_SUPERVISED` | registration is the supervisor's business | the process registers itself |
#[derive(Debug, Clone)]
pub struct Settings {
    pub(crate) service: ServiceName,
    pub(crate) instance: InstanceId,
    /// The release; empty when not told.
    pub(crate) version: String,
    /// The failure domain it is in.
    pub(crate) zone: Option<String>,
    pub(crate) listen: Address,
    pub(crate) advertise: Option<SocketAddr>,
    pub(crate) api: Option<Address>,
    pub(crate) bearer: Option<Bearer>,
    pub(crate) data_dir: PathBuf,
    pub(crate) calls: BTreeMap<ServiceName, CallPolicy>,
    pub(crate) shed: Option<ShedPolicy>,
    /// Whom requests may be handed over for, to be carried out later.
    pub(crate) async_calls: BTreeSet<ServiceName>,
    pub(crate) data: BTreeMap<String, Secret>,
    /// The caches that are declared, where that is known.
    pub(crate) caches: Option<BTreeSet<String>>,
    /// The system it is part of.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "names what is shared in Redis"))]
    pub(crate) system: Option<ServiceName>,
    pub(crate) redis: Option<Redis>,
    pub(crate) mesh: Option<Mesh>,
    pub(crate) is_supervised: bool,
    /// Whether the instance's id is the same after a restart.
    pub(crate) has_lasting_id: bool,
}

/// The Redis in which processes share what they cache.
#[derive(Debug, Clone)]
#[cfg_attr(not(any(feature = "redis", test)), expect(dead_code, reason = "who is built without it says so"))]
pub(crate) struct Redis {
    pub(crate) url: String,
    pub(crate) token: Option<Secret>,
}

/// The mesh that a process joins.
#[derive(Debug, Clone)]
pub(crate) struct Mesh {
    pub(crate) system: ServiceName,
    pub(crate) join: Secret,
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
        let version = vars.remove("BOWLINE_VERSION").unwrap_or_default();
        let zone = vars.remove("BOWLINE_ZONE").filter(|zone| !zone.is_empty());
        if zone.as_ref().is_some_and(|zone| zone.len() > ZONE_BYTES_MAX) {
            return Err(Error::new("BOWLINE_ZONE", "it has at most 64 bytes"));
        }
        let listen = vars.remove("BOWLINE_LISTEN").unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let listen: Address = listen.parse().map_err(|error| Error::new("BOWLINE_LISTEN", &error))?;
        let advertise = vars.remove("BOWLINE_ADVERTISE").map(|text| parse_advertise(&text)).transpose()?;
        let api = vars.remove("BOWLINE_API").map(|url| parse_api(&url)).transpose()?;
        let bearer = vars.remove("BOWLINE_TOKEN").map(|token| Bearer::new(&Secret::new(token))).transpose();
        let bearer = bearer.map_err(|error| Error::new("BOWLINE_TOKEN", &error))?;
        let data_dir = vars.remove("BOWLINE_DATA_DIR").map_or_else(|| PathBuf::from(".bowline"), PathBuf::from);
        let calls = match vars.remove("BOWLINE_CALLS") {
            Some(json) => parse_calls(&json)?,
            None => BTreeMap::new(),
        };
        let shed = vars.remove("BOWLINE_SHED").map(|json| parse_shed(&json)).transpose()?;
        let handed_over = vars.remove("BOWLINE_ASYNC_CALLS").unwrap_or_default();
        let async_calls = handed_over.split(',').filter(|name| !name.is_empty()).map(ServiceName::new).collect();
        let async_calls: Result<_, _> = async_calls;
        let caches = vars.remove("BOWLINE_CACHES");
        let caches = caches.map(|names| names.split(',').map(str::to_owned).collect());
        let async_calls = async_calls.map_err(|error| Error::new("BOWLINE_ASYNC_CALLS", &error))?;
        let system = vars.remove("BOWLINE_SYSTEM").filter(|system| !system.is_empty());
        let system = system.map(|system| ServiceName::new(&system)).transpose();
        let system = system.map_err(|error| Error::new("BOWLINE_SYSTEM", &error))?;
        let mesh = mesh(&mut vars, system.as_ref(), api.as_ref())?;
        let redis = redis(&mut vars, system.as_ref())?;
        let is_supervised = vars.remove("BOWLINE_SUPERVISED").is_some_and(|value| value == "1");
        // Who does not register itself is told to nobody.
        let is_everywhere = matches!(&listen, Address::Tcp(addr) if addr.ip().to_canonical().is_unspecified());
        if is_everywhere && advertise.is_none() && api.is_some() && !is_supervised {
            return Err(Error::new(
                "BOWLINE_ADVERTISE",
                &format!(
                    "it is not set, and {listen} (BOWLINE_LISTEN) is every address: write the IP:PORT that others reach this process at"
                ),
            ));
        }
        let data = vars.into_iter().filter(|(name, _)| name.starts_with("BOWLINE_DATA_"));
        let data = data.map(|(name, url)| (name, Secret::new(url))).collect();
        Ok(Self {
            service,
            instance,
            version,
            zone,
            listen,
            advertise,
            api,
            bearer,
            data_dir,
            calls,
            shed,
            async_calls,
            data,
            caches,
            system,
            redis,
            mesh,
            is_supervised,
            has_lasting_id,
        })
    }

    /// The connection string of a resource this service owns, by its name in `bowline.toml`.
    ///
    /// Outside `bowline up`, a SQLite database lives in the data folder all the same; the folder it
    /// is in is created. Reads and writes the disk: for the start of a process.
    ///
    /// # Errors
    /// When nobody said where the resource is and it is not a SQLite database, when what was said is
    /// of another kind, or when the folder cannot be created.
    pub fn data(&self, resource: &str) -> Result<String, Error> {
        let (kind, name) = resource.split_once(':').ok_or_else(|| Error::new(resource, "write kind:name"))?;
        let variable = data::variable(name);
        let is_sqlite = kind == "sqlite";
        match self.data.get(&variable).map(Secret::expose) {
            Some(url) if url.starts_with("sqlite:") == is_sqlite => Ok(url.to_owned()),
            Some(_) => Err(Error::new(&variable, &format!("it is no connection string of {resource}"))),
            None if is_sqlite => self.own_sqlite(name),
            None => Err(Error::new(&variable, &unreached(resource, kind))),
        }
    }

    /// The one database that the environment says this service owns, whichever kind it has: its resource, `kind:name`,
    /// and its connection string.
    pub(crate) fn own_database(&self) -> Result<(String, String), Error> {
        let found = self.data.iter().filter_map(|(variable, url)| Some((variable, database_at(url.expose())?, url)));
        let found: Vec<_> = found.collect();
        match found.as_slice() {
            [(_, resource, url)] => Ok((resource.clone(), url.expose().to_owned())),
            [] => {
                let rule = "none is set to where a database is: `bowline up` sets it where the service's `data` names \
                            one, `sqlite:NAME`, or `postgres:NAME` with `[databases] postgres`";
                Err(Error::new("BOWLINE_DATA_<NAME>", rule))
            }
            several => {
                let names: Vec<&str> = several.iter().map(|(variable, ..)| variable.as_str()).collect();
                Err(Error::new(
                    &names.join(", "),
                    "each is set to where a database is: name the one that is meant, as `database(\"sqlite:order.db\")` does",
                ))
            }
        }
    }

    /// The SQLite database of that name in the data folder.
    fn own_sqlite(&self, name: &str) -> Result<String, Error> {
        let file = data::sqlite_file(&self.data_dir, name);
        let dir = self.data_dir.join(data::SQLITE_DIR);
        fs::create_dir_all(&dir).map_err(|error| {
            Error::new("BOWLINE_DATA_DIR", &format!("the folder {} cannot be created: {error}", dir.display()))
        })?;
        Ok(data::sqlite_url(&file))
    }

    /// The policy of the declared call; the default one where nothing was declared.
    pub(crate) fn policy(&self, target: &ServiceName) -> CallPolicy {
        self.calls.get(target).cloned().unwrap_or_default()
    }
}

fn unreached(resource: &str, kind: &str) -> String {
    let or_else = if kind == data::POSTGRES { "; `[databases] postgres` in bowline.toml does" } else { "" };
    format!("it is not set, so {resource} cannot be reached: set it to the connection string{or_else}")
}

/// The database that a connection string leads to, as `kind:name`; none where it is of a kind that is told by nobody
/// here.
fn database_at(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once(':')?;
    let place = rest.split(['?', '#']).next().unwrap_or_default();
    let (kind, path) = match scheme {
        data::SQLITE => (data::SQLITE, place),
        // What is before the path may be a password, which is no part of a name.
        "postgres" | "postgresql" => {
            (data::POSTGRES, place.trim_start_matches('/').split_once('/').unwrap_or_default().1)
        }
        _ => return None,
    };
    Some(format!("{kind}:{}", path.rsplit('/').next().unwrap_or_default()))
}

fn parse_calls(json: &str) -> Result<BTreeMap<ServiceName, CallPolicy>, Error> {
    let calls: BTreeMap<ServiceName, CallPolicy> =
        serde_json::from_str(json).map_err(|error| Error::new("BOWLINE_CALLS", &error))?;
    for (callee, policy) in &calls {
        policy.check().map_err(|error| Error::new("BOWLINE_CALLS", &format!("{callee}: {error}")))?;
    }
    Ok(calls)
}

fn parse_shed(json: &str) -> Result<ShedPolicy, Error> {
    let shed: ShedPolicy = serde_json::from_str(json).map_err(|error| Error::new("BOWLINE_SHED", &error))?;
    shed.check().map_err(|error| Error::new("BOWLINE_SHED", &error))?;
    Ok(shed)
}

/// The Redis to share in, where there is one.
fn redis(vars: &mut BTreeMap<String, String>, system: Option<&ServiceName>) -> Result<Option<Redis>, Error> {
    let token = vars.remove("BOWLINE_REDIS_TOKEN").filter(|token| !token.is_empty()).map(Secret::new);
    let Some(url) = vars.remove("BOWLINE_REDIS").filter(|url| !url.is_empty()) else { return Ok(None) };
    check_redis_url(&url).map_err(|rule| Error::new("BOWLINE_REDIS", rule))?;
    let rule = "it is not set, and there is a Redis (BOWLINE_REDIS): caches of several systems would be taken for one";
    system.map(|_| Some(Redis { url, token })).ok_or_else(|| Error::new("BOWLINE_SYSTEM", rule))
}

/// The mesh to join, where there is a token for it.
fn mesh(
    vars: &mut BTreeMap<String, String>,
    system: Option<&ServiceName>,
    api: Option<&Address>,
) -> Result<Option<Mesh>, Error> {
    let Some(join) = vars.remove("BOWLINE_JOIN").map(Secret::new) else { return Ok(None) };
    let missing = |variable| Error::new(variable, "it is not set, and a mesh is to be joined (BOWLINE_JOIN)");
    let system = system.cloned().ok_or_else(|| missing("BOWLINE_SYSTEM"))?;
    api.ok_or_else(|| missing("BOWLINE_API"))?;
    JoinToken::parse(&join).map_err(|error| Error::new("BOWLINE_JOIN", &error))?;
    Ok(Some(Mesh { system, join }))
}

/// An address under which an instance can be registered.
fn parse_advertise(text: &str) -> Result<SocketAddr, Error> {
    let error = |rule: &str| Error::new("BOWLINE_ADVERTISE", &format!("`{text}`: {rule}"));
    let address: SocketAddr = text.parse().map_err(|_| error("write IP:PORT"))?;
    match check_address(&Address::Tcp(address)) {
        Ok(()) => Ok(address),
        Err(rule) => Err(error(rule)),
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
        assert_eq!(settings.data_dir, PathBuf::from(".bowline"));
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
            ("BOWLINE_LISTEN", "unix:here.sock"),
            ("BOWLINE_SYSTEM", "Shop!"),
            ("BOWLINE_API", "127.0.0.1:1"),
            ("BOWLINE_CALLS", "{"),
            ("BOWLINE_CALLS", r#"{"payment":{"timeout":"1s","retry":{"per_try_timeout":"2s"}}}"#),
            ("BOWLINE_SHED", "{"),
            ("BOWLINE_ZONE", &"z".repeat(65)),
            ("BOWLINE_ASYNC_CALLS", "payment,Us er"),
            ("BOWLINE_ADVERTISE", "9000"),
            ("BOWLINE_ADVERTISE", "0.0.0.0:9000"),
            ("BOWLINE_ADVERTISE", "10.0.0.1:0"),
            ("BOWLINE_TOKEN", ""),
            ("BOWLINE_TOKEN", "two words"),
        ] {
            let error = Settings::from_vars("order", vars(&[(name, value)])).unwrap_err();
            assert_eq!(error.variable, name);
        }
    }

    #[test]
    fn a_mesh_is_joined_with_all_that_it_takes() {
        let join = format!("bwj_{}_{}", "0".repeat(64), "1".repeat(32));
        let all =
            [("BOWLINE_JOIN", join.as_str()), ("BOWLINE_SYSTEM", "shop"), ("BOWLINE_API", "http://127.0.0.1:7117")];
        let settings = Settings::from_vars("order", vars(&all)).unwrap();
        assert_eq!(settings.mesh.as_ref().unwrap().system.as_str(), "shop");
        assert!(!format!("{settings:?}").contains(&join));
        for (without, at) in [(1, "BOWLINE_SYSTEM"), (2, "BOWLINE_API")] {
            let mut some = all.to_vec();
            some.remove(without);
            assert_eq!(Settings::from_vars("order", vars(&some)).unwrap_err().variable, at);
        }
        assert!(Settings::from_vars("order", vars(&all[1..])).unwrap().mesh.is_none());
        let broken = [("BOWLINE_JOIN", "bwj_1"), all[1], all[2]];
        assert_eq!(Settings::from_vars("order", vars(&broken)).unwrap_err().variable, "BOWLINE_JOIN");
    }

    #[test]
    fn a_token_is_not_printed() {
        let settings = Settings::from_vars("order", vars(&[("BOWLINE_TOKEN", "bwl_ab_cd")])).unwrap();
        assert!(settings.bearer.is_some());
        assert!(!format!("{settings:?}").contains("bwl_ab"), "{settings:?}");
        let error = Settings::from_vars("order", vars(&[("BOWLINE_TOKEN", "bwl ab")])).unwrap_err();
        assert!(!error.to_string().contains("bwl ab"), "{error}");
    }

    #[test]
    fn a_redis_is_told_with_what_it_demands() {
        let all = [
            ("BOWLINE_SYSTEM", "shop"),
            ("BOWLINE_REDIS", "redis://127.0.0.1:6379"),
            ("BOWLINE_REDIS_TOKEN", "s3cret"),
        ];
        let settings = Settings::from_vars("order", vars(&all)).unwrap();
        let redis = settings.redis.as_ref().unwrap();
        assert_eq!((redis.url.as_str(), redis.token.as_ref().unwrap().expose()), ("redis://127.0.0.1:6379", "s3cret"));
        assert!(!format!("{settings:?}").contains("s3cret"), "{settings:?}");
        assert!(Settings::from_vars("order", vars(&[("BOWLINE_REDIS", "")])).unwrap().redis.is_none());
        assert_eq!(Settings::from_vars("order", vars(&all[1..])).unwrap_err().variable, "BOWLINE_SYSTEM");
        let told = [all[0], ("BOWLINE_REDIS", "redis://u:s3cret@h")];
        let error = Settings::from_vars("order", vars(&told)).unwrap_err();
        assert_eq!(error.variable, "BOWLINE_REDIS");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }

    #[test]
    fn what_listens_everywhere_has_to_say_where_it_is() {
        let everywhere = [("BOWLINE_LISTEN", "0.0.0.0:8000"), ("BOWLINE_API", "http://127.0.0.1:7117")];
        let error = Settings::from_vars("order", vars(&everywhere)).unwrap_err();
        assert_eq!(error.variable, "BOWLINE_ADVERTISE");
        assert!(error.rule.contains("0.0.0.0:8000") && error.rule.contains("IP:PORT"), "{error}");
        let told = [&everywhere[..], &[("BOWLINE_ADVERTISE", "10.0.0.1:8000")]].concat();
        let settings = Settings::from_vars("order", vars(&told)).unwrap();
        assert_eq!(settings.advertise, Some(([10, 0, 0, 1], 8000).into()));
        // Nobody is told where these are, or somebody else tells.
        assert!(Settings::from_vars("order", vars(&everywhere[..1])).is_ok());
        let supervised = [&everywhere[..], &[("BOWLINE_SUPERVISED", "1")]].concat();
        assert!(Settings::from_vars("order", vars(&supervised)).is_ok());
    }

    #[test]
    fn the_one_database_of_a_service_is_known_whichever_kind_it_has() {
        let own = |pairs: &[(&str, &str)]| Settings::from_vars("order", vars(pairs)).unwrap().own_database();
        let elsewhere = ("BOWLINE_DATA_FILES", "s3://bucket/files");
        for (url, resource) in [
            ("sqlite:///data/sqlite/order.db?mode=rwc", "sqlite:order.db"),
            ("sqlite:order.db", "sqlite:order.db"),
            ("sqlite://order.db", "sqlite:order.db"),
            ("postgres://ada:hush@db:5432/order", "postgres:order"),
            ("postgresql://db/order?sslmode=require", "postgres:order"),
            ("postgres://ada:hush@db", "postgres:"),
        ] {
            let found = own(&[("BOWLINE_DATA_ORDER", url), elsewhere]).unwrap();
            assert_eq!(found, (resource.to_owned(), url.to_owned()));
        }
        let error = own(&[elsewhere]).unwrap_err();
        assert_eq!(error.variable, "BOWLINE_DATA_<NAME>");
        assert!(error.rule.contains("[databases] postgres"), "{error}");
        let two = [("BOWLINE_DATA_A", "postgres://ada:hush@db/a"), ("BOWLINE_DATA_B_DB", "sqlite:///b.db"), elsewhere];
        let error = own(&two).unwrap_err().to_string();
        assert!(error.starts_with("BOWLINE_DATA_A, BOWLINE_DATA_B_DB: ") && !error.contains("hush"), "{error}");
        let settings = Settings::from_vars("order", vars(&two)).unwrap();
        assert!(!format!("{settings:?}").contains("hush"), "{settings:?}");
    }

    #[test]
    fn a_connection_string_of_another_kind_is_none() {
        let all = vars(&[("BOWLINE_DATA_ORDER", "sqlite:///data/order"), ("BOWLINE_DATA_LOG", "postgres://db/log")]);
        let settings = Settings::from_vars("order", all).unwrap();
        assert_eq!(settings.data("sqlite:order").unwrap(), "sqlite:///data/order");
        assert_eq!(settings.data("postgres:log").unwrap(), "postgres://db/log");
        assert_eq!(settings.data("postgres:order").unwrap_err().variable, "BOWLINE_DATA_ORDER");
        assert_eq!(settings.data("sqlite:log").unwrap_err().variable, "BOWLINE_DATA_LOG");
    }
}
