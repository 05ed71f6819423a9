//! `Deployment(S)`: how releases of a service are rolled out, `[deploy.X]`.

use super::{
    SERVICES_MAX,
    references::{Names, Side},
    schema,
    table::Table,
    value::Value,
};
use crate::{
    deploy::{Condition, Deployment, Plan, REQUESTS_RANGE, STEPS_DEFAULT, STEPS_MAX, STEPS_RULE, Strategy, check_step},
    units::Share,
};

/// All deployments, in the order of the file; `services` are the sections of those that there are.
pub(super) fn read_all(value: Value<'_>, services: &[Value<'_>], declared: &Names<'_>) -> Vec<Deployment> {
    let entries = value.entries(&schema::DEPLOY_ENTRY, SERVICES_MAX);
    entries.into_iter().filter_map(|entry| deployment(entry, services, declared)).collect()
}

fn deployment(entry: Value<'_>, services: &[Value<'_>], declared: &Names<'_>) -> Option<Deployment> {
    declared.check(entry.key(), entry, Side::Key);
    let name = entry.key_quoted();
    let section = format!("in `[service.{}]`", entry.key());
    if let Some(service) = services.iter().find(|service| service.key() == entry.key()) {
        if !service.has("run") {
            entry.fault_key(format!("{name} has no `run`: there is nothing to deploy"), format!("write it {section}"));
        }
        if !service.has("version") {
            let help = format!("write `version = \"v1\"` {section}");
            entry.fault_key(format!("{name} has no `version`, by which its releases are told apart"), help);
        }
    }
    let plan = plan(&entry.table(&schema::DEPLOY)?);
    Some(Deployment { service: entry.key_label()?, position: entry.key_position(), plan })
}

fn plan(table: &Table<'_>) -> Plan {
    let default = Plan::default();
    let strategy = table.get("strategy").and_then(|value| value.choice(&Strategy::NAMES, &[])).unwrap_or_default();
    Plan {
        strategy,
        steps: steps(table, strategy),
        bake: table.duration_or("bake", default.bake),
        abort_when: table.get("abort_when").map_or(default.abort_when, abort_when),
        min_requests: table.integer_or("min_requests", REQUESTS_RANGE, default.min_requests),
    }
}

fn steps(table: &Table<'_>, strategy: Strategy) -> Vec<Share> {
    let is_canary = strategy == Strategy::Canary;
    let Some(value) = table.get("steps") else {
        return if is_canary { STEPS_DEFAULT.to_vec() } else { Vec::new() };
    };
    if !is_canary {
        value.fault_key("`steps` without `strategy = \"canary\"`", STEPS_RULE);
    } else if value.is_list_empty() {
        value.fault("`steps` is empty", "name at least one, or leave it out for 5%, 25% and 50%");
    }
    let mut steps: Vec<Share> = Vec::new();
    for element in value.list(STEPS_MAX) {
        let step = element.parsed("a step", |text| {
            let step = Share::parse(text)?;
            check_step(step, steps.last().copied()).map(|()| step)
        });
        steps.extend(step);
    }
    steps
}

/// A condition, or that there is none.
fn abort_when(value: Value<'_>) -> Option<Condition> {
    if value.is_off() {
        return None;
    }
    value.parsed("a condition", Condition::parse)
}
