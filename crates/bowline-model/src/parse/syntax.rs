//! TOML itself: the spanned tree of a text, or every fault of its syntax.

use toml::{Spanned, de::DeTable};
use toml_parser::{Source, lexer::TokenKind};

use super::{file::File, value::in_ticks};

/// The most parts of a dotted key, as ours have; the parser recurses over each when it lets go.
const KEY_PARTS_MAX: usize = 8;

/// What toml says of a key that is there already; the rest of such a tree is sound.
const DUPLICATE: &str = "duplicate key";

/// The tree of the file, unless its syntax is broken; what is broken is noted.
pub(super) fn read<'a>(file: &File<'a>) -> Option<Spanned<DeTable<'a>>> {
    if has_deep_keys(file) {
        return None;
    }
    let (tree, mut errors) = DeTable::parse_recoverable(file.text);
    // Its grammar finds some, its values others: they come in two sequences.
    errors.sort_by_key(|error| error.span().map(|span| (span.start, span.end)));
    let (duplicates, faults): (Vec<_>, Vec<_>) = errors.iter().partition(|error| error.message() == DUPLICATE);
    for duplicate in duplicates {
        let span = duplicate.span().unwrap_or_default();
        let key = file.text.get(span.clone()).unwrap_or_default();
        file.fault(span, format!("{} is there twice", in_ticks(key)), "keep one of them");
    }
    let mut last_end = None;
    for fault in &faults {
        let span = fault.span().unwrap_or_default();
        if !last_end.replace(span.end).is_some_and(|end| is_same_slip(file.text, end, span.start)) {
            let (message, help) = told(fault.message());
            file.fault(span, message, help);
        }
    }
    faults.is_empty().then_some(tree)
}

/// Whether two faults are so near that one slip broke several rules; it is told once.
fn is_same_slip(text: &str, last_end: usize, start: usize) -> bool {
    const GAP_MAX: usize = 2;
    start <= last_end + GAP_MAX && !text.get(last_end..start).unwrap_or_default().contains('\n')
}

/// What toml's words mean, and what to do.
fn told(words: &str) -> (String, String) {
    const NUMBERS: [&str; 5] =
        ["invalid float", "invalid mantissa", "invalid fraction", "invalid exponent", "invalid integer number"];
    let (what, expected) = words.split_once(", expected ").unwrap_or((words, ""));
    let (message, help) = match (what, expected) {
        ("string values must be quoted", _) => (what, "put it in quotes: \"…\""),
        (_, "`\"`" | "`'`") if what.ends_with("string") => ("the string has no end", "close it"),
        _ if NUMBERS.contains(&what) => ("this is not a number", "put text in quotes: \"…\""),
        (_, "nothing") => (what, "remove it"),
        (_, "") => (what, "see https://toml.io for how TOML is written"),
        _ => return (what.to_owned(), format!("expected {expected}")),
    };
    (message.to_owned(), help.to_owned())
}

/// Notes dotted keys that nest deeper than any of ours.
fn has_deep_keys(file: &File<'_>) -> bool {
    let mut parts = 1;
    let mut is_deep = false;
    for token in Source::new(file.text).lex() {
        match token.kind() {
            TokenKind::Dot => {
                parts += 1;
                if parts == KEY_PARTS_MAX + 1 {
                    is_deep = true;
                    let span = token.span();
                    file.fault(span.start()..span.end(), "the key nests too deep", "no key has more than eight parts");
                }
            }
            TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString | TokenKind::Whitespace => {}
            _ => parts = 1,
        }
    }
    is_deep
}
