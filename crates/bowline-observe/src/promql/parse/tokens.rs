//! The words, numbers and signs of an expression, with their places.

/// A word, number, text or sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// In bytes.
    pub(super) start: usize,
    /// In bytes, past its last.
    pub(super) end: usize,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// A name or a keyword.
    Word,
    Number,
    Duration,
    Text,
    /// A sign, or two that belong together.
    Sign,
    /// Something that no token begins with, or that does not end.
    Broken(&'static str),
    /// Nothing more.
    End,
}

impl Token {
    /// How it is written.
    pub(super) fn text<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.start..self.end).unwrap_or_default()
    }

    /// Whether it is that sign.
    pub(super) fn is_sign(&self, text: &str, sign: &str) -> bool {
        self.kind == TokenKind::Sign && self.text(text) == sign
    }

    /// Whether it is that keyword, whose case does not matter.
    pub(super) fn is_word(&self, text: &str, word: &str) -> bool {
        self.kind == TokenKind::Word && self.text(text).eq_ignore_ascii_case(word)
    }
}

/// The signs of two characters.
const PAIRS: [&str; 6] = ["==", "!=", "<=", ">=", "=~", "!~"];
/// The signs of one.
const SIGNS: &str = "+-*/%^=<>(){}[],@:";

/// All tokens, with an [`TokenKind::End`] or [`TokenKind::Broken`] as the last.
pub(super) fn scan(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let (mut at, mut is_in_brackets) = (0, false);
    loop {
        at += blank(text.get(at..).unwrap_or_default());
        let rest = text.get(at..).unwrap_or_default();
        let (kind, length) = first(rest, is_in_brackets);
        tokens.push(Token { kind, start: at, end: at + length });
        match kind {
            TokenKind::End | TokenKind::Broken(_) => return tokens,
            TokenKind::Sign if rest.starts_with('[') => is_in_brackets = true,
            TokenKind::Sign if rest.starts_with(']') => is_in_brackets = false,
            _ => {}
        }
        at += length;
    }
}

/// How many bytes of space and comments come first.
fn blank(text: &str) -> usize {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let Some(comment) = rest.strip_prefix('#') else { return text.len() - rest.len() };
        rest = comment.find(['\r', '\n']).and_then(|end| comment.get(end..)).unwrap_or_default();
    }
}

/// The first token and its length in bytes.
fn first(rest: &str, is_in_brackets: bool) -> (TokenKind, usize) {
    let Some(c) = rest.chars().next() else { return (TokenKind::End, 0) };
    if c.is_ascii_digit() || c == '.' {
        return number(rest);
    }
    if matches!(c, '"' | '\'' | '`') {
        return quoted(rest, c);
    }
    if c.is_ascii_alphabetic() || c == '_' || (c == ':' && !is_in_brackets) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && !is_in_brackets);
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let is_number =
            rest.get(..length).is_some_and(|word| ["inf", "nan"].iter().any(|n| word.eq_ignore_ascii_case(n)));
        return (if is_number { TokenKind::Number } else { TokenKind::Word }, length);
    }
    if PAIRS.iter().any(|pair| rest.starts_with(pair)) {
        return (TokenKind::Sign, 2);
    }
    if SIGNS.contains(c) {
        return (TokenKind::Sign, 1);
    }
    (TokenKind::Broken("no expression has this character here"), c.len_utf8())
}

/// A number or a duration.
fn number(rest: &str) -> (TokenKind, usize) {
    let is_hex = rest.starts_with("0x") || rest.starts_with("0X");
    let mut length = 0;
    let mut has_unit = false;
    let mut before = ' ';
    for c in rest.chars() {
        let is_sign_of_exponent = matches!(c, '+' | '-') && matches!(before, 'e' | 'E') && !is_hex && !has_unit;
        if !(c.is_ascii_alphanumeric() || c == '.' || c == '_' || is_sign_of_exponent) {
            break;
        }
        has_unit |= !is_hex && "smhdwy".contains(c);
        length += 1;
        before = c;
    }
    match rest.get(..length) {
        Some(".") => (TokenKind::Broken("a number has a digit after its point"), 1),
        _ if has_unit => (TokenKind::Duration, length),
        _ => (TokenKind::Number, length),
    }
}

/// A text in quotes.
fn quoted(rest: &str, quote: char) -> (TokenKind, usize) {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if c == quote => return (TokenKind::Text, at + 1),
            _ => {}
        }
    }
    (TokenKind::Broken("this text is not ended by the quote that it begins with"), rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_falls_apart() {
        let text = "a:b{x=~\"}\"}[1h5m:3] # no\n-1.5e-3>=bool 0x1F@`é`";
        let words: Vec<_> = scan(text).iter().map(|token| token.text(text)).collect();
        let expected = [
            "a:b", "{", "x", "=~", "\"}\"", "}", "[", "1h5m", ":", "3", "]", "-", "1.5e-3", ">=", "bool", "0x1F", "@",
            "`é`", "",
        ];
        assert_eq!(words, expected);
        assert!(matches!(scan("'a").last().unwrap().kind, TokenKind::Broken(_)));
        assert!(matches!(scan("a ~ b").last().unwrap(), Token { kind: TokenKind::Broken(_), start: 2, end: 3 }));
    }
}
