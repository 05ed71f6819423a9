//! `bowline services`: every instance, where it is and how it is.

use std::process::ExitCode;

use bowline_model::{Instance, instance::METADATA_MESH};
use bowline_provider_remote::Client;

use crate::{
    api,
    args::{self, Output},
    style, table,
};

/// Lists the instances of all services, or of one, of which there must be some.
pub(crate) async fn run(args: args::Services) -> anyhow::Result<ExitCode> {
    let args::Services { name, query } = args;
    let client = api::client(&query).await?;
    let list = api::answered(&query, client.instances(name.as_deref()).await)?;
    match query.output {
        Output::Json => api::print_json(&list)?,
        Output::Text if list.instances.is_empty() && name.is_none() => style::line("no instances are registered"),
        Output::Text if list.instances.is_empty() => {}
        Output::Text => {
            let is_meshed = list.instances.iter().any(|instance| mesh(instance).is_some());
            let head = ["SERVICE", "INSTANCE", "ADDRESS", "HEALTH", "PID", "VERSION", "MESH"];
            let head = &head[..head.len() - usize::from(!is_meshed)];
            for line in table::lines(head, &rows(&list.instances, is_meshed)) {
                style::line(&line);
            }
        }
    }
    match name {
        Some(name) if list.instances.is_empty() => Err(none_of(&name, &known(&query, &client).await?)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// The services that have instances.
pub(crate) async fn known(query: &args::Query, client: &Client) -> anyhow::Result<Vec<String>> {
    let known = api::answered(query, client.services().await)?.services;
    Ok(known.into_iter().map(|service| service.name.to_string()).collect())
}

/// What is said where a service has no instance, and others have.
pub(crate) fn none_of(name: &str, others: &[String]) -> anyhow::Error {
    if others.is_empty() {
        return anyhow::anyhow!("no instance of {name} is registered, nor of any other service");
    }
    anyhow::anyhow!("no instance of {name} is registered; there are instances of: {}", others.join(", "))
}

/// How it takes connections of the mesh, if it does.
fn mesh(instance: &Instance) -> Option<&str> {
    instance.metadata.get(METADATA_MESH).map(String::as_str)
}

/// The mesh is told of only where somebody is in one.
fn rows(instances: &[Instance], is_meshed: bool) -> Vec<Vec<String>> {
    let mut sorted: Vec<&Instance> = instances.iter().collect();
    sorted.sort_by_key(|instance| (&instance.service, &instance.id));
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let row = |instance: &Instance| {
        let shown = [
            instance.service.to_string(),
            instance.id.to_string(),
            instance.address.to_string(),
            instance.health.as_str().to_owned(),
            // Bowline's own instances have one.
            or_dash(instance.metadata.get("pid").map_or("", String::as_str)),
            or_dash(&instance.version),
        ];
        let mesh = is_meshed.then(|| or_dash(mesh(instance).unwrap_or_default()));
        shown.into_iter().chain(mesh).collect()
    };
    sorted.into_iter().map(row).collect()
}
