//! The files: append-only segments of checksummed records, under a hard cap.
//!
//! A segment begins with a head of 16 bytes: `bwltrace`, the format's version and a check of both. Its records are
//! framed as all are (`bowline-disk`).
//!
//! Traces are not acknowledged data: a write reaches the disk with the next [`Log::sync`], and what
//! a power loss tore is cut off or skipped at open.

use std::{
    collections::VecDeque,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_disk::{
    Disk, End, FRAME_LEN, Format, HEAD_LEN, LockFailure, RECORD_BYTES_MAX, Scan, ScanFailure, number, numbered,
    put_frame, scan,
};
use bowline_runtime::fs::{self, File, OpenOptions};

pub(crate) use bowline_disk::{ReadFailure, read_record};

use crate::traces::{Error, Settings, codec, metrics::Metrics};

/// What a segment is.
const FORMAT: Format = Format { magic: *b"bwltrace", version: codec::VERSION };
const HEAD_BYTES: u64 = HEAD_LEN as u64;
const FRAME_BYTES: u64 = FRAME_LEN as u64;

/// The number of a folder's first segment; those that follow count on, whatever was deleted.
pub(crate) const SEGMENT_FIRST: u32 = 1;
/// The ending of segment files.
const EXTENSION: &str = "spans";
/// How much is written again at a time, after a failed sync.
const REWRITE_BYTES: u64 = 256 * 1024;

/// All segments of a folder, and the one that is written to.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    bytes_max: u64,
    segment_bytes: u64,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// Whether the newest segment takes more records.
    is_open: bool,
    /// Whether a file was made or deleted since the last sync.
    is_dir_dirty: bool,
    bytes: u64,
    next_id: u32,
    disk: Disk,
    metrics: Arc<Metrics>,
    _lock: File,
}

#[derive(Debug)]
struct Segment {
    id: u32,
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    /// How much of it is on disk for sure.
    synced_bytes: u64,
    /// Whether the last sync of it failed.
    is_suspect: bool,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// Hears what the log holds, so that an index can follow it.
pub(crate) trait Follower {
    /// A segment came into being or was found.
    fn opened(&mut self, segment: u32, file: Arc<File>);
    /// A record was found at open; `false` when it makes no sense.
    fn found(&mut self, place: Place, record: &[u8]) -> bool;
    /// A segment is about to be deleted.
    fn deleting(&mut self, segment: u32);
}

impl Log {
    /// Opens or makes the folder, and reads everything in it. Blocks.
    pub(crate) fn open(
        settings: &Settings,
        disk: Disk,
        metrics: Arc<Metrics>,
        follower: &mut impl Follower,
    ) -> Result<Self, Error> {
        let dir = settings.dir.clone();
        fs::create_private_dir_all(&dir).map_err(Error::io("create", &dir))?;
        let lock = lock(&dir)?;
        let mut log = Self {
            dir,
            bytes_max: settings.bytes_max,
            segment_bytes: settings.segment_bytes(),
            segments: VecDeque::new(),
            is_open: false,
            is_dir_dirty: false,
            bytes: 0,
            next_id: SEGMENT_FIRST,
            disk,
            metrics,
            _lock: lock,
        };
        log.find_segments()?;
        // Before reading: a cap that was lowered holds from the first moment.
        log.make_room(0, follower)?;
        log.read_segments(follower)?;
        Ok(log)
    }

    /// The sum of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether something was written that [`Log::sync`] has not made durable.
    pub(crate) fn is_dirty(&self) -> bool {
        self.is_dir_dirty || self.segments.iter().any(Segment::is_dirty)
    }

    /// The longest record that fits.
    pub(crate) fn record_bytes_max(&self) -> usize {
        let segment = usize::try_from(self.segment_bytes - HEAD_BYTES - FRAME_BYTES).unwrap_or(usize::MAX);
        segment.min(RECORD_BYTES_MAX)
    }

    /// Writes a record of at most [`Log::record_bytes_max`]; deletes the oldest segments *before*
    /// the cap would be exceeded. When it fails, nothing of the record stays.
    pub(crate) fn append(&mut self, record: &[u8], follower: &mut impl Follower) -> Result<Place, Error> {
        debug_assert!(record.len() <= self.record_bytes_max());
        let frame_bytes = FRAME_BYTES + record.len() as u64;
        let is_fitting = self.segments.back().is_some_and(|last| last.bytes + frame_bytes <= self.segment_bytes);
        if self.is_open && is_fitting {
            self.make_room(frame_bytes, follower)?;
        } else {
            if let Err(error) = self.sync() {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot sync a full trace segment");
            }
            self.make_room(HEAD_BYTES + frame_bytes, follower)?;
            self.begin_segment(follower)?;
        }
        // Making room never reached the open segment: that one alone is a sixteenth of the cap.
        let last = self.segments.back_mut().expect("a segment was just begun or was open");
        let offset = u32::try_from(last.bytes).expect("segments are at most 1 GiB");
        let mut frame = Vec::new();
        put_frame(&mut frame, last.id, offset, record);
        if let Err(source) = self.disk.write_at(&last.file, &frame, last.bytes) {
            let failed = Error::Io { operation: "write", path: last.path.clone(), source };
            // What was written of it goes; if even that fails, nothing more goes into this file, and
            // what is left there counts.
            self.is_open = self.disk.cut(&last.file, last.bytes).is_ok();
            if !self.is_open {
                let bytes_left = last.file.metadata().map_or(frame_bytes, |file| file.len().saturating_sub(last.bytes));
                last.bytes += bytes_left;
                self.grow(bytes_left);
            }
            return Err(failed);
        }
        last.bytes += frame_bytes;
        let segment = last.id;
        self.grow(frame_bytes);
        Ok(Place { segment, offset })
    }

    /// Makes what was written survive a power loss, in whichever segment it is.
    ///
    /// A segment that fails keeps no other from the disk; it is tried again with the next call.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        let mut synced = Ok(());
        for segment in self.segments.iter_mut().filter(|segment| segment.is_dirty()) {
            synced = synced.and(segment.sync(&self.disk));
        }
        if self.is_dir_dirty {
            let dir = self.disk.sync_dir(&self.dir).map_err(Error::io("sync", &self.dir));
            self.is_dir_dirty = dir.is_err();
            synced = synced.and(dir);
        }
        synced
    }

    fn grow(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.report_bytes();
    }

    fn report_bytes(&self) {
        self.metrics.bytes.set(i64::try_from(self.bytes).unwrap_or(i64::MAX));
    }

    /// Deletes the oldest segments until so many bytes more are within the cap.
    fn make_room(&mut self, bytes: u64, follower: &mut impl Follower) -> Result<(), Error> {
        while self.bytes + bytes > self.bytes_max {
            let Some(oldest) = self.segments.front() else { break };
            follower.deleting(oldest.id);
            match fs::remove_file(&oldest.path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::Io { operation: "delete", path: oldest.path.clone(), source });
                }
                Ok(()) | Err(_) => {}
            }
            self.bytes -= oldest.bytes;
            self.segments.pop_front();
            self.is_open &= !self.segments.is_empty();
            self.is_dir_dirty = true;
            self.metrics.segments_deleted.increment();
        }
        self.report_bytes();
        Ok(())
    }

    fn begin_segment(&mut self, follower: &mut impl Follower) -> Result<(), Error> {
        let id = self.next_id;
        let path = numbered(&self.dir, id, EXTENSION);
        let create = fs::private_options().read(true).write(true).create_new(true).open(&path);
        let file = Arc::new(create.map_err(Error::io("create", &path))?);
        if let Err(source) = self.disk.write_at(&file, &FORMAT.head(), 0) {
            // An empty file costs nothing; the next open deletes what is left of it.
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot delete an unfinished trace segment");
                self.next_id += 1;
            }
            return Err(Error::Io { operation: "write", path, source });
        }
        self.next_id += 1;
        follower.opened(id, Arc::clone(&file));
        self.segments.push_back(Segment { id, path, file, bytes: HEAD_BYTES, synced_bytes: 0, is_suspect: false });
        self.grow(HEAD_BYTES);
        self.is_open = true;
        self.is_dir_dirty = true;
        Ok(())
    }

    /// Lists the segments by age, with their sizes.
    fn find_segments(&mut self) -> Result<(), Error> {
        let failed = |source| Error::Io { operation: "list", path: self.dir.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if let Some((id, EXTENSION)) = number(&path) {
                found.push((id, path));
            }
        }
        found.sort_unstable();
        for (id, path) in found {
            let open = OpenOptions::new().read(true).write(true).open(&path);
            let file = open.map_err(Error::io("open", &path))?;
            let bytes = file.metadata().map_err(Error::io("read", &path))?.len();
            self.bytes += bytes;
            self.next_id = id.saturating_add(1);
            let file = Arc::new(file);
            self.segments.push_back(Segment { id, path, file, bytes, synced_bytes: bytes, is_suspect: false });
        }
        Ok(())
    }

    fn read_segments(&mut self, follower: &mut impl Follower) -> Result<(), Error> {
        let count = self.segments.len();
        for at in 0..count {
            let segment = &self.segments[at];
            follower.opened(segment.id, Arc::clone(&segment.file));
            let id = segment.id;
            let found = |offset, record: &[u8]| follower.found(Place { segment: id, offset }, record);
            let scan = scan(FORMAT, id, &segment.file, segment.bytes, found).map_err(unreadable(&segment.path))?;
            let is_newest = at + 1 == count;
            if is_newest {
                self.is_open = self.mend_newest(scan, follower)?;
            } else if scan.end != End::Clean {
                self.report_corrupt(at, scan);
            }
        }
        self.report_bytes();
        Ok(())
    }

    /// Cuts off what a crash left unfinished; says whether the segment can be written on.
    fn mend_newest(&mut self, scan: Scan, follower: &mut impl Follower) -> Result<bool, Error> {
        let at = self.segments.len() - 1;
        // Whether the last process came to sync it is not known.
        self.segments[at].synced_bytes = 0;
        match scan.end {
            End::Clean => return Ok(true),
            End::Corrupt => {
                self.report_corrupt(at, scan);
                return Ok(false);
            }
            End::Torn => {}
        }
        let segment = &mut self.segments[at];
        let bytes_cut = segment.bytes - scan.valid_bytes;
        tracing::warn!(path = %segment.path.display(), bytes_cut, "cut an unfinished record off the trace store");
        self.metrics.tails_cut.increment();
        self.bytes -= bytes_cut;
        if scan.valid_bytes < HEAD_BYTES {
            // Not even its head was written.
            follower.deleting(segment.id);
            fs::remove_file(&segment.path).map_err(Error::io("delete", &segment.path))?;
            self.segments.pop_back();
            self.is_dir_dirty = true;
            return Ok(false);
        }
        self.disk.cut(&segment.file, scan.valid_bytes).map_err(Error::io("cut", &segment.path))?;
        segment.bytes = scan.valid_bytes;
        Ok(true)
    }

    fn report_corrupt(&self, at: usize, scan: Scan) {
        let segment = &self.segments[at];
        let bytes_skipped = segment.bytes - scan.valid_bytes;
        tracing::error!(path = %segment.path.display(), offset = scan.valid_bytes, bytes_skipped,
            "trace segment is damaged, skipping the rest of it");
        self.metrics.segments_corrupt.increment();
    }
}

impl Segment {
    fn is_dirty(&self) -> bool {
        self.synced_bytes < self.bytes
    }

    fn sync(&mut self, disk: &Disk) -> Result<(), Error> {
        let synced = self.try_sync(disk);
        self.is_suspect = synced.is_err();
        if synced.is_ok() {
            self.synced_bytes = self.bytes;
        }
        synced.map_err(Error::io("sync", &self.path))
    }

    /// After a failed sync the system may hold the lost bytes for written, and answer the next sync
    /// with a yes: they are written again before it.
    fn try_sync(&self, disk: &Disk) -> io::Result<()> {
        let mut at = self.synced_bytes;
        while self.is_suspect && at < self.bytes {
            let length = (self.bytes - at).min(REWRITE_BYTES);
            let mut bytes = vec![0; usize::try_from(length).expect("REWRITE_BYTES fits")];
            self.file.read_exact_at(&mut bytes, at)?;
            disk.write_at(&self.file, &bytes, at)?;
            at += length;
        }
        disk.sync(&self.file)
    }
}

/// Names the segment that cannot be read.
fn unreadable(path: &Path) -> impl FnOnce(ScanFailure) -> Error {
    move |failure| match failure {
        ScanFailure::Io(source) => Error::Io { operation: "read", path: path.to_owned(), source },
        ScanFailure::Version(found) => Error::Version { path: path.to_owned(), found, known: codec::VERSION },
    }
}

/// Takes the folder's lock.
fn lock(dir: &Path) -> Result<File, Error> {
    bowline_disk::lock(dir).map_err(|failure| match failure {
        LockFailure::Locked => Error::Locked { dir: dir.to_owned() },
        LockFailure::Io { path, source } => Error::Io { operation: "lock", path, source },
    })
}

#[cfg(test)]
mod tests;
