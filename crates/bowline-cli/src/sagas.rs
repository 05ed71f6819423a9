//! `bowline sagas`: changes over several services, how far they are, and what is stuck.

use std::process::ExitCode;

use bowline_provider_remote::wire::{Saga, SagaEvent, SagaList, SagasQuery};

use crate::{
    FAILED, api,
    args::{self, Output, SagasCommand},
    style, table, when,
};

/// How many sagas a service tells where nothing else is asked for, and at most.
const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// Lists sagas, shows one, or has one be tried at once.
pub(crate) async fn run(args: args::Sagas) -> anyhow::Result<ExitCode> {
    let args::Sagas { command, list } = args;
    match command {
        None => self::list(list).await,
        Some(SagasCommand::Show(one)) => show(one).await,
        Some(SagasCommand::Retry(one)) => retry(one).await,
    }
}

async fn list(args: args::SagasList) -> anyhow::Result<ExitCode> {
    let args::SagasList { service, name, phase, limit, query } = args;
    let client = api::client(&query).await?;
    let asked = SagasQuery { service, name, phase: phase.map(|phase| phase.as_str().to_owned()), limit };
    let found = api::answered(&query, client.sagas(&asked).await)?;
    match query.output {
        Output::Json => api::print_json(&found)?,
        Output::Text => {
            for line in lines(&found) {
                style::line(&line);
            }
            // Each service tells no more than that of its own.
            let limit = limit.unwrap_or(LIMIT_DEFAULT);
            if found.sagas.len() >= limit {
                style::line(&format!("there may be older ones: --limit COUNT, up to {LIMIT_MAX}"));
            }
        }
    }
    Ok(if found.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

async fn show(args: args::SagasOne) -> anyhow::Result<ExitCode> {
    let args::SagasOne { service, id, query } = args;
    let saga = api::answered(&query, api::client(&query).await?.saga(&service, &id).await)?;
    match query.output {
        Output::Json => api::print_json(&saga)?,
        Output::Text => detail(&saga).iter().for_each(|line| style::line(line)),
    }
    Ok(ExitCode::SUCCESS)
}

async fn retry(args: args::SagasOne) -> anyhow::Result<ExitCode> {
    let args::SagasOne { service, id, query } = args;
    let retried = api::answered(&query, api::client(&query).await?.retry_saga(&service, &id).await)?;
    match query.output {
        Output::Json => api::print_json(&retried)?,
        Output::Text if retried.is_tried => style::line("it is tried now"),
        Output::Text => style::line("nothing to do: it has ended, or is worked on now"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The sagas, and who did not say what it has.
fn lines(SagaList { sagas, missing }: &SagaList) -> Vec<String> {
    let rows: Vec<Vec<String>> = sagas.iter().map(row).collect();
    let header = ["SERVICE", "SAGA", "ID", "PHASE", "STEP", "FAILED", "BEGAN", "WHY"];
    let mut lines = if rows.is_empty() { vec!["no sagas".to_owned()] } else { table::lines(&header, &rows) };
    lines.extend(missing.iter().map(|service| format!("no instance of {service} said what it has")));
    lines
}

fn row(saga: &Saga) -> Vec<String> {
    let dash = || "-".to_owned();
    let Saga { service, id, name, phase, step, attempts, begun_ms, reason, .. } = saga;
    vec![
        service.as_ref().map_or_else(dash, ToString::to_string),
        name.clone(),
        id.clone(),
        phase.clone(),
        step.clone().unwrap_or_else(dash),
        attempts.to_string(),
        at(*begun_ms),
        reason.clone().unwrap_or_else(dash),
    ]
}

/// All that is known of one.
fn detail(saga: &Saga) -> Vec<String> {
    let Saga { phase, step, attempts, due_ms, ended_ms, reason, trace_id, history, .. } = saga;
    let mut lines = lines(&SagaList { sagas: vec![saga.clone()], missing: Vec::new() });
    lines.push(String::new());
    lines.push(match (ended_ms, step) {
        (Some(ended), _) => format!("{phase} at {}", at(*ended)),
        (None, Some(step)) => {
            let what = if phase == "acting" { "done" } else { "undone" };
            let when =
                if *attempts > 0 { format!(": it is tried again at {}", at(*due_ms)) } else { " now".to_owned() };
            format!("`{step}` is to be {what}{when}")
        }
        (None, None) => "it goes on".to_owned(),
    });
    lines.extend(reason.iter().map(|reason| format!("why: {reason}")));
    lines.extend(trace_id.iter().map(|id| format!("trace: bowline trace {id}")));
    lines.push(String::new());
    lines.extend(history.iter().map(event));
    lines.iter().map(|line| style::plain(line)).collect()
}

fn event(SagaEvent { at_ms, step, what, failure }: &SagaEvent) -> String {
    let failure = failure.as_ref().map_or_else(String::new, |failure| format!(": {failure}"));
    format!("{}  {:<10}  {step}{failure}", at(*at_ms), what.replace('_', " "))
}

fn at(unix_ms: i64) -> String {
    when::utc(u64::try_from(unix_ms).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use bowline_model::ServiceName;

    use super::*;

    fn saga() -> Saga {
        let event = |step: &str, what: &str, failure: Option<&str>| SagaEvent {
            at_ms: 1_767_323_045_000,
            step: step.to_owned(),
            what: what.to_owned(),
            failure: failure.map(str::to_owned),
        };
        Saga {
            service: ServiceName::new("order").ok(),
            id: "o-1".to_owned(),
            name: "order".to_owned(),
            phase: "stuck".to_owned(),
            step: Some("charge".to_owned()),
            attempts: 12,
            due_ms: 1_767_323_105_000,
            begun_ms: 1_767_323_045_000,
            ended_ms: None,
            reason: Some("its time is over".to_owned()),
            trace_id: Some("4bf9".to_owned()),
            history: vec![event("place", "acted", None), event("charge", "not_undone", Some("503\x1b[2J"))],
        }
    }

    #[test]
    fn a_saga_is_told_with_what_happened_to_it() {
        let expect = [
            "SERVICE  SAGA   ID   PHASE  STEP    FAILED  BEGAN                 WHY",
            "order    order  o-1  stuck  charge  12      2026-01-02 03:04:05Z  its time is over",
            "",
            "`charge` is to be undone: it is tried again at 2026-01-02 03:05:05Z",
            "why: its time is over",
            "trace: bowline trace 4bf9",
            "",
            "2026-01-02 03:04:05Z  acted       place",
        ];
        let lines = detail(&saga());
        assert_eq!(lines[..expect.len()], expect);
        assert!(lines[expect.len()].starts_with("2026-01-02 03:04:05Z  not undone  charge: 503"), "{lines:?}");
        assert!(!lines[expect.len()].contains('\x1b'), "{lines:?}");
        let begun = detail(&Saga { phase: "acting".to_owned(), attempts: 0, ..saga() });
        assert_eq!(begun[3], "`charge` is to be done now");
        assert_eq!(super::lines(&SagaList { sagas: Vec::new(), missing: Vec::new() }), ["no sagas"]);
        let missing = SagaList { sagas: Vec::new(), missing: ServiceName::new("bank").into_iter().collect() };
        assert_eq!(super::lines(&missing), ["no sagas", "no instance of bank said what it has"]);
    }
}
