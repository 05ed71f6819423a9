//! What services need to ask the PostgreSQL that their databases are in, where the file names one: `[databases]`.

use anyhow::Context as _;
use bowline_model::{Secret, System};

use crate::export;

/// What that PostgreSQL demands, if it does.
///
/// # Errors
/// A secret that is not there.
pub(crate) fn credential(system: &System) -> anyhow::Result<Option<Secret>> {
    let credential = system.databases.postgres.as_ref().and_then(|server| server.credential.as_ref());
    credential.map(export::secret).transpose().context("[databases] credential")
}
