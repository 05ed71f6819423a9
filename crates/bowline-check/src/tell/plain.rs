//! Texts that others may have written, made fit to be shown: bounded, and without what a terminal obeys.

/// The most characters of one message, label or help that are shown.
const SHOWN_MAX: usize = 2000;

/// The text in one line: blanks for tabs and ends of lines, `\u{fffd}` for other control characters, `…` where it is
/// cut off.
pub(super) fn line(text: &str) -> String {
    bounded(text.chars().map(|letter| if letter == '\n' { ' ' } else { shown(letter) }))
}

/// The text in as many lines as it has, else as [`line`].
pub(super) fn lines(text: &str) -> String {
    bounded(text.trim_end().chars().map(|letter| if letter == '\n' { letter } else { shown(letter) }))
}

/// What stands for a character; one for one, so that columns stay what they are.
pub(super) fn shown(letter: char) -> char {
    match letter {
        '\t' => ' ',
        // What turns the direction of writing hides what is said as well as a control character does.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => '\u{fffd}',
        _ if letter.is_control() => '\u{fffd}',
        _ => letter,
    }
}

fn bounded(letters: impl Iterator<Item = char>) -> String {
    let mut letters = letters;
    let mut text: String = letters.by_ref().take(SHOWN_MAX).collect();
    if letters.next().is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_it_obeys() {
        let evil = "a\x1b[2J\tb\u{9b}2J\u{202e}c\nd\r";
        assert_eq!(line(evil), "a\u{fffd}[2J b\u{fffd}2J\u{fffd}c d\u{fffd}");
        assert_eq!(lines(evil), "a\u{fffd}[2J b\u{fffd}2J\u{fffd}c\nd");
        let long = line(&"é".repeat(SHOWN_MAX + 1));
        assert_eq!(long.chars().count(), SHOWN_MAX + 1);
        assert!(long.ends_with("é…"));
    }
}
