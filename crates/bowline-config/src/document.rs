//! A document: a text in one of three formats, which it has to be well-formed in.

use std::fmt;

use bowline_model::Position;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::Error;

/// The largest document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 << 10;

/// What a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// TOML 1.1.
    Toml,
    /// JSON.
    Json,
    /// Any text.
    Text,
}

/// What is published: at most [`DOCUMENT_BYTES_MAX`] bytes, well-formed in its format, without
/// control characters but tabs and line breaks. [`Document::check`] says whether it is all that.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// What it is written in.
    pub format: Format,
    /// As it was written.
    pub text: String,
}

impl Format {
    /// The formats there are, by their names.
    pub const NAMES: [(&'static str, Self); 3] = [("toml", Self::Toml), ("json", Self::Json), ("text", Self::Text)];

    /// Its name: `toml`, `json`, `text`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Toml => "toml",
            Self::Json => "json",
            Self::Text => "text",
        }
    }

    /// The format of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Its size only: a document may hold what is nobody's business.
impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("format", &self.format).field("bytes", &self.text.len()).finish()
    }
}

impl Document {
    /// A document, unchecked.
    pub fn new(format: Format, text: impl Into<String>) -> Self {
        Self { format, text: text.into() }
    }

    /// Checks bounds and syntax.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the bound, [`Error::Syntax`] the place of the fault.
    pub fn check(&self) -> Result<(), Error> {
        if self.text.len() > DOCUMENT_BYTES_MAX {
            return Err(Error::Invalid { what: "document", rule: "it has at most 256 KiB" });
        }
        if self.text.chars().any(|c| c.is_control() && !"\t\n\r".contains(c)) {
            return Err(Error::Invalid {
                what: "document",
                rule: "it has no control characters but tab and line break",
            });
        }
        self.to_json().map(drop)
    }

    /// The document as JSON: a TOML document as the tables it holds, with dates and times as
    /// texts; a text as one string.
    ///
    /// # Errors
    /// [`Error::Syntax`], also for what JSON cannot hold: `inf` and `nan`.
    pub fn to_json(&self) -> Result<serde_json::Value, Error> {
        match self.format {
            Format::Json => serde_json::from_str(&self.text).map_err(|error| self.json_fault(&error)),
            Format::Text => Ok(self.text.clone().into()),
            Format::Toml => {
                let table: toml::Table = toml::from_str(&self.text).map_err(|error| self.toml_fault(&error))?;
                json_of(toml::Value::Table(table)).ok_or_else(|| {
                    self.fault(Position { line: 1, column: 1 }, "`inf` and `nan` are no numbers here".to_owned())
                })
            }
        }
    }

    /// Reads the document as a value of a type; a text is read as a string.
    ///
    /// # Errors
    /// [`Error::Syntax`] with the place where it is no such value.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        match self.format {
            Format::Json => serde_json::from_str(&self.text).map_err(|error| self.json_fault(&error)),
            Format::Toml => toml::from_str(&self.text).map_err(|error| self.toml_fault(&error)),
            Format::Text => {
                let text = serde_json::Value::String(self.text.clone());
                serde_json::from_value(text).map_err(|error| self.json_fault(&error))
            }
        }
    }

    fn json_fault(&self, error: &serde_json::Error) -> Error {
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let reason = text.strip_suffix(&place).unwrap_or(&text).to_owned();
        self.fault(Position { line: error.line().max(1), column: error.column().max(1) }, reason)
    }

    fn toml_fault(&self, error: &toml::de::Error) -> Error {
        let offset = error.span().map_or(0, |span| span.start);
        self.fault(Position::of_offset(&self.text, offset), error.message().trim_end().to_owned())
    }

    fn fault(&self, position: Position, reason: String) -> Error {
        let Position { line, column } = position;
        Error::Syntax { format: self.format, line, column, reason }
    }
}

/// A TOML value as JSON; none where it holds a number that JSON has not.
fn json_of(value: toml::Value) -> Option<serde_json::Value> {
    Some(match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)?.into(),
        toml::Value::Boolean(is) => is.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(values) => values.into_iter().map(json_of).collect::<Option<Vec<_>>>()?.into(),
        toml::Value::Table(table) => {
            let member = |(name, value)| Some((name, json_of(value)?));
            table.into_iter().map(member).collect::<Option<serde_json::Map<_, _>>>()?.into()
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn toml(text: &str) -> Document {
        Document::new(Format::Toml, text)
    }

    #[track_caller]
    fn fault(document: &Document) -> (usize, usize, String) {
        match document.check().unwrap_err() {
            Error::Syntax { format, line, column, reason } => {
                assert_eq!(format, document.format);
                (line, column, reason)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn faults_are_told_with_their_place() {
        let (line, column, reason) = fault(&toml("a = 1\nb = = 2\n"));
        assert_eq!((line, column), (2, 5), "{reason}");
        assert!(!reason.is_empty() && !reason.contains('\n'), "{reason:?}");
        let (line, column, reason) = fault(&toml("a = 1\na = 2\n"));
        assert_eq!((line, column), (2, 1), "{reason}");
        let (line, column, reason) = fault(&Document::new(Format::Json, "{\n  \"a\": 1,\n}"));
        assert_eq!((line, column, &*reason), (3, 1, "trailing comma"));
        let (line, _, reason) = fault(&Document::new(Format::Json, ""));
        assert_eq!((line, &*reason), (1, "EOF while parsing a value"));
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        fault(&Document::new(Format::Json, deep.clone()));
        fault(&toml(&format!("a = {deep}")));
        fault(&toml("a = nan"));
    }

    #[test]
    fn a_text_may_be_anything_but_unprintable() {
        let text = |text: &str| Document::new(Format::Text, text).check();
        text("").unwrap();
        text("= {\t\r\n é").unwrap();
        for bad in ["\0", "a\u{1b}[31m", "\u{9f}"] {
            assert!(matches!(text(bad), Err(Error::Invalid { what: "document", .. })), "{bad:?}");
        }
        text(&"x".repeat(DOCUMENT_BYTES_MAX)).unwrap();
        assert!(matches!(text(&"x".repeat(DOCUMENT_BYTES_MAX + 1)), Err(Error::Invalid { .. })));
    }

    #[test]
    fn toml_has_a_form_in_json() {
        let document = toml("a = 1\nb = [1.5, \"x\"]\nc = 2026-01-02T03:04:05Z\n[d.e]\nf = true\n");
        let expected = json!({"a": 1, "b": [1.5, "x"], "c": "2026-01-02T03:04:05Z", "d": {"e": {"f": true}}});
        assert_eq!(document.to_json().unwrap(), expected);
        assert_eq!(Document::new(Format::Text, "a\n").to_json().unwrap(), json!("a\n"));
    }

    #[test]
    fn a_document_is_read_as_a_type() {
        #[derive(Debug, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Limits {
            items_max: u32,
        }
        assert_eq!(toml("items_max = 5").read::<Limits>().unwrap(), Limits { items_max: 5 });
        let json = Document::new(Format::Json, r#"{"items_max": 5}"#);
        assert_eq!(json.read::<Limits>().unwrap(), Limits { items_max: 5 });
        assert_eq!(Document::new(Format::Text, "hi").read::<String>().unwrap(), "hi");
        let error = toml("items_max = 5\nitem_max = 6").read::<Limits>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2, column 1 of the toml document: unknown field `item_max`, expected `items_max`"
        );
        assert!(Document::new(Format::Text, "hi").read::<Limits>().is_err());
    }

    #[test]
    fn the_content_is_not_shown_by_chance() {
        assert_eq!(format!("{:?}", toml("key = \"hush\"")), "Document { format: Toml, bytes: 12 }");
    }
}
