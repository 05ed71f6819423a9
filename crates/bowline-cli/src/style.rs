//! What may reach a terminal: colours, none in a pipe or under `NO_COLOR`; of foreign text, no
//! control characters.

use std::{
    fmt::Display,
    io::{IsTerminal as _, Write as _},
};

/// Whether standard output takes colours.
pub(crate) fn is_coloured() -> bool {
    wants_colour(std::env::var_os("NO_COLOR").as_deref(), std::io::stdout().is_terminal())
}

/// Whether standard error takes colours.
pub(crate) fn is_stderr_coloured() -> bool {
    wants_colour(std::env::var_os("NO_COLOR").as_deref(), std::io::stderr().is_terminal())
}

fn wants_colour(no_color: Option<&std::ffi::OsStr>, is_terminal: bool) -> bool {
    is_terminal && no_color.is_none_or(std::ffi::OsStr::is_empty)
}

/// An ANSI colour or weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    /// One of six colours told apart easily, by index.
    Nth(usize),
}

impl Paint {
    fn code(self) -> u8 {
        const DISTINCT: [u8; 6] = [36, 35, 34, 33, 32, 96];
        match self {
            Self::Bold => 1,
            Self::Dim => 2,
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
            Self::Nth(index) => DISTINCT[index % DISTINCT.len()],
        }
    }

    /// The text in this colour, if colours are on.
    pub(crate) fn apply(self, text: impl Display, coloured: bool) -> String {
        if coloured { format!("\x1b[{}m{text}\x1b[0m", self.code()) } else { text.to_string() }
    }
}

/// Prints a line to standard output; a closed pipe is no error of ours.
pub(crate) fn line(text: &str) {
    let _closed = writeln!(std::io::stdout(), "{text}");
}

/// Prints a line to standard output; whether anybody reads there still.
pub(crate) fn line_is_read(text: &str) -> bool {
    writeln!(std::io::stdout(), "{text}").is_ok()
}

/// Prints a text: to a terminal what it cannot obey, a line each; to everybody else as it is.
pub(crate) fn text(text: &str) {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        text.lines().for_each(|shown| line(&printable(shown, false)));
    } else {
        let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

/// An error as it is shown on standard error; its lines stay lines.
pub(crate) fn error(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(plain).collect();
    format!("{} {}", Paint::Red.apply("error:", is_stderr_coloured()), lines.join("\n"))
}

/// The text in one line without anything that a terminal would obey; tabs and ends of lines are
/// spaces.
pub(crate) fn plain(text: &str) -> String {
    printable(&text.replace(['\t', '\n'], " "), false)
}

/// The text in one line without anything that a terminal would obey, but for tabs and, if they
/// are kept, colours (`ESC [ digits m`).
pub(crate) fn printable(text: &str, keeps_colours: bool) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_control() && c != '\t') {
        let (before, from) = rest.split_at(at);
        shown.push_str(before);
        let (sequence, after) = from.split_at(sequence_len(from));
        if keeps_colours && is_colour(sequence) {
            shown.push_str(sequence);
        }
        rest = after;
    }
    shown + rest
}

/// How long the control sequence at the begin of a text is, in bytes; at least its first character.
///
/// Source: ECMA-48, 5.4 (control sequences) and 5.6 (control strings).
fn sequence_len(text: &str) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let Some(escape) = text.strip_prefix('\x1b') else { return first };
    if let Some(parameters) = escape.strip_prefix('[') {
        let end = parameters.find(|c: char| !(' '..='?').contains(&c));
        let is_whole = |at: &usize| parameters[*at..].starts_with(|c| ('@'..='~').contains(&c));
        return end.filter(is_whole).map_or(first, |at| first + 1 + at + 1);
    }
    if escape.starts_with([']', 'P', 'X', '^', '_']) {
        // One that does not end must not hide the text behind it.
        let bell = escape.find('\x07').map(|at| at + 1);
        let terminator = escape.find("\x1b\\").map(|at| at + 2);
        return bell.into_iter().chain(terminator).min().map_or(first, |len| first + len);
    }
    first
}

/// Whether a control sequence does nothing but set colour or weight.
fn is_colour(sequence: &str) -> bool {
    let parameters = sequence.strip_prefix("\x1b[").and_then(|rest| rest.strip_suffix('m'));
    parameters.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit() || b";:".contains(&byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_and_no_color_are_respected() {
        assert!(wants_colour(None, true));
        assert!(wants_colour(Some("".as_ref()), true));
        assert!(!wants_colour(Some("1".as_ref()), true));
        assert!(!wants_colour(None, false));
        assert_eq!(Paint::Red.apply("x", false), "x");
    }

    #[test]
    fn only_colours_pass_and_only_where_they_may() {
        for (text, plain, coloured) in [
            ("a\x1b[1;31mb\x1b[0m\rc\td", "abc\td", "a\x1b[1;31mb\x1b[0mc\td"),
            ("\x1b]0;title\x07a\x1b[2Jb\x1b[?25lc", "abc", "abc"),
            ("\x1b]52;c;eA==\x1b\\a\nb", "ab", "ab"),
            ("\x1b]never ends", "]never ends", "]never ends"),
            ("\x1b[31", "[31", "[31"),
            ("\x1b[é\x1bcé\u{9b}2J\x7f", "[écé2J", "[écé2J"),
        ] {
            assert_eq!(printable(text, false), plain, "{text:?}");
            assert_eq!(printable(text, true), coloured, "{text:?}");
        }
        assert_eq!(super::plain("a\tb\nc"), "a b c");
    }
}
