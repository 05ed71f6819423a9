//! The dead letters of a topic: a log of their own, so that what is kept of the topic does not depend on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use bowline_disk::Disk;

use super::{
    log::{Log, Place},
    record::Record,
};
use crate::{Error, delivery::Position, port::DeadLetter};

/// All dead letters of a topic.
#[derive(Debug)]
pub(super) struct Graveyard {
    log: Log,
    bytes_max: u64,
    next: Position,
    letters: BTreeMap<Position, Grave>,
    /// Groups and positions of what is here, so that nothing is buried twice.
    known: BTreeSet<(String, Position)>,
}

#[derive(Debug)]
struct Grave {
    place: Place,
    group: String,
    of: Position,
}

impl Graveyard {
    /// Opens or makes the folder. Blocks.
    pub(super) fn open(dir: &Path, disk: Disk, bytes_max: u64) -> Result<Self, Error> {
        let (mut next, mut letters, mut known) = (1, BTreeMap::new(), BTreeSet::new());
        let log = Log::open(dir, disk, bytes_max, |place, records| {
            for record in records {
                match record {
                    Record::Began { next: began } => next = next.max(began),
                    Record::Dead(letter) => {
                        next = next.max(letter.position + 1);
                        known.insert((letter.group.clone(), letter.message.position));
                        let (group, of) = (letter.group, letter.message.position);
                        letters.insert(letter.position, Grave { place: place.clone(), group, of });
                    }
                    Record::Raised { position } => {
                        if let Some(Grave { group, of, .. }) = letters.remove(&position) {
                            known.remove(&(group, of));
                        }
                    }
                    _ => {}
                }
            }
        })?;
        Ok(Self { log, bytes_max, next, letters, known })
    }

    pub(super) fn set_bytes_max(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
        self.log.set_bytes_max(bytes_max);
    }

    pub(super) fn count(&self) -> u64 {
        self.letters.len() as u64
    }

    /// Positions after that one, the oldest first.
    pub(super) fn after(&self, position: Position) -> impl Iterator<Item = Position> {
        self.letters.range(position.saturating_add(1)..).map(|(position, _)| *position)
    }

    /// Puts a letter here, durably; nothing happens where it is here already. Blocks.
    pub(super) fn bury(&mut self, letter: DeadLetter) -> Result<(), Error> {
        let of = (letter.group.clone(), letter.message.position);
        if self.known.contains(&of) {
            return Ok(());
        }
        if self.log.bytes() > self.bytes_max {
            return Err(Error::Full { topic: "dead letters".to_owned(), by: None });
        }
        let letter = DeadLetter { position: self.next, ..letter };
        let place = self.write(&[Record::Dead(letter)])?;
        self.letters.insert(self.next, Grave { place, group: of.0.clone(), of: of.1 });
        self.known.insert(of);
        self.next += 1;
        Ok(())
    }

    /// Reads letters back. Blocks.
    pub(super) fn read(&self, positions: &[Position]) -> Result<Vec<DeadLetter>, Error> {
        let mut letters = Vec::new();
        for position in positions {
            let Some(grave) = self.letters.get(position) else { continue };
            letters.extend(grave.place.read()?.into_iter().filter_map(|record| match record {
                Record::Dead(letter) if letter.position == *position => Some(letter),
                _ => None,
            }));
        }
        Ok(letters)
    }

    /// Takes letters away, durably; how many there were. Blocks.
    pub(super) fn raise(&mut self, positions: &[Position]) -> Result<usize, Error> {
        let here: Vec<Position> =
            positions.iter().copied().filter(|position| self.letters.contains_key(position)).collect();
        for some in here.chunks(1024) {
            let records: Vec<Record> = some.iter().map(|position| Record::Raised { position: *position }).collect();
            self.write(&records)?;
            for position in some {
                if let Some(Grave { group, of, .. }) = self.letters.remove(position) {
                    self.known.remove(&(group, of));
                }
            }
        }
        // What was raised is forgotten with the segments that it stands in, once all before them were.
        let stays = self.letters.values().map(|grave| grave.place.segment).min().or(self.log.newest());
        self.log.delete_before(stays.unwrap_or(0))?;
        Ok(here.len())
    }

    fn write(&mut self, records: &[Record]) -> Result<Place, Error> {
        if self.log.is_full() {
            self.log.begin_segment(&[Record::Began { next: self.next }])?;
        }
        let mut batch = Vec::new();
        for record in records {
            record.put(&mut batch);
        }
        self.log.append(&batch)
    }
}

/// A graveyard that is lent to a thread that may block.
pub(super) type Shared = Arc<std::sync::Mutex<Graveyard>>;
