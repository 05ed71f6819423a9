//! Replaces the placeholders of Bowline's own in shell commands and environment values.

use std::path::Path;

/// What the placeholders stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placeholders<'a> {
    /// `${target}`.
    pub(crate) target: &'a Path,
    /// `${data}`.
    pub(crate) data: &'a Path,
}

/// Where in a shell command a placeholder stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

impl Placeholders<'_> {
    /// In a shell command: a path counts as one word, whatever is in it. What else begins with `$`
    /// is left to the shell.
    pub(crate) fn in_command(&self, command: &str) -> String {
        let mut expanded = String::with_capacity(command.len());
        let mut quote = Quote::None;
        let mut rest = command;
        while let Some(next) = rest.chars().next() {
            if let Some((path, after)) = self.at_start(rest) {
                escape(&path, quote, &mut expanded);
                rest = after;
                continue;
            }
            quote = match (quote, next) {
                (Quote::None, '\'') => Quote::Single,
                (Quote::None, '"') => Quote::Double,
                (Quote::Single, '\'') | (Quote::Double, '"') => Quote::None,
                (quote, _) => quote,
            };
            let escaped = if next == '\\' && quote != Quote::Single { rest.chars().nth(1) } else { None };
            let length = next.len_utf8() + escaped.map_or(0, char::len_utf8);
            expanded.push_str(&rest[..length]);
            rest = &rest[length..];
        }
        expanded
    }

    /// In a value that no shell reads.
    pub(crate) fn in_value(&self, value: &str) -> String {
        value.replace("${target}", &self.target.to_string_lossy()).replace("${data}", &self.data.to_string_lossy())
    }

    fn at_start<'t>(&self, text: &'t str) -> Option<(String, &'t str)> {
        let path_of = |path: &Path| path.to_string_lossy().into_owned();
        if let Some(after) = text.strip_prefix("${target}") {
            return Some((path_of(self.target), after));
        }
        text.strip_prefix("${data}").map(|after| (path_of(self.data), after))
    }
}

/// Writes a path such that the shell reads it as it is. Within single quotes that is as it is, as
/// for a shell within the shell (`sh -c '${target}/a'`), where a path with spaces would need more.
fn escape(path: &str, quote: Quote, expanded: &mut String) {
    for char in path.chars() {
        let is_special = match quote {
            Quote::None => !char.is_alphanumeric() && !"/._-+:@,%".contains(char),
            Quote::Double => "\"\\$`".contains(char),
            Quote::Single => false,
        };
        if is_special {
            expanded.push('\\');
        }
        expanded.push(char);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(target: &str, command: &str, expected: &str) {
        let placeholders = Placeholders { target: Path::new(target), data: Path::new("/d") };
        assert_eq!(placeholders.in_command(command), expected);
    }

    #[test]
    fn placeholders_are_replaced_and_the_rest_is_the_shells() {
        check("/t", "${target}/a --dir ${data} $HOME ${HOME}", "/t/a --dir /d $HOME ${HOME}");
        check("/t", "sh -c '${target}/a'", "sh -c '/t/a'");
        check("/t", r"echo \${target} é", r"echo \${target} é");
    }

    #[test]
    fn a_path_with_spaces_stays_one_word() {
        check("/my t$", "${target}/a", r"/my\ t\$/a");
        check("/my t$", r#""${target}/a" ${target}"#, r#""/my t\$/a" /my\ t\$"#);
        check("/my t", r#"'it' "\"" ${target}"#, r#"'it' "\"" /my\ t"#);
    }

    #[test]
    fn a_value_is_replaced_as_it_is() {
        let placeholders = Placeholders { target: Path::new("/my t"), data: Path::new("/d") };
        assert_eq!(placeholders.in_value("${target}:${data}:${x}"), "/my t:/d:${x}");
    }
}
