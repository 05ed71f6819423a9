//! The axioms held against what was observed: one room for each kind of thing that was seen.

mod calls;
mod messages;
mod resources;

pub use calls::unseen;

use crate::{
    check::{Rule, Severity, Site, Violation},
    observed::Observed,
    problem::Position,
    system::{Call, Service, System},
};

/// The longest name of something observed that a message repeats, in characters: whoever sends spans chooses them.
const NAME_MAX: usize = 96;
/// The most names that one message lists.
const NAMES_MAX: usize = 3;

/// What of the system's axioms does not hold in what was observed, sorted by where it is to be mended.
///
/// Services that the system does not declare are outside of it: only what they do to its own is judged. Of what is
/// not [complete](Observed::is_complete), or has no span at all, nothing is said to have never been seen.
pub fn check(system: &System, observed: &Observed) -> Vec<Violation> {
    let rooms = [calls::check(system, observed), messages::check(system, observed), resources::check(system, observed)];
    let mut violations: Vec<Violation> = rooms.into_iter().flatten().collect();
    violations.sort_by_cached_key(|violation| {
        let place = violation.sites.first().map(|site| site.position);
        (place.is_none(), place, violation.rule.id, violation.message.clone())
    });
    violations
}

/// A violation as a room finds it.
struct Finding {
    rule: &'static Rule,
    severity: Severity,
    message: String,
    sites: Vec<Site>,
    why: &'static str,
    help: String,
    sample: Option<String>,
}

impl From<Finding> for Violation {
    fn from(finding: Finding) -> Self {
        let Finding { rule, severity, message, sites, why, help, sample } = finding;
        Self { rule, severity, message, sites, why: why.to_owned(), help, trace_id: sample }
    }
}

/// A place in `bowline.toml`.
fn site(position: Position, label: impl Into<String>) -> Site {
    Site { file: None, position, label: label.into() }
}

/// The call that a service declares to another.
fn call_of<'a>(caller: &'a Service, callee: &str) -> Option<&'a Call> {
    caller.calls.iter().find(|call| call.target.as_str() == callee)
}

/// How often, in words.
fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// A foreign name, cut to what a message bears.
fn cut(name: &str) -> String {
    let mut letters = name.chars();
    let mut shown: String = letters.by_ref().take(NAME_MAX).collect();
    if letters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// A foreign name as a message shows it.
fn shown(name: &str) -> String {
    format!("`{}`", cut(name))
}

/// The first few of many, and how many more there are.
fn few(names: impl IntoIterator<Item = String>) -> String {
    let mut names = names.into_iter();
    let shown: Vec<_> = names.by_ref().take(NAMES_MAX).map(|name| shown(&name)).collect();
    let more = names.count();
    let shown = shown.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
