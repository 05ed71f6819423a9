//! Makes an expression of a text: the parser crate reads it, what it leaves open is checked here.

mod bounds;
mod durations;
mod function;
mod lower;
mod mistake;
mod tokens;

use std::time::Duration;

use crate::{
    labels::Matcher,
    promql::{
        error::{ParseError, Position},
        expr::{Expr, Node, Selector, Shift},
    },
};

pub use bounds::{DEPTH_MAX, REGEXES_MAX, TEXT_BYTES_MAX};

/// The expression that a text of at most [`TEXT_BYTES_MAX`] bytes is.
///
/// # Errors
/// [`ParseError`], with the place of the first mistake.
pub fn parse(text: &str) -> Result<Expr, ParseError> {
    bounds::check_size(text)?;
    let tokens = tokens::scan(text);
    bounds::check_depth(text, &tokens)?;
    bounds::check_regexes(text, &tokens)?;
    durations::check(text, &tokens)?;
    let parsed = promql_parser::parser::parse(text).map_err(|message| mistake::find(text, &tokens, message))?;
    match lower::lower(&parsed) {
        Ok(root) => Ok(Expr { root, text: text.into() }),
        Err(lower::Refused { word, message }) => {
            let at = tokens.iter().find(|token| token.text(text).eq_ignore_ascii_case(&word));
            Err(ParseError { position: Position::of(text, at.map_or(0, |token| token.start)), message })
        }
    }
}

/// What a selector demands that stands alone, as `up{job="order"}`.
///
/// # Errors
/// [`ParseError`], also where the text is another expression, or one with a time of its own.
pub fn selector(text: &str) -> Result<Vec<Matcher>, ParseError> {
    if let Node::Select(Selector { matchers, shift: Shift { at: None, offset_ms: 0 } }) = parse(text)?.root {
        return Ok(matchers);
    }
    let message = "a selector is expected, and nothing else: `up{job=\"order\"}`".to_owned();
    Err(ParseError { position: Position::of(text, 0), message })
}

/// A duration as `PromQL` writes it: `1h30m`. None where it is none, or 0.
pub fn duration(text: &str) -> Option<Duration> {
    promql_parser::util::parse_duration(text).ok().filter(|duration| !duration.is_zero())
}
