//! The command line of rollouts: `bowline deploy …`.

use std::{ops::RangeInclusive, time::Duration};

use bowline_model::{
    ServiceName,
    deploy::{Condition, REQUESTS_RANGE, Strategy},
    mesh::{VERSION_RULE, is_version},
    units::Share,
};
use clap::Subcommand;

use super::{Query, duration};

/// As clap takes a range.
const REQUESTS: RangeInclusive<i64> = *REQUESTS_RANGE.start() as i64..=*REQUESTS_RANGE.end() as i64;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Deploy {
    #[command(subcommand)]
    pub(crate) command: Option<DeployCommand>,
    #[command(flatten)]
    pub(crate) begin: DeployBegin,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeployCommand {
    /// Shows the rollout of each service that is under way, or was the last; of one service with its history
    Status(DeployStatus),
    /// Has a rollout stay at its step; what is measured can still end it
    Pause(DeployOrder),
    /// Has a paused rollout go on
    Resume(DeployOrder),
    /// Gives the new release everything now, whatever was measured
    Promote(DeployOrder),
    /// Ends a rollout: the release before gets everything back
    Abort(DeployOrder),
}

/// What is rolled out, and how. What is not said of the release is as the service says, and how it is rolled out as
/// its section `[deploy.X]` says.
#[derive(Debug, clap::Args)]
#[group(skip)] // its name is the command's
pub(crate) struct DeployBegin {
    /// Whose release; absent with a command alone
    #[arg(required = true)]
    pub(crate) service: Option<ServiceName>,
    /// The shell command that runs one instance [default: the service's]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) run: Option<String>,
    /// The shell command that makes it ready to run [default: the service's]
    #[arg(long, value_name = "COMMAND")]
    pub(crate) build: Option<String>,
    /// The release's name [default: the next: v2 after v1]
    #[arg(long, value_name = "VERSION", value_parser = version)]
    pub(crate) version: Option<String>,
    /// A variable of its environment, over the service's; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub(crate) env: Vec<(String, String)>,
    /// How many instances [default: as many as now]
    #[arg(long, value_name = "COUNT")]
    pub(crate) replicas: Option<u32>,
    /// In which way: rolling, blue-green or canary
    #[arg(long, value_name = "STRATEGY", value_parser = strategy)]
    pub(crate) strategy: Option<Strategy>,
    /// Of a canary: a share of requests that it gets, as 5%; may be repeated, each above the one before
    #[arg(long = "step", value_name = "PERCENT", value_parser = share)]
    pub(crate) steps: Vec<Share>,
    /// How long each step is watched: 2m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) bake: Option<Duration>,
    /// What ends it: 'p99 > 400ms', a share of errors, several joined by `and` and `or`; `off`: nothing does
    #[arg(long, value_name = "CONDITION", value_parser = condition)]
    pub(crate) abort_when: Option<String>,
    /// How many requests the new release has had at each step before it is judged, 1 to 1000000
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(REQUESTS))]
    pub(crate) min_requests: Option<u32>,
    /// Prints each transition, and what it waits for, until it ends; exit code 1 where it is rolled back
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeployStatus {
    /// Only this service, with its history
    pub(crate) service: Option<ServiceName>,
    /// Prints each transition, and what is waited for, until the rollout ends; exit code 1 where it is rolled back
    #[arg(long, requires = "service")]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DeployOrder {
    /// Whose rollout
    pub(crate) service: ServiceName,
    /// Only if the rollout under way is the one with this id, as `bowline deploy status --output json` shows it
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<u64>,
    #[command(flatten)]
    pub(crate) query: Query,
}

fn version(text: &str) -> Result<String, &'static str> {
    if is_version(text) { Ok(text.to_owned()) } else { Err(VERSION_RULE) }
}

fn strategy(text: &str) -> Result<Strategy, &'static str> {
    let known = Strategy::NAMES.iter().find(|(name, _)| *name == text);
    known.map(|(_, strategy)| *strategy).ok_or("write rolling, blue-green or canary")
}

/// `5` or `5%`, above zero and below all.
fn share(text: &str) -> Result<Share, &'static str> {
    let share = Share::parse(&format!("{}%", text.trim_end_matches('%')))?;
    if share == Share::ZERO || share == Share::ALL { Err("it is above 0 and below 100") } else { Ok(share) }
}

/// `off`, or what a condition is.
fn condition(text: &str) -> Result<String, &'static str> {
    if text != "off" {
        Condition::parse(text)?;
    }
    Ok(text.to_owned())
}

/// `NAME=VALUE`; the value may hold further `=`.
fn variable(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Command};

    fn deploy(words: &[&str]) -> Result<Deploy, String> {
        let all = ["bowline", "deploy"].iter().chain(words);
        match Args::try_parse_from(all).map_err(|error| error.to_string())?.command {
            Command::Deploy(deploy) => Ok(deploy),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_release_is_what_is_said_of_it() {
        let words = "order --run ./order --env A=1=2 --strategy canary --step 5 --step 25% --bake 10s --min-requests 7 --follow";
        let words: Vec<&str> = words.split(' ').chain(["--abort-when", "error_rate > 1%"]).collect();
        let begin = deploy(&words).unwrap().begin;
        assert_eq!(begin.service.as_ref().map(ServiceName::as_str), Some("order"));
        assert_eq!(begin.run.as_deref(), Some("./order"));
        assert_eq!(begin.env, [("A".to_owned(), "1=2".to_owned())]);
        assert_eq!(begin.steps, [Share::from_percent(5), Share::from_percent(25)]);
        assert_eq!((begin.strategy, begin.bake), (Some(Strategy::Canary), Some(Duration::from_secs(10))));
        assert_eq!(begin.abort_when.as_deref(), Some("error_rate > 1%"));
        assert_eq!(begin.min_requests, Some(7));
        assert!(begin.follow && begin.version.is_none());
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (words, expect) in [
            (&[][..], "<SERVICE>"),
            (&["order", "--strategy", "fast"], "rolling, blue-green or canary"),
            (&["order", "--step", "100"], "below 100"),
            (&["order", "--env", "=x"], "NAME=VALUE"),
            (&["order", "--version", "v 1"], "a version has"),
            (&["order", "--abort-when", "p98 > 1s"], "error_rate > 1%"),
            (&["order", "--min-requests", "0"], "1..=1000000"),
            (&["status", "--follow"], "SERVICE"),
        ] {
            let error = deploy(words).unwrap_err();
            assert!(error.contains(expect), "{words:?}: {error}");
        }
    }

    #[test]
    fn orders_name_a_service() {
        let command = deploy(&["abort", "order"]).unwrap().command.unwrap();
        let is_any = |order: &DeployOrder| order.service.as_str() == "order" && order.id.is_none();
        assert!(matches!(command, DeployCommand::Abort(order) if is_any(&order)));
        let command = deploy(&["promote", "order", "--id", "3"]).unwrap().command.unwrap();
        assert!(matches!(command, DeployCommand::Promote(DeployOrder { id: Some(3), .. })));
        assert!(deploy(&["pause"]).is_err());
        let command = deploy(&["status"]).unwrap().command.unwrap();
        assert!(matches!(command, DeployCommand::Status(status) if status.service.is_none()));
    }
}
