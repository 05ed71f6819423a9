//! What a running Bowline saw, held against what is declared.

use std::{io::Write as _, time::Duration};

use bowline_model::{
    System,
    check::Violation,
    observed::{self, Observed},
    units,
};

use crate::{api, args, style};

/// What was seen since so long ago and breaks a rule. What it could not look at is said on standard error.
pub(crate) async fn violations(
    query: &args::Query,
    system: &System,
    since: Duration,
) -> anyhow::Result<Vec<Violation>> {
    let seen = seen(query, since).await?;
    for note in notes(&seen, since) {
        let _closed = writeln!(std::io::stderr(), "note: {}", style::plain(&note));
    }
    Ok(observed::check(system, &seen))
}

/// What was seen since so long ago.
pub(crate) async fn seen(query: &args::Query, since: Duration) -> anyhow::Result<Observed> {
    let client = api::client(query).await?;
    api::answered(query, client.observed(Some(&units::format_duration(since))).await)
}

/// Why no violation does not yet mean that there is none.
fn notes(seen: &Observed, since: Duration) -> Vec<String> {
    let since = units::format_duration(since);
    let mut notes = Vec::new();
    if seen.spans == 0 {
        notes.push(format!("no span is kept of the last {since}: nothing was observed"));
    }
    if !seen.is_complete {
        let (traces, spans) = (seen.traces, seen.spans);
        notes.push(format!(
            "not all of the last {since} was looked at: it ended after {traces} traces with {spans} spans, so what was \
             never seen is not told; ask for less with --since"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_looked_at_is_said() {
        let hour = Duration::from_hours(1);
        let whole = Observed { spans: 7, is_complete: true, ..Observed::default() };
        assert_eq!(notes(&whole, hour), [""; 0]);
        let nothing = Observed { spans: 0, ..whole.clone() };
        assert_eq!(notes(&nothing, hour), ["no span is kept of the last 1h: nothing was observed"]);
        let cut = notes(&Observed { is_complete: false, traces: 2, ..whole }, hour);
        assert!(cut.len() == 1 && cut[0].contains("2 traces with 7 spans"), "{cut:?}");
    }
}
