//! Violations as people read them: the lines that take part, who is at fault in them, why, and what to do.

use std::{fmt::Write as _, ops::Range};

use annotate_snippets::{Annotation, AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};
use bowline_model::check::{Severity, Site, Violation};

use super::{Note, Report, Sources, counted, plain, sources::Text, token};

/// The most violations that are shown one by one.
const VIOLATIONS_MAX: usize = 100;

/// The most places of one violation that are shown.
const SITES_MAX: usize = 12;

/// Every violation and every note, each followed by an empty line; empty where there is none.
///
/// ```text
/// error[B0002]: data with two owners: `sqlite:order.db` belongs to `order` and to `user`
///   --> bowline.toml:18:9
///    |
///  9 | data = ["sqlite:order.db"]
///    |         ----------------- owned by order here
/// ...
/// 18 | data = ["sqlite:order.db"]
///    |         ^^^^^^^^^^^^^^^^^ and by user here
///    |
///    = why: …
///    = help: …
/// ```
///
/// At most 100 violations; a last line counts the others. Colours are escape sequences for a terminal.
pub fn text(report: &Report<'_>, is_coloured: bool) -> String {
    let renderer = if is_coloured { Renderer::styled().hyperlink(false) } else { Renderer::plain() };
    let Report { violations, notes, sources, .. } = report;
    let mut told = String::new();
    for group in notes.iter().map(|note| note_group(note, sources)) {
        told += &renderer.render(&[group]);
        told += "\n\n";
    }
    for violation in violations.iter().take(VIOLATIONS_MAX) {
        told += &renderer.render(&[violation_group(violation, sources)]);
        told += "\n\n";
    }
    if let Some(more) = violations.len().checked_sub(VIOLATIONS_MAX).filter(|more| *more > 0) {
        let _infallible = write!(told, "and {more} more, which `--output json` has\n\n");
    }
    told
}

fn violation_group(violation: &Violation, sources: &Sources) -> Group<'static> {
    let Violation { rule, severity, message, sites, why, help, trace_id } = violation;
    let level = match severity {
        Severity::Warning => Level::WARNING,
        Severity::Error => Level::ERROR,
    };
    let title = level.primary_title(plain::line(&format!("{}: {message}", rule.title))).id(rule.id);
    let mut group = Group::with_title(title).elements(places(sites, sources));
    if let Some(more) = sites.len().checked_sub(SITES_MAX).filter(|more| *more > 0) {
        group = group.element(Level::NOTE.message(format!("and {}", counted(more, "more place"))));
    }
    if !why.is_empty() {
        group = group.element(Level::NOTE.with_name("why").message(plain::lines(why)));
    }
    if !help.is_empty() {
        group = group.element(Level::HELP.message(plain::lines(help)));
    }
    if let Some(id) = trace_id {
        let seen = format!("`bowline trace {}` shows it", plain::line(id));
        group = group.element(Level::NOTE.with_name("seen").message(seen));
    }
    group
}

fn note_group(note: &Note, sources: &Sources) -> Group<'static> {
    let Note { message, help, site, .. } = note;
    let title = Level::NOTE.primary_title(plain::line(message));
    let mut group = Group::with_title(title).elements(places(site.as_slice(), sources));
    if !help.is_empty() {
        group = group.element(Level::HELP.message(plain::lines(help)));
    }
    group
}

/// The places, each file's together, in the order in which the files come first.
fn places(sites: &[Site], sources: &Sources) -> Vec<Element<'static>> {
    let mut files: Vec<(String, Vec<(AnnotationKind, &Site)>)> = Vec::new();
    for (index, site) in sites.iter().take(SITES_MAX).enumerate() {
        let kind = if index == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
        let file = sources.name_of(site);
        match files.iter_mut().find(|(name, _)| *name == file) {
            Some((_, of_file)) => of_file.push((kind, site)),
            None => files.push((file, vec![(kind, site)])),
        }
    }
    files.into_iter().flat_map(|(file, of_file)| place(&file, &of_file, sources)).collect()
}

/// The places of one file: as a part of its text, or without it where there is none.
fn place(file: &str, sites: &[(AnnotationKind, &Site)], sources: &Sources) -> Vec<Element<'static>> {
    let file = plain::line(file);
    let excerpt = sites.first().and_then(|(_, site)| Excerpt::of(sources.text_of(site)?, sites));
    let Some(Excerpt { first_line, text, spans }) = excerpt else {
        let unseen = sites.iter().flat_map(|(_, site)| {
            let origin = Origin::path(file.clone()).line(site.position.line).char_column(site.position.column);
            let label = (!site.label.is_empty()).then(|| Level::NOTE.message(plain::line(&site.label)));
            [Some(Element::from(origin)), label.map(Element::from)].into_iter().flatten()
        });
        return unseen.collect();
    };
    let annotations = sites.iter().zip(spans).map(|((kind, site), span)| annotation(*kind, span, &site.label));
    let snippet = Snippet::source(text).path(file).line_start(first_line).annotations(annotations);
    vec![Element::from(snippet)]
}

fn annotation(kind: AnnotationKind, span: Range<usize>, label: &str) -> Annotation<'static> {
    let annotation = kind.span(span);
    if label.is_empty() { annotation } else { annotation.label(plain::line(label)) }
}

/// The lines of a text from the first that takes part to the last.
struct Excerpt {
    /// The number of its first line.
    first_line: usize,
    /// The lines, fit to be shown.
    text: String,
    /// Where each site is in it, in bytes.
    spans: Vec<Range<usize>>,
}

impl Excerpt {
    /// None where a site is not in the text: it has changed since.
    fn of(text: &Text, sites: &[(AnnotationKind, &Site)]) -> Option<Self> {
        let numbers = || sites.iter().map(|(_, site)| site.position.line);
        let (first_line, last_line) = (numbers().min()?, numbers().max()?);
        let mut excerpt = String::new();
        // Where each line begins in what is shown, and how it is written.
        let mut starts = Vec::new();
        for line in (first_line..=last_line).map_while(|number| text.line(number)) {
            starts.push((excerpt.len(), line));
            excerpt.extend(line.chars().map(shown));
            excerpt.push('\n');
        }
        let span = |site: &Site| {
            let (start, line) = *starts.get(site.position.line.checked_sub(first_line)?)?;
            let before = site.position.column.saturating_sub(1);
            // In what is shown, as a letter may be written otherwise than it is shown.
            let rest = text.rest(site.position.line, site.position.column)?;
            let bytes = |part: &str, count: usize| part.chars().take(count).map(|c| shown(c).len_utf8()).sum::<usize>();
            let begin = start + bytes(line, before);
            Some(begin..begin + bytes(rest, token::width(rest)))
        };
        let spans: Option<Vec<_>> = sites.iter().map(|(_, site)| span(site)).collect();
        Some(Self { first_line, spans: spans?, text: excerpt })
    }
}

/// Tabs stay: the renderer counts them as it shows them.
fn shown(letter: char) -> char {
    if letter == '\t' { letter } else { plain::shown(letter) }
}

#[cfg(test)]
mod tests;
