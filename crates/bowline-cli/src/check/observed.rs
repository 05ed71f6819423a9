//! What a running Bowline saw, held against what is declared.

use std::time::Duration;

use anyhow::bail;
use bowline_check::tell::{Note, Seen};
use bowline_model::{
    System,
    monitor::Sampling,
    observed::Observed,
    units::{self, Share},
};

use crate::{api, args};

/// What was seen since so long ago of that system, and what of it could not be looked at; an error where another
/// one runs there.
pub(crate) async fn ask(
    query: &args::Query,
    since: Duration,
    system: &System,
) -> anyhow::Result<(Observed, Vec<Note>)> {
    let client = api::client(query).await?;
    let server = api::answered(query, client.server().await)?;
    if let Some(running) = server.system.filter(|running| running != system.name.as_str()) {
        bail!(
            "the Bowline at {} runs the system `{running}`, and the file declares `{}`: name the API of \
             `{}` with --api, or check the file of `{running}`",
            query.api.0,
            system.name,
            system.name
        );
    }
    let seen = api::answered(query, client.observed(Some(&units::format_duration(since))).await)?;
    let notes = notes(&seen, since).into_iter().chain(sampled(&system.tracing.sampling)).map(Note::new).collect();
    Ok((seen, notes))
}

/// Who was seen to call whom, as pairs.
pub(crate) fn pairs(seen: &Observed) -> Vec<Seen> {
    let known = seen.edges.iter().filter_map(|edge| Some((edge.caller.clone()?, edge.callee.clone())));
    let mut pairs: Vec<(String, String)> = known.collect();
    pairs.sort_unstable();
    pairs.dedup();
    pairs.into_iter().map(|(caller, callee)| Seen { caller, callee }).collect()
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

/// What is said where traces are not kept of all that is asked.
fn sampled(sampling: &Sampling) -> Option<String> {
    let shares = sampling.services.values().chain([&sampling.sample]);
    let least = shares.copied().filter(|share| *share != Share::ALL).min_by_key(|share| share.millionths())?;
    Some(format!(
        "`[tracing]` keeps no more than {least} of some traces: what was never seen may have been asked in the others"
    ))
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

    #[test]
    fn what_is_not_sampled_is_said() {
        let mut sampling = Sampling::default();
        assert_eq!(sampled(&sampling), None);
        sampling.services.insert("order".parse().unwrap(), Share::from_percent(10));
        let note = sampled(&sampling).unwrap();
        assert!(note.contains("no more than 10% of some traces"), "{note}");
    }
}
