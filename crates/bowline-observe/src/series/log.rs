//! The log of a generation: what the head holds, so that a crash does not take it.
//!
//! A file begins with a head of 16 bytes; a frame is a length (4 bytes), a checksum (8 bytes, xxh3 seeded
//! with where it stands) and a body: 0 and a record, or 1, the record's length and the record as zstd.
//!
//! What is not durable yet stays in memory: when a write or a sync fails, the next flush writes all of it
//! again, to the same place. So no frame is ever missing before another.

use std::{
    io::{self, BufReader, Read as _, Seek as _},
    path::{Path, PathBuf},
};

use bowline_disk::{Disk, FileHead, Format, HEAD_LEN, Reader, numbered, put_count};
use bowline_runtime::fs::{self, File, OpenOptions};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::series::{
    Error,
    record::{self, Listener},
};

/// The ending of log files.
pub(crate) const EXTENSION: &str = "log";
/// This layout, and what is in a record.
const FORMAT: Format = Format { magic: *b"bwlserlg", version: 1 };

const FRAME_LEN: usize = 12;
/// The longest record; a longer one is damage, and is never allocated for.
const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Shorter records are not compressed.
const COMPRESSED_MIN: usize = 256;
const LEVEL: i32 = 1;
const BUFFER_BYTES: usize = 256 * 1024;

/// A log that is written to.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) id: u32,
    pub(crate) path: PathBuf,
    file: File,
    /// How much is on disk for sure.
    durable_bytes: u64,
    /// What comes after it.
    pending: Vec<u8>,
    /// How long the file may be.
    extent: u64,
    is_dir_dirty: bool,
}

/// How far a log made sense, and what comes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing.
    Clean,
    /// A frame, not all of it, or zeros: a crash while it was written.
    Torn,
    /// Something else: damage.
    Corrupt,
}

impl Log {
    /// Makes an empty log; nothing is written before it is flushed.
    pub(crate) fn create(dir: &Path, id: u32) -> Result<Self, Error> {
        let path = path(dir, id);
        let create = fs::private_options().read(true).write(true).create_new(true).open(&path);
        let file = create.map_err(Error::io("create", &path))?;
        let pending = FORMAT.head().to_vec();
        Ok(Self { id, path, file, durable_bytes: 0, pending, extent: 0, is_dir_dirty: true })
    }

    /// Reads a log; what came after its last good frame is cut off.
    pub(crate) fn open(dir: &Path, id: u32, disk: &Disk, listener: &mut impl Listener) -> Result<(Self, End), Error> {
        let path = path(dir, id);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(Error::io("open", &path))?;
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        let (good_bytes, end) = scan(id, &path, &file, length, listener)?;
        if good_bytes < length && end == End::Torn {
            disk.cut(&file, good_bytes).map_err(Error::io("cut", &path))?;
        }
        let extent = if end == End::Corrupt { length } else { good_bytes };
        let pending = if good_bytes == 0 { FORMAT.head().to_vec() } else { Vec::new() };
        // Whether the last process came to sync it is not known; the next flush does.
        Ok((Self { id, path, file, durable_bytes: good_bytes, pending, extent, is_dir_dirty: true }, end))
    }

    /// Its length when everything is flushed.
    pub(crate) fn bytes(&self) -> u64 {
        self.durable_bytes + self.pending.len() as u64
    }

    /// How long the file may be now.
    pub(crate) fn extent(&self) -> u64 {
        self.extent
    }

    /// By how much the file grows with the next flush.
    pub(crate) fn growth(&self) -> u64 {
        self.bytes().saturating_sub(self.extent)
    }

    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Adds a record, to be flushed.
    pub(crate) fn push(&mut self, record: &[u8]) {
        let body = encode_body(record);
        let length = u32::try_from(body.len()).expect("records are at most a few MiB");
        let hash = checksum(self.id, self.bytes(), &body);
        self.pending.extend_from_slice(&length.to_le_bytes());
        self.pending.extend_from_slice(&hash.to_le_bytes());
        self.pending.extend_from_slice(&body);
    }

    /// Makes everything survive a power loss.
    pub(crate) fn flush(&mut self, disk: &Disk) -> Result<(), Error> {
        if self.pending.is_empty() && !self.is_dir_dirty {
            return Ok(());
        }
        self.extent = self.extent.max(self.bytes());
        disk.write_at(&self.file, &self.pending, self.durable_bytes).map_err(Error::io("write", &self.path))?;
        disk.sync(&self.file).map_err(Error::io("sync", &self.path))?;
        if self.is_dir_dirty {
            let dir = self.path.parent().unwrap_or(Path::new("."));
            disk.sync_dir(dir).map_err(Error::io("sync", dir))?;
            self.is_dir_dirty = false;
        }
        self.durable_bytes = self.bytes();
        self.pending.clear();
        self.pending.shrink_to(BUFFER_BYTES);
        Ok(())
    }
}

/// The path of a generation's log.
pub(crate) fn path(dir: &Path, id: u32) -> PathBuf {
    numbered(dir, id, EXTENSION)
}

fn encode_body(record: &[u8]) -> Vec<u8> {
    if record.len() >= COMPRESSED_MIN
        && let Ok(compressed) = zstd::bulk::compress(record, LEVEL)
        && compressed.len() < record.len()
    {
        let mut body = vec![1];
        put_count(&mut body, record.len());
        body.extend_from_slice(&compressed);
        return body;
    }
    [&[0], record].concat()
}

fn decode_body(body: &[u8]) -> Option<Vec<u8>> {
    let (kind, rest) = body.split_first()?;
    if *kind == 0 {
        return Some(rest.to_vec());
    }
    let mut reader = Reader(rest);
    let length = reader.index().ok().filter(|length| *kind == 1 && *length <= RECORD_BYTES_MAX)?;
    zstd::bulk::decompress(reader.0, length).ok().filter(|record| record.len() == length)
}

/// Seeded with the place: a good frame in the wrong place is as wrong as a bad one.
fn checksum(id: u32, offset: u64, body: &[u8]) -> u64 {
    xxh3_64_with_seed(body, u64::from(id) << 40 ^ offset)
}

fn scan(id: u32, path: &Path, mut file: &File, length: u64, listener: &mut impl Listener) -> Result<(u64, End), Error> {
    if length < HEAD_LEN as u64 {
        return Ok((0, if length == 0 { End::Clean } else { End::Torn }));
    }
    file.rewind().map_err(Error::io("read", path))?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut head = [0; HEAD_LEN];
    reader.read_exact(&mut head).map_err(Error::io("read", path))?;
    match FORMAT.read(&head) {
        FileHead::Known => {}
        FileHead::Version(found) => return Err(Error::Version { path: path.to_owned(), found, known: FORMAT.version }),
        FileHead::Corrupt if head == [0; HEAD_LEN] => return Ok((0, End::Torn)),
        FileHead::Corrupt => return Ok((0, End::Corrupt)),
    }
    let mut at = HEAD_LEN as u64;
    loop {
        match next_body(&mut reader, id, at, length - at).map_err(Error::io("read", path))? {
            Next::Body(body) => {
                let record = decode_body(&body);
                if record.is_none_or(|record| record::read(&record, listener).is_err()) {
                    return Ok((at, End::Corrupt));
                }
                at += (FRAME_LEN + body.len()) as u64;
            }
            Next::End(end) => return Ok((at, end)),
        }
    }
}

enum Next {
    Body(Vec<u8>),
    End(End),
}

fn next_body(reader: &mut BufReader<&File>, id: u32, at: u64, left: u64) -> io::Result<Next> {
    if left == 0 {
        return Ok(Next::End(End::Clean));
    }
    if left < FRAME_LEN as u64 {
        return Ok(Next::End(End::Torn));
    }
    let mut frame = [0; FRAME_LEN];
    reader.read_exact(&mut frame)?;
    let [l0, l1, l2, l3, hash @ ..] = frame;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let body_left = left - FRAME_LEN as u64;
    if length == 0 || length > RECORD_BYTES_MAX {
        let is_torn = frame == [0; FRAME_LEN] && is_zero(reader)?;
        return Ok(Next::End(if is_torn { End::Torn } else { End::Corrupt }));
    }
    if length as u64 > body_left {
        return Ok(Next::End(End::Torn));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if checksum(id, at, &body) == u64::from_le_bytes(hash) {
        return Ok(Next::Body(body));
    }
    Ok(Next::End(if length as u64 == body_left { End::Torn } else { End::Corrupt }))
}

/// Whether the rest is zeros: space that a file system had given and a crash left unwritten.
fn is_zero(reader: &mut BufReader<&File>) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            return Ok(true);
        }
        if buffer[..count].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
}
