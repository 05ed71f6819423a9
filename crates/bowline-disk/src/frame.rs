//! The frame of a record: its length (4 bytes), a check of the length (4 bytes), its checksum (8 bytes) and its bytes.
//! Check and checksum are xxh3, seeded with where the record stands. All numbers are little-endian.
//!
//! The length has a check of its own, so that a record that a crash left unfinished is known from its first bytes.

use std::{io, os::unix::fs::FileExt as _};

use bowline_runtime::fs::File;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::Corrupt;

/// How much a frame adds to its record.
pub const FRAME_LEN: usize = 16;

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
    out.extend_from_slice(&length_check(segment, offset, length.to_le_bytes()).to_le_bytes());
    out.extend_from_slice(&checksum(segment, offset, record).to_le_bytes());
    out.extend_from_slice(record);
}

/// Length and checksum; none where the length is not what was written there.
pub(crate) fn decode(segment: u32, offset: u32, frame: [u8; FRAME_LEN]) -> Option<(usize, u64)> {
    let [l0, l1, l2, l3, c0, c1, c2, c3, hash @ ..] = frame;
    let length = [l0, l1, l2, l3];
    let is_good = u32::from_le_bytes([c0, c1, c2, c3]) == length_check(segment, offset, length);
    is_good.then_some((u32::from_le_bytes(length) as usize, u64::from_le_bytes(hash)))
}

fn length_check(segment: u32, offset: u32, length: [u8; 4]) -> u32 {
    let [c0, c1, c2, c3, ..] = checksum(segment, offset, &length).to_le_bytes();
    u32::from_le_bytes([c0, c1, c2, c3])
}

/// Seeded with the place: a good record in the wrong place is as wrong as a bad one.
pub(crate) fn checksum(segment: u32, offset: u32, record: &[u8]) -> u64 {
    xxh3_64_with_seed(record, u64::from(segment) << 32 | u64::from(offset))
}

/// The record whose frame begins there, checked; the bytes are from that place on.
///
/// # Errors
/// [`Corrupt`] where it is not what was written, or not all of it is there.
pub fn take_record(segment: u32, offset: u32, bytes: &[u8]) -> Result<&[u8], Corrupt> {
    let (frame, rest) = bytes.split_first_chunk().ok_or(Corrupt)?;
    let (length, hash) = decode(segment, offset, *frame).ok_or(Corrupt)?;
    let record = rest.get(..length).ok_or(Corrupt)?;
    if checksum(segment, offset, record) == hash { Ok(record) } else { Err(Corrupt) }
}

/// Reads a record back and checks it. Blocks.
///
/// # Errors
/// What the operating system refuses, and damage.
pub fn read_record(file: &File, segment: u32, offset: u32) -> Result<Vec<u8>, ReadFailure> {
    let mut frame = [0; FRAME_LEN];
    file.read_exact_at(&mut frame, u64::from(offset)).map_err(ReadFailure::Io)?;
    let (length, hash) = decode(segment, offset, frame).ok_or(ReadFailure::Corrupt)?;
    if length > RECORD_BYTES_MAX {
        return Err(ReadFailure::Corrupt);
    }
    let mut record = vec![0; length];
    file.read_exact_at(&mut record, u64::from(offset) + FRAME_LEN as u64).map_err(ReadFailure::Io)?;
    if checksum(segment, offset, &record) == hash { Ok(record) } else { Err(ReadFailure::Corrupt) }
}
