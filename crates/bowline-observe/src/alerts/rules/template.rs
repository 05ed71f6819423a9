//! Texts of labels and annotations: the part of Go's templates that rules use.
//!
//! Known are `$labels.NAME`, `$value` and `$externalURL` (also `.Labels.NAME`, `.Value`, `.ExternalURL`), texts in
//! double quotes, and the functions `humanize`, `humanize1024`, `humanizePercentage`, `humanizeDuration`, `printf`,
//! `toUpper` and `toLower`, each before its argument or after a pipe. Anything else is refused when it is read.

use std::fmt;

use serde::{Serialize, Serializer};

use super::number;
use crate::labels::Labels;

/// The longest text of one label or annotation, in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;

/// A text with places to fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Place { from: From, through: Vec<Function> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    Label(String),
    Value,
    ExternalUrl,
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Function {
    Humanize,
    Humanize1024,
    HumanizePercentage,
    HumanizeDuration,
    ToUpper,
    ToLower,
    Printf(Format),
}

/// A format with one verb.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Format {
    before: String,
    verb: Verb,
    after: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Any,
    Text,
    Fixed(usize),
}

/// What is known when an alert's texts are filled in.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The labels of the series.
    pub labels: &'a Labels,
    /// Its value.
    pub value: f64,
    /// Where people find Bowline.
    pub external_url: &'a str,
}

enum Filled {
    Number(f64),
    Text(String),
}

/// How many decimals `printf` writes at most.
const DECIMALS_MAX: usize = 20;

const KNOWN: &str = "known are $labels.NAME, $value, $externalURL, humanize, humanize1024, humanizePercentage, \
                     humanizeDuration, printf, toUpper and toLower";

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong, or not supported.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("the text has more than {TEXT_BYTES_MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let inside = &rest[start + 2..];
            let end = closing(inside).ok_or("`{{` is not closed by `}}`")?;
            let (mut before, mut after) = (&rest[..start], &inside[end + 2..]);
            let mut action = &inside[..end];
            if let Some(trimmed) = action.strip_prefix('-') {
                (action, before) = (trimmed, before.trim_end());
            }
            if let Some(trimmed) = action.strip_suffix('-') {
                (action, after) = (trimmed, after.trim_start());
            }
            if !before.is_empty() {
                parts.push(Part::Literal(before.to_owned()));
            }
            parts.push(place(action.trim())?);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The text as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text, filled in.
    pub fn fill(&self, scope: Scope<'_>) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Place { from, through } => {
                    let filled = through.iter().fold(from.find(scope), |filled, function| function.apply(filled));
                    text.push_str(&filled.into_text());
                }
            }
        }
        text
    }
}

impl From {
    fn find(&self, scope: Scope<'_>) -> Filled {
        match self {
            Self::Label(name) => Filled::Text(scope.labels.get(name).unwrap_or_default().to_owned()),
            Self::Value => Filled::Number(scope.value),
            Self::ExternalUrl => Filled::Text(scope.external_url.to_owned()),
            Self::Text(text) => Filled::Text(text.clone()),
        }
    }
}

impl Function {
    fn apply(&self, filled: Filled) -> Filled {
        Filled::Text(match (self, filled) {
            (Self::Humanize, Filled::Number(value)) => number::humanized(value, 1000.0),
            (Self::Humanize1024, Filled::Number(value)) => number::humanized(value, 1024.0),
            (Self::HumanizePercentage, Filled::Number(value)) => number::percentage(value),
            (Self::HumanizeDuration, Filled::Number(value)) => number::duration(value),
            (Self::ToUpper, filled) => filled.into_text().to_uppercase(),
            (Self::ToLower, filled) => filled.into_text().to_lowercase(),
            (Self::Printf(format), filled) => format.apply(filled),
            (_, Filled::Text(text)) => text,
        })
    }

    /// Whether it can be given what comes: a number, or a text.
    fn takes(&self, is_number: bool) -> bool {
        match self {
            Self::Humanize | Self::Humanize1024 | Self::HumanizePercentage | Self::HumanizeDuration => is_number,
            Self::ToUpper | Self::ToLower => !is_number,
            Self::Printf(format) => match format.verb {
                Verb::Any => true,
                Verb::Text => !is_number,
                Verb::Fixed(_) => is_number,
            },
        }
    }
}

impl Format {
    fn parse(text: &str) -> Result<Self, String> {
        let refused = || format!("`printf` takes one of %v, %s, %f and %.2f, not `{text}`");
        let (mut before, mut verb, mut after) = (String::new(), None, String::new());
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let side = if verb.is_none() { &mut before } else { &mut after };
            side.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(escaped) = rest.strip_prefix('%') {
                side.push('%');
                rest = escaped;
                continue;
            }
            let (found, width) = read_verb(rest).ok_or_else(refused)?;
            if verb.replace(found).is_some() {
                return Err(refused());
            }
            rest = &rest[width..];
        }
        if verb.is_none() { &mut before } else { &mut after }.push_str(rest);
        Ok(Self { before, verb: verb.ok_or_else(refused)?, after })
    }

    fn apply(&self, filled: Filled) -> String {
        let middle = match (self.verb, filled) {
            (Verb::Fixed(decimals), Filled::Number(value)) => number::fixed(value, decimals),
            (_, filled) => filled.into_text(),
        };
        format!("{}{middle}{}", self.before, self.after)
    }
}

impl Filled {
    fn into_text(self) -> String {
        match self {
            Self::Number(value) => number::plain(value),
            Self::Text(text) => text,
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Where `}}` stands that is in no quotes.
fn closing(text: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b'}' if !is_quoted && text[at..].starts_with("}}") => return Some(at),
            _ => {}
        }
    }
    None
}

/// The verb after a `%`, and how long it is.
fn read_verb(text: &str) -> Option<(Verb, usize)> {
    match text.as_bytes().first()? {
        b'v' => Some((Verb::Any, 1)),
        b's' => Some((Verb::Text, 1)),
        b'f' => Some((Verb::Fixed(6), 1)),
        b'.' => {
            let digits = text[1..].bytes().take_while(u8::is_ascii_digit).count();
            let decimals: usize = if digits == 0 { 0 } else { text[1..=digits].parse().ok()? };
            let is_fixed = text[1 + digits..].starts_with('f') && decimals <= DECIMALS_MAX;
            is_fixed.then_some((Verb::Fixed(decimals), digits + 2))
        }
        _ => None,
    }
}

/// What stands between `{{` and `}}`: words, and pipes between them.
fn place(action: &str) -> Result<Part, String> {
    let mut stages = words(action)?.into_iter();
    let first = stages.next().filter(|words| !words.is_empty()).ok_or("there is nothing between `{{` and `}}`")?;
    let (from, mut through) = beginning(action, first)?;
    for stage in stages {
        let (name, arguments) = stage.split_first().ok_or("there is nothing after a `|`")?;
        through.push(function(action, name, arguments)?);
    }
    let mut is_number = from == From::Value;
    for function in &through {
        if !function.takes(is_number) {
            return Err(format!("`{{{{ {action} }}}}` gives a function the wrong kind: numbers come from $value"));
        }
        is_number = false;
    }
    Ok(Part::Place { from, through })
}

/// The first stage: a place, or a function with a place as its last argument.
fn beginning(action: &str, mut words: Vec<String>) -> Result<(From, Vec<Function>), String> {
    let last = words.pop().unwrap_or_default();
    let from = from(&last).ok_or_else(|| format!("`{{{{ {action} }}}}` is not supported: {KNOWN}"))?;
    match words.split_first() {
        None => Ok((from, Vec::new())),
        Some((name, arguments)) => Ok((from, vec![function(action, name, arguments)?])),
    }
}

fn from(word: &str) -> Option<From> {
    if let Some(text) = word.strip_prefix('"') {
        return Some(From::Text(text.to_owned()));
    }
    let label = word.strip_prefix("$labels.").or_else(|| word.strip_prefix(".Labels."));
    if let Some(label) = label {
        return super::is_label_name(label).then(|| From::Label(label.to_owned()));
    }
    match word {
        "$value" | ".Value" => Some(From::Value),
        "$externalURL" | ".ExternalURL" => Some(From::ExternalUrl),
        _ => None,
    }
}

fn function(action: &str, name: &str, arguments: &[String]) -> Result<Function, String> {
    let found = match (name, arguments) {
        ("humanize", []) => Function::Humanize,
        ("humanize1024", []) => Function::Humanize1024,
        ("humanizePercentage", []) => Function::HumanizePercentage,
        ("humanizeDuration", []) => Function::HumanizeDuration,
        ("toUpper", []) => Function::ToUpper,
        ("toLower", []) => Function::ToLower,
        ("printf", [format]) if format.starts_with('"') => Function::Printf(Format::parse(&format[1..])?),
        _ => return Err(format!("`{{{{ {action} }}}}` is not supported: {KNOWN}")),
    };
    Ok(found)
}

/// The words of each stage; a text in quotes is one that begins with its quote.
fn words(action: &str) -> Result<Vec<Vec<String>>, String> {
    let mut stages = vec![Vec::new()];
    let mut chars = action.chars().peekable();
    while let Some(next) = chars.next() {
        let stage = stages.last_mut().expect("there is one from the beginning");
        match next {
            c if c.is_whitespace() => {}
            '|' => stages.push(Vec::new()),
            '"' => stage.push(quoted(&mut chars)?),
            c => {
                let mut word = c.to_string();
                while let Some(c) = chars.next_if(|c| !c.is_whitespace() && *c != '|' && *c != '"') {
                    word.push(c);
                }
                stage.push(word);
            }
        }
    }
    Ok(stages)
}

fn quoted(chars: &mut impl Iterator<Item = char>) -> Result<String, String> {
    let mut text = '"'.to_string();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(text),
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(c @ ('"' | '\\')) => text.push(c),
                _ => return Err("an escape in a text is none of \\n, \\t, \\\" and \\\\".to_owned()),
            },
            c => text.push(c),
        }
    }
    Err("a text is not closed by `\"`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, value: f64, wanted: &str) {
        let labels = Labels::new([("service", "order"), ("code", "502")]);
        let scope = Scope { labels: &labels, value, external_url: "http://b:7117" };
        assert_eq!(Template::parse(text).unwrap().fill(scope), wanted, "{text}");
    }

    #[test]
    fn texts_are_filled_in() {
        check("no places", 1.0, "no places");
        check("{{ $labels.service }} is at {{$value}}", 0.25, "order is at 0.25");
        check("{{ .Labels.code }}{{ .Labels.none }}: {{ .Value | humanizePercentage }}", 0.25, "502: 25%");
        check("{{ humanizeDuration $value }} {{ $value | humanize }}", 90.0, "1m 30s 90");
        check(
            r#"{{ $value | printf "%.2f" }} {{ printf "<%v>" $value }} {{ printf "%s!" $labels.code }}"#,
            0.5,
            "0.50 <0.5> 502!",
        );
        check(r#"{{ "}}" }} {{ printf "100%% %.0f" .Value }}"#, 2.0, "}} 100% 2");
        check("a {{- $labels.service | toUpper -}} b", 2.0, "aORDERb");
        check("{{ $externalURL }}/x", 2.0, "http://b:7117/x");
    }

    #[test]
    fn what_is_not_supported_is_refused_when_read() {
        for bad in [
            "{{ $value",
            "{{ }}",
            "{{ if $value }}a{{ end }}",
            "{{ range query \"up\" }}",
            "{{ $labels }}",
            "{{ $labels.a-b }}",
            "{{ $value | reReplaceAll \"a\" \"b\" }}",
            "{{ $value | printf \"%d\" }}",
            "{{ $value | printf \"%.2f %.2f\" }}",
            "{{ $value | printf \"%.99f\" }}",
            "{{ $value | printf }}",
            "{{ $labels.a | humanize }}",
            "{{ $value | humanize | humanize }}",
            "{{ $value | }}",
            "{{ \"a }}",
        ] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(Template::parse(&"a".repeat(TEXT_BYTES_MAX + 1)).is_err());
    }
}
