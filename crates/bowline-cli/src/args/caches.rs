//! The command line of caches.

use super::Query;

#[derive(Debug, clap::Args)]
pub(crate) struct Caches {
    /// Only those of a service
    pub(crate) service: Option<String>,
    /// Only the one of that name, with the reasons and all counts
    #[arg(requires = "service")]
    pub(crate) cache: Option<String>,
    #[command(flatten)]
    pub(crate) query: Query,
}
