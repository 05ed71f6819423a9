//! Refuses texts that would take too long to read, or too much stack.

use crate::promql::{
    error::{ParseError, Position},
    parse::tokens::{Token, TokenKind},
};

/// How long an expression is at most, in bytes.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// How deep an expression is at most: brackets, signs before operands, and operators of one level all count.
pub const DEPTH_MAX: usize = 100;

/// How many regular expressions an expression has at most: each takes time to compile.
pub const REGEXES_MAX: usize = 100;

/// Bounds what has to be compiled.
pub(super) fn check_regexes(text: &str, tokens: &[Token]) -> Result<(), ParseError> {
    let is_regex = |token: &&Token| token.is_sign(text, "=~") || token.is_sign(text, "!~");
    let Some(token) = tokens.iter().filter(is_regex).nth(REGEXES_MAX) else { return Ok(()) };
    let message = format!("the expression has more than {REGEXES_MAX} regular expressions");
    Err(ParseError { position: Position::of(text, token.start), message })
}

pub(super) fn check_size(text: &str) -> Result<(), ParseError> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the expression has {} bytes, {TEXT_BYTES_MAX} are allowed", text.len());
    Err(ParseError { position: Position::of(text, TEXT_BYTES_MAX), message })
}

/// Bounds the depth of the tree before there is one: it is freed, checked and evaluated recursively.
pub(super) fn check_depth(text: &str, tokens: &[Token]) -> Result<(), ParseError> {
    // Of each open bracket, the operators met in it since the last comma; what nests to the right and what
    // nests to the left counts alike.
    let mut open = vec![0];
    let mut depth = 0;
    for token in tokens {
        match token.text(text) {
            "(" | "{" => {
                open.push(0);
                depth += 1;
            }
            ")" | "}" if open.len() > 1 => depth -= 1 + open.pop().unwrap_or(0),
            "," => depth -= open.last_mut().map_or(0, std::mem::take),
            _ if is_nesting(text, token) => {
                *open.last_mut().expect("the outermost is never popped") += 1;
                depth += 1;
            }
            _ => {}
        }
        if depth > DEPTH_MAX {
            let message = format!("the expression is nested more than {DEPTH_MAX} levels deep");
            return Err(ParseError { position: Position::of(text, token.start), message });
        }
    }
    Ok(())
}

fn is_nesting(text: &str, token: &Token) -> bool {
    let word = token.text(text);
    match token.kind {
        TokenKind::Sign => {
            matches!(word, "+" | "-" | "*" | "/" | "%" | "^" | "==" | "!=" | "<" | ">" | "<=" | ">=" | "[")
        }
        TokenKind::Word => ["and", "or", "unless", "atan2"].iter().any(|known| word.eq_ignore_ascii_case(known)),
        _ => false,
    }
}
