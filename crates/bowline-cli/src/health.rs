//! `bowline health`: how services are, and why.

use std::process::ExitCode;

use bowline_provider_remote::wire::{
    HealthProbe, HealthState, HealthTransition, InstanceHealth, RolledHealth, ServiceHealth,
};

use crate::{
    api,
    args::{self, Output},
    duration, style, table, when,
};

/// Shows every service, or one with its instances and their history.
pub(crate) async fn run(args: args::Health) -> anyhow::Result<ExitCode> {
    let args::Health { service, query } = args;
    let client = api::client(&query).await?;
    let Some(service) = service else {
        let list = api::answered(&query, client.health().await)?;
        match query.output {
            Output::Json => api::print_json(&list)?,
            Output::Text if list.services.is_empty() => style::line("no service is declared, and none has an instance"),
            Output::Text => print(&services(&list.services)),
        }
        return Ok(ExitCode::SUCCESS);
    };
    let detail = api::answered(&query, client.service_health(&service).await)?;
    if query.output == Output::Json {
        api::print_json(&detail)?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&services(std::slice::from_ref(&detail.service)));
    if !detail.instances.is_empty() {
        style::line("");
        print(&instances(&detail.instances));
    }
    if !detail.transitions.is_empty() {
        style::line("");
        print(&transitions(&detail.transitions));
    }
    Ok(ExitCode::SUCCESS)
}

fn print(lines: &[String]) {
    for line in lines {
        style::line(line);
    }
}

fn services(services: &[ServiceHealth]) -> Vec<String> {
    let row = |service: &ServiceHealth| {
        let ServiceHealth { name, own, rolled_up, because, healthy, unhealthy, draining } = service;
        let path = |path: &Vec<_>| path.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ");
        let because: Vec<String> = because.iter().map(path).collect();
        let because = match (because.is_empty(), rolled_up) {
            (false, _) => because.join(", "),
            (true, RolledHealth::Healthy) => "-".to_owned(),
            (true, RolledHealth::Degraded | RolledHealth::Unhealthy) => "its own instances".to_owned(),
        };
        let total = healthy + unhealthy + draining;
        vec![
            name.to_string(),
            own.as_str().to_owned(),
            rolled_up.as_str().to_owned(),
            because,
            format!("{healthy}/{total}"),
        ]
    };
    let rows: Vec<_> = services.iter().map(row).collect();
    table::lines(&["SERVICE", "OWN", "ROLLED UP", "BECAUSE", "INSTANCES"], &rows)
}

fn instances(instances: &[InstanceHealth]) -> Vec<String> {
    let row = |instance: &InstanceHealth| {
        let InstanceHealth { id, health, since_unix_ms, last_probe } = instance;
        vec![
            id.to_string(),
            health.as_str().to_owned(),
            since_unix_ms.map_or_else(dash, when::utc),
            probe(last_probe.as_ref()),
        ]
    };
    let rows: Vec<_> = instances.iter().map(row).collect();
    table::lines(&["INSTANCE", "HEALTH", "SINCE", "LAST PROBE"], &rows)
}

fn transitions(transitions: &[HealthTransition]) -> Vec<String> {
    let row = |transition: &HealthTransition| {
        let HealthTransition { at_unix_ms, instance, from, to, after_ms, why, probe: _ } = transition;
        let change = |from: HealthState, to: HealthState| format!("{} → {}", from.as_str(), to.as_str());
        let after = after_ms.map_or_else(dash, |after_ms| duration::short(after_ms.saturating_mul(1_000_000)));
        let why = why.clone().unwrap_or_else(|| "not told".to_owned());
        vec![when::utc(*at_unix_ms), instance.to_string(), change(*from, *to), after, why]
    };
    let rows: Vec<_> = transitions.iter().map(row).collect();
    table::lines(&["WHEN", "INSTANCE", "CHANGE", "AFTER", "WHY"], &rows)
}

fn probe(probe: Option<&HealthProbe>) -> String {
    let Some(HealthProbe { at_unix_ms: _, took_us, failure }) = probe else { return dash() };
    let took = duration::short(took_us.saturating_mul(1000));
    failure.as_ref().map_or_else(|| format!("ok in {took}"), |failure| format!("{failure} (in {took})"))
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use bowline_model::{InstanceId, ServiceName};
    use bowline_provider_remote::wire::OwnHealth;

    use super::*;

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    #[test]
    fn a_row_says_what_a_service_lacks() {
        let order = ServiceHealth {
            name: name("order"),
            own: OwnHealth::AllHealthy,
            rolled_up: RolledHealth::Degraded,
            because: vec![vec![name("user")], vec![name("payment"), name("bank")]],
            healthy: 2,
            unhealthy: 0,
            draining: 0,
        };
        let bank = ServiceHealth {
            name: name("bank"),
            own: OwnHealth::NoneHealthy,
            rolled_up: RolledHealth::Unhealthy,
            because: vec![],
            healthy: 0,
            unhealthy: 1,
            draining: 0,
        };
        let expect = [
            "SERVICE  OWN           ROLLED UP  BECAUSE               INSTANCES",
            "bank     none healthy  unhealthy  its own instances     0/1",
            "order    all healthy   degraded   user, payment → bank  2/2",
        ];
        assert_eq!(services(&[bank, order]), expect);
    }

    #[test]
    fn a_change_says_when_and_why() {
        let change = HealthTransition {
            at_unix_ms: 1_767_323_045_000,
            instance: InstanceId::new("order-1").unwrap(),
            from: HealthState::Healthy,
            to: HealthState::Unhealthy,
            after_ms: Some(35_100),
            why: None,
            probe: None,
        };
        let expect = [
            "WHEN                  INSTANCE  CHANGE               AFTER   WHY",
            "2026-01-02 03:04:05Z  order-1   healthy → unhealthy  35.1 s  not told",
        ];
        assert_eq!(transitions(&[change]), expect);
    }
}
