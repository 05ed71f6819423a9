//! How what was found is told: to people as text, to programs as JSON, to code hosts as SARIF, and as a picture.

mod json;
mod mermaid;
mod plain;
mod sarif;
mod sources;
#[cfg(test)]
mod stand_in;
mod text;
mod token;

use bowline_model::{
    Problem, System,
    check::{EdgeLoad, Severity, Site, Violation},
    observed::Observed,
};

pub use self::{json::json, mermaid::mermaid, sarif::sarif, sources::Sources, text::text};

/// All there is to tell of a system.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// The system.
    pub system: &'a System,
    /// What breaks its axioms.
    pub violations: &'a [Violation],
    /// What could not be proved, and is no violation.
    pub notes: &'a [Note],
    /// What one request from outside may become.
    pub loads: &'a [EdgeLoad],
    /// What was observed of it; absent where nobody looked.
    pub seen: Option<Seen<'a>>,
    /// The files that violations point into.
    pub sources: &'a Sources,
}

/// What is to be known beside the violations: a feature that is not built yet, a file that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What; lower case, no full stop.
    pub message: String,
    /// What to do; the same, and empty where there is nothing.
    pub help: String,
    /// Where; absent where it is no place of a file.
    pub site: Option<Site>,
    /// Whether it is that the file declares what cannot be run yet.
    pub is_unbuilt: bool,
}

impl Note {
    /// A note of nothing in a file.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: String::new(), site: None, is_unbuilt: false }
    }
}

impl From<Problem> for Note {
    /// What is wrong in `bowline.toml`, and yet no reason not to prove the rest.
    fn from(problem: Problem) -> Self {
        let Problem { position, width: _, message, help } = problem;
        Self { message, help, site: Some(Site { file: None, position, label: String::new() }), is_unbuilt: true }
    }
}

/// What was observed of a system.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// All of it.
    pub observed: &'a Observed,
    /// How much was read, of which time, and why that is not all, in a line.
    pub extent: &'a str,
}

/// What it comes to, in one line: `4 services, 3 calls: every axiom holds`. It claims no more than was looked at.
pub fn summary(report: &Report<'_>) -> String {
    let Counts { errors, warnings, rules, services, calls, unbuilt } = Counts::of(report);
    let system = format!("{}, {}: {}", counted(services, "service"), counted(calls, "call"), claim(report.seen));
    let file = report.sources.main();
    let what = match (errors, warnings) {
        (0, 0) => system,
        (0, warnings) => format!("{system}, with {}", counted(warnings, "warning")),
        (errors, 0) => format!("{} of {} in {file}", counted(errors, "violation"), counted(rules, "rule")),
        (errors, warnings) => {
            let (errors, warnings) = (counted(errors, "violation"), counted(warnings, "warning"));
            format!("{errors} and {warnings} of {} in {file}", counted(rules, "rule"))
        }
    };
    let more = report.violations.first().map(|violation| violation.rule.id);
    let more = more.map_or(String::new(), |rule| format!("; `bowline check --explain {rule}` says more"));
    let unbuilt = if unbuilt == 0 { "" } else { "; `bowline up` refuses what is not built yet" };
    format!("{what}{more}{unbuilt}")
}

/// What is claimed where no axiom is broken.
fn claim(seen: Option<Seen<'_>>) -> &'static str {
    match seen.map(|seen| seen.observed) {
        None => "every axiom holds",
        Some(observed) if observed.spans == 0 => "every axiom holds of what is declared, and nothing was observed",
        Some(observed) if observed.is_complete() => "every axiom holds of what is declared and what was observed",
        Some(_) => "every axiom holds of what is declared and of the part that was observed",
    }
}

/// How many of what a report has.
#[derive(Debug, Clone, Copy)]
struct Counts {
    errors: usize,
    warnings: usize,
    rules: usize,
    services: usize,
    calls: usize,
    unbuilt: usize,
}

impl Counts {
    fn of(report: &Report<'_>) -> Self {
        let Report { system, violations, notes, .. } = report;
        let errors = violations.iter().filter(|violation| violation.severity == Severity::Error).count();
        Self {
            errors,
            warnings: violations.len() - errors,
            rules: broken_rules(violations).len(),
            services: system.services.len(),
            calls: system.services.iter().map(|service| service.calls.len()).sum(),
            unbuilt: notes.iter().filter(|note| note.is_unbuilt).count(),
        }
    }
}

/// The ids of the rules that are broken, each once, sorted.
fn broken_rules(violations: &[Violation]) -> Vec<&'static str> {
    let mut ids: Vec<_> = violations.iter().map(|violation| violation.rule.id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// What a severity is called.
fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use bowline_model::{observed::Gap, units::Share};

    use super::{
        stand_in::{Shop, cycle, two_owners},
        *,
    };

    #[test]
    fn a_summary_counts() {
        let shop = Shop::new();
        let (error, warning) = (two_owners(), Violation { severity: Severity::Warning, ..cycle() });
        for (violations, expected) in [
            (vec![], "2 services, 2 calls: every axiom holds"),
            (
                vec![warning.clone()],
                "2 services, 2 calls: every axiom holds, with 1 warning; `bowline check --explain B0008` says more",
            ),
            (
                vec![error.clone(), error.clone()],
                "2 violations of 1 rule in bowline.toml; `bowline check --explain B0002` says more",
            ),
            (
                vec![error, warning],
                "1 violation and 1 warning of 2 rules in bowline.toml; `bowline check --explain B0002` says more",
            ),
        ] {
            assert_eq!(summary(&shop.report(&violations)), expected);
        }
    }

    #[test]
    fn a_summary_claims_no_more_than_was_looked_at() {
        let shop = Shop::new();
        let all = Observed { spans: 7, ..Observed::default() };
        let sample = Some(Share::from_percent(10));
        for (observed, expected) in [
            (all.clone(), "every axiom holds of what is declared and what was observed"),
            (Observed::default(), "every axiom holds of what is declared, and nothing was observed"),
            (
                Observed { gaps: vec![Gap::Unread], ..all.clone() },
                "every axiom holds of what is declared and of the part that was observed",
            ),
            (Observed { sample, ..all }, "every axiom holds of what is declared and of the part that was observed"),
        ] {
            let seen = Some(Seen { observed: &observed, extent: "" });
            let told = summary(&Report { seen, ..shop.report(&[]) });
            assert_eq!(told, format!("2 services, 2 calls: {expected}"));
        }
    }

    #[test]
    fn a_summary_says_that_not_all_can_be_run() {
        let shop = Shop::new();
        let notes = [Note::new("no Cargo project"), Note { is_unbuilt: true, ..Note::new("not built") }];
        let told = summary(&Report { notes: &notes, ..shop.report(&[]) });
        assert_eq!(told, "2 services, 2 calls: every axiom holds; `bowline up` refuses what is not built yet");
        let told = summary(&Report { notes: &notes[..1], ..shop.report(&[]) });
        assert_eq!(told, "2 services, 2 calls: every axiom holds");
    }
}
