//! The files: segments of records, the oldest of which goes when there are too many bytes or records. Everything here
//! blocks.
//!
//! **Whatever is left is the end of the log**: what is deleted is deleted from its beginning, one segment after the
//! other, so that no value outlives the record that says that it is gone.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bowline_disk::{Disk, End, FRAME_LEN, HEAD_LEN, LockFailure, ScanFailure, lock, number, numbered, put_frame, scan};
use bowline_runtime::{
    fs::{self, File},
    time,
};

use super::record::{FORMAT, Record};
use crate::{Feed, Mark};

/// The ending of segment files.
const EXTENSION: &str = "cache";

/// How many segments the bytes are spread over: so much of them goes at once.
const SEGMENTS: u64 = 8;

/// The largest segment: each has a file open.
const SEGMENT_BYTES_MAX: u64 = 256 << 20;

/// The most keys that records name.
const KEYS_MAX: usize = 500_000;

/// For how long segments are read when the folder is opened; those that are older than what was read by then go.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// Where a value stands, and from when until when it is fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) place: Place,
    pub(super) put_unix: u64,
    pub(super) fresh_unix: u64,
}

/// What it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) bytes_max: u64,
    keys_max: usize,
    open_within: Duration,
}

/// All segments, the oldest first; the last is written to.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    disk: Disk,
    bounds: Bounds,
    segments: VecDeque<Segment>,
    next: u32,
    marks: BTreeMap<Feed, Mark>,
    /// Keeps other processes out.
    _lock: File,
}

#[derive(Debug)]
struct Segment {
    id: u32,
    file: Arc<File>,
    bytes: u32,
    /// How many keys its records name.
    keys: usize,
}

/// What a segment says.
enum Read {
    Whole(Contents),
    /// A crash has left it before it began with its marks: there is nothing else in it.
    Unfinished,
    Damaged,
}

struct Contents {
    segment: Segment,
    /// What it says last of each key; none where that is gone.
    known: BTreeMap<String, Option<Known>>,
    marks: BTreeMap<Feed, Mark>,
}

impl Bounds {
    pub(super) fn of(bytes_max: u64) -> Self {
        Self { bytes_max, keys_max: KEYS_MAX, open_within: OPEN_WITHIN }
    }
}

impl Log {
    /// Opens the folder; with it, where what is kept of each key stands. What cannot be read is deleted, all of it.
    ///
    /// The newest segments are read first, so that it takes no longer than it may.
    pub(super) fn open(dir: &Path, disk: Disk, bounds: Bounds) -> io::Result<(Self, BTreeMap<String, Known>)> {
        fs::create_private_dir_all(dir)?;
        let (segments, marks) = (VecDeque::new(), BTreeMap::new());
        let mut log = Self { dir: dir.to_owned(), disk, bounds, segments, next: 1, marks, _lock: locked(dir)? };
        let mut ids = list(dir)?;
        log.next = ids.last().map_or(Some(1), |last| last.checked_add(1)).ok_or(io::ErrorKind::InvalidData)?;
        let (mut said, begin) = (BTreeMap::new(), time::now());
        while let Some(id) = ids.pop() {
            if !log.segments.is_empty() && begin.elapsed() >= log.bounds.open_within {
                remove(dir, &log.disk, &[ids, vec![id]].concat())?;
                break;
            }
            match log.read(id)? {
                Read::Whole(Contents { segment, known, marks }) => {
                    if log.segments.is_empty() {
                        log.marks = marks;
                    }
                    log.segments.push_front(segment);
                    for (key, known) in known {
                        said.entry(key).or_insert(known);
                    }
                }
                Read::Unfinished => remove(dir, &log.disk, &[id])?,
                Read::Damaged => {
                    log.clear(Vec::new())?;
                    return Ok((log, BTreeMap::new()));
                }
            }
        }
        Ok((log, said.into_iter().filter_map(|(key, known)| Some((key, known?))).collect()))
    }

    fn read(&self, id: u32) -> io::Result<Read> {
        let file = fs::private_options().read(true).write(true).open(numbered(&self.dir, id, EXTENSION))?;
        let bytes = file.metadata()?.len();
        let (mut known, mut marks, mut keys) = (BTreeMap::new(), None::<BTreeMap<_, _>>, 0);
        let scanned = scan(FORMAT, id, &file, bytes, |offset, record| {
            let Ok(record) = Record::decode(record) else { return false };
            keys += keys_of(&record);
            match (record, &mut marks) {
                (Record::Begin { marks: all }, none) => *none = Some(all.into_iter().collect()),
                (Record::Put { key, put_unix, fresh_unix, .. }, Some(_)) => {
                    let place = Place { segment: id, offset };
                    _ = known.insert(key, Some(Known { place, put_unix, fresh_unix }));
                }
                (Record::Gone { keys, applied }, Some(marks)) => {
                    known.extend(keys.into_iter().map(|key| (key, None)));
                    marks.extend(applied);
                }
                (Record::Put { .. } | Record::Gone { .. }, None) => return false,
            }
            true
        });
        let scan = match scanned {
            Ok(scan) => scan,
            Err(ScanFailure::Io(error)) => return Err(error),
            Err(ScanFailure::Version(_)) => return Ok(Read::Damaged),
        };
        // Only what was written last can be unfinished.
        let is_good = scan.end == End::Clean || scan.end == End::Torn && self.segments.is_empty();
        Ok(match (is_good, marks, u32::try_from(scan.valid_bytes)) {
            (true, Some(marks), Ok(valid)) => {
                self.disk.cut(&file, scan.valid_bytes)?;
                let segment = Segment { id, file: Arc::new(file), bytes: valid, keys };
                Read::Whole(Contents { segment, known, marks })
            }
            (true, None, _) if self.segments.is_empty() => Read::Unfinished,
            _ => Read::Damaged,
        })
    }

    fn note(&mut self, record: &Record) {
        if let Record::Gone { applied: Some((feed, mark)), .. } = record {
            self.marks.insert(feed.clone(), mark.clone());
        }
    }

    /// Up to where each feed was applied.
    pub(super) fn marks(&self) -> &BTreeMap<Feed, Mark> {
        &self.marks
    }

    /// The segments that can be read from.
    pub(super) fn files(&self) -> BTreeMap<u32, Arc<File>> {
        self.segments.iter().map(|segment| (segment.id, Arc::clone(&segment.file))).collect()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.bytes)).sum()
    }

    fn keys(&self) -> usize {
        self.segments.iter().map(|segment| segment.keys).sum()
    }

    /// Writes records, durably, and says where they stand; deletes the oldest segments that are too many.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<Vec<Place>> {
        let mut places = Vec::with_capacity(records.len());
        let mut out = Vec::new();
        let segment_bytes = (self.bounds.bytes_max / SEGMENTS).min(SEGMENT_BYTES_MAX);
        let segment_keys = self.bounds.keys_max.div_ceil(usize::try_from(SEGMENTS).unwrap_or(1));
        for record in records {
            let encoded = record.encode();
            let full = |segment: &Segment| {
                u64::from(segment.bytes) + out.len() as u64 >= segment_bytes || segment.keys >= segment_keys
            };
            if self.segments.back().is_none_or(full) {
                self.write(&mut out)?;
                self.begin()?;
            }
            let segment = self.segments.back_mut().expect("one has begun");
            segment.keys += keys_of(record);
            let offset = segment.bytes + u32::try_from(out.len()).expect("a segment is small");
            put_frame(&mut out, segment.id, offset, &encoded);
            places.push(Place { segment: segment.id, offset });
            self.note(record);
        }
        self.write(&mut out)?;
        while (self.bytes() > self.bounds.bytes_max || self.keys() > self.bounds.keys_max) && self.segments.len() > 1 {
            self.remove_oldest()?;
        }
        Ok(places)
    }

    /// Deletes everything, and begins with these marks.
    pub(super) fn clear(&mut self, marks: Vec<(Feed, Mark)>) -> io::Result<()> {
        self.segments.clear();
        remove(&self.dir, &self.disk, &list(&self.dir)?)?;
        self.marks = marks.into_iter().collect();
        self.begin()
    }

    fn remove_oldest(&mut self) -> io::Result<()> {
        match self.segments.pop_front() {
            Some(segment) => remove(&self.dir, &self.disk, &[segment.id]),
            None => Ok(()),
        }
    }

    /// Begins a segment, which says what those before it said of feeds.
    fn begin(&mut self) -> io::Result<()> {
        let id = self.next;
        let path = numbered(&self.dir, id, EXTENSION);
        let file = fs::private_options().read(true).write(true).create(true).truncate(true).open(path)?;
        self.next = id.checked_add(1).ok_or(io::ErrorKind::InvalidData)?;
        let mut out = FORMAT.head().to_vec();
        let marks = self.marks.iter().map(|(feed, mark)| (feed.clone(), mark.clone())).collect();
        put_frame(&mut out, id, u32::try_from(HEAD_LEN).expect("it is short"), &Record::Begin { marks }.encode());
        self.segments.push_back(Segment { id, file: Arc::new(file), bytes: 0, keys: 0 });
        self.write(&mut out)?;
        self.disk.sync_dir(&self.dir)
    }

    /// Writes what was framed for the end of the newest segment.
    fn write(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        let Some(segment) = self.segments.back_mut().filter(|_| !out.is_empty()) else { return Ok(()) };
        self.disk.write_at(&segment.file, out, u64::from(segment.bytes))?;
        self.disk.sync(&segment.file)?;
        segment.bytes += u32::try_from(out.len()).expect("a segment is small");
        out.clear();
        Ok(())
    }
}

/// Deletes what is in a folder, unless another process has it.
pub(super) fn discard(dir: &Path, disk: &Disk) -> io::Result<()> {
    let _lock = locked(dir)?;
    remove(dir, disk, &list(dir)?)?;
    disk.sync_dir(dir)
}

fn locked(dir: &Path) -> io::Result<File> {
    lock(dir).map_err(|failure| match failure {
        LockFailure::Locked => io::Error::new(io::ErrorKind::ResourceBusy, "another process has the folder"),
        LockFailure::Io { source, .. } => source,
    })
}

/// The segments of a folder, the oldest first.
fn list(dir: &Path) -> io::Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(dir)? {
        if let Some((id, EXTENSION)) = number(&entry?.path()) {
            ids.push(id);
        }
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Deletes segments, the oldest of which is the first; none after one that cannot be deleted.
fn remove(dir: &Path, disk: &Disk, ids: &[u32]) -> io::Result<()> {
    ids.iter().try_for_each(|id| disk.remove(&numbered(dir, *id, EXTENSION)))
}

/// How many keys a record names.
fn keys_of(record: &Record) -> usize {
    match record {
        Record::Put { .. } => 1,
        Record::Gone { keys, .. } => keys.len().max(1),
        Record::Begin { .. } => 0,
    }
}

/// What a record takes.
pub(super) fn bytes_of(key: &str, value: &[u8]) -> usize {
    FRAME_LEN + 32 + key.len() + value.len()
}

#[cfg(test)]
mod tests;
