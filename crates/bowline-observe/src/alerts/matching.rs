//! Matchers as people write them: `severity="page"`, `service=~"order|payment"`.

use crate::{
    alerts::rules::is_label_name,
    labels::{Labels, Matcher},
};

/// The longest matcher, in bytes.
const MATCHER_BYTES_MAX: usize = 1024;

/// A matcher with the text it was read from.
#[derive(Debug, Clone)]
pub struct Matching {
    text: String,
    matcher: Matcher,
}

impl Matching {
    /// Reads a name, one of `=`, `!=`, `=~`, `!~`, and a value, in double quotes or without.
    ///
    /// # Errors
    /// What is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shape = || format!("`{text}` is no matcher: write NAME=\"VALUE\", with =, !=, =~ or !~");
        if text.len() > MATCHER_BYTES_MAX {
            return Err(format!("a matcher has at most {MATCHER_BYTES_MAX} bytes"));
        }
        let at = text.find(['=', '!']).ok_or_else(shape)?;
        let name = text[..at].trim();
        let rest = &text[at..];
        let tests = ["=~", "!~", "!=", "="];
        let test = tests.into_iter().find(|test| rest.starts_with(test)).ok_or_else(shape)?;
        let value = unquoted(rest[test.len()..].trim()).ok_or_else(shape)?;
        if !is_label_name(name) {
            return Err(shape());
        }
        let matcher = match test {
            "=" => Matcher::equal(name, value),
            "!=" => Matcher::not_equal(name, value),
            "=~" => Matcher::regex(name, &value).map_err(|error| error.to_string())?,
            _ => Matcher::not_regex(name, &value).map_err(|error| error.to_string())?,
        };
        Ok(Self { text: text.to_owned(), matcher })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether an alert of those labels passes.
    pub fn is_matching(&self, labels: &Labels) -> bool {
        self.matcher.is_matching(labels)
    }

    /// Whether it passes where the label is absent: such matchers alone select everything.
    pub(crate) fn is_matching_absent(&self) -> bool {
        self.matcher.is_matching_value("")
    }
}

fn unquoted(text: &str) -> Option<String> {
    let Some(inside) = text.strip_prefix('"') else {
        return (!text.contains(['"', ','])).then(|| text.to_owned());
    };
    let (mut value, mut chars) = (String::new(), inside.chars());
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(value),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                c @ ('"' | '\\') => value.push(c),
                // A regular expression's own.
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_are_read_as_people_write_them() {
        let labels = Labels::new([("severity", "page"), ("service", "order"), ("path", "a\"b")]);
        for (text, is_matching) in [
            ("severity=page", true),
            (r#"severity = "page""#, true),
            (r#"severity!="page""#, false),
            (r#"service=~"ord.*|x""#, true),
            (r#"service!~"ord""#, true),
            (r#"service=~"\w+""#, true),
            (r#"path="a\"b""#, true),
            ("absent=", true),
        ] {
            assert_eq!(Matching::parse(text).unwrap().is_matching(&labels), is_matching, "{text}");
        }
        for bad in ["", "a", "=a", "a~b", "a!b", "a=\"b", "a=\"b\"c", "a=~\"(\"", "1a=b", "a=b,c=d"] {
            assert!(Matching::parse(bad).is_err(), "{bad}");
        }
    }
}
