//! The grammar of expressions, without kinds and names; its depth is bounded before.

use std::ops::Range;

use crate::promql::parse::tokens::{Token, TokenKind};

/// A token that cannot stand where it does.
#[derive(Debug)]
pub(super) struct Unexpected {
    /// Its place among the tokens.
    pub(super) at: usize,
    pub(super) expected: &'static str,
}

type Checked = Result<(), Unexpected>;

const AGGREGATIONS: [&str; 14] = [
    "sum",
    "avg",
    "min",
    "max",
    "count",
    "group",
    "stddev",
    "stdvar",
    "topk",
    "bottomk",
    "quantile",
    "count_values",
    "limitk",
    "limit_ratio",
];
const OPERATORS: [&str; 13] = ["+", "-", "*", "/", "%", "^", "==", "!=", "<=", ">=", "<", ">", "atan2"];
const SET_OPERATORS: [&str; 3] = ["and", "or", "unless"];
/// Keywords that are no metric's name.
const RESERVED: [&str; 6] = ["bool", "on", "ignoring", "group_left", "group_right", "atan2"];

const AN_EXPRESSION: &str = "an expression: a metric's name, `{`, a number, a text, a function or `(`";
const A_DURATION: &str = "a duration as `5m` or a number of seconds";

/// The parts of an expression in bytes, inner ones first.
///
/// # Errors
/// The first token that no expression has there.
pub(super) fn check(text: &str, tokens: &[Token]) -> Result<Vec<Range<usize>>, Unexpected> {
    let mut reader = Reader { text, tokens, at: 0, parts: Vec::new() };
    reader.expression()?;
    if reader.peek().is_some_and(|token| token.kind != TokenKind::End) {
        return reader.unexpected("an operator or the end of the expression");
    }
    Ok(reader.parts)
}

struct Reader<'a> {
    text: &'a str,
    tokens: &'a [Token],
    at: usize,
    parts: Vec<Range<usize>>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn unexpected<T>(&self, expected: &'static str) -> Result<T, Unexpected> {
        Err(Unexpected { at: self.at, expected })
    }

    fn is_kind(&self, kinds: &[TokenKind]) -> bool {
        self.peek().is_some_and(|token| kinds.contains(&token.kind))
    }

    fn is_sign(&self, sign: &str) -> bool {
        self.peek().is_some_and(|token| token.is_sign(self.text, sign))
    }

    fn is_word(&self, words: &[&str]) -> bool {
        self.peek().is_some_and(|token| words.iter().any(|word| token.is_word(self.text, word)))
    }

    fn take_if(&mut self, is_taken: bool) -> bool {
        self.at += usize::from(is_taken);
        is_taken
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        self.take_if(self.is_sign(sign))
    }

    fn take_word(&mut self, words: &[&str]) -> bool {
        self.take_if(self.is_word(words))
    }

    fn take_kind(&mut self, kinds: &[TokenKind], expected: &'static str) -> Checked {
        if self.take_if(self.is_kind(kinds)) { Ok(()) } else { self.unexpected(expected) }
    }

    fn need_sign(&mut self, sign: &str, expected: &'static str) -> Checked {
        if self.take_sign(sign) { Ok(()) } else { self.unexpected(expected) }
    }

    /// Notes what was read since that token as a part.
    fn part(&mut self, first: usize) {
        let start = self.tokens.get(first).map_or(0, |token| token.start);
        let end = self.at.checked_sub(1).and_then(|last| self.tokens.get(last)).map_or(start, |token| token.end);
        self.parts.push(start..end);
    }

    /// Operands with operators between them; which binds stronger does not matter here.
    fn expression(&mut self) -> Checked {
        let first = self.at;
        self.operand()?;
        while self.operator() {
            self.modifiers()?;
            self.operand()?;
            self.part(first);
        }
        Ok(())
    }

    fn operator(&mut self) -> bool {
        let is_sign = OPERATORS.iter().any(|operator| self.is_sign(operator));
        let is_operator = is_sign || self.is_word(&SET_OPERATORS) || self.is_word(&["atan2"]);
        self.take_if(is_operator)
    }

    fn modifiers(&mut self) -> Checked {
        self.take_word(&["bool"]);
        if self.take_word(&["on", "ignoring"]) {
            self.labels()?;
            if self.take_word(&["group_left", "group_right"]) && self.is_sign("(") {
                self.labels()?;
            }
        } else if self.is_word(&["group_left", "group_right"]) {
            return self
                .unexpected("an operand; `group_left` and `group_right` stand after `on (…)` or `ignoring (…)`");
        }
        Ok(())
    }

    fn operand(&mut self) -> Checked {
        while self.take_sign("-") || self.take_sign("+") {}
        let first = self.at;
        self.primary()?;
        self.part(first);
        loop {
            if self.take_sign("[") {
                self.range()?;
            } else if self.take_word(&["offset"]) {
                let _ = self.take_sign("-") || self.take_sign("+");
                self.take_kind(&[TokenKind::Duration, TokenKind::Number], A_DURATION)?;
            } else if self.take_sign("@") {
                self.time()?;
            } else {
                return Ok(());
            }
            self.part(first);
        }
    }

    fn range(&mut self) -> Checked {
        self.take_kind(&[TokenKind::Duration, TokenKind::Number], A_DURATION)?;
        if self.take_sign(":") {
            self.take_if(self.is_kind(&[TokenKind::Duration, TokenKind::Number]));
            return self.need_sign("]", "a duration or `]`");
        }
        self.need_sign("]", "`:` or `]`")
    }

    fn time(&mut self) -> Checked {
        if self.take_word(&["start", "end"]) {
            self.need_sign("(", "`(`")?;
            return self.need_sign(")", "`)`");
        }
        let _ = self.take_sign("-") || self.take_sign("+");
        self.take_kind(&[TokenKind::Number, TokenKind::Duration], "seconds since 1970, `start()` or `end()`")
    }

    fn primary(&mut self) -> Checked {
        if self.take_if(self.is_kind(&[TokenKind::Number, TokenKind::Duration, TokenKind::Text])) {
            return Ok(());
        }
        if self.is_sign("{") {
            return self.matchers();
        }
        if self.take_sign("(") {
            self.expression()?;
            return self.need_sign(")", "an operator or `)`");
        }
        if !self.is_kind(&[TokenKind::Word]) || self.is_word(&RESERVED) {
            return self.unexpected(AN_EXPRESSION);
        }
        let is_aggregation = self.is_word(&AGGREGATIONS);
        self.at += 1;
        if is_aggregation && self.is_word(&["by", "without"]) {
            self.at += 1;
            self.labels()?;
            return self.arguments();
        }
        if self.is_sign("(") {
            self.arguments()?;
            if is_aggregation && self.take_word(&["by", "without"]) {
                self.labels()?;
            }
            return Ok(());
        }
        if self.is_sign("{") { self.matchers() } else { Ok(()) }
    }

    fn arguments(&mut self) -> Checked {
        self.need_sign("(", "`(`")?;
        if self.take_sign(")") {
            return Ok(());
        }
        loop {
            self.expression()?;
            if self.take_sign(")") {
                return Ok(());
            }
            self.need_sign(",", "an operator, `,` or `)`")?;
        }
    }

    /// Labels in brackets, after `by`, `on` and the like.
    fn labels(&mut self) -> Checked {
        self.need_sign("(", "`(` and labels")?;
        while !self.take_sign(")") {
            self.take_kind(&[TokenKind::Word, TokenKind::Text], "a label or `)`")?;
            if !self.take_sign(",") {
                return self.need_sign(")", "`,` or `)`");
            }
        }
        Ok(())
    }

    fn matchers(&mut self) -> Checked {
        self.need_sign("{", "`{`")?;
        while !self.take_sign("}") {
            let is_text = self.is_kind(&[TokenKind::Text]);
            self.take_kind(&[TokenKind::Word, TokenKind::Text], "a label or `}`")?;
            if ["=", "!=", "=~", "!~"].iter().any(|sign| self.take_sign(sign)) {
                self.take_kind(&[TokenKind::Text], "a value in quotes")?;
            } else if !is_text {
                return self.unexpected("`=`, `!=`, `=~` or `!~`");
            }
            if !self.take_sign(",") {
                return self.need_sign("}", "`,` or `}`");
            }
        }
        Ok(())
    }
}
