//! Refuses durations that cannot be reckoned with; of some the parser crate panics.

use crate::promql::{
    error::{ParseError, Position},
    parse::tokens::{Token, TokenKind},
};

/// The longest duration, in seconds: 100 years of 365 days.
const SECONDS_MAX: f64 = 100.0 * 365.0 * 86_400.0;
/// The longest number before a unit.
const DIGITS_MAX: usize = 9;

pub(super) fn check(text: &str, tokens: &[Token]) -> Result<(), ParseError> {
    let mut is_in_brackets = false;
    let mut is_after_offset = false;
    for token in tokens {
        let rule = match token.kind {
            TokenKind::Number if is_in_brackets || is_after_offset => wrong_number(token.text(text)),
            TokenKind::Duration => wrong_duration(token.text(text)),
            _ => None,
        };
        if let Some(rule) = rule {
            let message = format!("`{}` is no duration: {rule}", token.text(text));
            return Err(ParseError { position: Position::of(text, token.start), message });
        }
        let is_sign = token.is_sign(text, "+") || token.is_sign(text, "-");
        is_after_offset = token.is_word(text, "offset") || (is_after_offset && is_sign);
        is_in_brackets = token.is_sign(text, "[") || (is_in_brackets && !token.is_sign(text, "]"));
    }
    Ok(())
}

/// Why a number cannot be one of seconds.
fn wrong_number(number: &str) -> Option<&'static str> {
    let digits = number.get(..2).filter(|start| start.eq_ignore_ascii_case("0x")).and_then(|_| number.get(2..));
    let seconds = match digits {
        Some(digits) => u32::from_str_radix(digits, 16).ok().map(f64::from),
        None => number.parse::<f64>().ok(),
    };
    let is_reckonable = seconds.is_some_and(|seconds| (0.0..=SECONDS_MAX).contains(&seconds));
    (!is_reckonable).then_some("it must be from 0 to 100 years")
}

/// Why a text of numbers and units is too long.
fn wrong_duration(duration: &str) -> Option<&'static str> {
    let mut seconds = 0.0;
    let mut rest = duration;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(length);
        let Ok(number) = number.parse::<u32>() else { return Some("units are y, w, d, h, m, s and ms, in this order") };
        let Some(unit) = unit_seconds(unit) else { return Some("units are y, w, d, h, m, s and ms, in this order") };
        if digits > DIGITS_MAX {
            return Some("it must be from 0 to 100 years");
        }
        seconds += f64::from(number) * unit;
        rest = after;
    }
    (seconds > SECONDS_MAX).then_some("it must be from 0 to 100 years")
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "y" => 365.0 * 86_400.0,
        "w" => 7.0 * 86_400.0,
        "d" => 86_400.0,
        "h" => 3600.0,
        "m" => 60.0,
        "s" => 1.0,
        "ms" => 0.001,
        _ => return None,
    })
}
