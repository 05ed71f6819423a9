//! A block: the chunks of one generation in one file, which is written once and then only read.
//!
//! ```text
//! file   = head, columns of times, columns of values, index (zstd), foot
//! foot   = place and length of the index, its length uncompressed, its checksum, the times of the first
//!          and of the last sample, the number of samples, a checksum of the foot      (8 bytes each)
//! ```
//!
//! Each column has a checksum in the index. Nothing is read that is not checked.

mod encode;
mod index;
mod read;

use std::{
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bowline_disk::{FileHead, Format, HEAD_LEN, numbered};
use bowline_runtime::fs::File;
use xxhash_rust::xxh3::xxh3_64;

use crate::series::Error;

pub(crate) use encode::{encode, in_order};
pub(crate) use index::Index;
pub(crate) use read::Cache;

/// The ending of block files.
pub(crate) const EXTENSION: &str = "block";
/// This layout.
const FORMAT: Format = Format { magic: *b"bwlserbk", version: 1 };
const FOOT_LEN: usize = 64;
/// An index is no longer than this, uncompressed: more is damage, and is never allocated for.
const INDEX_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// A block on disk.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) id: u32,
    pub(crate) path: PathBuf,
    /// The length of its file.
    pub(crate) bytes: u64,
    /// What its foot says; nothing, if it is damaged.
    foot: Option<Foot>,
}

#[derive(Debug, Clone, Copy)]
struct Foot {
    index_at: u64,
    index_bytes: usize,
    index_bytes_raw: usize,
    index_hash: u64,
    from_ms: i64,
    to_ms: i64,
    samples: u64,
}

impl Block {
    /// Looks at a block; damage is no error.
    pub(crate) fn open(dir: &Path, id: u32) -> Result<Self, Error> {
        let path = path(dir, id);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        let bytes = file.metadata().map_err(Error::io("read", &path))?.len();
        let mut block = Self { id, path, bytes, foot: None };
        if bytes < (HEAD_LEN + FOOT_LEN) as u64 {
            return Ok(block);
        }
        let mut head = [0; HEAD_LEN];
        file.read_exact_at(&mut head, 0).map_err(Error::io("read", &block.path))?;
        match FORMAT.read(&head) {
            FileHead::Known => {}
            FileHead::Version(found) => return Err(Error::Version { path: block.path, found, known: FORMAT.version }),
            FileHead::Corrupt => return Ok(block),
        }
        let mut foot = [0; FOOT_LEN];
        file.read_exact_at(&mut foot, bytes - FOOT_LEN as u64).map_err(Error::io("read", &block.path))?;
        block.foot = Foot::decode(&foot, bytes);
        Ok(block)
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.foot.is_none()
    }

    /// The time of its last sample.
    pub(crate) fn to_ms(&self) -> Option<i64> {
        self.foot.map(|foot| foot.to_ms)
    }

    pub(crate) fn is_overlapping(&self, from_ms: i64, to_ms: i64) -> bool {
        self.foot.is_some_and(|foot| foot.from_ms <= to_ms && foot.to_ms >= from_ms)
    }

    /// Reads its index; `None` when that is damaged. A file that was deleted meanwhile is an error.
    fn read_index(&self, file: &File) -> std::io::Result<Option<Arc<Index>>> {
        let Some(foot) = self.foot else { return Ok(None) };
        let mut bytes = vec![0; foot.index_bytes];
        file.read_exact_at(&mut bytes, foot.index_at)?;
        if xxh3_64(&bytes) != foot.index_hash {
            return Ok(None);
        }
        let raw = zstd::bulk::decompress(&bytes, foot.index_bytes_raw).ok();
        Ok(raw.and_then(|raw| Index::decode(&raw, foot.index_at).ok()).map(Arc::new))
    }
}

impl Foot {
    fn encode(&self) -> [u8; FOOT_LEN] {
        let Self { index_at, index_bytes, index_bytes_raw, index_hash, from_ms, to_ms, samples } = *self;
        let (from, to) = (from_ms.cast_unsigned(), to_ms.cast_unsigned());
        let numbers = [index_at, index_bytes as u64, index_bytes_raw as u64, index_hash, from, to, samples];
        let mut foot = [0; FOOT_LEN];
        for (place, number) in foot.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let hash = xxh3_64(&foot[..FOOT_LEN - 8]);
        foot[FOOT_LEN - 8..].copy_from_slice(&hash.to_le_bytes());
        foot
    }

    fn decode(foot: &[u8; FOOT_LEN], file_bytes: u64) -> Option<Self> {
        let (numbers, _) = foot.as_chunks::<8>();
        let number = |at: usize| u64::from_le_bytes(numbers[at]);
        if xxh3_64(&foot[..FOOT_LEN - 8]) != number(7) {
            return None;
        }
        let length = |at| usize::try_from(number(at)).ok();
        let foot = Self {
            index_at: number(0),
            index_bytes: length(1)?,
            index_bytes_raw: length(2).filter(|bytes| *bytes <= INDEX_BYTES_MAX)?,
            index_hash: number(3),
            from_ms: number(4).cast_signed(),
            to_ms: number(5).cast_signed(),
            samples: number(6),
        };
        let end = foot.index_at.checked_add(number(1))?.checked_add(FOOT_LEN as u64)?;
        (end == file_bytes && foot.index_at >= HEAD_LEN as u64).then_some(foot)
    }
}

/// The path of a generation's block.
pub(crate) fn path(dir: &Path, id: u32) -> PathBuf {
    numbered(dir, id, EXTENSION)
}

/// What is kept of a column's checksum: wrong bytes pass once in four thousand million times.
fn check(bytes: &[u8]) -> u32 {
    let [b0, b1, b2, b3, ..] = xxh3_64(bytes).to_le_bytes();
    u32::from_le_bytes([b0, b1, b2, b3])
}
