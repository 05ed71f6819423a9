//! Makes an expression of a text: the parser crate reads it, what it leaves open is checked here.

mod bounds;
mod durations;
mod function;
mod lower;
mod mistake;
mod tokens;

use crate::promql::{
    error::{ParseError, Position},
    expr::Expr,
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
