//! Reads a segment from its beginning, as far as it makes sense.

use std::{
    io::{self, BufReader, Read as _, Seek as _},
    os::unix::fs::FileExt as _,
};

use bowline_runtime::fs::File;

use crate::{
    frame::{self, FRAME_LEN, RECORD_BYTES_MAX},
    head::{FileHead, Format, HEAD_LEN},
};

const FRAME_BYTES: u64 = FRAME_LEN as u64;
const HEAD_BYTES: u64 = HEAD_LEN as u64;

/// How far a segment makes sense, and what comes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scan {
    /// How many bytes make sense.
    pub valid_bytes: u64,
    /// What comes after them.
    pub end: End,
}

/// What comes after the last good record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    Clean,
    /// The last record, not all of it, or zeros: a crash while it was written.
    Torn,
    /// A bad record with more behind it: damage.
    Corrupt,
}

const BUFFER_BYTES: usize = 256 * 1024;
/// How much is checksummed in search of good records behind a bad one: only what has a good length is, so that next to
/// nothing of it is needed. Where it is not enough, nothing is cut.
const SEARCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A segment cannot be read; damage is none of it.
#[derive(Debug)]
pub enum ScanFailure {
    /// The operating system refused.
    Io(io::Error),
    /// It was written by another release, with that version.
    Version(u32),
}

/// Shows each good record, with its offset, to `found`, which answers whether it makes sense.
///
/// # Errors
/// A version that is not ours, and the system's refusals; damage is no error.
pub fn scan(
    format: Format,
    segment: u32,
    mut file: &File,
    bytes: u64,
    mut found: impl FnMut(u32, &[u8]) -> bool,
) -> Result<Scan, ScanFailure> {
    file.rewind()?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut head = [0; HEAD_LEN];
    if bytes < HEAD_BYTES {
        return Ok(Scan { valid_bytes: 0, end: End::Torn });
    }
    reader.read_exact(&mut head)?;
    match format.read(&head) {
        FileHead::Known => {}
        FileHead::Version(version) => return Err(ScanFailure::Version(version)),
        FileHead::Corrupt => return Ok(Scan { valid_bytes: 0, end: End::Corrupt }),
    }
    let mut record = Vec::new();
    let mut valid_bytes = HEAD_BYTES;
    loop {
        let offset = u32::try_from(valid_bytes).ok();
        match (next_record(&mut reader, segment, offset, bytes - valid_bytes, &mut record)?, offset) {
            (Next::Record, Some(offset)) if found(offset, &record) => {
                valid_bytes += FRAME_BYTES + record.len() as u64;
            }
            (Next::Record, _) => return Ok(Scan { valid_bytes, end: End::Corrupt }),
            (Next::End(end), _) => return Ok(Scan { valid_bytes, end }),
        }
    }
}

impl From<io::Error> for ScanFailure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

enum Next {
    Record,
    End(End),
}

fn next_record(
    reader: &mut BufReader<&File>,
    segment: u32,
    offset: Option<u32>,
    bytes_left: u64,
    record: &mut Vec<u8>,
) -> io::Result<Next> {
    if bytes_left == 0 {
        return Ok(Next::End(End::Clean));
    }
    if bytes_left < FRAME_BYTES {
        return Ok(Next::End(End::Torn));
    }
    let Some(offset) = offset else { return Ok(Next::End(End::Corrupt)) };
    let mut head = [0; FRAME_LEN];
    reader.read_exact(&mut head)?;
    let record_left = bytes_left - FRAME_BYTES;
    let Some((length, hash)) = frame::decode(segment, offset, head) else {
        // Zeros, or a frame that was not written whole, which only the last one can be.
        let is_last = record_left <= RECORD_BYTES_MAX as u64
            && !may_have_record_behind(segment, offset, reader.get_ref(), bytes_left)?;
        return Ok(Next::End(if is_last || is_zero(head, reader)? { End::Torn } else { End::Corrupt }));
    };
    if length == 0 || length > RECORD_BYTES_MAX {
        return Ok(Next::End(End::Corrupt));
    }
    if length as u64 > record_left {
        return Ok(Next::End(End::Torn));
    }
    record.resize(length, 0);
    reader.read_exact(record)?;
    if frame::checksum(segment, offset, record) == hash {
        return Ok(Next::Record);
    }
    Ok(Next::End(if length as u64 == record_left { End::Torn } else { End::Corrupt }))
}

/// Whether there is a good record behind a frame whose length is not what was written: then that is damage.
fn may_have_record_behind(segment: u32, offset: u32, file: &File, bytes_left: u64) -> io::Result<bool> {
    let mut tail = vec![0; usize::try_from(bytes_left).expect("a record fits into memory")];
    file.read_exact_at(&mut tail, u64::from(offset))?;
    let mut search_bytes_left = SEARCH_BYTES_MAX;
    for at in 1..tail.len().saturating_sub(FRAME_LEN) {
        let (head, rest) = tail[at..].split_first_chunk().expect("at is a whole frame before the end");
        // It fits: the tail is no further from the segment's beginning than 32 bits reach.
        let Some(place) = u32::try_from(at).ok().and_then(|at| offset.checked_add(at)) else { return Ok(false) };
        let Some((length, hash)) = frame::decode(segment, place, *head) else { continue };
        let Some(record) = rest.get(..length).filter(|record| !record.is_empty()) else { continue };
        let Some(left) = search_bytes_left.checked_sub(length) else { return Ok(true) };
        search_bytes_left = left;
        if frame::checksum(segment, place, record) == hash {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the rest is zeros: space that a file system had given and a crash left unwritten.
fn is_zero(head: [u8; FRAME_LEN], reader: &mut BufReader<&File>) -> io::Result<bool> {
    let mut is_zero = head.iter().all(|byte| *byte == 0);
    let mut buffer = [0; 4096];
    while is_zero {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        is_zero = buffer[..count].iter().all(|byte| *byte == 0);
    }
    Ok(is_zero)
}
