//! The releases of a service that run beside each other: `version` and `[service.X.versions.V]`.

use super::{
    schema, service,
    table::Table,
    value::{Value, in_ticks},
};
use crate::{
    mesh::{VERSION_RULE, VERSIONS_MAX, is_version},
    system::Version,
};

/// The name of the service's own release, and the others.
pub(super) fn read(service: &Table<'_>) -> (String, Vec<Version>) {
    let own = service.get("version").and_then(|value| {
        value.parsed("a version", |text| if is_version(text) { Ok(text.to_owned()) } else { Err(VERSION_RULE) })
    });
    let own = own.unwrap_or_default();
    let Some(value) = service.get("versions") else { return (own, Vec::new()) };
    if !service.has("version") {
        value.fault_key(
            "`versions` without `version`, which names the release that the service's `run` is",
            "write `version = \"v1\"` in the service's section",
        );
    }
    // The service's own is one of them.
    let entries = value.entries(&schema::VERSION_ENTRY, VERSIONS_MAX - 1);
    let versions = entries.into_iter().filter_map(|entry| version(entry, &own, service)).collect();
    (own, versions)
}

fn version(entry: Value<'_>, own: &str, service: &Table<'_>) -> Option<Version> {
    let name = entry.key();
    if !is_version(name) {
        entry.fault_key(format!("{} is not a version", in_ticks(name)), VERSION_RULE);
    } else if name == own {
        entry.fault_key(format!("{} is the service's own `version`", in_ticks(name)), "give one of them another name");
    }
    let table = entry.table(&schema::VERSION)?;
    let has_run = table.get("run").is_some() || service.get("run").is_some();
    if !has_run {
        entry.fault_key(
            format!("there is nothing to run as {}", in_ticks(name)),
            "write what to `run`, here or in the service's section",
        );
    }
    Some(Version {
        name: name.to_owned(),
        position: entry.key_position(),
        build: table.get("build").and_then(service::command),
        run: table.get("run").and_then(service::command),
        // That there is nothing to run was told above.
        replicas: service::replicas(&table, true),
        env: table.get("env").map(service::env).unwrap_or_default(),
    })
}
