//! The head of a segment and the frame of a record.

use std::{io, os::unix::fs::FileExt as _};

use bowline_runtime::fs::File;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    files::{self, FileHead, HEAD_LEN},
    traces::codec::VERSION,
};

/// The head of a segment.
pub(super) const HEAD_BYTES: u64 = HEAD_LEN as u64;
/// Length and checksum of a record.
pub(super) const FRAME_BYTES: u64 = FRAME_LEN as u64;
pub(super) const FRAME_LEN: usize = 12;
/// The longest record: more is damage, and is never allocated for.
pub(crate) const RECORD_BYTES_MAX: usize = 4 * 1024 * 1024;

const MAGIC: [u8; 8] = *b"bwltrace";

/// A record cannot be read back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFailure {
    #[error("cannot read the trace segment")]
    Io(#[source] io::Error),
    #[error("the record's checksum is wrong")]
    Corrupt,
}

pub(super) fn encode_head() -> [u8; HEAD_LEN] {
    files::encode_head(MAGIC, VERSION)
}

pub(super) fn decode_head(head: &[u8; HEAD_LEN]) -> FileHead {
    files::decode_head(head, MAGIC, VERSION)
}

/// A record with its frame, for that place.
pub(super) fn encode(segment: u32, offset: u32, record: &[u8]) -> Vec<u8> {
    let length = u32::try_from(record.len()).expect("records are at most 4 MiB");
    let mut frame = Vec::with_capacity(record.len() + FRAME_LEN);
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&checksum(segment, offset, record).to_le_bytes());
    frame.extend_from_slice(record);
    frame
}

/// Length and checksum.
pub(super) fn decode(frame: [u8; FRAME_LEN]) -> (usize, u64) {
    let [l0, l1, l2, l3, hash @ ..] = frame;
    (u32::from_le_bytes([l0, l1, l2, l3]) as usize, u64::from_le_bytes(hash))
}

/// Seeded with the place: a good record in the wrong place is as wrong as a bad one.
pub(super) fn checksum(segment: u32, offset: u32, record: &[u8]) -> u64 {
    xxh3_64_with_seed(record, u64::from(segment) << 32 | u64::from(offset))
}

/// Reads a record back and checks it. Blocks.
pub(crate) fn read_record(file: &File, segment: u32, offset: u32) -> Result<Vec<u8>, ReadFailure> {
    let mut frame = [0; FRAME_LEN];
    file.read_exact_at(&mut frame, u64::from(offset)).map_err(ReadFailure::Io)?;
    let (length, hash) = decode(frame);
    if length > RECORD_BYTES_MAX {
        return Err(ReadFailure::Corrupt);
    }
    let mut record = vec![0; length];
    file.read_exact_at(&mut record, u64::from(offset) + FRAME_BYTES).map_err(ReadFailure::Io)?;
    if checksum(segment, offset, &record) == hash { Ok(record) } else { Err(ReadFailure::Corrupt) }
}
