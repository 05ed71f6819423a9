//! What is wrong in a file, and where: the parser returns all of them at once.

use std::fmt;

/// A place in a text; both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// The position of a byte offset in a text; an offset beyond the end is the end.
    pub fn of_offset(text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

/// One thing that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it begins.
    pub position: Position,
    /// How many characters to underline: at least 1, within the line.
    pub width: usize,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to write instead, said below the underline.
    pub help: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: error: {}", self.position.line, self.position.column, self.message)
    }
}

impl Problem {
    /// A problem of a file as a whole, said at its beginning.
    pub fn of_file(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { position: Position { line: 1, column: 1 }, width: 1, message: message.into(), help: help.into() }
    }
}

/// The problem as a person reads it, with the line it is in; ends with a line break.
///
/// ```text
/// bowline.toml:14:13: error: lease_ttl (2s) must be at least 3 × heartbeat_every (1s)
///    14 | lease_ttl = "2s"
///       |             ^^^^ raise to 3s or more
/// ```
///
/// `text` is what the problem was found in; where it has no such line the help stands alone. Tabs
/// are shown as blanks, control characters as `\u{fffd}`, wide characters count twice, and of a
/// long line the part around the problem is shown.
pub fn render(path: &str, text: &str, problem: &Problem) -> String {
    let Problem { position, width, message, help } = problem;
    let head = format!("{path}:{}:{}: error: {message}", position.line, position.column);
    let Some(line) = without_mark(text).split('\n').nth(position.line.saturating_sub(1)) else {
        return if help.is_empty() { head + "\n" } else { format!("{head}\n   hint: {help}\n") };
    };
    let line = line.strip_suffix('\r').unwrap_or(line);
    let Excerpt { shown, indent, carets } = excerpt(line, position.column, *width);
    let underline = format!("{}{} {help}", " ".repeat(indent), "^".repeat(carets));
    format!("{head}\n{:>5} | {shown}\n{:5} | {}\n", position.line, "", underline.trim_end())
}

/// The text without a byte order mark: editors do not count it as a column, so neither do we.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The shown part of a line, and where the underline is in it, in columns of a terminal.
struct Excerpt {
    shown: String,
    indent: usize,
    carets: usize,
}

fn excerpt(line: &str, column: usize, width: usize) -> Excerpt {
    /// The most characters of a line that are shown.
    const SHOWN_MAX: usize = 160;
    /// How many of them stand before the problem where the beginning is cut off.
    const BEFORE: usize = 40;

    let from = column.saturating_sub(1);
    let until = from.saturating_add(width);
    let cut = if until <= SHOWN_MAX { 0 } else { from.saturating_sub(BEFORE) };
    let mut shown = String::from(if cut > 0 { "…" } else { "" });
    let (mut indent, mut carets) = (shown.chars().count(), 0);
    let mut letters = (0..).zip(line.chars()).skip(cut);
    for (at, letter) in letters.by_ref().take(SHOWN_MAX) {
        let columns = show(letter, &mut shown);
        if at < from {
            indent += columns;
        } else if at < until {
            carets += columns;
        }
    }
    if letters.next().is_some() {
        shown.push('…');
    }
    Excerpt { shown, indent, carets: carets.max(1) }
}

/// Adds what stands for a character on a terminal; gives how many columns it takes.
fn show(letter: char, shown: &mut String) -> usize {
    match letter {
        '\t' => shown.push_str("    "),
        _ if letter.is_control() => shown.push('\u{fffd}'),
        _ => shown.push(letter),
    }
    match letter {
        '\t' => 4,
        // Combining marks, zero-width joiners and variation selectors join what is before them.
        '\u{300}'..='\u{36f}' | '\u{200b}'..='\u{200f}' | '\u{20d0}'..='\u{20ff}' | '\u{fe00}'..='\u{fe0f}' => 0,
        // East Asian wide and full-width forms, and emoji.
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: usize, column: usize, width: usize, help: &str) -> Problem {
        Problem { position: Position { line, column }, width, message: "bad".to_owned(), help: help.to_owned() }
    }

    #[track_caller]
    fn check(text: &str, problem: &Problem, expect: &str) {
        assert_eq!(render("f.toml", text, problem), format!("{expect}\n"));
    }

    #[test]
    fn the_line_is_shown_and_underlined() {
        let text = "a = 1\nlease_ttl = \"2s\"\n";
        check(
            text,
            &problem(2, 13, 4, "raise to 3s or more"),
            "f.toml:2:13: error: bad\n    2 | lease_ttl = \"2s\"\n      |             ^^^^ raise to 3s or more",
        );
        check(text, &problem(1, 1, 1, ""), "f.toml:1:1: error: bad\n    1 | a = 1\n      | ^");
        check(text, &problem(3, 1, 1, "end"), "f.toml:3:1: error: bad\n    3 | \n      | ^ end");
        check(text, &problem(9, 1, 1, "write it"), "f.toml:9:1: error: bad\n   hint: write it");
        check("", &Problem::of_file("bad", ""), "f.toml:1:1: error: bad\n    1 | \n      | ^");
    }

    #[test]
    fn what_is_not_a_plain_letter_keeps_the_underline_in_place() {
        check("\tx = 1\r\n", &problem(1, 2, 1, "h"), "f.toml:1:2: error: bad\n    1 |     x = 1\n      |     ^ h");
        check(
            "é = 日本\u{1b}",
            &problem(1, 5, 2, "h"),
            "f.toml:1:5: error: bad\n    1 | é = 日本\u{fffd}\n      |     ^^^^ h",
        );
        check("e\u{301} = 1", &problem(1, 6, 1, "h"), "f.toml:1:6: error: bad\n    1 | e\u{301} = 1\n      |     ^ h");
        check("\u{feff}a", &problem(1, 1, 1, "h"), "f.toml:1:1: error: bad\n    1 | a\n      | ^ h");
    }

    #[test]
    fn a_long_line_is_cut_around_the_problem() {
        let text = format!("{}bad{}", "x".repeat(1000), "y".repeat(1000));
        let rendered = render("f.toml", &text, &problem(1, 1001, 3, "h"));
        let mut lines = rendered.lines().skip(1);
        let (shown, underline) = (lines.next().unwrap(), lines.next().unwrap());
        assert_eq!(shown, format!("    1 | …{}bad{}…", "x".repeat(40), "y".repeat(117)));
        assert_eq!(underline, format!("      | {}^^^ h", " ".repeat(41)));
    }

    #[test]
    fn offsets_become_positions() {
        let text = "ab\né\n";
        for (offset, line, column) in [(0, 1, 1), (2, 1, 3), (3, 2, 1), (4, 2, 1), (5, 2, 2), (6, 3, 1), (99, 3, 1)] {
            assert_eq!(Position::of_offset(text, offset), Position { line, column }, "{offset}");
        }
    }
}
