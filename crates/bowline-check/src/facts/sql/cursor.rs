//! Where a scan is in a script, and what stands there.

use bowline_model::problem::Position;

use super::{
    pieces::{Kind, Piece},
    words::OBJECTS,
};

/// How many pieces after `CREATE` or `DROP` it is looked for what is meant.
const OBJECT_AFTER_MAX: usize = 16;

/// A table's name as a key: with what stands before it.
pub(super) type Key = (Option<String>, String);

/// A place in a script.
#[derive(Debug)]
pub(super) struct Cursor<'p> {
    pieces: &'p [Piece],
    /// The piece that is next.
    pub(super) at: usize,
    /// Where the statement began.
    pub(super) began: usize,
}

impl<'p> Cursor<'p> {
    pub(super) fn new(pieces: &'p [Piece]) -> Self {
        Self { pieces, at: 0, began: 0 }
    }

    /// The next piece, and where it is; goes on past it.
    pub(super) fn next(&mut self) -> Option<(usize, &'p Piece)> {
        let at = self.at;
        self.at += 1;
        Some((at, self.pieces.get(at)?))
    }

    pub(super) fn kind_at(&self, at: usize) -> Option<&'p Kind> {
        self.pieces.get(at).map(|piece| &piece.kind)
    }

    /// What stands before it in its statement.
    pub(super) fn kind_before(&self, at: usize) -> Option<&'p Kind> {
        self.kind_at(at.checked_sub(1).filter(|before| *before >= self.began)?)
    }

    pub(super) fn word_at(&self, at: usize) -> Option<&'p str> {
        match self.kind_at(at)? {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn word_before(&self, at: usize) -> Option<&'p str> {
        self.word_at(at.checked_sub(1).filter(|before| *before >= self.began)?)
    }

    /// Goes on past that word, if it is the next.
    pub(super) fn pass(&mut self, word: &str) -> bool {
        self.pass_all(&[word])
    }

    pub(super) fn pass_all(&mut self, words: &[&str]) -> bool {
        let is_next = (self.at..).zip(words).all(|(at, word)| self.word_at(at) == Some(word));
        if is_next {
            self.at += words.len();
        }
        is_next
    }

    /// What is created, altered or dropped; goes on past the word for it.
    pub(super) fn object(&mut self) -> Option<&'p str> {
        let near = self.at..self.at + OBJECT_AFTER_MAX;
        let (at, object) =
            near.map_while(|at| self.kind_at(at).filter(|kind| **kind != Kind::Semicolon).map(|_| at))
                .find_map(|at| self.word_at(at).filter(|word| OBJECTS.contains(word)).map(|word| (at, word)))?;
        self.at = at + 1;
        Some(object)
    }

    /// A name of one part, in small letters.
    pub(super) fn simple(&self, at: usize) -> Option<String> {
        match self.kind_at(at)? {
            Kind::Word(word) => Some(word.to_lowercase()),
            Kind::Quoted(name) => Some(name.clone()),
            _ => None,
        }
    }

    /// The name that begins there: the last two parts, where the last is, and what follows.
    pub(super) fn name(&self, mut at: usize) -> Option<(Key, Position, usize)> {
        let mut key = (None, self.simple(at)?);
        while self.kind_at(at + 1) == Some(&Kind::Dot) {
            let Some(part) = self.simple(at + 2) else { break };
            key = (Some(key.1), part);
            at += 2;
        }
        Some((key, self.pieces[at].position, at + 1))
    }
}
