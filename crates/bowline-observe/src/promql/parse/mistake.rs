//! Finds where a text stops being an expression: the parser crate does not say.
//!
//! Only texts that are none come here. What is read is the grammar alone; when that holds, the smallest part
//! that the parser crate refuses for its kinds or names is the place.

mod grammar;

use super::tokens::{Token, TokenKind};
use crate::promql::error::{ParseError, Position};

/// How many bytes of parts are given to the parser crate at most.
const SEARCHED_BYTES_MAX: usize = 64 * 1024;

/// The mistake in a text that the parser crate refuses with that message.
pub(super) fn find(text: &str, tokens: &[Token], message: String) -> ParseError {
    match grammar::check(text, tokens) {
        Err(grammar::Unexpected { at, expected }) => {
            let token = tokens.get(at).or(tokens.last());
            let start = token.map_or(text.len(), |token| token.start);
            let met = token.map_or_else(|| "nothing".to_owned(), |token| met(text, token));
            ParseError { position: Position::of(text, start), message: format!("{met}: expected {expected}") }
        }
        Ok(parts) => {
            let (start, message) = refused(text, &parts).unwrap_or((0, message));
            ParseError { position: Position::of(text, start), message }
        }
    }
}

/// What stands in the wrong place.
fn met(text: &str, token: &Token) -> String {
    match token.kind {
        TokenKind::End => "unexpected end of the expression".to_owned(),
        TokenKind::Broken(rule) => format!("cannot read `{}`, {rule}", first_line(token.text(text))),
        _ => format!("unexpected `{}`", token.text(text)),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The first part that is refused, inner ones before outer ones.
fn refused(text: &str, parts: &[std::ops::Range<usize>]) -> Option<(usize, String)> {
    let mut searched = 0;
    parts.iter().find_map(|part| {
        searched += part.len();
        let alone = text.get(part.clone()).filter(|_| searched <= SEARCHED_BYTES_MAX)?;
        let message = promql_parser::parser::parse(alone).err()?;
        Some((part.start, message))
    })
}
