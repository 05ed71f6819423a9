//! The frame of a record: its length (4 bytes), its checksum (8 bytes, xxh3 seeded with where it stands) and its
//! bytes. All numbers are little-endian.

use std::{io, os::unix::fs::FileExt as _};

use bowline_runtime::fs::File;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How much a frame adds to its record.
pub const FRAME_LEN: usize = 12;

/// The longest record: more is damage, and is never allocated for.
pub const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A record cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadFailure {
    /// The operating system refused.
    #[error("cannot read the segment")]
    Io(#[source] io::Error),
    /// It is not what was written.
    #[error("the record's checksum is wrong")]
    Corrupt,
}

/// Adds a record with its frame, for that place.
///
/// # Panics
/// On a record longer than [`RECORD_BYTES_MAX`].
pub fn put_frame(out: &mut Vec<u8>, segment: u32, offset: u32, record: &[u8]) {
    assert!(record.len() <= RECORD_BYTES_MAX, "a record has at most {RECORD_BYTES_MAX} bytes");
    let length = u32::try_from(record.len()).expect("RECORD_BYTES_MAX fits");
    out.reserve(record.len() + FRAME_LEN);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum(segment, offset, record).to_le_bytes());
    out.extend_from_slice(record);
}

/// Length and checksum.
pub(crate) fn decode(frame: [u8; FRAME_LEN]) -> (usize, u64) {
    let [l0, l1, l2, l3, hash @ ..] = frame;
    (u32::from_le_bytes([l0, l1, l2, l3]) as usize, u64::from_le_bytes(hash))
}

/// Seeded with the place: a good record in the wrong place is as wrong as a bad one.
pub(crate) fn checksum(segment: u32, offset: u32, record: &[u8]) -> u64 {
    xxh3_64_with_seed(record, u64::from(segment) << 32 | u64::from(offset))
}

/// Reads a record back and checks it. Blocks.
///
/// # Errors
/// What the operating system refuses, and damage.
pub fn read_record(file: &File, segment: u32, offset: u32) -> Result<Vec<u8>, ReadFailure> {
    let mut frame = [0; FRAME_LEN];
    file.read_exact_at(&mut frame, u64::from(offset)).map_err(ReadFailure::Io)?;
    let (length, hash) = decode(frame);
    if length > RECORD_BYTES_MAX {
        return Err(ReadFailure::Corrupt);
    }
    let mut record = vec![0; length];
    file.read_exact_at(&mut record, u64::from(offset) + FRAME_LEN as u64).map_err(ReadFailure::Io)?;
    if checksum(segment, offset, &record) == hash { Ok(record) } else { Err(ReadFailure::Corrupt) }
}
