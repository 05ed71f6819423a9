//! `bowline deploy`: releases that take the place of others, step by step.

use std::{io::Write as _, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use bowline_model::{ServiceName, units};
use bowline_provider_remote::{
    Client,
    wire::{Deployment, DeploymentTransition, NewDeployment, ServiceDeployments},
};
use bowline_runtime::time;
use bowline_transport::ClientError;

use crate::{
    FAILED, api,
    args::{self, DeployCommand, Output, Query},
    duration, style, table, when,
};

/// How often a rollout is asked for that is followed.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// How long nobody may answer who is followed: Bowline may be started anew, and the rollout goes on then.
const AWAY_MAX: Duration = Duration::from_mins(2);

/// `bowline deploy …`.
pub(crate) async fn run(args: args::Deploy) -> anyhow::Result<ExitCode> {
    let args::Deploy { command, begin } = args;
    match command {
        None => begin_one(begin).await,
        Some(DeployCommand::Status(args)) => status(args).await,
        Some(DeployCommand::Pause(args)) => order(args, "pause").await,
        Some(DeployCommand::Resume(args)) => order(args, "resume").await,
        Some(DeployCommand::Promote(args)) => order(args, "promote").await,
        Some(DeployCommand::Abort(args)) => order(args, "abort").await,
    }
}

async fn begin_one(args: args::DeployBegin) -> anyhow::Result<ExitCode> {
    let args::DeployBegin {
        service,
        run,
        build,
        version,
        env,
        replicas,
        strategy,
        steps,
        bake,
        abort_when,
        min_requests,
        follow,
        query,
    } = args;
    let service = service.context("say whose release: bowline deploy SERVICE --run COMMAND")?;
    let env = env.into_iter().collect();
    let new = NewDeployment { version, build, run, env, replicas, strategy, steps, bake, abort_when, min_requests };
    let client = api::client(&query).await?;
    let begun = api::answered(&query, client.deploy(service.as_str(), &new).await)?;
    if follow {
        return follow_it(&client, &query, &service, Some(begun.id)).await;
    }
    match query.output {
        Output::Json => api::print_json(&begun)?,
        Output::Text => {
            style::line(&style::plain(&headline(&begun)));
            style::line(&format!("it goes on by itself: bowline deploy status {service}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn order(args: args::DeployOrder, order: &str) -> anyhow::Result<ExitCode> {
    let args::DeployOrder { service, id, query } = args;
    let client = api::client(&query).await?;
    let ordered = api::answered(&query, client.order_deployment(service.as_str(), order, id).await)?;
    match query.output {
        Output::Json => api::print_json(&ordered)?,
        Output::Text => style::line(&style::plain(&headline(&ordered))),
    }
    Ok(ExitCode::SUCCESS)
}

async fn status(args: args::DeployStatus) -> anyhow::Result<ExitCode> {
    let args::DeployStatus { service, follow, query } = args;
    let client = api::client(&query).await?;
    let Some(service) = service else {
        let list = api::answered(&query, client.deployments().await)?;
        match query.output {
            Output::Json => api::print_json(&list)?,
            Output::Text if list.deployments.is_empty() => style::line("nothing was rolled out yet"),
            Output::Text => print(&rows(&list.deployments)),
        }
        return Ok(ExitCode::SUCCESS);
    };
    if follow {
        return follow_it(&client, &query, &service, None).await;
    }
    let stands = api::answered(&query, client.service_deployments(service.as_str()).await)?;
    match query.output {
        Output::Json => api::print_json(&stands)?,
        Output::Text => print(&detail(&stands)),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(lines: &[String]) {
    for line in lines {
        style::line(line);
    }
}

/// Prints each transition of a rollout, or of the one there is, and what it waits for, until it ends.
async fn follow_it(client: &Client, query: &Query, service: &ServiceName, id: Option<u64>) -> anyhow::Result<ExitCode> {
    let (mut id, mut told) = (id, Told::default());
    loop {
        let Some(deployment) = patiently(client, query, service, &mut id).await? else {
            bail!("{service} was never rolled out");
        };
        match query.output {
            // A line each, for who reads them as they come.
            Output::Json => {
                for transition in told.untold(&deployment) {
                    style::line(&api::escaped(&serde_json::to_string(transition)?));
                }
            }
            Output::Text => print(&told.lines(&deployment)),
        }
        if !deployment.is_live {
            let is_promoted = deployment.phase == "promoted";
            return Ok(if is_promoted { ExitCode::SUCCESS } else { ExitCode::from(FAILED) });
        }
        time::sleep(ASK_EVERY).await;
    }
}

/// The rollout that is followed, asked for again where nobody answers for a while; `id` becomes that of the first.
async fn patiently(
    client: &Client,
    query: &Query,
    service: &ServiceName,
    id: &mut Option<u64>,
) -> anyhow::Result<Option<Deployment>> {
    let begun = time::now();
    let mut is_noted = false;
    loop {
        let answer = match client.service_deployments(service.as_str()).await {
            // It may be that it is started anew: it says so until services run.
            Err(error) if is_away(&error) && begun.elapsed() < AWAY_MAX => error,
            answer => return Ok(pick(api::answered(query, answer)?, id)),
        };
        if !std::mem::replace(&mut is_noted, true) {
            let note = format!("{answer}; the rollout goes on when Bowline does");
            let _closed = writeln!(std::io::stderr(), "{}", style::plain(&note));
        }
        time::sleep(ASK_EVERY).await;
    }
}

fn is_away(error: &ClientError) -> bool {
    match error {
        ClientError::Transport { .. } => true,
        ClientError::Answer { problem, .. } => problem.code == bowline_model::Code::Unavailable,
        _ => false,
    }
}

/// Of what there is the rollout of that id, or the first that is looked at.
fn pick(stands: ServiceDeployments, id: &mut Option<u64>) -> Option<Deployment> {
    let ServiceDeployments { deployment, history, .. } = stands;
    let is_it = |deployment: &Deployment| id.is_none_or(|id| id == deployment.id);
    let picked = deployment.into_iter().chain(history).find(is_it)?;
    *id = Some(picked.id);
    Some(picked)
}

/// What who follows was told.
#[derive(Debug, Default)]
struct Told {
    /// The last transition, by its number.
    number: u32,
    /// What it was said to wait for since then.
    waits_for: Option<String>,
}

impl Told {
    /// The transitions that were not told; they are now.
    fn untold<'a>(&mut self, deployment: &'a Deployment) -> impl Iterator<Item = &'a DeploymentTransition> {
        let told = self.number;
        let last = deployment.transitions.last().map_or(told, |last| last.number.max(told));
        if last > told {
            *self = Self { number: last, waits_for: None };
        }
        deployment.transitions.iter().filter(move |transition| transition.number > told)
    }

    /// The lines that were not told, and what is waited for now, where that is something else than before.
    fn lines(&mut self, deployment: &Deployment) -> Vec<String> {
        let told = self.number;
        self.untold(deployment).for_each(drop);
        let mut lines = transition_lines(deployment, told);
        if self.waits_for != deployment.waits_for {
            self.waits_for.clone_from(&deployment.waits_for);
            let wait = deployment.waits_for.iter().map(|it| wait_line(deployment, it, time::unix_millis_now()));
            lines.extend(wait);
        }
        lines
    }
}

/// The transitions after that number, a line each; of those that nobody can tell apart the first.
fn transition_lines(deployment: &Deployment, after: u32) -> Vec<String> {
    let all = &deployment.transitions;
    let before = std::iter::once(None).chain(all.iter().map(Some));
    let is_told = |(transition, before): &(&DeploymentTransition, Option<&DeploymentTransition>)| {
        let looks = |it: &DeploymentTransition| (it.phase.clone(), it.step, it.share);
        let is_same = before.is_some_and(|before| looks(before) == looks(transition) && transition.why.is_none());
        transition.number > after && !is_same
    };
    let told = all.iter().zip(before).filter(is_told);
    told.map(|(transition, _)| style::plain(&transition_line(deployment, transition))).collect()
}

/// `12:00:25Z  baking     no verdict yet: …`.
fn wait_line(deployment: &Deployment, waits_for: &str, now_unix_ms: u64) -> String {
    style::plain(&format!("{}  {:<12}  {waits_for}", when::utc(now_unix_ms), deployment.phase))
}

/// `12:00:05Z  baking     step 1 of 3, 5% of order go to v2`.
fn transition_line(deployment: &Deployment, transition: &DeploymentTransition) -> String {
    let DeploymentTransition { number: _, at_unix_ms, phase, step: at, share, why } = transition;
    let Deployment { service, to, step_count, .. } = deployment;
    let at = step(*at, *step_count).map_or_else(String::new, |step| format!("{step}, "));
    let why = why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    format!("{}  {phase:<12}  {at}{share} of {service} go to {to}{why}", when::utc(*at_unix_ms))
}

/// How a rollout stands, in a sentence.
fn headline(deployment: &Deployment) -> String {
    let Deployment { service, from, to, strategy: _, phase, step: at, step_count, share, why, waits_for, .. } =
        deployment;
    let at = step(*at, *step_count).map_or_else(String::new, |step| format!(" at {step}"));
    let why = why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    let waits_for = waits_for.as_ref().map_or_else(String::new, |it| format!("; {it}"));
    format!("{service} {from} → {to}: {phase}{at}, {share} go to {to}{why}{waits_for}")
}

fn step(at: u32, count: u32) -> Option<String> {
    (at > 0 && at <= count).then(|| format!("step {at} of {count}"))
}

fn rows(deployments: &[Deployment]) -> Vec<String> {
    let rows: Vec<Vec<String>> = deployments.iter().map(row).collect();
    table::lines(&["SERVICE", "FROM", "TO", "STRATEGY", "PHASE", "STEP", "SHARE", "BEGAN", "WHY"], &rows)
}

fn row(deployment: &Deployment) -> Vec<String> {
    let Deployment { service, from, to, strategy, phase, step, step_count, share, begun_unix_ms, .. } = deployment;
    let strategy = bowline_model::deploy::Strategy::NAMES.iter().find(|(_, known)| known == strategy);
    let why = deployment.why.as_ref().or(deployment.waits_for.as_ref());
    vec![
        service.to_string(),
        from.clone(),
        to.clone(),
        strategy.map_or("-", |(name, _)| name).to_owned(),
        phase.clone(),
        format!("{}/{step_count}", step.min(step_count)),
        share.to_string(),
        when::utc(*begun_unix_ms),
        why.map_or_else(|| "-".to_owned(), |why| shortened(why)),
    ]
}

/// The longest reason in a table, in characters.
const WHY_MAX: usize = 300;

fn shortened(why: &str) -> String {
    let end = why.char_indices().nth(WHY_MAX).map(|(at, _)| at);
    end.map_or_else(|| why.to_owned(), |end| format!("{}…", &why[..end]))
}

/// All that is known of the releases of one service.
fn detail(stands: &ServiceDeployments) -> Vec<String> {
    let ServiceDeployments { service, version, deployment, history } = stands;
    let mut lines = vec![style::plain(&format!("{service}: {version} is in force"))];
    if version.is_empty() {
        let how = format!("write `version = \"v1\"` in [service.{service}] of bowline.toml");
        lines = vec![format!("{service}: it has no version, so that no release of it can be rolled out: {how}")];
    }
    let Some(deployment) = deployment else {
        lines.push("nothing was rolled out yet".to_owned());
        return lines;
    };
    if deployment.is_live {
        lines.push(style::plain(&headline(deployment)));
        lines.extend(measured(deployment).map(|line| style::plain(&line)));
        lines.push(judged(deployment));
    }
    lines.push(String::new());
    let ended = history.iter().filter(|ended| ended.id != deployment.id);
    lines.extend(rows(&std::iter::once(deployment).chain(ended).cloned().collect::<Vec<_>>()));
    lines.push(String::new());
    lines.extend(transition_lines(deployment, 0));
    lines
}

fn measured(deployment: &Deployment) -> Option<String> {
    let figures = deployment.measured.as_ref()?;
    if figures.requests <= 0.0 {
        return Some(format!("measured of {}: no requests", deployment.to));
    }
    let times = figures.quantiles_nanos.iter().map(|(name, nanos)| format!(", {name} {}", duration::short(*nanos)));
    let times: Vec<String> = times.collect();
    let errors = figures.error_ratio * 100.0;
    Some(format!(
        "measured of {}: {:.0} requests, {errors:.1}% failed{}",
        deployment.to,
        figures.requests,
        times.concat()
    ))
}

fn judged(deployment: &Deployment) -> String {
    let (bake, requests) = (units::format_duration(deployment.bake), deployment.min_requests);
    match &deployment.abort_when {
        Some(condition) => {
            format!("each step is watched for {bake} and {requests} requests at least, and ended when {condition}")
        }
        None => format!("each step is watched for {bake}; nothing that is measured ends it"),
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::{
        deploy::{Condition, Strategy},
        units::Share,
    };
    use bowline_provider_remote::wire::DeploymentFigures;

    use super::*;

    fn deployment() -> Deployment {
        let transition = |number, phase: &str, step, share, why: Option<&str>| DeploymentTransition {
            number,
            at_unix_ms: 1_767_323_045_000,
            phase: phase.to_owned(),
            step,
            share,
            why: why.map(str::to_owned),
        };
        Deployment {
            id: 3,
            service: ServiceName::new("order").unwrap(),
            from: "v1".to_owned(),
            to: "v2".to_owned(),
            replicas: 1,
            strategy: Strategy::Canary,
            bake: Duration::from_secs(10),
            abort_when: Condition::parse("error_rate > 1%").ok(),
            min_requests: 20,
            phase: "baking".to_owned(),
            is_live: true,
            step: 1,
            step_count: 3,
            steps: [5, 25, 50].map(Share::from_percent).to_vec(),
            share: Share::from_percent(5),
            begun_unix_ms: 1_767_323_045_000,
            why: None,
            waits_for: None,
            measured: Some(DeploymentFigures {
                requests: 40.0,
                error_ratio: 0.205,
                quantiles_nanos: [("p99".to_owned(), 12_000_000)].into(),
            }),
            transitions: vec![
                transition(1, "preparing", 0, Share::ZERO, None),
                transition(2, "baking", 1, Share::from_percent(5), None),
                transition(3, "rolling back", 1, Share::ZERO, Some("error_rate 20.5% > 1%")),
            ],
        }
    }

    #[test]
    fn a_transition_is_a_line_and_told_once() {
        let mut deployment = deployment();
        // It stops the new release, which is no news to who reads.
        let again = DeploymentTransition { number: 4, why: None, ..deployment.transitions[2].clone() };
        deployment.transitions.push(again);
        let lines = transition_lines(&deployment, 0);
        let expect = [
            "2026-01-02 03:04:05Z  preparing     0% of order go to v2",
            "2026-01-02 03:04:05Z  baking        step 1 of 3, 5% of order go to v2",
            "2026-01-02 03:04:05Z  rolling back  step 1 of 3, 0% of order go to v2: error_rate 20.5% > 1%",
        ];
        assert_eq!(lines, expect);
        assert_eq!(transition_lines(&deployment, 2), expect[2..]);
        assert!(transition_lines(&deployment, 3).is_empty());
    }

    #[test]
    fn who_follows_is_told_what_is_waited_for_once_it_changes() {
        let mut deployment = deployment();
        let mut told = Told::default();
        assert_eq!(told.lines(&deployment).len(), 3);
        assert!(told.lines(&deployment).is_empty());
        for (waits_for, expect) in [(Some("6 of 20"), 1), (Some("6 of 20"), 0), (Some("7 of 20"), 1), (None, 0)] {
            deployment.waits_for = waits_for.map(str::to_owned);
            let lines = told.lines(&deployment);
            assert_eq!(lines.len(), expect, "{lines:?}");
            let phase_and_wait = waits_for.map(|wait| format!("Z  baking        {wait}")).unwrap_or_default();
            assert!(lines.iter().all(|line| line.ends_with(&phase_and_wait)), "{lines:?}");
        }
    }

    #[test]
    fn a_reason_is_one_short_line_in_a_table() {
        let why = format!("one\ntwo {}", "x".repeat(400));
        let lines = rows(&[Deployment { why: Some(why), ..deployment() }]);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].contains("one two x") && lines[1].ends_with('…'), "{lines:?}");
    }

    #[test]
    fn a_service_without_a_version_is_told_what_to_do() {
        let user = ServiceName::new("user").unwrap();
        let stands =
            ServiceDeployments { service: user, version: String::new(), deployment: None, history: Vec::new() };
        let told = "user: it has no version, so that no release of it can be rolled out: write `version = \"v1\"` in [service.user] of bowline.toml";
        assert_eq!(detail(&stands), [told, "nothing was rolled out yet"]);
    }

    #[test]
    fn a_rollout_is_told_with_what_was_measured() {
        let ended = Deployment { id: 2, is_live: false, why: Some("no".to_owned()), ..deployment() };
        let stands = ServiceDeployments {
            service: ServiceName::new("order").unwrap(),
            version: "v1".to_owned(),
            deployment: Some(deployment()),
            history: vec![ended.clone()],
        };
        let lines = detail(&stands);
        let expect = [
            "order: v1 is in force",
            "order v1 → v2: baking at step 1 of 3, 5% go to v2",
            "measured of v2: 40 requests, 20.5% failed, p99 12.0 ms",
            "each step is watched for 10s and 20 requests at least, and ended when error_rate > 1%",
            "",
            "SERVICE  FROM  TO  STRATEGY  PHASE   STEP  SHARE  BEGAN                 WHY",
            "order    v1    v2  canary    baking  1/3   5%     2026-01-02 03:04:05Z  -",
            "order    v1    v2  canary    baking  1/3   5%     2026-01-02 03:04:05Z  no",
            "",
        ];
        assert_eq!(lines[..expect.len()], expect);
    }

    #[test]
    fn the_rollout_that_was_begun_is_followed_to_its_end() {
        let ended = Deployment { id: 2, is_live: false, ..deployment() };
        let stands = || ServiceDeployments {
            service: ServiceName::new("order").unwrap(),
            version: String::new(),
            deployment: Some(deployment()),
            history: vec![ended.clone()],
        };
        assert_eq!(pick(stands(), &mut Some(2)).unwrap().id, 2, "whatever began since");
        let mut id = None;
        assert_eq!((pick(stands(), &mut id).unwrap().id, id), (3, Some(3)));
        assert_eq!(pick(stands(), &mut Some(1)), None);
    }
}
