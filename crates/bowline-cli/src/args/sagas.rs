//! The command line of sagas.

use clap::{Subcommand, ValueEnum};

use super::Query;

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Sagas {
    #[command(subcommand)]
    pub(crate) command: Option<SagasCommand>,
    #[command(flatten)]
    pub(crate) list: SagasList,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SagasCommand {
    /// Shows a saga, with what happened to it
    Show(SagasOne),
    /// Has a saga that waits, as one that is stuck does, be tried at once
    Retry(SagasOne),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SagasList {
    /// Only those of a service
    #[arg(long)]
    pub(crate) service: Option<String>,
    /// Only those of a definition
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only those at a phase
    #[arg(long)]
    pub(crate) phase: Option<SagaPhase>,
    /// How many of each service, 1000 at most [default: 100]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    #[command(flatten)]
    pub(crate) query: Query,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SagasOne {
    /// Whose it is
    pub(crate) service: String,
    /// Its id, as `bowline sagas` shows it
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) query: Query,
}

/// How far a saga is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SagaPhase {
    /// Its steps are done
    Acting,
    /// Its steps are undone
    Undoing,
    /// To undo a step has failed often; it is tried on
    Stuck,
    /// Every step is done
    Done,
    /// Everything is undone
    Compensated,
}

impl SagaPhase {
    /// Its name in the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Acting => "acting",
            Self::Undoing => "undoing",
            Self::Stuck => "stuck",
            Self::Done => "done",
            Self::Compensated => "compensated",
        }
    }
}
