//! What follows a series on its line: the value, the time, the exemplar.

use super::{Broken, LINE_BYTES_MAX, Reading, labels};

/// Integers of so many digits are exact as a floating-point number.
const DIGITS_MAX: usize = 15;

/// `VALUE [MILLISECONDS]`, and how many bytes it took with the line's end.
pub(super) fn read_text_tail(tail: &[u8]) -> Result<(Reading, usize), Broken> {
    let at = skip_blanks(tail, 0);
    let (value, at) = token(tail, at);
    let value = parse_value(value)?;
    let at = skip_blanks(tail, at);
    let (time, at) = token(tail, at);
    let at_ms = if time.is_empty() { None } else { Some(parse_millis(time)?) };
    let at = skip_blanks(tail, at);
    Ok((Reading { value, at_ms, has_exemplar: false }, end_of_line(tail, at)?))
}

/// ` VALUE [SECONDS] [# {LABELS} VALUE [SECONDS]]`, and how many bytes it took with the line's end.
pub(super) fn read_open_metrics_tail(tail: &[u8]) -> Result<(Reading, usize), Broken> {
    let (value, at) = spaced(tail, 0).ok_or("a value follows after a space")?;
    let value = parse_value(value)?;
    let (at_ms, at) = read_seconds(tail, at)?;
    let (has_exemplar, at) = match tail.get(at..) {
        Some([b' ', b'#', ..]) => (true, skip_exemplar(tail, at + 2)?),
        _ => (false, at),
    };
    Ok((Reading { value, at_ms, has_exemplar }, end_of_line(tail, at)?))
}

/// Checks ` {LABELS} VALUE [SECONDS]`; where it ends.
fn skip_exemplar(tail: &[u8], at: usize) -> Result<usize, Broken> {
    const RULE: Broken = "an exemplar is ` # {LABELS} VALUE`";
    let line = tail.get(at..).unwrap_or_default().split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line.strip_prefix(b" ").ok_or(RULE)?).map_err(|_| RULE)?;
    if line.len() > LINE_BYTES_MAX || !line.starts_with('{') {
        return Err(RULE);
    }
    let length = labels::braces_length(line)?;
    labels::read_braces(&line[..length], |_, _| {})?;
    let at = at + 1 + length;
    let (value, at) = spaced(tail, at).ok_or(RULE)?;
    parse_value(value)?;
    read_seconds(tail, at).map(|(_, at)| at)
}

/// A time in seconds, if there is one.
fn read_seconds(tail: &[u8], at: usize) -> Result<(Option<i64>, usize), Broken> {
    match (tail.get(at..), spaced(tail, at)) {
        (Some([b' ', b'#', ..]), _) | (_, None) => Ok((None, at)),
        (_, Some((time, at))) => Ok((Some(parse_seconds(time)?), at)),
    }
}

/// What stands after one space, if that is there; where it ends.
fn spaced(tail: &[u8], at: usize) -> Option<(&[u8], usize)> {
    (tail.get(at) == Some(&b' ')).then(|| token(tail, at + 1))
}

fn skip_blanks(tail: &[u8], at: usize) -> usize {
    let rest = tail.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// The bytes up to a blank or the line's end, and where that is.
fn token(tail: &[u8], at: usize) -> (&[u8], usize) {
    let rest = tail.get(at..).unwrap_or_default();
    let length = rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n')).unwrap_or(rest.len());
    (rest.get(..length).unwrap_or_default(), at + length)
}

fn end_of_line(tail: &[u8], at: usize) -> Result<usize, Broken> {
    match tail.get(at) {
        None => Ok(at),
        Some(b'\n') => Ok(at + 1),
        Some(_) => Err("nothing follows the time"),
    }
}

/// A number as both formats have it: decimal, or a sign and `Inf`, or `NaN`.
pub(super) fn parse_value(text: &[u8]) -> Result<f64, Broken> {
    const RULE: Broken = "the value is not a number";
    if let Some(value) = parse_digits(text) {
        return Ok(value);
    }
    if text.is_empty() {
        return Err("the value is missing");
    }
    let text = std::str::from_utf8(text).map_err(|_| RULE)?;
    let value: f64 = text.parse().map_err(|_| RULE)?;
    if value.is_nan() {
        // Its bits say nothing else: least of all that the series ended.
        return if text.eq_ignore_ascii_case("nan") { Ok(f64::NAN) } else { Err(RULE) };
    }
    if value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit()) {
        return Err("the value is too large");
    }
    Ok(value)
}

/// A plain integer, which most values are.
fn parse_digits(text: &[u8]) -> Option<f64> {
    if text.is_empty() || text.len() > DIGITS_MAX {
        return None;
    }
    let mut number = 0_u64;
    for byte in text {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    #[expect(clippy::cast_precision_loss, reason = "integers of 15 digits are exact")]
    let value = number as f64;
    Some(value)
}

fn parse_millis(text: &[u8]) -> Result<i64, Broken> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or("the time is not in milliseconds")
}

/// Seconds as milliseconds.
fn parse_seconds(text: &[u8]) -> Result<i64, Broken> {
    /// The latest time that is read, in seconds since 1970; the earliest is as far before.
    const SECONDS_MAX: f64 = 9e12;
    match parse_value(text) {
        Ok(seconds) if seconds.abs() <= SECONDS_MAX => {
            #[expect(clippy::cast_possible_truncation, reason = "it was checked to fit")]
            let millis = (seconds * 1000.0).round() as i64;
            Ok(millis)
        }
        _ => Err("the time is not in seconds"),
    }
}
