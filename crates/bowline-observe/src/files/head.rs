//! The first 16 bytes of a file: what it is, the format's version, and a check of both.

use xxhash_rust::xxh3::xxh3_64;

/// The length of a file's head.
pub(crate) const HEAD_LEN: usize = 16;

/// What the first bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileHead {
    /// A file that we can read.
    Known,
    /// A file of another release.
    Version(u32),
    /// Not a file of ours, or damaged.
    Corrupt,
}

pub(crate) fn encode_head(magic: [u8; 8], version: u32) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    head[..8].copy_from_slice(&magic);
    head[8..12].copy_from_slice(&version.to_le_bytes());
    let check = head_check(&head);
    head[12..].copy_from_slice(&check);
    head
}

pub(crate) fn decode_head(head: &[u8; HEAD_LEN], magic: [u8; 8], known: u32) -> FileHead {
    if head[..8] != magic || head[12..] != head_check(head) {
        return FileHead::Corrupt;
    }
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if version == known { FileHead::Known } else { FileHead::Version(version) }
}

/// So that a damaged version is not taken for that of another release.
fn head_check(head: &[u8; HEAD_LEN]) -> [u8; 4] {
    let hash = xxh3_64(&head[..12]).to_le_bytes();
    [hash[0], hash[1], hash[2], hash[3]]
}
