//! Reads what a target exposes: Prometheus' text format 0.0.4, and OpenMetrics 1.0 as text.
//!
//! Goes through the bytes once and copies nothing. Whatever breaks a rule of the format is an error with its line.
//! Exemplars are checked and dropped. Names in quotes are not read: nobody sends them unless asked to.

mod labels;
mod number;

#[cfg(test)]
mod tests;

use bowline_model::Code;

pub use labels::parse_labels;
pub(in crate::scrape) use labels::unescaped;

/// The most bytes of a line.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of the name of a metric or a label.
pub const NAME_BYTES_MAX: usize = 512;
/// The most bytes of a label's value, as it is escaped.
pub const VALUE_BYTES_MAX: usize = 4096;
/// The most labels of a series.
pub const LABELS_MAX: usize = 64;

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0 as text: ends with `# EOF`, times are in seconds.
    OpenMetrics,
}

/// What a metric is, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(missing_docs, reason = "the formats' own names")]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    #[default]
    Unknown,
}

/// A line that says something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Entry<'a> {
    /// What a metric is for.
    Help {
        /// Its name.
        metric: &'a str,
        /// The text, its escapes as they were.
        text: &'a str,
    },
    /// What a metric is.
    Kind {
        /// Its name.
        metric: &'a str,
        /// What it is.
        kind: Kind,
    },
    /// What a metric is measured in.
    Unit {
        /// Its name.
        metric: &'a str,
        /// The unit; may be empty.
        unit: &'a str,
    },
    /// A sample.
    Sample {
        /// The name and the labels as they were written, which [`parse_labels`] reads: they are not checked yet.
        series: &'a str,
        /// The rest of the line.
        reading: Reading,
    },
}

/// A sample's value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// What was measured.
    pub value: f64,
    /// When, in milliseconds since 1970, where the target says so.
    pub at_ms: Option<i64>,
    /// Whether an exemplar was with it.
    pub has_exemplar: bool,
}

/// A body that breaks a rule of its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is malformed: {rule}")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// The rule it breaks.
    pub rule: &'static str,
}

/// A body that is read line by line.
#[derive(Debug, Clone)]
pub struct Exposition<'a> {
    text: &'a str,
    /// Where the next line begins.
    at: usize,
    /// How many lines were read.
    line: usize,
    format: Format,
    is_ended: bool,
}

/// A rule that is broken; the line is known further up.
type Broken = &'static str;

impl Format {
    /// That of a media type; none: it is neither. Without one it is [`Format::Text`].
    pub fn of(content_type: Option<&str>) -> Option<Self> {
        let Some(content_type) = content_type else { return Some(Self::Text) };
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case("text/plain") {
            Some(Self::Text)
        } else if media_type.eq_ignore_ascii_case("application/openmetrics-text") {
            Some(Self::OpenMetrics)
        } else {
            None
        }
    }
}

impl Kind {
    /// Its name in Prometheus' API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    fn parse(name: &str) -> Result<Self, Broken> {
        Ok(match name {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "summary" => Self::Summary,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "unknown" | "untyped" => Self::Unknown,
            _ => return Err("the type is none of the format's"),
        })
    }
}

#[expect(clippy::unused_self, reason = "every error is asked this")]
impl ParseError {
    /// What kind of failure it is.
    pub fn code(&self) -> Code {
        Code::BadGateway
    }

    /// Whether asking again may help.
    pub fn retryable(&self) -> bool {
        false
    }
}

impl<'a> Exposition<'a> {
    /// A body, from its first line.
    ///
    /// # Errors
    /// When it is not UTF-8.
    pub fn new(format: Format, body: &'a [u8]) -> Result<Self, ParseError> {
        let text = std::str::from_utf8(body).map_err(|error| {
            let before = body.get(..error.valid_up_to()).unwrap_or_default();
            ParseError { line: before.split(|byte| *byte == b'\n').count(), rule: "it is not UTF-8" }
        })?;
        Ok(Self { text, at: 0, line: 0, format, is_ended: false })
    }

    /// How many lines were read.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The next line that says something; none at the end.
    ///
    /// # Errors
    /// When a line breaks a rule of the format; then nothing more can be read.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        while self.at < self.text.len() {
            self.line += 1;
            if let Some(entry) = self.read_line().map_err(|rule| self.error(rule))? {
                return Ok(Some(entry));
            }
        }
        if self.format == Format::OpenMetrics && !self.is_ended {
            self.line += 1;
            return Err(self.error("`# EOF` is missing at the end"));
        }
        Ok(None)
    }

    /// The sample of the next line, if its series is written just so: neither its end is looked for nor its labels
    /// are read.
    ///
    /// `series` is one that [`Exposition::next_entry`] gave, and that [`parse_labels`] found well.
    ///
    /// # Errors
    /// As [`Exposition::next_entry`].
    pub fn next_of(&mut self, series: &str) -> Result<Option<Reading>, ParseError> {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let Some(tail) = rest.strip_prefix(series.as_bytes()) else { return Ok(None) };
        // `name {` goes on with labels.
        if !matches!(tail, [b' ' | b'\t', next, ..] if !matches!(next, b' ' | b'\t' | b'{')) || self.is_ended {
            return Ok(None);
        }
        self.line += 1;
        let (reading, length) = self.read_tail(tail).map_err(|rule| self.error(rule))?;
        self.at += series.len() + length;
        Ok(Some(reading))
    }

    /// Marks the line that was read last as one that breaks a rule.
    pub fn error(&self, rule: &'static str) -> ParseError {
        ParseError { line: self.line, rule }
    }

    /// Reads from `at`, which it moves to the next line.
    fn read_line(&mut self) -> Result<Option<Entry<'a>>, Broken> {
        if self.is_ended {
            return Err("nothing follows `# EOF`");
        }
        let rest = self.text.get(self.at..).unwrap_or_default();
        let line = match rest.split_once('\n') {
            Some((line, _)) => line,
            None => rest,
        };
        let next = self.text.len().min(self.at + line.len() + 1);
        if line.len() > LINE_BYTES_MAX {
            return Err("it has more than 64 KiB");
        }
        let is_text = self.format == Format::Text;
        let trimmed = if is_text { line.trim_start_matches(BLANK) } else { line };
        if let Some(comment) = trimmed.strip_prefix('#') {
            self.at = next;
            return if is_text { read_comment(comment) } else { self.read_descriptor(comment) };
        }
        if trimmed.is_empty() {
            self.at = next;
            return if is_text { Ok(None) } else { Err("an empty line is not allowed") };
        }
        let length = labels::series_length(trimmed, self.format)?;
        let (series, tail) = trimmed.split_at(length);
        let (reading, _) = self.read_tail(tail.as_bytes())?;
        self.at = next;
        Ok(Some(Entry::Sample { series, reading }))
    }

    /// A line after its `#`, in OpenMetrics.
    fn read_descriptor(&mut self, comment: &'a str) -> Result<Option<Entry<'a>>, Broken> {
        const RULE: Broken = "a comment is `# HELP`, `# TYPE`, `# UNIT` or `# EOF`";
        let (word, rest) = comment.strip_prefix(' ').map(|comment| word(comment, &[' '])).ok_or(RULE)?;
        if (word, rest) == ("EOF", "") {
            self.is_ended = true;
            return Ok(None);
        }
        let (metric, rest) = self::word(rest.strip_prefix(' ').ok_or(RULE)?, &[' ']);
        labels::check_metric(metric)?;
        let text = rest.strip_prefix(' ').unwrap_or(rest);
        Ok(Some(match word {
            "HELP" => Entry::Help { metric, text },
            "TYPE" => Entry::Kind { metric, kind: Kind::parse(text)? },
            "UNIT" if text.is_empty() => Entry::Unit { metric, unit: text },
            "UNIT" => match metric.strip_suffix(text) {
                Some(stem) if stem.ends_with('_') => Entry::Unit { metric, unit: text },
                _ => return Err("a metric's name ends with its unit"),
            },
            _ => return Err(RULE),
        }))
    }

    /// What follows a series, up to the line's end; how many bytes that takes, the end included.
    fn read_tail(&self, tail: &[u8]) -> Result<(Reading, usize), Broken> {
        match self.format {
            Format::Text => number::read_text_tail(tail),
            Format::OpenMetrics => number::read_open_metrics_tail(tail),
        }
    }
}

/// What parts words in the text format.
const BLANK: &[char] = &[' ', '\t'];

/// The text up to a separator, and the rest, which begins with it.
fn word<'a>(text: &'a str, separators: &[char]) -> (&'a str, &'a str) {
    text.split_at(text.find(separators).unwrap_or(text.len()))
}

/// A line after its `#`, in the text format: where it is neither help nor type, it is a comment.
fn read_comment(comment: &str) -> Result<Option<Entry<'_>>, Broken> {
    let (keyword, rest) = word(comment.trim_start_matches(BLANK), BLANK);
    if !comment.starts_with(BLANK) || !matches!(keyword, "HELP" | "TYPE") {
        return Ok(None);
    }
    let (metric, rest) = word(rest.trim_start_matches(BLANK), BLANK);
    labels::check_metric(metric)?;
    let text = rest.trim_start_matches(BLANK);
    Ok(Some(match keyword {
        "HELP" => Entry::Help { metric, text },
        _ => Entry::Kind { metric, kind: Kind::parse(text.trim_end_matches(BLANK))? },
    }))
}
