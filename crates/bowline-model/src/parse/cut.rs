//! The route table cut out of a whole `bowline.toml`, as it was written.

use toml_parser::{
    Source,
    lexer::{Token, TokenKind},
};

use super::schema;
use crate::problem::without_mark;

/// A header with what stands below it, or a `key = value` at the root.
#[derive(Debug)]
struct Section {
    /// Whether it belongs to the route table.
    is_kept: bool,
    /// Where it begins, the comments above it included.
    start: usize,
}

/// The sections `[gateway]`, `[auth.X]` and `[[route]]` of a `bowline.toml`, with their comments and their
/// layout: a text that [`routes`](super::routes) reads as the same table.
///
/// A comment belongs to what follows it, unless a blank line parts the two and none parts it from what is
/// before it. A text that [`parse`](super::parse()) refuses gives a text of no meaning.
pub fn routes_text(text: &str) -> String {
    let text = without_mark(text);
    let sections = sections(text);
    let ends = sections.iter().skip(1).map(|section| section.start).chain([text.len()]);
    let mut kept = String::new();
    for (section, end) in sections.iter().zip(ends).filter(|(section, _)| section.is_kept) {
        kept.push_str(&text[section.start..end]);
    }
    let kept = kept.trim_start_matches(['\n', '\r']).trim_end();
    if kept.is_empty() { String::new() } else { format!("{kept}\n") }
}

fn sections(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut is_below_header = false;
    // Where the next section begins, as far as is known.
    let mut start = 0;
    let mut is_parted = true;
    for line in lines(text) {
        match line.kind {
            Kind::Header { is_kept } | Kind::Value { is_kept } => {
                let is_header = matches!(line.kind, Kind::Header { .. });
                if is_header || !is_below_header {
                    sections.push(Section { is_kept, start });
                    is_below_header = is_header;
                }
                (start, is_parted) = (line.end, false);
            }
            // What stood before this line was the end of the section before.
            Kind::Blank if !is_parted => (start, is_parted) = (line.start, true),
            Kind::Blank | Kind::Comment => {}
        }
    }
    sections
}

/// A line, or more where a value goes on in further ones.
#[derive(Debug)]
struct Line {
    kind: Kind,
    start: usize,
    /// After its line break.
    end: usize,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Blank,
    Comment,
    /// `[header]` or `[[header]]`.
    Header {
        is_kept: bool,
    },
    /// `key = value`.
    Value {
        is_kept: bool,
    },
}

fn lines(text: &str) -> Vec<Line> {
    let source = Source::new(text);
    let mut lines = Vec::new();
    let (mut start, mut depth) = (0, 0_usize);
    let (mut first, mut key) = (None, None);
    for token in source.lex() {
        let kind = token.kind();
        match kind {
            TokenKind::Newline if depth > 0 => continue,
            TokenKind::Newline | TokenKind::Eof => {
                let end = token.span().end();
                if end > start {
                    lines.push(Line { kind: kind_of(first.take(), key.take(), source), start, end });
                }
                start = end;
                continue;
            }
            TokenKind::Whitespace => continue,
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => depth += 1,
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => depth = depth.saturating_sub(1),
            TokenKind::Atom | TokenKind::BasicString | TokenKind::LiteralString => drop(key.get_or_insert(token)),
            _ => {}
        }
        first.get_or_insert(kind);
    }
    lines
}

/// What a line is, by its first token and its first key.
fn kind_of(first: Option<TokenKind>, key: Option<Token>, source: Source<'_>) -> Kind {
    let mut name = String::new();
    if let Some(key) = key.and_then(|key| source.get(key)) {
        key.decode_key(&mut name, &mut ());
    }
    let is_kept = schema::ROUTE_TABLE.key(&name).is_some();
    match first {
        None => Kind::Blank,
        Some(TokenKind::Comment) => Kind::Comment,
        Some(TokenKind::LeftSquareBracket) => Kind::Header { is_kept },
        Some(_) => Kind::Value { is_kept },
    }
}
