//! The log of a topic: segments of batches, each durable before the next is written.
//!
//! A segment begins with records that say all that came before it, as far as it still counts: it is written beside,
//! made durable and put into place, so that it is there with them or not at all. Then come batches, one frame each.
//! A batch that cannot be written is cut off again: nothing of it stays.
//!
//! A file is open while it is written to or read from, so that topics and segments do not add up to open files.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_disk::{
    Disk, End, FRAME_LEN, HEAD_LEN, RECORD_BYTES_MAX, ScanFailure, number, numbered, put_frame, scan, take_record,
};
use bowline_runtime::fs::{self, File, OpenOptions};
use bytes::Bytes;

use super::record::{FORMAT, Record, read_batch};
use crate::Error;

/// The ending of segment files.
const EXTENSION: &str = "msgs";

/// The most bytes of a batch.
pub(super) const BATCH_BYTES_MAX: usize = RECORD_BYTES_MAX;

/// The largest segment.
const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Where a batch stands, or some of them one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// Behind it.
    pub(super) end: u32,
}

/// All segments of a folder, and the one that is written to.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    disk: Disk,
    segment_bytes: u64,
    /// Oldest first.
    segments: VecDeque<Segment>,
    /// The newest segment's, while it is written to.
    file: Option<File>,
    /// What was written behind the newest segment's end could not be cut off yet.
    is_torn: bool,
    /// The next segment may be there, though it was not begun, and is to be deleted.
    is_half_begun: bool,
}

#[derive(Debug)]
struct Segment {
    id: u32,
    bytes: u64,
    /// Of them, what it began with.
    begun_bytes: u64,
}

impl Log {
    /// Opens or makes the folder, and shows every batch in it, in order. Blocks.
    pub(super) fn open(
        dir: &Path,
        disk: Disk,
        bytes_max: u64,
        mut found: impl FnMut(Place, Vec<Record>),
    ) -> Result<Self, Error> {
        fs::create_private_dir_all(dir).map_err(failed)?;
        let mut log = Self {
            dir: dir.to_owned(),
            disk,
            segment_bytes: segment_bytes(bytes_max),
            segments: VecDeque::new(),
            file: None,
            is_torn: false,
            is_half_begun: false,
        };
        let ids = log.list()?;
        for (at, (id, path)) in ids.iter().enumerate() {
            log.read_segment(*id, path, at + 1 == ids.len(), &mut found)?;
        }
        Ok(log)
    }

    /// How large segments become.
    pub(super) fn set_bytes_max(&mut self, bytes_max: u64) {
        self.segment_bytes = segment_bytes(bytes_max);
    }

    /// The sum of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Whether the next batch begins a segment.
    pub(super) fn is_full(&self) -> bool {
        // What a segment begins with does not count, or a long beginning would be written again and again.
        self.segments
            .back()
            .is_none_or(|newest| newest.bytes >= newest.begun_bytes + self.segment_bytes.max(newest.begun_bytes))
    }

    /// The oldest segment.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.segments.front().map(|segment| segment.id)
    }

    /// The newest segment, which is never deleted.
    pub(super) fn newest(&self) -> Option<u32> {
        self.segments.back().map(|segment| segment.id)
    }

    /// The first segment that stays, if the oldest ones go until so many bytes are free.
    pub(super) fn freed_before(&self, bytes: u64) -> u32 {
        let mut freed = 0;
        let mut stays = self.segments.iter().skip_while(|segment| {
            let does_go = freed < bytes;
            freed += segment.bytes;
            does_go
        });
        stays.next().or(self.segments.back()).map_or(0, |segment| segment.id)
    }

    /// Closes the file that is written to, until it is again.
    pub(super) fn rest(&mut self) {
        self.file = None;
    }

    /// Begins a segment with what has to be said before it. Blocks.
    pub(super) fn begin_segment(&mut self, records: &[Record]) -> Result<(), Error> {
        self.mend()?;
        let (id, path) = self.next_segment();
        let mut content = FORMAT.head().to_vec();
        let mut batch = Vec::new();
        for record in records {
            record.put(&mut batch);
            if batch.len() > BATCH_BYTES_MAX / 2 {
                add_frame(&mut content, id, &batch);
                batch.clear();
            }
        }
        add_frame(&mut content, id, &batch);
        let bytes = content.len() as u64;
        if let Err(error) = self.disk.replace_private(&path, &content) {
            // What is written to the segment before it would be undone by it after a restart.
            self.is_half_begun = true;
            self.mend_or_tell();
            return Err(failed(error));
        }
        self.file = None;
        self.segments.push_back(Segment { id, bytes, begun_bytes: bytes });
        Ok(())
    }

    /// Writes a batch of at most [`BATCH_BYTES_MAX`], durably, or nothing of it; answers where it begins. Blocks.
    pub(super) fn append(&mut self, batch: &[u8]) -> Result<Place, Error> {
        self.mend()?;
        let newest = self.segments.back().expect("a segment was begun");
        let (segment, bytes) = (newest.id, newest.bytes);
        let offset = u32::try_from(bytes).expect("a segment has less than 4 GiB");
        let mut frame = Vec::new();
        put_frame(&mut frame, segment, offset, batch);
        let end = u32::try_from(bytes + frame.len() as u64).expect("a segment has less than 4 GiB");
        let disk = self.disk.clone();
        let file = self.file()?;
        let written = disk.write_at(file, &frame, bytes);
        if let Err(error) = written.and_then(|()| disk.sync(file)) {
            self.is_torn = true;
            self.mend_or_tell();
            return Err(failed(error));
        }
        self.segments.back_mut().expect("a segment was begun").bytes = u64::from(end);
        Ok(Place { segment, offset, end })
    }

    /// The newest segment's file.
    fn file(&mut self) -> Result<&File, Error> {
        let file = if let Some(file) = self.file.take() {
            file
        } else {
            let newest = numbered(&self.dir, self.newest().unwrap_or(0), EXTENSION);
            OpenOptions::new().read(true).write(true).open(newest).map_err(failed)?
        };
        Ok(self.file.insert(file))
    }

    /// Deletes the segments before that one. Blocks.
    pub(super) fn delete_before(&mut self, id: u32) -> Result<(), Error> {
        let mut is_changed = false;
        while self.segments.front().is_some_and(|oldest| oldest.id < id) && self.segments.len() > 1 {
            match self.disk.remove(&numbered(&self.dir, self.segments[0].id, EXTENSION)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                Ok(()) | Err(_) => drop(self.segments.pop_front()),
            }
            is_changed = true;
        }
        if is_changed { self.disk.sync_dir(&self.dir).map_err(failed) } else { Ok(()) }
    }

    fn next_segment(&self) -> (u32, PathBuf) {
        let id = self.newest().map_or(1, |id| id + 1);
        (id, numbered(&self.dir, id, EXTENSION))
    }

    fn mend_or_tell(&mut self) {
        if let Err(error) = self.mend() {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "what was not finished of a log of messages stays"
            );
        }
    }

    /// Takes away what a segment, or a batch, that failed may have left: before that nothing else is written.
    fn mend(&mut self) -> Result<(), Error> {
        if self.is_half_begun {
            match self.disk.remove(&self.next_segment().1) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
                Ok(()) | Err(_) => self.disk.sync_dir(&self.dir).map_err(failed)?,
            }
            self.is_half_begun = false;
        }
        if !self.is_torn {
            return Ok(());
        }
        let Some(bytes) = self.segments.back().map(|newest| newest.bytes) else { return Ok(()) };
        let disk = self.disk.clone();
        let file = self.file()?;
        disk.cut(file, bytes).map_err(failed)?;
        disk.sync(file).map_err(failed)?;
        self.is_torn = false;
        Ok(())
    }

    /// The segments by age; what a crash left unfinished is deleted.
    fn list(&self) -> Result<Vec<(u32, PathBuf)>, Error> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if let Some((id, EXTENSION)) = number(&path) {
                found.push((id, path));
            } else if path.extension().is_some_and(|extension| extension == "new") {
                fs::remove_file(&path).map_err(failed)?;
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    fn read_segment(
        &mut self,
        id: u32,
        path: &Path,
        is_newest: bool,
        found: &mut impl FnMut(Place, Vec<Record>),
    ) -> Result<(), Error> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let mut begun_bytes = 0;
        let show = |offset: u32, batch: &[u8]| {
            let (Ok(records), Some(end)) = (read_batch(batch, None), behind(offset, batch)) else { return false };
            begun_bytes = if begun_bytes == 0 { u64::from(end) } else { begun_bytes };
            found(Place { segment: id, offset, end }, records);
            true
        };
        let scan = scan(FORMAT, id, &file, bytes, show).map_err(|failure| match failure {
            ScanFailure::Io(error) => failed(error),
            ScanFailure::Version(found) => Error::Format { path: path.to_owned(), found, known: FORMAT.version },
        })?;
        // Only the last batch can be unfinished, and nothing stands behind it.
        let is_whole = scan.end == End::Clean || (is_newest && scan.end == End::Torn);
        if !is_whole || scan.valid_bytes < HEAD_LEN as u64 {
            return Err(Error::Corrupt { path: path.to_owned(), offset: scan.valid_bytes });
        }
        if scan.end == End::Torn {
            tracing::warn!(path = %path.display(), bytes_cut = bytes - scan.valid_bytes,
                "cut an unfinished batch off the log of messages");
            self.disk.cut(&file, scan.valid_bytes).map_err(failed)?;
        }
        if is_newest {
            // Whether the last process came to sync it is not known, and what is shown has to stay.
            self.disk.sync(&file).map_err(failed)?;
        }
        self.segments.push_back(Segment { id, bytes: scan.valid_bytes, begun_bytes });
        Ok(())
    }
}

impl Place {
    /// Reads what stands there, of the log in that folder; none, where it was deleted meanwhile. Blocks.
    pub(super) fn read(self, dir: &Path) -> Result<Vec<Record>, Error> {
        let path = numbered(dir, self.segment, EXTENSION);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file.map_err(failed)?,
        };
        let bytes = read_at(file, u64::from(self.offset), (self.end - self.offset) as usize);
        let bytes = bytes.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Corrupt { path: path.clone(), offset: u64::from(self.offset) },
            _ => failed(error),
        })?;
        let (mut records, mut offset) = (Vec::new(), self.offset);
        while offset < self.end {
            let corrupt = |_| Error::Corrupt { path: path.clone(), offset: u64::from(offset) };
            let batch =
                take_record(self.segment, offset, &bytes[(offset - self.offset) as usize..]).map_err(corrupt)?;
            records.extend(read_batch(batch, Some(&bytes)).map_err(corrupt)?);
            offset = behind(offset, batch).ok_or(bowline_disk::Corrupt).map_err(corrupt)?;
        }
        Ok(records)
    }
}

/// So many bytes of a file, into memory that is not zeroed first.
fn read_at(mut file: File, offset: u64, count: usize) -> io::Result<Bytes> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::with_capacity(count);
    if file.take(count as u64).read_to_end(&mut bytes)? < count {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.into())
}

/// Where the frame of a batch ends.
fn behind(offset: u32, batch: &[u8]) -> Option<u32> {
    offset.checked_add(u32::try_from(batch.len() + FRAME_LEN).ok()?)
}

/// A sixteenth of the bound, so that deleting one gives back a part of it only.
fn segment_bytes(bytes_max: u64) -> u64 {
    (bytes_max / 16).min(SEGMENT_BYTES_MAX)
}

fn add_frame(content: &mut Vec<u8>, segment: u32, batch: &[u8]) {
    let offset = u32::try_from(content.len()).expect("what begins a segment has less than 4 GiB");
    put_frame(content, segment, offset, batch);
}

pub(super) fn failed(error: io::Error) -> Error {
    Error::Io(Arc::new(error))
}
