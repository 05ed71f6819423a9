//! What an instance finds in its environment.

use std::{collections::BTreeMap, io};

use bowline_model::{
    Address, InstanceId, System, data,
    policy::CallPolicy,
    system::{CallMode, Resource, Service},
};
use bowline_runtime::fs;

use crate::{Error, Settings, expand::Placeholders, template::Template};

/// The variable that holds an instance's credential.
pub(crate) const TOKEN: &str = "BOWLINE_TOKEN";

/// The variable that holds what Redis demands.
const REDIS_TOKEN: &str = "BOWLINE_REDIS_TOKEN";

/// What an instance does not inherit: what stands there is of whoever starts a system, as whose administrator
/// or in whose mesh.
pub(crate) const NOT_INHERITED: [&str; 4] = [TOKEN, REDIS_TOKEN, "BOWLINE_JOIN", "PORT"];

/// Variables, by their names.
pub(crate) type Environment = BTreeMap<String, String>;

/// Makes the folders that instances are told of.
pub(crate) fn make_folders(settings: &Settings) -> Result<(), Error> {
    let path = settings.data_dir.join(data::SQLITE_DIR);
    fs::create_private_dir_all(&path).map_err(|source: io::Error| Error::Folder { path, source })
}

/// What the service declares, for its build.
pub(crate) fn of_build(service: &Service, placeholders: Placeholders<'_>) -> Environment {
    service.env.iter().map(|(name, value)| (name.clone(), placeholders.in_value(value))).collect()
}

/// What every process of the service finds: what it declares, and what Bowline tells it. A declared
/// `DATABASE_URL` wins over Bowline's; names that begin with `BOWLINE_`, and `PORT`, are Bowline's.
pub(crate) fn of_service(
    system: &System,
    service: &Service,
    settings: &Settings,
    placeholders: Placeholders<'_>,
) -> Environment {
    let mut variables = Environment::new();
    let databases = databases(system, service, settings);
    if let (1, Some(url)) = (databases.len(), databases.values().next()) {
        variables.insert("DATABASE_URL".to_owned(), url.clone());
    }
    variables.extend(of_build(service, placeholders));
    variables.extend(databases);
    let calls: BTreeMap<&str, &CallPolicy> =
        service.calls.iter().map(|call| (call.target.as_str(), &call.policy)).collect();
    let calls = serde_json::to_string(&calls).expect("policies are plain data with text keys");
    let handed_over = service.calls.iter().filter(|call| call.mode == CallMode::Async);
    let handed_over: Vec<&str> = handed_over.map(|call| call.target.as_str()).collect();
    let mut tell = |name: &str, value: String| variables.insert(name.to_owned(), value);
    tell("BOWLINE_SYSTEM", system.name.to_string());
    tell("BOWLINE_SERVICE", service.name.to_string());
    tell("BOWLINE_VERSION", service.version.clone());
    tell("BOWLINE_SUPERVISED", "1".to_owned());
    tell("BOWLINE_CALLS", calls);
    if let Some(shed) = &service.shed {
        tell("BOWLINE_SHED", serde_json::to_string(shed).expect("a policy is plain data"));
    }
    tell("BOWLINE_ASYNC_CALLS", handed_over.join(","));
    tell("BOWLINE_CACHES", service.caches().map(|cache| cache.name.as_str()).collect::<Vec<_>>().join(","));
    for listener in &service.listen {
        tell(&listener.variable(), listener.addr.to_string());
    }
    tell("BOWLINE_DATA_DIR", settings.data_dir.to_string_lossy().into_owned());
    if let Some(api) = settings.api {
        tell("BOWLINE_API", format!("http://{api}"));
    }
    if let Some(token) = &settings.token {
        tell(TOKEN, token.expose().to_owned());
    }
    if let Some(redis) = system.caches.redis.as_ref().filter(|_| service.caches().next().is_some()) {
        tell("BOWLINE_REDIS", redis.url.clone());
        if let Some(token) = &settings.redis_token {
            tell(REDIS_TOKEN, token.expose().to_owned());
        }
    }
    variables
}

/// What one process finds: what every process of the service does, who it is, where it listens, and what its
/// companion says, but for the variables that the service sets itself, in capitals or not.
pub(crate) fn of_instance(
    template: &Template,
    of_companion: Environment,
    id: &InstanceId,
    app: &Address,
) -> Environment {
    let is_declared = |name: &str| template.declared.iter().any(|declared| declared.eq_ignore_ascii_case(name));
    let mut variables = template.environment.clone();
    variables.extend(of_companion.into_iter().filter(|(name, _)| !is_declared(name)));
    variables.insert("BOWLINE_INSTANCE".to_owned(), id.to_string());
    variables.insert("BOWLINE_LISTEN".to_owned(), app.to_string());
    match app {
        Address::Tcp(addr) => variables.insert("PORT".to_owned(), addr.port().to_string()),
        Address::Unix(_) => variables.remove("PORT"),
    };
    variables
}

/// Where each database is that the service owns: the variable and the connection string.
///
/// Of those that live where the file does not say, the service's own environment does.
fn databases(system: &System, service: &Service, settings: &Settings) -> Environment {
    let url = |resource: &Resource| match (resource.kind.as_str(), &system.databases.postgres) {
        (data::SQLITE, _) => Some(data::sqlite_url(&data::sqlite_file(&settings.data_dir, &resource.name))),
        (data::POSTGRES, Some(server)) => Some(server.url(&resource.name, settings.postgres_credential.as_ref())),
        _ => None,
    };
    service.boundary.data.iter().filter_map(|resource| Some((resource.variable(), url(resource)?))).collect()
}
