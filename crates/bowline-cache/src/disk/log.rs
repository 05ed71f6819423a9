//! The files: segments of records, the oldest of which goes when there are too many bytes. Everything here blocks.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_disk::{Disk, End, FRAME_LEN, HEAD_LEN, LockFailure, ScanFailure, lock, number, numbered, put_frame, scan};
use bowline_runtime::fs::{self, File};

use super::record::{FORMAT, Record};
use crate::{Feed, Mark};

/// The ending of segment files.
const EXTENSION: &str = "cache";

/// How many segments the bytes are spread over: so much of them goes at once.
const SEGMENTS: u64 = 8;

/// The largest segment.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

/// All segments, the oldest first; the last is written to.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    disk: Disk,
    bytes_max: u64,
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
}

impl Log {
    /// Opens the folder, and shows every record in it, in order. What cannot be read is deleted, all of it.
    pub(super) fn open(
        dir: &Path,
        disk: Disk,
        bytes_max: u64,
        mut found: impl FnMut(Option<(Place, Record)>),
    ) -> io::Result<Self> {
        fs::create_private_dir_all(dir)?;
        let lock = lock(dir).map_err(|failure| match failure {
            LockFailure::Locked => io::Error::new(io::ErrorKind::ResourceBusy, "another process has the folder"),
            LockFailure::Io { source, .. } => source,
        })?;
        let (segments, marks) = (VecDeque::new(), BTreeMap::new());
        let mut log = Self { dir: dir.to_owned(), disk, bytes_max, segments, next: 1, marks, _lock: lock };
        let ids = log.list()?;
        log.next = ids.last().map_or(1, |last| last + 1);
        let is_good =
            ids.iter().try_fold(true, |is_good, id| Ok::<_, io::Error>(is_good && log.read(*id, &mut found)?))?;
        if !is_good {
            found(None);
            log.clear(Vec::new())?;
        }
        Ok(log)
    }

    fn list(&self) -> io::Result<Vec<u32>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            if let Some((id, EXTENSION)) = number(&entry?.path()) {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    /// Reads a segment; false where it makes no sense.
    fn read(&mut self, id: u32, found: &mut impl FnMut(Option<(Place, Record)>)) -> io::Result<bool> {
        let path = numbered(&self.dir, id, EXTENSION);
        let file = fs::private_options().read(true).write(true).open(&path)?;
        let bytes = file.metadata()?.len();
        let scanned = scan(FORMAT, id, &file, bytes, |offset, record| match Record::decode(record) {
            Ok(record) => {
                self.note(&record);
                found(Some((Place { segment: id, offset }, record)));
                true
            }
            Err(_) => false,
        });
        let scan = match scanned {
            Ok(scan) => scan,
            Err(ScanFailure::Io(error)) => return Err(error),
            Err(ScanFailure::Version(_)) => return Ok(false),
        };
        let (End::Clean | End::Torn, Ok(valid)) = (&scan.end, u32::try_from(scan.valid_bytes)) else {
            return Ok(false);
        };
        self.disk.cut(&file, scan.valid_bytes)?;
        self.segments.push_back(Segment { id, file: Arc::new(file), bytes: valid });
        Ok(true)
    }

    fn note(&mut self, record: &Record) {
        match record {
            Record::Gone { applied: Some((feed, mark)), .. } => _ = self.marks.insert(feed.clone(), mark.clone()),
            Record::Begin { marks } => self.marks = marks.iter().cloned().collect(),
            Record::Put { .. } | Record::Gone { applied: None, .. } => {}
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

    /// Writes records, durably, and says where they stand; deletes the oldest segments that are too many.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<Vec<Place>> {
        let mut places = Vec::with_capacity(records.len());
        let mut out = Vec::new();
        for record in records {
            let encoded = record.encode();
            let segment_bytes = (self.bytes_max / SEGMENTS).min(SEGMENT_BYTES_MAX);
            let full = |segment: &Segment| u64::from(segment.bytes) + out.len() as u64 >= segment_bytes;
            if self.segments.back().is_none_or(full) {
                self.write(&mut out)?;
                self.begin()?;
            }
            let segment = self.segments.back().expect("one has begun");
            let offset = segment.bytes + u32::try_from(out.len()).expect("a segment is small");
            put_frame(&mut out, segment.id, offset, &encoded);
            places.push(Place { segment: segment.id, offset });
            self.note(record);
        }
        self.write(&mut out)?;
        while self.bytes() > self.bytes_max && self.segments.len() > 1 {
            self.remove_oldest()?;
        }
        Ok(places)
    }

    /// Deletes everything, and begins with these marks.
    pub(super) fn clear(&mut self, marks: Vec<(Feed, Mark)>) -> io::Result<()> {
        // The newest first: what is left after a crash is what was there before, as far as it goes.
        while let Some(segment) = self.segments.pop_back() {
            self.disk.remove(&numbered(&self.dir, segment.id, EXTENSION))?;
        }
        for id in self.list()? {
            self.disk.remove(&numbered(&self.dir, id, EXTENSION))?;
        }
        self.marks = marks.into_iter().collect();
        self.begin()
    }

    fn remove_oldest(&mut self) -> io::Result<()> {
        match self.segments.pop_front() {
            Some(segment) => self.disk.remove(&numbered(&self.dir, segment.id, EXTENSION)),
            None => Ok(()),
        }
    }

    /// Begins a segment, which says what those before it said of feeds.
    fn begin(&mut self) -> io::Result<()> {
        let id = self.next;
        let path = numbered(&self.dir, id, EXTENSION);
        let file = fs::private_options().read(true).write(true).create(true).truncate(true).open(path)?;
        self.next += 1;
        let mut out = FORMAT.head().to_vec();
        let marks = self.marks.iter().map(|(feed, mark)| (feed.clone(), mark.clone())).collect();
        put_frame(&mut out, id, u32::try_from(HEAD_LEN).expect("it is short"), &Record::Begin { marks }.encode());
        self.segments.push_back(Segment { id, file: Arc::new(file), bytes: 0 });
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

/// What a record takes.
pub(super) fn bytes_of(key: &str, value: &[u8]) -> usize {
    FRAME_LEN + 16 + key.len() + value.len()
}
