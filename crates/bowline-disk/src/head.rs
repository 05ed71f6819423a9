//! The first 16 bytes of a file: what it is, the format's version, and a check of both.

use xxhash_rust::xxh3::xxh3_64;

/// The length of a file's head.
pub const HEAD_LEN: usize = 16;

/// What the first bytes of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileHead {
    /// A file that we can read.
    Known,
    /// A file of another release.
    Version(u32),
    /// Not a file of ours, or damaged.
    Corrupt,
}

/// What a file is, and the version of its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Tells it from all other files.
    pub magic: [u8; 8],
    /// The version of its layout, and of what is in it.
    pub version: u32,
}

impl Format {
    /// The head of a file.
    pub fn head(self) -> [u8; HEAD_LEN] {
        let mut head = [0; HEAD_LEN];
        head[..8].copy_from_slice(&self.magic);
        head[8..12].copy_from_slice(&self.version.to_le_bytes());
        let check = head_check(&head);
        head[12..].copy_from_slice(&check);
        head
    }

    /// What a head says.
    pub fn read(self, head: &[u8; HEAD_LEN]) -> FileHead {
        if head[..8] != self.magic || head[12..] != head_check(head) {
            return FileHead::Corrupt;
        }
        let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        if version == self.version { FileHead::Known } else { FileHead::Version(version) }
    }
}

/// So that a damaged version is not taken for that of another release.
fn head_check(head: &[u8; HEAD_LEN]) -> [u8; 4] {
    let hash = xxh3_64(&head[..12]).to_le_bytes();
    [hash[0], hash[1], hash[2], hash[3]]
}
