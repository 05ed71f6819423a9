//! The command line of monitoring: PromQL, alerts, targets.

use std::time::Duration;

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
