//! A Rust file as tidy sees it: code apart from comments and literals, functions, test modules.
//!
//! This is a lexer, not a parser: enough to count and to find, without the weight of a syntax tree.

use std::ops::Range;

/// A Rust file, taken apart.
#[derive(Debug)]
pub(super) struct Source {
    lines: Vec<Line>,
    /// The lines (counted from 0) of each inline module under `#[cfg(test)]`.
    test_modules: Vec<Range<usize>>,
}

/// One line of it.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The code, with comments removed and the insides of literals removed.
    pub(super) code: String,
    /// The text of its comments.
    pub(super) comment: String,
    /// Whether a part of a literal that spans lines is on it.
    is_literal: bool,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// The line of its name, counted from 1.
    pub(super) line: usize,
    /// Lines of code between its braces.
    pub(super) code_lines: usize,
}

impl Line {
    fn is_code(&self) -> bool {
        self.is_literal || !self.code.trim().is_empty()
    }
}

impl Source {
    pub(super) fn read(text: &str) -> Self {
        let lines = lex(text);
        let test_modules = test_modules(&lines);
        Self { lines, test_modules }
    }

    /// Its lines, numbered from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The line of that number, counted from 1.
    pub(super) fn line(&self, number: usize) -> Option<&Line> {
        self.lines.get(number.checked_sub(1)?)
    }

    /// Whether that line, counted from 1, lies in an inline test module.
    pub(super) fn is_in_test_module(&self, number: usize) -> bool {
        self.test_modules.iter().any(|module| module.contains(&(number - 1)))
    }

    /// Lines of code outside inline test modules.
    pub(super) fn code_lines(&self) -> usize {
        self.lines().filter(|(number, line)| line.is_code() && !self.is_in_test_module(*number)).count()
    }

    /// Whether the code holds that text anywhere.
    pub(super) fn has_code(&self, text: &str) -> bool {
        self.lines.iter().any(|line| line.code.contains(text))
    }

    /// Every function with a body, also nested ones and tests.
    pub(super) fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            for column in words(&line.code, "fn") {
                let name: String = line.code[column + 2..].trim_start().chars().take_while(|c| is_word(*c)).collect();
                if name.is_empty() {
                    continue; // a function's type has no name
                }
                if let Some(body) = block(&self.lines, index, column) {
                    let inside = self.lines.get(body.start + 1..body.end).unwrap_or_default();
                    let code_lines = inside.iter().filter(|line| line.is_code()).count();
                    functions.push(Function { name, line: index + 1, code_lines });
                }
            }
        }
        functions
    }
}

/// Where a word begins in a line of code, as a word of its own.
pub(super) fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !code[..at].chars().next_back().is_some_and(is_word)
            && !code[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The lines from the next opening brace to its closing one; `None` when a `;` comes first.
fn block(lines: &[Line], first: usize, column: usize) -> Option<Range<usize>> {
    let (mut braces, mut brackets, mut start) = (0_usize, 0_usize, None);
    for (index, line) in lines.iter().enumerate().skip(first) {
        let code = if index == first { &line.code[column..] } else { &line.code[..] };
        for c in code.chars() {
            match c {
                '(' | '[' if start.is_none() => brackets += 1,
                ')' | ']' if start.is_none() => brackets = brackets.saturating_sub(1),
                ';' if start.is_none() && brackets == 0 => return None,
                '{' if brackets == 0 || start.is_some() => {
                    start.get_or_insert(index);
                    braces += 1;
                }
                '}' if start.is_some() => {
                    braces -= 1;
                    if braces == 0 {
                        return Some(start?..index);
                    }
                }
                _ => {}
            }
        }
    }
    None
}

fn test_modules(lines: &[Line]) -> Vec<Range<usize>> {
    let mut modules = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(column) = line.code.find("#[cfg(") else { continue };
        let is_test = words(&line.code, "test").next().is_some() && !line.code.contains("not(test");
        let Some(body) = block(lines, index, column).filter(|_| is_test) else { continue };
        if lines[index..=body.start].iter().any(|line| words(&line.code, "mod").next().is_some()) {
            modules.push(index..body.end + 1);
        }
    }
    modules
}

#[derive(Debug, Clone, Copy)]
enum State {
    Code,
    LineComment,
    /// How many are open.
    BlockComment(usize),
    Text,
    /// How many `#` close it.
    RawText(usize),
}

fn lex(text: &str) -> Vec<Line> {
    let mut state = State::Code;
    let mut lines = Vec::new();
    for raw in text.lines() {
        if matches!(state, State::LineComment) {
            state = State::Code;
        }
        let chars: Vec<char> = raw.chars().collect();
        let mut line = Line { is_literal: is_literal(state) && !raw.trim().is_empty(), ..Line::default() };
        let mut at = 0;
        while at < chars.len() {
            let (width, next) = match state {
                State::Code => lex_code(&chars, at, &mut line),
                State::LineComment => keep_comment(&chars, at, &mut line, state),
                State::BlockComment(depth) => lex_block_comment(&chars, at, &mut line, depth),
                State::Text => lex_text(&chars, at, &mut line),
                State::RawText(hashes) => lex_raw_text(&chars, at, &mut line, hashes),
            };
            at += width;
            state = next;
        }
        lines.push(line);
    }
    lines
}

fn is_literal(state: State) -> bool {
    matches!(state, State::Text | State::RawText(_))
}

fn lex_code(chars: &[char], at: usize, line: &mut Line) -> (usize, State) {
    let next = chars.get(at + 1).copied();
    match chars[at] {
        '/' if next == Some('/') => (2, State::LineComment),
        '/' if next == Some('*') => (2, State::BlockComment(1)),
        '"' => {
            line.code.push('"');
            (1, State::Text)
        }
        'r' if !line.code.chars().next_back().is_some_and(|c| is_word(c) && c != 'b' && c != 'c') => {
            let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
            let is_raw = chars.get(at + 1 + hashes) == Some(&'"');
            line.code.push(if is_raw { '"' } else { 'r' });
            if is_raw { (hashes + 2, State::RawText(hashes)) } else { (1, State::Code) }
        }
        '\'' => {
            // A character closes with a quote; a lifetime does not.
            let width = match (next, chars.get(at + 2)) {
                (Some('\\'), _) => {
                    chars.get(at + 3..).and_then(|rest| rest.iter().position(|c| *c == '\'')).map(|offset| offset + 4)
                }
                (Some(_), Some('\'')) => Some(3),
                _ => None,
            };
            line.code.push('\'');
            (width.unwrap_or(1), State::Code)
        }
        c => {
            line.code.push(c);
            (1, State::Code)
        }
    }
}

fn keep_comment(chars: &[char], at: usize, line: &mut Line, state: State) -> (usize, State) {
    line.comment.push(chars[at]);
    (1, state)
}

fn lex_block_comment(chars: &[char], at: usize, line: &mut Line, depth: usize) -> (usize, State) {
    match (chars[at], chars.get(at + 1)) {
        ('*', Some('/')) if depth == 1 => (2, State::Code),
        ('*', Some('/')) => (2, State::BlockComment(depth - 1)),
        ('/', Some('*')) => (2, State::BlockComment(depth + 1)),
        _ => keep_comment(chars, at, line, State::BlockComment(depth)),
    }
}

fn lex_text(chars: &[char], at: usize, line: &mut Line) -> (usize, State) {
    match chars[at] {
        '\\' => (2, State::Text),
        '"' => {
            line.code.push('"');
            (1, State::Code)
        }
        _ => (1, State::Text),
    }
}

fn lex_raw_text(chars: &[char], at: usize, line: &mut Line, hashes: usize) -> (usize, State) {
    let closes = chars[at] == '"' && chars[at + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    if closes {
        line.code.push('"');
        (hashes + 1, State::Code)
    } else {
        (1, State::RawText(hashes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(text: &str) -> Vec<String> {
        lex(text).into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let check = |text: &str, expect: &[&str]| assert_eq!(code_of(text), expect, "{text}");
        check("let a = 1; // fn x", &["let a = 1; "]);
        check("a /* b /* c */ d */ e", &["a  e"]);
        check("/* a\nb */ c", &["", " c"]);
        check(r#"let s = "fn \" {"; x"#, &[r#"let s = ""; x"#]);
        check("let s = r#\"a \" {\"#; x", &["let s = \"\"; x"]);
        check("let s = br\"{\"; x", &["let s = b\"\"; x"]);
        check("let c = '{'; let d: &'a str = x; let e = '\\''; y", &["let c = '; let d: &'a str = x; let e = '; y"]);
        check("let var = 1;", &["let var = 1;"]);
        check("let s = \"a\nb\nc\";", &["let s = \"", "", "\";"]);
    }

    #[test]
    fn functions_are_measured_between_their_braces() {
        let source = Source::read(
            "fn one(a: [u8; 3]) -> u8\nwhere\n  A: B,\n{\n  // why\n  a\n\n  b\n}\ntrait T { fn none(); }\nfn two() { x }\ntype F = fn(u8);\n",
        );
        let expect = [("one", 1, 2), ("two", 11, 0)];
        let expect = expect.map(|(name, line, code_lines)| Function { name: name.to_owned(), line, code_lines });
        assert_eq!(source.functions(), expect);
    }

    #[test]
    fn inline_test_modules_do_not_count() {
        let source = Source::read("//! A.\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n  fn b() {\n  }\n}\nfn c() {}\n");
        assert_eq!(source.code_lines(), 2);
        let is_test: Vec<bool> = (1..=9).map(|number| source.is_in_test_module(number)).collect();
        assert_eq!(is_test, [false, false, false, true, true, true, true, true, false]);
    }

    #[test]
    fn a_literal_over_lines_counts_and_a_module_in_a_file_does_not_open_a_block() {
        assert_eq!(Source::read("const A: &str = \"\n  a\n\n  b\n\";\n").code_lines(), 4);
        assert!(Source::read("#[cfg(test)]\nmod tests;\nfn a() {\n}\n").test_modules.is_empty());
    }
}
