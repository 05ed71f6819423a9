//! `bowline check`: proves a system before anything of it runs, and says what does not hold.

mod observed;

use std::{
    cmp::Reverse,
    io::{self, Write as _},
    process::ExitCode,
};

use bowline_check::{
    facts,
    tell::{self, Note, Report, Seen, Sources},
};
use bowline_model::{
    check::{self, EdgeLoad, Facts, Severity, Violation},
    system::Enforce,
};

use crate::{
    FAILED, UNUSABLE, api,
    args::{self, Form},
    problems::{self, Loaded},
    style, table,
};

/// The most edges whose load is shown.
const LOADS_MAX: usize = 10;

/// Proves the file's system; the exit code says how it is.
pub(crate) async fn run(args: args::Check) -> anyhow::Result<ExitCode> {
    if let Some(rule) = args.explain {
        style::text(rule.page);
        return Ok(ExitCode::SUCCESS);
    }
    // Exit code 1 is for what was proved wrong: what cannot be found out must not look so.
    match prove(&args).await {
        Ok(code) => Ok(code),
        Err(error) => {
            let _closed = writeln!(io::stderr(), "{}", style::error(&format!("{error:#}")));
            Ok(ExitCode::from(UNUSABLE))
        }
    }
}

/// Whether a system may start: proved by its file alone, and told on standard error where it does not hold.
///
/// As its `[boundary]` says: `deny` lets nothing start that breaks an axiom, `warn` only tells, `off` does not look.
pub(crate) fn lets_start(loaded: &Loaded) -> bool {
    let Loaded { system, file, text, .. } = loaded;
    if system.boundaries.enforce == Enforce::Off {
        return true;
    }
    let violations = check::check(system, &Facts::default());
    if violations.is_empty() {
        return true;
    }
    let is_refused = system.boundaries.enforce == Enforce::Deny && has_errors(&violations);
    let sources = Sources::new(file, text);
    let report = Report { system, violations: &violations, notes: &[], loads: &[], seen: None, sources: &sources };
    let mut told = tell::text(&report, style::is_stderr_coloured());
    told += &style::plain(&tell::summary(&report));
    told += if is_refused { "\nnothing was started, as `[boundary] enforce` is \"deny\"\n" } else { "\n" };
    let _closed = io::stderr().write_all(told.as_bytes());
    !is_refused
}

async fn prove(args: &args::Check) -> anyhow::Result<ExitCode> {
    let Some(loaded) = problems::declared_or_say(&args.dir, args.profile.as_deref())? else {
        return Ok(ExitCode::from(UNUSABLE));
    };
    let (facts, mut notes) = gathered(&loaded).await;
    let Loaded { system, dir, file, text, unbuilt, .. } = loaded;
    notes.extend(unbuilt.into_iter().map(Note::from));
    let mut violations = check::check(&system, &facts);
    let seen = if args.observed { Some(observed::ask(&args.query(), args.since, &system.name).await?) } else { None };
    let extent = seen.as_ref().map(observed::extent).unwrap_or_default();
    if let Some(seen) = &seen {
        notes.extend(observed::notes(&system, seen));
        violations.extend(bowline_model::observed::check(&system, seen));
    }
    let loads = check::amplification(&system);
    let mut sources = Sources::new(&file, &text);
    sources.read(&dir, &violations);
    let (violations, notes, loads) = (&violations, &notes, &loads);
    let seen = seen.as_ref().map(|observed| Seen { observed, extent: &extent });
    let report = Report { system: &system, violations, notes, loads, seen, sources: &sources };
    print(&report, args.output);
    Ok(if has_errors(violations) { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// What the workspace of a system says of it, and what of it could not be read.
async fn gathered(loaded: &Loaded) -> (Facts, Vec<Note>) {
    let (facts, unread) = facts::gather(&loaded.dir, &loaded.system).await;
    (facts, unread.into_iter().map(|note| Note::new(note.to_string())).collect())
}

fn has_errors(violations: &[Violation]) -> bool {
    violations.iter().any(|violation| violation.severity == Severity::Error)
}

fn print(report: &Report<'_>, form: Form) {
    match form {
        Form::Json => style::line(&api::escaped(&tell::json(report))),
        Form::Sarif => style::line(&api::escaped(&tell::sarif(report))),
        Form::Mermaid => style::line(tell::mermaid(report).trim_end()),
        Form::Text => {
            // It holds nothing of strangers that a terminal obeys.
            let told = tell::text(report, style::is_coloured());
            let _closed = io::stdout().write_all(told.as_bytes());
            if !has_errors(report.violations) {
                // By what a route tries again all that comes after it is multiplied.
                let mut all = check::route_loads(report.system);
                all.retain(|load| load.attempts_worst > 1);
                all.extend_from_slice(report.loads);
                for line in loads(&all) {
                    style::line(&style::plain(&line));
                }
            }
            if let Some(Seen { extent, .. }) = report.seen {
                style::line(&format!("observed: {extent}"));
            }
            style::line(&style::plain(&tell::summary(report)));
        }
    }
}

/// What one request from outside may become on each edge, the worst first; and an empty line.
fn loads(loads: &[EdgeLoad]) -> Vec<String> {
    let mut worst: Vec<&EdgeLoad> = loads.iter().collect();
    worst.sort_by_key(|load| Reverse(load.attempts_worst));
    let row = |load: &&EdgeLoad| {
        let EdgeLoad { caller, callee, attempts_worst, load_sustained } = load;
        vec![caller.clone(), callee.clone(), format!("×{attempts_worst}"), format!("×{load_sustained:.2}")]
    };
    let rows: Vec<Vec<String>> = worst.iter().take(LOADS_MAX).map(row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let mut lines = table::lines(&["CALLER", "CALLEE", "AT WORST", "FOR LONG"], &rows);
    if let Some(more) = loads.len().checked_sub(LOADS_MAX).filter(|more| *more > 0) {
        lines.push(format!("and {more} more, below these"));
    }
    lines.push(String::new());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(attempts_worst: u64) -> EdgeLoad {
        EdgeLoad { caller: "a".to_owned(), callee: format!("b{attempts_worst}"), attempts_worst, load_sustained: 1.2 }
    }

    #[test]
    fn the_worst_loads_come_first_and_the_others_are_counted() {
        assert!(loads(&[]).is_empty());
        assert_eq!(
            loads(&[load(3), load(12)]),
            [
                "CALLER  CALLEE  AT WORST  FOR LONG",
                "a       b12     ×12       ×1.20",
                "a       b3      ×3        ×1.20",
                ""
            ],
        );
        let many: Vec<EdgeLoad> = (1..=12).map(load).collect();
        let lines = loads(&many);
        assert!(lines[1].contains("×12 ") && lines[10].contains("×3 "), "{lines:?}");
        assert_eq!(lines[11..], ["and 2 more, below these", ""]);
    }
}
