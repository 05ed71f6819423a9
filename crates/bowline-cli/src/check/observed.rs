//! What a running Bowline saw, held against what is declared.

use std::time::Duration;

use bowline_model::{System, check::Violation};

use crate::args;

/// What was seen since then and breaks a rule.
#[expect(clippy::unused_async, reason = "the API that tells what was seen is not built yet")]
pub(crate) async fn violations(
    _query: &args::Query,
    _system: &System,
    _since: Duration,
) -> anyhow::Result<Vec<Violation>> {
    anyhow::bail!("what was seen cannot be asked for yet")
}
