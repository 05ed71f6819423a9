//! `bowline breakers`: which circuit breakers there are, how they are and why, and orders to them.

mod steer;

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use bowline_model::{InstanceId, ServiceName, mesh::BreakerStatus, units};
use bowline_provider_remote::wire::{BreakerList, BreakersQuery, HeldBreakers, MissingHolder};

use crate::{
    FAILED, api,
    args::{self, BreakersCommand, Output},
    style, table,
};

/// Lists breakers, or steers some.
pub(crate) async fn run(args: args::Breakers) -> anyhow::Result<ExitCode> {
    use bowline_model::mesh::BreakerCommand as Order;
    let args::Breakers { command, service, instances, query } = args;
    match command {
        None => list(service.as_ref(), instances, &query).await,
        Some(BreakersCommand::Open(hold)) => steer::hold(hold, Order::Open).await,
        Some(BreakersCommand::Close(hold)) => steer::hold(hold, Order::Closed).await,
        Some(BreakersCommand::Disable(hold)) => steer::hold(hold, Order::Disabled).await,
        Some(BreakersCommand::Reset(reset)) => steer::reset(reset).await,
    }
}

async fn list(service: Option<&ServiceName>, by_instance: bool, query: &args::Query) -> anyhow::Result<ExitCode> {
    let mut found = ask(query).await?;
    if let Some(service) = service {
        found.calls.retain(|call| call.callee == *service || (call.route.is_none() && call.caller == *service));
        found.missing.retain(|missing| missing.caller == *service || missing.caller.as_str() == "gateway");
    }
    if query.output == Output::Json {
        api::print_json(&found)?;
    } else {
        for line in lines(&found, by_instance).into_iter().chain(found.missing.iter().map(told_missing)) {
            style::line(&line);
        }
    }
    Ok(if found.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// All breakers that there are.
async fn ask(query: &args::Query) -> anyhow::Result<BreakerList> {
    api::answered(query, api::client(query).await?.breakers(&BreakersQuery::default()).await)
}

fn told_missing(MissingHolder { caller, holder, why }: &MissingHolder) -> String {
    style::plain(&format!("{holder} of {caller} did not say what it has: {why}"))
}

/// One breaker of one holder.
type One<'a> = (&'a InstanceId, &'a BreakerStatus);

fn lines(found: &BreakerList, by_instance: bool) -> Vec<String> {
    let mut calls: BTreeMap<String, Vec<&HeldBreakers>> = BTreeMap::new();
    for call in found.calls.iter().filter(|call| call.is_guarded) {
        let name = format!("{}->{}", call.called_by().shown(), call.callee);
        calls.entry(name).or_default().push(call);
    }
    if calls.is_empty() {
        return vec!["no breakers".to_owned()];
    }
    let rows: Vec<Vec<String>> = calls.iter().flat_map(|(name, held)| rows(name, held, by_instance)).collect();
    table::lines(&["NAME", "STATE", "CALLS", "FAILED", "SLOW", "SINCE", "LAST", "HOLDERS"], &rows)
}

/// A row for a call where all instances are alike, else one for each instance.
fn rows(name: &str, held: &[&HeldBreakers], by_instance: bool) -> Vec<Vec<String>> {
    let mut by_callee: BTreeMap<&InstanceId, Vec<One<'_>>> = BTreeMap::new();
    for (holder, breaker) in held.iter().flat_map(|call| call.breakers.iter().map(move |one| (&call.holder, one))) {
        by_callee.entry(&breaker.instance).or_default().push((holder, breaker));
    }
    let all: Vec<One<'_>> = by_callee.values().flatten().copied().collect();
    let is_alike = all.windows(2).all(|two| two[0].1.state == two[1].1.state);
    if all.is_empty() || (is_alike && !by_instance) {
        return vec![row(name, &all, held.len())];
    }
    let of_instance =
        |(instance, ones): (&&InstanceId, &Vec<One<'_>>)| row(&format!("{name}@{instance}"), ones, ones.len());
    by_callee.iter().map(of_instance).collect()
}

fn row(name: &str, ones: &[One<'_>], holders: usize) -> Vec<String> {
    let sum = |of: fn(&BreakerStatus) -> u64| ones.iter().map(|(_, one)| of(one)).sum::<u64>();
    let calls = sum(|one| one.calls);
    let last = ones.iter().filter_map(|(_, one)| one.transitions.first()).min_by_key(|last| last.age_ms);
    let since = last.map(|last| units::format_duration(Duration::from_secs(last.age_ms / 1000)));
    let why = last.map(|last| format!("{} -> {}: {}", last.from, last.to, last.why));
    vec![
        name.to_owned(),
        states(ones),
        calls.to_string(),
        percent(sum(|one| one.failures), calls),
        percent(sum(|one| one.slow), calls),
        since.unwrap_or_else(dash),
        why.unwrap_or_else(dash),
        holders.to_string(),
    ]
}

/// The state that all are in, or how many are in each.
fn states(ones: &[One<'_>]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, one) in ones {
        *counts.entry(&one.state).or_default() += 1;
    }
    match counts.len() {
        0 => "no instance".to_owned(),
        1 => counts.into_keys().collect(),
        _ => counts.iter().map(|(state, count)| format!("{state} {count}")).collect::<Vec<_>>().join(", "),
    }
}

fn percent(part: u64, calls: u64) -> String {
    (part * 100 + calls / 2).checked_div(calls).map_or_else(dash, |percent| format!("{percent}%"))
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two orders and a gateway that call payment, which has two instances.
    pub(super) fn found() -> BreakerList {
        let last = r#"[{"age_ms": 61500, "from": "closed", "to": "open", "why": "failure_rate", "calls": 20, "failures": 11, "slow": 0}]"#;
        let breaker = |instance: &str, state: &str, last: &str| {
            format!(
                r#"{{"instance": "{instance}", "state": "{state}", "calls": 20, "failures": 11, "slow": 0, "transitions": {last}}}"#
            )
        };
        let held = |caller: &str, holder: &str, route: &str, breakers: &[String]| {
            format!(
                r#"{{"caller": "{caller}", "holder": "{holder}", "callee": "payment", {route} "is_guarded": true, "breakers": [{}]}}"#,
                breakers.join(",")
            )
        };
        let closed = |instance: &str| breaker(instance, "closed", "[]");
        let calls = [
            held("gateway", "gateway-1", r#""route": "charges","#, &[closed("payment-1"), closed("payment-2")]),
            held("order", "order-1", "", &[breaker("payment-1", "open", last), closed("payment-2")]),
            held("order", "order-2", "", &[closed("payment-1"), closed("payment-2")]),
            held("user", "user-1", "", &[]),
            r#"{"caller": "web", "holder": "web-1", "callee": "payment", "is_guarded": false}"#.to_owned(),
        ];
        let missing = r#"[{"caller": "web", "holder": "web-2", "why": "it does not answer"}]"#;
        serde_json::from_str(&format!(r#"{{"calls": [{}], "missing": {missing}}}"#, calls.join(","))).unwrap()
    }

    #[test]
    fn breakers_are_told_by_call_and_by_instance_where_they_differ() {
        let expect = [
            "NAME                     STATE             CALLS  FAILED  SLOW  SINCE  LAST                          HOLDERS",
            "order->payment@payment-1  closed 1, open 1  40     55%     0%    1m 1s  closed -> open: failure_rate  2",
            "order->payment@payment-2  closed            40     55%     0%    -      -                             2",
            "route:charges->payment    closed            40     55%     0%    -      -                             1",
            "user->payment             no instance       0      -       -     -      -                             1",
        ];
        let told = lines(&found(), false);
        assert_eq!(told[1..], expect[1..]);
        assert_eq!(lines(&found(), true).len(), 6);
        assert_eq!(lines(&BreakerList::default(), false), ["no breakers"]);
        assert_eq!(told_missing(&found().missing[0]), "web-2 of web did not say what it has: it does not answer");
    }
}
