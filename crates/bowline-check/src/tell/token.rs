//! Where what begins at a place of a text ends: a key, a string, a list, a word, in TOML and in SQL alike.

use std::str::Chars;

/// How many characters the token has that a text begins with, on its first and only line: 0 where nothing but space
/// is left.
///
/// A string or a list that does not end on the line ends with it. It takes time by the token, not by the line.
pub(super) fn width(rest: &str) -> usize {
    let first = rest.chars().next().filter(|first| !first.is_whitespace() || !rest.trim_start().is_empty());
    match first {
        None => 0,
        Some('"' | '\'' | '`') => quoted(&mut rest.chars()).unwrap_or_else(|| to_its_end(rest)),
        Some('[' | '{' | '(') => bracketed(rest).unwrap_or_else(|| to_its_end(rest)),
        Some(first) => {
            let is_number = first.is_ascii_digit();
            let is_of_it = |letter: &char| is_word(*letter) || (is_number && *letter == '.');
            rest.chars().take_while(is_of_it).count().max(1)
        }
    }
}

fn to_its_end(rest: &str) -> usize {
    rest.trim_end().chars().count()
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '-'
}

/// A string, its quotes included; none where it does not end.
fn quoted(letters: &mut Chars<'_>) -> Option<usize> {
    let quote = letters.next()?;
    let (mut is_escaped, mut count) = (false, 1);
    for letter in letters {
        count += 1;
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if quote == '"' => is_escaped = true,
            letter if letter == quote => return Some(count),
            _ => {}
        }
    }
    None
}

/// From a bracket to the one that closes it; brackets in strings are none.
fn bracketed(rest: &str) -> Option<usize> {
    let (mut depth, mut count) = (0_usize, 0);
    let mut letters = rest.chars();
    loop {
        let mut from_here = letters.clone();
        match letters.next()? {
            '"' | '\'' | '`' => {
                count += quoted(&mut from_here)?;
                letters = from_here;
                continue;
            }
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        count += 1;
        if depth == 0 {
            return Some(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of the line is underlined where `^` marks the beginning.
    #[track_caller]
    fn check(marked: &str, expected: &str) {
        let column = marked.chars().position(|letter| letter == '^').unwrap() + 1;
        let rest: String = marked.chars().skip(column).collect();
        let found: String = rest.chars().take(width(&rest)).collect();
        assert_eq!(found, expected, "{marked}");
    }

    #[test]
    fn tokens_end_where_they_do_in_toml() {
        check("[service.^order.calls.user]", "order");
        check("^replicas = 2", "replicas");
        check("timeout = ^\"800ms\" # not enough", "\"800ms\"");
        check(r#"data = ["sqlite:a.db", ^"sqlite:\"b.db"]"#, r#""sqlite:\"b.db""#);
        check("data = ^[\"a]\", 'b'] # both", "[\"a]\", 'b']");
        check("data = ^[\"a\",", "[\"a\",");
        check("retry = ^{ attempts_max = 3, list = [1] } # x", "{ attempts_max = 3, list = [1] }");
        check("share = ^0.25 # x", "0.25");
        check("bad = ^\"never ends", "\"never ends");
        check("größe^=1", "=");
        check("^größe-1=1", "größe-1");
    }

    #[test]
    fn tokens_end_where_they_do_in_sql() {
        check("INSERT INTO ^payments(id) VALUES (1)", "payments");
        check("FROM ^\"Order Lines\" AS l", "\"Order Lines\"");
        check("FROM ^`payments`;", "`payments`");
        check("FROM ^[Order Lines];", "[Order Lines]");
        check("FROM ^shop.payments;", "shop");
    }

    #[test]
    fn a_place_beyond_the_line_has_no_width() {
        check("a = 1^", "");
        assert_eq!([width("\r"), width(" \t "), width("")], [0, 0, 0]);
        assert_eq!([width("  x"), width("\"ab \r"), width("[ab \r")], [1, 3, 3]);
    }
}
