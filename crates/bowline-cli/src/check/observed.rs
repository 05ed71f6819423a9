//! What a running Bowline saw, held against what is declared.

use anyhow::bail;
use bowline_check::tell::Note;
use bowline_model::{
    ServiceName, System,
    observed::{self, Gap, Observed},
    units,
};
use bowline_runtime::time::{self, Duration};

use crate::{api, args, traces, when};

/// The most calls that a note names.
const CALLS_MAX: usize = 10;

/// What was seen since so long ago of that system; an error where another one runs there.
///
/// It waits until spans have come of what ended before it was asked.
pub(crate) async fn ask(query: &args::Query, since: Duration, system: &ServiceName) -> anyhow::Result<Observed> {
    let client = api::client(query).await?;
    let server = api::answered(query, client.server().await)?;
    if let Some(running) = server.system.filter(|running| running != system.as_str()) {
        bail!(
            "the Bowline at {} runs the system `{running}`, and the file declares `{system}`: name the API of \
             `{system}` with --api, or check the file of `{running}`",
            query.api.0
        );
    }
    time::sleep(traces::ARRIVAL).await;
    api::answered(query, client.observed(Some(&units::format_duration(since))).await)
}

/// How much was read, of which time, and why that is not all.
pub(crate) fn extent(seen: &Observed) -> String {
    let Observed { traces, spans, whole_since_unix_ms, until_unix_ms, gaps, sample, .. } = seen;
    let of_gap = |gap: &Gap| match gap {
        Gap::Unread => "the reading ended there, at its bound",
        Gap::Deleted => "the store holds no more",
        Gap::LeftOut => "of which not all is told apart",
    };
    let because: Vec<&str> = gaps.iter().map(of_gap).collect();
    let because = if because.is_empty() { String::new() } else { format!(" ({})", because.join(", ")) };
    let sampled = sample.map_or(String::new(), |share| format!("; no more than {share} of some traces is kept"));
    let (since, until) = (when::utc(*whole_since_unix_ms), when::utc(*until_unix_ms));
    format!(
        "{} in {} since {since}{because} until {until}{sampled}",
        counted(*spans, "span"),
        counted(*traces, "trace")
    )
}

fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// What no violation does not yet mean.
pub(crate) fn notes(system: &System, seen: &Observed) -> Vec<Note> {
    if seen.spans == 0 {
        return vec![Note::new("no span is kept of that time: nothing was observed")];
    }
    if seen.is_complete() { Vec::new() } else { unseen(system, seen).into_iter().collect() }
}

/// The declared calls that are not in what was read: where that is not all, no violation.
fn unseen(system: &System, seen: &Observed) -> Option<Note> {
    let calls = observed::unseen(system, seen);
    let named = calls.iter().take(CALLS_MAX).map(|(caller, call)| format!("`{}` → `{}`", caller.name, call.target));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match calls.len().checked_sub(CALLS_MAX) {
        Some(more @ 1..) => format!(" and {more} more"),
        Some(0) | None => String::new(),
    };
    let message = format!("not seen, and maybe made all the same, since not all was observed: {named}{more}");
    (!calls.is_empty()).then(|| Note { help: remedies(seen).join("; "), ..Note::new(message) })
}

/// What would let more be observed.
fn remedies(seen: &Observed) -> Vec<String> {
    let of_gap = |gap: &Gap| match gap {
        Gap::Unread | Gap::LeftOut => "ask for less with `--since`",
        Gap::Deleted => "let the store hold more with `--traces-max`",
    };
    let mut remedies: Vec<String> = seen.gaps.iter().map(|gap| of_gap(gap).to_owned()).collect();
    remedies.dedup();
    remedies.extend(seen.sample.map(|_| "keep all traces with `sample = \"100%\"` in `[tracing]`".to_owned()));
    remedies
}

#[cfg(test)]
mod tests {
    use bowline_model::units::Share;

    use super::*;

    fn seen(gaps: &[Gap]) -> Observed {
        Observed {
            traces: 1,
            spans: 7,
            since_unix_ms: 1_767_319_445_000,
            whole_since_unix_ms: 1_767_322_445_000,
            until_unix_ms: 1_767_323_045_000,
            gaps: gaps.to_vec(),
            ..Observed::default()
        }
    }

    #[test]
    fn what_was_read_is_told_with_why_it_is_not_all() {
        let (since, until) = ("7 spans in 1 trace since 2026-01-02 02:54:05Z", "until 2026-01-02 03:04:05Z");
        assert_eq!(extent(&seen(&[])), format!("{since} {until}"));
        assert_eq!(extent(&seen(&[Gap::Deleted])), format!("{since} (the store holds no more) {until}"));
        let gaps = [Gap::Unread, Gap::LeftOut];
        let why = "(the reading ended there, at its bound, of which not all is told apart)";
        assert_eq!(extent(&seen(&gaps)), format!("{since} {why} {until}"));
        let sampled = Observed { sample: Some(Share::from_percent(10)), ..seen(&[]) };
        assert_eq!(extent(&sampled), format!("{since} {until}; no more than 10% of some traces is kept"));
    }

    #[test]
    fn what_was_not_seen_is_a_note_where_not_all_was_looked_at() {
        let file = "name = \"shop\"\n[service.a.calls.b]\n[service.b.calls.c]\n[service.c]\n";
        let system = bowline_model::parse(file).unwrap();
        let told = |seen: &Observed| {
            let notes = notes(&system, seen).into_iter();
            notes.map(|note| (note.message, note.help)).collect::<Vec<_>>()
        };
        assert_eq!(told(&seen(&[])), []);
        let message = "not seen, and maybe made all the same, since not all was observed: `a` → `b`, `b` → `c`";
        let help = |help: &str| vec![(message.to_owned(), help.to_owned())];
        assert_eq!(told(&seen(&[Gap::Unread, Gap::LeftOut])), help("ask for less with `--since`"));
        assert_eq!(told(&seen(&[Gap::Deleted])), help("let the store hold more with `--traces-max`"));
        let sampled = Observed { sample: Some(Share::from_percent(10)), ..seen(&[]) };
        assert_eq!(told(&sampled), help("keep all traces with `sample = \"100%\"` in `[tracing]`"));
        let nothing = Observed { spans: 0, ..seen(&[Gap::Deleted]) };
        let message = "no span is kept of that time: nothing was observed";
        assert_eq!(told(&nothing), [(message.to_owned(), String::new())]);
    }
}
