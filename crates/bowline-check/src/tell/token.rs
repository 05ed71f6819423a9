//! Where what begins at a place of a text ends: a key, a string, a list, a word, in TOML and in SQL alike.

/// How many characters the token that begins at a column has: at least 1 within the line, 0 at its end and beyond.
///
/// Columns count from 1, in characters. A string or a list that does not end on the line ends with it.
pub(super) fn width(line: &str, column: usize) -> usize {
    let rest: Vec<char> = line.trim_end().chars().skip(column.saturating_sub(1)).collect();
    match rest.first() {
        None => 0,
        Some('"' | '\'' | '`') => quoted(&rest),
        Some('[' | '{' | '(') => bracketed(&rest),
        Some(first) => {
            let is_number = first.is_ascii_digit();
            let is_of_it = |letter: &&char| is_word(**letter) || (is_number && **letter == '.');
            rest.iter().take_while(is_of_it).count().max(1)
        }
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '-'
}

/// A string, its quotes included.
fn quoted(rest: &[char]) -> usize {
    let quote = rest[0];
    let mut is_escaped = false;
    for (at, letter) in rest.iter().enumerate().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if quote == '"' => is_escaped = true,
            letter if *letter == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// From a bracket to the one that closes it; brackets in strings are none.
fn bracketed(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(letter) = rest.get(at) {
        match letter {
            '"' | '\'' | '`' => {
                at += quoted(&rest[at..]);
                continue;
            }
            '[' | '{' | '(' => depth += 1,
            ']' | '}' | ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of the line is underlined where `^` marks the beginning.
    #[track_caller]
    fn check(marked: &str, expected: &str) {
        let column = marked.chars().position(|letter| letter == '^').unwrap() + 1;
        let line = marked.replacen('^', "", 1);
        let found: String = line.chars().skip(column - 1).take(width(&line, column)).collect();
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
        assert_eq!(width("a = 1\r", 6), 0);
        assert_eq!(width("a", usize::MAX), 0);
        assert_eq!(width("", 0), 0);
    }
}
