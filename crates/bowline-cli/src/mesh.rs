//! `bowline mesh`: who is in the mesh and runs what, and how its traffic is steered.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    process::ExitCode,
    time::Duration,
};

use anyhow::{anyhow, bail};
use bowline_config::{Acknowledged, Outcome};
use bowline_model::{
    Instance, ServiceName,
    mesh::{Mirror, Steering, Traffic},
    units,
};
use bowline_provider_remote::wire::{MeshWorkload, NewJoinToken};
use bowline_runtime::time;

use crate::{
    api,
    args::{self, MeshCommand, Output, Query},
    config, style, table, traffic,
};

/// `bowline mesh …`.
pub(crate) async fn run(command: MeshCommand) -> anyhow::Result<ExitCode> {
    match command {
        MeshCommand::Status(query) => status(&query).await?,
        MeshCommand::Join(args) => join(args).await?,
        MeshCommand::Split(args) => split(args).await?,
        MeshCommand::Mirror(args) => mirror(args).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(query: &Query) -> anyhow::Result<()> {
    let status = api::answered(query, api::client(query).await?.mesh_status().await)?;
    if query.output == Output::Json {
        return api::print_json(&status);
    }
    let now = time::unix_millis_now();
    let rows: Vec<Vec<String>> = status.workloads.iter().map(|workload| workload_row(workload, now)).collect();
    style::line(&format!("the mesh of {}", status.system));
    let columns = ["WORKLOAD", "SNAPSHOT", "MODE", "AUTHORIZATION", "ACKNOWLEDGED", "CERTIFICATES", "NEXT EXPIRES IN"];
    for line in table::lines(&columns, &rows) {
        style::line(&line);
    }
    let behind = |workload: &MeshWorkload| {
        let (version, instances) = (workload.version, workload.instances.clone());
        instances.into_iter().filter(move |it| !is_current(it, version)).map(move |it| config::status_row(&it, version))
    };
    let rows: Vec<Vec<String>> = status.workloads.iter().flat_map(behind).collect();
    if !rows.is_empty() {
        style::line("");
        for line in table::lines(&["SERVICE", "INSTANCE", "RUNS", "STATE", "WHY"], &rows) {
            style::line(&line);
        }
    }
    Ok(())
}

fn is_current(instance: &Acknowledged, version: Option<u64>) -> bool {
    instance.ack.outcome == Outcome::Applied && Some(instance.ack.version) == version
}

fn workload_row(workload: &MeshWorkload, now: u64) -> Vec<String> {
    let MeshWorkload { workload, version, published_unix_ms: _, demands, instances, certificates, expires_unix_ms } =
        workload;
    let current = instances.iter().filter(|instance| is_current(instance, *version)).count();
    // To the second: nobody reads more.
    let left = |at: u64| units::format_duration(Duration::from_secs(at.saturating_sub(now) / 1000));
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        workload.to_string(),
        or_dash(version.map(|version| version.to_string())),
        or_dash(demands.map(|demands| demands.mode.name().to_owned())),
        or_dash(demands.map(|demands| demands.authorization.name().to_owned())),
        format!("{current} of {}", instances.len()),
        certificates.to_string(),
        or_dash(expires_unix_ms.map(left)),
    ]
}

async fn join(args: args::MeshJoin) -> anyhow::Result<()> {
    let args::MeshJoin { workload, ttl, query } = args;
    let new = NewJoinToken { workload, ttl, is_for_call: false };
    let created = api::answered(&query, api::client(&query).await?.create_join_token(&new).await)?;
    match query.output {
        Output::Json => api::print_json(&created)?,
        Output::Text => {
            // Alone on standard output, so that it can be taken into a variable.
            style::line(&style::plain(created.token.expose()));
            let ttl = units::format_duration(created.ttl);
            let said = format!("it lets {} join once, within {ttl}, and is shown this once", created.workload);
            let _closed = writeln!(std::io::stderr(), "{}", style::plain(&said));
        }
    }
    Ok(())
}

async fn split(args: args::MeshSplit) -> anyhow::Result<()> {
    let args::MeshSplit { service, weights, off: _, force, query } = args;
    let mut split = BTreeMap::new();
    for (version, weight) in weights {
        if split.insert(version.clone(), weight).is_some() {
            bail!("version {version} is named twice: give it one weight");
        }
    }
    let instances = instances(&query, &service).await;
    if !force {
        check_reachable(&service, &split, instances.as_ref().map_err(|error| anyhow!("{error:#}"))?)?;
    }
    let why = if split.is_empty() { format!("{service} is split no more") } else { format!("{service} is split") };
    let by_hand = |steering: &mut Steering| (steering.split, steering.rollout) = (split.clone(), None);
    let steering = steer(&query, &service, &why, by_hand).await?;
    note_unknown(&service, instances, steering.split.keys());
    told(&query, &service, &steering)
}

async fn mirror(args: args::MeshMirror) -> anyhow::Result<()> {
    let args::MeshMirror { service, to, percent, off: _, query } = args;
    let mirror = to.map(|version| Mirror { version, share: percent });
    let why = match &mirror {
        Some(Mirror { version, share }) => format!("{share} of {service} is mirrored to {version}"),
        None => format!("{service} is mirrored no more"),
    };
    let steering = steer(&query, &service, &why, |steering| steering.mirror.clone_from(&mirror)).await?;
    let instances = instances(&query, &service).await;
    note_unknown(&service, instances, steering.mirror.iter().map(|mirror| &mirror.version));
    told(&query, &service, &steering)
}

/// Changes how the traffic to one service is steered; as it is from then on.
async fn steer(
    query: &Query,
    service: &ServiceName,
    why: &str,
    edit: impl Fn(&mut Steering),
) -> anyhow::Result<Steering> {
    traffic::change(query, why, |traffic: &mut Traffic| {
        let mut steering = traffic.steering.remove(service).unwrap_or_default();
        edit(&mut steering);
        if !steering.is_empty() {
            traffic.steering.insert(service.clone(), steering.clone());
        }
        Ok(steering)
    })
    .await
}

async fn instances(query: &Query, service: &ServiceName) -> anyhow::Result<Vec<Instance>> {
    let list = api::answered(query, api::client(query).await?.instances(Some(service.as_str())).await)?;
    Ok(list.instances)
}

/// Refuses a split that leaves a service without any of the instances it has: mostly a version is misspelt.
fn check_reachable(service: &ServiceName, split: &BTreeMap<String, u32>, instances: &[Instance]) -> anyhow::Result<()> {
    let is_called = |it: &Instance| split.get(&it.version).is_some_and(|weight| *weight > 0);
    if split.is_empty() || instances.is_empty() || instances.iter().any(is_called) {
        return Ok(());
    }
    let versions: BTreeSet<&str> = instances.iter().map(|it| it.version.as_str()).collect();
    let versions: Vec<&str> = versions.into_iter().filter(|version| !version.is_empty()).collect();
    let there = match versions.as_slice() {
        [] => "its instances say no version: give it one in bowline.toml".to_owned(),
        versions => format!("its instances are of {}", versions.join(", ")),
    };
    bail!("nobody would answer for {service}: {there}; --force does it all the same")
}

/// Says which versions no instance is of: traffic for them goes nowhere.
fn note_unknown<'a>(
    service: &ServiceName,
    instances: anyhow::Result<Vec<Instance>>,
    versions: impl Iterator<Item = &'a String>,
) {
    // What is wrong there is not what was asked for.
    let Ok(instances) = instances else { return };
    for version in versions.filter(|version| !instances.iter().any(|it| it.version == **version)) {
        let note = format!("note: no instance of {service} is of version {version} now");
        let _closed = writeln!(std::io::stderr(), "{}", style::plain(&note));
    }
}

fn told(query: &Query, service: &ServiceName, steering: &Steering) -> anyhow::Result<()> {
    match query.output {
        Output::Json => api::print_json(&serde_json::json!({ "service": service, "steering": steering }))?,
        Output::Text => style::line(&style::plain(&in_words(service, steering))),
    }
    Ok(())
}

fn in_words(service: &ServiceName, steering: &Steering) -> String {
    let Steering { split, mirror, rollout, breakers: _ } = steering;
    let split: Vec<String> = split.iter().map(|(version, weight)| format!("{version} {weight}")).collect();
    let split = if split.is_empty() { "all versions alike".to_owned() } else { split.join(", ") };
    let told = |Mirror { version, share }: &Mirror| format!("; copies of {share} go to {version}");
    let mirror = mirror.as_ref().map_or_else(String::new, told);
    let rollout = rollout.map_or_else(String::new, |id| format!(", by its rollout {id}"));
    format!("traffic to {service}: {split}{rollout}{mirror}")
}

#[cfg(test)]
mod tests {
    use bowline_model::units::Share;

    use super::*;

    #[test]
    fn steering_is_told_in_words() {
        let service = ServiceName::new("payment").unwrap();
        let mut steering = Steering::default();
        assert_eq!(in_words(&service, &steering), "traffic to payment: all versions alike");
        steering.split = [("v1".to_owned(), 90), ("v2".to_owned(), 10)].into();
        steering.mirror = Some(Mirror { version: "v3".to_owned(), share: Share::from_percent(5) });
        assert_eq!(in_words(&service, &steering), "traffic to payment: v1 90, v2 10; copies of 5% go to v3");
        steering.rollout = Some(3);
        let expect = "traffic to payment: v1 90, v2 10, by its rollout 3; copies of 5% go to v3";
        assert_eq!(in_words(&service, &steering), expect);
    }
}
