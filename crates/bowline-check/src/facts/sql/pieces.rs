//! A script as the few kinds of pieces that tell where tables are named.

use bowline_model::problem::Position;
use sqlparser::{
    dialect::{self, GenericDialect, MsSqlDialect, MySqlDialect, PostgreSqlDialect, SQLiteDialect},
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer, TokenizerError, Whitespace},
};

use super::{Dialect, Error};

/// A piece of a script, and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) kind: Kind,
    pub(super) position: Position,
}

/// What a piece is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A word without quotes, in capitals: a keyword, or a name.
    Word(String),
    /// A name in quotes, in small letters.
    Quoted(String),
    Open,
    Close,
    Comma,
    Dot,
    Semicolon,
    /// A comment by which a tool tells what makes from what undoes it: whether what follows undoes.
    Turn {
        is_undo: bool,
    },
    /// A string, a number, an operator: never part of a name.
    Other,
}

/// How comments begin that tell what makes from what undoes it: of dbmate, goose and sql-migrate.
const TURNS: [&str; 3] = ["migrate:", "+goose ", "+migrate "];

/// Splits a script; white space is left out, and so are comments that no tool reads.
pub(super) fn split(text: &str, dialect: Dialect) -> Result<Vec<Piece>, Error> {
    let tokens = tokens(text, dialect)
        .map_err(|TokenizerError { message, location }| Error::Text { position: position(location), message })?;
    let is_read = |token: &TokenWithSpan| !matches!(token.token, Token::Whitespace(_)) || turn(&token.token).is_some();
    let mut tokens = tokens.into_iter().filter(is_read).peekable();
    let mut pieces = Vec::new();
    while let Some(TokenWithSpan { token, span }) = tokens.next() {
        let kind = match token {
            Token::Word(word) if word.quote_style.is_none() => Kind::Word(word.value.to_ascii_uppercase()),
            Token::Word(word) => Kind::Quoted(word.value.to_lowercase()),
            // Where brackets are not quotes to the dialect, what they hold may still be a name.
            Token::LBracket => match tokens.next_if(|next| matches!(next.token, Token::Word(_))) {
                Some(TokenWithSpan { token: Token::Word(word), .. }) => {
                    tokens.next_if(|next| next.token == Token::RBracket);
                    Kind::Quoted(word.value.to_lowercase())
                }
                _ => Kind::Other,
            },
            Token::LParen => Kind::Open,
            Token::RParen => Kind::Close,
            Token::Comma => Kind::Comma,
            Token::Period => Kind::Dot,
            Token::SemiColon => Kind::Semicolon,
            other => turn(&other).map_or(Kind::Other, |is_undo| Kind::Turn { is_undo }),
        };
        pieces.push(Piece { kind, position: position(span.start) });
    }
    Ok(pieces)
}

/// Whether what follows a comment undoes what was made; absent: it is no such comment.
fn turn(token: &Token) -> Option<bool> {
    let Token::Whitespace(Whitespace::SingleLineComment { comment, .. }) = token else { return None };
    let comment = comment.trim().to_ascii_lowercase();
    let way = TURNS.iter().find_map(|begin| comment.strip_prefix(begin))?;
    match way.split_whitespace().next()? {
        "up" => Some(false),
        "down" => Some(true),
        _ => None,
    }
}

/// The dialect's tokens; where it stumbles, those of a dialect that takes what it can.
fn tokens(text: &str, dialect: Dialect) -> Result<Vec<TokenWithSpan>, TokenizerError> {
    let by = |dialect: &dyn dialect::Dialect| Tokenizer::new(dialect, text).tokenize_with_location();
    let tokens = match dialect {
        Dialect::Sqlite => by(&SQLiteDialect {}),
        Dialect::Postgres => by(&PostgreSqlDialect {}),
        Dialect::Mysql => by(&MySqlDialect {}),
        Dialect::SqlServer => by(&MsSqlDialect {}),
        Dialect::Any => return by(&GenericDialect {}),
    };
    // The error of the dialect that is meant is the one that is told.
    tokens.or_else(|error| by(&GenericDialect {}).map_err(|_| error))
}

fn position(Location { line, column }: Location) -> Position {
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
    Position { line: count(line), column: count(column) }
}
