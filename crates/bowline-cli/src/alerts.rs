//! `bowline alerts` and `bowline targets`: what is watched for, who was told, what is scraped.

use std::{collections::BTreeMap, process::ExitCode};

use bowline_provider_remote::wire::{
    ActiveAlert, AlertTransition, NewSilence, Notification, RuleStanding, ScrapeTarget, StandingSilence,
};
use bowline_runtime::time;
use serde::Serialize;
use serde_json::Value;

use crate::{
    api,
    args::{self, AlertsCommand, Output},
    duration, style, table, when,
};

/// Shows or changes what is known of alerts.
pub(crate) async fn run(args: args::Alerts) -> anyhow::Result<ExitCode> {
    let args::Alerts { command, query } = args;
    match command {
        None => active(&query).await,
        Some(AlertsCommand::Rules(flags)) => rules(&flags.query).await,
        Some(AlertsCommand::History(flags)) => history(&flags.query).await,
        Some(AlertsCommand::Notifications(flags)) => notifications(&flags.query).await,
        Some(AlertsCommand::Silences(flags)) => silences(&flags.query).await,
        Some(AlertsCommand::Silence(silence)) => make_silence(silence).await,
        Some(AlertsCommand::Unsilence(ended)) => end_silence(ended).await,
        Some(AlertsCommand::Test(test)) => test_receiver(test).await,
    }
}

async fn active(query: &args::Query) -> anyhow::Result<ExitCode> {
    let list = api::answered(query, api::client(query).await?.alerts().await)?;
    let row = |alert: &ActiveAlert| {
        let summary = alert.annotations.get("summary").or_else(|| alert.annotations.get("description"));
        let name = alert.labels.get("alertname").cloned().unwrap_or_default();
        let rest = without_name(&alert.labels);
        vec![name, alert.state.clone(), alert.active_at.clone(), rest, summary.cloned().unwrap_or_default()]
    };
    show(
        query,
        &list,
        &list.alerts,
        &["ALERT", "STATE", "SINCE", "LABELS", "SUMMARY"],
        row,
        "no alert is pending or fires",
    )
}

async fn rules(query: &args::Query) -> anyhow::Result<ExitCode> {
    let list = api::answered(query, api::client(query).await?.rules().await)?;
    let rules: Vec<(String, RuleStanding)> = list
        .groups
        .iter()
        .flat_map(|group| group.rules.iter().map(|rule| (group.name.clone(), rule.clone())))
        .collect();
    let row = |(group, rule): &(String, RuleStanding)| {
        let state = rule.state.clone().unwrap_or_else(|| rule.kind.clone());
        let health = rule.last_error.clone().unwrap_or_else(|| rule.health.clone());
        let hold = rule.duration.map(|seconds| format!("{seconds}s")).unwrap_or_default();
        let expression = rule.query.split_whitespace().collect::<Vec<_>>().join(" ");
        vec![group.clone(), rule.name.clone(), state, hold, health, expression]
    };
    show(query, &list, &rules, &["GROUP", "RULE", "STATE", "FOR", "HEALTH", "EXPRESSION"], row, "there are no rules")
}

async fn history(query: &args::Query) -> anyhow::Result<ExitCode> {
    let list = api::answered(query, api::client(query).await?.alert_history().await)?;
    let row = |change: &AlertTransition| {
        let AlertTransition { at, group: _, labels, from, to, value } = change;
        let name = labels.get("alertname").cloned().unwrap_or_default();
        vec![at.clone(), name, format!("{from} → {to}"), value.clone(), without_name(labels)]
    };
    show(
        query,
        &list,
        &list.transitions,
        &["WHEN", "ALERT", "CHANGE", "VALUE", "LABELS"],
        row,
        "nothing has changed yet",
    )
}

async fn notifications(query: &args::Query) -> anyhow::Result<ExitCode> {
    let list = api::answered(query, api::client(query).await?.notifications().await)?;
    let row = |one: &Notification| {
        let Notification { at_ms, receiver, alerts, alert_count, decision, .. } = one;
        let receiver = if receiver.is_empty() { "-".to_owned() } else { receiver.clone() };
        let first = alerts.first().cloned().unwrap_or_default();
        let more = if *alert_count > 1 { format!(" and {} more", alert_count - 1) } else { String::new() };
        let at = when::utc(u64::try_from(*at_ms).unwrap_or_default());
        vec![at, receiver, decided(decision), format!("{first}{more}")]
    };
    show(
        query,
        &list,
        &list.notifications,
        &["WHEN", "RECEIVER", "WHAT", "ALERTS"],
        row,
        "nobody was to be told of anything",
    )
}

/// A decision in words: what, and each of its details.
fn decided(decision: &BTreeMap<String, Value>) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let what = decision.get("decision").map(text).unwrap_or_default().replace('_', " ");
    let details = decision.iter().filter(|(name, _)| *name != "decision").map(|(name, value)| match name.as_str() {
        "until_ms" => format!("until {}", when::utc(value.as_u64().unwrap_or_default())),
        "attempts" if value.as_u64() == Some(1) => "at once".to_owned(),
        "attempts" => format!("{value} attempts"),
        _ => text(value),
    });
    let details: Vec<String> = details.collect();
    if details.is_empty() { what } else { format!("{what} ({})", details.join(", ")) }
}

async fn silences(query: &args::Query) -> anyhow::Result<ExitCode> {
    let list = api::answered(query, api::client(query).await?.silences().await)?;
    let head = ["SILENCE", "STATE", "UNTIL", "BY", "MATCHERS", "WHY"];
    show(query, &list, &list.silences, &head, silence_row, "nothing is silenced")
}

fn silence_row(silence: &StandingSilence) -> Vec<String> {
    let StandingSilence { id, matchers, starts_at: _, ends_at, created_by, comment, state } = silence;
    [id, state, ends_at, created_by, &matchers.join(" "), comment].map(Clone::clone).into()
}

async fn make_silence(args: args::Silence) -> anyhow::Result<ExitCode> {
    let args::Silence { matchers, lasts, comment, by, query } = args;
    let until = time::unix_millis_now().saturating_add(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
    let ends_at = bowline_observe::alerts::rfc3339(i64::try_from(until).unwrap_or(i64::MAX));
    let silence = NewSilence { matchers, ends_at, created_by: by, comment };
    let made = api::answered(&query, api::client(&query).await?.silence(&silence).await)?;
    match query.output {
        Output::Json => api::print_json(&made)?,
        Output::Text => style::line(&style::plain(&format!(
            "silenced until {}; end it before with `bowline alerts unsilence {}`",
            made.ends_at, made.id
        ))),
    }
    Ok(ExitCode::SUCCESS)
}

async fn end_silence(args: args::Unsilence) -> anyhow::Result<ExitCode> {
    let args::Unsilence { id, query } = args;
    let ended = api::answered(&query, api::client(&query).await?.expire_silence(&id).await)?;
    match query.output {
        Output::Json => api::print_json(&ended)?,
        Output::Text => style::line(&style::plain(&format!("silence {} is over", ended.id))),
    }
    Ok(ExitCode::SUCCESS)
}

async fn test_receiver(args: args::TestReceiver) -> anyhow::Result<ExitCode> {
    let args::TestReceiver { receiver, query } = args;
    let answer = api::answered(&query, api::client(&query).await?.test_receiver(&receiver).await)?;
    match query.output {
        Output::Json => api::print_json(&answer)?,
        Output::Text => {
            let told = format!("{receiver} answered {} {}", answer.status, answer.text);
            style::line(style::plain(&told).trim_end());
        }
    }
    let is_taken = (200..300).contains(&answer.status);
    Ok(if is_taken { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lists what is scraped.
pub(crate) async fn targets(args: args::Targets) -> anyhow::Result<ExitCode> {
    let args::Targets { query } = args;
    let list = api::answered(&query, api::client(&query).await?.scrape_targets().await)?;
    let row = |target: &ScrapeTarget| {
        let label = |name: &str| target.labels.get(name).cloned().unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a duration, cut to what is one")]
        let took = duration::short((target.last_scrape_duration.max(0.0) * 1e9) as u64);
        let samples = target.samples.to_string();
        vec![label("job"), label("instance"), target.health.clone(), samples, took, target.last_error.clone()]
    };
    let head = ["JOB", "INSTANCE", "HEALTH", "SAMPLES", "TOOK", "LAST ERROR"];
    show(&query, &list, &list.active_targets, &head, row, "nothing is scraped")
}

/// Labels without the alert's name, as they would be written.
fn without_name(labels: &BTreeMap<String, String>) -> String {
    let labels = labels.iter().filter(|(name, _)| *name != "alertname");
    labels.map(|(name, value)| format!("{name}={value:?}")).collect::<Vec<_>>().join(" ")
}

/// A list as a table, or for programs.
fn show<T>(
    query: &args::Query,
    list: &impl Serialize,
    items: &[T],
    head: &[&str],
    row: impl Fn(&T) -> Vec<String>,
    empty: &str,
) -> anyhow::Result<ExitCode> {
    match query.output {
        Output::Json => api::print_json(list)?,
        Output::Text if items.is_empty() => style::line(empty),
        Output::Text => {
            let rows: Vec<Vec<String>> = items.iter().map(row).collect();
            for line in table::lines(head, &rows) {
                style::line(&line);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_decision_is_told_in_words() {
        let told = |value: Value| decided(&serde_json::from_value(value).unwrap());
        assert_eq!(told(json!({ "decision": "no_receiver" })), "no receiver");
        let sent = json!({ "decision": "sent", "status": "firing", "because": "news", "attempts": 1 });
        assert_eq!(told(sent), "sent (at once, news, firing)");
        let unchanged = json!({ "decision": "unchanged", "until_ms": 60_000 });
        assert_eq!(told(unchanged), "unchanged (until 1970-01-01 00:01:00Z)");
    }
}
