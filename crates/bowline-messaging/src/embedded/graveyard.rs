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
    shelf::weight,
};
use crate::{Error, PAGE_BYTES_MAX, delivery::Position, port::DeadLetter};

/// All dead letters of a topic.
#[derive(Debug)]
pub(super) struct Graveyard {
    log: Log,
    bytes_max: u64,
    next: Position,
    dir: Arc<Path>,
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
                        letters.insert(letter.position, Grave { place, group, of });
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
        Ok(Self { log, bytes_max, next, dir: dir.into(), letters, known })
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

    /// Where letters stand, and in which folder, so that they are read while others are buried.
    pub(super) fn places(&self, positions: impl Iterator<Item = Position>) -> Places {
        let place = |position| Some((position, self.letters.get(&position)?.place));
        Places { dir: self.dir.clone(), places: positions.filter_map(place).collect() }
    }

    /// Puts letters here, durably, of at most a batch's bytes; nothing happens to those that are here already. Blocks.
    pub(super) fn bury(&mut self, letters: Vec<DeadLetter>) -> Result<(), Error> {
        let is_new = |letter: &DeadLetter| !self.known.contains(&(letter.group.clone(), letter.message.position));
        let letters = letters.into_iter().filter(is_new).zip(self.next..);
        let letters: Vec<_> = letters.map(|(letter, position)| DeadLetter { position, ..letter }).collect();
        if letters.is_empty() {
            return Ok(());
        }
        if self.log.bytes() > self.bytes_max {
            return Err(Error::Full { topic: "dead letters".to_owned(), by: None });
        }
        let records: Vec<Record> = letters.into_iter().map(Record::Dead).collect();
        let place = self.write(&records)?;
        for record in records {
            let Record::Dead(DeadLetter { position, group, message, .. }) = record else { continue };
            self.known.insert((group.clone(), message.position));
            self.letters.insert(position, Grave { place, group, of: message.position });
            self.next = position + 1;
        }
        Ok(())
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
        let place = self.log.append(&batch);
        self.log.rest();
        place
    }
}

/// Where letters stand.
pub(super) struct Places {
    dir: Arc<Path>,
    places: Vec<(Position, Place)>,
}

impl Places {
    /// Reads letters until they are more than a page's bytes, one at least; and which one comes then. Blocks.
    pub(super) fn read(&self) -> Result<(Vec<DeadLetter>, Option<Position>), Error> {
        let (mut letters, mut bytes) = (Vec::new(), 0);
        let mut batch: Option<(Place, BTreeMap<Position, DeadLetter>)> = None;
        for (position, place) in &self.places {
            if batch.as_ref().is_none_or(|(read, _)| read != place) {
                batch = Some((*place, read(&self.dir, *place)?));
            }
            let letter = batch.as_mut().and_then(|(_, letters)| letters.remove(position));
            bytes += letter.as_ref().map_or(0, |letter| weight(&letter.message));
            if bytes > PAGE_BYTES_MAX && !letters.is_empty() {
                return Ok((letters, Some(*position)));
            }
            letters.extend(letter);
        }
        Ok((letters, None))
    }
}

fn read(dir: &Path, place: Place) -> Result<BTreeMap<Position, DeadLetter>, Error> {
    let letters = place.read(dir)?.into_iter().filter_map(|record| match record {
        Record::Dead(letter) => Some((letter.position, letter)),
        _ => None,
    });
    Ok(letters.collect())
}

/// A graveyard that is lent to a thread that may block.
pub(super) type Shared = Arc<std::sync::Mutex<Graveyard>>;
