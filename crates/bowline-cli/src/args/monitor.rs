//! The command line of monitoring: PromQL, alerts, targets.

use std::time::Duration;

use clap::Subcommand;

use super::{Query, duration};

#[derive(Debug, clap::Args)]
pub(crate) struct Promql {
    /// What to evaluate, as `up == 0`
    #[arg(value_name = "PROMQL")]
    pub(crate) expression: String,
    /// At which time, in seconds since 1970 or as 2026-01-02T03:04:05Z [default: now]
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    pub(crate) at: Option<String>,
    /// Over so long until now, instead of at one time: 1h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) since: Option<Duration>,
    /// The time between two points [default: a sixtieth of the whole]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "since")]
    pub(crate) step: Option<Duration>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Alerts {
    #[command(subcommand)]
    pub(crate) command: Option<AlertsCommand>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertsCommand {
    /// Lists the rules, and how they are
    Rules(Asking),
    /// Lists what became of alerts lately
    History(Asking),
    /// Lists who was told what, or was not, and why
    Notifications(Asking),
    /// Lists the silences
    Silences(Asking),
    /// Has nobody told of some alerts for a while
    Silence(Silence),
    /// Ends a silence now
    Unsilence(Unsilence),
    /// Sends a receiver a notification that says that it is a test
    Test(TestReceiver),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Asking {
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Silence {
    /// Which alerts, all of them true: 'service="order"', with =, !=, =~ or !~
    #[arg(value_name = "MATCHER", required = true)]
    pub(crate) matchers: Vec<String>,
    /// For how long: 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub(crate) lasts: Duration,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) comment: String,
    /// Who says so
    #[arg(long, value_name = "NAME", env = "USER", default_value = "somebody")]
    pub(crate) by: String,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Unsilence {
    /// The silence's id, as `bowline alerts silences` shows it
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct TestReceiver {
    /// The receiver's name, as in `[alerts.receivers.NAME]`
    pub(crate) receiver: String,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Targets {
    #[command(flatten)]
    pub(crate) query: Query,
}
